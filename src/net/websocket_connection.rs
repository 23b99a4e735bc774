//! The WebSocket connections of an I/O thread: what one read has brought goes to the owner as a whole.

use super::Driver;
use super::connection::{ConnectionId, ConnectionState};
use super::context::IoContext;
use super::event_loop::EventLoop;
use super::websocket::{Messages, ProtocolError, WebSocketMessage};
use crate::reason::Reason;

/// Messages of one connection that are handled in one go: a millisecond or two, even if each of
/// them opens something. What else came with them waits for its turn.
const MAX_MESSAGES_PER_TURN: usize = 512;

/// The messages that one read of a WebSocket has brought.
#[derive(Debug)]
pub(crate) struct WebSocketRead<'a> {
    id: ConnectionId,
    messages: Messages<'a>,
    /// Messages that may still be taken in this turn.
    left: usize,
    end: Option<WebSocketEnd>,
}

/// End of a WebSocket that one read has brought.
#[derive(Clone, Copy, Debug)]
enum WebSocketEnd {
    /// With the peer's code, which it gets back (RFC 6455, 5.5.1).
    Closed(Option<u16>),
    Violated(ProtocolError),
}

impl WebSocketRead<'_> {
    /// Returns the connection.
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Returns the next message, until there is none, or none is to be read any more. A ping has
    /// been answered.
    pub(crate) fn next<C: Send + 'static>(
        &mut self,
        io: &mut IoContext<C>,
    ) -> Option<WebSocketMessage<'_>> {
        if self.left == 0 || !io.is_alive(self.id) {
            return None;
        }
        match self.messages.next() {
            Ok(message) => {
                self.left -= 1;
                match &message {
                    Some(WebSocketMessage::Ping(payload)) => io.pong(self.id, payload),
                    Some(WebSocketMessage::Close(code)) => {
                        self.end = Some(WebSocketEnd::Closed(*code));
                        return None;
                    }
                    _ => {}
                }
                message
            }
            Err(violation) => {
                self.end = Some(WebSocketEnd::Violated(violation));
                None
            }
        }
    }
}

impl<D: Driver> EventLoop<D> {
    /// Hands a WebSocket's messages over.
    pub(super) fn read_messages(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        let Some(connection) = self.io.get_mut(id) else {
            return;
        };
        let Some(owner) = connection.owner else {
            return;
        };
        let ConnectionState::WebSocket(mut decoder) =
            std::mem::replace(&mut connection.state, ConnectionState::Taken)
        else {
            return;
        };
        let max_message = decoder.max_message();
        let mut read = WebSocketRead {
            id,
            messages: decoder.messages(bytes),
            left: MAX_MESSAGES_PER_TURN,
            end: None,
        };
        self.driver.on_read(&mut self.io, owner, &mut read);
        let (has_more, unread) = (read.left == 0, read.messages.left());
        let end = read.end;
        if let Some(connection) = self.io.get_mut(id)
            && matches!(connection.state, ConnectionState::Taken)
        {
            connection.state = ConnectionState::WebSocket(decoder);
            if has_more && unread > 0 {
                connection.unread = bytes[bytes.len() - unread..].to_vec();
                self.io.pending_reads.push(id);
            }
        }
        match end {
            None => {}
            Some(WebSocketEnd::Closed(code)) => {
                self.close_websocket(id, code, Reason::TransportClose);
            }
            Some(WebSocketEnd::Violated(violation)) => {
                if let Some(connection) = self.io.get(id) {
                    let label = self.driver.label(owner);
                    let label = label.unwrap_or_else(|| connection.peer.to_string());
                    let what = violation.describe(max_message);
                    log::info!(target: "engineio", "{label}: WebSocket closed with {}: {what}", violation.code());
                }
                self.close_websocket(id, Some(violation.code()), Reason::TransportError);
            }
        }
    }

    /// Closes a WebSocket, which counts as gone though its close frame is still to be written.
    fn close_websocket(&mut self, id: ConnectionId, code: Option<u16>, reason: Reason) {
        let owner = self.io.get_mut(id).and_then(|it| it.owner.take());
        self.io.close_websocket(id, code);
        if let Some(owner) = owner {
            self.driver
                .on_connection_lost(&mut self.io, owner, id, reason);
        }
    }
}
