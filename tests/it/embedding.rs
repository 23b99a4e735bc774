//! What programs that were there before need: a say about handshakes, the official client's files, an
//! end that waits.

use crate::common::{
    Http, PATIENCE, Ws, eventually, has_peer, is_alone, node, peers, polling_session, serve,
    sid_of, succeed, url,
};
use socketio::engineio::{Handshake, Transport};
use socketio::{App, ConnectOptions, Error, Limits, Request, Server, SimpleClient, engineio};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use tiny_http::{Header, Response};

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

/// A server that lets in who has a key, and adds fields.
fn guarded() -> Server {
    let io = Server::new();
    io.on_handshake(|_: &Request, handshake: &mut Handshake| handshake.header("X-First", "1"));
    io.on_handshake(|request: &Request, handshake: &mut Handshake| {
        match request.param("key").as_deref() {
            Some("panic") => panic!("on purpose"),
            Some("polling") if handshake.is_upgrade() => handshake.refuse(403, "stay on polling"),
            Some("secret" | "polling") => {
                handshake.header("Set-Cookie", "seen=1; Path=/");
                handshake.header("X-Bad", "a\r\nX-Worse: b");
                handshake.session_header("X-Served-By", "one");
            }
            _ => handshake.refuse(401, "no \"key\""),
        }
    });
    io.on("echo", |text: String| text);
    io
}

#[test]
fn a_program_has_its_say_about_handshakes() {
    let serving = serve(&guarded());
    let address = serving.local_addr();
    let mut http = Http::connect(address);
    let refused = http.get(HANDSHAKE);
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.text(),
        "{\"code\":4,\"message\":\"no \\\"key\\\"\"}"
    );
    assert_eq!(http.get(&format!("{HANDSHAKE}&key=panic")).status, 403);
    let refused = Ws::try_open(address, "/socket.io/?EIO=4&transport=websocket");
    let Err(tungstenite::Error::Http(response)) = refused else {
        panic!("it is refused");
    };
    assert_eq!(response.status(), 401);
    assert_eq!(response.body().as_deref(), Some(&b"no \"key\""[..]));

    let opened = http.get(&format!("{HANDSHAKE}&key=secret"));
    assert_eq!(opened.status, 200);
    assert_eq!(opened.header("set-cookie"), Some("seen=1; Path=/"));
    assert_eq!(opened.header("x-served-by"), Some("one"));
    assert_eq!(opened.header("x-first"), Some("1"));
    assert_eq!(
        (opened.header("x-bad"), opened.header("x-worse")),
        (None, None)
    );
    let session = format!("{HANDSHAKE}&key=secret&sid={}", sid_of(&opened.text()));
    let posted = http.post(&session, "40");
    assert_eq!(posted.header("x-served-by"), Some("one"));
    let polled = http.get(&session);
    assert_eq!(polled.header("x-served-by"), Some("one"));
    assert_eq!(polled.header("set-cookie"), None);
    let mut ws = Ws::open(address, &session.replace("=polling", "=websocket"));
    ws.send("2probe");
    assert_eq!(ws.text(), "3probe");
}

#[test]
fn fields_that_would_begin_others_are_left_out_of_every_answer() {
    let io = Server::new();
    io.on_handshake(|request: &Request, handshake: &mut Handshake| {
        let name = request.param("name").unwrap_or_default();
        handshake.session_header("X-Name", name.clone());
        handshake.session_header(name, "as a name");
        handshake.session_header("X-Sound", "yes");
    });
    let serving = serve(&io);
    let query = "&name=a%0d%0aSet-Cookie:%20evil=1";
    let mut http = Http::connect(serving.local_addr());
    let opened = http.get(&format!("{HANDSHAKE}{query}"));
    let websocket = format!("{HANDSHAKE}{query}").replace("=polling", "=websocket");
    let upgrade = format!(
        "GET {websocket} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    let mut raw = Http::connect(serving.local_addr());
    raw.write(&upgrade);
    for answer in [opened, raw.read(true)] {
        assert_eq!(answer.header("x-sound"), Some("yes"), "{answer:?}");
        assert_eq!(answer.header("x-name"), None, "{answer:?}");
        assert!(!answer.head.contains("evil"), "{answer:?}");
    }
}

#[test]
fn what_came_while_the_program_was_asked_is_read() {
    let io = Server::new();
    io.on_handshake(|_: &Request, _: &mut Handshake| {
        std::thread::sleep(Duration::from_millis(100));
    });
    io.on_connect(|socket: &socketio::Socket| socket.emit("welcome", ()));
    let serving = serve(&io);
    let mut stream = std::net::TcpStream::connect(serving.local_addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\
         Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let connect = [&[0x81, 0x82, 0, 0, 0, 0][..], b"40"].concat();
    stream
        .write_all(&[head.as_bytes(), &connect].concat())
        .unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("welcome") {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "{:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn requests_of_clients_that_have_gone_count_until_somebody_looks() {
    let io = Server::builder()
        .limits(Limits::default().connections(8))
        .build();
    let (app, requests) = App::new(&io).incoming_requests();
    let serving = app.bind("127.0.0.1:0").unwrap();
    let address = serving.local_addr();
    let is_closed_at_once = || {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        Http::over(stream).is_closed()
    };
    let mut closed = 0;
    while closed < 20 {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
        // The part of a body, and the end.
        let written = stream.write_all(head.as_bytes());
        let written = written.and_then(|()| stream.write_all(&[0; 1000]));
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let is_closed = written.is_err() || matches!(stream.read(&mut [0]), Ok(0) | Err(_));
        let is_refused = is_closed && is_closed_at_once();
        closed = if is_refused { closed + 1 } else { 0 };
    }
    // None of them is the program's to answer.
    assert!(requests.try_recv().is_none());
    eventually("room", || !is_closed_at_once());
}

#[test]
fn an_upgrade_that_is_refused_leaves_its_session_on_polling() {
    let serving = serve(&guarded());
    let mut http = Http::connect(serving.local_addr());
    let opened = http.get(&format!("{HANDSHAKE}&key=polling"));
    let session = format!("{HANDSHAKE}&key=polling&sid={}", sid_of(&opened.text()));
    let upgrade = session.replace("transport=polling", "transport=websocket");
    let Err(tungstenite::Error::Http(response)) = Ws::try_open(serving.local_addr(), &upgrade)
    else {
        panic!("it is refused");
    };
    assert_eq!(response.status(), 403);
    assert_eq!(http.post(&session, "40").status, 200);
    assert!(http.get(&session).text().starts_with("40{"));
    // Clients stay on polling, too.
    let options = ConnectOptions::new(url(&serving)).query([("key", "polling")]);
    let client = SimpleClient::connect(options).unwrap();
    client.emit("x", ()).unwrap();
    assert_eq!(client.transport(), Some(Transport::Polling));
    let refused = SimpleClient::connect(url(&serving));
    let Err(Error::Connection(error)) = refused else {
        panic!("it is refused");
    };
    assert_eq!(error.status(), Some(401));
    assert!(error.text().contains("no \\\"key\\\""), "{}", error.text());
}

#[test]
fn the_official_client_sees_why_it_is_refused() {
    let serving = serve(&guarded());
    if let Some(mut client) = node("handshake_client.js", &[&url(&serving)]) {
        succeed(&mut client);
    }
}

#[test]
fn our_client_says_why_it_is_refused_on_both_transports() {
    let serving = serve(&guarded());
    for transport in [Transport::Polling, Transport::WebSocket] {
        let options = ConnectOptions::new(url(&serving)).transports([transport]);
        let error = SimpleClient::connect(options).unwrap_err().to_string();
        assert!(
            error.contains("401") && error.contains("no \\\"key\\\""),
            "{error}"
        );
    }
}

#[test]
fn a_page_has_the_cookie_of_its_handshake() {
    let chromium = std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into());
    let bundle = peers().join("node_modules/socket.io-client/dist");
    if !has_peer("Chromium", Path::new(&chromium)) || !has_peer("the official client", &bundle) {
        return;
    }
    let page = "<script src=\"/socket.io/socket.io.js\"></script>";
    let html = Header::from_bytes("Content-Type", "text/html").unwrap();
    let app = App::new(&guarded())
        .serve_client(&bundle)
        .http(move |request| match request.path() {
            "/cookie" => Response::from_string(request.header("cookie").unwrap_or_default()),
            _ => Response::from_string(page).with_header(html.clone()),
        });
    let serving = app.bind("127.0.0.1:0").unwrap();
    if let Some(mut page) = node("handshake_page.js", &[&url(&serving), &chromium]) {
        succeed(&mut page);
    }
}

#[test]
fn engineio_asks_before_a_session_too() {
    let server = engineio::Server::new();
    server.on_handshake(|request: &Request, handshake: &mut Handshake| {
        if request.param("key").is_none() {
            handshake.refuse(200, "a refusal is no success");
        }
    });
    let serving = App::engineio(&server).bind("127.0.0.1:0").unwrap();
    let mut http = Http::connect(serving.local_addr());
    let refused = http.get("/engine.io/?EIO=4&transport=polling");
    assert_eq!(refused.status, 403);
    assert_eq!(server.sessions().len(), 0);
    let opened = http.get("/engine.io/?EIO=4&transport=polling&key=");
    assert_eq!(opened.status, 200);
    eventually("the session", || server.sessions().len() == 1);
}

#[test]
fn the_official_client_s_files_are_at_the_path() {
    let folder = std::env::temp_dir().join(format!("socketio-dist-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["socket.io.js", "socket.io.min.js.map", "package.json"] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    let io = Server::new();
    let app = App::new(&io).serve_client(&folder);
    let serving = app.bind("127.0.0.1:0").unwrap();
    let mut http = Http::connect(serving.local_addr());
    let script = http.get("/socket.io/socket.io.js?v=1");
    assert_eq!(
        (script.status, script.text().as_str()),
        (200, "socket.io.js")
    );
    assert!(
        script
            .header("content-type")
            .unwrap()
            .contains("javascript")
    );
    assert_eq!(http.get("/socket.io/socket.io.min.js.map").status, 200);
    assert_eq!(http.get("/socket.io/socket.io.nothing.js").status, 404);
    for other in ["package.json", "socket.io/../package.json", ""] {
        assert_eq!(
            http.get(&format!("/socket.io/{other}")).status,
            400,
            "{other}"
        );
    }
    polling_session(&mut http);
    let without = serve(&io);
    let mut http = Http::connect(without.local_addr());
    assert_eq!(http.get("/socket.io/socket.io.js").status, 400);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn who_drains_waits_for_those_that_are_there() {
    let io = Server::new();
    let serving = serve(&io);
    let address = serving.local_addr();
    let (mut ws, _) = Ws::join(address, "40");
    assert!(!serving.drain(Duration::from_millis(10)), "one is there");
    let mut http = Http::connect(address);
    assert_eq!(http.get(HANDSHAKE).status, 503);
    assert!(Ws::try_open(address, "/socket.io/?EIO=4&transport=websocket").is_err());
    io.emit("still", "here").unwrap();
    assert_eq!(ws.text(), "42[\"still\",\"here\"]");
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| serving.drain(PATIENCE));
        ws.send("41");
        drop(ws);
        assert!(drained.join().unwrap());
    });
    serving.shutdown();
    assert!(serving.drain(PATIENCE));
}

#[test]
fn a_loop_over_requests_answers_what_is_not_socket_io() {
    let io = Server::new();
    let (app, requests) = App::new(&io).incoming_requests();
    let serving = app.bind("127.0.0.1:0").unwrap();
    let address = serving.local_addr();
    let loops: Vec<_> = (0..2)
        .map(|_| {
            let requests = requests.clone();
            std::thread::spawn(move || {
                let mut count = 0;
                for mut request in requests {
                    count += 1;
                    if request.url() == "/lost" {
                        continue;
                    }
                    let mut body = String::new();
                    request.as_reader().read_to_string(&mut body).unwrap();
                    let agent = request
                        .headers()
                        .iter()
                        .find(|it| it.field.equiv("User-Agent"));
                    let agent = agent.map_or("", |it| it.value.as_str()).to_owned();
                    assert!(request.remote_addr().unwrap().ip().is_loopback());
                    let length = request.body_length().unwrap_or_default();
                    let text = format!(
                        "{} {} {agent} {body} {length}",
                        request.method(),
                        request.url()
                    );
                    request.respond(Response::from_string(text).with_status_code(201));
                }
                count
            })
        })
        .collect();
    let mut http = Http::connect(address);
    let answer = http.request("POST /a?b=c", "User-Agent: test\r\n", "body");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (201, "POST /a?b=c test body 4")
    );
    assert_eq!(http.get("/lost").status, 500);
    polling_session(&mut http);
    let large = "x".repeat(3_000_000);
    assert!(http.post("/large", &large).text().ends_with(" 3000000"));
    serving.shutdown();
    let counts = loops.into_iter().map(|it| it.join().unwrap());
    assert_eq!(counts.sum::<i32>(), 3);
    assert!(requests.try_recv().is_none());
    // Without anybody who loops.
    let (app, requests) = App::new(&io).incoming_requests();
    drop(requests);
    let serving = app.bind("127.0.0.1:0").unwrap();
    assert_eq!(Http::connect(serving.local_addr()).get("/").status, 503);
}

#[test]
fn a_connection_that_another_server_has_accepted_is_adopted() {
    let io = Server::new();
    io.on("echo", |text: String| text);
    let serving = App::new(&io)
        .http(|_| Response::from_string("page"))
        .start()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || {
        let mut http = Http::connect(address);
        assert_eq!(http.get("/").text(), "page");
        let session = polling_session(&mut http);
        assert_eq!(http.post(&session, "40").text(), "ok");
        let (mut ws, _) = Ws::join(address, "40");
        ws.send("421[\"echo\",\"x\"]");
        assert_eq!(ws.text(), "431[\"x\"]");
    });
    for has_read in [true, false] {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; if has_read { 7 } else { 0 }];
        stream.read_exact(&mut bytes).unwrap();
        serving.adopt(stream, bytes).unwrap();
    }
    client.join().unwrap();
    serving.shutdown();
    let _client = std::net::TcpStream::connect(address).unwrap();
    let (stream, _) = listener.accept().unwrap();
    assert!(matches!(
        serving.adopt(stream, []),
        Err(Error::Disconnected)
    ));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use socketio::{Listener, PeerAddr, Socket};
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    /// A path that nothing is at.
    fn path(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("socketio-{name}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn a_unix_socket_is_served_taken_over_and_removed() {
        let path = path("served");
        let io = Server::new();
        io.on("who", |socket: &Socket| {
            let peer = socket.request().peer_addr();
            assert_eq!((peer, peer.ip()), (PeerAddr::Unix, None));
            peer.to_string()
        });
        // What a server has left that was killed.
        drop(UnixListener::bind(&path).unwrap());
        let serving = io.serve_unix(&path).unwrap();
        let taken = io.serve_unix(&path);
        let Err(Error::Io(error)) = taken else {
            panic!("a server that runs keeps its socket");
        };
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut http = Http::over(stream);
        let session = format!("{HANDSHAKE}&sid={}", sid_of(&http.get(HANDSHAKE).text()));
        assert_eq!(http.post(&session, "40").text(), "ok");
        assert!(http.get(&session).text().starts_with("40{"));
        let stream = UnixStream::connect(&path).unwrap();
        let target = format!("ws://x{}", session.replace("=polling", "=websocket"));
        let (mut ws, _) = tungstenite::client(target, stream).unwrap();
        ws.send("2probe".into()).unwrap();
        assert_eq!(ws.read().unwrap().to_text().unwrap(), "3probe");
        ws.send("5".into()).unwrap();
        ws.send("420[\"who\"]".into()).unwrap();
        assert_eq!(ws.read().unwrap().to_text().unwrap(), "430[\"unix\"]");
        drop(serving);
        assert!(!path.exists());
    }

    #[test]
    fn a_unix_socket_has_a_mode_and_what_is_no_socket_stays() {
        let path = path("mode");
        let listener = Listener::unix(&path).unwrap().permissions(0o600).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Another one has taken its place: it is not this one's to remove.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a file").unwrap();
        drop(listener);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
        assert!(Listener::unix(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn one_server_has_several_listeners() {
        let path = path("several");
        let io = Server::new();
        let second = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = second.local_addr().unwrap();
        let own = UnixListener::bind(&path).unwrap();
        let app = App::new(&io).listener(second).listener(Listener::from(own));
        let serving = app.bind("127.0.0.1:0").unwrap();
        assert_ne!(serving.local_addr(), address);
        let (mut one, _) = Ws::join(serving.local_addr(), "40");
        let (mut other, _) = Ws::join(address, "40");
        let stream = UnixStream::connect(&path).unwrap();
        let target = "ws://x/socket.io/?EIO=4&transport=websocket";
        let (mut third, _) = tungstenite::client(target, stream).unwrap();
        third.send("40".into()).unwrap();
        eventually("three clients", || io.sockets().len() == 3);
        io.emit("news", 1).unwrap();
        for ws in [&mut one, &mut other] {
            assert_eq!(ws.text(), "42[\"news\",1]");
        }
        let mut texts = (0..3).map(|_| third.read().unwrap().to_text().unwrap().to_owned());
        assert!(texts.any(|text| text == "42[\"news\",1]"));
        serving.shutdown();
        assert!(std::net::TcpStream::connect(address).is_err());
        assert!(UnixStream::connect(&path).is_err());
        // The program has made it, and so it removes it.
        std::fs::remove_file(&path).unwrap();
    }

    // A signal is for a whole process.
    #[test]
    fn run_removes_its_socket_at_a_signal_and_lets_clients_finish_before() {
        let name = "run_removes_its_socket_at_a_signal_and_lets_clients_finish_before";
        if !is_alone(module_path!(), name) {
            return;
        }
        let path = path("run");
        drop(UnixListener::bind(&path).unwrap());
        let io = Server::new();
        io.on("echo", |number: u32| number);
        let app = App::new(&io).drain_timeout(PATIENCE);
        let to = path.clone();
        let running = std::thread::spawn(move || app.run_unix(to));
        let address = format!("unix:{}", path.display());
        let connect = || SimpleClient::connect(&*address);
        let mut client = None;
        eventually("the server", || {
            client = connect().ok();
            client.is_some()
        });
        let client = client.unwrap();
        let own = std::process::id().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-TERM", &own])
            .status();
        assert!(kill.unwrap().success());
        eventually("nobody new", || connect().is_err());
        let answer: u32 = client.call("echo", 7, PATIENCE).unwrap();
        assert_eq!(answer, 7, "it finishes");
        client.disconnect();
        running.join().unwrap().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_program_serves_what_systemd_has_opened() {
        assert!(Listener::from_systemd().unwrap().is_empty());
        if let Some(chat) = crate::common::Example::start_by_systemd("chat") {
            let page = Http::connect(chat.address()).get("/");
            assert!(page.text().contains("<html"), "{page:?}");
            chat.terminate();
        }
    }
}

#[test]
fn a_program_gives_sessions_their_ids() {
    for io_threads in [1, 3] {
        let io = Server::builder().io_threads(io_threads).build();
        io.on("echo", |text: String| text);
        io.on_handshake(|request: &Request, handshake: &mut Handshake| {
            if let Some(id) = request.param("id") {
                handshake.session_id(id);
            }
        });
        let serving = crate::common::serve(&io);
        let connect = |id: &str| {
            let query = [("id", id)];
            let options = ConnectOptions::new(format!("http://{}", serving.local_addr()));
            SimpleClient::connect(options.query(query))
        };
        for id in ["my-own_1", "another", "a-third", "a-fourth"] {
            let client = connect(id).expect(id);
            let sid = client.sid().expect("connected");
            let socket = io.socket(&sid).expect("connected");
            let of_session = socket.session_id().to_owned();
            assert_eq!(of_session.split('.').next(), Some(id));
            let answer: String = client.call("echo", "x", PATIENCE).expect("answered");
            assert_eq!(answer, "x");
            assert!(connect("no id!").is_err());
            if io_threads == 1 {
                assert!(connect(id).is_err(), "it is taken");
            }
        }
    }
}

#[test]
fn the_path_has_no_slash_at_its_end_where_that_is_allowed() {
    let io = Server::new();
    for slash in [true, false] {
        let app = App::new(&io).trailing_slash(slash);
        let serving = app.bind("127.0.0.1:0").expect("a port");
        let mut http = Http::connect(serving.local_addr());
        let bare = http.get("/socket.io?EIO=4&transport=polling").status;
        assert_eq!(bare, if slash { 404 } else { 200 });
        assert_eq!(http.get("/socket.io/?EIO=4&transport=polling").status, 200);
        assert_eq!(http.get("/socket.iox/?EIO=4&transport=polling").status, 404);
    }
}
