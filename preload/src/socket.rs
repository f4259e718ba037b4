//! What the library asks and tells sockets: their options and flags, addresses of netlink, and one taking another's place under
//! its descriptor.
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, sockaddr_nl, socklen_t, timeval};

use crate::{errno, next};

/// Bytes of a netlink address.
const ADDRESS: usize = size_of::<sockaddr_nl>();

/// An integer option of a socket.
fn option(fd: c_int, name: c_int) -> Option<c_int> {
    let (mut value, mut size) = (0_i32, 4);
    // SAFETY: the option is an `int`, as the size says.
    let got = unsafe { next::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut size) };
    (got == 0).then_some(value)
}

pub(crate) fn is_generic_netlink(fd: c_int) -> bool {
    let _kept = errno::Kept::new();
    option(fd, libc::SO_DOMAIN) == Some(libc::AF_NETLINK)
        && option(fd, libc::SO_PROTOCOL) == Some(libc::NETLINK_GENERIC)
}

/// An address of netlink; the kernel's own is that of port 0.
fn address(port: u32) -> sockaddr_nl {
    // SAFETY: all of its fields are numbers, for which zero is a value.
    let mut address: sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_pid = port;
    address
}

/// Writes an address where the caller wants it, cut to the room that there is, as the kernel does. Returns its whole length.
///
/// # Safety
/// `to` is null or has room for `room` bytes.
pub(crate) unsafe fn give_address(port: u32, to: *mut c_void, room: socklen_t) -> socklen_t {
    if !to.is_null() {
        let address = address(port);
        let length = ADDRESS.min(room as usize);
        // SAFETY: no more is written than the caller has room for, nor read than an address has.
        unsafe { (&raw const address).cast::<u8>().copy_to_nonoverlapping(to.cast(), length) }
    }
    ADDRESS as socklen_t
}

/// Does an address, which may be none, lead to the kernel? Netlink between programs has a port or groups.
///
/// # Safety
/// `to` is null or points to `size` bytes.
pub(crate) unsafe fn leads_to_kernel(to: *const c_void, size: socklen_t) -> bool {
    if to.is_null() || (size as usize) < ADDRESS {
        return to.is_null() || size == 0;
    }
    // SAFETY: there are enough bytes for an address, all values of whose fields are valid; it need not be aligned.
    let address: sockaddr_nl = unsafe { to.cast::<sockaddr_nl>().read_unaligned() };
    address.nl_pid == 0 && address.nl_groups == 0
}

/// Gives a netlink socket a port, that of `wish` if it is free and not 0.
fn bind(fd: c_int, wish: u32) {
    for port in [wish, 0] {
        let name = address(port);
        // SAFETY: the address lives until the call returns, and is as long as said.
        if unsafe { libc::bind(fd, (&raw const name).cast(), ADDRESS as socklen_t) } == 0 {
            return;
        }
    }
}

fn port(fd: c_int) -> u32 {
    let (mut name, mut size) = (address(0), ADDRESS as socklen_t);
    // SAFETY: there is room for an address, as the size says.
    unsafe { next::getsockname(fd, (&raw mut name).cast(), &raw mut size) };
    name.nl_pid
}

/// The port of a netlink socket, which is given one if it has none yet.
pub(crate) fn port_of(fd: c_int) -> u32 {
    let _kept = errno::Kept::new();
    if port(fd) == 0 {
        bind(fd, 0);
    }
    port(fd)
}

/// The flags of the open socket, O_NONBLOCK among them.
fn open_flags(fd: c_int) -> c_int {
    // SAFETY: the command takes no argument and gives a number.
    unsafe { libc::fcntl(fd, libc::F_GETFL) }
}

/// Must a call with these flags on this socket return at once?
pub(crate) fn at_once(fd: c_int, flags: c_int) -> bool {
    flags & libc::MSG_DONTWAIT != 0 || open_flags(fd) & libc::O_NONBLOCK != 0
}

/// Sets how long a socket waits; `name` is SO_RCVTIMEO or SO_SNDTIMEO.
pub(crate) fn set_time(fd: c_int, name: c_int, milliseconds: u32) {
    let seconds = i64::from(milliseconds / 1000);
    set(fd, name, &timeval { tv_sec: seconds, tv_usec: i64::from(milliseconds % 1000) * 1000 });
}

/// How long a socket waits, zeros for ever.
fn time(fd: c_int, name: c_int) -> timeval {
    // SAFETY: the option is a `timeval`, for which zeros are a value, and the call is given its size.
    unsafe {
        let mut time: timeval = zeroed();
        let mut size = size_of::<timeval>() as socklen_t;
        next::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut time).cast(), &raw mut size);
        time
    }
}

fn set(fd: c_int, name: c_int, time: &timeval) {
    let size = size_of::<timeval>() as socklen_t;
    // SAFETY: the option is a `timeval`, which lives until the call returns.
    unsafe { next::setsockopt(fd, libc::SOL_SOCKET, name, std::ptr::from_ref(time).cast(), size) };
}

fn is_limited(time: &timeval) -> bool {
    (time.tv_sec, time.tv_usec) != (0, 0)
}

/// Does receiving by a socket end after some time?
pub(crate) fn receives_in_time(fd: c_int) -> bool {
    is_limited(&time(fd, libc::SO_RCVTIMEO))
}

/// Lets `socket` wait as long as `fd` does, where that is not for ever; says whether receiving is so limited.
pub(crate) fn copy_times(fd: c_int, socket: &OwnedFd) -> bool {
    for name in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        let time = time(fd, name);
        if is_limited(&time) {
            set(socket.as_raw_fd(), name, &time);
        }
    }
    receives_in_time(fd)
}

/// Puts `socket` under the descriptor `fd`, with the flags of what was there. False where `fd` is not open.
pub(crate) fn put_under(fd: c_int, socket: &OwnedFd) -> bool {
    let flags = open_flags(fd);
    // SAFETY: the calls take numbers; what `fd` was before is closed by the kernel in the same step.
    unsafe {
        let inherited = libc::fcntl(fd, libc::F_GETFD) & libc::FD_CLOEXEC == 0;
        libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, flags & libc::O_NONBLOCK);
        libc::dup3(socket.as_raw_fd(), fd, if inherited { 0 } else { libc::O_CLOEXEC }) >= 0
    }
}

/// A socket of generic netlink, with this port if it is free.
pub(crate) fn generic_netlink(port: u32) -> Option<OwnedFd> {
    // SAFETY: the call asks for nothing, and a descriptor that it returns is ours alone.
    let socket = unsafe {
        let socket = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_GENERIC);
        (socket >= 0).then(|| OwnedFd::from_raw_fd(socket))
    }?;
    bind(socket.as_raw_fd(), port);
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_netlink_socket_is_known_and_given_a_port() {
        let socket = generic_netlink(0).unwrap();
        let fd = socket.as_raw_fd();
        assert!(is_generic_netlink(fd));
        let port = port_of(fd);
        assert_ne!(port, 0);
        drop(socket);
        let again = generic_netlink(port).unwrap();
        assert_eq!(port_of(again.as_raw_fd()), port);
        let other = generic_netlink(port).unwrap();
        assert!(![0, port].contains(&port_of(other.as_raw_fd())), "the port is taken");
        assert!(!is_generic_netlink(0) && !is_generic_netlink(-1));
    }

    #[test]
    fn an_address_is_cut_to_the_room_that_there_is() {
        for room in [0, 4, 12, 20] {
            let mut bytes = [0xaa_u8; 20];
            // SAFETY: there is room for twenty bytes.
            assert_eq!(unsafe { give_address(5, bytes.as_mut_ptr().cast(), room) }, 12);
            let written = (room as usize).min(12);
            assert!(bytes[written..].iter().all(|byte| *byte == 0xaa));
            assert!(written < 12 || (bytes[0], bytes[4]) == (16, 5));
        }
        // SAFETY: null is allowed.
        assert_eq!(unsafe { give_address(5, std::ptr::null_mut(), 0) }, 12);
    }

    #[test]
    fn netlink_between_programs_does_not_lead_to_the_kernel() {
        let mut to = address(0);
        let leads = |to: &sockaddr_nl, size| {
            // SAFETY: the address has twelve bytes.
            unsafe { leads_to_kernel(std::ptr::from_ref(to).cast(), size) }
        };
        assert!(leads(&to, 12));
        assert!(!leads(&to, 8));
        to.nl_groups = 1;
        assert!(!leads(&to, 12));
        assert!(!leads(&address(99), 12));
        // SAFETY: null is allowed.
        assert!(unsafe { leads_to_kernel(std::ptr::null(), 0) });
    }

    #[test]
    fn what_takes_a_place_has_its_flags_and_times() {
        let (old, new) = (generic_netlink(0).unwrap(), generic_netlink(0).unwrap());
        let fd = old.as_raw_fd();
        assert!(!copy_times(fd, &new));
        set_time(fd, libc::SO_RCVTIMEO, 1500);
        assert!(copy_times(fd, &new) && copy_times(new.as_raw_fd(), &new));
        // SAFETY: the calls take numbers.
        unsafe {
            libc::fcntl(fd, libc::F_SETFD, 0);
            libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
            assert!(put_under(fd, &new));
            assert_eq!(libc::fcntl(fd, libc::F_GETFD), 0);
        }
        assert!(at_once(fd, 0) && at_once(fd, libc::MSG_DONTWAIT));
        assert_eq!(port(fd), port(new.as_raw_fd()));
        assert!(!put_under(-1, &new));
    }
}
