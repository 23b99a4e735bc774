//! Something that one thread waits for and another gives, once.
//!
//! A channel would do, but its receiver spins before it sleeps: that is CPU time for each call over
//! a network, where what is waited for is never there at once.

use crate::util::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Instant;

/// The sending half. Dropped without a value, it ends the wait.
pub(crate) struct OneshotSender<T>(Arc<Place<T>>);

/// The receiving half.
pub(crate) struct OneshotReceiver<T>(Arc<Place<T>>);

struct Place<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    Awaited,
    Given(T),
    Over,
}

pub(crate) fn awaited<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let place = Arc::new(Place {
        state: Mutex::new(State::Awaited),
        changed: Condvar::new(),
    });
    (OneshotSender(Arc::clone(&place)), OneshotReceiver(place))
}

impl<T> OneshotSender<T> {
    pub(crate) fn give(self, value: T) {
        *self.0.state.lock() = State::Given(value);
        // Dropping it wakes who waits.
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if let State::Awaited = *state {
            *state = State::Over;
        }
        drop(state);
        self.0.changed.notify_one();
    }
}

impl<T> OneshotReceiver<T> {
    /// Waits for it; none if it does not come in time, or ever.
    pub(crate) fn take(self, by: Instant) -> Option<T> {
        let mut state = self.0.state.lock();
        while let State::Awaited = *state {
            if self.0.changed.wait_until(&mut state, by).timed_out() {
                break;
            }
        }
        match std::mem::replace(&mut *state, State::Over) {
            State::Given(value) => Some(value),
            State::Awaited | State::Over => None,
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
        let (giver, taker) = awaited();
        let thread = std::thread::spawn(move || taker.take(later()));
        giver.give(5);
        assert_eq!(thread.join().unwrap(), Some(5));
    }

    #[test]
    fn nobody_waits_for_who_has_gone_or_is_late() {
        let (giver, taker) = awaited::<i32>();
        drop(giver);
        assert_eq!(taker.take(later()), None);
        let (giver, taker) = awaited::<i32>();
        assert_eq!(taker.take(Instant::now()), None);
        giver.give(5);
    }
}
