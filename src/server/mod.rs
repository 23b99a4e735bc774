//! Socket.IO servers, as programs use them.

pub mod admin;
mod broadcast;
mod builder;
mod connection;
mod handlers;
pub(crate) mod metrics;
mod namespace;
mod namespaces;
mod overlap;
pub(crate) mod rooms;
mod service;
mod session_handler;
mod socket;
mod throttle;

pub use broadcast::BroadcastOperator;
pub use builder::{AllowedNamespaces, ServerBuilder};
pub use namespace::Namespace;
pub use service::{Service, ServiceEvents};
pub use socket::{Socket, TimedSocket};

pub(crate) use session_handler::SocketIoAcceptor;

use crate::data::{Args, EncodedArgs, Encoding, Value};
use crate::engineio::{self, Handshake, OnHandshake, Transport, block_in_place};
use crate::error::Error;
use crate::handlers::encode;
use crate::handlers::{
    Check, ConnectHandler, DisconnectHandler, ErrorAck, Event, Handler, HandlerError, IntoAck,
    RecipientsCallback,
};
use crate::manager::{Broadcast, BroadcastTarget, LocalNode, Manager};
use crate::net::Executor as _;
use crate::net::http::Request;
use crate::pool::WorkerPool;
use crate::protocol::socketio::ROOT;
use crate::util::program;
use crate::util::snapshot::Snapshot;
use crate::util::sync::{Mutex, RwLock};
use admin::{Record, Watch};
use builder::ServerSettings;
use handlers::ServerRegistry;
pub use metrics::Metrics;
use metrics::ServerCounters;
use namespaces::{NamespaceRegistry, PATTERN, Pattern};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// A Socket.IO server. A cheap handle: clones are the same server, in any thread.
///
/// ```no_run
/// use socketio::{Server, Socket};
///
/// let io = Server::new();
/// io.on("chat message", |socket: &Socket, text: String| {
///     socket.broadcast().emit("chat message", &text)
/// });
/// io.on("sum", |a: i64, b: i64| a + b);
/// io.run("127.0.0.1:5000")?;
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// Its own methods concern the namespace `/`; [`of`](Server::of) returns the others. Handlers run on
/// worker threads and may block; those of one client run in order, one at a time.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<ServerInner>,
}

/// State that all handles of a server share.
pub(crate) struct ServerInner {
    pub(crate) config: ServerSettings,
    pub(crate) handlers: Snapshot<ServerRegistry>,
    pub(crate) spaces: NamespaceRegistry,
    pub(crate) on_handshake: RwLock<OnHandshake>,
    pub(crate) patterns: RwLock<Vec<Pattern>>,
    /// The name `/`.
    pub(crate) root: Arc<str>,
    pub(crate) manager: Arc<dyn Manager>,
    pub(crate) counters: ServerCounters,
    /// A function wants to be told of what is sent.
    pub(crate) has_outgoing: AtomicBool,
    pub(crate) watch: Watch,
    /// The next acknowledgement's id, of all clients, so that a broadcast is encoded once.
    pub(crate) next_ack: AtomicU64,
    /// Those of the port on which it is served.
    pub(crate) workers: Mutex<Weak<WorkerPool>>,
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
        ServerBuilder::new()
    }

    pub(crate) fn with(config: ServerSettings, manager: Arc<dyn Manager>) -> Server {
        let counters = ServerCounters::new();
        if config.slow_handler.is_some() {
            counters.time();
        }
        let inner = Arc::new(ServerInner {
            root: ROOT.into(),
            on_handshake: RwLock::default(),
            patterns: RwLock::default(),
            config,
            handlers: Snapshot::new(ServerRegistry::default()),
            spaces: NamespaceRegistry::default(),
            manager,
            counters,
            has_outgoing: AtomicBool::new(false),
            watch: Watch::default(),
            next_ack: AtomicU64::new(1),
            workers: Mutex::default(),
        });
        let local: Weak<dyn LocalNode> = Arc::downgrade(&inner) as Weak<dyn LocalNode>;
        inner.manager.start(local);
        Server { inner }
    }

    /// Returns a namespace: `/admin`, or `*` for the handlers of all that have none of their own.
    pub fn of(&self, namespace: &str) -> Namespace {
        Namespace::new(self, namespace)
    }

    /// Lets clients in on all namespaces for which a function of the name and the client's `auth` says
    /// yes: one for each workspace, for example. What this returns takes the handlers of all of them;
    /// a namespace is forgotten with its last client. Of several functions the first that says yes
    /// counts. It is asked before any [`before_connect`](Namespace::before_connect), runs on a worker
    /// and may block; a panic refuses the client.
    ///
    /// A namespace that has handlers of its own is open to everybody, as ever, also where the function
    /// says no; where it says yes, what is registered here serves it too, behind its own.
    ///
    /// The returned namespace is for handlers, and sending to it is an error: to reach clients, name
    /// the one they are on, as `socket.namespace()` or `io.of("/workspace-7")`.
    ///
    /// ```
    /// use socketio::{Server, Socket, Value};
    ///
    /// let io = Server::new();
    /// let workspaces = io.of_matching(|name: &str, _: &Value| name.starts_with("/workspace-"));
    /// workspaces.on("say", |socket: &Socket, text: String| {
    ///     socket.broadcast().emit("said", text) // to the others of that workspace
    /// });
    /// ```
    pub fn of_matching(
        &self,
        admits: impl Fn(&str, &Value) -> bool + Send + Sync + 'static,
    ) -> Namespace {
        let mut patterns = self.inner.patterns.write();
        let name: Arc<str> = format!("{PATTERN}{}", patterns.len()).into();
        patterns.push(Pattern {
            name: Arc::clone(&name),
            admits: Arc::new(admits),
        });
        drop(patterns);
        Namespace::named(self, &name)
    }

    /// Asks a function about every request that opens a session, or moves one to a WebSocket, before
    /// anything else happens: the reference server's `allowRequest`. It may refuse the request, and
    /// add fields to its answer and to all answers of the session. It runs on a worker and may block;
    /// if it panics the request is refused. Several are asked in the order in which they were added,
    /// until one refuses.
    ///
    /// ```
    /// use socketio::{Handshake, Request, Server};
    ///
    /// let io = Server::new();
    /// io.on_handshake(|request: &Request, handshake: &mut Handshake| {
    ///     if request.param("key").as_deref() != Some("secret") {
    ///         return handshake.refuse(403, "no key");
    ///     }
    ///     handshake.header("Set-Cookie", "seen=1; Path=/; SameSite=Lax");
    ///     handshake.session_header("X-Served-By", "one");
    /// });
    /// ```
    pub fn on_handshake(
        &self,
        function: impl Fn(&Request, &mut Handshake) + Send + Sync + 'static,
    ) {
        self.inner.on_handshake.write().add(function);
    }

    /// Returns figures of the server: clients, events, bytes, handlers, workers, and what was refused.
    /// It costs a walk over the namespaces, and a counter for each thread. From the first call on
    /// handlers are timed, which costs an event two looks at the clock.
    ///
    /// ```
    /// let io = socketio::Server::new();
    /// let metrics = io.metrics();
    /// assert_eq!(metrics.sessions_websocket + metrics.sessions_polling, 0);
    /// ```
    pub fn metrics(&self) -> Metrics {
        Metrics::of(&self.inner)
    }

    /// Starts a thread of its own for a long task.
    ///
    /// # Panics
    /// If the system gives no more threads.
    pub fn start_background_task<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        std::thread::spawn(task)
    }

    /// Sleeps. On a worker, what the handler has sent is written first.
    pub fn sleep(&self, duration: Duration) {
        block_in_place(|| std::thread::sleep(duration));
    }

    /// Returns every namespace that clients are on.
    pub fn namespaces(&self) -> Vec<String> {
        self.inner.spaces.names()
    }

    fn root(&self) -> Namespace {
        Namespace::named(self, &self.inner.root)
    }
}

/// The same as on [`Namespace`], for the namespace `/`.
impl Server {
    /// Handles an event. See [`Namespace::on`].
    #[track_caller]
    pub fn on<S>(&self, event: &str, handler: impl Handler<Socket, S, Output: IntoAck>) {
        self.root().on(event, handler);
    }

    /// Decides about clients that connect. See [`Namespace::on_connect`].
    pub fn on_connect<S>(&self, handler: impl ConnectHandler<Socket, S>) {
        self.root().on_connect(handler);
    }

    /// Handles clients that have gone. See [`Namespace::on_disconnect`].
    pub fn on_disconnect<S>(&self, handler: impl DisconnectHandler<Socket, S>) {
        self.root().on_disconnect(handler);
    }

    /// Handles events without a handler. See [`Namespace::on_any`].
    pub fn on_any<S>(&self, handler: impl Handler<Socket, S, Output: IntoAck>) {
        self.root().on_any(handler);
    }

    /// Adds a function that decides about clients before [`on_connect`](Server::on_connect). See
    /// [`Namespace::before_connect`].
    pub fn before_connect<S>(&self, decide: impl ConnectHandler<Socket, S>) {
        self.root().before_connect(decide);
    }

    /// Adds a function that sees every event before its handler. See [`Namespace::before_event`].
    pub fn before_event<R: Check>(
        &self,
        check: impl Fn(&Socket, &Event) -> R + Send + Sync + 'static,
    ) {
        self.root().before_event(check);
    }

    /// Adds a function that is told of every event that comes. See [`Namespace::on_event`].
    pub fn on_event(&self, tap: impl Fn(&Socket, &Event) + Send + Sync + 'static) {
        self.root().on_event(tap);
    }

    /// Adds a function that is told of every event that is sent. See
    /// [`Namespace::on_event_outgoing`].
    pub fn on_event_outgoing(&self, tap: impl Fn(&Socket, &str, &Args) + Send + Sync + 'static) {
        self.root().on_event_outgoing(tap);
    }

    /// Decides what a client is told of an event whose handler has failed. See
    /// [`Namespace::on_error`].
    pub fn on_error<R: ErrorAck>(
        &self,
        decide: impl Fn(&Socket, &Event, &HandlerError) -> R + Send + Sync + 'static,
    ) {
        self.root().on_error(decide);
    }

    /// Forgets the handler of an event. See [`Namespace::off`].
    pub fn off(&self, event: &str) {
        self.root().off(event);
    }

    /// Registers a type as the handler of the namespace. See [`Namespace::register`].
    pub fn register<S: Service>(&self, service: S) {
        self.root().register(service);
    }

    /// Addresses rooms, or clients by their sids. See [`Namespace::to`].
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.root().to(rooms)
    }

    /// Addresses everybody but some. See [`Namespace::skip`].
    pub fn skip(&self, sids: impl IntoRooms) -> BroadcastOperator {
        self.root().skip(sids)
    }

    /// Addresses everybody but the members of some rooms. See [`Namespace::except`].
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.root().except(rooms)
    }

    /// Addresses everybody with something that may get lost. See [`Namespace::volatile`].
    pub fn volatile(&self) -> BroadcastOperator {
        self.root().volatile()
    }

    /// Addresses only clients of this server. See [`Namespace::local`].
    pub fn local(&self) -> BroadcastOperator {
        self.root().local()
    }

    /// Sends an event to everybody. See [`BroadcastOperator::emit`].
    ///
    /// # Errors
    /// Those of [`BroadcastOperator::emit`].
    pub fn emit(&self, event: &str, data: impl Serialize) -> Result<(), Error> {
        self.root().emit(event, data)
    }

    /// Sends the event `message` to everybody.
    ///
    /// # Errors
    /// Those of [`BroadcastOperator::emit`].
    pub fn send(&self, data: impl Serialize) -> Result<(), Error> {
        self.root().emit("message", data)
    }

    /// Returns the client of this sid. See [`Namespace::socket`].
    pub fn socket(&self, sid: &str) -> Option<Socket> {
        self.root().socket(sid)
    }

    /// Returns all clients that are connected to this server. See [`Namespace::sockets`].
    pub fn sockets(&self) -> Vec<Socket> {
        self.root().sockets()
    }

    /// Adds a client to a room. See [`Namespace::enter_room`].
    ///
    /// # Errors
    /// Those of [`Namespace::enter_room`].
    pub fn enter_room(&self, sid: &str, room: &str) -> Result<(), Error> {
        self.root().enter_room(sid, room)
    }

    /// Removes a client from a room. See [`Namespace::leave_room`].
    ///
    /// # Errors
    /// Those of [`Namespace::leave_room`].
    pub fn leave_room(&self, sid: &str, room: &str) -> Result<(), Error> {
        self.root().leave_room(sid, room)
    }

    /// Removes all clients from a room. See [`Namespace::close_room`].
    ///
    /// # Errors
    /// Those of [`Namespace::close_room`].
    pub fn close_room(&self, room: &str) -> Result<(), Error> {
        self.root().close_room(room)
    }

    /// Returns the rooms of a client. See [`Namespace::rooms`].
    pub fn rooms(&self, sid: &str) -> Vec<String> {
        self.root().rooms(sid)
    }

    /// Sends an event to everybody, and calls a function with the answer of each. See
    /// [`BroadcastOperator::emit_with_ack`].
    ///
    /// # Errors
    /// Those of [`BroadcastOperator::emit_with_ack`].
    pub fn emit_with_ack<S>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Duration,
        callback: impl RecipientsCallback<S>,
    ) -> Result<(), Error> {
        self.root().emit_with_ack(event, data, timeout, callback)
    }

    /// Returns the user session of a client. See [`Namespace::session`].
    pub fn session<T: Any + Send + Sync>(&self, sid: &str) -> Option<Arc<T>> {
        self.root().session(sid)
    }

    /// Changes a value of a client's user session. See [`Namespace::update_session`].
    ///
    /// # Errors
    /// Those of [`Namespace::update_session`].
    pub fn update_session<T: Any + Clone + Default + Send + Sync>(
        &self,
        sid: &str,
        change: impl FnMut(&mut T),
    ) -> Result<Arc<T>, Error> {
        self.root().update_session(sid, change)
    }

    /// Keeps a user session with a client. See [`Namespace::save_session`].
    ///
    /// # Errors
    /// Those of [`Namespace::save_session`].
    pub fn save_session<T: Any + Send + Sync>(&self, sid: &str, session: T) -> Result<(), Error> {
        self.root().save_session(sid, session)
    }

    /// Disconnects a client. See [`Namespace::disconnect`].
    pub fn disconnect(&self, sid: &str) {
        self.root().disconnect(sid);
    }

    /// Returns the transport of a client's packets. See [`Namespace::transport`].
    pub fn transport(&self, sid: &str) -> Option<Transport> {
        self.root().transport(sid)
    }

    /// Calls a client and waits for its answer. See [`BroadcastOperator::call`].
    ///
    /// # Errors
    /// Those of [`BroadcastOperator::call`].
    pub fn call<T: DeserializeOwned>(
        &self,
        sid: &str,
        event: &str,
        data: impl Serialize,
        timeout: Duration,
    ) -> Result<T, Error> {
        self.to(sid).call(event, data, timeout)
    }
}

impl Default for Server {
    fn default() -> Self {
        Server::new()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("namespaces", &self.namespaces())
            .finish_non_exhaustive()
    }
}

/// One name or several: of rooms, or sids. Text of all kinds, and lists and sets of it; an array
/// by itself has `&str`, so that `[]` is one.
///
/// ```no_run
/// # use socketio::Server;
/// # let io = Server::new();
/// let (mine, yours) = (String::from("mine"), String::from("yours"));
/// io.to("room");
/// io.to(["red", "blue"]);
/// io.to(&[mine, yours]);
/// io.to([]); // nobody
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no name of a room or a client, nor several",
    note = "it can be text, a `Vec`, slice, deque or set of text, an array of `&str`, or a reference to an array of any text: `&[a, b]`"
)]
pub trait IntoRooms {
    #[doc(hidden)]
    fn into_names(self) -> Vec<String>;
}

macro_rules! one_room {
    ($($kind:ty)*) => {
        $(impl IntoRooms for $kind {
            fn into_names(self) -> Vec<String> {
                vec![AsRef::<str>::as_ref(&*self).to_owned()]
            }
        })*
    };
}

one_room!(&str String &String Arc<str> &Arc<str> Box<str> Cow<'_, str>);

macro_rules! several_rooms {
    ($(<$($name:ident)?> $kind:ty;)*) => {
        $(impl<T: AsRef<str> $(, $name)?> IntoRooms for $kind {
            fn into_names(self) -> Vec<String> {
                self.iter().map(|name| name.as_ref().to_owned()).collect()
            }
        })*
    };
}

several_rooms! {
    <> Vec<T>; <> &Vec<T>; <> &[T];
    <> VecDeque<T>; <> &VecDeque<T>;
    <> BTreeSet<T>; <> &BTreeSet<T>;
    <S> HashSet<T, S>; <S> &HashSet<T, S>;
}

impl<T: AsRef<str>, const N: usize> IntoRooms for &[T; N] {
    fn into_names(self) -> Vec<String> {
        self.as_slice().into_names()
    }
}

impl<const N: usize> IntoRooms for [&str; N] {
    fn into_names(self) -> Vec<String> {
        self.as_slice().into_names()
    }
}

impl ServerInner {
    pub(crate) fn engine(&self) -> &engineio::EngineConfig {
        &self.config.engine
    }
}

impl LocalNode for ServerInner {
    fn emit(&self, broadcast: &Broadcast) -> Result<usize, Error> {
        if admin::on_signal(self, broadcast) {
            return Ok(0);
        }
        // What another server sends may be more than clients of this one take.
        broadcast
            .data
            .check_size(self.engine().limits.outgoing_attachments)?;
        broadcast::emit_local(self, broadcast)
    }

    fn is_connected(&self, namespace: &str, sid: &str) -> bool {
        self.spaces
            .socket(namespace, sid)
            .is_some_and(|socket| socket.is_present())
    }

    fn enter_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        let socket = self.spaces.socket(namespace, sid);
        socket.ok_or(Error::Disconnected)?.enter_room(room)
    }

    fn leave_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        match self.spaces.socket(namespace, sid) {
            Some(socket) => socket.leave_room(room),
            None if room == sid => Err(Error::InvalidArgument(
                "a client cannot leave its own room".into(),
            )),
            None => Ok(()),
        }
    }

    fn close_room(&self, namespace: &str, room: &str) -> Result<(), Error> {
        match self.spaces.get(namespace) {
            Some(space) => {
                let members = self.watch.is_on().then(|| {
                    let target = BroadcastTarget {
                        rooms: Some(vec![room.to_owned()]),
                        ..BroadcastTarget::default()
                    };
                    space.rooms.select(&target)
                });
                space.rooms.close(room)?;
                for socket in members.into_iter().flatten() {
                    self.watch.record(|| Record::Left(socket, room.to_owned()));
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        let workers = self.workers.lock().upgrade();
        match workers {
            Some(workers) => workers.execute(job),
            // Without a port there is no client that could be kept waiting; the thread that calls
            // this must not end all the same.
            None => {
                if program::call(job).is_err() {
                    log::error!(target: "socketio", "a callback panicked");
                }
            }
        }
    }

    fn disconnect(&self, namespace: &str, sid: &str) -> bool {
        let socket = self.spaces.socket(namespace, sid);
        socket.is_some_and(|socket| socket.request_disconnect())
    }
}

/// Returns data as it is sent by this server, in an encoding.
pub(crate) fn encode_data(
    inner: &ServerInner,
    encoding: Encoding,
    event: &str,
    data: impl Serialize,
) -> Result<EncodedArgs, Error> {
    encode::encode(
        encoding,
        event,
        data,
        inner.engine().limits.outgoing_attachments,
    )
}
