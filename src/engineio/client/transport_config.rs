//! Configuration of a client's transports: time-outs, proxies, TLS.

use super::endpoint::Endpoint;
#[cfg(feature = "tls")]
use super::tls::ClientTls;
use crate::error::ConnectError;
use std::net::IpAddr;
use std::time::Duration;

/// Bytes of one message that a server may send; ws, the WebSocket library of the JavaScript
/// client, has the same limit.
const MAX_MESSAGE: usize = 100 << 20;

/// Proxy through which a client connects: an HTTP proxy that knows CONNECT, or a SOCKS proxy, for
/// polling and WebSocket alike.
///
/// ```
/// use socketio::{Client, Proxy};
///
/// let client = Client::builder().proxy(Proxy::from("http://proxy.example.com:3128")).build();
/// let direct = Client::builder().proxy(Proxy::None).build();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proxy {
    /// The one that the environment names: `https_proxy` or `http_proxy`, by the scheme of the
    /// server's URL, else `all_proxy`, unless `no_proxy` lists the host, or a domain or network
    /// that it is in, as curl reads it; upper case does as well.
    #[default]
    Environment,
    /// None.
    None,
    /// This one: `http://[user:password@]host[:port]`, or one of the schemes `socks4`, `socks4a`,
    /// `socks5` and `socks5h`; those with a letter at their end resolve the server's name.
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

/// Options that the program has set.
#[derive(Clone, Debug)]
pub(crate) struct TransportConfig {
    pub(crate) request_timeout: Duration,
    pub(crate) timestamp_requests: bool,
    pub(crate) max_message: usize,
    pub(crate) outbox_bytes: usize,
    pub(crate) proxy: Proxy,
    #[cfg(feature = "tls")]
    pub(crate) tls: ClientTls,
}

impl Default for TransportConfig {
    fn default() -> Self {
        TransportConfig {
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

impl TransportConfig {
    /// Returns the proxy on the way to a server.
    pub(super) fn proxy(&self, endpoint: &Endpoint) -> Result<Option<ureq::Proxy>, ConnectError> {
        if endpoint.unix().is_some() {
            return Ok(None);
        }
        let url = match &self.proxy {
            Proxy::None => return Ok(None),
            Proxy::Url(url) => url.clone(),
            Proxy::Environment => {
                let scheme = if endpoint.is_secure() {
                    "https_proxy"
                } else {
                    "http_proxy"
                };
                let exempt = variable("no_proxy").unwrap_or_default();
                match variable(scheme).or_else(|| variable("all_proxy")) {
                    Some(url) if !is_exempt(endpoint.host(), &exempt) => url,
                    _ => return Ok(None),
                }
            }
        };
        // The URL may hold a password.
        let wrong = || {
            let message = "the proxy is not http://[user:password@]host[:port], or of socks4, socks4a, socks5 or socks5h";
            ConnectError::new(message).invalid()
        };
        let proxy = ureq::Proxy::new(&url).map_err(|_| wrong())?;
        if proxy.protocol() == ureq::ProxyProtocol::Https {
            return Err(wrong());
        }
        Ok(Some(proxy))
    }
}

/// Returns a variable of the environment, in lower or upper case, if it is set to something.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_uppercase()));
    value.ok().filter(|value| !value.is_empty())
}

/// Returns whether `no_proxy` lists a host, as curl reads it.
fn is_exempt(host: &str, list: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let ip = host.parse::<IpAddr>().ok();
    let host = host.strip_suffix('.').unwrap_or(host);
    if list.trim() == "*" {
        return true;
    }
    list.split([',', ' ', '\t'])
        .filter(|it| !it.is_empty())
        .any(|entry| {
            if let Some(ip) = ip {
                return covers(entry.trim_matches(['[', ']']), ip);
            }
            let entry = entry.strip_suffix('.').unwrap_or(entry);
            let entry = entry.strip_prefix("*").unwrap_or(entry);
            let entry = entry.strip_prefix('.').unwrap_or(entry);
            let Some(before) = host.len().checked_sub(entry.len()) else {
                return false;
            };
            let matches = host
                .get(before..)
                .is_some_and(|end| end.eq_ignore_ascii_case(entry));
            matches && !entry.is_empty() && (before == 0 || host.as_bytes()[before - 1] == b'.')
        })
}

/// Returns whether an entry (`10.0.0.0/8`, or an address) covers an address.
fn covers(entry: &str, ip: IpAddr) -> bool {
    let (network, bits) = entry
        .split_once('/')
        .map_or((entry, None), |(it, bits)| (it, Some(bits)));
    let (whole, network, ip) = match (network.parse(), ip) {
        (Ok(IpAddr::V4(a)), IpAddr::V4(b)) => {
            (32, u128::from(a.to_bits()), u128::from(b.to_bits()))
        }
        (Ok(IpAddr::V6(a)), IpAddr::V6(b)) => (128, a.to_bits(), b.to_bits()),
        _ => return false,
    };
    let bits = match bits.map(str::parse::<u32>) {
        None => whole,
        Some(Ok(bits)) if bits <= whole => bits,
        Some(_) => return false,
    };
    (network ^ ip).checked_shr(whole - bits).unwrap_or(0) == 0
}

/// The options that both clients' builders have.
macro_rules! network_options {
    ($builder:ident, $($path:ident).+) => {
        impl $builder {
            /// Sets how long a request, the way to a WebSocket, and the server's handshake may take
            /// each; a waiting poll may take as long as the server likes. Defaults to 5 s.
            #[must_use]
            pub fn request_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.$($path).+.request_timeout =
                    crate::limits::clamp_duration(timeout).max(std::time::Duration::from_millis(1));
                self
            }

            /// Sets whether requests carry the time as parameter `t`, so that no cache answers
            /// them. Defaults to `true`.
            #[must_use]
            pub fn timestamp_requests(mut self, stamp: bool) -> Self {
                self.$($path).+.timestamp_requests = stamp;
                self
            }

            /// Sets the bytes of one message, or one polling answer, that the server may send; more
            /// ends the connection. Defaults to 100 MiB; at most 4 GiB.
            #[must_use]
            pub fn max_message_size(mut self, bytes: usize) -> Self {
                self.$($path).+.max_message = bytes.clamp(1, u32::MAX as usize);
                self
            }

            /// Sets the bytes that may wait for the server to read them: whoever sends more waits
            /// until half of them have left, for as long as the server pings. The connection is
            /// ended if a handler has waited for a minute in which the server has read nothing, or
            /// if calls, acknowledgements and many threads at once make them twice as many.
            /// Defaults to 16 MB.
            #[must_use]
            pub fn max_outbox_size(mut self, bytes: usize) -> Self {
                self.$($path).+.outbox_bytes = bytes.max(1);
                self
            }

            /// Sets the proxy through which it connects: a URL, or a
            /// [`Proxy`](crate::engineio::Proxy). Defaults to what the environment says.
            #[must_use]
            pub fn proxy(mut self, proxy: impl Into<crate::engineio::Proxy>) -> Self {
                self.$($path).+.proxy = proxy.into();
                self
            }

            /// Sets how certificates are checked. Defaults to the public authorities.
            #[cfg(feature = "tls")]
            #[must_use]
            pub fn tls(mut self, tls: crate::engineio::ClientTls) -> Self {
                self.$($path).+.tls = tls;
                self
            }
        }
    };
}

pub(crate) use network_options;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_read_as_curl_reads_it() {
        for (host, list, yes) in [
            ("www.example.com", "example.com", true),
            ("example.com", ".example.com", true),
            ("nonexample.com", "example.com", false),
            ("a.b", "x, b", true),
            ("A.B.", "x b.", true),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("::1", "[::1]", true),
            ("fe80::1", "fe80::/10", true),
            ("1.2.3.4", "0.0.0.0/0", true),
            ("x", "*", true),
            ("x", "", false),
            ("a.example.com", "*.example.com", true),
            ("::2", "::/0", true),
        ] {
            assert_eq!(is_exempt(host, list), yes, "{host} {list}");
        }
    }
}
