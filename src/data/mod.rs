//! Values, bytes, and the arguments of events and acknowledgements, in and out. No I/O.

pub(crate) mod args;
pub(crate) mod binary;
pub(crate) mod value;

pub use args::Args;
pub(crate) use args::EncodedArgs;
pub use binary::Binary;
pub use value::{Object, Value};
