//! Files: the opening of the kernel's texts on IPVS, by every function with which a program opens a file.
use libc::{AT_FDCWD, FILE, c_char, c_int, mode_t};

use super::calmly;
use crate::{next, texts};

/// # Safety
/// The path is null or ends with a zero byte.
unsafe fn taken(from: c_int, path: *const c_char, flags: c_int) -> Option<c_int> {
    // SAFETY: the caller vouches for the path.
    calmly(None, || unsafe { texts::open(from, path, flags) })
}

/// # Safety
/// The path and the mode are null or end with a zero byte.
unsafe fn taken_stream(path: *const c_char, mode: *const c_char) -> Option<*mut FILE> {
    if mode.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for the strings; the descriptor is closed where no stream takes it over.
    unsafe {
        let inherited = libc::strchr(mode, c_int::from(b'e')).is_null();
        let descriptor = taken(AT_FDCWD, path, if inherited { 0 } else { libc::O_CLOEXEC })?;
        if descriptor < 0 {
            return Some(std::ptr::null_mut());
        }
        let stream = libc::fdopen(descriptor, mode);
        if stream.is_null() {
            libc::close(descriptor);
        }
        Some(stream)
    }
}

/// Declares functions that open streams.
macro_rules! streams {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As C's.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name(path: *const c_char, mode: *const c_char) -> *mut FILE {
            // SAFETY: the arguments are the program's.
            unsafe { taken_stream(path, mode).unwrap_or_else(|| next::$name(path, mode)) }
        }
    )*};
}

/// Declares functions that open files. The mode is one of C's variable arguments; on x86-64 and on aarch64 it comes in the same
/// register as a third argument would, and holds anything where there is none, which the C library does not look at.
macro_rules! files {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As C's.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            // SAFETY: the arguments are the program's.
            unsafe { taken(AT_FDCWD, path, flags).unwrap_or_else(|| next::$name(path, flags, mode)) }
        }
    )*};
}

/// The same for files in a folder.
macro_rules! files_in_folders {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As C's.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            // SAFETY: the arguments are the program's.
            unsafe { taken(folder, path, flags).unwrap_or_else(|| next::$name(folder, path, flags, mode)) }
        }
    )*};
}

/// The same as programs call them that are built with checks; they have no mode.
macro_rules! checked {
    ($($name:ident = $next:ident ($($folder:ident)?) from $from:expr;)*) => {$(
        /// # Safety
        /// As the C library's.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name($($folder: c_int,)? path: *const c_char, flags: c_int) -> c_int {
            // SAFETY: the arguments are the program's.
            unsafe { taken($from, path, flags).unwrap_or_else(|| next::$next($($folder,)? path, flags)) }
        }
    )*};
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("how variable arguments are passed is known for x86-64 and aarch64 only");

streams!(fopen fopen64);
files!(open open64);
files_in_folders!(openat openat64);
checked! {
    __open_2 = open_2() from AT_FDCWD;
    __open64_2 = open64_2() from AT_FDCWD;
    __openat_2 = openat_2(folder) from folder;
    __openat64_2 = openat64_2(folder) from folder;
}
