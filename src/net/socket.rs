//! A connection, with TLS or without, that is never waited for.

use super::stream::Stream;
use mio::event::Source;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
#[cfg(feature = "tls")]
use std::sync::Arc;

#[cfg(feature = "tls")]
use super::tls::TlsConnection;

/// Stream with TLS or without: the I/O thread reads from it, any thread writes to it.
#[derive(Debug)]
pub(crate) struct StreamSocket {
    stream: Stream,
    #[cfg(feature = "tls")]
    tls: Option<Box<TlsConnection>>,
}

impl StreamSocket {
    pub(crate) fn plain(stream: Stream) -> StreamSocket {
        StreamSocket {
            stream,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn secure(stream: Stream, tls: TlsConnection) -> StreamSocket {
        StreamSocket {
            stream,
            tls: Some(Box::new(tls)),
        }
    }

    pub(crate) fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// Returns the certificate of the other end, if it has shown one.
    #[cfg(feature = "tls")]
    pub(crate) fn peer_certificate(&self) -> Option<Arc<[u8]>> {
        self.tls.as_ref()?.peer_certificate()
    }

    /// Returns what an event loop watches.
    pub(crate) fn source(&mut self) -> &mut dyn Source {
        self.stream.source()
    }

    /// Reads what is there; `WouldBlock` when there is nothing.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.read(&self.stream, buffer);
        }
        (&self.stream).read(buffer)
    }

    /// Writes what the connection takes; `WouldBlock` when it takes nothing.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.write(&self.stream, bytes);
        }
        (&self.stream).write(bytes)
    }

    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let (Some(_), Some(first)) = (&self.tls, slices.iter().find(|slice| !slice.is_empty())) {
            return self.write(first);
        }
        (&self.stream).write_vectored(slices)
    }

    /// Writes what TLS has encrypted and the connection has not taken.
    pub(crate) fn flush(&self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.flush(&self.stream);
        }
        Ok(())
    }

    /// Says that nothing more will be written.
    pub(crate) fn shutdown_write(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.shutdown_write(&self.stream);
        }
        // The peer may be gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection, whoever else still holds it.
    pub(crate) fn shutdown(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
