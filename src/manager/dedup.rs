//! Record of the messages that have been heard: one that was published again after an unclear
//! failure is heard once.

use std::collections::HashMap;

/// Servers that are remembered.
const MAX_HOSTS: usize = 10_000;
/// Bytes of all their names. Those of this crate and of python have 32 each.
const MAX_BYTES: usize = 1_000_000;
/// Numbers below the highest that are remembered of each: two connections of one publisher may
/// overtake each other, the one that it has given up and the one after it.
const WINDOW_LEN: u64 = u128::BITS as u64;

/// The numbers that each server has given to what was heard of it.
#[derive(Debug, Default)]
pub(super) struct Deduplicator {
    hosts: HashMap<String, ReplayWindow>,
    /// Bytes of their names.
    bytes: usize,
}

#[derive(Debug)]
struct ReplayWindow {
    highest: u64,
    /// The lowest bit is the highest number.
    bits: u128,
}

impl Deduplicator {
    /// Notes that a message has come, and returns whether it is for the first time.
    /// Where the order counts, a number below the highest is not new: it was published again
    /// after others had been heard.
    pub(super) fn record(&mut self, host: String, seq: u64, is_ordered: bool) -> bool {
        if let Some(window) = self.hosts.get_mut(&host) {
            let is_late = is_ordered && seq < window.highest;
            return window.record(seq) && !is_late;
        }
        if host.len() > MAX_BYTES {
            return true;
        }
        if self.hosts.len() >= MAX_HOSTS || self.bytes + host.len() > MAX_BYTES {
            self.hosts.clear();
            self.bytes = 0;
        }
        self.bytes += host.len();
        let window = ReplayWindow {
            highest: seq,
            bits: 1,
        };
        self.hosts.insert(host, window);
        true
    }
}

impl ReplayWindow {
    fn record(&mut self, seq: u64) -> bool {
        if seq > self.highest {
            let by = u32::try_from(seq - self.highest).unwrap_or(u32::MAX);
            self.bits = self.bits.checked_shl(by).unwrap_or(0) | 1;
            self.highest = seq;
            return true;
        }
        let below = self.highest - seq;
        if below >= WINDOW_LEN {
            return false;
        }
        let bit = 1 << below;
        let is_new = self.bits & bit == 0;
        self.bits |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_each_host_is_new_once() {
        let mut seen = Deduplicator::default();
        let mut record = |host: &str, seq| seen.record(host.into(), seq, false);
        for seq in [5, 6, 8, 7, 200, 199, 73] {
            assert!(record("a", seq), "{seq}");
            assert!(!record("a", seq), "{seq}");
            assert!(record("b", seq), "{seq}");
        }
        assert!(!record("a", 72), "too long ago to be sure");
        assert!(record("a", u64::MAX));
        assert!(!record("a", 200));
    }

    #[test]
    fn what_comes_after_later_numbers_is_not_new_where_the_order_counts() {
        let mut seen = Deduplicator::default();
        let mut record = |seq, is_ordered| seen.record("a".into(), seq, is_ordered);
        assert!(record(10, true) && record(12, true));
        assert!(!record(11, true));
        assert!(!record(11, false), "it was seen");
        assert!(record(9, false));
    }

    #[test]
    fn so_many_hosts_are_remembered_and_no_more() {
        let mut seen = Deduplicator::default();
        for number in 0..3 * MAX_HOSTS {
            assert!(seen.record(number.to_string(), 0, true));
            assert!(seen.hosts.len() <= MAX_HOSTS);
        }
    }

    #[test]
    fn names_have_a_bound_together() {
        let mut seen = Deduplicator::default();
        for number in 0..100 {
            assert!(seen.record(format!("{number}{}", "x".repeat(100_000)), 0, true));
            let kept: usize = seen.hosts.keys().map(String::len).sum();
            assert!(kept <= MAX_BYTES && kept == seen.bytes);
        }
        assert!(seen.record("x".repeat(2_000_000), 0, true));
        assert!(seen.bytes <= MAX_BYTES);
    }
}
