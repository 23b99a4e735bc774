//! What threads share, with every order that they can take: the pieces are built anew here, on
//! loom's types.

#![allow(dead_code, reason = "each model uses a part of its piece")]

mod idle_model;
mod inbox_model;
mod outbox_model;
mod sync;

#[path = "../../src/util/budget.rs"]
mod budget;

mod util {
    pub(crate) use super::{budget, sync};
}
