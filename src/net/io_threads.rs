//! The I/O threads of one port, or of all clients, from outside.

use super::Driver;
use super::commands::{Command, CommandSender, IoShared};
use super::context::IoContext;
use super::event_loop::{EventLoop, LISTENER, WAKER};
use super::listener::{Listener, PeerAddr, SocketAcceptor};
use super::stream::Stream;
use crate::util::budget::Budget;
use mio::{Poll, Waker};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// The I/O threads of one port, or of all clients of the process.
#[derive(Debug)]
pub(crate) struct IoThreads<C> {
    pub(crate) senders: Arc<[CommandSender<Command<C>>]>,
    handles: Vec<JoinHandle<()>>,
}

impl<C: Send + std::fmt::Debug + 'static> IoThreads<C> {
    /// Starts `count` threads, each with a driver of its own, that serve listeners if there
    /// are any.
    pub(crate) fn start<D: Driver<Command = C>>(
        name: &str,
        listeners: Vec<Listener>,
        count: usize,
        options: IoShared,
        mut driver: impl FnMut() -> D,
    ) -> io::Result<IoThreads<C>> {
        let acceptors = listeners.into_iter().map(Listener::into_acceptor);
        let mut acceptors: Vec<SocketAcceptor> = acceptors.collect::<io::Result<_>>()?;
        let options = Arc::new(options);
        let mut polls = Vec::new();
        let mut senders = Vec::new();
        for _ in 0..count {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            let (sender, receiver) = crossbeam_channel::unbounded();
            senders.push(CommandSender::new(sender, waker));
            polls.push((poll, receiver));
        }
        let senders: Arc<[_]> = senders.into();
        let told = Arc::clone(&senders);
        let tell = move || {
            told.iter()
                .for_each(|it: &CommandSender<_>| it.send(Command::Relieve));
        };
        let budget = Budget::new(options.limits.buffered_bytes, tell);
        // It is made here and nowhere else.
        let _ = options.budget.set(Arc::new(budget));
        let mut threads = IoThreads {
            senders: Arc::clone(&senders),
            handles: Vec::new(),
        };
        for (index, (poll, commands)) in polls.into_iter().enumerate() {
            let registry = poll.registry().try_clone()?;
            // The first thread accepts, and hands out.
            let mut acceptors = std::mem::take(&mut acceptors);
            for acceptor in &mut acceptors {
                acceptor.register(&registry, LISTENER)?;
            }
            let io = IoContext::new(registry, Arc::clone(&senders), index, Arc::clone(&options));
            let thread = EventLoop::new(poll, commands, acceptors, io, driver());
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

    /// Hands a connection that the program has accepted to the first thread.
    pub(crate) fn adopt(&self, stream: Stream, peer: PeerAddr, unread: Vec<u8>) {
        if let Some(sender) = self.senders.first() {
            sender.send(Command::Adopt(stream, peer, unread));
        }
    }

    /// Asks the threads to end, by this time at the latest.
    pub(crate) fn stop(&self, by: Instant) {
        for commands in self.senders.iter() {
            commands.send(Command::Stop(by));
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
