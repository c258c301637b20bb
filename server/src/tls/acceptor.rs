//! From `tls-*` directives to what rustls serves connections with. Everything is read and checked here, so a connection meets no
//! error that is ours.

use super::material::{self, files};
use super::sessions::Sessions;
use super::{suites, user};
use crate::config::{CertificateUser, ClientAuth, Tls};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, SupportedCipherSuite};
use std::sync::Arc;
use std::time::SystemTime;

/// What new connections are served with.
#[derive(Debug)]
pub struct Acceptor {
    pub(super) server: Arc<ServerConfig>,
    user_from: CertificateUser,
}

impl Acceptor {
    /// Reads the files and checks the names.
    ///
    /// # Errors
    /// What is wrong, in a line for the log.
    pub fn new(config: &Tls) -> Result<Self, String> {
        let versions = suites::versions(&config.protocols)?;
        let (suites12, suites13) = (suites::suites12(&config.ciphers)?, suites::suites13(&config.cipher_suites)?);
        let not_offered = [suites13.not_offered, suites12.not_offered].concat();
        if !not_offered.is_empty() {
            tracing::info!("These ciphers are not offered by this server: {}", not_offered.join(", "));
        }
        let cipher_suites: Vec<SupportedCipherSuite> = [suites13.suites, suites12.suites].concat();
        let provider = Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() });
        let identity = material::identity(&config.identity, "tls", &provider)?;
        if config.client_identity.certificate_file.is_some() {
            material::identity(&config.client_identity, "tls-client", &provider)?;
        }
        let authorities = material::authorities(config)?;
        let needs_authorities = config.client_auth != ClientAuth::No || config.replication || config.cluster;
        if needs_authorities && authorities.is_empty() {
            return Err(
                "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or \
                        tls-auth-clients are enabled!"
                    .to_owned(),
            );
        }
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions);
        let builder = builder.map_err(|error| format!("Failed to configure ciphers: {error}"))?;
        let builder = if config.client_auth == ClientAuth::No {
            builder.with_no_client_auth()
        } else {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
            let is_optional = config.client_auth == ClientAuth::Optional;
            let verifier = if is_optional { verifier.allow_unauthenticated() } else { verifier };
            let verifier =
                verifier.build().map_err(|error| format!("Failed to configure CA certificate(s): {error}"))?;
            builder.with_client_cert_verifier(verifier)
        };
        let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        server.ignore_client_order = config.prefers_own_ciphers;
        if config.caches_sessions {
            server.session_storage = Arc::new(Sessions::new(config.sessions_max, config.session_lifetime_s));
            // One for each handshake: who comes back gets another. More would only push out those of others.
            server.send_tls13_tickets = 1;
        } else {
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }
        Ok(Self { server: Arc::new(server), user_from: config.user_from })
    }

    /// The user that a client's certificate names.
    pub(super) fn user_of(&self, certificate: &CertificateDer<'_>) -> Option<String> {
        user::name(certificate, self.user_from)
    }
}

/// What is known of the files without reading them: when it changes, they have.
pub(super) fn state_of_files(config: &Tls) -> Vec<Option<(u64, SystemTime)>> {
    files(config)
        .map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.len(), found.modified().ok()?))
        })
        .collect()
}
