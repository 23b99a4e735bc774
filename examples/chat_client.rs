//! The chat in a terminal: `cargo run --example chat` is its server.
//!
//! `chat_client NAME [ROOM] [URL]`
//!
//! A line that is typed is said to the room; `/room NAME` changes it.

use serde::Deserialize;
use socketio::{Client, ConnectError, ConnectOptions, Error, Reason};
use std::collections::BTreeMap;
use std::io::BufRead;

/// Somebody in the room.
#[derive(Deserialize)]
struct Member {
    sid: String,
    name: String,
}

fn main() -> Result<(), Error> {
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next().filter(|it| !it.starts_with('-')) else {
        eprintln!("usage: chat_client NAME [ROOM] [URL]");
        std::process::exit(2);
    };
    let room = arguments.next().unwrap_or("lobby".into());
    let url = arguments.next().unwrap_or("http://127.0.0.1:5000".into());

    let client = Client::builder().handle_sigint(true).build();
    client.on("members", |room: String, members: Vec<Member>| {
        let names: Vec<_> = members.into_iter().map(|it| it.name).collect();
        println!("* you are in {room}, with {}", names.join(", "));
    });
    client.on("joined", |client: &Client, who: Member| {
        println!("* {} is here", who.name);
        // Somebody on another server does not know who is here.
        client.emit("greet", who.sid)
    });
    client.on("left", |who: Member| println!("* {} has left", who.name));
    client.on("message", |from: Member, text: String| {
        println!("{}: {text}", from.name);
    });
    client.on("private", |from: Member, text: String| {
        println!("{} (only to you): {text}", from.name);
    });
    client.on("upload", |from: Member, file: String| {
        println!("* {} shows {file:?}", from.name);
    });
    // What else there is, such as "is typing", makes no line.
    client.on_any(|| ());
    client.on_connect_error(|_: &Client, error: &ConnectError| eprintln!("* {error}"));
    client.on_disconnect(|_: &Client, reason: Reason| eprintln!("* disconnected: {reason}"));

    let login = BTreeMap::from([("name", name), ("room", room)]);
    client.connect(ConnectOptions::new(url).auth(login))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let sent = match line.strip_prefix("/room ") {
            Some(room) => client.emit("room", room),
            None if line.trim().is_empty() => Ok(()),
            None => client.emit("message", &line),
        };
        if let Err(error) = sent {
            eprintln!("* not sent: {error}");
        }
    }
    client.disconnect();
    Ok(())
}
