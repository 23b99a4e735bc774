//! The server that a client connects to, as a URL and options name it.

use crate::error::ConnectError;
use crate::protocol::engineio::Revision;
use crate::util::percent::{decode_percent, encode_percent};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use ureq::http::{HeaderName, HeaderValue};
use url::Url;

/// Parameters that the protocol adds to each request.
const OWN_PARAMETERS: [&str; 4] = ["transport", "EIO", "t", "sid"];
/// Headers whose values follow from what is sent.
const OWN_HEADERS: [&str; 8] = [
    "Connection",
    "Content-Length",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "TE",
    "Transfer-Encoding",
    "Upgrade",
];

/// A server's address, and what every request to it carries.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    secure: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// The Unix socket in the place of host and port.
    unix: Option<Arc<Path>>,
    /// Host and port as the program wrote them.
    authority: String,
    /// `/socket.io/`
    path: String,
    /// The program's own parameters.
    query: String,
    headers: Vec<(String, String)>,
    revision: Revision,
}

impl Endpoint {
    /// Reads a URL of the schemes `http`, `https`, `ws` or `wss`; without one it is `http`. Its own
    /// path is ignored, as in python-socketio: the endpoint is at `path`. That of a `unix:` URL is
    /// the socket's.
    pub(crate) fn new(
        url: &str,
        path: &str,
        headers: Vec<(String, String)>,
    ) -> Result<Endpoint, ConnectError> {
        let wrong = |why: &str| {
            ConnectError::new(format!("{url:?} is no URL of a server: {why}")).invalid()
        };
        let (whole, unix) = match unix_path(url) {
            Some((path, query)) if cfg!(unix) && path.starts_with('/') => {
                let path = decode_percent(path);
                let socket = Path::new(&*String::from_utf8_lossy(&path)).into();
                (format!("http://localhost/{query}"), Some(socket))
            }
            Some(_) if cfg!(unix) => return Err(wrong("unix: is followed by an absolute path")),
            Some(_) => return Err(wrong("this system has no Unix sockets")),
            None if has_scheme(url.trim_start()) => (url.trim_start().to_owned(), None),
            None => (format!("http://{}", url.trim_start()), None),
        };
        // WHATWG's rules find a host in the path of `http:///chat`.
        if whole
            .split_once("://")
            .is_some_and(|it| it.1.starts_with('/'))
        {
            return Err(wrong("it has no host"));
        }
        let parsed = Url::parse(&whole).map_err(|error| wrong(&error.to_string()))?;
        let mut endpoint = Endpoint::of(&parsed).map_err(wrong)?;
        endpoint.path = match path.trim_matches('/') {
            "" => "/".to_owned(),
            path => format!("/{path}/"),
        };
        endpoint.unix = unix;
        endpoint.headers.splice(0..0, headers);
        endpoint.check_headers()?;
        Ok(endpoint)
    }

    /// Returns the server of a URL, with its path and query, and its login as a header.
    fn of(url: &Url) -> Result<Endpoint, &'static str> {
        let secure = match url.scheme() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err("its scheme is not http, https, ws or wss"),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or("it has no host")?;
        let mut headers = Vec::new();
        if !url.username().is_empty() || url.password().is_some() {
            let login = format!("{}:{}", url.username(), url.password().unwrap_or_default());
            let value = format!("Basic {}", STANDARD.encode(decode_percent(&login)));
            headers.push(("Authorization".into(), value));
        }
        Ok(Endpoint {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(if secure { 443 } else { 80 }),
            unix: None,
            authority: match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            path: escape(url.path()),
            query: escape(url.query().unwrap_or_default()),
            headers,
            revision: Revision::V4,
        })
    }

    /// Returns the path that a URL names, if it is more than a slash: it names neither an endpoint
    /// nor a namespace.
    pub(crate) fn path_of(url: &str) -> Option<String> {
        let url = url.trim_start();
        if unix_path(url).is_some() {
            return None;
        }
        let whole = if has_scheme(url) {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let parsed = Url::parse(&whole).ok()?;
        let path = parsed.path();
        (!matches!(path, "" | "/")).then(|| path.to_owned())
    }

    /// Sets the revision of the protocol that the server is asked for.
    pub(crate) fn with_revision(mut self, revision: Revision) -> Endpoint {
        self.revision = revision;
        self
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Adds parameters to the query of every request.
    pub(crate) fn with_query(
        mut self,
        pairs: &[(String, String)],
    ) -> Result<Endpoint, ConnectError> {
        for (name, value) in pairs {
            if OWN_PARAMETERS.contains(&&**name) {
                let message = format!("the query parameter {name:?} is the protocol's own");
                return Err(ConnectError::new(message).invalid());
            }
            if !self.query.is_empty() {
                self.query.push('&');
            }
            encode_percent(name, &mut self.query);
            self.query.push('=');
            encode_percent(value, &mut self.query);
        }
        Ok(self)
    }

    /// Returns where an answer's `Location` leads to: another path, port 443 in place of 80, never
    /// another host, nor from https to http.
    pub(super) fn redirected(&self, location: &str) -> Result<Endpoint, ConnectError> {
        let wrong = |why: &str| ConnectError::new(format!("it redirects to {location:?}, {why}"));
        let base = Url::parse(&self.url(None, false)).map_err(|_| wrong("which is no server"))?;
        let url = base.join(location).map_err(|_| wrong("which is no URL"))?;
        let mut endpoint = Endpoint::of(&url).map_err(|_| wrong("which is no server"))?;
        if self.secure && !endpoint.secure {
            return Err(wrong("from https to http"));
        }
        // What the answer has kept of this request's own parameters comes again.
        let is_own =
            |pair: &&str| OWN_PARAMETERS.contains(&pair.split('=').next().unwrap_or_default());
        let pairs = endpoint.query.split('&').filter(|pair| !pair.is_empty());
        let query: Vec<_> = pairs.filter(|pair| !is_own(pair)).collect();
        endpoint.query = query.join("&");
        let is_usual = |it: &Endpoint| it.port == if it.secure { 443 } else { 80 };
        let is_same = self.is_same_host(&endpoint)
            && (endpoint.port == self.port || is_usual(self) && is_usual(&endpoint));
        if !is_same {
            // What the program sends to its server, auth and events too, is for no other.
            return Err(wrong("another host: connect to that one if it is meant"));
        }
        if self.unix.is_some() && endpoint.secure {
            return Err(wrong("to https, which a Unix socket has not"));
        }
        endpoint.unix.clone_from(&self.unix);
        // A login in the URL is the answer's own idea.
        endpoint.headers.clone_from(&self.headers);
        endpoint.revision = self.revision;
        Ok(endpoint)
    }

    fn is_same_host(&self, other: &Endpoint) -> bool {
        self.host.eq_ignore_ascii_case(&other.host)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns what an error says of where it came from: nothing that may be a secret.
    pub(super) fn display_url(&self) -> String {
        if self.unix.is_some() {
            return format!("{}{}", self.label(), self.path);
        }
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the Unix socket that the server listens on.
    pub(super) fn unix(&self) -> Option<&Arc<Path>> {
        self.unix.as_ref()
    }

    /// Returns the server as the log names it.
    pub(super) fn label(&self) -> Cow<'_, str> {
        match &self.unix {
            Some(path) => format!("unix:{}", path.display()).into(),
            None => (&*self.authority).into(),
        }
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Returns the URL of a request, for ureq.
    pub(crate) fn url(&self, sid: Option<&str>, stamp: bool) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let resource = self.path_and_query("polling", sid, stamp);
        format!("{scheme}://{}{resource}", self.authority)
    }

    /// Returns the path and query of a request. A `stamp` keeps caches from answering.
    pub(crate) fn path_and_query(&self, transport: &str, sid: Option<&str>, stamp: bool) -> String {
        let mut resource = format!("{}?", self.path);
        if !self.query.is_empty() {
            resource.push_str(&self.query);
            resource.push('&');
        }
        resource.push_str("transport=");
        resource.push_str(transport);
        resource.push_str(match self.revision {
            Revision::V3 => "&EIO=3",
            Revision::V4 => "&EIO=4",
        });
        if let Some(sid) = sid {
            resource.push_str("&sid=");
            encode_percent(sid, &mut resource);
        }
        if stamp {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or_default();
            resource.push_str(&format!("&t={}.{:06}", now.as_secs(), now.subsec_micros()));
        }
        resource
    }

    fn check_headers(&self) -> Result<(), ConnectError> {
        for (name, value) in &self.headers {
            let is_valid =
                name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value).is_ok();
            if !is_valid {
                // The value may be a secret.
                let message = format!("{name:?} is no header, or its value cannot be sent");
                return Err(ConnectError::new(message).invalid());
            }
            if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                let message = format!("the header {name:?} is the protocol's own");
                return Err(ConnectError::new(message).invalid());
            }
        }
        Ok(())
    }
}

/// Returns the path and the query of a `unix:` URL, such as `unix:///run/chat.sock?room=blue`.
fn unix_path(url: &str) -> Option<(&str, &str)> {
    let rest = url.trim_start().strip_prefix("unix:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let query = rest.find('?').unwrap_or(rest.len());
    Some(rest.split_at(query))
}

/// Returns whether a text begins with a scheme (RFC 3986, 3.1): `host/?next=http://x` does not.
fn has_scheme(url: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    url.split_once("://")
        .is_some_and(|(scheme, _)| is_scheme(scheme))
}

/// Escapes what browsers leave as it is and RFC 3986 does not allow.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '{' | '}' | '|' | '\\' | '^' | '`' | '<' | '>' | '"' | ' ' => {
                escaped.push_str(&format!("%{:02X}", u32::from(character)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new(url, "socket.io", Vec::new()).unwrap()
    }

    #[test]
    fn urls_give_host_port_and_query() {
        let plain = endpoint("http://localhost:5000/ignored?room=a%20b");
        assert_eq!(
            (plain.host(), plain.port(), plain.is_secure()),
            ("localhost", 5000, false)
        );
        assert_eq!(
            plain.url(Some("a/b&c"), false),
            "http://localhost:5000/socket.io/?room=a%20b&transport=polling&EIO=4&sid=a%2Fb%26c"
        );
        let secure = endpoint("wss://[::1]");
        assert_eq!(
            (secure.host(), secure.port(), secure.is_secure()),
            ("::1", 443, true)
        );
        assert_eq!(endpoint("example.com").port(), 80);
        let at = Endpoint::new("http://x", "/my/path/", Vec::new()).unwrap();
        assert_eq!(
            at.path_and_query("websocket", None, false),
            "/my/path/?transport=websocket&EIO=4"
        );
        assert!(at.path_and_query("websocket", None, true).contains("&t=1"));
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_has_a_url() {
        for url in ["unix:/run/a%20b.sock?room=1", "unix:///run/a b.sock?room=1"] {
            let endpoint = endpoint(url);
            assert_eq!(endpoint.unix().unwrap().as_os_str(), "/run/a b.sock");
            assert_eq!(endpoint.label(), "unix:/run/a b.sock");
            assert_eq!(
                endpoint.url(None, false),
                "http://localhost/socket.io/?room=1&transport=polling&EIO=4"
            );
            assert_eq!(Endpoint::path_of(url), None);
            assert!(endpoint.redirected("/other/").unwrap().unix().is_some());
            assert!(endpoint.redirected("https://localhost/").is_err());
        }
        for wrong in ["unix:", "unix:run/x.sock", "unix://run/x.sock"] {
            assert!(
                Endpoint::new(wrong, "socket.io", Vec::new()).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_login_in_the_url_is_basic_authentication() {
        let endpoint = endpoint("http://user:p%40ss@localhost:1");
        assert_eq!(endpoint.authority(), "localhost:1");
        let expected = ("Authorization".to_owned(), "Basic dXNlcjpwQHNz".to_owned());
        assert_eq!(endpoint.headers(), [expected]);
    }

    #[test]
    fn urls_are_taken_as_people_write_them() {
        for (url, expected) in [
            (
                " WS://Host:5/?x={ü}|%41 y",
                "http://host:5/socket.io/?x=%7B%C3%BC%7D%7C%41%20y&transport=polling&EIO=4",
            ),
            (
                "host/?next=http://x",
                "http://host/socket.io/?next=http://x&transport=polling&EIO=4",
            ),
            (
                "https://bücher.example",
                "https://xn--bcher-kva.example/socket.io/?transport=polling&EIO=4",
            ),
            (
                "http://[::1]:3/?<>\"",
                "http://[::1]:3/socket.io/?%3C%3E%22&transport=polling&EIO=4",
            ),
        ] {
            let url = endpoint(url).url(None, false);
            assert_eq!(url, expected);
            url.parse::<ureq::http::Uri>().unwrap();
        }
        let query = [("a b".to_owned(), "1&2=ü".to_owned())];
        let with_query = endpoint("http://x/?y=1").with_query(&query).unwrap();
        assert!(
            with_query
                .url(None, false)
                .contains("?y=1&a%20b=1%262%3D%C3%BC&")
        );
    }

    #[test]
    fn a_redirection_leads_to_the_same_host() {
        let headers = vec![("X-Key".to_owned(), "secret".to_owned())];
        let from = "http://a.example/?room=1";
        let from = Endpoint::new(from, "socket.io", headers.clone()).unwrap();
        let query = "transport=polling&EIO=4";
        for (location, url) in [
            (
                "https://a.example/socket.io/?room=1&EIO=4&transport=polling&t=7",
                format!("https://a.example/socket.io/?room=1&{query}"),
            ),
            (
                "/other/?x=1",
                format!("http://a.example/other/?x=1&{query}"),
            ),
            (
                "http://u:p@A.example:80/",
                format!("http://a.example/?{query}"),
            ),
        ] {
            let endpoint = from.redirected(location).unwrap();
            assert_eq!(endpoint.url(None, false), url);
            assert_eq!(endpoint.headers(), headers);
        }
        for elsewhere in ["//b.example/socket.io/", "http://a.example:81/"] {
            let error = from.redirected(elsewhere).unwrap_err().to_string();
            assert!(error.contains(elsewhere), "{error}");
        }
        assert!(from.redirected("ftp://a.example/").is_err());
        let secure = Endpoint::new("https://a.example", "socket.io", Vec::new()).unwrap();
        assert!(secure.redirected("http://a.example/").is_err());
    }

    #[test]
    fn what_is_no_server_is_an_error() {
        for url in [
            "",
            "ftp://localhost",
            "http://",
            "/chat",
            "http:///chat",
            "http://a b/",
            "http://localhost:99999",
            "http://[::1]:x",
            "localhost:70000",
        ] {
            assert!(
                Endpoint::new(url, "socket.io", Vec::new()).is_err(),
                "{url:?}"
            );
        }
        let split = vec![("X-A".to_owned(), "1\r\nX-B: 2".to_owned())];
        assert!(Endpoint::new("http://localhost", "socket.io", split).is_err());
    }
}
