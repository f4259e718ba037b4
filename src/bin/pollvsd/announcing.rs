//! Carries what is to be announced from control to the kernel.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use pollvs::control::Control;
use pollvs::kernel::Announcer;

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
            self.settle(&now);
        }
    }

    /// Takes all addresses away, so that routers send to other directors before this one stops.
    pub(crate) async fn withdraw(&mut self) {
        if self.settle(&BTreeSet::new()) {
            tokio::time::sleep(LEAVE).await;
        }
    }

    /// Returns true when addresses were taken away.
    fn settle(&mut self, wanted: &BTreeSet<IpAddr>) -> bool {
        let Some(announcer) = &mut self.announcer else { return false };
        let (withdrawn, trouble) = match announcer.settle(wanted) {
            Ok(done) => {
                done.added.iter().for_each(|address| tracing::info!("{address} is announced"));
                done.removed.iter().for_each(|address| tracing::info!("{address} is announced no more"));
                (!done.removed.is_empty(), None)
            }
            Err(error) => (false, Some(error.to_string())),
        };
        if let Some(trouble) = trouble.as_ref().filter(|&now| self.trouble.as_ref() != Some(now)) {
            tracing::error!("virtual addresses cannot be announced: {trouble}");
        }
        self.trouble = trouble;
        withdrawn
    }
}
