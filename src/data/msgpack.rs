//! Arguments in MessagePack, out and in: user types straight to bytes and from them, by rmp-serde.

use super::args::{ArgError, ArgsVisitor, FromArgs};
use super::binary;
use rmp_serde::Serializer;
use rmp_serde::config::{DefaultConfig, HumanReadableConfig, StructMapConfig};
use serde::Serialize;
use serde::de::Deserializer as _;
use serde::ser::{Error as _, Impossible, SerializeTuple};
use std::marker::PhantomData;

type MsgpackError = rmp_serde::encode::Error;
/// Structs are maps, and types that have a form for people write that, as in JSON.
type Config = HumanReadableConfig<StructMapConfig<DefaultConfig>>;

/// Levels of lists and objects that a handler's type may read: packets were checked for fewer.
const MAX_DEPTH: usize = 1024;

/// Decodes the items of an array one by one, skipping an event's name.
pub(super) fn decode<T: FromArgs>(bytes: &[u8], skip: usize) -> Result<T, ArgError> {
    // `0x90` is an array of none.
    let bytes = if bytes.is_empty() { &[0x90] } else { bytes };
    let mut at = 0;
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    deserializer.set_max_depth(MAX_DEPTH);
    let visitor = ArgsVisitor {
        skip,
        at: &mut at,
        wanted: PhantomData,
    };
    let decoded = binary::natively(|| deserializer.deserialize_seq(visitor));
    decoded.map_err(|error| find_mismatch::<T>(bytes, skip, at, &error.to_string()))
}

/// Decodes once more, slowly, to find the place of an error.
fn find_mismatch<T: FromArgs>(bytes: &[u8], skip: usize, argument: usize, why: &str) -> ArgError {
    let mut ignored = 0;
    let mut track = serde_path_to_error::Track::new();
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    deserializer.set_max_depth(MAX_DEPTH);
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let visitor = ArgsVisitor::<T> {
        skip,
        at: &mut ignored,
        wanted: PhantomData,
    };
    let _ = binary::natively(|| tracked.deserialize_seq(visitor));
    ArgError::new(argument, &track.path().to_string(), why)
}

/// Appends data to arguments: a tuple is several, `()` is none if `is_nothing`, anything else one.
/// Returns how many were appended.
pub(super) fn append<T: Serialize + ?Sized>(
    data: &T,
    is_nothing: bool,
    out: &mut Vec<u8>,
) -> Result<u32, MsgpackError> {
    let mut inner = Serializer::new(out).with_struct_map().with_human_readable();
    let mut count = 1;
    let serializer = MsgpackArgSerializer {
        inner: &mut inner,
        count: &mut count,
        is_nothing,
    };
    binary::natively(|| data.serialize(serializer))?;
    Ok(count)
}

/// Serializes at the top level, where tuples spread into arguments.
struct MsgpackArgSerializer<'a, 'b> {
    inner: &'a mut Serializer<&'b mut Vec<u8>, Config>,
    count: &'a mut u32,
    is_nothing: bool,
}

/// All that is one argument is rmp-serde's.
macro_rules! forward {
    ($($method:ident($($argument:ident: $kind:ty),*) -> $result:ident,)*) => {
        $(fn $method(self, $($argument: $kind),*) -> Result<Self::$result, MsgpackError> {
            self.inner.$method($($argument),*)
        })*
    };
}

impl<'a, 'b> serde::Serializer for MsgpackArgSerializer<'a, 'b> {
    type Ok = ();
    type Error = MsgpackError;
    type SerializeSeq =
        <&'a mut Serializer<&'b mut Vec<u8>, Config> as serde::Serializer>::SerializeSeq;
    type SerializeTuple = TupleArgs<'a, 'b>;
    type SerializeTupleStruct =
        <&'a mut Serializer<&'b mut Vec<u8>, Config> as serde::Serializer>::SerializeTupleStruct;
    type SerializeTupleVariant = Impossible<(), MsgpackError>;
    type SerializeMap =
        <&'a mut Serializer<&'b mut Vec<u8>, Config> as serde::Serializer>::SerializeMap;
    type SerializeStruct =
        <&'a mut Serializer<&'b mut Vec<u8>, Config> as serde::Serializer>::SerializeStruct;
    type SerializeStructVariant = Impossible<(), MsgpackError>;

    forward! {
        serialize_bool(value: bool) -> Ok,
        serialize_i8(value: i8) -> Ok,
        serialize_i16(value: i16) -> Ok,
        serialize_i32(value: i32) -> Ok,
        serialize_i64(value: i64) -> Ok,
        serialize_i128(value: i128) -> Ok,
        serialize_u8(value: u8) -> Ok,
        serialize_u16(value: u16) -> Ok,
        serialize_u32(value: u32) -> Ok,
        serialize_u64(value: u64) -> Ok,
        serialize_u128(value: u128) -> Ok,
        serialize_f32(value: f32) -> Ok,
        serialize_f64(value: f64) -> Ok,
        serialize_char(value: char) -> Ok,
        serialize_str(value: &str) -> Ok,
        serialize_bytes(value: &[u8]) -> Ok,
        serialize_none() -> Ok,
        serialize_unit_struct(name: &'static str) -> Ok,
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> Ok,
        serialize_seq(length: Option<usize>) -> SerializeSeq,
        serialize_tuple_struct(name: &'static str, length: usize) -> SerializeTupleStruct,
        serialize_map(length: Option<usize>) -> SerializeMap,
        serialize_struct(name: &'static str, length: usize) -> SerializeStruct,
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), MsgpackError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), MsgpackError> {
        if self.is_nothing {
            *self.count = 0;
            return Ok(());
        }
        self.inner.serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), MsgpackError> {
        value.serialize(self.inner)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), MsgpackError> {
        self.inner
            .serialize_newtype_variant(name, index, variant, value)
    }

    fn serialize_tuple(self, _: usize) -> Result<TupleArgs<'a, 'b>, MsgpackError> {
        *self.count = 0;
        Ok(TupleArgs {
            inner: self.inner,
            count: self.count,
        })
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, MsgpackError> {
        Err(MsgpackError::custom(super::unsupported(name)))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, MsgpackError> {
        Err(MsgpackError::custom(super::unsupported(name)))
    }
}

/// Items of a tuple, each an argument.
struct TupleArgs<'a, 'b> {
    inner: &'a mut Serializer<&'b mut Vec<u8>, Config>,
    count: &'a mut u32,
}

impl SerializeTuple for TupleArgs<'_, '_> {
    type Ok = ();
    type Error = MsgpackError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), MsgpackError> {
        *self.count += 1;
        value.serialize(&mut *self.inner)
    }

    fn end(self) -> Result<(), MsgpackError> {
        Ok(())
    }
}
