//! What a client bears of servers, networks and programs.

use crate::common::{PATIENCE, eventually, is_alone, serve, url};
use crossbeam_channel::{Receiver, unbounded};
use socketio::engineio::Transport;
use socketio::{
    App, Binary, Client, ConnectOptions, Error, Event, Reason, ReceiveLimits, Server, SimpleClient,
    Socket, Value,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tiny_http::{Header, Response};
use tungstenite::{Message, WebSocket};

const OPEN: &str = r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;

/// A server over WebSocket that a test plays itself: each connection is given to a function.
fn script(play: impl Fn(&mut WebSocket<TcpStream>) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let play = Arc::new(play);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (play, stream) = (Arc::clone(&play), stream.unwrap());
            std::thread::spawn(move || {
                let Ok(mut ws) = tungstenite::accept(stream) else {
                    return;
                };
                let _ = ws.send(Message::text(OPEN));
                // The client's CONNECT.
                let _ = read(&mut ws);
                play(&mut ws);
                while ws.read().is_ok() {}
            });
        }
    });
    address
}

/// Reads what is more than a ping, which tungstenite answers.
fn read(ws: &mut WebSocket<TcpStream>) -> tungstenite::Result<Message> {
    loop {
        match ws.read() {
            Ok(Message::Ping(_)) => {}
            other => return other,
        }
    }
}

/// A server over HTTP that a test plays itself: a request's head and body in, an answer out.
fn http_script(
    answer: impl Fn(&str, &str) -> Option<String> + Send + Sync + 'static,
) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heads) = unbounded();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, sender) = (Arc::clone(&answer), sender.clone());
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut head).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let length = head.lines().find_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        name.eq_ignore_ascii_case("content-length")
                            .then(|| value.parse().unwrap())
                    });
                    let mut body = vec![0; length.unwrap_or(0)];
                    let _ = reader.read_exact(&mut body);
                    let _ = sender.send(head.clone());
                    match answer(&head, &String::from_utf8_lossy(&body)) {
                        Some(answer) => {
                            let _ = stream.write_all(answer.as_bytes());
                            if head.starts_with("POST") && !answer.contains("Keep-Alive") {
                                // Servers may close without a word.
                                return;
                            }
                        }
                        None => return,
                    }
                }
            });
        }
    });
    (address, heads)
}

fn ok(fields: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ))
}

fn over(address: SocketAddr, transport: Transport) -> ConnectOptions {
    ConnectOptions::new(format!("http://{address}")).transports([transport])
}

#[test]
fn events_that_come_before_the_servers_connect_are_delivered_after_it() {
    let address = script(|ws| {
        for text in [
            r#"42["first",1]"#,
            r#"42["second",2]"#,
            r#"40{"sid":"x"}"#,
            r#"42["third",3]"#,
        ] {
            let _ = ws.send(Message::text(text));
        }
    });
    let (sender, got) = unbounded();
    let client = Client::new();
    client.on_connect({
        let sender = sender.clone();
        move |_: &Client| sender.send("connect".to_owned()).unwrap()
    });
    client.on_any(move |event: &Event| sender.send(event.name().to_owned()).unwrap());
    client.connect(over(address, Transport::WebSocket)).unwrap();
    let names: Vec<_> = (0..4)
        .map(|_| got.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_eq!(names, ["connect", "first", "second", "third"]);
    let simple = SimpleClient::connect(over(address, Transport::WebSocket)).unwrap();
    assert_eq!(simple.receive(PATIENCE).unwrap().name(), "first");
    simple.disconnect();
}

#[test]
fn a_handler_that_adds_a_handler_is_in_time_for_the_next_event() {
    let io = Server::new();
    io.on_connect(|socket: &Socket| {
        socket.emit("ready", ())?;
        socket.emit("data", 7)
    });
    let serving = serve(&io);
    let client = Client::new();
    let (sender, got) = unbounded();
    client.on("ready", move |client: &Client| {
        let sender = sender.clone();
        client.on("data", move |number: i64| sender.send(number).unwrap());
    });
    client.connect(url(&serving)).unwrap();
    assert_eq!(got.recv_timeout(PATIENCE), Ok(7));
}

#[test]
fn what_is_over_a_limit_is_dropped_and_the_connection_goes_on() {
    let address = script(|ws| {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        ws.send(Message::text(r#"40{"sid":"x"}"#)).unwrap();
        ws.send(Message::text(format!(r#"42["deep",{}]"#, deep(100))))
            .unwrap();
        ws.send(Message::text(format!(r#"42["too deep",{}]"#, deep(200))))
            .unwrap();
        ws.send(Message::text(format!(r#"42["{}"]"#, "n".repeat(1_000))))
            .unwrap();
        ws.send(Message::text(
            r#"453-["many",{"_placeholder":true,"num":0}]"#,
        ))
        .unwrap();
        for _ in 0..3 {
            ws.send(Message::binary(vec![1])).unwrap();
        }
        ws.send(Message::text(r#"42["nan",NaN,-Infinity,1e999,"\ud83d"]"#))
            .unwrap();
        ws.send(Message::text(r#"42["after"]"#)).unwrap();
    });
    let limits = ReceiveLimits::default().attachments(2);
    let client = Client::builder().receive_limits(limits).build();
    let (sender, got) = unbounded();
    client.on_any(move |event: &Event| {
        sender
            .send((event.name().to_owned(), event.args().unwrap()))
            .unwrap();
    });
    client.connect(over(address, Transport::WebSocket)).unwrap();
    let next = || got.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next().0, "deep");
    assert_eq!(next().0, "n".repeat(1_000));
    let (name, args) = next();
    assert_eq!(name, "nan");
    assert_eq!(args[..3], [Value::Null, Value::Null, Value::Null]);
    assert_eq!(args[3].as_str(), Some("\u{fffd}"));
    assert_eq!(next().0, "after");
}

#[test]
fn an_acknowledgement_holds_no_more_attachments_than_an_event() {
    let io = Server::new();
    let serving = serve(&io);
    let client = Client::new();
    client.on("value", |value: Value| value);
    client.connect(url(&serving)).unwrap();
    let socket = io.sockets().remove(0);
    let many: Vec<_> = (0..10).map(|number| Binary::from(&[number])).collect();
    let answer: Vec<Binary> = socket.call("value", &many, PATIENCE).unwrap();
    assert_eq!(answer, many);
    let address = script(|ws| {
        ws.send(Message::text(r#"40{"sid":"x"}"#)).unwrap();
        let places: Vec<_> = (0..11)
            .map(|it| format!(r#"{{"_placeholder":true,"num":{it}}}"#))
            .collect();
        let _ = ws.send(Message::text(format!(
            r#"4511-1["value",[{}]]"#,
            places.join(",")
        )));
        for number in 0..11 {
            ws.send(Message::binary(vec![number])).unwrap();
        }
        ws.send(Message::text(r#"422["number"]"#)).unwrap();
        assert_eq!(read(ws).unwrap().to_text().unwrap(), "432[1]");
        ws.send(Message::text(r#"42["done"]"#)).unwrap();
    });
    let client = Client::new();
    let (sender, done) = unbounded();
    client.on("value", |value: Value| value);
    client.on("number", || 1);
    client.on("done", move || sender.send(()).unwrap());
    client.connect(over(address, Transport::WebSocket)).unwrap();
    done.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_server_that_closes_the_session_is_lost_and_one_that_disconnects_is_not() {
    let joins = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&joins);
    let (address, _heads) = http_script(move |head, _| {
        if head.starts_with("POST") {
            return ok("", "ok");
        }
        if !head.contains("&sid=") {
            return ok("", OPEN);
        }
        // Connected once, and then the server shuts down as engine.io does.
        match count.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => ok("", r#"40{"sid":"x"}"#),
            _ => ok("", "1"),
        }
    });
    let client = Client::builder()
        .reconnection_delay(Duration::from_millis(10))
        .build();
    let (sender, reasons) = unbounded();
    client.on_disconnect(move |_: &Client, reason: Reason| sender.send(reason).unwrap());
    client.connect(over(address, Transport::Polling)).unwrap();
    assert_eq!(reasons.recv_timeout(PATIENCE), Ok(Reason::TransportClose));
    eventually("another connection", || joins.load(Ordering::SeqCst) > 2);
    client.disconnect();

    let io = Server::new();
    io.on("leave", |socket: &Socket| socket.disconnect());
    let serving = serve(&io);
    for comes_back in [false, true] {
        let client = Client::builder()
            .reconnection_delay(Duration::from_millis(10))
            .reconnect_on_disconnect(comes_back)
            .build();
        let (sender, connects) = unbounded();
        client.on_connect(move |_: &Client| sender.send(()).unwrap());
        client.connect(url(&serving)).unwrap();
        connects.recv_timeout(PATIENCE).unwrap();
        client.emit("leave", ()).unwrap();
        if comes_back {
            connects.recv_timeout(PATIENCE).expect("it is wanted again");
            client.disconnect();
        } else {
            client.wait();
        }
        assert!(connects.try_recv().is_err());
    }
}

#[test]
fn a_request_has_one_field_of_cookies_and_only_those_for_it() {
    let (address, heads) = http_script(|head, _| {
        if head.starts_with("POST") {
            return ok("", "ok");
        }
        if head.contains("&sid=") {
            return if head.contains("cookie: own=1; io=2") {
                ok("", r#"40{"sid":"x"}"#)
            } else {
                None
            };
        }
        let junk: String = (0..100)
            .map(|number| format!("Set-Cookie: j{number}={}; Path=/other\r\n", "x".repeat(100)))
            .collect();
        ok(&format!("Set-Cookie: io=2; Path=/\r\n{junk}"), OPEN)
    });
    let client = Client::new();
    let options = over(address, Transport::Polling).header("Cookie", "own=1");
    client.connect(options).unwrap();
    for head in heads.try_iter() {
        let lower = head.to_lowercase();
        assert_eq!(lower.matches("\ncookie:").count(), 1, "{head}");
        assert!(!lower.contains("j1="), "{head}");
    }
    drop(client);
}

#[test]
fn one_redirection_is_followed_on_the_same_host() {
    let io = Server::new();
    io.on("token", |socket: &Socket| {
        socket
            .request()
            .header("x-api-key")
            .map(|it| it.into_owned())
    });
    let served = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&served);
    let app = App::new(&io).socketio_path("elsewhere").http(move |_| {
        asked.fetch_add(1, Ordering::Relaxed);
        Response::empty(301)
            .with_header(Header::from_bytes("Location", "/elsewhere/?EIO=4").expect("a header"))
    });
    let serving = app.bind("127.0.0.1:0").unwrap();
    for transport in [Transport::Polling, Transport::WebSocket] {
        let options = over(serving.local_addr(), transport).header("X-Api-Key", "secret");
        let client = SimpleClient::connect(options).unwrap();
        let token: Option<String> = client.call("token", (), PATIENCE).unwrap();
        assert_eq!(token.as_deref(), Some("secret"));
        client.disconnect();
        let requests = served.swap(0, Ordering::Relaxed);
        assert_eq!(requests, 1, "everything else goes to the other place");
    }
}

#[test]
fn a_redirection_to_another_host_is_an_error_that_names_it() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let (address, heads) = http_script(move |_, _| {
            let place = "http://localhost:1/socket.io/?EIO=4";
            Some(format!(
                "HTTP/1.1 301 Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
            ))
        });
        let error = Client::new().connect(over(address, transport)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("localhost:1/socket.io"), "{error}");
        assert!(error.contains("another host"), "{error}");
        assert_eq!(heads.try_iter().count(), 1);
    }
}

#[test]
fn what_a_server_answers_is_in_the_error() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let (address, _heads) = http_script(|_, _| {
            Some("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"code\": 42}\r\n0\r\n\r\n".replace("b\r\n", "c\r\n"))
        });
        let error = Client::new().connect(over(address, transport)).unwrap_err();
        let Error::Connection(error) = error else {
            panic!("{error}");
        };
        assert_eq!(error.status(), Some(429), "{transport}");
        assert!(
            error
                .headers()
                .contains(&("retry-after".into(), "7".into()))
        );
        assert_eq!(error.text(), "{\"code\": 42}");
        assert_eq!(error.data::<Value>().unwrap()["code"].as_i64(), Some(42));
    }
    // Also of a request that fails once the session is open.
    let (address, _heads) = http_script(|head, _| {
        if head.starts_with("POST") {
            return Some("HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\nno".into());
        }
        if head.contains("&sid=") {
            std::thread::sleep(Duration::from_millis(500));
            return ok("", "6");
        }
        ok("", OPEN)
    });
    let error = Client::new()
        .connect(over(address, Transport::Polling))
        .unwrap_err();
    assert!(error.to_string().contains("429"), "{error}");
}

#[test]
fn version_2_is_named() {
    let address = script(|ws| {
        let _ = ws.send(Message::text("40"));
    });
    let error = Client::new()
        .connect(over(address, Transport::WebSocket))
        .unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    let (address, _heads) = http_script(|_, _| {
        ok(
            "",
            r#"96:0{"sid":"x","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000}2:40"#,
        )
    });
    let error = Client::new()
        .connect(over(address, Transport::Polling))
        .unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[test]
fn a_connection_that_the_server_closes_quickly_costs_no_request() {
    let posted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&posted);
    let (address, _heads) = http_script(move |head, body| {
        if head.starts_with("POST") {
            count.fetch_add(body.matches("event").count(), Ordering::SeqCst);
            // Says nothing of it, and closes as soon as it has answered.
            return ok("", "ok");
        }
        if !head.contains("&sid=") {
            return ok("", OPEN);
        }
        static JOINED: AtomicUsize = AtomicUsize::new(0);
        if JOINED.fetch_add(1, Ordering::SeqCst) == 0 {
            return ok("", r#"40{"sid":"x"}"#);
        }
        std::thread::sleep(Duration::from_millis(5));
        ok("", "6")
    });
    let relay = crate::common::relay::Relay::to(address);
    let client = Client::new();
    client
        .connect(over(relay.address, Transport::Polling))
        .unwrap();
    for _ in 0..20 {
        client.emit("event", ()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    eventually("all events", || posted.load(Ordering::SeqCst) == 20);
    assert!(client.is_connected());
}

#[test]
fn a_logger_may_use_the_client_whose_records_it_writes() {
    // A process has one logger.
    if !is_alone(
        module_path!(),
        "a_logger_may_use_the_client_whose_records_it_writes",
    ) {
        return;
    }
    struct Sends(Client);
    impl log::Log for Sends {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            if record.target() == "socketio" {
                let _ = self.0.emit_volatile("log", record.args().to_string());
                let _ = self.0.is_connected();
            }
        }
        fn flush(&self) {}
    }
    let io = Server::new();
    let serving = serve(&io);
    let client = Client::builder()
        .reconnection_attempts(1)
        .reconnection_delay(Duration::from_millis(10))
        .build();
    log::set_boxed_logger(Box::new(Sends(client.clone()))).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    client.connect(url(&serving)).unwrap();
    drop(serving);
    client.wait();
    assert!(!client.is_connected());
    log::set_max_level(log::LevelFilter::Off);
}

#[test]
fn a_shutdown_in_a_handler_still_tells_of_the_end() {
    let io = Server::new();
    io.on_connect(|socket: &Socket| socket.emit("go", ()));
    let serving = serve(&io);
    let client = Client::new();
    let (sender, gone) = unbounded();
    client.on("go", |client: &Client| client.shutdown());
    client.on_disconnect(move |_: &Client, reason: Reason| sender.send(reason).unwrap());
    client.connect(url(&serving)).unwrap();
    assert_eq!(gone.recv_timeout(PATIENCE), Ok(Reason::ClientDisconnect));
    assert!(
        gone.recv_timeout(PATIENCE).is_err(),
        "the handlers are forgotten then"
    );
}
