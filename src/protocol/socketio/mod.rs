//! Socket.IO 5, and 4 where it differs: packets, their forms, and what one connection may say.

pub(crate) mod body;
pub(crate) mod decoder;
pub(crate) mod json;
#[cfg(feature = "msgpack")]
pub(crate) mod msgpack;
pub(crate) mod packet;
pub(crate) mod parser;

pub(crate) use body::Body;
pub(crate) use decoder::{Arrival, DecoderSide, Dropped, IncomingPacket, TextDecoder};
pub(crate) use packet::{Kind, PacketError, TextPacket};
pub(crate) use parser::{PacketParser, Text, split_query};

/// The namespace that is meant where none is named.
pub(crate) const ROOT: &str = "/";

/// Returns whether the protocol keeps an event name for itself (socket.io-protocol, "Packet
/// encoding").
pub(crate) fn is_reserved(event: &str) -> bool {
    matches!(
        event,
        "connect"
            | "connect_error"
            | "disconnect"
            | "disconnecting"
            | "newListener"
            | "removeListener"
    )
}
