//! Emits an event to the clients of servers that share a manager, without being one of them.
//!
//! `emit URL EVENT [JSON...] [--room ROOM] [--namespace NAMESPACE] [--channel CHANNEL]`
//!
//! Each JSON is an argument. `emit redis://localhost message '{"text": "hello"}'` needs the feature
//! `redis`. The exit status is 0 once the broker has it, 1 if it does not take it in 5 s, 2 for wrong
//! arguments.

use socketio::manager;
use socketio::{Args, Error, Server, Value};
use std::process::ExitCode;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    env_logger::init();
    let Some(options) = Options::read() else {
        eprintln!(
            "usage: emit URL EVENT [JSON...] [--room ROOM] [--namespace NAMESPACE] [--channel CHANNEL]"
        );
        return ExitCode::from(2);
    };
    match options.emit() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("emit: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    url: String,
    event: String,
    data: Vec<Value>,
    room: Option<String>,
    namespace: String,
    channel: String,
}

impl Options {
    fn read() -> Option<Options> {
        let (mut room, mut namespace, mut channel) = (None, "/".into(), "socketio".into());
        let mut plain = Vec::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--room" => room = Some(arguments.next()?),
                "--namespace" => namespace = arguments.next()?,
                "--channel" => channel = arguments.next()?,
                _ => plain.push(argument),
            }
        }
        let mut plain = plain.into_iter();
        let (url, event) = (plain.next()?, plain.next()?);
        let value = |json: String| match serde_json::from_str(&json) {
            Ok(value) => Some(value),
            Err(_) => {
                eprintln!("emit: {json} is no JSON: text has quotes of its own, '\"{json}\"'");
                None
            }
        };
        let data = plain.map(value).collect::<Option<_>>()?;
        Some(Options {
            url,
            event,
            data,
            room,
            namespace,
            channel,
        })
    }

    fn emit(self) -> Result<(), Error> {
        let manager = manager::from_url(&self.url)?
            .channel(&self.channel)?
            .write_only();
        let io = Server::builder().manager(manager.clone()).build();
        let namespace = io.of(&self.namespace);
        match &self.room {
            Some(room) => namespace.to(room).emit(&self.event, Args(self.data))?,
            None => namespace.emit(&self.event, Args(self.data))?,
        }
        manager.flush(PATIENCE)
    }
}
