//! The Admin UI, and the figures.

use crate::common::{
    Http, PATIENCE, Ws, eventually, has_peer, node, peers, python, serve, succeed, url,
};
use socketio::admin::{Admin, Instrumented, Mode};
use socketio::{
    App, Args, Client, ConnectOptions, Error, Event, Limits, Server, Serving, SimpleClient, Socket,
    Value,
};
use std::path::Path;

/// What the peers' programs expect.
fn instrumented(admin: Admin) -> (Server, Serving, Instrumented) {
    let near = std::net::Ipv4Addr::LOCALHOST;
    let builder = Server::builder().cors_allowed_origins("*");
    let io = builder.trusted_proxies([near]).build();
    let serving = instrument(&io, admin);
    (io, serving.0, serving.1)
}

fn instrument(io: &Server, admin: Admin) -> (Serving, Instrumented) {
    io.on("join", |socket: &Socket, room: String| {
        socket.enter_room(&room)
    });
    io.on("say", |socket: &Socket, room: String, text: String| {
        socket.namespace().to(room).emit("said", text)
    });
    io.on("echo", |socket: &Socket, event: &Event| {
        socket.emit("echoed", event.args()?)
    });
    let administration = io
        .instrument(admin.server_id("srv-1"))
        .expect("instrumented");
    (serve(io), administration)
}

fn admin() -> Admin {
    Admin::basic("admin", "pw")
}

#[test]
fn an_official_client_sees_and_does_what_the_reference_lets_it() {
    let (_io, serving, _administration) = instrumented(admin());
    if let Some(mut client) = node("admin_client.js", &[&url(&serving)]) {
        succeed(&mut client);
    }
}

fn of_mode(mode: Mode, name: &str, read_only: bool) {
    let (_io, serving, _administration) = instrumented(admin().mode(mode).read_only(read_only));
    let url = url(&serving);
    let mut args = vec![&*url, "--mode", name];
    args.extend(read_only.then_some("--readonly"));
    if let Some(mut client) = node("admin_client.js", &args) {
        succeed(&mut client);
    }
}

#[test]
fn who_may_only_look_does_nothing() {
    of_mode(Mode::Development, "development", true);
}

#[test]
fn in_production_sums_are_told_alone() {
    of_mode(Mode::Production, "production", false);
}

#[test]
fn in_production_too_who_may_only_look_does_nothing() {
    of_mode(Mode::Production, "production", true);
}

#[test]
fn python_clients_see_what_python_servers_tell() {
    let (_io, serving, _administration) = instrumented(admin());
    if let Some(mut client) = python("admin_client.py", &[&url(&serving)]) {
        succeed(&mut client);
    }
}

fn real_ui(mode: &str, read_only: bool) {
    let chromium = std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into());
    let pages = peers().join("node_modules/@socket.io/admin-ui/ui/dist");
    if !has_peer("Chromium", Path::new(&chromium)) || !has_peer("the Admin UI", &pages) {
        return;
    }
    let of_mode = match mode {
        "production" => Mode::Production,
        _ => Mode::Development,
    };
    let options = admin().mode(of_mode).read_only(read_only).serve_ui(pages);
    let (_io, serving, _administration) = instrumented(options);
    let directory =
        crate::common::example_path("chat").with_file_name(format!("admin-{mode}-{read_only}"));
    std::fs::create_dir_all(&directory).expect("a directory");
    let directory = directory.to_str().expect("a path of text");
    let url = url(&serving);
    let mut args = vec![&*url, &*chromium, directory, "--mode", mode];
    args.extend(read_only.then_some("--readonly"));
    if let Some(mut pages) = node("admin_ui.js", &args) {
        succeed(&mut pages);
    }
}

#[test]
fn the_real_ui_shows_and_steers_the_server() {
    real_ui("development", false);
}

#[test]
fn the_real_ui_offers_nothing_where_nothing_may_be_done() {
    real_ui("development", true);
}

#[test]
fn the_real_ui_shows_sums_in_production() {
    real_ui("production", false);
}

/// A client of the administrators' namespace.
fn watch(address: &str) -> SimpleClient {
    let auth = std::collections::BTreeMap::from([("username", "admin"), ("password", "pw")]);
    let options = ConnectOptions::new(address)
        .auth(auth)
        .namespaces(["/admin"]);
    SimpleClient::connect(options).expect("let in")
}

fn next(watcher: &SimpleClient, event: &str) -> Args {
    let next = watcher.receive_named(event, PATIENCE).expect(event);
    next.args().expect("values")
}

/// The UI counts a client in a room each time that it is told of it.
#[test]
fn a_room_is_told_once_of_clients_that_enter_as_soon_as_they_can() {
    const CLIENTS: usize = 300;
    let io = Server::new();
    let (serving, _administration) = instrument(&io, admin());
    let watcher = watch(&url(&serving));
    next(&watcher, "config");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut client, connect) = Ws::join(serving.local_addr(), "40");
            client.send("42[\"join\",\"attic\"]");
            (client, connect)
        })
        .collect();
    let mut told = std::collections::HashMap::<String, usize>::new();
    while told.values().sum::<usize>() < CLIENTS {
        let event = watcher.receive(PATIENCE).expect("records");
        let Args(args) = event.args().expect("values");
        match event.name() {
            "socket_connected" if args[0]["nsp"] == "/" => {
                let sid = args[0]["id"].as_str().expect("an id");
                let Value::Array(rooms) = &args[0]["rooms"] else {
                    panic!("{:?}", args[0]);
                };
                let attics = rooms.iter().filter(|room| **room == "attic").count();
                *told.entry(sid.to_owned()).or_default() += attics;
            }
            "room_joined" if args[1] == "attic" => {
                let sid = args[2].as_str().expect("an id");
                *told.entry(sid.to_owned()).or_default() += 1;
            }
            _ => {}
        }
    }
    assert_eq!(told.len(), CLIENTS);
    assert!(told.values().all(|count| *count == 1), "{told:?}");
    drop(clients);
}

#[test]
fn what_is_dropped_leaves_nothing_and_servers_do_not_mix() {
    let io = Server::new();
    let other = Server::new();
    let (serving, administration) = instrument(&io, admin());
    let other_serving = serve(&other);
    assert!(matches!(
        io.instrument(admin()),
        Err(Error::InvalidArgument(_))
    ));
    let watcher = watch(&url(&serving));
    next(&watcher, "config");
    let stranger = SimpleClient::connect(url(&other_serving)).expect("connected");
    let client = SimpleClient::connect(url(&serving)).expect("connected");
    loop {
        let Args(args) = next(&watcher, "socket_connected");
        if args[0]["nsp"] == "/" {
            assert_eq!(args[0]["id"].as_str(), client.sid().as_deref());
            break;
        }
    }
    drop(stranger);
    let of_admin = || io.of("/admin").sockets().len();
    assert_eq!(of_admin(), 1);
    drop(administration);
    eventually("the watcher is gone", || of_admin() == 0);
    let refused = SimpleClient::connect(ConnectOptions::new(url(&serving)).namespaces(["/admin"]));
    assert!(
        refused
            .expect_err("no such namespace")
            .to_string()
            .contains("Invalid namespace")
    );
    drop(client);
    // It can begin anew.
    let _again = io.instrument(admin()).expect("instrumented");
    next(&watch(&url(&serving)), "config");
}

#[test]
fn secrets_and_large_payloads_are_not_shown() {
    let (_io, serving, _administration) = instrumented(admin().max_payload(100));
    let watcher = watch(&url(&serving));
    next(&watcher, "config");
    let options = ConnectOptions::new(url(&serving))
        .header("Authorization", "Bearer secret")
        .header("X-Shown", "yes")
        .auth(std::collections::BTreeMap::from([("token", "secret")]));
    let client = SimpleClient::connect(options).expect("connected");
    let shown = loop {
        let Args(args) = next(&watcher, "socket_connected");
        if args[0]["nsp"] == "/" {
            break args[0].clone();
        }
    };
    assert_eq!(shown["handshake"]["headers"]["x-shown"], "yes");
    assert!(!shown.to_string().contains("secret"), "{shown}");
    let (_io, open, _administration) = instrumented(admin().show_secrets(true));
    let watcher_of_all = watch(&url(&open));
    next(&watcher_of_all, "config");
    let options = ConnectOptions::new(url(&open)).header("Authorization", "Bearer secret");
    let _client = SimpleClient::connect(options).expect("connected");
    loop {
        let Args(args) = next(&watcher_of_all, "socket_connected");
        let field = &args[0]["handshake"]["headers"]["authorization"];
        if *field == "Bearer secret" {
            break;
        }
    }
    client.emit("echo", "x".repeat(1_000)).expect("sent");
    let Args(args) = next(&watcher, "event_received");
    assert_eq!(
        args[2],
        Value::from_json(r#"["echo","<1011 bytes>"]"#).expect("JSON"),
        "{}",
        args[2]
    );
    let Args(args) = next(&watcher, "event_sent");
    assert!(args[2].to_string().len() < 100, "{}", args[2]);
    client
        .emit("echo", socketio::Binary::from(b"bytes"))
        .expect("sent");
    let Args(args) = next(&watcher, "event_received");
    assert_eq!(args[2][1].as_bytes().map(|it| &it[..]), Some(&b"bytes"[..]));
}

#[test]
fn a_watcher_that_does_not_read_costs_nobody_anything() {
    let (io, serving, _administration) = instrumented(admin());
    let (mut slow, _) = crate::common::Ws::session(serving.local_addr());
    slow.send(r#"40/admin,{"username":"admin","password":"pw"}"#);
    eventually("it watches", || io.of("/admin").sockets().len() == 1);
    let client = Client::new();
    client.connect(url(&serving)).expect("connected");
    let text = "x".repeat(3_000);
    for _ in 0..200 {
        for _ in 0..50 {
            client.emit("echo", &text).expect("sent");
        }
        client
            .call::<()>("join", "room", PATIENCE)
            .expect("answered");
    }
    eventually("records are dropped", || {
        io.metrics().admin_dropped_total > 0
    });
    assert!(client.is_connected());
    client.shutdown();
}

#[test]
fn figures_count_what_happens() {
    let limits = Limits::default().name_bytes(10);
    let io = Server::builder().limits(limits).build();
    io.on("echo", |value: Value| value);
    let app = App::new(&io).metrics("/metrics");
    let serving = app.bind("127.0.0.1:0").expect("a port");
    let before = io.metrics();
    assert_eq!(before.sessions_opened_total, 0);
    let client = SimpleClient::connect(url(&serving)).expect("connected");
    for number in 0..10 {
        let _: u8 = client.call("echo", number, PATIENCE).expect("answered");
    }
    client.emit("a name that is too long", ()).expect("sent");
    io.emit("news", 1).expect("sent");
    client.receive(PATIENCE).expect("received");
    eventually("all is counted", || {
        let now = io.metrics();
        now.events_received_total == 10
            && now.events_sent_total == 1
            && now.handlers_total == 10
            && now.refused_total.contains(&("name_bytes", 1))
            && now.sessions_polling + now.sessions_websocket == 1
            && now.clients == [("/".to_owned(), 1)]
            && now.bytes_received_total > 100
            && now.bytes_sent_total > 50
    });
    let mut http = Http::connect(serving.local_addr());
    let page = http.get("/metrics");
    let kind = page.header("content-type").expect("a type").to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(page.body.clone()).expect("text");
    assert!(
        text.contains("socketio_events_received_total 10\n"),
        "{text}"
    );
    if let Some(mut check) = python("check_metrics.py", &[&format!("{}/metrics", url(&serving))]) {
        succeed(&mut check);
    }
    client.disconnect();
    eventually("the session is closed", || {
        let now = io.metrics();
        let closed: u64 = now.sessions_closed_total.iter().map(|it| it.1).sum();
        closed == 1 && now.sessions_polling + now.sessions_websocket == 0
    });
}

#[cfg(feature = "redis")]
#[test]
fn servers_behind_one_redis_show_in_one_ui() {
    use crate::common::brokers::{Broker as _, Redis, free_port};
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let start = |id: &str| {
        let manager = socketio::manager::from_url(&redis.url()).expect("a manager");
        let io = Server::builder().manager(manager).build();
        io.on("join", |socket: &Socket, room: String| {
            socket.enter_room(&room)
        });
        let interval = std::time::Duration::from_millis(200);
        let admin = admin().server_id(id).server_stats_interval(interval);
        let administration = io.instrument(admin).expect("instrumented");
        (serve(&io), io, administration)
    };
    let (one, two) = (start("one"), start("two"));
    let client = SimpleClient::connect(url(&two.0)).expect("connected");
    let sid = client.sid().expect("connected");
    let watcher = watch(&url(&one.0));
    let sees = |what: &str, event: &str, is_it: &dyn Fn(&Args) -> bool| {
        eventually(what, || is_it(&next(&watcher, event)));
    };
    // A client that was there before, sums of both, and what happens on the other server.
    sees("the client of two", "socket_connected", &|args| {
        args[0]["id"] == sid.as_str()
    });
    sees("sums of two", "server_stats", &|args| {
        args[0]["serverId"] == "two"
    });
    client
        .call::<()>("join", "room", PATIENCE)
        .expect("answered");
    sees("the room", "room_joined", &|args| {
        args[1] == "room" && args[2] == sid.as_str()
    });
    // And it is steered.
    watcher
        .emit("emit", ("/", "room", "hello", 7))
        .expect("sent");
    assert_eq!(
        client
            .receive_named("hello", PATIENCE)
            .expect("told")
            .arg::<u8>(0)
            .expect("a number"),
        7
    );
    watcher.emit("leave", ("/", "room", &sid)).expect("sent");
    sees("the room left", "room_left", &|args| args[1] == "room");
    let port = free_port();
    if let Some(command) = python(
        "python_admin_server.py",
        &[&port.to_string(), &redis.url(), "py-1"],
    ) {
        let python = Python::start(command, port);
        // It tells nothing before its first client.
        let _client = SimpleClient::connect(&python.url).expect("connected");
        sees("sums of python", "server_stats", &|args| {
            args[0]["serverId"] == "py-1"
        });
    }
    watcher
        .emit("_disconnect", ("/", false, &sid))
        .expect("sent");
    sees("the end", "socket_disconnected", &|args| {
        args[1] == sid.as_str()
    });
}

#[cfg(feature = "redis")]
#[test]
fn sessions_of_administrators_are_known_to_all_servers_in_redis() {
    use crate::common::brokers::{Broker as _, Redis, free_port};
    use socketio::admin::{RedisSessions, SessionStore as _};
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let store = || RedisSessions::new(&redis.url()).expect("a store");
    assert!(!store().knows("id"));
    let (_io, serving, _administration) = instrumented(admin().session_store(store()));
    let watcher = watch(&url(&serving));
    let Args(session) = next(&watcher, "session");
    let id = session[0].as_str().expect("an id").to_owned();
    assert!(store().knows(&id));
    assert!(
        redis
            .ask(&format!("TTL socket.io-admin#{id}"))
            .starts_with(":86")
    );
    // Without the password, by that alone.
    let auth = std::collections::BTreeMap::from([("sessionId", id)]);
    let options = ConnectOptions::new(url(&serving)).auth(auth);
    let again = SimpleClient::connect(options.namespaces(["/admin"])).expect("let in");
    next(&again, "config");
}

/// A server of python-socketio, stopped with the test.
#[cfg(feature = "redis")]
struct Python {
    child: std::process::Child,
    url: String,
}

#[cfg(feature = "redis")]
impl Python {
    fn start(mut command: std::process::Command, port: u16) -> Python {
        use std::io::BufRead;
        let child = command.stdout(std::process::Stdio::piped()).spawn();
        let mut python = Python {
            child: child.expect("runs"),
            url: format!("http://127.0.0.1:{port}"),
        };
        let stdout = python.child.stdout.take().expect("piped");
        let mut line = String::new();
        let read = std::io::BufReader::new(stdout).read_line(&mut line);
        read.expect("a line");
        python
    }
}

#[cfg(feature = "redis")]
impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn administrators_are_admitted_as_the_options_say() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let admits = |admin: Admin, auth: Pairs<'_>| {
        let io = Server::new();
        let (serving, _administration) = instrument(&io, admin.namespace("/ops"));
        let auth: std::collections::BTreeMap<_, _> = auth.iter().copied().collect();
        let options = ConnectOptions::new(url(&serving));
        let options = options.auth(auth).namespaces(["/ops"]);
        match SimpleClient::connect(options) {
            Ok(watcher) => drop(next(&watcher, "config")),
            Err(error) => {
                assert!(error.to_string().contains("invalid credentials"), "{error}");
                return false;
            }
        }
        true
    };
    let pair = |name, password| [("username", name), ("password", password)];
    let any = || Admin::any_of([("ann", "1"), ("bob", "2")]);
    assert!(admits(any(), &pair("ann", "1")));
    assert!(admits(any(), &pair("bob", "2")));
    assert!(!admits(any(), &pair("ann", "2")));
    assert!(!admits(any(), &[]));
    let checked = || Admin::checked_by(|auth| auth["token"] == "right");
    assert!(admits(checked(), &[("token", "right")]));
    assert!(!admits(checked(), &[("token", "wrong")]));
    let panics = Admin::checked_by(|_| panic!("it is broken"));
    assert!(!admits_at_all(panics));
    assert!(admits(Admin::without_auth(), &[]));
}

/// Whether anybody is let in by options whose check fails.
fn admits_at_all(admin: Admin) -> bool {
    let io = Server::new();
    let (serving, _administration) = instrument(&io, admin);
    SimpleClient::connect(ConnectOptions::new(url(&serving)).namespaces(["/admin"])).is_ok()
}

#[test]
fn servers_with_the_same_limits_count_for_themselves() {
    let limits = Limits::default().name_bytes(10);
    let servers: [Server; 2] =
        std::array::from_fn(|_| Server::builder().limits(limits.clone()).build());
    let serving = serve(&servers[0]);
    let client = SimpleClient::connect(url(&serving)).expect("connected");
    client.emit("a name that is too long", ()).expect("sent");
    let refused = |io: &Server| {
        let refused = io.metrics().refused_total;
        refused.contains(&("name_bytes", 1))
    };
    eventually("it is counted", || refused(&servers[0]));
    assert!(!refused(&servers[1]));
}

#[test]
fn figures_are_for_this_machine_unless_they_are_for_all() {
    let near = std::net::Ipv4Addr::LOCALHOST;
    let io = Server::builder().trusted_proxies([near]).build();
    for (app, foreign) in [
        (App::new(&io).metrics("/metrics"), 403),
        (App::new(&io).metrics_for_all("/metrics"), 200),
    ] {
        let serving = app.bind("127.0.0.1:0").expect("a port");
        let mut http = Http::connect(serving.local_addr());
        assert_eq!(http.get("/metrics").status, 200);
        let fields = "X-Forwarded-For: 203.0.113.9\r\n";
        let answer = http.request("GET /metrics", fields, "");
        assert_eq!(answer.status, foreign);
    }
}

#[test]
fn the_ui_is_served_where_the_options_say() {
    let name = format!("socketio-ui-{}", std::process::id());
    let pages = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&pages).expect("a directory");
    std::fs::write(pages.join("index.html"), "the UI").expect("written");
    std::fs::write(pages.join("other.html"), "another").expect("written");
    let io = Server::new();
    let options = admin().serve_ui_at("/ops/ui/", &pages);
    let _administration = io.instrument(options).expect("instrumented");
    let app = App::new(&io).static_files("/pages", &pages);
    let serving = app.index("other.html").bind("127.0.0.1:0").expect("a port");
    let mut http = Http::connect(serving.local_addr());
    assert_eq!(http.get("/ops/ui/index.html").text(), "the UI");
    assert_eq!(http.get("/admin-ui/").status, 404);
    assert_eq!(http.get("/pages/").text(), "another");
    std::fs::remove_dir_all(&pages).expect("removed");
}
