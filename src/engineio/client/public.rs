//! The Engine.IO client, for programs that want no more than that.

use super::runtime::{Line, Runtime};
use super::transport_config::network_options;
use super::{Attempt, Caller, Prepare, Target, TransportConfig};
use crate::engineio::handle::{SessionHandle, block_in_place};
use crate::engineio::{Control, Frames, Message, Transport, frames};
use crate::error::{ConnectError, Error};
use crate::pool::{self, Inbox, LastTurn, QueueState, Runnable, work_off};
use crate::protocol::engineio::{Data, Open};
use crate::reason::Reason;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Bytes of messages that may wait for their handler, twice: beyond that the client disconnects.
const MAX_BACKLOG_BYTES: usize = 16_000_000;
/// Bytes that a message counts for in an inbox besides its content.
const MESSAGE_OVERHEAD_BYTES: usize = 64;
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
    shared: Arc<Shared>,
    /// None in the handlers of a client that is being dropped.
    life: Option<Arc<Life>>,
}

/// Ends the client with the last of its handles.
struct Life(Arc<Shared>);

struct Shared {
    config: Config,
    handlers: RwLock<Handlers>,
    life: Mutex<Weak<Life>>,
    state: Mutex<State>,
    changed: Condvar,
    inbox: Inbox<Item>,
    last_turn: LastTurn,
}

#[derive(Clone, Debug, Default)]
struct Config {
    network: Arc<TransportConfig>,
    headers: Vec<(String, String)>,
    transports: Vec<Transport>,
    path: String,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// The number of the last attempt.
    attempt: u32,
    /// The threads, from the first connection on.
    running: Option<(Arc<Runtime>, Line)>,
    session: Option<Arc<SessionHandle>>,
    max_payload: u64,
    failure: Option<ConnectError>,
    /// The program has ended it before it was open.
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Connecting,
    Open,
    /// The program has ended it, and the server is being told.
    Closing,
}

#[derive(Clone, Default)]
struct Handlers {
    connect: Option<Arc<OnConnect>>,
    message: Option<Arc<OnMessage>>,
    disconnect: Option<Arc<OnDisconnect>>,
}

type OnConnect = dyn Fn(&Client) + Send + Sync;
type OnMessage = dyn Fn(&Client, Message) + Send + Sync;
type OnDisconnect = dyn Fn(&Client, Reason) + Send + Sync;

enum Item {
    Connect,
    Message(Message),
    Disconnect(Reason),
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
            config: Config {
                network: Arc::default(),
                headers: Vec::new(),
                transports: vec![Transport::Polling, Transport::WebSocket],
                path: "engine.io".into(),
            },
        }
    }

    /// Calls a function for each session that is opened.
    pub fn on_connect(&self, handler: impl Fn(&Client) + Send + Sync + 'static) {
        let handler: Arc<OnConnect> = Arc::new(handler);
        let before = self.shared.handlers.write().connect.replace(handler);
        drop(before);
    }

    /// Calls a function for each message.
    pub fn on_message(&self, handler: impl Fn(&Client, Message) + Send + Sync + 'static) {
        let handler: Arc<OnMessage> = Arc::new(handler);
        let before = self.shared.handlers.write().message.replace(handler);
        drop(before);
    }

    /// Calls a function for each session that has ended, after its last message.
    pub fn on_disconnect(&self, handler: impl Fn(&Client, Reason) + Send + Sync + 'static) {
        let handler: Arc<OnDisconnect> = Arc::new(handler);
        let before = self.shared.handlers.write().disconnect.replace(handler);
        drop(before);
    }

    /// Opens a session. Blocks until it is open, or has failed, by the time-out of a request.
    ///
    /// # Errors
    /// [`Error::Connection`] if that fails, [`Error::Invalid`] if there is a session already,
    /// [`Error::Disconnected`] if [`disconnect`](Client::disconnect) was called meanwhile, and
    /// [`Error::Io`] if the system gives no threads.
    pub fn connect(&self, url: &str) -> Result<(), Error> {
        if self.life.is_none() {
            // It is being dropped, and would have nobody who ends it.
            return Err(Error::Disconnected);
        }
        let shared = &self.shared;
        let mut state = shared.lock_unless_closing();
        if state.phase != Phase::Idle {
            return Err(Error::Invalid("the client is connected already".into()));
        }
        if state.running.is_none() {
            let runtime = Runtime::get()?;
            let line = runtime.add(|_| {
                Box::new(EngineClientHandler {
                    shared: Arc::clone(shared),
                    is_open: false,
                    batch: Vec::new(),
                })
            });
            state.running = Some((runtime, line));
        }
        state.phase = Phase::Connecting;
        state.failure = None;
        state.cancelled = false;
        state.attempt = state.attempt.wrapping_add(1);
        if let Some((_, line)) = &state.running {
            line.dial(state.attempt, shared.config.prepare(url));
        }
        let attempt = state.attempt;
        drop(state);
        let state = block_in_place(|| {
            let mut state = shared.state.lock();
            while state.attempt == attempt && state.phase == Phase::Connecting {
                shared.changed.wait(&mut state);
            }
            state
        });
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
    /// [`Error::Disconnected`] without a session, [`Error::Invalid`] if the message is larger than
    /// the server takes.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let state = self.shared.state.lock();
        let session = state.session.clone().ok_or(Error::Disconnected)?;
        let max = state.max_payload;
        drop(state);
        let message = message.into();
        let size = match &message {
            Message::Text(text) => text.len() as u64 + 1,
            // As base64, behind the letter b.
            Message::Binary(bytes) if session.is_on_polling_for_good() => {
                bytes.len().div_ceil(3) as u64 * 4 + 1
            }
            Message::Binary(bytes) => bytes.len() as u64,
        };
        if size > max {
            let why = format!("a message of {size} bytes: the server takes {max}");
            return Err(Error::Invalid(why));
        }
        let mut buffer = Vec::new();
        match message {
            Message::Text(text) => {
                frames::append_text(&mut buffer, |out| out.extend_from_slice(text.as_bytes()));
            }
            Message::Binary(bytes) => frames::append_binaries(&mut buffer, &[bytes]),
        }
        if session.send(&Frames(buffer.into())).is_ok() {
            session.wait_for_room();
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
        block_in_place(|| {
            let mut state = shared.state.lock();
            let on_worker = state.is_own_thread();
            while state.phase != Phase::Idle
                || !on_worker && shared.inbox.busy() != QueueState::Nobody
            {
                shared.changed.wait(&mut state);
            }
        });
    }

    /// Returns whether there is a session.
    pub fn is_connected(&self) -> bool {
        self.shared.state.lock().phase == Phase::Open
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
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    network: TransportConfig,
    config: Config,
}

impl ClientBuilder {
    /// Builds the client.
    #[must_use]
    pub fn build(self) -> Client {
        let shared = Arc::new(Shared {
            config: Config {
                network: Arc::new(self.network),
                ..self.config
            },
            handlers: RwLock::default(),
            life: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            inbox: Inbox::new(),
            last_turn: LastTurn::default(),
        });
        let life = Arc::new(Life(Arc::clone(&shared)));
        *shared.life.lock() = Arc::downgrade(&life);
        Client {
            shared,
            life: Some(life),
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
    pub fn transports(mut self, transports: &[Transport]) -> Self {
        assert!(!transports.is_empty(), "a client needs a transport");
        self.config.transports = transports.to_vec();
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

impl Config {
    fn prepare(&self, url: &str) -> Prepare {
        let (config, url) = (self.clone(), url.to_owned());
        Box::new(move || {
            Ok(Attempt {
                target: Target::new(&url, &config.path, config.headers)?,
                network: config.network,
                transports: config.transports,
            })
        })
    }
}

impl State {
    fn is_own_thread(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|(runtime, _)| runtime.workers().is_own_thread())
    }
}

impl Shared {
    /// Locks the state once a session that is ending has ended. Blocks meanwhile.
    fn lock_unless_closing(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock();
        if state.phase != Phase::Closing {
            return state;
        }
        drop(state);
        block_in_place(|| {
            let mut state = self.state.lock();
            while state.phase == Phase::Closing {
                self.changed.wait(&mut state);
            }
            state
        })
    }

    fn disconnect(&self) {
        let mut state = self.state.lock();
        match (state.phase, &state.session) {
            (Phase::Connecting, _) => {
                if let Some((_, line)) = &state.running {
                    line.abandon();
                }
                state.phase = Phase::Idle;
                state.cancelled = true;
                self.changed.notify_all();
            }
            (Phase::Open, Some(session)) => {
                session.close(Reason::ClientDisconnect);
                state.phase = Phase::Closing;
            }
            _ => {}
        }
        if state.is_own_thread() || pool::is_io_thread() {
            return;
        }
        let by = Instant::now() + self.config.network.request_timeout * 2;
        while state.phase == Phase::Closing {
            if self.changed.wait_until(&mut state, by).timed_out() {
                return;
            }
        }
    }

    /// Returns the client for a handler.
    fn client(self: &Arc<Self>) -> Client {
        Client {
            shared: Arc::clone(self),
            life: self.life.lock().upgrade(),
        }
    }

    fn process(self: &Arc<Self>, item: Item) {
        let client = &self.client();
        let handlers = self.handlers.read().clone();
        let handled = catch_unwind(AssertUnwindSafe(|| match item {
            Item::Connect => handlers.connect.iter().for_each(|it| it(client)),
            Item::Message(message) => {
                if let Some(handler) = handlers.message {
                    handler(client, message);
                }
            }
            Item::Disconnect(reason) => {
                handlers.disconnect.iter().for_each(|it| it(client, reason))
            }
        }));
        if handled.is_err() {
            log::error!(target: "engineio", "a handler panicked");
        }
    }

    fn schedule(self: &Arc<Self>) {
        let workers = self
            .state
            .lock()
            .running
            .as_ref()
            .map(|it| Arc::clone(it.0.workers()));
        if let Some(workers) = workers {
            workers.schedule(Arc::clone(self) as Arc<dyn Runnable>);
        }
    }
}

impl Runnable for Shared {
    fn run(self: Arc<Self>) {
        let session = self.state.lock().session.clone();
        let again = match session {
            Some(session) => session.drain(|| work_off(&self.inbox, |item| self.process(item))),
            None => work_off(&self.inbox, |item| self.process(item)),
        };
        if again {
            return self.schedule();
        }
        if self.state.lock().phase == Phase::Idle {
            self.changed.notify_all();
        }
    }

    fn last_turn(&self) -> &LastTurn {
        &self.last_turn
    }

    fn waiting(&self) -> usize {
        self.inbox.len()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.disconnect();
        if let Some((_, line)) = &self.0.state.lock().running {
            line.remove();
        }
    }
}

/// The I/O thread's end of a client.
struct EngineClientHandler {
    shared: Arc<Shared>,
    /// True if the session has been told to the program.
    is_open: bool,
    batch: Vec<(Item, usize)>,
}

impl EngineClientHandler {
    /// Changes the state, unless the attempt was given up meanwhile.
    fn change(&self, attempt: u32, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.shared.state.lock();
        let counts = state.attempt == attempt && state.phase != Phase::Idle;
        if counts {
            change(&mut state);
            self.shared.changed.notify_all();
        }
        counts
    }
}

impl Caller for EngineClientHandler {
    fn fail(&mut self, _: Instant, attempt: u32, error: ConnectError) {
        self.change(attempt, |state| {
            state.phase = Phase::Idle;
            state.failure = Some(error);
        });
    }

    fn open(&mut self, _: Instant, attempt: u32, session: &Arc<SessionHandle>, open: &Open) {
        let opened = self.change(attempt, |state| {
            state.phase = Phase::Open;
            state.session = Some(Arc::clone(session));
            state.max_payload = open.max_payload;
        });
        self.is_open = opened;
        if opened {
            self.batch.push((Item::Connect, MESSAGE_OVERHEAD_BYTES));
        }
    }

    fn receive(&mut self, _: Instant, message: Data<'_>) -> Control {
        if !self.is_open {
            return Control::Continue;
        }
        let (message, bytes) = match message {
            Data::Text(text) => (Message::from(text), text.len()),
            Data::Binary(bytes) => {
                let length = bytes.len();
                (Message::from(bytes.into_owned()), length)
            }
        };
        self.batch
            .push((Item::Message(message), bytes + MESSAGE_OVERHEAD_BYTES));
        Control::Continue
    }

    fn on_read_complete(&mut self, _: Instant) -> Control {
        if self.batch.is_empty() {
            return Control::Continue;
        }
        let batch = std::mem::take(&mut self.batch);
        let own: usize = batch.iter().map(|(_, bytes)| bytes).sum();
        let pushed = self.shared.inbox.push(batch);
        if pushed.schedule {
            self.shared.schedule();
        }
        if pushed.bytes - own > 2 * MAX_BACKLOG_BYTES {
            log::error!(target: "engineio", "disconnected: messages come faster than they are handled");
            return Control::Close(Reason::TransportError);
        }
        Control::Draining
    }

    fn close(&mut self, now: Instant, attempt: u32, reason: Reason, _: Option<ConnectError>) {
        if std::mem::take(&mut self.is_open) {
            self.batch
                .push((Item::Disconnect(reason), MESSAGE_OVERHEAD_BYTES));
            // The end of the session is the end of reading, too.
            let _ = self.on_read_complete(now);
        }
        self.change(attempt, |state| {
            state.session = None;
            state.phase = Phase::Idle;
        });
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    fn timeout(&mut self, _: Instant) -> Control {
        Control::Continue
    }

    fn busy(&self) -> QueueState {
        self.shared.inbox.busy()
    }
}
