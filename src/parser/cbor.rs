//! Packets in CBOR: one map each.

use super::MAX_VALUES;
use super::codec::{Codec, DecodeError, Decoder, Packet};
use crate::data::{Binary, Object, Value};
use crate::engineio::Message;
use crate::error::Error;
use ciborium::value::{Integer, Value as Tree};
use ciborium_ll::Header;

/// Levels of lists and maps that are read; packets are checked for fewer.
const MAX_DEPTH: usize = 256;

#[derive(Debug)]
pub(super) struct Cbor;

impl Codec for Cbor {
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, Error> {
        let mut out = Vec::new();
        let value = to_cbor(&packet.to_object());
        ciborium::into_writer(&value, &mut out).map_err(|error| Error::Encode(error.into()))?;
        Ok(vec![out.into()])
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Cbor)
    }
}

impl Decoder for Cbor {
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, DecodeError> {
        let Message::Binary(bytes) = message else {
            return Err("text, where packets are bytes".into());
        };
        check_count(&bytes)?;
        let mut rest = &bytes[..];
        let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)?;
        if !rest.is_empty() {
            return Err("bytes behind the packet".into());
        }
        Packet::from_object(from_cbor(value)?).map(Some)
    }
}

/// Refuses a packet of more values than may be, before any is built.
fn check_count(bytes: &[u8]) -> Result<(), DecodeError> {
    let (mut rest, mut values) = (bytes, 0);
    while !rest.is_empty() {
        let mut decoder = ciborium_ll::Decoder::from(rest);
        let Ok(header) = decoder.pull() else {
            // What is wrong is said by who reads it.
            return Ok(());
        };
        values += 1;
        if values > MAX_VALUES {
            return Err("too many values".into());
        }
        let content = match header {
            Header::Bytes(Some(length)) | Header::Text(Some(length)) => length,
            _ => 0,
        };
        let end = decoder.offset().saturating_add(content);
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(())
}

fn to_cbor(value: &Value) -> Tree {
    match value {
        Value::Null => Tree::Null,
        Value::Bool(value) => Tree::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Tree::Integer(number.into()),
            (_, Some(number)) => Tree::Integer(number.into()),
            _ => Tree::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Tree::Text(text.clone()),
        Value::Binary(bytes) => Tree::Bytes(bytes.to_vec()),
        Value::Array(items) => Tree::Array(items.iter().map(to_cbor).collect()),
        Value::Object(entries) => {
            let entries = entries.iter();
            Tree::Map(
                entries
                    .map(|(key, value)| (Tree::Text(key.clone()), to_cbor(value)))
                    .collect(),
            )
        }
    }
}

fn from_cbor(value: Tree) -> Result<Value, DecodeError> {
    Ok(match value {
        Tree::Null => Value::Null,
        Tree::Bool(value) => value.into(),
        Tree::Integer(number) => integer(number)?,
        Tree::Float(number) => number.into(),
        Tree::Text(text) => text.into(),
        Tree::Bytes(bytes) => Binary::from(bytes).into(),
        Tree::Array(items) => {
            let items = items.into_iter().map(from_cbor);
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Tree::Map(entries) => {
            let mut object = Object::new();
            for (key, value) in entries {
                object.insert(key_text(key)?, from_cbor(value)?);
            }
            Value::Object(object)
        }
        // RFC 8949, 3.4: text, or seconds since 1970, as a time. Of other tags, what they mark.
        Tree::Tag(2 | 3, _) => return Err("an integer of more than 64 bits".into()),
        Tree::Tag(_, value) => from_cbor(*value)?,
        _ => return Err("a value of an unknown kind".into()),
    })
}

fn integer(number: Integer) -> Result<Value, DecodeError> {
    match (u64::try_from(number), i64::try_from(number)) {
        (Ok(number), _) => Ok(number.into()),
        (_, Ok(number)) => Ok(number.into()),
        _ => Err("an integer of more than 64 bits".into()),
    }
}

fn key_text(key: Tree) -> Result<String, DecodeError> {
    match key {
        Tree::Text(text) => Ok(text),
        Tree::Integer(number) => Ok(i128::from(number).to_string()),
        Tree::Bool(value) => Ok(value.to_string()),
        _ => Err("a key that is no text".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::PacketKind;
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
        Cbor.decode(Message::Binary(bytes.to_vec().into()))
    }

    #[test]
    fn packets_of_cbor2_are_read_and_written() {
        let event = b"\xa3\x64type\x02\x64data\x84\x61e\x01\x42\x01\x02\xa1\x61a\xf6\x63nsp\x61/";
        let packet = decode(event).unwrap().unwrap();
        let data = Value::Array(vec![
            "e".into(),
            1.into(),
            Binary::from([1, 2]).into(),
            Value::from_json(r#"{"a":null}"#).unwrap(),
        ]);
        assert_eq!(packet, Packet::new(PacketKind::Event, "/", None, data));
        assert_eq!(Cbor.encode(&packet).unwrap(), [event.to_vec().into()]);
        let gone = decode(b"\xa3\x64type\x01\x64data\xf6\x63nsp\x63/ns")
            .unwrap()
            .unwrap();
        assert_eq!(
            gone,
            Packet::new(PacketKind::Disconnect, "/ns", None, Value::Null)
        );
    }

    #[test]
    fn other_forms_of_values_are_read() {
        let data = |value: &[u8]| {
            let packet = [b"\xa3\x64type\x02\x63nsp\x61/\x64data\x82\x61e", value].concat();
            decode(&packet).map(|packet| packet.unwrap().data[1].clone())
        };
        assert_eq!(data(b"\xf7").unwrap(), Value::Null);
        assert_eq!(data(b"\xf9\x3e\x00").unwrap(), Value::from(1.5));
        assert_eq!(data(b"\xfa\x3f\xc0\x00\x00").unwrap(), Value::from(1.5));
        assert_eq!(
            data(b"\x9f\x01\x02\xff").unwrap(),
            Value::Array(vec![1.into(), 2.into()])
        );
        assert_eq!(data(b"\xc0\x64time").unwrap(), Value::from("time"));
        assert_eq!(
            data(b"\xd9\x01\x02\x81\x01").unwrap(),
            Value::Array(vec![1.into()])
        );
        assert_eq!(data(b"\xa1\x01\x02").unwrap()["1"], Value::from(2));
        assert!(data(b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00").is_err());
        assert!(data(b"\x01\x02").is_err(), "bytes behind it");
        assert!(data(b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(data(&[0x81; 100_000]).is_err());
    }

    #[test]
    fn spoilt_packets_are_read_or_refused() {
        const PACKETS: &[&[u8]] = &[
            b"\xa3\x64type\x02\x64data\x84\x61e\x01\x42\x01\x02\xa1\x61a\xf6\x63nsp\x61/",
            b"\xa4\x64type\x03\x64data\x81\xfb\x3f\xf8\0\0\0\0\0\0\x63nsp\x61/\x62id\x18\x18",
        ];
        crate::util::fuzz::run(|source| {
            let _ = decode(&source.mutate(PACKETS));
        });
    }
}
