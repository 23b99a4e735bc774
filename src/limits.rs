//! Limits of what one peer may cost, and counts of what was refused because of them.

use crate::util::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Methods that set the fields of their names, so that limits are written as other options are.
macro_rules! setters {
    ($limits:ident { $($field:ident: $kind:ty,)* }) => {
        impl $limits {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](", "#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $field(mut self, value: $kind) -> Self {
                    self.$field = value;
                    self
                }
            )*
        }
    };
}

/// Limits of the cost of one peer: bytes, counts and times, each with its default.
///
/// The defaults suit a service on the open internet. A limit that is hit closes the connection, or
/// refuses the request, that hit it, with a record in the log, and nothing else; an event that is
/// too deep, or too large, is dropped.
///
/// ```
/// use socketio::{Limits, Server};
///
/// let limits = Limits::default().namespaces(10).workers(64);
/// assert_eq!(limits.namespaces, 10);
/// let io = Server::builder().limits(limits).build();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one HTTP request's head, as a bound on what is kept for a client that has said
    /// nothing yet. Defaults to 16 KiB.
    pub head_bytes: usize,
    /// Fields of one HTTP request's head. Browsers send about twenty. Defaults to 100.
    pub head_fields: usize,
    /// Time that the head of a request may take, TLS included, against clients that send it a byte
    /// at a time. Defaults to 10 s.
    pub head_timeout: Duration,
    /// Time that the body of a request may make no progress, which is a kibibyte, or its end.
    /// Defaults to 30 s.
    pub body_timeout: Duration,
    /// Bytes of a body for the program's own application; clients' have
    /// [`max_http_buffer_size`](crate::ServerBuilder::max_http_buffer_size). Defaults to 10 MB.
    pub http_body_bytes: usize,
    /// The same as `body_timeout`, for the program's own application. Defaults to 30 s.
    pub http_body_timeout: Duration,
    /// Time that a kept-alive connection may be silent between requests. Longer than the 60 s after
    /// which load balancers give up theirs: who closes first loses no request. Defaults to 75 s.
    pub idle_timeout: Duration,
    /// Time that a response may make no progress because its reader does not read. Defaults to 30
    /// s.
    pub write_timeout: Duration,
    /// Connections in all, clients and plain HTTP together; a request that the program's own
    /// application has still to answer counts as one more. More are closed as they come; the
    /// descriptors of the process (`ulimit -n`) usually end earlier. Defaults to 100,000.
    pub connections: usize,
    /// The same for one address, unless it is one of
    /// [`trusted_proxies`](crate::ServerBuilder::trusted_proxies). Behind an unnamed proxy all
    /// clients have its address, so there is room for a good many. Defaults to 10,000.
    pub connections_per_address: usize,
    /// Sessions that one address may open in a second, in bursts of up to one second's worth. More
    /// are refused with status 429. Clients that have lost a server come back within a few seconds,
    /// up to all those behind one address. Defaults to no limit, `usize::MAX`.
    pub handshakes_per_second: usize,
    /// Events and acknowledgements of one client in a second, in bursts of up to one second's
    /// worth. Beyond that reading from it waits, and nothing is lost; if it has waited for a minute
    /// without a pause, the client is disconnected. Defaults to no limit, `usize::MAX`.
    pub events_per_second: usize,
    /// Bytes of one client's messages in a second, in the same way. Defaults to no limit,
    /// `usize::MAX`.
    pub bytes_per_second: usize,
    /// Sessions in all that were opened over polling and have not moved to a WebSocket. They need
    /// no connection that stays. More are refused with status 503. Defaults to 50,000.
    pub polling_sessions: usize,
    /// The same for one address, which may be that of a proxy. Defaults to 10,000.
    pub polling_sessions_per_address: usize,
    /// Bytes that are kept of the head of the request that opened a session, for
    /// [`Socket::request`](crate::Socket::request). What concerns HTTP alone is not kept, and of a
    /// larger head the longest fields are not. Defaults to 4 KiB.
    pub session_head_bytes: usize,
    /// Attachments of one incoming packet. Defaults to 255.
    pub attachments: usize,
    /// Bytes of all attachments of one incoming packet. An event with more is dropped. Defaults to
    /// 16 MB.
    pub attachments_bytes: usize,
    /// Attachments of one outgoing packet: more are an error at the call, since JavaScript clients
    /// close the connection on them. Bytes that are equal are sent, and counted, once. Defaults to
    /// 10.
    pub outgoing_attachments: usize,
    /// Time that a client may be silent while attachments of a packet are missing. As long as a
    /// client that answers pings may be silent. Defaults to 45 s.
    pub attachments_timeout: Duration,
    /// Namespaces that one client may be in. Defaults to 100.
    pub namespaces: usize,
    /// Bytes of an event's or a namespace's name. An event with a longer one is dropped. Defaults
    /// to 256.
    pub name_bytes: usize,
    /// Depth of nested lists and objects, at most 500: JSON deeper than this is an attack on the
    /// stack. An event that is deeper is dropped. Defaults to 64.
    pub json_depth: usize,
    /// Time that a client may stay without having joined a namespace. Defaults to 45 s.
    pub connect_timeout: Duration,
    /// Time that an upgrade from polling to WebSocket may take. Defaults to 10 s.
    pub upgrade_timeout: Duration,
    /// Bytes that may wait for one client to read them; a slower one is disconnected. One message
    /// at a time that is larger than a quarter of this, or than all of it, may wait beside them.
    /// Defaults to 16 MB.
    pub outbox_bytes: usize,
    /// Bytes of one client's events that may wait for their handlers. Then reading from it stops,
    /// unless an acknowledgement of it is awaited; at twice as much it stops anyway. Defaults to 1
    /// MB.
    pub inbox_bytes: usize,
    /// Bytes that may wait in all outboxes and inboxes of a port together, in steps of 16 KiB for
    /// each. Beyond that clients that hold the most are disconnected, and nothing more is read from
    /// those whose events wait. A quarter of the memory that the machine, or the container, has.
    pub buffered_bytes: usize,
    /// Acknowledgements that one client may owe on a namespace. Defaults to 10,000.
    pub pending_acks: usize,
    /// Worker threads: how many handlers may run, or block, at once. Defaults to 256.
    pub workers: usize,
    /// Counts of what has been refused because of them.
    pub(crate) refused: Refusals,
}

/// Counts of what was refused, by the limit. No part of equality.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Refusals {
    /// The limits that are counted: fields, and the server's option `max_http_buffer_size`.
    const LIMITS: [&str; 26] = [
        "attachments",
        "attachments_bytes",
        "attachments_timeout",
        "body_timeout",
        "buffered_bytes",
        "bytes_per_second",
        "connect_timeout",
        "connections",
        "connections_per_address",
        "events_per_second",
        "handshakes_per_second",
        "head_bytes",
        "head_fields",
        "head_timeout",
        "http_body_bytes",
        "http_body_timeout",
        "inbox_bytes",
        "json_depth",
        "max_http_buffer_size",
        "name_bytes",
        "namespaces",
        "outbox_bytes",
        "pending_acks",
        "polling_sessions",
        "polling_sessions_per_address",
        "write_timeout",
    ];

    pub(crate) fn note(&self, limit: &'static str) {
        debug_assert!(Refusals::LIMITS.contains(&limit), "{limit} is counted");
        *self.0.lock().entry(limit).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock();
        // Those that were never hit too: rates are reckoned from zero.
        let count = |limit: &&'static str| (*limit, counts.get(limit).copied().unwrap_or(0));
        Refusals::LIMITS.iter().map(count).collect()
    }
}

impl PartialEq for Refusals {
    fn eq(&self, _: &Refusals) -> bool {
        true
    }
}

impl Eq for Refusals {}

setters!(Limits {
    head_bytes: usize,
    head_fields: usize,
    head_timeout: Duration,
    body_timeout: Duration,
    http_body_bytes: usize,
    http_body_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    connections: usize,
    connections_per_address: usize,
    handshakes_per_second: usize,
    events_per_second: usize,
    bytes_per_second: usize,
    polling_sessions: usize,
    polling_sessions_per_address: usize,
    session_head_bytes: usize,
    attachments: usize,
    attachments_bytes: usize,
    outgoing_attachments: usize,
    attachments_timeout: Duration,
    namespaces: usize,
    name_bytes: usize,
    json_depth: usize,
    connect_timeout: Duration,
    upgrade_timeout: Duration,
    outbox_bytes: usize,
    inbox_bytes: usize,
    buffered_bytes: usize,
    pending_acks: usize,
    workers: usize,
});

/// Bytes of memory that are assumed where the system does not tell.
const ASSUMED_MEMORY: usize = 4 << 30;

/// Limits of what this crate sends, in one packet or message between servers, and takes as a
/// client: an event that some recipients could not take is an error where it is emitted.
pub(crate) const OUTGOING_NAME_BYTES: usize = 64 << 10;
pub(crate) const OUTGOING_JSON_DEPTH: usize = 128;
pub(crate) const OUTGOING_ATTACHMENTS: usize = 1_000;
/// Bytes of the text of one packet, and of all its attachments: below what ws, the WebSocket
/// library of the JavaScript client, takes of one message, and this crate's client.
pub(crate) const OUTGOING_BYTES: usize = 100_000_000;

/// The deepest JSON that fits on the stack of any thread, whatever types it is decoded into.
const MAX_JSON_DEPTH: usize = 500;

/// The longest time that means anything here; later ones would be past the end of the clock.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Returns a time that can be added to any other.
pub(crate) fn clamp_duration(duration: Duration) -> Duration {
    duration.min(MAX_DURATION)
}

impl Limits {
    /// Returns the same with times that can be added to any other, a depth that serde_json can
    /// read, and nothing refused yet.
    pub(crate) fn clamped(self) -> Limits {
        Limits {
            head_timeout: clamp_duration(self.head_timeout),
            body_timeout: clamp_duration(self.body_timeout),
            idle_timeout: clamp_duration(self.idle_timeout),
            write_timeout: clamp_duration(self.write_timeout),
            http_body_timeout: clamp_duration(self.http_body_timeout),
            attachments_timeout: clamp_duration(self.attachments_timeout),
            json_depth: self.json_depth.min(MAX_JSON_DEPTH),
            connect_timeout: clamp_duration(self.connect_timeout),
            upgrade_timeout: clamp_duration(self.upgrade_timeout),
            refused: Refusals::default(),
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
            http_body_bytes: 10_000_000,
            http_body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            connections: 100_000,
            connections_per_address: 10_000,
            handshakes_per_second: usize::MAX,
            events_per_second: usize::MAX,
            bytes_per_second: usize::MAX,
            polling_sessions: 50_000,
            polling_sessions_per_address: 10_000,
            session_head_bytes: 4 << 10,
            attachments: 255,
            attachments_bytes: 16_000_000,
            outgoing_attachments: 10,
            attachments_timeout: Duration::from_secs(45),
            namespaces: 100,
            name_bytes: 256,
            json_depth: 64,
            connect_timeout: Duration::from_secs(45),
            upgrade_timeout: Duration::from_secs(10),
            outbox_bytes: 16_000_000,
            inbox_bytes: 1_000_000,
            buffered_bytes: memory() / 4,
            pending_acks: 10_000,
            workers: 256,
            refused: Refusals::default(),
        }
    }
}

/// Limits of what a client accepts from its server. Wider than a server's [`Limits`]: a client has
/// chosen its server.
///
/// An event over one of these is dropped, with a warning; an acknowledgement is
/// [`Error::LimitExceeded`](crate::Error::LimitExceeded) for who waits for it.
///
/// ```
/// use socketio::{Client, ReceiveLimits};
///
/// let limits = ReceiveLimits::default().json_depth(300);
/// let client = Client::builder().receive_limits(limits).build();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveLimits {
    /// Attachments of one packet. Defaults to 1,000.
    pub attachments: usize,
    /// Bytes of all attachments of one packet. Defaults to 100 MB.
    pub attachments_bytes: usize,
    /// Bytes of an event's or a namespace's name. Defaults to 64 KiB.
    pub name_bytes: usize,
    /// Depth of nested lists and objects, at most 500. Defaults to 128.
    pub json_depth: usize,
}

setters!(ReceiveLimits {
    attachments: usize,
    attachments_bytes: usize,
    name_bytes: usize,
    json_depth: usize,
});

impl ReceiveLimits {
    /// Returns them as the limits of a connection: attachments may take as long as the server
    /// lives.
    pub(crate) fn to_limits(&self) -> Limits {
        Limits {
            attachments: self.attachments,
            attachments_bytes: self.attachments_bytes,
            name_bytes: self.name_bytes,
            json_depth: self.json_depth.min(MAX_JSON_DEPTH),
            attachments_timeout: MAX_DURATION,
            ..Limits::default()
        }
    }
}

impl Default for ReceiveLimits {
    fn default() -> Self {
        ReceiveLimits {
            attachments: OUTGOING_ATTACHMENTS,
            attachments_bytes: OUTGOING_BYTES,
            name_bytes: OUTGOING_NAME_BYTES,
            json_depth: OUTGOING_JSON_DEPTH,
        }
    }
}

/// Returns the bytes of memory that this process may use at most, asked once.
fn memory() -> usize {
    static MEMORY: OnceLock<usize> = OnceLock::new();
    *MEMORY.get_or_init(|| {
        let read = |path| std::fs::read_to_string(path).ok();
        let total = read("/proc/meminfo").and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            let kibibytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
            kibibytes.checked_mul(1 << 10)
        });
        let container = read("/sys/fs/cgroup/memory.max")
            .or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
            .and_then(|text| text.trim().parse().ok());
        [total, container]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(ASSUMED_MEMORY)
    })
}
