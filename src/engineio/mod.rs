//! Engine.IO: sessions over transports that come and go.
//!
//! Socket.IO is built on it, and so can be other things: [`Server`] is the Engine.IO half by
//! itself. A session begins with polling or with a WebSocket, may move from the one to the other,
//! and carries messages of text or bytes, in order, until one side or the network ends it.
//!
//! ```no_run
//! use socketio::engineio::{Message, Server};
//! use socketio::App;
//!
//! let engine = Server::new();
//! engine.on_message(|session, message| {
//!     let _ = session.send(message);
//! });
//! App::engineio(&engine).run("127.0.0.1:5000")?;
//! # Ok::<(), socketio::Error>(())
//! ```

mod answers;
pub(crate) mod client;
mod config;
mod corks;
mod desk;
mod driver;
pub(crate) mod frames;
mod handshake;
mod public;
mod row;
mod serving;
mod session;

#[cfg(feature = "tls")]
pub use client::ClientTls;
pub use client::{Client, ClientBuilder, Proxy};
pub use config::{Cookie, Transport};
pub(crate) use public::engine_options;
pub use public::{Accept, Message, Server, ServerBuilder, Session};

pub(crate) use config::Config;
pub(crate) use desk::Desk;
pub(crate) use frames::Frames;
pub(crate) use row::HeldBroadcasts;
pub(crate) use serving::{Elsewhere, Serving};
pub(crate) use session::{Handle, before_waiting};

use crate::net::http::{Request, Response};
use crate::pool::Busy;
use crate::protocol::engineio::Data;
use crate::reason::Reason;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

/// User of Engine.IO sessions: Socket.IO, or the program itself. Called on an I/O thread.
pub(crate) trait Application: Send + Sync + Debug + 'static {
    /// Returns whether the program is asked about each client, on a worker, before the session
    /// opens.
    fn asks(&self) -> bool;

    /// A client wants to open a session.
    fn open(&self, session: &Arc<Handle>, request: Request) -> Opening;
}

/// Decision about a session that a client asks for.
pub(crate) enum Opening {
    Accepted(Box<dyn Receiver>),
    /// A function of the program must be asked, on a worker.
    Ask(Box<dyn FnOnce() -> Result<Box<dyn Receiver>, Refusal> + Send>),
}

/// A refusal by the program, as the client sees it.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// JSON text.
    pub(crate) body: String,
}

/// One session's messages. Called on its I/O thread.
pub(crate) trait Receiver: Send {
    /// The client has been told that its session is open, or will be before anything else.
    fn opened(&mut self) {}

    fn receive(&mut self, now: Instant, message: Data<'_>) -> Flow;

    /// All messages of one read have come, if any was complete.
    fn pause(&mut self, now: Instant) -> Flow;

    /// Forgets what waits for workers, for want of memory; returns how many items that were.
    fn discard(&mut self) -> usize;

    /// Returns the bytes that wait for workers.
    fn waiting(&self) -> usize;

    /// Returns the bytes of a packet that is not complete.
    fn kept(&self) -> usize {
        0
    }

    /// The server ends the session: the last chance to tell the client why.
    fn dismiss(&mut self) {}

    /// The session has ended. Comes once, and last.
    fn close(&mut self, now: Instant, reason: Reason);

    fn next_timeout(&self) -> Option<Instant>;

    fn timeout(&mut self, now: Instant) -> Flow;

    /// Returns the state of the queue of what has come.
    fn busy(&self) -> Busy;
}

/// Instruction of a receiver about its session.
#[must_use = "a stop that is dropped lets the peer go on"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    /// Work was given to a worker, whose answers are flushed within a millisecond.
    Draining,
    /// No more for now: reading stops until [`Handle::resume`].
    Stop,
    /// Close the session.
    Close(Reason),
}

/// Answers what is not Engine.IO: static files, the program's own HTTP. Called on a worker.
pub(crate) type Fallback = dyn Fn(Request) -> Response + Send + Sync;
