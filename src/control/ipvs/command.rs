//! The commands of the family (`enum` of `IPVS_CMD_*`, `include/uapi/linux/ip_vs.h`) and the attributes at the top of a message.

use nix::errno::Errno;

use super::attribute::{Attributes, Kind, Malformed, Writer};
use super::daemon::DaemonAttributes;
use super::dest::DestAttributes;
use super::service::ServiceAttributes;
use super::timeouts::TimeoutAttributes;

/// A service.
pub(super) const SERVICE: usize = 1;
/// A destination.
pub(super) const DEST: usize = 2;
/// A synchronisation daemon.
pub(super) const DAEMON: usize = 3;

const KINDS: [Kind; 7] =
    [Kind::Ignored, Kind::Nest, Kind::Nest, Kind::Nest, Kind::Number(4), Kind::Number(4), Kind::Number(4)];

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Command {
    NewService = 1,
    SetService = 2,
    DelService = 3,
    GetService = 4,
    NewDest = 5,
    SetDest = 6,
    DelDest = 7,
    GetDest = 8,
    NewDaemon = 9,
    DelDaemon = 10,
    GetDaemon = 11,
    SetConfig = 12,
    GetConfig = 13,
    GetInfo = 15,
    Zero = 16,
    Flush = 17,
}

/// The command of the answer to [`Command::GetInfo`]; none that may be asked.
pub(super) const SET_INFO: u8 = 14;

impl Command {
    /// Every command there is.
    pub(super) const ALL: &'static [Self] = &[
        Self::NewService,
        Self::SetService,
        Self::DelService,
        Self::GetService,
        Self::NewDest,
        Self::SetDest,
        Self::DelDest,
        Self::GetDest,
        Self::NewDaemon,
        Self::DelDaemon,
        Self::GetDaemon,
        Self::SetConfig,
        Self::GetConfig,
        Self::GetInfo,
        Self::Zero,
        Self::Flush,
    ];

    /// The command of that number.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|command| *command as u8 == number)
    }

    /// Can it be asked for by itself?
    pub(super) fn can_do(self) -> bool {
        !matches!(self, Self::GetDest | Self::GetDaemon)
    }

    /// Can it be asked for with everything there is?
    pub(super) fn can_dump(self) -> bool {
        matches!(self, Self::GetService | Self::GetDest | Self::GetDaemon)
    }
}

/// The attributes of a message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Body {
    service: Option<Result<ServiceAttributes, Malformed>>,
    dest: Option<Result<DestAttributes, Malformed>>,
    daemon: Option<Result<DaemonAttributes, Malformed>>,
    pub(super) timeouts: TimeoutAttributes,
}

impl Body {
    /// Reads the attributes. Never panics, whatever the bytes are.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Errno> {
        let top = Attributes::parse(bytes, &KINDS).map_err(|malformed| match malformed {
            Malformed::Length => Errno::ERANGE,
            Malformed::Unterminated => Errno::EINVAL,
        })?;
        Ok(Self {
            service: top.bytes(SERVICE).map(ServiceAttributes::parse),
            dest: top.bytes(DEST).map(DestAttributes::parse),
            daemon: top.bytes(DAEMON).map(DaemonAttributes::parse),
            timeouts: TimeoutAttributes::of(&top),
        })
    }

    /// Writes what is well-formed.
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        if let Some(Ok(service)) = &self.service {
            w.nest(SERVICE, |w| service.write(w));
        }
        if let Some(Ok(dest)) = &self.dest {
            w.nest(DEST, |w| dest.write(w));
        }
        if let Some(Ok(daemon)) = &self.daemon {
            w.nest(DAEMON, |w| daemon.write(w));
        }
        self.timeouts.write(w);
    }

    /// What [`Body::write`] writes.
    pub(super) fn without_malformed(mut self) -> Self {
        self.service = self.service.filter(Result::is_ok);
        self.dest = self.dest.filter(Result::is_ok);
        self.daemon = self.daemon.filter(Result::is_ok);
        self
    }

    /// The service that is meant; the kernel makes one answer of all that may be wrong with it.
    pub(super) fn service(&self) -> Result<&ServiceAttributes, Errno> {
        needed(self.service.as_ref())
    }

    /// Is one meant?
    pub(super) fn has_service(&self) -> bool {
        self.service.is_some()
    }

    /// The destination that is meant.
    pub(super) fn dest(&self) -> Result<&DestAttributes, Errno> {
        needed(self.dest.as_ref())
    }

    /// The daemon that is meant.
    pub(super) fn daemon(&self) -> Result<&DaemonAttributes, Errno> {
        needed(self.daemon.as_ref())
    }
}

fn needed<T>(nest: Option<&Result<T, Malformed>>) -> Result<&T, Errno> {
    nest.ok_or(Errno::EINVAL)?.as_ref().map_err(|_| Errno::EINVAL)
}
