//! The namespaces that clients are on, and their clients.

use super::socket::Socket;
use crate::manager::Rooms;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// One namespace's clients.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) name: Arc<str>,
    pub(crate) rooms: Rooms<Socket>,
}

/// All namespaces that have clients.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    spaces: RwLock<HashMap<Arc<str>, Arc<Space>>>,
}

impl Spaces {
    pub(crate) fn get(&self, namespace: &str) -> Option<Arc<Space>> {
        self.spaces.read().get(namespace).cloned()
    }

    pub(crate) fn socket(&self, namespace: &str, sid: &str) -> Option<Socket> {
        self.get(namespace)?.rooms.find(sid)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.spaces
            .read()
            .keys()
            .map(|name| name.to_string())
            .collect()
    }

    /// Takes in a client that is made with its namespace.
    pub(crate) fn insert(
        &self,
        namespace: &str,
        sid: &Arc<str>,
        make: impl FnOnce(Arc<Space>) -> Socket,
    ) -> Socket {
        if let Some(space) = self.spaces.read().get(namespace) {
            // Under the lock, so that the namespace is not forgotten meanwhile.
            let socket = make(Arc::clone(space));
            space.rooms.insert(Arc::clone(sid), socket.clone());
            return socket;
        }
        let mut spaces = self.spaces.write();
        let name: Arc<str> = Arc::from(namespace);
        let space = spaces.entry(Arc::clone(&name)).or_insert_with(|| {
            Arc::new(Space {
                name,
                rooms: Rooms::new(),
            })
        });
        let socket = make(Arc::clone(space));
        space.rooms.insert(Arc::clone(sid), socket.clone());
        socket
    }

    /// Forgets a client, and with the last one its namespace: clients may name any, and what they
    /// name must not stay.
    pub(crate) fn remove(&self, space: &Space, sid: &str) {
        space.rooms.remove(sid);
        if space.rooms.is_empty() {
            let mut spaces = self.spaces.write();
            if space.rooms.is_empty() {
                spaces.remove(&space.name);
            }
        }
    }
}
