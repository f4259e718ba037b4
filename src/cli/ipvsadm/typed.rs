//! What was typed: a command line of ipvsadm as one command and the options given with it, each value checked as it comes, in the
//! order and with the words and exit codes of ipvsadm 1.31 (a wrong command line exits with 2, a wrong option with 255).

use std::net::IpAddr;

use crate::cli::ipvsadm::address::{self, Endpoint};
use crate::cli::ipvsadm::names::Names;
use crate::cli::ipvsadm::options::{Opt, Word, words};
use crate::cli::ipvsadm::vocabulary::{Command, Slot};
use crate::control::daemon::Role;
use crate::control::request::SchedulerFlag;
use crate::netmask::Netmask;
use crate::service::{Protocol, ServiceKey};

/// Longest persistence and longest time-out: 31 days, in seconds.
const MAX_TIMEOUT: u32 = 31 * 24 * 3600;
/// Persistence without a number, in seconds.
const DEFAULT_PERSISTENCE: u32 = 360;
/// Longest sync message: what fits a UDP datagram.
const MAX_SYNC_MESSAGE: u32 = 65507;

/// A command line that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    /// Exit status.
    pub(crate) code: u8,
    /// For stderr, without the end of line.
    pub(crate) message: String,
}

impl Refused {
    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// Refused by the director, or an option that is none.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 255, message: message.into() }
    }

    fn try_help() -> Self {
        Self::failed("Try `ipvsadm -h' or 'ipvsadm --help' for more information.")
    }
}

/// A forwarding method as typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Forward {
    /// `-g`.
    Gatewaying,
    /// `-i`.
    Ipip,
    /// `-m`.
    Masquerading,
}

/// A kind of tunnel as typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the type of that name")]
pub(crate) enum TunType {
    Ipip,
    Gue,
    Gre,
}

/// Options of the synchronisation daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DaemonOptions {
    /// `master` or `backup`.
    pub(crate) role: Role,
    /// Interface of the multicast.
    pub(crate) interface: Option<String>,
    /// Which group of directors; 0 for any.
    pub(crate) syncid: u8,
    /// Largest message in bytes.
    pub(crate) maxlen: Option<u16>,
    /// Multicast group.
    pub(crate) group: Option<IpAddr>,
    /// UDP port.
    pub(crate) port: Option<u16>,
    /// TTL of the messages.
    pub(crate) ttl: Option<u8>,
}

/// A command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Typed {
    /// What to do.
    pub(crate) command: Command,
    /// The options that were given.
    pub(crate) given: Vec<Slot>,
    /// The virtual service; its port is 0 when none was typed.
    pub(crate) service: Option<ServiceKey>,
    /// Name of the scheduler.
    pub(crate) scheduler: Option<String>,
    /// Flags of the scheduler, as typed.
    pub(crate) sched_flags: Option<String>,
    /// Persistence in seconds.
    pub(crate) persistent: Option<u32>,
    /// Mask of the persistence.
    pub(crate) netmask: Option<Netmask>,
    /// Persistence engine.
    pub(crate) engine: Option<String>,
    /// The real server.
    pub(crate) server: Option<Endpoint>,
    /// Forwarding method.
    pub(crate) forward: Option<Forward>,
    /// Weight.
    pub(crate) weight: u32,
    /// Upper threshold.
    pub(crate) upper: u32,
    /// Lower threshold.
    pub(crate) lower: u32,
    /// Tunnel type.
    pub(crate) tun_type: TunType,
    /// Tunnel port.
    pub(crate) tun_port: u16,
    /// The numbers of `--set`: TCP, TCP FIN, UDP.
    pub(crate) timeouts: [u32; 3],
    /// Options of the daemons.
    pub(crate) daemon: DaemonOptions,
}

impl Typed {
    /// Was the option given?
    pub(crate) fn has(&self, slot: Slot) -> bool {
        self.given.contains(&slot)
    }

    fn new(command: Command) -> Self {
        Self {
            command,
            given: Vec::new(),
            service: None,
            scheduler: None,
            sched_flags: None,
            persistent: None,
            netmask: None,
            engine: None,
            server: None,
            forward: None,
            weight: 1,
            upper: 0,
            lower: 0,
            tun_type: TunType::Ipip,
            tun_port: 0,
            timeouts: [0; 3],
            daemon: DaemonOptions {
                role: Role::Master,
                interface: None,
                syncid: 0,
                maxlen: None,
                group: None,
                port: None,
                ttl: None,
            },
        }
    }

    /// Reads a command line; no word at all lists the table.
    pub(crate) fn read(args: &[String], names: &Names) -> Result<Self, Refused> {
        let mut words = words(args).into_iter();
        let mut typed = match words.next() {
            None if args.is_empty() => Self::new(Command::List),
            Some(Word::Option(opt, _, value)) => {
                let mut typed = Self::new(Command::of(opt).ok_or_else(Refused::try_help)?);
                typed.daemon_role(value)?;
                typed
            }
            Some(_) | None => return Err(Refused::try_help()),
        };
        if matches!(typed.command, Command::Help | Command::Version) {
            return Ok(typed);
        }
        let plain = typed.take_options(words, names)?;
        typed.take_plain(&plain)?;
        Ok(typed)
    }

    fn daemon_role(&mut self, value: Option<String>) -> Result<(), Refused> {
        let Some(role) = value else { return Ok(()) };
        self.daemon.role = if role == "backup" { Role::Backup } else { Role::Master };
        match (role.as_str(), self.command) {
            ("master" | "backup", _) => Ok(()),
            (_, Command::StartDaemon) => Err(Refused::usage("illegal start-daemon parameter specified")),
            _ => Err(Refused::usage("illegal start_daemon specified")),
        }
    }

    fn take_options(&mut self, words: impl Iterator<Item = Word>, names: &Names) -> Result<Vec<String>, Refused> {
        let mut plain = Vec::new();
        for word in words {
            match word {
                Word::Plain(word) => plain.push(word),
                Word::Bad(word, why) => return Err(Refused::failed(format!("{word}: {why}"))),
                Word::Option(opt, spelt, value) => self.take(opt, &spelt, &value.unwrap_or_default(), names)?,
            }
        }
        Ok(plain)
    }

    /// The numbers of `--set` are the only words that belong to no option.
    fn take_plain(&mut self, plain: &[String]) -> Result<(), Refused> {
        let mut plain = plain.iter();
        if self.command == Command::Set {
            for timeout in &mut self.timeouts {
                let word = plain.next().ok_or_else(|| Refused::usage("--set option requires 3 timeout values"))?;
                *timeout = timeout_of(word, 0)?;
            }
        }
        match plain.next() {
            Some(word) => Err(Refused::usage(format!("unexpected argument {word}"))),
            None => Ok(()),
        }
    }

    fn mark_given(&mut self, slot: Slot) -> Result<(), Refused> {
        if self.has(slot) {
            return Err(Refused::usage(format!("multiple '{}' options specified", slot.name())));
        }
        self.given.push(slot);
        Ok(())
    }

    fn take(&mut self, opt: Opt, spelt: &str, value: &str, names: &Names) -> Result<(), Refused> {
        match opt {
            Opt::Tcp => self.take_service(Protocol::Tcp, value, names),
            Opt::Udp => self.take_service(Protocol::Udp, value, names),
            Opt::Sctp => self.take_service(Protocol::Sctp, value, names),
            Opt::Mark => self.take_mark(value),
            Opt::Ipv6 => self.take_ipv6(),
            Opt::RealServer => self.take_server(value, names),
            Opt::Persistent => self.take_persistent(value),
            Opt::Netmask => self.take_netmask(value),
            Opt::Sort => Ok(()),
            _ => match flag_of(opt) {
                Some(slot) => self.take_flag(slot, opt),
                None => self.take_value(opt, spelt, value),
            },
        }
    }

    fn take_flag(&mut self, slot: Slot, opt: Opt) -> Result<(), Refused> {
        self.mark_given(slot)?;
        match opt {
            Opt::Gatewaying => self.forward = Some(Forward::Gatewaying),
            Opt::Ipip => self.forward = Some(Forward::Ipip),
            Opt::Masquerading => self.forward = Some(Forward::Masquerading),
            _ => {}
        }
        Ok(())
    }

    fn take_value(&mut self, opt: Opt, spelt: &str, value: &str) -> Result<(), Refused> {
        let slot = value_of(opt).ok_or_else(|| Refused::usage(format!("invalid option `{spelt}'")))?;
        self.mark_given(slot)?;
        match opt {
            Opt::Scheduler => self.scheduler = Some(value.to_owned()),
            Opt::Engine => self.engine = Some(value.to_owned()),
            Opt::SchedFlags => self.sched_flags = Some(value.to_owned()),
            Opt::Weight => self.weight = int(value, "illegal weight specified")?,
            Opt::Upper => self.upper = int(value, "illegal u_threshold specified")?,
            Opt::Lower => self.lower = int(value, "illegal l_threshold specified")?,
            Opt::TunType => self.tun_type = tun_type(value)?,
            Opt::TunPort => self.tun_port = number(value, 1, 65535, "illegal tunnel port specified")?,
            Opt::McastInterface => self.daemon.interface = Some(value.to_owned()),
            Opt::McastGroup => self.daemon.group = Some(group(value)?),
            Opt::McastPort => self.daemon.port = Some(number(value, 1, 65535, "illegal mcast-port specified")?),
            Opt::McastTtl => self.daemon.ttl = Some(number(value, 1, 255, "illegal mcast-ttl specified")?),
            Opt::Syncid => self.daemon.syncid = number(value, 0, 255, "illegal syncid specified")?,
            _ => {
                let most = i64::from(MAX_SYNC_MESSAGE);
                self.daemon.maxlen = Some(number(value, 1, most, "illegal sync-maxlen specified")?);
            }
        }
        Ok(())
    }

    fn take_service(&mut self, protocol: Protocol, value: &str, names: &Names) -> Result<(), Refused> {
        self.mark_given(Slot::Service)?;
        let endpoint = address::parse(value, protocol, names)
            .ok_or_else(|| Refused::usage("illegal virtual server address[:port] specified"))?;
        let port = endpoint.port.unwrap_or(0);
        self.service = Some(ServiceKey::Address { protocol, address: endpoint.address, port });
        Ok(())
    }

    fn take_mark(&mut self, value: &str) -> Result<(), Refused> {
        self.mark_given(Slot::Service)?;
        let mark = value.parse().ok().filter(|mark| *mark != 0);
        let mark = mark.ok_or_else(|| Refused::usage(format!("invalid fwmark value `{value}' specified")))?;
        self.service = Some(ServiceKey::Mark { mark, v6: false });
        Ok(())
    }

    fn take_ipv6(&mut self) -> Result<(), Refused> {
        match &mut self.service {
            Some(ServiceKey::Mark { v6, .. }) => {
                *v6 = true;
                Ok(())
            }
            _ => Err(Refused::usage("-6 used before -f\n")),
        }
    }

    fn take_server(&mut self, value: &str, names: &Names) -> Result<(), Refused> {
        self.mark_given(Slot::RealServer)?;
        let protocol = match self.service {
            Some(ServiceKey::Address { protocol, .. }) => protocol,
            _ => Protocol::Tcp,
        };
        let endpoint = address::parse(value, protocol, names);
        let endpoint = endpoint.ok_or_else(|| Refused::usage("illegal real server address[:port] specified"))?;
        self.server = Some(endpoint);
        Ok(())
    }

    fn take_persistent(&mut self, value: &str) -> Result<(), Refused> {
        self.mark_given(Slot::Persistent)?;
        self.persistent = Some(if value.is_empty() { DEFAULT_PERSISTENCE } else { timeout_of(value, 1)? });
        Ok(())
    }

    fn take_netmask(&mut self, value: &str) -> Result<(), Refused> {
        self.mark_given(Slot::Netmask)?;
        self.netmask = Some(if self.service.is_some_and(|s| s.v6()) {
            Netmask::Prefix(number(value, 1, 128, "illegal ipv6 netmask specified")?)
        } else {
            let mask = address::inet_aton(value);
            Netmask::of(mask.ok_or_else(|| Refused::usage("illegal virtual server persistent mask specified"))?)
        });
        Ok(())
    }
}

/// The slot of an option without argument.
fn flag_of(opt: Opt) -> Option<Slot> {
    Some(match opt {
        Opt::Gatewaying | Opt::Ipip | Opt::Masquerading => Slot::Forward,
        Opt::TunNocsum => Slot::TunNocsum,
        Opt::TunCsum => Slot::TunCsum,
        Opt::TunRemcsum => Slot::TunRemcsum,
        Opt::Connection => Slot::Connection,
        Opt::Timeout => Slot::Timeout,
        Opt::Daemon => Slot::Daemon,
        Opt::Stats => Slot::Stats,
        Opt::Rate => Slot::Rate,
        Opt::Exact => Slot::Exact,
        Opt::Thresholds => Slot::Thresholds,
        Opt::PersistentConn => Slot::PersistentConn,
        Opt::TunInfo => Slot::TunInfo,
        Opt::Nosort => Slot::Nosort,
        Opt::Ops => Slot::Ops,
        Opt::Numeric => Slot::Numeric,
        _ => return None,
    })
}

/// The slot of an option with an argument; none for a second command.
fn value_of(opt: Opt) -> Option<Slot> {
    Some(match opt {
        Opt::Scheduler => Slot::Scheduler,
        Opt::Engine => Slot::Engine,
        Opt::SchedFlags => Slot::SchedFlags,
        Opt::Weight => Slot::Weight,
        Opt::Upper => Slot::Upper,
        Opt::Lower => Slot::Lower,
        Opt::TunType => Slot::TunType,
        Opt::TunPort => Slot::TunPort,
        Opt::McastInterface => Slot::McastInterface,
        Opt::McastGroup => Slot::McastGroup,
        Opt::McastPort => Slot::McastPort,
        Opt::McastTtl => Slot::McastTtl,
        Opt::Syncid => Slot::Syncid,
        Opt::SyncMaxlen => Slot::SyncMaxlen,
        _ => return None,
    })
}

fn number<T: TryFrom<i64>>(text: &str, least: i64, most: i64, refusal: &str) -> Result<T, Refused> {
    let number = text.parse().ok().filter(|n| (least..=most).contains(n));
    number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| Refused::usage(refusal))
}

fn int(text: &str, refusal: &str) -> Result<u32, Refused> {
    number(text, 0, i64::from(i32::MAX), refusal)
}

fn timeout_of(text: &str, least: i64) -> Result<u32, Refused> {
    number(text, least, i64::from(MAX_TIMEOUT), &format!("invalid timeout value `{text}' specified"))
}

fn tun_type(text: &str) -> Result<TunType, Refused> {
    match text {
        "ipip" => Ok(TunType::Ipip),
        "gue" => Ok(TunType::Gue),
        "gre" => Ok(TunType::Gre),
        _ => Err(Refused::usage("illegal tunnel type specified")),
    }
}

fn group(text: &str) -> Result<IpAddr, Refused> {
    let family = if text.contains(':') { "IPv6" } else { "IPv4" };
    let group = text.parse::<IpAddr>().ok().filter(IpAddr::is_multicast);
    group.ok_or_else(|| Refused::usage(format!("invalid {family} mcast-group `{text}'")))
}

/// The flags of `-b` for a scheduler, in the order of their bits.
pub(crate) fn sched_flags(scheduler: &str, text: &str) -> Result<Vec<SchedulerFlag>, Refused> {
    let mut flags = Vec::new();
    let names = text.split(',').enumerate().filter(|(index, name)| *index == 0 || !name.is_empty());
    for (_, name) in names {
        let (of, flag) = match name {
            "flag-1" => ("", SchedulerFlag::Flag1),
            "flag-2" => ("", SchedulerFlag::Flag2),
            "flag-3" => ("", SchedulerFlag::Flag3),
            "sh-fallback" => ("sh", SchedulerFlag::Flag1),
            "sh-port" => ("sh", SchedulerFlag::Flag2),
            "mh-fallback" => ("mh", SchedulerFlag::Flag1),
            "mh-port" => ("mh", SchedulerFlag::Flag2),
            _ => return Err(Refused::usage(format!("invalid scheduler flag `{name}'"))),
        };
        if !of.is_empty() && of != scheduler {
            return Err(Refused::usage(format!("incompatible scheduler flag `{name}'")));
        }
        flags.push(flag);
    }
    flags.sort_unstable();
    flags.dedup();
    Ok(flags)
}
