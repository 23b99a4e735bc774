//! Requests: their heads, and what a program may ask of them.

use super::body::Framing;
use super::upload::BodyReader;
use crate::limits::Limits;
use crate::util::sync::Mutex;
use std::borrow::Cow;
use std::fmt;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::SystemTime;

/// An HTTP request: what python-socketio calls `environ`.
///
/// Of a connected client it is the request that opened its session; all its namespaces share it.
///
/// ```
/// use socketio::{Refused, Server, Socket};
///
/// let io = Server::new();
/// io.on_connect(|socket: &Socket| {
///     let request = socket.request();
///     println!("{} from {}", request.path(), request.peer_addr());
///     match request.header("Authorization") {
///         Some(_) => Ok(()),
///         None => Err(Refused::new("unauthorized")),
///     }
/// });
/// ```
pub struct Request {
    /// The head as it came; all names and values are ranges of it, which keeps a client's request
    /// small for as long as the client stays.
    head: Box<[u8]>,
    method: Span,
    path: Span,
    query: Span,
    fields: Box<[(Span, Span)]>,
    body: RequestBody,
    peer: SocketAddr,
    secure: bool,
    time: SystemTime,
}

enum RequestBody {
    Whole(Vec<u8>),
    /// Read as it comes, until it is taken.
    Stream(Mutex<Option<Box<BodyReader>>>),
}

type Span = (u16, u16);

/// Fields whose values are not lists: node takes the first.
const SINGLE_FIELDS: [&str; 13] = [
    "authorization",
    "content-length",
    "content-type",
    "from",
    "host",
    "if-modified-since",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "proxy-authorization",
    "referer",
    "sec-websocket-key",
    "user-agent",
];

/// Fields that concern HTTP and WebSocket alone; of those that end with a hyphen, all that begin
/// so.
const HTTP_FIELDS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-length",
    "dnt",
    "pragma",
    "sec-fetch-",
    "sec-websocket-",
    "te",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "keep-alive",
];

impl Request {
    /// Returns the method: `GET`, `POST`, ...
    pub fn method(&self) -> &str {
        self.text(self.method)
    }

    /// Returns the path as it was sent, percent-encoding included, without the query.
    pub fn path(&self) -> &str {
        self.text(self.path)
    }

    /// Returns the query as it was sent, without the question mark; empty if there is none.
    pub fn query(&self) -> &str {
        self.text(self.query)
    }

    /// Returns the first value of a query parameter, decoded. Escapes that are wrong stay as they
    /// are, and bytes that are not UTF-8 become replacement characters.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut pairs = self.pairs();
        let (_, value) = pairs.find(|(key, _)| *key == name || decode_form(key) == name)?;
        Some(decode_form(value))
    }

    /// Returns all query parameters, decoded, in their order.
    pub fn params(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.pairs()
            .map(|(name, value)| (decode_form(name), decode_form(value)))
    }

    /// Returns the query's parameters as they were sent.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = self.query();
        let pairs = std::iter::from_fn(move || {
            let (pair, others) =
                split_at(rest, b'&').or((!rest.is_empty()).then_some((rest, "")))?;
            rest = others;
            Some(pair)
        });
        let pairs = pairs.filter(|pair| !pair.is_empty());
        pairs.map(|pair| split_at(pair, b'=').unwrap_or((pair, "")))
    }

    /// Returns the value of a header field, whatever the case of its name; `None` too if it is not
    /// UTF-8.
    ///
    /// The values of repeated fields are joined: by a comma (RFC 9110, 5.3), those of `Cookie` by a
    /// semicolon. Of a field that a request has once, such as `Authorization`, the first counts.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let first = self.first(name)?;
        let is_single = SINGLE_FIELDS.iter().any(|it| it.eq_ignore_ascii_case(name));
        let mut more = self.values(name).skip(1).peekable();
        if is_single || more.peek().is_none() {
            return Some(Cow::Borrowed(first));
        }
        let separator = if name.eq_ignore_ascii_case("cookie") {
            "; "
        } else {
            ", "
        };
        let mut joined = first.to_owned();
        for value in more {
            joined.push_str(separator);
            joined.push_str(std::str::from_utf8(value).ok()?);
        }
        Some(Cow::Owned(joined))
    }

    /// Returns the first value of a header field.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (_, value) = fields.find(|(key, _)| self.is_named(*key, name))?;
        std::str::from_utf8(self.bytes(*value)).ok()
    }

    /// Returns all header fields in their order, with the bytes of their values.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let fields = self.fields.iter();
        fields.map(|(name, value)| (self.text(*name), self.bytes(*value)))
    }

    /// Returns the body. Empty for a client's handshake, and where it is read as it comes.
    pub fn body(&self) -> &[u8] {
        match &self.body {
            RequestBody::Whole(bytes) => bytes,
            RequestBody::Stream(_) => &[],
        }
    }

    /// Returns the address that the connection came from: a proxy's, if there is one.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Returns whether it came over TLS that this program itself speaks.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns when it came.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns every value of a header field.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields.iter();
        let named = fields.filter(move |(key, _)| self.is_named(*key, name));
        named.map(|(_, value)| self.bytes(*value))
    }

    /// Returns whether a field that lists words, such as `Connection`, lists this one.
    pub(crate) fn lists(&self, name: &str, word: &str) -> bool {
        self.values(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(word))
    }

    /// Keeps only what a program may want to know of a session's request later: not what concerns
    /// HTTP alone, and of what is more than `max` bytes not the longest fields.
    pub(crate) fn trim(&mut self, max: usize) {
        let is_of_program = |name: &str| {
            let name = name.to_ascii_lowercase();
            !HTTP_FIELDS
                .iter()
                .any(|it| name == *it || it.ends_with('-') && name.starts_with(it))
        };
        let length = |(name, value): &(Span, Span)| {
            usize::from(name.1 - name.0) + usize::from(value.1 - value.0)
        };
        let mut fields: Vec<_> = self
            .fields
            .iter()
            .filter(|(name, _)| is_of_program(self.text(*name)))
            .copied()
            .collect();
        let line: usize = [self.method, self.path, self.query]
            .iter()
            .map(|span| usize::from(span.1 - span.0))
            .sum();
        let mut total: usize = line + fields.iter().map(length).sum::<usize>();
        while total > max && !fields.is_empty() {
            let longest = fields
                .iter()
                .enumerate()
                .max_by_key(|(_, field)| length(field));
            let at = longest.map_or(0, |(at, _)| at);
            total -= length(&fields.remove(at));
        }
        if total > max {
            self.query = (0, 0);
        }
        let mut head = Vec::with_capacity(total);
        let mut keep = |span: Span| -> Span {
            // Not longer than the head was.
            let start = head.len() as u16;
            head.extend_from_slice(&self.head[usize::from(span.0)..usize::from(span.1)]);
            (start, head.len() as u16)
        };
        let (method, path, query) = (keep(self.method), keep(self.path), keep(self.query));
        let fields = fields
            .into_iter()
            .map(|(name, value)| (keep(name), keep(value)))
            .collect();
        (self.method, self.path, self.query, self.fields) = (method, path, query, fields);
        self.head = head.into();
    }

    pub(crate) fn set_body(&mut self, body: Vec<u8>) {
        self.body = RequestBody::Whole(body);
    }

    pub(crate) fn set_stream(&mut self, stream: BodyReader) {
        self.body = RequestBody::Stream(Mutex::new(Some(Box::new(stream))));
    }

    /// Returns the body as it comes, once.
    pub(crate) fn take_stream(&self) -> BodyReader {
        let RequestBody::Stream(stream) = &self.body else {
            return BodyReader::empty();
        };
        let stream = stream.lock().take();
        stream.map_or_else(BodyReader::empty, |stream| *stream)
    }

    pub(crate) fn take_body(&mut self) -> Vec<u8> {
        match &mut self.body {
            RequestBody::Whole(bytes) => std::mem::take(bytes),
            RequestBody::Stream(_) => Vec::new(),
        }
    }

    fn is_named(&self, key: Span, name: &str) -> bool {
        self.bytes(key).eq_ignore_ascii_case(name.as_bytes())
    }

    fn bytes(&self, (start, end): Span) -> &[u8] {
        &self.head[usize::from(start)..usize::from(end)]
    }

    fn text(&self, span: Span) -> &str {
        // Methods, targets and names were checked when the head was read.
        std::str::from_utf8(self.bytes(span)).unwrap_or_default()
    }
}

impl fmt::Debug for Request {
    /// Without the query and the fields: they hold session ids, cookies and tokens.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", &self.method())
            .field("path", &self.path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A head that has been read, and what it says about the connection.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) request: Request,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    /// HTTP/1.1, whose clients know chunks.
    pub(crate) takes_chunks: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
    /// Bytes that the head took.
    pub(crate) length: usize,
}

/// Reason why a head is refused: the status, and a sentence for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHead(pub(crate) u16, pub(crate) &'static str);

impl Head {
    /// Reads a head; `None` if it has not come to its end.
    #[inline]
    pub(crate) fn parse(
        bytes: &[u8],
        limits: &Limits,
        peer: SocketAddr,
        secure: bool,
    ) -> Result<Option<Head>, BadHead> {
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
        let length = match parsed
            .parse_with_uninit_headers(&bytes[..bytes.len().min(limit)], fields)
        {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() >= limit => {
                return Err(BadHead(431, "head too large"));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(BadHead(431, "too many fields")),
            Err(_) => return Err(BadHead(400, "not an HTTP/1 request")),
        };
        let (Some(method), Some(target), Some(version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(BadHead(400, "not an HTTP/1 request"));
        };
        let head: Box<[u8]> = bytes[..length].into();
        let span = |part: &[u8]| -> Span {
            // Every part is a slice of `bytes`, which is shorter than 64 KiB here.
            let start = part.as_ptr().addr() - bytes.as_ptr().addr();
            (start as u16, (start + part.len()) as u16)
        };
        let path_and_query = absolute_path(target);
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let query = if query.is_empty() {
            (0, 0)
        } else {
            span(query.as_bytes())
        };
        let request = Request {
            method: span(method.as_bytes()),
            path: if path.is_empty() {
                (0, 0)
            } else {
                span(path.as_bytes())
            },
            query,
            fields: parsed
                .headers
                .iter()
                .map(|field| (span(field.name.as_bytes()), span(field.value)))
                .collect(),
            head,
            body: RequestBody::Whole(Vec::new()),
            peer,
            secure,
            time: SystemTime::now(),
        };
        let keep_alive = match version {
            1 => !request.lists("connection", "close"),
            _ => request.lists("connection", "keep-alive"),
        };
        let hosts = request.values("host").count();
        if hosts > 1 || hosts == 0 && version == 1 {
            // RFC 9112, 3.2.
            return Err(BadHead(400, "not one Host field"));
        }
        let framing = Framing::of(&request)?;
        if framing == Framing::Chunked && version == 0 {
            // RFC 9112, 6.1: there are none in HTTP/1.0, and proxies may not see where it ends.
            return Err(BadHead(400, "Transfer-Encoding in HTTP/1.0"));
        }
        let expects_continue = version == 1 && request.lists("expect", "100-continue");
        Ok(Some(Head {
            request,
            framing,
            keep_alive,
            takes_chunks: version == 1,
            expects_continue,
            length,
        }))
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

/// Returns what stands before and behind an ASCII character. For the few bytes of a parameter this
/// is quicker than the search of `split_once`.
fn split_at(text: &str, character: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == character)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Decodes one part of a query: `+` is a blank, `%xx` a byte.
fn decode_form(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(String::from_utf8_lossy(&decode_percent(&spaced)).into_owned())
}

/// Replaces `%xx` by the byte it stands for; anything else stays.
pub(crate) fn decode_percent(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = match (byte, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match digits {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &[u8]) -> Result<Option<Head>, BadHead> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
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
        assert_eq!(request.values("x-a").count(), 2);
        assert_eq!(head.framing, Framing::None);
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
            let bytes = source.spoil(HEADS);
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
