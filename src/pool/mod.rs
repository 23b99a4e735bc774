//! The threads that run handlers, and everything else that may block.
//!
//! The pool keeps the cores busy, not the threads. It begins with a worker for each core. Work that
//! waits while fewer workers compute than there are cores gets another worker, awake or new, up to
//! the limit: the others are blocked in their handlers. Where as many compute as there are cores,
//! more of them would only fight for the cores, and the work waits. What a worker does is asked of
//! the kernel by a watchdog, and only while work waits ([`states`]). Workers beyond the cores leave
//! when they have been idle for 10 s.
//!
//! Wake-ups: at the end of a turn an I/O thread wakes one worker if recent tasks were short, else one
//! for each task. A worker is *busy*, *looking* for a task, or *parked*; one that is woken for a task
//! that another has taken looks once more and parks. The watchdog sleeps unless more tasks wait than
//! workers were woken. Measured against a wake-up for each task: echoes with an acknowledgement cost
//! 1.4 us of CPU each instead of 2.9 us (100 clients, 10 in flight each), and 10 us instead of 18 us
//! (1,000 clients, one each).
//!
//! A pool that has grown while its cores were idle, and then finds them busy, holds its slow tasks
//! back: two hundred workers that all want a core keep everybody waiting, also the I/O thread.
//!
//! Tasks whose owner has blocked its worker lately stand in a queue of their own ([`queues`]).

mod idle;
mod inbox;
#[cfg(test)]
mod inbox_tests;
mod queues;
mod runnable;
mod states;
mod task_time;

pub(crate) use inbox::{Inbox, QueueState};
pub(crate) use queues::Lane;
pub(crate) use runnable::{Runnable, work_off};
pub(crate) use task_time::{TaskTimeEstimate, TurnHistory};

use crate::net::Executor;
use crate::util::program;
use crate::util::sync::{Condvar, Mutex, MutexGuard};
use idle::IdleWorkers;
use queues::Queues;
use states::States;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time that the watchdog waits before its first look at work that waits.
const FIRST_LOOK_DELAY: Duration = Duration::from_micros(500);
/// Time that it waits between looks while workers are added: they need a moment to show what they
/// do.
const NEXT_LOOK_DELAY: Duration = Duration::from_micros(300);
/// Time that it waits at most, where looks find that the cores are busy.
const MAX_LOOK_DELAY: Duration = Duration::from_millis(5);
/// By how much a look may multiply the workers: as many as there are become up to sixteen times
/// that.
const MAX_GROWTH: usize = 15;
/// After so long without a look, work that waits is looked at soon again.
const LOOKS_FORGOTTEN_AFTER: Duration = Duration::from_millis(100);
/// Number of tasks of an I/O thread that may wait for the end of its turn. Waking a worker costs as
/// much as a handler that only answers; several tasks share the cost.
const MAX_DEFERRED: usize = 64;
/// Time that a worker beyond the cores stays without work.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that one owner may keep a worker with several items while others wait for one.
const MAX_SHARED_TURN: Duration = Duration::from_millis(1);

thread_local! {
    /// The pool that this thread works for.
    static POOL: RefCell<Option<Arc<PoolShared>>> = const { RefCell::new(None) };
    /// On a worker, when its task was begun.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// On an I/O thread, how many tasks no worker has been woken for yet.
    static DEFERRED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Returns whether this is called on an I/O thread, which must not wait.
pub(crate) fn is_io_thread() -> bool {
    DEFERRED.get().is_some()
}

/// Asks the pool that this thread works for; none if it works for none, or is just ending: what it
/// keeps in storage of its own may be dropped after the pool.
fn with_pool<T>(ask: impl FnOnce(&Arc<PoolShared>) -> T) -> Option<T> {
    let asked = POOL.try_with(|pool| pool.borrow().as_ref().map(ask));
    asked.ok().flatten()
}

/// Returns whether this is called on a worker, of any pool.
pub(crate) fn is_worker() -> bool {
    with_pool(|_| ()).is_some()
}

/// Wakes another worker for the tasks that wait, if this thread is one: it is about to wait itself.
pub(crate) fn before_waiting() {
    with_pool(|pool| {
        if pool.queues.len() > 0 {
            pool.wake(1);
        }
    });
}

/// Returns whether the turn that this worker has has become long, and others wait for theirs.
fn should_yield() -> bool {
    let is_long = |pool: &Arc<PoolShared>| {
        !pool.wakeup_times.is_short()
            && pool.queues.len() > 0
            && BEGUN
                .get()
                .is_some_and(|begun| begun.elapsed() > MAX_SHARED_TURN)
    };
    with_pool(is_long).unwrap_or(false)
}

pub(super) enum Task {
    Turn(Arc<dyn Runnable>),
    Job(Box<dyn FnOnce() + Send>),
}

/// Load of a pool at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PoolLoad {
    pub(crate) workers: usize,
    pub(crate) busy: usize,
    /// Tasks that wait for a worker.
    pub(crate) waiting: usize,
}

/// A pool of workers. Dropping it ends them, without waiting.
pub(crate) struct WorkerPool {
    shared: Arc<PoolShared>,
}

struct PoolShared {
    queues: Queues,
    base: usize,
    limit: usize,
    /// Workers there are.
    count: AtomicUsize,
    /// Those of them that sleep and have not been woken.
    sleepers: IdleWorkers,
    states: States,
    /// Of tasks, against the time that waking a worker takes.
    wakeup_times: TaskTimeEstimate,
    /// Of jobs, against the time after which they block.
    job_times: TaskTimeEstimate,
    /// True if the watchdog is awake.
    watching: AtomicBool,
    warned: AtomicBool,
    /// The system has given no thread.
    refused: AtomicBool,
    /// The workers leave once there is no task left, and none that could bring another.
    stopping: AtomicBool,
    /// They leave with the task that they have; no task is taken any more.
    abandoned: AtomicBool,
    state: Mutex<PoolState>,
    changed: Condvar,
}

#[derive(Default)]
struct PoolState {
    /// True if the watchdog was asked to look.
    alarm: bool,
    named: usize,
    handles: Vec<JoinHandle<()>>,
}

/// Next step of a worker.
enum NextStep {
    Run(Task, Lane),
    Leave,
}

/// Finding of the watchdog.
#[derive(Clone, Copy)]
enum Look {
    /// Nothing waits.
    Idle,
    /// The cores are busy: tasks have to wait. So many workers want a core.
    Busy(usize),
    /// Workers that slept were woken.
    Woken,
    /// Workers were added.
    Grown,
}

impl WorkerPool {
    /// Starts a worker for each core; up to `limit` there will be.
    pub(crate) fn start(limit: usize) -> std::io::Result<WorkerPool> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let limit = limit.max(1);
        let workers = WorkerPool {
            shared: Arc::new(PoolShared {
                queues: Queues::new(limit, cores),
                base: cores.min(limit),
                limit,
                count: AtomicUsize::new(0),
                sleepers: IdleWorkers::default(),
                states: States::new(),
                wakeup_times: TaskTimeEstimate::of_wakeups(),
                job_times: TaskTimeEstimate::of_blocking(),
                watching: AtomicBool::new(false),
                warned: AtomicBool::new(false),
                refused: AtomicBool::new(false),
                stopping: AtomicBool::new(false),
                abandoned: AtomicBool::new(false),
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

    /// Schedules a turn on a worker.
    pub(crate) fn schedule(&self, turn: Arc<dyn Runnable>) {
        let lane = turn.turn_history().lane();
        self.shared.push(Task::Turn(turn), lane);
    }

    /// Returns what there is to do, and who does it.
    pub(crate) fn load(&self) -> PoolLoad {
        PoolLoad {
            workers: self.shared.count.load(Ordering::Relaxed),
            busy: self.shared.states.busy_count(),
            waiting: self.shared.queues.len(),
        }
    }

    /// Returns whether this is called on one of the workers.
    pub(crate) fn is_own_thread(&self) -> bool {
        with_pool(|pool| Arc::ptr_eq(pool, &self.shared)).unwrap_or(false)
    }

    /// Ends the workers once all work is done, also what it brings, and waits for them until `by`;
    /// what is left then is dropped, with a warning. Called on one of them, it does not wait.
    pub(crate) fn stop(&self, by: Instant) {
        let shared = &self.shared;
        shared.start_shutdown();
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
        shared.abandon();
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

impl Executor for WorkerPool {
    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        let lane = self.shared.job_times.lane();
        self.shared.push(Task::Job(job), lane);
    }

    #[cfg(feature = "compression")]
    fn execute_quick(&self, job: Box<dyn FnOnce() + Send>) {
        self.shared.push(Task::Job(job), Lane::Quick);
    }

    #[cfg(feature = "compression")]
    fn has_room(&self) -> bool {
        let shared = &self.shared;
        !shared.sleepers.is_empty() || shared.count.load(Ordering::Acquire) < shared.limit
    }

    fn batch_wakeups(&self) {
        DEFERRED.set(Some(0));
    }

    fn flush_wakeups(&self) {
        if let Some(tasks) = DEFERRED.get().filter(|tasks| *tasks > 0) {
            DEFERRED.set(Some(0));
            self.shared.wake(tasks);
            if self.shared.wakeup_times.is_short() {
                // Where a worker shares this thread's core it comes first: its answers bring the
                // events of the next turn, which are then many.
                std::thread::yield_now();
            }
        }
    }

    fn block_in_place(&self, wait: &mut dyn FnMut()) {
        before_waiting();
        wait();
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.shared.start_shutdown();
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WorkerPool")
            .field("count", &self.shared.count)
            .field("sleepers", &self.shared.sleepers)
            .finish_non_exhaustive()
    }
}

impl PoolShared {
    fn push(&self, task: Task, lane: Lane) {
        if self.abandoned.load(Ordering::Acquire) {
            // No worker would take it, and what it holds may hold the pool.
            return drop(task);
        }
        self.queues.push(task, lane);
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
        let wanted = if self.wakeup_times.is_short() {
            1
        } else {
            tasks
        };
        let wanted = wanted.min(self.queues.takeable());
        if self.sleepers.wake(wanted) < tasks && !self.watching.swap(true, Ordering::AcqRel) {
            self.state.lock().alarm = true;
            self.changed.notify_all();
        }
    }

    fn start_shutdown(&self) {
        let state = self.state.lock();
        self.stopping.store(true, Ordering::SeqCst);
        drop(state);
        self.sleepers.wake(usize::MAX);
        self.changed.notify_all();
    }

    /// Drops the tasks that have not been done by now.
    fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        let left = self.queues.drain();
        let items: usize = left
            .iter()
            .map(|task| match task {
                Task::Turn(turn) => turn.waiting_items(),
                Task::Job(_) => 1,
            })
            .sum();
        if items > 0 {
            log::warn!(target: "socketio", "{items} events and other tasks were not handled before the end");
        }
        drop(left);
        self.sleepers.wake(usize::MAX);
    }

    fn spawn(self: &Arc<Self>) -> std::io::Result<()> {
        let mut state = self.state.lock();
        if self.abandoned.load(Ordering::Acquire) {
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
        let own = self.states.add();
        while let Some((task, lane)) = self.next() {
            let begun = Instant::now();
            self.states.begin(&own, begun);
            BEGUN.set(Some(begun));
            let owner = match &task {
                Task::Turn(turn) => Some(Arc::clone(turn)),
                Task::Job(_) => None,
            };
            let done = program::call(|| match task {
                Task::Turn(turn) => turn.run(),
                Task::Job(job) => job(),
            });
            let took = begun.elapsed();
            self.wakeup_times.note(took);
            match &owner {
                Some(owner) => owner.turn_history().note(took),
                None => self.job_times.note(took),
            }
            if done.is_err() {
                log::error!(target: "socketio", "a task of a worker panicked");
            }
            // What an owner keeps may be the program's, and panic when it is dropped.
            if program::call(|| drop(owner)).is_err() {
                log::error!(target: "socketio", "a destructor on a worker panicked");
            }
            self.queues.done(lane);
            self.states.end(&own);
            if self.stopping.load(Ordering::Relaxed) {
                // Those that wait for the last task to end look again.
                self.sleepers.wake(usize::MAX);
            }
        }
        self.states.remove(&own);
        let _state = self.state.lock();
        self.changed.notify_all();
    }

    /// Waits for a task; none if this worker is to leave: it is not counted any more then.
    fn next(&self) -> Option<(Task, Lane)> {
        match self.look_for_work().or_else(|| self.sleep()) {
            Some(NextStep::Run(task, lane)) => Some((task, lane)),
            Some(NextStep::Leave) => {
                self.count.fetch_sub(1, Ordering::AcqRel);
                None
            }
            None => None,
        }
    }

    fn look_for_work(&self) -> Option<NextStep> {
        if self.abandoned.load(Ordering::Acquire) {
            return Some(NextStep::Leave);
        }
        if let Some((task, lane)) = self.queues.take() {
            return Some(NextStep::Run(task, lane));
        }
        // A task that another worker has may bring more.
        let is_over = self.stopping.load(Ordering::SeqCst)
            && !self.states.any_busy()
            && self.queues.len() == 0;
        is_over.then_some(NextStep::Leave)
    }

    /// Sleeps until there is a task. The channel's own waiting spins first, which costs more than
    /// it gains when tasks come one by one. None if it has left.
    fn sleep(&self) -> Option<NextStep> {
        loop {
            let is_surplus = self.count.load(Ordering::Acquire) > self.base;
            let limit = is_surplus.then_some(IDLE_TIMEOUT);
            let next = self
                .sleepers
                .wait(limit, || self.look_for_work(), || self.wake(1));
            if next.is_some() || self.retire() {
                return next;
            }
        }
    }

    /// Returns whether this worker, which was idle for long, may go.
    fn retire(&self) -> bool {
        // Under the lock, so that not all of those beyond the cores go at once.
        let _state = self.state.lock();
        let leaves = self.count.load(Ordering::Acquire) > self.base;
        if leaves {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        leaves
    }

    /// Adds workers while those that there are do not keep the cores busy.
    fn watch(self: Arc<Self>) {
        let mut state = self.state.lock();
        let (mut pause, mut looked, mut before) = (FIRST_LOOK_DELAY, Instant::now(), Look::Idle);
        while !self.is_over() {
            if !self.watching.load(Ordering::Acquire) {
                while !state.alarm && !self.stopping.load(Ordering::SeqCst) {
                    self.changed.wait(&mut state);
                }
                state.alarm = false;
                if looked.elapsed() > LOOKS_FORGOTTEN_AFTER {
                    pause = FIRST_LOOK_DELAY;
                }
            }
            self.changed.wait_for(&mut state, pause);
            let look = MutexGuard::unlocked(&mut state, || self.look());
            looked = Instant::now();
            // Threads that have just been started want a core too, for a moment.
            if let (Look::Busy(_), Look::Busy(wanting)) = (before, look) {
                self.queues.hold_back(wanting, self.base);
            }
            before = look;
            pause = match look {
                Look::Grown => NEXT_LOOK_DELAY,
                Look::Woken => FIRST_LOOK_DELAY,
                Look::Busy(_) | Look::Idle => (pause * 2).min(MAX_LOOK_DELAY),
            };
        }
    }

    /// Returns whether all workers have left, or are about to.
    fn is_over(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
            && (self.count.load(Ordering::Acquire) == 0 || self.abandoned.load(Ordering::Acquire))
    }

    fn look(self: &Arc<Self>) -> Look {
        let waiting = self.queues.waiting();
        if waiting == 0 {
            self.watching.store(false, Ordering::Release);
            // A task may have come since: either this sees it, or its pusher that nobody watches.
            fence(Ordering::SeqCst);
            if self.queues.waiting() > 0 {
                self.watching.store(true, Ordering::Release);
            }
            self.queues.let_all_go();
            return Look::Idle;
        }
        let running = self.states.running();
        if running >= self.base {
            return Look::Busy(running);
        }
        self.queues.let_go();
        let takeable = self.queues.takeable();
        // Quick tasks need no more workers than there are cores to run them.
        let wanted = if self.wakeup_times.is_short() {
            takeable.min(self.base - running)
        } else {
            takeable
        };
        let woken = self.sleepers.wake(wanted);
        if woken > 0 {
            return Look::Woken;
        }
        let count = self.count.load(Ordering::Acquire);
        if count >= self.limit {
            if !self.warned.swap(true, Ordering::AcqRel) {
                log::warn!(target: "socketio", "all {count} workers are blocked in handlers, which is the limit (Limits::workers); {waiting} more turns wait");
            }
            return Look::Busy(0);
        }
        let more = takeable
            .min(count.max(1) * MAX_GROWTH)
            .min(self.limit - count);
        for _ in 0..more {
            match self.spawn() {
                Ok(()) => self.refused.store(false, Ordering::Relaxed),
                // Tried again with each look, and said once.
                Err(error) if self.refused.swap(true, Ordering::Relaxed) => {
                    log::debug!(target: "socketio", "no thread for another worker: {error}");
                    return Look::Busy(0);
                }
                Err(error) => {
                    log::error!(target: "socketio", "the system gives no thread for another worker: {error}; {waiting} turns wait");
                    return Look::Busy(0);
                }
            }
        }
        Look::Grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn run(workers: &WorkerPool, job: impl FnOnce() + Send + 'static) {
        workers.execute(Box::new(job));
    }

    #[test]
    fn blocked_jobs_do_not_stop_others() {
        let workers = WorkerPool::start(64).unwrap();
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
            let workers = Arc::new(WorkerPool::start(4).unwrap());
            let (last, when_last) = mpsc::channel();
            let turn = Arc::clone(&workers);
            let io_thread = std::thread::spawn(move || {
                turn.batch_wakeups();
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
                turn.flush_wakeups();
            });
            io_thread.join().unwrap();
            workers.stop(Instant::now() + Duration::from_secs(20));
            assert_eq!(workers.shared.count.load(Ordering::Acquire), 0);
        }
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let workers = WorkerPool::start(3).unwrap();
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        for _ in 0..10 {
            let held = held.clone();
            run(&workers, move || assert!(held.recv().is_err()));
        }
        while workers.shared.queues.len() > 7 {
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
        let workers = WorkerPool::start(1).unwrap();
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        let (done, when_done) = mpsc::channel();
        let (begun, when_begun) = mpsc::channel();
        run(&workers, move || {
            begun.send(()).unwrap();
            assert!(held.recv().is_err());
        });
        run(&workers, move || done.send(()).unwrap());
        when_begun.recv().unwrap();
        // One job waits, one has not been begun.
        workers.stop(Instant::now());
        assert!(when_done.recv().is_err(), "it was dropped");
        drop(hold);

        let workers = WorkerPool::start(1).unwrap();
        let (done, when_done) = mpsc::channel();
        let pool = Arc::new(workers);
        let own = Arc::downgrade(&pool);
        run(&pool, move || {
            std::thread::sleep(Duration::from_millis(20));
            // What work brings is done as well.
            let pool = own.upgrade().expect("a pool that is being stopped");
            run(&pool, move || done.send(()).unwrap());
        });
        pool.stop(Instant::now() + Duration::from_secs(20));
        assert_eq!(when_done.try_recv(), Ok(()));
    }

    #[test]
    fn a_panic_costs_nothing_but_the_job() {
        let workers = WorkerPool::start(1).unwrap();
        let (done, when_done) = mpsc::channel();
        run(&workers, || panic!("a job of a test"));
        run(&workers, move || done.send(()).unwrap());
        when_done
            .recv_timeout(Duration::from_secs(20))
            .expect("the next job");
    }

    #[test]
    fn a_job_may_stop_its_own_pool() {
        let workers = Arc::new(WorkerPool::start(2).unwrap());
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
