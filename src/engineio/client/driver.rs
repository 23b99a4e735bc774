//! The clients of one I/O thread: answers and frames in, state machines and callers between,
//! requests and frames out.
//!
//! In a circle with `requests`: the methods of one `Driver` stand where their subject is.

use super::blocking_pool::BlockingPool;
use super::read_coalescing::ReadCoalescer;
use super::requests::{Completion, Route};
use super::{Caller, Prepare};
use crate::engineio::handle::{self, Orders, SessionHandle};
use crate::engineio::write_batching::CorkQueue;
use crate::engineio::{Control, Frames, Transport};
use crate::error::ConnectError;
use crate::net::http::{Request, Response};
use crate::net::outbox::{Appended, When};
use crate::net::{self, BodyRules, ConnectionId, IoContext, Timer, TimerKey};
use crate::pool::QueueState;
use crate::protocol::engineio::client::{Client, Input, Output, Via};
use crate::protocol::engineio::{Data, Packet, Revision};
use crate::reason::Reason;
use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Command to an I/O thread. A client is named by its number, one of its sessions by a key that
/// ends with that number.
#[allow(clippy::large_enum_variant, reason = "what is large is rare")]
pub(super) enum Order {
    Session(handle::Order),
    Add(u32, Box<dyn Caller>),
    Remove(u32),
    Dial(u32, u32, Prepare),
    Abandon(u32),
    WakeAt(u32, Instant),
    /// Result of a blocking task.
    Brought(u64, Completion),
}

impl From<handle::Order> for Order {
    fn from(order: handle::Order) -> Self {
        Order::Session(order)
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Order")
    }
}

/// The clients of one I/O thread.
pub(super) struct Driver {
    pub(super) blocking: Arc<BlockingPool>,
    pub(super) orders: Option<Arc<dyn Orders>>,
    pub(super) clients: HashMap<u32, Entry>,
    corks: CorkQueue,
    coalescer: ReadCoalescer,
}

/// Payload of the WebSocket's pings that measure; the answer has the same (RFC 6455, 5.5.3).
const MEASURING: &[u8] = b"time";

/// A client.
pub(super) struct Entry {
    id: u32,
    pub(super) caller: Box<dyn Caller>,
    /// The key of the attempt that is under way.
    pub(super) attempt: Option<u64>,
    pub(super) session: Option<Session>,
    alarm: Timer,
    wake_at: Option<Instant>,
    /// To be forgotten when its session has ended.
    removed: bool,
}

pub(super) struct Session {
    pub(super) key: u64,
    pub(super) machine: Client,
    pub(super) handle: Arc<SessionHandle>,
    pub(super) route: Route,
    pub(super) connection: Option<ConnectionId>,
    pub(super) is_open: bool,
    /// Reason why it could not be opened.
    pub(super) failure: Option<ConnectError>,
    pub(super) max_payload: usize,
    /// Moment of the last question whose answer tells the round trip's time.
    pub(super) asked_at: Option<Instant>,
    /// Time of the WebSocket's handshake, until somebody can be told.
    pub(super) first_round_trip: Option<Duration>,
}

pub(super) fn id_of(key: u64) -> u32 {
    key as u32
}

pub(super) fn attempt_of(key: u64) -> u32 {
    (key >> 32) as u32
}

impl Session {
    pub(super) fn revision(&self) -> Revision {
        self.route.target.revision()
    }

    /// Ends what it has under way.
    pub(super) fn end(&self, io: &mut IoContext<Order>) {
        self.handle.outbox().close();
        if let Some(polling) = &self.route.polling {
            polling.shut_down();
        }
        if let Some(connection) = self.connection {
            io.hang_up(connection, None);
        }
    }
}

impl net::Driver for Driver {
    type Command = Order;

    fn on_request(&mut self, io: &mut IoContext<Order>, id: ConnectionId, _: Request) {
        // Clients listen to nobody.
        io.close(id);
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

    fn give_up(&mut self, _: &mut IoContext<Order>, _: u64) {}

    fn on_message(
        &mut self,
        io: &mut IoContext<Order>,
        owner: u64,
        _: ConnectionId,
        data: Data<'_>,
    ) -> ControlFlow<()> {
        let Some(revision) = self.session(owner).map(|session| session.revision()) else {
            return ControlFlow::Break(());
        };
        let packet = match data {
            Data::Text(text) => match (text.strip_prefix('4'), revision) {
                (Some(text), _) => Ok(Packet::Message(Data::Text(text))),
                (None, Revision::V3) => Packet::decode_v3(text),
                (None, Revision::V4) => Packet::decode(text),
            },
            Data::Binary(bytes) if revision == Revision::V3 => {
                Ok(Packet::decode_binary_v3(bytes).unwrap_or(Packet::Noop))
            }
            binary => Ok(Packet::Message(binary)),
        };
        match packet {
            Ok(packet) => self.receive(io, owner, Via::WebSocket, packet),
            Err(invalid) => {
                self.on_invalid(io, owner, &invalid);
                ControlFlow::Break(())
            }
        }
    }

    fn on_pong(&mut self, io: &mut IoContext<Order>, owner: u64, payload: &[u8]) {
        if payload == MEASURING {
            self.on_round_trip(owner);
        } else {
            self.handle(io, owner, Input::Ponged);
        }
    }

    fn on_read(&mut self, io: &mut IoContext<Order>, owner: u64) {
        if let Some(session) = self.session(owner) {
            let is_one_way = !session.handle.take_spoken();
            self.coalescer.read(is_one_way);
        }
        self.on_read_complete(io, owner);
    }

    fn read_delay(&mut self) -> Option<Duration> {
        self.coalescer.end_turn(Instant::now())
    }

    fn on_connection_lost(
        &mut self,
        io: &mut IoContext<Order>,
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
            self.handle(io, owner, Input::Lost(Via::WebSocket, reason));
        }
    }

    fn on_command(&mut self, io: &mut IoContext<Order>, order: Order) {
        match order {
            Order::Session(order) => self.on_order(io, order),
            Order::Add(id, caller) => {
                let entry = Entry {
                    id,
                    caller,
                    attempt: None,
                    session: None,
                    alarm: Timer::default(),
                    wake_at: None,
                    removed: false,
                };
                self.clients.insert(id, entry);
            }
            Order::Remove(id) => {
                if let Some(entry) = self.clients.get_mut(&id) {
                    entry.removed = true;
                    entry.attempt = None;
                    self.forget(id);
                }
            }
            Order::Dial(id, attempt, prepare) => self.dial(io, id, attempt, prepare),
            Order::Abandon(id) => {
                if let Some(entry) = self.clients.get_mut(&id) {
                    entry.attempt = None;
                    if let Some(session) = entry.session.take() {
                        session.end(io);
                    }
                }
            }
            Order::WakeAt(id, at) => self.wake_at(io, id, at),
            Order::Brought(key, Completion::First(result)) => self.on_first(io, key, result),
            Order::Brought(key, Completion::Polled(result)) => self.on_polled(io, key, result),
            Order::Brought(key, Completion::Posted(result)) => self.on_posted(io, key, result),
            Order::Brought(key, Completion::WebSocket(result)) => self.on_dialled(io, key, result),
        }
    }

    fn on_timer(&mut self, io: &mut IoContext<Order>, key: u64, entry: (Instant, TimerKey)) {
        let (now, id) = (io.now(), id_of(key));
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if !io.timers.is_due(&mut client.alarm, entry, now) {
            return;
        }
        let session = client.session.as_mut();
        let session = session.map(|it| (it.key, it.machine.next_timeout()));
        if let Some((key, Some(at))) = session
            && at <= now
        {
            self.handle(io, key, Input::Timeout);
        }
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let wakes = client.wake_at.take_if(|at| *at <= now).is_some();
        if wakes || client.caller.next_timeout().is_some_and(|at| at <= now) {
            let flow = client.caller.timeout(now);
            if let Some((key, _)) = session {
                let _ = self.act(io, key, flow);
            }
        }
        self.schedule(io, id);
    }

    fn has(&self, key: u64) -> bool {
        self.clients.contains_key(&id_of(key))
    }

    fn on_turn(&mut self, io: &mut IoContext<Order>) -> Option<Duration> {
        let now = io.now();
        while let Some(corked) = self.corks.due(now) {
            let key = corked.key;
            let client = self.clients.get(&id_of(key));
            let busy = client.map_or(QueueState::Nobody, |client| client.caller.busy());
            let flushed = self.corks.look(now, corked, busy);
            if let Some(session) = self.session(key) {
                let _ = session.handle.settle(flushed);
            }
        }
        self.corks.patience()
    }

    fn on_stop(&mut self, io: &mut IoContext<Order>) {
        // The last client has gone, and with it every session that anybody waits for.
        for (_, client) in self.clients.drain() {
            if let Some(session) = client.session {
                session.end(io);
            }
        }
    }
}

impl Driver {
    pub(super) fn new(blocking: &Arc<BlockingPool>) -> Driver {
        Driver {
            blocking: Arc::clone(blocking),
            orders: None,
            clients: HashMap::new(),
            corks: CorkQueue::default(),
            coalescer: ReadCoalescer::default(),
        }
    }

    pub(super) fn session(&mut self, key: u64) -> Option<&mut Session> {
        let client = self.clients.get_mut(&id_of(key))?;
        client.session.as_mut().filter(|it| it.key == key)
    }

    fn on_order(&mut self, io: &mut IoContext<Order>, order: handle::Order) {
        use handle::Order::{Close, Dismiss, Flush, Queued, Resume, TooSlow, WakeAt};
        let (key, input) = match order {
            Queued(key) => (key, Input::Queued),
            Close(key, Reason::ClientDisconnect) | Dismiss(key) => (key, Input::Close),
            TooSlow(key) => {
                if let Some(session) = self.session(key) {
                    session.handle.report_slowness();
                }
                return self.on_order(io, Close(key, Reason::TransportError));
            }
            Close(key, reason) => {
                let via = match self.session(key).map(|it| it.handle.transport()) {
                    Some(Transport::WebSocket) => Via::WebSocket,
                    _ => Via::Polling,
                };
                (key, Input::Lost(via, reason))
            }
            WakeAt(key, at) => return self.wake_at(io, id_of(key), at),
            // A client never stops reading, and broadcasts nothing.
            Resume(_) | Flush(_) => return,
        };
        self.handle(io, key, input);
    }

    fn wake_at(&mut self, io: &mut IoContext<Order>, id: u32, at: Instant) {
        if let Some(client) = self.clients.get_mut(&id) {
            let earlier = client.wake_at.is_none_or(|wake_at| at < wake_at);
            client.wake_at = if earlier { Some(at) } else { client.wake_at };
            self.schedule(io, id);
        }
    }

    pub(super) fn on_invalid(
        &mut self,
        io: &mut IoContext<Order>,
        key: u64,
        invalid: &dyn fmt::Display,
    ) {
        if let Some(session) = self.session(key) {
            log::warn!(target: "engineio", "{}: closed, the server sent {invalid}", session.handle.label());
            let error = ConnectError::new(format!("the server sent {invalid}"));
            session.failure.get_or_insert(error);
            self.handle(io, key, Input::Invalid);
        }
    }

    pub(super) fn receive(
        &mut self,
        io: &mut IoContext<Order>,
        key: u64,
        via: Via,
        packet: Packet<'_>,
    ) -> ControlFlow<()> {
        let now = io.now();
        if matches!(packet, Packet::Pong(_)) {
            // Of an upgrade's probe, or of Engine.IO 3.
            self.on_round_trip(key);
        }
        let client = self.clients.get_mut(&id_of(key));
        let Some(client) = client else {
            return ControlFlow::Break(());
        };
        let Some(session) = client.session.as_mut().filter(|it| it.key == key) else {
            return ControlFlow::Break(());
        };
        match session.machine.receive(now, via, packet) {
            Some(message) => {
                let flow = client.caller.receive(now, message);
                self.act(io, key, flow)
            }
            None => {
                self.drive(io, key);
                ControlFlow::Continue(())
            }
        }
    }

    pub(super) fn on_read_complete(&mut self, io: &mut IoContext<Order>, key: u64) {
        let Some(client) = self.clients.get_mut(&id_of(key)) else {
            return;
        };
        if client.session.as_ref().is_some_and(|it| it.key == key) {
            let flow = client.caller.on_read_complete(io.now());
            let _ = self.act(io, key, flow);
            self.schedule(io, id_of(key));
        }
    }

    /// The server has answered what was asked to measure the time until it does.
    pub(super) fn on_round_trip(&mut self, key: u64) {
        let asked_at = self.session(key).and_then(|it| it.asked_at.take());
        if let (Some(asked_at), Some(client)) = (asked_at, self.clients.get_mut(&id_of(key))) {
            // The turn's own time is that of its beginning.
            client.caller.measured(asked_at.elapsed());
        }
    }

    fn act(&mut self, io: &mut IoContext<Order>, key: u64, flow: Control) -> ControlFlow<()> {
        let now = io.now();
        match flow {
            Control::Continue | Control::Stop => ControlFlow::Continue(()),
            Control::Draining => {
                if let Some(session) = self.session(key) {
                    let outbox = Arc::clone(session.handle.outbox());
                    self.corks.push(now, key, &outbox);
                }
                ControlFlow::Continue(())
            }
            Control::Close(_) => {
                self.handle(io, key, Input::Invalid);
                ControlFlow::Break(())
            }
        }
    }

    pub(super) fn handle(&mut self, io: &mut IoContext<Order>, key: u64, input: Input) {
        let now = io.now();
        if let Some(session) = self.session(key) {
            session.machine.handle(now, input);
            self.drive(io, key);
        }
    }

    /// Does what a session's machine wants.
    fn drive(&mut self, io: &mut IoContext<Order>, key: u64) {
        let now = io.now();
        while let Some(session) = self.session(key) {
            let Some(output) = session.machine.poll() else {
                break;
            };
            match output {
                Output::Opened(open) => {
                    session.is_open = true;
                    session.max_payload = usize::try_from(open.max_payload).unwrap_or(usize::MAX);
                    session.handle.set_sid(&open.sid);
                    let handle = Arc::clone(&session.handle);
                    log::debug!(target: "engineio", "{}: open over {}", handle.label(), handle.transport());
                    handle.outbox().wait();
                    let round_trip = session.first_round_trip.take();
                    if let Some(client) = self.clients.get_mut(&id_of(key)) {
                        client.caller.open(now, attempt_of(key), &handle, &open);
                        round_trip
                            .into_iter()
                            .for_each(|it| client.caller.measured(it));
                    }
                }
                Output::Poll => self.poll(io, key),
                Output::Post => self.post(io, key),
                Output::Connect => self.upgrade(io, key),
                Output::Write(packet) => {
                    if matches!(packet, Packet::Ping(_)) {
                        session.asked_at = Some(Instant::now());
                    }
                    let frames = Frames::control(&packet);
                    if let Some(connection) = session.connection {
                        io.append(connection, &frames.0);
                    }
                }
                Output::Send(packet) => {
                    if matches!(packet, Packet::Ping(_)) {
                        session.asked_at = Some(Instant::now());
                    }
                    let frames = Frames::control(&packet);
                    let sent = session.handle.outbox().append(&frames.0, When::Now);
                    match sent {
                        Ok(Appended::Awaited) => session.machine.handle(now, Input::Queued),
                        sent => drop(session.handle.settle(sent)),
                    }
                }
                Output::Ping => {
                    if let Some(connection) = session.connection {
                        io.ping(connection, b"");
                    }
                }
                Output::Measure => {
                    session.asked_at = Some(Instant::now());
                    if let Some(connection) = session.connection {
                        io.ping(connection, MEASURING);
                    }
                }
                Output::Farewell => {
                    let _ = session.handle.outbox().uncork();
                    if let Some(client) = self.clients.get_mut(&id_of(key)) {
                        client.caller.dismiss();
                    }
                }
                Output::Attach => {
                    session.handle.set_transport(Transport::WebSocket);
                    log::debug!(target: "engineio", "{}: on websocket", session.handle.label());
                    if let Some(connection) = session.connection {
                        io.attach(connection, session.handle.outbox());
                    }
                    if let Some(polling) = session.route.polling.take() {
                        polling.shut_down();
                    }
                }
                Output::HangUp => {
                    if session.handle.is_upgrading() {
                        session.handle.set_transport(Transport::Polling);
                    }
                    let waits = session.machine.is_closing();
                    if let Some(connection) = session.connection {
                        io.hang_up(connection, None);
                        if waits {
                            io.set_owner(connection, Some(key));
                        } else {
                            session.connection = None;
                        }
                    }
                }
                Output::Closed(reason) => self.on_closed(io, key, reason),
            }
        }
        self.schedule(io, id_of(key));
    }

    fn on_closed(&mut self, io: &mut IoContext<Order>, key: u64, reason: Reason) {
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
                client.caller.explain(failure);
            }
            client.caller.close(now, reason);
        } else {
            let silent = || ConnectError::new("the server's answer has no sound open packet");
            let error = session.failure.unwrap_or_else(silent);
            client.caller.fail(now, attempt_of(key), error);
        }
        self.forget(id_of(key));
        self.schedule(io, id_of(key));
    }

    fn forget(&mut self, id: u32) {
        let done = |client: &Entry| client.removed && client.session.is_none();
        if self.clients.get(&id).is_some_and(done)
            && let Some(client) = self.clients.remove(&id)
        {
            // With it go the program's handlers, and what they have captured: that may take long.
            self.blocking.run(move || drop(client));
        }
    }

    /// Tells the timers when to look again.
    pub(super) fn schedule(&mut self, io: &mut IoContext<Order>, id: u32) {
        if let Some(client) = self.clients.get_mut(&id) {
            let machine = client
                .session
                .as_ref()
                .and_then(|it| it.machine.next_timeout());
            let times = [machine, client.caller.next_timeout(), client.wake_at];
            let next = times.into_iter().flatten().min();
            let key = TimerKey::Driver(u64::from(client.id));
            io.timers.set(&mut client.alarm, key, next);
        }
    }
}
