//! A router behind Socket.IO: the program's own HTTP by patterns of paths, with matchit.
//!
//! `router PORT`, then `curl http://127.0.0.1:PORT/rooms/lobby` and `curl -d hello
//! http://127.0.0.1:PORT/rooms/lobby`.

mod common;

use matchit::{Params, Router};
use socketio::{App, Request, Server, Socket};
use tiny_http::{Response, ResponseBox};

type Route = fn(&Server, &Request, Params<'_, '_>) -> ResponseBox;

fn main() -> Result<(), socketio::Error> {
    common::log_to_stderr();
    let options = common::Options::from_args(&[]);
    let io = Server::new();
    io.on("join", |socket: &Socket, room: String| {
        socket.enter_room(&room)
    });

    let mut routes: Router<Route> = Router::new();
    for (path, route) in [("/", index as Route), ("/rooms/{room}", room)] {
        routes.insert(path, route).expect("paths that differ");
    }
    let server = io.clone();
    let app = App::new(&io).http(move |request| match routes.at(request.path()) {
        Ok(found) => (found.value)(&server, request, found.params),
        Err(_) => text("There is no such page.\n", 404),
    });
    app.run(("127.0.0.1", options.port))
}

fn index(_: &Server, _: &Request, _: Params<'_, '_>) -> ResponseBox {
    text("Rooms are at /rooms/NAME.\n", 200)
}

/// Says something in a room, or who is in it.
fn room(io: &Server, request: &Request, params: Params<'_, '_>) -> ResponseBox {
    let room = params.get("room").unwrap_or_default();
    if request.method() == "POST" {
        let said = String::from_utf8_lossy(request.body());
        return match io.to(room).emit("said", &*said) {
            Ok(()) => text("said\n", 200),
            Err(error) => text(&format!("{error}\n"), 503),
        };
    }
    text(&format!("{} in {room}\n", io.to(room).sockets().len()), 200)
}

fn text(text: &str, status: u16) -> ResponseBox {
    Response::from_string(text).with_status_code(status).boxed()
}
