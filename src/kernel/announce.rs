//! Virtual addresses on an interface for a routing daemon to announce: brought in line with what is wanted. Lives on the control thread.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::rtnetlink::Requests;

/// What marks addresses as pollvsd's (`IFA_PROTO`), so that one that was killed finds its own again and leaves the others alone. The
/// kernel uses 1 to 3 (linux/if_addr.h), keepalived 18.
const MARK: u8 = 112;

/// What was changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    /// Put on the interface.
    pub added: Vec<IpAddr>,
    /// Taken away from it.
    pub removed: Vec<IpAddr>,
}

/// Keeps the addresses of one interface.
pub struct Announcer {
    requests: Requests,
    interface: String,
}

impl std::fmt::Debug for Announcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announcer").field("interface", &self.interface).finish_non_exhaustive()
    }
}

impl Announcer {
    /// For the interface of that name, which need not be there yet, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says when the routing socket cannot be opened.
    pub fn new(interface: &str) -> io::Result<Self> {
        Ok(Self { requests: Requests::open()?, interface: interface.to_owned() })
    }

    /// Name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Is there such an interface?
    ///
    /// # Errors
    /// What the kernel says when it does not tell.
    pub fn is_there(&mut self) -> io::Result<bool> {
        Ok(self.requests.index(&self.interface)?.is_some())
    }

    /// Brings the interface in line with what is wanted, and adds to `done` what was changed. Addresses that somebody else has put there are
    /// left alone.
    ///
    /// # Errors
    /// `NotFound` when there is no such interface; what the kernel says when it refuses. What was done until then stays, and is in `done`.
    pub fn settle(&mut self, wanted: &BTreeSet<IpAddr>, done: &mut Announced) -> io::Result<()> {
        let Some(interface) = self.requests.index(&self.interface)? else {
            // Nothing is to be done where there is nothing.
            return if wanted.is_empty() { Ok(()) } else { Err(self.missing()) };
        };
        let there: BTreeSet<IpAddr> = self.requests.marked(interface, MARK)?.into_iter().collect();
        for &address in there.difference(wanted) {
            self.requests.take_away(interface, address)?;
            done.removed.push(address);
        }
        for &address in wanted.difference(&there) {
            // What is there and is not marked is somebody else's: it stays when it is wanted no more.
            if self.requests.assign_marked(interface, address, MARK)? {
                done.added.push(address);
            }
        }
        Ok(())
    }

    /// Says that there is no such interface, and what to do.
    pub fn missing(&self) -> io::Error {
        let text = format!("there is no interface {0:?}; make it with: ip link add {0} type dummy", self.interface);
        io::Error::new(io::ErrorKind::NotFound, text)
    }
}
