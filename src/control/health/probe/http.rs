//! An HTTP/1.1 request (RFC 9112) by hyper, over TLS by rustls: status, headers and the beginning of the body are compared with what is
//! expected.

use std::pin::pin;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::plan::Http;
use super::tls::Clients;
use super::{MOST_READ, Outcome, dial, excerpt, holds, words};

/// Bytes that the head of an answer may have.
const LONGEST_HEAD: usize = 64 << 10;

pub(super) async fn probe(http: &Http, tls: &Clients, mark: Option<u32>) -> Outcome {
    let stream = dial::tcp(http.to, mark).await.map_err(|e| words(&e))?;
    match &http.tls {
        None => exchange(http, stream).await,
        Some(wanted) => exchange(http, tls.connect(wanted, stream).await?).await,
    }
}

async fn exchange(http: &Http, stream: impl AsyncRead + AsyncWrite + Unpin + Send) -> Outcome {
    let handshake = http1::Builder::new().max_buf_size(LONGEST_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|e| broken(&e))?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = http.method.clone();
    *request.uri_mut() = http.path.clone();
    *request.headers_mut() = http.request.clone();
    let mut asked = pin!(async {
        let answer = sender.send_request(request).await.map_err(|e| broken(&e))?;
        judge(http, answer).await
    });
    // The connection has to be driven; when it is over, what has come of it is still to be read.
    tokio::select! {
        outcome = &mut asked => outcome,
        _ = connection => asked.await,
    }
}

async fn judge(http: &Http, answer: Response<Incoming>) -> Outcome {
    let status = answer.status();
    if !http.status.iter().any(|range| range.holds(status.as_u16())) {
        return Err(format!("status {}", status.as_u16()));
    }
    for (name, part) in &http.headers {
        let all = answer.headers().get_all(name);
        if !all.iter().any(|value| holds(value.as_bytes(), part.as_bytes())) {
            return Err(format!("status {}, but no header {name} that holds {part:?}", status.as_u16()));
        }
    }
    if http.body.is_none() && http.body_regex.is_none() {
        return Ok(format!("status {}", status.as_u16()));
    }
    let body = beginning(http, answer.into_body()).await?;
    if fits(http, &body) {
        return Ok(format!("status {}, body as expected", status.as_u16()));
    }
    Err(format!("status {}, but the body does not hold what is expected: {}", status.as_u16(), excerpt(&body)))
}

/// The body, no more of it than is needed and than is looked at.
async fn beginning(http: &Http, mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut read = Vec::new();
    while read.len() < MOST_READ {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame.map_err(|e| broken(&e))?.into_data() {
            let room = MOST_READ - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
        }
        // A regular expression may look at the end, so that it is tried when all is there.
        if http.body_regex.is_none() && fits(http, &read) {
            break;
        }
    }
    Ok(read)
}

fn fits(http: &Http, body: &[u8]) -> bool {
    http.body.as_ref().is_none_or(|part| holds(body, part.as_bytes()))
        && http.body_regex.as_ref().is_none_or(|pattern| pattern.0.is_match(body))
}

/// What is wrong with the connection or the answer.
fn broken(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "the connection was closed before the answer was whole".to_owned();
    }
    let mut text = format!("no HTTP answer: {error}");
    let mut inner = std::error::Error::source(error);
    while let Some(cause) = inner {
        text = format!("{text}: {cause}");
        inner = cause.source();
    }
    text
}
