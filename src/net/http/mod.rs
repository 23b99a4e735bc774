//! HTTP/1.1 as far as a server needs it: heads by httparse, bodies, answers.

pub(crate) mod body;
#[cfg(feature = "compression")]
pub(crate) mod compression;
pub(crate) mod cors;
pub(crate) mod head;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod upload;

pub(crate) use body::{BodyDecoder, RequestFraming};
pub(crate) use head::Head;
pub(crate) use request::{Request, form_field};
pub(crate) use response::{Content, Header, Headers, Response};
