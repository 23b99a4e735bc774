//! State of a client's connection, and the events that wait for one.

use super::builder::Reconnection;
use super::namespace::NamespaceConnection;
use super::options::{ConnectOptions, Protocol};
use crate::engineio::{Frames, SessionHandle};
use crate::error::{ConnectError, Error, LimitExceeded};
use crate::handlers::{AckWaiter, PendingAcks};
use crate::protocol::engineio::Revision;
use crate::util::backoff::Backoff;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The one thing that the program's threads and the I/O thread share of a client.
pub(super) struct CoreState {
    pub(super) phase: ClientPhase,
    /// The number of the last attempt.
    pub(super) attempt: u32,
    pub(super) options: Option<Arc<ConnectOptions>>,
    /// Revision of Engine.IO that the server is asked for.
    pub(super) revision: Revision,
    /// It was changed since the last connection, as often as it may be.
    pub(super) has_switched: bool,
    /// The `auth` that the attempt sends: JSON text, or nothing.
    pub(super) auth: String,
    /// The one that the session has sent, for namespaces that are joined later.
    pub(super) auth_of_session: String,
    pub(super) session: Option<Arc<SessionHandle>>,
    /// Bytes of one message that the server takes.
    pub(super) max_payload: usize,
    /// Time that the server has taken to answer, if that was measured.
    pub(super) round_trip: Option<Duration>,
    /// The program wants another connection in the place of this one, or now.
    pub(super) reconnects: bool,
    pub(super) namespaces: Vec<NamespaceEntry>,
    /// Namespaces that are to be joined (true) or left, by the I/O thread.
    pub(super) changes: Vec<(Arc<str>, bool)>,
    /// True if an attempt that fails is followed by another one.
    pub(super) retries: bool,
    pub(super) backoff: Backoff,
    /// Reason why the attempt that is under way is failing.
    pub(super) failure: Option<ConnectError>,
    /// Number of times that the program has called `connect`.
    pub(super) connect_seq: u64,
    /// Outcome of the last call.
    pub(super) outcome: Option<ConnectOutcome>,
    pub(super) offline: OfflineBuffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientPhase {
    /// Neither connected nor trying.
    Idle,
    /// An attempt is under way, or the next one is waited for.
    Connecting,
    /// The server is reached, and the namespaces are being connected.
    Joining,
    /// As connected as was asked for.
    Open,
    /// The program has ended it, and the server is being told.
    Closing,
}

/// Outcome of a call of `connect`.
#[derive(Debug)]
pub(super) enum ConnectOutcome {
    Connected,
    Failed(ConnectError),
    /// The program has ended it before it was connected.
    Cancelled,
}

/// A namespace that was asked for.
#[derive(Debug)]
pub(super) struct NamespaceEntry {
    pub(super) name: Arc<str>,
    pub(super) state: JoinState,
}

impl NamespaceEntry {
    pub(super) fn new(name: &str) -> NamespaceEntry {
        NamespaceEntry {
            name: name.into(),
            state: JoinState::Pending,
        }
    }
}

#[derive(Debug)]
pub(super) enum JoinState {
    /// The server has not answered.
    Pending,
    Connected(Arc<NamespaceConnection>),
    Refused(ConnectError),
    /// The server has disconnected it, or the program has left it: it is not connected again.
    Disconnected,
}

/// Target of an event.
pub(super) enum SendTarget {
    Connected(Arc<NamespaceConnection>),
    /// To be kept until the namespace is connected.
    Buffer,
}

impl CoreState {
    pub(super) fn new(reconnection: Reconnection) -> CoreState {
        CoreState {
            phase: ClientPhase::Idle,
            attempt: 0,
            options: None,
            revision: Revision::V4,
            has_switched: false,
            auth: String::new(),
            auth_of_session: String::new(),
            session: None,
            max_payload: 0,
            round_trip: None,
            reconnects: false,
            namespaces: Vec::new(),
            changes: Vec::new(),
            retries: false,
            backoff: reconnection.backoff(),
            failure: None,
            connect_seq: 0,
            outcome: None,
            offline: OfflineBuffer::default(),
        }
    }

    /// Changes to the other revision of Engine.IO, if that was asked for and has not just been
    /// done.
    pub(super) fn try_switch_revision(&mut self) -> bool {
        let detects = |it: &Arc<ConnectOptions>| it.protocol == Protocol::Detect;
        if !self.options.as_ref().is_some_and(detects) || self.has_switched {
            return false;
        }
        self.has_switched = true;
        self.revision = match self.revision {
            Revision::V3 => Revision::V4,
            Revision::V4 => Revision::V3,
        };
        true
    }

    /// Decides the outcome, unless it is decided.
    pub(super) fn decide(&mut self, outcome: ConnectOutcome) {
        self.outcome.get_or_insert(outcome);
    }

    pub(super) fn entry(&mut self, namespace: &str) -> Option<&mut NamespaceEntry> {
        self.namespaces
            .iter_mut()
            .find(|entry| &*entry.name == namespace)
    }

    pub(super) fn joined(&self, namespace: &str) -> Option<&Arc<NamespaceConnection>> {
        let entry = self
            .namespaces
            .iter()
            .find(|entry| &*entry.name == namespace)?;
        match &entry.state {
            JoinState::Connected(joined) => Some(joined),
            _ => None,
        }
    }

    pub(super) fn route(
        &self,
        namespace: &str,
        offline_buffer: usize,
    ) -> Result<SendTarget, Error> {
        let entry = self
            .namespaces
            .iter()
            .find(|entry| &*entry.name == namespace);
        let is_up = matches!(self.phase, ClientPhase::Joining | ClientPhase::Open);
        match entry.map(|entry| &entry.state) {
            Some(JoinState::Connected(joined)) if is_up => {
                Ok(SendTarget::Connected(Arc::clone(joined)))
            }
            _ if self.phase == ClientPhase::Idle && offline_buffer > 0 => Ok(SendTarget::Buffer),
            Some(JoinState::Refused(_) | JoinState::Disconnected) | None if is_up => {
                Err(Error::BadNamespace(namespace.to_owned()))
            }
            // Nobody is trying to get a connection.
            _ if matches!(self.phase, ClientPhase::Idle | ClientPhase::Closing) => {
                Err(Error::Disconnected)
            }
            None | Some(JoinState::Disconnected) => Err(Error::BadNamespace(namespace.to_owned())),
            _ if offline_buffer > 0 => Ok(SendTarget::Buffer),
            _ if is_up => Err(Error::BadNamespace(namespace.to_owned())),
            _ => Err(Error::Disconnected),
        }
    }

    /// Returns whether the server has answered for all namespaces.
    pub(super) fn is_resolved(&self) -> bool {
        !self
            .namespaces
            .iter()
            .any(|entry| matches!(entry.state, JoinState::Pending))
    }

    /// Returns why the attempt has failed, if a namespace could not be connected.
    pub(super) fn refusal(&self) -> Option<ConnectError> {
        let refused = self
            .namespaces
            .iter()
            .filter_map(|entry| match &entry.state {
                JoinState::Refused(error) => Some((&entry.name, error)),
                _ => None,
            });
        let refused: Vec<_> = refused.collect();
        match refused.as_slice() {
            [] => None,
            [(_, error)] if self.namespaces.len() == 1 => Some(ConnectError::clone(error)),
            [(name, error)] => Some(ConnectError::clone(error).with_context(name)),
            several => {
                let data = several
                    .iter()
                    .map(|(name, error)| (name.to_string(), error.data()));
                let data: serde_json::Map<_, _> = data
                    .map(|(name, data)| (name, data.unwrap_or_default()))
                    .collect();
                let each: Vec<_> = several
                    .iter()
                    .map(|(name, error)| format!("{name} ({error})"))
                    .collect();
                let names = each.join(", ");
                let message = format!("one or more namespaces failed to connect: {names}");
                let data = serde_json::Value::Object(data).to_string();
                Some(ConnectError::new(message).with_data(data))
            }
        }
    }

    /// Marks what was connected to be connected again, with the next connection.
    pub(super) fn reset_joined(&mut self) {
        for entry in &mut self.namespaces {
            if matches!(entry.state, JoinState::Connected(_)) {
                entry.state = JoinState::Pending;
            }
        }
    }

    /// Marks all namespaces to be connected again, which the server has disconnected.
    pub(super) fn rejoin_all(&mut self) {
        for entry in &mut self.namespaces {
            entry.state = JoinState::Pending;
        }
    }

    /// Returns the namespaces that the server has not answered for.
    pub(super) fn pending(&self) -> Vec<Arc<str>> {
        let pending = self.namespaces.iter();
        let pending = pending.filter(|entry| matches!(entry.state, JoinState::Pending));
        pending.map(|entry| Arc::clone(&entry.name)).collect()
    }
}

/// Events that wait for a connection.
#[derive(Default)]
pub(super) struct OfflineBuffer {
    events: VecDeque<BufferedEvent>,
    bytes: usize,
    pub(super) acks: PendingAcks,
}

pub(super) struct BufferedEvent {
    pub(super) namespace: Arc<str>,
    pub(super) frames: Frames,
    /// Of the acknowledgement.
    pub(super) id: Option<u64>,
}

impl OfflineBuffer {
    pub(super) fn push(&mut self, event: BufferedEvent, limit: usize) -> Result<(), Error> {
        if self.bytes + event.frames.0.len() > limit {
            let what = "bytes of events wait for a connection";
            return Err(LimitExceeded::new(what, "offline_buffer", limit).into());
        }
        self.bytes += event.frames.0.len();
        self.events.push_back(event);
        Ok(())
    }

    /// Takes out what waits for a namespace.
    pub(super) fn take(&mut self, namespace: &str) -> Vec<BufferedEvent> {
        let events = std::mem::take(&mut self.events);
        let (taken, left): (Vec<_>, _) = events
            .into_iter()
            .partition(|event| &*event.namespace == namespace);
        self.events = left.into();
        self.bytes = self.events.iter().map(|event| event.frames.0.len()).sum();
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Forgets everything; returns who waits for answers.
    pub(super) fn clear(&mut self) -> Vec<AckWaiter> {
        self.events = VecDeque::new();
        self.bytes = 0;
        std::mem::take(&mut self.acks).close()
    }
}
