//! Answers that are awaited from other servers.

use super::AckRequest;
use crate::dispatch::Answer;
use crate::error::Error;
use crate::limits::bounded;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How many may be awaited.
const MAX: usize = 100_000;

/// Answers that are awaited, each under the id that was published with its question.
#[derive(Default)]
pub(super) struct Awaited {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    waiting: HashMap<u64, Waiting>,
}

struct Waiting {
    callback: Callback,
    deadline: Instant,
    /// Whoever it was that was asked, here or there: it is told if nobody has answered.
    answered: Option<Arc<AtomicBool>>,
}

pub(super) type Callback = Arc<dyn Fn(Result<Answer, Error>) + Send + Sync>;

impl Awaited {
    /// Awaits answers until they are late; gives the id under which they come.
    pub(super) fn expect(
        &self,
        ack: &AckRequest,
        answered: Option<Arc<AtomicBool>>,
    ) -> Result<u64, Error> {
        let mut state = self.state.lock();
        if state.waiting.len() >= MAX {
            return Err(Error::TooMuch("answers of other servers are awaited"));
        }
        state.next_id += 1;
        let id = state.next_id;
        let waiting = Waiting {
            callback: Arc::clone(&ack.callback),
            deadline: Instant::now() + bounded(ack.timeout),
            answered,
        };
        state.waiting.insert(id, waiting);
        Ok(id)
    }

    pub(super) fn forget(&self, id: u64) {
        self.state.lock().waiting.remove(&id);
    }

    /// Whom to give an answer.
    pub(super) fn callback(&self, id: u64) -> Option<Callback> {
        let state = self.state.lock();
        let waiting = state.waiting.get(&id)?;
        Some(Arc::clone(&waiting.callback))
    }

    /// Forgets what is late; gives whom to tell.
    pub(super) fn late(&self, now: Instant) -> Vec<Callback> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            return Vec::new();
        }
        let late = state.waiting.extract_if(|_, it| it.deadline <= now);
        // Of several rooms nobody knows whether anybody is in them.
        let unanswered = late.filter(|(_, it)| {
            let answered = it.answered.as_ref();
            answered.is_some_and(|answered| !answered.load(Ordering::Acquire))
        });
        unanswered.map(|(_, it)| it.callback).collect()
    }
}
