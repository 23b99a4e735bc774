//! The official Socket.IO Admin UI: what a server says of itself, and what an administrator may do with
//! it. See [`Server::instrument`] and the guide's chapter `monitoring`.
//!
//! The events are those of the reference implementation's `@socket.io/admin-ui` 0.5, in its order
//! but for `session`, which comes after the CONNECT answer: the UI listens no earlier. A client of the
//! namespace gets `session`, `config`, `all_sockets` with the clients that are there, and
//! `server_stats` every two seconds; then `socket_connected`, `socket_updated`, `socket_disconnected`,
//! `room_joined`, `room_left`, `event_received` and `event_sent`, each with the namespace, the sid and
//! the time. It is a client itself, and told of itself, too.

// A record is made where something happens (`Watch::record`), if anybody watches, and put into a
// bounded channel; a thread of its own makes an event of it for the watchers (`report`). In a
// cluster each server does so for its own clients, and the manager carries the events to the
// watchers of all. What an administrator asks for goes to every server as an event for a room
// without members, which each server looks at (`on_signal`).
//
// In a circle with the handles of the server: a record names a socket, and a socket records what it
// does.

mod login;
mod report;
mod watch;

#[cfg(feature = "redis")]
pub use login::RedisSessions;
pub use login::SessionStore;
pub(super) use watch::{Record, Watch};

use super::namespace::Namespace;
use super::socket::Socket;
use super::{Server, ServerInner};
use crate::data::{Args, Value};
use crate::engineio::block_in_place;
use crate::error::Error;
use crate::handlers::{Event, Refused};
use crate::limits::clamp_duration;
use crate::manager::Broadcast;
use crate::util::random;
use crossbeam_channel::bounded as channel;
use login::Login;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Weak;
use std::thread::JoinHandle;
use std::time::Duration;

/// Records that wait for the thread that reports them. More are dropped, and counted.
const MAX_RECORDS: usize = 10_000;

/// Room whose members are servers: an event for it is looked at by each of them, and by no client.
const SERVERS: &str = "\0admin";

/// Extent of what watchers are told.
///
/// ```
/// use socketio::admin::{Admin, Mode};
/// use socketio::Server;
///
/// let io = Server::new();
/// // Sums alone, without names of events and clients' data.
/// let admin = Admin::basic("admin", "secret").mode(Mode::Production);
/// let _instrumented = io.instrument(admin)?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Each client, room and event, as it happens.
    #[default]
    Development,
    /// Sums alone, at an interval.
    Production,
}

/// Options of a server's administration: who may see it, and what they see.
///
/// ```
/// use socketio::Server;
/// use socketio::admin::{Admin, Mode};
///
/// # fn main() -> Result<(), socketio::Error> {
/// let io = Server::builder().cors_allowed_origins("https://admin.socket.io").build();
/// let admin = Admin::basic("admin", "a long password").mode(Mode::Production);
/// let instrumented = io.instrument(admin)?;
/// // Dropping it takes everything back.
/// # Ok(())
/// # }
/// ```
pub struct Admin {
    login: Login,
    mode: Mode,
    read_only: bool,
    server_id: Option<String>,
    namespace: String,
    interval: Duration,
    shows_secrets: bool,
    max_payload: usize,
    ui: Option<(String, PathBuf)>,
}

impl Admin {
    /// Creates options that admit who knows this name and this password: `username` and `password` of
    /// the client's `auth`, an object. They are compared in a time that does not tell how much of them
    /// is right.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Admin {
        Admin::any_of([(username, password)])
    }

    /// Creates options that admit who knows one of these names and its password.
    pub fn any_of<U: Into<String>, P: Into<String>>(
        pairs: impl IntoIterator<Item = (U, P)>,
    ) -> Admin {
        let pairs = pairs.into_iter();
        let pairs = pairs.map(|(name, password)| (name.into(), password.into()));
        Admin::with(Login::pairs(pairs.collect()))
    }

    /// Creates options that admit who knows this name and the password of a bcrypt hash, as the
    /// reference implementation's `auth` has it: `$2b$10$...`.
    #[cfg(feature = "bcrypt")]
    pub fn basic_hashed(username: impl Into<String>, hash: impl Into<String>) -> Admin {
        Admin::with(Login::hashed(username.into(), hash.into()))
    }

    /// Creates options that admit whose `auth` a function approves of. The UI sends `username` and
    /// `password`, and after a reload `sessionId`, which is checked before. The function runs on a
    /// worker and may block.
    pub fn checked_by(check: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Admin {
        Admin::with(Login::function(Arc::new(check)))
    }

    /// Creates options that admit everybody: for a machine that nobody else reaches.
    pub fn without_auth() -> Admin {
        Admin::with(Login::open())
    }

    fn with(login: Login) -> Admin {
        Admin {
            login,
            mode: Mode::default(),
            read_only: false,
            server_id: None,
            namespace: "/admin".to_owned(),
            interval: Duration::from_secs(2),
            shows_secrets: false,
            max_payload: 4_096,
            ui: None,
        }
    }

    /// Sets how much is told. Defaults to [`Mode::Development`].
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Admin {
        self.mode = mode;
        self
    }

    /// Sets whether administrators may only look. Defaults to `false`: they may send events, move
    /// clients between rooms, and disconnect them.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Admin {
        self.read_only = read_only;
        self
    }

    /// Sets the name of the server, which must be another one for each server of a cluster. Defaults to
    /// the name of the machine and the number of the process.
    #[must_use]
    pub fn server_id(mut self, id: impl Into<String>) -> Admin {
        self.server_id = Some(id.into());
        self
    }

    /// Sets the namespace of the administrators. Defaults to `/admin`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Admin {
        self.namespace = namespace.into();
        self
    }

    /// Sets the interval of the sums. Defaults to 2 s; the UI takes a server for dead after 10 s.
    #[must_use]
    pub fn server_stats_interval(mut self, interval: Duration) -> Admin {
        self.interval = clamp_duration(interval).max(Duration::from_millis(10));
        self
    }

    /// Sets whether the fields `Cookie`, `Authorization` and the like of a client's request are shown.
    /// Defaults to `false`.
    #[must_use]
    pub fn show_secrets(mut self, show: bool) -> Admin {
        self.shows_secrets = show;
        self
    }

    /// Sets the bytes of an event's arguments up to which they are shown; of larger ones only the size
    /// is. Defaults to 4,096.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Admin {
        self.max_payload = bytes;
        self
    }

    /// Sets where the sessions of administrators are kept, so that a reload of the UI asks for no
    /// password. Defaults to the memory of this process.
    #[must_use]
    pub fn session_store(mut self, store: impl SessionStore) -> Admin {
        self.login.set_store(Arc::new(store));
        self
    }

    /// Serves the UI itself at `/admin-ui/`, from the directory of its built pages: `ui/dist` of the
    /// npm package `@socket.io/admin-ui`. The server must be instrumented before it is served.
    #[must_use]
    pub fn serve_ui(self, directory: impl Into<PathBuf>) -> Admin {
        self.serve_ui_at("/admin-ui", directory)
    }

    /// Does the same at another path.
    #[must_use]
    pub fn serve_ui_at(mut self, path: &str, directory: impl Into<PathBuf>) -> Admin {
        let path = format!("/{}", path.trim_matches('/'));
        self.ui = Some((path, directory.into()));
        self
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else there is may be a secret.
        formatter
            .debug_struct("Admin")
            .field("mode", &self.mode)
            .field("read_only", &self.read_only)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// State that the parts of an instrumented server share.
pub(super) struct AdminShared {
    admin: Admin,
    server_id: String,
    inner: Weak<ServerInner>,
}

impl AdminShared {
    fn server(&self) -> Option<Server> {
        self.inner.upgrade().map(|inner| Server { inner })
    }

    fn is_development(&self) -> bool {
        self.admin.mode == Mode::Development
    }
}

impl Server {
    /// Opens the server to administrators, who see and steer it by the official Socket.IO Admin UI:
    /// at <https://admin.socket.io>, or where [`Admin::serve_ui`] puts it. The value that this
    /// returns ends it when it is dropped.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is instrumented already, or the namespace has handlers,
    /// [`Error::Io`] if the system gives no thread.
    pub fn instrument(&self, admin: Admin) -> Result<Instrumented, Error> {
        let namespace = self.of(&admin.namespace);
        if self.inner.handlers.get().contains(&admin.namespace) {
            let why = format!("the namespace {:?} has handlers", admin.namespace);
            return Err(Error::InvalidArgument(why));
        }
        let server_id = admin.server_id.clone();
        let shared = Arc::new(AdminShared {
            server_id: server_id.unwrap_or_else(report::default_server_id),
            inner: Arc::downgrade(&self.inner),
            admin,
        });
        let (sender, records) = channel(MAX_RECORDS);
        if !self.inner.watch.install(&shared, sender) {
            return Err(Error::InvalidArgument(
                "the server is instrumented already".into(),
            ));
        }
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("socketio-admin".into())
            .spawn(move || report::run(&of_thread, &records));
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) => {
                self.inner.watch.remove();
                return Err(error.into());
            }
        };
        register(&namespace, &shared);
        Ok(Instrumented {
            server: self.clone(),
            namespace: shared.admin.namespace.clone(),
            thread: Some(thread),
        })
    }
}

/// The administration of a server, until it is dropped: then its administrators are disconnected, and
/// nothing of it stays.
///
/// ```
/// use socketio::admin::Admin;
/// use socketio::Server;
///
/// let io = Server::new();
/// let instrumented = io.instrument(Admin::basic("admin", "secret"))?;
/// // Nobody watches from here on.
/// drop(instrumented);
/// # Ok::<(), socketio::Error>(())
/// ```
#[must_use = "dropping it ends the administration: keep it, as in `let administration = ..`"]
pub struct Instrumented {
    server: Server,
    namespace: String,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Instrumented {
    fn drop(&mut self) {
        let inner = &self.server.inner;
        // The thread ends with the channel.
        inner.watch.remove();
        let before = inner
            .handlers
            .change(|handlers| handlers.remove(&self.namespace));
        drop(before);
        for socket in self.server.of(&self.namespace).sockets() {
            socket.disconnect();
        }
        if let Some(thread) = self.thread.take() {
            let _ = block_in_place(|| thread.join());
        }
    }
}

impl fmt::Debug for Instrumented {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Instrumented")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Registers what administrators do.
fn register(namespace: &Namespace, shared: &Arc<AdminShared>) {
    let of_connect = Arc::clone(shared);
    namespace.on_connect(move |socket: &Socket, auth: Value| welcome(&of_connect, socket, &auth));
    if shared.admin.read_only {
        return;
    }
    for request in ["emit", "join", "leave", "_disconnect"] {
        let shared = Arc::clone(shared);
        // Every server does its part of it, this one too.
        namespace.on(request, move |event: &Event| {
            let Args(args) = event.args()?;
            log::info!(target: "socketio", "an administrator asks for {request} {args:?}");
            match (request, shared.server()) {
                ("emit", Some(server)) => send(&server, &args),
                (_, Some(server)) => signal(&server, &shared, request, args),
                (_, None) => Ok(()),
            }
        });
    }
}

/// Notes that a client has come.
pub(super) fn note_connected(watch: &Watch, socket: &Socket) {
    let shared = watch.shared();
    let is_watcher = |it: &Arc<AdminShared>| socket.namespace_name() == it.admin.namespace;
    if shared.as_ref().is_some_and(is_watcher) {
        // Nobody was counted as watching until now.
        watch.begin();
    }
    if !watch.is_on() {
        return;
    }
    watch.push(Record::Joined(socket.clone(), socket.sid().to_owned()));
    let is_told = watch.push(Record::Connected(socket.clone(), socket.rooms()));
    // A watcher learns in any case of those that are there.
    if let (false, Some(shared)) = (is_told, shared) {
        report::introduce(&shared, socket);
    }
}

/// Admits an administrator, and tells what there is.
fn welcome(shared: &Arc<AdminShared>, socket: &Socket, auth: &Value) -> Result<(), Refused> {
    let Some(server) = shared.server() else {
        return Err(Refused::default());
    };
    let is_known = shared.admin.login.knows_session(auth);
    if !is_known && !shared.admin.login.admits(auth) {
        return Err(Refused::new("invalid credentials"));
    }
    let refused = |error: Error| Refused::new(error.to_string());
    if !is_known && let Some(id) = random::hex::<8>() {
        shared.admin.login.keep_session(&id);
        socket.emit("session", id).map_err(refused)?;
    }
    server.inner.watch.begin();
    let config = report::config(shared);
    socket.emit("config", (config,)).map_err(refused)?;
    // Others tell of their clients when they hear of a watcher.
    let told = signal(&server, shared, "watch", vec![socket.sid().into()]);
    told.map_err(refused)
}

/// Sends an administrator's event: namespace, room or client or null, name, arguments.
fn send(server: &Server, args: &[Value]) -> Result<(), Error> {
    let [
        Value::String(namespace),
        filter,
        Value::String(event),
        data @ ..,
    ] = args
    else {
        return Err(Error::InvalidArgument(
            "emit takes a namespace, a filter and a name".into(),
        ));
    };
    let namespace = server.of(namespace);
    let data = Args(data.to_vec());
    match filter {
        Value::String(room) => namespace.to(room).emit(event, data),
        Value::Null => namespace.emit(event, data),
        _ => Err(Error::InvalidArgument(
            "a filter is a room, a client or null".into(),
        )),
    }
}

/// Asks every server of the cluster for something.
fn signal(
    server: &Server,
    shared: &AdminShared,
    what: &str,
    args: Vec<Value>,
) -> Result<(), Error> {
    let namespace = server.of(&shared.admin.namespace);
    namespace.to(SERVERS).emit(what, Args(args))
}

/// Looks at an event that may be for the servers; returns whether it was.
pub(super) fn on_signal(inner: &ServerInner, broadcast: &Broadcast) -> bool {
    let rooms = broadcast.recipients.rooms.as_deref();
    if rooms.is_none_or(|rooms| rooms != [SERVERS]) {
        return false;
    }
    let Some(shared) = inner.watch.shared() else {
        return true;
    };
    let (Some(server), Ok(Args(args))) = (shared.server(), broadcast.data.to_args()) else {
        return true;
    };
    if *broadcast.namespace != *shared.admin.namespace {
        return true;
    }
    match (&*broadcast.event, &args[..]) {
        ("watch", [Value::String(watcher)]) => report::tell_of_clients(&shared, &server, watcher),
        ("watching", _) => inner.watch.begin_for(shared.admin.interval),
        _ if shared.admin.read_only => {}
        ("join", [Value::String(namespace), Value::String(room), filter @ ..]) => {
            for socket in selected(&server, namespace, filter.first()) {
                // Another client's own room cannot be entered, whoever asks.
                let _ = socket.enter_room(room);
            }
        }
        ("leave", [Value::String(namespace), Value::String(room), filter @ ..]) => {
            for socket in selected(&server, namespace, filter.first()) {
                let _ = socket.leave_room(room);
            }
        }
        ("_disconnect", [Value::String(namespace), close, filter @ ..]) => {
            for socket in selected(&server, namespace, filter.first()) {
                if close.as_bool() == Some(true) {
                    socket.disconnect_all();
                } else {
                    socket.disconnect();
                }
            }
        }
        _ => log::warn!(target: "socketio", "an administrator asks for something unknown"),
    }
    true
}

/// Returns the clients of this server that a filter names: a client, a room, or everybody.
fn selected(server: &Server, namespace: &str, filter: Option<&Value>) -> Vec<Socket> {
    let namespace = server.of(namespace);
    match filter {
        Some(Value::String(room)) => namespace.to(room).sockets(),
        None | Some(Value::Null) => namespace.sockets(),
        Some(_) => Vec::new(),
    }
}
