//! Three servers and one of python-socketio, over brokers to which everything happens.
//!
//! Each of it happens once, and goes on for the `SOCKETIO_CHAOS_SECONDS` of each broker, if those are
//! set.
use crate::common::brokers::{Broker, Process, RabbitMq, Redis, free_port};
use crate::common::cluster::{Node, connected, node};
use crate::common::relay::Relay;
use crate::common::{eventually, python, url};
use crossbeam_channel::unbounded;
use parking_lot::Mutex;
use socketio::manager::from_url;
use socketio::{Client, Error};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Range;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A number of which the message is larger than the brokers here take.
const LARGE: u64 = u64::MAX;
const LARGE_BYTES: usize = 300_000;
/// Numbers that may be on their way through the broker.
const IN_FLIGHT: u64 = 100;
const MOMENT: Duration = Duration::from_millis(500);

/// What the servers do all the while.
struct Load {
    next: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(nodes: &[Node], sid: &str) -> Load {
        let mut load = Load {
            next: Arc::default(),
            asked: Arc::default(),
            answered: Arc::default(),
            end: Arc::default(),
            threads: Vec::new(),
        };
        let (io, next, end) = (nodes[0].io.clone(), load.next.clone(), load.end.clone());
        load.threads.push(std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                // One that fails has not been delivered anywhere, and is not counted.
                if io.emit("number", next.load(Ordering::SeqCst)).is_ok() {
                    next.fetch_add(1, Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }));
        let (io, end, sid) = (nodes[1].io.clone(), load.end.clone(), sid.to_owned());
        let (asked, answered) = (load.asked.clone(), load.answered.clone());
        load.threads.push(std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                for to in [sid.as_str(), "everybody"] {
                    let answered = Arc::clone(&answered);
                    let callback = move |_: Result<i64, Error>| {
                        answered.fetch_add(1, Ordering::SeqCst);
                    };
                    if io
                        .to(to)
                        .emit_with_ack("sum", (1, 2), MOMENT, callback)
                        .is_ok()
                    {
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }));
        load
    }

    fn end(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|it| it.join().unwrap());
    }
}

/// Counts what a client of a server hears, in its order.
fn hear(address: String) -> (Client, Arc<Mutex<Vec<u64>>>) {
    let (client, heard) = (Client::new(), Arc::new(Mutex::new(Vec::new())));
    let numbers = Arc::clone(&heard);
    client.on("number", move |number: u64| numbers.lock().push(number));
    client.on("sum", |a: i64, b: i64| a + b);
    client.connect(address).unwrap();
    (client, heard)
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What may happen to a broker.
type Fault<'a, B> = (&'static str, &'a dyn Fn(&mut Option<B>));

fn try_out<B: Broker>(name: &str, start: &dyn Fn(u16) -> Option<B>, more: &[Fault<'_, B>]) {
    let port = free_port();
    let mut broker = start(port);
    if broker.is_none() {
        return;
    }
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], port)));
    let (direct, through) = (B::url_at(port), B::url_at(relay.address.port()));
    let nodes = [&direct, &through, &through].map(|url| node(&|| from_url(url).unwrap()));
    // What nobody receives would be all of the memory.
    nodes.iter().for_each(|node| node.client.disconnect());
    let clients = nodes.each_ref().map(|node| hear(url(&node.serving)));
    let args = ["threading", "0", "25", "20", &direct];
    let Some(mut command) = python("socketio_server.py", &args) else {
        return;
    };
    let mut server = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut line = String::new();
    let stdout = server.0.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let theirs = line.trim().rsplit(':').next().expect("a port");
    let (_theirs, heard_there) = hear(format!("http://127.0.0.1:{theirs}"));
    nodes[2]
        .io
        .enter_room(&clients[2].0.sid().unwrap(), "everybody")
        .unwrap();
    nodes[0]
        .io
        .enter_room(&clients[0].0.sid().unwrap(), "everybody")
        .unwrap();

    let cut = |_: &mut Option<B>| relay.cut();
    let pause = |broker: &mut Option<B>| {
        broker.as_ref().unwrap().signal("STOP");
        std::thread::sleep(Duration::from_secs(7));
        broker.as_ref().unwrap().signal("CONT");
    };
    let kill = |broker: &mut Option<B>| {
        *broker = None;
        *broker = start(port);
    };
    let refuse = |_: &mut Option<B>| {
        // The broker refuses it, or it is an error at once.
        let _ = nodes[0].io.emit("number", (LARGE, "x".repeat(LARGE_BYTES)));
    };
    let mut faults: Vec<Fault<'_, B>> = vec![
        ("cut", &cut),
        ("refuse", &refuse),
        ("pause", &pause),
        ("kill", &kill),
    ];
    faults.extend(more);

    let seconds = std::env::var("SOCKETIO_CHAOS_SECONDS").ok();
    let seconds = seconds.and_then(|it| it.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut load = Load::start(&nodes, &clients[2].0.sid().unwrap());
    let mut outages: Vec<Range<u64>> = Vec::new();
    let mut slowest = (Duration::ZERO, "");
    let mut memory = Vec::new();
    for (turn, (fault, happen)) in faults.iter().cycle().enumerate() {
        if turn >= faults.len() && Instant::now() >= end {
            break;
        }
        // With what is on its way as it begins.
        let from = load.next.load(Ordering::SeqCst).saturating_sub(IN_FLIGHT);
        happen(&mut broker);
        let since = Instant::now();
        // All hear all again.
        eventually("an end of the outage", || {
            let number = load.next.load(Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            let hears = |heard: &Arc<Mutex<Vec<u64>>>| {
                heard.lock().iter().any(|it| *it >= number && *it != LARGE)
            };
            clients.iter().all(|(_, heard)| {
                let since = Instant::now();
                while !hears(heard) && since.elapsed() < Duration::from_millis(300) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                hears(heard)
            })
        });
        let took = since.elapsed();
        println!("{name}, {fault}: heard again after {took:?}");
        if took > slowest.0 {
            slowest = (took, fault);
        }
        nodes.iter().for_each(|node| connected(&node.manager));
        memory.push(resident_kilobytes());
        // A heartbeat that is missed may end a connection a moment later.
        std::thread::sleep(Duration::from_secs(2));
        nodes.iter().for_each(|node| connected(&node.manager));
        outages.push(from..load.next.load(Ordering::SeqCst) + 1);
    }
    load.end();
    let count = load.next.load(Ordering::SeqCst);
    for node in &nodes {
        // The first one tells of what was refused meanwhile.
        let _ = node.manager.flush(crate::common::PATIENCE);
        node.manager.flush(crate::common::PATIENCE).unwrap();
    }
    let last =
        |heard: &Arc<Mutex<Vec<u64>>>| heard.lock().iter().rev().find(|it| **it != LARGE).copied();
    for (index, (_, heard)) in clients.iter().enumerate() {
        eventually("the last number", || last(heard) == Some(count - 1));
        let heard: Vec<_> = heard
            .lock()
            .iter()
            .copied()
            .filter(|it| *it != LARGE)
            .collect();
        assert!(
            heard.is_sorted_by(|a, b| a < b),
            "{name}, {index}: once, in order"
        );
        let has_outage = |number: u64| outages.iter().any(|it| it.contains(&number));
        let missing: Vec<_> = (0..count)
            .filter(|it| heard.binary_search(it).is_err())
            .collect();
        let unexplained: Vec<_> = missing.iter().filter(|it| !has_outage(**it)).collect();
        assert!(unexplained.is_empty(), "{name}, {index}: {unexplained:?}");
        println!("{name}: server {index} heard {} of {count}", heard.len());
    }
    let mut there = heard_there.lock().clone();
    let all = there.len();
    there.sort_unstable();
    there.dedup();
    println!(
        "{name}: python's heard {} of {count}, {} twice",
        there.len(),
        all - there.len()
    );
    let (asked, answered) = (&load.asked, &load.answered);
    // Two members of the room, and the client itself: each callback once or twice, and no more.
    eventually("the callbacks", || {
        answered.load(Ordering::SeqCst) >= asked.load(Ordering::SeqCst)
    });
    println!("{name}: kilobytes {memory:?}");
    println!(
        "{name}: asked {}, called {}; slowest {slowest:?}; {} refused; kilobytes {} to {}",
        asked.load(Ordering::SeqCst),
        answered.load(Ordering::SeqCst),
        nodes[0].manager.refused(),
        memory[0],
        memory[memory.len() - 1],
    );
    let (sender, calls) = unbounded();
    let sid = clients[2].0.sid().unwrap();
    sender
        .send(
            nodes[0]
                .io
                .call::<i64>(&sid, "sum", (2, 3), crate::common::PATIENCE),
        )
        .unwrap();
    assert_eq!(calls.recv().unwrap().unwrap(), 5);
}

#[test]
fn redis_in_chaos() {
    let arguments = ["--save", "", "--appendonly", "no"];
    let start = |port| Redis::start_with(port, &arguments);
    let clear = |broker: &mut Option<Redis>| {
        let redis = broker.as_ref().unwrap();
        redis.ask("CLIENT KILL TYPE normal");
        redis.ask("CLIENT KILL TYPE pubsub");
    };
    let forget = |broker: &mut Option<Redis>| {
        let redis = broker.as_ref().unwrap();
        redis.ask("REPLICAOF 127.0.0.1 1");
        std::thread::sleep(Duration::from_secs(6));
        redis.ask("REPLICAOF NO ONE");
    };
    try_out::<Redis>("Redis", &start, &[("clear", &clear), ("forget", &forget)]);
}

#[test]
fn rabbitmq_in_chaos() {
    let configuration = format!("max_message_size = {}\n", LARGE_BYTES / 2);
    let start = |port| RabbitMq::start_with(port, &configuration);
    let exchange = r#"rabbit_misc:r(<<"/">>, exchange, <<"socketio">>)"#;
    let delete = format!("rabbit_exchange:delete({exchange}, false, <<\"test\">>).");
    let delete = |broker: &mut Option<RabbitMq>| {
        broker.as_ref().unwrap().control(&["eval", &delete]);
    };
    let alarm = |broker: &mut Option<RabbitMq>| {
        let rabbit = broker.as_ref().unwrap();
        rabbit.control(&["set_vm_memory_high_watermark", "0.000001"]);
        std::thread::sleep(Duration::from_secs(6));
        rabbit.control(&["set_vm_memory_high_watermark", "0.6"]);
    };
    try_out::<RabbitMq>(
        "RabbitMQ",
        &start,
        &[("delete", &delete), ("alarm", &alarm)],
    );
}
