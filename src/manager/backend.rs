//! What a manager needs of a broker.

use std::fmt;
use std::time::Duration;

/// A queue that carries messages from each server to all: what a [`PubSubManager`](super::PubSubManager) needs of a
/// broker.
///
/// ```
/// use socketio::Server;
/// use socketio::manager::{Backend, PubSubManager, Publisher, QueueError, Subscriber};
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
///     fn next(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, QueueError> {
///         Ok(self.0.recv_timeout(timeout).ok())
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

    /// Connects to listen to a channel: what is published once this has returned is heard. Blocks,
    /// on the listener's thread.
    ///
    /// # Errors
    /// Why that failed: it is tried again, after growing pauses.
    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, QueueError>;
}

/// A connection to publish over, used by one thread.
pub trait Publisher: Send {
    /// Publishes a message to everybody who listens to the channel. May block.
    ///
    /// # Errors
    /// Why that failed: another connection is made, and the message published again.
    fn publish(&mut self, message: &[u8]) -> Result<(), QueueError>;
}

/// A connection to listen over, used by one thread.
pub trait Subscriber: Send {
    /// The next message; none if there was none in time.
    ///
    /// # Errors
    /// Why the connection is lost: another one is made.
    fn next(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, QueueError>;
}

/// Any error of a queue.
pub type QueueError = Box<dyn std::error::Error + Send + Sync>;
