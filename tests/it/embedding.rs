//! What programs that were there before need: a say about handshakes, the official client's files, an
//! end that waits.

use crate::common::{
    Http, PATIENCE, Ws, eventually, node, polling_session, serve, sid_of, succeed, url,
};
use socketio::engineio::{Handshake, Transport};
use socketio::{App, ConnectOptions, Error, Request, Server, SimpleClient, engineio};
use std::time::Duration;

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

/// A server that lets in who has a key, and adds fields.
fn guarded() -> Server {
    let io = Server::new();
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
