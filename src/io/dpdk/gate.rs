//! How a queue is told to leave its device alone while that is closed and opened anew, and how it says that it does. The thread that polls
//! the queue asks at each burst, with one load that is nearly always the same; whoever closes the device waits for the answer.

use std::sync::atomic::{AtomicU8, Ordering};

/// The device may be called.
const OPEN: u8 = 0;
/// It may no more, and the queue has not heard of it.
const ASKED: u8 = 1;
/// The queue has heard of it.
const ASIDE: u8 = 2;

/// One queue's, between the thread that polls it and control.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU8);

impl Gate {
    /// May the device be called now? For the thread that polls the queue, before each call; its answer holds for that call.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        // What control has set up before it opened the gate is seen from here on.
        match self.0.load(Ordering::Acquire) {
            OPEN => true,
            state => self.stand_aside(state),
        }
    }

    #[cold]
    fn stand_aside(&self, state: u8) -> bool {
        if state == ASKED {
            // The last call is over, and control sees what it did.
            self.0.store(ASIDE, Ordering::Release);
        }
        false
    }

    /// Asks the queue to stand aside. For control.
    pub(super) fn close(&self) {
        let _ = self.0.compare_exchange(OPEN, ASKED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Does it stand aside? Then it stays there until the gate is opened.
    pub(super) fn is_aside(&self) -> bool {
        self.0.load(Ordering::Acquire) == ASIDE
    }

    /// Lets it call the device again, which is ready. Only of a queue that stands aside.
    pub(super) fn open(&self) {
        let _ = self.0.compare_exchange(ASIDE, OPEN, Ordering::Release, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn a_queue_stands_aside_when_it_has_heard_and_until_it_is_let_in_again() {
        let gate = Gate::default();
        assert!(gate.is_open() && !gate.is_aside());
        gate.open();
        gate.close();
        assert!(!gate.is_aside(), "it has not heard");
        gate.open();
        assert!(!gate.is_open(), "one that has not heard is not let in: its device may be closed by then");
        gate.close();
        assert!(gate.is_aside() && !gate.is_open());
        gate.open();
        assert!(gate.is_open() && !gate.is_aside());
    }

    #[test]
    fn nobody_calls_a_device_whose_queue_stands_aside() {
        let (gate, busy, end) = (Gate::default(), AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    if gate.is_open() {
                        busy.store(true, Ordering::Relaxed);
                        std::hint::spin_loop();
                        busy.store(false, Ordering::Relaxed);
                    }
                }
            });
            for _ in 0..1000 {
                gate.close();
                while !gate.is_aside() {
                    thread::yield_now();
                }
                let called = (0..10).any(|_| busy.load(Ordering::Relaxed));
                gate.open();
                if called {
                    end.store(true, Ordering::Relaxed);
                    panic!("the device was called");
                }
            }
            end.store(true, Ordering::Relaxed);
        });
    }
}
