//! A port on which sessions are served.

use super::driver::{Driver, Order};
use super::{Application, Config, Fallback};
#[cfg(feature = "tls")]
use crate::reactor::tls::Tls;
use crate::reactor::{Executor, Options, Threads};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

/// What the I/O threads of one port share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// `/socket.io/`
    pub(super) path: String,
    pub(super) application: Arc<dyn Application>,
    pub(super) fallback: Option<Elsewhere>,
}

pub(super) struct Elsewhere(pub(super) Arc<Fallback>);

impl std::fmt::Debug for Elsewhere {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Fallback")
    }
}

/// What is served on a port.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) local_addr: SocketAddr,
    threads: Threads<Order>,
}

impl Serving {
    /// Starts the I/O threads.
    pub(crate) fn start(
        listener: TcpListener,
        config: Config,
        path: String,
        application: Arc<dyn Application>,
        fallback: Option<Arc<Fallback>>,
        executor: Arc<dyn Executor>,
        #[cfg(feature = "tls")] tls: Option<Tls>,
    ) -> io::Result<Serving> {
        let local_addr = listener.local_addr()?;
        // A session's id ends with the number of its thread, in one byte.
        let count = config.io_threads().min(256);
        let options = Options {
            limits: config.limits.clone(),
            max_message: config.max_payload,
            #[cfg(feature = "tls")]
            tls,
            executor,
            connections: AtomicUsize::new(0),
        };
        let shared = Arc::new(Shared {
            config,
            path,
            application,
            fallback: fallback.map(Elsewhere),
        });
        let threads = Threads::start("io", Some(listener), count, options, || {
            Driver::new(&shared)
        })?;
        log::info!(target: "engineio", "serving on {local_addr}");
        Ok(Serving {
            local_addr,
            threads,
        })
    }

    /// Ends all sessions and connections, by this time at the latest, and waits for it.
    pub(crate) fn stop(&mut self, by: Instant) {
        self.threads.stop(by);
        self.threads.join();
    }

    /// Asks for the same without waiting.
    pub(crate) fn begin_to_stop(&self, by: Instant) {
        self.threads.stop(by);
    }
}
