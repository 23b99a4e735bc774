//! TLS: rustls as a state machine behind a lock of its own, for both sides.

use super::socket::Stream;
use crate::error::{Error, describe, read_file};
use crate::util::sync::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// A certificate and its key, for `https` and `wss`.
///
/// ```no_run
/// use socketio::{App, Server, Tls};
///
/// let app = App::new(&Server::new()).tls(Tls::from_files("cert.pem", "key.pem")?);
/// app.run("0.0.0.0:443")?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the certificate, with the chain behind it, and the private key from PEM text.
    ///
    /// # Errors
    /// [`Error::Tls`] if either is missing or they do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Tls, Error> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::Tls(describe("certificate", error)))?;
        if chain.is_empty() {
            return Err(Error::Tls(
                "certificate: no certificate in the PEM text".into(),
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| Error::Tls(describe("key", error)))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| Error::Tls(describe("certificate and key", error)))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls {
            config: Arc::new(config),
        })
    }

    /// Reads both from PEM files.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, and those of [`from_pem`](Tls::from_pem).
    pub fn from_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Tls, Error> {
        Tls::from_pem(&read_file(certificate)?, &read_file(key)?)
    }

    /// Returns the state of one more connection.
    pub(super) fn accept(&self) -> io::Result<Connection> {
        let connection =
            ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        Ok(Connection {
            state: Mutex::new(connection.into()),
        })
    }
}

/// The TLS state of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    state: Mutex<rustls::Connection>,
}

impl From<ClientConnection> for Connection {
    fn from(connection: ClientConnection) -> Self {
        Connection {
            state: Mutex::new(connection.into()),
        }
    }
}

impl Connection {
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
                    push(&mut state, stream)?;
                    return Err(error);
                }
            };
            push(&mut state, stream)?;
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    pub(super) fn write(&self, stream: &Stream, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        push(&mut state, stream)?;
        if state.wants_write() {
            // What was encrypted before must leave first; rustls would buffer without end.
            return Err(ErrorKind::WouldBlock.into());
        }
        let written = state.writer().write(bytes)?;
        push(&mut state, stream)?;
        Ok(written)
    }

    pub(super) fn flush(&self, stream: &Stream) -> io::Result<()> {
        let mut state = self.state.lock();
        push(&mut state, stream)?;
        if state.wants_write() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    pub(super) fn finish(&self, stream: &Stream) {
        let mut state = self.state.lock();
        state.send_close_notify();
        // The peer may be gone already.
        let _ = push(&mut state, stream);
    }
}

/// Writes what is encrypted, as far as the connection takes it.
fn push(state: &mut rustls::Connection, mut stream: &Stream) -> io::Result<()> {
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
