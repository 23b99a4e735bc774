//! The clients of one I/O thread: answers and frames in, state machines and callers between,
//! requests and frames out.

use super::errands::Errands;
use super::network::Network;
use super::polling::Polling;
use super::target::Target;
use super::{Attempt, Caller, Prepare, websocket};
use crate::engineio::answers::take_payload;
use crate::engineio::corks::Corks;
use crate::engineio::session::{self, Handle, Orders, PeerName};
use crate::engineio::{Flow, Frames, Transport};
use crate::error::ConnectError;
use crate::protocol::engineio::client::{Client, Config, Input, Output, Via};
use crate::protocol::engineio::{Data, Packet, payload};
use crate::reactor::http::Request;
use crate::reactor::outbox::{Accepted, Outbox, When};
use crate::reactor::websocket::Role;
use crate::reactor::{self, Alarm, Command, ConnectionId, Dialled, Io, Key, Mailbox};
use crate::reason::Reason;
use crate::workers::Busy;
use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What other threads ask of an I/O thread. A client is named by its number, one of its sessions by
/// a key that ends with that number.
pub(super) enum Order {
    Session(session::Order),
    Add(u32, Box<dyn Caller>),
    Remove(u32),
    Dial(u32, u32, Prepare),
    Abandon(u32),
    WakeAt(u32, Instant),
    /// What an errand has brought.
    Brought(u64, Brought),
}

pub(super) enum Brought {
    /// The first answer of an attempt.
    First(Result<First, ConnectError>),
    Polled(Result<Vec<u8>, ConnectError>),
    Posted(Result<(), ConnectError>),
    WebSocket(Result<Dialled, ConnectError>),
}

/// The beginning of a session.
pub(super) struct First {
    route: Route,
    way: Way,
    upgrade: bool,
}

enum Way {
    /// A payload that begins with the open packet.
    Polling(Vec<u8>),
    WebSocket(Dialled),
}

/// Where a session's requests go.
#[derive(Clone)]
struct Route {
    target: Arc<Target>,
    network: Arc<Network>,
    /// None if it began over a WebSocket.
    polling: Option<Polling>,
}

impl From<session::Order> for Order {
    fn from(order: session::Order) -> Self {
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
    errands: Arc<Errands>,
    orders: Option<Arc<dyn Orders>>,
    clients: HashMap<u32, Entry>,
    corks: Corks,
}

/// A client.
struct Entry {
    id: u32,
    caller: Box<dyn Caller>,
    /// The key of the attempt that is under way.
    attempt: Option<u64>,
    session: Option<Session>,
    alarm: Alarm,
    wake_at: Option<Instant>,
    /// To be forgotten when its session has ended.
    removed: bool,
}

struct Session {
    key: u64,
    machine: Client,
    handle: Arc<Handle>,
    route: Route,
    connection: Option<ConnectionId>,
    is_open: bool,
    is_draining: bool,
    /// Why it could not be opened.
    failure: Option<ConnectError>,
    max_payload: usize,
}

fn id_of(key: u64) -> u32 {
    key as u32
}

fn attempt_of(key: u64) -> u32 {
    (key >> 32) as u32
}

impl Session {
    /// Ends what it has under way.
    fn end(&self, io: &mut Io<Order>) {
        self.handle.outbox().close();
        if let Some(polling) = &self.route.polling {
            polling.shut_down();
        }
        if let Some(connection) = self.connection {
            io.hang_up(connection, None);
        }
    }
}

impl reactor::Driver for Driver {
    type Command = Order;

    fn on_request(&mut self, io: &mut Io<Order>, id: ConnectionId, _: Request) {
        // Clients listen to nobody.
        io.close(id);
    }

    fn on_message(
        &mut self,
        io: &mut Io<Order>,
        owner: u64,
        _: ConnectionId,
        data: Data<'_>,
    ) -> ControlFlow<()> {
        let packet = match data {
            Data::Text(text) => match text.strip_prefix('4') {
                Some(text) => Ok(Packet::Message(Data::Text(text))),
                None => Packet::decode(text),
            },
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

    fn on_read(&mut self, io: &mut Io<Order>, owner: u64) {
        self.pause(io, owner);
    }

    fn on_lost(&mut self, io: &mut Io<Order>, owner: u64, id: ConnectionId, reason: Reason) {
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

    fn on_command(&mut self, io: &mut Io<Order>, order: Order) {
        match order {
            Order::Session(order) => self.on_order(io, order),
            Order::Add(id, caller) => {
                let entry = Entry {
                    id,
                    caller,
                    attempt: None,
                    session: None,
                    alarm: Alarm::default(),
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
            Order::Brought(key, Brought::First(result)) => self.on_first(io, key, result),
            Order::Brought(key, Brought::Polled(result)) => self.on_polled(io, key, result),
            Order::Brought(key, Brought::Posted(result)) => self.on_posted(io, key, result),
            Order::Brought(key, Brought::WebSocket(result)) => self.on_dialled(io, key, result),
        }
    }

    fn on_alarm(&mut self, io: &mut Io<Order>, key: u64, entry: (Instant, Key)) {
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

    fn on_turn(&mut self, io: &mut Io<Order>) -> Option<Duration> {
        let now = io.now();
        while let Some(cork) = self.corks.due(now) {
            let key = cork.key;
            let client = self.clients.get(&id_of(key));
            let busy = client.map_or(Busy::Nobody, |client| client.caller.busy());
            if self.corks.look(now, cork, busy)
                && let Some(session) = self.session(key)
            {
                session.is_draining = false;
            }
        }
        self.corks.patience()
    }

    fn on_stop(&mut self, io: &mut Io<Order>) {
        // The last client has gone, and with it every session that anybody waits for.
        for (_, client) in self.clients.drain() {
            if let Some(session) = client.session {
                session.end(io);
            }
        }
    }
}

impl Driver {
    pub(super) fn new(errands: &Arc<Errands>) -> Driver {
        Driver {
            errands: Arc::clone(errands),
            orders: None,
            clients: HashMap::new(),
            corks: Corks::default(),
        }
    }

    fn session(&mut self, key: u64) -> Option<&mut Session> {
        let client = self.clients.get_mut(&id_of(key))?;
        client.session.as_mut().filter(|it| it.key == key)
    }

    fn on_order(&mut self, io: &mut Io<Order>, order: session::Order) {
        use session::Order::{Close, Dismiss, Queued, Resume, WakeAt};
        let (key, input) = match order {
            Queued(key) => (key, Input::Queued),
            Close(key, Reason::ClientDisconnect) | Dismiss(key) => (key, Input::Close),
            Close(key, reason) => {
                let via = match self.session(key).map(|it| it.handle.transport()) {
                    Some(Transport::WebSocket) => Via::WebSocket,
                    _ => Via::Polling,
                };
                (key, Input::Lost(via, reason))
            }
            WakeAt(key, at) => return self.wake_at(io, id_of(key), at),
            // A client never stops reading.
            Resume(_) => return,
        };
        self.handle(io, key, input);
    }

    fn wake_at(&mut self, io: &mut Io<Order>, id: u32, at: Instant) {
        if let Some(client) = self.clients.get_mut(&id) {
            let earlier = client.wake_at.is_none_or(|wake_at| at < wake_at);
            client.wake_at = if earlier { Some(at) } else { client.wake_at };
            self.schedule(io, id);
        }
    }

    /// Begins an attempt.
    fn dial(&mut self, io: &mut Io<Order>, id: u32, attempt: u32, prepare: Prepare) {
        let key = u64::from(attempt) << 32 | u64::from(id);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.attempt = Some(key);
        let letter = Letter::new(io, key);
        let job = move || {
            let first = catch_unwind(AssertUnwindSafe(|| begin(prepare)));
            let first = first.unwrap_or_else(|_| {
                Err(ConnectError::new(
                    "the function that gives the URL, headers or auth panicked",
                ))
            });
            letter.send(Brought::First(first));
        };
        if let Err(error) = self.errands.connect(job) {
            self.on_first(io, key, Err(no_thread(&error)));
        }
    }

    /// An attempt has come to its first answer, or failed.
    fn on_first(&mut self, io: &mut Io<Order>, key: u64, first: Result<First, ConnectError>) {
        let now = io.now();
        let id = id_of(key);
        let Some(client) = self
            .clients
            .get_mut(&id)
            .filter(|it| it.attempt == Some(key))
        else {
            // It was given up; dropping what it has brought closes its connection.
            return;
        };
        client.attempt = None;
        let First {
            route,
            way,
            upgrade,
        } = match first {
            Ok(first) => first,
            Err(error) => {
                client.caller.fail(now, attempt_of(key), error);
                return self.schedule(io, id);
            }
        };
        let polling = matches!(way, Way::Polling(_));
        let config = Config {
            polling,
            upgrade,
            timeout: route.network.request_timeout,
        };
        let transport = if polling {
            Transport::Polling
        } else {
            Transport::WebSocket
        };
        let outbox = Arc::new(Outbox::detached(Role::Client, route.network.outbox_bytes));
        let orders = self
            .orders
            .get_or_insert_with(|| Arc::new(io.mailbox().clone()));
        let peer = PeerName::Host(route.target.authority().into());
        let handle = Handle::new(key, transport, outbox, Arc::clone(orders), peer);
        let max_message = route.network.max_message;
        let before = client.session.replace(Session {
            key,
            machine: Client::new(now, config),
            handle: Arc::new(handle),
            route,
            connection: None,
            is_open: false,
            is_draining: false,
            failure: None,
            max_payload: usize::MAX,
        });
        if let Some(before) = before {
            before.end(io);
        }
        match way {
            Way::Polling(body) => self.on_polled(io, key, Ok(body)),
            Way::WebSocket(dialled) => {
                let connection = io.adopt(dialled, key, max_message);
                if let Some(session) = self.session(key) {
                    session.connection = connection;
                }
                if connection.is_none() {
                    let lost = Input::Lost(Via::WebSocket, Reason::TransportError);
                    self.handle(io, key, lost);
                }
                self.schedule(io, id);
            }
        }
    }

    fn on_polled(&mut self, io: &mut Io<Order>, key: u64, polled: Result<Vec<u8>, ConnectError>) {
        let body = match polled {
            Ok(body) => body,
            Err(error) => return self.on_failed_request(io, key, error),
        };
        for packet in payload::decode(&body) {
            match packet {
                Ok(packet) => {
                    if self.receive(io, key, Via::Polling, packet).is_break() {
                        break;
                    }
                }
                Err(invalid) => {
                    self.on_invalid(io, key, &invalid);
                    break;
                }
            }
        }
        self.pause(io, key);
        self.handle(io, key, Input::Polled);
    }

    fn on_posted(&mut self, io: &mut Io<Order>, key: u64, posted: Result<(), ConnectError>) {
        if let Err(error) = posted {
            return self.on_failed_request(io, key, error);
        }
        if let Some(session) = self.session(key) {
            if !session.handle.outbox().wait() {
                self.handle(io, key, Input::Queued);
            }
            self.handle(io, key, Input::Posted);
        }
    }

    fn on_failed_request(&mut self, io: &mut Io<Order>, key: u64, error: ConnectError) {
        if let Some(session) = self.session(key) {
            log::debug!(target: "engineio", "{}: {error}", session.handle.label());
            session.failure.get_or_insert(error);
            self.handle(io, key, Input::Lost(Via::Polling, Reason::TransportError));
        }
    }

    /// The WebSocket for an upgrade.
    fn on_dialled(&mut self, io: &mut Io<Order>, key: u64, dialled: Result<Dialled, ConnectError>) {
        let Some(session) = self.session(key) else {
            return;
        };
        let (upgrading, max_message) = (
            session.machine.is_upgrading(),
            session.route.network.max_message,
        );
        match dialled {
            // It comes too late.
            Ok(_) if !upgrading => {}
            Ok(dialled) => {
                let connection = io.adopt(dialled, key, max_message);
                if let Some(session) = self.session(key) {
                    session.connection = connection;
                    self.handle(io, key, Input::Connected);
                }
            }
            Err(error) => {
                log::warn!(target: "engineio", "{}: stays on polling: {error}", session.handle.label());
                self.handle(io, key, Input::Lost(Via::WebSocket, Reason::TransportError));
            }
        }
    }

    fn on_invalid(&mut self, io: &mut Io<Order>, key: u64, invalid: &dyn fmt::Display) {
        if let Some(session) = self.session(key) {
            log::warn!(target: "engineio", "{}: closed, the server sent {invalid}", session.handle.label());
            let error = ConnectError::new(format!("the server sent {invalid}"));
            session.failure.get_or_insert(error);
            self.handle(io, key, Input::Invalid);
        }
    }

    fn receive(
        &mut self,
        io: &mut Io<Order>,
        key: u64,
        via: Via,
        packet: Packet<'_>,
    ) -> ControlFlow<()> {
        let now = io.now();
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

    fn pause(&mut self, io: &mut Io<Order>, key: u64) {
        let Some(client) = self.clients.get_mut(&id_of(key)) else {
            return;
        };
        if client.session.as_ref().is_some_and(|it| it.key == key) {
            let flow = client.caller.pause();
            let _ = self.act(io, key, flow);
            self.schedule(io, id_of(key));
        }
    }

    fn act(&mut self, io: &mut Io<Order>, key: u64, flow: Flow) -> ControlFlow<()> {
        let now = io.now();
        match flow {
            Flow::Continue | Flow::Stop => ControlFlow::Continue(()),
            Flow::Draining => {
                if let Some(session) = self.session(key)
                    && !std::mem::replace(&mut session.is_draining, true)
                {
                    let handle = Arc::clone(&session.handle);
                    self.corks.push(now, key, &handle);
                }
                ControlFlow::Continue(())
            }
            Flow::Close(_) => {
                self.handle(io, key, Input::Invalid);
                ControlFlow::Break(())
            }
        }
    }

    fn handle(&mut self, io: &mut Io<Order>, key: u64, input: Input) {
        let now = io.now();
        if let Some(session) = self.session(key) {
            session.machine.handle(now, input);
            self.drive(io, key);
        }
    }

    /// Does what a session's machine wants.
    fn drive(&mut self, io: &mut Io<Order>, key: u64) {
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
                    if let Some(client) = self.clients.get_mut(&id_of(key)) {
                        client.caller.open(now, attempt_of(key), &handle, &open);
                    }
                }
                Output::Poll => self.poll(io, key),
                Output::Post => self.post(io, key),
                Output::Connect => self.upgrade(io, key),
                Output::Write(packet) => {
                    let frames = Frames::control(&packet);
                    if let Some(connection) = session.connection {
                        io.append(connection, &frames.0);
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
                Output::Attach => {
                    session.handle.set_transport(Transport::WebSocket);
                    log::debug!(target: "engineio", "{}: on websocket", session.handle.label());
                    if let Some(connection) = session.connection {
                        io.attach(connection, session.handle.outbox());
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

    fn poll(&mut self, io: &mut Io<Order>, key: u64) {
        let letter = Letter::new(io, key);
        self.request(io, key, move |polling, route, sid| {
            letter.send(Brought::Polled(polling.poll(
                &route.target,
                &route.network,
                sid,
            )));
        });
    }

    fn post(&mut self, io: &mut Io<Order>, key: u64) {
        let Some(session) = self.session(key) else {
            return;
        };
        let upgrading = session.machine.is_upgrading();
        let (body, _) = take_payload(session.handle.outbox(), session.max_payload);
        if body.is_empty() {
            // What is too large for a POST leaves over the WebSocket, or not at all.
            let stuck = session.handle.outbox().waiting() > 0;
            if stuck && !upgrading {
                let max = session.max_payload;
                let error = format!(
                    "what was sent is larger as base64 than the {max} bytes that the server takes"
                );
                return self.on_failed_request(io, key, ConnectError::new(error));
            }
            session.handle.outbox().wait();
            return self.handle(io, key, Input::Posted);
        }
        let letter = Letter::new(io, key);
        self.request(io, key, move |polling, route, sid| {
            let posted = polling.post(&route.target, &route.network, sid, &body);
            letter.send(Brought::Posted(posted));
        });
    }

    fn request(
        &mut self,
        io: &mut Io<Order>,
        key: u64,
        work: impl FnOnce(&Polling, &Route, &str) + Send + 'static,
    ) {
        let Some(session) = self.session(key) else {
            return;
        };
        let (route, handle) = (session.route.clone(), Arc::clone(&session.handle));
        let job = move || {
            if let Some(polling) = &route.polling {
                work(polling, &route, handle.sid());
            }
        };
        if let Err(error) = self.errands.run(job) {
            self.on_failed_request(io, key, no_thread(&error));
        }
    }

    fn upgrade(&mut self, io: &mut Io<Order>, key: u64) {
        let Some(session) = self.session(key) else {
            return;
        };
        session.handle.set_upgrading();
        let (route, handle) = (session.route.clone(), Arc::clone(&session.handle));
        let letter = Letter::new(io, key);
        let job = move || {
            let cookies = route.polling.as_ref().and_then(Polling::cookies);
            let sid = Some(handle.sid());
            let dialled = websocket::dial(&route.target, &route.network, sid, cookies.as_deref());
            letter.send(Brought::WebSocket(dialled));
        };
        if let Err(error) = self.errands.connect(job) {
            self.on_dialled(io, key, Err(no_thread(&error)));
        }
    }

    fn on_closed(&mut self, io: &mut Io<Order>, key: u64, reason: Reason) {
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
            client.caller.close(now, attempt_of(key), reason);
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
        if self.clients.get(&id).is_some_and(done) {
            self.clients.remove(&id);
        }
    }

    /// Tells the timers when to look again.
    fn schedule(&mut self, io: &mut Io<Order>, id: u32) {
        if let Some(client) = self.clients.get_mut(&id) {
            let machine = client
                .session
                .as_ref()
                .and_then(|it| it.machine.next_timeout());
            let times = [machine, client.caller.next_timeout(), client.wake_at];
            let next = times.into_iter().flatten().min();
            let key = Key::Driver(u64::from(client.id));
            io.timers.set(&mut client.alarm, key, next);
        }
    }
}

/// The way back from an errand.
struct Letter {
    mailbox: Mailbox<Command<Order>>,
    key: u64,
}

impl Letter {
    fn new(io: &Io<Order>, key: u64) -> Letter {
        Letter {
            mailbox: io.mailbox().clone(),
            key,
        }
    }

    fn send(&self, brought: Brought) {
        self.mailbox
            .send(Command::Driver(Order::Brought(self.key, brought)));
    }
}

fn no_thread(error: &std::io::Error) -> ConnectError {
    ConnectError::new(format!("the system gives no thread: {error}"))
}

/// Asks the program where to connect to, and makes the first request. Blocks.
fn begin(prepare: Prepare) -> Result<First, ConnectError> {
    let Attempt {
        target,
        network,
        transports,
    } = prepare()?;
    let websocket = transports.contains(&Transport::WebSocket);
    if transports.first() == Some(&Transport::WebSocket) {
        let dialled = websocket::dial(&target, &network, None, None)?;
        let route = Route {
            target: Arc::new(target),
            network,
            polling: None,
        };
        return Ok(First {
            route,
            way: Way::WebSocket(dialled),
            upgrade: false,
        });
    }
    let polling = Polling::new(&target, &network)?;
    let body = polling.open(&target, &network)?;
    let route = Route {
        target: Arc::new(target),
        network,
        polling: Some(polling),
    };
    Ok(First {
        route,
        way: Way::Polling(body),
        upgrade: websocket,
    })
}
