//! The commands of ipvsadm and the things that its options set, with the names that its messages give them.

use crate::cli::ipvsadm::options::Opt;

/// What ipvsadm is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the command of that name")]
pub(crate) enum Command {
    AddService,
    EditService,
    DeleteService,
    Flush,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    Set,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
    Help,
    Version,
}

impl Command {
    /// The command that an option stands for.
    pub(crate) fn of(opt: Opt) -> Option<Self> {
        Some(match opt {
            Opt::AddService => Self::AddService,
            Opt::EditService => Self::EditService,
            Opt::DeleteService => Self::DeleteService,
            Opt::Clear => Self::Flush,
            Opt::List => Self::List,
            Opt::AddServer => Self::AddServer,
            Opt::DeleteServer => Self::DeleteServer,
            Opt::EditServer => Self::EditServer,
            Opt::Set => Self::Set,
            Opt::StartDaemon => Self::StartDaemon,
            Opt::StopDaemon => Self::StopDaemon,
            Opt::Restore => Self::Restore,
            Opt::Save => Self::Save,
            Opt::Zero => Self::Zero,
            Opt::Help => Self::Help,
            Opt::Version => Self::Version,
            _ => return None,
        })
    }

    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AddService => "add-service",
            Self::EditService => "edit-service",
            Self::DeleteService => "delete-service",
            Self::Flush => "flush",
            Self::List => "list",
            Self::AddServer => "add-server",
            Self::DeleteServer => "delete-server",
            Self::EditServer => "edit-server",
            Self::Set => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Zero => "zero",
            Self::Help => "help",
            Self::Version => "version",
        }
    }
}

/// What an option sets, under the name that messages give it. The order is that in which options are checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "each is the option of that name")]
pub(crate) enum Slot {
    Numeric,
    Connection,
    Service,
    Scheduler,
    Persistent,
    Netmask,
    RealServer,
    Forward,
    Weight,
    Upper,
    Lower,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    Nosort,
    Syncid,
    Exact,
    Ops,
    Engine,
    SchedFlags,
    McastGroup,
    McastPort,
    McastTtl,
    SyncMaxlen,
    TunInfo,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
}

impl Slot {
    /// In the order of the checks.
    pub(crate) const ALL: [Self; 34] = [
        Self::Numeric,
        Self::Connection,
        Self::Service,
        Self::Scheduler,
        Self::Persistent,
        Self::Netmask,
        Self::RealServer,
        Self::Forward,
        Self::Weight,
        Self::Upper,
        Self::Lower,
        Self::McastInterface,
        Self::Timeout,
        Self::Daemon,
        Self::Stats,
        Self::Rate,
        Self::Thresholds,
        Self::PersistentConn,
        Self::Nosort,
        Self::Syncid,
        Self::Exact,
        Self::Ops,
        Self::Engine,
        Self::SchedFlags,
        Self::McastGroup,
        Self::McastPort,
        Self::McastTtl,
        Self::SyncMaxlen,
        Self::TunInfo,
        Self::TunType,
        Self::TunPort,
        Self::TunNocsum,
        Self::TunCsum,
        Self::TunRemcsum,
    ];

    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        const NAMES: [&str; 34] = [
            "numeric",
            "connection",
            "service-address",
            "scheduler",
            "persistent",
            "netmask",
            "real-server",
            "forwarding-method",
            "weight",
            "u-threshold",
            "l-threshold",
            "mcast-interface",
            "timeout",
            "daemon",
            "stats",
            "rate",
            "thresholds",
            "persistent-conn",
            "nosort",
            "syncid",
            "exact",
            "ops",
            "pe",
            "sched-flags",
            "mcast-group",
            "mcast-port",
            "mcast-ttl",
            "sync-maxlen",
            "tun-info",
            "tun-type",
            "tun-port",
            "tun-nocsum",
            "tun-csum",
            "tun-remcsum",
        ];
        NAMES[self as usize]
    }
}
