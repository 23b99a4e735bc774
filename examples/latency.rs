//! How long a message takes to the server and back.
//!
//! `latency [URL] [polling|websocket]`
//!
//! It calls the event `echo`, which `cargo run --example bench_server 5000` answers, ten times a
//! second, and prints a line each second until Ctrl-C.

use socketio::engineio::Transport;
use socketio::{Client, ConnectOptions, Error, SimpleClient};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(100);
const ROUNDS: usize = 10;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("http://127.0.0.1:5000".into());
    let transports = match arguments.next().as_deref() {
        None => vec![Transport::Polling, Transport::WebSocket],
        Some("polling") => vec![Transport::Polling],
        Some("websocket") => vec![Transport::WebSocket],
        Some(_) => {
            eprintln!("usage: latency [URL] [polling|websocket]");
            std::process::exit(2);
        }
    };
    let client = SimpleClient::builder()
        .client(Client::builder().handle_sigint(true))
        .connect(ConnectOptions::new(url).transports(transports))?;
    loop {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let since = Instant::now();
            let () = client.call("echo", (), Duration::from_secs(10))?;
            times.push(since.elapsed());
            std::thread::sleep(PAUSE);
        }
        times.sort();
        let transport = client.transport().map(|it| it.to_string());
        println!(
            "{:>9}: {:?} at best, {:?} in the middle, {:?} at worst",
            transport.unwrap_or_default(),
            times[0],
            times[ROUNDS / 2],
            times[ROUNDS - 1]
        );
    }
}
