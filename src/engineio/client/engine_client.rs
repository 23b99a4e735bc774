//! The Engine.IO client, for programs that want nothing above it.

use super::runtime::{ClientHandle, Runtime};
use super::transport_config::network_options;
use super::{Attempt, AttemptHandler, CookieJar, Endpoint, ResolveEndpoint, TransportConfig};
use crate::engineio::message::{Batch, EngineHandlers, EngineItem, Message};
use crate::engineio::{
    Control, SessionHandle, SessionHandler, SessionQueue, Transport, block_in_place, copied,
    lock_when,
};
use crate::error::{ConnectError, Error};
use crate::pool::{self, QueueState, Runnable, TurnHistory};
use crate::protocol::engineio::{Data, OpenPacket, Revision};
use crate::reason::Reason;
use crate::util::sync::{Condvar, Mutex, MutexGuard};
use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bytes of messages that may wait for their handler. Beyond twice as many the client disconnects.
const MAX_BACKLOG_BYTES: usize = 16_000_000;

/// An Engine.IO client. A cheap handle: clones are the same client, in any thread; when the last
/// one is dropped, it disconnects.
///
/// ```no_run
/// use socketio::engineio::{Client, Message};
///
/// let client = Client::new();
/// client.on_message(|client: &Client, message: Message| println!("{message:?}"));
/// client.connect("http://localhost:5000")?;
/// client.send("hello")?;
/// client.wait();
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// It does not reconnect by itself. Handlers run on worker threads, in order, and may block. They
/// are given the client: one that captured a clone would keep it for ever.
#[derive(Clone)]
pub struct Client {
    shared: Arc<EngineClientCore>,
    /// None in the handlers of a client that is being dropped.
    drop_guard: Option<Arc<EngineDropGuard>>,
}

/// Ends the client with the last of its handles.
struct EngineDropGuard(Arc<EngineClientCore>);

struct EngineClientCore {
    config: EngineClientConfig,
    handlers: EngineHandlers<Client>,
    drop_guard: Mutex<Weak<EngineDropGuard>>,
    state: Mutex<EngineClientState>,
    changed: Condvar,
    queue: SessionQueue<EngineItem>,
}

#[derive(Clone, Debug, Default)]
struct EngineClientConfig {
    network: Arc<TransportConfig>,
    headers: Vec<(String, String)>,
    transports: Vec<Transport>,
    tries_all: bool,
    cookies: Option<CookieJar>,
    path: String,
    revision: Revision,
}

#[derive(Default)]
struct EngineClientState {
    phase: EngineClientPhase,
    /// The number of the last attempt.
    attempt: u32,
    /// The threads, from the first connection on.
    runtime: Option<(Arc<Runtime>, ClientHandle)>,
    session: Option<Arc<SessionHandle>>,
    max_payload: u64,
    round_trip: Option<Duration>,
    failure: Option<ConnectError>,
    /// The program has ended it before it was open.
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EngineClientPhase {
    #[default]
    Idle,
    Connecting,
    Open,
    /// The program has ended it, and the server is being told.
    Closing,
}

impl Client {
    /// Creates a client with the default options.
    #[must_use]
    pub fn new() -> Client {
        Client::builder().build()
    }

    /// Returns a builder with the default options.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            network: TransportConfig::default(),
            config: EngineClientConfig {
                network: Arc::default(),
                headers: Vec::new(),
                transports: vec![Transport::Polling, Transport::WebSocket],
                tries_all: false,
                cookies: None,
                path: "engine.io".into(),
                revision: Revision::V4,
            },
        }
    }

    /// Calls a function for each session that is opened.
    pub fn on_connect(&self, handler: impl Fn(&Client) + Send + Sync + 'static) {
        let handler = move |client: &Client| {
            handler(client);
            Ok(())
        };
        self.shared.handlers.on_connect(handler);
    }

    /// Calls a function for each message.
    pub fn on_message(&self, handler: impl Fn(&Client, Message) + Send + Sync + 'static) {
        self.shared.handlers.on_message(handler);
    }

    /// Calls a function for each session that has ended, after its last message.
    pub fn on_disconnect(&self, handler: impl Fn(&Client, Reason) + Send + Sync + 'static) {
        self.shared.handlers.on_disconnect(handler);
    }

    /// Opens a session. Blocks until it is open, or has failed, by the time-out of a request.
    ///
    /// # Errors
    /// [`Error::Connection`] if that fails, [`Error::InvalidArgument`] if there is a session
    /// already, [`Error::Disconnected`] if [`disconnect`](Client::disconnect) was called meanwhile,
    /// and [`Error::Io`] if the system gives no threads.
    pub fn connect(&self, url: &str) -> Result<(), Error> {
        if self.drop_guard.is_none() {
            // It is being dropped, and would have nobody who ends it.
            return Err(Error::Disconnected);
        }
        let shared = &self.shared;
        // Its first one starts threads.
        let runtime = Runtime::get()?;
        let mut state = shared.lock_unless_closing();
        if state.phase != EngineClientPhase::Idle {
            return Err(Error::InvalidArgument(
                "the client is connected already".into(),
            ));
        }
        if state.runtime.is_none() {
            let handle = runtime.add(|_| {
                Box::new(EngineClientHandler {
                    shared: Arc::clone(shared),
                    is_open: false,
                    attempt: 0,
                    batch: Batch::default(),
                })
            });
            state.runtime = Some((Arc::clone(&runtime), handle));
        }
        state.phase = EngineClientPhase::Connecting;
        state.failure = None;
        state.cancelled = false;
        state.attempt = state.attempt.wrapping_add(1);
        if let Some((_, handle)) = &state.runtime {
            handle.start_attempt(state.attempt, shared.config.resolve(url));
        }
        let attempt = state.attempt;
        drop(state);
        let is_decided = |state: &EngineClientState| {
            state.attempt != attempt || state.phase != EngineClientPhase::Connecting
        };
        let state = lock_when(&shared.state, &shared.changed, is_decided);
        if state.attempt != attempt || state.cancelled {
            return Err(Error::Disconnected);
        }
        match &state.failure {
            Some(error) => Err(error.clone().into()),
            // The server may have ended it already.
            None => Ok(()),
        }
    }

    /// Sends a message. Blocks only while more waits for the server than
    /// [`max_outbox_size`](ClientBuilder::max_outbox_size).
    ///
    /// # Errors
    /// [`Error::Disconnected`] without a session, [`Error::InvalidArgument`] if the message is
    /// larger than the server takes.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let state = self.shared.state.lock();
        let session = state.session.clone().ok_or(Error::Disconnected)?;
        let max = state.max_payload;
        drop(state);
        let message = message.into();
        let size = match &message {
            Message::Text(text) => text.len() as u64 + 1,
            // As base64, behind the letter b.
            Message::Binary(bytes) if session.is_polling_only() => {
                bytes.len().div_ceil(3) as u64 * 4 + 1
            }
            Message::Binary(bytes) => bytes.len() as u64,
        };
        if size > max {
            let why = format!("a message of {size} bytes: the server takes {max}");
            return Err(Error::InvalidArgument(why));
        }
        if session.send(&message.into_frames()).is_ok() {
            session.wait_for_capacity();
            Ok(())
        } else {
            Err(Error::Disconnected)
        }
    }

    /// Ends the session, or the attempt to open one. Blocks until the server has read what was
    /// sent before, for at most twice the `request_timeout`; in a handler it does not wait.
    pub fn disconnect(&self) {
        self.shared.disconnect();
    }

    /// Waits until there is no session, and its last handler has returned. In a handler, it returns
    /// as soon as there is no session.
    pub fn wait(&self) {
        let shared = &self.shared;
        let on_worker = shared.state.lock().is_own_thread();
        let is_over = |state: &EngineClientState| {
            state.phase == EngineClientPhase::Idle
                && (on_worker || shared.queue.queue_state() == QueueState::Idle)
        };
        drop(lock_when(&shared.state, &shared.changed, is_over));
    }

    /// Returns whether there is a session.
    pub fn is_connected(&self) -> bool {
        self.shared.state.lock().phase == EngineClientPhase::Open
    }

    /// Returns the id of the session, if there is one.
    pub fn sid(&self) -> Option<String> {
        let state = self.shared.state.lock();
        state.session.as_ref().map(|it| it.sid().to_owned())
    }

    /// Returns the transport of the packets now, if there is a session.
    pub fn transport(&self) -> Option<Transport> {
        let state = self.shared.state.lock();
        state.session.as_ref().map(|it| it.transport())
    }

    /// Returns the time that the server has taken to answer, when that was measured last: over a
    /// WebSocket as it is opened, and after each of the server's pings, by a ping of WebSocket's own;
    /// over polling with each POST. None before that, and without a session.
    pub fn round_trip_time(&self) -> Option<Duration> {
        let state = self.shared.state.lock();
        state.round_trip.filter(|_| state.session.is_some())
    }
}

impl Default for Client {
    fn default() -> Self {
        Client::new()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("engineio::Client")
            .field("phase", &self.shared.state.lock().phase)
            .finish_non_exhaustive()
    }
}

/// Builder of a [`Client`], with its options.
///
/// ```no_run
/// use socketio::engineio::{Client, Transport};
///
/// let client = Client::builder()
///     .header("authorization", "Bearer abc")
///     .transports([Transport::WebSocket])
///     .build();
/// client.connect("http://localhost:5000")?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    network: TransportConfig,
    config: EngineClientConfig,
}

impl ClientBuilder {
    /// Builds the client.
    #[must_use]
    pub fn build(self) -> Client {
        let shared = Arc::new(EngineClientCore {
            config: EngineClientConfig {
                network: Arc::new(self.network),
                ..self.config
            },
            handlers: EngineHandlers::default(),
            drop_guard: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            queue: SessionQueue::of_client(MAX_BACKLOG_BYTES),
        });
        let drop_guard = Arc::new(EngineDropGuard(Arc::clone(&shared)));
        *shared.drop_guard.lock() = Arc::downgrade(&drop_guard);
        Client {
            shared,
            drop_guard: Some(drop_guard),
        }
    }

    /// Adds a header to every request. Defaults to none.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.config
            .headers
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the transports to use: the first opens the session, and polling is upgraded if
    /// WebSocket is among them. Defaults to polling and WebSocket.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item: Borrow<Transport>>) -> Self {
        self.config.transports = copied(transports);
        let is_empty = self.config.transports.is_empty();
        assert!(!is_empty, "a client needs a transport");
        self
    }

    /// Sets whether the other transports are tried, in their order, if the first does not lead to
    /// the server. Defaults to `false`.
    #[must_use]
    pub fn try_all_transports(mut self, tries_all: bool) -> Self {
        self.config.tries_all = tries_all;
        self
    }

    /// Sets the cookies of its requests. Defaults to a jar of each session's own.
    #[must_use]
    pub fn cookie_jar(mut self, jar: &CookieJar) -> Self {
        self.config.cookies = Some(jar.clone());
        self
    }

    /// Sets whether the server is one of Engine.IO 3. Defaults to `false`.
    #[must_use]
    pub fn eio3(mut self, is_old: bool) -> Self {
        self.config.revision = if is_old { Revision::V3 } else { Revision::V4 };
        self
    }

    /// Sets the path of the server's endpoint. Defaults to `engine.io`.
    #[must_use]
    pub fn engineio_path(mut self, path: &str) -> Self {
        self.config.path = path.to_owned();
        self
    }
}

network_options!(ClientBuilder, network);

impl EngineClientConfig {
    fn resolve(&self, url: &str) -> ResolveEndpoint {
        let (config, url) = (self.clone(), url.to_owned());
        Box::new(move || {
            Ok(Attempt {
                endpoint: Endpoint::new(&url, &config.path, config.headers)?
                    .with_revision(config.revision),
                network: config.network,
                transports: config.transports,
                tries_all: config.tries_all,
                cookies: config.cookies.unwrap_or_default(),
            })
        })
    }
}

impl EngineClientState {
    fn is_own_thread(&self) -> bool {
        let running = self.runtime.as_ref();
        running.is_some_and(|(runtime, _)| runtime.workers().is_own_thread())
    }
}

impl EngineClientCore {
    /// Locks the state once a session that is ending has ended. Blocks meanwhile.
    fn lock_unless_closing(&self) -> MutexGuard<'_, EngineClientState> {
        lock_when(&self.state, &self.changed, |state| {
            state.phase != EngineClientPhase::Closing
        })
    }

    fn disconnect(&self) {
        let mut state = self.state.lock();
        match (state.phase, &state.session) {
            (EngineClientPhase::Connecting, _) => {
                if let Some((_, handle)) = &state.runtime {
                    handle.abandon();
                }
                state.phase = EngineClientPhase::Idle;
                state.cancelled = true;
                self.changed.notify_all();
            }
            (EngineClientPhase::Open, Some(session)) => {
                session.close(Reason::ClientDisconnect);
                state.phase = EngineClientPhase::Closing;
            }
            _ => {}
        }
        if state.is_own_thread() || pool::is_io_thread() {
            return;
        }
        drop(state);
        let by = Instant::now() + self.config.network.request_timeout * 2;
        block_in_place(|| {
            let mut state = self.state.lock();
            while state.phase == EngineClientPhase::Closing {
                if self.changed.wait_until(&mut state, by).timed_out() {
                    return;
                }
            }
        });
    }

    /// Returns the client for a handler.
    fn client(self: &Arc<Self>) -> Client {
        Client {
            shared: Arc::clone(self),
            drop_guard: self.drop_guard.lock().upgrade(),
        }
    }

    fn process(self: &Arc<Self>, item: EngineItem) {
        self.handlers.run(&self.client(), item, "client");
    }

    fn schedule(self: &Arc<Self>) {
        let workers = self
            .state
            .lock()
            .runtime
            .as_ref()
            .map(|it| Arc::clone(it.0.workers()));
        if let Some(workers) = workers {
            workers.schedule(Arc::clone(self) as Arc<dyn Runnable>);
        }
    }
}

impl Runnable for EngineClientCore {
    fn run(self: Arc<Self>) {
        let session = self.state.lock().session.clone();
        if self
            .queue
            .run_turn(session.as_ref(), |item| self.process(item))
        {
            return self.schedule();
        }
        if self.state.lock().phase == EngineClientPhase::Idle {
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

impl Drop for EngineDropGuard {
    fn drop(&mut self) {
        self.0.disconnect();
        if let Some((_, handle)) = &self.0.state.lock().runtime {
            handle.remove();
        }
    }
}

/// The I/O thread's end of a client.
struct EngineClientHandler {
    shared: Arc<EngineClientCore>,
    /// True if the session has been told to the program.
    is_open: bool,
    /// The attempt that has led to the session.
    attempt: u32,
    batch: Batch,
}

impl EngineClientHandler {
    /// Changes the state, unless the attempt was given up meanwhile.
    fn change(&self, attempt: u32, change: impl FnOnce(&mut EngineClientState)) -> bool {
        let mut state = self.shared.state.lock();
        let counts = state.attempt == attempt && state.phase != EngineClientPhase::Idle;
        if counts {
            change(&mut state);
            self.shared.changed.notify_all();
        }
        counts
    }
}

impl AttemptHandler for EngineClientHandler {
    fn fail(&mut self, _: Instant, attempt: u32, error: ConnectError) {
        self.change(attempt, |state| {
            state.phase = EngineClientPhase::Idle;
            state.failure = Some(error);
        });
    }

    fn open(&mut self, _: Instant, attempt: u32, session: &Arc<SessionHandle>, open: &OpenPacket) {
        let opened = self.change(attempt, |state| {
            state.phase = EngineClientPhase::Open;
            state.session = Some(Arc::clone(session));
            state.max_payload = open.max_payload;
            state.round_trip = None;
        });
        self.is_open = opened;
        self.attempt = attempt;
        if opened {
            self.batch.push(EngineItem::Connect);
        }
    }

    fn explain(&mut self, _: ConnectError) {}

    fn measured(&mut self, round_trip: Duration) {
        self.change(self.attempt, |state| state.round_trip = Some(round_trip));
    }
}

impl SessionHandler for EngineClientHandler {
    fn receive(&mut self, _: Instant, message: Data<'_>) -> Control {
        if !self.is_open {
            return Control::Continue;
        }
        self.batch.push(EngineItem::Message(message.into()));
        Control::Continue
    }

    fn on_read_complete(&mut self, _: Instant) -> Control {
        let shared = &self.shared;
        self.batch.flush(|items| {
            let (schedule, flow) = shared.queue.push_or_close(items);
            if schedule {
                shared.schedule();
            }
            if matches!(flow, Control::Close(_)) {
                log::error!(target: "engineio", "disconnected: messages come faster than they are handled");
            }
            flow
        })
    }

    fn close(&mut self, now: Instant, reason: Reason) {
        if std::mem::take(&mut self.is_open) {
            self.batch.push(EngineItem::Disconnect(reason));
            // The end of the session is the end of reading, too.
            let _ = self.on_read_complete(now);
        }
        self.change(self.attempt, |state| {
            state.session = None;
            state.phase = EngineClientPhase::Idle;
        });
    }

    fn queue_state(&self) -> QueueState {
        self.shared.queue.queue_state()
    }
}
