//! The workers that have nothing to do.

use crate::util::sync::thread::{self, Thread};
use crate::util::sync::{AtomicUsize, Mutex, Ordering, fence};
use std::time::{Duration, Instant};

/// Workers that sleep, each on its own, so that waking one disturbs no other.
#[derive(Debug, Default)]
pub(super) struct IdleWorkers {
    /// The last to lie down is at the end, and is woken first: its core may still know it, and
    /// those that are too many are left to sleep until they leave.
    threads: Mutex<Vec<Thread>>,
    /// Their number, readable without the lock.
    count: AtomicUsize,
}

impl IdleWorkers {
    /// Wakes up to `count` threads; returns how many there were. What was queued before is found by
    /// them, or by the last look of one that is just lying down.
    pub(super) fn wake(&self, count: usize) -> usize {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mut threads = self.threads.lock();
        let left = threads.len().saturating_sub(count);
        let woken = threads.split_off(left);
        self.count.store(left, Ordering::Relaxed);
        drop(threads);
        woken.iter().for_each(Thread::unpark);
        woken.len()
    }

    /// Returns whether all threads were awake a moment ago.
    #[allow(dead_code, reason = "not called in `tests/loom`")]
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Sleeps until there is something to do, which `look` finds; none if nobody wakes this thread
    /// within `limit`. `on_extra_wake` is called if it was woken although it has found something
    /// itself: what it was woken for must not wait for the end of that.
    pub(super) fn wait<T>(
        &self,
        limit: Option<Duration>,
        look: impl Fn() -> Option<T>,
        on_extra_wake: impl FnOnce(),
    ) -> Option<T> {
        loop {
            self.enlist();
            if let Some(found) = look() {
                if !self.withdraw() {
                    on_extra_wake();
                }
                return Some(found);
            }
            let woken = self.park(limit);
            // Another thread may have been quicker.
            let found = look();
            if found.is_some() || !woken {
                return found;
            }
        }
    }

    fn enlist(&self) {
        let mut threads = self.threads.lock();
        threads.push(thread::current());
        self.count.store(threads.len(), Ordering::Relaxed);
        drop(threads);
        fence(Ordering::SeqCst);
    }

    /// Sleeps until somebody wakes this thread; false if nobody did in that time.
    fn park(&self, limit: Option<Duration>) -> bool {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match left {
                None => thread::park(),
                Some(Duration::ZERO) => return !self.withdraw(),
                Some(left) => thread::park_timeout(left),
            }
            // Threads also wake up for no reason.
            if !self.is_enlisted() {
                return true;
            }
        }
    }

    /// Counts this thread as awake; false if somebody has woken it already.
    fn withdraw(&self) -> bool {
        let own = thread::current().id();
        let mut threads = self.threads.lock();
        let at = threads.iter().position(|thread| thread.id() == own);
        if let Some(at) = at {
            threads.remove(at);
            self.count.store(threads.len(), Ordering::Relaxed);
        }
        at.is_some()
    }

    fn is_enlisted(&self) -> bool {
        let own = thread::current().id();
        let threads = self.threads.lock();
        threads.iter().any(|thread| thread.id() == own)
    }
}
