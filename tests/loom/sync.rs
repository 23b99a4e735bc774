//! What the pieces that threads share are built on, here loom's.

#![allow(
    unused_imports,
    dead_code,
    reason = "each of the tests uses a part of this"
)]

pub(crate) use loom::sync::Arc;
use loom::sync::MutexGuard;
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence,
};

pub(crate) mod thread {
    pub(crate) use loom::thread::{Thread, current, park};
    use std::time::Duration;

    /// Time does not pass.
    pub(crate) fn park_timeout(_: Duration) {
        park();
    }
}

/// Nobody waits in what is tested here.
#[derive(Debug)]
pub(crate) struct Condvar;

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar
    }

    pub(crate) fn wait_for<T>(&self, _: &mut MutexGuard<'_, T>, _: std::time::Duration) {
        loom::thread::yield_now();
    }

    pub(crate) fn notify_all(&self) {}
}

#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}
