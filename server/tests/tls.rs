//! TLS: everything that works without it works over it, certificates decide who is let in, and whoever breaks the rules of TLS
//! ends alone.
#![allow(unreachable_pub, reason = "a test has no users: `pub` says what another file of it uses")]

mod support;
mod tls {
    mod bad;
    mod certificates;
    mod compared;
    mod everyday;
    pub(crate) mod peer;
}

use support::Server;
use support::server::free_port;
use tls::peer::{Certificates, TlsClient};

/// A server that is reached in both ways, and its port for TLS.
struct Encrypted {
    server: Server,
    port: u16,
    certificates: Certificates,
}

impl Encrypted {
    /// Clients need a certificate, unless the arguments say otherwise.
    fn torc(shards: usize, arguments: &[&str]) -> Self {
        let (certificates, port) = (Certificates::new(), free_port());
        let arguments = certificates.arguments(port, arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self { server: Server::torc(shards, &arguments), port, certificates }
    }

    fn client(&self) -> TlsClient {
        TlsClient::connect(self.port, &self.certificates.client(Some("client")))
    }

    fn is_served(&self, certificate: Option<&str>) -> bool {
        TlsClient::is_served(self.port, &self.certificates.client(certificate))
    }

    /// That nobody else is harmed.
    fn assert_serves(&self) {
        let mut client = self.client();
        for index in 0..8 {
            assert_eq!(client.ask(&format!("SET served:{index} {index}")), "+OK");
        }
        assert_eq!(client.ask("MGET served:0 served:1 served:2 served:7"), "[\"0\" \"1\" \"2\" \"7\"]");
        assert_eq!(self.server.client().ask("GET served:7"), "\"7\"");
    }
}
