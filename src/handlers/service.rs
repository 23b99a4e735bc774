//! Methods as handlers: what namespaces that are types are made of.

use super::answer::{HandlerError, IntoAck};
use super::event::{Event, IncomingEvent};
use super::handler::{HandlerContext, With, WithEvent, Without, arguments};
use super::registry::HandlesEvents;
use crate::data::EncodedArgs;
use crate::error::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A method that handles an event: like [`Handler`](crate::handler::Handler), behind `&self`.
///
/// ```
/// use socketio::{Server, Service, ServiceEvents, Socket};
///
/// struct Sums;
///
/// impl Sums {
///     fn add(&self, a: i64, b: i64) -> i64 {
///         a + b
///     }
///
///     fn whisper(&self, socket: &Socket, text: String) {
///         let _ = socket.emit("whispered", text);
///     }
/// }
///
/// impl Service for Sums {
///     fn events(on: &mut ServiceEvents<Self>) {
///         on.on("add", Self::add).on("whisper", Self::whisper);
///     }
/// }
///
/// Server::new().of("/sums").register(Sums);
/// ```
#[diagnostic::on_unimplemented(
    message = "this method cannot handle an event of the service",
    note = "it is `fn(&self, [&Socket,] [&Event,] A, B, ..) -> R` with at most eight arguments"
)]
pub trait ServiceMethod<S, P, Shape>: Send + Sync + 'static {
    /// Type of the returned value.
    type Output;

    #[doc(hidden)]
    fn call(&self, service: &S, incoming: &IncomingEvent<P>) -> Result<Self::Output, HandlerError>;
}

macro_rules! methods {
    ($($name:ident)*) => {
        #[diagnostic::do_not_recommend]
        impl<Own, P, Ctx, Fun, Out, $($name,)*> ServiceMethod<Own, P, (With<Ctx>, $($name,)*)> for Fun
        where
            Ctx: HandlerContext<P>,
            Fun: Fn(&Own, &Ctx, $($name,)*) -> Out + Send + Sync + 'static,
            $($name: DeserializeOwned,)*
        {
            type Output = Out;

            #[allow(non_snake_case)]
            fn call(&self, service: &Own, incoming: &IncomingEvent<P>) -> Result<Out, HandlerError> {
                let ($($name,)*) = arguments(incoming)?;
                Ok(self(service, Ctx::of(incoming), $($name,)*))
            }
        }

        #[diagnostic::do_not_recommend]
        impl<Own, P, Ctx, Fun, Out, $($name,)*> ServiceMethod<Own, P, (WithEvent<Ctx>, $($name,)*)> for Fun
        where
            Ctx: HandlerContext<P>,
            Fun: Fn(&Own, &Ctx, &Event, $($name,)*) -> Out + Send + Sync + 'static,
            $($name: DeserializeOwned,)*
        {
            type Output = Out;

            #[allow(non_snake_case)]
            fn call(&self, service: &Own, incoming: &IncomingEvent<P>) -> Result<Out, HandlerError> {
                let ($($name,)*) = arguments(incoming)?;
                Ok(self(service, Ctx::of(incoming), &incoming.event, $($name,)*))
            }
        }

        #[diagnostic::do_not_recommend]
        impl<Own, P, Fun, Out, $($name,)*> ServiceMethod<Own, P, (Without, $($name,)*)> for Fun
        where
            Fun: Fn(&Own, $($name,)*) -> Out + Send + Sync + 'static,
            $($name: DeserializeOwned,)*
        {
            type Output = Out;

            #[allow(non_snake_case)]
            fn call(&self, service: &Own, incoming: &IncomingEvent<P>) -> Result<Out, HandlerError> {
                let ($($name,)*) = arguments(incoming)?;
                Ok(self(service, $($name,)*))
            }
        }
    };
}

methods!();
methods!(A);
methods!(A B);
methods!(A B C);
methods!(A B C D);
methods!(A B C D E);
methods!(A B C D E F);
methods!(A B C D E F G);
methods!(A B C D E F G H);

type BoxedMethod<S, P> =
    Arc<dyn Fn(&S, &IncomingEvent<P>, &mut EncodedArgs) -> Result<(), HandlerError> + Send + Sync>;

/// The methods of a service, by the events that they handle.
pub struct ServiceEvents<S, P> {
    methods: HashMap<String, BoxedMethod<S, P>>,
}

impl<S: 'static, P: 'static> ServiceEvents<S, P> {
    pub(crate) fn new() -> ServiceEvents<S, P> {
        ServiceEvents {
            methods: HashMap::new(),
        }
    }

    /// Registers a method as the handler of an event. Replaces one that was registered before.
    ///
    /// # Panics
    /// If the event's name is reserved: `connect`, `connect_error`, `disconnect`, `disconnecting`,
    /// `newListener` or `removeListener`.
    #[track_caller]
    pub fn on<Shape, M>(&mut self, event: &str, method: M) -> &mut Self
    where
        M: ServiceMethod<S, P, Shape, Output: IntoAck>,
    {
        assert_not_reserved(event);
        let method: BoxedMethod<S, P> = Arc::new(move |service, incoming, answer| {
            method.call(service, incoming)?.append_to(answer)
        });
        self.methods.insert(event.to_owned(), method);
        self
    }

    /// Returns whether a method handles this event.
    pub fn handles(&self, event: &str) -> bool {
        self.methods.contains_key(event)
    }

    /// Calls the method that handles an event. Without one, the answer is empty, as in
    /// python-socketio.
    pub(crate) fn call(
        &self,
        service: &S,
        incoming: &IncomingEvent<P>,
    ) -> Result<AckPayload, HandlerError> {
        let mut answer = EncodedArgs::default();
        answer.encoding = incoming.event.encoding();
        if let Some(method) = self.methods.get(incoming.event.name()) {
            method(service, incoming, &mut answer)?;
        }
        Ok(AckPayload(answer))
    }
}

/// A type whose methods are handlers, on either side.
pub(crate) trait EventService<P>: Sized {
    fn event(&self, peer: &P, event: &Event, next: Next<'_>) -> Result<AckPayload, HandlerError>;
}

/// A type that is registered, with its methods.
pub(crate) struct Registered<S, P> {
    pub(crate) service: S,
    events: ServiceEvents<S, P>,
}

impl<S: 'static, P: 'static> Registered<S, P> {
    /// Registers a service; `fill` is its own list of methods.
    pub(crate) fn new(service: S, fill: impl FnOnce(&mut ServiceEvents<S, P>)) -> Registered<S, P> {
        let mut events = ServiceEvents::new();
        fill(&mut events);
        Registered { service, events }
    }
}

impl<S: EventService<P> + 'static, P: 'static> HandlesEvents<P> for Registered<S, P> {
    fn event(
        &self,
        incoming: &IncomingEvent<P>,
        answer: &mut EncodedArgs,
    ) -> Result<(), HandlerError> {
        let call = || self.events.call(&self.service, incoming);
        let next = Next::new(&call);
        let outcome = self.service.event(&incoming.peer, &incoming.event, next)?;
        Ok(answer.replace(outcome.0)?)
    }
}

impl<S, P> fmt::Debug for ServiceEvents<S, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.methods.keys()).finish()
    }
}

/// Arguments of an acknowledgement.
///
/// ```
/// use socketio::{AckPayload, Event, HandlerError, Next, Server, Service, ServiceEvents, Socket};
///
/// struct Closed;
///
/// impl Service for Closed {
///     fn events(_: &mut ServiceEvents<Self>) {}
///
///     /// Answers everything with the same, whatever the event is.
///     fn event(&self, _: &Socket, _: &Event, _: Next) -> Result<AckPayload, HandlerError> {
///         Ok(AckPayload::new("we are closed")?)
///     }
/// }
///
/// Server::new().of("/shop").register(Closed);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckPayload(pub(crate) EncodedArgs);

impl AckPayload {
    /// Acknowledges with data: a tuple is several values, `()` none.
    ///
    /// # Errors
    /// [`Error::Encode`] if the data cannot be JSON.
    pub fn new(data: impl Serialize) -> Result<AckPayload, Error> {
        EncodedArgs::new(&data).map(AckPayload)
    }
}

/// The way on to the method that handles an event.
///
/// ```
/// use socketio::{AckPayload, Event, HandlerError, Next, Server, Service, ServiceEvents, Socket};
/// use std::time::Instant;
///
/// struct Timed;
///
/// impl Service for Timed {
///     fn events(on: &mut ServiceEvents<Self>) {
///         on.on("sum", |_: &Timed, a: i64, b: i64| a + b);
///     }
///
///     fn event(&self, _: &Socket, event: &Event, next: Next) -> Result<AckPayload, HandlerError> {
///         let begun = Instant::now();
///         let answer = next.call();
///         println!("{} took {:?}", event.name(), begun.elapsed());
///         answer
///     }
/// }
///
/// Server::new().of("/sums").register(Timed);
/// ```
pub struct Next<'a>(&'a dyn Fn() -> Result<AckPayload, HandlerError>);

impl<'a> Next<'a> {
    pub(crate) fn new(method: &'a dyn Fn() -> Result<AckPayload, HandlerError>) -> Next<'a> {
        Next(method)
    }

    /// Calls the method, and returns what is to be acknowledged.
    ///
    /// # Errors
    /// The failure of the handler, arguments of other types included.
    pub fn call(self) -> Result<AckPayload, HandlerError> {
        (self.0)()
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Next")
    }
}

/// Names that the protocol keeps for itself are a mistake in the program.
#[allow(
    clippy::panic,
    reason = "a mistake of the program, found where it registers"
)]
#[track_caller]
pub(crate) fn assert_not_reserved(event: &str) {
    let instead = match event {
        "connect" => "on_connect",
        "connect_error" => "on_connect_error, on a client",
        "disconnect" => "on_disconnect",
        _ if crate::protocol::socketio::is_reserved(event) => "another name",
        _ => return,
    };
    panic!("{event:?} is no event that can be handled: use {instead}");
}
