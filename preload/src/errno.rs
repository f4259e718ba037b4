//! The C library's `errno`, which the caller reads after a failure and expects untouched after a success.
use libc::c_int;

/// The error of the last call that failed.
pub(crate) fn get() -> c_int {
    // SAFETY: the C library gives each thread an `errno` that lives as long as the thread.
    unsafe { *libc::__errno_location() }
}

/// What the caller will read.
pub(crate) fn set(errno: c_int) {
    // SAFETY: as in `get`; nothing else refers to it meanwhile, for it is the thread's own.
    unsafe { *libc::__errno_location() = errno }
}

/// Brings `errno` back to what it was when the value was made.
#[derive(Debug)]
pub(crate) struct Kept(c_int);

impl Kept {
    pub(crate) fn new() -> Self {
        Self(get())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_leaves_what_was_there() {
        set(libc::ENODEV);
        {
            let _kept = Kept::new();
            set(libc::EPIPE);
            assert_eq!(get(), libc::EPIPE);
        }
        assert_eq!(get(), libc::ENODEV);
    }
}
