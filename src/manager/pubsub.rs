//! A manager for servers that share a queue.

use super::backend::Backend;
use super::link::ManagerState;
use super::message::MAX_ATTACHMENTS;
use super::sid::{check_room, is_sid};
use super::worker::PubSubCore;
use super::{AckRequest, Broadcast, LocalNode, Manager, ManagerFigures};
use crate::engineio::block_in_place;
use crate::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Time that the end of a manager waits for what has not been published.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// A manager for servers that share a queue: broadcasts, rooms, `call`, callbacks and disconnects
/// reach the clients of all of them. A cheap handle: clones are the same manager.
///
/// The messages are python-socketio's, so that its servers can be among them.
///
/// Each server hears what others have published since it was built; there is no record of what was
/// published before. An event goes to local clients at once, whatever the state of the broker, if
/// there is room for it in the queue. When the last handle is dropped, with its server, what waits
/// is published, for 5 s at most.
///
/// ```no_run
/// use socketio::{Server, manager};
///
/// let manager = manager::from_url("redis://localhost")?
///     .channel("chat")?
///     .on_state(|state| println!("{state:?}"));
/// let io = Server::builder().manager(manager.clone()).build();
/// io.emit("news", "to the clients of all servers")?;
/// println!("{:?} {:?}", manager.state(), manager.reason());
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone)]
pub struct PubSubManager {
    inner: Arc<PubSubDropGuard>,
}

struct PubSubDropGuard {
    shared: Arc<PubSubCore>,
}

impl PubSubManager {
    /// Creates a manager over a queue.
    #[must_use]
    pub fn new(backend: impl Backend) -> PubSubManager {
        let shared = PubSubCore::new(Box::new(backend));
        PubSubManager {
            inner: Arc::new(PubSubDropGuard {
                shared: Arc::new(shared),
            }),
        }
    }

    /// Sets the name under which its servers find each other. Defaults to `socketio`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the broker can have no channel of that name, or if a server has
    /// been built with this manager.
    pub fn channel(self, channel: &str) -> Result<Self, Error> {
        let shared = &self.inner.shared;
        if shared.local.get().is_some() {
            let why = "the channel of a manager that a server has been built with";
            return Err(Error::InvalidArgument(why.into()));
        }
        let checked = shared.backend.check_channel(channel);
        checked.map_err(|why| {
            Error::InvalidArgument(format!("no channel can be {channel:?}: {why}"))
        })?;
        shared.options.lock().channel = channel.to_owned();
        Ok(self)
    }

    /// Sets whether messages in pickle are read, which python-socketio before 5.14 publishes: those of
    /// plain data, by a decoder that knows no others. Defaults to `false`.
    #[cfg(feature = "pickle")]
    #[must_use]
    pub fn accept_pickle(self, accept: bool) -> Self {
        self.inner.shared.options.lock().accepts_pickle = accept;
        self
    }

    /// Makes the manager only publish, for programs that are no server: there is no listener,
    /// callbacks and `call` are errors. A [`Server`](crate::Server) with it need not be served. By
    /// default it listens, too.
    ///
    /// # Panics
    /// If a server has been built with this manager.
    #[must_use]
    pub fn write_only(self) -> Self {
        let shared = &self.inner.shared;
        assert!(shared.local.get().is_none(), "it listens already");
        shared.options.lock().write_only = true;
        self
    }

    /// Sets the bytes that may wait for the broker; more is [`Error::LimitExceeded`] at the call.
    /// One message that is larger than all of that may wait beside the others. Defaults to 16 MiB.
    #[must_use]
    pub fn max_queue_size(self, bytes: usize) -> Self {
        self.inner.shared.queue.lock().limit = bytes;
        self
    }

    /// Calls a function whenever [`state`](PubSubManager::state) changes, on one of the manager's
    /// threads. By default nothing is called.
    #[must_use]
    pub fn on_state(self, function: impl Fn(ManagerState) + Send + Sync + 'static) -> Self {
        let before = self
            .inner
            .shared
            .options
            .lock()
            .on_state
            .replace(Arc::new(function));
        drop(before);
        self
    }

    /// Returns the state of its connections to the broker.
    pub fn state(&self) -> ManagerState {
        self.inner.shared.state()
    }

    /// Returns why the state is not [`ManagerState::Connected`], in the broker's own words where it
    /// has said something; none while it is, or before the first attempt has failed.
    pub fn reason(&self) -> Option<String> {
        self.inner.shared.reason()
    }

    /// Returns the number of messages that the broker has refused, and that were given up, since
    /// the start. Each of them is an ERROR in the log.
    pub fn refused(&self) -> u64 {
        self.inner.shared.queue.lock().refused
    }

    /// Waits until everything that was emitted before is published, for programs that must know.
    /// Dropping the last handle waits too, and does not say how it went.
    ///
    /// # Errors
    /// [`Error::Connection`] with the reason if the broker was not reached in time, or has refused
    /// messages since the last call, [`Error::Timeout`] if it has not taken all of it; what is left
    /// is given up when the last handle is dropped.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        block_in_place(|| self.inner.shared.flush(timeout))
    }

    /// Sends an event to the recipients that are here; returns their number.
    fn emit_here(&self, broadcast: &Broadcast) -> Result<usize, Error> {
        match self.local() {
            Some(local) => local.emit(broadcast),
            None => Ok(0),
        }
    }

    /// Returns whether it is addressed to one client, which is here: nobody else need know.
    fn is_for_one_here(&self, broadcast: &Broadcast) -> bool {
        match broadcast.recipients.rooms.as_deref() {
            Some([sid]) => self.is_here(&broadcast.namespace, sid),
            _ => false,
        }
    }

    fn local(&self) -> Option<Arc<dyn LocalNode>> {
        self.inner.shared.local.get().and_then(Weak::upgrade)
    }

    /// Returns whether a client is here.
    fn is_here(&self, namespace: &str, sid: &str) -> bool {
        self.local()
            .is_some_and(|local| local.is_connected(namespace, sid))
    }
}

impl Manager for PubSubManager {
    fn start(&self, local: Weak<dyn LocalNode>) {
        let shared = &self.inner.shared;
        assert!(
            shared.local.set(local).is_ok(),
            "a PubSubManager is for one server"
        );
        let write_only = shared.options.lock().write_only;
        shared.change_state(|link| link.subscribed = write_only);
        shared.start(!write_only);
    }

    fn emit(&self, broadcast: &Broadcast) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let attachments = broadcast.data.attachments.len();
        if attachments > MAX_ATTACHMENTS {
            return Err(Error::InvalidArgument(format!(
                "{attachments} attachments: other servers take {MAX_ATTACHMENTS} of one event"
            )));
        }
        if let Some(ack) = &broadcast.ack {
            return self.emit_with_ack(broadcast, ack);
        }
        if self.is_for_one_here(broadcast) {
            return self.emit_here(broadcast).map(|_| ());
        }
        // Room first: an emit that fails has done nothing.
        let prepared = shared.prepare(shared.encoder.emit(broadcast, None))?;
        let here = self.emit_here(broadcast);
        prepared.send();
        here.map(|_| ())
    }

    fn enter_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        check_room(sid, room)?;
        if let Some(local) = self.local().filter(|it| it.is_connected(namespace, sid)) {
            return local.enter_room(namespace, sid, room);
        }
        let shared = &self.inner.shared;
        shared.push(shared.encoder.enter_room(namespace, sid, room))
    }

    fn leave_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        if let Some(local) = self.local().filter(|it| it.is_connected(namespace, sid)) {
            return local.leave_room(namespace, sid, room);
        }
        let shared = &self.inner.shared;
        shared.push(shared.encoder.leave_room(namespace, sid, room))
    }

    fn close_room(&self, namespace: &str, room: &str) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let prepared = shared.prepare(shared.encoder.close_room(namespace, room))?;
        if let Some(local) = self.local() {
            local.close_room(namespace, room)?;
        }
        prepared.send();
        Ok(())
    }

    fn figures(&self) -> ManagerFigures {
        self.inner.shared.figures()
    }

    fn disconnect(&self, namespace: &str, sid: &str) {
        if self
            .local()
            .is_some_and(|local| local.disconnect(namespace, sid))
        {
            return;
        }
        let shared = &self.inner.shared;
        if let Err(error) = shared.push(shared.encoder.disconnect(namespace, sid)) {
            log::warn!(target: "socketio", "a client of another server is not disconnected: {error}");
        }
    }
}

impl PubSubManager {
    fn emit_with_ack(&self, broadcast: &Broadcast, ack: &AckRequest) -> Result<(), Error> {
        let shared = &self.inner.shared;
        if shared.options.lock().write_only {
            let why = "a write-only manager hears no answers: callbacks and call need a server";
            return Err(Error::InvalidArgument(why.into()));
        }
        let single = match broadcast.recipients.rooms.as_deref() {
            Some([one]) => Some(one.as_str()),
            _ => None,
        };
        let reported = Arc::new(AtomicBool::new(false));
        let (callback, is) = (Arc::clone(&ack.callback), Arc::clone(&reported));
        let mut broadcast = broadcast.clone();
        let ack = AckRequest {
            callback: Arc::new(move |sid, answer| {
                is.store(true, Ordering::Release);
                callback(sid, answer);
            }),
            ..*ack
        };
        // A sid is in one place: nobody else need be asked.
        if single.is_some_and(|sid| self.is_here(&broadcast.namespace, sid)) {
            // It may go at this moment.
            broadcast.ack.insert(ack).tells_of_nobody = true;
            return self.emit_here(&broadcast).map(|_| ());
        }
        broadcast.ack = Some(ack.clone());
        let sid = single.filter(|it| is_sid(it));
        let is_single = ack.is_single || sid.is_some();
        let id = shared.expect(&ack, is_single, sid, Arc::clone(&reported))?;
        let object = shared.encoder.emit(&broadcast, Some((id, ack.timeout)));
        let prepared = shared
            .prepare(object)
            .inspect_err(|_| shared.remote_acks.forget(id))?;
        let here = self.emit_here(&broadcast);
        // Each of those that are here is reported, when its time is over at the latest.
        if here.as_ref().is_ok_and(|recipients| *recipients > 0) {
            reported.store(true, Ordering::Release);
        }
        prepared.send();
        here.map(|_| ())
    }
}

impl Drop for PubSubDropGuard {
    fn drop(&mut self) {
        block_in_place(|| self.shared.end(FLUSH_TIMEOUT));
        self.shared.end_state();
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
