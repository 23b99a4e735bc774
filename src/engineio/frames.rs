//! Messages as finished WebSocket frames, ready for any number of outboxes.

use crate::net::http::Request;
use crate::net::websocket;
use crate::protocol::engineio::packet::{encode_base64, encode_base64_v3};
use crate::protocol::engineio::{EnginePacket, Revision};
use bytes::Bytes;

/// Room for the largest header in front of a payload whose length is not known yet.
const HEADROOM: usize = websocket::MAX_HEADER;

/// One or more messages that are never separated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames(pub(crate) Bytes);

impl Frames {
    /// Builds one message of text, written by `write`, and behind it messages of bytes.
    pub(crate) fn build(write: impl FnOnce(&mut Vec<u8>), attachments: &[Bytes]) -> Frames {
        let mut buffer = Vec::with_capacity(128);
        append_text(&mut buffer, write);
        append_binaries(&mut buffer, attachments);
        Frames(buffer.into())
    }

    /// Returns a packet that is not a message.
    pub(crate) fn control(packet: &EnginePacket<'_>) -> Frames {
        let (mut text, mut buffer) = (Vec::new(), Vec::new());
        packet.encode(&mut text);
        websocket::write_frame(true, &text, &mut buffer);
        Frames(buffer.into())
    }
}

/// Appends a text message, the type of its packet included; returns its length.
pub(crate) fn append_text(buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    append(true, buffer, |out| {
        out.push(b'4');
        write(out);
    })
}

/// Appends a binary message; returns its length.
#[cfg(feature = "msgpack")]
pub(crate) fn append_binary(buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    append(false, buffer, write)
}

fn append(is_text: bool, buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    // The header's length depends on the payload's: the payload is moved back to where it ends.
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADROOM]);
    write(buffer);
    let end = buffer.len();
    let (header, from) = websocket::header(is_text, end - start - HEADROOM);
    let header = &header[from..];
    buffer[start..start + header.len()].copy_from_slice(header);
    buffer.copy_within(start + HEADROOM..end, start + header.len());
    buffer.truncate(end - HEADROOM + header.len());
    end - start - HEADROOM
}

pub(crate) fn append_binaries(buffer: &mut Vec<u8>, attachments: &[Bytes]) {
    for bytes in attachments {
        websocket::write_frame(false, bytes, buffer);
    }
}

/// Looks at each of some frames: whether it is text, and its payload.
pub(crate) fn each_frame(mut frames: &[u8], mut look: impl FnMut(bool, &[u8])) {
    while let Some((is_text, start, end)) = websocket::parse_frame(frames) {
        look(is_text, &frames[start..end]);
        frames = &frames[end..];
    }
}

/// Form of a session's binary messages. Text has one form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BinaryForm {
    #[default]
    Plain,
    /// In frames of text, for a client that takes no bytes.
    Base64,
    /// Of revision 3: behind the type of the packet.
    Typed,
    /// Of revision 3, for a client that takes no bytes.
    TypedBase64,
}

impl BinaryForm {
    pub(super) fn from(number: u8) -> BinaryForm {
        match number {
            1 => BinaryForm::Base64,
            2 => BinaryForm::Typed,
            3 => BinaryForm::TypedBase64,
            _ => BinaryForm::Plain,
        }
    }
}

/// Returns whether a client takes no bytes over a WebSocket.
pub(super) fn wants_text(request: &Request) -> bool {
    let value = request.param("b64");
    value.is_some_and(|value| value != "0" && value != "false")
}

/// Returns the form in which a session takes bytes over a WebSocket.
pub(super) fn binary_form(revision: Revision, wants_text: bool) -> BinaryForm {
    match (revision, wants_text) {
        (Revision::V4, false) => BinaryForm::Plain,
        (Revision::V4, true) => BinaryForm::Base64,
        (Revision::V3, false) => BinaryForm::Typed,
        (Revision::V3, true) => BinaryForm::TypedBase64,
    }
}

/// Returns the same messages with their bytes in another form; none if there are no bytes in them.
pub(crate) fn with_bytes_as(form: BinaryForm, frames: &[u8]) -> Option<Vec<u8>> {
    let mut has_bytes = false;
    each_frame(frames, |is_text, _| has_bytes |= !is_text);
    if !has_bytes || form == BinaryForm::Plain {
        return None;
    }
    let mut converted = Vec::with_capacity(frames.len() + frames.len() / 2);
    each_frame(frames, |is_text, payload| {
        let mut other = Vec::new();
        match form {
            _ if is_text => return websocket::write_frame(true, payload, &mut converted),
            BinaryForm::Plain => other.extend_from_slice(payload),
            BinaryForm::Base64 => encode_base64(payload, &mut other),
            BinaryForm::Typed => {
                other.push(4);
                other.extend_from_slice(payload);
            }
            BinaryForm::TypedBase64 => encode_base64_v3(payload, &mut other),
        }
        let is_text = matches!(form, BinaryForm::Base64 | BinaryForm::TypedBase64);
        websocket::write_frame(is_text, &other, &mut converted);
    });
    Some(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_frames_of_any_length() {
        for length in [0, 1, 124, 125, 126, 65_534, 65_535, 65_536, 100_000] {
            let frames = Frames::build(
                |buffer| buffer.resize(buffer.len() + length, b'x'),
                &[Bytes::from(vec![7; length])],
            );
            let (is_text, start, end) = websocket::parse_frame(&frames.0).unwrap();
            assert!(is_text);
            assert_eq!((frames.0[start], end - start), (b'4', length + 1));
            let rest = &frames.0[end..];
            let (is_text, start, end) = websocket::parse_frame(rest).unwrap();
            assert!(!is_text && end == rest.len());
            assert!(rest[start..].iter().all(|byte| *byte == 7));
        }
    }
}
