//! The namespaces that clients are on, and their clients.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

use super::rooms::RoomIndex;
use super::socket::Socket;
use crate::data::Value;
use crate::util::sync::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// One namespace's clients.
#[derive(Debug)]
pub(crate) struct NamespaceState<M = Socket> {
    pub(crate) name: Arc<str>,
    pub(crate) rooms: RoomIndex<M>,
}

type Admits = dyn Fn(&str, &Value) -> bool + Send + Sync;

/// How the name of a pattern begins, under which its handlers are registered: those of namespaces
/// begin with a slash.
pub(crate) const PATTERN: &str = "pattern ";

/// Returns whether this is the name of a pattern.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.starts_with(PATTERN)
}

/// A rule about namespaces that have no handlers of their own. See
/// [`Server::of_matching`](crate::Server::of_matching).
#[derive(Clone)]
pub(crate) struct Pattern {
    /// The name under which its handlers are registered: no client can ask for it.
    pub(crate) name: Arc<str>,
    pub(crate) admits: Arc<Admits>,
}

/// All namespaces that have clients.
#[derive(Debug)]
pub(crate) struct NamespaceRegistry<M = Socket> {
    spaces: RwLock<HashMap<Arc<str>, Arc<NamespaceState<M>>>>,
}

impl<M: Clone + PartialEq> NamespaceRegistry<M> {
    pub(crate) fn get(&self, namespace: &str) -> Option<Arc<NamespaceState<M>>> {
        self.spaces.read().get(namespace).cloned()
    }

    pub(crate) fn socket(&self, namespace: &str, sid: &str) -> Option<M> {
        self.get(namespace)?.rooms.find(sid)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.spaces
            .read()
            .keys()
            .map(|name| name.to_string())
            .collect()
    }

    /// Returns a number of each namespace, by their names.
    pub(crate) fn counts(&self, count: impl Fn(&RoomIndex<M>) -> usize) -> Vec<(String, u64)> {
        let spaces = self.spaces.read();
        let mut counts: Vec<_> = spaces
            .iter()
            .map(|(name, space)| (name.to_string(), count(&space.rooms) as u64))
            .collect();
        drop(spaces);
        counts.sort_unstable();
        counts
    }

    /// Takes in a client that is made with its namespace.
    pub(crate) fn insert(
        &self,
        namespace: &str,
        sid: &Arc<str>,
        make: impl FnOnce(Arc<NamespaceState<M>>) -> M,
    ) -> M {
        if let Some(space) = self.spaces.read().get(namespace) {
            // Under the lock, so that the namespace is not forgotten meanwhile.
            let socket = make(Arc::clone(space));
            space.rooms.insert(Arc::clone(sid), socket.clone());
            return socket;
        }
        let mut spaces = self.spaces.write();
        let name: Arc<str> = Arc::from(namespace);
        let space = spaces.entry(Arc::clone(&name)).or_insert_with(|| {
            Arc::new(NamespaceState {
                name,
                rooms: RoomIndex::new(),
            })
        });
        let socket = make(Arc::clone(space));
        space.rooms.insert(Arc::clone(sid), socket.clone());
        socket
    }

    /// Forgets a client, and with the last one its namespace: clients may name any, and what they
    /// name must not stay.
    pub(crate) fn remove(&self, space: &NamespaceState<M>, sid: &str, client: &M) {
        space.rooms.remove(sid, client);
        if space.rooms.is_empty() {
            let mut spaces = self.spaces.write();
            // Another of that name may have taken its place since.
            let is_there = spaces
                .get(&space.name)
                .is_some_and(|there| std::ptr::eq(&raw const **there, space));
            if is_there && space.rooms.is_empty() {
                spaces.remove(&space.name);
            }
        }
    }
}

impl<M> Default for NamespaceRegistry<M> {
    fn default() -> Self {
        NamespaceRegistry {
            spaces: RwLock::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_forgotten_with_its_last_client_and_never_with_another_s() {
        let spaces = NamespaceRegistry::<u8>::default();
        let join = |sid: &str| {
            let mut joined = None;
            spaces.insert("/n", &sid.into(), |space| {
                joined = Some(space);
                0
            });
            joined.expect("a namespace")
        };
        let first = join("1");
        spaces.remove(&first, "1", &0);
        assert!(spaces.names().is_empty());
        // A client that was refused and has gone is removed twice; meanwhile another has come.
        join("2");
        spaces.remove(&first, "1", &0);
        assert!(spaces.socket("/n", "2").is_some());
    }
}
