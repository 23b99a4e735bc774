//! A chat: rooms, nicknames, "is typing", pictures and other files, private messages.
//!
//! `chat [--port PORT] [--client-js FILE] [--manager URL] [--admin DIR] [--eio3]`
//!
//! Open the address that it prints in two browser windows. The page loads the official browser
//! client from its public address; with `--client-js` it is served from a file. With `--manager`
//! several of it, on ports of their own, are one chat: `--manager redis://localhost` with the feature
//! `redis`. With `--admin` the directory of the Admin UI's pages is served at `/admin-ui/`, for the name
//! `admin` and the password in `CHAT_ADMIN_PASSWORD`, or `chat`; with `--eio3` browser clients of the
//! generation 2.x are let in, too.

use serde::{Deserialize, Serialize};
use socketio::admin::Admin;
use socketio::{
    App, Binary, BroadcastOperator, Error, Reason, Refused, Server, Socket, Value, manager,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tiny_http::{Header, Response};

const PAGE: &str = include_str!("page.html");
const PUBLIC_CLIENT: &str = "https://cdn.socket.io/4.8.1/socket.io.min.js";

/// How long somebody on another server may take to get a private message.
const PRIVATE: Duration = Duration::from_secs(5);

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
    let options = Options::read();

    let mut builder = Server::builder().allow_eio3(options.eio3);
    if let Some(url) = &options.manager {
        builder = builder.manager(manager::from_url(url)?);
    }
    let io = builder.build();
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
    io.on("greet", |socket: &Socket, sid: String| {
        let member = member(socket, &user(socket));
        socket.server().to(&sid).emit("present", member)
    });
    io.on("private", |socket: &Socket, sid: String, text: String| {
        // The answer tells the sender whether there was somebody to read it.
        let data = (member(socket, &user(socket)), text);
        let read = socket
            .server()
            .call::<Value>(&sid, "private", data, PRIVATE);
        read.is_ok()
    });

    // The Admin UI, from the built pages of the npm package @socket.io/admin-ui. It ends with the
    // program.
    let _administration = match &options.admin {
        Some(directory) => {
            let password = std::env::var("CHAT_ADMIN_PASSWORD").unwrap_or("chat".into());
            let admin = Admin::basic("admin", password).serve_ui(directory);
            Some(io.instrument(admin)?)
        }
        None => None,
    };

    let page = match &options.client_js {
        Some(_) => PAGE.replace("CLIENT_JS", "/client.js"),
        None => PAGE.replace("CLIENT_JS", PUBLIC_CLIENT),
    };
    let mut app = App::new(&io).http(move |request| match request.path() {
        "/" => html(&page, 200),
        path => html(&format!("There is no {}.", path.replace('<', "&lt;")), 404),
    });
    if let Some(file) = options.client_js {
        app = app.static_files("/client.js", file);
    }
    // Sockets that systemd has opened come before the port.
    #[cfg(unix)]
    {
        let mut opened = socketio::Listener::from_systemd()?.into_iter();
        if let Some(first) = opened.next() {
            return opened.fold(app, App::listener).run_on(first);
        }
    }
    let port = options.port;
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

fn others(socket: &Socket, user: &User) -> BroadcastOperator {
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

struct Options {
    port: u16,
    client_js: Option<PathBuf>,
    manager: Option<String>,
    admin: Option<PathBuf>,
    eio3: bool,
}

impl Options {
    fn read() -> Options {
        let mut options = Options {
            port: 5000,
            client_js: None,
            manager: None,
            admin: None,
            eio3: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--eio3" {
                options.eio3 = true;
                continue;
            }
            let value = arguments.next();
            let known = match (name.as_str(), value) {
                ("--port", Some(value)) => value.parse().map(|port| options.port = port).is_ok(),
                ("--client-js", Some(file)) => {
                    options.client_js = Some(file.into());
                    true
                }
                ("--manager", Some(url)) => {
                    options.manager = Some(url);
                    true
                }
                ("--admin", Some(directory)) => {
                    options.admin = Some(directory.into());
                    true
                }
                _ => false,
            };
            if !known {
                eprintln!(
                    "usage: chat [--port PORT] [--client-js FILE] [--manager URL] [--admin DIR] [--eio3]"
                );
                std::process::exit(2);
            }
        }
        options
    }
}
