//! The rates of one client: its events and its bytes.

use crate::limits::Limits;
use crate::util::rate::TokenBucket;
use std::time::{Duration, Instant};

/// Time for which a client may be held back without a pause before it is disconnected.
const MAX_THROTTLED: Duration = Duration::from_secs(60);

/// What a client has sent of late.
#[derive(Debug)]
pub(super) struct Throttle {
    events: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
    /// What has come since [`check`](Throttle::check).
    new_events: usize,
    new_bytes: usize,
    /// Moment from which on it is read again.
    pub(super) resume_at: Option<Instant>,
    /// Moment since which it has been too fast.
    since: Option<Instant>,
}

/// What is to be done with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Fine,
    /// Reading is to wait.
    TooFast,
    /// It has been too fast for too long, by this limit.
    Hopeless(&'static str),
}

impl Throttle {
    /// Creates one, if there are rates.
    pub(super) fn new(limits: &Limits, now: Instant) -> Option<Box<Throttle>> {
        let events = TokenBucket::new(limits.events_per_second, now);
        let bytes = TokenBucket::new(limits.bytes_per_second, now);
        let is_limited = events.is_some() || bytes.is_some();
        is_limited.then(|| {
            Box::new(Throttle {
                events,
                bytes,
                new_events: 0,
                new_bytes: 0,
                resume_at: None,
                since: None,
            })
        })
    }

    /// Notes a message.
    pub(super) fn note(&mut self, bytes: usize) {
        self.new_events += 1;
        self.new_bytes += bytes;
    }

    /// Decides about what has been noted.
    pub(super) fn check(&mut self, now: Instant) -> Pace {
        let counts = [
            std::mem::take(&mut self.new_events),
            std::mem::take(&mut self.new_bytes),
        ];
        let buckets = [
            (&mut self.events, "events_per_second"),
            (&mut self.bytes, "bytes_per_second"),
        ];
        let waits = buckets.into_iter().zip(counts);
        let waits = waits.filter_map(|((bucket, limit), count)| {
            let wait = bucket.as_mut()?.take(now, count)?;
            Some((wait, limit))
        });
        let Some((wait, limit)) = waits.max() else {
            // A pause: it was read, and may go on.
            self.since = None;
            return Pace::Fine;
        };
        let since = *self.since.get_or_insert(now);
        self.resume_at = Some(now + wait);
        if now.saturating_duration_since(since) >= MAX_THROTTLED {
            Pace::Hopeless(limit)
        } else {
            Pace::TooFast
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_as_long_as_its_rates_say_and_not_for_ever() {
        let now = Instant::now();
        assert!(Throttle::new(&Limits::default(), now).is_none());
        let limits = Limits::default()
            .events_per_second(10)
            .bytes_per_second(1_000);
        let mut throttle = Throttle::new(&limits, now).unwrap();
        (0..10).for_each(|_| throttle.note(10));
        assert_eq!(throttle.check(now), Pace::Fine);
        throttle.note(3_000);
        assert_eq!(throttle.check(now), Pace::TooFast);
        // The bytes are what takes longer: 100 and 3,000 of 1,000.
        let resume_at = throttle.resume_at.unwrap();
        assert_eq!(resume_at - now, Duration::from_millis(2_100));
        let mut at = now;
        while at < now + MAX_THROTTLED {
            throttle.note(2_000);
            assert_eq!(throttle.check(at), Pace::TooFast);
            at += Duration::from_secs(2);
        }
        throttle.note(2_000);
        assert_eq!(throttle.check(at), Pace::Hopeless("bytes_per_second"));
        assert_eq!(throttle.check(at + MAX_THROTTLED), Pace::Fine);
    }
}
