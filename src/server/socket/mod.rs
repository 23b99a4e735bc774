//! A connected client on one namespace.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

mod kept;
mod lifecycle;
mod sending;

pub(super) use lifecycle::SocketPhase;

use super::admin::Record;
use super::broadcast::BroadcastOperator;
use super::connection::ServerConnection;
use super::namespace::Namespace;
use super::namespaces::NamespaceState;
use super::{IntoRooms, Server, encode_data};
use crate::data::EncodedArgs;
use crate::engineio::{Frames, Transport};
use crate::error::Error;
use crate::handlers::registry::HandlerScope;
use crate::handlers::{AckCallback, AckResponse, HandlerContext, IncomingEvent, PendingAcks};
use crate::net::http::Request;
use crate::parser::Form;
use crate::util::sync::Mutex;
use kept::OwnHandler;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A connected client on one namespace, as the server sees it. A cheap handle that may be kept, and
/// used from any thread.
///
/// ```
/// use socketio::{Server, Socket};
///
/// let io = Server::new();
/// io.on("join", |socket: &Socket, room: String| -> Result<(), socketio::Error> {
///     socket.enter_room(&room)?;
///     socket.to(&room).emit("joined", socket.sid())?; // to the others in the room
///     socket.emit("welcome", room) // to this client
/// });
/// ```
#[derive(Clone)]
pub struct Socket {
    inner: Arc<SocketInner>,
}

struct SocketInner {
    sid: Arc<str>,
    space: Arc<NamespaceState>,
    connection: Arc<ServerConnection>,
    phase: AtomicU8,
    /// Form of the connection's packets, beside what a broadcast looks at for each recipient.
    form: Form,
    /// It has handlers of its own, or had.
    has_own: AtomicBool,
    /// The pattern that has let it in, whose handlers serve it.
    pattern: OnceLock<Arc<str>>,
    state: Mutex<SocketState>,
    acks: PendingAcks,
}

#[derive(Default)]
struct SocketState {
    /// Frames that were sent before the client was accepted.
    held: Vec<Frames>,
    held_bytes: usize,
    /// The connect handler has accepted.
    accepted: bool,
    /// Disconnect as soon as it is connected.
    disconnect_requested: bool,
    /// The user session: one value of each type.
    #[allow(
        clippy::box_collection,
        reason = "a list is three times as large as a box"
    )]
    sessions: Option<Box<Vec<Arc<dyn Any + Send + Sync>>>>,
    /// Handlers of this client alone. Boxed, since most clients have none.
    #[allow(
        clippy::box_collection,
        reason = "a map is six times as large as a box"
    )]
    own: Option<Box<HashMap<String, OwnHandler>>>,
    /// It has gone, its disconnect handler has run, and what was kept with it is dropped.
    forgotten: bool,
}

impl Socket {
    pub(super) fn new(
        sid: Arc<str>,
        space: Arc<NamespaceState>,
        connection: Arc<ServerConnection>,
    ) -> Socket {
        let form = connection.form();
        Socket {
            inner: Arc::new(SocketInner {
                sid,
                space,
                connection,
                phase: AtomicU8::new(SocketPhase::Connecting as u8),
                form,
                pattern: OnceLock::new(),
                has_own: AtomicBool::new(false),
                state: Mutex::default(),
                acks: PendingAcks::default(),
            }),
        }
    }

    /// Returns its id on this namespace. Others may know it: it is not what opens the connection.
    pub fn sid(&self) -> &str {
        &self.inner.sid
    }

    pub(super) fn shared_sid(&self) -> &Arc<str> {
        &self.inner.sid
    }

    /// Returns its namespace: what reaches the other clients that are on it.
    ///
    /// ```
    /// # use socketio::{Server, Socket};
    /// # let io = Server::new();
    /// io.of("/chat").on("say", |socket: &Socket, room: String, text: String| {
    ///     socket.namespace().to(room).emit("said", text)
    /// });
    /// ```
    pub fn namespace(&self) -> Namespace {
        Namespace::named(&self.server(), &self.inner.space.name)
    }

    pub(super) fn namespace_name(&self) -> &str {
        &self.inner.space.name
    }

    /// Returns whose handlers serve it.
    pub(super) fn scope(&self) -> HandlerScope<'_> {
        HandlerScope {
            namespace: self.namespace_name(),
            pattern: self.inner.pattern.get().map(|name| &**name),
        }
    }

    pub(super) fn set_pattern(&self, name: &Arc<str>) {
        // It is set once, before the client is let in.
        let _ = self.inner.pattern.set(Arc::clone(name));
    }

    /// Returns the server that it is connected to. Its own methods speak for the namespace `/`,
    /// whatever this socket's is: [`namespace`](Socket::namespace) speaks for that.
    pub fn server(&self) -> Server {
        self.connection().server()
    }

    /// Returns the id of its Engine.IO session, which all its namespaces share. Whoever knows it
    /// can use the session: it is a secret between client and server.
    pub fn session_id(&self) -> &str {
        self.connection().handle().sid()
    }

    /// Returns the request that opened its connection.
    pub fn request(&self) -> &Request {
        self.connection().request()
    }

    /// Returns the transport of its packets now.
    pub fn transport(&self) -> Transport {
        self.connection().handle().transport()
    }

    /// Returns whether it was accepted and has not gone.
    pub fn is_connected(&self) -> bool {
        matches!(
            self.phase(),
            SocketPhase::Accepting | SocketPhase::Connected
        )
    }

    /// Sends it an event. A tuple is several arguments, as is an array of a fixed size (see
    /// [`BroadcastOperator::emit`]); `()` is none, anything else one. Does not block: what the
    /// client does not read yet is kept, up to
    /// [`Limits::outbox_bytes`](crate::Limits::outbox_bytes).
    ///
    /// # Errors
    /// [`Error::Disconnected`] if it has gone, [`Error::Encode`] if the data cannot be JSON,
    /// [`Error::InvalidArgument`] if the name is reserved or too long, the data is nested too
    /// deeply, or there are too many attachments.
    pub fn emit(&self, event: &str, data: impl Serialize) -> Result<(), Error> {
        let data = self.encode(event, data)?;
        self.emit_encoded(event, None, &data)
    }

    /// Sends it the event `message`.
    ///
    /// # Errors
    /// Those of [`emit`](Socket::emit).
    pub fn send(&self, data: impl Serialize) -> Result<(), Error> {
        self.emit("message", data)
    }

    /// Sends it an event and calls a function with the answer: once, on a worker, beside the
    /// client's handlers, with an error when the time is over or the client has gone. A handler
    /// that waits for it occupies a worker which callbacks need too: to wait, use
    /// [`call`](Socket::call). See [`AckCallback`] for what a function may be.
    ///
    /// # Errors
    /// Those of [`emit`](Socket::emit), and [`Error::LimitExceeded`] if it owes too many answers.
    /// The function is not called then.
    pub fn emit_with_ack<S>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Duration,
        callback: impl AckCallback<S>,
    ) -> Result<(), Error> {
        let data = self.encode(event, data)?;
        let id = self.next_ack();
        let callback = |answer: Result<AckResponse, Error>| callback.call(answer);
        self.register_ack(id, timeout, Box::new(callback))?;
        match self.emit_encoded(event, Some(id), &data) {
            // The callback has been told, or will be.
            Err(_) if !self.forget_ack(id) => Ok(()),
            sent => sent,
        }
    }

    /// Sends it an event and waits for the answer: no value is null, several are a tuple. Blocks,
    /// for at most `timeout`; in a handler it occupies a worker.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Disconnected`] at once when it goes or is not connected,
    /// [`Error::Decode`] if the answer is of another type, and those of [`emit`](Socket::emit).
    pub fn call<T: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Duration,
    ) -> Result<T, Error> {
        let data = self.encode(event, data)?;
        self.call_encoded(event, &data, timeout)?.decode()
    }

    /// Returns the client with a time for its answers, so that it need not be named at each call.
    ///
    /// ```no_run
    /// # use socketio::{Error, Server, Socket};
    /// # use std::time::Duration;
    /// # let io = Server::new();
    /// io.on("ask", |socket: &Socket| -> Result<u8, Error> {
    ///     socket.timeout(Duration::from_secs(5)).call("battery?", ())
    /// });
    /// ```
    pub fn timeout(&self, timeout: Duration) -> TimedSocket<'_> {
        TimedSocket {
            socket: self,
            timeout,
        }
    }

    /// Addresses everybody on the namespace but this client.
    pub fn broadcast(&self) -> BroadcastOperator {
        BroadcastOperator::new(&self.server(), &self.inner.space.name).skip(self.sid())
    }

    /// Addresses the members of rooms, without this client.
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// Enters a room.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if it has gone, [`Error::InvalidArgument`] if the room is another
    /// client's.
    pub fn enter_room(&self, room: &str) -> Result<(), Error> {
        if self.inner.space.rooms.enter(self.sid(), room)? {
            let watch = &self.connection().inner().watch;
            watch.record(|| Record::Joined(self.clone(), room.to_owned()));
        }
        Ok(())
    }

    /// Leaves a room.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the room is its own.
    pub fn leave_room(&self, room: &str) -> Result<(), Error> {
        if self.inner.space.rooms.leave(self.sid(), room)? {
            let watch = &self.connection().inner().watch;
            watch.record(|| Record::Left(self.clone(), room.to_owned()));
        }
        Ok(())
    }

    /// Returns its rooms, its own, which is named like its sid, first.
    pub fn rooms(&self) -> Vec<String> {
        self.inner.space.rooms.of(self.sid())
    }

    /// Addresses this client, with what is dropped if it cannot leave at once: for what is out of
    /// date a moment later.
    pub fn volatile(&self) -> BroadcastOperator {
        let to = BroadcastOperator::new(&self.server(), &self.inner.space.name);
        to.to(self.sid()).local().volatile()
    }

    /// Disconnects it from the namespace: what was sent before still arrives, and the disconnect
    /// handler runs. In its connect handler, this happens once it is accepted.
    pub fn disconnect(&self) {
        self.request_disconnect();
    }

    /// Disconnects it from all its namespaces and ends its connection. The official client does
    /// not come back by itself after that, nor after [`disconnect`](Socket::disconnect).
    pub fn disconnect_all(&self) {
        self.connection().handle().dismiss();
    }

    pub(super) fn connection(&self) -> &Arc<ServerConnection> {
        &self.inner.connection
    }

    fn encode(&self, event: &str, data: impl Serialize) -> Result<EncodedArgs, Error> {
        let encoding = self.inner.form.encoding();
        encode_data(self.connection().inner(), encoding, event, data)
    }
}

/// A client, and a time for its answers: see [`Socket::timeout`].
///
/// ```
/// use socketio::{Error, Server, Socket};
/// use std::time::Duration;
///
/// let io = Server::new();
/// io.on("start", |socket: &Socket| -> Result<(), Error> {
///     let name: String = socket.timeout(Duration::from_secs(10)).call("name?", ())?;
///     println!("{name} has started");
///     Ok(())
/// });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TimedSocket<'a> {
    socket: &'a Socket,
    timeout: Duration,
}

impl TimedSocket<'_> {
    /// Sends an event and waits for the answer. See [`Socket::call`].
    ///
    /// # Errors
    /// Those of [`Socket::call`].
    pub fn call<T: DeserializeOwned>(&self, event: &str, data: impl Serialize) -> Result<T, Error> {
        self.socket.call(event, data, self.timeout)
    }

    /// Sends an event and calls a function with the answer. See [`Socket::emit_with_ack`].
    ///
    /// # Errors
    /// Those of [`Socket::emit_with_ack`].
    pub fn emit_with_ack<S>(
        &self,
        event: &str,
        data: impl Serialize,
        callback: impl AckCallback<S>,
    ) -> Result<(), Error> {
        self.socket
            .emit_with_ack(event, data, self.timeout, callback)
    }
}

impl HandlerContext<Socket> for Socket {
    fn of(incoming: &IncomingEvent<Socket>) -> &Socket {
        &incoming.peer
    }
}

impl PartialEq for Socket {
    /// Returns whether it is the same client.
    fn eq(&self, other: &Socket) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Socket {}

impl Hash for Socket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.inner).hash(state);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Socket")
            .field("sid", &self.sid())
            .field("namespace", &self.namespace_name())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}
