//! What one connection has said so far: the packet that waits for its attachments.

use super::packet::{Invalid, Kind, Packet};
use super::parser::{Decoded, Parser, Text};
use crate::limits::Limits;
use crate::protocol::engineio::Data;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// A whole packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received<'a> {
    /// Never a binary kind: those are events and acknowledgements with attachments.
    pub(crate) kind: Kind,
    pub(crate) namespace: Cow<'a, str>,
    pub(crate) id: Option<u64>,
    /// Of an event, its name.
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) data: Cow<'a, str>,
    pub(crate) attachments: Vec<Bytes>,
}

/// Reads a connection's messages into packets.
#[derive(Debug)]
pub(crate) struct Link<P = Text> {
    parser: P,
    limits: Arc<Limits>,
    max_bytes: usize,
    partial: Option<Box<Partial>>,
}

/// A packet whose attachments have not all come.
#[derive(Debug)]
struct Partial {
    kind: Kind,
    namespace: String,
    id: Option<u64>,
    name: Option<String>,
    data: String,
    expected: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
    deadline: Instant,
}

impl Link<Text> {
    /// A link that takes packets of at most `max_bytes`, attachments included.
    pub(crate) fn new(limits: Arc<Limits>, max_bytes: usize) -> Link<Text> {
        Link {
            parser: Text,
            limits,
            max_bytes,
            partial: None,
        }
    }
}

impl<P: Parser> Link<P> {
    /// Takes a message. `admits` says of a packet's kind and namespace whether it may come now; it
    /// is asked before the first attachment is kept (python-socketio 5.16.2 did not).
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        message: Data<'a>,
        admits: impl FnOnce(Kind, &str) -> Result<(), Invalid>,
    ) -> Result<Option<Received<'a>>, Invalid> {
        match self.parser.decode(message, &self.limits)? {
            Decoded::Attachment(bytes) => self.attach(bytes),
            Decoded::Packet(..) if self.partial.is_some() => Err(Invalid::TextAmidAttachments),
            Decoded::Packet(packet, name) => {
                admits(packet.kind.plain(), packet.namespace)?;
                if packet.attachments == 0 {
                    return Ok(Some(Received::whole(packet, name)));
                }
                self.partial = Some(Box::new(Partial::new(
                    packet,
                    name,
                    now + self.limits.attachments_timeout,
                )));
                Ok(None)
            }
        }
    }

    /// When the attachments that are missing must have come.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.partial.as_ref().map(|partial| partial.deadline)
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) -> Result<(), Invalid> {
        match self.next_timeout() {
            Some(deadline) if deadline <= now => Err(Invalid::AttachmentsTooLate),
            _ => Ok(()),
        }
    }

    fn attach<'a>(&mut self, bytes: Cow<'_, [u8]>) -> Result<Option<Received<'a>>, Invalid> {
        let partial = self.partial.as_mut().ok_or(Invalid::UnexpectedBinary)?;
        partial.bytes += bytes.len();
        if partial.bytes > self.max_bytes {
            return Err(Invalid::AttachmentsTooLarge);
        }
        partial.attachments.push(match bytes {
            Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        });
        if partial.attachments.len() < partial.expected {
            return Ok(None);
        }
        Ok(self.partial.take().map(|partial| partial.finish()))
    }
}

impl<'a> Received<'a> {
    fn whole(packet: Packet<'a>, name: Option<Cow<'a, str>>) -> Received<'a> {
        Received {
            kind: packet.kind,
            namespace: Cow::Borrowed(packet.namespace),
            id: packet.id,
            name,
            data: Cow::Borrowed(packet.data),
            attachments: Vec::new(),
        }
    }
}

impl Partial {
    fn new(packet: Packet<'_>, name: Option<Cow<'_, str>>, deadline: Instant) -> Partial {
        Partial {
            kind: packet.kind.plain(),
            namespace: packet.namespace.to_owned(),
            id: packet.id,
            name: name.map(Cow::into_owned),
            data: packet.data.to_owned(),
            expected: packet.attachments,
            attachments: Vec::new(),
            bytes: packet.data.len(),
            deadline,
        }
    }

    fn finish<'a>(self) -> Received<'a> {
        Received {
            kind: self.kind,
            namespace: Cow::Owned(self.namespace),
            id: self.id,
            name: self.name.map(Cow::Owned),
            data: Cow::Owned(self.data),
            attachments: self.attachments,
        }
    }
}

impl Kind {
    /// The kind without regard to attachments.
    pub(crate) fn plain(self) -> Kind {
        match self {
            Kind::BinaryEvent => Kind::Event,
            Kind::BinaryAck => Kind::Ack,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HEADER: &str =
        r#"52-/n,7["up",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;

    fn link() -> Link {
        Link::new(Arc::new(Limits::default()), 1_000)
    }

    fn text<'a>(
        link: &mut Link,
        now: Instant,
        text: &'a str,
    ) -> Result<Option<Received<'a>>, Invalid> {
        link.receive(now, Data::Text(text), |_, _| Ok(()))
    }

    fn bytes(
        link: &mut Link,
        now: Instant,
        bytes: &'static [u8],
    ) -> Result<Option<Received<'static>>, Invalid> {
        link.receive(now, Data::Binary(Cow::Borrowed(bytes)), |_, _| Ok(()))
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
        assert_eq!(packet.attachments, ["one", "two"]);
        assert_eq!(link.next_timeout(), None);
    }

    #[test]
    fn nothing_comes_between_a_packet_and_its_attachments() {
        let (mut link, now) = (link(), Instant::now());
        text(&mut link, now, HEADER).unwrap();
        assert_eq!(
            text(&mut link, now, "2[\"a\"]"),
            Err(Invalid::TextAmidAttachments)
        );
    }

    #[test]
    fn bytes_need_a_packet_that_announces_them() {
        assert_eq!(
            bytes(&mut link(), Instant::now(), b"x"),
            Err(Invalid::UnexpectedBinary)
        );
    }

    #[test]
    fn attachments_have_a_size_and_a_deadline() {
        let (mut link, now) = (link(), Instant::now());
        text(&mut link, now, HEADER).unwrap();
        assert_eq!(
            bytes(&mut link, now, &[0; 1_000]),
            Err(Invalid::AttachmentsTooLarge)
        );

        let mut link = self::link();
        text(&mut link, now, HEADER).unwrap();
        let deadline = link.next_timeout().expect("a deadline");
        assert_eq!(deadline, now + Duration::from_secs(10));
        assert_eq!(link.on_timeout(deadline - Duration::from_millis(1)), Ok(()));
        assert_eq!(link.on_timeout(deadline), Err(Invalid::AttachmentsTooLate));
    }

    #[test]
    fn a_header_for_a_namespace_not_joined_keeps_nothing() {
        let (mut link, now) = (link(), Instant::now());
        let refused = link.receive(now, Data::Text(HEADER), |_, namespace| {
            assert_eq!(namespace, "/n");
            Err(Invalid::NotConnected)
        });
        assert_eq!(refused, Err(Invalid::NotConnected));
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
        let limits = Arc::new(Limits::default());
        crate::fuzz::run(|source| {
            let mut link = Link::new(Arc::clone(&limits), 1_000);
            let now = Instant::now();
            for _ in 0..8 {
                let bytes = source.spoil(PACKETS);
                let received = if source.once_in(2) {
                    link.receive(now, Data::Binary(bytes.into()), |_, _| Ok(()))
                } else {
                    let text = String::from_utf8_lossy(&bytes);
                    let received = link.receive(now, Data::Text(&text), |_, _| Ok(()));
                    if let Ok(Some(whole)) = received {
                        assert!(whole.attachments.is_empty(), "text completes nothing");
                        continue;
                    }
                    received.map(|_| None)
                };
                match received {
                    Ok(Some(whole)) => {
                        let held: usize = whole.attachments.iter().map(Bytes::len).sum();
                        assert!(held + whole.data.len() <= 2_000, "what one packet may hold");
                        assert!(link.next_timeout().is_none());
                    }
                    Ok(None) => {}
                    // The connection ends with it.
                    Err(_) => return,
                }
            }
        });
    }
}
