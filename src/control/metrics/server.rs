//! The metrics by HTTP (hyper): `GET /metrics` on an address and port, or on a unix socket. However many ask, one page is made at a
//! time, and serves all who come within a second; a client that is slow is cut off.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::config::Listen;
use crate::control::Control;
use crate::control::server::{ServerError, replace_socket};

/// Clients at a time.
const CLIENTS: usize = 16;
/// How long one may take from its request to the end of its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request may take to come.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a page is served.
const FRESH: Duration = Duration::from_secs(1);
/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why the metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The system refuses the address.
    #[error("[metrics] listen: {address} cannot be listened on: {reason}; {}", remedy(.reason))]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        reason: io::Error,
    },
    /// The unix socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] ServerError),
}

fn remedy(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::AddrInUse => "another program has that port; give another one",
        io::ErrorKind::AddrNotAvailable => "give an address of this host, or 0.0.0.0 or [::] for all of them",
        io::ErrorKind::PermissionDenied => "give a port from 1024 on, or more rights",
        _ => "give another address",
    }
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A client's connection.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

/// The open socket.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = &self.listener {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Server {
    /// Listens as the configuration says; `None` if it says nowhere. Within a runtime.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn bind(listen: &Listen) -> Result<Option<Self>, MetricsError> {
        let listener = match listen {
            Listen::Off => return Ok(None),
            Listen::Tcp(address) => {
                Listener::Tcp(bind(*address).map_err(|reason| MetricsError::Address { address: *address, reason })?)
            }
            Listen::Unix(path) => {
                let listener = replace_socket("[metrics] listen", path, |beside| UnixListener::bind(beside))?;
                Listener::Unix(listener, path.clone())
            }
        };
        Ok(Some(Self { listener }))
    }

    /// The address that it listens on, unless that is a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    /// Serves clients. Never returns.
    pub async fn run(&self, control: &Control) {
        let (room, press) = (Arc::new(Semaphore::new(CLIENTS)), Arc::new(Press::new(control.clone())));
        loop {
            match self.listener.accept().await {
                Ok(stream) => {
                    let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                        tracing::warn!("more than {CLIENTS} clients of the metrics; one was turned away");
                        continue;
                    };
                    let press = Arc::clone(&press);
                    tokio::spawn(async move {
                        serve(stream, &press).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("the metrics' socket does not accept a client: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Answers one request of one client.
async fn serve(stream: Box<dyn Stream>, press: &Press) {
    let answer = service_fn(|request| answer(request, press));
    let mut http = http1::Builder::new();
    http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    // What a client does wrong, or too slowly, is its own trouble.
    let _ = timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), answer)).await;
}

async fn answer(request: Request<Incoming>, press: &Press) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, press.page().await),
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, "pollvsd: GET /metrics\n".into()),
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "not found; GET /metrics\n".into()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n".into()),
    };
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, TEXT.parse().expect("a header's value"));
    headers.insert(ALLOW, "GET, HEAD".parse().expect("a header's value"));
    Ok(response)
}

/// Makes pages.
struct Press {
    control: Control,
    /// The last one, and when its making was begun.
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Press {
    fn new(control: Control) -> Self {
        Self { control, last: Mutex::default() }
    }

    async fn page(&self) -> Bytes {
        let mut last = self.last.lock().await;
        if let Some((_, page)) = last.as_ref().filter(|(begun, _)| begun.elapsed() < FRESH) {
            return page.clone();
        }
        let begun = Instant::now();
        let sample = self.control.sample().await;
        let text = tokio::task::spawn_blocking(move || sample.text()).await.unwrap_or_default();
        let page = Bytes::from(text);
        *last = Some((begun, page.clone()));
        page
    }
}
