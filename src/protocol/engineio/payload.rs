//! Polling payloads: several packets in one HTTP body (engine.io-protocol, "HTTP long-polling").

use super::packet::{Invalid, Packet};

/// What stands between two packets of a payload: the record separator.
pub(crate) const SEPARATOR: u8 = 0x1e;

/// The most packets that are put into one payload.
///
/// python-engineio drops a whole payload of more than 16; any number is accepted from others.
pub(crate) const MAX_PACKETS: usize = 16;

/// Reads the packets of a payload one after the other. The first error is the last item: what
/// follows a broken packet cannot be trusted.
pub(crate) fn decode(body: &[u8]) -> impl Iterator<Item = Result<Packet<'_>, Invalid>> {
    let mut parts = std::str::from_utf8(body).map(|text| text.split(char::from(SEPARATOR)));
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let item = match &mut parts {
            Ok(parts) => parts.next().map(Packet::decode),
            Err(_) => Some(Err(Invalid::Utf8)),
        };
        ended = matches!(item, None | Some(Err(_)));
        item
    })
}

/// Starts another packet in a payload that is being written.
pub(crate) fn separate(payload: &mut Vec<u8>) {
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
                Ok(Packet::Message(Data::Text("hello"))),
                Ok(Packet::Ping("")),
                Ok(Packet::Message(Data::Binary(Cow::Owned(vec![1, 2, 3, 4])))),
            ]
        );
    }

    #[test]
    fn nothing_is_read_behind_an_error() {
        assert_eq!(decode(b"4a\x1exx\x1e4b").last(), Some(Err(Invalid::Type)));
        assert_eq!(decode(b"").collect::<Vec<_>>(), [Err(Invalid::Empty)]);
        assert_eq!(decode(b"4\xff").collect::<Vec<_>>(), [Err(Invalid::Utf8)]);
    }

    proptest! {
        #[test]
        fn every_payload_decodes_to_itself(texts in prop::collection::vec("[^\\x1e]*", 1..20), bytes in any::<Vec<u8>>()) {
            let mut packets: Vec<Packet<'_>> =
                texts.iter().map(|text| Packet::Message(Data::Text(text))).collect();
            packets.push(Packet::Message(Data::Binary(Cow::Borrowed(&bytes))));
            let mut payload = Vec::new();
            for packet in &packets {
                separate(&mut payload);
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

    /// What is read of a body, written again, is read the same.
    #[test]
    fn spoilt_payloads_are_read_or_refused() {
        const BODIES: &[&[u8]] = &[
            "4hello\x1e2\x1ebAAEC\x1e3probe".as_bytes(),
            "42[\"event\",\"\u{20ac}\"]\x1e451-[\"x\",{\"_placeholder\":true,\"num\":0}]\x1eb//8="
                .as_bytes(),
            b"0{\"sid\":\"x\"}\x1e1\x1e5\x1e6",
        ];
        crate::fuzz::run(|source| {
            let body = source.spoil(BODIES);
            let mut packets = decode(&body);
            let read: Vec<_> = packets.by_ref().map_while(Result::ok).collect();
            assert!(packets.next().is_none(), "nothing is read behind an error");
            assert!(read.len() <= body.len() + 1);
            let mut again = Vec::new();
            for packet in &read {
                separate(&mut again);
                packet.encode(&mut again);
            }
            let read_again: Vec<_> = decode(&again).map_while(Result::ok).collect();
            assert_eq!(read_again, read);
        });
    }
}
