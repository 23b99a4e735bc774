//! The handlers that a client has besides those of events.

use super::Client;
use super::service::ErasedClientService;
use crate::data::{Args, EncodedArgs};
use crate::error::ConnectError;
use crate::handlers::{BoxedDisconnect, Event, registry};
use crate::reason::Reason;
use std::sync::Arc;
use std::time::Duration;

pub(super) type ClientRegistry =
    registry::Registry<Client, ClientSideHandlers, dyn ErasedClientService>;
pub(super) type ClientNamespaceHandlers =
    registry::NamespaceHandlers<Client, ClientSideHandlers, dyn ErasedClientService>;

type OnClient = dyn Fn(&Client) + Send + Sync;
type OnAttempt = dyn Fn(&Client, u32, Duration) + Send + Sync;
type ClientTap = dyn Fn(&Client, &Event) + Send + Sync;
type ClientOutgoingTap = dyn Fn(&Client, &str, &Args) + Send + Sync;
type OnConnectError = dyn Fn(&Client, &ConnectError) + Send + Sync;

/// Handlers that are called when the connection comes and goes.
#[derive(Clone, Default)]
pub(super) struct ClientSideHandlers {
    pub(super) connect: Option<Arc<OnClient>>,
    pub(super) connect_error: Option<Arc<OnConnectError>>,
    pub(super) disconnect: Option<BoxedDisconnect<Client>>,
    pub(super) reconnect_attempt: Option<Arc<OnAttempt>>,
    pub(super) reconnect_failed: Option<Arc<OnClient>>,
    /// Told of every event that comes.
    pub(super) taps: Vec<Arc<ClientTap>>,
    /// Told of every event that is emitted.
    pub(super) outgoing: Vec<Arc<ClientOutgoingTap>>,
}

impl ClientRegistry {
    /// Tells of an event that has come. A panic is that of the caller.
    pub(super) fn on_event(&self, client: &Client, event: &Event) {
        let taps = self
            .candidates(client.namespace())
            .flat_map(|set| &set.lifecycle.taps);
        taps.for_each(|tap| tap(client, event));
    }

    /// Tells of an event that is emitted.
    pub(super) fn on_sent(&self, client: &Client, event: &str, data: &EncodedArgs) {
        let taps = self.candidates(client.namespace());
        let mut taps = taps.flat_map(|set| &set.lifecycle.outgoing).peekable();
        if taps.peek().is_none() {
            return;
        }
        // What was encoded can be decoded.
        let args = data.to_args().unwrap_or_default();
        taps.for_each(|tap| tap(client, event, &args));
    }

    pub(super) fn connect(&self, client: &Client) {
        self.resolve(
            client.namespace(),
            |own| own.connect.as_ref(),
            |function| function(client),
            |service| service.connect(client),
        );
    }

    pub(super) fn connect_error(&self, client: &Client, error: &ConnectError) {
        self.resolve(
            client.namespace(),
            |own| own.connect_error.as_ref(),
            |function| function(client, error),
            |service| service.connect_error(client, error),
        );
    }

    pub(super) fn disconnect(&self, client: &Client, reason: Reason) {
        self.resolve(
            client.namespace(),
            |own| own.disconnect.as_ref(),
            |function| function(client, reason),
            |service| service.disconnect(client, reason),
        );
    }

    pub(super) fn reconnect_attempt(&self, client: &Client, attempt: u32, delay: Duration) {
        self.resolve(
            client.namespace(),
            |own| own.reconnect_attempt.as_ref(),
            |function| function(client, attempt, delay),
            |service| service.reconnect_attempt(client, attempt, delay),
        );
    }

    pub(super) fn reconnect_failed(&self, client: &Client) {
        self.resolve(
            client.namespace(),
            |own| own.reconnect_failed.as_ref(),
            |function| function(client),
            |service| service.reconnect_failed(client),
        );
    }
}
