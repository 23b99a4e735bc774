//! Messages as finished WebSocket frames, ready for any number of outboxes.

use crate::net::websocket;
use crate::protocol::engineio::Packet;
use crate::protocol::engineio::packet::encode_base64;
use bytes::Bytes;

/// Room for the largest header in front of a payload whose length is not known yet.
const HEADROOM: usize = websocket::MAX_HEADER;

/// One or more messages that are never separated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames(pub(crate) Bytes);

impl Frames {
    /// One message of text, written by `write`, and behind it messages of bytes.
    pub(crate) fn build(write: impl FnOnce(&mut Vec<u8>), attachments: &[Bytes]) -> Frames {
        let mut buffer = Vec::with_capacity(128);
        append_text(&mut buffer, write);
        append_binaries(&mut buffer, attachments);
        Frames(buffer.into())
    }

    /// Returns a packet that is not a message.
    pub(crate) fn control(packet: &Packet<'_>) -> Frames {
        let (mut text, mut buffer) = (Vec::new(), Vec::new());
        packet.encode(&mut text);
        websocket::write_frame(true, &text, &mut buffer);
        Frames(buffer.into())
    }
}

/// Appends a text message, the type of its packet included; returns its length.
pub(crate) fn append_text(buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    // The header's length depends on the payload's: the payload is moved back to where it ends.
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADROOM]);
    buffer.push(b'4');
    write(buffer);
    let end = buffer.len();
    let (header, from) = websocket::header(true, end - start - HEADROOM);
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
    while let Some((is_text, start, end)) = websocket::split_frame(frames) {
        look(is_text, &frames[start..end]);
        frames = &frames[end..];
    }
}

/// Returns the same messages for a client that takes no bytes: those are base64 in frames of text.
pub(crate) fn without_bytes(frames: &[u8]) -> Vec<u8> {
    let mut converted = Vec::with_capacity(frames.len() + frames.len() / 2);
    each_frame(frames, |is_text, payload| {
        if is_text {
            websocket::write_frame(true, payload, &mut converted);
        } else {
            let mut text = Vec::new();
            encode_base64(payload, &mut text);
            websocket::write_frame(true, &text, &mut converted);
        }
    });
    converted
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
            let (is_text, start, end) = websocket::split_frame(&frames.0).unwrap();
            assert!(is_text);
            assert_eq!((frames.0[start], end - start), (b'4', length + 1));
            let rest = &frames.0[end..];
            let (is_text, start, end) = websocket::split_frame(rest).unwrap();
            assert!(!is_text && end == rest.len());
            assert!(rest[start..].iter().all(|byte| *byte == 7));
        }
    }
}
