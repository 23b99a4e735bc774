//! The state of a manager's two connections, and what is said of it.

use crate::util::backoff::Backoff;
use crate::util::random;
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// The state of a manager's connections to its broker.
///
/// ```
/// use socketio::manager::{ManagerState, PubSubManager, from_url};
///
/// let manager: PubSubManager = from_url("redis://localhost/0")?.on_state(|state| {
///     if state == ManagerState::Disconnected {
///         eprintln!("other servers are not reached");
///     }
/// });
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManagerState {
    /// The broker has not been reached yet, or has been lost, and is tried again. The server goes
    /// on serving its own clients; what is published waits, as long as there is room.
    Disconnected,
    /// Messages are published, and those of others are heard.
    Connected,
    /// The broker is reached, and does not take messages for the moment, such as RabbitMQ with an
    /// alarm. What is published waits, as long as there is room; what others publish is heard.
    Blocked,
    /// The manager has ended.
    Ended,
}

/// Delays between attempts to reach a broker: the first, and the longest.
const MIN_DELAY: Duration = Duration::from_millis(250);
pub(super) const MAX_DELAY: Duration = Duration::from_secs(1);
/// Part by which they vary.
const RANDOMIZATION: f64 = 0.25;

/// The delays between attempts to make one of the two connections.
#[derive(Debug)]
pub(super) struct ReconnectDelay {
    backoff: Backoff,
    /// Moment when the last attempt succeeded.
    since: Option<Instant>,
}

impl ReconnectDelay {
    pub(super) fn new() -> ReconnectDelay {
        ReconnectDelay {
            backoff: Backoff::new(MIN_DELAY, MAX_DELAY, RANDOMIZATION),
            since: None,
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Returns the pause after a failure. A connection that has lasted makes it short again.
    pub(super) fn pause(&mut self) -> Duration {
        let since = self.since.take();
        if since.is_some_and(|since| since.elapsed() >= MAX_DELAY) {
            self.backoff.reset();
        }
        self.backoff.next(random::fraction())
    }
}

/// The two connections of a manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Publisher,
    Listener,
}

/// States that wait while the program's function is being told one.
const MAX_UNTOLD: usize = 64;

/// Time for which the loss of a listener says something about those of other servers.
const RECENT_LOSS_WINDOW: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Link {
    pub(super) publisher_connected: bool,
    pub(super) subscribed: bool,
    listener_lost: Option<Instant>,
    /// Reason why the broker takes nothing.
    blocked: Option<String>,
    state: ManagerState,
    /// States that the program has not been told of.
    untold: VecDeque<ManagerState>,
    /// A thread is telling them.
    is_telling: bool,
    /// Reason why it is not reached, on either side; each reason is said once.
    failures: [Option<String>; 2],
}

impl Link {
    pub(super) fn new() -> Link {
        Link {
            publisher_connected: false,
            subscribed: false,
            listener_lost: None,
            blocked: None,
            state: ManagerState::Disconnected,
            untold: VecDeque::new(),
            is_telling: false,
            failures: [None, None],
        }
    }

    pub(super) fn state(&self) -> ManagerState {
        self.state
    }

    /// Returns why the state is not [`ManagerState::Connected`].
    pub(super) fn reason(&self) -> Option<String> {
        let [publisher, listener] = &self.failures;
        match self.state {
            ManagerState::Connected | ManagerState::Ended => None,
            ManagerState::Blocked => self.blocked.clone(),
            ManagerState::Disconnected if self.publisher_connected => listener.clone(),
            ManagerState::Disconnected => publisher.clone().or_else(|| listener.clone()),
        }
    }

    /// Notes a failure; returns whether it is another one than before.
    pub(super) fn fail(&mut self, side: Side, error: &dyn fmt::Display) -> bool {
        let reason = error.to_string();
        let before = &mut self.failures[side as usize];
        let is_new = before.as_ref() != Some(&reason);
        *before = Some(reason);
        is_new
    }

    /// Notes why the broker takes nothing, or that it does; returns whether that has changed.
    pub(super) fn block(&mut self, why: Option<&str>) -> bool {
        // It has answered, if only by a refusal.
        self.publisher_connected |= why.is_some();
        let has_changed = self.blocked.as_deref() != why;
        if has_changed {
            self.blocked = why.map(str::to_owned);
        }
        has_changed
    }

    /// Notes that a side is lost; returns whether the reason is another one than before.
    pub(super) fn lose(&mut self, side: Side, error: &dyn fmt::Display) -> bool {
        match side {
            Side::Publisher => self.publisher_connected = false,
            Side::Listener => {
                self.listener_lost = self.subscribed.then(Instant::now).or(self.listener_lost);
                self.subscribed = false;
            }
        }
        self.fail(side, error)
    }

    /// Returns whether the listener is lost, or was a moment ago: so may those of other servers.
    pub(super) fn listener_was_lost(&self, now: Instant) -> bool {
        let was_lost = |lost: Instant| now.saturating_duration_since(lost) < RECENT_LOSS_WINDOW;
        !self.subscribed || self.listener_lost.is_some_and(was_lost)
    }

    pub(super) fn end(&mut self) {
        self.state = ManagerState::Ended;
        self.untold.push_back(ManagerState::Ended);
    }

    /// Returns the next state that the program is to be told of, unless another thread is at it.
    pub(super) fn next_to_tell(&mut self, is_first: bool) -> Option<ManagerState> {
        if is_first && self.is_telling {
            return None;
        }
        let next = self.untold.pop_front();
        self.is_telling = next.is_some();
        next
    }

    /// Brings the state up to date; returns it if it has changed.
    pub(super) fn update(&mut self) -> Option<ManagerState> {
        let before = self.state;
        self.state = match (self.publisher_connected && self.subscribed, &self.blocked) {
            _ if before == ManagerState::Ended => ManagerState::Ended,
            (false, _) => ManagerState::Disconnected,
            (true, Some(_)) => ManagerState::Blocked,
            (true, None) => ManagerState::Connected,
        };
        if self.state == before {
            return None;
        }
        // Not at every message: a side that fails says so while the other one still publishes.
        if self.state == ManagerState::Connected {
            self.failures = [None, None];
        }
        if self.untold.len() >= MAX_UNTOLD {
            // A function that does not return hears nothing anyway.
            self.untold.pop_front();
        }
        self.untold.push_back(self.state);
        Some(self.state)
    }
}

/// Time within which a probe that the broker has confirmed is heard.
const ECHO_TIMEOUT: Duration = Duration::from_secs(3);

/// The probes of a manager that come back: as long as they do, its listener hears.
///
/// A subscription can be lost while its connection lives: an exchange or a binding that was deleted
/// tells nobody.
#[derive(Debug, Default)]
pub(super) struct ProbeEcho {
    /// The first probe that was confirmed and not heard, and when it was confirmed.
    expected: Option<(u64, Instant)>,
    heard: u64,
    /// Everything that was on its way to the listener with that probe has come.
    is_checked: bool,
}

impl ProbeEcho {
    /// Notes that a probe was confirmed.
    pub(super) fn expect(&mut self, number: u64, now: Instant) {
        if number > self.heard && self.expected.is_none() {
            self.expected = Some((number, now));
            self.is_checked = false;
        }
    }

    /// Notes that a probe was heard.
    pub(super) fn on_probe(&mut self, number: u64) {
        self.heard = self.heard.max(number);
        self.expected.take_if(|(expected, _)| *expected <= number);
    }

    /// Forgets the probe that another subscription was to hear.
    pub(super) fn reset(&mut self) {
        self.expected = None;
    }

    /// Notes that all has come that was on its way.
    pub(super) fn check(&mut self) {
        self.is_checked = true;
    }

    /// Returns whether a probe should have been heard by now, if nothing comes.
    pub(super) fn is_overdue(&self, now: Instant, timeout: Duration) -> bool {
        let patience = timeout.min(ECHO_TIMEOUT);
        self.expected
            .is_some_and(|(_, since)| now.saturating_duration_since(since) >= patience)
    }

    /// Returns whether a probe will never come: everything on its way was heard, or it has been
    /// waited for twice as long.
    pub(super) fn is_lost(&self, now: Instant, timeout: Duration) -> bool {
        let patience = timeout.min(ECHO_TIMEOUT) * if self.is_checked { 1 } else { 2 };
        self.expected
            .is_some_and(|(_, since)| now.saturating_duration_since(since) >= patience)
    }

    /// Returns whether all has come that was on its way with the probe that is expected.
    pub(super) fn is_checked(&self) -> bool {
        self.is_checked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_until_another_one_follows() {
        let mut link = Link::new();
        let mut fails = |side, why: &str| link.fail(side, &why);
        assert!(fails(Side::Publisher, "refused"));
        assert!(fails(Side::Listener, "refused"));
        assert!(!fails(Side::Publisher, "refused"));
        assert!(fails(Side::Publisher, "wrong password"));
        assert!(!fails(Side::Listener, "refused"));
        link.publisher_connected = true;
        link.subscribed = true;
        assert_eq!(link.update(), Some(ManagerState::Connected));
        assert!(link.fail(Side::Publisher, &"wrong password"));
    }

    #[test]
    fn a_connection_that_has_lasted_a_moment_does_not_shorten_the_pauses() {
        let mut attempts = ReconnectDelay::new();
        for _ in 0..10 {
            attempts.pause();
        }
        attempts.succeeded();
        assert!(attempts.pause() >= MAX_DELAY.mul_f64(0.75));
    }

    #[test]
    fn a_function_that_does_not_return_gathers_no_states_for_ever() {
        let mut link = Link::new();
        for number in 0..1_000 {
            (link.publisher_connected, link.subscribed) = (number % 2 == 0, true);
            link.update();
        }
        assert_eq!(link.untold.len(), MAX_UNTOLD);
        assert!(link.next_to_tell(true).is_some());
        assert!(link.next_to_tell(true).is_none(), "one thread at a time");
        assert!(link.next_to_tell(false).is_some());
    }

    #[test]
    fn a_broker_that_takes_nothing_is_reached() {
        let mut link = Link::new();
        (link.publisher_connected, link.subscribed) = (true, true);
        assert!(link.block(Some("low on memory")));
        assert!(!link.block(Some("low on memory")));
        assert_eq!(link.update(), Some(ManagerState::Blocked));
        assert_eq!(link.reason().as_deref(), Some("low on memory"));
        assert!(link.block(None));
        assert_eq!(link.update(), Some(ManagerState::Connected));
        assert_eq!(link.reason(), None);
    }

    #[test]
    fn a_probe_that_is_not_heard_is_overdue() {
        let (mut echo, now) = (ProbeEcho::default(), Instant::now());
        let timeout = Duration::from_secs(5);
        let later = now + ECHO_TIMEOUT;
        // Heard before the confirmation came.
        echo.on_probe(1);
        echo.expect(1, now);
        assert!(!echo.is_overdue(later, timeout));
        echo.expect(2, now);
        assert!(!echo.is_overdue(now, timeout));
        assert!(echo.is_overdue(later, timeout));
        // A large message may be on its way.
        assert!(!echo.is_lost(later, timeout));
        echo.check();
        assert!(echo.is_lost(later, timeout));
        echo.on_probe(3);
        assert!(!echo.is_overdue(later, timeout));
        echo.expect(4, now);
        assert!(!echo.is_lost(later, timeout));
        assert!(echo.is_lost(later + ECHO_TIMEOUT, timeout), "unchecked");
    }
}
