//! Requests, and what a program may ask of them.

use super::upload::BodyReader;
use crate::net::listener::PeerAddr;
use crate::util::percent::decode_form;
use crate::util::sync::Mutex;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
#[cfg(feature = "tls")]
use std::sync::Arc;
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
    pub(super) head: Box<[u8]>,
    pub(super) method: Span,
    pub(super) path: Span,
    pub(super) query: Span,
    pub(super) fields: Box<[(Span, Span)]>,
    pub(super) body: RequestBody,
    pub(super) peer: PeerAddr,
    pub(super) secure: bool,
    /// The client's address, if a trusted proxy has named it.
    pub(super) forwarded_for: Option<Box<IpAddr>>,
    #[cfg(feature = "tls")]
    pub(super) certificate: Option<Box<Arc<[u8]>>>,
    pub(super) time: SystemTime,
}

pub(super) enum RequestBody {
    Whole(Vec<u8>),
    /// Read as it comes, until it is taken.
    Stream(Mutex<Option<Box<BodyReader>>>),
}

pub(super) type Span = (u16, u16);

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
        let mut more = self.header_values(name).skip(1).peekable();
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
    pub fn peer_addr(&self) -> PeerAddr {
        self.peer
    }

    /// Returns the IP address of the client: of the other end, or, if that is a trusted proxy, the
    /// one that it names in `X-Forwarded-For`, or in `Forwarded` (RFC 7239). See
    /// [`trusted_proxies`](crate::ServerBuilder::trusted_proxies).
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.forwarded_for
            .as_deref()
            .copied()
            .or_else(|| self.peer.ip())
    }

    /// Finds the client behind trusted proxies; who connects over a Unix socket is one.
    pub(crate) fn find_client(&mut self, trusted: &[IpAddr]) {
        let is_trusted = |address: Option<IpAddr>| address.is_none_or(|it| trusted.contains(&it));
        if trusted.is_empty() || !is_trusted(self.peer.ip()) {
            return;
        }
        let named = self.header("x-forwarded-for").map(|it| it.into_owned());
        let named = match named {
            Some(list) => list.split(',').map(|it| address(it.trim())).collect(),
            None => self
                .header("forwarded")
                .map_or_else(Vec::new, |it| forwarded_for(&it)),
        };
        // The last one was added by the nearest proxy; those before it by whoever was asked before.
        let mut named: Vec<Option<IpAddr>> = named;
        while let Some(last) = named.pop() {
            self.forwarded_for = last.map(Box::new);
            if last.is_none() || !is_trusted(last) {
                return;
            }
        }
    }

    /// Returns whether it came over TLS that this program itself speaks.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns the certificate that the client has shown, in DER: of the connection that the
    /// request came over, if that is TLS, and its configuration asks for one. See
    /// [`Tls::from_config`](crate::Tls::from_config).
    #[cfg(feature = "tls")]
    pub fn client_certificate(&self) -> Option<&[u8]> {
        self.certificate.as_ref().map(|it| &***it)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_certificate(&mut self, certificate: Option<Arc<[u8]>>) {
        self.certificate = certificate.map(Box::new);
    }

    /// Returns when it came.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns every value of a header field.
    pub(crate) fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields.iter();
        let named = fields.filter(move |(key, _)| self.is_named(*key, name));
        named.map(|(_, value)| self.bytes(*value))
    }

    /// Returns whether a field that lists words, such as `Connection`, lists this one.
    pub(crate) fn has_token(&self, name: &str, word: &str) -> bool {
        self.header_values(name)
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

    /// Sets the origin of the page that asks by a script, for which browsers send no `Origin`: it
    /// is the one in `Referer`, and, of a page of another site that hides that, none that is known.
    pub(crate) fn find_origin_of_script(&mut self) {
        if self.param("j").is_none() || self.header_values("origin").next().is_some() {
            return;
        }
        let page = self.first("referer").unwrap_or_default();
        let origin = page.find("://").map(|at| {
            let end = page[at + 3..].find(['/', '?', '#']);
            &page[..end.map_or(page.len(), |end| at + 3 + end)]
        });
        let is_hidden = || self.first("sec-fetch-site") == Some("cross-site");
        let Some(origin) = origin.or_else(|| is_hidden().then_some("null")) else {
            return;
        };
        let mut head = self.head.to_vec();
        let (name, value) = (head.len(), head.len() + "origin".len());
        head.extend_from_slice(b"origin");
        head.extend_from_slice(origin.as_bytes());
        let spans = [name, value, head.len()].map(u16::try_from);
        let [Ok(name), Ok(value), Ok(end)] = spans else {
            // Longer than a head may be.
            self.query = (0, 0);
            return;
        };
        let mut fields = self.fields.to_vec();
        fields.push(((name, value), (value, end)));
        self.head = head.into();
        self.fields = fields.into();
    }

    pub(crate) fn set_body(&mut self, body: Vec<u8>) {
        self.body = RequestBody::Whole(body);
    }

    pub(crate) fn set_stream(&mut self, stream: BodyReader) {
        self.body = RequestBody::Stream(Mutex::new(Some(Box::new(stream))));
    }

    /// Returns whether the client has gone before the end of a body that is read as it comes.
    pub(crate) fn is_abandoned(&self) -> bool {
        match &self.body {
            RequestBody::Stream(stream) => stream.lock().as_ref().is_some_and(|it| it.is_broken()),
            RequestBody::Whole(_) => false,
        }
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
    /// Formats it without the query and the fields: they hold session ids, cookies and tokens.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", &self.method())
            .field("path", &self.path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Returns the value of a field of a form that was posted.
pub(crate) fn form_field(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let mut pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(decode_form(value).into_owned())
}

/// Returns what stands before and behind an ASCII character. For the few bytes of a parameter this
/// is quicker than the search of `split_once`.
fn split_at(text: &str, character: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == character)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Returns the addresses of `for` in a `Forwarded` field.
fn forwarded_for(field: &str) -> Vec<Option<IpAddr>> {
    let elements = field.split(',').map(|element| {
        let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
    });
    let named = elements.map(|pair| address(pair?.1.trim().trim_matches('"')));
    named.collect()
}

/// Reads an address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|it| it.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets)
}
