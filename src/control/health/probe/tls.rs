//! TLS for probes, by rustls with ring. What is the same for all probes of a kind (the authorities above all) is read once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::plan::Tls;
use super::words;

/// Whose certificates are trusted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Trust {
    Everybody,
    System,
    /// Those that the authorities of a file, as it was last changed, vouch for.
    File(PathBuf, Option<SystemTime>),
}

/// TLS as probes speak it.
#[derive(Debug, Default)]
pub(super) struct Clients {
    made: Mutex<HashMap<Trust, Arc<ClientConfig>>>,
}

impl Clients {
    /// Speaks TLS with the server at the other end of the connection.
    pub(super) async fn connect(&self, wanted: &Tls, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let config = self.config(wanted).await?;
        let connecting = TlsConnector::from(config).connect(wanted.name.clone(), stream);
        connecting.await.map_err(|e| format!("TLS: {}", words(&e)))
    }

    async fn config(&self, wanted: &Tls) -> Result<Arc<ClientConfig>, String> {
        let trust = trust(wanted);
        if let Some(config) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(&trust) {
            return Ok(config.clone());
        }
        let of = trust.clone();
        // Files are read, which may take a while.
        let made = tokio::task::spawn_blocking(move || config(&of)).await;
        let made = Arc::new(made.map_err(|e| e.to_string())??);
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // Of one file, what it was before is of no use any more.
        let outdated = |other: &Trust| matches!((other, &trust), (Trust::File(a, _), Trust::File(b, _)) if a == b);
        all.retain(|other, _| !outdated(other));
        all.insert(trust, made.clone());
        Ok(made)
    }
}

fn trust(wanted: &Tls) -> Trust {
    match &wanted.ca_file {
        _ if !wanted.verify => Trust::Everybody,
        None => Trust::System,
        Some(path) => Trust::File(path.clone(), std::fs::metadata(path).and_then(|m| m.modified()).ok()),
    }
}

fn config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| e.to_string())?;
    let mut config = match trust {
        Trust::Everybody => {
            let anyone = Arc::new(Anyone(provider));
            builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth()
        }
        Trust::System => builder.with_root_certificates(system()?).with_no_client_auth(),
        Trust::File(path, _) => builder.with_root_certificates(file(path)?).with_no_client_auth(),
    };
    // Each check is a whole handshake, as a new client's is.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "the system has no certificates of authorities; install ca-certificates, or give ca_file".to_owned()
        );
    }
    Ok(roots)
}

fn file(path: &Path) -> Result<RootCertStore, String> {
    let bad = |e: String| format!("ca_file {}: {e}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
        let certificate = certificate.map_err(|e| bad(e.to_string()))?;
        roots.add(certificate).map_err(|e| bad(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no certificate (PEM)".to_owned()));
    }
    Ok(roots)
}

/// Takes any certificate; that the server holds its key is still seen to.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
