//! Forms of packets: MessagePack, JSON objects, CBOR, pickle, and a codec of the test's own.

#[cfg(any(feature = "msgpack", all(feature = "cbor", feature = "pickle")))]
use crate::common::python;
use crate::common::{Example, PATIENCE, node, serve, succeed, url};
use socketio::engineio::Message;
use socketio::parser::{Codec, DecodeError, Decoder, Packet, PacketKind};
use socketio::{
    Args, Binary, Client, ConnectOptions, Error, Parser, Refused, Server, Socket, Value,
};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;

#[cfg(feature = "msgpack")]
#[test]
fn peers_with_msgpack_work_over_each_transport() {
    let server = Example::start("socketio_echo", 0, &["--detect", "1"]);
    if let Some(mut client) = node("msgpack_client.js", &[&server.url()]) {
        succeed(&mut client);
    }
    if let Some(mut client) = python("msgpack_client.py", &[&server.url()]) {
        succeed(&mut client);
    }
}

#[cfg(all(feature = "cbor", feature = "pickle"))]
#[test]
fn python_with_cbor_or_pickle_works() {
    let server = Example::start("socketio_echo", 0, &["--detect", "1"]);
    for form in ["cbor", "pickle"] {
        if let Some(mut client) = python("packet_client.py", &[form, &server.url()]) {
            succeed(&mut client);
        }
    }
}

#[test]
fn clients_of_several_forms_meet_on_one_port() {
    let server = Example::start(
        "socketio_echo",
        0,
        &["--detect", "1", "--max-payload", "300000"],
    );
    if let Some(mut client) = node("json_client.js", &[&server.url()]) {
        succeed(&mut client);
    }
    if let Some(mut client) = node("socketio_client.js", &[&server.url(), "300000"]) {
        succeed(&mut client);
    }
}

/// The codec of the documentation, with bytes in hexadecimal digits.
#[derive(Debug)]
struct Lines;

impl Codec for Lines {
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, Error> {
        let kind = packet.kind.number();
        let id = packet.id.map_or(String::new(), |id| id.to_string());
        let mut messages = vec![Message::from(format!("{kind}\t{}\t{id}", packet.namespace))];
        messages.push(match &packet.data {
            // The second message is bytes where all of the data is.
            Value::Array(items) if matches!(items[..], [_, Value::Binary(_)]) => {
                let bytes = items[1].as_bytes().expect("bytes").clone();
                let name = items[0].as_str().unwrap_or_default().len() as u8;
                let text = items[0].as_str().unwrap_or_default().as_bytes();
                Message::from([&[name], text, &bytes].concat())
            }
            data => data.to_json()?.into(),
        });
        Ok(messages)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(LineDecoder(None))
    }
}

struct LineDecoder(Option<(PacketKind, String, Option<u64>)>);

impl Decoder for LineDecoder {
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, DecodeError> {
        let data = match (self.0.is_some(), message) {
            (false, Message::Text(line)) => {
                let parts: Vec<&str> = line.split('\t').collect();
                let [kind, namespace, id] = parts[..] else {
                    return Err("not three parts".into());
                };
                let kind = PacketKind::from_number(kind.parse()?).ok_or("an unknown kind")?;
                let id = if id.is_empty() {
                    None
                } else {
                    Some(id.parse()?)
                };
                self.0 = Some((kind, namespace.to_owned(), id));
                return Ok(None);
            }
            (true, Message::Text(json)) => Value::from_json(&json)?,
            (true, Message::Binary(bytes)) => {
                let length = usize::from(*bytes.first().ok_or("no bytes")?);
                let name = String::from_utf8(bytes.slice(1..=length).to_vec())?;
                Value::Array(vec![name.into(), bytes.slice(length + 1..).into()])
            }
            (false, Message::Binary(_)) => return Err("bytes come second".into()),
        };
        let (kind, namespace, id) = self.0.take().ok_or("no first message")?;
        Ok(Some(Packet::new(kind, namespace, id, data)))
    }
}

/// A codec that uses the server or the client whose packets it writes and reads.
#[derive(Clone, Default)]
struct Meddler(std::sync::Arc<Meddling>);

#[derive(Default)]
struct Meddling {
    meddle: std::sync::OnceLock<Box<dyn Fn() + Send + Sync>>,
    is_at_it: std::sync::atomic::AtomicBool,
}

impl Meddler {
    fn meddle(&self) {
        let is_at_it = &self.0.is_at_it;
        if let (Some(meddle), false) = (self.0.meddle.get(), is_at_it.swap(true, SeqCst)) {
            meddle();
            is_at_it.store(false, SeqCst);
        }
    }
}

impl std::fmt::Debug for Meddler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Meddler")
    }
}

impl Codec for Meddler {
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, Error> {
        self.meddle();
        Lines.encode(packet)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        self.meddle();
        Box::new(MeddlingDecoder(self.clone(), LineDecoder(None)))
    }
}

struct MeddlingDecoder(Meddler, LineDecoder);

impl Decoder for MeddlingDecoder {
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, DecodeError> {
        self.0.meddle();
        self.1.decode(message)
    }
}

impl Drop for MeddlingDecoder {
    fn drop(&mut self) {
        self.0.meddle();
    }
}

#[test]
fn a_codec_may_use_the_server_or_the_client_that_it_is_of() {
    let (of_server, of_client) = (Meddler::default(), Meddler::default());
    let io = Server::builder()
        .parser(Parser::new(of_server.clone()))
        .build();
    io.of("/other").on("nothing", || ());
    io.on("echo", |number: u64| number);
    io.on("leave", |socket: &Socket| socket.disconnect());
    io.on_connect(|socket: &Socket| socket.emit("welcome", ()));
    let running = serve(&io);
    let meddling = io.clone();
    let _ = of_server.0.meddle.set(Box::new(move || {
        let all = meddling.sockets().len();
        let _ = meddling.emit("noted", all);
    }));
    let client = Client::builder()
        .parser(Parser::new(of_client.clone()))
        .offline_buffer(1 << 20)
        .build();
    let meddling = client.clone();
    let _ = of_client.0.meddle.set(Box::new(move || {
        let _ = (
            meddling.sid(),
            meddling.emit("noted", meddling.is_connected()),
        );
    }));
    let (sender, welcomes) = mpsc::channel();
    client.on("welcome", move || sender.send(()).expect("awaited"));
    client.emit("echo", 1).expect("kept until it is connected");
    let options = ConnectOptions::new(url(&running)).namespaces(["/", "/other"]);
    client.connect(options).expect("connected");
    welcomes.recv_timeout(PATIENCE).expect("welcome");
    assert_eq!(
        client.call::<u64>("echo", 7, PATIENCE).expect("an answer"),
        7
    );
    client.of("/other").leave().expect("left");
    client.of("/other").join().expect("joined again");
    client.emit("leave", ()).expect("sent");
    client.shutdown();
    running.shutdown();
}

fn parsers() -> Vec<(&'static str, Parser)> {
    vec![
        ("text", Parser::text()),
        ("json", Parser::json_object()),
        ("lines", Parser::new(Lines)),
        #[cfg(feature = "msgpack")]
        ("msgpack", Parser::msgpack()),
        #[cfg(feature = "cbor")]
        ("cbor", Parser::cbor()),
        #[cfg(feature = "pickle")]
        ("pickle", Parser::pickle()),
    ]
}

/// What a user's type is, is the same in each form.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Position {
    x: f64,
    name: Option<String>,
    kind: Kind,
    tags: std::collections::BTreeMap<String, (u8, i64)>,
    address: std::net::IpAddr,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Kind {
    Plain,
    Near(u32),
    Far { by: i32, of: Vec<bool> },
}

fn position(kind: Kind) -> Position {
    Position {
        x: -1.5,
        name: Some("é😀".into()),
        kind,
        tags: [("a".into(), (1, -1)), ("b".into(), (255, i64::MIN))].into(),
        address: "127.0.0.1".parse().expect("an address"),
    }
}

fn server(parser: Parser) -> Server {
    let io = Server::builder().parser(parser).build();
    io.on_connect(|_: &Socket, auth: Value| match auth["password"].as_str() {
        Some("x") => Ok(()),
        _ => Err(Refused::new("no").with_data(("a", 1))),
    });
    io.on("position", |position: Position| socketio::Json(position));
    io.on("several", |socket: &Socket, a: u8, b: Option<String>| {
        socket.emit("back", (b, a)).map(|()| (a, "two"))
    });
    io.on("nothing", || ());
    io.on("bytes", |bytes: Binary| Value::from(bytes.len()));
    io.on("sum of floats", |numbers: Vec<f64>| {
        numbers.iter().sum::<f64>()
    });
    io.on("ask", |socket: &Socket, a: i32| {
        let answer: Args = socket.call("asked", (a, "b"), PATIENCE)?;
        Ok::<_, Error>(answer)
    });
    io.on("enter", |socket: &Socket| socket.enter_room("room"));
    io.on("say", |socket: &Socket, text: String| {
        let all = socket.namespace();
        all.to("room")
            .emit("said", (text, [1.5, 2.0].to_vec(), Value::Null))
    });
    io.on("leave", |socket: &Socket| socket.disconnect());
    io
}

fn connect(parser: Parser, url: &str) -> Client {
    let client = Client::builder().parser(parser).build();
    client.on("asked", |a: i32, b: String| (a + 1, b));
    let auth = std::collections::BTreeMap::from([("password", "x")]);
    client
        .connect(ConnectOptions::new(url).auth(auth))
        .expect("connected");
    client
}

#[test]
fn handlers_see_the_same_whatever_the_form_is() {
    for (name, parser) in parsers() {
        let running = serve(&server(parser.clone()));
        let client = connect(parser.clone(), &url(&running));
        let (sender, back) = mpsc::channel();
        client.on("back", move |b: Option<String>, a: u8| {
            sender.send((b, a)).expect("awaited");
        });
        let far = Kind::Far {
            by: -7,
            of: vec![true],
        };
        for kind in [Kind::Plain, Kind::Near(70_000), far] {
            let sent = position(kind);
            let back: Position = client.call("position", (&sent,), PATIENCE).expect(name);
            assert_eq!(back, sent, "{name}");
        }
        let several: (u8, String) = client
            .call("several", (7, None::<String>), PATIENCE)
            .expect(name);
        assert_eq!(several, (7, "two".into()), "{name}");
        assert_eq!(back.recv_timeout(PATIENCE).expect(name), (None, 7));
        client.call::<()>("nothing", (), PATIENCE).expect(name);
        let asked: (i32, String) = client.call("ask", 1, PATIENCE).expect(name);
        assert_eq!(asked, (2, "b".into()), "{name}");
        let numbers: Vec<f64> = (0..128).map(|it| f64::from(it) / 3.0).collect();
        let sum: f64 = client
            .call("sum of floats", &numbers, PATIENCE)
            .expect(name);
        assert!((sum - numbers.iter().sum::<f64>()).abs() < 1e-9, "{name}");
        let bytes = client.call::<usize>("bytes", Binary::from(vec![7; 1000]), PATIENCE);
        match name {
            "json" => assert!(matches!(bytes, Err(Error::Encode(_))), "{bytes:?}"),
            _ => assert_eq!(bytes.expect(name), 1000),
        }
        // An argument of another type is an error of the handler, and nothing else.
        let wrong = client.call::<Value>("position", "text", std::time::Duration::from_millis(50));
        assert!(matches!(wrong, Err(Error::Timeout)), "{name}: {wrong:?}");
        let stranger = Client::builder().parser(parser).reconnection(false).build();
        let refused = stranger.connect(url(&running)).expect_err("refused");
        assert!(refused.to_string().contains("no"), "{name}: {refused}");
        let (sender, left) = mpsc::channel();
        client.on_disconnect(move |_: &Client, reason: socketio::Reason| {
            sender.send(reason).expect("awaited");
        });
        client.emit("leave", ()).expect(name);
        let reason = left.recv_timeout(PATIENCE).expect(name);
        assert_eq!(reason, socketio::Reason::ServerDisconnect, "{name}");
        client.shutdown();
    }
}

#[test]
fn a_broadcast_reaches_clients_of_all_forms() {
    let running = serve(&server(Parser::detect()));
    let (sender, said) = mpsc::channel();
    let mut clients = Vec::new();
    for (name, parser) in parsers() {
        if name == "lines" {
            continue;
        }
        let client = connect(parser, &url(&running));
        let sender = sender.clone();
        client.on(
            "said",
            move |text: String, numbers: Vec<f64>, nothing: Value| {
                sender
                    .send((name, text, numbers, nothing))
                    .expect("awaited");
            },
        );
        client.call::<()>("enter", (), PATIENCE).expect(name);
        clients.push(client);
    }
    clients[0].emit("say", "hello").expect("sent");
    let mut heard = Vec::new();
    for _ in &clients {
        let (name, text, numbers, nothing) = said.recv_timeout(PATIENCE).expect("heard");
        assert_eq!(
            (text.as_str(), numbers, nothing),
            ("hello", vec![1.5, 2.0], Value::Null)
        );
        heard.push(name);
    }
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len(), clients.len(), "{heard:?}");
}

#[test]
fn sides_that_do_not_agree_part_at_once() {
    let running = serve(&server(Parser::json_object()));
    let client = Client::builder().reconnection(false).build();
    let error = client.connect(url(&running)).expect_err("another form");
    assert!(matches!(error, Error::Connection(_)), "{error:?}");
    let client = connect(Parser::json_object(), &url(&running));
    assert!(client.is_connected(), "others are not concerned");
}
