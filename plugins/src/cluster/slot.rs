//! Where an answer lies that may be here before anybody waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use travertine_engine::contract::{Op, Promise, Result};

#[derive(Debug)]
pub(super) struct Slot<T>(Mutex<Lies<T>>);

#[derive(Debug)]
enum Lies<T> {
    Nothing,
    Answer(Result<T>),
    Waiter(Promise<T>),
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(Lies::Nothing))
    }
}

impl<T: Send + 'static> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Lies<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the answer, once.
    pub(super) fn fulfil(&self, answer: Result<T>) {
        let mut lies = self.lock();
        match std::mem::replace(&mut *lies, Lies::Nothing) {
            Lies::Waiter(promise) => {
                drop(lies);
                promise.fulfil(answer);
            }
            _ => *lies = Lies::Answer(answer),
        }
    }

    /// The answer, here or on its way. To be asked once.
    pub(super) fn op(&self) -> Op<T> {
        let mut lies = self.lock();
        match std::mem::replace(&mut *lies, Lies::Nothing) {
            Lies::Answer(answer) => Op::ready(answer),
            _ => {
                let (promise, op) = Promise::new();
                *lies = Lies::Waiter(promise);
                op
            }
        }
    }
}
