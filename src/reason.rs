//! Why a connection ended.

use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// Reason why a client's connection to a namespace, or an Engine.IO session, ended.
///
/// It displays the words that python-socketio uses: `ping timeout`, `client disconnect`, ...
///
/// ```
/// use socketio::{Reason, Server, Socket};
///
/// let io = Server::new();
/// io.on_disconnect(|socket: &Socket, reason: Reason| match reason {
///     Reason::ClientDisconnect => println!("{} has left", socket.sid()),
///     other => println!("{} was lost: {other}", socket.sid()),
/// });
/// assert_eq!("ping timeout".parse::<Reason>()?, Reason::PingTimeout);
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The client said so: a DISCONNECT packet or an Engine.IO close packet. On a client, its own
    /// `disconnect`.
    ClientDisconnect,
    /// The server decided it: `disconnect`, a shutdown, a namespace that was never joined in time,
    /// a protocol error, more unhandled events than the limits allow. On a client, a DISCONNECT
    /// packet; a session that the server closes is a `TransportClose` there.
    ServerDisconnect,
    /// The client did not answer a ping in time; on a client, no ping came in time.
    PingTimeout,
    /// The connection went away.
    TransportClose,
    /// An error of the socket, of TLS or of HTTP, or a reader that was too slow.
    TransportError,
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Reason; 5] = [
        Reason::ClientDisconnect,
        Reason::ServerDisconnect,
        Reason::PingTimeout,
        Reason::TransportClose,
        Reason::TransportError,
    ];

    /// Returns the words that python-socketio uses for this reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ClientDisconnect => "client disconnect",
            Reason::ServerDisconnect => "server disconnect",
            Reason::PingTimeout => "ping timeout",
            Reason::TransportClose => "transport close",
            Reason::TransportError => "transport error",
        }
    }
}

impl FromStr for Reason {
    type Err = Error;

    /// Reads the words that [`as_str`](Reason::as_str) returns.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for any others.
    fn from_str(words: &str) -> Result<Reason, Error> {
        let found = Reason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == words);
        found.ok_or_else(|| {
            Error::InvalidArgument(format!("{words:?} is no reason of a disconnection"))
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
