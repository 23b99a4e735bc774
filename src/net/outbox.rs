//! The bytes that wait to be written to one peer: the one thing that all threads share.
//!
//! An outbox holds finished WebSocket frames. Over a WebSocket they are written as they are; a
//! polling session's frames are taken out one by one, their payloads being the packets. Before an
//! upgrade, or between polls, the outbox belongs to no socket and only collects.
//!
//! The lock is held across the non-blocking write. That keeps the order of the calls without a
//! second queue, and lets most writes happen in the thread that has something to say.

use super::mask;
use super::socket::StreamSocket;
use super::websocket::{self, Role};
use crate::util::budget::Share;
use crate::util::sync::{Arc, AtomicBool, AtomicU32, Condvar, Mutex, Ordering};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::time::{Duration, Instant};

/// Number of buffers that one write takes.
const MAX_SLICES: usize = 64;
/// Initial capacity of a buffer, in bytes.
const INITIAL_CAPACITY_BYTES: usize = 512;
/// Shared frames shorter than this are copied behind what waits already.
const MAX_COPY_BYTES: usize = 512;

/// A message larger than this part of what may wait does not count as waiting, one at a time.
const LARGE_PART: usize = 4;

/// Interval at which a sender that waits for room looks whether anything leaves.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Reason why something was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendError {
    /// The peer is gone, or will be.
    Closed,
    /// The peer reads too slowly. Comes once.
    Full,
    /// The connection broke. Comes once.
    Broken,
    /// A large message beyond the limit, while another such one waits. Nothing has happened.
    TooLarge,
}

/// Moment when accepted bytes leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    Now,
    /// At the next flush, if the outbox is corked; else now.
    Corked,
    /// At the next flush, which the caller sees to.
    Held,
}

/// Result of accepted bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    Queued,
    /// The outbox belongs to no socket and was being waited for: a poll can be answered.
    WakePoll,
    /// They are the first that are held back: whoever has brought them sees to the flush.
    Held,
}

/// One permission to hold answers back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CorkToken(u32);

#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<OutboxState>,
    /// Cork epoch: odd while the worker of this connection's inbox may delay its writes.
    cork_epoch: AtomicU32,
    /// Set while delayed bytes are queued.
    held_back: AtomicBool,
    /// Of a client: set at the limit, and cleared once the outbox has drained to half of it.
    over_limit: AtomicBool,
    /// Notified when it is cleared.
    drained: Condvar,
}

#[derive(Debug)]
struct OutboxState {
    destination: Destination,
    closed: bool,
    /// Buffers that are complete, in order, and behind them the one that is being filled.
    chunks: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes in both.
    waiting: usize,
    /// Of those, the ones of a large message that does not count, and those in front of it.
    large: usize,
    before_large: usize,
    limit: usize,
    share: Share,
    /// Frames are masked as they are written: this side is the client.
    is_client: bool,
}

/// The way on which bytes leave.
#[derive(Debug)]
enum Destination {
    /// Polls, if there are any: one waits for the first frame, or none does.
    Polls { poll_waits: bool },
    /// A socket. One that is blocked took less than it was given, and will say when it takes more.
    Socket {
        socket: Arc<StreamSocket>,
        is_blocked: bool,
    },
}

impl Destination {
    const NOWHERE: Destination = Destination::Polls { poll_waits: false };

    fn socket(socket: Arc<StreamSocket>) -> Destination {
        Destination::Socket {
            socket,
            is_blocked: false,
        }
    }
}

impl Outbox {
    /// Returns an outbox that collects.
    pub(crate) fn detached(role: Role, limit: usize, share: Share) -> Outbox {
        Outbox::new(role, None, limit, share)
    }

    /// Returns an outbox that writes.
    pub(crate) fn attached(
        role: Role,
        socket: Arc<StreamSocket>,
        limit: usize,
        share: Share,
    ) -> Outbox {
        Outbox::new(role, Some(socket), limit, share)
    }

    fn new(role: Role, socket: Option<Arc<StreamSocket>>, limit: usize, share: Share) -> Outbox {
        Outbox {
            state: Mutex::new(OutboxState {
                destination: socket.map_or(Destination::NOWHERE, Destination::socket),
                closed: false,
                chunks: VecDeque::new(),
                tail: Vec::new(),
                waiting: 0,
                large: 0,
                before_large: 0,
                limit,
                share,
                is_client: role == Role::Client,
            }),
            cork_epoch: AtomicU32::new(0),
            held_back: AtomicBool::new(false),
            over_limit: AtomicBool::new(false),
            drained: Condvar::new(),
        }
    }

    /// Appends bytes that are for this peer alone: whole frames, unless it speaks no WebSocket.
    pub(crate) fn append(&self, bytes: &[u8], flush: Flush) -> Result<Appended, AppendError> {
        self.locked(|state| self.append_own(state, bytes, flush))
    }

    /// Appends the last bytes, behind which it accepts nothing: no frame may follow a close frame
    /// (RFC 6455, 5.5.1). Does nothing if it has been closed, and so has had its last.
    pub(crate) fn close_with(&self, last: &[u8]) {
        self.locked(|state| {
            // What has become of the peer is noticed as these bytes leave.
            let _ = self.append_own(state, last, Flush::Now);
            state.closed = true;
        });
    }

    fn append_own(
        &self,
        state: &mut OutboxState,
        bytes: &[u8],
        flush: Flush,
    ) -> Result<Appended, AppendError> {
        if !state.is_masking() {
            return self.append_locked(state, bytes, flush);
        }
        mask::with_masked(bytes, |masked| self.append_locked(state, masked, flush))
            .unwrap_or_else(|_| Err(state.fail()))
    }

    /// Notes every change of what waits.
    fn locked<T>(&self, change: impl FnOnce(&mut OutboxState) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let waiting = state.waiting;
        state.share.hold(waiting);
        if state.is_client {
            if state.waiting > state.limit && !state.closed {
                self.over_limit.store(true, Ordering::Relaxed);
            } else if self.is_over_limit() && (state.waiting <= state.limit / 2 || state.closed) {
                self.over_limit.store(false, Ordering::Relaxed);
                self.drained.notify_all();
            }
        }
        result
    }

    fn leaves_now(&self, flush: Flush) -> bool {
        match flush {
            Flush::Now => true,
            Flush::Corked => !is_corked(self.cork_epoch.load(Ordering::Relaxed)),
            Flush::Held => false,
        }
    }

    fn append_locked(
        &self,
        state: &mut OutboxState,
        bytes: &[u8],
        flush: Flush,
    ) -> Result<Appended, AppendError> {
        state.check_capacity(bytes.len())?;
        let now = self.leaves_now(flush);
        if now && state.is_idle() {
            let written = state.write_idle(bytes)?;
            state.forget_large(written);
            state.extend(&bytes[written..]);
            return Ok(Appended::Queued);
        }
        state.extend(bytes);
        if !now && !self.held_back.swap(true, Ordering::Relaxed) && flush == Flush::Held {
            return Ok(Appended::Held);
        }
        state.try_flush(now)
    }

    /// Appends frames that other peers get too.
    pub(crate) fn append_shared(
        &self,
        frames: &Bytes,
        flush: Flush,
    ) -> Result<Appended, AppendError> {
        if frames.len() < MAX_COPY_BYTES {
            return self.append(frames, flush);
        }
        let mut state = self.state.lock();
        if state.is_client {
            drop(state);
            return self.append(frames, flush);
        }
        state.check_capacity(frames.len())?;
        let now = self.leaves_now(flush);
        let written = if now && state.is_idle() {
            state.write_idle(frames)?
        } else {
            0
        };
        state.forget_large(written);
        if written < frames.len() {
            state.freeze();
            state.waiting += frames.len() - written;
            state.chunks.push_back(frames.slice(written..));
        }
        let is_first = !now && !self.held_back.swap(true, Ordering::Relaxed);
        let settled = state.try_flush(now);
        let waiting = state.waiting;
        state.share.hold(waiting);
        if is_first && flush == Flush::Held {
            return Ok(Appended::Held);
        }
        settled
    }

    /// Appends only what can leave at once; else drops it.
    pub(crate) fn append_volatile(&self, frames: &Bytes) -> Result<Appended, AppendError> {
        let state = self.state.lock();
        let takes = match state.destination {
            // What waits although the socket takes more is held back by this side itself, for a
            // moment, and leaves before it.
            Destination::Socket { is_blocked, .. } => !is_blocked,
            Destination::Polls { poll_waits } => poll_waits,
        };
        drop(state);
        if takes {
            self.append_shared(frames, Flush::Now)
        } else {
            Ok(Appended::Queued)
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&self) -> Result<Appended, AppendError> {
        self.locked(|state| {
            self.held_back.store(false, Ordering::Relaxed);
            state.try_flush(true)
        })
    }

    /// Returns whether something has been held back. Takes no lock: it is asked for every busy
    /// connection, every millisecond.
    pub(crate) fn has_held(&self) -> bool {
        self.held_back.load(Ordering::Relaxed)
    }

    /// Allows a worker to delay its answers until it flushes, or until [`Outbox::uncork`]; none if
    /// it may already. Called by the I/O thread alone.
    pub(crate) fn cork(&self) -> Option<CorkToken> {
        let cork_epoch = self.cork_epoch.load(Ordering::Relaxed);
        if is_corked(cork_epoch) {
            return None;
        }
        let cork = cork_epoch.wrapping_add(1);
        self.cork_epoch.store(cork, Ordering::Relaxed);
        Some(CorkToken(cork))
    }

    /// Returns whether this is what lets it. Takes no lock.
    pub(crate) fn is_current(&self, cork: CorkToken) -> bool {
        self.cork_epoch.load(Ordering::Relaxed) == cork.0
    }

    /// Ends that, and writes what was held back.
    pub(crate) fn uncork(&self) -> Result<Appended, AppendError> {
        let cork_epoch = self.cork_epoch.load(Ordering::Relaxed);
        if is_corked(cork_epoch) {
            let (next, order) = (cork_epoch.wrapping_add(1), Ordering::Relaxed);
            // If that fails, somebody else has just done it.
            let _ = self
                .cork_epoch
                .compare_exchange(cork_epoch, next, order, order);
        }
        self.flush()
    }

    /// Writes, since the socket can take more, also what is left of TLS.
    pub(crate) fn on_writable(&self) -> Result<Appended, AppendError> {
        self.locked(|state| {
            if let Destination::Socket { socket, is_blocked } = &mut state.destination {
                *is_blocked = false;
                match socket.flush() {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(Appended::Queued);
                    }
                    Err(_) => return Err(state.fail()),
                }
            }
            state.try_flush(true)
        })
    }

    /// Returns whether it holds on to memory.
    #[cfg(test)]
    pub(crate) fn keeps_buffers(&self) -> bool {
        let state = self.state.lock();
        state.chunks.capacity() + state.tail.capacity() > 0
    }

    /// Accepts nothing more and forgets what waits, so that its reader is given up.
    pub(crate) fn give_up(&self) {
        self.locked(|state| {
            state.closed = true;
            state.clear();
        });
    }

    /// Returns the bytes that have not left.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.state.lock().waiting
    }

    /// Returns the bytes that may wait.
    pub(crate) fn limit(&self) -> usize {
        self.state.lock().limit
    }

    /// Returns whether so much waits that whoever sends more should wait. Takes no lock.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.over_limit.load(Ordering::Relaxed)
    }

    /// Waits while it is over its limit; false if nothing has left for so long.
    pub(crate) fn wait_for_capacity(&self, patience: Duration) -> bool {
        let mut state = self.state.lock();
        let (mut least, mut since) = (state.waiting, Instant::now());
        while self.is_over_limit() && since.elapsed() < patience {
            self.drained.wait_for(&mut state, PROGRESS_INTERVAL);
            if state.waiting < least {
                (least, since) = (state.waiting, Instant::now());
            }
        }
        !self.is_over_limit()
    }

    /// Registers a waiting poll; false if there is a frame already.
    pub(crate) fn set_poll_waiting(&self) -> bool {
        let mut state = self.state.lock();
        // What is being held back comes together, in a moment.
        let waits = state.waiting == 0 || self.has_held();
        if let Destination::Polls { poll_waits } = &mut state.destination {
            *poll_waits = waits;
        }
        waits
    }

    pub(crate) fn clear_poll_waiting(&self) {
        if let Destination::Polls { poll_waits } = &mut self.state.lock().destination {
            *poll_waits = false;
        }
    }

    /// Takes frames out, each as whether it is text and its payload, until `take` says no.
    /// Returns whether any is left.
    pub(crate) fn drain_frames(&self, mut take: impl FnMut(bool, &[u8]) -> bool) -> bool {
        self.locked(|state| state.drain_frames(&mut take))
    }

    /// Sends everything to this socket from now on, after `first`.
    pub(crate) fn attach(
        &self,
        socket: Arc<StreamSocket>,
        first: Bytes,
    ) -> Result<Appended, AppendError> {
        self.locked(|state| {
            if state.is_client {
                state.mask_waiting()?;
            }
            state.destination = Destination::socket(socket);
            state.waiting += first.len();
            state.before_large += first.len();
            state.chunks.push_front(first);
            state.try_flush(true)
        })
    }

    /// Takes the socket out, with the bytes that were meant for it.
    pub(crate) fn detach(&self) -> (Option<Arc<StreamSocket>>, Bytes) {
        self.locked(|state| {
            state.closed = true;
            state.freeze();
            let mut rest = Vec::with_capacity(state.waiting);
            state
                .chunks
                .iter()
                .for_each(|part| rest.extend_from_slice(part));
            state.clear();
            let socket = match std::mem::replace(&mut state.destination, Destination::NOWHERE) {
                Destination::Socket { socket, .. } => Some(socket),
                Destination::Polls { .. } => None,
            };
            (socket, rest.into())
        })
    }

    /// Accepts nothing more; what waits may still leave.
    pub(crate) fn close(&self) {
        self.locked(|state| state.closed = true);
    }

    /// Accepts nothing more and forgets what waits.
    pub(crate) fn discard(&self) {
        self.locked(|state| {
            state.closed = true;
            state.destination = Destination::NOWHERE;
            state.clear();
        });
    }
}

fn is_corked(cork_epoch: u32) -> bool {
    cork_epoch % 2 == 1
}

impl OutboxState {
    fn drain_frames(&mut self, take: &mut impl FnMut(bool, &[u8]) -> bool) -> bool {
        self.freeze();
        while let Some(front) = self.chunks.front_mut() {
            // A detached outbox holds whole frames.
            let Some((is_text, start, end)) = websocket::parse_frame(front) else {
                debug_assert!(front.is_empty(), "an outbox holds whole frames");
                self.chunks.pop_front();
                continue;
            };
            if !take(is_text, &front[start..end]) {
                break;
            }
            front.advance(end);
            self.waiting -= end;
            self.forget_large(end);
        }
        if self.waiting == 0 {
            self.clear();
        }
        self.waiting > 0
    }

    fn check_capacity(&mut self, bytes: usize) -> Result<(), AppendError> {
        if self.closed {
            return Err(AppendError::Closed);
        }
        // A client's own threads are asked to wait at the limit, and so find room for what cannot.
        let limit = if self.is_client {
            self.limit.saturating_mul(2)
        } else {
            self.limit
        };
        // What waits must not grow, but one message at a time may be as large as it likes.
        let counted = self.waiting - self.large;
        if counted + bytes <= limit {
            return Ok(());
        }
        if counted <= limit && bytes > limit / LARGE_PART {
            if self.large > 0 {
                return Err(AppendError::TooLarge);
            }
            self.large = bytes;
            self.before_large = self.waiting;
            return Ok(());
        }
        self.closed = true;
        self.clear();
        Err(AppendError::Full)
    }

    /// Notes that bytes have left from the front.
    fn forget_large(&mut self, mut count: usize) {
        let before = count.min(self.before_large);
        self.before_large -= before;
        count -= before;
        self.large -= count.min(self.large);
    }

    /// Returns whether frames are masked as they come. Those that only collect are masked when they
    /// leave.
    fn is_masking(&self) -> bool {
        self.is_client && matches!(self.destination, Destination::Socket { .. })
    }

    fn mask_waiting(&mut self) -> Result<(), AppendError> {
        self.freeze();
        let mut masked = Vec::new();
        for frames in std::mem::take(&mut self.chunks) {
            if mask::mask(&frames, &mut masked).is_err() {
                return Err(self.fail());
            }
        }
        self.waiting = masked.len();
        if self.large > 0 {
            // Lengths have changed a little.
            (self.large, self.before_large) = (self.waiting, 0);
        }
        self.chunks.push_back(masked.into());
        Ok(())
    }

    fn is_idle(&self) -> bool {
        let is_blocked = match self.destination {
            Destination::Socket { is_blocked, .. } => is_blocked,
            Destination::Polls { .. } => true,
        };
        self.waiting == 0 && !is_blocked
    }

    /// Writes without queueing; returns how much was taken.
    fn write_idle(&mut self, bytes: &[u8]) -> Result<usize, AppendError> {
        let Destination::Socket { socket, is_blocked } = &mut self.destination else {
            return Ok(0);
        };
        let mut written = 0;
        while written < bytes.len() {
            match socket.write(&bytes[written..]) {
                Ok(0) => return Err(self.fail()),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    *is_blocked = true;
                    break;
                }
                Err(_) => return Err(self.fail()),
            }
        }
        Ok(written)
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.tail.capacity() == 0 {
            // A worker's turn has several answers, as a rule.
            self.tail.reserve(bytes.len().max(INITIAL_CAPACITY_BYTES));
        }
        self.tail.extend_from_slice(bytes);
        self.waiting += bytes.len();
    }

    /// Writes if it may, or says that somebody waits.
    fn try_flush(&mut self, now: bool) -> Result<Appended, AppendError> {
        if !now || self.waiting == 0 {
            return Ok(Appended::Queued);
        }
        match &mut self.destination {
            Destination::Polls { poll_waits } => Ok(if std::mem::take(poll_waits) {
                Appended::WakePoll
            } else {
                Appended::Queued
            }),
            Destination::Socket {
                is_blocked: true, ..
            } => Ok(Appended::Queued),
            Destination::Socket { .. } => self.write_waiting().map(|()| Appended::Queued),
        }
    }

    fn write_waiting(&mut self) -> Result<(), AppendError> {
        while self.waiting > 0 {
            let Destination::Socket { socket, is_blocked } = &mut self.destination else {
                return Ok(());
            };
            let written = if self.chunks.is_empty() {
                socket.write(&self.tail)
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let parts = self
                    .chunks
                    .iter()
                    .map(|part| &part[..])
                    .chain([&self.tail[..]]);
                let mut count = 0;
                for (slice, part) in slices.iter_mut().zip(parts) {
                    *slice = IoSlice::new(part);
                    count += 1;
                }
                socket.write_vectored(&slices[..count])
            };
            match written {
                Ok(0) => return Err(self.fail()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    *is_blocked = true;
                    return Ok(());
                }
                Err(_) => return Err(self.fail()),
            }
        }
        Ok(())
    }

    /// Forgets bytes that were written.
    fn advance(&mut self, mut count: usize) {
        self.waiting -= count;
        self.forget_large(count);
        if self.waiting == 0 {
            return self.clear();
        }
        if self.chunks.is_empty() {
            self.freeze();
        }
        while let Some(front) = self.chunks.front_mut() {
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.chunks.pop_front();
            if self.chunks.is_empty() {
                self.freeze();
            }
            if count == 0 {
                return;
            }
        }
    }

    fn freeze(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// Clears it with its buffers: an idle connection keeps none.
    fn clear(&mut self) {
        self.waiting = 0;
        (self.large, self.before_large) = (0, 0);
        self.chunks = VecDeque::new();
        self.tail = Vec::new();
    }

    fn fail(&mut self) -> AppendError {
        self.closed = true;
        self.clear();
        AppendError::Broken
    }
}
