//! A chat: rooms, nicknames, "is typing", pictures and other files, private messages.
//!
//! `chat [--port PORT] [--client-js FILE]`
//!
//! Open the address that it prints in two browser windows. The page loads the official browser
//! client from its public address; with `--client-js` it is served from a file.

use serde::{Deserialize, Serialize};
use socketio::{App, Binary, Error, Reason, Refused, Server, Socket, To};
use std::path::PathBuf;
use std::sync::Arc;
use tiny_http::{Header, Response};

const PAGE: &str = include_str!("page.html");
const PUBLIC_CLIENT: &str = "https://cdn.socket.io/4.8.1/socket.io.min.js";

/// What a client says of itself when it connects.
#[derive(Deserialize)]
struct Login {
    name: String,
    room: String,
}

/// What the server keeps of it: its user session.
#[derive(Clone)]
struct User {
    name: String,
    room: String,
}

/// Somebody in a room, as the others see them.
#[derive(Serialize)]
struct Member {
    sid: String,
    name: String,
}

fn main() -> Result<(), Error> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("socketio=info"))
        .init();
    let (port, client_js) = arguments();

    let io = Server::new();
    io.on_connect(welcome);
    io.on_disconnect(|socket: &Socket, _: Reason| say_goodbye(socket));
    io.on("room", change_room);
    io.on("message", |socket: &Socket, text: String| {
        let user = user(socket);
        others(socket, &user).emit("message", (member(socket, &user), text.trim()))
    });
    io.on("typing", |socket: &Socket, is_typing: bool| {
        let user = user(socket);
        others(socket, &user)
            .volatile()
            .emit("typing", (member(socket, &user), is_typing))
    });
    io.on(
        "upload",
        |socket: &Socket, name: String, kind: String, bytes: Binary| {
            let (user, size) = (user(socket), bytes.len());
            others(socket, &user).emit("upload", (member(socket, &user), name, kind, bytes))?;
            Ok::<_, Error>(size)
        },
    );
    io.on("private", |socket: &Socket, sid: String, text: String| {
        // The answer tells the sender whether there was somebody to read it.
        let Some(receiver) = socket.server().socket(&sid) else {
            return false;
        };
        receiver
            .emit("private", (member(socket, &user(socket)), text))
            .is_ok()
    });

    let page = match client_js {
        Some(_) => PAGE.replace("CLIENT_JS", "/client.js"),
        None => PAGE.replace("CLIENT_JS", PUBLIC_CLIENT),
    };
    let mut app = App::new(&io).http(move |request| match request.path() {
        "/" => html(&page, 200),
        path => html(&format!("There is no {}.", path.replace('<', "&lt;")), 404),
    });
    if let Some(file) = client_js {
        app = app.static_files("/client.js", file);
    }
    println!("Open http://127.0.0.1:{port}/ in two browser windows. Ctrl-C ends the chat.");
    app.run(("127.0.0.1", port))
}

/// Lets in who has a name that nobody else has in the room.
fn welcome(socket: &Socket, login: Login) -> Result<(), Refused> {
    let user = User {
        name: login.name.trim().chars().take(24).collect(),
        room: login.room.trim().chars().take(24).collect(),
    };
    if user.name.is_empty() || user.room.is_empty() {
        return Err("A name and a room are needed".into());
    }
    if members(socket, &user.room)
        .iter()
        .any(|it| it.name == user.name)
    {
        return Err(Refused::new(format!(
            "{} is taken in {}",
            user.name, user.room
        )));
    }
    socket.save_session(user.clone());
    enter(socket, &user)?;
    Ok(())
}

fn enter(socket: &Socket, user: &User) -> Result<(), Error> {
    socket.enter_room(&room_name(&user.room))?;
    let mut present = members(socket, &user.room);
    if !present.iter().any(|it| it.sid == socket.sid()) {
        // It is not connected before its connect handler has returned.
        present.push(member(socket, user));
    }
    socket.emit("members", (&user.room, &present))?;
    others(socket, user).emit("joined", member(socket, user))
}

fn change_room(socket: &Socket, room: String) -> Result<(), Error> {
    let before = user(socket);
    let room = room.trim().chars().take(24).collect::<String>();
    if room.is_empty() || room == before.room {
        return Ok(());
    }
    say_goodbye(socket);
    socket.leave_room(&room_name(&before.room))?;
    let user = User { room, ..before };
    socket.save_session(user.clone());
    enter(socket, &user)
}

fn say_goodbye(socket: &Socket) {
    let user = user(socket);
    // Nobody may be left to hear it.
    let _ = others(socket, &user).emit("left", member(socket, &user));
}

/// A room's name may be anything, also somebody's sid: a prefix keeps them apart.
fn room_name(room: &str) -> String {
    format!("room {room}")
}

fn others(socket: &Socket, user: &User) -> To {
    socket.broadcast().to(room_name(&user.room))
}

fn members(socket: &Socket, room: &str) -> Vec<Member> {
    let sockets = socket.server().to(room_name(room)).sockets();
    sockets.iter().map(|it| member(it, &user(it))).collect()
}

fn member(socket: &Socket, user: &User) -> Member {
    Member {
        sid: socket.sid().to_owned(),
        name: user.name.clone(),
    }
}

fn user(socket: &Socket) -> User {
    let user: Option<Arc<User>> = socket.session();
    user.map_or_else(
        || User {
            name: "somebody".into(),
            room: "nowhere".into(),
        },
        |user| User::clone(&user),
    )
}

fn html(text: &str, status: u16) -> Response<std::io::Cursor<Vec<u8>>> {
    let mut response = Response::from_string(text).with_status_code(status);
    if let Ok(header) = Header::from_bytes("Content-Type", "text/html; charset=utf-8") {
        response.add_header(header);
    }
    response
}

fn arguments() -> (u16, Option<PathBuf>) {
    let (mut port, mut client_js) = (5000, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match (name.as_str(), arguments.next()) {
            ("--port", Some(value)) if value.parse::<u16>().is_ok() => {
                port = value.parse().unwrap_or(port)
            }
            ("--client-js", Some(file)) => client_js = Some(PathBuf::from(file)),
            _ => {
                eprintln!("usage: chat [--port PORT] [--client-js FILE]");
                std::process::exit(2);
            }
        }
    }
    (port, client_js)
}
