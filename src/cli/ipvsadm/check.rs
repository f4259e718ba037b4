//! Which option goes with which command, and what is wrong with a command line as a whole (ipvsadm(8); the table and the words as
//! the program has them).

use crate::cli::ipvsadm::typed::{self, Refused, Typed};
use crate::cli::ipvsadm::vocabulary::{Command, Slot};
use crate::service::{Protocol, ServiceKey};

use Slot::{
    Connection, Daemon, Engine, Exact, Forward, Lower, McastGroup, McastInterface, McastPort, McastTtl, Netmask,
    Nosort, Numeric, Ops, Persistent, PersistentConn, Rate, RealServer, SchedFlags, Scheduler, Service, Stats,
    SyncMaxlen, Syncid, Thresholds, Timeout, TunCsum, TunInfo, TunNocsum, TunPort, TunRemcsum, TunType, Upper, Weight,
};

/// What a command demands, allows, and allows at most one of.
struct Rule {
    must: &'static [Slot],
    may: &'static [Slot],
    one_of: &'static [Slot],
}

const NO: &[Slot] = &[];
const SERVER: &[Slot] = &[Forward, Weight, Upper, Lower, TunType, TunPort, TunNocsum, TunCsum, TunRemcsum];
const LIST: &[Slot] = &[Numeric, Stats, Rate, Thresholds, PersistentConn, Nosort, Syncid, Exact, TunInfo];
const DAEMON: &[Slot] = &[McastInterface, Syncid, McastGroup, McastPort, McastTtl, SyncMaxlen];

fn rule(command: Command) -> Rule {
    let (must, may, one_of): (&[Slot], &[Slot], &[Slot]) = match command {
        Command::AddService | Command::EditService => {
            (&[Service], &[Scheduler, Persistent, Netmask, Ops, Engine, SchedFlags], NO)
        }
        Command::DeleteService => (&[Service], NO, NO),
        Command::List => (NO, LIST, &[Connection, Service, Timeout, Daemon]),
        Command::AddServer | Command::EditServer => (&[Service, RealServer], SERVER, NO),
        Command::DeleteServer => (&[Service, RealServer], NO, NO),
        Command::StartDaemon => (NO, DAEMON, NO),
        Command::StopDaemon => (NO, &[Syncid], NO),
        Command::Save => (NO, &[Numeric], NO),
        Command::Zero => (NO, &[Service], NO),
        Command::Flush | Command::Set | Command::Restore | Command::Help | Command::Version => (NO, NO, NO),
    };
    Rule { must, may, one_of }
}

/// Refuses a command line whose options do not fit together.
pub(crate) fn check(typed: &Typed) -> Result<(), Refused> {
    options(typed)?;
    match typed.command {
        Command::List => listing(typed),
        Command::AddService | Command::EditService => service(typed),
        Command::AddServer | Command::EditServer => server(typed),
        _ => Ok(()),
    }
}

fn options(typed: &Typed) -> Result<(), Refused> {
    let rule = rule(typed.command);
    let command = typed.command.name();
    let mut chosen: Option<Slot> = None;
    for slot in Slot::ALL {
        let name = slot.name();
        if !typed.has(slot) {
            if rule.must.contains(&slot) {
                let message = format!("You need to supply the '{name}' option for the '{command}' command");
                return Err(Refused::usage(message));
            }
        } else if rule.one_of.contains(&slot) {
            if let Some(other) = chosen.replace(slot) {
                let other = other.name();
                let message =
                    format!("The option '{name}' conflicts with the '{other}' option in the '{command}' command");
                return Err(Refused::usage(message));
            }
        } else if !rule.may.contains(&slot) && !rule.must.contains(&slot) {
            return Err(Refused::usage(format!("Illegal '{name}' option with the '{command}' command")));
        }
    }
    Ok(())
}

fn listing(typed: &Typed) -> Result<(), Refused> {
    let any = |slots: &[Slot]| slots.iter().any(|s| typed.has(*s));
    let other_table = any(&[Connection, Timeout, Daemon]);
    let clash = other_table && any(&[Stats, Rate, Thresholds]) || any(&[Timeout, Daemon]) && any(&[PersistentConn]);
    if clash { Err(Refused::usage("options conflicts in the list command")) } else { Ok(()) }
}

fn service(typed: &Typed) -> Result<(), Refused> {
    let Some(ServiceKey::Address { protocol, port, .. }) = typed.service else { return Ok(()) };
    if port == 0 && typed.persistent.is_none() {
        return Err(Refused::usage("Zero port specified for non-persistent service"));
    }
    if typed.has(Ops) && protocol != Protocol::Udp {
        return Err(Refused::usage("One-Packet Scheduling is only for UDP virtual services"));
    }
    Ok(())
}

fn server(typed: &Typed) -> Result<(), Refused> {
    let tunnelled = typed.forward == Some(typed::Forward::Ipip);
    let families = typed.service.zip(typed.server).is_some_and(|(s, d)| s.v6() != d.address.is_ipv6());
    if families && !tunnelled {
        return Err(Refused::usage("Different address family is allowed only for tunneling servers"));
    }
    let tunnel = [TunType, TunPort, TunNocsum, TunCsum, TunRemcsum];
    if !tunnelled && tunnel.iter().any(|s| typed.has(*s)) {
        return Err(Refused::usage("Tunnel options conflict with forward method"));
    }
    if tunnelled { tunnel_options(typed) } else { Ok(()) }
}

fn tunnel_options(typed: &Typed) -> Result<(), Refused> {
    let (kind, may, one_of): (&str, &[Slot], &[Slot]) = match typed.tun_type {
        typed::TunType::Ipip => ("ipip", NO, NO),
        typed::TunType::Gue => ("gue", &[TunPort], &[TunNocsum, TunCsum, TunRemcsum]),
        typed::TunType::Gre => ("gre", NO, &[TunNocsum, TunCsum]),
    };
    let mut chosen: Option<Slot> = None;
    for slot in [TunPort, TunNocsum, TunCsum, TunRemcsum] {
        let name = slot.name();
        if !typed.has(slot) {
            if may.contains(&slot) {
                let message = format!("You need to supply the '{name}' option for the '{kind}' tunnel type");
                return Err(Refused::usage(message));
            }
        } else if one_of.contains(&slot) {
            if let Some(other) = chosen.replace(slot) {
                let other = other.name();
                let message =
                    format!("The option '{name}' conflicts with the '{other}' option in the '{kind}' tunnel type");
                return Err(Refused::usage(message));
            }
        } else if !may.contains(&slot) {
            return Err(Refused::usage(format!("Illegal '{name}' option with the '{kind}' tunnel type")));
        }
    }
    Ok(())
}
