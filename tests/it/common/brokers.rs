//! Brokers that run as long as a test wants them.

use super::{PATIENCE, eventually, has_peer};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A program that is ended with its test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Process {
        Process(command.spawn().expect("the program runs"))
    }

    /// Sends a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

/// Ports that are asked for lie in so many below those that the system gives to connections.
const PORTS: u32 = 12_000;

/// Returns a port for another program's listener, which may end and begin again there.
///
/// None that the system gives by itself: between the look and the listener, and while the program is
/// down, any connection of the tests beside it might get that one.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let low = range
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok());
    // Tests in processes of their own begin elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    let first = low.unwrap_or(32_768u32).saturating_sub(PORTS).max(1_024);
    loop {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(first + number % PORTS).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn until_it_listens(port: u16) {
    eventually("the broker listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
}

/// A broker that can be paused.
pub(crate) trait Broker: Sized {
    /// Starts one on a given port; none if it is not installed.
    fn start(port: u16) -> Option<Self>;
    fn port(&self) -> u16;
    /// Its URL, at a port through which it is reached.
    fn url_at(port: u16) -> String;
    fn signal(&self, name: &str);

    fn url(&self) -> String {
        Self::url_at(self.port())
    }
}

const REDIS: &str = "/usr/bin/redis-server";

pub(crate) struct Redis {
    process: Process,
    port: u16,
}

impl Broker for Redis {
    fn start(port: u16) -> Option<Redis> {
        Redis::start_with(port, &["--save", "", "--appendonly", "no"])
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn url_at(port: u16) -> String {
        format!("redis://127.0.0.1:{port}/0")
    }

    fn signal(&self, name: &str) {
        self.process.signal(name);
    }
}

impl Redis {
    pub(crate) fn start_with(port: u16, more: &[&str]) -> Option<Redis> {
        let number = port.to_string();
        let redis = Redis::start_listening(port, &[more, &["--port", &number]].concat())?;
        Some(redis)
    }

    pub(crate) fn is_there() -> bool {
        has_peer("Redis", Path::new(REDIS))
    }

    /// Starts one whose arguments name the port.
    pub(crate) fn start_listening(port: u16, arguments: &[&str]) -> Option<Redis> {
        if !Redis::is_there() {
            return None;
        }
        let mut command = Command::new(REDIS);
        command.args(arguments).args(["--bind", "127.0.0.1"]);
        // A replica writes down what its master has.
        if !arguments.contains(&"--sentinel") {
            command.arg("--dir").arg(std::env::temp_dir());
        }
        // Stopped with the test also if it never listens.
        let process = Process::start(command.stdout(Stdio::null()));
        until_it_listens(port);
        Some(Redis { process, port })
    }

    /// The beginning of its answer to a command.
    pub(crate) fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        let mut answer = [0; 100];
        let count = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }
}

/// An authority, with certificates for a server and a client, in a folder of their own.
#[cfg(feature = "tls")]
pub(crate) fn certificates(name: &str) -> PathBuf {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let folder = std::env::temp_dir().join(format!("socketio-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    let name = &mut parameters.distinguished_name;
    name.push(DnType::CommonName, "the authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&key).unwrap();
    write("ca.pem", authority.pem());
    let issuer = Issuer::new(parameters, key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
    folder
}

/// Trusts that authority alone, and shows its client's certificate.
#[cfg(feature = "tls")]
pub(crate) fn trusting(files: &Path) -> socketio::ClientTls {
    let tls = socketio::ClientTls::new().ca_file(files.join("ca.pem"));
    tls.unwrap()
        .certificate_files(files.join("client.pem"), files.join("client.key"))
        .unwrap()
}

/// RabbitMQ, with what it needs of Erlang.
pub(crate) struct RabbitMq {
    port: u16,
    node: Process,
    /// Where its nodes find each other: one of its own, which ends with it.
    _names: Process,
    names_port: String,
    folder: PathBuf,
}

impl Broker for RabbitMq {
    fn start(port: u16) -> Option<RabbitMq> {
        RabbitMq::start_with(port, "")
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn url_at(port: u16) -> String {
        format!("amqp://guest:guest@127.0.0.1:{port}//")
    }

    fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }
}

impl RabbitMq {
    pub(crate) fn start_with(port: u16, configuration: &str) -> Option<RabbitMq> {
        let program = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        if !has_peer("RabbitMQ", program) {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("socketio-rabbit-{port}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("rabbitmq.conf"), configuration).unwrap();
        let names_port = free_port().to_string();
        let mut names = Command::new("epmd");
        names.args(["-port", &names_port, "-address", "127.0.0.1"]);
        let names = Process::start(&mut names);
        let mut command = Command::new(program);
        command
            .env("HOME", &folder)
            .env("ERL_EPMD_PORT", &names_port)
            .env("RABBITMQ_NODENAME", format!("socketio-{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", free_port().to_string())
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_PID_FILE", folder.join("pid"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", folder.join("config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            );
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let rabbit = RabbitMq {
            port,
            node: Process::start(&mut command),
            _names: names,
            names_port,
            folder,
        };
        let since = std::time::Instant::now();
        while !speaks_amqp(port) {
            // Erlang is not quick to begin.
            assert!(since.elapsed() < PATIENCE * 3, "RabbitMQ listens");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Some(rabbit)
    }

    /// Asks it something, as its operator does.
    pub(crate) fn control(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
        command
            .env("HOME", &self.folder)
            .env("ERL_EPMD_PORT", &self.names_port)
            .env("RABBITMQ_CONF_ENV_FILE", self.folder.join("none"))
            .args([
                "--quiet",
                "--node",
                &format!("socketio-{}@localhost", self.port),
            ]);
        let output = command.args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Of Erlang's machine, which the process that was started has started.
    fn pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.folder.join("pid")).unwrap();
        pid.trim().parse().unwrap()
    }
}

fn speaks_amqp(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut byte = [0];
    stream.write_all(b"AMQP\0\0\x09\x01").is_ok() && matches!(stream.read(&mut byte), Ok(1))
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if std::fs::exists(self.folder.join("pid")).is_ok_and(|is| is) {
            signal(self.pid(), "KILL");
        }
        let _ = self.node.0.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
