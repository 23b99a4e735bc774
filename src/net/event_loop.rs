//! An I/O thread's loop.

use super::commands::Command;
use super::connection::{Connection, ConnectionId, ConnectionState};
use super::context::{IoContext, TimerKey};
use super::listener::SocketAcceptor;
use super::socket::StreamSocket;
use super::{Driver, Timer};
use crate::reason::Reason;
use crate::util::budget;
use crate::util::log_limit::LogLimit;
use crossbeam_channel::Receiver;
use mio::{Events, Poll, Token};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Bytes of the read buffer that all connections of a thread share.
const READ_BUFFER_LEN: usize = 64 << 10;
/// Bytes that one connection may read in a turn.
const MAX_READ_PER_TURN: usize = 256 << 10;
pub(super) const MAX_EVENTS: usize = 1024;
/// Timers are skipped while sockets are readable, for at most this many turns, and one more for
/// each [`MAX_EVENTS`] connections. A socket holds a few megabytes at most, which that is enough to
/// read.
const MAX_POSTPONED: usize = 32;
/// Time that accepting pauses when the system has nothing left to accept with.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) const LISTENER: Token = Token(usize::MAX);
pub(super) const WAKER: Token = Token(usize::MAX - 1);

pub(super) struct EventLoop<D: Driver> {
    poll: Poll,
    commands: Receiver<Command<D::Command>>,
    pub(super) listeners: Vec<SocketAcceptor>,
    /// Records of connections that are closed as they come.
    pub(super) accept_log: LogLimit,
    /// A listener may have more connections.
    pub(super) accepting: bool,
    pub(super) accept_timer: Timer,
    /// Thread that gets the next connection.
    pub(super) next_thread: usize,
    pub(super) io: IoContext<D::Command>,
    pub(super) driver: D,
    buffer: Vec<u8>,
    /// True if the other threads know what this thread's heaviest holds.
    has_claimed: bool,
    pub(super) stop_by: Option<Instant>,
}

impl<D: Driver> EventLoop<D> {
    pub(super) fn new(
        poll: Poll,
        commands: Receiver<Command<D::Command>>,
        listeners: Vec<SocketAcceptor>,
        io: IoContext<D::Command>,
        driver: D,
    ) -> EventLoop<D> {
        EventLoop {
            poll,
            commands,
            listeners,
            accept_log: LogLimit::default(),
            accepting: false,
            accept_timer: Timer::default(),
            next_thread: 0,
            io,
            driver,
            buffer: vec![0; READ_BUFFER_LEN],
            has_claimed: false,
            stop_by: None,
        }
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(MAX_EVENTS);
        let (mut max_sleep, mut postponed) = (None, 0);
        self.io.options.executor.batch_wakeups();
        while !self.is_done() {
            if let Err(error) = self.poll.poll(&mut events, self.poll_timeout(max_sleep)) {
                if error.kind() != ErrorKind::Interrupted {
                    log::error!(target: "engineio", "waiting for sockets failed: {error}");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
                continue;
            }
            self.io.now = Instant::now();
            self.process_commands();
            let mut count = 0;
            for event in &events {
                count += 1;
                match event.token() {
                    WAKER => {}
                    LISTENER => self.accepting = true,
                    Token(index) => {
                        let closed = event.is_read_closed() || event.is_error();
                        self.on_event(
                            index,
                            event.is_readable() || closed,
                            event.is_writable(),
                            closed,
                        );
                    }
                }
            }
            if self.accepting {
                self.accept();
            }
            for id in std::mem::take(&mut self.io.pending_reads) {
                self.read(id);
            }
            // A process that was paused finds answers in its sockets: all of them are read before
            // anybody is judged to be late. Who never stops sending does not put that off for ever.
            let has_read_all = count < MAX_EVENTS && self.io.pending_reads.is_empty();
            let turns = MAX_POSTPONED + self.io.connections.len() / MAX_EVENTS;
            if has_read_all || postponed >= turns {
                postponed = 0;
                self.fire_timers();
            } else {
                postponed += 1;
            }
            let (connections, driver) = (&self.io.connections, &self.driver);
            self.io.timers.sweep(|key| match key {
                TimerKey::Connection(id) => {
                    let connection = connections.get(id.index as usize);
                    connection.is_some_and(|connection| connection.id == *id)
                }
                TimerKey::Driver(key) => driver.is_alive(*key),
                TimerKey::Accept => true,
            });
            self.relieve();
            max_sleep = self.driver.on_turn(&mut self.io);
            self.io.options.executor.flush_wakeups();
            if let Some(delay) = self.driver.read_delay() {
                std::thread::sleep(delay);
            }
        }
        let ids: Vec<_> = self.io.connections.iter().map(|(_, it)| it.id).collect();
        for id in ids {
            self.io.abort(id);
        }
    }

    fn is_done(&self) -> bool {
        self.stop_by
            .is_some_and(|by| self.io.connections.is_empty() || by <= self.io.now)
    }

    fn poll_timeout(&self, max_sleep: Option<Duration>) -> Option<Duration> {
        if !self.io.pending_reads.is_empty() || self.accepting {
            return Some(Duration::ZERO);
        }
        let until = [self.io.timers.next(), self.stop_by];
        let until = until.into_iter().flatten().min();
        let until = until.map(|at| at.saturating_duration_since(Instant::now()));
        match (until, max_sleep) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn process_commands(&mut self) {
        if !self.io.sender().take_woken() {
            return;
        }
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Transfer(handed) => self.register(*handed),
                Command::Adopt(stream, peer, unread) => {
                    self.on_accept(StreamSocket::plain(stream), peer, unread);
                }
                Command::Respond(id, response) => self.io.respond(id, response),
                Command::Streamed(id, progress) => self.io.on_streamed(id, progress),
                Command::ReadOn(id) => {
                    if let Some(connection) = self.io.get(id)
                        && let Some(upload) = &connection.upload
                    {
                        let at = self.io.now + upload.timeout;
                        self.io.set_deadline(id, Some(at));
                        self.io.set_read_paused(id, false);
                    }
                }
                // It has woken this thread, which looks at the end of its turn.
                Command::Relieve => {}
                Command::Driver(command) => self.driver.on_command(&mut self.io, command),
                Command::Stop(by) => self.stop(by),
            }
        }
    }

    fn stop(&mut self, by: Instant) {
        self.listeners = Vec::new();
        self.accepting = false;
        self.stop_by = Some(by);
        self.io.stopping = true;
        self.driver.on_stop(&mut self.io);
        let idle = |connection: &Connection| {
            matches!(
                connection.state,
                ConnectionState::Head { .. } | ConnectionState::Body(_)
            )
        };
        let connections = self.io.connections.iter();
        let ids: Vec<_> = connections
            .filter(|(_, connection)| idle(connection))
            .map(|(_, connection)| connection.id)
            .collect();
        for id in ids {
            self.io.abort(id);
        }
    }

    fn on_event(&mut self, index: usize, readable: bool, writable: bool, closed: bool) {
        let Some(connection) = self.io.connections.get_mut(index) else {
            return;
        };
        let id = connection.id;
        if writable {
            if connection.outbox.on_writable().is_err() {
                return self.drop_connection(id, Reason::TransportClose);
            }
            if matches!(
                connection.state,
                ConnectionState::StreamingBody(..) | ConnectionState::Flushing
            ) {
                self.io.on_flushed(id);
            }
        }
        if readable && let Some(connection) = self.io.get_mut(id) {
            connection.readable = true;
            connection.read_closed |= closed;
            self.read(id);
        }
    }

    /// Reads what a connection has, as far as it may in one turn.
    pub(super) fn read(&mut self, id: ConnectionId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut budget = MAX_READ_PER_TURN;
        if self.io.get(id).is_some_and(|it| !it.unread.is_empty()) {
            self.process(id);
        }
        while let Some(connection) = self.io.get_mut(id) {
            if !connection.readable {
                break;
            }
            match &connection.state {
                ConnectionState::AwaitingResponse(_)
                    if connection.read_closed && connection.owner.is_some() =>
                {
                    self.drop_connection(id, Reason::TransportClose);
                    break;
                }
                ConnectionState::AwaitingResponse(_)
                    if connection.upload.is_some() && !connection.read_paused => {}
                ConnectionState::AwaitingResponse(_) | ConnectionState::StreamingBody(..) => break,
                ConnectionState::WebSocket(_) if connection.read_paused => break,
                // What was read before comes first.
                ConnectionState::WebSocket(_) if !connection.unread.is_empty() => break,
                _ => {}
            }
            if budget == 0 {
                self.io.pending_reads.push(id);
                break;
            }
            match connection.socket.read(&mut buffer) {
                Ok(0) => {
                    self.drop_connection(id, Reason::TransportClose);
                    break;
                }
                Ok(count) => {
                    budget = budget.saturating_sub(count);
                    // Edge-triggered, a short read has emptied the socket, unless the end of the
                    // stream hides behind it. TLS may hold more than it was asked for.
                    if count < buffer.len()
                        && !connection.read_closed
                        && !connection.socket.is_secure()
                    {
                        connection.readable = false;
                    }
                    self.on_bytes(id, &mut buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.readable = false;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    log::debug!(target: "engineio", "{}: {error}", connection.peer);
                    let reason = match error.kind() {
                        ErrorKind::ConnectionReset => Reason::TransportClose,
                        _ => Reason::TransportError,
                    };
                    self.drop_connection(id, reason);
                    break;
                }
            }
        }
        self.buffer = buffer;
        if let Some(connection) = self.io.get_mut(id) {
            let kept = connection.kept();
            connection.share.hold(kept);
        }
    }

    /// Closes the connections that hold the most while more bytes wait than may. The threads of a
    /// port compare what their own heaviest holds first, so that none of them closes one that holds
    /// little.
    fn relieve(&mut self) {
        let index = self.io.index;
        let budget = self.io.options.budget.get();
        let Some(budget) = budget.filter(|it| it.is_exceeded()).cloned() else {
            self.has_claimed = false;
            return;
        };
        while budget.is_exceeded() {
            let connections = self.io.connections.iter();
            let incomplete = connections
                .map(|(_, connection)| (connection.held(), connection.id))
                .max_by_key(|(held, _)| *held)
                .unwrap_or((0, ConnectionId::from_u64(0)));
            let waiting = self.driver.heaviest().unwrap_or((0, 0));
            let heaviest = incomplete.0.max(waiting.0);
            let is_heaviest = budget.claim(index, heaviest);
            if self.io.senders.len() > 1 && !std::mem::replace(&mut self.has_claimed, true) {
                // The others have been woken, and claim theirs before the next turn.
                self.io.sender().send(Command::Relieve);
                return;
            }
            if !is_heaviest || heaviest < budget::STEP_BYTES {
                return;
            }
            if incomplete.0 > waiting.0 {
                let (held, id) = incomplete;
                if let Some(connection) = self.io.get(id) {
                    log::warn!(target: "engineio", "{}: closed, it holds {held} bytes that are not complete or not read, and all together more than may be held (Limits::buffered_bytes)", connection.peer);
                }
                self.drop_connection(id, Reason::TransportError);
            } else {
                self.driver.give_up(&mut self.io, waiting.1);
            }
        }
        budget.settle();
    }

    fn on_bytes(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        let head_bytes = self.io.options.limits.head_bytes;
        let Some(connection) = self.io.get_mut(id) else {
            return;
        };
        match connection.state {
            ConnectionState::WebSocket(_) => self.read_messages(id, bytes),
            ConnectionState::Flushing | ConnectionState::Lingering => {}
            _ => {
                let begins = connection.unread.is_empty();
                connection.unread.extend_from_slice(bytes);
                let is_long = connection.unread.len() >= head_bytes;
                let mut begins_next = false;
                if let ConnectionState::Head {
                    is_first,
                    is_partial,
                } = &mut connection.state
                {
                    *is_partial &= !is_long && !bytes.contains(&b'\n');
                    begins_next = begins && !*is_first;
                }
                if begins_next {
                    let head_timeout = self.io.options.limits.head_timeout;
                    let deadline = self.io.now + head_timeout;
                    self.io.set_deadline(id, Some(deadline));
                }
                self.process(id);
            }
        }
    }

    /// Drops a connection that is gone.
    fn drop_connection(&mut self, id: ConnectionId, reason: Reason) {
        if let Some(connection) = self.io.remove(id)
            && let Some(owner) = connection.owner
        {
            self.driver
                .on_connection_lost(&mut self.io, owner, id, reason);
        }
    }

    fn fire_timers(&mut self) {
        let now = self.io.now;
        while let Some(entry) = self.io.timers.pop(now) {
            match entry.1 {
                TimerKey::Driver(key) => self.driver.on_timer(&mut self.io, key, entry),
                TimerKey::Accept => {
                    let timers = &mut self.io.timers;
                    self.accepting |= timers.is_due(&mut self.accept_timer, entry, now);
                }
                TimerKey::Connection(id) => {
                    let timers = &mut self.io.timers;
                    let connection = self.io.connections.get_mut(id.index as usize);
                    let connection = connection.filter(|connection| connection.id == id);
                    if connection.is_some_and(|it| timers.is_due(&mut it.timer, entry, now)) {
                        self.on_deadline(id);
                    }
                }
            }
        }
    }

    fn on_deadline(&mut self, id: ConnectionId) {
        let Some(connection) = self.io.get(id) else {
            return;
        };
        let peer = connection.peer;
        let in_body = matches!(connection.state, ConnectionState::Body(_));
        let begun = !connection.unread.is_empty() || in_body;
        let refused = &self.io.options.limits.refused;
        match &connection.state {
            ConnectionState::Head { .. } | ConnectionState::Body(_) if begun => {
                if !in_body {
                    refused.note("head_timeout");
                }
                log::info!(target: "engineio", "{peer}: a request was not complete in time");
                self.refuse_body(id, 408);
            }
            ConnectionState::StreamingBody(_, stream) => {
                if stream.is_none() {
                    // A worker is still reading the body; the next look comes later.
                    let at = self.io.now + self.io.options.limits.write_timeout;
                    return self.io.set_deadline(id, Some(at));
                }
                refused.note("write_timeout");
                log::info!(target: "engineio", "{peer}: an answer made no progress");
                self.io.abort(id);
            }
            _ => self.drop_connection(id, Reason::TransportError),
        }
    }
}
