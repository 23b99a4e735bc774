//! The publisher's thread: what becomes of messages that wait for the broker.
//!
//! In a circle with `backend`, `listening` and `worker`: a backend is given what the threads that
//! call it have for it.

use super::backend::{
    BackendError, POLL_INTERVAL, PublishError, Publisher, no_answer, progress_timeout,
};
use super::link::{ReconnectDelay, Side};
use super::message;
use super::outgoing::Lost;
use super::worker::{PubSubCore, broker_error, log_failure};
use crate::util::sync::assert_unlocked;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Delay between reconnecting and publishing the backlog, so that other servers have resubscribed.
const RESUBSCRIBE_DELAY: Duration = Duration::from_millis(1_500);

impl PubSubCore {
    /// Runs the publisher's thread.
    pub(super) fn publish(self: &Arc<Self>) {
        let channel = self.options.lock().channel.clone();
        let timeout = self.backend.timeout();
        let mut connection: Option<Box<dyn Publisher>> = None;
        let mut was_away = false;
        let mut pardoned = false;
        let mut attempts = ReconnectDelay::new();
        loop {
            let Some(publisher) = &mut connection else {
                assert_unlocked();
                match self.backend.publisher(&channel) {
                    Ok(made) => {
                        connection = Some(made);
                        attempts.succeeded();
                        // That was said of the connection before.
                        self.set_blocked(None);
                        self.queue.lock().connect(Instant::now());
                        if std::mem::take(&mut was_away) && self.wait_for_resubscription() {
                            return self.count_unpublished();
                        }
                    }
                    Err(error) => {
                        self.lose(Side::Publisher, &error);
                        was_away = true;
                        if self.wait_or_end(attempts.pause()) {
                            return self.count_unpublished();
                        }
                    }
                }
                continue;
            };
            if !self.wait_for_work() {
                return self.count_unpublished();
            }
            let published = publisher.publish_all(&mut Outgoing::new(self));
            let published = published.and_then(|()| self.check_progress(timeout));
            if self.queue.lock().has_answered() {
                self.change_state(|link| link.publisher_connected = true);
            }
            let Err(error) = published else {
                pardoned = pardoned && !self.queue.lock().has_answered();
                continue;
            };
            // The broker is there, and has closed the connection for one message.
            let is_pardoned = matches!(error, PublishError::Unclear(_));
            if let Some(error) = self.fail(error) {
                // Ending a connection may take a while.
                connection = None;
                if !is_pardoned {
                    self.lose(Side::Publisher, &error);
                    was_away = true;
                }
                let goes_on_at_once = is_pardoned && !std::mem::replace(&mut pardoned, is_pardoned);
                if !goes_on_at_once && self.wait_or_end(attempts.pause()) {
                    return self.count_unpublished();
                }
            }
        }
    }

    /// Waits until there is something to publish, or to be confirmed; false when all is over.
    fn wait_for_work(&self) -> bool {
        let mut queue = self.queue.lock();
        loop {
            let now = Instant::now();
            if let Some(by) = queue.ends_by
                && (queue.is_empty() || by <= now)
            {
                return false;
            }
            if queue.has_work(now) {
                return true;
            }
            let next = queue.next_probe();
            self.changed.wait_until(&mut queue, next);
        }
    }

    fn count_unpublished(&self) {
        let count = self.queue.lock().len();
        if count > 0 {
            log::warn!(target: "socketio", "{count} messages were not published");
        }
    }

    /// Returns an error if the broker has confirmed nothing for too long.
    fn check_progress(&self, timeout: Duration) -> Result<(), PublishError> {
        match self.queue.lock().unconfirmed_for(Instant::now()) {
            Some((silence, bytes)) if silence >= progress_timeout(timeout, bytes) => {
                Err(PublishError::Lost(no_answer(timeout)))
            }
            _ => Ok(()),
        }
    }

    /// Decides what becomes of the messages in flight; returns the error if the connection is lost.
    pub(super) fn fail(&self, error: PublishError) -> Option<BackendError> {
        let now = Instant::now();
        let mut queue = self.queue.lock();
        let (refused, error, is_lost) = match error {
            PublishError::Refused(error) => (queue.refuse(now), error, false),
            PublishError::Lost(error) => (queue.lose(now).refused(), error, true),
            PublishError::Unclear(error) => (queue.on_unclear(now).refused(), error, true),
        };
        let total = queue.refused;
        drop(queue);
        match refused {
            Some(message) => {
                self.changed.notify_all();
                self.report_refused(&message, total, &error);
            }
            // A probe: the next message will be an ERROR.
            None if !is_lost => {
                let is_new = self.link.lock().fail(Side::Publisher, &error);
                log_failure(Side::Publisher, &error, is_new);
            }
            None => {}
        }
        is_lost.then_some(error)
    }

    /// Says that a message is given up, and tells whoever awaits an answer to it.
    fn report_refused(&self, message: &Bytes, total: u64, error: &BackendError) {
        let outline = message::Outline::of(message);
        let bytes = message.len();
        log::error!(
            target: "socketio",
            "the broker refuses {outline}, {bytes} bytes, which is given up ({total} so far): {error}"
        );
        if let Some(callback) = outline
            .callback
            .and_then(|id| self.remote_acks.callback_for(id, None))
        {
            let error = broker_error(format!("the broker has refused the message: {error}"));
            self.execute(move || callback(None, Err(error)));
        }
    }

    /// Waits until this server listens again, and the others have had time to, if the broker was
    /// away for more than this connection; returns whether the manager is to end.
    fn wait_for_resubscription(&self) -> bool {
        let by = Instant::now() + RESUBSCRIBE_DELAY * 4;
        if !self.link.lock().listener_was_lost(Instant::now()) {
            return false;
        }
        // At the end the listener has gone already, and is not waited for.
        while !self.is_ending() && !self.link.lock().subscribed && Instant::now() < by {
            if self.wait_or_end(POLL_INTERVAL / 10) {
                return true;
            }
        }
        self.wait_or_end(RESUBSCRIBE_DELAY)
    }
}

impl Lost {
    fn refused(self) -> Option<Bytes> {
        match self {
            Lost::Refused(message) => Some(message),
            Lost::Kept => None,
        }
    }
}

/// The messages that a [`Publisher`](super::Publisher) is to publish, in order.
///
/// ```
/// use socketio::manager::{Outgoing, PublishError, Publisher};
///
/// /// A queue that takes many messages at once, and says how many it has.
/// trait Batches: Send {
///     fn send(&mut self, message: &[u8]) -> std::io::Result<()>;
///     fn confirmed(&mut self) -> std::io::Result<usize>;
/// }
///
/// struct Queue<B>(B);
///
/// impl<B: Batches> Publisher for Queue<B> {
///     fn publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
///         self.0.send(message)?;
///         while self.0.confirmed()? == 0 {}
///         Ok(())
///     }
///
///     fn publish_all(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), PublishError> {
///         while let Some(message) = outgoing.take() {
///             self.0.send(&message)?;
///         }
///         outgoing.confirm(self.0.confirmed()?);
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Outgoing<'a> {
    shared: &'a PubSubCore,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(shared: &'a PubSubCore) -> Outgoing<'a> {
        Outgoing { shared }
    }

    /// Takes the next message, which is *in flight* from now on; none if nothing waits, or as much
    /// is in flight as may be: 8,192 messages, and 2 MiB, or one larger message. Does not block.
    pub fn take(&mut self) -> Option<Bytes> {
        let probe = |number| self.shared.encoder.probe(number);
        self.shared.queue.lock().take(Instant::now(), probe)
    }

    /// Returns the number of messages in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.queue.lock().in_flight()
    }

    /// Returns the bytes of the first message in flight: the next confirmation cannot come before
    /// they have left.
    pub fn first_len(&self) -> usize {
        self.shared.queue.lock().first_len()
    }

    /// Notes that the queue has the first `count` messages in flight.
    pub fn confirm(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let mut queue = self.shared.queue.lock();
        let probe = queue.confirm(Instant::now(), count);
        let is_flushed = queue.flushes > 0 || queue.is_empty();
        drop(queue);
        if is_flushed {
            self.shared.changed.notify_all();
        }
        if let Some(number) = probe {
            self.shared.echo.lock().expect(number, Instant::now());
        }
    }

    /// Notes that the broker takes nothing for a while, though it lives, and why; or, with none,
    /// that it takes messages again. It is given up all the same after the time-out, unless
    /// [`note_alive`](Outgoing::note_alive) is called.
    pub fn block(&mut self, why: Option<&str>) {
        self.note_alive();
        self.shared.set_blocked(why);
    }

    /// Notes that the broker lives, though it has confirmed nothing: the time in which it has to
    /// begins anew.
    pub fn note_alive(&mut self) {
        self.shared.queue.lock().progress = Instant::now();
    }
}
