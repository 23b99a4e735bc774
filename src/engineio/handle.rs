//! A session as other threads know it.
//!
//! In a circle with `broadcast_row`: a thread that is about to block lets go of its row of
//! broadcasts, and a row is made of sessions.

use super::frames::{self, BinaryForm};
use super::{Frames, HeldBroadcasts, Transport, broadcast_row};
use crate::error::{Error, LimitExceeded};
use crate::net::outbox::{AppendError, Appended, Flush, Outbox};
use crate::net::{Command, CommandSender, PeerAddr};
use crate::pool;
use crate::protocol::engineio::Revision;
use crate::reason::Reason;
use crate::util::budget::Budget;
use crate::util::local::with_local;
use crate::util::log_limit::LogLimit;
use crate::util::sync::{Condvar, Mutex, MutexGuard};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

thread_local! {
    /// The session whose inbox this thread is draining: its key, and itself.
    static DRAINED: Cell<u64> = const { Cell::new(u64::MAX) };
    static DRAINED_HANDLE: RefCell<Option<Arc<SessionHandle>>> = const { RefCell::new(None) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// In the place of a [`Transport`]: polling, and a WebSocket is being tried.
const UPGRADING: u8 = u8::MAX;

/// Time that a worker that sends waits for a server that reads nothing. Without an end, two handlers
/// that each wait for the other's connection would wait for ever.
const CAPACITY_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes that the scratch buffer of a thread keeps.
const MAX_KEPT_SCRATCH_BYTES: usize = 64 << 10;

/// Runs a function that waits for something. On a worker, what it has held back is written first,
/// and another worker sees to the tasks that wait. No lock may be held that one of the two takes.
pub(crate) fn block_in_place<T>(wait: impl FnOnce() -> T) -> T {
    pool::before_waiting();
    broadcast_row::end();
    let handle = with_local(&DRAINED_HANDLE, || None, |handle| handle.clone());
    if let Some(handle) = handle {
        let _ = handle.on_append_result(handle.outbox.uncork());
    }
    wait()
}

/// Locks a state once it is as wanted, and blocks until then. `changed` is notified of each change.
pub(crate) fn lock_when<'a, S>(
    state: &'a Mutex<S>,
    changed: &Condvar,
    is_so: impl Fn(&S) -> bool,
) -> MutexGuard<'a, S> {
    let guard = state.lock();
    if is_so(&guard) {
        return guard;
    }
    drop(guard);
    block_in_place(|| {
        let mut guard = state.lock();
        while !is_so(&guard) {
            changed.wait(&mut guard);
        }
        guard
    })
}

/// Command to a session's I/O thread.
#[derive(Debug)]
pub(crate) enum SessionCommand {
    /// A packet waits, and so does a poll.
    Queued(u64),
    /// End the session.
    Close(u64, Reason),
    /// End the session of a peer that reads too slowly.
    TooSlow(u64),
    /// Disconnect the client from each of its namespaces, and end the session.
    Dismiss(u64),
    /// Write what a row of broadcasts has held back, in a moment.
    Flush(Arc<HeldBroadcasts>),
    /// Read again.
    Resume(u64),
    /// Look at the handler's timeout at this time, if it looks later now.
    WakeAt(u64, Instant),
}

/// An I/O thread, as its sessions tell it something.
pub(crate) trait CommandSink: Send + Sync {
    fn send_command(&self, command: SessionCommand);
}

impl<C: From<SessionCommand> + Send> CommandSink for CommandSender<Command<C>> {
    fn send_command(&self, command: SessionCommand) {
        self.send(Command::Driver(command.into()));
    }
}

/// The other end, as the log names it.
#[derive(Clone, Debug)]
pub(crate) enum RemoteEnd {
    Client(PeerAddr),
    /// A server, as the program calls it.
    Host(Arc<str>),
}

impl fmt::Display for RemoteEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteEnd::Client(address) => address.fmt(formatter),
            RemoteEnd::Host(host) => formatter.write_str(host),
        }
    }
}

/// A session: what others may do with it.
pub(crate) struct SessionHandle {
    /// A client learns it from the server.
    sid: OnceLock<Box<str>>,
    key: u64,
    transport: AtomicU8,
    /// A [`BinaryForm`].
    binary_form: AtomicU8,
    /// Something was sent since that was last asked.
    has_sent: AtomicBool,
    outbox: Arc<Outbox>,
    sink: Arc<dyn CommandSink>,
    peer: RemoteEnd,
    /// Budget of its port.
    budget: Option<Arc<Budget>>,
    log_limit: LogLimit,
}

impl SessionHandle {
    pub(super) fn new(
        key: u64,
        transport: Transport,
        outbox: Arc<Outbox>,
        sink: Arc<dyn CommandSink>,
        peer: RemoteEnd,
        budget: Option<Arc<Budget>>,
    ) -> SessionHandle {
        SessionHandle {
            sid: OnceLock::new(),
            key,
            transport: AtomicU8::new(transport as u8),
            binary_form: AtomicU8::new(BinaryForm::Plain as u8),
            has_sent: AtomicBool::new(false),
            outbox,
            sink,
            peer,
            budget,
            log_limit: LogLimit::default(),
        }
    }

    /// Sets the form in which its bytes are sent. Payloads of polling have forms of their own.
    pub(super) fn set_binary_form(&self, form: BinaryForm) {
        self.binary_form.store(form as u8, Ordering::Relaxed);
    }

    pub(crate) fn binary_form(&self) -> BinaryForm {
        BinaryForm::from(self.binary_form.load(Ordering::Relaxed))
    }

    /// Returns the revision of the protocol that it speaks.
    pub(crate) fn revision(&self) -> Revision {
        match self.binary_form() {
            BinaryForm::Plain | BinaryForm::Base64 => Revision::V4,
            BinaryForm::Typed | BinaryForm::TypedBase64 => Revision::V3,
        }
    }

    /// Returns its id, empty until it is known.
    pub(crate) fn sid(&self) -> &str {
        self.sid.get().map_or("", |sid| sid)
    }

    /// Comes once.
    pub(super) fn set_sid(&self, sid: &str) {
        let set = self.sid.set(sid.into());
        debug_assert!(set.is_ok(), "a session keeps its id");
    }

    pub(crate) fn transport(&self) -> Transport {
        if self.transport.load(Ordering::Relaxed) == Transport::WebSocket as u8 {
            Transport::WebSocket
        } else {
            Transport::Polling
        }
    }

    /// Returns whether bytes can only leave as base64.
    pub(crate) fn is_polling_only(&self) -> bool {
        self.transport() == Transport::Polling && !self.is_upgrading()
    }

    /// Returns whether a client on polling may be on WebSocket in a moment.
    pub(crate) fn is_upgrading(&self) -> bool {
        self.transport.load(Ordering::Relaxed) == UPGRADING
    }

    pub(super) fn set_upgrading(&self) {
        self.transport.store(UPGRADING, Ordering::Relaxed);
    }

    pub(super) fn set_transport(&self, transport: Transport) {
        self.transport.store(transport as u8, Ordering::Relaxed);
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Queues messages; whether they leave now depends on who calls.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if the session is over, [`Error::LimitExceeded`] if they are larger
    /// than what may wait and others such are waiting.
    pub(crate) fn send(&self, frames: &Frames) -> Result<(), Error> {
        let flush = self.begin_send();
        let sent = match self.converted(&frames.0) {
            Some(converted) => self.outbox.append(&converted, flush),
            None => self.outbox.append_shared(&frames.0, flush),
        };
        self.on_append_result(sent)
    }

    /// Queues messages whose bytes are in the form of this session.
    ///
    /// # Errors
    /// Those of [`send`](SessionHandle::send).
    pub(crate) fn send_shared(&self, frames: &Frames) -> Result<(), Error> {
        self.on_append_result(self.outbox.append_shared(&frames.0, self.begin_send()))
    }

    /// Queues such messages, which leave with others of a row.
    ///
    /// # Errors
    /// Those of [`send`](SessionHandle::send).
    pub(crate) fn send_held(
        self: &Arc<Self>,
        frames: &Frames,
        held: &HeldBroadcasts,
    ) -> Result<(), Error> {
        let sent = self.outbox.append_shared(&frames.0, Flush::Held);
        if let Ok(Appended::Held) = sent {
            held.add(self);
        }
        self.on_append_result(sent)
    }

    /// Writes what was held back.
    pub(super) fn flush(&self) {
        let _ = self.on_append_result(self.outbox.flush());
    }

    /// Queues messages that are for this session alone.
    ///
    /// # Errors
    /// Those of [`send`](SessionHandle::send).
    pub(crate) fn send_bytes(&self, frames: &[u8]) -> Result<(), Error> {
        let flush = self.begin_send();
        let converted = self.converted(frames);
        let frames = converted.as_deref().unwrap_or(frames);
        self.on_append_result(self.outbox.append(frames, flush))
    }

    /// Queues messages that are written into a buffer of this thread.
    ///
    /// # Errors
    /// That of `write`, and those of [`send`](SessionHandle::send).
    pub(crate) fn send_written(
        &self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Taken out, since a codec of the program in `write` may come back to this function.
        let mut buffer = with_local(&SCRATCH, Vec::new, std::mem::take);
        buffer.clear();
        let sent = write(&mut buffer).and_then(|()| self.send_bytes(&buffer));
        if buffer.capacity() <= MAX_KEPT_SCRATCH_BYTES {
            with_local(&SCRATCH, Vec::new, |scratch| *scratch = buffer);
        }
        sent
    }

    /// Sends messages whose bytes are in the form of this session if they can leave at once, else
    /// drops them.
    pub(crate) fn send_volatile(&self, frames: &Frames) {
        let sent = self.outbox.append_volatile(&frames.0);
        // What cannot be sent now is not sent.
        let _ = self.on_append_result(sent);
    }

    /// Blocks while the client's outbox is over its limit, until half has drained or the session
    /// ends. A worker gives up after [`CAPACITY_TIMEOUT`] without progress and closes the session; an
    /// I/O thread never blocks here.
    pub(crate) fn wait_for_capacity(&self) {
        if !self.outbox.is_over_limit() || pool::is_io_thread() {
            return;
        }
        let patience = if pool::is_worker() {
            CAPACITY_TIMEOUT
        } else {
            Duration::MAX
        };
        if !block_in_place(|| self.outbox.wait_for_capacity(patience)) {
            let _ = self.on_append_result(Err(AppendError::Full));
        }
    }

    /// Ends the session; what was sent before still leaves.
    pub(crate) fn close(&self, reason: Reason) {
        self.command(SessionCommand::Close(self.key, reason));
    }

    /// Ends the session, and the client is told not to come back.
    pub(crate) fn dismiss(&self) {
        self.command(SessionCommand::Dismiss(self.key));
    }

    /// Reads again after [`Control::PauseReading`](super::Control::PauseReading).
    pub(crate) fn resume(&self) {
        self.command(SessionCommand::Resume(self.key));
    }

    pub(crate) fn wake_at(&self, at: Instant) {
        self.command(SessionCommand::WakeAt(self.key, at));
    }

    /// Begins a turn of this thread at the session's inbox: what it sends to the session leaves
    /// together, at the end.
    pub(crate) fn begin_turn(self: &Arc<Self>) -> SessionTurn<'_> {
        DRAINED.set(self.key);
        DRAINED_HANDLE.set(Some(Arc::clone(self)));
        SessionTurn(self)
    }

    /// Returns whether something was sent since this was last called.
    pub(super) fn take_sent_flag(&self) -> bool {
        // Only what happens to be seen matters: nothing is read because of it.
        self.has_sent.load(Ordering::Relaxed) && self.has_sent.swap(false, Ordering::Relaxed)
    }

    /// Notes that something is sent, and returns when it leaves.
    fn begin_send(&self) -> Flush {
        self.has_sent.store(true, Ordering::Relaxed);
        if DRAINED.get() == self.key {
            Flush::Corked
        } else {
            Flush::Now
        }
    }

    /// Says that its peer read too slowly.
    pub(super) fn report_slowness(&self) {
        log::warn!(target: "engineio", "{}: closed, it reads too slowly: more waits for it than the {} bytes that may (Limits::outbox_bytes)", self.label(), self.outbox.limit());
    }

    pub(super) fn on_append_result(
        &self,
        sent: Result<Appended, AppendError>,
    ) -> Result<(), Error> {
        match sent {
            Ok(Appended::Queued | Appended::Held) => return Ok(()),
            Ok(Appended::WakePoll) => {
                self.command(SessionCommand::Queued(self.key));
                return Ok(());
            }
            Err(AppendError::TooLarge) => {
                let what = "bytes in one message, while another such one waits for its reader";
                let limit = self.outbox.limit();
                return Err(LimitExceeded::new(what, "outbox_bytes", limit).into());
            }
            Err(AppendError::Closed) => {}
            // Said by the I/O thread: a lock may be held here, and loggers are the program's.
            Err(AppendError::Full) => self.command(SessionCommand::TooSlow(self.key)),
            Err(AppendError::Broken) => {
                self.command(SessionCommand::Close(self.key, Reason::TransportClose));
            }
        }
        Err(Error::Disconnected)
    }

    /// Returns the bytes that wait for the other side to read them.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.outbox.waiting_bytes()
    }

    pub(crate) fn budget(&self) -> Option<&Arc<Budget>> {
        self.budget.as_ref()
    }

    /// Returns whether a record that the peer causes may be written, of those of its session.
    pub(crate) fn may_log(&self, level: log::Level) -> bool {
        log::log_enabled!(target: "socketio", level) && self.log_limit.admits(self.label())
    }

    /// Returns the limit of records that the peer causes.
    pub(crate) fn log_limit(&self) -> &LogLimit {
        &self.log_limit
    }

    /// Returns what the log may say of a session: its id opens it, so only its beginning is shown.
    pub(crate) fn label(&self) -> impl fmt::Display + '_ {
        struct Label<'a>(&'a SessionHandle);
        impl fmt::Display for Label<'_> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let handle = self.0;
                let shown = handle.sid().get(..6).unwrap_or_default();
                write!(formatter, "{} ({shown}..)", handle.peer)
            }
        }
        Label(self)
    }

    /// Returns the frames as this session takes them, if that is not as they are.
    fn converted(&self, frames: &[u8]) -> Option<Vec<u8>> {
        match self.binary_form() {
            BinaryForm::Plain => None,
            form => frames::with_bytes_as(form, frames),
        }
    }

    pub(super) fn command(&self, command: SessionCommand) {
        self.sink.send_command(command);
    }
}

/// A turn of this thread at the inbox of a session.
pub(crate) struct SessionTurn<'a>(&'a SessionHandle);

impl SessionTurn<'_> {
    /// Ends the turn, and writes what was held back. While anything is left in the inbox, the next
    /// turn's answers are held back, too.
    pub(crate) fn end(self, is_empty: bool) {
        let session = self.0;
        drop(self);
        broadcast_row::end();
        let flushed = if is_empty {
            session.outbox.uncork()
        } else {
            session.outbox.flush()
        };
        let _ = session.on_append_result(flushed);
    }
}

impl Drop for SessionTurn<'_> {
    fn drop(&mut self) {
        DRAINED.set(u64::MAX);
        DRAINED_HANDLE.set(None);
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Session({})", self.label())
    }
}
