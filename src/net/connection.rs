//! One connection, as its I/O thread knows it.

use super::body_stream::BodyStream;
use super::http::upload::Upload;
use super::http::{BodyDecoder, Head};
use super::listener::PeerAddr;
use super::outbox::Outbox;
use super::socket::StreamSocket;
use super::timers::Timer;
use super::websocket::FrameDecoder;
use crate::util::budget::Share;
use crate::util::log_limit::LogLimit;
use crate::util::slots::Slot;
use std::sync::Arc;

/// A connection's place in its I/O thread, and which of those that were there it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId {
    pub(super) index: u32,
    pub(super) serial: u32,
}

impl ConnectionId {
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_u64(number: u64) -> ConnectionId {
        ConnectionId {
            index: number as u32,
            serial: (number >> 32) as u32,
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) socket: Arc<StreamSocket>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) peer: PeerAddr,
    pub(super) state: ConnectionState,
    /// Bytes that were read and not understood yet.
    pub(super) unread: Vec<u8>,
    /// Key by which the driver knows it.
    pub(super) owner: Option<u64>,
    pub(super) timer: Timer,
    /// The socket may hold more bytes.
    pub(super) readable: bool,
    /// The peer will send nothing more.
    pub(super) read_closed: bool,
    /// Reading was stopped on purpose.
    pub(super) read_paused: bool,
    /// The body that who answers reads as it comes.
    pub(super) upload: Option<Box<Upload>>,
    /// Bytes of a body since its deadline was set.
    pub(super) progress: usize,
    /// Bytes of requests and messages that are not complete, in the budget.
    pub(super) share: Share,
    pub(super) log_limit: LogLimit,
    /// Its place among the connections; none of a client's own.
    pub(super) slot: Option<Slot>,
}

impl Connection {
    /// Returns the bytes of requests and messages that are not complete, or not handled.
    pub(super) fn kept(&self) -> usize {
        let partial = match &self.state {
            ConnectionState::Body(reading) => reading.1.kept(),
            ConnectionState::WebSocket(decoder) => decoder.kept(),
            _ => 0,
        };
        self.unread.len() + partial
    }

    /// Returns the same, and what waits to be written, unless it is a session's.
    pub(super) fn held(&self) -> usize {
        let waiting = match &self.state {
            ConnectionState::WebSocket(_) | ConnectionState::Taken => 0,
            _ => self.outbox.waiting_bytes(),
        };
        self.kept() + waiting
    }
}

/// What a connection is at.
///
/// Reading may be stopped on purpose in any of these states, and the peer may have stopped sending
/// in any of them: [`Connection`] has flags for that.
#[derive(Debug)]
pub(super) enum ConnectionState {
    /// Waiting for a request's head.
    Head {
        /// No request has come over it yet: its deadline has been set when it was accepted.
        is_first: bool,
        /// The unread bytes are the beginning of a head, and no line has ended since: they are not
        /// parsed again for every byte of a client that sends them one by one.
        is_partial: bool,
    },
    /// Reading a request's body.
    Body(Box<(Head, BodyDecoder)>),
    /// The driver has the request.
    AwaitingResponse(RequestMeta),
    /// An answer's body is read on a worker, or waits to be continued.
    StreamingBody(RequestMeta, Option<Box<BodyStream>>),
    WebSocket(FrameDecoder),
    /// The last bytes are being written; nothing is read any more.
    Flushing,
    /// Everything was written: the peer closes, or is closed in a moment.
    Lingering,
    /// A decoder, or a body, has been taken out to work with.
    Taken,
}

/// Properties of a request that its response depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestMeta {
    pub(super) keep_alive: bool,
    pub(super) head_only: bool,
    /// The client knows chunks: HTTP/1.1.
    pub(super) is_http_11: bool,
}
