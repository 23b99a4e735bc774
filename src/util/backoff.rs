//! The delays between attempts to connect.

use std::time::Duration;

/// Delays that double up to a maximum, and then vary by a part of themselves, so that those who have
/// lost the same server do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    delay: Duration,
    max: Duration,
    /// The part, from 0 to 1.
    randomization: f64,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(delay: Duration, max: Duration, randomization: f64) -> Backoff {
        Backoff {
            delay,
            max,
            randomization,
            attempts: 0,
        }
    }

    /// Begins anew.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Returns the number of delays since the beginning.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the delay before the next attempt. `random` is at least 0 and below 1.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let doubled = 2u32.checked_pow(self.attempts).unwrap_or(u32::MAX);
        let delay = self.delay.saturating_mul(doubled).min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        delay.mul_f64(1.0 + self.randomization * (2.0 * random - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(randomization: f64, random: f64) -> [u128; 5] {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 5 * second, randomization);
        [(); 5].map(|()| backoff.next(random).as_millis())
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_vary_by_a_part_of_themselves() {
        assert_eq!(delays(0.5, 0.5), [1000, 2000, 4000, 5000, 5000]);
        assert_eq!(delays(0.5, 0.0), [500, 1000, 2000, 2500, 2500]);
        assert_eq!(delays(0.5, 1.0), [1500, 3000, 6000, 7500, 7500]);
        assert_eq!(delays(0.0, 0.9), [1000, 2000, 4000, 5000, 5000]);
    }

    #[test]
    fn no_number_of_losses_or_length_of_delay_overflows() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let mut backoff = Backoff::new(Duration::MAX, year, 0.5);
        for _ in 0..100 {
            assert!(backoff.next(0.99) >= year);
        }
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
    }
}
