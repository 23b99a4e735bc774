//! One client's connection, as its I/O thread knows it: it reads the packets, and hands the workers
//! what is left of them.

use super::Server;
use super::admin::Record;
use super::connection::{EVENT_OVERHEAD_BYTES, ServerConnection, Work};
use super::metrics::Counted;
use super::socket::{Socket, SocketPhase};
use super::throttle::{Pace, Throttle};
use crate::engineio::{
    Acceptor, Admission, Control, OnHandshake, SessionHandle, SessionHandler, Transport,
};
use crate::error::{Error, LimitExceeded};
use crate::handlers::ack;
use crate::handlers::{AckResponse, AckWaiter, Auth, Event, IncomingEvent, encode};
use crate::net::http::Request;
use crate::parser::incoming::PacketDecoder;
use crate::pool::{QueueState, Runnable, WorkerPool};
use crate::protocol::engineio::{Data, Revision};
use crate::protocol::socketio::{
    Arrival, Body, DecoderSide, Dropped, IncomingPacket, Kind, PacketError, ROOT, Text,
};
use crate::reason::Reason;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Bytes that a client on a namespace counts for until its connect handler has run: the client
/// itself, its place among the others, and its `auth`.
const CONNECT_OVERHEAD_BYTES: usize = 1024;

/// Initial capacity of a batch of events.
const INITIAL_BATCH_LEN: usize = 8;

/// Acceptor that turns Engine.IO sessions into connections of a server.
pub(crate) struct SocketIoAcceptor {
    pub(crate) server: Server,
    pub(crate) workers: Arc<WorkerPool>,
}

impl Acceptor for SocketIoAcceptor {
    fn asks(&self) -> bool {
        false
    }

    fn on_handshake(&self) -> Option<OnHandshake> {
        self.server.inner.on_handshake.read().some()
    }

    fn json_at(&self, packet: &str) -> usize {
        Text::json_at(packet)
    }

    fn open(&self, handle: &Arc<SessionHandle>, request: Request) -> Admission {
        let inner = Arc::clone(&self.server.inner);
        let limits = Arc::clone(&inner.config.decode_limits);
        let connection = ServerConnection::new(inner, &self.workers, handle, request);
        let connection = Arc::new(connection);
        Admission::Accept(Box::new(ServerSessionHandler {
            throttle: Throttle::new(&limits, Instant::now()),
            connect_by: Some(Instant::now() + limits.connect_timeout),
            max_namespaces: limits.namespaces,
            decoder: PacketDecoder::new(
                &connection.inner.config.parser,
                limits,
                DecoderSide::Server,
                handle.revision(),
            ),
            connection,
            sockets: Vec::new(),
            has_joined: false,
            acks_at: None,
            batch: Vec::new(),
            messages: 0,
            events: 0,
            bytes: 0,
            counted: None,
        }))
    }
}

impl fmt::Debug for SocketIoAcceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SocketIoAcceptor")
    }
}

/// The I/O thread's end of a connection.
struct ServerSessionHandler {
    connection: Arc<ServerConnection>,
    decoder: PacketDecoder,
    /// Copied from the limits, which are far away for something that every packet needs.
    max_namespaces: usize,
    /// One for each namespace that the client has joined, or wants to.
    sockets: Vec<Socket>,
    /// Moment when it must have joined one.
    connect_by: Option<Instant>,
    has_joined: bool,
    /// Moment when the next acknowledgement may be overdue.
    acks_at: Option<Instant>,
    /// Work that one read has brought for the workers.
    batch: Vec<(Work, usize)>,
    /// The rates of the client, if they are limited.
    throttle: Option<Box<Throttle>>,
    /// Messages, events and bytes that have not been counted yet.
    messages: u32,
    events: u32,
    bytes: u32,
    /// The session, as it is counted while it is open.
    counted: Option<Counted>,
}

impl SessionHandler for ServerSessionHandler {
    fn opened(&mut self) {
        let (handle, form) = (self.connection.handle(), self.connection.form());
        let counters = &self.connection.inner.counters;
        self.counted = Some(counters.opened(handle.transport(), handle.revision(), form));
        if self.connection.handle().revision() == Revision::V3 {
            // In Socket.IO 4 the server joins a client to `/`, unasked.
            self.on_connect(ROOT, Body::text(""));
            let _ = self.push_batch(Instant::now());
        }
    }

    fn upgraded(&mut self) {
        let counters = &self.connection.inner.counters;
        if let Some(counted) = &mut self.counted {
            counters.changed(counted, |it| it.set_transport(Transport::WebSocket));
        }
        for socket in &self.sockets {
            let watch = &self.connection.inner.watch;
            watch.record(|| Record::Upgraded(socket.clone()));
        }
    }

    fn receive(&mut self, now: Instant, message: Data<'_>) -> Control {
        self.messages += 1;
        let length = match &message {
            // One read has no more than a message may have.
            Data::Text(text) => text.len() as u32,
            Data::Binary(bytes) => bytes.len() as u32,
        };
        self.bytes = self.bytes.saturating_add(length);
        if let Some(throttle) = &mut self.throttle {
            throttle.note(length as usize);
        }
        if let Some(form) = self
            .decoder
            .detect(&self.connection.inner.config.parser, &message)
        {
            self.connection.form.store(form as u8, Ordering::Relaxed);
            let counters = &self.connection.inner.counters;
            if let Some(counted) = &mut self.counted {
                counters.changed(counted, |it| it.set_form(form));
            }
        }
        let (sockets, max_namespaces) = (&self.sockets, self.max_namespaces);
        // Found once for a packet, unless attachments come between its head and its end.
        let place = Cell::new(None);
        let admits = |kind, namespace: &str| {
            place.set(position(sockets, namespace));
            let phase = place.get().map(|at| sockets[at].phase());
            // Those that were refused make room for others.
            let counts = |socket: &&Socket| socket.phase() != SocketPhase::Refused;
            let is_full = sockets.len() >= max_namespaces
                && sockets.iter().filter(counts).count() >= max_namespaces;
            check_phase(phase, is_full, kind)
        };
        match self.decoder.receive(now, message, admits) {
            Ok(Some(Arrival::Packet(received))) => {
                let at = place
                    .get()
                    .or_else(|| position(sockets, &received.namespace));
                self.on_packet(at, received);
                Control::Continue
            }
            Ok(Some(Arrival::Dropped(dropped))) => {
                self.drop_packet(&dropped);
                Control::Continue
            }
            Ok(None) => Control::Continue,
            Err(invalid) => self.protocol_error(invalid),
        }
    }

    fn kept(&self) -> usize {
        self.decoder.kept()
    }

    fn on_read_complete(&mut self, now: Instant) -> Control {
        self.count();
        let flow = self.push_batch(now);
        let Some(throttle) = &mut self.throttle else {
            return flow;
        };
        match throttle.check(now) {
            Pace::Fine => flow,
            Pace::TooFast => Control::PauseReading,
            Pace::Hopeless(limit) => {
                self.connection.limits().refused.note(limit);
                log::warn!(target: "socketio", "{}: closed, it has been faster than it may for a minute (Limits::{limit})", self.connection.handle().label());
                Control::Close(Reason::ServerDisconnect)
            }
        }
    }

    fn discard(&mut self) -> usize {
        // Whoever has gone is still to be forgotten, and its disconnect handler to be run.
        let is_end = |item: &Work| matches!(item, Work::Disconnect(..));
        self.connection.queue.discard(is_end)
    }

    fn waiting_bytes(&self) -> usize {
        let callbacks = self.connection.callbacks.get();
        self.connection.queue.bytes() + callbacks.map_or(0, |it| it.bytes())
    }

    fn before_close(&mut self) {
        for socket in &self.sockets {
            socket.request_disconnect();
        }
    }

    fn close(&mut self, now: Instant, reason: Reason) {
        self.count();
        if let Some(counted) = self.counted.take() {
            self.connection.inner.counters.closed(counted, reason);
        }
        // The end of the session is the end of reading, too.
        let _ = self.push_batch(now);
        for socket in self.sockets.drain(..) {
            socket.lose(reason);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let resume_at = self.throttle.as_ref().and_then(|it| it.resume_at);
        let times = [
            self.decoder.next_timeout(),
            self.connect_by,
            self.acks_at,
            resume_at,
        ];
        times.into_iter().flatten().min()
    }

    fn timeout(&mut self, now: Instant) -> Control {
        if let Some(throttle) = &mut self.throttle
            && throttle.resume_at.take_if(|at| *at <= now).is_some()
        {
            self.connection.handle().resume();
        }
        if let Err(invalid) = self.decoder.on_timeout(now) {
            return self.protocol_error(invalid);
        }
        if self.connect_by.is_some_and(|at| at <= now) {
            self.connect_by = None;
            let joined = self.has_joined
                || self
                    .sockets
                    .iter()
                    .any(|it| it.phase() != SocketPhase::Refused);
            if !joined {
                return self.protocol_error(PacketError::NeverConnected);
            }
        }
        self.acks_at = None;
        for socket in &self.sockets {
            let (expired, next) = socket.acks().take_expired(now);
            self.acks_at = [self.acks_at, next].into_iter().flatten().min();
            for run in expired {
                let waiting = AckWaiter::Callback { run, deadline: now };
                ack::complete(&self.connection, waiting, Err(Error::Timeout));
            }
        }
        Control::Continue
    }

    fn may_resume(&self) -> bool {
        self.throttle
            .as_ref()
            .is_none_or(|it| it.resume_at.is_none())
    }

    fn queue_state(&self) -> QueueState {
        self.connection.queue.queue_state()
    }
}

/// Returns why a packet may not come now, if so.
fn check_phase(phase: Option<SocketPhase>, is_full: bool, kind: Kind) -> Result<(), PacketError> {
    match (kind, phase) {
        (Kind::ConnectError, _) => Err(PacketError::Direction),
        // One while the first is undecided changes nothing (see `ServerSessionHandler::on_packet`).
        (Kind::Connect, Some(SocketPhase::Accepting | SocketPhase::Connected)) => {
            Err(PacketError::ConnectedTwice)
        }
        (Kind::Connect, None) if is_full => Err(PacketError::TooManyNamespaces),
        (Kind::Connect, _) => Ok(()),
        (_, Some(SocketPhase::Accepting | SocketPhase::Connected)) => Ok(()),
        // The server has disconnected it, and the client cannot know yet.
        (_, Some(SocketPhase::Disconnected)) => Ok(()),
        (Kind::Disconnect, Some(SocketPhase::Connecting)) => Ok(()),
        (_, Some(SocketPhase::Connecting | SocketPhase::Refused) | None) => {
            Err(PacketError::NotConnected)
        }
    }
}

fn position(sockets: &[Socket], namespace: &str) -> Option<usize> {
    let mut sockets = sockets.iter();
    sockets.position(|socket| socket.namespace_name() == namespace)
}

impl ServerSessionHandler {
    /// Counts what has come since the last time.
    fn count(&mut self) {
        let counts = (self.messages, self.events, self.bytes);
        if counts.0 > 0 {
            let counters = &self.connection.inner.counters;
            counters.received(counts.0.into(), counts.1.into(), counts.2.into());
            (self.messages, self.events, self.bytes) = (0, 0, 0);
        }
    }

    /// Hands what one read has brought to the workers.
    fn push_batch(&mut self, now: Instant) -> Control {
        self.decoder.on_traffic(now);
        let limit = self.connection.limits().inbox_bytes;
        // Answers that callbacks are slow to take are held back as events are.
        let callbacks = self.connection.callbacks.get();
        let is_full = callbacks.is_some_and(|callbacks| {
            callbacks.bytes() >= limit && callbacks.arm_low_watermark(limit / 2)
        });
        if self.batch.is_empty() {
            return if is_full {
                Control::PauseReading
            } else {
                Control::Continue
            };
        }
        let batch = std::mem::take(&mut self.batch);
        let sockets = &self.sockets;
        let awaits = || sockets.iter().any(|socket| !socket.acks().is_empty());
        let pushed = {
            let connection = &self.connection;
            connection
                .queue
                .push_or_pause(&connection.handle, batch, awaits)
        };
        if pushed.schedule {
            let turn = Arc::clone(&self.connection) as Arc<dyn Runnable>;
            self.connection.workers.schedule(turn);
        }
        if pushed.over_hard_limit {
            let handle = self.connection.handle();
            if handle.may_log(log::Level::Warn) {
                log::warn!(target: "socketio", "{}: its events come faster than they are handled", handle.label());
            }
            for waiting in self
                .sockets
                .iter()
                .flat_map(|socket| socket.acks().take_calls())
            {
                let what = "bytes of this client's events wait";
                self.connection.limits().refused.note("inbox_bytes");
                let error = LimitExceeded::new(what, "inbox_bytes", limit).into();
                ack::complete(&self.connection, waiting, Err(error));
            }
        }
        if is_full {
            Control::PauseReading
        } else {
            pushed.flow
        }
    }

    fn protocol_error(&self, invalid: PacketError) -> Control {
        if let Some(limit) = invalid.limit() {
            self.connection.limits().refused.note(limit);
        }
        log::info!(target: "socketio", "{}: closed, {invalid}", self.connection.handle().label());
        Control::Close(Reason::ServerDisconnect)
    }

    fn on_packet(&mut self, at: Option<usize>, received: IncomingPacket<'_>) {
        match (received.kind, at) {
            // The official client sends two when a namespace is connected twice in a row.
            (Kind::Connect, Some(at)) if self.sockets[at].phase() == SocketPhase::Connecting => {}
            (Kind::Connect, _) => self.on_connect(&received.namespace, received.body),
            (Kind::Event, Some(at)) => self.on_event(at, received),
            (Kind::Ack, Some(at)) => {
                let answer = AckResponse(received.body.into());
                self.on_ack(at, received.id, Ok(answer));
            }
            (Kind::Disconnect, Some(at)) => {
                let socket = self.sockets.swap_remove(at);
                self.has_joined |= socket.phase() != SocketPhase::Connecting;
                if socket.end() {
                    // Behind what came before it, and counted as that is.
                    let item = Work::Disconnect(socket, Reason::ClientDisconnect);
                    self.batch.push((item, EVENT_OVERHEAD_BYTES));
                }
            }
            _ => {}
        }
    }

    fn on_ack(&self, at: usize, id: Option<u64>, answer: Result<AckResponse, Error>) {
        match id.and_then(|id| self.sockets[at].acks().take(id)) {
            Some(waiting) => ack::complete(&self.connection, waiting, answer),
            None => {
                log::debug!(target: "socketio", "{}: an acknowledgement that nobody waits for", self.connection.handle().label());
            }
        }
    }

    /// Drops a packet over a limit: the connection goes on without it.
    fn drop_packet(&self, dropped: &Dropped<'_>) {
        if let Some(limit) = dropped.why.limit() {
            self.connection.limits().refused.note(limit);
        }
        let handle = self.connection.handle();
        if handle.may_log(log::Level::Warn) {
            log::warn!(target: "socketio", "{}: a packet for {:?} is dropped: {} (Limits)", handle.label(), dropped.namespace, dropped.why);
        }
        let at = position(&self.sockets, &dropped.namespace);
        match (dropped.kind, at) {
            (Kind::Ack, Some(at)) => {
                self.on_ack(
                    at,
                    dropped.id,
                    Err(dropped.why.limit_exceeded(self.connection.limits()).into()),
                );
            }
            (Kind::Connect, _) => {
                let data = match dropped.why {
                    PacketError::Namespace => "{\"message\":\"Invalid namespace\"}",
                    _ => "{\"message\":\"Invalid auth\"}",
                };
                let kind = Kind::ConnectError;
                let wire = self.connection.wire();
                let refusal = encode::packet_frames(wire, kind, &dropped.namespace, data);
                let _ = handle.send(&refusal);
            }
            _ => {}
        }
    }

    fn on_event(&mut self, at: usize, received: IncomingPacket<'_>) {
        let socket = &self.sockets[at];
        // `42` names no event, and there is nobody left to hear one.
        let (Some(name), true) = (received.name, socket.is_connected()) else {
            return;
        };
        self.events += 1;
        let bytes = received.body.len() + EVENT_OVERHEAD_BYTES;
        let event = Event::new(socket.as_source(), name, received.body, received.id);
        let peer = socket.clone();
        if self.batch.capacity() == 0 {
            // A read has several events, as a rule.
            self.batch.reserve(INITIAL_BATCH_LEN);
        }
        self.batch
            .push((Work::Event(IncomingEvent { event, peer }), bytes));
    }

    fn on_connect(&mut self, namespace: &str, auth: Body<'_>) {
        let inner = &self.connection.inner;
        let known = inner.handlers.look(|it| it.contains(namespace)) || inner.config.namespaces.include(namespace)
            // Whether one of them lets it in is the program's to say, on a worker.
            || !inner.patterns.read().is_empty();
        let sid = known.then(|| self.connection.new_sid(namespace)).flatten();
        let Some(sid) = sid else {
            let handle = self.connection.handle();
            if handle.may_log(log::Level::Info) {
                log::info!(target: "socketio", "{}: there is no namespace {namespace:?} for clients", handle.label());
            }
            let data = "{\"message\":\"Invalid namespace\"}";
            let wire = self.connection.wire();
            let refusal = encode::packet_frames(wire, Kind::ConnectError, namespace, data);
            let _ = self.connection.handle().send(&refusal);
            return;
        };
        // One that has left, or was refused, makes room for its successor.
        let is_full = self.sockets.len() >= self.max_namespaces;
        self.sockets.retain(|socket| {
            let is_refused = is_full && socket.phase() == SocketPhase::Refused;
            socket.namespace_name() != namespace && !is_refused
        });
        let connection = Arc::clone(&self.connection);
        let socket = inner.spaces.insert(namespace, &sid, |space| {
            Socket::new(Arc::clone(&sid), space, connection)
        });
        self.sockets.push(socket.clone());
        let auth = Auth::from(auth);
        let bytes = auth.size() + CONNECT_OVERHEAD_BYTES;
        self.batch.push((Work::Connect(socket, auth), bytes));
    }
}
