//! An event's handler, run: its panics, its errors, and the acknowledgement.

use super::answer::HandlerError;
use super::event::Event;
use crate::data::EncodedArgs;
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

/// Calls what handles an event, which says whether anybody does, and acknowledges. If it fails,
/// `on_error` says whether, and with what.
pub(crate) fn invoke(
    event: &Event,
    who: impl Display,
    log_limit: &LogLimit,
    unhandled: Unhandled,
    call: impl FnOnce(&mut EncodedArgs) -> Result<bool, HandlerError>,
    on_error: impl FnOnce(&HandlerError, &mut EncodedArgs) -> Result<bool, HandlerError>,
) {
    let (name, namespace) = (event.name(), event.namespace());
    let mut answer = ANSWER.take().unwrap_or_default();
    answer.clear();
    answer.encoding = event.encoding();
    let acknowledges = match program::call(|| call(&mut answer)) {
        Ok(Ok(true)) => Ok(true),
        Ok(Ok(false)) => {
            log::debug!(target: "socketio", "{who}: nobody handles {name:?} on {namespace:?}");
            Ok(unhandled == Unhandled::Acknowledge)
        }
        Ok(Err(error)) => {
            // What a peer sends decides about it, and about its name.
            if log_limit.admits(&who) {
                log::warn!(target: "socketio", "{who}: {name:?} on {namespace:?}: {error}");
            }
            Err(error)
        }
        Err(_) => {
            if log_limit.admits(&who) {
                log::error!(target: "socketio", "{who}: the handler of {name:?} on {namespace:?} panicked");
            }
            Err(HandlerError::new("the handler panicked"))
        }
    };
    let acknowledges = acknowledges.unwrap_or_else(|error| {
        answer.clear();
        let told = program::call(|| on_error(&error, &mut answer));
        if !matches!(told, Ok(Ok(_))) && log_limit.admits(&who) {
            log::error!(target: "socketio", "{who}: on_error has failed for {name:?} on {namespace:?}");
        }
        matches!(told, Ok(Ok(true)))
    });
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
    if answer.items.capacity() <= MAX_RETAINED_BYTES {
        ANSWER.set(Some(answer));
    }
}
