//! A datagram. Where an answer is expected, it must come and hold what is expected; otherwise any answer is good, silence is good, and
//! only a refusal by ICMP is bad.

use super::super::plan::Exchange;
use super::{Outcome, dial, excerpt, holds, words};

/// The longest datagram.
const LONGEST: usize = 65_535;

pub(super) async fn probe(exchange: &Exchange, mark: Option<u32>) -> Outcome {
    let socket = dial::udp(exchange.to, mark).await.map_err(|e| words(&e))?;
    socket.send(&exchange.send).await.map_err(|e| words(&e))?;
    let mut answer = vec![0; LONGEST];
    let length = socket.recv(&mut answer).await.map_err(|e| words(&e))?;
    match &exchange.expect {
        None => Ok("answered".to_owned()),
        Some(expected) if holds(&answer[..length], expected) => Ok("answered as expected".to_owned()),
        Some(_) => Err(format!("the answer does not hold what is expected: {}", excerpt(&answer[..length]))),
    }
}
