//! Sessions of revision 3, where they differ from those of revision 4: the forms of their
//! payloads. How its heartbeat differs is in `protocol::engineio::server`.

use super::frames::wants_text;
use super::poll_body::PollBody;
use crate::net::http::{Header, Request, form_field};
use crate::net::outbox::Outbox;
use crate::protocol::engineio::packet::EnginePacketError;
use crate::protocol::engineio::{EnginePacket, Revision, payload, payload_v3};

/// The forms in which a client of revision 3 reads and writes payloads. Its first request decides;
/// what later ones say changes nothing, as for the reference server.
#[derive(Debug)]
pub(super) struct Eio3 {
    takes_bytes: bool,
    /// The page's callback, of a client that reads scripts and posts forms.
    callback: Option<u64>,
}

impl Eio3 {
    /// Returns the forms of the client that opens a session; none if it speaks revision 4.
    pub(super) fn of(request: &Request) -> Option<Box<Eio3>> {
        if request.param("EIO").as_deref() == Some("4") {
            return None;
        }
        let callback = request.param("j").map(|text| {
            // engine.io, `polling-jsonp`: what is no digit is dropped.
            let digits = text.chars().filter(char::is_ascii_digit).take(18);
            digits.collect::<String>().parse().unwrap_or(0)
        });
        Some(Box::new(Eio3 {
            takes_bytes: callback.is_none() && !wants_text(request),
            callback,
        }))
    }

    /// Returns the field that lets old versions of Internet Explorer read answers, whose filter takes
    /// scripts of this kind for attacks.
    pub(super) fn header(request: &Request) -> Option<Header> {
        let agent = request.first("user-agent")?;
        let is_old = agent.contains(";MSIE") || agent.contains("Trident/");
        is_old.then(|| ("X-XSS-Protection".into(), "0".into()))
    }

    /// Returns an answer of one packet that is no message.
    pub(super) fn control(&self, packet: &[u8]) -> PollBody {
        let mut writer = payload_v3::Writer::new(false);
        writer.push_text(&String::from_utf8_lossy(packet), usize::MAX);
        self.answer(writer)
    }

    /// Takes a payload's worth of packets, as [`polling::take_payload`](super::polling::take_payload)
    /// does. `json_at` says where in a packet of text its JSON begins.
    pub(super) fn take_payload(
        &self,
        outbox: &Outbox,
        max_bytes: usize,
        max_packets: usize,
        json_at: impl Fn(&str) -> usize,
    ) -> (PollBody, bool) {
        let (writer, left) =
            take_payload(outbox, self.takes_bytes, max_bytes, max_packets, json_at);
        (self.answer(writer), left)
    }

    /// Returns the payload that was posted.
    pub(super) fn read_body(&self, body: Vec<u8>, repairs: bool) -> Vec<u8> {
        let body = match self.callback {
            None => body,
            Some(_) => {
                let data = form_field(&body, "d").unwrap_or_default();
                payload_v3::of_form(&data).into_bytes()
            }
        };
        if repairs {
            payload_v3::repaired(body)
        } else {
            body
        }
    }

    fn answer(&self, writer: payload_v3::Writer) -> PollBody {
        let (bytes, is_binary) = writer.finish();
        match self.callback {
            Some(callback) => {
                let payload = String::from_utf8_lossy(&bytes);
                PollBody {
                    bytes: payload_v3::script(callback, &payload).into_bytes(),
                    kind: "text/javascript; charset=UTF-8",
                }
            }
            None if is_binary => PollBody {
                bytes,
                kind: "application/octet-stream",
            },
            None => PollBody::text(bytes),
        }
    }
}

/// Takes a payload's worth of packets, in at most so many bytes, unless the first alone is larger;
/// returns also whether any is left.
pub(super) fn take_payload(
    outbox: &Outbox,
    takes_bytes: bool,
    max_bytes: usize,
    max_packets: usize,
    json_at: impl Fn(&str) -> usize,
) -> (payload_v3::Writer, bool) {
    let mut writer = payload_v3::Writer::new(takes_bytes);
    let mut count = 0;
    let left = outbox.drain_frames(|is_text, packet| {
        let fits = count == 0 || (count < max_packets && writer.len() + packet.len() <= max_bytes);
        if !fits {
            return false;
        }
        count += 1;
        if is_text {
            let packet = String::from_utf8_lossy(packet);
            writer.push_text(&packet, json_at(&packet));
        } else {
            writer.push_binary(packet);
        }
        true
    });
    (writer, left)
}

/// The packets of a payload, in the form of a revision.
pub(super) enum Packets<'a> {
    V3(payload_v3::PayloadPacketsV3<'a>),
    V4(payload::PayloadPackets<'a>),
}

impl<'a> Packets<'a> {
    pub(super) fn new(revision: Revision, body: &'a [u8], is_binary: bool) -> Packets<'a> {
        match revision {
            Revision::V3 => Packets::V3(payload_v3::decode(body, is_binary)),
            Revision::V4 => Packets::V4(payload::decode(body)),
        }
    }

    /// Returns the bytes that have not been read; none if the payload is at its end.
    pub(super) fn left(&self) -> Option<usize> {
        match self {
            Packets::V3(packets) => packets.left(),
            Packets::V4(packets) => packets.left(),
        }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<EnginePacket<'a>, EnginePacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Packets::V3(packets) => packets.next(),
            Packets::V4(packets) => packets.next(),
        }
    }
}
