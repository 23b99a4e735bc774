//! What Socket.IO clients are tested against: on `/` and `/custom` it emits `auth` with the client's
//! auth payload, answers `message` with `message-back` and the same arguments, acknowledges
//! `message-with-ack` with its arguments, and `sleep` after so many milliseconds.
//!
//! `socketio_echo PORT [--ping-interval MS] [--ping-timeout MS] [--max-payload BYTES] [--connect-timeout MS]`

mod common;

use socketio::{Event, Object, Server, Socket, Value};
use std::time::Duration;

fn main() -> Result<(), socketio::Error> {
    common::log_to_stderr();
    let options = common::Options::from_args(&[
        "--ping-interval",
        "--ping-timeout",
        "--max-payload",
        "--connect-timeout",
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
    let io = builder.build();
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
    }
    io.run(("127.0.0.1", options.port))
}
