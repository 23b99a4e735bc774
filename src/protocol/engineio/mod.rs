//! Engine.IO 4: packets, polling payloads, the handshake, and the session of each side.

pub(crate) mod client;
pub(crate) mod handshake;
pub(crate) mod packet;
pub(crate) mod payload;
pub(crate) mod server;
#[cfg(test)]
mod tests;

pub(crate) use handshake::Open;
pub(crate) use packet::{Data, Packet};
