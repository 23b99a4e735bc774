//! Events and acknowledgements on their way out.

use crate::data::{Args, EncodedArgs, Encoding, Value};
use crate::engineio::frames::BinaryForm;
use crate::engineio::{Frames, Message, frames};
use crate::error::Error;
use crate::limits::OUTGOING_NAME_BYTES;
use crate::parser::{self, Form, PacketKind, Parser, Wire};
#[cfg(feature = "msgpack")]
use crate::protocol::socketio::msgpack;
use crate::protocol::socketio::{Kind, PacketParser as _, Text, TextPacket, is_reserved};
use crate::util::sync::assert_unlocked;
use serde::Serialize;

/// Returns data as it is sent, after a look at what every recipient takes.
pub(crate) fn encode(
    encoding: Encoding,
    event: &str,
    data: impl Serialize,
    max_attachments: usize,
) -> Result<EncodedArgs, Error> {
    if is_reserved(event) {
        return Err(Error::InvalidArgument(format!(
            "{event:?} is a name that the protocol keeps for itself"
        )));
    }
    if event.len() > OUTGOING_NAME_BYTES {
        return Err(Error::InvalidArgument(format!(
            "an event's name of {} bytes: the other side may refuse more than {OUTGOING_NAME_BYTES}",
            event.len()
        )));
    }
    let data = EncodedArgs::with(encoding, &data)?;
    data.check(max_attachments)?;
    Ok(data)
}

/// An event for several clients: encoded once for each form that one of them needs.
pub(crate) struct SharedEvent<'a> {
    parser: &'a Parser,
    namespace: &'a str,
    pub(crate) event: &'a str,
    id: Option<u64>,
    pub(crate) data: &'a EncodedArgs,
    forms: Vec<(Form, BinaryForm, Frames)>,
    /// Packets that were asked for, and their bytes.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl<'a> SharedEvent<'a> {
    pub(crate) fn new(
        parser: &'a Parser,
        namespace: &'a str,
        event: &'a str,
        id: Option<u64>,
        data: &'a EncodedArgs,
    ) -> SharedEvent<'a> {
        SharedEvent {
            parser,
            namespace,
            event,
            id,
            data,
            forms: Vec::with_capacity(1),
            packets: 0,
            bytes: 0,
        }
    }

    /// Returns the event as one client takes it, and counts it.
    ///
    /// # Errors
    /// [`Error::Encode`] if it cannot be written in that form.
    pub(crate) fn frames(&mut self, form: Form, bytes: BinaryForm) -> Result<&Frames, Error> {
        let find = |forms: &[(Form, BinaryForm, Frames)]| {
            forms.iter().position(|it| (it.0, it.1) == (form, bytes))
        };
        let at = match find(&self.forms) {
            Some(at) => at,
            None => {
                let wire = Wire::new(self.parser, form);
                let frames = event_frames(wire, self.namespace, self.event, self.id, self.data)?;
                let frames = match frames::with_bytes_as(bytes, &frames.0) {
                    Some(converted) => Frames(converted.into()),
                    None => frames,
                };
                self.forms.push((form, bytes, frames));
                self.forms.len() - 1
            }
        };
        let frames = &self.forms[at].2;
        self.packets += 1;
        self.bytes += frames.0.len() as u64;
        Ok(frames)
    }
}

/// Returns an event as everybody on a namespace gets it.
///
/// # Errors
/// [`Error::Encode`] if it cannot be written in that form.
pub(crate) fn event_frames(
    wire: Wire<'_>,
    namespace: &str,
    event: &str,
    id: Option<u64>,
    data: &EncodedArgs,
) -> Result<Frames, Error> {
    let mut buffer = Vec::with_capacity(128);
    write_event(wire, namespace, event, id, data, &mut buffer)?;
    Ok(Frames(buffer.into()))
}

/// Writes an event as frames; returns the length of the largest message in them.
pub(crate) fn write_event(
    wire: Wire<'_>,
    namespace: &str,
    event: &str,
    id: Option<u64>,
    data: &EncodedArgs,
    buffer: &mut Vec<u8>,
) -> Result<usize, Error> {
    let kinds = (Kind::Event, Kind::BinaryEvent);
    write(wire, kinds, namespace, id, Some(event), data, buffer)
}

/// Writes an acknowledgement as frames; returns the length of the largest message in them.
pub(crate) fn write_ack(
    wire: Wire<'_>,
    namespace: &str,
    id: u64,
    answer: &EncodedArgs,
    buffer: &mut Vec<u8>,
) -> Result<usize, Error> {
    let kinds = (Kind::Ack, Kind::BinaryAck);
    write(wire, kinds, namespace, Some(id), None, answer, buffer)
}

/// Returns a packet without arguments. Its data is JSON text, or nothing.
pub(crate) fn packet_frames(wire: Wire<'_>, kind: Kind, namespace: &str, data: &str) -> Frames {
    let packet = TextPacket {
        kind,
        namespace,
        id: None,
        attachments: 0,
        data,
    };
    if wire.form == Form::Text {
        return Frames::build(|out| Text::default().encode(&packet, out), &[]);
    }
    let mut buffer = Vec::new();
    // The data is of this crate, or was checked to be JSON.
    let data = Value::from_json(data).unwrap_or_default();
    if let Err(error) = write_value(wire, kind, namespace, data, &mut buffer) {
        log::error!(target: "socketio", "a packet was not sent: {error}");
    }
    Frames(buffer.into())
}

fn write_value(
    wire: Wire<'_>,
    kind: Kind,
    namespace: &str,
    data: Value,
    buffer: &mut Vec<u8>,
) -> Result<(), Error> {
    #[cfg(feature = "msgpack")]
    if wire.form == Form::Msgpack {
        let has_data = !data.is_null();
        let encoded = EncodedArgs::with(Encoding::Msgpack, &(data,))?;
        frames::append_binary(buffer, |out| {
            let write = |out: &mut Vec<u8>| out.extend_from_slice(&encoded.items);
            msgpack::encode(kind, namespace, None, has_data.then_some(write), out);
        });
        return Ok(());
    }
    let packet = parser::Packet::new(public_kind(kind), namespace, None, data);
    append_messages(wire, &packet, buffer).map(|_| ())
}

/// Writes a packet with arguments; of the two kinds the second is that with attachments.
fn write(
    wire: Wire<'_>,
    kinds: (Kind, Kind),
    namespace: &str,
    id: Option<u64>,
    event: Option<&str>,
    data: &EncodedArgs,
    buffer: &mut Vec<u8>,
) -> Result<usize, Error> {
    match wire.form {
        Form::Text => {
            let data = data.in_encoding(Encoding::Json)?;
            let attachments = data.attachments.len();
            let packet = TextPacket {
                kind: if attachments == 0 { kinds.0 } else { kinds.1 },
                namespace,
                id,
                attachments,
                data: "",
            };
            let text = frames::append_text(buffer, |out| {
                Text::default().encode(&packet, out);
                data.write_array(event, out);
            });
            frames::append_binaries(buffer, &data.attachments);
            let binaries = data.attachments.iter().map(|bytes| bytes.len());
            Ok(binaries.max().unwrap_or(0).max(text))
        }
        #[cfg(feature = "msgpack")]
        Form::Msgpack => {
            let data = data.in_encoding(Encoding::Msgpack)?;
            Ok(frames::append_binary(buffer, |out| {
                let write = |out: &mut Vec<u8>| data.write_array(event, out);
                msgpack::encode(kinds.0, namespace, id, Some(write), out);
            }))
        }
        _ => {
            let Args(mut items) = data.to_args()?;
            if let Some(event) = event {
                items.insert(0, event.into());
            }
            let kind = public_kind(kinds.0);
            let packet = parser::Packet::new(kind, namespace, id, Value::Array(items));
            append_messages(wire, &packet, buffer)
        }
    }
}

/// Appends what a codec makes of a packet; returns the length of the largest message.
fn append_messages(
    wire: Wire<'_>,
    packet: &parser::Packet,
    buffer: &mut Vec<u8>,
) -> Result<usize, Error> {
    let Some(codec) = wire.codec() else {
        return Err(Error::Encode("there is no parser of that form".into()));
    };
    let mut largest = 0;
    assert_unlocked();
    for message in codec.encode(packet)? {
        largest = largest.max(match &message {
            Message::Text(text) => {
                frames::append_text(buffer, |out| out.extend_from_slice(text.as_bytes()))
            }
            Message::Binary(bytes) => {
                frames::append_binaries(buffer, std::slice::from_ref(bytes));
                bytes.len()
            }
        });
    }
    Ok(largest)
}

fn public_kind(kind: Kind) -> PacketKind {
    match kind {
        Kind::Connect => PacketKind::Connect,
        Kind::Disconnect => PacketKind::Disconnect,
        Kind::Event | Kind::BinaryEvent => PacketKind::Event,
        Kind::Ack | Kind::BinaryAck => PacketKind::Ack,
        Kind::ConnectError => PacketKind::ConnectError,
    }
}
