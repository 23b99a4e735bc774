//! The command line.

use socketio::engineio::Transport;
use socketio::{Args, Binary, Protocol, Value};
use std::io::Read;
use std::time::Duration;

/// How long an answer may take, if nothing else is said.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) const HELP: &str = "\
sio URL listen                      prints the events that come, one line of JSON for each
sio URL emit EVENT [ARGUMENT...]    sends an event
sio URL call EVENT [ARGUMENT...]    sends an event, and prints the answer

An ARGUMENT is JSON, or text where it is none: 7 is a number, '\"7\"' and seven are text. @FILE is
the bytes of a file, @- those of the standard input, '\"@x\"' is text.

  -n, --namespace NAME    the namespace: / if none is given
  -a, --auth JSON         what the server's connect handler gets
  -H, --header \"N: V\"     a header of every request; as often as needed
  -t, --transport NAME    polling or websocket: polling, then websocket if none is given
  -p, --path PATH         the path of the endpoint: socket.io if none is given
      --eio 3             the server is one of socket.io 1 or 2, or python-socketio before 5
  -k, --insecure          accepts any certificate
      --ca FILE           the authorities to trust, as PEM
      --timeout SECONDS   how long all of it may take: if none is given, connecting 5 s, an
                          answer 60 s, and listening as long as it likes
  -h, --help              this

The exit status is 0, 1 if the server refused or the connection ended, 2 if the command line is
wrong, 3 if the time was over. RUST_LOG=debug shows what happens.
";

pub(crate) struct Arguments {
    pub(crate) url: String,
    pub(crate) command: Command,
    pub(crate) namespace: String,
    pub(crate) auth: Option<serde_json::Value>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) transports: Vec<Transport>,
    pub(crate) path: String,
    pub(crate) insecure: bool,
    pub(crate) protocol: Protocol,
    pub(crate) ca: Option<String>,
    pub(crate) timeout: Option<Duration>,
}

pub(crate) enum Command {
    Listen,
    Emit { event: String, data: Args },
    Call { event: String, data: Args },
}

impl Arguments {
    /// Reads a command line; without a problem to speak of, help is wanted.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            url: String::new(),
            command: Command::Listen,
            namespace: "/".into(),
            auth: None,
            headers: Vec::new(),
            transports: vec![Transport::Polling, Transport::WebSocket],
            path: "socket.io".into(),
            insecure: false,
            protocol: Protocol::Newest,
            ca: None,
            timeout: None,
        };
        let mut words = Vec::new();
        let mut only_words = false;
        while let Some(word) = given.next() {
            let is_option = word.starts_with('-') && word.parse::<f64>().is_err();
            match word.as_str() {
                _ if only_words || !is_option => words.push(word),
                "--" => only_words = true,
                "-h" | "--help" => return Err(String::new()),
                "-k" | "--insecure" => arguments.insecure = true,
                option => match option.split_once('=').filter(|it| it.0.starts_with("--")) {
                    Some((option, value)) => arguments.set(option, value.to_owned())?,
                    None => {
                        let value = given
                            .next()
                            .ok_or(format!("{option} is not known, or needs a value"))?;
                        arguments.set(option, value)?;
                    }
                },
            }
        }
        arguments.take(words)?;
        Ok(arguments)
    }

    fn set(&mut self, option: &str, value: String) -> Result<(), String> {
        match option {
            "-n" | "--namespace" => self.namespace = value,
            "-a" | "--auth" => {
                let auth = serde_json::from_str(&value);
                self.auth = Some(auth.map_err(|error| format!("{option}: no JSON: {error}"))?);
            }
            "-H" | "--header" => {
                let (name, value) = value
                    .split_once(':')
                    .ok_or(format!("{option}: no \"Name: value\""))?;
                self.headers.push((name.trim().into(), value.trim().into()));
            }
            "-t" | "--transport" => {
                self.transports = match value.as_str() {
                    "polling" => vec![Transport::Polling],
                    "websocket" => vec![Transport::WebSocket],
                    _ => return Err(format!("{option}: polling or websocket, not {value}")),
                };
            }
            "-p" | "--path" => self.path = value,
            "--eio" => {
                self.protocol = match value.as_str() {
                    "3" => Protocol::Eio3,
                    "4" => Protocol::Newest,
                    _ => return Err(format!("{option}: 3 or 4, not {value}")),
                };
            }
            "--ca" => self.ca = Some(value),
            "--timeout" => {
                let seconds = value.parse().ok().map(Duration::try_from_secs_f64);
                let Some(Ok(timeout)) = seconds else {
                    return Err(format!("{option}: a number of seconds, not {value}"));
                };
                self.timeout = Some(timeout);
            }
            _ => return Err(format!("{option} is not known")),
        }
        Ok(())
    }

    fn take(&mut self, words: Vec<String>) -> Result<(), String> {
        let mut words = words.into_iter();
        self.url = words.next().ok_or("a URL is needed")?;
        if matches!(&*self.url, "listen" | "emit" | "call") {
            return Err(format!("a URL is needed before {}", self.url));
        }
        let command = words
            .next()
            .ok_or("a command is needed: listen, emit or call")?;
        if command == "listen" {
            return match words.next() {
                None => Ok(()),
                Some(word) => Err(format!("{word:?} is too much")),
            };
        }
        if command != "emit" && command != "call" {
            return Err(format!("{command} is no command"));
        }
        let event = words.next().ok_or("an event is needed")?;
        let data = words.map(read).collect::<Result<_, _>>().map(Args)?;
        self.command = match &*command {
            "emit" => Command::Emit { event, data },
            _ => Command::Call { event, data },
        };
        Ok(())
    }
}

/// An argument of an event.
fn read(word: String) -> Result<Value, String> {
    if let Some(path) = word.strip_prefix('@') {
        let bytes = match path {
            "-" => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
            }
            path => std::fs::read(path),
        };
        let bytes = bytes.map_err(|error| format!("@{path}: {error}"))?;
        return Ok(Value::Binary(Binary(bytes.into())));
    }
    Ok(match serde_json::from_str::<serde_json::Value>(&word) {
        Ok(value) => value.into(),
        Err(_) => Value::String(word),
    })
}
