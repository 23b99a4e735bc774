//! An event as it came, and the way to answer it.

use crate::data::args::{ArgError, Args};
use crate::data::{EncodedArgs, Encoding, ReceivedArgs};
use crate::error::Error;
use crate::protocol::socketio::Body;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An event that came, for handlers that want it whole.
///
/// ```
/// # use socketio::{Event, Server, Socket};
/// # let io = Server::new();
/// io.on_any(|socket: &Socket, event: &Event| {
///     println!("{} sent {} with {:?}", socket.sid(), event.name(), event.args());
/// });
/// ```
pub struct Event {
    source: Arc<dyn EventSource>,
    name: EventName,
    /// The name first.
    args: ReceivedArgs,
    id: Option<u64>,
    /// Somebody else acknowledges.
    ack_taken: AtomicBool,
}

/// Source of an event.
pub(crate) trait EventSource: Send + Sync {
    fn namespace(&self) -> &Arc<str>;

    fn sid(&self) -> &str;

    /// Returns the encoding in which an acknowledgement is best made.
    fn encoding(&self) -> Encoding {
        Encoding::Json
    }

    fn acknowledge(&self, id: u64, answer: &EncodedArgs) -> Result<(), Error>;
}

enum EventName {
    /// A range of the arguments' bytes.
    Slice(u32, u32),
    Owned(Box<str>),
}

impl Event {
    pub(crate) fn new(
        source: Arc<dyn EventSource>,
        name: Cow<'_, str>,
        body: Body<'_>,
        id: Option<u64>,
    ) -> Event {
        // A name without escapes stands in the arguments as it is.
        let start = match (&name, &body) {
            (Cow::Borrowed(name), Body::Json(text, _)) => place_of(name, text.as_bytes()),
            #[cfg(feature = "msgpack")]
            (Cow::Borrowed(name), Body::Msgpack(bytes)) => place_of(name, bytes),
            (Cow::Owned(_), _) => None,
        };
        let here = start.and_then(|start| {
            let end = u32::try_from(start + name.len()).ok()?;
            Some(EventName::Slice(start as u32, end))
        });
        Event {
            source,
            name: here.unwrap_or_else(|| EventName::Owned((&*name).into())),
            args: body.into(),
            id,
            ack_taken: AtomicBool::new(false),
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        match &self.name {
            EventName::Slice(start, end) => {
                let name = self.args.bytes().get(*start as usize..*end as usize);
                name.and_then(|name| std::str::from_utf8(name).ok())
                    .unwrap_or_default()
            }
            EventName::Owned(name) => name,
        }
    }

    /// Returns the namespace that it came on.
    pub fn namespace(&self) -> &str {
        self.source.namespace()
    }

    /// Returns the sid of the connection that it came on.
    pub fn sid(&self) -> &str {
        self.source.sid()
    }

    /// Returns its arguments, of whatever types.
    ///
    /// # Errors
    /// [`Error::Decode`] if they cannot be values.
    pub fn args(&self) -> Result<Args, Error> {
        self.args
            .decode(1)
            .map_err(|mismatch| mismatch.into_error(true))
    }

    /// Returns the argument at an index, counted from zero. A missing one decodes as null, which only
    /// some types take.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is not of that type.
    pub fn arg<T: DeserializeOwned>(&self, index: usize) -> Result<T, Error> {
        self.args.decode_nth(index + 1).map_err(|mismatch| {
            let argument = index;
            ArgError {
                argument,
                ..mismatch
            }
            .into_error(true)
        })
    }

    /// Returns all arguments as one value: none is null, one is itself, several are a tuple.
    ///
    /// # Errors
    /// [`Error::Decode`] if they are not of that type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.args.decode_data(1)
    }

    /// Returns whether the sender waits for an acknowledgement.
    pub fn wants_ack(&self) -> bool {
        self.id.is_some() && !self.ack_taken.load(Ordering::Relaxed)
    }

    /// Takes the acknowledgement over: what the handler returns is not sent, and the handle can be
    /// kept and used later, from any thread. None if the sender wants none, or it was taken before.
    pub fn take_ack(&self) -> Option<Ack> {
        let id = self.id?;
        if self.ack_taken.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(Ack {
            source: Arc::clone(&self.source),
            id,
        })
    }

    pub(crate) fn namespace_shared(&self) -> &Arc<str> {
        self.source.namespace()
    }

    /// Returns the name and the arguments as they came.
    pub(crate) fn received(&self) -> &ReceivedArgs {
        &self.args
    }

    /// Returns the encoding in which its acknowledgement is best made.
    pub(crate) fn encoding(&self) -> Encoding {
        self.args.encoding()
    }

    /// Sends what the handler returned, unless somebody else does.
    pub(crate) fn acknowledge(&self, answer: &EncodedArgs) -> Result<(), Error> {
        match self.id {
            Some(id) if self.wants_ack() => self.source.acknowledge(id, answer),
            _ => Ok(()),
        }
    }
}

/// Returns where a name stands that was borrowed from bytes.
fn place_of(name: &str, bytes: &[u8]) -> Option<usize> {
    let start = (name.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
    let here = bytes.get(start..start + name.len())?;
    (here == name.as_bytes()).then_some(start)
}

impl fmt::Debug for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Event")
            .field("name", &self.name())
            .field("namespace", &self.namespace())
            .field("args", &self.args().ok())
            .finish_non_exhaustive()
    }
}

/// An acknowledgement that is sent later.
///
/// Dropping it unused sends nothing: the sender waits until its own time-out.
///
/// ```
/// use socketio::{Event, Server};
///
/// let io = Server::new();
/// io.on("slow", |event: &Event| {
///     let ack = event.take_ack();
///     std::thread::spawn(move || {
///         // Long afterwards.
///         ack.map(|ack| ack.send("done"))
///     });
/// });
/// ```
#[must_use = "the sender waits for the acknowledgement"]
pub struct Ack {
    source: Arc<dyn EventSource>,
    id: u64,
}

impl Ack {
    /// Sends it: a tuple is several values, `()` none. Does not block.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if the sender has gone, [`Error::Encode`] if the data cannot be
    /// JSON, [`Error::InvalidArgument`] if it has too many attachments or is larger than the sender
    /// takes.
    pub fn send(self, data: impl Serialize) -> Result<(), Error> {
        let answer = EncodedArgs::with(self.source.encoding(), &data)?;
        self.source.acknowledge(self.id, &answer)
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ack")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// An event, and whom it came from as the program knows them.
#[derive(Debug)]
#[doc(hidden)]
pub struct IncomingEvent<P> {
    pub(crate) event: Event,
    pub(crate) peer: P,
}
