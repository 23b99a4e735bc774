//! What stands before handlers, what becomes of their errors, and what belongs to one client alone.

use crate::common::{PATIENCE, Ws, eventually, serve};
use socketio::{Client, Error, Event, HandlerError, Refused, Server, Socket, Value};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Something that can be seen to be dropped.
fn dropped() -> (Arc<()>, impl Fn() -> bool) {
    let held = Arc::new(());
    let weak = Arc::downgrade(&held);
    (held, move || weak.strong_count() == 0)
}

#[test]
fn connects_are_decided_in_order_and_those_of_every_namespace_first() {
    let io = Server::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let calls = Arc::clone(&calls);
        move || calls.lock().unwrap().push(name)
    };
    let (any, first, second, handler) = (note("any"), note("first"), note("second"), note("on"));
    let admin = io.of("/admin");
    admin.before_connect(move |_: &Socket, auth: Value| {
        first();
        match auth["token"].as_str() {
            Some("secret") => Ok(()),
            _ => Err(Refused::new("no token").with_data(401)),
        }
    });
    admin.before_connect(second);
    admin.on_connect(handler);
    io.of("*").before_connect(move |socket: &Socket| {
        any();
        socket.request().header("x-blocked").is_none()
    });
    let serving = serve(&io);
    let (_, answer) = Ws::join(serving.local_addr(), "40/admin,");
    assert_eq!(answer, "44/admin,{\"message\":\"no token\",\"data\":401}");
    let (_ws, answer) = Ws::join(serving.local_addr(), "40/admin,{\"token\":\"secret\"}");
    assert!(answer.starts_with("40/admin,{\"sid\""), "{answer}");
    eventually("the handler", || calls.lock().unwrap().len() == 6);
    let expected = ["any", "first", "any", "first", "second", "on"];
    assert_eq!(*calls.lock().unwrap(), expected);
}

#[test]
fn any_error_refuses_a_client_and_only_the_log_has_its_words() {
    let io = Server::new();
    io.on_connect(
        |_: &Socket, auth: Value| -> Result<(), Box<dyn std::error::Error>> {
            let _: i32 = auth["number"].as_str().unwrap_or_default().parse()?;
            Ok(())
        },
    );
    io.of("/text").on_connect(|| Err::<(), _>("go away"));
    let serving = serve(&io);
    let (_, answer) = Ws::join(serving.local_addr(), "40{\"number\":\"x\"}");
    assert_eq!(answer, "44{\"message\":\"Connection rejected by server\"}");
    let (_, answer) = Ws::join(serving.local_addr(), "40/text,");
    assert_eq!(answer, "44/text,{\"message\":\"go away\"}");
}

#[test]
fn events_are_seen_and_checked_before_their_handlers() {
    let io = Server::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tap = Arc::clone(&seen);
    // Before what was added earlier.
    io.of("*")
        .before_event(|_: &Socket, event: &Event| event.name() != "never");
    io.on_event(move |socket: &Socket, event: &Event| {
        assert!(socket.is_connected());
        tap.lock().unwrap().push(event.name().to_owned());
    });
    io.before_event(|_: &Socket, event: &Event| match event.name() {
        "forbidden" => Err(HandlerError::new("not allowed")),
        _ => Ok(()),
    });
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    io.on("forbidden", move || count.fetch_add(1, Ordering::SeqCst));
    io.on("allowed", || "yes");
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("421[\"forbidden\"]");
    ws.send("422[\"never\"]");
    ws.send("422[\"unknown\"]");
    ws.send("423[\"allowed\"]");
    assert_eq!(ws.text(), "433[\"yes\"]");
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    assert_eq!(
        *seen.lock().unwrap(),
        ["forbidden", "never", "unknown", "allowed"]
    );
}

#[test]
fn a_handler_that_fails_answers_what_was_decided() {
    let io = Server::new();
    for namespace in ["/", "/other"] {
        let space = io.of(namespace);
        space.on("error", || Err::<(), _>(HandlerError::new("broken")));
        space.on(
            "box",
            |text: String| -> Result<i64, Box<dyn std::error::Error>> { Ok(text.parse()?) },
        );
        space.on("panic", || -> i64 { panic!("on purpose") });
        space.on("number", |number: i64| number);
    }
    io.before_event(|_: &Socket, event: &Event| match event.name() {
        "refused" => Err(HandlerError::new("before")),
        _ => Ok(()),
    });
    io.of("*")
        .on_error(|_: &Socket, _: &Event, _: &HandlerError| Some("failed"));
    io.on_error(
        |_: &Socket, event: &Event, error: &HandlerError| match event.name() {
            "silent" => None,
            name => Some((name.to_owned(), error.to_string())),
        },
    );
    io.on("silent", || Err::<(), _>("nothing of it"));
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    for (sent, answer) in [
        ("420[\"error\"]", "430[\"error\",\"broken\"]"),
        (
            "421[\"box\",\"x\"]",
            "431[\"box\",\"invalid digit found in string\"]",
        ),
        ("422[\"panic\"]", "432[\"panic\",\"the handler panicked\"]"),
        (
            "423[\"number\",\"x\"]",
            "433[\"number\",\"argument 1 is not i64",
        ),
        ("424[\"refused\"]", "434[\"refused\",\"before\"]"),
        ("425[\"number\",7]", "435[7]"),
    ] {
        ws.send(sent);
        let text = ws.text();
        assert!(text.starts_with(answer), "{text}");
    }
    ws.send("426[\"silent\"]");
    ws.send("427[\"number\",8]");
    assert_eq!(ws.text(), "437[8]");
    ws.send("40/other,");
    assert!(ws.text().starts_with("40/other,"));
    ws.send("42/other,1[\"panic\"]");
    assert_eq!(ws.text(), "43/other,1[\"failed\"]");
}

#[test]
fn a_client_has_handlers_of_its_own_that_go_with_it() {
    let io = Server::new();
    let (held, is_dropped) = dropped();
    let held = Mutex::new(Some(held));
    io.on("who", || "everybody");
    io.on("begin", move |socket: &Socket, name: String| {
        let held = held.lock().unwrap().take();
        socket.on("who", move || {
            let _ = &held;
            name.clone()
        });
        socket.once("once", || "once");
    });
    io.on("end", |socket: &Socket| socket.off("who"));
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    let (mut other, _) = Ws::join(serving.local_addr(), "40");
    ws.send("420[\"begin\",\"Ada\"]");
    assert_eq!(ws.text(), "430[]");
    for (ws, answer) in [(&mut ws, "Ada"), (&mut other, "everybody")] {
        ws.send("421[\"who\"]");
        assert_eq!(ws.text(), format!("431[\"{answer}\"]"));
    }
    ws.send("422[\"once\"]");
    ws.send("423[\"once\"]");
    ws.send("424[\"who\"]");
    assert_eq!(ws.text(), "432[\"once\"]");
    assert_eq!(ws.text(), "434[\"Ada\"]");
    assert!(!is_dropped());
    drop(ws);
    eventually("the end of what it captured", is_dropped);
    other.send("42[\"begin\",\"Bob\"]");
    other.send("421[\"end\"]");
    other.send("422[\"who\"]");
    assert_eq!(other.text(), "431[]");
    assert_eq!(other.text(), "432[\"everybody\"]");
    io.off("who");
    other.send("423[\"who\"]");
    other.send("424[\"end\"]");
    assert_eq!(other.text(), "434[]");
}

#[test]
fn a_user_session_has_one_value_of_each_type() {
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Count(usize);
    let io = Server::new();
    io.on_connect(|socket: &Socket| {
        socket.save_session("Ada".to_owned());
        socket.save_session(7_u8);
        socket.save_session(8_u8);
    });
    let serving = serve(&io);
    let client = Client::new();
    client.connect(crate::common::url(&serving)).unwrap();
    let socket = io.sockets().remove(0);
    assert_eq!(socket.session::<String>().unwrap().as_str(), "Ada");
    assert_eq!(socket.session::<u8>().as_deref(), Some(&8));
    assert_eq!(socket.session::<u16>(), None);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    socket.update_session(|count: &mut Count| count.0 += 1);
                }
            });
        }
    });
    assert_eq!(socket.session::<Count>().as_deref(), Some(&Count(1_000)));
    client.disconnect();
    eventually("the end", || socket.session::<String>().is_none());
    socket.save_session("nobody would drop it".to_owned());
    assert_eq!(socket.session::<String>(), None);
}

#[test]
fn everybody_answers_and_what_is_volatile_is_for_one() {
    let io = Server::new();
    let serving = serve(&io);
    let clients: Vec<_> = (0..3)
        .map(|number| {
            let client = Client::new();
            client.on("number", move || number);
            client.connect(crate::common::url(&serving)).unwrap();
            client
        })
        .collect();
    let (sender, answers) = crossbeam_channel::unbounded();
    let callback = move |answer: Result<u64, Error>| sender.send(answer.unwrap()).unwrap();
    io.emit_with_ack("number", (), Duration::from_secs(10), callback)
        .unwrap();
    let mut heard: Vec<u64> = (0..3)
        .map(|_| answers.recv_timeout(PATIENCE).unwrap())
        .collect();
    heard.sort_unstable();
    assert_eq!(heard, [0, 1, 2]);
    let (sender, got) = crossbeam_channel::unbounded();
    for client in &clients {
        let sender = sender.clone();
        client.on("position", move |client: &Client, value: Value| {
            sender.send((client.sid(), value)).unwrap();
        });
    }
    let sid = clients[1].sid().unwrap();
    let socket = io.socket(&sid).unwrap();
    socket.volatile().emit("position", 1).unwrap();
    let (from, value) = got.recv_timeout(PATIENCE).unwrap();
    assert_eq!((from, value), (Some(sid), Value::from(1)));
    assert!(got.is_empty());
    clients[0].off("number");
    let gone = io.socket(&clients[0].sid().unwrap()).unwrap();
    let answer: Option<u64> = gone.call("number", (), PATIENCE).unwrap();
    assert_eq!(answer, None, "a client acknowledges what nobody handles");
}

#[test]
fn namespaces_are_let_in_by_what_a_function_says() {
    let io = Server::new();
    let workspaces = io.of_matching(|name: &str, auth: &Value| match name {
        "/workspace-panic" => panic!("on purpose"),
        _ => name.starts_with("/workspace-") && auth["key"].as_i64() == Some(7),
    });
    workspaces.before_connect(|socket: &Socket| !socket.namespace().name().ends_with("closed"));
    workspaces.on("say", |socket: &Socket, text: String| {
        socket.namespace().emit("said", text)
    });
    let second = io.of_matching(|name: &str, _: &Value| name.starts_with("/w"));
    second.on("which", || "second");
    io.of("/workspace-own").on("which", || "own");
    io.of("*").on("which", || "any");
    let serving = serve(&io);
    let join = |name: &str| Ws::join(serving.local_addr(), &format!("40{name},{{\"key\":7}}"));
    let (_, answer) = join("/other");
    assert_eq!(answer, "44/other,{\"message\":\"Invalid namespace\"}");
    for name in ["/workspace-panic", "/workspace-closed"] {
        let refused = "{\"message\":\"Connection rejected by server\"}";
        assert_eq!(join(name).1, format!("44{name},{refused}"));
    }
    let ask = |name: &str, ws: &mut Ws| {
        ws.send(&format!("42{name},1[\"which\"]"));
        ws.text()
    };
    for (name, answer) in [
        ("/workspace-own", "own"),
        ("/workspace-1", "any"),
        ("/w-x", "second"),
    ] {
        let (mut ws, _) = join(name);
        assert_eq!(ask(name, &mut ws), format!("43{name},1[\"{answer}\"]"));
    }
    let (mut one, _) = join("/workspace-1");
    let (mut other, _) = join("/workspace-2");
    one.send("42/workspace-1,[\"say\",\"a\"]");
    other.send("42/workspace-2,[\"say\",\"b\"]");
    assert_eq!(one.text(), "42/workspace-1,[\"said\",\"a\"]");
    assert_eq!(other.text(), "42/workspace-2,[\"said\",\"b\"]");
    let unheard = workspaces.emit("said", "to whom?");
    assert!(
        matches!(unheard, Err(Error::InvalidArgument(_))),
        "{unheard:?}"
    );
    // Handlers of its own open a namespace to everybody, and do not keep the pattern's from it.
    io.of("/workspace-1").on("own", || 1);
    let (mut third, _) = join("/workspace-1");
    third.send("42/workspace-1,[\"say\",\"c\"]");
    assert_eq!(third.text(), "42/workspace-1,[\"said\",\"c\"]");
    let (_, answer) = Ws::join(serving.local_addr(), "40/workspace-1,");
    assert!(answer.starts_with("40/workspace-1,{"), "{answer}");
    drop((one, other, third));
    eventually("no namespaces", || io.namespaces().is_empty());
}

#[test]
fn disconnect_handlers_take_what_they_like_and_return_what_they_like() {
    let io = Server::new();
    let (sender, gone) = crossbeam_channel::unbounded();
    let sent = sender.clone();
    io.on_disconnect(move |socket: &Socket| {
        sent.send(socket.session_id().len().to_string()).unwrap();
        socket.broadcast().emit("left", socket.sid())
    });
    let sent = sender.clone();
    io.of("/a").on_disconnect(move || sent.send("a".into()));
    io.of("/b")
        .on_disconnect(move |_: &Socket, reason: socketio::Reason| sender.send(reason.to_string()));
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    for name in ["/a", "/b"] {
        ws.send(&format!("40{name},"));
        assert!(ws.text().starts_with(&format!("40{name},")));
        ws.send(&format!("41{name},"));
    }
    ws.send("41");
    for expected in ["a", "client disconnect", "20"] {
        assert_eq!(gone.recv_timeout(PATIENCE).unwrap(), expected);
    }
}

#[test]
fn each_client_is_served_by_the_pattern_that_has_let_it_in() {
    let io = Server::new();
    let admins = io.of_matching(|_: &str, auth: &Value| auth["key"] == "secret");
    admins.on("wipe", || "wiped");
    io.of_matching(|_: &str, _: &Value| true)
        .on("wipe", || "not you");
    let serving = serve(&io);
    let ask = |auth: &str| {
        let (mut ws, _) = Ws::join(serving.local_addr(), &format!("40/room,{auth}"));
        ws.send("42/room,1[\"wipe\"]");
        (ws.text(), ws)
    };
    let (admin, _stays) = ask("{\"key\":\"secret\"}");
    assert_eq!(admin, "43/room,1[\"wiped\"]");
    assert_eq!(ask("{}").0, "43/room,1[\"not you\"]");
}

#[test]
fn refused_namespaces_make_room_for_others() {
    let io = Server::builder()
        .limits(socketio::Limits::default().namespaces(3))
        .build();
    io.of_matching(|name: &str, _: &Value| name.starts_with("/good"));
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    for number in 0..10 {
        ws.send(&format!("40/bad{number},"));
        assert!(ws.text().starts_with("44/bad"));
    }
    for number in 0..2 {
        ws.send(&format!("40/good{number},"));
        assert!(ws.text().starts_with("40/good"));
    }
    ws.send("40/good2,");
    assert_eq!(ws.text(), "1");
}

#[test]
fn events_that_overlap_have_a_bound_and_come_before_the_end() {
    let limits = socketio::Limits::default().inbox_bytes(20_000).workers(64);
    let io = Server::builder()
        .async_handlers(true)
        .limits(limits)
        .build();
    let (open, gate) = crossbeam_channel::bounded::<()>(0);
    let (started, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (starts, own) = (Arc::clone(&started), Arc::clone(&ended));
    io.on_connect(move |socket: &Socket| {
        let (starts, own, gate) = (Arc::clone(&starts), Arc::clone(&own), gate.clone());
        socket.on("own", move |_: String| {
            starts.fetch_add(1, Ordering::SeqCst);
            let _ = gate.recv();
            own.fetch_add(1, Ordering::SeqCst);
        });
    });
    io.on("own", |_: String| -> () {
        panic!("the client has one of its own")
    });
    let (sender, gone) = crossbeam_channel::unbounded();
    let before_the_end = Arc::clone(&ended);
    io.on_disconnect(move || sender.send(before_the_end.load(Ordering::SeqCst)));
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    let text = "x".repeat(4_000);
    for _ in 0..40 {
        ws.send(&format!("42[\"own\",\"{text}\"]"));
    }
    ws.send("41");
    // Four beside each other, and one more that keeps the rest waiting.
    eventually("five", || started.load(Ordering::SeqCst) == 5);
    assert!(gone.is_empty());
    drop(open);
    assert_eq!(gone.recv_timeout(PATIENCE).unwrap(), 40);
    assert_eq!(started.load(Ordering::SeqCst), 40);
}

#[test]
fn what_is_sent_is_told_for_each_client_that_gets_it() {
    let io = Server::new();
    let (sender, sent) = crossbeam_channel::unbounded();
    io.on_event_outgoing(move |socket: &Socket, event: &str, args: &socketio::Args| {
        let told = (socket.sid().to_owned(), event.to_owned(), args.to_vec());
        sender.send(told).expect("awaited");
    });
    io.on("me", |socket: &Socket| socket.emit("you", (1, "two")));
    let serving = serve(&io);
    let (mut one, _) = Ws::join(serving.local_addr(), "40");
    let (_two, _) = Ws::join(serving.local_addr(), "40");
    one.send("42[\"me\"]");
    let (sid, event, args) = sent.recv_timeout(PATIENCE).expect("told");
    assert!(io.socket(&sid).is_some());
    assert_eq!(
        (event.as_str(), args),
        ("you", vec![1.into(), "two".into()])
    );
    eventually("both are in", || io.sockets().len() == 2);
    io.emit("all", socketio::Binary::from([1])).expect("sent");
    for _ in 0..2 {
        let (_, event, args) = sent.recv_timeout(PATIENCE).expect("told");
        assert_eq!((event.as_str(), args.len()), ("all", 1));
        assert!(args[0].as_bytes().is_some());
    }
    assert!(sent.is_empty());
}

#[test]
fn a_client_is_asked_with_a_time_that_was_named_before() {
    let io = Server::new();
    io.on("ask", |socket: &Socket| -> Result<u8, socketio::Error> {
        socket.timeout(PATIENCE).call("what?", ())
    });
    // One that is still to be written compiles, and fails when it is called.
    io.on("later", || panic!("it is still to be written"));
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("421[\"ask\"]");
    let question = ws.text();
    let id: String = question[2..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    ws.send(&format!("43{id}[7]"));
    assert_eq!(ws.text(), "431[7]");
    ws.send("42[\"later\"]");
    ws.send("422[\"ask\"]");
    assert!(ws.text().ends_with("[\"what?\"]"), "it lives");
}
