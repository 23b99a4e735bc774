//! Sessions as a client has them.
//!
//! All clients of a process share I/O threads and workers, which the first starts and the last
//! ends. What waits for the network in another way, ureq's polls and the way to a WebSocket, is an
//! errand of a thread that comes and goes.

mod addresses;
mod agent;
mod cookies;
mod driver;
mod errands;
mod http_head;
mod lull;
mod network;
mod polling;
mod public;
mod requests;
mod runtime;
mod socks;
mod target;
#[cfg(feature = "tls")]
mod tls;
mod websocket;
mod wire;

pub use network::Proxy;
pub use public::{Client, ClientBuilder};
#[cfg(feature = "tls")]
pub use tls::ClientTls;

pub(crate) use network::{Network, network_options};
pub(crate) use runtime::{Line, Runtime};
pub(crate) use target::Target;

use super::session::Handle;
use super::{Flow, Transport};
use crate::error::ConnectError;
use crate::pool::Busy;
use crate::protocol::engineio::{Data, Open};
use crate::reason::Reason;
use std::sync::Arc;
use std::time::Instant;

#[cfg(not(feature = "tls"))]
const NO_TLS: &str = "https and wss need the feature `tls`";

/// Owner of sessions, one after the other: a client. Called on its I/O thread. An attempt has the
/// number that it was given with [`Line::dial`].
pub(crate) trait Caller: Send {
    /// The attempt has failed. Either this or `open` comes.
    fn fail(&mut self, now: Instant, attempt: u32, error: ConnectError);

    /// A session is open.
    fn open(&mut self, now: Instant, attempt: u32, session: &Arc<Handle>, open: &Open);

    fn receive(&mut self, now: Instant, message: Data<'_>) -> Flow;

    /// All messages of one read have come.
    fn pause(&mut self, now: Instant) -> Flow;

    /// The session is about to end: the last chance to tell the server why.
    fn farewell(&mut self) {}

    /// The session that was open has ended; with what had failed, if a request had.
    fn close(&mut self, now: Instant, attempt: u32, reason: Reason, failure: Option<ConnectError>);

    fn next_timeout(&self) -> Option<Instant>;

    fn timeout(&mut self, now: Instant) -> Flow;

    /// Returns the state of the queue of what has come.
    fn busy(&self) -> Busy;
}

/// Parameters of an attempt to open a session.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) target: Target,
    pub(crate) network: Arc<Network>,
    pub(crate) transports: Vec<Transport>,
}

/// Asks the program where to connect to. Runs where it may block.
pub(crate) type Prepare = Box<dyn FnOnce() -> Result<Attempt, ConnectError> + Send>;
