//! The protocol of `src/mailbox.rs` and of control's retired snapshots: a worker is given a snapshot and answers with the one before; control
//! waits, or gives up and keeps the old one until the worker has let go of it. Modelled, step for step: channels are of crossbeam and
//! tokio, into which loom does not see, and stand here as what they promise.

use loom::sync::{Arc, Mutex, mpsc};
use loom::thread;

/// Must be freed by the thread that made it.
struct Snapshot {
    maker: thread::ThreadId,
    version: u32,
}

impl Snapshot {
    fn new(version: u32) -> Arc<Self> {
        Arc::new(Self { maker: thread::current().id(), version })
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        assert!(thread::current().id() == self.maker, "snapshot {} is freed by the worker", self.version);
    }
}

/// tokio's one-shot channel: what was sent and not received is freed by the receiver; what finds no receiver comes back.
enum State {
    Waiting,
    Sent(Arc<Snapshot>),
    Closed,
}

struct Answer(Arc<Mutex<State>>);

impl Answer {
    fn send(self, value: Arc<Snapshot>) -> Result<(), Arc<Snapshot>> {
        let mut state = self.0.lock().unwrap();
        if matches!(*state, State::Closed) {
            return Err(value);
        }
        *state = State::Sent(value);
        Ok(())
    }
}

struct Reply(Arc<Mutex<State>>);

impl Reply {
    /// The answer, if it is there; otherwise control gives up.
    fn take_or_give_up(self) -> Option<Arc<Snapshot>> {
        match std::mem::replace(&mut *self.0.lock().unwrap(), State::Closed) {
            State::Sent(value) => Some(value),
            _ => None,
        }
    }
}

type Command = (Arc<Snapshot>, Answer);

/// `Control`'s part of it.
struct Control {
    commands: mpsc::Sender<Command>,
    current: Arc<Snapshot>,
    retired: Vec<Arc<Snapshot>>,
    silent: u32,
}

impl Control {
    fn change(&mut self) {
        let next = Snapshot::new(self.current.version + 1);
        let old = std::mem::replace(&mut self.current, next.clone());
        self.retired.push(old);
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        let state = Arc::new(Mutex::new(State::Waiting));
        self.commands.send((next, Answer(state.clone()))).unwrap();
        match Reply(state).take_or_give_up() {
            Some(old) => drop(old),
            None => self.silent += 1,
        }
    }
}

#[test]
fn whatever_the_worker_is_too_late_for_is_freed_by_control() {
    loom::model(|| {
        let (commands, mailbox) = mpsc::channel::<Command>();
        let first = Snapshot::new(0);
        let mut control = Control { commands, current: first.clone(), retired: Vec::new(), silent: 0 };
        let worker = thread::spawn(move || {
            let mut now = first;
            for _ in 0..2 {
                let (next, answer) = mailbox.recv().unwrap();
                assert_eq!(next.version, now.version + 1, "in order");
                let old = std::mem::replace(&mut now, next);
                // That nobody waits any more is no error.
                drop(answer.send(old));
            }
            now
        });
        (0..2).for_each(|_| control.change());
        let last = worker.join().unwrap();
        assert_eq!(last.version, control.current.version);
        // The next change frees what was retired for a worker that has answered since.
        control.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        assert!(control.retired.is_empty() && control.silent <= 2);
    });
}
