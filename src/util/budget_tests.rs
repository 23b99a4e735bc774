//! Beside the budget, which is also compiled for `tests/loom`.

use super::budget::*;
use crate::util::sync::{Arc, AtomicUsize, Ordering};

#[test]
fn what_is_held_is_counted_and_given_back() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let budget = Arc::new(Budget::new(3 * STEP_BYTES, move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let used = || budget.used();
    let share = || Share::of(Some(Arc::clone(&budget)));
    let (mut one, mut other) = (share(), share());
    one.hold(STEP_BYTES - 1);
    assert_eq!(used(), 0);
    one.hold(2 * STEP_BYTES + 5);
    other.hold(STEP_BYTES);
    assert_eq!((used(), budget.is_exceeded()), (3 * STEP_BYTES, false));
    other.hold(2 * STEP_BYTES);
    other.hold(3 * STEP_BYTES);
    assert!(budget.is_exceeded());
    assert_eq!(told.load(Ordering::Relaxed), 1, "once");
    one.hold(7);
    assert_eq!(used(), 3 * STEP_BYTES);
    drop(other);
    assert_eq!(used(), 0);
}
