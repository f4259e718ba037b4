//! The netlink-compatible socket: a SEQPACKET unix socket, one netlink datagram a packet, its file for root alone. Every client has a
//! task of its own; one that does not read is cut off.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_seqpacket::ancillary::AncillaryMessageWriter;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

use super::message::Request;
use crate::control::Control;
use crate::control::server::{ServerError, replace_socket};

/// The longest datagram that is read, in bytes: what libnl makes of one is far shorter.
const LONGEST: usize = 32 * 1024;
/// How long a client may take to read one datagram.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at a time.
const CLIENTS: usize = 256;

/// The open socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixSeqpacketListener,
    path: PathBuf,
    patience: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Server {
    /// Opens the socket, in place of one that a dead director has left behind.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let listener = replace_socket("[director] ipvs_socket", path, |beside| UnixSeqpacketListener::bind(beside))?;
        Ok(Self { listener, path: path.to_owned(), patience: PATIENCE })
    }

    /// With another patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Serves clients. Never returns.
    pub async fn run(&mut self, control: &Control) {
        let room = Arc::new(Semaphore::new(CLIENTS));
        loop {
            match self.listener.accept().await {
                Ok(socket) => match room.clone().try_acquire_owned() {
                    Ok(place) => {
                        let client = Client { allowed: may_change(&socket), socket, patience: self.patience };
                        let control = control.clone();
                        tokio::spawn(async move {
                            client.serve(&control).await;
                            drop(place);
                        });
                    }
                    Err(_) => tracing::warn!("more than {CLIENTS} clients of the ipvs socket; one was turned away"),
                },
                Err(error) => {
                    tracing::warn!("the ipvs socket does not accept a client: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Root may, and who runs the director: the kernel asks for `CAP_NET_ADMIN`, for reading too.
fn may_change(socket: &UnixSeqpacket) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    socket.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

struct Client {
    socket: UnixSeqpacket,
    allowed: bool,
    patience: Duration,
}

impl Client {
    async fn serve(&self, control: &Control) {
        let mut buffer = vec![0; LONGEST];
        // Ends with the client, whatever its reason.
        while self.turn(control, &mut buffer).await.is_ok() {}
    }

    async fn send(&self, datagram: &[u8], file: Option<OwnedFd>) -> io::Result<usize> {
        let Some(file) = file else { return self.socket.send(datagram).await };
        let mut room = [0; 64];
        let mut with = AncillaryMessageWriter::new(&mut room);
        with.add_fds([&file]).map_err(io::Error::other)?;
        self.socket.send_with_ancillary(datagram, &mut with).await
    }

    async fn turn(&self, control: &Control, buffer: &mut [u8]) -> io::Result<()> {
        let read = self.socket.recv(buffer).await?;
        if read.bytes_read() == 0 || read.truncated() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for request in Request::all(&buffer[..read.bytes_read()]) {
            let mut answers = control.ipvs(request, self.allowed).await;
            while let Some(datagram) = answers.next() {
                timeout(self.patience, self.send(&datagram, answers.file.take())).await??;
            }
        }
        Ok(())
    }
}
