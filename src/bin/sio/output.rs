//! Printed output: lines in colour on a terminal, lines of JSON elsewhere.

use crate::arguments;
use anstyle::{AnsiColor, Style};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use socketio::{Args, Error, Value};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

const EVENT: Style = AnsiColor::Cyan.on_default().bold();
const NAMESPACE: Style = AnsiColor::Yellow.on_default();
const NOTE: Style = Style::new().dimmed();

pub(crate) struct Output {
    is_json: bool,
    /// Lines name the namespace.
    is_several: bool,
    binary_out: Option<PathBuf>,
    files: AtomicU64,
}

impl Output {
    pub(crate) fn new(options: &arguments::Output, is_several: bool) -> Output {
        Output {
            is_json: options.json || !std::io::stdout().is_terminal(),
            is_several,
            binary_out: options.binary_out.clone(),
            files: AtomicU64::new(0),
        }
    }

    /// Prints an event that has come.
    pub(crate) fn event(&self, namespace: &str, event: &str, args: &Args) -> Result<(), Error> {
        let line = self.event_line(namespace, event, args)?;
        self.line(&line)
    }

    pub(crate) fn answer(&self, answer: &Value) -> Result<(), Error> {
        let answer = self.to_json("answer", answer)?;
        if self.is_json {
            return self.line(&json!({ "answer": answer }).to_string());
        }
        self.line(&answer.to_string())
    }

    /// Returns the line for an event.
    pub(crate) fn event_line(
        &self,
        namespace: &str,
        event: &str,
        args: &Args,
    ) -> Result<String, Error> {
        let args = args.iter().map(|value| self.to_json(event, value));
        let args = args.collect::<Result<Vec<_>, _>>()?;
        if self.is_json {
            let mut line = json!({ "event": event, "args": args });
            if self.is_several {
                line["namespace"] = namespace.into();
            }
            return Ok(line.to_string());
        }
        // What a server sends is not to move the cursor.
        let mut line = if self.is_several {
            format!("{NAMESPACE}{}{NAMESPACE:#} ", namespace.escape_debug())
        } else {
            String::new()
        };
        line.push_str(&format!("{EVENT}{}{EVENT:#}", event.escape_debug()));
        for value in args {
            // JSON escapes the control characters below a space, and not those behind ASCII.
            let is_control = |it: char| ('\u{7f}'..='\u{9f}').contains(&it);
            let value = value.to_string().replace(is_control, "\u{fffd}");
            line.push_str(&format!(" {value}"));
        }
        Ok(line)
    }

    fn line(&self, line: &str) -> Result<(), Error> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }

    /// Converts a value to JSON, which knows no bytes: they become an object with their base64, or
    /// with the file's name.
    fn to_json(&self, event: &str, value: &Value) -> Result<serde_json::Value, Error> {
        Ok(match value {
            Value::Binary(bytes) => match &self.binary_out {
                Some(folder) => {
                    let number = self.files.fetch_add(1, Ordering::Relaxed) + 1;
                    let is_plain = |it: &char| it.is_ascii_alphanumeric() || "-_".contains(*it);
                    let name: String = event.chars().filter(is_plain).take(50).collect();
                    let path = folder.join(format!("{number:06}-{name}.bin"));
                    std::fs::create_dir_all(folder)?;
                    std::fs::write(&path, &bytes.0)?;
                    json!({ "file": path.to_string_lossy() })
                }
                None => json!({ "base64": STANDARD.encode(&bytes.0) }),
            },
            Value::Array(items) => {
                let items = items.iter().map(|item| self.to_json(event, item));
                items.collect::<Result<_, _>>()?
            }
            Value::Object(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(key, it)| Ok((key.clone(), self.to_json(event, it)?)));
                entries
                    .collect::<Result<serde_json::Map<_, _>, Error>>()?
                    .into()
            }
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => number.clone().into(),
            Value::String(text) => text.as_str().into(),
        })
    }
}

/// Returns a line that is no event.
pub(crate) fn note(text: &str) -> String {
    format!("{NOTE}* {text}{NOTE:#}")
}
