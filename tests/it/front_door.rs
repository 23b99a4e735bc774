//! The front door: HTTP, static files, the program's own application, TLS, limits, and shutdown.

use crate::common::{Http, PATIENCE, Ws, eventually, is_alone, polling_session, serve};
use socketio::{App, BodyReader, Limits, Reason, Request, Server, Serving, Socket};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tiny_http::Response;

fn app(io: &Server) -> Serving {
    App::new(io)
        .http(|request| {
            let body = format!(
                "{} {} {}",
                request.method(),
                request.path(),
                String::from_utf8_lossy(request.body())
            );
            Response::from_string(body).with_status_code(201)
        })
        .bind("127.0.0.1:0")
        .unwrap()
}

/// A directory that vanishes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("socketio-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("public")).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn requests_come_one_after_the_other_and_all_at_once() {
    let serving = app(&Server::new());
    let mut http = Http::connect(serving.local_addr());
    assert_eq!(http.get("/a").text(), "GET /a ");
    assert_eq!(http.post("/b", "body").text(), "POST /b body");
    let head = http.request("HEAD /c", "", "");
    assert_eq!(
        (head.status, head.header("content-length"), head.body.len()),
        (201, Some("8"), 0)
    );
    // Pipelined, with a chunked body among them.
    http.write(concat!(
        "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
        "\r\nPUT /3 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nokGET /4 HTTP/1.1\r\n",
        "Host: x\r\nConnection: close\r\n\r\n",
    ));
    for expected in ["GET /1 ", "POST /2 onetwo", "PUT /3 ok", "GET /4 "] {
        assert_eq!(http.read(false).text(), expected);
    }
    assert!(http.is_closed());
    let mut old = Http::connect(serving.local_addr());
    old.write("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(old.read(false).text(), "GET /old ");
    assert!(old.is_closed());
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let serving = app(&Server::new());
    let mut http = Http::connect(serving.local_addr());
    http.write("POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(http.read(true).status, 100);
    http.write("body");
    assert_eq!(http.read(false).text(), "POST /x body");
    http.write(
        "POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 40000000\r\n\r\n",
    );
    assert_eq!(http.read(false).status, 413);
}

#[test]
fn what_is_no_request_is_refused_and_closed() {
    let serving = app(&Server::new());
    for (text, status) in [
        (
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
                .to_owned(),
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_owned(),
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".to_owned(),
            400,
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)), 431),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101)),
            431,
        ),
    ] {
        let mut http = Http::connect(serving.local_addr());
        http.write(&text);
        let answer = http.read(false);
        assert_eq!(answer.status, status, "{text:.60}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(http.is_closed());
    }
}

#[test]
fn slow_requests_are_ended() {
    let limits = Limits::default()
        .head_timeout(Duration::from_millis(100))
        .body_timeout(Duration::from_millis(100))
        .http_body_timeout(Duration::from_millis(100))
        .idle_timeout(Duration::from_millis(100));
    let serving = app(&Server::builder().limits(limits).build());
    let address = serving.local_addr();
    for (begun, status) in [
        ("GET / HT", Some(408)),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
            Some(408),
        ),
        (
            "POST /socket.io/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
            Some(408),
        ),
        ("", None),
    ] {
        let mut http = Http::connect(address);
        http.write(begun);
        if let Some(status) = status {
            assert_eq!(http.read(false).status, status, "{begun}");
        }
        assert!(http.is_closed());
    }
    let mut idle = Http::connect(address);
    assert_eq!(idle.get("/").status, 201);
    assert!(idle.is_closed());
}

#[test]
fn there_are_no_more_connections_than_the_limit() {
    let limits = Limits::default().connections(2);
    let serving = app(&Server::builder().limits(limits).build());
    let address = serving.local_addr();
    let admitted = || {
        let mut http = Http::connect(address);
        http.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut byte = [0];
        let answered = http.stream().peek(&mut byte);
        answered.is_ok_and(|count| count > 0).then_some(http)
    };
    // A client of another test may look here for its server, whose port this was.
    let mut inside = Vec::new();
    eventually("two places", || {
        inside.extend(admitted());
        inside.len() == 2
    });
    assert!(Http::connect(address).is_closed());
    inside.pop();
    eventually("a free place", || admitted().is_some());
}

#[test]
fn static_files_the_program_and_socketio_share_a_port() {
    let folder = Folder::new("front-door");
    std::fs::write(folder.0.join("public/index.html"), "<h1>hello</h1>").unwrap();
    std::fs::write(folder.0.join("public/big.bin"), vec![7; 3_000_000]).unwrap();
    std::fs::write(folder.0.join("secret.txt"), "secret").unwrap();
    let io = Server::new();
    let serving = App::new(&io)
        .static_files("/static", folder.0.join("public"))
        .static_files("/", folder.0.join("public/index.html"))
        .http(|request| match request.path() {
            "/stream" => {
                let body = std::io::repeat(b'x').take(1_000_000);
                Response::new(
                    200.into(),
                    Vec::new(),
                    Box::new(body) as Box<dyn Read + Send>,
                    None,
                    None,
                )
            }
            "/panic" => panic!("in an application of a test"),
            _ => Response::from_string("mine").with_status_code(404).boxed(),
        })
        .bind("127.0.0.1:0")
        .unwrap();
    let mut http = Http::connect(serving.local_addr());
    let index = http.get("/");
    assert_eq!(
        (index.text().as_str(), index.header("content-type")),
        ("<h1>hello</h1>", Some("text/html; charset=utf-8"))
    );
    assert_eq!(http.get("/static/big.bin").body, vec![7; 3_000_000]);
    assert_eq!(http.get("/static/").text(), "<h1>hello</h1>");
    for path in [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/..%2fsecret.txt",
        "/static/..%5csecret.txt",
        "/static/%00",
        "/static/%ff",
    ] {
        let answer = http.get(path);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "mine"),
            "{path}"
        );
    }
    let stream = http.get("/stream");
    assert_eq!(
        (stream.header("transfer-encoding"), stream.body.len()),
        (Some("chunked"), 1_000_000)
    );
    assert_eq!(http.get("/panic").status, 500);
    assert!(
        http.get("/socket.io/?EIO=4&transport=polling")
            .text()
            .starts_with("0{")
    );
    // A client of HTTP/1.0 gets no chunks.
    let mut old = TcpStream::connect(serving.local_addr()).unwrap();
    old.write_all(b"GET /stream HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).unwrap();
    assert!(
        answer
            .split_once("\r\n\r\n")
            .is_some_and(|(_, body)| body.len() == 1_000_000)
    );
}

#[test]
fn a_body_is_read_only_as_fast_as_the_client_takes_it() {
    struct Counting(Arc<Mutex<usize>>);
    impl Read for Counting {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            *self.0.lock().unwrap() += buffer.len();
            Ok(buffer.len())
        }
    }
    let read = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&read);
    let serving = App::new(&Server::new())
        .http(move |_| {
            Response::new(
                200.into(),
                Vec::new(),
                Counting(Arc::clone(&counter)),
                None,
                None,
            )
        })
        .bind("127.0.0.1:0")
        .unwrap();
    let mut slow = TcpStream::connect(serving.local_addr()).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let before = *read.lock().unwrap();
    assert!(
        before < 20_000_000,
        "{before} bytes were read for a client that reads none"
    );
    let mut buffer = vec![0; 1 << 20];
    let mut left = before + 1_000_000;
    while left > 0 {
        left = left.saturating_sub(slow.read(&mut buffer).unwrap());
    }
    eventually("more of the body", || *read.lock().unwrap() > before);
}

#[test]
fn ipv6_and_a_listener_of_the_program_s_own() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        eprintln!("NOT TESTED: this machine has no IPv6");
        return;
    };
    let address = listener.local_addr().unwrap();
    let serving = App::new(&Server::new()).serve(listener).unwrap();
    assert_eq!(serving.local_addr(), address);
    let (_ws, answer) = Ws::join(address, "40");
    assert!(answer.starts_with("40{"));
}

#[test]
fn the_request_of_the_handshake_stays_with_the_client() {
    let io = Server::new();
    let seen = Arc::new(Mutex::new(None));
    let request = Arc::clone(&seen);
    io.on_connect(move |socket: &Socket| {
        let it = socket.request();
        *request.lock().unwrap() = Some((
            it.method().to_owned(),
            it.path().to_owned(),
            it.param("token").map(|token| token.into_owned()),
            it.header("host").map(|host| host.into_owned()),
            it.peer_addr().ip().is_some_and(|it| it.is_loopback()),
            it.is_secure(),
        ));
    });
    let serving = serve(&io);
    let mut ws = Ws::open(
        serving.local_addr(),
        "/socket.io/?EIO=4&transport=websocket&token=a%20b",
    );
    ws.text();
    ws.send("40");
    ws.text();
    let host = serving.local_addr().to_string();
    let expected = (
        "GET".into(),
        "/socket.io/".into(),
        Some("a b".into()),
        Some(host),
        true,
        false,
    );
    assert_eq!(*seen.lock().unwrap(), Some(expected));
}

#[test]
fn several_io_threads_share_sessions() {
    let io = Server::builder().io_threads(4).build();
    io.on("echo", |event: &socketio::Event| event.args());
    let serving = serve(&io);
    let address = serving.local_addr();
    for _ in 0..8 {
        let mut http = Http::connect(address);
        let session = polling_session(&mut http);
        // Each request over a connection of its own, which any thread may have got.
        Http::connect(address).post(&session, "40");
        assert!(
            Http::connect(address)
                .get(&session)
                .text()
                .starts_with("40{")
        );
        let mut ws = Ws::open(address, &session.replace("polling", "websocket"));
        ws.send("2probe");
        assert_eq!(ws.text(), "3probe");
        ws.send("5");
        ws.send("421[\"echo\",7]");
        assert_eq!(ws.text(), "431[7]");
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use socketio::engineio::Transport;
    use socketio::{Client, ClientTls, ConnectOptions, Error, Listener, SimpleClient, Tls};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn certificate() -> (String, String, RootCertStore) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem(), roots)
    }

    fn connect(
        serving: &Serving,
        roots: &RootCertStore,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tcp = TcpStream::connect(serving.local_addr()).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp)
    }

    #[test]
    fn https_and_wss_are_everything_that_http_and_ws_are() {
        let (certificate, key, roots) = certificate();
        let io = Server::new();
        io.on("echo", |event: &socketio::Event| event.args());
        io.on_connect(|socket: &Socket| socket.request().is_secure());
        let serving = App::new(&io)
            .tls(Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap())
            .http(|_| Response::from_data(vec![7; 2_000_000]))
            .bind("127.0.0.1:0")
            .unwrap();
        let mut http = Http::over(connect(&serving, &roots));
        assert_eq!(http.get("/").body, vec![7; 2_000_000]);
        let open = http.request(
            "GET /socket.io/?EIO=4&transport=polling",
            "Origin: https://localhost\r\n",
            "",
        );
        assert_eq!(open.status, 200);
        let target = format!(
            "/socket.io/?EIO=4&transport=polling&sid={}",
            crate::common::sid_of(&open.text())
        );
        assert_eq!(http.post(&target, "40").text(), "ok");
        assert!(http.get(&target).text().starts_with("40{"));

        let url = "wss://localhost/socket.io/?EIO=4&transport=websocket";
        let (mut ws, _) = tungstenite::client(url, connect(&serving, &roots)).unwrap();
        let mut next = |send: Option<String>| {
            if let Some(text) = send {
                ws.send(text.into()).unwrap();
            }
            ws.read().unwrap().to_text().unwrap().to_owned()
        };
        assert!(next(None).starts_with("0{"));
        assert!(next(Some("40".into())).starts_with("40{"));
        let large = "x".repeat(500_000);
        for _ in 0..3 {
            assert!(
                next(Some(format!("421[\"echo\",\"{large}\"]"))) == format!("431[\"{large}\"]")
            );
        }
    }

    /// Returns the status of a request over a new connection, or nothing if the certificate is not one
    /// of these.
    fn status(serving: &Serving, roots: &RootCertStore) -> Option<u16> {
        let mut stream = connect(serving, roots);
        stream.flush().ok()?;
        Some(Http::over(stream).get("/").status)
    }

    #[test]
    fn a_certificate_is_replaced_without_a_dropped_connection() {
        let folder = std::env::temp_dir().join(format!("socketio-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
        let write = |certificate: &str, key: &str| {
            std::fs::write(&file, certificate).unwrap();
            std::fs::write(&key_file, key).unwrap();
        };
        let (certificate, key, roots) = certificate();
        write(&certificate, &key);
        let tls = Tls::from_files(&file, &key_file).unwrap().watch();
        let io = Server::new();
        io.on("echo", |number: u64| number);
        let app = App::new(&io).tls(tls.clone());
        let serving = app.bind("127.0.0.1:0").unwrap();
        let mut open = Http::over(connect(&serving, &roots));
        assert_eq!(open.get("/").status, 404);
        // On a call, of which a mistake changes nothing.
        let (second, second_key, second_roots) = self::certificate();
        write(&second, "no key");
        assert!(tls.reload().is_err());
        assert_eq!(status(&serving, &roots), Some(404));
        write(&second, &second_key);
        tls.reload().unwrap();
        assert_eq!(status(&serving, &second_roots), Some(404));
        assert_eq!(status(&serving, &roots), None);
        // Under traffic, which goes on over WebSocket.
        let client = Client::builder()
            .tls(ClientTls::new().ca_pem(second.as_bytes()).unwrap())
            .reconnection(false)
            .build();
        let address = format!("https://localhost:{}", serving.local_addr().port());
        let options = ConnectOptions::new(address).transports([Transport::WebSocket]);
        client.connect(options).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let (ended, talking) = (Arc::clone(&ends), client.clone());
        let traffic = std::thread::spawn(move || {
            let mut number = 0;
            while !ended.load(Ordering::SeqCst) {
                number += 1;
                assert_eq!(
                    talking.call::<u64>("echo", number, PATIENCE).unwrap(),
                    number
                );
            }
            number
        });
        // By itself.
        let (third, third_key, third_roots) = self::certificate();
        write(&third, &third_key);
        eventually("the third", || status(&serving, &third_roots) == Some(404));
        assert_eq!(open.get("/").status, 404, "the first connection goes on");
        assert_eq!(client.call::<u64>("echo", 7, PATIENCE).unwrap(), 7);
        ends.store(true, Ordering::SeqCst);
        assert!(traffic.join().unwrap() > 0);
        let text = Tls::from_pem(third.as_bytes(), third_key.as_bytes()).unwrap();
        assert!(matches!(text.reload(), Err(Error::InvalidArgument(_))));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_handler_sees_the_certificate_of_its_client() {
        use rcgen::{CertificateParams, Issuer, KeyPair};
        use socketio::rustls::server::WebPkiClientVerifier;
        let (key, own_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.self_signed(&key).unwrap();
        let issuer = Issuer::from_params(&authority, &key);
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        leaf.distinguished_name
            .push(rcgen::DnType::CommonName, "Ada Lovelace");
        let leaf = leaf.signed_by(&own_key, &issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let own_key_pem = own_key.serialize_pem();
        let own_key = || rustls::pki_types::PrivateKeyDer::Pkcs8(own_key.serialize_der().into());
        let chain = || vec![leaf.der().clone()];
        let verifier = Arc::new(roots.clone());
        let verifier = WebPkiClientVerifier::builder_with_provider(verifier, provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain(), own_key())
            .unwrap();
        let io = Server::new();
        io.on("who am I?", |socket: &Socket| {
            let certificate = socket.request().client_certificate().map(<[u8]>::to_vec);
            certificate.is_some_and(|it| it.windows(12).any(|it| it == b"Ada Lovelace"))
        });
        let app = App::new(&io).tls(Tls::from_config(config));
        let app = app
            .http(|request| Response::from_data(request.client_certificate().unwrap_or_default()));
        let serving = app.bind("127.0.0.1:0").unwrap();
        let mut stranger = Http::over(connect(&serving, &roots));
        assert_eq!(stranger.get("/").body, b"");
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain(), own_key())
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tcp = TcpStream::connect(serving.local_addr()).unwrap();
        let known = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut known = Http::over(StreamOwned::new(known, tcp));
        assert_eq!(known.get("/").body, leaf.der().to_vec());
        // Its name is in there, for a handler of events too.
        let identified = ClientTls::new().ca_pem(root.pem().as_bytes()).unwrap();
        let identified = identified
            .certificate_pem(leaf.pem().as_bytes(), own_key_pem.as_bytes())
            .unwrap();
        for (tls, is_known) in [
            (identified, true),
            (
                ClientTls::new().ca_pem(root.pem().as_bytes()).unwrap(),
                false,
            ),
        ] {
            let client = Client::builder().tls(tls).build();
            let address = format!("https://localhost:{}", serving.local_addr().port());
            client.connect(address).unwrap();
            let answer: bool = client.call("who am I?", (), PATIENCE).unwrap();
            assert_eq!(answer, is_known);
        }
    }

    #[test]
    fn one_server_has_plain_and_tls_listeners_of_several_names_and_families() {
        use rustls::server::ResolvesServerCertUsingSni;
        use rustls::sign::CertifiedKey;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut names = ResolvesServerCertUsingSni::new();
        let mut roots = RootCertStore::empty();
        for name in ["one.localhost", "two.localhost"] {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            roots.add(made.cert.der().clone()).unwrap();
            let key =
                rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
            let key = provider.key_provider.load_private_key(key).unwrap();
            let chain = vec![made.cert.der().clone()];
            names.add(name, CertifiedKey::new(chain, key)).unwrap();
        }
        let config = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(names));
        let (secure, six) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("[::1]:0").unwrap(),
        );
        let (secure_at, six_at) = (secure.local_addr().unwrap(), six.local_addr().unwrap());
        let io = Server::new();
        io.on("secure?", |socket: &Socket| socket.request().is_secure());
        let app = App::new(&io)
            .listener(Listener::from(secure).tls(Tls::from_config(config)))
            .listener(six);
        let serving = app.bind("127.0.0.1:0").unwrap();
        for address in [serving.local_addr(), six_at] {
            let client = SimpleClient::connect(format!("http://{address}")).unwrap();
            assert!(!client.call::<bool>("secure?", (), PATIENCE).unwrap());
        }
        for name in ["one.localhost", "two.localhost", "three.localhost"] {
            let config = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            let server_name = ServerName::try_from(name).unwrap();
            let tls = ClientConnection::new(Arc::new(config), server_name).unwrap();
            let tcp = TcpStream::connect(secure_at).unwrap();
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut stream = StreamOwned::new(tls, tcp);
            // The certificate is that of the name; without one there is no connection.
            let is_known = stream.flush().is_ok();
            assert_eq!(is_known, name != "three.localhost", "{name}");
            if is_known {
                let url = format!("wss://{name}/socket.io/?EIO=4&transport=websocket");
                let (mut ws, _) = tungstenite::client(url, stream).unwrap();
                ws.send("40".into()).unwrap();
                ws.send("421[\"secure?\"]".into()).unwrap();
                let answers = (0..3).map(|_| ws.read().unwrap().to_text().unwrap().to_owned());
                assert_eq!(answers.last().unwrap(), "431[true]");
            }
        }
    }

    #[test]
    fn plain_http_on_a_port_with_tls_is_closed() {
        let (certificate, key, _) = certificate();
        let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let serving = App::new(&Server::new())
            .tls(tls)
            .bind("127.0.0.1:0")
            .unwrap();
        let mut http = Http::connect(serving.local_addr());
        http.write("GET / HTTP/1.1\r\n\r\n");
        assert!(http.is_closed());
    }

    #[test]
    fn a_certificate_that_cannot_be_used_is_an_error_that_says_so() {
        let (certificate, key, _) = certificate();
        let (_, other_key, _) = self::certificate();
        for (certificate, key) in [
            ("", key.as_str()),
            (&certificate, ""),
            (&certificate, &other_key),
        ] {
            let result = Tls::from_pem(certificate.as_bytes(), key.as_bytes());
            assert!(matches!(result, Err(Error::Tls(_))), "{result:?}");
        }
    }
}

/// Threads of this process whose name begins so.
#[cfg(target_os = "linux")]
fn threads(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with(prefix)).count()
}

#[test]
fn shutdown_tells_the_clients_and_lets_handlers_finish() {
    let io = Server::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (entered, when_entered) = crossbeam_channel::bounded(1);
    let events = Arc::clone(&seen);
    io.on("slow", move || {
        entered.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        events.lock().unwrap().push("finished".to_owned());
    });
    let events = Arc::clone(&seen);
    io.on_disconnect(move |_: &Socket, reason: Reason| {
        events.lock().unwrap().push(reason.to_string());
    });
    let serving = serve(&io);
    let address = serving.local_addr();
    let (mut ws, _) = Ws::join(address, "40");
    let mut http = Http::connect(address);
    let session = polling_session(&mut http);
    http.post(&session, "40");
    assert!(http.get(&session).text().starts_with("40"));
    http.write(&format!("GET {session} HTTP/1.1\r\nHost: x\r\n\r\n"));
    ws.send("42[\"slow\"]");
    when_entered.recv_timeout(PATIENCE).unwrap();
    serving.shutdown();
    // Clients are not told to stay away: they come back to the next server.
    assert_eq!(ws.until_closed().0, [""; 0]);
    assert_eq!(http.read(false).text(), "6");
    let mut seen = seen.lock().unwrap();
    seen.sort();
    let disconnect = Reason::ServerDisconnect.to_string();
    assert_eq!(
        *seen,
        ["finished".to_owned(), disconnect.clone(), disconnect]
    );
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_handler_that_never_returns_does_not_hold_the_shutdown_up() {
    let io = Server::builder()
        .shutdown_timeout(Duration::from_millis(200))
        .build();
    let (entered, when_entered) = crossbeam_channel::bounded(1);
    let (open, wait) = crossbeam_channel::bounded::<()>(0);
    io.on("stuck", move || {
        entered.send(()).unwrap();
        let _ = wait.recv();
    });
    let serving = serve(&io);
    let address = serving.local_addr();
    let (mut ws, _) = Ws::join(address, "40");
    ws.send("42[\"stuck\"]");
    when_entered.recv_timeout(PATIENCE).unwrap();
    drop(serving);
    assert!(TcpStream::connect(address).is_err());
    drop(open);
}

#[test]
fn a_server_may_be_ended_by_its_own_handler_and_is_not_kept_by_one() {
    let io = Server::new();
    let serving = Arc::new(Mutex::new(None::<Serving>));
    let (own, kept) = (Arc::clone(&serving), io.clone());
    io.on("end", move || {
        assert_eq!(kept.sockets().len(), 1);
        drop(own.lock().unwrap().take());
    });
    let running = serve(&io);
    let address = running.local_addr();
    *serving.lock().unwrap() = Some(running);
    let (mut ws, _) = Ws::join(address, "40");
    eventually("the client", || io.sockets().len() == 1);
    ws.send("42[\"end\"]");
    assert_eq!(ws.until_closed().0, [""; 0]);
    eventually("the port's end", || TcpStream::connect(address).is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_behind() {
    if !is_alone(module_path!(), "nothing_is_left_behind") {
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for _ in 0..20 {
        let io = Server::builder().io_threads(2).build();
        let kept = io.clone();
        io.on("x", move || drop(kept.clone()));
        let serving = serve(&io);
        let clients: Vec<_> = (0..5)
            .map(|_| Ws::join(serving.local_addr(), "40"))
            .collect();
        assert!(threads("socketio-") > 0);
        drop(clients);
        drop(serving);
        // The kernel lists a thread for a moment longer than it can be joined.
        eventually("the threads' end", || threads("socketio-") == 0);
    }
    assert_eq!(descriptors(), before);
}

#[cfg(unix)]
#[test]
fn run_ends_on_a_signal_in_order() {
    let server = crate::common::Example::start("socketio_echo", 0, &[]);
    let (ws, _) = Ws::join(server.address(), "40");
    let kill = std::process::Command::new("kill")
        .args(["-TERM", &server.pid().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    // Whatever its handler sent comes first, and nothing that says goodbye.
    let (texts, _) = ws.until_closed();
    assert!(
        texts.iter().all(|text| text.starts_with("42[\"auth\"")),
        "{texts:?}"
    );
}

#[test]
fn a_handler_reads_an_upload_of_any_size_as_it_comes() {
    let limits = Limits::default().http_body_bytes(1_000);
    let (sender, progress) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let io = Server::builder().limits(limits).build();
    let serving = App::new(&io)
        .http_upload(move |request: &Request, body: &mut BodyReader| {
            if request.path() == "/ignored" {
                return Response::from_string("ignored");
            }
            let (mut count, mut buffer) = (0, vec![0; 100_000]);
            loop {
                match body.read(&mut buffer) {
                    Ok(0) => return Response::from_string(count.to_string()),
                    Ok(read) => {
                        assert!(buffer[..read].iter().all(|byte| *byte == b'u'));
                        count += read;
                        sender.lock().unwrap().send(count).unwrap();
                    }
                    Err(error) => {
                        sender.lock().unwrap().send(usize::MAX).unwrap();
                        return Response::from_string(error.to_string());
                    }
                }
            }
        })
        .bind("127.0.0.1:0")
        .unwrap();
    let mut http = Http::connect(serving.local_addr());
    http.write("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\nu");
    assert_eq!(progress.recv().unwrap(), 1, "it does not wait for the rest");
    let rest = "u".repeat(1_000_000);
    for number in 0..20 {
        http.write(if number == 19 { &rest[1..] } else { &rest });
    }
    assert_eq!(http.read(false).text(), "20000000");
    // In chunks, and the next request on the same connection.
    http.write(
        "POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nuuu\r\n0\r\n\r\n",
    );
    assert_eq!(http.read(false).text(), "3");
    assert_eq!(http.get("/ignored").text(), "ignored");
    // What is not read cannot be skipped.
    http.write("POST /ignored HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
    let answer = http.read(false);
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    // A client that goes away is an error of the reading.
    let mut http = Http::connect(serving.local_addr());
    http.write("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nu");
    // Before its handler runs it would be nobody's.
    while progress.recv().unwrap() != 1 {}
    drop(http);
    while progress.recv().unwrap() != usize::MAX {}
    // Clients of Socket.IO have their own limit, as the program's routes have.
    let mut http = Http::connect(serving.local_addr());
    http.write("POST /socket.io/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n");
    assert_eq!(http.read(false).status, 413);
}

#[test]
fn the_program_s_routes_have_a_limit_of_their_own() {
    let serving = app(&Server::builder().max_http_buffer_size(1_000).build());
    let mut http = Http::connect(serving.local_addr());
    let body = "x".repeat(1_000_001);
    assert!(http.post("/upload", &body).text().ends_with(&body));
    http.write(
        "POST /socket.io/ HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nContent-Length: 1001\r\n\r\n",
    );
    let answer = http.read(false);
    assert_eq!(answer.status, 413);
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!(allowed, Some("http://x"), "a page learns of it");
}
