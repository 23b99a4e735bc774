//! What the small examples share: their command lines and their log.

// Each example is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::collections::HashMap;
use std::time::Duration;

/// `PORT [--name VALUE ...]`
pub(crate) struct Options {
    pub(crate) port: u16,
    values: HashMap<String, u64>,
}

impl Options {
    /// Reads the command line; on a mistake says how it goes and ends the program.
    pub(crate) fn from_args(known: &[&str]) -> Options {
        match Options::parse(known, std::env::args().skip(1)) {
            Ok(options) => options,
            Err(problem) => {
                let names: Vec<_> = known
                    .iter()
                    .map(|name| format!("[{name} NUMBER]"))
                    .collect();
                eprintln!("{problem}\nusage: PORT {}", names.join(" "));
                std::process::exit(2);
            }
        }
    }

    fn parse(known: &[&str], mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let (mut port, mut values) = (None, HashMap::new());
        while let Some(arg) = args.next() {
            if known.contains(&&*arg) {
                let value = args.next().and_then(|value| value.parse().ok());
                let value = value.ok_or(format!("{arg} takes a number"))?;
                values.insert(arg, value);
            } else {
                let number = arg.parse().map_err(|_| format!("{arg} is not known"))?;
                port = Some(number);
            }
        }
        Ok(Options {
            port: port.ok_or("a port is missing")?,
            values,
        })
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.values.get(name).copied()
    }

    pub(crate) fn milliseconds(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }
}

/// Logs what `RUST_LOG` asks for; warnings without it.
pub(crate) fn log_to_stderr() {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
}
