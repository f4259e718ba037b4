//! Asks the director every second, on a thread of its own, so that keys are obeyed while it is slow or away; and carries out what is
//! to be changed.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::model::Sample;
use crate::control::client::{Client, ClientError};
use crate::control::reply::Reply;
use crate::control::request::Request;

/// From one sample to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// What comes from the director.
#[derive(Debug)]
pub(super) enum News {
    /// How it is.
    Heard(Box<Sample>),
    /// It does not answer, in words.
    Lost(String),
    /// What was to be changed is changed.
    Done(String),
    /// It is not, in words.
    Refused(String),
}

/// What is to be changed, and what it is called.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Wish {
    /// What is asked.
    pub(super) request: Box<Request>,
    /// What is said once it is done.
    pub(super) done: String,
}

/// The question before a change and what is done after a yes; or why it cannot be.
pub(super) type Question = Result<(String, Wish), String>;

/// Starts the thread. It ends when either end is dropped.
pub(super) fn start(socket: PathBuf) -> (Sender<Wish>, Receiver<News>) {
    let (wishes, to_do) = channel();
    let (news, heard) = channel();
    std::thread::spawn(move || Feed { socket, client: None, news, to_do }.run());
    (wishes, heard)
}

struct Feed {
    socket: PathBuf,
    client: Option<Client>,
    news: Sender<News>,
    to_do: Receiver<Wish>,
}

impl Feed {
    fn run(mut self) {
        let mut next = Instant::now();
        loop {
            match self.to_do.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(wish) => {
                    let news = self.carry_out(wish);
                    if self.news.send(news).is_err() {
                        return;
                    }
                    // What has changed is shown at once.
                    next = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + INTERVAL;
                    let news = self.look();
                    if self.news.send(news).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Asks; a connection that is broken is made anew the next time.
    fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let client = match &mut self.client {
            Some(client) => client,
            None => self.client.insert(Client::connect(&self.socket)?),
        };
        let reply = client.ask(request);
        if matches!(&reply, Err(error) if !matches!(error, ClientError::Refused(_))) {
            self.client = None;
        }
        reply
    }

    fn carry_out(&mut self, wish: Wish) -> News {
        match self.ask(&wish.request) {
            Ok(_) => News::Done(wish.done),
            Err(error) => News::Refused(error.to_string()),
        }
    }

    fn look(&mut self) -> News {
        match self.sample() {
            Ok(sample) => News::Heard(Box::new(sample)),
            Err(error) => News::Lost(error.to_string()),
        }
    }

    fn sample(&mut self) -> Result<Sample, ClientError> {
        let mut sample = Sample::default();
        for request in
            [Request::Status {}, Request::Services { service: None }, Request::Workers {}, Request::Counters {}]
        {
            match self.ask(&request) {
                Ok(Reply::Status(status)) => sample.status = status,
                Ok(Reply::Services { services, .. }) => sample.services = Some(services),
                Ok(Reply::Workers { workers, .. }) => sample.workers = Some(workers),
                Ok(Reply::Counters { drops, .. }) => sample.drops = Some(drops),
                Ok(other) => return Err(ClientError::Garbled(format!("{other:?} was not asked for"))),
                // A worker that is silent, say: the rest is shown.
                Err(ClientError::Refused(failure)) => sample.refused.push(failure.message),
                Err(error) => return Err(error),
            }
        }
        Ok(sample)
    }
}
