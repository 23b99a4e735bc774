//! Requests of a client's sessions, as blocking tasks, and their results.
//!
//! In a circle with `driver`: the methods of one `ClientDriver` stand where their subject is.

use super::cookies::CookieJar;
use super::driver::{ClientCommand, ClientDriver, SessionEntry, attempt_of, id_of};
use super::endpoint::Endpoint;
use super::polling::{Opened, Polling};
use super::transport_config::TransportConfig;
use super::websocket::{self, Dial, DialHandle};
use super::wire::ServerRoute;
use super::{Attempt, ResolveEndpoint};
use crate::engineio::Transport;
use crate::engineio::eio3::{self, Packets};
use crate::engineio::frames::binary_form;
use crate::engineio::handle::{RemoteEnd, SessionHandle};
use crate::engineio::polling::take_payload;
use crate::error::ConnectError;
use crate::net::outbox::Outbox;
use crate::net::websocket::Role;
use crate::net::{Command, CommandSender, ConnectedSocket, IoContext};
use crate::protocol::engineio::client::{ClientConfig, ClientInput, ClientSession, TransportKind};
use crate::protocol::engineio::{Revision, payload, payload_v3};
use crate::reason::Reason;
use crate::util::budget::Share;
use crate::util::program;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of packets of a payload that are handed over at once.
const PACKETS_PER_BATCH: usize = 1000;

/// Result of a blocking task.
pub(super) enum Completion {
    /// The first answer to an attempt.
    Opened(Result<Box<OpenedTransport>, ConnectError>),
    Polled(Result<Vec<u8>, ConnectError>),
    Posted(Result<(), ConnectError>),
    WebSocket(Result<ConnectedSocket, ConnectError>),
}

/// A server's first answer, and over which transport it came.
pub(super) struct OpenedTransport {
    route: SessionRoute,
    first: FirstTransport,
    upgrade: bool,
}

/// First transport of a session.
enum FirstTransport {
    /// A payload that begins with the open packet.
    Polling(Vec<u8>),
    /// After so long from the request to its answer.
    WebSocket(ConnectedSocket, Duration),
}

/// What all of a session's requests have in common.
#[derive(Clone)]
pub(super) struct SessionRoute {
    pub(super) endpoint: Arc<Endpoint>,
    server: ServerRoute,
    pub(super) network: Arc<TransportConfig>,
    cookies: CookieJar,
    /// None if it began over a WebSocket.
    pub(super) polling: Option<Polling>,
}

impl ClientDriver {
    /// Starts an attempt.
    pub(super) fn start_attempt(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        id: u32,
        attempt: u32,
        resolve: ResolveEndpoint,
    ) {
        let key = u64::from(attempt) << 32 | u64::from(id);
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.attempt = Some(key);
        let reply = ReplyChannel::new(io, key, |error| Completion::Opened(Err(error)));
        let blocking = Arc::clone(&self.blocking);
        let job = move || {
            // The program's functions take as long as they like, so they hold up nobody else.
            let attempt = program::call(resolve).unwrap_or_else(|_| {
                let message = "the function that gives the URL, headers or auth panicked";
                Err(ConnectError::new(message))
            });
            match attempt {
                Ok(attempt) => {
                    blocking.connect(move || {
                        reply.send(Completion::Opened(open_transport(&attempt).map(Box::new)));
                    });
                }
                Err(error) => reply.send(Completion::Opened(Err(error))),
            }
        };
        self.blocking.run(job);
    }

    /// Handles the first answer to an attempt, or its failure.
    pub(super) fn on_opened(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        opened: Result<Box<OpenedTransport>, ConnectError>,
    ) {
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
        let OpenedTransport {
            route,
            first,
            upgrade,
        } = match opened {
            Ok(opened) => *opened,
            Err(error) => {
                client.handler.fail(now, attempt_of(key), error);
                return self.schedule(io, id);
            }
        };
        let polling = matches!(first, FirstTransport::Polling(_));
        let config = ClientConfig {
            polling,
            upgrade,
            timeout: route.network.request_timeout,
            revision: route.endpoint.revision(),
        };
        let transport = if polling {
            Transport::Polling
        } else {
            Transport::WebSocket
        };
        let outbox = Arc::new(Outbox::detached(
            Role::Client,
            route.network.outbox_bytes,
            Share::default(),
        ));
        let sink = self
            .sink
            .get_or_insert_with(|| Arc::new(io.sender().clone()));
        let peer = RemoteEnd::Host(route.endpoint.label().into());
        let handle = SessionHandle::new(key, transport, outbox, Arc::clone(sink), peer, None);
        handle.set_binary_form(binary_form(config.revision, false));
        let max_message = route.network.max_message;
        let before = client.session.replace(SessionEntry {
            key,
            machine: ClientSession::new(now, config),
            handle: Arc::new(handle),
            route,
            connection: None,
            dial: None,
            is_open: false,
            failure: None,
            max_payload: usize::MAX,
            asked_at: None,
            first_round_trip: None,
        });
        if let Some(before) = before {
            before.end(io);
        }
        match first {
            FirstTransport::Polling(body) => self.on_polled(io, key, Ok(body)),
            FirstTransport::WebSocket(dialled, round_trip) => {
                let connection = io.register_client(dialled, key, max_message);
                if let Some(session) = self.session(key) {
                    session.connection = connection;
                    session.first_round_trip = Some(round_trip);
                }
                if connection.is_none() {
                    let lost = ClientInput::Lost(TransportKind::WebSocket, Reason::TransportError);
                    self.handle(io, key, lost);
                }
                self.schedule(io, id);
            }
        }
    }

    pub(super) fn on_polled(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        polled: Result<Vec<u8>, ConnectError>,
    ) {
        let body = match polled {
            Ok(body) => body,
            Err(error) => return self.on_failed_request(io, key, error),
        };
        // python-engineio ends its last poll with nothing, and others are slow to find packets.
        if body.is_empty() && self.session(key).is_some_and(|session| session.is_open) {
            return self.handle(io, key, ClientInput::Polled);
        }
        let Some(session) = self.session(key) else {
            return;
        };
        let (revision, is_open) = (session.revision(), session.is_open);
        if revision == Revision::V4 && !is_open && is_payload_v3(&body) {
            let message = "the server speaks Socket.IO version 2 (Engine.IO 3): ConnectOptions::protocol lets a client do so";
            let error = ConnectError::new(message).of_another_generation();
            return self.on_failed_request(io, key, error);
        }
        let mut packets = 0;
        for packet in Packets::new(revision, &body, payload_v3::is_binary(&body)) {
            match packet {
                Ok(packet) => {
                    if self
                        .receive(io, key, TransportKind::Polling, packet)
                        .is_break()
                    {
                        break;
                    }
                    packets += 1;
                    // Small packets take more memory than they had in the body.
                    if packets % PACKETS_PER_BATCH == 0 {
                        self.finish_read(io, key);
                    }
                }
                Err(invalid) => {
                    self.on_invalid(io, key, &invalid);
                    break;
                }
            }
        }
        self.finish_read(io, key);
        self.handle(io, key, ClientInput::Polled);
    }

    pub(super) fn on_posted(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        posted: Result<(), ConnectError>,
    ) {
        if let Err(error) = posted {
            return self.on_failed_request(io, key, error);
        }
        self.on_round_trip(key);
        if let Some(session) = self.session(key) {
            if !session.handle.outbox().set_poll_waiting() {
                self.handle(io, key, ClientInput::Queued);
            }
            self.handle(io, key, ClientInput::Posted);
        }
    }

    pub(super) fn on_failed_request(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        error: ConnectError,
    ) {
        if let Some(session) = self.session(key) {
            log::debug!(target: "engineio", "{}: {error}", session.handle.label());
            session.failure.get_or_insert(error);
            self.handle(
                io,
                key,
                ClientInput::Lost(TransportKind::Polling, Reason::TransportError),
            );
        }
    }

    /// Takes the WebSocket for an upgrade.
    pub(super) fn on_dialled(
        &mut self,
        io: &mut IoContext<ClientCommand>,
        key: u64,
        dialled: Result<ConnectedSocket, ConnectError>,
    ) {
        let Some(session) = self.session(key) else {
            return;
        };
        session.dial = None;
        let (upgrading, max_message) = (
            session.machine.is_upgrading(),
            session.route.network.max_message,
        );
        match dialled {
            // It comes too late.
            Ok(_) if !upgrading => {}
            Ok(dialled) => {
                let connection = io.register_client(dialled, key, max_message);
                if let Some(session) = self.session(key) {
                    session.connection = connection;
                    self.handle(io, key, ClientInput::Connected);
                }
            }
            Err(error) => {
                log::warn!(target: "engineio", "{}: stays on polling: {error}", session.handle.label());
                self.handle(
                    io,
                    key,
                    ClientInput::Lost(TransportKind::WebSocket, Reason::TransportError),
                );
            }
        }
    }

    pub(super) fn poll(&mut self, io: &mut IoContext<ClientCommand>, key: u64) {
        let reply = ReplyChannel::new(io, key, |error| Completion::Polled(Err(error)));
        self.request(key, move |polling, route, sid| {
            reply.send(Completion::Polled(polling.poll(&route.endpoint, sid)));
        });
    }

    pub(super) fn post(&mut self, io: &mut IoContext<ClientCommand>, key: u64) {
        let Some(session) = self.session(key) else {
            return;
        };
        let upgrading = session.machine.is_upgrading();
        let (revision, max_payload) = (session.revision(), session.max_payload);
        let outbox = Arc::clone(session.handle.outbox());
        let max_packets = payload::MAX_PACKETS_OF_PYTHON;
        let body = match revision {
            Revision::V4 => take_payload(&outbox, max_payload, max_packets).0,
            Revision::V3 => {
                let handler = self.clients.get(&id_of(key)).map(|client| &client.handler);
                let json_at = |packet: &str| handler.map_or(packet.len(), |it| it.json_at(packet));
                // As text, which servers of all kinds read.
                let (writer, _) =
                    eio3::take_payload(&outbox, false, max_payload, max_packets, json_at);
                writer.finish().0
            }
        };
        let Some(session) = self.session(key) else {
            return;
        };
        if body.is_empty() {
            // What is too large for a POST leaves over the WebSocket, or not at all.
            let stuck = session.handle.outbox().waiting_bytes() > 0;
            if stuck && !upgrading {
                let max = session.max_payload;
                let error = format!(
                    "what was sent is larger as base64 than the {max} bytes that the server takes"
                );
                return self.on_failed_request(io, key, ConnectError::new(error));
            }
            session.handle.outbox().set_poll_waiting();
            return self.handle(io, key, ClientInput::Posted);
        }
        session.asked_at = Some(Instant::now());
        let reply = ReplyChannel::new(io, key, |error| Completion::Posted(Err(error)));
        self.request(key, move |polling, route, sid| {
            let posted = polling.post(&route.endpoint, sid, &body);
            reply.send(Completion::Posted(posted));
        });
    }

    fn request(
        &mut self,
        key: u64,
        work: impl FnOnce(&Polling, &SessionRoute, &str) + Send + 'static,
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
        self.blocking.run(job);
    }

    pub(super) fn upgrade(&mut self, io: &mut IoContext<ClientCommand>, key: u64) {
        let Some(session) = self.session(key) else {
            return;
        };
        session.handle.set_upgrading();
        let dial = Arc::new(DialHandle::default());
        session.dial = Some(Arc::clone(&dial));
        let (route, handle) = (session.route.clone(), Arc::clone(&session.handle));
        let reply = ReplyChannel::new(io, key, |error| Completion::WebSocket(Err(error)));
        let job = move || {
            let (endpoint, network) = (&route.endpoint, &route.network);
            let (server, sid) = (&route.server, Some(handle.sid()));
            let dialled =
                match websocket::dial(endpoint, network, server, sid, &route.cookies, &dial) {
                    Ok(Dial::Done(dialled, _)) => Ok(dialled),
                    // A redirection of an upgrade is a refusal of it.
                    Ok(Dial::Redirected(_)) => Err(ConnectError::new("the upgrade is redirected")),
                    Err(error) => Err(error),
                };
            reply.send(Completion::WebSocket(dialled));
        };
        self.blocking.connect(job);
    }
}

/// Returns whether a payload is one of Engine.IO 3: packets behind their lengths, as
/// `96:0{"sid":..`, or as bytes.
fn is_payload_v3(body: &[u8]) -> bool {
    let digits = body.iter().take_while(|byte| byte.is_ascii_digit()).count();
    payload_v3::is_binary(body) || digits > 0 && body.get(digits) == Some(&b':')
}

/// The way back from a blocking task. If it is dropped unsent, since there was no thread or the
/// task has panicked, it says so.
struct ReplyChannel {
    sender: CommandSender<Command<ClientCommand>>,
    key: u64,
    unsent: Option<fn(ConnectError) -> Completion>,
}

impl ReplyChannel {
    fn new(
        io: &IoContext<ClientCommand>,
        key: u64,
        unsent: fn(ConnectError) -> Completion,
    ) -> ReplyChannel {
        ReplyChannel {
            sender: io.sender().clone(),
            key,
            unsent: Some(unsent),
        }
    }

    fn send(mut self, completion: Completion) {
        self.unsent = None;
        self.deliver(completion);
    }

    fn deliver(&self, completion: Completion) {
        self.sender.send(Command::Driver(ClientCommand::Completed(
            self.key, completion,
        )));
    }
}

impl Drop for ReplyChannel {
    fn drop(&mut self) {
        if let Some(unsent) = self.unsent.take() {
            let error = ConnectError::new("the system gives no thread, or the task has panicked");
            self.deliver(unsent(error));
        }
    }
}

/// Makes the first request with the first transport that leads to the server. Blocks.
fn open_transport(attempt: &Attempt) -> Result<OpenedTransport, ConnectError> {
    let mut transports = &*attempt.transports;
    loop {
        match begin_with(attempt, transports) {
            Err(error) if attempt.tries_all && transports.len() > 1 => {
                let (first, rest) = (transports[0], &transports[1..]);
                log::info!(target: "engineio", "{first} does not lead to the server, {} is tried: {error}", rest[0]);
                transports = rest;
            }
            opened => return opened,
        }
    }
}

/// Makes the first request, and follows one redirection.
fn begin_with(
    attempt: &Attempt,
    transports: &[Transport],
) -> Result<OpenedTransport, ConnectError> {
    let url = attempt.endpoint.display_url();
    let elsewhere = match begin_at(&attempt.endpoint, attempt, transports) {
        Ok(Ok(first)) => return Ok(first),
        Ok(Err(elsewhere)) => elsewhere,
        Err(error) => return Err(error.with_context(&url)),
    };
    let moved = elsewhere.display_url();
    log::info!(target: "engineio", "{url} is at {moved}");
    match begin_at(&elsewhere, attempt, transports) {
        Ok(Ok(first)) => Ok(first),
        Ok(Err(to)) => {
            let to = to.display_url();
            let message = format!("{moved}: it redirects again, to {to}");
            Err(ConnectError::new(message))
        }
        Err(error) => Err(error.with_context(&moved)),
    }
}

/// Makes the first request; the server may have moved to another endpoint.
fn begin_at(
    endpoint: &Endpoint,
    attempt: &Attempt,
    transports: &[Transport],
) -> Result<Result<OpenedTransport, Endpoint>, ConnectError> {
    let Attempt {
        network, cookies, ..
    } = attempt;
    let route = ServerRoute::new(endpoint, network)?;
    let session_route = |polling| SessionRoute {
        endpoint: Arc::new(endpoint.clone()),
        server: route.clone(),
        network: Arc::clone(network),
        cookies: cookies.clone(),
        polling,
    };
    if transports.first() == Some(&Transport::WebSocket) {
        return match websocket::dial(
            endpoint,
            network,
            &route,
            None,
            cookies,
            &DialHandle::default(),
        )? {
            Dial::Done(dialled, round_trip) => Ok(Ok(OpenedTransport {
                route: session_route(None),
                first: FirstTransport::WebSocket(dialled, round_trip),
                upgrade: false,
            })),
            Dial::Redirected(to) => Ok(Err(to)),
        };
    }
    let polling = Polling::new(&route, network, cookies.clone());
    match polling.open(endpoint)? {
        Opened::Payload(body) => Ok(Ok(OpenedTransport {
            route: session_route(Some(polling)),
            first: FirstTransport::Polling(body),
            upgrade: transports.contains(&Transport::WebSocket),
        })),
        Opened::Redirected(to) => Ok(Err(to)),
    }
}
