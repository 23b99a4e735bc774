//! Return values of handlers: acknowledgements, and errors.

use crate::data::EncodedArgs;
use crate::data::binary::Binary;
use crate::data::value::Value;
use crate::error::{BoxedError, Error};
use serde::Serialize;
use std::any::Any;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Return type of a handler: the acknowledgement.
///
/// `()` acknowledges with nothing, a tuple or an array of a fixed size with several values, a `Vec`
/// with one that is a list, a `Result` with what is in its `Ok`; an `Err` is logged and nothing is
/// acknowledged, unless a server's [`on_error`](crate::Namespace::on_error) says otherwise. Types of your own become answers by
/// `impl AckValue for MyType {}`, or for once in [`Json`].
///
/// ```
/// use serde::Serialize;
/// use socketio::{AckValue, Server};
///
/// #[derive(Serialize)]
/// struct Position {
///     x: i32,
///     y: i32,
/// }
///
/// impl AckValue for Position {}
///
/// let io = Server::new();
/// io.on("where?", || Position { x: 1, y: 2 });
/// io.on("several", || ("one", 2)); // two values
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from an event handler",
    note = "what a handler returns is its acknowledgement: a number, text, `Vec`, `Option`, tuple, `Value`, `Binary`, `()`, or a `Result` of one",
    note = "for a type that is `Serialize`, return `Json(value)`, or write `impl socketio::AckValue for MyType {{}}` if it is your own",
    note = "the error of a `Result` is anything that is `Display`: `HandlerError`, any `std::error::Error`, `anyhow::Error`, text"
)]
pub trait IntoAck {
    #[doc(hidden)]
    fn append_to(self, answer: &mut EncodedArgs) -> Result<(), HandlerError>;
}

/// A type that can be a handler's answer: `impl AckValue for MyType {}`.
///
/// ```
/// use serde::Serialize;
/// use socketio::{AckValue, Server};
///
/// #[derive(Serialize)]
/// struct Position {
///     x: f64,
///     y: f64,
/// }
/// impl AckValue for Position {}
///
/// let io = Server::new();
/// io.on("where", || Position { x: 1.0, y: 2.0 });
/// ```
pub trait AckValue: Serialize {}

impl<T: AckValue> IntoAck for T {
    fn append_to(self, answer: &mut EncodedArgs) -> Result<(), HandlerError> {
        Ok(answer.push(&self)?)
    }
}

/// Handlers that never return, such as one that is still to be written and panics.
impl IntoAck for Never {
    fn append_to(self, _: &mut EncodedArgs) -> Result<(), HandlerError> {
        self
    }
}

/// The type `!`, which has no name of its own yet.
type Never = <fn() -> ! as Returns>::Output;

/// Type that a function returns.
#[doc(hidden)]
pub trait Returns {
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

impl<T: IntoAck, E: fmt::Display + 'static> IntoAck for Result<T, E> {
    fn append_to(self, answer: &mut EncodedArgs) -> Result<(), HandlerError> {
        match self {
            Ok(value) => value.append_to(answer),
            Err(error) => Err(HandlerError::of(error)),
        }
    }
}

macro_rules! ack_values {
    ($($kind:ty)*) => {
        $(impl AckValue for $kind {})*
    };
}

ack_values! {
    () bool char i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64
    String Value Binary crate::data::args::Args serde_json::Value
}

impl<T: Serialize> AckValue for Vec<T> {}
impl<T, const N: usize> AckValue for [T; N] where [T; N]: Serialize {}
impl<T: Serialize> AckValue for VecDeque<T> {}
impl<T: Serialize> AckValue for BTreeSet<T> {}
impl<T: Serialize, S> AckValue for HashSet<T, S> {}
impl<T: Serialize> AckValue for &'static [T] {}
impl<T: Serialize> AckValue for Arc<T> where Arc<T>: Serialize {}
impl<T: Serialize + ToOwned<Owned: Serialize> + ?Sized> AckValue for Cow<'static, T> {}
impl AckValue for serde_json::Map<String, serde_json::Value> {}
impl<T: Serialize> AckValue for Option<T> {}
impl<T: Serialize> AckValue for Json<T> {}
impl<T: Serialize> AckValue for Box<T> {}
impl AckValue for &'static str {}
impl<K: Serialize, V: Serialize> AckValue for BTreeMap<K, V> {}
impl<K: Serialize, V: Serialize, S> AckValue for HashMap<K, V, S> {}

macro_rules! ack_value_tuples {
    ($($name:ident)*) => {
        impl<$($name: Serialize),*> AckValue for ($($name,)*) {}
    };
}

ack_value_tuples!(A);
ack_value_tuples!(A B);
ack_value_tuples!(A B C);
ack_value_tuples!(A B C D);
ack_value_tuples!(A B C D E);
ack_value_tuples!(A B C D E F);
ack_value_tuples!(A B C D E F G);
ack_value_tuples!(A B C D E F G H);

/// Wrapper that makes any `Serialize` type an answer.
///
/// ```
/// use serde::Serialize;
/// use socketio::{Json, Server};
///
/// #[derive(Serialize)]
/// struct Position {
///     x: f64,
///     y: f64,
/// }
///
/// let io = Server::new();
/// io.on("where", || Json(Position { x: 1.0, y: 2.0 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Json<T>(pub T);

/// Reason why a handler failed: any error, or a sentence. It is logged, and the client gets no
/// acknowledgement, unless [`on_error`](crate::Namespace::on_error) says otherwise.
///
/// Every error type converts to it, so `?` works on all of them in a handler that returns
/// `Result<_, HandlerError>`. A handler may also return any other error that is `Display`, such as
/// `anyhow::Error`, `Box<dyn std::error::Error>` or text.
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
    /// Creates an error of another one, or that says this.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HandlerError {
        HandlerError(error.into())
    }

    /// Returns the error that was returned as it is, or what any other says of itself.
    fn of<E: fmt::Display + 'static>(error: E) -> HandlerError {
        let mut error = Some(error);
        let known = &mut error as &mut dyn Any;
        if let Some(own) = taken::<HandlerError>(known) {
            return own;
        }
        if let Some(own) = taken::<BoxedError>(known) {
            return HandlerError(own);
        }
        if let Some(own) = taken::<Error>(known) {
            return HandlerError::new(own);
        }
        if let Some(own) = taken::<io::Error>(known) {
            return HandlerError::new(own);
        }
        // With its causes, where the type knows that form.
        HandlerError::new(error.map_or_else(String::new, |it| format!("{it:#}")))
    }

    /// Returns the error that it was made of, if it is of this type. Of errors that a handler
    /// returns without `HandlerError` in its type, only [`Error`](crate::Error), [`std::io::Error`]
    /// and boxed errors are kept; of others there is what they display.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

/// Takes a value out, if it is of this type.
fn taken<T: 'static>(value: &mut dyn Any) -> Option<T> {
    value.downcast_mut::<Option<T>>()?.take()
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

/// Return type of [`on_error`](crate::Namespace::on_error): `()` acknowledges nothing, as without it;
/// `Some` of what a handler may return is the acknowledgement.
///
/// ```
/// use socketio::{Event, HandlerError, Server, Socket};
///
/// let io = Server::new();
/// io.on_error(|_: &Socket, _: &Event, error: &HandlerError| Some(error.to_string()));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from `on_error`",
    note = "return `()`, or an `Option` of what a handler returns: `Some(Json(..))` acknowledges with it"
)]
pub trait ErrorAck {
    #[doc(hidden)]
    fn append_to(self, answer: &mut EncodedArgs) -> Result<bool, HandlerError>;
}

impl ErrorAck for () {
    fn append_to(self, _: &mut EncodedArgs) -> Result<bool, HandlerError> {
        Ok(false)
    }
}

impl<T: IntoAck> ErrorAck for Option<T> {
    fn append_to(self, answer: &mut EncodedArgs) -> Result<bool, HandlerError> {
        match self {
            Some(value) => value.append_to(answer).map(|()| true),
            None => Ok(false),
        }
    }
}

/// Return type of [`before_event`](crate::Namespace::before_event): `()`, `bool`, or a `Result` with
/// any error that is `Display`.
///
/// ```
/// use socketio::{Event, Server, Socket};
///
/// let io = Server::new();
/// io.before_event(|socket: &Socket, event: &Event| match event.name() {
///     "delete" if !socket.rooms().contains(&"admins".to_owned()) => Err("for admins alone"),
///     _ => Ok(()),
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no decision about an event",
    note = "return `()`, `bool`, or `Result<(), E>` with text or any other error"
)]
pub trait Check {
    #[doc(hidden)]
    fn check(self) -> Result<(), HandlerError>;
}

impl Check for () {
    fn check(self) -> Result<(), HandlerError> {
        Ok(())
    }
}

impl Check for bool {
    fn check(self) -> Result<(), HandlerError> {
        self.then_some(())
            .ok_or_else(|| HandlerError::new("the event is refused"))
    }
}

impl<E: fmt::Display + 'static> Check for Result<(), E> {
    fn check(self) -> Result<(), HandlerError> {
        self.map_err(HandlerError::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `on_error` is given for a handler that has failed with this.
    fn failed<E: fmt::Display + 'static>(error: E) -> HandlerError {
        let result: Result<(), E> = Err(error);
        result.append_to(&mut EncodedArgs::default()).unwrap_err()
    }

    #[test]
    fn errors_that_are_known_can_be_told_apart() {
        let timeout = failed(Error::Timeout);
        let known = timeout.downcast_ref::<Error>();
        assert!(matches!(known, Some(Error::Timeout)));
        let refused = failed(io::Error::from(io::ErrorKind::NotFound));
        let known = refused.downcast_ref::<io::Error>();
        assert_eq!(known.map(io::Error::kind), Some(io::ErrorKind::NotFound));
        let boxed: BoxedError = Box::new(Error::Disconnected);
        assert!(failed(boxed).downcast_ref::<Error>().is_some());
        let own = failed(HandlerError::from(Error::Timeout));
        assert!(own.downcast_ref::<Error>().is_some());
        assert_eq!(failed("words").to_string(), "words");
    }
}
