//! Real clients against the examples: the official JavaScript client and python-socketio's.

use crate::common::{Example, PATIENCE, has_peer, node, peers, python, succeed};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;

#[test]
fn the_official_client_works_over_each_transport() {
    let server = Example::start("socketio_echo", 0, &["--max-payload", "300000"]);
    if let Some(mut client) = node("socketio_client.js", &[&server.url(), "300000"]) {
        succeed(&mut client);
    }
}

#[test]
fn the_official_engineio_client_works_over_each_transport() {
    let server = Example::start(
        "engineio_echo",
        0,
        &["--ping-interval", "200", "--ping-timeout", "2000"],
    );
    if let Some(mut client) = node("engineio_client.js", &[&server.url()]) {
        succeed(&mut client);
    }
}

#[test]
fn python_socketio_works_over_each_transport() {
    let server = Example::start("socketio_echo", 0, &[]);
    if let Some(mut client) = python("socketio_client.py", &[&server.url()]) {
        succeed(&mut client);
    }
}

#[test]
fn two_pages_of_the_chat_talk_in_chromium() {
    let chromium = std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into());
    let client = peers().join("node_modules/socket.io-client/dist/socket.io.min.js");
    if !has_peer("Chromium", Path::new(&chromium)) || !has_peer("the browser client", &client) {
        return;
    }
    let client = client.to_str().expect("a path of text");
    let server = Example::start("chat", 0, &["--client-js", client]);
    let screenshot = crate::common::example_path("chat").with_extension("png");
    let screenshot = screenshot.to_str().expect("a path of text");
    if let Some(mut pages) = node("chat_pages.js", &[&server.url(), &chromium, screenshot]) {
        succeed(&mut pages);
    }
}

#[test]
fn clients_come_back_after_the_server_was_killed() {
    for transports in ["polling", "websocket", "polling,websocket"] {
        let server = Example::start("socketio_echo", 0, &[]);
        let port = server.port;
        let Some(mut client) = node("reconnect_client.js", &[&server.url(), transports]) else {
            return;
        };
        let mut client = client
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client runs");
        let stdout = BufReader::new(client.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let next = || {
            lines
                .recv_timeout(PATIENCE)
                .expect("a line from the client")
        };
        assert_eq!(next(), "connected still there?");
        server.kill();
        assert!(next().starts_with("disconnected transport"));
        let server = Example::start("socketio_echo", port, &[]);
        assert_eq!(next(), "connected still there?");
        // A server that shuts down in order is come back to as well.
        server.terminate();
        assert!(next().starts_with("disconnected transport"));
        let server = Example::start("socketio_echo", port, &[]);
        assert_eq!(next(), "connected still there?");
        drop(server);
        client.kill().expect("killed");
        client.wait().expect("waited for");
    }
}
