//! A value that one thread waits for and another sends, once.
//!
//! A channel would do, but its receiver spins before it sleeps: that is CPU time for each call over
//! a network, where what is waited for is never there at once.

use crate::util::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Instant;

/// The sending half. Dropped without a value, it ends the wait.
pub(crate) struct OneshotSender<T>(Arc<OneshotSlot<T>>);

/// The receiving half.
pub(crate) struct OneshotReceiver<T>(Arc<OneshotSlot<T>>);

struct OneshotSlot<T> {
    state: Mutex<SlotState<T>>,
    changed: Condvar,
}

enum SlotState<T> {
    Empty,
    Sent(T),
    Closed,
}

pub(crate) fn channel<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let slot = Arc::new(OneshotSlot {
        state: Mutex::new(SlotState::Empty),
        changed: Condvar::new(),
    });
    (OneshotSender(Arc::clone(&slot)), OneshotReceiver(slot))
}

impl<T> OneshotSender<T> {
    pub(crate) fn send(self, value: T) {
        *self.0.state.lock() = SlotState::Sent(value);
        // Dropping it wakes who waits.
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if let SlotState::Empty = *state {
            *state = SlotState::Closed;
        }
        drop(state);
        self.0.changed.notify_one();
    }
}

impl<T> OneshotReceiver<T> {
    /// Waits for it; none if it does not come in time, or ever.
    pub(crate) fn recv_deadline(self, by: Instant) -> Option<T> {
        let mut state = self.0.state.lock();
        while let SlotState::Empty = *state {
            if self.0.changed.wait_until(&mut state, by).timed_out() {
                break;
            }
        }
        match std::mem::replace(&mut *state, SlotState::Closed) {
            SlotState::Sent(value) => Some(value),
            SlotState::Empty | SlotState::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn what_is_given_is_taken() {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || receiver.recv_deadline(later()));
        sender.send(5);
        assert_eq!(thread.join().unwrap(), Some(5));
    }

    #[test]
    fn nobody_waits_for_who_has_gone_or_is_late() {
        let (sender, receiver) = channel::<i32>();
        drop(sender);
        assert_eq!(receiver.recv_deadline(later()), None);
        let (sender, receiver) = channel::<i32>();
        assert_eq!(receiver.recv_deadline(Instant::now()), None);
        sender.send(5);
    }
}
