//! Bodies of requests that a handler reads while they come: what an I/O thread reads waits in a
//! pipe of a bounded size for the worker that runs the handler.

use super::body::{BodyDecoder, BodyError};
use crate::net::Executor;
use crate::util::budget::Share;
use crate::util::sync::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that may wait for the handler; then nothing more is read from the client.
const MAX_WAITING: usize = 256 << 10;

/// The body of a request, as it comes. Reading blocks until there is more.
///
/// A client that goes away, or stops sending for longer than
/// [`Limits::http_body_timeout`](crate::Limits::http_body_timeout), is an error of the reading.
///
/// ```
/// use socketio::{App, BodyReader, Request, Server, tiny_http::Response};
///
/// let app = App::new(&Server::new()).http_upload(|_: &Request, body: &mut BodyReader| {
///     let count = std::io::copy(body, &mut std::io::sink()).unwrap_or_default();
///     Response::from_string(format!("{count} bytes"))
/// });
/// ```
pub struct BodyReader {
    pipe: Option<Arc<Pipe>>,
}

struct Pipe {
    state: Mutex<UploadState>,
    changed: Condvar,
    /// Called when there is room again.
    resume: Box<dyn Fn() + Send + Sync>,
    executor: Arc<dyn Executor>,
}

#[derive(Default)]
struct UploadState {
    waiting: VecDeque<u8>,
    /// The bytes that wait, in the budget.
    share: Share,
    /// The client is not read from, for want of room.
    is_full: bool,
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    Whole,
    Broken,
}

/// The I/O thread's end of a body that is read as it comes.
pub(crate) struct Upload {
    body: BodyDecoder,
    pipe: Arc<Pipe>,
    pub(crate) timeout: Duration,
}

impl Upload {
    /// Creates a body, and the reader of it, which calls `resume` when it has made room.
    pub(crate) fn new(
        body: BodyDecoder,
        timeout: Duration,
        share: Share,
        executor: Arc<dyn Executor>,
        resume: impl Fn() + Send + Sync + 'static,
    ) -> (Upload, BodyReader) {
        let state = UploadState {
            share,
            ..UploadState::default()
        };
        let pipe = Arc::new(Pipe {
            state: Mutex::new(state),
            changed: Condvar::new(),
            resume: Box::new(resume),
            executor,
        });
        let reader = BodyReader {
            pipe: Some(Arc::clone(&pipe)),
        };
        let upload = Upload {
            body,
            pipe,
            timeout,
        };
        (upload, reader)
    }

    /// Takes what belongs to the body; returns how much that was, and whether there is room for
    /// more.
    pub(crate) fn push(&mut self, input: &[u8]) -> Result<(usize, bool), BodyError> {
        let taken = self.body.read(input)?;
        let bytes = self.body.take_bytes();
        let mut state = self.pipe.state.lock();
        state.waiting.extend(bytes);
        let waiting = state.waiting.len();
        state.share.hold(waiting);
        if self.body.is_done() {
            state.end = Some(End::Whole);
        }
        state.is_full = state.waiting.len() > MAX_WAITING && !self.body.is_done();
        let has_room = !state.is_full;
        drop(state);
        self.pipe.changed.notify_all();
        Ok((taken, has_room))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.body.is_done()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.end.get_or_insert(End::Broken);
        drop(state);
        self.pipe.changed.notify_all();
    }
}

impl BodyReader {
    /// Returns the body of a request that has none.
    pub(crate) fn empty() -> BodyReader {
        BodyReader { pipe: None }
    }
}

impl BodyReader {
    /// Returns whether the client has gone before its end. Does not block.
    pub(crate) fn is_broken(&self) -> bool {
        let state = self.pipe.as_ref().map(|pipe| pipe.state.lock());
        state.is_some_and(|state| matches!(state.end, Some(End::Broken)))
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else {
            return Ok(0);
        };
        let is_idle = |state: &UploadState| state.waiting.is_empty() && state.end.is_none();
        if !buffer.is_empty() && is_idle(&pipe.state.lock()) {
            pipe.executor.block_in_place(&mut || {
                let mut state = pipe.state.lock();
                while is_idle(&state) {
                    pipe.changed.wait(&mut state);
                }
            });
        }
        let mut state = pipe.state.lock();
        let count = state.waiting.read(buffer)?;
        let waiting = state.waiting.len();
        state.share.hold(waiting);
        if count == 0 && !buffer.is_empty() && matches!(state.end, Some(End::Broken)) {
            let why = "the client has gone, or stopped sending";
            return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
        }
        let resumes = state.is_full && state.waiting.len() <= MAX_WAITING / 2;
        state.is_full &= !resumes;
        drop(state);
        if resumes {
            (pipe.resume)();
        }
        Ok(count)
    }
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BodyReader")
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Upload")
    }
}
