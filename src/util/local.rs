//! Storage of a thread, also while the thread ends: values of a program that are kept there may
//! call this crate as they are dropped, after the crate's own are gone.

use std::cell::RefCell;
use std::thread::LocalKey;

/// Works on a value of this thread, or on a fresh one if the thread's is gone.
pub(crate) fn with_local<T, R>(
    key: &'static LocalKey<RefCell<T>>,
    fresh: impl FnOnce() -> T,
    work: impl FnOnce(&mut T) -> R,
) -> R {
    if key.try_with(|_| ()).is_ok() {
        key.with_borrow_mut(work)
    } else {
        work(&mut fresh())
    }
}
