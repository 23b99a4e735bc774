//! The command line.

use clap::{Args as Group, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use socketio::engineio::Transport;
use socketio::{Args, Binary, Protocol, Value};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
An ARGUMENT is JSON, or text where it is none: 7 is a number, '\"7\"' and seven are text. @FILE is the
bytes of a file, @- those of the standard input, '\"@x\"' is text.

On a terminal events are lines in colour; in a pipe, and with --json, each is a line of JSON, as is an
answer. What the bench prints is for people. The
exit status is 0, 1 if the server refused or the connection ended, 2 if the command line is wrong,
3 if the time was over. RUST_LOG=debug shows what happens.

  sio http://localhost:5000 listen --max 10
  sio http://localhost:5000 call sum 1 2
  sio -n /chat -a '{\"name\":\"Ada\"}' https://example.com emit say hello --wait said
  sio unix:///run/chat.sock repl
  sio http://localhost:5000 bench --clients 1000 echo hello";

/// Socket.IO in the terminal: what curl is for HTTP.
#[derive(Parser)]
#[command(name = "sio", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The server: http://, https:// or unix:///
    #[arg(required_unless_present = "completions")]
    url: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Prints what a shell needs to complete command lines, and ends
    #[arg(long, value_name = "SHELL", exclusive = true)]
    pub(crate) completions: Option<Shell>,
}

/// How the server is reached.
#[derive(Group)]
pub(crate) struct ConnectionArgs {
    /// A namespace; several to listen to all of them [default: /]
    #[arg(short, long = "namespace", value_name = "NAME", global = true)]
    pub(crate) namespaces: Vec<String>,
    /// What the server's connect handler gets
    #[arg(short, long, value_name = "JSON", value_parser = json, global = true)]
    pub(crate) auth: Option<serde_json::Value>,
    /// A header of every request; as often as needed
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header, global = true)]
    pub(crate) headers: Vec<(String, String)>,
    /// A parameter of every request's query; as often as needed
    #[arg(short, long = "query", value_name = "NAME=VALUE", value_parser = parameter, global = true)]
    pub(crate) query: Vec<(String, String)>,
    /// The only transport, polling or websocket [default: polling, then websocket]
    #[arg(short, long, value_parser = transport, global = true)]
    pub(crate) transport: Option<Transport>,
    /// The path of the endpoint
    #[arg(short, long, default_value = "socket.io", global = true)]
    pub(crate) path: String,
    /// The server's generation: 3 is socket.io 1 and 2, and python-socketio before 5
    #[arg(long, value_name = "3|4", value_parser = protocol, default_value = "4", global = true)]
    pub(crate) eio: Protocol,
    /// Accepts any certificate
    #[arg(short = 'k', long, global = true)]
    pub(crate) insecure: bool,
    /// The authorities to trust, as PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// How long all of it may take [default: connecting 5, an answer 60, listening for ever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, global = true)]
    pub(crate) timeout: Option<Duration>,
}

/// How events are printed.
#[derive(Group)]
pub(crate) struct Output {
    /// Prints lines of JSON on a terminal too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Writes bytes to files in this folder, and prints their names
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, global = true)]
    pub(crate) binary_out: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prints the events that come
    Listen {
        /// Ends after so many events
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        max: Option<u64>,
        /// Ends after the first event of this name
        #[arg(long, value_name = "EVENT")]
        wait: Option<String>,
    },
    /// Sends an event
    Emit {
        #[command(flatten)]
        sent: EventArgs,
        /// Ends after the first event of this name has come, and prints what comes until then
        #[arg(long, value_name = "EVENT")]
        wait: Option<String>,
    },
    /// Sends an event, and prints the answer
    Call {
        #[command(flatten)]
        sent: EventArgs,
    },
    /// Reads commands from the terminal: `help` lists them
    Repl,
    /// Measures a server with many clients
    Bench {
        /// Number of clients
        #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        clients: u32,
        /// How long events are sent
        #[arg(short, long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
        duration: Duration,
        /// The event that each client sends as soon as the last one is answered; without it they only connect
        event: Option<String>,
        /// Its arguments
        #[arg(value_name = "ARGUMENT", value_parser = argument, allow_negative_numbers = true)]
        arguments: Vec<Value>,
    },
}

/// An event of the command line.
#[derive(Group)]
pub(crate) struct EventArgs {
    /// The event's name
    pub(crate) event: String,
    /// Its arguments
    #[arg(value_name = "ARGUMENT", value_parser = argument, allow_negative_numbers = true)]
    arguments: Vec<Value>,
}

impl Arguments {
    /// Returns the URL of the server.
    pub(crate) fn url(&self) -> &str {
        self.url.as_deref().unwrap_or_default()
    }
}

impl EventArgs {
    pub(crate) fn data(&self) -> Args {
        Args(self.arguments.clone())
    }
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("no \"Name: value\"")?;
    Ok((name.trim().into(), value.trim().into()))
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("no \"name=value\"")?;
    Ok((name.into(), value.into()))
}

fn transport(text: &str) -> Result<Transport, String> {
    match text {
        "polling" => Ok(Transport::Polling),
        "websocket" => Ok(Transport::WebSocket),
        _ => Err("it is polling or websocket".into()),
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "3" => Ok(Protocol::Eio3),
        "4" => Ok(Protocol::Newest),
        _ => Err("it is 3 or 4".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::try_from_secs_f64);
    seconds
        .and_then(Result::ok)
        .ok_or("no number of seconds".into())
}

/// Reads an argument of an event.
pub(crate) fn argument(word: &str) -> Result<Value, String> {
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
    Ok(match serde_json::from_str::<serde_json::Value>(word) {
        Ok(value) => value.into(),
        Err(_) => Value::String(word.to_owned()),
    })
}
