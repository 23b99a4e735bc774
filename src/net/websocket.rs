//! WebSocket frames: tungstenite's headers, and around them a decoder that keeps nothing while a
//! connection is idle.
//!
//! tungstenite's own `WebSocketContext` holds its read buffer for ever, and the largest message
//! that ever came with it. Here frames are unmasked where they were read, in the I/O thread's one
//! buffer; a connection keeps only a frame, or a message, that has not come to its end.

use crate::protocol::engineio::Data as EngineData;
use std::borrow::Cow;
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The longest header: two bytes, an eight-byte length, a mask.
pub(crate) const MAX_HEADER: usize = 14;
/// The most fragments of one message. Each may be empty, so bytes alone do not bound them
/// (CVE-2026-48779).
const MAX_FRAGMENTS: usize = 131_072;
/// Bytes that are reserved for a frame on the word of its header alone.
const MAX_PREALLOC_BYTES: usize = 64 << 10;

/// A decoded message of the peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WebSocketMessage<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// With the code that the peer gave.
    Close(Option<u16>),
}

impl<'a> WebSocketMessage<'a> {
    /// Returns what it carries for Engine.IO, unless it is one of WebSocket itself.
    pub(crate) fn data(self) -> Option<EngineData<'a>> {
        match self {
            WebSocketMessage::Text(text) => Some(EngineData::Text(text)),
            WebSocketMessage::Binary(bytes) => Some(EngineData::Binary(Cow::Borrowed(bytes))),
            _ => None,
        }
    }
}

/// Reason why a connection must be closed, with the code that says so (RFC 6455, 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    Protocol,
    Utf8,
    Policy,
    TooLarge,
}

impl ProtocolError {
    pub(crate) fn code(self) -> u16 {
        match self {
            ProtocolError::Protocol => 1002,
            ProtocolError::Utf8 => 1007,
            ProtocolError::Policy => 1008,
            ProtocolError::TooLarge => 1009,
        }
    }
}

impl ProtocolError {
    /// Returns what the log says, of a side that takes messages of `limit` bytes.
    pub(crate) fn describe(self, limit: usize) -> String {
        match self {
            ProtocolError::Protocol => "a frame that RFC 6455 does not allow".into(),
            ProtocolError::Utf8 => "text that is not UTF-8".into(),
            ProtocolError::Policy => "a message of too many fragments".into(),
            ProtocolError::TooLarge => {
                format!(
                    "a message of more than {limit} bytes (max_http_buffer_size; max_message_size of a client)"
                )
            }
        }
    }
}

/// Side of a connection, which decides the frames that it may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Frames come masked.
    Server,
    /// They do not.
    Client,
}

/// Turns bytes into messages.
#[derive(Debug)]
pub(crate) struct FrameDecoder {
    role: Role,
    max_message: usize,
    /// A frame that is not complete.
    frame: Vec<u8>,
    /// A message whose last fragment has not come.
    message: Option<Box<Fragments>>,
}

#[derive(Debug)]
struct Fragments {
    kind: Data,
    count: usize,
    bytes: Vec<u8>,
}

impl FrameDecoder {
    pub(crate) fn new(role: Role, max_message: usize) -> FrameDecoder {
        FrameDecoder {
            role,
            // A frame's end must be a number too.
            max_message: max_message.min(isize::MAX as usize),
            frame: Vec::new(),
            message: None,
        }
    }

    /// Returns the bytes of the largest message that it takes.
    pub(crate) fn max_message(&self) -> usize {
        self.max_message
    }

    /// Returns the bytes that it keeps.
    pub(crate) fn kept(&self) -> usize {
        let message = self.message.as_ref();
        self.frame.len() + message.map_or(0, |message| message.bytes.len())
    }

    /// Returns the messages that `input` completes. They are to be taken to the end, or the
    /// connection closed: what is behind the last one is kept then.
    pub(crate) fn messages<'a>(&'a mut self, input: &'a mut [u8]) -> Messages<'a> {
        Messages {
            decoder: self,
            input,
            whole: Vec::new(),
        }
    }

    fn buffer_partial(&mut self, input: &[u8]) -> Result<(), ProtocolError> {
        if let Some(frame) = self.parse_header(input)? {
            self.frame
                .reserve_exact(frame.end().min(MAX_PREALLOC_BYTES));
        }
        self.frame.extend_from_slice(input);
        Ok(())
    }

    /// Reads a header and checks what it announces before anything is kept for it.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Frame>, ProtocolError> {
        let mut cursor = Cursor::new(bytes);
        let header = FrameHeader::parse(&mut cursor).map_err(|_| ProtocolError::Protocol)?;
        let Some((header, length)) = header else {
            return Ok(None);
        };
        let start = cursor.position() as usize;
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(ProtocolError::Protocol);
        }
        if header.mask.is_some() != (self.role == Role::Server) {
            return Err(ProtocolError::Protocol);
        }
        if let OpCode::Control(_) = header.opcode {
            if length > 125 || !header.is_final {
                return Err(ProtocolError::Protocol);
            }
        } else {
            let message = self.message.as_ref();
            let kept = message.map_or(0, |message| message.bytes.len());
            if length > (self.max_message - kept) as u64 {
                return Err(ProtocolError::TooLarge);
            }
        }
        Ok(Some(Frame {
            opcode: header.opcode,
            is_final: header.is_final,
            mask: header.mask,
            start,
            // Fits, since it is at most 125, or `max_message`.
            length: length as usize,
        }))
    }

    /// Adds a frame of a message in fragments to what has come of it; returns the message if this
    /// was its end.
    fn add_fragment(
        &mut self,
        is_final: bool,
        payload: &[u8],
    ) -> Result<Option<Fragments>, ProtocolError> {
        let message = self.message.as_mut().ok_or(ProtocolError::Protocol)?;
        message.count += 1;
        if message.count > MAX_FRAGMENTS {
            return Err(ProtocolError::Policy);
        }
        message.bytes.extend_from_slice(payload);
        let message = self.message.take_if(|_| is_final);
        Ok(message.map(|message| *message))
    }
}

/// The messages that some bytes complete, in order.
#[derive(Debug)]
pub(crate) struct Messages<'a> {
    decoder: &'a mut FrameDecoder,
    input: &'a mut [u8],
    /// A frame, or a message, that earlier bytes belong to.
    whole: Vec<u8>,
}

/// Place of a frame's payload.
enum Payload<'a> {
    InInput(&'a mut [u8]),
    /// From here to the end of what was kept.
    InWhole(usize),
}

impl<'a> Messages<'a> {
    /// Returns the bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.input.len()
    }

    /// Returns the next message, unless the rest completes none.
    pub(crate) fn next(&mut self) -> Result<Option<WebSocketMessage<'_>>, ProtocolError> {
        let (opcode, payload) = loop {
            let Some((frame, mut place)) = self.next_frame()? else {
                return Ok(None);
            };
            let payload = match &mut place {
                Payload::InInput(payload) => payload,
                Payload::InWhole(start) => &mut self.whole[*start..],
            };
            if let Some(mask) = frame.mask {
                apply_mask(payload, mask);
            }
            match frame.opcode {
                OpCode::Control(Control::Reserved(_)) => {}
                OpCode::Control(_) => break (frame.opcode, place),
                OpCode::Data(Data::Continue) => {
                    if let Some(message) = self.decoder.add_fragment(frame.is_final, payload)? {
                        self.whole = message.bytes;
                        break (OpCode::Data(message.kind), Payload::InWhole(0));
                    }
                }
                OpCode::Data(_) if self.decoder.message.is_some() => {
                    return Err(ProtocolError::Protocol);
                }
                OpCode::Data(_) if frame.is_final => break (frame.opcode, place),
                OpCode::Data(kind) => {
                    self.decoder.message = Some(Box::new(Fragments {
                        kind,
                        count: 1,
                        bytes: payload.to_vec(),
                    }));
                }
            }
        };
        let payload = match payload {
            Payload::InInput(payload) => payload,
            Payload::InWhole(start) => &mut self.whole[start..],
        };
        Ok(Some(match opcode {
            OpCode::Data(Data::Text) => {
                let text = std::str::from_utf8(payload).map_err(|_| ProtocolError::Utf8)?;
                WebSocketMessage::Text(text)
            }
            OpCode::Data(_) => WebSocketMessage::Binary(payload),
            OpCode::Control(Control::Ping) => WebSocketMessage::Ping(payload),
            OpCode::Control(Control::Pong) => WebSocketMessage::Pong(payload),
            OpCode::Control(_) => {
                let code = close_code(payload)?;
                // Nothing counts behind a close frame.
                self.input = &mut [];
                WebSocketMessage::Close(code)
            }
        }))
    }

    /// Takes the next whole frame; what is not whole is kept.
    fn next_frame(&mut self) -> Result<Option<(Frame, Payload<'a>)>, ProtocolError> {
        let decoder = &mut *self.decoder;
        while !decoder.frame.is_empty() && !self.input.is_empty() {
            let missing = match decoder.parse_header(&decoder.frame)? {
                Some(frame) => frame.end() - decoder.frame.len(),
                // The header itself is not complete.
                None => 1,
            };
            let taken = missing.min(self.input.len());
            let (head, rest) = std::mem::take(&mut self.input).split_at_mut(taken);
            decoder.frame.extend_from_slice(head);
            self.input = rest;
            let whole = decoder.parse_header(&decoder.frame)?;
            if let Some(frame) = whole.filter(|frame| frame.end() == decoder.frame.len()) {
                self.whole = std::mem::take(&mut decoder.frame);
                let place = Payload::InWhole(frame.start);
                return Ok(Some((frame, place)));
            }
        }
        if self.input.is_empty() {
            return Ok(None);
        }
        let input = std::mem::take(&mut self.input);
        let whole = decoder.parse_header(input)?;
        let Some(frame) = whole.filter(|frame| frame.end() <= input.len()) else {
            decoder.buffer_partial(input)?;
            return Ok(None);
        };
        let (bytes, rest) = input.split_at_mut(frame.end());
        self.input = rest;
        let place = Payload::InInput(&mut bytes[frame.start..]);
        Ok(Some((frame, place)))
    }
}

/// A frame as its header announces it.
struct Frame {
    opcode: OpCode,
    is_final: bool,
    mask: Option<[u8; 4]>,
    start: usize,
    length: usize,
}

impl Frame {
    fn end(&self) -> usize {
        self.start + self.length
    }
}

/// Returns the code of a close frame, which is empty, or a code that may be sent and a reason in
/// UTF-8 (RFC 6455, 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, ProtocolError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(ProtocolError::Protocol)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(ProtocolError::Protocol);
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(ProtocolError::Utf8),
    }
}

/// Masks eight bytes at a time, which the compiler widens further.
pub(crate) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*word) {
            word.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Writes the header of a whole, unmasked text or binary frame.
pub(crate) fn write_header(is_text: bool, length: usize, out: &mut Vec<u8>) {
    let kind = if is_text { Data::Text } else { Data::Binary };
    format_header(OpCode::Data(kind), length, out);
}

/// Returns the header of a whole, unmasked frame, right-aligned in a buffer, and where it starts.
pub(crate) fn header(is_text: bool, length: usize) -> ([u8; MAX_HEADER], usize) {
    let kind = if is_text { Data::Text } else { Data::Binary };
    let header = FrameHeader {
        opcode: OpCode::Data(kind),
        ..FrameHeader::default()
    };
    let mut buffer = [0; MAX_HEADER];
    let start = MAX_HEADER - header.len(length as u64);
    let written = header.format(length as u64, &mut &mut buffer[start..]);
    debug_assert!(written.is_ok(), "the header fits");
    (buffer, start)
}

/// Writes a whole, unmasked frame.
pub(crate) fn write_frame(is_text: bool, payload: &[u8], out: &mut Vec<u8>) {
    write_header(is_text, payload.len(), out);
    out.extend_from_slice(payload);
}

pub(crate) fn write_ping(payload: &[u8], out: &mut Vec<u8>) {
    format_header(OpCode::Control(Control::Ping), payload.len(), out);
    out.extend_from_slice(payload);
}

pub(crate) fn write_pong(payload: &[u8], out: &mut Vec<u8>) {
    format_header(OpCode::Control(Control::Pong), payload.len(), out);
    out.extend_from_slice(payload);
}

/// Writes a close frame, with a code or without one.
pub(crate) fn write_close(code: Option<u16>, out: &mut Vec<u8>) {
    let payload = code.map(u16::to_be_bytes);
    let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
    format_header(OpCode::Control(Control::Close), payload.len(), out);
    out.extend_from_slice(payload);
}

fn format_header(opcode: OpCode, length: usize, out: &mut Vec<u8>) {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let written = header.format(length as u64, out);
    debug_assert!(written.is_ok(), "writing to a Vec does not fail");
}

/// Reads the first of some whole, unmasked frames: whether it is text, where its payload starts,
/// and where it ends.
pub(crate) fn parse_frame(bytes: &[u8]) -> Option<(bool, usize, usize)> {
    let header = FrameSpan::read(bytes)?;
    let is_text = header.opcode == OpCode::Data(Data::Text);
    Some((is_text, header.start, header.end))
}

/// The opcode and the bounds of a whole, unmasked frame.
pub(super) struct FrameSpan {
    opcode: OpCode,
    /// Start of its payload.
    pub(super) start: usize,
    /// Its end.
    pub(super) end: usize,
}

impl FrameSpan {
    /// Reads the header of the first of some whole frames that this side has written. tungstenite's
    /// parser writes to the log, and a logger may be waiting for the lock that is held here.
    pub(super) fn read(bytes: &[u8]) -> Option<FrameSpan> {
        let [first, second, rest @ ..] = bytes else {
            return None;
        };
        let (length, start) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
            length => (u64::from(length), 2),
        };
        let end = usize::try_from(length).ok()?.checked_add(start)?;
        (end <= bytes.len()).then_some(FrameSpan {
            opcode: OpCode::from(first & 0xf),
            start,
            end,
        })
    }

    /// Writes the same header, with a mask or without one.
    pub(super) fn write(&self, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
        let header = FrameHeader {
            opcode: self.opcode,
            mask,
            ..FrameHeader::default()
        };
        let written = header.format((self.end - self.start) as u64, out);
        debug_assert!(written.is_ok(), "writing to a Vec does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(0x80 | short as u8),
            medium @ 126..=65_535 => {
                frame.push(0x80 | 126);
                frame.extend((medium as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        let start = frame.len();
        frame.extend_from_slice(payload);
        apply_mask(&mut frame[start..], mask);
        frame
    }

    fn decode_in(
        pieces: usize,
        bytes: &[u8],
        max: usize,
    ) -> (Vec<String>, Result<(), ProtocolError>) {
        let mut decoder = FrameDecoder::new(Role::Server, max);
        let mut got = Vec::new();
        for piece in bytes.chunks(pieces) {
            let mut piece = piece.to_vec();
            let mut messages = decoder.messages(&mut piece);
            loop {
                match messages.next() {
                    Ok(Some(message)) => got.push(format!("{message:?}")),
                    Ok(None) => break,
                    Err(violation) => return (got, Err(violation)),
                }
            }
        }
        assert!(decoder.frame.is_empty(), "a whole frame was kept");
        (got, Ok(()))
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let mut bytes = masked(0x81, b"one");
        bytes.extend(masked(0x01, b"tw"));
        bytes.extend(masked(0x89, b"ping"));
        bytes.extend(masked(0x80, b"o"));
        bytes.extend(masked(0x82, &[7; 300]));
        bytes.extend(masked(0x8a, b""));
        bytes.extend(masked(0x88, &[3, 232]));
        let (whole, result) = decode_in(bytes.len(), &bytes, 1000);
        assert_eq!(result, Ok(()));
        assert_eq!(
            whole[..3],
            [
                "Text(\"one\")",
                "Ping([112, 105, 110, 103])",
                "Text(\"two\")"
            ]
        );
        assert_eq!(whole.last().map(String::as_str), Some("Close(Some(1000))"));
        for pieces in 1..20 {
            assert_eq!(
                decode_in(pieces, &bytes, 1000),
                (whole.clone(), Ok(())),
                "{pieces}"
            );
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let long_ping = masked(0x89, &[0; 126]);
        let unmasked = vec![0x81, 1, b'x'];
        for (bytes, violation) in [
            (masked(0xc1, b"x"), ProtocolError::Protocol),
            (masked(0x83, b"x"), ProtocolError::Protocol),
            (masked(0x09, b"x"), ProtocolError::Protocol),
            (masked(0x80, b"x"), ProtocolError::Protocol),
            (masked(0x88, b"x"), ProtocolError::Protocol),
            (masked(0x88, &[3, 237]), ProtocolError::Protocol),
            (masked(0x81, b"\xff"), ProtocolError::Utf8),
            (masked(0x82, &[0; 1001]), ProtocolError::TooLarge),
            (long_ping, ProtocolError::Protocol),
            (unmasked, ProtocolError::Protocol),
            (
                vec![
                    0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4,
                ],
                ProtocolError::TooLarge,
            ),
        ] {
            assert_eq!(
                decode_in(bytes.len(), &bytes, 1000).1,
                Err(violation),
                "{bytes:?}"
            );
        }
        let mut fragments = masked(0x01, &[b'x'; 600]);
        fragments.extend(masked(0x80, &[b'x'; 600]));
        assert_eq!(
            decode_in(4096, &fragments, 1000).1,
            Err(ProtocolError::TooLarge)
        );
        let mut two = masked(0x01, b"x");
        two.extend(masked(0x81, b"x"));
        assert_eq!(decode_in(4096, &two, 1000).1, Err(ProtocolError::Protocol));
    }

    #[test]
    fn control_frames_do_not_count_for_the_message_around_them() {
        let mut bytes = masked(0x01, &[b'x'; 1000]);
        bytes.extend(masked(0x89, b"ping"));
        bytes.extend(masked(0x80, b""));
        let (got, result) = decode_in(bytes.len(), &bytes, 1000);
        assert_eq!((got.len(), result), (2, Ok(())));
    }

    #[test]
    fn empty_fragments_come_to_an_end() {
        let mut bytes = masked(0x01, b"");
        for _ in 0..MAX_FRAGMENTS {
            bytes.extend(masked(0x00, b""));
        }
        assert_eq!(decode_in(4096, &bytes, 1000).1, Err(ProtocolError::Policy));
    }

    #[test]
    fn little_is_reserved_on_the_word_of_a_header() {
        let mut decoder = FrameDecoder::new(Role::Server, usize::MAX);
        let mut header = vec![0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(decoder.messages(&mut header).next(), Ok(None));
        assert!(decoder.frame.capacity() <= MAX_PREALLOC_BYTES);
    }

    proptest! {
        #[test]
        fn every_payload_survives(payload in prop::collection::vec(any::<u8>(), 0..70_000), pieces in 1..70_000usize) {
            let bytes = masked(0x82, &payload);
            let (got, result) = decode_in(pieces, &bytes, 1 << 20);
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(got, [format!("Binary({payload:?})")]);
        }

        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            let mut bytes = bytes;
            let mut decoder = FrameDecoder::new(Role::Server, 100);
            let mut messages = decoder.messages(&mut bytes);
            while let Ok(Some(_)) = messages.next() {}
        }
    }

    /// Whatever comes is read the same way however it is cut, and within the limit.
    #[test]
    fn spoilt_frames_are_read_or_refused() {
        const MAX: usize = 300;
        let long = [b'x'; 290];
        let examples = [
            [
                masked(0x01, b"te"),
                masked(0x89, b"ping"),
                masked(0x80, b"xt"),
            ]
            .concat(),
            [
                masked(0x82, &long),
                masked(0x8a, b""),
                masked(0x88, b"\x03\xe8bye"),
            ]
            .concat(),
            [
                masked(0x02, &long[..130]),
                masked(0x00, b""),
                masked(0x80, &long[..130]),
            ]
            .concat(),
            masked(0x81, "\u{20ac}\u{1f600}".as_bytes()),
        ];
        let examples = examples.each_ref().map(Vec::as_slice);
        let decode = |pieces: &[&[u8]]| {
            let mut decoder = FrameDecoder::new(Role::Server, MAX);
            let mut got = Vec::new();
            for piece in pieces {
                let mut piece = piece.to_vec();
                let mut messages = decoder.messages(&mut piece);
                loop {
                    match messages.next() {
                        Ok(Some(message)) => {
                            if let WebSocketMessage::Text(text) = &message {
                                assert!(text.len() <= MAX);
                            }
                            got.push(format!("{message:?}"));
                            // Nothing is read behind it.
                            if matches!(message, WebSocketMessage::Close(_)) {
                                return (got, None);
                            }
                        }
                        Ok(None) => break,
                        Err(violation) => return (got, Some(violation)),
                    }
                }
                assert!(
                    decoder.frame.capacity() <= 4 * MAX,
                    "no more is kept than may come"
                );
            }
            (got, None)
        };
        crate::util::fuzz::run(|source| {
            let mut bytes = source.mutate(&examples);
            // What may be wrong with a header is known when it is whole.
            bytes.extend(masked(0x89, b"").repeat(4));
            let whole = decode(&[&bytes]);
            assert_eq!(decode(&source.cut(&bytes)), whole);
        });
    }
}
