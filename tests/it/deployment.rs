//! Several servers as they are deployed: one chat behind one Redis, and nginx before them.

use crate::common::brokers::{Broker, Process, Redis, free_port};
use crate::common::cluster::{self, Node, node};
use crate::common::{
    Example, eventually, example_path, has_peer, node as node_js, peers, serve, url,
};
use socketio::engineio::Transport;
use socketio::manager::from_url;
use socketio::{Client, ConnectOptions, Server};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_chat_of_three_servers_is_one_and_hears_what_is_said_from_outside() {
    let chromium = std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into());
    let client = peers().join("node_modules/socket.io-client/dist/socket.io.min.js");
    if !has_peer("Chromium", Path::new(&chromium)) || !has_peer("the browser client", &client) {
        return;
    }
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let url = redis.url();
    let client = client.to_str().expect("a path of text");
    let arguments = ["--manager", &url, "--client-js", client];
    let servers = [0; 3].map(|port| Example::start("chat", port, &arguments));
    let urls = servers.each_ref().map(Example::url);
    let arguments = [&chromium, &urls[0], &urls[1], &urls[2]].map(|it| it.as_str());
    let Some(mut pages) = node_js("chat_cluster.js", &arguments) else {
        return;
    };
    let mut pages = Process::start(pages.stdout(Stdio::piped()));
    let mut stdout = BufReader::new(pages.0.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let emitted = Command::new(example_path("emit"))
        .args([&url, "message", r#"{"sid": "kitchen", "name": "Kitchen"}"#])
        .args([r#""Tea is ready""#, "--room", "room lobby"])
        .status();
    assert!(emitted.expect("it runs").success());
    stdout.read_to_string(&mut line).expect("what else it says");
    assert!(pages.0.wait().expect("it ends").success(), "{line}");
}

#[test]
fn a_message_that_the_broker_does_not_take_is_a_failure_of_emit() {
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    for (arguments, status) in [
        (&[][..], 2),
        (&["redis://localhost", "event", "no json"], 2),
        (&["http://localhost", "event"], 1),
        (&[&nobody, "event"], 1),
    ] {
        let emitted = Command::new(example_path("emit")).args(arguments).output();
        assert_eq!(emitted.expect("it runs").status.code(), Some(status));
    }
}

/// The example's configuration, for other ports.
fn nginx_before(port: u16, servers: &[Node]) -> Option<Process> {
    let mut text = include_str!("../../examples/nginx.conf").to_owned();
    for (number, node) in servers.iter().enumerate() {
        let address = node.serving.local_addr().to_string();
        text = text.replace(&format!("127.0.0.1:500{}", number + 1), &address);
    }
    // Here all clients have one address.
    text = text.replace("hash $remote_addr", "hash $http_x_client");
    nginx(port, &text)
}

/// Starts nginx with a configuration that listens on port 80, on another, with files of its own.
fn nginx(port: u16, text: &str) -> Option<Process> {
    let program = Path::new("/usr/sbin/nginx");
    if !has_peer("nginx", program) {
        return None;
    }
    let folder = std::env::temp_dir().join(format!("socketio-nginx-{port}"));
    std::fs::create_dir_all(&folder).unwrap();
    let temporary = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"]
        .map(|name| format!("{name}_temp_path {name};\n"))
        .concat();
    let text = text
        .replace("listen 80;", &format!("listen 127.0.0.1:{port};"))
        .replace("http {", &format!("http {{\naccess_log off;\n{temporary}"));
    std::fs::write(folder.join("nginx.conf"), text).unwrap();
    let mut command = Command::new(program);
    let globals = "daemon off; master_process off; pid nginx.pid; error_log stderr;";
    command
        .arg("-p")
        .arg(&folder)
        .args(["-c", "nginx.conf", "-e", "stderr", "-g", globals]);
    let nginx = Process::start(&mut command);
    eventually("nginx listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Some(nginx)
}

#[test]
fn nginx_keeps_each_client_on_its_server() {
    const CLIENTS: usize = 16;
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let make = || from_url(&redis.url()).unwrap();
    let servers = [node(&make), node(&make), node(&make)];
    let port = free_port();
    let Some(nginx) = nginx_before(port, &servers) else {
        return;
    };
    for transports in [
        &[Transport::Polling][..],
        &[Transport::Polling, Transport::WebSocket],
    ] {
        let heard = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, heard) = (Client::new(), Arc::clone(&heard));
                client.on("news", move || heard.fetch_add(1, Ordering::SeqCst));
                let options = ConnectOptions::new(format!("http://127.0.0.1:{port}"))
                    .transports(transports)
                    .header("X-Client", &number.to_string());
                client.connect(options).unwrap();
                client
            })
            .collect();
        if transports.len() == 2 {
            eventually("the upgrades", || {
                let mut clients = clients.iter();
                clients.all(|it| it.transport() == Some(Transport::WebSocket))
            });
        }
        for server in &servers {
            // Its own client, and some of those that nginx has sent.
            assert!(server.io.sockets().len() > 1, "nginx shares them out");
        }
        servers[0].io.emit("news", ()).unwrap();
        eventually("the news", || heard.load(Ordering::SeqCst) == CLIENTS);
        for client in &clients {
            let room = client.call::<()>("room", "blue", cluster::SOON);
            room.unwrap();
        }
    }
    drop(nginx);
    let _ = std::fs::remove_dir_all(std::env::temp_dir().join(format!("socketio-nginx-{port}")));
    assert!(
        servers.iter().all(|it| it.client.is_connected()),
        "{}",
        url(&servers[0].serving)
    );
}

/// What the guide tells people to write.
#[test]
fn pages_behind_the_guides_nginx_are_of_its_origin() {
    let guide = include_str!("../../src/guide/deployment.md");
    let block = guide.split("```nginx").nth(1).expect("a block");
    let block = block.split("```").next().expect("its end");
    let io = Server::new();
    let serving = serve(&io);
    let block = block.replace("127.0.0.1:5000", &serving.local_addr().to_string());
    let port = free_port();
    let text = format!("events {{}}\nhttp {{\nserver {{\nlisten 80;\n{block}\n}}\n}}\n");
    let Some(_nginx) = nginx(port, &text) else {
        return;
    };
    let origin = format!("http://127.0.0.1:{port}");
    for transports in [
        &[Transport::WebSocket][..],
        &[Transport::Polling, Transport::WebSocket],
    ] {
        let client = Client::builder().reconnection(false).build();
        let options = ConnectOptions::new(&*origin)
            .transports(transports)
            .header("Origin", &origin);
        client.connect(options).expect("the page's own origin");
        eventually("the WebSocket", || {
            client.transport() == Some(Transport::WebSocket)
        });
        client.disconnect();
    }
    let elsewhere = ConnectOptions::new(&*origin).header("Origin", "http://127.0.0.1:1");
    assert!(Client::new().connect(elsewhere).is_err());
    let _ = std::fs::remove_dir_all(std::env::temp_dir().join(format!("socketio-nginx-{port}")));
}

#[test]
fn nginx_passes_on_to_a_unix_socket() {
    let port = free_port();
    let path = std::env::temp_dir().join(format!("socketio-nginx-{port}.sock"));
    let io = Server::new();
    io.on("echo", |text: String| text);
    let serving = io.serve_unix(&path).unwrap();
    let text = include_str!("../../examples/nginx.conf");
    let (head, rest) = text.split_once("    upstream socketio {").unwrap();
    let (_, rest) = rest.split_once("    }").unwrap();
    let upstream = format!("upstream socketio {{ server unix:{}; }}", path.display());
    let Some(nginx) = nginx(port, &format!("{head}{upstream}{rest}")) else {
        return;
    };
    for transport in [Transport::Polling, Transport::WebSocket] {
        let client = Client::new();
        let options = ConnectOptions::new(format!("http://127.0.0.1:{port}"));
        client.connect(options.transports([transport])).unwrap();
        let answer: String = client.call("echo", "x", cluster::SOON).unwrap();
        assert_eq!(answer, "x");
        let socket = io.sockets().remove(0);
        assert_eq!(
            socket.request().header("x-forwarded-for").as_deref(),
            Some("127.0.0.1")
        );
        client.disconnect();
    }
    drop((nginx, serving));
}
