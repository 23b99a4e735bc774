//! What a Socket.IO packet is made of.

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
pub(crate) struct Packet<'a> {
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
pub(crate) enum Invalid {
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

impl Invalid {
    /// Of an answer over a limit, what there is too much of.
    pub(crate) fn exceeds(self, limits: &Limits) -> LimitExceeded {
        let (what, limit, value) = match self {
            Invalid::Depth => (
                "levels of nested data in an answer",
                "json_depth",
                limits.json_depth,
            ),
            Invalid::Attachments => (
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

impl Invalid {
    /// Returns the field of `Limits` that it is over, if it is a matter of one.
    pub(crate) fn limit(self) -> Option<&'static str> {
        match self {
            Invalid::Attachments => Some("attachments"),
            Invalid::Namespace | Invalid::Name => Some("name_bytes"),
            Invalid::Depth => Some("json_depth"),
            Invalid::AttachmentsTooLarge => Some("attachments_bytes"),
            Invalid::AttachmentsTooLate => Some("attachments_timeout"),
            Invalid::TooManyNamespaces => Some("namespaces"),
            Invalid::NeverConnected => Some("connect_timeout"),
            _ => None,
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Invalid::Kind => "unknown packet type",
            Invalid::Attachments => {
                "wrong number of attachments, or more than `attachments` allows"
            }
            Invalid::Namespace => "namespace name longer than `name_bytes`",
            Invalid::Id => "acknowledgement id out of range",
            Invalid::Json => "payload is not JSON",
            Invalid::Depth => "payload is nested deeper than `json_depth`",
            Invalid::Payload => "payload has the wrong shape",
            Invalid::ReservedEvent => "reserved event name",
            Invalid::Name => "event name longer than `name_bytes`",
            Invalid::Number => "number out of range",
            Invalid::Packet => "no packet of its parser",
            Invalid::Placeholder => "wrong attachment placeholder",
            Invalid::TextAmidAttachments => "text where an attachment was due",
            Invalid::UnexpectedBinary => "bytes that no packet announced",
            Invalid::AttachmentsTooLarge => "attachments larger than one packet's may be",
            Invalid::AttachmentsTooLate => "attachments stopped arriving",
            Invalid::NotConnected => "packet for a namespace that is not connected",
            Invalid::ConnectedTwice => "CONNECT to a namespace that is already connected",
            Invalid::TooManyNamespaces => "too many namespaces",
            Invalid::Direction => "packet type of the other side",
            Invalid::NeverConnected => "no namespace was joined in time",
        })
    }
}
