//! Bytes at any depth of any serde type.
//!
//! JSON text holds a placeholder where bytes belong, and the bytes come separately. While
//! arguments are encoded or decoded, the attachments lie in a thread-local, where [`Binary`] puts
//! them or finds them; so plain serde_json is enough, and users' types need nothing special.

use bytes::Bytes;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// Number of attachments of a packet that are looked through for bytes that come again: as many as
/// a peer's packet may have.
const MAX_COMPARED: usize = 1_000;

thread_local! {
    /// Empty between two packets, so there is nothing to drop with the thread, whose other values
    /// may emit as they are dropped.
    static ATTACHMENTS: RefCell<ManuallyDrop<Attachments>> = const { RefCell::new(ManuallyDrop::new(Attachments::None)) };
}

enum Attachments {
    None,
    /// Of a packet that is being encoded.
    Out(Vec<Bytes>),
    /// Of a packet that is being decoded.
    In(Vec<Bytes>),
    /// The encoding has bytes of its own.
    #[cfg(feature = "msgpack")]
    Native,
}

/// Bytes in an event or an acknowledgement, as an argument of their own or anywhere inside one.
///
/// It can be encoded and decoded only as a part of an event, an acknowledgement or a
/// [`Value`](crate::Value); elsewhere, with serde_json alone, it is an error.
///
/// ```
/// # use socketio::{Binary, Server};
/// # let io = Server::new();
/// io.on("upload", |name: String, Binary(bytes): Binary| format!("{name}: {} bytes", bytes.len()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Binary(pub Bytes);

impl From<Vec<u8>> for Binary {
    fn from(bytes: Vec<u8>) -> Self {
        Binary(bytes.into())
    }
}

impl From<&[u8]> for Binary {
    fn from(bytes: &[u8]) -> Self {
        Binary(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<[u8; N]> for Binary {
    fn from(bytes: [u8; N]) -> Self {
        Binary::from(&bytes[..])
    }
}

impl<const N: usize> From<&[u8; N]> for Binary {
    fn from(bytes: &[u8; N]) -> Self {
        Binary::from(&bytes[..])
    }
}

impl From<Bytes> for Binary {
    fn from(bytes: Bytes) -> Self {
        Binary(bytes)
    }
}

impl Deref for Binary {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[cfg(feature = "msgpack")]
        if ATTACHMENTS.with_borrow(|it| matches!(**it, Attachments::Native)) {
            return serializer.serialize_bytes(&self.0);
        }
        let number = ATTACHMENTS.with_borrow_mut(|attachments| match &mut **attachments {
            Attachments::Out(list) => Some(index_in(list, &self.0)),
            _ => None,
        });
        let number =
            number.ok_or_else(|| S::Error::custom("bytes can be sent only in an event"))?;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("_placeholder", &true)?;
        map.serialize_entry("num", &number)?;
        map.end()
    }
}

/// Returns the index of these bytes in the list, to which they are added if they are new. The same bytes in several places are sent once: a peer
/// that repeats a placeholder must not make an answer of gigabytes.
fn index_in(list: &mut Vec<Bytes>, bytes: &Bytes) -> usize {
    let is_same = |other: &Bytes| other.as_ptr() == bytes.as_ptr() && other.len() == bytes.len();
    // More than these are not sent anyway, by default.
    let known = list.iter().take(MAX_COMPARED).position(is_same);
    known.unwrap_or_else(|| {
        list.push(bytes.clone());
        list.len() - 1
    })
}

/// Bytes, or the placeholder for them in JSON.
struct Placeholder;

impl<'de> Visitor<'de> for Placeholder {
    type Value = Binary;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Binary, E> {
        Ok(Binary::from(bytes))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Binary, E> {
        Ok(Binary::from(bytes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Binary, A::Error> {
        let (mut is_placeholder, mut number) = (false, None);
        while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
            match &*key {
                "_placeholder" => is_placeholder = entries.next_value()?,
                "num" => number = Some(entries.next_value()?),
                _ => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        let number = number.filter(|_| is_placeholder);
        number
            .and_then(attachment)
            .ok_or_else(|| A::Error::custom("no bytes here"))
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Placeholder)
    }
}

/// Returns the attachment of this number, in a packet that is being decoded.
pub(super) fn attachment(number: usize) -> Option<Binary> {
    ATTACHMENTS.with_borrow(|attachments| match &**attachments {
        Attachments::In(list) => list.get(number).cloned().map(Binary),
        _ => None,
    })
}

/// Returns whether a packet with attachments is being decoded.
pub(super) fn has_attachments() -> bool {
    ATTACHMENTS.with_borrow(
        |attachments| matches!(&**attachments, Attachments::In(list) if !list.is_empty()),
    )
}

/// Encodes, and appends the bytes that came up to `attachments`.
pub(super) fn collect<T>(attachments: &mut Vec<Bytes>, encode: impl FnOnce() -> T) -> T {
    let scope = Scope::enter(Attachments::Out(std::mem::take(attachments)));
    let result = encode();
    if let Attachments::Out(list) = scope.leave() {
        *attachments = list;
    }
    result
}

/// Decodes with these bytes at hand.
pub(super) fn provide<T>(attachments: &[Bytes], decode: impl FnOnce() -> T) -> T {
    if attachments.is_empty() && !has_attachments() {
        return decode();
    }
    let _scope = Scope::enter(Attachments::In(attachments.to_vec()));
    decode()
}

/// Encodes or decodes with bytes as the encoding itself has them.
#[cfg(feature = "msgpack")]
pub(super) fn natively<T>(run: impl FnOnce() -> T) -> T {
    let _scope = Scope::enter(Attachments::Native);
    run()
}

/// Puts the thread-local back as it was, also when a user's type panics.
struct Scope {
    before: Option<Attachments>,
}

impl Scope {
    fn enter(attachments: Attachments) -> Scope {
        Scope {
            before: Some(set(attachments)),
        }
    }

    fn leave(mut self) -> Attachments {
        match self.before.take() {
            Some(before) => set(before),
            None => Attachments::None,
        }
    }
}

/// Sets the attachments of this thread; returns those before.
fn set(attachments: Attachments) -> Attachments {
    let before = ATTACHMENTS.replace(ManuallyDrop::new(attachments));
    ManuallyDrop::into_inner(before)
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            drop(set(before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_outside_of_an_event_are_an_error() {
        assert!(serde_json::to_string(&Binary::from(vec![1])).is_err());
        assert!(serde_json::from_str::<Binary>(r#"{"_placeholder":true,"num":0}"#).is_err());
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let result = std::panic::catch_unwind(|| {
            provide(&[Bytes::from_static(b"x")], || {
                panic!("in a type of a test")
            });
        });
        assert!(result.is_err());
        assert!(!has_attachments());
    }

    #[test]
    fn what_encodes_may_encode_something_else_meanwhile() {
        let mut outer = Vec::new();
        collect(&mut outer, || {
            let _ = serde_json::to_string(&Binary::from(vec![1]));
            let mut inner = Vec::new();
            collect(&mut inner, || {
                serde_json::to_string(&Binary::from(vec![2])).unwrap()
            });
            assert_eq!(inner.len(), 1);
        });
        assert_eq!(outer, [Bytes::from_static(&[1])]);
    }
}
