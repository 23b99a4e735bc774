//! Errors of calls of this library.

use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Reason why a call failed.
///
/// ```no_run
/// use socketio::{Error, SimpleClient};
/// use std::time::Duration;
///
/// let client = SimpleClient::connect("http://localhost:5000")?;
/// match client.call::<i64>("sum", (1, 2), Duration::from_secs(5)) {
///     Ok(sum) => println!("{sum}"),
///     Err(Error::Timeout) => println!("no answer in time"),
///     Err(Error::Disconnected) => println!("the connection ended"),
///     Err(other) => return Err(other),
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The peer did not answer in time.
    Timeout,
    /// The peer is not connected, or its connection ended before it answered.
    Disconnected,
    /// The client could not connect: the server was not reached, did not answer as it should, or
    /// refused.
    Connection(ConnectError),
    /// The client is connected, but not to this namespace.
    BadNamespace(String),
    /// The data could not be turned into JSON; the caller's own fault.
    Encode(BoxedError),
    /// The peer's answer, or an event's argument, is not of the type that was asked for.
    Decode(BoxedError),
    /// The call does not allow this argument; the text says which and why.
    InvalidArgument(String),
    /// More waits, in this direction or the other, than the limits of this side allow.
    LimitExceeded(LimitExceeded),
    /// The certificate or its key cannot be used.
    Tls(BoxedError),
    /// The operating system refused: an address in use, a file that is not there.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Timeout => formatter.write_str("what was waited for did not come in time"),
            Error::Disconnected => formatter.write_str("not connected"),
            Error::Connection(error) => error.fmt(formatter),
            Error::BadNamespace(namespace) => {
                write!(
                    formatter,
                    "{namespace} is not a connected namespace, or not yet"
                )
            }
            Error::Encode(why) => write!(formatter, "data cannot be sent: {why}"),
            Error::Decode(why) => write!(formatter, "the data is not of the wanted type: {why}"),
            Error::InvalidArgument(why) => formatter.write_str(why),
            Error::LimitExceeded(exceeded) => exceeded.fmt(formatter),
            Error::Tls(why) => write!(formatter, "TLS: {why}"),
            Error::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            Error::Connection(error) => Some(error),
            Error::LimitExceeded(exceeded) => Some(exceeded),
            Error::Encode(source) | Error::Decode(source) | Error::Tls(source) => Some(&**source),
            Error::Timeout
            | Error::Disconnected
            | Error::BadNamespace(_)
            | Error::InvalidArgument(_) => None,
        }
    }
}

/// Error of another crate, or of a program.
pub(crate) type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Limit of this side, or of its broker, that stands in the way of a call.
///
/// ```
/// use socketio::{Client, Error};
///
/// // It keeps what is emitted before it is connected, up to 1,000 bytes.
/// let client = Client::builder().offline_buffer(1_000).build();
/// match client.emit("news", "x".repeat(2_000)) {
///     Err(Error::LimitExceeded(exceeded)) => {
///         assert_eq!((exceeded.limit(), exceeded.value()), ("offline_buffer", Some(1_000)));
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    what: &'static str,
    limit: &'static str,
    value: Option<usize>,
}

impl LimitExceeded {
    pub(crate) fn new(what: &'static str, limit: &'static str, value: usize) -> LimitExceeded {
        let value = Some(value);
        LimitExceeded { what, limit, value }
    }

    /// Creates the error of another server's limit, whose value is not known here.
    pub(crate) fn elsewhere(what: &'static str, limit: &'static str) -> LimitExceeded {
        LimitExceeded {
            what,
            limit,
            value: None,
        }
    }

    /// Returns the name of the limit: that of the field or the method that sets it, if it can be
    /// set.
    pub fn limit(&self) -> &str {
        self.limit
    }

    /// Returns the value of the limit, if it is one of this process.
    pub fn value(&self) -> Option<usize> {
        self.value
    }
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "too many {} ({}", self.what, self.limit)?;
        match self.value {
            Some(value) => write!(formatter, " is {value})"),
            None => formatter.write_str(" of another server)"),
        }
    }
}

impl std::error::Error for LimitExceeded {}

impl From<LimitExceeded> for Error {
    fn from(exceeded: LimitExceeded) -> Self {
        Error::LimitExceeded(exceeded)
    }
}

/// Error of another crate, with what it is about.
#[cfg(feature = "tls")]
#[derive(Debug)]
struct Described {
    what: String,
    source: BoxedError,
}

#[cfg(feature = "tls")]
impl fmt::Display for Described {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.what, self.source)
    }
}

#[cfg(feature = "tls")]
impl std::error::Error for Described {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// Returns an error with what it is about.
#[cfg(feature = "tls")]
pub(crate) fn describe(what: impl Into<String>, source: impl Into<BoxedError>) -> BoxedError {
    Box::new(Described {
        what: what.into(),
        source: source.into(),
    })
}

/// Reason why a client could not connect.
///
/// ```no_run
/// use socketio::{Error, SimpleClient, Value};
///
/// match SimpleClient::connect("http://localhost:5000") {
///     Err(Error::Connection(why)) => println!("{why}, {:?}", why.data::<Value>()),
///     other => println!("{other:?}"),
/// }
/// ```
#[derive(Clone)]
pub struct ConnectError {
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// JSON text.
    data: Option<String>,
    is_timeout: bool,
    /// The server speaks another revision of Engine.IO.
    is_of_another_generation: bool,
    /// No other attempt can succeed: it is the program's own mistake.
    is_invalid: bool,
    /// The answer to a request that was refused.
    answer: Option<Box<HttpAnswer>>,
}

/// Short, since a `main` that returns an error shows it so.
impl fmt::Debug for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_tuple("ConnectError");
        shown.field(&self.message);
        if let Some(data) = &self.data {
            shown.field(data);
        }
        shown.finish()
    }
}

/// An answer over HTTP that was not what a client had asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HttpAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    text: String,
}

impl ConnectError {
    pub(crate) fn new(message: impl Into<String>) -> ConnectError {
        ConnectError {
            message: message.into(),
            source: None,
            data: None,
            is_timeout: false,
            is_of_another_generation: false,
            is_invalid: false,
            answer: None,
        }
    }

    /// Returns the same, with the error that has led to it.
    pub(crate) fn caused_by(mut self, source: impl Into<BoxedError>) -> ConnectError {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Marks it as one of a server that speaks another revision of Engine.IO.
    pub(crate) fn of_another_generation(mut self) -> ConnectError {
        self.is_of_another_generation = true;
        self
    }

    pub(crate) fn is_of_another_generation(&self) -> bool {
        self.is_of_another_generation
    }

    /// Marks it as a mistake of the program.
    pub(crate) fn invalid(mut self) -> ConnectError {
        self.is_invalid = true;
        self
    }

    /// Returns whether another attempt would meet the same.
    pub(crate) fn is_invalid(&self) -> bool {
        self.is_invalid
    }

    /// Returns the same, with the answer that says so.
    pub(crate) fn with_answer(
        mut self,
        status: u16,
        headers: Vec<(String, String)>,
        text: String,
    ) -> ConnectError {
        self.answer = Some(Box::new(HttpAnswer {
            status,
            headers,
            text,
        }));
        self
    }

    pub(crate) fn with_data(self, data: impl Into<String>) -> ConnectError {
        ConnectError {
            data: Some(data.into()),
            ..self
        }
    }

    /// Returns the same, with where it came from.
    pub(crate) fn with_context(mut self, place: &str) -> ConnectError {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Marks it as a time-out.
    pub(crate) fn timed_out(mut self) -> ConnectError {
        self.is_timeout = true;
        self
    }

    /// Returns whether the server did not answer in time.
    pub fn is_timeout(&self) -> bool {
        self.is_timeout
    }

    /// Returns the bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |answer| {
            let headers = answer.headers.iter();
            let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
            answer.text.len() + headers
        });
        self.message.len() + self.data.as_ref().map_or(0, String::len) + answer
    }

    /// Returns the status of the server's answer, if a request was answered and refused.
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }

    /// Returns the fields of that answer, their names in lower case.
    pub fn headers(&self) -> &[(String, String)] {
        self.answer.as_ref().map_or(&[], |answer| &answer.headers)
    }

    /// Returns the body of that answer as text, or its beginning.
    pub fn text(&self) -> &str {
        self.answer.as_ref().map_or("", |answer| &answer.text)
    }

    /// Returns what went wrong, or the message of the server's refusal.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the data of the server's refusal, or the JSON with which it answered the request; of
    /// several namespaces that were refused, an object with the data of each. None if there is
    /// none, or it is not of this type.
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.data.as_deref()?).ok()
    }
}

/// Equal are errors that say the same, whatever has led to them.
impl PartialEq for ConnectError {
    fn eq(&self, other: &ConnectError) -> bool {
        let parts = |it: &ConnectError| (it.is_timeout, it.is_invalid);
        parts(self) == parts(other)
            && self.message == other.message
            && self.data == other.data
            && self.answer == other.answer
    }
}

impl Eq for ConnectError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// Reads a file; an error names it.
#[cfg(feature = "tls")]
pub(crate) fn read_file(path: impl AsRef<std::path::Path>) -> Result<Vec<u8>, io::Error> {
    let path = path.as_ref();
    std::fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        if error.is_invalid {
            return Error::InvalidArgument(error.message);
        }
        Error::Connection(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}
