//! Which pages of other origins may connect, and the headers that tell browsers so.

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
/// use socketio::{Origins, Server};
///
/// let io = Server::builder().cors_allowed_origins(["https://a.example", "https://b.example"]).build();
/// let io = Server::builder().cors_allowed_origins("*").build();
/// let io = Server::builder()
///     .cors_allowed_origins(Origins::matching(|origin, _request| origin.ends_with(".example")))
///     .build();
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Origins {
    /// The origin that the request itself was sent to, also as a proxy's `X-Forwarded-Proto` and
    /// `X-Forwarded-Host` name it. The default.
    #[default]
    Same,
    /// Any origin.
    Any,
    /// These origins, compared as they are: `https://example.com`.
    List(Vec<String>),
    /// What a function says. It runs on a worker thread and may block.
    Function(Arc<Check>),
    /// No check and no headers: somebody else, such as a proxy, takes care of CORS.
    Unchecked,
}

type Check = dyn Fn(&str, &Request) -> bool + Send + Sync;

impl Origins {
    /// The origins for which a function says yes. It runs on a worker thread and may block.
    pub fn matching(check: impl Fn(&str, &Request) -> bool + Send + Sync + 'static) -> Origins {
        Origins::Function(Arc::new(check))
    }
}

impl From<&str> for Origins {
    /// One origin, or `*` for any.
    fn from(origin: &str) -> Self {
        Origins::from(vec![origin.to_owned()])
    }
}

impl From<String> for Origins {
    fn from(origin: String) -> Self {
        Origins::from(vec![origin])
    }
}

impl From<Vec<String>> for Origins {
    /// These origins; none switches the check off, as in python; `*` among them means any.
    fn from(origins: Vec<String>) -> Self {
        if origins.is_empty() {
            return Origins::Unchecked;
        }
        if origins.iter().any(|origin| origin == "*") {
            return Origins::Any;
        }
        Origins::List(origins)
    }
}

impl<const N: usize> From<[&str; N]> for Origins {
    fn from(origins: [&str; N]) -> Self {
        Origins::from(origins.map(str::to_owned).to_vec())
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origins::Same => formatter.write_str("Same"),
            Origins::Any => formatter.write_str("Any"),
            Origins::List(list) => formatter.debug_tuple("List").field(list).finish(),
            Origins::Function(_) => formatter.write_str("Function"),
            Origins::Unchecked => formatter.write_str("Unchecked"),
        }
    }
}

/// The check and its headers.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    pub(crate) origins: Origins,
    pub(crate) credentials: bool,
}

/// What the check says.
#[derive(Debug)]
pub(crate) enum Verdict {
    Allowed,
    Refused,
    /// A function of the program must be asked, on a worker.
    Ask(Arc<OriginCheck>),
}

/// The program's function.
pub(crate) struct OriginCheck(Arc<Check>);

impl OriginCheck {
    pub(crate) fn allows(&self, request: &Request) -> bool {
        (self.0)(request.header("origin").unwrap_or_default(), request)
    }
}

impl fmt::Debug for OriginCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Check")
    }
}

impl Cors {
    pub(crate) fn check(&self, request: &Request) -> Verdict {
        let Some(bytes) = request.values("origin").next() else {
            return Verdict::Allowed;
        };
        let allowed = match (&self.origins, std::str::from_utf8(bytes)) {
            (Origins::Unchecked, _) => true,
            (_, Err(_)) => false,
            (Origins::Any, _) => true,
            (Origins::Same, Ok(origin)) => is_same(origin, request),
            (Origins::List(list), Ok(origin)) => list.iter().any(|it| it == origin),
            (Origins::Function(check), Ok(_)) => {
                return Verdict::Ask(Arc::new(OriginCheck(Arc::clone(check))));
            }
        };
        if allowed {
            Verdict::Allowed
        } else {
            Verdict::Refused
        }
    }

    /// The headers of an answer to an allowed request.
    pub(crate) fn headers(&self, request: &Request) -> Headers {
        let mut headers = Vec::new();
        let origin = request.header("origin");
        if let (Some(origin), false) = (origin, matches!(self.origins, Origins::Unchecked)) {
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

    /// The further headers of an answer to a preflight request.
    pub(crate) fn preflight_headers(&self, request: &Request) -> Headers {
        let mut headers = self.headers(request);
        if headers.is_empty() {
            return headers;
        }
        headers.push((
            "Access-Control-Allow-Methods".into(),
            "GET,HEAD,PUT,PATCH,POST,DELETE".into(),
        ));
        if let Some(wanted) = request.header("access-control-request-headers") {
            headers.push((
                "Access-Control-Allow-Headers".into(),
                wanted.to_owned().into(),
            ));
            headers.push(("Vary".into(), "Access-Control-Request-Headers".into()));
        }
        headers
    }
}

/// Compares with the scheme and host of the request, and with those that a proxy forwards.
fn is_same(origin: &str, request: &Request) -> bool {
    let first = |name| {
        let value = request.header(name)?;
        value.split(',').next().map(str::trim)
    };
    let scheme = if request.is_secure() { "https" } else { "http" };
    let host = request.header("host").unwrap_or_default();
    let is = |scheme: &str, host: &str| {
        origin
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            == Some(host)
    };
    if is(scheme, host) {
        return true;
    }
    let forwarded = (first("x-forwarded-proto"), first("x-forwarded-host"));
    match forwarded {
        (None, None) => false,
        (proto, forwarded) => is(proto.unwrap_or(scheme), forwarded.unwrap_or(host)),
    }
}
