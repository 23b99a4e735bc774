//! The queue of what waits for the handlers of one connection, in order.

use crate::util::budget::Share;
use crate::util::sync::{AtomicU8, Mutex, Ordering};
use std::collections::VecDeque;

/// Number of bytes that a worker takes at a time, unless one item alone has more: they are not
/// counted as waiting any more.
const MAX_IN_HAND_BYTES: usize = 64 << 10;

/// A queue that is worked off by one worker at a time.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<InboxState<T>>,
    /// A [`QueueState`], for those who only want a look.
    queue_state: AtomicU8,
}

/// State of an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueState {
    Idle,
    /// It waits for a worker.
    Queued,
    /// A worker is at it.
    Running,
}

#[derive(Debug)]
struct InboxState<T> {
    queue: VecDeque<(T, usize)>,
    /// Bytes in the queue.
    bytes: usize,
    /// Bytes of what was taken last.
    in_hand: usize,
    /// A worker has it, or will.
    scheduled: bool,
    /// Somebody wants to know when it is short again.
    watched: bool,
    share: Share,
}

impl<T> InboxState<T> {
    fn update_share(&mut self) {
        self.share.hold(self.bytes);
    }
}

/// Result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PushOutcome {
    /// Nobody works on the inbox: the caller must see to it that somebody does.
    pub(crate) schedule: bool,
    /// Bytes that wait.
    pub(crate) bytes: usize,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Inbox<T> {
        Inbox::with(Share::default())
    }

    /// Creates an inbox whose bytes are a part of a budget.
    pub(crate) fn with(share: Share) -> Inbox<T> {
        Inbox {
            state: Mutex::new(InboxState {
                queue: VecDeque::new(),
                bytes: 0,
                in_hand: 0,
                scheduled: false,
                watched: false,
                share,
            }),
            queue_state: AtomicU8::new(QueueState::Idle as u8),
        }
    }

    /// Appends items, each with the bytes it holds.
    pub(crate) fn push(&self, items: Vec<(T, usize)>) -> PushOutcome {
        let bytes: usize = items.iter().map(|(_, bytes)| bytes).sum();
        let mut state = self.state.lock();
        state.bytes += bytes;
        state.update_share();
        if state.queue.is_empty() {
            state.queue = items.into();
        } else {
            state.queue.extend(items);
        }
        let schedule = !std::mem::replace(&mut state.scheduled, true);
        if schedule {
            self.set_queue_state(QueueState::Queued);
        }
        PushOutcome {
            schedule,
            bytes: state.bytes,
        }
    }

    /// Takes the next items, at most `count`, and not many bytes unless the first alone has them;
    /// none means that the inbox is nobody's again.
    pub(crate) fn take(&self, count: usize) -> VecDeque<(T, usize)> {
        let mut state = self.state.lock();
        state.in_hand = 0;
        if state.queue.is_empty() {
            state.scheduled = false;
            self.set_queue_state(QueueState::Idle);
            // An idle connection keeps no buffer.
            return std::mem::take(&mut state.queue);
        }
        self.set_queue_state(QueueState::Running);
        if state.queue.len() <= count && state.bytes <= MAX_IN_HAND_BYTES {
            state.in_hand = std::mem::take(&mut state.bytes);
            state.update_share();
            return std::mem::take(&mut state.queue);
        }
        let mut bytes = 0;
        let fits = state.queue.iter().take(count).take_while(|item| {
            let is_first = bytes == 0;
            bytes += item.1;
            is_first || bytes <= MAX_IN_HAND_BYTES
        });
        let number = fits.count().max(1);
        let taken: VecDeque<_> = state.queue.drain(..number).collect();
        state.in_hand = taken.iter().map(|item| item.1).sum();
        state.bytes -= state.in_hand;
        state.update_share();
        taken
    }

    /// Puts items back that were taken last, in front of what has come since.
    pub(crate) fn push_front(&self, mut items: VecDeque<(T, usize)>) {
        let mut state = self.state.lock();
        state.in_hand = 0;
        state.bytes += items.iter().map(|(_, bytes)| bytes).sum::<usize>();
        state.update_share();
        items.append(&mut state.queue);
        state.queue = items;
    }

    /// Returns the bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Returns the bytes that wait, and those that a worker took last.
    pub(crate) fn held(&self) -> usize {
        let state = self.state.lock();
        state.bytes + state.in_hand
    }

    /// Returns the number of items that wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Returns its state of a moment ago. Takes no lock.
    pub(crate) fn queue_state(&self) -> QueueState {
        const QUEUED: u8 = QueueState::Queued as u8;
        const RUNNING: u8 = QueueState::Running as u8;
        match self.queue_state.load(Ordering::Relaxed) {
            QUEUED => QueueState::Queued,
            RUNNING => QueueState::Running,
            _ => QueueState::Idle,
        }
    }

    fn set_queue_state(&self, state: QueueState) {
        self.queue_state.store(state as u8, Ordering::Relaxed);
    }

    /// Asks to be told, once, when fewer than `bytes` wait; false if that is so now.
    pub(crate) fn arm_low_watermark(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        state.watched = state.bytes >= bytes;
        state.watched
    }

    /// Cancels [`Inbox::arm_low_watermark`]; returns whether it was armed.
    pub(crate) fn disarm_low_watermark(&self) -> bool {
        std::mem::take(&mut self.state.lock().watched)
    }

    /// Forgets what waits and need not be kept; returns how many items that were.
    pub(crate) fn discard(&self, is_kept: impl Fn(&T) -> bool) -> usize {
        let mut state = self.state.lock();
        let items = std::mem::take(&mut state.queue).into_iter();
        let (kept, forgotten): (Vec<_>, Vec<_>) = items.partition(|(item, _)| is_kept(item));
        state.queue = kept.into();
        state.bytes = state.queue.iter().map(|(_, bytes)| bytes).sum();
        state.update_share();
        drop(state);
        forgotten.len()
    }

    /// Returns whether somebody is to be told that fewer than `bytes` wait.
    pub(crate) fn take_low_watermark(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        let tell = state.watched && state.bytes < bytes;
        if tell {
            state.watched = false;
        }
        tell
    }
}
