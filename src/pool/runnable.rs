//! A worker's turn at the items of one owner.

use super::inbox::Inbox;
use super::should_yield;
use super::task_time::TurnHistory;
use crate::util::program;
use std::sync::Arc;

/// Number of items that a worker takes before others get their turn.
const MAX_ITEMS_PER_TURN: usize = 64;

/// Something with a queue of its own, such as a connection's inbox, that wants a worker.
pub(crate) trait Runnable: Send + Sync {
    fn run(self: Arc<Self>);

    /// Returns the record of its last turns, which says what to expect of the next.
    fn turn_history(&self) -> &TurnHistory;

    /// Returns the number of items that wait in its queue.
    fn waiting_items(&self) -> usize;
}

/// Processes what waits in an inbox, in order; returns whether another turn is needed. It ends
/// early where items take long and other owners wait for a worker. A panic costs its item alone.
pub(crate) fn work_off<T>(inbox: &Inbox<T>, mut process: impl FnMut(T)) -> bool {
    let mut left = MAX_ITEMS_PER_TURN;
    while left > 0 {
        let mut items = inbox.take(left);
        if items.is_empty() {
            return false;
        }
        left -= items.len();
        while let Some((item, _)) = items.pop_front() {
            if program::call(|| process(item)).is_err() {
                log::error!(target: "socketio", "the program's code panicked: a destructor, or a logger");
            }
            if !items.is_empty() && should_yield() {
                inbox.push_front(items);
                return true;
            }
        }
    }
    true
}
