//! Socket.IO in the terminal: what curl is for HTTP. `sio --help` says what it can do.

mod arguments;
mod bench;
mod output;
mod repl;
mod session;

use arguments::{Arguments, Command};
use clap::{CommandFactory, Parser};
use output::Output;
use session::{Arrived, Session};
use socketio::{ConnectError, Error, Value};
use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long an answer may take, if nothing else is said.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The server refused, or the connection has ended.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const TIMED_OUT: u8 = 3;

fn main() -> ExitCode {
    env_logger::init();
    let arguments = Arguments::parse();
    if let Some(shell) = arguments.completions {
        let mut command = Arguments::command();
        clap_complete::generate(shell, &mut command, "sio", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let Some(command) = &arguments.command else {
        let error = Arguments::command().error(
            clap::error::ErrorKind::MissingSubcommand,
            "a command is needed: listen, emit, call, repl or bench",
        );
        error.exit();
    };
    match run(&arguments, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Connection(error)) => {
            eprintln!("sio: {}", describe(&error));
            let is_late = error.is_timeout();
            ExitCode::from(if is_late { TIMED_OUT } else { FAILED })
        }
        // Who has closed the other end of the pipe has seen enough.
        Err(Error::Io(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Error::Timeout) => {
            eprintln!("sio: what was waited for did not come in time");
            ExitCode::from(TIMED_OUT)
        }
        Err(error @ (Error::InvalidArgument(_) | Error::Tls(_))) => {
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
    // That of an answer's status is in the message.
    let data = error.data::<serde_json::Value>();
    match data.filter(|_| error.status().is_none()) {
        Some(data) => format!("{error} {data}"),
        None => error.to_string(),
    }
}

fn run(arguments: &Arguments, command: &Command) -> Result<(), Error> {
    let connection = &arguments.connection;
    let since = Instant::now();
    let by = connection.timeout.map(|timeout| since + timeout);
    let is_several = connection.names().len() > 1;
    let output = Output::new(&arguments.output, is_several);
    match command {
        Command::Listen { max, wait } => {
            let session = Session::connect(arguments, false)?;
            listen(&session, &output, by, *max, wait.as_deref())
        }
        Command::Emit { sent, wait } => {
            connection.single_name()?;
            let session = Session::connect(arguments, false)?;
            session.first().emit(&sent.event, sent.data())?;
            if wait.is_some() {
                listen(&session, &output, by, None, wait.as_deref())?;
            }
            // What was sent is read before the connection ends.
            session.client.disconnect();
            Ok(())
        }
        Command::Call { sent } => {
            connection.single_name()?;
            let session = Session::connect(arguments, false)?;
            let timeout = connection.timeout.unwrap_or(CALL_TIMEOUT);
            let left = timeout.saturating_sub(since.elapsed());
            let answer: Value = session.first().call(&sent.event, sent.data(), left)?;
            output.answer(&answer)
        }
        Command::Repl => repl::run(arguments, &output),
        Command::Bench {
            clients,
            duration,
            event,
            arguments: data,
        } => {
            connection.single_name()?;
            let event = event.as_deref().map(|event| (event, data.clone()));
            bench::run(arguments, *clients, *duration, event)
        }
    }
}

/// Prints events until there are enough.
fn listen(
    session: &Session,
    output: &Output,
    by: Option<Instant>,
    max: Option<u64>,
    wait: Option<&str>,
) -> Result<(), Error> {
    let mut count = 0;
    loop {
        let Arrived {
            namespace,
            event,
            args,
        } = session.receive(by)?;
        output.event(&namespace, &event, &args)?;
        count += 1;
        if wait == Some(&event) || max == Some(count) {
            return Ok(());
        }
    }
}
