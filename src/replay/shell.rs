//! The part of the shell (POSIX, chapter "Shell Command Language") that scenarios are written in: words with quotes, redirections,
//! pipes, lists joined by `;`, `&&` and `||`, variables, `$(...)` and `for`. Everything else is refused by name, never skipped.

use std::collections::HashMap;
use std::fmt::Write as _;

/// What a command came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outcome {
    /// Exit status.
    pub(crate) code: u8,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Outcome {
    /// Success, with something to say.
    pub(crate) fn says(stdout: impl Into<String>) -> Self {
        Self { code: 0, stdout: stdout.into(), stderr: String::new() }
    }

    /// Failure, with a reason.
    pub(crate) fn fails(code: u8, stderr: impl Into<String>) -> Self {
        Self { code, stdout: String::new(), stderr: stderr.into() }
    }
}

/// What the shell calls upon.
pub(crate) trait System {
    /// Runs a command; the error says why the line cannot be understood.
    fn command(&mut self, words: &[String], stdin: &str) -> Result<Outcome, String>;
    /// The text of a file of the system, such as those under `/proc`.
    fn file(&mut self, path: &str) -> Option<String>;
    /// The names of the files in a folder of the system, in order.
    fn files(&mut self, folder: &str) -> Vec<String>;
}

/// A part of a word.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    /// As it stands.
    Text(String),
    /// The value of a variable; split into words unless quoted.
    Variable { name: String, quoted: bool },
    /// The output of commands; split into words unless quoted.
    Output { line: Line, quoted: bool },
    /// `*` by itself: the files of the working directory.
    Files,
}

type Word = Vec<Part>;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Word(Word),
    Operator(&'static str),
}

/// Longest first, so that `>>` is not two `>`.
const OPERATORS: [&str; 10] = ["2>&1", "2>>", "2>", "&&", "||", ">>", ">", "<", "|", ";"];

/// Where the output of a command goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Redirections {
    stdin: Option<Word>,
    stdout: Option<(Word, bool)>,
    stderr: Option<Word>,
    joined: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Command {
    Simple(Vec<Word>, Redirections),
    /// `for NAME in WORDS; do LINE; done`.
    For(String, Vec<Word>, Line),
}

/// A pipeline and the operator before it.
type Step = (&'static str, Vec<Command>);

/// A line of shell, understood.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Line(Vec<Step>);

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

fn text(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) => match word.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        },
        Token::Operator(_) => None,
    }
}

impl Line {
    /// Reads a line; the error says what in it cannot be understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = tokens(text)?.into_iter().peekable();
        let line = Self::read(&mut tokens, None)?;
        if tokens.next().is_some() { Err("more than one line of shell".to_owned()) } else { Ok(line) }
    }

    /// Reads up to the word that ends the list.
    fn read(tokens: &mut Tokens, end: Option<&str>) -> Result<Self, String> {
        let mut steps: Vec<Step> = Vec::new();
        let mut operator = ";";
        loop {
            match tokens.peek() {
                None if end.is_none() => return Ok(Self(steps)),
                None => return Err(format!("{} is missing", end.unwrap_or_default())),
                Some(token) if end.is_some() && text(token) == end => {
                    tokens.next();
                    return Ok(Self(steps));
                }
                Some(Token::Operator(op @ (";" | "&&" | "||"))) => {
                    operator = op;
                    tokens.next();
                }
                Some(_) => steps.push((operator, pipeline(tokens)?)),
            }
        }
    }

    /// The commands as `set -x` shows them, as far as they can be known beforehand.
    pub(crate) fn traced(&self) -> impl Iterator<Item = String> {
        let plain = |word: &Word| match word.as_slice() {
            [Part::Text(text)] => text.clone(),
            _ => "...".to_owned(),
        };
        let shown = move |command: &Command| match command {
            Command::Simple(words, _) => words.iter().map(plain).collect::<Vec<_>>().join(" "),
            Command::For(name, ..) => format!("for {name}"),
        };
        self.0.iter().flat_map(move |(_, pipeline)| pipeline.iter().map(shown))
    }
}

fn pipeline(tokens: &mut Tokens) -> Result<Vec<Command>, String> {
    let mut commands = vec![command(tokens)?];
    while tokens.next_if_eq(&Token::Operator("|")).is_some() {
        commands.push(command(tokens)?);
    }
    Ok(commands)
}

fn command(tokens: &mut Tokens) -> Result<Command, String> {
    if tokens.next_if(|token| text(token) == Some("for")).is_some() {
        return for_loop(tokens);
    }
    let (mut words, mut to) = (Vec::new(), Redirections::default());
    while let Some(token) = tokens.next_if(|token| !matches!(token, Token::Operator("|" | ";" | "&&" | "||"))) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Operator("2>&1") => to.joined = true,
            Token::Operator(op) => match tokens.next() {
                Some(Token::Word(file)) => to.redirect(op, file),
                _ => return Err(format!("{op} without a file")),
            },
        }
    }
    Ok(Command::Simple(words, to))
}

fn for_loop(tokens: &mut Tokens) -> Result<Command, String> {
    let name = tokens.next().as_ref().and_then(text).map(str::to_owned).ok_or("for without a name")?;
    let mut word = |expected: &str| {
        let found = tokens.next_if(|token| text(token) == Some(expected));
        found.map(drop).ok_or_else(|| format!("for without {expected}"))
    };
    word("in")?;
    let mut words = Vec::new();
    while let Some(Token::Word(word)) = tokens.next_if(|token| matches!(token, Token::Word(_))) {
        words.push(word);
    }
    tokens.next_if_eq(&Token::Operator(";"));
    tokens.next_if(|token| text(token) == Some("do")).ok_or("for without do")?;
    Ok(Command::For(name, words, Line::read(tokens, Some("done"))?))
}

impl Redirections {
    fn redirect(&mut self, operator: &str, file: Word) {
        match operator {
            "<" => self.stdin = Some(file),
            ">" => self.stdout = Some((file, false)),
            ">>" => self.stdout = Some((file, true)),
            _ => self.stderr = Some(file),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if first == '#' {
            break;
        } else if let Some(operator) = OPERATORS.iter().find(|op| rest.starts_with(**op)) {
            tokens.push(Token::Operator(operator));
            rest = &rest[operator.len()..];
        } else {
            let mut word = Word::new();
            rest = self::word(rest, &mut word)?;
            tokens.push(Token::Word(word));
        }
    }
    Ok(tokens)
}

/// Adds text to a word, joining it to what stands before.
fn push_text(word: &mut Word, text: &str) {
    match word.last_mut() {
        Some(Part::Text(before)) => before.push_str(text),
        _ => word.push(Part::Text(text.to_owned())),
    }
}

/// Reads one word and returns what follows it.
fn word<'a>(text: &'a str, word: &mut Word) -> Result<&'a str, String> {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '|' | ';' | '>' | '<' | '&' => return Ok(rest),
            c if c.is_whitespace() => return Ok(rest),
            '\'' => {
                let (quoted, after) = after.split_once('\'').ok_or("a quote ' is not closed")?;
                push_text(word, quoted);
                after
            }
            '"' => in_quotes(after, word)?,
            '$' => substitution(after, word, false)?,
            '*' if word.is_empty() && after.chars().next().is_none_or(|c| c.is_whitespace() || c == ';') => {
                word.push(Part::Files);
                after
            }
            '`' | '\\' | '(' | ')' | '{' | '}' | '*' | '?' => {
                return Err(format!("{c} is shell that is not supported"));
            }
            c => {
                push_text(word, c.encode_utf8(&mut [0; 4]));
                after
            }
        };
    }
    Ok(rest)
}

fn in_quotes<'a>(text: &'a str, word: &mut Word) -> Result<&'a str, String> {
    push_text(word, "");
    let mut rest = text;
    loop {
        let at = rest.find(['"', '$', '`', '\\']).ok_or("a quote \" is not closed")?;
        push_text(word, &rest[..at]);
        let (special, after) = rest[at..].split_at(1);
        match special {
            "\"" => return Ok(after),
            "$" => rest = substitution(after, word, true)?,
            other => return Err(format!("{other} in quotes is shell that is not supported")),
        }
    }
}

/// What follows a `$`: a name, or commands in parentheses.
fn substitution<'a>(text: &'a str, word: &mut Word, quoted: bool) -> Result<&'a str, String> {
    if let Some(body) = text.strip_prefix('(') {
        let (inner, after) = body.split_once(')').ok_or("$( is not closed")?;
        word.push(Part::Output { line: Line::parse(inner)?, quoted });
        return Ok(after);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    if name.is_empty() {
        return Err("$ is shell that is not supported here".to_owned());
    }
    word.push(Part::Variable { name: name.to_owned(), quoted });
    Ok(after)
}

/// The files that a scenario makes for itself, its variables and its working directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shell {
    files: HashMap<String, String>,
    variables: HashMap<String, String>,
    folder: String,
}

impl Shell {
    /// Runs a line: exit status, and both outputs together as they would come out of one pipe.
    pub(crate) fn run(&mut self, line: &Line, system: &mut dyn System) -> Result<(u8, String), String> {
        let (mut code, mut output) = (0, String::new());
        for (operator, pipeline) in &line.0 {
            let wanted = match *operator {
                "&&" => code == 0,
                "||" => code != 0,
                _ => true,
            };
            if wanted {
                code = self.pipeline(pipeline, system, &mut output)?;
            }
        }
        Ok((code, output))
    }

    fn pipeline(&mut self, pipeline: &[Command], system: &mut dyn System, output: &mut String) -> Result<u8, String> {
        let (mut code, mut carried) = (0, String::new());
        for command in pipeline {
            let stdin = std::mem::take(&mut carried);
            (code, carried) = match command {
                Command::Simple(words, to) => self.simple(words, to, stdin, system, output)?,
                Command::For(name, words, body) => self.repeat(name, words, body, system)?,
            };
        }
        output.push_str(&carried);
        Ok(code)
    }

    /// Runs one command: exit status, and what goes on to the next.
    fn simple(
        &mut self,
        words: &[Word],
        to: &Redirections,
        carried: String,
        system: &mut dyn System,
        output: &mut String,
    ) -> Result<(u8, String), String> {
        let stdin = match &to.stdin {
            Some(file) => {
                let path = self.joined(file, system)?;
                self.read(&path, system)?
            }
            None => carried,
        };
        let words = self.expand(words, system)?;
        let Outcome { code, stdout, stderr } = self.command(&words, &stdin, system)?;
        let mut on = String::new();
        match &to.stderr {
            Some(file) => {
                let path = self.joined(file, system)?;
                self.write(&path, &stderr, false);
            }
            None if to.joined => on += &stderr,
            None => output.push_str(&stderr),
        }
        match &to.stdout {
            Some((file, append)) => {
                let path = self.joined(file, system)?;
                self.write(&path, &stdout, *append);
            }
            None => on += &stdout,
        }
        Ok((code, on))
    }

    fn repeat(
        &mut self,
        name: &str,
        words: &[Word],
        body: &Line,
        system: &mut dyn System,
    ) -> Result<(u8, String), String> {
        let (mut code, mut output) = (0, String::new());
        for value in self.expand(words, system)? {
            self.variables.insert(name.to_owned(), value);
            let (status, text) = self.run(body, system)?;
            code = status;
            output += &text;
        }
        Ok((code, output))
    }

    fn expand(&mut self, words: &[Word], system: &mut dyn System) -> Result<Vec<String>, String> {
        let mut expanded = Vec::new();
        for word in words {
            match word.as_slice() {
                [Part::Files] => expanded.extend(system.files(&self.folder)),
                [Part::Variable { quoted: false, .. } | Part::Output { quoted: false, .. }] => {
                    expanded.extend(self.joined(word, system)?.split_whitespace().map(str::to_owned));
                }
                _ => expanded.push(self.joined(word, system)?),
            }
        }
        Ok(expanded)
    }

    /// A word as one, its substitutions made.
    fn joined(&mut self, word: &Word, system: &mut dyn System) -> Result<String, String> {
        let mut text = String::new();
        for part in word {
            match part {
                Part::Text(plain) => text += plain,
                Part::Files => text += "*",
                Part::Variable { name, .. } => {
                    text += self.variables.get(name).ok_or_else(|| format!("${name} is not set here"))?;
                }
                Part::Output { line, .. } => text += self.run(line, system)?.1.trim_end_matches('\n'),
            }
        }
        Ok(text)
    }

    fn command(&mut self, words: &[String], stdin: &str, system: &mut dyn System) -> Result<Outcome, String> {
        let words_as: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(match words_as.as_slice() {
            [] | ["true" | ":", ..] => Outcome::default(),
            ["false", ..] => Outcome::fails(1, ""),
            ["echo", rest @ ..] => Outcome::says(rest.join(" ") + "\n"),
            ["cd", folder] => {
                (*folder).clone_into(&mut self.folder);
                Outcome::default()
            }
            ["cat"] => Outcome::says(stdin),
            ["cat", paths @ ..] => self.cat(paths, stdin, system)?,
            ["tr", from, to] => Outcome::says(stdin.replace(unescaped(from)?, unescaped(to)?.encode_utf8(&mut [0; 4]))),
            ["diff", a, b] => {
                let (a, b) = (self.input(a, stdin, system)?, self.input(b, stdin, system)?);
                differences(&a, &b)
            }
            _ => return system.command(words, stdin),
        })
    }

    fn cat(&mut self, paths: &[&str], stdin: &str, system: &mut dyn System) -> Result<Outcome, String> {
        let mut text = String::new();
        for path in paths {
            text += &self.input(path, stdin, system)?;
        }
        Ok(Outcome::says(text))
    }

    fn input(&mut self, path: &str, stdin: &str, system: &mut dyn System) -> Result<String, String> {
        if path == "-" { Ok(stdin.to_owned()) } else { self.read(path, system) }
    }

    fn read(&mut self, path: &str, system: &mut dyn System) -> Result<String, String> {
        if path == "/dev/null" {
            return Ok(String::new());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.folder) };
        let own = self.files.get(&path).cloned();
        own.or_else(|| system.file(&path)).ok_or_else(|| format!("there is no file {path} here"))
    }

    fn write(&mut self, path: &str, text: &str, append: bool) {
        if path == "/dev/null" {
            return;
        }
        let file = self.files.entry(path.to_owned()).or_default();
        if !append {
            file.clear();
        }
        file.push_str(text);
    }
}

/// One character as `tr` takes it.
fn unescaped(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\\'), Some('n'), None) => Ok('\n'),
        (Some(c), None, None) => Ok(c),
        _ => Err(format!("tr of more than one character: {text:?}")),
    }
}

/// Whether two texts differ, and their lines that do.
fn differences(a: &str, b: &str) -> Outcome {
    if a == b {
        return Outcome::default();
    }
    let mut text = String::new();
    for (mark, one, other) in [('<', a, b), ('>', b, a)] {
        for line in one.lines().filter(|line| !other.lines().any(|o| o == *line)) {
            let _ = writeln!(text, "{mark} {line}");
        }
    }
    Outcome { code: 1, stdout: text, stderr: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl System for Echo {
        fn command(&mut self, words: &[String], stdin: &str) -> Result<Outcome, String> {
            match words[0].as_str() {
                "say" => Ok(Outcome { code: 0, stdout: format!("{}\n", words[1..].join("|")), stderr: "err\n".into() }),
                "count" => Ok(Outcome::says(format!("{}\n", stdin.lines().count()))),
                "fail" => Ok(Outcome::fails(3, "")),
                other => Err(format!("{other} is not known")),
            }
        }

        fn file(&mut self, path: &str) -> Option<String> {
            (path == "/proc/x").then(|| "a\nb\n".to_owned())
        }

        fn files(&mut self, folder: &str) -> Vec<String> {
            if folder == "/proc" { vec!["x".to_owned()] } else { Vec::new() }
        }
    }

    fn run(line: &str) -> Result<(u8, String), String> {
        Shell::default().run(&Line::parse(line)?, &mut Echo)
    }

    #[test]
    fn lines_run_as_in_a_shell() {
        for (line, code, output) in [
            ("say 'a b' \"c\" d'e'f # comment", 0, "err\na b|c|def\n"),
            ("say x 2>/dev/null", 0, "x\n"),
            ("say x </dev/null 2>&1 | count", 0, "2\n"),
            ("cat /proc/x | count; fail", 3, "2\n"),
            ("fail || say y 2>/dev/null", 0, "y\n"),
            ("fail && say never", 3, ""),
            ("say p 2>/dev/null > /tmp/f; cat /proc/x >> /tmp/f; cat /tmp/f", 0, "p\na\nb\n"),
            ("cat /proc/x > /tmp/f; cat /proc/x | diff /tmp/f - && echo same", 0, "same\n"),
            ("echo a > /tmp/f; cat /proc/x | diff /tmp/f -", 1, "> b\n"),
            ("cd /proc; for f in * y; do echo \"$f = $(echo $f | tr x z)\"; done", 0, "x = z\ny = y\n"),
            ("echo a$(cat /proc/x)", 0, "aa\nb\n"),
            ("true; :", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(run(line), Ok((code, output.to_owned())), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "nosuch",
            "echo $HOME",
            "echo `date`",
            "echo 'open",
            "for f in x; do echo",
            "say >",
            "cat /nosuch",
            "echo a*",
        ] {
            assert!(run(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_traced_line_shows_its_words() {
        let line = Line::parse("modprobe ip_vs_ftp 2>/dev/null; say 'a b'").expect("it is shell");
        assert_eq!(line.traced().collect::<Vec<_>>(), ["modprobe ip_vs_ftp", "say a b"]);
    }
}
