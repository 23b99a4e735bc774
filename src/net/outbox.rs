//! What waits to be written to one peer: the one thing that all threads share.
//!
//! An outbox holds finished WebSocket frames. Over a WebSocket they are written as they are; a
//! polling session's frames are taken out one by one, their payloads being the packets. Before an
//! upgrade, or between polls, the outbox belongs to no socket and only collects.
//!
//! The lock is held across the non-blocking write. That keeps the order of the calls without a
//! second queue, and lets most writes happen in the thread that has something to say.

use super::mask;
use super::socket::Socket;
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
const INITIAL_CAPACITY: usize = 512;
/// Shared frames shorter than this are copied behind what waits already.
const MAX_COPY_BYTES: usize = 512;

/// A message larger than this part of what may wait does not count as waiting, one at a time.
const LARGE_PART: usize = 4;

/// Interval at which a sender that waits for room looks whether anything leaves.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Reason why something was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
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
pub(crate) enum When {
    Now,
    /// At the next flush, if the outbox is corked; else now.
    Corked,
    /// At the next flush, which the caller sees to.
    Held,
}

/// Result of accepted bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    Done,
    /// The outbox belongs to no socket and was being waited for: a poll can be answered.
    Awaited,
    /// They are the first that are held back: whoever has brought them sees to the flush.
    Held,
}

/// One permission to hold answers back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cork(u32);

#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Number of times that a cork was put on or taken off. While it is odd, the worker that drains
    /// this connection's inbox may hold its answers back for a moment.
    corks: AtomicU32,
    /// True while it may.
    holds: AtomicBool,
    /// Of a client: more than the limit waits, or did, and half of that has not left yet.
    crowded: AtomicBool,
    /// Told when that is over.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    destination: Destination,
    closed: bool,
    /// Buffers that are complete, in order, and behind them the one that is being filled.
    sealed: VecDeque<Bytes>,
    open: Vec<u8>,
    /// Bytes in both.
    waiting: usize,
    /// Of those, the ones of a large message that does not count, and those in front of it.
    large: usize,
    before_large: usize,
    limit: usize,
    share: Share,
    /// Frames are masked as they are written: this side is the client.
    masks: bool,
}

/// The way on which bytes leave.
#[derive(Debug)]
enum Destination {
    /// Polls, if there are any: one waits for the first frame, or none does.
    Polls { is_awaited: bool },
    /// A socket. One that is blocked took less than it was given, and will say when it takes more.
    Socket {
        socket: Arc<Socket>,
        is_blocked: bool,
    },
}

impl Destination {
    const NOWHERE: Destination = Destination::Polls { is_awaited: false };

    fn socket(socket: Arc<Socket>) -> Destination {
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
    pub(crate) fn attached(role: Role, socket: Arc<Socket>, limit: usize, share: Share) -> Outbox {
        Outbox::new(role, Some(socket), limit, share)
    }

    fn new(role: Role, socket: Option<Arc<Socket>>, limit: usize, share: Share) -> Outbox {
        Outbox {
            state: Mutex::new(State {
                destination: socket.map_or(Destination::NOWHERE, Destination::socket),
                closed: false,
                sealed: VecDeque::new(),
                open: Vec::new(),
                waiting: 0,
                large: 0,
                before_large: 0,
                limit,
                share,
                masks: role == Role::Client,
            }),
            corks: AtomicU32::new(0),
            holds: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            room: Condvar::new(),
        }
    }

    /// Appends bytes that are for this peer alone: whole frames, unless it speaks no WebSocket.
    pub(crate) fn append(&self, bytes: &[u8], when: When) -> Result<Appended, Refusal> {
        self.locked(|state| {
            if !state.is_masking() {
                return self.append_locked(state, bytes, when);
            }
            mask::with_masked(bytes, |masked| self.append_locked(state, masked, when))
                .unwrap_or_else(|_| Err(state.break_off()))
        })
    }

    /// Notes every change of what waits.
    fn locked<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let waiting = state.waiting;
        state.share.hold(waiting);
        if state.masks {
            if state.waiting > state.limit && !state.closed {
                self.crowded.store(true, Ordering::Relaxed);
            } else if self.is_crowded() && (state.waiting <= state.limit / 2 || state.closed) {
                self.crowded.store(false, Ordering::Relaxed);
                self.room.notify_all();
            }
        }
        result
    }

    fn leaves_now(&self, when: When) -> bool {
        match when {
            When::Now => true,
            When::Corked => !is_corked(self.corks.load(Ordering::Relaxed)),
            When::Held => false,
        }
    }

    fn append_locked(
        &self,
        state: &mut State,
        bytes: &[u8],
        when: When,
    ) -> Result<Appended, Refusal> {
        state.admit(bytes.len())?;
        let now = self.leaves_now(when);
        if now && state.is_idle() {
            let written = state.write_idle(bytes)?;
            state.forget_large(written);
            state.extend(&bytes[written..]);
            return Ok(Appended::Done);
        }
        state.extend(bytes);
        if !now && !self.holds.swap(true, Ordering::Relaxed) && when == When::Held {
            return Ok(Appended::Held);
        }
        state.settle(now)
    }

    /// Appends frames that other peers get too.
    pub(crate) fn append_shared(&self, frames: &Bytes, when: When) -> Result<Appended, Refusal> {
        if frames.len() < MAX_COPY_BYTES {
            return self.append(frames, when);
        }
        let mut state = self.state.lock();
        if state.masks {
            drop(state);
            return self.append(frames, when);
        }
        state.admit(frames.len())?;
        let now = self.leaves_now(when);
        let written = if now && state.is_idle() {
            state.write_idle(frames)?
        } else {
            0
        };
        state.forget_large(written);
        if written < frames.len() {
            state.seal();
            state.waiting += frames.len() - written;
            state.sealed.push_back(frames.slice(written..));
        }
        let is_first = !now && !self.holds.swap(true, Ordering::Relaxed);
        let settled = state.settle(now);
        let waiting = state.waiting;
        state.share.hold(waiting);
        if is_first && when == When::Held {
            return Ok(Appended::Held);
        }
        settled
    }

    /// Appends only what can leave at once; else drops it.
    pub(crate) fn append_volatile(&self, frames: &Bytes) -> Result<Appended, Refusal> {
        let state = self.state.lock();
        let takes = match state.destination {
            // What waits although the socket takes more is held back by this side itself, for a
            // moment, and leaves before it.
            Destination::Socket { is_blocked, .. } => !is_blocked,
            Destination::Polls { is_awaited } => is_awaited,
        };
        drop(state);
        if takes {
            self.append_shared(frames, When::Now)
        } else {
            Ok(Appended::Done)
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&self) -> Result<Appended, Refusal> {
        self.locked(|state| {
            self.holds.store(false, Ordering::Relaxed);
            state.settle(true)
        })
    }

    /// Returns whether something has been held back. Takes no lock: it is asked for every busy
    /// connection, every millisecond.
    pub(crate) fn holds(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }

    /// Allows a worker to delay its answers until it flushes, or until [`Outbox::uncork`]; none if
    /// it may already. Called by the I/O thread alone.
    pub(crate) fn cork(&self) -> Option<Cork> {
        let corks = self.corks.load(Ordering::Relaxed);
        if is_corked(corks) {
            return None;
        }
        let cork = corks.wrapping_add(1);
        self.corks.store(cork, Ordering::Relaxed);
        Some(Cork(cork))
    }

    /// Returns whether this is what lets it. Takes no lock.
    pub(crate) fn has(&self, cork: Cork) -> bool {
        self.corks.load(Ordering::Relaxed) == cork.0
    }

    /// Ends that, and writes what was held back.
    pub(crate) fn uncork(&self) -> Result<Appended, Refusal> {
        let corks = self.corks.load(Ordering::Relaxed);
        if is_corked(corks) {
            let (next, order) = (corks.wrapping_add(1), Ordering::Relaxed);
            // If that fails, somebody else has just done it.
            let _ = self.corks.compare_exchange(corks, next, order, order);
        }
        self.flush()
    }

    /// Writes, since the socket can take more, also what is left of TLS.
    pub(crate) fn on_writable(&self) -> Result<Appended, Refusal> {
        self.locked(|state| {
            if let Destination::Socket { socket, is_blocked } = &mut state.destination {
                *is_blocked = false;
                match socket.flush() {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(Appended::Done);
                    }
                    Err(_) => return Err(state.break_off()),
                }
            }
            state.settle(true)
        })
    }

    /// Returns whether it holds on to memory.
    #[cfg(test)]
    pub(crate) fn keeps_buffers(&self) -> bool {
        let state = self.state.lock();
        state.sealed.capacity() + state.open.capacity() > 0
    }

    /// Accepts nothing more and forgets what waits, so that its reader is given up.
    pub(crate) fn give_up(&self) {
        self.locked(|state| {
            state.closed = true;
            state.release();
        });
    }

    /// Returns the bytes that have not left.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// Returns the bytes that may wait.
    pub(crate) fn limit(&self) -> usize {
        self.state.lock().limit
    }

    /// Returns whether so much waits that whoever sends more should wait. Takes no lock.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Waits while it is crowded; false if nothing has left for so long.
    pub(crate) fn wait_for_room(&self, patience: Duration) -> bool {
        let mut state = self.state.lock();
        let (mut least, mut since) = (state.waiting, Instant::now());
        while self.is_crowded() && since.elapsed() < patience {
            self.room.wait_for(&mut state, PROGRESS_INTERVAL);
            if state.waiting < least {
                (least, since) = (state.waiting, Instant::now());
            }
        }
        !self.is_crowded()
    }

    /// Registers a waiting poll; false if there is a frame already.
    pub(crate) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        // What is being held back comes together, in a moment.
        let waits = state.waiting == 0 || self.holds();
        if let Destination::Polls { is_awaited } = &mut state.destination {
            *is_awaited = waits;
        }
        waits
    }

    pub(crate) fn stop_waiting(&self) {
        if let Destination::Polls { is_awaited } = &mut self.state.lock().destination {
            *is_awaited = false;
        }
    }

    /// Takes frames out, each as whether it is text and its payload, until `take` says no.
    /// Returns whether any is left.
    pub(crate) fn take_frames(&self, mut take: impl FnMut(bool, &[u8]) -> bool) -> bool {
        self.locked(|state| state.take_frames(&mut take))
    }

    /// From now on everything goes to this socket, after `first`.
    pub(crate) fn attach(&self, socket: Arc<Socket>, first: Bytes) -> Result<Appended, Refusal> {
        self.locked(|state| {
            if state.masks {
                state.mask_waiting()?;
            }
            state.destination = Destination::socket(socket);
            state.waiting += first.len();
            state.before_large += first.len();
            state.sealed.push_front(first);
            state.settle(true)
        })
    }

    /// Takes the socket out, with the bytes that were meant for it.
    pub(crate) fn detach(&self) -> (Option<Arc<Socket>>, Bytes) {
        self.locked(|state| {
            state.closed = true;
            state.seal();
            let mut rest = Vec::with_capacity(state.waiting);
            state
                .sealed
                .iter()
                .for_each(|part| rest.extend_from_slice(part));
            state.release();
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
            state.release();
        });
    }
}

fn is_corked(corks: u32) -> bool {
    corks % 2 == 1
}

impl State {
    fn take_frames(&mut self, take: &mut impl FnMut(bool, &[u8]) -> bool) -> bool {
        self.seal();
        while let Some(front) = self.sealed.front_mut() {
            // A detached outbox holds whole frames.
            let Some((is_text, start, end)) = websocket::split_frame(front) else {
                debug_assert!(front.is_empty(), "an outbox holds whole frames");
                self.sealed.pop_front();
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
            self.release();
        }
        self.waiting > 0
    }

    fn admit(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        // A client's own threads are asked to wait at the limit, and so find room for what cannot.
        let limit = if self.masks {
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
                return Err(Refusal::TooLarge);
            }
            self.large = bytes;
            self.before_large = self.waiting;
            return Ok(());
        }
        self.closed = true;
        self.release();
        Err(Refusal::Full)
    }

    /// Bytes have left from the front.
    fn forget_large(&mut self, mut count: usize) {
        let before = count.min(self.before_large);
        self.before_large -= before;
        count -= before;
        self.large -= count.min(self.large);
    }

    /// Returns whether frames are masked as they come. Those that only collect are masked when they
    /// leave.
    fn is_masking(&self) -> bool {
        self.masks && matches!(self.destination, Destination::Socket { .. })
    }

    fn mask_waiting(&mut self) -> Result<(), Refusal> {
        self.seal();
        let mut masked = Vec::new();
        for frames in std::mem::take(&mut self.sealed) {
            if mask::mask(&frames, &mut masked).is_err() {
                return Err(self.break_off());
            }
        }
        self.waiting = masked.len();
        if self.large > 0 {
            // Lengths have changed a little.
            (self.large, self.before_large) = (self.waiting, 0);
        }
        self.sealed.push_back(masked.into());
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
    fn write_idle(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let Destination::Socket { socket, is_blocked } = &mut self.destination else {
            return Ok(0);
        };
        let mut written = 0;
        while written < bytes.len() {
            match socket.write(&bytes[written..]) {
                Ok(0) => return Err(self.break_off()),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    *is_blocked = true;
                    break;
                }
                Err(_) => return Err(self.break_off()),
            }
        }
        Ok(written)
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.open.capacity() == 0 {
            // A worker's turn has several answers, as a rule.
            self.open.reserve(bytes.len().max(INITIAL_CAPACITY));
        }
        self.open.extend_from_slice(bytes);
        self.waiting += bytes.len();
    }

    /// Writes if it may, or says that somebody waits.
    fn settle(&mut self, now: bool) -> Result<Appended, Refusal> {
        if !now || self.waiting == 0 {
            return Ok(Appended::Done);
        }
        match &mut self.destination {
            Destination::Polls { is_awaited } => Ok(if std::mem::take(is_awaited) {
                Appended::Awaited
            } else {
                Appended::Done
            }),
            Destination::Socket {
                is_blocked: true, ..
            } => Ok(Appended::Done),
            Destination::Socket { .. } => self.write_waiting().map(|()| Appended::Done),
        }
    }

    fn write_waiting(&mut self) -> Result<(), Refusal> {
        while self.waiting > 0 {
            let Destination::Socket { socket, is_blocked } = &mut self.destination else {
                return Ok(());
            };
            let written = if self.sealed.is_empty() {
                socket.write(&self.open)
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let parts = self
                    .sealed
                    .iter()
                    .map(|part| &part[..])
                    .chain([&self.open[..]]);
                let mut count = 0;
                for (slice, part) in slices.iter_mut().zip(parts) {
                    *slice = IoSlice::new(part);
                    count += 1;
                }
                socket.write_vectored(&slices[..count])
            };
            match written {
                Ok(0) => return Err(self.break_off()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    *is_blocked = true;
                    return Ok(());
                }
                Err(_) => return Err(self.break_off()),
            }
        }
        Ok(())
    }

    /// Forgets bytes that were written.
    fn advance(&mut self, mut count: usize) {
        self.waiting -= count;
        self.forget_large(count);
        if self.waiting == 0 {
            return self.release();
        }
        if self.sealed.is_empty() {
            self.seal();
        }
        while let Some(front) = self.sealed.front_mut() {
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.sealed.pop_front();
            if self.sealed.is_empty() {
                self.seal();
            }
            if count == 0 {
                return;
            }
        }
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.sealed.push_back(std::mem::take(&mut self.open).into());
        }
    }

    /// An idle connection keeps no buffer.
    fn release(&mut self) {
        self.waiting = 0;
        (self.large, self.before_large) = (0, 0);
        self.sealed = VecDeque::new();
        self.open = Vec::new();
    }

    fn break_off(&mut self) -> Refusal {
        self.closed = true;
        self.release();
        Refusal::Broken
    }
}
