//! The program's handlers, and which of them an event is for.

use super::service::ErasedService;
use super::socket::Socket;
use crate::dispatch::{Encoded, HandlerError, Incoming, Refused, StoredConnect, StoredEvent};
use crate::reason::Reason;
use std::collections::HashMap;
use std::sync::Arc;

/// The namespace whose handlers serve those that have none of their own.
pub(crate) const ANY: &str = "*";

#[derive(Clone, Default)]
pub(crate) struct Handlers {
    namespaces: HashMap<Arc<str>, Set>,
}

type OnDisconnect = dyn Fn(&Socket, Reason) + Send + Sync;

/// The handlers of one namespace.
#[derive(Clone, Default)]
pub(crate) struct Set {
    pub(crate) events: HashMap<String, StoredEvent<Socket>>,
    pub(crate) any: Option<StoredEvent<Socket>>,
    pub(crate) connect: Option<StoredConnect<Socket>>,
    pub(crate) disconnect: Option<Arc<OnDisconnect>>,
    pub(crate) service: Option<Arc<dyn ErasedService>>,
}

impl Handlers {
    pub(crate) fn set(&mut self, namespace: &str) -> &mut Set {
        self.namespaces.entry(Arc::from(namespace)).or_default()
    }

    /// Whether a namespace has handlers of its own.
    pub(crate) fn know(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// Functions before services, and in both the namespace itself before `*` (python-socketio's
    /// order). Gives whether anybody was there.
    pub(crate) fn event(
        &self,
        incoming: &Incoming<Socket>,
        answer: &mut Encoded,
    ) -> Result<bool, HandlerError> {
        let name = incoming.event.name();
        let sets = self.sets(incoming.event.namespace());
        for set in sets.into_iter().flatten() {
            if let Some(handler) = set.events.get(name).or(set.any.as_ref()) {
                handler(incoming, answer)?;
                return Ok(true);
            }
        }
        for set in sets.into_iter().flatten() {
            if let Some(service) = &set.service {
                service.event(incoming, answer)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn connect(&self, socket: &Socket, auth: &str) -> Result<(), Refused> {
        let sets = self.sets(socket.namespace());
        for set in sets.into_iter().flatten() {
            if let Some(handler) = &set.connect {
                return handler(socket, auth);
            }
        }
        let service = sets
            .into_iter()
            .flatten()
            .find_map(|set| set.service.as_ref());
        service.map_or(Ok(()), |service| service.connect(socket, auth))
    }

    pub(crate) fn disconnect(&self, socket: &Socket, reason: Reason) {
        let sets = self.sets(socket.namespace());
        for set in sets.into_iter().flatten() {
            if let Some(handler) = &set.disconnect {
                return handler(socket, reason);
            }
        }
        let service = sets
            .into_iter()
            .flatten()
            .find_map(|set| set.service.as_ref());
        if let Some(service) = service {
            service.disconnect(socket, reason);
        }
    }

    fn sets(&self, namespace: &str) -> [Option<&Set>; 2] {
        [self.namespaces.get(namespace), self.namespaces.get(ANY)]
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_set()
            .entries(self.namespaces.keys())
            .finish()
    }
}
