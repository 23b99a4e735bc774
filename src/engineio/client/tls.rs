//! TLS on the client: one choice for both transports, ureq's polling and the WebSocket.

use crate::error::{Error, describe, read_file};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// TLS options of a client: the authorities that it trusts, and its own certificate.
///
/// By default the server must have a certificate for its name from one of the public authorities.
///
/// ```no_run
/// use socketio::{Client, ClientTls};
///
/// let tls = ClientTls::new().ca_file("ca.pem")?;
/// let client = Client::builder().tls(tls).build();
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// The authorities to trust in the place of the public ones.
    roots: Option<Vec<CertificateDer<'static>>>,
    identity: Option<Arc<Identity>>,
    /// The system's authorities beside the public ones.
    system: bool,
    insecure: bool,
    /// Built once for all connections.
    config: OnceLock<Arc<ClientConfig>>,
}

/// The client's own certificate.
#[derive(Debug)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientTls {
    /// Creates options with the public authorities, and no certificate of the client.
    #[must_use]
    pub fn new() -> ClientTls {
        ClientTls::default()
    }

    /// Trusts these authorities in the place of the public ones: certificates as PEM text.
    ///
    /// # Errors
    /// [`Error::Tls`] if there is no certificate in the text, or one that cannot be read.
    pub fn ca_pem(mut self, certificates: &[u8]) -> Result<ClientTls, Error> {
        self.roots = Some(read_certificates(certificates)?);
        self.config = OnceLock::new();
        Ok(self)
    }

    /// Trusts the authorities in a PEM file, as [`ca_pem`](ClientTls::ca_pem) does.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, and those of [`ca_pem`](ClientTls::ca_pem).
    pub fn ca_file(self, path: impl AsRef<Path>) -> Result<ClientTls, Error> {
        self.ca_pem(&read_file(path)?)
    }

    /// Trusts the authorities of the operating system, too, or those of the file or directory that
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR` names: in a company they know its own.
    #[must_use]
    pub fn system_authorities(mut self) -> ClientTls {
        self.system = true;
        self.config = OnceLock::new();
        self
    }

    /// Shows a certificate to servers that ask for one: the certificate, with the chain behind it,
    /// and its private key, as PEM text.
    ///
    /// # Errors
    /// [`Error::Tls`] if either cannot be read.
    pub fn certificate_pem(mut self, certificate: &[u8], key: &[u8]) -> Result<ClientTls, Error> {
        let chain = read_certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| Error::Tls(describe("key", error)))?;
        self.identity = Some(Arc::new(Identity { chain, key }));
        self.config = OnceLock::new();
        Ok(self)
    }

    /// Shows a certificate from PEM files, as [`certificate_pem`](ClientTls::certificate_pem) does.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, and those of
    /// [`certificate_pem`](ClientTls::certificate_pem).
    pub fn certificate_files(
        self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<ClientTls, Error> {
        self.certificate_pem(&read_file(certificate)?, &read_file(key)?)
    }

    /// Accepts any certificate: whoever stands between client and server can read and change
    /// everything. For experiments.
    #[must_use]
    pub fn danger_accept_any_certificate(mut self) -> ClientTls {
        self.insecure = true;
        self.config = OnceLock::new();
        self
    }

    /// Returns the configuration of all its connections.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.build()?);
        Ok(Arc::clone(self.config.get_or_init(|| config)))
    }

    fn build(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = if self.insecure {
            let verifier = Arc::new(AnyCertificate(provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        } else {
            let mut store = RootCertStore::empty();
            match &self.roots {
                Some(roots) => {
                    for root in roots {
                        let added = store.add(root.clone());
                        added.map_err(|error| format!("an authority's certificate: {error}"))?;
                    }
                }
                None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            }
            if self.system {
                let system = rustls_native_certs::load_native_certs();
                for error in &system.errors {
                    log::warn!(target: "engineio", "an authority of the system: {error}");
                }
                // Some systems have some that nobody can read.
                let _ = store.add_parsable_certificates(system.certs);
            }
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
                .build()
                .map_err(|error| format!("the authorities: {error}"))?;
            let roots = self.roots.clone().unwrap_or_default();
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(OwnRoots { inner, roots }))
        };
        let mut config = match &self.identity {
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| format!("the client's certificate: {error}"))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// For the brokers' crates, which take PEM text.
#[cfg(any(feature = "redis", feature = "amqp"))]
impl ClientTls {
    /// Returns the authorities to trust in the place of the public ones.
    #[cfg(feature = "redis")]
    pub(crate) fn authorities_pem(&self) -> Option<String> {
        self.roots.as_deref().map(certificates_pem)
    }

    /// Returns the client's own certificate, and its key.
    #[cfg(feature = "redis")]
    pub(crate) fn identity_pem(&self) -> Option<(String, String)> {
        let identity = self.identity.as_ref()?;
        let label = match &identity.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let key = pem(label, identity.key.secret_der());
        Some((certificates_pem(&identity.chain), key))
    }

    /// Returns the configuration of a connection that speaks something else than HTTP.
    #[cfg(feature = "amqp")]
    pub(crate) fn for_broker(&self) -> Result<ClientConfig, String> {
        let mut config = self.build()?;
        config.alpn_protocols.clear();
        Ok(config)
    }

    pub(crate) fn accepts_any_certificate(&self) -> bool {
        self.insecure
    }
}

#[cfg(feature = "redis")]
fn certificates_pem(certificates: &[CertificateDer<'_>]) -> String {
    let each = certificates.iter().map(|it| pem("CERTIFICATE", it));
    each.collect()
}

#[cfg(feature = "redis")]
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn read_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| Error::Tls(describe("certificate", error)))?;
    if certificates.is_empty() {
        return Err(Error::Tls("no certificate in the PEM text".into()));
    }
    Ok(certificates)
}

/// Also takes a server's certificate that is itself one of the program's own authorities: what
/// `openssl req -x509` makes is marked as one.
#[derive(Debug)]
struct OwnRoots {
    inner: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for OwnRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match &verified {
            // webpki looks at the time of validity before it looks at this.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if other.to_string() == "CaUsedAsEndEntity"
                    && self.roots.iter().any(|it| it == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            _ => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Looks at nothing but the handshake's own signatures.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
