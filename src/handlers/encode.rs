//! Events and acknowledgements on their way out.

use crate::data::args::EncodedArgs;
use crate::engineio::{Frames, frames};
use crate::error::Error;
use crate::limits::OUTGOING_NAME_BYTES;
use crate::protocol::socketio::{Kind, Packet, Parser, Text, is_reserved};
use serde::Serialize;

/// Returns data as it is sent, after a look at what every recipient takes.
pub(crate) fn encode(
    event: &str,
    data: impl Serialize,
    max_attachments: usize,
) -> Result<EncodedArgs, Error> {
    if is_reserved(event) {
        return Err(Error::Invalid(format!(
            "{event:?} is a name that the protocol keeps for itself"
        )));
    }
    if event.len() > OUTGOING_NAME_BYTES {
        return Err(Error::Invalid(format!(
            "an event's name of {} bytes: the other side may refuse more than {OUTGOING_NAME_BYTES}",
            event.len()
        )));
    }
    let data = EncodedArgs::new(&data)?;
    data.check(max_attachments)?;
    Ok(data)
}

/// Returns an event as everybody on a namespace gets it.
pub(crate) fn event_frames(
    namespace: &str,
    event: &str,
    id: Option<u64>,
    data: &EncodedArgs,
) -> Frames {
    let mut buffer = Vec::with_capacity(128);
    write_event(namespace, event, id, data, &mut buffer);
    Frames(buffer.into())
}

/// Writes an event as frames; returns the length of the largest message in them.
pub(crate) fn write_event(
    namespace: &str,
    event: &str,
    id: Option<u64>,
    data: &EncodedArgs,
    buffer: &mut Vec<u8>,
) -> usize {
    let kinds = (Kind::Event, Kind::BinaryEvent);
    write(kinds, namespace, id, Some(event), data, buffer)
}

/// Writes an acknowledgement as frames; returns the length of the largest message in them.
pub(crate) fn write_ack(
    namespace: &str,
    id: u64,
    answer: &EncodedArgs,
    buffer: &mut Vec<u8>,
) -> usize {
    let kinds = (Kind::Ack, Kind::BinaryAck);
    write(kinds, namespace, Some(id), None, answer, buffer)
}

/// Returns a packet without arguments.
pub(crate) fn packet_frames(kind: Kind, namespace: &str, data: &str) -> Frames {
    let packet = Packet {
        kind,
        namespace,
        id: None,
        attachments: 0,
        data,
    };
    Frames::build(|out| Text::default().encode(&packet, out), &[])
}

/// Writes a packet with arguments; of the two kinds the second is that with attachments.
fn write(
    kinds: (Kind, Kind),
    namespace: &str,
    id: Option<u64>,
    event: Option<&str>,
    data: &EncodedArgs,
    buffer: &mut Vec<u8>,
) -> usize {
    let attachments = data.attachments.len();
    let packet = Packet {
        kind: if attachments == 0 { kinds.0 } else { kinds.1 },
        namespace,
        id,
        attachments,
        data: "",
    };
    let text = frames::append_text(buffer, |out| {
        Text::default().encode(&packet, out);
        data.write_array(event, out);
    });
    frames::append_binaries(buffer, &data.attachments);
    let binaries = data.attachments.iter().map(|bytes| bytes.len());
    binaries.max().unwrap_or(0).max(text)
}
