//! What servers and clients share in front of users: handlers, events and acknowledgements.

pub(crate) mod ack;
pub(crate) mod encode;
pub(crate) mod event;
pub(crate) mod handler;
pub(crate) mod invoke;
pub(crate) mod registry;
pub(crate) mod service;

pub(crate) use ack::AckResponse;
pub use event::{Ack, Event};
pub use handler::{ConnectHandler, Context, Handler, HandlerError, IntoAck, Json, Refused, Reply};
pub(crate) use service::Events;
pub use service::{Method, Next, Outcome};

pub(crate) use ack::{PendingAcks, Waiting};
pub(crate) use event::{Incoming, Peer};
pub(crate) use handler::StoredConnect;
