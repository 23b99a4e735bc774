//! The threads that run handlers, and everything else that may block.
//!
//! There is one for each core, and one more whenever work has waited for 5 ms while nobody took
//! any: then the workers are blocked, not busy. Workers beyond the cores leave when they have been
//! idle for 10 s.
//!
//! While tasks are short an I/O thread wakes one worker for all those of its turn, else one for
//! each. A watchdog, asleep unless there are more of them than workers were woken, wakes the others
//! if that was not enough, and adds the new ones.

mod inbox;
#[cfg(test)]
mod inbox_tests;
mod pace;
mod sleepers;

pub(crate) use inbox::{Busy, Inbox};

use crate::reactor::Executor;
use crossbeam_channel::{Receiver, Sender};
use pace::Pace;
use parking_lot::{Condvar, Mutex, MutexGuard};
use sleepers::Sleepers;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long work waits before workers that sleep are woken for it, and those that are at work
/// count as blocked if they take none.
const PATIENCE: Duration = Duration::from_millis(5);
/// How many tasks of an I/O thread may wait for the end of its turn. Waking a worker costs as much
/// as a handler that only answers; several tasks share the cost.
const MAX_DEFERRED: usize = 64;
/// How long a worker beyond the cores stays without work.
const IDLE: Duration = Duration::from_secs(10);

thread_local! {
    /// The pool that this thread works for.
    static POOL: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
    /// On an I/O thread, how many tasks no worker has been woken for yet.
    static DEFERRED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whether this is called on an I/O thread, which must not wait.
pub(crate) fn is_io_thread() -> bool {
    DEFERRED.get().is_some()
}

/// Asks the pool that this thread works for; none if it works for none, or is just ending: what it
/// keeps in storage of its own may be dropped after the pool.
fn with_pool<T>(ask: impl FnOnce(&Arc<Shared>) -> T) -> Option<T> {
    let asked = POOL.try_with(|pool| pool.borrow().as_ref().map(ask));
    asked.ok().flatten()
}

/// Whether this is called on a worker, of any pool.
pub(crate) fn is_worker() -> bool {
    with_pool(|_| ()).is_some()
}

/// Lets another worker see to the tasks that wait, if this is one: it is about to wait itself.
pub(crate) fn before_waiting() {
    with_pool(|pool| {
        if !pool.tasks.1.is_empty() {
            pool.wake(1);
        }
    });
}

/// Something with a queue of its own, such as a connection's inbox, that wants a worker.
pub(crate) trait Turn: Send + Sync {
    fn run(self: Arc<Self>);
}

enum Task {
    Turn(Arc<dyn Turn>),
    Job(Box<dyn FnOnce() + Send>),
    Stop,
}

/// A pool of workers. Dropping it ends them, without waiting.
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    tasks: (Sender<Task>, Receiver<Task>),
    base: usize,
    limit: usize,
    /// Workers there are.
    count: AtomicUsize,
    /// Those of them that sleep and have not been woken.
    sleepers: Sleepers,
    pace: Pace,
    /// Tasks that were ever taken.
    taken: AtomicU64,
    /// Whether the watchdog is awake.
    watching: AtomicBool,
    warned: AtomicBool,
    /// The system has given no thread.
    refused: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// Whether the watchdog was asked to look.
    alarm: bool,
    named: usize,
    handles: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts a worker for each core; up to `limit` there will be.
    pub(crate) fn start(limit: usize) -> std::io::Result<Workers> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let limit = limit.max(1);
        let workers = Workers {
            shared: Arc::new(Shared {
                tasks: crossbeam_channel::unbounded(),
                base: cores.min(limit),
                limit,
                count: AtomicUsize::new(0),
                sleepers: Sleepers::default(),
                pace: Pace::default(),
                taken: AtomicU64::new(0),
                watching: AtomicBool::new(false),
                warned: AtomicBool::new(false),
                refused: AtomicBool::new(false),
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        };
        for _ in 0..workers.shared.base {
            workers.shared.spawn()?;
        }
        let shared = Arc::clone(&workers.shared);
        let watchdog = std::thread::Builder::new()
            .name("socketio-watchdog".into())
            .spawn(move || shared.watch())?;
        workers.shared.state.lock().handles.push(watchdog);
        Ok(workers)
    }

    /// Lets a worker take a turn.
    pub(crate) fn schedule(&self, turn: Arc<dyn Turn>) {
        self.shared.push(Task::Turn(turn));
    }

    /// Whether this is called on one of the workers.
    pub(crate) fn is_own_thread(&self) -> bool {
        with_pool(|pool| Arc::ptr_eq(pool, &self.shared)).unwrap_or(false)
    }

    /// Ends the workers once they have done what is queued, and waits for them until `by`. Called
    /// on one of them, it does not wait.
    pub(crate) fn stop(&self, by: Instant) {
        let shared = &self.shared;
        shared.begin_to_stop();
        if self.is_own_thread() {
            return;
        }
        let mut state = shared.state.lock();
        while !state.handles.iter().all(JoinHandle::is_finished) {
            // A thread that ends says so a moment before it is finished.
            let moment = Instant::now() + Duration::from_millis(1);
            let at = if shared.count.load(Ordering::Acquire) == 0 {
                by.min(moment)
            } else {
                by
            };
            shared.changed.wait_until(&mut state, at);
            if Instant::now() >= by {
                break;
            }
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles {
            if handle.is_finished() {
                // Handlers' panics are caught; this one has been logged by the panic hook.
                let _ = handle.join();
            } else {
                let name = handle.thread().name().unwrap_or("a worker").to_owned();
                log::warn!(target: "socketio", "{name} is left behind: its handler has not returned");
            }
        }
    }
}

impl Executor for Workers {
    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        self.shared.push(Task::Job(job));
    }

    fn defer(&self) {
        DEFERRED.set(Some(0));
    }

    fn begin(&self) {
        if let Some(tasks) = DEFERRED.get().filter(|tasks| *tasks > 0) {
            DEFERRED.set(Some(0));
            self.shared.wake(tasks);
            if self.shared.pace.is_quick() {
                // Where a worker shares this thread's core it comes first: its answers bring the
                // events of the next turn, which are then many.
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.begin_to_stop();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Workers")
            .field("count", &self.shared.count)
            .field("sleepers", &self.shared.sleepers)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn push(&self, task: Task) {
        // Both ends are ours, so the channel cannot be closed.
        let _ = self.tasks.0.send(task);
        match DEFERRED.get() {
            Some(tasks) if tasks + 1 < MAX_DEFERRED => DEFERRED.set(Some(tasks + 1)),
            Some(tasks) => {
                DEFERRED.set(Some(0));
                self.wake(tasks + 1);
            }
            None => self.wake(1),
        }
    }

    /// Wakes workers for new tasks, and the watchdog if they may not be enough.
    fn wake(&self, tasks: usize) {
        let wanted = if self.pace.is_quick() { 1 } else { tasks };
        if self.sleepers.wake(wanted) < tasks && !self.watching.swap(true, Ordering::AcqRel) {
            self.state.lock().alarm = true;
            self.changed.notify_all();
        }
    }

    fn begin_to_stop(&self) {
        let mut state = self.state.lock();
        let begins = !std::mem::replace(&mut state.stopping, true);
        let count = self.count.load(Ordering::Acquire);
        drop(state);
        if begins {
            for _ in 0..count {
                let _ = self.tasks.0.send(Task::Stop);
            }
            self.sleepers.wake(count);
        }
        self.changed.notify_all();
    }

    fn spawn(self: &Arc<Self>) -> std::io::Result<()> {
        let mut state = self.state.lock();
        if state.stopping {
            return Ok(());
        }
        state.handles.retain(|handle| !handle.is_finished());
        state.named += 1;
        let name = format!("socketio-worker-{}", state.named);
        let shared = Arc::clone(self);
        self.count.fetch_add(1, Ordering::AcqRel);
        match std::thread::Builder::new()
            .name(name)
            .spawn(move || shared.work())
        {
            Ok(handle) => {
                state.handles.push(handle);
                Ok(())
            }
            Err(error) => {
                self.count.fetch_sub(1, Ordering::AcqRel);
                Err(error)
            }
        }
    }

    fn work(self: Arc<Self>) {
        POOL.set(Some(Arc::clone(&self)));
        while let Some(task) = self.next() {
            self.taken.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            let done = catch_unwind(AssertUnwindSafe(|| match task {
                Task::Turn(turn) => turn.run(),
                Task::Job(job) => job(),
                Task::Stop => {}
            }));
            self.pace.note(begun.elapsed());
            if done.is_err() {
                log::error!(target: "socketio", "a job on a worker panicked");
            }
        }
        let _state = self.state.lock();
        self.changed.notify_all();
    }

    /// Waits for a task; none if this worker is to leave.
    fn next(&self) -> Option<Task> {
        let task = self.tasks.1.try_recv().ok().or_else(|| self.sleep());
        match task {
            Some(Task::Stop) => {
                self.count.fetch_sub(1, Ordering::AcqRel);
                None
            }
            task => task,
        }
    }

    /// Sleeps until there is a task. The channel's own waiting spins first, which costs more than
    /// it gains when tasks come one by one.
    fn sleep(&self) -> Option<Task> {
        loop {
            let is_surplus = self.count.load(Ordering::Acquire) > self.base;
            let limit = is_surplus.then_some(IDLE);
            let look = || self.tasks.1.try_recv().ok();
            let task = self.sleepers.wait(limit, look, || self.wake(1));
            if task.is_some() || self.leave() {
                return task;
            }
        }
    }

    /// Whether this worker, which was idle for long, may go.
    fn leave(&self) -> bool {
        // Under the lock, so that it does not happen while stops are being counted out.
        let state = self.state.lock();
        let leaves = !state.stopping && self.count.load(Ordering::Acquire) > self.base;
        if leaves {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        leaves
    }

    /// Adds workers while those that there are do not get on.
    fn watch(self: Arc<Self>) {
        let mut state = self.state.lock();
        loop {
            while !state.alarm && !state.stopping {
                self.changed.wait(&mut state);
            }
            state.alarm = false;
            if state.stopping {
                return;
            }
            while self.watching.load(Ordering::Acquire) {
                let before = self.taken.load(Ordering::Relaxed);
                let at = Instant::now() + PATIENCE;
                while !state.stopping && !self.changed.wait_until(&mut state, at).timed_out() {}
                if state.stopping {
                    return;
                }
                MutexGuard::unlocked(&mut state, || self.look(before));
            }
        }
    }

    fn look(self: &Arc<Self>, before: u64) {
        let waiting = self.tasks.1.len();
        if waiting == 0 {
            self.watching.store(false, Ordering::Release);
            // A task may have come since: either this sees it, or its pusher that nobody watches.
            fence(Ordering::SeqCst);
            if !self.tasks.1.is_empty() {
                self.watching.store(true, Ordering::Release);
            }
            return;
        }
        let waiting = waiting - self.sleepers.wake(waiting);
        if waiting == 0 || self.taken.load(Ordering::Relaxed) != before {
            return;
        }
        let count = self.count.load(Ordering::Acquire);
        if count >= self.limit && !self.warned.swap(true, Ordering::AcqRel) {
            log::warn!(target: "socketio", "all {count} workers are blocked in handlers, which is the limit; {waiting} more turns wait");
        }
        // Half as many again, so that a thousand blocked handlers do not take seconds to be noticed.
        let more = waiting
            .min(count / 2 + 1)
            .min(self.limit.saturating_sub(count));
        for _ in 0..more {
            match self.spawn() {
                Ok(()) => self.refused.store(false, Ordering::Relaxed),
                // Tried again with each look, and said once.
                Err(error) if self.refused.swap(true, Ordering::Relaxed) => {
                    log::debug!(target: "socketio", "no thread for another worker: {error}");
                    return;
                }
                Err(error) => {
                    log::error!(target: "socketio", "the system gives no thread for another worker: {error}; {waiting} turns wait");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn run(workers: &Workers, job: impl FnOnce() + Send + 'static) {
        workers.execute(Box::new(job));
    }

    #[test]
    fn blocked_jobs_do_not_stop_others() {
        let workers = Workers::start(64).unwrap();
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        for _ in 0..40 {
            let held = held.clone();
            run(&workers, move || assert!(held.recv().is_err()));
        }
        let (done, when_done) = mpsc::channel();
        run(&workers, move || done.send(()).unwrap());
        when_done
            .recv_timeout(Duration::from_secs(20))
            .expect("a worker for the last job");
        drop(hold);
        workers.stop(Instant::now() + Duration::from_secs(20));
        assert_eq!(workers.shared.count.load(Ordering::Acquire), 0);
    }

    /// As on an I/O thread, one worker is woken for several tasks, of which the first waits for the
    /// last: with a word about it, or without.
    #[test]
    fn the_tasks_of_a_turn_do_not_wait_for_the_first() {
        for says_so in [true, false] {
            let workers = Arc::new(Workers::start(4).unwrap());
            let (last, when_last) = mpsc::channel();
            let turn = Arc::clone(&workers);
            let io_thread = std::thread::spawn(move || {
                turn.defer();
                run(&turn, move || {
                    if says_so {
                        before_waiting();
                    }
                    when_last
                        .recv_timeout(Duration::from_secs(20))
                        .expect("the last task");
                });
                for _ in 0..5 {
                    run(&turn, || {});
                }
                run(&turn, move || last.send(()).unwrap());
                turn.begin();
            });
            io_thread.join().unwrap();
            workers.stop(Instant::now() + Duration::from_secs(20));
            assert_eq!(workers.shared.count.load(Ordering::Acquire), 0);
        }
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let workers = Workers::start(3).unwrap();
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        for _ in 0..10 {
            let held = held.clone();
            run(&workers, move || assert!(held.recv().is_err()));
        }
        while workers.shared.tasks.1.len() > 7 {
            std::thread::yield_now();
        }
        while !workers.shared.warned.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        assert_eq!(workers.shared.count.load(Ordering::Acquire), 3);
        drop(hold);
    }

    #[test]
    fn stopping_waits_for_what_is_queued_and_not_for_ever() {
        let workers = Workers::start(1).unwrap();
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        let (done, when_done) = mpsc::channel();
        run(&workers, move || assert!(held.recv().is_err()));
        run(&workers, move || done.send(()).unwrap());
        workers.stop(Instant::now());
        drop(hold);
        when_done
            .recv_timeout(Duration::from_secs(20))
            .expect("the queued job");
    }

    #[test]
    fn a_panic_costs_nothing_but_the_job() {
        let workers = Workers::start(1).unwrap();
        let (done, when_done) = mpsc::channel();
        run(&workers, || panic!("a job of a test"));
        run(&workers, move || done.send(()).unwrap());
        when_done
            .recv_timeout(Duration::from_secs(20))
            .expect("the next job");
    }

    #[test]
    fn a_job_may_stop_its_own_pool() {
        let workers = Arc::new(Workers::start(2).unwrap());
        let (done, when_done) = mpsc::channel();
        let own = Arc::clone(&workers);
        run(&workers, move || {
            own.stop(Instant::now() + Duration::from_secs(60));
            done.send(()).unwrap();
        });
        when_done
            .recv_timeout(Duration::from_secs(20))
            .expect("no waiting for itself");
    }
}
