//! Several servers over one queue, which here is one of this process.

mod common;

use common::{eventually, serve, url};
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use socketio::manager::{Backend, ManagerState, PubSubManager, Publisher, QueueError, Subscriber};
use socketio::{Binary, Bytes, Client, Error, Event, Server, Serving, SimpleClient, Socket, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// A broker that can be down, and that repeats what it is told to.
#[derive(Clone, Debug, Default)]
struct Hub(Arc<State>);

#[derive(Debug, Default)]
struct State {
    listeners: Mutex<Vec<Sender<Vec<u8>>>>,
    published: Mutex<Vec<String>>,
    down: AtomicBool,
    /// The next message is delivered, and reported as failed.
    fails_once: AtomicBool,
}

impl Hub {
    fn set_down(&self, down: bool) {
        self.0.down.store(down, Ordering::SeqCst);
        if down {
            self.0.listeners.lock().clear();
        }
    }

    fn check(&self) -> Result<(), QueueError> {
        if self.0.down.load(Ordering::SeqCst) {
            return Err("down".into());
        }
        Ok(())
    }

    fn say(&self, message: &str) {
        self.deliver(message.as_bytes());
    }

    fn deliver(&self, message: &[u8]) {
        let listeners = self.0.listeners.lock();
        listeners
            .iter()
            .for_each(|it| drop(it.send(message.to_vec())));
    }
}

impl Backend for Hub {
    fn publisher(&self, _: &str) -> Result<Box<dyn Publisher>, QueueError> {
        self.check()?;
        Ok(Box::new(self.clone()))
    }

    fn subscriber(&self, _: &str) -> Result<Box<dyn Subscriber>, QueueError> {
        self.check()?;
        let (sender, receiver) = unbounded();
        self.0.listeners.lock().push(sender);
        Ok(Box::new(Ear(receiver)))
    }
}

impl Publisher for Hub {
    fn publish(&mut self, message: &[u8]) -> Result<(), QueueError> {
        self.check()?;
        self.0
            .published
            .lock()
            .push(String::from_utf8(message.to_vec())?);
        self.deliver(message);
        if self.0.fails_once.swap(false, Ordering::SeqCst) {
            return Err("lost on the way back".into());
        }
        Ok(())
    }
}

struct Ear(Receiver<Vec<u8>>);

impl Subscriber for Ear {
    fn next(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, QueueError> {
        match self.0.recv_timeout(timeout) {
            Ok(message) => Ok(Some(message)),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => Ok(None),
            Err(gone) => Err(gone.into()),
        }
    }
}

/// A server of a cluster, and a client of it.
struct Node {
    io: Server,
    manager: PubSubManager,
    _serving: Serving,
    client: SimpleClient,
    sid: String,
}

fn node(hub: &Hub) -> Node {
    let manager = PubSubManager::new(hub.clone());
    let io = Server::builder().manager(manager.clone()).build();
    io.on("room", |socket: &Socket, room: String| {
        socket.enter_room(&room)
    });
    let serving = serve(&io);
    let client = SimpleClient::connect(url(&serving)).unwrap();
    let sid = client.sid().unwrap();
    eventually("the broker", || manager.state() == ManagerState::Connected);
    Node {
        io,
        manager,
        _serving: serving,
        client,
        sid,
    }
}

fn received(client: &SimpleClient) -> String {
    let event = client.receive(SOON).unwrap();
    let args = event.args();
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

#[test]
fn events_of_every_form_reach_the_clients_of_all_servers() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    let emitter = PubSubManager::new(hub.clone()).write_only();
    let emitter = Server::builder().manager(emitter).build();
    let bytes = || Binary(Bytes::from_static(b"\0\xff"));
    for io in [&one.io, &other.io, &emitter] {
        io.emit("none", ()).unwrap();
        io.emit("one", "x").unwrap();
        io.emit("several", ("x", 1, "y")).unwrap();
        io.emit("bytes", ("x", bytes(), vec![bytes()])).unwrap();
        for node in [&one, &other] {
            assert_eq!(received(&node.client), "none ");
            assert_eq!(received(&node.client), "one x");
            assert!(received(&node.client).starts_with("several x,"));
            let event = node.client.receive(SOON).unwrap();
            let data: (String, Binary, Vec<Binary>) = event.data().unwrap();
            assert_eq!(data, ("x".into(), bytes(), vec![bytes()]));
        }
    }
}

#[test]
fn rooms_reach_across_servers() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    for node in [&one, &other] {
        node.client.call::<()>("room", "blue", SOON).unwrap();
    }
    one.io.to("blue").emit("blue", ()).unwrap();
    one.io
        .to("blue")
        .skip(&other.sid)
        .emit("not you", ())
        .unwrap();
    one.io
        .to("blue")
        .except(&other.sid)
        .emit("nor you", ())
        .unwrap();
    one.io.to(&other.sid).emit("only you", ()).unwrap();
    one.io.to(["green", "blue"]).emit("any", ()).unwrap();
    one.io.to([""; 0]).emit("nobody", ()).unwrap();
    assert_eq!(received(&other.client), "blue ");
    assert_eq!(received(&other.client), "only you ");
    assert_eq!(received(&other.client), "any ");
    for expected in ["blue ", "not you ", "nor you ", "any "] {
        assert_eq!(received(&one.client), expected);
    }
    // Rooms of a client that lives elsewhere.
    one.io.enter_room(&other.sid, "far").unwrap();
    eventually("the room", || {
        other.io.rooms(&other.sid).contains(&"far".into())
    });
    one.io.leave_room(&other.sid, "far").unwrap();
    eventually("no room", || {
        !other.io.rooms(&other.sid).contains(&"far".into())
    });
    one.io.close_room("blue").unwrap();
    eventually("the end of the room", || {
        other.io.rooms(&other.sid).len() == 1
    });
    assert_eq!(one.io.rooms(&one.sid).len(), 1);
    one.io.disconnect(&other.sid);
    assert!(matches!(
        other.client.receive(SOON),
        Err(Error::Disconnected)
    ));
}

#[test]
fn answers_come_back_across_servers_with_their_bytes() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    let far = Client::new();
    far.on("sum", |a: i64, b: i64| a + b);
    far.on("bytes", || (Binary(Bytes::from_static(b"\0\xff")), "x"));
    far.on("never", |event: &Event| drop(event.take_ack()));
    far.connect(url(&other._serving)).unwrap();
    let sid = far.sid().unwrap();
    assert_eq!(one.io.call::<i64>(&sid, "sum", (2, 3), SOON).unwrap(), 5);
    let (bytes, text): (Binary, String) = one.io.call(&sid, "bytes", (), SOON).unwrap();
    assert_eq!((&bytes.0[..], &*text), (&b"\0\xff"[..], "x"));
    let late = one
        .io
        .call::<i64>(&sid, "never", (), Duration::from_millis(50));
    assert!(matches!(late, Err(Error::Timeout)));
    let (sender, answers) = unbounded();
    let callback =
        move |answer: Result<i64, Error>| drop(sender.send(answer.map_err(|it| it.to_string())));
    one.io
        .to(&sid)
        .emit_with_ack("sum", (1, 1), SOON, callback.clone())
        .unwrap();
    assert_eq!(answers.recv_timeout(SOON), Ok(Ok(2)));
    let moment = Duration::from_millis(50);
    one.io
        .to(&sid)
        .emit_with_ack("never", (), moment, callback)
        .unwrap();
    assert!(
        answers.recv_timeout(SOON).unwrap().is_err(),
        "it is always called"
    );
    let emitter = PubSubManager::new(hub.clone()).write_only();
    let emitter = Server::builder().manager(emitter).build();
    let refused = emitter.call::<i64>(&sid, "sum", (1, 1), SOON);
    assert!(matches!(refused, Err(Error::Invalid(why)) if why.contains("write-only")));
}

#[test]
fn what_is_published_twice_is_heard_once_and_in_order() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    for number in 0..1_000 {
        if number % 100 == 0 {
            hub.0.fails_once.store(true, Ordering::SeqCst);
        }
        one.io.emit("number", number).unwrap();
    }
    for node in [&one, &other] {
        for number in 0..1_000 {
            let event = node.client.receive(SOON).unwrap();
            assert_eq!(event.arg::<i64>(0).unwrap(), number);
        }
    }
}

#[test]
fn a_broker_that_goes_away_costs_nobody_and_is_found_again() {
    let hub = Hub::default();
    hub.set_down(true);
    let (sender, states) = unbounded();
    let manager = PubSubManager::new(hub.clone())
        .max_queue_size(10_000)
        .on_state(move |state| sender.send(state).unwrap_or_default());
    let io = Server::builder().manager(manager.clone()).build();
    let serving = serve(&io);
    let client = SimpleClient::connect(url(&serving)).unwrap();
    io.emit("local", ()).unwrap();
    assert_eq!(received(&client), "local ");
    hub.set_down(false);
    assert_eq!(states.recv_timeout(SOON), Ok(ManagerState::Connected));
    let other = node(&hub);
    hub.set_down(true);
    assert_eq!(states.recv_timeout(SOON), Ok(ManagerState::Disconnected));
    eventually("the loss", || {
        other.manager.state() == ManagerState::Disconnected
    });
    // What is emitted meanwhile is delivered here, and waits for the others, as far as there is room.
    io.emit("waits", ()).unwrap();
    assert_eq!(received(&client), "waits ");
    let full = io.emit("full", "x".repeat(10_000));
    assert!(matches!(full, Err(Error::TooMuch(_))), "{full:?}");
    assert!(received(&client).starts_with("full "));
    hub.set_down(false);
    assert_eq!(states.recv_timeout(SOON), Ok(ManagerState::Connected));
    eventually("the broker", || {
        other.manager.state() == ManagerState::Connected
    });
    io.emit("again", ()).unwrap();
    // What waited may have been published before the other one listened again.
    while received(&other.client) != "again " {}
    assert_eq!(received(&client), "again ");
}

#[test]
fn a_program_that_emits_and_ends_loses_nothing() {
    let hub = Hub::default();
    let one = node(&hub);
    let manager = PubSubManager::new(hub.clone()).write_only();
    let emitter = Server::builder().manager(manager).build();
    for number in 0..100 {
        emitter.to(&one.sid).emit("number", number).unwrap();
    }
    drop(emitter);
    for number in 0..100 {
        assert_eq!(
            one.client.receive(SOON).unwrap().arg::<i64>(0).unwrap(),
            number
        );
    }
}

#[test]
fn a_manager_that_ends_says_so_and_does_not_call_its_broker_lost() {
    let (sender, states) = unbounded();
    let manager = PubSubManager::new(Hub::default())
        .on_state(move |state| sender.send(state).unwrap_or_default());
    let io = Server::builder().manager(manager).build();
    assert_eq!(states.recv_timeout(SOON), Ok(ManagerState::Connected));
    drop(io);
    assert_eq!(states.recv_timeout(SOON), Ok(ManagerState::Ended));
    assert!(states.recv_timeout(SOON).is_err(), "nothing follows");
}

#[test]
fn messages_of_the_broker_are_not_trusted() {
    let hub = Hub::default();
    let one = node(&hub);
    let deep = format!(
        r#"{{"method":"emit","event":"x","data":{}{}}}"#,
        "[".repeat(1_000),
        "]".repeat(1_000)
    );
    for wrong in [
        "",
        "\u{0}",
        "null",
        "[]",
        "{}",
        r#"{"method":7}"#,
        r#"{"method":"shout"}"#,
        r#"{"method":"emit"}"#,
        r#"{"method":"emit","event":"x"}"#,
        r#"{"method":"emit","event":"disconnect","data":[]}"#,
        r#"{"method":"emit","event":"x","data":[[{"_placeholder":true,"num":1}],"AA=="],"binary":true}"#,
        r#"{"method":"emit","event":"x","data":[[],"no base64!"],"binary":true}"#,
        r#"{"method":"emit","event":"x","data":[],"room":{}}"#,
        r#"{"method":"emit","event":"x","data":[],"callback":7}"#,
        r#"{"method":"callback","id":-1}"#,
        r#"{"method":"enter_room","sid":7,"room":"a"}"#,
        r#"{"method":"close_room"}"#,
        r#"{"method":"disconnect"}"#,
        &deep,
    ] {
        hub.say(wrong);
    }
    // And what python-socketio has published through the years.
    hub.say(r#"{"method": "emit", "event": "now", "data": ["a", 1], "binary": false, "namespace": "/", "room": null, "skip_sid": null, "callback": null, "host_id": "abc"}"#);
    hub.say(r#"{"method":"emit","event":"nothing","data":[null],"namespace":"/","host_id":"abc"}"#);
    hub.say(r#"{"method":"emit","event":"legacy","data":"bare","namespace":null,"room":[7]}"#);
    hub.say(r#"{"method":"emit","event":"bytes","binary":true,"data":[[{"_placeholder":true,"num":0}],"AP8="]}"#);
    hub.say(r#"{"method":"emit","event":"legacy bytes","binary":true,"data":[{"_placeholder":true,"num":0},"AP8="],"skip_sid":["nobody"]}"#);
    assert_eq!(received(&one.client), "now a,Number(Number(1))");
    assert_eq!(received(&one.client), "nothing ");
    assert_eq!(received(&one.client), "bytes b\"\\0\\xff\"");
    assert_eq!(received(&one.client), "legacy bytes b\"\\0\\xff\"");
}

#[test]
fn what_is_published_is_what_python_socketio_reads() {
    let hub = Hub::default();
    let manager = PubSubManager::new(hub.clone()).write_only();
    let emitter = Server::builder().manager(manager).build();
    emitter
        .of("/n")
        .to(["a", "b"])
        .skip("s")
        .emit("e", (1, "x"))
        .unwrap();
    emitter
        .emit("bytes", Binary(b"\0\xff".to_vec().into()))
        .unwrap();
    emitter.disconnect("sid");
    drop(emitter);
    let published = hub.0.published.lock().clone();
    let read = |at: usize| serde_json::from_str::<serde_json::Value>(&published[at]).unwrap();
    let first = read(0);
    assert_eq!(first["method"], "emit");
    assert_eq!(first["data"], serde_json::json!([1, "x"]));
    assert_eq!(first["room"], serde_json::json!(["a", "b"]));
    assert_eq!(
        (&first["skip_sid"], &first["namespace"]),
        (&"s".into(), &"/n".into())
    );
    assert_eq!(
        (&first["binary"], &first["callback"]),
        (&false.into(), &().into())
    );
    assert_eq!(first["host_id"].as_str().map(str::len), Some(32));
    let second = read(1);
    let data = serde_json::json!([[{"_placeholder": true, "num": 0}], "AP8="]);
    assert_eq!(
        (&second["data"], &second["binary"], &second["room"]),
        (&data, &true.into(), &().into())
    );
    assert_eq!(
        (&read(2)["method"], &read(2)["sid"]),
        (&"disconnect".into(), &"sid".into())
    );
}
