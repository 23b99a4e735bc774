//! A session as the client sees it: the counterpart of [`super::server`](mod@super::server), with
//! the same contract.

use super::Revision;
use super::handshake::OpenPacket;
use super::packet::{Data, EnginePacket};
use crate::reason::Reason;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time that the server may take to read what was sent before the end is said.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientConfig {
    /// True if the session begins with polling; else the session opens over a WebSocket.
    pub(crate) polling: bool,
    /// True if the session upgrades from polling to WebSocket where the server offers it.
    pub(crate) upgrade: bool,
    /// Time that the open packet, and the probe of an upgrade, may take.
    pub(crate) timeout: Duration,
    pub(crate) revision: Revision,
}

/// Time that the end of a session may take: the POSTs for what is queued, or the server's end of
/// the WebSocket. A process that ended before the server has read everything might destroy what was
/// sent.
///
/// The connection has deadlines of its own, for writing what is left and for the server's end; this
/// is for one that misses even those.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Over what something came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportKind {
    Polling,
    WebSocket,
}

#[derive(Debug)]
pub(crate) enum ClientInput {
    /// The poll that was asked for has been answered, and its packets are handled.
    Polled,
    /// The POST that was asked for has been answered.
    Posted,
    /// The WebSocket's ping that was asked for has been answered.
    Ponged,
    /// The WebSocket that was asked for is connected.
    Connected,
    /// A packet waits for the server.
    Queued,
    /// The server sent what is no packet.
    Invalid,
    /// A request failed, or the WebSocket is gone.
    Lost(TransportKind, Reason),
    /// The session is to end.
    Close,
    Timeout,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientOutput {
    /// The session is open.
    Opened(OpenPacket),
    /// Ask the server for packets.
    Poll,
    /// Post what is queued, then say [`ClientInput::Posted`].
    Post,
    /// Connect a WebSocket with this session's id, to upgrade.
    Connect,
    /// Write a packet on the WebSocket, past the queue.
    Write(EnginePacket<'static>),
    /// Append a packet to the queue.
    Send(EnginePacket<'static>),
    /// Ping the server on the WebSocket's own level.
    Ping,
    /// Ping it in the same way, to measure the time until it answers, which is no input.
    Measure,
    /// The last chance to tell the server something.
    BeforeClose,
    /// The queue goes out over the WebSocket from now on.
    Attach,
    /// Close the WebSocket once what was written to it has left. If the session [is
    /// closing](ClientSession::is_closing), its end is waited for.
    CloseWebSocket,
    /// The session has ended. Comes once.
    Closed(Reason),
}

#[derive(Debug)]
enum ClientState {
    /// The open packet has not come.
    Opening {
        deadline: Instant,
    },
    Polling(ClientPolling),
    WebSocket,
    /// The server is being told that the session ends.
    Closing(Closing),
    Closed,
}

/// Progress of a close.
///
/// The reference server drops events whose handlers have not started when it reads DISCONNECT, and
/// starts handlers only after a whole read. So everything must be read, which a pong proves, before
/// DISCONNECT is sent.
#[derive(Debug)]
enum Closing {
    /// A POST is under way; whether packets wait for another one, and how much has been said.
    Polling {
        queued: bool,
        said: CloseProgress,
        deadline: Instant,
    },
    /// The server has read what was sent before when it answers a ping.
    Draining { deadline: Instant },
    /// The server is to close its side of the WebSocket.
    WebSocket { deadline: Instant },
}

#[derive(Debug, Default)]
struct ClientPolling {
    poll_pending: bool,
    post_pending: bool,
    queued: bool,
    upgrade: ClientUpgrade,
}

#[derive(Debug, Default, PartialEq)]
enum ClientUpgrade {
    #[default]
    None,
    Probing {
        deadline: Instant,
    },
    /// The server has answered the probe: requests under way are waited for, none begins.
    Pausing,
}

/// Progress of the close handshake over polling, each step in a POST of its own.
#[derive(Clone, Copy, Debug)]
enum CloseProgress {
    Nothing,
    BeforeClose,
    Close,
}

#[derive(Debug)]
pub(crate) struct ClientSession {
    config: ClientConfig,
    state: ClientState,
    heartbeat_timeout: Duration,
    /// A ping must come by then; of revision 3, anything.
    heartbeat_deadline: Option<Instant>,
    /// Of revision 3, where the client pings: the moment of the next ping, unless one is answered
    /// first, and the times that the server has named.
    ping_at: Option<Instant>,
    interval: Duration,
    ping_timeout: Duration,
    outputs: VecDeque<ClientOutput>,
}

impl ClientSession {
    /// Creates a session whose first request is under way: a poll, or a WebSocket.
    pub(crate) fn new(now: Instant, config: ClientConfig) -> ClientSession {
        ClientSession {
            config,
            state: ClientState::Opening {
                deadline: now + config.timeout,
            },
            heartbeat_timeout: Duration::ZERO,
            heartbeat_deadline: None,
            ping_at: None,
            interval: Duration::ZERO,
            ping_timeout: Duration::ZERO,
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: ClientInput) {
        match input {
            ClientInput::Polled => {
                if let ClientState::Polling(polling) = &mut self.state {
                    polling.poll_pending = false;
                }
                self.start_requests();
            }
            ClientInput::Posted => {
                match &mut self.state {
                    ClientState::Polling(polling) => polling.post_pending = false,
                    ClientState::Closing(Closing::Polling { queued, said, .. }) => {
                        let next = match (std::mem::take(queued), *said) {
                            (true, _) => None,
                            (false, CloseProgress::Nothing) => {
                                *said = CloseProgress::BeforeClose;
                                Some(ClientOutput::BeforeClose)
                            }
                            (false, CloseProgress::BeforeClose) => {
                                *said = CloseProgress::Close;
                                Some(ClientOutput::Send(EnginePacket::Close))
                            }
                            (false, CloseProgress::Close) => {
                                return self.close(Reason::ClientDisconnect);
                            }
                        };
                        self.outputs.extend(next);
                        self.outputs.push_back(ClientOutput::Post);
                    }
                    _ => {}
                }
                self.start_requests();
            }
            ClientInput::Ponged => self.on_drained(now),
            ClientInput::Connected => {
                if matches!(self.state, ClientState::Polling(_)) {
                    self.outputs
                        .push_back(ClientOutput::Write(EnginePacket::Ping("probe")));
                }
            }
            ClientInput::Queued => {
                match &mut self.state {
                    ClientState::Polling(polling) => polling.queued = true,
                    ClientState::Closing(Closing::Polling { queued, .. }) => *queued = true,
                    _ => {}
                }
                self.start_requests();
            }
            ClientInput::Invalid => self.close(Reason::TransportError),
            ClientInput::Lost(via, reason) => self.on_connection_lost(via, reason),
            ClientInput::Close => self.on_close(now),
            ClientInput::Timeout => self.on_timeout(now),
        }
    }

    /// Takes a packet, and returns its data if it is a message.
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        via: TransportKind,
        packet: EnginePacket<'a>,
    ) -> Option<Data<'a>> {
        if matches!(self.state, ClientState::Opening { .. }) {
            self.on_open(now, packet);
            return None;
        }
        if let (ClientState::Polling(polling), TransportKind::WebSocket) = (&mut self.state, via) {
            match (packet, &polling.upgrade) {
                (EnginePacket::Pong("probe"), ClientUpgrade::Probing { .. }) => {
                    polling.upgrade = ClientUpgrade::Pausing;
                    self.start_requests();
                }
                _ => self.on_connection_lost(via, Reason::TransportError),
            }
            return None;
        }
        if self.config.revision == Revision::V3 && self.is_open() {
            // engine.io-client 3, `onHeartbeat`
            self.heartbeat_deadline = Some(now + self.heartbeat_timeout);
            match packet {
                EnginePacket::Pong(_) => self.ping_at = Some(now + self.interval),
                // Servers do not ping.
                EnginePacket::Ping(_) => return None,
                _ => {}
            }
        }
        match packet {
            EnginePacket::Message(data) if self.is_open() => return Some(data),
            EnginePacket::Ping(_) if self.is_open() => {
                self.heartbeat_deadline = Some(now + self.heartbeat_timeout);
                self.outputs
                    .push_back(ClientOutput::Send(EnginePacket::Pong("")));
                if matches!(self.state, ClientState::WebSocket) {
                    self.outputs.push_back(ClientOutput::Measure);
                }
            }
            EnginePacket::Close if self.is_open() => self.close(Reason::ServerDisconnect),
            _ => {}
        }
        None
    }

    pub(crate) fn poll(&mut self) -> Option<ClientOutput> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() {
            self.outputs = VecDeque::new();
        }
        output
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let step = match &self.state {
            ClientState::Opening { deadline }
            | ClientState::Closing(
                Closing::WebSocket { deadline }
                | Closing::Draining { deadline }
                | Closing::Polling { deadline, .. },
            )
            | ClientState::Polling(ClientPolling {
                upgrade: ClientUpgrade::Probing { deadline },
                ..
            }) => Some(*deadline),
            _ => None,
        };
        let times = [self.heartbeat_deadline, self.ping_at, step];
        times.into_iter().flatten().min()
    }

    /// Returns whether the server is being told that the session ends.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, ClientState::Closing(_))
    }

    /// Returns whether an upgrade is under way.
    pub(crate) fn is_upgrading(&self) -> bool {
        matches!(&self.state, ClientState::Polling(polling) if polling.upgrade != ClientUpgrade::None)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, ClientState::Polling(_) | ClientState::WebSocket)
    }

    fn on_open(&mut self, now: Instant, packet: EnginePacket<'_>) {
        let open = match packet {
            EnginePacket::Open(text) => serde_json::from_str::<OpenPacket>(text).ok(),
            _ => None,
        };
        let Some(open) = open.filter(OpenPacket::is_valid) else {
            return self.close(Reason::TransportError);
        };
        let patience = open.ping_interval.saturating_add(open.ping_timeout);
        // A server that never pings is not noticed to be dead; a day is for ever here.
        self.heartbeat_timeout = Duration::from_millis(patience.min(24 * 3600 * 1000));
        self.heartbeat_deadline = Some(now + self.heartbeat_timeout);
        if self.config.revision == Revision::V3 {
            let day = |it: u64| Duration::from_millis(it.min(24 * 3600 * 1000));
            (self.interval, self.ping_timeout) = (day(open.ping_interval), day(open.ping_timeout));
            self.ping_at = Some(now + self.interval);
        }
        let offered = open.upgrades.iter().any(|it| it == "websocket");
        self.outputs.push_back(ClientOutput::Opened(open));
        if !self.config.polling {
            self.state = ClientState::WebSocket;
            self.outputs.push_back(ClientOutput::Attach);
            return;
        }
        let mut polling = ClientPolling {
            // The answer that holds the open packet is still being handled.
            poll_pending: true,
            ..ClientPolling::default()
        };
        if offered && self.config.upgrade {
            polling.upgrade = ClientUpgrade::Probing {
                deadline: now + self.config.timeout,
            };
            self.outputs.push_back(ClientOutput::Connect);
        }
        self.state = ClientState::Polling(polling);
    }

    /// Starts the requests that may start, or finishes the upgrade when none is left.
    fn start_requests(&mut self) {
        let ClientState::Polling(polling) = &mut self.state else {
            return;
        };
        if polling.upgrade == ClientUpgrade::Pausing {
            if !polling.poll_pending && !polling.post_pending {
                self.state = ClientState::WebSocket;
                self.outputs
                    .push_back(ClientOutput::Write(EnginePacket::Upgrade));
                self.outputs.push_back(ClientOutput::Attach);
            }
            return;
        }
        if !polling.post_pending && std::mem::take(&mut polling.queued) {
            polling.post_pending = true;
            self.outputs.push_back(ClientOutput::Post);
        }
        if !polling.poll_pending {
            polling.poll_pending = true;
            self.outputs.push_back(ClientOutput::Poll);
        }
    }

    fn on_connection_lost(&mut self, via: TransportKind, reason: Reason) {
        match (&mut self.state, via) {
            (ClientState::Closing(Closing::Polling { .. }), TransportKind::Polling)
            | (
                ClientState::Closing(Closing::WebSocket { .. } | Closing::Draining { .. }),
                TransportKind::WebSocket,
            ) => {
                self.close(Reason::ClientDisconnect);
            }
            (ClientState::Closing(_), _) => {}
            // A failed upgrade leaves the session where it was.
            (ClientState::Polling(polling), TransportKind::WebSocket) => {
                if polling.upgrade != ClientUpgrade::None {
                    polling.upgrade = ClientUpgrade::None;
                    // What was too large for a POST has waited for the WebSocket.
                    polling.queued = true;
                    self.outputs.push_back(ClientOutput::CloseWebSocket);
                    self.start_requests();
                }
            }
            (ClientState::WebSocket, TransportKind::Polling) => {}
            _ => self.close(reason),
        }
    }

    fn on_close(&mut self, now: Instant) {
        let next = match &self.state {
            ClientState::Polling(polling) => {
                if polling.upgrade != ClientUpgrade::None {
                    self.outputs.push_back(ClientOutput::CloseWebSocket);
                }
                let said = if polling.post_pending || polling.queued {
                    CloseProgress::Nothing
                } else {
                    self.outputs.push_back(ClientOutput::BeforeClose);
                    CloseProgress::BeforeClose
                };
                if !polling.post_pending {
                    // Packets may have waited for the upgrade.
                    self.outputs.push_back(ClientOutput::Post);
                }
                Closing::Polling {
                    queued: false,
                    said,
                    deadline: now + CLOSE_TIMEOUT,
                }
            }
            ClientState::WebSocket => {
                self.outputs.push_back(ClientOutput::Ping);
                Closing::Draining {
                    deadline: now + DRAIN_TIMEOUT,
                }
            }
            ClientState::Opening { .. } => return self.close(Reason::ClientDisconnect),
            ClientState::Closing(_) | ClientState::Closed => return,
        };
        self.heartbeat_deadline = None;
        self.ping_at = None;
        self.state = ClientState::Closing(next);
    }

    /// Notes that the server has read what was sent before, or had the time to.
    fn on_drained(&mut self, now: Instant) {
        if matches!(self.state, ClientState::Closing(Closing::Draining { .. })) {
            self.outputs.push_back(ClientOutput::BeforeClose);
            self.outputs
                .push_back(ClientOutput::Send(EnginePacket::Close));
            self.outputs.push_back(ClientOutput::CloseWebSocket);
            self.state = ClientState::Closing(Closing::WebSocket {
                deadline: now + CLOSE_TIMEOUT,
            });
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        if self.heartbeat_deadline.is_some_and(|at| at <= now) {
            return self.close(Reason::PingTimeout);
        }
        if self.ping_at.take_if(|at| *at <= now).is_some() {
            self.heartbeat_deadline = Some(now + self.ping_timeout);
            self.outputs
                .push_back(ClientOutput::Send(EnginePacket::Ping("")));
        }
        match &self.state {
            ClientState::Polling(ClientPolling {
                upgrade: ClientUpgrade::Probing { deadline },
                ..
            }) if *deadline <= now => {
                self.on_connection_lost(TransportKind::WebSocket, Reason::TransportError);
            }
            ClientState::Opening { deadline } if *deadline <= now => {
                self.close(Reason::TransportError);
            }
            ClientState::Closing(Closing::Draining { deadline }) if *deadline <= now => {
                self.on_drained(now);
            }
            ClientState::Closing(
                Closing::WebSocket { deadline } | Closing::Polling { deadline, .. },
            ) if *deadline <= now => {
                self.close(Reason::ClientDisconnect);
            }
            _ => {}
        }
    }

    fn close(&mut self, reason: Reason) {
        let hang_up = match &self.state {
            ClientState::Closed => return,
            ClientState::WebSocket => true,
            ClientState::Closing(_) => false,
            ClientState::Opening { .. } => !self.config.polling,
            ClientState::Polling(polling) => polling.upgrade != ClientUpgrade::None,
        };
        if hang_up {
            self.outputs.push_back(ClientOutput::CloseWebSocket);
        }
        self.heartbeat_deadline = None;
        self.ping_at = None;
        self.state = ClientState::Closed;
        self.outputs.push_back(ClientOutput::Closed(reason));
    }
}
