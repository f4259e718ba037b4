//! The options of ipvsadm 1.31 and how they stand on a command line: short options may be run together (`-Ln`), an argument may be
//! attached (`-w3`, `--weight=3`), one option takes its argument or not (`-p`). Defined by ipvsadm(8) and by what the program answers.

/// What an option means; several spellings may mean the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the option of that name")]
pub(crate) enum Opt {
    AddService,
    EditService,
    DeleteService,
    Clear,
    Restore,
    Save,
    AddServer,
    EditServer,
    DeleteServer,
    List,
    Zero,
    Set,
    StartDaemon,
    StopDaemon,
    Help,
    Version,
    Tcp,
    Udp,
    Sctp,
    Mark,
    Ipv6,
    Scheduler,
    Engine,
    Persistent,
    Netmask,
    RealServer,
    Gatewaying,
    Ipip,
    Masquerading,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
    Weight,
    Upper,
    Lower,
    Connection,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Exact,
    Thresholds,
    PersistentConn,
    TunInfo,
    Nosort,
    Sort,
    Ops,
    Numeric,
    SchedFlags,
    Syncid,
    SyncMaxlen,
    McastInterface,
    McastGroup,
    McastPort,
    McastTtl,
}

/// Whether an option takes an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Takes {
    /// None.
    Nothing,
    /// The next word, whatever it looks like.
    Argument,
    /// The next word unless it looks like an option.
    Maybe,
}

use Takes::{Argument, Maybe, Nothing};

/// Long spelling, short spelling (a blank for none), argument, meaning.
const OPTIONS: &[(&str, char, Takes, Opt)] = &[
    ("add-service", 'A', Nothing, Opt::AddService),
    ("edit-service", 'E', Nothing, Opt::EditService),
    ("delete-service", 'D', Nothing, Opt::DeleteService),
    ("clear", 'C', Nothing, Opt::Clear),
    ("restore", 'R', Nothing, Opt::Restore),
    ("save", 'S', Nothing, Opt::Save),
    ("add-server", 'a', Nothing, Opt::AddServer),
    ("edit-server", 'e', Nothing, Opt::EditServer),
    ("delete-server", 'd', Nothing, Opt::DeleteServer),
    ("list", 'L', Nothing, Opt::List),
    ("list", 'l', Nothing, Opt::List),
    ("zero", 'Z', Nothing, Opt::Zero),
    ("set", ' ', Nothing, Opt::Set),
    ("start-daemon", ' ', Argument, Opt::StartDaemon),
    ("stop-daemon", ' ', Argument, Opt::StopDaemon),
    ("help", 'h', Nothing, Opt::Help),
    ("version", 'v', Nothing, Opt::Version),
    ("tcp-service", 't', Argument, Opt::Tcp),
    ("udp-service", 'u', Argument, Opt::Udp),
    ("sctp-service", ' ', Argument, Opt::Sctp),
    ("fwmark-service", 'f', Argument, Opt::Mark),
    ("ipv6", '6', Nothing, Opt::Ipv6),
    ("scheduler", 's', Argument, Opt::Scheduler),
    ("pe", ' ', Argument, Opt::Engine),
    ("persistent", 'p', Maybe, Opt::Persistent),
    ("netmask", 'M', Argument, Opt::Netmask),
    ("real-server", 'r', Argument, Opt::RealServer),
    ("gatewaying", 'g', Nothing, Opt::Gatewaying),
    ("ipip", 'i', Nothing, Opt::Ipip),
    ("masquerading", 'm', Nothing, Opt::Masquerading),
    ("tun-type", ' ', Argument, Opt::TunType),
    ("tun-port", ' ', Argument, Opt::TunPort),
    ("tun-nocsum", ' ', Nothing, Opt::TunNocsum),
    ("tun-csum", ' ', Nothing, Opt::TunCsum),
    ("tun-remcsum", ' ', Nothing, Opt::TunRemcsum),
    ("weight", 'w', Argument, Opt::Weight),
    ("u-threshold", 'x', Argument, Opt::Upper),
    ("l-threshold", 'y', Argument, Opt::Lower),
    ("connection", 'c', Nothing, Opt::Connection),
    ("timeout", ' ', Nothing, Opt::Timeout),
    ("daemon", ' ', Nothing, Opt::Daemon),
    ("stats", ' ', Nothing, Opt::Stats),
    ("rate", ' ', Nothing, Opt::Rate),
    ("exact", 'X', Nothing, Opt::Exact),
    ("thresholds", ' ', Nothing, Opt::Thresholds),
    ("persistent-conn", ' ', Nothing, Opt::PersistentConn),
    ("tun-info", ' ', Nothing, Opt::TunInfo),
    ("nosort", ' ', Nothing, Opt::Nosort),
    ("sort", ' ', Nothing, Opt::Sort),
    ("ops", 'o', Nothing, Opt::Ops),
    ("numeric", 'n', Nothing, Opt::Numeric),
    ("sched-flags", 'b', Argument, Opt::SchedFlags),
    ("syncid", ' ', Argument, Opt::Syncid),
    ("sync-maxlen", ' ', Argument, Opt::SyncMaxlen),
    ("mcast-interface", ' ', Argument, Opt::McastInterface),
    ("mcast-group", ' ', Argument, Opt::McastGroup),
    ("mcast-port", ' ', Argument, Opt::McastPort),
    ("mcast-ttl", ' ', Argument, Opt::McastTtl),
];

/// One step of a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// An option, as it was spelt, with its argument.
    Option(Opt, String, Option<String>),
    /// A word that belongs to no option.
    Plain(String),
    /// The word that could not be understood, and why.
    Bad(String, &'static str),
}

/// Takes a command line apart, up to the first word that cannot be understood.
pub(crate) fn words(args: &[String]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = args.iter().cloned();
    while let Some(arg) = rest.next() {
        match arg.strip_prefix('-') {
            None | Some("") => words.push(Word::Plain(arg)),
            Some("-") => words.extend(rest.by_ref().map(Word::Plain)),
            Some(body) => match body.strip_prefix('-') {
                Some(long) => words.push(long_option(long, &arg, &mut rest)),
                None => short_options(body, &arg, &mut rest, &mut words),
            },
        }
        if matches!(words.last(), Some(Word::Bad(..))) {
            break;
        }
    }
    words
}

fn long_option(body: &str, arg: &str, rest: &mut (impl Iterator<Item = String> + Clone)) -> Word {
    let (name, attached) = body.split_once('=').map_or((body, None), |(n, v)| (n, Some(v.to_owned())));
    match OPTIONS.iter().find(|o| o.0 == name) {
        Some(&(_, _, takes, opt)) => option(opt, takes, arg, attached, rest),
        None => Word::Bad(arg.to_owned(), "unknown option"),
    }
}

fn short_options(body: &str, arg: &str, rest: &mut (impl Iterator<Item = String> + Clone), words: &mut Vec<Word>) {
    let mut letters = body.chars();
    while let Some(letter) = letters.next() {
        let Some(&(_, _, takes, opt)) = OPTIONS.iter().find(|o| o.1 == letter && letter != ' ') else {
            words.push(Word::Bad(arg.to_owned(), "unknown option"));
            return;
        };
        let tail = letters.as_str();
        let attached =
            (takes != Nothing && !tail.is_empty()).then(|| tail.strip_prefix('=').unwrap_or(tail).to_owned());
        let done = attached.is_some();
        words.push(option(opt, takes, arg, attached, rest));
        if done {
            return;
        }
    }
}

fn option(
    opt: Opt,
    takes: Takes,
    arg: &str,
    attached: Option<String>,
    rest: &mut (impl Iterator<Item = String> + Clone),
) -> Word {
    let value = match (takes, attached) {
        (Nothing, Some(_)) => return Word::Bad(arg.to_owned(), "option does not take an argument"),
        (Nothing, None) => None,
        (_, Some(value)) => Some(value),
        (Argument, None) => match rest.next() {
            Some(value) => Some(value),
            None => return Word::Bad(arg.to_owned(), "missing argument"),
        },
        (Maybe, None) => match rest.clone().next() {
            Some(next) if !next.starts_with('-') => rest.next(),
            _ => None,
        },
    };
    Word::Option(opt, arg.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<Word> {
        words(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn opt(opt: Opt, spelt: &str, value: Option<&str>) -> Word {
        Word::Option(opt, spelt.into(), value.map(Into::into))
    }

    #[test]
    fn short_options_run_together() {
        let spelt = "-Lcn";
        assert_eq!(
            of(spelt),
            [opt(Opt::List, spelt, None), opt(Opt::Connection, spelt, None), opt(Opt::Numeric, spelt, None)]
        );
    }

    #[test]
    fn an_argument_may_be_attached_or_follow() {
        for (line, spelt) in [("-w 3", "-w"), ("-w3", "-w3"), ("-w=3", "-w=3"), ("--weight=3", "--weight=3")] {
            assert_eq!(of(line), [opt(Opt::Weight, spelt, Some("3"))], "{line}");
        }
    }

    #[test]
    fn a_compulsory_argument_may_look_like_an_option_and_an_optional_one_may_not() {
        assert_eq!(of("-w -1"), [opt(Opt::Weight, "-w", Some("-1"))]);
        assert_eq!(of("-p -n"), [opt(Opt::Persistent, "-p", None), opt(Opt::Numeric, "-n", None)]);
        assert_eq!(of("-p 60"), [opt(Opt::Persistent, "-p", Some("60"))]);
    }

    #[test]
    fn what_is_not_known_ends_the_line() {
        assert_eq!(of("--nosuch -n"), [Word::Bad("--nosuch".into(), "unknown option")]);
        assert_eq!(of("-t"), [Word::Bad("-t".into(), "missing argument")]);
        assert_eq!(of("--set 1 -3").last(), Some(&Word::Bad("-3".into(), "unknown option")));
    }
}
