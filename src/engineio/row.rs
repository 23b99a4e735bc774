//! Broadcasts that follow each other: what one handler sends in a row leaves together.
//!
//! The first broadcast of a row is written at the call. The next ones, by the same thread and within
//! a moment, are only appended to the outboxes of their recipients, which are flushed at the end of
//! the handler, before it waits, and in any case after a millisecond by an I/O thread.

use super::session::{Handle, Order};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a broadcast may wait for the next one.
pub(super) const MAX_HELD: Duration = Duration::from_millis(1);
/// Fewer recipients than this are written to at once: a write each costs less than to hold it.
const MIN_RECIPIENTS: usize = 8;

thread_local! {
    static ROW: RefCell<Row> = const { RefCell::new(Row { last: None, held: None }) };
}

/// The broadcasts of one thread.
struct Row {
    last: Option<Instant>,
    held: Option<Arc<HeldBroadcasts>>,
}

/// Sessions with broadcasts that wait to be written.
pub(crate) struct HeldBroadcasts {
    begun: Instant,
    sessions: Mutex<Vec<Arc<Handle>>>,
}

impl HeldBroadcasts {
    /// Where this thread's next broadcast waits, to so many recipients of which this is one; none if
    /// it is to be written at once.
    pub(crate) fn join(recipients: usize, one: &Handle) -> Option<Arc<HeldBroadcasts>> {
        if recipients < MIN_RECIPIENTS {
            return None;
        }
        let now = Instant::now();
        ROW.with_borrow_mut(|row| {
            let is_next = row.last.is_some_and(|last| now - last < MAX_HELD);
            row.last = Some(now);
            if let Some(held) = &row.held
                && now - held.begun < MAX_HELD
            {
                return Some(Arc::clone(held));
            }
            // Flushed by now, or about to be.
            row.held = None;
            if !is_next {
                return None;
            }
            let held = Arc::new(HeldBroadcasts {
                begun: now,
                sessions: Mutex::default(),
            });
            row.held = Some(Arc::clone(&held));
            one.order(Order::Flush(Arc::clone(&held)));
            Some(held)
        })
    }

    /// Adds a session with something that waits.
    pub(super) fn add(&self, session: &Arc<Handle>) {
        self.sessions.lock().push(Arc::clone(session));
    }

    /// When it is to be flushed at the latest.
    pub(super) fn due(&self) -> Instant {
        self.begun + MAX_HELD
    }

    /// Writes what waits.
    pub(super) fn flush(&self) {
        let sessions = std::mem::take(&mut *self.sessions.lock());
        for session in sessions {
            session.flush();
        }
    }
}

/// Ends this thread's row, and writes what it has held back.
pub(super) fn end() {
    let held = ROW.with_borrow_mut(|row| {
        row.last = None;
        row.held.take()
    });
    if let Some(held) = held {
        held.flush();
    }
}

impl fmt::Debug for HeldBroadcasts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HeldBroadcasts")
    }
}
