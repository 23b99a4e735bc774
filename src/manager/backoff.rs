//! Attempts to reach a broker, and the pauses between them.

use std::time::{Duration, Instant};

/// The first pause after a failure, and the longest; each is twice the one before, a quarter more
/// or less, so that servers that have lost a broker together do not come back at the same moment.
pub(super) const MIN_MAX_DELAY: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(1));

/// Time to wait before the next attempt to connect.
pub(super) struct Backoff {
    pause: Duration,
    /// Moment when the last one succeeded.
    since: Option<Instant>,
}

impl Backoff {
    pub(super) fn new() -> Backoff {
        Backoff {
            pause: MIN_MAX_DELAY.0,
            since: None,
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Returns the pause after a failure. A connection that has lasted makes it short again.
    pub(super) fn pause(&mut self) -> Duration {
        if self
            .since
            .take()
            .is_some_and(|since| since.elapsed() >= MIN_MAX_DELAY.1)
        {
            self.pause = MIN_MAX_DELAY.0;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(MIN_MAX_DELAY.1);
        let mut byte = [0];
        // Without random bytes they come back together.
        let _ = getrandom::fill(&mut byte);
        pause.mul_f64(0.75 + f64::from(byte[0]) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_differ_a_little() {
        let mut attempts = Backoff::new();
        let mut expected = MIN_MAX_DELAY.0;
        for _ in 0..10 {
            let pause = attempts.pause();
            assert!(pause >= expected.mul_f64(0.75) && pause <= expected.mul_f64(1.25));
            expected = (expected * 2).min(MIN_MAX_DELAY.1);
        }
        // One that has lasted only a moment changes nothing.
        attempts.succeeded();
        assert!(attempts.pause() >= MIN_MAX_DELAY.1.mul_f64(0.75));
    }
}
