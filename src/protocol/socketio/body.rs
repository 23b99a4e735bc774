//! The data of a packet as it came: checked, and still encoded.

use bytes::Bytes;
use std::borrow::Cow;

/// Data of a packet in the encoding of its parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    /// JSON text, or none; bytes are attachments.
    Json(Cow<'a, str>, Vec<Bytes>),
    /// One value, or none.
    #[cfg(feature = "msgpack")]
    Msgpack(Cow<'a, [u8]>),
}

impl<'a> Body<'a> {
    pub(crate) fn text(text: &'a str) -> Body<'a> {
        Body::Json(Cow::Borrowed(text), Vec::new())
    }

    /// Returns the bytes of it, with those of its attachments.
    pub(crate) fn len(&self) -> usize {
        match self {
            Body::Json(text, attachments) => {
                let attached = attachments.iter().map(|bytes| bytes.len());
                text.len() + attached.sum::<usize>()
            }
            #[cfg(feature = "msgpack")]
            Body::Msgpack(bytes) => bytes.len(),
        }
    }

    pub(crate) fn into_owned<'b>(self) -> Body<'b> {
        match self {
            Body::Json(text, attachments) => Body::Json(Cow::Owned(text.into_owned()), attachments),
            #[cfg(feature = "msgpack")]
            Body::Msgpack(bytes) => Body::Msgpack(Cow::Owned(bytes.into_owned())),
        }
    }
}
