//! Values that every message reads and that hardly ever change.

use crate::util::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Versions of all values of the process, so that equal versions mean the same value.
static VERSION: AtomicU64 = AtomicU64::new(1);

/// A value that is replaced whole. Who reads it often keeps a [`SnapshotCache`], and takes no lock.
#[derive(Debug)]
pub(crate) struct Snapshot<T> {
    version: AtomicU64,
    current: Mutex<Arc<T>>,
}

/// The value as it was last seen. It is not kept: what a handler has captured must go when the
/// handler does.
#[derive(Debug)]
pub(crate) struct SnapshotCache<T> {
    version: u64,
    value: Weak<T>,
}

impl<T: Clone> Snapshot<T> {
    pub(crate) fn new(value: T) -> Snapshot<T> {
        Snapshot {
            version: AtomicU64::new(VERSION.fetch_add(1, Ordering::Relaxed)),
            current: Mutex::new(Arc::new(value)),
        }
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.current.lock())
    }

    /// Looks at the value. Unlike what [`get`](Snapshot::get) returns, what is seen here is never
    /// dropped by who looks; `look` runs under the lock.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.current.lock())
    }

    /// Changes the value, or a copy that replaces it if somebody reads it just now. What `change`
    /// takes out of it, it gives back: what a handler has captured may do anything when it is
    /// dropped, also come back here, and is dropped by the caller, without the lock.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut current = self.current.lock();
        let is_read = Arc::strong_count(&current) > 1;
        let before = is_read.then(|| Arc::clone(&current));
        let taken = change(Arc::make_mut(&mut current));
        let version = VERSION.fetch_add(1, Ordering::Relaxed);
        self.version.store(version, Ordering::Release);
        drop(current);
        drop(before);
        taken
    }
}

impl<T: Clone> SnapshotCache<T> {
    pub(crate) const fn new() -> SnapshotCache<T> {
        SnapshotCache {
            version: 0,
            value: Weak::new(),
        }
    }

    pub(crate) fn read(&mut self, source: &Snapshot<T>) -> Arc<T> {
        let version = source.version.load(Ordering::Acquire);
        let known = (self.version == version).then(|| self.value.upgrade());
        known.flatten().unwrap_or_else(|| {
            let value = source.get();
            self.version = version;
            self.value = Arc::downgrade(&value);
            value
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_is_dropped_without_the_lock() {
        type Source = Snapshot<Option<Nosy>>;
        #[derive(Clone)]
        struct Nosy(Arc<Mutex<Vec<bool>>>, Weak<Source>);
        impl Drop for Nosy {
            fn drop(&mut self) {
                if let Some(source) = self.1.upgrade() {
                    self.0.lock().push(source.current.try_lock().is_some());
                }
            }
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let nosy = |source: &Weak<Source>| Nosy(Arc::clone(&seen), source.clone());
        let source = Arc::new_cyclic(|own| Snapshot::new(Some(nosy(own))));
        let own = Arc::downgrade(&source);
        drop(source.change(|value| value.replace(nosy(&own))));
        // Somebody reads it: it is copied, and the copy of the reader goes last.
        let read = source.get();
        drop(source.change(Option::take));
        drop(read);
        assert_eq!(*seen.lock(), [true, true, true]);
    }

    #[test]
    fn a_reader_keeps_nothing_alive() {
        let captured = Arc::new(());
        let source = Snapshot::new(Some(Arc::clone(&captured)));
        let mut reader = SnapshotCache::new();
        drop(reader.read(&source));
        drop(source.change(Option::take));
        assert_eq!(Arc::strong_count(&captured), 1);
        assert_eq!(*reader.read(&source), None);
    }

    #[test]
    fn a_reader_sees_every_change_of_any_source() {
        let (one, other) = (Snapshot::new(1), Snapshot::new(10));
        let mut reader = SnapshotCache::new();
        assert_eq!(*reader.read(&one), 1);
        assert_eq!(*reader.read(&other), 10);
        one.change(|value| *value += 1);
        assert_eq!(*reader.read(&one), 2);
        assert_eq!(*reader.read(&one), 2);
    }
}
