//! The C library's own functions behind those that the library takes the place of. Found by name when first called, all of them as
//! the library is loaded ([`find_all`]), since `dlsym` may not be called in a signal handler.
use libc::{
    FILE, c_char, c_int, c_void, mode_t, msghdr, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t, size_t,
    sockaddr, socklen_t, ssize_t,
};
use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::errno;

/// What a function returns when it fails.
pub(crate) trait Failure {
    const FAILURE: Self;
}

impl Failure for c_int {
    const FAILURE: Self = -1;
}

impl Failure for ssize_t {
    const FAILURE: Self = -1;
}

impl Failure for *mut FILE {
    const FAILURE: Self = null_mut();
}

/// The address of the next function of this name, kept in `place`.
fn find(place: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let known = place.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: the name ends with a zero byte, and RTLD_NEXT needs nothing else.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    place.store(found, Ordering::Relaxed);
    found
}

/// Declares functions, each of which calls the next of its name.
macro_rules! next {
    ($(fn $name:ident = $symbol:literal ($($argument:ident: $type:ty),*; $($rest:tt)*) -> $returned:ty;)*) => {
        mod place {
            use super::{AtomicPtr, c_void, null_mut};
            $(#[allow(non_upper_case_globals)] pub(super) static $name: AtomicPtr<c_void> = AtomicPtr::new(null_mut());)*
        }

        $(
            /// # Safety
            /// What the C function of this name asks for.
            pub(crate) unsafe fn $name($($argument: $type),*) -> $returned {
                let address = find(&place::$name, $symbol);
                if address.is_null() {
                    errno::set(libc::ENOSYS);
                    return <$returned as Failure>::FAILURE;
                }
                // SAFETY: the address is that of the function of this name, and C declares it with this type, but that `open`
                // and `openat` take the mode as one of their variable arguments, which is passed in the same register; the
                // caller vouches for the arguments.
                unsafe {
                    let function: unsafe extern "C" fn($($type),* $($rest)*) -> $returned =
                        std::mem::transmute(address);
                    function($($argument),*)
                }
            }
        )*

        /// Finds every function, so that none needs be looked for later.
        pub(crate) fn find_all() {
            $(find(&place::$name, $symbol);)*
        }
    };
}

next! {
    fn send = c"send"(fd: c_int, bytes: *const c_void, length: size_t, flags: c_int;) -> ssize_t;
    fn sendto = c"sendto"(fd: c_int, bytes: *const c_void, length: size_t, flags: c_int, to: *const sockaddr, size: socklen_t;) -> ssize_t;
    fn sendmsg = c"sendmsg"(fd: c_int, message: *const msghdr, flags: c_int;) -> ssize_t;
    fn recv = c"recv"(fd: c_int, bytes: *mut c_void, length: size_t, flags: c_int;) -> ssize_t;
    fn recvfrom = c"recvfrom"(fd: c_int, bytes: *mut c_void, length: size_t, flags: c_int, from: *mut sockaddr, size: *mut socklen_t;) -> ssize_t;
    fn recvmsg = c"recvmsg"(fd: c_int, message: *mut msghdr, flags: c_int;) -> ssize_t;
    fn recv_chk = c"__recv_chk"(fd: c_int, bytes: *mut c_void, length: size_t, room: size_t, flags: c_int;) -> ssize_t;
    fn recvfrom_chk = c"__recvfrom_chk"(fd: c_int, bytes: *mut c_void, length: size_t, room: size_t, flags: c_int, from: *mut sockaddr, size: *mut socklen_t;) -> ssize_t;
    fn getsockname = c"getsockname"(fd: c_int, name: *mut sockaddr, size: *mut socklen_t;) -> c_int;
    fn getsockopt = c"getsockopt"(fd: c_int, level: c_int, option: c_int, value: *mut c_void, size: *mut socklen_t;) -> c_int;
    fn setsockopt = c"setsockopt"(fd: c_int, level: c_int, option: c_int, value: *const c_void, size: socklen_t;) -> c_int;
    fn fopen = c"fopen"(path: *const c_char, mode: *const c_char;) -> *mut FILE;
    fn fopen64 = c"fopen64"(path: *const c_char, mode: *const c_char;) -> *mut FILE;
    fn open = c"open"(path: *const c_char, flags: c_int, mode: mode_t; , ...) -> c_int;
    fn open64 = c"open64"(path: *const c_char, flags: c_int, mode: mode_t; , ...) -> c_int;
    fn openat = c"openat"(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t; , ...) -> c_int;
    fn openat64 = c"openat64"(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t; , ...) -> c_int;
    fn open_2 = c"__open_2"(path: *const c_char, flags: c_int;) -> c_int;
    fn open64_2 = c"__open64_2"(path: *const c_char, flags: c_int;) -> c_int;
    fn openat_2 = c"__openat_2"(folder: c_int, path: *const c_char, flags: c_int;) -> c_int;
    fn openat64_2 = c"__openat64_2"(folder: c_int, path: *const c_char, flags: c_int;) -> c_int;
    fn execv = c"execv"(path: *const c_char, arguments: *const *const c_char;) -> c_int;
    fn execve = c"execve"(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char;) -> c_int;
    fn execvp = c"execvp"(path: *const c_char, arguments: *const *const c_char;) -> c_int;
    fn execvpe = c"execvpe"(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char;) -> c_int;
    fn posix_spawn = c"posix_spawn"(child: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t, attributes: *const posix_spawnattr_t, arguments: *const *const c_char, environment: *const *const c_char;) -> c_int;
    fn posix_spawnp = c"posix_spawnp"(child: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t, attributes: *const posix_spawnattr_t, arguments: *const *const c_char, environment: *const *const c_char;) -> c_int;
}
