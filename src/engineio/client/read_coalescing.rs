//! Read coalescing: a client's I/O thread pauses between reads while servers stream.
//!
//! A server that sends event after event, each on its own, wakes its client for each of them: the
//! thread that reads, and the one that waits for events. Most of what such an event costs is that.
//! So once a stream goes one way the thread that reads waits a moment after each read, and takes
//! what has come meanwhile at once. A caller that waits for an answer has sent something, and so
//! never waits for this.
//!
//! Promise: an event of a stream is late by [`READ_DELAY`] at most, and nothing else ever is.
//!
//! States of a thread: *alternating*, while anything is sent between two reads; *streaming*, after
//! [`MIN_STREAM_READS`] turns in a row that only brought, each within [`MAX_STREAM_GAP`].
//!
//! Measured: an event of a stream of 100,000 costs the client 2.2 us of CPU instead of 7.9 us, and
//! takes as long; calls and emits cost the same.

use std::time::{Duration, Instant};

/// Time to wait; the system adds about 50 us.
const READ_DELAY: Duration = Duration::from_micros(150);
/// Reads of one stream before it is one.
const MIN_STREAM_READS: u32 = 16;
/// Turns further apart than this are no stream.
const MAX_STREAM_GAP: Duration = Duration::from_micros(500);

/// Estimate of whether the turns of a thread read a stream.
#[derive(Debug, Default)]
pub(super) struct ReadCoalescer {
    /// Turns in a row that only brought, one after the other.
    turns: u32,
    last: Option<Instant>,
    /// Reads of this turn.
    one_way: u32,
    both_ways: u32,
}

impl ReadCoalescer {
    /// Notes a read. It was one way if nothing has been sent since the last one.
    pub(super) fn read(&mut self, is_one_way: bool) {
        if is_one_way {
            self.one_way += 1;
        } else {
            self.both_ways += 1;
        }
    }

    /// Ends the turn: returns how long to wait before the next.
    pub(super) fn next_delay(&mut self, now: Instant) -> Option<Duration> {
        let (one_way, both_ways) = (self.one_way, self.both_ways);
        (self.one_way, self.both_ways) = (0, 0);
        let is_near = self
            .last
            .replace(now)
            .is_some_and(|last| now.saturating_duration_since(last) < MAX_STREAM_GAP);
        if one_way > 0 && both_ways == 0 && is_near {
            self.turns = self.turns.saturating_add(1);
        } else {
            self.turns = 0;
        }
        (self.turns >= MIN_STREAM_READS).then_some(READ_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns so many microseconds apart; returns how many of them were followed by a pause.
    fn pauses(
        coalescer: &mut ReadCoalescer,
        now: &mut Instant,
        turns: usize,
        apart: u64,
        one_way: bool,
    ) -> usize {
        let mut count = 0;
        for _ in 0..turns {
            *now += Duration::from_micros(apart);
            coalescer.read(one_way);
            count += usize::from(coalescer.next_delay(*now).is_some());
        }
        count
    }

    #[test]
    fn only_a_stream_that_goes_one_way_is_paused_for() {
        let (mut coalescer, mut now) = (ReadCoalescer::default(), Instant::now());
        assert_eq!(pauses(&mut coalescer, &mut now, 100, 20, false), 0);
        assert_eq!(pauses(&mut coalescer, &mut now, 100, 1_000, true), 0);
        assert!(pauses(&mut coalescer, &mut now, 100, 20, true) > 80);
        // An answer, or silence, ends it.
        assert_eq!(pauses(&mut coalescer, &mut now, 1, 20, false), 0);
        assert_eq!(pauses(&mut coalescer, &mut now, 10, 20, true), 0);
        assert!(pauses(&mut coalescer, &mut now, 100, 20, true) > 80);
        assert_eq!(
            coalescer.next_delay(now),
            None,
            "a turn that has read nothing"
        );
    }
}
