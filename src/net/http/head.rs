//! Heads of requests (RFC 9112), read by httparse.

use super::body::RequestFraming;
use super::request::{Request, RequestBody, Span};
use crate::limits::Limits;
use crate::net::listener::PeerAddr;
use std::mem::MaybeUninit;
use std::time::SystemTime;

/// A head that has been read, and what it says about the connection.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) request: Request,
    pub(crate) framing: RequestFraming,
    pub(crate) keep_alive: bool,
    /// HTTP/1.1, whose clients know chunks.
    pub(crate) is_http_11: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
    /// Bytes that the head took.
    pub(crate) length: usize,
}

/// Reason why a head is refused: the status, and a sentence for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadError(pub(crate) u16, pub(crate) &'static str);

impl Head {
    /// Reads a head; `None` if it has not come to its end.
    #[inline]
    pub(crate) fn parse(
        bytes: &[u8],
        limits: &Limits,
        peer: PeerAddr,
        secure: bool,
    ) -> Result<Option<Head>, HeadError> {
        let limit = limits.head_bytes.min(usize::from(u16::MAX));
        let mut fields = [const { MaybeUninit::uninit() }; 100];
        let mut more_fields;
        let fields = if limits.head_fields <= fields.len() {
            &mut fields[..limits.head_fields]
        } else {
            more_fields = vec![MaybeUninit::uninit(); limits.head_fields];
            &mut more_fields[..]
        };
        let mut parsed = httparse::Request::new(&mut []);
        let length =
            match parsed.parse_with_uninit_headers(&bytes[..bytes.len().min(limit)], fields) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if bytes.len() >= limit => {
                    limits.refused.note("head_bytes");
                    return Err(HeadError(431, "head too large"));
                }
                Ok(httparse::Status::Partial) => return Ok(None),
                Err(httparse::Error::TooManyHeaders) => {
                    limits.refused.note("head_fields");
                    return Err(HeadError(431, "too many fields"));
                }
                Err(_) => return Err(HeadError(400, "not an HTTP/1 request")),
            };
        let (Some(method), Some(target), Some(version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(HeadError(400, "not an HTTP/1 request"));
        };
        let head = &bytes[..length];
        let request = request(head, method, target, parsed.headers, (peer, secure));
        Head::new(request, version == 1, length).map(Some)
    }

    /// Checks what the fields say of the connection and the body.
    #[inline]
    fn new(request: Request, is_http_11: bool, length: usize) -> Result<Head, HeadError> {
        let keep_alive = if is_http_11 {
            !request.has_token("connection", "close")
        } else {
            request.has_token("connection", "keep-alive")
        };
        let hosts = request.header_values("host").count();
        if hosts > 1 || hosts == 0 && is_http_11 {
            // RFC 9112, 3.2.
            return Err(HeadError(400, "not one Host field"));
        }
        let framing = framing_of(&request)?;
        if framing == RequestFraming::Chunked && !is_http_11 {
            // RFC 9112, 6.1: there are none in HTTP/1.0, and proxies may not see where it ends.
            return Err(HeadError(400, "Transfer-Encoding in HTTP/1.0"));
        }
        let expects_continue = is_http_11 && request.has_token("expect", "100-continue");
        Ok(Head {
            request,
            framing,
            keep_alive,
            is_http_11,
            expects_continue,
            length,
        })
    }
}

/// Returns the request of a head, with its parts as places in it.
#[inline]
fn request(
    head: &[u8],
    method: &str,
    target: &str,
    fields: &[httparse::Header<'_>],
    (peer, secure): (PeerAddr, bool),
) -> Request {
    let span = |part: &[u8]| -> Span {
        if part.is_empty() {
            return (0, 0);
        }
        // Every part is a slice of `head`, which is shorter than 64 KiB.
        let start = part.as_ptr().addr() - head.as_ptr().addr();
        (start as u16, (start + part.len()) as u16)
    };
    let target = absolute_path(target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method: span(method.as_bytes()),
        path: span(path.as_bytes()),
        query: span(query.as_bytes()),
        fields: fields
            .iter()
            .map(|field| (span(field.name.as_bytes()), span(field.value)))
            .collect(),
        head: head.into(),
        body: RequestBody::Whole(Vec::new()),
        peer,
        secure,
        forwarded_for: None,
        #[cfg(feature = "tls")]
        certificate: None,
        time: SystemTime::now(),
    }
}

/// Returns the path of a target in absolute form (RFC 9112, 3.2.2), which proxies send.
fn absolute_path(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let rest = target
        .split_once("://")
        .map_or(target, |(_, authority)| authority);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// Returns the framing of a request's body. Refuses what two readers could understand differently:
/// that is how requests are smuggled past a proxy.
fn framing_of(request: &Request) -> Result<RequestFraming, HeadError> {
    let mut length = None;
    for value in request.header_values("content-length") {
        let value = parse_length(value).ok_or(HeadError(400, "wrong Content-Length"))?;
        if length.is_some_and(|length| length != value) {
            return Err(HeadError(400, "conflicting Content-Length"));
        }
        length = Some(value);
    }
    let mut codings = request.header_values("transfer-encoding");
    match (codings.next(), codings.next(), length) {
        (None, _, None) => Ok(RequestFraming::None),
        (None, _, Some(length)) => Ok(RequestFraming::Length(length)),
        (Some(_), _, Some(_)) => Err(HeadError(400, "Content-Length and Transfer-Encoding")),
        (Some(coding), None, None) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            Ok(RequestFraming::Chunked)
        }
        _ => Err(HeadError(501, "unknown Transfer-Encoding")),
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let value = std::str::from_utf8(value).ok()?.trim_ascii();
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::borrow::Cow;
    use std::net::SocketAddr;

    fn parse(text: &[u8]) -> Result<Option<Head>, HeadError> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1)).into();
        Head::parse(text, &Limits::default(), peer, false)
    }

    #[test]
    fn a_request_can_be_asked() {
        let head = parse(
            b"GET /socket.io/?EIO=4&a=%C3%A9+b&a=2&t=%zz HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\n\r\nrest",
        )
        .unwrap()
        .unwrap();
        let request = &head.request;
        assert_eq!((request.method(), request.path()), ("GET", "/socket.io/"));
        assert_eq!(request.param("EIO").as_deref(), Some("4"));
        assert_eq!(request.param("a").as_deref(), Some("é b"));
        assert_eq!(request.param("t").as_deref(), Some("%zz"));
        assert_eq!(request.param("__proto__"), None);
        assert_eq!(request.header("x-A").as_deref(), Some("1, 2"));
        assert_eq!(request.header_values("x-a").count(), 2);
        assert_eq!(head.framing, RequestFraming::None);
        assert!(head.keep_alive);
        assert!(!format!("{request:?}").contains("EIO"));
    }

    #[test]
    fn the_forms_of_a_target() {
        let path = |target: &str| {
            let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let head = parse(text.as_bytes()).unwrap().unwrap();
            (
                head.request.path().to_owned(),
                head.request.query().to_owned(),
            )
        };
        assert_eq!(path("/a?b=c?d"), ("/a".into(), "b=c?d".into()));
        assert_eq!(path("http://host:80/a?b"), ("/a".into(), "b".into()));
        assert_eq!(path("*"), (String::new(), String::new()));
    }

    #[test]
    fn a_head_has_limits() {
        assert!(matches!(parse(b"GET / HTTP/1.1\r\nA: b\r\n"), Ok(None)));
        let long = [b"GET /".as_slice(), &[b'x'; 20_000]].concat();
        assert_eq!(parse(&long).unwrap_err().0, 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101));
        assert_eq!(parse(many.as_bytes()).unwrap_err().0, 431);
        for text in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\x16\x03\x01",
            "GET / HTTP/1.1\r\nA\0: b\r\n\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().0, 400, "{text:?}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let status = |text: &str| parse(text.as_bytes()).map(drop).map_err(|bad| bad.0);
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), Err(400));
        assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), Ok(()));
        assert_eq!(
            status("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            Err(400)
        );
        let chunked = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(status(chunked), Err(400));
    }

    #[test]
    fn repeated_fields_are_one() {
        let head = parse(
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.1.1.1\r\nCookie: a=1\r\n\
              x-forwarded-for: 2.2.2.2\r\ncookie: b=2\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
        );
        let request = head.unwrap().unwrap().request;
        let header = |name| request.header(name).map(Cow::into_owned);
        assert_eq!(
            header("X-Forwarded-For").as_deref(),
            Some("1.1.1.1, 2.2.2.2")
        );
        assert_eq!(header("Cookie").as_deref(), Some("a=1; b=2"));
        assert_eq!(header("Authorization").as_deref(), Some("a"));
    }

    #[test]
    fn what_is_kept_of_a_head_has_a_bound() {
        let long = "x".repeat(9_000);
        let text = format!(
            "GET /socket.io/?EIO=4&token=7 HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\nAccept: */*\r\n\
             Sec-WebSocket-Key: k\r\nCookie: a=1\r\nConnection: Upgrade\r\n\r\n"
        );
        let mut request = parse(text.as_bytes()).unwrap().unwrap().request;
        request.trim(4096);
        assert!(request.head.len() < 100);
        assert_eq!((request.method(), request.path()), ("GET", "/socket.io/"));
        assert_eq!(request.param("token").as_deref(), Some("7"));
        assert_eq!(request.header("cookie").as_deref(), Some("a=1"));
        assert_eq!(request.header("host").as_deref(), Some("x"));
        for gone in ["x-long", "accept", "sec-websocket-key", "connection"] {
            assert_eq!(request.header(gone), None, "{gone}");
        }
    }

    #[test]
    fn old_clients_close_unless_they_say_otherwise() {
        let keep = |text: &str| parse(text.as_bytes()).unwrap().unwrap().keep_alive;
        assert!(!keep("GET / HTTP/1.0\r\n\r\n"));
        assert!(keep("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!keep(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: x, close\r\n\r\n"
        ));
    }

    proptest! {
        #[test]
        fn no_head_panics(bytes in any::<Vec<u8>>()) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_target_panics(target in "[ -~]{0,40}") {
            if let Ok(Some(head)) = parse(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()) {
                head.request.params().for_each(drop);
                let _ = (head.request.path(), head.request.query());
            }
        }
    }

    /// A head is read the same way whatever comes behind it, and never before it is whole.
    #[test]
    fn spoilt_heads_are_read_or_refused() {
        const HEADS: &[&[u8]] = &[
            b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nCookie: a=b; c=d\r\n\r\n",
            b"POST http://x/y?a=%20+b HTTP/1.0\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\n",
            b"POST /z HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nOrigin: null\r\nAccess-Control-Request-Headers: a, b\r\n\r\n",
        ];
        crate::util::fuzz::run(|source| {
            let bytes = source.mutate(HEADS);
            let Ok(Some(head)) = parse(&bytes) else {
                return;
            };
            let request = head.request;
            let _ = (request.params().count(), request.header("origin"));
            assert!(head.length <= bytes.len());
            let alone = parse(&bytes[..head.length]);
            let again = alone.unwrap().expect("a whole head");
            assert_eq!(again.length, head.length);
            assert_eq!(again.request.path(), request.path());
            let short = source.below(head.length);
            assert!(!matches!(parse(&bytes[..short]), Ok(Some(_))), "{short}");
        });
    }
}
