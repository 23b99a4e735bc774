//! Small tools that every layer uses.

pub(crate) mod backoff;
pub(crate) mod budget;
#[cfg(test)]
mod budget_tests;
pub(crate) mod counters;
#[cfg(test)]
pub(crate) mod fuzz;
pub(crate) mod local;
#[cfg(debug_assertions)]
mod lock_order;
pub(crate) mod log_limit;
pub(crate) mod oneshot;
pub(crate) mod percent;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod rate;
pub(crate) mod shutdown;
pub(crate) mod slots;
pub(crate) mod snapshot;
pub(crate) mod sync;
pub(crate) mod time;
