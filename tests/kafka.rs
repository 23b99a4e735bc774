//! Several servers over the mock cluster of librdkafka.
#![cfg(feature = "kafka")]

mod common;

use common::cluster::{self, connected, node};
use common::eventually;
use rdkafka::mocking::MockCluster;
use socketio::manager::{ManagerState, from_url};

#[test]
fn servers_share_a_cluster() {
    let brokers = MockCluster::new(2).unwrap();
    // More partitions than one: what is published must stay in order all the same.
    brokers.create_topic("socketio", 3, 1).unwrap();
    let url = format!("kafka://{}", brokers.bootstrap_servers());
    cluster::all(&|| from_url(&url).unwrap());
}

#[test]
fn brokers_that_were_down_are_found_again() {
    let brokers = MockCluster::new(1).unwrap();
    let url = format!("kafka://{}", brokers.bootstrap_servers());
    let make = || from_url(&url).unwrap();
    let (one, other) = (node(&make), node(&make));
    brokers.broker_down(1).unwrap();
    one.io.emit("waits", ()).unwrap();
    assert_eq!(cluster::received(&one.client), "waits ");
    eventually("the loss", || {
        one.manager.state() == ManagerState::Disconnected
    });
    brokers.broker_up(1).unwrap();
    connected(&one.manager);
    connected(&other.manager);
    one.io.emit("again", ()).unwrap();
    while cluster::received(&other.client) != "again " {}
    assert!(one.client.connected() && other.client.connected());
}
