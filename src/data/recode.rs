//! Conversions of encoded data: from one encoding to another, and between values and types.

use super::args::Args;
use super::encoded::{EncodedArgs, Encoding};
use super::received::ReceivedArgs;
use super::value::Value;
use crate::error::Error;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

impl EncodedArgs {
    /// Returns the arguments as the other side gets them.
    fn as_received(&self) -> ReceivedArgs {
        let mut array = Vec::new();
        self.write_array(None, &mut array);
        match self.encoding {
            Encoding::Json => {
                let text = String::from_utf8_lossy(&array);
                ReceivedArgs::json(&text, self.attachments.clone())
            }
            #[cfg(feature = "msgpack")]
            Encoding::Msgpack => ReceivedArgs::Msgpack(array.into()),
        }
    }

    /// Returns the arguments as values.
    pub(crate) fn to_args(&self) -> Result<Args, Error> {
        let decoded = self.as_received().decode(0);
        decoded.map_err(|mismatch| mismatch.into_error(true))
    }

    /// Returns the arguments in an encoding, which may be the one that they have.
    ///
    /// # Errors
    /// [`Error::Encode`] if they cannot be encoded so.
    #[cfg_attr(
        not(feature = "msgpack"),
        allow(clippy::unnecessary_wraps, reason = "there is one encoding")
    )]
    pub(crate) fn in_encoding(&self, encoding: Encoding) -> Result<Cow<'_, EncodedArgs>, Error> {
        #[cfg(feature = "msgpack")]
        if self.encoding != encoding {
            return EncodedArgs::with(encoding, &self.to_args()?).map(Cow::Owned);
        }
        let _ = encoding;
        Ok(Cow::Borrowed(self))
    }

    /// Takes other arguments in the place of these, and keeps the encoding.
    pub(crate) fn replace(&mut self, other: EncodedArgs) -> Result<(), Error> {
        *self = other.in_encoding(self.encoding)?.into_owned();
        Ok(())
    }
}

impl ReceivedArgs {
    /// Returns the same as JSON text, with the bytes that its placeholders name.
    pub(crate) fn to_json(&self) -> Result<(String, Vec<Bytes>), Error> {
        match self {
            ReceivedArgs::Json { text, attachments } => {
                Ok((text.to_string(), attachments.to_vec()))
            }
            #[cfg(feature = "msgpack")]
            ReceivedArgs::Msgpack(_) => {
                let args: Args = self.decode(0).map_err(|it| it.into_error(true))?;
                let encoded = EncodedArgs::new(&args)?;
                let mut text = Vec::new();
                encoded.write_array(None, &mut text);
                // What was written is JSON.
                let text = String::from_utf8(text).unwrap_or_default();
                Ok((text, encoded.attachments))
            }
        }
    }
}

impl Value {
    /// Decodes it into any type of serde, bytes included.
    ///
    /// ```
    /// # use socketio::Value;
    /// let value = Value::from(serde_json::json!({"x": 1, "y": 2}));
    /// let point: std::collections::HashMap<String, i32> = value.decode()?;
    /// assert_eq!(point["y"], 2);
    /// # Ok::<(), socketio::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Decode`] if it is not of that type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // In a list of its own, it is one argument whatever it is.
        let encoded = EncodedArgs::new(&(self,))?;
        let decoded = encoded.as_received().decode_nth(0);
        decoded.map_err(|mismatch| mismatch.into_error(false))
    }
}
