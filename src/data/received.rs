//! Arguments of events and acknowledgements as they came, and until a handler's types are known.

use super::args::{self, ArgError, FromArgs, Nth};
use super::encoded::Encoding;
#[cfg(feature = "msgpack")]
use super::msgpack;
use crate::error::Error;
use crate::protocol::socketio::Body;
use bytes::Bytes;
use serde::de::DeserializeOwned;

/// An array of arguments, an event's name first, or nothing; checked when the packet was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReceivedArgs {
    Json {
        text: Box<str>,
        attachments: Box<[Bytes]>,
    },
    #[cfg(feature = "msgpack")]
    Msgpack(Box<[u8]>),
}

impl ReceivedArgs {
    pub(crate) fn json(text: &str, attachments: Vec<Bytes>) -> ReceivedArgs {
        ReceivedArgs::Json {
            text: text.into(),
            attachments: attachments.into(),
        }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        match self {
            ReceivedArgs::Json { .. } => Encoding::Json,
            #[cfg(feature = "msgpack")]
            ReceivedArgs::Msgpack(_) => Encoding::Msgpack,
        }
    }

    /// Returns the bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        match self {
            ReceivedArgs::Json { text, attachments } => {
                let attached = attachments.iter().map(|bytes| bytes.len());
                text.len() + attached.sum::<usize>()
            }
            #[cfg(feature = "msgpack")]
            ReceivedArgs::Msgpack(bytes) => bytes.len(),
        }
    }

    /// Returns the bytes in which an event's name may stand.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            ReceivedArgs::Json { text, .. } => text.as_bytes(),
            #[cfg(feature = "msgpack")]
            ReceivedArgs::Msgpack(bytes) => bytes,
        }
    }

    pub(crate) fn has_attachments(&self) -> bool {
        match self {
            ReceivedArgs::Json { attachments, .. } => !attachments.is_empty(),
            #[cfg(feature = "msgpack")]
            ReceivedArgs::Msgpack(_) => false,
        }
    }

    /// Decodes the items one by one, skipping an event's name.
    pub(crate) fn decode<T: FromArgs>(&self, skip: usize) -> Result<T, ArgError> {
        match self {
            ReceivedArgs::Json { text, attachments } => args::decode(text, skip, attachments),
            #[cfg(feature = "msgpack")]
            ReceivedArgs::Msgpack(bytes) => msgpack::decode(bytes, skip),
        }
    }

    /// Decodes the item at an index; the others are skipped.
    pub(crate) fn decode_nth<T: DeserializeOwned>(&self, index: usize) -> Result<T, ArgError> {
        self.decode::<Nth<T>>(index).map(|nth| nth.0)
    }

    /// Decodes all items but the first few as one value: none is null, one is itself, several are a
    /// tuple or a list.
    pub(crate) fn decode_data<T: DeserializeOwned>(&self, skip: usize) -> Result<T, Error> {
        let fail = |mismatch: ArgError| mismatch.into_error(false);
        let args::Count(count) = self.decode(skip).map_err(fail)?;
        if count <= 1 && !args::is_args::<T>() {
            return self.decode_nth(skip).map_err(fail);
        }
        let args::Rest(value) = self.decode(skip).map_err(fail)?;
        Ok(value)
    }
}

impl Default for ReceivedArgs {
    fn default() -> Self {
        ReceivedArgs::json("", Vec::new())
    }
}

impl From<Body<'_>> for ReceivedArgs {
    fn from(body: Body<'_>) -> Self {
        match body {
            Body::Json(text, attachments) => ReceivedArgs::Json {
                text: text.into(),
                attachments: attachments.into(),
            },
            #[cfg(feature = "msgpack")]
            Body::Msgpack(bytes) => ReceivedArgs::Msgpack(bytes.into()),
        }
    }
}
