//! What people and programs write: no line to the control socket and no configuration panics, and what a request means is what it
//! says when it is written out again.

use pollvs::config::{Config, parse_rules};
use pollvs::control::request::Request;
use pollvs::mark::Rule;

/// Takes `data` as a line to the control socket.
pub fn fuzz_request(data: &[u8]) {
    if let Ok(request) = Request::parse(data) {
        let written = serde_json::to_vec(&request).expect("a request can be written");
        assert_eq!(Request::parse(&written).as_ref(), Ok(&request));
    }
}

/// Takes `data` as a configuration file, and as a file of rules.
pub fn fuzz_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = Config::parse("fuzz.toml", text) {
        assert!(error.to_string().starts_with("fuzz.toml"), "{error}");
    }
    let _ = parse_rules("fuzz.toml", text);
}

/// Takes `data` as a mark rule of either family; what is shown of a rule is the rule.
pub fn fuzz_mark(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for v6 in [false, true] {
        if let Ok(rule) = Rule::from_text(v6, text) {
            assert_eq!(Rule::from_text(v6, &rule.to_string()), Ok(rule));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::seeds;

    #[test]
    fn mutated_requests_do_not_panic() {
        seeds::mutate(&seeds::requests(), 300, super::fuzz_request);
    }

    #[test]
    fn mutated_mark_rules_do_not_panic() {
        seeds::mutate(&seeds::marks(), 2000, super::fuzz_mark);
    }

    #[test]
    fn mutated_configurations_do_not_panic() {
        seeds::mutate(&seeds::configurations(), 200, super::fuzz_config);
    }
}
