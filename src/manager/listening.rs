//! The listener's thread: what other servers publish, and what becomes of it here.
//!
//! In a circle with `backend`, `publishing` and `worker`: a backend is given what the threads that
//! call it have for it.

use super::backend::POLL_INTERVAL;
use super::dedup::Deduplicator;
use super::link::{ReconnectDelay, Side};
#[cfg(feature = "pickle")]
use super::message::of_pickle;
use super::message::{ClusterMessage, MessageError, Old, ReplyTo, read};
use super::worker::PubSubCore;
use super::{AckRequest, LocalNode};
use crate::error::Error;
use crate::handlers::AckResponse;
use crate::limits::clamp_duration;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Time for which an answer is relayed to a server that does not say how long it waits.
const RELAY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time in which one record says how many messages were dropped.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

impl PubSubCore {
    /// Runs the listener's thread.
    pub(super) fn listen(self: &Arc<Self>) {
        let channel = self.options.lock().channel.clone();
        let timeout = self.backend.timeout();
        let mut attempts = ReconnectDelay::new();
        let mut state = ListenerState::default();
        while !self.is_ending() {
            let mut connection = match self.backend.subscriber(&channel) {
                Ok(connection) => connection,
                Err(error) => {
                    self.lose(Side::Listener, &error);
                    self.sleep(attempts.pause());
                    continue;
                }
            };
            attempts.succeeded();
            self.echo.lock().reset();
            self.change_state(|link| link.subscribed = true);
            // Whether it hears need not wait for the next one.
            self.queue.lock().probe_now(Instant::now());
            self.changed.notify_all();
            let listened = connection.listen(&mut MessageSink {
                shared: self,
                state: &mut state,
                timeout,
            });
            if self.is_ending() {
                // Nothing is lost: the publisher may still be at it.
                return;
            }
            let error = match listened {
                Err(error) => error,
                Ok(()) => "the broker takes messages, and does not deliver them".into(),
            };
            self.lose(Side::Listener, &error);
            drop(connection);
            self.sleep(attempts.pause());
        }
    }

    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.is_ending() && Instant::now() < until {
            std::thread::sleep(POLL_INTERVAL.min(pause));
        }
    }

    /// Acts on a message; an error has the words for what it was.
    fn apply(
        self: &Arc<Self>,
        local: &dyn LocalNode,
        message: ClusterMessage,
    ) -> Result<(), (String, Error)> {
        let done = match message {
            ClusterMessage::Emit(mut broadcast, back) => {
                broadcast.ack = back.map(|back| self.relay(back));
                let sent = local.emit(&broadcast).map(drop);
                return sent.map_err(|error| (format!("the event {:?}", broadcast.event), error));
            }
            ClusterMessage::Disconnect { namespace, sid } => {
                local.disconnect(&namespace, &sid);
                Ok(())
            }
            ClusterMessage::EnterRoom {
                namespace,
                sid,
                room,
            } if local.is_connected(&namespace, &sid) => local.enter_room(&namespace, &sid, &room),
            ClusterMessage::LeaveRoom {
                namespace,
                sid,
                room,
            } if local.is_connected(&namespace, &sid) => local.leave_room(&namespace, &sid, &room),
            ClusterMessage::CloseRoom { namespace, room } => local.close_room(&namespace, &room),
            ClusterMessage::EnterRoom { .. }
            | ClusterMessage::LeaveRoom { .. }
            | ClusterMessage::Callback { .. }
            | ClusterMessage::Probe(_) => Ok(()),
        };
        done.map_err(|error| ("a message".to_owned(), error))
    }

    /// Sends what comes of an event of another server back to it: the answers, and if it is of this
    /// crate, who has not answered.
    fn relay(self: &Arc<Self>, back: ReplyTo) -> AckRequest {
        let shared = Arc::downgrade(self);
        let timeout = back.timeout.unwrap_or(RELAY_TIMEOUT);
        let callback = move |sid: Option<&str>, answer: Result<AckResponse, Error>| {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let message = match answer {
                Ok(answer) => shared.encoder.callback(&back, sid, &answer),
                Err(error) if back.timeout.is_some() => {
                    shared.encoder.unanswered(&back, sid, &error)
                }
                Err(_) => return,
            };
            if let Err(error) = shared.push(message) {
                log::warn!(target: "socketio", "an answer for another server is lost: {error}");
                if back.timeout.is_some() {
                    // Perhaps there is room for that.
                    let _ = shared.push(shared.encoder.unanswered(&back, sid, &error));
                }
            }
        };
        AckRequest {
            callback: Arc::new(callback),
            tells_of_nobody: false,
            is_single: false,
            timeout: clamp_duration(timeout),
        }
    }
}

/// Taker of what a [`Subscriber`](super::Subscriber) hears.
///
/// ```
/// use socketio::manager::{MessageSink, BackendError, Subscriber};
/// use std::sync::mpsc::{Receiver, RecvTimeoutError};
/// use std::time::Duration;
///
/// struct Ear(Receiver<Vec<u8>>);
///
/// impl Subscriber for Ear {
///     fn listen(&mut self, sink: &mut MessageSink<'_>) -> Result<(), BackendError> {
///         loop {
///             let goes_on = match self.0.recv_timeout(Duration::from_millis(250)) {
///                 Ok(message) => sink.message(&message),
///                 Err(RecvTimeoutError::Timeout) => sink.nothing(),
///                 Err(gone) => return Err(gone.into()),
///             };
///             if !goes_on {
///                 return Ok(());
///             }
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct MessageSink<'a> {
    shared: &'a Arc<PubSubCore>,
    state: &'a mut ListenerState,
    timeout: Duration,
}

impl MessageSink<'_> {
    /// Acts on a message. Returns whether to go on listening.
    pub fn message(&mut self, message: &[u8]) -> bool {
        self.state.on_message(self.shared, message);
        self.goes_on()
    }

    /// Notes that no message has come for a moment. Returns whether to go on listening: not if the
    /// manager ends, and not if messages that the broker has confirmed are not delivered.
    pub fn nothing(&mut self) -> bool {
        let now = Instant::now();
        warn(self.state.dropped.record(now));
        self.goes_on() && !self.shared.echo.lock().is_lost(now, self.timeout)
    }

    /// Returns whether to go on listening.
    pub fn goes_on(&self) -> bool {
        !self.shared.is_ending()
    }

    /// Returns whether a message that the broker has confirmed should have been heard by now. A
    /// subscriber that can do so finds out, by a question to the broker over its own connection,
    /// whether something large is still on its way, and calls
    /// [`note_checked`](MessageSink::note_checked) with the answer. Without that the connection is
    /// given up after the same time once more.
    pub fn is_check_due(&self) -> bool {
        let echo = self.shared.echo.lock();
        echo.is_overdue(Instant::now(), self.timeout) && !echo.is_checked()
    }

    /// Notes that everything that was on its way has come, and is passed on before the next call of
    /// [`nothing`](MessageSink::nothing).
    pub fn note_checked(&mut self) {
        self.shared.echo.lock().check();
    }
}

/// State of a listener that outlives a connection.
#[derive(Debug, Default)]
struct ListenerState {
    seen: Deduplicator,
    dropped: DroppedMessages,
    /// Old versions of servers that were named.
    old_named: Vec<Old>,
}

impl ListenerState {
    /// Acts on a message.
    fn on_message(&mut self, shared: &Arc<PubSubCore>, bytes: &[u8]) {
        #[cfg(feature = "pickle")]
        let unpickled = match bytes.first() {
            Some(0x80) if shared.options.lock().accepts_pickle => of_pickle(bytes),
            _ => None,
        };
        #[cfg(feature = "pickle")]
        let bytes = unpickled.as_deref().unwrap_or(bytes);
        let incoming = match read(bytes) {
            Ok(incoming) => incoming,
            Err(invalid) => {
                shared.misunderstood.fetch_add(1, Ordering::Relaxed);
                self.note_old(Old::of_invalid(bytes));
                return warn(self.dropped.count(Instant::now(), invalid));
            }
        };
        let is_own = incoming.host == shared.encoder.host();
        let (is_answer, from) = match incoming.message {
            ClusterMessage::Probe(number) => {
                if is_own {
                    shared.echo.lock().on_probe(number);
                }
                return;
            }
            // Its host is the one that has asked.
            ClusterMessage::Callback { .. } => (true, incoming.from),
            _ => (false, Some(incoming.host)),
        };
        if is_own != is_answer {
            return;
        }
        self.note_old(incoming.old);
        if let (Some(from), Some(seq)) = (from, incoming.seq)
            && !self.seen.record(from, seq, !is_answer)
        {
            return;
        }
        shared.heard.fetch_add(1, Ordering::Relaxed);
        if let ClusterMessage::Callback { id, who, answer } = incoming.message {
            if let Some(callback) = shared.remote_acks.callback_for(id, who.as_deref()) {
                shared.execute(move || callback(who.as_deref(), answer));
            }
            return;
        }
        if let Some(local) = shared.local.get().and_then(Weak::upgrade)
            && let Err((what, error)) = shared.apply(&*local, incoming.message)
        {
            log::warn!(target: "socketio", "{what} of another server was not acted on: {error}");
        }
    }

    /// Says once that another server is of a version whose messages say less.
    fn note_old(&mut self, old: Option<Old>) {
        if let Some(old) = old
            && !self.old_named.contains(&old)
        {
            self.old_named.push(old);
            log::warn!(target: "socketio", "{old}");
        }
    }
}

/// Messages that cannot be read: one record a second, with their number.
#[derive(Debug, Default)]
struct DroppedMessages {
    since: Option<Instant>,
    count: u64,
    why: MessageError,
}

impl DroppedMessages {
    /// Counts a message; returns the record that is due.
    fn count(&mut self, now: Instant, why: MessageError) -> Option<String> {
        if self.since.is_some() {
            self.count += 1;
            self.why = why;
            return self.record(now);
        }
        self.since = Some(now);
        Some(format!("a message of the broker is dropped: {why}"))
    }

    /// Returns the record of those since the last one, once it is due.
    fn record(&mut self, now: Instant) -> Option<String> {
        let is_due = |since: &mut Instant| now.saturating_duration_since(*since) >= RECORD_INTERVAL;
        self.since.take_if(is_due)?;
        let (count, why) = (std::mem::take(&mut self.count), self.why);
        if count == 0 {
            return None;
        }
        self.since = Some(now);
        Some(format!(
            "{count} more messages of the broker are dropped, the last one: {why}"
        ))
    }
}

fn warn(record: Option<String>) {
    if let Some(record) = record {
        log::warn!(target: "socketio", "{record}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_costs_one_record_a_second() {
        let (mut dropped, begun) = (DroppedMessages::default(), Instant::now());
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        let records: Vec<_> = (0..2_500)
            .filter_map(|milliseconds| dropped.count(at(milliseconds), "junk"))
            .collect();
        assert_eq!(
            records,
            [
                "a message of the broker is dropped: junk",
                "1000 more messages of the broker are dropped, the last one: junk",
                "1000 more messages of the broker are dropped, the last one: junk",
            ]
        );
        // The rest is said once nothing more comes.
        assert_eq!(dropped.record(at(2_600)), None);
        assert!(dropped.record(at(3_000)).unwrap().starts_with("499 more"));
        assert_eq!(dropped.record(at(4_000)), None);
        assert!(
            dropped
                .count(at(5_000), "junk")
                .unwrap()
                .starts_with("a message")
        );
    }
}
