//! Steps that the drivers of both sides share: a session's deadlines, its packets, the packets that
//! its machine sends, and the flush of held-back answers.

use super::Control;
use super::frames::Frames;
use super::handle::SessionHandle;
use super::write_batching::CorkQueue;
use crate::net::outbox::{Appended, Flush};
use crate::net::{IoContext, Timer, TimerKey};
use crate::pool::QueueState;
use crate::protocol::engineio::packet::EnginePacketError;
use crate::protocol::engineio::{Data, EnginePacket, Revision};
use std::time::Instant;

/// Deadlines of a session: those of its machine and its handler, and a wake-up that another thread
/// has asked for. One timer stands for all of them.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    timer: Timer,
    wake_up: Option<Instant>,
}

impl Deadlines {
    /// Asks for a wake-up, unless an earlier one is due.
    pub(super) fn wake_up(&mut self, at: Instant) {
        self.wake_up = Some(self.wake_up.map_or(at, |earlier| earlier.min(at)));
    }

    /// Takes the wake-up that is due, and returns whether there was one.
    pub(super) fn take_wake_up(&mut self, now: Instant) -> bool {
        self.wake_up.take_if(|at| *at <= now).is_some()
    }

    /// Returns whether an entry of the timers is the one that counts, and due.
    pub(super) fn is_due<C: Send + 'static>(
        &mut self,
        io: &mut IoContext<C>,
        entry: (Instant, TimerKey),
    ) -> bool {
        let now = io.now();
        io.timers.is_due(&mut self.timer, entry, now)
    }

    /// Sets the timer to the earliest of the deadlines.
    pub(super) fn schedule<C>(
        &mut self,
        io: &mut IoContext<C>,
        key: u64,
        machine: Option<Instant>,
        handler: Option<Instant>,
    ) {
        let deadlines = [machine, handler, self.wake_up];
        let next = deadlines.into_iter().flatten().min();
        io.timers.set(&mut self.timer, TimerKey::Driver(key), next);
    }
}

/// Result of a packet that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// The handler has had its message, and wants this.
    Handled(Control),
    /// It was one for the machine, which may have outputs.
    Outputs,
}

/// Reads the packet in a WebSocket message. Most are messages, which are taken without a look at
/// their content. Bytes that are no packet in revision 3 count as a noop, as in engine.io 3.
pub(super) fn read_packet(
    data: Data<'_>,
    revision: Revision,
) -> Result<EnginePacket<'_>, EnginePacketError> {
    match data {
        Data::Text(text) => match (text.strip_prefix('4'), revision) {
            (Some(text), _) => Ok(EnginePacket::Message(Data::Text(text))),
            (None, Revision::V4) => EnginePacket::decode(text),
            (None, Revision::V3) => EnginePacket::decode_v3(text),
        },
        Data::Binary(bytes) if revision == Revision::V3 => {
            Ok(EnginePacket::decode_binary_v3(bytes).unwrap_or(EnginePacket::Noop))
        }
        binary => Ok(EnginePacket::Message(binary)),
    }
}

/// Queues a packet of the session's machine; returns whether a poll that waits can be answered.
pub(super) fn send_packet(handle: &SessionHandle, packet: &EnginePacket<'_>) -> bool {
    match handle
        .outbox()
        .append(&Frames::control(packet).0, Flush::Now)
    {
        Ok(Appended::WakePoll) => true,
        sent => {
            // What has become of the session comes as a command.
            let _ = handle.on_append_result(sent);
            false
        }
    }
}

/// Writes the answers that have been held back for long enough. `find` returns a session's handle
/// and the state of its queue, unless it has ended.
pub(super) fn flush_held_answers<'a>(
    cork_queue: &mut CorkQueue,
    now: Instant,
    find: impl Fn(u64) -> Option<(&'a SessionHandle, QueueState)>,
) {
    while let Some(corked) = cork_queue.due(now) {
        let session = find(corked.key);
        let state = session.map_or(QueueState::Idle, |(_, state)| state);
        let flushed = cork_queue.check(now, corked, state);
        if let Some((handle, _)) = session {
            let _ = handle.on_append_result(flushed);
        }
    }
}
