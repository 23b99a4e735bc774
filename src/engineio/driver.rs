//! The sessions of one I/O thread: requests and frames in, state machines and handlers between,
//! answers and frames out.
//!
//! In a circle with `handshake`, `polling` and `serving`: the methods of one `Driver` stand where
//! their subject is.

use super::eio3::{Eio3, Packets};
use super::frames::{Frames, binary_form, wants_text};
use super::handle::{self, Orders, SessionHandle};
use super::handshake::{
    Decided, Decision, RequestError, decide, subprotocol, thread_of, websocket_key,
};
use super::on_handshake::Handshake;
use super::serving::{Resident, Shared};
use super::write_batching::CorkQueue;
use super::{Control, HeldBroadcasts, SessionHandler, Transport};
use crate::net::http::cors::Verdict;
use crate::net::http::{Header, Headers, Request, Response};
use crate::net::outbox::{Appended, When};
use crate::net::{self, BodyRules, ConnectionId, IoContext, Timer, TimerKey};
use crate::pool::QueueState;
use crate::protocol::engineio::packet::Invalid as InvalidPacket;
use crate::protocol::engineio::server::{Input, Output, Server, TransportId};
use crate::protocol::engineio::{Data, Packet, Revision, payload_v3};
use crate::reason::Reason;
use crate::util::budget::Share;
use crate::util::program;
use crate::util::slots::Slot;
use slab::Slab;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Command to an I/O thread.
#[derive(Debug)]
pub(super) enum Order {
    Session(handle::Order),
    /// The program has decided about a request that was parked.
    Decided(Box<Decided>),
}

impl From<handle::Order> for Order {
    fn from(order: handle::Order) -> Self {
        Order::Session(order)
    }
}

/// The sessions of one I/O thread.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    /// The way back to this thread, for all its sessions.
    pub(super) orders: Option<Arc<dyn Orders>>,
    pub(super) sessions: Slab<Session>,
    pub(super) by_sid: HashMap<Box<str>, u32>,
    corks: CorkQueue,
    /// Sessions with a POST of which packets are left, to go on with in the next turn.
    unfinished: Vec<u64>,
    /// Rows of broadcasts, in their order.
    held: Vec<Arc<HeldBroadcasts>>,
    pub(super) stopping: bool,
}

pub(super) struct Session {
    pub(super) key: u64,
    pub(super) machine: Server,
    pub(super) handle: Arc<SessionHandle>,
    /// None while the program decides, and after the end.
    pub(super) receiver: Option<Box<dyn SessionHandler>>,
    /// Requests that wait for their answers.
    parked: Vec<(ConnectionId, Request)>,
    alarm: Timer,
    wake_at: Option<Instant>,
    is_stopped: bool,
    /// True if the outbox was told that a poll waits.
    is_awaited: bool,
    /// A POST that is being handled.
    posted: Option<Box<Posted>>,
    /// The origin that was found to be allowed when the session was opened.
    origin: Option<Box<str>>,
    /// Of revision 3.
    pub(super) eio3: Option<Box<Eio3>>,
    /// Packets that the client takes in one payload.
    pub(super) max_packets: usize,
    /// A place among the polling sessions, until it has moved to a WebSocket.
    pub(super) polling_slot: Option<Slot>,
    /// Its place in the count of those that are served, until it has ended.
    pub(super) resident: Option<Resident>,
    /// Fields of all its answers. Boxed, since most sessions have none.
    #[allow(
        clippy::box_collection,
        reason = "a list is three times as large as a box"
    )]
    headers: Option<Box<Headers>>,
    /// The program ended it before it was open: it is to end as soon as it is.
    pub(super) ends: Option<Reason>,
    /// Bytes of its unfinished packet, in the budget.
    share: Share,
}

/// A POST whose packets are handled a portion at a time.
struct Posted {
    channel: TransportId,
    body: Vec<u8>,
    /// It is one of bytes, of revision 3.
    is_binary: bool,
    /// Part of it that has been read.
    at: usize,
}

/// Packets of one POST that are handled in one turn: what they bring to do takes up to a few
/// microseconds each.
const MAX_PACKETS: usize = 512;

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handle.fmt(formatter)
    }
}

impl net::Driver for Driver {
    type Command = Order;

    fn on_request(&mut self, io: &mut IoContext<Order>, id: ConnectionId, mut request: Request) {
        request.find_client(&self.shared.config.trusted_proxies);
        if self.shared.config.allow_eio3 {
            request.find_origin_of_script();
        }
        if !self.shared.is_own(request.path()) {
            return self.serve_fallback(io, id, request);
        }
        if io.threads() > 1
            && let Some(thread) = request.param("sid").and_then(|sid| thread_of(&sid))
            && thread != io.thread()
            && thread < io.threads()
        {
            return io.transfer(id, thread, request);
        }
        match self.shared.config.cors.check(&request) {
            Verdict::Allowed => self.route(io, id, request),
            Verdict::Refused => self.refuse_origin(io, id, &request),
            // Decided once for a session: an answer must not wait for a worker.
            Verdict::Ask(_) if self.is_known_origin(&request) => self.route(io, id, request),
            Verdict::Ask(check) => {
                let mailbox = io.mailbox().clone();
                io.execute(move || {
                    let allowed = program::call(|| check.allows(&request));
                    decide(
                        &mailbox,
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
            Verdict::Allowed => true,
            Verdict::Refused => false,
            Verdict::Ask(_) => self.is_known_origin(request),
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

    fn give_up(&mut self, io: &mut IoContext<Order>, key: u64) {
        let now = io.now();
        if let Some(session) = find(&mut self.sessions, key) {
            let held = session.held();
            let receiver = session.receiver.as_mut();
            let discarded = receiver.map_or(0, |receiver| receiver.discard());
            log::warn!(target: "engineio", "{}: closed, it holds {held} bytes, and all together more than may be held (Limits::buffered_bytes); {discarded} events of it are not handled", session.handle.label());
            self.shared.config.limits.refused.note("buffered_bytes");
            session.handle.outbox().give_up();
            session
                .machine
                .handle(now, Input::Close(Reason::TransportError));
            self.drive(io, key);
        }
    }

    fn on_message(
        &mut self,
        io: &mut IoContext<Order>,
        owner: u64,
        id: ConnectionId,
        data: Data<'_>,
    ) -> ControlFlow<()> {
        let Some(session) = find(&mut self.sessions, owner) else {
            return ControlFlow::Break(());
        };
        let now = io.now();
        let channel = TransportId(id.to_u64());
        let packet = match data {
            Data::Text(text) => match text.strip_prefix('4') {
                Some(text) => Packet::Message(Data::Text(text)),
                None => match session.decode(text) {
                    // What was posted before the upgrade is handled before it.
                    Ok(Packet::Upgrade) if session.posted.is_some() => {
                        while find(&mut self.sessions, owner).is_some_and(|it| it.posted.is_some())
                        {
                            self.go_on_with_post(io, owner);
                        }
                        return self.on_message(io, owner, id, Data::Text("5"));
                    }
                    Ok(packet) => packet,
                    Err(invalid) => {
                        log::info!(target: "engineio", "{}: closed, it sent {invalid}", session.handle.label());
                        session.machine.handle(now, Input::Invalid);
                        self.drive(io, owner);
                        return ControlFlow::Break(());
                    }
                },
            },
            Data::Binary(bytes) if session.eio3.is_some() => {
                match Packet::decode_binary_v3(bytes) {
                    Some(packet) => packet,
                    None => return ControlFlow::Continue(()),
                }
            }
            binary => Packet::Message(binary),
        };
        match session.machine.receive(now, channel, packet) {
            Some(message) => {
                let Some(receiver) = &mut session.receiver else {
                    return ControlFlow::Break(());
                };
                match receiver.receive(now, message) {
                    Control::Continue => ControlFlow::Continue(()),
                    flow => self.act(io, owner, flow),
                }
            }
            None => {
                self.drive(io, owner);
                ControlFlow::Continue(())
            }
        }
    }

    fn on_read(&mut self, io: &mut IoContext<Order>, owner: u64) {
        self.on_read_complete(io, owner);
    }

    fn on_connection_lost(
        &mut self,
        io: &mut IoContext<Order>,
        owner: u64,
        id: ConnectionId,
        reason: Reason,
    ) {
        let now = io.now();
        if let Some(session) = find(&mut self.sessions, owner) {
            session.parked.retain(|(parked, _)| *parked != id);
            let channel = TransportId(id.to_u64());
            session.machine.handle(now, Input::Lost { channel, reason });
            self.drive(io, owner);
        }
    }

    fn on_command(&mut self, io: &mut IoContext<Order>, order: Order) {
        use handle::Order::{Close, Dismiss, Flush, Queued, Resume, TooSlow, WakeAt};
        let now = io.now();
        let order = match order {
            Order::Session(order) => order,
            Order::Decided(decided) => return self.on_decided(io, *decided),
        };
        let (key, input) = match order {
            Queued(key) => (key, Input::Queued),
            Close(key, reason) => {
                if let Some(session) = find(&mut self.sessions, key)
                    && session.is_undecided()
                {
                    session.ends = Some(reason);
                    return;
                }
                (key, Input::Close(reason))
            }
            TooSlow(key) => {
                self.shared.config.limits.refused.note("outbox_bytes");
                if let Some(session) = find(&mut self.sessions, key) {
                    session.handle.report_slowness();
                }
                (key, Input::Close(Reason::TransportError))
            }
            Dismiss(key) => {
                let session = find(&mut self.sessions, key);
                if let Some(receiver) = session.and_then(|it| it.receiver.as_mut()) {
                    receiver.dismiss();
                }
                (key, Input::Close(Reason::ServerDisconnect))
            }
            Flush(held) => return self.held.push(held),
            Resume(key) => return self.resume(io, key),
            WakeAt(key, at) => {
                if let Some(session) = find(&mut self.sessions, key) {
                    let earlier = session.wake_at.is_none_or(|wake_at| at < wake_at);
                    session.wake_at = if earlier { Some(at) } else { session.wake_at };
                    session.schedule(io);
                }
                return;
            }
        };
        if let Some(session) = find(&mut self.sessions, key) {
            session.machine.handle(now, input);
            self.drive(io, key);
        }
    }

    fn on_timer(&mut self, io: &mut IoContext<Order>, key: u64, entry: (Instant, TimerKey)) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        if !io.timers.is_due(&mut session.alarm, entry, now) {
            return;
        }
        if session.machine.next_timeout().is_some_and(|at| at <= now) {
            session.machine.handle(now, Input::Timeout);
        }
        let wakes = session.wake_at.take_if(|at| *at <= now).is_some();
        let mut flow = Control::Continue;
        if let Some(receiver) = &mut session.receiver
            && (wakes || receiver.next_timeout().is_some_and(|at| at <= now))
        {
            flow = receiver.timeout(now);
        }
        let _ = self.act(io, key, flow);
        self.drive(io, key);
    }

    fn has(&self, key: u64) -> bool {
        let session = self.sessions.get(key as u32 as usize);
        session.is_some_and(|session| session.key == key)
    }

    fn on_turn(&mut self, io: &mut IoContext<Order>) -> Option<Duration> {
        let now = io.now();
        for key in std::mem::take(&mut self.unfinished) {
            self.go_on_with_post(io, key);
        }
        while let Some(corked) = self.corks.due(now) {
            let session = find(&mut self.sessions, corked.key);
            let receiver = session.and_then(|session| session.receiver.as_ref());
            let busy = receiver.map_or(QueueState::Nobody, |receiver| receiver.busy());
            let key = corked.key;
            let flushed = self.corks.look(now, corked, busy);
            if let Some(session) = find(&mut self.sessions, key) {
                // What has become of the session comes as an order.
                let _ = session.handle.settle(flushed);
            }
        }
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
        self.corks.patience().or(held)
    }

    fn on_stop(&mut self, io: &mut IoContext<Order>) {
        self.stopping = true;
        let keys: Vec<_> = self
            .sessions
            .iter()
            .map(|(_, session)| session.key)
            .collect();
        for key in keys {
            if let Some(session) = find(&mut self.sessions, key) {
                session.machine.handle(io.now(), Input::Shutdown);
                self.drive(io, key);
            }
        }
    }
}

impl Driver {
    pub(super) fn new(shared: &Arc<Shared>) -> Driver {
        Driver {
            shared: Arc::clone(shared),
            orders: None,
            sessions: Slab::new(),
            by_sid: HashMap::new(),
            corks: CorkQueue::default(),
            unfinished: Vec::new(),
            held: Vec::new(),
            stopping: false,
        }
    }

    /// A request for a session that there is.
    pub(super) fn join(
        &mut self,
        io: &mut IoContext<Order>,
        id: ConnectionId,
        request: Request,
        key: u64,
        is_upgrade: bool,
    ) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let channel = TransportId(id.to_u64());
        if is_upgrade {
            return self.ask_to_upgrade(io, id, request, key);
        }
        match request.method() {
            "GET" => {
                io.set_owner(id, Some(key));
                let queued = !session.handle.outbox().wait();
                session.is_awaited = true;
                session.parked.push((id, request));
                session.machine.handle(now, Input::Poll { channel, queued });
                self.drive(io, key);
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
        io: &mut IoContext<Order>,
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
        let channel = TransportId(id.to_u64());
        session.machine.handle(now, Input::WebSocket(channel));
        self.drive(io, key);
    }

    fn on_post(
        &mut self,
        io: &mut IoContext<Order>,
        id: ConnectionId,
        mut request: Request,
        key: u64,
    ) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let channel = TransportId(id.to_u64());
        let mut body = request.take_body();
        if let Some(eio3) = &session.eio3 {
            body = eio3.read_body(body, self.shared.config.repair_eio3_text);
        }
        let is_binary = request
            .first("content-type")
            .is_some_and(|kind| kind.starts_with("application/octet-stream"));
        if is_binary && session.eio3.is_none() {
            log::info!(target: "engineio", "{}: closed, it posted an octet-stream", session.handle.label());
            session.machine.handle(now, Input::Invalid);
            let mut headers = self.shared.config.cors.headers(&request);
            headers.extend(session.headers());
            self.drive(io, key);
            return io.respond(id, Response::new(400).with_headers(headers));
        }
        io.set_owner(id, Some(key));
        session.parked.push((id, request));
        session.machine.handle(now, Input::Post(channel));
        if session.machine.post() == Some(channel) {
            // python-engineio's clients of that time do not always say so.
            let posted = Posted {
                channel,
                is_binary: is_binary || payload_v3::is_binary(&body),
                body,
                at: 0,
            };
            return self.take_post(io, key, posted);
        }
        self.drive(io, key);
    }

    fn go_on_with_post(&mut self, io: &mut IoContext<Order>, key: u64) {
        let session = find(&mut self.sessions, key);
        if let Some(posted) = session.and_then(|session| session.posted.take()) {
            self.take_post(io, key, *posted);
        }
    }

    /// Handles the next packets of a POST: so many that other connections do not wait for long.
    fn take_post(&mut self, io: &mut IoContext<Order>, key: u64, mut posted: Posted) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let channel = posted.channel;
        let mut packets = Packets::new(
            session.revision(),
            &posted.body[posted.at..],
            posted.is_binary,
        );
        for packet in packets.by_ref().take(MAX_PACKETS) {
            let message = match packet {
                Ok(packet) => session.machine.receive(now, channel, packet),
                Err(invalid) => {
                    log::info!(target: "engineio", "{}: closed, it posted {invalid}", session.handle.label());
                    session.machine.handle(now, Input::Invalid);
                    break;
                }
            };
            let (Some(message), Some(receiver)) = (message, &mut session.receiver) else {
                continue;
            };
            if let Control::Close(reason) = receiver.receive(now, message) {
                session.machine.handle(now, Input::Close(reason));
                break;
            }
        }
        let is_open = session.machine.is_open();
        let left = packets.left().filter(|_| is_open);
        let flow = match &mut session.receiver {
            Some(receiver) if is_open => receiver.on_read_complete(now),
            _ => Control::Continue,
        };
        if let Some(left) = left {
            posted.at = posted.body.len() - left;
            session.posted = Some(Box::new(posted));
        }
        if flow == Control::Stop {
            // The client posts nothing more before it has its answer.
            session.is_stopped = true;
            session.machine.suspend(now, true);
        } else {
            if left.is_some() {
                self.unfinished.push(key);
            } else {
                session.machine.handle(now, Input::Posted(channel));
            }
            let _ = self.act(io, key, flow);
        }
        self.drive(io, key);
    }

    /// Returns the session of an id, unless the program has still to decide about it.
    pub(super) fn find_by_sid(&self, sid: &str) -> Option<&Session> {
        let session = self.sessions.get(*self.by_sid.get(sid)? as usize)?;
        (!session.is_undecided()).then_some(session)
    }

    /// Takes a session out; none if it has been.
    pub(super) fn forget(&mut self, key: u64) -> Option<Session> {
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

    /// Does what a session's handler wants.
    fn act(&mut self, io: &mut IoContext<Order>, key: u64, flow: Control) -> ControlFlow<()> {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return ControlFlow::Break(());
        };
        match flow {
            Control::Continue => return ControlFlow::Continue(()),
            Control::Draining => {
                self.corks.push(now, key, session.handle.outbox());
                return ControlFlow::Continue(());
            }
            Control::Stop => {
                if !std::mem::replace(&mut session.is_stopped, true) {
                    session.machine.suspend(now, true);
                }
                if let Some(TransportId(channel)) = session.machine.carrier() {
                    io.stop_reading(ConnectionId::from_u64(channel), true);
                }
                session.schedule(io);
            }
            Control::Close(reason) => {
                session.machine.handle(now, Input::Close(reason));
                self.drive(io, key);
            }
        }
        ControlFlow::Break(())
    }

    fn on_read_complete(&mut self, io: &mut IoContext<Order>, key: u64) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let Some(receiver) = &mut session.receiver else {
            return;
        };
        let flow = receiver.on_read_complete(now);
        let kept = receiver.kept();
        session.share.hold(kept);
        session.schedule(io);
        if flow == Control::Draining {
            return self.corks.push(now, key, session.handle.outbox());
        }
        let _ = self.act(io, key, flow);
    }

    fn resume(&mut self, io: &mut IoContext<Order>, key: u64) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let may_resume = session.receiver.as_ref().is_none_or(|it| it.may_resume());
        if !may_resume || !std::mem::take(&mut session.is_stopped) {
            return;
        }
        session.machine.suspend(now, false);
        match session.machine.carrier() {
            Some(TransportId(channel)) => io.stop_reading(ConnectionId::from_u64(channel), false),
            None if session.posted.is_some() => self.unfinished.push(key),
            None => {
                if let Some(channel) = session.machine.post() {
                    session.machine.handle(now, Input::Posted(channel));
                }
            }
        }
        self.drive(io, key);
    }

    /// Does what a session's machine wants.
    pub(super) fn drive(&mut self, io: &mut IoContext<Order>, key: u64) {
        let now = io.now();
        while let Some(session) = find(&mut self.sessions, key) {
            let Some(output) = session.machine.poll() else {
                if session.is_awaited && !session.machine.has_poll() {
                    session.is_awaited = false;
                    session.handle.outbox().stop_waiting();
                }
                return session.schedule(io);
            };
            match output {
                Output::Answer(TransportId(channel), answer) => {
                    let id = ConnectionId::from_u64(channel);
                    let parked = session.parked.iter().position(|(parked, _)| *parked == id);
                    if let Some(at) = parked {
                        let (_, request) = session.parked.swap_remove(at);
                        if session.parked.is_empty() {
                            session.parked = Vec::new();
                        }
                        let empty = self.shared.answer(io, id, &request, answer, session);
                        if empty {
                            session.machine.handle(now, Input::Drained);
                        }
                    }
                }
                Output::Send(packet) => {
                    let frames = Frames::control(&packet);
                    let sent = session.handle.outbox().append(&frames.0, When::Now);
                    match sent {
                        Ok(Appended::Awaited) => session.machine.handle(now, Input::Queued),
                        sent => drop(session.handle.settle(sent)),
                    }
                }
                Output::Probed(TransportId(channel)) => {
                    let frames = Frames::control(&Packet::Pong("probe"));
                    io.append(ConnectionId::from_u64(channel), &frames.0);
                }
                Output::Attach(TransportId(channel)) => {
                    log::debug!(target: "engineio", "{}: upgraded to websocket", session.handle.label());
                    session.handle.set_transport(Transport::WebSocket);
                    session.polling_slot = None;
                    io.attach(ConnectionId::from_u64(channel), session.handle.outbox());
                    if let Some(receiver) = &mut session.receiver {
                        receiver.upgraded();
                    }
                }
                Output::HangUp(TransportId(channel)) => {
                    if session.machine.is_open() {
                        log::info!(target: "engineio", "{}: a WebSocket is closed, it was no upgrade, or not in time", session.handle.label());
                    }
                    io.hang_up(ConnectionId::from_u64(channel), None);
                }
                Output::Closed(reason) => {
                    log::debug!(target: "engineio", "{}: closed, {reason}", session.handle.label());
                    session.handle.outbox().close();
                    session.resident = None;
                    // A POST that is held, or that packets are left of, is answered now.
                    session.posted = None;
                    let posts = session.parked.iter().filter(|it| it.1.method() == "POST");
                    let posts: Vec<_> = posts.map(|it| TransportId(it.0.to_u64())).collect();
                    for channel in posts {
                        session.machine.handle(now, Input::Posted(channel));
                    }
                    if let Some(mut receiver) = session.receiver.take() {
                        receiver.close(now, reason);
                    }
                }
                Output::Gone => {
                    let Some(session) = self.forget(key) else {
                        return;
                    };
                    session.handle.log_limit().close(session.handle.label());
                    for (id, request) in &session.parked {
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

impl Session {
    /// Returns the bytes that wait for the client, or for workers, and those of what it has not
    /// sent to the end.
    fn held(&self) -> usize {
        let receiver = self.receiver.as_ref();
        let received = receiver.map_or(0, |it| it.kept() + it.waiting());
        let posted = self.posted.as_ref().map_or(0, |posted| posted.body.len());
        self.handle.outbox().waiting() + received + posted
    }

    /// Returns whether the program has still to decide about it.
    fn is_undecided(&self) -> bool {
        self.receiver.is_none() && self.machine.is_open()
    }

    pub(super) fn new(
        key: u64,
        machine: Server,
        handle: Arc<SessionHandle>,
        origin: Option<Box<str>>,
        max_packets: usize,
        share: Share,
    ) -> Session {
        Session {
            key,
            machine,
            handle,
            receiver: None,
            parked: Vec::new(),
            alarm: Timer::default(),
            wake_at: None,
            is_stopped: false,
            is_awaited: false,
            posted: None,
            origin,
            eio3: None,
            max_packets,
            polling_slot: None,
            resident: None,
            headers: None,
            ends: None,
            share,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        match self.eio3 {
            Some(_) => Revision::V3,
            None => Revision::V4,
        }
    }

    /// Reads a packet from the text of a WebSocket message.
    fn decode<'a>(&self, text: &'a str) -> Result<Packet<'a>, InvalidPacket> {
        match self.revision() {
            Revision::V3 => Packet::decode_v3(text),
            Revision::V4 => Packet::decode(text),
        }
    }

    /// Keeps fields for all its answers.
    pub(super) fn keep_headers(&mut self, headers: Headers) {
        self.headers = (!headers.is_empty()).then(|| Box::new(headers));
    }

    /// Returns the fields of all its answers.
    pub(super) fn headers(&self) -> impl Iterator<Item = Header> + use<'_> {
        self.headers
            .iter()
            .flat_map(|headers| headers.iter().cloned())
    }

    /// Tells the timers when to look again.
    pub(super) fn schedule(&mut self, io: &mut IoContext<Order>) {
        let receiver = self
            .receiver
            .as_ref()
            .and_then(|receiver| receiver.next_timeout());
        let times = [self.machine.next_timeout(), receiver, self.wake_at];
        let next = times.into_iter().flatten().min();
        io.timers
            .set(&mut self.alarm, TimerKey::Driver(self.key), next);
    }
}

pub(super) fn find(sessions: &mut Slab<Session>, key: u64) -> Option<&mut Session> {
    let session = sessions.get_mut(key as u32 as usize)?;
    (session.key == key).then_some(session)
}
