//! Arguments of events and acknowledgements on their way in.

use super::binary;
use super::value::Value;
use crate::error::Error;
use crate::protocol::socketio::json::{is_out_of_range, normalized};
use bytes::Bytes;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// The arguments of an event, as values.
///
/// When it is sent, each value is an argument of its own, as the items of a tuple are. As the type
/// of an answer it takes all of its values, however many there are.
///
/// ```
/// use socketio::{Args, Event, Server};
///
/// let io = Server::new();
/// // Whatever comes goes back, as many arguments as there were.
/// io.on_any(|event: &Event| -> Args { event.args().unwrap_or_default() });
/// ```
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

/// Returns whether a type is [`Args`], which takes one value as a list of one.
pub(super) fn is_args<T>() -> bool {
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
    let visitor = ArgsVisitor {
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
    let visitor = ArgsVisitor::<T> {
        skip,
        at: &mut ignored,
        wanted: PhantomData,
    };
    let _ = binary::provide(attachments, || tracked.deserialize_seq(visitor));
    ArgError::new(argument, &track.path().to_string(), &error.to_string())
}

/// Number of items.
pub(super) struct Count(pub(super) usize);

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
    /// Creates the error of a place; `path` leads to it from the array.
    pub(super) fn new(argument: usize, path: &str, why: &str) -> ArgError {
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
            why: why.to_owned(),
        }
    }

    /// Returns what may be logged: what was expected and where, not what came, which may be a
    /// secret.
    pub(crate) fn without_value(&self, has_bytes: bool) -> String {
        let argument = self.argument + 1;
        let why = self.without_position();
        if why == MISSING {
            return format!("argument {argument} is missing");
        }
        // A placeholder is an object where something else was expected.
        let is_bytes = has_bytes && why.starts_with("invalid type: map")
            || why.starts_with("invalid type: byte array");
        let hint = if is_bytes {
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

    /// Returns everything that is known, for the caller; `numbered` if arguments are told apart.
    pub(crate) fn into_error(self, numbered: bool) -> Error {
        let why = self.without_position();
        let place = match &*self.place {
            "" => String::new(),
            place => format!("{place}: "),
        };
        let text = if why == MISSING && numbered {
            format!("argument {} is missing", self.argument + 1)
        } else if why == MISSING {
            "there is no value".to_owned()
        } else if numbered {
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

/// Types that several arguments decode into.
pub(crate) trait FromArgs: Sized {
    fn from_args<'de, A: SeqAccess<'de>>(items: &mut A, at: &mut usize) -> Result<Self, A::Error>;
}

pub(super) struct ArgsVisitor<'a, T> {
    pub(super) skip: usize,
    pub(super) at: &'a mut usize,
    pub(super) wanted: PhantomData<T>,
}

impl<'de, T: FromArgs> Visitor<'de> for ArgsVisitor<'_, T> {
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

impl<T: DeserializeOwned> FromArgs for Nth<T> {
    fn from_args<'de, A: SeqAccess<'de>>(items: &mut A, at: &mut usize) -> Result<Self, A::Error> {
        next_arg(items, at).map(Nth)
    }
}

/// All arguments that are left, as a tuple or a list.
pub(super) struct Rest<T>(pub(super) T);

impl<T: DeserializeOwned> FromArgs for Rest<T> {
    fn from_args<'de, A: SeqAccess<'de>>(items: &mut A, _: &mut usize) -> Result<Self, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(items)).map(Rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Binary;

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
        assert_eq!(decode::<Nth<String>>(json, 2, &[]).unwrap().0, "two");
        let wrong = decode::<(i64, i64)>(json, 1, &[]).unwrap_err();
        assert_eq!(wrong.argument, 1);
        assert!(decode::<(i64, String, Value, i64)>(json, 1, &[]).is_err());
    }
}
