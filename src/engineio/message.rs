//! Messages of Engine.IO for programs that want nothing above it, and what its servers and clients
//! share for them: handlers, and the work that waits for a worker.

use super::Control;
use super::frames::{self, Frames};
use crate::protocol::engineio::Data;
use crate::reason::Reason;
use crate::util::program;
use crate::util::sync::RwLock;
use bytes::Bytes;
use std::sync::Arc;

/// Content of a message. Exhaustive on purpose: the protocol has no other kind.
///
/// ```
/// use socketio::engineio::{Message, Server};
///
/// let engine = Server::new();
/// engine.on_message(|session, message| {
///     let length = match &message {
///         Message::Text(text) => text.len(),
///         Message::Binary(bytes) => bytes.len(),
///     };
///     let _ = session.send(format!("{length} bytes"));
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message::Binary(bytes.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Message::Binary(bytes)
    }
}

impl From<Data<'_>> for Message {
    fn from(data: Data<'_>) -> Self {
        match data {
            Data::Text(text) => Message::from(text),
            Data::Binary(bytes) => Message::from(bytes.into_owned()),
        }
    }
}

impl Message {
    /// Returns the bytes of its content.
    pub(super) fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }

    /// Returns it as an outbox takes it.
    pub(super) fn into_frames(self) -> Frames {
        let mut buffer = Vec::new();
        match self {
            Message::Text(text) => {
                frames::append_text(&mut buffer, |out| out.extend_from_slice(text.as_bytes()));
            }
            Message::Binary(bytes) => frames::append_binaries(&mut buffer, &[bytes]),
        }
        Frames(buffer.into())
    }
}

/// Bytes that a message counts for in an inbox besides its content.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// Work that waits for a worker.
pub(super) enum EngineItem {
    Connect,
    Message(Message),
    Disconnect(Reason),
}

/// What one read has brought for the workers, with the bytes that each item counts for.
#[derive(Default)]
pub(super) struct Batch(Vec<(EngineItem, usize)>);

impl Batch {
    pub(super) fn push(&mut self, item: EngineItem) {
        let content = match &item {
            EngineItem::Message(message) => message.len(),
            EngineItem::Connect | EngineItem::Disconnect(_) => 0,
        };
        self.0.push((item, content + MESSAGE_OVERHEAD_BYTES));
    }

    /// Passes on what there is, if there is something.
    pub(super) fn flush(
        &mut self,
        place: impl FnOnce(Vec<(EngineItem, usize)>) -> Control,
    ) -> Control {
        if self.0.is_empty() {
            return Control::Continue;
        }
        place(std::mem::take(&mut self.0))
    }
}

/// The program's functions. `P` is what they are given: a server's session, or the client.
pub(super) struct EngineHandlers<P> {
    functions: RwLock<Functions<P>>,
}

struct Functions<P> {
    connect: Option<Arc<OnConnect<P>>>,
    message: Option<Arc<OnMessage<P>>>,
    disconnect: Option<Arc<OnDisconnect<P>>>,
}

/// An error refuses the session, and is JSON for its client.
pub(super) type OnConnect<P> = dyn Fn(&P) -> Result<(), String> + Send + Sync;
type OnMessage<P> = dyn Fn(&P, Message) + Send + Sync;
type OnDisconnect<P> = dyn Fn(&P, Reason) + Send + Sync;

impl<P> Default for EngineHandlers<P> {
    fn default() -> Self {
        let functions = Functions {
            connect: None,
            message: None,
            disconnect: None,
        };
        EngineHandlers {
            functions: RwLock::new(functions),
        }
    }
}

impl<P> EngineHandlers<P> {
    pub(super) fn on_connect(
        &self,
        handler: impl Fn(&P) -> Result<(), String> + Send + Sync + 'static,
    ) {
        // The one before is the program's, and is dropped outside of the lock.
        let handler: Arc<OnConnect<P>> = Arc::new(handler);
        let before = self.functions.write().connect.replace(handler);
        drop(before);
    }

    pub(super) fn on_message(&self, handler: impl Fn(&P, Message) + Send + Sync + 'static) {
        let handler: Arc<OnMessage<P>> = Arc::new(handler);
        let before = self.functions.write().message.replace(handler);
        drop(before);
    }

    pub(super) fn on_disconnect(&self, handler: impl Fn(&P, Reason) + Send + Sync + 'static) {
        let handler: Arc<OnDisconnect<P>> = Arc::new(handler);
        let before = self.functions.write().disconnect.replace(handler);
        drop(before);
    }

    /// Returns the function that is asked about a session.
    pub(super) fn connect(&self) -> Option<Arc<OnConnect<P>>> {
        self.functions.read().connect.clone()
    }

    /// Runs the handler of an item.
    pub(super) fn run(&self, peer: &P, item: EngineItem, label: impl std::fmt::Display) {
        let functions = self.functions.read();
        let (connect, message, disconnect) = match item {
            EngineItem::Connect => (functions.connect.clone(), None, None),
            EngineItem::Message(_) => (None, functions.message.clone(), None),
            EngineItem::Disconnect(_) => (None, None, functions.disconnect.clone()),
        };
        drop(functions);
        let call = || match item {
            EngineItem::Connect => drop(connect.map(|call| call(peer))),
            EngineItem::Message(content) => drop(message.map(|call| call(peer, content))),
            EngineItem::Disconnect(reason) => drop(disconnect.map(|call| call(peer, reason))),
        };
        if program::call(call).is_err() {
            log::error!(target: "engineio", "{label}: a handler panicked");
        }
    }
}
