//! What threads share their state by, in the pieces that are also checked with every order that
//! threads can take: there, in `tests/loom_*`, these names mean loom's.

pub(crate) use parking_lot::{Condvar, Mutex};
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
pub(crate) use std::thread;
