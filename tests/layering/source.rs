//! A Rust source file, read no more closely than layering needs: which paths it names, in `use` lines and elsewhere, which macros
//! it calls, and whether it says `unsafe`. Comments, strings and what is for tests only are left out.

/// What is left of a file.
pub(crate) struct Source {
    /// Where it is, from the package's root on: `src/wire/tcp.rs`.
    pub(crate) path: String,
    code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), code: without_tests(&code(text)) }
    }

    /// The module below the crate's root that the file belongs to: `wire` for `src/wire/tcp.rs`.
    pub(crate) fn top(&self) -> &str {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inner.split('/').next().unwrap_or_default()
    }

    /// The module of the file, as `["wire", "tcp"]`.
    fn module(&self) -> Vec<&str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inner.split('/').filter(|name| !matches!(*name, "mod" | "lib" | "main")).collect()
    }

    /// Every path that the file names, `crate` and `super` resolved: `crate::wire::tcp::Packet`, `std::time::Duration`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let (uses, rest) = self.uses();
        let expanded = uses.iter().flat_map(|tree| expand(tree));
        let mut all: Vec<_> = expanded.chain(inline(&rest)).map(|path| self.resolve(&path)).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The trees of the `use` lines, and the code without them.
    fn uses(&self) -> (Vec<String>, String) {
        let (mut trees, mut rest) = (Vec::new(), String::new());
        let mut code = &self.code[..];
        while let Some(at) = word(code, "use") {
            rest.push_str(&code[..at]);
            let end = code[at..].find(';').map_or(code.len(), |end| at + end);
            trees.push(code[at + 3..end].split_whitespace().collect::<Vec<_>>().join(" "));
            code = &code[end..];
        }
        rest.push_str(code);
        (trees, rest)
    }

    fn resolve(&self, path: &str) -> String {
        let mut here: Vec<&str> = self.module();
        let mut names = path.split("::").peekable();
        match names.peek() {
            Some(&"self") => drop(names.next()),
            Some(&"super") => {
                while names.next_if_eq(&"super").is_some() {
                    here.pop();
                }
            }
            _ => return path.to_owned(),
        }
        ["crate"].into_iter().chain(here).chain(names).collect::<Vec<_>>().join("::")
    }

    /// The names of the macros that are called.
    pub(crate) fn macros(&self) -> Vec<&str> {
        let called = |(at, _): (usize, &str)| {
            let head = &self.code[..at];
            let start = head.rfind(|c: char| !is_name(c)).map_or(0, |i| i + 1);
            let next = self.code[at + 1..].trim_start().chars().next()?;
            (matches!(next, '(' | '[' | '{') && start < at).then_some(&head[start..])
        };
        self.code.match_indices('!').filter_map(called).collect()
    }

    pub(crate) fn is_unsafe(&self) -> bool {
        word(&self.code, "unsafe").is_some()
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the word stands by itself.
fn word(code: &str, word: &str) -> Option<usize> {
    let alone = |at: &usize| {
        let before = code[..*at].chars().next_back().is_none_or(|c| !is_name(c));
        let after = code[at + word.len()..].chars().next().is_none_or(|c| !is_name(c));
        before && after
    };
    code.match_indices(word).map(|(at, _)| at).find(alone)
}

/// The text without comments and the insides of strings and characters.
fn code(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let skip = skipped(rest, out.chars().next_back());
        if skip > 0 {
            out.push(' ');
            rest = &rest[skip..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The length of the comment or literal that begins here, 0 for none.
fn skipped(text: &str, before: Option<char>) -> usize {
    let to = |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return to(2, "*/");
    }
    if text.starts_with('r') && before.is_none_or(|c| !is_name(c) || c == 'b') {
        let hashes = text[1..].chars().take_while(|c| *c == '#').count();
        if text[1 + hashes..].starts_with('"') {
            return to(2 + hashes, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    match text.chars().next() {
        Some('"') => quoted(text, '"'),
        Some('\'') if is_character(text) => quoted(text, '\''),
        _ => 0,
    }
}

/// Is the quote the beginning of a character, and not of a lifetime?
fn is_character(text: &str) -> bool {
    let mut next = text.chars().skip(1);
    let first = next.next();
    first == Some('\\') || next.next() == Some('\'')
}

fn quoted(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (false, c) if c == end => return at + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The code without the items that are for tests.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let Some(at) = code.find(MARK) else { return code.to_owned() };
    let item = &code[at + MARK.len()..];
    let end = match item.find(['{', ';']) {
        Some(open) if item[open..].starts_with('{') => block(&item[open..]).map_or(item.len(), |end| open + end),
        Some(semicolon) => semicolon + 1,
        None => item.len(),
    };
    format!("{}{}", &code[..at], without_tests(&item[end..]))
}

/// The length of the block that the text begins with.
fn block(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.split(" as ").next().unwrap_or_default().trim();
    let Some((head, inner)) = tree.split_once('{') else { return vec![tree.replace(' ', "")] };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(&inner[start..at]);
            start = at + 1;
        }
    }
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(expand).map(|path| format!("{}{path}", head.replace(' ', ""))).collect()
}

/// The paths of two names and more in the code.
fn inline(code: &str) -> impl Iterator<Item = String> {
    code.split(|c: char| !is_name(c) && c != ':')
        .map(|word| word.trim_matches(':'))
        .filter(|word| word.contains("::"))
        .map(str::to_owned)
}

#[test]
fn paths_are_found_wherever_they_are() {
    let text = r##"
        //! std::thread is only spoken of.
        use std::{net::{IpAddr, TcpStream}, sync::Arc};
        use super::checksum::{self, Sum};
        pub use crate::addr::MacAddr as Mac;
        /* std::fs */
        fn f<'a>(x: &'a str) -> char { let _ = "std::env"; crate::io::dpdk::start(); let c = '"'; std::time::Instant::now(); c }
        const R: &str = r#"std::process "quoted" "#;
        #[cfg(test)]
        mod tests { use std::fs; fn g() { if true { std::thread::spawn(h); } } }
        #[cfg(test)]
        use tokio::test;
        fn last() { super::super::cli::run() }
    "##;
    let source = Source::new("src/wire/tcp.rs", text);
    let expected = [
        "crate::addr::MacAddr",
        "crate::cli::run",
        "crate::io::dpdk::start",
        "crate::wire::checksum::Sum",
        "crate::wire::checksum::self",
        "std::net::IpAddr",
        "std::net::TcpStream",
        "std::sync::Arc",
        "std::time::Instant::now",
    ];
    assert_eq!(source.paths(), expected);
    assert_eq!(source.top(), "wire");
}

#[test]
fn macros_and_unsafe_are_seen_in_code_only() {
    let source = Source::new("src/a.rs", "fn f() { println!(\"unsafe\"); if a != b { vec![1] } } // unsafe");
    assert_eq!((source.macros(), source.is_unsafe()), (vec!["println", "vec"], false));
    assert!(Source::new("src/a.rs", "fn f() { unsafe { g() } }").is_unsafe());
}
