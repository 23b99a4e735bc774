//! Socket.IO in the terminal: what curl is for HTTP. See `HELP`.

mod arguments;

use arguments::{Arguments, Command, HELP};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use socketio::{Args, Client, ClientTls, ConnectError, ConnectOptions, Error, SimpleClient, Value};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Instant;

/// The server refused, or the connection has ended.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const TIMED_OUT: u8 = 3;

fn main() -> ExitCode {
    env_logger::init();
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) if problem.is_empty() => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("sio: {problem}\nTry sio --help.");
            return ExitCode::from(USAGE);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Connection(error)) => {
            eprintln!("sio: {}", describe(&error));
            ExitCode::from(if error.is_timeout() {
                TIMED_OUT
            } else {
                FAILED
            })
        }
        // Who has closed the other end of the pipe has seen enough.
        Err(Error::Io(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Error::Timeout) => {
            eprintln!("sio: {}", Error::Timeout);
            ExitCode::from(TIMED_OUT)
        }
        Err(error @ (Error::Invalid(_) | Error::Tls(_))) => {
            eprintln!("sio: {error}");
            ExitCode::from(USAGE)
        }
        Err(error) => {
            eprintln!("sio: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn describe(error: &ConnectError) -> String {
    match error.data::<serde_json::Value>() {
        Some(data) => format!("{error} {data}"),
        None => error.to_string(),
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let since = Instant::now();
    let client = connect(arguments)?;
    match &arguments.command {
        Command::Listen => loop {
            let left = arguments
                .timeout
                .map(|it| it.saturating_sub(since.elapsed()));
            let event = client.receive(left)?;
            print(
                &json!({"event": event.name(), "args": to_json(&event.args().unwrap_or_default())}),
            )?;
        },
        Command::Emit { event, data } => client.emit(event, data),
        Command::Call { event, data } => {
            let timeout = arguments.timeout.unwrap_or(arguments::CALL_TIMEOUT);
            let left = timeout.saturating_sub(since.elapsed());
            let answer: Value = client.call(event, data, left)?;
            print(&json!({"answer": value_to_json(&answer)}))
        }
    }
}

fn connect(arguments: &Arguments) -> Result<SimpleClient, Error> {
    let mut tls = ClientTls::new();
    if let Some(file) = &arguments.ca {
        tls = tls.ca_file(file)?;
    }
    if arguments.insecure {
        tls = tls.danger_accept_any_certificate();
    }
    let mut client = Client::builder().tls(tls).handle_sigint(true);
    let mut options = ConnectOptions::new(&arguments.url)
        .namespaces(&[&arguments.namespace])
        .transports(arguments.transports.iter().copied())
        .protocol(arguments.protocol)
        .socketio_path(&arguments.path);
    if let Some(timeout) = arguments.timeout {
        client = client.request_timeout(timeout);
        options = options.wait_timeout(timeout);
    }
    for (name, value) in &arguments.headers {
        options = options.header(name, value);
    }
    if let Some(auth) = &arguments.auth {
        options = options.auth(auth);
    }
    // A tool that somebody waits for says that the connection is gone.
    SimpleClient::builder()
        .client(client.reconnection(false))
        .connect(options)
}

fn print(line: &serde_json::Value) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn to_json(args: &Args) -> serde_json::Value {
    args.iter().map(value_to_json).collect()
}

/// JSON knows no bytes: they become an object with their base64.
fn value_to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Binary(bytes) => json!({"base64": STANDARD.encode(&bytes.0)}),
        Value::Array(items) => items.iter().map(value_to_json).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), value_to_json(value)))
            .collect(),
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => number.clone().into(),
        Value::String(text) => text.as_str().into(),
    }
}
