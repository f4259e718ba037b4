//! `docs/control.md`: each example in it is a request or a reply, and none is missing.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/control.md");

/// The examples: lines of JSON in the document's blocks.
fn examples() -> impl Iterator<Item = &'static str> {
    DOCUMENT.lines().filter(|l| l.starts_with('{'))
}

/// The names of an enum's variants, out of the message on one that does not exist.
fn names(message: &str) -> BTreeSet<String> {
    let list = message.split_once("expected one of").expect("the message lists the names").1;
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_example_is_what_the_program_reads_and_writes() {
    let mut seen = BTreeSet::new();
    for example in examples() {
        let value: serde_json::Value = serde_json::from_str(example).expect(example);
        let again = if let Some(name) = value["request"].as_str() {
            seen.insert(name.to_owned());
            serde_json::to_value(Request::parse(example.as_bytes()).expect(example)).unwrap()
        } else {
            seen.insert(value["reply"].as_str().expect(example).to_owned());
            serde_json::to_value(serde_json::from_str::<Reply>(example).expect(example)).unwrap()
        };
        contains(&again, &value, example);
    }
    let requests = names(&Request::parse(br#"{"request":"nosuch"}"#).unwrap_err());
    let replies = names(&serde_json::from_str::<Reply>(r#"{"reply":"nosuch"}"#).unwrap_err().to_string());
    let missing: Vec<_> = requests.union(&replies).filter(|name| !seen.contains(*name)).collect();
    assert!(requests.len() > 20 && missing.is_empty(), "without an example: {missing:?}");
}

/// Everything that the example says is what was understood.
fn contains(understood: &serde_json::Value, said: &serde_json::Value, example: &str) {
    match (understood, said) {
        (serde_json::Value::Object(u), serde_json::Value::Object(s)) => {
            s.iter().for_each(|(key, value)| contains(u.get(key).expect(example), value, example));
        }
        (serde_json::Value::Array(u), serde_json::Value::Array(s)) => {
            assert_eq!(u.len(), s.len(), "{example}");
            u.iter().zip(s).for_each(|(u, s)| contains(u, s, example));
        }
        (u, s) => assert_eq!(u, s, "{example}"),
    }
}

#[test]
fn every_error_code_is_documented() {
    let codes = names(&serde_json::from_str::<ErrorCode>("\"nosuch\"").unwrap_err().to_string());
    let missing: Vec<_> = codes.iter().filter(|code| !DOCUMENT.contains(&format!("| `{code}` |"))).collect();
    assert!(codes.len() > 10 && missing.is_empty(), "{missing:?}");
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    for example in examples().filter(|e| e.contains("\"request\"")) {
        let more = format!("{},\"nosuch\":1}}", example.trim_end_matches('}'));
        // A nested object at the end takes the field; the outer one must refuse it all the same.
        let closing = "}".repeat(example.len() - example.trim_end_matches('}').len() - 1);
        let text = format!("{more}{closing}");
        assert!(Request::parse(text.as_bytes()).is_err(), "{text}");
        let outer = format!("{{\"nosuch\":1,{}", &example[1..]);
        assert!(Request::parse(outer.as_bytes()).is_err(), "{outer}");
    }
}

proptest! {
    #[test]
    fn no_line_makes_the_parser_panic(noise in prop::collection::vec(any::<u8>(), 0..200), which in 0_usize..100, at: usize, byte: u8) {
        let _ = Request::parse(&noise);
        let all: Vec<_> = examples().collect();
        let mut line = all[which % all.len()].as_bytes().to_vec();
        let at = at % line.len();
        line[at] = byte;
        let _ = Request::parse(&line);
        let _ = Request::parse(&line[..at]);
    }
}

#[test]
fn every_event_is_documented() {
    let kinds = names(&serde_json::from_str::<Event>(r#"{"kind":"nosuch"}"#).unwrap_err().to_string());
    let missing: Vec<_> = kinds.iter().filter(|kind| !DOCUMENT.contains(&format!(r#""kind":"{kind}""#))).collect();
    assert!(kinds.len() > 10 && missing.is_empty(), "{missing:?}");
}
