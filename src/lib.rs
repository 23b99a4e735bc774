//! Socket.IO servers and clients for programs made of threads: no async runtime, handlers are plain
//! closures that may block, and `call` returns the answer.
//!
//! # Servers
//!
//! A [`Server`] has handlers for connections and events, and runs on a port:
//!
//! ```no_run
//! use socketio::{Refused, Server, Socket, Value};
//!
//! let io = Server::new();
//! io.on_connect(|socket: &Socket, auth: Value| { // an object, or null
//!     if auth["token"] != "secret" {
//!         return Err(Refused::new("unauthorized"));
//!     }
//!     socket.enter_room("lobby").map_err(Refused::from)
//! });
//! io.on("chat message", |socket: &Socket, text: String| {
//!     socket.to("lobby").emit("chat message", &text)
//! });
//! io.on("sum", |a: i64, b: i64| a + b); // the returned value is the acknowledgement
//! io.run("127.0.0.1:5000")?; // until Ctrl-C
//! # Ok::<(), socketio::Error>(())
//! ```
//!
//! - [`Server`] is a cheap handle; [`ServerBuilder`] has its options, [`Limits`] what a peer may cost.
//! - [`Socket`] is one connected client on one namespace. It has rooms, a user session, and `emit`,
//!   `call` and `emit_with_ack`.
//! - [`Namespace`] is what `io.of("/admin")` returns; [`Service`] is a namespace written as a type.
//! - [`BroadcastOperator`] addresses rooms and clients: `io.to("lobby").skip(sid).emit(..)`.
//! - [`App`] is a port with static files and the program's own HTTP application beside Socket.IO.
//! - [`manager`] joins several servers over Redis, RabbitMQ, Kafka or ZeroMQ.
//!
//! # Clients
//!
//! [`Client`] has handlers and reconnects by itself; [`SimpleClient`] is for scripts:
//!
//! ```no_run
//! use socketio::SimpleClient;
//! use std::time::Duration;
//!
//! let client = SimpleClient::connect("http://127.0.0.1:5000")?;
//! let sum: i64 = client.call("sum", (1, 2), Duration::from_secs(5))?;
//! # Ok::<(), socketio::Error>(())
//! ```
//!
//! # Data
//!
//! Arguments are any types of serde. A tuple is several arguments, `()` is none. Bytes, at any
//! depth, are [`Binary`]; data of any shape is a [`Value`].
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `server` | yes | [`Server`], [`App`], [`manager`], [`engineio::Server`] |
//! | `client` | yes | [`Client`], [`SimpleClient`], [`engineio::Client`]; brings ureq, an HTTP client |
//! | `tls` | yes | TLS on both sides, by rustls with ring |
//! | `compression` | yes | gzip and deflate of polling responses |
//! | `redis` | no | managers over Redis and Valkey; this one and the next three imply `server` |
//! | `amqp` | no | managers over RabbitMQ; lapin brings an async runtime of its own |
//! | `kafka` | no | managers over Kafka; needs a C compiler and zlib |
//! | `zmq` | no | managers over ZeroMQ; needs a C++ compiler |
//! | `msgpack` | no | [`Parser`]: packets in MessagePack, on both sides |
//! | `cbor`, `pickle` | no | packets in CBOR, and in Python's pickle |
//! | `bcrypt` | no | hashed passwords for the Admin UI |
//! | `cli` | no | the program `sio`, Socket.IO in the terminal |
//!
//! # More
//!
//! The [`guide`] explains handlers, clients, several servers, deployment, performance and security,
//! and has a table for those who come from python-socketio. [`engineio`] is Engine.IO by itself.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// What a peer sends must not be able to end a thread.
#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)
)]
#![cfg_attr(
    not(all(feature = "client", feature = "server")),
    allow(
        dead_code,
        unreachable_pub,
        unused_imports,
        reason = "the lower layers serve both sides"
    )
)]

#[cfg(feature = "server")]
mod app;
#[cfg(all(feature = "_bench", feature = "client", feature = "server"))]
#[doc(hidden)]
pub mod bench_support;
#[cfg(feature = "client")]
mod client;
mod data;
pub mod engineio;
mod error;
#[cfg(all(feature = "client", feature = "server"))]
pub mod guide;
mod handlers;
mod limits;
#[cfg(feature = "server")]
pub mod manager;
mod net;
pub mod parser;
mod pool;
mod protocol;
mod reason;
#[cfg(feature = "server")]
mod server;
mod util;
mod value_macro;

#[cfg(feature = "server")]
pub use app::{App, HttpRequest, IncomingRequests, Serving};
/// The bytes in [`Binary`].
pub use bytes::Bytes;
#[cfg(feature = "client")]
pub use client::simple::{SimpleClient, SimpleClientBuilder};
#[cfg(feature = "client")]
pub use client::{Client, ClientBuilder, ClientService, ConnectOptions, Protocol};
pub use data::{Args, Binary, Object, Value};
#[cfg(all(feature = "client", feature = "tls"))]
pub use engineio::ClientTls;
#[cfg(feature = "server")]
pub use engineio::Handshake;
#[cfg(feature = "client")]
pub use engineio::{CookieJar, Proxy};
pub use error::{ConnectError, Error, LimitExceeded};
pub use handlers::{Ack, AckPayload, AckValue, Event, HandlerError, Json, Next, Refused};
pub use limits::{Limits, ReceiveLimits};
#[cfg(feature = "server")]
pub use net::http::cors::{AllowedOrigins, OriginCheck};
#[cfg(feature = "server")]
pub use net::http::request::Request;
#[cfg(feature = "server")]
pub use net::http::upload::BodyReader;
#[cfg(feature = "server")]
pub use net::listener::{Accepted, Listener, PeerAddr};
#[cfg(all(feature = "server", feature = "tls"))]
pub use net::tls::Tls;
pub use parser::Parser;
pub use reason::Reason;
/// The crate of [`Tls::from_config`]'s configuration.
#[cfg(all(feature = "server", feature = "tls"))]
pub use rustls;
#[cfg(feature = "server")]
pub use server::{
    AllowedNamespaces, BroadcastOperator, Metrics, Namespace, Server, ServerBuilder, Service,
    ServiceEvents, Socket, TimedSocket, admin,
};
/// The crate of [`App::http`]'s responses.
#[cfg(feature = "server")]
pub use tiny_http;

/// The traits of handlers, of what they return, and of lists of rooms: bounds that the compiler
/// names and programs seldom do.
pub mod handler {
    pub use crate::handlers::connect::IntoConnectResult;
    pub use crate::handlers::{
        AckCallback, Check, ConnectHandler, DisconnectHandler, ErrorAck, Handler, HandlerContext,
        IntoAck, RecipientsCallback, ServiceMethod,
    };
    #[cfg(feature = "server")]
    pub use crate::server::IntoRooms;
}

/// The README's examples, compiled.
#[cfg(all(doctest, feature = "client", feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;
