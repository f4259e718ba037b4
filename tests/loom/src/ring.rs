//! What the hand-off uses of rtrb's ring, made of loom's lock: parcels are in it at once when a chunk is filled, and leave it in their order.

use std::collections::VecDeque;
use std::marker::PhantomData;

use loom::sync::{Arc, Mutex};

type Shared<T> = Arc<Mutex<VecDeque<T>>>;

#[derive(Debug)]
pub struct RingBuffer<T>(PhantomData<T>);

#[derive(Debug)]
pub struct Producer<T>(Shared<T>, usize);

#[derive(Debug)]
pub struct Consumer<T>(Shared<T>);

#[derive(Debug)]
pub struct Full;

#[derive(Debug)]
pub struct Empty;

pub struct Places<'a, T>(&'a Producer<T>, usize);

impl<T> RingBuffer<T> {
    #[allow(clippy::new_ret_no_self, reason = "as rtrb has it")]
    pub fn new(capacity: usize) -> (Producer<T>, Consumer<T>) {
        let shared = Arc::new(Mutex::new(VecDeque::new()));
        (Producer(shared.clone(), capacity), Consumer(shared))
    }
}

impl<T> Producer<T> {
    pub fn slots(&self) -> usize {
        self.1 - self.0.lock().unwrap().len()
    }

    pub fn write_chunk_uninit(&mut self, n: usize) -> Result<Places<'_, T>, Full> {
        if n <= self.slots() { Ok(Places(self, n)) } else { Err(Full) }
    }
}

impl<T> Places<'_, T> {
    pub fn fill_from_iter(self, iter: impl IntoIterator<Item = T>) -> usize {
        let mut ring = self.0.0.lock().unwrap();
        let before = ring.len();
        ring.extend(iter.into_iter().take(self.1));
        ring.len() - before
    }
}

impl<T> Consumer<T> {
    pub fn pop(&mut self) -> Result<T, Empty> {
        self.0.lock().unwrap().pop_front().ok_or(Empty)
    }
}
