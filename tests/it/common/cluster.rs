//! What servers that share a manager owe each other, whatever the broker.

use super::brokers::Process;
use super::{eventually, python, serve, url};
use crossbeam_channel::unbounded;
use socketio::manager::{ManagerState, PubSubManager};
use socketio::{Binary, Bytes, Client, Error, Event, Server, Serving, SimpleClient, Socket, Value};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

pub(crate) const SOON: Duration = Duration::from_secs(40);

/// Makes managers of one cluster.
pub(crate) type Make<'a> = &'a dyn Fn() -> PubSubManager;

/// A server of a cluster, and a client of it.
pub(crate) struct Node {
    pub(crate) io: Server,
    pub(crate) manager: PubSubManager,
    pub(crate) serving: Serving,
    pub(crate) client: SimpleClient,
    pub(crate) sid: String,
}

pub(crate) fn node(make: Make<'_>) -> Node {
    let manager = make();
    let io = Server::builder().manager(manager.clone()).build();
    io.on("room", |socket: &Socket, room: String| {
        socket.enter_room(&room)
    });
    let serving = serve(&io);
    let client = SimpleClient::connect(url(&serving)).unwrap();
    let sid = client.sid().unwrap();
    connected(&manager);
    Node {
        io,
        manager,
        serving,
        client,
        sid,
    }
}

/// A program that is no server.
pub(crate) fn emitter(make: Make<'_>) -> Server {
    Server::builder().manager(make().write_only()).build()
}

pub(crate) fn connected(manager: &PubSubManager) {
    eventually("the broker", || manager.state() == ManagerState::Connected);
}

/// Emits an event on one server until a client of another one hears it: what is published before a
/// listener has learnt of its loss is lost.
pub(crate) fn heard(from: &Node, by: &Node, event: &str) {
    eventually(event, || {
        from.io.emit(event, ()).unwrap();
        let moment = Duration::from_millis(500);
        let mut received = std::iter::from_fn(|| by.client.receive(moment).ok());
        received.any(|received| received.name() == event)
    });
}

pub(crate) fn received(client: &SimpleClient) -> String {
    let event = client.receive(SOON).unwrap();
    let args = event.args().unwrap();
    let args: Vec<_> = args
        .iter()
        .map(|value| match value {
            Value::Binary(bytes) => format!("{:?}", bytes.0),
            Value::String(text) => text.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    format!("{} {}", event.name(), args.join(","))
}

fn bytes() -> Binary {
    Binary(Bytes::from_static(b"\0\xff"))
}

/// Everything below.
pub(crate) fn all(make: Make<'_>) {
    every_form_of_data(make);
    rooms(make);
    answers(make);
    recipients(make);
    thousands_in_order(make);
}

pub(crate) fn every_form_of_data(make: Make<'_>) {
    let (one, other, emitter) = (node(make), node(make), emitter(make));
    for io in [&one.io, &other.io, &emitter] {
        io.emit("none", ()).unwrap();
        io.emit("one", "x").unwrap();
        io.emit("several", ("x", 1, "y")).unwrap();
        io.emit("list", vec!["x", "y"]).unwrap();
        io.emit("empty", Vec::<String>::new()).unwrap();
        io.emit("lists", (vec![1, 2], vec![vec![3]])).unwrap();
        io.emit("bytes", ("x", bytes(), vec![bytes()])).unwrap();
        for node in [&one, &other] {
            assert_eq!(received(&node.client), "none ");
            assert_eq!(received(&node.client), "one x");
            assert!(received(&node.client).starts_with("several x,"));
            let event = node.client.receive(SOON).unwrap();
            assert_eq!(event.data::<Vec<String>>().unwrap(), ["x", "y"]);
            let event = node.client.receive(SOON).unwrap();
            assert_eq!(event.data::<Vec<String>>().unwrap(), [""; 0]);
            let event = node.client.receive(SOON).unwrap();
            let lists: (Vec<i64>, Vec<Vec<i64>>) = event.data().unwrap();
            assert_eq!(lists, (vec![1, 2], vec![vec![3]]));
            let event = node.client.receive(SOON).unwrap();
            let data: (String, Binary, Vec<Binary>) = event.data().unwrap();
            assert_eq!(data, ("x".into(), bytes(), vec![bytes()]));
        }
    }
}

pub(crate) fn rooms(make: Make<'_>) {
    let (one, other, emitter) = (node(make), node(make), emitter(make));
    for node in [&one, &other] {
        node.client.call::<()>("room", "blue", SOON).unwrap();
    }
    let blue = || one.io.to("blue");
    blue().emit("blue", ()).unwrap();
    blue().skip(&other.sid).emit("not you", ()).unwrap();
    blue().except(&other.sid).emit("nor you", ()).unwrap();
    one.io.to(&other.sid).emit("only you", ()).unwrap();
    one.io.to(["green", "blue"]).emit("any", ()).unwrap();
    one.io.to([""; 0]).emit("nobody", ()).unwrap();
    one.io.local().emit("here", ()).unwrap();
    blue().emit("end", ()).unwrap();
    for expected in ["blue ", "only you ", "any ", "end "] {
        assert_eq!(received(&other.client), expected);
    }
    for expected in ["blue ", "not you ", "nor you ", "any ", "here ", "end "] {
        assert_eq!(received(&one.client), expected);
    }
    // Rooms of a client that lives elsewhere.
    let is_in = |room: &str| other.io.rooms(&other.sid).contains(&room.into());
    for io in [&one.io, &emitter] {
        io.enter_room(&other.sid, "far").unwrap();
        eventually("the room", || is_in("far"));
        io.leave_room(&other.sid, "far").unwrap();
        eventually("no room", || !is_in("far"));
    }
    emitter.enter_room(&other.sid, "far").unwrap();
    eventually("the room", || is_in("far"));
    emitter.close_room("far").unwrap();
    eventually("the end of the room", || !is_in("far"));
    one.io.close_room("blue").unwrap();
    eventually("the end of the room", || !is_in("blue"));
    assert_eq!(one.io.rooms(&one.sid).len(), 1);
    one.io.disconnect(&other.sid);
    let gone = other.client.receive(SOON);
    assert!(matches!(gone, Err(Error::Disconnected)));
    emitter.disconnect(&one.sid);
    let gone = one.client.receive(SOON);
    assert!(matches!(gone, Err(Error::Disconnected)));
}

pub(crate) fn answers(make: Make<'_>) {
    let (one, other) = (node(make), node(make));
    let clients = [&one, &other].map(|node| {
        let far = Client::new();
        far.on("sum", |a: i64, b: i64| a + b);
        far.on("bytes", || (bytes(), "x"));
        far.on("never", |event: &Event| drop(event.take_ack()));
        far.connect(url(&node.serving)).unwrap();
        far
    });
    let moment = Duration::from_millis(50);
    for (io, far) in [(&other.io, &clients[0]), (&one.io, &clients[1])] {
        let sid = far.sid().unwrap();
        assert_eq!(io.call::<i64>(&sid, "sum", (2, 3), SOON).unwrap(), 5);
        let (answer, text): (Binary, String) = io.call(&sid, "bytes", (), SOON).unwrap();
        assert_eq!((answer, &*text), (bytes(), "x"));
        let late = io.call::<i64>(&sid, "never", (), moment);
        assert!(matches!(late, Err(Error::Timeout)));
        let (sender, answers) = unbounded();
        let callback = move |answer: Result<i64, Error>| {
            let _ = sender.send(answer.map_err(|it| it.to_string()));
        };
        let to = || io.to(&sid);
        to().emit_with_ack("sum", (1, 1), SOON, callback.clone())
            .unwrap();
        assert_eq!(answers.recv_timeout(SOON), Ok(Ok(2)));
        to().emit_with_ack("never", (), moment, callback).unwrap();
        let late = answers.recv_timeout(SOON);
        assert!(late.unwrap().is_err(), "it is always called");
    }
    let sid = clients[0].sid().unwrap();
    let refused = emitter(make).call::<i64>(&sid, "sum", (1, 1), SOON);
    assert!(matches!(refused, Err(Error::InvalidArgument(why)) if why.contains("write-only")));
}

pub(crate) fn thousands_in_order(make: Make<'_>) {
    const COUNT: i64 = 10_000;
    let (one, other) = (node(make), node(make));
    let emitter = emitter(make);
    for number in 0..COUNT {
        emitter.emit("number", (number, bytes())).unwrap();
    }
    // It ends once all of it is published.
    drop(emitter);
    for node in [&one, &other] {
        for number in 0..COUNT {
            let event = node.client.receive(SOON).unwrap();
            assert_eq!(event.data::<(i64, Binary)>().unwrap(), (number, bytes()));
        }
    }
}

/// Each recipient of a question is reported once, whatever becomes of it, and a call ends with its
/// client.
pub(crate) fn recipients(make: Make<'_>) {
    let (one, other) = (node(make), node(make));
    let mut members: Vec<_> = [&one, &other, &other, &other]
        .iter()
        .map(|node| {
            let client = Client::new();
            client.on("ask", || "here");
            client.connect(url(&node.serving)).unwrap();
            client.call::<()>("room", "blue", SOON).unwrap();
            client
        })
        .collect();
    // One that never answers, and one that goes.
    let sids: Vec<_> = members.iter().map(|it| it.sid().unwrap()).collect();
    members[2].on("ask", |event: &Event| drop(event.take_ack()));
    let leaving = members[3].clone();
    members[3].on("ask", move |event: &Event| {
        drop(event.take_ack());
        leaving.disconnect();
    });
    let (sender, answers) = unbounded();
    let callback = move |sid: Option<&str>, answer: Result<String, Error>| {
        let _ = sender.send((sid.map(str::to_owned), answer));
    };
    let second = Duration::from_secs(1);
    let room = one.io.to(["blue", "nobody"]);
    room.emit_with_ack("ask", (), second, callback).unwrap();
    let mut reported = [0; 4];
    for _ in 0..4 {
        let (sid, answer) = answers.recv_timeout(SOON).unwrap();
        let index = sids.iter().position(|it| Some(it) == sid.as_ref()).unwrap();
        reported[index] += 1;
        match index {
            0 | 1 => assert_eq!(answer.unwrap(), "here"),
            2 => assert!(matches!(answer, Err(Error::Timeout)), "{answer:?}"),
            _ => assert!(matches!(answer, Err(Error::Disconnected)), "{answer:?}"),
        }
    }
    assert_eq!(reported, [1; 4]);
    assert!(answers.recv_timeout(second * 2).is_err(), "nobody else");
    let (gone, hour) = (members.remove(1), Duration::from_secs(3_600));
    let leaving = gone.clone();
    gone.on("leave", move |event: &Event| {
        drop(event.take_ack());
        leaving.disconnect();
    });
    let gone = one.io.call::<()>(&sids[1], "leave", (), hour);
    assert!(matches!(gone, Err(Error::Disconnected)), "{gone:?}");
}

/// Callbacks come in time, with an error, while a broker hangs.
pub(crate) fn callbacks_in_time(make: Make<'_>, hang: &dyn Fn(bool)) {
    let (one, other) = (node(make), node(make));
    hang(true);
    let (sender, answers) = unbounded();
    for to in [other.sid.as_str(), "a room"] {
        let sender = sender.clone();
        let callback = move |answer: Result<(), Error>| {
            let _ = sender.send(answer.map_err(|it| it.to_string()));
        };
        let moment = Duration::from_millis(50);
        let room = one.io.to(to);
        room.emit_with_ack("ask", (), moment, callback).unwrap();
    }
    for _ in 0..2 {
        let late = Err(Error::Timeout.to_string());
        assert_eq!(answers.recv_timeout(SOON), Ok(late));
    }
    hang(false);
    assert!(answers.is_empty(), "each once");
}

/// Starts a server of python-socketio in the cluster of a broker; returns its port too. None where
/// python is not there.
pub(crate) fn python_server(mode: &str, url_of_broker: &str) -> Option<(Process, String)> {
    let args = [mode, "0", "25", "20", url_of_broker];
    let mut command = python("socketio_server.py", &args)?;
    let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Process::start(command);
    let mut line = String::new();
    let mut stdout = BufReader::new(server.0.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("a line");
    let port = line.trim().rsplit(':').next().expect("a port").to_owned();
    Some((server, port))
}

/// A server of python-socketio as the other one, threading and asyncio.
pub(crate) fn with_python(make: Make<'_>, url_of_broker: &str) {
    for mode in ["threading", "asgi"] {
        let Some((_server, port)) = python_server(mode, url_of_broker) else {
            return;
        };
        let (ours, emitter) = (node(make), emitter(make));
        let theirs = Client::new();
        theirs.on("sum", |a: i64, b: i64| a + b);
        let (sender, events) = unbounded();
        theirs.on_any(move |event: &Event| {
            let args: Vec<_> = event
                .args()
                .unwrap()
                .iter()
                .map(|it| format!("{it:?}"))
                .collect();
            let _ = sender.send(format!("{} {}", event.name(), args.join(" ")));
        });
        theirs.connect(format!("http://127.0.0.1:{port}")).unwrap();
        let sid = theirs.sid().unwrap();
        // python's server listens from its first client on: until then, nobody hears.
        eventually("python's subscription", || {
            ours.io.to(&sid).emit("ready", ()).unwrap();
            events.recv_timeout(Duration::from_millis(100)).is_ok()
        });
        ours.io.to(&sid).emit("begin", ()).unwrap();
        while events.recv_timeout(SOON).unwrap() != "begin " {}

        // Ours to theirs: the forms of data as a client of python's own server gets them.
        for io in [&ours.io, &emitter] {
            io.emit("none", ()).unwrap();
            io.emit("one", "x").unwrap();
            io.emit("several", ("x", true)).unwrap();
            io.emit("bytes", ("x", bytes(), vec![bytes()])).unwrap();
            let expected = |value: &[Value]| {
                let args: Vec<_> = value.iter().map(|it| format!("{it:?}")).collect();
                args.join(" ")
            };
            let (text, data) = (Value::String("x".into()), || Value::Binary(bytes()));
            for (name, args) in [
                ("none", vec![]),
                ("one", vec![text.clone()]),
                ("several", vec![text.clone(), Value::Bool(true)]),
                ("bytes", vec![text, data(), Value::Array(vec![data()])]),
            ] {
                let event = events.recv_timeout(SOON).unwrap();
                assert_eq!(event, format!("{name} {}", expected(&args)), "{mode}");
            }
        }
        ours.io.enter_room(&sid, "blue").unwrap();
        ours.io.to("blue").emit("in", ()).unwrap();
        assert_eq!(events.recv_timeout(SOON).unwrap(), "in ");
        ours.io
            .to(["green", "blue"])
            .skip(&sid)
            .emit("skipped", ())
            .unwrap();
        ours.io.to(["green", "blue"]).emit("in two", ()).unwrap();
        assert_eq!(events.recv_timeout(SOON).unwrap(), "in two ");
        ours.io.leave_room(&sid, "blue").unwrap();
        ours.io.to("blue").emit("out", ()).unwrap();
        ours.io.enter_room(&sid, "blue").unwrap();
        ours.io.close_room("blue").unwrap();
        ours.io.to("blue").emit("closed", ()).unwrap();
        assert_eq!(ours.io.call::<i64>(&sid, "sum", (2, 3), SOON).unwrap(), 5);
        for number in 0..1_000 {
            ours.io.to(&sid).emit("number", number).unwrap();
        }
        for number in 0..1_000 {
            let expected = format!("number {:?}", Value::from(number));
            assert_eq!(events.recv_timeout(SOON).unwrap(), expected);
        }

        // Theirs to ours.
        while ours.client.receive(Duration::ZERO).is_ok() {}
        let our_sid = ours.client.sid();
        let publish = |event: &str, data: Value, room: Option<&str>| {
            theirs.emit("publish", (event, data, room)).unwrap();
        };
        publish("news", Value::String("x".into()), our_sid.as_deref());
        assert_eq!(received(&ours.client), "news x");
        let nested = Value::Array(vec![Value::Binary(bytes())]);
        publish("bytes", nested, None);
        let event = ours.client.receive(SOON).unwrap();
        assert_eq!(event.data::<Vec<Binary>>().unwrap(), [bytes()]);
        ours.client.call::<()>("room", "red", SOON).unwrap();
        publish("room", Value::Null, Some("green"));
        publish("room", Value::Null, Some("red"));
        assert!(received(&ours.client).starts_with("room "));
        let far = Client::new();
        far.on("sum", |a: i64, b: i64| a + b);
        far.connect(url(&ours.serving)).unwrap();
        theirs.emit("ask for", far.sid()).unwrap();
        eventually("python's answer", || {
            theirs.call::<Option<i64>>("answer", (), SOON).unwrap() == Some(5)
        });
        theirs.emit("move", (&our_sid, "moved")).unwrap();
        eventually("the room", || {
            ours.io.rooms(&ours.sid).contains(&"moved".into())
        });
        theirs.emit("end", &our_sid).unwrap();
        while ours.client.receive(SOON).is_ok() {}
        ours.io.disconnect(&sid);
        eventually("the end", || !theirs.is_connected());
    }
}
