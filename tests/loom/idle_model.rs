//! The workers' sleep with every order that threads can take: whoever is needed wakes up.

use crate::sync::{Arc, AtomicBool, Ordering};
use loom::thread;

#[path = "../../src/pool/idle.rs"]
mod idle;

use idle::IdleWorkers;

#[derive(Default)]
struct Pool {
    sleepers: IdleWorkers,
    tasks: [AtomicBool; 3],
}

impl Pool {
    fn push(&self, task: u8) {
        self.tasks[usize::from(task)].store(true, Ordering::Release);
        self.sleepers.wake(1);
    }

    fn take(&self) -> Option<u8> {
        let takes = |task: &u8| {
            let slot = &self.tasks[usize::from(*task)];
            slot.load(Ordering::Acquire) && slot.swap(false, Ordering::AcqRel)
        };
        [1, 2].into_iter().find(takes)
    }

    fn next(&self) -> u8 {
        let pass_on = || {
            self.sleepers.wake(1);
        };
        let task = self.sleepers.wait(None, || self.take(), pass_on);
        task.expect("nobody sleeps without an end")
    }
}

/// A thread that nobody wakes sleeps for ever, which loom reports.
#[test]
fn who_lies_down_misses_no_task() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        let worker = Arc::clone(&pool);
        let thread = thread::spawn(move || worker.next() + worker.next());
        pool.push(1);
        pool.push(2);
        assert_eq!(thread.join().unwrap(), 3, "each task once");
    });
}

/// A worker that has found a task and is woken for another one as well lets somebody else have that.
#[test]
fn a_task_does_not_wait_for_the_end_of_another() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let pool = Arc::new(Pool::default());
        let is_done = Arc::new(AtomicBool::new(false));
        let workers = [(); 2].map(|()| {
            let (pool, is_done) = (Arc::clone(&pool), Arc::clone(&is_done));
            thread::spawn(move || match pool.next() {
                1 => {
                    while !is_done.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                }
                _ => is_done.store(true, Ordering::Release),
            })
        });
        pool.push(1);
        pool.push(2);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}
