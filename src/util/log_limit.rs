//! Limit of the records that a peer can cause in the log.

use std::fmt::Display;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Length of a window, in seconds.
const WINDOW_SECONDS: u64 = 10;
/// Records in one window.
const MAX_RECORDS: u32 = 10;

/// Limit of the log records of one connection: up to a rate they pass, and the others are counted.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    /// The last window in which there was a record, counted from one.
    window: AtomicU64,
    /// Records in it, also those that were left out.
    count: AtomicU32,
}

impl LogLimit {
    /// Returns whether another record may be written. Says how many were left out before.
    pub(crate) fn admits(&self, who: impl Display) -> bool {
        self.admits_in(window(), who)
    }

    fn admits_in(&self, now: u64, who: impl Display) -> bool {
        if self.window.swap(now, Ordering::Relaxed) != now {
            let before = self.count.swap(1, Ordering::Relaxed);
            report(before, who);
            return true;
        }
        self.count.fetch_add(1, Ordering::Relaxed) < MAX_RECORDS
    }

    /// Says how many were left out in the end.
    pub(crate) fn close(&self, who: impl Display) {
        report(self.count.swap(0, Ordering::Relaxed), who);
    }
}

fn report(count: u32, who: impl Display) {
    let left_out = count.saturating_sub(MAX_RECORDS);
    if left_out > 0 {
        log::warn!(target: "socketio", "{who}: {left_out} more records were left out");
    }
}

fn window() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs() / WINDOW_SECONDS + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_so_many_records() {
        let limit = LogLimit::default();
        let admitted = |window| (0..100).filter(|_| limit.admits_in(window, "x")).count();
        assert_eq!(admitted(1), MAX_RECORDS as usize);
        assert_eq!(admitted(2), MAX_RECORDS as usize);
        assert_eq!(limit.count.load(Ordering::Relaxed), 100);
    }
}
