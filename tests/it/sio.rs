//! The tool for the terminal, as a script uses it.

use crate::common::relay::Relay;
use crate::common::{PATIENCE, eventually, serve, url};
use socketio::{App, Binary, Event, Refused, Server, Socket, Tls, Value};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const SIO: &str = env!("CARGO_BIN_EXE_sio");

fn sio(args: &[&str]) -> Output {
    let mut command = Command::new(SIO);
    command.args(args).stdin(Stdio::null());
    command.output().expect("the tool runs")
}

/// The exit status, what was printed, and what was said besides.
fn outcome(args: &[&str]) -> (Option<i32>, String, String) {
    let output = sio(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn server() -> Server {
    let io = Server::builder().namespaces("*").build();
    io.of("*").on("echo", |event: &Event| event.args());
    io.of("/news").on_connect(|socket: &Socket| {
        let _ = socket.emit("news", ("one", 2, Binary(b"\0\xff".to_vec().into())));
    });
    io.of("/closing").on_connect(|socket: &Socket| {
        let _ = socket.emit("last", ());
        socket.disconnect();
    });
    io.of("/locked").on_connect(|_: &Socket, auth: Value| {
        if auth["token"].as_str() == Some("good") {
            Ok(())
        } else {
            Err(Refused::new("locked").with_data(7))
        }
    });
    io.of("/head").on("token", |socket: &Socket| {
        socket
            .request()
            .header("x-token")
            .map(|token| token.into_owned())
    });
    io
}

#[test]
fn calls_print_their_answer() {
    let io = server();
    let serving = serve(&io);
    let url = url(&serving);
    for transport in ["polling", "websocket"] {
        let line = ["-t", transport, &url, "call", "echo"];
        let call = |more: &[&str]| outcome(&[&line, more].concat());
        assert_eq!(
            call(&[]),
            (Some(0), "{\"answer\":null}\n".into(), String::new())
        );
        assert_eq!(call(&["-1"]).1, "{\"answer\":-1}\n");
        assert_eq!(
            call(&["text", "{\"a\":[1]}"]).1,
            "{\"answer\":[\"text\",{\"a\":[1]}]}\n"
        );
        let file = std::env::temp_dir().join(format!("sio-{}-{transport}", std::process::id()));
        std::fs::write(&file, b"\0\x01\x02").unwrap();
        let bytes = call(&[&format!("@{}", file.display())]);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(bytes.1, "{\"answer\":{\"base64\":\"AAEC\"}}\n");
        let header = ["-H", "X-Token: secret", "-n", "/head", "-t", transport];
        assert_eq!(
            outcome(&[&header[..], &[&url, "call", "token"]].concat()).1,
            "{\"answer\":\"secret\"}\n"
        );
    }
}

#[test]
fn listening_prints_a_line_for_each_event_until_the_end() {
    let io = server();
    let serving = serve(&io);
    let url = url(&serving);
    let (status, printed, _) = outcome(&["-n", "/closing", &url, "listen"]);
    assert_eq!(
        (status, &*printed),
        (Some(1), "{\"args\":[],\"event\":\"last\"}\n")
    );
    let (status, printed, said) = outcome(&["-n", "news", "--timeout", "0.5", &url, "listen"]);
    assert_eq!(status, Some(3), "{said}");
    assert_eq!(
        printed,
        "{\"args\":[\"one\",2,{\"base64\":\"AP8=\"}],\"event\":\"news\"}\n"
    );
}

#[test]
fn what_is_emitted_arrives_before_the_tool_ends() {
    let io = server();
    let (sender, texts) = crossbeam_channel::unbounded();
    io.on("say", move |text: String| sender.send(text).unwrap());
    let serving = serve(&io);
    for transport in ["polling", "websocket"] {
        let ended = outcome(&["-t", transport, &url(&serving), "emit", "say", "hello"]);
        assert_eq!(ended, (Some(0), String::new(), String::new()));
        assert_eq!(texts.recv_timeout(PATIENCE).unwrap(), "hello");
    }
}

#[test]
fn the_exit_status_says_what_went_wrong() {
    let io = server();
    io.on("never", |event: &Event| drop(event.take_ack()));
    let serving = serve(&io);
    let url = url(&serving);
    let (status, _, said) = outcome(&["-n", "/locked", &url, "call", "echo"]);
    assert_eq!((status, said.trim()), (Some(1), "sio: locked 7"));
    let auth = [
        "-n",
        "/locked",
        "-a",
        "{\"token\":\"good\"}",
        &url,
        "call",
        "echo",
        "1",
    ];
    assert_eq!(outcome(&auth).0, Some(0));
    assert_eq!(outcome(&["http://127.0.0.1:1", "listen"]).0, Some(1));
    assert_eq!(
        outcome(&["--timeout", "0.2", &url, "call", "never"]).0,
        Some(3)
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", silent.local_addr().unwrap());
    assert_eq!(outcome(&["--timeout=0.2", &nobody, "call", "x"]).0, Some(3));
    let wrong: [&[&str]; 10] = [
        &["call", "echo"],
        &[],
        &[&url],
        &[&url, "shout"],
        &[&url, "emit"],
        &[&url, "listen", "more"],
        &[&url, "listen", "--colour", "red"],
        &[&url, "listen", "--timeout", "soon"],
        &[&url, "listen", "-a", "{"],
        &[&url, "emit", "x", "@/nowhere"],
    ];
    for line in wrong {
        let (status, printed, said) = outcome(line);
        assert_eq!((status, &*printed), (Some(2), ""), "{line:?}");
        assert!(said.starts_with("error: "), "{said}");
    }
    let (status, printed, _) = outcome(&["--help"]);
    assert!(status == Some(0) && printed.contains("exit status") && printed.contains("bench"));
}

#[test]
fn listening_ends_after_what_was_waited_for() {
    let io = server();
    io.on_connect(|socket: &Socket| {
        for number in 0..5 {
            let _ = socket.emit("number", number);
        }
        let _ = socket.emit("done", ());
    });
    io.on("ask", |socket: &Socket, number: u32| {
        let _ = socket.emit("noise", ());
        let _ = socket.emit("answer", number);
    });
    let serving = serve(&io);
    let url = url(&serving);
    let events = |args: &[&str]| {
        let (status, printed, said) = outcome(args);
        assert_eq!(status, Some(0), "{said}");
        let lines = printed.lines();
        let events = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let names = events.map(|it| it["event"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(events(&[&url, "listen", "--max", "3"]), ["number"; 3]);
    assert_eq!(events(&[&url, "listen", "--wait", "done"]).len(), 6);
    let emit = events(&[&url, "emit", "ask", "7", "--wait", "answer"]);
    assert_eq!(emit[emit.len() - 2..], ["noise", "answer"]);
    let never = ["--timeout", "0.5", &url, "listen", "--wait", "never"];
    assert_eq!(outcome(&never).0, Some(3));
}

#[test]
fn several_namespaces_are_listened_to_and_events_say_where_they_come_from() {
    let io = server();
    let serving = serve(&io);
    let address = url(&serving);
    let line = [
        "-n", "/news", "-n", "closing", &address, "listen", "--max", "2",
    ];
    let (status, printed, said) = outcome(&line);
    assert_eq!(status, Some(0), "{said}");
    let mut lines: Vec<_> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            r#"{"args":["one",2,{"base64":"AP8="}],"event":"news","namespace":"/news"}"#,
            r#"{"args":[],"event":"last","namespace":"/closing"}"#,
        ]
    );
    let one = ["-n", "/a", "-n", "/b", &address, "emit", "x"];
    assert_eq!(outcome(&one).0, Some(2), "an event goes to one");
}

#[test]
fn queries_go_along_and_bytes_go_to_files() {
    let io = server();
    io.on("query", |socket: &Socket| {
        socket.request().param("room").map(|it| it.into_owned())
    });
    let serving = serve(&io);
    let address = url(&serving);
    let query = ["-q", "room=a b&c", &address, "call", "query"];
    assert_eq!(outcome(&query).1, "{\"answer\":\"a b&c\"}\n");
    let folder = std::env::temp_dir().join(format!("sio-files-{}", std::process::id()));
    let to = folder.to_str().unwrap();
    let line = [
        "-n",
        "/news",
        "--binary-out",
        to,
        &address,
        "listen",
        "--max",
        "1",
    ];
    let (status, printed, said) = outcome(&line);
    assert_eq!(status, Some(0), "{said}");
    let file = folder.join("000001-news.bin");
    assert!(
        printed.contains(&format!("{{\"file\":\"{}\"}}", file.display())),
        "{printed}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"\0\xff");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_terminal_gets_colours_and_a_pipe_gets_json() {
    let io = server();
    let serving = serve(&io);
    let line = format!("{SIO} -n /closing {} listen --max 1", url(&serving));
    // Of Debian's essential packages: it gives a program a terminal.
    let on_terminal = |more: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", &format!("{line} {more}"), "/dev/null"]);
        let output = script.env("TERM", "xterm").env_remove("NO_COLOR").output();
        String::from_utf8(output.expect("script runs").stdout).unwrap()
    };
    let printed = on_terminal("");
    assert!(
        printed.contains("\u{1b}[") && printed.contains("last"),
        "{printed:?}"
    );
    assert_eq!(
        on_terminal("--json").trim(),
        r#"{"args":[],"event":"last"}"#
    );
}

#[test]
fn commands_are_typed() {
    let io = server();
    let (sender, texts) = crossbeam_channel::unbounded();
    io.on("say", move |event: &Event| {
        sender.send(event.args().unwrap()).unwrap();
    });
    let serving = serve(&io);
    let state = std::env::temp_dir().join(format!("sio-state-{}", std::process::id()));
    let mut command = Command::new(SIO);
    command
        .args([&url(&serving), "repl"])
        .env("XDG_STATE_HOME", &state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut tool = command.spawn().unwrap();
    let mut keyboard = tool.stdin.take().unwrap();
    let screen = BufReader::new(tool.stdout.take().unwrap());
    let (sender, lines) = crossbeam_channel::unbounded();
    let reader = std::thread::spawn(move || {
        for line in screen.lines() {
            sender.send(line.unwrap()).unwrap();
        }
    });
    let until = |wanted: &str| {
        loop {
            let line = lines.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("{wanted:?} is not printed"));
            if line.contains(wanted) {
                return;
            }
        }
    };
    let mut type_in = |text: &str| keyboard.write_all(text.as_bytes()).unwrap();
    type_in("say-nothing\ncall echo {\"a\": [1, 2]} two \"three four\" 5x\n");
    until(r#"{"answer":[{"a":[1,2]},"two","three four","5x"]}"#);
    type_in("of /news\n");
    until(r#"["one",2,{"base64":"AP8="}]"#);
    type_in("call echo\nof /\nemit say hello\n");
    let said = texts.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(said[0].as_str(), Some("hello"));
    type_in("status\n");
    until("/ sid ");
    type_in("reconnect\n");
    until("/ is disconnected: client disconnect");
    until("/ is connected");
    type_in("quit\n");
    let output = tool.wait_with_output().unwrap();
    reader.join().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{complaints}");
    assert!(complaints.contains("say-nothing"), "{complaints}");
    std::fs::remove_dir_all(&state).unwrap();
}

#[test]
fn a_server_is_measured() {
    let io = server();
    let serving = serve(&io);
    let address = url(&serving);
    let line = ["bench", "-c", "20", "-d", "0.5", "echo", "hello"];
    let (status, printed, said) = outcome(&[&[&*address], &line[..]].concat());
    assert_eq!(status, Some(0), "{said}");
    assert!(printed.contains("connected 20 clients in"), "{printed}");
    assert!(
        printed.contains(" answers in ") && printed.contains("p99 "),
        "{printed}"
    );
    eventually("the end of all of them", || io.sockets().is_empty());
    let locked = ["-n", "/locked", &address, "bench", "-c", "3"];
    assert_eq!(outcome(&locked).0, Some(1));
}

#[test]
fn shells_complete_command_lines() {
    for shell in ["bash", "zsh", "fish"] {
        let (status, printed, _) = outcome(&["--completions", shell]);
        assert!(
            status == Some(0) && printed.contains("binary-out"),
            "{printed}"
        );
    }
}

#[test]
fn the_environment_may_name_a_proxy() {
    let io = server();
    let serving = serve(&io);
    for transport in ["polling", "websocket"] {
        let proxy = Relay::proxy();
        let through = |variables: &[(&str, &str)]| {
            let mut command = Command::new(SIO);
            for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
                command.env_remove(name).env_remove(name.to_uppercase());
            }
            command.envs(variables.iter().copied());
            let ended = command
                .args(["-t", transport, &url(&serving), "call", "echo", "1"])
                .output();
            assert_eq!(ended.expect("it runs").stdout, b"{\"answer\":1}\n");
            let connects = proxy
                .heads()
                .iter()
                .filter(|it| it.starts_with("CONNECT"))
                .count();
            connects > 0
        };
        let address = format!("http://{}", proxy.address);
        assert!(!through(&[]));
        assert!(
            !through(&[("https_proxy", &address)]),
            "it is for other servers"
        );
        assert!(!through(&[
            ("http_proxy", &address),
            ("no_proxy", "127.0.0.1")
        ]));
        assert!(through(&[("HTTP_PROXY", &address)]));
    }
}

#[test]
fn certificates_are_checked_unless_it_is_told_otherwise() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let serving = App::new(&server()).tls(tls).bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", serving.local_addr().port());
    let (status, _, said) = outcome(&[&url, "call", "echo", "1"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("certificate"), "{said}");
    assert_eq!(
        outcome(&["-k", &url, "call", "echo", "1"]).1,
        "{\"answer\":1}\n"
    );
    let file = std::env::temp_dir().join(format!("sio-{}-ca.pem", std::process::id()));
    std::fs::write(&file, certificate).unwrap();
    let trusted = outcome(&["--ca", file.to_str().unwrap(), &url, "call", "echo", "1"]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(trusted.1, "{\"answer\":1}\n");
}

#[test]
fn servers_of_both_generations_are_called() {
    let io = Server::builder().allow_eio3(true).build();
    io.on("echo", |event: &Event| event.args());
    let serving = serve(&io);
    let address = url(&serving);
    for eio in ["3", "4"] {
        for transport in ["polling", "websocket"] {
            let line = ["--eio", eio, "-t", transport, &address, "call", "echo", "7"];
            let called = outcome(&line);
            assert_eq!(called, (Some(0), "{\"answer\":7}\n".into(), String::new()));
        }
    }
    assert_eq!(outcome(&["--eio", "2", &address, "listen"]).0, Some(2));
}
