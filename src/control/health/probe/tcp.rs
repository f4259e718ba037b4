//! A TCP connection; and, if wanted, something sent and an answer that holds something.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::plan::Exchange;
use super::{MOST_READ, Outcome, dial, excerpt, holds, words};

pub(super) async fn probe(exchange: &Exchange, mark: Option<u32>) -> Outcome {
    let mut stream = dial::tcp(exchange.to, mark).await.map_err(|e| words(&e))?;
    if !exchange.send.is_empty() {
        stream.write_all(&exchange.send).await.map_err(|e| format!("connected, then {}", words(&e)))?;
    }
    match &exchange.expect {
        None => Ok("connected".to_owned()),
        Some(expected) => read_until(&mut stream, expected).await,
    }
}

async fn read_until(stream: &mut TcpStream, expected: &[u8]) -> Outcome {
    let mut answer = Vec::new();
    while !holds(&answer, expected) {
        let room = MOST_READ - answer.len();
        let read = (&mut *stream).take(room as u64).read_buf(&mut answer).await;
        match read {
            Ok(0) => return Err(format!("the answer does not hold what is expected: {}", excerpt(&answer))),
            Ok(_) => {}
            Err(e) => return Err(format!("connected, then {}", words(&e))),
        }
    }
    Ok("answered as expected".to_owned())
}
