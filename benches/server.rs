//! A whole server under load from another process: with 1, 2 and 4 I/O threads and workers, and with
//! 100 active clients alone and among 10,000 that are silent. Prints the server's CPU time for each
//! echo, which holds still on a busy machine, and how often its threads had to wait for something.
//!
//! `cargo bench --bench server`, on Linux. It starts itself once more, as the server.

mod common;

use common::{Failure, connect, descriptors, frame};
use socketio::{Limits, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ACTIVE: usize = 100;
/// What each of them has in flight.
const WINDOW: usize = 10;
/// Threads that load the server.
const LOADERS: usize = 2;
const TEXT: &str = "0123456789abcdef0123456789abcdef";

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [what, io_threads, workers] = &arguments[..]
        && what == "serve"
    {
        return serve(io_threads.parse()?, workers.parse()?);
    }
    if !cfg!(target_os = "linux") {
        println!("server: only Linux tells what a process has used");
        return Ok(());
    }
    let is_test = arguments.iter().any(|it| it == "--test");
    let (time, silent) = if is_test {
        (Duration::from_millis(100), 100)
    } else {
        (
            Duration::from_secs(3),
            10_000.min(descriptors()?.saturating_sub(500)),
        )
    };
    for threads in [1, 2, 4] {
        let server = Served::start(threads, threads)?;
        let what = format!("I/O threads and workers, each: {threads}");
        println!("{what:36}{}", server.load(time)?);
    }
    let server = Served::start(1, 2)?;
    println!("{:36}{}", "100 clients alone", server.load(time)?);
    let others: Vec<_> = (0..silent)
        .map(|_| connect(server.address))
        .collect::<Result<_, _>>()?;
    let what = format!("100 among {} that are silent", others.len());
    println!("{what:36}{}", server.load(time)?);
    Ok(())
}

/// The other process: serves until its input ends.
fn serve(io_threads: usize, workers: usize) -> Result<(), Failure> {
    let limits = Limits::default().workers(workers);
    let io = Server::builder()
        .io_threads(io_threads)
        .limits(limits)
        .build();
    io.on("echo", |text: String| text);
    io.on("hold", || std::thread::sleep(Duration::from_millis(100)));
    let serving = io.serve(TcpListener::bind("127.0.0.1:0")?)?;
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
    fn start(io_threads: usize, workers: usize) -> Result<Served, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", &io_threads.to_string(), &workers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let mut output = process.stdout.take().ok_or("no output")?;
        let mut byte = [0];
        while output.read(&mut byte)? == 1 && byte != *b"\n" {
            line.push(char::from(byte[0]));
        }
        let address = line.parse()?;
        let served = Served { process, address };
        // Handlers that block make the pool grow to its limit.
        let mut blocking: Vec<_> = (0..4 * workers)
            .map(|_| connect(address))
            .collect::<Result<_, _>>()?;
        for client in &mut blocking {
            client.write_all(&frame("420[\"hold\"]"))?;
        }
        for client in &mut blocking {
            client.read_exact(&mut [0; 7])?;
        }
        Ok(served)
    }

    /// What each echo costs while all active clients have echoes in flight.
    fn load(&self, time: Duration) -> Result<Load, Failure> {
        let (address, until) = (self.address, Instant::now() + time);
        let before = Used::by(self.process.id())?;
        let loaders: Vec<_> = (0..LOADERS)
            .map(|_| std::thread::spawn(move || echo(address, until)))
            .collect();
        let mut echoes = 0;
        for loader in loaders {
            echoes += loader.join().map_err(|_| "a loader panicked")??;
        }
        let after = Used::by(self.process.id())?;
        Ok(Load {
            rate: echoes as f64 / time.as_secs_f64(),
            each: (after.nanoseconds - before.nanoseconds) as f64 / 1e3 / echoes as f64,
            waits: (after.waits - before.waits) as f64 * 1e3 / echoes as f64,
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

struct Load {
    rate: f64,
    each: f64,
    waits: f64,
}

impl std::fmt::Display for Load {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Load { rate, each, waits } = self;
        write!(
            formatter,
            "{rate:>9.0} echoes/s, {each:5.2} us of CPU each, {waits:6.2} waits for 1,000"
        )
    }
}

/// What the threads of a process have used, and how often they slept.
#[derive(Default)]
struct Used {
    nanoseconds: u64,
    waits: u64,
}

impl Used {
    fn by(process: u32) -> Result<Used, Failure> {
        let mut used = Used::default();
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let path = task?.path();
            let time = std::fs::read_to_string(path.join("schedstat"))?;
            used.nanoseconds += time.split(' ').next().unwrap_or_default().parse::<u64>()?;
            let status = std::fs::read_to_string(path.join("status"))?;
            let waits = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            used.waits += waits.unwrap_or_default().trim().parse::<u64>()?;
        }
        Ok(used)
    }
}

/// One loader's clients: each sends its window, and reads its answers.
fn echo(address: SocketAddr, until: Instant) -> Result<usize, Failure> {
    let mut clients: Vec<_> = (0..ACTIVE / LOADERS)
        .map(|_| connect(address))
        .collect::<Result<_, _>>()?;
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for number in 0..WINDOW {
        sent.extend(frame(&format!("42{number}[\"echo\",\"{TEXT}\"]")));
        let answer = format!("43{number}[\"{TEXT}\"]");
        expected.extend([0x81, answer.len() as u8]);
        expected.extend(answer.into_bytes());
    }
    let (mut answers, mut echoes) = (vec![0; expected.len()], 0);
    while Instant::now() < until {
        for client in &mut clients {
            client.write_all(&sent)?;
        }
        for client in &mut clients {
            client.read_exact(&mut answers)?;
            if answers != expected {
                return Err("a wrong answer".into());
            }
        }
        echoes += WINDOW * clients.len();
    }
    Ok(echoes)
}
