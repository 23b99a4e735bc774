//! What hostile peers send, to a server in a process of its own: after each attack it has the threads
//! and descriptors of before, its memory stays below a figure, and another client got every answer
//! meanwhile. What single packets are answered with is in `wire_engineio` and `wire_socketio`.

use crate::common::{Example, Http, Ws, eventually_or, polling_session, sid_of};
use socketio::{Client, ConnectOptions, SimpleClient, engineio::Transport};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Workers that the friend's own events may keep on a busy machine: they leave when they are idle for
/// long.
const SPARE: usize = 1;

/// What the process may have used at most, in KiB, whatever was sent to it.
const PEAK: u64 = 64 << 10;

/// A server under attack, and a client of it that must not notice.
struct Attacked {
    server: Example,
    baseline: (usize, usize),
    end: Arc<AtomicBool>,
    friend: Option<JoinHandle<u64>>,
}

impl Attacked {
    fn start() -> Attacked {
        Attacked::start_with(&[])
    }

    fn start_with(options: &[&str]) -> Attacked {
        let options = [&["--connect-timeout", "3000"], options].concat();
        let server = Example::start("socketio_echo", 0, &options);
        let options = ConnectOptions::new(server.url()).transports([Transport::WebSocket]);
        let client = Client::builder().reconnection(false);
        let friend = SimpleClient::builder().client(client).connect(options);
        let friend = friend.expect("the friend connects");
        friend.receive(crate::common::PATIENCE).expect("auth");
        let end = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&end);
        let friend = std::thread::spawn(move || {
            let mut number = 0;
            while !ends.load(Ordering::SeqCst) {
                let answer: u64 = friend
                    .call("message-with-ack", number, crate::common::PATIENCE)
                    .expect("the friend is answered");
                assert_eq!(answer, number);
                number += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            number
        });
        let mut attacked = Attacked {
            server,
            baseline: (0, 0),
            end,
            friend: Some(friend),
        };
        attacked.baseline = attacked.threads_and_descriptors();
        attacked
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn threads_and_descriptors(&self) -> (usize, usize) {
        let count = |what: &str| {
            let folder = format!("/proc/{}/{what}", self.server.pid());
            std::fs::read_dir(folder).expect("the server runs").count()
        };
        (count("task"), count("fd"))
    }

    /// The most memory that the process has ever used, in KiB.
    fn peak(&self) -> u64 {
        let status = format!("/proc/{}/status", self.server.pid());
        let status = std::fs::read_to_string(status).expect("the server runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let words = line.and_then(|line| line.split_whitespace().nth(1));
        words.and_then(|word| word.parse().ok()).expect("a figure")
    }

    /// Runs an attack, and waits until nothing of it is left.
    fn suffers(&self, what: &str, attack: impl FnOnce(SocketAddr)) {
        attack(self.address());
        let is_now = || {
            let (is, was) = (self.threads_and_descriptors(), self.baseline);
            format!("the end of {what} ({is:?} threads and descriptors after {was:?})")
        };
        eventually_or(is_now, || {
            let (threads, descriptors) = self.threads_and_descriptors();
            threads <= self.baseline.0 + SPARE && descriptors <= self.baseline.1
        });
        let peak = self.peak();
        assert!(peak < PEAK, "{what}: {peak} KiB");
    }

    /// No thread more than before, at this moment.
    fn has_no_more_threads(&self, what: &str) {
        let threads = self.threads_and_descriptors().0;
        assert!(
            threads <= self.baseline.0 + SPARE,
            "{what}: {threads} threads"
        );
    }
}

impl Drop for Attacked {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(friend) = self.friend.take()
            && !std::thread::panicking()
        {
            assert!(friend.join().expect("every echo was answered") > 0);
        }
    }
}

/// Sends bytes; gives what comes back until the server closes, or says nothing more for a while.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    // The server may not want to hear all of it.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..count]);
        if answer.len() > 1 << 20 {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

#[test]
fn heads_that_are_none_or_too_much() {
    let attacked = Attacked::start();
    let fields = "X: y\r\n".repeat(10_000);
    let line = "x".repeat(1 << 20);
    let get = |rest: &str| format!("GET {POLLING} HTTP/1.1\r\nHost: x\r\n{rest}\r\n");
    let post = |rest: &str| format!("POST {POLLING} HTTP/1.1\r\nHost: x\r\n{rest}\r\n");
    for (what, request, status) in [
        ("ten thousand fields", get(&fields), "431"),
        (
            "a long line",
            format!("GET /{line} HTTP/1.1\r\n\r\n"),
            "431",
        ),
        ("a long field", get(&format!("X: {line}\r\n")), "431"),
        ("NUL in a field", get("X: a\0b\r\n"), "400"),
        ("CR in a field", get("X: a\rb\r\n"), "400"),
        ("a field without a name", get(": x\r\n"), "400"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "400"),
        ("HTTP/3.1", "GET / HTTP/3.1\r\n\r\n".into(), "400"),
        (
            "TLS",
            "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".into(),
            "400",
        ),
        (
            "two lengths",
            post("Content-Length: 1\r\nContent-Length: 2\r\n"),
            "400",
        ),
        (
            "length and chunks",
            post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            "400",
        ),
        ("no number", post("Content-Length: -1\r\n"), "400"),
        (
            "a huge number",
            post("Content-Length: 99999999999999999999999\r\n"),
            "400",
        ),
        (
            "another coding",
            post("Transfer-Encoding: gzip, chunked\r\n"),
            "501",
        ),
    ] {
        attacked.suffers(what, |address| {
            let answer = raw(address, request.as_bytes());
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{what}: {answer:.60}");
        });
    }
    attacked.suffers(
        "a thousand connections that say nothing, or a word",
        |address| {
            let silent: Vec<_> = (0..1_000)
                .map(|number| {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream
                        .write_all(&b"GET /socket.io/"[..number % 15])
                        .unwrap();
                    stream
                })
                .collect();
            attacked.has_no_more_threads("silent connections");
            drop(silent);
        },
    );
    attacked.suffers("a thousand requests at once on one connection", |address| {
        let mut http = Http::connect(address);
        http.write(&get("").repeat(1_000));
        for _ in 0..1_000 {
            assert_eq!(http.read(false).status, 200);
        }
    });
}

#[test]
fn queries_and_bodies_that_are_none_or_too_much() {
    let attacked = Attacked::start();
    for (query, status) in [
        ("", 400),
        ("EIO=4", 400),
        ("EIO=4&transport=__proto__", 400),
        ("EIO=4&transport=constructor", 400),
        ("EIO=4&transport[]=polling", 400),
        ("EIO=4&transport=polling&sid=__proto__", 400),
        ("EIO=4&transport=polling&sid=%00%ff", 400),
        ("EIO=4&transport=polling&sid=../../etc/passwd", 400),
        ("EIO=3&transport=polling", 400),
        ("EIO=%zz&transport=polling", 400),
        ("transport=polling&EIO[]=4", 400),
        ("transport=polling&EIO=4&__proto__=x&hasOwnProperty=y", 200),
        ("transport=polling&EIO=4&j=%3Cscript%3E", 200),
    ] {
        attacked.suffers(query, |address| {
            let mut http = Http::connect(address);
            let answer = http.get(&format!("/socket.io/?{query}"));
            assert_eq!(answer.status, status, "{query}");
            assert!(!answer.text().contains("script"), "{query}");
        });
    }
    let much = "x".repeat(1_100_000);
    let (packets, empty) = ("4\x1e".repeat(400_000), "\x1e".repeat(900_000));
    let pongs = vec!["3"; 300_000].join("\x1e");
    // What is no payload is answered, as by the JavaScript server, and ends the session.
    for (what, fields, body, status) in [
        ("a body over the limit", "", much.as_str(), 413),
        ("empty packets", "", &empty, 200),
        ("a body of nothing", "", "", 200),
        ("packets before CONNECT", "", &packets, 200),
        ("pongs that nobody asked for", "", &pongs, 200),
        ("base64 that is none", "", "b!!!!", 200),
        ("a packet of no type", "", "9", 200),
        (
            "no UTF-8",
            "Content-Type: application/octet-stream\r\n",
            "4\u{fffd}",
            400,
        ),
        ("compressed", "Content-Encoding: gzip\r\n", "\x1f", 200),
    ] {
        attacked.suffers(what, |address| {
            let mut http = Http::connect(address);
            let target = polling_session(&mut http);
            let answer = http.request(&format!("POST {target}"), fields, body);
            assert_eq!(answer.status, status, "{what}");
        });
    }
    attacked.suffers("chunks without end", |address| {
        let mut head =
            format!("POST {POLLING} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        head.push_str("fffffffffffffffffff\r\n");
        assert!(raw(address, head.as_bytes()).starts_with("HTTP/1.1 400 "));
        let mut http = Http::connect(address);
        let target = polling_session(&mut http);
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
        let answer = raw(address, format!("{head}{}", chunk.repeat(64)).as_bytes());
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
            "{answer:.60}"
        );
    });
    attacked.suffers("bodies that are broken off", |address| {
        for _ in 0..200 {
            let mut stream = TcpStream::connect(address).unwrap();
            let head =
                format!("POST {POLLING} HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&[b'x'; 10_000]).unwrap();
        }
    });
    attacked.suffers("a hundred polls of one session", |address| {
        let mut http = Http::connect(address);
        let target = polling_session(&mut http);
        let polls: Vec<_> = (0..100)
            .map(|_| {
                let mut poll = Http::connect(address);
                poll.write(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
                poll
            })
            .collect();
        drop(polls);
    });
    attacked.suffers("two thousand sessions that never join", |address| {
        let mut http = Http::connect(address);
        for _ in 0..2_000 {
            polling_session(&mut http);
        }
        attacked.has_no_more_threads("handshakes");
        let websockets: Vec<_> = (0..500).map(|_| Ws::session(address)).collect();
        attacked.has_no_more_threads("handshakes over WebSocket");
        drop(websockets);
    });
}

/// A frame with any first byte, masked with zeros, that says it has so many bytes.
fn frame(first: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match length {
        0..=125 => frame.push(0x80 | length as u8),
        126..=65_535 => {
            frame.push(0xfe);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            frame.push(0xff);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn frames_that_are_none_or_too_much() {
    let attacked = Attacked::start();
    let whole = |first, payload: &[u8]| frame(first, payload.len() as u64, payload);
    let fragments = [whole(0x01, b"4"), whole(0x00, b"x").repeat(300_000)].concat();
    let nothings = [whole(0x01, b""), whole(0x00, b"").repeat(300_000)].concat();
    for (what, bytes, code) in [
        ("reserved bits", whole(0xf1, b"4"), Some(1002)),
        ("an unknown opcode", whole(0x83, b"4"), Some(1002)),
        ("no mask", vec![0x81, 1, b'4'], Some(1002)),
        ("a fragmented ping", whole(0x09, b""), Some(1002)),
        ("a long ping", whole(0x89, &[0; 126]), Some(1002)),
        (
            "all bytes there are",
            frame(0x82, u64::MAX >> 1, b""),
            Some(1009),
        ),
        ("one byte too much", frame(0x82, 1_000_002, b""), Some(1009)),
        ("a continuation of nothing", whole(0x80, b"x"), Some(1002)),
        (
            "text in the middle of text",
            [whole(0x01, b"4"), whole(0x81, b"4")].concat(),
            Some(1002),
        ),
        ("no UTF-8", whole(0x81, b"4\xff"), Some(1007)),
        ("a close without a code", whole(0x88, b"x"), Some(1002)),
        (
            "a close with a code that is none",
            whole(0x88, &[0, 1]),
            Some(1002),
        ),
        (
            "a close that is no UTF-8",
            whole(0x88, b"\x03\xe8\xff"),
            Some(1007),
        ),
        ("one byte a fragment", fragments, None),
        ("fragments of nothing", nothings, None),
    ] {
        attacked.suffers(what, |address| {
            let (ws, _) = Ws::session(address);
            // The server may not want to hear all of it.
            let _ = ws.stream().try_clone().unwrap().write_all(&bytes);
            let (_, got) = ws.until_closed();
            // A reset overtakes the close frame if more than that was being sent.
            assert!(
                got == code || code.is_none() || got.is_none(),
                "{what}: {got:?}"
            );
        });
    }
    attacked.suffers("pings without end", |address| {
        let (mut ws, _) = Ws::join(address, "40");
        let pings = whole(0x89, b"x").repeat(20_000);
        let _ = ws.stream().try_clone().unwrap().write_all(&pings);
        ws.try_send("2probe");
    });
    attacked.suffers("pongs without end", |address| {
        let (mut ws, _) = Ws::join(address, "40");
        for _ in 0..50_000 {
            if !ws.try_send("3") {
                break;
            }
        }
        attacked.has_no_more_threads("pongs");
    });
}

#[test]
fn upgrades_that_go_nowhere() {
    let attacked = Attacked::start();
    let upgrade = |sid: &str| format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
    attacked.suffers("probes that are never finished", |address| {
        let mut http = Http::connect(address);
        let sockets: Vec<_> = (0..100)
            .map(|_| {
                let target = polling_session(&mut http);
                let sid = target.rsplit("sid=").next().unwrap().to_owned();
                let mut ws = Ws::open(address, &upgrade(&sid));
                ws.send("2probe");
                assert_eq!(ws.text(), "3probe");
                ws
            })
            .collect();
        attacked.has_no_more_threads("probes");
        drop(sockets);
    });
    attacked.suffers("an upgrade without a probe, and a second one", |address| {
        let mut http = Http::connect(address);
        let target = polling_session(&mut http);
        let sid = target.rsplit("sid=").next().unwrap().to_owned();
        let mut ws = Ws::open(address, &upgrade(&sid));
        ws.send("5");
        ws.until_closed();
        for foreign in ["", "x", "__proto__", &"A".repeat(20)] {
            assert!(Ws::try_open(address, &upgrade(foreign)).is_err() || foreign.is_empty());
        }
    });
    attacked.suffers("bytes behind the handshake that are no frames", |address| {
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\
             Sec-WebSocket-Extensions: constructor\r\nSec-WebSocket-Protocol: b{}x\r\n\r\ntest",
            "dGhlIHNhbXBsZSBub25jZQ==",
            " ".repeat(8_000)
        );
        let answer = raw(address, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer:.60}");
        assert!(!answer.contains("constructor"));
    });
    attacked.suffers("connections that are reset in every state", |address| {
        for number in 0..300 {
            let (mut ws, open) = Ws::session(address);
            assert!(!sid_of(&open).is_empty());
            if number % 3 > 0 {
                ws.send("40");
            }
            if number % 3 > 1 {
                ws.send("451-[\"message\",{\"_placeholder\":true,\"num\":0}]");
            }
        }
    });
}

#[test]
fn packets_that_are_too_much() {
    let attacked = Attacked::start();
    let elements = vec!["{\"_placeholder\":true,\"num\":0}"; 30_000].join(",");
    for (what, packet) in [
        (
            "an id of digits",
            format!("42{}[\"message\"]", "2".repeat(900_000)),
        ),
        (
            "a count of digits",
            format!("45{}-[\"message\"]", "4".repeat(900_000)),
        ),
        ("a long name", format!("42[\"{}\"]", "x".repeat(900_000))),
        ("a long namespace", format!("40/{},", "x".repeat(900_000))),
        ("depth", format!("42[\"message\",{}", "[".repeat(900_000))),
        (
            "depth of objects",
            format!("42[\"message\",{}", "{\"a\":".repeat(180_000)),
        ),
        (
            "one attachment many times",
            format!("451-[\"message\",{elements}]"),
        ),
        ("attachments", "45999999999-[\"message\"]".into()),
        (
            "a number",
            format!("42[\"message\",{}]", "9".repeat(900_000)),
        ),
        ("an exponent", "42[\"message\",1e999999999]".into()),
        ("half a character", "42[\"message\",\"\\ud800\"]".into()),
        (
            "keys twice",
            "42[\"message\",{\"a\":1,\"a\":2,\"__proto__\":{\"x\":1}}]".into(),
        ),
    ] {
        attacked.suffers(what, |address| {
            let (mut ws, _) = Ws::join(address, "40");
            ws.try_send(&packet);
            // Either it is closed, or it goes on; never neither.
            ws.try_send("421[\"message-with-ack\",\"still there\"]");
            while let Some(message) = ws.next() {
                if message.to_text().is_ok_and(|text| text.starts_with("431[")) {
                    break;
                }
            }
        });
    }
    attacked.suffers("namespaces that are not there", |address| {
        let (mut ws, _) = Ws::session(address);
        for number in 0..20_000 {
            if !ws.try_send(&format!("40/{number},")) {
                break;
            }
        }
    });
    attacked.suffers("acknowledgements that nobody asked for", |address| {
        let (mut ws, _) = Ws::join(address, "40");
        for number in 0..50_000 {
            if !ws.try_send(&format!("43{number}[]")) {
                break;
            }
        }
        ws.send("421[\"message-with-ack\"]");
        while ws.text() != "431[]" {}
        attacked.has_no_more_threads("acknowledgements");
    });
    attacked.suffers("attachments that never come, of a hundred clients", |address| {
        let clients: Vec<_> = (0..100)
            .map(|_| {
                let (mut ws, _) = Ws::join(address, "40");
                ws.send("452-[\"message\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]");
                ws.send_bytes(&vec![7; 100_000]);
                ws
            })
            .collect();
        drop(clients);
    });
    attacked.suffers("answers that are never read", |address| {
        let (mut ws, _) = Ws::join(address, "40");
        let large = format!("42[\"message\",\"{}\"]", "x".repeat(900_000));
        ws.stream()
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        for _ in 0..100 {
            if !ws.try_send(&large) {
                break;
            }
        }
    });
}

/// A session of Engine.IO 3 on polling.
fn old_session(http: &mut Http, query: &str) -> String {
    let path = format!("/socket.io/?EIO=3&transport=polling{query}");
    let answer = http.get(&path).text().replace('\\', "");
    format!("{path}&sid={}", sid_of(&answer))
}

#[test]
fn payloads_of_engineio_3_that_are_none_or_too_much() {
    let attacked = Attacked::start_with(&["--eio3", "1"]);
    let part = |kind: u8, length: &[u8], data: &[u8]| [&[kind], length, &[0xff], data].concat();
    for (what, query, body) in [
        ("a length of digits", "", "9".repeat(900_000).into_bytes()),
        ("a length beyond the end", "", b"9999999999:4".to_vec()),
        ("empty packets", "", "0:".repeat(450_000).into_bytes()),
        ("pings", "", "1:2".repeat(300_000).into_bytes()),
        ("connections", "", "2:40".repeat(200_000).into_bytes()),
        ("base64", "", b"9:b4!!!!!!!".to_vec()),
        ("a length of bytes", "", part(0, &[9; 900_000], b"")),
        ("no digits", "", [0, 0xff].repeat(400_000)),
        ("unknown bytes", "", part(1, &[1], &[9]).repeat(200_000)),
        ("pings in bytes", "", part(1, &[1], &[2]).repeat(200_000)),
        (
            "a form of blanks",
            "&j=0",
            [b"d=", &[b'+'; 900_000][..]].concat(),
        ),
        (
            "a form of line ends",
            "&j=0",
            format!("d={}", "%5Cn".repeat(200_000)).into_bytes(),
        ),
        (
            "a form without data",
            "&j=99999999999999999999",
            b"x=y".to_vec(),
        ),
        (
            "a query",
            "",
            format!("900004:40/x?{},", "a=1&".repeat(224_999)).into_bytes(),
        ),
    ] {
        attacked.suffers(what, |address| {
            let mut http = Http::connect(address);
            let session = old_session(&mut http, query);
            let head = format!(
                "POST {session} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream
                .set_read_timeout(Some(crate::common::PATIENCE))
                .unwrap();
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            let mut answer = [0; 64];
            let count = stream.read(&mut answer).unwrap_or(0);
            let answer = String::from_utf8_lossy(&answer[..count]);
            assert!(answer.starts_with("HTTP/1.1 "), "{what}: {answer}");
            // It ends by itself, or with this.
            http.post(&session, "1:1");
        });
    }
    attacked.suffers("pings whose pongs nobody reads", |address| {
        let path = "/socket.io/?EIO=3&transport=websocket";
        let mut ws = Ws::open(address, path);
        for _ in 0..200_000 {
            if !ws.try_send("2") {
                break;
            }
        }
    });
    attacked.suffers("namespaces with queries", |address| {
        let mut ws = Ws::open(address, "/socket.io/?EIO=3&transport=websocket");
        for number in 0..20_000 {
            if !ws.try_send(&format!("40/custom{number}?a=b,")) {
                break;
            }
        }
    });
}

#[cfg(all(feature = "msgpack", feature = "cbor", feature = "pickle"))]
#[test]
fn packets_of_other_forms_that_are_too_much() {
    let attacked = Attacked::start_with(&["--detect", "1"]);
    let msgpack = |data: &[u8]| [b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data", data].concat();
    let cbor = |data: &[u8]| [b"\xa3\x64type\x02\x63nsp\x61/\x64data", data].concat();
    let join = [
        &b"\x82\xa4type\x00\xa3nsp\xa1/"[..],
        b"\xa2\x64type\x00\x63nsp\x61/",
        b"\x80\x04}(\x8c\x04typeK\x00\x8c\x03nsp\x8c\x01/u.",
    ];
    let mut bomb = b"\x80\x04]\x94".to_vec();
    for index in 0..200u8 {
        bomb.extend_from_slice(&[b']', 0x94, b'(', b'h', index, b'h', index, b'e']);
    }
    bomb.push(b'.');
    for (what, join, packet) in [
        ("msgpack: depth", join[0], msgpack(&[0x91; 900_000])),
        (
            "msgpack: a length",
            join[0],
            msgpack(b"\xdd\xff\xff\xff\xff"),
        ),
        (
            "msgpack: bytes that are not there",
            join[0],
            msgpack(b"\xc6\xff\xff\xff\xff"),
        ),
        (
            "msgpack: many nulls",
            join[0],
            msgpack(&[&b"\xdd\x00\x0d\xbb\xa0"[..], &[0xc0; 900_000]].concat()),
        ),
        (
            "msgpack: many dates",
            join[0],
            msgpack(
                &[
                    &b"\xdd\x00\x01\x38\x80\xa1e"[..],
                    &[0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(79_999),
                ]
                .concat(),
            ),
        ),
        ("cbor: depth", join[1], cbor(&[0x81; 900_000])),
        (
            "cbor: a length",
            join[1],
            cbor(b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"),
        ),
        (
            "cbor: bytes that are not there",
            join[1],
            cbor(b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ),
        (
            "cbor: a list without an end",
            join[1],
            cbor(&[0x9f; 900_000]),
        ),
        (
            "cbor: many numbers",
            join[1],
            cbor(&[&b"\x9a\x00\x0d\xbb\xa0"[..], &[1; 900_000]].concat()),
        ),
        ("pickle: references", join[2], bomb),
        (
            "pickle: depth",
            join[2],
            [&b"\x80\x04"[..], &[b']'; 900_000]].concat(),
        ),
        (
            "pickle: an index",
            join[2],
            b"\x80\x04Nr\xff\xff\xff\xff.".to_vec(),
        ),
        (
            "pickle: a function",
            join[2],
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.".to_vec(),
        ),
        ("nothing", &[], Vec::new()),
        ("JSON in depth", &[], b"{".repeat(900_000)),
    ] {
        attacked.suffers(what, |address| {
            let (mut ws, _) = Ws::session(address);
            if !join.is_empty() {
                ws.send_bytes(join);
            }
            match what {
                "JSON in depth" => drop(ws.try_send(&String::from_utf8_lossy(&packet))),
                _ => ws.send_bytes(&packet),
            }
            // Either it is closed, or it is dropped and the connection goes on.
            ws.try_send("2");
            while ws.next().is_some() {}
        });
    }
}
