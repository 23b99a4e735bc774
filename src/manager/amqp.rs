//! RabbitMQ, by a fanout exchange and a queue for each listener.
//!
//! The client, lapin, is asynchronous: what it does runs on threads of its own, and each of our two
//! threads waits for it with `block_on`.

use super::backend::{
    Backend, BackendError, POLL_INTERVAL, PublishError, Publisher, Subscriber, no_answer,
};
use super::listening::MessageSink;
use super::options::BrokerOptions;
use super::publishing::Outgoing;
use super::pubsub::PubSubManager;
use crate::error::Error;
use crate::util::sync::Mutex;
use async_io::{Async, Timer, block_on};
use bytes::Bytes;
use futures_lite::future::poll_once;
use futures_lite::stream::Stream;
use futures_lite::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::runtime::default_runtime;
use lapin::tcp::AsyncTcpStream;
use lapin::types::FieldTable;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind,
    Event, ExchangeKind,
};
use std::collections::VecDeque;
use std::fmt;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The seconds of silence after which the broker asks for a sign of life, unless the URL says
/// something else. Without one it is lost after twice that time.
const HEARTBEAT_SECONDS: u16 = 5;
/// Bytes of a message, unless the options say something else: RabbitMQ's own limit since its
/// version 4. It cannot be asked for.
const DEFAULT_MESSAGE_BYTES: usize = 16 << 20;
/// Time that is waited for a confirmation before it is looked whether more can be published
/// meanwhile.
const CONFIRM_TURN: Duration = Duration::from_millis(5);
/// Bytes that AMQP has for a name.
const MAX_NAME_BYTES: usize = 255;
/// Parameters of a URL.
const PARAMETERS: [&str; 5] = [
    "heartbeat",
    "frame_max",
    "channel_max",
    "connection_timeout",
    "auth_mechanism",
];
/// Messages that the broker sends ahead.
const PREFETCH_MESSAGES: u16 = 256;
/// Messages that are acknowledged together, while one comes after the other.
const MESSAGES_PER_ACK: u16 = PREFETCH_MESSAGES / 4;

/// A manager over RabbitMQ, with which python-socketio's `KombuManager` and `AsyncAioPikaManager`
/// share a cluster.
///
/// ```no_run
/// use socketio::Server;
/// use socketio::manager::AmqpManager;
///
/// let manager = AmqpManager::new("amqp://guest:guest@localhost:5672//")?;
/// let io = Server::builder().manager(manager).build();
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// The URL is `amqp://[user:password@]host[:port][/vhost]`, or `amqps://` for TLS, with the feature
/// `tls`. The virtual host is `/` if none is named. `?heartbeat=` is a number of seconds, 5 if none
/// is given: after half of them in silence a sign of life is asked for, and after twice as many the
/// broker is lost.
///
/// The channel is a fanout exchange, which is not durable; each server has an exclusive queue of
/// its own, which the broker removes with its connection. The crate behind it, lapin, is
/// asynchronous: with the first connection a few threads of it begin to run, as long as the
/// process.
///
/// A message has 16 MiB at most, or [`BrokerOptions::max_message_size`]. The broker may take less:
/// what it refuses is given up, with an ERROR in the log. While it has an alarm, for memory or
/// disk, the state is [`ManagerState::Blocked`](super::ManagerState::Blocked).
#[derive(Debug)]
pub struct AmqpManager;

impl AmqpManager {
    /// Creates a manager for a URL. Connects once its server is built.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not as above.
    #[allow(
        clippy::new_ret_no_self,
        reason = "what a broker has of its own is how it is connected to"
    )]
    pub fn new(url: &str) -> Result<PubSubManager, Error> {
        AmqpManager::with_options(url, BrokerOptions::new())
    }

    /// Creates the same, with what the URL does not say.
    ///
    /// # Errors
    /// Those of [`new`](AmqpManager::new), and [`Error::InvalidArgument`] if the options ask for a
    /// broker's certificate not to be checked.
    pub fn with_options(url: &str, options: BrokerOptions) -> Result<PubSubManager, Error> {
        Ok(PubSubManager::new(Amqp::new(url, options)?))
    }
}

/// Address of the broker.
struct Amqp {
    uri: AMQPUri,
    options: BrokerOptions,
}

impl Amqp {
    fn new(url: &str, options: BrokerOptions) -> Result<Amqp, Error> {
        // A URL may hold a password: what its parser says of it may repeat it.
        let wrong = |why: &str| Error::InvalidArgument(format!("no URL of an AMQP server: {why}"));
        let is_known = url.starts_with("amqp://") || url.starts_with("amqps://");
        if !is_known {
            return Err(wrong("it begins with neither amqp:// nor amqps://"));
        }
        let mut uri = AMQPUri::from_str(url).map_err(|_| wrong("it cannot be read"))?;
        if uri.scheme == AMQPScheme::AMQPS && !cfg!(feature = "tls") {
            return Err(wrong("TLS needs the feature `tls`"));
        }
        // An address in brackets is no name to this parser, which then takes the local host.
        let authority = url.split("://").nth(1).unwrap_or_default();
        if authority
            .split('/')
            .next()
            .unwrap_or_default()
            .contains('[')
        {
            return Err(wrong("an IPv6 address needs a name"));
        }
        let query = url.split_once('?').map_or("", |(_, query)| query);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or_default();
            if !PARAMETERS.contains(&name) {
                return Err(wrong(&format!("the parameter {name:?} is not known")));
            }
        }
        if uri.vhost.is_empty() {
            uri.vhost = "/".into();
        }
        if *uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS) == 0 {
            return Err(wrong(
                "without heartbeats a dead connection would never end",
            ));
        }
        Ok(Amqp {
            uri,
            options: options.check()?,
        })
    }

    async fn connect(&self, channel: &str) -> Result<AmqpConnection, BackendError> {
        let mut properties = ConnectionProperties::default();
        if let Some(name) = &self.options.name {
            properties = properties.with_connection_name(name.as_str().into());
        }
        let guard = ShutdownGuard::default();
        let (slot, timeout) = (Arc::clone(&guard.0), self.options.timeout);
        #[cfg(feature = "tls")]
        let tls = Arc::new(self.options.tls.for_broker()?);
        let connect = async move |uri: AMQPUri, _| {
            let stream = SocketSlot::open(&slot, &uri, timeout)?;
            let stream = AsyncTcpStream::Plain(Async::new(stream)?);
            #[cfg(feature = "tls")]
            if uri.scheme == AMQPScheme::AMQPS {
                let connector = lapin::tcp::RustlsConnector::from(Arc::clone(&tls));
                return Ok(stream.into_rustls(&connector, &uri.authority.host).await?);
            }
            Ok(stream)
        };
        let connection =
            Connection::connector(self.uri.clone(), default_runtime()?, connect, properties)
                .await?;
        let channel_of_it = connection.create_channel().await?;
        // As python-socketio declares it: with anything else the broker refuses one of the two.
        channel_of_it
            .exchange_declare(
                channel.into(),
                ExchangeKind::Fanout,
                ExchangeDeclareOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(AmqpConnection {
            inner: connection,
            channel: channel_of_it,
            timeout,
            is_lost: false,
            _guard: guard,
        })
    }

    async fn listen(&self, channel: &str) -> Result<AmqpSubscriber, BackendError> {
        let connection = self.connect(channel).await?;
        let opened = &connection.channel;
        let name = format!("socketio.{}", super::worker::new_host());
        opened
            .queue_declare(
                name.as_str().into(),
                QueueDeclareOptions {
                    exclusive: true,
                    ..QueueDeclareOptions::default()
                },
                FieldTable::default(),
            )
            .await?;
        opened
            .queue_bind(
                name.as_str().into(),
                channel.into(),
                "".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        opened
            .basic_qos(PREFETCH_MESSAGES, BasicQosOptions::default())
            .await?;
        let consumer = opened
            .basic_consume(
                name.as_str().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(AmqpSubscriber {
            connection,
            queue: name,
            consumer,
            unacknowledged: (None, 0),
        })
    }

    async fn prepare(&self, channel: &str) -> Result<AmqpPublisher, BackendError> {
        let connection = self.connect(channel).await?;
        connection
            .channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let events = Box::pin(connection.inner.events_listener());
        Ok(AmqpPublisher {
            connection,
            exchange: channel.to_owned(),
            confirms: VecDeque::new(),
            events,
            is_blocked: false,
        })
    }
}

/// Waits for something that the broker has to answer.
fn wait<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    block_on(answer.or(async {
        Timer::after(timeout).await;
        Err(no_answer(timeout))
    }))
}

impl fmt::Debug for Amqp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else there is may be a secret.
        formatter.write_str("AMQP")
    }
}

impl Backend for Amqp {
    fn max_message_size(&self) -> usize {
        self.options.message_bytes(DEFAULT_MESSAGE_BYTES)
    }

    fn timeout(&self) -> Duration {
        self.options.timeout
    }

    fn check_channel(&self, channel: &str) -> Result<(), BackendError> {
        if channel.is_empty() || channel.len() > MAX_NAME_BYTES {
            return Err(format!("an exchange's name has 1 to {MAX_NAME_BYTES} bytes").into());
        }
        Ok(())
    }

    fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, BackendError> {
        let made = wait(self.options.timeout, self.prepare(channel))?;
        Ok(Box::new(made))
    }

    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, BackendError> {
        let made = wait(self.options.timeout, self.listen(channel))?;
        Ok(Box::new(made))
    }
}

/// A connection with its one channel.
struct AmqpConnection {
    inner: Connection,
    channel: Channel,
    timeout: Duration,
    /// Something has failed: there is nobody to say goodbye to.
    is_lost: bool,
    /// Goes last: lapin's thread ends with it.
    _guard: ShutdownGuard,
}

impl AmqpConnection {
    /// Closes the connection in order, if the broker still answers.
    fn close(&self, before: impl Future<Output = Result<(), BackendError>>) {
        if self.is_lost || !self.inner.status().connected() {
            return;
        }
        let closed = wait(self.timeout.min(Duration::from_secs(1)), async {
            before.await?;
            self.inner.close(200, "".into()).await?;
            Ok(())
        });
        if let Err(error) = closed {
            log::debug!(target: "socketio", "a connection to the broker is left to itself: {error}");
        }
    }
}

/// The socket below a connection, which is shut down with this. Lapin waits without end for a
/// broker that does not answer, also when its connection is dropped: that ends its thread.
#[derive(Default)]
struct ShutdownGuard(Arc<Mutex<SocketSlot>>);

#[derive(Default)]
enum SocketSlot {
    #[default]
    Nothing,
    Socket(TcpStream),
    Over,
}

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        if let SocketSlot::Socket(socket) = std::mem::replace(&mut *self.0.lock(), SocketSlot::Over)
        {
            // The other end may have been quicker.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl SocketSlot {
    /// Connects. Blocks, for at most so long for each address.
    fn open(
        slot: &Mutex<SocketSlot>,
        uri: &AMQPUri,
        timeout: Duration,
    ) -> std::io::Result<TcpStream> {
        let addresses = (uri.authority.host.as_str(), uri.authority.port).to_socket_addrs()?;
        let mut connected = Err(std::io::ErrorKind::AddrNotAvailable.into());
        for address in addresses {
            connected = TcpStream::connect_timeout(&address, timeout);
            if connected.is_ok() {
                break;
            }
        }
        let stream = connected?;
        stream.set_nodelay(true)?;
        let mut slot = slot.lock();
        if let SocketSlot::Over = *slot {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        *slot = SocketSlot::Socket(stream.try_clone()?);
        Ok(stream)
    }
}

/// A message on its way, until the broker has confirmed it.
type Confirm = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

struct AmqpPublisher {
    connection: AmqpConnection,
    exchange: String,
    /// Confirmations that are awaited, in order.
    confirms: VecDeque<Confirm>,
    /// Events of the connection.
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    is_blocked: bool,
}

impl Publisher for AmqpPublisher {
    fn publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
        self.send(Bytes::copy_from_slice(message));
        match self.confirm_next(self.connection.timeout)? {
            true => Ok(()),
            false => Err(PublishError::Lost(no_answer(self.connection.timeout))),
        }
    }

    fn publish_all(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), PublishError> {
        self.report_alarms(outgoing);
        if !self.is_blocked {
            while let Some(message) = outgoing.take() {
                self.send(message);
            }
        }
        if self.confirms.is_empty() {
            // Nothing is taken during an alarm.
            block_on(Timer::after(CONFIRM_TURN));
        }
        // Waits for one, and takes what has come with it.
        let mut turn = CONFIRM_TURN;
        while self.confirm_next(turn)? {
            outgoing.confirm(1);
            turn = Duration::ZERO;
        }
        Ok(())
    }
}

impl AmqpPublisher {
    /// Hands a message to lapin, which writes it as the broker reads. An error stands in the row of
    /// confirmations: those before it may have come.
    fn send(&mut self, message: Bytes) {
        let properties = BasicProperties::default()
            .with_content_type("text/plain".into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(2);
        let (channel, exchange) = (self.connection.channel.clone(), self.exchange.clone());
        let mut confirm: Confirm = Box::pin(async move {
            let options = BasicPublishOptions::default();
            let (exchange, key) = (exchange.as_str().into(), "".into());
            let sent = channel.basic_publish(exchange, key, options, &message, properties);
            sent.await?.await
        });
        // The frames are queued with the first look, in order; confirmed it is later.
        self.confirms
            .push_back(match block_on(poll_once(&mut confirm)) {
                None => confirm,
                Some(Ok(confirmed)) => Box::pin(std::future::ready(Ok(confirmed))),
                Some(Err(error)) => {
                    self.connection.is_lost = true;
                    Box::pin(std::future::ready(Err(error)))
                }
            });
    }

    /// Waits for the next confirmation; returns whether it has come.
    fn confirm_next(&mut self, timeout: Duration) -> Result<bool, PublishError> {
        let Some(next) = self.confirms.front_mut() else {
            return Ok(false);
        };
        let confirmed = if timeout.is_zero() {
            block_on(poll_once(next))
        } else {
            block_on(async { Some(next.await) }.or(async {
                Timer::after(timeout).await;
                None
            }))
        };
        let Some(confirmed) = confirmed else {
            return Ok(false);
        };
        self.confirms.pop_front();
        match confirmed {
            Ok(Confirmation::Nack(_)) => {
                let why = "nack: a queue has rejected it, or could not keep it";
                Err(PublishError::Refused(why.into()))
            }
            Ok(_) => Ok(true),
            Err(error) => {
                self.connection.is_lost = true;
                Err(publish_error(error))
            }
        }
    }

    /// Passes on that the broker has an alarm, or none any more.
    fn report_alarms(&mut self, outgoing: &mut Outgoing<'_>) {
        while let Some(Some(event)) = block_on(poll_once(self.events.next())) {
            match event {
                Event::ConnectionBlocked(why) => {
                    self.is_blocked = true;
                    outgoing.block(Some(&format!("alarm, {why}")));
                }
                Event::ConnectionUnblocked => {
                    self.is_blocked = false;
                    outgoing.block(None);
                }
                _ => {}
            }
        }
        // What was said before this one listened.
        if self.connection.inner.status().blocked() && !self.is_blocked {
            self.is_blocked = true;
            outgoing.block(Some("alarm"));
        }
        if self.is_blocked {
            outgoing.note_alive();
        }
    }
}

/// Returns what an error means for the messages in flight: a channel is closed because of one of
/// them.
fn publish_error(error: lapin::Error) -> PublishError {
    let is_about_a_message = match error.kind() {
        ErrorKind::ProtocolError(error) => MESSAGE_ERRORS.contains(&error.get_id()),
        _ => false,
    };
    if is_about_a_message {
        return PublishError::Unclear(error.into());
    }
    PublishError::Lost(error.into())
}

/// The reply codes for a message that is too large, or that violates a precondition (AMQP 0-9-1,
/// "Reply codes").
const MESSAGE_ERRORS: [u16; 2] = [311, 406];

impl Drop for AmqpPublisher {
    fn drop(&mut self) {
        self.connection.close(async { Ok(()) });
    }
}

struct AmqpSubscriber {
    connection: AmqpConnection,
    queue: String,
    consumer: Consumer,
    /// The last message that was heard and not acknowledged, if any, and their number.
    unacknowledged: (Option<Delivery>, u16),
}

impl Subscriber for AmqpSubscriber {
    fn listen(&mut self, sink: &mut MessageSink<'_>) -> Result<(), BackendError> {
        loop {
            let next = self.next();
            self.connection.is_lost = next.is_err();
            let goes_on = match next? {
                Some(message) => sink.message(&message),
                None if sink.is_check_due() => {
                    let checked = self.check(sink);
                    self.connection.is_lost = checked.is_err();
                    checked?;
                    sink.note_checked();
                    sink.goes_on()
                }
                None => sink.nothing(),
            };
            if !goes_on {
                return Ok(());
            }
        }
    }
}

impl AmqpSubscriber {
    /// Waits a while for a message.
    fn next(&mut self) -> Result<Option<Vec<u8>>, BackendError> {
        let ready = block_on(poll_once(self.consumer.next()));
        let next = match ready {
            Some(next) => Some(next),
            None => {
                self.acknowledge()?;
                let next = async { Some(self.consumer.next().await) };
                block_on(next.or(async {
                    Timer::after(POLL_INTERVAL).await;
                    None
                }))
            }
        };
        match next {
            Some(Some(delivery)) => {
                let mut delivery = delivery?;
                let data = std::mem::take(&mut delivery.data);
                self.unacknowledged.0 = Some(delivery);
                self.unacknowledged.1 += 1;
                if self.unacknowledged.1 >= MESSAGES_PER_ACK {
                    self.acknowledge()?;
                }
                Ok(Some(data))
            }
            Some(None) => Err("the broker has ended the subscription".into()),
            None => Ok(None),
        }
    }

    /// Asks for the queue on the channel over which its messages come. The answer comes behind what
    /// is on its way, however large; a connection that is dead ends by its heartbeats.
    fn check(&self, sink: &MessageSink<'_>) -> Result<(), BackendError> {
        let options = QueueDeclareOptions {
            passive: true,
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let (channel, queue) = (&self.connection.channel, self.queue.as_str().into());
        let mut answer = Box::pin(channel.queue_declare(queue, options, FieldTable::default()));
        while sink.goes_on() {
            let turn = async {
                Timer::after(POLL_INTERVAL).await;
                None
            };
            if let Some(answer) = block_on(async { Some(answer.as_mut().await) }.or(turn)) {
                answer?;
                break;
            }
        }
        Ok(())
    }

    /// Acknowledges what was heard: the broker sends only so much ahead.
    fn acknowledge(&mut self) -> Result<(), BackendError> {
        if let (Some(last), _) = std::mem::take(&mut self.unacknowledged) {
            let all = BasicAckOptions { multiple: true };
            wait(self.connection.timeout, async {
                last.ack(all).await?;
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl Drop for AmqpSubscriber {
    fn drop(&mut self) {
        // Otherwise the queue would gather messages until it expires.
        self.connection.close(async {
            let (queue, options) = (self.queue.as_str().into(), QueueDeleteOptions::default());
            self.connection.channel.queue_delete(queue, options).await?;
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood_as_kombu_does() {
        for (url, vhost) in [
            ("amqp://guest:guest@localhost:5672//", "/"),
            ("amqp://localhost", "/"),
            ("amqp://localhost/", "/"),
            ("amqp://localhost/%2f", "/"),
            ("amqp://user:pass@host:10000/vhost?heartbeat=30", "vhost"),
        ] {
            let amqp = Amqp::new(url, BrokerOptions::new()).unwrap();
            assert_eq!(amqp.uri.vhost, vhost, "{url}");
        }
        for url in [
            "",
            "amqp",
            "redis://localhost",
            "amqp://host:port",
            "amqp://host?heartbeet=5",
        ] {
            let wrong = Amqp::new(url, BrokerOptions::new());
            assert!(matches!(wrong, Err(Error::InvalidArgument(_))), "{url}");
        }
        let secret = Amqp::new(
            "amqp://me:p%40%3A%2F%3F%23%20%25w@host",
            BrokerOptions::new(),
        );
        assert_eq!(secret.unwrap().uri.authority.userinfo.password, "p@:/?# %w");
        assert_eq!(
            Amqp::new("amqps://localhost", BrokerOptions::new()).is_ok(),
            cfg!(feature = "tls")
        );
    }
}
