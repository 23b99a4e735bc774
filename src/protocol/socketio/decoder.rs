//! Decoder of one connection's packets, with the one that waits for its attachments.

use super::body::Body;
use super::json;
use super::packet::{Kind, PacketError, TextPacket};
use super::parser::{Decoded, PacketParser, Text, query_as_json};
use crate::limits::Limits;
use crate::protocol::engineio::{Data, Revision};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// A whole packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IncomingPacket<'a> {
    /// Never a binary kind: those are events and acknowledgements with attachments.
    pub(crate) kind: Kind,
    pub(crate) namespace: Cow<'a, str>,
    pub(crate) id: Option<u64>,
    /// Of an event, its name.
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) body: Body<'a>,
}

/// Result of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<'a> {
    Packet(IncomingPacket<'a>),
    /// An event or an acknowledgement that is over a limit: its messages were skipped.
    Dropped(Dropped<'a>),
}

/// A packet that was not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dropped<'a> {
    /// Never a binary kind.
    pub(crate) kind: Kind,
    pub(crate) namespace: Cow<'a, str>,
    pub(crate) id: Option<u64>,
    pub(crate) why: PacketError,
}

/// Reads a connection's messages into packets.
#[derive(Debug)]
pub(crate) struct TextDecoder<P = Text> {
    parser: P,
    revision: Revision,
    limits: Arc<Limits>,
    side: DecoderSide,
    partial: Option<Box<PartialPacket>>,
}

/// The side of a connection on which a decoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecoderSide {
    /// A server closes on what its reference closes on.
    Server,
    /// A client bears more of the server that it has chosen: too many attachments are skipped, and
    /// python's `NaN` is null.
    Client,
}

/// A packet whose attachments have not all come.
#[derive(Debug)]
struct PartialPacket {
    kind: Kind,
    namespace: String,
    id: Option<u64>,
    name: Option<String>,
    data: String,
    /// Attachments that are still to come.
    missing: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
    /// Error of a packet that is only skipped.
    dropped: Option<PacketError>,
    /// By when something more must have come.
    deadline: Instant,
}

impl TextDecoder<Text> {
    pub(crate) fn new(
        limits: Arc<Limits>,
        side: DecoderSide,
        revision: Revision,
    ) -> TextDecoder<Text> {
        TextDecoder {
            parser: Text { revision },
            revision,
            limits,
            side,
            partial: None,
        }
    }
}

impl<P: PacketParser> TextDecoder<P> {
    /// Takes a message. `validate` says of a packet's kind and namespace whether it may come now;
    /// it is asked before the first attachment is kept (python-socketio 5.16.2 did not).
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        message: Data<'a>,
        validate: impl Fn(Kind, &str) -> Result<(), PacketError>,
    ) -> Result<Option<Arrival<'a>>, PacketError> {
        let text = match message {
            Data::Binary(_) => return self.read(now, message, validate),
            Data::Text(text) => text,
        };
        let is_lenient = self.side == DecoderSide::Client;
        if !json::has_lone_surrogate(text) {
            match self.read(now, message, &validate) {
                Err(PacketError::Number) => {}
                Err(PacketError::Json) if is_lenient => {}
                result => return result,
            }
        }
        // Rare, and so read from a copy. Names of namespaces are no JSON.
        let (head, data) = text.split_at(self.parser.data_at(text));
        let text = format!("{head}{}", json::normalized(data, is_lenient));
        let arrival = self.read(now, Data::Text(&text), validate)?;
        Ok(arrival.map(Arrival::into_owned))
    }

    fn read<'a>(
        &mut self,
        now: Instant,
        message: Data<'a>,
        validate: impl Fn(Kind, &str) -> Result<(), PacketError>,
    ) -> Result<Option<Arrival<'a>>, PacketError> {
        let (packet, name, dropped) = match self.parser.decode(message, &self.limits)? {
            Decoded::Attachment(bytes) => return self.attach(now, bytes),
            Decoded::Packet(packet, name) => (packet, name, None),
            Decoded::OverLimit(_, PacketError::Attachments) if self.side == DecoderSide::Server => {
                return Err(PacketError::Attachments);
            }
            Decoded::OverLimit(packet, why) => (packet, None, Some(why)),
        };
        if self.partial.is_some() {
            return Err(PacketError::TextAmidAttachments);
        }
        validate(packet.kind.without_binary(), packet.namespace)?;
        if packet.attachments > 0 {
            let deadline = now + self.limits.attachments_timeout;
            let partial = PartialPacket::new(packet, name, dropped, deadline);
            self.partial = Some(Box::new(partial));
            return Ok(None);
        }
        Ok(Some(match dropped {
            None if packet.kind == Kind::Connect && self.revision == Revision::V3 => {
                Arrival::Packet(IncomingPacket {
                    body: Body::Json(Cow::Owned(query_as_json(packet.data)), Vec::new()),
                    ..IncomingPacket::whole(packet, name)
                })
            }
            None => Arrival::Packet(IncomingPacket::whole(packet, name)),
            Some(why) => Arrival::Dropped(Dropped {
                kind: packet.kind,
                namespace: Cow::Borrowed(packet.namespace),
                id: packet.id,
                why,
            }),
        }))
    }

    /// Returns the bytes of an unfinished packet that it keeps.
    pub(crate) fn kept(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.bytes)
    }

    /// Returns when something more must have come of the attachments that are missing.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.partial.as_ref().map(|partial| partial.deadline)
    }

    /// Notes that something has come from the peer, if only a part of an attachment: only silence
    /// counts.
    pub(crate) fn on_traffic(&mut self, now: Instant) {
        if let Some(partial) = &mut self.partial {
            partial.deadline = now + self.limits.attachments_timeout;
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) -> Result<(), PacketError> {
        match self.next_timeout() {
            Some(deadline) if deadline <= now => Err(PacketError::AttachmentsTooLate),
            _ => Ok(()),
        }
    }

    fn attach<'a>(
        &mut self,
        now: Instant,
        bytes: Cow<'_, [u8]>,
    ) -> Result<Option<Arrival<'a>>, PacketError> {
        self.on_traffic(now);
        let partial = self.partial.as_mut().ok_or(PacketError::UnexpectedBinary)?;
        partial.missing -= 1;
        if partial.dropped.is_none() {
            partial.bytes += bytes.len();
            partial.attachments.push(match bytes {
                Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
                Cow::Owned(bytes) => Bytes::from(bytes),
            });
            if partial.bytes > self.limits.attachments_bytes {
                partial.drop_content(PacketError::AttachmentsTooLarge);
            }
        }
        if partial.missing > 0 {
            return Ok(None);
        }
        Ok(self.partial.take().map(|partial| partial.finish()))
    }
}

impl Arrival<'_> {
    pub(crate) fn into_owned<'a>(self) -> Arrival<'a> {
        match self {
            Arrival::Packet(packet) => Arrival::Packet(IncomingPacket {
                kind: packet.kind,
                namespace: Cow::Owned(packet.namespace.into_owned()),
                id: packet.id,
                name: packet.name.map(|name| Cow::Owned(name.into_owned())),
                body: packet.body.into_owned(),
            }),
            Arrival::Dropped(dropped) => Arrival::Dropped(Dropped {
                namespace: Cow::Owned(dropped.namespace.into_owned()),
                ..dropped
            }),
        }
    }
}

impl<'a> IncomingPacket<'a> {
    fn whole(packet: TextPacket<'a>, name: Option<Cow<'a, str>>) -> IncomingPacket<'a> {
        IncomingPacket {
            kind: packet.kind,
            namespace: Cow::Borrowed(packet.namespace),
            id: packet.id,
            name,
            body: Body::text(packet.data),
        }
    }
}

impl PartialPacket {
    fn new(
        packet: TextPacket<'_>,
        name: Option<Cow<'_, str>>,
        dropped: Option<PacketError>,
        deadline: Instant,
    ) -> PartialPacket {
        PartialPacket {
            kind: packet.kind.without_binary(),
            namespace: packet.namespace.to_owned(),
            id: packet.id,
            name: name.map(Cow::into_owned),
            data: packet.data.to_owned(),
            missing: packet.attachments,
            attachments: Vec::new(),
            bytes: packet.data.len(),
            dropped,
            deadline,
        }
    }

    /// Keeps no more than is needed to know where the packet ends.
    fn drop_content(&mut self, why: PacketError) {
        self.dropped = Some(why);
        self.name = None;
        self.data = String::new();
        self.attachments = Vec::new();
        self.bytes = 0;
    }

    fn finish<'a>(self) -> Arrival<'a> {
        let namespace = Cow::Owned(self.namespace);
        match self.dropped {
            Some(why) => Arrival::Dropped(Dropped {
                kind: self.kind,
                namespace,
                id: self.id,
                why,
            }),
            None => Arrival::Packet(IncomingPacket {
                kind: self.kind,
                namespace,
                id: self.id,
                name: self.name.map(Cow::Owned),
                body: Body::Json(Cow::Owned(self.data), self.attachments),
            }),
        }
    }
}

impl Kind {
    /// Returns the kind without regard to attachments.
    pub(crate) fn without_binary(self) -> Kind {
        match self {
            Kind::BinaryEvent => Kind::Event,
            Kind::BinaryAck => Kind::Ack,
            other => other,
        }
    }

    /// Returns whether it is an event or an acknowledgement.
    pub(crate) fn has_arguments(self) -> bool {
        matches!(self.without_binary(), Kind::Event | Kind::Ack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HEADER: &str =
        r#"52-/n,7["up",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;

    fn link() -> TextDecoder {
        let limits = Limits {
            attachments_bytes: 1_000,
            ..Limits::default()
        };
        TextDecoder::new(Arc::new(limits), DecoderSide::Server, Revision::V4)
    }

    fn packet(arrival: Arrival<'_>) -> IncomingPacket<'_> {
        match arrival {
            Arrival::Packet(packet) => packet,
            Arrival::Dropped(dropped) => panic!("{dropped:?}"),
        }
    }

    fn data<'a>(packet: &'a IncomingPacket<'_>) -> &'a str {
        match &packet.body {
            Body::Json(text, _) => text,
            #[cfg(feature = "msgpack")]
            Body::Msgpack(_) => unreachable!("of text"),
        }
    }

    fn attachments<'a>(packet: &'a IncomingPacket<'_>) -> &'a [Bytes] {
        match &packet.body {
            Body::Json(_, attachments) => attachments,
            #[cfg(feature = "msgpack")]
            Body::Msgpack(_) => unreachable!("of text"),
        }
    }

    fn text<'a>(
        link: &mut TextDecoder,
        now: Instant,
        text: &'a str,
    ) -> Result<Option<IncomingPacket<'a>>, PacketError> {
        let arrival = link.receive(now, Data::Text(text), |_, _| Ok(()))?;
        Ok(arrival.map(packet))
    }

    fn bytes(
        link: &mut TextDecoder,
        now: Instant,
        bytes: &'static [u8],
    ) -> Result<Option<IncomingPacket<'static>>, PacketError> {
        let data = Data::Binary(Cow::Borrowed(bytes));
        let arrival = link.receive(now, data, |_, _| Ok(()))?;
        Ok(arrival.map(packet))
    }

    #[test]
    fn attachments_complete_their_packet() {
        let (mut link, now) = (link(), Instant::now());
        assert_eq!(text(&mut link, now, HEADER), Ok(None));
        assert_eq!(bytes(&mut link, now, b"one"), Ok(None));
        let packet = bytes(&mut link, now, b"two").unwrap().expect("complete");
        assert_eq!(
            (packet.kind, &*packet.namespace, packet.id),
            (Kind::Event, "/n", Some(7))
        );
        assert_eq!(packet.name.as_deref(), Some("up"));
        assert_eq!(attachments(&packet), ["one", "two"]);
        assert_eq!(link.next_timeout(), None);
    }

    #[test]
    fn nothing_comes_between_a_packet_and_its_attachments() {
        let (mut link, now) = (link(), Instant::now());
        text(&mut link, now, HEADER).unwrap();
        assert_eq!(
            text(&mut link, now, "2[\"a\"]"),
            Err(PacketError::TextAmidAttachments)
        );
    }

    #[test]
    fn bytes_need_a_packet_that_announces_them() {
        assert_eq!(
            bytes(&mut link(), Instant::now(), b"x"),
            Err(PacketError::UnexpectedBinary)
        );
    }

    #[test]
    fn attachments_have_a_size_and_may_not_stop_coming() {
        let (mut link, now) = (link(), Instant::now());
        text(&mut link, now, HEADER).unwrap();
        assert_eq!(bytes(&mut link, now, &[0; 1_000]), Ok(None));
        assert_eq!(link.kept(), 0, "nothing of it is kept");
        let data = Data::Binary(Cow::Borrowed(b"x"));
        let arrival = link.receive(now, data, |_, _| Ok(())).unwrap();
        let Some(Arrival::Dropped(dropped)) = arrival else {
            panic!("{arrival:?}");
        };
        assert_eq!((dropped.kind, dropped.id), (Kind::Event, Some(7)));
        assert_eq!(dropped.why, PacketError::AttachmentsTooLarge);
        assert!(text(&mut link, now, "2[\"a\"]").unwrap().is_some());

        let mut link = self::link();
        let patience = Limits::default().attachments_timeout;
        text(&mut link, now, HEADER).unwrap();
        assert_eq!(link.next_timeout(), Some(now + patience));
        let later = now + patience - Duration::from_millis(1);
        assert_eq!(link.on_timeout(later), Ok(()));
        link.on_traffic(later);
        assert_eq!(link.on_timeout(now + patience), Ok(()), "a part has come");
        assert_eq!(
            link.on_timeout(later + patience),
            Err(PacketError::AttachmentsTooLate)
        );
    }

    #[test]
    fn an_event_over_a_limit_is_skipped_with_its_attachments() {
        let deep = format!("52-[\"deep\",{}1{}]", "[".repeat(80), "]".repeat(80));
        let (mut link, now) = (link(), Instant::now());
        assert_eq!(text(&mut link, now, &deep), Ok(None));
        assert_eq!(bytes(&mut link, now, b"one"), Ok(None));
        let data = Data::Binary(Cow::Borrowed(b"two"));
        let arrival = link.receive(now, data, |_, _| Ok(())).unwrap();
        let is_depth = |it: &Dropped| it.why == PacketError::Depth && it.kind == Kind::Event;
        assert!(matches!(arrival, Some(Arrival::Dropped(it)) if is_depth(&it)));
        let long = format!("2/n,[\"{}\"]", "x".repeat(300));
        let arrival = link.receive(now, Data::Text(&long), |_, _| Ok(())).unwrap();
        let is_name = |it: &Dropped| it.why == PacketError::Name && it.namespace == "/n";
        assert!(matches!(arrival, Some(Arrival::Dropped(it)) if is_name(&it)));
    }

    #[test]
    fn a_client_skips_too_many_attachments_and_a_server_closes() {
        let now = Instant::now();
        for side in [DecoderSide::Server, DecoderSide::Client] {
            let mut link = TextDecoder::new(Arc::new(Limits::default()), side, Revision::V4);
            let result = text(&mut link, now, "5256-[\"x\"]");
            match side {
                DecoderSide::Server => assert_eq!(result, Err(PacketError::Attachments)),
                DecoderSide::Client => assert_eq!(result, Ok(None)),
            }
        }
    }

    #[test]
    fn half_a_pair_is_replaced_wherever_it_stands() {
        let (mut link, now) = (link(), Instant::now());
        let named = text(&mut link, now, r#"2/t-5e999,2["\ud83d"]"#)
            .unwrap()
            .unwrap();
        assert_eq!((&*named.namespace, named.id), ("/t-5e999", Some(2)));
        let event = text(&mut link, now, r#"2["n\ud83d",{"k\udead":"\ud83d"}]"#)
            .unwrap()
            .unwrap();
        assert_eq!(event.name.as_deref(), Some("n\u{fffd}"));
        assert_eq!(data(&event), r#"["n\ufffd",{"k\ufffd":"\ufffd"}]"#);
        let header = r#"51-["x",{"_placeholder":true,"num":0},"\ud83d",1e400]"#;
        assert_eq!(text(&mut link, now, header), Ok(None));
        let event = bytes(&mut link, now, b"one").unwrap().unwrap();
        assert!(
            data(&event).ends_with(r#","\ufffd",null]"#),
            "{}",
            data(&event)
        );
        assert_eq!(text(&mut link, now, "2[\"a\",NaN]"), Err(PacketError::Json));
        let mut link = TextDecoder::new(
            Arc::new(Limits::default()),
            DecoderSide::Client,
            Revision::V4,
        );
        let event = text(&mut link, now, "2[\"a\",NaN]").unwrap().unwrap();
        assert_eq!(data(&event), "[\"a\",null]");
    }

    #[test]
    fn a_header_for_a_namespace_not_joined_keeps_nothing() {
        let (mut link, now) = (link(), Instant::now());
        let refused = link.receive(now, Data::Text(HEADER), |_, namespace| {
            assert_eq!(namespace, "/n");
            Err(PacketError::NotConnected)
        });
        assert_eq!(refused, Err(PacketError::NotConnected));
        assert!(link.partial.is_none());
    }

    /// A packet comes out with the attachments that it announced, or not at all.
    #[test]
    fn spoilt_packets_are_read_or_refused() {
        const PACKETS: &[&[u8]] = &[
            b"2[\"event\",{\"a\":[1,2.5e3,null,true]},\"\\u00e9\"]",
            b"52-/chat,17[\"event\",{\"_placeholder\":true,\"num\":0},[{\"_placeholder\":true,\"num\":1}]]",
            b"61-3[{\"_placeholder\":true,\"num\":0}]",
            b"0/chat,{\"token\":\"x\"}",
            b"3/chat,12[]",
            b"1/chat,",
            b"4{\"message\":\"no\"}",
        ];
        let limits = Arc::new(Limits {
            attachments_bytes: 1_000,
            ..Limits::default()
        });
        crate::util::fuzz::run(|source| {
            let mut link = TextDecoder::new(Arc::clone(&limits), DecoderSide::Server, Revision::V4);
            let now = Instant::now();
            for _ in 0..8 {
                let bytes = source.mutate(PACKETS);
                let received = if source.one_in(2) {
                    link.receive(now, Data::Binary(bytes.into()), |_, _| Ok(()))
                } else {
                    let text = String::from_utf8_lossy(&bytes);
                    let received = link.receive(now, Data::Text(&text), |_, _| Ok(()));
                    if let Ok(Some(arrival)) = received {
                        if let Arrival::Packet(whole) = arrival {
                            assert!(attachments(&whole).is_empty(), "text completes nothing");
                        }
                        continue;
                    }
                    received.map(|_| None)
                };
                match received {
                    Ok(Some(Arrival::Packet(whole))) => {
                        assert!(whole.body.len() <= 2_000, "what one packet may hold");
                        assert!(link.next_timeout().is_none());
                    }
                    Ok(Some(Arrival::Dropped(_)) | None) => assert!(link.kept() <= 2_000),
                    // The connection ends with it.
                    Err(_) => return,
                }
            }
        });
    }
}
