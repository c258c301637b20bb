//! The load over TLS: what a command costs there, and what a connection does that is opened for one command.
//!
//! Both servers show the same certificate, and neither asks clients for one. What is negotiated is what servers and load agree on by
//! themselves: TLS 1.3 with AES-256-GCM.

use super::load::Mix;
use super::server::{Contender, Server};
use super::workloads::{Plan, Recorder};
use super::{Failure, Outcome};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A connection costs as much as so many commands, about.
const COMMANDS_A_CONNECTION: u64 = 20;

/// A certificate's two files, which go when it does.
pub struct Identity {
    case: &'static str,
    /// The certificate, which signs itself.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    _directory: TempDir,
}

impl Identity {
    fn new(case: &'static str) -> Outcome<Self> {
        let directory = TempDir::with_prefix("torc-bench-tls-")?;
        let file = |name: &str| directory.path().join(name);
        Ok(Self { case, certificate: file("crt"), key: file("key"), _directory: directory })
    }

    /// Of curves.
    pub fn ecdsa() -> Outcome<Self> {
        let failed = |error: rcgen::Error| Failure(format!("no certificate: {error}"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let params = CertificateParams::new(vec!["localhost".to_owned()]).map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let identity = Self::new("ECDSA P-256")?;
        std::fs::write(&identity.certificate, certificate.pem())?;
        std::fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }

    /// An RSA key takes a program that makes one; none where there is none.
    fn rsa() -> Outcome<Option<Self>> {
        let identity = Self::new("RSA 2048")?;
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=localhost",
            "-keyout",
        ]);
        command.arg(&identity.key).arg("-out").arg(&identity.certificate).stderr(Stdio::null());
        Ok(command.status().is_ok_and(|status| status.success()).then_some(identity))
    }
}

/// The contender with a second port, for TLS.
pub fn with_tls(contender: &Contender, port: u16, identity: &Identity) -> Contender {
    let text = |path: &Path| path.display().to_string();
    let mut contender = contender.clone();
    let arguments =
        ["--tls-port".to_owned(), port.to_string(), "--tls-cert-file".to_owned(), text(&identity.certificate)];
    contender.arguments.splice(0..0, arguments);
    let arguments =
        ["--tls-key-file".to_owned(), text(&identity.key), "--tls-auth-clients".to_owned(), "no".to_owned()];
    contender.arguments.splice(0..0, arguments);
    contender
}

/// One contender's part of a round.
pub(super) fn run(plan: &Plan, contender: &Contender, recorder: &mut Recorder<'_>) -> Outcome<()> {
    let identities = [Some(Identity::ecdsa()?), Identity::rsa()?];
    for (position, identity) in identities.iter().flatten().enumerate() {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server: Server = plan.start_filled(&with_tls(contender, port, identity))?;
        server.address.set_port(port);
        let mix = |pipeline, requests| Mix { over_tls: true, ..plan.mix(pipeline, requests) };
        let requests = plan.depths.first().map_or(1_000_000, |(_, requests)| *requests);
        // What a command costs does not depend on the key of the certificate.
        for &(pipeline, requests) in plan.depths.iter().filter(|_| position == 0) {
            plan.measure(&server, &format!("TLS, pipeline {pipeline}"), &mix(pipeline, requests), recorder)?;
        }
        let connecting = Mix { commands_a_connection: Some(1), ..mix(1, requests / COMMANDS_A_CONNECTION) };
        let case = format!("a connection and a command, {}", identity.case);
        plan.measure(&server, &case, &connecting, recorder)?;
    }
    Ok(())
}
