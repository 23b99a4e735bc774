//! Checks on JSON text that serde_json leaves to its callers.

use super::packet::Invalid;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::fmt;

/// Checks that the text is JSON and not nested deeper than `depth`.
pub(crate) fn check(text: &str, depth: usize) -> Result<(), Invalid> {
    check_depth(text, depth)?;
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(Invalid::Json),
    }
}

/// Checks an array whose first item names an event, and gives the name.
pub(crate) fn check_event(text: &str, depth: usize) -> Result<Cow<'_, str>, Invalid> {
    check_depth(text, depth)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let name = json.deserialize_seq(EventShape).map_err(|error| {
        if error.is_data() {
            Invalid::Payload
        } else {
            Invalid::Json
        }
    })?;
    json.end().map_err(|_| Invalid::Json)?;
    Ok(name)
}

/// serde_json skips values that nobody wants without counting how deep they are nested, and a
/// value that is skipped here may be built by a handler.
fn check_depth(text: &str, limit: usize) -> Result<(), Invalid> {
    let opening = |byte: &u8| matches!(byte, b'[' | b'{');
    if text.bytes().filter(|byte| opening(byte)).count() <= limit {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return Err(Invalid::Depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that every placeholder names one of `count` attachments (CVE-2022-2421).
pub(crate) fn check_placeholders(text: &str, count: usize) -> Result<(), Invalid> {
    let mut json = serde_json::Deserializer::from_str(text);
    Placeholders(count)
        .deserialize(&mut json)
        .map_err(|_| Invalid::Placeholder)
}

struct EventShape;

impl<'de> Visitor<'de> for EventShape {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array that begins with the event's name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let name = items
            .next_element_seed(EventName)?
            .ok_or_else(|| A::Error::custom("no event name"))?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(name)
    }
}

/// A string or a number, as the reference implementation allows.
struct EventName;

impl<'de> DeserializeSeed<'de> for EventName {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EventName {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }

    fn visit_u64<E>(self, name: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_string()))
    }

    fn visit_i64<E>(self, name: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_string()))
    }

    fn visit_f64<E>(self, name: f64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_string()))
    }
}

/// Walks through any value and looks at the objects that are placeholders.
#[derive(Clone, Copy)]
struct Placeholders(usize);

impl<'de> DeserializeSeed<'de> for Placeholders {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Placeholders {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let (mut is_placeholder, mut is_valid) = (false, false);
        while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
            match &*key {
                "_placeholder" => {
                    let flag: serde_json::Value = entries.next_value()?;
                    is_placeholder = flag == serde_json::Value::Bool(true);
                }
                "num" => {
                    let number: serde_json::Value = entries.next_value()?;
                    is_valid = number.as_u64().is_some_and(|number| number < self.0 as u64);
                }
                _ => entries.next_value_seed(self)?,
            }
        }
        if is_placeholder && !is_valid {
            return Err(A::Error::custom("a placeholder without its attachment"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(&nested(64), 64), Ok(()));
        assert_eq!(check(&nested(65), 64), Err(Invalid::Depth));
        assert_eq!(check(&nested(100_000), 64), Err(Invalid::Depth));
        let quoted = format!("[\"{}\\\"[\"]", "[".repeat(1000));
        assert_eq!(check(&quoted, 64), Ok(()));
    }

    #[test]
    fn an_event_begins_with_a_string_or_a_number() {
        assert_eq!(check_event(r#"["a",1]"#, 64), Ok("a".into()));
        assert_eq!(check_event(r#"["\u0061"]"#, 64), Ok("a".into()));
        assert_eq!(check_event("[7]", 64), Ok("7".into()));
        for shape in [
            "[]",
            "{}",
            "[null]",
            "[true]",
            r#"[{"toString":"foo"}]"#,
            "\"a\"",
            "1",
        ] {
            assert_eq!(check_event(shape, 64), Err(Invalid::Payload), "{shape}");
        }
        for text in [r#"["a""#, r#"["a"]x"#, r#"["a",]"#, "[\"a\",1e]", ""] {
            assert_eq!(check_event(text, 64), Err(Invalid::Json), "{text}");
        }
    }

    #[test]
    fn a_placeholder_names_an_attachment_that_there_is() {
        let check = |text: &str| check_placeholders(text, 2);
        assert_eq!(
            check(r#"["a",{"_placeholder":true,"num":1},{"x":{"_placeholder":true,"num":1}}]"#),
            Ok(())
        );
        assert_eq!(check(r#"["a",{"_placeholder":false,"num":9}]"#), Ok(()));
        for num in ["2", "-1", "0.5", "\"splice\"", "9007199254740992", "null"] {
            let text = format!(r#"["a",[{{"_placeholder":true,"num":{num}}}]]"#);
            assert_eq!(check(&text), Err(Invalid::Placeholder), "{num}");
        }
        assert_eq!(
            check(r#"[{"_placeholder":true}]"#),
            Err(Invalid::Placeholder)
        );
    }
}
