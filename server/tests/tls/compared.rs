//! Beside the real server with TLS, and with its command-line client.

use super::peer::{Certificates, TlsClient};
use crate::support::server::free_port;
use crate::support::{Client, Server};
use std::process::{Command, Stdio};

const CLI: &str = "redis-cli";

fn cli_speaks_tls() -> bool {
    let help = Command::new(CLI).arg("--help").output();
    let speaks =
        help.is_ok_and(|output| [output.stdout, output.stderr].concat().windows(5).any(|part| part == b"--tls"));
    if !speaks {
        println!("there is no {CLI} with TLS: not tried");
    }
    speaks
}

/// What the client of the real server prints, errors included.
fn cli(certificates: &Certificates, port: u16, certificate: Option<&str>, arguments: &[&str]) -> String {
    let mut command = Command::new(CLI);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "--tls", "--cacert", &certificates.path("ca.crt")]);
    if let Some(name) = certificate {
        command.args([
            "--cert",
            &certificates.path(&format!("{name}.crt")),
            "--key",
            &certificates.path(&format!("{name}.key")),
        ]);
    }
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("it runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn the_real_client_is_served() {
    if !cli_speaks_tls() {
        return;
    }
    for shards in [1, 2, 5] {
        let (certificates, port) = (Certificates::new(), free_port());
        let arguments = certificates.arguments(port, &[]);
        let _server = Server::torc(shards, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let run = |arguments: &[&str]| cli(&certificates, port, Some("client"), arguments);
        assert_eq!(run(&["SET", "a", "1"]), "OK\n");
        assert_eq!(run(&["-3", "HGETALL", "none"]), "\n");
        assert_eq!(run(&["MGET", "a", "b"]), "1\n\n");
        assert!(
            run(&["INFO", "server"]).contains("torc_version") || run(&["INFO", "server"]).contains("redis_version")
        );
        for version in ["TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"] {
            assert_eq!(run(&["--tls-ciphersuites", version, "GET", "a"]), "1\n");
        }
        for (certificate, refusal) in
            [(None, "certificate required"), (Some("stranger"), "unknown ca"), (Some("expired"), "certificate expired")]
        {
            let text = cli(&certificates, port, certificate, &["GET", "a"]);
            assert!(!text.starts_with('1'), "{certificate:?}: {text}");
            println!("{certificate:?}: {refusal}: {text}");
        }
    }
}

/// What a client meets that does this and that, in words.
fn meets(certificates: &Certificates, server: &Server, port: u16) -> Vec<String> {
    let mut met = Vec::new();
    let mut plain = Client::connect(port);
    plain.send(b"PING\r\n");
    met.push(format!("plain text: closed {}", plain.is_closed_by_server()));
    for certificate in [None, Some("client"), Some("expired"), Some("stranger")] {
        let config = certificates.client(certificate);
        met.push(format!("{certificate:?}: {}", TlsClient::is_served(port, &config)));
    }
    let mut client = TlsClient::connect(port, &certificates.client(Some("client")));
    for line in [
        "CONFIG SET tls-auth-clients optional".to_owned(),
        "CONFIG SET tls-auth-clients perhaps".to_owned(),
        "CONFIG GET tls-auth-clients".to_owned(),
        "CONFIG SET tls-session-cache-size -1".to_owned(),
        "CONFIG SET tls-session-cache-size 100 tls-session-cache-timeout 30".to_owned(),
        "CONFIG SET tls-protocols TLSv1.9".to_owned(),
        "CONFIG SET tls-protocols \"TLSv1.2 TLSv1.3\"".to_owned(),
        "CONFIG SET tls-ciphers DEFAULT:!MEDIUM".to_owned(),
        "CONFIG SET tls-ciphers NONSENSE".to_owned(),
        "CONFIG SET tls-ciphersuites NONSENSE".to_owned(),
        "CONFIG SET tls-prefer-server-ciphers yes".to_owned(),
        "CONFIG SET tls-cert-file /no/such/file".to_owned(),
        format!("CONFIG SET tls-key-file {}", certificates.path("second.key")),
        format!(
            "CONFIG SET tls-cert-file {} tls-key-file {}",
            certificates.path("second.crt"),
            certificates.path("second.key")
        ),
        "CONFIG SET tls-ca-cert-file /no/such/file".to_owned(),
        "CONFIG GET tls-ciphers".to_owned(),
        "CONFIG GET tls-session-cache-size".to_owned(),
        "CONFIG SET tls-dh-params-file \"\"".to_owned(),
        "CONFIG SET tls-replication no tls-cluster no".to_owned(),
        "PING".to_owned(),
    ] {
        met.push(format!("{} {}", line.split('/').next().unwrap_or_default(), client.ask(&line)));
    }
    met.push(format!("no certificate now: {}", TlsClient::is_served(port, &certificates.client(None))));
    met.push(format!("another one is shown: {}", TlsClient::is_served(port, &certificates.client(Some("client")))));
    let mut witness = server.client();
    let count = encode_many(&mut client);
    met.push(format!("{count} replies, {}", witness.ask("GET n")));
    let line = witness.call("CLIENT LIST").text();
    let encrypted = line.lines().filter(|line| line.contains(&format!("laddr=127.0.0.1:{port}"))).count();
    met.push(format!("{encrypted} in the list"));
    met
}

fn encode_many(client: &mut TlsClient) -> usize {
    client.send(&crate::support::encode(&["INCR", "n"]).repeat(1000));
    (0..1000).filter(|_| !client.reply().is_error()).count()
}

#[test]
fn clients_meet_what_they_meet_at_the_real_server() {
    let certificates = Certificates::new();
    let port = free_port();
    let arguments = certificates.arguments(port, &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(real) = Server::real(&arguments) else { return };
    let expected = meets(&certificates, &real, port);
    drop(real);
    for shards in [1, 2, 5] {
        let server = Server::torc(shards, &arguments);
        assert_eq!(meets(&certificates, &server, port), expected, "{shards} shards");
    }
}
