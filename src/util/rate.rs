//! Rates, as token buckets.

use std::time::{Duration, Instant};

/// A bucket that fills by so many tokens a second, up to those of one second.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    rate: f64,
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    /// Creates a full one; none if the rate is no limit.
    pub(crate) fn new(rate: usize, now: Instant) -> Option<TokenBucket> {
        (rate != usize::MAX).then(|| {
            let rate = (rate as f64).max(1.0);
            TokenBucket {
                rate,
                tokens: rate,
                at: now,
            }
        })
    }

    /// Takes tokens, also those that are not there yet: returns the time until they are.
    pub(crate) fn take(&mut self, now: Instant, count: usize) -> Option<Duration> {
        self.fill(now);
        self.tokens -= count as f64;
        (self.tokens < 0.0).then(|| Duration::from_secs_f64(-self.tokens / self.rate))
    }

    /// Takes one token if it is there.
    pub(crate) fn try_take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }

    /// Returns whether nobody has taken anything of late.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens + passed * self.rate >= self.rate
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.rate);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_a_second_s_worth_and_fills_by_its_rate() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(10, now).unwrap();
        assert_eq!(bucket.take(now, 10), None);
        assert!(!bucket.try_take(now));
        assert_eq!(bucket.take(now, 5), Some(Duration::from_millis(500)));
        let later = now + Duration::from_secs(1);
        assert!(bucket.try_take(later) && !bucket.is_full(later));
        assert!(bucket.is_full(later + Duration::from_secs(2)));
        assert_eq!(bucket.take(later + Duration::from_secs(60), 10), None);
        assert!(TokenBucket::new(usize::MAX, now).is_none());
    }
}
