//! Three servers and one of python-socketio, over brokers to which everything happens.
//!
//! Each of it happens once. With `SOCKETIO_CHAOS_SECONDS` it goes on for so long with each broker, and
//! measures: messages are refused at random, nobody is stuck for longer than ten seconds after a fault
//! ends, and memory stays flat.
use crate::common::brokers::{Broker, RabbitMq, Redis, free_port};
use crate::common::cluster::{Node, connected, node, python_server};
use crate::common::relay::Relay;
use crate::common::{eventually, eventually_or, log, url};
use crossbeam_channel::unbounded;
use parking_lot::Mutex;
use socketio::manager::from_url;
use socketio::{Client, Error};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::Range;
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
    /// Messages that the broker does not take, or of which that was known.
    too_large: Arc<AtomicU64>,
    /// Questions to one client, and to the room of two.
    asked: Arc<[AtomicU64; 2]>,
    calls: Arc<Mutex<Calls>>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How often callbacks were called.
#[derive(Default)]
struct Calls {
    /// By the question and the sid, if one was given.
    times: HashMap<(usize, u64, Option<String>), u32>,
    /// The questions that were told of at all, by whom they were to.
    told: [HashSet<u64>; 2],
}

impl Load {
    fn start(nodes: &[Node], sid: &str, refuses: bool) -> Load {
        let mut load = Load {
            next: Arc::default(),
            too_large: Arc::default(),
            asked: Arc::default(),
            calls: Arc::default(),
            end: Arc::default(),
            threads: Vec::new(),
        };
        let (io, next, end) = (nodes[0].io.clone(), load.next.clone(), load.end.clone());
        let too_large = Arc::clone(&load.too_large);
        load.threads.push(std::thread::spawn(move || {
            // As any other sequence that is not even.
            let mut random = 1u32;
            while !end.load(Ordering::SeqCst) {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if refuses && random >> 16 & 0xfff == 0 {
                    let _ = io.emit("number", (LARGE, "x".repeat(LARGE_BYTES)));
                    too_large.fetch_add(1, Ordering::SeqCst);
                }
                // One that fails has not been delivered anywhere, and is not counted.
                if io.emit("number", next.load(Ordering::SeqCst)).is_ok() {
                    next.fetch_add(1, Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }));
        let (io, end, sid) = (nodes[1].io.clone(), load.end.clone(), sid.to_owned());
        let (asked, calls) = (load.asked.clone(), load.calls.clone());
        load.threads.push(std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                for (kind, to) in [sid.as_str(), "everybody"].into_iter().enumerate() {
                    let (calls, question) = (calls.clone(), asked[kind].load(Ordering::SeqCst));
                    let callback = move |sid: Option<&str>, _: Result<i64, Error>| {
                        let mut calls = calls.lock();
                        calls.told[kind].insert(question);
                        let call = (kind, question, sid.map(str::to_owned));
                        *calls.times.entry(call).or_default() += 1;
                    };
                    let to = io.to(to);
                    if to.emit_with_ack("sum", (1, 2), MOMENT, callback).is_ok() {
                        asked[kind].fetch_add(1, Ordering::SeqCst);
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
    log::capture();
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
    let Some((_server, theirs)) = python_server("threading", &direct) else {
        return;
    };
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
    // Each costs a RabbitMQ's publisher its channel: beside other tests that takes a while.
    let mut load = Load::start(&nodes, &clients[2].0.sid().unwrap(), seconds > 0);
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
        let what = || format!("{fault}: an end of the outage, after\n{}", log::last(30));
        eventually_or(what, || {
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
    // Of each question, each recipient is reported once; of one to a single client, that one.
    let asked = load.asked.each_ref().map(|it| it.load(Ordering::SeqCst));
    for kind in [0, 1] {
        eventually("the callbacks", || {
            load.calls.lock().told[kind].len() as u64 == asked[kind]
        });
    }
    std::thread::sleep(MOMENT * 2);
    let calls = load.calls.lock();
    let twice: Vec<_> = calls
        .times
        .iter()
        .filter(|(_, times)| **times > 1)
        .collect();
    assert!(twice.is_empty(), "{name}: {twice:?}");
    let to_one = calls.times.keys().filter(|(kind, ..)| *kind == 0).count();
    assert_eq!(to_one as u64, asked[0], "{name}: one report each");
    println!("{name}: kilobytes {memory:?}");
    println!(
        "{name}: asked {asked:?}, called {}; slowest {slowest:?}; {} of {} refused",
        calls.times.len(),
        nodes[0].manager.refused(),
        load.too_large.load(Ordering::SeqCst),
    );
    drop(calls);
    // Whatever was refused is in the log, by its name and size.
    assert!(
        nodes[0].manager.refused() == 0 || log::count(&["the broker refuses", "number"]) > 0,
        "{name}: refusals are logged"
    );
    if seconds > 0 {
        assert!(slowest.0 < Duration::from_secs(10), "{name}: {slowest:?}");
        let (early, late) = memory.split_at(memory.len() / 2);
        let most = |of: &[u64]| of.iter().copied().max().unwrap_or(0);
        assert!(most(late) <= most(early) * 5 / 4, "{name}: {memory:?}");
    }
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
    // What is published needs no memory there, and has room all the same.
    let fill = |broker: &mut Option<Redis>| {
        let redis = broker.as_ref().unwrap();
        redis.ask("CONFIG SET maxmemory 1");
        std::thread::sleep(Duration::from_secs(3));
        redis.ask("CONFIG SET maxmemory 0");
    };
    let faults: [Fault<'_, Redis>; 3] = [("clear", &clear), ("forget", &forget), ("fill", &fill)];
    try_out::<Redis>("Redis", &start, &faults);
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
    let fill = |broker: &mut Option<RabbitMq>| {
        let rabbit = broker.as_ref().unwrap();
        rabbit.control(&["set_disk_free_limit", "100000GB"]);
        std::thread::sleep(Duration::from_secs(6));
        rabbit.control(&["set_disk_free_limit", "50MB"]);
    };
    let faults: [Fault<'_, RabbitMq>; 3] =
        [("delete", &delete), ("alarm", &alarm), ("fill", &fill)];
    try_out::<RabbitMq>("RabbitMQ", &start, &faults);
}
