//! The integration tests, as one program: what takes long to link is linked once.

mod common;

mod admin;
#[cfg(all(feature = "amqp", feature = "tls"))]
mod amqp;
mod attacks;
#[cfg(all(feature = "redis", feature = "amqp"))]
mod broker_chaos;
#[cfg(all(feature = "redis", feature = "amqp"))]
mod broker_faults;
#[cfg(all(feature = "redis", feature = "amqp"))]
mod broker_limits;
#[cfg(all(
    feature = "redis",
    feature = "amqp",
    feature = "kafka",
    feature = "zmq",
    feature = "pickle"
))]
mod broker_promises;
mod client;
mod client_engineio;
mod client_faults;
mod client_network;
mod client_peers;
mod client_threads;
mod cluster;
#[cfg(feature = "redis")]
mod deployment;
mod embedding;
mod examples;
mod front_door;
mod generations;
#[cfg(feature = "kafka")]
mod kafka;
mod layers;
mod limits;
mod machine_faults;
mod memory;
mod middleware;
mod parsers;
mod peers;
#[cfg(all(feature = "redis", feature = "tls"))]
mod redis;
mod server_api;
mod server_faults;
mod simple_client;
#[cfg(feature = "cli")]
mod sio;
mod threads;
mod wire_engineio;
mod wire_socketio;
#[cfg(feature = "zmq")]
mod zmq;
