//! Broadcasts through a broker to the clients of two servers.
//!
//! `bench_cluster BROKER CLIENTS BROADCASTS PID@URL PID@URL`
//!
//! It connects so many clients to each server, emits from outside with ten broadcasts on their way
//! at a time, and prints deliveries a second and the CPU time that each has cost the two servers.
//! `benches/cluster.sh` starts what it needs.

use socketio::engineio::Transport;
use socketio::manager::{self, ManagerState};
use socketio::{Client, ConnectOptions, Error, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Broadcasts that are on their way at a time.
const WINDOW: usize = 10;
/// Clock ticks a second, as Linux counts CPU time for programs.
const TICKS: f64 = 100.0;

fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [broker, clients, broadcasts, servers @ ..] = &arguments[..] else {
        eprintln!("usage: bench_cluster BROKER CLIENTS BROADCASTS PID@URL PID@URL");
        std::process::exit(2);
    };
    let number = |text: &str| text.parse::<usize>().unwrap_or(1);
    let (clients, broadcasts) = (number(clients), number(broadcasts));
    let servers: Vec<_> = servers.iter().filter_map(|it| it.split_once('@')).collect();

    let received = Arc::new(AtomicUsize::new(0));
    let mut connected = Vec::new();
    for (_, url) in &servers {
        for _ in 0..clients {
            let (client, received) = (Client::new(), Arc::clone(&received));
            client.on("b", move || received.fetch_add(1, Ordering::Relaxed));
            client.connect(ConnectOptions::new(*url).transports([Transport::WebSocket]))?;
            connected.push(client);
        }
    }
    let manager = manager::from_url(broker)?.write_only();
    let io = Server::builder().manager(manager.clone()).build();
    while manager.state() != ManagerState::Connected {
        std::thread::sleep(Duration::from_millis(10));
    }
    let text = "x".repeat(32);
    let all = connected.len();
    let run = |broadcasts: usize| -> Result<Duration, Error> {
        let since = Instant::now();
        received.store(0, Ordering::Relaxed);
        for sent in 0..broadcasts {
            while received.load(Ordering::Relaxed) + WINDOW * all <= sent * all {
                std::thread::sleep(Duration::from_micros(100));
            }
            io.emit("b", &text)?;
        }
        while received.load(Ordering::Relaxed) < broadcasts * all {
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(since.elapsed())
    };
    run(2)?;
    let cpu = || servers.iter().map(|(pid, _)| cpu_seconds(pid)).sum::<f64>();
    let before = cpu();
    let time = run(broadcasts)?;
    let deliveries = (broadcasts * all) as f64;
    println!(
        "{:>8.0} deliveries/s, {:>6.2} us of CPU each",
        deliveries / time.as_secs_f64(),
        (cpu() - before) * 1e6 / deliveries
    );
    Ok(())
}

/// What a process has used so far.
fn cpu_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // What comes before the parenthesis may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() / TICKS
}
