//! Several servers over the mock cluster of librdkafka.

use crate::common::cluster::{self, connected, node};
use crate::common::eventually;
use cluster::SOON;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use socketio::manager::{KafkaManager, ManagerState, from_url};
use socketio::{Error, Server};

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
    assert!(one.client.is_connected() && other.client.is_connected());
}

#[test]
fn what_the_brokers_refuse_is_given_up_and_the_rest_goes_on() {
    let brokers = MockCluster::new(1).unwrap();
    let url = format!("kafka://{}", brokers.bootstrap_servers());
    let make = || from_url(&url).unwrap();
    let (one, other) = (node(&make), node(&make));
    one.manager.flush(SOON).unwrap();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    // The next request, whatever is in it: a message, one of the manager's own, or several at once,
    // which are then published one by one and none of them given up.
    eventually("the refusal", || {
        brokers.request_errors(RDKafkaApiKey::Produce, &[refusal]);
        one.io.emit("number", 0).unwrap();
        let _ = one.manager.flush(SOON);
        other.io.emit("number", 1).unwrap();
        let _ = other.manager.flush(SOON);
        one.manager.refused() + other.manager.refused() > 0
    });
    brokers.clear_request_errors(RDKafkaApiKey::Produce);
    one.io.emit("again", ()).unwrap();
    while cluster::received(&other.client) != "again " {}
}

#[test]
fn topics_that_cannot_be_and_messages_that_are_too_large_are_errors_at_once() {
    let make = || from_url("kafka://").unwrap();
    assert!(make().channel("chat-1_a.b").is_ok());
    for wrong in ["", ".", "a b", "a/b", &"x".repeat(250)] {
        let topic = make().channel(wrong);
        assert!(matches!(topic, Err(Error::InvalidArgument(_))), "{wrong}");
    }
    let properties = [("message.max.bytes", "10000")];
    let manager = KafkaManager::with_properties("kafka://", properties).unwrap();
    let io = Server::builder().manager(manager.write_only()).build();
    io.emit("small", "x".repeat(8_000)).unwrap();
    let large = io.emit("large", "x".repeat(10_000));
    assert!(matches!(large, Err(Error::LimitExceeded(_))), "{large:?}");
}
