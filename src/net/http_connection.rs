//! Requests, as an I/O thread reads them from what has arrived.

use super::Driver;
use super::commands::Command;
use super::connection::{ConnectionId, ConnectionState, RequestMeta};
use super::event_loop::EventLoop;
use super::http::body::BodyError;
use super::http::upload::Upload;
use super::http::{BodyDecoder, Head, Request, RequestFraming, Response};
use std::sync::Arc;

/// Bytes of a body that are progress: with fewer in its time, it is a client that only holds on.
const MIN_PROGRESS_BYTES: usize = 1 << 10;

impl<D: Driver> EventLoop<D> {
    /// Reads requests from what has arrived.
    pub(super) fn process(&mut self, id: ConnectionId) {
        while let Some(connection) = self.io.get_mut(id) {
            if connection.unread.is_empty() {
                return;
            }
            match &connection.state {
                ConnectionState::Head {
                    is_partial: true, ..
                } => return,
                ConnectionState::Head { .. } => {
                    if !self.read_head(id) {
                        return;
                    }
                }
                ConnectionState::Body(_) => {
                    if !self.read_body(id) {
                        return;
                    }
                }
                ConnectionState::AwaitingResponse(_)
                    if connection.upload.is_some() && !connection.read_paused =>
                {
                    if !self.read_upload(id) {
                        return;
                    }
                }
                ConnectionState::WebSocket(_) if !connection.read_paused => {
                    let mut bytes = std::mem::take(&mut connection.unread);
                    return self.read_messages(id, &mut bytes);
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
                if let ConnectionState::Head { is_partial, .. } = &mut connection.state {
                    *is_partial = true;
                }
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
        connection.unread.drain(..head.length);
        if connection.unread.is_empty() {
            connection.unread = Vec::new();
        }
        let meta = RequestMeta {
            keep_alive: head.keep_alive,
            head_only: head.request.method() == "HEAD",
            is_http_11: head.is_http_11,
        };
        if head.framing == RequestFraming::None {
            self.dispatch_request(id, meta, head.request);
            return true;
        }
        let rules = self.driver.body_rules(&head.request);
        match BodyDecoder::new(head.framing, rules.max_bytes) {
            Err(_) => {
                log::info!(target: "engineio", "{peer}: a body over {} bytes", rules.max_bytes);
                self.refuse_request(id, &head.request, 413);
                false
            }
            Ok(body) if body.is_done() => {
                self.dispatch_request(id, meta, head.request);
                true
            }
            Ok(body) if rules.streams => {
                let expects = head.expects_continue && connection.unread.is_empty();
                let commands = self.io.sender().clone();
                let resume = move || commands.send(Command::ReadOn(id));
                let executor = Arc::clone(&self.io.options.executor);
                let (upload, reader) =
                    Upload::new(body, rules.timeout, self.io.share(), executor, resume);
                let mut request = head.request;
                request.set_stream(reader);
                if expects {
                    self.io.append(id, b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                if let Some(connection) = self.io.get_mut(id) {
                    connection.progress = 0;
                    connection.upload = Some(Box::new(upload));
                }
                self.dispatch_request(id, meta, request);
                self.io.set_deadline(id, Some(now + rules.timeout));
                true
            }
            Ok(body) => {
                let expects = head.expects_continue && connection.unread.is_empty();
                connection.state = ConnectionState::Body(Box::new((head, body)));
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
                self.io.abort(id);
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
        connection.read_paused = !has_room;
        let has_progressed = connection.progress >= MIN_PROGRESS_BYTES;
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
        let ConnectionState::Body(reading) = &mut connection.state else {
            return false;
        };
        match reading.1.read(&connection.unread) {
            Ok(taken) => {
                connection.unread.drain(..taken);
                connection.progress += taken;
            }
            Err(problem) => {
                log::info!(target: "engineio", "{peer}: the body of a request is {problem}");
                let status = if problem == BodyError::TooLarge {
                    413
                } else {
                    400
                };
                self.refuse_body(id, status);
                return false;
            }
        };
        if connection.progress >= MIN_PROGRESS_BYTES {
            connection.progress = 0;
            let rules = self.driver.body_rules(&reading.0.request);
            let deadline = self.io.now + rules.timeout;
            self.io.set_deadline(id, Some(deadline));
        }
        let Some(connection) = self.io.get_mut(id) else {
            return false;
        };
        let ConnectionState::Body(reading) = &mut connection.state else {
            return false;
        };
        if connection.unread.is_empty() {
            connection.unread = Vec::new();
        }
        if !reading.1.is_done() {
            return false;
        }
        if let ConnectionState::Body(reading) =
            std::mem::replace(&mut connection.state, ConnectionState::Taken)
        {
            let (mut head, body) = *reading;
            head.request.set_body(body.into_bytes());
            let meta = RequestMeta {
                keep_alive: head.keep_alive,
                head_only: head.request.method() == "HEAD",
                is_http_11: head.is_http_11,
            };
            self.dispatch_request(id, meta, head.request);
        }
        true
    }

    pub(super) fn dispatch_request(
        &mut self,
        id: ConnectionId,
        meta: RequestMeta,
        request: Request,
    ) {
        if let Some(connection) = self.io.get_mut(id) {
            connection.state = ConnectionState::AwaitingResponse(meta);
            self.io.set_deadline(id, None);
            self.io.dispatching = Some(id);
            self.driver.on_request(&mut self.io, id, request);
            self.io.dispatching = None;
        }
    }

    /// Refuses a request for its body, or for want of it, and closes.
    pub(super) fn refuse_body(&mut self, id: ConnectionId, status: u16) {
        let Some(connection) = self.io.get_mut(id) else {
            return;
        };
        match std::mem::replace(&mut connection.state, ConnectionState::Taken) {
            ConnectionState::Body(reading) => self.refuse_request(id, &reading.0.request, status),
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
            connection.state = ConnectionState::AwaitingResponse(RequestMeta {
                keep_alive: false,
                head_only: false,
                is_http_11: true,
            });
            self.io.respond(id, response.closing());
        }
    }
}
