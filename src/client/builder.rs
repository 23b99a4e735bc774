//! The options of a client.

use super::{Client, EventSink};
use crate::engineio::client::{TransportConfig, network_options};
use crate::limits::{Limits, ReceiveLimits, clamp_duration};
use crate::parser::Parser;
use crate::util::backoff::Backoff;
use std::sync::Arc;
use std::time::Duration;

/// Everything that a client can be told for all its connections.
#[derive(Clone, Debug)]
pub(crate) struct ClientSettings {
    pub(crate) network: Arc<TransportConfig>,
    pub(super) reconnection: Reconnection,
    pub(super) offline_buffer: usize,
    pub(super) backlog: usize,
    pub(super) pending_acks: usize,
    pub(super) outgoing_attachments: usize,
    pub(super) receive_limits: Arc<Limits>,
    pub(super) handle_sigint: bool,
    pub(super) parser: Parser,
}

/// Builder of a [`Client`], with its options.
///
/// ```
/// use socketio::Client;
/// use std::time::Duration;
///
/// let client = Client::builder()
///     .reconnection_delay(Duration::from_millis(200))
///     .offline_buffer(1_000_000)
///     .build();
/// ```
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    network: TransportConfig,
    config: ClientSettings,
}

impl ClientBuilder {
    pub(crate) fn new() -> ClientBuilder {
        ClientBuilder {
            network: TransportConfig::default(),
            config: ClientSettings {
                network: Arc::default(),
                reconnection: Reconnection::default(),
                offline_buffer: 0,
                backlog: 16_000_000,
                pending_acks: 10_000,
                outgoing_attachments: 10,
                receive_limits: Arc::new(ReceiveLimits::default().to_limits()),
                handle_sigint: false,
                parser: Parser::default(),
            },
        }
    }

    /// Builds the client.
    #[must_use]
    pub fn build(self) -> Client {
        self.build_with(None)
    }

    pub(crate) fn build_with(self, sink: Option<Arc<dyn EventSink>>) -> Client {
        let config = ClientSettings {
            network: Arc::new(self.network),
            ..self.config
        };
        Client::with(config, sink)
    }

    /// Sets the form of the packets, which is the server's: python's `serializer`. Defaults to
    /// [`Parser::text`].
    #[must_use]
    pub fn parser(mut self, parser: Parser) -> Self {
        self.config.parser = parser;
        self
    }

    /// Sets whether to reconnect when the connection is lost. Defaults to `true`.
    #[must_use]
    pub fn reconnection(mut self, reconnect: bool) -> Self {
        self.config.reconnection.enabled = reconnect;
        self
    }

    /// Sets whether the client also comes back when the server has disconnected it from all its
    /// namespaces, which ends the official client. Defaults to `false`.
    #[must_use]
    pub fn reconnect_on_disconnect(mut self, reconnect: bool) -> Self {
        self.config.reconnection.on_disconnect = reconnect;
        self
    }

    /// Sets what the client takes of its server. Defaults to [`ReceiveLimits::default`].
    #[must_use]
    pub fn receive_limits(mut self, limits: ReceiveLimits) -> Self {
        self.config.receive_limits = Arc::new(limits.to_limits());
        self
    }

    /// Sets how many times to try before giving up; 0 for as many as it takes. Defaults to 0.
    #[must_use]
    pub fn reconnection_attempts(mut self, attempts: u32) -> Self {
        self.config.reconnection.attempts = (attempts > 0).then_some(attempts);
        self
    }

    /// Sets the delay before the first attempt. It doubles with each that fails. Defaults to 1 s.
    #[must_use]
    pub fn reconnection_delay(mut self, delay: Duration) -> Self {
        self.config.reconnection.delay = clamp_duration(delay);
        self
    }

    /// Sets the longest delay, before it is made shorter or longer by chance. Defaults to 5 s.
    #[must_use]
    pub fn reconnection_delay_max(mut self, delay: Duration) -> Self {
        self.config.reconnection.delay_max = clamp_duration(delay);
        self
    }

    /// Sets by which part of itself a delay is made shorter or longer by chance, from 0 to 1, so
    /// that the clients of a server that comes back do not all come at once. Defaults to 0.5.
    #[must_use]
    pub fn randomization_factor(mut self, factor: f64) -> Self {
        let is_number = !factor.is_nan();
        self.config.reconnection.randomization = if is_number {
            factor.clamp(0.0, 1.0)
        } else {
            0.0
        };
        self
    }

    /// Sets the bytes of events that are kept while there is no connection, also before
    /// [`connect`](Client::connect), and sent in order as soon as their namespace is connected; more
    /// is an error at the call. They are forgotten by [`disconnect`](Client::disconnect), once the
    /// attempts to reconnect are used up, and by
    /// [`clear_offline_buffer`](Client::clear_offline_buffer). Defaults to 0: emitting without a
    /// connection is an error.
    #[must_use]
    pub fn offline_buffer(mut self, bytes: usize) -> Self {
        self.config.offline_buffer = bytes;
        self
    }

    /// Sets the bytes of events that may wait for their handlers. At twice as much the client
    /// disconnects with an error in the log, and reconnects once no more than this waits: a client
    /// does not stop reading, since the server would take it for gone. Defaults to 16 MB.
    #[must_use]
    pub fn max_backlog(mut self, bytes: usize) -> Self {
        self.config.backlog = bytes;
        self
    }

    /// Sets how many acknowledgements the server may owe on a namespace. Defaults to 10,000.
    #[must_use]
    pub fn max_pending_acks(mut self, count: usize) -> Self {
        self.config.pending_acks = count;
        self
    }

    /// Sets how many attachments one outgoing packet may have: more is an error at the call, since
    /// JavaScript servers close the connection on it. Defaults to 10.
    #[must_use]
    pub fn max_outgoing_attachments(mut self, count: usize) -> Self {
        self.config.outgoing_attachments = count;
        self
    }

    /// Sets whether Ctrl-C, and SIGTERM, disconnect this client before they end the process, with
    /// status 130; the program does not go on after its [`wait`](Client::wait) or a
    /// [`call`](Client::call) that this breaks off. Takes the process's handler of these signals;
    /// it goes together with [`Server::run`](crate::Server::run), which ends instead of the
    /// process. Defaults to `false`.
    #[must_use]
    pub fn handle_sigint(mut self, handle: bool) -> Self {
        self.config.handle_sigint = handle;
        self
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        ClientBuilder::new()
    }
}

network_options!(ClientBuilder, network);

/// Rules by which a client that has lost its server tries again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reconnection {
    pub(super) enabled: bool,
    /// Also when the server has disconnected all namespaces.
    pub(super) on_disconnect: bool,
    /// None is as many as it takes.
    pub(super) attempts: Option<u32>,
    pub(super) delay: Duration,
    pub(super) delay_max: Duration,
    /// By which part of itself a delay may be shorter or longer, from 0 to 1.
    pub(super) randomization: f64,
}

impl Default for Reconnection {
    fn default() -> Self {
        Reconnection {
            enabled: true,
            on_disconnect: false,
            attempts: None,
            delay: Duration::from_secs(1),
            delay_max: Duration::from_secs(5),
            randomization: 0.5,
        }
    }
}

impl Reconnection {
    /// Returns the delays of a loss.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.delay, self.delay_max, self.randomization)
    }

    /// Returns whether another attempt may follow so many.
    pub(super) fn allows(&self, tried: u32) -> bool {
        self.attempts.is_none_or(|attempts| tried < attempts)
    }
}
