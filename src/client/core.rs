//! A client as its handles, its workers and its I/O thread know it.
//!
//! In a circle with `session_handler`: the first attempt creates the handler, which works on what
//! is here.

use super::Client;
use super::builder::ClientSettings;
use super::handlers::ClientRegistry;
use super::state::{BufferedEvent, ClientPhase, ConnectOutcome, CoreState, SendTarget};
use crate::data::EncodedArgs;
use crate::engineio::client::{Attempt, ClientHandle, ResolveEndpoint, Runtime};
use crate::engineio::{Control, Frames, SessionQueue, block_in_place, lock_when};
use crate::error::{ConnectError, Error};
use crate::handlers::ack::{self, CallbackOwner, ReadyCallback};
use crate::handlers::encode::{self, SharedEvent};
use crate::handlers::invoke::{self, Unhandled};
use crate::handlers::{AckWaiter, Event, IncomingEvent};
use crate::parser::Wire;
use crate::pool::{self, Inbox, QueueState, Runnable, TurnHistory};
use crate::reason::Reason;
use crate::util::log_limit::LogLimit;
use crate::util::program;
use crate::util::shutdown::{self, OnShutdown};
use crate::util::snapshot::{Snapshot, SnapshotCache};
use crate::util::sync::{Condvar, Mutex, MutexGuard};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

thread_local! {
    static HANDLERS: RefCell<SnapshotCache<ClientRegistry>> = const { RefCell::new(SnapshotCache::new()) };
}

/// State that all handles of a client share.
pub(super) struct ClientCore {
    pub(super) config: ClientSettings,
    pub(super) handlers: Snapshot<ClientRegistry>,
    pub(super) state: Mutex<CoreState>,
    /// The state has changed.
    pub(super) changed: Condvar,
    pub(super) queue: SessionQueue<ClientItem>,
    sink: Option<Arc<dyn EventSink>>,
    callbacks: Inbox<ReadyCallback>,
    last_callbacks: TurnHistory,
    next_ack: AtomicU64,
    pub(super) log_limit: LogLimit,
    /// There is, or was, a function that is told of what is emitted.
    pub(super) has_outgoing: AtomicBool,
    /// The handlers are to be forgotten when the client has ended.
    forgets: AtomicBool,
    /// From the first connection on.
    threads: OnceLock<ClientThreads>,
    /// Guard that the program's handles keep alive.
    pub(super) drop_guard: Mutex<Weak<DropGuard>>,
}

/// Receiver of events that replaces handlers. Called on the I/O thread.
pub(crate) trait EventSink: Send + Sync {
    fn take(&self, items: Vec<(ClientItem, usize)>) -> Overflow;
}

/// Result of giving items to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    No,
    /// The client is to disconnect.
    Yes,
}

/// The threads that a client uses.
struct ClientThreads {
    runtime: Arc<Runtime>,
    handle: ClientHandle,
}

/// Ends the client with the last of its handles.
pub(super) struct DropGuard(pub(super) Arc<ClientCore>);

/// Something that happens to a client, for its handlers, on workers, or for a sink.
pub(crate) enum ClientItem {
    Connect(Arc<str>),
    ConnectError(Arc<str>, ConnectError),
    Event(Event),
    Disconnect(Arc<str>, Reason),
    /// An attempt to reconnect comes after a delay.
    ReconnectAttempt(Arc<str>, u32, Duration),
    /// The attempts to reconnect are used up.
    ReconnectFailed(Arc<str>),
    /// The client is neither connected nor trying to be.
    Ended,
}

impl ClientCore {
    pub(super) fn new(config: ClientSettings, sink: Option<Arc<dyn EventSink>>) -> ClientCore {
        ClientCore {
            state: Mutex::new(CoreState::new(config.reconnection)),
            queue: SessionQueue::of_client(config.backlog),
            config,
            handlers: Snapshot::new(ClientRegistry::default()),
            changed: Condvar::new(),
            sink,
            callbacks: Inbox::new(),
            last_callbacks: TurnHistory::default(),
            next_ack: AtomicU64::new(1),
            log_limit: LogLimit::default(),
            has_outgoing: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
            threads: OnceLock::new(),
            drop_guard: Mutex::default(),
        }
    }

    /// Returns the way to the client's I/O thread, which is started if it does not run.
    pub(super) fn handle(self: &Arc<Self>) -> Result<&ClientHandle, Error> {
        if let Some(threads) = self.threads.get() {
            return Ok(&threads.handle);
        }
        let runtime = Runtime::get()?;
        let threads = self.threads.get_or_init(|| {
            let handle = runtime
                .add(|handle| super::session_handler::ClientSessionHandler::build(self, handle));
            ClientThreads { runtime, handle }
        });
        Ok(&threads.handle)
    }

    /// Returns the way of packets to the server.
    pub(super) fn wire(&self) -> Wire<'_> {
        Wire::new(&self.config.parser, self.config.parser.first_form())
    }

    fn is_own_thread(&self) -> bool {
        let threads = self.threads.get();
        threads.is_some_and(|threads| threads.runtime.workers().is_own_thread())
    }

    /// Starts an attempt.
    pub(super) fn start_attempt(self: &Arc<Self>, state: &mut CoreState, handle: &ClientHandle) {
        if let Some(options) = &state.options {
            state.attempt = state.attempt.wrapping_add(1);
            let (attempt, options, shared) = (state.attempt, Arc::clone(options), Arc::clone(self));
            let revision = state.revision;
            let resolve: ResolveEndpoint = Box::new(move || {
                let auth = options.auth_text()?;
                let endpoint = options.endpoint()?.with_revision(revision);
                let mut state = shared.state.lock();
                if state.attempt == attempt {
                    state.auth = auth;
                }
                Ok(Attempt {
                    endpoint,
                    network: Arc::clone(&shared.config.network),
                    transports: options.transports.clone(),
                    tries_all: options.tries_all,
                    cookies: options.cookies.clone().unwrap_or_default(),
                })
            });
            handle.start_attempt(attempt, resolve);
        }
    }

    /// Locks the state once a connection that is ending has ended. Blocks meanwhile: a server that
    /// does not answer takes a minute.
    pub(super) fn lock_unless_closing(&self) -> MutexGuard<'_, CoreState> {
        lock_when(&self.state, &self.changed, |state| {
            state.phase != ClientPhase::Closing
        })
    }

    /// Waits until the client is connected as was asked for.
    pub(super) fn wait_for_connection(&self, call: u64) -> Result<(), Error> {
        let is_decided = |state: &CoreState| state.connect_seq != call || state.outcome.is_some();
        let state = lock_when(&self.state, &self.changed, is_decided);
        match &state.outcome {
            // Somebody has ended it, and connects anew.
            _ if state.connect_seq != call => Err(Error::Disconnected),
            Some(ConnectOutcome::Failed(error)) => Err(error.clone().into()),
            Some(ConnectOutcome::Cancelled) => {
                drop(state);
                // A signal that ends the process comes first.
                self.park_if_exiting();
                Err(Error::Disconnected)
            }
            // The server may have ended it already.
            Some(ConnectOutcome::Connected) | None => Ok(()),
        }
    }

    /// Asks the I/O thread to join a namespace of the connection, or to leave it.
    pub(super) fn change_namespace(
        self: &Arc<Self>,
        namespace: &Arc<str>,
        joins: bool,
    ) -> Result<(), Error> {
        let handle = self.handle()?;
        let mut state = self.state.lock();
        if !matches!(state.phase, ClientPhase::Joining | ClientPhase::Open) {
            return Err(Error::Disconnected);
        }
        state.changes.push((Arc::clone(namespace), joins));
        drop(state);
        handle.wake_at(Instant::now());
        Ok(())
    }

    /// Sends an event, or keeps it until there is a connection.
    pub(super) fn emit(
        self: &Arc<Self>,
        namespace: &Arc<str>,
        event: &str,
        data: &EncodedArgs,
        waiting: Option<AckWaiter>,
    ) -> Result<u64, Error> {
        let id = self.next_ack.fetch_add(1, Ordering::Relaxed);
        let sent_id = waiting.as_ref().map(|_| id);
        // It waits for its answer, and no longer than it was told.
        let is_call = matches!(waiting, Some(AckWaiter::Call(_)));
        if sent_id.is_some() {
            // Somebody must see to it that what waits for an answer expires.
            self.handle()?;
        }
        let limit = self.config.offline_buffer;
        let route = || self.state.lock().route(namespace, limit);
        let joined = match route()? {
            SendTarget::Connected(joined) => joined,
            SendTarget::Buffer => {
                // Encoded without a lock: a codec is the program's.
                let mut buffer = Vec::new();
                encode::write_event(self.wire(), namespace, event, sent_id, data, &mut buffer)?;
                let buffered = BufferedEvent {
                    namespace: Arc::clone(namespace),
                    frames: Frames(buffer.into()),
                    id: sent_id,
                };
                let state = self.state.lock();
                match state.route(namespace, limit)? {
                    SendTarget::Buffer => return self.buffer_event(state, buffered, waiting),
                    // There is a connection by now.
                    SendTarget::Connected(joined) => joined,
                }
            }
        };
        if let Some(waiting) = waiting {
            let deadline = joined.acks.insert(id, waiting, self.config.pending_acks)?;
            if let Some(deadline) = deadline {
                joined.session.wake_at(deadline);
            }
        }
        let sent = joined.session.send_written(|buffer| {
            let largest =
                encode::write_event(self.wire(), namespace, event, sent_id, data, buffer)?;
            joined.check_size(largest, data)
        });
        if sent.is_ok() && !is_call {
            joined.session.wait_for_capacity();
        }
        match sent {
            // Who waits has been told so, by the end of the connection.
            Err(_) if sent_id.is_some() && joined.acks.take(id).is_none() => Ok(id),
            sent => sent.map(|()| id),
        }
    }

    /// Keeps an event until there is a connection.
    fn buffer_event(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, CoreState>,
        event: BufferedEvent,
        waiting: Option<AckWaiter>,
    ) -> Result<u64, Error> {
        let id = event.id;
        if let Err(error) = state.offline.push(event, self.config.offline_buffer) {
            // Only then may the callback be dropped, which is the program's.
            drop(state);
            return Err(error);
        }
        let (Some(id), Some(waiting)) = (id, waiting) else {
            return Ok(0);
        };
        // It may expire before there is a connection. The buffer's bytes bound their number.
        let deadline = state.offline.acks.insert(id, waiting, usize::MAX)?;
        drop(state);
        if let (Some(deadline), Some(threads)) = (deadline, self.threads.get()) {
            threads.handle.wake_at(deadline);
        }
        Ok(id)
    }

    /// Sends an event if it can leave at once; else it is lost.
    pub(super) fn emit_volatile(&self, namespace: &str, event: &str, data: &EncodedArgs) {
        let state = self.state.lock();
        let joined = state.joined(namespace).cloned();
        drop(state);
        if let Some(joined) = joined {
            let form = joined.session.binary_form();
            let mut shared = SharedEvent::new(&self.config.parser, namespace, event, None, data);
            if let Ok(frames) = shared.frames(self.config.parser.first_form(), form)
                && joined.check_frames(&frames.0).is_ok()
            {
                joined.session.send_volatile(frames);
            }
        }
    }

    /// Forgets the events that wait for a connection; returns how many there were.
    pub(super) fn clear_offline_buffer(self: &Arc<Self>) -> usize {
        let mut state = self.state.lock();
        let count = state.offline.len();
        let unsent = state.offline.clear();
        drop(state);
        for waiting in unsent {
            ack::complete(self, waiting, Err(Error::Disconnected));
        }
        count
    }

    /// Forgets an acknowledgement that nobody waits for any more.
    pub(super) fn forget_ack(&self, namespace: &str, id: u64) {
        let state = self.state.lock();
        let forgotten = state
            .joined(namespace)
            .and_then(|joined| joined.acks.take(id));
        let held = state.offline.acks.take(id);
        drop(state);
        drop((forgotten, held));
    }

    /// Ends the connection, or the attempts to get one, and waits until that is done.
    pub(super) fn disconnect(self: &Arc<Self>) {
        self.begin_to_disconnect();
        if !self.wait_while(|state| state.phase == ClientPhase::Closing) {
            log::warn!(target: "socketio", "the server has not read in time all that was sent before the disconnection");
        }
    }

    fn begin_to_disconnect(self: &Arc<Self>) {
        let mut ended = Vec::new();
        let mut state = self.state.lock();
        let unsent = state.offline.clear();
        state.reconnects = false;
        match state.phase {
            ClientPhase::Idle => {}
            ClientPhase::Connecting => {
                if let Some(threads) = self.threads.get() {
                    threads.handle.abandon();
                }
                // Its answer, if it still comes, is of an attempt that does not count.
                state.attempt = state.attempt.wrapping_add(1);
                state.phase = ClientPhase::Idle;
                state.decide(ConnectOutcome::Cancelled);
                ended.push((ClientItem::Ended, 0));
                self.changed.notify_all();
            }
            ClientPhase::Joining | ClientPhase::Open => {
                state.decide(ConnectOutcome::Cancelled);
                state.phase = ClientPhase::Closing;
                // The namespaces are left by the I/O thread, once the server has read everything.
                state.reset_joined();
                if let Some(session) = &state.session {
                    session.close(Reason::ClientDisconnect);
                }
            }
            ClientPhase::Closing => {}
        }
        drop(state);
        for waiting in unsent {
            ack::complete(self, waiting, Err(Error::Disconnected));
        }
        if !ended.is_empty() {
            // There is no connection that could be ended for it.
            let _ = self.push_items(ended);
        }
    }

    /// Forgets all handlers, those that are still to run once they have.
    pub(super) fn forget_handlers(&self) {
        let cannot_wait = self.is_own_thread() || pool::is_io_thread();
        if cannot_wait && self.state.lock().phase != ClientPhase::Idle {
            self.forgets.store(true, Ordering::Release);
            return;
        }
        drop(self.handlers.change(std::mem::take));
    }

    /// Waits for the handlers that are due, as [`ClientCore::disconnect`] does.
    pub(super) fn wait_for_handlers(&self) {
        self.wait_while(|_| self.queue.queue_state() != QueueState::Idle);
    }

    /// Waits for a few seconds at most, and not where nothing may be waited for; false if that was
    /// not enough.
    fn wait_while(&self, is_so: impl Fn(&CoreState) -> bool) -> bool {
        if self.is_own_thread() || pool::is_io_thread() {
            return true;
        }
        let by = Instant::now() + self.config.network.request_timeout * 2;
        block_in_place(|| {
            let mut state = self.state.lock();
            while is_so(&state) {
                if self.changed.wait_until(&mut state, by).timed_out() {
                    return !is_so(&state);
                }
            }
            true
        })
    }

    /// Waits until there is neither a connection nor an attempt, and the last handler has returned.
    pub(super) fn wait(&self) {
        let on_worker = self.is_own_thread();
        let is_over = |state: &CoreState| {
            state.phase == ClientPhase::Idle
                && (on_worker || self.queue.queue_state() == QueueState::Idle)
        };
        drop(lock_when(&self.state, &self.changed, is_over));
        self.park_if_exiting();
    }

    /// Does not return if the client has ended because the process does.
    pub(super) fn park_if_exiting(&self) {
        if self.config.handle_sigint && !self.is_own_thread() && !pool::is_io_thread() {
            shutdown::park_if_exiting();
        }
    }

    /// Schedules handlers, or passes the items to the sink.
    pub(super) fn push_items(self: &Arc<Self>, items: Vec<(ClientItem, usize)>) -> Control {
        if let Some(sink) = &self.sink {
            return match sink.take(items) {
                Overflow::Yes => Control::Close(Reason::ClientDisconnect),
                Overflow::No => Control::Continue,
            };
        }
        let (schedule, flow) = self.queue.push_or_close(items);
        if schedule {
            self.schedule(Arc::clone(self) as Arc<dyn Runnable>);
        }
        flow
    }

    /// Returns whether so much waits for handlers that another connection would only add to it.
    pub(super) fn has_backlog(&self) -> bool {
        self.queue.has_backlog()
    }

    /// Ends a connection for good.
    pub(super) fn end(&self, state: &mut CoreState) {
        if let Some(session) = &state.session {
            state.phase = ClientPhase::Closing;
            session.close(Reason::ClientDisconnect);
        }
    }

    fn process(self: &Arc<Self>, item: ClientItem) {
        // Read for each: a handler may have added one for what came right behind its event.
        let handlers = HANDLERS.with_borrow_mut(|reader| reader.read(&self.handlers));
        let drop_guard = self.drop_guard.lock().upgrade();
        let client = |namespace: &Arc<str>| Client {
            shared: Arc::clone(self),
            namespace: Arc::clone(namespace),
            drop_guard: drop_guard.clone(),
        };
        let (what, handled) = match item {
            ClientItem::Ended => {
                if self.forgets.swap(false, Ordering::AcqRel) {
                    drop(self.handlers.change(std::mem::take));
                }
                return;
            }
            ClientItem::Event(event) => {
                let peer = client(event.namespace_shared());
                let incoming = IncomingEvent { event, peer };
                let scope = incoming.event.namespace().into();
                let call = |answer: &mut EncodedArgs| {
                    handlers.on_event(&incoming.peer, &incoming.event);
                    handlers.event(scope, &incoming, answer)
                };
                return invoke::invoke(
                    &incoming.event,
                    "client",
                    &self.log_limit,
                    Unhandled::Acknowledge,
                    call,
                    |_, _| Ok(false),
                );
            }
            ClientItem::Connect(namespace) => {
                let client = client(&namespace);
                let call = || handlers.connect(&client);
                ("connect", program::call(call))
            }
            ClientItem::ConnectError(namespace, error) => {
                let client = client(&namespace);
                let call = || handlers.connect_error(&client, &error);
                ("connect_error", program::call(call))
            }
            ClientItem::Disconnect(namespace, reason) => {
                let client = client(&namespace);
                let call = || handlers.disconnect(&client, reason);
                ("disconnect", program::call(call))
            }
            ClientItem::ReconnectAttempt(namespace, attempt, delay) => {
                let client = client(&namespace);
                let call = || handlers.reconnect_attempt(&client, attempt, delay);
                ("reconnect_attempt", program::call(call))
            }
            ClientItem::ReconnectFailed(namespace) => {
                let client = client(&namespace);
                let call = || handlers.reconnect_failed(&client);
                ("reconnect_failed", program::call(call))
            }
        };
        if handled.is_err() {
            log::error!(target: "socketio", "a client's handler of {what} panicked");
        }
    }
}

impl Runnable for ClientCore {
    fn run(self: Arc<Self>) {
        let session = self.state.lock().session.clone();
        if self
            .queue
            .run_turn(session.as_ref(), |item| self.process(item))
        {
            let turn = Arc::clone(&self) as Arc<dyn Runnable>;
            return self.schedule(turn);
        }
        if self.state.lock().phase == ClientPhase::Idle {
            self.changed.notify_all();
        }
    }

    fn turn_history(&self) -> &TurnHistory {
        self.queue.turn_history()
    }

    fn waiting_items(&self) -> usize {
        self.queue.waiting_items()
    }
}

impl CallbackOwner for ClientCore {
    fn callbacks(&self) -> &Inbox<ReadyCallback> {
        &self.callbacks
    }

    fn last_callbacks(&self) -> &TurnHistory {
        &self.last_callbacks
    }

    fn schedule(&self, turn: Arc<dyn Runnable>) {
        // What is scheduled comes from a connection, or from an event that waits for one: the
        // threads run.
        if let Some(threads) = self.threads.get() {
            threads.runtime.workers().schedule(turn);
        }
    }
}

impl OnShutdown for ClientCore {
    fn start_shutdown(&self) {
        // Not under its lock: workers take it.
        let drop_guard = self.drop_guard.lock().upgrade();
        if let Some(drop_guard) = drop_guard {
            drop_guard.0.begin_to_disconnect();
        }
    }

    fn wait_for_end(&self) {
        self.wait_while(|state| state.phase == ClientPhase::Closing);
        self.wait_for_handlers();
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.disconnect();
        if let Some(threads) = self.0.threads.get() {
            threads.handle.remove();
        }
    }
}
