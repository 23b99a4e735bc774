//! What can go wrong in calls of this library.

use std::fmt;
use std::io;

/// Why a call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The peer did not answer in time.
    Timeout,
    /// The peer is not connected, or its connection ended before it answered.
    Disconnected,
    /// The data could not be turned into JSON; the caller's own fault.
    Encode(String),
    /// What the peer answered is not what was asked for.
    Decode(String),
    /// The call does not allow this argument; the text says which and why.
    Invalid(String),
    /// More waits for this client than [`Limits`](crate::Limits) allow.
    TooMuch(&'static str),
    /// The certificate or its key cannot be used.
    Tls(String),
    /// The operating system refused: an address in use, a file that is not there.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Timeout => formatter.write_str("the answer did not come in time"),
            Error::Disconnected => formatter.write_str("not connected"),
            Error::Encode(why) => write!(formatter, "data cannot be sent: {why}"),
            Error::Decode(why) => write!(formatter, "the answer is not of the wanted type: {why}"),
            Error::Invalid(why) => formatter.write_str(why),
            Error::TooMuch(what) => write!(formatter, "too many {what}"),
            Error::Tls(why) => write!(formatter, "TLS: {why}"),
            Error::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}
