//! Answers that are awaited from other servers.

use super::{AckRequest, RecipientsFn};
use crate::error::{Error, LimitExceeded};
use crate::limits::clamp_duration;
use crate::util::sync::{Condvar, Mutex};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Questions whose answers may be awaited at once.
const MAX_AWAITED: usize = 100_000;
/// Time that servers have, after that of a question is over, to say who has not answered.
const REPORT_GRACE: Duration = Duration::from_secs(1);
/// Time for which the thread of the time-outs stays though no answer is awaited.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers that are awaited, each under the id that was published with its question.
#[derive(Default)]
pub(super) struct RemoteAcks {
    state: Mutex<RemoteAcksState>,
    /// Another deadline comes first, or the manager ends.
    changed: Condvar,
}

#[derive(Default)]
struct RemoteAcksState {
    next_id: u64,
    waiting: HashMap<u64, RemoteWaiter>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// A thread waits for the deadlines.
    is_watched: bool,
    has_ended: bool,
}

struct RemoteWaiter {
    callback: RecipientsFn,
    deadline: Instant,
    /// One answer is all that can come.
    is_single: bool,
    /// The one client that was asked, whose answer alone counts.
    sid: Option<String>,
    /// A recipient, here or there, has been reported.
    reported: Arc<AtomicBool>,
    /// One of another server has been.
    reported_there: bool,
}

impl RemoteAcks {
    /// Awaits answers until they are late; returns the id under which they come, and whether
    /// somebody has to [`watch`](RemoteAcks::watch) from now on.
    pub(super) fn expect(
        &self,
        ack: &AckRequest,
        is_single: bool,
        sid: Option<&str>,
        reported: Arc<AtomicBool>,
    ) -> Result<(u64, bool), Error> {
        let mut state = self.state.lock();
        if state.waiting.len() >= MAX_AWAITED {
            let what = "answers of other servers are awaited";
            return Err(LimitExceeded::new(what, "a fixed bound of managers", MAX_AWAITED).into());
        }
        state.next_id += 1;
        let id = state.next_id;
        // Each server waits as long as this one, and then has to say so.
        let grace = if is_single {
            Duration::ZERO
        } else {
            REPORT_GRACE
        };
        let waiting = RemoteWaiter {
            callback: Arc::clone(&ack.callback),
            deadline: Instant::now() + clamp_duration(ack.timeout) + grace,
            is_single,
            sid: sid.map(str::to_owned),
            reported,
            reported_there: false,
        };
        let deadline = (waiting.deadline, id);
        state.deadlines.insert(deadline);
        state.waiting.insert(id, waiting);
        let is_next = state.deadlines.first() == Some(&deadline);
        let is_first = !std::mem::replace(&mut state.is_watched, true);
        drop(state);
        if is_next {
            self.changed.notify_one();
        }
        Ok((id, is_first))
    }

    pub(super) fn forget(&self, id: u64) {
        // What the program's function holds is not dropped under the lock.
        let forgotten = self.state.lock().remove(id);
        drop(forgotten);
    }

    /// Returns the callback for an answer, or for the reason why there is none; of one client if
    /// that is known.
    pub(super) fn callback_for(&self, id: u64, who: Option<&str>) -> Option<RecipientsFn> {
        let mut state = self.state.lock();
        let waiting = state.waiting.get_mut(&id)?;
        if let (Some(sid), Some(who)) = (&waiting.sid, who)
            && sid != who
        {
            // Somebody is in the room of that name who should not be.
            return None;
        }
        waiting.reported.store(true, Ordering::Release);
        waiting.reported_there = true;
        let callback = Arc::clone(&waiting.callback);
        if waiting.is_single {
            state.remove(id);
        }
        Some(callback)
    }

    /// Notes that there is no thread that watches.
    pub(super) fn watch_failed(&self) {
        self.state.lock().is_watched = false;
    }

    /// Ends the thread that watches.
    pub(super) fn end(&self) {
        self.state.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Waits for what becomes late, and hands over whom to tell; returns when nothing has been
    /// awaited for a while, or the manager ends. While the other servers cannot be reached, who is
    /// there has perhaps not been asked, and nobody else will say so.
    pub(super) fn watch(&self, tell: impl Fn(RecipientsFn), reaches_others: impl Fn() -> bool) {
        loop {
            let mut state = self.state.lock();
            let late = state.take_expired(Instant::now());
            if !late.is_empty() {
                drop(state);
                let reaches_others = reaches_others();
                let is_unknown = |it: &RemoteWaiter| {
                    it.is_unreported() || !reaches_others && !it.is_single && !it.reported_there
                };
                let unreported = late.into_iter().filter(is_unknown);
                unreported.map(|it| it.callback).for_each(&tell);
                continue;
            }
            if state.has_ended {
                return;
            }
            let next = state.deadlines.first().map(|(deadline, _)| *deadline);
            let by = next.unwrap_or_else(|| Instant::now() + IDLE_TIMEOUT);
            let is_late = self.changed.wait_until(&mut state, by).timed_out();
            if is_late && state.waiting.is_empty() {
                state.is_watched = false;
                return;
            }
        }
    }
}

impl RemoteWaiter {
    fn is_unreported(&self) -> bool {
        !self.reported.load(Ordering::Acquire)
    }
}

impl RemoteAcksState {
    /// Removes what is late, and returns it.
    fn take_expired(&mut self, now: Instant) -> Vec<RemoteWaiter> {
        let mut late = Vec::new();
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= now
        {
            late.extend(self.remove(id));
        }
        late
    }

    fn remove(&mut self, id: u64) -> Option<RemoteWaiter> {
        let waiting = self.waiting.remove(&id)?;
        self.deadlines.remove(&(waiting.deadline, id));
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn request(timeout: Duration) -> AckRequest {
        AckRequest {
            callback: Arc::new(|_, _| ()),
            timeout,
            tells_of_nobody: false,
            is_single: true,
        }
    }

    #[test]
    fn an_answered_call_leaves_nothing_behind() {
        let awaited = RemoteAcks::default();
        let request = request(Duration::from_secs(3_600));
        for _ in 0..2 * MAX_AWAITED {
            let expected = awaited.expect(&request, true, Some("x"), Arc::default());
            let (id, _) = expected.unwrap();
            assert!(awaited.callback_for(id, Some("thief")).is_none());
            assert!(awaited.callback_for(id, Some("x")).is_some());
            assert!(awaited.callback_for(id, None).is_none());
        }
        let state = awaited.state.lock();
        assert!(state.waiting.is_empty() && state.deadlines.is_empty());
    }

    #[test]
    fn what_is_late_is_told_once_unless_somebody_was_reported() {
        let awaited = RemoteAcks::default();
        let request = request(Duration::ZERO);
        let expected = awaited.expect(&request, true, None, Arc::default());
        let (first, is_first) = expected.unwrap();
        assert!(is_first);
        let reported = Arc::new(AtomicBool::new(true));
        let (_, is_first) = awaited.expect(&request, true, None, reported).unwrap();
        assert!(!is_first);
        let late = awaited.state.lock().take_expired(Instant::now());
        assert_eq!(late.iter().filter(|it| it.is_unreported()).count(), 1);
        assert!(awaited.callback_for(first, None).is_none());
        awaited.end();
        awaited.watch(|_| panic!("nobody is late"), || true);
    }

    #[test]
    fn who_could_not_be_asked_is_told_of_beside_those_who_were() {
        for reaches_others in [false, true] {
            let awaited = RemoteAcks::default();
            let request = request(Duration::ZERO);
            let here = || Arc::new(AtomicBool::new(true));
            let (answered, _) = awaited.expect(&request, false, None, here()).unwrap();
            awaited.expect(&request, false, None, here()).unwrap();
            awaited.callback_for(answered, Some("x")).unwrap();
            awaited.end();
            std::thread::sleep(REPORT_GRACE);
            let told = AtomicU64::new(0);
            let count = |_| {
                told.fetch_add(1, Ordering::Relaxed);
            };
            awaited.watch(count, || reaches_others);
            assert_eq!(told.into_inner(), u64::from(!reaches_others));
        }
    }
}
