//! Packets as messages: the default text form, and the trait that other forms will implement.

use super::json;
use super::packet::{Kind, PacketError, TextPacket};
use super::{ROOT, is_reserved};
use crate::limits::Limits;
use crate::protocol::engineio::{Data, Revision};
use crate::util::percent::decode_form;
use std::borrow::Cow;
use std::io::Write;

/// The largest acknowledgement id: what a JavaScript number holds exactly.
const MAX_ID: u64 = 1 << 53;

/// A form that packets take in Engine.IO messages.
pub(crate) trait PacketParser {
    /// Reads one message and checks all that can be checked without what came before.
    fn decode<'a>(&self, message: Data<'a>, limits: &Limits) -> Result<Decoded<'a>, PacketError>;

    /// Returns where the JSON begins in a message of text.
    fn data_at(&self, text: &str) -> usize;

    /// Writes the first message of a packet; its attachments follow as they are.
    fn encode(&self, packet: &TextPacket<'_>, out: &mut Vec<u8>);
}

/// Content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// A packet. Of an event that carries data, the name too.
    Packet(TextPacket<'a>, Option<Cow<'a, str>>),
    /// An event or an acknowledgement that is over a limit, without its data.
    OverLimit(TextPacket<'a>, PacketError),
    /// An attachment of the packet before.
    Attachment(Cow<'a, [u8]>),
}

/// `<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]` (socket.io-protocol, "Packet
/// encoding").
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Text {
    /// Over Engine.IO 3 the packets are those of Socket.IO 4: a CONNECT carries no data, and its
    /// namespace may have a query, which is what [`TextPacket::data`] is then.
    pub(crate) revision: Revision,
}

impl Text {
    /// Returns where the JSON begins in an Engine.IO packet of text.
    pub(crate) fn json_at(packet: &str) -> usize {
        match packet.strip_prefix('4') {
            Some(text) => 1 + Text::default().data_at(text),
            None => packet.len(),
        }
    }
}

impl PacketParser for Text {
    fn decode<'a>(&self, message: Data<'a>, limits: &Limits) -> Result<Decoded<'a>, PacketError> {
        match message {
            Data::Text(text) => decode_text(text, limits, self.revision),
            Data::Binary(bytes) => Ok(Decoded::Attachment(bytes)),
        }
    }

    fn data_at(&self, text: &str) -> usize {
        let Ok((kind, mut rest)) = split_kind(text) else {
            return text.len();
        };
        if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) {
            rest = rest.split_once('-').map_or("", |(_, rest)| rest);
        }
        if rest.starts_with('/') {
            rest = rest.split_once(',').map_or("", |(_, rest)| rest);
        }
        text.len()
            - rest
                .trim_start_matches(|it: char| it.is_ascii_digit())
                .len()
    }

    fn encode(&self, packet: &TextPacket<'_>, out: &mut Vec<u8>) {
        out.push(match packet.kind {
            Kind::Connect => b'0',
            Kind::Disconnect => b'1',
            Kind::Event => b'2',
            Kind::Ack => b'3',
            Kind::ConnectError => b'4',
            Kind::BinaryEvent => b'5',
            Kind::BinaryAck => b'6',
        });
        // Writing to a Vec does not fail.
        if packet.attachments > 0 {
            let _ = write!(out, "{}-", packet.attachments);
        }
        if packet.namespace != ROOT {
            out.extend_from_slice(packet.namespace.as_bytes());
            out.push(b',');
        }
        if let Some(id) = packet.id {
            let _ = write!(out, "{id}");
        }
        out.extend_from_slice(packet.data.as_bytes());
    }
}

fn decode_text<'a>(
    text: &'a str,
    limits: &Limits,
    revision: Revision,
) -> Result<Decoded<'a>, PacketError> {
    let (kind, rest) = split_kind(text)?;
    let (attachments, rest) = match kind {
        Kind::BinaryEvent | Kind::BinaryAck => split_attachments(rest)?,
        _ => (0, rest),
    };
    let (namespace, rest) = split_namespace(rest);
    if revision == Revision::V3 && kind == Kind::Connect {
        return Ok(decode_connect_v3(namespace, limits));
    }
    if namespace.len() > limits.name_bytes && kind != Kind::Connect {
        return Err(PacketError::Namespace);
    }
    let (id, data) = split_id(rest)?;
    let packet = TextPacket {
        kind,
        namespace,
        id,
        attachments,
        data,
    };
    let over = |invalid| {
        Ok(Decoded::OverLimit(
            TextPacket { data: "", ..packet },
            invalid,
        ))
    };
    if attachments > limits.attachments {
        return over(PacketError::Attachments);
    }
    if namespace.len() > limits.name_bytes {
        return over(PacketError::Namespace);
    }
    let name = match check_data(&packet, limits, revision) {
        // Where such a packet ends is known all the same.
        Err(invalid @ (PacketError::Depth | PacketError::Name))
            if kind.has_arguments() || kind == Kind::Connect =>
        {
            return over(invalid);
        }
        checked => checked?,
    };
    if attachments > 0 {
        json::check_placeholders(data, attachments)?;
    }
    Ok(Decoded::Packet(packet, name))
}

fn decode_connect_v3<'a>(namespace: &'a str, limits: &Limits) -> Decoded<'a> {
    let (namespace, query) = namespace.split_once('?').unwrap_or((namespace, ""));
    let packet = TextPacket {
        kind: Kind::Connect,
        namespace,
        id: None,
        attachments: 0,
        data: query,
    };
    if namespace.len() > limits.name_bytes {
        return Decoded::OverLimit(TextPacket { data: "", ..packet }, PacketError::Namespace);
    }
    Decoded::Packet(packet, None)
}

/// Splits a namespace that a client of Socket.IO 4 joins from its query, a JSON object of texts.
pub(crate) fn split_query(namespace: Cow<'_, str>) -> (Cow<'_, str>, String) {
    let at = namespace.find('?').unwrap_or(namespace.len());
    let query = query_as_json(namespace.get(at + 1..).unwrap_or_default());
    let namespace = match namespace {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..at]),
        Cow::Owned(mut text) => {
            text.truncate(at);
            Cow::Owned(text)
        }
    };
    (namespace, query)
}

/// Returns the query of a namespace as a JSON object of texts: of those of one name the last.
pub(crate) fn query_as_json(query: &str) -> String {
    let mut object = serde_json::Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode_form(value).into_owned();
        object.insert(decode_form(name).into_owned(), value.into());
    }
    serde_json::Value::Object(object).to_string()
}

fn split_kind(text: &str) -> Result<(Kind, &str), PacketError> {
    let kind = match text.as_bytes().first() {
        Some(b'0') => Kind::Connect,
        Some(b'1') => Kind::Disconnect,
        Some(b'2') => Kind::Event,
        Some(b'3') => Kind::Ack,
        Some(b'4') => Kind::ConnectError,
        Some(b'5') => Kind::BinaryEvent,
        Some(b'6') => Kind::BinaryAck,
        _ => return Err(PacketError::Kind),
    };
    Ok((kind, &text[1..]))
}

/// Splits off the number of attachments, one or more; none is "Illegal attachments" since parser
/// 4.2.7.
fn split_attachments(text: &str) -> Result<(usize, &str), PacketError> {
    let (count, rest) = text.split_once('-').ok_or(PacketError::Attachments)?;
    match parse_digits(count).map(usize::try_from) {
        Some(Ok(count @ 1..)) => Ok((count, rest)),
        _ => Err(PacketError::Attachments),
    }
}

/// Splits off a namespace, which begins with a slash and ends at the first comma, or with the
/// packet.
fn split_namespace(text: &str) -> (&str, &str) {
    if text.starts_with('/') {
        text.split_once(',').unwrap_or((text, ""))
    } else {
        (ROOT, text)
    }
}

fn split_id(text: &str) -> Result<(Option<u64>, &str), PacketError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok((None, text));
    }
    let (id, rest) = text.split_at(digits);
    let id = parse_digits(id).filter(|id| *id <= MAX_ID);
    Ok((Some(id.ok_or(PacketError::Id)?), rest))
}

/// Parses a number, which unlike in `str::parse` has no sign.
fn parse_digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Checks the payload against the packet's type, and returns an event's name.
fn check_data<'a>(
    packet: &TextPacket<'a>,
    limits: &Limits,
    revision: Revision,
) -> Result<Option<Cow<'a, str>>, PacketError> {
    let data = packet.data;
    let first = data.trim_ascii_start().bytes().next();
    let is_event = matches!(packet.kind, Kind::Event | Kind::BinaryEvent);
    if data.is_empty() {
        // `42` is an event without anything, which the reference implementation ignores.
        return match packet.kind {
            Kind::BinaryEvent | Kind::BinaryAck => Err(PacketError::Payload),
            _ => Ok(None),
        };
    }
    if is_event {
        let name = json::check_event(data, limits.json_depth)?;
        if name.len() > limits.name_bytes {
            return Err(PacketError::Name);
        }
        if is_reserved(&name) {
            return Err(PacketError::ReservedEvent);
        }
        return Ok(Some(name));
    }
    json::check(data, limits.json_depth)?;
    let fits = match packet.kind {
        Kind::Connect => first == Some(b'{'),
        Kind::Ack | Kind::BinaryAck => first == Some(b'['),
        // Any value is one in Socket.IO 4.
        Kind::ConnectError => matches!(first, Some(b'{' | b'"')) || revision == Revision::V3,
        // python servers give a reason with always_connect.
        _ => true,
    };
    if fits {
        Ok(None)
    } else {
        Err(PacketError::Payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(text: &str) -> Result<TextPacket<'_>, PacketError> {
        match Text::default().decode(Data::Text(text), &Limits::default())? {
            Decoded::Packet(packet, _) => Ok(packet),
            Decoded::OverLimit(_, invalid) => Err(invalid),
            Decoded::Attachment(_) => unreachable!("text is no attachment"),
        }
    }

    fn packet<'a>(
        kind: Kind,
        namespace: &'a str,
        id: Option<u64>,
        data: &'a str,
    ) -> TextPacket<'a> {
        TextPacket {
            kind,
            namespace,
            id,
            attachments: 0,
            data,
        }
    }

    #[test]
    fn the_examples_of_the_protocol_decode() {
        assert_eq!(decode("0"), Ok(packet(Kind::Connect, "/", None, "")));
        assert_eq!(
            decode("0/custom"),
            Ok(packet(Kind::Connect, "/custom", None, ""))
        );
        assert_eq!(
            decode("0/dyn?token=1,{\"a\":1}"),
            Ok(packet(Kind::Connect, "/dyn?token=1", None, "{\"a\":1}"))
        );
        assert_eq!(
            decode("1/custom,"),
            Ok(packet(Kind::Disconnect, "/custom", None, ""))
        );
        assert_eq!(
            decode("2[\"a-b\"]"),
            Ok(packet(Kind::Event, "/", None, "[\"a-b\"]"))
        );
        assert_eq!(
            decode("2/n,12[\"a\"]"),
            Ok(packet(Kind::Event, "/n", Some(12), "[\"a\"]"))
        );
        assert_eq!(decode("30[]"), Ok(packet(Kind::Ack, "/", Some(0), "[]")));
        let binary = decode("51-[\"a\",{\"_placeholder\":true,\"num\":0}]").unwrap();
        assert_eq!((binary.kind, binary.attachments), (Kind::BinaryEvent, 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("2[\"{}\"]", "x".repeat(257));
        let namespace = format!("0/{}", "x".repeat(256));
        for (text, error) in [
            ("", PacketError::Kind),
            ("7", PacketError::Kind),
            ("50-[\"a\"]", PacketError::Attachments),
            ("5[\"a\"]", PacketError::Attachments),
            ("5-[\"a\"]", PacketError::Attachments),
            ("51e1-[\"a\"]", PacketError::Attachments),
            ("5+1-[\"a\"]", PacketError::Attachments),
            ("5256-[\"a\"]", PacketError::Attachments),
            ("51234567890-[\"a\"]", PacketError::Attachments),
            ("299999999999999999999[\"a\"]", PacketError::Id),
            ("29007199254740993[\"a\"]", PacketError::Id),
            ("2-1[\"a\"]", PacketError::Payload),
            ("21.5[\"a\"]", PacketError::Json),
            ("2[true]", PacketError::Payload),
            ("2{}", PacketError::Payload),
            ("2[\"disconnect\",\"x\"]", PacketError::ReservedEvent),
            ("2[\"connect_error\"]", PacketError::ReservedEvent),
            ("0\"tok\"", PacketError::Payload),
            ("0[]", PacketError::Payload),
            ("0null", PacketError::Payload),
            ("31{}", PacketError::Payload),
            (&long, PacketError::Name),
            (&namespace, PacketError::Namespace),
        ] {
            assert_eq!(decode(text), Err(error), "{text}");
        }
        let digits = format!("2{}", "2".repeat(1_000_000));
        assert_eq!(decode(&digits), Err(PacketError::Id));
    }

    proptest! {
        #[test]
        fn every_packet_decodes_to_itself(
            kind in 0..7usize, namespace in "/[a-zA-Z0-9?=_-]{0,20}", id in prop::option::of(0..=MAX_ID),
            attachments in 1..255usize, name in "[^\"\\\\\\p{C}]{1,30}", value in any::<i64>(),
        ) {
            prop_assume!(!is_reserved(&name));
            let kind = [Kind::Connect, Kind::Disconnect, Kind::Event, Kind::Ack, Kind::ConnectError,
                Kind::BinaryEvent, Kind::BinaryAck][kind];
            let data = match kind {
                Kind::Connect | Kind::ConnectError => format!("{{\"a\":{value}}}"),
                Kind::Disconnect => String::new(),
                _ => format!("[\"{name}\",{value},{{\"_placeholder\":true,\"num\":0}}]"),
            };
            let is_binary = matches!(kind, Kind::BinaryEvent | Kind::BinaryAck);
            let packet = TextPacket {
                kind,
                namespace: &namespace,
                id: id.filter(|_| matches!(kind, Kind::Event | Kind::Ack | Kind::BinaryEvent | Kind::BinaryAck)),
                attachments: if is_binary { attachments } else { 0 },
                data: &data,
            };
            let mut text = Vec::new();
            Text::default().encode(&packet, &mut text);
            prop_assert_eq!(decode(std::str::from_utf8(&text).unwrap()), Ok(packet));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = decode(&text);
        }

        #[test]
        fn nothing_that_looks_like_a_packet_panics(text in "[0-7]{0,2}[0-9]{0,3}-?(/[a-z]{0,3},?)?[0-9]{0,3}[\\[\\]{}\",:a-z0-9]{0,20}") {
            let _ = decode(&text);
        }
    }
}
