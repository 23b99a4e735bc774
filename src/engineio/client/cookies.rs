//! The cookies that one server has set (RFC 6265), bounded in number and bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Cookies that are kept; the oldest go first.
const MAX_COOKIES: usize = 50;
/// Bytes of one cookie, name and value.
const MAX_COOKIE: usize = 4096;
/// Bytes of all of them: servers take heads of 8 to 16 KiB.
const MAX_BYTES: usize = 6 << 10;

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    path: String,
    expires: Option<SystemTime>,
}

#[derive(Debug, Default)]
pub(super) struct Jar {
    cookies: Vec<Cookie>,
}

impl Jar {
    /// Keeps what a `Set-Cookie` says, if it is for requests to this host and path.
    pub(super) fn set(&mut self, field: &str, host: &str, request_path: &str, secure: bool) {
        let mut parts = field.split(';');
        let Some((name, value)) = parts.next().and_then(|it| it.split_once('=')) else {
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        let control = |text: &str| text.bytes().any(|it| it < b' ' || it == 0x7f);
        if name.is_empty()
            || name.len() + value.len() > MAX_COOKIE
            || control(name)
            || control(value)
        {
            return;
        }
        let mut cookie = Cookie {
            name: name.into(),
            value: value.into(),
            path: default_path(request_path).into(),
            expires: None,
        };
        let mut by_age = false;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "path" => {
                    cookie.path = if value.starts_with('/') {
                        value.into()
                    } else {
                        default_path(request_path).into()
                    }
                }
                "domain" if !domain_matches(host, value) => return,
                "secure" if !secure => return,
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
        self.cookies
            .retain(|it| (&it.name, &it.path) != (&cookie.name, &cookie.path));
        let now = SystemTime::now();
        self.cookies
            .retain(|it| it.expires.is_none_or(|at| at > now));
        // One of another path is never sent: every request has the same.
        if path_matches(request_path, &cookie.path) && cookie.expires.is_none_or(|at| at > now) {
            self.cookies.push(cookie);
            let size = |it: &Cookie| it.name.len() + it.value.len() + 3;
            while self.cookies.len() > MAX_COOKIES
                || self.cookies.iter().map(size).sum::<usize>() > MAX_BYTES
            {
                self.cookies.remove(0);
            }
        }
    }

    /// One field's value: the program's own cookies, and those that the server has set.
    pub(super) fn field<'a>(&self, own: impl Iterator<Item = &'a str>) -> Option<String> {
        let now = SystemTime::now();
        let mut live: Vec<_> = self
            .cookies
            .iter()
            .filter(|it| it.expires.is_none_or(|at| at > now))
            .collect();
        live.sort_by_key(|it| std::cmp::Reverse(it.path.len()));
        let own: Vec<_> = own.map(str::to_owned).collect();
        let pairs: Vec<_> = own
            .into_iter()
            .chain(
                live.into_iter()
                    .map(|it| format!("{}={}", it.name, it.value)),
            )
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
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
    let domain = domain.strip_prefix('.').unwrap_or(domain);
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

    const PATH: &str = "/socket.io/";

    #[test]
    fn only_what_is_for_this_server_and_path_is_kept() {
        let mut jar = Jar::default();
        for field in [
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
        ] {
            jar.set(field, "www.example.com", PATH, false);
        }
        let own = ["s=1"].into_iter();
        assert_eq!(jar.field(own).unwrap(), "s=1; a=2; d=5; g=8; io=11");
        let past = "a=; Path=/socket.io; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        jar.set(past, "www.example.com", PATH, false);
        assert_eq!(jar.field(std::iter::empty()).unwrap(), "d=5; g=8; io=11");
    }

    #[test]
    fn a_server_cannot_fill_it() {
        let mut jar = Jar::default();
        for number in 0..1000 {
            jar.set(&format!("n{number}={}", "x".repeat(100)), "h", PATH, false);
            jar.set(&format!("o{number}=x; Path=/other"), "h", PATH, false);
        }
        jar.set(&format!("large={}", "x".repeat(5000)), "h", PATH, false);
        let field = jar.field(std::iter::empty()).unwrap();
        assert!(field.len() <= MAX_BYTES && jar.cookies.len() <= MAX_COOKIES);
        assert!(field.contains("n999=") && !field.contains("large"));
    }
}
