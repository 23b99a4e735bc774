//! What slow and silent peers cost the others.
//!
//! `bench_slow URL [PEERS] [CLIENTS]`
//!
//! It measures how long `echo` takes ordinary clients, alone and then beside peers that stop in every
//! state: before, in and behind the head of a request, in its body, behind the handshake, behind
//! CONNECT, in the middle of a frame, and after a poll that nobody follows. `bench_server` answers.

use socketio::engineio::Transport;
use socketio::{ConnectOptions, Error, SimpleClient};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const TIME: Duration = Duration::from_secs(5);
/// Between two questions of one client.
const PAUSE: Duration = Duration::from_millis(10);

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let Some(url) = arguments.next() else {
        eprintln!("usage: bench_slow URL [PEERS] [CLIENTS]");
        std::process::exit(2);
    };
    let mut number = |default| {
        arguments
            .next()
            .and_then(|it| it.parse().ok())
            .unwrap_or(default)
    };
    let (peers, clients): (usize, usize) = (number(5_000), number(100));
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let connect = |_| {
        let options = ConnectOptions::new(url.as_str()).transports([Transport::WebSocket]);
        SimpleClient::connect(options)
    };
    let clients = (0..clients).map(connect).collect::<Result<Vec<_>, _>>()?;
    let alone = measure(&clients)?;
    println!("alone:                {alone}");
    let silent = (0..peers).map(|number| stop_somewhere(address, number));
    let silent = silent.collect::<Result<Vec<_>, _>>()?;
    let beside = measure(&clients)?;
    println!("beside {:>5} others:  {beside}", silent.len());
    println!(
        "the median is {:.2} times as long",
        beside.median.as_secs_f64() / alone.median.as_secs_f64()
    );
    Ok(())
}

struct Times {
    count: usize,
    median: Duration,
    late: Duration,
}

impl std::fmt::Display for Times {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Times {
            count,
            median,
            late,
        } = self;
        write!(
            formatter,
            "{count} echoes, median {median:.0?}, 99 of 100 within {late:.0?}"
        )
    }
}

fn measure(clients: &[SimpleClient]) -> Result<Times, Error> {
    let until = Instant::now() + TIME;
    let ask = |client: &SimpleClient| {
        let mut times = Vec::new();
        while Instant::now() < until {
            let since = Instant::now();
            client.call::<u64>("echo", 7, SOON)?;
            times.push(since.elapsed());
            std::thread::sleep(PAUSE);
        }
        Ok(times)
    };
    let times: Result<Vec<Vec<_>>, Error> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .map(|client| scope.spawn(move || ask(client)))
            .collect();
        threads
            .into_iter()
            .map(|it| it.join().unwrap_or(Err(Error::Disconnected)))
            .collect()
    });
    let mut times: Vec<_> = times?.into_iter().flatten().collect();
    times.sort();
    Ok(Times {
        count: times.len(),
        median: times[times.len() / 2],
        late: times[times.len() * 99 / 100],
    })
}

/// A peer that stops somewhere, and stays.
fn stop_somewhere(address: &str, number: usize) -> std::io::Result<TcpStream> {
    const HEAD: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n";
    const POST: &str = "POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n4";
    const UPGRADE: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = TcpStream::connect(address)?;
    let joined = [UPGRADE.as_bytes(), b"\x81\x82\0\0\0\0", b"40"].concat();
    let half = [&joined[..], b"\x81\xfe\x10\0\0\0\0\0", b"42[\"echo\",\""].concat();
    stream.write_all(match number % 7 {
        0 => b"",
        1 => &HEAD.as_bytes()[..20],
        2 => HEAD.as_bytes(),
        3 => POST.as_bytes(),
        4 => UPGRADE.as_bytes(),
        5 => &joined,
        _ => &half,
    })?;
    Ok(stream)
}
