//! Answers.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::io::Write;

/// A field of an answer's head: its name and its value.
pub(crate) type Header = (Cow<'static, str>, Cow<'static, str>);

pub(crate) type Headers = Vec<Header>;

/// One answer to one request.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) content: Content,
    /// Close the connection behind it.
    pub(crate) close: bool,
}

/// Content of a response.
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// Read a chunk at a time on a worker, as the client takes it; without a length it is sent in
    /// chunks.
    Reader {
        reader: Box<dyn Read + Send>,
        length: Option<u64>,
    },
}

impl Response {
    pub(crate) fn new(status: u16) -> Response {
        Response {
            status,
            headers: Vec::new(),
            content: Content::Bytes(Vec::new()),
            close: false,
        }
    }

    pub(crate) fn text(status: u16, text: &str) -> Response {
        Response::new(status)
            .with_header("Content-Type", "text/plain; charset=UTF-8")
            .with_body(text.as_bytes().to_vec())
    }

    pub(crate) fn with_header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Response {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn with_headers(mut self, headers: Headers) -> Response {
        self.headers.extend(headers);
        self
    }

    pub(crate) fn with_body(mut self, body: Vec<u8>) -> Response {
        self.content = Content::Bytes(body);
        self
    }

    /// Closes the connection behind this answer.
    pub(crate) fn closing(mut self) -> Response {
        self.close = true;
        self
    }

    /// Returns whether only reading the body tells where it ends.
    pub(crate) fn has_unknown_length(&self) -> bool {
        matches!(self.content, Content::Reader { length: None, .. })
    }

    /// Writes the head; a body of unknown length comes `chunked`, or ends with the connection.
    pub(crate) fn write_head(&self, keep_alive: bool, chunked: bool, out: &mut Vec<u8>) {
        // Writing to a Vec does not fail.
        match self.status {
            // That of nearly every request.
            200 => out.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
            status => drop(write!(out, "HTTP/1.1 {status} {}\r\n", phrase(status))),
        }
        write_headers(&self.headers, out);
        let has_body = !matches!(self.status, 100..=199 | 204 | 304);
        match &self.content {
            _ if self.status < 200 || self.status == 304 => {}
            Content::Bytes(bytes) => {
                let length = if has_body { bytes.len() } else { 0 };
                write_length(length as u64, out);
            }
            Content::Reader {
                length: Some(length),
                ..
            } if has_body => {
                write_length(*length, out);
            }
            Content::Reader { .. } if has_body && chunked => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            Content::Reader { .. } => {}
        }
        if !keep_alive && self.status >= 200 {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Response")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Writes the fields of a head. A program's own name or value must not begin another field: one
/// that would is left out.
pub(crate) fn write_headers(headers: &[Header], out: &mut Vec<u8>) {
    for (name, value) in headers {
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        let is_value = value.bytes().all(|byte| byte >= b' ' || byte == b'\t');
        if is_name && is_value {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        } else {
            log::warn!(target: "engineio", "header {name:?} of an answer was left out: its name is no token, or its value has control characters");
        }
    }
}

/// Returns whether a byte may be in a field's name (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn write_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    // Quicker than formatting, and neither fails in a Vec.
    let _ = serde_json::to_writer(&mut *out, &length);
    out.extend_from_slice(b"\r\n");
}

/// Returns the reason phrase, which clients ignore and people read.
#[cfg(feature = "server")]
fn phrase(status: u16) -> &'static str {
    tiny_http::StatusCode(status).default_reason_phrase()
}

/// Returns nothing: without servers there are no responses.
#[cfg(not(feature = "server"))]
fn phrase(_: u16) -> &'static str {
    ""
}
