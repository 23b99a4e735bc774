//! The Engine.IO server, for programs that want nothing above it.

use super::config::{EngineConfig, Transport};
use super::message::{Batch, EngineHandlers, EngineItem, Message};
use super::on_handshake::{Handshake, OnHandshake};
use super::options::engine_options;
use super::session_queue::SessionQueue;
use super::{Acceptor, Admission, Control, HandshakeRefusal, SessionHandle, SessionHandler};
use crate::data::Value;
use crate::error::Error;
use crate::net::http::Request;
use crate::pool::{Lane, QueueState, Runnable, TurnHistory, WorkerPool};
use crate::protocol::engineio::Data;
use crate::reason::Reason;
use crate::util::sync::{Mutex, RwLock};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

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
    inner: Arc<EngineInner>,
}

struct EngineInner {
    config: EngineConfig,
    handlers: EngineHandlers<Session>,
    on_handshake: RwLock<OnHandshake>,
    sessions: RwLock<HashMap<String, Session>>,
}

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
            config: EngineConfig::default(),
        }
    }

    /// Calls a function for each client that connects, before the session is open. It may refuse:
    /// by `false`, or by an `Err` with data; the client gets status 401 with it as JSON.
    pub fn on_connect<R: Accept>(&self, handler: impl Fn(&Session) -> R + Send + Sync + 'static) {
        let handler = move |session: &Session| handler(session).accept();
        self.inner.handlers.on_connect(handler);
    }

    /// Asks a function about every request that opens a session, or moves one to a WebSocket, before
    /// anything else happens. See [`crate::Server::on_handshake`].
    pub fn on_handshake(
        &self,
        function: impl Fn(&Request, &mut Handshake) + Send + Sync + 'static,
    ) {
        self.inner.on_handshake.write().add(function);
    }

    /// Calls a function for each message.
    pub fn on_message(&self, handler: impl Fn(&Session, Message) + Send + Sync + 'static) {
        self.inner.handlers.on_message(handler);
    }

    /// Calls a function once for each session that has ended, after its last message.
    pub fn on_disconnect(&self, handler: impl Fn(&Session, Reason) + Send + Sync + 'static) {
        self.inner.handlers.on_disconnect(handler);
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

    pub(crate) fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    pub(crate) fn acceptor(&self, workers: &Arc<WorkerPool>) -> Arc<dyn Acceptor> {
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
///
/// ```
/// use socketio::engineio::{Server, Session};
///
/// let engine = Server::new();
/// engine.on_connect(|session: &Session| match session.request().param("token") {
///     Some(token) if token == "secret" => Ok(()),
///     _ => Err("who are you?"),
/// });
/// ```
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
///
/// ```
/// use socketio::engineio::Server;
///
/// let engine = Server::new();
/// engine.on_connect(|session| {
///     println!("{} over {}", session.sid(), session.transport());
///     let _ = session.send("welcome");
/// });
/// ```
#[derive(Clone)]
pub struct Session {
    connection: Arc<EngineConnection>,
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
    /// [`Error::Disconnected`] if the session has ended, [`Error::LimitExceeded`] for a message
    /// larger than [`Limits::outbox_bytes`](crate::Limits::outbox_bytes) while another such one
    /// waits.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.handle().send(&message.into().into_frames())
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
        &self.connection.handle
    }
}

impl PartialEq for Session {
    fn eq(&self, other: &Session) -> bool {
        Arc::ptr_eq(&self.connection, &other.connection)
    }
}

impl Eq for Session {}

impl Hash for Session {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.connection).hash(state);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle().fmt(formatter)
    }
}

/// Builder of a [`Server`], with its options.
///
/// ```
/// use socketio::engineio::Server;
/// use std::time::Duration;
///
/// let engine = Server::builder()
///     .ping_interval(Duration::from_secs(10))
///     .max_http_buffer_size(100_000)
///     .build();
/// ```
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    config: EngineConfig,
}

impl ServerBuilder {
    /// Builds the server.
    #[must_use]
    pub fn build(self) -> Server {
        Server {
            inner: Arc::new(EngineInner {
                config: self.config,
                handlers: EngineHandlers::default(),
                on_handshake: RwLock::default(),
                sessions: RwLock::default(),
            }),
        }
    }
}

engine_options!(ServerBuilder, config);

/// Accepts clients.
struct EngineAcceptor {
    inner: Arc<EngineInner>,
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

    fn on_handshake(&self) -> Option<OnHandshake> {
        self.inner.on_handshake.read().some()
    }

    fn open(&self, handle: &Arc<SessionHandle>, request: Request) -> Admission {
        let limit = self.inner.config.limits.inbox_bytes;
        let connection = Arc::new(EngineConnection {
            inner: Arc::clone(&self.inner),
            workers: Arc::clone(&self.workers),
            handle: Arc::clone(handle),
            queue: SessionQueue::of_session(handle, limit, Lane::Quick),
            request,
            saved: Mutex::default(),
        });
        let handler = self.inner.handlers.connect();
        let accept = move || {
            let session = Session {
                connection: Arc::clone(&connection),
            };
            if let Some(handler) = handler {
                handler(&session).map_err(|body| HandshakeRefusal { body })?;
            }
            let receiver: Box<dyn SessionHandler> = Box::new(EngineSessionHandler {
                connection,
                batch: Batch::default(),
            });
            Ok(receiver)
        };
        Admission::Deferred(Box::new(accept))
    }
}

/// A session as its handlers see it.
struct EngineConnection {
    inner: Arc<EngineInner>,
    workers: Arc<WorkerPool>,
    handle: Arc<SessionHandle>,
    queue: SessionQueue<EngineItem>,
    request: Request,
    saved: Mutex<Value>,
}

impl EngineConnection {
    fn process(self: &Arc<Self>, item: EngineItem) {
        let session = Session {
            connection: Arc::clone(self),
        };
        let handlers = &self.inner.handlers;
        handlers.run(&session, item, self.handle.label());
    }
}

impl Runnable for EngineConnection {
    fn run(self: Arc<Self>) {
        let session = Some(&self.handle);
        if self.queue.run_turn(session, |item| self.process(item)) {
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

/// The I/O thread's end of a session.
struct EngineSessionHandler {
    connection: Arc<EngineConnection>,
    batch: Batch,
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
        self.batch.push(EngineItem::Message(message.into()));
        Control::Continue
    }

    fn on_read_complete(&mut self, _: Instant) -> Control {
        let connection = &self.connection;
        self.batch.flush(|items| {
            let placed = connection
                .queue
                .push_or_pause(&connection.handle, items, || false);
            if placed.schedule {
                connection
                    .workers
                    .schedule(Arc::clone(connection) as Arc<dyn Runnable>);
            }
            placed.flow
        })
    }

    fn close(&mut self, now: Instant, reason: Reason) {
        let connection = &self.connection;
        connection
            .inner
            .sessions
            .write()
            .remove(connection.handle.sid());
        self.batch.push(EngineItem::Disconnect(reason));
        // The end of the session is the end of reading, too.
        let _ = self.on_read_complete(now);
    }

    fn discard(&mut self) -> usize {
        let is_end = |item: &EngineItem| matches!(item, EngineItem::Disconnect(_));
        self.connection.queue.discard(is_end)
    }

    fn waiting_bytes(&self) -> usize {
        self.connection.queue.bytes()
    }

    fn queue_state(&self) -> QueueState {
        self.connection.queue.queue_state()
    }
}
