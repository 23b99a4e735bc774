//! A manager for servers that share a queue.

use super::wire::{Invalid, Message, Object, Return, Writer, read};
use super::{AckRequest, Emission, Local, Manager};
use crate::dispatch::Answer;
use crate::error::Error;
use crate::limits::bounded;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes that may wait for the broker.
const QUEUE: usize = 1 << 20;
/// How long the end of a manager waits for what has not been published.
const FLUSH: Duration = Duration::from_secs(5);
/// The first pause after a failure, and the longest; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// How long a listener waits for a message before it looks whether it is to stop.
const TURN: Duration = Duration::from_millis(250);
/// Servers whose last message is remembered.
const MAX_HOSTS: usize = 10_000;
/// How long an answer is relayed to a server that does not say how long it waits.
const RELAY: Duration = Duration::from_secs(60);

/// A queue that carries messages from each server to all: what a [`PubSubManager`] needs of a
/// broker.
///
/// ```
/// use socketio::Server;
/// use socketio::manager::{Backend, PubSubManager, Publisher, QueueError, Subscriber};
/// use std::sync::{Arc, Mutex, mpsc};
/// use std::time::Duration;
///
/// /// Servers of one process.
/// #[derive(Clone, Debug, Default)]
/// struct Hub(Arc<Mutex<Vec<mpsc::Sender<Vec<u8>>>>>);
///
/// impl Backend for Hub {
///     fn publisher(&self, _channel: &str) -> Result<Box<dyn Publisher>, QueueError> {
///         Ok(Box::new(self.clone()))
///     }
///
///     fn subscriber(&self, _channel: &str) -> Result<Box<dyn Subscriber>, QueueError> {
///         let (sender, receiver) = mpsc::channel();
///         self.0.lock().unwrap().push(sender);
///         Ok(Box::new(Ear(receiver)))
///     }
/// }
///
/// impl Publisher for Hub {
///     fn publish(&mut self, message: &[u8]) -> Result<(), QueueError> {
///         self.0.lock().unwrap().retain(|sender| sender.send(message.to_vec()).is_ok());
///         Ok(())
///     }
/// }
///
/// struct Ear(mpsc::Receiver<Vec<u8>>);
///
/// impl Subscriber for Ear {
///     fn next(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, QueueError> {
///         Ok(self.0.recv_timeout(timeout).ok())
///     }
/// }
///
/// let hub = Hub::default();
/// let one = Server::builder().manager(PubSubManager::new(hub.clone())).build();
/// let other = Server::builder().manager(PubSubManager::new(hub)).build();
/// # drop((one, other));
/// ```
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// Connects to publish on a channel. Blocks, on the publisher's thread.
    ///
    /// # Errors
    /// Why that failed: it is tried again, after growing pauses.
    fn publisher(&self, channel: &str) -> Result<Box<dyn Publisher>, QueueError>;

    /// Connects to listen to a channel: what is published once this has returned is heard. Blocks,
    /// on the listener's thread.
    ///
    /// # Errors
    /// Why that failed: it is tried again, after growing pauses.
    fn subscriber(&self, channel: &str) -> Result<Box<dyn Subscriber>, QueueError>;
}

/// A connection to publish over, used by one thread.
pub trait Publisher: Send {
    /// Publishes a message to everybody who listens to the channel. May block.
    ///
    /// # Errors
    /// Why that failed: another connection is made, and the message published again.
    fn publish(&mut self, message: &[u8]) -> Result<(), QueueError>;
}

/// A connection to listen over, used by one thread.
pub trait Subscriber: Send {
    /// The next message; none if there was none in time.
    ///
    /// # Errors
    /// Why the connection is lost: another one is made.
    fn next(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, QueueError>;
}

/// Any error of a queue.
pub type QueueError = Box<dyn std::error::Error + Send + Sync>;

/// Whether a manager reaches its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManagerState {
    /// It has not reached it yet, or has lost it, and is trying. The server goes on serving its own
    /// clients; what is published waits, as long as there is room.
    Disconnected,
    /// What is published goes out, and what others publish is heard.
    Connected,
    /// The manager has ended.
    Ended,
}

/// A manager for servers that share a queue: broadcasts, rooms, `call`, callbacks and disconnects
/// reach the clients of all of them. A cheap handle: clones are the same manager.
///
/// The messages are python-socketio's, so that its servers can be among them.
///
/// Each server hears what others have published since it was built; there is no record of what was
/// published before. Local clients are served first, and whatever becomes of the broker. When the
/// last handle is dropped, with its server, what waits is published, for 5 s at most.
#[derive(Clone)]
pub struct PubSubManager {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the handles and the two threads share.
struct Shared {
    backend: Box<dyn Backend>,
    options: Mutex<Options>,
    writer: Writer,
    local: OnceLock<Weak<dyn Local>>,
    queue: Mutex<Queue>,
    /// The queue has changed.
    changed: Condvar,
    expected: Mutex<Expected>,
    link: Mutex<Link>,
}

#[derive(Clone)]
struct Options {
    channel: String,
    write_only: bool,
    on_state: Option<Arc<dyn Fn(ManagerState) + Send + Sync>>,
}

/// What waits to be published.
struct Queue {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    limit: usize,
    next_seq: u64,
    /// Nothing more comes; what waits by then is lost.
    ends_by: Option<Instant>,
    /// The publisher's connection is to be made anew: the listener's was lost.
    suspect: bool,
}

/// Answers that are awaited from other servers.
#[derive(Default)]
struct Expected {
    next_id: u64,
    waiting: HashMap<u64, Waiting>,
}

struct Waiting {
    callback: Arc<dyn Fn(Result<Answer, Error>) + Send + Sync>,
    deadline: Instant,
    /// One client was asked: there is one answer, or none in time.
    single: bool,
}

/// How the two connections are.
struct Link {
    publishes: bool,
    hears: bool,
    state: ManagerState,
}

impl PubSubManager {
    /// A manager over a queue.
    #[must_use]
    pub fn new(backend: impl Backend) -> PubSubManager {
        let shared = Shared {
            backend: Box::new(backend),
            options: Mutex::new(Options {
                channel: "socketio".into(),
                write_only: false,
                on_state: None,
            }),
            writer: Writer::new(new_host()),
            local: OnceLock::new(),
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                bytes: 0,
                limit: QUEUE,
                next_seq: 0,
                ends_by: None,
                suspect: false,
            }),
            changed: Condvar::new(),
            expected: Mutex::default(),
            link: Mutex::new(Link {
                publishes: false,
                hears: false,
                state: ManagerState::Disconnected,
            }),
        };
        PubSubManager {
            inner: Arc::new(Inner {
                shared: Arc::new(shared),
                threads: Mutex::default(),
            }),
        }
    }

    /// The name under which its servers find each other. `socketio`.
    #[must_use]
    pub fn channel(self, channel: &str) -> Self {
        self.inner.shared.options.lock().channel = channel.to_owned();
        self
    }

    /// Only publishes, for programs that are no server: there is no listener, callbacks and `call`
    /// are errors. A [`Server`](crate::Server) with it need not be served.
    #[must_use]
    pub fn write_only(self) -> Self {
        self.inner.shared.options.lock().write_only = true;
        self
    }

    /// Bytes that may wait for the broker; more is an error at the call. 1 MiB.
    #[must_use]
    pub fn max_queue_size(self, bytes: usize) -> Self {
        self.inner.shared.queue.lock().limit = bytes;
        self
    }

    /// Calls a function whenever [`state`](PubSubManager::state) changes, on one of the manager's
    /// threads. Nothing.
    #[must_use]
    pub fn on_state(self, function: impl Fn(ManagerState) + Send + Sync + 'static) -> Self {
        self.inner.shared.options.lock().on_state = Some(Arc::new(function));
        self
    }

    /// Whether it reaches its broker.
    pub fn state(&self) -> ManagerState {
        self.inner.shared.link.lock().state
    }

    fn local(&self) -> Option<Arc<dyn Local>> {
        self.inner.shared.local.get().and_then(Weak::upgrade)
    }

    /// Whether a client is here.
    fn is_here(&self, namespace: &str, sid: &str) -> bool {
        self.local()
            .is_some_and(|local| local.is_connected(namespace, sid))
    }
}

impl Manager for PubSubManager {
    fn start(&self, local: Weak<dyn Local>) {
        let shared = &self.inner.shared;
        assert!(
            shared.local.set(local).is_ok(),
            "a PubSubManager is for one server"
        );
        let write_only = shared.options.lock().write_only;
        shared.link.lock().hears = write_only;
        let mut threads = self.inner.threads.lock();
        let mut start = |name: &str, run: fn(&Arc<Shared>)| {
            let shared = Arc::clone(shared);
            let spawned = std::thread::Builder::new()
                .name(name.into())
                .spawn(move || run(&shared));
            match spawned {
                Ok(handle) => threads.push(handle),
                Err(error) => log::error!(target: "socketio", "{name}: no thread: {error}"),
            }
        };
        start("socketio-publish", Shared::publish);
        if !write_only {
            start("socketio-listen", Shared::listen);
        }
    }

    fn emit(&self, emission: &Emission) -> Result<(), Error> {
        let shared = &self.inner.shared;
        if let Some(ack) = &emission.ack {
            return self.emit_with_ack(emission, ack);
        }
        if let Some(local) = self.local() {
            local.emit(emission)?;
        }
        shared.push(shared.writer.emit(emission, None))
    }

    fn enter_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        if let Some(local) = self.local().filter(|it| it.is_connected(namespace, sid)) {
            return local.enter_room(namespace, sid, room);
        }
        let shared = &self.inner.shared;
        shared.push(shared.writer.enter_room(namespace, sid, room))
    }

    fn leave_room(&self, namespace: &str, sid: &str, room: &str) -> Result<(), Error> {
        if let Some(local) = self.local().filter(|it| it.is_connected(namespace, sid)) {
            return local.leave_room(namespace, sid, room);
        }
        let shared = &self.inner.shared;
        shared.push(shared.writer.leave_room(namespace, sid, room))
    }

    fn close_room(&self, namespace: &str, room: &str) -> Result<(), Error> {
        if let Some(local) = self.local() {
            local.close_room(namespace, room)?;
        }
        let shared = &self.inner.shared;
        shared.push(shared.writer.close_room(namespace, room))
    }

    fn disconnect(&self, namespace: &str, sid: &str) {
        if self
            .local()
            .is_some_and(|local| local.disconnect(namespace, sid))
        {
            return;
        }
        let shared = &self.inner.shared;
        if let Err(error) = shared.push(shared.writer.disconnect(namespace, sid)) {
            log::warn!(target: "socketio", "a client of another server is not disconnected: {error}");
        }
    }
}

impl PubSubManager {
    fn emit_with_ack(&self, emission: &Emission, ack: &AckRequest) -> Result<(), Error> {
        let shared = &self.inner.shared;
        if shared.options.lock().write_only {
            let why = "a write-only manager hears no answers: callbacks and call need a server";
            return Err(Error::Invalid(why.into()));
        }
        // A sid is in one place: nobody else need be asked.
        let single = emission
            .recipients
            .rooms
            .as_deref()
            .and_then(|rooms| match rooms {
                [one] => Some(one.as_str()),
                _ => None,
            });
        let here = single.is_some_and(|sid| self.is_here(&emission.namespace, sid));
        if let Some(local) = self.local() {
            local.emit(emission)?;
        }
        if here {
            return Ok(());
        }
        let id = shared.expect(ack, single.is_some());
        let object = shared.writer.emit(emission, Some((id, ack.timeout)));
        shared.push(object).inspect_err(|_| {
            shared.expected.lock().waiting.remove(&id);
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let by = Instant::now() + FLUSH;
        self.shared.queue.lock().ends_by = Some(by);
        self.shared.changed.notify_all();
        for handle in self.threads.lock().drain(..) {
            // The last handle may go on one of them.
            if handle.thread().id() != std::thread::current().id() {
                let _ = handle.join();
            }
        }
        self.shared
            .change_state(|link| link.state = ManagerState::Ended);
    }
}

impl fmt::Debug for PubSubManager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PubSubManager")
            .field("backend", &self.inner.shared.backend)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Queues a message. Never waits.
    fn push(&self, object: Object) -> Result<(), Error> {
        let mut queue = self.queue.lock();
        let seq = queue.next_seq;
        let message = object.finish(seq);
        if queue.bytes > 0 && queue.bytes + message.len() > queue.limit {
            return Err(Error::TooMuch("messages wait for the broker"));
        }
        queue.next_seq += 1;
        queue.bytes += message.len();
        queue.messages.push_back(message);
        drop(queue);
        self.changed.notify_all();
        Ok(())
    }

    /// The publisher's thread.
    fn publish(self: &Arc<Self>) {
        let channel = self.options.lock().channel.clone();
        let mut connection: Option<Box<dyn Publisher>> = None;
        let mut pause = PAUSES.0;
        loop {
            if connection.is_none() {
                match self.backend.publisher(&channel) {
                    Ok(made) => {
                        connection = Some(made);
                        pause = PAUSES.0;
                        self.change_state(|link| link.publishes = true);
                    }
                    Err(error) => {
                        log::debug!(target: "socketio", "the broker is not reached to publish: {error}");
                        if self.is_over_after(pause) {
                            return;
                        }
                        pause = (pause * 2).min(PAUSES.1);
                        continue;
                    }
                }
            }
            let Some(message) = self.next_message(&mut connection) else {
                return;
            };
            let Some(publisher) = &mut connection else {
                continue;
            };
            match publisher.publish(&message) {
                Ok(()) => self.published(&message),
                // It is published again; who has heard it knows it by its number.
                Err(error) => self.lose(&mut connection, &error),
            }
        }
    }

    /// Waits for a message, which stays in the queue until it is published; none when all is over.
    fn next_message(&self, connection: &mut Option<Box<dyn Publisher>>) -> Option<Vec<u8>> {
        let mut queue = self.queue.lock();
        loop {
            if std::mem::take(&mut queue.suspect) {
                *connection = None;
            }
            if connection.is_none() {
                drop(queue);
                self.change_state(|link| link.publishes = false);
                return Some(Vec::new());
            }
            if let Some(message) = queue.messages.front() {
                if queue.ends_by.is_some_and(|by| by <= Instant::now()) {
                    log::warn!(target: "socketio", "{} messages were not published", queue.messages.len());
                    return None;
                }
                return Some(message.clone());
            }
            if queue.ends_by.is_some() {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    fn published(&self, message: &[u8]) {
        let mut queue = self.queue.lock();
        queue.bytes -= message.len();
        queue.messages.pop_front();
    }

    fn lose(&self, connection: &mut Option<Box<dyn Publisher>>, error: &QueueError) {
        log::debug!(target: "socketio", "publishing failed: {error}");
        *connection = None;
        self.change_state(|link| link.publishes = false);
    }

    /// Waits, unless it is to end; gives whether it is.
    fn is_over_after(&self, pause: Duration) -> bool {
        let mut queue = self.queue.lock();
        let until = Instant::now() + pause;
        loop {
            let now = Instant::now();
            let over = match queue.ends_by {
                Some(by) => by <= now || queue.messages.is_empty(),
                None => false,
            };
            if over || until <= now {
                return over;
            }
            let at = queue.ends_by.map_or(until, |by| by.min(until));
            self.changed.wait_until(&mut queue, at);
        }
    }

    /// The listener's thread.
    fn listen(self: &Arc<Self>) {
        let channel = self.options.lock().channel.clone();
        let mut pause = PAUSES.0;
        let mut heard = HashMap::new();
        while !self.is_ending() {
            let mut connection = match self.backend.subscriber(&channel) {
                Ok(connection) => connection,
                Err(error) => {
                    log::debug!(target: "socketio", "the broker is not reached to listen: {error}");
                    self.sleep(pause);
                    pause = (pause * 2).min(PAUSES.1);
                    continue;
                }
            };
            pause = PAUSES.0;
            self.change_state(|link| link.hears = true);
            while !self.is_ending() {
                match connection.next(TURN) {
                    Ok(Some(message)) => self.hear(&message, &mut heard),
                    Ok(None) => {}
                    Err(error) => {
                        log::debug!(target: "socketio", "listening failed: {error}");
                        break;
                    }
                }
                self.expire();
            }
            self.change_state(|link| link.hears = false);
            // The publisher's connection may be as dead, and not know it.
            self.queue.lock().suspect = true;
            self.changed.notify_all();
        }
    }

    fn is_ending(&self) -> bool {
        self.queue.lock().ends_by.is_some()
    }

    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.is_ending() && Instant::now() < until {
            self.expire();
            std::thread::sleep(TURN.min(pause));
        }
    }

    fn change_state(&self, change: impl FnOnce(&mut Link)) {
        let mut link = self.link.lock();
        let before = link.state;
        change(&mut link);
        if link.state != ManagerState::Ended {
            link.state = if link.publishes && link.hears {
                ManagerState::Connected
            } else {
                ManagerState::Disconnected
            };
        }
        let state = link.state;
        drop(link);
        if state == before {
            return;
        }
        match state {
            ManagerState::Connected => log::info!(target: "socketio", "the broker is reached"),
            ManagerState::Disconnected => log::warn!(target: "socketio", "the broker is lost"),
            ManagerState::Ended => log::debug!(target: "socketio", "the manager has ended"),
        }
        let function = self.options.lock().on_state.clone();
        if let Some(function) = function {
            function(state);
        }
    }

    /// Acts on a message of another server.
    fn hear(self: &Arc<Self>, bytes: &[u8], heard: &mut HashMap<String, u64>) {
        let incoming = match read(bytes) {
            Ok(incoming) => incoming,
            Err(invalid) => return drop_message(invalid),
        };
        let is_own = incoming.host == self.writer.host();
        if let Message::Callback { id, answer } = incoming.message {
            // Its host is the one that has asked.
            if is_own {
                self.answer(id, answer);
            }
            return;
        }
        if is_own {
            return;
        }
        if let Some(seq) = incoming.seq {
            if heard.get(&incoming.host).is_some_and(|last| seq <= *last) {
                return;
            }
            if heard.len() >= MAX_HOSTS {
                heard.clear();
            }
            heard.insert(incoming.host, seq);
        }
        if let Some(local) = self.local.get().and_then(Weak::upgrade) {
            self.apply(&*local, incoming.message);
        }
    }

    fn apply(self: &Arc<Self>, local: &dyn Local, message: Message) {
        let done = match message {
            Message::Emit(emission, None) => local.emit(&emission),
            Message::Emit(mut emission, Some(back)) => {
                emission.ack = Some(self.relay(back));
                local.emit(&emission)
            }
            Message::Disconnect { namespace, sid } => {
                local.disconnect(&namespace, &sid);
                Ok(())
            }
            Message::EnterRoom {
                namespace,
                sid,
                room,
            } if local.is_connected(&namespace, &sid) => local.enter_room(&namespace, &sid, &room),
            Message::LeaveRoom {
                namespace,
                sid,
                room,
            } if local.is_connected(&namespace, &sid) => local.leave_room(&namespace, &sid, &room),
            Message::CloseRoom { namespace, room } => local.close_room(&namespace, &room),
            Message::EnterRoom { .. } | Message::LeaveRoom { .. } | Message::Callback { .. } => {
                Ok(())
            }
        };
        if let Err(error) = done {
            log::warn!(target: "socketio", "a message of another server was not acted on: {error}");
        }
    }

    /// Sends the answers to an event of another server back to it.
    fn relay(self: &Arc<Self>, back: Return) -> AckRequest {
        let shared = Arc::downgrade(self);
        let timeout = back.timeout.unwrap_or(RELAY);
        let callback = move |answer: Result<Answer, Error>| {
            // Who has not answered in time is not waited for there either.
            if let (Ok(answer), Some(shared)) = (answer, shared.upgrade())
                && let Err(error) = shared.push(shared.writer.callback(&back, &answer))
            {
                log::warn!(target: "socketio", "an answer for another server is lost: {error}");
            }
        };
        AckRequest {
            callback: Arc::new(callback),
            timeout: bounded(timeout),
        }
    }

    /// Expects answers from other servers; gives the id under which they come.
    fn expect(&self, ack: &AckRequest, single: bool) -> u64 {
        let mut expected = self.expected.lock();
        expected.next_id += 1;
        let id = expected.next_id;
        let waiting = Waiting {
            callback: Arc::clone(&ack.callback),
            deadline: Instant::now() + bounded(ack.timeout),
            single,
        };
        expected.waiting.insert(id, waiting);
        id
    }

    /// An answer has come from another server.
    fn answer(&self, id: u64, answer: Answer) {
        let mut expected = self.expected.lock();
        let Some(waiting) = expected.waiting.get(&id) else {
            return;
        };
        let callback = Arc::clone(&waiting.callback);
        if waiting.single {
            expected.waiting.remove(&id);
        }
        drop(expected);
        self.execute(move || callback(Ok(answer)));
    }

    /// Tells those whose answers have not come in time.
    fn expire(&self) {
        let now = Instant::now();
        let mut expected = self.expected.lock();
        if expected.waiting.is_empty() {
            return;
        }
        let late = expected.waiting.extract_if(|_, it| it.deadline <= now);
        let late: Vec<_> = late.map(|(_, waiting)| waiting).collect();
        drop(expected);
        for Waiting {
            callback, single, ..
        } in late
        {
            // Of a room nobody knows how many were to answer.
            if single {
                self.execute(move || callback(Err(Error::Timeout)));
            }
        }
    }

    /// Runs a function of the program where it may block.
    fn execute(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(local) = self.local.get().and_then(Weak::upgrade) {
            local.execute(Box::new(job));
        }
    }
}

fn drop_message(why: Invalid) {
    log::warn!(target: "socketio", "a message of the broker is dropped: {why}");
}

/// 32 hexadecimal digits, as python-socketio's.
fn new_host() -> String {
    let mut bytes = [0; 16];
    // Without random bytes there is no session either, and so nobody to tell apart.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart() {
        assert_eq!(new_host().len(), 32);
        assert_ne!(new_host(), new_host());
    }
}
