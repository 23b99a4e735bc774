//! A TCP connection, with TLS or without, that is never waited for.

use mio::net::TcpStream;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

#[cfg(feature = "tls")]
use super::tls::Connection as Tls;

/// TCP or TLS stream: the I/O thread reads from it, any thread writes to it.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
}

impl Socket {
    pub(crate) fn plain(tcp: TcpStream) -> Socket {
        Socket {
            tcp,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn secure(tcp: TcpStream, tls: Tls) -> Socket {
        Socket {
            tcp,
            tls: Some(Box::new(tls)),
        }
    }

    pub(crate) fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }

    pub(crate) fn tcp_mut(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// Reads what is there; `WouldBlock` when there is nothing.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.read(&self.tcp, buffer);
        }
        (&self.tcp).read(buffer)
    }

    /// Writes what the connection takes; `WouldBlock` when it takes nothing.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.write(&self.tcp, bytes);
        }
        (&self.tcp).write(bytes)
    }

    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let (Some(_), Some(first)) = (&self.tls, slices.iter().find(|slice| !slice.is_empty())) {
            return self.write(first);
        }
        (&self.tcp).write_vectored(slices)
    }

    /// Writes what TLS has encrypted and the connection has not taken.
    pub(crate) fn flush(&self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.flush(&self.tcp);
        }
        Ok(())
    }

    /// Says that nothing more will be written.
    pub(crate) fn finish(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.finish(&self.tcp);
        }
        // The peer may be gone already.
        let _ = self.tcp.shutdown(Shutdown::Write);
    }

    /// Ends the connection, whoever else still holds it.
    pub(crate) fn abort(&self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}
