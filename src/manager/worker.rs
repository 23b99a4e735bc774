//! State that the handles and the threads of a manager share, and the threads' beginning and end.
//!
//! In a circle with `backend`, `listening` and `publishing`: a backend is given what the threads
//! that call it have for it.

use super::backend::{Backend, BackendError, POLL_INTERVAL, PublishError};
use super::link::{Link, MAX_DELAY, ManagerState, ProbeEcho, Side};
use super::message::{Encoder, MessageBuilder};
use super::outgoing::{Queue, ReservedRoom};
use super::remote_acks::RemoteAcks;
use super::{AckRequest, LocalNode, ManagerFigures, RecipientsFn};
use crate::error::{ConnectError, Error, LimitExceeded};
use crate::limits::clamp_duration;
use crate::util::program;
use crate::util::random;
use crate::util::sync::{Condvar, Mutex, assert_unlocked};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// State that the handles and the threads share.
pub(super) struct PubSubCore {
    pub(super) backend: Box<dyn Backend>,
    pub(super) options: Mutex<Options>,
    pub(super) encoder: Encoder,
    pub(super) local: OnceLock<Weak<dyn LocalNode>>,
    pub(super) queue: Mutex<Queue>,
    /// The queue has changed.
    pub(super) changed: Condvar,
    pub(super) remote_acks: RemoteAcks,
    pub(super) link: Mutex<Link>,
    threads: Mutex<Vec<ThreadId>>,
    pub(super) echo: Mutex<ProbeEcho>,
    pub(super) heard: AtomicU64,
    pub(super) misunderstood: AtomicU64,
    lost: AtomicU64,
}

#[derive(Clone)]
pub(super) struct Options {
    pub(super) channel: String,
    pub(super) write_only: bool,
    /// Messages of python-socketio before 5.14 are read.
    #[cfg(feature = "pickle")]
    pub(super) accepts_pickle: bool,
    pub(super) on_state: Option<Arc<dyn Fn(ManagerState) + Send + Sync>>,
}

/// A message for which there is room in the queue.
pub(super) struct Prepared<'a> {
    shared: &'a PubSubCore,
    content: Option<(MessageBuilder, ReservedRoom)>,
}

impl Prepared<'_> {
    /// Queues it. Never waits, and cannot fail.
    pub(super) fn send(mut self) {
        if let Some((object, room)) = self.content.take() {
            let mut queue = self.shared.queue.lock();
            queue.append(room, |seq| object.finish(seq));
            drop(queue);
            self.shared.changed.notify_all();
        }
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if let Some((_, room)) = &self.content {
            self.shared.queue.lock().release(room);
        }
    }
}

impl PubSubCore {
    pub(super) fn new(backend: Box<dyn Backend>) -> PubSubCore {
        PubSubCore {
            backend,
            options: Mutex::new(Options {
                channel: "socketio".into(),
                write_only: false,
                #[cfg(feature = "pickle")]
                accepts_pickle: false,
                on_state: None,
            }),
            encoder: Encoder::new(new_host()),
            local: OnceLock::new(),
            queue: Mutex::new(Queue::new(Instant::now())),
            changed: Condvar::new(),
            remote_acks: RemoteAcks::default(),
            link: Mutex::new(Link::new()),
            threads: Mutex::default(),
            echo: Mutex::default(),
            heard: AtomicU64::new(0),
            misunderstood: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    pub(super) fn figures(&self) -> ManagerFigures {
        let queue = self.queue.lock();
        let unpublished = (queue.len() + queue.in_flight()) as u64;
        let (accepted, refused) = (queue.next_seq(), queue.refused);
        drop(queue);
        let misunderstood = self.misunderstood.load(Ordering::Relaxed);
        ManagerFigures {
            published: accepted.saturating_sub(unpublished + refused),
            heard: self.heard.load(Ordering::Relaxed),
            dropped: refused + misunderstood,
            reconnections: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Reserves room for a message in the queue.
    pub(super) fn prepare(&self, object: MessageBuilder) -> Result<Prepared<'_>, Error> {
        let bytes = object.max_len();
        // A program's own backend is not asked under the lock.
        assert_unlocked();
        let limit = self.backend.max_message_size();
        if bytes > limit {
            let what = "bytes are in one message for the broker";
            return Err(LimitExceeded::new(what, "max_message_size", limit).into());
        }
        let room = self.queue.lock().reserve(bytes)?;
        Ok(Prepared {
            shared: self,
            content: Some((object, room)),
        })
    }

    /// Queues a message. Never waits.
    pub(super) fn push(&self, object: MessageBuilder) -> Result<(), Error> {
        self.prepare(object).map(Prepared::send)
    }

    /// Awaits answers to a question; returns the id under which they come.
    pub(super) fn expect(
        self: &Arc<Self>,
        ack: &AckRequest,
        is_single: bool,
        sid: Option<&str>,
        reported: Arc<AtomicBool>,
    ) -> Result<u64, Error> {
        let (id, is_first) = self.remote_acks.expect(ack, is_single, sid, reported)?;
        if is_first {
            let watch = |shared: &Arc<PubSubCore>| {
                let tell = |callback: RecipientsFn| {
                    shared.execute(move || callback(None, Err(Error::Timeout)));
                };
                let reaches_others = || shared.state() == ManagerState::Connected;
                shared.remote_acks.watch(tell, reaches_others);
                let own = thread::current().id();
                shared.threads.lock().retain(|id| *id != own);
            };
            if !self.spawn("socketio-answers", None, watch) {
                // The next question tries again.
                self.remote_acks.watch_failed();
            }
        }
        Ok(id)
    }

    /// Starts the publisher's thread, and the listener's.
    pub(super) fn start(self: &Arc<Self>, listens: bool) {
        self.spawn(
            "socketio-publish",
            Some(Side::Publisher),
            PubSubCore::publish,
        );
        if listens {
            self.spawn("socketio-listen", Some(Side::Listener), PubSubCore::listen);
        }
    }

    fn spawn(
        self: &Arc<Self>,
        name: &str,
        side: Option<Side>,
        run: impl Fn(&Arc<PubSubCore>) + Send + 'static,
    ) -> bool {
        let shared = Arc::clone(self);
        let run = move || {
            // A program's own backend may panic.
            while program::call(|| run(&shared)).is_err() {
                log::error!(target: "socketio", "a manager's thread panicked, and begins again");
                if let Some(side) = side {
                    shared.lose_to_panic(side);
                }
                if shared.wait_or_end(MAX_DELAY) {
                    break;
                }
            }
            shared.queue.lock().running -= 1;
            shared.changed.notify_all();
        };
        self.queue.lock().running += 1;
        match thread::Builder::new().name(name.into()).spawn(run) {
            Ok(handle) => {
                self.threads.lock().push(handle.thread().id());
                true
            }
            Err(error) => {
                self.queue.lock().running -= 1;
                log::error!(target: "socketio", "{name}: no thread: {error}");
                false
            }
        }
    }

    /// Ends the threads, and waits for them, unless the caller is one of them.
    pub(super) fn end(&self, flush: Duration) {
        let is_own_thread = self.threads.lock().contains(&thread::current().id());
        let by = Instant::now() + flush;
        self.remote_acks.end();
        let mut queue = self.queue.lock();
        let by = if queue.flush_timed_out {
            Instant::now()
        } else {
            by
        };
        queue.ends_by = Some(by);
        self.changed.notify_all();
        // What hangs in the system's hands is left to it.
        while queue.running > usize::from(is_own_thread)
            && !self
                .changed
                .wait_until(&mut queue, by + POLL_INTERVAL)
                .timed_out()
        {}
    }

    /// Waits until nothing waits to be published.
    pub(super) fn flush(&self, timeout: Duration) -> Result<(), Error> {
        let by = Instant::now() + clamp_duration(timeout);
        let mut queue = self.queue.lock();
        let (told, until) = (queue.refused_told, queue.next_seq());
        queue.flushes += 1;
        while !queue.is_done_before(until) {
            if self.changed.wait_until(&mut queue, by).timed_out() {
                queue.flushes -= 1;
                queue.flush_timed_out = true;
                drop(queue);
                return Err(match self.reason() {
                    Some(why) => broker_error(format!("the broker is not reached: {why}")),
                    None => Error::Timeout,
                });
            }
        }
        queue.flushes -= 1;
        queue.refused_told = queue.refused;
        match queue.refused - told {
            0 => Ok(()),
            count => Err(broker_error(format!(
                "the broker has refused {count} messages"
            ))),
        }
    }

    /// Waits, unless the manager is to end; returns whether it is.
    pub(super) fn wait_or_end(&self, pause: Duration) -> bool {
        let mut queue = self.queue.lock();
        let until = Instant::now() + pause;
        loop {
            let now = Instant::now();
            let over = match queue.ends_by {
                Some(by) => by <= now || queue.is_empty(),
                None => false,
            };
            if over || until <= now {
                return over;
            }
            let at = queue.ends_by.map_or(until, |by| by.min(until));
            self.changed.wait_until(&mut queue, at);
        }
    }

    /// Notes that a thread has panicked, and its connection has gone with it.
    fn lose_to_panic(&self, side: Side) {
        let why = || BackendError::from("it panicked");
        if side == Side::Publisher {
            self.fail(PublishError::Lost(why()));
        }
        self.lose(side, &why());
    }

    pub(super) fn is_ending(&self) -> bool {
        self.queue.lock().ends_by.is_some()
    }

    pub(super) fn state(&self) -> ManagerState {
        self.link.lock().state()
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.link.lock().reason()
    }

    /// Notes that a side is lost, and why.
    pub(super) fn lose(&self, side: Side, error: &BackendError) {
        let mut is_new = false;
        self.lost.fetch_add(1, Ordering::Relaxed);
        // Both at once: whoever is told of the state may ask for the reason.
        self.change_state(|link| is_new = link.lose(side, error));
        log_failure(side, error, is_new);
    }

    /// Notes why the broker takes no messages, or that it does again.
    pub(super) fn set_blocked(&self, why: Option<&str>) {
        if !self.link.lock().block(why) {
            return;
        }
        if let Some(why) = why {
            log::warn!(target: "socketio", "the broker takes no messages for now: {why}");
        }
        self.change_state(|_| ());
    }

    pub(super) fn change_state(&self, change: impl FnOnce(&mut Link)) {
        let mut link = self.link.lock();
        change(&mut link);
        let changed = link.update();
        drop(link);
        // Others were said, with the reason.
        if changed == Some(ManagerState::Connected) {
            log::info!(target: "socketio", "the broker is reached");
        }
        self.tell_states();
    }

    /// Ends the state for good.
    pub(super) fn end_state(&self) {
        self.link.lock().end();
        log::debug!(target: "socketio", "the manager has ended");
        self.tell_states();
    }

    /// Calls the program's function with each new state, in their order, one thread at a time.
    fn tell_states(&self) {
        let mut is_first = true;
        loop {
            // Not in the head of the loop: the function may ask for the state, under this lock.
            let next = self.link.lock().next_to_tell(std::mem::take(&mut is_first));
            let Some(state) = next else {
                return;
            };
            let function = self.options.lock().on_state.clone();
            let tell = || function.map(|function| function(state));
            if program::call(tell).is_err() {
                log::error!(target: "socketio", "the function for a manager's state panicked");
            }
        }
    }

    /// Runs a function of the program where it may block.
    pub(super) fn execute(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(local) = self.local.get().and_then(Weak::upgrade) {
            local.execute(Box::new(job));
        }
    }
}

/// Logs a failure, each reason once until the broker is reached again.
pub(super) fn log_failure(side: Side, error: &BackendError, is_new: bool) {
    let what = match side {
        Side::Publisher => "publish",
        Side::Listener => "listen",
    };
    let level = if is_new {
        log::Level::Warn
    } else {
        log::Level::Debug
    };
    log::log!(target: "socketio", level, "the broker is not reached to {what}: {error}");
}

pub(super) fn broker_error(text: String) -> Error {
    Error::Connection(ConnectError::new(text))
}

impl fmt::Debug for PubSubCore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PubSubCore")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// Returns 32 hexadecimal digits, as python-socketio's.
pub(super) fn new_host() -> String {
    let mut bytes = [0; 16];
    // Without random bytes there is no session either, and so nobody to tell apart.
    let _ = random::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart() {
        assert_eq!(new_host().len(), 32);
        assert_ne!(new_host(), new_host());
    }
}
