//! The inbox with every order that its threads can take: whoever is told to schedule is the only one at
//! work, and nothing stays behind.

use crate::sync::{Arc, AtomicU8, Mutex, Ordering};
use loom::thread;

#[path = "../../src/pool/inbox.rs"]
mod inbox;

use inbox::{Inbox, QueueState};

struct Shared {
    inbox: Inbox<(u8, u8)>,
    /// Workers that handle something.
    handling: AtomicU8,
    handled: Mutex<Vec<(u8, u8)>>,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            inbox: Inbox::new(),
            handling: AtomicU8::new(0),
            handled: Mutex::new(Vec::new()),
        })
    }

    /// Brings items one by one; whoever is told to schedule the inbox is its worker.
    fn bring(&self, from: u8, count: u8) {
        for number in 0..count {
            if self.inbox.push(vec![((from, number), 1)]).schedule {
                self.work();
            }
        }
    }

    fn work(&self) {
        loop {
            let items = self.inbox.take(2);
            if items.is_empty() {
                return;
            }
            let others = self.handling.fetch_add(1, Ordering::SeqCst);
            assert_eq!(others, 0, "one worker at a time");
            self.handled
                .lock()
                .extend(items.into_iter().map(|(item, _)| item));
            self.handling.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn everything_is_handled_once_in_order_by_one_at_a_time() {
    loom::model(|| {
        let shared = Shared::new();
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || other.bring(1, 2));
        shared.bring(0, 2);
        thread.join().unwrap();
        let handled = shared.handled.lock();
        let of = |from| {
            handled
                .iter()
                .filter(move |item| item.0 == from)
                .map(|item| item.1)
        };
        assert!(of(0).eq(0..2) && of(1).eq(0..2), "{handled:?}");
        assert_eq!(shared.inbox.queue_state(), QueueState::Idle);
    });
}

/// Reading from a client stops while too much waits, and goes on once that is not so: whoever asks
/// to be told is told, or knows at once.
#[test]
fn who_watches_is_told() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(shared.inbox.push(vec![((0, 0), 10)]).schedule);
        let worker = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            worker.work();
            worker.inbox.take_low_watermark(5)
        });
        let waits = shared.inbox.arm_low_watermark(5);
        let told = thread.join().unwrap();
        // The worker may have been through before: then it is asked again by the next one.
        assert!(!waits || told || shared.inbox.take_low_watermark(5));
    });
}
