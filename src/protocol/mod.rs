//! The two protocols, Engine.IO 4 and Socket.IO 5, without sockets, threads or clocks.
//!
//! Bytes become packets here, and a session's state machine is told what arrived and what time it
//! is. It answers with what to do about it. Whoever owns sockets and clocks drives it.

pub(crate) mod engineio;
pub(crate) mod socketio;
