//! Closures as handlers, by the number and the types of their parameters.

use super::answer::{HandlerError, IntoAck};
use super::event::{Event, IncomingEvent};
use crate::data::EncodedArgs;
use crate::data::args::FromArgs;
use serde::de::DeserializeOwned;
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
/// - An argument that does not decode is logged; the handler does not run, and nothing is
///   acknowledged, unless a server's [`on_error`](crate::Namespace::on_error) says otherwise.
/// - With `&Event`, alone or behind `&Socket` or `&Client`, it gets the event as it came, besides the
///   arguments.
///
/// ```
/// use socketio::{Event, Server, Socket};
///
/// let io = Server::new();
/// io.on("sum", |a: i64, b: i64| a + b);
/// io.on("say", |socket: &Socket, text: String| {
///     let _ = socket.broadcast().emit("said", text);
/// });
/// io.on("move", |socket: &Socket, event: &Event, to: (u8, u8)| {
///     println!("{}: {} {to:?}", socket.sid(), event.name());
/// });
/// ```
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
    fn call(&self, incoming: &IncomingEvent<P>) -> Result<Self::Output, HandlerError>;
}

/// Type of a handler's first parameter: `Socket` on a server, `Client` on a client, and `Event`.
///
/// ```
/// use socketio::{Client, Event, Server, Socket};
///
/// Server::new().on("hello", |socket: &Socket| socket.sid().to_owned());
/// Client::new().on("hello", |client: &Client| client.is_connected());
/// Server::new().on("hello", |event: &Event| event.name().to_owned());
/// ```
#[diagnostic::on_unimplemented(
    message = "`&{Self}` cannot be the first parameter of a handler on this side",
    note = "it can be `&Socket` on a server, `&Client` on a client, and `&Event` on both"
)]
pub trait HandlerContext<P> {
    #[doc(hidden)]
    fn of(incoming: &IncomingEvent<P>) -> &Self;
}

impl<P> HandlerContext<P> for Event {
    fn of(incoming: &IncomingEvent<P>) -> &Event {
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
            Ctx: HandlerContext<P>,
            Fun: Fn(&Ctx, $($name,)*) -> Out + Send + Sync + 'static,
            $($name: DeserializeOwned,)*
        {
            type Output = Out;

            #[allow(non_snake_case)]
            fn call(&self, incoming: &IncomingEvent<P>) -> Result<Out, HandlerError> {
                let ($($name,)*) = arguments(incoming)?;
                Ok(self(Ctx::of(incoming), $($name,)*))
            }
        }

        #[diagnostic::do_not_recommend]
        impl<P, Ctx, Fun, Out, $($name,)*> Handler<P, (WithEvent<Ctx>, $($name,)*)> for Fun
        where
            Ctx: HandlerContext<P>,
            Fun: Fn(&Ctx, &Event, $($name,)*) -> Out + Send + Sync + 'static,
            $($name: DeserializeOwned,)*
        {
            type Output = Out;

            #[allow(non_snake_case)]
            fn call(&self, incoming: &IncomingEvent<P>) -> Result<Out, HandlerError> {
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
            fn call(&self, incoming: &IncomingEvent<P>) -> Result<Out, HandlerError> {
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

pub(super) fn arguments<P, T: FromArgs>(incoming: &IncomingEvent<P>) -> Result<T, HandlerError> {
    let event = &incoming.event;
    let received = event.received();
    received
        .decode(1)
        .map_err(|mismatch| HandlerError::new(mismatch.without_value(received.has_attachments())))
}

/// A handler in a table. It appends what is to be acknowledged.
pub(crate) type BoxedHandler<P> =
    Arc<dyn Fn(&IncomingEvent<P>, &mut EncodedArgs) -> Result<(), HandlerError> + Send + Sync>;

pub(crate) fn boxed<P, S, H>(handler: H) -> BoxedHandler<P>
where
    H: Handler<P, S, Output: IntoAck>,
{
    Arc::new(move |incoming, answer| handler.call(incoming)?.append_to(answer))
}
