//! The client without handlers.

use crate::common::brokers::free_port;
use crate::common::{eventually, serve, url};
use socketio::engineio::Transport;
use socketio::{
    Binary, Bytes, Client, ConnectOptions, Error, Event, Reason, Refused, Server, SimpleClient,
    Socket,
};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);
const AT_ONCE: Duration = Duration::ZERO;

fn echo() -> Server {
    let io = Server::builder().namespaces("*").build();
    let root = io.of("*");
    root.on("echo", |event: &Event| event.args());
    root.on("burst", |socket: &Socket, count: i64| {
        for number in 0..count {
            socket.emit("number", (number, "x")).unwrap();
        }
    });
    root.on("leave", |socket: &Socket| {
        socket.emit("bye", ()).unwrap();
        socket.disconnect();
    });
    io
}

fn quick() -> socketio::ClientBuilder {
    Client::builder()
        .reconnection_delay(Duration::from_millis(20))
        .reconnection_delay_max(Duration::from_millis(20))
}

fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

#[test]
fn a_script_connects_emits_calls_and_receives() {
    let io = echo();
    let serving = serve(&io);
    for transport in [Transport::Polling, Transport::WebSocket] {
        let options = ConnectOptions::new(url(&serving)).transports([transport]);
        let client = SimpleClient::connect(options.namespaces(&["/chat"])).unwrap();
        assert_eq!(client.transport(), Some(transport));
        assert!(client.is_connected() && client.sid().is_some());
        client.emit("burst", 3).unwrap();
        let event = client.receive(SOON).unwrap();
        assert_eq!((event.name(), event.namespace()), ("number", "/chat"));
        assert_eq!(event.arg::<i64>(0).unwrap(), 0);
        assert_eq!(event.data::<(i64, String)>().unwrap(), (0, "x".into()));
        assert!(matches!(event.data::<String>(), Err(Error::Decode(_))));
        let rest: Vec<i64> = client
            .events()
            .take(2)
            .map(|it| it.arg(0).unwrap())
            .collect();
        assert_eq!(rest, [1, 2]);
        assert!(matches!(client.receive(AT_ONCE), Err(Error::Timeout)));
        assert_eq!(client.call::<String>("echo", "x", SOON).unwrap(), "x");
        // An event that asks for an acknowledgement gets an empty one.
        let socket = io.of("/chat").sockets().remove(0);
        assert_eq!(socket.call::<Option<i64>>("sure?", (), SOON).unwrap(), None);
        assert_eq!(client.receive(SOON).unwrap().name(), "sure?");
        // What was received can be received after the end.
        client.emit("leave", ()).unwrap();
        eventually("the end", || !client.is_connected());
        assert_eq!(client.receive(None).unwrap().name(), "bye");
        assert!(matches!(client.receive(None), Err(Error::Disconnected)));
        assert!(matches!(client.emit("x", ()), Err(Error::Disconnected)));
        assert!(matches!(
            client.call::<i64>("x", (), SOON),
            Err(Error::Disconnected)
        ));
        assert_eq!(client.events().count(), 0);
    }
}

#[test]
fn connecting_fails_with_the_reason() {
    let io = Server::new();
    io.on_connect(|_: &Socket| Err::<(), _>(Refused::new("not you").with_data(7)));
    let serving = serve(&io);
    let Err(Error::Connection(error)) = SimpleClient::connect(url(&serving)) else {
        panic!("a refusal");
    };
    assert_eq!((error.message(), error.data::<i64>()), ("not you", Some(7)));
    let nobody = SimpleClient::connect(format!("http://{}", free_address()));
    assert!(matches!(nobody, Err(Error::Connection(_))));
    let two = ConnectOptions::new(url(&serving)).namespaces(&["/a", "/b"]);
    assert!(matches!(
        SimpleClient::connect(two),
        Err(Error::InvalidArgument(_))
    ));
}

#[test]
fn what_is_done_during_a_loss_waits_for_the_reconnection() {
    let address = free_address();
    let io = echo();
    let serving = io.bind(&*address).unwrap();
    let client = SimpleClient::builder()
        .client(quick())
        .connect(format!("http://{address}"))
        .unwrap();
    client.emit("burst", 1).unwrap();
    client.call::<String>("echo", "x", SOON).unwrap();
    drop(serving);
    eventually("the loss", || !client.is_connected());
    std::thread::scope(|scope| {
        let emitting = scope.spawn(|| client.emit("burst", 1));
        let calling = scope.spawn(|| client.call::<String>("echo", "x", SOON));
        let _serving = io.bind(&*address).unwrap();
        emitting.join().unwrap().unwrap();
        assert_eq!(calling.join().unwrap().unwrap(), "x");
        assert_eq!(client.receive(SOON).unwrap().name(), "number");
        assert_eq!(client.receive(SOON).unwrap().name(), "number");
    });
    eventually("the second loss", || !client.is_connected());
    let limit = Duration::from_millis(30);
    assert!(matches!(
        client.call::<String>("echo", "x", limit),
        Err(Error::Timeout)
    ));
    assert!(matches!(client.receive(limit), Err(Error::Timeout)));
}

#[test]
fn what_waits_for_a_reconnection_is_told_that_there_will_be_none() {
    let address = free_address();
    let io = echo();
    let serving = io.bind(&*address).unwrap();
    let client = SimpleClient::builder()
        .client(quick().reconnection_attempts(2))
        .connect(format!("http://{address}"))
        .unwrap();
    drop(serving);
    assert!(matches!(client.receive(None), Err(Error::Disconnected)));
    assert!(matches!(client.emit("x", ()), Err(Error::Disconnected)));

    let serving = io.bind(&*address).unwrap();
    let client = SimpleClient::builder()
        .client(Client::builder().reconnection(false))
        .connect(format!("http://{address}"))
        .unwrap();
    drop(serving);
    assert!(matches!(client.receive(None), Err(Error::Disconnected)));

    let serving = io.bind(&*address).unwrap();
    let client = SimpleClient::builder()
        .client(quick())
        .reconnect_timeout(Duration::from_millis(30))
        .connect(format!("http://{address}"))
        .unwrap();
    drop(serving);
    eventually("the loss", || !client.is_connected());
    assert!(matches!(client.emit("x", ()), Err(Error::Timeout)));
    // Its own end ends what waits.
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| client.receive(None));
        client.disconnect();
        assert!(matches!(
            receiving.join().unwrap(),
            Err(Error::Disconnected)
        ));
    });
}

#[test]
fn too_much_that_is_not_received_ends_the_connection() {
    let io = echo();
    let serving = serve(&io);
    let client = SimpleClient::builder()
        .max_buffer_size(10_000)
        .connect(url(&serving))
        .unwrap();
    client.emit("burst", 1_000).unwrap();
    eventually("the end", || !client.is_connected());
    let received = client.events().count();
    assert!((10..1_000).contains(&received), "{received}");
    assert!(matches!(client.receive(None), Err(Error::LimitExceeded(_))));
    assert!(matches!(client.emit("x", ()), Err(Error::LimitExceeded(_))));
}

/// A server that does not read for a while holds up who emits, and loses nothing of it.
#[test]
fn emitting_waits_for_a_server_that_reads_too_slowly() {
    for transport in [Transport::WebSocket, Transport::Polling] {
        const COUNT: usize = 20_000;
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let next = Arc::new(AtomicUsize::new(0));
        let io = Server::new();
        let expected = Arc::clone(&next);
        io.on("in", move |number: usize, _padding: String| {
            if number == 0 {
                held.lock().unwrap().recv().unwrap();
            }
            assert_eq!(number, expected.fetch_add(1, Ordering::Relaxed));
        });
        io.on("count", move || next.load(Ordering::Relaxed));
        let serving = serve(&io);
        let options = ConnectOptions::new(url(&serving)).transports([transport]);
        let client = SimpleClient::builder()
            .client(quick().max_outbox_size(100_000))
            .connect(options)
            .unwrap();
        let sid = client.sid();
        let emitted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let padding = "x".repeat(1_000);
                for number in 0..COUNT {
                    client.emit("in", (number, &padding)).unwrap();
                    emitted.store(number + 1, Ordering::Relaxed);
                }
            });
            // The sockets' buffers take some megabytes, and then nobody gets on.
            let mut before = 0;
            while before == 0 || before < emitted.load(Ordering::Relaxed) {
                before = emitted.load(Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(300));
            }
            assert!(before < COUNT, "20 MB were taken at once");
            release.send(()).unwrap();
        });
        assert_eq!(client.call::<usize>("count", (), SOON).unwrap(), COUNT);
        assert_eq!(client.sid(), sid, "the connection was kept");
    }
}

/// A program may keep its client in a thread's own storage, which is dropped with the thread, after what
/// the crate keeps there itself.
#[test]
fn a_client_may_end_with_its_thread() {
    thread_local! {
        static OWN: RefCell<Option<SimpleClient>> = const { RefCell::new(None) };
    }
    let io = echo();
    let serving = serve(&io);
    let url = url(&serving);
    let thread = std::thread::spawn(move || {
        OWN.set(None);
        let client = SimpleClient::connect(url).unwrap();
        assert_eq!(client.call::<i64>("echo", 1, SOON).unwrap(), 1);
        OWN.set(Some(client));
    });
    thread.join().unwrap();
    eventually("the end", || io.sockets().is_empty());
}

/// What a thread keeps may also emit as it is dropped, with bytes, through a server and a client.
#[test]
fn values_of_a_thread_may_emit_as_it_ends() {
    struct Farewell(Server, SimpleClient);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let bytes = || Binary(Bytes::from_static(b"bye"));
            self.0.emit("from the server", bytes()).unwrap();
            assert_eq!(
                self.1.call::<Binary>("echo", bytes(), SOON).unwrap(),
                bytes()
            );
        }
    }
    thread_local! {
        static OWN: RefCell<Option<Farewell>> = const { RefCell::new(None) };
    }
    let io = echo();
    let serving = serve(&io);
    let listener = SimpleClient::connect(url(&serving)).unwrap();
    let (server, address) = (io.clone(), url(&serving));
    let thread = std::thread::spawn(move || {
        // The crate's own storage begins later, and ends first.
        OWN.set(None);
        let client = SimpleClient::connect(address).unwrap();
        server
            .emit("before", Binary(Bytes::from_static(b"x")))
            .unwrap();
        OWN.set(Some(Farewell(server, client)));
    });
    thread.join().unwrap();
    assert_eq!(listener.receive(SOON).unwrap().name(), "before");
    assert_eq!(listener.receive(SOON).unwrap().name(), "from the server");
}

#[test]
fn one_deadline_holds_for_the_whole_of_receive() {
    let io = echo();
    let serving = serve(&io);
    let client = SimpleClient::connect(url(&serving)).unwrap();
    let since = Instant::now();
    let limit = Duration::from_millis(50);
    assert!(matches!(client.receive(limit), Err(Error::Timeout)));
    assert!(since.elapsed() >= limit);
}

#[test]
fn dropping_it_disconnects() {
    let io = Server::new();
    let (sender, reasons) = crossbeam_channel::unbounded();
    io.on_disconnect(move |_: &Socket, reason: Reason| sender.send(reason.to_string()).unwrap());
    let (got, numbers) = crossbeam_channel::unbounded();
    io.on("number", move |number: i64| got.send(number).unwrap());
    let serving = serve(&io);
    for transport in [Transport::Polling, Transport::WebSocket] {
        let options = ConnectOptions::new(url(&serving)).transports([transport]);
        let client = SimpleClient::connect(options).unwrap();
        for number in 0..100 {
            client.emit("number", number).unwrap();
        }
        drop(client);
        for number in 0..100 {
            assert_eq!(numbers.recv_timeout(SOON), Ok(number));
        }
        assert_eq!(reasons.recv_timeout(SOON).unwrap(), "client disconnect");
    }
}

#[test]
fn an_event_is_received_by_its_name_and_the_others_wait() {
    let io = Server::new();
    io.on_connect(|socket: &Socket| {
        for (name, number) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            socket.emit(name, number)?;
        }
        Ok::<_, Error>(())
    });
    let serving = serve(&io);
    let client = SimpleClient::connect(url(&serving)).unwrap();
    client.wait_connected(SOON).unwrap();
    let number = |event: Event| event.arg::<i32>(0).unwrap();
    assert_eq!(number(client.receive_named("c", SOON).unwrap()), 4);
    assert_eq!(number(client.receive_named("a", None).unwrap()), 1);
    let nothing = client.receive_named("c", Duration::from_millis(10));
    assert!(matches!(nothing, Err(Error::Timeout)));
    let rest: Vec<_> = client
        .events_within(Duration::from_millis(50))
        .map(number)
        .collect();
    assert_eq!(rest, [2, 3]);
    client.disconnect();
    let ended = client.receive_named("a", SOON);
    assert!(matches!(ended, Err(Error::Disconnected)));
    assert!(client.wait_connected(SOON).is_err());
}
