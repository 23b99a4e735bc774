//! Socket.IO clients, as programs use them.

mod builder;
mod core;
mod handlers;
mod namespace;
mod options;
mod packets;
mod service;
mod session_handler;
pub(crate) mod simple;
mod state;

pub use builder::ClientBuilder;
pub use options::{ConnectOptions, Protocol};
pub use service::ClientService;

pub(crate) use core::{ClientItem, EventSink, Overflow};

use crate::data::{Args, EncodedArgs};
use crate::engineio::{Transport, block_in_place};
use crate::error::{ConnectError, Error};
use crate::handlers::handler::boxed;
use crate::handlers::registry::ANY;
use crate::handlers::service::Registered;
use crate::handlers::service::assert_not_reserved;
use crate::handlers::{
    AckCallback, AckWaiter, DisconnectHandler, Event, Handler, HandlerContext, IncomingEvent,
    IntoAck, boxed_disconnect, encode,
};
use crate::limits::clamp_duration;
use crate::protocol::engineio::Revision;
use crate::protocol::socketio::ROOT;
use crate::reason::Reason;
use crate::util::oneshot::channel;
use crate::util::shutdown::{self, OnShutdown};
use builder::ClientSettings;
use core::{ClientCore, DropGuard};
use handlers::{ClientNamespaceHandlers, ClientRegistry};
use options::with_slash;
use serde::Serialize;
use serde::de::DeserializeOwned;
use state::{ClientPhase, JoinState, NamespaceEntry};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A Socket.IO client, seen from one namespace. A cheap handle: clones are the same client, in any
/// thread; when the last one is dropped, it disconnects.
///
/// ```no_run
/// use socketio::{Client, Reason};
/// use std::time::Duration;
///
/// let client = Client::new();
/// client.on("news", |text: String| println!("{text}"));
/// client.on("add", |a: i64, b: i64| a + b);             // the returned value is the acknowledgement
/// client.on_connect(|client: &Client| println!("connected as {:?}", client.sid()));
/// client.on_disconnect(|_: &Client, reason: Reason| println!("disconnected: {reason}"));
///
/// client.connect("http://localhost:5000")?;
/// client.emit("chat message", "hello")?;
/// let sum: i64 = client.call("sum", (1, 2), Duration::from_secs(5))?;
/// client.wait();
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// Its methods concern the namespace `/`, or the one that it was made for by [`of`](Client::of);
/// those about the connection, such as [`connect`](Client::connect) and
/// [`wait`](Client::wait), concern all namespaces together.
///
/// Handlers run in order, one at a time, on worker threads that all clients of the process share,
/// and may block. They get the client as their first parameter if they want it; one that captures
/// a clone instead keeps the client until [`shutdown`](Client::shutdown).
#[derive(Clone)]
pub struct Client {
    shared: Arc<ClientCore>,
    namespace: Arc<str>,
    /// None in the handlers of a client that is being dropped.
    drop_guard: Option<Arc<DropGuard>>,
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
        ClientBuilder::new()
    }

    fn with(config: ClientSettings, sink: Option<Arc<dyn EventSink>>) -> Client {
        let handle_sigint = config.handle_sigint;
        let shared = Arc::new(ClientCore::new(config, sink));
        let drop_guard = Arc::new(DropGuard(Arc::clone(&shared)));
        *shared.drop_guard.lock() = Arc::downgrade(&drop_guard);
        if handle_sigint {
            let ending = Arc::downgrade(&shared) as std::sync::Weak<dyn OnShutdown>;
            if let Err(error) = shutdown::register_shutdown(ending) {
                log::error!(target: "socketio", "Ctrl-C will not disconnect the client: {error}");
            }
        }
        Client {
            shared,
            namespace: ROOT.into(),
            drop_guard: Some(drop_guard),
        }
    }

    /// Returns the same client on another namespace: `/admin`, or `*` for the handlers of all that
    /// have none of their own.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Client {
        let namespace = if namespace == ANY {
            ANY.into()
        } else {
            with_slash(namespace).into()
        };
        Client {
            shared: Arc::clone(&self.shared),
            namespace,
            drop_guard: self.drop_guard.clone(),
        }
    }

    /// Returns the namespace that its methods concern.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Handles an event, in the place of what did: see [`Handler`] for what a handler may be.
    ///
    /// ```
    /// # use socketio::{Binary, Client, Event};
    /// # let client = Client::new();
    /// client.on("news", |text: String| println!("{text}"));
    /// client.on("ping", |client: &Client| client.emit("pong", ()));
    /// client.on("file", |name: String, Binary(bytes): Binary| (name, bytes.len()));
    /// client.on("raw", |event: &Event| event.args().map(|args| args.len()));
    /// ```
    ///
    /// A handler of a server does not compile here:
    ///
    /// ```compile_fail,E0277
    /// # let client = socketio::Client::new();
    /// client.on("news", |socket: &socketio::Socket, text: String| ());
    /// ```
    ///
    /// # Panics
    /// If the event's name is one that the protocol keeps for itself: `connect`, `disconnect`,
    /// `connect_error` and others.
    #[track_caller]
    pub fn on<S>(&self, event: &str, handler: impl Handler<Client, S, Output: IntoAck>) {
        assert_not_reserved(event);
        let handler = boxed(handler);
        drop(self.change(|set| set.events.insert(event.to_owned(), handler)));
    }

    /// Handles the events that have no handler, as python-socketio's `*` does, not those that have
    /// one, as JavaScript's `onAny`; what it returns acknowledges them. Without it they
    /// are acknowledged with nothing.
    pub fn on_any<S>(&self, handler: impl Handler<Client, S, Output: IntoAck>) {
        let handler = boxed(handler);
        drop(self.change(|set| set.any.replace(handler)));
    }

    /// Adds a function that is told of every event that comes, before its handler: JavaScript's
    /// `onAny`. Those of `*` are told of the events of all namespaces.
    pub fn on_event(&self, tap: impl Fn(&Client, &Event) + Send + Sync + 'static) {
        self.change(|set| set.lifecycle.taps.push(Arc::new(tap)));
    }

    /// Adds a function that is told of every event that is emitted, with its name and its
    /// arguments: JavaScript's `onAnyOutgoing`. It runs in the thread that emits. Once there is
    /// one, every event that is emitted costs its decoding.
    ///
    /// ```
    /// use socketio::{Args, Client};
    ///
    /// let client = Client::new();
    /// client.on_event_outgoing(|_: &Client, event: &str, args: &Args| println!("{event} {args:?}"));
    /// ```
    pub fn on_event_outgoing(&self, tap: impl Fn(&Client, &str, &Args) + Send + Sync + 'static) {
        self.change(|set| set.lifecycle.outgoing.push(Arc::new(tap)));
        self.shared.has_outgoing.store(true, Ordering::Release);
    }

    /// Calls a function each time the namespace is connected, also again after a loss. It may
    /// return what a handler may; only an `Err` matters, and is logged.
    pub fn on_connect<R: IntoAck>(&self, handler: impl Fn(&Client) -> R + Send + Sync + 'static) {
        let handler = move |client: &Client| log_failure("connect", handler(client));
        drop(self.change(|set| set.lifecycle.connect.replace(Arc::new(handler))));
    }

    /// Calls a function for each attempt that failed: the server was not reached, or refused.
    pub fn on_connect_error<R: IntoAck>(
        &self,
        handler: impl Fn(&Client, &ConnectError) -> R + Send + Sync + 'static,
    ) {
        let handler = move |client: &Client, error: &ConnectError| {
            log_failure("connect_error", handler(client, error));
        };
        drop(self.change(|set| set.lifecycle.connect_error.replace(Arc::new(handler))));
    }

    /// Calls a function once for each time the namespace was connected and is no more, after its
    /// last event. Unless one side has ended the connection on purpose, reconnecting has begun.
    pub fn on_disconnect<S>(&self, handler: impl DisconnectHandler<Client, S>) {
        let handler = boxed_disconnect(handler);
        drop(self.change(|set| set.lifecycle.disconnect.replace(handler)));
    }

    /// Joins this namespace of a connection that there is, with the `auth` of that. Does not wait
    /// for the server: [`on_connect`](Client::on_connect) or
    /// [`on_connect_error`](Client::on_connect_error) is called. It is joined again after a
    /// reconnection. Nothing happens if it is joined.
    ///
    /// ```no_run
    /// # use socketio::{Client, Error};
    /// # fn main() -> Result<(), Error> {
    /// # let client = Client::new();
    /// let room = client.of("/chat-7");
    /// room.on_connect(|room: &Client| println!("in {}", room.namespace()));
    /// room.join()?;
    /// // Later:
    /// room.leave()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Disconnected`] if there is no connection.
    pub fn join(&self) -> Result<(), Error> {
        self.shared.change_namespace(&self.namespace, true)
    }

    /// Leaves this namespace; the connection goes on, also without any. Does not wait:
    /// [`on_disconnect`](Client::on_disconnect) is called. Nothing happens if it is not joined.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if there is no connection.
    pub fn leave(&self) -> Result<(), Error> {
        self.shared.change_namespace(&self.namespace, false)
    }

    /// Calls a function before each attempt to reconnect, with its number, counted from one, and
    /// the delay after which it comes.
    pub fn on_reconnect_attempt<R: IntoAck>(
        &self,
        handler: impl Fn(&Client, u32, Duration) -> R + Send + Sync + 'static,
    ) {
        let handler = move |client: &Client, attempt: u32, delay: Duration| {
            log_failure("reconnect_attempt", handler(client, attempt, delay));
        };
        drop(self.change(|set| set.lifecycle.reconnect_attempt.replace(Arc::new(handler))));
    }

    /// Calls a function when [`reconnection_attempts`](ClientBuilder::reconnection_attempts) are
    /// used up.
    pub fn on_reconnect_failed<R: IntoAck>(
        &self,
        handler: impl Fn(&Client) -> R + Send + Sync + 'static,
    ) {
        let handler = move |client: &Client| log_failure("reconnect_failed", handler(client));
        drop(self.change(|set| set.lifecycle.reconnect_failed.replace(Arc::new(handler))));
    }

    /// Forgets the handler of an event. Events that wait already find none.
    pub fn off(&self, event: &str) {
        drop(self.change(|set| set.events.remove(event)));
    }

    /// Registers a type as the handler of the namespace. Replaces one that was registered before.
    /// See [`ClientService`].
    pub fn register<S: ClientService>(&self, service: S) {
        let service = Arc::new(Registered::new(service, S::events));
        drop(self.change(|set| set.service.replace(service)));
    }

    /// Connects to a server: a URL, or [`ConnectOptions`]. Blocks until all namespaces are
    /// connected, or one of them is not; the options may say otherwise.
    ///
    /// # Errors
    /// [`Error::Connection`] if the server is not reached or refuses, [`Error::InvalidArgument`] at
    /// once, also with [`retry`](ConnectOptions::retry), if no attempt could succeed (the URL, a
    /// header, or `auth` that is no object) or the client is connected, or trying to be,
    /// [`Error::Disconnected`] if [`disconnect`](Client::disconnect) was called meanwhile,
    /// [`Error::Io`] if the system gives no threads.
    pub fn connect(&self, options: impl Into<ConnectOptions>) -> Result<(), Error> {
        let call = self.start_connect(Arc::new(options.into()))?;
        self.shared.wait_for_connection(call)
    }

    /// Connects as [`connect`](Client::connect) does, without waiting: handlers learn what comes of
    /// it. Does not block.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] and [`Error::Io`], as [`connect`](Client::connect).
    pub fn connect_in_background(&self, options: impl Into<ConnectOptions>) -> Result<(), Error> {
        self.start_connect(Arc::new(options.into())).map(drop)
    }

    /// Connects anew, with the options of the last [`connect`](Client::connect): ends the
    /// connection that there is, which handlers learn as [`Reason::ClientDisconnect`], does not
    /// wait for the next attempt any longer, or connects again after the end. Does not block;
    /// handlers learn what comes of it. Nothing happens while an attempt is under way.
    ///
    /// ```no_run
    /// # use socketio::Client;
    /// # let client = Client::new();
    /// # client.connect("http://localhost:5000")?;
    /// // The token has changed: `auth_with` is asked again.
    /// client.reconnect()?;
    /// # Ok::<(), socketio::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it was never connected, [`Error::Disconnected`] in a handler
    /// of a client that is being dropped, [`Error::Io`] if the system gives no threads.
    pub fn reconnect(&self) -> Result<(), Error> {
        if self.drop_guard.is_none() {
            // It is being dropped, and would have nobody who ends it.
            return Err(Error::Disconnected);
        }
        let handle = self.shared.handle()?.clone();
        let mut state = self.shared.state.lock();
        match (state.phase, &state.session) {
            (ClientPhase::Idle, _) => {
                let never = || Error::InvalidArgument("the client was never connected".into());
                let options = state.options.clone().ok_or_else(never)?;
                drop(state);
                return self.start_connect(options).map(drop);
            }
            (ClientPhase::Connecting, _) => {
                state.reconnects = true;
                state.backoff.reset();
                drop(state);
                handle.wake_at(Instant::now());
            }
            (ClientPhase::Open, Some(session)) => {
                session.close(Reason::ClientDisconnect);
                state.phase = ClientPhase::Closing;
                state.reconnects = true;
                state.reset_joined();
            }
            (ClientPhase::Closing, _) => state.reconnects = true,
            (ClientPhase::Joining | ClientPhase::Open, _) => {}
        }
        Ok(())
    }

    /// Starts to connect; returns the number of the call.
    fn start_connect(&self, options: Arc<ConnectOptions>) -> Result<u64, Error> {
        if self.drop_guard.is_none() {
            // It is being dropped, and would have nobody who ends it.
            return Err(Error::Disconnected);
        }
        options.check()?;
        let handle = self.shared.handle()?.clone();
        let names = options.namespaces.clone();
        let names = names.unwrap_or_else(|| self.default_namespaces());
        let mut state = self.shared.lock_unless_closing();
        if state.phase != ClientPhase::Idle {
            let why = "the client is connected already, or trying to be";
            return Err(Error::InvalidArgument(why.into()));
        }
        state.namespaces.clear();
        for name in &names {
            if state.entry(name).is_none() {
                state.namespaces.push(NamespaceEntry::new(name));
            }
        }
        state.revision = match options.protocol {
            Protocol::Newest | Protocol::Detect => Revision::V4,
            Protocol::Eio3 => Revision::V3,
        };
        state.has_switched = false;
        state.retries = options.retry;
        state.failure = None;
        state.backoff.reset();
        state.connect_seq += 1;
        state.outcome = None;
        let call = state.connect_seq;
        let before = state.options.replace(options);
        state.phase = ClientPhase::Connecting;
        self.shared.start_attempt(&mut state, &handle);
        drop(state);
        // With it go functions of the program.
        drop(before);
        Ok(call)
    }

    /// Returns the namespaces with handlers, or `/`.
    fn default_namespaces(&self) -> Vec<String> {
        let names = |handlers: &ClientRegistry| handlers.names().map(str::to_owned).collect();
        let mut names: Vec<_> = self.shared.handlers.look(names);
        names.sort_unstable();
        if names.is_empty() {
            names.push(ROOT.to_owned());
        }
        names
    }

    /// Sends an event: a tuple is several arguments, as is an array of a fixed size (see
    /// [`BroadcastOperator::emit`](crate::BroadcastOperator::emit)); `()` is none. Bytes travel as
    /// such in [`Binary`](crate::Binary); a `Vec<u8>` by itself is a list of numbers. Blocks only
    /// while more waits for the server than [`max_outbox_size`](ClientBuilder::max_outbox_size).
    ///
    /// # Errors
    /// [`Error::Disconnected`] without a connection, and [`Error::BadNamespace`] if the connection
    /// is not to this namespace, unless an [`offline_buffer`](ClientBuilder::offline_buffer) takes
    /// it; [`Error::LimitExceeded`] if that is full; [`Error::InvalidArgument`] if it is larger
    /// than the server takes, has too many attachments, or a name that the protocol keeps for
    /// itself; [`Error::Encode`] if the data cannot be JSON.
    pub fn emit(&self, event: &str, data: impl Serialize) -> Result<(), Error> {
        let data = self.encode(event, data)?;
        self.shared.emit(&self.namespace, event, &data, None)?;
        Ok(())
    }

    /// Sends the event `message`.
    ///
    /// # Errors
    /// Those of [`emit`](Client::emit).
    pub fn send(&self, data: impl Serialize) -> Result<(), Error> {
        self.emit("message", data)
    }

    /// Sends an event if it can leave at once; else it is lost, which is no error.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] and [`Error::Encode`], as [`emit`](Client::emit).
    pub fn emit_volatile(&self, event: &str, data: impl Serialize) -> Result<(), Error> {
        let data = self.encode(event, data)?;
        self.shared.emit_volatile(&self.namespace, event, &data);
        Ok(())
    }

    /// Sends an event and calls a function with the server's answer: no value is null, several are
    /// a tuple. It is called once, on a worker, with an [`Error`] if the time is over, the
    /// connection has ended, or the answer is of another type. Blocks as [`emit`](Client::emit)
    /// does.
    ///
    /// ```no_run
    /// # use socketio::{Client, Error};
    /// # use std::time::Duration;
    /// # let client = Client::new();
    /// client.emit_with_ack("sum", (1, 2), Duration::from_secs(5), |sum: Result<i64, Error>| {
    ///     println!("{sum:?}");
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`emit`](Client::emit), and [`Error::LimitExceeded`] if too many answers are
    /// awaited; the function is not called then.
    pub fn emit_with_ack<S>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Duration,
        callback: impl AckCallback<S>,
    ) -> Result<(), Error> {
        let data = self.encode(event, data)?;
        let waiting = AckWaiter::Callback {
            run: Box::new(move |answer| callback.call(answer)),
            deadline: Instant::now() + clamp_duration(timeout),
        };
        self.shared
            .emit(&self.namespace, event, &data, Some(waiting))?;
        Ok(())
    }

    /// Sends an event and waits for the server's answer: no value is null, several are a tuple.
    /// Blocks, for at most `timeout`; in a handler it occupies a worker. One that is given up while
    /// it waits in the offline buffer is not sent later.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Disconnected`] at once when the connection ends,
    /// [`Error::Decode`] if the answer is of another type, and those of [`emit`](Client::emit).
    pub fn call<T: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Duration,
    ) -> Result<T, Error> {
        let data = self.encode(event, data)?;
        let deadline = Instant::now() + clamp_duration(timeout);
        let (sender, answer) = channel();
        let waiting = AckWaiter::Call(sender);
        let id = self
            .shared
            .emit(&self.namespace, event, &data, Some(waiting))?;
        let answer = block_in_place(|| answer.recv_deadline(deadline)).unwrap_or_else(|| {
            self.shared.forget_ack(&self.namespace, id);
            Err(Error::Timeout)
        });
        if let Err(Error::Disconnected) = answer {
            self.park_if_exiting();
        }
        answer?.decode()
    }

    /// Ends the connection, with all its namespaces, or the attempts to get one. Blocks until the
    /// server has read what was sent before, for at most twice the `request_timeout`; in a handler
    /// it does not wait.
    pub fn disconnect(&self) {
        self.shared.disconnect();
    }

    /// Ends the connection for good: disconnects, lets the handlers that are due run, for a few
    /// seconds at most, and forgets all of them, with what they have captured. In a handler it does
    /// not wait: the handlers are forgotten after the last of them has run.
    pub fn shutdown(&self) {
        self.disconnect();
        self.shared.wait_for_handlers();
        let options = self.shared.state.lock().options.take();
        drop(options);
        self.shared.forget_handlers();
    }

    /// Waits until the client is neither connected nor trying to be, and its last handler has
    /// returned. In a handler, it returns as soon as the connection has ended.
    pub fn wait(&self) {
        self.shared.wait();
    }

    /// Returns the id that the server has given to this namespace of the connection, if it is
    /// connected. A new one with each connection.
    pub fn sid(&self) -> Option<String> {
        let state = self.shared.state.lock();
        let joined = state.joined(&self.namespace);
        joined.map(|joined| joined.sid.to_string())
    }

    /// Returns the transport of the packets now, if the server is reached.
    pub fn transport(&self) -> Option<Transport> {
        let state = self.shared.state.lock();
        state.session.as_ref().map(|session| session.transport())
    }

    /// Waits until this namespace is connected: after [`reconnect`](Client::reconnect),
    /// [`connect_in_background`](Client::connect_in_background), [`join`](Client::join) or a loss.
    /// Blocks, for at most `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], and [`Error::Disconnected`] at once if there is neither a connection nor
    /// an attempt to get one.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), Error> {
        let by = Instant::now() + clamp_duration(timeout);
        block_in_place(|| {
            let mut state = self.shared.state.lock();
            loop {
                match state.phase {
                    ClientPhase::Joining | ClientPhase::Open
                        if state.joined(&self.namespace).is_some() =>
                    {
                        return Ok(());
                    }
                    ClientPhase::Idle => return Err(Error::Disconnected),
                    _ if Instant::now() >= by => return Err(Error::Timeout),
                    _ => self.shared.changed.wait_until(&mut state, by),
                };
            }
        })
    }

    /// Returns the time that the server has taken to answer, when that was measured last: over a
    /// WebSocket as it is opened, and after each of the server's pings, by a ping of WebSocket's
    /// own; over polling with each POST. None before that, and without a connection.
    pub fn round_trip_time(&self) -> Option<Duration> {
        let state = self.shared.state.lock();
        state.round_trip.filter(|_| state.session.is_some())
    }

    /// Forgets the events that wait in the [`offline_buffer`](ClientBuilder::offline_buffer), and
    /// returns how many there were. Whoever waits for their acknowledgements gets
    /// [`Error::Disconnected`].
    pub fn clear_offline_buffer(&self) -> usize {
        self.shared.clear_offline_buffer()
    }

    /// Returns whether the namespace is connected.
    pub fn is_connected(&self) -> bool {
        let state = self.shared.state.lock();
        matches!(state.phase, ClientPhase::Joining | ClientPhase::Open)
            && state.joined(&self.namespace).is_some()
    }

    /// Returns the namespaces that are connected.
    pub fn namespaces(&self) -> Vec<String> {
        let state = self.shared.state.lock();
        let spaces = state.namespaces.iter();
        let connected = spaces.filter(|entry| matches!(entry.state, JoinState::Connected(_)));
        connected.map(|entry| entry.name.to_string()).collect()
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

    /// Does not return if the client has ended because a signal ends the process.
    pub(crate) fn park_if_exiting(&self) {
        self.shared.park_if_exiting();
    }

    fn encode(&self, event: &str, data: impl Serialize) -> Result<EncodedArgs, Error> {
        let encoding = self.shared.wire().form.encoding();
        let max_attachments = self.shared.config.outgoing_attachments;
        let data = encode::encode(encoding, event, data, max_attachments)?;
        if self.shared.has_outgoing.load(Ordering::Acquire) {
            self.shared.handlers.get().on_sent(self, event, &data);
        }
        Ok(data)
    }

    /// Changes the handlers of the namespace; returns what was replaced, to be dropped.
    fn change<T>(&self, change: impl FnOnce(&mut ClientNamespaceHandlers) -> T) -> T {
        let handlers = &self.shared.handlers;
        handlers.change(|handlers| change(handlers.entry(&self.namespace)))
    }
}

/// Logs a failure of a handler whose value is sent to nobody.
fn log_failure(handler: &str, returned: impl IntoAck) {
    if let Err(error) = returned.append_to(&mut EncodedArgs::default()) {
        log::warn!(target: "socketio", "the handler of {handler} failed: {error}");
    }
}

impl HandlerContext<Client> for Client {
    fn of(incoming: &IncomingEvent<Client>) -> &Client {
        &incoming.peer
    }
}

impl Default for Client {
    fn default() -> Self {
        Client::new()
    }
}

/// The same connection, seen from the same namespace.
impl PartialEq for Client {
    fn eq(&self, other: &Client) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.namespace == other.namespace
    }
}

impl Eq for Client {}

impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.shared).hash(state);
        self.namespace.hash(state);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("namespace", &self.namespace)
            .field("phase", &self.shared.state.lock().phase)
            .finish_non_exhaustive()
    }
}
