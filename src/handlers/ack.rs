//! Acknowledgements that are awaited.

use crate::data::ReceivedArgs;
use crate::error::{Error, LimitExceeded};
use crate::pool::{Inbox, Runnable, TurnHistory, work_off};
use crate::util::oneshot::OneshotSender;
use crate::util::program;
use crate::util::sync::Mutex;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Bytes that a callback counts for in an inbox besides its answer.
const CALLBACK_OVERHEAD_BYTES: usize = 64;

/// Arguments of an acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[doc(hidden)]
pub struct AckResponse(pub(crate) ReceivedArgs);

impl AckResponse {
    /// Returns the bytes that it holds.
    fn size(&self) -> usize {
        self.0.size()
    }

    /// Decodes the values: none is null, one is itself, several are a tuple or a list.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.0.decode_data(0)
    }
}

/// Waiter for an acknowledgement.
pub(crate) enum AckWaiter {
    /// A thread, which minds the time itself.
    Call(OneshotSender<Result<AckResponse, Error>>),
    /// A function that is called once, on a worker.
    Callback { run: Callback, deadline: Instant },
}

pub(crate) type Callback = Box<dyn FnOnce(Result<AckResponse, Error>) + Send>;

/// An owner of callbacks: a connection.
pub(crate) trait CallbackOwner: Send + Sync + 'static {
    /// Callbacks with their answers, beside the handlers.
    fn callbacks(&self) -> &Inbox<ReadyCallback>;

    /// Returns the record of their last turns.
    fn last_callbacks(&self) -> &TurnHistory;

    /// Notes that a worker has had a turn at them.
    fn on_called_back(&self) {}

    fn schedule(&self, turn: Arc<dyn Runnable>);
}

/// A callback, and what it is to be called with.
pub(crate) type ReadyCallback = (Callback, Result<AckResponse, Error>);

/// Completes a waiter with an answer, or the lack of one.
pub(crate) fn complete<T: CallbackOwner>(
    owner: &Arc<T>,
    waiter: AckWaiter,
    answer: Result<AckResponse, Error>,
) {
    match waiter {
        // The caller may have given up.
        AckWaiter::Call(sender) => sender.send(answer),
        AckWaiter::Callback { run, .. } => {
            let bytes = CALLBACK_OVERHEAD_BYTES + answer.as_ref().map_or(0, AckResponse::size);
            let item = ((run, answer), bytes);
            if owner.callbacks().push(vec![item]).schedule {
                owner.schedule(Arc::new(Callbacks(Arc::clone(owner))));
            }
        }
    }
}

/// A worker's turn at a connection's callbacks.
struct Callbacks<T>(Arc<T>);

impl<T: CallbackOwner> Runnable for Callbacks<T> {
    fn run(self: Arc<Self>) {
        let again = work_off(self.0.callbacks(), |(run, answer)| {
            if program::call(|| run(answer)).is_err() {
                log::error!(target: "socketio", "a callback panicked");
            }
        });
        self.0.on_called_back();
        if again {
            let owner = Arc::clone(&self.0);
            owner.schedule(self);
        }
    }

    fn turn_history(&self) -> &TurnHistory {
        self.0.last_callbacks()
    }

    fn waiting_items(&self) -> usize {
        self.0.callbacks().len()
    }
}

/// The acknowledgements that one peer owes on one namespace.
#[derive(Default)]
pub(crate) struct PendingAcks {
    /// Boxed, since most clients owe none.
    state: Mutex<Option<Box<PendingState>>>,
}

#[derive(Default)]
struct PendingState {
    closed: bool,
    waiter: HashMap<u64, AckWaiter>,
    /// The earliest deadline that the I/O thread knows of.
    armed: Option<Instant>,
}

impl PendingAcks {
    /// Adds one; returns a deadline that the I/O thread must be told, if it knows of none as early.
    pub(crate) fn insert(
        &self,
        id: u64,
        waiter: AckWaiter,
        limit: usize,
    ) -> Result<Option<Instant>, Error> {
        let mut state = self.state.lock();
        let state = state.get_or_insert_default();
        if state.closed {
            return Err(Error::Disconnected);
        }
        if state.waiter.len() >= limit {
            let what = "acknowledgements are awaited of one client";
            return Err(LimitExceeded::new(what, "pending_acks", limit).into());
        }
        let wake = match &waiter {
            AckWaiter::Callback { deadline, .. } if state.armed.is_none_or(|at| *deadline < at) => {
                state.armed = Some(*deadline);
                Some(*deadline)
            }
            _ => None,
        };
        state.waiter.insert(id, waiter);
        Ok(wake)
    }

    pub(crate) fn take(&self, id: u64) -> Option<AckWaiter> {
        let mut state = self.state.lock();
        let inner = state.as_mut()?;
        let waiter = inner.waiter.remove(&id);
        if inner.waiter.is_empty() && !inner.closed && inner.armed.is_none() {
            *state = None;
        }
        waiter
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state
            .lock()
            .as_ref()
            .is_none_or(|state| state.waiter.is_empty())
    }

    /// Takes out the callbacks whose time is over; returns when to look again.
    pub(crate) fn take_expired(&self, now: Instant) -> (Vec<Callback>, Option<Instant>) {
        let mut state = self.state.lock();
        let Some(state) = state.as_mut() else {
            return (Vec::new(), None);
        };
        let due = |waiter: &AckWaiter| matches!(waiter, AckWaiter::Callback { deadline, .. } if *deadline <= now);
        let ids = state.waiter.iter().filter(|(_, waiter)| due(waiter));
        let mut ids: Vec<_> = ids.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let expired = ids
            .into_iter()
            .filter_map(|id| match state.waiter.remove(&id) {
                Some(AckWaiter::Callback { run, .. }) => Some(run),
                _ => None,
            });
        let expired = expired.collect();
        let deadlines = state.waiter.values().filter_map(|waiter| match waiter {
            AckWaiter::Callback { deadline, .. } => Some(*deadline),
            AckWaiter::Call(_) => None,
        });
        state.armed = deadlines.min();
        (expired, state.armed)
    }

    /// Takes everything out; nothing can be added any more.
    pub(crate) fn close(&self) -> Vec<AckWaiter> {
        let mut state = self.state.lock();
        let state = state.get_or_insert_default();
        state.closed = true;
        drain(state)
    }

    /// Takes out the calls of threads.
    pub(crate) fn take_calls(&self) -> Vec<AckWaiter> {
        let mut state = self.state.lock();
        let Some(state) = state.as_mut() else {
            return Vec::new();
        };
        let calls = state
            .waiter
            .extract_if(|_, waiter| matches!(waiter, AckWaiter::Call(_)));
        calls.map(|(_, waiter)| waiter).collect()
    }
}

fn drain(state: &mut PendingState) -> Vec<AckWaiter> {
    let mut waiter: Vec<_> = std::mem::take(&mut state.waiter).into_iter().collect();
    waiter.sort_unstable_by_key(|(id, _)| *id);
    waiter.into_iter().map(|(_, waiter)| waiter).collect()
}

impl fmt::Debug for PendingAcks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self
            .state
            .lock()
            .as_ref()
            .map_or(0, |state| state.waiter.len());
        write!(formatter, "PendingAcks({count})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Args;
    use std::time::Duration;

    fn callback(deadline: Instant) -> AckWaiter {
        AckWaiter::Callback {
            run: Box::new(|_| ()),
            deadline,
        }
    }

    #[test]
    fn an_answer_is_nothing_one_value_or_several() {
        let decode = |json: &str| AckResponse(ReceivedArgs::json(json, Vec::new()));
        assert_eq!(decode("").decode::<Option<i32>>().unwrap(), None);
        assert_eq!(decode("[]").decode::<Option<i32>>().unwrap(), None);
        assert_eq!(decode("[7]").decode::<i32>().unwrap(), 7);
        assert_eq!(decode("[7]").decode::<Args>().unwrap().len(), 1);
        assert_eq!(decode("").decode::<Args>().unwrap().len(), 0);
        assert_eq!(decode("[[1,2]]").decode::<Vec<i32>>().unwrap(), [1, 2]);
        assert_eq!(
            decode("[1,\"a\"]").decode::<(i32, String)>().unwrap(),
            (1, "a".into())
        );
        assert!(matches!(
            decode("[7]").decode::<String>(),
            Err(Error::Decode(_))
        ));
    }

    #[test]
    fn each_is_answered_or_expires_once() {
        let (acks, now) = (PendingAcks::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(acks.insert(1, callback(at(10)), 3).unwrap(), Some(at(10)));
        assert_eq!(acks.insert(2, callback(at(20)), 3).unwrap(), None);
        assert_eq!(acks.insert(3, callback(at(5)), 3).unwrap(), Some(at(5)));
        assert!(matches!(
            acks.insert(4, callback(at(5)), 3),
            Err(Error::LimitExceeded(_))
        ));
        assert!(acks.take(2).is_some());
        assert!(acks.take(2).is_none());
        let (expired, next) = acks.take_expired(at(5));
        assert_eq!((expired.len(), next), (1, Some(at(10))));
        assert_eq!(acks.close().len(), 1);
        assert!(matches!(
            acks.insert(5, callback(at(9)), 3),
            Err(Error::Disconnected)
        ));
    }
}
