//! Several servers over a real Redis, one of them python-socketio's.
#![cfg(feature = "redis")]

mod common;

use common::{PATIENCE, eventually, has_peer, python, serve, url};
use socketio::manager::{ManagerState, PubSubManager, from_url};
use socketio::{Binary, Bytes, Client, Server, Serving, SimpleClient, Socket};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// Starts one on a port that the system has given, or on a given one; none without Redis.
    fn start(port: u16) -> Option<Redis> {
        Redis::start_with(port, &["--save", "", "--appendonly", "no"])
    }

    fn start_with(port: u16, more: &[&str]) -> Option<Redis> {
        let program = Path::new("/usr/bin/redis-server");
        if !has_peer("Redis", program) {
            return None;
        }
        let port = if port == 0 { free_port() } else { port };
        let number = port.to_string();
        let child = Command::new(program)
            .args(more)
            .args(["--bind", "127.0.0.1", "--port", &number])
            .stdout(Stdio::null())
            .spawn()
            .expect("Redis runs");
        // Stopped with the test also if it never listens.
        let redis = Redis { child, port };
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(since.elapsed() < PATIENCE, "Redis listens");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(redis)
    }

    /// The beginning of its answer to a command.
    fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        let mut answer = [0; 100];
        let count = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn manager(&self) -> PubSubManager {
        from_url(&self.url()).unwrap()
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }
}

/// A server of python-socketio, running.
struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("waited for");
    }
}

/// A server of the cluster, and a client of it.
struct Node {
    io: Server,
    manager: PubSubManager,
    serving: Serving,
    client: SimpleClient,
}

fn node(redis: &Redis) -> Node {
    node_at(&redis.url())
}

fn node_at(url_of_broker: &str) -> Node {
    let manager = from_url(url_of_broker).unwrap();
    let io = Server::builder().manager(manager.clone()).build();
    io.on("room", |socket: &Socket, room: String| {
        socket.enter_room(&room)
    });
    let serving = serve(&io);
    let client = SimpleClient::connect(url(&serving)).unwrap();
    connected(&manager);
    Node {
        io,
        manager,
        serving,
        client,
    }
}

fn connected(manager: &PubSubManager) {
    eventually("the broker", || manager.state() == ManagerState::Connected);
}

#[test]
fn thousands_of_messages_reach_every_server_in_order() {
    let Some(redis) = Redis::start(0) else {
        return;
    };
    let (one, other) = (node(&redis), node(&redis));
    let emitter = redis.manager().write_only();
    let emitter_io = Server::builder().manager(emitter.clone()).build();
    for number in 0..10_000 {
        // What does not fit waits a moment: nothing is lost.
        while emitter_io
            .emit("number", (number, Binary(Bytes::from_static(b"\0\xff"))))
            .is_err()
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    drop((emitter, emitter_io));
    for node in [&one, &other] {
        for number in 0..10_000 {
            let event = node.client.receive(SOON).unwrap();
            let data: (i64, Binary) = event.data().unwrap();
            assert_eq!(data, (number, Binary(Bytes::from_static(b"\0\xff"))));
        }
    }
    other.client.call::<()>("room", "blue", SOON).unwrap();
    one.io.to("blue").emit("blue", ()).unwrap();
    assert_eq!(other.client.receive(SOON).unwrap().name(), "blue");
    let far = Client::new();
    far.on("sum", |a: i64, b: i64| a + b);
    far.connect(url(&other.serving)).unwrap();
    let sid = far.sid().unwrap();
    assert_eq!(one.io.call::<i64>(&sid, "sum", (2, 3), SOON).unwrap(), 5);
}

#[test]
fn a_broker_that_was_killed_is_found_again() {
    let Some(redis) = Redis::start(0) else {
        return;
    };
    let (one, other) = (node(&redis), node(&redis));
    let port = redis.port;
    drop(redis);
    for node in [&one, &other] {
        eventually("the loss", || {
            node.manager.state() == ManagerState::Disconnected
        });
    }
    one.io.emit("local", ()).unwrap();
    assert_eq!(one.client.receive(SOON).unwrap().name(), "local");
    let _redis = Redis::start(port);
    connected(&one.manager);
    connected(&other.manager);
    one.io.emit("again", ()).unwrap();
    while other.client.receive(SOON).unwrap().name() != "again" {}
    assert!(one.client.connected() && other.client.connected());
}

#[test]
fn sentinels_lead_to_the_new_master_when_the_old_one_has_died() {
    let Some(master) = Redis::start(0) else {
        return;
    };
    let of = master.port.to_string();
    let options = ["--save", "", "--replicaof", "127.0.0.1", &of];
    let _replica = Redis::start_with(0, &options).unwrap();
    let folder = std::env::temp_dir().join(format!("socketio-sentinels-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let sentinels: Vec<_> = (0..3)
        .map(|number| {
            // Sentinels write what they learn into their configuration.
            let file = folder.join(format!("{number}.conf"));
            let configuration = format!(
                "sentinel monitor service 127.0.0.1 {of} 2\n\
                 sentinel down-after-milliseconds service 500\n\
                 sentinel failover-timeout service 3000\n"
            );
            std::fs::write(&file, configuration).unwrap();
            Redis::start_with(0, &[file.to_str().unwrap(), "--sentinel"]).unwrap()
        })
        .collect();
    let hosts: Vec<_> = sentinels
        .iter()
        .map(|it| format!("127.0.0.1:{}", it.port))
        .collect();
    let url = format!("redis+sentinel://{}/0/service", hosts.join(","));
    let (one, other) = (node_at(&url), node_at(&url));
    let hears = |text: &str| {
        eventually("the event", || {
            one.io.emit("news", text).unwrap();
            let event = other.client.receive(Duration::from_millis(100));
            event.is_ok_and(|event| event.data::<String>().unwrap() == text)
        });
    };
    hears("before");
    // They must know each other, and the replica, to agree on it.
    for sentinel in &sentinels {
        eventually("what the sentinels know", || {
            sentinel
                .ask("SENTINEL ckquorum service")
                .starts_with("+OK 3 usable")
                && sentinel.ask("SENTINEL replicas service").starts_with("*1")
        });
    }
    drop(master);
    eventually("the loss", || {
        one.manager.state() == ManagerState::Disconnected
    });
    hears("after");
    connected(&one.manager);
    drop(sentinels);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn python_servers_are_part_of_the_cluster() {
    let Some(redis) = Redis::start(0) else {
        return;
    };
    for mode in ["threading", "asgi"] {
        let args = [mode, "0", "25", "20", &redis.url()];
        let Some(mut command) = python("socketio_server.py", &args) else {
            return;
        };
        let mut server = Python(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("python runs"),
        );
        let mut line = String::new();
        let mut stdout = BufReader::new(server.0.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("a line");
        let port = line.trim().rsplit(':').next().expect("a port").to_owned();

        let ours = node(&redis);
        let theirs = Client::new();
        theirs.on("sum", |a: i64, b: i64| a + b);
        let (sender, events) = crossbeam_channel::unbounded();
        theirs.on("news", move |text: String, bytes: Option<Binary>| {
            sender.send((text, bytes.map(|it| it.0.len()))).unwrap();
        });
        theirs.connect(format!("http://127.0.0.1:{port}")).unwrap();
        let sid = theirs.sid().unwrap();
        // python's server listens from its first client on: until then, nobody hears.
        eventually("python's subscription", || {
            ours.io.to(&sid).emit("news", "ready?").unwrap();
            events.recv_timeout(Duration::from_millis(100)).is_ok()
        });
        while events.try_recv().is_ok() {}
        ours.io
            .emit("news", ("x", Binary(b"\0\xff".to_vec().into())))
            .unwrap();
        assert_eq!(events.recv_timeout(SOON).unwrap(), ("x".into(), Some(2)));
        assert_eq!(ours.io.call::<i64>(&sid, "sum", (2, 3), SOON).unwrap(), 5);
        // And the other way round.
        while ours.client.receive(Duration::ZERO).is_ok() {}
        theirs
            .emit("publish", ("news", "from python", ours.client.sid()))
            .unwrap();
        let event = ours.client.receive(SOON).unwrap();
        assert_eq!(event.data::<String>().unwrap(), "from python");
        ours.io.disconnect(&sid);
        eventually("the end", || !theirs.connected());
    }
}
