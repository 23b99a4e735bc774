//! Parsers: the form of Socket.IO packets in messages of text and of bytes.
//!
//! Both sides must have the same one: nothing on the wire announces it, and one that does not fit ends
//! the connection at its first packet. A server with [`Parser::detect`] takes it from that packet. The default is text, with bytes as attachments; it
//! is what browsers, phones and other libraries speak unless they are told otherwise. MessagePack
//! is smaller where there are numbers or bytes, and needs no attachments.
//!
//! Handlers, events and acknowledgements are the same whatever the parser is.
//!
//! ```
//! # #[cfg(all(feature = "msgpack", feature = "client"))] {
//! use socketio::{Client, Parser, Server};
//!
//! let io = Server::builder().parser(Parser::msgpack()).build();
//! let client = Client::builder().parser(Parser::msgpack()).build();
//! # }
//! ```
//!
//! A form of your own is a [`Codec`]: packets in, messages out, and a [`Decoder`] for each
//! connection.
//!
//! ```
//! use socketio::engineio::Message;
//! use socketio::parser::{Codec, DecodeError, Decoder, Packet, PacketKind};
//! use socketio::{Error, Parser, Server, Value};
//!
//! /// A line of text for each packet: kind, namespace, id and JSON, with tabs between them.
//! #[derive(Debug)]
//! struct Lines;
//!
//! impl Codec for Lines {
//!     fn encode(&self, packet: &Packet) -> Result<Vec<Message>, Error> {
//!         let (kind, data) = (packet.kind.number(), packet.data.to_json()?);
//!         let id = packet.id.map_or(String::new(), |id| id.to_string());
//!         Ok(vec![format!("{kind}\t{}\t{id}\t{data}", packet.namespace).into()])
//!     }
//!
//!     fn decoder(&self) -> Box<dyn Decoder> {
//!         Box::new(Lines)
//!     }
//! }
//!
//! impl Decoder for Lines {
//!     fn decode(&mut self, message: Message) -> Result<Option<Packet>, DecodeError> {
//!         let Message::Text(line) = message else {
//!             return Err("bytes".into());
//!         };
//!         let parts: Vec<&str> = line.splitn(4, '\t').collect();
//!         let [kind, namespace, id, data] = parts[..] else {
//!             return Err("not four parts".into());
//!         };
//!         let kind = PacketKind::from_number(kind.parse()?).ok_or("an unknown kind")?;
//!         let id = if id.is_empty() { None } else { Some(id.parse()?) };
//!         let packet = Packet::new(kind, namespace, id, Value::from_json(data)?);
//!         Ok(Some(packet))
//!     }
//! }
//!
//! let io = Server::builder().parser(Parser::new(Lines)).build();
//! ```

#[cfg(feature = "cbor")]
mod cbor;
mod codec;
pub(crate) mod incoming;
mod json_object;
#[cfg(feature = "pickle")]
pub(crate) mod pickle;

pub use codec::{Codec, DecodeError, Decoder, Packet, PacketKind};

use crate::data::Encoding;
use std::fmt;
use std::sync::Arc;

/// Values in one packet of a form that is read into a tree, whose nodes take many times the bytes that
/// they had.
const MAX_VALUES: usize = 200_000;

/// Form in which a server or a client writes and reads its packets. Cheap to clone.
///
/// ```
/// use socketio::{Parser, Server};
///
/// // Clients with the text form are served too.
/// let io = Server::builder().parser(Parser::detect()).build();
/// ```
#[derive(Clone, Default)]
pub struct Parser(pub(crate) Choice);

#[derive(Clone, Default)]
pub(crate) enum Choice {
    /// Text, of all connections.
    #[default]
    Text,
    #[cfg(feature = "msgpack")]
    Msgpack,
    Codec(Arc<dyn Codec>),
    /// The first packet of a connection tells its form.
    Detect,
}

impl Parser {
    /// Returns the default: text, with bytes as attachments.
    pub fn text() -> Parser {
        Parser(Choice::Text)
    }

    /// Returns MessagePack, as `socket.io-msgpack-parser` and python-socketio's
    /// `serializer='msgpack'` write it. Types of your own are read straight from the bytes.
    #[cfg(feature = "msgpack")]
    pub fn msgpack() -> Parser {
        Parser(Choice::Msgpack)
    }

    /// Returns packets as JSON objects, as `socket.io-json-parser` writes them. Bytes cannot be sent:
    /// an event with bytes is an error.
    pub fn json_object() -> Parser {
        Parser::new(json_object::JsonObject)
    }

    /// Returns CBOR: one map for each packet, as a subclass of python-socketio's `Packet` writes it
    /// with `cbor2.dumps(self._to_dict())`. Values go through a tree in between; MessagePack is
    /// faster.
    #[cfg(feature = "cbor")]
    pub fn cbor() -> Parser {
        Parser::new(cbor::Cbor)
    }

    /// Returns Python's pickle, for plain data alone: one dictionary for each packet, as a subclass of
    /// python-socketio's `Packet` writes it with `pickle.dumps(self._to_dict())`. It is for programs
    /// whose other side has nothing else; MessagePack is better in all respects.
    ///
    /// Reading is safe: streams that name a class or a function are refused, and their depth, size and
    /// references are bounded. A Python program that reads what others may have written with
    /// `pickle.loads` is not safe.
    #[cfg(feature = "pickle")]
    pub fn pickle() -> Parser {
        Parser::new(pickle::Pickle)
    }

    /// Returns a form of your own.
    pub fn new(codec: impl Codec) -> Parser {
        Parser(Choice::Codec(Arc::new(codec)))
    }

    /// Returns what lets a server take clients of several forms on one port: the first packet of a
    /// connection tells whether it is text, a JSON object, or, with their features, MessagePack,
    /// CBOR or pickle. Clients of Engine.IO 3, to which the server speaks first, are taken for
    /// clients of text. On a client, which speaks first, it is the same as [`Parser::text`].
    pub fn detect() -> Parser {
        Parser(Choice::Detect)
    }

    /// Returns the form of a connection before anything has come.
    pub(crate) fn first_form(&self) -> Form {
        match &self.0 {
            Choice::Text | Choice::Detect => Form::Text,
            #[cfg(feature = "msgpack")]
            Choice::Msgpack => Form::Msgpack,
            Choice::Codec(_) => Form::Codec,
        }
    }

    /// Returns the codec of a form that has one.
    pub(crate) fn codec(&self, form: Form) -> Option<&dyn Codec> {
        match (form, &self.0) {
            (Form::Codec, Choice::Codec(codec)) => Some(&**codec),
            (Form::JsonObject, _) => Some(&json_object::JsonObject),
            #[cfg(feature = "cbor")]
            (Form::Cbor, _) => Some(&cbor::Cbor),
            #[cfg(feature = "pickle")]
            (Form::Pickle, _) => Some(&pickle::Pickle),
            _ => None,
        }
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Choice::Text => formatter.write_str("Text"),
            #[cfg(feature = "msgpack")]
            Choice::Msgpack => formatter.write_str("Msgpack"),
            Choice::Codec(codec) => codec.fmt(formatter),
            Choice::Detect => formatter.write_str("Detect"),
        }
    }
}

/// Form of one connection's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    #[default]
    Text,
    #[cfg(feature = "msgpack")]
    Msgpack,
    /// The server's own.
    Codec,
    JsonObject,
    #[cfg(feature = "cbor")]
    Cbor,
    #[cfg(feature = "pickle")]
    Pickle,
}

impl Form {
    pub(crate) const COUNT: usize = Form::ALL.len();

    /// The names of all of them, in the order of their numbers.
    pub(crate) const NAMES: &[&str] = &[
        "text",
        #[cfg(feature = "msgpack")]
        "msgpack",
        "codec",
        "json_object",
        #[cfg(feature = "cbor")]
        "cbor",
        #[cfg(feature = "pickle")]
        "pickle",
    ];

    const ALL: &[Form] = &[
        Form::Text,
        #[cfg(feature = "msgpack")]
        Form::Msgpack,
        Form::Codec,
        Form::JsonObject,
        #[cfg(feature = "cbor")]
        Form::Cbor,
        #[cfg(feature = "pickle")]
        Form::Pickle,
    ];

    pub(crate) fn from(number: u8) -> Form {
        let mut all = Form::ALL.iter();
        let found = all.find(|form| **form as u8 == number);
        found.copied().unwrap_or_default()
    }

    /// Returns the encoding in which arguments are written for it.
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            #[cfg(feature = "msgpack")]
            Form::Msgpack => Encoding::Msgpack,
            _ => Encoding::Json,
        }
    }
}

/// Way of packets to one connection: its form, and the codec of that.
#[derive(Clone, Copy)]
pub(crate) struct Wire<'a> {
    pub(crate) form: Form,
    parser: &'a Parser,
}

impl<'a> Wire<'a> {
    pub(crate) fn new(parser: &'a Parser, form: Form) -> Wire<'a> {
        Wire { form, parser }
    }

    pub(crate) fn codec(self) -> Option<&'a dyn Codec> {
        self.parser.codec(self.form)
    }
}
