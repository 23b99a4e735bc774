//! The client against servers of the JavaScript and Python implementations.

use crate::common::{Example, PATIENCE, eventually, node, python};
use socketio::engineio::Transport;
use socketio::{
    Binary, Bytes, Client, ConnectError, ConnectOptions, Error, Event, Reason, SimpleClient,
};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const TRANSPORTS: [&[Transport]; 3] = [
    &[Transport::Polling],
    &[Transport::WebSocket],
    &[Transport::Polling, Transport::WebSocket],
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Node,
    Threading,
    Asgi,
}

/// A server of another implementation, running.
struct Peer {
    child: Child,
    port: u16,
}

impl Peer {
    /// Starts one that pings at an interval, and waits for pongs; in milliseconds.
    fn start(kind: Kind, port: u16, ping: (u32, u32)) -> Option<Peer> {
        Peer::start_with(kind, port, ping, &[])
    }

    fn start_with(kind: Kind, port: u16, ping: (u32, u32), more: &[&str]) -> Option<Peer> {
        let port = port.to_string();
        let seconds = |time: u32| (f64::from(time) / 1000.0).to_string();
        let mut command = match kind {
            Kind::Node => {
                let (interval, timeout) = (ping.0.to_string(), ping.1.to_string());
                let mut args = vec![port.as_str(), &interval, &timeout];
                args.extend(more);
                node("socketio_server.js", &args)?
            }
            Kind::Threading | Kind::Asgi => {
                let mode = if kind == Kind::Asgi {
                    "asgi"
                } else {
                    "threading"
                };
                let (interval, timeout) = (seconds(ping.0), seconds(ping.1));
                python("socketio_server.py", &[mode, &port, &interval, &timeout])?
            }
        };
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        // Stopped with the test also if it never listens.
        let mut peer = Peer { child, port: 0 };
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let port = line.trim().rsplit(':').next();
        peer.port = port.and_then(|port| port.parse().ok()).expect("a port");
        Some(peer)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }
}

fn each(test: impl Fn(Kind, &Peer, &'static [Transport])) {
    for kind in [Kind::Node, Kind::Threading, Kind::Asgi] {
        let Some(server) = Peer::start(kind, 0, (25_000, 20_000)) else {
            return;
        };
        for transports in TRANSPORTS {
            println!("{kind:?} {transports:?}");
            test(kind, &server, transports);
        }
    }
}

/// A client that tries again at once.
fn quick() -> Client {
    Client::builder()
        .reconnection_delay(Duration::from_millis(50))
        .reconnection_delay_max(Duration::from_millis(50))
        .build()
}

fn eventually_on(client: &Client, transports: &[Transport]) {
    let last = transports.last().copied();
    eventually("the last transport", || client.transport() == last);
}

#[test]
fn everything_goes_both_ways() {
    each(|kind, server, transports| {
        let client = Client::new();
        let (sender, got) = crossbeam_channel::unbounded();
        client.on("back", move |event: &Event| {
            sender.send(event.args().unwrap()).unwrap();
        });
        client.on("sum", |a: i64, b: i64| a + b);
        let auth = BTreeMap::from([("token", "x")]);
        let options = ConnectOptions::new(server.url()).transports(transports);
        let options = options.wait_timeout(SOON).auth(auth.clone());
        client.connect(options.namespaces(&["/", "/chat"])).unwrap();
        for space in [client.clone(), client.of("/chat")] {
            assert_eq!(space.call::<i64>("echo", 7, SOON).unwrap(), 7);
            let several: (i64, String) = space.call("echo", (7, "ä\u{1e}"), SOON).unwrap();
            assert_eq!(several, (7, "ä\u{1e}".into()));
            let bytes = |bytes: &'static [u8]| Binary(Bytes::from_static(bytes));
            let deep = BTreeMap::from([("list", vec![(bytes(b"\0\xff"), 1), (bytes(b""), 2)])]);
            let echoed: BTreeMap<String, Vec<(Binary, i64)>> =
                space.call("echo", (&deep,), SOON).unwrap();
            assert_eq!(echoed["list"], deep["list"]);
        }
        let token: BTreeMap<String, String> = client.call("auth", (), SOON).unwrap();
        assert_eq!(token["token"], "x");
        client
            .emit("back", ("one", Binary(vec![1, 2, 3].into())))
            .unwrap();
        let args = got.recv_timeout(SOON).unwrap();
        assert_eq!(args[0].as_str(), Some("one"));
        assert_eq!(args[1].as_bytes().map(|bytes| bytes.len()), Some(3));
        if kind == Kind::Node {
            assert_eq!(client.call::<i64>("ask", (), SOON).unwrap(), 5);
        } else {
            client.emit("ask", ()).unwrap();
            eventually("the server's answer", || {
                client.call::<Option<i64>>("answer", (), SOON).unwrap() == Some(5)
            });
        }
        eventually_on(&client, transports);
        assert_eq!(client.call::<i64>("echo", 8, SOON).unwrap(), 8);
        client.disconnect();
    });
}

#[test]
fn large_messages_and_bursts_arrive_whole_and_in_order() {
    each(|_, server, transports| {
        let client = Client::new();
        let (sender, numbers) = crossbeam_channel::unbounded();
        client.on("number", move |number: usize| sender.send(number).unwrap());
        let options = ConnectOptions::new(server.url()).transports(transports);
        client.connect(options.wait_timeout(SOON)).unwrap();
        let text = "x".repeat(1_000_000);
        assert_eq!(client.call::<String>("echo", &text, SOON).unwrap(), text);
        let bytes = Binary(vec![7; 1_000_000].into());
        assert_eq!(client.call::<Binary>("echo", &bytes, SOON).unwrap(), bytes);
        client.emit("burst", 500).unwrap();
        for expected in 0..500 {
            assert_eq!(numbers.recv_timeout(SOON).unwrap(), expected);
        }
        for number in 0..500 {
            client.emit("number", number).unwrap();
        }
        assert_eq!(client.call::<i64>("counted", (), SOON).unwrap(), 500);
    });
}

#[test]
fn a_refusal_comes_with_its_data_and_one_of_several_refuses_all() {
    each(|_, server, transports| {
        let client = Client::new();
        let (sender, refusals) = crossbeam_channel::unbounded();
        client
            .of("/refused")
            .on_connect_error(move |_: &Client, error: &ConnectError| {
                sender.send(error.clone()).unwrap();
            });
        let options = ConnectOptions::new(server.url()).transports(transports);
        let options = options.wait_timeout(SOON);
        let Err(Error::Connection(error)) = client.connect(options.clone()) else {
            panic!("a refusal");
        };
        for error in [error, refusals.recv_timeout(SOON).unwrap()] {
            assert_eq!(error.message(), "bad token");
            assert_eq!(error.data::<BTreeMap<String, i64>>().unwrap()["code"], 42);
        }
        let Err(Error::Connection(error)) =
            client.connect(options.clone().namespaces(&["/", "/refused"]))
        else {
            panic!("a refusal");
        };
        assert_eq!(error.message(), "/refused: bad token");
        assert_eq!(error.data::<BTreeMap<String, i64>>().unwrap()["code"], 42);
        assert!(client.namespaces().is_empty());
        client.connect(options.namespaces(&["/chat"])).unwrap();
        assert_eq!(client.namespaces(), ["/chat"]);
    });
}

#[test]
fn both_sides_may_end_a_connection() {
    each(|_, server, transports| {
        let client = quick();
        let (sender, reasons) = crossbeam_channel::unbounded();
        client.on_disconnect(move |_: &Client, reason: Reason| {
            let _ = sender.send(reason);
        });
        let options = ConnectOptions::new(server.url()).transports(transports);
        let options = options.wait_timeout(SOON);
        client.connect(options.clone()).unwrap();
        client.emit("leave", ()).unwrap();
        assert_eq!(reasons.recv_timeout(SOON), Ok(Reason::ServerDisconnect));
        client.wait();
        client.connect(options.clone()).unwrap();
        eventually_on(&client, transports);
        client.disconnect();
        assert_eq!(reasons.recv_timeout(SOON), Ok(Reason::ClientDisconnect));
        let other = SimpleClient::connect(options).unwrap();
        eventually("the reason at the server", || {
            let reason: Option<String> = other.call("reason", (), SOON).unwrap();
            // The words of JavaScript, and of python.
            matches!(
                reason.as_deref(),
                Some("client namespace disconnect" | "client disconnect")
            )
        });
    });
}

#[test]
fn what_is_emitted_right_before_the_end_is_handled() {
    for kind in [Kind::Node, Kind::Threading, Kind::Asgi] {
        let Some(server) = Peer::start(kind, 0, (25_000, 20_000)) else {
            return;
        };
        let mut expected = 0;
        for transports in TRANSPORTS {
            let options = ConnectOptions::new(server.url()).transports(transports);
            let options = options.wait_timeout(SOON);
            for _ in 0..5 {
                let client = SimpleClient::connect(options.clone()).unwrap();
                client.emit("say", ()).unwrap();
                client.emit("say", ()).unwrap();
                expected += 2;
            }
            let other = SimpleClient::connect(options).unwrap();
            assert_eq!(
                other.call::<i64>("said", (), SOON).unwrap(),
                expected,
                "{kind:?} {transports:?}"
            );
        }
    }
}

#[test]
fn a_client_survives_what_happens_to_its_server() {
    for kind in [Kind::Node, Kind::Threading, Kind::Asgi] {
        for transports in TRANSPORTS {
            println!("{kind:?} {transports:?}");
            let Some(server) = Peer::start(kind, 0, (25_000, 20_000)) else {
                return;
            };
            let port = server.port;
            let client = quick();
            let (sender, reasons) = crossbeam_channel::unbounded();
            client.on_disconnect(move |_: &Client, reason: Reason| {
                let _ = sender.send(reason);
            });
            let options = ConnectOptions::new(server.url()).transports(transports);
            client.connect(options.wait_timeout(SOON)).unwrap();
            eventually_on(&client, transports);
            drop(server);
            let reason = reasons.recv_timeout(SOON).unwrap();
            let lost = [Reason::TransportClose, Reason::TransportError];
            assert!(lost.contains(&reason), "{reason}");
            let _server = Peer::start(kind, port, (25_000, 20_000));
            eventually("the reconnection", || client.is_connected());
            assert_eq!(client.call::<i64>("echo", 9, SOON).unwrap(), 9);
        }
    }
}

#[test]
fn a_server_that_says_nothing_more_is_noticed_by_its_missing_ping() {
    for kind in [Kind::Node, Kind::Threading, Kind::Asgi] {
        let Some(server) = Peer::start(kind, 0, (1_000, 1_000)) else {
            return;
        };
        for transports in TRANSPORTS {
            println!("{kind:?} {transports:?}");
            let client = quick();
            let (sender, reasons) = crossbeam_channel::unbounded();
            client.on_disconnect(move |_: &Client, reason: Reason| {
                let _ = sender.send(reason);
            });
            let options = ConnectOptions::new(server.url()).transports(transports);
            client.connect(options.wait_timeout(SOON)).unwrap();
            eventually_on(&client, transports);
            server.signal("-STOP");
            assert_eq!(reasons.recv_timeout(PATIENCE), Ok(Reason::PingTimeout));
            server.signal("-CONT");
            eventually("the reconnection", || client.is_connected());
        }
    }
}

#[test]
fn our_own_server_may_pause_or_die_as_well() {
    for transports in TRANSPORTS {
        let ping = ["--ping-interval", "300", "--ping-timeout", "300"];
        let server = Example::start("socketio_echo", 0, &ping);
        let port = server.port;
        let client = quick();
        let (sender, reasons) = crossbeam_channel::unbounded();
        client.on_disconnect(move |_: &Client, reason: Reason| {
            let _ = sender.send(reason);
        });
        let options = ConnectOptions::new(server.url()).transports(transports);
        client.connect(options.wait_timeout(SOON)).unwrap();
        eventually_on(&client, transports);
        let signal = |signal: &str| {
            let pid = server.pid().to_string();
            assert!(
                Command::new("kill")
                    .args([signal, &pid])
                    .status()
                    .unwrap()
                    .success()
            );
        };
        signal("-STOP");
        assert_eq!(reasons.recv_timeout(PATIENCE), Ok(Reason::PingTimeout));
        signal("-CONT");
        eventually("the reconnection", || client.is_connected());
        server.kill();
        let reason = reasons.recv_timeout(PATIENCE).unwrap();
        let lost = [Reason::TransportClose, Reason::TransportError];
        assert!(lost.contains(&reason), "{reason}");
        let _server = Example::start("socketio_echo", port, &[]);
        eventually("the second reconnection", || client.is_connected());
        assert_eq!(client.call::<i64>("message-with-ack", 7, SOON).unwrap(), 7);
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use socketio::ClientTls;
    use std::path::PathBuf;

    /// An authority, and what it has signed, as files.
    struct Authority {
        folder: PathBuf,
        issuer: CertifiedIssuer<'static, KeyPair>,
    }

    impl Authority {
        fn new(name: &str) -> Authority {
            let folder =
                std::env::temp_dir().join(format!("socketio-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
            std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
            Authority { folder, issuer }
        }

        fn ca(&self) -> String {
            self.folder.join("ca.pem").to_str().unwrap().to_owned()
        }

        fn sign(&self, name: &str) -> (String, String) {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            // OpenSSL takes one that is named like its issuer for the issuer itself.
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            let path = |kind: &str| {
                let path = self.folder.join(format!("{name}.{kind}.pem"));
                path.to_str().unwrap().to_owned()
            };
            std::fs::write(path("cert"), certificate.pem()).unwrap();
            std::fs::write(path("key"), key.serialize_pem()).unwrap();
            (path("cert"), path("key"))
        }
    }

    impl Drop for Authority {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.folder).unwrap();
        }
    }

    #[test]
    fn certificates_are_checked_and_shown_on_both_transports() {
        let authority = Authority::new("authority");
        let (cert, key) = authority.sign("localhost");
        let ping = (25_000, 20_000);
        let Some(server) = Peer::start_with(Kind::Node, 0, ping, &[&cert, &key]) else {
            return;
        };
        let ca = authority.ca();
        let strict =
            Peer::start_with(Kind::Node, 0, ping, &[&cert, &key, &ca]).expect("as the other one");
        let (own, own_key) = authority.sign("client");
        let trusting = || ClientTls::new().ca_file(&ca).unwrap();
        for transports in TRANSPORTS {
            let connect = |server: &Peer, host: &str, tls: ClientTls| {
                let client = Client::builder().tls(tls).build();
                let options = ConnectOptions::new(format!("https://{host}:{}", server.port));
                client.connect(options.transports(transports).wait_timeout(SOON))?;
                eventually_on(&client, transports);
                client.call::<i64>("echo", 7, SOON)
            };
            assert!(matches!(connect(&server, "localhost", trusting()), Ok(7)));
            // Nobody has signed for this name, or nobody that is trusted.
            for (host, tls) in [("127.0.0.1", trusting()), ("localhost", ClientTls::new())] {
                let refused = connect(&server, host, tls);
                let Err(Error::Connection(error)) = refused else {
                    panic!("{refused:?}");
                };
                assert!(error.message().contains("certificate"), "{error}");
            }
            let any = ClientTls::new().danger_accept_any_certificate();
            assert!(matches!(connect(&server, "127.0.0.1", any), Ok(7)));
            // A server that asks for a certificate.
            assert!(connect(&strict, "localhost", trusting()).is_err());
            let shown = trusting().certificate_files(&own, &own_key).unwrap();
            assert_eq!(connect(&strict, "localhost", shown).unwrap(), 7);
        }
        assert!(matches!(
            ClientTls::new().ca_pem(b"nothing"),
            Err(Error::Tls(_))
        ));
        assert!(matches!(
            ClientTls::new().ca_file("/nowhere"),
            Err(Error::Io(_))
        ));
    }
}
