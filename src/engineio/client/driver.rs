//! The clients of one I/O thread: answers and frames in, state machines and callers between,
//! requests and frames out.
//!
//! In a circle with `requests`: the methods of one `ClientDriver` stand where their subject is.

use super::blocking_pool::BlockingPool;
use super::read_coalescing::ReadCoalescer;
use super::requests::{Completion, SessionRoute};
use super::websocket::DialHandle;
use super::{AttemptHandler, ResolveEndpoint};
use crate::engineio::driving::{Deadlines, Received, flush_held_answers, read_packet, send_packet};
use crate::engineio::handle::{self, CommandSink, SessionHandle};
use crate::engineio::write_batching::CorkQueue;
use crate::engineio::{Control, Frames, Transport};
use crate::error::ConnectError;
use crate::net::http::{Request, Response};
use crate::net::websocket::WebSocketMessage;
use crate::net::{self, BodyRules, ConnectionId, IoContext, TimerKey, WebSocketRead};
use crate::protocol::engineio::client::{ClientInput, ClientOutput, ClientSession, TransportKind};
use crate::protocol::engineio::{EnginePacket, Revision};
use crate::reason::Reason;
use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Command to an I/O thread. A client is named by its number, one of its sessions by a key that
/// ends with that number.
#[allow(clippy::large_enum_variant, reason = "what is large is rare")]
pub(super) enum ClientCommand {
    Session(handle::SessionCommand),
    Add(u32, Box<dyn AttemptHandler>),
    Remove(u32),
    StartAttempt(u32, u32, ResolveEndpoint),
    Abandon(u32),
    WakeAt(u32, Instant),
    /// Result of a blocking task.
    Completed(u64, Completion),
}

impl From<handle::SessionCommand> for ClientCommand {
    fn from(command: handle::SessionCommand) -> Self {
        ClientCommand::Session(command)
    }
}

impl fmt::Debug for ClientCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientCommand")
    }
}

/// The clients of one I/O thread.
pub(super) struct ClientDriver {
    pub(super) blocking: Arc<BlockingPool>,
    pub(super) sink: Option<Arc<dyn CommandSink>>,
    pub(super) clients: HashMap<u32, ClientEntry>,
    cork_queue: CorkQueue,
    coalescer: ReadCoalescer,
}

/// Payload of the WebSocket's pings that measure; the answer has the same (RFC 6455, 5.5.3).
const MEASURING: &[u8] = b"time";

/// A client.
pub(super) struct ClientEntry {
    id: u32,
    pub(super) handler: Box<dyn AttemptHandler>,
    /// The key of the attempt that is under way.
    pub(super) attempt: Option<u64>,
    pub(super) session: Option<SessionEntry>,
    deadlines: Deadlines,
    /// To be forgotten when its session has ended.
    removed: bool,
}

pub(super) struct SessionEntry {
    pub(super) key: u64,
    pub(super) machine: ClientSession,
    pub(super) handle: Arc<SessionHandle>,
    pub(super) route: SessionRoute,
    pub(super) connection: Option<ConnectionId>,
    /// The way to the WebSocket of an upgrade.
    pub(super) dial: Option<Arc<DialHandle>>,
    pub(super) is_open: bool,
    /// Reason why it could not be opened.
    pub(super) failure: Option<ConnectError>,
    pub(super) max_payload: usize,
    /// Moment of the last question whose answer tells the round trip's time.
    pub(super) asked_at: Option<Instant>,
    /// Time of the WebSocket's handshake, until somebody can be told.
    pub(super) first_round_trip: Option<Duration>,
}

/// A client's session, and what stands around it.
struct Current<'a> {
    session: &'a mut SessionEntry,
    handler: &'a mut dyn AttemptHandler,
    deadlines: &'a mut Deadlines,
}

/// Returns the session with this key, unless it has ended.
fn find(clients: &mut HashMap<u32, ClientEntry>, key: u64) -> Option<Current<'_>> {
    let client = clients.get_mut(&id_of(key))?;
    Some(Current {
        session: client.session.as_mut().filter(|it| it.key == key)?,
        handler: &mut *client.handler,
        deadlines: &mut client.deadlines,
    })
}

impl Current<'_> {
    /// Hands a packet to the machine, and the message in it to the handler.
    fn receive(&mut self, now: Instant, via: TransportKind, packet: EnginePacket<'_>) -> Received {
        if matches!(packet, EnginePacket::Pong(_)) {
            // Of an upgrade's probe, or of Engine.IO 3.
            self.on_round_trip();
        }
        match self.session.machine.receive(now, via, packet) {
            Some(message) => Received::Handled(self.handler.receive(now, message)),
            None => Received::Outputs,
        }
    }

    /// Notes that the server has answered what was asked to measure the time until it does.
    fn on_round_trip(&mut self) {
        if let Some(asked_at) = self.session.asked_at.take() {
            // The turn's own time is that of its beginning.
            self.handler.measured(asked_at.elapsed());
        }
    }

    /// Tells the handler that all of one read has come, and returns what is left to be done.
    fn complete_read(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        cork_queue: &mut CorkQueue,
    ) -> Control {
        let (now, key) = (io.now(), self.session.key);
        let control = self.handler.on_read_complete(now);
        let machine = self.session.machine.next_timeout();
        let handler = self.handler.next_timeout();
        self.deadlines
            .schedule(io, u64::from(id_of(key)), machine, handler);
        if control == Control::Scheduled {
            cork_queue.push(now, key, self.session.handle.outbox());
            return Control::Continue;
        }
        control
    }
}

pub(super) fn id_of(key: u64) -> u32 {
    key as u32
}

pub(super) fn attempt_of(key: u64) -> u32 {
    (key >> 32) as u32
}

impl SessionEntry {
    pub(super) fn revision(&self) -> Revision {
        self.route.endpoint.revision()
    }

    /// Ends what it has under way.
    pub(super) fn end(&self, io: &mut IoContext<ClientCommand>) {
        self.handle.outbox().close();
        if let Some(polling) = &self.route.polling {
            polling.shut_down();
        }
        if let Some(dial) = &self.dial {
            dial.abandon();
        }
        if let Some(connection) = self.connection {
            io.close_websocket(connection, None);
        }
    }
}

impl net::Driver for ClientDriver {
    type Command = ClientCommand;

    fn on_request(&mut self, io: &mut IoContext<ClientCommand>, id: ConnectionId, _: Request) {
        // Clients listen to nobody.
        io.abort(id);
    }

    fn body_rules(&self, _: &Request) -> BodyRules {
        BodyRules {
            max_bytes: 0,
            timeout: Duration::ZERO,
            streams: false,
        }
    }

    fn refuse_body(&self, _: &Request, status: u16) -> Response {
        Response::new(status)
    }

    fn label(&self, owner: u64) -> Option<String> {
        let session = self.clients.get(&id_of(owner))?.session.as_ref()?;
        (session.key == owner).then(|| session.handle.label().to_string())
    }

    fn heaviest(&self) -> Option<(usize, u64)> {
        None
    }

    fn give_up(&mut self, _: &mut IoContext<ClientCommand>, _: u64) {}

    fn on_read(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        owner: u64,
        read: &mut WebSocketRead<'_>,
    ) {
        let now = io.now();
        // Found once for a read, unless the machine, or the handler, asks for something.
        let mut found = find(&mut self.clients, owner);
        while let Some(current) = &mut found
            && let Some(message) = read.next(io)
        {
            match message {
                WebSocketMessage::Pong(MEASURING) => {
                    current.on_round_trip();
                    continue;
                }
                WebSocketMessage::Pong(_) => {
                    self.handle(io, owner, ClientInput::Ponged);
                    found = find(&mut self.clients, owner);
                    continue;
                }
                _ => {}
            }
            let Some(data) = message.data() else {
                continue;
            };
            let packet = match read_packet(data, current.session.revision()) {
                Ok(packet) => packet,
                Err(invalid) => {
                    self.on_invalid(io, owner, &invalid);
                    found = find(&mut self.clients, owner);
                    break;
                }
            };
            let received = current.receive(now, TransportKind::WebSocket, packet);
            if received != Received::Handled(Control::Continue) {
                let flow = self.follow(io, owner, received);
                found = find(&mut self.clients, owner);
                if flow.is_break() {
                    break;
                }
            }
        }
        if let Some(mut current) = found {
            let is_one_way = !current.session.handle.take_sent_flag();
            self.coalescer.read(is_one_way);
            let control = current.complete_read(io, &mut self.cork_queue);
            if control != Control::Continue {
                let _ = self.apply(io, owner, control);
            }
        }
    }

    fn read_delay(&mut self) -> Option<Duration> {
        self.coalescer.next_delay(Instant::now())
    }

    fn on_connection_lost(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        owner: u64,
        id: ConnectionId,
        reason: Reason,
    ) {
        let Some(session) = self.session(owner) else {
            return;
        };
        if session.connection == Some(id) {
            session.connection = None;
            session
                .failure
                .get_or_insert_with(|| ConnectError::new("the server closed the connection"));
            self.handle(
                io,
                owner,
                ClientInput::Lost(TransportKind::WebSocket, reason),
            );
        }
    }

    fn on_command(&mut self, io: &mut IoContext<ClientCommand>, command: ClientCommand) {
        match command {
            ClientCommand::Session(command) => self.on_session_command(io, command),
            ClientCommand::Add(id, handler) => {
                let entry = ClientEntry {
                    id,
                    handler,
                    attempt: None,
                    session: None,
                    deadlines: Deadlines::default(),
                    removed: false,
                };
                self.clients.insert(id, entry);
            }
            ClientCommand::Remove(id) => {
                if let Some(entry) = self.clients.get_mut(&id) {
                    entry.removed = true;
                    entry.attempt = None;
                    self.forget(id);
                }
            }
            ClientCommand::StartAttempt(id, attempt, resolve) => {
                self.start_attempt(io, id, attempt, resolve);
            }
            ClientCommand::Abandon(id) => {
                if let Some(entry) = self.clients.get_mut(&id) {
                    entry.attempt = None;
                    if let Some(session) = entry.session.take() {
                        session.end(io);
                    }
                }
            }
            ClientCommand::WakeAt(id, at) => self.wake_at(io, id, at),
            ClientCommand::Completed(key, Completion::Opened(result)) => {
                self.on_opened(io, key, result);
            }
            ClientCommand::Completed(key, Completion::Polled(result)) => {
                self.on_polled(io, key, result);
            }
            ClientCommand::Completed(key, Completion::Posted(result)) => {
                self.on_posted(io, key, result);
            }
            ClientCommand::Completed(key, Completion::WebSocket(result)) => {
                self.on_dialled(io, key, result);
            }
        }
    }

    fn on_timer(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        entry: (Instant, TimerKey),
    ) {
        let (now, id) = (io.now(), id_of(key));
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if !client.deadlines.is_due(io, entry) {
            return;
        }
        let session = client.session.as_mut();
        let session = session.map(|it| (it.key, it.machine.next_timeout()));
        if let Some((key, Some(at))) = session
            && at <= now
        {
            self.handle(io, key, ClientInput::Timeout);
        }
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let wakes = client.deadlines.take_wake_up(now);
        if wakes || client.handler.next_timeout().is_some_and(|at| at <= now) {
            let flow = client.handler.timeout(now);
            if let Some((key, _)) = session {
                let _ = self.apply(io, key, flow);
            }
        }
        self.schedule(io, id);
    }

    fn is_alive(&self, key: u64) -> bool {
        self.clients.contains_key(&id_of(key))
    }

    fn on_turn(&mut self, io: &mut IoContext<ClientCommand>) -> Option<Duration> {
        let now = io.now();
        flush_held_answers(&mut self.cork_queue, now, |key| {
            let client = self.clients.get(&id_of(key))?;
            let session = client.session.as_ref().filter(|it| it.key == key)?;
            Some((&*session.handle, client.handler.queue_state()))
        });
        self.cork_queue.max_sleep()
    }

    fn on_stop(&mut self, io: &mut IoContext<ClientCommand>) {
        // The last client has gone, and with it every session that anybody waits for.
        for (_, client) in self.clients.drain() {
            if let Some(session) = client.session {
                session.end(io);
            }
        }
    }
}

impl ClientDriver {
    pub(super) fn new(blocking: &Arc<BlockingPool>) -> ClientDriver {
        ClientDriver {
            blocking: Arc::clone(blocking),
            sink: None,
            clients: HashMap::new(),
            cork_queue: CorkQueue::default(),
            coalescer: ReadCoalescer::default(),
        }
    }

    pub(super) fn session(&mut self, key: u64) -> Option<&mut SessionEntry> {
        let client = self.clients.get_mut(&id_of(key))?;
        client.session.as_mut().filter(|it| it.key == key)
    }

    fn on_session_command(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        command: handle::SessionCommand,
    ) {
        use handle::SessionCommand::{Close, Dismiss, Flush, Queued, Resume, TooSlow, WakeAt};
        let (key, input) = match command {
            Queued(key) => (key, ClientInput::Queued),
            Close(key, Reason::ClientDisconnect) | Dismiss(key) => (key, ClientInput::Close),
            TooSlow(key) => {
                if let Some(session) = self.session(key) {
                    session.handle.report_slowness();
                }
                return self.on_session_command(io, Close(key, Reason::TransportError));
            }
            Close(key, reason) => {
                let via = match self.session(key).map(|it| it.handle.transport()) {
                    Some(Transport::WebSocket) => TransportKind::WebSocket,
                    _ => TransportKind::Polling,
                };
                (key, ClientInput::Lost(via, reason))
            }
            WakeAt(key, at) => return self.wake_at(io, id_of(key), at),
            // A client never stops reading, and broadcasts nothing.
            Resume(_) | Flush(_) => return,
        };
        self.handle(io, key, input);
    }

    fn wake_at(&mut self, io: &mut IoContext<ClientCommand>, id: u32, at: Instant) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.deadlines.wake_up(at);
            self.schedule(io, id);
        }
    }

    pub(super) fn on_invalid(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        invalid: &dyn fmt::Display,
    ) {
        if let Some(session) = self.session(key) {
            log::warn!(target: "engineio", "{}: closed, the server sent {invalid}", session.handle.label());
            let error = ConnectError::new(format!("the server sent {invalid}"));
            session.failure.get_or_insert(error);
            self.handle(io, key, ClientInput::Invalid);
        }
    }

    pub(super) fn receive(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        via: TransportKind,
        packet: EnginePacket<'_>,
    ) -> ControlFlow<()> {
        let now = io.now();
        let Some(mut current) = find(&mut self.clients, key) else {
            return ControlFlow::Break(());
        };
        let received = current.receive(now, via, packet);
        self.follow(io, key, received)
    }

    /// Does what a packet has left to be done.
    fn follow(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        received: Received,
    ) -> ControlFlow<()> {
        match received {
            Received::Handled(control) => self.apply(io, key, control),
            Received::Outputs => {
                self.process_outputs(io, key);
                ControlFlow::Continue(())
            }
        }
    }

    pub(super) fn finish_read(&mut self, io: &mut IoContext<ClientCommand>, key: u64) {
        if let Some(mut current) = find(&mut self.clients, key) {
            let control = current.complete_read(io, &mut self.cork_queue);
            let _ = self.apply(io, key, control);
        }
    }

    /// Notes that the server has answered what was asked to measure the time until it does.
    pub(super) fn on_round_trip(&mut self, key: u64) {
        if let Some(mut current) = find(&mut self.clients, key) {
            current.on_round_trip();
        }
    }

    fn apply(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        flow: Control,
    ) -> ControlFlow<()> {
        let now = io.now();
        match flow {
            Control::Continue | Control::PauseReading => ControlFlow::Continue(()),
            Control::Scheduled => {
                if let Some(session) = self.session(key) {
                    let outbox = Arc::clone(session.handle.outbox());
                    self.cork_queue.push(now, key, &outbox);
                }
                ControlFlow::Continue(())
            }
            Control::Close(_) => {
                self.handle(io, key, ClientInput::Invalid);
                ControlFlow::Break(())
            }
        }
    }

    pub(super) fn handle(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        input: ClientInput,
    ) {
        let now = io.now();
        if let Some(session) = self.session(key) {
            session.machine.handle(now, input);
            self.process_outputs(io, key);
        }
    }

    /// Does what a session's machine wants.
    fn process_outputs(&mut self, io: &mut IoContext<ClientCommand>, key: u64) {
        let now = io.now();
        while let Some(session) = self.session(key) {
            let Some(output) = session.machine.poll() else {
                break;
            };
            match output {
                ClientOutput::Opened(open) => {
                    session.is_open = true;
                    session.max_payload = usize::try_from(open.max_payload).unwrap_or(usize::MAX);
                    session.handle.set_sid(&open.sid);
                    let handle = Arc::clone(&session.handle);
                    log::debug!(target: "engineio", "{}: open over {}", handle.label(), handle.transport());
                    handle.outbox().set_poll_waiting();
                    let round_trip = session.first_round_trip.take();
                    if let Some(client) = self.clients.get_mut(&id_of(key)) {
                        client.handler.open(now, attempt_of(key), &handle, &open);
                        round_trip
                            .into_iter()
                            .for_each(|it| client.handler.measured(it));
                    }
                }
                ClientOutput::Poll => self.poll(io, key),
                ClientOutput::Post => self.post(io, key),
                ClientOutput::Connect => self.upgrade(io, key),
                ClientOutput::Write(packet) => {
                    if matches!(packet, EnginePacket::Ping(_)) {
                        session.asked_at = Some(Instant::now());
                    }
                    let frames = Frames::control(&packet);
                    if let Some(connection) = session.connection {
                        io.append(connection, &frames.0);
                    }
                }
                ClientOutput::Send(packet) => {
                    if matches!(packet, EnginePacket::Ping(_)) {
                        session.asked_at = Some(Instant::now());
                    }
                    if send_packet(&session.handle, &packet) {
                        session.machine.handle(now, ClientInput::Queued);
                    }
                }
                ClientOutput::Ping => {
                    if let Some(connection) = session.connection {
                        io.ping(connection, b"");
                    }
                }
                ClientOutput::Measure => {
                    session.asked_at = Some(Instant::now());
                    if let Some(connection) = session.connection {
                        io.ping(connection, MEASURING);
                    }
                }
                ClientOutput::BeforeClose => {
                    let _ = session.handle.outbox().uncork();
                    if let Some(client) = self.clients.get_mut(&id_of(key)) {
                        client.handler.before_close();
                    }
                }
                ClientOutput::Attach => {
                    session.handle.set_transport(Transport::WebSocket);
                    log::debug!(target: "engineio", "{}: on websocket", session.handle.label());
                    if let Some(connection) = session.connection {
                        io.attach(connection, session.handle.outbox());
                    }
                    if let Some(polling) = session.route.polling.take() {
                        polling.shut_down();
                    }
                }
                ClientOutput::CloseWebSocket => {
                    if session.handle.is_upgrading() {
                        session.handle.set_transport(Transport::Polling);
                    }
                    let waits = session.machine.is_closing();
                    if let Some(connection) = session.connection {
                        io.close_websocket(connection, None);
                        if waits {
                            io.set_owner(connection, Some(key));
                        } else {
                            session.connection = None;
                        }
                    }
                }
                ClientOutput::Closed(reason) => self.on_closed(io, key, reason),
            }
        }
        self.schedule(io, id_of(key));
    }

    fn on_closed(&mut self, io: &mut IoContext<ClientCommand>, key: u64, reason: Reason) {
        let now = io.now();
        let Some(client) = self.clients.get_mut(&id_of(key)) else {
            return;
        };
        let Some(session) = client.session.take() else {
            return;
        };
        log::debug!(target: "engineio", "{}: closed, {reason}", session.handle.label());
        session.end(io);
        if session.is_open {
            if let Some(failure) = session.failure {
                client.handler.explain(failure);
            }
            client.handler.close(now, reason);
        } else {
            let silent = || ConnectError::new("the server's answer has no sound open packet");
            let error = session.failure.unwrap_or_else(silent);
            client.handler.fail(now, attempt_of(key), error);
        }
        self.forget(id_of(key));
        self.schedule(io, id_of(key));
    }

    fn forget(&mut self, id: u32) {
        let done = |client: &ClientEntry| client.removed && client.session.is_none();
        if self.clients.get(&id).is_some_and(done)
            && let Some(client) = self.clients.remove(&id)
        {
            // With it go the program's handlers, and what they have captured: that may take long.
            self.blocking.run(move || drop(client));
        }
    }

    /// Tells the timers when to look again.
    pub(super) fn schedule(&mut self, io: &mut IoContext<ClientCommand>, id: u32) {
        if let Some(client) = self.clients.get_mut(&id) {
            let machine = client
                .session
                .as_ref()
                .and_then(|it| it.machine.next_timeout());
            let (key, handler) = (u64::from(client.id), client.handler.next_timeout());
            client.deadlines.schedule(io, key, machine, handler);
        }
    }
}
