//! The addresses of a server's name, tried as RFC 8305 says: the next one soon, beside those that
//! have not answered.

use crate::util::sync::Mutex;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that an address has before the next is tried as well (RFC 8305, 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Time after which a Unix socket whose queue is full is tried again.
#[cfg(unix)]
const FULL_QUEUE_DELAY: Duration = Duration::from_millis(5);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// The addresses of one name, that which answered last in front. One for each session.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses(Arc<Mutex<Vec<SocketAddr>>>);

impl Addresses {
    /// Connects to the first address that answers. Blocks until `by`, but for the resolver's own
    /// time.
    pub(super) fn connect(
        &self,
        host: &str,
        port: u16,
        by: Instant,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        let mut all = self.0.lock().clone();
        if all.is_empty() {
            all = interleaved((host, port).to_socket_addrs()?);
        }
        let (tcp, peer) = race(&all, by)?;
        all.retain(|it| *it != peer);
        all.insert(0, peer);
        *self.0.lock() = all;
        Ok((tcp, peer))
    }
}

/// Returns one family after the other, in the resolver's order (RFC 8305, 4).
fn interleaved(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<_> = addresses.collect();
    let Some(first) = all.first().map(SocketAddr::is_ipv6) else {
        return all;
    };
    let (mut same, mut other): (VecDeque<_>, VecDeque<_>) = all
        .drain(..)
        .take(MAX_ADDRESSES)
        .partition(|it| it.is_ipv6() == first);
    while !same.is_empty() || !other.is_empty() {
        all.extend(same.pop_front());
        all.extend(other.pop_front());
    }
    all
}

/// Connects to a Unix socket. Blocks until `by` while its queue is full.
#[cfg(unix)]
pub(super) fn connect_unix(path: &Path, by: Instant) -> io::Result<UnixStream> {
    loop {
        // A blocking one would wait without an end.
        match mio::net::UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(left(by)?.min(FULL_QUEUE_DELAY));
            }
            stream => {
                let stream = UnixStream::from(std::os::fd::OwnedFd::from(stream?));
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
        }
    }
}

/// Returns the time that is left.
pub(super) fn left(by: Instant) -> io::Result<Duration> {
    let left = by.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

/// Connects to the first of some addresses that answers.
fn race(addresses: &[SocketAddr], by: Instant) -> io::Result<(TcpStream, SocketAddr)> {
    if let [only] = addresses {
        return Ok((TcpStream::connect_timeout(only, left(by)?)?, *only));
    }
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    let mut waiting = addresses.iter().copied();
    let mut begun: Vec<Option<(mio::net::TcpStream, SocketAddr)>> = Vec::new();
    let mut failed = None;
    let mut next_at = Some(Instant::now());
    loop {
        let idle = begun.iter().all(Option::is_none);
        if idle || next_at.is_some_and(|at| at <= Instant::now()) {
            match waiting.next() {
                Some(address) => match mio::net::TcpStream::connect(address) {
                    Ok(mut tcp) => {
                        let token = Token(begun.len());
                        poll.registry()
                            .register(&mut tcp, token, Interest::WRITABLE)?;
                        begun.push(Some((tcp, address)));
                        next_at = Some(Instant::now() + ATTEMPT_DELAY);
                    }
                    Err(error) => {
                        failed = Some(error);
                        continue;
                    }
                },
                None if idle => {
                    let unknown =
                        || io::Error::new(ErrorKind::NotFound, "the server's name is not known");
                    return Err(failed.unwrap_or_else(unknown));
                }
                None => next_at = None,
            }
        }
        let until = next_at.map_or(by, |at| at.min(by));
        let wait = until.saturating_duration_since(Instant::now());
        match poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            let place = &mut begun[event.token().0];
            let Some((tcp, _)) = place else { continue };
            let error = match (tcp.take_error(), tcp.peer_addr()) {
                (Ok(None), Ok(_)) => {
                    let Some((mut tcp, peer)) = place.take() else {
                        continue;
                    };
                    poll.registry().deregister(&mut tcp)?;
                    let tcp = TcpStream::from(tcp);
                    tcp.set_nonblocking(false)?;
                    return Ok((tcp, peer));
                }
                (Ok(Some(error)), _) | (Err(error), _) => error,
                (Ok(None), Err(error)) if error.kind() == ErrorKind::NotConnected => continue,
                (Ok(None), Err(error)) => error,
            };
            failed = Some(error);
            *place = None;
            // The next need not wait.
            next_at = next_at.map(|_| Instant::now());
        }
        left(by)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Returns a listener whose queue is full: it never answers.
    fn deaf() -> (TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(tcp) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            held.push(tcp);
            assert!(held.len() < 10_000);
        }
        (listener, held)
    }

    #[test]
    fn an_address_that_does_not_answer_holds_up_no_other() {
        let (dead, _held) = deaf();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let (good, dead) = (good.local_addr().unwrap(), dead.local_addr().unwrap());
        let by = || Instant::now() + Duration::from_secs(3600);
        let (tcp, peer) = race(&[dead, good], by()).unwrap();
        assert_eq!(peer, good);
        tcp.set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let silent = io::Read::read(&mut &tcp, &mut [0]).unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::WouldBlock, "it blocks again");
        let addresses = Addresses(Arc::new(Mutex::new(vec![dead, good])));
        assert_eq!(addresses.connect("x", 1, by()).unwrap().1, good);
        assert_eq!(addresses.0.lock()[0], good, "it is tried first from now on");
    }

    #[test]
    fn why_none_could_be_reached_is_told() {
        let refused: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let soon = || Instant::now() + Duration::from_secs(20);
        let kind = |addresses: &[SocketAddr], by| race(addresses, by).unwrap_err().kind();
        assert_eq!(
            kind(&[refused, refused], soon()),
            ErrorKind::ConnectionRefused
        );
        assert_eq!(kind(&[], soon()), ErrorKind::NotFound);
        let (dead, _held) = deaf();
        let dead = dead.local_addr().unwrap();
        assert_eq!(kind(&[dead, dead], Instant::now()), ErrorKind::TimedOut);
    }
}
