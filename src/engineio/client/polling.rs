//! Long polling, on ureq.

use super::agent::{Dialler, NoResolver, Trace};
use super::cookies::{CookieJar, is_cookie};
use super::endpoint::Endpoint;
use super::transport_config::TransportConfig;
use super::wire::ServerRoute;
use crate::error::ConnectError;
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use ureq::http::header::{CONTENT_ENCODING, LOCATION, SET_COOKIE};
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body, RequestBuilder};

/// Bytes of a connection's buffers for reading and writing; the default is eight times as much.
const BUFFER_LEN: usize = 16 << 10;
/// Bytes of the body of a refusal, or of the answer to a POST, that are looked at.
pub(super) const MAX_REFUSAL: usize = 64 << 10;
/// Time that a connection may have been idle before it is used again: servers close theirs after 2
/// s (gunicorn), 5 s (node, uvicorn) or 10 s, and a request on one that is just being closed is
/// lost.
const MAX_IDLE: Duration = Duration::from_secs(1);
/// A poll that ends sooner has met a connection that was being closed.
const MIN_POLL_TIME: Duration = Duration::from_secs(1);
/// Bytes a second that an upload is given time for once the system has taken all of it: its buffers
/// hold megabytes.
const MIN_UPLOAD_BYTES_PER_SECOND: u64 = 16 << 10;

#[cfg(feature = "compression")]
const ENCODINGS: &str = "gzip";
#[cfg(not(feature = "compression"))]
const ENCODINGS: &str = "";

pub(super) const TIMED_OUT: &str = "the server did not answer in time";

/// One session's requests. Each blocks.
#[derive(Clone, Debug)]
pub(super) struct Polling {
    /// Polls and POSTs have connections of their own: ureq gives out the one that was idle longest.
    polls: RequestLane,
    posts: RequestLane,
    shared: Arc<PollingShared>,
}

/// Requests one after the other.
#[derive(Clone, Debug)]
struct RequestLane {
    agent: Agent,
    trace: Arc<Trace>,
}

#[derive(Debug)]
struct PollingShared {
    jar: CookieJar,
    /// Milliseconds for which a connection may have been idle before it is used for a POST again:
    /// none until the server has said how long it keeps connections. One that is lost is not made
    /// again, since it may have arrived.
    post_idle: AtomicU64,
    /// The same for polls.
    poll_idle: AtomicU64,
    timeout: Duration,
    max_message: usize,
    stamp: bool,
}

/// Outcome of the first request.
pub(super) enum Opened {
    /// A payload that begins with the open packet.
    Payload(Vec<u8>),
    /// The server is elsewhere.
    Redirected(Endpoint),
}

impl RequestLane {
    fn new(route: &ServerRoute, timeout: Duration) -> RequestLane {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A session goes to one place, and so do the program's headers.
            .max_redirects(0)
            // The way knows it.
            .proxy(None)
            .timeout_connect(Some(timeout))
            .timeout_per_write(Some(timeout))
            .user_agent(concat!("socketio-rust/", env!("CARGO_PKG_VERSION")))
            .accept_encoding(ENCODINGS)
            .max_idle_connections(1)
            .max_idle_age(MAX_IDLE)
            .input_buffer_size(BUFFER_LEN)
            .output_buffer_size(BUFFER_LEN)
            .build();
        let trace = Arc::new(Trace::default());
        let dialler = Dialler {
            route: route.clone(),
            trace: Arc::clone(&trace),
        };
        RequestLane {
            agent: Agent::with_parts(config, dialler, NoResolver),
            trace,
        }
    }

    /// Makes a request. One on a connection that was used before, and that the server has closed
    /// meanwhile without a word, is made again on a new one, as browsers do. An orderly close may
    /// also be the end of a request that has arrived: only a poll is made again then, if it had
    /// hardly begun.
    fn send(
        &self,
        max_idle: &AtomicU64,
        is_poll: bool,
        send: impl Fn(Duration) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, ureq::Error> {
        use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let made = self.trace.made.load(Ordering::Relaxed);
        let begun = Instant::now();
        let answer = send(Duration::from_millis(max_idle.load(Ordering::Relaxed)));
        let is_closed = match &answer {
            Err(ureq::Error::Io(error)) => match error.kind() {
                BrokenPipe | ConnectionAborted | ConnectionReset => true,
                UnexpectedEof => is_poll && begun.elapsed() < MIN_POLL_TIME,
                _ => false,
            },
            _ => false,
        };
        let was_used = made == self.trace.made.load(Ordering::Relaxed);
        if is_closed && was_used && !self.trace.heard.load(Ordering::Relaxed) {
            send(Duration::ZERO)
        } else {
            answer
        }
    }
}

impl Polling {
    pub(super) fn new(route: &ServerRoute, network: &TransportConfig, jar: CookieJar) -> Polling {
        Polling {
            polls: RequestLane::new(route, network.request_timeout),
            posts: RequestLane::new(route, network.request_timeout),
            shared: Arc::new(PollingShared {
                jar,
                post_idle: AtomicU64::new(0),
                poll_idle: AtomicU64::new(MAX_IDLE.as_millis() as u64),
                timeout: network.request_timeout,
                max_message: network.max_message,
                stamp: network.timestamp_requests,
            }),
        }
    }

    /// Opens a session.
    pub(super) fn open(&self, endpoint: &Endpoint) -> Result<Opened, ConnectError> {
        let request = self.polls.agent.get(endpoint.url(None, self.shared.stamp));
        let request = request
            .config()
            .timeout_global(Some(self.shared.timeout))
            .build();
        let answer = self.with_headers(request, endpoint).call();
        let answer = answer.map_err(error_from_ureq)?;
        self.learn(endpoint, answer.headers());
        if let (301 | 302 | 303 | 307 | 308, Some(location)) =
            (answer.status().as_u16(), answer.headers().get(LOCATION))
        {
            let location = String::from_utf8_lossy(location.as_bytes());
            return endpoint.redirected(&location).map(Opened::Redirected);
        }
        read(answer, self.shared.max_message).map(Opened::Payload)
    }

    /// Waits for packets.
    pub(super) fn poll(&self, endpoint: &Endpoint, sid: &str) -> Result<Vec<u8>, ConnectError> {
        let answer = self.polls.send(&self.shared.poll_idle, true, |max_idle| {
            let url = endpoint.url(Some(sid), self.shared.stamp);
            let request = self.polls.agent.get(url);
            // The session's own deadlines end it, by a shutdown.
            let request = request.config().max_idle_age(max_idle).build();
            self.with_headers(request, endpoint).call()
        });
        let answer = answer.map_err(error_from_ureq)?;
        self.learn(endpoint, answer.headers());
        read(answer, self.shared.max_message)
    }

    pub(super) fn post(
        &self,
        endpoint: &Endpoint,
        sid: &str,
        body: &[u8],
    ) -> Result<(), ConnectError> {
        // What the system's buffers have taken counts as unanswered: the whole has no time-out, but
        // for that of a very slow way.
        let upload = Duration::from_secs(body.len() as u64 / MIN_UPLOAD_BYTES_PER_SECOND);
        let answer_in = self.shared.timeout + upload;
        let answer = self.posts.send(&self.shared.post_idle, false, |max_idle| {
            let request = self.posts.agent.post(endpoint.url(Some(sid), false));
            let request = request
                .config()
                .max_idle_age(max_idle)
                .timeout_recv_response(Some(answer_in))
                .timeout_recv_body(Some(self.shared.timeout))
                .build();
            let request = self.with_headers(request, endpoint);
            request.content_type("text/plain;charset=UTF-8").send(body)
        });
        let answer = answer.map_err(error_from_ureq)?;
        self.learn(endpoint, answer.headers());
        // Read to its end, so that the connection can be used again.
        read(answer, MAX_REFUSAL).map(drop)
    }

    /// Ends what is under way, in whatever thread.
    pub(super) fn shut_down(&self) {
        self.polls.agent.clone().shutdown();
        self.posts.agent.clone().shutdown();
    }

    fn with_headers<B>(
        &self,
        mut request: RequestBuilder<B>,
        endpoint: &Endpoint,
    ) -> RequestBuilder<B> {
        for (name, value) in endpoint.headers().iter().filter(|it| !is_cookie(&it.0)) {
            request = request.header(name, value);
        }
        match self.shared.jar.field_for(endpoint) {
            Some(value) => request.header("Cookie", value),
            None => request,
        }
    }

    /// Heeds what an answer says of cookies and connections.
    fn learn(&self, endpoint: &Endpoint, headers: &HeaderMap) {
        let fields = headers.get_all(SET_COOKIE).iter();
        let jar = &self.shared.jar;
        jar.learn(endpoint, fields.filter_map(|it| it.to_str().ok()));
        let field = headers.get("keep-alive").and_then(|it| it.to_str().ok());
        if let Some(seconds) = field.and_then(keep_alive) {
            // Half of it, since the server's clock began to run before the answer was here.
            let max_idle = (seconds * 500).min(MAX_IDLE.as_millis() as u64);
            self.shared.post_idle.store(max_idle, Ordering::Relaxed);
            self.shared.poll_idle.store(max_idle, Ordering::Relaxed);
        }
    }
}

/// Returns the seconds of `timeout=5, max=100`.
fn keep_alive(field: &str) -> Option<u64> {
    field.split(',').find_map(|item| {
        let (name, value) = item.split_once('=')?;
        let value = value.trim().parse::<u32>().ok()?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        is_timeout.then_some(value.into())
    })
}

fn read(answer: Response<Body>, limit: usize) -> Result<Vec<u8>, ConnectError> {
    let status = answer.status();
    let limit = if status.is_success() {
        limit
    } else {
        MAX_REFUSAL
    };
    let headers = answer.headers().clone();
    let encoding = headers
        .get(CONTENT_ENCODING)
        .and_then(|it| it.to_str().ok());
    let encoding = encoding.map(|it| it.trim().to_ascii_lowercase());
    let reader = answer.into_body().into_reader();
    let reader: Box<dyn Read> = match encoding.as_deref().unwrap_or_default() {
        "" | "identity" => Box::new(reader),
        #[cfg(feature = "compression")]
        "gzip" | "x-gzip" => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        other => {
            let message = format!("the server's answer is encoded as {other:?}");
            return Err(ConnectError::new(message));
        }
    };
    // The limit holds for what comes out of compression.
    let mut body = Vec::new();
    let most = (limit as u64).saturating_add(1);
    reader
        .take(most)
        .read_to_end(&mut body)
        .map_err(|error| error_from_ureq(error.into()))?;
    if !status.is_success() {
        let headers = headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        return Err(error_from_status(status.as_u16(), headers.collect(), &body));
    }
    if body.len() > limit {
        let message =
            format!("the server's answer is larger than {limit} bytes (max_message_size)");
        return Err(ConnectError::new(message));
    }
    Ok(body)
}

/// Returns the error for an answer of another status than success.
pub(super) fn error_from_status(
    status: u16,
    headers: Vec<(String, String)>,
    body: &[u8],
) -> ConnectError {
    let place = headers.iter().find(|it| it.0 == "location");
    let place = match (status, place) {
        (300..=399, Some((_, place))) => format!(", which is at {place}"),
        _ => String::new(),
    };
    let text = String::from_utf8_lossy(body);
    let json = serde_json::from_str::<serde_json::Value>(&text).ok();
    let is_json = json.is_some();
    // Engine.IO's servers say why.
    let why = json.as_ref().and_then(|json| json["message"].as_str());
    let why = match (status, why) {
        (_, Some(why)) => format!(": {}", why.escape_debug()),
        (404, None) => "; is there a Socket.IO server, at this socketio_path?".to_owned(),
        // A WebSocket's refusal is a sentence, and no page.
        _ if !is_json && is_sentence(&text) => format!(": {}", text.trim().escape_debug()),
        _ => String::new(),
    };
    let message = format!("unexpected status {status} in the server's answer{place}{why}");
    let error = ConnectError::new(message).with_answer(status, headers, text.clone().into_owned());
    let code = json.as_ref().map(|json| json["code"].as_u64());
    let is_other = code == Some(Some(5)) || text.contains("unsupported version of the Socket.IO");
    let error = if is_other {
        error.of_another_generation()
    } else {
        error
    };
    if is_json {
        error.with_data(text)
    } else {
        error
    }
}

/// Returns whether a text is short, on one line, and not HTML.
fn is_sentence(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.len() <= 200 && !text.contains(['<', '\n'])
}

fn error_from_ureq(error: ureq::Error) -> ConnectError {
    match error {
        ureq::Error::Timeout(_) => ConnectError::new(TIMED_OUT).timed_out(),
        ureq::Error::Io(error) if error.kind() == ErrorKind::TimedOut => {
            ConnectError::new(TIMED_OUT).timed_out()
        }
        ureq::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            let text = "the server closed the connection without an answer";
            ConnectError::new(format!("{text} ({error}); is that port https?")).caused_by(error)
        }
        ureq::Error::Io(error) => ConnectError::new(error.to_string()).caused_by(error),
        // What a server that speaks TLS answers to plain HTTP, and others do not.
        ureq::Error::Protocol(error) => ConnectError::new(format!(
            "the server's answer is no HTTP ({error}); is that port https?"
        )),
        other => ConnectError::new(other.to_string()).caused_by(other),
    }
}
