//! Arguments of events and acknowledgements on their way out.

use super::binary;
use crate::error::Error;
use crate::limits::{OUTGOING_BYTES, OUTGOING_JSON_DEPTH};
use crate::protocol::socketio::json::check_depth;
#[cfg(feature = "msgpack")]
use crate::protocol::socketio::msgpack::{self, is_shallow};
use bytes::Bytes;
use serde::ser::{
    Error as _, Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple,
    SerializeTupleStruct,
};
use serde::{Serialize, Serializer};

/// Encoding of arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    Json,
    #[cfg(feature = "msgpack")]
    Msgpack,
}

/// Arguments as they are sent, each of them encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[doc(hidden)]
pub struct EncodedArgs {
    pub(crate) encoding: Encoding,
    /// The arguments, one after the other; those in JSON are separated by commas.
    pub(crate) items: Vec<u8>,
    /// Number of the arguments, where they are not in JSON.
    count: u32,
    /// The bytes that placeholders in JSON name.
    pub(crate) attachments: Vec<Bytes>,
}

impl EncodedArgs {
    /// Encodes data: a tuple is several arguments, `()` is none, anything else is one; `None` and a
    /// value that is null are null.
    pub(crate) fn new(data: &(impl Serialize + ?Sized)) -> Result<EncodedArgs, Error> {
        EncodedArgs::with(Encoding::Json, data)
    }

    /// Does the same in an encoding.
    pub(crate) fn with(
        encoding: Encoding,
        data: &(impl Serialize + ?Sized),
    ) -> Result<EncodedArgs, Error> {
        let mut encoded = EncodedArgs::in_json(Vec::new(), Vec::new());
        encoded.encoding = encoding;
        encoded.push(data)?;
        Ok(encoded)
    }

    /// Returns arguments that are JSON already.
    pub(crate) fn in_json(items: Vec<u8>, attachments: Vec<Bytes>) -> EncodedArgs {
        EncodedArgs {
            encoding: Encoding::Json,
            items,
            count: 0,
            attachments,
        }
    }

    pub(crate) fn push<T: Serialize + ?Sized>(&mut self, data: &T) -> Result<(), Error> {
        let is_nothing = is_unit::<T>();
        #[cfg(feature = "msgpack")]
        if self.encoding == Encoding::Msgpack {
            let appended = super::msgpack::append(data, is_nothing, &mut self.items);
            self.count += appended.map_err(|error| Error::Encode(error.into()))?;
            return Ok(());
        }
        let json = &mut self.items;
        let encode = || data.serialize(JsonArgSerializer { json, is_nothing });
        match binary::collect(&mut self.attachments, encode) {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::Encode(error.into())),
        }
    }

    /// Returns an error if there are more attachments than may be in one packet, more bytes than
    /// clients take, or lists and objects that are nested deeper.
    pub(crate) fn check(&self, max: usize) -> Result<(), Error> {
        // The arguments themselves are in a list.
        let depth = OUTGOING_JSON_DEPTH - 1;
        let is_shallow = match self.encoding {
            Encoding::Json => check_depth(&self.items, depth).is_ok(),
            #[cfg(feature = "msgpack")]
            Encoding::Msgpack => is_shallow(&self.items, depth),
        };
        if !is_shallow {
            return Err(Error::InvalidArgument(format!(
                "data is nested too deeply: the other side may refuse more than {OUTGOING_JSON_DEPTH} levels"
            )));
        }
        self.check_size(max)
    }

    /// Returns an error if there are more attachments or bytes than may be in one packet.
    pub(crate) fn check_size(&self, max: usize) -> Result<(), Error> {
        let attached: usize = self.attachments.iter().map(|it| it.len()).sum();
        let bytes = self.items.len().max(attached);
        if bytes > OUTGOING_BYTES {
            return Err(Error::InvalidArgument(format!(
                "{bytes} bytes in one packet: the other side may close the connection on more than {OUTGOING_BYTES}"
            )));
        }
        let count = self.attachments.len();
        if count <= max {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "{count} attachments in one packet: the other side may close the connection on more than {max}; Limits::outgoing_attachments, or max_outgoing_attachments of a client, raises that"
        )))
    }

    /// Forgets the arguments and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.count = 0;
        self.attachments.clear();
    }

    /// Writes the arguments as an array, behind an event's name if there is one.
    pub(crate) fn write_array(&self, event: Option<&str>, out: &mut Vec<u8>) {
        #[cfg(feature = "msgpack")]
        if self.encoding == Encoding::Msgpack {
            msgpack::write_array_len(self.count + u32::from(event.is_some()), out);
            if let Some(event) = event {
                msgpack::write_str(event, out);
            }
            return out.extend_from_slice(&self.items);
        }
        out.push(b'[');
        if let Some(event) = event {
            // A string always serializes, and writing to a Vec does not fail.
            let _ = serde_json::to_writer(&mut *out, event);
            if !self.items.is_empty() {
                out.push(b',');
            }
        }
        out.extend_from_slice(&self.items);
        out.push(b']');
    }
}

/// Returns whether a type is `()`, or a reference to it. serde cannot tell it from the null of
/// other crates.
fn is_unit<T: ?Sized>() -> bool {
    std::any::type_name::<T>().trim_start_matches('&') == "()"
}

/// Serializes at the top level: tuples spread into arguments, and all else is one.
struct JsonArgSerializer<'a> {
    json: &'a mut Vec<u8>,
    /// A unit is no argument, and not null.
    is_nothing: bool,
}

type JsonError = serde_json::Error;

impl JsonArgSerializer<'_> {
    fn one(self, value: &(impl Serialize + ?Sized)) -> Result<(), JsonError> {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
        serde_json::to_writer(self.json, value)
    }
}

/// Methods for values that are one argument each.
macro_rules! scalars {
    ($($method:ident: $kind:ty,)*) => {
        $(fn $method(self, value: $kind) -> Result<(), JsonError> {
            self.one(&value)
        })*
    };
}

impl<'a> Serializer for JsonArgSerializer<'a> {
    type Ok = ();
    type Error = JsonError;
    type SerializeSeq = JsonCompound<'a>;
    type SerializeTuple = TupleArgs<'a>;
    type SerializeTupleStruct = JsonCompound<'a>;
    type SerializeTupleVariant = Impossible<(), JsonError>;
    type SerializeMap = JsonCompound<'a>;
    type SerializeStruct = JsonCompound<'a>;
    type SerializeStructVariant = Impossible<(), JsonError>;

    scalars! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
    }

    fn serialize_none(self) -> Result<(), JsonError> {
        self.one(&())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), JsonError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), JsonError> {
        if self.is_nothing {
            Ok(())
        } else {
            self.one(&())
        }
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), JsonError> {
        self.one(&())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), JsonError> {
        self.one(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        self.one(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        self.one(&std::collections::BTreeMap::from([(variant, value)]))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<JsonCompound<'a>, JsonError> {
        Ok(JsonCompound::open(self.json, b'[', b']'))
    }

    fn serialize_tuple(self, _: usize) -> Result<TupleArgs<'a>, JsonError> {
        Ok(TupleArgs { json: self.json })
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<JsonCompound<'a>, JsonError> {
        Ok(JsonCompound::open(self.json, b'[', b']'))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, JsonError> {
        Err(JsonError::custom(super::unsupported(name)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<JsonCompound<'a>, JsonError> {
        Ok(JsonCompound::open(self.json, b'{', b'}'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<JsonCompound<'a>, JsonError> {
        Ok(JsonCompound::open(self.json, b'{', b'}'))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, JsonError> {
        Err(JsonError::custom(super::unsupported(name)))
    }
}

/// Items of a tuple, each an argument.
struct TupleArgs<'a> {
    json: &'a mut Vec<u8>,
}

impl SerializeTuple for TupleArgs<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        JsonArgSerializer {
            json: self.json,
            is_nothing: false,
        }
        .one(value)
    }

    fn end(self) -> Result<(), JsonError> {
        Ok(())
    }
}

/// A list or an object, written item by item.
struct JsonCompound<'a> {
    json: &'a mut Vec<u8>,
    close: u8,
    is_empty: bool,
}

impl<'a> JsonCompound<'a> {
    fn open(json: &'a mut Vec<u8>, open: u8, close: u8) -> JsonCompound<'a> {
        if !json.is_empty() {
            json.push(b',');
        }
        json.push(open);
        JsonCompound {
            json,
            close,
            is_empty: true,
        }
    }

    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), JsonError> {
        if !std::mem::take(&mut self.is_empty) {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut *self.json, value)
    }

    fn key(&mut self, key: &(impl Serialize + ?Sized)) -> Result<(), JsonError> {
        // serde_json knows which keys can be made strings: it writes `{"key":null}`.
        let object = serde_json::to_vec(&JsonEntry(key))?;
        let key = object
            .get(1..object.len().saturating_sub(6))
            .unwrap_or_default();
        if !std::mem::take(&mut self.is_empty) {
            self.json.push(b',');
        }
        self.json.extend_from_slice(key);
        Ok(())
    }

    fn close(self) -> Result<(), JsonError> {
        self.json.push(self.close);
        Ok(())
    }
}

/// An object with one key and null.
struct JsonEntry<'a, K: ?Sized>(&'a K);

impl<K: Serialize + ?Sized> Serialize for JsonEntry<'_, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &())?;
        map.end()
    }
}

impl SerializeSeq for JsonCompound<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.item(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

impl SerializeTupleStruct for JsonCompound<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.item(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

impl SerializeMap for JsonCompound<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.json.push(b':');
        serde_json::to_writer(&mut *self.json, value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

impl SerializeStruct for JsonCompound<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        self.item(name)?;
        self.json.push(b':');
        serde_json::to_writer(&mut *self.json, value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Args, Binary, Value};
    use std::collections::BTreeMap;

    fn encode(data: impl Serialize) -> String {
        String::from_utf8(EncodedArgs::new(&data).unwrap().items).unwrap()
    }

    #[derive(Serialize)]
    struct Point {
        x: i32,
        y: (i32, i32),
    }

    #[derive(Serialize)]
    struct Wrapped((i32, i32));

    #[test]
    fn a_tuple_is_several_arguments_and_all_else_is_one() {
        assert_eq!(encode(()), "");
        assert_eq!(encode(None::<i32>), "null");
        let nothing = &();
        assert_eq!(encode(nothing), "");
        assert_eq!(encode(Value::Null), "null");
        assert_eq!(encode(serde_json::Value::Null), "null");
        assert_eq!(encode(Some(1)), "1");
        assert_eq!(encode("a\"b"), "\"a\\\"b\"");
        assert_eq!(encode((1, "two", (3, 4), ())), "1,\"two\",[3,4],null");
        assert_eq!(encode(vec![1, 2]), "[1,2]");
        assert_eq!(encode(&[1, 2][..]), "[1,2]");
        assert_eq!(encode(Vec::<i32>::new()), "[]");
        assert_eq!(encode(((),)), "null");
        assert_eq!(encode(Point { x: 1, y: (2, 3) }), r#"{"x":1,"y":[2,3]}"#);
        assert_eq!(encode(Wrapped((1, 2))), "[1,2]");
        assert_eq!(
            encode(BTreeMap::from([(1, "a"), (2, "b")])),
            r#"{"1":"a","2":"b"}"#
        );
        assert_eq!(
            encode(serde_json::json!({"a": [1, null]})),
            r#"{"a":[1,null]}"#
        );
        assert_eq!(encode(Ok::<i32, i32>(1)), r#"{"Ok":1}"#);
        assert_eq!(encode(Args(vec![1.into(), "x".into()])), "1,\"x\"");
    }

    #[test]
    fn bytes_become_attachments_at_any_depth() {
        let data = (
            Binary::from(&b"one"[..]),
            BTreeMap::from([("k", vec![Binary::from(&b"two"[..])])]),
        );
        let encoded = EncodedArgs::new(&data).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&encoded.items),
            r#"{"_placeholder":true,"num":0},{"k":[{"_placeholder":true,"num":1}]}"#
        );
        assert_eq!(encoded.attachments, ["one", "two"]);
    }
}
