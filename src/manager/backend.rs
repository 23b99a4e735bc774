//! What a manager needs of a broker.

use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// A queue that carries messages from each server to all: what a [`PubSubManager`](super::PubSubManager) needs of a
/// broker.
///
/// ```
/// use socketio::Server;
/// use socketio::manager::{Backend, Heard, PubSubManager, Publisher, QueueError, Subscriber};
/// use std::sync::{Arc, Mutex, mpsc};
/// use std::time::Duration;
///
/// /// Servers of one process.
/// #[derive(Clone, Debug, Default)]
/// struct Hub(Arc<Mutex<Vec<mpsc::Sender<Vec<u8>>>>>);
///
/// impl Backend for Hub {
///     fn publisher(&self, _channel: &str) -> Result<Box<dyn Publisher>, QueueError> {
///         Ok(Box::new(self.clone()))
///     }
///
///     fn subscriber(&self, _channel: &str) -> Result<Box<dyn Subscriber>, QueueError> {
///         let (sender, receiver) = mpsc::channel();
///         self.0.lock().unwrap().push(sender);
///         Ok(Box::new(Ear(receiver)))
///     }
/// }
///
/// impl Publisher for Hub {
///     fn publish(&mut self, message: &[u8]) -> Result<(), QueueError> {
///         self.0.lock().unwrap().retain(|sender| sender.send(message.to_vec()).is_ok());
///         Ok(())
///     }
/// }
///
/// struct Ear(mpsc::Receiver<Vec<u8>>);
///
/// impl Subscriber for Ear {
///     fn listen(&mut self, heard: &mut Heard) -> Result<(), QueueError> {
///         let next = || self.0.recv_timeout(Duration::from_millis(250)).ok();
///         while heard(next().as_deref()) {}
///         Ok(())
///     }
/// }
///
/// let hub = Hub::default();
/// let one = Server::builder().manager(PubSubManager::new(hub.clone())).build();
/// let other = Server::builder().manager(PubSubManager::new(hub)).build();
/// # drop((one, other));
/// ```
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// Connects to publish on a channel. Blocks, on the publisher's thread.
    ///
    /// # Errors
    /// Why that failed: it is tried again, after growing pauses.
    fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, QueueError>;

    /// Bytes of a message that the queue takes; more is an error at the call. 64 MiB, which is also
    /// what a manager takes of a queue.
    fn max_message_size(&self) -> usize {
        MAX_MESSAGE
    }

    /// Connects to listen to a channel: what is published once this has returned is heard. Blocks,
    /// on the listener's thread.
    ///
    /// # Errors
    /// Why that failed: it is tried again, after growing pauses.
    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, QueueError>;
}

/// A connection to publish over, used by one thread.
pub trait Publisher: Send {
    /// Publishes a message to everybody who listens to the channel. May block, for seconds.
    ///
    /// # Errors
    /// Why that failed: another connection is made, and the message published again.
    fn publish(&mut self, message: &[u8]) -> Result<(), QueueError>;

    /// Publishes what waits, in order; at once, if the queue can do better than one by one.
    ///
    /// # Errors
    /// Why that failed: another connection is made, and all of it is published again. Servers of
    /// this crate know what they have heard.
    fn publish_all(&mut self, messages: &[Bytes]) -> Result<(), QueueError> {
        messages
            .iter()
            .try_for_each(|message| self.publish(message))
    }
}

/// A connection to listen over, used by one thread.
pub trait Subscriber: Send {
    /// Gives each message to a function as it comes, and nothing about four times a second while
    /// none comes, until the function says, by `false`, that it is to stop.
    ///
    /// # Errors
    /// Why the connection is lost: another one is made.
    fn listen(&mut self, heard: &mut Heard<'_>) -> Result<(), QueueError>;
}

/// What a [`Subscriber`] calls with each message; gives whether to go on.
pub type Heard<'a> = dyn FnMut(Option<&[u8]>) -> bool + 'a;

/// Bytes of one message. A queue that carries more is not believed.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// How long a listener waits for a message before it asks whether it is to stop.
pub(super) const TURN: Duration = Duration::from_millis(250);

/// Any error of a queue.
pub type QueueError = Box<dyn std::error::Error + Send + Sync>;
