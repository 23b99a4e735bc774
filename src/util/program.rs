//! The border to the program: its functions are called here.

use super::sync::assert_unlocked;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls a function of the program, or drops what is the program's; an error is a panic. No lock may
/// be held, which builds with debug assertions check: the function may ask for anything.
pub(crate) fn call<T>(function: impl FnOnce() -> T) -> std::thread::Result<T> {
    assert_unlocked();
    catch_unwind(AssertUnwindSafe(function))
}
