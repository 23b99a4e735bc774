//! Cookies (RFC 6265), bounded in number and bytes.

use super::endpoint::Endpoint;
use crate::util::sync::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Cookies that are kept; the oldest go first.
const MAX_COOKIES: usize = 50;
/// Bytes of one cookie, name and value.
const MAX_COOKIE: usize = 4096;
/// Bytes of all of them: servers take heads of 8 to 16 KiB.
const MAX_BYTES: usize = 6 << 10;

/// Cookies of a client: those that the program has set, and those that servers have. A cheap
/// handle: clones are the same jar.
///
/// Each session has one of its own, which ends with it, unless the program gives one by
/// [`ConnectOptions::cookie_jar`](crate::ConnectOptions::cookie_jar). That one is kept from one
/// connection to the next, may be shared by several clients, and can be read:
///
/// ```no_run
/// use socketio::{Client, ConnectOptions, CookieJar};
///
/// let jar = CookieJar::new();
/// jar.set("session", "4711");
/// let client = Client::new();
/// client.connect(ConnectOptions::new("https://example.com").cookie_jar(&jar))?;
/// println!("the load balancer says {:?}", jar.get("AWSALB"));
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// A server's cookie goes back to its host and path alone (RFC 6265, 5.4), also if it is meant for
/// the hosts of a whole domain: a jar knows no list of the domains that several owners share. One
/// for another path than that of the requests is not kept. A jar keeps the 50 newest cookies of at
/// most 4 KiB each, 6 KiB in all, in memory.
#[derive(Clone, Default)]
pub struct CookieJar(Arc<Mutex<Vec<StoredCookie>>>);

struct StoredCookie {
    name: String,
    value: String,
    /// The host, or Unix socket, that has set it; none for one of the program's.
    host: Option<String>,
    path: String,
    /// Only for TLS.
    secure: bool,
    expires: Option<SystemTime>,
}

impl CookieJar {
    /// Creates an empty jar.
    #[must_use]
    pub fn new() -> CookieJar {
        CookieJar::default()
    }

    /// Sets a cookie, which goes with every request that the jar is used for. Replaces one of that
    /// name that the program has set. Nothing happens if it cannot be sent: a name that is empty or
    /// has a `=`, a `;` or a control character in either, or more than 4 KiB.
    pub fn set(&self, name: &str, value: &str) {
        let is_sound = |text: &str| !text.contains(';') && !has_control(text);
        let fits = name.len() + value.len() <= MAX_COOKIE;
        if name.is_empty() || name.contains('=') || !is_sound(name) || !is_sound(value) || !fits {
            log::error!(target: "engineio", "the cookie {name:?} cannot be sent");
            return;
        }
        self.keep(StoredCookie {
            name: name.into(),
            value: value.into(),
            host: None,
            path: "/".into(),
            secure: false,
            expires: None,
        });
    }

    /// Returns the value of a cookie, whoever has set it: the newest of that name.
    pub fn get(&self, name: &str) -> Option<String> {
        let cookies = self.0.lock();
        let cookie = cookies
            .iter()
            .rev()
            .find(|it| it.name == name && it.is_live());
        cookie.map(|it| it.value.clone())
    }

    /// Returns names and values, the oldest first.
    pub fn all(&self) -> Vec<(String, String)> {
        let cookies = self.0.lock();
        let live = cookies.iter().filter(|it| it.is_live());
        live.map(|it| (it.name.clone(), it.value.clone())).collect()
    }

    /// Forgets all cookies.
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    /// Keeps what the fields `Set-Cookie` of an answer say.
    pub(super) fn learn<'a>(&self, endpoint: &Endpoint, fields: impl Iterator<Item = &'a str>) {
        let path = endpoint.path();
        for field in fields {
            let cookie = StoredCookie::parse(field, endpoint);
            // One of another path would push out those that are sent.
            if let Some(cookie) = cookie.filter(|it| path_matches(path, &it.path)) {
                self.keep(cookie);
            }
        }
    }

    fn keep(&self, cookie: StoredCookie) {
        let mut cookies = self.0.lock();
        cookies.retain(|it| it.is_live() && !it.is_replaced_by(&cookie));
        if !cookie.is_live() {
            return;
        }
        cookies.push(cookie);
        let size = |it: &StoredCookie| it.name.len() + it.value.len() + 3;
        while cookies.len() > MAX_COOKIES || cookies.iter().map(size).sum::<usize>() > MAX_BYTES {
            cookies.remove(0);
        }
    }

    /// Returns the value of a request's one `Cookie` field (RFC 6265, 5.4): those of the
    /// program's headers, and those of the jar.
    pub(super) fn field_for(&self, endpoint: &Endpoint) -> Option<String> {
        let own = endpoint.headers().iter().filter(|it| is_cookie(&it.0));
        let mut pairs: Vec<_> = own.map(|it| it.1.clone()).collect();
        let cookies = self.0.lock();
        let mut sent: Vec<_> = cookies.iter().filter(|it| it.is_for(endpoint)).collect();
        sent.sort_by_key(|it| std::cmp::Reverse(it.path.len()));
        pairs.extend(sent.iter().map(|it| format!("{}={}", it.name, it.value)));
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

impl fmt::Debug for CookieJar {
    /// Formats it without the values, which may be secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cookies = self.0.lock();
        let names = cookies.iter().map(|it| &it.name);
        formatter.debug_list().entries(names).finish()
    }
}

impl StoredCookie {
    /// Reads a `Set-Cookie`, if it is for requests to this host.
    fn parse(field: &str, endpoint: &Endpoint) -> Option<StoredCookie> {
        let (host, request_path, secure) = (endpoint.host(), endpoint.path(), endpoint.is_secure());
        let mut parts = field.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let is_large = name.len() + value.len() > MAX_COOKIE;
        if name.is_empty() || is_large || has_control(name) || has_control(value) {
            return None;
        }
        let mut cookie = StoredCookie {
            name: name.into(),
            value: value.into(),
            host: Some(site(endpoint)),
            path: default_path(request_path).into(),
            secure: false,
            expires: None,
        };
        let mut by_age = false;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => cookie.path = value.into(),
                "path" => cookie.path = default_path(request_path).into(),
                "domain" if !domain_matches(host, value.strip_prefix('.').unwrap_or(value)) => {
                    return None;
                }
                "secure" if !secure => return None,
                "secure" => cookie.secure = true,
                "max-age" => {
                    if let Ok(age) = value.parse::<i64>() {
                        by_age = true;
                        let age = u64::try_from(age).unwrap_or(0).min(400 * 86400);
                        cookie.expires = Some(if age == 0 {
                            UNIX_EPOCH
                        } else {
                            SystemTime::now() + Duration::from_secs(age)
                        });
                    }
                }
                "expires" if !by_age => {
                    cookie.expires = httpdate::parse_http_date(value).ok();
                }
                _ => {}
            }
        }
        Some(cookie)
    }

    fn is_live(&self) -> bool {
        self.expires.is_none_or(|at| at > SystemTime::now())
    }

    fn is_replaced_by(&self, other: &StoredCookie) -> bool {
        (&self.name, &self.path, &self.host) == (&other.name, &other.path, &other.host)
    }

    fn is_for(&self, endpoint: &Endpoint) -> bool {
        self.host
            .as_ref()
            .is_none_or(|host| *host == site(endpoint))
            && path_matches(endpoint.path(), &self.path)
            && (endpoint.is_secure() || !self.secure)
            && self.is_live()
    }
}

/// Returns what a server's cookies belong to: its host, whatever the port, or its Unix socket.
fn site(endpoint: &Endpoint) -> String {
    match endpoint.unix() {
        Some(_) => endpoint.label().into_owned(),
        None => endpoint.host().to_ascii_lowercase(),
    }
}

pub(super) fn is_cookie(header: &str) -> bool {
    header.eq_ignore_ascii_case("cookie")
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|it| it < b' ' || it == 0x7f)
}

fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(at) if at > 0 && path.starts_with('/') => &path[..at],
        _ => "/",
    }
}

fn path_matches(request: &str, cookie: &str) -> bool {
    request
        .strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

fn domain_matches(host: &str, domain: &str) -> bool {
    let Some(before) = host.len().checked_sub(domain.len()) else {
        return false;
    };
    let ends = host
        .get(before..)
        .is_some_and(|it| it.eq_ignore_ascii_case(domain));
    ends && (before == 0
        || domain.is_empty()
        || (host.as_bytes()[before - 1] == b'.' && host.parse::<std::net::IpAddr>().is_err()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new(url, "socket.io", Vec::new()).unwrap()
    }

    #[test]
    fn only_what_is_for_this_server_and_path_is_sent() {
        let headers = vec![("cookie".to_owned(), "s=1".to_owned())];
        let here = Endpoint::new("http://www.example.com", "socket.io", headers).unwrap();
        let jar = CookieJar::new();
        let fields = [
            "io=1; Path=/; HttpOnly",
            "a=2; path=/socket.io",
            "b=3; Path=/other",
            "c=4; Domain=evil.com",
            "d=5; Domain=.example.com",
            "e=6; Max-Age=0",
            "f=7; Secure",
            "g=8",
            "h=9; Path=/socket.iox",
            "io=11; Path=/",
            "i=1\u{1}2",
            "=3",
        ];
        jar.learn(&here, fields.into_iter());
        assert_eq!(jar.field_for(&here).unwrap(), "s=1; a=2; d=5; g=8; io=11");
        let past = "a=; Path=/socket.io; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        jar.learn(&here, [past].into_iter());
        let again = endpoint("http://www.example.com");
        assert_eq!(jar.field_for(&again).unwrap(), "d=5; g=8; io=11");
        // A jar may be used for several servers.
        for other in [
            "http://example.com",
            "http://a.www.example.com",
            "http://evil.com",
        ] {
            assert_eq!(jar.field_for(&endpoint(other)), None, "{other}");
        }
        assert!(
            jar.field_for(&endpoint("http://WWW.example.com:81"))
                .is_some()
        );
        #[cfg(unix)]
        {
            let (one, two) = (endpoint("unix:/one"), endpoint("unix:/two"));
            jar.learn(&one, ["u=1; Path=/"].into_iter());
            assert_eq!(jar.field_for(&one).unwrap(), "u=1");
            assert_eq!(jar.field_for(&two), None);
            assert_eq!(jar.field_for(&endpoint("http://localhost")), None);
        }
        let secure = endpoint("https://www.example.com");
        jar.learn(&secure, ["f=7; Secure; Path=/"].into_iter());
        assert!(jar.field_for(&secure).unwrap().ends_with("f=7"));
        assert!(!jar.field_for(&again).unwrap().contains("f=7"));
    }

    #[test]
    fn a_program_sets_and_reads_them() {
        let jar = CookieJar::new();
        jar.set("session", "1");
        jar.set("session", "2");
        for (name, value) in [
            ("", "x"),
            ("a=b", "x"),
            ("a;b", "x"),
            ("a", "x;y"),
            ("a", "x\ny"),
        ] {
            jar.set(name, value);
        }
        for url in ["http://a.example", "https://b.example"] {
            assert_eq!(jar.field_for(&endpoint(url)).unwrap(), "session=2");
        }
        let here = endpoint("http://a.example");
        jar.clone()
            .learn(&here, ["session=3; Path=/", "lb=x"].into_iter());
        assert_eq!(jar.get("session").as_deref(), Some("3"));
        let pairs = [("session", "2"), ("session", "3"), ("lb", "x")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(jar.all(), pairs);
        assert!(!format!("{jar:?}").contains('2'), "values may be secrets");
        jar.clear();
        assert_eq!((jar.get("session"), jar.field_for(&here)), (None, None));
    }

    #[test]
    fn a_server_cannot_fill_it() {
        let (jar, here) = (CookieJar::new(), endpoint("http://h"));
        for number in 0..1000 {
            let fields = [
                format!("n{number}={}", "x".repeat(100)),
                format!("o{number}=x; Path=/other"),
            ];
            jar.learn(&here, fields.iter().map(|it| &**it));
        }
        let large = format!("large={}", "x".repeat(5000));
        jar.learn(&here, [&*large].into_iter());
        let field = jar.field_for(&here).unwrap();
        assert!(field.len() <= MAX_BYTES && jar.0.lock().len() <= MAX_COOKIES);
        assert!(field.contains("n999=") && !field.contains("large"));
    }
}
