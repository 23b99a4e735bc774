//! A connected client on one namespace.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

use super::admin::Record;
use super::broadcast::BroadcastOperator;
use super::connection::ServerConnection;
use super::namespace::Namespace;
use super::namespaces::NamespaceState;
use super::{IntoRooms, Server, encode_data};
use crate::data::{EncodedArgs, Encoding};
use crate::engineio::frames::BinaryForm;
use crate::engineio::{Frames, HeldBroadcasts, Transport, block_in_place};
use crate::error::{Error, LimitExceeded};
use crate::handlers::ack::{self, Callback};
use crate::handlers::encode::{self, SharedEvent};
use crate::handlers::handler::{BoxedHandler, boxed};
use crate::handlers::registry::HandlerScope;
use crate::handlers::service::assert_not_reserved;
use crate::handlers::{
    AckCallback, AckResponse, AckWaiter, EventSource, Handler, HandlerContext, IncomingEvent,
    IntoAck, PendingAcks,
};
use crate::limits::clamp_duration;
use crate::net::http::Request;
use crate::parser::{Form, Wire};
use crate::protocol::engineio::Revision;
use crate::protocol::socketio::Kind;
use crate::reason::Reason;
use crate::util::oneshot::channel;
use crate::util::sync::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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

impl SocketState {
    /// Keeps a value of the user session; returns what is to be dropped.
    fn store_value<T: Any>(
        &mut self,
        session: Arc<dyn Any + Send + Sync>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        if self.forgotten {
            // Nobody would drop it but an I/O thread.
            return Some(session);
        }
        let sessions = self.sessions.get_or_insert_default();
        match sessions.iter_mut().find(|it| (***it).is::<T>()) {
            Some(before) => Some(std::mem::replace(before, session)),
            None => {
                sessions.push(session);
                None
            }
        }
    }
}

struct OwnHandler {
    handler: BoxedHandler<Socket>,
    is_once: bool,
}

/// Life of a client on a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum SocketPhase {
    /// The connect handler has not accepted.
    Connecting,
    /// It has, and the client is being told so, before what was held for it.
    Accepting,
    Connected,
    /// It was connected.
    Disconnected,
    /// It was refused, or went away before.
    Refused,
}

impl SocketPhase {
    fn from(number: u8) -> SocketPhase {
        match number {
            0 => SocketPhase::Connecting,
            1 => SocketPhase::Accepting,
            2 => SocketPhase::Connected,
            3 => SocketPhase::Disconnected,
            _ => SocketPhase::Refused,
        }
    }
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

    /// Returns whether it is there, also while its connect handler runs.
    pub(super) fn is_present(&self) -> bool {
        !matches!(
            self.phase(),
            SocketPhase::Disconnected | SocketPhase::Refused
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

    /// Handles an event of this client alone, in the place of the handlers of its namespace. It,
    /// and what it captures, is dropped when the client has gone. See [`Namespace::on`].
    ///
    /// ```
    /// use socketio::{Server, Socket};
    ///
    /// let io = Server::new();
    /// io.on("begin", |socket: &Socket, name: String| {
    ///     socket.on("say", move |text: String| println!("{name}: {text}"));
    ///     socket.once("end", |socket: &Socket| socket.off("say"));
    /// });
    /// ```
    ///
    /// # Panics
    /// If the event's name is reserved: `connect`, `connect_error`, `disconnect`, `disconnecting`,
    /// `newListener` or `removeListener`.
    #[track_caller]
    pub fn on<S>(&self, event: &str, handler: impl Handler<Socket, S, Output: IntoAck>) {
        self.add(event, boxed(handler), false);
    }

    /// Handles the next event of this name, as [`on`](Socket::on) does, and is forgotten then, also
    /// if the event's arguments do not decode.
    ///
    /// # Panics
    /// If the event is reserved.
    #[track_caller]
    pub fn once<S>(&self, event: &str, handler: impl Handler<Socket, S, Output: IntoAck>) {
        self.add(event, boxed(handler), true);
    }

    /// Forgets the handler of [`on`](Socket::on) or [`once`](Socket::once).
    pub fn off(&self, event: &str) {
        let mut state = self.inner.state.lock();
        let before = state.own.as_mut().and_then(|own| own.remove(event));
        drop(state);
        drop(before);
    }

    #[track_caller]
    fn add(&self, event: &str, handler: BoxedHandler<Socket>, is_once: bool) {
        assert_not_reserved(event);
        let own = OwnHandler { handler, is_once };
        let mut state = self.inner.state.lock();
        let before = if state.forgotten {
            Some(own)
        } else {
            self.inner.has_own.store(true, Ordering::Release);
            let all = state.own.get_or_insert_default();
            all.insert(event.to_owned(), own)
        };
        drop(state);
        drop(before);
    }

    /// Returns whether it may have handlers of its own. Takes no lock.
    pub(super) fn has_own(&self) -> bool {
        self.inner.has_own.load(Ordering::Acquire)
    }

    /// Returns its own handler of an event; one for a single event is taken out.
    pub(super) fn own_handler(&self, event: &str) -> Option<BoxedHandler<Socket>> {
        let mut state = self.inner.state.lock();
        let all = state.own.as_mut()?;
        let own = all.get(event)?;
        if own.is_once {
            return all.remove(event).map(|own| own.handler);
        }
        Some(Arc::clone(&own.handler))
    }

    /// Returns the value of this type in the user session, if one was saved. One of another type
    /// alone, which may be a mistake, is told in the log (debug).
    pub fn session<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let session = self.find_session();
        if session.is_none() && self.inner.state.lock().sessions.is_some() {
            let wanted = std::any::type_name::<T>();
            log::debug!(target: "socketio", "{}: the user session has no {wanted}, but another type", self.sid());
        }
        session
    }

    fn find_session<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let state = self.inner.state.lock();
        let mut all = state.sessions.iter().flat_map(|it| it.iter());
        let found = all.find(|it| (***it).is::<T>()).cloned();
        drop(state);
        found.and_then(|session| session.downcast().ok())
    }

    /// Keeps a value in the user session until the client has gone: one of each type, in the place
    /// of the one of the same type that was kept. Each namespace of a client has a session of its
    /// own. Of a client that has gone the value is dropped at once.
    pub fn save_session<T: Any + Send + Sync>(&self, session: T) {
        let session: Arc<dyn Any + Send + Sync> = Arc::new(session);
        let mut state = self.inner.state.lock();
        let before = state.store_value::<T>(session);
        drop(state);
        // A user's type may do anything when it is dropped.
        drop(before);
    }

    /// Changes the value of a type in the user session, or the default one if there is none;
    /// returns what it is then. The function may be called again if another thread has changed it
    /// meanwhile.
    ///
    /// ```
    /// use socketio::{Server, Socket};
    ///
    /// #[derive(Clone, Default)]
    /// struct Visits(u32);
    ///
    /// let io = Server::new();
    /// io.on("visit", |socket: &Socket| {
    ///     socket.update_session(|visits: &mut Visits| visits.0 += 1).0
    /// });
    /// ```
    pub fn update_session<T>(&self, mut change: impl FnMut(&mut T)) -> Arc<T>
    where
        T: Any + Send + Sync + Clone + Default,
    {
        loop {
            let before = self.find_session::<T>();
            let mut changed = before.as_deref().cloned().unwrap_or_default();
            change(&mut changed);
            let changed = Arc::new(changed);
            let mut state = self.inner.state.lock();
            let mut all = state.sessions.iter().flat_map(|it| it.iter());
            let now = all.find(|it| (***it).is::<T>());
            let is_same = match (now, &before) {
                (Some(now), Some(before)) => {
                    std::ptr::addr_eq(Arc::as_ptr(now), Arc::as_ptr(before))
                }
                (now, before) => now.is_none() && before.is_none(),
            };
            if is_same {
                let replaced =
                    state.store_value::<T>(Arc::clone(&changed) as Arc<dyn Any + Send + Sync>);
                drop(state);
                drop(replaced);
                return changed;
            }
            drop(state);
        }
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

    pub(super) fn phase(&self) -> SocketPhase {
        SocketPhase::from(self.inner.phase.load(Ordering::Acquire))
    }

    fn set_phase(&self, phase: SocketPhase) {
        self.inner.phase.store(phase as u8, Ordering::Release);
    }

    fn encode(&self, event: &str, data: impl Serialize) -> Result<EncodedArgs, Error> {
        let encoding = self.inner.form.encoding();
        encode_data(self.connection().inner(), encoding, event, data)
    }

    fn next_ack(&self) -> u64 {
        self.connection()
            .inner()
            .next_ack
            .fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn call_encoded(
        &self,
        event: &str,
        data: &EncodedArgs,
        timeout: Duration,
    ) -> Result<AckResponse, Error> {
        if self.phase() == SocketPhase::Connecting {
            return Err(Error::Disconnected);
        }
        let by = Instant::now() + clamp_duration(timeout);
        let (sender, answer) = channel();
        let id = self.next_ack();
        self.insert_ack(id, AckWaiter::Call(sender))?;
        self.connection().on_ack_expected();
        if let Err(error) = self.emit_encoded(event, Some(id), data) {
            self.inner.acks.take(id);
            return Err(error);
        }
        block_in_place(|| answer.recv_deadline(by)).unwrap_or_else(|| {
            self.inner.acks.take(id);
            Err(Error::Timeout)
        })
    }

    pub(super) fn register_ack(
        &self,
        id: u64,
        timeout: Duration,
        run: Callback,
    ) -> Result<(), Error> {
        let waiting = AckWaiter::Callback {
            run,
            deadline: Instant::now() + clamp_duration(timeout),
        };
        if let Some(deadline) = self.insert_ack(id, waiting)? {
            self.connection().handle().wake_at(deadline);
        }
        self.connection().on_ack_expected();
        Ok(())
    }

    /// Keeps what waits for an acknowledgement; returns its deadline if it is now the earliest.
    fn insert_ack(&self, id: u64, waiting: AckWaiter) -> Result<Option<Instant>, Error> {
        let limits = self.connection().limits();
        let inserted = self.inner.acks.insert(id, waiting, limits.pending_acks);
        inserted.inspect_err(|_| limits.refused.note("pending_acks"))
    }

    /// Takes back what was expected; false if it has been settled already.
    pub(super) fn forget_ack(&self, id: u64) -> bool {
        self.inner.acks.take(id).is_some()
    }

    fn emit_encoded(&self, event: &str, id: Option<u64>, data: &EncodedArgs) -> Result<(), Error> {
        let (wire, inner) = (self.inner.wire(), self.connection().inner());
        if self.phase() == SocketPhase::Connected && data.attachments.is_empty() {
            self.connection().handle().send_written(|buffer| {
                encode::write_event(wire, self.namespace_name(), event, id, data, buffer)?;
                inner.counters.sent(true, buffer.len());
                Ok(())
            })?;
        } else {
            let frames = encode::event_frames(wire, self.namespace_name(), event, id, data)?;
            inner.counters.sent(true, frames.0.len());
            self.deliver_or_hold(&frames)?;
        }
        self.note_sent(event, data);
        Ok(())
    }

    /// Tells those who want to know of an event that is sent.
    fn note_sent(&self, event: &str, data: &EncodedArgs) {
        let inner = self.connection().inner();
        if inner.watch.is_on() {
            inner.watch.sent(self, event, data);
        }
        if inner.has_outgoing.load(Ordering::Acquire) {
            inner.handlers.get().on_sent(self, event, data);
        }
    }

    /// Sends an event that others get too.
    pub(super) fn deliver(
        &self,
        event: &mut SharedEvent<'_>,
        volatile: bool,
        held: Option<&HeldBroadcasts>,
    ) -> Result<(), Error> {
        let (form, handle) = (self.inner.form, self.connection().handle());
        self.note_sent(event.event, event.data);
        match self.phase() {
            SocketPhase::Connected => {
                let frames = event.frames(form, handle.binary_form())?;
                match held {
                    _ if volatile => {
                        handle.send_volatile(frames);
                        Ok(())
                    }
                    Some(held) => handle.send_held(frames, held),
                    None => handle.send_shared(frames),
                }
            }
            SocketPhase::Connecting if volatile => Ok(()),
            // Its bytes get their form when they leave.
            _ => self.deliver_or_hold(event.frames(form, BinaryForm::Plain)?),
        }
    }

    fn deliver_or_hold(&self, frames: &Frames) -> Result<(), Error> {
        let mut state = self.inner.state.lock();
        match self.phase() {
            SocketPhase::Connecting => {
                let limit = self.connection().limits().outbox_bytes;
                if state.held_bytes + frames.0.len() > limit {
                    let what = "bytes for a client that is not connected yet";
                    return Err(LimitExceeded::new(what, "outbox_bytes", limit).into());
                }
                state.held_bytes += frames.0.len();
                state.held.push(frames.clone());
                Ok(())
            }
            SocketPhase::Accepting | SocketPhase::Connected => {
                self.connection().handle().send(frames)
            }
            SocketPhase::Disconnected | SocketPhase::Refused => Err(Error::Disconnected),
        }
    }

    fn packet_frames(&self, kind: Kind, data: &str) -> Frames {
        encode::packet_frames(self.inner.wire(), kind, self.namespace_name(), data)
    }

    /// Sends a packet without arguments.
    pub(super) fn send_packet(&self, kind: Kind, data: &str) {
        let frames = self.packet_frames(kind, data);
        // A client that has gone needs none.
        let _ = self.connection().handle().send(&frames);
    }

    /// Tells the client that it is connected, and sends what was held for it.
    pub(super) fn open(&self) {
        let connect = match self.connection().handle().revision() {
            Revision::V4 => {
                self.packet_frames(Kind::Connect, &format!("{{\"sid\":\"{}\"}}", self.sid()))
            }
            Revision::V3 => self.packet_frames(Kind::Connect, ""),
        };
        let mut failure = None;
        let mut state = self.inner.state.lock();
        if self.phase() != SocketPhase::Connecting {
            return;
        }
        // Its events are welcome as soon as it can know; sending from others waits for the lock.
        self.set_phase(SocketPhase::Accepting);
        let _ = self.connection().handle().send(&connect);
        for frames in std::mem::take(&mut state.held) {
            if let Err(error @ Error::LimitExceeded(_)) = self.connection().handle().send(&frames) {
                failure = Some(error);
            }
        }
        self.set_phase(SocketPhase::Connected);
        let disconnect_requested = state.disconnect_requested;
        drop(state);
        if let Some(error) = failure {
            log::error!(target: "socketio", "{}: what was sent in the connect handler is lost: {error}", self.sid());
        }
        if disconnect_requested {
            self.request_disconnect();
        }
    }

    /// Admits the client, as the connect handler has: broadcasts include it, and its disconnect
    /// handler will run.
    pub(super) fn accept(&self) {
        self.inner.state.lock().accepted = true;
        self.inner.space.rooms.admit(self.sid());
    }

    /// Forgets a client that was not accepted.
    pub(super) fn refuse(&self) {
        let mut state = self.inner.state.lock();
        self.set_phase(SocketPhase::Refused);
        state.held = Vec::new();
        drop(state);
        self.fail_acks();
        self.forget();
    }

    /// Disconnects it; returns whether it was connected, or about to be.
    pub(super) fn request_disconnect(&self) -> bool {
        let packet = self.packet_frames(Kind::Disconnect, "");
        let mut state = self.inner.state.lock();
        match self.phase() {
            SocketPhase::Connecting => {
                state.disconnect_requested = true;
                true
            }
            SocketPhase::Accepting | SocketPhase::Connected => {
                // A client that has gone needs none.
                let _ = self.connection().handle().send(&packet);
                self.set_phase(SocketPhase::Disconnected);
                drop(state);
                self.fail_acks();
                self.connection()
                    .queue_disconnect(self, Reason::ServerDisconnect);
                true
            }
            SocketPhase::Disconnected | SocketPhase::Refused => false,
        }
    }

    /// Notes that the client has gone, or its connection has. Called on the I/O thread.
    pub(super) fn lose(&self, reason: Reason) {
        if self.end() {
            self.connection().queue_disconnect(self, reason);
        }
    }

    /// Ends it; returns whether its disconnect handler is still to be queued.
    pub(super) fn end(&self) -> bool {
        let before = {
            let _state = self.inner.state.lock();
            let before = self.phase();
            if before <= SocketPhase::Connected {
                self.set_phase(if before == SocketPhase::Connecting {
                    SocketPhase::Refused
                } else {
                    SocketPhase::Disconnected
                });
            }
            before
        };
        let ends = before <= SocketPhase::Connected;
        if ends {
            self.fail_acks();
        }
        ends
    }

    fn fail_acks(&self) {
        for waiting in self.inner.acks.close() {
            ack::complete(self.connection(), waiting, Err(Error::Disconnected));
        }
    }

    /// Returns whether the disconnect handler is to be called.
    pub(super) fn was_accepted(&self) -> bool {
        self.inner.state.lock().accepted
    }

    /// Takes it out of everything, last of all.
    pub(super) fn forget(&self) {
        self.connection()
            .inner()
            .spaces
            .remove(&self.inner.space, self.sid(), self);
        let mut state = self.inner.state.lock();
        state.forgotten = true;
        let kept = (state.sessions.take(), state.own.take());
        drop(state);
        drop(kept);
    }

    pub(super) fn acks(&self) -> &PendingAcks {
        &self.inner.acks
    }

    pub(super) fn as_source(&self) -> Arc<dyn EventSource> {
        Arc::clone(&self.inner) as Arc<dyn EventSource>
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

impl SocketInner {
    fn wire(&self) -> Wire<'_> {
        Wire::new(&self.connection.inner().config.parser, self.form)
    }
}

impl EventSource for SocketInner {
    fn namespace(&self) -> &Arc<str> {
        &self.space.name
    }

    fn sid(&self) -> &str {
        &self.sid
    }

    fn encoding(&self) -> Encoding {
        self.form.encoding()
    }

    fn acknowledge(&self, id: u64, answer: &EncodedArgs) -> Result<(), Error> {
        let phase = SocketPhase::from(self.phase.load(Ordering::Acquire));
        if !matches!(phase, SocketPhase::Accepting | SocketPhase::Connected) {
            return Err(Error::Disconnected);
        }
        let max_attachments = self.connection.limits().outgoing_attachments;
        answer.check(max_attachments)?;
        self.connection.handle().send_written(|buffer| {
            let wire = self.wire();
            encode::write_ack(wire, &self.space.name, id, answer, buffer)?;
            self.connection.inner().counters.sent(false, buffer.len());
            Ok(())
        })
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
