//! Answers to requests of polling clients.
//!
//! In a circle with `driver`, `handshake` and `serving`: the methods of one `ServerDriver` stand
//! where their subject is.

use super::driver::ServerCommand;
use super::handshake::RequestError;
use super::poll_body::PollBody;
use super::server_entry::ServerEntry;
use super::serving::EngineShared;
#[cfg(feature = "compression")]
use crate::net::Command;
use crate::net::http::{Headers, Request, Response};
use crate::net::outbox::Outbox;
use crate::net::{ConnectionId, IoContext};
use crate::protocol::engineio::packet::encode_base64;
use crate::protocol::engineio::payload;
use crate::protocol::engineio::server::PollResponse;

/// Answers larger than this are compressed on a worker, or not at all if none is free: what answers
/// a call must not wait for those that wait for it.
#[cfg(feature = "compression")]
const MAX_INLINE_COMPRESSION_BYTES: usize = 32 << 10;

/// Bytes of a payload after which no further packet is taken: a client reads it whole. The first
/// packet is taken whatever its size.
const MAX_PAYLOAD: usize = 1_000_000;

impl EngineShared {
    /// Returns how many packets a client takes in one payload.
    pub(super) fn max_packets(&self, request: &Request) -> usize {
        let is_python = || {
            let agent = request.first("user-agent").unwrap_or_default();
            // What python-engineio's two clients send, and what they are built on.
            ["python", "aiohttp"].iter().any(|name| {
                agent
                    .get(..name.len())
                    .is_some_and(|it| it.eq_ignore_ascii_case(name))
            })
        };
        match self.config.payload_packets {
            Some(count) => count,
            None if is_python() => payload::MAX_PACKETS_OF_PYTHON,
            None => usize::MAX,
        }
    }

    /// Answers a parked request; returns whether nothing waits for the client any more.
    pub(super) fn answer(
        &self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: &Request,
        answer: PollResponse,
        session: &ServerEntry,
    ) -> bool {
        let handle = &session.handle;
        let mut headers = self.config.cors.headers(request);
        headers.extend(session.headers());
        let mut empty = false;
        let control = |packet: &[u8]| match &session.eio3 {
            Some(eio3) => eio3.control(packet),
            None => PollBody::text(packet.to_vec()),
        };
        let body = match answer {
            PollResponse::Queued => {
                let (outbox, max) = (handle.outbox(), session.max_packets);
                let json_at = |packet: &str| self.acceptor.json_at(packet);
                let (body, left) = match &session.eio3 {
                    Some(eio3) => eio3.take_payload(outbox, MAX_PAYLOAD, max, json_at),
                    None => {
                        let (body, left) = take_payload(outbox, MAX_PAYLOAD, max);
                        (PollBody::text(body), left)
                    }
                };
                empty = !left;
                body
            }
            PollResponse::Noop => control(b"6"),
            PollResponse::Close => control(b"1"),
            PollResponse::Ok => {
                let response = Response::new(200)
                    .with_headers(headers)
                    .with_header("Content-Type", "text/html")
                    .with_header("Cache-Control", "no-store")
                    .with_body(b"ok".to_vec());
                io.respond(id, response);
                return false;
            }
            PollResponse::ConcurrentRequest => {
                log::info!(target: "engineio", "{}: closed, it sent two requests at once", handle.label());
                io.respond(id, Response::new(400).with_headers(headers));
                return false;
            }
            PollResponse::WrongTransport => {
                let body = format!(
                    "{{\"code\":3,\"message\":\"{}\"}}",
                    RequestError::BadRequest.message()
                );
                let response = Response::new(400)
                    .with_headers(headers)
                    .with_header("Content-Type", "application/json")
                    .with_body(body.into_bytes());
                io.respond(id, response);
                return false;
            }
        };
        let response = polling_response(headers, body.kind);
        self.respond_compressed(io, id, request, response, body.bytes);
        empty
    }

    #[cfg(feature = "compression")]
    fn respond_compressed(
        &self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        request: &Request,
        response: Response,
        body: Vec<u8>,
    ) {
        use crate::net::http::compression::ContentCoding;
        let wanted = self.config.compression && body.len() >= self.config.compression_threshold;
        let accepted = request.first("accept-encoding").filter(|_| wanted);
        let length = body.len();
        let is_feasible = length <= MAX_INLINE_COMPRESSION_BYTES || io.has_room();
        let encoding = accepted.and_then(ContentCoding::negotiate);
        let Some(encoding) = encoding.filter(|_| is_feasible) else {
            return io.respond(id, response.with_body(body));
        };
        let compress = move || match encoding.encode(&body) {
            Some(compressed) => response
                .with_header("Content-Encoding", encoding.name())
                .with_body(compressed),
            None => response.with_body(body),
        };
        if length <= MAX_INLINE_COMPRESSION_BYTES {
            return io.respond(id, compress());
        }
        let sender = io.sender().clone();
        io.execute_quick(move || sender.send(Command::Respond(id, compress())));
    }

    #[cfg(not(feature = "compression"))]
    fn respond_compressed(
        &self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        _: &Request,
        response: Response,
        body: Vec<u8>,
    ) {
        io.respond(id, response.with_body(body));
    }
}

pub(super) fn polling_response(headers: Headers, kind: &'static str) -> Response {
    Response::new(200)
        .with_headers(headers)
        .with_header("Content-Type", kind)
        .with_header("Cache-Control", "no-store")
}

/// Takes a payload's worth of packets, in at most so many bytes, unless the first alone is larger;
/// returns also whether any is left.
pub(super) fn take_payload(
    outbox: &Outbox,
    max_bytes: usize,
    max_packets: usize,
) -> (Vec<u8>, bool) {
    let (mut body, mut count) = (Vec::new(), 0);
    let left = outbox.drain_frames(|is_text, packet| {
        let before = body.len();
        payload::push_separator(&mut body);
        if is_text {
            body.extend_from_slice(packet);
        } else {
            encode_base64(packet, &mut body);
        }
        count += 1;
        let fits = count <= max_packets && (count == 1 || body.len() <= max_bytes);
        if !fits {
            body.truncate(before);
        }
        fits
    });
    (body, left)
}
