//! Packets as JSON objects, as `socket.io-json-parser` writes them.

use super::MAX_VALUES;
use super::codec::{Codec, DecodeError, Decoder, Packet};
use crate::data::Value;
use crate::engineio::Message;
use crate::error::Error;

#[derive(Debug)]
pub(super) struct JsonObject;

impl Codec for JsonObject {
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, Error> {
        Ok(vec![packet.to_object().to_json()?.into()])
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(JsonObject)
    }
}

impl Decoder for JsonObject {
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, DecodeError> {
        let Message::Text(text) = message else {
            return Err("bytes, where packets are text".into());
        };
        // Each value but the first is behind one of these.
        let is_sign = |byte: &u8| matches!(byte, b',' | b'[' | b'{' | b':');
        if text.as_bytes().iter().filter(|byte| is_sign(byte)).count() > MAX_VALUES {
            return Err("too many values".into());
        }
        let object = Value::from_json(&text)?;
        Packet::from_object(object).map(Some)
    }
}
