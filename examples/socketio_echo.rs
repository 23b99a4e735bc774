//! What Socket.IO clients are tested against: on `/` and `/custom` it emits `auth` with the client's
//! auth payload, answers `message` with `message-back` and the same arguments, acknowledges
//! `message-with-ack` with its arguments, and `sleep` after so many milliseconds. `ask` is answered
//! by `answered`, with what the client says to the event `question`; `join` enters a room, `room`
//! says something there, `kick` disconnects. `/refused` lets nobody in.
//!
//! `socketio_echo PORT [--ping-interval MS] [--ping-timeout MS] [--max-payload BYTES] [--connect-timeout MS] [--eio3 1] [--detect 1] [--slow-handler MS]`

mod common;

use socketio::{Args, Error, Event, Object, Parser, Refused, Server, Socket, Value};
use std::time::Duration;

fn main() -> Result<(), socketio::Error> {
    common::log_to_stderr();
    let options = common::Options::from_args(&[
        "--ping-interval",
        "--ping-timeout",
        "--max-payload",
        "--connect-timeout",
        "--eio3",
        "--detect",
        "--slow-handler",
    ]);
    let mut builder = Server::builder().cors_allowed_origins("*");
    if let Some(interval) = options.milliseconds("--ping-interval") {
        builder = builder.ping_interval(interval);
    }
    if let Some(timeout) = options.milliseconds("--ping-timeout") {
        builder = builder.ping_timeout(timeout);
    }
    if let Some(bytes) = options.number("--max-payload") {
        builder = builder.max_http_buffer_size(bytes as usize);
    }
    if let Some(timeout) = options.milliseconds("--connect-timeout") {
        builder = builder.connect_timeout(timeout);
    }
    if let Some(limit) = options.milliseconds("--slow-handler") {
        builder = builder.slow_handler(limit);
    }
    if options.number("--detect") == Some(1) {
        builder = builder.parser(Parser::detect());
    }
    let io = builder
        .allow_eio3(options.number("--eio3") == Some(1))
        .build();
    io.of("/refused")
        .on_connect(|_: &Socket| -> Result<(), Refused> {
            Err(Refused::new("not here").with_data(serde_json::json!({"code": 7})))
        });
    for name in ["/", "/custom"] {
        let namespace = io.of(name);
        namespace.on_connect(|socket: &Socket, auth: Option<Value>| {
            let auth = auth.unwrap_or(Value::Object(Object::new()));
            socket.emit("auth", auth).map_err(|error| error.to_string())
        });
        namespace.on("message", |socket: &Socket, event: &Event| {
            socket.emit("message-back", event.args()?)
        });
        namespace.on("message-with-ack", |event: &Event| event.args());
        namespace.on("sleep", |milliseconds: u64| {
            std::thread::sleep(Duration::from_millis(milliseconds));
        });
        namespace.on("ask", |socket: &Socket, question: Value| {
            let asked = socket.clone();
            let timeout = Duration::from_secs(10);
            let answered = move |answer: Result<Args, Error>| {
                let sent = answer.and_then(|answer| asked.emit("answered", answer));
                sent.unwrap_or_else(|error| log::warn!("no answer: {error}"));
            };
            socket.emit_with_ack("question", (question,), timeout, answered)
        });
        namespace.on("join", |socket: &Socket, room: String| {
            socket.enter_room(&room)
        });
        namespace.on("room", |socket: &Socket, room: String, text: String| {
            socket.namespace().to(room).emit("said", text)
        });
        namespace.on("kick", |socket: &Socket| socket.disconnect());
    }
    io.run(("127.0.0.1", options.port))
}
