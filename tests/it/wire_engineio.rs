//! What goes over the wire, Engine.IO: requests and frames in, answers out.

use crate::common::{Http, PATIENCE, Ws, eventually, polling_session, serve, sid_of};
use socketio::engineio::Cookie;
use socketio::{AllowedOrigins, App, Handshake, Limits, Request, Server, engineio};
use std::net::SocketAddr;
use std::time::Duration;

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

fn server() -> Server {
    Server::builder().cors_allowed_origins("*").build()
}

#[test]
fn the_handshake_is_the_reference_implementation_s() {
    let serving = serve(&server());
    let mut http = Http::connect(serving.local_addr());
    let answer = http.get(OPEN);
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let text = answer.text();
    let sid = sid_of(&text);
    assert_eq!(sid.len(), 20);
    assert_eq!(
        text,
        format!(
            r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
        )
    );
    let (_ws, open) = Ws::session(serving.local_addr());
    assert!(open.contains(r#""upgrades":[],"#), "{open}");
}

#[test]
fn times_are_told_in_milliseconds_with_their_fractions_and_the_grace() {
    let io = Server::builder()
        .ping_interval(Duration::from_millis(1500))
        .ping_interval_grace(Duration::from_millis(250))
        .ping_timeout(Duration::from_millis(500))
        .max_http_buffer_size(12_345)
        .allow_upgrades(false)
        .build();
    let serving = serve(&io);
    let text = Http::connect(serving.local_addr()).get(OPEN).text();
    let expected = r#""upgrades":[],"pingInterval":1750,"pingTimeout":500,"maxPayload":12345}"#;
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn refused_requests_get_the_reference_implementation_s_codes() {
    let serving = serve(&server());
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    let unknown = "AAAAAAAAAAAAAAAAAAAA";
    let (transport, sid, method, bad, version) = (
        r#"{"code":0,"message":"Transport unknown"}"#,
        r#"{"code":1,"message":"Session ID unknown"}"#,
        r#"{"code":2,"message":"Bad handshake method"}"#,
        r#"{"code":3,"message":"Bad request"}"#,
        r#"{"code":5,"message":"Unsupported protocol version"}"#,
    );
    for (request, body) in [
        ("GET /socket.io/?EIO=4".to_owned(), transport),
        ("GET /socket.io/?EIO=4&transport=abc".to_owned(), transport),
        (
            "GET /socket.io/?EIO=4&transport=__proto__".to_owned(),
            transport,
        ),
        (
            "GET /socket.io/?EIO=4&transport=constructor".to_owned(),
            transport,
        ),
        (
            "GET /socket.io/?EIO=4&transport=webtransport".to_owned(),
            transport,
        ),
        (format!("GET {OPEN}&sid={unknown}"), sid),
        (format!("POST {OPEN}&sid={unknown}"), sid),
        (format!("GET {OPEN}&sid=__proto__"), sid),
        (format!("POST {OPEN}&sid="), method),
        (
            format!("GET /socket.io/?EIO=4&transport=websocket&sid={unknown}"),
            sid,
        ),
        (format!("POST {OPEN}"), method),
        (format!("PUT {OPEN}"), method),
        (format!("HEAD {OPEN}"), method),
        ("GET /socket.io/?EIO=4&transport=websocket".to_owned(), bad),
        (
            format!("GET {}", session.replace("polling", "websocket")),
            bad,
        ),
        (format!("GET {}", session.replace("EIO=4", "EIO=3")), bad),
        (
            "GET /socket.io/?EIO=3&transport=polling".to_owned(),
            version,
        ),
        ("GET /socket.io/?transport=polling".to_owned(), version),
        (
            "GET /socket.io/?EIO=abc&transport=polling".to_owned(),
            version,
        ),
    ] {
        let answer = http.request(&request, "", "");
        assert_eq!(answer.status, 400, "{request}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{request}"
        );
        if !request.starts_with("HEAD") {
            assert_eq!(answer.text(), body, "{request}");
        }
    }
    let answer = http.request(&format!("PUT {session}"), "", "");
    assert_eq!(answer.status, 405);
    for path in [
        "/socket.io?EIO=4&transport=polling",
        "/other",
        "/engine.io/?EIO=4&transport=polling",
    ] {
        assert_eq!(http.get(path).status, 404, "{path}");
    }
    // The path is a prefix, as in the reference implementation.
    assert_eq!(
        http.get("/socket.io/more?EIO=4&transport=polling").status,
        200
    );
    // All that went over one connection, and the session is still there.
    assert_eq!(http.post(&session, "3").text(), "ok");
}

#[test]
fn refused_upgrades_get_the_message_and_a_closed_connection() {
    let serving = serve(&server());
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    for (target, message) in [
        ("/socket.io/?EIO=4", "Transport unknown"),
        (
            "/socket.io/?EIO=4&transport=websocket&sid=abc",
            "Session ID unknown",
        ),
        (
            "/socket.io/?EIO=3&transport=websocket",
            "Unsupported protocol version",
        ),
        ("/socket.io/?EIO=4&transport=polling", "Bad request"),
    ] {
        let mut http = Http::connect(serving.local_addr());
        let answer = http.request(&format!("GET {target}"), fields, "");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (400, message),
            "{target}"
        );
        assert_eq!(answer.header("content-type"), Some("text/html"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(http.is_closed());
    }
    for (from, to) in [
        ("Version: 13", "Version: 12"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
    ] {
        let mut http = Http::connect(serving.local_addr());
        let fields = fields.replace(from, to);
        let answer = http.request("GET /socket.io/?EIO=4&transport=websocket", &fields, "");
        assert_eq!(answer.status, 400, "{to}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    }
}

#[test]
fn polls_and_posts_carry_payloads() {
    let engine = engineio::Server::new();
    engine.on_message(|session, message| session.send(message).unwrap());
    let serving = App::engineio(&engine)
        .socketio_path("/socket.io")
        .bind("127.0.0.1:0")
        .unwrap();
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    let answer = http.post(&session, "4one\x1e4zwei\x1ebAQID\x1e4");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.header("content-type"), Some("text/html"));
    let mut got = String::new();
    while got.matches('\x1e').count() < 3 {
        if !got.is_empty() {
            got.push('\x1e');
        }
        got += &http.get(&session).text();
    }
    assert_eq!(got, "4one\x1e4zwei\x1ebAQID\x1e4");
}

#[test]
fn a_payload_that_is_none_is_answered_and_ends_the_session() {
    let serving = serve(&server());
    for body in ["abc", "40\x1exx", "bn!!!", "2", "9"] {
        let mut http = Http::connect(serving.local_addr());
        let session = polling_session(&mut http);
        let answer = http.post(&session, body);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ok"),
            "{body}"
        );
        let answer = http.get(&session);
        assert_eq!(
            answer.text(),
            r#"{"code":1,"message":"Session ID unknown"}"#,
            "{body}"
        );
    }
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    let fields = "Content-Type: application/octet-stream\r\n";
    let answer = http.request(&format!("POST {session}"), fields, "\x04");
    assert_eq!((answer.status, answer.body.len()), (400, 0));
    assert_eq!(http.get(&session).status, 400);
}

#[test]
fn a_body_over_the_limit_is_413_and_the_session_stays() {
    let io = Server::builder().max_http_buffer_size(1000).build();
    let serving = serve(&io);
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    for length in [999, 1000] {
        assert_eq!(
            http.post(&session, &format!("3{}", "x".repeat(length - 1)))
                .text(),
            "ok"
        );
    }
    let mut other = Http::connect(serving.local_addr());
    let answer = other.post(&session, &format!("3{}", "x".repeat(1000)));
    assert_eq!((answer.status, answer.body.len()), (413, 0));
    let mut chunked = Http::connect(serving.local_addr());
    chunked.write(&format!(
        "POST {session} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"
    ));
    assert_eq!(chunked.read(false).status, 413);
    assert_eq!(http.post(&session, "3").text(), "ok");
}

#[test]
fn two_polls_at_once_end_the_session() {
    let serving = serve(&server());
    let address = serving.local_addr();
    let mut http = Http::connect(address);
    let session = polling_session(&mut http);
    http.write(&format!("GET {session} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let mut other = Http::connect(address);
    other.write(&format!("GET {session} HTTP/1.1\r\nHost: x\r\n\r\n"));
    // Whichever arrives first is the one that waits.
    let mut answers = [http.read(false), other.read(false)].map(|it| (it.status, it.text()));
    answers.sort();
    assert_eq!(answers, [(200, "1".to_owned()), (400, String::new())]);
    assert_eq!(http.get(&session).status, 400);
}

#[test]
fn the_client_can_close_by_polling_and_its_poll_is_answered() {
    let serving = serve(&server());
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    let mut poll = Http::connect(serving.local_addr());
    poll.write(&format!("GET {session} HTTP/1.1\r\nHost: x\r\n\r\n"));
    // Gives the poll time to be the first; either order is right.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(http.post(&session, "1").text(), "ok");
    assert_eq!(poll.read(false).text(), "6");
    assert_eq!(http.get(&session).status, 400);
}

#[test]
fn the_heartbeat_runs_on_both_transports() {
    let io = Server::builder()
        .ping_interval(Duration::from_millis(50))
        .ping_timeout(Duration::from_secs(2))
        .build();
    let serving = serve(&io);
    let (mut ws, _) = Ws::session(serving.local_addr());
    for _ in 0..3 {
        assert_eq!(ws.text(), "2");
        ws.send("3");
    }
    assert_eq!(ws.text(), "2");
    // No pong: closed.
    assert_eq!(ws.until_closed().0, [""; 0]);

    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    for _ in 0..3 {
        assert_eq!(http.get(&session).text(), "2");
        assert_eq!(http.post(&session, "3").text(), "ok");
    }
    assert_eq!(http.get(&session).text(), "2");
    eventually("the ping timeout", || http.get(&session).status == 400);
}

#[test]
fn the_upgrade_goes_by_the_book() {
    let serving = serve(&server());
    let address = serving.local_addr();
    let mut http = Http::connect(address);
    let session = polling_session(&mut http);
    http.write(&format!("GET {session} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let mut ws = Ws::open(address, &session.replace("polling", "websocket"));
    ws.send("2probe");
    assert_eq!(ws.text(), "3probe");
    assert_eq!(http.read(false).text(), "6");
    ws.send("5");
    ws.send("40");
    assert!(ws.text().starts_with("40{\"sid\":"));
    assert_eq!(
        http.get(&session).text(),
        r#"{"code":3,"message":"Bad request"}"#
    );
    assert_eq!(http.post(&session, "42[\"x\"]").status, 400);
    // A second WebSocket is closed; the session is not.
    let second = Ws::open(address, &session.replace("polling", "websocket"));
    assert_eq!(second.until_closed().0, [""; 0]);
    ws.send("41");
    ws.send("40");
    assert!(ws.text().starts_with("40{\"sid\":"));
}

#[test]
fn what_is_queued_while_the_transport_changes_arrives_behind_it() {
    let serving = serve(&server());
    let address = serving.local_addr();
    let mut http = Http::connect(address);
    let session = polling_session(&mut http);
    http.post(&session, "40");
    let mut ws = Ws::open(address, &session.replace("polling", "websocket"));
    ws.send("2probe");
    assert_eq!(ws.text(), "3probe");
    ws.send("5");
    assert!(ws.text().starts_with("40{\"sid\":"));
}

#[test]
fn a_websocket_that_never_upgrades_is_closed_and_polling_goes_on() {
    let limits = Limits::default().upgrade_timeout(Duration::from_millis(100));
    let serving = serve(&Server::builder().limits(limits).build());
    let address = serving.local_addr();
    let mut http = Http::connect(address);
    let session = polling_session(&mut http);
    let target = session.replace("polling", "websocket");
    let mut probed = Ws::open(address, &target);
    probed.send("2probe");
    assert_eq!(probed.text(), "3probe");
    assert_eq!(probed.until_closed().0, [""; 0]);
    let mut wrong = Ws::open(address, &target);
    wrong.send("4hello");
    assert_eq!(wrong.until_closed().0, [""; 0]);
    assert_eq!(http.post(&session, "40").text(), "ok");
    assert!(http.get(&session).text().starts_with("40"));
}

#[test]
fn a_close_frame_is_answered_with_its_code() {
    let serving = serve(&Server::new());
    for code in [Some(1000u16), Some(3000), Some(4999), None] {
        let (mut ws, _) = Ws::session(serving.local_addr());
        let code_bytes = code.map(u16::to_be_bytes);
        let payload = code_bytes.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        // With a mask of zeros.
        ws.send_raw(&[&[0x88, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat());
        assert_eq!(ws.until_closed(), (Vec::new(), code));
    }
}

#[test]
fn frames_that_are_no_packets_close_the_connection() {
    let serving = serve(&server());
    let address = serving.local_addr();
    for text in ["9", "", "abc", "b!!!!", "2", "1"] {
        let (mut ws, _) = Ws::session(address);
        ws.send(text);
        assert_eq!(ws.until_closed().0.len(), 0, "{text:?}");
    }
    // These are ignored.
    let (mut ws, _) = Ws::session(address);
    for text in ["3", "0", "5", "6", "3unsolicited"] {
        ws.send(text);
    }
    ws.send("40");
    assert!(ws.text().starts_with("40"));
}

#[test]
fn websocket_violations_are_closed_with_their_codes() {
    let io = Server::builder().max_http_buffer_size(1000).build();
    let serving = serve(&io);
    for (bytes, code) in [
        (vec![0xf1, 0x80, 0, 0, 0, 0], 1002),       // reserved bits
        (vec![0x83, 0x80, 0, 0, 0, 0], 1002),       // unknown opcode
        (vec![0x81, 0x01, b'x'], 1002),             // not masked
        (vec![0x09, 0x80, 0, 0, 0, 0], 1002),       // fragmented ping
        (vec![0x81, 0x81, 0, 0, 0, 0, 0xff], 1007), // not UTF-8
        (vec![0x82, 0xfe, 0x03, 0xe9, 0, 0, 0, 0], 1009), // 1001 bytes announced
        (
            vec![
                0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
            ],
            1009,
        ),
    ] {
        let (mut ws, _) = Ws::session(serving.local_addr());
        ws.send_raw(&bytes);
        assert_eq!(ws.until_closed().1, Some(code), "{bytes:?}");
    }
}

#[test]
fn bytes_right_behind_the_handshake_are_read() {
    let serving = serve(&server());
    let mut http = Http::connect(serving.local_addr());
    http.write("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\u{0}\u{0}");
    let answer = http.read(false);
    assert_eq!(answer.status, 101);
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    // The two bytes behind the request are a frame that is not masked.
    assert!(http.is_closed());
}

#[test]
fn the_first_subprotocol_that_is_offered_is_taken() {
    let serving = serve(&server());
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate, constructor\r\n";
    for (offered, taken) in [("one, two", Some("one")), ("", None), (" ,x", None)] {
        let fields = format!("{fields}Sec-WebSocket-Protocol: {offered}\r\n");
        let mut http = Http::connect(serving.local_addr());
        let answer = http.request("GET /socket.io/?EIO=4&transport=websocket", &fields, "");
        assert_eq!(answer.status, 101);
        assert_eq!(answer.header("sec-websocket-protocol"), taken, "{offered}");
        assert_eq!(answer.header("sec-websocket-extensions"), None);
    }
}

#[test]
fn a_poll_gets_together_what_one_payload_has_caused() {
    let engine = engineio::Server::new();
    engine.on_message(|session, message| session.send(message).unwrap());
    let serving = App::engineio(&engine)
        .socketio_path("socket.io")
        .bind("127.0.0.1:0")
        .unwrap();
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    let mut poll = Http::connect(serving.local_addr());
    for _ in 0..20 {
        poll.write(&format!("GET {session} HTTP/1.1\r\nHost: x\r\n\r\n"));
        http.post(&session, "4a\x1e4b\x1e4c");
        let mut got = poll.read(false).text();
        while got.len() < 8 {
            got = format!("{got}\x1e{}", poll.get(&session).text());
        }
        assert_eq!(got, "4a\x1e4b\x1e4c");
    }
}

#[test]
fn bytes_travel_as_base64_where_the_client_asks_for_it() {
    let engine = engineio::Server::new();
    engine.on_message(|session, message| session.send(message).unwrap());
    let serving = App::engineio(&engine).bind("127.0.0.1:0").unwrap();
    let mut ws = Ws::open(
        serving.local_addr(),
        "/engine.io/?EIO=4&transport=websocket&b64=1",
    );
    assert!(ws.text().starts_with('0'));
    ws.send("bAQID");
    assert_eq!(ws.text(), "bAQID");
    ws.send_bytes(&[4, 5]);
    assert_eq!(ws.text(), "bBAU=");
    let mut ws = Ws::open(
        serving.local_addr(),
        "/engine.io/?EIO=4&transport=websocket",
    );
    assert!(ws.text().starts_with('0'));
    ws.send("bAQID");
    assert_eq!(ws.bytes(), [1, 2, 3]);
}

#[test]
fn transports_can_be_chosen() {
    let io = Server::builder()
        .transports([engineio::Transport::WebSocket])
        .build();
    let serving = serve(&io);
    let answer = Http::connect(serving.local_addr()).get(OPEN);
    assert_eq!(answer.text(), r#"{"code":0,"message":"Transport unknown"}"#);
    assert!(
        Ws::session(serving.local_addr())
            .1
            .contains("\"upgrades\":[]")
    );
    let io = Server::builder()
        .transports([engineio::Transport::Polling])
        .build();
    let serving = serve(&io);
    assert!(
        Http::connect(serving.local_addr())
            .get(OPEN)
            .text()
            .contains("\"upgrades\":[]")
    );
    assert!(
        Ws::try_open(
            serving.local_addr(),
            "/socket.io/?EIO=4&transport=websocket"
        )
        .is_err()
    );
}

#[test]
fn the_cookie_is_set_on_the_handshake_alone() {
    for (cookie, attributes) in [
        (Cookie::new("io"), "; path=/; SameSite=Lax"),
        (
            Cookie::new("io").attribute("Path", "/x").flag("HttpOnly"),
            "; Path=/x; HttpOnly",
        ),
    ] {
        let serving = serve(&Server::builder().cookie(cookie).build());
        let mut http = Http::connect(serving.local_addr());
        let answer = http.get(OPEN);
        let sid = sid_of(&answer.text());
        assert_eq!(
            answer.header("set-cookie"),
            Some(format!("io={sid}{attributes}").as_str())
        );
        let answer = http.post(&format!("{OPEN}&sid={sid}"), "3");
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[test]
fn foreign_origins_are_refused_on_polling_and_websocket() {
    let bad = r#"{"code":3,"message":"Bad request"}"#;
    let ask = |address: SocketAddr, fields: &str| {
        let polling = Http::connect(address).request(&format!("GET {OPEN}"), fields, "");
        let websocket = format!(
            "{fields}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        );
        let upgrade = Http::connect(address).request(
            "GET /socket.io/?EIO=4&transport=websocket",
            &websocket,
            "",
        );
        let allowed = (polling.status == 200, upgrade.status == 101);
        assert_eq!(allowed.0, allowed.1, "{fields}");
        if !allowed.0 {
            assert_eq!((polling.status, polling.text().as_str()), (400, bad));
            assert_eq!(upgrade.status, 400);
            assert_eq!(polling.header("access-control-allow-origin"), None);
        } else if fields.contains("Origin") && !fields.contains("null") {
            assert!(
                polling.header("access-control-allow-origin").is_some(),
                "{fields}"
            );
        }
        allowed.0
    };
    let origins =
        |origins: AllowedOrigins| serve(&Server::builder().cors_allowed_origins(origins).build());

    let same = origins(AllowedOrigins::Same);
    for (fields, allowed) in [
        ("", true),
        ("Origin: http://localhost\r\n", true),
        ("Origin: https://localhost\r\n", false),
        ("Origin: http://localhost:80\r\n", true),
        ("Origin: ws://localhost\r\n", true),
        ("Origin: http://evil\r\n", false),
        ("Origin: null\r\n", false),
        (
            "Origin: https://a.example\r\nX-Forwarded-Proto: https, http\r\nX-Forwarded-Host: a.example, b\r\n",
            true,
        ),
        (
            "Origin: https://localhost\r\nX-Forwarded-Proto: https\r\n",
            true,
        ),
        (
            "Origin: https://evil\r\nX-Forwarded-Proto: https\r\n",
            false,
        ),
    ] {
        assert_eq!(ask(same.local_addr(), fields), allowed, "{fields}");
    }
    let list = origins(["http://a", "http://b"].into());
    assert!(ask(list.local_addr(), "Origin: http://b\r\n"));
    assert!(!ask(list.local_addr(), "Origin: http://localhost\r\n"));
    let any = origins("*".into());
    assert!(ask(any.local_addr(), "Origin: http://whoever\r\n"));
    let function = origins(AllowedOrigins::matching(|origin, request| {
        origin.ends_with(".example") && request.path() == "/socket.io/"
    }));
    assert!(ask(function.local_addr(), "Origin: http://x.example\r\n"));
    assert!(!ask(function.local_addr(), "Origin: http://x.org\r\n"));
}

#[test]
fn preflight_requests_are_answered() {
    let serving = serve(&Server::builder().cors_allowed_origins("http://a").build());
    let mut http = Http::connect(serving.local_addr());
    let fields = "Origin: http://a\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-one\r\n";
    let answer = http.request(&format!("OPTIONS {OPEN}"), fields, "");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    for (name, value) in [
        ("access-control-allow-origin", "http://a"),
        ("access-control-allow-credentials", "true"),
        (
            "access-control-allow-methods",
            "GET,HEAD,PUT,PATCH,POST,DELETE",
        ),
        ("access-control-allow-headers", "x-one"),
        ("content-length", "0"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let answer = http.request(&format!("OPTIONS {OPEN}"), "Origin: http://b\r\n", "");
    assert_eq!(answer.status, 400);
    let without = Server::builder().cors_allowed_origins("http://a");
    let serving = serve(&without.cors_credentials(false).build());
    let mut http = Http::connect(serving.local_addr());
    for method in ["OPTIONS", "GET"] {
        let answer = http.request(&format!("{method} {OPEN}"), "Origin: http://a\r\n", "");
        let origin = answer.header("access-control-allow-origin");
        assert_eq!(origin, Some("http://a"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

#[cfg(feature = "compression")]
#[test]
fn large_answers_are_compressed_for_those_who_take_it() {
    use std::io::Read;
    let engine = engineio::Server::new();
    engine.on_message(|session, message| session.send(message).unwrap());
    let serving = App::engineio(&engine)
        .socketio_path("socket.io")
        .bind("127.0.0.1:0")
        .unwrap();
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    for (length, accepted, encoding) in [
        (2_000, "gzip, deflate", Some("gzip")),
        (2_000, "deflate", Some("deflate")),
        (100_000, "gzip", Some("gzip")),
        (2_000, "br", None),
        (2_000, "gzip;q=0", None),
        (1_000, "gzip", None),
    ] {
        let message = format!("4{}", "x".repeat(length - 1));
        http.post(&session, &message);
        let answer = http.request(
            &format!("GET {session}"),
            &format!("Accept-Encoding: {accepted}\r\n"),
            "",
        );
        assert_eq!(
            answer.header("content-encoding"),
            encoding,
            "{length} {accepted}"
        );
        let mut text = String::new();
        match encoding {
            Some("gzip") => flate2::read::GzDecoder::new(&answer.body[..])
                .read_to_string(&mut text)
                .map(drop)
                .unwrap(),
            Some(_) => flate2::read::ZlibDecoder::new(&answer.body[..])
                .read_to_string(&mut text)
                .map(drop)
                .unwrap(),
            None => text = answer.text(),
        }
        assert!(text == message, "{length} {accepted}");
    }
}

#[cfg(feature = "compression")]
#[test]
fn answers_are_compressed_from_the_size_on_that_was_set() {
    let engine = engineio::Server::builder()
        .compression_threshold(50)
        .build();
    engine.on_message(|session, message| session.send(message).expect("sent"));
    let app = App::engineio(&engine).socketio_path("socket.io");
    let serving = app.bind("127.0.0.1:0").expect("a port");
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    for (length, encoding) in [(49, None), (50, Some("gzip"))] {
        http.post(&session, &format!("4{}", "x".repeat(length - 1)));
        let fields = "Accept-Encoding: gzip\r\n";
        let answer = http.request(&format!("GET {session}"), fields, "");
        assert_eq!(answer.header("content-encoding"), encoding, "{length}");
    }
}

#[test]
fn an_answer_to_a_poll_carries_as_many_packets_as_were_set() {
    let engine = engineio::Server::builder().payload_packets(3).build();
    let app = App::engineio(&engine).socketio_path("socket.io");
    let serving = app.bind("127.0.0.1:0").expect("a port");
    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    let sid = session.rsplit('=').next().expect("a sid");
    for number in 0..8 {
        engine.send(sid, number.to_string()).expect("sent");
    }
    let answers = [(); 3].map(|()| http.get(&session).text());
    assert_eq!(answers, ["40\x1e41\x1e42", "43\x1e44\x1e45", "46\x1e47"]);
}

#[test]
fn a_burst_reaches_a_poller_in_as_few_payloads_as_it_takes() {
    let io = server();
    let (sender, done) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    io.on("burst", move |socket: &socketio::Socket, count: u32| {
        for number in 0..count {
            socket.emit("b", number).unwrap();
        }
        sender.lock().unwrap().send(()).unwrap();
    });
    let serving = serve(&io);
    // Python's clients drop a payload of more than 16 packets, and say who they are.
    let python = "User-Agent: python-requests/2.32.3\r\n";
    for (fields, most) in [("", 500), (python, 16)] {
        let mut http = Http::connect(serving.local_addr());
        let open = http.request(&format!("GET {OPEN}"), fields, "");
        let session = format!("{OPEN}&sid={}", sid_of(&open.text()));
        http.post(&session, "40");
        assert!(http.get(&session).text().starts_with("40"));
        http.post(&session, "42[\"burst\",500]");
        // All of it waits when the first is asked for.
        done.recv().unwrap();
        let (mut numbers, mut largest) = (0, 0);
        while numbers < 500 {
            let text = http.get(&session).text();
            let packets: Vec<_> = text.split('\x1e').collect();
            largest = largest.max(packets.len());
            for packet in packets {
                assert_eq!(packet, format!("42[\"b\",{numbers}]"));
                numbers += 1;
            }
        }
        assert!(
            largest <= most && (most == 16 || largest > 16),
            "{largest} of {most}"
        );
    }
}

#[test]
fn the_program_decides_who_opens_an_engineio_session() {
    let engine = engineio::Server::new();
    engine.on_connect(|session: &engineio::Session| {
        match session.request().param("who").as_deref() {
            Some("me") => Ok(()),
            Some("nobody") => Err(serde_json::json!("no such user")),
            _ => Err(serde_json::json!({"why": 7})),
        }
    });
    let serving = App::engineio(&engine).bind("127.0.0.1:0").unwrap();
    let address = serving.local_addr();
    let ask = |who: &str| {
        Http::connect(address).get(&format!("/engine.io/?EIO=4&transport=polling{who}"))
    };
    assert_eq!(ask("&who=me").status, 200);
    let answer = ask("&who=nobody");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (401, "\"no such user\"")
    );
    assert_eq!(ask("").text(), "{\"why\":7}");
    assert!(Ws::try_open(address, "/engine.io/?EIO=4&transport=websocket").is_err());
    let mut ws = Ws::open(address, "/engine.io/?EIO=4&transport=websocket&who=me");
    let sid = sid_of(&ws.text());
    let session = engine.session(&sid).expect("the session");
    assert_eq!(session.transport(), engineio::Transport::WebSocket);
    engine.send(&sid, "hello").unwrap();
    assert_eq!(ws.text(), "4hello");
    engine.disconnect(&sid);
    assert_eq!(ws.until_closed().0, ["1"]);
    eventually("the end of the session", || engine.session(&sid).is_none());
    assert!(engine.send(&sid, "late").is_err());
}

#[test]
fn two_sessions_of_one_id_are_refused_while_the_program_decides_about_the_first() {
    let engine = engineio::Server::new();
    engine.on_handshake(|_: &Request, handshake: &mut Handshake| {
        handshake.session_id("the-same");
    });
    let (sender, asked) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = parking_lot::Mutex::new(wait);
    engine.on_connect(move |_: &engineio::Session| {
        sender.send(()).expect("awaited");
        wait.lock().recv_timeout(PATIENCE).expect("told to go on");
        true
    });
    let serving = App::engineio(&engine).bind("127.0.0.1:0").expect("a port");
    let address = serving.local_addr();
    let open = "/engine.io/?EIO=4&transport=polling";
    let first = std::thread::spawn(move || Http::connect(address).get(open));
    asked.recv_timeout(PATIENCE).expect("asked");
    let known = format!("{open}&sid=the-same");
    let early = Http::connect(address).get(&known);
    assert!(early.text().contains("Session ID unknown"), "{early:?}");
    assert_eq!(Http::connect(address).get(open).status, 400, "it is taken");
    go.send(()).expect("awaited");
    let first = first.join().expect("an answer");
    assert_eq!((first.status, &*sid_of(&first.text())), (200, "the-same"));
    let session = engine.session("the-same").expect("the session");
    session.send("hello").expect("sent");
    assert_eq!(Http::connect(address).get(&known).text(), "4hello");
    // It is free again once the session has ended, and its client has heard so.
    session.disconnect();
    Http::connect(address).get(&known);
    go.send(()).expect("awaited");
    eventually("the id is free", || {
        Http::connect(address).get(open).status == 200
    });
}
