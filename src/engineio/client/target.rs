//! Where a client connects to.

use crate::error::ConnectError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::{SystemTime, UNIX_EPOCH};
use ureq::http::{HeaderName, HeaderValue, Uri};

/// A server's address, and what every request to it carries.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    secure: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Host and port as the program wrote them.
    authority: String,
    /// `/socket.io/`
    path: String,
    /// The program's own parameters.
    query: String,
    headers: Vec<(String, String)>,
}

impl Target {
    /// Reads a URL of the schemes `http`, `https`, `ws` or `wss`; without one it is `http`. Its own
    /// path is ignored, as in python-socketio: the endpoint is at `path`.
    pub(crate) fn new(
        url: &str,
        path: &str,
        headers: Vec<(String, String)>,
    ) -> Result<Target, ConnectError> {
        let wrong = |why: &str| ConnectError::new(format!("{url:?} is no URL of a server: {why}"));
        let whole = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let uri: Uri = whole
            .parse()
            .map_err(|error: ureq::http::uri::InvalidUri| wrong(&error.to_string()))?;
        let secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(wrong("its scheme is not http, https, ws or wss")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        let host = authority.host();
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let last = authority.as_str().rsplit(['@', ']', ':']).next();
        let has_port = authority
            .as_str()
            .ends_with(&format!(":{}", last.unwrap_or_default()));
        if has_port && authority.port_u16().is_none() {
            return Err(wrong("its port is no number below 65536"));
        }
        let port = authority
            .port_u16()
            .unwrap_or(if secure { 443 } else { 80 });
        if !matches!(uri.path(), "" | "/") {
            log::warn!(target: "engineio", "the path {:?} of the server's URL is ignored: the endpoint has a path of its own, and namespaces are named apart", uri.path());
        }
        let mut target = Target {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: match path.trim_matches('/') {
                "" => "/".to_owned(),
                path => format!("/{path}/"),
            },
            query: uri.query().unwrap_or_default().to_owned(),
            headers,
        };
        if let Some((login, authority)) = authority.as_str().rsplit_once('@') {
            target.authority = authority.to_owned();
            let login = crate::reactor::http::request::decode_percent(login);
            let value = format!("Basic {}", STANDARD.encode(login));
            target.headers.push(("Authorization".into(), value));
        }
        target.check_headers()?;
        Ok(target)
    }

    /// What an error says of where it came from: nothing that may be a secret.
    pub(super) fn endpoint(&self) -> String {
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

    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The URL of a request, for ureq.
    pub(crate) fn url(&self, sid: Option<&str>, stamp: bool) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let resource = self.resource("polling", sid, stamp);
        format!("{scheme}://{}{resource}", self.authority)
    }

    /// The path and query of a request. A `stamp` keeps caches from answering.
    pub(crate) fn resource(&self, transport: &str, sid: Option<&str>, stamp: bool) -> String {
        let mut resource = format!("{}?", self.path);
        if !self.query.is_empty() {
            resource.push_str(&self.query);
            resource.push('&');
        }
        resource.push_str("transport=");
        resource.push_str(transport);
        resource.push_str("&EIO=4");
        if let Some(sid) = sid {
            resource.push_str("&sid=");
            push_encoded(sid, &mut resource);
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
                return Err(ConnectError::new(message));
            }
        }
        Ok(())
    }
}

/// Escapes what has a meaning in a query: the server chooses its ids freely.
fn push_encoded(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::new(url, "socket.io", Vec::new()).unwrap()
    }

    #[test]
    fn urls_give_host_port_and_query() {
        let plain = target("http://localhost:5000/ignored?room=a%20b");
        assert_eq!(
            (plain.host(), plain.port(), plain.is_secure()),
            ("localhost", 5000, false)
        );
        assert_eq!(
            plain.url(Some("a/b&c"), false),
            "http://localhost:5000/socket.io/?room=a%20b&transport=polling&EIO=4&sid=a%2Fb%26c"
        );
        let secure = target("wss://[::1]");
        assert_eq!(
            (secure.host(), secure.port(), secure.is_secure()),
            ("::1", 443, true)
        );
        assert_eq!(target("example.com").port(), 80);
        let at = Target::new("http://x", "/my/path/", Vec::new()).unwrap();
        assert_eq!(
            at.resource("websocket", None, false),
            "/my/path/?transport=websocket&EIO=4"
        );
        assert!(at.resource("websocket", None, true).contains("&t=1"));
    }

    #[test]
    fn a_login_in_the_url_is_basic_authentication() {
        let target = target("http://user:p%40ss@localhost:1");
        assert_eq!(target.authority(), "localhost:1");
        let expected = ("Authorization".to_owned(), "Basic dXNlcjpwQHNz".to_owned());
        assert_eq!(target.headers(), [expected]);
    }

    #[test]
    fn what_is_no_server_is_an_error() {
        for url in [
            "",
            "ftp://localhost",
            "http://",
            "http:// x",
            "http://a b/",
            "http://localhost:99999",
            "http://[::1]:x",
            "localhost:70000",
        ] {
            assert!(
                Target::new(url, "socket.io", Vec::new()).is_err(),
                "{url:?}"
            );
        }
        let split = vec![("X-A".to_owned(), "1\r\nX-B: 2".to_owned())];
        assert!(Target::new("http://localhost", "socket.io", split).is_err());
    }
}
