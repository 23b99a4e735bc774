//! What one peer may cost.

use std::time::Duration;

/// What one peer may cost: bytes, counts and times, each with its default.
///
/// The defaults suit a service on the open internet. A limit that is hit closes the connection
/// (or refuses the request) that hit it, with a record in the log, and nothing else.
///
/// ```
/// use socketio::{Limits, Server};
///
/// let limits = Limits { namespaces: 10, ..Limits::default() };
/// let io = Server::builder().limits(limits).build();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one HTTP request's head, as a bound on what is kept for a client that has said
    /// nothing yet. 16 KiB.
    pub head_bytes: usize,
    /// Fields of one HTTP request's head. Browsers send about twenty. 100.
    pub head_fields: usize,
    /// How long the head of a request may take, TLS included, against clients that send it a byte
    /// at a time. 10 s.
    pub head_timeout: Duration,
    /// How long the body of a request may take. 30 s.
    pub body_timeout: Duration,
    /// How long a kept-alive connection may be silent between requests. 60 s.
    pub idle_timeout: Duration,
    /// How long a response may make no progress because its reader does not read. 30 s.
    pub write_timeout: Duration,
    /// Connections in all, clients and plain HTTP together. More are closed as they come. 100,000;
    /// the descriptors of the process (`ulimit -n`) usually end earlier.
    pub connections: usize,
    /// Attachments of one incoming packet. 255.
    pub attachments: usize,
    /// Attachments of one outgoing packet: an error at the call, since JavaScript clients close
    /// the connection on more. 10.
    pub outgoing_attachments: usize,
    /// How long the attachments of one packet may take to arrive. 10 s.
    pub attachments_timeout: Duration,
    /// Namespaces that one client may be in. 100.
    pub namespaces: usize,
    /// Bytes of an event's or a namespace's name. 256.
    pub name_bytes: usize,
    /// Depth of nested lists and objects. JSON deeper than this is an attack on the stack. 64.
    pub json_depth: usize,
    /// How long a client may stay without having joined a namespace. 45 s.
    pub connect_timeout: Duration,
    /// How long an upgrade from polling to WebSocket may take. 10 s.
    pub upgrade_timeout: Duration,
    /// Bytes that may wait for one client to read them; a slower one is disconnected. 16 MB.
    pub outbox_bytes: usize,
    /// Bytes of one client's events that may wait for their handlers. Then reading from it stops,
    /// unless an acknowledgement of it is awaited; at twice as much it stops anyway. 1 MB.
    pub inbox_bytes: usize,
    /// Acknowledgements that one client may owe on a namespace. 10,000.
    pub pending_acks: usize,
    /// Worker threads: how many handlers may run, or block, at once. 256.
    pub workers: usize,
}

/// The longest time that means anything here; later ones would be past the end of the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A time that can be added to any other.
pub(crate) fn bounded(duration: Duration) -> Duration {
    duration.min(LONGEST)
}

impl Limits {
    /// The same, with times that can be added to any other.
    pub(crate) fn bounded(self) -> Limits {
        Limits {
            head_timeout: bounded(self.head_timeout),
            body_timeout: bounded(self.body_timeout),
            idle_timeout: bounded(self.idle_timeout),
            write_timeout: bounded(self.write_timeout),
            attachments_timeout: bounded(self.attachments_timeout),
            connect_timeout: bounded(self.connect_timeout),
            upgrade_timeout: bounded(self.upgrade_timeout),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_bytes: 16 << 10,
            head_fields: 100,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            connections: 100_000,
            attachments: 255,
            outgoing_attachments: 10,
            attachments_timeout: Duration::from_secs(10),
            namespaces: 100,
            name_bytes: 256,
            json_depth: 64,
            connect_timeout: Duration::from_secs(45),
            upgrade_timeout: Duration::from_secs(10),
            outbox_bytes: 16_000_000,
            inbox_bytes: 1_000_000,
            pending_acks: 10_000,
            workers: 256,
        }
    }
}
