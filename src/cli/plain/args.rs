//! What is typed after `pollvs`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::control::client::DEFAULT_SOCKET;
use crate::control::health::spec::CheckSpec;
use crate::control::request::{SchedulerFlag, SettingValue};
use crate::control::standing::OnFail;
use crate::control::standing::drain::{Templates, Whom};
use crate::control::standing::sorry::OnReturn;
use crate::control::why::End;
use crate::destination::Method;
use crate::netmask::Netmask;
use crate::service::{Protocol, ServiceKey};

/// Looks at and steers the director, pollvsd.
///
/// A SERVICE is tcp:192.0.2.10:80, udp:[2001:db8::1]:53, sctp:..., mark:7, or mark6:7 for an IPv6 mark.
#[derive(Clone, PartialEq, Debug, Parser)]
#[command(
    name = "pollvs",
    version = env!("POLLVS_VERSION"),
    after_help = "Exit status: 0 when done, 1 when the director refuses or cannot be reached, 2 for a wrong command line."
)]
pub struct Typed {
    /// The director's control socket.
    #[arg(long, global = true, env = "POLLVS_SOCKET", default_value = DEFAULT_SOCKET, value_name = "PATH")]
    pub socket: PathBuf,
    /// Print the director's answer as it is: a JSON object a line.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Clone, PartialEq, Debug, Subcommand)]
pub enum Verb {
    /// The director at a glance.
    Status,
    /// Services with their destinations.
    Services(Listed),
    /// Health checks and what they find.
    Checks(Chosen),
    /// Check the destinations of a service, or check them no more.
    #[command(subcommand)]
    Check(CheckVerb),
    /// Connections.
    Connections(Which),
    /// Persistence templates.
    Templates(Which),
    /// Connections, packets and bytes of each service and destination.
    Stats(Chosen),
    /// The same per second.
    Rates(Chosen),
    /// Workers and their tables.
    Workers,
    /// Services, destinations and workers on the terminal, renewed every second; ? there explains the keys.
    Top,
    /// Ports and their counters.
    Ports,
    /// Why packets were dropped, and what else happened.
    Counters {
        /// Also what never happened.
        #[arg(long)]
        all: bool,
    },
    /// What happens from now on, a line each: destinations up and down, changes of rules, links, workers, tables.
    Events,
    /// Which server a client would get, by what, and why not; nothing is changed by asking.
    Why(WhyArgs),
    /// Show what becomes of packets, and why.
    Trace(TraceArgs),
    /// Write what ports receive and send to a file, in pcapng.
    Capture(CaptureArgs),
    /// How real servers are reached.
    NextHops,
    /// The rules that set firewall marks.
    Marks,
    /// Replace the rules by those of a TOML file, changing only what differs; - is standard input.
    Apply {
        /// The file.
        file: PathBuf,
    },
    /// Print the rules as TOML, as `apply` takes them.
    Save,
    /// Remove every service; with --connections, end every connection and template instead.
    Flush {
        /// Connections, not rules.
        #[arg(long)]
        connections: bool,
    },
    /// Show statistics from zero again.
    Zero(Chosen),
    /// Add, edit, delete a service.
    #[command(subcommand)]
    Service(ServiceVerb),
    /// Add, edit, delete a destination of a service.
    #[command(subcommand)]
    Destination(DestinationVerb),
    /// Show or set time-outs, in seconds.
    Timeouts {
        /// TCP connections that are established.
        #[arg(long, value_name = "SECONDS")]
        tcp: Option<u32>,
        /// TCP connections that are being closed.
        #[arg(long, value_name = "SECONDS")]
        tcp_fin: Option<u32>,
        /// UDP.
        #[arg(long, value_name = "SECONDS")]
        udp: Option<u32>,
    },
    /// Show the settings (net.ipv4.vs.*), or set one.
    Settings {
        /// Its name.
        #[arg(requires = "value")]
        name: Option<String>,
        /// Its value; 0 and 1 switch off and on; sync_threshold takes two, as "3 50".
        #[arg(allow_negative_numbers = true)]
        value: Option<SettingValue>,
    },
    /// How far the synchronisation of directors is, and what it has counted.
    Sync(SyncArgs),
    /// Read the configuration file again.
    Reload,
    /// Stop the director at once; or when its connections have ended, scheduling nothing new.
    Shutdown {
        /// The longest wait for connections to end.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60",
            value_parser = clap::value_parser!(u32).range(1..))]
        drain: Option<u32>,
    },
    /// Give a destination nothing new, so that what it has may end.
    Drain(DrainArgs),
    /// Give a destination that is drained new connections again.
    Undrain {
        /// Address and port, or the address alone for all ports.
        destination: Whom,
        /// Only in this service.
        #[arg(long)]
        service: Option<ServiceKey>,
    },
    /// Destinations that are drained, and what they still have.
    Drains,
    /// Run the director on a recorded scenario, with a virtual clock and no device.
    Replay(crate::replay::Arguments),
    /// ipvsadm's command line, output and exit status.
    #[command(disable_help_flag = true)]
    Ipvsadm {
        /// As of ipvsadm(8).
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Rules that set firewall marks, in iptables' words: -t mangle -A PREROUTING ... -j MARK --set-mark N.
    #[command(disable_help_flag = true)]
    Iptables {
        /// As of iptables(8).
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The same for IPv6.
    #[command(disable_help_flag = true)]
    Ip6tables {
        /// As of ip6tables(8).
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Which services, and how they are shown.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct Listed {
    /// One, or all.
    #[command(flatten)]
    pub chosen: Chosen,
    /// With rates, limits and next hops, as a tree.
    #[arg(long)]
    pub tree: bool,
}

/// One service, or all.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct Chosen {
    /// Only this one.
    pub service: Option<ServiceKey>,
}

/// A client and where its packet goes.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct WhyArgs {
    /// The client, with its port if it is about a connection that may be there: 203.0.113.5:40312.
    pub client: End,
    /// The virtual address and port: 192.0.2.10:80.
    #[arg(value_name = "VIP")]
    pub vip: End,
    /// tcp, udp or sctp.
    #[arg(short, long, default_value = "tcp")]
    pub protocol: ProtocolArg,
}

/// Packets whose fate is to be shown.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct TraceArgs {
    /// Which: host ADDRESS, net ADDRESS/BITS, port NUMBER, service tcp:192.0.2.10:80, tcp, udp, sctp, icmp; all of it must fit.
    pub filter: Vec<String>,
    /// As many packets; 0 for no end.
    #[arg(short, long, default_value_t = 10, value_name = "NUMBER")]
    pub count: u64,
    /// For so long; 0 for no end.
    #[arg(long, default_value_t = 0)]
    pub seconds: u32,
}

/// Frames to be written to a file.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct CaptureArgs {
    /// Which: host ADDRESS, net ADDRESS/BITS, port NUMBER, service tcp:192.0.2.10:80, tcp, udp, sctp, icmp; all of it must fit.
    pub filter: Vec<String>,
    /// The file; - is standard output, for a program that reads from a pipe.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// As many frames; 0 for no end.
    #[arg(short, long, default_value_t = 0, value_name = "NUMBER")]
    pub count: u64,
    /// At most so many bytes of each frame; 0 for all.
    #[arg(short, long, default_value_t = 0, value_name = "BYTES")]
    pub snaplen: u32,
    /// For so long; 0 for no end.
    #[arg(long, default_value_t = 0)]
    pub seconds: u32,
}

/// A protocol that is balanced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ProtocolArg {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl From<ProtocolArg> for Protocol {
    fn from(protocol: ProtocolArg) -> Self {
        match protocol {
            ProtocolArg::Tcp => Self::Tcp,
            ProtocolArg::Udp => Self::Udp,
            ProtocolArg::Sctp => Self::Sctp,
        }
    }
}

/// Which connections.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct Which {
    /// Only of this service.
    #[arg(long)]
    pub service: Option<ServiceKey>,
    /// Only of this client.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<IpAddr>,
    /// Only on this real server.
    #[arg(long, value_name = "ADDRESS")]
    pub destination: Option<IpAddr>,
    /// At most so many; 0 for all.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub limit: u64,
}

/// What to do with a check.
#[derive(Clone, PartialEq, Debug, Subcommand)]
pub enum CheckVerb {
    /// Set it anew.
    Set {
        /// Of which service.
        service: ServiceKey,
        /// Only of this destination; without a type it changes single keys of the service's check.
        #[arg(long, value_name = "ADDRESS:PORT")]
        destination: Option<SocketAddr>,
        /// The keys of [service.check], such as type=http path=/health interval=2 status=[200,"300-399"].
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = check_key)]
        keys: Vec<(String, toml::Value)>,
    },
    /// Take it away.
    Remove {
        /// Of which service.
        service: ServiceKey,
        /// Only that of this destination.
        #[arg(long, value_name = "ADDRESS:PORT")]
        destination: Option<SocketAddr>,
    },
}

/// One key of a check with its value: as TOML has it, or a text without the quotation marks.
fn check_key(text: &str) -> Result<(String, toml::Value), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    let taken = |value: &toml::Value| {
        let table = toml::Table::from_iter([(key.to_owned(), value.clone())]);
        toml::Value::Table(table).try_into::<CheckSpec>()
    };
    let read = toml::from_str::<toml::Table>(&format!("x = {value}")).ok();
    let read = read.and_then(|mut table| table.remove("x")).filter(|value| taken(value).is_ok());
    let value = read.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    taken(&value).map_err(|e| e.message().to_owned())?;
    Ok((key.to_owned(), value))
}

/// What to do with a service.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub enum ServiceVerb {
    /// Add it.
    Add(ServiceArgs),
    /// Set its scheduler, persistence and flags anew.
    Edit(ServiceArgs),
    /// Remove it and its destinations.
    Delete {
        /// Which.
        service: ServiceKey,
    },
    /// Set anew what is done as its destinations come and go.
    Policy(PolicyArgs),
}

/// What is done as the destinations of a service come and go.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct PolicyArgs {
    /// Of which service.
    pub service: ServiceKey,
    /// What becomes of a destination whose checks fail.
    #[arg(long, value_enum, default_value_t = OnFailArg::Quiesce)]
    pub on_fail: OnFailArg,
    /// A destination that has come back gets its whole weight only after so long.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub slow_start: u32,
    /// Weight that must be up.
    #[arg(long, default_value_t = 1, value_name = "WEIGHT")]
    pub quorum: u32,
    /// A quorum is lost with so much less, and back with so much more.
    #[arg(long, default_value_t = 0, value_name = "WEIGHT")]
    pub hysteresis: u32,
    /// What takes everything new while there is no quorum: address and port.
    #[arg(long, value_name = "ADDRESS")]
    pub sorry: Option<SocketAddr>,
    /// How packets reach it.
    #[arg(long, value_enum, default_value_t = MethodArg::Dr, requires = "sorry")]
    pub sorry_method: MethodArg,
    /// What becomes of its connections when the quorum is back.
    #[arg(long, value_enum, default_value_t = OnReturnArg::Keep, requires = "sorry")]
    pub on_return: OnReturnArg,
}

/// What becomes of a sorry server's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum OnReturnArg {
    /// They go on.
    Keep,
    /// They end.
    End,
}

impl From<OnReturnArg> for OnReturn {
    fn from(on_return: OnReturnArg) -> Self {
        match on_return {
            OnReturnArg::Keep => Self::Keep,
            OnReturnArg::End => Self::End,
        }
    }
}

/// What is to be drained, and how.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct DrainArgs {
    /// Address and port, or the address alone for all ports.
    pub destination: Whom,
    /// Only in this service; in all that have it if not given.
    #[arg(long)]
    pub service: Option<ServiceKey>,
    /// What becomes of clients that a template binds to it: keep lets them come back, drop binds them to another.
    #[arg(long, value_enum, default_value_t = TemplatesArg::Keep)]
    pub templates: TemplatesArg,
    /// The time that connections are given to end; without end if not given.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
    /// Keep it in its service at weight 0 when no connection is left, or the time is over; without this it is removed then.
    #[arg(long)]
    pub keep: bool,
    /// What is done without --keep.
    #[arg(long, hide = true, conflicts_with = "keep")]
    pub remove: bool,
    /// Wait until then, saying what is left.
    #[arg(long)]
    pub wait: bool,
}

/// What becomes of templates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TemplatesArg {
    /// They hold their clients.
    Keep,
    /// They hold nobody any more.
    Drop,
}

impl From<TemplatesArg> for Templates {
    fn from(templates: TemplatesArg) -> Self {
        match templates {
            TemplatesArg::Keep => Self::Keep,
            TemplatesArg::Drop => Self::Drop,
        }
    }
}

/// What becomes of a destination whose checks fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum OnFailArg {
    /// It gets weight 0: its connections go on, nothing new comes.
    Quiesce,
    /// It is taken out of the service, as if deleted.
    Remove,
}

impl From<OnFailArg> for OnFail {
    fn from(on_fail: OnFailArg) -> Self {
        match on_fail {
            OnFailArg::Quiesce => Self::Quiesce,
            OnFailArg::Remove => Self::Remove,
        }
    }
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct ServiceArgs {
    /// Which.
    pub service: ServiceKey,
    /// rr, wrr, lc, wlc, sh, sed, ...
    #[arg(short, long, default_value = "wlc")]
    pub scheduler: String,
    /// A client stays with its destination for so long after its last connection.
    #[arg(short, long, value_name = "SECONDS")]
    pub persistent: Option<u32>,
    /// Clients that share so many leading bits of their address, or those that a mask has, stay together.
    #[arg(long, value_name = "PREFIX", requires = "persistent")]
    pub netmask: Option<Netmask>,
    /// Persistence engine: sip.
    #[arg(long, value_name = "ENGINE")]
    pub pe: Option<String>,
    /// Schedule every datagram by itself.
    #[arg(long)]
    pub one_packet: bool,
    /// Flags of the scheduler, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = scheduler_flag)]
    pub flags: Vec<SchedulerFlag>,
}

fn scheduler_flag(text: &str) -> Result<SchedulerFlag, String> {
    serde_json::from_value(text.into()).map_err(|e: serde_json::Error| e.to_string())
}

/// What to do with a destination.
#[derive(Clone, PartialEq, Eq, Debug, Subcommand)]
pub enum DestinationVerb {
    /// Add it.
    Add(DestinationArgs),
    /// Set its weight, method, tunnel and thresholds anew.
    Edit(DestinationArgs),
    /// Remove it.
    Delete {
        /// Of which service.
        service: ServiceKey,
        /// Address and port.
        address: SocketAddr,
    },
}

/// A destination.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct DestinationArgs {
    /// Of which service.
    pub service: ServiceKey,
    /// Address and port.
    pub address: SocketAddr,
    /// How packets reach it.
    #[arg(short, long, value_enum, default_value_t = MethodArg::Dr)]
    pub method: MethodArg,
    /// Share of new connections; 0 quiesces.
    #[arg(short, long, default_value_t = 1)]
    pub weight: u32,
    /// No new connections from so many on.
    #[arg(long, default_value_t = 0, value_name = "CONNECTIONS")]
    pub upper: u32,
    /// New connections again below so many; three quarters of --upper if not given.
    #[arg(long, default_value_t = 0, value_name = "CONNECTIONS")]
    pub lower: u32,
    /// Encapsulation of --method tun.
    #[arg(long, value_enum, default_value_t = TunnelArg::Ipip)]
    pub tunnel: TunnelArg,
    /// UDP port of --tunnel gue.
    #[arg(long, value_name = "PORT", required_if_eq("tunnel", "gue"))]
    pub tunnel_port: Option<u16>,
    /// Checksum in the outer header of gue and gre.
    #[arg(long)]
    pub tunnel_checksum: bool,
    /// Remote checksum offload of gue: the same checksum for packets from a wire, listed as r+c.
    #[arg(long, conflicts_with = "tunnel_checksum")]
    pub tunnel_remote_checksum: bool,
}

/// How packets reach a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum MethodArg {
    /// Addresses and ports are rewritten, both ways.
    Nat,
    /// Only the MAC address changes.
    Dr,
    /// Encapsulated.
    Tun,
}

impl From<MethodArg> for Method {
    fn from(method: MethodArg) -> Self {
        match method {
            MethodArg::Nat => Self::Nat,
            MethodArg::Dr => Self::Dr,
            MethodArg::Tun => Self::Tun,
        }
    }
}

/// Encapsulation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TunnelArg {
    /// IP in IP.
    Ipip,
    /// Generic UDP encapsulation.
    Gue,
    /// GRE.
    Gre,
}

/// What is asked of the synchronisation.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct SyncArgs {
    /// Print nothing; succeed if the director is ready to take over (a script for keepalived to track).
    #[arg(long, conflicts_with = "wait_ready")]
    pub ready: bool,
    /// The same, but wait until it is ready, this long at most.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    pub wait_ready: Option<u32>,
    /// Also counters of what never happened.
    #[arg(long)]
    pub all: bool,
}
