//! Masks of a client's frames (RFC 6455, 5.3).

use super::websocket::{FrameSpan, MAX_HEADER, apply_mask};
use crate::util::local::with_local;
use crate::util::random;
use std::cell::RefCell;

/// Random bytes are asked for in portions: a system call for each frame would cost more than the
/// frame.
const RANDOM_BUFFER_LEN: usize = 1024;
/// Bytes that the buffer of a thread keeps.
const MAX_RETAINED_BYTES: usize = 64 << 10;

thread_local! {
    static MASKS: RefCell<Masks> = const { RefCell::new(Masks { bytes: [0; RANDOM_BUFFER_LEN], used: RANDOM_BUFFER_LEN }) };
    static MASKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Masks {
    bytes: [u8; RANDOM_BUFFER_LEN],
    used: usize,
}

/// The system gives no random bytes, and what can be foreseen is no mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RngError;

/// Lends the masked form of some whole frames.
pub(super) fn with_masked<T>(frames: &[u8], work: impl FnOnce(&[u8]) -> T) -> Result<T, RngError> {
    with_local(&MASKED, Vec::new, |buffer| {
        buffer.clear();
        mask(frames, buffer)?;
        let result = work(buffer);
        if buffer.capacity() > MAX_RETAINED_BYTES {
            *buffer = Vec::new();
        }
        Ok(result)
    })
}

/// Appends the masked form of some whole frames.
pub(super) fn mask(mut frames: &[u8], out: &mut Vec<u8>) -> Result<(), RngError> {
    out.reserve(frames.len() + MAX_HEADER);
    while let Some(header) = FrameSpan::read(frames) {
        let mask = next().ok_or(RngError)?;
        header.write(Some(mask), out);
        let start = out.len();
        out.extend_from_slice(&frames[header.start..header.end]);
        apply_mask(&mut out[start..], mask);
        frames = &frames[header.end..];
    }
    debug_assert!(frames.is_empty(), "only whole frames are masked");
    Ok(())
}

fn next() -> Option<[u8; 4]> {
    MASKS.with_borrow_mut(|masks| {
        if masks.used + 4 > RANDOM_BUFFER_LEN {
            random::fill(&mut masks.bytes)?;
            masks.used = 0;
        }
        let mask = masks.bytes[masks.used..].first_chunk().copied();
        masks.used += 4;
        mask
    })
}

#[cfg(test)]
mod tests {
    use super::super::websocket::{self, FrameDecoder, Role, WebSocketMessage};
    use super::*;

    #[test]
    fn a_server_reads_what_was_masked() {
        let mut frames = Vec::new();
        websocket::write_frame(true, b"one", &mut frames);
        websocket::write_frame(false, &[7; 70_000], &mut frames);
        websocket::write_frame(true, &[b'x'; 300], &mut frames);
        websocket::write_close(Some(1000), &mut frames);
        let mut masked = Vec::new();
        mask(&frames, &mut masked).unwrap();
        let mut got = Vec::new();
        let mut decoder = FrameDecoder::new(Role::Server, 100_000);
        let mut messages = decoder.messages(&mut masked);
        while let Some(message) = messages.next().unwrap() {
            got.push(match message {
                WebSocketMessage::Text(text) => text.len(),
                WebSocketMessage::Binary(bytes) => bytes.len(),
                _ => 0,
            });
        }
        assert_eq!(got, [3, 70_000, 300, 0]);
    }

    #[test]
    fn no_two_frames_have_the_same_mask() {
        let masks: std::collections::HashSet<_> = (0..1000).map(|_| next().unwrap()).collect();
        assert!(masks.len() > 990);
    }
}
