//! Emits a second over a Redis that is far away, as they are heard by a client of another server:
//! `cargo bench --bench publish --features redis`. Starts `redis-server` itself.

use socketio::manager::{ManagerState, from_url};
use socketio::{Client, Error, Server};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Emits of one run.
const COUNT: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let port = free_port();
    let mut redis = Command::new("redis-server")
        .args([
            "--save",
            "",
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    for milliseconds in [0, 10, 100] {
        let relay = relay(port, Duration::from_millis(milliseconds) / 2);
        let (seconds, refused) = run(port, relay);
        println!(
            "{milliseconds:>3} ms to the broker and back: {:>7.0} emits a second, {refused} of {COUNT} had to be tried again",
            COUNT as f64 / seconds,
        );
    }
    redis.kill().expect("it runs");
    redis.wait().expect("it has ended");
}

/// Emits from a server behind the relay until a client of one beside the broker has heard all.
fn run(direct: u16, relay: u16) -> (f64, u64) {
    let server = |port: u16| {
        let manager = from_url(&format!("redis://127.0.0.1:{port}")).expect("a URL");
        let io = Server::builder().manager(manager.clone()).build();
        let serving = io.bind("127.0.0.1:0").expect("a port");
        while manager.state() != ManagerState::Connected {
            std::thread::sleep(Duration::from_millis(10));
        }
        (io, serving)
    };
    let (far, _serving) = server(relay);
    let (_near, serving) = server(direct);
    let (sender, done) = mpsc::channel();
    let next = Arc::new(AtomicU64::new(0));
    let client = Client::new();
    client.on("number", move |number: u64| {
        assert_eq!(next.fetch_add(1, Ordering::Relaxed), number, "in order");
        if number + 1 == COUNT {
            sender.send(()).expect("it waits");
        }
    });
    client
        .connect(format!("http://{}", serving.local_addr()))
        .expect("a server");
    let begun = Instant::now();
    let mut refused = 0;
    for number in 0..COUNT {
        while let Err(Error::LimitExceeded(_)) = far.emit("number", number) {
            refused += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    done.recv_timeout(PATIENCE).expect("all arrive");
    (begun.elapsed().as_secs_f64(), refused)
}

/// A relay in which each byte takes so long, either way; returns its port.
fn relay(to: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
                continue;
            };
            let twins = (client.try_clone(), server.try_clone());
            let (Ok(client_again), Ok(server_again)) = twins else {
                continue;
            };
            pump(client, server, delay);
            pump(server_again, client_again, delay);
        }
    });
    port
}

fn pump(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, chunks) = mpsc::channel::<(Instant, Vec<u8>)>();
    from.set_nodelay(true).expect("a socket");
    to.set_nodelay(true).expect("a socket");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let due = Instant::now() + delay;
            if sender.send((due, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, chunk) in chunks {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&chunk).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("an address").port()
}
