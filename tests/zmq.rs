//! Several servers over the forwarder of the examples.
#![cfg(feature = "zmq")]

mod common;

use common::brokers::Process;
use common::cluster::{self, connected, node};
use common::{eventually, example_path};
use socketio::manager::{ManagerState, from_url};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Starts a forwarder on ports of the system's choice, or given ones; gives its URL too.
fn forwarder(ports: [&str; 2]) -> (Process, String) {
    let mut command = Command::new(example_path("zmq_broker"));
    let mut process = Process::start(command.args(ports).stdout(Stdio::piped()));
    let mut line = String::new();
    let mut stdout = BufReader::new(process.0.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("a line");
    let url = line.trim().rsplit(' ').next().expect("a URL").to_owned();
    (process, url)
}

#[test]
fn servers_share_a_cluster() {
    let (_forwarder, url) = forwarder(["0", "0"]);
    cluster::all(&|| from_url(&url).unwrap());
}

#[test]
fn a_forwarder_that_was_killed_is_found_again() {
    let (process, url) = forwarder(["0", "0"]);
    let make = || from_url(&url).unwrap();
    let (one, other) = (node(&make), node(&make));
    let ports = url.rsplit(':').next().unwrap().split_once('+').unwrap();
    drop(process);
    for node in [&one, &other] {
        eventually("the loss", || {
            node.manager.state() == ManagerState::Disconnected
        });
    }
    one.io.emit("local", ()).unwrap();
    assert_eq!(cluster::received(&one.client), "local ");
    let _again = forwarder([ports.0, ports.1]);
    connected(&one.manager);
    connected(&other.manager);
    one.io.emit("again", ()).unwrap();
    while cluster::received(&other.client) != "again " {}
    assert!(one.client.connected() && other.client.connected());
}
