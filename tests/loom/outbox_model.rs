//! The outbox with every order that its threads can take: what was accepted leaves once, whole and in
//! order, and a poll that waits is told.

use crate::budget;
use crate::sync::{Arc, Mutex};
use bytes::Bytes;
use loom::thread;

/// A socket that takes a few bytes, and then none until it is read.
mod socket {
    use crate::sync::Mutex;
    use std::io::{self, ErrorKind, IoSlice};

    #[derive(Debug)]
    pub(crate) struct StreamSocket {
        pub(crate) state: Mutex<(Vec<u8>, usize)>,
    }

    impl StreamSocket {
        pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.state.lock();
            let count = bytes.len().min(state.1);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            state.1 -= count;
            state.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let parts: Vec<&[u8]> = slices.iter().map(|slice| &**slice).collect();
            self.write(&parts.concat())
        }

        pub(crate) fn flush(&self) -> io::Result<()> {
            Ok(())
        }

        pub(crate) fn abort(&self) {}
    }
}

/// A server's outbox masks nothing.
mod mask {
    pub(crate) struct NoMask;

    pub(crate) fn with_masked<T>(_: &[u8], _: impl FnOnce(&[u8]) -> T) -> Result<T, NoMask> {
        Err(NoMask)
    }

    pub(crate) fn mask(_: &[u8], _: &mut Vec<u8>) -> Result<(), NoMask> {
        Err(NoMask)
    }
}

/// Frames of one byte.
mod websocket {
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Role {
        Client,
        Server,
    }

    pub(crate) fn parse_frame(bytes: &[u8]) -> Option<(bool, usize, usize)> {
        (!bytes.is_empty()).then_some((true, 0, 1))
    }
}

#[path = "../../src/net/outbox.rs"]
mod outbox;

use outbox::{Appended, Flush, Outbox};
use socket::StreamSocket;
use websocket::Role;

/// A handler's turn: two answers that may be held back, and the end of the turn.
fn turn(outbox: &Outbox) -> bool {
    let mut awaited = false;
    let mut see = |accepted| awaited |= accepted == Ok(Appended::WakePoll);
    see(outbox.append(b"a", Flush::Corked));
    see(outbox.append(b"b", Flush::Corked));
    see(outbox.flush());
    awaited
}

#[test]
fn what_is_held_back_leaves_once_and_in_order() {
    loom::model(|| {
        let socket = Arc::new(StreamSocket {
            state: Mutex::new((Vec::new(), 2)),
        });
        let outbox = Arc::new(Outbox::attached(
            Role::Server,
            Arc::clone(&socket),
            100,
            budget::Share::default(),
        ));
        outbox.cork();
        let worker = Arc::clone(&outbox);
        let worker = thread::spawn(move || turn(&worker));
        let other = Arc::clone(&outbox);
        let other = thread::spawn(move || other.append(b"x", Flush::Now).is_ok());
        // The I/O thread has waited long enough for the worker, and the socket takes more.
        outbox.uncork().unwrap();
        socket.state.lock().1 = 10;
        outbox.on_writable().unwrap();
        worker.join().unwrap();
        assert!(other.join().unwrap());
        // It says once more that it takes more.
        outbox.on_writable().unwrap();
        let written = socket.state.lock().0.clone();
        let own: Vec<_> = written.iter().filter(|byte| **byte != b'x').collect();
        assert_eq!((written.len(), own), (3, vec![&b'a', &b'b']));
        assert_eq!(outbox.waiting_bytes(), 0);
        assert!(!outbox.has_held());
    });
}

/// A worker takes its cork off while the I/O thread does so too, and puts the next one on.
#[test]
fn a_cork_that_is_off_holds_nothing_back() {
    loom::model(|| {
        let socket = Arc::new(StreamSocket {
            state: Mutex::new((Vec::new(), 100)),
        });
        let outbox = Arc::new(Outbox::attached(
            Role::Server,
            Arc::clone(&socket),
            100,
            budget::Share::default(),
        ));
        let cork = outbox.cork().unwrap();
        let worker = Arc::clone(&outbox);
        let worker = thread::spawn(move || {
            worker.append(b"a", Flush::Corked).unwrap();
            worker.uncork().unwrap();
        });
        if outbox.is_current(cork) {
            outbox.uncork().unwrap();
        }
        let next = outbox.cork();
        worker.join().unwrap();
        assert_eq!(socket.state.lock().0, b"a");
        outbox.append(b"b", Flush::Corked).unwrap();
        let is_on = next.is_some_and(|next| outbox.is_current(next));
        assert_eq!(outbox.has_held(), is_on, "held back by a cork, or gone");
        outbox.uncork().unwrap();
        assert_eq!(socket.state.lock().0, b"ab");
    });
}

#[test]
fn a_poll_that_waits_is_told_of_what_comes() {
    loom::model(|| {
        let outbox = Arc::new(Outbox::detached(
            Role::Server,
            100,
            budget::Share::default(),
        ));
        outbox.cork();
        let worker = Arc::clone(&outbox);
        let worker = thread::spawn(move || turn(&worker));
        let waits = outbox.set_poll_waiting();
        let uncorked = outbox.uncork() == Ok(Appended::WakePoll);
        let told = worker.join().unwrap() || uncorked;
        // Either there was something to answer with at once, or somebody was told to answer.
        assert!(!waits || told, "nobody answers the poll");
        let mut taken = Vec::new();
        outbox.drain_frames(|_, frame| {
            taken.extend_from_slice(frame);
            true
        });
        assert_eq!(taken, b"ab");
    });
}

#[test]
fn nothing_is_lost_while_the_transport_changes() {
    loom::model(|| {
        let socket = Arc::new(StreamSocket {
            state: Mutex::new((Vec::new(), 100)),
        });
        let outbox = Arc::new(Outbox::detached(
            Role::Server,
            100,
            budget::Share::default(),
        ));
        let worker = Arc::clone(&outbox);
        let worker = thread::spawn(move || turn(&worker));
        outbox
            .attach(Arc::clone(&socket), Bytes::from_static(b"1"))
            .unwrap();
        worker.join().unwrap();
        assert_eq!(socket.state.lock().0, b"1ab");
    });
}
