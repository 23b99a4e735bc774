//! Bodies of answers that are read a chunk at a time, on workers, as their clients take them.

use super::outbox::{Flush, Outbox};
use std::io::{ErrorKind, Read};
use std::sync::Arc;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that may wait for the client before reading pauses.
pub(super) const HIGH_WATER_BYTES: usize = 256 << 10;

/// A body on its way.
pub(crate) struct BodyStream {
    reader: Box<dyn Read + Send>,
    framing: BodyFraming,
    outbox: Arc<Outbox>,
}

/// Framing of a response's body.
#[derive(Debug)]
pub(super) enum BodyFraming {
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
    UntilClose,
}

/// Progress of a body.
#[derive(Debug)]
pub(crate) enum StreamState {
    /// The client has enough to read.
    Paused(Box<BodyStream>),
    Done,
    /// The body was shorter than it had said, could not be read, or the client is gone.
    Failed,
}

impl BodyStream {
    pub(super) fn new(
        reader: Box<dyn Read + Send>,
        framing: BodyFraming,
        outbox: Arc<Outbox>,
    ) -> BodyStream {
        BodyStream {
            reader,
            framing,
            outbox,
        }
    }

    /// Reads and writes until the client has enough, or the body ends. Runs on a worker.
    pub(super) fn run(mut self: Box<Self>) -> StreamState {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            if self.outbox.waiting_bytes() > HIGH_WATER_BYTES {
                return StreamState::Paused(self);
            }
            let wanted = match self.framing {
                BodyFraming::Length(0) => return StreamState::Done,
                BodyFraming::Length(missing) => missing.min(CHUNK_BYTES as u64) as usize,
                BodyFraming::Chunked | BodyFraming::UntilClose => CHUNK_BYTES,
            };
            let read = match self.reader.read(&mut buffer[..wanted]) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::warn!(target: "engineio", "the body of an answer could not be read: {error}");
                    return StreamState::Failed;
                }
            };
            if let Some(progress) = self.send(&buffer[..read]) {
                return progress;
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Option<StreamState> {
        let sent = match &mut self.framing {
            BodyFraming::Length(_) if bytes.is_empty() => {
                log::warn!(target: "engineio", "the body of an answer was shorter than it had said");
                return Some(StreamState::Failed);
            }
            BodyFraming::Length(missing) => {
                *missing -= bytes.len() as u64;
                self.outbox.append(bytes, Flush::Now)
            }
            BodyFraming::UntilClose => self.outbox.append(bytes, Flush::Now),
            BodyFraming::Chunked => {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(bytes);
                chunk.extend_from_slice(b"\r\n");
                self.outbox.append(&chunk, Flush::Now)
            }
        };
        match sent {
            Err(_) => Some(StreamState::Failed),
            // An empty chunk is the last one.
            Ok(_) if bytes.is_empty() => Some(StreamState::Done),
            Ok(_) => None,
        }
    }
}

impl std::fmt::Debug for BodyStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BodyStream")
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}
