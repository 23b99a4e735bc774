//! The handlers that a server has besides those of events.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

use super::service::ErasedService;
use super::socket::Socket;
use crate::data::{Args, EncodedArgs};
use crate::handlers::{
    Auth, BoxedConnect, BoxedDisconnect, Event, HandlerError, IncomingEvent, Refused, registry,
};
use crate::reason::Reason;
use std::sync::Arc;

pub(crate) use crate::handlers::registry::ANY;

pub(crate) type ServerRegistry = registry::Registry<Socket, ServerSideHandlers, dyn ErasedService>;
pub(crate) type ServerNamespaceHandlers =
    registry::NamespaceHandlers<Socket, ServerSideHandlers, dyn ErasedService>;

type Tap = dyn Fn(&Socket, &Event) + Send + Sync;
pub(crate) type OutgoingTap = dyn Fn(&Socket, &str, &Args) + Send + Sync;
type BeforeEvent = dyn Fn(&Socket, &Event) -> Result<(), HandlerError> + Send + Sync;
/// Appends what is acknowledged, and returns whether anything is.
pub(crate) type OnError = dyn Fn(&Socket, &Event, &HandlerError, &mut EncodedArgs) -> Result<bool, HandlerError>
    + Send
    + Sync;

/// Handlers that are called when clients come and go.
#[derive(Clone, Default)]
pub(crate) struct ServerSideHandlers {
    pub(crate) connect: Option<BoxedConnect<Socket>>,
    pub(crate) disconnect: Option<BoxedDisconnect<Socket>>,
    /// In the order in which they were added, as those of events.
    pub(crate) before_connect: Vec<BoxedConnect<Socket>>,
    pub(crate) before_event: Vec<Arc<BeforeEvent>>,
    pub(crate) taps: Vec<Arc<Tap>>,
    /// Told of what is sent.
    pub(crate) outgoing: Vec<Arc<OutgoingTap>>,
    pub(crate) error: Option<Arc<OnError>>,
}

impl registry::Lifecycle<Socket> for ServerSideHandlers {
    fn on_event(&self, incoming: &IncomingEvent<Socket>) {
        self.taps
            .iter()
            .for_each(|tap| tap(&incoming.peer, &incoming.event));
    }

    fn before_event(&self, incoming: &IncomingEvent<Socket>) -> Result<(), HandlerError> {
        let mut all = self.before_event.iter();
        all.try_for_each(|before| before(&incoming.peer, &incoming.event))
    }
}

impl ServerRegistry {
    /// Tells of an event that is sent to a client. A panic is that of the caller.
    pub(crate) fn on_sent(&self, socket: &Socket, event: &str, data: &EncodedArgs) {
        let mut taps = self
            .candidates(socket.scope())
            .flat_map(|set| &set.lifecycle.outgoing)
            .peekable();
        if taps.peek().is_none() {
            return;
        }
        // What was encoded can be decoded.
        let args = data.to_args().unwrap_or_default();
        taps.for_each(|tap| tap(socket, event, &args));
    }

    pub(crate) fn connect(&self, socket: &Socket, auth: &Auth) -> Result<(), Refused> {
        // Those of `*` first: what it refuses nobody else lets in.
        for set in self.candidates(socket.scope()).rev() {
            let mut all = set.lifecycle.before_connect.iter();
            all.try_for_each(|before| before(socket, auth))?;
        }
        let decided = self.resolve(
            socket.scope(),
            |own| own.connect.as_ref(),
            |function| function(socket, auth),
            |service| service.connect(socket, auth),
        );
        decided.unwrap_or(Ok(()))
    }

    /// Asks what a client is told of an event whose handler has failed; returns whether anything.
    pub(crate) fn error(
        &self,
        incoming: &IncomingEvent<Socket>,
        error: &HandlerError,
        answer: &mut EncodedArgs,
    ) -> Result<bool, HandlerError> {
        let mut sets = self.candidates(incoming.peer.scope());
        match sets.find_map(|set| set.lifecycle.error.as_ref()) {
            Some(on_error) => on_error(&incoming.peer, &incoming.event, error, answer),
            None => Ok(false),
        }
    }

    pub(crate) fn disconnect(&self, socket: &Socket, reason: Reason) {
        self.resolve(
            socket.scope(),
            |own| own.disconnect.as_ref(),
            |function| function(socket, reason),
            |service| service.disconnect(socket, reason),
        );
    }
}
