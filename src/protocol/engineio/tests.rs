//! The server's and the client's session against each other, on a clock that the test turns.

use super::client::{ClientConfig, ClientInput, ClientOutput, ClientSession, TransportKind};
use super::packet::{Data, EnginePacket};
use super::server::{
    ChannelId, PollResponse, ServerConfig, ServerInput, ServerOutput, ServerSession,
};
use super::*;
use crate::reason::Reason;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(25);
const TIMEOUT: Duration = Duration::from_secs(20);
const WS: ChannelId = ChannelId(1000);

const CONFIG: ServerConfig = ServerConfig {
    ping_interval: INTERVAL,
    ping_timeout: TIMEOUT,
    upgrade_timeout: Duration::from_secs(10),
    revision: Revision::V4,
};

/// A server's session and a client's, with what travels between them held until it is delivered.
struct Pair {
    now: Instant,
    server: ServerSession,
    client: ClientSession,
    /// Messages that wait on the server, and on the client.
    server_queue: VecDeque<String>,
    client_queue: VecDeque<String>,
    /// The answer of a poll, and the body of a POST, on their way.
    answer: Option<(server::ChannelId, Vec<String>)>,
    post: Option<Vec<String>>,
    /// WebSocket frames on their way; none before it is connected.
    to_client: VecDeque<String>,
    to_server: VecDeque<String>,
    connecting: bool,
    server_attached: bool,
    client_attached: bool,
    server_got: Vec<String>,
    client_got: Vec<String>,
    server_closed: Vec<Reason>,
    client_closed: Vec<Reason>,
    client_said_farewell: u32,
    gone: bool,
    next_channel: u64,
}

impl Pair {
    fn new(upgrade: bool) -> Pair {
        let now = Instant::now();
        let mut pair = Pair {
            now,
            server: ServerSession::polling(now, Arc::new(CONFIG)),
            client: ClientSession::new(
                now,
                ClientConfig {
                    polling: true,
                    upgrade,
                    timeout: Duration::from_secs(10),
                    revision: Revision::V4,
                },
            ),
            server_queue: VecDeque::new(),
            client_queue: VecDeque::new(),
            answer: None,
            post: None,
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            connecting: false,
            server_attached: false,
            client_attached: false,
            server_got: Vec::new(),
            client_got: Vec::new(),
            server_closed: Vec::new(),
            client_closed: Vec::new(),
            client_said_farewell: 0,
            gone: false,
            next_channel: 0,
        };
        let open = OpenPacket {
            sid: "sid".into(),
            upgrades: vec!["websocket".into()],
            ping_interval: 25_000,
            ping_timeout: 20_000,
            max_payload: 1_000_000,
        };
        pair.client.receive(
            now,
            TransportKind::Polling,
            EnginePacket::Open(&open.to_json()),
        );
        pair.drive_client();
        pair
    }

    fn emit_from_server(&mut self, text: &str) {
        self.server_send(format!("4{text}"));
        self.drive_server();
    }

    fn emit_from_client(&mut self, text: &str) {
        self.client_send(format!("4{text}"));
        self.drive_client();
    }

    fn server_send(&mut self, packet: String) {
        if self.server_attached {
            self.to_client.push_back(packet);
        } else {
            self.server_queue.push_back(packet);
            self.server.handle(self.now, ServerInput::Queued);
        }
    }

    fn client_send(&mut self, packet: String) {
        if self.client_attached {
            self.to_server.push_back(packet);
        } else {
            self.client_queue.push_back(packet);
            self.client.handle(self.now, ClientInput::Queued);
        }
    }

    fn drive_server(&mut self) {
        while let Some(output) = self.server.poll() {
            match output {
                ServerOutput::Respond(channel, answer) => self.on_answer(channel, answer),
                ServerOutput::Send(packet) => self.server_send(encoded(&packet)),
                ServerOutput::SendProbePong(WS) => self.to_client.push_back("3probe".into()),
                ServerOutput::Attach(WS) => {
                    self.server_attached = true;
                    self.to_client.extend(self.server_queue.drain(..));
                }
                ServerOutput::CloseWebSocket(WS) => self.to_client.push_back("hang up".into()),
                ServerOutput::Closed(reason) => self.server_closed.push(reason),
                ServerOutput::Done => self.gone = true,
                other => panic!("{other:?}"),
            }
        }
    }

    fn on_answer(&mut self, channel: ChannelId, answer: PollResponse) {
        let body = match answer {
            PollResponse::Queued => {
                let count = self.server_queue.len().min(payload::MAX_PACKETS_OF_PYTHON);
                let body = self.server_queue.drain(..count).collect();
                if self.server_queue.is_empty() {
                    self.server.handle(self.now, ServerInput::Drained);
                }
                body
            }
            PollResponse::Noop => vec!["6".into()],
            PollResponse::Close => vec!["1".into()],
            // The pair has one POST at a time, and its answer is not lost.
            PollResponse::Ok => return self.client.handle(self.now, ClientInput::Posted),
            other => panic!("{other:?}"),
        };
        self.answer = Some((channel, body));
    }

    fn drive_client(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                ClientOutput::Opened(_) => {
                    self.client.handle(self.now, ClientInput::Polled);
                }
                ClientOutput::Poll => {
                    self.next_channel += 1;
                    let channel = ChannelId(self.next_channel);
                    let queued = !self.server_queue.is_empty();
                    self.server
                        .handle(self.now, ServerInput::Poll { channel, queued });
                }
                ClientOutput::Post if self.client_queue.is_empty() => {
                    self.client.handle(self.now, ClientInput::Posted);
                }
                ClientOutput::Post => self.post = Some(self.client_queue.drain(..).collect()),
                ClientOutput::Connect => self.connecting = true,
                ClientOutput::Write(packet) => self.to_server.push_back(encoded(&packet)),
                ClientOutput::Send(packet) => self.client_send(encoded(&packet)),
                ClientOutput::Attach => {
                    self.client_attached = true;
                    self.to_server.extend(self.client_queue.drain(..));
                }
                ClientOutput::BeforeClose => self.client_said_farewell += 1,
                ClientOutput::Ping => self.client.handle(self.now, ClientInput::Ponged),
                ClientOutput::Measure => {}
                ClientOutput::CloseWebSocket => self.to_server.push_back("hang up".into()),
                ClientOutput::Closed(reason) => self.client_closed.push(reason),
            }
        }
        self.drive_server();
    }

    /// Brings the WebSocket that the client asked for.
    fn connect(&mut self) {
        assert!(std::mem::take(&mut self.connecting));
        self.server.handle(self.now, ServerInput::WebSocket(WS));
        self.drive_server();
        self.client.handle(self.now, ClientInput::Connected);
        self.drive_client();
    }

    /// Delivers the answer to the poll, if there is one.
    fn deliver_answer(&mut self) -> bool {
        let Some((_, body)) = self.answer.take() else {
            return false;
        };
        for packet in body {
            let packet = EnginePacket::decode(&packet).unwrap();
            if let Some(Data::Text(text)) =
                self.client
                    .receive(self.now, TransportKind::Polling, packet)
            {
                self.client_got.push(text.to_owned());
            }
        }
        self.client.handle(self.now, ClientInput::Polled);
        self.drive_client();
        true
    }

    fn deliver_post(&mut self) -> bool {
        let Some(body) = self.post.take() else {
            return false;
        };
        self.next_channel += 1;
        let channel = ChannelId(self.next_channel);
        self.server.handle(self.now, ServerInput::Post(channel));
        for packet in body {
            let packet = EnginePacket::decode(&packet).unwrap();
            if let Some(Data::Text(text)) = self.server.receive(self.now, channel, packet) {
                self.server_got.push(text.to_owned());
            }
        }
        self.server.handle(self.now, ServerInput::Posted(channel));
        self.drive_server();
        self.drive_client();
        true
    }

    fn deliver_frame_to_server(&mut self) -> bool {
        match self.to_server.pop_front() {
            None => return false,
            Some(frame) if frame == "hang up" => {
                let reason = Reason::TransportClose;
                self.server.handle(
                    self.now,
                    ServerInput::Lost {
                        channel: WS,
                        reason,
                    },
                );
            }
            Some(frame) => {
                let packet = EnginePacket::decode(&frame).unwrap();
                if let Some(Data::Text(text)) = self.server.receive(self.now, WS, packet) {
                    self.server_got.push(text.to_owned());
                }
            }
        }
        self.drive_server();
        true
    }

    fn deliver_frame_to_client(&mut self) -> bool {
        match self.to_client.pop_front() {
            None => return false,
            Some(frame) if frame == "hang up" => {
                let lost = ClientInput::Lost(TransportKind::WebSocket, Reason::TransportClose);
                self.client.handle(self.now, lost);
            }
            Some(frame) => {
                let packet = EnginePacket::decode(&frame).unwrap();
                if let Some(Data::Text(text)) =
                    self.client
                        .receive(self.now, TransportKind::WebSocket, packet)
                {
                    self.client_got.push(text.to_owned());
                }
            }
        }
        self.drive_client();
        true
    }

    /// Delivers everything until both sides are quiet.
    fn settle(&mut self) {
        if self.connecting {
            self.connect();
        }
        // A poll that is answered at once with a noop begins another; upgrades end that.
        for _ in 0..1000 {
            let moved = self.deliver_post()
                | self.deliver_frame_to_server()
                | self.deliver_frame_to_client()
                | self.deliver_answer();
            if !moved {
                return;
            }
        }
        panic!("the pair never becomes quiet");
    }

    fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let due = [self.server.next_timeout(), self.client.next_timeout()];
            match due.into_iter().flatten().min() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    if self.server.next_timeout().is_some_and(|at| at <= self.now) {
                        self.server.handle(self.now, ServerInput::Timeout);
                        self.drive_server();
                    }
                    if self.client.next_timeout().is_some_and(|at| at <= self.now) {
                        self.client.handle(self.now, ClientInput::Timeout);
                        self.drive_client();
                    }
                    self.settle();
                }
                _ => break,
            }
        }
        self.now = end;
    }
}

fn encoded(packet: &EnginePacket<'_>) -> String {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn messages_travel_both_ways_over_polling() {
    let mut pair = Pair::new(false);
    pair.settle();
    pair.emit_from_server("down");
    pair.emit_from_client("up");
    pair.settle();
    assert_eq!(pair.server_got, ["up"]);
    assert_eq!(pair.client_got, ["down"]);
}

#[test]
fn a_payload_holds_at_most_sixteen_packets() {
    let mut pair = Pair::new(false);
    pair.settle();
    for number in numbers(0..100) {
        pair.server_queue.push_back(format!("4{number}"));
    }
    pair.server.handle(pair.now, ServerInput::Queued);
    pair.drive_server();
    assert_eq!(pair.answer.as_ref().map(|(_, body)| body.len()), Some(16));
    pair.settle();
    assert_eq!(pair.client_got, numbers(0..100));
}

#[test]
fn an_upgrade_loses_and_reorders_nothing_wherever_the_messages_fall() {
    // At every step of an upgrade that is delivered piece by piece, both sides emit.
    let mut pair = Pair::new(true);
    let mut sent = 0;
    let mut step = |pair: &mut Pair| {
        pair.emit_from_server(&sent.to_string());
        pair.emit_from_client(&sent.to_string());
        sent += 1;
    };
    step(&mut pair);
    pair.connect();
    step(&mut pair);
    for _ in 0..50 {
        pair.deliver_post();
        step(&mut pair);
        pair.deliver_frame_to_server();
        step(&mut pair);
        pair.deliver_answer();
        step(&mut pair);
        pair.deliver_frame_to_client();
        step(&mut pair);
    }
    pair.settle();
    assert!(pair.server_attached && pair.client_attached);
    assert_eq!(pair.server_got, numbers(0..sent));
    assert_eq!(pair.client_got, numbers(0..sent));
    assert_eq!((pair.server_closed.len(), pair.client_closed.len()), (0, 0));
}

#[test]
fn a_poll_that_waits_is_answered_with_a_noop_when_the_probe_comes() {
    let mut pair = Pair::new(true);
    assert!(pair.server.has_poll());
    pair.connect();
    pair.deliver_frame_to_server();
    assert_eq!(
        pair.answer.as_ref().map(|(_, body)| body.join("")),
        Some("6".into())
    );
    assert_eq!(pair.to_client, ["3probe"]);
    // The client has not read the answer to its probe, and polls again: that poll is answered too.
    pair.deliver_answer();
    assert!(pair.server.has_poll() && pair.answer.is_none());
    pair.now += Duration::from_millis(100);
    pair.server.handle(pair.now, ServerInput::Timeout);
    pair.drive_server();
    assert_eq!(
        pair.answer.as_ref().map(|(_, body)| body.join("")),
        Some("6".into())
    );
    pair.settle();
    assert!(pair.server_attached && pair.client_attached);
}

#[test]
fn a_probe_that_is_never_finished_expires_and_polling_goes_on() {
    let mut pair = Pair::new(true);
    pair.connect();
    pair.deliver_frame_to_server();
    pair.to_client.clear(); // the answer to the probe is lost
    for _ in 0..110 {
        pair.deliver_answer();
        pair.now += Duration::from_millis(100);
        pair.server.handle(pair.now, ServerInput::Timeout);
        pair.drive_server();
    }
    assert_eq!(pair.to_client, ["hang up"]);
    pair.settle();
    pair.emit_from_server("still here");
    pair.settle();
    assert_eq!(pair.client_got, ["still here"]);
    assert!(!pair.server_attached);
}

#[test]
fn a_failed_upgrade_leaves_the_session_on_polling() {
    let mut pair = Pair::new(true);
    pair.connecting = false;
    let lost = ClientInput::Lost(TransportKind::WebSocket, Reason::TransportError);
    pair.client.handle(pair.now, lost);
    pair.drive_client();
    pair.to_server.clear();
    pair.emit_from_client("up");
    pair.settle();
    assert_eq!(pair.server_got, ["up"]);
    assert_eq!(pair.client_closed, []);
}

#[test]
fn a_websocket_that_begins_with_something_else_is_closed_alone() {
    let mut pair = Pair::new(false);
    pair.server.handle(pair.now, ServerInput::WebSocket(WS));
    pair.server
        .receive(pair.now, WS, EnginePacket::Message(Data::Text("hello")));
    pair.drive_server();
    assert_eq!(pair.to_client, ["hang up"]);
    assert!(pair.server.is_open());
    assert_eq!(pair.server_got.len(), 0);
}

#[test]
fn an_upgrade_packet_without_a_probe_is_enough() {
    let mut pair = Pair::new(false);
    pair.server.handle(pair.now, ServerInput::WebSocket(WS));
    pair.server.receive(pair.now, WS, EnginePacket::Upgrade);
    pair.drive_server();
    assert!(pair.server_attached);
    assert_eq!(pair.server.active_websocket(), Some(WS));
}

#[test]
fn a_second_websocket_is_closed_during_and_after_the_upgrade() {
    let mut pair = Pair::new(true);
    pair.connect();
    let second = ChannelId(2000);
    pair.server.handle(pair.now, ServerInput::WebSocket(second));
    assert_eq!(
        pair.server.poll(),
        Some(ServerOutput::CloseWebSocket(second))
    );
    pair.settle();
    assert!(pair.server_attached);
    pair.server.handle(pair.now, ServerInput::WebSocket(second));
    assert_eq!(
        pair.server.poll(),
        Some(ServerOutput::CloseWebSocket(second))
    );
    assert!(pair.server.is_open());
}

#[test]
fn an_upgrade_answers_a_post_whose_answer_was_held_back() {
    let now = Instant::now();
    let mut server = ServerSession::polling(now, Arc::new(CONFIG));
    let post = ChannelId(1);
    server.handle(now, ServerInput::Post(post));
    server.handle(now, ServerInput::WebSocket(WS));
    for packet in [EnginePacket::Ping("probe"), EnginePacket::Upgrade] {
        assert_eq!(server.receive(now, WS, packet), None);
    }
    let outputs: Vec<_> = std::iter::from_fn(|| server.poll()).collect();
    let answer = ServerOutput::Respond(post, PollResponse::Ok);
    assert_eq!(
        outputs,
        [
            ServerOutput::SendProbePong(WS),
            answer,
            ServerOutput::Attach(WS)
        ]
    );
}

#[test]
fn polling_after_the_upgrade_is_a_mismatch() {
    let mut server = ServerSession::websocket(Instant::now(), Arc::new(CONFIG), WS);
    let channel = ChannelId(1);
    server.handle(
        Instant::now(),
        ServerInput::Poll {
            channel,
            queued: false,
        },
    );
    assert_eq!(
        server.poll(),
        Some(ServerOutput::Respond(channel, PollResponse::WrongTransport))
    );
    server.handle(Instant::now(), ServerInput::Post(channel));
    assert_eq!(
        server.poll(),
        Some(ServerOutput::Respond(channel, PollResponse::WrongTransport))
    );
    assert!(server.is_open());
}

#[test]
fn two_polls_at_once_end_the_session() {
    let mut pair = Pair::new(false);
    let (first, second) = (ChannelId(pair.next_channel), ChannelId(77));
    pair.server.handle(
        pair.now,
        ServerInput::Poll {
            channel: second,
            queued: false,
        },
    );
    let outputs: Vec<_> = std::iter::from_fn(|| pair.server.poll()).collect();
    assert_eq!(
        outputs,
        [
            ServerOutput::Respond(first, PollResponse::Close),
            ServerOutput::Respond(second, PollResponse::ConcurrentRequest),
            ServerOutput::Closed(Reason::TransportError),
            ServerOutput::Done,
        ]
    );
}

#[test]
fn two_posts_at_once_end_the_session() {
    let mut pair = Pair::new(false);
    pair.server
        .handle(pair.now, ServerInput::Post(ChannelId(50)));
    pair.server
        .handle(pair.now, ServerInput::Post(ChannelId(51)));
    let outputs: Vec<_> = std::iter::from_fn(|| pair.server.poll()).collect();
    assert!(outputs.contains(&ServerOutput::Respond(
        ChannelId(51),
        PollResponse::ConcurrentRequest
    )));
    assert!(outputs.contains(&ServerOutput::Closed(Reason::TransportError)));
}

#[test]
fn the_heartbeat_keeps_a_quiet_session_for_hours() {
    for upgrade in [false, true] {
        let mut pair = Pair::new(upgrade);
        pair.settle();
        pair.advance(Duration::from_secs(3 * 3600));
        assert_eq!((pair.server_closed.len(), pair.client_closed.len()), (0, 0));
        assert_eq!(pair.server_attached, upgrade);
    }
}

#[test]
fn a_missed_pong_ends_the_session_after_interval_and_timeout() {
    let mut server = ServerSession::websocket(Instant::now(), Arc::new(CONFIG), WS);
    let start = server.next_timeout().unwrap() - INTERVAL;
    server.handle(start + INTERVAL, ServerInput::Timeout);
    assert_eq!(
        server.poll(),
        Some(ServerOutput::Send(EnginePacket::Ping("")))
    );
    assert_eq!(server.next_timeout(), Some(start + INTERVAL + TIMEOUT));
    server.handle(start + INTERVAL + TIMEOUT, ServerInput::Timeout);
    let outputs: Vec<_> = std::iter::from_fn(|| server.poll()).collect();
    assert_eq!(
        outputs,
        [
            ServerOutput::CloseWebSocket(WS),
            ServerOutput::Closed(Reason::PingTimeout),
            ServerOutput::Done,
        ]
    );
    assert_eq!(server.next_timeout(), None);
}

#[test]
fn another_packet_extends_the_wait_for_a_pong_once() {
    let mut server = ServerSession::websocket(Instant::now(), Arc::new(CONFIG), WS);
    let pinged = server.next_timeout().unwrap();
    server.handle(pinged, ServerInput::Timeout);
    let later = pinged + Duration::from_secs(10);
    server.receive(later, WS, EnginePacket::Message(Data::Text("busy")));
    assert_eq!(server.next_timeout(), Some(later + TIMEOUT));
    server.receive(
        later + Duration::from_secs(5),
        WS,
        EnginePacket::Message(Data::Text("busy")),
    );
    assert_eq!(server.next_timeout(), Some(later + TIMEOUT));
}

#[test]
fn surplus_pongs_change_nothing() {
    let mut server = ServerSession::websocket(Instant::now(), Arc::new(CONFIG), WS);
    let due = server.next_timeout();
    for second in 0..20 {
        server.receive(
            Instant::now() + Duration::from_secs(second),
            WS,
            EnginePacket::Pong(""),
        );
    }
    assert_eq!(server.next_timeout(), due);
    assert_eq!(server.poll(), None);
}

#[test]
fn the_deadline_stands_still_while_reading_is_stopped_and_pings_go_on() {
    let mut server = ServerSession::websocket(Instant::now(), Arc::new(CONFIG), WS);
    let ping = || Some(ServerOutput::Send(EnginePacket::Ping("")));
    let pinged = server.next_timeout().unwrap();
    server.handle(pinged, ServerInput::Timeout);
    assert_eq!(server.poll(), ping());
    let mut now = pinged + Duration::from_secs(5);
    server.set_read_paused(now, true);
    for _ in 0..10 {
        assert_eq!(server.next_timeout(), Some(now + INTERVAL));
        now += INTERVAL;
        server.handle(now, ServerInput::Timeout);
        assert_eq!((server.poll(), server.poll()), (ping(), None));
    }
    server.set_read_paused(now, false);
    let until = now + TIMEOUT - Duration::from_secs(5);
    assert_eq!(server.next_timeout(), Some(until));
    // The pongs that waited to be read are those of all pings.
    for _ in 0..11 {
        server.receive(now, WS, EnginePacket::Pong(""));
    }
    assert_eq!(server.next_timeout(), Some(now + INTERVAL));
    // One that stops before a ping is pinged in time, and then has the whole time for its pong.
    server.set_read_paused(now, true);
    assert_eq!(server.next_timeout(), Some(now + INTERVAL));
    server.handle(now + INTERVAL, ServerInput::Timeout);
    server.set_read_paused(now + INTERVAL * 2, false);
    let until = now + INTERVAL * 2 + TIMEOUT;
    assert_eq!(server.next_timeout(), Some(until));
}

#[test]
fn a_client_notices_a_server_that_is_silent() {
    let mut pair = Pair::new(false);
    pair.settle();
    let due = pair.client.next_timeout().unwrap();
    assert_eq!(due, pair.now + INTERVAL + TIMEOUT);
    pair.client.handle(due, ClientInput::Timeout);
    pair.drive_client();
    assert_eq!(pair.client_closed, [Reason::PingTimeout]);
}

#[test]
fn the_client_can_close_on_both_transports() {
    for upgrade in [false, true] {
        let mut pair = Pair::new(upgrade);
        pair.settle();
        pair.emit_from_client("last words");
        pair.client.handle(pair.now, ClientInput::Close);
        pair.drive_client();
        pair.settle();
        assert_eq!(pair.server_got, ["last words"]);
        assert_eq!(pair.server_closed, [Reason::ClientDisconnect]);
        assert_eq!(pair.client_closed, [Reason::ClientDisconnect]);
        assert_eq!(pair.client_said_farewell, 1);
        assert!(pair.gone);
    }
}

#[test]
fn what_waits_for_an_upgrade_is_posted_before_the_end_is_said() {
    let mut pair = Pair::new(true);
    pair.connect();
    // Up to the moment at which requests under way are waited for, and none begins.
    while !pair.client.is_upgrading() || pair.to_client != ["3probe"] {
        assert!(pair.deliver_frame_to_server() || pair.deliver_answer());
    }
    pair.deliver_frame_to_client();
    pair.emit_from_client("last words");
    pair.client.handle(pair.now, ClientInput::Close);
    pair.drive_client();
    assert_eq!(pair.post.as_deref(), Some(&["4last words".to_owned()][..]));
    assert_eq!(pair.client_said_farewell, 0);
    pair.settle();
    assert_eq!(pair.server_got, ["last words"]);
    assert_eq!(pair.client_said_farewell, 1);
    assert_eq!(pair.client_closed, [Reason::ClientDisconnect]);
}

#[test]
fn a_server_that_does_not_close_its_side_is_not_waited_for_long() {
    let mut pair = Pair::new(true);
    pair.settle();
    pair.client.handle(pair.now, ClientInput::Close);
    pair.drive_client();
    assert!(pair.client.is_closing() && pair.client_closed.is_empty());
    let due = pair.client.next_timeout().expect("a deadline");
    assert_eq!(due, pair.now + Duration::from_secs(60));
    pair.client.handle(due, ClientInput::Timeout);
    pair.drive_client();
    assert_eq!(pair.client_closed, [Reason::ClientDisconnect]);
}

#[test]
fn a_server_that_does_not_open_the_session_is_not_waited_for_long() {
    let now = Instant::now();
    let config = ClientConfig {
        polling: false,
        upgrade: false,
        timeout: Duration::from_secs(10),
        revision: Revision::V4,
    };
    let mut client = ClientSession::new(now, config);
    assert_eq!(client.next_timeout(), Some(now + Duration::from_secs(10)));
    client.handle(now + Duration::from_secs(10), ClientInput::Timeout);
    assert_eq!(client.poll(), Some(ClientOutput::CloseWebSocket));
    let closed = ClientOutput::Closed(Reason::TransportError);
    assert_eq!(client.poll(), Some(closed));
}

#[test]
fn the_server_can_close_on_both_transports() {
    for upgrade in [false, true] {
        let mut pair = Pair::new(upgrade);
        pair.settle();
        pair.emit_from_server("last words");
        let close = ServerInput::Close(Reason::ServerDisconnect);
        pair.server.handle(pair.now, close);
        pair.drive_server();
        pair.settle();
        assert_eq!(pair.client_got, ["last words"]);
        assert_eq!(pair.server_closed, [Reason::ServerDisconnect]);
        assert_eq!(pair.client_closed, [Reason::ServerDisconnect]);
        assert!(pair.gone);
    }
}

#[test]
fn a_close_in_the_middle_of_an_upgrade_ends_both_sides_once() {
    for steps in 0..6 {
        let mut pair = Pair::new(true);
        pair.connect();
        for _ in 0..steps {
            let _ = pair.deliver_frame_to_server()
                || pair.deliver_frame_to_client()
                || pair.deliver_answer();
        }
        let close = ServerInput::Close(Reason::ServerDisconnect);
        pair.server.handle(pair.now, close);
        pair.drive_server();
        pair.settle();
        pair.advance(Duration::from_secs(120));
        assert_eq!(
            pair.server_closed,
            [Reason::ServerDisconnect],
            "after {steps} steps"
        );
        assert_eq!(pair.client_closed.len(), 1, "after {steps} steps");
        assert!(pair.gone, "after {steps} steps");
    }
}

#[test]
fn clients_are_not_told_of_a_shutdown() {
    for upgrade in [false, true] {
        let mut pair = Pair::new(upgrade);
        pair.settle();
        pair.server.handle(pair.now, ServerInput::Shutdown);
        pair.drive_server();
        assert_eq!(pair.server_closed, [Reason::ServerDisconnect]);
        assert!(pair.gone);
        let told = pair
            .answer
            .map_or(pair.to_client.make_contiguous().to_vec(), |(_, body)| body);
        assert_eq!(told, [if upgrade { "hang up" } else { "6" }]);
    }
}

#[test]
fn a_close_packet_that_nobody_polls_for_is_given_up() {
    let mut server = ServerSession::polling(Instant::now(), Arc::new(CONFIG));
    let now = Instant::now();
    server.handle(now, ServerInput::Close(Reason::ServerDisconnect));
    let outputs: Vec<_> = std::iter::from_fn(|| server.poll()).collect();
    assert_eq!(
        outputs,
        [
            ServerOutput::Send(EnginePacket::Close),
            ServerOutput::Closed(Reason::ServerDisconnect),
        ]
    );
    let until = server.next_timeout().expect("a deadline");
    assert_eq!(until, now + Duration::from_secs(30));
    server.handle(until, ServerInput::Timeout);
    assert_eq!(server.poll(), Some(ServerOutput::Done));
}

#[test]
fn a_client_that_goes_away_in_mid_poll_is_an_error_of_its_transport() {
    let mut pair = Pair::new(false);
    let channel = ChannelId(pair.next_channel);
    let reason = Reason::TransportClose;
    pair.server
        .handle(pair.now, ServerInput::Lost { channel, reason });
    pair.drive_server();
    assert_eq!(pair.server_closed, [Reason::TransportError]);
}

#[test]
fn what_is_no_packet_closes_the_session() {
    let mut pair = Pair::new(false);
    let channel = ChannelId(77);
    pair.server.handle(pair.now, ServerInput::Invalid(channel));
    pair.drive_server();
    assert_eq!(pair.server_closed, [Reason::ServerDisconnect]);
    assert!(pair.gone);
}

#[test]
fn what_is_no_packet_on_a_websocket_that_probes_ends_that_alone() {
    let now = Instant::now();
    let mut server = ServerSession::polling(now, Arc::new(CONFIG));
    server.handle(now, ServerInput::WebSocket(WS));
    server.handle(now, ServerInput::Invalid(WS));
    assert_eq!(server.poll(), Some(ServerOutput::CloseWebSocket(WS)));
    assert!(server.poll().is_none() && server.is_open());
    assert!(server.can_upgrade(), "another one may come");
}

#[test]
fn a_handshake_that_makes_no_sense_is_refused() {
    for open in [
        "{}",
        "not json",
        r#"{"sid":"x","upgrades":[],"pingInterval":0,"pingTimeout":20000,"maxPayload":1}"#,
        r#"{"sid":"x","upgrades":[],"pingInterval":-5,"pingTimeout":20000,"maxPayload":1}"#,
    ] {
        let config = ClientConfig {
            polling: true,
            upgrade: true,
            timeout: Duration::from_secs(10),
            revision: Revision::V4,
        };
        let mut client = ClientSession::new(Instant::now(), config);
        client.receive(
            Instant::now(),
            TransportKind::Polling,
            EnginePacket::Open(open),
        );
        assert_eq!(
            client.poll(),
            Some(ClientOutput::Closed(Reason::TransportError)),
            "{open}"
        );
        assert_eq!(client.poll(), None);
    }
}

/// Whatever is delivered when, and whoever ends it: nothing is lost before the end, nothing comes
/// twice or out of order, and each side hears of the end once.
#[test]
fn arbitrary_walks_of_a_pair_lose_and_reorder_nothing() {
    crate::util::fuzz::run(|source| {
        let mut pair = Pair::new(source.one_in(2));
        let (mut from_server, mut from_client) = (0..40, 0..40);
        let ends = source.one_in(2);
        for _ in 0..source.below(150) {
            match source.below(12) {
                0 | 1 if pair.server.is_open() => {
                    if let Some(number) = from_server.next() {
                        pair.emit_from_server(&number.to_string());
                    }
                }
                2 | 3 if pair.client.is_open() && !pair.client.is_closing() => {
                    if let Some(number) = from_client.next() {
                        pair.emit_from_client(&number.to_string());
                    }
                }
                4 if pair.connecting => pair.connect(),
                5 => drop(pair.deliver_answer()),
                6 => drop(pair.deliver_post()),
                7 | 8 => drop(pair.deliver_frame_to_server()),
                9 | 10 => drop(pair.deliver_frame_to_client()),
                11 if ends && source.one_in(20) => {
                    pair.client.handle(pair.now, ClientInput::Close);
                    pair.drive_client();
                }
                _ => {}
            }
        }
        pair.settle();
        // A poll that waits while the transport changes is answered after a moment.
        pair.advance(Duration::from_secs(1));
        let is_over = pair.client.is_closing() || !pair.client_closed.is_empty();
        assert_eq!(pair.server_got, numbers(0..pair.server_got.len() as u32));
        assert_eq!(pair.client_got, numbers(0..pair.client_got.len() as u32));
        // What a client says before it ends the session is read, whenever that was.
        assert_eq!(pair.server_got.len() as u32, from_client.start);
        if !is_over {
            assert_eq!(pair.client_got.len() as u32, from_server.start);
        }
        // Silence ends what is left.
        if is_over {
            pair.advance(Duration::from_secs(300));
            assert_eq!(pair.client_closed.len(), 1);
            assert_eq!(pair.server_closed.len(), 1);
        }
    });
}

/// A client that does as it likes: the server's session ends once, hands over nothing afterwards,
/// and is gone in the end.
#[test]
fn arbitrary_clients_end_a_session_once() {
    crate::util::fuzz::run(|source| {
        let mut now = Instant::now();
        let mut server = if source.one_in(3) {
            ServerSession::websocket(now, Arc::new(CONFIG), WS)
        } else {
            ServerSession::polling(now, Arc::new(CONFIG))
        };
        let (mut closed, mut gone, mut posts) = (0, false, Vec::new());
        let mut open = vec![WS];
        for step in 1..200_u64 {
            now += Duration::from_millis(source.below(4_000) as u64);
            let channel = ChannelId(step);
            match source.below(10) {
                0 => {
                    open.push(channel);
                    let queued = source.one_in(2);
                    server.handle(now, ServerInput::Poll { channel, queued });
                }
                1 => {
                    open.push(channel);
                    posts.push(channel);
                    server.handle(now, ServerInput::Post(channel));
                }
                2 => {
                    if let Some(post) = posts.pop() {
                        server.handle(now, ServerInput::Posted(post));
                    }
                }
                3 => {
                    open.push(channel);
                    server.handle(now, ServerInput::WebSocket(channel));
                }
                4 | 5 => {
                    let via = open[source.below(open.len())];
                    let text =
                        source.pick(&["0{}", "1", "2", "2probe", "3", "3probe", "4x", "5", "6"]);
                    let packet = EnginePacket::decode(text).unwrap();
                    let message = server.receive(now, via, packet);
                    assert!(message.is_none() || closed == 0, "a message after the end");
                }
                6 if source.one_in(4) => {
                    let reason = Reason::TransportClose;
                    let channel = open[source.below(open.len())];
                    server.handle(now, ServerInput::Lost { channel, reason });
                }
                7 if source.one_in(8) => {
                    let channel = open[source.below(open.len())];
                    server.handle(now, ServerInput::Invalid(channel));
                }
                8 => server.handle(now, ServerInput::Queued),
                9 if source.one_in(10) => {
                    server.handle(now, ServerInput::Close(Reason::ServerDisconnect));
                }
                _ => {
                    if server.next_timeout().is_some_and(|at| at <= now) {
                        server.handle(now, ServerInput::Timeout);
                    }
                }
            }
            while let Some(output) = server.poll() {
                assert!(!gone, "{output:?} after all is over");
                match output {
                    ServerOutput::Closed(_) => closed += 1,
                    ServerOutput::Done => gone = true,
                    _ => {}
                }
            }
            assert!(closed <= 1);
            if gone {
                break;
            }
        }
        for post in posts {
            server.handle(now, ServerInput::Posted(post));
        }
        // A silent client is not waited for without end.
        for _ in 0..100 {
            while let Some(output) = server.poll() {
                match output {
                    ServerOutput::Closed(_) => closed += 1,
                    ServerOutput::Done => gone = true,
                    _ => {}
                }
            }
            if let Some(at) = server.next_timeout() {
                now = now.max(at);
                server.handle(now, ServerInput::Timeout);
            }
        }
        assert_eq!((closed, gone), (1, true));
    });
}

/// A server that does as it likes: the client's session ends once, and hands over nothing
/// afterwards.
#[test]
fn arbitrary_servers_end_a_session_once() {
    const PACKETS: &[&str] = &[
        "0{\"sid\":\"x\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":100}",
        "0{}",
        "1",
        "2",
        "3",
        "3probe",
        "4x",
        "5",
        "6",
    ];
    crate::util::fuzz::run(|source| {
        let mut now = Instant::now();
        let polling = source.one_in(2);
        let config = ClientConfig {
            polling,
            upgrade: source.one_in(2),
            timeout: Duration::from_secs(10),
            revision: Revision::V4,
        };
        let mut client = ClientSession::new(now, config);
        let (mut polls, mut posts, mut connects, mut pings) = (polling, false, !polling, false);
        let mut closed = 0;
        for step in 0..300 {
            while let Some(output) = client.poll() {
                match output {
                    ClientOutput::Poll => polls = true,
                    ClientOutput::Post => posts = true,
                    ClientOutput::Connect => connects = true,
                    ClientOutput::Ping => pings = true,
                    ClientOutput::Closed(_) => closed += 1,
                    _ => {}
                }
            }
            assert!(closed <= 1);
            now += Duration::from_millis(source.below(3_000) as u64);
            let silent = step > 200;
            match source.below(9) {
                _ if silent => {}
                0..4 => {
                    let via = source.pick(&[&TransportKind::Polling, &TransportKind::WebSocket]);
                    let text = if source.one_in(3) {
                        PACKETS[0]
                    } else {
                        source.pick(PACKETS)
                    };
                    let message = client.receive(now, *via, EnginePacket::decode(text).unwrap());
                    assert!(message.is_none() || closed == 0, "a message after the end");
                }
                4 if std::mem::take(&mut polls) => client.handle(now, ClientInput::Polled),
                5 if std::mem::take(&mut posts) => client.handle(now, ClientInput::Posted),
                6 if std::mem::take(&mut connects) => client.handle(now, ClientInput::Connected),
                7 if std::mem::take(&mut pings) => client.handle(now, ClientInput::Ponged),
                8 if source.one_in(20) => client.handle(now, ClientInput::Close),
                8 if source.one_in(20) => {
                    let via = source.pick(&[&TransportKind::Polling, &TransportKind::WebSocket]);
                    client.handle(now, ClientInput::Lost(*via, Reason::TransportError));
                }
                _ => client.handle(now, ClientInput::Queued),
            }
            if let Some(at) = client.next_timeout()
                && (silent || at <= now)
            {
                now = now.max(at);
                client.handle(now, ClientInput::Timeout);
            }
        }
        assert_eq!(closed, 1, "a silent server is not waited for without end");
    });
}
