//! Several servers over one queue, which here is one of this process.

use crate::common::cluster::{self, Node, SOON, received};
use crate::common::{eventually, serve, url};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::Mutex;
use socketio::manager::{
    Backend, BackendError, ManagerState, MessageSink, PubSubManager, PublishError, Publisher,
    Subscriber,
};
use socketio::{Binary, Client, Error, Limits, Refused, Server, SimpleClient, Socket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A broker that can be down, and that repeats what it is told to.
#[derive(Clone, Debug, Default)]
struct Hub(Arc<State>);

#[derive(Debug, Default)]
struct State {
    listeners: Mutex<Vec<Sender<Vec<u8>>>>,
    published: Mutex<Vec<String>>,
    down: AtomicBool,
    /// Publishers that found it down.
    refused: AtomicUsize,
    /// The next message is delivered, and reported as failed.
    fails_once: AtomicBool,
    /// The next listener that looks panics.
    panics_once: Arc<AtomicBool>,
    /// What holds one of these words is refused.
    refuses: Mutex<Vec<&'static str>>,
    /// What holds one of these words costs the connection.
    hates: Mutex<Vec<&'static str>>,
    /// Listeners are there, and hear nothing.
    is_mute: AtomicBool,
    /// Connecting takes for ever.
    hangs: AtomicBool,
}

impl Hub {
    fn set_down(&self, down: bool) {
        self.0.down.store(down, Ordering::SeqCst);
        if down {
            self.0.listeners.lock().clear();
        }
    }

    fn check(&self) -> Result<(), BackendError> {
        while self.0.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
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
    fn publisher(&self, _: &str) -> Result<Box<dyn Publisher>, BackendError> {
        self.check().inspect_err(|_| {
            self.0.refused.fetch_add(1, Ordering::SeqCst);
        })?;
        Ok(Box::new(self.clone()))
    }

    fn subscriber(&self, _: &str) -> Result<Box<dyn Subscriber>, BackendError> {
        self.check()?;
        let (sender, receiver) = unbounded();
        self.0.listeners.lock().push(sender);
        Ok(Box::new(Ear(receiver, Arc::clone(&self.0.panics_once))))
    }
}

impl Publisher for Hub {
    fn publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
        self.check().map_err(PublishError::lost)?;
        let text = std::str::from_utf8(message)?;
        let has_one = |words: &Mutex<Vec<&str>>| words.lock().iter().any(|it| text.contains(it));
        if has_one(&self.0.refuses) {
            return Err(PublishError::Refused("not this one".into()));
        }
        if has_one(&self.0.hates) {
            return Err(PublishError::lost("reset by peer"));
        }
        self.0
            .published
            .lock()
            .push(String::from_utf8(message.to_vec())?);
        if !self.0.is_mute.load(Ordering::SeqCst) {
            self.deliver(message);
        }
        if self.0.fails_once.swap(false, Ordering::SeqCst) {
            return Err(PublishError::lost("lost on the way back"));
        }
        Ok(())
    }
}

struct Ear(Receiver<Vec<u8>>, Arc<AtomicBool>);

impl Subscriber for Ear {
    fn listen(&mut self, sink: &mut MessageSink<'_>) -> Result<(), BackendError> {
        loop {
            assert!(!self.1.swap(false, Ordering::SeqCst), "a backend may panic");
            let go_on = match self.0.recv_timeout(Duration::from_millis(100)) {
                Ok(message) => sink.message(&message),
                Err(RecvTimeoutError::Timeout) => sink.nothing(),
                Err(gone) => return Err(gone.into()),
            };
            if !go_on {
                return Ok(());
            }
        }
    }
}

fn node(hub: &Hub) -> Node {
    cluster::node(&|| PubSubManager::new(hub.clone()))
}

#[test]
fn events_of_every_form_reach_the_clients_of_all_servers() {
    let hub = Hub::default();
    cluster::every_form_of_data(&|| PubSubManager::new(hub.clone()));
}

#[test]
fn rooms_reach_across_servers() {
    let hub = Hub::default();
    cluster::rooms(&|| PubSubManager::new(hub.clone()));
}

#[test]
fn answers_come_back_across_servers_with_their_bytes() {
    let hub = Hub::default();
    cluster::answers(&|| PubSubManager::new(hub.clone()));
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
    io.emit("waits too", "x".repeat(9_000)).unwrap();
    assert!(received(&client).starts_with("waits too "));
    let full = io.emit("full", "x".repeat(9_000));
    assert!(matches!(full, Err(Error::LimitExceeded(_))), "{full:?}");
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
    assert_eq!(received(&one.client), "now a,1");
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
    let mut published = hub.0.published.lock().clone();
    // The manager's messages to itself are not for python.
    published.retain(|it| !it.contains(r#""method":"probe""#));
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

#[test]
fn a_room_answers_with_each_of_its_members_wherever_they_are() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    let members: Vec<_> = [&one, &one, &other, &other, &other]
        .iter()
        .map(|node| {
            let client = Client::new();
            client.on("sum", |a: i64, b: i64| a + b);
            client.connect(url(&node.serving)).unwrap();
            client.call::<()>("room", "blue", SOON).unwrap();
            client
        })
        .collect();
    let (sender, answers) = unbounded();
    let callback = move |answer: Result<i64, Error>| {
        let _ = sender.send(answer.map_err(|it| it.to_string()));
    };
    let timeout = Duration::from_secs(3);
    one.io
        .to("blue")
        .emit_with_ack("sum", (2, 3), timeout, callback)
        .unwrap();
    for _ in &members {
        assert_eq!(answers.recv_timeout(SOON), Ok(Ok(5)));
    }
    // Nobody is missing, and so nobody is late: the end of the time passes without a word.
    assert!(answers.recv_timeout(timeout * 2).is_err());
}

#[test]
fn a_client_enters_rooms_by_its_sid_while_its_connect_handler_runs() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    one.io.on_connect(|socket: &Socket| {
        let entered = socket.server().enter_room(socket.sid(), "lobby");
        entered.map_err(|error| Refused::new(error.to_string()))
    });
    let client = SimpleClient::connect(url(&one.serving)).unwrap();
    other.io.to("lobby").emit("welcome", ()).unwrap();
    assert_eq!(received(&client), "welcome ");
}

#[test]
fn a_program_that_panics_does_not_stop_its_manager() {
    let hub = Hub::default();
    let manager = PubSubManager::new(hub.clone()).on_state(|state| panic!("{state:?}"));
    let io = Server::builder().manager(manager.clone()).build();
    let serving = serve(&io);
    let client = SimpleClient::connect(url(&serving)).unwrap();
    cluster::connected(&manager);
    hub.set_down(true);
    eventually("the loss", || manager.state() == ManagerState::Disconnected);
    hub.set_down(false);
    cluster::connected(&manager);
    let other = node(&hub);
    other.io.emit("still there", ()).unwrap();
    assert_eq!(received(&client), "still there ");
}

#[test]
fn a_manager_with_a_server_keeps_its_channel() {
    let manager = PubSubManager::new(Hub::default());
    let _io = Server::builder().manager(manager.clone()).build();
    let changed = manager.clone().channel("another");
    assert!(matches!(changed, Err(Error::InvalidArgument(why)) if why.contains("channel")));
    let refused = std::thread::spawn(move || drop(manager.write_only()));
    assert!(refused.join().is_err(), "it listens already");
}

#[test]
fn what_the_queue_can_never_carry_is_an_error_at_the_call() {
    /// One that takes little, and asks its own manager for its state.
    #[derive(Debug)]
    struct Narrow(Hub, Arc<Mutex<Option<PubSubManager>>>);
    impl Backend for Narrow {
        fn max_message_size(&self) -> usize {
            let manager = self.1.lock().clone();
            let _ = manager.map(|manager| (manager.state(), manager.refused()));
            1_000
        }
        fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, BackendError> {
            self.0.publisher(channel)
        }
        fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, BackendError> {
            self.0.subscriber(channel)
        }
    }
    let hub = Hub::default();
    let own = Arc::default();
    let manager = PubSubManager::new(Narrow(hub.clone(), Arc::clone(&own)));
    *own.lock() = Some(manager.clone());
    let io = Server::builder().manager(manager.clone()).build();
    let other = node(&hub);
    let refused = io.emit("large", "x".repeat(1_000));
    assert!(
        matches!(refused, Err(Error::LimitExceeded(_))),
        "{refused:?}"
    );
    io.emit("small", ()).unwrap();
    manager.flush(SOON).unwrap();
    assert_eq!(received(&other.client), "small ");
    *own.lock() = None;
}

#[test]
fn what_a_manager_was_given_may_use_it_as_it_is_dropped() {
    struct OnDrop<F: FnMut()>(F);
    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let hub = Hub::default();
    let (sender, dropped) = unbounded();
    let manager = PubSubManager::new(hub.clone());
    let (asked, told) = (manager.clone(), sender.clone());
    let on_drop = OnDrop(move || {
        let _ = told.send(format!("{:?}", (asked.state(), asked.refused())));
    });
    let manager = manager.on_state(move |_| {
        let _ = &on_drop;
    });
    let io = Server::builder().manager(manager.clone()).build();
    cluster::connected(&manager);
    drop(manager.clone().on_state(|_| ()));
    assert_eq!(dropped.recv_timeout(SOON).unwrap(), "(Connected, 0)");
    // The callback of a question whose time is over.
    let (asking, told) = (io.clone(), sender);
    let on_drop = OnDrop(move || {
        let callback = |_: Result<(), Error>| ();
        let asked = asking.to("nobody");
        let asked = asked.emit_with_ack("again", (), SOON, callback);
        let _ = told.send(format!("{asked:?}"));
    });
    let callback = move |_: Result<(), Error>| {
        let _ = &on_drop;
    };
    io.to("nobody")
        .emit_with_ack("ask", (), Duration::from_millis(50), callback)
        .unwrap();
    assert_eq!(dropped.recv_timeout(SOON).unwrap(), "Ok(())");
}

#[test]
fn a_backend_that_panics_is_begun_again() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    hub.0.panics_once.store(true, Ordering::SeqCst);
    eventually("the panic", || {
        let states = [one.manager.state(), other.manager.state()];
        states.contains(&ManagerState::Disconnected)
    });
    cluster::connected(&one.manager);
    cluster::connected(&other.manager);
    one.io.emit("again", ()).unwrap();
    assert_eq!(received(&other.client), "again ");
}

#[test]
fn what_waits_at_the_end_is_published_once_the_broker_is_back() {
    let hub = Hub::default();
    hub.set_down(true);
    let manager = PubSubManager::new(hub.clone());
    let io = Server::builder().manager(manager.clone()).build();
    io.emit("last words", ()).unwrap();
    eventually("an attempt", || hub.0.refused.load(Ordering::SeqCst) > 0);
    let end = std::thread::spawn(move || drop((io, manager)));
    hub.set_down(false);
    let other = node(&hub);
    assert_eq!(received(&other.client), "last words ");
    end.join().unwrap();
}

#[test]
fn what_the_broker_refuses_is_given_up_and_the_rest_goes_on() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    hub.0.refuses.lock().push("refused");
    hub.0.hates.lock().push("poison");
    for name in ["first", "refused", "second", "poison", "last"] {
        one.io.emit(name, ()).unwrap();
    }
    let flushed = one.manager.flush(SOON);
    assert!(matches!(flushed, Err(Error::Connection(_))), "{flushed:?}");
    for name in ["first ", "second ", "last "] {
        assert_eq!(received(&other.client), name);
    }
    assert_eq!(one.manager.refused(), 2);
    assert_eq!(other.manager.refused(), 0);
    // Whoever awaits an answer is told at once.
    let asked = one.io.call::<()>(&other.sid, "refused", (), SOON * 100);
    assert!(matches!(asked, Err(Error::Connection(_))), "{asked:?}");
    cluster::connected(&one.manager);
    // Also of what was refused before it was called, but once.
    assert!(one.manager.flush(SOON).is_err());
    one.manager.flush(SOON).unwrap();
}

#[test]
fn what_was_confirmed_is_never_published_again() {
    let hub = Hub::default();
    let one = node(&hub);
    hub.0.hates.lock().push("poison");
    for number in 0..100 {
        let name = if number == 50 { "poison" } else { "number" };
        one.io.emit(name, number).unwrap();
    }
    let _ = one.manager.flush(SOON);
    let published = hub.0.published.lock();
    let numbers = published.iter().filter(|it| it.contains("number")).count();
    assert_eq!(numbers, 99);
}

#[test]
fn an_emit_that_fails_has_done_nothing() {
    let hub = Hub::default();
    hub.set_down(true);
    let manager = PubSubManager::new(hub.clone()).max_queue_size(1_000);
    let io = Server::builder().manager(manager).build();
    let serving = serve(&io);
    let client = SimpleClient::connect(url(&serving)).unwrap();
    let mut emitted = 0;
    while io.emit("number", emitted).is_ok() {
        emitted += 1;
    }
    assert!(emitted > 0);
    let asked = io
        .except("x")
        .emit_with_ack("number", 0, SOON, |_: Result<(), Error>| ());
    assert!(matches!(asked, Err(Error::LimitExceeded(_))));
    while io.close_room("x").is_ok() {}
    io.local().emit("end", ()).unwrap();
    for number in 0..emitted {
        assert_eq!(received(&client), format!("number {number}"));
    }
    assert_eq!(received(&client), "end ");
}

#[test]
fn a_listener_that_hears_nothing_subscribes_anew() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    hub.0.is_mute.store(true, Ordering::SeqCst);
    let is_deaf = |node: &Node| node.manager.state() == ManagerState::Disconnected;
    eventually("the loss", || is_deaf(&one) || is_deaf(&other));
    hub.0.is_mute.store(false, Ordering::SeqCst);
    cluster::heard(&one, &other, "again");
}

#[test]
fn callbacks_come_in_time_while_the_broker_hangs() {
    let hub = Hub::default();
    let hang = |hangs| hub.0.hangs.store(hangs, Ordering::SeqCst);
    cluster::callbacks_in_time(&|| PubSubManager::new(hub.clone()), &hang);
}

#[test]
fn every_recipient_is_reported_once_with_its_sid() {
    let hub = Hub::default();
    cluster::recipients(&|| PubSubManager::new(hub.clone()));
}

#[test]
fn a_client_s_own_room_is_its_own_on_every_server() {
    let hub = Hub::default();
    let (one, other, third) = (node(&hub), node(&hub), node(&hub));
    let victim = Client::new();
    victim.on("password?", || "the victim's");
    victim.connect(url(&one.serving)).unwrap();
    let sid = victim.sid().unwrap();
    let entered = other.io.enter_room(&other.sid, &sid);
    assert!(
        matches!(entered, Err(Error::InvalidArgument(_))),
        "{entered:?}"
    );
    // Nor by a server that is not as careful.
    hub.say(&format!(
        r#"{{"method":"enter_room","sid":"{}","room":"{sid}","namespace":"/","host_id":"x"}}"#,
        other.sid
    ));
    let answer: String = third.io.call(&sid, "password?", (), SOON).unwrap();
    assert_eq!(answer, "the victim's");
    one.io.to(&sid).emit("whisper", ()).unwrap();
    other.io.emit("end", ()).unwrap();
    assert_eq!(received(&other.client), "end ");
}

#[test]
fn a_client_that_owes_answers_keeps_nobody_else_from_an_event() {
    let hub = Hub::default();
    let manager = PubSubManager::new(hub.clone());
    let limits = socketio::Limits::default().pending_acks(3);
    let io = Server::builder()
        .limits(limits)
        .manager(manager.clone())
        .build();
    let serving = serve(&io);
    let silent = Client::new();
    silent.on("ask", |event: &socketio::Event| drop(event.take_ack()));
    silent.connect(url(&serving)).unwrap();
    cluster::connected(&manager);
    let other = node(&hub);
    for _ in 0..10 {
        let asked = io
            .except("x")
            .emit_with_ack("ask", (), SOON * 100, |_: Result<(), Error>| ());
        asked.unwrap();
    }
    for _ in 0..10 {
        assert_eq!(received(&other.client), "ask ");
    }
}

#[test]
fn what_recipients_would_not_take_is_an_error_where_it_is_emitted() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    let nested = |depth| {
        (1..depth).fold(socketio::Value::Array(vec![]), |value, _| {
            socketio::Value::Array(vec![value])
        })
    };
    // With the list of arguments, and the event's own.
    one.io.emit("deep", nested(127)).unwrap();
    let too_deep = one.io.emit("deep", nested(128));
    assert!(
        matches!(too_deep, Err(Error::InvalidArgument(_))),
        "{too_deep:?}"
    );
    let name = "x".repeat(65_536);
    one.io.emit(&name, ()).unwrap();
    let too_long = one.io.emit(&format!("{name}x"), ());
    assert!(
        matches!(too_long, Err(Error::InvalidArgument(_))),
        "{too_long:?}"
    );
    let many: Vec<_> = (0..11).map(|number| Binary::from([number])).collect();
    let too_many = one.io.emit("many", &many);
    assert!(
        matches!(too_many, Err(Error::InvalidArgument(_))),
        "{too_many:?}"
    );
    let text = "x".repeat(100_000_000);
    let bytes = Binary(vec![0; 100_000_001].into());
    let too_large = [
        one.io.emit("large", &text),
        one.io.local().emit("large", &bytes),
        one.io.socket(&one.sid).unwrap().emit("large", &bytes),
    ];
    for too_large in too_large {
        assert!(
            matches!(too_large, Err(Error::InvalidArgument(_))),
            "{too_large:?}"
        );
    }
    one.io.emit("end", ()).unwrap();
    for node in [&one, &other] {
        assert!(received(&node.client).starts_with("deep "));
        assert!(received(&node.client).starts_with("xxx"));
        assert_eq!(received(&node.client), "end ");
    }
}

#[test]
fn what_another_server_allows_itself_costs_no_client_its_connection() {
    let hub = Hub::default();
    let mut limits = Limits::default();
    limits.outgoing_attachments = 20;
    let manager = PubSubManager::new(hub.clone());
    let generous = Server::builder()
        .limits(limits)
        .manager(manager.clone())
        .build();
    let other = node(&hub);
    cluster::connected(&manager);
    let many: Vec<_> = (0..20).map(|number| Binary::from([number])).collect();
    generous.emit("many", &many).unwrap();
    generous.emit("end", ()).unwrap();
    assert_eq!(received(&other.client), "end ");
    assert_eq!(other.client.sid().as_ref(), Some(&other.sid));
}

/// What a program may drop its handles in.
#[derive(Clone, Copy)]
enum Within {
    Handler,
    Callback,
    OnState,
}

fn try_dropping(within: Within) {
    let hub = Hub::default();
    let manager = PubSubManager::new(hub.clone());
    let io = Server::builder().manager(manager.clone()).build();
    let serving = serve(&io);
    let (client, address) = (Client::new(), url(&serving));
    let handles = Mutex::new(Some((serving, io.clone(), manager.clone())));
    let end = move || drop(handles.lock().take());
    client.on("ask", || ());
    match within {
        Within::Handler => io.on("end", end),
        Within::Callback => {
            let end = Arc::new(end);
            io.on("end", move |socket: &Socket| {
                let end = Arc::clone(&end);
                // It comes back from the broker's threads, or is late there.
                let nobody = socket.server().to("nobody");
                let moment = Duration::from_millis(50);
                nobody.emit_with_ack("ask", (), moment, move || end())
            });
        }
        Within::OnState => {
            io.on("end", || ());
            let manager = manager.clone().on_state(move |state| {
                if state == ManagerState::Disconnected {
                    end();
                }
            });
            drop(manager);
        }
    }
    drop(io);
    client.connect(address).unwrap();
    cluster::connected(&manager);
    drop(manager);
    assert_eq!(hub.0.listeners.lock().len(), 1);
    match within {
        Within::Handler | Within::Callback => client.emit("end", ()).unwrap(),
        Within::OnState => hub.set_down(true),
    }
    // The manager's threads, and what they have of the backend.
    eventually("the end", || Arc::strong_count(&hub.0) == 1);
}

#[test]
fn a_manager_ends_with_the_handles_that_a_handler_drops() {
    try_dropping(Within::Handler);
}

#[test]
fn a_manager_ends_with_the_handles_that_a_callback_drops() {
    try_dropping(Within::Callback);
}

#[test]
fn a_manager_ends_with_the_handles_that_are_dropped_when_its_state_changes() {
    try_dropping(Within::OnState);
}

#[test]
fn a_burst_is_taken_whole() {
    let hub = Hub::default();
    let (one, other) = (node(&hub), node(&hub));
    for number in 0..50_000 {
        one.io.emit("number", number).unwrap();
    }
    for number in 0..50_000 {
        let event = other.client.receive(SOON).unwrap();
        assert_eq!(event.arg::<i64>(0).unwrap(), number);
    }
}

#[test]
fn a_function_that_is_told_a_state_may_ask_its_manager() {
    let hub = Hub::default();
    let (sender, told) = unbounded();
    let manager = PubSubManager::new(hub.clone());
    let asked = manager.clone();
    let manager = manager.on_state(move |state| {
        let _ = sender.send((state, asked.state(), asked.reason()));
    });
    let io = Server::builder().manager(manager.clone()).build();
    let (state, _, _) = told.recv_timeout(SOON).unwrap();
    assert_eq!(state, ManagerState::Connected);
    hub.set_down(true);
    let (state, asked, reason) = told.recv_timeout(SOON).unwrap();
    assert_eq!((state, asked), (ManagerState::Disconnected, state));
    assert!(reason.is_some());
    // The function holds a handle of its own manager.
    drop(manager.on_state(|_| ()));
    drop(io);
}
