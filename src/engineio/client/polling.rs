//! Long polling, on ureq.

use super::network::Network;
use super::target::Target;
use crate::error::ConnectError;
use std::io::Read;
use ureq::http::Response;
use ureq::{Agent, Body};

/// What a connection needs of memory for reading and writing; the default is eight times as much.
const BUFFER: usize = 16 << 10;
/// How much of the body of a refusal, or of the answer to a POST, is looked at.
pub(super) const MAX_REFUSAL: usize = 64 << 10;

pub(super) const LATE: &str = "the server did not answer in time";

/// One session's requests. Each blocks.
#[derive(Clone, Debug)]
pub(super) struct Polling {
    agent: Agent,
}

impl Polling {
    pub(super) fn new(target: &Target, network: &Network) -> Result<Polling, ConnectError> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(network.proxy(target)?)
            .timeout_connect(Some(network.request_timeout))
            .user_agent(concat!("socketio-rust/", env!("CARGO_PKG_VERSION")))
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER);
        #[cfg(feature = "tls")]
        let config = config.tls_config(network.tls.for_ureq());
        #[cfg(not(feature = "tls"))]
        if target.is_secure() {
            return Err(ConnectError::new(super::NO_TLS));
        }
        Ok(Polling {
            agent: config.build().into(),
        })
    }

    /// Opens a session: gives the payload that begins with the open packet.
    pub(super) fn open(&self, target: &Target, network: &Network) -> Result<Vec<u8>, ConnectError> {
        let request = self.agent.get(target.url(None, network.timestamp_requests));
        let request = request
            .config()
            .timeout_global(Some(network.request_timeout))
            .build();
        let request = with_headers(request, target);
        read(request.call(), network.max_message)
    }

    /// Waits for packets.
    pub(super) fn poll(
        &self,
        target: &Target,
        network: &Network,
        sid: &str,
    ) -> Result<Vec<u8>, ConnectError> {
        let url = target.url(Some(sid), network.timestamp_requests);
        let request = with_headers(self.agent.get(url), target);
        // The session's own deadlines end it, by a shutdown.
        read(request.call(), network.max_message)
    }

    pub(super) fn post(
        &self,
        target: &Target,
        network: &Network,
        sid: &str,
        body: &[u8],
    ) -> Result<(), ConnectError> {
        let request = self.agent.post(target.url(Some(sid), false));
        let request = request
            .config()
            .timeout_global(Some(network.request_timeout))
            .build();
        let request = with_headers(request, target).content_type("text/plain;charset=UTF-8");
        // Read to its end, so that the connection can be used again.
        read(request.send(body), MAX_REFUSAL).map(drop)
    }

    /// The cookies that the server has set, as a header's value.
    pub(super) fn cookies(&self) -> Option<String> {
        // One agent knows one server, so that all of them are for it.
        let jar = self.agent.cookie_jar_lock();
        let pairs: Vec<_> = jar
            .iter()
            .map(|cookie| format!("{}={}", cookie.name(), cookie.value()))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Ends what is under way, in whatever thread.
    pub(super) fn shut_down(&self) {
        self.agent.clone().shutdown();
    }
}

fn with_headers<B>(
    mut request: ureq::RequestBuilder<B>,
    target: &Target,
) -> ureq::RequestBuilder<B> {
    for (name, value) in target.headers() {
        request = request.header(name, value);
    }
    request
}

fn read(
    answer: Result<Response<Body>, ureq::Error>,
    limit: usize,
) -> Result<Vec<u8>, ConnectError> {
    let answer = answer.map_err(|error| describe(&error))?;
    let status = answer.status();
    let limit = if status.is_success() {
        limit
    } else {
        MAX_REFUSAL
    };
    // The limit holds for what comes out of compression.
    let mut body = Vec::new();
    let most = (limit as u64).saturating_add(1);
    let mut reader = answer.into_body().into_reader().take(most);
    reader
        .read_to_end(&mut body)
        .map_err(|error| ConnectError::new(error.to_string()))?;
    if !status.is_success() {
        return Err(refusal(status.as_u16(), &body));
    }
    if body.len() > limit {
        let message = format!("the server's answer is larger than {limit} bytes");
        return Err(ConnectError::new(message));
    }
    Ok(body)
}

/// The error for an answer of another status than success.
pub(super) fn refusal(status: u16, body: &[u8]) -> ConnectError {
    let message = format!("unexpected status {status} in the server's answer");
    let error = ConnectError::new(message);
    match std::str::from_utf8(body) {
        Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
            error.with_data(text)
        }
        _ => error,
    }
}

fn describe(error: &ureq::Error) -> ConnectError {
    match error {
        ureq::Error::HostNotFound => ConnectError::new("the server's name is not known"),
        ureq::Error::Timeout(_) => ConnectError::new(LATE).timed_out(),
        ureq::Error::Io(error) => ConnectError::new(error.to_string()),
        other => ConnectError::new(other.to_string()),
    }
}
