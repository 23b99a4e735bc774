//! How a client reaches its server: time-outs, proxies, TLS.

use super::target::Target;
#[cfg(feature = "tls")]
use super::tls::ClientTls;
use crate::error::ConnectError;
use std::time::Duration;
use ureq::http::Uri;

/// Bytes of one message that a server may send; ws, the WebSocket library of the JavaScript
/// client, has the same limit.
const MAX_MESSAGE: usize = 100 << 20;

/// Through what a client connects: an HTTP proxy that knows CONNECT, for polling and WebSocket
/// alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proxy {
    /// The one that the environment names: `https_proxy` or `http_proxy`, by the scheme of the
    /// server's URL, else `all_proxy`, unless `no_proxy` lists the host; upper case does as well.
    #[default]
    Environment,
    /// None.
    None,
    /// This one: `http://[user:password@]host[:port]`.
    Url(String),
}

impl From<&str> for Proxy {
    fn from(url: &str) -> Self {
        Proxy::Url(url.to_owned())
    }
}

impl From<String> for Proxy {
    fn from(url: String) -> Self {
        Proxy::Url(url)
    }
}

/// What the program has chosen.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) request_timeout: Duration,
    pub(crate) timestamp_requests: bool,
    pub(crate) max_message: usize,
    pub(crate) outbox_bytes: usize,
    pub(crate) proxy: Proxy,
    #[cfg(feature = "tls")]
    pub(crate) tls: ClientTls,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            request_timeout: Duration::from_secs(5),
            timestamp_requests: true,
            max_message: MAX_MESSAGE,
            outbox_bytes: 16_000_000,
            proxy: Proxy::Environment,
            #[cfg(feature = "tls")]
            tls: ClientTls::new(),
        }
    }
}

impl Network {
    /// The proxy on the way to a server.
    pub(super) fn proxy(&self, target: &Target) -> Result<Option<ureq::Proxy>, ConnectError> {
        let url = match &self.proxy {
            Proxy::None => return Ok(None),
            Proxy::Url(url) => url.clone(),
            Proxy::Environment => {
                let scheme = if target.is_secure() {
                    "https_proxy"
                } else {
                    "http_proxy"
                };
                match variable(scheme).or_else(|| variable("all_proxy")) {
                    Some(url) if !is_exempt(target) => url,
                    _ => return Ok(None),
                }
            }
        };
        // The URL may hold a password.
        let wrong = || ConnectError::new("the proxy is not http://[user:password@]host[:port]");
        let proxy = ureq::Proxy::new(&url).map_err(|_| wrong())?;
        if proxy.protocol() == ureq::ProxyProtocol::Http {
            Ok(Some(proxy))
        } else {
            Err(wrong())
        }
    }
}

/// A variable of the environment, in lower or upper case, if it is set to something.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_uppercase()));
    value.ok().filter(|value| !value.is_empty())
}

/// Whether `no_proxy` lists a server, by ureq's reading of it.
fn is_exempt(target: &Target) -> bool {
    let uri: Result<Uri, _> = target.url(None, false).parse();
    match (ureq::Proxy::try_from_env(), uri) {
        (Some(proxy), Ok(uri)) => proxy.is_no_proxy(&uri),
        _ => false,
    }
}

/// The options that both clients' builders have.
macro_rules! network_options {
    ($builder:ident, $($path:ident).+) => {
        impl $builder {
            /// How long a request, the way to a WebSocket, and the server's handshake may take each;
            /// a waiting poll may take as long as the server likes. 5 s.
            #[must_use]
            pub fn request_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.$($path).+.request_timeout =
                    crate::limits::bounded(timeout).max(std::time::Duration::from_millis(1));
                self
            }

            /// Whether requests carry the time as parameter `t`, so that no cache answers them.
            /// They do.
            #[must_use]
            pub fn timestamp_requests(mut self, stamp: bool) -> Self {
                self.$($path).+.timestamp_requests = stamp;
                self
            }

            /// Bytes of one message, or one polling answer, that the server may send; more ends the
            /// connection. 100 MiB; at most 4 GiB.
            #[must_use]
            pub fn max_message_size(mut self, bytes: usize) -> Self {
                self.$($path).+.max_message = bytes.clamp(1, u32::MAX as usize);
                self
            }

            /// Bytes that may wait for the server to read them: whoever sends more waits until half
            /// of them have left, for as long as the server pings. The connection is ended if a handler has waited for a minute in which the server has read nothing, or if calls,
            /// acknowledgements and many threads at once make them twice as many. 16 MB.
            #[must_use]
            pub fn max_outbox_size(mut self, bytes: usize) -> Self {
                self.$($path).+.outbox_bytes = bytes.max(1);
                self
            }

            /// Through what it connects: a URL, or a [`Proxy`](crate::Proxy). What the environment
            /// says.
            #[must_use]
            pub fn proxy(mut self, proxy: impl Into<crate::Proxy>) -> Self {
                self.$($path).+.proxy = proxy.into();
                self
            }

            /// How certificates are checked. By the public authorities.
            #[cfg(feature = "tls")]
            #[must_use]
            pub fn tls(mut self, tls: crate::ClientTls) -> Self {
                self.$($path).+.tls = tls;
                self
            }
        }
    };
}

pub(crate) use network_options;
