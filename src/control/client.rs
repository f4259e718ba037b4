//! A client of the control socket, blocking: `pollvs` has nothing else to do meanwhile.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control::event::Told;
use crate::control::reply::{Failure, PROTOCOL, Reply};
use crate::control::request::Request;

/// Where `pollvsd` listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/pollvs/control.sock";
/// How long the director may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or not to us.
    #[error(
        "pollvsd cannot be reached at {path}: {reason}; is it running, and may you open its socket? (--socket PATH)"
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The connection broke.
    #[error("pollvsd did not answer: {0}")]
    Broken(#[from] io::Error),
    /// The answer makes no sense.
    #[error("pollvsd's answer cannot be understood: {0}; pollvs and pollvsd should be of one version")]
    Garbled(String),
    /// The director refuses.
    #[error("{0}")]
    Refused(#[from] Failure),
}

/// An open connection to the director.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    /// The director's version.
    pub version: String,
}

impl Client {
    /// Connects, and hears the greeting.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let unreachable = |reason| ClientError::Unreachable { path: path.to_owned(), reason };
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Self { stream: BufReader::new(stream), version: String::new() };
        match client.read()? {
            Reply::Hello { protocol: PROTOCOL, version } => client.version = version,
            Reply::Hello { protocol, .. } => {
                return Err(ClientError::Garbled(format!("it speaks protocol {protocol}, this program {PROTOCOL}")));
            }
            other => return Err(ClientError::Garbled(format!("{other:?} is no greeting"))),
        }
        Ok(client)
    }

    /// Asks; `each` gets every line of the answer but a refusal.
    ///
    /// # Errors
    /// [`ClientError`], and what `each` returns.
    pub fn each(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Reply) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        if matches!(request, Request::Capture { .. } | Request::Trace { .. }) {
            // The next packet may be long in coming.
            self.stream.get_mut().set_read_timeout(None)?;
        }
        loop {
            let reply = self.read()?;
            let more = reply.has_more();
            match reply {
                Reply::Error(failure) => return Err(failure.into()),
                reply => each(reply)?,
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Listens to what happens until the director goes or `each` fails; that may be long.
    ///
    /// # Errors
    /// [`ClientError`], and what `each` returns.
    pub fn listen(&mut self, mut each: impl FnMut(Told) -> Result<(), ClientError>) -> Result<(), ClientError> {
        self.ask(&Request::Events {})?;
        self.stream.get_mut().set_read_timeout(None)?;
        loop {
            match self.read()? {
                Reply::Event(told) => each(told)?,
                Reply::Error(failure) => return Err(failure.into()),
                other => return Err(ClientError::Garbled(format!("{other:?} is no event"))),
            }
        }
    }

    /// Asks, and joins the lines of a listing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let mut whole = None;
        self.each(request, |reply| {
            whole = Some(match whole.take() {
                None => reply,
                Some(before) => join(before, reply),
            });
            Ok(())
        })?;
        whole.ok_or_else(|| ClientError::Garbled("nothing came".to_owned()))
    }

    fn read(&mut self) -> Result<Reply, ClientError> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_slice(&line).map_err(|e| ClientError::Garbled(e.to_string()))
    }
}

fn join(before: Reply, after: Reply) -> Reply {
    match (before, after) {
        (Reply::Services { mut services, .. }, Reply::Services { services: rest, more }) => {
            services.extend(rest);
            Reply::Services { services, more }
        }
        (Reply::Connections { mut connections, .. }, Reply::Connections { connections: rest, more }) => {
            connections.extend(rest);
            Reply::Connections { connections, more }
        }
        (Reply::Checks { mut checks, .. }, Reply::Checks { checks: rest, more }) => {
            checks.extend(rest);
            Reply::Checks { checks, more }
        }
        (_, after) => after,
    }
}
