//! What connections of our own check of a server: rustls over ring, as everywhere else.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Settings with which a server's certificate and name are checked. `roots` is a PEM file with the
/// certificates to trust, which `setting` named; `None`: those of the system.
///
/// # Errors
/// A text that names the file, or the setting that is missing.
pub(crate) fn client_config(
    roots: Option<&Path>,
    setting: &str,
) -> Result<Arc<ClientConfig>, String> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(path) => {
            let bad = |e: &dyn std::fmt::Display| {
                format!("read the certificates of {setting} '{}': {e}", path.display())
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(&e))? {
                let certificate = certificate.map_err(|e| bad(&e))?;
                store.add(certificate).map_err(|e| bad(&e))?;
            }
            if store.is_empty() {
                return Err(bad(&"it has none"));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                return Err(format!(
                    "the system has no certificates to check the server's with; name a file with \
                     {setting}"
                ));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
