//! Listening sockets, TCP and Unix, and addresses of the peers that connect.

use super::stream::Stream;
#[cfg(feature = "tls")]
use super::tls::Tls;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(unix)]
use std::path::{Path, PathBuf};

/// The other end of a connection.
///
/// ```
/// use socketio::{PeerAddr, Server, Socket};
///
/// let io = Server::new();
/// io.on_connect(|socket: &Socket| match socket.request().peer_addr() {
///     PeerAddr::Tcp(address) => println!("{address}"),
///     _ => println!("a Unix socket"),
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerAddr {
    /// An address of TCP.
    Tcp(SocketAddr),
    /// A process of this machine, over a Unix socket: a proxy as a rule.
    Unix,
}

impl PeerAddr {
    /// Returns the IP address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            PeerAddr::Tcp(address) => Some(address.ip()),
            PeerAddr::Unix => None,
        }
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(address: SocketAddr) -> Self {
        PeerAddr::Tcp(address)
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddr::Tcp(address) => address.fmt(formatter),
            PeerAddr::Unix => formatter.write_str("unix"),
        }
    }
}

/// What a server listens on: a TCP or a Unix socket that the program has made, or that systemd has
/// opened.
///
/// ```no_run
/// use socketio::{App, Listener, Server};
/// use std::net::TcpListener;
///
/// let io = Server::new();
/// App::new(&io)
///     .listener(TcpListener::bind("[::1]:5000")?)
///     .listener(Listener::unix("/run/chat.sock")?.permissions(0o660)?)
///     .run("127.0.0.1:5000")?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    kind: ListenerKind,
    #[cfg(feature = "tls")]
    tls: Option<Option<Tls>>,
    #[cfg(unix)]
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum ListenerKind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// The file of a Unix socket, which is removed when this is dropped.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// The file that was made, and not another one that has taken its place.
    inode: u64,
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn inode(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).map(|metadata| metadata.ino())
}

impl Listener {
    fn of(kind: ListenerKind) -> Listener {
        Listener {
            kind,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(unix)]
            file: None,
        }
    }

    /// Listens on a Unix socket at a path. A socket that a server has left there, which nobody
    /// listens on any more, is taken over; at the end it is removed. Two programs that start at the
    /// same moment may both take it over, and the one before the last serves nobody: what starts
    /// servers is to start one.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if a server listens there, or the file is no socket, and the
    /// system's other errors.
    #[cfg(unix)]
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Listener> {
        let path = path.as_ref();
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        let describe =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let listener = listener.map_err(describe)?;
        let file = SocketFile {
            path: path.to_owned(),
            inode: inode(path)?,
        };
        Ok(Listener {
            file: Some(file),
            ..Listener::of(ListenerKind::Unix(listener))
        })
    }

    /// Sets who may connect to a Unix socket, as the mode of its file: `0o660` for its owner and
    /// group. Until then, and without it, the process's umask decides. Of another listener nothing
    /// changes.
    ///
    /// # Errors
    /// The system's, if the mode cannot be set.
    #[cfg(unix)]
    pub fn permissions(self, mode: u32) -> io::Result<Listener> {
        use std::os::unix::fs::PermissionsExt;
        if let Some(file) = &self.file {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file.path, permissions)?;
        }
        Ok(self)
    }

    /// Takes the sockets that systemd has opened for this process (`LISTEN_FDS`, as of
    /// `Accept=no`), TCP and Unix, in their order; none if there are none. Only the first call of a
    /// process finds them.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if one of them is no stream that is listened on.
    #[cfg(all(unix, feature = "server"))]
    pub fn from_systemd() -> io::Result<Vec<Listener>> {
        let mut sockets = listenfd::ListenFd::from_env();
        let mut listeners = Vec::with_capacity(sockets.len());
        for index in 0..sockets.len() {
            let listener = match sockets.take_tcp_listener(index) {
                Ok(listener) => listener.map(Listener::from),
                Err(_) => sockets.take_unix_listener(index)?.map(Listener::from),
            };
            listeners.extend(listener);
        }
        Ok(listeners)
    }

    /// Sets TLS for this listener, or with none that it has none. Defaults to that of the
    /// [`App`](crate::App).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: impl Into<Option<Tls>>) -> Listener {
        self.tls = Some(tls.into());
        self
    }

    /// Returns its address, if it is one of TCP.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            ListenerKind::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            ListenerKind::Unix(_) => None,
        }
    }

    /// Takes the file that is to be removed at the end.
    #[cfg(unix)]
    pub(crate) fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }

    /// Uses an application's TLS, unless it has its own.
    #[cfg(feature = "tls")]
    pub(crate) fn set_default_tls(&mut self, tls: Option<&Tls>) {
        self.tls.get_or_insert_with(|| tls.cloned());
    }

    /// Returns it as an event loop accepts from it.
    pub(super) fn into_acceptor(self) -> io::Result<SocketAcceptor> {
        let source = match self.kind {
            ListenerKind::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                AcceptorSource::Tcp(mio::net::TcpListener::from_std(listener))
            }
            #[cfg(unix)]
            ListenerKind::Unix(listener) => {
                listener.set_nonblocking(true)?;
                AcceptorSource::Unix(mio::net::UnixListener::from_std(listener))
            }
        };
        Ok(SocketAcceptor {
            source,
            #[cfg(feature = "tls")]
            tls: self.tls.flatten(),
        })
    }
}

/// A connection that another server has accepted: TCP, or a Unix socket. See
/// [`Serving::adopt`](crate::Serving::adopt).
///
/// ```no_run
/// use socketio::{Accepted, App, Server};
/// use std::os::unix::net::UnixListener;
///
/// let serving = App::new(&Server::new()).start()?;
/// for stream in UnixListener::bind("/run/chat.sock")?.incoming() {
///     let stream: Accepted = stream?.into();
///     serving.adopt(stream, Vec::new())?;
/// }
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Debug)]
pub struct Accepted(AcceptedKind);

#[derive(Debug)]
enum AcceptedKind {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl From<TcpStream> for Accepted {
    fn from(stream: TcpStream) -> Self {
        Accepted(AcceptedKind::Tcp(stream))
    }
}

#[cfg(unix)]
impl From<UnixStream> for Accepted {
    fn from(stream: UnixStream) -> Self {
        Accepted(AcceptedKind::Unix(stream))
    }
}

impl Accepted {
    /// Returns it as an event loop takes it, and who is at the other end.
    pub(crate) fn into_stream(self) -> io::Result<(Stream, PeerAddr)> {
        match self.0 {
            AcceptedKind::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                let _ = stream.set_nodelay(true);
                let peer = stream.peer_addr()?.into();
                Ok((Stream::Tcp(mio::net::TcpStream::from_std(stream)), peer))
            }
            #[cfg(unix)]
            AcceptedKind::Unix(stream) => {
                stream.set_nonblocking(true)?;
                let stream = Stream::Unix(mio::net::UnixStream::from_std(stream));
                Ok((stream, PeerAddr::Unix))
            }
        }
    }
}

/// Returns whether nobody listens on the socket at a path.
#[cfg(unix)]
fn is_stale(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    // Without waiting: a server that accepts nobody at the moment still listens.
    let refuses = || {
        let connected = mio::net::UnixStream::connect(path);
        connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    is_socket && refuses()
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Listener::of(ListenerKind::Tcp(listener))
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Listener::of(ListenerKind::Unix(listener))
    }
}

/// A listener in an event loop.
#[derive(Debug)]
pub(super) struct SocketAcceptor {
    source: AcceptorSource,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
}

#[derive(Debug)]
enum AcceptorSource {
    Tcp(mio::net::TcpListener),
    #[cfg(unix)]
    Unix(mio::net::UnixListener),
}

impl SocketAcceptor {
    /// Accepts a connection; `WouldBlock` if there is none.
    pub(super) fn accept(&self) -> io::Result<(Stream, PeerAddr)> {
        match &self.source {
            AcceptorSource::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                // Small messages must not wait for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), peer.into()))
            }
            #[cfg(unix)]
            AcceptorSource::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::Unix(stream), PeerAddr::Unix))
            }
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let source: &mut dyn Source = match &mut self.source {
            AcceptorSource::Tcp(listener) => listener,
            #[cfg(unix)]
            AcceptorSource::Unix(listener) => listener,
        };
        registry.register(source, token, Interest::READABLE)
    }
}
