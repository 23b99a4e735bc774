//! Engine.IO by itself, for programs that want nothing above it.

use super::config::{Config, Cookie, Transport};
use super::frames::Frames;
use super::session_queue::SessionQueue;
use super::{Acceptor, Admission, Control, Refusal, SessionHandle, SessionHandler};
use crate::data::Value;
use crate::error::Error;
use crate::limits::Limits;
use crate::net::http::Request;
use crate::net::http::cors::Origins;
use crate::pool::{Lane, LastTurn, QueueState, Runnable, WorkerPool};
use crate::protocol::engineio::Data;
use crate::reason::Reason;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message::Binary(bytes.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Message::Binary(bytes)
    }
}

/// An Engine.IO server without Socket.IO. A cheap handle: clones are the same server.
///
/// Handlers of one session run in order, one at a time, on worker threads, and may block. It is
/// served by [`App::engineio`](crate::App::engineio).
///
/// ```no_run
/// use socketio::App;
/// use socketio::engineio::{Message, Server, Session};
///
/// let server = Server::new();
/// server.on_message(|session: &Session, message: Message| {
///     let _ = session.send(message); // echoes text and bytes
/// });
/// App::engineio(&server).run("127.0.0.1:5000")?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    handlers: RwLock<Handlers>,
    sessions: RwLock<HashMap<String, Session>>,
}

#[derive(Clone, Default)]
struct Handlers {
    connect: Option<Arc<OnConnect>>,
    message: Option<Arc<OnMessage>>,
    disconnect: Option<Arc<OnDisconnect>>,
}

type OnConnect = dyn Fn(&Session) -> Result<(), String> + Send + Sync;
type OnMessage = dyn Fn(&Session, Message) + Send + Sync;
type OnDisconnect = dyn Fn(&Session, Reason) + Send + Sync;

impl Server {
    /// Creates a server with the default options.
    #[must_use]
    pub fn new() -> Server {
        Server::builder().build()
    }

    /// Returns a builder with the default options.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            config: Config::default(),
        }
    }

    /// Calls a function for each client that connects, before the session is open. It may refuse:
    /// by `false`, or by an `Err` with data; the client gets status 401 with it as JSON.
    pub fn on_connect<R: Accept>(&self, handler: impl Fn(&Session) -> R + Send + Sync + 'static) {
        let handler = move |session: &Session| handler(session).accept();
        let handler: Arc<OnConnect> = Arc::new(handler);
        let before = self.inner.handlers.write().connect.replace(handler);
        drop(before);
    }

    /// Calls a function for each message.
    pub fn on_message(&self, handler: impl Fn(&Session, Message) + Send + Sync + 'static) {
        let handler: Arc<OnMessage> = Arc::new(handler);
        let before = self.inner.handlers.write().message.replace(handler);
        drop(before);
    }

    /// Calls a function once for each session that has ended, after its last message.
    pub fn on_disconnect(&self, handler: impl Fn(&Session, Reason) + Send + Sync + 'static) {
        let handler: Arc<OnDisconnect> = Arc::new(handler);
        let before = self.inner.handlers.write().disconnect.replace(handler);
        drop(before);
    }

    /// Returns the session of this id, if it is open.
    pub fn session(&self, sid: &str) -> Option<Session> {
        self.inner.sessions.read().get(sid).cloned()
    }

    /// Returns all open sessions.
    pub fn sessions(&self) -> Vec<Session> {
        self.inner.sessions.read().values().cloned().collect()
    }

    /// Sends a message. Does not block.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if there is no such session.
    pub fn send(&self, sid: &str, message: impl Into<Message>) -> Result<(), Error> {
        self.session(sid).ok_or(Error::Disconnected)?.send(message)
    }

    /// Ends a session; without such a session nothing happens.
    pub fn disconnect(&self, sid: &str) {
        if let Some(session) = self.session(sid) {
            session.disconnect();
        }
    }

    /// Returns the transport of a session's packets now; none without such a session.
    pub fn transport(&self, sid: &str) -> Option<Transport> {
        self.session(sid).map(|session| session.transport())
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn application(&self, workers: &Arc<WorkerPool>) -> Arc<dyn Acceptor> {
        Arc::new(EngineAcceptor {
            inner: Arc::clone(&self.inner),
            workers: Arc::clone(workers),
        })
    }
}

impl Default for Server {
    fn default() -> Self {
        Server::new()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.inner.sessions.read().len();
        formatter
            .debug_struct("engineio::Server")
            .field("sessions", &sessions)
            .finish_non_exhaustive()
    }
}

/// Return type of a connect handler: `()`, `bool`, or `Result<(), E>` with data for the client.
pub trait Accept {
    #[doc(hidden)]
    fn accept(self) -> Result<(), String>;
}

impl Accept for () {
    fn accept(self) -> Result<(), String> {
        Ok(())
    }
}

impl Accept for bool {
    fn accept(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("\"Unauthorized\"".into())
        }
    }
}

impl<E: Serialize> Accept for Result<(), E> {
    fn accept(self) -> Result<(), String> {
        self.map_err(|data| {
            serde_json::to_string(&data).unwrap_or_else(|_| "\"Unauthorized\"".into())
        })
    }
}

/// One client's session. A cheap handle that may be kept, and used from any thread.
#[derive(Clone)]
pub struct Session {
    connection: Arc<Connection>,
}

impl Session {
    /// Returns its id. Whoever knows it can use the session, so it is a secret between client and
    /// server.
    pub fn sid(&self) -> &str {
        self.handle().sid()
    }

    /// Returns the request that opened it.
    pub fn request(&self) -> &Request {
        &self.connection.request
    }

    /// Returns the transport of its packets now.
    pub fn transport(&self) -> Transport {
        self.handle().transport()
    }

    /// Sends a message. Does not block.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if the session has ended, [`Error::TooMuch`] for a message larger
    /// than [`Limits::outbox_bytes`] while another such one waits.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let mut buffer = Vec::new();
        match message.into() {
            Message::Text(text) => {
                super::frames::append_text(&mut buffer, |out| {
                    out.extend_from_slice(text.as_bytes())
                });
            }
            Message::Binary(bytes) => super::frames::append_binaries(&mut buffer, &[bytes]),
        }
        self.handle().send(&Frames(buffer.into()))
    }

    /// Ends it; what was sent before still leaves.
    pub fn disconnect(&self) {
        self.handle().close(Reason::ServerDisconnect);
    }

    /// Keeps something with the session, in the place of what was kept.
    pub fn save(&self, value: Value) {
        *self.connection.saved.lock() = value;
    }

    /// Returns what was kept; null if nothing was.
    pub fn saved(&self) -> Value {
        self.connection.saved.lock().clone()
    }

    fn handle(&self) -> &Arc<SessionHandle> {
        self.connection.queue.handle()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle().fmt(formatter)
    }
}

/// Builder of a [`Server`], with its options.
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    config: Config,
}

impl ServerBuilder {
    /// Builds the server.
    #[must_use]
    pub fn build(self) -> Server {
        Server {
            inner: Arc::new(Inner {
                config: self.config,
                handlers: RwLock::default(),
                sessions: RwLock::default(),
            }),
        }
    }
}

/// The options that both builders have.
macro_rules! engine_options {
    ($builder:ident, $config:ident $(. $path:ident)*) => {
        impl $builder {
            /// Sets how often clients are pinged. Defaults to 25 s.
            #[must_use]
            pub fn ping_interval(mut self, interval: Duration) -> Self {
                self.$config$(.$path)*.ping_interval = crate::limits::bounded(interval).max(Duration::from_millis(1));
                self
            }

            /// Sets what is added to the interval that clients are told, so that they forgive a
            /// ping that is late by as much. Defaults to zero.
            #[must_use]
            pub fn ping_interval_grace(mut self, grace: Duration) -> Self {
                self.$config$(.$path)*.ping_grace = crate::limits::bounded(grace);
                self
            }

            /// Sets how long a client may take to answer a ping before it counts as gone. Defaults
            /// to 20 s.
            #[must_use]
            pub fn ping_timeout(mut self, timeout: Duration) -> Self {
                self.$config$(.$path)*.ping_timeout = crate::limits::bounded(timeout).max(Duration::from_millis(1));
                self
            }

            /// Sets how many bytes a request's body, or a WebSocket message, may have; clients are
            /// told. A larger body is answered with 413, a larger message closes the session.
            /// Defaults to 1,000,000.
            #[must_use]
            pub fn max_http_buffer_size(mut self, bytes: usize) -> Self {
                self.$config$(.$path)*.max_payload = bytes.max(1);
                self
            }

            /// Sets whether clients on polling are told that they may move to WebSocket. Defaults
            /// to `true`.
            #[must_use]
            pub fn allow_upgrades(mut self, allow: bool) -> Self {
                self.$config$(.$path)*.allow_upgrades = allow;
                self
            }

            /// Sets the transports that clients may use. Defaults to both.
            ///
            /// # Panics
            /// If there is none.
            #[must_use]
            pub fn transports(mut self, transports: &[Transport]) -> Self {
                assert!(!transports.is_empty(), "a server needs a transport");
                self.$config$(.$path)*.transports = transports.to_vec();
                self
            }

            /// Sets whether answers to polls are compressed with gzip or deflate. Defaults to
            /// `true` with the feature `compression`.
            #[must_use]
            pub fn http_compression(mut self, compress: bool) -> Self {
                self.$config$(.$path)*.compression = compress;
                self
            }

            /// Sets the size in bytes from which on an answer is compressed. Defaults to 1024.
            #[must_use]
            pub fn compression_threshold(mut self, bytes: usize) -> Self {
                self.$config$(.$path)*.compression_threshold = bytes;
                self
            }

            /// Sets how many packets one answer to a poll carries at most. As many as fit into a
            /// megabyte; 16 for clients whose `User-Agent` says that they are python's, which take
            /// no more.
            #[must_use]
            pub fn payload_packets(mut self, packets: usize) -> Self {
                self.$config$(.$path)*.payload_packets = Some(packets.max(1));
                self
            }

            /// Sets the cookie that the answer to a handshake sets to the session's id. Defaults to
            /// none.
            #[must_use]
            pub fn cookie(mut self, cookie: Cookie) -> Self {
                self.$config$(.$path)*.cookie = Some(cookie);
                self
            }

            /// Sets the origins whose pages may connect. Defaults to the origin of the request
            /// itself.
            #[must_use]
            pub fn cors_allowed_origins(mut self, origins: impl Into<Origins>) -> Self {
                self.$config$(.$path)*.cors.origins = origins.into().normalized();
                self
            }

            /// Sets whether pages of other origins may send credentials such as cookies. Defaults
            /// to `true`.
            #[must_use]
            pub fn cors_credentials(mut self, allow: bool) -> Self {
                self.$config$(.$path)*.cors.credentials = allow;
                self
            }

            /// Sets what one peer may cost, `connect_timeout` included. Defaults to
            /// [`Limits::default`].
            #[must_use]
            pub fn limits(mut self, limits: Limits) -> Self {
                self.$config$(.$path)*.limits = limits.bounded();
                self
            }

            /// Sets how many I/O threads serve a port. Defaults to one for each four cores, at
            /// least one and at most eight.
            #[must_use]
            pub fn io_threads(mut self, count: usize) -> Self {
                self.$config$(.$path)*.io_threads = Some(count.clamp(1, 256));
                self
            }
        }
    };
}

pub(crate) use engine_options;

engine_options!(ServerBuilder, config);

/// Accepts clients.
struct EngineAcceptor {
    inner: Arc<Inner>,
    workers: Arc<WorkerPool>,
}

impl fmt::Debug for EngineAcceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EngineAcceptor")
    }
}

impl Acceptor for EngineAcceptor {
    fn asks(&self) -> bool {
        true
    }

    fn open(&self, handle: &Arc<SessionHandle>, request: Request) -> Admission {
        let limit = self.inner.config.limits.inbox_bytes;
        let connection = Arc::new(Connection {
            inner: Arc::clone(&self.inner),
            workers: Arc::clone(&self.workers),
            queue: SessionQueue::new(Arc::clone(handle), limit, Lane::Quick),
            request,
            saved: Mutex::default(),
        });
        let handler = self.inner.handlers.read().connect.clone();
        let accept = move || {
            let session = Session {
                connection: Arc::clone(&connection),
            };
            if let Some(handler) = handler {
                handler(&session).map_err(|body| Refusal { body })?;
            }
            let receiver: Box<dyn SessionHandler> = Box::new(EngineSessionHandler {
                connection,
                batch: Vec::new(),
            });
            Ok(receiver)
        };
        Admission::Ask(Box::new(accept))
    }
}

/// Bytes that a message counts for in an inbox besides its content.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// A session as its handlers see it.
struct Connection {
    inner: Arc<Inner>,
    workers: Arc<WorkerPool>,
    queue: SessionQueue<Item>,
    request: Request,
    saved: Mutex<Value>,
}

enum Item {
    Message(Message),
    Disconnect(Reason),
}

impl Connection {
    fn process(self: &Arc<Self>, item: Item) {
        let handlers = self.inner.handlers.read().clone();
        let session = Session {
            connection: Arc::clone(self),
        };
        let handled = catch_unwind(AssertUnwindSafe(|| match item {
            Item::Message(message) => {
                if let Some(handler) = handlers.message {
                    handler(&session, message);
                }
            }
            Item::Disconnect(reason) => {
                if let Some(handler) = handlers.disconnect {
                    handler(&session, reason);
                }
            }
        }));
        if handled.is_err() {
            log::error!(target: "engineio", "{}: a handler panicked", self.queue.handle().label());
        }
    }
}

impl Runnable for Connection {
    fn run(self: Arc<Self>) {
        if self.queue.work(|item| self.process(item)) {
            let workers = Arc::clone(&self.workers);
            workers.schedule(self);
        }
    }

    fn last_turn(&self) -> &LastTurn {
        self.queue.last_turn()
    }

    fn waiting(&self) -> usize {
        self.queue.waiting()
    }
}

/// The I/O thread's end of a session.
struct EngineSessionHandler {
    connection: Arc<Connection>,
    batch: Vec<(Item, usize)>,
}

impl SessionHandler for EngineSessionHandler {
    fn opened(&mut self) {
        let session = Session {
            connection: Arc::clone(&self.connection),
        };
        let sessions = &self.connection.inner.sessions;
        sessions.write().insert(session.sid().to_owned(), session);
    }

    fn receive(&mut self, _: Instant, message: Data<'_>) -> Control {
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
        let connection = &self.connection;
        let placed = connection
            .queue
            .place(std::mem::take(&mut self.batch), || false);
        if placed.schedule {
            connection
                .workers
                .schedule(Arc::clone(connection) as Arc<dyn Runnable>);
        }
        placed.flow
    }

    fn close(&mut self, now: Instant, reason: Reason) {
        let connection = &self.connection;
        connection
            .inner
            .sessions
            .write()
            .remove(connection.queue.handle().sid());
        self.batch
            .push((Item::Disconnect(reason), MESSAGE_OVERHEAD_BYTES));
        // The end of the session is the end of reading, too.
        let _ = self.on_read_complete(now);
    }

    fn discard(&mut self) -> usize {
        self.connection.queue.discard()
    }

    fn waiting(&self) -> usize {
        self.connection.queue.bytes()
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    fn timeout(&mut self, _: Instant) -> Control {
        Control::Continue
    }

    fn busy(&self) -> QueueState {
        self.connection.queue.busy()
    }
}
