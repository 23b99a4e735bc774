//! Kafka: the channel is a topic, of which every server reads every partition.

use super::backend::{
    Backend, BackendError, POLL_INTERVAL, PublishError, Publisher, Subscriber, no_answer,
};
use super::listening::MessageSink;
use super::publishing::Outgoing;
use super::pubsub::PubSubManager;
use super::worker::new_host;
use crate::error::Error;
use crate::util::sync::Mutex;
use crossbeam_channel::Sender;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which librdkafka itself gives a message up. Before that the manager has done so.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(300);
/// Time that is waited for a delivery before it is looked whether more can be published meanwhile.
const DELIVERY_TURN: Duration = Duration::from_millis(1);
/// Characters of a topic's name.
const MAX_TOPIC_LENGTH: usize = 249;
/// Interval at which it is asked for partitions that were added.
const PARTITION_REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// A manager over Kafka, with which python-socketio's `KafkaManager` shares a cluster.
///
/// ```no_run
/// use socketio::Server;
/// use socketio::manager::KafkaManager;
///
/// let io = Server::builder().manager(KafkaManager::new("kafka://localhost:9092")?).build();
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// The URL is `kafka://[host[:port][,host[:port]...]]`, with the host `localhost` and the port 9092
/// if none is named. The channel is the topic, which must be there, or be made by brokers that do
/// so when somebody asks for it. Every server reads all of its partitions, from the end, as a
/// member of no consumer group; what one server publishes goes to one partition, so that it stays
/// in order.
#[derive(Debug)]
pub struct KafkaManager;

impl KafkaManager {
    /// Creates a manager for a URL. Connects once its server is built.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not as above.
    #[allow(
        clippy::new_ret_no_self,
        reason = "what a broker has of its own is how it is connected to"
    )]
    pub fn new(url: &str) -> Result<PubSubManager, Error> {
        KafkaManager::with_properties(url, [])
    }

    /// Creates the same with properties of librdkafka, such as `client.id`, `socket.timeout.ms`, or
    /// those of `security.protocol`: TLS and SASL need features of the crate `rdkafka`, which the
    /// program switches on where it names that crate itself.
    ///
    /// # Errors
    /// Those of [`new`](KafkaManager::new), and [`Error::InvalidArgument`] if librdkafka does not
    /// know a property or its value.
    pub fn with_properties<'a>(
        url: &str,
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<PubSubManager, Error> {
        Ok(PubSubManager::new(Kafka::new(url, properties)?))
    }
}

/// Addresses of the brokers.
struct Kafka {
    config: ClientConfig,
    /// Offset of the next message of each partition: a listener goes on where the one before it
    /// ended.
    positions: Positions,
    /// Key of every message: all of them go to one partition.
    key: String,
}

type Positions = Arc<Mutex<HashMap<i32, i64>>>;

impl Kafka {
    fn new<'a>(
        url: &str,
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Kafka, Error> {
        let wrong = |why: &str| Error::InvalidArgument(format!("no URL of Kafka: {why}"));
        let hosts = url
            .strip_prefix("kafka://")
            .ok_or_else(|| wrong("it does not begin with kafka://"))?;
        let hosts: Vec<_> = hosts.trim_end_matches('/').split(',').collect();
        let hosts = match hosts[..] {
            [""] => vec!["localhost:9092"],
            _ if hosts
                .iter()
                .any(|host| host.is_empty() || host.contains('/')) =>
            {
                return Err(wrong("each broker is a host, with a port or without"));
            }
            _ => hosts,
        };
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", hosts.join(","))
            // Longer than a fetch waits: otherwise it is no sign of anything.
            .set("socket.timeout.ms", "5000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "10000");
        for (name, value) in properties {
            config.set(name, value);
        }
        let kafka = Kafka {
            config,
            positions: Positions::default(),
            key: new_host(),
        };
        // Wrong properties are told of now, not with each attempt to connect.
        let invalid = |error: KafkaError| match error {
            // What librdkafka says of it may repeat a secret.
            KafkaError::ClientConfig(_, _, name, _) => Error::InvalidArgument(format!(
                "Kafka: the property {name} cannot be that, or is not known"
            )),
            _ => Error::InvalidArgument("Kafka: its properties do not go together".into()),
        };
        kafka
            .producer_config()
            .create_native_config()
            .map_err(invalid)?;
        kafka
            .consumer_config()
            .create_native_config()
            .map_err(invalid)?;
        Ok(kafka)
    }

    fn producer_config(&self) -> ClientConfig {
        let mut config = self.config.clone();
        config
            .set("linger.ms", "0")
            // Neither twice nor in another order, whatever is tried again.
            .set("enable.idempotence", "true")
            .set(
                "message.timeout.ms",
                MESSAGE_TIMEOUT.as_millis().to_string(),
            );
        config
    }

    fn consumer_config(&self) -> ClientConfig {
        let mut config = self.config.clone();
        config
            // The name of a group that has no members: librdkafka wants one.
            .set("group.id", format!("socketio-{}", self.key))
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "true")
            .set("fetch.wait.max.ms", "10");
        config
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else there is may be a secret.
        formatter.write_str("Kafka")
    }
}

impl Backend for Kafka {
    /// Returns what librdkafka and the brokers take by default, or the property
    /// `message.max.bytes`, without what is around a message.
    fn max_message_size(&self) -> usize {
        let property = self.config.get("message.max.bytes");
        let bytes = property.and_then(|it| it.parse::<usize>().ok());
        bytes.unwrap_or(1_000_000).saturating_sub(1_000)
    }

    fn timeout(&self) -> Duration {
        ANSWER_TIMEOUT
    }

    fn check_channel(&self, channel: &str) -> Result<(), BackendError> {
        let is_known =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_name = (1..=MAX_TOPIC_LENGTH).contains(&channel.len())
            && channel.bytes().all(is_known)
            && !matches!(channel, "." | "..");
        if !is_name {
            return Err(
                "a topic's name has up to 249 letters, digits, dots, underscores and hyphens"
                    .into(),
            );
        }
        Ok(())
    }

    fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, BackendError> {
        let (sender, delivered) = crossbeam_channel::unbounded();
        let context = Deliveries(sender);
        let producer: BaseProducer<Deliveries> =
            self.producer_config().create_with_context(context)?;
        // Whether anybody is there, and has the topic.
        producer
            .client()
            .fetch_metadata(Some(channel), ANSWER_TIMEOUT)?;
        Ok(Box::new(KafkaPublisher {
            producer,
            delivered,
            confirms: VecDeque::new(),
            first: 0,
            topic: channel.to_owned(),
            key: self.key.clone(),
        }))
    }

    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, BackendError> {
        let consumer = self.consumer_config().create_with_context(SilentContext)?;
        let mut listening = KafkaSubscriber {
            consumer,
            topic: channel.to_owned(),
            assigned: TopicPartitionList::new(),
            positions: Arc::clone(&self.positions),
            refreshed_at: Instant::now(),
        };
        let is_first = self.positions.lock().is_empty();
        listening.refresh_partitions(is_first)?;
        Ok(Box::new(listening))
    }
}

struct KafkaPublisher {
    producer: BaseProducer<Deliveries>,
    delivered: crossbeam_channel::Receiver<(usize, Result<(), KafkaError>)>,
    /// Result of each message in flight, if it is known.
    confirms: VecDeque<Option<Result<(), KafkaError>>>,
    /// The number of the first of them.
    first: usize,
    topic: String,
    key: String,
}

/// Passes on what has become of each message, by its number.
struct Deliveries(Sender<(usize, Result<(), KafkaError>)>);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_of_librdkafka(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::debug!(target: "socketio", "Kafka: {error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody listens once the producer goes.
        let _ = self.0.send((number, result));
    }
}

/// The context of a consumer, whose failures the listener reports itself.
struct SilentContext;

impl ClientContext for SilentContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_of_librdkafka(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::debug!(target: "socketio", "Kafka: {error}: {reason}");
    }
}

impl ConsumerContext for SilentContext {}

/// Logs at the level `debug`: while brokers are away librdkafka says so of every attempt, and the
/// manager once.
fn log_of_librdkafka(level: RDKafkaLogLevel, facility: &str, message: &str) {
    log::debug!(target: "socketio", "librdkafka, {level:?}: {facility}: {message}");
}

impl Publisher for KafkaPublisher {
    fn publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
        self.send(message);
        let by = Instant::now() + ANSWER_TIMEOUT;
        while !self.confirm_next()? {
            if Instant::now() >= by {
                return Err(PublishError::Lost(no_answer(ANSWER_TIMEOUT)));
            }
            self.poll(DELIVERY_TURN);
        }
        Ok(())
    }

    fn publish_all(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), PublishError> {
        while let Some(message) = outgoing.take() {
            self.send(&message);
        }
        self.poll(DELIVERY_TURN);
        while self.confirm_next()? {
            outgoing.confirm(1);
        }
        Ok(())
    }
}

impl KafkaPublisher {
    /// Hands a message to librdkafka, which may refuse it itself.
    fn send(&mut self, message: &[u8]) {
        let number = self.first + self.confirms.len();
        let record = BaseRecord::with_opaque_to(&self.topic, number)
            .key(&self.key)
            .payload(message);
        let sent = self.producer.send(record);
        self.confirms
            .push_back(sent.err().map(|(error, _)| Err(error)));
    }

    /// Waits for so long, whatever comes, and notes what has.
    fn poll(&mut self, turn: Duration) {
        self.producer.poll(turn);
        for (number, result) in self.delivered.try_iter() {
            let index = number.checked_sub(self.first);
            if let Some(confirm) = index.and_then(|it| self.confirms.get_mut(it)) {
                *confirm = Some(result);
            }
        }
    }

    /// Takes what has become of the first message in flight, and returns whether that is known.
    fn confirm_next(&mut self) -> Result<bool, PublishError> {
        let Some(result) = self.confirms.front_mut().and_then(Option::take) else {
            return Ok(false);
        };
        self.confirms.pop_front();
        self.first += 1;
        match result {
            Ok(()) => Ok(true),
            Err(error) if is_of_connection(&error) => Err(PublishError::Lost(error.into())),
            // librdkafka sends many as one, which is too large for the topic as a whole.
            Err(error) if is_too_large(&error) && !self.confirms.is_empty() => {
                Err(PublishError::Unclear(error.into()))
            }
            Err(error) => Err(PublishError::Refused(error.into())),
        }
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Returns whether an error of a message is one of its way, and not of the message: a topic or a
/// partition that is not there may be on its way, and what waits for it is published once it is.
fn is_of_connection(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let Some(code) = error.rdkafka_error_code() else {
        return true;
    };
    matches!(
        code,
        Code::MessageTimedOut
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::RequestTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::QueueFull
            | Code::PurgeQueue
            | Code::PurgeInflight
            | Code::Fatal
            | Code::NetworkException
            | Code::BrokerNotAvailable
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            // Nothing of this one's is taken until its rights are others.
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}

struct KafkaSubscriber {
    consumer: BaseConsumer<SilentContext>,
    topic: String,
    assigned: TopicPartitionList,
    positions: Positions,
    /// Moment when it was last asked for the partitions.
    refreshed_at: Instant,
}

impl KafkaSubscriber {
    /// Takes all partitions: from where the last listener has ended, those that are there at first
    /// from their end, others from their beginning.
    fn refresh_partitions(&mut self, is_first: bool) -> Result<(), BackendError> {
        self.refreshed_at = Instant::now();
        let metadata = self
            .consumer
            .fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT)?;
        let topic = metadata.topics().first().ok_or("there is no such topic")?;
        if let Some(error) = topic.error() {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::from(error)).into());
        }
        // All or none: what fails half-way is asked for again as a whole.
        let mut added = Vec::new();
        for partition in topic.partitions() {
            let id = partition.id();
            if self.assigned.find_partition(&self.topic, id).is_some() {
                continue;
            }
            // Asked for now: what is published from now on is heard.
            let (low, high) = self
                .consumer
                .fetch_watermarks(&self.topic, id, ANSWER_TIMEOUT)?;
            let begin = if is_first { high } else { low };
            let offset = self.positions.lock().get(&id).copied().unwrap_or(begin);
            added.push((id, offset.clamp(low, high)));
        }
        let mut list = TopicPartitionList::new();
        for (id, offset) in &added {
            list.add_partition_offset(&self.topic, *id, Offset::Offset(*offset))?;
        }
        if self.assigned.count() == 0 && added.is_empty() {
            return Err("the topic has no partitions".into());
        }
        if self.assigned.count() == 0 {
            self.consumer.assign(&list)?;
        } else if !added.is_empty() {
            self.consumer.incremental_assign(&list)?;
        }
        for (id, offset) in added {
            self.assigned
                .add_partition_offset(&self.topic, id, Offset::Offset(offset))?;
            self.positions.lock().entry(id).or_insert(offset);
        }
        Ok(())
    }
}

/// Returns whether nothing is heard until something changes.
fn is_lasting(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            code,
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Fatal)
        )
        || code.is_some_and(|code| {
            let code = code as i32;
            // Authorization, topics that are gone: what the brokers themselves refuse.
            code > 0
        })
}

impl Subscriber for KafkaSubscriber {
    fn listen(&mut self, sink: &mut MessageSink<'_>) -> Result<(), BackendError> {
        loop {
            if self.refreshed_at.elapsed() >= PARTITION_REFRESH_INTERVAL
                && let Err(error) = self.refresh_partitions(false)
            {
                log::debug!(target: "socketio", "Kafka does not say which partitions there are: {error}");
            }
            let go_on = match self.consumer.poll(POLL_INTERVAL) {
                Some(Ok(message)) => {
                    let next = message.offset() + 1;
                    self.positions.lock().insert(message.partition(), next);
                    message.payload().is_none_or(|it| sink.message(it))
                }
                Some(Err(error)) if is_lasting(&error) => return Err(error.into()),
                // One broker of several, or for a moment: librdkafka goes on where it was.
                Some(Err(error)) => {
                    log::debug!(target: "socketio", "Kafka: {error}");
                    sink.nothing()
                }
                None => sink.nothing(),
            };
            if !go_on {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_one_broker_or_several_are_understood() {
        for (url, servers) in [
            ("kafka://", "localhost:9092"),
            ("kafka://h1", "h1"),
            ("kafka://h1:9092,h2:9093/", "h1:9092,h2:9093"),
        ] {
            let kafka = Kafka::new(url, []).unwrap();
            assert_eq!(kafka.config.get("bootstrap.servers"), Some(servers));
        }
        for url in [
            "",
            "kafka",
            "redis://localhost",
            "kafka://h1,",
            "kafka://h1/topic",
        ] {
            assert!(
                matches!(Kafka::new(url, []), Err(Error::InvalidArgument(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn properties_that_are_not_known_are_errors() {
        assert!(Kafka::new("kafka://", [("client.id", "chat")]).is_ok());
        for property in [("no.such.thing", "1"), ("socket.timeout.ms", "soon")] {
            assert!(matches!(
                Kafka::new("kafka://", [property]),
                Err(Error::InvalidArgument(_))
            ));
        }
    }
}
