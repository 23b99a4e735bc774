//! A namespace of a server.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

use super::broadcast::BroadcastOperator;
use super::handlers::{ANY, OnError};
use super::service::Service;
use super::socket::Socket;
use super::{IntoRooms, Server};
use crate::data::Args;
use crate::engineio::Transport;
use crate::error::Error;
use crate::handlers::handler::boxed;
use crate::handlers::service::Registered;
use crate::handlers::service::assert_not_reserved;
use crate::handlers::{
    Auth, BoxedConnect, Check, ConnectHandler, DisconnectHandler, ErrorAck, Event, Handler,
    HandlerError, IntoAck, RecipientsCallback, boxed_disconnect,
};
use serde::Serialize;
use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A namespace: clients connect to each that they use, over one connection. A cheap handle, from
/// [`Server::of`].
///
/// The handlers of `*` serve the namespaces, and the events, that have none of their own.
///
/// ```
/// use socketio::{Refused, Server, Socket, Value};
///
/// let io = Server::new();
/// let admin = io.of("/admin");
/// admin.on_connect(|_: &Socket, auth: Value| match auth["token"].as_str() {
///     Some("secret") => Ok(()),
///     _ => Err(Refused::new("no token")),
/// });
/// admin.on("kick", |socket: &Socket, sid: String| socket.namespace().disconnect(&sid));
/// admin.emit("ready", ())?; // to every client on the namespace
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Namespace {
    server: Server,
    name: Arc<str>,
}

/// The same namespace of the same server.
impl PartialEq for Namespace {
    fn eq(&self, other: &Namespace) -> bool {
        Arc::ptr_eq(&self.server.inner, &other.server.inner) && self.name == other.name
    }
}

impl Eq for Namespace {}

impl Hash for Namespace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.server.inner).hash(state);
        self.name.hash(state);
    }
}

impl fmt::Display for Namespace {
    /// Returns its name.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl Namespace {
    pub(crate) fn new(server: &Server, name: &str) -> Namespace {
        let slash = name.starts_with('/') || name == ANY;
        Namespace {
            server: server.clone(),
            // Every client adds the slash that was forgotten; so does the server.
            name: if slash {
                name.into()
            } else {
                format!("/{name}").into()
            },
        }
    }

    /// Returns the namespace of a name that is one.
    pub(crate) fn named(server: &Server, name: &Arc<str>) -> Namespace {
        Namespace {
            server: server.clone(),
            name: Arc::clone(name),
        }
    }

    /// Returns its name, with the slash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the server that it belongs to.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Handles an event, in the place of what did: see [`Handler`] for what a handler may be.
    ///
    /// ```
    /// # use socketio::{Binary, Event, HandlerError, Server, Socket};
    /// # let io = Server::new();
    /// io.on("sum", |a: i64, b: i64| a + b);                              // acknowledges with a number
    /// io.on("say", |socket: &Socket, text: String| socket.broadcast().emit("said", &text));
    /// io.on("upload", |name: String, Binary(bytes): Binary| (name, bytes.len()));  // with two values
    /// io.on("raw", |event: &Event| event.args().map(|args| args.len()));
    /// io.on("parse", |number: String| -> Result<i64, HandlerError> { Ok(number.parse()?) });
    /// ```
    ///
    /// These do not compile: a parameter without a type, a socket that is not borrowed, and an
    /// answer that cannot be sent.
    ///
    /// ```compile_fail,E0283
    /// # let io = socketio::Server::new();
    /// io.on("say", |text| ());
    /// ```
    /// ```compile_fail,E0277
    /// # let io = socketio::Server::new();
    /// io.on("say", |socket: socketio::Socket, text: String| ());
    /// ```
    /// ```compile_fail,E0277
    /// # let io = socketio::Server::new();
    /// struct Plain;
    /// io.on("say", |text: String| Plain);
    /// ```
    ///
    /// # Panics
    /// If the event's name is reserved: `connect`, `connect_error`, `disconnect`, `disconnecting`,
    /// `newListener` or `removeListener`.
    #[track_caller]
    pub fn on<S>(&self, event: &str, handler: impl Handler<Socket, S, Output: IntoAck>) {
        assert_not_reserved(event);
        let handler = boxed(handler);
        drop(self.change(|set| set.events.insert(event.to_owned(), handler)));
    }

    /// Handles the events that have no handler, as python-socketio's `*` does; what it returns
    /// acknowledges them. For all events, as JavaScript's `onAny`, see
    /// [`on_event`](Namespace::on_event).
    pub fn on_any<S>(&self, handler: impl Handler<Socket, S, Output: IntoAck>) {
        let handler = boxed(handler);
        drop(self.change(|set| set.any.replace(handler)));
    }

    /// Decides about each client that connects, before it is told so: see [`ConnectHandler`].
    ///
    /// What is sent to the client here is held back until it is accepted. A panic, and `auth` that
    /// does not decode, are refusals.
    ///
    /// ```
    /// # use socketio::{Refused, Server, Socket, Value};
    /// # let io = Server::new();
    /// #[derive(serde::Deserialize)]
    /// struct Login { name: String }
    ///
    /// io.on_connect(|socket: &Socket, login: Option<Login>| {
    ///     let login = login.ok_or(Refused::new("who are you?"))?;
    ///     socket.save_session(login.name);
    ///     Ok::<_, Refused>(())
    /// });
    /// ```
    pub fn on_connect<S>(&self, handler: impl ConnectHandler<Socket, S>) {
        let handler = Arc::new(move |socket: &Socket, auth: &Auth| handler.call(socket, auth));
        drop(self.change(|set| set.lifecycle.connect.replace(handler)));
    }

    /// Calls a function once for each client that was accepted and has gone, after its last event.
    /// Its rooms and its user session are still there.
    pub fn on_disconnect<S>(&self, handler: impl DisconnectHandler<Socket, S>) {
        let handler = boxed_disconnect(handler);
        drop(self.change(|set| set.lifecycle.disconnect.replace(handler)));
    }

    /// Forgets the handler of an event. Events that wait already find none.
    pub fn off(&self, event: &str) {
        drop(self.change(|set| set.events.remove(event)));
    }

    /// Adds a function that decides about clients before [`on_connect`](Namespace::on_connect), in the
    /// order in which they were added, as the reference server's `use` does; the first refusal is the
    /// client's. Those of `io.of("*")` come first, for every namespace. The functions have the forms
    /// of [`on_connect`](Namespace::on_connect).
    ///
    /// ```
    /// use socketio::{Refused, Server, Socket};
    ///
    /// let io = Server::new();
    /// io.of("*").before_connect(|socket: &Socket| {
    ///     match socket.request().header("Authorization") {
    ///         Some(_) => Ok(()),
    ///         None => Err(Refused::new("unauthorized")),
    ///     }
    /// });
    /// ```
    pub fn before_connect<S>(&self, decide: impl ConnectHandler<Socket, S>) {
        let decide: BoxedConnect<Socket> = Arc::new(move |socket, auth| decide.call(socket, auth));
        self.change(|set| set.lifecycle.before_connect.push(decide));
    }

    /// Adds a function that sees every event before its handler does, whether it has one or not, in
    /// the order in which they were added; those of `io.of("*")` come first, for every namespace. An
    /// error, or `false`, keeps the event from its handler: it goes to
    /// [`on_error`](Namespace::on_error).
    ///
    /// ```
    /// use socketio::{Event, Server, Socket};
    ///
    /// let io = Server::new();
    /// io.before_event(|socket: &Socket, event: &Event| {
    ///     if event.name() == "admin" && !socket.rooms().contains(&"admins".into()) {
    ///         return Err("not allowed");
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn before_event<R: Check>(
        &self,
        check: impl Fn(&Socket, &Event) -> R + Send + Sync + 'static,
    ) {
        let check = move |socket: &Socket, event: &Event| check(socket, event).check();
        self.change(|set| set.lifecycle.before_event.push(Arc::new(check)));
    }

    /// Adds a function that is told of every event that comes, also of those that
    /// [`before_event`](Namespace::before_event) keeps from their handlers: JavaScript's `onAny`.
    /// [`on_any`](Namespace::on_any) is for events without a handler.
    pub fn on_event(&self, tap: impl Fn(&Socket, &Event) + Send + Sync + 'static) {
        self.change(|set| set.lifecycle.taps.push(Arc::new(tap)));
    }

    /// Adds a function that is told of every event that is sent to a client, with its name and its
    /// arguments: JavaScript's `onAnyOutgoing`. Of an event for several it is called for each. It runs
    /// in the thread that sends, and must not block. Once there is one, every event that is sent costs
    /// its decoding.
    ///
    /// ```
    /// use socketio::{Args, Server, Socket};
    ///
    /// let io = Server::new();
    /// io.on_event_outgoing(|socket: &Socket, event: &str, args: &Args| {
    ///     println!("{} is sent {event} with {args:?}", socket.sid());
    /// });
    /// ```
    pub fn on_event_outgoing(&self, tap: impl Fn(&Socket, &str, &Args) + Send + Sync + 'static) {
        let inner = &self.server.inner;
        self.change(|set| set.lifecycle.outgoing.push(Arc::new(tap)));
        inner.has_outgoing.store(true, Ordering::Release);
    }

    /// Decides what a client is told of an event whose handler has failed: returned an error,
    /// panicked, was given arguments that do not decode, or was kept from it by
    /// [`before_event`](Namespace::before_event). Without it nothing is acknowledged, and a client
    /// that awaits an answer waits until its own time-out. That of `io.of("*")` is for the namespaces
    /// that have none. The record in the log is written before.
    ///
    /// ```
    /// use socketio::{Event, HandlerError, Server, Socket, value};
    ///
    /// let io = Server::new();
    /// io.on("divide", |a: i64, b: i64| a.checked_div(b).ok_or("not by zero"));
    /// io.on_error(|_: &Socket, event: &Event, error: &HandlerError| {
    ///     Some(value!({ "error": error.to_string(), "event": event.name() }))
    /// });
    /// ```
    pub fn on_error<R: ErrorAck>(
        &self,
        decide: impl Fn(&Socket, &Event, &HandlerError) -> R + Send + Sync + 'static,
    ) {
        let decide: Arc<OnError> = Arc::new(move |socket, event, error, answer| {
            decide(socket, event, error).append_to(answer)
        });
        drop(self.change(|set| set.lifecycle.error.replace(decide)));
    }

    /// Registers a type as the handler of the namespace. Replaces one that was registered before.
    /// See [`Service`].
    pub fn register<S: Service>(&self, service: S) {
        let service = Arc::new(Registered::new(service, S::events));
        drop(self.change(|set| set.service.replace(service)));
    }

    /// Addresses the members of a room, or of any of several, or a client by its sid. `to([])` is
    /// nobody.
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        BroadcastOperator::new(&self.server, &self.name).to(rooms)
    }

    /// Addresses everybody but these sids.
    pub fn skip(&self, sids: impl IntoRooms) -> BroadcastOperator {
        BroadcastOperator::new(&self.server, &self.name).skip(sids)
    }

    /// Addresses everybody but the members of these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        BroadcastOperator::new(&self.server, &self.name).except(rooms)
    }

    /// Addresses everybody with what a client gets only if it can take it at once: see
    /// [`BroadcastOperator::volatile`](crate::BroadcastOperator::volatile).
    pub fn volatile(&self) -> BroadcastOperator {
        BroadcastOperator::new(&self.server, &self.name).volatile()
    }

    /// Addresses only clients of this server, not those of others that share a manager.
    pub fn local(&self) -> BroadcastOperator {
        BroadcastOperator::new(&self.server, &self.name).local()
    }

    /// Sends an event to everybody on the namespace. See [`BroadcastOperator::emit`].
    ///
    /// # Errors
    /// Those of [`BroadcastOperator::emit`].
    pub fn emit(&self, event: &str, data: impl Serialize) -> Result<(), Error> {
        BroadcastOperator::new(&self.server, &self.name).emit(event, data)
    }

    /// Sends the event `message` to everybody on the namespace.
    ///
    /// # Errors
    /// Those of [`BroadcastOperator::emit`].
    pub fn send(&self, data: impl Serialize) -> Result<(), Error> {
        self.emit("message", data)
    }

    /// Returns the client of this sid, if it is connected to this server.
    pub fn socket(&self, sid: &str) -> Option<Socket> {
        self.server.inner.spaces.socket(&self.name, sid)
    }

    /// Returns all clients that are connected to this server.
    pub fn sockets(&self) -> Vec<Socket> {
        BroadcastOperator::new(&self.server, &self.name).sockets()
    }

    /// Adds a client to a room, which exists from its first member on.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the room is another client's own, [`Error::Disconnected`] if
    /// there is no such client; with a manager that knows other servers that is no error, and
    /// [`Error::LimitExceeded`] is, if its queue has no room.
    pub fn enter_room(&self, sid: &str, room: &str) -> Result<(), Error> {
        self.server.inner.manager.enter_room(&self.name, sid, room)
    }

    /// Removes a client from a room; does nothing without such a client, or room.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the room is the client's own, [`Error::LimitExceeded`] if the
    /// client is of another server, and the manager's queue has no room.
    pub fn leave_room(&self, sid: &str, room: &str) -> Result<(), Error> {
        self.server.inner.manager.leave_room(&self.name, sid, room)
    }

    /// Removes all clients from a room; does nothing without such a room.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the room is a client's own, [`Error::LimitExceeded`] if a
    /// manager that knows other servers has no room in its queue: then nobody leaves.
    pub fn close_room(&self, room: &str) -> Result<(), Error> {
        self.server.inner.manager.close_room(&self.name, room)
    }

    /// Returns the rooms of a client of this server, its own, which is named like its sid, first;
    /// none without such a client.
    pub fn rooms(&self, sid: &str) -> Vec<String> {
        let space = self.server.inner.spaces.get(&self.name);
        space.map(|space| space.rooms.of(sid)).unwrap_or_default()
    }

    /// Sends an event to everybody on the namespace, and calls a function with the answer of each. See
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
        BroadcastOperator::new(&self.server, &self.name)
            .emit_with_ack(event, data, timeout, callback)
    }

    /// Returns the user session of a client, if one of this type was saved.
    pub fn session<T: Any + Send + Sync>(&self, sid: &str) -> Option<Arc<T>> {
        self.socket(sid)?.session()
    }

    /// Changes a value of a client's user session, or the default one if there is none; returns what
    /// it is then. See [`Socket::update_session`].
    ///
    /// # Errors
    /// [`Error::Disconnected`] if there is no such client here.
    pub fn update_session<T: Any + Clone + Default + Send + Sync>(
        &self,
        sid: &str,
        change: impl FnMut(&mut T),
    ) -> Result<Arc<T>, Error> {
        let socket = self.socket(sid).ok_or(Error::Disconnected)?;
        Ok(socket.update_session(change))
    }

    /// Keeps a value with a client until it has gone, in the place of the one of its type.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if there is no such client here.
    pub fn save_session<T: Any + Send + Sync>(&self, sid: &str, session: T) -> Result<(), Error> {
        self.socket(sid)
            .ok_or(Error::Disconnected)?
            .save_session(session);
        Ok(())
    }

    /// Disconnects a client from the namespace, wherever it is; without such a client nothing
    /// happens. Its connection, and its other namespaces, stay.
    pub fn disconnect(&self, sid: &str) {
        self.server.inner.manager.disconnect(&self.name, sid);
    }

    /// Returns the transport of a client's packets now; none without such a client.
    pub fn transport(&self, sid: &str) -> Option<Transport> {
        self.socket(sid).map(|socket| socket.transport())
    }

    /// Changes the handlers of the namespace; returns what was replaced, to be dropped.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut super::handlers::ServerNamespaceHandlers) -> T,
    ) -> T {
        let handlers = &self.server.inner.handlers;
        handlers.change(|handlers| change(handlers.entry(&self.name)))
    }
}
