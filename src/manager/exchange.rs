//! What a manager exchanges with its broker: a publisher's thread with its queue, a listener's, and
//! the answers that are awaited.

use super::backend::{Backend, Publisher, QueueError};
use super::pubsub::ManagerState;
use super::wire::{Invalid, Message, Object, Return, Writer, read};
use super::{AckRequest, Local};
use crate::dispatch::Answer;
use crate::error::Error;
use crate::limits::bounded;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// Bytes that may wait for the broker.
const QUEUE: usize = 1 << 20;
/// The first pause after a failure, and the longest; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// How long a listener waits for a message before it looks whether it is to stop.
const TURN: Duration = Duration::from_millis(250);
/// Servers whose last message is remembered.
const MAX_HOSTS: usize = 10_000;
/// How long an answer is relayed to a server that does not say how long it waits.
const RELAY: Duration = Duration::from_secs(60);

/// What the handles and the two threads share.
pub(super) struct Shared {
    pub(super) backend: Box<dyn Backend>,
    pub(super) options: Mutex<Options>,
    pub(super) writer: Writer,
    pub(super) local: OnceLock<Weak<dyn Local>>,
    pub(super) queue: Mutex<Queue>,
    /// The queue has changed.
    pub(super) changed: Condvar,
    pub(super) expected: Mutex<Expected>,
    pub(super) link: Mutex<Link>,
}

#[derive(Clone)]
pub(super) struct Options {
    pub(super) channel: String,
    pub(super) write_only: bool,
    pub(super) on_state: Option<Arc<dyn Fn(ManagerState) + Send + Sync>>,
}

/// What waits to be published.
pub(super) struct Queue {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    pub(super) limit: usize,
    next_seq: u64,
    /// Nothing more comes; what waits by then is lost.
    pub(super) ends_by: Option<Instant>,
    /// The publisher's connection is to be made anew: the listener's was lost.
    suspect: bool,
}

/// Answers that are awaited from other servers.
#[derive(Default)]
pub(super) struct Expected {
    next_id: u64,
    pub(super) waiting: HashMap<u64, Waiting>,
}

pub(super) struct Waiting {
    callback: Arc<dyn Fn(Result<Answer, Error>) + Send + Sync>,
    deadline: Instant,
    /// One client was asked: there is one answer, or none in time.
    single: bool,
}

/// How the two connections are.
pub(super) struct Link {
    publishes: bool,
    pub(super) hears: bool,
    pub(super) state: ManagerState,
}

impl Shared {
    pub(super) fn new(backend: Box<dyn Backend>) -> Shared {
        Shared {
            backend,
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
        }
    }

    /// Queues a message. Never waits.
    pub(super) fn push(&self, object: Object) -> Result<(), Error> {
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
    pub(super) fn publish(self: &Arc<Self>) {
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
    pub(super) fn listen(self: &Arc<Self>) {
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
            if self.is_ending() {
                // Nothing is lost: the publisher may still be at it.
                return;
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

    pub(super) fn change_state(&self, change: impl FnOnce(&mut Link)) {
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
    pub(super) fn expect(&self, ack: &AckRequest, single: bool) -> u64 {
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
