//! The traits by which a manager uses a broker.
//!
//! In a circle with `listening`, `publishing` and `worker`: a backend is given what the threads
//! that call it have for it.

use super::listening::MessageSink;
use super::message::MAX_MESSAGE_BYTES;
use super::publishing::Outgoing;
use std::fmt;
use std::time::Duration;

/// A queue that carries messages from each server to all: what a
/// [`PubSubManager`](super::PubSubManager) needs of a broker.
///
/// ```
/// use socketio::Server;
/// use socketio::manager::{
///     Backend, MessageSink, PubSubManager, PublishError, Publisher, BackendError, Subscriber,
/// };
/// use std::sync::{Arc, Mutex, mpsc};
/// use std::time::Duration;
///
/// /// Servers of one process.
/// #[derive(Clone, Debug, Default)]
/// struct Hub(Arc<Mutex<Vec<mpsc::Sender<Vec<u8>>>>>);
///
/// impl Backend for Hub {
///     fn publisher(&self, _channel: &str) -> Result<Box<dyn Publisher>, BackendError> {
///         Ok(Box::new(self.clone()))
///     }
///
///     fn subscriber(&self, _channel: &str) -> Result<Box<dyn Subscriber>, BackendError> {
///         let (sender, receiver) = mpsc::channel();
///         self.0.lock().unwrap().push(sender);
///         Ok(Box::new(Ear(receiver)))
///     }
/// }
///
/// impl Publisher for Hub {
///     fn publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
///         self.0.lock().unwrap().retain(|sender| sender.send(message.to_vec()).is_ok());
///         Ok(())
///     }
/// }
///
/// struct Ear(mpsc::Receiver<Vec<u8>>);
///
/// impl Subscriber for Ear {
///     fn listen(&mut self, sink: &mut MessageSink) -> Result<(), BackendError> {
///         loop {
///             let goes_on = match self.0.recv_timeout(Duration::from_millis(250)) {
///                 Ok(message) => sink.message(&message),
///                 Err(mpsc::RecvTimeoutError::Timeout) => sink.nothing(),
///                 Err(gone) => return Err(gone.into()),
///             };
///             if !goes_on {
///                 return Ok(());
///             }
///         }
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
    /// The reason for the failure: another attempt is made after a growing pause.
    fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, BackendError>;

    /// Connects to listen to a channel: what is published once this has returned is heard. Blocks,
    /// on the listener's thread.
    ///
    /// # Errors
    /// The reason for the failure: another attempt is made after a growing pause.
    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, BackendError>;

    /// Returns the bytes of a message that the queue takes; more is an error at the call. Asked for
    /// each message, so that it may follow what the queue says of itself. Defaults to 64 MiB, which
    /// is also the most that a manager takes of a queue.
    fn max_message_size(&self) -> usize {
        MAX_MESSAGE_BYTES
    }

    /// Returns the time within which the queue makes progress: it confirms another message, or lets
    /// one of this server's own be heard. A connection that does not is given up. Large messages
    /// get more, a second for each 64 KiB. Defaults to 5 s.
    fn timeout(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// Checks the name of a channel before it is used.
    ///
    /// # Errors
    /// The reason why there can be no such channel. By default there are none.
    fn check_channel(&self, channel: &str) -> Result<(), BackendError> {
        let _ = channel;
        Ok(())
    }
}

/// A connection to publish over, used by one thread.
///
/// A manager also publishes a message of its own each two seconds, about a hundred bytes long: it
/// keeps the connection from being idle, and shows whether the listener hears.
///
/// ```
/// use socketio::manager::{Outgoing, PublishError, Publisher};
/// use std::io::Write;
/// use std::net::TcpStream;
///
/// /// A queue that answers each message with one byte.
/// struct Queue(TcpStream);
///
/// impl Publisher for Queue {
///     fn publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
///         self.0.write_all(&(message.len() as u32).to_be_bytes())?;
///         self.0.write_all(message)?;
///         let mut answer = [0];
///         Ok(std::io::Read::read_exact(&mut self.0, &mut answer)?)
///     }
/// }
/// ```
pub trait Publisher: Send {
    /// Publishes a message to everybody who listens to the channel, and waits until the queue has
    /// it. May block, for seconds.
    ///
    /// # Errors
    /// What has become of the message, see [`PublishError`].
    fn publish(&mut self, message: &[u8]) -> Result<(), PublishError>;

    /// Publishes what waits, in order, and confirms what the queue has taken. Called again as long
    /// as something waits or is in flight, so that it may return at any time. By default each
    /// message is published and confirmed before the next one; a queue with a faster way takes
    /// many, and confirms them as the answers come.
    ///
    /// # Errors
    /// What has become of the messages in flight, see [`PublishError`].
    fn publish_all(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), PublishError> {
        while let Some(message) = outgoing.take() {
            self.publish(&message)?;
            outgoing.confirm(1);
        }
        Ok(())
    }
}

/// Reason why a [`Publisher`] has failed, and with that what becomes of the messages in flight:
/// those that were taken and not confirmed.
///
/// ```
/// use socketio::manager::{PublishError, Publisher};
///
/// struct Queue(Vec<Vec<u8>>);
///
/// impl Publisher for Queue {
///     fn publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
///         if message.len() > 1_000_000 {
///             // It is given up; those behind it go on.
///             return Err(PublishError::Refused("too large for this queue".into()));
///         }
///         self.0.push(message.to_vec());
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// The connection is lost, or does not answer. Another one is made, and what is in flight is
    /// published again: servers of this crate hear it once. A message that is alone in flight while
    /// connections are lost, four times in a row, though they carry other messages, is refused.
    Lost(BackendError),
    /// The queue will never take the first message in flight. It is given up, with an ERROR in the
    /// log; the connection is used on.
    Refused(BackendError),
    /// The queue has refused a message, and it is not known which of those in flight. They are
    /// published again over another connection, a few at a time, until one of them is known to be
    /// at fault.
    Unclear(BackendError),
}

impl PublishError {
    /// Returns an error of the connection.
    pub fn lost(error: impl Into<BackendError>) -> PublishError {
        PublishError::Lost(error.into())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for PublishError {
    /// Creates an error of the connection.
    fn from(error: E) -> PublishError {
        PublishError::Lost(error.into())
    }
}

/// A connection to listen over, used by one thread.
///
/// ```
/// use socketio::manager::{BackendError, MessageSink, Subscriber};
/// use std::io::ErrorKind;
/// use std::net::UdpSocket;
/// use std::time::Duration;
///
/// /// Servers of one network.
/// struct Datagrams(UdpSocket);
///
/// impl Subscriber for Datagrams {
///     fn listen(&mut self, sink: &mut MessageSink<'_>) -> Result<(), BackendError> {
///         self.0.set_read_timeout(Some(Duration::from_millis(250)))?;
///         let mut buffer = [0; 65_536];
///         loop {
///             let goes_on = match self.0.recv(&mut buffer) {
///                 Ok(length) => sink.message(&buffer[..length]),
///                 Err(error) if error.kind() == ErrorKind::WouldBlock => sink.nothing(),
///                 Err(error) => return Err(error.into()),
///             };
///             if !goes_on {
///                 return Ok(());
///             }
///         }
///     }
/// }
/// ```
pub trait Subscriber: Send {
    /// Calls [`message`](MessageSink::message) for each message as it comes, and
    /// [`nothing`](MessageSink::nothing) about four times a second while none comes, until one of
    /// them returns false.
    ///
    /// # Errors
    /// Why the connection is lost: another one is made.
    fn listen(&mut self, sink: &mut MessageSink<'_>) -> Result<(), BackendError>;
}

/// Time that a listener waits for a message before it asks whether it is to stop.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Bytes a second below which a connection is not told from a dead one.
const MIN_BYTES_PER_SECOND: usize = 64 << 10;

/// Returns the time within which a queue that has been given so many bytes makes progress.
pub(super) fn progress_timeout(timeout: Duration, bytes: usize) -> Duration {
    timeout + Duration::from_millis((bytes / (MIN_BYTES_PER_SECOND / 1_000)) as u64)
}

/// Returns the error of a queue that shows no sign of life.
pub(super) fn no_answer(timeout: Duration) -> BackendError {
    format!("no answer within {timeout:?}").into()
}

/// Any error of a queue.
///
/// ```
/// use socketio::manager::{BackendError, PublishError};
///
/// let error: BackendError = "the queue is in maintenance".into();
/// assert_eq!(error.to_string(), "the queue is in maintenance");
/// let _ = PublishError::Refused(error);
/// ```
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;
