//! Estimates of the time that tasks take: they decide how many workers an I/O thread wakes, and in
//! which of the queues an owner's tasks stand. What the two decisions bring was measured: see the
//! heads of the pool and of its queues.

use super::queues::Lane;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Tasks that take less are done sooner by one worker after the other than another one wakes up.
const MAX_SHORT_TASK: Duration = Duration::from_micros(50);
/// A turn that takes longer has blocked.
const MIN_SLOW_TURN: Duration = Duration::from_millis(1);
/// An owner that has blocked so many times in a row is expected to block again: single long turns
/// may be the system's doing.
const MIN_BLOCKED_TURNS: u8 = 3;
/// So many long ones in a row are remembered; half as many make a difference.
const WINDOW_LEN: u8 = 16;

/// Estimate of whether most tasks are short. Single ones say little: the system may take the core
/// away from a worker for milliseconds.
#[derive(Debug)]
pub(crate) struct TaskTimeEstimate {
    short: Duration,
    /// By how many the long ones prevail, from none to [`WINDOW_LEN`]. Workers that note something
    /// at once may lose one of it.
    long: AtomicU8,
}

impl TaskTimeEstimate {
    /// Tasks are short that are done before another worker could be awake.
    pub(super) fn of_wakeups() -> TaskTimeEstimate {
        TaskTimeEstimate {
            short: MAX_SHORT_TASK,
            long: AtomicU8::new(0),
        }
    }

    /// Tasks are short that do not block.
    pub(crate) fn of_blocking() -> TaskTimeEstimate {
        TaskTimeEstimate {
            short: MIN_SLOW_TURN,
            long: AtomicU8::new(0),
        }
    }

    pub(crate) fn note(&self, time: Duration) {
        let long = self.long.load(Ordering::Relaxed);
        let now = if time < self.short {
            long.saturating_sub(1)
        } else {
            (long + 1).min(WINDOW_LEN)
        };
        if now != long {
            self.long.store(now, Ordering::Relaxed);
        }
    }

    /// Returns whether most tasks are short.
    pub(crate) fn is_short(&self) -> bool {
        self.long.load(Ordering::Relaxed) < WINDOW_LEN / 2
    }

    pub(crate) fn lane(&self) -> Lane {
        if self.is_short() {
            Lane::Quick
        } else {
            Lane::Slow
        }
    }
}

/// Record of whether the last turns of one owner blocked.
#[derive(Debug, Default)]
pub(crate) struct TurnHistory {
    /// Number of turns in a row that blocked, up to [`MIN_BLOCKED_TURNS`].
    blocked: AtomicU8,
}

impl TurnHistory {
    /// Creates the record of an owner that has had no turn, and is expected to do as others.
    pub(crate) fn expected(lane: Lane) -> TurnHistory {
        TurnHistory {
            blocked: AtomicU8::new(if lane == Lane::Slow {
                MIN_BLOCKED_TURNS
            } else {
                0
            }),
        }
    }

    pub(crate) fn note(&self, time: Duration) {
        let before = self.blocked.load(Ordering::Relaxed);
        let now = if time >= MIN_SLOW_TURN {
            (before + 1).min(MIN_BLOCKED_TURNS)
        } else {
            0
        };
        if now != before {
            self.blocked.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn lane(&self) -> Lane {
        if self.blocked.load(Ordering::Relaxed) == MIN_BLOCKED_TURNS {
            Lane::Slow
        } else {
            Lane::Quick
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_most_tasks_take() {
        let (pace, short, long) = (
            TaskTimeEstimate::of_wakeups(),
            MAX_SHORT_TASK / 10,
            MAX_SHORT_TASK * 10,
        );
        assert!(pace.is_short());
        for _ in 0..100 {
            pace.note(long);
            (0..10).for_each(|_| pace.note(short));
            assert!(pace.is_short(), "one in ten");
        }
        (0..8).for_each(|_| pace.note(long));
        assert!(!pace.is_short());
        (0..100).for_each(|_| pace.note(long));
        (0..9).for_each(|_| pace.note(short));
        assert!(pace.is_short(), "it does not take as long to forget");
    }
}
