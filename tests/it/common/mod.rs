//! What the tests share: servers on ports that the system gives, raw clients, and real peers.

#![cfg_attr(
    not(all(
        feature = "amqp",
        feature = "kafka",
        feature = "redis",
        feature = "tls",
        feature = "zmq"
    )),
    allow(dead_code, reason = "the tests of a feature alone use a part of this")
)]

pub(crate) mod brokers;
pub(crate) mod cluster;
pub(crate) mod log;
pub(crate) mod relay;

use socketio::{Server, Serving};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tungstenite::{Message, WebSocket};

/// How long anything may take before a test gives up. Nothing is asserted about time below it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) fn serve(io: &Server) -> Serving {
    io.bind("127.0.0.1:0").expect("a port")
}

/// The address of a server, for clients.
pub(crate) fn url(serving: &Serving) -> String {
    format!("http://{}", serving.local_addr())
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_or(|| what.to_owned(), is_so);
}

/// Waits for something; `what` says at the end what was there in its place.
pub(crate) fn eventually_or(what: impl Fn() -> String, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "{} never happened", what());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client that speaks WebSocket and nothing above it.
pub(crate) struct Ws {
    socket: WebSocket<TcpStream>,
}

impl Ws {
    /// Opens a WebSocket at a path with its query.
    pub(crate) fn open(address: SocketAddr, path: &str) -> Ws {
        Ws::try_open(address, path).expect("a WebSocket")
    }

    pub(crate) fn try_open(address: SocketAddr, path: &str) -> Result<Ws, tungstenite::Error> {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let url = format!("ws://{address}{path}");
        match tungstenite::client(url, stream) {
            Ok((socket, _)) => Ok(Ws { socket }),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    /// Opens an Engine.IO session; gives its open packet too.
    pub(crate) fn session(address: SocketAddr) -> (Ws, String) {
        let mut ws = Ws::open(address, "/socket.io/?EIO=4&transport=websocket");
        let open = ws.text();
        (ws, open)
    }

    /// Joins a namespace, and gives the answer.
    pub(crate) fn join(address: SocketAddr, connect: &str) -> (Ws, String) {
        let (mut ws, _) = Ws::session(address);
        ws.send(connect);
        let answer = ws.text();
        (ws, answer)
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("sent");
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket
            .send(Message::binary(bytes.to_vec()))
            .expect("sent");
    }

    /// Sends what may find the connection closed.
    pub(crate) fn try_send(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).is_ok()
    }

    /// Writes bytes past the WebSocket.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("sent");
    }

    /// The next message of text.
    pub(crate) fn text(&mut self) -> String {
        match self.next() {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        match self.next() {
            Some(Message::Binary(bytes)) => bytes.to_vec(),
            other => panic!("no bytes but {other:?}"),
        }
    }

    /// The next message of text that is not a ping of Engine.IO's, which is answered.
    pub(crate) fn next(&mut self) -> Option<Message> {
        loop {
            match self.socket.read() {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(_)) => return None,
                Ok(message) => return Some(message),
                Err(tungstenite::Error::Io(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    panic!("nothing came for {PATIENCE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    /// Reads until the server closes; gives the texts that came before, and the close code.
    pub(crate) fn until_closed(mut self) -> (Vec<String>, Option<u16>) {
        let mut texts = Vec::new();
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => texts.push(text.to_string()),
                Ok(Message::Close(frame)) => return (texts, frame.map(|frame| frame.code.into())),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    panic!("it was not closed; before: {texts:?}")
                }
                Err(_) => return (texts, None),
            }
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A kept-alive connection over HTTP.
pub(crate) struct Http<S = TcpStream> {
    stream: BufReader<S>,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Http {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Http::over(stream)
    }
}

impl<S: Read + Write> Http<S> {
    pub(crate) fn over(stream: S) -> Http<S> {
        Http {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a request, given as `METHOD target`, with more fields and a body, and reads the answer.
    pub(crate) fn request(&mut self, line: &str, fields: &str, body: &str) -> Answer {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        self.write(&format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\n{fields}{length}\r\n{body}"
        ));
        self.read(line.starts_with("HEAD"))
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.request(&format!("GET {target}"), "", "")
    }

    pub(crate) fn post(&mut self, target: &str, body: &str) -> Answer {
        self.request(&format!("POST {target}"), "", body)
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .expect("sent");
    }

    pub(crate) fn read(&mut self, is_head: bool) -> Answer {
        let mut head = String::new();
        loop {
            let before = head.len();
            assert!(
                self.stream.read_line(&mut head).expect("a head") > 0,
                "closed after {head:?}"
            );
            if &head[before..] == "\r\n" {
                break;
            }
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .expect("a status");
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if let Some(length) = answer.header("content-length").filter(|_| !is_head) {
            let mut body = vec![0; length.parse().expect("a length")];
            self.stream.read_exact(&mut body).expect("a body");
            answer.body = body;
        } else if answer.header("transfer-encoding") == Some("chunked") && !is_head {
            answer.body = self.read_chunks();
        }
        answer
    }

    fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a chunk's size");
            let size = usize::from_str_radix(line.trim(), 16).expect("a size");
            let start = body.len();
            body.resize(start + size + 2, 0);
            self.stream.read_exact(&mut body[start..]).expect("a chunk");
            body.truncate(start + size);
            if size == 0 {
                return body;
            }
        }
    }

    /// Whether the server has closed, or does so now.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// Whether the server has not closed by the read time-out.
    pub(crate) fn is_open(&mut self) -> bool {
        !self.is_closed()
    }

    pub(crate) fn stream(&self) -> &S {
        self.stream.get_ref()
    }
}

/// Opens a polling session at `/socket.io/`; gives the target of its requests.
pub(crate) fn polling_session(http: &mut Http) -> String {
    let answer = http.get("/socket.io/?EIO=4&transport=polling");
    assert_eq!(answer.status, 200, "{answer:?}");
    format!(
        "/socket.io/?EIO=4&transport=polling&sid={}",
        sid_of(&answer.text())
    )
}

/// The sid in a packet.
pub(crate) fn sid_of(packet: &str) -> String {
    let rest = packet.split("\"sid\":\"").nth(1).expect("a sid");
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// An example of this crate, built and running.
pub(crate) struct Example {
    child: Child,
    pub(crate) port: u16,
}

impl Example {
    /// Starts it on a port of the system's choice, or a given one.
    pub(crate) fn start(name: &str, port: u16, args: &[&str]) -> Example {
        Example::start_by(Command::new(example_path(name)), name, port, args)
    }

    /// Starts it with limits, such as `-n 64`, as the shell's `ulimit` takes them.
    pub(crate) fn start_within(limits: &str, name: &str, args: &[&str]) -> Example {
        let mut command = Command::new("sh");
        let script = format!("ulimit {limits} && exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(example_path(name));
        command.env("RUST_MIN_STACK", (64 << 20).to_string());
        command.env("MALLOC_ARENA_MAX", "1");
        Example::start_by(command, name, 0, args)
    }

    /// Starts it with a socket that is listened on already, as systemd does.
    pub(crate) fn start_by_systemd(name: &str) -> Option<Example> {
        let path = example_path(name);
        let command = python("systemd.py", &[path.to_str().expect("a path of text")])?;
        Some(Example::start_by(command, name, 0, &[]))
    }

    fn start_by(mut command: Command, name: &str, port: u16, args: &[&str]) -> Example {
        let mut child = command
            .args(if name == "chat" { &["--port"][..] } else { &[] })
            .arg(port.to_string())
            .args(args)
            .env("RUST_LOG", "socketio=info")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("built by `cargo test`, or by `cargo build --examples`");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, ports) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, port)) = line.split_once("listening on 127.0.0.1:") {
                    let _ = sender.send(port.trim().parse::<u16>().expect("a port"));
                }
            }
        });
        // Stopped with the test also if it never listens.
        let mut example = Example { child, port };
        example.port = ports.recv_timeout(PATIENCE).expect("the example listens");
        example
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(mut self) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(status.expect("kill runs").success());
        assert!(self.child.wait().expect("waited for").success());
    }

    /// Waits for it to end by itself, in order.
    pub(crate) fn ended(mut self) {
        assert!(self.child.wait().expect("waited for").success());
    }

    /// Kills it, without a chance to say goodbye.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn example_path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/test");
    profile.join("examples").join(name)
}

/// Runs a test that measures its process in a process of its own, and returns whether this is it.
/// `module` is the test's `module_path!()`.
pub(crate) fn is_alone(module: &str, name: &str) -> bool {
    const VARIABLE: &str = "SOCKETIO_ALONE";
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let module = module.split_once("::").expect("a module of a crate").1;
    let mut alone = Command::new(std::env::current_exe().expect("the test's own path"));
    let name = format!("{module}::{name}");
    alone.args(["--exact", &name, "--nocapture"]);
    succeed(alone.env(VARIABLE, "1"));
    false
}

/// Where the peers are installed by `tests/run`.
pub(crate) fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}

/// Says whether a peer is there. Without one a test passes and says so, unless `SOCKETIO_PEERS` is
/// `required`.
pub(crate) fn has_peer(name: &str, path: &Path) -> bool {
    if path.exists() {
        return true;
    }
    let why = format!(
        "{name} is not there: {} is missing; tests/run installs it",
        path.display()
    );
    assert_ne!(
        std::env::var("SOCKETIO_PEERS").as_deref(),
        Ok("required"),
        "{why}"
    );
    eprintln!("NOT TESTED: {why}");
    false
}

pub(crate) fn node(script: &str, args: &[&str]) -> Option<Command> {
    has_peer(
        "the official client",
        &peers().join("node_modules/socket.io-client"),
    )
    .then(|| {
        let mut command = Command::new("node");
        command.arg(peers().join(script)).args(args);
        command
    })
}

pub(crate) fn python(script: &str, args: &[&str]) -> Option<Command> {
    let program = peers().join("venv/bin/python");
    has_peer("python-socketio", &program).then(|| {
        let mut command = Command::new(program);
        command.arg(peers().join(script)).args(args);
        command
    })
}

/// Python with python-socketio 4, of the generation of Engine.IO 3.
pub(crate) fn old_python(script: &str, args: &[&str]) -> Option<Command> {
    let program = peers().join("venv-old/bin/python");
    has_peer("python-socketio 4", &program).then(|| {
        let mut command = Command::new(program);
        command.arg(peers().join(script)).args(args);
        command
    })
}

/// Runs a peer to its end, which must be a good one.
pub(crate) fn succeed(command: &mut Command) {
    let output = command.output().expect("the peer runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    print!("{text}");
}
