//! Redis and Valkey, by PUBLISH and SUBSCRIBE.

use super::backend::{
    Backend, BackendError, POLL_INTERVAL, PublishError, Publisher, Subscriber, no_answer,
    progress_timeout,
};
use super::listening::MessageSink;
use super::options::BrokerOptions;
use super::publishing::Outgoing;
use super::pubsub::PubSubManager;
use crate::error::Error;
use crate::util::percent::decode_percent;

use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, PubSub,
    RedisConnectionInfo, RedisError, RedisResult, Value,
};
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a message, unless the options say something else: as much as Redis keeps for a slow
/// subscriber for a minute by default (`client-output-buffer-limit pubsub 32mb 8mb 60`). It cuts
/// off every subscriber that has more to read.
const DEFAULT_MESSAGE_BYTES: usize = 8 << 20;
/// Time after which a server is asked again whether it is a master.
const ROLE_INTERVAL: Duration = Duration::from_secs(5);
/// Replies that are about the server, or this client, and not about one message.
const OF_ALL: [&str; 10] = [
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "BUSY",
    "NOAUTH",
    "NOPERM",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "CLUSTERDOWN",
];
/// Bytes of commands that are written at once.
const WRITE_BYTES: usize = 1 << 18;

/// A manager over Redis or Valkey, with which python-socketio's `RedisManager` shares a cluster.
///
/// ```no_run
/// use socketio::Server;
/// use socketio::manager::RedisManager;
///
/// let io = Server::builder().manager(RedisManager::new("redis://localhost")?).build();
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// The URL is one of these, with the port 6379 and the database 0 if none is named:
///
/// - `redis://[user:password@]host[:port][/database]`, or `valkey://`
/// - `rediss://`, or `valkeys://`, for TLS, with the feature `tls`
/// - `unix://[user:password@]/path/of/the/socket[?db=database]`; `user` and `pass`, or `username` and
///   `password`, may also be in the query
/// - `redis+sentinel://[user:password@]host:port[,host:port...][/database[/service]]`, or
///   `valkey+sentinel://`: the service is named like the channel if none is named; user, password and
///   database are the service's, not the sentinels'
///
/// What is not a letter or a digit in a user's name or a password is written as `%` and two
/// hexadecimal digits.
///
/// A user with `+publish +subscribe` and the channel is enough. `+ping` lets a wrong server be told
/// sooner, `+role` a server that has become a replica, `+config|get` the largest message that it
/// takes; a name in the options needs `+client|setname`, sentinels need `+role`.
///
/// A message has 8 MiB at most, or [`BrokerOptions::max_message_size`], and less if the server's
/// `proto-max-bulk-len` or `client-output-buffer-limit` of subscribers say so; more is an error at
/// the call: Redis cuts off each subscriber that has more to read than that limit.
#[derive(Debug)]
pub struct RedisManager;

impl RedisManager {
    /// Creates a manager for a URL. Connects once its server is built.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is none of those above.
    #[allow(
        clippy::new_ret_no_self,
        reason = "what a broker has of its own is how it is connected to"
    )]
    pub fn new(url: &str) -> Result<PubSubManager, Error> {
        RedisManager::with_options(url, BrokerOptions::new())
    }

    /// Creates the same, with what the URL does not say.
    ///
    /// # Errors
    /// Those of [`new`](RedisManager::new), and [`Error::InvalidArgument`] if the options ask for a
    /// broker's certificate not to be checked.
    pub fn with_options(url: &str, options: BrokerOptions) -> Result<PubSubManager, Error> {
        Ok(PubSubManager::new(Redis::new(url, options)?))
    }
}

/// Address of the broker, and the options of connecting to it.
struct Redis {
    topology: Topology,
    options: BrokerOptions,
    /// Bytes of a message that the server takes, as far as it says.
    max_message_size: AtomicUsize,
}

enum Topology {
    Direct(Client),
    Sentinel(Sentinel),
}

struct Sentinel {
    hosts: Vec<(String, u16)>,
    service: Option<String>,
    user: Option<String>,
    password: Option<String>,
    database: i64,
    /// The sentinel that has answered last, which is asked first.
    first: AtomicUsize,
}

impl Redis {
    fn new(url: &str, options: BrokerOptions) -> Result<Redis, Error> {
        let options = options.check()?;
        if let Some(name) = &options.name
            && !name.bytes().all(|byte| byte.is_ascii_graphic())
        {
            let why = format!("a connection to Redis cannot be named {name:?}: no spaces there");
            return Err(Error::InvalidArgument(why));
        }
        let topology = Topology::new(url, &options)?;
        let max_message_size = AtomicUsize::new(options.message_bytes(DEFAULT_MESSAGE_BYTES));
        Ok(Redis {
            topology,
            options,
            max_message_size,
        })
    }

    fn connect(&self, channel: &str) -> Result<Connection, BackendError> {
        let timeout = self.options.timeout;
        let mut connection = match &self.topology {
            Topology::Direct(client) => connect_within(client, timeout)?,
            Topology::Sentinel(sentinel) => sentinel.connect(channel, timeout)?,
        };
        if let Some(name) = &self.options.name {
            let command = &mut redis::cmd("CLIENT");
            let named = command.arg("SETNAME").arg(name).exec(&mut connection);
            named.map_err(|error| plain(error, timeout))?;
        }
        Ok(connection)
    }

    /// Asks the server how large a message may be. One that may not be asked has the default.
    fn ask_limits(&self, connection: &mut Connection) {
        let mut limit = self.options.message_bytes(DEFAULT_MESSAGE_BYTES);
        let mut ask = |name: &str| {
            let asked = redis::cmd("CONFIG").arg("GET").arg(name).query(connection);
            let pair: Vec<String> = asked.ok()?;
            pair.into_iter().nth(1)
        };
        let bulk = ask("proto-max-bulk-len").and_then(|it| it.parse().ok());
        let outputs = ask("client-output-buffer-limit");
        let outputs = outputs.as_deref().and_then(output_limit);
        for bytes in [bulk, outputs].into_iter().flatten() {
            limit = limit.min(bytes);
        }
        self.max_message_size.store(limit, Ordering::Relaxed);
    }
}

/// Returns the smaller limit of a subscriber's output, in bytes, of all classes' limits: `normal 0
/// 0 0 slave 1 1 60 pubsub 33554432 8388608 60`. None if there is none.
fn output_limit(text: &str) -> Option<usize> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == "pubsub")?;
    let limits = words.take(2).filter_map(|word| word.parse().ok());
    limits.filter(|bytes| *bytes > 0).min()
}

impl Topology {
    fn new(url: &str, options: &BrokerOptions) -> Result<Topology, Error> {
        // A URL may hold a password.
        let wrong = |why: &str| Error::InvalidArgument(format!("no URL of a Redis server: {why}"));
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme"))?;
        if rest.contains('#') {
            return Err(wrong("nothing may follow a #"));
        }
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let is_read = matches!(
            query,
            "" | "protocol=2" | "protocol=3" | "protocol=resp2" | "protocol=resp3"
        );
        if scheme != "unix" && !is_read {
            return Err(wrong("it has a query that nobody reads"));
        }
        let client = match scheme {
            "redis+sentinel" | "valkey+sentinel" => {
                return Sentinel::new(rest)
                    .map(Topology::Sentinel)
                    .map_err(|why| wrong(&why));
            }
            "redis" | "valkey" => address(&format!("redis://{rest}")).and_then(Client::open),
            "rediss" | "valkeys" => {
                address(&format!("rediss://{rest}")).and_then(|it| open_tls(it, options))
            }
            "unix" => Client::open(unix(rest).map_err(|why| wrong(&why))?),
            _ => return Err(wrong(&format!("the scheme {scheme:?} is not known"))),
        };
        client
            .map(Topology::Direct)
            .map_err(|error| wrong(&error.to_string()))
    }
}

/// Returns a socket's path with a login, before it or in the query.
fn unix(rest: &str) -> Result<ConnectionInfo, String> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (login, path) = match place.split_once("@/") {
        Some((login, path)) => (Some(login), format!("/{path}")),
        None => (None, place.to_owned()),
    };
    if !path.starts_with('/') {
        return Err("a socket has a path that begins with /".into());
    }
    let (mut user, mut password) = login.map_or((None, None), user_and_password);
    let mut database = 0;
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = decoded(value);
        match name {
            "db" => database = value.parse().map_err(|_| "the database is no number")?,
            "user" | "username" => user = Some(value),
            "pass" | "password" => password = Some(value),
            _ => return Err(format!("the parameter {name:?} is not known")),
        }
    }
    let address = ConnectionAddr::Unix(PathBuf::from(decoded(&path)));
    let info = address
        .into_connection_info()
        .map_err(|it| it.to_string())?;
    Ok(info.set_redis_settings(login_of(database, user.as_deref(), password.as_deref())))
}

fn user_and_password(login: &str) -> (Option<String>, Option<String>) {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let filled = |text: &str| (!text.is_empty()).then(|| decoded(text));
    (filled(user), filled(password))
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&decode_percent(text)).into_owned()
}

fn login_of(database: i64, user: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    // Nothing is gained by it, and the server's answer would be waited for.
    let mut login = RedisConnectionInfo::default()
        .set_db(database)
        .set_skip_set_lib_name();
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if let Some(password) = password {
        login = login.set_password(password);
    }
    login
}

/// Returns a URL of redis-rs.
fn address(url: &str) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    let login = info.redis_settings().clone().set_skip_set_lib_name();
    Ok(info.set_redis_settings(login))
}

#[cfg(feature = "tls")]
fn open_tls(address: ConnectionInfo, options: &BrokerOptions) -> RedisResult<Client> {
    let identity = options.tls.identity_pem();
    let certificates = redis::TlsCertificates {
        client_tls: identity.map(|(certificate, key)| redis::ClientTlsConfig {
            client_cert: certificate.into_bytes(),
            client_key: key.into_bytes(),
        }),
        root_cert: options.tls.authorities_pem().map(String::into_bytes),
    };
    Client::build_with_tls(address, certificates)
}

#[cfg(not(feature = "tls"))]
fn open_tls(_: ConnectionInfo, _: &BrokerOptions) -> RedisResult<Client> {
    let kind = redis::ErrorKind::InvalidClientConfig;
    Err((kind, "TLS needs the feature `tls`").into())
}

impl Sentinel {
    fn new(rest: &str) -> Result<Sentinel, String> {
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = |text: &str| {
            let (host, port) = text.rsplit_once(':')?;
            let port = port.parse().ok()?;
            (!host.is_empty()).then(|| (host.to_owned(), port))
        };
        let hosts: Option<Vec<_>> = hosts.split(',').map(host).collect();
        let hosts = hosts.ok_or("each sentinel is a host and a port")?;
        let (database, service) = path.split_once('/').unwrap_or((path, ""));
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| "the database is no number")?,
        };
        let (user, password) = login.map_or((None, None), user_and_password);
        Ok(Sentinel {
            hosts,
            service: (!service.is_empty()).then(|| decoded(service)),
            user,
            password,
            database,
            first: AtomicUsize::new(0),
        })
    }

    /// Asks one sentinel after the other for the master, that which has answered last first, and
    /// connects to it.
    fn connect(&self, channel: &str, timeout: Duration) -> Result<Connection, BackendError> {
        let mut last = BackendError::from("no sentinel");
        let first = self.first.load(Ordering::Relaxed);
        for index in (first..self.hosts.len()).chain(0..first) {
            let (host, port) = &self.hosts[index];
            match self.connect_through(host, *port, channel, timeout) {
                Ok(connection) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect_through(
        &self,
        host: &str,
        port: u16,
        channel: &str,
        timeout: Duration,
    ) -> Result<Connection, BackendError> {
        let sentinel = ConnectionAddr::Tcp(host.to_owned(), port).into_connection_info()?;
        let sentinel = sentinel.set_redis_settings(login_of(0, None, None));
        let mut sentinel = connect_within(&Client::open(sentinel)?, timeout)?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name")
            .arg(self.service.as_deref().unwrap_or(channel));
        let master: Option<(String, u16)> = ask
            .query(&mut sentinel)
            .map_err(|error| plain(error, timeout))?;
        let (host, port) = master.ok_or("the sentinels know no such service")?;
        let login = login_of(
            self.database,
            self.user.as_deref(),
            self.password.as_deref(),
        );
        let master = ConnectionAddr::Tcp(host, port).into_connection_info()?;
        let master = Client::open(master.set_redis_settings(login))?;
        let mut connection = connect_within(&master, timeout)?;
        // Sentinels may not know yet that it is one no longer.
        let role = redis::cmd("ROLE").query(&mut connection);
        let role: Value = role.map_err(|error| plain(error, timeout))?;
        if !is_role(&role, b"master") {
            return Err("the sentinels name a server that is no master".into());
        }
        Ok(connection)
    }
}

fn is_role(answer: &Value, name: &[u8]) -> bool {
    let Value::Array(fields) = answer else {
        return false;
    };
    matches!(fields.first(), Some(Value::BulkString(role)) if role == name)
}

fn connect_within(client: &Client, timeout: Duration) -> Result<Connection, BackendError> {
    let connect = || {
        let connection = client.get_connection_with_timeout(timeout)?;
        connection.set_read_timeout(Some(timeout))?;
        connection.set_write_timeout(Some(timeout))?;
        Ok(connection)
    };
    connect().map_err(|error: RedisError| plain(error, timeout))
}

/// Returns the error in words: the system's for a time-out are about something else.
fn plain(error: RedisError, timeout: Duration) -> BackendError {
    if error.is_timeout() {
        return no_answer(timeout);
    }
    error.into()
}

/// Returns whether a server that refuses a command is there all the same, and lets this client in:
/// the command may not be allowed, or known, and with a full disk PING is refused and PUBLISH is
/// not.
fn is_answer(error: &RedisError) -> bool {
    error
        .code()
        .is_some_and(|code| !matches!(code, "NOAUTH" | "WRONGPASS" | "LOADING"))
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else there is may be a secret.
        formatter.write_str(match self.topology {
            Topology::Direct(_) => "Redis",
            Topology::Sentinel(_) => "Redis with sentinels",
        })
    }
}

impl Backend for Redis {
    fn max_message_size(&self) -> usize {
        self.max_message_size.load(Ordering::Relaxed)
    }

    fn timeout(&self) -> Duration {
        self.options.timeout
    }

    fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, BackendError> {
        let timeout = self.options.timeout;
        let mut connection = self.connect(channel)?;
        // Whether it lets this client in.
        match redis::cmd("PING").exec(&mut connection) {
            Err(error) if !is_answer(&error) => return Err(plain(error, timeout)),
            _ => {}
        }
        match redis::cmd("ROLE").query(&mut connection) {
            Ok(role) => check_role(&role)?,
            Err(error) if error.is_timeout() => return Err(plain(error, timeout)),
            // It need not be allowed.
            Err(_) => {}
        }
        self.ask_limits(&mut connection);
        Ok(Box::new(RedisPublisher {
            connection,
            channel: channel.to_owned(),
            timeout,
            in_flight: VecDeque::new(),
            asked: Instant::now(),
            knows_roles: true,
        }))
    }

    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, BackendError> {
        let timeout = self.options.timeout;
        let mut connection = self.connect(channel)?;
        let subscribe = redis::cmd("SUBSCRIBE").arg(channel).get_packed_command();
        connection.send_packed_command(&subscribe)?;
        // The confirmation: what is published from now on is heard. A refusal comes as a value too.
        let subscribed = connection.recv_response().and_then(|it| it.extract_error());
        subscribed.map_err(|error| plain(error, timeout))?;
        Ok(Box::new(RedisSubscriber {
            connection,
            heartbeat_timeout: timeout,
        }))
    }
}

/// Returns an error if messages that are published here reach only this server's own subscribers.
fn check_role(role: &Value) -> Result<(), BackendError> {
    if is_role(role, b"slave") {
        return Err(
            "the server is a replica: its master hears nothing of what is published".into(),
        );
    }
    Ok(())
}

struct RedisPublisher {
    connection: Connection,
    channel: String,
    timeout: Duration,
    /// The commands whose answers are awaited.
    in_flight: VecDeque<RedisCommand>,
    /// Moment when it was last asked for its role.
    asked: Instant,
    /// It may be asked for it.
    knows_roles: bool,
}

enum RedisCommand {
    Publish,
    Role,
}

impl Publisher for RedisPublisher {
    fn publish(&mut self, message: &[u8]) -> Result<(), PublishError> {
        let publish = redis::cmd("PUBLISH")
            .arg(&self.channel)
            .arg(message)
            .exec(&mut self.connection);
        publish.map_err(|error| self.error(error))
    }

    /// Writes what there is, and then waits for one answer: while it comes, more may wait.
    fn publish_all(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), PublishError> {
        let mut commands = Vec::new();
        loop {
            let message = outgoing.take();
            let is_last = message.is_none();
            if let Some(message) = message {
                let publish = redis::cmd("PUBLISH")
                    .arg(&self.channel)
                    .arg(&*message)
                    .get_packed_command();
                commands.extend_from_slice(&publish);
                self.in_flight.push_back(RedisCommand::Publish);
            }
            let is_role_due = self.knows_roles && self.asked.elapsed() >= ROLE_INTERVAL;
            if is_last && !commands.is_empty() && is_role_due {
                self.asked = Instant::now();
                commands.extend_from_slice(&redis::cmd("ROLE").get_packed_command());
                self.in_flight.push_back(RedisCommand::Role);
            }
            if !commands.is_empty() && (is_last || commands.len() >= WRITE_BYTES) {
                if let Err(error) = self.connection.send_packed_command(&commands) {
                    self.confirm_arrived(outgoing);
                    return Err(self.error(error));
                }
                commands.clear();
            }
            if is_last {
                break;
            }
        }
        self.confirm_one(outgoing)
    }
}

impl RedisPublisher {
    /// Takes the answers that have come before the connection broke: what they confirm is not to be
    /// published again.
    fn confirm_arrived(&mut self, outgoing: &mut Outgoing<'_>) {
        let timeout = Some(Duration::from_millis(1));
        if self.connection.set_read_timeout(timeout).is_err() {
            return;
        }
        while let Some(command) = self.in_flight.pop_front() {
            let answer = self.connection.recv_response();
            match (answer.and_then(|it| it.extract_error()), command) {
                (Ok(_), RedisCommand::Publish) => outgoing.confirm(1),
                (Ok(_), RedisCommand::Role) => {}
                (Err(_), _) => return,
            }
        }
    }

    /// Waits for the next answer.
    fn confirm_one(&mut self, outgoing: &mut Outgoing<'_>) -> Result<(), PublishError> {
        let Some(command) = self.in_flight.pop_front() else {
            return Ok(());
        };
        // What is in the system's buffers has to leave before the answer can come.
        let progress_timeout = progress_timeout(self.timeout, outgoing.first_len());
        self.connection.set_read_timeout(Some(progress_timeout))?;
        let answer = self.connection.recv_response();
        match (answer.and_then(|it| it.extract_error()), command) {
            (Ok(_), RedisCommand::Publish) => outgoing.confirm(1),
            (Ok(role), RedisCommand::Role) => check_role(&role).map_err(PublishError::Lost)?,
            // It need not be allowed.
            (Err(error), RedisCommand::Role) if error.code().is_some() => self.knows_roles = false,
            (Err(error), _) => return Err(self.error(error)),
        }
        Ok(())
    }

    /// Returns what an error means for the first message in flight.
    fn error(&self, error: RedisError) -> PublishError {
        match error.code() {
            Some(code) if !OF_ALL.contains(&code) => PublishError::Refused(error.into()),
            _ => PublishError::Lost(plain(error, self.timeout)),
        }
    }
}

/// A connection that has subscribed.
struct RedisSubscriber {
    connection: Connection,
    /// Time that it may be silent before it is asked for a sign of life, and then until that comes.
    heartbeat_timeout: Duration,
}

impl Subscriber for RedisSubscriber {
    fn listen(&mut self, sink: &mut MessageSink<'_>) -> Result<(), BackendError> {
        let mut connection = self.connection.as_pubsub();
        connection.set_read_timeout(Some(POLL_INTERVAL))?;
        let mut since = Instant::now();
        loop {
            let goes_on = match connection.get_message() {
                Ok(message) => {
                    since = Instant::now();
                    sink.message(message.get_payload_bytes())
                }
                Err(error) if error.is_timeout() => {
                    let is_check_due = sink.is_check_due();
                    if is_check_due || since.elapsed() >= self.heartbeat_timeout {
                        ping(&mut connection, self.heartbeat_timeout)?;
                        since = Instant::now();
                        if is_check_due {
                            sink.note_checked();
                        }
                        // What has come before the answer is handed out next.
                        continue;
                    }
                    sink.nothing()
                }
                Err(error) => return Err(error.into()),
            };
            if !goes_on {
                return Ok(());
            }
        }
    }
}

/// Waits for a sign of life, as long as something comes.
fn ping(connection: &mut PubSub<'_>, timeout: Duration) -> Result<(), BackendError> {
    connection.set_read_timeout(Some(timeout))?;
    let alive = connection.ping::<()>();
    connection.set_read_timeout(Some(POLL_INTERVAL))?;
    match alive {
        Err(error) if !is_answer(&error) => Err(plain(error, timeout)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(url: &str) -> Result<Topology, Error> {
        Topology::new(url, &BrokerOptions::new())
    }

    #[test]
    fn urls_of_every_kind_are_understood() {
        for url in [
            "redis://localhost",
            "redis://user:password@localhost:7000/3",
            "valkey://localhost:6379/0",
            "unix:///run/redis.sock?db=2",
        ] {
            assert!(matches!(topology(url), Ok(Topology::Direct(_))), "{url}");
        }
        assert_eq!(
            topology("rediss://localhost").is_ok(),
            cfg!(feature = "tls")
        );
        for url in [
            "",
            "localhost",
            "http://localhost",
            "redis://",
            "redis+sentinel://host",
            "rediss://localhost/#insecure",
            "unix:///run/redis.sock?passwd=x",
            "unix://run/redis.sock",
        ] {
            assert!(
                matches!(topology(url), Err(Error::InvalidArgument(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn sentinels_have_hosts_a_service_and_a_login_for_it() {
        let url = "redis+sentinel://user:password@h1:6379,h2:6380/7/myredis";
        let Ok(Topology::Sentinel(sentinel)) = topology(url) else {
            panic!("sentinels");
        };
        assert_eq!(sentinel.hosts.len(), 2);
        assert_eq!(sentinel.service.as_deref(), Some("myredis"));
        assert_eq!(
            (sentinel.user.as_deref(), sentinel.database),
            (Some("user"), 7)
        );
        assert_eq!(sentinel.password.as_deref(), Some("password"));
        let Ok(Topology::Sentinel(sentinel)) = topology("valkey+sentinel://localhost:6379") else {
            panic!("a sentinel");
        };
        assert!(sentinel.service.is_none() && sentinel.user.is_none() && sentinel.database == 0);
    }

    #[test]
    fn passwords_have_any_characters() {
        const SECRET: &str = "p@:/?# %w";
        const WRITTEN: &str = "p%40%3A%2F%3F%23%20%25w";
        for url in [
            format!("redis://:{WRITTEN}@localhost"),
            format!("unix://:{WRITTEN}@/run/redis.sock"),
            format!("unix:///run/redis.sock?password={WRITTEN}"),
        ] {
            let Ok(Topology::Direct(client)) = topology(&url) else {
                panic!("{url}");
            };
            let settings = client.get_connection_info().redis_settings();
            assert_eq!(settings.password(), Some(SECRET), "{url}");
        }
        let Ok(Topology::Sentinel(sentinel)) =
            topology(&format!("redis+sentinel://:{WRITTEN}@h1:1,h2:2/0/service"))
        else {
            panic!("sentinels");
        };
        assert_eq!(sentinel.password.as_deref(), Some(SECRET));
    }

    #[test]
    fn the_server_s_limits_are_understood() {
        let limits = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(output_limit(limits), Some(8_388_608));
        assert_eq!(output_limit("normal 0 0 0 pubsub 1000 0 0"), Some(1_000));
        assert_eq!(output_limit("pubsub 0 0 0"), None);
        assert_eq!(output_limit(""), None);
    }

    #[test]
    fn names_that_redis_refuses_are_errors() {
        let named = |name| Redis::new("redis://h", BrokerOptions::new().name(name));
        assert!(named("chat-1").is_ok());
        assert!(matches!(named("chat 1"), Err(Error::InvalidArgument(_))));
    }
}
