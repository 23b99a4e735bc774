//! The events of one connection that run at once, with `async_handlers`.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

use super::socket::Socket;
use crate::reason::Reason;
use crate::util::budget::Share;
use crate::util::sync::Mutex;

/// Events that run, and what comes behind them.
#[derive(Debug)]
pub(super) struct Overlap {
    state: Mutex<OverlapState>,
}

#[derive(Debug)]
struct OverlapState {
    running: usize,
    bytes: usize,
    share: Share,
    /// Clients that have gone, whose disconnect handlers come behind their last event.
    ends: Vec<(Socket, Reason)>,
}

impl Overlap {
    pub(super) fn new(share: Share) -> Overlap {
        Overlap {
            state: Mutex::new(OverlapState {
                running: 0,
                bytes: 0,
                share,
                ends: Vec::new(),
            }),
        }
    }

    /// Notes an event that is to run beside the others, unless that would be more bytes than may be.
    pub(super) fn begin(&self, bytes: usize, limit: usize) -> bool {
        let mut state = self.state.lock();
        if state.running > 0 && state.bytes + bytes > limit {
            return false;
        }
        state.running += 1;
        state.bytes += bytes;
        let total = state.bytes;
        state.share.hold(total);
        true
    }

    /// Notes that it has run; returns whose disconnect handlers are due.
    pub(super) fn finish(&self, bytes: usize) -> Vec<(Socket, Reason)> {
        let mut state = self.state.lock();
        state.running -= 1;
        state.bytes -= bytes;
        let total = state.bytes;
        state.share.hold(total);
        if state.running > 0 {
            return Vec::new();
        }
        std::mem::take(&mut state.ends)
    }

    /// Keeps the end of a client for when the last event has run; returns it if none runs.
    pub(super) fn end_behind(&self, socket: Socket, reason: Reason) -> Option<(Socket, Reason)> {
        let mut state = self.state.lock();
        if state.running == 0 {
            return Some((socket, reason));
        }
        state.ends.push((socket, reason));
        None
    }
}
