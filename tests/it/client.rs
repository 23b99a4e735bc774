//! The client against our own server.

use crate::common::brokers::free_port;
use crate::common::{PATIENCE, eventually, serve, url};
use crossbeam_channel::{Receiver, Sender, unbounded};
use socketio::engineio::Transport;
use socketio::{
    App, Args, Binary, Bytes, Client, ClientService, ConnectError, ConnectOptions, Error, Event,
    Reason, Refused, Server, ServiceEvents, Socket, Value,
};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const TRANSPORTS: [&[Transport]; 3] = [
    &[Transport::Polling],
    &[Transport::WebSocket],
    &[Transport::Polling, Transport::WebSocket],
];

/// A client that tries again at once.
fn quick() -> Client {
    Client::builder()
        .reconnection_delay(Duration::from_millis(20))
        .reconnection_delay_max(Duration::from_millis(20))
        .build()
}

/// What happens, as text, in order.
fn record() -> (Sender<String>, impl Fn() -> String) {
    let (sender, receiver): (_, Receiver<String>) = unbounded();
    (sender, move || {
        receiver.recv_timeout(SOON).expect("something happens")
    })
}

/// An address that nobody listens on, though somebody may in a moment.
fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

#[test]
fn events_and_acknowledgements_go_both_ways_over_each_transport() {
    let io = Server::new();
    io.on("echo", |event: &Event| event.args());
    io.on("back", |socket: &Socket, event: &Event| {
        socket.emit("back", event.args()?)
    });
    io.on("ask", |socket: &Socket| {
        socket.call::<i64>("sum", (2, 3), SOON).unwrap()
    });
    let serving = serve(&io);
    for transports in TRANSPORTS {
        let client = Client::new();
        let (sender, got) = unbounded();
        client.on("back", move |event: &Event| {
            sender.send(event.args().unwrap()).unwrap();
        });
        client.on("sum", |a: i64, b: i64| a + b);
        let options = ConnectOptions::new(url(&serving)).transports(transports);
        client.connect(options).unwrap();
        assert!(client.is_connected() && client.sid().is_some());
        client.emit("back", ("one", 2, [3])).unwrap();
        let args = got.recv_timeout(SOON).unwrap();
        assert_eq!(args[0], Value::from("one"));
        assert_eq!(args[2][0], Value::from(3));
        let bytes = || Binary(Bytes::from_static(b"\0\x01"));
        let echoed: (String, Binary) = client.call("echo", ("x", bytes()), SOON).unwrap();
        assert_eq!(echoed, ("x".into(), bytes()));
        let deep = BTreeMap::from([
            ("a", vec![(bytes(), 1)]),
            ("b", vec![(Binary::default(), 2)]),
        ]);
        let echoed: BTreeMap<String, Vec<(Binary, i32)>> =
            client.call("echo", (&deep,), SOON).unwrap();
        assert_eq!(echoed["a"], deep["a"]);
        assert_eq!(echoed["b"], deep["b"]);
        assert_eq!(client.call::<i64>("ask", (), SOON).unwrap(), 5);
        let last = *transports.last().unwrap();
        eventually("the last transport", || client.transport() == Some(last));
        assert_eq!(client.call::<i64>("ask", (), SOON).unwrap(), 5);
        client.disconnect();
        assert!(!client.is_connected() && client.sid().is_none());
    }
}

#[test]
fn what_is_large_and_what_is_many_arrives_whole_and_in_order() {
    let io = Server::new();
    io.on("echo", |event: &Event| event.args());
    io.on("burst", |socket: &Socket, count: usize| {
        for number in 0..count {
            socket.emit("number", number).unwrap();
        }
    });
    let total = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&total);
    io.on("number", move |number: usize| {
        // In order, or it would not add up.
        let before = counted.fetch_add(1, Ordering::SeqCst);
        assert_eq!(number, before);
    });
    let serving = serve(&io);
    for transports in TRANSPORTS {
        let client = Client::new();
        let (sender, numbers) = unbounded();
        client.on("number", move |number: usize| sender.send(number).unwrap());
        let options = ConnectOptions::new(url(&serving)).transports(transports);
        client.connect(options).unwrap();
        let text = "ä".repeat(490_000);
        assert_eq!(client.call::<String>("echo", &text, SOON).unwrap(), text);
        let bytes = Binary(vec![7; 700_000].into());
        assert_eq!(client.call::<Binary>("echo", &bytes, SOON).unwrap(), bytes);
        client.emit("burst", 500).unwrap();
        for expected in 0..500 {
            assert_eq!(numbers.recv_timeout(SOON).unwrap(), expected);
        }
        total.store(0, Ordering::SeqCst);
        for number in 0..500 {
            client.emit("number", number).unwrap();
        }
        eventually("500 events", || total.load(Ordering::SeqCst) == 500);
    }
}

#[test]
fn a_refusal_reaches_the_caller_and_the_handler_with_its_data() {
    let io = Server::new();
    io.on_connect(
        |_: &Socket, token: Option<BTreeMap<String, String>>| match token {
            Some(token) if token["token"] == "good" => Ok(()),
            _ => Err(Refused::new("bad token").with_data(BTreeMap::from([("code", 42)]))),
        },
    );
    io.of("/open").on("nothing", || ());
    let serving = serve(&io);
    for transports in TRANSPORTS {
        let client = Client::new();
        let (sender, next) = record();
        client.on_connect_error(move |_: &Client, error: &ConnectError| {
            sender
                .send(format!(
                    "{error} {:?}",
                    error.data::<BTreeMap<String, i32>>()
                ))
                .unwrap();
        });
        let options = ConnectOptions::new(url(&serving)).transports(transports);
        let Err(Error::Connection(error)) = client.connect(options.clone()) else {
            panic!("a refusal");
        };
        assert_eq!(error.message(), "bad token");
        assert_eq!(error.data::<BTreeMap<String, i32>>().unwrap()["code"], 42);
        assert_eq!(next(), "bad token Some({\"code\": 42})");
        assert!(!client.is_connected());
        let auth = BTreeMap::from([("token", "good")]);
        client.connect(options.auth(auth)).unwrap();
        assert!(client.is_connected());
    }
}

#[test]
fn all_namespaces_are_connected_or_none() {
    let io = Server::new();
    io.of("/good").on("echo", |text: String| text);
    io.of("/bad").on_connect(|_: &Socket| false);
    let serving = serve(&io);
    let client = Client::new();
    let (sender, next) = record();
    let sent = sender.clone();
    client.of("/good").on_connect(move |client: &Client| {
        sent.send(format!("connected {}", client.namespace()))
            .unwrap();
    });
    let sent = sender.clone();
    client
        .of("/good")
        .on_disconnect(move |_: &Client, reason: Reason| {
            sent.send(format!("disconnected: {reason}")).unwrap();
        });
    client
        .of("*")
        .on_connect_error(move |client: &Client, error: &ConnectError| {
            sender
                .send(format!("{}: {error}", client.namespace()))
                .unwrap();
        });
    let options = ConnectOptions::new(url(&serving)).namespaces(&["/good", "bad", "/none"]);
    let Err(Error::Connection(error)) = client.connect(options) else {
        panic!("two namespaces are refused");
    };
    assert!(error.message().contains("/bad") && error.message().contains("/none"));
    assert!(
        error
            .data::<BTreeMap<String, Value>>()
            .unwrap()
            .contains_key("/bad")
    );
    assert!(!error.message().contains("/good"));
    let mut happened = [next(), next(), next()];
    happened.sort();
    assert_eq!(
        happened,
        [
            "/bad: Connection rejected by server",
            "/none: Invalid namespace",
            "connected /good"
        ]
    );
    assert_eq!(next(), "disconnected: client disconnect");
    assert_eq!(client.namespaces(), [""; 0]);

    client
        .connect(ConnectOptions::new(url(&serving)).namespaces(&["/good"]))
        .unwrap();
    assert_eq!(client.namespaces(), ["/good"]);
    assert_eq!(
        client.of("good").call::<String>("echo", "x", SOON).unwrap(),
        "x"
    );
    assert!(matches!(client.emit("echo", "x"), Err(Error::BadNamespace(name)) if name == "/"));
}

#[test]
fn the_namespaces_with_handlers_are_connected_by_default() {
    let io = Server::builder().namespaces("*").build();
    let serving = serve(&io);
    let client = Client::new();
    client.of("/b").on("x", || ());
    client.of("/a").on_connect(|_: &Client| ());
    client.of("*").on_any(|| ());
    client.connect(url(&serving)).unwrap();
    assert_eq!(client.namespaces(), ["/a", "/b"]);
}

#[test]
fn a_connect_handler_finds_the_client_connected_and_may_call() {
    let io = Server::new();
    io.on("double", |number: i64| number * 2);
    let serving = serve(&io);
    for transports in TRANSPORTS {
        let client = Client::new();
        let (sender, next) = record();
        client.on_connect(move |client: &Client| {
            let answer: i64 = client.call("double", 21, SOON).unwrap();
            sender
                .send(format!("{} {answer}", client.is_connected()))
                .unwrap();
        });
        client
            .connect(ConnectOptions::new(url(&serving)).transports(transports))
            .unwrap();
        assert_eq!(next(), "true 42");
    }
}

#[test]
fn a_disconnect_by_the_server_is_final_and_never_lost() {
    let io = Server::new();
    io.on_connect(|socket: &Socket| socket.disconnect());
    io.of("/stays")
        .on("leave", |socket: &Socket| socket.disconnect());
    let serving = serve(&io);
    for transports in TRANSPORTS {
        let client = quick();
        let (sender, next) = record();
        client.on_disconnect(move |_: &Client, reason: Reason| {
            sender.send(reason.to_string()).unwrap();
        });
        let options = ConnectOptions::new(url(&serving)).transports(transports);
        client.connect(options.clone().namespaces(&["/"])).unwrap();
        assert_eq!(next(), "server disconnect");
        client.wait();
        assert!(!client.is_connected());
        // Another namespace keeps the connection.
        client
            .connect(options.namespaces(&["/", "/stays"]))
            .unwrap();
        assert_eq!(next(), "server disconnect");
        eventually("one namespace", || client.namespaces() == ["/stays"]);
        client.of("/stays").emit("leave", ()).unwrap();
        client.wait();
        assert!(client.namespaces().is_empty());
    }
}

#[test]
fn a_disconnect_by_the_client_flushes_and_both_sides_know_it() {
    let io = Server::new();
    let (sender, next) = record();
    let sent = sender.clone();
    io.on("number", move |number: i64| {
        sent.send(number.to_string()).unwrap();
    });
    let sent = sender.clone();
    io.on_disconnect(move |_: &Socket, reason: Reason| {
        sent.send(format!("server: {reason}")).unwrap();
    });
    let serving = serve(&io);
    for transports in TRANSPORTS {
        let client = quick();
        let sent = sender.clone();
        let (own, at_client) = record();
        drop(sent);
        client
            .on_disconnect(move |_: &Client, reason: Reason| own.send(reason.to_string()).unwrap());
        client
            .connect(ConnectOptions::new(url(&serving)).transports(transports))
            .unwrap();
        for number in 0..50 {
            client.emit("number", number).unwrap();
        }
        client.disconnect();
        for number in 0..50 {
            assert_eq!(next(), number.to_string());
        }
        assert_eq!(next(), "server: client disconnect");
        assert_eq!(at_client(), "client disconnect");
        client.wait();
        assert!(matches!(client.emit("number", 1), Err(Error::Disconnected)));
    }
}

#[test]
fn dropping_the_last_handle_disconnects() {
    let io = Server::new();
    let (sender, next) = record();
    io.on_disconnect(move |_: &Socket, reason: Reason| sender.send(reason.to_string()).unwrap());
    let serving = serve(&io);
    let client = Client::new();
    client.connect(url(&serving)).unwrap();
    let other = client.of("/");
    drop(client);
    assert!(other.is_connected());
    drop(other);
    assert_eq!(next(), "client disconnect");
}

#[test]
fn a_client_comes_back_after_its_server_has() {
    for transports in TRANSPORTS {
        let address = free_address();
        let io = Server::new();
        io.on("echo", |text: String| text);
        let serving = io.bind(&*address).unwrap();
        let client = quick();
        let (sender, next) = record();
        let sent = sender.clone();
        client.on_connect(move |_: &Client| sent.send("connect".into()).unwrap());
        let sent = sender.clone();
        client.on_disconnect(move |_: &Client, reason: Reason| {
            sent.send(reason.to_string()).unwrap();
        });
        client.on_connect_error(move |_: &Client, _: &ConnectError| {
            sender.send("error".into()).unwrap();
        });
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let options = ConnectOptions::new(format!("http://{address}"))
            .transports(transports)
            .auth_with(move || {
                let attempt = count.fetch_add(1, Ordering::SeqCst);
                BTreeMap::from([("attempt", attempt)])
            });
        client.connect(options).unwrap();
        assert_eq!(next(), "connect");
        let first = client.sid();
        drop(serving);
        let lost = next();
        assert!(
            lost == "transport close" || lost == "transport error",
            "{lost}"
        );
        assert!(matches!(client.emit("echo", "x"), Err(Error::Disconnected)));
        assert_eq!(next(), "error");
        let serving = io.bind(&*address).unwrap();
        while next() != "connect" {}
        assert_ne!(client.sid(), first);
        assert!(asked.load(Ordering::SeqCst) >= 3, "auth is asked for anew");
        assert_eq!(client.call::<String>("echo", "x", SOON).unwrap(), "x");
        drop(serving);
        // Its own call ends the attempts.
        while next() != "error" {}
        client.disconnect();
        client.wait();
        assert!(!client.is_connected());
    }
}

#[test]
fn attempts_are_used_up_and_that_is_told() {
    let address = free_address();
    let io = Server::new();
    let serving = io.bind(&*address).unwrap();
    let client = Client::builder()
        .reconnection_attempts(2)
        .reconnection_delay(Duration::from_millis(1))
        .build();
    let (sender, next) = record();
    let sent = sender.clone();
    client.on_connect_error(move |_: &Client, _: &ConnectError| sent.send("error".into()).unwrap());
    client.on_reconnect_failed(move |_: &Client| sender.send("failed".into()).unwrap());
    client.connect(format!("http://{address}")).unwrap();
    drop(serving);
    assert_eq!([next(), next(), next()], ["error", "error", "failed"]);
    client.wait();

    let (sender, next) = record();
    let sent = sender.clone();
    client.on_connect_error(move |_: &Client, _: &ConnectError| sent.send("error".into()).unwrap());
    client.on_reconnect_failed(move |_: &Client| sender.send("failed".into()).unwrap());
    let options = ConnectOptions::new(format!("http://{address}"));
    assert!(matches!(
        client.connect(options.clone()),
        Err(Error::Connection(_))
    ));
    assert_eq!(next(), "error");
    // With `retry` the first attempt is followed by as many more.
    assert!(matches!(
        client.connect(options.retry(true)),
        Err(Error::Connection(_))
    ));
    assert_eq!(
        [next(), next(), next(), next()],
        ["error", "error", "error", "failed"]
    );
}

#[test]
fn a_first_attempt_is_repeated_if_asked_for() {
    let address = free_address();
    let client = quick();
    let (sender, next) = record();
    client
        .on_connect_error(move |_: &Client, _: &ConnectError| sender.send("error".into()).unwrap());
    let trying = client.clone();
    let options = ConnectOptions::new(format!("http://{address}")).retry(true);
    let connecting = std::thread::spawn(move || trying.connect(options));
    assert_eq!(next(), "error");
    let io = Server::new();
    let _serving = io.bind(&*address).unwrap();
    connecting.join().unwrap().unwrap();
    assert!(client.is_connected());
    assert!(matches!(
        client.connect("http://localhost"),
        Err(Error::InvalidArgument(_))
    ));
}

#[test]
fn connecting_ends_when_the_client_disconnects() {
    // Takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for transports in TRANSPORTS {
        let client = Client::new();
        let trying = client.clone();
        let options = ConnectOptions::new(format!("http://{address}")).transports(transports);
        let connecting = std::thread::spawn(move || trying.connect(options));
        let _stream = silent.accept().unwrap();
        client.disconnect();
        assert!(matches!(
            connecting.join().unwrap(),
            Err(Error::Disconnected)
        ));
    }
}

#[test]
fn what_is_larger_than_the_server_takes_is_an_error_at_the_call() {
    let io = Server::builder().max_http_buffer_size(1_000).build();
    io.on("echo", |text: String| text);
    let serving = serve(&io);
    for transports in TRANSPORTS {
        let client = Client::new();
        client
            .connect(ConnectOptions::new(url(&serving)).transports(transports))
            .unwrap();
        let last = *transports.last().unwrap();
        eventually("the last transport", || client.transport() == Some(last));
        let Err(Error::InvalidArgument(why)) = client.emit("echo", "x".repeat(1_000)) else {
            panic!("too large");
        };
        assert!(why.contains("1013") && why.contains("1000"), "{why}");
        // As base64, 750 bytes and more do not fit into 1,000.
        let bytes = Binary(vec![0; 751].into());
        let sent = client.emit("bytes", &bytes);
        assert_eq!(sent.is_err(), last == Transport::Polling, "{sent:?}");
        assert_eq!(client.call::<String>("echo", "x", SOON).unwrap(), "x");
        assert!(matches!(
            client.emit("connect", ()),
            Err(Error::InvalidArgument(_))
        ));
        let many: Vec<_> = (0..11).map(|number| Binary::from(&[number])).collect();
        assert!(matches!(
            client.emit("bytes", many),
            Err(Error::InvalidArgument(_))
        ));
    }
}

#[test]
fn an_offline_buffer_is_sent_in_order_once_there_is_a_connection() {
    let address = free_address();
    let client = Client::builder()
        .offline_buffer(10_000)
        .reconnection_delay(Duration::from_millis(20))
        .reconnection_delay_max(Duration::from_millis(20))
        .build();
    let (sender, next) = record();
    let answered = sender.clone();
    let expired = sender.clone();
    client.emit("forgotten", ()).unwrap();
    client.of("/elsewhere").emit("forgotten", ()).unwrap();
    assert_eq!(client.clear_offline_buffer(), 2);
    client.emit("number", 0).unwrap();
    let options = ConnectOptions::new(format!("http://{address}")).retry(true);
    client.connect_in_background(options).unwrap();
    assert!(matches!(
        client.of("/typo").emit("x", ()),
        Err(Error::BadNamespace(_))
    ));
    for number in 1..10 {
        client.emit("number", number).unwrap();
    }
    client
        .emit_with_ack(
            "late",
            (),
            Duration::from_millis(1),
            move |answer: Result<i64, Error>| {
                expired.send(format!("expired {answer:?}")).unwrap();
            },
        )
        .unwrap();
    assert_eq!(next(), "expired Err(Timeout)");
    client
        .emit_with_ack("number", 10, SOON, move |answer: Result<i64, Error>| {
            answered.send(format!("answered {answer:?}")).unwrap();
        })
        .unwrap();
    assert!(matches!(
        client.emit("number", "x".repeat(10_000)),
        Err(Error::LimitExceeded(_))
    ));
    let io = Server::new();
    let sent = sender.clone();
    io.on("number", move |number: i64| {
        sent.send(number.to_string()).unwrap();
        number
    });
    io.on_any(move |event: &Event| sender.send(event.name().to_owned()).unwrap());
    let serving = io.bind(&*address).unwrap();
    for number in 0..=10 {
        assert_eq!(next(), number.to_string());
    }
    assert_eq!(next(), "answered Ok(10)");
    drop(serving);
    eventually("the loss", || !client.is_connected());
    client.emit("number", 11).unwrap();
    client.emit("number", 12).unwrap();
    let _serving = io.bind(&*address).unwrap();
    assert_eq!([next(), next()], ["11", "12"]);
    // Its own disconnection does not.
    client.disconnect();
    client.emit("number", 13).unwrap();
    client.connect(format!("http://{address}")).unwrap();
    client.emit("number", 14).unwrap();
    assert_eq!([next(), next()], ["13", "14"]);
}

#[test]
fn every_callback_is_called_once() {
    let io = Server::new();
    io.on("echo", |event: &Event| event.args());
    io.on("never", |event: &Event| drop(event.take_ack()));
    let serving = serve(&io);
    let client = Client::new();
    client.connect(url(&serving)).unwrap();
    let (sender, next) = record();
    let callback = |what: &'static str| {
        let sender = sender.clone();
        move |answer: Result<i64, Error>| {
            sender
                .send(format!(
                    "{what} {}",
                    answer.map_or_else(|it| it.to_string(), |it| it.to_string())
                ))
                .unwrap();
        }
    };
    for number in 0..10 {
        client
            .emit_with_ack("echo", number, SOON, callback("echo"))
            .unwrap();
    }
    for number in 0..10 {
        assert_eq!(next(), format!("echo {number}"));
    }
    client
        .emit_with_ack("echo", "text", SOON, callback("echo"))
        .unwrap();
    assert!(next().starts_with("echo the data is not of the wanted type"));
    client
        .emit_with_ack("never", (), Duration::from_millis(10), callback("never"))
        .unwrap();
    assert_eq!(next(), "never what was waited for did not come in time");
    client
        .emit_with_ack("never", (), SOON, callback("never"))
        .unwrap();
    let calling = client.clone();
    let call = std::thread::spawn(move || calling.call::<i64>("never", (), SOON));
    // Both are on their way.
    client.call::<Option<i64>>("echo", (), SOON).unwrap();
    client.disconnect();
    assert_eq!(next(), "never not connected");
    assert!(matches!(call.join().unwrap(), Err(Error::Disconnected)));
    client.connect(url(&serving)).unwrap();
    let timed_out = client.call::<i64>("never", (), Duration::from_millis(10));
    assert!(matches!(timed_out, Err(Error::Timeout)));
}

#[test]
fn events_find_their_handlers_as_on_a_server() {
    struct Chat(Sender<String>);

    impl ClientService for Chat {
        fn events(on: &mut ServiceEvents<Self, Client>) {
            on.on("said", Self::said).on("both", Self::said);
        }

        fn on_connect(&self, client: &Client) {
            self.0
                .send(format!("connected {}", client.namespace()))
                .unwrap();
        }

        fn on_disconnect(&self, _: &Client, reason: Reason) {
            self.0.send(format!("disconnected: {reason}")).unwrap();
        }
    }

    impl Chat {
        fn said(&self, client: &Client, text: String) -> String {
            format!("{} {text}", client.namespace())
        }
    }

    let io = Server::builder().namespaces("*").build();
    let serving = serve(&io);
    let client = Client::new();
    let (sender, next) = record();
    client.of("/chat").register(Chat(sender));
    client
        .of("/chat")
        .on("both", |text: String| format!("function {text}"));
    client.on("known", || "known");
    client.on("raw", |event: &Event| {
        format!("{} {}", event.name(), event.namespace())
    });
    client.of("*").on("known", || "any namespace");
    let options = ConnectOptions::new(url(&serving)).namespaces(&["/", "/chat", "/other"]);
    client.connect(options).unwrap();
    assert_eq!(next(), "connected /chat");
    let ask = |namespace: &str, event: &str| {
        let socket = io.of(namespace).sockets().remove(0);
        socket.call::<Option<String>>(event, "x", SOON).unwrap()
    };
    assert_eq!(ask("/chat", "said").as_deref(), Some("/chat x"));
    assert_eq!(ask("/chat", "both").as_deref(), Some("function x"));
    assert_eq!(ask("/chat", "known").as_deref(), Some("any namespace"));
    assert_eq!(ask("/", "known").as_deref(), Some("known"));
    assert_eq!(ask("/", "raw").as_deref(), Some("raw /"));
    assert_eq!(ask("/other", "known").as_deref(), Some("any namespace"));
    // Nobody handles them: the acknowledgement is empty.
    assert_eq!(ask("/other", "unknown"), None);
    assert_eq!(ask("/chat", "unknown"), None);
    client.on_any(|event: &Event| format!("any {}", event.name()));
    assert_eq!(ask("/", "unknown").as_deref(), Some("any unknown"));
    client.disconnect();
    assert_eq!(next(), "disconnected: client disconnect");
}

#[test]
fn handlers_run_in_order_and_may_block_and_call() {
    let io = Server::new();
    io.on("go", |socket: &Socket| {
        for number in 0..20 {
            socket.emit("step", number).unwrap();
        }
    });
    io.on("echo", |number: i64| number);
    let serving = serve(&io);
    let client = Client::new();
    let (sender, next) = record();
    client.on("step", move |client: &Client, number: i64| {
        let echoed: i64 = client.call("echo", number, SOON).unwrap();
        sender.send(echoed.to_string()).unwrap();
    });
    client.on("boom", || -> i64 { panic!("on purpose") });
    client.connect(url(&serving)).unwrap();
    client.emit("go", ()).unwrap();
    for number in 0..20 {
        assert_eq!(next(), number.to_string());
    }
    // A panic costs its own acknowledgement, and nothing else.
    let socket = io.sockets().remove(0);
    let panicked = socket.call::<i64>("boom", (), Duration::from_millis(50));
    assert!(matches!(panicked, Err(Error::Timeout)));
    client.emit("go", ()).unwrap();
    assert_eq!(next(), "0");
}

#[test]
fn a_shutdown_releases_what_handlers_have_captured() {
    let io = Server::new();
    let serving = serve(&io);
    let client = Client::new();
    let captured = Arc::new(());
    let (kept, own) = (Arc::clone(&captured), client.clone());
    client.on("event", move || {
        let _ = (&kept, own.is_connected());
        "handled"
    });
    client.connect(url(&serving)).unwrap();
    let socket = io.sockets().remove(0);
    assert_eq!(socket.call::<String>("event", (), SOON).unwrap(), "handled");
    client.shutdown();
    eventually("the end of the handler", || {
        Arc::strong_count(&captured) == 1
    });
}

#[test]
fn an_answer_that_is_larger_than_the_server_takes_costs_only_itself() {
    let io = Server::builder().max_http_buffer_size(1_000).build();
    let serving = serve(&io);
    for transports in TRANSPORTS {
        let client = Client::builder().reconnection(false).build();
        client.on("give", |length: usize| "x".repeat(length));
        let options = ConnectOptions::new(url(&serving)).transports(transports);
        client.connect(options).unwrap();
        let socket = io.sockets().remove(0);
        let none = socket.call::<String>("give", 2_000, Duration::from_millis(100));
        assert!(matches!(none, Err(Error::Timeout)));
        assert_eq!(socket.call::<String>("give", 3, SOON).unwrap(), "xxx");
        client.disconnect();
        eventually("the server's view", || io.sockets().is_empty());
    }
}

#[test]
fn auth_that_no_server_takes_is_an_error_that_says_so() {
    let io = Server::new();
    let serving = serve(&io);
    let client = Client::new();
    let options = ConnectOptions::new(url(&serving));
    // Also where it would be tried again for ever.
    for options in [
        options.clone().auth("text"),
        options.clone().auth("text").retry(true),
        options.auth_with(|| "text").retry(true),
    ] {
        let Err(Error::InvalidArgument(why)) = client.connect(options) else {
            panic!("servers close the connection on it");
        };
        assert!(why.contains("object"), "{why}");
    }
}

#[test]
fn what_no_attempt_can_mend_is_an_error_at_once() {
    let client = Client::new();
    for options in [
        ConnectOptions::new("ftp://x"),
        ConnectOptions::new(""),
        ConnectOptions::new("/chat"),
        ConnectOptions::new("http:///chat"),
        ConnectOptions::new("http://localhost").namespaces(["/a,b"]),
        ConnectOptions::new("http://localhost").header("content-length", "3"),
        ConnectOptions::new("http://localhost").query([("EIO", "3")]),
        ConnectOptions::new("http://localhost").namespaces::<[&str; 0]>([]),
        ConnectOptions::with_url(|| "http://localhost:99999".into()),
        ConnectOptions::new("http://localhost").header("X-A", "1\r\nX-B: 2"),
        ConnectOptions::new("http://localhost").headers_with(|| vec![("a b".into(), "1".into())]),
    ] {
        let connected = client.connect(options.retry(true));
        assert!(
            matches!(connected, Err(Error::InvalidArgument(_))),
            "{connected:?}"
        );
    }
}

#[test]
fn lifecycle_handlers_may_return_what_others_may() {
    let io = Server::new();
    let (sender, next) = record();
    io.on("hello", move |event: &Event, text: String| {
        sender.send(format!("{} {text}", event.name())).unwrap();
    });
    let serving = serve(&io);
    let client = Client::new();
    client.on_connect(|client: &Client| client.emit("hello", "world"));
    client.on("both", |_: &Client, event: &Event, text: String| {
        (event.name().len(), text)
    });
    client.connect(url(&serving)).unwrap();
    assert_eq!(next(), "hello world");
    let both: (usize, String) = io.sockets()[0].call("both", "x", SOON).unwrap();
    assert_eq!(both, (4, "x".into()));
}

#[test]
fn a_namespace_that_is_named_twice_is_connected_once() {
    let io = Server::builder().namespaces("*").build();
    let serving = serve(&io);
    let client = Client::builder().randomization_factor(f64::NAN).build();
    let options = ConnectOptions::new(url(&serving)).namespaces(&["/a", "a", "/a"]);
    client.connect(options).unwrap();
    assert_eq!(client.namespaces(), ["/a"]);
}

#[test]
fn posts_hold_no_more_than_the_server_takes() {
    let io = Server::builder().max_http_buffer_size(1_000).build();
    let (sender, numbers) = unbounded();
    io.on("number", move |number: usize, _: String| {
        let _ = sender.send(number);
    });
    let serving = serve(&io);
    let client = Client::new();
    let options = ConnectOptions::new(url(&serving)).transports([Transport::Polling]);
    client.connect(options).unwrap();
    for number in 0..200 {
        let text = "x".repeat(number * 4);
        client.emit("number", (number, text)).unwrap();
    }
    for number in 0..200 {
        assert_eq!(numbers.recv_timeout(SOON), Ok(number));
    }
}

#[test]
fn events_that_nobody_handles_in_time_end_the_connection_and_not_the_memory() {
    let io = Server::new();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    io.on_connect(move |_: &Socket| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    io.on("flood", |socket: &Socket| {
        for _ in 0..1_000 {
            let _ = socket.emit("event", "x".repeat(1_000));
        }
    });
    let serving = serve(&io);
    let client = Client::builder()
        .max_backlog(10_000)
        .reconnection_delay(Duration::from_millis(20))
        .build();
    let (sender, next) = record();
    let sent = sender.clone();
    client.on_connect(move |_: &Client| sent.send("connected".into()).unwrap());
    client
        .on_disconnect(move |_: &Client, reason: Reason| sender.send(reason.to_string()).unwrap());
    let (gate, wait) = unbounded::<()>();
    client.on("event", move |_: String| {
        let _ = wait.recv();
    });
    client.connect(url(&serving)).unwrap();
    assert_eq!(next(), "connected");
    client.emit("flood", ()).unwrap();
    eventually("the end", || !client.is_connected());
    // Twenty delays later nothing has been handled yet, and so it has not come back.
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    drop(gate);
    assert_eq!([next(), next()], ["transport error", "connected"]);
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[test]
fn a_namespace_that_is_not_answered_for_in_time_is_an_error() {
    let io = Server::new();
    io.on_connect(|_: &Socket| std::thread::sleep(Duration::from_millis(300)));
    let serving = serve(&io);
    let client = Client::new();
    let options = ConnectOptions::new(url(&serving));
    let Err(Error::Connection(error)) =
        client.connect(options.clone().wait_timeout(Duration::from_millis(50)))
    else {
        panic!("too late");
    };
    assert!(
        error.is_timeout() && error.message().contains("in time"),
        "{error}"
    );
    // Without waiting, it is connected in a moment.
    client.connect(options.wait(false)).unwrap();
    assert!(!client.is_connected() && client.transport().is_some());
    eventually("the connection", || client.is_connected());
}

#[test]
fn a_namespace_is_joined_and_left_while_the_connection_goes_on() {
    let io = Server::builder().namespaces("*").build();
    io.of("/room").on("echo", |text: String| text);
    let serving = serve(&io);
    let client = Client::new();
    let (sender, happened) = mpsc::channel();
    let room = client.of("/room");
    let told = sender.clone();
    room.on_connect(move |_: &Client| told.send("joined").expect("awaited"));
    room.on_disconnect(move |_: &Client, reason: Reason| {
        assert_eq!(reason, Reason::ClientDisconnect);
        sender.send("left").expect("awaited");
    });
    assert!(matches!(room.join(), Err(Error::Disconnected)));
    let options = ConnectOptions::new(url(&serving)).namespaces(["/"]);
    client.connect(options).expect("connected");
    for _ in 0..3 {
        room.join().expect("asked");
        assert_eq!(happened.recv_timeout(PATIENCE).expect("told"), "joined");
        let answer: String = room.call("echo", "x", PATIENCE).expect("answered");
        assert_eq!(answer, "x");
        assert_eq!(io.of("/room").sockets().len(), 1);
        room.leave().expect("asked");
        assert_eq!(happened.recv_timeout(PATIENCE).expect("told"), "left");
        let gone = || io.of("/room").sockets().is_empty();
        eventually("the server knows", gone);
        assert!(client.is_connected() && !room.is_connected());
        assert!(room.emit("echo", "y").is_err());
    }
    client.shutdown();
}

#[test]
fn attempts_to_reconnect_are_told_with_their_delays() {
    let io = Server::new();
    let serving = serve(&io);
    let client = Client::builder()
        .reconnection_delay(Duration::from_millis(10))
        .reconnection_attempts(2)
        .build();
    let (sender, attempts) = mpsc::channel();
    let failed = sender.clone();
    client.on_reconnect_attempt(move |_: &Client, attempt: u32, delay: Duration| {
        assert!(delay > Duration::ZERO);
        sender.send(attempt).expect("awaited");
    });
    client.on_reconnect_failed(move |_: &Client| failed.send(0).expect("awaited"));
    client.connect(url(&serving)).expect("connected");
    drop(serving);
    let told: Vec<u32> = (0..3)
        .map(|_| attempts.recv_timeout(PATIENCE).expect("told"))
        .collect();
    assert_eq!(told, [1, 2, 0]);
}

#[test]
fn what_a_client_may_owe_and_attach_is_bounded() {
    let io = Server::new();
    // Nobody answers as long as it is held.
    let (release, wait) = unbounded::<()>();
    io.on("asked", move || {
        let _ = wait.recv_timeout(PATIENCE);
    });
    let serving = serve(&io);
    let client = Client::builder()
        .max_pending_acks(2)
        .max_outgoing_attachments(1)
        .build();
    client.connect(url(&serving)).expect("connected");
    let ask = || client.emit_with_ack("asked", (), SOON, |_: Result<(), Error>| ());
    ask().expect("the first");
    ask().expect("the second");
    assert!(matches!(ask(), Err(Error::LimitExceeded(_))));
    let bytes = || Binary::from([1]);
    client.emit("one", bytes()).expect("sent");
    let two = client.emit("two", (bytes(), bytes()));
    assert!(matches!(two, Err(Error::InvalidArgument(_))));
    drop(release);
    client.disconnect();
}

#[test]
fn what_waits_for_a_connection_is_told_that_it_is_forgotten() {
    let client = Client::builder().offline_buffer(1_000).build();
    let (sender, next) = record();
    for end in [Client::disconnect, |client: &Client| {
        assert_eq!(client.clear_offline_buffer(), 1);
    }] {
        let told = sender.clone();
        let told = move |answer: Result<(), Error>| told.send(format!("{answer:?}")).unwrap();
        client.emit_with_ack("x", (), SOON, told).unwrap();
        end(&client);
        assert_eq!(next(), "Err(Disconnected)");
    }
    let unbuffered = Client::new();
    assert!(matches!(unbuffered.emit("x", ()), Err(Error::Disconnected)));
}

#[test]
fn a_program_has_another_connection_when_it_wants_one() {
    let io = Server::new();
    io.on("sid", |socket: &Socket| socket.sid().to_owned());
    let serving = serve(&io);
    let client = Client::builder().reconnection(false).build();
    assert!(matches!(client.reconnect(), Err(Error::InvalidArgument(_))));
    let nobody = client.wait_connected(SOON);
    assert!(matches!(nobody, Err(Error::Disconnected)), "{nobody:?}");
    let (sender, next) = record();
    let (connected, ended) = (sender.clone(), sender);
    client.on_connect(move |client: &Client| {
        connected.send(client.sid().unwrap()).unwrap();
    });
    client.on_disconnect(move |_: &Client, reason: Reason| ended.send(reason.to_string()).unwrap());
    for transports in TRANSPORTS {
        client
            .connect(ConnectOptions::new(url(&serving)).transports(transports))
            .unwrap();
        let first = next();
        client.reconnect().unwrap();
        client.wait_connected(SOON).unwrap();
        assert_eq!(next(), "client disconnect");
        let second = next();
        let other = client.of("/never");
        let never = other.wait_connected(Duration::from_millis(1));
        assert!(matches!(never, Err(Error::Timeout)), "{never:?}");
        assert_ne!(first, second);
        assert_eq!(client.call::<String>("sid", (), SOON).unwrap(), second);
        client.disconnect();
        assert_eq!(next(), "client disconnect");
        // After the end it is the last connection's options that count.
        client.reconnect().unwrap();
        next();
        client.reconnect().unwrap();
        client.disconnect();
        assert_eq!(next(), "client disconnect");
        eventually("the end", || !client.is_connected());
    }
}

#[test]
fn a_client_does_not_wait_for_its_next_attempt_if_the_program_does_not() {
    let address = free_address();
    let client = Client::builder()
        .reconnection_delay(Duration::from_secs(3600))
        .reconnection_delay_max(Duration::from_secs(3600))
        .build();
    let (sender, next) = record();
    let (waits, connected) = (sender.clone(), sender);
    client.on_reconnect_attempt(move |_: &Client, attempt: u32, _: Duration| {
        waits.send(format!("attempt {attempt}")).unwrap();
    });
    client.on_connect(move |_: &Client| connected.send("connected".into()).unwrap());
    let options = ConnectOptions::new(format!("http://{address}")).retry(true);
    client.connect_in_background(options).unwrap();
    assert_eq!(next(), "attempt 1");
    client.reconnect().unwrap();
    assert_eq!(next(), "attempt 1", "it is counted from one again");
    let io = Server::new();
    let _serving = io.bind(&*address).unwrap();
    client.reconnect().unwrap();
    assert_eq!(next(), "connected");
}

#[test]
fn the_time_of_a_round_trip_is_measured_over_each_transport() {
    let io = Server::builder()
        .ping_interval(Duration::from_millis(50))
        .build();
    let serving = serve(&io);
    for transports in TRANSPORTS {
        let client = Client::new();
        assert_eq!(client.round_trip_time(), None);
        client
            .connect(ConnectOptions::new(url(&serving)).transports(transports))
            .unwrap();
        let measured = || {
            client
                .round_trip_time()
                .is_some_and(|it| it > Duration::ZERO)
        };
        eventually("a first time", measured);
        let first = client.round_trip_time();
        eventually("another one", || client.round_trip_time() != first);
        client.disconnect();
        assert_eq!(client.round_trip_time(), None);
    }
    let io = socketio::engineio::Server::builder()
        .allow_eio3(true)
        .build();
    let serving = App::engineio(&io).bind("127.0.0.1:0").unwrap();
    for old in [false, true] {
        let client = socketio::engineio::Client::builder().eio3(old).build();
        client.connect(&url(&serving)).unwrap();
        eventually("a time", || client.round_trip_time().is_some());
    }
}

#[test]
fn every_event_is_seen_in_and_out() {
    let io = Server::builder().namespaces("*").build();
    io.of("*").on("say", |socket: &Socket, text: String| {
        let _ = socket.emit("handled", &text);
        let _ = socket.emit("unhandled", text);
    });
    let serving = serve(&io);
    let (sender, next) = record();
    let (came, goes, everywhere) = (sender.clone(), sender.clone(), sender.clone());
    let client = Client::new();
    client.on("handled", move |_: String| {
        sender.send("its handler".into()).unwrap();
    });
    client.on_event(move |_: &Client, event: &Event| {
        let args = event.args().unwrap();
        came.send(format!("in {} {args:?}", event.name())).unwrap();
    });
    client.on_event_outgoing(move |client: &Client, event: &str, args: &Args| {
        goes.send(format!("out {} {event} {args:?}", client.namespace()))
            .unwrap();
    });
    client
        .of("*")
        .on_event(move |client: &Client, event: &Event| {
            if client.namespace() == "/other" {
                everywhere.send(format!("other {}", event.name())).unwrap();
            }
        });
    let options = ConnectOptions::new(url(&serving)).namespaces(["/", "/other"]);
    client.connect(options).unwrap();
    client.emit("say", "x").unwrap();
    let args = Args(vec!["x".into()]);
    assert_eq!(next(), format!("out / say {args:?}"));
    assert!(next().starts_with("in handled"));
    assert_eq!(next(), "its handler");
    assert!(next().starts_with("in unhandled"));
    client.of("/other").emit("say", "y").unwrap();
    assert_eq!([next(), next()], ["other handled", "other unhandled"]);
}

#[test]
fn a_client_that_is_dropped_is_not_connected_again_by_its_handlers() {
    let io = Server::new();
    let serving = serve(&io);
    let (sender, next) = record();
    let client = Client::new();
    client.on_disconnect(move |client: &Client, _: Reason| {
        sender.send(format!("{:?}", client.reconnect())).unwrap();
    });
    client.connect(url(&serving)).unwrap();
    drop(client);
    assert_eq!(next(), "Err(Disconnected)");
    eventually("the end", || io.sockets().is_empty());
}

#[test]
fn a_client_comes_back_to_what_the_server_has_disconnected_if_the_program_wants() {
    let io = Server::new();
    io.on("kick", |socket: &Socket| socket.disconnect());
    let serving = serve(&io);
    let client = Client::new();
    client.on_disconnect(|client: &Client, _: Reason| {
        let _ = client.reconnect();
    });
    client.connect(url(&serving)).unwrap();
    for _ in 0..20 {
        let before = client.sid();
        client.emit("kick", ()).unwrap();
        eventually("another connection", || {
            client.is_connected() && client.sid() != before
        });
    }
}
