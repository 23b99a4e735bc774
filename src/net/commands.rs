//! Commands of other threads to the I/O threads, and the state that they share.

use super::Executor;
use super::body_stream::StreamState;
use super::connection::{ConnectionId, RequestMeta};
use super::http::{Request, Response};
use super::listener::PeerAddr;
use super::socket::StreamSocket;
use super::stream::Stream;
use crate::limits::Limits;
use crate::util::budget::{Budget, Share};
use crate::util::slots::{Slot, Slots};
use bytes::Bytes;
use crossbeam_channel::Sender;
use mio::Waker;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// State that all I/O threads of one port share.
#[derive(Debug)]
pub(crate) struct IoShared {
    pub(crate) limits: Limits,
    /// Bytes of a WebSocket message, and of a request's body.
    pub(crate) max_message: usize,
    pub(crate) executor: Arc<dyn Executor>,
    /// The places that connections take.
    pub(crate) connections: Arc<Slots>,
    /// Proxies, whose connections are those of many clients.
    pub(crate) trusted_proxies: Vec<IpAddr>,
    /// Budget of all connections of the port together.
    pub(crate) budget: OnceLock<Arc<Budget>>,
}

impl IoShared {
    /// Returns a share of the budget, for one holder.
    pub(crate) fn share(&self) -> Share {
        Share::of(self.budget.get().cloned())
    }
}

/// Command to an I/O thread.
#[derive(Debug)]
pub(crate) enum Command<C> {
    /// Take a connection in that another I/O thread has accepted.
    Transfer(Box<TransferredConnection>),
    /// Take a connection in that the program has accepted, with what it has read of it.
    Adopt(Stream, PeerAddr, Vec<u8>),
    /// Answer a request that was parked.
    Respond(ConnectionId, Response),
    /// A part of an answer's body has been read.
    Streamed(ConnectionId, StreamState),
    /// Read from a connection again, whose body had no room.
    ReadOn(ConnectionId),
    /// More bytes wait than may.
    Relieve,
    /// For the driver.
    Driver(C),
    /// Close everything; what cannot be written by then is dropped.
    Stop(Instant),
}

/// A connection between two I/O threads.
#[derive(Debug)]
pub(crate) struct TransferredConnection {
    pub(super) socket: Arc<StreamSocket>,
    pub(super) peer: PeerAddr,
    pub(super) unread: Vec<u8>,
    /// Bytes that its outbox has not written.
    pub(super) unwritten: Bytes,
    pub(super) slot: Option<Slot>,
    pub(super) request: Option<(RequestMeta, Request)>,
}

/// The way into an I/O thread.
#[derive(Debug)]
pub(crate) struct CommandSender<C> {
    sender: Sender<C>,
    waker: Arc<Waker>,
    /// True if the thread has been woken for commands that it has not looked at.
    woken: Arc<AtomicBool>,
}

impl<C> Clone for CommandSender<C> {
    fn clone(&self) -> Self {
        CommandSender {
            sender: self.sender.clone(),
            waker: Arc::clone(&self.waker),
            woken: Arc::clone(&self.woken),
        }
    }
}

impl<C> CommandSender<C> {
    pub(super) fn new(sender: Sender<C>, waker: Waker) -> CommandSender<C> {
        CommandSender {
            sender,
            waker: Arc::new(waker),
            woken: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Sends a command without ever blocking. One for a thread that has ended is dropped.
    pub(crate) fn send(&self, command: C) {
        if self.sender.send(command).is_err() {
            return;
        }
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            log::error!(target: "engineio", "an I/O thread cannot be woken: {error}");
        }
    }

    /// Returns whether there may be commands. The thread asks before it looks.
    pub(super) fn take_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::AcqRel)
    }
}
