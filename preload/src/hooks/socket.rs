//! Sockets: what is sent and received by them, their names and their options.
use std::mem::zeroed;
use std::ptr::null_mut;

use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use super::calmly;
use crate::parts::Parts;
use crate::{errno, netlink, next, say, settings, socket, strict};

/// One buffer, as an array of one.
fn part(bytes: *const c_void, length: size_t) -> iovec {
    iovec { iov_base: bytes.cast_mut(), iov_len: length }
}

/// # Safety
/// The arguments are those of `sendto`.
unsafe fn taken_send(fd: c_int, part: &iovec, flags: c_int, to: *const sockaddr, size: socklen_t) -> Option<ssize_t> {
    calmly(None, || {
        // SAFETY: the program vouches for its buffer and its address.
        unsafe { netlink::send(fd, &Parts::new(part, 1), flags, || socket::leads_to_kernel(to.cast(), size)) }
    })
}

/// # Safety
/// The arguments are those of `recvfrom`.
unsafe fn taken_receive(
    fd: c_int,
    part: &mut iovec,
    flags: c_int,
    from: *mut sockaddr,
    size: *mut socklen_t,
) -> Option<ssize_t> {
    calmly(None, || {
        // SAFETY: the program vouches for its buffer, its address and the room for it; a message of zeros is one without anything.
        unsafe {
            let mut message: msghdr = zeroed();
            message.msg_iov = part;
            message.msg_iovlen = 1;
            if !from.is_null() && !size.is_null() {
                message.msg_name = from.cast();
                message.msg_namelen = *size;
            }
            let received = netlink::receive(fd, &mut message, flags)?;
            if received >= 0 && !message.msg_name.is_null() {
                *size = message.msg_namelen;
            }
            Some(received)
        }
    })
}

/// # Safety
/// As C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the program vouches for its message; null is looked for.
    let taken = calmly(None, || unsafe {
        let message = message.as_ref()?;
        let parts = Parts::new(message.msg_iov, message.msg_iovlen);
        netlink::send(fd, &parts, flags, || socket::leads_to_kernel(message.msg_name, message.msg_namelen))
    });
    // SAFETY: the arguments are the program's.
    taken.unwrap_or_else(|| unsafe { next::sendmsg(fd, message, flags) })
}

/// # Safety
/// As C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    bytes: *const c_void,
    length: size_t,
    flags: c_int,
    to: *const sockaddr,
    size: socklen_t,
) -> ssize_t {
    // SAFETY: the arguments are the program's.
    unsafe {
        let taken = taken_send(fd, &part(bytes, length), flags, to, size);
        taken.unwrap_or_else(|| next::sendto(fd, bytes, length, flags, to, size))
    }
}

/// # Safety
/// As C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn send(fd: c_int, bytes: *const c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the arguments are the program's.
    unsafe {
        let taken = taken_send(fd, &part(bytes, length), flags, std::ptr::null(), 0);
        taken.unwrap_or_else(|| next::send(fd, bytes, length, flags))
    }
}

/// # Safety
/// As C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the program vouches for its message; null is looked for.
    let taken = calmly(None, || unsafe { netlink::receive(fd, message.as_mut()?, flags) });
    // SAFETY: the arguments are the program's.
    taken.unwrap_or_else(|| unsafe { next::recvmsg(fd, message, flags) })
}

/// # Safety
/// As C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    bytes: *mut c_void,
    length: size_t,
    flags: c_int,
    from: *mut sockaddr,
    size: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the arguments are the program's.
    unsafe {
        let taken = taken_receive(fd, &mut part(bytes, length), flags, from, size);
        taken.unwrap_or_else(|| next::recvfrom(fd, bytes, length, flags, from, size))
    }
}

/// # Safety
/// As C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn recv(fd: c_int, bytes: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the arguments are the program's.
    unsafe {
        let taken = taken_receive(fd, &mut part(bytes, length), flags, null_mut(), null_mut());
        taken.unwrap_or_else(|| next::recv(fd, bytes, length, flags))
    }
}

/// `recvfrom` as programs call it that are built with checks of their buffers.
///
/// # Safety
/// As the C library's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    bytes: *mut c_void,
    length: size_t,
    room: size_t,
    flags: c_int,
    from: *mut sockaddr,
    size: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the arguments are the program's; where the buffer is too small the C library's own function says so.
    unsafe {
        let fits = length <= room;
        let taken = if fits { taken_receive(fd, &mut part(bytes, length), flags, from, size) } else { None };
        taken.unwrap_or_else(|| next::recvfrom_chk(fd, bytes, length, room, flags, from, size))
    }
}

/// `recv` as programs call it that are built with checks of their buffers.
///
/// # Safety
/// As the C library's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn __recv_chk(
    fd: c_int,
    bytes: *mut c_void,
    length: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as for `__recvfrom_chk`.
    unsafe {
        let fits = length <= room;
        let taken =
            if fits { taken_receive(fd, &mut part(bytes, length), flags, null_mut(), null_mut()) } else { None };
        taken.unwrap_or_else(|| next::recv_chk(fd, bytes, length, room, flags))
    }
}

/// # Safety
/// As C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn getsockname(fd: c_int, name: *mut sockaddr, size: *mut socklen_t) -> c_int {
    // SAFETY: the arguments are the program's.
    unsafe { calmly(None, || netlink::name(fd, name, size)).unwrap_or_else(|| next::getsockname(fd, name, size)) }
}

/// The old interface to the kernel's IPVS is closed in the strict mode, with the error of a kernel that has none.
fn is_refused(level: c_int, option: c_int) -> bool {
    let refused = strict::is_option(level, option) && settings::get().strict;
    if refused {
        say::refused(settings::get(), "pollvsd has no interface by socket options");
        errno::set(libc::ENOPROTOOPT);
    }
    refused
}

/// # Safety
/// As C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    option: c_int,
    value: *const c_void,
    size: socklen_t,
) -> c_int {
    if calmly(false, || is_refused(level, option)) {
        return -1;
    }
    // SAFETY: the arguments are the program's.
    unsafe {
        calmly(None, || netlink::set_option(fd, level, option, value, size))
            .unwrap_or_else(|| next::setsockopt(fd, level, option, value, size))
    }
}

/// # Safety
/// As C's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    option: c_int,
    value: *mut c_void,
    size: *mut socklen_t,
) -> c_int {
    if calmly(false, || is_refused(level, option)) {
        return -1;
    }
    let own = calmly(None, || netlink::own_option(fd, level, option));
    // SAFETY: the arguments are the program's; the C library's own function checks them, and then there is room for as many bytes
    // as it says that it has written.
    unsafe {
        let got = next::getsockopt(fd, level, option, value, size);
        if let (0, Some(own)) = (got, own) {
            let bytes = own.to_ne_bytes();
            bytes.as_ptr().copy_to_nonoverlapping(value.cast(), bytes.len().min(*size as usize));
        }
        got
    }
}
