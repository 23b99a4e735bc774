//! Polling payloads: several packets in one HTTP body (engine.io-protocol, "HTTP long-polling").

use super::packet::{EnginePacket, EnginePacketError};

/// Separator of two packets of a payload.
pub(crate) const SEPARATOR: u8 = 0x1e;

/// The most packets in one payload for a client that is, or may be, python-engineio's: it drops a
/// whole payload of more than 16. Any number is accepted from others, and sent to them.
pub(crate) const MAX_PACKETS_OF_PYTHON: usize = 16;

/// Reads the packets of a payload one after the other. The first error is the last item: what
/// follows a broken packet cannot be trusted.
#[derive(Clone, Debug)]
pub(crate) struct PayloadPackets<'a> {
    /// The rest; `None` if it is no text.
    rest: Option<&'a str>,
    ended: bool,
}

pub(crate) fn decode(body: &[u8]) -> PayloadPackets<'_> {
    PayloadPackets {
        rest: std::str::from_utf8(body).ok(),
        ended: false,
    }
}

impl PayloadPackets<'_> {
    /// Returns the bytes that have not been read; none if the payload is at its end.
    pub(crate) fn left(&self) -> Option<usize> {
        if self.ended {
            None
        } else {
            self.rest.map(str::len)
        }
    }
}

impl<'a> Iterator for PayloadPackets<'a> {
    type Item = Result<EnginePacket<'a>, EnginePacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let Some(rest) = self.rest else {
            self.ended = true;
            return Some(Err(EnginePacketError::Utf8));
        };
        let packet = match rest.split_once(char::from(SEPARATOR)) {
            Some((packet, rest)) => {
                self.rest = Some(rest);
                packet
            }
            None => {
                self.ended = true;
                rest
            }
        };
        let packet = EnginePacket::decode(packet);
        self.ended |= packet.is_err();
        Some(packet)
    }
}

/// Starts another packet in a payload that is being written.
pub(crate) fn push_separator(payload: &mut Vec<u8>) {
    if !payload.is_empty() {
        payload.push(SEPARATOR);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::Data;
    use super::*;
    use proptest::prelude::*;
    use std::borrow::Cow;

    #[test]
    fn packets_are_split_at_the_separator() {
        let packets: Vec<_> = decode(b"4hello\x1e2\x1ebAQIDBA==").collect();
        assert_eq!(
            packets,
            [
                Ok(EnginePacket::Message(Data::Text("hello"))),
                Ok(EnginePacket::Ping("")),
                Ok(EnginePacket::Message(Data::Binary(Cow::Owned(vec![
                    1, 2, 3, 4
                ])))),
            ]
        );
    }

    #[test]
    fn nothing_is_read_behind_an_error() {
        assert_eq!(
            decode(b"4a\x1exx\x1e4b").last(),
            Some(Err(EnginePacketError::Type))
        );
        assert_eq!(
            decode(b"").collect::<Vec<_>>(),
            [Err(EnginePacketError::Empty)]
        );
        assert_eq!(
            decode(b"4\xff").collect::<Vec<_>>(),
            [Err(EnginePacketError::Utf8)]
        );
    }

    proptest! {
        #[test]
        fn every_payload_decodes_to_itself(texts in prop::collection::vec("[^\\x1e]*", 1..20), bytes in any::<Vec<u8>>()) {
            let mut packets: Vec<EnginePacket<'_>> =
                texts.iter().map(|text| EnginePacket::Message(Data::Text(text))).collect();
            packets.push(EnginePacket::Message(Data::Binary(Cow::Borrowed(&bytes))));
            let mut payload = Vec::new();
            for packet in &packets {
                push_separator(&mut payload);
                packet.encode(&mut payload);
            }
            let decoded: Result<Vec<_>, _> = decode(&payload).collect();
            prop_assert_eq!(decoded, Ok(packets));
        }

        #[test]
        fn no_body_panics(body in any::<Vec<u8>>()) {
            decode(&body).for_each(drop);
        }
    }

    /// A payload that was read and written again is read the same.
    #[test]
    fn spoilt_payloads_are_read_or_refused() {
        const BODIES: &[&[u8]] = &[
            "4hello\x1e2\x1ebAAEC\x1e3probe".as_bytes(),
            "42[\"event\",\"\u{20ac}\"]\x1e451-[\"x\",{\"_placeholder\":true,\"num\":0}]\x1eb//8="
                .as_bytes(),
            b"0{\"sid\":\"x\"}\x1e1\x1e5\x1e6",
        ];
        crate::util::fuzz::run(|source| {
            let body = source.mutate(BODIES);
            let mut packets = decode(&body);
            let read: Vec<_> = packets.by_ref().map_while(Result::ok).collect();
            assert!(packets.next().is_none(), "nothing is read behind an error");
            assert!(read.len() <= body.len() + 1);
            let mut again = Vec::new();
            for packet in &read {
                push_separator(&mut again);
                packet.encode(&mut again);
            }
            let read_again: Vec<_> = decode(&again).map_while(Result::ok).collect();
            assert_eq!(read_again, read);
        });
    }
}
