//! The queue of a publisher: what waits, and what is in flight.
//!
//! A message stays in the queue until the broker has confirmed it. The first ones may be *in
//! flight*: handed to the connection, not yet confirmed. When the connection is lost they are
//! published again, over the next one; the numbers in them let servers of this crate hear them
//! once.
//!
//! The number of messages in flight is bounded by a window. It begins at one on a new connection
//! after a loss, and grows with every confirmation, so that a message that is at fault is soon
//! alone in flight. A message that is alone when the connection is lost has used up one of its
//! attempts. Before another one a probe, a message of the manager's own, has to be confirmed over
//! the same connection: so attempts are counted only over connections that work, and a broker that
//! is down costs no message anything.

use crate::error::{Error, LimitExceeded};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes that may wait, unless a program says something else.
const QUEUE_BYTES: usize = 16 << 20;
/// Messages that may be in flight.
const MAX_WINDOW: usize = 8_192;
/// Bytes that may be in flight, or one message that is larger.
const MAX_FLIGHT_BYTES: usize = 2 << 20;
/// Messages that may be in flight while one of them is known to be refused.
const CAUTIOUS_WINDOW_MESSAGES: usize = 8;
/// Connections that may be lost with a message alone in flight before it is refused.
const MAX_ATTEMPTS: u32 = 4;
/// Time from one probe to the next.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Messages that wait to be published, and those in flight.
#[derive(Debug)]
pub(super) struct Queue {
    /// Each with whether it is larger than the limit.
    messages: VecDeque<(Bytes, bool)>,
    /// Bytes of the messages, also of those that are reserved, without the large ones.
    bytes: usize,
    /// Bytes that may wait. A message larger than that is counted apart, and may wait alone of its
    /// kind.
    pub(super) limit: usize,
    /// A message larger than the limit waits, or is reserved.
    has_large: bool,
    next_seq: u64,
    flight: VecDeque<Flight>,
    /// Messages in flight, which are the first ones of the queue.
    sent: usize,
    sent_bytes: usize,
    window: usize,
    /// Messages that were in flight when one of them was refused.
    suspects: usize,
    /// Connections that were lost with the first message alone in flight.
    attempts: u32,
    /// A probe has to be confirmed before anything else is published.
    needs_proof: bool,
    /// Moment when the next probe is due, and its number.
    next_probe: Instant,
    next_probe_number: u64,
    /// Moment when the broker last confirmed something, or was first given something to confirm.
    pub(super) progress: Instant,
    /// Something was confirmed, or refused, over this connection.
    has_answered: bool,
    /// Messages that were given up since the manager began.
    pub(super) refused: u64,
    /// Those of them that a flush has told of.
    pub(super) refused_told: u64,
    /// Nothing more comes; what waits by then is lost.
    pub(super) ends_by: Option<Instant>,
    /// Threads that wait in `flush`.
    pub(super) flushes: usize,
    /// A `flush` has timed out: the end of the manager waits for nothing.
    pub(super) flush_timed_out: bool,
    /// The threads of the manager that run.
    pub(super) running: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Message,
    /// A message of the manager's own, with its number.
    Probe(u64),
}

/// Fate of the first message after [`Queue::lose`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It will be published again.
    Kept,
    /// It has used up its attempts.
    Refused(Bytes),
}

/// Room for one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReservedRoom {
    bytes: usize,
    is_large: bool,
}

impl Queue {
    pub(super) fn new(now: Instant) -> Queue {
        Queue {
            messages: VecDeque::new(),
            bytes: 0,
            limit: QUEUE_BYTES,
            has_large: false,
            next_seq: 0,
            flight: VecDeque::new(),
            sent: 0,
            sent_bytes: 0,
            window: MAX_WINDOW,
            suspects: 0,
            attempts: 0,
            needs_proof: false,
            next_probe: now + PROBE_INTERVAL,
            next_probe_number: 1,
            progress: now,
            has_answered: false,
            refused: 0,
            refused_told: 0,
            ends_by: None,
            flushes: 0,
            flush_timed_out: false,
            running: 0,
        }
    }

    /// Reserves room for a message.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<ReservedRoom, Error> {
        let is_large = bytes > self.limit;
        let is_full = if is_large {
            self.has_large
        } else {
            self.bytes + bytes > self.limit
        };
        if is_full {
            let what = "bytes wait for the broker";
            return Err(LimitExceeded::new(what, "max_queue_size", self.limit).into());
        }
        if is_large {
            self.has_large = true;
        } else {
            self.bytes += bytes;
        }
        Ok(ReservedRoom { bytes, is_large })
    }

    pub(super) fn release(&mut self, room: &ReservedRoom) {
        if room.is_large {
            self.has_large = false;
        } else {
            self.bytes -= room.bytes;
        }
    }

    /// Appends the message that room was reserved for; `finish` is given its number.
    pub(super) fn append(&mut self, room: ReservedRoom, finish: impl FnOnce(u64) -> Vec<u8>) {
        let message = Bytes::from(finish(self.next_seq));
        self.next_seq += 1;
        self.release(&room);
        if room.is_large {
            self.has_large = true;
        } else {
            self.bytes += message.len();
        }
        self.messages.push_back((message, room.is_large));
        self.flush_timed_out = false;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Returns whether the connection has something to do now.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        !self.flight.is_empty() || !self.messages.is_empty() || self.next_probe <= now
    }

    pub(super) fn next_probe(&self) -> Instant {
        self.next_probe
    }

    /// Takes the next message, which is in flight from now on; none if nothing waits, or the window
    /// is full. `probe` makes a message of the manager's own.
    pub(super) fn take(
        &mut self,
        now: Instant,
        probe: impl FnOnce(u64) -> Vec<u8>,
    ) -> Option<Bytes> {
        if self.ends_by.is_some_and(|by| by <= now) {
            return None;
        }
        let is_due = self.next_probe <= now || (self.needs_proof && self.flight.is_empty());
        if is_due {
            let number = self.next_probe_number;
            self.next_probe_number += 1;
            self.next_probe = now + PROBE_INTERVAL;
            self.note_sent(now, Flight::Probe(number));
            return Some(probe(number).into());
        }
        let window = match self.suspects {
            0 => self.window,
            _ => self.window.min(CAUTIOUS_WINDOW_MESSAGES),
        };
        if self.needs_proof || self.sent >= window {
            return None;
        }
        let (next, _) = self.messages.get(self.sent)?;
        if self.sent > 0 && self.sent_bytes + next.len() > MAX_FLIGHT_BYTES {
            return None;
        }
        let next = next.clone();
        self.sent += 1;
        self.sent_bytes += next.len();
        self.note_sent(now, Flight::Message);
        Some(next)
    }

    fn note_sent(&mut self, now: Instant, what: Flight) {
        if self.flight.is_empty() {
            self.progress = now;
        }
        self.flight.push_back(what);
    }

    /// Makes a probe the next message.
    pub(super) fn probe_now(&mut self, now: Instant) {
        self.next_probe = now;
    }

    /// Notes that the broker has the first so many of those in flight; returns the number of the
    /// last probe among them.
    pub(super) fn confirm(&mut self, now: Instant, count: usize) -> Option<u64> {
        self.progress = now;
        self.has_answered = true;
        let mut probe = None;
        for _ in 0..count.min(self.flight.len()) {
            match self.flight.pop_front() {
                Some(Flight::Message) => {
                    self.pop();
                    self.window = (self.window + 1).min(MAX_WINDOW);
                }
                Some(Flight::Probe(number)) => {
                    self.needs_proof = false;
                    probe = Some(number);
                }
                None => {}
            }
        }
        probe
    }

    /// Removes the first message, which was in flight.
    fn pop(&mut self) -> Option<Bytes> {
        let (message, is_large) = self.messages.pop_front()?;
        self.sent -= 1;
        self.sent_bytes -= message.len();
        if is_large {
            self.has_large = false;
        } else {
            self.bytes -= message.len();
        }
        self.attempts = 0;
        self.suspects = self.suspects.saturating_sub(1);
        Some(message)
    }

    /// Removes the first message in flight, and returns it unless it is a probe.
    pub(super) fn refuse(&mut self, now: Instant) -> Option<Bytes> {
        self.progress = now;
        self.has_answered = true;
        match self.flight.pop_front()? {
            Flight::Message => {
                self.refused += 1;
                self.pop()
            }
            // The connection works, and that is what a probe is for.
            Flight::Probe(_) => {
                self.needs_proof = false;
                None
            }
        }
    }

    /// Notes that the connection is lost: nothing is in flight any more.
    pub(super) fn lose(&mut self, now: Instant) -> Lost {
        let (sent, was_alone) = (self.sent, self.is_alone_in_flight());
        self.forget_flight(now);
        if sent == 0 {
            return Lost::Kept;
        }
        self.window = 1;
        self.needs_proof = true;
        if was_alone {
            self.attempts += 1;
            if self.attempts >= MAX_ATTEMPTS {
                return self.give_up();
            }
        }
        Lost::Kept
    }

    /// Notes that the broker has refused one of those in flight, and closed the connection.
    pub(super) fn on_unclear(&mut self, now: Instant) -> Lost {
        let (sent, was_alone) = (self.sent, self.is_alone_in_flight());
        self.forget_flight(now);
        self.window = 1;
        self.needs_proof = true;
        self.suspects = self.suspects.max(sent);
        if was_alone {
            return self.give_up();
        }
        Lost::Kept
    }

    /// Returns whether one message is in flight, and no probe before it.
    fn is_alone_in_flight(&self) -> bool {
        self.sent == 1 && self.flight.front() == Some(&Flight::Message)
    }

    fn forget_flight(&mut self, now: Instant) {
        self.flight.clear();
        (self.sent, self.sent_bytes) = (0, 0);
        // The next connection is tried at once.
        self.next_probe = now;
    }

    fn give_up(&mut self) -> Lost {
        let Some((first, _)) = self.messages.front() else {
            return Lost::Kept;
        };
        (self.sent, self.sent_bytes) = (1, first.len());
        self.refused += 1;
        match self.pop() {
            Some(message) => Lost::Refused(message),
            None => Lost::Kept,
        }
    }

    /// Returns the time since the broker has last confirmed something, if something is in flight,
    /// and the bytes of the first message of that.
    pub(super) fn unconfirmed_for(&self, now: Instant) -> Option<(Duration, usize)> {
        let silence = now.saturating_duration_since(self.progress);
        (!self.flight.is_empty()).then_some((silence, self.first_len()))
    }

    pub(super) fn first_len(&self) -> usize {
        let first = self.messages.front().filter(|_| self.sent > 0);
        first.map_or(0, |(message, _)| message.len())
    }

    /// Returns whether all messages with numbers below this one have been confirmed or refused.
    pub(super) fn is_done_before(&self, seq: u64) -> bool {
        self.next_seq - self.messages.len() as u64 >= seq
    }

    /// Returns the number of messages in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Returns the number of the next message.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Returns whether the broker has answered since the connection was made.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Notes that a connection was made, which has to prove itself.
    pub(super) fn connect(&mut self, now: Instant) {
        self.has_answered = false;
        self.next_probe = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a queue with messages of one byte, and the time.
    fn queue(count: u8) -> (Queue, Instant) {
        let now = Instant::now();
        let mut queue = Queue::new(now);
        queue.next_probe = now + Duration::from_secs(3_600);
        for number in 0..count {
            let room = queue.reserve(10).unwrap();
            queue.append(room, |_| vec![number]);
        }
        (queue, now)
    }

    fn take_all(queue: &mut Queue, now: Instant) -> Vec<Bytes> {
        std::iter::from_fn(|| queue.take(now, |_| b"probe".to_vec())).collect()
    }

    /// Carries a probe over a new connection.
    fn prove(queue: &mut Queue, now: Instant) {
        assert_eq!(take_all(queue, now), [&b"probe"[..]]);
        queue.confirm(now, 1);
    }

    #[test]
    fn room_is_what_was_reserved_until_it_is_known() {
        let (mut queue, now) = queue(0);
        queue.limit = 100;
        let first = queue.reserve(60).unwrap();
        assert!(queue.reserve(60).is_err());
        queue.append(first, |_| vec![0; 10]);
        let second = queue.reserve(60).unwrap();
        queue.release(&second);
        assert_eq!(queue.bytes, 10);
        take_all(&mut queue, now);
        queue.confirm(now, 1);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn one_message_larger_than_the_limit_is_counted_apart() {
        let (mut queue, now) = queue(0);
        queue.limit = 100;
        let large = queue.reserve(1_000).unwrap();
        queue.append(large, |_| vec![0; 1_000]);
        assert!(queue.reserve(1_000).is_err());
        let small = queue.reserve(100).unwrap();
        queue.append(small, |_| vec![0; 100]);
        assert!(queue.reserve(1).is_err());
        take_all(&mut queue, now);
        queue.confirm(now, 1);
        assert!(queue.reserve(1_000).is_ok());
        assert!(queue.reserve(1).is_err());
        queue.confirm(now, 1);
        assert!(queue.reserve(100).is_ok());
    }

    #[test]
    fn what_was_not_confirmed_is_published_again_and_nothing_else() {
        let (mut queue, now) = queue(5);
        assert_eq!(take_all(&mut queue, now).len(), 5);
        queue.confirm(now, 2);
        assert_eq!(queue.lose(now), Lost::Kept);
        prove(&mut queue, now);
        let mut again = Vec::new();
        while !queue.is_empty() {
            let taken = take_all(&mut queue, now);
            queue.confirm(now, taken.len());
            again.extend(taken);
        }
        assert_eq!(again, [&[2][..], &[3], &[4]]);
    }

    #[test]
    fn a_refused_message_is_found_among_others_and_they_are_published() {
        let (mut queue, now) = queue(100);
        let mut published = Vec::new();
        let mut connections = 0;
        while !queue.is_empty() {
            queue.next_probe = now + Duration::from_secs(3_600);
            if queue.needs_proof {
                prove(&mut queue, now);
            }
            let taken = take_all(&mut queue, now);
            match taken.iter().position(|it| it == &[50][..]) {
                // Those before it are not confirmed any more: the channel has gone.
                Some(_) => {
                    connections += 1;
                    if let Lost::Refused(message) = queue.on_unclear(now) {
                        assert_eq!(message, [50][..]);
                    }
                }
                None => {
                    queue.confirm(now, taken.len());
                    published.extend(taken.into_iter().map(|it| it[0]));
                }
            }
        }
        let expected: Vec<u8> = (0..100).filter(|it| *it != 50).collect();
        assert_eq!(published, expected);
        assert_eq!(queue.refused, 1);
        assert!(connections < 10, "{connections}");
    }

    #[test]
    fn a_message_that_costs_connections_that_work_is_given_up() {
        let (mut queue, now) = queue(2);
        assert_eq!(take_all(&mut queue, now).len(), 2);
        assert_eq!(queue.lose(now), Lost::Kept);
        for attempt in 1..=MAX_ATTEMPTS {
            // A probe goes first, and nothing else until it is confirmed.
            assert_eq!(take_all(&mut queue, now), [&b"probe"[..]]);
            queue.confirm(now, 1);
            while queue.flight.is_empty() {
                take_all(&mut queue, now);
            }
            let lost = queue.lose(now);
            if attempt == MAX_ATTEMPTS {
                assert_eq!(lost, Lost::Refused(Bytes::from_static(&[0])));
            } else {
                assert_eq!(lost, Lost::Kept);
            }
        }
        take_all(&mut queue, now);
        queue.confirm(now, 2);
        take_all(&mut queue, now);
        queue.confirm(now, 2);
        assert!(queue.is_empty());
        assert_eq!(queue.refused, 1);
    }

    #[test]
    fn a_broker_that_is_down_costs_no_message_anything() {
        let (mut queue, now) = queue(1);
        take_all(&mut queue, now);
        assert_eq!(queue.lose(now), Lost::Kept);
        for _ in 0..100 {
            assert_eq!(take_all(&mut queue, now), [&b"probe"[..]]);
            assert_eq!(queue.lose(now), Lost::Kept);
        }
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_probe_behind_a_message_does_not_hide_it() {
        let (mut queue, now) = queue(1);
        for _ in 0..MAX_ATTEMPTS {
            queue.next_probe = now + Duration::from_secs(3_600);
            while queue.sent == 0 {
                let taken = take_all(&mut queue, now).len();
                if queue.sent == 0 {
                    queue.confirm(now, taken);
                }
            }
            queue.next_probe = now;
            assert_eq!(take_all(&mut queue, now), [&b"probe"[..]]);
            queue.lose(now);
        }
        assert!(queue.is_empty() && queue.refused == 1);
    }

    #[test]
    fn a_message_that_is_refused_behind_a_probe_is_found() {
        let (mut queue, now) = queue(1);
        queue.next_probe = now;
        assert_eq!(take_all(&mut queue, now).len(), 2);
        assert_eq!(queue.on_unclear(now), Lost::Kept);
        assert_eq!(take_all(&mut queue, now), [&b"probe"[..]]);
        queue.confirm(now, 1);
        assert_eq!(take_all(&mut queue, now).len(), 1);
        assert!(matches!(queue.on_unclear(now), Lost::Refused(_)));
    }

    #[test]
    fn what_is_large_is_so_until_it_has_left() {
        let (mut queue, now) = queue(0);
        queue.limit = 1_000;
        // Room for a number is reserved that the message then does not need.
        let room = queue.reserve(1_010).unwrap();
        queue.append(room, |_| vec![0; 991]);
        queue.limit = 100;
        take_all(&mut queue, now);
        queue.confirm(now, 1);
        assert!(!queue.has_large && queue.bytes == 0);
        assert!(queue.reserve(1_010).is_ok());
    }

    #[test]
    fn a_flush_ends_though_more_follows() {
        let (mut queue, now) = queue(2);
        let until = queue.next_seq();
        assert!(!queue.is_done_before(until));
        take_all(&mut queue, now);
        let room = queue.reserve(10).unwrap();
        queue.append(room, |_| vec![2]);
        queue.confirm(now, 2);
        assert!(queue.is_done_before(until) && !queue.is_empty());
    }

    #[test]
    fn a_window_grows_with_every_confirmation() {
        let (mut queue, now) = queue(200);
        take_all(&mut queue, now);
        queue.lose(now);
        prove(&mut queue, now);
        let mut sizes = Vec::new();
        while !queue.is_empty() {
            let taken = take_all(&mut queue, now).len();
            sizes.push(taken);
            queue.confirm(now, taken);
        }
        assert_eq!(sizes[..5], [1, 2, 4, 8, 16]);
    }
}
