//! Closures as callbacks of acknowledgements, by their parameters.

use super::ack::AckResponse;
use crate::error::Error;
use serde::de::DeserializeOwned;

/// A function that is called once, with one peer's answer: `FnOnce(Result<T, Error>)`, where `T` is
/// anything that serde can decode, or `FnOnce()`, whatever the answer is, and if there is none.
///
/// No value is null, several are a tuple. You never implement this trait: closures and functions do.
/// The parameter of a closure needs its type.
///
/// ```
/// use socketio::{Error, Server, Socket};
/// use std::time::Duration;
///
/// let io = Server::new();
/// io.on_connect(|socket: &Socket| {
///     let timeout = Duration::from_secs(5);
///     socket.emit_with_ack("name?", (), timeout, |name: Result<String, Error>| {
///         println!("{name:?}");
///     })
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "this function cannot be called with an answer",
    label = "not a callback",
    note = "a callback is `FnOnce()` or `FnOnce(Result<T, Error>)`, with the parameter's type written, and what it captures is `Send`"
)]
pub trait AckCallback<Shape>: Send + 'static {
    #[doc(hidden)]
    fn call(self, answer: Result<AckResponse, Error>);
}

impl<F: FnOnce() + Send + 'static> AckCallback<()> for F {
    fn call(self, _: Result<AckResponse, Error>) {
        self();
    }
}

impl<T: DeserializeOwned, F: FnOnce(Result<T, Error>) + Send + 'static> AckCallback<(T,)> for F {
    fn call(self, answer: Result<AckResponse, Error>) {
        self(answer.and_then(|it| it.decode()));
    }
}

/// A function that is called with the answer of each recipient: `Fn(Result<T, Error>)`,
/// `Fn(Option<&str>, Result<T, Error>)` for who asks which client it is, by its sid, or `Fn()`.
///
/// The sid is none where it is not known, as of the clients of python-socketio's servers. You never
/// implement this trait: closures and functions do. The parameters of a closure need their types.
///
/// ```
/// use socketio::{Error, Server};
/// use std::time::Duration;
///
/// let io = Server::new();
/// let each = |sid: Option<&str>, vote: Result<bool, Error>| println!("{sid:?}: {vote:?}");
/// io.to("jury").emit_with_ack("vote", (), Duration::from_secs(30), each)?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "this function cannot be called with the answers of recipients",
    label = "not a callback",
    note = "a callback is `Fn()`, `Fn(Result<T, Error>)` or `Fn(Option<&str>, Result<T, Error>)`, with the parameters' types written, and what it captures is `Send + Sync`"
)]
pub trait RecipientsCallback<Shape>: Send + Sync + 'static {
    #[doc(hidden)]
    fn call(&self, sid: Option<&str>, answer: Result<AckResponse, Error>);
}

impl<F: Fn() + Send + Sync + 'static> RecipientsCallback<()> for F {
    fn call(&self, _: Option<&str>, _: Result<AckResponse, Error>) {
        self();
    }
}

impl<T, F> RecipientsCallback<(T,)> for F
where
    T: DeserializeOwned,
    F: Fn(Result<T, Error>) + Send + Sync + 'static,
{
    fn call(&self, _: Option<&str>, answer: Result<AckResponse, Error>) {
        self(answer.and_then(|it| it.decode()));
    }
}

impl<T, F> RecipientsCallback<(Option<&str>, T)> for F
where
    T: DeserializeOwned,
    F: Fn(Option<&str>, Result<T, Error>) + Send + Sync + 'static,
{
    fn call(&self, sid: Option<&str>, answer: Result<AckResponse, Error>) {
        self(sid, answer.and_then(|it| it.decode()));
    }
}
