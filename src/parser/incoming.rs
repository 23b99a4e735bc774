//! What one connection says, in whatever form.

use super::codec::{Decoder as CodecDecoder, Packet, PacketKind};
use super::{Choice, Form, Parser};
use crate::data::{Args, EncodedArgs, Value};
use crate::limits::Limits;
use crate::protocol::engineio::{Data, Revision};
#[cfg(feature = "msgpack")]
use crate::protocol::socketio::msgpack;
use crate::protocol::socketio::{
    Arrival, Body, Decoder, Dropped, IncomingPacket, Invalid, Kind, Side, is_reserved, json,
};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// Reads a connection's messages into packets.
pub(crate) struct PacketDecoder(State);

enum State {
    Text(Decoder),
    #[cfg(feature = "msgpack")]
    Msgpack(Arc<Limits>),
    Codec(Box<dyn CodecDecoder>, Arc<Limits>),
    /// Nothing has come yet: see [`PacketDecoder::detect`].
    Undecided(Arc<Limits>),
}

impl PacketDecoder {
    pub(crate) fn new(
        parser: &Parser,
        limits: Arc<Limits>,
        side: Side,
        revision: Revision,
    ) -> PacketDecoder {
        let text = |limits| Decoder::new(limits, side, revision);
        PacketDecoder(match &parser.0 {
            Choice::Text => State::Text(text(limits)),
            #[cfg(feature = "msgpack")]
            Choice::Msgpack => State::Msgpack(limits),
            Choice::Codec(codec) => State::Codec(codec.decoder(), limits),
            Choice::Detect if side == Side::Server && revision == Revision::V4 => {
                State::Undecided(limits)
            }
            Choice::Detect => State::Text(text(limits)),
        })
    }

    /// Looks at the first message of a connection; returns its form, if it was not known.
    pub(crate) fn detect(&mut self, parser: &Parser, message: &Data<'_>) -> Option<Form> {
        let State::Undecided(limits) = &self.0 else {
            return None;
        };
        let (form, limits) = (form_of(message), Arc::clone(limits));
        self.0 = match (form, parser.codec(form)) {
            #[cfg(feature = "msgpack")]
            (Form::Msgpack, _) => State::Msgpack(limits),
            (_, Some(codec)) => State::Codec(codec.decoder(), limits),
            (_, None) => State::Text(Decoder::new(limits, Side::Server, Revision::V4)),
        };
        Some(form)
    }

    /// Takes a message. `admits` says of a packet's kind and namespace whether it may come now.
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        message: Data<'a>,
        admits: impl Fn(Kind, &str) -> Result<(), Invalid>,
    ) -> Result<Option<Arrival<'a>>, Invalid> {
        let arrival = match &mut self.0 {
            State::Text(decoder) => return decoder.receive(now, message, admits),
            State::Undecided(_) => return Err(Invalid::Packet),
            #[cfg(feature = "msgpack")]
            State::Msgpack(limits) => match message {
                Data::Text(_) => return Err(Invalid::Packet),
                Data::Binary(Cow::Borrowed(bytes)) => msgpack::decode(bytes, limits)?,
                Data::Binary(Cow::Owned(bytes)) => msgpack::decode(&bytes, limits)?.into_owned(),
            },
            State::Codec(decoder, limits) => match decoder.decode(message.into()) {
                Ok(Some(packet)) => check(packet, limits)?,
                Ok(None) => return Ok(None),
                Err(error) => {
                    log::debug!(target: "socketio", "not read by its parser: {error}");
                    return Err(Invalid::Packet);
                }
            },
        };
        match &arrival {
            Arrival::Packet(packet) => admits(packet.kind, &packet.namespace)?,
            Arrival::Dropped(dropped) => admits(dropped.kind, &dropped.namespace)?,
        }
        Ok(Some(arrival))
    }

    fn text(&self) -> Option<&Decoder> {
        match &self.0 {
            State::Text(decoder) => Some(decoder),
            _ => None,
        }
    }

    /// Returns the bytes of an unfinished packet that it keeps.
    pub(crate) fn kept(&self) -> usize {
        self.text().map_or(0, Decoder::kept)
    }

    /// Returns when something more must have come of the attachments that are missing.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.text().and_then(Decoder::next_timeout)
    }

    /// Something has come from the peer, if only a part of an attachment: only silence counts.
    pub(crate) fn on_traffic(&mut self, now: Instant) {
        if let State::Text(decoder) = &mut self.0 {
            decoder.on_traffic(now);
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) -> Result<(), Invalid> {
        match &mut self.0 {
            State::Text(decoder) => decoder.on_timeout(now),
            _ => Ok(()),
        }
    }
}

/// Returns the form of a connection's first message. One that is not known is left to the decoder of
/// text, which refuses it.
fn form_of(message: &Data<'_>) -> Form {
    match message {
        Data::Text(text) if text.starts_with('{') => Form::JsonObject,
        Data::Text(_) => Form::Text,
        Data::Binary(bytes) => match bytes.first() {
            // A map of nothing is no packet, but the first byte of each pickle.
            #[cfg(feature = "pickle")]
            Some(0x80) => Form::Pickle,
            #[cfg(feature = "msgpack")]
            Some(0x81..=0x8f | 0xde | 0xdf) => Form::Msgpack,
            #[cfg(feature = "cbor")]
            Some(0xa0..=0xbf) => Form::Cbor,
            _ => Form::Text,
        },
    }
}

/// Checks a packet of a codec as those of text are checked.
fn check<'a>(packet: Packet, limits: &Limits) -> Result<Arrival<'a>, Invalid> {
    let kind = match packet.kind {
        PacketKind::Connect => Kind::Connect,
        PacketKind::Disconnect => Kind::Disconnect,
        PacketKind::Event => Kind::Event,
        PacketKind::Ack => Kind::Ack,
        PacketKind::ConnectError => Kind::ConnectError,
    };
    let (namespace, id) = (packet.namespace, packet.id);
    if namespace.len() > limits.name_bytes && kind != Kind::Connect {
        return Err(Invalid::Namespace);
    }
    let mut over = (namespace.len() > limits.name_bytes).then_some(Invalid::Namespace);
    let mut name = None;
    let encoded = match (kind, packet.data) {
        (Kind::Event | Kind::Ack, Value::Array(items)) => {
            if kind == Kind::Event {
                name = event_name(&items)?;
            }
            encode(&Args(items))
        }
        (Kind::Connect | Kind::Disconnect, Value::Null) => Ok(EncodedArgs::default()),
        (Kind::Connect, data @ Value::Object(_))
        | (Kind::ConnectError, data @ (Value::Object(_) | Value::String(_))) => encode(&(data,)),
        _ => return Err(Invalid::Payload),
    }?;
    if let Some(name) = &name {
        if is_reserved(name) {
            return Err(Invalid::ReservedEvent);
        }
        if name.len() > limits.name_bytes {
            over = Some(Invalid::Name);
        }
    }
    let attached: usize = encoded.attachments.iter().map(|bytes| bytes.len()).sum();
    if encoded.attachments.len() > limits.attachments {
        over = Some(Invalid::Attachments);
    } else if attached > limits.attachments_bytes {
        over = Some(Invalid::AttachmentsTooLarge);
    }
    let text = match kind {
        Kind::Event | Kind::Ack => {
            let mut array = Vec::new();
            encoded.write_array(None, &mut array);
            array
        }
        _ => encoded.items,
    };
    if json::check_depth(&text, limits.json_depth).is_err() {
        over = Some(Invalid::Depth);
    }
    let namespace = Cow::Owned(namespace);
    Ok(match over {
        Some(why) => Arrival::Dropped(Dropped {
            kind,
            namespace,
            id,
            why,
        }),
        None => Arrival::Packet(IncomingPacket {
            kind,
            namespace,
            id,
            name: name.map(Cow::Owned),
            body: Body::Json(
                // JSON that was just written is text.
                Cow::Owned(String::from_utf8(text).unwrap_or_default()),
                encoded.attachments,
            ),
        }),
    })
}

fn encode(data: &impl serde::Serialize) -> Result<EncodedArgs, Invalid> {
    EncodedArgs::new(data).map_err(|_| Invalid::Packet)
}

fn event_name(items: &[Value]) -> Result<Option<String>, Invalid> {
    match items.first() {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(Invalid::Payload),
    }
}
