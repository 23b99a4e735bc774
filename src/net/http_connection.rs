//! Requests, as an I/O thread reads them from what has arrived.

use super::Driver;
use super::commands::Command;
use super::connection::{ConnectionId, Protocol, RequestMeta};
use super::event_loop::EventLoop;
use super::http::body::BadBody;
use super::http::upload::Upload;
use super::http::{Body, Framing, Head, Request, Response};
use std::sync::Arc;

/// Bytes of a body that are progress: with fewer in its time, it is a client that only holds on.
const PROGRESS: usize = 1 << 10;

impl<D: Driver> EventLoop<D> {
    /// Reads requests from what has arrived.
    pub(super) fn process(&mut self, id: ConnectionId) {
        while let Some(connection) = self.io.get_mut(id) {
            if connection.unread.is_empty() {
                return;
            }
            match &connection.protocol {
                Protocol::Head if connection.is_partial => return,
                Protocol::Head => {
                    if !self.read_head(id) {
                        return;
                    }
                }
                Protocol::Body(_) => {
                    if !self.read_body(id) {
                        return;
                    }
                }
                Protocol::Answering(_) if connection.upload.is_some() && !connection.stopped => {
                    if !self.read_upload(id) {
                        return;
                    }
                }
                Protocol::WebSocket(_) if !connection.stopped => {
                    let mut bytes = std::mem::take(&mut connection.unread);
                    return self.decode(id, &mut bytes);
                }
                _ => return,
            }
        }
    }

    /// Returns whether a head was there.
    fn read_head(&mut self, id: ConnectionId) -> bool {
        let options = Arc::clone(&self.io.options);
        let (limits, now) = (&options.limits, self.io.now);
        let Some(connection) = self.io.get_mut(id) else {
            return false;
        };
        // An empty line before a request is to be ignored (RFC 9112, 2.2).
        while connection.unread.starts_with(b"\r\n") {
            connection.unread.drain(..2);
        }
        if connection.unread.is_empty() {
            return false;
        }
        let (peer, secure) = (connection.peer, connection.socket.is_secure());
        #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
        let mut head = match Head::parse(&connection.unread, limits, peer, secure) {
            Ok(Some(head)) => head,
            Ok(None) => {
                connection.is_partial = true;
                return false;
            }
            Err(problem) => {
                log::info!(target: "engineio", "{peer}: {}", problem.1);
                self.refuse(id, problem.0);
                return false;
            }
        };
        #[cfg(feature = "tls")]
        head.request
            .set_certificate(connection.socket.peer_certificate());
        connection.fresh = false;
        connection.unread.drain(..head.length);
        if connection.unread.is_empty() {
            connection.unread = Vec::new();
        }
        let exchange = RequestMeta {
            keep_alive: head.keep_alive,
            head_only: head.request.method() == "HEAD",
            takes_chunks: head.takes_chunks,
        };
        if head.framing == Framing::None {
            self.hand_request(id, exchange, head.request);
            return true;
        }
        let rules = self.driver.body_rules(&head.request);
        match Body::new(head.framing, rules.max_bytes) {
            Err(_) => {
                log::info!(target: "engineio", "{peer}: a body over {} bytes", rules.max_bytes);
                self.refuse_request(id, &head.request, 413);
                false
            }
            Ok(body) if body.is_done() => {
                self.hand_request(id, exchange, head.request);
                true
            }
            Ok(body) if rules.streams => {
                let expects = head.expects_continue && connection.unread.is_empty();
                let mailbox = self.io.mailbox().clone();
                let resume = move || mailbox.send(Command::ReadOn(id));
                let (upload, reader) = Upload::new(body, rules.timeout, self.io.share(), resume);
                let mut request = head.request;
                request.set_stream(reader);
                if expects {
                    self.io.append(id, b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                if let Some(connection) = self.io.get_mut(id) {
                    connection.progress = 0;
                    connection.upload = Some(Box::new(upload));
                }
                self.hand_request(id, exchange, request);
                self.io.set_deadline(id, Some(now + rules.timeout));
                true
            }
            Ok(body) => {
                let expects = head.expects_continue && connection.unread.is_empty();
                connection.protocol = Protocol::Body(Box::new((head, body)));
                if expects {
                    self.io.append(id, b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                self.io.set_deadline(id, Some(now + rules.timeout));
                true
            }
        }
    }

    /// Passes what has come to the reader of the body; returns whether it is complete.
    fn read_upload(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.io.get_mut(id) else {
            return false;
        };
        let peer = connection.peer;
        let Some(upload) = &mut connection.upload else {
            return false;
        };
        let (taken, has_room) = match upload.push(&connection.unread) {
            Ok(pushed) => pushed,
            Err(problem) => {
                log::info!(target: "engineio", "{peer}: the body of a request is {problem}");
                self.io.close(id);
                return false;
            }
        };
        let (is_done, timeout) = (upload.is_done(), upload.timeout);
        connection.unread.drain(..taken);
        if connection.unread.is_empty() {
            connection.unread = Vec::new();
        }
        connection.progress += taken;
        if is_done {
            connection.upload = None;
            self.io.set_deadline(id, None);
            return true;
        }
        connection.stopped = !has_room;
        let has_progressed = connection.progress >= PROGRESS;
        if has_progressed {
            connection.progress = 0;
        }
        if !has_room {
            // It is the handler that takes its time.
            self.io.set_deadline(id, None);
        } else if has_progressed {
            let deadline = self.io.now + timeout;
            self.io.set_deadline(id, Some(deadline));
        }
        false
    }

    /// Returns whether the body was complete.
    fn read_body(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.io.get_mut(id) else {
            return false;
        };
        let peer = connection.peer;
        let Protocol::Body(reading) = &mut connection.protocol else {
            return false;
        };
        match reading.1.read(&connection.unread) {
            Ok(taken) => {
                connection.unread.drain(..taken);
                connection.progress += taken;
            }
            Err(problem) => {
                log::info!(target: "engineio", "{peer}: the body of a request is {problem}");
                let status = if problem == BadBody::TooLarge {
                    413
                } else {
                    400
                };
                self.refuse_body(id, status);
                return false;
            }
        };
        if connection.progress >= PROGRESS {
            connection.progress = 0;
            let rules = self.driver.body_rules(&reading.0.request);
            let deadline = self.io.now + rules.timeout;
            self.io.set_deadline(id, Some(deadline));
        }
        let Some(connection) = self.io.get_mut(id) else {
            return false;
        };
        let Protocol::Body(reading) = &mut connection.protocol else {
            return false;
        };
        if connection.unread.is_empty() {
            connection.unread = Vec::new();
        }
        if !reading.1.is_done() {
            return false;
        }
        if let Protocol::Body(reading) = std::mem::replace(&mut connection.protocol, Protocol::Busy)
        {
            let (mut head, body) = *reading;
            head.request.set_body(body.into_bytes());
            let exchange = RequestMeta {
                keep_alive: head.keep_alive,
                head_only: head.request.method() == "HEAD",
                takes_chunks: head.takes_chunks,
            };
            self.hand_request(id, exchange, head.request);
        }
        true
    }

    pub(super) fn hand_request(
        &mut self,
        id: ConnectionId,
        exchange: RequestMeta,
        request: Request,
    ) {
        if let Some(connection) = self.io.get_mut(id) {
            connection.protocol = Protocol::Answering(exchange);
            self.io.set_deadline(id, None);
            self.io.handing = Some(id);
            self.driver.on_request(&mut self.io, id, request);
            self.io.handing = None;
        }
    }

    /// Refuses a request for its body, or for want of it, and closes.
    pub(super) fn refuse_body(&mut self, id: ConnectionId, status: u16) {
        let Some(connection) = self.io.get_mut(id) else {
            return;
        };
        match std::mem::replace(&mut connection.protocol, Protocol::Busy) {
            Protocol::Body(reading) => self.refuse_request(id, &reading.0.request, status),
            _ => self.refuse(id, status),
        }
    }

    fn refuse_request(&mut self, id: ConnectionId, request: &Request, status: u16) {
        let response = self.driver.refuse_body(request, status);
        self.answer_last(id, response);
    }

    /// Answers what is no request, and closes.
    pub(super) fn refuse(&mut self, id: ConnectionId, status: u16) {
        self.answer_last(id, Response::new(status));
    }

    fn answer_last(&mut self, id: ConnectionId, response: Response) {
        if let Some(connection) = self.io.get_mut(id) {
            connection.protocol = Protocol::Answering(RequestMeta {
                keep_alive: false,
                head_only: false,
                takes_chunks: true,
            });
            self.io.respond(id, response.closing());
        }
    }
}
