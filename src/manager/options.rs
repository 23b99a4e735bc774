//! Options of a manager's connections to its broker.

use super::message::MAX_MESSAGE_BYTES;
#[cfg(feature = "tls")]
use crate::engineio::ClientTls;
use crate::error::Error;
use crate::limits::clamp_duration;
use std::time::Duration;

/// Options of the connections to a broker that its URL does not have.
///
/// ```no_run
/// use socketio::manager::{BrokerOptions, RedisManager};
/// use std::time::Duration;
///
/// let options = BrokerOptions::new().name("chat-1").timeout(Duration::from_secs(2));
/// let manager = RedisManager::with_options("redis://localhost", options)?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    pub(super) timeout: Duration,
    pub(super) name: Option<String>,
    max_message_size: Option<usize>,
    #[cfg(feature = "tls")]
    pub(super) tls: ClientTls,
}

impl BrokerOptions {
    /// Creates options with the defaults.
    #[must_use]
    pub fn new() -> BrokerOptions {
        BrokerOptions {
            timeout: Duration::from_secs(5),
            name: None,
            max_message_size: None,
            #[cfg(feature = "tls")]
            tls: ClientTls::new(),
        }
    }

    /// Sets the time within which the broker connects, and then makes progress: it confirms another
    /// message, or answers. Large messages get more, a second for each 64 KiB. Defaults to 5 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> BrokerOptions {
        self.timeout = clamp_duration(timeout).max(Duration::from_millis(1));
        self
    }

    /// Sets the name under which the broker's tools list the connections. Defaults to none.
    #[must_use]
    pub fn name(mut self, name: &str) -> BrokerOptions {
        self.name = Some(name.to_owned());
        self
    }

    /// Sets the bytes of a message that the broker takes, 64 MiB at most; more is an error at the
    /// call. Defaults to 8 MiB for Redis and 16 MiB for RabbitMQ.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> BrokerOptions {
        self.max_message_size = Some(bytes);
        self
    }

    pub(super) fn message_bytes(&self, default: usize) -> usize {
        let bytes = self.max_message_size.unwrap_or(default);
        bytes.min(MAX_MESSAGE_BYTES)
    }

    /// Sets the authorities to trust and the certificate to show, if the URL asks for TLS. Defaults
    /// to the public authorities, and no certificate.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> BrokerOptions {
        self.tls = tls;
        self
    }

    /// Returns an error for what no broker's crate can do.
    pub(super) fn check(self) -> Result<BrokerOptions, Error> {
        #[cfg(feature = "tls")]
        if self.tls.accepts_any_certificate() {
            let why = "the certificate of a broker is always checked";
            return Err(Error::InvalidArgument(why.into()));
        }
        Ok(self)
    }
}

impl Default for BrokerOptions {
    fn default() -> Self {
        BrokerOptions::new()
    }
}
