//! ZeroMQ: what is pushed to a forwarder, it publishes to everybody.

use super::backend::{
    Backend, BackendError, POLL_INTERVAL, PublishError, Publisher, Subscriber, no_answer,
    progress_timeout,
};
use super::listening::MessageSink;
use super::message::MAX_MESSAGE_BYTES;
use super::pubsub::PubSubManager;
use super::worker::new_host;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::{Duration, Instant};
use zmq::{Context, Socket, SocketEvent, SocketType};

/// Time that sending may take, and what was sent may linger at the end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that may wait in a socket to be received, before the forwarder's publisher drops.
const HIGH_WATER_MESSAGES: i32 = 100_000;
/// Time from one sign of life that a listener asks for to the next.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// The same, while it waits for the first one.
const FIRST_PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// A manager over ZeroMQ, with which python-socketio's `ZmqManager` shares a cluster.
///
/// ```no_run
/// use socketio::Server;
/// use socketio::manager::ZmqManager;
///
/// let io = Server::builder().manager(ZmqManager::new("zmq+tcp://localhost:5555+5556")?).build();
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// The URL is `zmq+tcp://host:push+sub`: the two ports of a forwarder, which takes what is pushed
/// to the first and publishes it on the second; the example `zmq_broker` is one. Nothing is
/// encrypted.
///
/// A forwarder confirms nothing: a message counts as published, and [`flush`](PubSubManager::flush)
/// returns, once ZeroMQ has it in hand. Whether the forwarder passes on what it is given, a server
/// knows from messages to itself.
///
/// ZeroMQ drops what a receiver is too slow for once more waits than its high-water mark, 100,000
/// messages here; the forwarder has marks of its own, 1,000 if nobody raises them.
#[derive(Debug)]
pub struct ZmqManager;

impl ZmqManager {
    /// Creates a manager for a URL. Connects once its server is built.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not as above.
    #[allow(
        clippy::new_ret_no_self,
        reason = "what a broker has of its own is how it is connected to"
    )]
    pub fn new(url: &str) -> Result<PubSubManager, Error> {
        Ok(PubSubManager::new(Zmq::new(url)?))
    }
}

/// Address of the forwarder.
struct Zmq {
    context: Context,
    push: String,
    sub: String,
}

impl Zmq {
    fn new(url: &str) -> Result<Zmq, Error> {
        let ports = |url: &str| {
            let (host, ports) = url.strip_prefix("zmq+tcp://")?.rsplit_once(':')?;
            let (push, sub) = ports.split_once('+')?;
            let (push, sub): (u16, u16) = (push.parse().ok()?, sub.parse().ok()?);
            (!host.is_empty()).then(|| {
                (
                    format!("tcp://{host}:{push}"),
                    format!("tcp://{host}:{sub}"),
                )
            })
        };
        let (push, sub) = ports(url).ok_or_else(|| {
            Error::InvalidArgument(
                "a URL of ZeroMQ is zmq+tcp://host:push+sub, with two ports".into(),
            )
        })?;
        Ok(Zmq {
            context: Context::new(),
            push,
            sub,
        })
    }

    fn pusher(&self) -> Result<Socket, BackendError> {
        let socket = self.context.socket(SocketType::PUSH)?;
        socket.set_sndtimeo(milliseconds(ANSWER_TIMEOUT))?;
        socket.set_linger(milliseconds(ANSWER_TIMEOUT))?;
        // Messages wait for the forwarder where they are counted: as few as can be in this socket.
        socket.set_immediate(true)?;
        socket.set_sndhwm(1)?;
        socket.connect(&self.push)?;
        Ok(socket)
    }

    /// Returns a listener that is not known to hear anything yet.
    fn listening(&self, channel: &str) -> Result<ZmqSubscriber, BackendError> {
        let socket = self.context.socket(SocketType::SUB)?;
        socket.set_rcvhwm(HIGH_WATER_MESSAGES)?;
        socket.set_linger(0)?;
        socket.set_maxmsgsize(i64::try_from(MAX_MESSAGE_BYTES)?)?;
        socket.set_subscribe(b"")?;
        // A connection that has come back by itself has missed something.
        let events = format!("inproc://{}", new_host());
        socket.monitor(&events, i32::from(SocketEvent::DISCONNECTED.to_raw()))?;
        let lost = self.context.socket(SocketType::PAIR)?;
        lost.set_linger(0)?;
        lost.connect(&events)?;
        socket.connect(&self.sub)?;
        let probes = self.pusher()?;
        probes.set_linger(0)?;
        Ok(ZmqSubscriber {
            socket,
            lost,
            probes,
            channel: channel.to_owned(),
            name: new_host(),
            heard: None,
            asked: Instant::now(),
        })
    }
}

impl std::fmt::Debug for Zmq {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ZeroMQ")
    }
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// A frame as python-socketio writes it. It ignores other types than `message`.
#[derive(Serialize, Deserialize)]
struct ZmqFrame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The type of what a listener sends to itself, to know that it would hear others.
const PROBE_KIND: &str = "probe";

impl Backend for Zmq {
    fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, BackendError> {
        let socket = self.pusher()?;
        // Nothing can be sent before somebody is there to take it.
        if socket.poll(zmq::POLLOUT, i64::from(milliseconds(ANSWER_TIMEOUT)))? == 0 {
            return Err(no_answer(ANSWER_TIMEOUT));
        }
        Ok(Box::new(ZmqPublisher {
            socket,
            channel: channel.to_owned(),
            before: 0,
        }))
    }

    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, BackendError> {
        let mut listening = self.listening(channel)?;
        let by = Instant::now() + ANSWER_TIMEOUT;
        while listening.heard.is_none() {
            if Instant::now() >= by {
                return Err(no_answer(ANSWER_TIMEOUT));
            }
            listening.probe();
            if let Some(bytes) = listening.receive(FIRST_PROBE_INTERVAL)? {
                // What others publish before this one hears itself is for those that were there.
                listening.read(&bytes);
            }
        }
        Ok(Box::new(listening))
    }
}

struct ZmqPublisher {
    socket: Socket,
    channel: String,
    /// Bytes of the message before, which may have to leave first.
    before: usize,
}

impl Publisher for ZmqPublisher {
    fn publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
        let data: &RawValue = serde_json::from_slice(message)?;
        let frame = ZmqFrame {
            kind: "message".into(),
            channel: self.channel.as_str().into(),
            data,
        };
        let frame = serde_json::to_vec(&frame)?;
        let progress_timeout = progress_timeout(ANSWER_TIMEOUT, self.before);
        self.socket.set_sndtimeo(milliseconds(progress_timeout))?;
        self.before = frame.len();
        match self.socket.send(frame, 0) {
            Err(zmq::Error::EAGAIN) => Err(PublishError::Lost(no_answer(progress_timeout))),
            sent => Ok(sent?),
        }
    }
}

struct ZmqSubscriber {
    socket: Socket,
    /// Place where ZeroMQ says that the connection was lost.
    lost: Socket,
    probes: Socket,
    channel: String,
    /// Content of its own probes.
    name: String,
    /// Moment when the last probe was heard.
    heard: Option<Instant>,
    /// Moment when the last one was sent.
    asked: Instant,
}

impl ZmqSubscriber {
    fn probe(&mut self) {
        self.asked = Instant::now();
        let name = serde_json::value::to_raw_value(&self.name);
        let frame = name.as_ref().map(|data| {
            let (kind, channel) = (PROBE_KIND.into(), self.channel.as_str().into());
            serde_json::to_vec(&ZmqFrame {
                kind,
                channel,
                data,
            })
        });
        // Without a forwarder there is nothing to hear either.
        if let Ok(Ok(frame)) = frame {
            let _ = self.probes.send(frame, zmq::DONTWAIT);
        }
    }

    /// Waits for at most so long for what comes.
    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, BackendError> {
        let timeout = i64::from(milliseconds(timeout));
        if self.socket.poll(zmq::POLLIN, timeout)? == 0 {
            return Ok(None);
        }
        Ok(Some(self.socket.recv_bytes(zmq::DONTWAIT)?))
    }

    /// Returns the message in what has come, if it is one.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let Ok(frame) = serde_json::from_slice::<ZmqFrame<'_>>(bytes) else {
            // Nor is it a message: whoever reads it counts it.
            return Some(bytes);
        };
        // Others may share the forwarder.
        if frame.channel != self.channel {
            return None;
        }
        if frame.kind == PROBE_KIND && is_text(frame.data, &self.name) {
            self.heard = Some(Instant::now());
        }
        (frame.kind == "message").then(|| frame.data.get().as_bytes())
    }
}

fn is_text(json: &RawValue, text: &str) -> bool {
    serde_json::from_str::<String>(json.get()).is_ok_and(|it| it == text)
}

impl Subscriber for ZmqSubscriber {
    fn listen(&mut self, sink: &mut MessageSink<'_>) -> Result<(), BackendError> {
        loop {
            if self.asked.elapsed() >= PROBE_INTERVAL {
                self.probe();
            }
            let received = self.receive(POLL_INTERVAL)?;
            if received.is_none() && self.lost.poll(zmq::POLLIN, 0)? > 0 {
                return Err("the connection to the forwarder was lost".into());
            }
            let message = received.as_ref().and_then(|it| self.read(it));
            let goes_on = match message {
                Some(message) => sink.message(message),
                None => sink.nothing(),
            };
            if !goes_on {
                return Ok(());
            }
            let silent = self.heard.map(|heard| heard.elapsed());
            if received.is_none()
                && silent.is_none_or(|silent| silent >= PROBE_INTERVAL + ANSWER_TIMEOUT)
            {
                return Err(no_answer(ANSWER_TIMEOUT));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_two_ports() {
        let zmq = Zmq::new("zmq+tcp://localhost:5555+5556").unwrap();
        assert_eq!(zmq.push, "tcp://localhost:5555");
        assert_eq!(zmq.sub, "tcp://localhost:5556");
        for url in [
            "",
            "zmq://localhost:5555+5556",
            "zmq+tcp://localhost:5555",
            "zmq+tcp://:5555+5556",
            "zmq+tcp://localhost:5555+five",
        ] {
            assert!(
                matches!(Zmq::new(url), Err(Error::InvalidArgument(_))),
                "{url}"
            );
        }
    }
}
