//! Sessions whose workers may hold answers back for a moment, so that they leave together.

use super::session::Handle;
use crate::workers::Busy;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a worker may hold its answers back.
const LINGER: Duration = Duration::from_millis(1);
/// How many times a handler that sends nothing is waited for.
const PATIENCE: u32 = 8;

/// The corked outboxes of one I/O thread, in the order in which they are looked at.
#[derive(Debug, Default)]
pub(super) struct Corks {
    queue: VecDeque<Cork>,
}

#[derive(Debug)]
pub(super) struct Cork {
    pub(super) key: u64,
    handle: Arc<Handle>,
    look_at: Instant,
    /// How often the worker was seen to have nothing to hold back yet.
    looks: u32,
}

impl Corks {
    /// Lets the worker that a session's inbox was given to hold its answers back.
    pub(super) fn push(&mut self, now: Instant, key: u64, handle: &Arc<Handle>) {
        handle.outbox().cork();
        self.queue.push_back(Cork {
            key,
            handle: Arc::clone(handle),
            look_at: now + LINGER,
            looks: 0,
        });
    }

    /// A cork to look at now: [`Corks::look`] is to be called with it.
    pub(super) fn due(&mut self, now: Instant) -> Option<Cork> {
        let is_due = self.queue.front().is_some_and(|cork| cork.look_at <= now);
        if is_due { self.queue.pop_front() } else { None }
    }

    /// Writes what has been held back for long enough; `busy` says who is at the session's inbox.
    /// Gives whether the session is corked no more.
    pub(super) fn look(&mut self, now: Instant, mut cork: Cork, busy: Busy) -> bool {
        let outbox = cork.handle.outbox();
        cork.looks += u32::from(busy == Busy::Working);
        if busy != Busy::Nobody && !outbox.holds() && cork.looks < PATIENCE {
            cork.look_at = now + LINGER;
            self.queue.push_back(cork);
            return false;
        }
        // What the handler sends from here on leaves at once, until more events come.
        let flushed = outbox.uncork();
        cork.handle.settle(flushed);
        true
    }

    /// How long the thread may sleep.
    pub(super) fn patience(&self) -> Option<Duration> {
        (!self.queue.is_empty()).then_some(LINGER)
    }
}
