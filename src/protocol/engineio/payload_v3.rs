//! Polling payloads of revision 3 (engine.io-protocol 3, "Payload"): as text, each packet behind its
//! length in UTF-16 units, or as bytes, each behind its kind, its length and `ff`. And JSONP, which
//! carries the text in a script and in a form.

use super::packet::{EnginePacket, EnginePacketError, encode_base64_v3};
use std::borrow::Cow;

/// Digits of a length; more are no payload.
const MAX_DIGITS: usize = 10;

/// The parts of a payload, one after the other. The first error is the last item.
#[derive(Clone, Debug)]
pub(crate) struct PayloadPacketsV3<'a> {
    rest: &'a [u8],
    is_binary: bool,
    ended: bool,
}

/// Reads a payload, of text or of bytes.
pub(crate) fn decode(body: &[u8], is_binary: bool) -> PayloadPacketsV3<'_> {
    PayloadPacketsV3 {
        rest: body,
        is_binary,
        ended: false,
    }
}

/// Returns whether a payload looks like one of bytes: text begins with a digit.
pub(crate) fn is_binary(body: &[u8]) -> bool {
    matches!(body.first(), Some(0 | 1))
}

impl<'a> PayloadPacketsV3<'a> {
    /// Returns the bytes that have not been read; none if the payload is at its end.
    pub(crate) fn left(&self) -> Option<usize> {
        (!self.ended).then_some(self.rest.len())
    }

    fn text(&mut self) -> Result<&'a str, EnginePacketError> {
        let digits = self.rest.iter().take_while(|it| it.is_ascii_digit());
        let digits = digits.take(MAX_DIGITS + 1).count();
        let length = std::str::from_utf8(&self.rest[..digits]).ok();
        let length = length.filter(|_| digits <= MAX_DIGITS);
        let length: usize = length
            .and_then(|it| it.parse().ok())
            .ok_or(EnginePacketError::Length)?;
        let rest = self.rest[digits..]
            .strip_prefix(b":")
            .ok_or(EnginePacketError::Length)?;
        let end = end_of_units(rest, length)?;
        self.rest = &rest[end..];
        std::str::from_utf8(&rest[..end]).map_err(|_| EnginePacketError::Utf8)
    }

    fn part(&mut self) -> Result<(u8, &'a [u8]), EnginePacketError> {
        let kind = *self.rest.first().ok_or(EnginePacketError::Empty)?;
        let digits = self.rest[1..].iter().take(MAX_DIGITS + 1);
        let digits = digits.take_while(|it| **it < 10).count();
        let number = &self.rest[1..1 + digits];
        if digits == 0 || digits > MAX_DIGITS || self.rest.get(1 + digits) != Some(&0xff) {
            return Err(EnginePacketError::Length);
        }
        let length = number
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(*digit));
        let start = digits + 2;
        let end = usize::try_from(length)
            .ok()
            .and_then(|it| it.checked_add(start));
        let end = end
            .filter(|end| *end <= self.rest.len())
            .ok_or(EnginePacketError::Length)?;
        let part = &self.rest[start..end];
        self.rest = &self.rest[end..];
        Ok((kind, part))
    }
}

/// Returns where so many UTF-16 units of a text end.
fn end_of_units(text: &[u8], units: usize) -> Result<usize, EnginePacketError> {
    let ascii = text.get(..units).ok_or(EnginePacketError::Length)?;
    if ascii.is_ascii() {
        return Ok(units);
    }
    let (mut at, mut left) = (0, units);
    while left > 0 {
        let (length, counts) = match text.get(at).ok_or(EnginePacketError::Length)? {
            0..=0x7f => (1, 1),
            0xc0..=0xdf => (2, 1),
            0xe0..=0xef => (3, 1),
            0xf0..=0xff => (4, 2),
            0x80..=0xbf => return Err(EnginePacketError::Utf8),
        };
        at += length;
        left = left.checked_sub(counts).ok_or(EnginePacketError::Length)?;
    }
    if at > text.len() {
        return Err(EnginePacketError::Length);
    }
    Ok(at)
}

impl<'a> Iterator for PayloadPacketsV3<'a> {
    type Item = Result<EnginePacket<'a>, EnginePacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let packet = if self.is_binary {
            self.part().and_then(|(kind, part)| {
                if kind != 0 {
                    // What is not known is ignored.
                    let packet = Some(part).filter(|_| kind == 1);
                    let packet =
                        packet.and_then(|it| EnginePacket::decode_binary_v3(Cow::Borrowed(it)));
                    return Ok(packet.unwrap_or(EnginePacket::Noop));
                }
                let text = std::str::from_utf8(part).map_err(|_| EnginePacketError::Utf8)?;
                if text.is_empty() {
                    return Ok(EnginePacket::Noop);
                }
                EnginePacket::decode_v3(text)
            })
        } else {
            self.text().and_then(|text| {
                if text.is_empty() {
                    return Ok(EnginePacket::Noop);
                }
                EnginePacket::decode_v3(text)
            })
        };
        self.ended = packet.is_err() || self.rest.is_empty();
        Some(packet)
    }
}

/// A payload that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// The packets as text; of bytes, in base64.
    text: Vec<u8>,
    /// The same as bytes, once one of them is.
    bytes: Option<Vec<u8>>,
    /// The peer takes bytes.
    takes_bytes: bool,
}

impl Writer {
    pub(crate) fn new(takes_bytes: bool) -> Writer {
        Writer {
            takes_bytes,
            ..Writer::default()
        }
    }

    /// Returns the bytes written so far, of the larger form.
    pub(crate) fn len(&self) -> usize {
        let bytes = self.bytes.as_ref().map_or(0, Vec::len);
        self.text.len().max(bytes)
    }

    /// Appends a packet of text. From `json_at` on it is JSON, of which the text form escapes what
    /// is not ASCII: clients of the 1.x generation read such text wrongly.
    pub(crate) fn push_text(&mut self, packet: &str, json_at: usize) {
        if let Some(bytes) = &mut self.bytes {
            return push_part(0, packet.as_bytes(), bytes);
        }
        let (head, json) = packet.split_at(json_at.min(packet.len()));
        if json.is_ascii() {
            let units = units(head) + json.len();
            self.push_length(units);
            self.text.extend_from_slice(packet.as_bytes());
            return;
        }
        let json = escaped(json);
        self.push_length(units(head) + json.len());
        self.text.extend_from_slice(head.as_bytes());
        self.text.extend_from_slice(json.as_bytes());
    }

    /// Appends a binary packet: its type, and what it carries.
    pub(crate) fn push_binary(&mut self, packet: &[u8]) {
        if !self.takes_bytes {
            let mut text = Vec::new();
            encode_base64_v3(packet.get(1..).unwrap_or_default(), &mut text);
            self.push_length(text.len());
            self.text.extend_from_slice(&text);
            return;
        }
        if self.bytes.is_none() {
            let mut bytes = Vec::new();
            // What was written before as text is read again, which it is known to be.
            let mut packets = decode(&self.text, false);
            while let Some(Ok(text)) = (!packets.rest.is_empty()).then(|| packets.text()) {
                push_part(0, text.as_bytes(), &mut bytes);
            }
            self.bytes = Some(bytes);
            self.text = Vec::new();
        }
        if let Some(bytes) = &mut self.bytes {
            push_part(1, packet, bytes);
        }
    }

    /// Returns the payload, and whether it is one of bytes.
    pub(crate) fn finish(self) -> (Vec<u8>, bool) {
        match self.bytes {
            Some(bytes) => (bytes, true),
            None => (self.text, false),
        }
    }

    fn push_length(&mut self, units: usize) {
        self.text.extend_from_slice(format!("{units}:").as_bytes());
    }
}

fn push_part(kind: u8, packet: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    let length = packet.len().to_string();
    out.extend(length.bytes().map(|digit| digit - b'0'));
    out.push(0xff);
    out.extend_from_slice(packet);
}

fn units(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}

/// Returns JSON text in ASCII.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

/// Returns a payload of text in which packets that are surely encoded as UTF-8 twice, as clients of
/// the 1.x generation do, are so once: all their characters are bytes, and these are UTF-8 with at
/// least one character that is not ASCII.
pub(crate) fn repaired(body: Vec<u8>) -> Vec<u8> {
    if body.is_ascii() || is_binary(&body) {
        return body;
    }
    let mut packets = decode(&body, false);
    let mut writer = Writer::new(false);
    while !packets.rest.is_empty() {
        let Ok(text) = packets.text() else {
            return body;
        };
        let repaired = once(text);
        writer.push_text(repaired.as_deref().unwrap_or(text), usize::MAX);
    }
    writer.finish().0
}

fn once(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let bytes = text.chars().map(|it| u8::try_from(u32::from(it)).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

/// Returns the script that hands a payload to a page's callback.
pub(crate) fn script(callback: u64, payload: &str) -> String {
    let mut json = serde_json::Value::from(payload).to_string();
    // Ends of lines in scripts that are older than 2019.
    if json.contains(['\u{2028}', '\u{2029}']) {
        json = json
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029");
    }
    format!("___eio[{callback}]({json});")
}

/// Returns the payload of a form that a page has posted: what a browser makes of ends of lines is
/// undone, as in the reference implementation.
pub(crate) fn of_form(data: &str) -> String {
    let mut out = String::with_capacity(data.len());
    let mut rest = data;
    while let Some(at) = rest.find("\\n") {
        out.push_str(&rest[..at]);
        if out.ends_with('\\') {
            // `\\n` is the `\n` that the page had.
            out.push('n');
        } else {
            out.push('\n');
        }
        rest = &rest[at + 2..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::super::packet::Data;
    use super::*;
    use proptest::prelude::*;

    fn texts(body: &[u8]) -> Vec<Result<EnginePacket<'_>, EnginePacketError>> {
        decode(body, is_binary(body)).collect()
    }

    fn message(text: &str) -> EnginePacket<'_> {
        EnginePacket::Message(Data::Text(text))
    }

    #[test]
    fn a_length_counts_utf16_units() {
        let packet = "42[\"echo\",\"é€😀\"]";
        let body = format!("17:{packet}1:2");
        let expected = [Ok(message(&packet[1..])), Ok(EnginePacket::Ping(""))];
        assert_eq!(texts(body.as_bytes()), expected);
        for wrong in ["16", "22"] {
            let body = format!("{wrong}:{packet}");
            let last = decode(body.as_bytes(), false).last();
            assert!(matches!(last, Some(Err(_))), "{wrong}: {last:?}");
        }
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        for wrong in [
            "",
            "abc",
            "4:abc",
            "x:2",
            "1:9",
            "99999999999:4",
            "2:b!",
            "3:bxx",
        ] {
            let last = decode(wrong.as_bytes(), false).last();
            assert!(matches!(last, Some(Err(_))), "{wrong:?}: {last:?}");
        }
        for wrong in [
            &[0, 1][..],
            &[0, 0xff, b'2'],
            &[0, 9, 0xff, b'2'],
            &[1, 200, 0xff],
        ] {
            let last = decode(wrong, true).last();
            assert!(matches!(last, Some(Err(_))), "{wrong:?}: {last:?}");
        }
        assert_eq!(texts(b"0:"), [Ok(EnginePacket::Noop)]);
        assert_eq!(texts(&[1, 1, 0xff, 9]), [Ok(EnginePacket::Noop)]);
        let unknown: Vec<_> = decode(&[5, 1, 0xff, b'4'], true).collect();
        assert_eq!(unknown, [Ok(EnginePacket::Noop)]);
    }

    #[test]
    fn bytes_are_base64_or_make_the_payload_one_of_bytes() {
        let mut text = Writer::new(false);
        text.push_text("4a", 1);
        text.push_binary(&[4, 1, 2, 3]);
        assert_eq!(text.finish(), (b"2:4a6:b4AQID".to_vec(), false));
        let mut bytes = Writer::new(true);
        bytes.push_text("4é", usize::MAX);
        bytes.push_binary(&[4, 1, 2, 3]);
        bytes.push_text("4b", 1);
        let (body, is_binary) = bytes.finish();
        assert!(is_binary);
        let expected = b"\x00\x03\xff4\xc3\xa9\x01\x04\xff\x04\x01\x02\x03\x00\x02\xff4b";
        assert_eq!(body, expected);
        let binary = EnginePacket::Message(Data::Binary(Cow::Borrowed(&[1, 2, 3])));
        let packets = [Ok(message("é")), Ok(binary), Ok(message("b"))];
        assert_eq!(texts(&body), packets);
    }

    #[test]
    fn json_is_written_in_ascii() {
        let mut writer = Writer::new(true);
        writer.push_text("42/é,[\"😀\"]", 6);
        let body = writer.finish().0;
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "21:42/é,[\"\\ud83d\\ude00\"]"
        );
    }

    #[test]
    fn text_that_was_encoded_twice_is_repaired_only_if_it_surely_was() {
        let twice: String = "42[\"é😀\"]".bytes().map(char::from).collect();
        let body = format!("{}:{twice}", twice.chars().count());
        assert_eq!(repaired(body.into_bytes()), "9:42[\"é😀\"]".as_bytes());
        for sound in ["5:4[é]x", "4:4€é2", "3:4€€", "abc€"] {
            let body = sound.as_bytes().to_vec();
            assert_eq!(repaired(body.clone()), body, "{sound}");
        }
    }

    #[test]
    fn a_script_and_a_form_carry_a_payload() {
        let script = script(7, "2:4\u{2028}\"");
        assert_eq!(script, r#"___eio[7]("2:4\u2028\"");"#);
        assert_eq!(of_form("a\\nb\\\\nc"), "a\nb\\nc");
    }

    proptest! {
        #[test]
        fn every_payload_decodes_to_itself(texts in prop::collection::vec(any::<String>(), 1..20), bytes in prop::option::of(any::<Vec<u8>>()), takes_bytes in any::<bool>()) {
            let mut writer = Writer::new(takes_bytes);
            let mut packets: Vec<EnginePacket<'_>> = Vec::new();
            for text in &texts {
                writer.push_text(&format!("4{text}"), usize::MAX);
                packets.push(message(text));
            }
            if let Some(bytes) = &bytes {
                let framed: Vec<u8> = std::iter::once(4).chain(bytes.iter().copied()).collect();
                writer.push_binary(&framed);
                packets.push(EnginePacket::Message(Data::Binary(Cow::Borrowed(bytes))));
            }
            let (payload, _) = writer.finish();
            let decoded: Result<Vec<_>, _> = decode(&payload, is_binary(&payload)).collect();
            prop_assert_eq!(decoded, Ok(packets));
        }

        #[test]
        fn no_body_panics(body in any::<Vec<u8>>()) {
            decode(&body, false).for_each(drop);
            decode(&body, true).for_each(drop);
            repaired(body);
        }
    }

    /// Nothing behind a broken packet is read, and no length is believed.
    #[test]
    fn spoilt_payloads_are_read_or_refused() {
        const BODIES: &[&[u8]] = &[
            "17:42[\"echo\",\"é€😀\"]1:26:b4AQID".as_bytes(),
            b"\x00\x01\x02\xff42[\"event\",1]\x01\x04\xff\x04\x01\x02\x03",
            b"97:0{\"sid\":\"x\"}2:40",
        ];
        crate::util::fuzz::run(|source| {
            let body = source.mutate(BODIES);
            let mut packets = decode(&body, is_binary(&body));
            let read = packets.by_ref().map_while(Result::ok).count();
            assert!(packets.next().is_none(), "nothing is read behind an error");
            assert!(read <= body.len() + 1);
        });
    }
}
