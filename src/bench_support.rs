//! Inner parts that the benches in `benches/` use. Not a part of the API: it may change at any
//! time.

#![allow(missing_docs)]

use crate::data::EncodedArgs;
use crate::engineio::Frames;
use crate::error::Error;
use crate::handlers::encode;
use crate::handlers::handler::{BoxedHandler, boxed};
use crate::handlers::{Event, EventSource, Handler, IncomingEvent, IntoAck};
use crate::limits::Limits;
use crate::manager::BroadcastTarget;
use crate::net::outbox::{Flush, Outbox};
use crate::net::websocket::{self, Role};
use crate::parser::Wire;
use crate::parser::incoming::PacketDecoder;
use crate::protocol::engineio::Revision;
use crate::protocol::engineio::{Data, payload};
use crate::protocol::socketio::{Arrival, Body, DecoderSide, Kind, PacketParser, Text, TextPacket};
use crate::server::rooms::RoomIndex;
use crate::util::budget::Share;
use serde::Serialize;
use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;

/// Decodes one Socket.IO packet of text, and checks it.
pub fn decode_packet(text: &str, limits: &Limits) -> bool {
    black_box(Text::default().decode(Data::Text(text), limits)).is_ok()
}

/// Encodes an event as a finished frame.
pub fn encode_event(event: &str, data: &impl Serialize) -> usize {
    let Ok(data) = EncodedArgs::new(data) else {
        return 0;
    };
    let packet = TextPacket {
        kind: Kind::Event,
        namespace: "/",
        id: None,
        attachments: 0,
        data: "",
    };
    let frames = Frames::build(
        |out| {
            Text::default().encode(&packet, out);
            data.write_array(Some(event), out);
        },
        &data.attachments,
    );
    frames.0.len()
}

/// Splits a polling payload into its packets; returns how many there are.
pub fn decode_payload(body: &[u8]) -> usize {
    payload::decode(body).filter(Result::is_ok).count()
}

/// Unmasks a frame's payload in place.
pub fn unmask(payload: &mut [u8]) {
    websocket::apply_mask(payload, [1, 2, 3, 4]);
}

/// A handler and an event that it handles over and over.
#[derive(Debug)]
pub struct Dispatch {
    peer: Arc<Nobody>,
    handler: Stored,
    json: String,
}

struct Stored(BoxedHandler<()>);

impl std::fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Stored")
    }
}

impl Dispatch {
    /// Keeps an event: a JSON array with the name first.
    pub fn new<S>(json: &str, handler: impl Handler<(), S, Output: IntoAck>) -> Dispatch {
        Dispatch {
            peer: Arc::new(Nobody("/".into())),
            handler: Stored(boxed(handler)),
            json: json.to_owned(),
        }
    }

    /// Makes the event, calls the handler, and encodes the acknowledgement; returns its length.
    pub fn run(&self) -> usize {
        let peer = Arc::clone(&self.peer) as Arc<dyn EventSource>;
        let event = Event::new(peer, Cow::Borrowed("echo"), Body::text(&self.json), Some(1));
        let mut answer = EncodedArgs::default();
        let handled = (self.handler.0)(&IncomingEvent { event, peer: () }, &mut answer);
        handled.map_or(0, |()| answer.items.len())
    }
}

/// An event that is read, handled and acknowledged over and over, in one form or another.
#[derive(Debug)]
pub struct Echo {
    dispatch: Dispatch,
    parser: crate::Parser,
    message: crate::engineio::Message,
    limits: Arc<Limits>,
}

impl Echo {
    /// Writes the event in the form of a parser.
    pub fn new<S>(
        parser: crate::Parser,
        data: &impl Serialize,
        handler: impl Handler<(), S, Output: IntoAck>,
    ) -> Option<Echo> {
        let wire = Wire::new(&parser, parser.first_form());
        let data = EncodedArgs::with(wire.form.encoding(), data).ok()?;
        let frames = encode::event_frames(wire, "/", "echo", Some(1), &data).ok()?;
        let (is_text, start, end) = websocket::parse_frame(&frames.0)?;
        let message = match is_text {
            true => String::from_utf8(frames.0[start + 1..end].to_vec())
                .ok()?
                .into(),
            false => frames.0.slice(start..end).into(),
        };
        Some(Echo {
            dispatch: Dispatch::new("", handler),
            parser,
            message,
            limits: Arc::new(Limits::default()),
        })
    }

    /// Reads it, calls the handler and writes the acknowledgement; returns the length of that.
    pub fn run(&self) -> usize {
        use crate::engineio::Message;
        let data = match &self.message {
            Message::Text(text) => Data::Text(text),
            Message::Binary(bytes) => Data::Binary(Cow::Borrowed(bytes)),
        };
        let (limits, side) = (Arc::clone(&self.limits), DecoderSide::Server);
        let mut decoder = PacketDecoder::new(&self.parser, limits, side, Revision::V4);
        let received = decoder.receive(std::time::Instant::now(), data, |_, _| Ok(()));
        let Ok(Some(Arrival::Packet(packet))) = received else {
            return 0;
        };
        let peer = Arc::clone(&self.dispatch.peer) as Arc<dyn EventSource>;
        let event = Event::new(
            peer,
            packet.name.unwrap_or_default(),
            packet.body,
            packet.id,
        );
        let mut answer = EncodedArgs::default();
        answer.encoding = event.encoding();
        let incoming = IncomingEvent { event, peer: () };
        let handled = (self.dispatch.handler.0)(&incoming, &mut answer);
        let mut buffer = Vec::new();
        let wire = Wire::new(&self.parser, self.parser.first_form());
        let written = encode::write_ack(wire, "/", 1, &answer, &mut buffer);
        handled.map_or(0, |()| written.map_or(0, |_| buffer.len()))
    }
}

/// A peer that takes everything and does nothing.
#[derive(Debug)]
struct Nobody(Arc<str>);

impl EventSource for Nobody {
    fn namespace(&self) -> &Arc<str> {
        &self.0
    }

    fn sid(&self) -> &str {
        "nobody"
    }

    fn acknowledge(&self, _: u64, _: &EncodedArgs) -> Result<(), Error> {
        Ok(())
    }
}

/// Clients in rooms, a tenth of them in `some`.
#[derive(Debug)]
pub struct RoomTable(RoomIndex<u32>);

impl RoomTable {
    pub fn new(clients: u32, members: u32) -> RoomTable {
        let rooms = RoomIndex::new();
        for number in 0..clients {
            let sid: Arc<str> = number.to_string().into();
            rooms.insert(Arc::clone(&sid), number);
            rooms.admit(&sid);
            let room = if number < members { "some" } else { "others" };
            let _ = rooms.enter(&sid, room);
        }
        RoomTable(rooms)
    }

    /// Returns the same, with each client in so many rooms more.
    pub fn in_rooms(clients: u32, members: u32, rooms: u32) -> RoomTable {
        let table = RoomTable::new(clients, members);
        for number in 0..clients {
            for room in 0..rooms {
                let _ = table.0.enter(&number.to_string(), &format!("room {room}"));
            }
        }
        table
    }

    /// Returns the number of members of a room, or of clients with a sid.
    pub fn select(&self, name: &str) -> usize {
        let recipients = BroadcastTarget {
            rooms: Some(vec![name.to_owned()]),
            ..BroadcastTarget::default()
        };
        self.0.select(&recipients).len()
    }
}

/// Outboxes of clients that are not being written to.
#[derive(Debug)]
pub struct Outboxes(Vec<Outbox>);

impl Outboxes {
    pub fn new(count: usize) -> Outboxes {
        Outboxes(
            (0..count)
                .map(|_| Outbox::detached(Role::Server, usize::MAX, Share::default()))
                .collect(),
        )
    }

    /// Encodes an event once and puts it into every outbox, then empties them.
    pub fn broadcast(&self, data: &impl Serialize) {
        let mut buffer = Vec::new();
        websocket::write_frame(
            true,
            &serde_json::to_vec(data).unwrap_or_default(),
            &mut buffer,
        );
        let frames = bytes::Bytes::from(buffer);
        for outbox in &self.0 {
            let _ = black_box(outbox.append_shared(&frames, Flush::Now));
        }
        for outbox in &self.0 {
            outbox.drain_frames(|_, _| true);
        }
    }
}
