//! The kernel's texts on IPVS, `/proc/net/ip_vs*`: opening one opens the director's text of that name. It is asked for by one
//! datagram, and the answer carries the descriptor from which the text is read.
use std::ffi::CStr;
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use libc::{c_char, c_int, c_void, iovec, msghdr};

use crate::director::{self, Patience};
use crate::{errno, message, next, proc_path, say, settings};

/// Bytes of the answer; a kernel's error with the request quoted has fewer.
const ANSWER: usize = 256;
/// Room for one descriptor, aligned as control messages are.
const CONTROL: usize = 8;

/// Where a folder's descriptor, or AT_FDCWD, leads.
fn folder(descriptor: c_int) -> Option<Vec<u8>> {
    let link = match descriptor {
        libc::AT_FDCWD => "/proc/self/cwd\0".to_owned(),
        open => format!("/proc/self/fd/{open}\0"),
    };
    let mut path = vec![0; libc::PATH_MAX as usize];
    // SAFETY: the name of the link ends with a zero byte, and no more is written than there is room for.
    let length = unsafe { libc::readlink(link.as_ptr().cast(), path.as_mut_ptr().cast(), path.len()) };
    path.truncate(usize::try_from(length).ok()?);
    Some(path)
}

/// The descriptor that came with a message.
fn carried(message: &msghdr) -> Option<OwnedFd> {
    // SAFETY: the kernel has filled in the control messages, of which the macros find the first; one of SCM_RIGHTS holds at least
    // one descriptor, which is now ours alone. It need not be aligned.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(message);
        let control = control.as_ref()?;
        if control.cmsg_level != libc::SOL_SOCKET || control.cmsg_type != libc::SCM_RIGHTS {
            return None;
        }
        let descriptor = libc::CMSG_DATA(control).cast::<RawFd>().read_unaligned();
        Some(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Asks the director for a text. The error is a number of `errno`.
fn ask(director: &OwnedFd, name: &[u8]) -> Result<OwnedFd, c_int> {
    let request = message::text_request(name);
    // SAFETY: the request lives until the call returns, and has as many bytes.
    let sent = unsafe { next::send(director.as_raw_fd(), request.as_ptr().cast(), request.len(), libc::MSG_NOSIGNAL) };
    if sent < 0 {
        return Err(errno::get());
    }
    let mut bytes = [0_u8; ANSWER];
    let mut control = [MaybeUninit::<u64>::uninit(); CONTROL];
    let mut part = iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all of its fields are numbers and pointers, for which zeros are a value; then it points to memory that lives until
    // the call returns, and is as long as said.
    let (length, message) = unsafe {
        let mut message: msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast::<c_void>();
        message.msg_controllen = size_of_val(&control);
        (next::recvmsg(director.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC), message)
    };
    let descriptor = if length > 0 { carried(&message) } else { None };
    let length = usize::try_from(length).map_err(|_| errno::get())?;
    match (message::error_of(bytes.get(..length).unwrap_or_default()), descriptor) {
        (Some(0), Some(descriptor)) => Ok(descriptor),
        (Some(error @ 1..), _) => Err(error),
        (None, _) if length == 0 => Err(libc::ECONNRESET),
        _ => Err(libc::EIO),
    }
}

/// A program opens a path. What `open` returns, if the path names a text that is the director's.
///
/// # Safety
/// The path is null or ends with a zero byte.
pub(crate) unsafe fn open(from: c_int, path: *const c_char, flags: c_int) -> Option<c_int> {
    if path.is_null() {
        return None;
    }
    // SAFETY: it is not null, and the caller vouches for its end.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let kept = errno::Kept::new();
    let name = proc_path::of(path, || folder(from))?;
    let settings = settings::get();
    let asked = director::connect(settings, Patience::Wait).map(|director| ask(&director, name));
    let opened = match asked {
        Ok(opened) => opened,
        Err(error) if settings.strict => {
            say::refused(settings, "no director answers; is pollvsd running?");
            Err(error)
        }
        Err(error @ (libc::EACCES | libc::EPERM)) => Err(error),
        Err(_) => return None,
    };
    drop(kept);
    Some(opened.map_or_else(
        |error| {
            errno::set(error);
            -1
        },
        |text| {
            if flags & libc::O_CLOEXEC == 0 {
                // SAFETY: the command takes a number.
                unsafe { libc::fcntl(text.as_raw_fd(), libc::F_SETFD, 0) };
            }
            text.into_raw_fd()
        },
    ))
}
