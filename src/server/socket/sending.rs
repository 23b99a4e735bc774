//! Packets to a client, and the answers that are awaited of it.
//!
//! Its state is in `mod`: the methods of one `Socket` stand where their subject is.

use super::lifecycle::SocketPhase;
use super::{Socket, SocketInner};
use crate::data::{EncodedArgs, Encoding};
use crate::engineio::frames::BinaryForm;
use crate::engineio::{Frames, HeldBroadcasts, block_in_place};
use crate::error::{Error, LimitExceeded};
use crate::handlers::ack::Callback;
use crate::handlers::encode::{self, SharedEvent};
use crate::handlers::{AckResponse, AckWaiter, EventSource, PendingAcks};
use crate::limits::clamp_duration;
use crate::parser::Wire;
use crate::protocol::socketio::Kind;
use crate::util::oneshot::channel;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Socket {
    pub(super) fn next_ack(&self) -> u64 {
        self.connection()
            .inner()
            .next_ack
            .fetch_add(1, Ordering::Relaxed)
    }

    pub(in crate::server) fn call_encoded(
        &self,
        event: &str,
        data: &EncodedArgs,
        timeout: Duration,
    ) -> Result<AckResponse, Error> {
        if self.phase() == SocketPhase::Connecting {
            return Err(Error::Disconnected);
        }
        let by = Instant::now() + clamp_duration(timeout);
        let (sender, answer) = channel();
        let id = self.next_ack();
        self.insert_ack(id, AckWaiter::Call(sender))?;
        self.connection().on_ack_expected();
        if let Err(error) = self.emit_encoded(event, Some(id), data) {
            self.inner.acks.take(id);
            return Err(error);
        }
        block_in_place(|| answer.recv_deadline(by)).unwrap_or_else(|| {
            self.inner.acks.take(id);
            Err(Error::Timeout)
        })
    }

    pub(in crate::server) fn register_ack(
        &self,
        id: u64,
        timeout: Duration,
        run: Callback,
    ) -> Result<(), Error> {
        let waiting = AckWaiter::Callback {
            run,
            deadline: Instant::now() + clamp_duration(timeout),
        };
        if let Some(deadline) = self.insert_ack(id, waiting)? {
            self.connection().handle().wake_at(deadline);
        }
        self.connection().on_ack_expected();
        Ok(())
    }

    /// Keeps what waits for an acknowledgement; returns its deadline if it is now the earliest.
    fn insert_ack(&self, id: u64, waiting: AckWaiter) -> Result<Option<Instant>, Error> {
        let limits = self.connection().limits();
        let inserted = self.inner.acks.insert(id, waiting, limits.pending_acks);
        inserted.inspect_err(|_| limits.refused.note("pending_acks"))
    }

    /// Takes back what was expected; false if it has been settled already.
    pub(in crate::server) fn forget_ack(&self, id: u64) -> bool {
        self.inner.acks.take(id).is_some()
    }

    pub(super) fn emit_encoded(
        &self,
        event: &str,
        id: Option<u64>,
        data: &EncodedArgs,
    ) -> Result<(), Error> {
        let (wire, inner) = (self.inner.wire(), self.connection().inner());
        if self.phase() == SocketPhase::Connected && data.attachments.is_empty() {
            self.connection().handle().send_written(|buffer| {
                encode::write_event(wire, self.namespace_name(), event, id, data, buffer)?;
                inner.counters.sent(true, buffer.len());
                Ok(())
            })?;
        } else {
            let frames = encode::event_frames(wire, self.namespace_name(), event, id, data)?;
            inner.counters.sent(true, frames.0.len());
            self.deliver_or_hold(&frames)?;
        }
        self.note_sent(event, data);
        Ok(())
    }

    /// Tells those who want to know of an event that is sent.
    fn note_sent(&self, event: &str, data: &EncodedArgs) {
        let inner = self.connection().inner();
        if inner.watch.is_on() {
            inner.watch.sent(self, event, data);
        }
        if inner.has_outgoing.load(Ordering::Acquire) {
            inner.handlers.get().on_sent(self, event, data);
        }
    }

    /// Sends an event that others get too.
    pub(in crate::server) fn deliver(
        &self,
        event: &mut SharedEvent<'_>,
        volatile: bool,
        held: Option<&HeldBroadcasts>,
    ) -> Result<(), Error> {
        let (form, handle) = (self.inner.form, self.connection().handle());
        self.note_sent(event.event, event.data);
        match self.phase() {
            SocketPhase::Connected => {
                let frames = event.frames(form, handle.binary_form())?;
                match held {
                    _ if volatile => {
                        handle.send_volatile(frames);
                        Ok(())
                    }
                    Some(held) => handle.send_held(frames, held),
                    None => handle.send_shared(frames),
                }
            }
            SocketPhase::Connecting if volatile => Ok(()),
            // Its bytes get their form when they leave.
            _ => self.deliver_or_hold(event.frames(form, BinaryForm::Plain)?),
        }
    }

    fn deliver_or_hold(&self, frames: &Frames) -> Result<(), Error> {
        let mut state = self.inner.state.lock();
        match self.phase() {
            SocketPhase::Connecting => {
                let limit = self.connection().limits().outbox_bytes;
                if state.held_bytes + frames.0.len() > limit {
                    let what = "bytes for a client that is not connected yet";
                    return Err(LimitExceeded::new(what, "outbox_bytes", limit).into());
                }
                state.held_bytes += frames.0.len();
                state.held.push(frames.clone());
                Ok(())
            }
            SocketPhase::Accepting | SocketPhase::Connected => {
                self.connection().handle().send(frames)
            }
            SocketPhase::Disconnected | SocketPhase::Refused => Err(Error::Disconnected),
        }
    }

    pub(super) fn packet_frames(&self, kind: Kind, data: &str) -> Frames {
        encode::packet_frames(self.inner.wire(), kind, self.namespace_name(), data)
    }

    /// Sends a packet without arguments.
    pub(in crate::server) fn send_packet(&self, kind: Kind, data: &str) {
        let frames = self.packet_frames(kind, data);
        // A client that has gone needs none.
        let _ = self.connection().handle().send(&frames);
    }

    pub(in crate::server) fn acks(&self) -> &PendingAcks {
        &self.inner.acks
    }

    pub(in crate::server) fn as_source(&self) -> Arc<dyn EventSource> {
        Arc::clone(&self.inner) as Arc<dyn EventSource>
    }
}

impl SocketInner {
    fn wire(&self) -> Wire<'_> {
        Wire::new(&self.connection.inner().config.parser, self.form)
    }
}

impl EventSource for SocketInner {
    fn namespace(&self) -> &Arc<str> {
        &self.space.name
    }

    fn sid(&self) -> &str {
        &self.sid
    }

    fn encoding(&self) -> Encoding {
        self.form.encoding()
    }

    fn acknowledge(&self, id: u64, answer: &EncodedArgs) -> Result<(), Error> {
        let phase = SocketPhase::from(self.phase.load(Ordering::Acquire));
        if !matches!(phase, SocketPhase::Accepting | SocketPhase::Connected) {
            return Err(Error::Disconnected);
        }
        let max_attachments = self.connection.limits().outgoing_attachments;
        answer.check(max_attachments)?;
        self.connection.handle().send_written(|buffer| {
            let wire = self.wire();
            encode::write_ack(wire, &self.space.name, id, answer, buffer)?;
            self.connection.inner().counters.sent(false, buffer.len());
            Ok(())
        })
    }
}
