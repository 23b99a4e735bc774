//! The handlers that a server has besides those of events.

use super::service::ErasedService;
use super::socket::Socket;
use crate::handlers::{Refused, StoredConnect, registry};
use crate::reason::Reason;
use std::sync::Arc;

pub(crate) use crate::handlers::registry::ANY;

pub(crate) type Handlers = registry::Handlers<Socket, Lifecycle, dyn ErasedService>;
pub(crate) type Set = registry::Set<Socket, Lifecycle, dyn ErasedService>;

type OnDisconnect = dyn Fn(&Socket, Reason) + Send + Sync;

/// Handlers that are called when clients come and go.
#[derive(Clone, Default)]
pub(crate) struct Lifecycle {
    pub(crate) connect: Option<StoredConnect<Socket>>,
    pub(crate) disconnect: Option<Arc<OnDisconnect>>,
}

impl Handlers {
    pub(crate) fn connect(&self, socket: &Socket, auth: &str) -> Result<(), Refused> {
        let mut sets = self.sets(socket.namespace_name());
        if let Some(handler) = sets.clone().find_map(|set| set.more.connect.as_ref()) {
            return handler(socket, auth);
        }
        let service = sets.find_map(|set| set.service.as_ref());
        service.map_or(Ok(()), |service| service.connect(socket, auth))
    }

    pub(crate) fn disconnect(&self, socket: &Socket, reason: Reason) {
        let mut sets = self.sets(socket.namespace_name());
        if let Some(handler) = sets.clone().find_map(|set| set.more.disconnect.as_ref()) {
            return handler(socket, reason);
        }
        if let Some(service) = sets.find_map(|set| set.service.as_ref()) {
            service.disconnect(socket, reason);
        }
    }
}
