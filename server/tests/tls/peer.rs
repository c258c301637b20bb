//! Certificates made for a test, and a blocking client that speaks TLS.
//!
//! ```text
//!   authority ──> server (localhost)   client (CN=bob, urn:torc:bob)   default (CN=default)   expired   early (not valid yet)
//!                 second (another server's)   employee, who is no authority ──> forged
//!   stranger's authority ──> stranger
//! ```

#![allow(unreachable_pub, reason = "the files of this test use it")]

use crate::support::server::new_directory;
use crate::support::{PATIENCE, Replies, Reply, encode, words};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files of certificates and keys, gone with it.
pub struct Certificates {
    pub directory: PathBuf,
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

type Authority = Issuer<'static, KeyPair>;

impl Certificates {
    pub fn new() -> Self {
        let this = Self { directory: new_directory() };
        let authority = this.authority("ca", "an authority");
        let stranger = this.authority("stranger-ca", "a stranger");
        this.issue("server", &authority, |_| ());
        this.issue("second", &authority, |params| params.distinguished_name.push(DnType::CommonName, "second"));
        this.issue("client", &authority, |params| {
            params.distinguished_name.push(DnType::CommonName, "bob");
            params.subject_alt_names.push(SanType::URI("urn:torc:bob".try_into().expect("ascii")));
        });
        this.issue("default", &authority, |params| params.distinguished_name.push(DnType::CommonName, "default"));
        this.issue("expired", &authority, |params| {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        });
        this.issue("early", &authority, |params| {
            (params.not_before, params.not_after) = (date_time_ymd(2200, 1, 1), date_time_ymd(2201, 1, 1));
        });
        let employee = this.issue("employee", &authority, |params| {
            params.distinguished_name.push(DnType::CommonName, "an employee");
        });
        this.issue("forged", &employee, |_| ());
        let chain =
            ["forged.crt", "employee.crt"].map(|file| std::fs::read_to_string(this.path(file)).expect("a file"));
        this.write("forged.crt", &chain.concat());
        this.issue("stranger", &stranger, |_| ());
        this
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("text").to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).expect("a file");
    }

    fn authority(&self, file: &str, name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        self.write(&format!("{file}.crt"), &certificate.pem());
        Issuer::new(params, key)
    }

    /// Gives what would sign with it, too.
    fn issue(&self, file: &str, authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let certificate = params.signed_by(&key, authority).expect("a certificate");
        self.write(&format!("{file}.crt"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
        Issuer::new(params, key)
    }

    /// What a server needs to listen there; `more` comes behind it.
    pub fn arguments(&self, port: u16, more: &[&str]) -> Vec<String> {
        let (certificate, key, ca) = (self.path("server.crt"), self.path("server.key"), self.path("ca.crt"));
        let port = port.to_string();
        let pairs =
            ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        pairs.iter().chain(more).map(|word| (*word).to_owned()).collect()
    }

    /// A client's side, with a certificate or without one.
    pub fn client(&self, certificate: Option<&str>) -> Arc<ClientConfig> {
        self.client_of(certificate, rustls::DEFAULT_VERSIONS)
    }

    /// The same, of these versions.
    pub fn client_of(
        &self,
        certificate: Option<&str>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate_of(&self.directory.join("ca.crt"))).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let builder = builder.with_root_certificates(roots);
        Arc::new(match certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::pem_file_iter(self.directory.join(format!("{name}.crt"))).expect("a file");
                let chain = chain.map(|certificate| certificate.expect("a certificate")).collect();
                let key = PrivateKeyDer::from_pem_file(self.directory.join(format!("{name}.key"))).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("they fit")
            }
        })
    }
}

/// The first certificate of a file.
pub fn certificate_of(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

/// A connection over TLS.
pub struct TlsClient {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    replies: Replies,
}

impl TlsClient {
    /// Connects and shakes hands.
    pub fn try_connect(port: u16, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, replies: Replies::default() })
    }

    pub fn connect(port: u16, config: &Arc<ClientConfig>) -> Self {
        Self::try_connect(port, config).expect("a connection")
    }

    /// Whether the server takes it: with TLS 1.3 a client learns of a refusal only when it reads.
    pub fn is_served(port: u16, config: &Arc<ClientConfig>) -> bool {
        let Ok(mut client) = Self::try_connect(port, config) else { return false };
        let sent = client.stream.write_all(b"*1\r\n$4\r\nPING\r\n").and_then(|()| client.stream.flush());
        sent.is_ok() && client.receive().is_some_and(|reply| reply.to_string() == "+PONG")
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
        self.stream.flush().expect("the server takes bytes");
    }

    /// The next reply; none when the connection has ended, however it did.
    pub fn receive(&mut self) -> Option<Reply> {
        match self.replies.next(&mut self.stream) {
            Ok(reply) => reply,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no reply: {error}")
            }
            Err(_) => None,
        }
    }

    pub fn reply(&mut self) -> Reply {
        self.receive().expect("the connection is open")
    }

    pub fn call(&mut self, line: &str) -> Reply {
        self.send(&encode(&words(line)));
        self.reply()
    }

    pub fn call_bytes(&mut self, arguments: &[&[u8]]) -> Reply {
        self.send(&encode(arguments));
        self.reply()
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.call(line).to_string()
    }

    /// The certificate that the server has shown.
    pub fn server_certificate(&self) -> CertificateDer<'static> {
        let chain = self.stream.conn.peer_certificates().expect("a server has one");
        chain[0].clone().into_owned()
    }
}
