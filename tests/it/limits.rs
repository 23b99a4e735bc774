//! The `Limits` of heads, packets, clients, outboxes, connections and time: what is just below and at it passes, what is just above is refused, and the
//! log says so.

use crate::common::{Http, PATIENCE, Ws, eventually, log, polling_session, serve};
use socketio::{App, Binary, Error, Event, Limits, Server, Serving, Socket, tiny_http};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Waits for a record that names the peer, and says this.
fn logged(peer: &TcpStream, text: &str) {
    let name = peer.local_addr().unwrap().to_string();
    eventually(&format!("a record of {text:?}"), || {
        log::count(&[&name, text]) > 0
    });
}

fn limited(limits: Limits) -> (Server, Serving) {
    log::capture();
    let io = Server::builder().namespaces("*").limits(limits).build();
    io.of("*").on("echo", |event: &Event| event.args());
    io.on("echo", |event: &Event| event.args());
    let serving = serve(&io);
    (io, serving)
}

/// Sends packets on `/`; gives the connection if it is closed for them, and none if an echo behind them
/// is answered.
fn closed_for(serving: &Serving, packets: &[String]) -> Option<TcpStream> {
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    for packet in packets {
        ws.send(packet);
    }
    ws.try_send("42999[\"echo\"]");
    let stream = ws.stream().try_clone().unwrap();
    loop {
        match ws.next() {
            Some(message) if message.to_text().is_ok_and(|it| it == "43999[]") => return None,
            Some(message) if message.to_text().is_ok_and(|it| it == "1") => return Some(stream),
            Some(_) => {}
            None => return Some(stream),
        }
    }
}

/// What fits passes, one more does not, and is named in the log.
fn at_and_above(
    serving: &Serving,
    limit: usize,
    packets: impl Fn(usize) -> Vec<String>,
    why: &str,
) {
    for size in [limit - 1, limit] {
        assert!(
            closed_for(serving, &packets(size)).is_none(),
            "{why}: {size} of {limit}"
        );
    }
    let closed = closed_for(serving, &packets(limit + 1));
    logged(
        &closed.unwrap_or_else(|| panic!("{why}: {} of {limit}", limit + 1)),
        why,
    );
}

/// What fits passes; one more is dropped, and named in the log, and the connection goes on.
fn dropped_above(
    serving: &Serving,
    limit: usize,
    packets: impl Fn(usize) -> Vec<String>,
    why: &str,
) {
    for size in [limit - 1, limit, limit + 1] {
        let (mut ws, _) = Ws::join(serving.local_addr(), "40");
        for packet in packets(size) {
            ws.send(&packet);
        }
        ws.send("42999[\"echo\"]");
        while ws.text() != "43999[]" {}
        if size > limit {
            logged(ws.stream(), why);
        }
    }
}

#[test]
fn of_a_head() {
    let limits = Limits::default().head_bytes(1_000).head_fields(10);
    let (_io, serving) = limited(limits);
    let target = "/socket.io/?EIO=4&transport=polling";
    let sized = |bytes: usize| {
        let begin = format!("GET {target} HTTP/1.1\r\nHost: x\r\nX: ");
        format!("{begin}{}\r\n\r\n", "x".repeat(bytes - begin.len() - 4))
    };
    for (bytes, status) in [(999, 200), (1_000, 200), (1_001, 431)] {
        let mut http = Http::connect(serving.local_addr());
        let request = sized(bytes);
        assert_eq!(request.len(), bytes);
        http.write(&request);
        assert_eq!(http.read(false).status, status, "{bytes}");
        if status == 431 {
            logged(http.stream(), "head too large");
        }
    }
    for (fields, status) in [(9, 200), (10, 200), (11, 431)] {
        let mut http = Http::connect(serving.local_addr());
        let fields = format!("Host: x\r\n{}", "A: b\r\n".repeat(fields - 1));
        http.write(&format!("GET {target} HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!(http.read(false).status, status);
        if status == 431 {
            logged(http.stream(), "too many fields");
        }
    }
}

#[test]
fn of_a_packet() {
    let limits = Limits::default()
        .attachments(5)
        .name_bytes(20)
        .json_depth(10);
    let (_io, serving) = limited(limits);
    let event = |json: String| vec![format!("42[\"echo\",{json}]")];
    let name = |bytes: usize| vec![format!("42[\"{}\"]", "x".repeat(bytes))];
    dropped_above(&serving, 20, name, "name");
    let namespace = |bytes: usize| vec![format!("40/{},", "x".repeat(bytes - 1))];
    for (bytes, answer) in [(19, "40/"), (20, "40/"), (21, "44/")] {
        let (mut ws, _) = Ws::session(serving.local_addr());
        ws.send(&namespace(bytes)[0]);
        let text = ws.text();
        assert!(text.starts_with(answer), "{bytes}: {text}");
    }
    // The event's own list is one.
    let depth = |depth: usize| {
        event(format!(
            "{}{}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        ))
    };
    dropped_above(&serving, 10, depth, "deep");
    for (count, passes) in [(4, true), (5, true), (6, false)] {
        let (mut ws, _) = Ws::join(serving.local_addr(), "40");
        let places: Vec<_> = (0..count)
            .map(|number| format!("{{\"_placeholder\":true,\"num\":{number}}}"))
            .collect();
        ws.send(&format!("45{count}-1[\"echo\",{}]", places.join(",")));
        if passes {
            (0..count).for_each(|_| ws.send_bytes(b"x"));
            assert!(ws.text().starts_with(&format!("46{count}-1[")));
        } else {
            assert_eq!(ws.text(), "1");
            logged(ws.stream(), "attachments");
        }
    }
}

#[test]
fn of_a_client() {
    let limits = Limits::default()
        .namespaces(3)
        .pending_acks(4)
        .outgoing_attachments(2);
    let (io, serving) = limited(limits);
    // Its own, `/`, is one.
    let namespaces = |count: usize| (1..count).map(|number| format!("40/{number},")).collect();
    at_and_above(&serving, 3, namespaces, "namespaces");
    io.on("owe", |socket: &Socket, count: usize| {
        let owe = |_| {
            socket.emit_with_ack(
                "owed",
                (),
                Duration::from_secs(60),
                |_: Result<(), Error>| (),
            )
        };
        let owed: Result<Vec<_>, _> = (0..count).map(owe).collect();
        matches!(owed, Err(Error::LimitExceeded(_)))
    });
    for (count, refused) in [(3, "false"), (4, "false"), (5, "true")] {
        let (mut ws, _) = Ws::join(serving.local_addr(), "40");
        ws.send(&format!("421[\"owe\",{count}]"));
        let mut text = ws.text();
        while !text.starts_with("431[") {
            text = ws.text();
        }
        assert_eq!(text, format!("431[{refused}]"));
    }
    let bytes = || Binary(vec![1].into());
    io.emit("two", (bytes(), bytes())).unwrap();
    let three = io.emit("three", (bytes(), bytes(), bytes()));
    assert!(matches!(three, Err(Error::InvalidArgument(_))));
}

#[test]
fn of_what_waits() {
    let limits = Limits::default().outbox_bytes(3_000_000);
    let (io, serving) = limited(limits);
    let mut http = Http::connect(serving.local_addr());
    // Nobody polls: everything that is sent waits.
    let target = polling_session(&mut http);
    assert_eq!(http.post(&target, "40").status, 200);
    eventually("the client", || io.sockets().len() == 1);
    // Not a large one: of those, one is let through.
    let text = "x".repeat(499_000);
    for _ in 0..6 {
        io.emit("waits", &text).unwrap();
    }
    assert_eq!(io.sockets().len(), 1, "it fits");
    io.emit("waits", &text).unwrap();
    eventually("its end", || io.sockets().is_empty());
    logged(http.stream(), "too slowly");
}

#[test]
fn of_all_connections() {
    let limits = Limits::default().connections(5);
    let (_io, serving) = limited(limits);
    let held: Vec<_> = (0..5)
        .map(|_| Ws::join(serving.local_addr(), "40"))
        .collect();
    let mut more = Http::connect(serving.local_addr());
    assert!(more.is_closed());
    eventually("a record", || log::count(&["connections"]) > 0);
    drop(held);
    eventually("room", || {
        Ws::try_open(
            serving.local_addr(),
            "/socket.io/?EIO=4&transport=websocket",
        )
        .is_ok()
    });
}

/// Times: what is in time is tried everywhere else; what is late is ended.
#[test]
fn of_time() {
    let soon = Duration::from_secs(1);
    let limits = Limits::default()
        .head_timeout(soon)
        .body_timeout(soon)
        .idle_timeout(soon)
        .attachments_timeout(soon)
        .connect_timeout(soon)
        .upgrade_timeout(soon);
    let (_io, serving) = limited(limits);
    let address = serving.local_addr();
    let mut head = Http::connect(address);
    head.write("GET /");
    let mut body = Http::connect(address);
    body.write(
        "POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4",
    );
    let mut idle = Http::connect(address);
    assert_eq!(idle.get("/nothing").status, 404);
    let (mut attachments, _) = Ws::join(address, "40");
    attachments.send("451-[\"echo\",{\"_placeholder\":true,\"num\":0}]");
    let (connect, _) = Ws::session(address);
    let mut http = Http::connect(address);
    let target = polling_session(&mut http);
    assert_eq!(http.post(&target, "40").status, 200);
    let sid = target.rsplit("sid=").next().unwrap().to_owned();
    let upgrade = Ws::open(
        address,
        &format!("/socket.io/?EIO=4&transport=websocket&sid={sid}"),
    );
    for mut http in [head, body] {
        eventually("its end", || http.is_closed());
        logged(http.stream(), "not complete in time");
    }
    eventually("its end", || idle.is_closed());
    for (ws, why) in [
        (attachments, "attachments"),
        (connect, "no namespace was joined"),
    ] {
        let stream = ws.stream().try_clone().unwrap();
        ws.until_closed();
        logged(&stream, why);
    }
    let record = "it was no upgrade, or not in time";
    logged(http.stream(), record);
    upgrade.until_closed();
}

#[test]
fn of_rates() {
    let (io, serving) = limited(
        Limits::default()
            .events_per_second(20)
            .handshakes_per_second(3)
            .connections_per_address(8),
    );
    let address = serving.local_addr();
    // Nothing is lost of what comes too fast, and others are served meanwhile.
    let (mut fast, _) = Ws::join(address, "40");
    let since = Instant::now();
    for number in 0..40 {
        fast.send(&format!("42{number}[\"echo\",{number}]"));
    }
    let (mut calm, _) = Ws::join(address, "40");
    calm.send("421[\"echo\",7]");
    assert_eq!(calm.text(), "431[7]");
    for number in 0..40 {
        assert_eq!(fast.text(), format!("43{number}[{number}]"));
    }
    assert_eq!(io.sockets().len(), 2);
    // What one read has brought is handled at once; what comes then waits until it may have come.
    fast.send("4240[\"echo\",40]");
    assert_eq!(fast.text(), "4340[40]");
    assert!(since.elapsed() >= Duration::from_millis(900));
    let open = |http: &mut Http| http.get("/socket.io/?EIO=4&transport=polling").status;
    eventually("a refusal", || open(&mut Http::connect(address)) == 429);
    eventually("a session", || open(&mut Http::connect(address)) == 200);
    // Connections: the two clients, and six more.
    let more: Vec<_> = (0..6).map(|_| Http::connect(address)).collect();
    assert!(Http::connect(address).is_closed());
    drop(more);
    eventually("room", || {
        let ninth = TcpStream::connect(address).unwrap();
        ninth
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        Http::over(ninth).is_open()
    });
}

#[test]
fn of_bytes_in_a_second() {
    let (io, serving) = limited(Limits::default().bytes_per_second(10_000));
    let (mut fast, _) = Ws::join(serving.local_addr(), "40");
    let (mut calm, _) = Ws::join(serving.local_addr(), "40");
    let text = "x".repeat(4_000);
    for number in 0..8 {
        fast.send(&format!("42{number}[\"echo\",\"{text}\"]"));
        calm.send(&format!("42{number}[\"echo\",7]"));
        assert_eq!(calm.text(), format!("43{number}[7]"));
    }
    // Nothing is lost of what comes too fast.
    for number in 0..8 {
        assert_eq!(fast.text(), format!("43{number}[\"{text}\"]"));
    }
    assert_eq!(io.sockets().len(), 2);
}

#[test]
fn are_counted_by_name() {
    let mut limits = Limits::default()
        .head_timeout(Duration::from_millis(100))
        .http_body_timeout(Duration::from_millis(100))
        .http_body_bytes(100);
    limits.pending_acks = 1;
    let io = Server::builder()
        .max_http_buffer_size(1_000)
        .limits(limits)
        .build();
    let app = App::new(&io).http(|_| tiny_http::Response::from_string("x"));
    let serving = app.bind("127.0.0.1:0").unwrap();
    let address = serving.local_addr();
    let (_silent, _) = Ws::join(address, "40");
    let socket = io.sockets().remove(0);
    socket.emit_with_ack("ask", (), PATIENCE, || ()).unwrap();
    assert!(socket.emit_with_ack("ask", (), PATIENCE, || ()).is_err());
    let mut http = Http::connect(address);
    let session = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(http.post(session, &"x".repeat(1_001)).status, 413);
    assert_eq!(
        Http::connect(address)
            .post("/mine", &"x".repeat(101))
            .status,
        413
    );
    for begun in [
        "GET / HT",
        "POST /mine HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
    ] {
        let mut slow = TcpStream::connect(address).unwrap();
        slow.write_all(begun.as_bytes()).unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let refused = io.metrics().refused_total;
    for limit in [
        "pending_acks",
        "max_http_buffer_size",
        "http_body_bytes",
        "head_timeout",
        "http_body_timeout",
    ] {
        let count = refused.iter().find(|it| it.0 == limit).map(|it| it.1);
        assert_eq!(count, Some(1), "{limit}: {refused:?}");
    }
}

#[test]
fn of_rates_behind_a_proxy() {
    let limits = Limits::default()
        .handshakes_per_second(1)
        .connections_per_address(1);
    let io = Server::builder()
        .trusted_proxies([std::net::Ipv4Addr::LOCALHOST])
        .limits(limits)
        .build();
    io.on_connect(|socket: &Socket| {
        let address = socket.request().client_ip().map(|it| it.to_string());
        socket.emit("you are", address)
    });
    let serving = serve(&io);
    let target = "GET /socket.io/?EIO=4&transport=polling";
    let mut connections = Vec::new();
    for (field, status) in [
        ("X-Forwarded-For: 10.0.0.1", 200),
        ("X-Forwarded-For: 10.0.0.2", 200),
        ("X-Forwarded-For: 10.0.0.9, 10.0.0.1", 429),
        ("Forwarded: for=\"[2001:db8::1]:80\";proto=http", 200),
        ("X-Forwarded-For: 10.0.0.3, 127.0.0.1", 200),
        ("X-Forwarded-For: 10.0.0.3", 429),
    ] {
        let mut http = Http::connect(serving.local_addr());
        let answer = http.request(target, &format!("{field}\r\n"), "");
        assert_eq!(answer.status, status, "{field}");
        connections.push(http);
    }
}

#[test]
fn of_a_handler_that_is_slow() {
    log::capture();
    let limit = Duration::from_millis(20);
    let io = Server::builder().slow_handler(limit).build();
    io.on("slow", move || std::thread::sleep(limit));
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("42[\"slow\"]");
    logged(ws.stream(), "the handler of \"slow\" on \"/\" ran for");
}
