//! Refusals by the kernel's numbers.

use nix::errno::Errno;

use crate::control::reply::{ErrorCode, Failure};

/// The number for a refusal. What the kernel cannot say, because it has neither file nor workers, is said by a number whose words
/// fit.
pub(super) fn of(failure: &Failure) -> Errno {
    match failure.code {
        ErrorCode::ServiceExists | ErrorCode::DestinationExists | ErrorCode::DaemonRuns => Errno::EEXIST,
        ErrorCode::NoSuchService | ErrorCode::ServiceNotDefined | ErrorCode::NoDaemon => Errno::ESRCH,
        ErrorCode::NoSuchDestination | ErrorCode::UnknownScheduler | ErrorCode::UnknownEngine => Errno::ENOENT,
        ErrorCode::OutOfRange => Errno::ERANGE,
        ErrorCode::NoSuchInterface => Errno::ENODEV,
        ErrorCode::Full => Errno::ENOMEM,
        ErrorCode::DiskFull => Errno::ENOSPC,
        ErrorCode::NotPersisted => Errno::EIO,
        ErrorCode::WorkerSilent => Errno::ETIMEDOUT,
        ErrorCode::Stopping => Errno::ESHUTDOWN,
        ErrorCode::BadRequest
        | ErrorCode::InvalidArgument
        | ErrorCode::NoSuchRule
        | ErrorCode::UnknownSetting
        | ErrorCode::BadRules
        | ErrorCode::NoSuchCheck
        | ErrorCode::Unsupported => Errno::EINVAL,
    }
}

/// Where the kernel has one number for everything that is wrong with a request.
pub(super) fn invalid_for_range(errno: Errno) -> Errno {
    if errno == Errno::ERANGE { Errno::EINVAL } else { errno }
}
