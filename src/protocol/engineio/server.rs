//! A session as the server sees it: transport, polls, upgrade, heartbeat and close.
//!
//! The machine is told what arrived and what time it is ([`ServerSession::handle`]), is asked what
//! to do about it ([`ServerSession::poll`]) until there is nothing more, and says when it wants to
//! be called again ([`ServerSession::next_timeout`]). The packets that wait for the client are not
//! kept here: the driver has a queue of them, which [`ServerOutput::Send`] appends to and
//! [`PollResponse::Queued`] takes from.

use super::Revision;
use super::packet::{Data, EnginePacket};
use crate::reason::Reason;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that the close packet waits for a poll that takes it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that a poll waits while an upgrade is under way, as in the reference implementation.
const NOOP_DELAY: Duration = Duration::from_millis(100);

/// Delay of a ping above which the process counts as paused.
const PAUSE_THRESHOLD: Duration = Duration::from_millis(10);

/// One HTTP exchange or one WebSocket connection; the driver gives the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChannelId(pub(crate) u64);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerConfig {
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) upgrade_timeout: Duration,
    pub(crate) revision: Revision,
}

/// Event of a session.
#[derive(Debug)]
pub(crate) enum ServerInput {
    /// A GET; `queued` says whether packets wait for the client.
    Poll { channel: ChannelId, queued: bool },
    /// A POST; its packets follow by [`ServerSession::receive`], then [`ServerInput::Posted`].
    Post(ChannelId),
    /// The packets of a POST are handled.
    Posted(ChannelId),
    /// A WebSocket with this session's id.
    WebSocket(ChannelId),
    /// A message over a channel is no packet.
    Invalid(ChannelId),
    /// A channel's connection went away.
    Lost { channel: ChannelId, reason: Reason },
    /// A packet waits for the client.
    Queued,
    /// An answer took the last packet that waited.
    Drained,
    /// The session is to end, for this reason.
    Close(Reason),
    /// The server ends. The client is not told that its session does, so that it comes back.
    Shutdown,
    /// The time that `next_timeout` gave has come.
    Timeout,
}

/// Action for the driver.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerOutput {
    Respond(ChannelId, PollResponse),
    /// Append a packet to the queue.
    Send(EnginePacket<'static>),
    /// Write the answer to a probe on a WebSocket that does not carry the session yet.
    SendProbePong(ChannelId),
    /// The queue goes out over this WebSocket from now on.
    Attach(ChannelId),
    /// Close a WebSocket once what was written to it has left.
    CloseWebSocket(ChannelId),
    /// The session has ended. Comes once.
    Closed(Reason),
    /// Nothing more will come of this session: forget it.
    Done,
}

/// The answer to an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollResponse {
    /// The packets that wait, as a payload.
    Queued,
    /// A payload of one noop packet.
    Noop,
    /// A payload of one close packet.
    Close,
    /// `ok`, to a POST.
    Ok,
    /// 400 without a body: two polls, or two POSTs, at once.
    ConcurrentRequest,
    /// 400 with the code for a transport that is not the session's.
    WrongTransport,
}

#[derive(Debug)]
enum ServerState {
    /// Boxed, since most sessions are on a WebSocket.
    Polling(Box<ServerPolling>),
    WebSocket(ChannelId),
    /// The close packet waits for a poll.
    Closing {
        until: Instant,
    },
    /// Over; a POST may still be waiting for its answer.
    Closed {
        post: Option<ChannelId>,
    },
}

#[derive(Debug, Default)]
struct ServerPolling {
    poll: Option<ChannelId>,
    post: Option<ChannelId>,
    upgrade: Option<ServerUpgrade>,
}

/// A WebSocket that is about to replace polling.
#[derive(Debug)]
struct ServerUpgrade {
    channel: ChannelId,
    probed: bool,
    deadline: Instant,
    /// Moment when a poll that waits is answered with a noop.
    noop_at: Option<Instant>,
}

#[derive(Debug)]
enum Heartbeat {
    /// A ping is sent at this time.
    Idle(Instant),
    /// A pong must come by then.
    AwaitingPong {
        until: Instant,
        extended: bool,
    },
    /// Reading from the client has stopped by our own choice. It is pinged all the same, since it
    /// leaves a server that is silent; `left` is the time it still has for a pong.
    Suspended {
        ping_at: Instant,
        left: Option<Duration>,
    },
    /// Of revision 3, where the client pings: something must come of it by then.
    Listening(Instant),
    /// The same while reading has stopped by our own choice, with the time that it still has.
    Muted(Duration),
    Stopped,
}

impl ServerConfig {
    /// Returns how long a client of revision 3 may be silent.
    fn silence(&self) -> Duration {
        self.ping_interval + self.ping_timeout
    }
}

#[derive(Debug)]
pub(crate) struct ServerSession {
    /// What it has in common with the others of its server.
    config: Arc<ServerConfig>,
    state: ServerState,
    heartbeat: Heartbeat,
    outputs: VecDeque<ServerOutput>,
}

impl ServerSession {
    /// Returns a session that was opened by a polling request.
    pub(crate) fn polling(now: Instant, config: Arc<ServerConfig>) -> ServerSession {
        ServerSession::new(now, config, ServerState::Polling(Box::default()))
    }

    /// Returns a session that was opened by a WebSocket.
    pub(crate) fn websocket(
        now: Instant,
        config: Arc<ServerConfig>,
        channel: ChannelId,
    ) -> ServerSession {
        ServerSession::new(now, config, ServerState::WebSocket(channel))
    }

    fn new(now: Instant, config: Arc<ServerConfig>, state: ServerState) -> ServerSession {
        let heartbeat = match config.revision {
            Revision::V4 => Heartbeat::Idle(now + config.ping_interval),
            Revision::V3 => Heartbeat::Listening(now + config.silence()),
        };
        ServerSession {
            config,
            state,
            heartbeat,
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: ServerInput) {
        match input {
            ServerInput::Poll { channel, queued } => self.on_poll(now, channel, queued),
            ServerInput::Post(channel) => self.on_post(channel),
            ServerInput::Posted(channel) => self.on_posted(channel),
            ServerInput::WebSocket(channel) => self.on_websocket(now, channel),
            ServerInput::Invalid(channel) => self.on_invalid(channel),
            ServerInput::Lost { channel, reason } => self.on_connection_lost(channel, reason),
            ServerInput::Queued => self.answer_poll(PollResponse::Queued),
            ServerInput::Drained => self.abandon_close(),
            ServerInput::Close(reason) => self.close(now, reason),
            ServerInput::Shutdown => {
                // After a noop the client polls again, and finds nobody or an unknown session.
                self.answer_poll(PollResponse::Noop);
                self.close_now(Reason::ServerDisconnect);
                self.abandon_close();
            }
            ServerInput::Timeout => self.on_timeout(now),
        }
    }

    /// Takes a packet of a POST or a WebSocket, and returns its data if it is a message.
    pub(crate) fn receive<'a>(
        &mut self,
        now: Instant,
        channel: ChannelId,
        packet: EnginePacket<'a>,
    ) -> Option<Data<'a>> {
        match &mut self.state {
            ServerState::WebSocket(own) if *own == channel => {}
            // A packet of the POST that is being handled.
            ServerState::Polling(polling) if polling.post == Some(channel) => {}
            ServerState::Polling(_) => {
                self.on_upgrade_packet(now, channel, packet);
                return None;
            }
            _ => return None,
        }
        match packet {
            EnginePacket::Message(data) => {
                self.on_packet(now);
                return Some(data);
            }
            // The direction of heartbeats is the other one in revision 3.
            EnginePacket::Ping(_) if self.config.revision == Revision::V3 => {
                self.on_packet(now);
                self.outputs
                    .push_back(ServerOutput::Send(EnginePacket::Pong("")));
            }
            EnginePacket::Pong(_) if self.config.revision == Revision::V4 => self.on_pong(now),
            EnginePacket::Close => {
                self.answer_poll(PollResponse::Noop);
                self.close_now(Reason::ClientDisconnect);
            }
            // "invalid heartbeat direction" in the reference implementation.
            EnginePacket::Ping(_) | EnginePacket::Pong(_) => {
                self.close_now(Reason::ServerDisconnect);
            }
            EnginePacket::Open(_) | EnginePacket::Upgrade | EnginePacket::Noop => {
                self.on_packet(now);
            }
        }
        None
    }

    pub(crate) fn poll(&mut self) -> Option<ServerOutput> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() {
            // Control packets are rare; an idle session keeps no memory for them.
            self.outputs = VecDeque::new();
        }
        output
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let heartbeat = match self.heartbeat {
            Heartbeat::Idle(at)
            | Heartbeat::Listening(at)
            | Heartbeat::AwaitingPong { until: at, .. }
            | Heartbeat::Suspended { ping_at: at, .. } => Some(at),
            Heartbeat::Muted(_) | Heartbeat::Stopped => None,
        };
        let state = match &self.state {
            ServerState::Polling(polling) => polling.upgrade.as_ref().map(|upgrade| {
                let noop_at = upgrade.noop_at.unwrap_or(upgrade.deadline);
                noop_at.min(upgrade.deadline)
            }),
            ServerState::Closing { until } => Some(*until),
            _ => None,
        };
        match (heartbeat, state) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Returns whether a poll waits for packets.
    pub(crate) fn has_poll(&self) -> bool {
        matches!(&self.state, ServerState::Polling(polling) if polling.poll.is_some())
    }

    /// Returns whether a WebSocket may begin to replace polling.
    pub(crate) fn can_upgrade(&self) -> bool {
        matches!(&self.state, ServerState::Polling(polling) if polling.upgrade.is_none())
    }

    /// Returns the POST that waits for its answer.
    pub(crate) fn post(&self) -> Option<ChannelId> {
        match &self.state {
            ServerState::Polling(polling) => polling.post,
            _ => None,
        }
    }

    /// Returns the WebSocket that carries the session.
    pub(crate) fn active_websocket(&self) -> Option<ChannelId> {
        match self.state {
            ServerState::WebSocket(channel) => Some(channel),
            _ => None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(
            self.state,
            ServerState::Polling(_) | ServerState::WebSocket(_)
        )
    }

    /// Notes a packet. While a pong is awaited, the first other packet restarts the wait, once a
    /// ping, since a client that is sending a lot answers late (engine.io 6.6.11). In revision 3
    /// any packet restarts the client's time.
    pub(crate) fn on_packet(&mut self, now: Instant) {
        match &mut self.heartbeat {
            Heartbeat::AwaitingPong { until, extended } if !*extended => {
                *extended = true;
                *until = now + self.config.ping_timeout;
            }
            Heartbeat::Listening(until) => *until = now + self.config.silence(),
            _ => {}
        }
    }

    /// Notes that reading from the client stops or resumes: its deadline stands still meanwhile.
    pub(crate) fn set_read_paused(&mut self, now: Instant, paused: bool) {
        self.heartbeat = match (paused, &self.heartbeat) {
            (true, Heartbeat::Idle(at)) => Heartbeat::Suspended {
                ping_at: *at,
                left: None,
            },
            (true, Heartbeat::AwaitingPong { until, .. }) => Heartbeat::Suspended {
                ping_at: now + self.config.ping_interval,
                left: Some(until.saturating_duration_since(now)),
            },
            (
                false,
                Heartbeat::Suspended {
                    left: Some(left), ..
                },
            ) => Heartbeat::AwaitingPong {
                until: now + *left,
                extended: false,
            },
            (false, Heartbeat::Suspended { ping_at, .. }) => Heartbeat::Idle(*ping_at),
            (true, Heartbeat::Listening(until)) => {
                Heartbeat::Muted(until.saturating_duration_since(now))
            }
            (false, Heartbeat::Muted(left)) => Heartbeat::Listening(now + *left),
            _ => return,
        };
    }

    fn on_poll(&mut self, now: Instant, channel: ChannelId, queued: bool) {
        match &mut self.state {
            ServerState::Polling(polling) => {
                if polling.poll.is_some() {
                    self.answer_poll(PollResponse::Close);
                    self.outputs.push_back(ServerOutput::Respond(
                        channel,
                        PollResponse::ConcurrentRequest,
                    ));
                    self.close_now(Reason::TransportError);
                    return;
                }
                polling.poll = Some(channel);
                if let Some(upgrade) = &mut polling.upgrade
                    && upgrade.probed
                {
                    upgrade.noop_at = Some(now + NOOP_DELAY);
                }
                if queued {
                    self.answer_poll(PollResponse::Queued);
                }
            }
            ServerState::WebSocket(_) => self
                .outputs
                .push_back(ServerOutput::Respond(channel, PollResponse::WrongTransport)),
            ServerState::Closing { .. } | ServerState::Closed { .. } => self
                .outputs
                .push_back(ServerOutput::Respond(channel, PollResponse::Queued)),
        }
    }

    fn on_post(&mut self, channel: ChannelId) {
        match &mut self.state {
            ServerState::Polling(polling) if polling.post.is_none() => polling.post = Some(channel),
            ServerState::Polling(_) => {
                // The POST that is under way is answered as usual.
                self.outputs.push_back(ServerOutput::Respond(
                    channel,
                    PollResponse::ConcurrentRequest,
                ));
                self.close_now(Reason::TransportError);
            }
            ServerState::WebSocket(_)
            | ServerState::Closing { .. }
            | ServerState::Closed { .. } => self
                .outputs
                .push_back(ServerOutput::Respond(channel, PollResponse::WrongTransport)),
        }
    }

    fn on_posted(&mut self, channel: ChannelId) {
        // The reference implementation says ok even when the session was closed over the body.
        self.outputs
            .push_back(ServerOutput::Respond(channel, PollResponse::Ok));
        match &mut self.state {
            ServerState::Polling(polling) => {
                polling.post.take_if(|post| *post == channel);
            }
            ServerState::Closed { post } if *post == Some(channel) => {
                *post = None;
                self.outputs.push_back(ServerOutput::Done);
            }
            _ => {}
        }
    }

    fn on_websocket(&mut self, now: Instant, channel: ChannelId) {
        match &mut self.state {
            ServerState::Polling(polling) if polling.upgrade.is_none() => {
                polling.upgrade = Some(ServerUpgrade {
                    channel,
                    probed: false,
                    deadline: now + self.config.upgrade_timeout,
                    noop_at: None,
                });
            }
            _ => self
                .outputs
                .push_back(ServerOutput::CloseWebSocket(channel)),
        }
    }

    /// Handles a packet of a WebSocket that does not carry the session yet (engine.io-protocol,
    /// "Upgrade").
    fn on_upgrade_packet(&mut self, now: Instant, channel: ChannelId, packet: EnginePacket<'_>) {
        let ServerState::Polling(polling) = &mut self.state else {
            return;
        };
        let Some(upgrade) = polling.upgrade.as_mut().filter(|it| it.channel == channel) else {
            return;
        };
        match packet {
            EnginePacket::Ping("probe") => {
                upgrade.probed = true;
                upgrade.noop_at = Some(now + NOOP_DELAY);
                self.outputs.push_back(ServerOutput::SendProbePong(channel));
                self.answer_poll(PollResponse::Noop);
            }
            EnginePacket::Upgrade => {
                // The packets of a POST have been handled before, and its answer may be held back.
                let held = polling.post.take();
                let answers = held.map(|post| ServerOutput::Respond(post, PollResponse::Ok));
                self.outputs.extend(answers);
                self.answer_poll(PollResponse::Noop);
                self.state = ServerState::WebSocket(channel);
                self.outputs.push_back(ServerOutput::Attach(channel));
            }
            _ => {
                polling.upgrade = None;
                self.outputs
                    .push_back(ServerOutput::CloseWebSocket(channel));
            }
        }
    }

    fn on_connection_lost(&mut self, channel: ChannelId, reason: Reason) {
        match &mut self.state {
            ServerState::WebSocket(own) if *own == channel => self.close_now(reason),
            ServerState::Polling(polling) => {
                let poll = polling.poll.take_if(|poll| *poll == channel);
                let post = polling.post.take_if(|post| *post == channel);
                polling.upgrade.take_if(|it| it.channel == channel);
                if poll.or(post).is_some() {
                    self.close_now(Reason::TransportError);
                }
            }
            ServerState::Closed { post } if *post == Some(channel) => {
                *post = None;
                self.outputs.push_back(ServerOutput::Done);
            }
            _ => {}
        }
    }

    fn on_pong(&mut self, now: Instant) {
        // Surplus pongs start nothing (CVE-2026-48802).
        if matches!(self.heartbeat, Heartbeat::AwaitingPong { .. }) {
            self.heartbeat = Heartbeat::Idle(now + self.config.ping_interval);
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        match &mut self.heartbeat {
            Heartbeat::Suspended { ping_at, left } if *ping_at <= now => {
                *ping_at = now + self.config.ping_interval;
                left.get_or_insert(self.config.ping_timeout);
                self.outputs
                    .push_back(ServerOutput::Send(EnginePacket::Ping("")));
            }
            Heartbeat::Idle(at) if *at <= now => {
                // A moment's lateness of the clock is not added to the client's time; after a pause
                // of the whole process the client gets all of it.
                let late = now.saturating_duration_since(*at) > PAUSE_THRESHOLD;
                let pinged = if late { now } else { *at };
                self.heartbeat = Heartbeat::AwaitingPong {
                    until: pinged + self.config.ping_timeout,
                    extended: false,
                };
                self.outputs
                    .push_back(ServerOutput::Send(EnginePacket::Ping("")));
            }
            Heartbeat::AwaitingPong { until, .. } | Heartbeat::Listening(until)
                if *until <= now =>
            {
                self.answer_poll(PollResponse::Close);
                self.close_now(Reason::PingTimeout);
            }
            _ => {}
        }
        match &mut self.state {
            ServerState::Polling(polling) => {
                let Some(upgrade) = &mut polling.upgrade else {
                    return;
                };
                if upgrade.deadline <= now {
                    let channel = upgrade.channel;
                    polling.upgrade = None;
                    self.outputs
                        .push_back(ServerOutput::CloseWebSocket(channel));
                } else if upgrade.noop_at.is_some_and(|at| at <= now) {
                    upgrade.noop_at = None;
                    self.answer_poll(PollResponse::Noop);
                }
            }
            ServerState::Closing { until } if *until <= now => self.finish(),
            _ => {}
        }
    }

    fn answer_poll(&mut self, answer: PollResponse) {
        if let ServerState::Polling(polling) = &mut self.state
            && let Some(channel) = polling.poll.take()
        {
            self.outputs
                .push_back(ServerOutput::Respond(channel, answer));
        }
    }

    /// Ends the session by telling the client, which on polling takes a poll.
    fn close(&mut self, now: Instant, reason: Reason) {
        if !self.is_open() {
            return;
        }
        self.outputs
            .push_back(ServerOutput::Send(EnginePacket::Close));
        if self.active_websocket().is_some() {
            return self.close_now(reason);
        }
        self.answer_poll(PollResponse::Queued);
        self.drop_upgrade();
        self.outputs.push_back(ServerOutput::Closed(reason));
        self.heartbeat = Heartbeat::Stopped;
        self.state = ServerState::Closing {
            until: now + CLOSE_TIMEOUT,
        };
    }

    /// Ends the session at once.
    fn close_now(&mut self, reason: Reason) {
        if !self.is_open() {
            return;
        }
        self.answer_poll(PollResponse::Close);
        self.drop_upgrade();
        if let Some(channel) = self.active_websocket() {
            self.outputs
                .push_back(ServerOutput::CloseWebSocket(channel));
        }
        self.outputs.push_back(ServerOutput::Closed(reason));
        self.finish();
    }

    /// Waits no longer for a poll that takes the close packet.
    fn abandon_close(&mut self) {
        if matches!(self.state, ServerState::Closing { .. }) {
            self.finish();
        }
    }

    fn on_invalid(&mut self, channel: ChannelId) {
        match &self.state {
            // A WebSocket that does not carry the session ends alone, as after a wrong packet.
            ServerState::Polling(polling)
                if polling
                    .upgrade
                    .as_ref()
                    .is_some_and(|it| it.channel == channel) =>
            {
                self.drop_upgrade();
            }
            _ => self.close_now(Reason::ServerDisconnect),
        }
    }

    fn drop_upgrade(&mut self) {
        if let ServerState::Polling(polling) = &mut self.state
            && let Some(upgrade) = polling.upgrade.take()
        {
            self.outputs
                .push_back(ServerOutput::CloseWebSocket(upgrade.channel));
        }
    }

    fn finish(&mut self) {
        self.heartbeat = Heartbeat::Stopped;
        let post = match &self.state {
            ServerState::Polling(polling) => polling.post,
            _ => None,
        };
        self.state = ServerState::Closed { post };
        if post.is_none() {
            self.outputs.push_back(ServerOutput::Done);
        }
    }
}
