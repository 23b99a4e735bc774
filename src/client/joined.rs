//! A namespace that is connected.

use crate::dispatch::{Acks, Encoded, Peer, outgoing};
use crate::engineio::Handle;
use crate::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A namespace of one session, from the server's CONNECT to its end.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) namespace: Arc<str>,
    pub(super) sid: Box<str>,
    pub(super) session: Arc<Handle>,
    pub(super) acks: Acks,
    gone: AtomicBool,
}

impl Joined {
    pub(super) fn new(namespace: Arc<str>, sid: &str, session: Arc<Handle>) -> Joined {
        Joined {
            namespace,
            sid: sid.into(),
            session,
            acks: Acks::default(),
            gone: AtomicBool::new(false),
        }
    }

    /// From now on nothing is sent to it.
    pub(super) fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }
}

impl Peer for Joined {
    fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    fn sid(&self) -> &str {
        &self.sid
    }

    fn acknowledge(&self, id: u64, answer: &Encoded) -> Result<(), Error> {
        if self.gone.load(Ordering::Acquire) {
            return Err(Error::Disconnected);
        }
        self.session.send_written(|buffer| {
            outgoing::write_ack(&self.namespace, id, answer, buffer);
            Ok(())
        })
    }
}
