//! Credentials of administrators, and their sessions.

use crate::data::Value;
#[cfg(feature = "redis")]
use crate::error::Error;
use crate::util::sync::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for which a session lets an administrator in without a password.
const SESSION_TIME: Duration = Duration::from_secs(24 * 3600);
/// Sessions that are kept in memory; the oldest make room.
const MAX_SESSIONS: usize = 10_000;

type LoginCheck = dyn Fn(&Value) -> bool + Send + Sync;

pub(super) struct Login {
    check: Arc<LoginCheck>,
    store: Arc<dyn SessionStore>,
}

/// Place where the sessions of administrators are kept. Its functions run on a worker and may block.
///
/// ```
/// use socketio::admin::{Admin, SessionStore};
/// use std::path::PathBuf;
///
/// /// A file for each session: they outlive this process.
/// struct Folder(PathBuf);
///
/// impl SessionStore for Folder {
///     fn save(&self, id: &str) {
///         let _ = std::fs::write(self.0.join(id), "");
///     }
///
///     fn knows(&self, id: &str) -> bool {
///         let is_id = id.bytes().all(|byte| byte.is_ascii_alphanumeric());
///         let file = std::fs::metadata(self.0.join(id)).and_then(|file| file.modified());
///         let age = file.ok().and_then(|at| at.elapsed().ok());
///         is_id && age.is_some_and(|age| age.as_secs() < 24 * 3600)
///     }
/// }
///
/// let admin = Admin::basic("admin", "secret").session_store(Folder("/var/lib/chat".into()));
/// ```
pub trait SessionStore: Send + Sync + 'static {
    /// Keeps the id of a session for a day.
    fn save(&self, id: &str);

    /// Returns whether an id was kept, and not for longer than that.
    fn knows(&self, id: &str) -> bool;
}

impl Login {
    pub(super) fn pairs(pairs: Vec<(String, String)>) -> Login {
        Login::function(Arc::new(move |auth: &Value| {
            let (Some(name), Some(password)) = credentials(auth) else {
                return false;
            };
            // All of them, whichever fits.
            pairs.iter().fold(false, |fits, pair| {
                fits | (is_same(&pair.0, name) & is_same(&pair.1, password))
            })
        }))
    }

    #[cfg(feature = "bcrypt")]
    pub(super) fn hashed(username: String, hash: String) -> Login {
        Login::function(Arc::new(move |auth: &Value| {
            let (Some(name), Some(password)) = credentials(auth) else {
                return false;
            };
            let fits = bcrypt::verify(password, &hash).unwrap_or(false);
            is_same(&username, name) & fits
        }))
    }

    pub(super) fn open() -> Login {
        Login::function(Arc::new(|_: &Value| true))
    }

    pub(super) fn function(check: Arc<LoginCheck>) -> Login {
        Login {
            check,
            store: Arc::new(MemorySessions::default()),
        }
    }

    pub(super) fn set_store(&mut self, store: Arc<dyn SessionStore>) {
        self.store = store;
    }

    pub(super) fn admits(&self, auth: &Value) -> bool {
        (self.check)(auth)
    }

    pub(super) fn knows_session(&self, auth: &Value) -> bool {
        let id = auth["sessionId"].as_str();
        id.is_some_and(|id| id.len() <= 64 && self.store.knows(id))
    }

    pub(super) fn keep_session(&self, id: &str) {
        self.store.save(id);
    }
}

fn credentials(auth: &Value) -> (Option<&str>, Option<&str>) {
    (auth["username"].as_str(), auth["password"].as_str())
}

/// Compares in a time that depends on the length of what was given alone.
fn is_same(right: &str, given: &str) -> bool {
    let right = right.as_bytes();
    let mut difference = right.len() ^ given.len();
    for (at, byte) in given.bytes().enumerate() {
        let other = right.get(at % right.len().max(1)).copied().unwrap_or(0);
        difference |= usize::from(byte ^ other);
    }
    std::hint::black_box(difference) == 0
}

/// Sessions of this process.
#[derive(Default)]
struct MemorySessions(Mutex<HashMap<String, Instant>>);

impl SessionStore for MemorySessions {
    fn save(&self, id: &str) {
        let (mut sessions, now) = (self.0.lock(), Instant::now());
        sessions.retain(|_, since| now.saturating_duration_since(*since) < SESSION_TIME);
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, since)| **since);
            let oldest = oldest.map(|(id, _)| id.clone());
            oldest.map(|id| sessions.remove(&id));
        }
        sessions.insert(id.to_owned(), now);
    }

    fn knows(&self, id: &str) -> bool {
        let sessions = self.0.lock();
        let since = sessions.get(id);
        since.is_some_and(|since| since.elapsed() < SESSION_TIME)
    }
}

/// Sessions in Redis, which all servers of a cluster know, the reference implementation's too: under
/// `socket.io-admin#<id>`.
///
/// ```
/// use socketio::admin::{Admin, RedisSessions};
///
/// let sessions = RedisSessions::new("redis://localhost")?;
/// let admin = Admin::basic("admin", "secret").session_store(sessions);
/// # Ok::<(), socketio::Error>(())
/// ```
#[cfg(feature = "redis")]
#[derive(Debug)]
pub struct RedisSessions {
    client: redis::Client,
}

#[cfg(feature = "redis")]
impl RedisSessions {
    /// Creates a store at a URL: `redis://localhost:6379`. Does not connect.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is no URL of a Redis.
    pub fn new(url: &str) -> Result<RedisSessions, Error> {
        match redis::Client::open(url) {
            Ok(client) => Ok(RedisSessions { client }),
            Err(error) => Err(Error::InvalidArgument(error.to_string())),
        }
    }

    fn run<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let timeout = Duration::from_secs(5);
        let connection = self.client.get_connection_with_timeout(timeout);
        let result = connection.and_then(|mut connection| {
            connection.set_read_timeout(Some(timeout))?;
            connection.set_write_timeout(Some(timeout))?;
            command.query(&mut connection)
        });
        result
            .inspect_err(
                |error| log::warn!(target: "socketio", "the admin sessions in Redis: {error}"),
            )
            .ok()
    }
}

#[cfg(feature = "redis")]
impl SessionStore for RedisSessions {
    fn save(&self, id: &str) {
        let key = format!("socket.io-admin#{id}");
        let seconds = SESSION_TIME.as_secs();
        let _: Option<()> = self.run(redis::cmd("SET").arg(key).arg("1").arg("EX").arg(seconds));
    }

    fn knows(&self, id: &str) -> bool {
        let key = format!("socket.io-admin#{id}");
        self.run(redis::cmd("EXISTS").arg(key)) == Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(json: &str) -> Value {
        Value::from_json(json).unwrap()
    }

    #[test]
    fn only_the_right_pair_comes_in() {
        let login = Login::pairs(vec![
            ("a".into(), "secret".into()),
            ("b".into(), "other".into()),
        ]);
        assert!(login.admits(&auth(r#"{"username":"a","password":"secret"}"#)));
        assert!(login.admits(&auth(r#"{"username":"b","password":"other"}"#)));
        for wrong in [
            r#"{"username":"a","password":"other"}"#,
            r#"{"username":"a","password":"secretsecret"}"#,
            r#"{"username":"a","password":"secre"}"#,
            r#"{"username":"a","password":""}"#,
            r#"{"username":"a"}"#,
            r#"{"username":"a","password":null}"#,
            "null",
        ] {
            assert!(!login.admits(&auth(wrong)), "{wrong}");
        }
        assert!(!is_same("", "x") && !is_same("x", "") && is_same("", ""));
    }

    #[cfg(feature = "bcrypt")]
    #[test]
    fn a_password_is_compared_with_its_hash() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let login = Login::hashed("a".into(), hash);
        assert!(login.admits(&auth(r#"{"username":"a","password":"secret"}"#)));
        assert!(!login.admits(&auth(r#"{"username":"a","password":"other"}"#)));
        assert!(!login.admits(&auth(r#"{"username":"b","password":"secret"}"#)));
        let broken = Login::hashed("a".into(), "no hash".into());
        assert!(!broken.admits(&auth(r#"{"username":"a","password":"secret"}"#)));
    }

    #[test]
    fn a_session_is_known_and_sessions_are_bounded() {
        let store = MemorySessions::default();
        for number in 0..MAX_SESSIONS + 5 {
            store.save(&number.to_string());
        }
        assert!(store.knows("10000") && !store.knows("none"));
        assert_eq!(store.0.lock().len(), MAX_SESSIONS);
    }
}
