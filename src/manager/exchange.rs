//! What a manager exchanges with its broker: a publisher's thread with its queue, a listener's, and
//! the answers that are awaited.

use super::attempts::{Attempts, PAUSES};
use super::awaited::Awaited;
use super::backend::{Backend, Publisher, QueueError, TURN};
use super::pubsub::ManagerState;
use super::seen::Seen;
use super::wire::{Invalid, Message, Object, Return, Writer, read};
use super::{AckRequest, Local};
use crate::dispatch::Answer;
use crate::error::{ConnectError, Error};
use crate::limits::bounded;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// Bytes that may wait for the broker.
const QUEUE: usize = 1 << 20;
/// Messages, and bytes, that are published at once.
const BATCH: (usize, usize) = (64, 1 << 18);
/// How long what waits for a broker that was away goes on waiting, for the others to listen again.
const GRACE: Duration = Duration::from_millis(1_500);
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
    pub(super) awaited: Awaited,
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
    messages: VecDeque<Bytes>,
    bytes: usize,
    pub(super) limit: usize,
    next_seq: u64,
    /// Nothing more comes; what waits by then is lost.
    ends_by: Option<Instant>,
    /// The publisher's connection is to be made anew: the listener's was lost.
    suspect: bool,
    /// Somebody has waited for it to be published, and has given up.
    given_up: bool,
    /// How many of the two threads run.
    running: usize,
}

/// How the two connections are.
pub(super) struct Link {
    publishes: bool,
    pub(super) hears: bool,
    pub(super) state: ManagerState,
    /// Why it is not reached was said.
    warned: bool,
    /// Why it is not reached.
    failure: Option<String>,
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
                given_up: false,
                running: 0,
            }),
            changed: Condvar::new(),
            awaited: Awaited::default(),
            link: Mutex::new(Link {
                publishes: false,
                hears: false,
                state: ManagerState::Disconnected,
                warned: false,
                failure: None,
            }),
        }
    }

    /// Queues a message. Never waits.
    pub(super) fn push(&self, object: Object) -> Result<(), Error> {
        // A program's own backend is not asked under the lock.
        let limit = self.backend.max_message_size();
        let mut queue = self.queue.lock();
        let seq = queue.next_seq;
        let message = Bytes::from(object.finish(seq));
        if message.len() > limit {
            return Err(Error::TooMuch("bytes are in one message for the broker"));
        }
        if queue.bytes > 0 && queue.bytes + message.len() > queue.limit {
            return Err(Error::TooMuch("messages wait for the broker"));
        }
        queue.next_seq += 1;
        queue.bytes += message.len();
        queue.messages.push_back(message);
        queue.given_up = false;
        drop(queue);
        self.changed.notify_all();
        Ok(())
    }

    /// Starts the publisher's thread, and the listener's.
    pub(super) fn start(self: &Arc<Self>, listens: bool) -> Vec<ThreadId> {
        let mut threads = Vec::new();
        let mut start = |name: &str, run: fn(&Arc<Shared>)| {
            let shared = Arc::clone(self);
            let run = move || {
                // A program's own backend may panic.
                while catch_unwind(AssertUnwindSafe(|| run(&shared))).is_err() {
                    log::error!(target: "socketio", "a manager's thread panicked, and begins again");
                    shared.suspect();
                    if shared.is_over_after(PAUSES.1) {
                        break;
                    }
                }
                shared.queue.lock().running -= 1;
                shared.changed.notify_all();
            };
            self.queue.lock().running += 1;
            match thread::Builder::new().name(name.into()).spawn(run) {
                Ok(handle) => threads.push(handle.thread().id()),
                Err(error) => {
                    self.queue.lock().running -= 1;
                    log::error!(target: "socketio", "{name}: no thread: {error}");
                }
            }
        };
        start("socketio-publish", Shared::publish);
        if listens {
            start("socketio-listen", Shared::listen);
        }
        threads
    }

    /// Lets the threads end, and waits for them, unless one of them is what waits.
    pub(super) fn end(&self, flush: Duration, is_own_thread: bool) {
        let by = Instant::now() + flush;
        let mut queue = self.queue.lock();
        // Who has waited in vain is not kept any longer.
        let by = if queue.given_up { Instant::now() } else { by };
        queue.ends_by = Some(by);
        self.changed.notify_all();
        // What hangs in the system's hands is left to it.
        while queue.running > usize::from(is_own_thread)
            && !self.changed.wait_until(&mut queue, by + TURN).timed_out()
        {}
    }

    /// Waits until nothing waits to be published.
    pub(super) fn flush(&self, timeout: Duration) -> Result<(), Error> {
        let by = Instant::now() + bounded(timeout);
        let mut queue = self.queue.lock();
        while !queue.messages.is_empty() {
            if self.changed.wait_until(&mut queue, by).timed_out() {
                queue.given_up = true;
                drop(queue);
                return Err(match &self.link.lock().failure {
                    Some(why) => {
                        let text = format!("the broker is not reached: {why}");
                        Error::Connection(ConnectError::new(text))
                    }
                    None => Error::Timeout,
                });
            }
        }
        Ok(())
    }

    /// The publisher's thread.
    fn publish(self: &Arc<Self>) {
        let channel = self.options.lock().channel.clone();
        let mut connection: Option<Box<dyn Publisher>> = None;
        let mut was_away = false;
        let mut attempts = Attempts::new();
        loop {
            if connection.is_none() {
                match self.backend.publisher(&channel) {
                    Ok(made) => {
                        connection = Some(made);
                        attempts.succeeded();
                        if std::mem::take(&mut was_away) && self.is_over_after_others_listen() {
                            return;
                        }
                        self.change_state(|link| link.publishes = true);
                    }
                    Err(error) => {
                        self.complain("publish", &error);
                        was_away = true;
                        if self.is_over_after(attempts.pause()) {
                            return;
                        }
                        continue;
                    }
                }
            }
            let Some(batch) = self.next_batch(&mut connection) else {
                return;
            };
            let Some(publisher) = &mut connection else {
                was_away = true;
                continue;
            };
            match publisher.publish_all(&batch) {
                Ok(()) => self.published(&batch),
                // It is published again; who has heard it knows it by its number.
                Err(error) => {
                    self.complain("publish", &error);
                    was_away = true;
                    connection = None;
                    self.change_state(|link| link.publishes = false);
                    if self.is_over_after(attempts.pause()) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for messages, which stay in the queue until they are published; none when all is over.
    fn next_batch(&self, connection: &mut Option<Box<dyn Publisher>>) -> Option<Vec<Bytes>> {
        let mut queue = self.queue.lock();
        loop {
            if std::mem::take(&mut queue.suspect) {
                drop(queue);
                // Not under the lock: ending a connection may take a while.
                *connection = None;
                self.change_state(|link| link.publishes = false);
                return Some(Vec::new());
            }
            if !queue.messages.is_empty() {
                if queue.ends_by.is_some_and(|by| by <= Instant::now()) {
                    let count = queue.messages.len();
                    drop(queue);
                    log::warn!(target: "socketio", "{count} messages were not published");
                    return None;
                }
                let mut room = BATCH.1;
                let fits = |it: &&Bytes| {
                    let fits = room > 0;
                    room = room.saturating_sub(it.len());
                    fits
                };
                let first = queue.messages.iter().take(BATCH.0).take_while(fits);
                return Some(first.cloned().collect());
            }
            if queue.ends_by.is_some() {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    fn published(&self, batch: &[Bytes]) {
        let mut queue = self.queue.lock();
        queue.bytes -= batch.iter().map(Bytes::len).sum::<usize>();
        queue.messages.drain(..batch.len());
        if queue.messages.is_empty() {
            self.changed.notify_all();
        }
    }

    /// Waits until this server listens again, and the others have had time to; gives whether it is to
    /// end.
    fn is_over_after_others_listen(&self) -> bool {
        let by = Instant::now() + GRACE * 4;
        // At the end the listener has gone already, and is not waited for.
        while !self.is_ending() && !self.link.lock().hears && Instant::now() < by {
            if self.is_over_after(TURN / 10) {
                return true;
            }
        }
        self.is_over_after(GRACE)
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
        let mut attempts = Attempts::new();
        let mut seen = Seen::default();
        while !self.is_ending() {
            let mut connection = match self.backend.subscriber(&channel) {
                Ok(connection) => connection,
                Err(error) => {
                    self.complain("listen", &error);
                    self.sleep(attempts.pause());
                    continue;
                }
            };
            attempts.succeeded();
            self.change_state(|link| link.hears = true);
            let listened = connection.listen(&mut |message| {
                if let Some(message) = message {
                    self.hear(message, &mut seen);
                }
                self.expire();
                !self.is_ending()
            });
            if let Err(error) = listened {
                self.complain("listen", &error);
            }
            if self.is_ending() {
                // Nothing is lost: the publisher may still be at it.
                return;
            }
            self.suspect();
            drop(connection);
            self.sleep(attempts.pause());
        }
    }

    /// The listener's connection is lost. The publisher's may be as dead, and not know it.
    fn suspect(&self) {
        self.queue.lock().suspect = true;
        self.change_state(|link| {
            link.hears = false;
            link.publishes = false;
        });
        self.changed.notify_all();
    }

    fn is_ending(&self) -> bool {
        self.queue.lock().ends_by.is_some()
    }

    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.is_ending() && Instant::now() < until {
            self.expire();
            thread::sleep(TURN.min(pause));
        }
    }

    /// Logs a failure, once until the broker is reached again.
    fn complain(&self, what: &str, error: &QueueError) {
        let mut link = self.link.lock();
        link.failure = Some(error.to_string());
        let warned = std::mem::replace(&mut link.warned, true);
        drop(link);
        if warned {
            log::debug!(target: "socketio", "the broker is not reached to {what}: {error}");
        } else {
            log::warn!(target: "socketio", "the broker is not reached to {what}: {error}");
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
        if state == ManagerState::Connected {
            link.warned = false;
            link.failure = None;
        }
        drop(link);
        if state == before {
            return;
        }
        match state {
            ManagerState::Connected => log::info!(target: "socketio", "the broker is reached"),
            // That was said, with the reason.
            ManagerState::Disconnected => {}
            ManagerState::Ended => log::debug!(target: "socketio", "the manager has ended"),
        }
        let function = self.options.lock().on_state.clone();
        let tell = || function.map(|function| function(state));
        if catch_unwind(AssertUnwindSafe(tell)).is_err() {
            log::error!(target: "socketio", "the function for a manager's state panicked");
        }
    }

    /// Acts on a message of another server.
    fn hear(self: &Arc<Self>, bytes: &[u8], seen: &mut Seen) {
        let incoming = match read(bytes) {
            Ok(incoming) => incoming,
            Err(invalid) => return drop_message(invalid),
        };
        let is_own = incoming.host == self.writer.host();
        let (is_answer, from) = match &incoming.message {
            // Its host is the one that has asked.
            Message::Callback { .. } => (true, incoming.from),
            _ => (false, Some(incoming.host)),
        };
        if is_own != is_answer {
            return;
        }
        if let (Some(from), Some(seq)) = (from, incoming.seq)
            && !seen.is_new(from, seq)
        {
            return;
        }
        if let Message::Callback { id, answer } = incoming.message {
            return self.answer(id, answer);
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
            tells_of_nobody: false,
            timeout: bounded(timeout),
        }
    }

    /// An answer has come from another server. There may be more: a name may be a room's.
    fn answer(&self, id: u64, answer: Answer) {
        if let Some(callback) = self.awaited.callback(id) {
            self.execute(move || callback(Ok(answer)));
        }
    }

    /// Tells those whose answers have not come in time.
    fn expire(&self) {
        for callback in self.awaited.late(Instant::now()) {
            self.execute(move || callback(Err(Error::Timeout)));
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
pub(super) fn new_host() -> String {
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
