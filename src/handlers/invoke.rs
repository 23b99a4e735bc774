//! An event's handler, run: its panics, its errors, and the acknowledgement.

use super::event::Event;
use super::handler::HandlerError;
use crate::data::args::EncodedArgs;
use crate::error::Error;
use crate::util::log_limit::LogLimit;
use crate::util::program;
use std::cell::Cell;
use std::fmt::Display;

/// Bytes that a thread's buffer for answers keeps.
const MAX_RETAINED_BYTES: usize = 64 << 10;

thread_local! {
    /// Buffer for the answer of a handler.
    static ANSWER: Cell<Option<EncodedArgs>> = const { Cell::new(None) };
}

/// Treatment of an event without a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unhandled {
    Ignore,
    /// As if a handler had returned nothing.
    Acknowledge,
}

/// Calls what handles an event, which says whether anybody does, and acknowledges.
pub(crate) fn run(
    event: &Event,
    who: impl Display,
    log_limit: &LogLimit,
    unhandled: Unhandled,
    call: impl FnOnce(&mut EncodedArgs) -> Result<bool, HandlerError>,
) {
    let (name, namespace) = (event.name(), event.namespace());
    let mut answer = ANSWER.take().unwrap_or_default();
    answer.clear();
    let acknowledges = match program::call(|| call(&mut answer)) {
        Ok(Ok(true)) => true,
        Ok(Ok(false)) => {
            log::debug!(target: "socketio", "{who}: nobody handles {name:?} on {namespace:?}");
            unhandled == Unhandled::Acknowledge
        }
        Ok(Err(error)) => {
            // What a peer sends decides about it, and about its name.
            if log_limit.admits(&who) {
                log::warn!(target: "socketio", "{who}: {name:?} on {namespace:?}: {error}");
            }
            false
        }
        Err(_) if !log_limit.admits(&who) => false,
        Err(_) => {
            log::error!(target: "socketio", "{who}: the handler of {name:?} on {namespace:?} panicked");
            false
        }
    };
    if acknowledges {
        match event.acknowledge(&answer) {
            // The other side has gone meanwhile: nobody is left to be told.
            Ok(()) | Err(Error::Disconnected) => {}
            Err(error) if log_limit.admits(&who) => {
                log::error!(target: "socketio", "{who}: {name:?} on {namespace:?} was not acknowledged: {error}");
            }
            Err(_) => {}
        }
    }
    if answer.json.capacity() <= MAX_RETAINED_BYTES {
        ANSWER.set(Some(answer));
    }
}
