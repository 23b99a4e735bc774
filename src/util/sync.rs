//! Locks, atomics and reference counts. Builds with debug assertions check the order of locks (see
//! [`lock_order`](super::lock_order)); the models in `tests/loom` use loom's types under these names.

#[cfg(debug_assertions)]
pub(crate) use super::lock_order::{Condvar, Mutex, MutexGuard, RwLock, assert_unlocked};
#[cfg(not(debug_assertions))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
pub(crate) use std::thread;

/// Checks, with debug assertions, that the thread holds no lock.
#[cfg(not(debug_assertions))]
pub(crate) fn assert_unlocked() {}
