//! The threads that all clients of the process share.

use super::blocking_pool::BlockingPool;
use super::driver::{ClientCommand, ClientDriver};
use super::{AttemptHandler, ResolveEndpoint};
use crate::limits::Limits;
use crate::net::{Command, CommandSender, Executor, IoShared, IoThreads};
use crate::pool::WorkerPool;
use crate::util::sync::Mutex;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

/// The threads that are running, if there is a client.
static CURRENT: Mutex<Weak<Runtime>> = Mutex::new(Weak::new());

/// Numbers of clients.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// The I/O threads, workers and blocking tasks of all clients.
#[derive(Debug)]
pub(crate) struct Runtime {
    threads: IoThreads<ClientCommand>,
    workers: Arc<WorkerPool>,
}

impl Runtime {
    /// Returns the threads that run, or new ones.
    pub(crate) fn get() -> io::Result<Arc<Runtime>> {
        let mut current = CURRENT.lock();
        if let Some(runtime) = current.upgrade() {
            return Ok(runtime);
        }
        let runtime = Arc::new(Runtime::start()?);
        *current = Arc::downgrade(&runtime);
        Ok(runtime)
    }

    fn start() -> io::Result<Runtime> {
        let limits = Limits {
            // A program's own clients hold what it sends and asks for.
            buffered_bytes: usize::MAX,
            ..Limits::default()
        };
        let workers = Arc::new(WorkerPool::start(limits.workers)?);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = IoShared {
            limits,
            // Each connection has a limit of its own.
            max_message: usize::MAX,
            executor: Arc::clone(&workers) as Arc<dyn Executor>,
            connections: Arc::default(),
            trusted_proxies: Vec::new(),
            budget: OnceLock::new(),
        };
        let blocking = Arc::new(BlockingPool::new());
        let driver = || ClientDriver::new(&blocking);
        let threads = IoThreads::start(
            "client",
            Vec::new(),
            cores.div_ceil(4).min(8),
            options,
            driver,
        )?;
        Ok(Runtime { threads, workers })
    }

    pub(crate) fn workers(&self) -> &Arc<WorkerPool> {
        &self.workers
    }

    /// Adds a client to an I/O thread, where it stays until [`ClientHandle::remove`].
    pub(crate) fn add(
        &self,
        build: impl FnOnce(&ClientHandle) -> Box<dyn AttemptHandler>,
    ) -> ClientHandle {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let senders = &self.threads.senders;
        let handle = ClientHandle {
            sender: senders[id as usize % senders.len()].clone(),
            id,
        };
        handle.command(ClientCommand::Add(id, build(&handle)));
        handle
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Called by whoever held the last client, perhaps one of these threads: nothing is waited
        // for. The workers end when they are dropped.
        self.threads.stop(Instant::now());
    }
}

/// The way to a client's I/O thread.
#[derive(Clone)]
pub(crate) struct ClientHandle {
    sender: CommandSender<Command<ClientCommand>>,
    id: u32,
}

impl ClientHandle {
    /// Opens a session. Replaces one that is open or being opened. No two attempts of a client have
    /// the same number.
    pub(crate) fn start_attempt(&self, attempt: u32, resolve: ResolveEndpoint) {
        self.command(ClientCommand::StartAttempt(self.id, attempt, resolve));
    }

    /// Abandons an attempt, and its session if there is one already.
    pub(crate) fn abandon(&self) {
        self.command(ClientCommand::Abandon(self.id));
    }

    /// Looks at the client's timeout at this time, if it looks later now.
    pub(crate) fn wake_at(&self, at: Instant) {
        self.command(ClientCommand::WakeAt(self.id, at));
    }

    /// Forgets the client once its session has ended.
    pub(crate) fn remove(&self) {
        self.command(ClientCommand::Remove(self.id));
    }

    fn command(&self, command: ClientCommand) {
        self.sender.send(Command::Driver(command));
    }
}

impl fmt::Debug for ClientHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientHandle({})", self.id)
    }
}
