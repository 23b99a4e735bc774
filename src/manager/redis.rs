//! Redis and Valkey, by PUBLISH and SUBSCRIBE.

use super::backend::{Backend, Publisher, QueueError, Subscriber};
use super::pubsub::PubSubManager;
use crate::error::Error;
use parking_lot::Mutex;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{Client, Connection, ConnectionAddr, Msg};
use std::fmt;
use std::time::Duration;

/// How long connecting, and an answer, may take.
const TIMEOUT: Duration = Duration::from_secs(5);

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
        Ok(PubSubManager::new(Redis::new(url)?))
    }
}

/// Where the broker is.
enum Redis {
    Direct(Client),
    Sentinel(Sentinel),
}

struct Sentinel {
    hosts: Vec<ConnectionAddr>,
    service: Option<String>,
    user: Option<String>,
    password: Option<String>,
    database: i64,
    /// Made with the first connection, when the channel is known.
    client: Mutex<Option<SentinelClient>>,
}

impl Redis {
    fn new(url: &str) -> Result<Redis, Error> {
        // A URL may hold a password.
        let wrong = |why: &str| Error::Invalid(format!("no URL of a Redis server: {why}"));
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme"))?;
        let url = match scheme {
            "redis+sentinel" | "valkey+sentinel" => {
                return Sentinel::new(rest)
                    .map(Redis::Sentinel)
                    .map_err(|why| wrong(&why));
            }
            "redis" | "valkey" => format!("redis://{rest}"),
            "rediss" | "valkeys" if cfg!(feature = "tls") => format!("rediss://{rest}"),
            "rediss" | "valkeys" => return Err(wrong("TLS needs the feature `tls`")),
            "unix" => format!("redis+unix://{rest}"),
            _ => return Err(wrong(&format!("the scheme {scheme:?} is not known"))),
        };
        let client = Client::open(url).map_err(|error| wrong(&error.to_string()))?;
        Ok(Redis::Direct(client))
    }

    fn connect(&self, channel: &str) -> Result<Connection, QueueError> {
        let connection = match self {
            Redis::Direct(client) => client.get_connection_with_timeout(TIMEOUT)?,
            Redis::Sentinel(sentinel) => sentinel.connect(channel)?,
        };
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        Ok(connection)
    }
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
            (!host.is_empty()).then(|| ConnectionAddr::Tcp(host.to_owned(), port))
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
            client: Mutex::new(None),
        })
    }

    fn connect(&self, channel: &str) -> Result<Connection, QueueError> {
        let mut client = self.client.lock();
        if client.is_none() {
            let service = self.service.clone().unwrap_or(channel.to_owned());
            let mut builder = SentinelClientBuilder::new(
                self.hosts.clone(),
                service,
                SentinelServerType::Master,
            )?
            .set_client_to_redis_db(self.database);
            if let Some(user) = &self.user {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = &self.password {
                builder = builder.set_client_to_redis_password(password);
            }
            *client = Some(builder.build()?);
        }
        match client.as_mut() {
            Some(client) => Ok(client.get_connection()?),
            None => Err("no sentinel".into()),
        }
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else there is may be a secret.
        formatter.write_str(match self {
            Redis::Direct(_) => "Redis",
            Redis::Sentinel(_) => "Redis with sentinels",
        })
    }
}

impl Backend for Redis {
    fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, QueueError> {
        Ok(Box::new(Publishing {
            connection: self.connect(channel)?,
            channel: channel.to_owned(),
        }))
    }

    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, QueueError> {
        let mut connection = self.connect(channel)?;
        let subscribe = redis::cmd("SUBSCRIBE").arg(channel).get_packed_command();
        connection.send_packed_command(&subscribe)?;
        // The confirmation: what is published from now on is heard.
        connection.recv_response()?;
        Ok(Box::new(Listening { connection }))
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
}

struct Listening {
    connection: Connection,
}

impl Subscriber for Listening {
    fn next(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, QueueError> {
        self.connection.set_read_timeout(Some(timeout))?;
        match self.connection.recv_response() {
            // Anything but a message, such as a confirmation, is none.
            Ok(value) => Ok(Msg::from_owned_value(value).map(|it| it.get_payload_bytes().to_vec())),
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_every_kind_are_understood() {
        for url in [
            "redis://localhost",
            "redis://user:password@localhost:7000/3",
            "valkey://localhost:6379/0",
            "unix:///run/redis.sock?db=2",
        ] {
            assert!(matches!(Redis::new(url), Ok(Redis::Direct(_))), "{url}");
        }
        assert_eq!(
            Redis::new("rediss://localhost").is_ok(),
            cfg!(feature = "tls")
        );
        for url in [
            "",
            "localhost",
            "http://localhost",
            "redis://",
            "redis+sentinel://host",
        ] {
            assert!(matches!(Redis::new(url), Err(Error::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn sentinels_have_hosts_a_service_and_a_login_for_it() {
        let url = "redis+sentinel://user:password@h1:6379,h2:6380/7/myredis";
        let Ok(Redis::Sentinel(sentinel)) = Redis::new(url) else {
            panic!("sentinels");
        };
        assert_eq!(sentinel.hosts.len(), 2);
        assert_eq!(sentinel.service.as_deref(), Some("myredis"));
        assert_eq!(
            (sentinel.user.as_deref(), sentinel.database),
            (Some("user"), 7)
        );
        assert_eq!(sentinel.password.as_deref(), Some("password"));
        let Ok(Redis::Sentinel(sentinel)) = Redis::new("valkey+sentinel://localhost:6379") else {
            panic!("a sentinel");
        };
        assert!(sentinel.service.is_none() && sentinel.user.is_none() && sentinel.database == 0);
    }
}
