//! Decisions about clients that connect, and what is told of those that go.

use super::answer::{HandlerError, IntoAck};
use super::handler::With;
use crate::data::{EncodedArgs, ReceivedArgs};
use crate::error::Error;
use crate::protocol::engineio::Revision;
use crate::protocol::socketio::Body;
use crate::reason::Reason;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Reason why a client may not connect, as it is told: a message, and data if you like.
///
/// ```
/// # use socketio::{Refused, Server, Socket, Value};
/// # let io = Server::new();
/// io.on_connect(|_: &Socket, auth: Value| {
///     if auth["token"].is_null() { Err(Refused::new("no token").with_data(401)) } else { Ok(()) }
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    message: String,
    /// JSON text.
    data: Option<String>,
    /// For the log alone.
    note: Option<String>,
}

impl Refused {
    /// Creates a refusal with a message: `err.message` in JavaScript.
    pub fn new(message: impl Into<String>) -> Refused {
        Refused {
            message: message.into(),
            data: None,
            note: None,
        }
    }

    /// Adds data: `err.data` in JavaScript. Data that cannot be JSON is left out, with a record in
    /// the log.
    #[must_use]
    pub fn with_data(mut self, data: impl Serialize) -> Refused {
        self.data = serde_json::to_string(&data)
            .inspect_err(|error| log::warn!(target: "socketio", "the data of a refusal was left out: {error}"))
            .ok();
        self
    }

    /// Returns what the log says of it.
    pub(crate) fn note(&self) -> &str {
        self.note.as_deref().unwrap_or(&self.message)
    }

    /// Returns the payload of a CONNECT_ERROR packet. In Socket.IO 4, which goes over Engine.IO 3,
    /// it is the data, or else the message alone.
    pub(crate) fn to_json(&self, revision: Revision) -> String {
        let message = serde_json::Value::from(self.message.as_str());
        if revision == Revision::V3 {
            return match &self.data {
                Some(data) => data.to_string(),
                None => message.to_string(),
            };
        }
        match &self.data {
            Some(data) => format!("{{\"message\":{message},\"data\":{data}}}"),
            None => format!("{{\"message\":{message}}}"),
        }
    }
}

impl Default for Refused {
    /// Creates a refusal that says `Connection rejected by server`
    fn default() -> Self {
        Refused::new("Connection rejected by server")
    }
}

impl From<&str> for Refused {
    fn from(message: &str) -> Self {
        Refused::new(message)
    }
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Refused::new(message)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

/// A function that decides whether a client may connect: `Fn()`, `Fn(&Socket)` or `Fn(&Socket,
/// auth)`, each `-> R`. `R` is `()`, `bool` or `Result<(), E>`. An `E` that is [`Refused`], text, or
/// this crate's [`Error`](crate::Error) is told to the client; of any other error the client is told
/// only that there was one, and the log has the rest.
///
/// `auth` is an object, in JavaScript as here, and decodes into any type that takes one, such as a
/// struct or a [`Value`](crate::Value); nothing decodes as null. You never
/// implement this trait: closures and functions do.
///
/// ```
/// use socketio::{Refused, Server, Socket, Value};
///
/// let io = Server::new();
/// io.of("/open").on_connect(|| println!("somebody has come"));
/// io.of("/seen").on_connect(|socket: &Socket| println!("{} has come", socket.sid()));
/// io.of("/closed").on_connect(|_: &Socket, auth: Value| match auth["token"].as_str() {
///     Some("secret") => Ok(()),
///     _ => Err(Refused::new("a token, please")),
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "this function cannot be a connect handler",
    label = "not a connect handler",
    note = "a connect handler is `Fn()`, `Fn(&Socket)` or `Fn(&Socket, auth)`, each `-> R`, with a type written for every parameter",
    note = "`R` is `()`, `bool`, or `Result<(), E>` where `E` is `Refused`, text, or any other error"
)]
pub trait ConnectHandler<P, Shape>: Send + Sync + 'static {
    #[doc(hidden)]
    fn call(&self, peer: &P, auth: &Auth) -> Result<(), Refused>;
}

/// Return type of a connect handler.
///
/// ```
/// use socketio::{Refused, Server, Socket, Value};
///
/// let io = Server::new();
/// io.on_connect(|_: &Socket, auth: Value| match auth["token"].as_str() {
///     Some("secret") => Ok(()),
///     _ => Err(Refused::new("a token, please")),
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no decision about a connection",
    note = "return `()`, `bool`, or `Result<(), E>` where `E` is `Refused`, text, or any other error"
)]
pub trait IntoConnectResult {
    #[doc(hidden)]
    fn decide(self) -> Result<(), Refused>;
}

impl IntoConnectResult for () {
    fn decide(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl IntoConnectResult for bool {
    fn decide(self) -> Result<(), Refused> {
        if self {
            Ok(())
        } else {
            Err(Refused::default())
        }
    }
}

impl<E: fmt::Display + 'static> IntoConnectResult for Result<(), E> {
    fn decide(self) -> Result<(), Refused> {
        self.map_err(refusal)
    }
}

/// Returns what a client is told of an error: a refusal, text and this crate's errors as they are,
/// of others that there was one. Those may speak of the inside, and are for the log.
fn refusal<E: fmt::Display + 'static>(error: E) -> Refused {
    let known = &error as &dyn Any;
    if let Some(refused) = known.downcast_ref::<Refused>() {
        return refused.clone();
    }
    let is_told = known.is::<String>() || known.is::<&str>() || known.is::<Error>();
    if is_told {
        return Refused::new(error.to_string());
    }
    Refused {
        note: Some(format!("{error:#}")),
        ..Refused::default()
    }
}

impl<P, Fun, Out: IntoConnectResult> ConnectHandler<P, ()> for Fun
where
    Fun: Fn() -> Out + Send + Sync + 'static,
{
    fn call(&self, _: &P, _: &Auth) -> Result<(), Refused> {
        self().decide()
    }
}

impl<P, Fun, Out: IntoConnectResult> ConnectHandler<P, (With<P>,)> for Fun
where
    Fun: Fn(&P) -> Out + Send + Sync + 'static,
{
    fn call(&self, peer: &P, _: &Auth) -> Result<(), Refused> {
        self(peer).decide()
    }
}

impl<P, Fun, Out: IntoConnectResult, A: DeserializeOwned> ConnectHandler<P, (With<P>, A)> for Fun
where
    Fun: Fn(&P, A) -> Out + Send + Sync + 'static,
{
    fn call(&self, peer: &P, auth: &Auth) -> Result<(), Refused> {
        self(peer, read_auth(auth)?).decide()
    }
}

/// Decodes what a client has sent as `auth`, if anything.
pub(crate) fn read_auth<T: DeserializeOwned>(auth: &Auth) -> Result<T, Refused> {
    auth.0.decode_nth(0).map_err(|mismatch| Refused {
        note: Some(format!("auth: {}", mismatch.without_value(false))),
        ..Refused::new("Invalid auth")
    })
}

/// Data that a client sends with CONNECT, as a list of one or none.
#[derive(Debug)]
pub struct Auth(ReceivedArgs);

impl From<Body<'_>> for Auth {
    fn from(body: Body<'_>) -> Self {
        Auth(match body {
            Body::Json(text, attachments) => ReceivedArgs::json(&format!("[{text}]"), attachments),
            #[cfg(feature = "msgpack")]
            Body::Msgpack(bytes) if bytes.is_empty() => ReceivedArgs::default(),
            #[cfg(feature = "msgpack")]
            // `0x91` is an array of one.
            Body::Msgpack(bytes) => ReceivedArgs::Msgpack([&[0x91], &*bytes].concat().into()),
        })
    }
}

impl Auth {
    #[cfg(feature = "msgpack")]
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.0.decode_data(0)
    }

    /// Returns the bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        self.0.size()
    }
}

/// A connect handler in a table.
pub(crate) type BoxedConnect<P> = Arc<dyn Fn(&P, &Auth) -> Result<(), Refused> + Send + Sync>;

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::new(error.to_string())
    }
}

/// A function that is told of the end of a client's connection: `Fn()`, `Fn(&Socket)` or `Fn(&Socket,
/// Reason)`, with `&Client` for `&Socket` on a client. What it returns is not sent to anybody; an
/// error is logged. You never implement this trait: closures and functions do.
///
/// ```
/// use socketio::{Reason, Server, Socket};
///
/// let io = Server::new();
/// io.on_disconnect(|socket: &Socket, reason: Reason| println!("{}: {reason}", socket.sid()));
/// ```
#[diagnostic::on_unimplemented(
    message = "this function cannot be a disconnect handler",
    label = "not a disconnect handler",
    note = "a disconnect handler is `Fn()`, `Fn(&Socket)` or `Fn(&Socket, Reason)`, with `&Client` for `&Socket` on a client, and with a type written for every parameter"
)]
pub trait DisconnectHandler<P, Shape>: Send + Sync + 'static {
    #[doc(hidden)]
    fn call(&self, peer: &P, reason: Reason) -> Result<(), HandlerError>;
}

impl<P, Fun, Out: IntoAck> DisconnectHandler<P, ()> for Fun
where
    Fun: Fn() -> Out + Send + Sync + 'static,
{
    fn call(&self, _: &P, _: Reason) -> Result<(), HandlerError> {
        self().append_to(&mut EncodedArgs::default())
    }
}

impl<P, Fun, Out: IntoAck> DisconnectHandler<P, (With<P>,)> for Fun
where
    Fun: Fn(&P) -> Out + Send + Sync + 'static,
{
    fn call(&self, peer: &P, _: Reason) -> Result<(), HandlerError> {
        self(peer).append_to(&mut EncodedArgs::default())
    }
}

impl<P, Fun, Out: IntoAck> DisconnectHandler<P, (With<P>, Reason)> for Fun
where
    Fun: Fn(&P, Reason) -> Out + Send + Sync + 'static,
{
    fn call(&self, peer: &P, reason: Reason) -> Result<(), HandlerError> {
        self(peer, reason).append_to(&mut EncodedArgs::default())
    }
}

/// A disconnect handler in a table.
pub(crate) type BoxedDisconnect<P> = Arc<dyn Fn(&P, Reason) + Send + Sync>;

/// Returns a handler as a table has it.
pub(crate) fn boxed_disconnect<P: 'static, S>(
    handler: impl DisconnectHandler<P, S>,
) -> BoxedDisconnect<P> {
    Arc::new(move |peer, reason| {
        if let Err(error) = handler.call(peer, reason) {
            log::warn!(target: "socketio", "a disconnect handler failed: {error}");
        }
    })
}
