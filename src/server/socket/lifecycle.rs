//! Life of a client on a namespace: what its phases are, and what leads from one to the next.
//!
//! Its state is in `mod`: the methods of one `Socket` stand where their subject is.

use super::Socket;
use crate::error::Error;
use crate::handlers::ack;
use crate::protocol::engineio::Revision;
use crate::protocol::socketio::Kind;
use crate::reason::Reason;
use std::sync::atomic::Ordering;

/// Life of a client on a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(in crate::server) enum SocketPhase {
    /// The connect handler has not accepted.
    Connecting,
    /// It has, and the client is being told so, before what was held for it.
    Accepting,
    Connected,
    /// It was connected.
    Disconnected,
    /// It was refused, or went away before.
    Refused,
}

impl SocketPhase {
    pub(super) fn from(number: u8) -> SocketPhase {
        match number {
            0 => SocketPhase::Connecting,
            1 => SocketPhase::Accepting,
            2 => SocketPhase::Connected,
            3 => SocketPhase::Disconnected,
            _ => SocketPhase::Refused,
        }
    }
}

impl Socket {
    /// Returns whether it is there, also while its connect handler runs.
    pub(in crate::server) fn is_present(&self) -> bool {
        !matches!(
            self.phase(),
            SocketPhase::Disconnected | SocketPhase::Refused
        )
    }

    pub(in crate::server) fn phase(&self) -> SocketPhase {
        SocketPhase::from(self.inner.phase.load(Ordering::Acquire))
    }

    fn set_phase(&self, phase: SocketPhase) {
        self.inner.phase.store(phase as u8, Ordering::Release);
    }

    /// Tells the client that it is connected, and sends what was held for it.
    pub(in crate::server) fn open(&self) {
        let connect = match self.connection().handle().revision() {
            Revision::V4 => {
                self.packet_frames(Kind::Connect, &format!("{{\"sid\":\"{}\"}}", self.sid()))
            }
            Revision::V3 => self.packet_frames(Kind::Connect, ""),
        };
        let mut failure = None;
        let mut state = self.inner.state.lock();
        if self.phase() != SocketPhase::Connecting {
            return;
        }
        // Its events are welcome as soon as it can know; sending from others waits for the lock.
        self.set_phase(SocketPhase::Accepting);
        let _ = self.connection().handle().send(&connect);
        for frames in std::mem::take(&mut state.held) {
            if let Err(error @ Error::LimitExceeded(_)) = self.connection().handle().send(&frames) {
                failure = Some(error);
            }
        }
        self.set_phase(SocketPhase::Connected);
        let disconnect_requested = state.disconnect_requested;
        drop(state);
        if let Some(error) = failure {
            log::error!(target: "socketio", "{}: what was sent in the connect handler is lost: {error}", self.sid());
        }
        if disconnect_requested {
            self.request_disconnect();
        }
    }

    /// Admits the client, as the connect handler has: broadcasts include it, and its disconnect
    /// handler will run.
    pub(in crate::server) fn accept(&self) {
        self.inner.state.lock().accepted = true;
        self.inner.space.rooms.admit(self.sid());
    }

    /// Forgets a client that was not accepted.
    pub(in crate::server) fn refuse(&self) {
        let mut state = self.inner.state.lock();
        self.set_phase(SocketPhase::Refused);
        state.held = Vec::new();
        drop(state);
        self.fail_acks();
        self.forget();
    }

    /// Disconnects it; returns whether it was connected, or about to be.
    pub(in crate::server) fn request_disconnect(&self) -> bool {
        let packet = self.packet_frames(Kind::Disconnect, "");
        let mut state = self.inner.state.lock();
        match self.phase() {
            SocketPhase::Connecting => {
                state.disconnect_requested = true;
                true
            }
            SocketPhase::Accepting | SocketPhase::Connected => {
                // A client that has gone needs none.
                let _ = self.connection().handle().send(&packet);
                self.set_phase(SocketPhase::Disconnected);
                drop(state);
                self.fail_acks();
                self.connection()
                    .queue_disconnect(self, Reason::ServerDisconnect);
                true
            }
            SocketPhase::Disconnected | SocketPhase::Refused => false,
        }
    }

    /// Notes that the client has gone, or its connection has. Called on the I/O thread.
    pub(in crate::server) fn lose(&self, reason: Reason) {
        if self.end() {
            self.connection().queue_disconnect(self, reason);
        }
    }

    /// Ends it; returns whether its disconnect handler is still to be queued.
    pub(in crate::server) fn end(&self) -> bool {
        let before = {
            let _state = self.inner.state.lock();
            let before = self.phase();
            if before <= SocketPhase::Connected {
                self.set_phase(if before == SocketPhase::Connecting {
                    SocketPhase::Refused
                } else {
                    SocketPhase::Disconnected
                });
            }
            before
        };
        let ends = before <= SocketPhase::Connected;
        if ends {
            self.fail_acks();
        }
        ends
    }

    fn fail_acks(&self) {
        for waiting in self.inner.acks.close() {
            ack::complete(self.connection(), waiting, Err(Error::Disconnected));
        }
    }

    /// Returns whether the disconnect handler is to be called.
    pub(in crate::server) fn was_accepted(&self) -> bool {
        self.inner.state.lock().accepted
    }

    /// Takes it out of everything, last of all.
    pub(in crate::server) fn forget(&self) {
        self.connection()
            .inner()
            .spaces
            .remove(&self.inner.space, self.sid(), self);
        let mut state = self.inner.state.lock();
        state.forgotten = true;
        let kept = (state.sessions.take(), state.own.take());
        drop(state);
        drop(kept);
    }
}
