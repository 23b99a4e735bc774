//! The small examples with clients, run as their readers would.

use crate::common::{Example, PATIENCE, example_path, serve, url};
use socketio::{Reason, Server, SimpleClient, Socket};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

/// A program at a terminal.
struct Terminal {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Terminal {
    fn start(name: &str, args: &[&str]) -> Terminal {
        let mut child = Command::new(example_path(name))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("built by `cargo test`, or by `cargo build --examples`");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Terminal {
            stdin: child.stdin.take().expect("piped"),
            child,
            lines,
        }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("it reads");
    }

    /// Ends its input, and waits for it.
    fn end(mut self) {
        drop(self.stdin);
        assert!(self.child.wait().expect("it ends").success());
    }
}

#[test]
fn two_terminals_chat() {
    let server = Example::start("chat", 0, &[]);
    let url = server.url();
    let mut ada = Terminal::start("chat_client", &["Ada", "garden", &url]);
    assert_eq!(ada.line(), "* you are in garden, with Ada");
    let mut bob = Terminal::start("chat_client", &["Bob", "garden", &url]);
    assert!(bob.line().starts_with("* you are in garden, with "));
    assert_eq!(ada.line(), "* Bob is here");
    ada.say("hello, Bob");
    assert_eq!(bob.line(), "Ada: hello, Bob");
    bob.say("hello");
    assert_eq!(ada.line(), "Bob: hello");
    bob.say("/room kitchen");
    assert_eq!(bob.line(), "* you are in kitchen, with Bob");
    assert_eq!(ada.line(), "* Bob has left");
    let taken = Command::new(example_path("chat_client"))
        .args(["Ada", "garden", &url])
        .output();
    let taken = taken.expect("it runs");
    assert!(!taken.status.success());
    assert!(String::from_utf8_lossy(&taken.stderr).contains("Ada is taken in garden"));
    bob.end();
    ada.end();
}

#[test]
fn an_interrupt_disconnects_a_client_that_wants_it_before_the_process_ends() {
    let io = Server::new();
    io.on("echo", || ());
    let (sender, reasons) = mpsc::channel();
    io.on_disconnect(move |_: &Socket, reason: Reason| {
        sender.send(reason).expect("the test waits");
    });
    let serving = serve(&io);
    for transport in ["polling", "websocket"] {
        let mut latency = Terminal::start("latency", &[&url(&serving), transport]);
        latency.line();
        let pid = latency.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.expect("kill runs").success());
        assert_eq!(reasons.recv_timeout(PATIENCE), Ok(Reason::ClientDisconnect));
        let status = latency.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(130));
    }
}

#[test]
fn the_latency_is_measured_over_each_transport() {
    let io = Server::new();
    io.on("echo", || ());
    let serving = serve(&io);
    for transport in ["polling", "websocket"] {
        let mut latency = Terminal::start("latency", &[&url(&serving), transport]);
        let line = latency.line();
        assert!(
            line.trim().starts_with(transport) && line.contains("at best"),
            "{line}"
        );
        latency.child.kill().expect("killed");
        latency.child.wait().expect("waited for");
    }
}

#[test]
fn a_router_answers_beside_socket_io() {
    let server = crate::common::Example::start("router", 0, &[]);
    let mut http = crate::common::Http::connect(server.address());
    assert_eq!(http.get("/").status, 200);
    assert_eq!(http.get("/nowhere").status, 404);
    let client = SimpleClient::connect(server.url()).expect("connected");
    client
        .call::<()>("join", "lobby", PATIENCE)
        .expect("answered");
    assert_eq!(http.get("/rooms/lobby").text(), "1 in lobby\n");
    assert_eq!(http.post("/rooms/lobby", "hello").text(), "said\n");
    let said = client.receive(PATIENCE).expect("received");
    assert_eq!(said.arg::<String>(0).expect("text"), "hello");
}
