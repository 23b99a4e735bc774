//! Clients and servers of the generation before: Engine.IO 3, Socket.IO protocols 3 and 4.

use crate::common::{
    Example, Http, PATIENCE, eventually, has_peer, node, old_python, peers, serve, sid_of, succeed,
};
use socketio::engineio::Transport;
use socketio::{
    Args, Binary, Client, ConnectOptions, Error, Event, Protocol, Reason, Server, SimpleClient,
    Value,
};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;

const PATIENT: &[&str] = &["--eio3", "1"];
const SLOW: &[&str] = &[
    "--eio3",
    "1",
    "--ping-interval",
    "1000",
    "--ping-timeout",
    "1500",
];
const QUICK: &[&str] = &[
    "--eio3",
    "1",
    "--ping-interval",
    "300",
    "--ping-timeout",
    "2000",
];

#[test]
fn javascript_clients_of_both_old_generations_work_over_each_transport() {
    let [server, quick] = [PATIENT, QUICK].map(|it| Example::start("socketio_echo", 0, it));
    for package in ["socket.io-client-v1", "socket.io-client-v2"] {
        let arguments = [package, &server.url(), &quick.url()];
        if let Some(mut client) = node("old_client.js", &arguments) {
            succeed(&mut client);
        }
    }
}

#[test]
fn the_official_client_is_served_beside_old_ones() {
    let server = Example::start(
        "socketio_echo",
        0,
        &["--eio3", "1", "--max-payload", "300000"],
    );
    if let Some(mut client) = node("socketio_client.js", &[&server.url(), "300000"]) {
        succeed(&mut client);
    }
}

#[test]
fn python_clients_of_the_old_generation_work_over_each_transport() {
    let [server, quick] = [PATIENT, QUICK].map(|it| Example::start("socketio_echo", 0, it));
    if let Some(mut client) = old_python("old_client.py", &[&server.url(), &quick.url()]) {
        succeed(&mut client);
    }
}

#[test]
fn requests_and_frames_of_engineio_3_are_answered_as_by_the_reference() {
    let server = Example::start("socketio_echo", 0, SLOW);
    if let Some(mut client) = node("raw_eio3.js", &[&server.url()]) {
        succeed(&mut client);
    }
}

#[test]
fn an_old_page_works_in_chromium_with_scripts_in_the_place_of_requests_too() {
    let chromium = std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into());
    let bundle = peers().join("node_modules/socket.io-client-v2/dist/socket.io.js");
    if !has_peer("Chromium", Path::new(&chromium)) || !has_peer("the old bundle", &bundle) {
        return;
    }
    let server = Example::start("socketio_echo", 0, PATIENT);
    if let Some(mut page) = node("old_page.js", &[&server.url(), &chromium]) {
        succeed(&mut page);
    }
}

/// An echo server of another generation, stopped with the test.
struct Peer {
    child: Child,
    url: String,
}

impl Peer {
    fn start(name: &str, port: u16) -> Option<Peer> {
        let port = port.to_string();
        let ping = ["--ping-interval", "300", "--ping-timeout", "2000"];
        let mut command = match name {
            "python-socketio 4" => old_python("old_server.py", &[&port, "0.3", "2"])?,
            "msgpack" => node(
                "old_server.js",
                &["socket.io", &port, "--parser", "msgpack"],
            )?,
            package => node("old_server.js", &[&[package, &port], &ping[..]].concat())?,
        };
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut peer = Peer {
            child,
            url: String::new(),
        };
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let port = line.trim().rsplit(':').next().expect("a port");
        peer.url = format!("http://127.0.0.1:{port}");
        Some(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SERVERS: [&str; 4] = [
    "socket.io-v1",
    "socket.io-v2",
    "socket.io",
    "python-socketio 4",
];

fn ways(server: &str) -> Vec<Vec<Transport>> {
    let polling = vec![Transport::Polling];
    match server {
        // Its server for threads knows nothing else.
        "python-socketio 4" => vec![polling],
        _ => vec![
            polling,
            vec![Transport::WebSocket],
            vec![Transport::Polling, Transport::WebSocket],
        ],
    }
}

#[test]
fn a_client_works_with_servers_of_the_old_generation() {
    for name in SERVERS {
        let Some(server) = Peer::start(name, 0) else {
            return;
        };
        for transports in ways(name) {
            // On text of polling version 1.x of the server reads what is not ASCII wrongly, unless
            // it is escaped, and writes it wrongly in any case.
            let is_mojibake = name == "socket.io-v1" && transports[0] == Transport::Polling;
            let text = if is_mojibake {
                "plain"
            } else {
                "é€😀\u{2028}"
            };
            let what = format!("{name} over {transports:?}");
            let client = Client::new();
            let (sender, back) = mpsc::channel();
            let told = sender.clone();
            client.on("message-back", move |event: &Event| {
                sender.send(event.args().expect("values")).expect("awaited");
            });
            let told_auth = told.clone();
            client.of("/custom").on("auth", move |auth: Value| {
                told_auth.send(Args(vec![auth])).expect("awaited");
            });
            client.on("question", |question: String| {
                (question, Binary::from(b"1"))
            });
            client.on("answered", move |event: &Event| {
                told.send(event.args().expect("values")).expect("awaited");
            });
            let auth = [("token", "a b"), ("room", "é&")];
            let options = ConnectOptions::new(&server.url)
                .protocol(Protocol::Eio3)
                .transports(&transports)
                .namespaces(["/", "/custom"])
                .auth(std::collections::BTreeMap::from(auth))
                .wait_timeout(PATIENCE);
            client.connect(options).expect(&what);
            let sid = client.sid().expect("connected");
            assert_eq!(client.of("/custom").sid(), Some(format!("/custom#{sid}")));
            let auth = back.recv_timeout(PATIENCE).expect(&what);
            if name != "python-socketio 4" {
                assert_eq!(auth[0]["token"], "a b", "{what}");
                assert_eq!(auth[0]["room"], "é&", "{what}");
            }
            let big = "0123456789".repeat(10_000);
            let bytes = Binary::from((0..=255).collect::<Vec<u8>>());
            let sent = (1, text, Value::Null, &bytes, vec![Some(1.5), None], &big);
            client.emit("message", sent).expect(&what);
            let back_again = back.recv_timeout(PATIENCE).expect(&what);
            assert_eq!(back_again[1], text, "{what}");
            assert_eq!(back_again[3].as_bytes(), Some(&bytes.0), "{what}");
            assert_eq!(back_again[5], big.as_str(), "{what}");
            let answer: (String, Binary) = client
                .call("message-with-ack", (text, &bytes), PATIENCE)
                .expect(&what);
            assert_eq!(answer, (text.to_owned(), bytes), "{what}");
            client.emit("ask", text).expect(&what);
            let answered = back.recv_timeout(PATIENCE).expect(&what);
            assert_eq!(answered[0], text, "{what}");
            assert_eq!(answered[1].as_bytes().map(|it| &it[..]), Some(&b"1"[..]));
            // Longer than an interval of the heartbeat and its time-out.
            for _ in 0..13 {
                client.call::<()>("sleep", 200, PATIENCE).expect(&what);
            }
            assert!(client.is_connected(), "{what}");
            for number in 0..100 {
                client.emit("message", number).expect(&what);
            }
            for number in 0..100 {
                let next = back.recv_timeout(PATIENCE).expect(&what);
                assert_eq!(next[0], Value::from(number), "{what}");
            }
            if transports.len() == 2 {
                eventually("the upgrade", || {
                    client.transport() == Some(Transport::WebSocket)
                });
            }
            let (sender, gone) = mpsc::channel();
            client
                .of("/custom")
                .on_disconnect(move |_: &Client, reason: Reason| {
                    sender.send(reason).expect("awaited");
                });
            client.of("/custom").emit("kick", ()).expect(&what);
            let reason = gone.recv_timeout(PATIENCE).expect(&what);
            assert_eq!(reason, Reason::ServerDisconnect, "{what}");
            assert!(client.is_connected(), "{what}");
            client.shutdown();
        }
    }
}

#[test]
fn a_refusal_of_an_old_server_is_told() {
    for name in SERVERS {
        let Some(server) = Peer::start(name, 0) else {
            return;
        };
        let client = Client::builder().reconnection(false).build();
        let options = ConnectOptions::new(&server.url)
            .protocol(Protocol::Eio3)
            .namespaces(["/refused"])
            .wait_timeout(PATIENCE);
        let Err(Error::Connection(error)) = client.connect(options) else {
            panic!("{name}: let in");
        };
        // Servers in JavaScript send the data in the place of the message.
        let data: Value = error.data().expect("data");
        assert_eq!(data["code"], Value::from(7), "{name}: {error}");
    }
}

#[test]
fn a_client_finds_the_generation_of_its_server_out() {
    for name in SERVERS {
        let Some(server) = Peer::start(name, 0) else {
            return;
        };
        for transports in ways(name) {
            let client = SimpleClient::connect(
                ConnectOptions::new(&server.url)
                    .protocol(Protocol::Detect)
                    .transports(&transports)
                    .wait_timeout(PATIENCE),
            )
            .expect(name);
            let answer: String = client.call("message-with-ack", "x", PATIENCE).expect(name);
            assert_eq!(answer, "x");
        }
    }
    // One that is told wrongly is found out too.
    let server = Example::start("socketio_echo", 0, &[]);
    let newest = SimpleClient::connect(server.url()).expect("connected");
    newest.emit("message", 1).expect("sent");
    let old = ConnectOptions::new(server.url()).protocol(Protocol::Eio3);
    let refused = SimpleClient::connect(old).expect_err("not let in");
    let text = refused.to_string();
    assert!(text.contains("Unsupported protocol version"), "{text}");
}

#[test]
fn a_client_comes_back_to_an_old_server_that_was_killed() {
    for name in ["socket.io-v2", "python-socketio 4"] {
        let Some(server) = Peer::start(name, 0) else {
            return;
        };
        let (url, port) = (server.url.clone(), server.url.rsplit(':').next());
        let port = port.and_then(|port| port.parse().ok()).expect("a port");
        let client = Client::builder()
            .reconnection_delay(std::time::Duration::from_millis(50))
            .build();
        let (sender, lost) = mpsc::channel();
        client.on_disconnect(move |_: &Client, reason: Reason| {
            let _ = sender.send(reason);
        });
        let options = ConnectOptions::new(url)
            .protocol(Protocol::Detect)
            .wait_timeout(PATIENCE);
        client.connect(options).expect(name);
        drop(server);
        lost.recv_timeout(PATIENCE).expect(name);
        let _server = Peer::start(name, port).expect("a port that was free");
        eventually("the client comes back", || client.is_connected());
        let answer: u8 = client.call("message-with-ack", 7, PATIENCE).expect(name);
        assert_eq!(answer, 7);
    }
}

#[test]
fn engineio_speaks_the_old_revision_by_itself() {
    use socketio::engineio::{self, Message};
    let engine = engineio::Server::builder().allow_eio3(true).build();
    engine.on_message(|session, message| drop(session.send(message)));
    let app = socketio::App::engineio(&engine);
    let serving = app.bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", serving.local_addr());
    for transports in ways("all") {
        let client = engineio::Client::builder()
            .eio3(true)
            .transports(&transports)
            .build();
        let (sender, back) = mpsc::channel();
        client.on_message(move |_, message| sender.send(message).expect("awaited"));
        client.connect(&url).expect("connected");
        for message in [
            Message::from("é😀 [\"no JSON\"]"),
            Message::from(vec![0, 255, 4]),
        ] {
            client.send(message.clone()).expect("sent");
            assert_eq!(back.recv_timeout(PATIENCE).expect("echoed"), message);
        }
        client.disconnect();
    }
}

#[cfg(feature = "msgpack")]
#[test]
fn a_client_with_msgpack_works_with_the_official_server() {
    let Some(server) = Peer::start("msgpack", 0) else {
        return;
    };
    for transports in ways("all") {
        let client = Client::builder()
            .parser(socketio::Parser::msgpack())
            .build();
        let (sender, back) = mpsc::channel();
        client.on("message-back", move |event: &Event| {
            sender.send(event.args().expect("values")).expect("awaited");
        });
        client.on("question", |question: String| {
            (question, Binary::from(b"1"))
        });
        let auth = std::collections::BTreeMap::from([("token", "x")]);
        let options = ConnectOptions::new(&server.url)
            .transports(&transports)
            .auth(auth)
            .wait_timeout(PATIENCE);
        client.connect(options).expect("connected");
        let bytes = Binary::from((0..=255).collect::<Vec<u8>>());
        let sent = ("é😀", -1, 1.5, Value::Null, &bytes, vec![Some(true), None]);
        client.emit("message", &sent).expect("sent");
        let echoed = back.recv_timeout(PATIENCE).expect("echoed");
        assert_eq!(echoed[0], "é😀");
        assert_eq!(echoed[4].as_bytes(), Some(&bytes.0));
        assert_eq!(echoed[5][0], true);
        let answer: (String, Binary) = client
            .call("message-with-ack", ("x", &bytes), PATIENCE)
            .expect("answered");
        assert_eq!(answer, ("x".to_owned(), bytes));
        let refused = Client::builder()
            .parser(socketio::Parser::msgpack())
            .reconnection(false)
            .build();
        let options = ConnectOptions::new(&server.url).namespaces(["/refused"]);
        let error = refused.connect(options.wait_timeout(PATIENCE));
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("not here"), "{error}");
        client.shutdown();
    }
}

#[test]
fn text_that_was_encoded_twice_is_repaired_where_that_is_asked_for() {
    let text = "42[\"say\",\"é😀\"]";
    let twice: String = text.bytes().map(char::from).collect();
    for repair in [true, false] {
        let io = Server::builder()
            .allow_eio3(true)
            .repair_eio3_text(repair)
            .build();
        let (sender, said) = mpsc::channel();
        io.on("say", move |text: String| {
            sender.send(text).expect("awaited");
        });
        let serving = serve(&io);
        let mut http = Http::connect(serving.local_addr());
        let target = "/socket.io/?EIO=3&transport=polling&b64=1";
        let sid = sid_of(&http.get(target).text());
        let target = format!("{target}&sid={sid}");
        // The server lets it in by itself; what comes before that is for nobody.
        eventually("the client", || io.sockets().len() == 1);
        let mut say = |text: &str| {
            let body = format!("{}:{text}", text.encode_utf16().count());
            assert_eq!(http.post(&target, &body).text(), "ok");
            said.recv_timeout(PATIENCE).expect("heard")
        };
        assert_eq!(say(text), "é😀");
        assert_eq!(say(&twice) == "é😀", repair);
    }
}
