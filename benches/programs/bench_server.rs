//! The benchmark's events: `bench_server PORT [MANAGER]`, with the URL of a broker to share.
//!
//! `echo` is acknowledged with its argument, `broadcast` emits `b` with its argument to every
//! client, `sleep` blocks its handler for so many milliseconds and is acknowledged with nothing,
//! `compute` keeps a core busy for as long.

use socketio::{Server, Socket, Value};
use std::time::{Duration, Instant};

fn main() -> Result<(), socketio::Error> {
    env_logger::init();
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let Some(port) = port else {
        eprintln!("usage: bench_server PORT [MANAGER]");
        std::process::exit(2);
    };
    let mut builder = Server::builder().cors_allowed_origins("*");
    if let Some(url) = std::env::args().nth(2) {
        builder = builder.manager(socketio::manager::from_url(&url)?);
    }
    let io = builder.build();
    io.on("echo", |data: Value| data);
    io.on("broadcast", |socket: &Socket, data: Value| {
        socket.server().emit("b", data)
    });
    io.on("sleep", |milliseconds: u64| {
        std::thread::sleep(Duration::from_millis(milliseconds));
    });
    io.on("compute", |milliseconds: u64| {
        let until = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    });
    io.run(("127.0.0.1", port))
}
