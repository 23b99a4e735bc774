//! Several servers over a real RabbitMQ, one of them python-socketio's.

use crate::common::brokers::{Broker, RabbitMq, certificates, free_port, trusting};
use crate::common::cluster;
use socketio::Server;
use socketio::manager::{AmqpManager, BrokerOptions, ManagerState, from_url};
use std::time::Duration;

#[test]
fn servers_share_a_cluster_with_pythons_among_them() {
    let Some(rabbit) = RabbitMq::start(free_port()) else {
        return;
    };
    let make = || from_url(&rabbit.url()).unwrap();
    cluster::all(&make);
    cluster::with_python(&make, &rabbit.url());
}

#[test]
fn tls_reaches_a_broker_of_an_authority_that_is_trusted() {
    let (files, port) = (certificates("rabbit"), free_port());
    let file = |name: &str| files.join(name).display().to_string();
    let configuration = format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\n\
         ssl_options.cacertfile = {}\n\
         ssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\n\
         ssl_options.verify = verify_peer\n\
         ssl_options.fail_if_no_peer_cert = true\n",
        file("ca.pem"),
        file("server.pem"),
        file("server.key")
    );
    let Some(_rabbit) = RabbitMq::start_with(free_port(), &configuration) else {
        return;
    };
    let url = format!("amqps://guest:guest@localhost:{port}//");
    let make = || {
        let options = BrokerOptions::new()
            .tls(trusting(&files))
            .name("socketio-test");
        AmqpManager::with_options(&url, options).unwrap()
    };
    cluster::every_form_of_data(&make);
    // Who is not trusted is not spoken to.
    let wary = from_url(&url).unwrap();
    let io = Server::builder().manager(wary.clone()).build();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(wary.state(), ManagerState::Disconnected);
    drop((io, wary));
    std::fs::remove_dir_all(&files).unwrap();
}
