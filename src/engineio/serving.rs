//! Listeners on which sessions are served.
//!
//! In a circle with `driver`, `handshake` and `polling`: the methods of one `ServerDriver` stand
//! where their subject is.

use super::driver::{ServerCommand, ServerDriver};
use super::{Acceptor, EngineConfig, Fallback};
use crate::limits::clamp_duration;
use crate::net::http::Response;
use crate::net::stream::Stream;
use crate::net::{
    Command, CommandSender, ConnectionId, Executor, IoContext, IoShared, IoThreads, Listener,
    PeerAddr,
};
use crate::protocol::engineio::Revision;
use crate::protocol::engineio::server::ServerConfig;
use crate::util::rate::TokenBucket;
use crate::util::slots::{Slot, Slots};
use crate::util::sync::{Condvar, Mutex};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// State that the I/O threads of one server share.
#[derive(Debug)]
pub(super) struct EngineShared {
    site: Site,
    /// The configuration of its sessions, of revision 4 and of revision 3.
    session_configs: [Arc<ServerConfig>; 2],
    /// The sessions that are on polling: they need no connection that stays, and so have limits of
    /// their own.
    pub(super) polling: Arc<Slots>,
    /// The rates of handshakes, by address.
    handshakes: Mutex<HashMap<IpAddr, TokenBucket>>,
    pub(super) population: Arc<Population>,
}

impl Deref for EngineShared {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl EngineShared {
    /// Returns whether a request is for the sessions, and not for somebody else.
    pub(super) fn is_own(&self, path: &str) -> bool {
        if self.takes_bare_path && path == self.path.trim_end_matches('/') {
            return true;
        }
        let rest = path.strip_prefix(&self.path);
        rest.is_some_and(|rest| !(self.serves_client && is_client_file(rest)))
    }

    /// Returns the configuration of a session.
    pub(super) fn session_config(&self, revision: Revision) -> Arc<ServerConfig> {
        let [v4, v3] = &self.session_configs;
        Arc::clone(match revision {
            Revision::V4 => v4,
            Revision::V3 => v3,
        })
    }

    /// Returns whether an address opens sessions faster than it may.
    pub(super) fn is_too_fast(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let rate = self.config.limits.handshakes_per_second;
        let (Some(address), Some(new)) = (address, TokenBucket::new(rate, now)) else {
            return false;
        };
        let mut buckets = self.handshakes.lock();
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= MAX_BUCKETS {
                // As many addresses as that come at once: this one has to come again.
                return true;
            }
        }
        !buckets.entry(address).or_insert(new).try_take(now)
    }
}

/// Addresses whose rates of handshakes are known at once.
const MAX_BUCKETS: usize = 100_000;

/// Returns whether this is the name of a file of the official client's distribution.
fn is_client_file(name: &str) -> bool {
    let is_script = [".js", ".mjs", ".map"].iter().any(|it| name.ends_with(it));
    name.starts_with("socket.io") && is_script && !name.contains('/')
}

/// The number of sessions, for who waits until there is none.
#[derive(Debug, Default)]
pub(super) struct Population {
    count: AtomicUsize,
    /// Nobody new comes in.
    is_draining: AtomicBool,
    waiting: Mutex<()>,
    changed: Condvar,
}

/// One of the sessions, until this is dropped.
#[derive(Debug)]
pub(super) struct Resident(Arc<Population>);

impl Drop for Resident {
    fn drop(&mut self) {
        let before = self.0.count.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.0.is_draining.load(Ordering::SeqCst) {
            drop(self.0.waiting.lock());
            self.0.changed.notify_all();
        }
    }
}

impl Population {
    /// Admits one more, unless nobody new is admitted.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Resident> {
        self.count.fetch_add(1, Ordering::SeqCst);
        // Counted before it is asked: who drains meanwhile waits for this one.
        let resident = Resident(Arc::clone(self));
        (!self.is_draining.load(Ordering::SeqCst)).then_some(resident)
    }

    /// Lets nobody new in, and waits until nobody is left; false if that takes longer.
    fn drain(&self, timeout: Duration) -> bool {
        self.is_draining.store(true, Ordering::SeqCst);
        let by = Instant::now() + clamp_duration(timeout);
        let mut waiting = self.waiting.lock();
        while self.count.load(Ordering::SeqCst) > 0 {
            if self.changed.wait_until(&mut waiting, by).timed_out() {
                return self.count.load(Ordering::SeqCst) == 0;
            }
        }
        true
    }
}

/// The way of one answer to its request. If it is dropped without one, the answer is status 500.
pub(crate) struct Responder {
    /// None once there was an answer.
    sender: Option<CommandSender<Command<ServerCommand>>>,
    id: ConnectionId,
    /// A place among the connections, which counts until there is an answer, also if the connection has
    /// gone.
    _slot: Option<Slot>,
}

impl Responder {
    pub(super) fn new(io: &IoContext<ServerCommand>, id: ConnectionId) -> Responder {
        Responder {
            sender: Some(io.sender().clone()),
            id,
            _slot: io.take_slot(),
        }
    }

    pub(crate) fn respond(mut self, response: Response) {
        self.send(response);
    }

    fn send(&mut self, response: Response) {
        if let Some(sender) = self.sender.take() {
            sender.send(Command::Respond(self.id, response));
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.send(Response::text(500, "Internal Server Error"));
    }
}

/// Handler of the other requests.
pub(crate) struct FallbackHandler {
    pub(crate) answer: Arc<Fallback>,
    /// It reads bodies as they come.
    pub(crate) streams: bool,
}

impl std::fmt::Debug for FallbackHandler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FallbackHandler")
    }
}

/// What is served, and where.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) config: EngineConfig,
    /// `/socket.io/`
    pub(crate) path: String,
    pub(crate) acceptor: Arc<dyn Acceptor>,
    pub(crate) fallback: Option<FallbackHandler>,
    /// The path without its slash is the sessions', too.
    pub(crate) takes_bare_path: bool,
    /// The official client's files are at the path, too.
    pub(crate) serves_client: bool,
}

/// Listeners that are served.
#[derive(Debug)]
pub(crate) struct RunningEngine {
    threads: IoThreads<ServerCommand>,
    shared: Arc<EngineShared>,
}

impl RunningEngine {
    /// Starts the I/O threads.
    pub(crate) fn start(
        site: Site,
        listeners: Vec<Listener>,
        executor: Arc<dyn Executor>,
    ) -> io::Result<RunningEngine> {
        for listener in &listeners {
            match listener.local_addr() {
                Some(address) => log::info!(target: "engineio", "serving on {address}"),
                None => log::info!(target: "engineio", "serving on a Unix socket"),
            }
        }
        // A session's id ends with the number of its thread, in one byte.
        let count = site.config.io_threads().min(256);
        let options = IoShared {
            limits: site.config.limits.clone(),
            max_message: site.config.max_payload,
            executor,
            connections: Arc::default(),
            trusted_proxies: site.config.trusted_proxies.clone(),
            budget: OnceLock::new(),
        };
        let session_configs = [Revision::V4, Revision::V3]
            .map(|revision| Arc::new(site.config.session_config(revision)));
        let shared = Arc::new(EngineShared {
            site,
            session_configs,
            polling: Arc::default(),
            handshakes: Mutex::default(),
            population: Arc::default(),
        });
        let threads = IoThreads::start("io", listeners, count, options, || {
            ServerDriver::new(&shared)
        })?;
        Ok(RunningEngine { threads, shared })
    }

    /// Returns what lets nobody new in and waits until all sessions have ended; false if that takes
    /// longer than the time that it is given.
    pub(crate) fn drainer(&self) -> impl FnOnce(Duration) -> bool + use<> {
        let shared = Arc::clone(&self.shared);
        move |timeout| shared.population.drain(timeout)
    }

    /// Takes a connection in that somebody else has accepted, with what was read of it.
    pub(crate) fn adopt(&self, stream: Stream, peer: PeerAddr, unread: Vec<u8>) {
        self.threads.adopt(stream, peer, unread);
    }

    /// Ends all sessions and connections, by this time at the latest, and waits for it.
    pub(crate) fn stop(&mut self, by: Instant) {
        self.threads.stop(by);
        self.threads.join();
    }

    /// Asks for the same without waiting.
    pub(crate) fn start_shutdown(&self, by: Instant) {
        self.threads.stop(by);
    }
}
