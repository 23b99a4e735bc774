//! TLS: rustls as a state machine behind a lock of its own, for both sides.

use super::stream::Stream;
use crate::error::{Error, describe, read_file};
use crate::util::sync::{Mutex, RwLock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

/// Time between two looks at the files of a certificate.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// A certificate and its key, for `https` and `wss`. A cheap handle: clones share what is replaced.
///
/// ```no_run
/// use socketio::{App, Server, Tls};
///
/// let tls = Tls::from_files("cert.pem", "key.pem")?.watch(); // also when they are renewed
/// App::new(&Server::new()).tls(tls).run("0.0.0.0:443")?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tls {
    shared: Arc<TlsShared>,
}

#[derive(Debug)]
struct TlsShared {
    config: RwLock<Arc<ServerConfig>>,
    files: Option<Files>,
}

/// The files of the certificate and of the key.
#[derive(Debug)]
struct Files {
    paths: [PathBuf; 2],
    /// When each had last been changed, looked up before it was read.
    times: Mutex<[Option<SystemTime>; 2]>,
}

impl Files {
    /// Returns when the files were changed.
    fn times(&self) -> [Option<SystemTime>; 2] {
        let time = |path: &PathBuf| std::fs::metadata(path).and_then(|it| it.modified()).ok();
        self.paths.each_ref().map(time)
    }

    fn read(&self) -> Result<ServerConfig, Error> {
        let times = self.times();
        let [certificate, key] = &self.paths;
        let config = read_config(&read_file(certificate)?, &read_file(key)?)?;
        *self.times.lock() = times;
        Ok(config)
    }
}

impl Tls {
    fn new(config: ServerConfig, files: Option<Files>) -> Tls {
        Tls {
            shared: Arc::new(TlsShared {
                config: RwLock::new(Arc::new(config)),
                files,
            }),
        }
    }

    /// Reads the certificate, with the chain behind it, and the private key from PEM text.
    ///
    /// # Errors
    /// [`Error::Tls`] if either is missing or they do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Tls, Error> {
        Ok(Tls::new(read_config(certificate, key)?, None))
    }

    /// Reads both from PEM files.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, and those of [`from_pem`](Tls::from_pem).
    pub fn from_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Tls, Error> {
        let files = Files {
            paths: [certificate.as_ref().to_owned(), key.as_ref().to_owned()],
            times: Mutex::default(),
        };
        Ok(Tls::new(files.read()?, Some(files)))
    }

    /// Uses a configuration of rustls: for client certificates, several certificates by the name
    /// that the client asks for, or other versions and ciphers. If it names protocols (ALPN),
    /// `http/1.1` is to be among them. What it calls (resolvers, verifiers, a store of sessions) runs
    /// on an I/O thread, under a lock of the connection: it must neither block nor use this crate.
    pub fn from_config(config: ServerConfig) -> Tls {
        Tls::new(config, None)
    }

    /// Uses another certificate, or configuration, from the next connection on. Those that are open
    /// stay as they are.
    pub fn replace(&self, other: &Tls) {
        self.shared.replace(Arc::clone(&other.shared.config.read()));
    }

    /// Reads the files of [`from_files`](Tls::from_files) again, as [`replace`](Tls::replace) does.
    ///
    /// # Errors
    /// Those of [`from_files`](Tls::from_files), after which what was read before goes on;
    /// [`Error::InvalidArgument`] if it was not made of files.
    pub fn reload(&self) -> Result<(), Error> {
        let Some(files) = &self.shared.files else {
            return Err(Error::InvalidArgument(
                "this certificate is not from files".into(),
            ));
        };
        self.shared.replace(Arc::new(files.read()?));
        Ok(())
    }

    /// Reads the files again whenever they change, in a thread that looks every ten seconds and ends
    /// with the last handle. What cannot be read is an ERROR in the log, and what was read before
    /// goes on. Without files, and without a thread, nothing happens.
    #[must_use]
    pub fn watch(self) -> Tls {
        let shared = Arc::downgrade(&self.shared);
        let watch = move || watch(&shared);
        if self.shared.files.is_some()
            && let Err(error) = thread::Builder::new()
                .name("socketio-tls".into())
                .spawn(watch)
        {
            log::error!(target: "socketio", "the files of a certificate are not watched: {error}");
        }
        self
    }

    /// Returns the state of one more connection.
    pub(super) fn accept(&self) -> io::Result<TlsConnection> {
        let config = Arc::clone(&self.shared.config.read());
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(TlsConnection {
            state: Mutex::new(connection.into()),
        })
    }
}

impl TlsShared {
    fn replace(&self, config: Arc<ServerConfig>) {
        let before = std::mem::replace(&mut *self.config.write(), config);
        drop(before);
    }
}

/// Looks at the files until nobody uses them.
fn watch(shared: &Weak<TlsShared>) {
    let mut failure = String::new();
    loop {
        thread::sleep(WATCH_INTERVAL);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let has_changed = |files: &Files| files.times() != *files.times.lock();
        if !shared.files.as_ref().is_some_and(has_changed) {
            continue;
        }
        match (Tls { shared }).reload() {
            Ok(()) => {
                failure.clear();
                log::info!(target: "socketio", "the certificate was read again");
            }
            // Perhaps only one of the two has been written yet: it is tried again.
            Err(error) if error.to_string() != failure => {
                log::error!(target: "socketio", "the certificate cannot be read again: {error}");
                failure = error.to_string();
            }
            Err(_) => {}
        }
    }
}

fn read_config(certificate: &[u8], key: &[u8]) -> Result<ServerConfig, Error> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::Tls(describe("certificate", error)))?;
    if chain.is_empty() {
        return Err(Error::Tls(
            "certificate: no certificate in the PEM text".into(),
        ));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| Error::Tls(describe("key", error)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| Error::Tls(describe("certificate and key", error)))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The TLS state of one connection.
#[derive(Debug)]
pub(crate) struct TlsConnection {
    state: Mutex<rustls::Connection>,
}

impl From<ClientConnection> for TlsConnection {
    fn from(connection: ClientConnection) -> Self {
        TlsConnection {
            state: Mutex::new(connection.into()),
        }
    }
}

impl TlsConnection {
    /// Returns the certificate of the other end, if it has shown one.
    pub(super) fn peer_certificate(&self) -> Option<Arc<[u8]>> {
        let state = self.state.lock();
        let certificate = state.peer_certificates()?.first()?;
        Some(Arc::from(&**certificate))
    }

    pub(super) fn read(&self, stream: &Stream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        loop {
            match state.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            // Answers of the handshake go out before more is waited for.
            let received = state.read_tls(&mut &*stream);
            let processed = match received {
                Ok(0) => return Ok(0),
                Ok(_) => state.process_new_packets(),
                Err(error) => {
                    write_pending(&mut state, stream)?;
                    return Err(error);
                }
            };
            write_pending(&mut state, stream)?;
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    pub(super) fn write(&self, stream: &Stream, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        write_pending(&mut state, stream)?;
        if state.wants_write() {
            // What was encrypted before must leave first; rustls would buffer without end.
            return Err(ErrorKind::WouldBlock.into());
        }
        let written = state.writer().write(bytes)?;
        write_pending(&mut state, stream)?;
        Ok(written)
    }

    pub(super) fn flush(&self, stream: &Stream) -> io::Result<()> {
        let mut state = self.state.lock();
        write_pending(&mut state, stream)?;
        if state.wants_write() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    pub(super) fn shutdown_write(&self, stream: &Stream) {
        let mut state = self.state.lock();
        state.send_close_notify();
        // The peer may be gone already.
        let _ = write_pending(&mut state, stream);
    }
}

/// Writes what is encrypted, as far as the connection takes it.
fn write_pending(state: &mut rustls::Connection, mut stream: &Stream) -> io::Result<()> {
    while state.wants_write() {
        match state.write_tls(&mut stream) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.flush()
}
