//! The running of other programs: in the strict mode none loads the kernel's IPVS. (ipvsadm and keepalived run modprobe where
//! netlink has no IPVS.)
use std::ffi::CStr;

use libc::{c_char, c_int, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

use super::calmly;
use crate::{errno, next, say, settings, strict};

type Strings = *const *const c_char;

/// # Safety
/// The program ends with a zero byte, and so does each argument; the last is followed by null.
unsafe fn is_refused(program: *const c_char, arguments: Strings) -> bool {
    if !settings::get().strict || program.is_null() || arguments.is_null() {
        return false;
    }
    // SAFETY: the caller vouches for the strings, and none is read after the null.
    let refused = unsafe {
        let words = (0..).map(|index| *arguments.add(index)).take_while(|word| !word.is_null());
        strict::loads_ipvs(CStr::from_ptr(program).to_bytes(), words.map(|word| CStr::from_ptr(word).to_bytes()))
    };
    if refused {
        say::refused(settings::get(), "the kernel's module is not loaded");
        errno::set(libc::EPERM);
    }
    refused
}

/// Declares functions that run a program in the place of this one.
macro_rules! runs {
    ($($name:ident ($($environment:ident)?);)*) => {$(
        /// # Safety
        /// As C's.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name(program: *const c_char, arguments: Strings $(, $environment: Strings)?) -> c_int {
            // SAFETY: the arguments are the program's.
            unsafe {
                if calmly(false, || is_refused(program, arguments)) {
                    return -1;
                }
                next::$name(program, arguments $(, $environment)?)
            }
        }
    )*};
}

/// Declares functions that run a program beside this one.
macro_rules! spawns {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As C's.
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name(
            child: *mut pid_t,
            program: *const c_char,
            actions: *const posix_spawn_file_actions_t,
            attributes: *const posix_spawnattr_t,
            arguments: Strings,
            environment: Strings,
        ) -> c_int {
            // SAFETY: the arguments are the program's.
            unsafe {
                if calmly(false, || is_refused(program, arguments)) {
                    return libc::EPERM;
                }
                next::$name(child, program, actions, attributes, arguments, environment)
            }
        }
    )*};
}

runs! {
    execv();
    execve(environment);
    execvp();
    execvpe(environment);
}
spawns!(posix_spawn posix_spawnp);
