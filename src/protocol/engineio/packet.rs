//! Engine.IO packets (engine.io-protocol, "Packet encoding").

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;
use std::fmt;

/// Content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data<'a> {
    Text(&'a str),
    Binary(Cow<'a, [u8]>),
}

/// One Engine.IO packet, borrowed from where it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnginePacket<'a> {
    /// The handshake, as JSON text.
    Open(&'a str),
    Close,
    Ping(&'a str),
    Pong(&'a str),
    Message(Data<'a>),
    Upgrade,
    Noop,
}

/// Reason why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnginePacketError {
    Empty,
    Type,
    Base64,
    Utf8,
    /// Of a payload of revision 3: a length that is none, or that is not there.
    Length,
}

impl<'a> EnginePacket<'a> {
    /// Reads a packet from the text of a WebSocket message, or from one part of a payload.
    pub(crate) fn decode(text: &'a str) -> Result<EnginePacket<'a>, EnginePacketError> {
        let Some(kind) = text.as_bytes().first() else {
            return Err(EnginePacketError::Empty);
        };
        // Every type is one ASCII byte, so the rest starts at a character's border once it matched.
        let rest = || &text[1..];
        match kind {
            b'0' => Ok(EnginePacket::Open(rest())),
            b'1' => Ok(EnginePacket::Close),
            b'2' => Ok(EnginePacket::Ping(rest())),
            b'3' => Ok(EnginePacket::Pong(rest())),
            b'4' => Ok(EnginePacket::Message(Data::Text(rest()))),
            b'5' => Ok(EnginePacket::Upgrade),
            b'6' => Ok(EnginePacket::Noop),
            b'b' => {
                let bytes = decode_base64(rest())?;
                Ok(EnginePacket::Message(Data::Binary(Cow::Owned(bytes))))
            }
            _ => Err(EnginePacketError::Type),
        }
    }

    /// Does the same in revision 3, where base64 has the packet's type in front, and an empty packet
    /// of a payload is ignored.
    pub(crate) fn decode_v3(text: &'a str) -> Result<EnginePacket<'a>, EnginePacketError> {
        match text.strip_prefix('b') {
            // engine.io-parser 2, `decodeBase64Packet`
            Some(rest) => match rest.strip_prefix('4') {
                Some(rest) => {
                    let bytes = decode_base64(rest)?;
                    Ok(EnginePacket::Message(Data::Binary(Cow::Owned(bytes))))
                }
                None => Err(EnginePacketError::Type),
            },
            None => EnginePacket::decode(text),
        }
    }

    /// Reads a binary frame, or a binary packet of a payload, of revision 3: its first byte is the
    /// packet's type. None if it is to be ignored.
    pub(crate) fn decode_binary_v3(bytes: Cow<'a, [u8]>) -> Option<EnginePacket<'a>> {
        let kind = *bytes.first()?;
        match (kind, bytes) {
            (2, _) => Some(EnginePacket::Ping("")),
            (4, Cow::Borrowed(bytes)) => Some(EnginePacket::Message(Data::Binary(Cow::Borrowed(
                &bytes[1..],
            )))),
            (4, Cow::Owned(mut bytes)) => {
                bytes.remove(0);
                Some(EnginePacket::Message(Data::Binary(Cow::Owned(bytes))))
            }
            _ => None,
        }
    }

    /// Writes the packet as text; bytes become base64, as in a payload.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, text) = match self {
            EnginePacket::Open(text) => (b'0', *text),
            EnginePacket::Close => (b'1', ""),
            EnginePacket::Ping(text) => (b'2', *text),
            EnginePacket::Pong(text) => (b'3', *text),
            EnginePacket::Message(Data::Text(text)) => (b'4', *text),
            EnginePacket::Message(Data::Binary(bytes)) => return encode_base64(bytes, out),
            EnginePacket::Upgrade => (b'5', ""),
            EnginePacket::Noop => (b'6', ""),
        };
        out.push(kind);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Writes a binary message for a transport that carries text only.
pub(crate) fn encode_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'b');
    append_base64(bytes, out);
}

/// Does the same in revision 3.
pub(crate) fn encode_base64_v3(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"b4");
    append_base64(bytes, out);
}

fn append_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    out.resize(start + length, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written, Ok(length));
}

impl fmt::Display for EnginePacketError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            EnginePacketError::Empty => "an empty packet",
            EnginePacketError::Type => "an unknown packet type",
            EnginePacketError::Base64 => "wrong base64",
            EnginePacketError::Utf8 => "text that is not UTF-8",
            EnginePacketError::Length => "a packet of a wrong length",
        })
    }
}

/// Reads base64 as the reference implementation does: clients write it without padding, with line
/// feeds, or with the characters of base64url.
fn decode_base64(text: &str) -> Result<Vec<u8>, EnginePacketError> {
    if let Ok(bytes) = STANDARD.decode(text) {
        return Ok(bytes);
    }
    let plain: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    INDIFFERENT
        .decode(plain)
        .map_err(|_| EnginePacketError::Base64)
}

const INDIFFERENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arbitrary() -> impl Strategy<Value = (u8, String, Vec<u8>)> {
        (0..8u8, any::<String>(), any::<Vec<u8>>())
    }

    fn build<'a>(kind: u8, text: &'a str, bytes: &'a [u8]) -> EnginePacket<'a> {
        match kind {
            0 => EnginePacket::Open(text),
            1 => EnginePacket::Close,
            2 => EnginePacket::Ping(text),
            3 => EnginePacket::Pong(text),
            4 => EnginePacket::Message(Data::Text(text)),
            5 => EnginePacket::Upgrade,
            6 => EnginePacket::Noop,
            _ => EnginePacket::Message(Data::Binary(Cow::Borrowed(bytes))),
        }
    }

    proptest! {
        #[test]
        fn every_packet_decodes_to_itself((kind, text, bytes) in arbitrary()) {
            let packet = build(kind, &text, &bytes);
            let mut encoded = Vec::new();
            packet.encode(&mut encoded);
            let encoded = String::from_utf8(encoded).unwrap();
            prop_assert_eq!(EnginePacket::decode(&encoded), Ok(packet));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = EnginePacket::decode(&text);
        }
    }

    #[test]
    fn what_is_no_packet_is_named() {
        assert_eq!(EnginePacket::decode(""), Err(EnginePacketError::Empty));
        assert_eq!(EnginePacket::decode("abc"), Err(EnginePacketError::Type));
        assert_eq!(EnginePacket::decode("é"), Err(EnginePacketError::Type));
        assert_eq!(
            EnginePacket::decode("b!!!!"),
            Err(EnginePacketError::Base64)
        );
    }
}
