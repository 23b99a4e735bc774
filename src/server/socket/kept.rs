//! What the program keeps with a client: the user session, and handlers of this client alone.
//!
//! Its state is in `mod`: the methods of one `Socket` stand where their subject is.

use super::{Socket, SocketState};
use crate::handlers::handler::{BoxedHandler, boxed};
use crate::handlers::service::assert_not_reserved;
use crate::handlers::{Handler, IntoAck};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) struct OwnHandler {
    handler: BoxedHandler<Socket>,
    is_once: bool,
}

impl SocketState {
    /// Keeps a value of the user session; returns what is to be dropped.
    fn store_value<T: Any>(
        &mut self,
        session: Arc<dyn Any + Send + Sync>,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        if self.forgotten {
            // Nobody would drop it but an I/O thread.
            return Some(session);
        }
        let sessions = self.sessions.get_or_insert_default();
        match sessions.iter_mut().find(|it| (***it).is::<T>()) {
            Some(before) => Some(std::mem::replace(before, session)),
            None => {
                sessions.push(session);
                None
            }
        }
    }
}

impl Socket {
    /// Handles an event of this client alone, in the place of the handlers of its namespace. It,
    /// and what it captures, is dropped when the client has gone. See
    /// [`Namespace::on`](crate::Namespace::on).
    ///
    /// ```
    /// use socketio::{Server, Socket};
    ///
    /// let io = Server::new();
    /// io.on("begin", |socket: &Socket, name: String| {
    ///     socket.on("say", move |text: String| println!("{name}: {text}"));
    ///     socket.once("end", |socket: &Socket| socket.off("say"));
    /// });
    /// ```
    ///
    /// # Panics
    /// If the event's name is reserved: `connect`, `connect_error`, `disconnect`, `disconnecting`,
    /// `newListener` or `removeListener`.
    #[track_caller]
    pub fn on<S>(&self, event: &str, handler: impl Handler<Socket, S, Output: IntoAck>) {
        self.add(event, boxed(handler), false);
    }

    /// Handles the next event of this name, as [`on`](Socket::on) does, and is forgotten then, also
    /// if the event's arguments do not decode.
    ///
    /// # Panics
    /// If the event is reserved.
    #[track_caller]
    pub fn once<S>(&self, event: &str, handler: impl Handler<Socket, S, Output: IntoAck>) {
        self.add(event, boxed(handler), true);
    }

    /// Forgets the handler of [`on`](Socket::on) or [`once`](Socket::once).
    pub fn off(&self, event: &str) {
        let mut state = self.inner.state.lock();
        let before = state.own.as_mut().and_then(|own| own.remove(event));
        drop(state);
        drop(before);
    }

    #[track_caller]
    fn add(&self, event: &str, handler: BoxedHandler<Socket>, is_once: bool) {
        assert_not_reserved(event);
        let own = OwnHandler { handler, is_once };
        let mut state = self.inner.state.lock();
        let before = if state.forgotten {
            Some(own)
        } else {
            self.inner.has_own.store(true, Ordering::Release);
            let all = state.own.get_or_insert_default();
            all.insert(event.to_owned(), own)
        };
        drop(state);
        drop(before);
    }

    /// Returns whether it may have handlers of its own. Takes no lock.
    pub(in crate::server) fn has_own(&self) -> bool {
        self.inner.has_own.load(Ordering::Acquire)
    }

    /// Returns its own handler of an event; one for a single event is taken out.
    pub(in crate::server) fn own_handler(&self, event: &str) -> Option<BoxedHandler<Socket>> {
        let mut state = self.inner.state.lock();
        let all = state.own.as_mut()?;
        let own = all.get(event)?;
        if own.is_once {
            return all.remove(event).map(|own| own.handler);
        }
        Some(Arc::clone(&own.handler))
    }

    /// Returns the value of this type in the user session, if one was saved. One of another type
    /// alone, which may be a mistake, is told in the log (debug).
    pub fn session<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let session = self.find_session();
        if session.is_none() && self.inner.state.lock().sessions.is_some() {
            let wanted = std::any::type_name::<T>();
            log::debug!(target: "socketio", "{}: the user session has no {wanted}, but another type", self.sid());
        }
        session
    }

    fn find_session<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let state = self.inner.state.lock();
        let mut all = state.sessions.iter().flat_map(|it| it.iter());
        let found = all.find(|it| (***it).is::<T>()).cloned();
        drop(state);
        found.and_then(|session| session.downcast().ok())
    }

    /// Keeps a value in the user session until the client has gone: one of each type, in the place
    /// of the one of the same type that was kept. Each namespace of a client has a session of its
    /// own. Of a client that has gone the value is dropped at once.
    pub fn save_session<T: Any + Send + Sync>(&self, session: T) {
        let session: Arc<dyn Any + Send + Sync> = Arc::new(session);
        let mut state = self.inner.state.lock();
        let before = state.store_value::<T>(session);
        drop(state);
        // A user's type may do anything when it is dropped.
        drop(before);
    }

    /// Changes the value of a type in the user session, or the default one if there is none;
    /// returns what it is then. The function may be called again if another thread has changed it
    /// meanwhile.
    ///
    /// ```
    /// use socketio::{Server, Socket};
    ///
    /// #[derive(Clone, Default)]
    /// struct Visits(u32);
    ///
    /// let io = Server::new();
    /// io.on("visit", |socket: &Socket| {
    ///     socket.update_session(|visits: &mut Visits| visits.0 += 1).0
    /// });
    /// ```
    pub fn update_session<T>(&self, mut change: impl FnMut(&mut T)) -> Arc<T>
    where
        T: Any + Send + Sync + Clone + Default,
    {
        loop {
            let before = self.find_session::<T>();
            let mut changed = before.as_deref().cloned().unwrap_or_default();
            change(&mut changed);
            let changed = Arc::new(changed);
            let mut state = self.inner.state.lock();
            let mut all = state.sessions.iter().flat_map(|it| it.iter());
            let now = all.find(|it| (***it).is::<T>());
            let is_same = match (now, &before) {
                (Some(now), Some(before)) => {
                    std::ptr::addr_eq(Arc::as_ptr(now), Arc::as_ptr(before))
                }
                (now, before) => now.is_none() && before.is_none(),
            };
            if is_same {
                let replaced =
                    state.store_value::<T>(Arc::clone(&changed) as Arc<dyn Any + Send + Sync>);
                drop(state);
                drop(replaced);
                return changed;
            }
            drop(state);
        }
    }
}
