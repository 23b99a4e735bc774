//! Engine.IO by itself: echoes every message as it came.
//!
//! `engineio_echo PORT [--ping-interval MS] [--ping-timeout MS] [--max-payload BYTES] [--eio3 1]`

mod common;

use socketio::App;
use socketio::engineio::Server;

fn main() -> Result<(), socketio::Error> {
    common::log_to_stderr();
    let options = common::Options::from_args(&[
        "--ping-interval",
        "--ping-timeout",
        "--max-payload",
        "--eio3",
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
    let engine = builder
        .allow_eio3(options.number("--eio3") == Some(1))
        .build();
    engine.on_message(|session, message| {
        // A session that has just ended has nobody to echo to.
        let _ = session.send(message);
    });
    App::engineio(&engine).run(("127.0.0.1", options.port))
}
