//! The manager of a server that is alone.

use super::{Broadcast, LocalNode, Manager};
use crate::error::Error;
use std::sync::{Arc, OnceLock, Weak};

/// The manager of a server that is alone: everybody is here. The default.
///
/// ```
/// use socketio::Server;
/// use socketio::manager::MemoryManager;
///
/// // What a server has by default.
/// let io = Server::builder().manager(MemoryManager::default()).build();
/// ```
#[derive(Default)]
pub struct MemoryManager {
    local: OnceLock<Weak<dyn LocalNode>>,
}

impl MemoryManager {
    /// Creates a manager for one server.
    pub fn new() -> MemoryManager {
        MemoryManager::default()
    }

    fn local(&self) -> Result<Arc<dyn LocalNode>, Error> {
        self.local
            .get()
            .and_then(Weak::upgrade)
            .ok_or(Error::Disconnected)
    }
}

impl Manager for MemoryManager {
    fn start(&self, local: Weak<dyn LocalNode>) {
        // A second server would be one too many for a manager that knows no others.
        assert!(
            self.local.set(local).is_ok(),
            "a MemoryManager is for one server"
        );
    }

    fn is_single_node(&self) -> bool {
        true
    }

    fn emit(&self, broadcast: &Broadcast) -> Result<(), Error> {
        self.local()?.emit(broadcast).map(|_| ())
    }

    fn enter_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        self.local()?.enter_room(namespace, sid, room)
    }

    fn leave_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        self.local()?.leave_room(namespace, sid, room)
    }

    fn close_room(&self, namespace: &str, room: &str) -> Result<(), Error> {
        self.local()?.close_room(namespace, room)
    }

    fn disconnect(&self, namespace: &str, sid: &str) {
        if let Ok(local) = self.local() {
            local.disconnect(namespace, sid);
        }
    }
}

impl std::fmt::Debug for MemoryManager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MemoryManager")
    }
}
