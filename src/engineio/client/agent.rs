//! Connections of ureq: from the same [`ServerRoute`] as a WebSocket.

use super::blocking_stream::BlockingStream;
use super::wire::{BlockingWire, IoDeadlines, ServerRoute};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

/// Connects for one agent.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) route: ServerRoute,
    pub(super) trace: Arc<Trace>,
}

/// What an agent's connections have done. It makes one request at a time.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Connections made so far.
    pub(super) made: AtomicU64,
    /// True if the server has said anything since the last write.
    pub(super) heard: AtomicBool,
}

impl Connector for Dialler {
    type Out = AgentTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<AgentTransport>, ureq::Error> {
        let wire = self.route.open(deadlines(details.timeout), |stream| {
            let handle: Weak<BlockingStream> = Arc::downgrade(stream);
            (details.register_shutdown)(handle as Weak<dyn ShutdownHandle>)
                .map_err(ureq::Error::into_io)
        });
        let wire = wire.map_err(|error| timed_out(error, details.timeout))?;
        self.trace.made.fetch_add(1, Ordering::Relaxed);
        let (input, output) = (
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(AgentTransport {
            wire,
            is_tls: self.route.is_secure(),
            buffers: LazyBuffers::new(input, output),
            trace: Arc::clone(&self.trace),
        }))
    }
}

fn deadlines(timeout: NextTimeout) -> IoDeadlines {
    let after = timeout.after;
    IoDeadlines {
        by: (!after.is_not_happening()).then(|| Instant::now() + *after),
        read: timeout.per_read.map(|it| *it),
        write: timeout.per_write.map(|it| *it),
    }
}

fn timed_out(error: io::Error, timeout: NextTimeout) -> ureq::Error {
    if error.kind() == ErrorKind::TimedOut {
        ureq::Error::Timeout(timeout.reason)
    } else {
        error.into()
    }
}

/// A connection of ureq's.
#[derive(Debug)]
pub(super) struct AgentTransport {
    wire: BlockingWire,
    is_tls: bool,
    buffers: LazyBuffers,
    trace: Arc<Trace>,
}

impl Transport for AgentTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.wire.deadlines = deadlines(timeout);
        self.trace.heard.store(false, Ordering::Relaxed);
        let output = &self.buffers.output()[..amount];
        let written = self.wire.write_all(output).and_then(|()| self.wire.flush());
        written.map_err(|error| timed_out(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.wire.deadlines = deadlines(timeout);
        loop {
            match self.wire.read(self.buffers.input_append_buf()) {
                Ok(count) => {
                    self.buffers.input_appended(count);
                    self.trace.heard.fetch_or(count > 0, Ordering::Relaxed);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error, timeout)),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        let mut stream = &*self.wire.stream;
        // One that has something to say, which was not asked for, is not used any more.
        let quiet = stream.set_nonblocking(true).is_ok()
            && matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        quiet && stream.set_nonblocking(false).is_ok()
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }
}

/// ureq asks for addresses before it asks for a connection; the dialler has its own.
#[derive(Debug)]
pub(super) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}
