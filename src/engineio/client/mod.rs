//! Sessions as a client has them.
//!
//! All clients of a process share I/O threads and workers, which the first starts and the last
//! ends. What waits for the network in another way, ureq's polls and the way to a WebSocket, is a
//! task of a thread that comes and goes.

mod addresses;
mod agent;
mod blocking_pool;
mod blocking_stream;
mod cookies;
mod driver;
mod endpoint;
mod engine_client;
mod http_head;
mod polling;
mod read_coalescing;
mod requests;
mod runtime;
mod socks;
#[cfg(feature = "tls")]
mod tls;
mod transport_config;
mod websocket;
mod wire;

pub use cookies::CookieJar;
pub use engine_client::{Client, ClientBuilder};
#[cfg(feature = "tls")]
pub use tls::ClientTls;
pub use transport_config::Proxy;

pub(crate) use endpoint::Endpoint;
pub(crate) use runtime::{ClientHandle, Runtime};
pub(crate) use transport_config::{TransportConfig, network_options};

use super::handle::SessionHandle;
use super::{SessionHandler, Transport};
use crate::error::ConnectError;
use crate::protocol::engineio::OpenPacket;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(not(feature = "tls"))]
const NO_TLS: &str = "https and wss need the feature `tls`";

/// User of a client's sessions, which come one after the other. An attempt has the number that it
/// was given with [`ClientHandle::start_attempt`].
pub(crate) trait AttemptHandler: SessionHandler {
    /// Handles the failure of the attempt. Either this or `open` comes.
    fn fail(&mut self, now: Instant, attempt: u32, error: ConnectError);

    /// Handles a session that has opened.
    fn open(&mut self, now: Instant, attempt: u32, session: &Arc<SessionHandle>, open: &OpenPacket);

    /// Notes why a request of the session has failed, which therefore closes next.
    fn explain(&mut self, failure: ConnectError);

    /// Notes that the server has answered a ping, or a POST, after so long.
    fn measured(&mut self, round_trip: Duration);

    /// Returns where the JSON begins in a packet of text, if that can be told: servers of Engine.IO
    /// 3 get it in ASCII.
    fn json_at(&self, packet: &str) -> usize {
        packet.len()
    }
}

/// Parameters of an attempt to open a session.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) endpoint: Endpoint,
    pub(crate) network: Arc<TransportConfig>,
    pub(crate) transports: Vec<Transport>,
    /// The other transports are tried if the first fails.
    pub(crate) tries_all: bool,
    pub(crate) cookies: CookieJar,
}

/// Asks the program where to connect to. Runs where it may block.
pub(crate) type ResolveEndpoint = Box<dyn FnOnce() -> Result<Attempt, ConnectError> + Send>;
