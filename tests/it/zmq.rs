//! Several servers over the forwarder of the examples.

use crate::common::brokers::Process;
use crate::common::cluster::{self, connected, node};
use crate::common::relay::Relay;
use crate::common::{eventually, example_path};
use socketio::manager::{ManagerState, from_url};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
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
    cluster::heard(&one, &other, "again");
    assert!(one.client.is_connected() && other.client.is_connected());
}

#[test]
fn a_forwarder_that_hangs_is_lost_and_found_again() {
    let (process, url) = forwarder(["0", "0"]);
    let make = || from_url(&url).unwrap();
    let (one, other) = (node(&make), node(&make));
    process.signal("STOP");
    // Nobody emits anything: what the managers send to themselves does not come back.
    for node in [&one, &other] {
        eventually("the loss", || {
            node.manager.state() == ManagerState::Disconnected
        });
        assert!(node.manager.reason().is_some());
    }
    process.signal("CONT");
    connected(&one.manager);
    connected(&other.manager);
    cluster::heard(&one, &other, "again");
}

#[test]
fn a_forwarder_that_is_slow_is_not_given_up() {
    let (_process, url) = forwarder(["0", "0"]);
    let ports = url.rsplit(':').next().unwrap().split_once('+').unwrap();
    let push: u16 = ports.0.parse().unwrap();
    let relay = Relay::to(SocketAddr::from(([127, 0, 0, 1], push)));
    let through = format!("zmq+tcp://127.0.0.1:{}+{}", relay.address.port(), ports.1);
    let slow = node(&|| from_url(&through).unwrap());
    let other = node(&|| from_url(&url).unwrap());
    relay.slow_down(250_000);
    // Longer than the 5 s in which a forwarder has to take something.
    slow.io.emit("large", "x".repeat(1_500_000)).unwrap();
    slow.io.emit("small", ()).unwrap();
    assert!(cluster::received(&other.client).starts_with("large "));
    assert_eq!(cluster::received(&other.client), "small ");
    assert_eq!(slow.manager.refused(), 0);
}
