//! A manager for servers that share a queue.

use super::backend::Backend;
use super::exchange::Shared;
use super::{AckRequest, Emission, Local, Manager};
use crate::engineio::before_waiting;
use crate::error::Error;
use parking_lot::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// How long the end of a manager waits for what has not been published.
const FLUSH: Duration = Duration::from_secs(5);

/// Whether a manager reaches its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManagerState {
    /// It has not reached it yet, or has lost it, and is trying. The server goes on serving its own
    /// clients; what is published waits, as long as there is room.
    Disconnected,
    /// What is published goes out, and what others publish is heard.
    Connected,
    /// The manager has ended.
    Ended,
}

/// A manager for servers that share a queue: broadcasts, rooms, `call`, callbacks and disconnects
/// reach the clients of all of them. A cheap handle: clones are the same manager.
///
/// The messages are python-socketio's, so that its servers can be among them.
///
/// Each server hears what others have published since it was built; there is no record of what was
/// published before. Local clients are served first, and whatever becomes of the broker. When the
/// last handle is dropped, with its server, what waits is published, for 5 s at most.
#[derive(Clone)]
pub struct PubSubManager {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<ThreadId>>,
}

impl PubSubManager {
    /// A manager over a queue.
    #[must_use]
    pub fn new(backend: impl Backend) -> PubSubManager {
        let shared = Shared::new(Box::new(backend));
        PubSubManager {
            inner: Arc::new(Inner {
                shared: Arc::new(shared),
                threads: Mutex::default(),
            }),
        }
    }

    /// The name under which its servers find each other. `socketio`.
    #[must_use]
    pub fn channel(self, channel: &str) -> Self {
        self.inner.shared.options.lock().channel = channel.to_owned();
        self
    }

    /// Only publishes, for programs that are no server: there is no listener, callbacks and `call`
    /// are errors. A [`Server`](crate::Server) with it need not be served.
    #[must_use]
    pub fn write_only(self) -> Self {
        self.inner.shared.options.lock().write_only = true;
        self
    }

    /// Bytes that may wait for the broker; more is an error at the call. 1 MiB.
    #[must_use]
    pub fn max_queue_size(self, bytes: usize) -> Self {
        self.inner.shared.queue.lock().limit = bytes;
        self
    }

    /// Calls a function whenever [`state`](PubSubManager::state) changes, on one of the manager's
    /// threads. Nothing.
    #[must_use]
    pub fn on_state(self, function: impl Fn(ManagerState) + Send + Sync + 'static) -> Self {
        self.inner.shared.options.lock().on_state = Some(Arc::new(function));
        self
    }

    /// Whether it reaches its broker.
    pub fn state(&self) -> ManagerState {
        self.inner.shared.link.lock().state
    }

    /// Waits until everything that was emitted before is published, for programs that must know.
    /// Dropping the last handle waits too, and does not say how it went.
    ///
    /// # Errors
    /// [`Error::Connection`] with the reason if the broker was not reached in time, [`Error::Timeout`] if
    /// it has not taken all of it; what is left is given up when the last handle is dropped.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        before_waiting();
        self.inner.shared.flush(timeout)
    }

    fn local(&self) -> Option<Arc<dyn Local>> {
        self.inner.shared.local.get().and_then(Weak::upgrade)
    }

    /// Whether a client is here.
    fn is_here(&self, namespace: &str, sid: &str) -> bool {
        self.local()
            .is_some_and(|local| local.is_connected(namespace, sid))
    }
}

impl Manager for PubSubManager {
    fn start(&self, local: Weak<dyn Local>) {
        let shared = &self.inner.shared;
        assert!(
            shared.local.set(local).is_ok(),
            "a PubSubManager is for one server"
        );
        let write_only = shared.options.lock().write_only;
        shared.link.lock().hears = write_only;
        *self.inner.threads.lock() = shared.start(!write_only);
    }

    fn emit(&self, emission: &Emission) -> Result<(), Error> {
        let shared = &self.inner.shared;
        if let Some(ack) = &emission.ack {
            return self.emit_with_ack(emission, ack);
        }
        if let Some(local) = self.local() {
            local.emit(emission)?;
        }
        shared.push(shared.writer.emit(emission, None))
    }

    fn enter_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        if let Some(local) = self.local().filter(|it| it.is_connected(namespace, sid)) {
            return local.enter_room(namespace, sid, room);
        }
        let shared = &self.inner.shared;
        shared.push(shared.writer.enter_room(namespace, sid, room))
    }

    fn leave_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        if let Some(local) = self.local().filter(|it| it.is_connected(namespace, sid)) {
            return local.leave_room(namespace, sid, room);
        }
        let shared = &self.inner.shared;
        shared.push(shared.writer.leave_room(namespace, sid, room))
    }

    fn close_room(&self, namespace: &str, room: &str) -> Result<(), Error> {
        if let Some(local) = self.local() {
            local.close_room(namespace, room)?;
        }
        let shared = &self.inner.shared;
        shared.push(shared.writer.close_room(namespace, room))
    }

    fn disconnect(&self, namespace: &str, sid: &str) {
        if self
            .local()
            .is_some_and(|local| local.disconnect(namespace, sid))
        {
            return;
        }
        let shared = &self.inner.shared;
        if let Err(error) = shared.push(shared.writer.disconnect(namespace, sid)) {
            log::warn!(target: "socketio", "a client of another server is not disconnected: {error}");
        }
    }
}

impl PubSubManager {
    fn emit_with_ack(&self, emission: &Emission, ack: &AckRequest) -> Result<(), Error> {
        let shared = &self.inner.shared;
        if shared.options.lock().write_only {
            let why = "a write-only manager hears no answers: callbacks and call need a server";
            return Err(Error::Invalid(why.into()));
        }
        let single = match emission.recipients.rooms.as_deref() {
            Some([one]) => Some(one.as_str()),
            _ => None,
        };
        let mut emission = emission.clone();
        let answered = single.map(|_| {
            let answered = Arc::new(AtomicBool::new(false));
            let (callback, is) = (Arc::clone(&ack.callback), Arc::clone(&answered));
            emission.ack = Some(AckRequest {
                callback: Arc::new(move |answer| {
                    is.store(true, Ordering::Release);
                    callback(answer);
                }),
                timeout: ack.timeout,
                tells_of_nobody: false,
            });
            answered
        });
        if let Some(local) = self.local() {
            local.emit(&emission)?;
        }
        // A sid is in one place: nobody else need be asked.
        if single.is_some_and(|sid| self.is_here(&emission.namespace, sid)) {
            return Ok(());
        }
        let ack = emission.ack.as_ref().unwrap_or(ack);
        let id = shared.awaited.expect(ack, answered)?;
        let object = shared.writer.emit(&emission, Some((id, ack.timeout)));
        shared
            .push(object)
            .inspect_err(|_| shared.awaited.forget(id))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The last handle may go on one of them.
        let own = self.threads.lock().contains(&thread::current().id());
        self.shared.end(FLUSH, own);
        self.shared
            .change_state(|link| link.state = ManagerState::Ended);
    }
}

impl fmt::Debug for PubSubManager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PubSubManager")
            .field("backend", &self.inner.shared.backend)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
