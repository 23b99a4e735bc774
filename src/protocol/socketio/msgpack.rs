//! Packets in MessagePack: one map each, as `socket.io-msgpack-parser` and python-socketio write
//! them.
//!
//! A packet is walked through once, by rmp's markers, which finds its parts and checks it. Data of
//! an event stays in the bytes until the handler's types are known. What serde would not read as
//! JSON's types (extensions, keys that are no text, text that is no UTF-8) is rewritten first,
//! which is rare.

use super::body::Body;
use super::decoder::{Arrival, Dropped, IncomingPacket};
use super::packet::{Kind, PacketError};
use super::{ROOT, is_reserved, split_query};
use crate::limits::Limits;
use crate::protocol::engineio::Revision;
use crate::util::time::iso_8601;
use rmp::{Marker, encode};
use std::borrow::Cow;

/// Levels of nested data beyond which a packet is not even skipped.
const MAX_SKIPPED_DEPTH: usize = 512;
/// The largest acknowledgement id: what a JavaScript number holds exactly.
const MAX_ID: u64 = 1 << 53;

/// Reads a packet, and checks all that can be checked without what came before.
pub(crate) fn decode<'a>(
    message: &'a [u8],
    limits: &Limits,
    revision: Revision,
) -> Result<Arrival<'a>, PacketError> {
    let mut reader = Reader::new(message);
    let fields = MsgpackFields::read(&mut reader)?;
    if !reader.rest.is_empty() {
        return Err(PacketError::Packet);
    }
    let (kind, id) = (fields.kind.ok_or(PacketError::Kind)?, fields.id);
    let namespace = fields.namespace.ok_or(PacketError::Payload)?;
    let (namespace, query) = match (kind, revision) {
        (Kind::Connect, Revision::V3) => {
            let (namespace, query) = split_query(namespace);
            (namespace, Some(query))
        }
        _ => (namespace, None),
    };
    let over = |why| {
        Ok(Arrival::Dropped(Dropped {
            kind,
            namespace: namespace.clone(),
            id,
            why,
        }))
    };
    if namespace.len() > limits.name_bytes {
        return match kind {
            Kind::Connect => over(PacketError::Namespace),
            _ => Err(PacketError::Namespace),
        };
    }
    let data = fields.data.unwrap_or_default();
    if let Some(why) = data.seen.limit_exceeded(limits) {
        return over(why);
    }
    let mut body: Cow<'a, [u8]> = Cow::Borrowed(data.bytes);
    if data.seen.is_foreign {
        let mut rewritten = Vec::with_capacity(data.bytes.len());
        rewrite(&mut Reader::new(data.bytes), &mut rewritten)?;
        body = Cow::Owned(rewritten);
    }
    let shape = Shape::of(&body);
    let mut name = None;
    match kind {
        Kind::Connect if shape == Shape::Nothing => body = Cow::Borrowed(&[]),
        Kind::Connect if shape == Shape::Map => {}
        // What python adds says nothing.
        Kind::Disconnect => body = Cow::Borrowed(&[]),
        Kind::ConnectError
            if matches!(shape, Shape::Map | Shape::Text) || revision == Revision::V3 => {}
        Kind::Ack if shape == Shape::Array => {}
        Kind::Event if shape == Shape::Array => {
            name = match &body {
                Cow::Borrowed(bytes) => event_name(bytes)?,
                Cow::Owned(bytes) => event_name(bytes)?.map(|name| Cow::Owned(name.into_owned())),
            };
            if let Some(name) = &name {
                if name.len() > limits.name_bytes {
                    return over(PacketError::Name);
                }
                if is_reserved(name) {
                    return Err(PacketError::ReservedEvent);
                }
            }
        }
        _ => return Err(PacketError::Payload),
    }
    Ok(Arrival::Packet(IncomingPacket {
        kind,
        namespace,
        id,
        name,
        body: match query {
            Some(query) => Body::Json(Cow::Owned(query), Vec::new()),
            None => Body::Msgpack(body),
        },
    }))
}

/// Shape of a packet's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Nothing,
    Map,
    Text,
    Array,
    Other,
}

impl Shape {
    fn of(data: &[u8]) -> Shape {
        match data.first().map(|byte| Marker::from_u8(*byte)) {
            None | Some(Marker::Null) => Shape::Nothing,
            Some(Marker::FixMap(_) | Marker::Map16 | Marker::Map32) => Shape::Map,
            Some(Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32) => Shape::Text,
            Some(Marker::FixArray(_) | Marker::Array16 | Marker::Array32) => Shape::Array,
            Some(_) => Shape::Other,
        }
    }
}

/// Returns the name that an array of arguments begins with: text, or a number, as the reference
/// implementation allows.
fn event_name(array: &[u8]) -> Result<Option<Cow<'_, str>>, PacketError> {
    let mut reader = Reader::new(array);
    let MsgpackItem::Array(length) = reader.item()? else {
        return Err(PacketError::Payload);
    };
    if length == 0 {
        return Ok(None);
    }
    match reader.item()? {
        MsgpackItem::Text(text) => Ok(Some(String::from_utf8_lossy(text))),
        MsgpackItem::Number(number) => Ok(Some(Cow::Owned(number.to_string()))),
        MsgpackItem::Float(number) => Ok(Some(Cow::Owned(number.to_string()))),
        _ => Err(PacketError::Payload),
    }
}

/// The parts of a packet that count. Of those that come twice the last one does.
#[derive(Default)]
struct MsgpackFields<'a> {
    kind: Option<Kind>,
    namespace: Option<Cow<'a, str>>,
    id: Option<u64>,
    data: Option<SkippedValue<'a>>,
}

/// A value that was skipped.
#[derive(Default)]
struct SkippedValue<'a> {
    bytes: &'a [u8],
    seen: Seen,
}

/// Contents of a value.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    depth: usize,
    binaries: usize,
    binary_bytes: usize,
    /// Something that has to be rewritten.
    is_foreign: bool,
}

impl Seen {
    /// Returns what there is too much of.
    fn limit_exceeded(&self, limits: &Limits) -> Option<PacketError> {
        if self.depth > limits.json_depth {
            Some(PacketError::Depth)
        } else if self.binaries > limits.attachments {
            Some(PacketError::Attachments)
        } else if self.binary_bytes > limits.attachments_bytes {
            Some(PacketError::AttachmentsTooLarge)
        } else {
            None
        }
    }
}

impl<'a> MsgpackFields<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<MsgpackFields<'a>, PacketError> {
        let MsgpackItem::Map(length) = reader.item()? else {
            return Err(PacketError::Packet);
        };
        let mut fields = MsgpackFields::default();
        for _ in 0..length {
            let MsgpackItem::Text(key) = reader.item()? else {
                return Err(PacketError::Packet);
            };
            match key {
                b"type" => fields.kind = Some(kind(reader.item()?)?),
                b"nsp" => {
                    fields.namespace = Some(match reader.item()? {
                        MsgpackItem::Text(name) => String::from_utf8_lossy(name),
                        MsgpackItem::Null => Cow::Borrowed(ROOT),
                        _ => return Err(PacketError::Payload),
                    });
                }
                b"id" => {
                    fields.id = match reader.item()? {
                        MsgpackItem::Null => None,
                        MsgpackItem::Number(id) => {
                            let id = u64::try_from(id).ok().filter(|id| *id <= MAX_ID);
                            Some(id.ok_or(PacketError::Id)?)
                        }
                        MsgpackItem::Float(id)
                            if id.fract() == 0.0 && (0.0..=MAX_ID as f64).contains(&id) =>
                        {
                            Some(id as u64)
                        }
                        _ => return Err(PacketError::Id),
                    };
                }
                b"data" => {
                    let (before, mut seen) = (reader.rest, Seen::default());
                    reader.skip(0, &mut seen)?;
                    let bytes = &before[..before.len() - reader.rest.len()];
                    fields.data = Some(SkippedValue { bytes, seen });
                }
                _ => reader.skip(0, &mut Seen::default())?,
            }
        }
        Ok(fields)
    }
}

fn kind(item: MsgpackItem<'_>) -> Result<Kind, PacketError> {
    let number = match item {
        MsgpackItem::Number(number) => number,
        MsgpackItem::Float(number) if number.fract() == 0.0 => number as i128,
        _ => return Err(PacketError::Kind),
    };
    match number {
        0 => Ok(Kind::Connect),
        1 => Ok(Kind::Disconnect),
        2 => Ok(Kind::Event),
        3 => Ok(Kind::Ack),
        4 => Ok(Kind::ConnectError),
        _ => Err(PacketError::Kind),
    }
}

/// A value, or the head of one that holds others.
enum MsgpackItem<'a> {
    Null,
    Bool(bool),
    Number(i128),
    Float(f64),
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Array(usize),
    Map(usize),
    Extension(i8, &'a [u8]),
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PacketError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(PacketError::Packet)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a number of so many bytes.
    fn number(&mut self, length: usize) -> Result<u64, PacketError> {
        let bytes = self.take(length)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize, PacketError> {
        usize::try_from(self.number(bytes)?).map_err(|_| PacketError::Packet)
    }

    fn signed(&mut self, length: usize) -> Result<i128, PacketError> {
        let unused = 64 - 8 * length as u32;
        Ok(i128::from(
            (self.number(length)? << unused) as i64 >> unused,
        ))
    }

    fn text(&mut self, length: usize) -> Result<MsgpackItem<'a>, PacketError> {
        self.take(length).map(MsgpackItem::Text)
    }

    fn binary(&mut self, length: usize) -> Result<MsgpackItem<'a>, PacketError> {
        self.take(length).map(MsgpackItem::Binary)
    }

    fn extension(&mut self, length: usize) -> Result<MsgpackItem<'a>, PacketError> {
        let kind = self.take(1)?[0] as i8;
        Ok(MsgpackItem::Extension(kind, self.take(length)?))
    }

    fn item(&mut self) -> Result<MsgpackItem<'a>, PacketError> {
        let marker = Marker::from_u8(self.take(1)?[0]);
        Ok(match marker {
            Marker::FixPos(number) => MsgpackItem::Number(i128::from(number)),
            Marker::FixNeg(number) => MsgpackItem::Number(i128::from(number)),
            Marker::Null => MsgpackItem::Null,
            Marker::True => MsgpackItem::Bool(true),
            Marker::False => MsgpackItem::Bool(false),
            Marker::U8 => MsgpackItem::Number(i128::from(self.number(1)?)),
            Marker::U16 => MsgpackItem::Number(i128::from(self.number(2)?)),
            Marker::U32 => MsgpackItem::Number(i128::from(self.number(4)?)),
            Marker::U64 => MsgpackItem::Number(i128::from(self.number(8)?)),
            Marker::I8 => MsgpackItem::Number(self.signed(1)?),
            Marker::I16 => MsgpackItem::Number(self.signed(2)?),
            Marker::I32 => MsgpackItem::Number(self.signed(4)?),
            Marker::I64 => MsgpackItem::Number(self.signed(8)?),
            Marker::F32 => MsgpackItem::Float(f64::from(f32::from_bits(self.number(4)? as u32))),
            Marker::F64 => MsgpackItem::Float(f64::from_bits(self.number(8)?)),
            Marker::FixStr(length) => self.text(usize::from(length))?,
            Marker::Str8 => self.length(1).and_then(|length| self.text(length))?,
            Marker::Str16 => self.length(2).and_then(|length| self.text(length))?,
            Marker::Str32 => self.length(4).and_then(|length| self.text(length))?,
            Marker::Bin8 => self.length(1).and_then(|length| self.binary(length))?,
            Marker::Bin16 => self.length(2).and_then(|length| self.binary(length))?,
            Marker::Bin32 => self.length(4).and_then(|length| self.binary(length))?,
            Marker::FixArray(length) => MsgpackItem::Array(usize::from(length)),
            Marker::Array16 => MsgpackItem::Array(self.length(2)?),
            Marker::Array32 => MsgpackItem::Array(self.length(4)?),
            Marker::FixMap(length) => MsgpackItem::Map(usize::from(length)),
            Marker::Map16 => MsgpackItem::Map(self.length(2)?),
            Marker::Map32 => MsgpackItem::Map(self.length(4)?),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.length(1).and_then(|length| self.extension(length))?,
            Marker::Ext16 => self.length(2).and_then(|length| self.extension(length))?,
            Marker::Ext32 => self.length(4).and_then(|length| self.extension(length))?,
            Marker::Reserved => return Err(PacketError::Packet),
        })
    }

    /// Skips a value that is nested so deeply, and notes what it holds. A length that is announced
    /// costs nothing: each item needs a byte that is there.
    fn skip(&mut self, depth: usize, seen: &mut Seen) -> Result<(), PacketError> {
        let (count, is_map) = match self.item()? {
            MsgpackItem::Null
            | MsgpackItem::Bool(_)
            | MsgpackItem::Number(_)
            | MsgpackItem::Float(_) => return Ok(()),
            MsgpackItem::Text(text) => {
                seen.is_foreign |= std::str::from_utf8(text).is_err();
                return Ok(());
            }
            MsgpackItem::Binary(bytes) => {
                seen.binaries += 1;
                seen.binary_bytes += bytes.len();
                return Ok(());
            }
            MsgpackItem::Extension(_, bytes) => {
                seen.binaries += 1;
                seen.binary_bytes += bytes.len();
                seen.is_foreign = true;
                return Ok(());
            }
            MsgpackItem::Array(count) => (count, false),
            MsgpackItem::Map(count) => (count, true),
        };
        let depth = depth + 1;
        seen.depth = seen.depth.max(depth);
        if depth > MAX_SKIPPED_DEPTH {
            return Err(PacketError::Depth);
        }
        for _ in 0..count {
            if is_map {
                let is_text = self.rest.first().is_some_and(|byte| {
                    let marker = Marker::from_u8(*byte);
                    matches!(
                        marker,
                        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32
                    )
                });
                seen.is_foreign |= !is_text;
                self.skip(depth, seen)?;
            }
            self.skip(depth, seen)?;
        }
        Ok(())
    }
}

/// Returns whether values, one after the other, are nested no deeper than that.
pub(crate) fn is_shallow(values: &[u8], depth: usize) -> bool {
    let (mut reader, mut seen) = (Reader::new(values), Seen::default());
    while !reader.rest.is_empty() {
        if reader.skip(0, &mut seen).is_err() {
            return false;
        }
    }
    seen.depth <= depth
}

/// Copies a value, with what only MessagePack has as something that JSON has too.
fn rewrite(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), PacketError> {
    let before = reader.rest;
    match reader.item()? {
        MsgpackItem::Null
        | MsgpackItem::Bool(_)
        | MsgpackItem::Number(_)
        | MsgpackItem::Float(_)
        | MsgpackItem::Binary(_) => {
            out.extend_from_slice(&before[..before.len() - reader.rest.len()]);
        }
        MsgpackItem::Text(text) => write_str(&String::from_utf8_lossy(text), out),
        MsgpackItem::Extension(kind, bytes) => rewrite_extension(kind, bytes, out),
        MsgpackItem::Array(length) => {
            write_array_len(length as u32, out);
            for _ in 0..length {
                rewrite(reader, out)?;
            }
        }
        MsgpackItem::Map(length) => {
            let mut entries = Vec::new();
            let mut count = 0;
            for _ in 0..length {
                let key = reader.item()?;
                if is_undefined(reader.rest) {
                    // The key is not there, as in JSON.
                    reader.item()?;
                    continue;
                }
                write_str(&key_text(&key)?, &mut entries);
                rewrite(reader, &mut entries)?;
                count += 1;
            }
            // Writing to a Vec does not fail.
            let _ = encode::write_map_len(out, count);
            out.extend_from_slice(&entries);
        }
    }
    Ok(())
}

/// Returns whether bytes are notepack's `undefined`.
fn is_undefined(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xd4, 0])
}

fn key_text<'a>(key: &MsgpackItem<'a>) -> Result<Cow<'a, str>, PacketError> {
    Ok(match key {
        MsgpackItem::Text(text) => String::from_utf8_lossy(text),
        MsgpackItem::Number(number) => Cow::Owned(number.to_string()),
        MsgpackItem::Float(number) => Cow::Owned(number.to_string()),
        MsgpackItem::Bool(value) => Cow::Owned(value.to_string()),
        MsgpackItem::Null => Cow::Borrowed("null"),
        _ => return Err(PacketError::Payload),
    })
}

/// Writes an extension as JavaScript reads it. 0 is notepack's: of one byte `undefined`, of eight a
/// date, else bytes. Any other is a list of its number and its bytes.
fn rewrite_extension(kind: i8, bytes: &[u8], out: &mut Vec<u8>) {
    match (kind, <[u8; 8]>::try_from(bytes)) {
        (0, Ok(time)) => write_str(&iso_8601(i64::from_be_bytes(time)), out),
        (0, _) if bytes.len() == 1 => {
            // Writing to a Vec does not fail.
            let _ = encode::write_nil(out);
        }
        (0, _) => write_binary(bytes, out),
        _ => {
            write_array_len(2, out);
            let _ = encode::write_sint(out, i64::from(kind));
            write_binary(bytes, out);
        }
    }
}

pub(crate) fn write_array_len(length: u32, out: &mut Vec<u8>) {
    // Writing to a Vec does not fail.
    let _ = encode::write_array_len(out, length);
}

pub(crate) fn write_str(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec does not fail.
    let _ = encode::write_str(out, text);
}

fn write_binary(bytes: &[u8], out: &mut Vec<u8>) {
    // Writing to a Vec does not fail.
    let _ = encode::write_bin(out, bytes);
}

/// Writes a packet; `write_data` writes one value, if there is one.
pub(crate) fn encode(
    kind: Kind,
    namespace: &str,
    id: Option<u64>,
    write_data: Option<impl FnOnce(&mut Vec<u8>)>,
    out: &mut Vec<u8>,
) {
    let length = 2 + u32::from(id.is_some()) + u32::from(write_data.is_some());
    // Writing to a Vec does not fail.
    let _ = encode::write_map_len(out, length);
    write_str("type", out);
    out.push(match kind {
        Kind::Connect => 0,
        Kind::Disconnect => 1,
        Kind::Event | Kind::BinaryEvent => 2,
        Kind::Ack | Kind::BinaryAck => 3,
        Kind::ConnectError => 4,
    });
    if let Some(write) = write_data {
        write_str("data", out);
        write(out);
    }
    write_str("nsp", out);
    write_str(namespace, out);
    if let Some(id) = id {
        write_str("id", out);
        let _ = encode::write_uint(out, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::default()
    }

    /// Reads bytes in hexadecimal digits, and text in quotation marks.
    fn bytes(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, part) in text.split('"').enumerate() {
            if index % 2 == 1 {
                out.extend_from_slice(part.as_bytes());
                continue;
            }
            let digits: String = part.split_whitespace().collect();
            let pairs = (0..digits.len() / 2).map(|at| &digits[2 * at..2 * at + 2]);
            out.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        }
        out
    }

    /// Kind, namespace, id, name of the event, and data.
    type Read = (Kind, String, Option<u64>, Option<String>, Vec<u8>);

    fn read(text: &str) -> Result<Read, PacketError> {
        match decode(&bytes(text), &limits(), Revision::V4)? {
            Arrival::Packet(packet) => {
                let Body::Msgpack(body) = packet.body else {
                    unreachable!("of this encoding");
                };
                Ok((
                    packet.kind,
                    packet.namespace.into_owned(),
                    packet.id,
                    packet.name.map(Cow::into_owned),
                    body.into_owned(),
                ))
            }
            Arrival::Dropped(dropped) => Err(dropped.why),
        }
    }

    const TYPE: &str = r#"a4"type""#;
    const NSP: &str = r#"a3"nsp" a1"/""#;

    #[test]
    fn packets_of_both_peers_are_read() {
        let none = |kind| Ok((kind, "/".to_owned(), None, None, Vec::new()));
        assert_eq!(
            read(&format!(r#"83 {TYPE} 00 a4"data" d40000 {NSP}"#)),
            none(Kind::Connect)
        );
        assert_eq!(read(&format!("82 {TYPE} 00 {NSP}")), none(Kind::Connect));
        assert_eq!(read(&format!("82 {TYPE} 01 {NSP}")), none(Kind::Disconnect));
        assert_eq!(
            read(&format!(r#"83 {TYPE} 01 a4"data" c0 {NSP}"#)),
            none(Kind::Disconnect)
        );
        let event = format!(
            r#"85 {TYPE} 02 a4"data" 94 a4"echo" a2c3a9 01 c4020102 a7"options" 81 a8"compress" c3 a2"id" 00 {NSP}"#
        );
        let (kind, _, id, name, body) = read(&event).unwrap();
        assert_eq!(
            (kind, id, name.as_deref()),
            (Kind::Event, Some(0), Some("echo"))
        );
        assert_eq!(body, bytes(r#"94 a4"echo" a2c3a9 01 c4020102"#));
        let nil = read(&format!(r#"83 {TYPE} 03 a3"nsp" c0 a4"data" 90"#)).unwrap();
        assert_eq!((nil.0, nil.1.as_str()), (Kind::Ack, "/"));
    }

    #[test]
    fn what_serde_would_not_read_is_rewritten() {
        let data = |value: &str| {
            let packet = format!(r#"83 {TYPE} 02 a4"data" 92 a1"e" {value} {NSP}"#);
            read(&packet).unwrap().4
        };
        let expect = |value: &str| bytes(&format!(r#"92 a1"e" {value}"#));
        assert_eq!(data("d40000"), expect("c0"));
        assert_eq!(
            data(r#"82 a1"a" d40000 a1"b" 01"#),
            expect(r#"81 a1"b" 01"#)
        );
        assert_eq!(
            data("d7000000018bcfe5687b"),
            expect(r#"b8"2023-11-14T22:13:20.123Z""#)
        );
        assert_eq!(
            data("d700ffffffffffffffff"),
            expect(r#"b8"1969-12-31T23:59:59.999Z""#)
        );
        assert_eq!(data("c70300010203"), expect("c403010203"));
        assert_eq!(data("d60500000001"), expect("92 05 c40400000001"));
        assert_eq!(data("81 01 02"), expect(r#"81 a1"1" 02"#));
        assert_eq!(data("a2ff61"), expect("a4efbfbd61"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (packet, why) in [
            ("", PacketError::Packet),
            ("90", PacketError::Packet),
            ("c0", PacketError::Packet),
            (r#"81 a3"nsp" a1"/""#, PacketError::Kind),
            (r#"82 a4"type" 05 a3"nsp" a1"/""#, PacketError::Kind),
            (r#"82 a4"type" a1"2" a3"nsp" a1"/""#, PacketError::Kind),
            (r#"81 a4"type" 00"#, PacketError::Payload),
            (r#"82 a4"type" 02 a3"nsp" a1"/""#, PacketError::Payload),
            (
                r#"83 a4"type" 00 a4"data" 90 a3"nsp" a1"/""#,
                PacketError::Payload,
            ),
            (
                r#"83 a4"type" 02 a4"data" 91 c0 a3"nsp" a1"/""#,
                PacketError::Payload,
            ),
            (
                r#"83 a4"type" 02 a4"data" 91 a7"connect" a3"nsp" a1"/""#,
                PacketError::ReservedEvent,
            ),
            (
                r#"84 a4"type" 03 a4"data" 90 a2"id" ff a3"nsp" a1"/""#,
                PacketError::Id,
            ),
            (r#"82 a4"type" 01 a3"nsp" a1"/" 00"#, PacketError::Packet),
            (
                r#"83 a4"type" 02 a4"data" dd ffffffff a3"nsp" a1"/""#,
                PacketError::Packet,
            ),
            (
                r#"83 a4"type" 02 a4"data" c6 ffffffff 00"#,
                PacketError::Packet,
            ),
        ] {
            assert_eq!(read(packet).err(), Some(why), "{packet}");
        }
        let deep = format!(
            r#"83 {TYPE} 02 a4"data" 92 a1"e" {} c0 {NSP}"#,
            "91".repeat(80)
        );
        assert_eq!(read(&deep).err(), Some(PacketError::Depth));
        let deeper = format!(r#"83 {TYPE} 02 a4"data" {} c0 {NSP}"#, "91".repeat(100_000));
        assert_eq!(
            decode(&bytes(&deeper), &limits(), Revision::V4),
            Err(PacketError::Depth)
        );
    }

    #[test]
    fn spoilt_packets_are_read_or_refused() {
        let event = bytes(&format!(
            r#"85 {TYPE} 02 a4"data" 94 a4"echo" 82 a1"a" 93 01 cb3ff8000000000000 c0 a1"b" d40000 d7000000018bcfe5687b c4020102 a2"id" 07 {NSP}"#
        ));
        let ack = bytes(&format!(
            r#"84 {TYPE} 03 a4"data" 91 81 01 c3 a2"id" cd0102 {NSP}"#
        ));
        let packets = [&event[..], &ack[..]];
        crate::util::fuzz::run(|source| {
            let packet = source.mutate(&packets);
            if let Ok(Arrival::Packet(packet)) = decode(&packet, &limits(), Revision::V4) {
                assert!(packet.body.len() <= 4_000);
            }
        });
    }
}
