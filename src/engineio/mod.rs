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

mod broadcast_row;
#[cfg(feature = "client")]
pub(crate) mod client;
mod config;
mod driver;
mod driving;
mod eio3;
pub(crate) mod frames;
mod handle;
mod handshake;
mod message;
mod on_handshake;
#[cfg(feature = "server")]
mod options;
mod poll_body;
mod polling;
mod posting;
#[cfg(feature = "server")]
mod server;
mod server_entry;
mod serving;
mod session_queue;
mod write_batching;

#[cfg(all(feature = "client", feature = "tls"))]
pub use client::ClientTls;
#[cfg(feature = "client")]
pub use client::{Client, ClientBuilder, CookieJar, Proxy};
pub use config::{Cookie, Transport};
pub use message::Message;
#[cfg(feature = "server")]
pub use on_handshake::Handshake;
#[cfg(feature = "server")]
pub use server::{Accept, Server, ServerBuilder, Session};

pub(crate) use broadcast_row::HeldBroadcasts;
pub(crate) use config::{EngineConfig, copied};
pub(crate) use frames::Frames;
pub(crate) use handle::{SessionHandle, block_in_place, lock_when};
pub(crate) use on_handshake::OnHandshake;
#[cfg(feature = "server")]
pub(crate) use options::engine_options;
pub(crate) use serving::{FallbackHandler, Responder, RunningEngine, Site};
pub(crate) use session_queue::SessionQueue;

use crate::net::http::Request;
use crate::pool::QueueState;
use crate::protocol::engineio::Data;
use crate::reason::Reason;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

/// User of Engine.IO sessions: Socket.IO, or the program itself. Called on an I/O thread.
pub(crate) trait Acceptor: Send + Sync + Debug + 'static {
    /// Returns whether the program is asked about each client, on a worker, before the session
    /// opens.
    fn asks(&self) -> bool;

    /// Returns the program's function that is asked about requests, if there is one.
    fn on_handshake(&self) -> Option<OnHandshake>;

    /// Returns where the JSON begins in a packet of text, if that can be told: clients of revision
    /// 3 need it in ASCII.
    fn json_at(&self, packet: &str) -> usize {
        packet.len()
    }

    /// Decides about a client that wants to open a session.
    fn open(&self, session: &Arc<SessionHandle>, request: Request) -> Admission;
}

/// Decision about a session that a client asks for.
pub(crate) enum Admission {
    Accept(Box<dyn SessionHandler>),
    /// A function of the program must be asked, on a worker.
    Deferred(Box<dyn FnOnce() -> Result<Box<dyn SessionHandler>, HandshakeRefusal> + Send>),
}

/// A refusal by the program, as the client sees it.
#[derive(Debug)]
pub(crate) struct HandshakeRefusal {
    /// JSON text.
    pub(crate) body: String,
}

/// User of one session after the other: Socket.IO or a program, on a server or a client. Called on
/// the session's I/O thread.
pub(crate) trait SessionHandler: Send {
    /// Notes that the client has been told that its session is open, or will be before anything
    /// else.
    fn opened(&mut self) {}

    /// Notes that the session has moved to a WebSocket.
    fn upgraded(&mut self) {}

    fn receive(&mut self, now: Instant, message: Data<'_>) -> Control;

    /// Handles the end of one read: its messages have come, if any was complete.
    fn on_read_complete(&mut self, now: Instant) -> Control;

    /// Tells the other side why this one is about to end the session: the last chance to do so.
    fn before_close(&mut self) {}

    /// Handles the end of the session. Comes once, and last.
    fn close(&mut self, now: Instant, reason: Reason);

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    fn timeout(&mut self, _: Instant) -> Control {
        Control::Continue
    }

    /// Returns whether reading may go on after a [`Control::PauseReading`].
    fn may_resume(&self) -> bool {
        true
    }

    /// Returns the state of the queue of what has come.
    fn queue_state(&self) -> QueueState;

    /// Returns the bytes of a packet that is not complete, if a server may be short of memory for
    /// it.
    fn kept(&self) -> usize {
        0
    }

    /// Returns the bytes that wait for workers, if a server may be short of memory for them.
    fn waiting_bytes(&self) -> usize {
        0
    }

    /// Forgets what waits for workers, for want of memory; returns how many items that were.
    fn discard(&mut self) -> usize {
        0
    }
}

/// Instruction of a [`SessionHandler`] about its session.
#[must_use = "a stop that is dropped lets the peer go on"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Continue,
    /// Work was given to a worker, whose answers are flushed within a millisecond.
    Scheduled,
    /// No more for now: reading stops until [`SessionHandle::resume`].
    PauseReading,
    /// Close the session.
    Close(Reason),
}

/// Answers what is not Engine.IO: static files, the program's own HTTP. Called on a worker.
pub(crate) type Fallback = dyn Fn(Request, Responder) + Send + Sync;
