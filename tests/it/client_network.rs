//! What a client does with the network between it and a server, and with servers that are hostile.

use crate::common::relay::Relay;
use crate::common::{eventually, serve, url};
use socketio::engineio::{self, Transport};
use socketio::{
    App, Client, ConnectOptions, CookieJar, Error, Event, Proxy, Reason, Server, Serving,
    SimpleClient, Socket,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const TRANSPORTS: [&[Transport]; 3] = [
    &[Transport::Polling],
    &[Transport::WebSocket],
    &[Transport::Polling, Transport::WebSocket],
];

fn echo() -> (Server, Serving) {
    let io = Server::builder()
        .cookie(engineio::Cookie::new("sticky"))
        // What is cut must be long.
        .http_compression(false)
        .build();
    io.on("echo", |event: &Event| event.args());
    let serving = serve(&io);
    (io, serving)
}

#[test]
fn headers_query_and_cookies_go_with_every_request() {
    let (_io, serving) = echo();
    for transports in TRANSPORTS {
        let relay = Relay::to(serving.local_addr());
        let client = Client::new();
        let options = ConnectOptions::new(format!("http://{}/ignored?room=a%20b", relay.address))
            .header("X-Token", "secret")
            .header("Cookie", "own=1")
            .transports(transports);
        client.connect(options).unwrap();
        let last = transports.last().copied();
        eventually("the last transport", || client.transport() == last);
        for _ in 0..3 {
            client.call::<i64>("echo", 1, SOON).unwrap();
        }
        client.disconnect();
        let heads = relay.heads();
        let polls = transports[0] == Transport::Polling;
        assert!(
            heads.len() >= if transports == TRANSPORTS[0] { 5 } else { 1 },
            "{heads:?}"
        );
        for (number, head) in heads.iter().enumerate() {
            let lower = head.to_lowercase();
            assert!(lower.contains("\r\nx-token: secret\r\n"), "{head}");
            assert!(head.contains("/socket.io/?room=a%20b&transport="), "{head}");
            assert!(head.contains("&EIO=4"), "{head}");
            assert!(lower.contains("own=1"), "{head}");
            assert_eq!(head.starts_with("GET "), head.contains("&t="), "{head}");
            // The handshake has set it.
            assert_eq!(lower.contains("sticky="), polls && number > 0, "{head}");
        }
    }
}

#[test]
fn requests_are_not_stamped_if_that_is_not_wanted() {
    let (_io, serving) = echo();
    let relay = Relay::to(serving.local_addr());
    let client = Client::builder().timestamp_requests(false).build();
    client.connect(format!("http://{}", relay.address)).unwrap();
    client.disconnect();
    assert!(relay.heads().iter().all(|head| !head.contains("&t=")));
}

#[test]
fn a_proxy_carries_both_transports() {
    let (_io, serving) = echo();
    for transports in TRANSPORTS {
        let proxy = Relay::proxy();
        let through = format!("http://user:pass%20word@{}", proxy.address);
        let client = Client::builder().proxy(&*through).build();
        let options = ConnectOptions::new(url(&serving)).transports(transports);
        client.connect(options.clone()).unwrap();
        let last = transports.last().copied();
        eventually("the last transport", || client.transport() == last);
        assert_eq!(client.call::<i64>("echo", 1, SOON).unwrap(), 1);
        client.disconnect();
        let heads = proxy.heads();
        let connects: Vec<_> = heads
            .iter()
            .filter(|it| it.starts_with("CONNECT "))
            .collect();
        assert!(!connects.is_empty(), "{heads:?}");
        for head in connects {
            let target = format!("CONNECT {} HTTP/1.1", serving.local_addr());
            assert!(head.starts_with(&target), "{head}");
            let login = head.to_lowercase();
            assert!(login.contains("proxy-authorization: basic"), "{head}");
        }
        let client = Client::builder().proxy(Proxy::None).build();
        client.connect(options.clone()).unwrap();
        assert_eq!(proxy.heads().len(), heads.len());
        // One that refuses, and one that is none.
        let refusing = Client::builder()
            .proxy(format!("http://{}", proxy.address))
            .build();
        let nowhere = ConnectOptions::new("http://127.0.0.1:1").transports(transports);
        assert!(matches!(
            refusing.connect(nowhere),
            Err(Error::Connection(_))
        ));
        let wrong = Client::builder().proxy("socks5://localhost:1").build();
        let Err(Error::Connection(error)) = wrong.connect(options) else {
            panic!("no such proxy");
        };
        assert!(error.message().contains("proxy"), "{error}");
    }
}

#[test]
fn a_connection_that_is_cut_in_the_middle_of_a_message_is_made_again() {
    let (io, serving) = echo();
    io.on("send", |socket: &Socket, size: usize| {
        socket.emit("text", "x".repeat(size))
    });
    for transports in TRANSPORTS {
        let relay = Relay::to(serving.local_addr());
        let client = Client::builder()
            .reconnection_delay(Duration::from_millis(20))
            .reconnection_delay_max(Duration::from_millis(20))
            .build();
        let (sender, texts) = crossbeam_channel::unbounded();
        client.on("text", move |text: String| {
            let _ = sender.send(text.len());
        });
        let (sender, reasons) = crossbeam_channel::unbounded();
        client.on_disconnect(move |_: &Client, reason: Reason| {
            let _ = sender.send(reason);
        });
        let options = ConnectOptions::new(format!("http://{}", relay.address));
        client.connect(options.transports(transports)).unwrap();
        let last = transports.last().copied();
        eventually("the last transport", || client.transport() == last);
        client.emit("send", 1_000).unwrap();
        assert_eq!(texts.recv_timeout(SOON), Ok(1_000));
        relay.cut_after(100_000);
        client.emit("send", 900_000).unwrap();
        let reason = reasons.recv_timeout(SOON).unwrap();
        let lost = [Reason::TransportClose, Reason::TransportError];
        assert!(lost.contains(&reason), "{reason}");
        eventually("the reconnection", || client.is_connected());
        client.emit("send", 2_000).unwrap();
        assert_eq!(
            texts.recv_timeout(SOON),
            Ok(2_000),
            "half a message is none"
        );
        if last == Some(Transport::WebSocket) {
            // Between two polls nobody would notice.
            relay.cut();
            assert!(lost.contains(&reasons.recv_timeout(SOON).unwrap()));
            eventually("the second reconnection", || client.is_connected());
        }
    }
}

#[test]
fn an_upgrade_that_fails_leaves_the_client_on_polling() {
    let io = Server::builder().allow_upgrades(true).build();
    io.on("echo", |event: &Event| event.args());
    let serving = serve(&io);
    // What looks like a WebSocket is refused on the way.
    let server = serving.local_addr();
    let address = hostile(move |mut stream| {
        let mut head = vec![0; 4096];
        while let Ok(count @ 1..) = stream.peek(&mut head) {
            let text = String::from_utf8_lossy(&head[..count]).to_lowercase();
            if text.contains("upgrade: websocket") {
                let _ = stream.read(&mut head);
                let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
                return;
            }
            if text.contains("\r\n\r\n") {
                break;
            }
        }
        let mut upstream = TcpStream::connect(server).unwrap();
        let (mut back, mut client) = (upstream.try_clone().unwrap(), stream.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back, &mut client));
        let _ = std::io::copy(&mut stream, &mut upstream);
        let _ = upstream.shutdown(std::net::Shutdown::Write);
    });
    let client = Client::new();
    client.connect(format!("http://{address}")).unwrap();
    for number in 0..50 {
        assert_eq!(client.call::<i64>("echo", number, SOON).unwrap(), number);
    }
    assert_eq!(client.transport(), Some(Transport::Polling));
}

#[cfg(unix)]
#[test]
fn a_server_on_a_unix_socket_has_a_url() {
    let (io, _) = echo();
    let name = format!("socketio client {}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _serving = io.serve_unix(&path).unwrap();
    for transports in TRANSPORTS {
        let client = Client::new();
        let options = ConnectOptions::new(format!("unix:{}?room=1", path.display()))
            // Only what goes by the network has one.
            .transports(transports);
        client.connect(options).unwrap();
        let last = transports.last().copied();
        eventually("the last transport", || client.transport() == last);
        for number in 0..20 {
            assert_eq!(client.call::<i64>("echo", number, SOON).unwrap(), number);
        }
        let text = "x".repeat(3_000_000);
        if last == Some(Transport::WebSocket) {
            let text = &text[..900_000];
            assert_eq!(client.call::<String>("echo", text, SOON).unwrap(), text);
        }
    }
    let client = engineio::Client::new();
    let nowhere = format!("unix://{}", path.with_extension("none").display());
    let error = client.connect(&nowhere).unwrap_err().to_string();
    assert!(error.contains(&nowhere.replace("//", "")), "{error}");
    let wrong = Client::new().connect("unix:relative.sock").unwrap_err();
    assert!(matches!(wrong, Error::InvalidArgument(_)), "{wrong}");
}

#[test]
fn cookies_are_given_read_and_kept() {
    let io = Server::builder()
        .cookie(engineio::Cookie::new("sticky"))
        .build();
    io.on("cookies", |socket: &Socket| {
        let request = socket.request();
        request.header("cookie").unwrap_or_default().into_owned()
    });
    let serving = serve(&io);
    let cookies = |client: &Client| client.call::<String>("cookies", (), SOON).unwrap();
    for transports in TRANSPORTS {
        let jar = CookieJar::new();
        jar.set("session", "4711");
        let options = ConnectOptions::new(url(&serving))
            .cookie_jar(&jar)
            .transports(transports);
        let client = Client::new();
        client.connect(options).unwrap();
        assert_eq!(cookies(&client), "session=4711");
        let sticky = jar.get("sticky").expect("the handshake has set it");
        client.reconnect().unwrap();
        eventually("a new session", || {
            jar.get("sticky").is_some_and(|it| it != sticky)
        });
        eventually("a connection", || client.is_connected());
        assert_eq!(cookies(&client), format!("session=4711; sticky={sticky}"));
    }
    let jar = CookieJar::new();
    let io = engineio::Server::builder()
        .cookie(engineio::Cookie::new("io"))
        .build();
    let serving = App::engineio(&io).bind("127.0.0.1:0").unwrap();
    let client = engineio::Client::builder().cookie_jar(&jar).build();
    client.connect(&url(&serving)).unwrap();
    assert_eq!(jar.get("io"), client.sid());
}

#[test]
fn the_other_transports_are_tried_if_that_is_wanted() {
    let order = [Transport::WebSocket, Transport::Polling];
    let io = Server::builder().transports([Transport::Polling]).build();
    io.on("echo", |event: &Event| event.args());
    let serving = serve(&io);
    let client = Client::new();
    let options = ConnectOptions::new(url(&serving)).transports(order);
    assert!(client.connect(options.clone()).is_err());
    client.connect(options.try_all_transports(true)).unwrap();
    assert_eq!(client.transport(), Some(Transport::Polling));
    assert_eq!(client.call::<i64>("echo", 1, SOON).unwrap(), 1);
    // The other way round, with Engine.IO alone.
    let io = engineio::Server::builder()
        .transports([Transport::WebSocket])
        .build();
    let serving = App::engineio(&io).bind("127.0.0.1:0").unwrap();
    for tries_all in [false, true] {
        let client = engineio::Client::builder()
            .try_all_transports(tries_all)
            .build();
        assert_eq!(client.connect(&url(&serving)).is_ok(), tries_all);
        let transport = tries_all.then_some(Transport::WebSocket);
        assert_eq!(client.transport(), transport);
    }
}

/// A server that does what it likes with each connection.
fn hostile(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = std::sync::Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = std::sync::Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads the head of a request, and what there is of its body.
fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&bytes).contains("\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn answer(stream: &mut TcpStream, body: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body.as_bytes());
}

/// Answers a WebSocket's handshake.
fn accept_websocket(stream: &mut TcpStream) {
    let request = read_request(stream);
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .expect("a key");
    let accept = tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
    let _ = stream.write_all(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .as_bytes(),
    );
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        medium @ 126..=65_535 => {
            frame.push(126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

const OPEN: &str =
    r#"0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

/// The error of a client that connects to a server.
fn refused(address: SocketAddr, transport: Transport) -> String {
    let client = Client::builder()
        .request_timeout(Duration::from_millis(500))
        .max_message_size(100_000)
        .build();
    let options = ConnectOptions::new(format!("http://{address}")).transports([transport]);
    match client.connect(options) {
        Err(Error::Connection(error)) => error.message().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handshake_that_makes_no_sense_is_an_error() {
    for open in [
        "",
        "x",
        "4hello",
        "0",
        "0{}",
        r#"0{"sid":"","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#,
        r#"0{"upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#,
        r#"0{"sid":"x","upgrades":[],"pingInterval":0,"pingTimeout":20000,"maxPayload":1}"#,
        r#"0{"sid":"x","upgrades":[],"pingInterval":-1,"pingTimeout":-5,"maxPayload":1}"#,
    ] {
        let polling = hostile(move |mut stream| {
            read_request(&mut stream);
            answer(&mut stream, open);
        });
        refused(polling, Transport::Polling);
        let websocket = hostile(move |mut stream| {
            accept_websocket(&mut stream);
            let _ = stream.write_all(&frame(0x81, open.as_bytes()));
            read_request(&mut stream);
        });
        refused(websocket, Transport::WebSocket);
    }
}

#[test]
fn answers_that_are_no_handshake_are_errors_that_say_so() {
    type Act = fn(&mut TcpStream);
    let cases: [(Act, &str, &str); 7] = [
        (|_| (), "", ""),
        (
            |stream| drop(stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n")),
            "",
            "",
        ),
        (
            |stream| drop(stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")),
            "404",
            "404",
        ),
        (
            // A redirection to itself has no end.
            |stream| {
                drop(stream.write_all(
                    b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n",
                ));
            },
            "redirects again",
            "redirects again",
        ),
        (
            // Nothing comes.
            |stream| drop(stream.read(&mut [0; 1])),
            "in time",
            "in time",
        ),
        (
            // A head without end.
            |stream| {
                while stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").is_ok()
                    && stream.write_all(&[b'x'; 10_000]).is_ok()
                {}
            },
            "",
            "",
        ),
        (
            // A body without end.
            |stream| {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while stream.write_all(&[b'4'; 10_000]).is_ok() {}
            },
            "larger than",
            "200",
        ),
    ];
    for (act, polling, websocket) in cases {
        let address = hostile(move |mut stream| {
            read_request(&mut stream);
            act(&mut stream);
        });
        let error = refused(address, Transport::Polling);
        assert!(error.contains(polling), "{error} has no {polling:?}");
        let error = refused(address, Transport::WebSocket);
        assert!(error.contains(websocket), "{error} has no {websocket:?}");
    }
}

#[test]
fn the_json_of_a_refused_request_is_the_data_of_the_error() {
    let address = hostile(|mut stream| {
        read_request(&mut stream);
        let body = r#"{"code":5,"message":"Unsupported protocol version"}"#;
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body.as_bytes());
    });
    for transport in [Transport::Polling, Transport::WebSocket] {
        let client = Client::new();
        let options = ConnectOptions::new(format!("http://{address}")).transports([transport]);
        let Err(Error::Connection(error)) = client.connect(options) else {
            panic!("an error");
        };
        assert!(error.message().contains("400"));
        let data: socketio::Value = error.data().expect("data");
        assert_eq!(data["code"].as_i64(), Some(5));
    }
}

#[test]
fn what_a_hostile_server_sends_ends_the_connection_and_nothing_else() {
    let mut flood = Vec::new();
    for _ in 0..10_000 {
        flood.extend(frame(0x89, b"ping"));
    }
    let deep = format!("42[\"a\",{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<Vec<u8>> = vec![
        frame(0x81, b"4"),                                    // no Socket.IO packet
        frame(0x81, b"47"),                                   // of no known type
        frame(0x81, b"x"),                                    // no Engine.IO packet
        frame(0x81, b"\xff\xfe"),                             // no UTF-8
        frame(0x83, b""),                                     // no known frame
        vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], // masked
        vec![0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0],              // 4 GB are announced
        frame(0x82, &vec![0; 200_000]),                       // more than the client takes
        frame(0x82, b"bytes"),                                // that nobody announced
        // A wrong placeholder.
        [
            frame(0x81, b"451-[\"a\",{\"_placeholder\":true,\"num\":7}]"),
            frame(0x82, b"x"),
        ]
        .concat(),
        frame(0x81, b"4599999999-[\"a\"]"), // attachments without end
        frame(0x81, b"42[\"disconnect\"]"), // a reserved name
        frame(0x81, deep.as_bytes()),
        flood,
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let is_flood = number == 13;
        let address = hostile(move |mut stream| {
            accept_websocket(&mut stream);
            let _ = stream.write_all(&frame(0x81, OPEN.as_bytes()));
            let _ = stream.write_all(&frame(0x81, b"40{\"sid\":\"y\"}"));
            // For a namespace that nobody asked for: it is ignored.
            let _ = stream.write_all(&frame(0x81, b"40/other,{\"sid\":\"z\"}"));
            let _ = stream.write_all(&frame(0x81, b"42/other,[\"event\"]"));
            let _ = stream.write_all(&frame(0x81, b"43/other,7[]"));
            // What has been answered is not refused any more.
            let _ = stream.write_all(&frame(0x81, b"44"));
            let _ = stream.write_all(&case);
            if is_flood {
                let _ = stream.write_all(&frame(0x81, b"42[\"after\"]"));
            }
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let client = Client::builder()
            .reconnection(false)
            .max_message_size(100_000)
            .build();
        let options = ConnectOptions::new(format!("http://{address}"));
        let (sender, after) = crossbeam_channel::unbounded();
        client.on("after", move || sender.send(()).is_ok());
        client
            .connect(options.transports([Transport::WebSocket]))
            .unwrap();
        if is_flood {
            after
                .recv_timeout(SOON)
                .expect("a flood of pings is answered");
            client.disconnect();
        }
        client.wait();
        assert!(!client.is_connected(), "case {number}");
    }
}

#[test]
fn a_function_that_gives_the_url_occupies_no_handler_and_may_panic() {
    let (_io, serving) = echo();
    let address = url(&serving);
    let options = ConnectOptions::with_url(move || {
        let thread = std::thread::current();
        assert!(
            thread
                .name()
                .unwrap_or_default()
                .starts_with("socketio-blocking")
        );
        address.clone()
    });
    let client = SimpleClient::connect(options).unwrap();
    assert_eq!(client.call::<i64>("echo", 1, SOON).unwrap(), 1);
    let panicking = ConnectOptions::with_url(|| panic!("on purpose"));
    let Err(Error::Connection(error)) = SimpleClient::connect(panicking) else {
        panic!("an error");
    };
    assert!(error.message().contains("panicked"), "{error}");
    let Err(Error::InvalidArgument(why)) = SimpleClient::connect("ftp://localhost") else {
        panic!("an error");
    };
    assert!(why.contains("scheme"), "{why}");
}

#[test]
fn the_way_to_a_websocket_is_given_up_with_its_session() {
    let (dialled, when_dialled) = crossbeam_channel::unbounded();
    let (given_up, when_given_up) = crossbeam_channel::unbounded();
    let open = OPEN.replace("[]", "[\"websocket\"]");
    let connected = std::sync::atomic::AtomicBool::new(false);
    let address = hostile(move |mut stream| {
        loop {
            let request = read_request(&mut stream);
            let body = if request.is_empty() {
                return;
            } else if request.contains("transport=websocket") {
                // It is never answered.
                dialled.send(()).unwrap();
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
                return given_up.send(()).unwrap();
            } else if request.starts_with("POST") {
                "ok"
            } else if !request.contains("sid=") {
                &open
            } else if !connected.swap(true, std::sync::atomic::Ordering::SeqCst) {
                "40{\"sid\":\"y\"}"
            } else {
                when_dialled.recv().unwrap();
                "1"
            };
            answer(&mut stream, body);
        }
    });
    let client = Client::builder()
        .reconnection(false)
        .request_timeout(Duration::from_secs(600))
        .build();
    client.connect(format!("http://{address}")).unwrap();
    client.wait();
    when_given_up
        .recv_timeout(SOON)
        .expect("the connection is closed");
}

#[test]
fn a_namespace_that_is_disconnected_instead_of_connected_is_refused() {
    let address = hostile(|mut stream| {
        accept_websocket(&mut stream);
        let _ = stream.write_all(&frame(0x81, OPEN.as_bytes()));
        // The client's CONNECT.
        let _ = stream.read(&mut [0; 100]);
        let _ = stream.write_all(&frame(0x81, b"41"));
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let options = ConnectOptions::new(format!("http://{address}"))
        .transports([Transport::WebSocket])
        .wait_timeout(Duration::from_secs(600));
    match Client::new().connect(options) {
        Err(Error::Connection(error)) => {
            assert!(error.message().contains("disconnected"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
