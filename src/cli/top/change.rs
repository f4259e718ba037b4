//! What can be changed from the screen: each as a question and the request that it leads to.

use super::feed::{Question, Wish};
use crate::control::key::word;
use crate::control::reply::DestinationView;
use crate::control::request::Request;
use crate::control::standing::Standing;
use crate::control::standing::drain::{Templates, Whom};
use crate::service::ServiceKey;

/// Gives a destination nothing new, and removes it in the end.
pub(super) fn drain(service: ServiceKey, d: &DestinationView) -> Question {
    begin(service, d, true)
}

/// Gives a destination nothing new.
pub(super) fn quiesce(service: ServiceKey, d: &DestinationView) -> Question {
    begin(service, d, false)
}

fn begin(service: ServiceKey, d: &DestinationView, remove: bool) -> Question {
    if d.standing == Standing::Draining {
        return Err(format!("{} is drained already", d.address));
    }
    let (address, word) = (d.address, word(&service));
    let then = if remove { "then remove it" } else { "and keep it" };
    let question = format!("Drain {address} of {word}, {then}? {} active.", d.active);
    let request = Request::Drain {
        destination: Whom::One(address),
        service: Some(service),
        templates: Templates::default(),
        remove,
        timeout_secs: None,
        until: None,
    };
    Ok((question, Wish { request: Box::new(request), done: format!("{address} of {word} gets nothing new") }))
}

/// Gives it new connections again.
pub(super) fn undrain(service: ServiceKey, d: &DestinationView) -> Question {
    if d.standing != Standing::Draining {
        return Err(format!("{} is not drained", d.address));
    }
    let (address, word) = (d.address, word(&service));
    let request = Request::Undrain { destination: Whom::One(address), service: Some(service) };
    let done = format!("{address} of {word} gets new connections again");
    Ok((format!("Undrain {address} of {word}?"), Wish { request: Box::new(request), done }))
}
