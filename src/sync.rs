//! What threads share their state by, in the two pieces that are also checked with every order that
//! threads can take: there, `tests/loom_inbox` and `tests/loom_outbox`, these names mean loom's.

pub(crate) use parking_lot::Mutex;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
