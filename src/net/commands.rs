//! How other threads tell an I/O thread something.

use crossbeam_channel::Sender;
use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The way into an I/O thread.
#[derive(Debug)]
pub(crate) struct Mailbox<C> {
    sender: Sender<C>,
    waker: Arc<Waker>,
    /// True if the thread has been woken for commands that it has not looked at.
    woken: Arc<AtomicBool>,
}

impl<C> Clone for Mailbox<C> {
    fn clone(&self) -> Self {
        Mailbox {
            sender: self.sender.clone(),
            waker: Arc::clone(&self.waker),
            woken: Arc::clone(&self.woken),
        }
    }
}

impl<C> Mailbox<C> {
    pub(super) fn new(sender: Sender<C>, waker: Waker) -> Mailbox<C> {
        Mailbox {
            sender,
            waker: Arc::new(waker),
            woken: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Never blocks. What is sent to a thread that has ended is dropped.
    pub(crate) fn send(&self, command: C) {
        if self.sender.send(command).is_err() {
            return;
        }
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            log::error!(target: "engineio", "an I/O thread cannot be woken: {error}");
        }
    }

    /// Returns whether there may be commands. The thread asks before it looks.
    pub(super) fn take_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::AcqRel)
    }
}
