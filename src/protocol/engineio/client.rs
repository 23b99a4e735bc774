//! A session as the client sees it: the counterpart of [`super::server`](mod@super::server), with
//! the same contract.

use super::Revision;
use super::handshake::Open;
use super::packet::{Data, Packet};
use crate::reason::Reason;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time that the server may take to read what was sent before the end is said.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
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
pub(crate) enum Via {
    Polling,
    WebSocket,
}

#[derive(Debug)]
pub(crate) enum Input {
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
    Lost(Via, Reason),
    /// The session is to end.
    Close,
    Timeout,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The session is open.
    Opened(Open),
    /// Ask the server for packets.
    Poll,
    /// Post what is queued, then say [`Input::Posted`].
    Post,
    /// Connect a WebSocket with this session's id, to upgrade.
    Connect,
    /// Write a packet on the WebSocket, past the queue.
    Write(Packet<'static>),
    /// Append a packet to the queue.
    Send(Packet<'static>),
    /// Ping the server on the WebSocket's own level.
    Ping,
    /// Ping it in the same way, to measure the time until it answers, which is no input.
    Measure,
    /// The last chance to tell the server something.
    Farewell,
    /// The queue goes out over the WebSocket from now on.
    Attach,
    /// Close the WebSocket once what was written to it has left. If the session [is
    /// closing](Client::is_closing), its end is waited for.
    HangUp,
    /// The session has ended. Comes once.
    Closed(Reason),
}

#[derive(Debug)]
enum State {
    /// The open packet has not come.
    Opening {
        deadline: Instant,
    },
    Polling(Polling),
    WebSocket,
    /// The server is being told that the session ends.
    Closing(Closing),
    Closed,
}

/// The official server drops an event whose handler has not begun when it reads the disconnection,
/// and handlers begin only when it has handled all that one read has brought. So what was sent
/// before must have been read before the end is said.
#[derive(Debug)]
enum Closing {
    /// A POST is under way; whether packets wait for another one, and how much has been said.
    Polling {
        queued: bool,
        said: Said,
        deadline: Instant,
    },
    /// The server has read what was sent before when it answers a ping.
    Settling { deadline: Instant },
    /// The server is to close its side of the WebSocket.
    WebSocket { deadline: Instant },
}

#[derive(Debug, Default)]
struct Polling {
    polls: bool,
    posts: bool,
    queued: bool,
    upgrade: Upgrade,
}

#[derive(Debug, Default, PartialEq)]
enum Upgrade {
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
enum Said {
    Nothing,
    Farewell,
    Close,
}

#[derive(Debug)]
pub(crate) struct Client {
    config: Config,
    state: State,
    patience: Duration,
    /// A ping must come by then; of revision 3, anything.
    silence: Option<Instant>,
    /// Of revision 3, where the client pings: the moment of the next ping, unless one is answered first,
    /// and the times that the server has named.
    ping_at: Option<Instant>,
    interval: Duration,
    ping_timeout: Duration,
    outputs: VecDeque<Output>,
}

impl Client {
    /// Creates a session whose first request is under way: a poll, or a WebSocket.
    pub(crate) fn new(now: Instant, config: Config) -> Client {
        Client {
            config,
            state: State::Opening {
                deadline: now + config.timeout,
            },
            patience: Duration::ZERO,
            silence: None,
            ping_at: None,
            interval: Duration::ZERO,
            ping_timeout: Duration::ZERO,
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Polled => {
                if let State::Polling(polling) = &mut self.state {
                    polling.polls = false;
                }
                self.turn();
            }
            Input::Posted => {
                match &mut self.state {
                    State::Polling(polling) => polling.posts = false,
                    State::Closing(Closing::Polling { queued, said, .. }) => {
                        let next = match (std::mem::take(queued), *said) {
                            (true, _) => None,
                            (false, Said::Nothing) => {
                                *said = Said::Farewell;
                                Some(Output::Farewell)
                            }
                            (false, Said::Farewell) => {
                                *said = Said::Close;
                                Some(Output::Send(Packet::Close))
                            }
                            (false, Said::Close) => {
                                return self.close(Reason::ClientDisconnect);
                            }
                        };
                        self.outputs.extend(next);
                        self.outputs.push_back(Output::Post);
                    }
                    _ => {}
                }
                self.turn();
            }
            Input::Ponged => self.on_settled(now),
            Input::Connected => {
                if matches!(self.state, State::Polling(_)) {
                    self.outputs.push_back(Output::Write(Packet::Ping("probe")));
                }
            }
            Input::Queued => {
                match &mut self.state {
                    State::Polling(polling) => polling.queued = true,
                    State::Closing(Closing::Polling { queued, .. }) => *queued = true,
                    _ => {}
                }
                self.turn();
            }
            Input::Invalid => self.close(Reason::TransportError),
            Input::Lost(via, reason) => self.on_connection_lost(via, reason),
            Input::Close => self.on_close(now),
            Input::Timeout => self.on_timeout(now),
        }
    }

    /// Takes a packet, and gives it back if it is a message.
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        via: Via,
        packet: Packet<'a>,
    ) -> Option<Data<'a>> {
        if matches!(self.state, State::Opening { .. }) {
            self.on_open(now, packet);
            return None;
        }
        if let (State::Polling(polling), Via::WebSocket) = (&mut self.state, via) {
            match (packet, &polling.upgrade) {
                (Packet::Pong("probe"), Upgrade::Probing { .. }) => {
                    polling.upgrade = Upgrade::Pausing;
                    self.turn();
                }
                _ => self.on_connection_lost(via, Reason::TransportError),
            }
            return None;
        }
        if self.config.revision == Revision::V3 && self.is_open() {
            // engine.io-client 3, `onHeartbeat`
            self.silence = Some(now + self.patience);
            match packet {
                Packet::Pong(_) => self.ping_at = Some(now + self.interval),
                // Servers do not ping.
                Packet::Ping(_) => return None,
                _ => {}
            }
        }
        match packet {
            Packet::Message(data) if self.is_open() => return Some(data),
            Packet::Ping(_) if self.is_open() => {
                self.silence = Some(now + self.patience);
                self.outputs.push_back(Output::Send(Packet::Pong("")));
                if matches!(self.state, State::WebSocket) {
                    self.outputs.push_back(Output::Measure);
                }
            }
            Packet::Close if self.is_open() => self.close(Reason::ServerDisconnect),
            _ => {}
        }
        None
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() {
            self.outputs = VecDeque::new();
        }
        output
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let step = match &self.state {
            State::Opening { deadline }
            | State::Closing(
                Closing::WebSocket { deadline }
                | Closing::Settling { deadline }
                | Closing::Polling { deadline, .. },
            )
            | State::Polling(Polling {
                upgrade: Upgrade::Probing { deadline },
                ..
            }) => Some(*deadline),
            _ => None,
        };
        let times = [self.silence, self.ping_at, step];
        times.into_iter().flatten().min()
    }

    /// Returns whether the server is being told that the session ends.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(_))
    }

    /// Returns whether an upgrade is under way.
    pub(crate) fn is_upgrading(&self) -> bool {
        matches!(&self.state, State::Polling(polling) if polling.upgrade != Upgrade::None)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Polling(_) | State::WebSocket)
    }

    fn on_open(&mut self, now: Instant, packet: Packet<'_>) {
        let open = match packet {
            Packet::Open(text) => serde_json::from_str::<Open>(text).ok(),
            _ => None,
        };
        let Some(open) = open.filter(Open::is_sound) else {
            return self.close(Reason::TransportError);
        };
        let patience = open.ping_interval.saturating_add(open.ping_timeout);
        // A server that never pings is not noticed to be dead; a day is for ever here.
        self.patience = Duration::from_millis(patience.min(24 * 3600 * 1000));
        self.silence = Some(now + self.patience);
        if self.config.revision == Revision::V3 {
            let day = |it: u64| Duration::from_millis(it.min(24 * 3600 * 1000));
            (self.interval, self.ping_timeout) = (day(open.ping_interval), day(open.ping_timeout));
            self.ping_at = Some(now + self.interval);
        }
        let offered = open.upgrades.iter().any(|it| it == "websocket");
        self.outputs.push_back(Output::Opened(open));
        if !self.config.polling {
            self.state = State::WebSocket;
            self.outputs.push_back(Output::Attach);
            return;
        }
        let mut polling = Polling {
            // The answer that holds the open packet is still being handled.
            polls: true,
            ..Polling::default()
        };
        if offered && self.config.upgrade {
            polling.upgrade = Upgrade::Probing {
                deadline: now + self.config.timeout,
            };
            self.outputs.push_back(Output::Connect);
        }
        self.state = State::Polling(polling);
    }

    /// Starts the requests that may start, or finishes the upgrade when none is left.
    fn turn(&mut self) {
        let State::Polling(polling) = &mut self.state else {
            return;
        };
        if polling.upgrade == Upgrade::Pausing {
            if !polling.polls && !polling.posts {
                self.state = State::WebSocket;
                self.outputs.push_back(Output::Write(Packet::Upgrade));
                self.outputs.push_back(Output::Attach);
            }
            return;
        }
        if !polling.posts && std::mem::take(&mut polling.queued) {
            polling.posts = true;
            self.outputs.push_back(Output::Post);
        }
        if !polling.polls {
            polling.polls = true;
            self.outputs.push_back(Output::Poll);
        }
    }

    fn on_connection_lost(&mut self, via: Via, reason: Reason) {
        match (&mut self.state, via) {
            (State::Closing(Closing::Polling { .. }), Via::Polling)
            | (
                State::Closing(Closing::WebSocket { .. } | Closing::Settling { .. }),
                Via::WebSocket,
            ) => {
                self.close(Reason::ClientDisconnect);
            }
            (State::Closing(_), _) => {}
            // A failed upgrade leaves the session where it was.
            (State::Polling(polling), Via::WebSocket) => {
                if polling.upgrade != Upgrade::None {
                    polling.upgrade = Upgrade::None;
                    // What was too large for a POST has waited for the WebSocket.
                    polling.queued = true;
                    self.outputs.push_back(Output::HangUp);
                    self.turn();
                }
            }
            (State::WebSocket, Via::Polling) => {}
            _ => self.close(reason),
        }
    }

    fn on_close(&mut self, now: Instant) {
        let next = match &self.state {
            State::Polling(polling) => {
                if polling.upgrade != Upgrade::None {
                    self.outputs.push_back(Output::HangUp);
                }
                let said = if polling.posts || polling.queued {
                    Said::Nothing
                } else {
                    self.outputs.push_back(Output::Farewell);
                    Said::Farewell
                };
                if !polling.posts {
                    // Packets may have waited for the upgrade.
                    self.outputs.push_back(Output::Post);
                }
                Closing::Polling {
                    queued: false,
                    said,
                    deadline: now + CLOSE_TIMEOUT,
                }
            }
            State::WebSocket => {
                self.outputs.push_back(Output::Ping);
                Closing::Settling {
                    deadline: now + DRAIN_TIMEOUT,
                }
            }
            State::Opening { .. } => return self.close(Reason::ClientDisconnect),
            State::Closing(_) | State::Closed => return,
        };
        self.silence = None;
        self.ping_at = None;
        self.state = State::Closing(next);
    }

    /// The server has read what was sent before, or had the time to.
    fn on_settled(&mut self, now: Instant) {
        if matches!(self.state, State::Closing(Closing::Settling { .. })) {
            self.outputs.push_back(Output::Farewell);
            self.outputs.push_back(Output::Send(Packet::Close));
            self.outputs.push_back(Output::HangUp);
            self.state = State::Closing(Closing::WebSocket {
                deadline: now + CLOSE_TIMEOUT,
            });
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        if self.silence.is_some_and(|at| at <= now) {
            return self.close(Reason::PingTimeout);
        }
        if self.ping_at.take_if(|at| *at <= now).is_some() {
            self.silence = Some(now + self.ping_timeout);
            self.outputs.push_back(Output::Send(Packet::Ping("")));
        }
        match &self.state {
            State::Polling(Polling {
                upgrade: Upgrade::Probing { deadline },
                ..
            }) if *deadline <= now => {
                self.on_connection_lost(Via::WebSocket, Reason::TransportError);
            }
            State::Opening { deadline } if *deadline <= now => self.close(Reason::TransportError),
            State::Closing(Closing::Settling { deadline }) if *deadline <= now => {
                self.on_settled(now);
            }
            State::Closing(Closing::WebSocket { deadline } | Closing::Polling { deadline, .. })
                if *deadline <= now =>
            {
                self.close(Reason::ClientDisconnect);
            }
            _ => {}
        }
    }

    fn close(&mut self, reason: Reason) {
        let hang_up = match &self.state {
            State::Closed => return,
            State::WebSocket => true,
            State::Closing(_) => false,
            State::Opening { .. } => !self.config.polling,
            State::Polling(polling) => polling.upgrade != Upgrade::None,
        };
        if hang_up {
            self.outputs.push_back(Output::HangUp);
        }
        self.silence = None;
        self.ping_at = None;
        self.state = State::Closed;
        self.outputs.push_back(Output::Closed(reason));
    }
}
