//! What programs do with a server: whom events reach, who handles them, and what they remember.

use crate::common::{PATIENCE, Ws, eventually, serve, sid_of, url};
use socketio::{
    AckPayload, AckValue, Args, Binary, Client, Error, Event, HandlerError, Json, Limits, Next,
    Reason, Refused, Server, Service, ServiceEvents, Serving, Socket, Value,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Clients that have joined `/`, with their sids.
fn join(io: &Server, serving: &Serving, count: usize) -> Vec<(Ws, String)> {
    let before = io.sockets().len();
    let clients = (0..count).map(|_| {
        let (ws, answer) = Ws::join(serving.local_addr(), "40");
        let sid = sid_of(&answer);
        (ws, sid)
    });
    let clients = clients.collect();
    eventually("the clients", || io.sockets().len() == before + count);
    clients
}

#[test]
fn an_event_reaches_those_that_it_is_for() {
    let io = Server::new();
    let serving = serve(&io);
    let mut clients = join(&io, &serving, 4);
    let sids: Vec<_> = clients.iter().map(|(_, sid)| sid.clone()).collect();
    for (client, room) in [(0, "a"), (1, "a"), (1, "b"), (2, "b")] {
        io.enter_room(&sids[client], room).unwrap();
    }
    let (one, two) = (sids[0].as_str(), sids[1].as_str());
    io.emit("e", 0).unwrap();
    io.to("a").emit("e", 1).unwrap();
    io.to(["a", "b"]).emit("e", 2).unwrap();
    io.to("a").to("b").skip(two).emit("e", 3).unwrap();
    io.to(one).emit("e", 4).unwrap();
    io.skip([one, two]).emit("e", 5).unwrap();
    io.except("a").emit("e", 6).unwrap();
    io.except(["a", &sids[3]]).emit("e", 7).unwrap();
    io.to([]).emit("e", 8).unwrap();
    io.to("nobody").emit("e", 9).unwrap();
    io.local().to("b").emit("e", 10).unwrap();
    io.socket(one)
        .unwrap()
        .broadcast()
        .to("a")
        .emit("e", 11)
        .unwrap();
    io.socket(two).unwrap().to("a").emit("e", 12).unwrap();
    io.of("/other").emit("e", 13).unwrap();
    io.emit("end", ()).unwrap();
    let expected: [&[i32]; 4] = [
        &[0, 1, 2, 3, 4, 12],
        &[0, 1, 2, 10, 11],
        &[0, 2, 3, 5, 6, 7, 10],
        &[0, 5, 6],
    ];
    for ((ws, _), expected) in clients.iter_mut().zip(expected) {
        for number in expected {
            assert_eq!(ws.text(), format!("42[\"e\",{number}]"));
        }
        assert_eq!(ws.text(), "42[\"end\"]");
    }
    assert_eq!(io.to("b").sockets().len(), 2);
    io.to("b").disconnect();
    eventually("their end", || io.sockets().len() == 2);
}

#[test]
fn data_becomes_arguments_as_in_python() {
    #[derive(serde::Serialize)]
    struct Point {
        x: i32,
        bytes: Binary,
    }
    let io = Server::new();
    let serving = serve(&io);
    let (mut ws, sid) = join(&io, &serving, 1).remove(0);
    let socket = io.socket(&sid).unwrap();
    socket.emit("e", ()).unwrap();
    socket.emit("e", "x").unwrap();
    socket.emit("e", (1, "two", [3.5])).unwrap();
    socket.emit("e", vec![1, 2]).unwrap();
    socket.emit("e", None::<u8>).unwrap();
    socket.emit("e", ((),)).unwrap();
    socket.emit("e", Args(vec![1.into(), Value::Null])).unwrap();
    socket.send("hello").unwrap();
    socket
        .emit(
            "e",
            Point {
                x: 1,
                bytes: Binary::from(vec![7]),
            },
        )
        .unwrap();
    let expected = [
        "[\"e\"]",
        "[\"e\",\"x\"]",
        "[\"e\",1,\"two\",[3.5]]",
        "[\"e\",[1,2]]",
        "[\"e\",null]",
        "[\"e\",null]",
        "[\"e\",1,null]",
        "[\"message\",\"hello\"]",
    ];
    for expected in expected {
        assert_eq!(ws.text(), format!("42{expected}"));
    }
    assert_eq!(
        ws.text(),
        "451-[\"e\",{\"x\":1,\"bytes\":{\"_placeholder\":true,\"num\":0}}]"
    );
    assert_eq!(ws.bytes(), [7]);
    assert!(matches!(
        socket.emit("connect", ()),
        Err(Error::InvalidArgument(_))
    ));
    assert!(matches!(
        socket.emit("e", BTreeMap::from([((1, 2), 3)])),
        Err(Error::Encode(_))
    ));
    let many: Vec<_> = (0..11).map(|number| Binary::from(&[number])).collect();
    assert!(matches!(
        socket.emit("e", many),
        Err(Error::InvalidArgument(_))
    ));
}

#[test]
fn what_a_handler_returns_is_the_acknowledgement() {
    #[derive(serde::Serialize)]
    struct Receipt {
        id: u32,
    }
    impl AckValue for Receipt {}
    let io = Server::new();
    io.on("nothing", || ());
    io.on("number", || 7);
    io.on("tuple", || (1, "two"));
    io.on("list", || vec![1, 2]);
    io.on("array", || [1, 2]);
    io.on("deque", || VecDeque::from([1, 2]));
    io.on("set", || BTreeSet::from([1, 2]));
    io.on("hash set", || HashSet::from([1]));
    io.on("shared", || Arc::new("text".to_owned()));
    io.on("either", || Cow::Borrowed("text"));
    io.on("slice", || -> &'static [u8] { &[1, 2] });
    io.on("map", || {
        serde_json::Map::from_iter([("a".to_owned(), 1.into())])
    });
    io.on(
        "boxed error",
        || -> Result<(), Box<dyn std::error::Error>> { Err("no".into()) },
    );
    io.on("none", || None::<u8>);
    io.on("own", || Receipt { id: 1 });
    io.on("json", || Json(BTreeMap::from([("a", 1)])));
    io.on("bytes", || Binary::from(vec![1]));
    io.on("result", || -> Result<u8, HandlerError> {
        Ok("7".parse()?)
    });
    io.on(
        "nested",
        || -> Result<Result<(), HandlerError>, HandlerError> { Ok(Ok(())) },
    );
    io.on(
        "eight",
        |a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: Option<u8>| (a, b, c, d, e, f, g, h),
    );
    io.on("socket", |socket: &Socket, name: String| {
        format!("{} {name}", socket.namespace())
    });
    io.on("both", |socket: &Socket, event: &Event| {
        socket.sid() == event.sid()
    });
    let serving = serve(&io);
    let (mut ws, _) = join(&io, &serving, 1).remove(0);
    for (event, answer) in [
        ("\"nothing\"", "[]"),
        ("\"number\"", "[7]"),
        ("\"tuple\"", "[1,\"two\"]"),
        ("\"list\"", "[[1,2]]"),
        ("\"array\"", "[1,2]"),
        ("\"deque\"", "[[1,2]]"),
        ("\"set\"", "[[1,2]]"),
        ("\"hash set\"", "[[1]]"),
        ("\"shared\"", "[\"text\"]"),
        ("\"either\"", "[\"text\"]"),
        ("\"slice\"", "[[1,2]]"),
        ("\"map\"", "[{\"a\":1}]"),
        ("\"none\"", "[null]"),
        ("\"own\"", "[{\"id\":1}]"),
        ("\"json\"", "[{\"a\":1}]"),
        ("\"result\"", "[7]"),
        ("\"nested\"", "[]"),
        ("\"eight\",1,2,3,4,5,6,7", "[1,2,3,4,5,6,7,null]"),
        ("\"eight\",1,2,3,4,5,6,7,8,9", "[1,2,3,4,5,6,7,8]"),
        ("\"socket\",\"x\"", "[\"/ x\"]"),
        ("\"both\"", "[true]"),
    ] {
        ws.send(&format!("421[{event}]"));
        assert_eq!(ws.text(), format!("431{answer}"), "{event}");
    }
    ws.send("421[\"bytes\"]");
    assert_eq!(ws.text(), "461-1[{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(ws.bytes(), [1]);
}

struct Named(&'static str);

impl Service for Named {
    fn events(on: &mut ServiceEvents<Self>) {
        on.on("known", Self::known)
            .on("service", |own: &Named| format!("{} service", own.0));
    }

    fn on_connect(&self, socket: &Socket, auth: Value) -> Result<(), Refused> {
        socket.emit("auth", auth).map_err(Refused::from)
    }

    fn event(&self, _: &Socket, event: &Event, next: Next<'_>) -> Result<AckPayload, HandlerError> {
        if event.name() == "refused" {
            return Ok(AckPayload::new("not here")?);
        }
        next.call()
    }
}

impl Named {
    fn known(&self, socket: &Socket, text: String) -> String {
        format!("{} known {} {text}", self.0, socket.namespace())
    }
}

#[test]
fn handlers_are_found_in_python_s_order() {
    let io = Server::builder().namespaces("*").build();
    let serving = serve(&io);
    let ask = |namespace: &str, event: &str| {
        let (mut ws, _) = Ws::session(serving.local_addr());
        ws.send(&format!("40{namespace},"));
        while !ws.text().starts_with(&format!("40{namespace},")) {}
        ws.send(&format!("42{namespace},1[\"{event}\",\"x\"]"));
        ws.send(&format!("42{namespace},2[\"end\"]"));
        loop {
            let text = ws.text();
            let answer = text
                .trim_start_matches(&format!("43{namespace},"))
                .to_owned();
            if answer != text {
                break answer;
            }
        }
    };
    let (a, any) = (io.of("/a"), io.of("*"));
    any.on("end", || ());
    assert_eq!(ask("/a", "known"), "2[]");
    any.register(Named("*"));
    assert_eq!(ask("/a", "known"), "1[\"* known /a x\"]");
    assert_eq!(ask("/a", "unknown"), "1[]");
    assert_eq!(ask("/a", "refused"), "1[\"not here\"]");
    a.register(Named("/a"));
    assert_eq!(ask("/a", "known"), "1[\"/a known /a x\"]");
    assert_eq!(ask("/a", "service"), "1[\"/a service\"]");
    assert_eq!(ask("/b", "service"), "1[\"* service\"]");
    any.on_any(|event: &Event| format!("*.* {} {}", event.namespace(), event.name()));
    assert_eq!(ask("/a", "known"), "1[\"*.* /a known\"]");
    any.on("known", || "*.known");
    assert_eq!(ask("/a", "known"), "1[\"*.known\"]");
    a.on_any(|socket: &Socket, event: &Event| {
        format!("a.* {} {}", socket.namespace(), event.args().unwrap().len())
    });
    a.on("end", || ());
    assert_eq!(ask("/a", "known"), "1[\"a.* /a 1\"]");
    a.on("known", || "a.known");
    assert_eq!(ask("/a", "known"), "1[\"a.known\"]");
    assert_eq!(ask("/b", "known"), "1[\"*.known\"]");
}

#[test]
fn namespaces_exist_by_their_handlers_or_by_the_option() {
    let io = Server::builder().namespaces(["/listed"]).build();
    io.of("handled").on("x", || ());
    io.of("*").on("x", || ());
    let serving = serve(&io);
    for (name, exists) in [
        ("/listed", true),
        ("/handled", true),
        ("/", false),
        ("/other", false),
    ] {
        let (_ws, answer) = Ws::join(serving.local_addr(), &format!("40{name},"));
        assert_eq!(!answer.contains("Invalid namespace"), exists, "{name}");
    }
}

#[test]
fn sessions_rooms_and_requests_are_kept_until_the_client_has_gone() {
    let io = Server::new();
    let (last, when_gone) = crossbeam_channel::bounded(1);
    io.on_disconnect(move |socket: &Socket, reason: Reason| {
        let name = socket.session::<String>().map(|name| name.to_string());
        last.send((name, socket.rooms().len(), reason)).unwrap();
    });
    let serving = serve(&io);
    let (mut ws, sid) = join(&io, &serving, 1).remove(0);
    let socket = io.socket(&sid).unwrap();
    assert_eq!(socket.session::<String>(), None);
    socket.save_session("Ada".to_owned());
    assert_eq!(
        io.session::<String>(&sid).as_deref().map(String::as_str),
        Some("Ada")
    );
    assert_eq!(io.session::<u8>(&sid), None);
    socket.enter_room("room").unwrap();
    assert_eq!(io.rooms(&sid), [sid.as_str(), "room"]);
    assert!(matches!(
        socket.leave_room(&sid),
        Err(Error::InvalidArgument(_))
    ));
    assert!(matches!(
        io.close_room(&sid),
        Err(Error::InvalidArgument(_))
    ));
    assert!(matches!(
        io.enter_room("nobody", "room"),
        Err(Error::Disconnected)
    ));
    assert!(io.leave_room("nobody", "room").is_ok());
    io.close_room("room").unwrap();
    assert_eq!(socket.rooms(), [sid.as_str()]);
    socket.enter_room("other").unwrap();
    assert_eq!(
        io.transport(&sid),
        Some(socketio::engineio::Transport::WebSocket)
    );
    io.disconnect(&sid);
    assert_eq!(ws.text(), "41");
    assert_eq!(
        when_gone.recv_timeout(PATIENCE).unwrap(),
        (Some("Ada".into()), 2, Reason::ServerDisconnect)
    );
    eventually("the last trace", || {
        io.rooms(&sid).is_empty() && io.namespaces().is_empty()
    });
    assert!(matches!(socket.emit("e", ()), Err(Error::Disconnected)));
    assert_eq!(socket.session::<String>(), None);
    // Packets that crossed with the DISCONNECT harm nobody, and the client may come again.
    ws.send("42[\"late\"]");
    ws.send("40");
    assert!(ws.text().starts_with("40{"));
}

#[test]
fn a_client_can_be_disconnected_from_everything() {
    let io = Server::builder().namespaces(["/", "/other"]).build();
    let serving = serve(&io);
    let (mut ws, sid) = join(&io, &serving, 1).remove(0);
    ws.send("40/other,");
    assert!(ws.text().starts_with("40/other,"));
    io.socket(&sid).unwrap().disconnect_all();
    assert_eq!(ws.until_closed().0, ["41", "41/other,", "1"]);
    eventually("its end", || io.namespaces().is_empty());
}

#[test]
fn times_without_end_are_no_panic() {
    let limits = Limits::default()
        .connect_timeout(Duration::MAX)
        .head_timeout(Duration::MAX);
    let io = Server::builder()
        .limits(limits)
        .ping_interval(Duration::MAX)
        .build();
    let serving = serve(&io);
    let (mut ws, sid) = join(&io, &serving, 1).remove(0);
    let socket = io.socket(&sid).unwrap();
    let nothing = |_: Result<Value, Error>| ();
    socket
        .emit_with_ack("q", (), Duration::MAX, nothing)
        .unwrap();
    assert!(ws.text().ends_with("[\"q\"]"));
}

#[test]
fn disconnecting_in_the_connect_handler_comes_after_the_answer() {
    let io = Server::new();
    io.on_connect(|socket: &Socket| socket.disconnect());
    let serving = serve(&io);
    let (mut ws, answer) = Ws::join(serving.local_addr(), "40");
    assert!(answer.starts_with("40{"));
    assert_eq!(ws.text(), "41");
    eventually("its end", || io.namespaces().is_empty());
}

#[test]
fn volatile_events_are_dropped_for_a_poller_that_is_away() {
    let io = Server::new();
    let serving = serve(&io);
    let mut http = crate::common::Http::connect(serving.local_addr());
    let session = crate::common::polling_session(&mut http);
    http.post(&session, "40");
    assert!(http.get(&session).text().starts_with("40"));
    io.volatile().emit("lost", ()).unwrap();
    io.emit("kept", ()).unwrap();
    assert_eq!(http.get(&session).text(), "42[\"kept\"]");
    http.write(&format!("GET {session} HTTP/1.1\r\nHost: x\r\n\r\n"));
    http.stream().set_nodelay(true).unwrap();
    let mut http = Some(http);
    // Sent until the poll is there.
    let received = std::thread::spawn(move || http.take().map(|mut http| http.read(false).text()));
    eventually("a volatile event's arrival", || {
        io.volatile().emit("taken", ()).unwrap();
        received.is_finished()
    });
    assert_eq!(received.join().unwrap().as_deref(), Some("42[\"taken\"]"));
}

#[test]
fn a_broadcast_s_answers_come_one_by_one() {
    let io = Server::new();
    let serving = serve(&io);
    let mut clients = join(&io, &serving, 3);
    let answers = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&answers);
    io.skip(clients[0].1.as_str())
        .emit_with_ack("q", (), PATIENCE, move |answer: Result<u8, Error>| {
            seen.lock().unwrap().push(answer.unwrap());
        })
        .unwrap();
    for (number, (ws, _)) in clients.iter_mut().enumerate().skip(1) {
        let id = ws.text()[2..].trim_end_matches("[\"q\"]").to_owned();
        ws.send(&format!("43{id}[{number}]"));
    }
    eventually("both answers", || answers.lock().unwrap().len() == 2);
    answers.lock().unwrap().sort_unstable();
    assert_eq!(*answers.lock().unwrap(), [1, 2]);
    let everybody = io
        .to(clients[0].1.as_str())
        .call::<u8>("q", (), Duration::from_millis(50));
    assert!(matches!(everybody, Err(Error::Timeout)));
}

#[test]
#[should_panic(expected = "use on_connect")]
fn reserved_names_name_the_right_method() {
    Server::new().on("connect", || ());
}

/// Handles go from thread to thread.
#[test]
fn handles_are_send_and_sync() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<socketio::Server>();
    is_send_and_sync::<socketio::Socket>();
    is_send_and_sync::<socketio::Namespace>();
    is_send_and_sync::<socketio::Serving>();
    is_send_and_sync::<socketio::Event>();
    is_send_and_sync::<socketio::Ack>();
    is_send_and_sync::<socketio::Client>();
    is_send_and_sync::<socketio::SimpleClient>();
    is_send_and_sync::<socketio::Error>();
    is_send_and_sync::<socketio::manager::PubSubManager>();
    is_send_and_sync::<socketio::engineio::Server>();
    is_send_and_sync::<socketio::engineio::Client>();
    is_send_and_sync::<socketio::engineio::Session>();
    is_send_and_sync::<socketio::BroadcastOperator>();
    is_send_and_sync::<socketio::TimedSocket>();
    is_send_and_sync::<socketio::ServerBuilder>();
    is_send_and_sync::<socketio::ClientBuilder>();
    is_send_and_sync::<socketio::ConnectOptions>();
    is_send_and_sync::<socketio::CookieJar>();
    is_send_and_sync::<socketio::IncomingRequests>();
    is_send_and_sync::<socketio::Metrics>();
    is_send_and_sync::<socketio::Parser>();
    is_send_and_sync::<socketio::Value>();
    is_send_and_sync::<socketio::Limits>();
    is_send_and_sync::<socketio::Refused>();
    is_send_and_sync::<socketio::HandlerError>();
}

#[test]
fn rooms_are_named_in_whatever_a_program_has_them() {
    let io = Server::new();
    let serving = serve(&io);
    let (mut ws, sid) = join(&io, &serving, 1).remove(0);
    io.enter_room(&sid, "a").unwrap();
    let names = || ["b".to_owned(), "a".to_owned()];
    let rooms = [
        io.to("a"),
        io.to(String::from("a")),
        io.to(Arc::<str>::from("a")),
        io.to(Box::<str>::from("a")),
        io.to(Cow::Borrowed("a")),
        io.to(Vec::from(names())),
        io.to(&names()),
        io.to(&names()[..]),
        io.to(VecDeque::from(names())),
        io.to(BTreeSet::from(names())),
        io.to(HashSet::from(names())),
        io.to(["b", "a"]),
    ];
    for (number, room) in rooms.iter().enumerate() {
        room.emit("e", number).unwrap();
        assert_eq!(ws.text(), format!("42[\"e\",{number}]"));
    }
    io.to([]).emit("e", "nobody").unwrap();
    io.emit("end", ()).unwrap();
    assert_eq!(ws.text(), "42[\"end\"]");
}

#[test]
fn callbacks_ask_for_as_much_as_they_want() {
    let io = Server::new();
    let serving = serve(&io);
    let client = Client::new();
    client.on("ask", || 7);
    client.connect(url(&serving)).unwrap();
    let sid = client.sid().unwrap();
    io.on("ask", || ("any", "type"));
    let (sender, next) = crossbeam_channel::unbounded();
    let next = || next.recv_timeout(PATIENCE).unwrap();
    let say = |what: &'static str| {
        let sender = sender.clone();
        move || sender.send(what.to_owned()).unwrap()
    };
    let answered = sender.clone();
    let answered = move |answer: Result<i32, Error>| answered.send(format!("{answer:?}")).unwrap();
    let named = sender.clone();
    let named = move |sid: Option<&str>, answer: Result<i32, Error>| {
        named.send(format!("{sid:?} {answer:?}")).unwrap();
    };
    io.emit_with_ack("ask", (), PATIENCE, say("nothing"))
        .unwrap();
    assert_eq!(next(), "nothing");
    io.emit_with_ack("ask", (), PATIENCE, answered.clone())
        .unwrap();
    assert_eq!(next(), "Ok(7)");
    io.of("/")
        .emit_with_ack("ask", (), PATIENCE, named.clone())
        .unwrap();
    assert_eq!(next(), format!("Some({sid:?}) Ok(7)"));
    io.to(&sid)
        .emit_with_ack("ask", (), PATIENCE, named)
        .unwrap();
    assert_eq!(next(), format!("Some({sid:?}) Ok(7)"));
    let socket = io.socket(&sid).unwrap();
    socket
        .emit_with_ack("ask", (), PATIENCE, say("one"))
        .unwrap();
    assert_eq!(next(), "one");
    socket
        .timeout(PATIENCE)
        .emit_with_ack("ask", (), answered)
        .unwrap();
    assert_eq!(next(), "Ok(7)");
    client
        .emit_with_ack("ask", (), PATIENCE, say("whatever it is"))
        .unwrap();
    assert_eq!(next(), "whatever it is");
}

#[test]
fn a_user_session_is_changed_by_sid() {
    let io = Server::new();
    let serving = serve(&io);
    let (_ws, sid) = join(&io, &serving, 1).remove(0);
    for visits in 1..=2 {
        let now = io.update_session(&sid, |it: &mut u32| *it += 1).unwrap();
        assert_eq!(*now, visits);
    }
    assert_eq!(io.of("/").session::<u32>(&sid).as_deref(), Some(&2));
    let found = io.session::<String>(&sid);
    assert!(found.is_none());
    let nobody = io.update_session("nobody", |_: &mut u32| ());
    assert!(matches!(nobody, Err(Error::Disconnected)));
}
