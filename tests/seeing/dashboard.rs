//! The dashboard and the alerts ask only for what there is, in expressions that Prometheus understands.
use std::collections::BTreeSet;
use std::process::Command;

use pollvs::control::metrics::list;
use pollvs::control::metrics::page::Kind;
use regex::Regex;
use serde_json::Value;

use super::{repository, succeeds, there_are};

/// Names under which a query may ask for metrics.
fn known() -> BTreeSet<String> {
    let mut names = BTreeSet::from(["up".to_owned()]);
    for family in list::ALL {
        let suffixes: &[&str] = match family.kind {
            Kind::Counter | Kind::Gauge => &[""],
            Kind::Summary => &["", "_sum", "_count"],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
        };
        names.extend(suffixes.iter().map(|suffix| format!("{}{suffix}", family.name)));
    }
    names
}

/// Names of pollvs' metrics in an expression that are none.
fn unknown(expression: &str) -> Vec<String> {
    let (names, known) = (Regex::new(r"\bpollvs_[a-z0-9_]+\b").unwrap(), known());
    names.find_iter(expression).map(|m| m.as_str().to_owned()).filter(|name| !known.contains(name)).collect()
}

/// The members of this name, however deep.
fn members<'a>(tree: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match tree {
        Value::Object(object) => {
            found.extend(object.get(name).and_then(Value::as_str));
            object.values().for_each(|value| members(value, name, found));
        }
        Value::Array(array) => array.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(repository("config/grafana/pollvs.json")).unwrap()).unwrap()
}

/// An expression as Grafana sends it.
fn filled_in(expression: &str) -> String {
    let variables = [("$__rate_interval", "1m"), ("$job", "pollvs"), ("$instance", ".*"), ("$service", ".*")];
    variables.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[test]
fn the_dashboard_names_only_metrics_that_exist() {
    let dashboard = dashboard();
    let (mut asked, mut defined) = (Vec::new(), Vec::new());
    members(&dashboard, "expr", &mut asked);
    members(&dashboard, "definition", &mut defined);
    assert!(asked.len() > 30 && defined.len() == 3, "{} expressions, {defined:?}", asked.len());
    for expression in asked.into_iter().chain(defined) {
        assert_eq!(unknown(expression), [""; 0], "{expression}");
    }
    assert_eq!(unknown("rate(pollvs_nonsense_total[1m])"), ["pollvs_nonsense_total"]);
}

#[test]
fn the_alerts_name_only_metrics_that_exist() {
    for file in ["config/prometheus/pollvs.rules.yml", "tests/seeing/alerts.yml"] {
        let text = std::fs::read_to_string(repository(file)).unwrap();
        assert_eq!(unknown(&text.replace("pollvs_rules", "")), [""; 0], "{file}");
    }
}

#[test]
fn every_expression_of_the_dashboard_is_understood() {
    if !there_are(&["promtool"]) {
        return;
    }
    let dashboard = dashboard();
    let mut expressions = Vec::new();
    members(&dashboard, "expr", &mut expressions);
    // A recording rule for each: promtool reads what is recorded.
    let rules: Vec<_> = (0..)
        .zip(expressions)
        .map(|(n, expression)| serde_json::json!({"record": format!("r{n}"), "expr": filled_in(expression)}))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    let count = rules.len();
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, groups.to_string()).unwrap();
    let said = succeeds(Command::new("promtool").args(["check", "rules"]).arg(file));
    assert!(said.contains(&format!("{count} rules found")), "{said}");
}
