//! What is promised of the threads: order, blocking, back-pressure, and the end.

use crate::common::{Example, Http, PATIENCE, Ws, eventually, polling_session, serve};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use socketio::{Error, Event, Limits, Reason, Server, Socket, Value};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A handler that waits until the test lets it go.
fn gate(io: &Server, event: &str) -> (Receiver<()>, Sender<()>) {
    let (entered, when_entered) = unbounded();
    let (open, wait) = bounded::<()>(0);
    io.on(event, move || {
        entered.send(()).unwrap();
        let _ = wait.recv();
    });
    (when_entered, open)
}

fn echo(io: &Server) {
    io.on("echo", |event: &Event| event.args());
}

#[test]
fn an_answer_arrives_while_the_next_handler_of_the_same_client_waits() {
    let io = Server::new();
    echo(&io);
    let (entered, open) = gate(&io, "wait");
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    // Both in one write, so that one turn of a worker has both.
    let frames: Vec<u8> = ["421[\"echo\",1]", "422[\"wait\"]"]
        .iter()
        .flat_map(|text| {
            [
                &[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0],
                text.as_bytes(),
            ]
            .concat()
        })
        .collect();
    ws.send_raw(&frames);
    assert_eq!(ws.text(), "431[1]");
    entered.recv_timeout(PATIENCE).unwrap();
    drop(open);
    assert_eq!(ws.text(), "432[]");
}

#[test]
fn what_a_handler_sends_arrives_while_it_goes_on() {
    let io = Server::new();
    let (hold, held) = bounded::<()>(0);
    io.on("go", move |socket: &Socket| {
        socket.emit("first", ()).unwrap();
        let _ = held.recv();
    });
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("42[\"go\"]");
    assert_eq!(ws.text(), "42[\"first\"]");
    drop(hold);
}

#[test]
fn call_in_a_handler_gets_its_answer_past_ten_thousand_events() {
    let io = Server::new();
    let count = Arc::new(AtomicUsize::new(0));
    let (results, result) = bounded(1);
    io.on("ask", move |socket: &Socket| {
        let answer = socket.call::<String>("question", (), PATIENCE);
        results.send(answer).unwrap();
    });
    let counted = Arc::clone(&count);
    io.on("noise", move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("42[\"ask\"]");
    let question = ws.text();
    let id = question
        .trim_start_matches("42")
        .trim_end_matches("[\"question\"]")
        .to_owned();
    for _ in 0..10_000 {
        ws.send("42[\"noise\"]");
    }
    ws.send(&format!("43{id}[\"answer\"]"));
    assert_eq!(result.recv_timeout(PATIENCE).unwrap().unwrap(), "answer");
    eventually("every event's turn", || {
        count.load(Ordering::Relaxed) == 10_000
    });
}

#[test]
fn a_thousand_blocked_handlers_do_not_stop_another_client() {
    let limits = Limits::default().workers(1_100);
    let io = Server::builder().limits(limits).build();
    echo(&io);
    let (entered, open) = gate(&io, "wait");
    let serving = serve(&io);
    let address = serving.local_addr();
    let mut blocked: Vec<_> = (0..1_000).map(|_| Ws::join(address, "40").0).collect();
    blocked.iter_mut().for_each(|ws| ws.send("421[\"wait\"]"));
    let (mut ws, _) = Ws::join(address, "40");
    ws.send("421[\"echo\",1]");
    assert_eq!(ws.text(), "431[1]");
    for _ in 0..1_000 {
        entered.recv_timeout(PATIENCE).unwrap();
    }
    drop(open);
    blocked
        .iter_mut()
        .for_each(|ws| assert_eq!(ws.text(), "431[]"));
}

/// Those that have not blocked a worker lately get one although all others are taken, by more of
/// those that do than there are workers.
#[test]
fn a_herd_of_slow_connect_handlers_does_not_delay_those_that_are_in() {
    let limits = Limits::default().workers(32);
    let io = Server::builder().limits(limits).build();
    echo(&io);
    let (open, wait) = bounded::<()>(0);
    io.on_connect(move |_: &Socket, auth: Value| {
        // Most of the time it looks a token up.
        std::thread::sleep(Duration::from_millis(5));
        if auth["name"].is_null() {
            let _ = wait.recv();
        }
    });
    let serving = serve(&io);
    let address = serving.local_addr();
    let join = || Ws::join(address, "40{\"name\":\"known\"}").0;
    let known: Vec<_> = (0..20).map(|_| join()).collect();
    let mut ws = join();
    for number in 0..200 {
        ws.send(&format!("421[\"echo\",{number}]"));
        assert_eq!(ws.text(), format!("431[{number}]"));
    }
    let mut herd: Vec<_> = (0..500).map(|_| Ws::session(address).0).collect();
    herd.iter_mut().for_each(|ws| ws.send("40"));
    for number in 0..20 {
        ws.send(&format!("421[\"echo\",{number}]"));
        assert_eq!(ws.text(), format!("431[{number}]"));
    }
    drop(open);
    for ws in &mut herd {
        assert!(ws.text().starts_with("40{"));
    }
    assert_eq!(io.sockets().len(), 500 + 1 + known.len());
}

/// As many threads as wait, and none for what only computes.
///
/// A thread may look asleep for a moment on a machine that others use, so that one round of several
/// has to do. Without the look at what the threads do, each round has one for each client.
#[test]
fn computing_handlers_get_about_as_many_threads_as_there_are_cores() {
    let mut counts = Vec::new();
    while counts.last().is_none_or(|added| *added >= 50) {
        assert!(counts.len() < 5, "added for 100 that compute: {counts:?}");
        counts.push(threads_added_for_a_hundred_that_compute());
    }
}

fn threads_added_for_a_hundred_that_compute() -> usize {
    let server = Example::start("bench_server", 0, &[]);
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid()));
        tasks.expect("the server runs").count()
    };
    let before = threads();
    let mut clients: Vec<_> = (0..100)
        .map(|_| Ws::join(server.address(), "40").0)
        .collect();
    let mut most = 0;
    for _ in 0..5 {
        clients
            .iter_mut()
            .for_each(|ws| ws.send("421[\"compute\",2]"));
        for ws in &mut clients {
            assert_eq!(ws.text(), "431[]");
            most = most.max(threads());
        }
    }
    clients
        .iter_mut()
        .for_each(|ws| ws.send("421[\"sleep\",2000]"));
    eventually("a thread for each that waits", || threads() >= 100);
    for ws in &mut clients {
        assert_eq!(ws.text(), "431[]");
    }
    most - before
}

#[test]
fn events_of_one_client_run_in_order_one_at_a_time_on_all_its_namespaces() {
    let io = Server::builder().namespaces(["/", "/other"]).build();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let running = Arc::new(AtomicUsize::new(0));
    for name in ["/", "/other"] {
        let (seen, running) = (Arc::clone(&seen), Arc::clone(&running));
        io.of(name).on("n", move |number: u32| {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
            seen.lock().unwrap().push(number);
            running.fetch_sub(1, Ordering::SeqCst);
        });
    }
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("40/other,");
    assert!(ws.text().starts_with("40/other,"));
    for number in 0..2_000 {
        let namespace = if number % 3 == 0 { "/other," } else { "" };
        ws.send(&format!("42{namespace}[\"n\",{number}]"));
    }
    eventually("every event's turn", || seen.lock().unwrap().len() == 2_000);
    assert!(seen.lock().unwrap().is_sorted());
}

#[test]
fn async_handlers_overlap() {
    let io = Server::builder().async_handlers(true).build();
    echo(&io);
    let (entered, open) = gate(&io, "wait");
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("421[\"wait\"]");
    entered.recv_timeout(PATIENCE).unwrap();
    ws.send("422[\"echo\",7]");
    assert_eq!(ws.text(), "432[7]");
    drop(open);
    assert_eq!(ws.text(), "431[]");
}

#[test]
fn queued_events_still_run_after_a_close_and_then_disconnect_once() {
    let io = Server::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (entered, open) = gate(&io, "wait");
    let events = Arc::clone(&seen);
    io.on("n", move |socket: &Socket, number: u32| {
        let sent = socket.emit("late", ());
        events
            .lock()
            .unwrap()
            .push(format!("{number} {}", sent.is_err()));
    });
    let events = Arc::clone(&seen);
    io.on_disconnect(move |socket: &Socket, reason: Reason| {
        assert_eq!(socket.rooms(), [socket.sid()]);
        assert!(matches!(socket.emit("late", ()), Err(Error::Disconnected)));
        events.lock().unwrap().push(reason.to_string());
    });
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    for text in ["42[\"wait\"]", "42[\"n\",1]", "42[\"n\",2]"] {
        ws.send(text);
    }
    entered.recv_timeout(PATIENCE).unwrap();
    drop(ws);
    eventually("the client's end", || io.sockets().is_empty());
    drop(open);
    eventually("the disconnect handler", || seen.lock().unwrap().len() == 3);
    assert_eq!(
        *seen.lock().unwrap(),
        ["1 true", "2 true", "transport close"]
    );
    eventually("the last trace", || io.namespaces().is_empty());
}

#[test]
fn broadcasts_never_reach_a_client_that_is_not_accepted() {
    let io = Server::new();
    let (entered, when_entered) = unbounded();
    let (open, wait) = bounded::<()>(0);
    io.on_connect(move |_: &Socket| {
        entered.send(()).unwrap();
        let _ = wait.recv();
    });
    let serving = serve(&io);
    let (mut ws, _) = Ws::session(serving.local_addr());
    ws.send("40");
    when_entered.recv_timeout(PATIENCE).unwrap();
    io.emit("too early", ()).unwrap();
    assert_eq!(io.sockets(), []);
    drop(open);
    assert!(ws.text().starts_with("40{"));
    eventually("the client's place", || io.sockets().len() == 1);
    io.emit("now", ()).unwrap();
    assert_eq!(ws.text(), "42[\"now\"]");
}

#[test]
fn call_fails_at_once_when_the_client_goes() {
    let io = Server::new();
    let serving = serve(&io);
    let (mut ws, answer) = Ws::join(serving.local_addr(), "40");
    let sid = crate::common::sid_of(&answer);
    eventually("the client", || {
        io.socket(&sid).is_some_and(|socket| socket.is_connected())
    });
    let (caller, called) = (io.clone(), sid.clone());
    let call =
        std::thread::spawn(move || caller.call::<()>(&called, "q", (), Duration::from_secs(3600)));
    assert!(ws.text().ends_with("[\"q\"]"));
    drop(ws);
    assert!(matches!(call.join().unwrap(), Err(Error::Disconnected)));
    assert!(matches!(
        io.call::<()>(&sid, "q", (), PATIENCE),
        Err(Error::Disconnected)
    ));
    assert!(matches!(
        io.to(["a", "b"]).call::<()>("q", (), PATIENCE),
        Err(Error::InvalidArgument(_))
    ));
}

#[test]
fn callbacks_are_called_once_with_an_answer_or_an_error() {
    let io = Server::new();
    let serving = serve(&io);
    let (mut ws, answer) = Ws::join(serving.local_addr(), "40");
    let sid = crate::common::sid_of(&answer);
    eventually("the client", || {
        io.socket(&sid).is_some_and(|socket| socket.is_connected())
    });
    let socket = io.socket(&sid).unwrap();
    let (results, next) = unbounded();
    let ask = |name: &'static str, timeout: Duration| {
        let results = results.clone();
        let report =
            move |answer: Result<(i32, String), Error>| results.send((name, answer)).unwrap();
        socket.emit_with_ack("q", name, timeout, report).unwrap();
    };
    ask("answered", PATIENCE);
    ask("late", Duration::from_millis(50));
    ask("never", Duration::from_secs(3600));
    let id = |text: String| text[2..text.find('[').unwrap()].to_owned();
    let (first, second) = (id(ws.text()), id(ws.text()));
    ws.text();
    ws.send(&format!("43{first}[7,\"x\"]"));
    let (name, answer) = next.recv_timeout(PATIENCE).unwrap();
    assert_eq!((name, answer.unwrap()), ("answered", (7, "x".to_owned())));
    let (name, answer) = next.recv_timeout(PATIENCE).unwrap();
    assert!(name == "late" && matches!(answer, Err(Error::Timeout)));
    // Answers that come again, or too late, are nobody's.
    ws.send(&format!("43{first}[]"));
    ws.send(&format!("43{second}[]"));
    drop(ws);
    let (name, answer) = next.recv_timeout(PATIENCE).unwrap();
    assert!(name == "never" && matches!(answer, Err(Error::Disconnected)));
    assert!(next.try_recv().is_err());
}

#[test]
fn reading_stops_while_a_client_has_too_much_waiting_and_nothing_is_lost() {
    let limits = Limits::default().inbox_bytes(10_000);
    for transport in ["websocket", "polling"] {
        let io = Server::builder().limits(limits.clone()).build();
        let (entered, open) = gate(&io, "wait");
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        io.on("n", move |_: String| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let serving = serve(&io);
        let address = serving.local_addr();
        let event = format!("42[\"n\",\"{}\"]", "x".repeat(900));
        let mut opens = Some(open);
        if transport == "websocket" {
            let (mut ws, _) = Ws::join(address, "40");
            ws.send("42[\"wait\"]");
            entered.recv_timeout(PATIENCE).unwrap();
            // More than the socket buffers of both sides hold: the sender is stopped.
            let sender = std::thread::spawn(move || {
                (0..20_000).for_each(|_| ws.send(&event));
                ws
            });
            std::thread::sleep(Duration::from_millis(300));
            assert!(!sender.is_finished());
            drop(opens.take());
            drop(sender.join().unwrap());
            eventually("every event's turn", || {
                count.load(Ordering::Relaxed) == 20_000
            });
        } else {
            let mut http = Http::connect(address);
            let session = polling_session(&mut http);
            http.post(&session, "40");
            assert!(http.get(&session).text().starts_with("40"));
            http.post(&session, "42[\"wait\"]");
            entered.recv_timeout(PATIENCE).unwrap();
            let body = vec![event; 100].join("\x1e");
            http.write(&format!(
                "POST {session} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            http.stream()
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            let mut byte = [0];
            assert!(
                http.stream().peek(&mut byte).is_err(),
                "the answer is held back"
            );
            http.stream().set_read_timeout(Some(PATIENCE)).unwrap();
            drop(opens.take());
            assert_eq!(http.read(false).text(), "ok");
            eventually("every event's turn", || {
                count.load(Ordering::Relaxed) == 100
            });
        }
    }
}

#[test]
fn a_reader_that_is_too_slow_is_disconnected_alone() {
    let limits = Limits::default().outbox_bytes(500_000);
    let io = Server::builder().limits(limits).build();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reasons);
    io.on_disconnect(move |_: &Socket, reason: Reason| seen.lock().unwrap().push(reason));
    let serving = serve(&io);
    let (_slow, _) = Ws::join(serving.local_addr(), "40");
    let (mut quick, _) = Ws::join(serving.local_addr(), "40");
    eventually("both clients", || io.sockets().len() == 2);
    let reader = std::thread::spawn(move || {
        let mut count = 0;
        while !quick.text().contains("end") {
            count += 1;
        }
        count
    });
    let text = "x".repeat(10_000);
    let mut sent = 0;
    eventually("the disconnection", || {
        io.emit("b", &text).unwrap();
        sent += 1;
        !reasons.lock().unwrap().is_empty()
    });
    io.emit("end", ()).unwrap();
    assert_eq!(reader.join().unwrap(), sent);
    // The quick one has hung up by itself since.
    assert_eq!(reasons.lock().unwrap()[0], Reason::TransportError);
}

/// A peer that never stops sending keeps its I/O thread reading, and nobody's deadlines waiting.
#[test]
fn a_flood_does_not_keep_others_from_being_pinged() {
    let io = Server::builder()
        .io_threads(1)
        .ping_interval(Duration::from_millis(200))
        .build();
    let serving = serve(&io);
    let (flood, _) = Ws::join(serving.local_addr(), "40");
    let (mut friend, _) = Ws::join(serving.local_addr(), "40");
    let mut stream = flood.stream().try_clone().unwrap();
    let is_over = Arc::new(AtomicUsize::new(0));
    let until = Arc::clone(&is_over);
    let flood = std::thread::spawn(move || {
        // Pongs that nobody has asked for, masked with zeros.
        let pongs = [&[0x8a, 0xfd, 0, 0, 0, 0][..], &[0; 125]]
            .concat()
            .repeat(10_000);
        while until.load(Ordering::Relaxed) == 0 {
            stream.write_all(&pongs).unwrap();
        }
    });
    for _ in 0..2 {
        assert_eq!(friend.text(), "2");
        friend.send("3");
    }
    is_over.store(1, Ordering::Relaxed);
    flood.join().unwrap();
}

#[test]
fn a_panic_in_a_handler_costs_nothing_but_its_answer() {
    let io = Server::new();
    echo(&io);
    io.on("panic", || -> () { panic!("in a handler of a test") });
    io.on("fail", || -> Result<(), socketio::HandlerError> {
        Ok("x".parse::<u8>().map(drop)?)
    });
    io.on("typed", |_: u8| ());
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    for event in [
        "421[\"panic\"]",
        "422[\"fail\"]",
        "423[\"typed\",\"x\"]",
        "424[\"typed\"]",
        "425[\"echo\"]",
    ] {
        ws.send(event);
    }
    assert_eq!(ws.text(), "435[]");
}

#[test]
fn handlers_may_add_handlers_and_send_from_other_threads() {
    let io = Server::new();
    io.on("more", |socket: &Socket| {
        socket.server().on("new", |number: i32| number + 1);
    });
    io.on("later", |socket: &Socket, event: &Event| {
        let (socket, ack) = (socket.clone(), event.take_ack().expect("an id"));
        std::thread::spawn(move || {
            socket.emit("from a thread", ()).unwrap();
            ack.send(("late", 1)).unwrap();
        });
        "this is not sent"
    });
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("42[\"more\"]");
    ws.send("421[\"new\",1]");
    assert_eq!(ws.text(), "431[2]");
    ws.send("422[\"later\"]");
    assert_eq!(ws.text(), "42[\"from a thread\"]");
    assert_eq!(ws.text(), "432[\"late\",1]");
}

#[test]
fn threads_that_send_at_once_never_separate_a_packet_from_its_attachments() {
    let io = Server::new();
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    eventually("the client", || io.sockets().len() == 1);
    let threads: Vec<_> = (0..8u8)
        .map(|thread| {
            let io = io.clone();
            std::thread::spawn(move || {
                for number in 0..200u8 {
                    let bytes = socketio::Binary::from(vec![thread; 100]);
                    io.emit("b", (thread, number, bytes)).unwrap();
                }
            })
        })
        .collect();
    let mut last = [None; 8];
    for _ in 0..1_600 {
        let text = ws.text();
        let head: Vec<u8> = text["451-[\"b\",".len()..]
            .split(',')
            .take(2)
            .map(|it| it.parse().unwrap())
            .collect();
        assert_eq!(ws.bytes(), vec![head[0]; 100]);
        let before = last[usize::from(head[0])].replace(head[1]);
        assert!(
            before.is_none_or(|before| before + 1 == head[1]),
            "in the order of the calls"
        );
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}
