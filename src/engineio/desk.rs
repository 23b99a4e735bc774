//! Where a session's messages wait for a worker, and the worker's turn at them.

use super::Flow;
use super::session::Handle;
use crate::workers::{Busy, Inbox};
use std::sync::Arc;

/// How many items a worker takes before others get their turn.
const TURN: usize = 64;

/// A session's inbox, with its limit.
#[derive(Debug)]
pub(crate) struct Desk<T> {
    handle: Arc<Handle>,
    inbox: Inbox<T>,
    limit: usize,
}

/// What became of items that were put down.
pub(crate) struct Placed {
    /// A worker must be found.
    pub(crate) schedule: bool,
    pub(crate) flow: Flow,
    /// So much waits that not even an answer is worth reading for.
    pub(crate) overfull: bool,
}

impl<T> Desk<T> {
    pub(crate) fn new(handle: Arc<Handle>, limit: usize) -> Desk<T> {
        Desk {
            handle,
            inbox: Inbox::new(),
            limit,
        }
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Puts items down that came from the client. At the limit reading stops, unless an answer is
    /// awaited, which must not wait behind handlers; at twice the limit it stops anyway.
    pub(crate) fn place(
        &self,
        items: Vec<(T, usize)>,
        awaits_answer: impl FnOnce() -> bool,
    ) -> Placed {
        let pushed = self.inbox.push(items);
        let overfull = pushed.bytes >= self.limit.saturating_mul(2);
        let full = overfull || pushed.bytes >= self.limit && !awaits_answer();
        let stop = full && self.inbox.watch(self.limit / 2);
        if stop {
            log::debug!(target: "socketio", "{}: reading stops, {} bytes wait for handlers", self.handle.label(), pushed.bytes);
        }
        Placed {
            schedule: pushed.schedule,
            flow: if stop { Flow::Stop } else { Flow::Draining },
            overfull: stop && overfull,
        }
    }

    /// Puts something down that did not come from the client; gives whether a worker must be found.
    pub(crate) fn add(&self, item: T) -> bool {
        self.inbox.push(vec![(item, 0)]).schedule
    }

    /// Who is at it.
    pub(crate) fn busy(&self) -> Busy {
        self.inbox.busy()
    }

    /// A worker's turn; gives whether another one is needed.
    pub(crate) fn work(&self, mut process: impl FnMut(T)) -> bool {
        let again = self.handle.drain(|| {
            let mut left = TURN;
            while left > 0 {
                let items = self.inbox.take(left);
                if items.is_empty() {
                    return false;
                }
                left -= items.len();
                items.into_iter().for_each(|(item, _)| process(item));
            }
            true
        });
        if self.inbox.take_watched(self.limit / 2) {
            self.handle.resume();
        }
        again
    }
}
