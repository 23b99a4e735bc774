//! Several servers over a real Redis, one of them python-socketio's.

use crate::common::brokers::{Broker, Redis, certificates, free_port, trusting};
use crate::common::cluster::{self, connected, node};
use crate::common::eventually;
use socketio::manager::{BrokerOptions, ManagerState, RedisManager, from_url};
use socketio::{ClientTls, Error, Server};
use std::time::Duration;

#[test]
fn servers_share_a_cluster() {
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    cluster::all(&|| from_url(&redis.url()).unwrap());
}

#[test]
fn python_servers_are_part_of_the_cluster() {
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    cluster::with_python(&|| from_url(&redis.url()).unwrap(), &redis.url());
}

#[test]
fn tls_reaches_a_broker_of_an_authority_that_is_trusted() {
    if !Redis::is_there() {
        return;
    }
    let files = certificates("redis");
    let port = free_port();
    let file = |name: &str| files.join(name).display().to_string();
    let arguments = format!(
        "--save||--port|0|--tls-port|{port}|--tls-cert-file|{}|--tls-key-file|{}|--tls-ca-cert-file|{}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let arguments: Vec<_> = arguments.split('|').collect();
    let _redis = Redis::start_listening(port, &arguments).unwrap();
    let url = format!("rediss://localhost:{port}/0");
    let make = || {
        // It asks for a certificate, too.
        let options = BrokerOptions::new()
            .tls(trusting(&files))
            .name("socketio-test");
        RedisManager::with_options(&url, options).unwrap()
    };
    cluster::every_form_of_data(&make);
    cluster::answers(&make);
    // Who is not trusted is not spoken to.
    let wary = from_url(&url).unwrap();
    let io = Server::builder().manager(wary.clone()).build();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(wary.state(), ManagerState::Disconnected);
    drop((io, wary));
    let any = ClientTls::new().danger_accept_any_certificate();
    let refused = RedisManager::with_options(&url, BrokerOptions::new().tls(any));
    assert!(matches!(refused, Err(Error::Invalid(_))));
    std::fs::remove_dir_all(&files).unwrap();
}

#[test]
fn sentinels_lead_to_the_new_master_when_the_old_one_has_died() {
    let Some(master) = Redis::start(free_port()) else {
        return;
    };
    let of = master.port().to_string();
    let options = ["--save", "", "--replicaof", "127.0.0.1", &of];
    let _replica = Redis::start_with(free_port(), &options).unwrap();
    let folder = std::env::temp_dir().join(format!("socketio-sentinels-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let sentinels: Vec<_> = (0..3)
        .map(|number| {
            // Sentinels write what they learn into their configuration.
            let file = folder.join(format!("{number}.conf"));
            let configuration = format!(
                "sentinel monitor service 127.0.0.1 {of} 2\n\
                 sentinel down-after-milliseconds service 500\n\
                 sentinel failover-timeout service 3000\n"
            );
            std::fs::write(&file, configuration).unwrap();
            let more = [file.to_str().unwrap(), "--sentinel"];
            Redis::start_with(free_port(), &more).unwrap()
        })
        .collect();
    let hosts: Vec<_> = sentinels
        .iter()
        .map(|it| format!("127.0.0.1:{}", it.port()))
        .collect();
    let url = format!("redis+sentinel://{}/0/service", hosts.join(","));
    let make = || from_url(&url).unwrap();
    let (one, other) = (node(&make), node(&make));
    let hears = |text: &str| {
        eventually("the event", || {
            one.io.emit("news", text).unwrap();
            let event = other.client.receive(Duration::from_millis(100));
            event.is_ok_and(|event| event.data::<String>().unwrap() == text)
        });
    };
    hears("before");
    // They must know each other, and the replica, to agree on it.
    for sentinel in &sentinels {
        eventually("what the sentinels know", || {
            sentinel
                .ask("SENTINEL ckquorum service")
                .starts_with("+OK 3 usable")
                && sentinel.ask("SENTINEL replicas service").starts_with("*1")
        });
    }
    drop(master);
    eventually("the loss", || {
        one.manager.state() == ManagerState::Disconnected
    });
    hears("after");
    connected(&one.manager);
    drop(sentinels);
    std::fs::remove_dir_all(&folder).unwrap();
}
