//! Namespaces that are types.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

use super::socket::Socket;
use crate::data::Value;
use crate::handlers::connect::{Auth, read_auth};
use crate::handlers::registry::HandlesEvents;
use crate::handlers::service::{EventService, Registered};
use crate::handlers::{self, AckPayload, Event, HandlerError, Next, Refused};
use crate::reason::Reason;

/// The methods of a [`Service`], by the events that they handle; with `ServiceEvents<Self, Client>`
/// those of a [`ClientService`](crate::ClientService).
///
/// ```
/// use socketio::{Server, Service, ServiceEvents};
///
/// struct Echo;
///
/// impl Service for Echo {
///     fn events(on: &mut ServiceEvents<Self>) {
///         on.on("echo", |_: &Echo, text: String| text);
///     }
/// }
///
/// Server::new().of("/echo").register(Echo);
/// ```
pub type ServiceEvents<S, P = Socket> = handlers::ServiceEvents<S, P>;

/// A namespace as a type: its methods are the handlers.
///
/// ```
/// use socketio::{ServiceEvents, HandlerError, Reason, Refused, Server, Service, Socket, Value};
///
/// #[derive(serde::Deserialize)]
/// struct Login {
///     password: String,
/// }
///
/// struct Chat {
///     password: String,
/// }
///
/// impl Service for Chat {
///     fn events(on: &mut ServiceEvents<Self>) {
///         on.on("say", Self::say).on("shout", Self::shout);
///     }
///
///     fn on_connect(&self, _: &Socket, auth: Value) -> Result<(), Refused> {
///         // A type of `serde`, or parts of the value: `auth["password"].as_str()`.
///         let login: Login = auth.decode()?;
///         if login.password == self.password { Ok(()) } else { Err("wrong".into()) }
///     }
///
///     fn on_disconnect(&self, socket: &Socket, reason: Reason) {
///         println!("{} has gone: {reason}", socket.sid());
///     }
/// }
///
/// impl Chat {
///     fn say(&self, socket: &Socket, text: String) -> Result<usize, HandlerError> {
///         socket.broadcast().emit("said", &text)?;
///         Ok(text.len())
///     }
///
///     fn shout(&self, text: String) -> String {
///         text.to_uppercase()
///     }
/// }
///
/// let io = Server::new();
/// io.of("/chat").register(Chat { password: "secret".into() });
/// ```
///
/// A function that handles the same event, or any event, goes before it.
pub trait Service: Send + Sync + Sized + 'static {
    /// Says which method handles which event.
    fn events(on: &mut ServiceEvents<Self>);

    /// Decides about a client that connects. All may by default.
    ///
    /// # Errors
    /// A refusal that the client gets.
    fn on_connect(&self, socket: &Socket, auth: Value) -> Result<(), Refused> {
        let _ = (socket, auth);
        Ok(())
    }

    /// Handles the end of a client.
    fn on_disconnect(&self, socket: &Socket, reason: Reason) {
        let _ = (socket, reason);
    }

    /// Handles an event: every one of the namespace passes here on its way to its method, which
    /// `next` calls; an event without a method is acknowledged with nothing. Override it to look
    /// at, change or refuse what comes.
    ///
    /// # Errors
    /// The failure of the method's handler: it is logged, and nothing is acknowledged, unless
    /// [`on_error`](crate::Namespace::on_error) says otherwise.
    fn event(
        &self,
        socket: &Socket,
        event: &Event,
        next: Next<'_>,
    ) -> Result<AckPayload, HandlerError> {
        let _ = (socket, event);
        next.call()
    }
}

/// A service of any type.
pub(crate) trait ErasedService: HandlesEvents<Socket> + Send + Sync {
    fn connect(&self, socket: &Socket, auth: &Auth) -> Result<(), Refused>;
    fn disconnect(&self, socket: &Socket, reason: Reason);
}

impl<S: Service> EventService<Socket> for S {
    fn event(
        &self,
        peer: &Socket,
        event: &Event,
        next: Next<'_>,
    ) -> Result<AckPayload, HandlerError> {
        Service::event(self, peer, event, next)
    }
}

impl<S: Service> ErasedService for Registered<S, Socket> {
    fn connect(&self, socket: &Socket, auth: &Auth) -> Result<(), Refused> {
        self.service.on_connect(socket, read_auth(auth)?)
    }

    fn disconnect(&self, socket: &Socket, reason: Reason) {
        self.service.on_disconnect(socket, reason);
    }
}
