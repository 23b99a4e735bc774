//! What hostile or unusual clients, races and shutdowns must not do to a server.

use crate::common::{Http, PATIENCE, Ws, eventually, polling_session, serve, sid_of};
use crossbeam_channel::{bounded, unbounded};
use serde::Deserialize;
use socketio::engineio;
use socketio::{
    AllowedOrigins, App, Binary, Error, Event, Limits, Reason, Refused, Server, Service,
    ServiceEvents, Socket, Value,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

/// A client that has joined `/` over polling.
fn polling_client(address: SocketAddr) -> (Http, String) {
    let mut http = Http::connect(address);
    let session = polling_session(&mut http);
    http.post(&session, "40");
    assert!(http.get(&session).text().starts_with("40"));
    (http, session)
}

// Acknowledgements.

#[test]
fn an_answer_holds_no_more_attachments_than_an_event() {
    let io = Server::new();
    io.on("value", |value: Value| value);
    io.on("late", |event: &Event| {
        let ack = event.take_ack().expect("it is wanted");
        matches!(
            ack.send(event.args().unwrap()),
            Err(Error::InvalidArgument(_))
        )
    });
    io.on("after", || {});
    let serving = serve(&io);
    for event in ["value", "late"] {
        let (mut ws, _) = Ws::join(serving.local_addr(), "40");
        let places: Vec<_> = (0..11)
            .map(|number| format!("{{\"_placeholder\":true,\"num\":{number}}}"))
            .collect();
        ws.send(&format!("4511-1[\"{event}\",[{}]]", places.join(",")));
        (0..11).for_each(|_| ws.send_bytes(b"x"));
        ws.send("422[\"after\"]");
        assert_eq!(ws.text(), "432[]", "no answer, and the connection goes on");
    }
}

#[test]
fn bytes_that_an_answer_repeats_are_sent_once() {
    let io = Server::new();
    io.on("value", |value: Value| value);
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    let place = "{\"_placeholder\":true,\"num\":0}";
    let list = vec![place; 16_000].join(",");
    ws.send(&format!("451-1[\"value\",[{list}]]"));
    ws.send_bytes(&vec![7; 400_000]);
    assert_eq!(ws.text(), format!("461-1[[{list}]]"));
    assert_eq!(ws.bytes().len(), 400_000);
}

#[test]
fn a_callback_is_called_once_or_the_call_is_an_error() {
    let io = Server::builder()
        .limits(Limits::default().pending_acks(1))
        .build();
    let serving = serve(&io);
    let (sender, calls) = unbounded();
    let callback = |sender: &crossbeam_channel::Sender<Result<Value, Error>>| {
        let sender = sender.clone();
        move |answer: Result<Value, Error>| sender.send(answer).unwrap()
    };
    // To nobody, and to nobody any more.
    io.to("nobody")
        .emit_with_ack("ask", (), PATIENCE, callback(&sender))
        .unwrap();
    let answer = calls.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(answer, Err(Error::Disconnected)), "{answer:?}");
    let (ws, answer) = Ws::join(serving.local_addr(), "40");
    let socket = io.socket(&sid_of(&answer)).unwrap();
    // One that owes too much hears nothing of it, and others do.
    let (mut other, _) = Ws::join(serving.local_addr(), "40");
    socket
        .emit_with_ack("ask", (), PATIENCE, |_: Result<Value, Error>| ())
        .unwrap();
    io.emit_with_ack_all("ask", callback(&sender));
    assert!(other.text().ends_with("[\"ask\"]"));
    let answer = calls.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(answer, Err(Error::LimitExceeded(_))), "{answer:?}");
    drop((ws, other));
    let answer = calls.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(answer, Err(Error::Disconnected)), "{answer:?}");
    eventually("the client's end", || !socket.is_connected());
    let failed = socket.emit_with_ack("ask", (), PATIENCE, callback(&sender));
    assert!(matches!(failed, Err(Error::Disconnected)));
    drop(sender);
    drop((io, serving, socket));
    assert!(calls.recv().is_err(), "none was called twice");
}

trait AskAll {
    fn emit_with_ack_all(
        &self,
        event: &str,
        callback: impl Fn(Result<Value, Error>) + Send + Sync + 'static,
    );
}

impl AskAll for Server {
    fn emit_with_ack_all(
        &self,
        event: &str,
        callback: impl Fn(Result<Value, Error>) + Send + Sync + 'static,
    ) {
        let all = self.skip("nobody");
        all.emit_with_ack(event, (), PATIENCE, callback).unwrap();
    }
}

#[test]
fn an_answer_is_read_though_the_inbox_is_full() {
    let io = Server::builder()
        .limits(Limits::default().inbox_bytes(100_000))
        .build();
    let (filled, is_full) = bounded::<()>(0);
    io.on("ask", move |socket: &Socket| {
        is_full.recv().unwrap();
        socket.call::<i64>("question", (), PATIENCE).ok()
    });
    io.on("fill", |_: String| {});
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("421[\"ask\"]");
    // Reading stops somewhere in here.
    let fill = format!("42[\"fill\",\"{}\"]", "x".repeat(10_000));
    for _ in 0..13 {
        ws.send(&fill);
    }
    filled.send(()).unwrap();
    let question = ws.text();
    assert!(question.ends_with("[\"question\"]"), "{question}");
    let id = question.trim_start_matches("42").split('[').next().unwrap();
    ws.send(&format!("43{id}[7]"));
    assert_eq!(ws.text(), "431[7]");
}

#[test]
fn an_answer_over_a_limit_is_an_error_for_who_waits() {
    let io = Server::new();
    let serving = serve(&io);
    let (mut ws, answer) = Ws::join(serving.local_addr(), "40");
    let socket = io.socket(&sid_of(&answer)).unwrap();
    let call = std::thread::spawn(move || socket.call::<Value>("ask", (), PATIENCE));
    let question = ws.text();
    let id = question.trim_start_matches("42").split('[').next().unwrap();
    ws.send(&format!("43{id}{}{}", "[".repeat(70), "]".repeat(70)));
    assert!(matches!(call.join().unwrap(), Err(Error::LimitExceeded(_))));
}

#[test]
fn what_answers_a_call_needs_no_worker() {
    let io = Server::builder()
        .limits(Limits::default().workers(1))
        .cors_allowed_origins(AllowedOrigins::matching(|origin, _| {
            origin == "http://page"
        }))
        .build();
    io.on("ask", |socket: &Socket| {
        let text = "x".repeat(50_000);
        socket.call::<i64>("question", text, PATIENCE).ok()
    });
    let serving = serve(&io);
    let mut http = Http::connect(serving.local_addr());
    let fields = "Origin: http://page\r\nAccept-Encoding: gzip\r\n";
    let open = http.request(&format!("GET {OPEN}"), fields, "");
    let session = format!("{OPEN}&sid={}", sid_of(&open.text()));
    http.request(&format!("POST {session}"), fields, "40");
    http.request(&format!("GET {session}"), fields, "");
    http.request(&format!("POST {session}"), fields, "421[\"ask\"]");
    // The one worker waits for the answer, so it can neither compress nor judge.
    let question = http.request(&format!("GET {session}"), fields, "").text();
    let id = question.trim_start_matches("42").split('[').next().unwrap();
    http.request(&format!("POST {session}"), fields, &format!("43{id}[7]"));
    assert_eq!(
        http.request(&format!("GET {session}"), fields, "").text(),
        "431[7]"
    );
    // Another origin is not allowed by what was decided for this one.
    let foreign = "Origin: http://other\r\n";
    let refused = http.request(&format!("GET {session}"), foreign, "");
    assert_eq!(refused.status, 400);
}

// Back-pressure.

#[test]
fn no_packet_switches_back_pressure_off() {
    let limits = Limits::default().inbox_bytes(100_000);
    let io = Server::builder().limits(limits).build();
    let (open, wait) = bounded::<()>(0);
    io.on("work", move |_: String| wait.recv().is_ok());
    io.of("/b").on_connect(|_: &Socket| false);
    let serving = serve(&io);
    let work = format!("42[\"work\",\"{}\"]", "x".repeat(9_000));
    let events = [work.as_str(); 20].join("\x1e");
    let connects = ["40/b,", "41/b,"].repeat(500).join("\x1e");
    for body in [
        format!("40/b,\x1e{events}\x1e41/b,"),
        format!("{work}\x1e{connects}"),
    ] {
        let (mut http, session) = polling_client(serving.local_addr());
        http.stream()
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let length = body.len();
        http.write(&format!(
            "POST {session} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let mut answer = [0; 1];
        let held = (&mut http.stream()).read(&mut answer);
        assert!(held.is_err(), "its answer comes when there is room");
    }
    drop(open);
}

#[test]
fn a_post_of_thousands_of_packets_is_handled_in_order_and_in_portions() {
    let io = Server::new();
    io.on("count", |number: usize| number);
    let serving = serve(&io);
    let (mut http, session) = polling_client(serving.local_addr());
    let events: Vec<_> = (0..3_000)
        .map(|it| format!("42{it}[\"count\",{it}]"))
        .collect();
    assert_eq!(http.post(&session, &events.join("\x1e")).text(), "ok");
    let mut answers = Vec::new();
    while answers.len() < 3_000 {
        let text = http.get(&session).text();
        answers.extend(text.split('\x1e').map(str::to_owned));
    }
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, format!("43{number}[{number}]"));
    }
}

#[test]
fn who_holds_the_most_goes_first_when_all_hold_too_much() {
    let io = Server::builder()
        .limits(Limits::default().buffered_bytes(3_000_000))
        .build();
    let (sender, gone) = unbounded();
    io.on_disconnect(move |socket: &Socket, reason: Reason| {
        sender.send((socket.sid().to_owned(), reason)).unwrap();
    });
    let serving = serve(&io);
    let slow: Vec<_> = (0..4)
        .map(|_| Ws::join(serving.local_addr(), "40"))
        .collect();
    let (mut quick, _) = Ws::join(serving.local_addr(), "40");
    let sids: Vec<_> = slow.iter().map(|(_, answer)| sid_of(answer)).collect();
    // Beyond what the kernel takes for those that do not read.
    let piece = "x".repeat(500_000);
    let mut ended = 0;
    for _ in 0..200 {
        for sid in &sids {
            let _ = io.to(sid).emit("b", &piece);
        }
        ended += gone
            .try_iter()
            .inspect(|it| assert!(sids.contains(&it.0)))
            .count();
        if ended > 0 {
            break;
        }
    }
    if ended == 0 {
        let (sid, reason) = gone.recv_timeout(PATIENCE).unwrap();
        assert!(sids.contains(&sid) && reason == Reason::TransportError);
    }
    io.emit("still", ()).unwrap();
    while !quick.text().contains("still") {}
}

#[test]
fn what_a_polling_client_has_begun_counts_until_its_end_and_no_longer() {
    let io = Server::builder()
        .limits(Limits::default().buffered_bytes(3_000_000))
        .build();
    let (sender, joined) = unbounded();
    io.on_connect(move |socket: &Socket| sender.send(socket.clone()).unwrap());
    let serving = serve(&io);
    // A packet whose attachment does not come.
    let begun = format!(
        "451-[\"x\",\"{}\",{{\"_placeholder\":true,\"num\":0}}]",
        "x".repeat(900_000)
    );
    for _ in 0..3 {
        let mut http = Http::connect(serving.local_addr());
        let sockets: Vec<_> = (0..3)
            .map(|_| {
                let session = polling_session(&mut http);
                assert_eq!(http.post(&session, "40").text(), "ok");
                let socket: Socket = joined.recv_timeout(PATIENCE).unwrap();
                assert!(http.get(&session).text().starts_with("40"));
                assert_eq!(http.post(&session, &begun).text(), "ok");
                socket
            })
            .collect();
        // The next turn of the I/O thread: it would have closed them.
        assert_eq!(http.get("/nothing").status, 404);
        assert!(sockets.iter().all(Socket::is_connected));
        // Without a poll, their sessions wait with the close packet.
        sockets.iter().for_each(Socket::disconnect_all);
        eventually("the end", || !sockets.iter().any(Socket::is_connected));
    }
}

#[test]
fn a_post_that_fills_the_inbox_is_answered_by_an_upgrade() {
    let io = Server::builder()
        .limits(Limits::default().inbox_bytes(20_000))
        .build();
    let (begin, begun) = unbounded();
    let (open, gate) = unbounded::<()>();
    io.on("wait", move || {
        begin.send(()).unwrap();
        gate.recv().unwrap();
    });
    io.on("count", |number: u32| number);
    let serving = serve(&io);
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    assert_eq!(http.post(&session, "40").text(), "ok");
    assert!(http.get(&session).text().starts_with("40"));
    let mut body = "42[\"wait\"]".to_owned();
    for number in 0..400 {
        body += &format!("\x1e42{number}[\"count\",{number}]");
    }
    let length = body.len();
    http.write(&format!(
        "POST {session} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    begun.recv_timeout(PATIENCE).unwrap();
    let websocket = session.replace("polling", "websocket");
    let mut ws = Ws::open(serving.local_addr(), &websocket);
    ws.send("2probe");
    assert_eq!(ws.text(), "3probe");
    ws.send("5");
    assert_eq!(http.read(false).text(), "ok");
    open.send(()).unwrap();
    for number in 0..400 {
        assert_eq!(ws.text(), format!("43{number}[{number}]"));
    }
    // Reading goes on.
    ws.send("42400[\"count\",400]");
    assert_eq!(ws.text(), "43400[400]");
}

#[test]
fn polling_sessions_have_limits_of_their_own() {
    let serving = serve(
        &Server::builder()
            .limits(Limits::default().polling_sessions_per_address(3))
            .build(),
    );
    let mut http = Http::connect(serving.local_addr());
    let sessions: Vec<_> = (0..3).map(|_| polling_session(&mut http)).collect();
    assert_eq!(http.get(OPEN).status, 503);
    // One that ends makes room, and WebSockets are no polling sessions.
    http.post(&sessions[0], "1");
    Ws::session(serving.local_addr());
    eventually("room", || http.get(OPEN).status == 200);
    assert_eq!(http.get(OPEN).status, 503);
    // One that moves to a WebSocket makes room, too.
    let websocket = sessions[1].replace("polling", "websocket");
    let mut ws = Ws::open(serving.local_addr(), &websocket);
    ws.send("2probe");
    assert_eq!(ws.text(), "3probe");
    ws.send("5");
    eventually("room", || http.get(OPEN).status == 200);
}

#[test]
fn one_message_may_fill_an_outbox_and_others_follow() {
    let io = Server::builder()
        .limits(Limits::default().outbox_bytes(1_000_000))
        .build();
    io.on("blob", |socket: &Socket, bytes: usize| {
        socket.emit("blob", Binary::from(vec![7; bytes]))?;
        let second = socket.emit("blob", Binary::from(vec![7; bytes]));
        // The client may have read the first already.
        Ok::<_, socketio::HandlerError>(matches!(second, Ok(()) | Err(Error::LimitExceeded(_))))
    });
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("421[\"blob\",12000000]");
    let mut blobs = 0;
    loop {
        let text = ws.text();
        if text == "431[true]" {
            break;
        }
        assert!(text.starts_with("451-[\"blob\""), "{text}");
        assert_eq!(ws.bytes().len(), 12_000_000);
        blobs += 1;
    }
    assert!((1..=2).contains(&blobs));
}

#[test]
fn a_volatile_event_follows_what_the_same_handler_has_sent() {
    let io = Server::new();
    io.on("go", |socket: &Socket| {
        socket.emit("first", 1)?;
        socket.namespace().volatile().emit("second", 2)?;
        Ok::<_, Error>(())
    });
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    for _ in 0..20 {
        ws.send("42[\"go\"]");
        assert_eq!(
            [ws.text(), ws.text()],
            ["42[\"first\",1]", "42[\"second\",2]"]
        );
    }
}

#[test]
fn broadcasts_in_a_row_arrive_in_order_and_without_the_handler_s_end() {
    let io = Server::new();
    let (open, wait) = bounded::<()>(0);
    io.on("row", move |socket: &Socket| {
        for number in 0..100 {
            socket.namespace().emit("b", number)?;
        }
        socket.emit("own", ())?;
        // Nothing tells that this waits.
        let _ = wait.recv();
        Ok::<_, Error>(())
    });
    let serving = serve(&io);
    let mut clients: Vec<_> = (0..20)
        .map(|_| Ws::join(serving.local_addr(), "40").0)
        .collect();
    let (mut poller, session) = polling_client(serving.local_addr());
    clients[0].send("42[\"row\"]");
    for client in &mut clients {
        for number in 0..100 {
            assert_eq!(client.text(), format!("42[\"b\",{number}]"));
        }
    }
    assert_eq!(clients[0].text(), "42[\"own\"]");
    let mut polled = String::new();
    while polled.matches("\"b\"").count() < 100 {
        polled.push_str(&poller.get(&session).text());
    }
    drop(open);
}

// Opening and ending.

#[test]
fn nothing_goes_before_the_answer_of_a_handshake() {
    let engine = engineio::Server::new();
    engine.on_connect(|session: &engineio::Session| {
        session.send("hello").unwrap();
        match session.request().param("who").as_deref() {
            Some("refused") => Err(serde_json::json!("no")),
            Some("ended") => {
                session.disconnect();
                Ok(())
            }
            _ => Ok(()),
        }
    });
    let serving = App::engineio(&engine).bind("127.0.0.1:0").unwrap();
    let address = serving.local_addr();
    let websocket = "/engine.io/?EIO=4&transport=websocket";
    let mut ws = Ws::open(address, websocket);
    assert!(ws.text().starts_with("0{"));
    assert_eq!(ws.text(), "4hello");
    assert!(Ws::try_open(address, &format!("{websocket}&who=refused")).is_err());
    let mut ended = Ws::open(address, &format!("{websocket}&who=ended"));
    assert!(ended.text().starts_with("0{"));
    assert_eq!(ended.text(), "4hello");
    assert_eq!(ended.until_closed().0, ["1"]);
    let polling = "/engine.io/?EIO=4&transport=polling";
    let mut http = Http::connect(address);
    let open = http.get(polling).text();
    assert!(open.starts_with("0{") && !open.contains("hello"), "{open}");
    let session = format!("{polling}&sid={}", sid_of(&open));
    assert_eq!(http.get(&session).text(), "4hello");
    let refused = http.get(&format!("{polling}&who=refused"));
    assert_eq!((refused.status, refused.text().as_str()), (401, "\"no\""));
    // Who sends to all sessions reaches none that is not open.
    let quit = Arc::new(AtomicUsize::new(0));
    let stop = Arc::clone(&quit);
    let broadcaster = std::thread::spawn(move || {
        while stop.load(Ordering::Relaxed) == 0 {
            for session in engine.sessions() {
                let _ = session.send("b");
            }
        }
    });
    for _ in 0..100 {
        assert!(Ws::open(address, websocket).text().starts_with("0{"));
    }
    quit.store(1, Ordering::Relaxed);
    broadcaster.join().unwrap();
}

#[test]
fn a_second_connect_while_the_first_is_undecided_changes_nothing() {
    let io = Server::new();
    let (open, wait) = bounded::<()>(0);
    io.of("/b")
        .on_connect(move |_: &Socket| wait.recv().is_err());
    io.on("echo", |event: &Event| event.args());
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    // In one write, so that the first is undecided when the second is read.
    let frame = |text: &str| {
        let head = [0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        [&head[..], text.as_bytes()].concat()
    };
    ws.send_raw(&["40/b,", "40/b,", "421[\"echo\",1]"].map(frame).concat());
    drop(open);
    let mut texts = [ws.text(), ws.text()];
    texts.sort();
    assert!(texts[0].starts_with("40/b,{\"sid\""), "{texts:?}");
    assert_eq!(texts[1], "431[1]");
    assert_eq!(io.of("/b").sockets().len(), 1);
}

/// Counts what a shutdown leaves undone: events of 2 ms, and disconnect handlers.
fn shut_down(asynchronous: bool, in_a_handler: bool) -> (usize, usize) {
    let io = Server::builder().async_handlers(asynchronous).build();
    let handled = Arc::new(AtomicUsize::new(0));
    let (gone, when_gone) = unbounded();
    let count = Arc::clone(&handled);
    io.on("work", move || {
        std::thread::sleep(Duration::from_millis(2));
        count.fetch_add(1, Ordering::Relaxed);
    });
    io.on_disconnect(move |_: &Socket, reason: Reason| gone.send(reason).unwrap());
    let slot: Arc<parking_lot::Mutex<Option<socketio::Serving>>> = Arc::default();
    let own = Arc::clone(&slot);
    io.on("stop", move || {
        let serving = own.lock().take();
        if let Some(serving) = serving {
            serving.shutdown();
        }
    });
    let serving = serve(&io);
    let address = serving.local_addr();
    *slot.lock() = Some(serving);
    let mut clients: Vec<_> = (0..3).map(|_| Ws::join(address, "40").0).collect();
    for _ in 0..200 {
        clients[0].send("42[\"work\"]");
    }
    // Behind them all, so that they have been accepted.
    clients[0].send("421[\"none\"]");
    eventually("the first event", || handled.load(Ordering::Relaxed) > 0);
    std::thread::sleep(Duration::from_millis(50));
    if in_a_handler {
        clients[1].send("42[\"stop\"]");
    } else {
        let serving = slot.lock().take().expect("it serves");
        serving.shutdown();
    }
    let reasons: Vec<_> = (0..3)
        .filter_map(|_| when_gone.recv_timeout(PATIENCE).ok())
        .collect();
    assert!(
        reasons.iter().all(|it| *it == Reason::ServerDisconnect),
        "{reasons:?}"
    );
    eventually("all events", || handled.load(Ordering::Relaxed) == 200);
    (handled.load(Ordering::Relaxed), reasons.len())
}

#[test]
fn a_shutdown_loses_no_event_and_no_disconnect_handler() {
    for (asynchronous, in_a_handler) in [(false, false), (true, false), (false, true)] {
        assert_eq!(shut_down(asynchronous, in_a_handler), (200, 3));
    }
}

#[test]
fn a_panic_in_a_destructor_costs_nobody_else_anything() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("a destructor of a test");
        }
    }
    let io = Server::builder().namespaces(["/b"]).build();
    let gone = Arc::new(AtomicUsize::new(0));
    for namespace in ["/", "/b"] {
        let namespace = io.of(namespace);
        namespace.on_connect(|socket: &Socket| socket.save_session(Panics));
        let count = Arc::clone(&gone);
        namespace.on_disconnect(move |_: &Socket, _: Reason| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    }
    let serving = serve(&io);
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let (mut ws, _) = Ws::join(serving.local_addr(), "40");
            ws.send("40/b,");
            assert!(ws.text().starts_with("40/b,"));
            ws
        })
        .collect();
    drop(clients);
    eventually("all disconnect handlers", || {
        gone.load(Ordering::Relaxed) == 10
    });
    eventually("no ghosts", || io.of("/b").sockets().is_empty());
}

#[test]
fn a_connection_that_changes_its_thread_loses_nothing() {
    let folder = std::env::temp_dir().join(format!("socketio-hand-over-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("big"), vec![b'x'; 8_000_000]).unwrap();
    let io = Server::builder().io_threads(2).build();
    io.on("echo", |event: &Event| event.args());
    let serving = App::new(&io)
        .static_files("/files", &folder)
        .bind("127.0.0.1:0")
        .unwrap();
    let address = serving.local_addr();
    // One of them is of the other thread.
    let sessions: Vec<_> = (0..4)
        .map(|_| polling_session(&mut Http::connect(address)))
        .collect();
    for session in &sessions {
        let mut http = Http::connect(address);
        http.write(&format!(
            "GET /files/big HTTP/1.1\r\nHost: x\r\n\r\nPOST {session} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n40"
        ));
        // What the kernel does not take waits in the outbox.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(http.read(false).body, vec![b'x'; 8_000_000]);
        assert_eq!(http.read(false).text(), "ok");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

// What clients send.

#[derive(Deserialize)]
struct Login {
    name: String,
}

struct Door;

impl Service for Door {
    fn events(on: &mut ServiceEvents<Self>) {
        on.on("text", |_: &Door, text: String| text);
    }

    fn on_connect(&self, _: &Socket, auth: Value) -> Result<(), Refused> {
        if auth["name"].as_str() == Some("cut \u{fffd}") {
            Ok(())
        } else {
            Err(Refused::new(format!("{auth:?}")))
        }
    }
}

#[test]
fn half_a_character_is_replaced_and_nothing_else_is_lost() {
    let io = Server::new();
    io.on("text", |text: String| text);
    io.on("args", |event: &Event| event.args());
    io.on("bytes", |text: String, bytes: Binary| (text, bytes.len()));
    io.on("number", |number: Option<f64>, rest: String| (number, rest));
    io.on("n\u{fffd}", || "named");
    io.of("/login")
        .on_connect(|_: &Socket, login: Login| login.name == "cut \u{fffd}");
    io.of("/door").register(Door);
    let serving = serve(&io);
    let (mut ws, answer) = Ws::join(serving.local_addr(), "40");
    for (event, answer) in [
        (r#"421["text","\ud83d"]"#, "431[\"\u{fffd}\"]"),
        (
            r#"421["args","a","\ud83d",{"k\ude00":1}]"#,
            "431[\"a\",\"\u{fffd}\",{\"k\u{fffd}\":1}]",
        ),
        (r#"421["args",1e400,"b"]"#, "431[null,\"b\"]"),
        (
            r#"421["number",-1e999,"\ud83d\ude00"]"#,
            "431[null,\"\u{1f600}\"]",
        ),
        (r#"421["n\ud83d"]"#, "431[\"named\"]"),
    ] {
        ws.send(event);
        assert_eq!(ws.text(), answer, "{event}");
    }
    ws.send(r#"451-1["bytes","\ud83d",{"_placeholder":true,"num":0}]"#);
    ws.send_bytes(&[1, 2]);
    assert_eq!(ws.text(), "431[\"\u{fffd}\",2]");
    for namespace in ["/login", "/door"] {
        ws.send(&format!(r#"40{namespace},{{"name":"cut \ud83d"}}"#));
        let answer = ws.text();
        assert!(
            answer.starts_with(&format!("40{namespace},{{\"sid\"")),
            "{answer}"
        );
    }
    let socket = io.socket(&sid_of(&answer)).unwrap();
    let call = std::thread::spawn(move || socket.call::<String>("ask", (), PATIENCE));
    let question = ws.text();
    let id = question.trim_start_matches("42").split('[').next().unwrap();
    ws.send(&format!(r#"43{id}["\ud83d"]"#));
    assert_eq!(call.join().unwrap().unwrap(), "\u{fffd}");
}

#[test]
fn auth_that_does_not_decode_lets_nobody_in() {
    let io = Server::new();
    io.of("/door").register(Door);
    let serving = serve(&io);
    for auth in ["{\"name\":\"x\",\"n\":1e999}", "{\"name\":null}", ""] {
        let (_, answer) = Ws::join(serving.local_addr(), &format!("40/door,{auth}"));
        assert!(answer.starts_with("44/door,"), "{auth}: {answer}");
    }
}

#[test]
fn two_photos_may_be_larger_together_than_one_message() {
    let io = Server::builder().max_http_buffer_size(10_000).build();
    io.on("two", |one: Binary, other: Binary| one.len() + other.len());
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send(r#"452-7["two",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
    ws.send_bytes(&[0; 9_000]);
    ws.send_bytes(&[0; 9_000]);
    assert_eq!(ws.text(), "437[18000]");
}

#[test]
fn base64_is_taken_as_other_clients_write_it() {
    let io = Server::new();
    io.on("bytes", |bytes: Binary| bytes.to_vec());
    let serving = serve(&io);
    for base64 in ["+/8=", "+/8", "-_8", "+/\n8="] {
        let (mut http, session) = polling_client(serving.local_addr());
        let event = "451-1[\"bytes\",{\"_placeholder\":true,\"num\":0}]";
        assert_eq!(
            http.post(&session, &format!("{event}\x1eb{base64}")).text(),
            "ok"
        );
        assert_eq!(http.get(&session).text(), "431[[251,255]]", "{base64:?}");
    }
}

#[test]
fn whether_bytes_are_text_is_asked_of_each_transport() {
    let io = Server::new();
    io.on("bytes", || Binary::from(b"abc"));
    let serving = serve(&io);
    for (at_open, at_upgrade) in [("&b64=1", ""), ("", "&b64=1")] {
        let mut http = Http::connect(serving.local_addr());
        let open = http.get(&format!("{OPEN}{at_open}"));
        let sid = sid_of(&open.text());
        let path = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}{at_upgrade}");
        let mut ws = Ws::open(serving.local_addr(), &path);
        ws.send("2probe");
        assert_eq!(ws.text(), "3probe");
        ws.send("5");
        ws.send("40");
        assert!(ws.text().starts_with("40"));
        ws.send("421[\"bytes\"]");
        assert!(ws.text().starts_with("461-1"));
        if at_upgrade.is_empty() {
            assert_eq!(ws.bytes(), b"abc");
        } else {
            assert_eq!(ws.text(), "bYWJj");
        }
    }
}

#[test]
fn an_empty_sid_is_none() {
    let serving = serve(&Server::new());
    let mut http = Http::connect(serving.local_addr());
    let open = http.get(&format!("{OPEN}&sid="));
    assert!(
        open.status == 200 && open.text().starts_with("0{"),
        "{open:?}"
    );
}

#[test]
fn an_upload_that_moves_on_has_all_the_time_it_needs() {
    let io = Server::builder()
        .limits(Limits::default().body_timeout(Duration::from_millis(400)))
        .build();
    io.on("text", |text: String| text.len());
    let serving = serve(&io);
    let (mut http, session) = polling_client(serving.local_addr());
    let body = format!("421[\"text\",\"{}\"]", "x".repeat(12_000));
    let length = body.len();
    http.write(&format!(
        "POST {session} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    ));
    for piece in body.as_bytes().chunks(1_500) {
        std::thread::sleep(Duration::from_millis(100));
        http.write(std::str::from_utf8(piece).unwrap());
    }
    assert_eq!(http.read(false).text(), "ok");
    // One byte now and then is no progress.
    let mut stream = TcpStream::connect(serving.local_addr()).unwrap();
    stream
        .write_all(
            format!("POST {session} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n").as_bytes(),
        )
        .unwrap();
    let mut sent = 0;
    while stream.write_all(b"4").is_ok() && sent < 100 {
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn a_socket_speaks_for_its_namespace() {
    let io = Server::new();
    io.of("/chat").on("say", |socket: &Socket, text: String| {
        assert_eq!(socket.namespace().name(), "/chat");
        socket.enter_room("room")?;
        socket.namespace().to("room").emit("said", text)
    });
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40/chat,");
    ws.send("42/chat,[\"say\",\"x\"]");
    assert_eq!(ws.text(), "42/chat,[\"said\",\"x\"]");
}

#[test]
fn what_an_argument_lacks_is_told_with_its_place() {
    #[derive(Deserialize)]
    struct Item {
        n: u32,
    }
    #[derive(Deserialize)]
    struct Order {
        list: Vec<Item>,
    }
    let io = Server::new();
    let (sender, errors) = unbounded();
    io.on("order", move |event: &Event| {
        let order: Result<Order, Error> = event.arg(0);
        let why = order.map(|it| it.list.iter().map(|it| it.n).sum::<u32>());
        sender.send(why.unwrap_err().to_string()).unwrap();
    });
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("42[\"order\",{\"list\":[{\"n\":1},{\"n\":\"secret\"}]}]");
    let why = errors.recv_timeout(PATIENCE).unwrap();
    assert!(why.contains("argument 1: list[1].n:"), "{why}");
}

#[test]
fn a_handler_s_errors_name_the_address_the_file_and_the_option() {
    let io = Server::new();
    let serving = serve(&io);
    let taken = io.bind(serving.local_addr()).unwrap_err().to_string();
    assert!(taken.contains(&serving.local_addr().to_string()), "{taken}");
    let missing = App::new(&Server::new())
        .static_files("/", "no-such-folder")
        .bind("127.0.0.1:0");
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("no-such-folder"), "{missing}");
}

#[test]
fn spoilt_json_behind_half_a_character_costs_its_own_connection_alone() {
    let io = Server::new();
    io.on("args", |event: &Event| event.args());
    io.of("/login").on_connect(|_: &Socket, _: Value| {});
    let serving = serve(&io);
    let (mut other, _) = Ws::join(serving.local_addr(), "40");
    for packet in [
        r#"421["args","\ud83d"#,
        r#"421["args","\ud83d\"#,
        r#"421["\ud83d",1e400"#,
        r#"40/login,{"name":"\ud83d"#,
        r#"40/login,{"n":1e999"#,
    ] {
        let (mut ws, _) = Ws::join(serving.local_addr(), "40");
        ws.send(packet);
        ws.until_closed();
        other.send("421[\"args\"]");
        assert_eq!(other.text(), "431[]", "{packet}");
    }
}

#[test]
fn numbers_at_the_edge_of_all_are_read() {
    let io = Server::new();
    io.on("args", |event: &Event| event.args());
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    for number in [
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "179769313486231570000e288",
        "-1.79769313486231580e308",
        "4.9e-324",
        "1e-400",
    ] {
        ws.send(&format!("421[\"args\",{number},\"rest\"]"));
        let answer = ws.text();
        assert!(answer.ends_with(",\"rest\"]"), "{number}: {answer}");
    }
}

#[test]
fn names_are_what_was_sent() {
    let io = Server::new();
    // A name of digits is no number.
    io.of("/1e999").on_connect(|_: &Socket| {});
    let serving = serve(&io);
    let (_, answer) = Ws::join(serving.local_addr(), "40/1e999,{\"n\":1e999}");
    assert!(answer.starts_with("40/1e999,{"), "{answer}");
}

#[test]
fn a_connect_that_is_too_much_is_answered() {
    let io = Server::builder().namespaces("*").build();
    let serving = serve(&io);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let long = format!("/{}", "x".repeat(300));
    for (namespace, auth) in [("/deep", &*deep), (&*long, "{}")] {
        let (mut ws, answer) = Ws::join(serving.local_addr(), &format!("40{namespace},{auth}"));
        assert!(
            answer.starts_with(&format!("44{namespace},{{\"message\":\"Invalid")),
            "{answer}"
        );
        ws.send("40/other,");
        assert!(ws.text().starts_with("40/other,"), "the connection goes on");
    }
}

#[test]
fn a_post_that_waits_for_handlers_is_answered_when_its_session_ends() {
    let io = Server::builder()
        .limits(Limits::default().inbox_bytes(1_000))
        .build();
    let (open, wait) = bounded::<()>(0);
    io.on("wait", move |_: Value| {
        let _ = wait.recv();
    });
    let serving = serve(&io);
    let (mut http, session) = polling_client(serving.local_addr());
    let event = format!("42[\"wait\",\"{}\"]", "x".repeat(2_000));
    let body = [&*event; 4].join("\u{1e}");
    let length = body.len();
    http.write(&format!(
        "POST {session} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    eventually("the event", || io.sockets().len() == 1);
    io.sockets()[0].disconnect_all();
    assert!([200, 400].contains(&http.read(false).status));
    drop(open);
}

#[test]
fn a_session_that_was_saved_late_is_not_kept() {
    struct Told(Arc<AtomicUsize>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let io = Server::new();
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let (sender, gone) = unbounded();
    io.on_disconnect(move |socket: &Socket, _: Reason| {
        let _ = sender.send(socket.clone());
    });
    let serving = serve(&io);
    drop(Ws::join(serving.local_addr(), "40"));
    let socket = gone.recv_timeout(PATIENCE).unwrap();
    eventually("its end", || io.sockets().is_empty());
    socket.save_session(Told(count));
    drop(socket);
    eventually("the end of its session", || {
        dropped.load(Ordering::SeqCst) == 1
    });
}
