//! The part of the shell (POSIX, chapter "Shell Command Language") that scenarios are written in: words with quotes, redirections,
//! pipes, and lists joined by `;`, `&&` and `||`. Everything else is refused by name, never skipped.

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
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Word(String),
    Operator(&'static str),
}

/// Longest first, so that `>>` is not two `>`.
const OPERATORS: [&str; 10] = ["2>&1", "2>>", "2>", "&&", "||", ">>", ">", "<", "|", ";"];

/// Where the output of a command goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Redirections {
    stdin: Option<String>,
    stdout: Option<(String, bool)>,
    stderr: Option<String>,
    joined: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Simple {
    words: Vec<String>,
    to: Redirections,
}

/// A pipeline and the operator before it.
type Step = (&'static str, Vec<Simple>);

/// A line of shell, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line(Vec<Step>);

impl Line {
    /// Reads a line; the error says what in it cannot be understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut steps: Vec<Step> = vec![(";", vec![Simple::default()])];
        let mut tokens = tokens(text)?.into_iter().peekable();
        while let Some(token) = tokens.next() {
            let (_, pipeline) = steps.last_mut().expect("a line begins with one step");
            let command = pipeline.last_mut().expect("a pipeline has a command");
            match token {
                Token::Word(word) => command.words.push(word),
                Token::Operator("|") => pipeline.push(Simple::default()),
                Token::Operator("2>&1") => command.to.joined = true,
                Token::Operator(op @ (";" | "&&" | "||")) => steps.push((op, vec![Simple::default()])),
                Token::Operator(op) => match tokens.next() {
                    Some(Token::Word(file)) => command.to.redirect(op, file),
                    _ => return Err(format!("{op} without a file")),
                },
            }
        }
        steps.retain(|(_, pipeline)| pipeline.iter().any(|c| !c.words.is_empty()));
        Ok(Self(steps))
    }

    /// The commands as `set -x` shows them.
    pub(crate) fn traced(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(_, pipeline)| pipeline.iter().map(|c| c.words.join(" ")))
    }
}

impl Redirections {
    fn redirect(&mut self, operator: &str, file: String) {
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
            let (word, after) = word(rest)?;
            tokens.push(Token::Word(word));
            rest = after;
        }
    }
    Ok(tokens)
}

/// One word, its quotes taken off, and what follows it.
fn word(text: &str) -> Result<(String, &str), String> {
    let mut word = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c.is_whitespace() => return Ok((word, &text[at..])),
            '|' | ';' | '>' | '<' | '&' => return Ok((word, &text[at..])),
            '\'' | '"' => {
                let quoted = chars.as_str().split(c).next().unwrap_or_default();
                if quoted.len() == chars.as_str().len() {
                    return Err(format!("a quote {c} is not closed"));
                }
                if c == '"' && quoted.contains(['$', '`', '\\']) {
                    return Err(format!("{quoted:?}: variables and substitutions are not supported"));
                }
                word += quoted;
                chars = text[text.len() - chars.as_str().len() + quoted.len() + 1..].char_indices();
                return self::word(chars.as_str()).map(|(tail, after)| (word + &tail, after));
            }
            '$' | '`' | '\\' | '(' | ')' | '{' | '}' | '*' | '?' => {
                return Err(format!("{c} is shell that is not supported"));
            }
            c => word.push(c),
        }
    }
    Ok((word, ""))
}

/// The files that a scenario makes for itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shell {
    files: HashMap<String, String>,
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

    fn pipeline(&mut self, pipeline: &[Simple], system: &mut dyn System, output: &mut String) -> Result<u8, String> {
        let (mut code, mut carried) = (0, String::new());
        for command in pipeline {
            let stdin = match &command.to.stdin {
                Some(path) => self.read(path, system)?,
                None => std::mem::take(&mut carried),
            };
            let Outcome { code: status, stdout, stderr } = self.command(&command.words, &stdin, system)?;
            code = status;
            match &command.to.stderr {
                Some(path) => self.write(path, &stderr, false),
                None if command.to.joined => carried += &stderr,
                None => output.push_str(&stderr),
            }
            match &command.to.stdout {
                Some((path, append)) => self.write(path, &stdout, *append),
                None => carried += &stdout,
            }
        }
        output.push_str(&carried);
        Ok(code)
    }

    fn command(&mut self, words: &[String], stdin: &str, system: &mut dyn System) -> Result<Outcome, String> {
        let words_as: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(match words_as.as_slice() {
            [] | ["true" | ":", ..] => Outcome::default(),
            ["false", ..] => Outcome::fails(1, ""),
            ["echo", rest @ ..] => Outcome::says(rest.join(" ") + "\n"),
            ["cat"] => Outcome::says(stdin),
            ["cat", paths @ ..] => self.cat(paths, stdin, system)?,
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
        let own = self.files.get(path).cloned();
        own.or_else(|| system.file(path)).ok_or_else(|| format!("there is no file {path} here"))
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
            ("true; :", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(run(line), Ok((code, output.to_owned())), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in
            ["nosuch", "echo $HOME", "echo `date`", "echo 'open", "for f in *; do echo; done", "say >", "cat /nosuch"]
        {
            assert!(run(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_traced_line_shows_its_words() {
        let line = Line::parse("modprobe ip_vs_ftp 2>/dev/null; say 'a b'").expect("it is shell");
        assert_eq!(line.traced().collect::<Vec<_>>(), ["modprobe ip_vs_ftp", "say a b"]);
    }
}
