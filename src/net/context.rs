//! Operations of a driver on the connections of its I/O thread.

use super::body_stream::{self, BodyFraming, BodyStream, StreamState};
use super::commands::CommandSender;
use super::commands::{Command, IoShared, TransferredConnection};
use super::connection::{Connection, ConnectionId, ConnectionState, RequestMeta};
use super::http::response::write_headers;
use super::http::{Content, Header, Request, Response};
use super::listener::PeerAddr;
use super::outbox::{AppendError, Appended, Flush, Outbox};
use super::socket::StreamSocket;
use super::timers::Timers;
use super::websocket::{self, FrameDecoder, Role};
use crate::util::budget::{Budget, Share};
use crate::util::log_limit::LogLimit;
use crate::util::slots::Slot;
use mio::{Interest, Registry, Token};
use slab::Slab;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that a peer may take to close its side after everything was written to it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Owner of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    Connection(ConnectionId),
    /// The driver's own.
    Driver(u64),
    Accept,
}

/// A WebSocket to a server, its handshake done, on its way to an I/O thread.
#[derive(Debug)]
pub(crate) struct ConnectedSocket {
    pub(crate) socket: StreamSocket,
    pub(crate) peer: PeerAddr,
    /// Bytes that came behind the handshake.
    pub(crate) unread: Vec<u8>,
}

/// An I/O thread's connections, its timers and the time.
#[derive(Debug)]
pub(crate) struct IoContext<C> {
    pub(super) registry: Registry,
    pub(super) connections: Slab<Connection>,
    pub(crate) timers: Timers<TimerKey>,
    pub(super) now: Instant,
    /// Connections to look at once more in this turn.
    pub(super) pending_reads: Vec<ConnectionId>,
    /// The connection whose request is being handed over.
    pub(super) dispatching: Option<ConnectionId>,
    pub(super) senders: Arc<[CommandSender<Command<C>>]>,
    pub(super) index: usize,
    pub(super) options: Arc<IoShared>,
    /// No more requests: a connection ends with the answer that it waits for.
    pub(super) stopping: bool,
    next_serial: u32,
}

impl<C: Send + 'static> IoContext<C> {
    pub(super) fn new(
        registry: Registry,
        senders: Arc<[CommandSender<Command<C>>]>,
        index: usize,
        options: Arc<IoShared>,
    ) -> IoContext<C> {
        IoContext {
            registry,
            connections: Slab::new(),
            timers: Timers::new(),
            now: Instant::now(),
            pending_reads: Vec::new(),
            dispatching: None,
            senders,
            index,
            options,
            stopping: false,
            next_serial: 0,
        }
    }

    /// Returns the time at which this turn began.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Returns which of the I/O threads this is.
    pub(crate) fn thread(&self) -> usize {
        self.index
    }

    /// Returns their number.
    pub(crate) fn threads(&self) -> usize {
        self.senders.len()
    }

    pub(crate) fn sender(&self) -> &CommandSender<Command<C>> {
        &self.senders[self.index]
    }

    /// Runs something that may block on a worker.
    pub(crate) fn execute(&self, job: impl FnOnce() + Send + 'static) {
        self.options.executor.execute(Box::new(job));
    }

    /// Does the same for what is quick, and awaited.
    #[cfg(feature = "compression")]
    pub(crate) fn execute_quick(&self, job: impl FnOnce() + Send + 'static) {
        self.options.executor.execute_quick(Box::new(job));
    }

    /// Returns whether such a job would be begun soon.
    #[cfg(feature = "compression")]
    pub(crate) fn has_room(&self) -> bool {
        self.options.executor.has_room()
    }

    /// Returns a share of what may wait on this port.
    pub(crate) fn share(&self) -> Share {
        self.options.share()
    }

    /// Returns the budget of this port.
    pub(crate) fn budget(&self) -> Option<Arc<Budget>> {
        self.options.budget.get().cloned()
    }

    /// Returns whether a record that the peer causes may be written, of those of its connection.
    pub(crate) fn may_log(&self, id: ConnectionId, level: log::Level) -> bool {
        log::log_enabled!(target: "engineio", level)
            && self
                .get(id)
                .is_none_or(|connection| connection.log_limit.admits(connection.peer))
    }

    pub(crate) fn is_alive(&self, id: ConnectionId) -> bool {
        self.get(id).is_some()
    }

    /// Returns the outbox of a connection that is there.
    pub(crate) fn outbox(&self, id: ConnectionId) -> Option<Arc<Outbox>> {
        self.get(id)
            .map(|connection| Arc::clone(&connection.outbox))
    }

    /// Sets the driver's part that is told when the connection goes away.
    pub(crate) fn set_owner(&mut self, id: ConnectionId, owner: Option<u64>) {
        if let Some(connection) = self.get_mut(id) {
            connection.owner = owner;
        }
    }

    /// Answers the request of a connection.
    pub(crate) fn respond(&mut self, id: ConnectionId, response: Response) {
        let write_timeout = self.options.limits.write_timeout;
        let now = self.now;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let ConnectionState::AwaitingResponse(mut meta) = connection.state else {
            return;
        };
        if connection.upload.take().is_some() {
            // Nobody reads the rest, in which the next request cannot be found.
            connection.read_paused = false;
            meta.keep_alive = false;
        }
        meta.keep_alive &= !response.close && !connection.read_closed;
        let until_close = !meta.is_http_11 && response.has_unknown_length();
        meta.keep_alive &= !until_close;
        let mut bytes = Vec::with_capacity(256);
        response.write_head(meta.keep_alive, !until_close, &mut bytes);
        let has_body = !meta.head_only && !matches!(response.status, 100..=199 | 204 | 304);
        connection.owner = None;
        match response.content {
            Content::Reader { reader, length } if has_body => {
                self.append(id, &bytes);
                let Some(connection) = self.get_mut(id) else {
                    return;
                };
                let framing = match length {
                    Some(length) => BodyFraming::Length(length),
                    None if until_close => BodyFraming::UntilClose,
                    None => BodyFraming::Chunked,
                };
                let stream = BodyStream::new(reader, framing, Arc::clone(&connection.outbox));
                connection.state = ConnectionState::StreamingBody(meta, None);
                self.set_deadline(id, Some(now + write_timeout));
                self.run_stream(id, Box::new(stream));
            }
            Content::Bytes(body) if has_body => {
                bytes.extend_from_slice(&body);
                self.append(id, &bytes);
                self.end_exchange(id, meta);
            }
            _ => {
                self.append(id, &bytes);
                self.end_exchange(id, meta);
            }
        }
    }

    /// Turns a connection into a WebSocket of `owner` and writes `frames` on it.
    pub(crate) fn upgrade(
        &mut self,
        id: ConnectionId,
        owner: u64,
        key: &str,
        headers: &[Header],
        frames: &[u8],
    ) {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let handshake_headers = [
            (Cow::Borrowed("Upgrade"), Cow::Borrowed("websocket")),
            (Cow::Borrowed("Connection"), Cow::Borrowed("Upgrade")),
            (Cow::Borrowed("Sec-WebSocket-Accept"), Cow::Owned(accept)),
        ];
        write_headers(&handshake_headers, &mut bytes);
        write_headers(headers, &mut bytes);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(frames);
        let max_message = self.options.max_message;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.owner = Some(owner);
        connection.state = ConnectionState::WebSocket(FrameDecoder::new(Role::Server, max_message));
        self.append(id, &bytes);
        self.set_deadline(id, None);
        if self.dispatching != Some(id) {
            // While the program was asked, nothing was read.
            self.pending_reads.push(id);
        }
    }

    /// Takes one more place among the connections, for a request that may outlive its own.
    pub(crate) fn take_slot(&self) -> Option<Slot> {
        let connections = &self.options.connections;
        connections.take(None, usize::MAX, usize::MAX).ok()
    }

    /// Attaches an outbox that was collecting to this connection.
    pub(crate) fn attach(&mut self, id: ConnectionId, outbox: &Arc<Outbox>) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let (_, rest) = connection.outbox.detach();
        connection.outbox = Arc::clone(outbox);
        let socket = Arc::clone(&connection.socket);
        self.check(id, outbox.attach(socket, rest));
    }

    /// Writes to a connection; if that fails, its reading end will notice.
    pub(crate) fn append(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(outbox) = self.outbox(id) {
            self.check(id, outbox.append(bytes, Flush::Now));
        }
    }

    /// Pings the peer of a WebSocket.
    pub(crate) fn ping(&mut self, id: ConnectionId, payload: &[u8]) {
        let mut frame = Vec::new();
        websocket::write_ping(payload, &mut frame);
        self.append(id, &frame);
    }

    /// Answers a ping of the peer of a WebSocket.
    pub(super) fn pong(&mut self, id: ConnectionId, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + websocket::MAX_HEADER);
        websocket::write_pong(payload, &mut frame);
        self.append(id, &frame);
    }

    /// Stops or resumes reading from a connection.
    pub(crate) fn set_read_paused(&mut self, id: ConnectionId, read_paused: bool) {
        if let Some(connection) = self.get_mut(id) {
            connection.read_paused = read_paused;
            if !read_paused {
                self.pending_reads.push(id);
            }
        }
    }

    /// Closes a WebSocket: a close frame, then the end of the connection once that has left.
    pub(crate) fn close_websocket(&mut self, id: ConnectionId, code: Option<u16>) {
        let mut frame = Vec::new();
        websocket::write_close(code, &mut frame);
        if let Some(outbox) = self.outbox(id) {
            outbox.close_with(&frame);
        }
        self.close_after_flush(id);
    }

    /// Closes a connection once everything has been written.
    pub(crate) fn close_after_flush(&mut self, id: ConnectionId) {
        let write_timeout = self.options.limits.write_timeout;
        let now = self.now;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        connection.owner = None;
        connection.outbox.close();
        connection.state = ConnectionState::Flushing;
        connection.unread = Vec::new();
        self.set_deadline(id, Some(now + write_timeout));
        self.on_flushed(id);
        self.pending_reads.push(id);
    }

    /// Ends a connection at once.
    pub(crate) fn abort(&mut self, id: ConnectionId) {
        drop(self.remove(id));
    }

    /// Hands a connection, with its request, over to another I/O thread.
    pub(crate) fn transfer(&mut self, id: ConnectionId, thread: usize, request: Request) {
        let Some(mut connection) = self.take(id) else {
            return;
        };
        // What its reader has not taken goes along.
        let (attached, unwritten) = connection.outbox.detach();
        drop(attached);
        let Some(socket) = Arc::get_mut(&mut connection.socket) else {
            log::error!(target: "engineio", "a connection that is shared cannot change its thread");
            return connection.socket.shutdown();
        };
        // The other thread registers it again; what has arrived meanwhile is reported then.
        let _ = self.registry.deregister(socket.source());
        let handed = TransferredConnection {
            socket: connection.socket,
            peer: connection.peer,
            unread: connection.unread,
            unwritten,
            slot: connection.slot,
            request: match connection.state {
                ConnectionState::AwaitingResponse(meta) => Some((meta, request)),
                _ => None,
            },
        };
        self.senders[thread].send(Command::Transfer(Box::new(handed)));
    }

    /// Takes in a WebSocket that was connected elsewhere.
    pub(crate) fn register_client(
        &mut self,
        dialled: ConnectedSocket,
        owner: u64,
        max_message: usize,
    ) -> Option<ConnectionId> {
        let socket = Arc::new(dialled.socket);
        let id = self.register(Role::Client, socket, dialled.peer, dialled.unread, None)?;
        if let Some(connection) = self.get_mut(id) {
            connection.state =
                ConnectionState::WebSocket(FrameDecoder::new(Role::Client, max_message));
            connection.owner = Some(owner);
            // TLS may have read more than the handshake.
            connection.readable = true;
        }
        self.pending_reads.push(id);
        Some(id)
    }

    /// Takes a connection in; returns its id.
    pub(super) fn register(
        &mut self,
        role: Role,
        mut socket: Arc<StreamSocket>,
        peer: PeerAddr,
        unread: Vec<u8>,
        slot: Option<Slot>,
    ) -> Option<ConnectionId> {
        let entry = self.connections.vacant_entry();
        let id = ConnectionId {
            // More connections than that would not have a descriptor each.
            index: entry.key() as u32,
            serial: self.next_serial,
        };
        self.next_serial = self.next_serial.wrapping_add(1);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = Arc::get_mut(&mut socket).map(|socket| {
            self.registry
                .register(socket.source(), Token(entry.key()), interest)
        });
        if !matches!(registered, Some(Ok(()))) {
            log::warn!(target: "engineio", "a connection cannot be watched: {registered:?}");
            return None;
        }
        let limit = self.options.limits.outbox_bytes;
        let outbox = Outbox::attached(role, Arc::clone(&socket), limit, self.options.share());
        entry.insert(Connection {
            id,
            socket,
            outbox: Arc::new(outbox),
            peer,
            state: ConnectionState::Head {
                is_first: true,
                is_partial: false,
            },
            unread,
            owner: None,
            timer: super::Timer::default(),
            readable: false,
            read_closed: false,
            read_paused: false,
            upload: None,
            progress: 0,
            share: self.options.share(),
            log_limit: LogLimit::default(),
            slot,
        });
        Some(id)
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.connections.get(id.index as usize)?;
        (connection.id == id).then_some(connection)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.index as usize)?;
        (connection.id == id).then_some(connection)
    }

    /// Forgets a connection and ends it.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.take(id)?;
        connection.outbox.discard();
        connection.socket.shutdown();
        Some(connection)
    }

    fn take(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        Some(self.connections.remove(id.index as usize))
    }

    pub(super) fn set_deadline(&mut self, id: ConnectionId, deadline: Option<Instant>) {
        let connections = &mut self.connections;
        if let Some(connection) = connections.get_mut(id.index as usize) {
            self.timers
                .set(&mut connection.timer, TimerKey::Connection(id), deadline);
        }
    }

    /// Takes the part of an answer's body that a worker has read.
    pub(super) fn on_streamed(&mut self, id: ConnectionId, progress: StreamState) {
        let write_timeout = self.options.limits.write_timeout;
        let now = self.now;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let ConnectionState::StreamingBody(meta, waiting) = &mut connection.state else {
            return;
        };
        let meta = *meta;
        match progress {
            StreamState::Paused(stream) => {
                *waiting = Some(stream);
                self.set_deadline(id, Some(now + write_timeout));
                self.on_flushed(id);
            }
            StreamState::Done => self.end_exchange(id, meta),
            StreamState::Failed => self.abort(id),
        }
    }

    /// Looks at what waited for the outbox to become empty, or nearly so.
    pub(super) fn on_flushed(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let waiting = connection.outbox.waiting_bytes();
        match &mut connection.state {
            ConnectionState::StreamingBody(_, stream)
                if waiting < body_stream::HIGH_WATER_BYTES / 2 =>
            {
                if let Some(stream) = stream.take() {
                    self.run_stream(id, stream);
                }
            }
            // TLS may hold encrypted bytes that the socket has not taken.
            ConnectionState::Flushing if waiting == 0 && connection.socket.flush().is_ok() => {
                connection.state = ConnectionState::Lingering;
                connection.socket.shutdown_write();
                self.set_deadline(id, Some(now + LINGER_TIMEOUT));
            }
            _ => {}
        }
    }

    /// Acts on what became of bytes that were given to an outbox.
    fn check(&mut self, id: ConnectionId, result: Result<Appended, AppendError>) {
        match result {
            Ok(_) | Err(AppendError::Closed) => {}
            Err(AppendError::Full | AppendError::Broken | AppendError::TooLarge) => {
                // The next read of the connection tells the driver.
                if let Some(connection) = self.get_mut(id) {
                    connection.socket.shutdown();
                    connection.readable = true;
                    self.pending_reads.push(id);
                }
            }
        }
    }

    fn run_stream(&self, id: ConnectionId, stream: Box<BodyStream>) {
        let commands = self.sender().clone();
        self.execute(move || commands.send(Command::Streamed(id, stream.run())));
    }

    /// Ends an exchange, whose answer is complete: the next request may come.
    fn end_exchange(&mut self, id: ConnectionId, meta: RequestMeta) {
        if !meta.keep_alive || self.stopping {
            return self.close_after_flush(id);
        }
        let idle_timeout = self.options.limits.idle_timeout;
        let now = self.now;
        if let Some(connection) = self.get_mut(id) {
            connection.state = ConnectionState::Head {
                is_first: false,
                is_partial: false,
            };
            self.set_deadline(id, Some(now + idle_timeout));
            if self.dispatching != Some(id) {
                self.pending_reads.push(id);
            }
        }
    }
}
