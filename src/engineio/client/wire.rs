//! A connection to a server, plain or TLS, through a proxy or not: what polling and the way to a
//! WebSocket are made on. Its reads and writes end by a time.

#[cfg(unix)]
use super::addresses::connect_unix;
use super::addresses::{Addresses, left};
use super::blocking_stream::BlockingStream;
use super::endpoint::Endpoint;
use super::http_head::{parse_head, read_head};
use super::socks::{Goal, socks4, socks5};
use super::transport_config::TransportConfig;
use crate::error::ConnectError;
use crate::net::PeerAddr;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
#[cfg(feature = "tls")]
use rustls::pki_types::ServerName;
#[cfg(feature = "tls")]
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::ProxyProtocol;

/// Time that connecting may take where nothing else says so.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// A connection.
#[derive(Debug)]
pub(super) struct BlockingWire {
    pub(super) stream: Arc<BlockingStream>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Box<ClientConnection>>,
    pub(super) peer: PeerAddr,
    pub(super) deadlines: IoDeadlines,
}

/// Time limits of reads and writes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IoDeadlines {
    pub(super) by: Option<Instant>,
    /// Time for which nothing at all may come.
    pub(super) read: Option<Duration>,
    /// Time for which nothing at all may leave.
    pub(super) write: Option<Duration>,
}

/// How to reach a server, for all connections of a session.
#[derive(Clone, Debug)]
pub(super) struct ServerRoute {
    host: String,
    port: u16,
    /// The Unix socket in the place of host and port.
    unix: Option<Arc<Path>>,
    secure: bool,
    /// Those of the server, or of the proxy.
    addresses: Addresses,
    proxy: Option<ureq::Proxy>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<ClientConfig>>,
}

impl ServerRoute {
    pub(super) fn new(
        endpoint: &Endpoint,
        network: &TransportConfig,
    ) -> Result<ServerRoute, ConnectError> {
        #[cfg(not(feature = "tls"))]
        if endpoint.is_secure() {
            return Err(ConnectError::new(super::NO_TLS).invalid());
        }
        #[cfg(feature = "tls")]
        let tls = if endpoint.is_secure() {
            let config = network.tls.config();
            Some(config.map_err(|error| ConnectError::new(error).invalid())?)
        } else {
            None
        };
        Ok(ServerRoute {
            host: endpoint.host().to_owned(),
            port: endpoint.port(),
            unix: endpoint.unix().cloned(),
            secure: endpoint.is_secure(),
            addresses: Addresses::default(),
            proxy: network.proxy(endpoint)?,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Connects. `begun` sees the socket before anything is said on it.
    pub(super) fn open(
        &self,
        deadlines: IoDeadlines,
        begun: impl FnOnce(&Arc<BlockingStream>) -> io::Result<()>,
    ) -> io::Result<BlockingWire> {
        let by = deadlines.by.unwrap_or_else(|| Instant::now() + MAX_TIMEOUT);
        let (stream, peer) = self.reach(by)?;
        let stream = Arc::new(stream);
        begun(&stream)?;
        if let Some(proxy) = &self.proxy {
            let stream = &*stream;
            self.pass(proxy, &mut DeadlineStream { stream, deadlines })?;
        }
        let wire = BlockingWire {
            stream,
            #[cfg(feature = "tls")]
            tls: None,
            peer,
            deadlines,
        };
        self.secure(wire)
    }

    /// Connects to the server, or to the proxy on the way to it.
    fn reach(&self, by: Instant) -> io::Result<(BlockingStream, PeerAddr)> {
        #[cfg(unix)]
        if let Some(path) = &self.unix {
            let stream = BlockingStream::Unix(connect_unix(path, by)?);
            return Ok((stream, PeerAddr::Unix));
        }
        let (tcp, peer) = match &self.proxy {
            None => self.addresses.connect(&self.host, self.port, by)?,
            Some(proxy) => {
                let host = proxy.host().trim_matches(['[', ']']);
                let connected = self.addresses.connect(host, proxy.port(), by);
                connected
                    .map_err(|error| io::Error::new(error.kind(), format!("the proxy: {error}")))?
            }
        };
        tcp.set_nodelay(true)?;
        Ok((BlockingStream::Tcp(tcp), peer.into()))
    }

    /// Asks a proxy to connect.
    fn pass(&self, proxy: &ureq::Proxy, stream: &mut DeadlineStream<'_>) -> io::Result<()> {
        let name = Goal::Name(&self.host, self.port);
        let resolved = || {
            let first = (&*self.host, self.port).to_socket_addrs()?.next();
            let unknown = || io::Error::new(ErrorKind::NotFound, "the server's name is not known");
            first.map(Goal::Address).ok_or_else(unknown)
        };
        let user = proxy.username().unwrap_or_default();
        let login = proxy
            .username()
            .map(|user| (user, proxy.password().unwrap_or_default()));
        match proxy.protocol() {
            ProxyProtocol::Socks4 => socks4(stream, &resolved()?, user),
            ProxyProtocol::Socks4A => socks4(stream, &name, user),
            ProxyProtocol::Socks5 => socks5(stream, &resolved()?, login),
            ProxyProtocol::Socks5h => socks5(stream, &name, login),
            _ => self.connect_proxy(proxy, stream),
        }
    }

    /// Asks an HTTP proxy to connect (RFC 9110, 9.3.6).
    fn connect_proxy(
        &self,
        proxy: &ureq::Proxy,
        stream: &mut DeadlineStream<'_>,
    ) -> io::Result<()> {
        let host = if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        };
        let mut request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n");
        if let Some(user) = proxy.username() {
            let login = format!("{user}:{}", proxy.password().unwrap_or_default());
            let login = STANDARD.encode(login);
            request.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        let (head, rest) = read_head(stream, Vec::new())?;
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

    #[cfg(feature = "tls")]
    fn secure(&self, mut wire: BlockingWire) -> io::Result<BlockingWire> {
        let Some(config) = &self.tls else {
            return Ok(wire);
        };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(config), name);
        let mut connection = connection.map_err(io::Error::other)?;
        let mut timed = DeadlineStream {
            stream: &wire.stream,
            deadlines: wire.deadlines,
        };
        while connection.is_handshaking() {
            connection.complete_io(&mut timed).map_err(explain_tls)?;
        }
        wire.tls = Some(Box::new(connection));
        Ok(wire)
    }

    #[cfg(not(feature = "tls"))]
    fn secure(&self, wire: BlockingWire) -> io::Result<BlockingWire> {
        Ok(wire)
    }

    /// Returns whether it is TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }
}

/// Says what to do about the errors of TLS that are puzzles.
#[cfg(feature = "tls")]
fn explain_tls(error: io::Error) -> io::Error {
    let text = error.to_string();
    if text.contains("InvalidContentType") || text.contains("corrupt message") {
        return io::Error::new(
            error.kind(),
            format!("{text}: the server speaks no TLS there; is that an http URL?"),
        );
    }
    error
}

/// A connection whose reads and writes end by a time.
struct DeadlineStream<'a> {
    stream: &'a BlockingStream,
    deadlines: IoDeadlines,
}

impl DeadlineStream<'_> {
    fn timeout(&self, silence: Option<Duration>) -> io::Result<Option<Duration>> {
        let left = self.deadlines.by.map(|by| left(by).unwrap_or_default());
        match left.into_iter().chain(silence).min() {
            Some(Duration::ZERO) => Err(ErrorKind::TimedOut.into()),
            timeout => Ok(timeout),
        }
    }
}

/// Returns the error of a blocking socket whose time is over as a time-out.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock {
        ErrorKind::TimedOut.into()
    } else {
        error
    }
}

impl Read for DeadlineStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wait = self.timeout(self.deadlines.read)?;
        self.stream.set_read_timeout(wait)?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for DeadlineStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wait = self.timeout(self.deadlines.write)?;
        self.stream.set_write_timeout(wait)?;
        self.stream.write(bytes).map_err(timed_out)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for BlockingWire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut timed = DeadlineStream {
            stream: &self.stream,
            deadlines: self.deadlines,
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut timed).read(buffer);
        }
        timed.read(buffer)
    }
}

impl Write for BlockingWire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut timed = DeadlineStream {
            stream: &self.stream,
            deadlines: self.deadlines,
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut timed).write(bytes);
        }
        timed.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        let mut timed = DeadlineStream {
            stream: &self.stream,
            deadlines: self.deadlines,
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(&mut **tls, &mut timed).flush();
        }
        timed.flush()
    }
}
