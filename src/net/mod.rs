//! The I/O threads: they accept, read, write and watch deadlines. They wait for nothing but sockets
//! and deadlines, and run code of the program only where it must not block: decoders of codecs, and
//! what a TLS configuration of rustls calls.
//!
//! Each thread owns its connections and, through a [`Driver`], what stands above them. Others reach
//! it by its [`CommandSender`], or write to a peer by its [`Outbox`](outbox::Outbox).

mod accept;
mod body_stream;
mod commands;
mod connection;
mod context;
mod event_loop;
pub(crate) mod http;
mod http_connection;
mod io_threads;
pub(crate) mod listener;
mod mask;
pub(crate) mod outbox;
#[cfg(test)]
mod outbox_tests;
pub(crate) mod socket;
pub(crate) mod stream;
mod timers;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod websocket;
mod websocket_connection;

pub(crate) use commands::{Command, CommandSender, IoShared};
pub(crate) use connection::ConnectionId;
pub(crate) use context::{ConnectedSocket, IoContext, TimerKey};
pub(crate) use io_threads::IoThreads;
pub(crate) use listener::{Listener, PeerAddr};
pub(crate) use timers::Timer;
pub(crate) use websocket_connection::WebSocketRead;

use crate::reason::Reason;
use http::Request;
use std::fmt::Debug;

/// Layer above the connections of one I/O thread. Everything here is called on that thread.
pub(crate) trait Driver: Send + Sized + 'static {
    /// Command of other threads.
    type Command: Send + Debug + 'static;

    /// Handles a request, whose body is read. It is answered by [`IoContext::respond`] or
    /// [`IoContext::upgrade`], now or later.
    fn on_request(&mut self, io: &mut IoContext<Self::Command>, id: ConnectionId, request: Request);

    /// Returns the limits of a request's body, which has not come.
    fn body_rules(&self, request: &Request) -> BodyRules;

    /// Returns the answer to a request whose body is refused.
    fn refuse_body(&self, request: &Request, status: u16) -> http::Response;

    /// Returns how the log names an owner.
    fn label(&self, owner: u64) -> Option<String>;

    /// Returns what holds the most of the bytes that wait, of what it may give up: how many, and
    /// its key.
    fn heaviest(&self) -> Option<(usize, u64)>;

    /// Abandons what holds the most: more bytes wait than may.
    fn give_up(&mut self, io: &mut IoContext<Self::Command>, key: u64);

    /// Handles messages of a WebSocket. Those that are not taken are lost, unless there were too
    /// many for one turn.
    fn on_read(
        &mut self,
        io: &mut IoContext<Self::Command>,
        owner: u64,
        read: &mut WebSocketRead<'_>,
    );

    /// Handles the loss of a connection that has an owner.
    fn on_connection_lost(
        &mut self,
        io: &mut IoContext<Self::Command>,
        owner: u64,
        id: ConnectionId,
        reason: Reason,
    );

    fn on_command(&mut self, io: &mut IoContext<Self::Command>, command: Self::Command);

    /// Handles an entry of [`IoContext::timers`] that is due.
    fn on_timer(
        &mut self,
        io: &mut IoContext<Self::Command>,
        key: u64,
        entry: (std::time::Instant, context::TimerKey),
    );

    /// Returns `true` while the owner of timer `key` exists; stale timers are swept.
    fn is_alive(&self, key: u64) -> bool;

    /// Handles the end of a turn: everything that was there has been handled. Returns how long the
    /// thread may sleep at most.
    fn on_turn(&mut self, io: &mut IoContext<Self::Command>) -> Option<std::time::Duration>;

    /// Returns how long to wait before the next turn, though something may be there already.
    fn read_delay(&mut self) -> Option<std::time::Duration> {
        None
    }

    /// Closes what is there: no more connections come. Called once.
    fn on_stop(&mut self, io: &mut IoContext<Self::Command>);
}

/// The limits of a request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyRules {
    pub(crate) max_bytes: usize,
    /// Time that it may make no progress.
    pub(crate) timeout: std::time::Duration,
    /// It is read by who answers, as it comes.
    pub(crate) streams: bool,
}

/// Runs what may block.
pub(crate) trait Executor: Send + Sync + Debug {
    fn execute(&self, job: Box<dyn FnOnce() + Send>);

    /// Does the same for a job that is quick, and awaited by what may keep all other workers.
    #[cfg(feature = "compression")]
    fn execute_quick(&self, job: Box<dyn FnOnce() + Send>);

    /// Returns whether such a job would be begun soon: not everybody who could run it may be
    /// blocked.
    #[cfg(feature = "compression")]
    fn has_room(&self) -> bool;

    /// From now on, the tasks of this thread may wait for [`Executor::flush_wakeups`].
    fn batch_wakeups(&self);

    /// Sees to it that everything this thread has given is begun.
    fn flush_wakeups(&self);

    /// Runs a function that waits for something. On a worker, another one sees to the tasks that
    /// wait.
    fn block_in_place(&self, wait: &mut dyn FnMut());
}
