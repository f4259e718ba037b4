//! A netlink socket that speaks of IPVS: a connection to the director takes its place, and what comes and goes by it looks as it
//! does at the kernel's. What is called for any descriptor says `None` for one that has nothing to do with the director.
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::null_mut;

use libc::{c_int, c_void, msghdr, sockaddr, socklen_t, ssize_t};

use crate::director::{self, Patience};
use crate::message::{self, Header};
use crate::parts::Parts;
use crate::table::{self, Connection};
use crate::{errno, next, say, settings, socket};

/// What a program is told when there is no director: that the resource is not available for now.
const NO_DIRECTOR: c_int = libc::EAGAIN;
/// What it is told of a director that does not answer.
const NO_ANSWER: c_int = libc::ETIMEDOUT;

/// Whose a descriptor is, now that the program speaks of IPVS by it.
enum Whose {
    /// The director's, the connection having this number.
    Director(u64),
    /// The kernel's: there is no director, and nothing forbids to ask the kernel.
    Kernel,
    /// Nobody's: there is no room for another connection.
    Nobody,
}

/// What is done after the director's socket gave an error instead of an answer.
enum After {
    /// The program gets this error.
    Fail(c_int),
    /// It is read again, by the connection of this number.
    Again(u64),
    /// The descriptor is a socket of netlink again.
    Kernel,
}

fn patience(fd: c_int, flags: c_int) -> Patience {
    if socket::at_once(fd, flags) { Patience::None } else { Patience::Wait }
}

fn is_denied(error: c_int) -> bool {
    matches!(error, libc::EACCES | libc::EPERM)
}

/// What a program is told where the director could not be reached with this error.
fn told(error: c_int) -> c_int {
    if is_denied(error) { libc::EPERM } else { NO_DIRECTOR }
}

/// Lets `socket` take the place of `fd`; the number of the connection.
fn install(fd: c_int, socket: &OwnedFd, connection: &Connection) -> Option<u64> {
    let number = table::number(socket.as_raw_fd())?;
    // It is known before it stands there, so that no other thread finds a socket of which nothing is known.
    (table::insert(number, connection) && socket::put_under(fd, socket)).then_some(number)
}

/// The first message about IPVS on a socket of netlink: takes its place, if there is a director, or if the kernel may not answer.
fn take_over(fd: c_int, flags: c_int) -> Whose {
    let _kept = errno::Kept::new();
    let settings = settings::get();
    let mut connection = Connection::new(fd, socket::port_of(fd));
    let found = director::connect(settings, patience(fd, flags));
    let socket = match found {
        Ok(socket) => Some(socket),
        // A director that lets this user not in is there all the same, and says what the kernel would.
        Err(error) if settings.strict || is_denied(error) => {
            if !is_denied(error) {
                say::refused(settings, "no director answers; is pollvsd running?");
            }
            connection.dead = true;
            director::dead_end()
        }
        Err(_) => return Whose::Kernel,
    };
    let installed = socket.and_then(|socket| {
        connection.timed = socket::copy_times(fd, &socket);
        install(fd, &socket, &connection)
    });
    installed.map_or(Whose::Nobody, Whose::Director)
}

/// A new connection in the place of one that ended; its number. The error is what the program is told.
fn reconnect(fd: c_int, number: u64, patience: Patience) -> Result<u64, c_int> {
    let _kept = errno::Kept::new();
    let socket = director::connect(settings::get(), patience).map_err(told)?;
    let mut connection = table::with(number, |connection| *connection).ok_or(NO_DIRECTOR)?;
    connection.dead = false;
    socket::copy_times(fd, &socket);
    let renewed = install(fd, &socket, &connection).ok_or(libc::ENOBUFS)?;
    // What the old one owed is the new one's matter now. It is kept, for another descriptor may have it still.
    table::with(number, |old| *old = Connection { dead: true, ..Connection::new(old.descriptor, old.port) });
    Ok(renewed)
}

/// A socket of netlink in the place of a connection that ended while nothing was owed by it; false where there is none to be had.
fn give_back(fd: c_int, number: u64) -> bool {
    let _kept = errno::Kept::new();
    let Some((port, timed)) = table::with(number, |connection| (connection.port, connection.timed)) else {
        return false;
    };
    let Some(socket) = socket::generic_netlink(port) else { return false };
    if timed {
        socket::copy_times(fd, &socket);
    }
    let given = socket::put_under(fd, &socket);
    table::remove(number);
    given
}

/// Whose the message is that a program sends by `fd`; `Kernel` for all that is not about IPVS.
fn whose(fd: c_int, parts: &Parts, flags: c_int, to_kernel: impl FnOnce() -> bool) -> Whose {
    if let Some(number) = table::find(fd) {
        return Whose::Director(number);
    }
    let mut start = [0; message::HEADER];
    let length = parts.read(0, &mut start);
    let may_be = message::might_concern_ipvs(start.get(..length).unwrap_or_default());
    let is = may_be && to_kernel() && socket::is_generic_netlink(fd) && message::concerns_ipvs(&parts.gather());
    if is { take_over(fd, flags) } else { Whose::Kernel }
}

/// A program sends by `fd`. `to_kernel` says whether the message is addressed to the kernel. What the call returns, if it is ours.
pub(crate) fn send(fd: c_int, parts: &Parts, flags: c_int, to_kernel: impl FnOnce() -> bool) -> Option<ssize_t> {
    let number = match whose(fd, parts, flags, to_kernel) {
        Whose::Director(number) => number,
        Whose::Kernel => return None,
        Whose::Nobody => {
            errno::set(libc::ENOBUFS);
            return Some(-1);
        }
    };
    let port = table::with(number, |connection| {
        connection.descriptor = fd;
        connection.port
    })?;
    let mut datagram = parts.gather();
    message::address_from(&mut datagram, port);
    Some(deliver(fd, number, &datagram, flags))
}

/// Sends a datagram by a connection that may have ended. The error is a number of `errno`.
fn attempt(fd: c_int, number: u64, datagram: &[u8], flags: c_int) -> Result<(), c_int> {
    let _kept = errno::Kept::new();
    // Noted before it is sent, since another thread may read the answer at once.
    let noted = table::with(number, |connection| {
        let before = connection.owed;
        let alive = !connection.dead;
        if alive {
            connection.owed.sent(datagram);
        }
        alive.then_some(before)
    });
    let before = noted.flatten().ok_or(libc::EPIPE)?;
    // SAFETY: the datagram lives until the call returns, and has as many bytes.
    let sent = unsafe { next::send(fd, datagram.as_ptr().cast(), datagram.len(), flags | libc::MSG_NOSIGNAL) };
    if sent >= 0 {
        return Ok(());
    }
    let error = errno::get();
    table::with(number, |connection| connection.owed = before);
    Err(error)
}

/// Is this an error that a socket of netlink gives too, and that says nothing of the director?
fn is_the_callers(error: c_int, at_once: bool) -> bool {
    matches!(error, libc::EMSGSIZE | libc::ENOBUFS | libc::ENOMEM | libc::EINTR | libc::EBADF)
        || error == libc::EAGAIN && at_once
}

/// Sends a request to the director, again if that has restarted; a request that cannot reach it is answered by a refusal.
fn deliver(fd: c_int, number: u64, datagram: &[u8], flags: c_int) -> ssize_t {
    let sent = datagram.len().cast_signed();
    match attempt(fd, number, datagram, flags) {
        Ok(()) => return sent,
        Err(error) if is_the_callers(error, socket::at_once(fd, flags)) => {
            errno::set(error);
            return -1;
        }
        Err(_) => {}
    }
    // What was asked before, of the connection that is gone, is refused.
    table::with(number, |connection| connection.owed.refuse(NO_DIRECTOR));
    let (number, result) = match reconnect(fd, number, patience(fd, flags)) {
        Ok(renewed) => (renewed, attempt(fd, renewed, datagram, flags).map_err(|_| NO_DIRECTOR)),
        Err(error) => (number, Err(error)),
    };
    if let Err(error) = result {
        table::with(number, |connection| {
            connection.dead = true;
            connection.owed.refuse_unsent(datagram, error);
        });
    }
    sent
}

/// A program receives by `fd`. What the call returns, if the descriptor is ours.
///
/// # Safety
/// The message is one for `recvmsg`: what it points to may be written.
pub(crate) unsafe fn receive(fd: c_int, message: &mut msghdr, flags: c_int) -> Option<ssize_t> {
    let mut number = table::find(fd)?;
    // SAFETY: the caller vouches for the buffers.
    let parts = unsafe { Parts::new(message.msg_iov, message.msg_iovlen) };
    loop {
        let length = match made_up(number, &parts, flags) {
            Some(length) => {
                message.msg_flags = if length > parts.length() { libc::MSG_TRUNC } else { 0 };
                message.msg_controllen = 0;
                length
            }
            // SAFETY: the message is as good as the caller's.
            None => match unsafe { read(fd, message, flags) } {
                Ok(length) => {
                    note(number, &parts, length, flags);
                    length
                }
                Err(error) => match after(fd, number, error, flags) {
                    After::Again(renewed) => {
                        number = renewed;
                        continue;
                    }
                    After::Kernel => return None,
                    After::Fail(error) => {
                        errno::set(error);
                        return Some(-1);
                    }
                },
            },
        };
        // SAFETY: the name has room for as many bytes as the message says.
        message.msg_namelen = unsafe { socket::give_address(0, message.msg_name, message.msg_namelen) };
        let received = if flags & libc::MSG_TRUNC != 0 { length } else { length.min(parts.length()) };
        return Some(received.cast_signed());
    }
}

/// Writes the answers that are made up, if there are any; their length.
fn made_up(number: u64, parts: &Parts, flags: c_int) -> Option<usize> {
    table::with(number, |connection| {
        let length = connection.owed.made_up().len();
        if length > 0 {
            parts.write(connection.owed.made_up());
            if flags & libc::MSG_PEEK == 0 {
                connection.owed.forget_made_up();
            }
        }
        (length > 0).then_some(length)
    })?
}

/// Reads a datagram of the director's; its length, of which the buffers may hold less. The error is a number of `errno`.
///
/// # Safety
/// The message is one for `recvmsg`.
unsafe fn read(fd: c_int, message: &mut msghdr, flags: c_int) -> Result<usize, c_int> {
    let kept = errno::Kept::new();
    let (name, size, room) = (message.msg_name, message.msg_namelen, message.msg_controllen);
    (message.msg_name, message.msg_namelen) = (null_mut(), 0);
    // With MSG_TRUNC it gives the datagram's own length, so that nothing is mistaken for the end.
    // SAFETY: the caller vouches for the message.
    let length = unsafe { next::recvmsg(fd, message, flags | libc::MSG_TRUNC) };
    let error = errno::get();
    drop(kept);
    (message.msg_name, message.msg_namelen) = (name, size);
    match usize::try_from(length) {
        Ok(length @ 1..) => Ok(length),
        // Nothing else is lost where it is tried again.
        Ok(0) => {
            message.msg_controllen = room;
            Err(libc::ECONNRESET)
        }
        Err(_) => Err(error),
    }
}

/// Takes note of what the program has received.
fn note(number: u64, parts: &Parts, length: usize, flags: c_int) {
    let held = length.min(parts.length());
    let mut at = 0;
    while flags & libc::MSG_PEEK == 0 && at < held {
        let mut start = [0; message::HEADER];
        let read = parts.read(at, &mut start);
        let Some(header) = Header::read(start.get(..read).unwrap_or_default()) else { break };
        table::with(number, |connection| connection.owed.received(header));
        at = at.saturating_add(header.advance());
    }
}

/// What follows from an error of the director's socket.
fn after(fd: c_int, number: u64, error: c_int, flags: c_int) -> After {
    let Some((owed, timed)) = table::with(number, |connection| (connection.owed.is_owed(), connection.timed)) else {
        return After::Fail(error);
    };
    match error {
        libc::EAGAIN if timed || socket::at_once(fd, flags) => After::Fail(libc::EAGAIN),
        // The library's own time is up, and the program waits for ever.
        libc::EAGAIN if !owed => After::Again(number),
        libc::EAGAIN => {
            // SAFETY: the call takes numbers. An answer that comes too late is not taken for that of a later request.
            unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
            refuse(number, NO_ANSWER)
        }
        libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN | libc::ECONNREFUSED if owed => ask_again(fd, number, flags),
        libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN | libc::ECONNREFUSED if give_back(fd, number) => After::Kernel,
        error => After::Fail(error),
    }
}

/// Everything that is owed is refused.
fn refuse(number: u64, error: c_int) -> After {
    table::with(number, |connection| {
        connection.dead = true;
        connection.owed.refuse(error);
    });
    After::Again(number)
}

/// The connection ended while an answer was owed: the request is sent again, or refused.
fn ask_again(fd: c_int, number: u64, flags: c_int) -> After {
    let Some(request) = table::with(number, |connection| connection.owed.again()).flatten() else {
        return refuse(number, NO_DIRECTOR);
    };
    let renewed = match reconnect(fd, number, patience(fd, flags)) {
        Ok(renewed) => renewed,
        Err(error) => return refuse(number, error),
    };
    let kept = errno::Kept::new();
    // SAFETY: the request lives until the call returns, and has as many bytes.
    let sent = unsafe { next::send(fd, request.as_ptr().cast(), request.len(), libc::MSG_NOSIGNAL) };
    drop(kept);
    if sent < 0 { refuse(renewed, NO_DIRECTOR) } else { After::Again(renewed) }
}

/// The name of a socket: the netlink address of the one whose place was taken.
///
/// # Safety
/// The pointers are those of `getsockname`.
pub(crate) unsafe fn name(fd: c_int, to: *mut sockaddr, size: *mut socklen_t) -> Option<c_int> {
    let port = table::with(table::find(fd)?, |connection| connection.port)?;
    if to.is_null() || size.is_null() {
        errno::set(libc::EFAULT);
        return Some(-1);
    }
    // SAFETY: neither is null, and the caller says how much room there is.
    unsafe { *size = socket::give_address(port, to.cast(), *size) };
    Some(0)
}

/// An option is set on a socket: those of netlink have no meaning any more, and a program's own times take the library's place.
///
/// # Safety
/// The value is one for `setsockopt`.
pub(crate) unsafe fn set_option(
    fd: c_int,
    level: c_int,
    option: c_int,
    value: *const c_void,
    size: socklen_t,
) -> Option<c_int> {
    let number = table::find(fd)?;
    match (level, option) {
        (libc::SOL_NETLINK, _) => Some(0),
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => {
            // SAFETY: the caller vouches for the value.
            let set = unsafe { next::setsockopt(fd, level, option, value, size) };
            if set == 0 {
                let timed = socket::receives_in_time(fd);
                table::with(number, |connection| connection.timed = timed);
                if !timed {
                    socket::set_time(fd, option, settings::get().timeout);
                }
            }
            Some(set)
        }
        _ => None,
    }
}

/// What a socket says of itself when it is asked for an option; none for what it may say as it is.
pub(crate) fn own_option(fd: c_int, level: c_int, option: c_int) -> Option<c_int> {
    if level != libc::SOL_SOCKET {
        return None;
    }
    let said = match option {
        libc::SO_DOMAIN => libc::AF_NETLINK,
        libc::SO_PROTOCOL => libc::NETLINK_GENERIC,
        libc::SO_TYPE => libc::SOCK_RAW,
        // That the director hung up is none of the program's matters.
        libc::SO_ERROR => 0,
        _ => return None,
    };
    table::find(fd).map(|_| said)
}
