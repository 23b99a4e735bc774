//! States of the workers: which of them has a task, and whether it computes or waits.

use crate::util::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Number of workers that are asked at most in one look, each for about 8 us. Where many have a
/// task and most are blocked, a sample tells.
const MAX_ASKED: usize = 12;

/// Without a kernel that can be asked, a task that takes longer counts as blocked.
#[cfg_attr(target_os = "linux", allow(dead_code))]
const BLOCKED_AFTER: Duration = Duration::from_millis(5);

/// All workers of a pool.
#[derive(Debug)]
pub(super) struct States {
    epoch: Instant,
    workers: Mutex<Vec<Arc<WorkerState>>>,
}

/// One worker.
#[derive(Debug)]
pub(super) struct WorkerState {
    /// Path at which the kernel tells the state of its thread.
    stat_path: Option<String>,
    /// Moment when its task was begun, in nanoseconds of the pool, counted from one; zero if it has
    /// none.
    busy_since: AtomicU64,
}

impl States {
    pub(super) fn new() -> States {
        States {
            epoch: Instant::now(),
            workers: Mutex::default(),
        }
    }

    /// Adds the calling thread.
    pub(super) fn add(&self) -> Arc<WorkerState> {
        let worker = Arc::new(WorkerState {
            stat_path: stat_path(),
            busy_since: AtomicU64::new(0),
        });
        self.workers.lock().push(Arc::clone(&worker));
        worker
    }

    pub(super) fn remove(&self, worker: &Arc<WorkerState>) {
        self.workers.lock().retain(|it| !Arc::ptr_eq(it, worker));
    }

    pub(super) fn begin(&self, worker: &WorkerState, now: Instant) {
        let since = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        worker.busy_since.store(since + 1, Ordering::Release);
    }

    pub(super) fn end(&self, worker: &WorkerState) {
        worker.busy_since.store(0, Ordering::Release);
    }

    /// Returns whether any worker has a task.
    pub(super) fn any_busy(&self) -> bool {
        let workers = self.workers.lock();
        workers.iter().any(|worker| worker.is_busy())
    }

    /// Returns the number of workers that have a task.
    pub(super) fn busy_count(&self) -> usize {
        let workers = self.workers.lock();
        workers.iter().filter(|worker| worker.is_busy()).count()
    }

    /// Estimates the number of workers whose tasks use a core, or would if they were given one. A
    /// machine that is starved by other programs, or a container by its quota, still finds them
    /// runnable.
    pub(super) fn running(&self) -> usize {
        let (asked, busy): (Vec<_>, usize) = {
            let workers = self.workers.lock();
            // The newest are the ones that nothing is known of yet.
            let busy = workers.iter().rev().filter(|worker| worker.is_busy());
            (
                busy.clone().take(MAX_ASKED).cloned().collect(),
                busy.count(),
            )
        };
        let now = self.epoch.elapsed();
        let running = asked.iter().filter(|worker| worker.is_running(now)).count();
        match asked.len() {
            0 => 0,
            count => (running * busy).div_ceil(count),
        }
    }
}

impl WorkerState {
    /// Returns whether it has a task.
    fn is_busy(&self) -> bool {
        self.busy_since.load(Ordering::Acquire) != 0
    }

    /// Returns whether its thread is on a core, or waits for one (proc(5), the third field of
    /// `stat`).
    #[cfg(target_os = "linux")]
    fn is_running(&self, now: Duration) -> bool {
        use std::io::Read;
        let mut bytes = [0; 64];
        let read = |path: &String| std::fs::File::open(path)?.read(&mut bytes);
        let Some(Ok(count)) = self.stat_path.as_ref().map(read) else {
            return self.is_new(now);
        };
        // The name stands in brackets and may hold any character.
        let text = &bytes[..count];
        let end = text.iter().rposition(|byte| *byte == b')');
        end.and_then(|end| text.get(end + 2)) == Some(&b'R')
    }

    #[cfg(not(target_os = "linux"))]
    fn is_running(&self, now: Duration) -> bool {
        let _ = &self.stat_path;
        self.is_new(now)
    }

    /// Returns whether its task was begun a moment ago.
    fn is_new(&self, now: Duration) -> bool {
        let since = self.busy_since.load(Ordering::Acquire).saturating_sub(1);
        now.saturating_sub(Duration::from_nanos(since)) < BLOCKED_AFTER
    }
}

/// Returns the path at which the kernel tells the state of the calling thread.
fn stat_path() -> Option<String> {
    let thread = std::fs::read_link("/proc/thread-self").ok()?;
    Some(format!("/proc/{}/stat", thread.to_str()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn who_computes_is_told_from_who_waits() {
        let states = Arc::new(States::new());
        let (stop, stopped) = mpsc::channel::<()>();
        let (ready, when_ready) = mpsc::channel();
        let begin = |states: &Arc<States>| {
            let worker = states.add();
            states.begin(&worker, Instant::now());
            ready.send(()).unwrap();
        };
        std::thread::scope(|scope| {
            let (own, begin) = (&states, &begin);
            let quit = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let spins = Arc::clone(&quit);
            scope.spawn(move || {
                begin(own);
                while !spins.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            scope.spawn(move || {
                begin(own);
                let _ = stopped.recv();
            });
            when_ready.recv().unwrap();
            when_ready.recv().unwrap();
            while states.running() != 1 {
                std::thread::yield_now();
            }
            quit.store(true, Ordering::Relaxed);
            drop(stop);
        });
    }
}
