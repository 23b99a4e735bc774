//! The threads that wait for the network: polls, POSTs, and the way to a WebSocket.

use crate::util::program;
use crate::util::sync::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Time that a thread waits for its next task.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of clients that connect at once; more wait for their turn. What a whole process
/// reconnects with must not be a thread for each of its clients.
const MAX_CONNECTING: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that come with the tasks, and leave when they have none.
pub(super) struct BlockingPool {
    shared: Arc<BlockingShared>,
}

#[derive(Default)]
struct BlockingShared {
    state: Mutex<BlockingState>,
    more: Condvar,
}

#[derive(Default)]
struct BlockingState {
    jobs: VecDeque<Job>,
    /// Threads that wait, less those that a job was given to.
    idle: usize,
    connecting: usize,
    /// Those that wait for their turn to connect.
    waiting: VecDeque<Job>,
    ended: bool,
    named: u64,
}

impl BlockingPool {
    pub(super) fn new() -> BlockingPool {
        BlockingPool {
            shared: Arc::default(),
        }
    }

    /// Runs a job at once, whatever else is running: a poll waits for as long as its server likes.
    /// If the system gives no thread, it is dropped.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if let Err(error) = self.shared.run(Box::new(job)) {
            log::error!(target: "engineio", "the system gives no thread: {error}");
        }
    }

    /// Runs a job that connects, as soon as not too many others do. If the system gives no thread,
    /// it is dropped.
    pub(super) fn connect(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        if state.connecting >= MAX_CONNECTING {
            return state.waiting.push_back(Box::new(job));
        }
        state.connecting += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let begun = self.shared.run(Box::new(move || {
            run_caught(Box::new(job));
            while let Some(job) = shared.next_to_connect() {
                run_caught(job);
            }
        }));
        if let Err(error) = begun {
            log::error!(target: "engineio", "the system gives no thread: {error}");
            self.shared.state.lock().connecting -= 1;
        }
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.ended = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
        self.shared.more.notify_all();
    }
}

impl fmt::Debug for BlockingPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BlockingPool")
    }
}

impl BlockingShared {
    fn run(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.idle > 0 {
            state.idle -= 1;
            state.jobs.push_back(job);
            self.more.notify_one();
            return Ok(());
        }
        state.named += 1;
        let name = format!("socketio-blocking-{}", state.named);
        drop(state);
        let shared = Arc::clone(self);
        let work = move || {
            run_caught(job);
            while let Some(job) = shared.next() {
                run_caught(job);
            }
        };
        std::thread::Builder::new().name(name).spawn(work)?;
        Ok(())
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        state.idle += 1;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            let late = !state.ended && self.more.wait_for(&mut state, IDLE_TIMEOUT).timed_out();
            if (late || state.ended) && state.jobs.is_empty() {
                // No job was meant for this thread, or it would be in the queue.
                state.idle = state.idle.saturating_sub(1);
                return None;
            }
        }
    }

    fn next_to_connect(&self) -> Option<Job> {
        let mut state = self.state.lock();
        let job = state.waiting.pop_front();
        if job.is_none() {
            state.connecting -= 1;
        }
        job
    }
}

fn run_caught(job: Job) {
    if program::call(job).is_err() {
        log::error!(target: "engineio", "a blocking task panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn jobs_run_at_once_and_connections_take_turns() {
        let blocking = BlockingPool::new();
        let (sender, done) = crossbeam_channel::unbounded();
        let (gate, wait) = crossbeam_channel::bounded::<()>(0);
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        for _ in 0..MAX_CONNECTING * 2 {
            let (sender, wait) = (sender.clone(), wait.clone());
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            blocking.connect(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                let _ = wait.recv();
                running.fetch_sub(1, Ordering::SeqCst);
                sender.send("connected").unwrap();
            });
        }
        let other = sender.clone();
        blocking.run(move || other.send("polled").unwrap());
        assert_eq!(done.recv(), Ok("polled"));
        drop(gate);
        for _ in 0..MAX_CONNECTING * 2 {
            assert_eq!(done.recv(), Ok("connected"));
        }
        assert!(most.load(Ordering::SeqCst) <= MAX_CONNECTING);
    }

    #[test]
    fn threads_are_used_again_and_end_with_their_owner() {
        let blocking = BlockingPool::new();
        let (sender, done) = crossbeam_channel::unbounded();
        for _ in 0..50 {
            let sender = sender.clone();
            blocking.run(move || sender.send(std::thread::current().id()).unwrap());
            done.recv().unwrap();
        }
        let shared = Arc::downgrade(&blocking.shared);
        drop(blocking);
        while shared.strong_count() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_panic_is_no_end() {
        let blocking = BlockingPool::new();
        let (sender, done) = crossbeam_channel::unbounded();
        blocking.connect(|| panic!("on purpose"));
        blocking.connect(move || sender.send(()).unwrap());
        assert_eq!(done.recv(), Ok(()));
    }
}
