//! The sessions of one I/O thread: requests and frames in, state machines and handlers between,
//! answers and frames out.
//!
//! In a circle with `handshake`, `polling`, `posting`, `serving` and `server_entry`: the methods of
//! one `ServerDriver` stand where their subject is.

use super::driving::{Received, flush_held_answers, read_packet, send_packet};
use super::frames::{Frames, binary_form, wants_text};
use super::handle::{self, CommandSink};
use super::handshake::{
    Decision, RequestError, Resumed, resume_request, subprotocol, thread_index, websocket_key,
};
use super::on_handshake::Handshake;
use super::server_entry::{ServerEntry, find};
use super::serving::EngineShared;
use super::write_batching::CorkQueue;
use super::{Control, HeldBroadcasts, Transport};
use crate::net::http::cors::CorsDecision;
use crate::net::http::{Request, Response};
use crate::net::{self, BodyRules, ConnectionId, IoContext, TimerKey, WebSocketRead};
use crate::pool::QueueState;
use crate::protocol::engineio::EnginePacket;
use crate::protocol::engineio::server::{ChannelId, ServerInput, ServerOutput};
use crate::reason::Reason;
use crate::util::program;
use slab::Slab;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Command to an I/O thread.
#[derive(Debug)]
pub(super) enum ServerCommand {
    Session(handle::SessionCommand),
    /// The program has decided about a request that was parked.
    Resumed(Box<Resumed>),
}

impl From<handle::SessionCommand> for ServerCommand {
    fn from(command: handle::SessionCommand) -> Self {
        ServerCommand::Session(command)
    }
}

/// The sessions of one I/O thread.
pub(super) struct ServerDriver {
    pub(super) shared: Arc<EngineShared>,
    /// The way back to this thread, for all its sessions.
    pub(super) sink: Option<Arc<dyn CommandSink>>,
    pub(super) sessions: Slab<ServerEntry>,
    pub(super) by_sid: HashMap<Box<str>, u32>,
    pub(super) cork_queue: CorkQueue,
    /// Sessions with a POST of which packets are left, to go on with in the next turn.
    pub(super) unfinished: Vec<u64>,
    /// Rows of broadcasts, in their order.
    held: Vec<Arc<HeldBroadcasts>>,
    pub(super) stopping: bool,
}

impl net::Driver for ServerDriver {
    type Command = ServerCommand;

    fn on_request(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        mut request: Request,
    ) {
        request.find_client(&self.shared.config.trusted_proxies);
        if self.shared.config.allow_eio3 {
            request.find_origin_of_script();
        }
        if !self.shared.is_own(request.path()) {
            return self.serve_fallback(io, id, request);
        }
        if io.threads() > 1
            && let Some(thread) = request.param("sid").and_then(|sid| thread_index(&sid))
            && thread != io.thread()
            && thread < io.threads()
        {
            return io.transfer(id, thread, request);
        }
        match self.shared.config.cors.check(&request) {
            CorsDecision::Allowed => self.route(io, id, request),
            CorsDecision::Refused => self.refuse_origin(io, id, &request),
            // Decided once for a session: an answer must not wait for a worker.
            CorsDecision::Deferred(_) if self.is_known_origin(&request) => {
                self.route(io, id, request);
            }
            CorsDecision::Deferred(check) => {
                let sender = io.sender().clone();
                io.execute(move || {
                    let allowed = program::call(|| check.allows(&request));
                    resume_request(
                        &sender,
                        id,
                        Decision::Origin(allowed.unwrap_or(false), request),
                    );
                });
            }
        }
    }

    fn body_rules(&self, request: &Request) -> BodyRules {
        let config = &self.shared.config;
        if self.shared.is_own(request.path()) {
            return BodyRules {
                max_bytes: config.max_payload,
                timeout: config.limits.body_timeout,
                streams: false,
            };
        }
        let streams = self.shared.fallback.as_ref().is_some_and(|it| it.streams);
        BodyRules {
            max_bytes: if streams {
                usize::MAX
            } else {
                config.limits.http_body_bytes
            },
            timeout: config.limits.http_body_timeout,
            streams,
        }
    }

    fn refuse_body(&self, request: &Request, status: u16) -> Response {
        let response = Response::new(status);
        let is_own = self.shared.is_own(request.path());
        let limit = match (status, is_own) {
            (413, true) => Some("max_http_buffer_size"),
            (413, false) => Some("http_body_bytes"),
            (408, true) => Some("body_timeout"),
            (408, false) => Some("http_body_timeout"),
            _ => None,
        };
        if let Some(limit) = limit {
            self.shared.config.limits.refused.note(limit);
        }
        if !is_own {
            return response;
        }
        let cors = &self.shared.config.cors;
        let allowed = match cors.check(request) {
            CorsDecision::Allowed => true,
            CorsDecision::Refused => false,
            CorsDecision::Deferred(_) => self.is_known_origin(request),
        };
        // Without them a browser's page is told of an error of CORS, and not of this one.
        if allowed {
            response.with_headers(cors.headers(request))
        } else {
            response
        }
    }

    fn label(&self, owner: u64) -> Option<String> {
        let session = self.sessions.get(owner as u32 as usize);
        let session = session.filter(|session| session.key == owner);
        session.map(|session| session.handle.label().to_string())
    }

    fn heaviest(&self) -> Option<(usize, u64)> {
        let sessions = self.sessions.iter();
        let held = sessions.map(|(_, session)| (session.held(), session.key));
        held.max_by_key(|(bytes, _)| *bytes)
    }

    fn give_up(&mut self, io: &mut IoContext<ServerCommand>, key: u64) {
        let now = io.now();
        if let Some(session) = find(&mut self.sessions, key) {
            let held = session.held();
            let handler = session.handler.as_mut();
            let discarded = handler.map_or(0, |handler| handler.discard());
            log::warn!(target: "engineio", "{}: closed, it holds {held} bytes, and all together more than may be held (Limits::buffered_bytes); {discarded} events of it are not handled", session.handle.label());
            self.shared.config.limits.refused.note("buffered_bytes");
            session.handle.outbox().give_up();
            session
                .machine
                .handle(now, ServerInput::Close(Reason::TransportError));
            self.process_outputs(io, key);
        }
    }

    fn on_read(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        owner: u64,
        read: &mut WebSocketRead<'_>,
    ) {
        let now = io.now();
        let channel = ChannelId(read.id().to_u64());
        // Found once for a read, unless the machine, or the handler, asks for something.
        let mut found = find(&mut self.sessions, owner);
        while let Some(session) = found.as_deref_mut()
            && let Some(message) = read.next(io)
        {
            let Some(data) = message.data() else {
                continue;
            };
            let packet = match read_packet(data, session.revision()) {
                Ok(packet) => packet,
                Err(invalid) => {
                    log::info!(target: "engineio", "{}: its WebSocket is closed, it sent {invalid}", session.handle.label());
                    session.machine.handle(now, ServerInput::Invalid(channel));
                    self.process_outputs(io, owner);
                    found = find(&mut self.sessions, owner);
                    break;
                }
            };
            if packet == EnginePacket::Upgrade {
                // What was posted before the upgrade is handled before it.
                while find(&mut self.sessions, owner).is_some_and(|it| it.posted.is_some()) {
                    self.go_on_with_post(io, owner);
                }
                found = find(&mut self.sessions, owner);
            }
            let Some(session) = found.as_deref_mut() else {
                break;
            };
            let received = session.receive(now, channel, packet);
            if received != Received::Handled(Control::Continue) {
                let flow = self.follow(io, owner, received);
                found = find(&mut self.sessions, owner);
                if flow.is_break() {
                    break;
                }
            }
        }
        if let Some(session) = found {
            let control = session.complete_read(io, &mut self.cork_queue);
            if control != Control::Continue {
                let _ = self.apply(io, owner, control);
            }
        }
    }

    fn on_connection_lost(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        owner: u64,
        id: ConnectionId,
        reason: Reason,
    ) {
        let now = io.now();
        if let Some(session) = find(&mut self.sessions, owner) {
            session
                .pending_requests
                .retain(|(pending, _)| *pending != id);
            let channel = ChannelId(id.to_u64());
            session
                .machine
                .handle(now, ServerInput::Lost { channel, reason });
            self.process_outputs(io, owner);
        }
    }

    fn on_command(&mut self, io: &mut IoContext<ServerCommand>, command: ServerCommand) {
        use handle::SessionCommand::{Close, Dismiss, Flush, Queued, Resume, TooSlow, WakeAt};
        let now = io.now();
        let command = match command {
            ServerCommand::Session(command) => command,
            ServerCommand::Resumed(decided) => return self.on_resumed(io, *decided),
        };
        let (key, input) = match command {
            Queued(key) => (key, ServerInput::Queued),
            Close(key, reason) => {
                if let Some(session) = find(&mut self.sessions, key)
                    && session.is_undecided()
                {
                    session.ends = Some(reason);
                    return;
                }
                (key, ServerInput::Close(reason))
            }
            TooSlow(key) => {
                self.shared.config.limits.refused.note("outbox_bytes");
                if let Some(session) = find(&mut self.sessions, key) {
                    session.handle.report_slowness();
                }
                (key, ServerInput::Close(Reason::TransportError))
            }
            Dismiss(key) => {
                let session = find(&mut self.sessions, key);
                if let Some(handler) = session.and_then(|it| it.handler.as_mut()) {
                    handler.before_close();
                }
                (key, ServerInput::Close(Reason::ServerDisconnect))
            }
            Flush(held) => return self.held.push(held),
            Resume(key) => return self.resume(io, key),
            WakeAt(key, at) => {
                if let Some(session) = find(&mut self.sessions, key) {
                    session.deadlines.wake_up(at);
                    session.schedule(io);
                }
                return;
            }
        };
        if let Some(session) = find(&mut self.sessions, key) {
            session.machine.handle(now, input);
            self.process_outputs(io, key);
        }
    }

    fn on_timer(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        key: u64,
        entry: (Instant, TimerKey),
    ) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        if !session.deadlines.is_due(io, entry) {
            return;
        }
        if session.machine.next_timeout().is_some_and(|at| at <= now) {
            session.machine.handle(now, ServerInput::Timeout);
        }
        let wakes = session.deadlines.take_wake_up(now);
        let mut flow = Control::Continue;
        if let Some(handler) = &mut session.handler
            && (wakes || handler.next_timeout().is_some_and(|at| at <= now))
        {
            flow = handler.timeout(now);
        }
        let _ = self.apply(io, key, flow);
        self.process_outputs(io, key);
    }

    fn is_alive(&self, key: u64) -> bool {
        let session = self.sessions.get(key as u32 as usize);
        session.is_some_and(|session| session.key == key)
    }

    fn on_turn(&mut self, io: &mut IoContext<ServerCommand>) -> Option<Duration> {
        let now = io.now();
        for key in std::mem::take(&mut self.unfinished) {
            self.go_on_with_post(io, key);
        }
        flush_held_answers(&mut self.cork_queue, now, |key| {
            let session = self.sessions.get(key as u32 as usize)?;
            let handler = session.handler.as_ref();
            let state = handler.map_or(QueueState::Idle, |handler| handler.queue_state());
            (session.key == key).then_some((&*session.handle, state))
        });
        self.held.retain(|held| {
            let is_due = held.due() <= now;
            if is_due {
                held.flush();
            }
            !is_due
        });
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let held = self.held.iter().map(|held| held.due() - now).min();
        self.cork_queue.max_sleep().or(held)
    }

    fn on_stop(&mut self, io: &mut IoContext<ServerCommand>) {
        self.stopping = true;
        let keys: Vec<_> = self
            .sessions
            .iter()
            .map(|(_, session)| session.key)
            .collect();
        for key in keys {
            if let Some(session) = find(&mut self.sessions, key) {
                session.machine.handle(io.now(), ServerInput::Shutdown);
                self.process_outputs(io, key);
            }
        }
    }
}

impl ServerDriver {
    pub(super) fn new(shared: &Arc<EngineShared>) -> ServerDriver {
        ServerDriver {
            shared: Arc::clone(shared),
            sink: None,
            sessions: Slab::new(),
            by_sid: HashMap::new(),
            cork_queue: CorkQueue::default(),
            unfinished: Vec::new(),
            held: Vec::new(),
            stopping: false,
        }
    }

    /// Handles a request for a session that there is.
    pub(super) fn on_session_request(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: Request,
        key: u64,
        is_upgrade: bool,
    ) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let channel = ChannelId(id.to_u64());
        if is_upgrade {
            return self.ask_to_upgrade(io, id, request, key);
        }
        match request.method() {
            "GET" => {
                io.set_owner(id, Some(key));
                let queued = !session.handle.outbox().set_poll_waiting();
                session.poll_waits = true;
                session.pending_requests.push((id, request));
                session
                    .machine
                    .handle(now, ServerInput::Poll { channel, queued });
                self.process_outputs(io, key);
            }
            "POST" => self.on_post(io, id, request, key),
            _ => {
                let response = Response::text(405, "Method Not Allowed")
                    .with_headers(self.shared.config.cors.headers(&request))
                    .with_headers(session.headers().collect())
                    .with_header("Allow", "GET, POST, OPTIONS");
                io.respond(id, response);
            }
        }
    }

    /// Opens the WebSocket that a session is to move to.
    pub(super) fn upgrade(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: &Request,
        key: u64,
        handshake: Handshake,
    ) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            // It has ended while the program was asked.
            return self.refuse(io, id, request, RequestError::UnknownSid);
        };
        let Ok(websocket) = websocket_key(request) else {
            return self.refuse_websocket(io, id, request);
        };
        let mut headers = self.shared.config.cors.headers(request);
        headers.extend(session.headers());
        headers.extend(handshake.headers);
        headers.extend(subprotocol(request));
        // As the reference does, from the request of each transport.
        if session.machine.can_upgrade() {
            let wants_text = wants_text(request);
            session
                .handle
                .set_binary_form(binary_form(session.revision(), wants_text));
        }
        io.upgrade(id, key, &websocket, &headers, &[]);
        let channel = ChannelId(id.to_u64());
        session.machine.handle(now, ServerInput::WebSocket(channel));
        self.process_outputs(io, key);
    }

    /// Returns the session of an id, unless the program has still to decide about it.
    pub(super) fn find_by_sid(&self, sid: &str) -> Option<&ServerEntry> {
        let session = self.sessions.get(*self.by_sid.get(sid)? as usize)?;
        (!session.is_undecided()).then_some(session)
    }

    /// Takes a session out; none if it has been.
    pub(super) fn forget(&mut self, key: u64) -> Option<ServerEntry> {
        find(&mut self.sessions, key)?;
        let session = self.sessions.remove(key as u32 as usize);
        self.by_sid.remove(session.handle.sid());
        Some(session)
    }

    /// Returns whether a request is for an open session, and of the origin that opened it.
    fn is_known_origin(&self, request: &Request) -> bool {
        let known = || {
            let session = self.find_by_sid(&request.param("sid")?)?;
            Some(session.origin.as_deref()? == request.first("origin")?)
        };
        known().unwrap_or(false)
    }

    /// Does what a packet has left to be done.
    fn follow(
        &mut self,
        io: &mut IoContext<ServerCommand>,
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

    /// Does what a session's handler wants.
    pub(super) fn apply(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        key: u64,
        control: Control,
    ) -> ControlFlow<()> {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return ControlFlow::Break(());
        };
        match control {
            Control::Continue => return ControlFlow::Continue(()),
            Control::Scheduled => {
                self.cork_queue.push(now, key, session.handle.outbox());
                return ControlFlow::Continue(());
            }
            Control::PauseReading => {
                if !std::mem::replace(&mut session.read_paused, true) {
                    session.machine.set_read_paused(now, true);
                }
                if let Some(ChannelId(channel)) = session.machine.active_websocket() {
                    io.set_read_paused(ConnectionId::from_u64(channel), true);
                }
                session.schedule(io);
            }
            Control::Close(reason) => {
                session.machine.handle(now, ServerInput::Close(reason));
                self.process_outputs(io, key);
            }
        }
        ControlFlow::Break(())
    }

    fn resume(&mut self, io: &mut IoContext<ServerCommand>, key: u64) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let may_resume = session.handler.as_ref().is_none_or(|it| it.may_resume());
        if !may_resume || !std::mem::take(&mut session.read_paused) {
            return;
        }
        session.machine.set_read_paused(now, false);
        match session.machine.active_websocket() {
            Some(ChannelId(channel)) => io.set_read_paused(ConnectionId::from_u64(channel), false),
            None if session.posted.is_some() => self.unfinished.push(key),
            None => {
                if let Some(channel) = session.machine.post() {
                    session.machine.handle(now, ServerInput::Posted(channel));
                }
            }
        }
        self.process_outputs(io, key);
    }

    /// Does what a session's machine wants.
    pub(super) fn process_outputs(&mut self, io: &mut IoContext<ServerCommand>, key: u64) {
        let now = io.now();
        while let Some(session) = find(&mut self.sessions, key) {
            let Some(output) = session.machine.poll() else {
                if session.poll_waits && !session.machine.has_poll() {
                    session.poll_waits = false;
                    session.handle.outbox().clear_poll_waiting();
                }
                return session.schedule(io);
            };
            match output {
                ServerOutput::Respond(ChannelId(channel), answer) => {
                    let id = ConnectionId::from_u64(channel);
                    let position = session
                        .pending_requests
                        .iter()
                        .position(|(pending, _)| *pending == id);
                    if let Some(at) = position {
                        let (_, request) = session.pending_requests.swap_remove(at);
                        if session.pending_requests.is_empty() {
                            session.pending_requests = Vec::new();
                        }
                        let empty = self.shared.answer(io, id, &request, answer, session);
                        if empty {
                            session.machine.handle(now, ServerInput::Drained);
                        }
                    }
                }
                ServerOutput::Send(packet) => {
                    if send_packet(&session.handle, &packet) {
                        session.machine.handle(now, ServerInput::Queued);
                    }
                }
                ServerOutput::SendProbePong(ChannelId(channel)) => {
                    let frames = Frames::control(&EnginePacket::Pong("probe"));
                    io.append(ConnectionId::from_u64(channel), &frames.0);
                }
                ServerOutput::Attach(ChannelId(channel)) => {
                    log::debug!(target: "engineio", "{}: upgraded to websocket", session.handle.label());
                    session.handle.set_transport(Transport::WebSocket);
                    session.polling_slot = None;
                    let id = ConnectionId::from_u64(channel);
                    io.attach(id, session.handle.outbox());
                    if session.read_paused {
                        io.set_read_paused(id, true);
                    }
                    if let Some(handler) = &mut session.handler {
                        handler.upgraded();
                    }
                }
                ServerOutput::CloseWebSocket(ChannelId(channel)) => {
                    if session.machine.is_open() {
                        log::info!(target: "engineio", "{}: a WebSocket is closed, it was no upgrade, or not in time", session.handle.label());
                    }
                    io.close_websocket(ConnectionId::from_u64(channel), None);
                }
                ServerOutput::Closed(reason) => {
                    log::debug!(target: "engineio", "{}: closed, {reason}", session.handle.label());
                    session.handle.outbox().close();
                    session.resident = None;
                    // A POST that is held, or that packets are left of, is answered now.
                    session.posted = None;
                    let posts = session
                        .pending_requests
                        .iter()
                        .filter(|it| it.1.method() == "POST");
                    let posts: Vec<_> = posts.map(|it| ChannelId(it.0.to_u64())).collect();
                    for channel in posts {
                        session.machine.handle(now, ServerInput::Posted(channel));
                    }
                    if let Some(mut handler) = session.handler.take() {
                        handler.close(now, reason);
                    }
                    // What was not complete goes with the handler; the session may stay a while.
                    session.share.hold(0);
                }
                ServerOutput::Done => {
                    let Some(session) = self.forget(key) else {
                        return;
                    };
                    session.handle.log_limit().close(session.handle.label());
                    for (id, request) in &session.pending_requests {
                        let mut headers = self.shared.config.cors.headers(request);
                        headers.extend(session.headers());
                        io.respond(*id, Response::new(400).with_headers(headers));
                    }
                    return;
                }
            }
        }
    }
}
