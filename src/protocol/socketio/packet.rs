//! A Socket.IO packet, and the errors of one.

use crate::error::LimitExceeded;
use crate::limits::Limits;
use std::fmt;

/// The seven packet types (socket.io-protocol, "Packet types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

/// One packet, borrowed from where it was read or is written from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextPacket<'a> {
    pub(crate) kind: Kind,
    pub(crate) namespace: &'a str,
    pub(crate) id: Option<u64>,
    /// Binary messages that follow. Not zero if, and only if, the kind is a binary one.
    pub(crate) attachments: usize,
    /// JSON text, checked; empty where the packet carries none.
    pub(crate) data: &'a str,
}

/// Error of a packet, or of its place in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketError {
    Kind,
    Attachments,
    Namespace,
    Id,
    Json,
    Depth,
    Payload,
    ReservedEvent,
    Name,
    Placeholder,
    /// No packet of the connection's parser.
    Packet,
    /// A number that f64 cannot hold.
    Number,
    /// Text where an attachment was due.
    TextAmidAttachments,
    /// Bytes that no packet announced.
    UnexpectedBinary,
    AttachmentsTooLarge,
    AttachmentsTooLate,
    NotConnected,
    ConnectedTwice,
    TooManyNamespaces,
    /// A kind that this side never receives.
    Direction,
    NeverConnected,
}

impl PacketError {
    /// Returns what there is too much of in an answer over a limit.
    pub(crate) fn limit_exceeded(self, limits: &Limits) -> LimitExceeded {
        let (what, limit, value) = match self {
            PacketError::Depth => (
                "levels of nested data in an answer",
                "json_depth",
                limits.json_depth,
            ),
            PacketError::Attachments => (
                "attachments in an answer",
                "attachments",
                limits.attachments,
            ),
            _ => (
                "bytes of attachments in an answer",
                "attachments_bytes",
                limits.attachments_bytes,
            ),
        };
        LimitExceeded::new(what, limit, value)
    }
}

impl PacketError {
    /// Returns the field of `Limits` that it is over, if it is a matter of one.
    pub(crate) fn limit(self) -> Option<&'static str> {
        match self {
            PacketError::Attachments => Some("attachments"),
            PacketError::Namespace | PacketError::Name => Some("name_bytes"),
            PacketError::Depth => Some("json_depth"),
            PacketError::AttachmentsTooLarge => Some("attachments_bytes"),
            PacketError::AttachmentsTooLate => Some("attachments_timeout"),
            PacketError::TooManyNamespaces => Some("namespaces"),
            PacketError::NeverConnected => Some("connect_timeout"),
            _ => None,
        }
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            PacketError::Kind => "unknown packet type",
            PacketError::Attachments => {
                "wrong number of attachments, or more than `attachments` allows"
            }
            PacketError::Namespace => "namespace name longer than `name_bytes`",
            PacketError::Id => "acknowledgement id out of range",
            PacketError::Json => "payload is not JSON",
            PacketError::Depth => "payload is nested deeper than `json_depth`",
            PacketError::Payload => "payload has the wrong shape",
            PacketError::ReservedEvent => "reserved event name",
            PacketError::Name => "event name longer than `name_bytes`",
            PacketError::Number => "number out of range",
            PacketError::Packet => "no packet of its parser",
            PacketError::Placeholder => "wrong attachment placeholder",
            PacketError::TextAmidAttachments => "text where an attachment was due",
            PacketError::UnexpectedBinary => "bytes that no packet announced",
            PacketError::AttachmentsTooLarge => "attachments larger than one packet's may be",
            PacketError::AttachmentsTooLate => "attachments stopped arriving",
            PacketError::NotConnected => "packet for a namespace that is not connected",
            PacketError::ConnectedTwice => "CONNECT to a namespace that is already connected",
            PacketError::TooManyNamespaces => "more namespaces than `namespaces`",
            PacketError::Direction => "packet type of the other side",
            PacketError::NeverConnected => "no namespace was joined within `connect_timeout`",
        })
    }
}
