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
    assert!(matches!(refused, Err(Error::InvalidArgument(_))));
    std::fs::remove_dir_all(&files).unwrap();
}

#[cfg(feature = "pickle")]
#[test]
fn what_old_python_publishes_is_read_where_that_is_accepted() {
    use std::io::{Read, Write};
    // As `pickle.dumps` writes it, of a message of python-socketio 5.13.
    const EMITTED: &[u8] = b"\x80\x04\x95q\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x06method\x94\x8c\x04emit\x94\
        \x8c\x05event\x94\x8c\x04news\x94\x8c\x04data\x94\x8c\x03old\x94\x8c\x09namespace\x94\x8c\x01/\x94\
        \x8c\x04room\x94N\x8c\x08skip_sid\x94N\x8c\x08callback\x94N\x8c\x07host_id\x94\x8c\x03abc\x94u.";
    let Some(redis) = Redis::start(free_port()) else {
        return;
    };
    let accepting = node(&|| from_url(&redis.url()).expect("a URL").accept_pickle(true));
    let refusing = node(&|| from_url(&redis.url()).expect("a URL"));
    let length = EMITTED.len();
    let head = format!("*3\r\n$7\r\nPUBLISH\r\n$8\r\nsocketio\r\n${length}\r\n");
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", redis.port())).expect("Redis");
    let command = [head.as_bytes(), EMITTED, b"\r\n"].concat();
    stream.write_all(&command).expect("published");
    let mut heard_by = [0; 4];
    stream.read_exact(&mut heard_by).expect("an answer");
    assert_eq!(&heard_by, b":2\r\n");
    assert_eq!(cluster::received(&accepting.client), "news old");
    accepting.io.emit("last", ()).expect("sent");
    assert_eq!(cluster::received(&refusing.client), "last ");
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
