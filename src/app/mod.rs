//! A port with all its applications.

mod incoming;
mod static_files;

pub use incoming::{HttpRequest, IncomingRequests};
pub(crate) use static_files::StaticFiles;

use incoming::RequestSender;

use crate::engineio::{self, EngineConfig, Fallback, Responder, Site};
use crate::error::Error;
use crate::net::http::upload::BodyReader;
use crate::net::http::{Content, Request, Response};
use crate::net::listener::Accepted;
#[cfg(unix)]
use crate::net::listener::SocketFile;
#[cfg(feature = "tls")]
use crate::net::tls::Tls;
use crate::net::{Executor, Listener};
use crate::pool::WorkerPool;
use crate::server::{Server, SocketIoAcceptor};
use crate::util::percent::decode_percent;
use crate::util::shutdown;
use crate::util::sync::{Condvar, Mutex};
use std::fmt;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A port with all that is served on it: Socket.IO, static files, and the program's own HTTP.
///
/// A request goes to Socket.IO if its path begins with `/socket.io/`, else to the static file that
/// is there, else to the program's own application, else it is not found.
///
/// ```no_run
/// use socketio::{App, Server};
/// use socketio::tiny_http::Response;
///
/// let io = Server::new();
/// let app = App::new(&io)
///     .static_files("/", "public")
///     .http(|request| Response::from_string(format!("there is no {}", request.path())).with_status_code(404));
/// app.run("127.0.0.1:5000")?;
/// # Ok::<(), socketio::Error>(())
/// ```
pub struct App {
    owner: SessionOwner,
    path: String,
    files: StaticFiles,
    /// Directory of the official client's files.
    client: Option<PathBuf>,
    application: Option<Application>,
    /// Path of the figures, and whether any machine may read them.
    metrics: Option<(String, bool)>,
    /// The application reads bodies as they come.
    streams: bool,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    listeners: Vec<Listener>,
    drain_timeout: Duration,
    trailing_slash: bool,
}

/// The program's own HTTP.
#[derive(Clone)]
enum Application {
    Function(Arc<dyn Fn(&Request) -> tiny_http::ResponseBox + Send + Sync>),
    Loop(RequestSender),
}

/// The owner of the sessions: Socket.IO or Engine.IO.
#[derive(Debug)]
enum SessionOwner {
    SocketIo(Server),
    EngineIo(engineio::Server),
}

impl App {
    /// Creates a port for a Socket.IO server, at `/socket.io/`.
    #[must_use]
    pub fn new(server: &Server) -> App {
        App::with(SessionOwner::SocketIo(server.clone()), "socket.io")
    }

    /// Creates a port for an Engine.IO server, at `/engine.io/`.
    #[must_use]
    pub fn engineio(server: &engineio::Server) -> App {
        App::with(SessionOwner::EngineIo(server.clone()), "engine.io")
    }

    fn with(owner: SessionOwner, path: &str) -> App {
        App {
            owner,
            path: format!("/{path}/"),
            files: StaticFiles::default(),
            client: None,
            application: None,
            metrics: None,
            streams: false,
            #[cfg(feature = "tls")]
            tls: None,
            listeners: Vec::new(),
            drain_timeout: Duration::ZERO,
            trailing_slash: true,
        }
    }

    /// Sets whether the path of the sessions ends with a slash. With `false` it does so or not, for
    /// clients with `addTrailingSlash: false`. Defaults to `true`.
    #[must_use]
    pub fn trailing_slash(mut self, slash: bool) -> App {
        self.trailing_slash = slash;
        self
    }

    /// Answers requests of a path with the server's figures in Prometheus' text format (see
    /// [`Metrics`](crate::Metrics)), of this machine alone: others get status 403. Behind a proxy on
    /// this machine that is everybody whom the proxy lets through.
    ///
    /// ```
    /// use socketio::{App, Server};
    ///
    /// let app = App::new(&Server::new()).metrics("/metrics");
    /// ```
    #[must_use]
    pub fn metrics(mut self, path: &str) -> App {
        self.metrics = Some((path.to_owned(), false));
        self
    }

    /// Does the same for requests of all machines.
    #[must_use]
    pub fn metrics_for_all(mut self, path: &str) -> App {
        self.metrics = Some((path.to_owned(), true));
        self
    }

    /// Sets the path of the sessions: with or without slashes at its ends. Defaults to `socket.io`,
    /// or `engine.io`.
    #[must_use]
    pub fn socketio_path(mut self, path: &str) -> App {
        let path = path.trim_matches('/');
        self.path = if path.is_empty() {
            "/".into()
        } else {
            format!("/{path}/")
        };
        self
    }

    /// Serves a file, or the files of a directory, at a path; `/` for everything that has no other
    /// place. The longest path that fits is taken. Clients may ask for a part of a file, or whether
    /// it has changed; a directory named without its slash is redirected.
    #[must_use]
    pub fn static_files(mut self, path: &str, target: impl Into<PathBuf>) -> App {
        self.files.add(path, target.into(), None);
        self
    }

    /// Serves the same as [`static_files`](App::static_files), with one content type for all of it.
    #[must_use]
    pub fn static_files_as(
        mut self,
        path: &str,
        target: impl Into<PathBuf>,
        content_type: &str,
    ) -> App {
        self.files
            .add(path, target.into(), Some(content_type.to_owned()));
        self
    }

    /// Serves the official client at `/socket.io/socket.io.js`, with its siblings, as pages of the
    /// reference's tutorials expect. `directory` is the `dist` of the npm package `socket.io-client`.
    /// Defaults to serving none.
    ///
    /// ```no_run
    /// use socketio::{App, Server};
    ///
    /// let io = Server::new();
    /// App::new(&io)
    ///     .serve_client("node_modules/socket.io-client/dist")
    ///     .static_files("/", "public")
    ///     .run("127.0.0.1:5000")?;
    /// # Ok::<(), socketio::Error>(())
    /// ```
    #[must_use]
    pub fn serve_client(mut self, directory: impl Into<PathBuf>) -> App {
        self.client = Some(directory.into());
        self
    }

    /// Sets the file that stands for a directory. Defaults to `index.html`.
    #[must_use]
    pub fn index(mut self, name: &str) -> App {
        self.files.set_index(name);
        self
    }

    /// Answers everything else. Runs on worker threads and may block; the body of an answer is read
    /// as the client takes it. That of a request is whole, and at most
    /// [`Limits::http_body_bytes`](crate::Limits::http_body_bytes) long. A panic is answered with
    /// status 500.
    #[must_use]
    pub fn http<R: Read + Send + 'static>(
        mut self,
        application: impl Fn(&Request) -> tiny_http::Response<R> + Send + Sync + 'static,
    ) -> App {
        let function = move |request: &Request| application(request).boxed();
        self.application = Some(Application::Function(Arc::new(function)));
        self.streams = false;
        self
    }

    /// Answers everything else, in the place of [`http`](App::http), with bodies of any size: the
    /// application reads them as they come, and so decides where to put them, and how much is too
    /// much. A body that is not read to its end costs the connection.
    ///
    /// ```
    /// # use socketio::{App, BodyReader, Request, Server};
    /// use socketio::tiny_http::Response;
    ///
    /// let app = App::new(&Server::new()).http_upload(|_: &Request, body: &mut BodyReader| {
    ///     match std::io::copy(body, &mut std::io::sink()) {
    ///         Ok(count) => Response::from_string(format!("{count} bytes")),
    ///         Err(error) => Response::from_string(error.to_string()).with_status_code(400),
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn http_upload<R: Read + Send + 'static>(
        mut self,
        application: impl Fn(&Request, &mut BodyReader) -> tiny_http::Response<R>
        + Send
        + Sync
        + 'static,
    ) -> App {
        let function =
            move |request: &Request| application(request, &mut request.take_stream()).boxed();
        self.application = Some(Application::Function(Arc::new(function)));
        self.streams = true;
        self
    }

    /// Returns everything else to a loop of the program's own, in the place of [`http`](App::http):
    /// what was `for request in server.incoming_requests()` of a `tiny_http::Server` goes on with
    /// what this returns, in as many threads as it likes. Bodies may have any size. Without anybody
    /// who loops requests are answered with status 503.
    ///
    /// See [`IncomingRequests`] for an example.
    pub fn incoming_requests(mut self) -> (App, IncomingRequests) {
        let (sender, requests) = IncomingRequests::new();
        self.application = Some(Application::Loop(sender));
        self.streams = true;
        (self, requests)
    }

    /// Serves over TLS, `https` and `wss`. Defaults to no TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> App {
        self.tls = Some(tls);
        self
    }

    /// Adds a listener to those that are served: a second address, a Unix socket, or what systemd has
    /// opened. Defaults to the one that the serving method is given.
    #[must_use]
    pub fn listener(mut self, listener: impl Into<Listener>) -> App {
        self.listeners.push(listener.into());
        self
    }

    /// Sets how long [`run`](App::run) waits at a signal for its clients to go by themselves, while it
    /// lets no new ones in, before it shuts down. See [`Serving::drain`]. Defaults to not at all.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> App {
        self.drain_timeout = timeout;
        self
    }

    /// Serves until Ctrl-C or SIGTERM, then shuts down in order. Blocks. It takes the process's
    /// handler of these signals, the first time it is called.
    ///
    /// # Errors
    /// [`Error::Io`] if the address cannot be listened on, or the program has a handler of its own
    /// for these signals.
    pub fn run(self, address: impl ToSocketAddrs) -> Result<(), Error> {
        self.run_on(bind(address)?)
    }

    /// Serves a Unix socket, as [`run`](App::run) does an address. See [`Listener::unix`].
    ///
    /// # Errors
    /// Those of [`run`](App::run).
    #[cfg(unix)]
    pub fn run_unix(self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.run_on(Listener::unix(path)?)
    }

    /// Serves a listener, as [`run`](App::run) does an address.
    ///
    /// # Errors
    /// Those of [`run`](App::run).
    pub fn run_on(self, listener: impl Into<Listener>) -> Result<(), Error> {
        let signal = shutdown::next_signal()?;
        let drain_timeout = self.drain_timeout;
        let serving = self.serve(listener)?;
        match serving.local_addr {
            Some(address) => log::info!(target: "socketio", "listening on {address}"),
            None => log::info!(target: "socketio", "listening on a Unix socket"),
        }
        // The sender is kept until there is a signal.
        let _ = signal.recv();
        if !drain_timeout.is_zero() {
            log::info!(target: "socketio", "letting nobody new in");
            serving.drain(drain_timeout);
        }
        log::info!(target: "socketio", "shutting down");
        serving.shutdown();
        Ok(())
    }

    /// Serves in the background.
    ///
    /// # Errors
    /// [`Error::Io`] if the address cannot be listened on.
    pub fn bind(self, address: impl ToSocketAddrs) -> Result<Serving, Error> {
        self.serve(bind(address)?)
    }

    /// Serves a Unix socket in the background. See [`Listener::unix`].
    ///
    /// # Errors
    /// [`Error::Io`] if the path cannot be listened on, and those of [`serve`](App::serve).
    #[cfg(unix)]
    pub fn serve_unix(self, path: impl AsRef<Path>) -> Result<Serving, Error> {
        self.serve(Listener::unix(path)?)
    }

    /// Serves in the background, on a listener that the program has made.
    ///
    /// # Errors
    /// [`Error::Io`] if the system gives no threads, or not what else they need, or if a file or
    /// directory of [`static_files`](App::static_files) is not there.
    pub fn serve(mut self, listener: impl Into<Listener>) -> Result<Serving, Error> {
        self.listeners.insert(0, listener.into());
        self.start()
    }

    /// Serves in the background on the listeners that were [added](App::listener): none, if
    /// connections come by [`Serving::adopt`] alone.
    ///
    /// # Errors
    /// Those of [`serve`](App::serve).
    pub fn start(mut self) -> Result<Serving, Error> {
        #[allow(unused_mut, reason = "neither TLS nor Unix sockets change one")]
        let mut listeners = std::mem::take(&mut self.listeners);
        let serves_client = self.client.is_some();
        if let Some(directory) = self.client.take() {
            self.files.add(&self.path, directory, None);
        }
        if let SessionOwner::SocketIo(server) = &self.owner
            && let Some((path, directory)) = server.inner.watch.ui()
        {
            self.files.add(&path, directory, None);
        }
        if let Some(missing) = self.files.missing() {
            let why = format!("static_files: {} is not there", missing.display());
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, why).into());
        }
        let (config, timeout) = match &self.owner {
            SessionOwner::SocketIo(server) => {
                (server.inner.engine(), server.inner.config.shutdown_timeout)
            }
            SessionOwner::EngineIo(server) => (server.config(), Duration::from_secs(10)),
        };
        let config = EngineConfig::clone(config);
        let workers = Arc::new(WorkerPool::start(config.limits.workers)?);
        let acceptor = match &self.owner {
            SessionOwner::SocketIo(server) => {
                *server.inner.workers.lock() = Arc::downgrade(&workers);
                Arc::new(SocketIoAcceptor {
                    server: server.clone(),
                    workers: Arc::clone(&workers),
                }) as Arc<dyn engineio::Acceptor>
            }
            SessionOwner::EngineIo(server) => server.acceptor(&workers),
        };
        let figures = match (&self.owner, self.metrics) {
            (SessionOwner::SocketIo(server), Some((path, for_all))) => Some(Figures {
                server: server.clone(),
                path,
                for_all,
            }),
            _ => None,
        };
        let is_needed = !self.files.is_empty() || self.application.is_some() || figures.is_some();
        let fallback = is_needed.then(|| {
            let (files, application) = (self.files, self.application);
            let fallback = move |request: Request, responder: Responder| {
                if let Some(response) = figures.as_ref().and_then(|it| it.answer(&request)) {
                    return responder.respond(response);
                }
                answer(&files, application.as_ref(), request, responder);
            };
            engineio::FallbackHandler {
                answer: Arc::new(fallback) as Arc<Fallback>,
                streams: self.streams,
            }
        });
        #[cfg(feature = "tls")]
        for listener in &mut listeners {
            listener.set_default_tls(self.tls.as_ref());
        }
        let local_addr = listeners.iter().find_map(Listener::local_addr);
        #[cfg(unix)]
        let files = listeners.iter_mut().filter_map(Listener::take_file);
        let site = Site {
            config,
            path: self.path,
            acceptor,
            fallback,
            serves_client,
            takes_bare_path: !self.trailing_slash,
        };
        #[cfg(unix)]
        let files: Vec<_> = files.collect();
        let executor = Arc::clone(&workers) as Arc<dyn Executor>;
        let engine = engineio::RunningEngine::start(site, listeners, executor)?;
        let running = Running {
            engine,
            workers,
            #[cfg(unix)]
            files,
        };
        Ok(Serving {
            end: Arc::default(),
            local_addr,
            running: Mutex::new(Some(running)),
            timeout,
        })
    }
}

impl Server {
    /// Serves until Ctrl-C or SIGTERM, then shuts down in order. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`] if the address cannot be listened on.
    pub fn run(&self, address: impl ToSocketAddrs) -> Result<(), Error> {
        App::new(self).run(address)
    }

    /// Serves an address in the background; what it returns ends that when it is dropped.
    ///
    /// # Errors
    /// [`Error::Io`] if the address cannot be listened on.
    pub fn bind(&self, address: impl ToSocketAddrs) -> Result<Serving, Error> {
        App::new(self).bind(address)
    }

    /// Serves in the background, on a listener that the program has made.
    ///
    /// # Errors
    /// Those of [`App::serve`].
    pub fn serve(&self, listener: impl Into<Listener>) -> Result<Serving, Error> {
        App::new(self).serve(listener)
    }

    /// Serves a Unix socket in the background. See [`Listener::unix`].
    ///
    /// # Errors
    /// Those of [`App::serve_unix`].
    #[cfg(unix)]
    pub fn serve_unix(&self, path: impl AsRef<Path>) -> Result<Serving, Error> {
        App::new(self).serve_unix(path)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("App")
            .field("owner", &self.owner)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A server that runs in the background. Dropping it shuts the server down, as
/// [`shutdown`](Serving::shutdown) does.
///
/// ```no_run
/// use socketio::Server;
///
/// let io = Server::new();
/// let serving = io.bind("127.0.0.1:0")?;
/// println!("listening on {}", serving.local_addr());
/// serving.wait(); // until another thread calls `shutdown`, on an `Arc` of it for example
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the server stops when this is dropped: keep it, as in `let serving = ..`"]
pub struct Serving {
    /// Of the first listener that has one.
    local_addr: Option<SocketAddr>,
    running: Mutex<Option<Running>>,
    timeout: Duration,
    end: Arc<EndSignal>,
}

/// The end of a server, for those who wait for it.
#[derive(Debug, Default)]
struct EndSignal {
    is_over: Mutex<bool>,
    changed: Condvar,
}

impl EndSignal {
    fn set(&self) {
        *self.is_over.lock() = true;
        self.changed.notify_all();
    }
}

#[derive(Debug)]
struct Running {
    engine: engineio::RunningEngine,
    workers: Arc<WorkerPool>,
    /// The files of Unix sockets, which go with the server.
    #[cfg(unix)]
    files: Vec<SocketFile>,
}

impl Serving {
    /// Returns the first address that is listened on, with the port that the system gave for port 0;
    /// `0.0.0.0:0` if there are only Unix sockets.
    pub fn local_addr(&self) -> SocketAddr {
        let nowhere = SocketAddr::from(([0; 4], 0));
        self.local_addr.unwrap_or(nowhere)
    }

    /// Blocks until the server has been shut down, by [`shutdown`](Serving::shutdown) in another
    /// thread or in a handler.
    pub fn wait(&self) {
        engineio::block_in_place(|| {
            let mut is_over = self.end.is_over.lock();
            while !*is_over {
                self.end.changed.wait(&mut is_over);
            }
        });
    }

    /// Serves a connection that another server of the program has accepted, with what it has read of it:
    /// the head of a request, as a rule. All that the connections of a listener without TLS can do is
    /// done on it. Does not block.
    ///
    /// ```no_run
    /// use socketio::{App, Server};
    /// use std::net::TcpListener;
    ///
    /// let serving = App::new(&Server::new()).start()?;
    /// for stream in TcpListener::bind("127.0.0.1:5000")?.incoming() {
    ///     serving.adopt(stream?, Vec::new())?;
    /// }
    /// # Ok::<(), socketio::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] if the connection has ended, [`Error::Disconnected`] if the server has.
    pub fn adopt(
        &self,
        stream: impl Into<Accepted>,
        bytes_read: impl Into<Vec<u8>>,
    ) -> Result<(), Error> {
        let (stream, peer) = stream.into().into_stream()?;
        let running = self.running.lock();
        let running = running.as_ref().ok_or(Error::Disconnected)?;
        running.engine.adopt(stream, peer, bytes_read.into());
        Ok(())
    }

    /// Lets no new client in on the listeners of this value, and waits until those that are there have
    /// gone; false if that takes longer than `timeout`. HTTP beside Socket.IO goes on. New sessions are refused with status 503, on which clients try again: at
    /// another server, if a load balancer has one. Blocks; [`shutdown`](Serving::shutdown) is to
    /// follow.
    pub fn drain(&self, timeout: Duration) -> bool {
        let drain = self.running.lock().as_ref().map(|it| it.engine.drainer());
        drain.is_none_or(|drain| engineio::block_in_place(|| drain(timeout)))
    }

    /// Shuts down: accepts nothing more, ends the clients' connections, lets handlers finish, and
    /// joins the threads. Disconnect handlers see [`Reason::ServerDisconnect`](crate::Reason); the
    /// clients see their transport close, and so come back by themselves once there is a server
    /// again. It takes at most the server's `shutdown_timeout`; a handler that has not
    /// returned by then is left behind, with its thread named in the log. Called in a handler, it
    /// does not wait.
    pub fn shutdown(&self) {
        let Some(mut running) = self.running.lock().take() else {
            return;
        };
        let by = Instant::now() + self.timeout;
        if !running.workers.is_own_thread() {
            running.stop(by);
            return self.end.set();
        }
        // A handler cannot wait for its own end. Nothing is accepted from here on; the rest is
        // waited for elsewhere.
        running.remove_files();
        running.engine.start_shutdown(by);
        let end = Arc::clone(&self.end);
        let (hand, running_elsewhere) = crossbeam_channel::bounded::<Running>(1);
        let spawned = std::thread::Builder::new()
            .name("socketio-shutdown".into())
            .spawn(move || {
                if let Ok(mut running) = running_elsewhere.recv() {
                    running.stop(by);
                    end.set();
                }
            });
        match spawned {
            Ok(_) => drop(hand.send(running)),
            Err(error) => {
                log::error!(target: "socketio", "the system gives no thread to wait for the end: {error}");
                running.workers.stop(by);
                self.end.set();
            }
        }
    }
}

impl Running {
    /// Removes the files of Unix sockets while they are listened on: a successor may take the paths
    /// over as soon as they are not, and its files are not this server's.
    fn remove_files(&mut self) {
        #[cfg(unix)]
        self.files.clear();
    }

    /// Ends the connections, whose ends are work for the workers, and then the workers.
    fn stop(&mut self, by: Instant) {
        self.remove_files();
        self.engine.stop(by);
        self.workers.stop(by);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn bind(address: impl ToSocketAddrs) -> Result<TcpListener, Error> {
    // The system's error does not say which address.
    let addresses: Vec<_> = address.to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&*addresses).map_err(|error| {
        let names: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        std::io::Error::new(error.kind(), format!("{}: {error}", names.join(", ")))
    })?;
    Ok(listener)
}

/// The figures of a server at a path.
struct Figures {
    server: Server,
    path: String,
    for_all: bool,
}

impl Figures {
    fn answer(&self, request: &Request) -> Option<Response> {
        if request.path() != self.path || !matches!(request.method(), "GET" | "HEAD") {
            return None;
        }
        // Over a Unix socket comes a program of this machine.
        let is_near = request
            .client_ip()
            .is_none_or(|it| it.to_canonical().is_loopback());
        if !self.for_all && !is_near {
            return Some(Response::text(403, "Forbidden"));
        }
        let page = self.server.metrics().to_prometheus();
        let response = Response::new(200)
            .with_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            .with_header("Cache-Control", "no-store");
        Some(response.with_body(page.into_bytes()))
    }
}

/// Answers what is not Socket.IO.
fn answer(
    files: &StaticFiles,
    application: Option<&Application>,
    request: Request,
    responder: Responder,
) {
    let path = String::from_utf8(decode_percent(request.path()));
    let reads = matches!(request.method(), "GET" | "HEAD");
    if let (Ok(path), true) = (path, reads)
        && let Some(response) = files.answer(&request, &path)
    {
        return responder.respond(response);
    }
    match application {
        None => responder.respond(Response::text(404, "Not Found")),
        Some(Application::Function(function)) => responder.respond(to_response(function(&request))),
        Some(Application::Loop(sender)) => {
            let unsent = sender.send(HttpRequest::new(request, responder));
            if let Err(unsent) = unsent {
                let nobody = tiny_http::Response::from_string("Service Unavailable");
                unsent.into_inner().respond(nobody.with_status_code(503));
            }
        }
    }
}

/// Returns tiny_http's answer as an I/O thread sends it.
fn to_response(answer: tiny_http::ResponseBox) -> Response {
    let mut response = Response::new(answer.status_code().0);
    for header in answer.headers() {
        let (name, value) = (header.field.as_str().as_str(), header.value.as_str());
        // The connection is ours, and so is the length.
        if !["content-length", "connection", "transfer-encoding"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
        {
            response = response.with_header(name.to_owned(), value.to_owned());
        }
    }
    let length = answer.data_length().map(|length| length as u64);
    response.content = Content::Reader {
        reader: answer.into_reader(),
        length,
    };
    response
}
