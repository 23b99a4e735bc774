//! Parts of the API that servers and clients share: handlers, events and acknowledgements.

pub(crate) mod ack;
pub(crate) mod answer;
pub(crate) mod callback;
pub(crate) mod connect;
pub(crate) mod encode;
pub(crate) mod event;
pub(crate) mod handler;
pub(crate) mod invoke;
pub(crate) mod registry;
pub(crate) mod service;

pub(crate) use ack::AckResponse;
pub use answer::{AckValue, Check, ErrorAck, HandlerError, IntoAck, Json};
pub use callback::{AckCallback, RecipientsCallback};
pub use connect::{ConnectHandler, DisconnectHandler, Refused};
pub use event::{Ack, Event};
pub use handler::{Handler, HandlerContext};
pub(crate) use service::ServiceEvents;
pub use service::{AckPayload, Next, ServiceMethod};

pub(crate) use ack::{AckWaiter, PendingAcks};
pub(crate) use connect::{Auth, BoxedConnect, BoxedDisconnect, boxed_disconnect};
pub(crate) use event::{EventSource, IncomingEvent};
