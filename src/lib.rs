//! Socket.IO for programs made of threads.
#![forbid(unsafe_code)]

mod error;
mod limits;
mod protocol;
mod reactor;
mod reason;
mod workers;

pub use error::Error;
pub use limits::Limits;
pub use reactor::http::cors::Origins;
pub use reactor::http::request::Request;
#[cfg(feature = "tls")]
pub use reactor::tls::Tls;
pub use reason::Reason;
