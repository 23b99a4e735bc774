//! What a cluster promises, tried over each real broker where it can be broken: callbacks in time,
//! connections that nobody closes, and what the clients of a python server get beside ours.

use crate::common::brokers::{Broker, Process, RabbitMq, Redis, free_port};
use crate::common::cluster::{
    self, Node, SOON, connected, emitter, heard, node, python_server, received,
};
use crate::common::relay::Relay;
use crate::common::{eventually, example_path, log, old_python, succeed};
use crossbeam_channel::{Receiver, unbounded};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use socketio::manager::{
    AmqpManager, BrokerOptions, ManagerState, PubSubManager, RedisManager, from_url,
};
use socketio::{Client, Event, Server};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The signal that pauses a process, or lets it go on.
fn pause_or_not(pauses: bool) -> &'static str {
    if pauses { "STOP" } else { "CONT" }
}

#[test]
fn callbacks_come_in_time_while_redis_hangs() {
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let make = || from_url(&redis.url()).unwrap();
    cluster::callbacks_in_time(&make, &|hangs| redis.signal(pause_or_not(hangs)));
}

#[test]
fn callbacks_come_in_time_while_rabbitmq_hangs() {
    let Some(rabbit) = RabbitMq::start(free_port()) else {
        return;
    };
    let make = || from_url(&rabbit.url()).unwrap();
    cluster::callbacks_in_time(&make, &|hangs| rabbit.signal(pause_or_not(hangs)));
}

#[test]
fn callbacks_come_in_time_while_kafka_hangs() {
    let brokers = MockCluster::new(1).unwrap();
    let url = format!("kafka://{}", brokers.bootstrap_servers());
    let hang = |hangs: bool| {
        let set = if hangs {
            brokers.broker_down(1)
        } else {
            brokers.broker_up(1)
        };
        set.unwrap();
    };
    cluster::callbacks_in_time(&|| from_url(&url).unwrap(), &hang);
}

#[test]
fn callbacks_come_in_time_while_a_forwarder_hangs() {
    let mut command = Command::new(example_path("zmq_broker"));
    let mut forwarder = Process::start(command.args(["0", "0"]).stdout(Stdio::piped()));
    let mut line = String::new();
    let stdout = forwarder.0.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let url = line.trim().rsplit(' ').next().expect("a URL").to_owned();
    let make = || from_url(&url).unwrap();
    cluster::callbacks_in_time(&make, &|hangs| forwarder.signal(pause_or_not(hangs)));
}

/// Calls that are answered are forgotten at once: more of them than may be awaited pass within their
/// time.
#[test]
fn more_calls_are_answered_than_may_be_awaited() {
    const CALLS: usize = 100_500;
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let make = || from_url(&redis.url()).unwrap();
    let (one, other) = (node(&make), node(&make));
    let far = Client::new();
    far.on("ask", || ());
    far.connect(crate::common::url(&other.serving)).unwrap();
    let (sid, hour) = (far.sid().unwrap(), Duration::from_secs(3_600));
    let (sender, answers) = unbounded();
    let mut under_way = 0;
    for _ in 0..CALLS {
        let sender = sender.clone();
        let callback = move |answer: Result<(), socketio::Error>| {
            let _ = sender.send(answer.is_ok());
        };
        let client = one.io.to(&sid);
        client.emit_with_ack("ask", (), hour, callback).unwrap();
        under_way += 1;
        if under_way == 500 {
            for _ in 0..under_way {
                assert_eq!(answers.recv_timeout(SOON), Ok(true));
            }
            under_way = 0;
        }
    }
    for _ in 0..under_way {
        assert_eq!(answers.recv_timeout(SOON), Ok(true));
    }
}

/// A router forgets the connections of an idle server, and tells nobody.
fn try_silence(through: PubSubManager, direct: PubSubManager, relay: &Relay) {
    let (one, other) = (node(&|| through.clone()), node(&|| direct.clone()));
    relay.forget();
    eventually("the loss", || {
        one.manager.state() == ManagerState::Disconnected
    });
    connected(&one.manager);
    // Both ways, over new connections.
    heard(&one, &other, "there");
    heard(&other, &one, "and back");
}

#[test]
fn connections_to_redis_that_are_forgotten_on_the_way_are_noticed() {
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], redis.port())));
    let options = || BrokerOptions::new().timeout(Duration::from_secs(1));
    let make = |url: &str| RedisManager::with_options(url, options()).unwrap();
    let through = make(&Redis::url_at(relay.address.port()));
    try_silence(through, make(&redis.url()), &relay);
}

#[test]
fn connections_to_rabbitmq_that_are_forgotten_or_closed_are_noticed() {
    let Some(rabbit) = RabbitMq::start(free_port()) else {
        return;
    };
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], rabbit.port())));
    let options = || BrokerOptions::new().timeout(Duration::from_secs(1));
    let make = |url: &str| {
        let url = format!("{url}?heartbeat=1");
        AmqpManager::with_options(&url, options()).unwrap()
    };
    let through = make(&RabbitMq::url_at(relay.address.port()));
    try_silence(through, make(&rabbit.url()), &relay);

    // Only the publisher's, by an operator, while nothing is emitted.
    let (one, other) = (node(&|| make(&rabbit.url())), node(&|| make(&rabbit.url())));
    one.manager.flush(SOON).unwrap();
    let publishers = || {
        let channels = rabbit.control(&["list_channels", "connection", "confirm"]);
        let confirming = channels.lines().filter(|it| it.ends_with("true"));
        let pids = confirming.filter_map(|it| it.split_whitespace().next());
        pids.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = publishers();
    assert!(!before.is_empty());
    for pid in &before {
        rabbit.control(&["close_connection", pid, "by an operator"]);
    }
    eventually("new publishers", || {
        let now = publishers();
        now.len() == before.len() && now.iter().all(|it| !before.contains(it))
    });
    connected(&one.manager);
    one.io.emit("again", ()).unwrap();
    assert_eq!(received(&other.client), "again ");
}

/// A client of a server of python-socketio, and what it gets.
struct Theirs {
    events: Receiver<(String, usize)>,
    _client: Client,
    _server: Process,
}

impl Theirs {
    fn start(ours: &Node, url_of_broker: &str) -> Option<Theirs> {
        let (server, port) = python_server("threading", url_of_broker)?;
        let (client, (sender, events)) = (Client::new(), unbounded());
        client.on_any(move |event: &Event| {
            let size = event.arg::<String>(0).map_or(0, |text| text.len());
            let _ = sender.send((event.name().to_owned(), size));
        });
        client.connect(format!("http://127.0.0.1:{port}")).unwrap();
        // Until its first client is there, it does not listen.
        let sid = client.sid().unwrap();
        eventually("python's subscription", || {
            ours.io.to(&sid).emit("ready", ()).unwrap();
            events.recv_timeout(Duration::from_millis(100)).is_ok()
        });
        ours.io.to(&sid).emit("begin", ()).unwrap();
        while events.recv_timeout(SOON).unwrap().0 != "begin" {}
        Some(Theirs {
            events,
            _client: client,
            _server: server,
        })
    }

    /// What it gets up to an event.
    fn up_to(&self, last: &str) -> Vec<(String, usize)> {
        let mut events = Vec::new();
        loop {
            let event = self.events.recv_timeout(SOON).unwrap();
            if event.0 == last {
                return events;
            }
            events.push(event);
        }
    }
}

/// What is refused never comes to a client of python's, what is slow comes once, and what was
/// confirmed before a cut is not published again.
fn try_beside_python<B: Broker>(
    broker: &B,
    make: &dyn Fn(&str) -> PubSubManager,
    refuse: &dyn Fn(&Node),
) {
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], broker.port())));
    let through = B::url_at(relay.address.port());
    let ours = node(&|| make(&through));
    let other = node(&|| make(&broker.url()));
    let Some(theirs) = Theirs::start(&ours, &broker.url()) else {
        return;
    };
    while other.client.receive(Duration::ZERO).is_ok() {}

    refuse(&ours);
    ours.io.emit("after a refusal", ()).unwrap();
    assert_eq!(theirs.up_to("after a refusal"), []);
    assert_eq!(received(&other.client), "after a refusal ");
    assert_eq!(ours.manager.refused(), 1);

    relay.slow_down(250_000);
    ours.io.emit("slow", "x".repeat(600_000)).unwrap();
    ours.io.emit("after a slow one", ()).unwrap();
    let slow = ("slow".to_owned(), 600_000);
    assert_eq!(theirs.up_to("after a slow one"), [slow]);
    relay.speed_up();

    // Each batch is confirmed before the next cut: nothing of it comes again.
    for cut in 0..5 {
        for number in 0..20 {
            let text = "x".repeat(cut * 20 + number);
            ours.io.emit("number", text).unwrap();
        }
        ours.manager.flush(SOON).unwrap();
        relay.cut();
        eventually("the loss", || {
            ours.manager.state() == ManagerState::Disconnected
        });
        connected(&ours.manager);
    }
    ours.io.emit("the end", ()).unwrap();
    let numbers: Vec<_> = theirs.up_to("the end");
    let expected: Vec<_> = (0..100)
        .map(|number| ("number".to_owned(), number))
        .collect();
    assert_eq!(numbers, expected);
}

#[test]
fn redis_beside_python() {
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let options = || BrokerOptions::new().timeout(Duration::from_secs(2));
    let make = |url: &str| RedisManager::with_options(url, options()).unwrap();
    let refuse = |ours: &Node| {
        // Less than it has said.
        redis.ask("CONFIG SET proto-max-bulk-len 1048576");
        ours.io.emit("large", "x".repeat(1_100_000)).unwrap();
        assert!(ours.manager.flush(SOON).is_err());
        redis.ask("CONFIG SET proto-max-bulk-len 536870912");
    };
    try_beside_python(&redis, &make, &refuse);
}

#[test]
fn what_redis_has_confirmed_before_a_cut_comes_once_to_python() {
    const ANSWER: usize = ":1\r\n".len();
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], redis.port())));
    let ours = node(&|| from_url(&redis.url()).unwrap());
    let Some(theirs) = Theirs::start(&ours, &redis.url()) else {
        return;
    };
    // It has no listener: what comes back are answers alone.
    let through = from_url(&Redis::url_at(relay.address.port())).unwrap();
    let manager = through.write_only();
    let emitter = Server::builder().manager(manager.clone()).build();
    connected(&manager);
    for _ in 0..5 {
        relay.cut_after(30 * ANSWER);
        for number in 0..60 {
            emitter.emit("number", "x".repeat(number)).unwrap();
        }
        manager.flush(SOON).unwrap();
        emitter.emit("row", ()).unwrap();
        let mut times = [0; 60];
        for (_, number) in theirs.up_to("row") {
            times[number] += 1;
        }
        assert!(times.iter().all(|it| *it > 0), "{times:?}");
        // An answer or two were those of its checks.
        assert!(times[..25].iter().all(|it| *it == 1), "{times:?}");
        connected(&manager);
    }
}

#[test]
fn rabbitmq_beside_python() {
    let configuration = "max_message_size = 1000000\n";
    let Some(rabbit) = RabbitMq::start_with(free_port(), configuration) else {
        return;
    };
    let options = || BrokerOptions::new().timeout(Duration::from_secs(2));
    let make = |url: &str| AmqpManager::with_options(url, options()).unwrap();
    let refuse = |ours: &Node| {
        ours.io.emit("large", "x".repeat(1_100_000)).unwrap();
        assert!(ours.manager.flush(SOON).is_err());
    };
    try_beside_python(&rabbit, &make, &refuse);
}

#[test]
fn junk_on_a_channel_costs_a_few_records() {
    const JUNK: usize = 20_000;
    log::capture();
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let one = node(&|| from_url(&redis.url()).unwrap());
    let dropped = || log::count(&["of the broker", "dropped"]);
    let before = dropped();
    let publish = "*3\r\n$7\r\nPUBLISH\r\n$8\r\nsocketio\r\n$4\r\njunk\r\n".repeat(JUNK);
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let reading = std::thread::spawn(move || {
        let mut line = String::new();
        for _ in 0..JUNK {
            answers.read_line(&mut line).unwrap();
        }
    });
    stream.write_all(publish.as_bytes()).unwrap();
    reading.join().unwrap();
    emitter(&|| from_url(&redis.url()).unwrap())
        .emit("end", ())
        .unwrap();
    while received(&one.client) != "end " {}
    let records = dropped() - before;
    // One a second; other tests' brokers may be told junk at the same time.
    assert!((1..100).contains(&records), "{records}");
}

#[test]
fn what_librdkafka_says_goes_through_the_log_of_this_crate() {
    log::capture();
    let brokers = MockCluster::new(1).unwrap();
    let url = format!("kafka://{}", brokers.bootstrap_servers());
    let (one, _other) = (
        node(&|| from_url(&url).unwrap()),
        node(&|| from_url(&url).unwrap()),
    );
    brokers.broker_down(1).unwrap();
    eventually("the loss", || {
        one.manager.state() == ManagerState::Disconnected
    });
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT; 3];
    brokers.request_errors(RDKafkaApiKey::Metadata, &refusals);
    brokers.broker_up(1).unwrap();
    connected(&one.manager);
    assert_eq!(log::count(&["librdkafka: "]), 0);
    assert_eq!(log::count(&["rdkafka::"]), 0);
}

#[test]
fn a_server_of_old_python_is_heard_where_that_is_accepted_and_named_where_not() {
    log::capture();
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let url = redis.url();
    let Some(mut publish) = old_python("old_publisher.py", &[&url]) else {
        return;
    };
    let accepting = node(&|| from_url(&url).unwrap().accept_pickle(true));
    let refusing = node(&|| from_url(&url).unwrap());
    let named = || log::count(&["python-socketio"]);
    let before = named();
    succeed(&mut publish);
    assert_eq!(received(&accepting.client), "news old");
    eventually("its name in the log", || named() > before);
    accepting.io.emit("last", ()).unwrap();
    assert_eq!(received(&refusing.client), "last ");
}
