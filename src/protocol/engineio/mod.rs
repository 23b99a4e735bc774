//! Engine.IO 4, and 3 where it differs: packets, polling payloads, the handshake, and the session of
//! each side.

pub(crate) mod client;
pub(crate) mod handshake;
pub(crate) mod packet;
pub(crate) mod payload;
pub(crate) mod payload_v3;
pub(crate) mod server;
#[cfg(test)]
mod tests;

pub(crate) use handshake::OpenPacket;
pub(crate) use packet::{Data, EnginePacket};

/// Revision of the protocol that a session speaks: the `EIO` of its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Revision {
    /// Clients of the 1.x and 2.x generation: they send the pings, and write payloads and bytes in
    /// forms of their own.
    V3,
    #[default]
    V4,
}

impl Revision {
    pub(crate) fn number(self) -> u8 {
        match self {
            Revision::V3 => 3,
            Revision::V4 => 4,
        }
    }
}
