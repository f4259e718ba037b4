//! A question to a name server (RFC 1035), messages by hickory. The answer must be without error and hold a record of the type asked
//! for, or the record that is expected.

use std::io;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::Record;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::super::plan::Question;
use super::super::spec::Transport;
use super::{Outcome, dial, words};

/// The longest message.
const LONGEST: usize = 65_535;

pub(super) async fn probe(question: &Question, mark: Option<u32>) -> Outcome {
    let asked = asked(question);
    let bytes = asked.to_vec().map_err(|e| e.to_string())?;
    let answer = match question.transport {
        Transport::Udp => by_datagram(dial::udp(question.to, mark), &asked, &bytes).await?,
        Transport::Tcp => by_connection(dial::tcp(question.to, mark), &bytes).await?,
    };
    if !answers(&asked, &answer) {
        return Err("the answer is to another question".to_owned());
    }
    judge(question, &answer)
}

fn asked(question: &Question) -> Message {
    let mut message = Message::new();
    message.set_id(rand::random()).set_message_type(MessageType::Query).set_op_code(OpCode::Query);
    message.set_recursion_desired(true).add_query(Query::query(question.name.clone(), question.record));
    message
}

fn answers(asked: &Message, answer: &Message) -> bool {
    let same = |queries: &[Query]| queries.iter().eq(asked.queries());
    // A server that cannot read the question may leave it out of its answer.
    answer.id() == asked.id()
        && answer.message_type() == MessageType::Response
        && (answer.queries().is_empty() || same(answer.queries()))
}

/// Datagrams that are no answer are passed over: anybody may send them.
async fn by_datagram(
    dialled: impl Future<Output = io::Result<UdpSocket>>,
    asked: &Message,
    bytes: &[u8],
) -> Result<Message, String> {
    let socket = dialled.await.map_err(|e| words(&e))?;
    socket.send(bytes).await.map_err(|e| words(&e))?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|e| words(&e))?;
        match Message::from_vec(&buffer[..length]) {
            Ok(answer) if answers(asked, &answer) => return Ok(answer),
            _ => {}
        }
    }
}

async fn by_connection(dialled: impl Future<Output = io::Result<TcpStream>>, bytes: &[u8]) -> Result<Message, String> {
    let mut stream = dialled.await.map_err(|e| words(&e))?;
    let length = u16::try_from(bytes.len()).map_err(|e| e.to_string())?;
    let message = [&length.to_be_bytes()[..], bytes].concat();
    stream.write_all(&message).await.map_err(|e| words(&e))?;
    let length = stream.read_u16().await.map_err(|e| format!("connected, then {}", words(&e)))?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.map_err(|e| format!("connected, then {}", words(&e)))?;
    Message::from_vec(&answer).map_err(|e| format!("the answer is no message of DNS: {e}"))
}

fn judge(question: &Question, answer: &Message) -> Outcome {
    if answer.response_code() != ResponseCode::NoError {
        return Err(answer.response_code().to_string().to_ascii_lowercase());
    }
    let fitting: Vec<_> = answer.answers().iter().filter(|r| r.record_type() == question.record).map(text).collect();
    let plain = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    match &question.answer {
        None if fitting.is_empty() => Err(format!("no record {} in the answer", question.record)),
        None => Ok(format!("{} {}", question.record, fitting.join(", "))),
        Some(expected) if fitting.iter().any(|one| plain(one) == plain(expected)) => {
            Ok(format!("{} {expected}", question.record))
        }
        Some(expected) => Err(format!("no record {} {expected} in the answer, but {fitting:?}", question.record)),
    }
}

/// A record's data as a zone file has it.
fn text(record: &Record) -> String {
    record.data().to_string()
}
