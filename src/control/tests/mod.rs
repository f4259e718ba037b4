//! Control with workers that are made up.

mod change;
mod fake;
mod health;
mod ipvs;
mod metrics;
mod protocol;
mod restart;
mod serve;
mod standing;

use super::*;
use crate::control::reply::{Reply, ServiceView};
use crate::control::request::Request;
use crate::settings::Settings;
use fake::Fake;

const SERVICE: &str = r#"{"request":"add_service","service":"tcp:192.0.2.10:80","scheduler":"rr"}"#;

fn request(text: &str) -> Request {
    Request::parse(text.as_bytes()).unwrap()
}

fn destination(verb: &str, last: u8, weight: u32) -> String {
    format!(
        r#"{{"request":"{verb}","service":"tcp:192.0.2.10:80","destination":{{"address":"198.51.100.{last}:80","method":"nat","weight":{weight}}}}}"#
    )
}

/// All lines of an answer.
async fn lines(control: &Control, text: &str) -> Vec<Reply> {
    match control.handle(request(text)).await {
        Answer::One(reply) => vec![*reply],
        Answer::Many(mut listing) => {
            let mut all = Vec::new();
            while let Some(reply) = listing.next().await {
                all.push(reply);
            }
            all
        }
    }
}

async fn ask(control: &Control, text: &str) -> Reply {
    let mut all = lines(control, text).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

async fn done(control: &Control, text: &str) {
    assert_eq!(ask(control, text).await, Reply::Done {}, "{text}");
}

async fn services(control: &Control) -> Vec<ServiceView> {
    let mut all = Vec::new();
    for line in lines(control, r#"{"request":"services"}"#).await {
        let Reply::Services { services, .. } = line else { panic!("{line:?}") };
        all.extend(services);
    }
    all
}

async fn settings(control: &Control) -> Settings {
    match ask(control, r#"{"request":"settings"}"#).await {
        Reply::Settings(settings) => settings,
        other => panic!("{other:?}"),
    }
}

async fn code(control: &Control, text: &str) -> ErrorCode {
    match ask(control, text).await {
        Reply::Error(failure) => failure.code,
        other => panic!("{text}: {other:?}"),
    }
}
