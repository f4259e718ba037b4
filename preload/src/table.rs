//! The connections to the director, by the number that the kernel gives each socket (its inode), not by descriptor: so a
//! descriptor that is duplicated, inherited by a child or closed behind the library's back is never taken for another, and
//! nothing need be known of `dup`, `close`, `fork` or `vfork`. Entries of sockets that are gone are swept out when the table is
//! full.
//!
//! All memory is static. Every access is short and under one lock, with all signals blocked, so that a signal handler that sends
//! cannot meet its own thread's lock; the lock is taken for a fork, so that a child never inherits one that another thread holds.
use std::cell::UnsafeCell;
use std::mem::{MaybeUninit, zeroed};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use libc::{c_int, sigset_t};

use crate::owed::Owed;

/// Connections of one process at a time. Programs have one.
const PLACES: usize = 128;
/// In the place of a socket's number where there is none.
const FREE: u64 = 0;

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    /// The descriptor by which it was last used.
    pub(crate) descriptor: c_int,
    /// The netlink port of the socket whose place it took.
    pub(crate) port: u32,
    /// Has the director gone, and not come back when it was needed?
    pub(crate) dead: bool,
    /// Has the program set the time that it waits for an answer?
    pub(crate) timed: bool,
    pub(crate) owed: Owed,
}

impl Connection {
    /// A connection in the place of the socket with this port.
    pub(crate) const fn new(descriptor: c_int, port: u32) -> Self {
        Self { descriptor, port, dead: false, timed: false, owed: Owed::NOTHING }
    }
}

/// The connections; `NUMBERS` says which socket each is of.
struct Places(UnsafeCell<[Connection; PLACES]>);

// SAFETY: the contents are reached by `Locked` alone, of which there is one at a time.
unsafe impl Sync for Places {}

static NUMBERS: [AtomicU64; PLACES] = [const { AtomicU64::new(FREE) }; PLACES];
static PLACES_OF_ALL: Places = Places(UnsafeCell::new([const { Connection::new(0, 0) }; PLACES]));
/// Places that were ever used, so that a process without IPVS looks nowhere.
static USED: AtomicUsize = AtomicUsize::new(0);
static LOCK: AtomicBool = AtomicBool::new(false);

/// Every signal blocked in this thread, until it is restored.
struct Signals(sigset_t);

impl Signals {
    fn block() -> Self {
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets are valid for the calls, which fill them; SIG_SETMASK with a full set cannot fail, and the second
        // fills `before`, whose every value is a set.
        unsafe {
            let mut all = zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, before.as_mut_ptr());
            Self(before.assume_init())
        }
    }

    fn restore(&self) {
        // SAFETY: the set is the one that `block` was given.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// The lock, held.
struct Locked(Signals);

impl Locked {
    fn new() -> Self {
        let signals = Signals::block();
        while LOCK.swap(true, Ordering::Acquire) {
            // SAFETY: it asks for nothing.
            unsafe { libc::sched_yield() };
        }
        Self(signals)
    }

    fn connections(&mut self) -> &mut [Connection; PLACES] {
        // SAFETY: the lock is held, so this is the only reference, and it ends before the lock does.
        unsafe { &mut *PLACES_OF_ALL.0.get() }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        LOCK.store(false, Ordering::Release);
        self.0.restore();
    }
}

/// The number that the kernel gives the socket behind a descriptor; none where there is no socket.
pub(crate) fn number(descriptor: c_int) -> Option<u64> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the call fills the status when it returns 0, and only then is it read.
    let status = unsafe {
        if libc::fstat(descriptor, status.as_mut_ptr()) != 0 {
            return None;
        }
        status.assume_init()
    };
    (status.st_mode & libc::S_IFMT == libc::S_IFSOCK).then_some(status.st_ino)
}

fn place_of(number: u64) -> Option<usize> {
    let used = USED.load(Ordering::Acquire);
    NUMBERS.iter().take(used).position(|known| known.load(Ordering::Acquire) == number)
}

/// The connection behind a descriptor, by its number; none where the descriptor has nothing to do with the director.
pub(crate) fn find(descriptor: c_int) -> Option<u64> {
    if USED.load(Ordering::Acquire) == 0 {
        return None;
    }
    number(descriptor).filter(|number| *number != FREE && place_of(*number).is_some())
}

/// Acts on a connection, if it is there.
pub(crate) fn with<R>(number: u64, act: impl FnOnce(&mut Connection) -> R) -> Option<R> {
    let mut locked = Locked::new();
    let place = place_of(number)?;
    locked.connections().get_mut(place).map(act)
}

/// Remembers a connection; false where there is no room.
pub(crate) fn insert(number: u64, connection: &Connection) -> bool {
    let mut locked = Locked::new();
    let free = || NUMBERS.iter().position(|known| known.load(Ordering::Relaxed) == FREE);
    let place = place_of(number).or_else(free).or_else(|| {
        sweep(locked.connections());
        free()
    });
    let Some(place) = place else { return false };
    let (Some(there), Some(known)) = (locked.connections().get_mut(place), NUMBERS.get(place)) else { return false };
    *there = *connection;
    known.store(number, Ordering::Release);
    USED.fetch_max(place + 1, Ordering::Release);
    true
}

/// Forgets a connection.
pub(crate) fn remove(number: u64) {
    let _locked = Locked::new();
    if let Some(known) = place_of(number).and_then(|place| NUMBERS.get(place)) {
        known.store(FREE, Ordering::Release);
    }
}

/// Forgets the connections whose descriptors are other sockets by now, or none.
fn sweep(connections: &[Connection; PLACES]) {
    for (known, connection) in NUMBERS.iter().zip(connections) {
        if number(connection.descriptor) != Some(known.load(Ordering::Relaxed)) {
            known.store(FREE, Ordering::Release);
        }
    }
}

/// The lock while the process forks.
struct Forking(UnsafeCell<Option<Locked>>);

// SAFETY: it is written before and after a fork only, by the thread that holds the lock.
unsafe impl Sync for Forking {}

static FORKING: Forking = Forking(UnsafeCell::new(None));

extern "C" fn before_fork() {
    let locked = Locked::new();
    // SAFETY: the lock is held, and whoever holds it is the only one here.
    unsafe { *FORKING.0.get() = Some(locked) };
}

extern "C" fn after_fork() {
    // SAFETY: as above: the thread that forked holds the lock, in the parent and, its copy, in the child.
    drop(unsafe { (*FORKING.0.get()).take() });
}

/// From now on a child of this process finds the table unlocked.
pub(crate) fn watch_forks() {
    // SAFETY: the functions live as long as the library, which is loaded for good.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;

    /// The table is one for the process, so the tests that fill it take turns.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn socket() -> (UnixDatagram, u64) {
        let socket = UnixDatagram::unbound().unwrap();
        let number = number(socket.as_raw_fd()).unwrap();
        (socket, number)
    }

    #[test]
    fn a_connection_is_found_by_whatever_descriptor_its_socket_has() {
        let _turn = TURN.lock().unwrap();
        let (socket, number) = socket();
        assert_eq!(find(socket.as_raw_fd()), None);
        assert!(insert(number, &Connection::new(socket.as_raw_fd(), 77)));
        let other = socket.try_clone().unwrap();
        drop(socket);
        assert_eq!(find(other.as_raw_fd()), Some(number));
        assert_eq!(with(number, |connection| connection.port), Some(77));
        let at = other.as_raw_fd();
        drop(other);
        let reused = UnixDatagram::unbound().unwrap();
        assert!(reused.as_raw_fd() != at || find(at).is_none(), "another socket under the same descriptor");
        remove(number);
        assert_eq!(with(number, |_| ()), None);
    }

    #[test]
    fn what_is_no_socket_is_not_found() {
        let _turn = TURN.lock().unwrap();
        let (socket, own) = socket();
        assert!(insert(own, &Connection::new(socket.as_raw_fd(), 1)));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!((find(file.as_raw_fd()), find(-1), find(1_000_000)), (None, None, None));
        remove(own);
    }

    #[test]
    fn sockets_that_are_gone_make_room_and_others_stay() {
        let _turn = TURN.lock().unwrap();
        let kept: Vec<_> = (0..PLACES / 2).map(|_| socket()).collect();
        for (socket, number) in &kept {
            assert!(insert(*number, &Connection::new(socket.as_raw_fd(), 1)));
        }
        for _ in 0..3 * PLACES {
            let (socket, number) = socket();
            assert!(insert(number, &Connection::new(socket.as_raw_fd(), 2)));
        }
        for (socket, number) in &kept {
            assert_eq!(find(socket.as_raw_fd()), Some(*number));
        }
        let more: Vec<_> = (0..PLACES / 2).map(|_| socket()).collect();
        for (socket, number) in &more {
            assert!(insert(*number, &Connection::new(socket.as_raw_fd(), 3)));
        }
        let (one, number) = socket();
        assert!(!insert(number, &Connection::new(one.as_raw_fd(), 4)), "there is no room for it");
        for (_, number) in kept.iter().chain(&more) {
            remove(*number);
        }
    }

    #[test]
    fn threads_take_turns() {
        let _turn = TURN.lock().unwrap();
        let (socket, number) = socket();
        assert!(insert(number, &Connection::new(socket.as_raw_fd(), 0)));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| with(number, |connection| connection.port += 1).unwrap()));
            }
        });
        assert_eq!(with(number, |connection| connection.port), Some(4000));
        remove(number);
    }
}
