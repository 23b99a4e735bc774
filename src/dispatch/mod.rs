//! What servers and clients share in front of users: handlers, their arguments and their answers.

pub(crate) mod ack;
pub(crate) mod args;
pub(crate) mod awaited;
pub(crate) mod binary;
pub(crate) mod event;
pub(crate) mod handler;
pub(crate) mod handlers;
pub(crate) mod outgoing;
pub(crate) mod replaced;
pub(crate) mod running;
pub(crate) mod service;
pub(crate) mod value;

pub(crate) use ack::Answer;
pub use args::Args;
pub use binary::Binary;
pub use event::{Ack, Event};
pub use handler::{ConnectHandler, Context, Handler, HandlerError, IntoAck, Json, Refused, Reply};
pub use service::{Events, Method, Next, Outcome};
pub use value::Value;

pub(crate) use ack::{Acks, Waiting};
pub(crate) use args::Encoded;
pub(crate) use event::{Incoming, Peer};
pub(crate) use handler::StoredConnect;
