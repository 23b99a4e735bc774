//! The form of packets as a program may write one of its own.

use crate::data::{Object, Value};
use crate::engineio::Message;
use crate::error::Error;
use std::fmt::Debug;

/// A form of packets. One for a server or a client, used from all threads.
///
/// ```
/// use socketio::engineio::Message;
/// use socketio::parser::{Codec, DecodeError, Decoder, Packet, PacketKind};
/// use socketio::{Error, Value};
///
/// /// Events of one namespace as JSON alone: `["name",..]`.
/// #[derive(Debug)]
/// struct Bare;
///
/// impl Codec for Bare {
///     fn encode(&self, packet: &Packet) -> Result<Vec<Message>, Error> {
///         Ok(vec![packet.data.to_json()?.into()])
///     }
///
///     fn decoder(&self) -> Box<dyn Decoder> {
///         Box::new(Bare)
///     }
/// }
///
/// impl Decoder for Bare {
///     fn decode(&mut self, message: Message) -> Result<Option<Packet>, DecodeError> {
///         let Message::Text(json) = message else {
///             return Err("bytes".into());
///         };
///         let data = Value::from_json(&json)?;
///         Ok(Some(Packet::new(PacketKind::Event, "/", None, data)))
///     }
/// }
/// ```
pub trait Codec: Debug + Send + Sync + 'static {
    /// Writes a packet as one message or several, which arrive in their order and with nothing in
    /// between.
    ///
    /// # Errors
    /// [`Error::Encode`] if it cannot be written. It is that of the call that sends the event.
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, Error>;

    /// Creates the reader of a connection's messages.
    fn decoder(&self) -> Box<dyn Decoder>;
}

/// Error of a message that is no packet. It is logged, and the connection is closed.
///
/// ```
/// use socketio::parser::DecodeError;
///
/// fn number(text: &str) -> Result<u64, DecodeError> {
///     if text.len() > 20 {
///         return Err("a number has at most 20 digits".into());
///     }
///     Ok(text.parse()?)
/// }
/// assert!(number("12a").is_err());
/// ```
pub type DecodeError = Box<dyn std::error::Error + Send + Sync>;

/// Reader of one connection's messages. Called on an I/O thread: it must not block, and what it keeps
/// between messages it must bound.
///
/// ```
/// use socketio::engineio::Message;
/// use socketio::parser::{DecodeError, Decoder, Packet, PacketKind};
/// use socketio::Value;
///
/// /// Packets whose data comes in a message of its own behind the name.
/// #[derive(Default)]
/// struct Pairs {
///     name: Option<String>,
/// }
///
/// impl Decoder for Pairs {
///     fn decode(&mut self, message: Message) -> Result<Option<Packet>, DecodeError> {
///         let Message::Text(text) = message else {
///             return Err("bytes".into());
///         };
///         // One name is all that it keeps.
///         let Some(name) = self.name.take() else {
///             self.name = Some(text.to_string());
///             return Ok(None);
///         };
///         let data = Value::from(vec![Value::from(name), Value::from_json(&text)?]);
///         Ok(Some(Packet::new(PacketKind::Event, "/", None, data)))
///     }
/// }
/// ```
pub trait Decoder: Send {
    /// Takes a message; returns a packet if that was its last one.
    ///
    /// # Errors
    /// Anything, if it is no packet.
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, DecodeError>;
}

/// One Socket.IO packet (socket.io-protocol, "Packet types").
///
/// ```
/// use socketio::Value;
/// use socketio::parser::{Packet, PacketKind};
///
/// let data = Value::from_json(r#"["move",3]"#)?;
/// let packet = Packet::new(PacketKind::Event, "/game", None, data);
/// assert_eq!(packet.data[0], "move");
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Packet {
    /// The kind.
    pub kind: PacketKind,
    /// The namespace: `/`, or `/chat`.
    pub namespace: String,
    /// The id under which an event wants to be acknowledged, or that an acknowledgement answers.
    pub id: Option<u64>,
    /// Of an event, a list of its name and arguments; of an acknowledgement, one of its arguments; an
    /// object, text or null else.
    pub data: Value,
}

impl Packet {
    /// Creates a packet.
    pub fn new(
        kind: PacketKind,
        namespace: impl Into<String>,
        id: Option<u64>,
        data: Value,
    ) -> Packet {
        Packet {
            kind,
            namespace: namespace.into(),
            id,
            data,
        }
    }

    /// Returns it as the object that parsers of other implementations write. A packet that says no
    /// more than its kind has no data: JavaScript refuses even null there.
    pub(super) fn to_object(&self) -> Value {
        let mut object = Object::new();
        object.insert("type".to_owned(), self.kind.number().into());
        let has_arguments = matches!(self.kind, PacketKind::Event | PacketKind::Ack);
        if has_arguments || !self.data.is_null() {
            object.insert("data".to_owned(), self.data.clone());
        }
        object.insert("nsp".to_owned(), Value::from(self.namespace.as_str()));
        if let Some(id) = self.id {
            object.insert("id".to_owned(), id.into());
        }
        Value::Object(object)
    }

    /// Reads such an object.
    pub(super) fn from_object(object: Value) -> Result<Packet, DecodeError> {
        let Value::Object(mut fields) = object else {
            return Err("a packet is an object".into());
        };
        let mut take = |name: &str| fields.swap_remove(name).unwrap_or_default();
        let kind = whole(&take("type")).and_then(|it| PacketKind::from_number(it as u8));
        let namespace = match take("nsp") {
            Value::String(name) => name,
            Value::Null => crate::protocol::socketio::ROOT.to_owned(),
            _ => return Err("`nsp` is no text".into()),
        };
        let id = match take("id") {
            Value::Null => None,
            id => Some(whole(&id).ok_or("`id` is no number of a packet")?),
        };
        let kind = kind.ok_or("`type` is none of a packet")?;
        let data = match kind {
            // What python adds says nothing.
            PacketKind::Disconnect => Value::Null,
            _ => take("data"),
        };
        Ok(Packet::new(kind, namespace, id, data))
    }
}

/// Returns a number that is whole, also if it is written as one of floating point.
fn whole(value: &Value) -> Option<u64> {
    let float = || {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number))
            .then_some(number as u64)
    };
    value.as_u64().or_else(float)
}

/// Kind of a packet. Exhaustive on purpose: the protocol has no others.
///
/// ```
/// use socketio::parser::PacketKind;
///
/// assert_eq!(PacketKind::from_number(2), Some(PacketKind::Event));
/// assert_eq!(PacketKind::Event.number(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// A client joins a namespace, or is told that it has.
    Connect,
    /// A client leaves a namespace, or is told to.
    Disconnect,
    /// An event.
    Event,
    /// The acknowledgement of one.
    Ack,
    /// A client is refused.
    ConnectError,
}

impl PacketKind {
    const ALL: [PacketKind; 5] = [
        PacketKind::Connect,
        PacketKind::Disconnect,
        PacketKind::Event,
        PacketKind::Ack,
        PacketKind::ConnectError,
    ];

    /// Returns its number in the protocol, from 0 to 4.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the kind of a number.
    pub fn from_number(number: u8) -> Option<PacketKind> {
        PacketKind::ALL.get(usize::from(number)).copied()
    }
}
