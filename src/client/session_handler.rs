//! The I/O thread's end of a client: what becomes of its connections and packets.
//!
//! In a circle with `core`, for the same reason as is written there.

use super::core::{ClientCore, ClientItem};
use super::namespace::NamespaceConnection;
use super::state::{ClientPhase, ConnectOutcome, CoreState, JoinState, NamespaceEntry};
use crate::data::Value;
use crate::engineio::client::{AttemptHandler, ClientHandle};
use crate::engineio::{Control, SessionHandle, SessionHandler};
use crate::error::{ConnectError, Error};
#[cfg(feature = "msgpack")]
use crate::handlers::Auth;
use crate::handlers::ack;
use crate::handlers::{AckResponse, AckWaiter, Event, EventSource, encode};
use crate::parser::incoming::PacketDecoder;
use crate::pool::QueueState;
use crate::protocol::engineio::{Data, OpenPacket, Revision};
use crate::protocol::socketio::{
    Arrival, Body, Dropped, IncomingPacket, Kind, PeerRole, ROOT, Text, json,
};
use crate::reason::Reason;
use crate::util::percent::encode_percent;
use crate::util::random;
use log::Level;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that an event counts for in an inbox besides its text.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// Time that a client whose handlers are behind waits at least before it looks at them again.
const MIN_WAIT: Duration = Duration::from_millis(10);

pub(super) struct ClientSessionHandler {
    shared: Arc<ClientCore>,
    line: ClientHandle,
    /// The attempt that has led to the session.
    attempt: u32,
    /// Reason why the session closes, if a request has failed.
    failure: Option<ConnectError>,
    link: PacketDecoder,
    /// The namespaces that are connected.
    joined: Vec<Arc<NamespaceConnection>>,
    /// Time to try again, unless there was another attempt after this one.
    retry: Option<(Instant, u32)>,
    /// Moment when the server must have answered for another namespace.
    join_by: Option<Instant>,
    /// Moment when the next acknowledgement may be overdue.
    acks_at: Option<Instant>,
    /// Work that one read has brought for the workers.
    batch: Vec<(ClientItem, usize)>,
    /// Events of namespaces that the server has not answered for: python's servers send what a
    /// connect handler emits before their CONNECT.
    early: Vec<Early>,
    early_bytes: usize,
    /// Records that are written once no lock is held: loggers are the program's.
    notes: Vec<(Level, String)>,
}

/// An event that came before its namespace was connected.
struct Early {
    namespace: Box<str>,
    name: Box<str>,
    body: Body<'static>,
    id: Option<u64>,
}

/// Bytes of events that may wait for their namespace.
const MAX_EARLY: usize = 1_000_000;

impl ClientSessionHandler {
    pub(super) fn build(shared: &Arc<ClientCore>, line: &ClientHandle) -> Box<dyn AttemptHandler> {
        Box::new(ClientSessionHandler {
            shared: Arc::clone(shared),
            line: line.clone(),
            attempt: 0,
            failure: None,
            link: new_link(shared, Revision::V4),
            joined: Vec::new(),
            retry: None,
            join_by: None,
            acks_at: None,
            batch: Vec::new(),
            early: Vec::new(),
            early_bytes: 0,
            notes: Vec::new(),
        })
    }

    fn note(&mut self, level: Level, text: String) {
        self.notes.push((level, text));
    }

    /// Writes the records that were noted. No lock may be held.
    fn write_notes(&mut self) {
        for (level, text) in std::mem::take(&mut self.notes) {
            log::log!(target: "socketio", level, "{text}");
        }
    }

    fn push(&mut self, item: ClientItem) {
        let bytes = match &item {
            ClientItem::ConnectError(_, error) => error.size(),
            _ => 0,
        };
        self.batch.push((item, bytes + EVENT_OVERHEAD_BYTES));
    }

    /// Hands over what has happened.
    fn flush(&mut self) -> Control {
        if self.batch.is_empty() {
            return Control::Continue;
        }
        self.shared.place(std::mem::take(&mut self.batch))
    }

    /// An attempt has failed: the next one comes after a delay, or none.
    fn schedule_retry(&mut self, now: Instant, state: &mut CoreState, error: ConnectError) {
        // Without an attempt there was a loss, which has been said.
        if state.phase != ClientPhase::Open {
            // The text may be a server's.
            let error = error.to_string();
            self.note(
                Level::Info,
                format!("not connected: {}", error.escape_debug()),
            );
        }
        state.session = None;
        state.failure = None;
        if error.is_of_another_generation() && state.switches() {
            self.note(
                Level::Info,
                format!("trying again with Engine.IO {}", state.revision.number()),
            );
            state.phase = ClientPhase::Connecting;
            self.retry = Some((now, state.attempt));
            self.shared.changed.notify_all();
            return;
        }
        // What is the program's own mistake is not mended by trying again; once it has been connected,
        // a function may give something better the next time.
        let is_mistake = error.is_invalid() && state.outcome.is_none();
        let may_persist = self
            .shared
            .config
            .reconnection
            .allows(state.backoff.tried());
        let persists = state.retries && !is_mistake && may_persist;
        let delay = persists.then(|| state.backoff.next(random::fraction()));
        match delay {
            Some(delay) => {
                self.note(Level::Debug, format!("trying again in {delay:?}"));
                let attempt = state.backoff.tried();
                for space in &state.spaces {
                    let name = Arc::clone(&space.name);
                    self.push(ClientItem::ReconnectAttempt(name, attempt, delay));
                }
                state.phase = ClientPhase::Connecting;
                self.retry = Some((now + delay, state.attempt));
            }
            None => {
                if state.retries && !is_mistake {
                    self.give_up(state);
                }
                state.decide(ConnectOutcome::Failed(error));
                self.set_idle(state);
            }
        }
        self.shared.changed.notify_all();
    }

    fn set_idle(&mut self, state: &mut CoreState) {
        state.phase = ClientPhase::Idle;
        self.push(ClientItem::Ended);
    }

    fn give_up(&mut self, state: &mut CoreState) {
        self.note(Level::Warn, "the attempts to reconnect are used up".into());
        for space in &state.spaces {
            self.push(ClientItem::ReconnectFailed(Arc::clone(&space.name)));
        }
        for waiting in state.held.clear() {
            ack::complete(&self.shared, waiting, Err(Error::Disconnected));
        }
    }

    /// Takes a namespace out of those that are connected.
    fn leave(&mut self, at: usize, reason: Reason) {
        let joined = self.joined.swap_remove(at);
        joined.leave();
        for waiting in joined.acks.close() {
            ack::complete(&self.shared, waiting, Err(Error::Disconnected));
        }
        self.push(ClientItem::Disconnect(
            Arc::clone(&joined.namespace),
            reason,
        ));
    }

    /// The server has answered for a namespace, or has been waited for long enough.
    fn check_namespaces(&mut self, now: Instant, state: &mut CoreState) {
        if state.phase != ClientPhase::Joining {
            // Without `wait`, a connection that leads nowhere ends here.
            let is_in_use =
                |step: &JoinState| matches!(step, JoinState::Pending | JoinState::Connected(_));
            if state.phase == ClientPhase::Open
                && !state.spaces.iter().any(|it| is_in_use(&it.step))
            {
                self.shared.end(state);
            }
            return;
        }
        if !state.is_resolved() {
            self.join_by = Some(now + self.wait_timeout(state));
            return;
        }
        self.join_by = None;
        match state.refusal() {
            Some(error) => {
                // All or nothing; `close` decides what comes next.
                state.failure = Some(error);
                if let Some(session) = &state.session {
                    session.close(Reason::ClientDisconnect);
                }
            }
            None => {
                state.backoff.reset();
                state.has_switched = false;
                state.phase = ClientPhase::Open;
                state.failure = None;
                state.retries = self.shared.config.reconnection.enabled;
                state.decide(ConnectOutcome::Connected);
                self.shared.changed.notify_all();
                let connected = |step: &JoinState| matches!(step, JoinState::Connected(_));
                if !state.spaces.iter().any(|it| connected(&it.step)) {
                    self.shared.end(state);
                }
            }
        }
    }

    /// Joins and leaves the namespaces that the program has named since.
    fn change_namespaces(&mut self, state: &mut CoreState) {
        for (name, joins) in std::mem::take(&mut state.changes) {
            let Some(session) = state.session.clone() else {
                return;
            };
            let at = self.joined.iter().position(|it| it.namespace == name);
            let is_pending = state
                .space(&name)
                .is_some_and(|it| matches!(it.step, JoinState::Pending));
            match (joins, at) {
                (true, None) if !is_pending => {
                    if state.space(&name).is_none() {
                        state.spaces.push(NamespaceEntry::new(&name));
                    }
                    let auth = state.auth_of_session.clone();
                    if let Some(space) = state.space(&name) {
                        space.step = JoinState::Pending;
                        self.send_connect(&session, &name, &auth);
                    }
                }
                (false, Some(at)) => {
                    let wire = self.shared.wire();
                    let packet = encode::packet_frames(wire, Kind::Disconnect, &name, "");
                    let _ = session.send(&packet);
                    self.leave(at, Reason::ClientDisconnect);
                    if let Some(space) = state.space(&name) {
                        space.step = JoinState::Disconnected;
                    }
                }
                _ => {}
            }
        }
        // Whoever waits for the handlers must find them in the inbox.
        let _ = self.flush();
    }

    /// Asks the server to join a namespace.
    fn send_connect(&self, session: &SessionHandle, name: &str, auth: &str) {
        let wire = self.shared.wire();
        let connect = match session.revision() {
            Revision::V4 => encode::packet_frames(wire, Kind::Connect, name, auth),
            // The server does that by itself.
            Revision::V3 if name == ROOT => return,
            Revision::V3 => {
                let name = format!("{name}{}", query_of(auth));
                encode::packet_frames(wire, Kind::Connect, &name, "")
            }
        };
        let _ = session.send(&connect);
    }

    fn wait_timeout(&self, state: &CoreState) -> std::time::Duration {
        let wanted = state.options.as_ref().map(|it| it.wait_timeout);
        let wanted = wanted.unwrap_or_default();
        if state.retries {
            // Nobody waits for it, and a server that comes back is slow.
            return wanted.max(self.shared.config.network.request_timeout);
        }
        wanted
    }

    fn take(&mut self, now: Instant, received: IncomingPacket<'_>) {
        let at = self
            .joined
            .iter()
            .position(|joined| *joined.namespace == *received.namespace);
        match (received.kind, at) {
            (Kind::Event, Some(at)) => self.on_event(at, received),
            (Kind::Event, None) => self.keep_early(received),
            (Kind::Ack, Some(at)) => {
                let acks = &self.joined[at].acks;
                let Some(waiting) = received.id.and_then(|id| acks.take(id)) else {
                    log::debug!(target: "socketio", "an acknowledgement that nobody waits for");
                    return;
                };
                let answer = AckResponse(received.body.into());
                ack::complete(&self.shared, waiting, Ok(answer));
            }
            (Kind::Connect, None) => self.connected(now, &received),
            (Kind::ConnectError, None) => self.refused(now, &received),
            (Kind::Disconnect, Some(at)) => {
                self.leave(at, Reason::ServerDisconnect);
                let shared = Arc::clone(&self.shared);
                let mut state = shared.state.lock();
                if let Some(space) = state.space(&received.namespace) {
                    space.step = JoinState::Disconnected;
                }
                let is_last = state.phase == ClientPhase::Open && self.joined.is_empty();
                if is_last && shared.config.reconnection.on_disconnect {
                    // As if the connection had been lost; the namespaces are wanted again.
                    state.rejoin_all();
                    if let Some(session) = &state.session {
                        session.close(Reason::TransportClose);
                    }
                } else {
                    self.check_namespaces(now, &mut state);
                    if state.phase == ClientPhase::Open && self.joined.is_empty() {
                        self.shared.end(&mut state);
                    }
                }
            }
            _ => {
                log::debug!(target: "socketio", "a packet for {:?}, which is not connected", received.namespace);
            }
        }
    }

    fn on_event(&mut self, at: usize, received: IncomingPacket<'_>) {
        // `42` names no event.
        let Some(name) = received.name else {
            return;
        };
        self.push_event(at, name, received.body, received.id);
    }

    fn push_event(&mut self, at: usize, name: Cow<'_, str>, body: Body<'_>, id: Option<u64>) {
        let bytes = body.len() + EVENT_OVERHEAD_BYTES;
        let peer = Arc::clone(&self.joined[at]) as Arc<dyn EventSource>;
        let event = Event::new(peer, name, body, id);
        self.batch.push((ClientItem::Event(event), bytes));
    }

    /// Keeps an event of a namespace that is being connected, until it is.
    fn keep_early(&mut self, received: IncomingPacket<'_>) {
        let Some(name) = received.name else {
            return;
        };
        let namespace = &*received.namespace;
        let is_pending = {
            let mut state = self.shared.state.lock();
            let space = state.space(namespace);
            space.is_some_and(|space| matches!(space.step, JoinState::Pending))
        };
        if !is_pending {
            log::debug!(target: "socketio", "an event for {namespace:?}, which is not connected");
            return;
        }
        let bytes = received.body.len() + EVENT_OVERHEAD_BYTES;
        if self.early_bytes + bytes > MAX_EARLY {
            if self.shared.log_limit.admits("client") {
                log::warn!(target: "socketio", "an event for {namespace:?} is dropped: it came before the server's CONNECT, and {MAX_EARLY} bytes such wait");
            }
            return;
        }
        self.early_bytes += bytes;
        self.early.push(Early {
            namespace: namespace.into(),
            name: name.into(),
            body: received.body.into_owned(),
            id: received.id,
        });
    }

    /// Delivers what came early for a namespace that is connected now.
    fn deliver_early(&mut self, namespace: &str) {
        let (own, others) = std::mem::take(&mut self.early)
            .into_iter()
            .partition(|early| &*early.namespace == namespace);
        self.early = others;
        let own: Vec<Early> = own;
        let Some(at) = self
            .joined
            .iter()
            .position(|it| &*it.namespace == namespace)
        else {
            return;
        };
        for early in own {
            self.early_bytes -= early.body.len() + EVENT_OVERHEAD_BYTES;
            self.push_event(at, Cow::Owned(early.name.into()), early.body, early.id);
        }
    }

    /// Forgets what came early in a session that has ended.
    fn forget_early(&mut self) {
        self.early = Vec::new();
        self.early_bytes = 0;
    }

    /// A packet over a limit: the connection goes on without it.
    fn drop_packet(&mut self, dropped: &Dropped<'_>) {
        if self.shared.log_limit.admits("client") {
            log::warn!(target: "socketio", "a packet for {:?} is dropped: {} (ReceiveLimits)", dropped.namespace, dropped.why);
        }
        let joined = self
            .joined
            .iter()
            .find(|it| *it.namespace == *dropped.namespace);
        if let (Kind::Ack, Some(joined), Some(id)) = (dropped.kind, joined, dropped.id)
            && let Some(waiting) = joined.acks.take(id)
        {
            let error = dropped
                .why
                .exceeds(&self.shared.config.receive_limits)
                .into();
            ack::complete(&self.shared, waiting, Err(error));
        }
    }

    /// The server has let a namespace in.
    fn connected(&mut self, now: Instant, received: &IncomingPacket<'_>) {
        #[derive(serde::Deserialize)]
        struct PacketContent {
            sid: String,
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        let Some(session) = state.session.clone() else {
            return;
        };
        let max_payload = state.max_payload;
        let Some(space) = state.space(&received.namespace) else {
            self.note(
                Level::Debug,
                format!(
                    "the server connects {:?}, which nobody asked for",
                    received.namespace
                ),
            );
            return;
        };
        if !matches!(space.step, JoinState::Pending) {
            return;
        }
        let content = json::read::<PacketContent>(&text_of(received.body.clone()));
        let sid = match (session.revision(), content) {
            (Revision::V4, Ok(PacketContent { sid })) => sid,
            // Clients of Socket.IO 4 know their ids without being told.
            (Revision::V3, _) if &*space.name == ROOT => session.sid().to_owned(),
            (Revision::V3, _) => format!("{}#{}", space.name, session.sid()),
            (Revision::V4, Err(_)) => {
                // Version 3 of the server brought it; before, pings go the other way, too.
                let message = "the server's CONNECT has no sid: it speaks Socket.IO version 2 (Engine.IO 3): ConnectOptions::protocol lets a client do so";
                self.note(Level::Error, message.into());
                self.join_by = None;
                state.failure = Some(ConnectError::new(message).of_another_generation());
                return session.close(Reason::ClientDisconnect);
            }
        };
        let name = Arc::clone(&space.name);
        let joined = Arc::new(NamespaceConnection::new(
            name,
            &sid,
            session,
            max_payload,
            shared.config.outgoing_attachments,
            &shared.config.parser,
        ));
        space.step = JoinState::Connected(Arc::clone(&joined));
        shared.changed.notify_all();
        // The handlers of an attempt that was ended meanwhile still see both ends of it.
        self.push(ClientItem::Connect(Arc::clone(&joined.namespace)));
        self.joined.push(Arc::clone(&joined));
        self.deliver_early(&joined.namespace);
        self.flush_offline(&mut state, &joined);
        self.check_namespaces(now, &mut state);
    }

    /// Sends what was emitted without a connection, in its order.
    fn flush_offline(&mut self, state: &mut CoreState, joined: &Arc<NamespaceConnection>) {
        for event in state.held.take(&joined.namespace) {
            let waiting = match event.id {
                None => None,
                // One that nobody waits for any more is not sent either.
                Some(id) => match state.held.acks.take(id) {
                    Some(waiting) => Some((id, waiting)),
                    None => continue,
                },
            };
            match (joined.check_frames(&event.frames.0), waiting) {
                (Ok(()), None) => drop(joined.session.send(&event.frames)),
                (Ok(()), Some((id, waiting))) => {
                    // As many as could be held can be awaited.
                    if let Ok(Some(deadline)) = joined.acks.insert(id, waiting, usize::MAX) {
                        self.line.wake_at(deadline);
                    }
                    let _ = joined.session.send(&event.frames);
                }
                (Err(error), Some((_, waiting))) => {
                    ack::complete(&self.shared, waiting, Err(error));
                }
                (Err(error), None) => {
                    self.note(Level::Error, format!("an event was not sent: {error}"));
                }
            }
        }
    }

    /// The server has refused a namespace.
    fn refused(&mut self, now: Instant, received: &IncomingPacket<'_>) {
        let error = read_refusal(&text_of(received.body.clone()));
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        let Some(space) = state.space(&received.namespace) else {
            return;
        };
        if !matches!(space.step, JoinState::Pending) {
            return;
        }
        space.step = JoinState::Refused(error.clone());
        let name = Arc::clone(&space.name);
        self.push(ClientItem::ConnectError(name, error));
        self.check_namespaces(now, &mut state);
    }
}

impl ClientSessionHandler {
    fn on_failed(&mut self, now: Instant, attempt: u32, error: ConnectError) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        if state.attempt != attempt || state.phase != ClientPhase::Connecting {
            return;
        }
        for space in &state.spaces {
            if !matches!(space.step, JoinState::Disconnected) {
                self.push(ClientItem::ConnectError(
                    Arc::clone(&space.name),
                    error.clone(),
                ));
            }
        }
        self.schedule_retry(now, &mut state, error);
        // Whoever waits for the last handler must find it in the inbox. The session is over.
        let _ = self.flush();
    }

    fn on_closed(&mut self, now: Instant, reason: Reason) {
        let failure = self.failure.take();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        if state.attempt != self.attempt {
            return;
        }
        self.join_by = None;
        self.link = new_link(&shared, Revision::V4);
        self.forget_early();
        // The server may be quicker in ending what the program has ended.
        let reason = match state.phase {
            ClientPhase::Closing => Reason::ClientDisconnect,
            // A server that shuts down closes Engine.IO's session, over polling by a packet: that is
            // a loss. What ends a client on purpose is Socket.IO's DISCONNECT (see `take`).
            _ if reason == Reason::ServerDisconnect => Reason::TransportClose,
            _ => reason,
        };
        while let Some(at) = self.joined.len().checked_sub(1) {
            self.leave(at, reason);
        }
        let pending = state.pending();
        state.leave_all();
        state.session = None;
        match state.phase {
            ClientPhase::Joining => {
                let lost = || ConnectError::new("the connection was lost before it was complete");
                let error = state.failure.take().or(failure).unwrap_or_else(lost);
                for name in pending {
                    self.push(ClientItem::ConnectError(name, error.clone()));
                }
                self.schedule_retry(now, &mut state, error);
            }
            ClientPhase::Open if state.retries && is_loss(reason) => {
                let why = failure.map_or_else(String::new, |error| {
                    format!(": {}", error.to_string().escape_debug())
                });
                self.note(
                    Level::Info,
                    format!("the connection is lost: {reason}{why}"),
                );
                let lost = ConnectError::new(reason.as_str());
                self.schedule_retry(now, &mut state, lost);
            }
            ClientPhase::Closing if state.reconnects => {
                state.reconnects = false;
                self.note(Level::Info, "connecting again, as the program wants".into());
                if !state
                    .spaces
                    .iter()
                    .any(|it| !matches!(it.step, JoinState::Disconnected))
                {
                    // The server has just disconnected all of them.
                    state.rejoin_all();
                }
                state.phase = ClientPhase::Connecting;
                self.retry = Some((now, state.attempt));
                shared.changed.notify_all();
            }
            _ => {
                self.set_idle(&mut state);
                shared.changed.notify_all();
            }
        }
        // Whoever waits for the last handler must find it in the inbox. The session is over.
        let _ = self.flush();
    }
}

impl AttemptHandler for ClientSessionHandler {
    fn fail(&mut self, now: Instant, attempt: u32, error: ConnectError) {
        self.on_failed(now, attempt, error);
        self.write_notes();
    }

    fn open(
        &mut self,
        now: Instant,
        attempt: u32,
        session: &Arc<SessionHandle>,
        open: &OpenPacket,
    ) {
        self.attempt = attempt;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        if state.attempt != attempt || state.phase != ClientPhase::Connecting {
            // It was given up a moment ago, and its end is on the way.
            return;
        }
        self.link = new_link(&shared, session.revision());
        state.session = Some(Arc::clone(session));
        state.max_payload = usize::try_from(open.max_payload).unwrap_or(usize::MAX);
        state.round_trip = None;
        // An attempt that was under way is what the program wants.
        state.reconnects = false;
        let auth = std::mem::take(&mut state.auth);
        state.changes.clear();
        for space in &mut state.spaces {
            if !matches!(space.step, JoinState::Disconnected) {
                space.step = JoinState::Pending;
                self.send_connect(session, &space.name, &auth);
            }
        }
        state.auth_of_session = auth;
        let waits = state.retries || state.options.as_ref().is_none_or(|it| it.wait);
        if waits {
            state.phase = ClientPhase::Joining;
            self.join_by = Some(now + self.wait_timeout(&state));
        } else {
            state.phase = ClientPhase::Open;
            state.failure = None;
            state.retries = shared.config.reconnection.enabled;
            state.decide(ConnectOutcome::Connected);
            state.backoff.reset();
        }
        shared.changed.notify_all();
    }

    fn json_at(&self, packet: &str) -> usize {
        Text::json_at(packet)
    }

    fn explain(&mut self, failure: ConnectError) {
        self.failure = Some(failure);
    }

    fn measured(&mut self, round_trip: Duration) {
        let mut state = self.shared.state.lock();
        if state.attempt == self.attempt {
            state.round_trip = Some(round_trip);
        }
    }
}

impl SessionHandler for ClientSessionHandler {
    fn receive(&mut self, now: Instant, message: Data<'_>) -> Control {
        // What comes for a namespace that is not connected is dropped, but as a whole.
        match self.link.receive(now, message, |_, _| Ok(())) {
            Ok(Some(Arrival::Packet(received))) => {
                self.take(now, received);
                self.write_notes();
                Control::Continue
            }
            Ok(Some(Arrival::Dropped(dropped))) => {
                self.drop_packet(&dropped);
                Control::Continue
            }
            Ok(None) => Control::Continue,
            Err(invalid) => {
                log::warn!(target: "socketio", "disconnected, the server sent: {invalid}");
                Control::Close(Reason::TransportError)
            }
        }
    }

    fn on_read_complete(&mut self, now: Instant) -> Control {
        self.link.on_traffic(now);
        match self.flush() {
            Control::Close(Reason::ClientDisconnect) => {
                self.shared.end(&mut self.shared.state.lock());
                Control::Continue
            }
            Control::Close(reason) => {
                let limit = self.shared.config.backlog;
                log::error!(target: "socketio", "disconnected: more bytes of events wait for their handlers than twice the {limit} that may (max_backlog)");
                Control::Close(reason)
            }
            flow => flow,
        }
    }

    fn before_close(&mut self) {
        for joined in &self.joined {
            let packet =
                encode::packet_frames(self.shared.wire(), Kind::Disconnect, &joined.namespace, "");
            joined.leave();
            let _ = joined.session.send(&packet);
        }
    }

    fn close(&mut self, now: Instant, reason: Reason) {
        self.on_closed(now, reason);
        self.write_notes();
    }

    fn next_timeout(&self) -> Option<Instant> {
        let times = [
            self.retry.map(|(at, _)| at),
            self.join_by,
            self.acks_at,
            self.link.next_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    fn timeout(&mut self, now: Instant) -> Control {
        let late = self.link.on_timeout(now);
        let shared = Arc::clone(&self.shared);
        if let Some((at, _)) = &mut self.retry
            && *at <= now
            && shared.has_backlog()
        {
            *at = now + shared.config.reconnection.delay.max(MIN_WAIT);
        }
        let mut state = shared.state.lock();
        if state.phase == ClientPhase::Connecting && std::mem::take(&mut state.reconnects) {
            // The program does not want to wait.
            self.retry = self.retry.map(|(_, attempt)| (now, attempt));
        }
        if let Some((_, attempt)) = self.retry.take_if(|(at, _)| *at <= now)
            && state.phase == ClientPhase::Connecting
            && state.attempt == attempt
        {
            shared.start_attempt(&mut state, &self.line);
        }
        if self.join_by.take_if(|at| *at <= now).is_some() && state.phase == ClientPhase::Joining {
            let names = state.pending().join(", ");
            let message = format!("the server did not answer in time for the namespaces {names}");
            state.failure = Some(ConnectError::new(message).timed_out());
            if let Some(session) = &state.session {
                session.close(Reason::ClientDisconnect);
            }
        }
        self.change_namespaces(&mut state);
        let (mut expired, mut next) = state.held.acks.take_expired(now);
        drop(state);
        for joined in &self.joined {
            let (late, at) = joined.acks.take_expired(now);
            expired.extend(late);
            next = [next, at].into_iter().flatten().min();
        }
        self.acks_at = next;
        for run in expired {
            let waiting = AckWaiter::Callback { run, deadline: now };
            ack::complete(&self.shared, waiting, Err(Error::Timeout));
        }
        match late {
            Ok(()) => Control::Continue,
            Err(invalid) => {
                log::warn!(target: "socketio", "disconnected: {invalid}");
                Control::Close(Reason::TransportError)
            }
        }
    }

    fn queue_state(&self) -> QueueState {
        self.shared.queue.queue_state()
    }
}

fn new_link(shared: &ClientCore, revision: Revision) -> PacketDecoder {
    let limits = Arc::clone(&shared.config.receive_limits);
    PacketDecoder::new(&shared.config.parser, limits, PeerRole::Client, revision)
}

/// Returns `auth` as the query of a namespace, behind its question mark: text as it is, other values as
/// JSON.
fn query_of(auth: &str) -> String {
    let mut query = String::new();
    let Ok(Value::Object(fields)) = Value::from_json(auth) else {
        return query;
    };
    for (name, value) in &fields {
        query.push(if query.is_empty() { '?' } else { '&' });
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        encode_percent(name, &mut query);
        query.push('=');
        encode_percent(&text, &mut query);
    }
    query
}

/// Returns the data of a packet that is no event as JSON text, or nothing.
fn text_of(body: Body<'_>) -> String {
    match body {
        Body::Json(text, _) => text.into_owned(),
        #[cfg(feature = "msgpack")]
        Body::Msgpack(bytes) if bytes.is_empty() => String::new(),
        #[cfg(feature = "msgpack")]
        body => {
            let value = Auth::from(body).decode::<Value>().unwrap_or_default();
            value.to_json().unwrap_or_default()
        }
    }
}

/// Returns whether a connection that ended so is worth another one.
fn is_loss(reason: Reason) -> bool {
    reason != Reason::ClientDisconnect
}

/// Returns the content of a CONNECT_ERROR: an object with a message and data, or only a message.
fn read_refusal(text: &str) -> ConnectError {
    #[derive(serde::Deserialize)]
    struct PacketContent {
        message: String,
        data: Option<serde_json::Value>,
    }
    if let Ok(content) = json::read::<PacketContent>(text) {
        let error = ConnectError::new(content.message);
        return match content.data {
            Some(data) => error.with_data(data.to_string()),
            None => error,
        };
    }
    match json::read::<String>(text) {
        Ok(message) => ConnectError::new(message),
        Err(_) => ConnectError::new("the server refused the connection").with_data(text),
    }
}
