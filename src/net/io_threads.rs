//! The I/O threads of one port, or of all clients, from outside.

use super::body_stream::Progress;
use super::commands::Mailbox;
use super::connection::{ConnectionId, RequestMeta};
use super::context::IoContext;
use super::event_loop::{EventLoop, LISTENER, WAKER};
use super::http::{Request, Response};
use super::tcp::Socket;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{Driver, Executor};
use crate::limits::Limits;
use crate::util::budget::{Budget, Share};
use bytes::Bytes;
use mio::net::TcpListener;
use mio::{Interest, Poll, Waker};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

/// State that all I/O threads of one port share.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) limits: Limits,
    /// Bytes of a WebSocket message, and of a request's body.
    pub(crate) max_message: usize,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    pub(crate) executor: Arc<dyn Executor>,
    /// Number of connections.
    pub(crate) connections: AtomicUsize,
    /// Budget of all of them together.
    pub(crate) budget: OnceLock<Arc<Budget>>,
}

impl Options {
    /// Returns a share of the budget, for one holder.
    pub(crate) fn share(&self) -> Share {
        Share::of(self.budget.get().cloned())
    }
}

/// Command to an I/O thread.
#[derive(Debug)]
pub(crate) enum Command<C> {
    /// Take this connection in.
    Adopt(Box<TransferredConnection>),
    /// Answer a request that was parked.
    Respond(ConnectionId, Response),
    /// A part of an answer's body has been read.
    Pumped(ConnectionId, Progress),
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
    pub(super) socket: Arc<Socket>,
    pub(super) peer: SocketAddr,
    pub(super) unread: Vec<u8>,
    /// Bytes that its outbox has not written.
    pub(super) unwritten: Bytes,
    pub(super) request: Option<(RequestMeta, Request)>,
}

/// The I/O threads of one port, or of all clients of the process.
#[derive(Debug)]
pub(crate) struct IoThreads<C> {
    pub(crate) mailboxes: Arc<[Mailbox<Command<C>>]>,
    handles: Vec<JoinHandle<()>>,
}

impl<C: Send + std::fmt::Debug + 'static> IoThreads<C> {
    /// Starts `count` threads, each with a driver of its own, that serve a listener if there is
    /// one.
    pub(crate) fn start<D: Driver<Command = C>>(
        name: &str,
        listener: Option<std::net::TcpListener>,
        count: usize,
        options: Options,
        mut driver: impl FnMut() -> D,
    ) -> io::Result<IoThreads<C>> {
        let mut listener = match listener {
            Some(listener) => {
                listener.set_nonblocking(true)?;
                Some(TcpListener::from_std(listener))
            }
            None => None,
        };
        let options = Arc::new(options);
        let mut polls = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..count {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            let (sender, receiver) = crossbeam_channel::unbounded();
            mailboxes.push(Mailbox::new(sender, waker));
            polls.push((poll, receiver));
        }
        let mailboxes: Arc<[_]> = mailboxes.into();
        let told = Arc::clone(&mailboxes);
        let tell = move || {
            told.iter()
                .for_each(|it: &Mailbox<_>| it.send(Command::Relieve));
        };
        let budget = Budget::new(options.limits.buffered_bytes, tell);
        // It is made here and nowhere else.
        let _ = options.budget.set(Arc::new(budget));
        let mut threads = IoThreads {
            mailboxes: Arc::clone(&mailboxes),
            handles: Vec::new(),
        };
        for (index, (poll, commands)) in polls.into_iter().enumerate() {
            let registry = poll.registry().try_clone()?;
            let mut listener = listener.take();
            if let Some(listener) = &mut listener {
                registry.register(listener, LISTENER, Interest::READABLE)?;
            }
            let io = IoContext::new(
                registry,
                Arc::clone(&mailboxes),
                index,
                Arc::clone(&options),
            );
            let thread = EventLoop::new(poll, commands, listener, io, driver());
            let name = format!("socketio-{name}-{index}");
            let spawned = std::thread::Builder::new()
                .name(name)
                .spawn(move || thread.run());
            match spawned {
                Ok(handle) => threads.handles.push(handle),
                Err(error) => {
                    threads.stop(Instant::now());
                    threads.join();
                    return Err(error);
                }
            }
        }
        Ok(threads)
    }

    /// Asks the threads to end, by this time at the latest.
    pub(crate) fn stop(&self, by: Instant) {
        for mailbox in self.mailboxes.iter() {
            mailbox.send(Command::Stop(by));
        }
    }

    /// Waits for threads that were asked to end.
    pub(crate) fn join(&mut self) {
        for handle in self.handles.drain(..) {
            if handle.thread().id() != std::thread::current().id() && handle.join().is_err() {
                log::error!(target: "engineio", "an I/O thread panicked");
            }
        }
    }
}
