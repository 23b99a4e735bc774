//! Namespaces that are types.

use super::Client;
use crate::error::ConnectError;
use crate::handlers::registry::HandlesEvents;
use crate::handlers::service::{EventService, Registered};
use crate::handlers::{AckPayload, Event, HandlerError, Next, ServiceEvents};
use crate::reason::Reason;
use std::time::Duration;

/// A client's namespace as a type: its methods are the handlers.
///
/// ```
/// use socketio::{Client, ClientService, ServiceEvents, Reason};
///
/// struct Chat;
///
/// impl ClientService for Chat {
///     fn events(on: &mut ServiceEvents<Self, Client>) {
///         on.on("said", Self::said);
///     }
///
///     fn on_connect(&self, client: &Client) {
///         let _ = client.emit("say", "hello");
///     }
/// }
///
/// impl Chat {
///     fn said(&self, text: String) {
///         println!("{text}");
///     }
/// }
///
/// let client = Client::new();
/// client.of("/chat").register(Chat);
/// ```
///
/// A function that handles the same event, or any event, goes before it.
pub trait ClientService: Send + Sync + Sized + 'static {
    /// Says which method handles which event.
    fn events(on: &mut ServiceEvents<Self, Client>);

    /// Handles the namespace's connection.
    fn on_connect(&self, client: &Client) {
        let _ = client;
    }

    /// Handles the refusal of the namespace.
    fn on_connect_error(&self, client: &Client, error: &ConnectError) {
        let _ = (client, error);
    }

    /// Handles the end of the namespace's connection.
    fn on_disconnect(&self, client: &Client, reason: Reason) {
        let _ = (client, reason);
    }

    /// Handles the announcement of another attempt to reconnect after a delay; they are counted
    /// from one.
    fn on_reconnect_attempt(&self, client: &Client, attempt: u32, delay: Duration) {
        let _ = (client, attempt, delay);
    }

    /// Handles the end of the attempts to reconnect: all have failed.
    fn on_reconnect_failed(&self, client: &Client) {
        let _ = client;
    }

    /// Handles an event: every one of the namespace passes here on its way to its method, which
    /// `next` calls; an event without a method is acknowledged with nothing. Override it to look
    /// at, change or refuse what comes.
    ///
    /// # Errors
    /// What the method's handler failed with: it is logged, and nothing is acknowledged.
    fn event(
        &self,
        client: &Client,
        event: &Event,
        next: Next<'_>,
    ) -> Result<AckPayload, HandlerError> {
        let _ = (client, event);
        next.call()
    }
}

/// A service of any type.
pub(super) trait ErasedClientService: HandlesEvents<Client> + Send + Sync {
    fn connect(&self, client: &Client);
    fn connect_error(&self, client: &Client, error: &ConnectError);
    fn disconnect(&self, client: &Client, reason: Reason);
    fn reconnect_attempt(&self, client: &Client, attempt: u32, delay: Duration);
    fn reconnect_failed(&self, client: &Client);
}

impl<S: ClientService> EventService<Client> for S {
    fn event(
        &self,
        peer: &Client,
        event: &Event,
        next: Next<'_>,
    ) -> Result<AckPayload, HandlerError> {
        ClientService::event(self, peer, event, next)
    }
}

impl<S: ClientService> ErasedClientService for Registered<S, Client> {
    fn connect(&self, client: &Client) {
        self.service.on_connect(client);
    }

    fn connect_error(&self, client: &Client, error: &ConnectError) {
        self.service.on_connect_error(client, error);
    }

    fn disconnect(&self, client: &Client, reason: Reason) {
        self.service.on_disconnect(client, reason);
    }

    fn reconnect_attempt(&self, client: &Client, attempt: u32, delay: Duration) {
        self.service.on_reconnect_attempt(client, attempt, delay);
    }

    fn reconnect_failed(&self, client: &Client) {
        self.service.on_reconnect_failed(client);
    }
}
