//! When a client that has lost its server tries again.

use std::time::Duration;

/// Options that the program has set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reconnection {
    pub(super) enabled: bool,
    /// Also when the server has disconnected all namespaces.
    pub(super) on_disconnect: bool,
    /// None is as many as it takes.
    pub(super) attempts: Option<u32>,
    pub(super) delay: Duration,
    pub(super) delay_max: Duration,
    /// By which part of itself a delay may be shorter or longer, from 0 to 1.
    pub(super) randomization: f64,
}

impl Default for Reconnection {
    fn default() -> Self {
        Reconnection {
            enabled: true,
            on_disconnect: false,
            attempts: None,
            delay: Duration::from_secs(1),
            delay_max: Duration::from_secs(5),
            randomization: 0.5,
        }
    }
}

/// The delays of one loss.
#[derive(Debug)]
pub(super) struct Backoff {
    config: Reconnection,
    tried: u32,
}

impl Backoff {
    pub(super) fn new(config: Reconnection) -> Backoff {
        Backoff { config, tried: 0 }
    }

    /// The server was reached: the next loss begins anew.
    pub(super) fn reset(&mut self) {
        self.tried = 0;
    }

    /// Returns the delay before the next attempt; none if the attempts are used up. `random` is at
    /// least 0 and below 1.
    pub(super) fn next(&mut self, random: f64) -> Option<Duration> {
        let config = &self.config;
        if config
            .attempts
            .is_some_and(|attempts| self.tried >= attempts)
        {
            return None;
        }
        let doubled = 2u32.checked_pow(self.tried).unwrap_or(u32::MAX);
        let delay = config.delay.saturating_mul(doubled).min(config.delay_max);
        self.tried = self.tried.saturating_add(1);
        Some(delay.mul_f64(1.0 + config.randomization * (2.0 * random - 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(config: Reconnection, random: f64, count: usize) -> Vec<Option<u128>> {
        let mut backoff = Backoff::new(config);
        (0..count)
            .map(|_| backoff.next(random).map(|delay| delay.as_millis()))
            .collect()
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_vary_by_a_part_of_themselves() {
        let config = Reconnection::default();
        let expected = |delays: [u128; 5]| delays.map(Some).to_vec();
        assert_eq!(
            delays(config, 0.5, 5),
            expected([1000, 2000, 4000, 5000, 5000])
        );
        assert_eq!(
            delays(config, 0.0, 5),
            expected([500, 1000, 2000, 2500, 2500])
        );
        assert_eq!(
            delays(config, 1.0, 5),
            expected([1500, 3000, 6000, 7500, 7500])
        );
        let exact = Reconnection {
            randomization: 0.0,
            ..config
        };
        assert_eq!(
            delays(exact, 0.9, 5),
            expected([1000, 2000, 4000, 5000, 5000])
        );
    }

    #[test]
    fn attempts_are_used_up_and_come_back_with_the_server() {
        let config = Reconnection {
            attempts: Some(2),
            ..Reconnection::default()
        };
        let mut backoff = Backoff::new(config);
        assert!(backoff.next(0.5).is_some() && backoff.next(0.5).is_some());
        assert_eq!(backoff.next(0.5), None);
        backoff.reset();
        assert_eq!(backoff.next(0.5), Some(Duration::from_secs(1)));
    }

    #[test]
    fn no_number_of_losses_or_length_of_delay_overflows() {
        let config = Reconnection {
            delay: Duration::MAX,
            delay_max: Duration::from_secs(365 * 24 * 3600),
            ..Reconnection::default()
        };
        let mut backoff = Backoff::new(config);
        for _ in 0..100 {
            assert!(backoff.next(0.99).is_some());
        }
    }
}
