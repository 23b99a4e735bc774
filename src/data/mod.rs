//! Values, bytes, and the arguments of events and acknowledgements, in and out. No I/O.

pub(crate) mod args;
pub(crate) mod binary;
pub(crate) mod encoded;
#[cfg(feature = "msgpack")]
mod msgpack;
pub(crate) mod received;
mod recode;
pub(crate) mod value;

pub use args::Args;
pub use binary::Binary;
pub(crate) use encoded::{EncodedArgs, Encoding};
pub(crate) use received::ReceivedArgs;
pub use value::{Object, Value};

/// Returns the error of data that is a variant with several fields.
fn unsupported(name: &str) -> String {
    format!(
        "{name}: a variant with several fields cannot be all the data of an event; put it into a tuple: (value,)"
    )
}
