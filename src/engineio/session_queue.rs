//! The queue in which a session's messages wait for a worker, and the worker's turn at them.

use super::Control;
use super::handle::SessionHandle;
use crate::pool::{Inbox, Lane, QueueState, TurnHistory, work_off};
use crate::reason::Reason;
use crate::util::budget::Share;
use std::sync::Arc;

/// The inbox of a server's session, or of a client through all its sessions, with its limit.
#[derive(Debug)]
pub(crate) struct SessionQueue<T> {
    inbox: Inbox<T>,
    limit: usize,
    turn_history: TurnHistory,
}

/// Result of [`SessionQueue::push_or_pause`].
pub(crate) struct QueueOutcome {
    /// A worker must be found.
    pub(crate) schedule: bool,
    pub(crate) flow: Control,
    /// So much waits that not even an answer is worth reading for.
    pub(crate) over_hard_limit: bool,
}

impl<T> SessionQueue<T> {
    /// Creates the queue of a server's session, whose first turn is expected to be as others' were.
    pub(crate) fn of_session(handle: &SessionHandle, limit: usize, lane: Lane) -> SessionQueue<T> {
        SessionQueue {
            inbox: Inbox::with(Share::of(handle.budget().cloned())),
            limit,
            turn_history: TurnHistory::expected(lane),
        }
    }

    /// Creates the queue of a client.
    pub(crate) fn of_client(limit: usize) -> SessionQueue<T> {
        SessionQueue {
            inbox: Inbox::new(),
            limit,
            turn_history: TurnHistory::default(),
        }
    }

    /// Puts items down that came from a server's client. At the limit reading stops, unless an
    /// answer is awaited, which must not wait behind handlers; at twice the limit it stops anyway.
    pub(crate) fn push_or_pause(
        &self,
        handle: &SessionHandle,
        items: Vec<(T, usize)>,
        awaits_answer: impl Fn() -> bool,
    ) -> QueueOutcome {
        let pushed = self.inbox.push(items);
        let over_hard_limit = pushed.bytes >= self.limit.saturating_mul(2);
        let is_over_budget = || handle.budget().is_some_and(|it| it.is_exceeded());
        let stops = over_hard_limit
            || pushed.bytes >= self.limit && self.inbox.arm_low_watermark(self.limit / 2)
            // Where too much waits in all, one reads no more before its own has been handled.
            || is_over_budget() && self.inbox.arm_low_watermark(1);
        // An answer that is awaited from now on finds that somebody watches.
        let stop = if over_hard_limit {
            self.inbox.arm_low_watermark(self.limit / 2)
        } else {
            stops && !(awaits_answer() && self.inbox.disarm_low_watermark())
        };
        if stop {
            log::debug!(target: "socketio", "{}: reading stops, {} bytes wait for handlers", handle.label(), pushed.bytes);
        }
        QueueOutcome {
            schedule: pushed.schedule,
            flow: if stop {
                Control::PauseReading
            } else {
                Control::Scheduled
            },
            over_hard_limit: stop && over_hard_limit,
        }
    }

    /// Puts items down that came from a client's server, and returns whether a worker must be
    /// found. Reading never stops, so the client closes when more than twice the limit waited
    /// before. One read may bring as much as it likes: it is what nobody handles that must not
    /// grow.
    pub(crate) fn push_or_close(&self, items: Vec<(T, usize)>) -> (bool, Control) {
        let own: usize = items.iter().map(|(_, bytes)| bytes).sum();
        let pushed = self.inbox.push(items);
        let flow = if pushed.bytes - own > self.limit.saturating_mul(2) {
            Control::Close(Reason::TransportError)
        } else {
            Control::Scheduled
        };
        (pushed.schedule, flow)
    }

    /// Puts something down that did not come from the client, with the bytes that it costs;
    /// returns whether a worker must be found.
    pub(crate) fn add(&self, item: T, bytes: usize) -> bool {
        self.inbox.push(vec![(item, bytes)]).schedule
    }

    /// Notes that an answer of the client is awaited from now on: what was not to be read before
    /// its handlers have caught up is read, for the answer may be behind it.
    pub(crate) fn on_ack_expected(&self, handle: &SessionHandle) {
        let is_over_budget = handle.budget().is_some_and(|it| it.is_exceeded());
        let has_room = self.inbox.bytes() < self.limit.saturating_mul(2) && !is_over_budget;
        if has_room && self.inbox.disarm_low_watermark() {
            handle.resume();
        }
    }

    /// Forgets what waits and need not be kept, for want of memory; returns how many items that
    /// were.
    pub(crate) fn discard(&self, is_kept: impl Fn(&T) -> bool) -> usize {
        self.inbox.discard(is_kept)
    }

    /// Returns the bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.inbox.bytes()
    }

    /// Returns the state of the inbox.
    pub(crate) fn queue_state(&self) -> QueueState {
        self.inbox.queue_state()
    }

    /// Returns the record of the last turns.
    pub(crate) fn turn_history(&self) -> &TurnHistory {
        &self.turn_history
    }

    /// Returns the number of items that wait.
    pub(crate) fn waiting_items(&self) -> usize {
        self.inbox.len()
    }

    /// Returns whether more waits or is being handled than the limit.
    pub(crate) fn has_backlog(&self) -> bool {
        self.inbox.held() > self.limit
    }

    /// Runs a worker's turn, whose answers to the session leave together; returns whether another
    /// one is needed.
    pub(crate) fn run_turn(
        &self,
        session: Option<&Arc<SessionHandle>>,
        process: impl FnMut(T),
    ) -> bool {
        let turn = session.map(SessionHandle::begin_turn);
        let again = work_off(&self.inbox, process);
        if let Some((turn, session)) = turn.zip(session) {
            turn.end(!again);
            if self.inbox.take_low_watermark(self.limit / 2) {
                session.resume();
            }
        }
        again
    }
}
