//! Socket.IO for programs made of threads.
//!
//! Servers and clients without an async runtime: handlers are plain closures that may block, and
//! `call` returns the answer.
//!
//! ```no_run
//! use socketio::{Server, Socket};
//!
//! let io = Server::new();
//! io.on("chat message", |socket: &Socket, text: String| {
//!     socket.broadcast().emit("chat message", &text)
//! });
//! io.run("127.0.0.1:5000")?;
//! # Ok::<(), socketio::Error>(())
//! ```
//!
//! [`Server`] is a server, [`App`] a port with more on it; [`Client`] is a client that stays
//! connected, [`SimpleClient`] one for scripts.
#![forbid(unsafe_code)]

mod app;
#[doc(hidden)]
pub mod bench;
mod budget;
#[cfg(test)]
mod budget_tests;
mod client;
mod dispatch;
pub mod engineio;
mod error;
#[cfg(test)]
mod fuzz;
mod limits;
mod log_limit;
pub mod manager;
mod protocol;
mod reactor;
mod reason;
mod server;
mod signals;
mod simple_client;
mod sync;
mod workers;

pub use app::{App, Serving};
/// The bytes in [`Binary`].
pub use bytes::Bytes;
pub use client::{Client, ClientBuilder, ClientService, ConnectOptions};
pub use dispatch::handler::Decision;
pub use dispatch::{
    Ack, Answer, Args, Binary, ConnectHandler, Context, Event, Events, Handler, HandlerError,
    IntoAck, Json, Method, Next, Outcome, Refused, Reply, Value,
};
#[cfg(feature = "tls")]
pub use engineio::ClientTls;
pub use engineio::Proxy;
pub use error::{ConnectError, Error};
pub use limits::{Limits, ReceiveLimits};
pub use reactor::http::cors::Origins;
pub use reactor::http::request::Request;
pub use reactor::http::upload::BodyReader;
#[cfg(feature = "tls")]
pub use reactor::tls::Tls;
pub use reason::Reason;
/// What [`App::http`] answers with.
pub use tiny_http;

pub use server::{Namespace, Namespaces, Rooms, Server, ServerBuilder, Service, Socket, To};

pub use simple_client::{SimpleClient, SimpleClientBuilder};

/// The README's examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
