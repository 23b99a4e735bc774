//! The sessions of one I/O thread: requests and frames in, state machines and receivers between,
//! answers and frames out.

use super::corks::Corks;
use super::frames::Frames;
use super::handshake::{Decided, Decision, decide, subprotocol, thread_of, websocket_key};
use super::serving::Shared;
use super::session::{self, Handle, Orders};
use super::{Flow, Receiver, Transport};
use crate::protocol::engineio::server::{Channel, Input, Output, Server};
use crate::protocol::engineio::{Data, Packet, payload};
use crate::reactor::http::cors::Verdict;
use crate::reactor::http::{Request, Response};
use crate::reactor::outbox::{Accepted, When};
use crate::reactor::{self, Alarm, ConnectionId, Io, Key};
use crate::reason::Reason;
use crate::workers::Busy;
use slab::Slab;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What other threads ask of an I/O thread.
#[derive(Debug)]
pub(super) enum Order {
    Session(session::Order),
    /// The program has decided about a request that was parked.
    Decided(Box<Decided>),
}

impl From<session::Order> for Order {
    fn from(order: session::Order) -> Self {
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
    corks: Corks,
    pub(super) stopping: bool,
}

pub(super) struct Session {
    pub(super) key: u64,
    pub(super) machine: Server,
    pub(super) handle: Arc<Handle>,
    /// None while the program decides, and after the end.
    pub(super) receiver: Option<Box<dyn Receiver>>,
    /// Requests that wait for their answers.
    parked: Vec<(ConnectionId, Request)>,
    alarm: Alarm,
    wake_at: Option<Instant>,
    is_stopped: bool,
    /// Whether the outbox was told that a poll waits.
    is_awaited: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handle.fmt(formatter)
    }
}

impl reactor::Driver for Driver {
    type Command = Order;

    fn on_request(&mut self, io: &mut Io<Order>, id: ConnectionId, request: Request) {
        if !request.path().starts_with(&self.shared.path) {
            return self.fall_back(io, id, request);
        }
        if io.threads() > 1
            && let Some(thread) = request.param("sid").and_then(|sid| thread_of(&sid))
            && thread != io.thread()
            && thread < io.threads()
        {
            return io.hand_over(id, thread, request);
        }
        match self.shared.config.cors.check(&request) {
            Verdict::Allowed => self.route(io, id, request),
            Verdict::Refused => self.refuse_origin(io, id, &request),
            Verdict::Ask(check) => {
                let mailbox = io.mailbox().clone();
                io.execute(move || {
                    let allowed = catch_unwind(AssertUnwindSafe(|| check.allows(&request)));
                    decide(
                        &mailbox,
                        id,
                        Decision::Origin(allowed.unwrap_or(false), request),
                    );
                });
            }
        }
    }

    fn on_message(
        &mut self,
        io: &mut Io<Order>,
        owner: u64,
        id: ConnectionId,
        data: Data<'_>,
    ) -> ControlFlow<()> {
        let Some(session) = find(&mut self.sessions, owner) else {
            return ControlFlow::Break(());
        };
        let now = io.now();
        let channel = Channel(id.to_u64());
        let packet = match data {
            Data::Text(text) => match text.strip_prefix('4') {
                Some(text) => Packet::Message(Data::Text(text)),
                None => match Packet::decode(text) {
                    Ok(packet) => packet,
                    Err(invalid) => {
                        log::info!(target: "engineio", "{}: closed, it sent {invalid}", session.handle.label());
                        session.machine.handle(now, Input::Invalid);
                        self.drive(io, owner);
                        return ControlFlow::Break(());
                    }
                },
            },
            binary => Packet::Message(binary),
        };
        match session.machine.receive(now, channel, packet) {
            Some(message) => {
                let Some(receiver) = &mut session.receiver else {
                    return ControlFlow::Break(());
                };
                let flow = receiver.receive(now, message);
                self.act(io, owner, flow)
            }
            None => {
                self.drive(io, owner);
                ControlFlow::Continue(())
            }
        }
    }

    fn on_read(&mut self, io: &mut Io<Order>, owner: u64) {
        self.pause(io, owner);
    }

    fn on_lost(&mut self, io: &mut Io<Order>, owner: u64, id: ConnectionId, reason: Reason) {
        let now = io.now();
        if let Some(session) = find(&mut self.sessions, owner) {
            session.parked.retain(|(parked, _)| *parked != id);
            let channel = Channel(id.to_u64());
            session.machine.handle(now, Input::Lost { channel, reason });
            self.drive(io, owner);
        }
    }

    fn on_command(&mut self, io: &mut Io<Order>, order: Order) {
        use session::Order::{Close, Dismiss, Queued, Resume, WakeAt};
        let now = io.now();
        let order = match order {
            Order::Session(order) => order,
            Order::Decided(decided) => return self.on_decided(io, *decided),
        };
        let (key, input) = match order {
            Queued(key) => (key, Input::Queued),
            Close(key, reason) => (key, Input::Close(reason)),
            Dismiss(key) => {
                let session = find(&mut self.sessions, key);
                if let Some(receiver) = session.and_then(|it| it.receiver.as_mut()) {
                    receiver.dismiss();
                }
                (key, Input::Close(Reason::ServerDisconnect))
            }
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

    fn on_alarm(&mut self, io: &mut Io<Order>, key: u64, entry: (Instant, Key)) {
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
        let mut flow = Flow::Continue;
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

    fn on_turn(&mut self, io: &mut Io<Order>) -> Option<Duration> {
        let now = io.now();
        while let Some(corked) = self.corks.due(now) {
            let session = find(&mut self.sessions, corked.key);
            let receiver = session.and_then(|session| session.receiver.as_ref());
            let busy = receiver.map_or(Busy::Nobody, |receiver| receiver.busy());
            let key = corked.key;
            let flushed = self.corks.look(now, corked, busy);
            if let Some(session) = find(&mut self.sessions, key) {
                session.handle.settle(flushed);
            }
        }
        self.corks.patience()
    }

    fn on_stop(&mut self, io: &mut Io<Order>) {
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
            corks: Corks::default(),
            stopping: false,
        }
    }

    /// A request for a session that there is.
    pub(super) fn join(
        &mut self,
        io: &mut Io<Order>,
        id: ConnectionId,
        request: Request,
        key: u64,
        is_upgrade: bool,
    ) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let channel = Channel(id.to_u64());
        if is_upgrade {
            let Ok(websocket) = websocket_key(&request) else {
                return self.refuse_websocket(io, id, &request);
            };
            let mut headers = self.shared.config.cors.headers(&request);
            headers.extend(subprotocol(&request));
            io.upgrade(id, key, &websocket, &headers, &[]);
            session.machine.handle(now, Input::WebSocket(channel));
            return self.drive(io, key);
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
                    .with_header("Allow", "GET, POST, OPTIONS");
                io.respond(id, response);
            }
        }
    }

    fn on_post(&mut self, io: &mut Io<Order>, id: ConnectionId, mut request: Request, key: u64) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let channel = Channel(id.to_u64());
        let body = request.take_body();
        let is_binary = request
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/octet-stream"));
        if is_binary {
            log::info!(target: "engineio", "{}: closed, it posted an octet-stream", session.handle.label());
            session.machine.handle(now, Input::Invalid);
            self.drive(io, key);
            return io.respond(id, Response::new(400));
        }
        io.set_owner(id, Some(key));
        session.parked.push((id, request));
        session.machine.handle(now, Input::Post(channel));
        let mut hold = false;
        for packet in payload::decode(&body) {
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
            match receiver.receive(now, message) {
                Flow::Close(reason) => {
                    session.machine.handle(now, Input::Close(reason));
                    break;
                }
                Flow::Stop => hold = true,
                Flow::Continue | Flow::Draining => {}
            }
        }
        let flow = match &mut session.receiver {
            Some(receiver) if session.machine.is_open() => receiver.pause(),
            _ => Flow::Continue,
        };
        if hold || flow == Flow::Stop {
            // The client posts nothing more before it has its answer.
            session.is_stopped = true;
            session.machine.suspend(now, true);
        } else {
            session.machine.handle(now, Input::Posted(channel));
        }
        if flow != Flow::Stop {
            let _ = self.act(io, key, flow);
        }
        self.drive(io, key);
    }

    /// Does what a receiver wants.
    fn act(&mut self, io: &mut Io<Order>, key: u64, flow: Flow) -> ControlFlow<()> {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return ControlFlow::Break(());
        };
        match flow {
            Flow::Continue => return ControlFlow::Continue(()),
            Flow::Draining => {
                self.corks.push(now, key, session.handle.outbox());
                return ControlFlow::Continue(());
            }
            Flow::Stop => {
                if !std::mem::replace(&mut session.is_stopped, true) {
                    session.machine.suspend(now, true);
                }
                if let Some(Channel(channel)) = session.machine.carrier() {
                    io.stop_reading(ConnectionId::from_u64(channel), true);
                }
                session.schedule(io);
            }
            Flow::Close(reason) => {
                session.machine.handle(now, Input::Close(reason));
                self.drive(io, key);
            }
        }
        ControlFlow::Break(())
    }

    fn pause(&mut self, io: &mut Io<Order>, key: u64) {
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let Some(receiver) = &mut session.receiver else {
            return;
        };
        let flow = receiver.pause();
        session.schedule(io);
        let _ = self.act(io, key, flow);
    }

    fn resume(&mut self, io: &mut Io<Order>, key: u64) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        if !std::mem::take(&mut session.is_stopped) {
            return;
        }
        session.machine.suspend(now, false);
        match session.machine.carrier() {
            Some(Channel(channel)) => io.stop_reading(ConnectionId::from_u64(channel), false),
            None => {
                let posts = session
                    .parked
                    .iter()
                    .filter(|(_, it)| it.method() == "POST");
                let posts: Vec<_> = posts.map(|(id, _)| Channel(id.to_u64())).collect();
                for channel in posts {
                    session.machine.handle(now, Input::Posted(channel));
                }
            }
        }
        self.drive(io, key);
    }

    /// Does what a session's machine wants.
    fn drive(&mut self, io: &mut Io<Order>, key: u64) {
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
                Output::Answer(Channel(channel), answer) => {
                    let id = ConnectionId::from_u64(channel);
                    let parked = session.parked.iter().position(|(parked, _)| *parked == id);
                    if let Some(at) = parked {
                        let (_, request) = session.parked.swap_remove(at);
                        if session.parked.is_empty() {
                            session.parked = Vec::new();
                        }
                        let empty = self
                            .shared
                            .answer(io, id, &request, answer, &session.handle);
                        if empty {
                            session.machine.handle(now, Input::Drained);
                        }
                    }
                }
                Output::Send(packet) => {
                    let frames = Frames::control(&packet);
                    let sent = session.handle.outbox().append(&frames.0, When::Now);
                    match sent {
                        Ok(Accepted::Awaited) => session.machine.handle(now, Input::Queued),
                        sent => drop(session.handle.settle(sent)),
                    }
                }
                Output::Probed(Channel(channel)) => {
                    let frames = Frames::control(&Packet::Pong("probe"));
                    io.append(ConnectionId::from_u64(channel), &frames.0);
                }
                Output::Attach(Channel(channel)) => {
                    log::debug!(target: "engineio", "{}: upgraded to websocket", session.handle.label());
                    session.handle.set_transport(Transport::WebSocket);
                    io.attach(ConnectionId::from_u64(channel), session.handle.outbox());
                }
                Output::HangUp(Channel(channel)) => {
                    if session.machine.is_open() {
                        log::info!(target: "engineio", "{}: a WebSocket is closed, it was no upgrade, or not in time", session.handle.label());
                    }
                    io.hang_up(ConnectionId::from_u64(channel), None);
                }
                Output::Closed(reason) => {
                    log::debug!(target: "engineio", "{}: closed, {reason}", session.handle.label());
                    session.handle.outbox().close();
                    if let Some(mut receiver) = session.receiver.take() {
                        receiver.close(reason);
                    }
                }
                Output::Gone => {
                    let session = self.sessions.remove(key as u32 as usize);
                    self.by_sid.remove(session.handle.sid());
                    for (id, _) in session.parked {
                        io.respond(id, Response::new(400));
                    }
                    return;
                }
            }
        }
    }
}

impl Session {
    pub(super) fn new(key: u64, machine: Server, handle: Arc<Handle>) -> Session {
        Session {
            key,
            machine,
            handle,
            receiver: None,
            parked: Vec::new(),
            alarm: Alarm::default(),
            wake_at: None,
            is_stopped: false,
            is_awaited: false,
        }
    }

    /// Tells the timers when to look again.
    pub(super) fn schedule(&mut self, io: &mut Io<Order>) {
        let receiver = self
            .receiver
            .as_ref()
            .and_then(|receiver| receiver.next_timeout());
        let times = [self.machine.next_timeout(), receiver, self.wake_at];
        let next = times.into_iter().flatten().min();
        io.timers.set(&mut self.alarm, Key::Driver(self.key), next);
    }
}

pub(super) fn find(sessions: &mut Slab<Session>, key: u64) -> Option<&mut Session> {
    let session = sessions.get_mut(key as u32 as usize)?;
    (session.key == key).then_some(session)
}
