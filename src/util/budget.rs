//! The limit of all outboxes and inboxes of a port together.

use crate::util::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering};

/// In which steps each of them is counted: a connection that holds less costs no shared counting.
pub(crate) const STEP_BYTES: usize = 16 << 10;

/// The bytes that wait, and how many may.
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Somebody has been told that there are too many.
    told: AtomicBool,
    /// Bytes of the heaviest holder of each I/O thread, as of its last look.
    claims: Mutex<Vec<usize>>,
    /// Tells those who can do something about it.
    tell: Box<dyn Fn() + Send + Sync>,
}

impl Budget {
    pub(crate) fn new(limit: usize, tell: impl Fn() + Send + Sync + 'static) -> Budget {
        Budget {
            limit,
            used: AtomicUsize::new(0),
            told: AtomicBool::new(false),
            claims: Mutex::new(Vec::new()),
            tell: Box::new(tell),
        }
    }

    /// Returns whether too many bytes wait. Takes no lock.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Notes what the heaviest holder of a thread holds; returns whether no other thread's holds
    /// more.
    pub(crate) fn claim(&self, thread: usize, bytes: usize) -> bool {
        let mut claims = self.claims.lock();
        if claims.len() <= thread {
            claims.resize(thread + 1, 0);
        }
        claims[thread] = bytes;
        claims.iter().all(|other| *other <= bytes)
    }

    /// Everything was done about it: it is told again the next time.
    pub(crate) fn settle(&self) {
        self.told.store(false, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > self.limit && !self.told.swap(true, Ordering::Relaxed) {
            (self.tell)();
        }
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Budget({:?} of {})", self.used, self.limit)
    }
}

/// One holder's part of a budget.
#[derive(Debug, Default)]
pub(crate) struct Share {
    budget: Option<Arc<Budget>>,
    counted: usize,
}

impl Share {
    pub(crate) fn of(budget: Option<Arc<Budget>>) -> Share {
        Share { budget, counted: 0 }
    }

    /// The holder has so many bytes now.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if bytes.abs_diff(self.counted) < STEP_BYTES && (bytes >= STEP_BYTES || self.counted == 0) {
            return;
        }
        let Some(budget) = &self.budget else {
            return;
        };
        let counted = bytes / STEP_BYTES * STEP_BYTES;
        if counted > self.counted {
            budget.add(counted - self.counted);
        } else {
            budget
                .used
                .fetch_sub(self.counted - counted, Ordering::Relaxed);
        }
        self.counted = counted;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}
