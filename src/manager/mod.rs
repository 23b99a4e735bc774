//! Managers, which join servers: events for rooms, here and on other servers.
//!
//! A server sends through its manager, and the manager reaches the clients that are here through
//! [`LocalNode`]. [`MemoryManager`], the default, knows no others. One that speaks to a broker
//! passes on what concerns the clients of other servers, and calls `LocalNode` for what comes from
//! them.

#[cfg(feature = "amqp")]
mod amqp;
mod backend;
mod dedup;
#[cfg(feature = "kafka")]
mod kafka;
mod link;
mod listening;
mod memory;
mod message;
#[cfg(any(feature = "redis", feature = "amqp"))]
mod options;
mod outgoing;
mod publishing;
mod pubsub;
#[cfg(feature = "redis")]
mod redis;
mod remote_acks;
mod sid;
mod worker;
#[cfg(feature = "zmq")]
mod zmq;

#[cfg(feature = "amqp")]
pub use amqp::AmqpManager;
pub use backend::{Backend, BackendError, PublishError, Publisher, Subscriber};
#[cfg(feature = "kafka")]
pub use kafka::KafkaManager;
pub use link::ManagerState;
pub use listening::MessageSink;
pub use memory::MemoryManager;
#[cfg(any(feature = "redis", feature = "amqp"))]
pub use options::BrokerOptions;
pub use publishing::Outgoing;
pub use pubsub::PubSubManager;
#[cfg(feature = "redis")]
pub use redis::RedisManager;
#[cfg(feature = "zmq")]
pub use zmq::ZmqManager;

pub(crate) use sid::{check_room, new_sid};

use crate::data::EncodedArgs;

use crate::error::Error;
use crate::handlers::AckResponse;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Returns the manager for a URL, by its scheme: see `RedisManager`, `AmqpManager`, `KafkaManager`
/// and `ZmqManager` for those that each knows.
///
/// # Errors
/// [`Error::InvalidArgument`] if the scheme is not known, the feature that it needs is off, which
/// the text names, or the URL is wrong.
pub fn from_url(url: &str) -> Result<PubSubManager, Error> {
    let Some((scheme, rest)) = url.split_once("://") else {
        let why = "a manager's URL begins with a scheme, such as redis://";
        return Err(Error::InvalidArgument(why.into()));
    };
    let scheme = &*scheme.to_ascii_lowercase();
    #[allow(unused_variables, reason = "without any feature nobody reads it")]
    let url = &*format!("{scheme}://{rest}");
    match scheme {
        "redis" | "rediss" | "valkey" | "valkeys" | "unix" | "redis+sentinel"
        | "valkey+sentinel" => {
            #[cfg(feature = "redis")]
            return RedisManager::new(url);
            #[cfg(not(feature = "redis"))]
            Err(missing(scheme, "redis"))
        }
        "amqp" | "amqps" => {
            #[cfg(feature = "amqp")]
            return AmqpManager::new(url);
            #[cfg(not(feature = "amqp"))]
            Err(missing(scheme, "amqp"))
        }
        "kafka" => {
            #[cfg(feature = "kafka")]
            return KafkaManager::new(url);
            #[cfg(not(feature = "kafka"))]
            Err(missing(scheme, "kafka"))
        }
        "zmq+tcp" => {
            #[cfg(feature = "zmq")]
            return ZmqManager::new(url);
            #[cfg(not(feature = "zmq"))]
            Err(missing(scheme, "zmq"))
        }
        _ => Err(Error::InvalidArgument(format!(
            "no manager knows the scheme {scheme:?}: there are redis, valkey, amqp, kafka and zmq+tcp"
        ))),
    }
}

#[cfg(not(all(
    feature = "redis",
    feature = "amqp",
    feature = "kafka",
    feature = "zmq"
)))]
fn missing(scheme: &str, feature: &str) -> Error {
    Error::InvalidArgument(format!("{scheme}:// needs the feature `{feature}`"))
}

/// Link of a server to its own clients and to other servers: it passes on what the server does to
/// clients and rooms.
///
/// None of these calls may wait for another server. The trait is sealed: a broker of the program's
/// own is a [`Backend`], and [`PubSubManager`] makes a manager of it.
///
/// ```
/// use socketio::Server;
/// use socketio::manager::Manager;
///
/// fn server(manager: impl Manager) -> Server {
///     Server::builder().manager(manager).build()
/// }
/// # #[cfg(feature = "redis")]
/// let io = server(socketio::manager::RedisManager::new("redis://localhost")?);
/// # Ok::<(), socketio::Error>(())
/// ```
pub trait Manager: sealed::Sealed + Send + Sync + fmt::Debug + 'static {
    /// Connects the manager with its server; called once, when it is built.
    fn start(&self, local: Weak<dyn LocalNode>);

    /// Returns whether it knows no other servers, so that who is not here is nowhere.
    fn is_single_node(&self) -> bool {
        false
    }

    /// Sends an event to all recipients, wherever they are.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] if the broker's queue has no room or the message is too large,
    /// [`Error::InvalidArgument`] if answers are wanted of a manager that only publishes.
    fn emit(&self, broadcast: &Broadcast) -> Result<(), Error>;

    /// Adds a client, wherever it is, to a room.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if the client is known to be nowhere, [`Error::InvalidArgument`] if
    /// the room is another client's own, [`Error::LimitExceeded`] if the broker's queue has no
    /// room.
    fn enter_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error>;

    /// Removes a client, wherever it is, from a room.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the room is the client's own.
    fn leave_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error>;

    /// Removes all clients from a room.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the room is a client's own.
    fn close_room(&self, namespace: &str, room: &str) -> Result<(), Error>;

    /// Disconnects a client, wherever it is.
    fn disconnect(&self, namespace: &str, sid: &str);

    /// Returns what has gone through it.
    fn figures(&self) -> ManagerFigures {
        ManagerFigures::default()
    }
}

/// Counts of what has gone through a manager since it was built.
///
/// ```
/// use socketio::manager::{Manager, MemoryManager};
///
/// // The servers of one process have no broker.
/// let figures = MemoryManager::new().figures();
/// assert_eq!((figures.published, figures.heard), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagerFigures {
    /// Messages that the broker has taken.
    pub published: u64,
    /// Messages of other servers that were heard.
    pub heard: u64,
    /// Messages that were given up: refused by the broker, or not understood.
    pub dropped: u64,
    /// Connections to the broker that were lost.
    pub reconnections: u64,
}

/// Managers are those of this crate.
mod sealed {
    pub trait Sealed {}

    impl Sealed for super::MemoryManager {}
    impl Sealed for super::PubSubManager {}
}

/// The clients of one server, as its manager reaches them.
///
/// ```
/// use socketio::Error;
/// use socketio::manager::LocalNode;
///
/// /// Takes a client into the room of its team, if it is on this server.
/// fn join_team(local: &dyn LocalNode, sid: &str, team: &str) -> Result<bool, Error> {
///     if !local.is_connected("/", sid) {
///         return Ok(false);
///     }
///     local.enter_room("/", sid, team)?;
///     Ok(true)
/// }
/// ```
pub trait LocalNode: Send + Sync {
    /// Sends an event to those recipients that are here; returns their number.
    ///
    /// # Errors
    /// That of an event that is larger than clients of this server take. What fails for one recipient
    /// is told to its callback, or the log.
    fn emit(&self, broadcast: &Broadcast) -> Result<usize, Error>;

    /// Returns whether a client is here.
    fn is_connected(&self, namespace: &str, sid: &str) -> bool;

    /// Adds a client of this server to a room.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if it is not here.
    fn enter_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error>;

    /// Removes a client of this server from a room.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the room is the client's own.
    fn leave_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error>;

    /// Removes all clients of this server from a room.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the room is a client's own.
    fn close_room(&self, namespace: &str, room: &str) -> Result<(), Error>;

    /// Runs a function of the program on a worker.
    fn execute(&self, job: Box<dyn FnOnce() + Send>);

    /// Disconnects a client that is here; returns whether it was.
    fn disconnect(&self, namespace: &str, sid: &str) -> bool;
}

/// An event on its way to any number of clients.
///
/// ```
/// use socketio::Error;
/// use socketio::manager::{Broadcast, LocalNode};
///
/// /// Sends an event to the recipients on this server, and says how many they are.
/// fn pass_on(local: &dyn LocalNode, broadcast: &Broadcast) -> Result<(), Error> {
///     let count = local.emit(broadcast)?;
///     println!("{broadcast:?}: {count} recipients");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Broadcast {
    pub(crate) namespace: Arc<str>,
    pub(crate) event: String,
    pub(crate) data: EncodedArgs,
    pub(crate) recipients: BroadcastTarget,
    pub(crate) volatile: bool,
    pub(crate) ack: Option<AckRequest>,
}

/// Recipients of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BroadcastTarget {
    /// Members of any of these rooms; none for everybody on the namespace.
    pub(crate) rooms: Option<Vec<String>>,
    /// But not these clients.
    pub(crate) skip: Vec<String>,
    /// And not the members of these rooms.
    pub(crate) except: Vec<String>,
}

/// Called with the sid of a recipient, where it is known, and its answer.
pub(crate) type RecipientsFn = Arc<dyn Fn(Option<&str>, Result<AckResponse, Error>) + Send + Sync>;

/// Callback for the answer of each recipient.
#[derive(Clone)]
pub(crate) struct AckRequest {
    pub(crate) callback: RecipientsFn,
    pub(crate) timeout: Duration,
    /// One answer is all that is wanted.
    pub(crate) is_single: bool,
    /// The callback is also called where there is no recipient.
    pub(crate) tells_of_nobody: bool,
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Broadcast")
            .field("namespace", &self.namespace)
            .field("event", &self.event)
            .field("recipients", &self.recipients)
            .finish_non_exhaustive()
    }
}
