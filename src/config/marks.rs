//! The section `[marks]`: rules that set firewall marks, in iptables' syntax.

use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use super::error::Place;
use crate::mark::{MOST_RULES, MarkRules, Rule};

/// `[marks]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MarksSection {
    ipv4: Vec<Spanned<String>>,
    ipv6: Vec<Spanned<String>>,
}

/// The rules of the file.
pub(super) fn convert(place: &Place<'_>, section: &MarksSection) -> Result<MarkRules, ConfigError> {
    let chain = |key: &str, v6, texts: &[Spanned<String>]| {
        if texts.len() > MOST_RULES {
            let text = format!("{} mark rules are too many; give {MOST_RULES} at most", texts.len());
            return Err(place.key(key, texts[MOST_RULES].span().start, text));
        }
        let rule = |text: &Spanned<String>| {
            Rule::from_text(v6, text.get_ref()).map_err(|error| place.key(key, text.span().start, error.to_string()))
        };
        texts.iter().map(rule).collect()
    };
    Ok(MarkRules { ipv4: chain("marks.ipv4", false, &section.ipv4)?, ipv6: chain("marks.ipv6", true, &section.ipv6)? })
}
