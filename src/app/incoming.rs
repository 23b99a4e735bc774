//! Requests for a program that has a loop over them, in the shape of tiny_http's.

use super::to_response;
use crate::engineio::Responder;
use crate::engineio::block_in_place;
use crate::limits::clamp_duration;
use crate::net::PeerAddr;
use crate::net::http::Request;
use crate::net::http::upload::BodyReader;
use crossbeam_channel::{Receiver, Sender};
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tiny_http::{Header, Method};

/// Way of requests to the program's loop.
pub(super) type RequestSender = Sender<HttpRequest>;

/// The requests of an [`App`](super::App) that are not Socket.IO's: an iterator, as
/// `tiny_http::Server::incoming_requests` returns. Clones share the requests, so that several threads
/// may loop; it ends when the server has ended.
///
/// ```no_run
/// use socketio::{App, Server, tiny_http::Response};
///
/// let (app, requests) = App::new(&Server::new()).incoming_requests();
/// let serving = app.bind("127.0.0.1:5000")?;
/// for request in requests {
///     let text = format!("there is no {}", request.url());
///     request.respond(Response::from_string(text).with_status_code(404));
/// }
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct IncomingRequests {
    requests: Receiver<HttpRequest>,
}

impl IncomingRequests {
    pub(super) fn new() -> (RequestSender, IncomingRequests) {
        // Each request counts as a connection until it is answered: `Limits::connections` bounds what
        // waits, also of clients that have gone.
        let (sender, requests) = crossbeam_channel::unbounded();
        (sender, IncomingRequests { requests })
    }

    /// Returns the next request; none if there is none in this time, or the server has ended. Blocks.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<HttpRequest> {
        let by = Instant::now() + clamp_duration(timeout);
        let mut left = std::iter::from_fn(|| self.requests.recv_deadline(by).ok());
        block_in_place(|| left.find(|request| !request.body.is_broken()))
    }

    /// Returns a request that waits, if there is one. Does not block.
    pub fn try_recv(&self) -> Option<HttpRequest> {
        self.requests
            .try_iter()
            .find(|request| !request.body.is_broken())
    }
}

impl Iterator for IncomingRequests {
    type Item = HttpRequest;

    /// Blocks until there is a request.
    fn next(&mut self) -> Option<HttpRequest> {
        let mut requests = self.requests.iter();
        block_in_place(|| requests.find(|request| !request.body.is_broken()))
    }
}

/// A request that awaits its answer, with the methods of tiny_http's. One that is dropped without an
/// answer is answered with status 500.
///
/// ```no_run
/// use socketio::{App, Server, tiny_http::Response};
///
/// let (app, requests) = App::new(&Server::new()).incoming_requests();
/// let serving = app.bind("127.0.0.1:5000")?;
/// for mut request in requests {
///     let mut text = String::new();
///     let status = match request.as_reader().read_to_string(&mut text) {
///         Ok(_) => 200,
///         Err(_) => 400,
///     };
///     request.respond(Response::from_string(text).with_status_code(status));
/// }
/// # Ok::<(), socketio::Error>(())
/// ```
pub struct HttpRequest {
    request: Request,
    method: Method,
    url: String,
    headers: Vec<Header>,
    body: BodyReader,
    responder: Responder,
}

impl HttpRequest {
    pub(super) fn new(request: Request, responder: Responder) -> HttpRequest {
        let method = request.method().parse().unwrap_or(Method::Get);
        let url = match request.query() {
            "" => request.path().to_owned(),
            query => format!("{}?{query}", request.path()),
        };
        let fields = request.headers();
        let headers = fields.filter_map(|(name, value)| Header::from_bytes(name, value).ok());
        HttpRequest {
            method,
            url,
            headers: headers.collect(),
            body: request.take_stream(),
            request,
            responder,
        }
    }

    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path, with the query.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the fields of its head.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// Returns the bytes of its body, if its head says how many they are.
    pub fn body_length(&self) -> Option<usize> {
        self.request.header("content-length")?.trim().parse().ok()
    }

    /// Returns the other end's address; none over a Unix socket.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        match self.request.peer_addr() {
            PeerAddr::Tcp(address) => Some(address),
            PeerAddr::Unix => None,
        }
    }

    /// Returns whether it came over TLS.
    pub fn secure(&self) -> bool {
        self.request.is_secure()
    }

    /// Returns its body as it comes, of any size. Reading blocks.
    pub fn as_reader(&mut self) -> &mut dyn Read {
        &mut self.body
    }

    /// Returns the request in this crate's form.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Answers it. Does not block: the body of the answer is read on a worker, as the client takes it.
    pub fn respond<R: Read + Send + 'static>(self, response: tiny_http::Response<R>) {
        self.responder.respond(to_response(response.boxed()));
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(formatter)
    }
}
