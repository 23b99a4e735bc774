//! The handlers that a server has besides those of events.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

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
        let decided = self.resolve(
            socket.namespace_name(),
            |own| own.connect.as_ref(),
            |function| function(socket, auth),
            |service| service.connect(socket, auth),
        );
        decided.unwrap_or(Ok(()))
    }

    pub(crate) fn disconnect(&self, socket: &Socket, reason: Reason) {
        self.resolve(
            socket.namespace_name(),
            |own| own.disconnect.as_ref(),
            |function| function(socket, reason),
            |service| service.disconnect(socket, reason),
        );
    }
}
