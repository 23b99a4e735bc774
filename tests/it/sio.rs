//! The tool for the terminal, as a script uses it.

use crate::common::relay::Relay;
use crate::common::{example_path, serve, url};
use socketio::{App, Binary, Event, Refused, Server, Socket, Tls, Value};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn sio(args: &[&str]) -> Output {
    Command::new(example_path("sio"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("built by `cargo test`, or by `cargo build --examples`")
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
        assert_eq!(texts.recv_timeout(Duration::from_secs(5)).unwrap(), "hello");
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
        assert!(said.contains("sio --help"), "{said}");
    }
    let (status, printed, _) = outcome(&["--help"]);
    assert!(status == Some(0) && printed.contains("exit status"));
}

#[test]
fn the_environment_may_name_a_proxy() {
    let io = server();
    let serving = serve(&io);
    for transport in ["polling", "websocket"] {
        let proxy = Relay::proxy();
        let through = |variables: &[(&str, &str)]| {
            let mut command = Command::new(example_path("sio"));
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
