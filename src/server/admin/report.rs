//! The thread that tells watchers of records and sums.

use super::watch::{Payload, Record};
use super::{AdminShared, signal};
use crate::data::{Args, Object, Value};
use crate::engineio::Transport;
use crate::reason::Reason;
use crate::server::Server;
use crate::server::metrics::Metrics;
use crate::server::socket::Socket;
use crate::util::program;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes that may wait for a watcher before records are dropped for it.
const MAX_WAITING: usize = 1 << 20;
/// Clients that a watcher is told of when it comes.
const MAX_SOCKETS: usize = 5_000;
/// Characters of the session's id that name a client in the UI. The whole id is a secret.
const CLIENT_ID_LEN: usize = 12;
/// Number of binary values of an event that are shown.
const MAX_BINARIES: usize = 5;
/// Fields of a request that are secrets.
const SECRETS: [&str; 5] = [
    "cookie",
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "x-csrf-token",
];

/// Runs the thread that reports what is noted, and the sums at an interval, until the channel ends.
pub(super) fn run(shared: &Arc<AdminShared>, records: &Receiver<(SystemTime, Record)>) {
    let begun = Instant::now();
    let mut next = begun + shared.admin.interval;
    let mut before = Sums::default();
    loop {
        let record = records.recv_deadline(next);
        let Some(server) = shared.server() else {
            return;
        };
        match record {
            Ok((time, record)) => {
                // It may be the last to hold a client, whose user session is then dropped here.
                if program::call(|| report(shared, &server, time, record)).is_err() {
                    log::error!(target: "socketio", "a user session's drop panicked");
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                // A thread that was late does not make up for it.
                next = Instant::now() + shared.admin.interval;
                before = tell_sums(shared, &server, begun, &before);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Sends an event to all watchers, here and elsewhere, but to those who do not read.
fn tell(shared: &AdminShared, server: &Server, event: &str, args: Args) {
    let namespace = server.of(&shared.admin.namespace);
    let watchers = namespace.sockets();
    let is_slow = |socket: &&Socket| socket.connection().handle().waiting_bytes() > MAX_WAITING;
    let slow: Vec<_> = watchers.iter().filter(is_slow).map(Socket::sid).collect();
    slow.iter().for_each(|_| server.inner.watch.note_dropped());
    let to = namespace.skip(&slow);
    let to = if server.inner.manager.is_single_node() {
        to.local()
    } else {
        to
    };
    if to.emit(event, args).is_err() {
        // The broker's queue is full.
        server.inner.watch.note_dropped();
    }
}

fn report(shared: &AdminShared, server: &Server, time: SystemTime, record: Record) {
    let time = Value::from(iso_time(time));
    let names = |socket: &Socket| {
        let namespace = Value::from(socket.namespace_name());
        (namespace, Value::from(socket.sid()))
    };
    let (event, args) = match record {
        Record::Connected(socket, rooms) => {
            let described = describe(shared, &socket, rooms);
            tell(
                shared,
                server,
                "socket_connected",
                Args(vec![described, time]),
            );
            return introduce(shared, &socket);
        }
        Record::Upgraded(socket) => {
            let (namespace, sid) = names(&socket);
            let transport = Value::from(socket.transport().as_str());
            let update = object([("id", sid), ("nsp", namespace), ("transport", transport)]);
            ("socket_updated", vec![update])
        }
        Record::Disconnected(socket, reason, rooms) => {
            let (namespace, sid) = names(&socket);
            let args = vec![namespace, sid, Value::from(words(reason)), time.clone()];
            tell(shared, server, "socket_disconnected", Args(args));
            for room in rooms {
                let (namespace, sid) = names(&socket);
                let args = vec![namespace, Value::from(room), sid, time.clone()];
                tell(shared, server, "room_left", Args(args));
            }
            return;
        }
        Record::Joined(socket, room) => {
            let (namespace, sid) = names(&socket);
            ("room_joined", vec![namespace, Value::from(room), sid, time])
        }
        Record::Left(socket, room) => {
            let (namespace, sid) = names(&socket);
            ("room_left", vec![namespace, Value::from(room), sid, time])
        }
        Record::Received(socket, name, payload) => {
            let (namespace, sid) = names(&socket);
            let args = match payload {
                Payload::Shown(args) => args.decode::<Args>(1).ok(),
                Payload::Large(bytes) => Some(large(bytes)),
            };
            let event = Value::Array(event_of(&name, args.unwrap_or_default()));
            ("event_received", vec![namespace, sid, event, time])
        }
        Record::Sent(socket, name, payload) => {
            let (namespace, sid) = names(&socket);
            let args = match payload {
                Payload::Shown(args) => args.to_args().ok(),
                Payload::Large(bytes) => Some(large(bytes)),
            };
            let event = Value::Array(event_of(&name, args.unwrap_or_default()));
            ("event_sent", vec![namespace, sid, event, time])
        }
    };
    tell(shared, server, event, Args(args));
}

fn large(bytes: usize) -> Args {
    Args(vec![Value::from(format!("<{bytes} bytes>"))])
}

fn event_of(name: &str, Args(args): Args) -> Vec<Value> {
    let name = std::iter::once(Value::from(name));
    let binaries: usize = args.iter().map(count_binaries).sum();
    if binaries <= MAX_BINARIES {
        return name.chain(args).collect();
    }
    name.chain(args.into_iter().map(without_bytes)).collect()
}

fn count_binaries(value: &Value) -> usize {
    match value {
        Value::Binary(_) => 1,
        Value::Array(items) => items.iter().map(count_binaries).sum(),
        Value::Object(entries) => entries.values().map(count_binaries).sum(),
        _ => 0,
    }
}

/// Replaces bytes, which are attachments, of which a packet has few: of more only the lengths are
/// shown.
fn without_bytes(value: Value) -> Value {
    match value {
        Value::Binary(bytes) => Value::from(format!("<{} bytes>", bytes.len())),
        Value::Array(items) => Value::Array(items.into_iter().map(without_bytes).collect()),
        Value::Object(entries) => {
            let entries = entries.into_iter();
            Value::Object(entries.map(|(key, it)| (key, without_bytes(it))).collect())
        }
        other => other,
    }
}

/// Returns the words of the reference implementation, which the UI groups.
fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::ClientDisconnect => "client namespace disconnect",
        Reason::ServerDisconnect => "server namespace disconnect",
        other => other.as_str(),
    }
}

/// The sums of an interval.
#[derive(Default)]
struct Sums(BTreeMap<(&'static str, Option<&'static str>), u64>);

impl Sums {
    fn of(metrics: &Metrics) -> Sums {
        let mut sums = BTreeMap::from([
            (("rawConnection", None), metrics.sessions_opened_total),
            (("packetsIn", None), metrics.messages_received_total),
            (("packetsOut", None), metrics.packets_sent_total),
            (("bytesIn", None), metrics.bytes_received_total),
            (("bytesOut", None), metrics.bytes_sent_total),
        ]);
        for (reason, count) in &metrics.sessions_closed_total {
            // Of a session that a client closes the reference implementation says the same.
            let words = match reason {
                Reason::ClientDisconnect => Reason::TransportClose.as_str(),
                other => other.as_str(),
            };
            let sum = sums.entry(("rawDisconnection", Some(words))).or_default();
            *sum += *count;
        }
        Sums(sums)
    }
}

/// Tells the sums, and whether anybody here watches.
fn tell_sums(shared: &Arc<AdminShared>, server: &Server, begun: Instant, before: &Sums) -> Sums {
    let namespace = server.of(&shared.admin.namespace);
    let has_watchers = !namespace.sockets().is_empty();
    if has_watchers {
        // One that was coming at the last look was not counted yet.
        server.inner.watch.begin();
    } else {
        server.inner.watch.stop_if_unwatched();
    }
    let is_alone = server.inner.manager.is_single_node();
    if has_watchers && !is_alone && shared.is_development() {
        // Other servers note what happens to their clients as long as they hear this.
        let _ = signal(server, shared, "watching", Vec::new());
    }
    let metrics = Metrics::sums_of(&server.inner);
    let sums = Sums::of(&metrics);
    if !has_watchers && is_alone {
        // What nobody hears is told to the next one.
        return sums;
    }
    let time = milliseconds(SystemTime::now()) / 1000 * 1000;
    let changed = sums.0.iter().filter_map(|(what, sum)| {
        let count = sum.wrapping_sub(before.0.get(what).copied().unwrap_or(0));
        let mut event = vec![
            ("timestamp", Value::from(time)),
            ("type", Value::from(what.0)),
        ];
        event.extend(what.1.map(|reason| ("subType", Value::from(reason))));
        event.push(("count", Value::from(count)));
        (count > 0).then(|| object(event))
    });
    let aggregated = Value::Array(changed.collect());
    let mut counts: BTreeMap<String, u64> = metrics.clients.iter().cloned().collect();
    for name in server.inner.handlers.get().names() {
        counts.entry(name.to_owned()).or_default();
    }
    let namespaces = counts.into_iter().map(|(name, count)| {
        object([
            ("name", Value::from(name)),
            ("socketsCount", Value::from(count)),
        ])
    });
    let sessions = metrics.sessions_polling + metrics.sessions_websocket;
    let stats = object([
        ("serverId", Value::from(shared.server_id.as_str())),
        ("hostname", Value::from(hostname())),
        ("pid", Value::from(std::process::id())),
        ("uptime", Value::from(begun.elapsed().as_secs_f64())),
        ("clientsCount", Value::from(sessions)),
        ("pollingClientsCount", Value::from(metrics.sessions_polling)),
        ("aggregatedEvents", aggregated),
        ("namespaces", Value::Array(namespaces.collect())),
    ]);
    tell(shared, server, "server_stats", Args(vec![stats]));
    sums
}

/// Returns what the UI may do, and what it is told.
pub(super) fn config(shared: &AdminShared) -> Value {
    let mut features = Vec::new();
    if !shared.admin.read_only {
        features.extend([
            "EMIT",
            "JOIN",
            "LEAVE",
            "DISCONNECT",
            "MJOIN",
            "MLEAVE",
            "MDISCONNECT",
        ]);
    }
    features.push("AGGREGATED_EVENTS");
    if shared.is_development() {
        features.push("ALL_EVENTS");
    }
    let features = features.into_iter().map(Value::from).collect();
    object([("supportedFeatures", Value::Array(features))])
}

/// Tells a watcher of the clients of this server. What was noted before is told before, and so it
/// misses nothing, and is told of nothing that it knows already.
pub(super) fn introduce(shared: &AdminShared, watcher: &Socket) {
    let is_watcher = watcher.namespace_name() == shared.admin.namespace;
    if let (true, Some(server)) = (is_watcher && shared.is_development(), shared.server()) {
        let all = all_sockets(shared, &server, watcher);
        if watcher.emit("all_sockets", (all,)).is_err() {
            server.inner.watch.note_dropped();
        }
    }
}

/// Returns the clients of this server, and the watcher itself.
fn all_sockets(shared: &AdminShared, server: &Server, own: &Socket) -> Value {
    let mut all = vec![describe(shared, own, own.rooms())];
    for socket in sockets(server) {
        if all.len() >= MAX_SOCKETS {
            log::warn!(target: "socketio", "an admin watcher is told of {MAX_SOCKETS} clients alone");
            break;
        }
        if socket != *own {
            all.push(describe(shared, &socket, socket.rooms()));
        }
    }
    Value::Array(all)
}

fn sockets(server: &Server) -> impl Iterator<Item = Socket> {
    let namespaces = server.namespaces().into_iter();
    namespaces.flat_map(|name| server.of(&name).sockets())
}

/// Tells a watcher of another server of the clients of this one.
pub(super) fn tell_of_clients(shared: &Arc<AdminShared>, server: &Server, watcher: &str) {
    let namespace = server.of(&shared.admin.namespace);
    if namespace.socket(watcher).is_some() || !shared.is_development() {
        return;
    }
    server.inner.watch.begin_for(shared.admin.interval);
    let (shared, server, watcher) = (Arc::clone(shared), server.clone(), watcher.to_owned());
    let inner = Arc::clone(&server.inner);
    // There may be many, and this is the thread that listens to the broker.
    crate::manager::LocalNode::execute(
        &*inner,
        Box::new(move || {
            let namespace = server.of(&shared.admin.namespace);
            let time = iso_time(SystemTime::now());
            for socket in sockets(&server).take(MAX_SOCKETS) {
                let described = describe(&shared, &socket, socket.rooms());
                let told = (described, time.as_str());
                if namespace
                    .to(&watcher)
                    .emit("socket_connected", told)
                    .is_err()
                {
                    server.inner.watch.note_dropped();
                }
            }
        }),
    );
}

/// Returns a client as the UI shows it.
fn describe(shared: &AdminShared, socket: &Socket, rooms: Vec<String>) -> Value {
    let request = socket.request();
    let is_shown = |name: &str| {
        shared.admin.shows_secrets || !SECRETS.iter().any(|it| it.eq_ignore_ascii_case(name))
    };
    let mut headers = Object::new();
    for (name, value) in request.headers().filter(|(name, _)| is_shown(name)) {
        let value = String::from_utf8_lossy(value).into_owned();
        headers.insert(name.to_ascii_lowercase(), Value::from(value));
    }
    let own = ["sid", "t"];
    let query = request.params().filter(|(name, _)| !own.contains(&&**name));
    let query = query.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())));
    let is_foreign = request.header("origin").is_some();
    let client = socket.session_id().get(..CLIENT_ID_LEN).unwrap_or_default();
    let address = match request.client_ip() {
        Some(address) => address.to_string(),
        None => request.peer_addr().to_string(),
    };
    let handshake = object([
        ("address", Value::from(address)),
        ("headers", Value::Object(headers)),
        ("query", Value::Object(query.collect())),
        ("issued", Value::from(milliseconds(request.time()))),
        ("secure", Value::from(request.is_secure())),
        ("time", Value::from(iso_time(request.time()))),
        (
            "url",
            Value::from(format!("{}?{}", request.path(), request.query())),
        ),
        ("xdomain", Value::from(is_foreign)),
    ]);
    let rooms = rooms.into_iter().map(Value::from);
    let transport = match socket.transport() {
        Transport::Polling => "polling",
        Transport::WebSocket => "websocket",
    };
    object([
        ("id", Value::from(socket.sid())),
        ("clientId", Value::from(client)),
        ("transport", Value::from(transport)),
        ("nsp", Value::from(socket.namespace_name())),
        ("data", Value::Object(Object::new())),
        ("handshake", handshake),
        ("rooms", Value::Array(rooms.collect())),
    ])
}

fn object<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries = entries.into_iter();
    Value::Object(
        entries
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn iso_time(time: SystemTime) -> String {
    crate::util::time::iso_8601(i64::try_from(milliseconds(time)).unwrap_or(i64::MAX))
}

/// Returns the name of this machine, and the number of this process.
pub(super) fn default_server_id() -> String {
    format!("{}#{}", hostname(), std::process::id())
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map_or_else(|| "localhost".to_owned(), |name| name.trim().to_owned())
}
