//! Closures as handlers, by the number and the types of their parameters.

use super::event::{Event, Incoming};
use crate::data::args::{EncodedArgs, FromArgs, decode, decode_nth};
use crate::data::binary::Binary;
use crate::data::value::Value;
use crate::error::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A function that handles an event: `Fn([&Socket,] [&Event,] A, B, ..) -> R`; on a client
/// `&Client` stands in the place of `&Socket`.
///
/// Up to eight arguments, of any types that serde can decode; what it returns is the
/// acknowledgement. You never implement this trait: closures and functions do.
///
/// - Every parameter of a closure needs its type, and the first one its `&`.
/// - A missing argument decodes as null, so `Option` takes it; surplus ones are ignored.
/// - An argument that does not decode is logged; the handler does not run, nothing is acknowledged.
/// - With `&Event`, alone or behind `&Socket` or `&Client`, it gets the event as it came, besides the
///   arguments.
#[diagnostic::on_unimplemented(
    message = "this function cannot handle an event",
    label = "not a handler",
    note = "a handler is `Fn([&Socket,] [&Event,] A, B, ..) -> R`, with `&Client` for `&Socket` on a client, at most eight arguments, and not async",
    note = "write the type of every parameter: `&Socket` with its `&`, and for arguments owned types that are `Deserialize`, such as `String`",
    note = "it is called from several threads: it may not change what it captures (use a `Mutex` or an atomic), and that must be `Send + Sync`"
)]
pub trait Handler<P, Shape>: Send + Sync + 'static {
    /// Type of the returned value.
    type Output;

    #[doc(hidden)]
    fn call(&self, incoming: &Incoming<P>) -> Result<Self::Output, HandlerError>;
}

/// Type of a handler's first parameter: `Socket` on a server, `Client` on a client, and `Event`.
#[diagnostic::on_unimplemented(
    message = "`&{Self}` cannot be the first parameter of a handler on this side",
    note = "it can be `&Socket` on a server, `&Client` on a client, and `&Event` on both"
)]
pub trait Context<P> {
    #[doc(hidden)]
    fn of(incoming: &Incoming<P>) -> &Self;
}

impl<P> Context<P> for Event {
    fn of(incoming: &Incoming<P>) -> &Event {
        &incoming.event
    }
}

/// The shape of a handler whose first parameter is `&C`.
#[derive(Debug)]
pub struct With<C>(PhantomData<C>);

/// The shape of a handler that takes arguments only.
#[derive(Debug)]
pub struct Without;

/// The shape of a handler of `&Socket` and `&Event`.
#[derive(Debug)]
pub struct WithEvent<C>(PhantomData<C>);

macro_rules! handlers {
    ($($name:ident)*) => {
        #[diagnostic::do_not_recommend]
        impl<P, Ctx, Fun, Out, $($name,)*> Handler<P, (With<Ctx>, $($name,)*)> for Fun
        where
            Ctx: Context<P>,
            Fun: Fn(&Ctx, $($name,)*) -> Out + Send + Sync + 'static,
            $($name: DeserializeOwned,)*
        {
            type Output = Out;

            #[allow(non_snake_case)]
            fn call(&self, incoming: &Incoming<P>) -> Result<Out, HandlerError> {
                let ($($name,)*) = arguments(incoming)?;
                Ok(self(Ctx::of(incoming), $($name,)*))
            }
        }

        #[diagnostic::do_not_recommend]
        impl<P, Ctx, Fun, Out, $($name,)*> Handler<P, (WithEvent<Ctx>, $($name,)*)> for Fun
        where
            Ctx: Context<P>,
            Fun: Fn(&Ctx, &Event, $($name,)*) -> Out + Send + Sync + 'static,
            $($name: DeserializeOwned,)*
        {
            type Output = Out;

            #[allow(non_snake_case)]
            fn call(&self, incoming: &Incoming<P>) -> Result<Out, HandlerError> {
                let ($($name,)*) = arguments(incoming)?;
                Ok(self(Ctx::of(incoming), &incoming.event, $($name,)*))
            }
        }

        #[diagnostic::do_not_recommend]
        impl<P, Fun, Out, $($name,)*> Handler<P, (Without, $($name,)*)> for Fun
        where
            Fun: Fn($($name,)*) -> Out + Send + Sync + 'static,
            $($name: DeserializeOwned,)*
        {
            type Output = Out;

            #[allow(non_snake_case)]
            fn call(&self, incoming: &Incoming<P>) -> Result<Out, HandlerError> {
                let ($($name,)*) = arguments(incoming)?;
                Ok(self($($name,)*))
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D E);
handlers!(A B C D E F);
handlers!(A B C D E F G);
handlers!(A B C D E F G H);

pub(super) fn arguments<P, T: FromArgs>(incoming: &Incoming<P>) -> Result<T, HandlerError> {
    let event = &incoming.event;
    decode(event.json(), 1, event.attachments()).map_err(|mismatch| {
        HandlerError::new(mismatch.without_value(!event.attachments().is_empty()))
    })
}

/// A handler in a table. It appends what is to be acknowledged.
pub(crate) type StoredEvent<P> =
    Arc<dyn Fn(&Incoming<P>, &mut EncodedArgs) -> Result<(), HandlerError> + Send + Sync>;

pub(crate) fn store<P, S, H>(handler: H) -> StoredEvent<P>
where
    H: Handler<P, S, Output: IntoAck>,
{
    Arc::new(move |incoming, answer| handler.call(incoming)?.append_to(answer))
}

/// Return type of a handler: the acknowledgement.
///
/// `()` acknowledges with nothing, a tuple with several values, a `Result` with what is in its
/// `Ok`; an `Err` is logged and nothing is acknowledged. Types of your own become answers by
/// `impl Reply for MyType {}`, or for once in [`Json`].
///
/// ```
/// use serde::Serialize;
/// use socketio::{Reply, Server};
///
/// #[derive(Serialize)]
/// struct Position {
///     x: i32,
///     y: i32,
/// }
///
/// impl Reply for Position {}
///
/// let io = Server::new();
/// io.on("where?", || Position { x: 1, y: 2 });
/// io.on("several", || ("one", 2)); // two values
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from an event handler",
    note = "what a handler returns is its acknowledgement: a number, text, `Vec`, `Option`, tuple, `Value`, `Binary`, `()`, or a `Result` of one",
    note = "for a type that is `Serialize`, return `Json(value)`, or write `impl socketio::Reply for MyType {{}}` if it is your own",
    note = "the error of a `Result` must be a `std::error::Error`, or `HandlerError`, which `HandlerError::new(text)` makes of text"
)]
pub trait IntoAck {
    #[doc(hidden)]
    fn append_to(self, answer: &mut EncodedArgs) -> Result<(), HandlerError>;
}

/// A type that can be a handler's answer: `impl Reply for MyType {}`.
pub trait Reply: Serialize {}

impl<T: Reply> IntoAck for T {
    fn append_to(self, answer: &mut EncodedArgs) -> Result<(), HandlerError> {
        Ok(answer.push(&self)?)
    }
}

impl<T: IntoAck, E: Into<HandlerError>> IntoAck for Result<T, E> {
    fn append_to(self, answer: &mut EncodedArgs) -> Result<(), HandlerError> {
        match self {
            Ok(value) => value.append_to(answer),
            Err(error) => Err(error.into()),
        }
    }
}

macro_rules! replies {
    ($($kind:ty)*) => {
        $(impl Reply for $kind {})*
    };
}

replies! {
    () bool char i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64
    String Value Binary crate::data::args::Args serde_json::Value
}

impl<T: Serialize> Reply for Vec<T> {}
impl<T: Serialize> Reply for Option<T> {}
impl<T: Serialize> Reply for Json<T> {}
impl<T: Serialize> Reply for Box<T> {}
impl Reply for &'static str {}
impl<K: Serialize, V: Serialize> Reply for BTreeMap<K, V> {}
impl<K: Serialize, V: Serialize, S> Reply for HashMap<K, V, S> {}

macro_rules! reply_tuples {
    ($($name:ident)*) => {
        impl<$($name: Serialize),*> Reply for ($($name,)*) {}
    };
}

reply_tuples!(A);
reply_tuples!(A B);
reply_tuples!(A B C);
reply_tuples!(A B C D);
reply_tuples!(A B C D E);
reply_tuples!(A B C D E F);
reply_tuples!(A B C D E F G);
reply_tuples!(A B C D E F G H);

/// Wrapper that makes any `Serialize` type an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Json<T>(pub T);

/// Reason why a handler failed: any error, or a sentence by [`HandlerError::new`]. It is logged,
/// and the client gets no acknowledgement.
///
/// Every error type converts to it, so `?` works on all of them in a handler that returns
/// `Result<_, HandlerError>`.
///
/// ```
/// use socketio::{HandlerError, Server};
///
/// let io = Server::new();
/// io.on("parse", |text: String| -> Result<i64, HandlerError> {
///     if text.is_empty() {
///         return Err(HandlerError::new("nothing to parse"));
///     }
///     Ok(text.parse()?)
/// });
/// ```
pub struct HandlerError(Box<dyn std::error::Error + Send + Sync>);

impl HandlerError {
    /// Creates an error that says this.
    pub fn new(message: impl Into<String>) -> HandlerError {
        HandlerError(message.into().into())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        HandlerError(Box::new(error))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Reason why a client may not connect, as it is told: a message, and data if you like.
///
/// ```
/// # use socketio::{Refused, Server, Socket};
/// # let io = Server::new();
/// io.on_connect(|_: &Socket, token: Option<String>| {
///     if token.is_some() { Ok(()) } else { Err(Refused::new("no token").with_data(401)) }
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

    /// Returns the payload of a CONNECT_ERROR packet.
    pub(crate) fn to_json(&self) -> String {
        let message = serde_json::Value::from(self.message.as_str());
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
/// auth)`, each `-> R`, where `R` is `()`, `bool` or `Result<(), E>` with an `E` that becomes
/// [`Refused`].
///
/// What the client sent as `auth` decodes into any type; nothing decodes as null. You never
/// implement this trait: closures and functions do.
#[diagnostic::on_unimplemented(
    message = "this function cannot be a connect handler",
    label = "not a connect handler",
    note = "a connect handler is `Fn()`, `Fn(&Socket)` or `Fn(&Socket, auth)`, each `-> R`, with a type written for every parameter",
    note = "`R` is `()`, `bool`, or `Result<(), E>` where `E` is `Refused`, text, or whatever becomes `Refused`"
)]
pub trait ConnectHandler<P, Shape>: Send + Sync + 'static {
    #[doc(hidden)]
    fn call(&self, peer: &P, auth: &str) -> Result<(), Refused>;
}

/// Return type of a connect handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no decision about a connection",
    note = "return `()`, `bool`, or `Result<(), E>` where `E` is `Refused` or text"
)]
pub trait Decision {
    #[doc(hidden)]
    fn decide(self) -> Result<(), Refused>;
}

impl Decision for () {
    fn decide(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl Decision for bool {
    fn decide(self) -> Result<(), Refused> {
        if self {
            Ok(())
        } else {
            Err(Refused::default())
        }
    }
}

impl<E: Into<Refused>> Decision for Result<(), E> {
    fn decide(self) -> Result<(), Refused> {
        self.map_err(E::into)
    }
}

impl<P, Fun, Out: Decision> ConnectHandler<P, ()> for Fun
where
    Fun: Fn() -> Out + Send + Sync + 'static,
{
    fn call(&self, _: &P, _: &str) -> Result<(), Refused> {
        self().decide()
    }
}

impl<P, Fun, Out: Decision> ConnectHandler<P, (With<P>,)> for Fun
where
    Fun: Fn(&P) -> Out + Send + Sync + 'static,
{
    fn call(&self, peer: &P, _: &str) -> Result<(), Refused> {
        self(peer).decide()
    }
}

impl<P, Fun, Out: Decision, Auth: DeserializeOwned> ConnectHandler<P, (With<P>, Auth)> for Fun
where
    Fun: Fn(&P, Auth) -> Out + Send + Sync + 'static,
{
    fn call(&self, peer: &P, auth: &str) -> Result<(), Refused> {
        self(peer, read_auth(auth)?).decide()
    }
}

/// Decodes what a client has sent as `auth`: JSON text, or nothing.
pub(crate) fn read_auth<T: DeserializeOwned>(auth: &str) -> Result<T, Refused> {
    let auth = if auth.is_empty() { "null" } else { auth };
    decode_nth(&format!("[{auth}]"), 0, &[]).map_err(|mismatch| Refused {
        note: Some(format!("auth: {}", mismatch.without_value(false))),
        ..Refused::new("Invalid auth")
    })
}

/// A connect handler in a table.
pub(crate) type StoredConnect<P> = Arc<dyn Fn(&P, &str) -> Result<(), Refused> + Send + Sync>;

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::new(error.to_string())
    }
}
