//! Requests on their way to a session: which one they are for, and who gets a new one.
//!
//! In a circle with `driver`, `polling` and `serving`: the methods of one `ServerDriver` stand
//! where their subject is.

use super::driver::{ServerCommand, ServerDriver};
use super::eio3::Eio3;
use super::frames::{Frames, binary_form, wants_text};
use super::handle::{RemoteEnd, SessionHandle};
use super::on_handshake::{Handshake, OnHandshake, refusal_json};
use super::poll_body::PollBody;
use super::server_entry::{ServerEntry, find};
use super::serving::{FallbackHandler, Responder};
use super::{Admission, HandshakeRefusal, SessionHandler, Transport, polling};
use crate::net::http::{Header, Headers, Request, Response};
use crate::net::outbox::Outbox;
use crate::net::websocket::Role;
use crate::net::{Command, CommandSender, ConnectionId, IoContext};
use crate::protocol::engineio::server::{ChannelId, ServerInput, ServerSession};
use crate::protocol::engineio::{EnginePacket, Revision};
use crate::reason::Reason;
use crate::util::program;
use crate::util::random;
use crate::util::slots::{NoSlot, Slot};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Tells sessions apart that have, or had, the same place.
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// Reason why a request gets no session (engine.io-protocol; codes and texts are the reference
/// implementation's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestError {
    UnknownTransport,
    UnknownSid,
    BadMethod,
    BadRequest,
    UnsupportedProtocol,
}

impl RequestError {
    pub(super) fn code(self) -> u8 {
        match self {
            RequestError::UnknownTransport => 0,
            RequestError::UnknownSid => 1,
            RequestError::BadMethod => 2,
            RequestError::BadRequest => 3,
            RequestError::UnsupportedProtocol => 5,
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            RequestError::UnknownTransport => "Transport unknown",
            RequestError::UnknownSid => "Session ID unknown",
            RequestError::BadMethod => "Bad handshake method",
            RequestError::BadRequest => "Bad request",
            RequestError::UnsupportedProtocol => "Unsupported protocol version",
        }
    }
}

/// Parameters of a request's query that concern a session.
#[derive(Default)]
struct Query<'a> {
    transport: Option<Cow<'a, str>>,
    version: Option<Cow<'a, str>>,
    sid: Option<Cow<'a, str>>,
}

impl Query<'_> {
    fn of(request: &Request) -> Query<'_> {
        let mut query = Query::default();
        for (name, value) in request.params() {
            let place = match &*name {
                "transport" => &mut query.transport,
                "EIO" => &mut query.version,
                // An empty one is none, as for the reference.
                "sid" if !value.is_empty() => &mut query.sid,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        query
    }
}

/// Decision of the program about a parked request.
pub(crate) struct Resumed {
    id: ConnectionId,
    what: Decision,
}

pub(super) enum Decision {
    /// True if its origin may connect.
    Origin(bool, Request),
    /// What the program's function says of a request that opens a session.
    Handshake {
        request: Request,
        transport: Transport,
        handshake: Handshake,
    },
    /// The same of one that moves a session to a WebSocket.
    Upgrade {
        key: u64,
        request: Request,
        handshake: Handshake,
    },
    /// True if it may open the session.
    Open {
        key: u64,
        entry: HandshakeContext,
        result: Result<Box<dyn SessionHandler>, HandshakeRefusal>,
    },
}

/// A session that is about to be entered into the tables.
struct NewSession {
    sid: String,
    transport: Transport,
    revision: Revision,
    outbox: Arc<Outbox>,
}

/// Context of a client that is being accepted.
pub(super) struct HandshakeContext {
    /// The key of the handshake; none on polling.
    websocket: Option<String>,
    headers: Headers,
    /// The session's outbox is not the connection's yet.
    collects: bool,
}

impl std::fmt::Debug for Resumed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Resumed({:?})", self.id)
    }
}

impl ServerDriver {
    pub(super) fn serve_fallback(
        &self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: Request,
    ) {
        let Some(FallbackHandler { answer, .. }) = &self.shared.fallback else {
            return io.respond(id, Response::text(404, "Not Found"));
        };
        let fallback = Arc::clone(answer);
        let responder = Responder::new(io, id);
        io.execute(move || {
            if request.is_abandoned() {
                // Its client has gone in the middle of the body: nobody reads the answer.
                return;
            }
            if program::call(|| fallback(request, responder)).is_err() {
                log::error!(target: "engineio", "the program's HTTP application panicked");
            }
        });
    }

    /// Does what a request wants, after its origin was found to be allowed.
    pub(super) fn route(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: Request,
    ) {
        if request.method() == "OPTIONS" {
            let headers = self.shared.config.cors.preflight_headers(&request);
            return io.respond(id, Response::new(204).with_headers(headers));
        }
        let is_upgrade = wants_websocket(&request);
        let query = Query::of(&request);
        let transport = query.transport.and_then(|name| Transport::parse(&name));
        let transport = transport.filter(|it| self.shared.config.allows(*it));
        let Some(transport) = transport else {
            return self.refuse(io, id, &request, RequestError::UnknownTransport);
        };
        if is_upgrade != (transport == Transport::WebSocket) {
            let known = query.sid.is_none_or(|sid| self.find_by_sid(&sid).is_some());
            let problem = if known {
                RequestError::BadRequest
            } else {
                RequestError::UnknownSid
            };
            return self.refuse(io, id, &request, problem);
        }
        // Anything else is 3 where that is spoken, as for the reference server.
        let revision = match query.version.as_deref() {
            Some("4") => Revision::V4,
            _ => Revision::V3,
        };
        match query.sid {
            Some(sid) => match self.find_by_sid(&sid) {
                None => self.refuse(io, id, &request, RequestError::UnknownSid),
                Some(session) => {
                    if session.revision() != revision {
                        return self.refuse(io, id, &request, RequestError::BadRequest);
                    }
                    let key = session.key;
                    self.on_session_request(io, id, request, key, is_upgrade);
                }
            },
            None if request.method() != "GET" => {
                self.refuse(io, id, &request, RequestError::BadMethod);
            }
            None if revision == Revision::V3 && !self.shared.config.allow_eio3 => {
                self.refuse(io, id, &request, RequestError::UnsupportedProtocol);
            }
            None => self.open(io, id, request, transport),
        }
    }

    /// Asks the program's function about a request, or opens a session if there is none.
    fn open(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: Request,
        transport: Transport,
    ) {
        let is_websocket = transport == Transport::WebSocket;
        if is_websocket && websocket_key(&request).is_err() {
            return self.refuse_websocket(io, id, &request);
        }
        let Some(function) = self.shared.acceptor.on_handshake() else {
            return self.open_session(io, id, request, transport, Handshake::new(false));
        };
        let sender = io.sender().clone();
        io.execute(move || {
            let handshake = ask(&function, &request, false);
            let what = Decision::Handshake {
                request,
                transport,
                handshake,
            };
            resume_request(&sender, id, what);
        });
    }

    /// Asks the program's function about a session that is to move to a WebSocket.
    pub(super) fn ask_to_upgrade(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: Request,
        key: u64,
    ) {
        if websocket_key(&request).is_err() {
            return self.refuse_websocket(io, id, &request);
        }
        let Some(function) = self.shared.acceptor.on_handshake() else {
            return self.upgrade(io, id, &request, key, Handshake::new(true));
        };
        let sender = io.sender().clone();
        io.execute(move || {
            let handshake = ask(&function, &request, true);
            let what = Decision::Upgrade {
                key,
                request,
                handshake,
            };
            resume_request(&sender, id, what);
        });
    }

    /// Answers a request that the program has refused.
    fn refuse_handshake(
        &self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: &Request,
        handshake: Handshake,
        (status, text): (u16, String),
    ) {
        if io.may_log(id, log::Level::Info) {
            let peer = request.peer_addr();
            log::info!(target: "engineio", "{peer}: refused by on_handshake, {status} {text:?}");
        }
        let response = Response::new(status)
            .with_headers(self.shared.config.cors.headers(request))
            .with_headers(handshake.headers);
        let response = if wants_websocket(request) {
            let response = response.with_header("Content-Type", "text/plain; charset=UTF-8");
            response.with_body(text.into_bytes()).closing()
        } else {
            response
                .with_header("Content-Type", "application/json")
                .with_body(refusal_json(&text).into_bytes())
        };
        io.respond(id, response);
    }

    /// Opens a session, or parks the request until the program has decided about the session.
    fn open_session(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: Request,
        transport: Transport,
        mut handshake: Handshake,
    ) {
        let websocket = match transport {
            Transport::Polling => None,
            Transport::WebSocket => match websocket_key(&request) {
                Ok(key) => Some(key),
                Err(()) => return self.refuse_websocket(io, id, &request),
            },
        };
        let Some(sid) = self.choose_sid(io, handshake.session_id.take()) else {
            return self.refuse(io, id, &request, RequestError::BadRequest);
        };
        let shared = Arc::clone(&self.shared);
        let mut headers = shared.config.cors.headers(&request);
        let Some(resident) = shared.population.enter() else {
            let response = Response::text(503, "Service Unavailable").with_headers(headers);
            return io.respond(id, response.closing());
        };
        headers.extend(shared.config.cookie.as_ref().map(|it| it.header(&sid)));
        headers.extend(handshake.headers);
        if websocket.is_some() {
            headers.extend(subprotocol(&request));
        }
        let polling_slot = match self.take_polling_slot(io, id, &request, transport) {
            Ok(slot) => slot,
            Err(refusal) => return io.respond(id, refusal.with_headers(headers)),
        };
        // What is sent before the client has its answer is collected: nothing goes before that.
        // In Socket.IO 4 the server speaks first.
        let eio3 = Eio3::of(&request);
        let collects = transport == Transport::Polling || shared.acceptor.asks() || eio3.is_some();
        let outbox = if collects {
            let limit = shared.config.limits.outbox_bytes;
            Arc::new(Outbox::detached(Role::Server, limit, io.share()))
        } else {
            let Some(outbox) = io.outbox(id) else {
                return;
            };
            outbox
        };
        let eio3_headers = eio3.as_ref().and_then(|_| Eio3::header(&request));
        headers.extend(eio3_headers.clone());
        handshake.session_headers.extend(eio3_headers);
        let new = NewSession {
            sid,
            transport,
            revision: eio3.as_ref().map_or(Revision::V4, |_| Revision::V3),
            outbox,
        };
        let (key, handle) = self.insert_session(io, id, &request, new);
        if let Some(session) = find(&mut self.sessions, key) {
            session.eio3 = eio3;
            session.polling_slot = polling_slot.map(Box::new);
            session.resident = Some(resident);
            session.keep_headers(handshake.session_headers);
        }
        let entry = HandshakeContext {
            websocket,
            headers,
            collects,
        };
        let mut request = request;
        request.trim(shared.config.limits.session_head_bytes);
        match shared.acceptor.open(&handle, request) {
            Admission::Accept(handler) => self.accept_session(io, id, key, entry, handler),
            Admission::Deferred(ask) => {
                let sender = io.sender().clone();
                io.execute(move || {
                    let result = program::call(ask).unwrap_or_else(|_| {
                        log::error!(target: "engineio", "the connect handler panicked");
                        Err(HandshakeRefusal {
                            body: "\"Unauthorized\"".into(),
                        })
                    });
                    resume_request(&sender, id, Decision::Open { key, entry, result });
                });
            }
        }
    }

    /// Returns the id of a new session: the program's own, or a random one.
    fn choose_sid(&self, io: &IoContext<ServerCommand>, own: Option<String>) -> Option<String> {
        let sid = match own {
            Some(id) => own_sid(&id, io.thread(), io.threads()),
            None => new_sid(io.thread()),
        };
        match &sid {
            None => {
                log::error!(target: "engineio", "no id for a session: the system gives no random bytes, or the program a wrong one");
            }
            Some(taken) if self.by_sid.contains_key(&**taken) => {
                log::error!(target: "engineio", "there is a session of the id {:?}.. already", taken.get(..6));
                return None;
            }
            Some(_) => {}
        }
        sid
    }

    /// Takes the place of a new session if it is to be on polling, or returns the answer that refuses
    /// it: its address opens sessions too fast, or there is no place.
    fn take_polling_slot(
        &self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: &Request,
        transport: Transport,
    ) -> Result<Option<Slot>, Response> {
        let limits = &self.shared.config.limits;
        let (peer, client) = (request.peer_addr(), request.client_ip());
        if self.shared.is_too_fast(client, io.now()) {
            limits.refused.note("handshakes_per_second");
            if io.may_log(id, log::Level::Warn) {
                log::warn!(target: "engineio", "{peer}: refused, it opens sessions too fast (Limits::handshakes_per_second)");
            }
            return Err(Response::text(429, "Too Many Requests").closing());
        }
        if transport == Transport::WebSocket {
            return Ok(None);
        }
        let (limit, of_address) = (limits.polling_sessions, limits.polling_sessions_per_address);
        match self.shared.polling.take(client, limit, of_address) {
            Ok(slot) => Ok(Some(slot)),
            Err(full) => {
                let limit = match full {
                    NoSlot::Full => "polling_sessions",
                    NoSlot::FullForAddress => "polling_sessions_per_address",
                };
                limits.refused.note(limit);
                if io.may_log(id, log::Level::Warn) {
                    log::warn!(target: "engineio", "{peer}: refused, as many sessions are on polling as may be (Limits::{limit})");
                }
                Err(Response::text(503, "Service Unavailable"))
            }
        }
    }

    /// Enters a new session into the tables. It is there also while the program is asked about it:
    /// no other session may have its id.
    fn insert_session(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: &Request,
        new: NewSession,
    ) -> (u64, Arc<SessionHandle>) {
        let NewSession {
            sid,
            transport,
            revision,
            outbox,
        } = new;
        let config = self.shared.session_config(revision);
        let machine = match transport {
            Transport::Polling => ServerSession::polling(io.now(), config),
            Transport::WebSocket => {
                ServerSession::websocket(io.now(), config, ChannelId(id.to_u64()))
            }
        };
        let sink = Arc::clone(
            self.sink
                .get_or_insert_with(|| Arc::new(io.sender().clone())),
        );
        let place = self.sessions.vacant_entry();
        let index = place.key() as u32;
        let key = u64::from(SERIAL.fetch_add(1, Ordering::Relaxed)) << 32 | u64::from(index);
        let peer = RemoteEnd::Client(request.peer_addr());
        let handle = SessionHandle::new(key, transport, outbox, sink, peer, io.budget());
        let wants_text = transport == Transport::WebSocket && wants_text(request);
        handle.set_binary_form(binary_form(revision, wants_text));
        handle.set_sid(&sid);
        let handle = Arc::new(handle);
        let origin = request.first("origin").map(Box::from);
        let max_packets = self.shared.max_packets(request);
        place.insert(ServerEntry::new(
            key,
            machine,
            Arc::clone(&handle),
            origin,
            max_packets,
            io.share(),
        ));
        self.by_sid.insert(sid.into(), index);
        io.set_owner(id, Some(key));
        (key, handle)
    }

    pub(super) fn on_resumed(&mut self, io: &mut IoContext<ServerCommand>, decided: Resumed) {
        let id = decided.id;
        match decided.what {
            Decision::Origin(true, request) => self.route(io, id, request),
            Decision::Origin(false, request) => self.refuse_origin(io, id, &request),
            Decision::Handshake {
                request,
                transport,
                mut handshake,
            } => match handshake.refusal.take() {
                Some(refusal) => self.refuse_handshake(io, id, &request, handshake, refusal),
                None => self.open_session(io, id, request, transport, handshake),
            },
            Decision::Upgrade {
                key,
                request,
                mut handshake,
            } => match handshake.refusal.take() {
                Some(refusal) => self.refuse_handshake(io, id, &request, handshake, refusal),
                None => self.upgrade(io, id, &request, key, handshake),
            },
            Decision::Open { key, entry, result } => match result {
                Ok(handler) => self.accept_session(io, id, key, entry, handler),
                Err(refusal) => {
                    if let Some(session) = self.forget(key) {
                        log::info!(target: "engineio", "{}: refused by the program", session.handle.label());
                        session.handle.outbox().discard();
                    }
                    io.set_owner(id, None);
                    let mut response = Response::new(401)
                        .with_headers(entry.headers)
                        .with_header("Content-Type", "application/json")
                        .with_body(refusal.body.into_bytes());
                    response.close = entry.websocket.is_some();
                    io.respond(id, response);
                }
            },
        }
    }

    /// Opens a session whose client may come in.
    fn accept_session(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        key: u64,
        entry: HandshakeContext,
        mut handler: Box<dyn SessionHandler>,
    ) {
        let Some(session) =
            find(&mut self.sessions, key).filter(|it| it.machine.is_open() && !self.stopping)
        else {
            // The client has gone meanwhile, or everything is.
            handler.close(io.now(), Reason::TransportClose);
            self.forget(key);
            return io.abort(id);
        };
        let handle = Arc::clone(&session.handle);
        handler.opened();
        session.handler = Some(handler);
        let open = self
            .shared
            .config
            .open_packet(handle.sid(), handle.transport())
            .to_json();
        let packet = EnginePacket::Open(&open);
        log::debug!(target: "engineio", "{}: open over {}", handle.label(), handle.transport());
        match entry.websocket {
            Some(websocket) => {
                let frames = Frames::control(&packet);
                io.upgrade(id, key, &websocket, &entry.headers, &frames.0);
                if entry.collects {
                    io.attach(id, handle.outbox());
                }
            }
            None => {
                let mut body = Vec::new();
                packet.encode(&mut body);
                let idle = self.shared.config.limits.idle_timeout.as_secs();
                let answer = match &session.eio3 {
                    Some(eio3) => eio3.control(&body),
                    None => PollBody::text(body),
                };
                // Clients that are told do not use a connection that is about to be closed.
                let response = polling::polling_response(entry.headers, answer.kind)
                    .with_header("Keep-Alive", format!("timeout={idle}"))
                    .with_body(answer.bytes);
                io.respond(id, response);
            }
        }
        session.schedule(io);
        if let Some(reason) = session.ends.take() {
            // What was sent before still leaves.
            session.machine.handle(io.now(), ServerInput::Close(reason));
            self.process_outputs(io, key);
        }
    }

    pub(super) fn refuse(
        &self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: &Request,
        problem: RequestError,
    ) {
        if io.may_log(id, log::Level::Info) {
            let peer = request.peer_addr();
            let hint = if problem == RequestError::UnknownSid {
                "; behind several servers, is one client always sent to the same one?"
            } else {
                ""
            };
            log::info!(target: "engineio", "{peer}: refused, {}{hint}", problem.message());
        }
        let headers = self.shared.config.cors.headers(request);
        let response = Response::new(400).with_headers(headers);
        let response = if wants_websocket(request) {
            let body = problem.message().as_bytes().to_vec();
            response
                .with_header("Content-Type", "text/html")
                .with_body(body)
                .closing()
        } else {
            let body = format!(
                "{{\"code\":{},\"message\":\"{}\"}}",
                problem.code(),
                problem.message()
            );
            response
                .with_header("Content-Type", "application/json")
                .with_body(body.into_bytes())
        };
        io.respond(id, response);
    }

    pub(super) fn refuse_origin(
        &self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: &Request,
    ) {
        if io.may_log(id, log::Level::Warn) {
            let origin = request.first("origin").unwrap_or("(not text)");
            let peer = request.peer_addr();
            let allowed = &self.shared.config.cors.origins;
            log::warn!(target: "engineio", "{peer}: {origin:?} is refused by cors_allowed_origins, which accept {allowed}");
        }
        let body = format!(
            "{{\"code\":3,\"message\":\"{}\"}}",
            RequestError::BadRequest.message()
        );
        let response = Response::new(400)
            .with_header("Content-Type", "application/json")
            .with_body(body.into_bytes());
        io.respond(id, response);
    }

    /// Refuses a handshake that is not one of WebSocket 13.
    pub(super) fn refuse_websocket(
        &self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: &Request,
    ) {
        if io.may_log(id, log::Level::Info) {
            log::info!(target: "engineio", "{}: not a WebSocket handshake", request.peer_addr());
        }
        let response = Response::text(400, "Bad Request")
            .with_header("Sec-WebSocket-Version", "13")
            .closing();
        io.respond(id, response);
    }
}

/// Asks the program's function about a request.
fn ask(function: &OnHandshake, request: &Request, is_upgrade: bool) -> Handshake {
    let mut handshake = Handshake::new(is_upgrade);
    match program::call(|| function.ask(request, &mut handshake)) {
        Ok(()) => handshake,
        Err(_) => {
            log::error!(target: "engineio", "on_handshake panicked");
            Handshake::refused(is_upgrade)
        }
    }
}

pub(super) fn resume_request(
    sender: &CommandSender<Command<ServerCommand>>,
    id: ConnectionId,
    what: Decision,
) {
    let decided = Box::new(Resumed { id, what });
    sender.send(Command::Driver(ServerCommand::Resumed(decided)));
}

/// Returns 14 random bytes and the thread's number, as 20 characters of base64url: as long as the
/// reference implementation's, not to be guessed, and telling every thread whose session it is.
fn new_sid(thread: usize) -> Option<String> {
    let mut bytes = [0; 15];
    random::fill(&mut bytes[..14])?;
    bytes[14] = thread as u8;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns the program's id of a session, with the number of the thread where there are several.
fn own_sid(id: &str, thread: usize, threads: usize) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_sound = !id.is_empty() && id.len() <= 64 && id.bytes().all(is_plain);
    is_sound.then(|| match threads {
        1 => id.to_owned(),
        _ => format!("{id}.{thread}"),
    })
}

pub(super) fn thread_index(sid: &str) -> Option<usize> {
    if let Some((_, thread)) = sid.split_once('.') {
        return thread.parse().ok();
    }
    let mut bytes = [0; 15];
    let length = URL_SAFE_NO_PAD.decode_slice(sid, &mut bytes).ok()?;
    (length == 15).then(|| usize::from(bytes[14]))
}

fn wants_websocket(request: &Request) -> bool {
    request.has_token("connection", "upgrade") && request.has_token("upgrade", "websocket")
}

/// Returns the key of a WebSocket handshake (RFC 6455, 4.2.1): 16 bytes in base64.
pub(super) fn websocket_key(request: &Request) -> Result<String, ()> {
    let key = request.first("sec-websocket-key").ok_or(())?.trim();
    let version = request.first("sec-websocket-version").map(str::trim);
    let is_key = key.len() == 24 && key.ends_with("==");
    if request.method() == "GET" && version == Some("13") && is_key {
        Ok(key.to_owned())
    } else {
        Err(())
    }
}

/// Returns the first subprotocol that the client offers, as the reference implementation takes it:
/// some clients give up without one.
pub(super) fn subprotocol(request: &Request) -> Option<Header> {
    let offered = request.first("sec-websocket-protocol")?;
    let first = offered.split(',').next()?.trim();
    let is_token = !first.is_empty()
        && first.len() <= 256
        && first.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then(|| ("Sec-WebSocket-Protocol".into(), first.to_owned().into()))
}
