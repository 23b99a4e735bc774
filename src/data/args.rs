//! Arguments of events and acknowledgements, out and in.

use super::binary;
use super::value::Value;
use crate::error::Error;
use crate::limits::OUTGOING_JSON_DEPTH;
use crate::protocol::socketio::json::{check_depth, is_out_of_range, normalized};
use bytes::Bytes;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{
    Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, SerializeTupleStruct,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// The arguments of an event, as values.
///
/// When it is sent, each value is an argument of its own, as the items of a tuple are. As the type
/// of an answer it takes all of its values, however many there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args(pub Vec<Value>);

impl Deref for Args {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for value in &self.0 {
            tuple.serialize_element(value)?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Args)
    }
}

/// Arguments as they are sent: the JSON of each, and the bytes that their placeholders name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[doc(hidden)]
pub struct EncodedArgs {
    /// The arguments, separated by commas, without brackets.
    pub(crate) json: Vec<u8>,
    pub(crate) attachments: Vec<Bytes>,
}

impl EncodedArgs {
    /// Encodes data: a tuple is several arguments, `()` is none, anything else is one; `None` and a
    /// value that is null are null.
    pub(crate) fn new(data: &(impl Serialize + ?Sized)) -> Result<EncodedArgs, Error> {
        let mut encoded = EncodedArgs::default();
        encoded.push(data)?;
        Ok(encoded)
    }

    pub(crate) fn push<T: Serialize + ?Sized>(&mut self, data: &T) -> Result<(), Error> {
        let json = &mut self.json;
        let is_nothing = is_unit::<T>();
        let encode = || data.serialize(ArgSerializer { json, is_nothing });
        match binary::collect(&mut self.attachments, encode) {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::Encode(error.into())),
        }
    }

    /// Returns an error if there are more attachments than may be in one packet, or lists and
    /// objects are nested deeper than clients take.
    pub(crate) fn check(&self, max: usize) -> Result<(), Error> {
        // The arguments themselves are in a list.
        if check_depth(&self.json, OUTGOING_JSON_DEPTH - 1).is_err() {
            return Err(Error::Invalid(format!(
                "data is nested too deeply: the other side may refuse more than {OUTGOING_JSON_DEPTH} levels"
            )));
        }
        let count = self.attachments.len();
        if count <= max {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{count} attachments in one packet: the other side may close the connection on more than {max}; Limits::outgoing_attachments, or max_outgoing_attachments of a client, raises that"
        )))
    }

    /// Forgets the arguments and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.json.clear();
        self.attachments.clear();
    }

    /// Writes the arguments as a JSON array, behind an event's name if there is one.
    pub(crate) fn write_array(&self, event: Option<&str>, out: &mut Vec<u8>) {
        out.push(b'[');
        if let Some(event) = event {
            // A string always serializes, and writing to a Vec does not fail.
            let _ = serde_json::to_writer(&mut *out, event);
            if !self.json.is_empty() {
                out.push(b',');
            }
        }
        out.extend_from_slice(&self.json);
        out.push(b']');
    }
}

/// Returns whether a type is `()`, or a reference to it. serde cannot tell it from the null of
/// other crates.
fn is_unit<T: ?Sized>() -> bool {
    std::any::type_name::<T>().trim_start_matches('&') == "()"
}

/// Returns whether a type is [`Args`], which takes one value as a list of one.
fn is_args<T>() -> bool {
    std::any::type_name::<T>() == std::any::type_name::<Args>()
}

/// Decodes the items of a JSON array one by one, skipping an event's name.
pub(crate) fn decode<T: FromArgs>(
    json: &str,
    skip: usize,
    attachments: &[Bytes],
) -> Result<T, ArgError> {
    let json = if json.is_empty() { "[]" } else { json };
    match decode_text(json, skip, attachments) {
        Err((_, error)) if is_out_of_range(&error) => {
            let normal = normalized(json, false);
            let decoded = decode_text(&normal, skip, attachments);
            decoded
                .map_err(|(at, error)| find_mismatch::<T>(&normal, skip, attachments, at, &error))
        }
        decoded => {
            decoded.map_err(|(at, error)| find_mismatch::<T>(json, skip, attachments, at, &error))
        }
    }
}

/// Decodes once; an error comes with the index of its argument.
fn decode_text<T: FromArgs>(
    json: &str,
    skip: usize,
    attachments: &[Bytes],
) -> Result<T, (usize, serde_json::Error)> {
    let mut at = 0;
    let mut deserializer = serde_json::Deserializer::from_str(json);
    // Its depth was checked when the packet was read.
    deserializer.disable_recursion_limit();
    let visitor = Items {
        skip,
        at: &mut at,
        wanted: PhantomData,
    };
    let decoded = binary::provide(attachments, || deserializer.deserialize_seq(visitor));
    decoded.map_err(|error| (at, error))
}

/// Decodes once more, slowly, to find the place of an error.
fn find_mismatch<T: FromArgs>(
    json: &str,
    skip: usize,
    attachments: &[Bytes],
    argument: usize,
    error: &serde_json::Error,
) -> ArgError {
    let mut ignored = 0;
    let mut track = serde_path_to_error::Track::new();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.disable_recursion_limit();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let visitor = Items::<T> {
        skip,
        at: &mut ignored,
        wanted: PhantomData,
    };
    let _ = binary::provide(attachments, || tracked.deserialize_seq(visitor));
    let path = track.path().to_string();
    let place = path.find(']').map_or("", |end| &path[end + 1..]);
    let place = place.trim_start_matches('.');
    // Keys are the peer's, of any length.
    let end = place.char_indices().nth(MAX_PLACE).map(|(at, _)| at);
    ArgError {
        argument,
        place: match end {
            Some(end) => format!("{}..", &place[..end]),
            None => place.to_owned(),
        },
        why: error.to_string(),
    }
}

/// Decodes all items of a JSON array but the first few as one value: none is null, one is itself,
/// several are a tuple or a list.
pub(crate) fn decode_data<T: DeserializeOwned>(
    json: &str,
    skip: usize,
    attachments: &[Bytes],
) -> Result<T, Error> {
    let fail = |mismatch: ArgError| mismatch.into_error(false);
    let Count(count) = decode(json, skip, &[]).map_err(fail)?;
    if count <= 1 && !is_args::<T>() {
        let Nth(value) = decode(json, skip, attachments).map_err(fail)?;
        return Ok(value);
    }
    let Rest(value) = decode(json, skip, attachments).map_err(fail)?;
    Ok(value)
}

/// Number of items.
struct Count(usize);

impl FromArgs for Count {
    fn from_args<'de, A: SeqAccess<'de>>(items: &mut A, _: &mut usize) -> Result<Self, A::Error> {
        let mut count = 0;
        while items.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Count(count))
    }
}

/// Reason why arguments are not of the wanted types.
#[derive(Debug)]
pub(crate) struct ArgError {
    /// Counted from zero.
    pub(crate) argument: usize,
    /// The path to it inside the argument: `list[1].n`.
    pub(crate) place: String,
    pub(crate) why: String,
}

/// Characters of a path that are shown.
const MAX_PLACE: usize = 80;

/// Error of [`next_arg`] for an argument that has not come, and may not be left out.
const MISSING: &str = "missing";

impl ArgError {
    /// Returns what may be logged: what was expected and where, not what came, which may be a
    /// secret.
    pub(crate) fn without_value(&self, has_bytes: bool) -> String {
        let argument = self.argument + 1;
        let why = self.without_position();
        if why == MISSING {
            return format!("argument {argument} is missing");
        }
        // A placeholder is an object where something else was expected.
        let hint = if has_bytes && why.starts_with("invalid type: map") {
            "; bytes are taken as `Binary`"
        } else {
            ""
        };
        let place = match &*self.place {
            "" => String::new(),
            place => format!(": {}", place.escape_debug()),
        };
        match why.rsplit_once(", expected ") {
            Some((_, expected)) => format!("argument {argument}{place} is not {expected}{hint}"),
            None if why.starts_with("missing field") && place.is_empty() => {
                format!("argument {argument}: {why}")
            }
            None if why.starts_with("missing field") => {
                format!("argument {argument}{place}: {why}")
            }
            None => format!("argument {argument}{place} is not what the handler takes{hint}"),
        }
    }

    /// Everything that is known, for who has asked; `numbered` if arguments are told apart.
    pub(crate) fn into_error(self, numbered: bool) -> Error {
        let why = self.without_position();
        let place = match &*self.place {
            "" => String::new(),
            place => format!("{place}: "),
        };
        let text = if numbered {
            format!("argument {}: {place}{why}", self.argument + 1)
        } else {
            format!("{place}{why}")
        };
        Error::Decode(text.into())
    }

    fn without_position(&self) -> &str {
        let position = self.why.rfind(" at line ").unwrap_or(self.why.len());
        &self.why[..position]
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
        let mut json = Vec::new();
        encoded.write_array(None, &mut json);
        let json = String::from_utf8_lossy(&json);
        let decoded = decode_nth(&json, 0, &encoded.attachments);
        decoded.map_err(|mismatch| mismatch.into_error(false))
    }
}

/// Types that several arguments decode into.
pub(crate) trait FromArgs: Sized {
    fn from_args<'de, A: SeqAccess<'de>>(items: &mut A, at: &mut usize) -> Result<Self, A::Error>;
}

struct Items<'a, T> {
    skip: usize,
    at: &'a mut usize,
    wanted: PhantomData<T>,
}

impl<'de, T: FromArgs> Visitor<'de> for Items<'_, T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of arguments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        for _ in 0..self.skip {
            items.next_element::<IgnoredAny>()?;
        }
        let value = T::from_args(&mut items, self.at)?;
        // More arguments than wanted are ignored, as JavaScript does.
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(value)
    }
}

/// Returns the next argument; one that is missing decodes as null.
pub(crate) fn next_arg<'de, T: DeserializeOwned, A: SeqAccess<'de>>(
    items: &mut A,
    at: &mut usize,
) -> Result<T, A::Error> {
    let value = match items.next_element()? {
        Some(value) => value,
        None => serde_json::from_str("null").map_err(|_| A::Error::custom(MISSING))?,
    };
    *at += 1;
    Ok(value)
}

macro_rules! from_args {
    ($($name:ident)*) => {
        impl<$($name: DeserializeOwned,)*> FromArgs for ($($name,)*) {
            #[allow(unused_variables)]
            fn from_args<'de, S: SeqAccess<'de>>(items: &mut S, at: &mut usize) -> Result<Self, S::Error> {
                Ok(($(next_arg::<$name, S>(items, at)?,)*))
            }
        }
    };
}

from_args!();
from_args!(A);
from_args!(A B);
from_args!(A B C);
from_args!(A B C D);
from_args!(A B C D E);
from_args!(A B C D E F);
from_args!(A B C D E F G);
from_args!(A B C D E F G H);

impl FromArgs for Args {
    fn from_args<'de, A: SeqAccess<'de>>(items: &mut A, at: &mut usize) -> Result<Self, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
            *at += 1;
        }
        Ok(Args(values))
    }
}

/// One argument, by its index.
pub(crate) struct Nth<T>(pub(crate) T);

/// Decodes the argument at `index`; the others are skipped.
pub(crate) fn decode_nth<T: DeserializeOwned>(
    json: &str,
    index: usize,
    attachments: &[Bytes],
) -> Result<T, ArgError> {
    decode::<Nth<T>>(json, index, attachments).map(|nth| nth.0)
}

impl<T: DeserializeOwned> FromArgs for Nth<T> {
    fn from_args<'de, A: SeqAccess<'de>>(items: &mut A, at: &mut usize) -> Result<Self, A::Error> {
        next_arg(items, at).map(Nth)
    }
}

/// All arguments that are left, as a tuple or a list.
struct Rest<T>(T);

impl<T: DeserializeOwned> FromArgs for Rest<T> {
    fn from_args<'de, A: SeqAccess<'de>>(items: &mut A, _: &mut usize) -> Result<Self, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(items)).map(Rest)
    }
}

/// Serializes at the top level: tuples spread into arguments, and all else is one.
struct ArgSerializer<'a> {
    json: &'a mut Vec<u8>,
    /// A unit is no argument, and not null.
    is_nothing: bool,
}

type Failure = serde_json::Error;

impl ArgSerializer<'_> {
    fn one(self, value: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
        serde_json::to_writer(self.json, value)
    }
}

/// A compound that is one argument: handed on to serde_json's own serializer.
macro_rules! scalars {
    ($($method:ident: $kind:ty,)*) => {
        $(fn $method(self, value: $kind) -> Result<(), Failure> {
            self.one(&value)
        })*
    };
}

impl<'a> Serializer for ArgSerializer<'a> {
    type Ok = ();
    type Error = Failure;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Arguments<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Impossible<(), Failure>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Impossible<(), Failure>;

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

    fn serialize_none(self) -> Result<(), Failure> {
        self.one(&())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Failure> {
        if self.is_nothing {
            Ok(())
        } else {
            self.one(&())
        }
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Failure> {
        self.one(&())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Failure> {
        self.one(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        self.one(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        self.one(&std::collections::BTreeMap::from([(variant, value)]))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, Failure> {
        Ok(Compound::open(self.json, b'[', b']'))
    }

    fn serialize_tuple(self, _: usize) -> Result<Arguments<'a>, Failure> {
        Ok(Arguments { json: self.json })
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, Failure> {
        Ok(Compound::open(self.json, b'[', b']'))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Failure> {
        Err(unsupported(name))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, Failure> {
        Ok(Compound::open(self.json, b'{', b'}'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, Failure> {
        Ok(Compound::open(self.json, b'{', b'}'))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Failure> {
        Err(unsupported(name))
    }
}

fn unsupported(name: &str) -> Failure {
    serde::ser::Error::custom(format!(
        "{name}: a variant with several fields cannot be all the data of an event; put it into a tuple: (value,)"
    ))
}

/// Items of a tuple, each an argument.
struct Arguments<'a> {
    json: &'a mut Vec<u8>,
}

impl SerializeTuple for Arguments<'_> {
    type Ok = ();
    type Error = Failure;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        ArgSerializer {
            json: self.json,
            is_nothing: false,
        }
        .one(value)
    }

    fn end(self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A list or an object, written item by item.
struct Compound<'a> {
    json: &'a mut Vec<u8>,
    close: u8,
    is_empty: bool,
}

impl<'a> Compound<'a> {
    fn open(json: &'a mut Vec<u8>, open: u8, close: u8) -> Compound<'a> {
        if !json.is_empty() {
            json.push(b',');
        }
        json.push(open);
        Compound {
            json,
            close,
            is_empty: true,
        }
    }

    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        if !std::mem::take(&mut self.is_empty) {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut *self.json, value)
    }

    fn key(&mut self, key: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        // serde_json knows which keys can be made strings: it writes `{"key":null}`.
        let object = serde_json::to_vec(&Entry(key))?;
        let key = object
            .get(1..object.len().saturating_sub(6))
            .unwrap_or_default();
        if !std::mem::take(&mut self.is_empty) {
            self.json.push(b',');
        }
        self.json.extend_from_slice(key);
        Ok(())
    }

    fn close(self) -> Result<(), Failure> {
        self.json.push(self.close);
        Ok(())
    }
}

/// An object with one key and null.
struct Entry<'a, K: ?Sized>(&'a K);

impl<K: Serialize + ?Sized> Serialize for Entry<'_, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &())?;
        map.end()
    }
}

impl SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = Failure;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        self.item(value)
    }

    fn end(self) -> Result<(), Failure> {
        self.close()
    }
}

impl SerializeTupleStruct for Compound<'_> {
    type Ok = ();
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        self.item(value)
    }

    fn end(self) -> Result<(), Failure> {
        self.close()
    }
}

impl SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Failure;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failure> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        self.json.push(b':');
        serde_json::to_writer(&mut *self.json, value)
    }

    fn end(self) -> Result<(), Failure> {
        self.close()
    }
}

impl SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        self.item(name)?;
        self.json.push(b':');
        serde_json::to_writer(&mut *self.json, value)
    }

    fn end(self) -> Result<(), Failure> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Binary;
    use std::collections::BTreeMap;

    fn encode(data: impl Serialize) -> String {
        String::from_utf8(EncodedArgs::new(&data).unwrap().json).unwrap()
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
            String::from_utf8_lossy(&encoded.json),
            r#"{"_placeholder":true,"num":0},{"k":[{"_placeholder":true,"num":1}]}"#
        );
        assert_eq!(encoded.attachments, ["one", "two"]);
    }

    #[test]
    fn what_is_logged_of_a_mismatch_holds_nothing_of_the_value() {
        let mismatch = |json| {
            decode::<(u8, Binary)>(json, 1, &[])
                .unwrap_err()
                .without_value(false)
        };
        assert_eq!(
            mismatch(r#"["e","secret, expected x"]"#),
            "argument 1 is not u8"
        );
        assert_eq!(mismatch(r#"["e",1,"secret"]"#), "argument 2 is not bytes");
        let bytes = [bytes::Bytes::from_static(b"x")];
        let json = r#"["e",{"_placeholder":true,"num":0}]"#;
        let mismatch = decode::<(Vec<u8>,)>(json, 1, &bytes).unwrap_err();
        assert_eq!(
            mismatch.without_value(true),
            "argument 1 is not a sequence; bytes are taken as `Binary`"
        );
    }

    #[test]
    fn missing_arguments_are_null_and_more_are_ignored() {
        let json = r#"["event",1,"two",{"three":3}]"#;
        let (one, two): (i64, String) = decode(json, 1, &[]).unwrap();
        assert_eq!((one, &*two), (1, "two"));
        let (_, _, _, four): (i64, String, Value, Option<i64>) = decode(json, 1, &[]).unwrap();
        assert_eq!(four, None);
        assert_eq!(decode::<Args>(json, 1, &[]).unwrap().len(), 3);
        assert_eq!(decode_nth::<String>(json, 2, &[]).unwrap(), "two");
        let wrong = decode::<(i64, i64)>(json, 1, &[]).unwrap_err();
        assert_eq!(wrong.argument, 1);
        assert!(decode::<(i64, String, Value, i64)>(json, 1, &[]).is_err());
    }
}
