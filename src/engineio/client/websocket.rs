//! The way to a WebSocket: the connection, a proxy, TLS, and the handshake (RFC 6455, 4.1).

use super::network::Network;
use super::polling::{LATE, MAX_REFUSAL, refusal};
use super::target::Target;
use crate::error::ConnectError;
use crate::reactor::Dialled;
use crate::reactor::socket::Socket;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
#[cfg(feature = "tls")]
use rustls::{ClientConnection, pki_types::ServerName};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

/// How long the head of an answer may be.
const MAX_HEAD: usize = 16 << 10;
const MAX_FIELDS: usize = 100;

/// Connects a WebSocket. Blocks for the request time-out at most, but for the resolver's own time.
pub(super) fn dial(
    target: &Target,
    network: &Network,
    sid: Option<&str>,
    cookies: Option<&str>,
) -> Result<Dialled, ConnectError> {
    let deadline = Instant::now() + network.request_timeout;
    let mut stream = open(target, network, deadline).map_err(describe)?;
    let key = generate_key();
    let request = request(target, network, sid, cookies, &key);
    let answer = stream
        .write_all(request.as_bytes())
        .and_then(|()| read_head(&mut stream));
    let (head, mut rest) = answer.map_err(describe)?;
    let head =
        parse_head(&head).ok_or_else(|| ConnectError::new("the server's answer is no HTTP"))?;
    if head.status != 101 {
        let wanted = head.length.unwrap_or(0).min(MAX_REFUSAL);
        // What there is of it is better than nothing.
        let _ = read_up_to(&mut stream, &mut rest, wanted);
        return Err(refusal(head.status, &rest));
    }
    if head.accept.as_deref() != Some(&derive_accept_key(key.as_bytes())) {
        return Err(ConnectError::new(
            "the server's answer is no WebSocket handshake",
        ));
    }
    stream.finish(rest).map_err(describe)
}

fn describe(error: io::Error) -> ConnectError {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => ConnectError::new(LATE).timed_out(),
        ErrorKind::UnexpectedEof => ConnectError::new("the server closed the connection"),
        _ => ConnectError::new(error.to_string()),
    }
}

/// A connection whose reads and writes end by a time.
struct Stream {
    tcp: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<Box<ClientConnection>>,
    peer: SocketAddr,
    deadline: Instant,
}

fn open(target: &Target, network: &Network, deadline: Instant) -> io::Result<Stream> {
    let proxy = network.proxy(target).map_err(io::Error::other)?;
    let (tcp, peer) = match &proxy {
        Some(proxy) => {
            let connected = connect(proxy.host(), proxy.port(), deadline);
            let (mut tcp, peer) = connected
                .map_err(|error| io::Error::new(error.kind(), format!("the proxy: {error}")))?;
            tunnel(&mut tcp, proxy, target, deadline)?;
            (tcp, peer)
        }
        None => connect(target.host(), target.port(), deadline)?,
    };
    tcp.set_nodelay(true)?;
    let stream = Stream {
        tcp,
        #[cfg(feature = "tls")]
        tls: None,
        peer,
        deadline,
    };
    if target.is_secure() {
        return stream.secure(target, network);
    }
    Ok(stream)
}

/// Tries the addresses of a name one after the other.
fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<(TcpStream, SocketAddr)> {
    let mut failed = None;
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(tcp) => return Ok((tcp, address)),
            Err(error) => failed = Some(error),
        }
    }
    let unknown = || io::Error::new(ErrorKind::NotFound, "the server's name is not known");
    Err(failed.unwrap_or_else(unknown))
}

/// Asks a proxy to connect (RFC 9110, 9.3.6).
fn tunnel(
    tcp: &mut TcpStream,
    proxy: &ureq::Proxy,
    target: &Target,
    deadline: Instant,
) -> io::Result<()> {
    let host = if target.host().contains(':') {
        format!("[{}]:{}", target.host(), target.port())
    } else {
        format!("{}:{}", target.host(), target.port())
    };
    let mut request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n");
    if let Some(user) = proxy.username() {
        let login = format!("{user}:{}", proxy.password().unwrap_or_default());
        let login = STANDARD.encode(login);
        request.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
    }
    request.push_str("\r\n");
    let mut timed = Timed { tcp, deadline };
    timed.write_all(request.as_bytes())?;
    let (head, rest) = read_head(&mut timed)?;
    match parse_head(&head) {
        // The server speaks second, so nothing can have come from it.
        Some(head) if (200..300).contains(&head.status) && rest.is_empty() => Ok(()),
        Some(head) => Err(io::Error::other(format!(
            "the proxy answered with status {}",
            head.status
        ))),
        None => Err(io::Error::other("the proxy's answer is no HTTP")),
    }
}

fn request(
    target: &Target,
    network: &Network,
    sid: Option<&str>,
    cookies: Option<&str>,
    key: &str,
) -> String {
    let resource = target.resource("websocket", sid, network.timestamp_requests);
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
        target
            .headers()
            .iter()
            .any(|it| it.0.eq_ignore_ascii_case(name))
    };
    if !given("host") {
        field("Host", target.authority());
    }
    if !given("user-agent") {
        field(
            "User-Agent",
            concat!("socketio-rust/", env!("CARGO_PKG_VERSION")),
        );
    }
    let mut cookies = cookies;
    for (name, value) in target.headers() {
        let own = [
            "upgrade",
            "connection",
            "sec-websocket-key",
            "sec-websocket-version",
        ];
        if own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            continue;
        }
        match cookies {
            // A request has one field of cookies (RFC 6265, 5.4).
            Some(more) if name.eq_ignore_ascii_case("cookie") => {
                field(name, &format!("{value}; {more}"));
                cookies = None;
            }
            _ => field(name, value),
        }
    }
    if let Some(cookies) = cookies {
        field("Cookie", cookies);
    }
    request.push_str("\r\n");
    request
}

/// Reads an answer's head; gives it, and what came behind it.
fn read_head(stream: &mut impl Read) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        read_up_to(stream, &mut bytes, before + 1)?;
        // The end may lie across two reads.
        let from = before.saturating_sub(3);
        if let Some(at) = bytes[from..].windows(4).position(|it| it == b"\r\n\r\n") {
            let rest = bytes.split_off(from + at + 4);
            return Ok((bytes, rest));
        }
        if bytes.len() > MAX_HEAD {
            return Err(io::Error::other(
                "the head of the server's answer does not end",
            ));
        }
    }
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

/// What matters of an answer's head.
struct Head {
    status: u16,
    accept: Option<String>,
    length: Option<usize>,
}

fn parse_head(bytes: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    if !response.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let field = |name: &str| {
        let field = response
            .headers
            .iter()
            .find(|it| it.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok().map(str::trim)
    };
    Some(Head {
        status: response.code?,
        accept: field("sec-websocket-accept").map(str::to_owned),
        length: field("content-length").and_then(|length| length.parse().ok()),
    })
}

/// The time that is left.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// A TCP connection whose reads and writes end by a time.
struct Timed<'a> {
    tcp: &'a mut TcpStream,
    deadline: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(left(self.deadline)?))?;
        self.tcp.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(left(self.deadline)?))?;
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    #[cfg(feature = "tls")]
    fn secure(mut self, target: &Target, network: &Network) -> io::Result<Stream> {
        let config = network.tls.config().map_err(io::Error::other)?;
        let name = ServerName::try_from(target.host().to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut timed = Timed {
            tcp: &mut self.tcp,
            deadline: self.deadline,
        };
        while tls.is_handshaking() {
            tls.complete_io(&mut timed)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    #[cfg(not(feature = "tls"))]
    fn secure(self, _: &Target, _: &Network) -> io::Result<Stream> {
        Err(io::Error::other(super::NO_TLS))
    }

    /// Makes it a connection that is never waited for.
    fn finish(self, unread: Vec<u8>) -> io::Result<Dialled> {
        self.tcp.set_nonblocking(true)?;
        let tcp = mio::net::TcpStream::from_std(self.tcp);
        #[cfg(feature = "tls")]
        let socket = match self.tls {
            Some(tls) => Socket::secure(tcp, (*tls).into()),
            None => Socket::plain(tcp),
        };
        #[cfg(not(feature = "tls"))]
        let socket = Socket::plain(tcp);
        Ok(Dialled {
            socket,
            peer: self.peer,
            unread,
        })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut timed = Timed {
            tcp: &mut self.tcp,
            deadline: self.deadline,
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut timed).read(buffer);
        }
        timed.read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut timed = Timed {
            tcp: &mut self.tcp,
            deadline: self.deadline,
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut timed).write(bytes);
        }
        timed.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
