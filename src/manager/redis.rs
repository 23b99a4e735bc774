//! Redis and Valkey, by PUBLISH and SUBSCRIBE.

use super::backend::{Backend, Heard, Publisher, QueueError, Subscriber, TURN};
use super::options::BrokerOptions;
use super::pubsub::PubSubManager;
use crate::error::Error;
use bytes::Bytes;
use redis::{
    Client, Connection, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
};
use std::fmt;
use std::time::{Duration, Instant};

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
/// - `unix:///path/of/the/socket[?db=database]`
/// - `redis+sentinel://[user:password@]host:port[,host:port...][/database[/service]]`, or
///   `valkey+sentinel://`: the service is named like the channel if none is named; user, password and
///   database are the service's, not the sentinels'
#[derive(Debug)]
pub struct RedisManager;

impl RedisManager {
    /// A manager for a URL. Connects once its server is built.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is none of those above.
    #[allow(
        clippy::new_ret_no_self,
        reason = "what a broker has of its own is how it is connected to"
    )]
    pub fn new(url: &str) -> Result<PubSubManager, Error> {
        RedisManager::with_options(url, BrokerOptions::new())
    }

    /// The same, with what the URL does not say.
    ///
    /// # Errors
    /// Those of [`new`](RedisManager::new), and [`Error::Invalid`] if the options ask for a broker's
    /// certificate not to be checked.
    pub fn with_options(url: &str, options: BrokerOptions) -> Result<PubSubManager, Error> {
        Ok(PubSubManager::new(Redis::new(url, options)?))
    }
}

/// Where the broker is, and how to connect to it.
struct Redis {
    place: Place,
    options: BrokerOptions,
}

enum Place {
    Direct(Client),
    Sentinel(Sentinel),
}

struct Sentinel {
    hosts: Vec<(String, u16)>,
    service: Option<String>,
    user: Option<String>,
    password: Option<String>,
    database: i64,
}

impl Redis {
    fn new(url: &str, options: BrokerOptions) -> Result<Redis, Error> {
        let options = options.check()?;
        let place = Place::new(url, &options)?;
        Ok(Redis { place, options })
    }

    fn connect(&self, channel: &str) -> Result<Connection, QueueError> {
        let timeout = self.options.timeout;
        let mut connection = match &self.place {
            Place::Direct(client) => connect_within(client, timeout)?,
            Place::Sentinel(sentinel) => sentinel.connect(channel, timeout)?,
        };
        if let Some(name) = &self.options.name {
            let command = &mut redis::cmd("CLIENT");
            command.arg("SETNAME").arg(name).exec(&mut connection)?;
        }
        Ok(connection)
    }
}

impl Place {
    fn new(url: &str, options: &BrokerOptions) -> Result<Place, Error> {
        // A URL may hold a password.
        let wrong = |why: &str| Error::Invalid(format!("no URL of a Redis server: {why}"));
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme"))?;
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        if scheme != "unix" && !query.is_empty() && !query.starts_with("protocol=") {
            return Err(wrong("it has a query that nobody reads"));
        }
        let client = match scheme {
            "redis+sentinel" | "valkey+sentinel" => {
                return Sentinel::new(rest)
                    .map(Place::Sentinel)
                    .map_err(|why| wrong(&why));
            }
            "redis" | "valkey" => Client::open(format!("redis://{rest}")),
            "rediss" | "valkeys" => open_tls(&format!("rediss://{rest}"), options),
            "unix" => Client::open(format!("redis+unix://{rest}")),
            _ => return Err(wrong(&format!("the scheme {scheme:?} is not known"))),
        };
        client
            .map(Place::Direct)
            .map_err(|error| wrong(&error.to_string()))
    }
}

#[cfg(feature = "tls")]
fn open_tls(url: &str, options: &BrokerOptions) -> RedisResult<Client> {
    let identity = options.tls.identity_pem();
    let certificates = redis::TlsCertificates {
        client_tls: identity.map(|(certificate, key)| redis::ClientTlsConfig {
            client_cert: certificate.into_bytes(),
            client_key: key.into_bytes(),
        }),
        root_cert: options.tls.authorities_pem().map(String::into_bytes),
    };
    Client::build_with_tls(url, certificates)
}

#[cfg(not(feature = "tls"))]
fn open_tls(_: &str, _: &BrokerOptions) -> RedisResult<Client> {
    let kind = redis::ErrorKind::InvalidClientConfig;
    Err((kind, "TLS needs the feature `tls`").into())
}

impl Sentinel {
    fn new(rest: &str) -> Result<Sentinel, String> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
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
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (filled(user), filled(password)),
            None => (None, None),
        };
        Ok(Sentinel {
            hosts,
            service: filled(service),
            user,
            password,
            database,
        })
    }

    /// Asks one sentinel after the other for the master, and connects to it.
    fn connect(&self, channel: &str, timeout: Duration) -> Result<Connection, QueueError> {
        let mut last = QueueError::from("no sentinel");
        for (host, port) in &self.hosts {
            match self.connect_through(host, *port, channel, timeout) {
                Ok(connection) => return Ok(connection),
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
    ) -> Result<Connection, QueueError> {
        let sentinel = ConnectionAddr::Tcp(host.to_owned(), port).into_connection_info()?;
        let mut sentinel = connect_within(&Client::open(sentinel)?, timeout)?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name")
            .arg(self.service.as_deref().unwrap_or(channel));
        let master: Option<(String, u16)> = ask.query(&mut sentinel)?;
        let (host, port) = master.ok_or("the sentinels know no such service")?;
        let mut login = RedisConnectionInfo::default().set_db(self.database);
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        let master = ConnectionAddr::Tcp(host, port).into_connection_info()?;
        let master = Client::open(master.set_redis_settings(login))?;
        let mut connection = connect_within(&master, timeout)?;
        // Sentinels may not know yet that it is one no longer.
        let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut connection)?;
        match role.first() {
            Some(redis::Value::BulkString(name)) if name == b"master" => Ok(connection),
            _ => Err("the sentinels name a server that is no master".into()),
        }
    }
}

fn connect_within(client: &Client, timeout: Duration) -> RedisResult<Connection> {
    let connection = client.get_connection_with_timeout(timeout)?;
    connection.set_read_timeout(Some(timeout))?;
    connection.set_write_timeout(Some(timeout))?;
    Ok(connection)
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else there is may be a secret.
        formatter.write_str(match self.place {
            Place::Direct(_) => "Redis",
            Place::Sentinel(_) => "Redis with sentinels",
        })
    }
}

impl Backend for Redis {
    fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, QueueError> {
        let mut connection = self.connect(channel)?;
        // Whether it lets this client in.
        redis::cmd("PING").exec(&mut connection)?;
        Ok(Box::new(Publishing {
            connection,
            channel: channel.to_owned(),
        }))
    }

    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, QueueError> {
        let mut connection = self.connect(channel)?;
        let subscribe = redis::cmd("SUBSCRIBE").arg(channel).get_packed_command();
        connection.send_packed_command(&subscribe)?;
        // The confirmation: what is published from now on is heard. A refusal comes as a value too.
        connection.recv_response()?.extract_error()?;
        Ok(Box::new(Listening {
            connection,
            patience: self.options.timeout,
        }))
    }
}

struct Publishing {
    connection: Connection,
    channel: String,
}

impl Publisher for Publishing {
    fn publish(&mut self, message: &[u8]) -> Result<(), QueueError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.channel).arg(message);
        publish.exec(&mut self.connection)?;
        Ok(())
    }

    fn publish_all(&mut self, messages: &[Bytes]) -> Result<(), QueueError> {
        let mut pipeline = redis::Pipeline::with_capacity(messages.len());
        for message in messages {
            pipeline.cmd("PUBLISH").arg(&self.channel).arg(&**message);
        }
        let commands = pipeline.get_packed_pipeline();
        self.connection.send_packed_command(&commands)?;
        for _ in messages {
            // The first answer that does not come in time is the last that is waited for.
            self.connection.recv_response()?.extract_error()?;
        }
        Ok(())
    }
}

/// A connection that has subscribed.
struct Listening {
    connection: Connection,
    /// How long it may be silent before it is asked for a sign of life, and then until that comes.
    patience: Duration,
}

impl Subscriber for Listening {
    fn listen(&mut self, heard: &mut Heard<'_>) -> Result<(), QueueError> {
        let mut connection = self.connection.as_pubsub();
        connection.set_read_timeout(Some(TURN))?;
        let mut since = Instant::now();
        loop {
            let go_on = match connection.get_message() {
                Ok(message) => {
                    since = Instant::now();
                    heard(Some(message.get_payload_bytes()))
                }
                Err(error) if error.is_timeout() => {
                    if since.elapsed() >= self.patience {
                        connection.set_read_timeout(Some(self.patience))?;
                        let alive = connection.ping::<()>();
                        connection.set_read_timeout(Some(TURN))?;
                        alive?;
                        since = Instant::now();
                    }
                    heard(None)
                }
                Err(error) => return Err(error.into()),
            };
            if !go_on {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<Place, Error> {
        Place::new(url, &BrokerOptions::new())
    }

    #[test]
    fn urls_of_every_kind_are_understood() {
        for url in [
            "redis://localhost",
            "redis://user:password@localhost:7000/3",
            "valkey://localhost:6379/0",
            "unix:///run/redis.sock?db=2",
        ] {
            assert!(matches!(place(url), Ok(Place::Direct(_))), "{url}");
        }
        assert_eq!(place("rediss://localhost").is_ok(), cfg!(feature = "tls"));
        for url in [
            "",
            "localhost",
            "http://localhost",
            "redis://",
            "redis+sentinel://host",
        ] {
            assert!(matches!(place(url), Err(Error::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn sentinels_have_hosts_a_service_and_a_login_for_it() {
        let url = "redis+sentinel://user:password@h1:6379,h2:6380/7/myredis";
        let Ok(Place::Sentinel(sentinel)) = place(url) else {
            panic!("sentinels");
        };
        assert_eq!(sentinel.hosts.len(), 2);
        assert_eq!(sentinel.service.as_deref(), Some("myredis"));
        assert_eq!(
            (sentinel.user.as_deref(), sentinel.database),
            (Some("user"), 7)
        );
        assert_eq!(sentinel.password.as_deref(), Some("password"));
        let Ok(Place::Sentinel(sentinel)) = place("valkey+sentinel://localhost:6379") else {
            panic!("a sentinel");
        };
        assert!(sentinel.service.is_none() && sentinel.user.is_none() && sentinel.database == 0);
    }
}
