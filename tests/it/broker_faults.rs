//! Brokers that are killed, paused and cut off, with what that costs.

use crate::common::brokers::{Broker, RabbitMq, Redis, free_port};
use crate::common::cluster::{Node, SOON, connected, node};
use crate::common::relay::Relay;
use crate::common::{eventually, eventually_or, is_alone};
use socketio::Server;
use socketio::manager::{ManagerState, from_url};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Emits numbers, one after the other, to everybody.
struct Numbers {
    next: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Numbers {
    fn start(io: &Server) -> Numbers {
        let (next, end) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (io, numbers, ends) = (io.clone(), Arc::clone(&next), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                let number = numbers.fetch_add(1, Ordering::SeqCst);
                // What the queue has no room for goes to the clients of this server all the same.
                let _ = io.emit("number", number);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Numbers { next, end, thread }
    }

    fn so_far(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Ends them; gives how many there were.
    fn end(self) -> u64 {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.next.load(Ordering::SeqCst)
    }
}

/// Receives numbers up to the first one that is not below another, beside those of before.
fn hear(node: &Node, until: u64, heard: &mut Vec<u64>) {
    while heard.last().is_none_or(|last| *last < until) {
        heard.push(node.client.receive(SOON).unwrap().arg(0).unwrap());
    }
}

/// Breaks what two servers share, and mends it.
fn try_out(what: &str, url: &str, break_it: impl FnOnce(), mend: impl FnOnce()) {
    let make = || from_url(url).unwrap();
    let (one, other) = (node(&make), node(&make));
    let numbers = Numbers::start(&one.io);
    while numbers.so_far() < 10 {
        std::thread::yield_now();
    }
    break_it();
    let mut lost = [false; 2];
    eventually("the loss", || {
        for (is_lost, node) in lost.iter_mut().zip([&one, &other]) {
            *is_lost |= node.manager.state() == ManagerState::Disconnected;
        }
        lost == [true; 2]
    });
    mend();
    let since = Instant::now();
    connected(&one.manager);
    connected(&other.manager);
    let recovered = since.elapsed();
    // A listener may learn of its loss when the publisher is connected again already.
    let mut far = Vec::new();
    hear(&other, numbers.so_far(), &mut far);
    let from = *far.last().unwrap();
    while numbers.so_far() < from + 50 {
        std::thread::yield_now();
    }
    let count = numbers.end();
    let all: Vec<_> = (0..count).collect();
    let mut near = Vec::new();
    hear(&one, count - 1, &mut near);
    assert_eq!(near, all, "{what}: local delivery goes on");
    hear(&other, count - 1, &mut far);
    assert!(far.is_sorted_by(|a, b| a < b), "{what}: once, in order");
    let after = far.iter().position(|number| *number >= from).unwrap();
    assert_eq!(
        far[after..],
        all[usize::try_from(from).unwrap()..],
        "{what}"
    );
    for node in [&one, &other] {
        assert_eq!(node.client.sid().as_ref(), Some(&node.sid), "{what}");
    }
    println!(
        "{what}: connected again {recovered:?} after it was mended; {} of {count} did not arrive",
        count - far.len() as u64
    );
}

fn try_all<B: Broker>(name: &str) {
    let Some(broker) = B::start(free_port()) else {
        return;
    };
    let port = broker.port();
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], port)));
    let through = B::url_at(relay.address.port());
    // The crates' own threads begin with the first connection.
    drop(node(&|| from_url(&through).unwrap()));
    let before = threads_and_descriptors();
    try_out(
        &format!("{name}, connections cut"),
        &through,
        || relay.cut(),
        || (),
    );
    let pause = || {
        broker.signal("STOP");
        std::thread::sleep(Duration::from_secs(15));
    };
    let go_on = || broker.signal("CONT");
    try_out(
        &format!("{name}, paused for 15 s"),
        &broker.url(),
        pause,
        go_on,
    );
    let url = broker.url();
    let mut again = None;
    let kill = || drop(broker);
    let start = || again = B::start(port);
    try_out(
        &format!("{name}, killed and started again"),
        &url,
        kill,
        start,
    );
    drop(again);
    // Those of the relay are this process's too.
    relay.cut();
    let is_now = || {
        let now = threads_and_descriptors();
        format!("{name}: an end without leaks ({now:?} threads and descriptors after {before:?})")
    };
    eventually_or(is_now, || {
        let now = threads_and_descriptors();
        now.0 <= before.0 && now.1 <= before.1
    });
}

/// Of this process.
fn threads_and_descriptors() -> (usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

// One after the other: threads and descriptors are counted.
#[test]
fn brokers_that_fail_cost_only_what_they_were_to_carry() {
    if !is_alone(
        module_path!(),
        "brokers_that_fail_cost_only_what_they_were_to_carry",
    ) {
        return;
    }
    try_all::<Redis>("Redis");
    try_all::<RabbitMq>("RabbitMQ");
}
