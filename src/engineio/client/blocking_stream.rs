//! A connection to a server before it is one of an event loop: TCP, or a Unix socket, whose
//! reads and writes block.

use crate::net::stream::Stream;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;
use ureq::unversioned::transport::ShutdownHandle;

#[derive(Debug)]
pub(super) enum BlockingStream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl BlockingStream {
    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            BlockingStream::Tcp(stream) => stream.set_read_timeout(timeout),
            #[cfg(unix)]
            BlockingStream::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            BlockingStream::Tcp(stream) => stream.set_write_timeout(timeout),
            #[cfg(unix)]
            BlockingStream::Unix(stream) => stream.set_write_timeout(timeout),
        }
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            BlockingStream::Tcp(stream) => stream.set_nonblocking(nonblocking),
            #[cfg(unix)]
            BlockingStream::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }

    /// Makes it one of an event loop.
    pub(super) fn into_nonblocking(self) -> io::Result<Stream> {
        self.set_nonblocking(true)?;
        Ok(match self {
            BlockingStream::Tcp(stream) => Stream::Tcp(mio::net::TcpStream::from_std(stream)),
            #[cfg(unix)]
            BlockingStream::Unix(stream) => Stream::Unix(mio::net::UnixStream::from_std(stream)),
        })
    }
}

impl ShutdownHandle for BlockingStream {
    fn shutdown(&self) {
        // One that has ended already needs none.
        let _ = match self {
            BlockingStream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            #[cfg(unix)]
            BlockingStream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for &BlockingStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            BlockingStream::Tcp(stream) => (&*stream).read(buffer),
            #[cfg(unix)]
            BlockingStream::Unix(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &BlockingStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            BlockingStream::Tcp(stream) => (&*stream).write(bytes),
            #[cfg(unix)]
            BlockingStream::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
