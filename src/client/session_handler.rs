//! The I/O thread's end of a client: what becomes of its connections.
//!
//! In a circle with `core`, for the same reason as is written there, and with `packets`: the methods
//! of one `ClientSessionHandler` stand where their subject is.

use super::core::{ClientCore, ClientItem};
use super::namespace::NamespaceConnection;
use super::packets::EarlyEvent;
use super::state::{ClientPhase, ConnectOutcome, CoreState, JoinState, NamespaceEntry};
use crate::data::Value;
use crate::engineio::client::{AttemptHandler, ClientHandle};
use crate::engineio::{Control, SessionHandle, SessionHandler};
use crate::error::{ConnectError, Error};
use crate::handlers::ack;
use crate::handlers::{AckWaiter, encode};
use crate::parser::incoming::PacketDecoder;
use crate::pool::QueueState;
use crate::protocol::engineio::{Data, OpenPacket, Revision};
use crate::protocol::socketio::{Arrival, DecoderSide, Kind, ROOT, Text};
use crate::reason::Reason;
use crate::util::percent::encode_percent;
use crate::util::random;
use log::Level;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that an event counts for in an inbox besides its text.
pub(super) const EVENT_OVERHEAD_BYTES: usize = 128;

/// Time that a client whose handlers are behind waits at least before it looks at them again.
const MIN_WAIT: Duration = Duration::from_millis(10);

pub(super) struct ClientSessionHandler {
    pub(super) shared: Arc<ClientCore>,
    pub(super) handle: ClientHandle,
    /// The attempt that has led to the session.
    attempt: u32,
    /// Reason why the session closes, if a request has failed.
    failure: Option<ConnectError>,
    decoder: PacketDecoder,
    /// The namespaces that are connected.
    pub(super) joined: Vec<Arc<NamespaceConnection>>,
    /// Time to try again, unless there was another attempt after this one.
    retry: Option<(Instant, u32)>,
    /// Moment when the server must have answered for another namespace.
    pub(super) join_by: Option<Instant>,
    /// Moment when the next acknowledgement may be overdue.
    acks_at: Option<Instant>,
    /// Work that one read has brought for the workers.
    pub(super) batch: Vec<(ClientItem, usize)>,
    /// Events of namespaces that the server has not answered for: python's servers send what a
    /// connect handler emits before their CONNECT.
    pub(super) early: Vec<EarlyEvent>,
    pub(super) early_bytes: usize,
    /// Records that are written once no lock is held: loggers are the program's.
    notes: Vec<(Level, String)>,
    /// Packets that are sent once no lock is held: codecs are the program's. Each is a CONNECT with
    /// its `auth`, or else a DISCONNECT, for a namespace.
    packets: Vec<(Arc<str>, Option<String>)>,
}

impl ClientSessionHandler {
    pub(super) fn build(
        shared: &Arc<ClientCore>,
        handle: &ClientHandle,
    ) -> Box<dyn AttemptHandler> {
        Box::new(ClientSessionHandler {
            shared: Arc::clone(shared),
            handle: handle.clone(),
            attempt: 0,
            failure: None,
            decoder: new_decoder(shared, Revision::V4),
            joined: Vec::new(),
            retry: None,
            join_by: None,
            acks_at: None,
            batch: Vec::new(),
            early: Vec::new(),
            early_bytes: 0,
            notes: Vec::new(),
            packets: Vec::new(),
        })
    }

    pub(super) fn note(&mut self, level: Level, text: String) {
        self.notes.push((level, text));
    }

    /// Writes the records that were noted. No lock may be held.
    fn write_notes(&mut self) {
        for (level, text) in std::mem::take(&mut self.notes) {
            log::log!(target: "socketio", level, "{text}");
        }
    }

    /// Sends the packets that were noted. No lock may be held.
    fn send_packets(&mut self, session: &SessionHandle) {
        for (name, connects) in std::mem::take(&mut self.packets) {
            let (wire, revision) = (self.shared.wire(), session.revision());
            let frames = match (connects, revision) {
                (None, _) => encode::packet_frames(wire, Kind::Disconnect, &name, ""),
                (Some(auth), Revision::V4) => {
                    encode::packet_frames(wire, Kind::Connect, &name, &auth)
                }
                // The server does that by itself.
                (Some(_), Revision::V3) if &*name == ROOT => continue,
                (Some(auth), Revision::V3) => {
                    let name = format!("{name}{}", query_of(&auth));
                    encode::packet_frames(wire, Kind::Connect, &name, "")
                }
            };
            let _ = session.send(&frames);
        }
    }

    pub(super) fn push(&mut self, item: ClientItem) {
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
        self.shared.push_items(std::mem::take(&mut self.batch))
    }

    /// Schedules the attempt after one that has failed, if there is to be one.
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
        if error.is_of_another_generation() && state.try_switch_revision() {
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
        let may_retry = self
            .shared
            .config
            .reconnection
            .allows(state.backoff.attempts());
        let retries = state.retries && !is_mistake && may_retry;
        let delay = retries.then(|| state.backoff.next(random::fraction()));
        match delay {
            Some(delay) => {
                self.note(Level::Debug, format!("trying again in {delay:?}"));
                let attempt = state.backoff.attempts();
                for entry in &state.namespaces {
                    let name = Arc::clone(&entry.name);
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
        for entry in &state.namespaces {
            self.push(ClientItem::ReconnectFailed(Arc::clone(&entry.name)));
        }
        for waiting in state.offline.clear() {
            ack::complete(&self.shared, waiting, Err(Error::Disconnected));
        }
    }

    /// Takes a namespace out of those that are connected.
    pub(super) fn leave(&mut self, at: usize, reason: Reason) {
        let joined = self.joined.swap_remove(at);
        joined.mark_gone();
        for waiting in joined.acks.close() {
            ack::complete(&self.shared, waiting, Err(Error::Disconnected));
        }
        self.push(ClientItem::Disconnect(
            Arc::clone(&joined.namespace),
            reason,
        ));
    }

    /// Handles the server's answer for a namespace: the connection may be open now, or at its end.
    pub(super) fn on_namespace_answered(&mut self, now: Instant, state: &mut CoreState) {
        if state.phase != ClientPhase::Joining {
            // Without `wait`, a connection that leads nowhere ends here.
            let is_in_use =
                |state: &JoinState| matches!(state, JoinState::Pending | JoinState::Connected(_));
            if state.phase == ClientPhase::Open
                && !state.namespaces.iter().any(|it| is_in_use(&it.state))
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
                let connected = |state: &JoinState| matches!(state, JoinState::Connected(_));
                if !state.namespaces.iter().any(|it| connected(&it.state)) {
                    self.shared.end(state);
                }
            }
        }
    }

    /// Joins and leaves the namespaces that the program has named since.
    fn change_namespaces(&mut self, state: &mut CoreState) {
        for (name, joins) in std::mem::take(&mut state.changes) {
            if state.session.is_none() {
                return;
            }
            let at = self.joined.iter().position(|it| it.namespace == name);
            let is_pending = state
                .entry(&name)
                .is_some_and(|it| matches!(it.state, JoinState::Pending));
            match (joins, at) {
                (true, None) if !is_pending => {
                    if state.entry(&name).is_none() {
                        state.namespaces.push(NamespaceEntry::new(&name));
                    }
                    let auth = state.auth_of_session.clone();
                    if let Some(entry) = state.entry(&name) {
                        entry.state = JoinState::Pending;
                        self.packets.push((name, Some(auth)));
                    }
                }
                (false, Some(at)) => {
                    self.packets.push((Arc::clone(&name), None));
                    self.leave(at, Reason::ClientDisconnect);
                    if let Some(entry) = state.entry(&name) {
                        entry.state = JoinState::Disconnected;
                    }
                }
                _ => {}
            }
        }
        // Whoever waits for the handlers must find them in the inbox.
        let _ = self.flush();
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
}

impl ClientSessionHandler {
    fn on_failed(&mut self, now: Instant, attempt: u32, error: ConnectError) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        if state.attempt != attempt || state.phase != ClientPhase::Connecting {
            return;
        }
        for entry in &state.namespaces {
            if !matches!(entry.state, JoinState::Disconnected) {
                self.push(ClientItem::ConnectError(
                    Arc::clone(&entry.name),
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
        // Made, and the one before dropped, without a lock: it may be the program's.
        let mut decoder = new_decoder(&shared, Revision::V4);
        let mut state = shared.state.lock();
        if state.attempt != self.attempt {
            return;
        }
        self.join_by = None;
        self.packets.clear();
        std::mem::swap(&mut self.decoder, &mut decoder);
        self.forget_early();
        // The server may be quicker in ending what the program has ended.
        let reason = match state.phase {
            ClientPhase::Closing => Reason::ClientDisconnect,
            // A server that shuts down closes Engine.IO's session, over polling by a packet: that is
            // a loss. What ends a client on purpose is Socket.IO's DISCONNECT (see `on_packet`).
            _ if reason == Reason::ServerDisconnect => Reason::TransportClose,
            _ => reason,
        };
        while let Some(at) = self.joined.len().checked_sub(1) {
            self.leave(at, reason);
        }
        let pending = state.pending();
        state.reset_joined();
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
                    .namespaces
                    .iter()
                    .any(|it| !matches!(it.state, JoinState::Disconnected))
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
        let mut decoder = new_decoder(&shared, session.revision());
        let mut state = shared.state.lock();
        if state.attempt != attempt || state.phase != ClientPhase::Connecting {
            // It was given up a moment ago, and its end is on the way.
            return;
        }
        std::mem::swap(&mut self.decoder, &mut decoder);
        state.session = Some(Arc::clone(session));
        state.max_payload = usize::try_from(open.max_payload).unwrap_or(usize::MAX);
        state.round_trip = None;
        // An attempt that was under way is what the program wants.
        state.reconnects = false;
        let auth = std::mem::take(&mut state.auth);
        state.changes.clear();
        for entry in &mut state.namespaces {
            if !matches!(entry.state, JoinState::Disconnected) {
                entry.state = JoinState::Pending;
                self.packets
                    .push((Arc::clone(&entry.name), Some(auth.clone())));
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
        drop(state);
        self.send_packets(session);
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
        match self.decoder.receive(now, message, |_, _| Ok(())) {
            Ok(Some(Arrival::Packet(received))) => {
                self.on_packet(now, received);
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
        self.decoder.on_traffic(now);
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
            joined.mark_gone();
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
            self.decoder.next_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    fn timeout(&mut self, now: Instant) -> Control {
        let late = self.decoder.on_timeout(now);
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
            shared.start_attempt(&mut state, &self.handle);
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
        let (mut expired, mut next) = state.offline.acks.take_expired(now);
        let session = state.session.clone();
        drop(state);
        if let Some(session) = session {
            self.send_packets(&session);
        }
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

fn new_decoder(shared: &ClientCore, revision: Revision) -> PacketDecoder {
    let limits = Arc::clone(&shared.config.receive_limits);
    PacketDecoder::new(&shared.config.parser, limits, DecoderSide::Client, revision)
}

/// Returns `auth` as the query of a namespace, behind its question mark: text as it is, other
/// values as JSON.
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

/// Returns whether a connection that ended so is worth another one.
fn is_loss(reason: Reason) -> bool {
    reason != Reason::ClientDisconnect
}
