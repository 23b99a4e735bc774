//! The benchmark's events: `bench_server PORT [MANAGER]`, with the URL of a broker to share.
//!
//! `echo` is acknowledged with its argument, `broadcast` emits `b` with its argument to every
//! client, `sleep` blocks its handler for so many milliseconds and is acknowledged with nothing,
//! `compute` keeps a core busy for as long. With `BENCH_ADMIN=production` or `development` in the
//! environment everybody may watch it by the Admin UI, and its figures are at `/metrics`.

use socketio::admin::{Admin, Mode};
use socketio::{App, Server, Socket, Value};
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
    let mode = match std::env::var("BENCH_ADMIN").as_deref() {
        Ok("production") => Some(Mode::Production),
        Ok(_) => Some(Mode::Development),
        Err(_) => None,
    };
    let administration = mode.map(|mode| io.instrument(Admin::without_auth().mode(mode)));
    let _administration = administration.transpose()?;
    App::new(&io).metrics("/metrics").run(("127.0.0.1", port))
}
