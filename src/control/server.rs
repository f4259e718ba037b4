//! The control socket: JSON lines over a unix socket of mode 0600. Each client is a task of its own; one that sends half a line, a
//! line without end, or does not read its answers is cut off, and nobody else notices.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::control::reply::{ErrorCode, Failure, PROTOCOL, Reply};
use crate::control::request::Request;
use crate::control::{Answer, Control, Listing};

/// The longest request line, in bytes.
pub const LONGEST_LINE: usize = 1 << 20;
/// How long a client is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Until a line that was begun is finished, and until one line of an answer is read.
    pub line: Duration,
    /// Until something is said.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { line: Duration::from_secs(10), idle: Duration::from_secs(3600) }
    }
}

/// Clients at a time.
const CLIENTS: usize = 256;

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody answers there.
    #[error("another pollvsd is listening on {path}; stop it, or set another {key}")]
    Taken {
        /// Section and key of the configuration.
        key: &'static str,
        /// The socket.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("the socket {path} cannot be opened: {reason}; check {key} and its folder")]
    Unopenable {
        /// Section and key of the configuration.
        key: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

/// The open socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    patience: Patience,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Server {
    /// Opens the socket, in place of one that a dead director has left behind.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let listener = replace_socket("[director] socket", path, |beside| UnixListener::bind(beside))?;
        Ok(Self { listener, path: path.to_owned(), patience: Patience::default() })
    }

    /// With another patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Serves clients. Never returns.
    pub async fn run(&self, control: &Control) {
        let room = Arc::new(Semaphore::new(CLIENTS));
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match room.clone().try_acquire_owned() {
                    Ok(place) => {
                        let (control, patience) = (control.clone(), self.patience);
                        tokio::spawn(async move {
                            Client::new(stream, patience).serve(&control).await;
                            drop(place);
                        });
                    }
                    Err(_) => tracing::warn!("more than {CLIENTS} clients of the control socket; one was turned away"),
                },
                Err(error) => {
                    tracing::warn!("the control socket does not accept a client: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Opens a socket, in place of one that a dead director has left behind. `key` is where the configuration names it.
pub(super) fn replace_socket<T>(
    key: &'static str,
    path: &Path,
    bind: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, ServerError> {
    let unopenable = |reason| ServerError::Unopenable { key, path: path.to_owned(), reason };
    if is_taken(path).map_err(unopenable)? {
        return Err(ServerError::Taken { key, path: path.to_owned() });
    }
    open(path, bind).map_err(unopenable)
}

/// Does somebody answer there? An error for what is no socket, which must not be replaced.
fn is_taken(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(it) if !it.file_type().is_socket() => return Err(io::Error::other("there is something that is no socket")),
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        // Somebody listens, for packets and not for a stream.
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EPROTOTYPE as i32) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Binds beside the path and moves the socket there, so that it never is there with other rights than 0600.
fn open<T>(path: &Path, bind: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = bind(&beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
    fs::rename(&beside, path)?;
    Ok(listener)
}

/// One client.
struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    line: Vec<u8>,
    patience: Patience,
}

/// A client that is cut off, or has gone.
struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<tokio::time::error::Elapsed> for Gone {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self
    }
}

impl Client {
    fn new(stream: UnixStream, patience: Patience) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer, line: Vec::new(), patience }
    }

    async fn serve(&mut self, control: &Control) {
        let hello = Reply::Hello { protocol: PROTOCOL, version: env!("POLLVS_VERSION").to_owned() };
        if self.write(&hello).await.is_err() {
            return;
        }
        // Ends with the client, whatever its reason.
        while self.turn(control).await.is_ok() {}
    }

    async fn turn(&mut self, control: &Control) -> Result<(), Gone> {
        self.read_line().await?;
        if self.line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match Request::parse(&self.line) {
            Ok(request) => self.answer(control.handle(request).await).await,
            Err(text) => self.write(&Reply::Error(Failure::new(ErrorCode::BadRequest, text))).await,
        }
    }

    async fn answer(&mut self, answer: Answer) -> Result<(), Gone> {
        match answer {
            Answer::One(reply) => self.write(&reply).await,
            Answer::Many(listing) if listing.is_endless() => self.stream(listing).await,
            Answer::Many(mut listing) => {
                while let Some(reply) = listing.next().await {
                    self.write(&reply).await?;
                }
                Ok(())
            }
        }
    }

    /// Writes line after line until the client says something, or goes. One that reads slowly is waited for: it is events that it loses.
    async fn stream(&mut self, mut listing: Listing) -> Result<(), Gone> {
        loop {
            let reply = tokio::select! {
                said = self.reader.fill_buf() => return if said?.is_empty() { Err(Gone) } else { Ok(()) },
                reply = listing.next() => reply,
            };
            let Some(reply) = reply else { return Ok(()) };
            let line = line(&reply)?;
            timeout(self.patience.idle, self.writer.write_all(&line)).await??;
        }
    }

    async fn read_line(&mut self) -> Result<(), Gone> {
        if timeout(self.patience.idle, self.reader.fill_buf()).await??.is_empty() {
            return Err(Gone);
        }
        self.line.clear();
        match timeout(self.patience.line, read_line(&mut self.reader, &mut self.line)).await? {
            Ok(true) => Ok(()),
            Ok(false) => Err(Gone),
            Err(too_long) => {
                self.write(&Reply::Error(too_long)).await?;
                Err(Gone)
            }
        }
    }

    async fn write(&mut self, reply: &Reply) -> Result<(), Gone> {
        let line = line(reply)?;
        timeout(self.patience.line, self.writer.write_all(&line)).await??;
        Ok(())
    }
}

fn line(reply: &Reply) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads up to the end of the line; false when the client has gone before it.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> Result<bool, Failure> {
    loop {
        let Ok(chunk) = reader.fill_buf().await else { return Ok(false) };
        if chunk.is_empty() {
            return Ok(false);
        }
        let end = chunk.iter().position(|b| *b == b'\n');
        let taken = end.map_or(chunk.len(), |at| at + 1);
        line.extend_from_slice(&chunk[..taken]);
        reader.consume(taken);
        if line.len() > LONGEST_LINE {
            return Err(Failure::new(ErrorCode::BadRequest, format!("a line is longer than {LONGEST_LINE} bytes")));
        }
        if end.is_some() {
            return Ok(true);
        }
    }
}
