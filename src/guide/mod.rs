//! The guide: how to write servers and clients, and how to run them.

#[doc = include_str!("clients.md")]
pub mod clients {}

#[doc = include_str!("cluster.md")]
pub mod cluster {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("from_python.md")]
pub mod from_python {}

#[doc = include_str!("generations.md")]
pub mod generations {}

#[doc = include_str!("handlers.md")]
pub mod handlers {}

#[doc = include_str!("monitoring.md")]
pub mod monitoring {}

#[doc = include_str!("performance.md")]
pub mod performance {}

#[doc = include_str!("security.md")]
pub mod security {}
