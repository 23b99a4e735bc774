//! Clients share their threads, and leave nothing behind.

use crate::common::is_alone;
use socketio::engineio::Transport;
use socketio::{Client, ConnectOptions, Server, SimpleClient};
use std::time::{Duration, Instant};

const CLIENTS: usize = 2_000;
const SOON: Duration = Duration::from_secs(30);

/// How many threads and descriptors there are.
fn count() -> (usize, usize) {
    let entries = |path| std::fs::read_dir(path).map_or(0, |entries| entries.count());
    (entries("/proc/self/task"), entries("/proc/self/fd"))
}

/// Waits until there are no more than these.
fn until_at_most(what: &str, (threads, descriptors): (usize, usize)) {
    let since = Instant::now();
    while count().0 > threads || count().1 > descriptors {
        assert!(
            since.elapsed() < SOON,
            "{what}: {:?} are more than {threads} threads and {descriptors} descriptors",
            count()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("{what}: {:?} threads and descriptors", count());
}

#[test]
fn thousands_of_clients_share_threads_and_leave_none() -> Result<(), socketio::Error> {
    if !is_alone(
        module_path!(),
        "thousands_of_clients_share_threads_and_leave_none",
    ) {
        return Ok(());
    }
    let alone = count();
    let io = Server::new();
    io.on("echo", |number: usize| number);
    let serving = io.bind("127.0.0.1:0")?;
    let url = format!("http://{}", serving.local_addr());
    let before = count();
    eprintln!("a server alone: {before:?} threads and descriptors");

    // A few of each kind, which come and go.
    for transport in [Transport::Polling, Transport::WebSocket] {
        for _ in 0..3 {
            let options = ConnectOptions::new(&url).transports([transport]);
            let client = SimpleClient::connect(options)?;
            assert_eq!(client.call::<usize>("echo", 1, SOON)?, 1);
        }
        until_at_most("clients that were dropped", before);
    }

    let options = ConnectOptions::new(&url).transports([Transport::WebSocket]);
    let options = options.wait_timeout(SOON);
    let clients: Vec<_> = (0..CLIENTS).map(|_| Client::new()).collect();
    let connect = |clients: &[Client]| {
        clients
            .iter()
            .try_for_each(|client| client.connect(options.clone()))
    };
    std::thread::scope(|scope| {
        let connecting: Vec<_> = clients
            .chunks(CLIENTS / 8)
            .map(|some| scope.spawn(|| connect(some)))
            .collect();
        connecting
            .into_iter()
            .try_for_each(|it| it.join().expect("no panic"))
    })?;
    // Workers and I/O threads, and the threads of blocking tasks that wait a few seconds for the next one.
    let threads = before.0 + 8;
    until_at_most("2,000 clients", (threads, before.1 + 2 * CLIENTS + 16));
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(client.call::<usize>("echo", number, SOON)?, number);
    }
    drop(clients);
    // The server may have added a worker or two, which stay a while.
    until_at_most("2,000 clients that were dropped", (before.0 + 2, before.1));

    // One that never reaches anybody, and one whose server is gone.
    let lost = Client::builder()
        .reconnection_delay(Duration::from_millis(1))
        .build();
    lost.connect(&url)?;
    drop(serving);
    let nowhere = Client::new();
    assert!(nowhere.connect("http://127.0.0.1:1").is_err());
    drop((lost, nowhere));
    until_at_most("clients without a server", alone);
    Ok(())
}
