//! The handshake: the content of the open packet (engine.io-protocol, "Handshake").

use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// Content of the open packet: the session that the server has opened. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenPacket {
    pub(crate) sid: String,
    #[serde(default, deserialize_with = "texts")]
    pub(crate) upgrades: Vec<String>,
    #[serde(deserialize_with = "number")]
    pub(crate) ping_interval: u64,
    #[serde(deserialize_with = "number")]
    pub(crate) ping_timeout: u64,
    /// Older servers say nothing about it.
    #[serde(default = "unlimited", deserialize_with = "limit")]
    pub(crate) max_payload: u64,
}

/// Servers with fields that nobody has set say null, or zero, and mean that there is no limit.
fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let number = number(value).unwrap_or(0);
    Ok(if number == 0 { u64::MAX } else { number })
}

/// Returns what there is of texts in a list, if it is one.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let serde_json::Value::Array(items) = serde_json::Value::deserialize(deserializer)? else {
        return Ok(Vec::new());
    };
    let texts = items.into_iter().filter_map(|item| match item {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    });
    Ok(texts.collect())
}

fn unlimited() -> u64 {
    u64::MAX
}

/// Reads a number, or text of one: python-engineio takes text here, and so there are servers that
/// send it.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(u64),
        Float(f64),
        Text(String),
    }
    match Number::deserialize(deserializer)? {
        Number::Whole(number) => Ok(number),
        // Below zero becomes zero, which is not sound either.
        Number::Float(number) => Ok(number as u64),
        Number::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl OpenPacket {
    /// Returns whether a client can work with it.
    pub(crate) fn is_valid(&self) -> bool {
        !self.sid.is_empty() && self.ping_interval > 0
    }

    /// Returns the packet's text without its type.
    pub(crate) fn to_json(&self) -> String {
        // Strings and integers always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Returns whole milliseconds, as the wire carries times.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_and_the_names_of_the_reference_implementation() {
        let open = OpenPacket {
            sid: "lv_VI97HAXpY6yYWAAAC".into(),
            upgrades: vec!["websocket".into()],
            ping_interval: 25_000,
            ping_timeout: 20_000,
            max_payload: 1_000_000,
        };
        assert_eq!(
            open.to_json(),
            r#"{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
        );
    }

    #[test]
    fn fractions_of_a_second_are_kept() {
        assert_eq!(milliseconds(Duration::from_millis(500)), 500);
    }

    #[test]
    fn what_other_servers_leave_out_or_write_as_text_is_understood() {
        let text = r#"{"sid":"x","pingInterval":"25000","pingTimeout":2e4}"#;
        let open: OpenPacket = serde_json::from_str(text).unwrap();
        assert!(open.is_valid() && open.upgrades.is_empty());
        assert_eq!((open.ping_interval, open.ping_timeout), (25_000, 20_000));
        assert_eq!(open.max_payload, u64::MAX);
        for wrong in [
            r#"{"pingInterval":1,"pingTimeout":1}"#,
            r#"{"sid":"x"}"#,
            r#"{"sid":"x","pingInterval":"a","pingTimeout":1}"#,
        ] {
            assert!(
                serde_json::from_str::<OpenPacket>(wrong).is_err(),
                "{wrong}"
            );
        }
        for unsound in [
            r#"{"sid":"","pingInterval":1,"pingTimeout":1}"#,
            r#"{"sid":"x","pingInterval":0,"pingTimeout":1}"#,
        ] {
            let open: OpenPacket = serde_json::from_str(unsound).unwrap();
            assert!(!open.is_valid(), "{unsound}");
        }
    }

    #[test]
    fn fields_that_a_server_has_not_set_limit_nothing() {
        for (field, upgrades) in [
            (r#""maxPayload":0"#, 0),
            (r#""maxPayload":-1,"upgrades":null"#, 0),
            (r#""maxPayload":null,"upgrades":["websocket",7]"#, 1),
            (r#""upgrades":{}"#, 0),
        ] {
            let text = format!(r#"{{"sid":"x","pingInterval":1,"pingTimeout":0,{field}}}"#);
            let open: OpenPacket = serde_json::from_str(&text).unwrap();
            assert!(open.is_valid(), "{field}");
            assert_eq!(
                (open.max_payload, open.upgrades.len()),
                (u64::MAX, upgrades)
            );
        }
    }
}
