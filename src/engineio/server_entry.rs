//! One session of an I/O thread: its machine, its handler, and what stands between them.
//!
//! In a circle with `driver`, `posting` and `serving`: an entry keeps what they leave with a session.

use super::driving::{Deadlines, Received};
use super::eio3::Eio3;
use super::handle::SessionHandle;
use super::posting::Posted;
use super::serving::Resident;
use super::write_batching::CorkQueue;
use super::{Control, SessionHandler};
use crate::net::http::{Header, Headers, Request};
use crate::net::{ConnectionId, IoContext};
use crate::protocol::engineio::server::{ChannelId, ServerSession};
use crate::protocol::engineio::{EnginePacket, Revision};
use crate::reason::Reason;
use crate::util::budget::Share;
use crate::util::slots::Slot;
use slab::Slab;
use std::sync::Arc;
use std::time::Instant;

/// A session, and the requests that wait for its answers.
pub(super) struct ServerEntry {
    pub(super) key: u64,
    pub(super) machine: ServerSession,
    pub(super) handle: Arc<SessionHandle>,
    /// None while the program decides, and after the end.
    pub(super) handler: Option<Box<dyn SessionHandler>>,
    /// Requests that wait for their answers.
    pub(super) pending_requests: Vec<(ConnectionId, Request)>,
    pub(super) deadlines: Deadlines,
    pub(super) read_paused: bool,
    /// True if the outbox was told that a poll waits.
    pub(super) poll_waits: bool,
    /// A POST that is being handled.
    pub(super) posted: Option<Box<Posted>>,
    /// The origin that was found to be allowed when the session was opened.
    pub(super) origin: Option<Box<str>>,
    /// Of revision 3.
    pub(super) eio3: Option<Box<Eio3>>,
    /// Packets that the client takes in one payload.
    pub(super) max_packets: usize,
    /// A place among the polling sessions, until it has moved to a WebSocket.
    pub(super) polling_slot: Option<Box<Slot>>,
    /// Its place in the count of those that are served, until it has ended.
    pub(super) resident: Option<Resident>,
    /// Fields of all its answers. Boxed, since most sessions have none.
    #[allow(
        clippy::box_collection,
        reason = "a list is three times as large as a box"
    )]
    headers: Option<Box<Headers>>,
    /// The program ended it before it was open: it is to end as soon as it is.
    pub(super) ends: Option<Reason>,
    /// Bytes of its unfinished packet, in the budget.
    pub(super) share: Share,
}

impl std::fmt::Debug for ServerEntry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handle.fmt(formatter)
    }
}

impl ServerEntry {
    /// Returns the bytes that wait for the client, or for workers, and those of what it has not
    /// sent to the end.
    pub(super) fn held(&self) -> usize {
        let handler = self.handler.as_ref();
        let received = handler.map_or(0, |it| it.kept() + it.waiting_bytes());
        let posted = self.posted.as_ref().map_or(0, |posted| posted.body.len());
        self.handle.outbox().waiting_bytes() + received + posted
    }

    /// Returns whether the program has still to decide about it.
    pub(super) fn is_undecided(&self) -> bool {
        self.handler.is_none() && self.machine.is_open()
    }

    pub(super) fn new(
        key: u64,
        machine: ServerSession,
        handle: Arc<SessionHandle>,
        origin: Option<Box<str>>,
        max_packets: usize,
        share: Share,
    ) -> ServerEntry {
        ServerEntry {
            key,
            machine,
            handle,
            handler: None,
            pending_requests: Vec::new(),
            deadlines: Deadlines::default(),
            read_paused: false,
            poll_waits: false,
            posted: None,
            origin,
            eio3: None,
            max_packets,
            polling_slot: None,
            resident: None,
            headers: None,
            ends: None,
            share,
        }
    }

    /// Hands a packet to the machine, and the message in it to the handler.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        channel: ChannelId,
        packet: EnginePacket<'_>,
    ) -> Received {
        match (
            self.machine.receive(now, channel, packet),
            &mut self.handler,
        ) {
            (Some(message), Some(handler)) => Received::Handled(handler.receive(now, message)),
            // It has still to be decided, or has ended.
            (Some(_), None) => Received::Handled(Control::Continue),
            (None, _) => Received::Outputs,
        }
    }

    /// Tells the handler that all of one read has come, and returns what is left to be done.
    pub(super) fn complete_read<C: Send + 'static>(
        &mut self,
        io: &mut IoContext<C>,
        cork_queue: &mut CorkQueue,
    ) -> Control {
        let now = io.now();
        let Some(handler) = &mut self.handler else {
            return Control::Continue;
        };
        let control = handler.on_read_complete(now);
        let kept = handler.kept();
        self.share.hold(kept);
        self.schedule(io);
        if control == Control::Scheduled {
            cork_queue.push(now, self.key, self.handle.outbox());
            return Control::Continue;
        }
        control
    }

    pub(super) fn revision(&self) -> Revision {
        match self.eio3 {
            Some(_) => Revision::V3,
            None => Revision::V4,
        }
    }

    /// Keeps fields for all its answers.
    pub(super) fn keep_headers(&mut self, headers: Headers) {
        self.headers = (!headers.is_empty()).then(|| Box::new(headers));
    }

    /// Returns the fields of all its answers.
    pub(super) fn headers(&self) -> impl Iterator<Item = Header> + use<'_> {
        self.headers
            .iter()
            .flat_map(|headers| headers.iter().cloned())
    }

    /// Tells the timers when to look again.
    pub(super) fn schedule<C: Send + 'static>(&mut self, io: &mut IoContext<C>) {
        let handler = self
            .handler
            .as_ref()
            .and_then(|handler| handler.next_timeout());
        let machine = self.machine.next_timeout();
        self.deadlines.schedule(io, self.key, machine, handler);
    }
}

pub(super) fn find(sessions: &mut Slab<ServerEntry>, key: u64) -> Option<&mut ServerEntry> {
    let session = sessions.get_mut(key as u32 as usize)?;
    (session.key == key).then_some(session)
}
