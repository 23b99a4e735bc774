//! The deadlines of an I/O thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Deadlines in order, each with whom it concerns.
///
/// Most deadlines are moved far more often than they pass. So whoever has one keeps a [`Timer`],
/// and only the earliest time that it may have to be looked at is kept here.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
    /// Number of entries that triggers the next sweep.
    sweep_threshold: usize,
}

/// So many entries are kept without a look.
const MIN_SWEEP_LEN: usize = 1_024;

/// One party's deadline.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timer {
    deadline: Option<Instant>,
    /// Moment when the timers will ask.
    entry: Option<Instant>,
}

impl<K: Ord + Copy> Timers<K> {
    pub(crate) fn new() -> Timers<K> {
        Timers {
            heap: BinaryHeap::new(),
            sweep_threshold: MIN_SWEEP_LEN,
        }
    }

    /// Moves a deadline, or takes it away.
    pub(crate) fn set(&mut self, timer: &mut Timer, key: K, deadline: Option<Instant>) {
        timer.deadline = deadline;
        if let Some(deadline) = deadline
            && timer.entry.is_none_or(|entry| deadline < entry)
        {
            timer.entry = Some(deadline);
            self.heap.push(Reverse((deadline, key)));
        }
    }

    /// Removes the entries of what has gone, which would otherwise stay until their deadlines.
    /// Amortized: it runs when the heap has doubled since the last sweep.
    pub(crate) fn sweep(&mut self, is_there: impl Fn(&K) -> bool) {
        if self.heap.len() <= self.sweep_threshold {
            return;
        }
        self.heap.retain(|Reverse((_, key))| is_there(key));
        self.sweep_threshold = (self.heap.len() * 2).max(MIN_SWEEP_LEN);
        self.heap.shrink_to(self.sweep_threshold);
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out whose entry is due; [`Timers::is_due`] then says whether the deadline is.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Returns whether the deadline behind an entry has passed; if it was moved, a new entry is
    /// made.
    pub(crate) fn is_due(
        &mut self,
        timer: &mut Timer,
        (at, key): (Instant, K),
        now: Instant,
    ) -> bool {
        if timer.entry != Some(at) {
            // An older entry; the one that counts is still there.
            return false;
        }
        timer.entry = None;
        match timer.deadline {
            Some(deadline) if deadline <= now => {
                timer.deadline = None;
                true
            }
            deadline => {
                self.set(timer, key, deadline);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_deadline_that_moves_passes_once_at_its_last_time() {
        let (mut timers, mut timer) = (Timers::new(), Timer::default());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        timers.set(&mut timer, 1, Some(at(10)));
        timers.set(&mut timer, 1, Some(at(5)));
        timers.set(&mut timer, 1, Some(at(20)));
        let mut passed = Vec::new();
        for second in 0..30 {
            while let Some(entry) = timers.pop(at(second)) {
                if timers.is_due(&mut timer, entry, at(second)) {
                    passed.push(second);
                }
            }
        }
        assert_eq!(passed, [20]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn moving_a_deadline_further_away_costs_no_entry() {
        let (mut timers, mut timer) = (Timers::new(), Timer::default());
        let start = Instant::now();
        for second in 0..1000 {
            timers.set(&mut timer, 1, Some(start + Duration::from_secs(second)));
        }
        assert_eq!(timers.heap.len(), 1);
        timers.set(&mut timer, 1, None);
        let entry = timers.pop(start).unwrap();
        assert!(!timers.is_due(&mut timer, entry, start));
    }

    #[test]
    fn who_has_gone_is_forgotten_and_who_is_there_is_not() {
        let mut timers = Timers::new();
        let start = Instant::now();
        for number in 0..100_000_u32 {
            let mut timer = Timer::default();
            timers.set(&mut timer, number, Some(start + Duration::from_secs(60)));
            timers.sweep(|key| key % 1_000 == 0);
            assert!(
                timers.heap.capacity() <= 4 * MIN_SWEEP_LEN,
                "they do not gather"
            );
        }
        let mut left = Vec::new();
        while let Some((_, key)) = timers.pop(start + Duration::from_secs(60)) {
            left.push(key);
        }
        assert_eq!(left.iter().filter(|key| **key % 1_000 == 0).count(), 100);
    }
}
