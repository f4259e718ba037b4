//! A word to the person who runs the program, on standard error: the library has no other way to say why it refuses.
use std::sync::atomic::{AtomicBool, Ordering};

use crate::errno;
use crate::settings::Settings;

/// Standard error, unless a daemon has closed it and has a network socket there now.
fn may_write() -> bool {
    let (mut domain, mut length) = (0_i32, 4);
    // SAFETY: the option is an `int`, which is what the pointer and the length say.
    let found =
        unsafe { libc::getsockopt(2, libc::SOL_SOCKET, libc::SO_DOMAIN, (&raw mut domain).cast(), &raw mut length) };
    found != 0 || domain == libc::AF_UNIX
}

/// Writes one line.
fn line(words: &str) {
    let _kept = errno::Kept::new();
    if may_write() {
        let text = format!("libpollvs_ipvs: {words}\n");
        // SAFETY: the text lives until the call returns, and has as many bytes.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
}

/// Is this the first time that it is asked?
fn first(said: &AtomicBool) -> bool {
    !said.swap(true, Ordering::Relaxed)
}

/// What is wrong with the environment, once.
pub(crate) fn complaint(settings: &Settings) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if let Some(words) = settings.complaint.filter(|_| first(&SAID)) {
        line(words);
    }
}

/// That the strict mode refuses, and why; once.
pub(crate) fn refused(settings: &Settings, why: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if first(&SAID) {
        let socket = String::from_utf8_lossy(&settings.socket);
        line(&format!(
            "{why} (pollvsd's socket: {socket}); the kernel's IPVS is not used instead, since POLLVS_IPVS_STRICT is set"
        ));
    }
}
