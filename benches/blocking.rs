//! Handlers that block, and that compute: how many are served, how long others wait beside them, and
//! with how many threads. Clients have one event in flight each; 20 more echo each 10 ms.
//!
//! `cargo bench --bench blocking`, on Linux. It starts itself once more, as the server.

mod common;

use common::{Failure, connect, frame, read_frame};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socketio::{App, Limits, Server, Socket, tiny_http};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Clients that only echo.
const BESIDE: usize = 20;
const ECHO_EACH: Duration = Duration::from_millis(10);

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [what, workers] = &arguments[..]
        && what == "serve"
    {
        return serve(workers.parse()?);
    }
    if !cfg!(target_os = "linux") {
        println!("blocking: only Linux tells how many threads a process has");
        return Ok(());
    }
    let is_test = arguments.iter().any(|it| it == "--test");
    let time = Duration::from_millis(if is_test { 200 } else { 3000 });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let default = Limits::default().workers;

    println!(
        "                                        possible     served   others p50    p99   threads at 0, 2, 7, 57 % of the time"
    );
    for ms in [1, 4, 20, 100] {
        report(
            &format!("200 clients sleep {ms} ms"),
            default,
            Some(200_000 / ms),
            time,
            |address| run(address, &Load::of_events("sleep", 200, ms, time)),
        )?;
    }
    report(
        "1,000 clients sleep 50 ms",
        default,
        Some(default as u64 * 20),
        time,
        |address| run(address, &Load::of_events("sleep", 1000, 50, time)),
    )?;
    for workers in [default, cores] {
        report(
            &format!("200 compute 5 ms, {workers} workers"),
            workers,
            Some(200 * cores as u64),
            time,
            |address| run(address, &Load::of_events("compute", 200, 5, time)),
        )?;
    }
    report(
        "half of the events sleep 4 ms",
        default,
        None,
        time,
        |address| {
            run(
                address,
                &Load {
                    every: 2,
                    ..Load::of_events("sleep", 200, 4, time)
                },
            )
        },
    )?;
    report(
        "one event in a hundred sleeps 2 s",
        default,
        None,
        time,
        |address| {
            run(
                address,
                &Load {
                    every: 100,
                    ..Load::of_events("sleep", 200, 2000, time)
                },
            )
        },
    )?;
    report(
        "200 HTTP requests of 4 ms",
        default,
        Some(50_000),
        time,
        |address| {
            run(
                address,
                &Load {
                    http: true,
                    ..Load::of_events("sleep", 200, 4, time)
                },
            )
        },
    )?;
    let server = Served::start(default)?;
    let silence = Duration::from_secs(if is_test { 1 } else { 60 });
    let worst = burst(&server, 200, Duration::from_millis(20), silence)?;
    println!(
        "the first 200 events of 20 ms after {} s of silence: all done after {:.1} ms",
        silence.as_secs(),
        worst.as_secs_f64() * 1e3
    );
    drop(server);
    let clients = if is_test { 50 } else { 5_000 }.min(common::descriptors()? - 200);
    let server = Served::start(default)?;
    let (took, median) = herd(&server, clients)?;
    println!(
        "{clients} clients with a connect handler of 5 ms: all are in after {:.0} ms; others p50 {:.2} ms",
        took.as_secs_f64() * 1e3,
        median.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Parts of the time of a load after which the server's threads are counted, each after the one
/// before it.
const LOOKS: [f64; 4] = [0.0, 0.02, 0.05, 0.5];

fn report(
    what: &str,
    workers: usize,
    possible: Option<u64>,
    time: Duration,
    load: impl FnOnce(SocketAddr) -> Result<Outcome, Failure>,
) -> Result<(), Failure> {
    let server = Served::start(workers)?;
    let folder = server.threads_folder();
    let counting = std::thread::spawn(move || {
        LOOKS.map(|part| {
            std::thread::sleep(time.mul_f64(part));
            std::fs::read_dir(&folder).map_or(0, Iterator::count)
        })
    });
    let outcome = load(server.address)?;
    let counts = counting.join().map_err(|_| "counting panicked")?;
    let threads = counts.map(|it| it.to_string()).join(" ");
    let possible = possible.map_or_else(String::new, |it| it.to_string());
    let Outcome { rate, median, p99 } = outcome;
    println!("{what:36} {possible:>11} {rate:>10.0} {median:>9.2} ms {p99:>6.2}   {threads}");
    Ok(())
}

/// The other process: serves until its input ends.
fn serve(workers: usize) -> Result<(), Failure> {
    let limits = Limits::default().workers(workers);
    // The clients of the silence answer no pings.
    let io = Server::builder()
        .limits(limits)
        .ping_interval(Duration::from_secs(300))
        .build();
    io.on("echo", || {});
    io.on("sleep", |ms: u64| {
        std::thread::sleep(Duration::from_millis(ms));
    });
    io.of("/slow")
        .on_connect(|_: &Socket| std::thread::sleep(Duration::from_millis(5)));
    io.on("compute", |ms: u64| {
        let until = Instant::now() + Duration::from_millis(ms);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    });
    let app = App::new(&io).http(|request| {
        let ms = request.path().trim_start_matches('/').parse().unwrap_or(0);
        std::thread::sleep(Duration::from_millis(ms));
        tiny_http::Response::from_string("")
    });
    let serving = app.serve(TcpListener::bind("127.0.0.1:0")?)?;
    println!("{}", serving.local_addr());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A server in a process of its own, which ends with this.
struct Served {
    process: Child,
    address: SocketAddr,
}

impl Served {
    fn start(workers: usize) -> Result<Served, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", &workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = process.stdout.take().ok_or("no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        Ok(Served {
            process,
            address: line.trim().parse()?,
        })
    }

    fn threads_folder(&self) -> String {
        format!("/proc/{}/task", self.process.id())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// What clients do.
struct Load {
    event: &'static str,
    clients: usize,
    milliseconds: u64,
    time: Duration,
    /// One event in so many is that event; the others are echoes.
    every: usize,
    /// Requests to the program's own application, in the place of events.
    http: bool,
}

impl Load {
    fn of_events(event: &'static str, clients: usize, milliseconds: u64, time: Duration) -> Load {
        Load {
            event,
            clients,
            milliseconds,
            time,
            every: 1,
            http: false,
        }
    }
}

struct Outcome {
    /// A second.
    rate: f64,
    /// Of the others, in milliseconds.
    median: f64,
    p99: f64,
}

struct Peer {
    stream: TcpStream,
    sent: Option<Instant>,
    next: Instant,
    count: usize,
    is_beside: bool,
    http: bool,
}

impl Peer {
    fn send(&mut self, load: &Load) -> Result<(), Failure> {
        let Load {
            event,
            milliseconds,
            ..
        } = load;
        let bytes = if self.is_beside {
            frame("420[\"echo\"]")
        } else if self.http {
            format!("GET /{milliseconds} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
        } else if self.count.is_multiple_of(load.every) {
            frame(&format!("420[\"{event}\",{milliseconds}]"))
        } else {
            frame("420[\"echo\"]")
        };
        self.count += 1;
        self.sent = Some(Instant::now());
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Gives how long an answer took that has come.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<Duration>, Failure> {
        match self.stream.read(buffer) {
            Ok(0) => Err("the server has gone".into()),
            // A small answer is not split on this machine.
            Ok(count) if buffer[..count].starts_with(b"\x81") || self.http => {
                Ok(self.sent.take().map(|sent| sent.elapsed()))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Drives all clients from one thread.
fn run(address: SocketAddr, load: &Load) -> Result<Outcome, Failure> {
    let mut poll = Poll::new()?;
    let mut peers = Vec::new();
    let begun = Instant::now();
    for index in 0..load.clients + BESIDE {
        let is_beside = index >= load.clients;
        let http = load.http && !is_beside;
        let stream = if http {
            std::net::TcpStream::connect(address)?
        } else {
            connect(address)?
        };
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE;
        poll.registry()
            .register(&mut stream, Token(index), interest)?;
        peers.push(Peer {
            stream,
            sent: None,
            next: begun + ECHO_EACH * (index as u32 % 10) / 10,
            // Those that block now and then do not all do it at once.
            count: index % load.every.max(1),
            is_beside,
            http,
        });
    }
    // What is counted begins once the server has the workers that it needs.
    let from = Instant::now() + load.time / 3;
    let until = Instant::now() + load.time;
    let (mut served, mut waits) = (0_u64, Vec::new());
    let (mut events, mut buffer) = (Events::with_capacity(1024), [0; 4096]);
    for peer in &mut peers[..load.clients] {
        peer.send(load)?;
    }
    loop {
        poll.poll(&mut events, Some(Duration::from_millis(1)))?;
        let now = Instant::now();
        if now >= until {
            break;
        }
        for event in &events {
            let peer = &mut peers[event.token().0];
            let Some(took) = peer.read(&mut buffer)? else {
                continue;
            };
            if peer.is_beside {
                if now > from {
                    waits.push(took.as_secs_f64() * 1e3);
                }
                continue;
            }
            served += u64::from(now > from);
            peer.send(load)?;
        }
        for peer in &mut peers[load.clients..] {
            if peer.sent.is_none() && peer.next <= now {
                peer.next = now + ECHO_EACH;
                peer.send(load)?;
            }
        }
    }
    waits.sort_by(f64::total_cmp);
    let quantile = |part: f64| {
        let at = (waits.len().saturating_sub(1) as f64 * part) as usize;
        waits.get(at).copied().unwrap_or(f64::NAN)
    };
    Ok(Outcome {
        rate: served as f64 / (until - from).as_secs_f64(),
        median: quantile(0.5),
        p99: quantile(0.99),
    })
}

/// How long it takes until the first events of a server that was idle have all been answered.
fn burst(
    server: &Served,
    clients: usize,
    sleep: Duration,
    silence: Duration,
) -> Result<Duration, Failure> {
    let streams: Vec<_> = (0..clients)
        .map(|_| connect(server.address))
        .collect::<Result<_, _>>()?;
    std::thread::sleep(silence);
    let event = frame(&format!("420[\"sleep\",{}]", sleep.as_millis()));
    let begun = Instant::now();
    for mut stream in &streams {
        stream.write_all(&event)?;
    }
    for mut stream in streams {
        read_frame(&mut stream)?;
    }
    Ok(begun.elapsed())
}

/// How long it takes until clients that come at once have passed a connect handler that blocks, and
/// the median answer of one that is in.
fn herd(server: &Served, clients: usize) -> Result<(Duration, Duration), Failure> {
    let streams: Vec<_> = (0..clients)
        .map(|_| connect(server.address))
        .collect::<Result<_, _>>()?;
    let over = Arc::new(AtomicBool::new(false));
    let (ends, address) = (Arc::clone(&over), server.address);
    let echoes = std::thread::spawn(move || {
        let mut stream = connect(address)?;
        let mut times = Vec::new();
        while !ends.load(Ordering::Relaxed) || times.is_empty() {
            let begun = Instant::now();
            stream.write_all(&frame("421[\"echo\"]"))?;
            read_frame(&mut stream)?;
            times.push(begun.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        times.sort();
        Ok::<_, Failure>(times[times.len() / 2])
    });
    let begun = Instant::now();
    for mut stream in &streams {
        stream.write_all(&frame("40/slow,"))?;
    }
    for mut stream in streams {
        read_frame(&mut stream)?;
    }
    let took = begun.elapsed();
    over.store(true, Ordering::Relaxed);
    let median = echoes.join().map_err(|_| "the echoes panicked")??;
    Ok((took, median))
}
