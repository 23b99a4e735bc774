//! Tasks that wait for a worker, in two queues: those of owners that are quick as a rule, and those
//! of owners that keep their worker.
//!
//! Both are first in, first out. Where every worker there may be is blocked, a few are kept for the
//! quick tasks: a client that only echoes must not wait for a thousand that ask a database.
//!
//! Measured against one queue, on two cores: beside 1,000 clients whose handlers sleep 50 ms an echo
//! takes 0.3 ms instead of 149 ms (median), beside 200 whose handlers compute 5 ms it takes 1.5 ms
//! instead of 502 ms; as many events are served.

use super::Task;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One task in so many is taken from the slow queue first, so that it moves on while quick tasks
/// never end.
const TASKS_PER_SLOW_FIRST: u64 = 8;

/// Workers for each core that may want it: fewer leave a core idle between two of them.
const WORKERS_PER_CORE: usize = 3;

/// Pools with fewer workers than this keep none of them for quick tasks.
const MIN_WORKERS_TO_RESERVE: usize = 16;

/// Queue of a task, by how long its owner keeps a worker, as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Quick,
    Slow,
}

pub(super) struct Queues {
    quick: (Sender<Task>, Receiver<Task>),
    slow: (Sender<Task>, Receiver<Task>),
    /// Workers that run a slow task.
    slow_running: AtomicUsize,
    /// Limit of their number.
    slow_limit: usize,
    /// Limit of their number for the moment, at most that: where the cores are busy, more workers
    /// with slow tasks would only make all of them wait for a core, and everything else too.
    slow_target: AtomicUsize,
    taken: AtomicU64,
}

impl Queues {
    /// Queues for at most `workers` workers on so many cores.
    pub(super) fn new(workers: usize, cores: usize) -> Queues {
        let reserved = if workers < MIN_WORKERS_TO_RESERVE {
            0
        } else {
            cores.min(workers / 8)
        };
        Queues {
            quick: unbounded(),
            slow: unbounded(),
            slow_running: AtomicUsize::new(0),
            slow_limit: workers - reserved,
            slow_target: AtomicUsize::new(workers - reserved),
            taken: AtomicU64::new(0),
        }
    }

    pub(super) fn push(&self, task: Task, lane: Lane) {
        // Both ends are here, so neither channel can be closed.
        let _ = match lane {
            Lane::Quick => self.quick.0.send(task),
            Lane::Slow => self.slow.0.send(task),
        };
    }

    /// Takes a task; [`Queues::done`] is called with its lane once it has run.
    pub(super) fn take(&self) -> Option<(Task, Lane)> {
        if self
            .taken
            .load(Ordering::Relaxed)
            .is_multiple_of(TASKS_PER_SLOW_FIRST)
        {
            self.take_slow().or_else(|| self.take_quick())
        } else {
            self.take_quick().or_else(|| self.take_slow())
        }
    }

    fn take_quick(&self) -> Option<(Task, Lane)> {
        let task = self.quick.1.try_recv().ok()?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some((task, Lane::Quick))
    }

    fn take_slow(&self) -> Option<(Task, Lane)> {
        if self.slow.1.is_empty() {
            return None;
        }
        let limit = self.slow_target.load(Ordering::Relaxed);
        if self.slow_running.fetch_add(1, Ordering::AcqRel) < limit
            && let Ok(task) = self.slow.1.try_recv()
        {
            self.taken.fetch_add(1, Ordering::Relaxed);
            return Some((task, Lane::Slow));
        }
        self.slow_running.fetch_sub(1, Ordering::AcqRel);
        None
    }

    pub(super) fn done(&self, lane: Lane) {
        if lane == Lane::Slow {
            self.slow_running.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Returns the number of tasks that another worker would take now, held back as slow tasks may
    /// be.
    pub(super) fn takeable(&self) -> usize {
        let running = self.slow_running.load(Ordering::Acquire);
        let limit = self.slow_target.load(Ordering::Relaxed);
        self.quick.1.len() + self.slow.1.len().min(limit.saturating_sub(running))
    }

    /// Lets fewer workers run slow tasks, since so many of all workers want a core, and more than
    /// `cores` are of no use.
    pub(super) fn hold_back(&self, wanting: usize, cores: usize) {
        let crowd = wanting.saturating_sub(cores * WORKERS_PER_CORE);
        if crowd == 0 {
            return;
        }
        let running = self.slow_running.load(Ordering::Acquire);
        let target = running.saturating_sub(crowd.div_ceil(2));
        let limit = target.clamp(cores, self.slow_limit);
        self.slow_target.store(limit, Ordering::Relaxed);
    }

    /// Lets more workers run slow tasks: a core is free.
    pub(super) fn let_go(&self) {
        let target = self.slow_target.load(Ordering::Relaxed);
        let more = target + (target / 8).max(2);
        self.slow_target
            .store(more.min(self.slow_limit), Ordering::Relaxed);
    }

    /// Lets as many workers run slow tasks as there may be.
    pub(super) fn let_all_go(&self) {
        self.slow_target.store(self.slow_limit, Ordering::Relaxed);
    }

    /// Returns the number of tasks that another worker could take now if none were held back.
    pub(super) fn waiting(&self) -> usize {
        let running = self.slow_running.load(Ordering::Acquire);
        let slow = self.slow.1.len();
        self.quick.1.len() + slow.min(self.slow_limit.saturating_sub(running))
    }

    /// Returns the number of all tasks, also those that no worker may take now.
    pub(super) fn len(&self) -> usize {
        self.quick.1.len() + self.slow.1.len()
    }

    /// Takes out everything, whatever may run.
    pub(super) fn drain(&self) -> Vec<Task> {
        self.quick
            .1
            .try_iter()
            .chain(self.slow.1.try_iter())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Task {
        Task::Job(Box::new(|| ()))
    }

    #[test]
    fn a_few_workers_are_kept_for_quick_tasks() {
        let queues = Queues::new(16, 2);
        (0..20).for_each(|_| queues.push(job(), Lane::Slow));
        assert_eq!(queues.waiting(), 14);
        for _ in 0..14 {
            assert_eq!(queues.take().map(|(_, lane)| lane), Some(Lane::Slow));
        }
        assert!(queues.take().is_none() && queues.waiting() == 0 && queues.len() == 6);
        queues.push(job(), Lane::Quick);
        assert_eq!(queues.take().map(|(_, lane)| lane), Some(Lane::Quick));
        queues.done(Lane::Slow);
        assert_eq!(queues.waiting(), 1);
        assert_eq!(queues.take().map(|(_, lane)| lane), Some(Lane::Slow));
    }

    #[test]
    fn fewer_workers_run_slow_tasks_while_all_of_them_want_a_core() {
        let queues = Queues::new(256, 2);
        (0..300).for_each(|_| queues.push(job(), Lane::Slow));
        while queues.take().is_some() {}
        assert_eq!(queues.slow_running.load(Ordering::Relaxed), 254);
        for _ in 0..20 {
            // All but sixty wait for a core.
            let running = queues.slow_running.load(Ordering::Relaxed);
            queues.hold_back(running.saturating_sub(60), 2);
            let target = queues.slow_target.load(Ordering::Relaxed);
            (target..running).for_each(|_| queues.done(Lane::Slow));
            assert_eq!(queues.takeable(), 0);
        }
        let target = queues.slow_target.load(Ordering::Relaxed);
        assert!((60..80).contains(&target), "{target}");
        queues.let_go();
        assert!(queues.takeable() > 0);
        queues.let_all_go();
        assert_eq!(queues.waiting(), queues.takeable());
    }

    #[test]
    fn slow_tasks_move_on_while_quick_ones_never_end() {
        let queues = Queues::new(16, 2);
        queues.push(job(), Lane::Slow);
        let lanes = (0..20).map(|_| {
            queues.push(job(), Lane::Quick);
            queues.take().map(|(_, lane)| lane)
        });
        assert!(lanes.into_iter().any(|lane| lane == Some(Lane::Slow)));
    }
}
