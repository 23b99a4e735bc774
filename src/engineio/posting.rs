//! The POSTs of polling clients, whose packets are handled a portion at a time.
//!
//! In a circle with `driver`: the methods of one `ServerDriver` stand where their subject is.

use super::Control;
use super::driver::{ServerCommand, ServerDriver};
use super::driving::Received;
use super::eio3::Packets;
use super::server_entry::find;
use crate::net::http::{Request, Response};
use crate::net::{ConnectionId, IoContext};
use crate::protocol::engineio::payload_v3;
use crate::protocol::engineio::server::{ChannelId, ServerInput};

/// A POST whose packets are handled a portion at a time.
pub(super) struct Posted {
    channel: ChannelId,
    pub(super) body: Vec<u8>,
    /// It is one of bytes, of revision 3.
    is_binary: bool,
    /// Part of it that has been read.
    at: usize,
}

/// Packets of one POST that are handled in one turn: what they bring to do takes up to a few
/// microseconds each.
const MAX_PACKETS: usize = 512;

impl ServerDriver {
    pub(super) fn on_post(
        &mut self,
        io: &mut IoContext<ServerCommand>,
        id: ConnectionId,
        mut request: Request,
        key: u64,
    ) {
        let now = io.now();
        let Some(session) = find(&mut self.sessions, key) else {
            return;
        };
        let channel = ChannelId(id.to_u64());
        let mut body = request.take_body();
        if let Some(eio3) = &session.eio3 {
            body = eio3.read_body(body, self.shared.config.repair_eio3_text);
        }
        let is_binary = request
            .first("content-type")
            .is_some_and(|kind| kind.starts_with("application/octet-stream"));
        if is_binary && session.eio3.is_none() {
            log::info!(target: "engineio", "{}: closed, it posted an octet-stream", session.handle.label());
            session.machine.handle(now, ServerInput::Invalid(channel));
            let mut headers = self.shared.config.cors.headers(&request);
            headers.extend(session.headers());
            self.process_outputs(io, key);
            return io.respond(id, Response::new(400).with_headers(headers));
        }
        io.set_owner(id, Some(key));
        session.pending_requests.push((id, request));
        session.machine.handle(now, ServerInput::Post(channel));
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
        self.process_outputs(io, key);
    }

    pub(super) fn go_on_with_post(&mut self, io: &mut IoContext<ServerCommand>, key: u64) {
        let session = find(&mut self.sessions, key);
        if let Some(posted) = session.and_then(|session| session.posted.take()) {
            self.take_post(io, key, *posted);
        }
    }

    /// Handles the next packets of a POST: so many that other connections do not wait for long.
    fn take_post(&mut self, io: &mut IoContext<ServerCommand>, key: u64, mut posted: Posted) {
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
            let received = match packet {
                Ok(packet) => session.receive(now, channel, packet),
                Err(invalid) => {
                    log::info!(target: "engineio", "{}: closed, it posted {invalid}", session.handle.label());
                    session.machine.handle(now, ServerInput::Invalid(channel));
                    break;
                }
            };
            if let Received::Handled(Control::Close(reason)) = received {
                session.machine.handle(now, ServerInput::Close(reason));
                break;
            }
        }
        let is_open = session.machine.is_open();
        let left = packets.left().filter(|_| is_open);
        let control = if is_open {
            session.complete_read(io, &mut self.cork_queue)
        } else {
            Control::Continue
        };
        if let Some(left) = left {
            posted.at = posted.body.len() - left;
            session.posted = Some(Box::new(posted));
        }
        if control == Control::PauseReading {
            // The client posts nothing more before it has its answer.
            session.read_paused = true;
            session.machine.set_read_paused(now, true);
        } else {
            if left.is_some() {
                self.unfinished.push(key);
            } else {
                session.machine.handle(now, ServerInput::Posted(channel));
            }
            let _ = self.apply(io, key, control);
        }
        self.process_outputs(io, key);
    }
}
