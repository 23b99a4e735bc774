//! Checks on JSON text that serde_json leaves to its callers.

use super::packet::PacketError;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::fmt;

/// Checks that the text is JSON and not nested deeper than `depth`.
pub(crate) fn check(text: &str, depth: usize) -> Result<(), PacketError> {
    check_depth(text.as_bytes(), depth)?;
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(PacketError::Json),
    }
}

/// Checks an array whose first item names an event, and returns the name.
pub(crate) fn check_event(text: &str, depth: usize) -> Result<Cow<'_, str>, PacketError> {
    check_depth(text.as_bytes(), depth)?;
    let mut json = serde_json::Deserializer::from_str(text);
    json.disable_recursion_limit();
    let name = json.deserialize_seq(EventShape).map_err(|error| {
        if error.is_data() {
            PacketError::Payload
        } else {
            PacketError::Json
        }
    })?;
    json.end().map_err(|_| PacketError::Json)?;
    Ok(name)
}

/// Checks how deep values are nested: serde_json skips unwanted ones without counting that, and a
/// value that is skipped here may be built by a handler.
pub(crate) fn check_depth(json: &[u8], limit: usize) -> Result<(), PacketError> {
    // Whatever is opened is closed, or it is no JSON.
    if json.len() <= 2 * limit {
        return Ok(());
    }
    let opening = |byte: &u8| matches!(byte, b'[' | b'{');
    if json.iter().filter(|byte| opening(byte)).count() <= limit {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return Err(PacketError::Depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that every placeholder names one of `count` attachments (CVE-2022-2421).
pub(crate) fn check_placeholders(text: &str, count: usize) -> Result<(), PacketError> {
    let mut json = serde_json::Deserializer::from_str(text);
    json.disable_recursion_limit();
    match Placeholders(count).deserialize(&mut json) {
        Ok(_) => Ok(()),
        Err(error) if is_out_of_range(&error) => Err(PacketError::Number),
        Err(_) => Err(PacketError::Placeholder),
    }
}

/// Returns whether a number is why a text that is JSON was not read: JavaScript reads 1e400 as
/// infinity.
pub(crate) fn is_out_of_range(error: &serde_json::Error) -> bool {
    error.is_syntax() && error.to_string().starts_with("number out of range")
}

/// Returns whether a text holds half of a surrogate pair (`"\ud83d"`), which JavaScript writes
/// where it has cut a string, and which no Rust string can hold. Only looks for escapes.
pub(crate) fn has_lone_surrogate(text: &str) -> bool {
    // Most texts have no escape at all, and `contains` is quick.
    text.as_bytes().contains(&b'\\')
        && Escapes::new(text).any(|(_, escape)| matches!(escape, Escape::Lone))
}

/// Returns what serde_json would not read, as JavaScript has it when it writes it again: lone
/// surrogates are U+FFFD, and numbers beyond those of f64 null. With `lenient`, so are `NaN` and
/// `Infinity`, which python writes.
pub(crate) fn normalized(text: &str, lenient: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut copied) = (0, 0);
    let mut replace = |from: usize, to: usize, with: &str, out: &mut String| {
        out.push_str(&text[copied..from]);
        out.push_str(with);
        copied = to;
    };
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let Some(end) = string_end(bytes, at + 1) else {
                    // It is no JSON.
                    break;
                };
                let inner = &text[at + 1..end - 1];
                for (escape_at, escape) in Escapes::new(inner) {
                    if let Escape::Lone = escape {
                        let from = at + 1 + escape_at;
                        replace(from, from + 6, "\\ufffd", &mut out);
                    }
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                let length = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                let end = at + length;
                // `-Infinity`
                if lenient && text[end..].starts_with("Infinity") && length == 1 {
                    replace(at, end + 8, "null", &mut out);
                    at = end + 8;
                    continue;
                }
                // serde_json refuses some numbers, too, that only just fit.
                let number = &text[at..end];
                if serde_json::from_str::<f64>(number).is_err_and(|error| is_out_of_range(&error)) {
                    let nearest = number.parse::<f64>().ok().filter(|it| it.is_finite());
                    let nearest = nearest.map(|it| format!("{it:e}"));
                    let nearest = nearest.filter(|it| serde_json::from_str::<f64>(it).is_ok());
                    replace(at, end, nearest.as_deref().unwrap_or("null"), &mut out);
                }
                at = end;
            }
            b'N' | b'I' if lenient => {
                let word = ["NaN", "Infinity"]
                    .into_iter()
                    .find(|word| text[at..].starts_with(word));
                match word {
                    Some(word) => {
                        replace(at, at + word.len(), "null", &mut out);
                        at += word.len();
                    }
                    None => at += 1,
                }
            }
            _ => at += 1,
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// Returns where the string ends whose content begins at `at`: behind its quotation mark, if it has
/// one.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The escapes in a JSON text, with their places. Outside of strings there are none.
struct Escapes<'a> {
    bytes: &'a [u8],
    at: usize,
}

enum Escape {
    /// Half of a surrogate pair.
    Lone,
    Other,
}

impl Escapes<'_> {
    fn new(text: &str) -> Escapes<'_> {
        Escapes {
            bytes: text.as_bytes(),
            at: 0,
        }
    }

    /// Returns the code unit of the four digits behind a `\u` at a place.
    fn unit(&self, at: usize) -> Option<u16> {
        let escape = self.bytes.get(at..at + 6)?;
        let digits = escape.strip_prefix(b"\\u")?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

impl Iterator for Escapes<'_> {
    type Item = (usize, Escape);

    fn next(&mut self) -> Option<(usize, Escape)> {
        let rest = self.bytes.get(self.at..)?;
        let at = self.at + rest.iter().position(|byte| *byte == b'\\')?;
        let (length, escape) = match self.unit(at) {
            Some(0xd800..=0xdbff) => match self.unit(at + 6) {
                Some(0xdc00..=0xdfff) => (12, Escape::Other),
                _ => (6, Escape::Lone),
            },
            Some(0xdc00..=0xdfff) => (6, Escape::Lone),
            _ => (2, Escape::Other),
        };
        self.at = at + length;
        Some((at, escape))
    }
}

/// Reads JSON text that a peer sent: what serde_json refuses and JavaScript reads is
/// [`normalized`] first.
pub(crate) fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    match serde_json::from_str(text) {
        Err(error) if is_out_of_range(&error) || has_lone_surrogate(text) => {
            serde_json::from_str(&normalized(text, false))
        }
        result => result,
    }
}

struct EventShape;

impl<'de> Visitor<'de> for EventShape {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array that begins with the event's name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let name = items
            .next_element_seed(EventNameSeed)?
            .ok_or_else(|| A::Error::custom("no event name"))?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(name)
    }
}

/// A string or a number, as the reference implementation allows.
struct EventNameSeed;

impl<'de> DeserializeSeed<'de> for EventNameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EventNameSeed {
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

/// Kind of a value, as far as placeholders go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ValueKind {
    True,
    Number(u64),
    Other,
}

impl<'de> DeserializeSeed<'de> for Placeholders {
    type Value = ValueKind;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<ValueKind, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Placeholders {
    type Value = ValueKind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<ValueKind, E> {
        Ok(if value {
            ValueKind::True
        } else {
            ValueKind::Other
        })
    }

    fn visit_i64<E>(self, _: i64) -> Result<ValueKind, E> {
        Ok(ValueKind::Other)
    }

    fn visit_u64<E>(self, value: u64) -> Result<ValueKind, E> {
        Ok(ValueKind::Number(value))
    }

    fn visit_f64<E>(self, _: f64) -> Result<ValueKind, E> {
        Ok(ValueKind::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<ValueKind, E> {
        Ok(ValueKind::Other)
    }

    fn visit_unit<E>(self) -> Result<ValueKind, E> {
        Ok(ValueKind::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ValueKind, A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(ValueKind::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ValueKind, A::Error> {
        let (mut is_placeholder, mut is_valid) = (false, false);
        while let Some(key) = entries.next_key::<Cow<'de, str>>()? {
            // Also below these keys there may be placeholders.
            let value = entries.next_value_seed(self)?;
            match (&*key, value) {
                ("_placeholder", value) => is_placeholder = value == ValueKind::True,
                ("num", ValueKind::Number(number)) => is_valid = number < self.0 as u64,
                ("num", _) => is_valid = false,
                _ => {}
            }
        }
        if is_placeholder && !is_valid {
            return Err(A::Error::custom("a placeholder without its attachment"));
        }
        Ok(ValueKind::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(&nested(64), 64), Ok(()));
        assert_eq!(check(&nested(65), 64), Err(PacketError::Depth));
        assert_eq!(check(&nested(100_000), 64), Err(PacketError::Depth));
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
            assert_eq!(check_event(shape, 64), Err(PacketError::Payload), "{shape}");
        }
        for text in [r#"["a""#, r#"["a"]x"#, r#"["a",]"#, "[\"a\",1e]", ""] {
            assert_eq!(check_event(text, 64), Err(PacketError::Json), "{text}");
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
            assert_eq!(check(&text), Err(PacketError::Placeholder), "{num}");
        }
        assert_eq!(
            check(r#"[{"_placeholder":true}]"#),
            Err(PacketError::Placeholder)
        );
        for key in ["num", "_placeholder", "x"] {
            let text = format!(r#"[{{"{key}":{{"_placeholder":true,"num":9}}}}]"#);
            assert_eq!(check(&text), Err(PacketError::Placeholder), "{key}");
        }
        assert_eq!(check("[1e400]"), Err(PacketError::Number));
    }

    #[test]
    fn halves_of_pairs_are_replaced_and_nothing_else() {
        for (text, wanted) in [
            (r#"["\ud83d"]"#, r#"["\ufffd"]"#),
            (
                r#"["\uDE00x","\ud83d\ude00"]"#,
                r#"["\ufffdx","\ud83d\ude00"]"#,
            ),
            (
                r#"{"k\ud800":"\ud83d\ud83d\ude00"}"#,
                r#"{"k\ufffd":"\ufffd\ud83d\ude00"}"#,
            ),
            (r#"["\ud83d\n","\\ud83d"]"#, r#"["\ufffd\n","\\ud83d"]"#),
            (r#"["\\\ud83d"]"#, r#"["\\\ufffd"]"#),
        ] {
            assert!(has_lone_surrogate(text), "{text}");
            assert_eq!(normalized(text, false), wanted);
        }
        for text in [
            r#"["\ud83d\ude00"]"#,
            r#"["\\ud83d"]"#,
            r#"["\u00e9 é 😀"]"#,
            "[]",
        ] {
            assert!(!has_lone_surrogate(text), "{text}");
            assert_eq!(normalized(text, false), text);
        }
    }

    #[test]
    fn what_is_no_json_stays_what_it_is() {
        for text in [
            "[\"",
            "[\"\\",
            "[\"\\ud83d",
            "\"\\u",
            "1e",
            "-",
            "-I",
            "[1e400",
        ] {
            let normal = normalized(text, true);
            assert!(
                serde_json::from_str::<IgnoredAny>(&normal).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_beyond_all_are_null() {
        for (text, lenient, wanted) in [
            (
                "[1e400,-1e999,1e4,\"1e400\"]",
                false,
                "[null,null,1e4,\"1e400\"]",
            ),
            (
                "[NaN,-Infinity,Infinity,\"NaN\",-1]",
                true,
                "[null,null,null,\"NaN\",-1]",
            ),
            ("[NaN]", false, "[NaN]"),
        ] {
            assert_eq!(normalized(text, lenient), wanted);
        }
        for text in ["1.7976931348623158e308", "1797693134862315700e290"] {
            let normal = normalized(text, false);
            assert!(
                serde_json::from_str::<Option<f64>>(&normal).is_ok(),
                "{normal}"
            );
        }
        for text in [
            "[\"\\ud83d\u{e9}",
            "[\"\u{e9}",
            "\"",
            "[\"a\\",
            "[\"\\ud83d",
        ] {
            assert_eq!(normalized(text, true), text, "what is no JSON stays");
        }
        let digits = format!("[{}]", "9".repeat(400));
        assert_eq!(normalized(&digits, false), "[null]");
        assert_eq!(
            read::<Vec<Option<f64>>>("[1e400,2]").unwrap(),
            [None, Some(2.0)]
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_normalized_is_json_again(text in "[\\[\\]{}\",:a-z0-9\\\\uUdDeE89.+-é😀]{0,40}") {
            let normal = normalized(&text, true);
            if serde_json::from_str::<IgnoredAny>(&text).is_ok() {
                proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&normal).is_ok(), "{}", normal);
            }
        }
    }
}
