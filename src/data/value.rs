//! Data of any shape.

use super::binary::{self, Binary};
use crate::error::Error;
use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Index;

/// The entries of an object, in the order in which they came, or were added. That order is no part of
/// equality.
///
/// ```
/// use socketio::{Object, Value};
///
/// let mut point = Object::new();
/// point.insert("x".into(), Value::from(1));
/// assert_eq!(Value::Object(point)["x"], 1);
/// ```
pub type Object = IndexMap<String, Value>;

/// Any data of an event: JSON, with bytes in it.
///
/// ```
/// use socketio::Value;
///
/// let value = Value::from(serde_json::json!({"name": "Ada", "tags": ["a", "b"]}));
/// assert_eq!(value["tags"][1].as_str(), Some("b"));
/// assert_eq!(value["nothing"], Value::Null);
/// ```
///
/// Exhaustive on purpose: JSON has no other kinds.
#[derive(Clone, Default, PartialEq)]
pub enum Value {
    /// `null`, and what is not there.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// Text.
    String(String),
    /// Bytes.
    Binary(Binary),
    /// A list.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

static NULL: Value = Value::Null;

impl Value {
    /// Returns the text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number, if it is a whole one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// Returns the number, if it is a whole one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// Returns the number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// Returns the truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the bytes, if it is bytes.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Value::Binary(Binary(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the items, if it is a list.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entries, if it is an object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// Reads JSON text.
    ///
    /// # Errors
    /// [`Error::Decode`] if it is none, or is nested more than 127 levels deep.
    pub fn from_json(text: &str) -> Result<Value, Error> {
        serde_json::from_str(text).map_err(|error| Error::Decode(error.into()))
    }

    /// Returns it as JSON text.
    ///
    /// # Errors
    /// [`Error::Encode`] if there are bytes in it.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::Encode(error.into()))
    }

    /// Returns whether it is `null`.
    pub fn is_null(&self) -> bool {
        *self == Value::Null
    }

    /// Returns the value under a key, if it is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(entries) => entries.get(key),
            _ => None,
        }
    }
}

impl Index<&str> for Value {
    type Output = Value;

    /// Returns the value under a key; null if there is none.
    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }
}

impl Index<usize> for Value {
    type Output = Value;

    /// Returns the item at an index; null if there is none.
    fn index(&self, index: usize) -> &Value {
        self.as_array()
            .and_then(|items| items.get(index))
            .unwrap_or(&NULL)
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => Value::Number(number),
            serde_json::Value::String(text) => Value::String(text),
            serde_json::Value::Array(items) => {
                Value::Array(items.into_iter().map(Value::from).collect())
            }
            serde_json::Value::Object(entries) => {
                let entries = entries.into_iter();
                Value::Object(entries.map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

macro_rules! from {
    ($($kind:ty => |$value:ident| $make:expr;)*) => {
        $(impl From<$kind> for Value {
            fn from($value: $kind) -> Self {
                $make
            }
        })*
    };
}

from! {
    bool => |value| Value::Bool(value);
    i32 => |value| Value::Number(value.into());
    i64 => |value| Value::Number(value.into());
    u32 => |value| Value::Number(value.into());
    u64 => |value| Value::Number(value.into());
    f64 => |value| serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number);
    u8 => |value| Value::Number(value.into());
    u16 => |value| Value::Number(value.into());
    usize => |value| Value::Number(value.into());
    f32 => |value| f64::from(value).into();
    &str => |value| Value::String(value.to_owned());
    String => |value| Value::String(value);
    Vec<Value> => |value| Value::Array(value);
    Object => |value| Value::Object(value);
    Binary => |value| Value::Binary(value);
    Bytes => |value| Value::Binary(Binary(value));
}

/// Equal is what would be equal as a [`Value`].
macro_rules! equals {
    ($($kind:ty)*) => {
        $(impl PartialEq<$kind> for Value {
            fn eq(&self, other: &$kind) -> bool {
                let other = Value::from(*other);
                *self == other
            }
        })*
    };
}

equals!(bool i32 i64 u32 u64 f64);

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(other)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => number.serialize(serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::Binary(bytes) => bytes.serialize(serializer),
            Value::Array(items) => serializer.collect_seq(items),
            Value::Object(entries) => serializer.collect_map(entries),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Binary::from(bytes).into())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Binary::from(bytes).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some((key, value)) = entries.next_entry::<String, Value>()? {
            object.insert(key, value);
        }
        // In a packet without attachments a placeholder is an object like any other.
        if binary::has_attachments() && object.get("_placeholder") == Some(&Value::Bool(true)) {
            let number = object.get("num").and_then(Value::as_i64);
            let number = number.and_then(|number| usize::try_from(number).ok());
            if let Some(bytes) = number.and_then(binary::attachment) {
                return Ok(Value::Binary(bytes));
            }
        }
        Ok(Value::Object(object))
    }
}

/// The same as `Display`.
impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// As JSON; of bytes, only how many there are.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => formatter.write_str("null"),
            Value::Bool(value) => value.fmt(formatter),
            Value::Number(number) => number.fmt(formatter),
            Value::String(text) => write!(formatter, "{}", serde_json::Value::from(text.as_str())),
            Value::Binary(bytes) => write!(formatter, "<{} bytes>", bytes.len()),
            Value::Array(items) => {
                formatter.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(formatter, "{}{item}", if index > 0 { "," } else { "" })?;
                }
                formatter.write_str("]")
            }
            Value::Object(entries) => {
                formatter.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    let key = serde_json::Value::from(key.as_str());
                    write!(
                        formatter,
                        "{}{key}:{value}",
                        if index > 0 { "," } else { "" }
                    )?;
                }
                formatter.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::EncodedArgs;
    use crate::data::args::decode;

    #[test]
    fn a_value_with_bytes_survives_the_way() {
        let value = Value::Array(vec![
            Value::Binary(Binary::from(&b"x"[..])),
            serde_json::json!({"a": 1.5, "b": null, "c": -1}).into(),
        ]);
        let encoded = EncodedArgs::new(&value).unwrap();
        let mut json = Vec::new();
        encoded.write_array(None, &mut json);
        let json = String::from_utf8(json).unwrap();
        let (decoded,): (Value,) = decode(&json, 0, &encoded.attachments).unwrap();
        assert_eq!(decoded, value);
        assert_eq!(
            value.to_string(),
            r#"[<1 bytes>,{"a":1.5,"b":null,"c":-1}]"#
        );
    }

    #[test]
    fn an_object_keeps_the_order_of_its_keys() {
        let text = r#"{"z":1,"a":{"y":2,"b":3},"m":null}"#;
        let (value,): (Value,) = decode(&format!("[{text}]"), 0, &[]).unwrap();
        assert_eq!(format!("{value} {value:?}"), format!("{text} {text}"));
        let back: std::collections::BTreeMap<String, Value> = value.decode().unwrap();
        assert_eq!(back["a"]["b"], Value::from(3));
        let other: Value = serde_json::json!({"m": null, "z": 1, "a": {"b": 3, "y": 2}}).into();
        assert_eq!(value, other);
    }

    #[test]
    fn a_value_decodes_into_types_with_bytes() {
        let value = Value::Array(vec!["x".into(), Binary::from(&b"yz"[..]).into()]);
        let (text, bytes): (String, Binary) = value.decode().unwrap();
        assert_eq!((text.as_str(), &bytes.0[..]), ("x", &b"yz"[..]));
        let wrong = value.decode::<u8>();
        assert!(matches!(wrong, Err(Error::Decode(_))), "{wrong:?}");
    }

    #[test]
    fn a_placeholder_without_attachments_is_an_object() {
        let (value,): (Value,) = decode(r#"[{"_placeholder":true,"num":0}]"#, 0, &[]).unwrap();
        assert_eq!(value["num"].as_i64(), Some(0));
    }
}
