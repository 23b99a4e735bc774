//! The handshake of a WebSocket (RFC 6455, 4.1).

use super::blocking_stream::BlockingStream;
use super::cookies::{CookieJar, is_cookie};
use super::endpoint::Endpoint;
use super::http_head::{dechunked, read_chunked, read_final};
use super::polling::{MAX_REFUSAL, TIMED_OUT, error_from_status};
use super::transport_config::TransportConfig;
use super::wire::{BlockingWire, IoDeadlines, ServerRoute};
use crate::error::ConnectError;
use crate::net::ConnectedSocket;
use crate::net::socket::StreamSocket;
use crate::util::sync::Mutex;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use ureq::unversioned::transport::ShutdownHandle as _;

/// Outcome of the handshake.
pub(super) enum Dial {
    /// After so long from the request to its answer.
    Done(ConnectedSocket, Duration),
    /// The server is elsewhere.
    Redirected(Endpoint),
}

/// A dial that another thread may give up.
#[derive(Debug, Default)]
pub(super) struct DialHandle {
    state: Mutex<DialState>,
}

#[derive(Debug, Default)]
enum DialState {
    #[default]
    NotConnected,
    Connected(Weak<BlockingStream>),
    Abandoned,
}

impl DialHandle {
    /// Gives the dial up: nothing more is waited for.
    pub(super) fn abandon(&self) {
        let before = std::mem::replace(&mut *self.state.lock(), DialState::Abandoned);
        if let DialState::Connected(stream) = before
            && let Some(stream) = stream.upgrade()
        {
            stream.shutdown();
        }
    }

    /// Notes the connection, unless the dial has been given up.
    fn connected(&self, stream: &Arc<BlockingStream>) -> io::Result<()> {
        let mut state = self.state.lock();
        if matches!(*state, DialState::Abandoned) {
            return Err(io::Error::other("it is not wanted any more"));
        }
        *state = DialState::Connected(Arc::downgrade(stream));
        Ok(())
    }
}

/// Connects a WebSocket. Blocks for the request time-out at most, but for the resolver's own time.
/// The server's cookies are kept in the jar.
pub(super) fn dial(
    endpoint: &Endpoint,
    network: &TransportConfig,
    route: &ServerRoute,
    sid: Option<&str>,
    jar: &CookieJar,
    handle: &DialHandle,
) -> Result<Dial, ConnectError> {
    let by = Some(Instant::now() + network.request_timeout);
    let deadlines = IoDeadlines {
        by,
        ..IoDeadlines::default()
    };
    let wire = route.open(deadlines, |stream| handle.connected(stream));
    let mut wire = wire.map_err(describe)?;
    let key = generate_key();
    let cookies = jar.field_for(endpoint);
    let request = request(endpoint, network, sid, cookies.as_deref(), &key);
    let mut rest = Vec::new();
    let asked_at = Instant::now();
    let answer = wire
        .write_all(request.as_bytes())
        .and_then(|()| wire.flush())
        .and_then(|()| read_final(&mut wire, &mut rest));
    let round_trip = asked_at.elapsed();
    let head = answer.map_err(describe)?;
    let head = head
        .ok_or_else(|| ConnectError::new("the server's answer is no HTTP; is that port https?"))?;
    let fields = head.fields.iter().filter(|it| it.0 == "set-cookie");
    jar.learn(endpoint, fields.map(|it| &*it.1));
    if head.status != 101 {
        if let (301 | 302 | 303 | 307 | 308, Some(location), None) =
            (head.status, &head.location, sid)
        {
            return endpoint.redirected(location).map(Dial::Redirected);
        }
        // What there is of it is better than nothing.
        if head.chunked {
            read_chunked(&mut wire, &mut rest, MAX_REFUSAL);
            rest = dechunked(&rest);
        } else {
            let wanted = head.length.unwrap_or(0).min(MAX_REFUSAL);
            let _ = read_up_to(&mut wire, &mut rest, wanted);
        }
        return Err(error_from_status(head.status, head.fields, &rest));
    }
    if head.accept.as_deref() != Some(&derive_accept_key(key.as_bytes())) {
        return Err(ConnectError::new(
            "the server's answer is no WebSocket handshake",
        ));
    }
    let socket = finish(wire, rest).map_err(describe)?;
    Ok(Dial::Done(socket, round_trip))
}

fn describe(error: io::Error) -> ConnectError {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => ConnectError::new(TIMED_OUT).timed_out(),
        ErrorKind::UnexpectedEof => {
            ConnectError::new("the server closed the connection").caused_by(error)
        }
        _ => ConnectError::new(error.to_string()).caused_by(error),
    }
}

fn request(
    endpoint: &Endpoint,
    network: &TransportConfig,
    sid: Option<&str>,
    cookies: Option<&str>,
    key: &str,
) -> String {
    let resource = endpoint.path_and_query("websocket", sid, network.timestamp_requests);
    let mut request = format!(
        "GET {resource} HTTP/1.1\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\n"
    );
    let mut field = |name: &str, value: &str| {
        request.push_str(&format!("{name}: {value}\r\n"));
    };
    let given = |name: &str| {
        endpoint
            .headers()
            .iter()
            .any(|it| it.0.eq_ignore_ascii_case(name))
    };
    if !given("host") {
        field("Host", endpoint.authority());
    }
    if !given("user-agent") {
        field(
            "User-Agent",
            concat!("socketio-rust/", env!("CARGO_PKG_VERSION")),
        );
    }
    for (name, value) in endpoint.headers() {
        let own = [
            "upgrade",
            "connection",
            "sec-websocket-key",
            "sec-websocket-version",
        ];
        if own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            continue;
        }
        if !is_cookie(name) {
            field(name, value);
        }
    }
    if let Some(cookies) = cookies {
        field("Cookie", cookies);
    }
    request.push_str("\r\n");
    request
}

/// Reads until there are so many bytes, or a few more.
fn read_up_to(stream: &mut impl Read, bytes: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while bytes.len() < wanted {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes it a connection that is never waited for.
fn finish(wire: BlockingWire, unread: Vec<u8>) -> io::Result<ConnectedSocket> {
    let shared = || io::Error::other("the connection is in use elsewhere");
    let stream = Arc::into_inner(wire.stream).ok_or_else(shared)?;
    let stream = stream.into_nonblocking()?;
    #[cfg(feature = "tls")]
    let socket = match wire.tls {
        Some(tls) => StreamSocket::secure(stream, (*tls).into()),
        None => StreamSocket::plain(stream),
    };
    #[cfg(not(feature = "tls"))]
    let socket = StreamSocket::plain(stream);
    Ok(ConnectedSocket {
        socket,
        peer: wire.peer,
        unread,
    })
}
