//! What the machine does to a server: descriptors and threads run out, files change while they are
//! served, the process is paused. And an end in the middle of each.

use crate::common::{Example, PATIENCE, Ws, eventually, serve, url};
use socketio::engineio::Transport;
use socketio::{App, Client, ConnectOptions, Server, SimpleClient};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

fn client(server: &str) -> SimpleClient {
    let options = ConnectOptions::new(server).transports([Transport::WebSocket]);
    let client = Client::builder().reconnection(false);
    let connected = SimpleClient::builder().client(client).connect(options);
    connected.expect("it connects")
}

fn echo(client: &SimpleClient, number: u64) {
    let answer = client.call::<u64>("message-with-ack", number, PATIENCE);
    assert_eq!(answer.expect("it is answered"), number);
}

fn signal(server: &Example, name: &str) {
    let kill = Command::new("kill")
        .args([&format!("-{name}"), &server.pid().to_string()])
        .status();
    assert!(kill.expect("kill runs").success());
}

#[test]
fn without_descriptors_nobody_comes_in_until_there_are_some_again() {
    let server = Example::start_within("-n 64", "socketio_echo", &[]);
    let friend = client(&server.url());
    for round in 0..3 {
        // The system takes connections that the server cannot.
        let many: Vec<_> = (0..100)
            .map(|_| TcpStream::connect(server.address()).unwrap())
            .collect();
        for number in 0..20 {
            echo(&friend, number);
        }
        drop(many);
        let late = client(&server.url());
        echo(&late, round);
    }
    let many: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    server.terminate();
    drop(many);
}

#[test]
fn without_threads_handlers_wait_for_those_there_are() {
    // Address space for two or three threads more than those it begins with, whose stacks are so
    // large that memory for everything else is left.
    let server = Example::start_within("-v 550000", "socketio_echo", &[]);
    let clients: Vec<_> = (0..40).map(|_| client(&server.url())).collect();
    std::thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| {
                client
                    .call::<()>("sleep", 100, PATIENCE)
                    .expect("its turn comes");
            });
        }
    });
    echo(&clients[0], 1);
    for client in &clients {
        client.emit("sleep", 100).unwrap();
    }
    server.terminate();
}

#[test]
fn a_process_that_was_paused_disconnects_nobody_who_answers() {
    let times = ["--ping-interval", "2000", "--ping-timeout", "1000"];
    let server = Example::start("socketio_echo", 0, &times);
    let clients: Vec<_> = (0..10).map(|_| client(&server.url())).collect();
    let polling = ConnectOptions::new(server.url()).transports([Transport::Polling]);
    let poller = SimpleClient::connect(polling).unwrap();
    // A client notices a silent server too: this pause is shorter than that takes.
    signal(&server, "STOP");
    std::thread::sleep(Duration::from_millis(500));
    signal(&server, "CONT");
    for (number, client) in clients.iter().enumerate() {
        echo(client, number as u64);
    }
    echo(&poller, 1);
    // Longer than interval and time-out, towards one that answers and never gives up.
    let (mut websocket, _) = Ws::join(server.address(), "40");
    let patient = std::thread::spawn(move || {
        loop {
            let Some(message) = websocket.next() else {
                return;
            };
            if message.to_text().is_ok_and(|text| text == "2") {
                websocket.send("3");
            }
        }
    });
    signal(&server, "STOP");
    std::thread::sleep(Duration::from_millis(3_500));
    signal(&server, "CONT");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(
        !patient.is_finished(),
        "it is still connected, and still answers"
    );
    signal(&server, "STOP");
    signal(&server, "TERM");
    signal(&server, "CONT");
    server.ended();
}

#[test]
fn files_that_shrink_or_vanish_while_they_are_served_end_one_answer() {
    const SIZE: u64 = 30_000_000;
    let folder = std::env::temp_dir().join(format!("socketio-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (shrinks, vanishes) = (folder.join("shrinks.bin"), folder.join("vanishes.bin"));
    for path in [&shrinks, &vanishes] {
        std::fs::File::create(path).unwrap().set_len(SIZE).unwrap();
    }
    let io = Server::builder()
        .shutdown_timeout(Duration::from_secs(1))
        .build();
    io.on("message-with-ack", |number: u64| number);
    let app = App::new(&io).static_files("/", &folder);
    let serving = app.bind("127.0.0.1:0").unwrap();
    let address = serving.local_addr();
    let friend = client(&format!("http://{address}"));
    let begin = |name: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut beginning = [0; 10_000];
        stream.read_exact(&mut beginning).unwrap();
        assert!(beginning.starts_with(b"HTTP/1.1 200 "));
        stream
    };
    let rest = |mut stream: TcpStream| {
        let mut buffer = vec![0; 1 << 16];
        let mut total = 10_000;
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            total += count as u64;
        }
        total
    };
    let reader = begin("shrinks.bin");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&shrinks)
        .unwrap();
    file.set_len(1_000).unwrap();
    // What was promised does not come: the connection ends, so that nobody takes it for all.
    assert!(rest(reader) < SIZE);
    echo(&friend, 1);
    let reader = begin("vanishes.bin");
    std::fs::remove_file(&vanishes).unwrap();
    std::thread::scope(|scope| {
        // An open file stays until it was read.
        let whole = scope.spawn(|| {
            let mut reader = reader;
            let mut total = 10_000_u64;
            let mut buffer = vec![0; 1 << 16];
            while total < SIZE {
                total += reader.read(&mut buffer).expect("the rest") as u64;
            }
        });
        whole.join().unwrap();
    });
    echo(&friend, 2);
    std::fs::File::create(&vanishes)
        .unwrap()
        .set_len(SIZE)
        .unwrap();
    let _never_read = begin("vanishes.bin");
    serving.shutdown();
    drop(friend);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A peer that stops somewhere, and stays.
fn stop_somewhere(address: SocketAddr, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let handshake = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let joined = [handshake.as_bytes(), b"\x81\x82\0\0\0\0", b"40"].concat();
    let half = [&joined[..], b"\x81\xfe\x10\0\0\0\0\0", b"42[\"message\",\""].concat();
    let bytes: &[u8] = match number % 7 {
        0 => b"",
        1 => b"GET /socket.io/?EIO=4&tra",
        2 => b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n",
        3 => b"POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n4",
        4 => handshake.as_bytes(),
        5 => &joined,
        _ => &half,
    };
    stream.write_all(bytes).expect("taken");
    stream
}

#[test]
fn peers_that_stop_in_any_state_keep_nobody_else_waiting() {
    let server = Example::start("socketio_echo", 0, &[]);
    let friends: Vec<_> = (0..20).map(|_| client(&server.url())).collect();
    let silent: Vec<_> = (0..700)
        .map(|number| stop_somewhere(server.address(), number))
        .collect();
    for number in 0..50 {
        for friend in &friends {
            echo(friend, number);
        }
    }
    drop(silent);
    server.terminate();
}

/// A server in this process, as often as it takes.
#[test]
fn a_server_that_ends_while_it_is_being_connected_to_leaves_nothing_behind() {
    for _ in 0..3 {
        let io = Server::new();
        io.on("message-with-ack", |number: u64| number);
        let serving = serve(&io);
        let address = serving.local_addr();
        let peers: Vec<_> = (0..20)
            .map(|number| stop_somewhere(address, number))
            .collect();
        let friend = client(&url(&serving));
        echo(&friend, 1);
        serving.shutdown();
        eventually("the end", || TcpStream::connect(address).is_err());
        drop(peers);
    }
}
