//! Commands that are typed.

use crate::CALL_TIMEOUT;
use crate::arguments::{Arguments, argument};
use crate::output::{Output, note};
use crate::session::{Arrived, Happening, Session};
use crossbeam_channel::unbounded;
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use socketio::{Args, Client, Error, Value};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

const HELP: &str = "\
emit EVENT [ARGUMENT...]    sends an event
call EVENT [ARGUMENT...]    sends an event, and prints the answer
of NAMESPACE                joins a namespace, and sends to that one from now on
leave                       leaves it
only EVENT...               prints these events alone; without one all of them again
status                      prints namespace, sid, transport and the time of a round trip
reconnect                   connects anew
help                        prints this
quit                        ends, as Ctrl-D does

An ARGUMENT is JSON, which may have spaces, a word of text, or @FILE for the bytes of a file.";

/// Names of the events that are printed; none for all.
type Only = Arc<Mutex<HashSet<String>>>;

/// What stands between an event that comes and the line that is being typed.
type Printer = Box<dyn FnMut(String) + Send>;

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<(), Error> {
    let session = Session::connect(arguments, true)?;
    let mut editor = DefaultEditor::new().map_err(io::Error::other)?;
    let history = history();
    if let Some(path) = &history {
        // There is none before the first end.
        let _ = editor.load_history(path);
    }
    let mut printer: Printer = match editor.create_external_printer() {
        Ok(mut printer) => Box::new(move |line| {
            let _ = printer.print(line + "\n");
        }),
        Err(_) => Box::new(|line| anstream::println!("{line}")),
    };
    let only = Only::default();
    let mut now = session.first();
    let result = std::thread::scope(|scope| {
        let shown = Arc::clone(&only);
        let happenings = session.happenings.clone();
        let (stop, stopped) = unbounded::<()>();
        scope.spawn(move || {
            loop {
                let happening = crossbeam_channel::select! {
                    recv(happenings) -> it => it,
                    recv(stopped) -> _ => break,
                };
                let Ok(happening) = happening else { break };
                line_of(happening, output, &shown).map(&mut printer);
            }
            // What has come before the end is printed.
            for happening in happenings.try_iter() {
                line_of(happening, output, &shown).map(&mut printer);
            }
        });
        let join = |name: &str| session.join(name);
        let typed = read(&mut editor, output, &mut now, &only, &join);
        drop(stop);
        typed
    });
    if let Some(path) = &history {
        let saved = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        if saved.is_err() || editor.save_history(path).is_err() {
            eprintln!("sio: the history cannot be kept in {}", path.display());
        }
    }
    session.client.disconnect();
    result
}

/// Reads lines until the end.
fn read(
    editor: &mut DefaultEditor,
    output: &Output,
    now: &mut Client,
    only: &Only,
    join: &dyn Fn(&str) -> Result<Client, Error>,
) -> Result<(), Error> {
    loop {
        let line = match editor.readline(&format!("{}> ", now.namespace())) {
            Ok(line) => line,
            // Ctrl-C forgets the line.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(io::Error::other(error).into()),
        };
        if line.trim().is_empty() {
            continue;
        }
        let _ = editor.add_history_entry(&line);
        match carry_out(&line, output, now, only, join) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(problem) => eprintln!("{problem}"),
        }
    }
}

/// Does what a line says; false if it says to end.
fn carry_out(
    line: &str,
    output: &Output,
    now: &mut Client,
    only: &Only,
    join: &dyn Fn(&str) -> Result<Client, Error>,
) -> Result<bool, String> {
    let (command, rest) = first_word(line);
    let say = |error: Error| error.to_string();
    match command {
        "emit" | "call" => {
            let (event, rest) = first_word(rest);
            if event.is_empty() {
                return Err(format!("{command} EVENT [ARGUMENT...]"));
            }
            let data = Args(arguments(rest)?);
            if command == "emit" {
                now.emit(event, data).map_err(say)?;
            } else {
                let answer: Value = now.call(event, data, CALL_TIMEOUT).map_err(say)?;
                output.answer(&answer).map_err(say)?;
            }
        }
        "of" if !rest.is_empty() => *now = join(rest).map_err(say)?,
        "leave" => now.leave().map_err(say)?,
        "only" => {
            let names = rest.split_whitespace().map(str::to_owned);
            *only.lock().unwrap_or_else(PoisonError::into_inner) = names.collect();
        }
        "status" => {
            let mut text = format!("{} ", now.namespace());
            match (now.sid(), now.transport()) {
                (Some(sid), Some(transport)) => {
                    let _ = write!(text, "sid {sid}, {transport}");
                    if let Some(time) = now.round_trip_time() {
                        let _ = write!(text, ", round trip {time:?}");
                    }
                }
                _ => text.push_str("is not connected"),
            }
            println!("{text}");
        }
        "reconnect" => now.reconnect().map_err(say)?,
        "help" => println!("{HELP}"),
        "quit" | "exit" => return Ok(false),
        _ => return Err(format!("{command:?} is no command: `help` lists them")),
    }
    Ok(true)
}

/// Returns the line for what has happened, if it is to be printed.
fn line_of(happening: Happening, output: &Output, only: &Only) -> Option<String> {
    Some(match happening {
        Happening::Came(Arrived {
            namespace,
            event,
            args,
        }) => {
            let only = only.lock().unwrap_or_else(PoisonError::into_inner);
            if !only.is_empty() && !only.contains(&event) {
                return None;
            }
            let line = output.event_line(&namespace, &event, &args);
            line.unwrap_or_else(|error| error.to_string())
        }
        Happening::Connected(namespace) => note(&format!("{namespace} is connected")),
        Happening::Disconnected(namespace, reason) => {
            note(&format!("{namespace} is disconnected: {reason}"))
        }
        Happening::TriesAgain(delay) => note(&format!("trying again in {delay:.1?}")),
    })
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Reads arguments: JSON, which may have spaces, or words.
fn arguments(mut text: &str) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    while !text.is_empty() {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
        let json = values.next().and_then(Result::ok);
        let end = values.byte_offset();
        let is_whole = text[end..].chars().next().is_none_or(char::is_whitespace);
        match json {
            Some(value) if is_whole => {
                all.push(value.into());
                text = text[end..].trim_start();
            }
            _ => {
                let (word, rest) = first_word(text);
                all.push(argument(word)?);
                text = rest;
            }
        }
    }
    Ok(all)
}

/// Returns where lines are kept: `$XDG_STATE_HOME/sio/history`, or below `~/.local/state`.
fn history() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_STATE_HOME").filter(|it| !it.is_empty());
    let folder = folder.map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").filter(|it| !it.is_empty())?;
        Some(PathBuf::from(home).join(".local/state"))
    });
    Some(folder?.join("sio/history"))
}
