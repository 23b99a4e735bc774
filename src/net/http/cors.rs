//! Rules for pages of other origins, and the headers that tell browsers of them.

use super::request::Request;
use super::response::Headers;
use std::fmt;
use std::sync::Arc;

/// The origins whose pages may connect.
///
/// Browsers name the origin of the page that makes a request. Requests without one, which is what
/// programs send, always pass: this protects users of browsers, not the server from clients.
///
/// ```
/// use socketio::{AllowedOrigins, Server};
///
/// let io = Server::builder().cors_allowed_origins(["https://a.example", "https://b.example"]).build();
/// let io = Server::builder().cors_allowed_origins("*").build();
/// let io = Server::builder()
///     .cors_allowed_origins(AllowedOrigins::matching(|origin, _request| origin.ends_with(".example")))
///     .build();
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum AllowedOrigins {
    /// The origin that the request itself was sent to, also as a proxy's `X-Forwarded-Proto`,
    /// `X-Forwarded-Host` and `X-Forwarded-Port`, or its `Forwarded`, name it. The default.
    #[default]
    Same,
    /// Any origin.
    Any,
    /// These origins alone, such as `https://example.com`: the server's own only if it is among
    /// them. `*` among them means any.
    List(Vec<String>),
    /// Origins that a function allows. It runs on a worker thread and may block.
    Function(OriginCheck),
    /// No check and no headers: somebody else, such as a proxy, takes care of CORS.
    Unchecked,
}

type OriginFunction = dyn Fn(&str, &Request) -> bool + Send + Sync;

impl AllowedOrigins {
    /// Returns the origins for which a function says yes. It runs on a worker thread and may block.
    pub fn matching(
        check: impl Fn(&str, &Request) -> bool + Send + Sync + 'static,
    ) -> AllowedOrigins {
        AllowedOrigins::Function(OriginCheck(Arc::new(check)))
    }

    /// Returns it with a list's entries in the form in which they are compared.
    ///
    /// # Panics
    /// If an entry is no origin.
    pub(crate) fn normalized(self) -> AllowedOrigins {
        match self {
            AllowedOrigins::List(list) if list.iter().any(|origin| origin == "*") => {
                AllowedOrigins::Any
            }
            AllowedOrigins::List(list) => {
                AllowedOrigins::List(list.iter().map(|it| entry(it)).collect())
            }
            other => other,
        }
    }
}

impl From<&str> for AllowedOrigins {
    /// Takes one origin, or `*` for any.
    ///
    /// # Panics
    /// If it is no origin, and so would never match: `example.com`, or one with a path.
    fn from(origin: &str) -> Self {
        AllowedOrigins::from(vec![origin.to_owned()])
    }
}

impl From<String> for AllowedOrigins {
    fn from(origin: String) -> Self {
        AllowedOrigins::from(vec![origin])
    }
}

impl From<Vec<String>> for AllowedOrigins {
    /// Takes these origins; none switches the check off, as in python; `*` among them means any.
    fn from(origins: Vec<String>) -> Self {
        if origins.is_empty() {
            return AllowedOrigins::Unchecked;
        }
        AllowedOrigins::List(origins).normalized()
    }
}

impl<const N: usize> From<[&str; N]> for AllowedOrigins {
    fn from(origins: [&str; N]) -> Self {
        AllowedOrigins::from(origins.map(str::to_owned).to_vec())
    }
}

impl fmt::Debug for AllowedOrigins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllowedOrigins::Same => formatter.write_str("Same"),
            AllowedOrigins::Any => formatter.write_str("Any"),
            AllowedOrigins::List(list) => formatter.debug_tuple("List").field(list).finish(),
            AllowedOrigins::Function(_) => formatter.write_str("Function"),
            AllowedOrigins::Unchecked => formatter.write_str("Unchecked"),
        }
    }
}

/// The check and its headers.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    pub(crate) origins: AllowedOrigins,
    pub(crate) credentials: bool,
}

/// Result of the check.
#[derive(Debug)]
pub(crate) enum CorsDecision {
    Allowed,
    Refused,
    /// A function of the program must be asked, on a worker.
    Deferred(OriginCheck),
}

/// A function of the program that allows origins: see [`AllowedOrigins::matching`].
///
/// ```
/// use socketio::{AllowedOrigins, Server};
///
/// let ours = AllowedOrigins::matching(|origin, _request| origin.ends_with(".example.com"));
/// assert!(matches!(ours, AllowedOrigins::Function(_)));
/// let io = Server::builder().cors_allowed_origins(ours).build();
/// ```
#[derive(Clone)]
pub struct OriginCheck(Arc<OriginFunction>);

impl OriginCheck {
    pub(crate) fn allows(&self, request: &Request) -> bool {
        (self.0)(request.first("origin").unwrap_or_default(), request)
    }
}

impl fmt::Debug for OriginCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OriginCheck")
    }
}

impl fmt::Display for AllowedOrigins {
    /// Formats it for the record of a refusal.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllowedOrigins::Same => formatter.write_str("that of the server itself"),
            AllowedOrigins::Any | AllowedOrigins::Unchecked => formatter.write_str("any"),
            AllowedOrigins::List(list) => write!(formatter, "{}", list.join(", ")),
            AllowedOrigins::Function(_) => {
                formatter.write_str("those that the program's function allows")
            }
        }
    }
}

impl Cors {
    pub(crate) fn check(&self, request: &Request) -> CorsDecision {
        let Some(bytes) = request.header_values("origin").next() else {
            return CorsDecision::Allowed;
        };
        let allowed = match (&self.origins, std::str::from_utf8(bytes)) {
            (AllowedOrigins::Unchecked, _) => true,
            (_, Err(_)) => false,
            (AllowedOrigins::Any, _) => true,
            (AllowedOrigins::Same, Ok(origin)) => is_same(origin, request),
            (AllowedOrigins::List(list), Ok(origin)) => list.contains(&normalized(origin)),
            (AllowedOrigins::Function(check), Ok(_)) => {
                return CorsDecision::Deferred(check.clone());
            }
        };
        if allowed {
            CorsDecision::Allowed
        } else {
            CorsDecision::Refused
        }
    }

    /// Returns the headers of an answer to an allowed request.
    pub(crate) fn headers(&self, request: &Request) -> Headers {
        let mut headers = Vec::new();
        let origin = request.first("origin");
        if let (Some(origin), false) = (origin, matches!(self.origins, AllowedOrigins::Unchecked)) {
            headers.push((
                "Access-Control-Allow-Origin".into(),
                origin.to_owned().into(),
            ));
            headers.push(("Vary".into(), "Origin".into()));
            if self.credentials {
                headers.push(("Access-Control-Allow-Credentials".into(), "true".into()));
            }
        }
        headers
    }

    /// Returns the further headers of an answer to a preflight request.
    pub(crate) fn preflight_headers(&self, request: &Request) -> Headers {
        let mut headers = self.headers(request);
        if headers.is_empty() {
            return headers;
        }
        headers.push((
            "Access-Control-Allow-Methods".into(),
            "GET,HEAD,PUT,PATCH,POST,DELETE".into(),
        ));
        if let Some(wanted) = request.first("access-control-request-headers") {
            headers.push((
                "Access-Control-Allow-Headers".into(),
                wanted.to_owned().into(),
            ));
            headers.push(("Vary".into(), "Access-Control-Request-Headers".into()));
        }
        headers
    }
}

/// The origin of a URL, as browsers compare them (RFC 6454): scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `https://example.com:8443`. `ws` and `wss` are what clients that are no browsers call
    /// `http` and `https`.
    fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        Origin::new(scheme, authority.strip_suffix('/').unwrap_or(authority))
    }

    fn new(scheme: &str, authority: &str) -> Option<Origin> {
        let (scheme, default) = match &*scheme.trim().to_ascii_lowercase() {
            "http" | "ws" => ("http", 80),
            "https" | "wss" => ("https", 443),
            _ => return None,
        };
        let authority = authority.trim();
        // The colons of an IPv6 address stand in brackets.
        let end = authority.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match authority[end..].rfind(':') {
            Some(at) => (&authority[..end + at], Some(&authority[end + at + 1..])),
            None => (authority, None),
        };
        if host.is_empty() || host.contains(['/', '?', '#', '@']) {
            return None;
        }
        Some(Origin {
            scheme: scheme.into(),
            host: host.to_ascii_lowercase(),
            port: match port {
                None | Some("") => default,
                Some(port) => port.parse().ok()?,
            },
        })
    }
}

/// Compares with the origin that the request was sent to, and with that which proxies in front say
/// it was sent to.
fn is_same(origin: &str, request: &Request) -> bool {
    let Some(origin) = Origin::parse(origin) else {
        return false;
    };
    let scheme = if request.is_secure() { "https" } else { "http" };
    let host = request.first("host").unwrap_or_default();
    if Origin::new(scheme, host).as_ref() == Some(&origin) {
        return true;
    }
    let first = |name| {
        let value = request.first(name)?;
        value.split(',').next().map(str::trim)
    };
    let [proto, forwarded_host] = forwarded(request.first("forwarded").unwrap_or_default());
    let proto = first("x-forwarded-proto").or(proto);
    let forwarded_host = first("x-forwarded-host").or(forwarded_host);
    let port = first("x-forwarded-port");
    if proto.is_none() && forwarded_host.is_none() && port.is_none() {
        return false;
    }
    let named = Origin::new(proto.unwrap_or(scheme), forwarded_host.unwrap_or(host));
    let Some(named) = named else {
        return false;
    };
    let with_port = port.and_then(|port| port.parse().ok()).map(|port| Origin {
        port,
        ..named.clone()
    });
    named == origin || with_port == Some(origin)
}

/// Returns what the first proxy of a `Forwarded` field (RFC 7239), the one nearest to the client,
/// was asked for: by which protocol, and of which host.
fn forwarded(field: &str) -> [Option<&str>; 2] {
    let element = field.split(',').next().unwrap_or_default();
    let pair = |wanted: &str| {
        element.split(';').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let is_wanted = name.trim().eq_ignore_ascii_case(wanted);
            is_wanted.then(|| value.trim().trim_matches('"'))
        })
    };
    [pair("proto"), pair("host")]
}

/// Returns an entry of a list of origins in the form in which it is compared.
///
/// # Panics
/// If no origin that a client sends can be like it.
fn entry(text: &str) -> String {
    let text = text.trim();
    assert!(
        !text.contains('*'),
        "{text:?} would never match: an entry is one whole origin, AllowedOrigins::matching takes a function for patterns"
    );
    if let Some(Origin { scheme, host, port }) = Origin::parse(text) {
        let default = if scheme == "http" { 80 } else { 443 };
        return if port == default {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{port}")
        };
    }
    // Other schemes are those of applications: `capacitor://localhost`, `file://`.
    let other = text.split_once("://");
    let is_other = other.is_some_and(|(scheme, _)| {
        !["http", "https", "ws", "wss"]
            .iter()
            .any(|it| it.eq_ignore_ascii_case(scheme))
    });
    assert!(
        is_other || text == "null",
        "{text:?} is no origin and would never match: an origin is a scheme, a host and a port, like https://example.com or http://localhost:3000"
    );
    text.to_ascii_lowercase()
}

/// Returns the form in which an origin that came is looked for in a list.
fn normalized(origin: &str) -> String {
    match Origin::parse(origin) {
        Some(_) if !origin.contains('*') => entry(origin),
        _ => origin.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::net::http::Head;
    use std::net::SocketAddr;

    fn request(secure: bool, fields: &str) -> Request {
        let text = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let peer = SocketAddr::from(([127, 0, 0, 1], 1)).into();
        let head = Head::parse(text.as_bytes(), &Limits::default(), peer, secure);
        head.unwrap().expect("a whole head").request
    }

    #[test]
    fn origins_are_compared_as_origins() {
        for (origin, secure, fields, same) in [
            ("http://a", false, "Host: a\r\n", true),
            ("https://a", false, "Host: a\r\n", false),
            ("ws://a:5000", false, "Host: a:5000\r\n", true),
            ("wss://a", true, "Host: a:443\r\n", true),
            ("http://a", false, "Host: a:80\r\n", true),
            ("http://a:8080", false, "Host: a\r\n", false),
            ("http://a.example", false, "Host: A.Example\r\n", true),
            ("HTTP://[::1]:5000", false, "Host: [::1]:5000\r\n", true),
            ("http://[::1]", false, "Host: [::1]\r\n", true),
            (
                "https://a",
                false,
                "Host: a\r\nX-Forwarded-Proto: HTTPS\r\n",
                true,
            ),
            (
                "https://a",
                false,
                "Host: a\r\nX-Forwarded-Proto: wss\r\n",
                true,
            ),
            (
                "https://a",
                false,
                "Host: b\r\nX-Forwarded-Proto: https, http\r\nX-Forwarded-Host: a, b\r\n",
                true,
            ),
            (
                "http://a:8080",
                false,
                "Host: a\r\nX-Forwarded-Port: 8080\r\n",
                true,
            ),
            (
                "https://a",
                false,
                "Host: b\r\nForwarded: for=1.2.3.4;proto=https;host=\"a\", for=x\r\n",
                true,
            ),
            (
                "https://evil",
                false,
                "Host: b\r\nForwarded: for=1.2.3.4;proto=https;host=a\r\n",
                false,
            ),
            ("file://", false, "Host: a\r\n", false),
            ("null", false, "Host: a\r\n", false),
            ("http://a@b", false, "Host: b\r\n", false),
            ("http://", false, "Host: \r\n", false),
        ] {
            assert_eq!(
                is_same(origin, &request(secure, fields)),
                same,
                "{origin} {fields}"
            );
        }
    }

    #[test]
    fn entries_are_brought_into_one_form() {
        for (given, sent) in [
            ("http://localhost:3000/", "http://localhost:3000"),
            ("HTTPS://Example.COM", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("file://", "file://"),
            ("null", "null"),
        ] {
            let cors = Cors {
                origins: AllowedOrigins::from(given),
                credentials: true,
            };
            let request = request(false, &format!("Host: x\r\nOrigin: {sent}\r\n"));
            assert!(
                matches!(cors.check(&request), CorsDecision::Allowed),
                "{given}"
            );
        }
    }

    #[test]
    fn entries_that_never_match_are_refused() {
        for text in ["localhost:3000", "example.com", "https://a/path", "http://"] {
            let refused = std::panic::catch_unwind(|| AllowedOrigins::from(text));
            assert!(refused.is_err(), "{text}");
        }
    }
}
