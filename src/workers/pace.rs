//! How long tasks have taken lately.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Tasks that take less are done sooner by one worker after the other than another one wakes up.
const SHORT: Duration = Duration::from_micros(50);
/// So many long ones in a row are remembered; half as many make a difference.
const MEMORY: u8 = 16;

/// Whether most of them are short. Single ones say little: the system may take the core away from a
/// worker for milliseconds.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// By how many the long ones prevail, from none to [`MEMORY`]. Workers that note something at
    /// once may lose one of it.
    long: AtomicU8,
}

impl Pace {
    pub(super) fn note(&self, time: Duration) {
        let long = self.long.load(Ordering::Relaxed);
        let now = if time < SHORT {
            long.saturating_sub(1)
        } else {
            (long + 1).min(MEMORY)
        };
        if now != long {
            self.long.store(now, Ordering::Relaxed);
        }
    }

    /// Whether tasks are so short that one worker should take several.
    pub(super) fn is_quick(&self) -> bool {
        self.long.load(Ordering::Relaxed) < MEMORY / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_most_tasks_take() {
        let (pace, short, long) = (Pace::default(), SHORT / 10, SHORT * 10);
        assert!(pace.is_quick());
        for _ in 0..100 {
            pace.note(long);
            (0..10).for_each(|_| pace.note(short));
            assert!(pace.is_quick(), "one in ten");
        }
        (0..8).for_each(|_| pace.note(long));
        assert!(!pace.is_quick());
        (0..100).for_each(|_| pace.note(long));
        (0..9).for_each(|_| pace.note(short));
        assert!(pace.is_quick(), "it does not take as long to forget");
    }
}
