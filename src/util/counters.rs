//! Counters that every thread has for itself, and that are added up when somebody asks: to count
//! costs no lock, and no cache line that other threads write.

use crate::util::local::with_local;
use crate::util::sync::Mutex;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells sets of counters apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The counters of this thread, by the number of their set.
    static OWN: RefCell<Vec<(u64, Arc<dyn Shard>)>> = const { RefCell::new(Vec::new()) };
}

trait Shard: Send + Sync {
    fn counters(&self) -> &[AtomicU64];
}

impl<const N: usize> Shard for [AtomicU64; N] {
    fn counters(&self) -> &[AtomicU64] {
        self
    }
}

/// A set of counters. They may go down, too: they wrap.
pub(crate) struct Counters<const N: usize> {
    number: u64,
    state: Mutex<CountersState<N>>,
}

struct CountersState<const N: usize> {
    shards: Vec<Arc<[AtomicU64; N]>>,
    /// Of threads that have ended.
    ended: [u64; N],
}

impl<const N: usize> Counters<N> {
    pub(crate) fn new() -> Counters<N> {
        Counters {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            state: Mutex::new(CountersState {
                shards: Vec::new(),
                ended: [0; N],
            }),
        }
    }

    /// Adds to a few counters.
    pub(crate) fn add(&self, amounts: &[(usize, u64)]) {
        with_local(&OWN, Vec::new, |own| {
            let found = own.iter().find(|(number, _)| *number == self.number);
            let shard = match found {
                Some((_, shard)) => shard,
                None => {
                    // Sets that are no more are forgotten here.
                    own.retain(|(_, shard)| Arc::strong_count(shard) > 1);
                    let shard = self.new_shard();
                    own.push((self.number, shard));
                    &own[own.len() - 1].1
                }
            };
            let counters = shard.counters();
            for (which, amount) in amounts {
                // No other thread writes it.
                let before = counters[*which].load(Ordering::Relaxed);
                counters[*which].store(before.wrapping_add(*amount), Ordering::Relaxed);
            }
        });
    }

    fn new_shard(&self) -> Arc<[AtomicU64; N]> {
        let shard: Arc<[AtomicU64; N]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let mut state = self.state.lock();
        state.fold();
        state.shards.push(Arc::clone(&shard));
        shard
    }

    /// Returns the sums.
    pub(crate) fn sums(&self) -> [u64; N] {
        let mut state = self.state.lock();
        state.fold();
        let mut sums = state.ended;
        for shard in &state.shards {
            for (sum, counter) in sums.iter_mut().zip(shard.iter()) {
                *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
            }
        }
        sums
    }
}

impl<const N: usize> CountersState<N> {
    /// Keeps the sums of threads that have ended, and nothing else of them.
    fn fold(&mut self) {
        let ended = &mut self.ended;
        self.shards.retain(|shard| {
            let is_alive = Arc::strong_count(shard) > 1;
            if !is_alive {
                for (sum, counter) in ended.iter_mut().zip(shard.iter()) {
                    *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
                }
            }
            is_alive
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_is_added_up_also_of_those_that_have_ended() {
        let counters = Arc::new(Counters::<2>::new());
        let other = Counters::<2>::new();
        other.add(&[(0, 7)]);
        for _ in 0..4 {
            let counters = Arc::clone(&counters);
            let thread = std::thread::spawn(move || {
                for _ in 0..1_000 {
                    counters.add(&[(0, 1), (1, 3)]);
                }
                counters.add(&[(1, u64::MAX)]);
            });
            thread.join().unwrap();
        }
        counters.add(&[(0, 1)]);
        assert_eq!(counters.sums(), [4_001, 11_996]);
        assert_eq!(counters.state.lock().shards.len(), 1);
        assert_eq!(other.sums(), [7, 0]);
    }
}
