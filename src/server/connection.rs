//! One client's connection, as workers know it: they run its handlers.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

use super::admin::{self, Record};
use super::handlers::ServerRegistry;
use super::overlap::Overlap;
use super::socket::{Socket, SocketPhase};
use super::{Server, ServerInner};
use crate::data::{EncodedArgs, Value};
use crate::engineio::{SessionHandle, SessionQueue};
use crate::handlers::ack::{CallbackOwner, ReadyCallback};
use crate::handlers::connect::read_auth;
use crate::handlers::invoke::{self, Unhandled};
use crate::handlers::{Auth, Event, IncomingEvent, Refused};
use crate::limits::Limits;
use crate::manager::new_sid;
use crate::net::Executor as _;
use crate::net::http::Request;
use crate::parser::{Form, Wire};
use crate::pool::{Inbox, Lane, Runnable, TurnHistory, WorkerPool};
use crate::protocol::engineio::Revision;
use crate::protocol::socketio::{Kind, ROOT};
use crate::reason::Reason;
use crate::util::budget::Share;
use crate::util::program;
use crate::util::snapshot::SnapshotCache;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Bytes that an event counts for in an inbox besides its text.
pub(super) const EVENT_OVERHEAD_BYTES: usize = 128;

thread_local! {
    static HANDLERS: RefCell<SnapshotCache<ServerRegistry>> = const { RefCell::new(SnapshotCache::new()) };
}

/// A connection as workers and other threads know it.
pub(crate) struct ServerConnection {
    pub(super) inner: Arc<ServerInner>,
    pub(super) workers: Arc<WorkerPool>,
    pub(super) handle: Arc<SessionHandle>,
    pub(super) queue: SessionQueue<Work>,
    /// The events that run at once, with `async_handlers`.
    overlap: Option<Box<Overlap>>,
    /// The [`Form`] of its packets.
    pub(super) form: AtomicU8,
    /// Callbacks with their answers, beside the handlers. Most clients are never asked for any.
    pub(super) callbacks: OnceLock<Box<Inbox<ReadyCallback>>>,
    last_callbacks: TurnHistory,
    request: Request,
}

/// Work that waits for a worker.
pub(super) enum Work {
    Connect(Socket, Auth),
    Event(IncomingEvent<Socket>),
    Disconnect(Socket, Reason),
}

impl ServerConnection {
    pub(super) fn new(
        inner: Arc<ServerInner>,
        workers: &Arc<WorkerPool>,
        handle: &Arc<SessionHandle>,
        request: Request,
    ) -> ServerConnection {
        let overlaps = inner.config.async_handlers;
        ServerConnection {
            queue: SessionQueue::of_session(
                handle,
                inner.config.decode_limits.inbox_bytes,
                // Its connect handler, which may ask a database: a herd of clients that come back
                // must not stand before those that are being served.
                Lane::Slow,
            ),
            handle: Arc::clone(handle),
            overlap: overlaps.then(|| {
                let share = Share::of(handle.budget().cloned());
                Box::new(Overlap::new(share))
            }),
            form: AtomicU8::new(inner.config.parser.first_form() as u8),
            callbacks: OnceLock::new(),
            last_callbacks: TurnHistory::default(),
            workers: Arc::clone(workers),
            inner,
            request,
        }
    }

    pub(super) fn handle(&self) -> &Arc<SessionHandle> {
        &self.handle
    }

    /// Returns the form of its packets.
    pub(super) fn form(&self) -> Form {
        Form::from(self.form.load(Ordering::Relaxed))
    }

    /// Returns the way of packets to it.
    pub(super) fn wire(&self) -> Wire<'_> {
        Wire::new(&self.inner.config.parser, self.form())
    }

    /// Returns the request that opened it.
    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    pub(super) fn inner(&self) -> &Arc<ServerInner> {
        &self.inner
    }

    pub(super) fn server(&self) -> Server {
        Server {
            inner: Arc::clone(&self.inner),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.inner.engine().limits
    }

    /// Notes that an answer of the client is awaited from now on.
    pub(super) fn on_ack_expected(&self) {
        self.queue.on_ack_expected(&self.handle);
    }

    /// Queues the disconnect handler behind the events that wait.
    pub(super) fn queue_disconnect(self: &Arc<Self>, socket: &Socket, reason: Reason) {
        let item = Work::Disconnect(socket.clone(), reason);
        if self.queue.add(item, EVENT_OVERHEAD_BYTES) {
            self.workers.schedule(Arc::clone(self) as Arc<dyn Runnable>);
        }
    }

    /// Returns the id of a client that joins a namespace.
    pub(super) fn new_sid(&self, namespace: &str) -> Option<Arc<str>> {
        let handle = self.handle();
        match (handle.revision(), namespace) {
            (Revision::V4, _) => new_sid(),
            // Clients of Socket.IO 4 know their ids without being told.
            (Revision::V3, ROOT) => Some(handle.sid().into()),
            (Revision::V3, _) => Some(format!("{namespace}#{}", handle.sid()).into()),
        }
    }

    fn run_work(self: &Arc<Self>, item: Work) {
        match item {
            Work::Connect(socket, auth) => self.connect(&socket, &auth),
            Work::Event(incoming) => match &self.overlap {
                Some(overlap) => self.overlap(overlap, incoming),
                None => self.event(&incoming),
            },
            Work::Disconnect(socket, reason) => {
                let ends = match &self.overlap {
                    Some(overlap) => overlap.end_behind(socket, reason),
                    None => Some((socket, reason)),
                };
                if let Some((socket, reason)) = ends {
                    self.disconnect(&socket, reason);
                }
            }
        }
    }

    /// Runs an event beside those that run already, or here if their bytes are as many as may wait:
    /// what comes behind it waits then, too.
    fn overlap(self: &Arc<Self>, overlap: &Overlap, incoming: IncomingEvent<Socket>) {
        let event = &incoming.event;
        let bytes = event.received().size() + EVENT_OVERHEAD_BYTES;
        if !overlap.begin(bytes, self.limits().inbox_bytes) {
            return self.event(&incoming);
        }
        let connection = Arc::clone(self);
        self.workers.execute(Box::new(move || {
            connection.event(&incoming);
            drop(incoming);
            let ends = connection.overlap.as_ref().map(|it| it.finish(bytes));
            for (socket, reason) in ends.into_iter().flatten() {
                connection.disconnect(&socket, reason);
            }
        }));
    }

    fn connect(&self, socket: &Socket, auth: &Auth) {
        if socket.phase() != SocketPhase::Connecting {
            // It has gone before its turn came; its `Disconnect` follows.
            return;
        }
        let first = self.inner.config.always_connect;
        if first {
            socket.open();
        }
        let handlers = self.handlers();
        let decided = program::call(|| {
            self.find_pattern(&handlers, socket, auth)?;
            handlers.connect(socket, auth)
        });
        let refused = match decided {
            Ok(Ok(())) => {
                log::debug!(target: "socketio", "{}: {} is on {:?}", self.handle().label(), socket.sid(), socket.namespace_name());
                socket.accept();
                socket.open();
                admin::note_connected(&self.inner.watch, socket);
                return;
            }
            Ok(Err(refused)) => refused,
            Err(_) => {
                log::error!(target: "socketio", "{}: the connect handler of {:?} panicked", self.handle().label(), socket.namespace_name());
                Refused::default()
            }
        };
        if self.handle().may_log(log::Level::Info) {
            log::info!(target: "socketio", "{}: refused on {:?}: {}", self.handle().label(), socket.namespace_name(), refused.note());
        }
        if first {
            socket.send_packet(Kind::Disconnect, "");
        } else {
            let revision = self.handle().revision();
            socket.send_packet(Kind::ConnectError, &refused.to_json(revision));
        }
        socket.refuse();
    }

    /// Finds the pattern whose handlers serve a namespace, beside its own if it has some.
    fn find_pattern(
        &self,
        handlers: &ServerRegistry,
        socket: &Socket,
        auth: &Auth,
    ) -> Result<(), Refused> {
        let patterns = self.inner.patterns.read().clone();
        if patterns.is_empty() {
            return Ok(());
        }
        let namespace = socket.namespace_name();
        let auth: Value = read_auth(auth)?;
        if let Some(pattern) = patterns.iter().find(|it| (it.admits)(namespace, &auth)) {
            socket.set_pattern(&pattern.name);
            return Ok(());
        }
        let is_open =
            handlers.contains(namespace) || self.inner.config.namespaces.include(namespace);
        is_open
            .then_some(())
            .ok_or_else(|| Refused::new("Invalid namespace"))
    }

    fn event(&self, incoming: &IncomingEvent<Socket>) {
        if incoming.peer.phase() == SocketPhase::Refused {
            return;
        }
        let handlers = self.handlers();
        let socket = &incoming.peer;
        let (watch, counters) = (&self.inner.watch, &self.inner.counters);
        if watch.is_on() {
            watch.received(socket, incoming.event.name(), incoming.event.received());
        }
        let begun = counters.is_timed().then(Instant::now);
        let call = |answer: &mut EncodedArgs| {
            handlers.before_event(socket.scope(), incoming)?;
            let own = socket
                .has_own()
                .then(|| socket.own_handler(incoming.event.name()));
            match own.flatten() {
                Some(own) => own(incoming, answer).map(|()| true),
                None => handlers.event(socket.scope(), incoming, answer),
            }
        };
        invoke::invoke(
            &incoming.event,
            self.handle().label(),
            self.handle().log_limit(),
            Unhandled::Ignore,
            call,
            |error, answer| handlers.error(incoming, error, answer),
        );
        if let Some(begun) = begun {
            self.note_handled(&incoming.event, begun.elapsed());
        }
    }

    /// Counts what a handler took, and says so in the log if it was long.
    fn note_handled(&self, event: &Event, took: Duration) {
        self.inner.counters.handled(took);
        let is_slow = |limit: Duration| took >= limit;
        if self.inner.config.slow_handler.is_some_and(is_slow) {
            log::warn!(target: "socketio", "{}: the handler of {:?} on {:?} ran for {took:?}", self.handle().label(), event.name(), event.namespace());
        }
    }

    fn disconnect(&self, socket: &Socket, reason: Reason) {
        if socket.was_accepted() {
            let watch = &self.inner.watch;
            watch.record(|| Record::Disconnected(socket.clone(), reason, socket.rooms()));
            log::debug!(target: "socketio", "{}: {} has left {:?}: {reason}", self.handle().label(), socket.sid(), socket.namespace_name());
            let handlers = self.handlers();
            let told = program::call(|| handlers.disconnect(socket, reason));
            if told.is_err() {
                log::error!(target: "socketio", "{}: the disconnect handler of {:?} panicked", self.handle().label(), socket.namespace_name());
            }
        }
        socket.forget();
    }

    fn handlers(&self) -> Arc<ServerRegistry> {
        HANDLERS.with_borrow_mut(|reader| reader.read(&self.inner.handlers))
    }
}

impl Runnable for ServerConnection {
    fn run(self: Arc<Self>) {
        let session = Some(&self.handle);
        if self.queue.run_turn(session, |item| self.run_work(item)) {
            let workers = Arc::clone(&self.workers);
            workers.schedule(self);
        }
    }

    fn turn_history(&self) -> &TurnHistory {
        self.queue.turn_history()
    }

    fn waiting_items(&self) -> usize {
        self.queue.waiting_items()
    }
}

impl CallbackOwner for ServerConnection {
    fn callbacks(&self) -> &Inbox<ReadyCallback> {
        self.callbacks.get_or_init(|| {
            let share = Share::of(self.handle.budget().cloned());
            Box::new(Inbox::with(share))
        })
    }

    fn last_callbacks(&self) -> &TurnHistory {
        &self.last_callbacks
    }

    fn on_called_back(&self) {
        if self
            .callbacks()
            .take_low_watermark(self.limits().inbox_bytes / 2)
        {
            self.handle().resume();
        }
    }

    fn schedule(&self, turn: Arc<dyn Runnable>) {
        self.workers.schedule(turn);
    }
}
