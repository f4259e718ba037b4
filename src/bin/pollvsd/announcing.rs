//! Carries what is to be announced from control to the kernel.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use pollvs::control::Control;
use pollvs::control::event::Event;
use pollvs::kernel::{Announced, Announcer};

/// From one look at the interface to the next: it may have come late, or lost an address.
const AGAIN: Duration = Duration::from_secs(5);

/// What a routing daemon gets to tell of addresses that are taken away, while its packets are still forwarded.
const LEAVE: Duration = Duration::from_millis(500);

/// The interface of the configuration, if there is one.
pub(crate) struct Announcing {
    announcer: Option<Announcer>,
    /// What was last said of it, so that it is said once.
    trouble: Option<String>,
}

impl Announcing {
    pub(crate) fn new(interface: &str) -> io::Result<Self> {
        let announcer = (!interface.is_empty()).then(|| Announcer::new(interface)).transpose()?;
        Ok(Self { announcer, trouble: None })
    }

    /// Says so if the interface is not there; it may be made later.
    pub(crate) fn missing(&mut self) -> io::Result<Option<io::Error>> {
        let Some(announcer) = &mut self.announcer else { return Ok(None) };
        Ok((!announcer.is_there()?).then(|| announcer.missing()))
    }

    /// Follows what control wants. Never returns.
    pub(crate) async fn follow(&mut self, control: &Control) {
        if self.announcer.is_none() {
            std::future::pending::<()>().await;
        }
        let mut wanted = control.announced();
        let mut ticks = tokio::time::interval(AGAIN);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // Control lives as long as `control`.
                _ = wanted.changed() => {}
            }
            let now = wanted.borrow_and_update().clone();
            self.settle(control, &now);
        }
    }

    /// Takes all addresses away, so that routers send to other directors before this one stops.
    pub(crate) async fn withdraw(&mut self, control: &Control) {
        if self.settle(control, &BTreeSet::new()) {
            tokio::time::sleep(LEAVE).await;
        }
    }

    /// Returns true when addresses were taken away.
    fn settle(&mut self, control: &Control, wanted: &BTreeSet<IpAddr>) -> bool {
        let Some(announcer) = &mut self.announcer else { return false };
        let mut done = Announced::default();
        let trouble = announcer.settle(wanted, &mut done).err().map(|error| error.to_string());
        let interface = || announcer.interface().to_owned();
        for &address in &done.removed {
            control.tell(Event::Withdrawn { address, interface: interface() });
        }
        for &address in &done.added {
            control.tell(Event::Announced { address, interface: interface() });
        }
        if let Some(reason) = trouble.as_ref().filter(|&now| self.trouble.as_ref() != Some(now)) {
            control.tell(Event::AnnounceFailed { interface: interface(), reason: reason.clone() });
        }
        self.trouble = trouble;
        !done.removed.is_empty()
    }
}
