//! What was typed: one command, and the rule in its other words.

use std::collections::VecDeque;

use crate::cli::iptables::Refused;
use crate::cli::ipvsadm::names::Names;
use crate::control::request::MarkFamily;
use crate::mark::{Rule, parse};
use crate::service::Protocol;

/// What `--help` prints.
pub(super) const HELP: &str = "\
Usage: iptables -t mangle -A|-D|-C PREROUTING rule
       iptables -t mangle -I PREROUTING [number] rule
       iptables -t mangle -R PREROUTING number rule
       iptables -t mangle -D PREROUTING number
       iptables -t mangle -F [PREROUTING]
       iptables -t mangle -S [PREROUTING [number]]
       iptables -t mangle -L [PREROUTING [number]] [-n] [--line-numbers]

A rule sets the firewall mark by which the director finds a service (ipvsadm -f):
  [!] -s, -d ADDRESS[/MASK]    [!] -i PORT    [!] -p PROTOCOL
  [!] --sport, --dport PORT[:PORT]            with -p tcp, udp or sctp
  -m multiport [!] --sports, --dports, --ports PORT[:PORT],...
  -m mark [!] --mark VALUE[/MASK]             set by a rule before
  -m comment --comment TEXT
  -j MARK --set-mark, --set-xmark VALUE[/MASK]; --or-mark, --and-mark, --xor-mark VALUE
  -j ACCEPT, -j RETURN                        no rule after this one
";

/// The chains of the table.
const CHAINS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Append(Rule),
    Insert(u32, Rule),
    Replace(u32, Rule),
    Delete(Rule),
    DeleteAt(u32),
    Check(Rule),
    Flush,
    /// `-S`: of this chain or all; only this rule.
    Save {
        chain: Option<String>,
        only: Option<u32>,
    },
    /// `-L`: the same.
    List {
        chain: Option<String>,
        only: Option<u32>,
    },
    Help,
    Version,
    /// What is so already: `-P PREROUTING ACCEPT`, `-F` of a chain without rules.
    Nothing,
}

/// A command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Typed {
    pub(super) command: Command,
    /// `-n`.
    pub(super) numeric: bool,
    /// `--line-numbers`.
    pub(super) numbers: bool,
}

/// A command as it stands on the line, with its own words.
struct Stated {
    letter: char,
    words: Vec<String>,
}

/// Commands by letter and long name, with the most words of their own.
const COMMANDS: [(char, &str, usize); 15] = [
    ('A', "--append", 1),
    ('D', "--delete", 2),
    ('C', "--check", 1),
    ('I', "--insert", 2),
    ('R', "--replace", 2),
    ('F', "--flush", 1),
    ('S', "--list-rules", 2),
    ('L', "--list", 2),
    ('P', "--policy", 2),
    ('N', "--new-chain", 1),
    ('X', "--delete-chain", 1),
    ('E', "--rename-chain", 2),
    ('Z', "--zero", 2),
    ('h', "--help", 0),
    ('V', "--version", 0),
];

#[derive(Default)]
struct Line {
    stated: Option<Stated>,
    table: Option<String>,
    numeric: bool,
    numbers: bool,
    rule: Vec<String>,
}

impl Typed {
    /// Reads a command line.
    pub(super) fn read(family: MarkFamily, args: &[String], names: &Names) -> Result<Self, Refused> {
        let mut line = Line::default();
        let mut rest: VecDeque<String> = args.iter().flat_map(|word| separated(word)).collect();
        while let Some(word) = rest.pop_front() {
            line.take(&word, &mut rest)?;
        }
        let Line { stated, table, numeric, numbers, rule } = line;
        let Some(stated) = stated else { return Err(Refused::usage("no command specified")) };
        let asked = matches!(stated.letter, 'h' | 'V');
        match table.as_deref() {
            Some("mangle") => {}
            _ if asked => {}
            None => return Err(no_table("filter")),
            Some(other) => return Err(no_table(other)),
        }
        let rule = Words { family, words: rule, names };
        Ok(Self { command: stated.command(&rule)?, numeric, numbers })
    }
}

fn no_table(name: &str) -> Refused {
    let message = format!("can't initialize iptables table `{name}': there is only mangle here; give -t mangle");
    Refused { code: 3, message }
}

/// Options without argument that are written together, such as `-nL`, taken apart.
fn separated(word: &str) -> Vec<String> {
    let letters = word.strip_prefix('-').filter(|letters| letters.len() > 1);
    let plain = |c: char| matches!(c, 'n' | 'v' | 'x');
    match letters {
        Some(letters) if letters.trim_start_matches(plain).len() <= 1 && letters.starts_with(plain) => {
            letters.chars().map(|letter| format!("-{letter}")).collect()
        }
        _ => vec![word.to_owned()],
    }
}

impl Line {
    fn take(&mut self, word: &str, rest: &mut VecDeque<String>) -> Result<(), Refused> {
        let short = |letter: char| word.len() == 2 && word.starts_with('-') && word.ends_with(letter);
        if let Some((letter, _, most)) = COMMANDS.iter().find(|(letter, name, _)| short(*letter) || *name == word) {
            return self.command(*letter, *most, rest);
        }
        match word {
            "-t" | "--table" => match rest.pop_front() {
                Some(table) => self.table = Some(table),
                None => return Err(Refused::usage(format!("option \"{word}\" requires an argument"))),
            },
            "-n" | "--numeric" => self.numeric = true,
            "--line-numbers" | "--line-number" => self.numbers = true,
            "-v" | "--verbose" | "-x" | "--exact" | "-c" | "--set-counters" => {
                return Err(Refused::usage(format!("{word}: rules have no counters here")));
            }
            // Nobody else changes the rules meanwhile: the director does one change after the other.
            "-w" | "--wait" => {
                if rest.front().is_some_and(|next| next.parse::<u32>().is_ok()) {
                    rest.pop_front();
                }
            }
            "-4" | "--ipv4" | "-6" | "--ipv6" => {
                return Err(Refused::usage(format!("{word}: call iptables or ip6tables")));
            }
            _ => self.of_rule(word, rest),
        }
        Ok(())
    }

    fn command(&mut self, letter: char, most: usize, rest: &mut VecDeque<String>) -> Result<(), Refused> {
        if let Some(first) = &self.stated {
            return Err(Refused::usage(format!("Cannot use -{letter} with -{}", first.letter)));
        }
        let mut words = Vec::new();
        let place = |word: &String| word.parse::<u32>().is_ok() || letter == 'P' || letter == 'E';
        while words.len() < most
            && let Some(next) = rest.front().filter(|next| !next.starts_with(['-', '!']))
            && (words.is_empty() || place(next))
        {
            words.extend(rest.pop_front());
        }
        self.stated = Some(Stated { letter, words });
        Ok(())
    }

    /// A word of the rule, and its argument, which may look like anything.
    fn of_rule(&mut self, word: &str, rest: &mut VecDeque<String>) {
        self.rule.push(word.to_owned());
        let long = word.starts_with("--");
        let attached = if long { word.contains('=') } else { word.len() > 2 };
        if word.starts_with('-') && !attached {
            self.rule.extend(rest.pop_front());
        }
    }
}

struct Words<'a> {
    family: MarkFamily,
    words: Vec<String>,
    names: &'a Names,
}

impl Words<'_> {
    fn rule(&self) -> Result<Rule, Refused> {
        let port = |name: &str, protocol: u8| self.names.port(Protocol::from_number(protocol)?, name);
        parse(self.family.v6(), &self.words, &port).map_err(|error| Refused::usage(error.to_string()))
    }

    fn none(&self, letter: char) -> Result<(), Refused> {
        match self.words.first() {
            Some(word) => Err(Refused::usage(format!("Illegal option `{word}' with -{letter}"))),
            None => Ok(()),
        }
    }
}

impl Stated {
    fn command(self, rule: &Words<'_>) -> Result<Command, Refused> {
        let Self { letter, words } = self;
        let chain = words.first().cloned();
        let number = words.get(1).and_then(|word| word.parse().ok());
        if let Some(chain) = chain.as_ref().filter(|chain| !CHAINS.contains(&chain.as_str())) {
            let own = matches!(letter, 'N' | 'X' | 'E');
            let text = "there are no chains of one's own here";
            return Err(if own { Refused::usage(text) } else { no_chain(chain) });
        }
        match letter {
            'h' => return Ok(Command::Help),
            'V' => return Ok(Command::Version),
            'S' => return rule.none(letter).map(|()| Command::Save { chain, only: number }),
            'L' => return rule.none(letter).map(|()| Command::List { chain, only: number }),
            'F' => {
                rule.none(letter)?;
                let ours = chain.is_none_or(|chain| chain == CHAINS[0]);
                return Ok(if ours { Command::Flush } else { Command::Nothing });
            }
            'P' => return policy(words.get(1)),
            'N' | 'X' | 'E' => return Err(Refused::usage("there are no chains of one's own here")),
            'Z' => return Err(Refused::usage("-Z: rules have no counters here")),
            _ => {}
        }
        let Some(chain) = chain else {
            return Err(Refused::usage(format!("option \"-{letter}\" requires an argument")));
        };
        if chain != CHAINS[0] {
            return Err(Refused::usage(format!("{chain}: only rules in {} set marks for the director", CHAINS[0])));
        }
        change(letter, number, rule)
    }
}

fn no_chain(_name: &str) -> Refused {
    Refused::missing("No chain/target/match by that name.")
}

fn policy(word: Option<&String>) -> Result<Command, Refused> {
    match word.map(String::as_str) {
        Some("ACCEPT") => Ok(Command::Nothing),
        Some(_) => Err(Refused::usage("the policy is ACCEPT, and stays so")),
        None => Err(Refused::usage("-P requires a chain and a policy")),
    }
}

fn change(letter: char, number: Option<u32>, rule: &Words<'_>) -> Result<Command, Refused> {
    Ok(match (letter, number) {
        ('A', _) => Command::Append(rule.rule()?),
        ('C', _) => Command::Check(rule.rule()?),
        ('I', number) => Command::Insert(number.unwrap_or(1), rule.rule()?),
        ('R', Some(number)) => Command::Replace(number, rule.rule()?),
        ('R', None) => return Err(Refused::usage("-R requires a rule number")),
        (_, Some(number)) => {
            rule.none('D')?;
            Command::DeleteAt(number)
        }
        (_, None) => Command::Delete(rule.rule()?),
    })
}
