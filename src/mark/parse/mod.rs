//! Rules as iptables reads them (iptables(8), iptables-extensions(8)), with its words when it refuses one.

mod module;
mod value;

use std::net::IpAddr;

use crate::mark::parse::module::Module;
use crate::mark::{Bits, Rule, Sign, Target};

pub use value::protocol_name;

/// Gives the number of a port that is told by name, of that protocol, if there is one.
pub type Ports<'a> = &'a dyn Fn(&str, u8) -> Option<u16>;

/// Why a rule is refused, in iptables' words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(pub String);

type Outcome<T> = Result<T, RuleError>;

fn refuse<T>(text: impl Into<String>) -> Outcome<T> {
    Err(RuleError(text.into()))
}

/// Reads the rule that these words describe: what iptables takes after the chain.
///
/// # Errors
/// What is wrong, in iptables' words.
pub fn parse(v6: bool, words: &[String], ports: Ports<'_>) -> Result<Rule, RuleError> {
    let rule = Rule {
        v6,
        source: None,
        destination: None,
        interface: None,
        protocol: None,
        matches: Vec::new(),
        target: Target::None,
    };
    let mut reader = Reader { rest: words.iter(), rule, modules: Vec::new(), mark: None, ports, not: false };
    while let Some(word) = reader.rest.next() {
        reader.word(word)?;
    }
    reader.finish()
}

impl Rule {
    /// Reads a rule from one text, quotes around words that hold blanks.
    ///
    /// # Errors
    /// What is wrong, in iptables' words.
    pub fn from_text(v6: bool, text: &str) -> Result<Self, RuleError> {
        parse(v6, &split(text)?, &|_, _| None)
    }
}

/// The words of a text, as a shell takes plain text apart.
///
/// # Errors
/// A quote that is not closed.
fn split(text: &str) -> Outcome<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut quote): (Option<String>, _) = (None, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return refuse("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

struct Reader<'a> {
    rest: std::slice::Iter<'a, String>,
    rule: Rule,
    modules: Vec<Module>,
    /// `-j MARK` was read: what it does, once that was read too.
    mark: Option<Option<(String, Bits)>>,
    ports: Ports<'a>,
    /// A `!` stands before the next option.
    not: bool,
}

/// The options of a rule, by their short or only name; others of the same meaning.
const OPTIONS: [(&str, &[&str]); 11] = [
    ("-s", &["--source", "--src"]),
    ("-d", &["--destination", "--dst"]),
    ("-i", &["--in-interface"]),
    ("-o", &["--out-interface"]),
    ("-p", &["--protocol", "--proto"]),
    ("-m", &["--match"]),
    ("-j", &["--jump"]),
    ("--sport", &["--source-port"]),
    ("--dport", &["--destination-port"]),
    ("--sports", &["--source-ports"]),
    ("--dports", &["--destination-ports"]),
];

/// The option of a word, by its first name, and the argument that is written in the same word.
fn option(word: &str) -> (&str, Option<&str>) {
    let (name, attached) = match word.split_once('=') {
        Some((name, value)) if word.starts_with("--") => (name, Some(value)),
        _ => (word, None),
    };
    if let Some((first, _)) = OPTIONS.iter().find(|(_, others)| others.contains(&name)) {
        return (first, attached);
    }
    let short = word.starts_with('-') && !word.starts_with("--");
    match word.split_at_checked(2) {
        Some((name, value)) if short && !value.is_empty() => (name, Some(value)),
        _ => (name, attached),
    }
}

impl Reader<'_> {
    fn word(&mut self, word: &str) -> Outcome<()> {
        if word == "!" {
            let twice = std::mem::replace(&mut self.not, true);
            return if twice { refuse("multiple consecutive ! not allowed") } else { Ok(()) };
        }
        let (name, attached) = option(word);
        if name.len() < 2 || !name.starts_with('-') {
            return refuse(format!("Bad argument `{word}'"));
        }
        if !self.is_known(name) {
            return refuse(format!("unknown option \"{name}\""));
        }
        let argument = match attached {
            Some(text) => text,
            None => self.rest.next().ok_or_else(|| RuleError(format!("option \"{name}\" requires an argument")))?,
        };
        match name {
            "-s" | "-d" | "-i" | "-p" => self.header(name, argument),
            "-m" => self.module(argument),
            "-j" => self.target(argument),
            "-o" => refuse("Can't use -o with PREROUTING"),
            _ if name.ends_with("mark") && name != "--mark" => self.set_mark(name, argument),
            _ => self.extension(name, argument),
        }
    }

    /// Is it an option of every rule, of a module that was loaded, or of one that the protocol loads?
    fn is_known(&self, name: &str) -> bool {
        match name {
            "-s" | "-d" | "-i" | "-o" | "-p" | "-m" | "-j" => true,
            "--set-mark" | "--set-xmark" | "--or-mark" | "--and-mark" | "--xor-mark" => self.mark.is_some(),
            "--sport" | "--dport" if self.transport().is_some() => true,
            _ => self.modules.iter().any(|module| module.has(name)),
        }
    }

    /// The protocol of the rule, if it has a module here.
    fn transport(&self) -> Option<u8> {
        self.rule.protocol.filter(|p| !p.not).map(|p| p.value).filter(|p| value::TRANSPORTS.contains(p))
    }

    fn sign<T>(&mut self, value: T) -> Sign<T> {
        Sign { not: std::mem::take(&mut self.not), value }
    }

    fn unsigned(&mut self, what: &str) -> Outcome<()> {
        if std::mem::take(&mut self.not) { refuse(format!("unexpected ! flag before {what}")) } else { Ok(()) }
    }

    fn header(&mut self, name: &str, argument: &str) -> Outcome<()> {
        let twice = match name {
            "-s" => {
                let address = self.address(argument)?;
                std::mem::replace(&mut self.rule.source, address).is_some()
            }
            "-d" => {
                let address = self.address(argument)?;
                std::mem::replace(&mut self.rule.destination, address).is_some()
            }
            "-i" => {
                let interface = self.sign(value::interface(argument)?);
                self.rule.interface.replace(interface).is_some()
            }
            _ => {
                let protocol = self.sign(value::protocol(argument)?);
                if protocol.value == 0 && protocol.not {
                    return refuse("rule would never match protocol");
                }
                std::mem::replace(&mut self.rule.protocol, Some(protocol).filter(|p| p.value != 0)).is_some()
            }
        };
        if twice { refuse(format!("multiple {name} flags not allowed")) } else { Ok(()) }
    }

    /// An address with its mask; none for every address.
    fn address(&mut self, text: &str) -> Outcome<Option<Sign<crate::mark::Masked>>> {
        let address = value::masked(text, self.rule.v6)?;
        let any = |mask: IpAddr| mask.is_unspecified();
        Ok(Some(self.sign(address)).filter(|sign| sign.not || !any(sign.value.mask)))
    }

    /// `-m`.
    fn module(&mut self, name: &str) -> Outcome<()> {
        self.unsigned("--match")?;
        let module = Module::of_name(name);
        let missing = || RuleError(format!("Couldn't load match `{name}':No such file or directory"));
        self.modules.push(module.ok_or_else(missing)?);
        Ok(())
    }

    /// `-j`.
    fn target(&mut self, name: &str) -> Outcome<()> {
        self.unsigned("--jump")?;
        if self.mark.is_some() || self.rule.target != Target::None {
            return refuse("multiple -j flags not allowed");
        }
        match name {
            "MARK" => self.mark = Some(None),
            "ACCEPT" => self.rule.target = Target::Accept,
            "RETURN" => self.rule.target = Target::Return,
            _ => return refuse(format!("Couldn't load target `{name}':No such file or directory")),
        }
        Ok(())
    }

    /// An option of a module: of the last one loaded that has it, or of the protocol's own.
    fn extension(&mut self, name: &str, argument: &str) -> Outcome<()> {
        let not = std::mem::take(&mut self.not);
        if !self.modules.iter().any(|module| module.has(name)) {
            self.modules.extend(self.transport().map(Module::of_protocol));
        }
        let protocol = self.rule.protocol;
        let Some(module) = self.modules.iter_mut().rev().find(|module| module.has(name)) else {
            return refuse(format!("unknown option \"{name}\""));
        };
        module.take(name, not, argument, protocol, self.ports)
    }

    /// What `-j MARK` does.
    fn set_mark(&mut self, name: &str, argument: &str) -> Outcome<()> {
        if std::mem::take(&mut self.not) {
            return refuse(format!("option \"{name}\" cannot be inverted."));
        }
        let bits = value::change("MARK", name, argument)?;
        match self.mark.replace(Some((name.to_owned(), bits))) {
            Some(Some((first, _))) => refuse(value::not_both("MARK", &first, name)),
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Outcome<Rule> {
        if self.not {
            return refuse("nothing appropriate following !");
        }
        match self.mark {
            Some(Some((_, bits))) => self.rule.target = Target::Mark(bits),
            Some(None) => {
                return refuse("MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required");
            }
            None => {}
        }
        let protocol = self.rule.protocol;
        self.rule.matches = self.modules.into_iter().map(|m| m.finish(protocol)).collect::<Outcome<_>>()?;
        Ok(self.rule)
    }
}
