//! What is wrong with a configuration, and where: `director.toml:12: director.idle: ...`.

use std::fmt;
use std::io;

/// A configuration that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// Name of the file.
    pub file: String,
    /// Line from 1 on; 0 for the file as a whole.
    pub line: usize,
    /// Path of the key, such as `director.idle`; empty where there is none.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line != 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn unreadable(file: &str, error: &io::Error) -> Self {
        let message = format!("cannot be read: {error}");
        Self { file: file.to_owned(), line: 0, key: String::new(), message }
    }
}

/// A text and its name.
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Place<'_> {
    /// An error at an offset of the text.
    pub(super) fn key(&self, key: &str, offset: usize, message: impl Into<String>) -> ConfigError {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        ConfigError { file: self.name.to_owned(), line, key: key.to_owned(), message: message.into() }
    }

    /// An error of the TOML reader.
    pub(super) fn toml(&self, mut error: toml::de::Error) -> ConfigError {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message().replace('\n', "; ");
        // The path of the key is only told by what the error prints when it has no text to quote.
        error.set_input(None);
        let printed = error.to_string();
        let path = printed.lines().rev().find_map(|l| l.strip_prefix("in `")?.strip_suffix('`')).unwrap_or_default();
        let unknown = message.strip_prefix("unknown field `").and_then(|m| m.split('`').next());
        let path: Vec<&str> = [path].into_iter().filter(|p| !p.is_empty()).chain(unknown).collect();
        self.key(&path.join("."), offset, message)
    }

    /// The offset of the line that sets a key of this name, for checks across keys.
    pub(super) fn find(&self, key: &str) -> usize {
        let mut offset = 0;
        for line in self.text.split_inclusive('\n') {
            if sets(line, key) {
                return offset;
            }
            offset += line.len();
        }
        0
    }

    /// The same in the section that begins at an offset; the offset of that where no line sets the key.
    pub(super) fn find_in(&self, section: usize, key: &str) -> usize {
        let lines = self.text.get(section..).unwrap_or_default().split_inclusive('\n').enumerate();
        let mut offset = section;
        for (_, line) in lines.take_while(|(index, line)| *index == 0 || !line.trim_start().starts_with('[')) {
            if sets(line, key) {
                return offset;
            }
            offset += line.len();
        }
        section
    }
}

fn sets(line: &str, key: &str) -> bool {
    line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
}
