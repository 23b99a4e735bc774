//! Socket.IO for programs made of threads.
#![forbid(unsafe_code)]

mod limits;
mod protocol;
mod reason;

pub use limits::Limits;
pub use reason::Reason;
