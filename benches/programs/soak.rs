//! Drives a server with clients that come, talk, and vanish, and checks that nothing is lost or kept.
//!
//! `soak [SECONDS] [CLIENTS] [SEED]`
//!
//! The server is a process of its own. Its clients connect over either transport or the upgrade
//! between them, to one namespace or two, join and leave rooms, send numbers that are acknowledged and
//! bytes that come back, answer the server's calls, shout to rooms, disconnect, vanish without a word,
//! and come back, at random. Every acknowledged number was handled once and in order, and so is what
//! each of them hears. Each five seconds a line says what the server holds; at
//! the end it is to hold what it held after the first clients. The exit status is 1 if it does not.

use socketio::engineio::Transport;
use socketio::{Binary, Client, ConnectOptions, Error, Event, Reason, Server, Socket};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tungstenite::Message;

const ROOMS: usize = 20;
/// A second namespace, where some of the clients are too.
const OTHER: &str = "/other";
/// Threads that drive clients.
const DRIVERS: usize = 8;
const ANSWER: Duration = Duration::from_secs(60);
/// How much more memory the server may hold at the end than at the beginning, in KiB.
const MORE_MEMORY: u64 = 8 << 10;

fn main() -> ExitCode {
    env_logger::init();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|it| it == "--serve") {
        return match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("soak: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let number = |index: usize, default: u64| match arguments.get(index) {
        Some(text) => text.parse().ok(),
        None => Some(default),
    };
    let (Some(seconds), Some(clients), Some(seed), true) = (
        number(0, 60),
        number(1, 1_000),
        number(2, 1),
        arguments.len() <= 3,
    ) else {
        eprintln!("usage: soak [SECONDS] [CLIENTS] [SEED]");
        return ExitCode::from(2);
    };
    match soak(Duration::from_secs(seconds), clients as usize, seed) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the server knows of a client: the number that comes next.
struct Expected(AtomicU64);

fn serve() -> Result<(), Error> {
    let io = Server::builder()
        .ping_interval(Duration::from_secs(5))
        .ping_timeout(Duration::from_secs(5))
        .build();
    io.on_connect(|socket: &Socket| socket.save_session(Expected(AtomicU64::new(0))));
    io.on("number", |socket: &Socket, number: u64| {
        let expected: Option<Arc<Expected>> = socket.session();
        let next = expected.map_or(u64::MAX, |it| it.0.fetch_add(1, Ordering::SeqCst));
        // What is answered is what was expected: the client compares.
        (number, next)
    });
    io.on("enter", |socket: &Socket, room: String| {
        socket.enter_room(&room)
    });
    io.on("leave", |socket: &Socket, room: String| {
        socket.leave_room(&room)
    });
    io.on("shout", |socket: &Socket, room: String, number: u64| {
        socket.to(room).emit("shout", (socket.sid(), number))
    });
    // The same bytes twice, and as many that are new.
    io.on("bytes", |bytes: Binary| {
        let turned: Vec<u8> = bytes.iter().rev().copied().collect();
        (bytes, Binary::from(turned))
    });
    io.on("call me", |socket: &Socket, number: u64| {
        socket.call::<u64>("double", number, ANSWER)
    });
    io.of(OTHER).on("number", |number: u64| number);
    let serving = io.bind("127.0.0.1:0")?;
    println!("{}", serving.local_addr());
    // Until whoever has started it closes this, or ends.
    let _ = std::io::stdin().lock().lines().next();
    serving.shutdown();
    Ok(())
}

/// What was done, and what went wrong.
#[derive(Default)]
struct Tally {
    connected: AtomicU64,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    unanswered: AtomicU64,
    heard: AtomicU64,
    vanished: AtomicU64,
    wrong: AtomicU64,
}

impl Tally {
    fn wrong(&self, what: &str) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        eprintln!("wrong: {what}");
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The server's process, which ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn soak(time: Duration, clients: usize, seed: u64) -> Result<bool, Error> {
    let program = std::env::current_exe()?;
    let mut server = Process(
        Command::new(program)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let mut address = String::new();
    if let Some(stdout) = server.0.stdout.take() {
        BufReader::new(stdout).read_line(&mut address)?;
    }
    let (address, pid) = (Arc::<str>::from(address.trim()), server.0.id());
    let tally = Arc::new(Tally::default());
    // What it has made for its first clients stays: workers, tables, the allocator's pages.
    run(&address, &tally, clients, time / 6, seed, pid);
    let first = settled(pid);
    println!("after the first clients: {first}");
    run(&address, &tally, clients, time - time / 6, seed + 1, pid);
    let last = settled(pid);
    println!("after the last: {last}");
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} connections, {} of them vanished; {} numbers sent, {} acknowledged, {} broken off; {} shouts heard; {} wrong",
        count(&tally.connected),
        count(&tally.vanished),
        count(&tally.sent),
        count(&tally.acknowledged),
        count(&tally.unanswered),
        count(&tally.heard),
        count(&tally.wrong),
    );
    let is_back = last.threads <= first.threads
        && last.descriptors <= first.descriptors
        && last.memory <= first.memory + MORE_MEMORY;
    if !is_back {
        println!("the server does not end where it began");
    }
    Ok(is_back && count(&tally.wrong) == 0 && count(&tally.acknowledged) > 0)
}

/// What a process holds.
struct Held {
    /// Resident, in KiB.
    memory: u64,
    threads: usize,
    descriptors: usize,
}

impl std::fmt::Display for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Held {
            memory,
            threads,
            descriptors,
        } = self;
        write!(
            formatter,
            "{:.1} MiB, {threads} threads, {descriptors} descriptors",
            *memory as f64 / 1024.0
        )
    }
}

fn held(pid: u32) -> Held {
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, |entries| entries.count())
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().nth(1));
    Held {
        memory: words.and_then(|word| word.parse().ok()).unwrap_or(0),
        threads: count("task"),
        descriptors: count("fd"),
    }
}

/// What it holds once nobody is there and idle workers have left.
fn settled(pid: u32) -> Held {
    // Longer than the ping interval and time-out, and than a worker stays without work.
    std::thread::sleep(Duration::from_secs(15));
    held(pid)
}

/// Lets clients come and go for a time, and go for good.
fn run(
    address: &Arc<str>,
    tally: &Arc<Tally>,
    clients: usize,
    time: Duration,
    seed: u64,
    pid: u32,
) {
    let until = Instant::now() + time;
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        for driver in 0..DRIVERS {
            let random = Random(seed * 1_000 + driver as u64 + 1);
            let (address, tally) = (Arc::clone(address), Arc::clone(tally));
            let own = clients / DRIVERS + usize::from(driver < clients % DRIVERS);
            scope.spawn(move || drive(&address, &tally, own, until, random));
        }
        let done = Arc::clone(&over);
        scope.spawn(move || {
            let mut next = Instant::now() + Duration::from_secs(5);
            while !done.load(Ordering::Relaxed) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(100));
                if Instant::now() >= next {
                    println!(
                        "{}; {} acknowledged",
                        held(pid),
                        tally.acknowledged.load(Ordering::Relaxed)
                    );
                    next += Duration::from_secs(5);
                }
            }
        });
    });
    over.store(true, Ordering::Relaxed);
}

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// A client, and what it has said since it has connected.
struct Talker {
    client: Client,
    is_in_both: bool,
    next: u64,
    shouts: u64,
}

fn drive(address: &str, tally: &Arc<Tally>, clients: usize, until: Instant, mut random: Random) {
    let mut talkers: Vec<Option<Talker>> = (0..clients).map(|_| None).collect();
    while Instant::now() < until && clients > 0 {
        let index = random.below(clients);
        let place = &mut talkers[index];
        let Some(talker) = place else {
            match random.below(10) {
                0 => vanish(address, tally, &mut random),
                _ => *place = connect(address, tally, &mut random),
            }
            continue;
        };
        let room = format!("room {}", random.below(ROOMS));
        let done = match random.below(48) {
            0..10 => talker.client.emit("enter", room),
            10..15 => talker.client.emit("leave", room),
            15..20 => {
                talker.shouts += 1;
                talker.client.emit("shout", (room, talker.shouts))
            }
            20 => {
                talker.client.shutdown();
                *place = None;
                continue;
            }
            40..43 => send_bytes(talker, tally, random.below(20_000)),
            43..46 => ask(&talker.client, tally, "call me", talker.next, |it| it * 2),
            46.. if talker.is_in_both => ask(
                &talker.client.of(OTHER),
                tally,
                "number",
                talker.next,
                |it| it,
            ),
            _ => say(talker, tally),
        };
        if let Err(error) = done {
            tally.wrong(&format!("a connected client cannot send: {error}"));
            *place = None;
        }
    }
    for talker in talkers.into_iter().flatten() {
        talker.client.shutdown();
    }
}

fn say(talker: &mut Talker, tally: &Arc<Tally>) -> Result<(), Error> {
    let number = talker.next;
    talker.next += 1;
    add(&tally.sent);
    let tally = Arc::clone(tally);
    let answered = move |answer: Result<(u64, u64), Error>| match answer {
        Ok(answer) if answer == (number, number) => add(&tally.acknowledged),
        Ok(answer) => tally.wrong(&format!("number {number} was answered with {answer:?}")),
        // It was under way when its client left.
        Err(Error::Disconnected) => add(&tally.unanswered),
        Err(error) => tally.wrong(&format!("number {number}: {error}")),
    };
    talker
        .client
        .emit_with_ack("number", number, ANSWER, answered)
}

/// Sends bytes, which come back.
fn send_bytes(talker: &Talker, tally: &Arc<Tally>, length: usize) -> Result<(), Error> {
    let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
    let turned: Vec<u8> = bytes.iter().rev().copied().collect();
    add(&tally.sent);
    let (sent, tally) = (Binary::from(bytes), Arc::clone(tally));
    let expected = (sent.clone(), Binary::from(turned));
    let answered = move |answer: Result<(Binary, Binary), Error>| match answer {
        Ok(answer) if answer == expected => add(&tally.acknowledged),
        Ok(_) => tally.wrong("bytes came back that were not sent"),
        Err(Error::Disconnected) => add(&tally.unanswered),
        Err(error) => tally.wrong(&format!("bytes: {error}")),
    };
    talker.client.emit_with_ack("bytes", sent, ANSWER, answered)
}

/// Sends a number to an event that answers with what a function makes of it.
fn ask(
    client: &Client,
    tally: &Arc<Tally>,
    event: &'static str,
    number: u64,
    expected: fn(u64) -> u64,
) -> Result<(), Error> {
    add(&tally.sent);
    let tally = Arc::clone(tally);
    let answered = move |answer: Result<u64, Error>| match answer {
        Ok(answer) if answer == expected(number) => add(&tally.acknowledged),
        Ok(answer) => tally.wrong(&format!("{event} {number} was answered with {answer}")),
        Err(Error::Disconnected) => add(&tally.unanswered),
        Err(error) => tally.wrong(&format!("{event} {number}: {error}")),
    };
    client.emit_with_ack(event, number, ANSWER, answered)
}

fn connect(address: &str, tally: &Arc<Tally>, random: &mut Random) -> Option<Talker> {
    let client = Client::builder().reconnection(false).build();
    // Each shouter counts its own shouts.
    let heard = Mutex::new(HashMap::<String, u64>::new());
    let tallied = Arc::clone(tally);
    client.on("shout", move |event: &Event| {
        let Ok((from, number)) = event.data::<(String, u64)>() else {
            return tallied.wrong("a shout that is none");
        };
        let mut heard = heard.lock().unwrap_or_else(|broken| broken.into_inner());
        let last = heard.insert(from, number);
        if last.is_some_and(|last| last >= number) {
            tallied.wrong(&format!("shout {number} came after {last:?}"));
        }
        add(&tallied.heard);
    });
    client.on("double", |number: u64| number * 2);
    let tallied = Arc::clone(tally);
    client.on_disconnect(move |_: &Client, reason: Reason| {
        if reason != Reason::ClientDisconnect {
            tallied.wrong(&format!("a client was disconnected: {reason}"));
        }
    });
    let transports: &[_] = match random.below(4) {
        0 => &[Transport::Polling],
        1 => &[Transport::Polling, Transport::WebSocket],
        _ => &[Transport::WebSocket],
    };
    let options = ConnectOptions::new(format!("http://{address}"))
        .transports(transports.iter().copied())
        .wait_timeout(ANSWER);
    let is_in_both = random.below(2) == 0;
    let options = if is_in_both {
        options.namespaces(["/", OTHER])
    } else {
        options.namespaces(["/"])
    };
    match client.connect(options) {
        Ok(()) => {
            add(&tally.connected);
            Some(Talker {
                client,
                is_in_both,
                next: 0,
                shouts: 0,
            })
        }
        Err(error) => {
            tally.wrong(&format!("a client does not connect: {error}"));
            None
        }
    }
}

/// A client that goes without a word, in any state.
fn vanish(address: &str, tally: &Tally, random: &mut Random) {
    let Ok(stream) = std::net::TcpStream::connect(address) else {
        return tally.wrong("no connection");
    };
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let Ok((mut socket, _)) = tungstenite::client(url, stream) else {
        return tally.wrong("no WebSocket");
    };
    add(&tally.connected);
    add(&tally.vanished);
    let words = [
        "40",
        "421[\"number\",0]",
        "42[\"enter\",\"room 1\"]",
        "40/other,",
        "452-[\"bytes\",{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0}]",
    ];
    for word in &words[..random.below(words.len() + 1)] {
        let _ = socket.send(Message::text(*word));
    }
}
