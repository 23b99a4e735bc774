//! The program's handlers, and which of them an event is for.

use super::answer::HandlerError;
use super::event::IncomingEvent;
use super::handler::BoxedHandler;
use crate::data::EncodedArgs;
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The namespace whose handlers serve those that have none of their own.
pub(crate) const ANY: &str = "*";

/// The handlers of all namespaces: of events from `P`, what each side has besides in `M`, and types
/// as namespaces behind `V`.
pub(crate) struct Registry<P, M, V: ?Sized> {
    namespaces: HashMap<Arc<str>, NamespaceHandlers<P, M, V>, FxBuildHasher>,
}

/// The handlers of one namespace.
pub(crate) struct NamespaceHandlers<P, M, V: ?Sized> {
    /// Only the program adds to it, so that no peer can choose what collides.
    pub(crate) events: HashMap<String, BoxedHandler<P>, FxBuildHasher>,
    pub(crate) any: Option<BoxedHandler<P>>,
    pub(crate) lifecycle: M,
    pub(crate) service: Option<Arc<V>>,
}

/// Whose handlers serve a client: those of its namespace, or else those of the pattern that has let
/// it in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandlerScope<'a> {
    pub(crate) namespace: &'a str,
    /// The name under which the pattern's handlers are registered.
    pub(crate) pattern: Option<&'a str>,
}

impl<'a> From<&'a str> for HandlerScope<'a> {
    fn from(namespace: &'a str) -> Self {
        HandlerScope {
            namespace,
            pattern: None,
        }
    }
}

/// What a side has besides the handlers of events.
pub(crate) trait Lifecycle<P>: Default {
    /// Tells who sees all events.
    fn on_event(&self, incoming: &IncomingEvent<P>);

    /// Decides whether an event may go on to its handler.
    fn before_event(&self, incoming: &IncomingEvent<P>) -> Result<(), HandlerError>;
}

/// A namespace that is written as a type, whichever type that is.
pub(crate) trait HandlesEvents<P> {
    fn event(
        &self,
        incoming: &IncomingEvent<P>,
        answer: &mut EncodedArgs,
    ) -> Result<(), HandlerError>;
}

impl<P, M: Default, V: ?Sized> Registry<P, M, V> {
    /// Returns the handlers of a namespace, to change them.
    pub(crate) fn entry(&mut self, namespace: &str) -> &mut NamespaceHandlers<P, M, V> {
        self.namespaces.entry(Arc::from(namespace)).or_default()
    }

    /// Forgets the handlers of a namespace, and returns them.
    pub(crate) fn remove(&mut self, namespace: &str) -> Option<NamespaceHandlers<P, M, V>> {
        self.namespaces.remove(namespace)
    }

    /// Returns whether a namespace has handlers of its own.
    pub(crate) fn contains(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// Returns the namespaces that have handlers of their own.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.namespaces.keys().map(|name| &**name);
        names.filter(|name| *name != ANY)
    }

    /// Returns what serves a namespace: its own handlers, those of its pattern, then those of `*`.
    pub(crate) fn candidates<'a>(
        &'a self,
        scope: impl Into<HandlerScope<'a>>,
    ) -> impl DoubleEndedIterator<Item = &'a NamespaceHandlers<P, M, V>> + Clone {
        let scope = scope.into();
        let own = self.namespaces.get(scope.namespace);
        let pattern = scope.pattern.and_then(|name| self.namespaces.get(name));
        let candidates = [own, pattern, self.namespaces.get(ANY)];
        candidates.into_iter().flatten()
    }

    /// Calls what handles something other than an event: a function of the namespace, of its pattern
    /// or of `*`, or else a service. Returns what that returns, if anybody was there.
    pub(crate) fn resolve<'a, F: ?Sized + 'a, R>(
        &'a self,
        scope: impl Into<HandlerScope<'a>>,
        own: impl Fn(&'a M) -> Option<&'a Arc<F>>,
        function: impl FnOnce(&F) -> R,
        service: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let mut sets = self.candidates(scope);
        if let Some(found) = sets.clone().find_map(|set| own(&set.lifecycle)) {
            return Some(function(found));
        }
        sets.find_map(|set| set.service.as_deref()).map(service)
    }

    /// Tells who sees all events, and decides whether this one may go on: what is registered for `*`
    /// comes first.
    pub(crate) fn before_event(
        &self,
        scope: HandlerScope<'_>,
        incoming: &IncomingEvent<P>,
    ) -> Result<(), HandlerError>
    where
        M: Lifecycle<P>,
    {
        let mut sets = self.candidates(scope).rev();
        sets.clone()
            .for_each(|set| set.lifecycle.on_event(incoming));
        sets.try_for_each(|set| set.lifecycle.before_event(incoming))
    }

    /// Calls what handles an event: functions before services, and in both the namespace itself
    /// before its pattern and `*` (python-socketio's order). Returns whether anybody was there.
    pub(crate) fn event(
        &self,
        scope: HandlerScope<'_>,
        incoming: &IncomingEvent<P>,
        answer: &mut EncodedArgs,
    ) -> Result<bool, HandlerError>
    where
        V: HandlesEvents<P>,
    {
        let name = incoming.event.name();
        let sets = self.candidates(scope);
        for set in sets.clone() {
            if let Some(handler) = set.events.get(name).or(set.any.as_ref()) {
                handler(incoming, answer)?;
                return Ok(true);
            }
        }
        match sets.clone().find_map(|set| set.service.as_ref()) {
            Some(service) => service.event(incoming, answer).map(|()| true),
            None => Ok(false),
        }
    }
}

impl<P, M, V: ?Sized> Default for Registry<P, M, V> {
    fn default() -> Self {
        Registry {
            namespaces: HashMap::default(),
        }
    }
}

impl<P, M: Clone, V: ?Sized> Clone for Registry<P, M, V> {
    fn clone(&self) -> Self {
        Registry {
            namespaces: self.namespaces.clone(),
        }
    }
}

impl<P, M, V: ?Sized> fmt::Debug for Registry<P, M, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.namespaces.keys();
        formatter.debug_set().entries(names).finish()
    }
}

impl<P, M: Default, V: ?Sized> Default for NamespaceHandlers<P, M, V> {
    fn default() -> Self {
        NamespaceHandlers {
            events: HashMap::default(),
            any: None,
            lifecycle: M::default(),
            service: None,
        }
    }
}

impl<P, M: Clone, V: ?Sized> Clone for NamespaceHandlers<P, M, V> {
    fn clone(&self) -> Self {
        NamespaceHandlers {
            events: self.events.clone(),
            any: self.any.clone(),
            lifecycle: self.lifecycle.clone(),
            service: self.service.clone(),
        }
    }
}
