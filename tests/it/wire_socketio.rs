//! What goes over the wire, Socket.IO: packets in, packets out.

use crate::common::{Http, Ws, eventually, polling_session, serve};
use socketio::{Binary, Event, Limits, Reason, Refused, Server, Socket, Value};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn echo() -> Server {
    let io = Server::builder().namespaces(["/", "/custom"]).build();
    for namespace in [io.of("/"), io.of("/custom")] {
        namespace.on("echo", |event: &Event| event.args());
        namespace.on("back", |socket: &Socket, event: &Event| {
            socket.emit("back", event.args()?)
        });
    }
    io
}

/// The answer to one packet, on a fresh connection that has joined `/`.
fn ask(address: SocketAddr, packet: &str) -> String {
    let (mut ws, _) = Ws::join(address, "40");
    ws.send(packet);
    ws.text()
}

#[test]
fn connect_is_answered_with_a_sid_or_an_error() {
    let io = echo();
    let serving = serve(&io);
    let address = serving.local_addr();
    for (packet, prefix) in [
        ("40", "40{\"sid\":\""),
        ("40{}", "40{\"sid\":\""),
        ("40{\"token\":1}", "40{\"sid\":\""),
        ("40/,", "40{\"sid\":\""),
        ("40/custom", "40/custom,{\"sid\":\""),
        ("40/custom,", "40/custom,{\"sid\":\""),
        ("40/custom,{\"a\":1}", "40/custom,{\"sid\":\""),
    ] {
        let (_ws, answer) = Ws::join(address, packet);
        assert!(answer.starts_with(prefix), "{packet}: {answer}");
        assert_eq!(crate::common::sid_of(&answer).len(), 20);
    }
    for (packet, answer) in [
        ("40/random", "44/random,{\"message\":\"Invalid namespace\"}"),
        (
            "40/random,{\"a\":1}",
            "44/random,{\"message\":\"Invalid namespace\"}",
        ),
        (
            "40/custom?token=1,",
            "44/custom?token=1,{\"message\":\"Invalid namespace\"}",
        ),
    ] {
        let (mut ws, got) = Ws::join(address, packet);
        assert_eq!(got, answer);
        // The connection stays.
        ws.send("40");
        assert!(ws.text().starts_with("40{"));
    }
}

#[test]
fn packets_are_answered_as_by_the_reference_implementation() {
    let serving = serve(&echo());
    let address = serving.local_addr();
    for (packet, answer) in [
        ("420[\"echo\"]", "430[]"),
        (
            "4212[\"echo\",1,\"2\",{\"3\":[false,null]}]",
            "4312[1,\"2\",{\"3\":[false,null]}]",
        ),
        ("42[\"back\",\"é\u{1F600}\"]", "42[\"back\",\"é\u{1F600}\"]"),
        ("42[\"back\"]", "42[\"back\"]"),
        ("42/,7[\"echo\",1]", "437[1]"),
        ("429007199254740992[\"echo\"]", "439007199254740992[]"),
        (
            "42[\"back\",{\"_placeholder\":true,\"num\":0}]",
            "42[\"back\",{\"_placeholder\":true,\"num\":0}]",
        ),
        (
            "42[\"back\",{\"__proto__\":1,\"constructor\":2}]",
            "42[\"back\",{\"__proto__\":1,\"constructor\":2}]",
        ),
        // Ignored, and something else is answered.
        ("42", "42[\"after\"]"),
        ("43[]", "42[\"after\"]"),
        ("4399[1]", "42[\"after\"]"),
        ("42[\"unhandled\"]", "42[\"after\"]"),
        ("421[\"error\",1]", "42[\"after\"]"),
    ] {
        let (mut ws, _) = Ws::join(address, "40");
        ws.send(packet);
        if answer.contains("after") {
            ws.send("42[\"back\"]");
            assert_eq!(ws.text(), "42[\"back\"]", "{packet}");
        } else {
            assert_eq!(ws.text(), answer, "{packet}");
        }
    }
    let (mut ws, _) = Ws::join(address, "40/custom,");
    ws.send("42/custom,3[\"echo\",\"x\"]");
    assert_eq!(ws.text(), "43/custom,3[\"x\"]");
}

#[test]
fn attachments_travel_behind_their_packet() {
    let serving = serve(&echo());
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    let args = r#"{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}],"x""#;
    ws.send(&format!(r#"452-9["echo",{args}]"#));
    ws.send_bytes(&[1, 2]);
    ws.send_bytes(&[]);
    assert_eq!(
        ws.text(),
        r#"462-9[{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}],"x"]"#
    );
    assert_eq!(ws.bytes(), [0; 0]);
    assert_eq!(ws.bytes(), [1, 2]);
    // The same bytes twice, and some that nobody uses.
    ws.send(r#"452-["back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#);
    ws.send_bytes(&[3]);
    ws.send_bytes(&[4]);
    assert_eq!(
        ws.text(),
        r#"451-["back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        "bytes are sent once, however often they are named"
    );
    assert_eq!(ws.bytes(), [3]);

    let mut http = Http::connect(serving.local_addr());
    let session = polling_session(&mut http);
    http.post(&session, "40");
    assert!(http.get(&session).text().starts_with("40"));
    http.post(
        &session,
        "451-7[\"echo\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID",
    );
    assert_eq!(
        http.get(&session).text(),
        "461-7[{\"_placeholder\":true,\"num\":0}]\x1ebAQID"
    );
}

#[test]
fn what_breaks_the_protocol_closes_the_connection() {
    let limits = Limits::default().namespaces(2);
    let io = Server::builder().namespaces("*").limits(limits).build();
    io.on("echo", |event: &Event| event.args());
    let serving = serve(&io);
    let address = serving.local_addr();
    let deep = format!("42[\"echo\",{}{}]", "[".repeat(64), "]".repeat(64));
    let digits = format!("42{}[\"echo\"]", "2".repeat(100_000));
    let name = format!("42[\"{}\"]", "x".repeat(257));
    for packet in [
        "40", // a second CONNECT
        "42[\"connect\"]",
        "42[\"disconnect\",\"x\"]",
        "42[\"connect_error\"]",
        "42[\"disconnecting\"]",
        "42[\"newListener\"]",
        "42[]",
        "42{}",
        "42[null]",
        "42[true]",
        "42[{\"toString\":\"foo\"}]",
        "42[\"echo\"",
        "42[\"echo\"]x",
        "42-1[\"echo\"]",
        "421.5[\"echo\"]",
        "4299999999999999999999[\"echo\"]",
        "42/other,[\"echo\"]", // not joined
        "43/other,1[]",
        "41/other,",
        "431{}",
        "44{}", // the other side's
        "45[\"echo\"]",
        "450-[\"echo\"]",
        "45256-[\"echo\"]",
        "451e1-[\"echo\"]",
        "4510000000000-[\"echo\"]",
        "451-[\"echo\",{\"_placeholder\":true,\"num\":1}]",
        "451-[\"echo\",{\"_placeholder\":true,\"num\":-1}]",
        "451-[\"echo\",{\"_placeholder\":true,\"num\":\"splice\"}]",
        "451-/other,[\"echo\",{\"_placeholder\":true,\"num\":0}]",
        "47",
        "4",
        "49[]",
        &digits,
    ] {
        let (mut ws, _) = Ws::join(address, "40");
        ws.send(packet);
        assert_eq!(ws.until_closed().0, ["1"], "{packet:.60}");
    }
    // Text, or nothing that was announced, in the place of an attachment.
    let (mut ws, _) = Ws::join(address, "40");
    ws.send("451-[\"echo\",{\"_placeholder\":true,\"num\":0}]");
    ws.send("42[\"echo\"]");
    assert_eq!(ws.until_closed().0, ["1"]);
    let (mut ws, _) = Ws::join(address, "40");
    ws.send_bytes(&[1]);
    assert_eq!(ws.until_closed().0, ["1"]);
    // Anything before CONNECT, a CONNECT whose payload is no object, and too many namespaces.
    for packet in [
        "42[\"echo\"]",
        "41",
        "40\"token\"",
        "40[1]",
        "40null",
        "451-[\"a\"]",
    ] {
        let (mut ws, _) = Ws::session(address);
        ws.send(packet);
        assert_eq!(ws.until_closed().0, ["1"], "{packet}");
    }
    let (mut ws, _) = Ws::join(address, "40");
    ws.send("40/a,");
    assert!(ws.text().starts_with("40/a,"));
    ws.send("40/b,");
    assert_eq!(ws.until_closed().0, ["1"]);
    // What is only too much is dropped: the next event is answered.
    let skipped = format!("452-7{}", &deep[2..]);
    for packet in [&deep, &name, &skipped] {
        let (mut ws, _) = Ws::join(address, "40");
        ws.send(packet);
        if packet.starts_with("452-") {
            ws.send_bytes(&[1]);
            ws.send_bytes(&[2]);
        }
        ws.send("421[\"echo\"]");
        assert_eq!(ws.text(), "431[]", "{packet:.60}");
    }
    // As deep as may be.
    let depth = format!("{}{}", "[".repeat(63), "]".repeat(63));
    assert_eq!(
        ask(address, &format!("421[\"echo\",{depth}]")),
        format!("431[{depth}]")
    );
}

#[test]
fn attachments_that_do_not_come_close_the_connection() {
    let limits = Limits::default()
        .attachments_timeout(Duration::from_millis(50))
        .attachments_bytes(1000);
    let io = Server::builder().limits(limits).build();
    io.on("back", |socket: &Socket| socket.emit("back", ()));
    let serving = serve(&io);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("451-[\"x\",{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(ws.until_closed().0, ["1"]);
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("452-[\"back\",{\"_placeholder\":true,\"num\":0}]");
    ws.send_bytes(&[0; 600]);
    ws.send_bytes(&[0; 600]);
    ws.send("421[\"back\"]");
    assert_eq!(
        ws.text(),
        "42[\"back\"]",
        "the first was too large, and dropped"
    );
    assert_eq!(ws.text(), "431[]");
}

#[test]
fn a_client_without_a_namespace_is_closed_in_time() {
    let io = Server::builder()
        .connect_timeout(Duration::from_millis(100))
        .build();
    let serving = serve(&io);
    let (ws, _) = Ws::session(serving.local_addr());
    assert_eq!(ws.until_closed().0, ["1"]);
    let (ws, answer) = Ws::join(serving.local_addr(), "40/nowhere,");
    assert!(answer.starts_with("44/nowhere,"));
    assert_eq!(ws.until_closed().0, ["1"]);
    // One that has left its namespace may stay.
    let (mut ws, _) = Ws::join(serving.local_addr(), "40");
    ws.send("41");
    std::thread::sleep(Duration::from_millis(300));
    ws.send("40");
    assert!(ws.text().starts_with("40{"));
}

#[test]
fn leaving_and_joining_again_gives_a_new_sid() {
    let io = echo();
    let left = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&left);
    io.on_disconnect(move |socket: &Socket, reason: Reason| {
        seen.lock().unwrap().push((socket.sid().to_owned(), reason));
    });
    let serving = serve(&io);
    let (mut ws, first) = Ws::join(serving.local_addr(), "40");
    ws.send("42[\"back\"]");
    assert_eq!(ws.text(), "42[\"back\"]");
    ws.send("41");
    ws.send("40");
    let second = ws.text();
    assert!(second.starts_with("40{") && second != first);
    eventually("the disconnect handler", || left.lock().unwrap().len() == 1);
    let expected = (crate::common::sid_of(&first), Reason::ClientDisconnect);
    assert_eq!(left.lock().unwrap()[0], expected);
}

#[test]
fn refusals_reach_the_client_with_their_data() {
    let io = Server::new();
    io.on_connect(|_: &Socket, auth: Value| match auth["how"].as_str() {
        Some("data") => Err(Refused::new("no").with_data(serde_json::json!({"code": 7}))),
        Some("message") => Err(Refused::new("no")),
        Some("default") => Err(Refused::default()),
        Some("panic") => panic!("in a connect handler of a test"),
        _ => Ok(()),
    });
    io.of("/typed").on_connect(
        |_: &Socket, auth: Option<std::collections::BTreeMap<String, u8>>| auth.is_some(),
    );
    let serving = serve(&io);
    for (packet, answer) in [
        (
            "40{\"how\":\"data\"}",
            "44{\"message\":\"no\",\"data\":{\"code\":7}}",
        ),
        ("40{\"how\":\"message\"}", "44{\"message\":\"no\"}"),
        (
            "40{\"how\":\"default\"}",
            "44{\"message\":\"Connection rejected by server\"}",
        ),
        (
            "40{\"how\":\"panic\"}",
            "44{\"message\":\"Connection rejected by server\"}",
        ),
        (
            "40/typed,",
            "44/typed,{\"message\":\"Connection rejected by server\"}",
        ),
        (
            "40/typed,{\"a\":\"x\"}",
            "44/typed,{\"message\":\"Invalid auth\"}",
        ),
    ] {
        let (mut ws, got) = Ws::join(serving.local_addr(), packet);
        assert_eq!(got, answer);
        assert!(io.sockets().is_empty() && io.of("/typed").sockets().is_empty());
        // An event from one that was refused closes the connection.
        ws.send("42[\"x\"]");
        assert_eq!(ws.until_closed().0, ["1"]);
    }
    assert_eq!(io.namespaces(), [""; 0]);
}

#[test]
fn with_always_connect_the_refusal_is_a_disconnection() {
    let io = Server::builder().always_connect(true).build();
    io.on_connect(|socket: &Socket| {
        socket.emit("early", 1).unwrap();
        Err::<(), _>("no")
    });
    let serving = serve(&io);
    let (mut ws, answer) = Ws::join(serving.local_addr(), "40");
    assert!(answer.starts_with("40{"));
    assert_eq!(ws.text(), "42[\"early\",1]");
    assert_eq!(ws.text(), "41");
}

#[test]
fn what_is_sent_before_the_client_is_accepted_comes_behind_the_answer() {
    let io = Server::new();
    io.on_connect(|socket: &Socket| {
        socket.enter_room("room").unwrap();
        socket.emit("one", 1).unwrap();
        socket.server().to("room").emit("two", 2).unwrap();
        socket
            .server()
            .to(socket.sid())
            .emit("three", Binary::from(&b"3"[..]))
            .unwrap();
        socket.server().emit("nobody is accepted", ()).unwrap();
    });
    let serving = serve(&io);
    let (mut ws, answer) = Ws::join(serving.local_addr(), "40");
    assert!(answer.starts_with("40{"));
    assert_eq!(ws.text(), "42[\"one\",1]");
    assert_eq!(ws.text(), "42[\"two\",2]");
    assert!(ws.text().starts_with("451-[\"three\","));
    assert_eq!(ws.bytes(), b"3");
    io.emit("all", ()).unwrap();
    assert_eq!(ws.text(), "42[\"all\"]");
}
