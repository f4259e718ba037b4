//! The way to pollvsd: its unix socket, which keeps the bounds of datagrams (SOCK_SEQPACKET), and the waiting for a director that
//! restarts.
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libc::{c_int, sockaddr_un, socklen_t};

use crate::settings::Settings;
use crate::{errno, say, socket};

/// How often it is tried whether the director is back.
const STEP: Duration = Duration::from_millis(20);

/// Was the director waited for in vain? Then nobody waits again before it is back: keepalived, which checks nothing while it
/// waits, has lost no more than one wait.
static IN_VAIN: AtomicBool = AtomicBool::new(false);

/// May one wait for the director, or is the caller not to be held up?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Wait,
    None,
}

/// A socket's address in the form of C, and its length.
fn address(name: &[u8]) -> (sockaddr_un, socklen_t) {
    // SAFETY: all of its fields are numbers, for which zero is a value.
    let mut address: sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (place, byte) in address.sun_path.iter_mut().zip(name) {
        *place = byte.cast_signed();
    }
    (address, size_of::<sockaddr_un>() as socklen_t)
}

/// One attempt. The error is a number of `errno`.
fn dial(settings: &Settings) -> Result<OwnedFd, c_int> {
    // SAFETY: the call asks for nothing, and a descriptor that it returns is ours alone.
    let socket = unsafe {
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(errno::get());
        }
        OwnedFd::from_raw_fd(socket)
    };
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        socket::set_time(socket.as_raw_fd(), option, settings.timeout);
    }
    let (address, length) = address(&settings.socket);
    // SAFETY: the address lives until the call returns, and is as long as said.
    let connected = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if connected == 0 { Ok(socket) } else { Err(errno::get()) }
}

/// May the director be about to start, where this is the error of an attempt?
fn may_come(error: c_int) -> bool {
    matches!(error, libc::ENOENT | libc::ECONNREFUSED | libc::EAGAIN | libc::EINTR | libc::ECONNRESET)
}

/// A connection to the director, which is waited for as the settings say if `patience` allows. The error is a number of `errno`.
pub(crate) fn connect(settings: &Settings, patience: Patience) -> Result<OwnedFd, c_int> {
    say::complaint(settings);
    let _kept = errno::Kept::new();
    let wait = patience == Patience::Wait && !IN_VAIN.load(Ordering::Relaxed);
    let end = Instant::now() + Duration::from_millis(if wait { settings.wait.into() } else { 0 });
    loop {
        let result = dial(settings);
        match result {
            Err(error) if may_come(error) && Instant::now() < end => std::thread::sleep(STEP),
            Err(error) => {
                IN_VAIN.store(wait && may_come(error) || IN_VAIN.load(Ordering::Relaxed), Ordering::Relaxed);
                return Err(error);
            }
            Ok(_) => {
                IN_VAIN.store(false, Ordering::Relaxed);
                return result;
            }
        }
    }
}

/// Two sockets that are connected, of which one is gone: what a connection to a director that is not there looks like. It is
/// always ready to be read, so that a program which waits for its answer finds the one that is made up.
pub(crate) fn dead_end() -> Option<OwnedFd> {
    let _kept = errno::Kept::new();
    let mut ends = [-1; 2];
    // SAFETY: the call fills two descriptors when it returns 0, and they are ours alone; the second closes at once.
    unsafe {
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        if libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) != 0 {
            return None;
        }
        drop(OwnedFd::from_raw_fd(ends[1]));
        Some(OwnedFd::from_raw_fd(ends[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(socket: &std::path::Path, wait: u32) -> Settings {
        let socket = socket.to_str().unwrap().as_bytes().to_vec();
        Settings { socket, strict: false, wait, timeout: 1000, complaint: None }
    }

    /// A socket that listens like pollvsd's.
    fn listen(path: &std::path::Path) -> OwnedFd {
        // SAFETY: the address lives until the calls return.
        unsafe {
            let socket =
                OwnedFd::from_raw_fd(libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0));
            let (address, length) = address(path.to_str().unwrap().as_bytes());
            assert_eq!(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length), 0);
            assert_eq!(libc::listen(socket.as_raw_fd(), 4), 0);
            socket
        }
    }

    /// One test, for whether it was waited in vain is known to the whole process.
    #[test]
    fn a_director_that_restarts_is_waited_for_and_one_that_does_not_come_once() {
        let folder = std::env::temp_dir().join(format!("pollvs-ipvs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("s");
        let patient = settings(&path, 10_000);
        let late = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(Duration::from_millis(100));
                listen(&path)
            }
        });
        assert!(connect(&patient, Patience::Wait).is_ok());
        drop(late.join().unwrap());
        // The file is still there, and nobody behind it.
        assert_eq!(connect(&patient, Patience::None).unwrap_err(), libc::ECONNREFUSED);
        let hasty = settings(&path, 60);
        let start = Instant::now();
        assert_eq!(connect(&hasty, Patience::Wait).unwrap_err(), libc::ECONNREFUSED);
        assert!(start.elapsed() >= Duration::from_millis(60));
        let start = Instant::now();
        assert_eq!(connect(&patient, Patience::Wait).unwrap_err(), libc::ECONNREFUSED);
        assert!(start.elapsed() < Duration::from_millis(5_000), "waited a second time");
        std::fs::remove_file(&path).unwrap();
        let _listening = listen(&path);
        assert!(connect(&patient, Patience::Wait).is_ok());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_dead_end_is_at_its_end() {
        let end = dead_end().unwrap();
        let mut byte = 0_u8;
        // SAFETY: the byte lives until the call returns.
        let read = unsafe { libc::recv(end.as_raw_fd(), (&raw mut byte).cast(), 1, 0) };
        assert_eq!(read, 0);
    }
}
