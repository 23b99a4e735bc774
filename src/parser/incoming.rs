//! Packets of one connection as they come in, in whatever form.

use super::codec::{Decoder as CodecDecoder, Packet, PacketKind};
use super::{Choice, Form, Parser};
use crate::data::{Args, EncodedArgs, Value};
use crate::limits::Limits;
use crate::protocol::engineio::{Data, Revision};
#[cfg(feature = "msgpack")]
use crate::protocol::socketio::msgpack;
use crate::protocol::socketio::{
    Arrival, Body, DecoderSide, Dropped, IncomingPacket, Kind, PacketError, TextDecoder,
    is_reserved, json, split_query,
};
use crate::util::sync::assert_unlocked;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// Reads a connection's messages into packets.
pub(crate) struct PacketDecoder {
    state: DecoderState,
    revision: Revision,
}

enum DecoderState {
    Text(TextDecoder),
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
        side: DecoderSide,
        revision: Revision,
    ) -> PacketDecoder {
        let text = |limits| TextDecoder::new(limits, side, revision);
        let state = match &parser.0 {
            Choice::Text => DecoderState::Text(text(limits)),
            #[cfg(feature = "msgpack")]
            Choice::Msgpack => DecoderState::Msgpack(limits),
            Choice::Codec(codec) => {
                assert_unlocked();
                DecoderState::Codec(codec.decoder(), limits)
            }
            Choice::Detect if side == DecoderSide::Server && revision == Revision::V4 => {
                DecoderState::Undecided(limits)
            }
            Choice::Detect => DecoderState::Text(text(limits)),
        };
        PacketDecoder { state, revision }
    }

    /// Looks at the first message of a connection; returns its form, if it was not known.
    pub(crate) fn detect(&mut self, parser: &Parser, message: &Data<'_>) -> Option<Form> {
        let DecoderState::Undecided(limits) = &self.state else {
            return None;
        };
        let (form, limits) = (form_of(message), Arc::clone(limits));
        self.state = match (form, parser.codec(form)) {
            #[cfg(feature = "msgpack")]
            (Form::Msgpack, _) => DecoderState::Msgpack(limits),
            (_, Some(codec)) => DecoderState::Codec(codec.decoder(), limits),
            (_, None) => {
                DecoderState::Text(TextDecoder::new(limits, DecoderSide::Server, self.revision))
            }
        };
        Some(form)
    }

    /// Takes a message. `validate` says of a packet's kind and namespace whether it may come now.
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        message: Data<'a>,
        validate: impl Fn(Kind, &str) -> Result<(), PacketError>,
    ) -> Result<Option<Arrival<'a>>, PacketError> {
        let revision = self.revision;
        let arrival = match &mut self.state {
            DecoderState::Text(decoder) => return decoder.receive(now, message, validate),
            DecoderState::Undecided(_) => return Err(PacketError::Packet),
            #[cfg(feature = "msgpack")]
            DecoderState::Msgpack(limits) => match message {
                Data::Text(_) => return Err(PacketError::Packet),
                Data::Binary(Cow::Borrowed(bytes)) => msgpack::decode(bytes, limits, revision)?,
                Data::Binary(Cow::Owned(bytes)) => {
                    msgpack::decode(&bytes, limits, revision)?.into_owned()
                }
            },
            DecoderState::Codec(decoder, limits) => match decoder.decode(message.into()) {
                Ok(Some(packet)) => check(packet, limits, revision)?,
                Ok(None) => return Ok(None),
                Err(error) => {
                    log::debug!(target: "socketio", "not read by its parser: {error}");
                    return Err(PacketError::Packet);
                }
            },
        };
        match &arrival {
            Arrival::Packet(packet) => validate(packet.kind, &packet.namespace)?,
            Arrival::Dropped(dropped) => validate(dropped.kind, &dropped.namespace)?,
        }
        Ok(Some(arrival))
    }

    fn text(&self) -> Option<&TextDecoder> {
        match &self.state {
            DecoderState::Text(decoder) => Some(decoder),
            _ => None,
        }
    }

    /// Returns the bytes of an unfinished packet that it keeps.
    pub(crate) fn kept(&self) -> usize {
        self.text().map_or(0, TextDecoder::kept)
    }

    /// Returns when something more must have come of the attachments that are missing.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.text().and_then(TextDecoder::next_timeout)
    }

    /// Notes that something has come from the peer, if only a part of an attachment: only silence
    /// counts.
    pub(crate) fn on_traffic(&mut self, now: Instant) {
        if let DecoderState::Text(decoder) = &mut self.state {
            decoder.on_traffic(now);
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) -> Result<(), PacketError> {
        match &mut self.state {
            DecoderState::Text(decoder) => decoder.on_timeout(now),
            _ => Ok(()),
        }
    }
}

/// Returns the form of a connection's first message. One that is not known is left to the decoder
/// of text, which refuses it.
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
fn check<'a>(
    packet: Packet,
    limits: &Limits,
    revision: Revision,
) -> Result<Arrival<'a>, PacketError> {
    let kind = match packet.kind {
        PacketKind::Connect => Kind::Connect,
        PacketKind::Disconnect => Kind::Disconnect,
        PacketKind::Event => Kind::Event,
        PacketKind::Ack => Kind::Ack,
        PacketKind::ConnectError => Kind::ConnectError,
    };
    let (mut namespace, id) = (Cow::Owned(packet.namespace), packet.id);
    let mut query = None;
    if (kind, revision) == (Kind::Connect, Revision::V3) {
        let (name, text) = split_query(namespace);
        (namespace, query) = (name, Some(text));
    }
    if namespace.len() > limits.name_bytes && kind != Kind::Connect {
        return Err(PacketError::Namespace);
    }
    let mut over = (namespace.len() > limits.name_bytes).then_some(PacketError::Namespace);
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
        (Kind::ConnectError, data) if revision == Revision::V3 => encode(&(data,)),
        _ => return Err(PacketError::Payload),
    }?;
    if let Some(name) = &name {
        if is_reserved(name) {
            return Err(PacketError::ReservedEvent);
        }
        if name.len() > limits.name_bytes {
            over = Some(PacketError::Name);
        }
    }
    let attached: usize = encoded.attachments.iter().map(|bytes| bytes.len()).sum();
    if encoded.attachments.len() > limits.attachments {
        over = Some(PacketError::Attachments);
    } else if attached > limits.attachments_bytes {
        over = Some(PacketError::AttachmentsTooLarge);
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
        over = Some(PacketError::Depth);
    }
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
                Cow::Owned(query.unwrap_or_else(|| String::from_utf8(text).unwrap_or_default())),
                encoded.attachments,
            ),
        }),
    })
}

fn encode(data: &impl serde::Serialize) -> Result<EncodedArgs, PacketError> {
    EncodedArgs::new(data).map_err(|_| PacketError::Packet)
}

fn event_name(items: &[Value]) -> Result<Option<String>, PacketError> {
    match items.first() {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(PacketError::Payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        parser: &Parser,
        message: Data<'_>,
        side: DecoderSide,
    ) -> (Kind, String, Option<String>) {
        let limits = Arc::new(Limits::default());
        let mut decoder = PacketDecoder::new(parser, limits, side, Revision::V3);
        match decoder.receive(Instant::now(), message, |_, _| Ok(())) {
            Ok(Some(Arrival::Packet(packet))) => {
                let json = match packet.body {
                    Body::Json(text, _) => Some(text.into_owned()),
                    #[cfg(feature = "msgpack")]
                    Body::Msgpack(_) => None,
                };
                (packet.kind, packet.namespace.into_owned(), json)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_namespace_of_the_old_protocol_comes_with_a_query_in_every_form() {
        let json = r#"{"type":0,"nsp":"/chat?a=b%20c"}"#;
        let expected = (
            Kind::Connect,
            "/chat".to_owned(),
            Some(r#"{"a":"b c"}"#.to_owned()),
        );
        let server = DecoderSide::Server;
        let text = Data::Text("0/chat?a=b%20c");
        assert_eq!(read(&Parser::text(), text, server), expected);
        let object = read(&Parser::json_object(), Data::Text(json), server);
        assert_eq!(object, expected);
        #[cfg(feature = "msgpack")]
        for is_owned in [false, true] {
            let bytes = b"\x82\xa4type\x00\xa3nsp\xad/chat?a=b%20c";
            let bytes = match is_owned {
                true => Cow::Owned(bytes.to_vec()),
                false => Cow::Borrowed(&bytes[..]),
            };
            let packet = read(&Parser::msgpack(), Data::Binary(bytes), server);
            assert_eq!(packet, expected);
        }
    }

    #[test]
    fn a_refusal_of_the_old_protocol_may_be_any_value_in_every_form() {
        let client = DecoderSide::Client;
        let kind = |parser: Parser, data: Data<'_>| read(&parser, data, client).0;
        let text = Data::Text("4[7]");
        assert_eq!(kind(Parser::text(), text), Kind::ConnectError);
        let object = Data::Text(r#"{"type":4,"nsp":"/","data":[7]}"#);
        assert_eq!(kind(Parser::json_object(), object), Kind::ConnectError);
        #[cfg(feature = "msgpack")]
        {
            let bytes = Data::Binary(b"\x83\xa4type\x04\xa3nsp\xa1/\xa4data\x91\x07"[..].into());
            assert_eq!(kind(Parser::msgpack(), bytes), Kind::ConnectError);
        }
    }
}
