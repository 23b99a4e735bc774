//! Where a server could cost more than its work: many handlers, broadcasts in a row, rooms that are
//! left out, rooms that are left, slow pollers. Prints how long each takes from its beginning until
//! the last client has everything.
//!
//! `cargo bench --bench cliffs`; `benches/cliffs.sh` puts the JavaScript server beside it.

mod common;

use common::{Failure, connect};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socketio::{Server, Serving, Socket};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn main() -> Result<(), Failure> {
    let is_test = std::env::args().any(|it| it == "--test");
    let scale = |count: usize| if is_test { count / 100 } else { count };
    // Both ends of each connection are in this process.
    let crowd = 10_000.min(common::descriptors()?.saturating_sub(500) / 2);
    let elsewhere = std::env::args().find_map(|it| it.parse::<SocketAddr>().ok());
    match elsewhere {
        Some(address) => over_the_wire(|| Ok((address, None)), crowd, scale),
        None => {
            by_itself(scale)?;
            let serve = || {
                let serving = server().bind("127.0.0.1:0")?;
                Ok((serving.local_addr(), Some(serving)))
            };
            over_the_wire(serve, crowd, scale)
        }
    }
}

/// What needs no clients that read.
fn by_itself(scale: impl Fn(usize) -> usize) -> Result<(), Failure> {
    let count = scale(10_000);
    let io = Server::new();
    let begun = Instant::now();
    for number in 0..count {
        io.on(&format!("event {number}"), || ());
    }
    report(&format!("{count} handlers are registered"), begun.elapsed());

    let rooms = scale(100_000);
    let io = server();
    let serving = io.bind("127.0.0.1:0")?;
    let _crowd = Crowd::join(serving.local_addr(), 1)?;
    let sid = io.sockets()[0].sid().to_owned();
    for room in 0..rooms {
        io.enter_room(&sid, &room.to_string())?;
    }
    let begun = Instant::now();
    for room in 0..rooms {
        io.leave_room(&sid, &room.to_string())?;
    }
    report(&format!("one client leaves {rooms} rooms"), begun.elapsed());
    Ok(())
}

/// What any server can be asked for; one for each case, or the same.
fn over_the_wire(
    serve: impl Fn() -> Result<(SocketAddr, Option<Serving>), Failure>,
    crowd: usize,
    scale: impl Fn(usize) -> usize,
) -> Result<(), Failure> {
    for (clients, broadcasts) in [(1_000, 100), (crowd, 20)] {
        let (clients, broadcasts) = (scale(clients), scale(broadcasts).max(2));
        let (address, _serving) = serve()?;
        let mut crowd = Crowd::join(address, clients)?;
        let took = crowd.receive(&format!("42[\"row\",{broadcasts}]"), broadcasts)?;
        report(
            &format!("{broadcasts} broadcasts of one handler to {clients} clients"),
            took,
        );
    }

    let (clients, rooms) = (scale(crowd), scale(500).max(2));
    let (address, _serving) = serve()?;
    let mut crowd = Crowd::join(address, clients)?;
    let took = crowd.receive(&format!("42[\"except\",20,{rooms}]"), 20)?;
    report(
        &format!("20 emits except {rooms} rooms to {clients} clients"),
        took,
    );
    drop(crowd);

    let (address, _serving) = serve()?;
    let polls = poll(address, scale(800))?;
    println!(
        "{:56} {polls:>8}",
        format!("polls for {} events that wait", scale(800))
    );
    Ok(())
}

fn report(what: &str, took: Duration) {
    println!("{what:56} {:>8.1} ms", took.as_secs_f64() * 1e3);
}

fn server() -> Server {
    let io = Server::new();
    io.on("row", |socket: &Socket, count: usize| {
        for _ in 0..count {
            socket.server().emit("b", "x")?;
        }
        Ok::<_, socketio::Error>(())
    });
    io.on("except", |socket: &Socket, count: usize, rooms: usize| {
        let rooms: Vec<_> = (0..rooms).map(|room| format!("room {room}")).collect();
        for _ in 0..count {
            socket.server().except(&rooms).emit("b", "x")?;
        }
        Ok::<_, socketio::Error>(())
    });
    io
}

/// Clients that read what comes.
struct Crowd {
    poll: Poll,
    streams: Vec<TcpStream>,
}

impl Crowd {
    fn join(address: SocketAddr, clients: usize) -> Result<Crowd, Failure> {
        let poll = Poll::new()?;
        let mut streams = Vec::new();
        for number in 0..clients {
            let stream = connect(address)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(number), Interest::READABLE)?;
            streams.push(stream);
        }
        Ok(Crowd { poll, streams })
    }

    /// Lets the first client send something, and waits until each has so many messages `42["b","x"]`.
    fn receive(&mut self, event: &str, messages: usize) -> Result<Duration, Failure> {
        let each = messages * (2 + "42[\"b\",\"x\"]".len());
        let mut missing = vec![each; self.streams.len()];
        let (mut left, mut buffer) = (self.streams.len(), vec![0; 1 << 16]);
        let mut events = Events::with_capacity(4096);
        let begun = Instant::now();
        self.streams[0].write_all(&common::frame(event))?;
        while left > 0 {
            self.poll.poll(&mut events, Some(Duration::from_secs(20)))?;
            if events.is_empty() {
                return Err("not everything arrives".into());
            }
            for event in &events {
                let number = event.token().0;
                loop {
                    match self.streams[number].read(&mut buffer) {
                        Ok(0) => return Err("a client was closed".into()),
                        Ok(count) => {
                            let before = missing[number];
                            missing[number] = before.saturating_sub(count);
                            left -= usize::from(before > 0 && missing[number] == 0);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(begun.elapsed())
    }
}

/// How many polls a client needs for events that wait for it.
fn poll(address: SocketAddr, events: usize) -> Result<usize, Failure> {
    let url = format!("http://{address}/socket.io/?EIO=4&transport=polling");
    let agent = ureq::Agent::new_with_defaults();
    let get = |url: &str| -> Result<String, Failure> {
        Ok(agent.get(url).call()?.body_mut().read_to_string()?)
    };
    let open = get(&url)?;
    let sid = open.split('"').nth(3).ok_or("no sid")?;
    let url = format!("{url}&sid={sid}");
    agent.post(&url).send("40")?;
    get(&url)?;
    agent.post(&url).send(&*format!("421[\"row\",{events}]"))?;
    std::thread::sleep(Duration::from_millis(100));
    let (mut polls, mut got) = (0, 0);
    while got < events {
        got += get(&url)?.matches("\"b\"").count();
        polls += 1;
    }
    Ok(polls)
}
