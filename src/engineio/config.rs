//! Configuration of an Engine.IO server.

use crate::error::Error;
use crate::limits::Limits;
use crate::net::http::Header;
use crate::net::http::cors::{AllowedOrigins, Cors};
use crate::protocol::engineio::handshake::milliseconds;
use crate::protocol::engineio::server::ServerConfig;
use crate::protocol::engineio::{OpenPacket, Revision};
use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// Transport of a session's packets.
///
/// ```
/// use socketio::ConnectOptions;
/// use socketio::engineio::Transport;
///
/// // Without polling before it.
/// let options = ConnectOptions::new("http://localhost:5000").transports([Transport::WebSocket]);
/// assert_eq!("polling".parse::<Transport>()?, Transport::Polling);
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// HTTP requests that wait.
    Polling,
    /// A WebSocket.
    WebSocket,
}

impl Transport {
    /// Returns `polling` or `websocket`.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Polling => "polling",
            Transport::WebSocket => "websocket",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Transport> {
        match name {
            "polling" => Some(Transport::Polling),
            "websocket" => Some(Transport::WebSocket),
            _ => None,
        }
    }
}

/// Returns a list of transports, however it was given.
pub(crate) fn copied(transports: impl IntoIterator<Item: Borrow<Transport>>) -> Vec<Transport> {
    let transports = transports.into_iter();
    transports.map(|transport| *transport.borrow()).collect()
}

impl FromStr for Transport {
    type Err = Error;

    /// Reads `polling` or `websocket`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for any other name.
    fn from_str(name: &str) -> Result<Transport, Error> {
        Transport::parse(name)
            .ok_or_else(|| Error::InvalidArgument(format!("{name:?} is no transport")))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A cookie that the answer to a handshake sets to the session's id, for load balancers.
///
/// ```
/// use socketio::engineio::Cookie;
///
/// // io=<sid>; path=/; SameSite=Lax
/// let by_name = Cookie::new("io");
/// // io=<sid>; Path=/chat; Secure
/// let with_attributes = Cookie::new("io").attribute("Path", "/chat").flag("Secure");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    /// Attributes behind the value; `None` for the default ones.
    attributes: Option<String>,
}

impl Cookie {
    /// Creates a cookie of this name, with `path=/; SameSite=Lax` unless attributes are given.
    ///
    /// # Panics
    /// If the name holds anything but what RFC 6265 allows in it.
    pub fn new(name: &str) -> Cookie {
        let allowed =
            |byte: u8| byte.is_ascii_graphic() && !br#"()<>@,;:\"/[]?={}"#.contains(&byte);
        let is_token = !name.is_empty() && name.bytes().all(allowed);
        assert!(is_token, "a cookie cannot be named {name:?}");
        Cookie {
            name: name.to_owned(),
            attributes: None,
        }
    }

    /// Adds an attribute with a value, and leaves the default ones out.
    ///
    /// # Panics
    /// If either holds control characters or semicolons.
    #[must_use]
    pub fn attribute(self, name: &str, value: &str) -> Cookie {
        self.append(&format!("{name}={value}"))
    }

    /// Adds an attribute without a value, such as `Secure`, and leaves the default ones out.
    ///
    /// # Panics
    /// If it holds control characters or semicolons.
    #[must_use]
    pub fn flag(self, name: &str) -> Cookie {
        self.append(name)
    }

    fn append(mut self, attribute: &str) -> Cookie {
        // GHSA-pxg6-pf52-xh8x: such characters begin other attributes, or other fields.
        let is_safe = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b';';
        let safe = attribute.bytes().all(is_safe);
        assert!(safe, "not an attribute of a cookie: {attribute:?}");
        let attributes = self.attributes.get_or_insert_default();
        attributes.push_str("; ");
        attributes.push_str(attribute);
        self
    }

    pub(crate) fn header(&self, sid: &str) -> Header {
        let attributes = self
            .attributes
            .as_deref()
            .unwrap_or("; path=/; SameSite=Lax");
        (
            "Set-Cookie".into(),
            format!("{}={sid}{attributes}", self.name).into(),
        )
    }
}

/// Everything that an Engine.IO server can be told, with its defaults.
#[derive(Clone, Debug)]
pub(crate) struct EngineConfig {
    pub(crate) ping_interval: Duration,
    /// Added to the interval that clients are told, so that they forgive a late ping.
    pub(crate) ping_grace: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) max_payload: usize,
    pub(crate) allow_upgrades: bool,
    pub(crate) transports: Vec<Transport>,
    pub(crate) compression: bool,
    pub(crate) compression_threshold: usize,
    /// Packets in one payload; none for what the client takes.
    pub(crate) payload_packets: Option<usize>,
    pub(crate) cookie: Option<Cookie>,
    pub(crate) cors: Cors,
    pub(crate) limits: Limits,
    /// None for one for each four cores, from 1 to 8.
    pub(crate) io_threads: Option<usize>,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    /// Clients of revision 3 are let in.
    pub(crate) allow_eio3: bool,
    /// Text that they post is repaired where it is surely encoded as UTF-8 twice.
    pub(crate) repair_eio3_text: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            ping_interval: Duration::from_secs(25),
            ping_grace: Duration::ZERO,
            ping_timeout: Duration::from_secs(20),
            max_payload: 1_000_000,
            allow_upgrades: true,
            transports: vec![Transport::Polling, Transport::WebSocket],
            compression: true,
            compression_threshold: 1024,
            payload_packets: None,
            cookie: None,
            cors: Cors {
                origins: AllowedOrigins::default(),
                credentials: true,
            },
            trusted_proxies: Vec::new(),
            allow_eio3: false,
            repair_eio3_text: false,
            limits: Limits::default(),
            io_threads: None,
        }
    }
}

impl EngineConfig {
    pub(crate) fn session_config(&self, revision: Revision) -> ServerConfig {
        ServerConfig {
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            upgrade_timeout: self.limits.upgrade_timeout,
            revision,
        }
    }

    /// Returns the content of the open packet.
    pub(crate) fn open_packet(&self, sid: &str, transport: Transport) -> OpenPacket {
        let upgrades = match transport {
            Transport::Polling if self.allow_upgrades && self.allows(Transport::WebSocket) => {
                vec![Transport::WebSocket.as_str().to_owned()]
            }
            _ => Vec::new(),
        };
        OpenPacket {
            sid: sid.to_owned(),
            upgrades,
            ping_interval: milliseconds(self.ping_interval + self.ping_grace),
            ping_timeout: milliseconds(self.ping_timeout),
            max_payload: self.max_payload as u64,
        }
    }

    pub(crate) fn allows(&self, transport: Transport) -> bool {
        self.transports.contains(&transport)
    }

    /// Returns how many I/O threads serve a port. One of them keeps several cores of handlers busy.
    pub(crate) fn io_threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.io_threads.unwrap_or((cores / 4).clamp(1, 8)).max(1)
    }
}
