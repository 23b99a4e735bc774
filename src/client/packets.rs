//! Handling of a server's packets, on the I/O thread.
//!
//! In a circle with `session_handler`: the methods of one `ClientSessionHandler` stand where their
//! subject is.

use super::core::ClientItem;
use super::namespace::NamespaceConnection;
use super::session_handler::{ClientSessionHandler, EVENT_OVERHEAD_BYTES};
use super::state::{ClientPhase, CoreState, JoinState};
#[cfg(feature = "msgpack")]
use crate::data::Value;
use crate::error::ConnectError;
#[cfg(feature = "msgpack")]
use crate::handlers::Auth;
use crate::handlers::ack;
use crate::handlers::{AckResponse, Event, EventSource};
use crate::protocol::engineio::Revision;
use crate::protocol::socketio::{Body, Dropped, IncomingPacket, Kind, ROOT, json};
use crate::reason::Reason;
use log::Level;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// An event that came before its namespace was connected.
pub(super) struct EarlyEvent {
    namespace: Box<str>,
    name: Box<str>,
    body: Body<'static>,
    id: Option<u64>,
}

/// Bytes of events that may wait for their namespace.
const MAX_EARLY_BYTES: usize = 1_000_000;

impl ClientSessionHandler {
    pub(super) fn on_packet(&mut self, now: Instant, received: IncomingPacket<'_>) {
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
            (Kind::Connect, None) => self.on_connect(now, &received),
            (Kind::ConnectError, None) => {
                let error = read_refusal(&text_of(received.body));
                self.on_refused(now, &received.namespace, error);
            }
            (Kind::Disconnect, None) => {
                let error = ConnectError::new("the server disconnected it before it was connected");
                self.on_refused(now, &received.namespace, error);
            }
            (Kind::Disconnect, Some(at)) => {
                self.leave(at, Reason::ServerDisconnect);
                let shared = Arc::clone(&self.shared);
                let mut state = shared.state.lock();
                if let Some(entry) = state.entry(&received.namespace) {
                    entry.state = JoinState::Disconnected;
                }
                let is_last = state.phase == ClientPhase::Open && self.joined.is_empty();
                if is_last && shared.config.reconnection.on_disconnect {
                    // As if the connection had been lost; the namespaces are wanted again.
                    state.rejoin_all();
                    if let Some(session) = &state.session {
                        session.close(Reason::TransportClose);
                    }
                } else {
                    self.on_namespace_answered(now, &mut state);
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
            let entry = state.entry(namespace);
            entry.is_some_and(|entry| matches!(entry.state, JoinState::Pending))
        };
        if !is_pending {
            log::debug!(target: "socketio", "an event for {namespace:?}, which is not connected");
            return;
        }
        let bytes = received.body.len() + EVENT_OVERHEAD_BYTES;
        if self.early_bytes + bytes > MAX_EARLY_BYTES {
            if self.shared.log_limit.admits("client") {
                log::warn!(target: "socketio", "an event for {namespace:?} is dropped: it came before the server's CONNECT, and {MAX_EARLY_BYTES} bytes of such events wait already");
            }
            return;
        }
        self.early_bytes += bytes;
        self.early.push(EarlyEvent {
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
        let own: Vec<EarlyEvent> = own;
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
    pub(super) fn forget_early(&mut self) {
        self.early = Vec::new();
        self.early_bytes = 0;
    }

    /// Drops a packet over a limit: the connection goes on without it.
    pub(super) fn drop_packet(&mut self, dropped: &Dropped<'_>) {
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
                .limit_exceeded(&self.shared.config.receive_limits)
                .into();
            ack::complete(&self.shared, waiting, Err(error));
        }
    }

    /// Handles the server's acceptance of a namespace.
    fn on_connect(&mut self, now: Instant, received: &IncomingPacket<'_>) {
        #[derive(serde::Deserialize)]
        struct ConnectPayload {
            sid: String,
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        let Some(session) = state.session.clone() else {
            return;
        };
        let max_payload = state.max_payload;
        let Some(entry) = state.entry(&received.namespace) else {
            self.note(
                Level::Debug,
                format!(
                    "the server connects {:?}, which nobody asked for",
                    received.namespace
                ),
            );
            return;
        };
        if !matches!(entry.state, JoinState::Pending) {
            return;
        }
        let content = json::read::<ConnectPayload>(&text_of(received.body.clone()));
        let sid = match (session.revision(), content) {
            (Revision::V4, Ok(ConnectPayload { sid })) => sid,
            // Clients of Socket.IO 4 know their ids without being told.
            (Revision::V3, _) if &*entry.name == ROOT => session.sid().to_owned(),
            (Revision::V3, _) => format!("{}#{}", entry.name, session.sid()),
            (Revision::V4, Err(_)) => {
                // Version 3 of the server brought it; before, pings go the other way, too.
                let message = "the server's CONNECT has no sid: it speaks Socket.IO version 2 (Engine.IO 3): ConnectOptions::protocol lets a client do so";
                self.note(Level::Error, message.into());
                self.join_by = None;
                state.failure = Some(ConnectError::new(message).of_another_generation());
                return session.close(Reason::ClientDisconnect);
            }
        };
        let name = Arc::clone(&entry.name);
        let joined = Arc::new(NamespaceConnection::new(
            name,
            &sid,
            session,
            max_payload,
            shared.config.outgoing_attachments,
            &shared.config.parser,
        ));
        entry.state = JoinState::Connected(Arc::clone(&joined));
        shared.changed.notify_all();
        // The handlers of an attempt that was ended meanwhile still see both ends of it.
        self.push(ClientItem::Connect(Arc::clone(&joined.namespace)));
        self.joined.push(Arc::clone(&joined));
        self.deliver_early(&joined.namespace);
        self.flush_offline(&mut state, &joined);
        self.on_namespace_answered(now, &mut state);
    }

    /// Sends what was emitted without a connection, in its order.
    fn flush_offline(&mut self, state: &mut CoreState, joined: &Arc<NamespaceConnection>) {
        for event in state.offline.take(&joined.namespace) {
            let waiting = match event.id {
                None => None,
                // One that nobody waits for any more is not sent either.
                Some(id) => match state.offline.acks.take(id) {
                    Some(waiting) => Some((id, waiting)),
                    None => continue,
                },
            };
            match (joined.check_frames(&event.frames.0), waiting) {
                (Ok(()), None) => drop(joined.session.send(&event.frames)),
                (Ok(()), Some((id, waiting))) => {
                    // As many as could be held can be awaited.
                    if let Ok(Some(deadline)) = joined.acks.insert(id, waiting, usize::MAX) {
                        self.handle.wake_at(deadline);
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

    /// Handles the server's refusal of a namespace.
    fn on_refused(&mut self, now: Instant, namespace: &str, error: ConnectError) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        let Some(entry) = state.entry(namespace) else {
            return;
        };
        if !matches!(entry.state, JoinState::Pending) {
            return;
        }
        entry.state = JoinState::Refused(error.clone());
        let name = Arc::clone(&entry.name);
        self.push(ClientItem::ConnectError(name, error));
        self.on_namespace_answered(now, &mut state);
    }
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

/// Returns the content of a CONNECT_ERROR: an object with a message and data, or only a message.
fn read_refusal(text: &str) -> ConnectError {
    #[derive(serde::Deserialize)]
    struct ConnectErrorPayload {
        message: String,
        data: Option<serde_json::Value>,
    }
    if let Ok(content) = json::read::<ConnectErrorPayload>(text) {
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
