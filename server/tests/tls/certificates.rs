//! Who is let in, with what, and what happens when that changes.

use super::peer::{TlsClient, certificate_of};
use crate::Encrypted;
use crate::support::eventually;
use crate::support::server::{TORC, run_to_end};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion, SupportedProtocolVersion};
use std::path::Path;
use std::process::Command;

#[test]
fn certificates_decide_who_is_let_in() {
    for shards in [1, 2, 5] {
        let served = Encrypted::torc(shards, &[]);
        let who = [None, Some("client"), Some("expired"), Some("early"), Some("forged"), Some("stranger")];
        let let_in = |served: &Encrypted| who.map(|certificate| served.is_served(certificate));
        assert_eq!(let_in(&served), [false, true, false, false, false, false]);
        let mut early = served.client();
        assert_eq!(early.ask("CONFIG SET tls-auth-clients optional"), "+OK");
        // A certificate that is shown must be good, also where none is needed.
        assert_eq!(let_in(&served), [true, true, false, false, false, false]);
        assert_eq!(early.ask("CONFIG SET tls-auth-clients no"), "+OK");
        assert_eq!(let_in(&served), [true; 6]);
        assert_eq!(early.ask("CONFIG SET tls-auth-clients yes"), "+OK");
        assert_eq!(let_in(&served), [false, true, false, false, false, false]);
        assert_eq!(early.ask("PING"), "+PONG");
        let log = served.server.log();
        for reason in ["peer sent no certificates", "certificate expired", "certificate not valid yet", "UnknownIssuer"]
        {
            let line =
                log.lines().find(|line| line.contains(reason)).unwrap_or_else(|| panic!("no {reason} in\n{log}"));
            assert!(line.contains("Error accepting a client connection") && line.contains("addr=127.0.0.1:"), "{line}");
        }
        served.assert_serves();
    }
}

#[test]
fn a_certificate_of_our_own_out_of_its_time_is_told() {
    let served = Encrypted::torc(2, &[]);
    let mut admin = served.server.client();
    for (name, says) in [("expired", "has expired: 2021-01-01"), ("early", "is not valid before 2200-01-01")] {
        let [certificate, key] = ["crt", "key"].map(|kind| served.certificates.path(&format!("{name}.{kind}")));
        assert_eq!(admin.ask(&format!("CONFIG SET tls-cert-file {certificate} tls-key-file {key}")), "+OK");
        let log = served.server.log();
        assert!(log.contains(&format!("{certificate} {says}")), "{log}");
        // It is served all the same, as by the real server; whoever looks at it closes.
        assert!(!served.is_served(Some("client")));
    }
    served.server.client().call("PING");
}

#[test]
fn other_files_are_served_without_a_restart_or_all_stays_as_it_was() {
    let served = Encrypted::torc(2, &[]);
    let certificates = &served.certificates;
    let shown = || served.client().server_certificate();
    let of_file = |name: &str| certificate_of(Path::new(&certificates.path(name)));
    let mut early = served.client();
    let set = |name: &str| {
        let (certificate, key) = (certificates.path(&format!("{name}.crt")), certificates.path(&format!("{name}.key")));
        format!("CONFIG SET tls-cert-file {certificate} tls-key-file {key}")
    };
    assert_eq!(early.ask(&set("second")), "+OK");
    assert!(shown() == of_file("second.crt") && early.server_certificate() == of_file("server.crt"));
    assert_eq!(early.ask("PING"), "+PONG");
    // Other files under the same names.
    for file in ["crt", "key"] {
        let (from, to) = (certificates.path(&format!("server.{file}")), certificates.path(&format!("second.{file}")));
        std::fs::copy(from, to).expect("a file");
    }
    assert!(shown() == of_file("server.crt") || shown() != of_file("second.crt"), "nobody has said so yet");
    assert_eq!(early.ask(&set("second")), "+OK");
    assert!(shown() == of_file("server.crt"));
    // What is no use changes nothing, of whatever else is said beside it.
    let refused = "Unable to update TLS configuration. Check server logs.";
    std::fs::write(certificates.path("bad.crt"), "nonsense").expect("a file");
    std::fs::write(certificates.path("bad.key"), "nonsense").expect("a file");
    let key = certificates.path("client.key");
    for line in [
        format!("CONFIG SET timeout 77 tls-cert-file {}", certificates.path("none.crt")),
        format!("CONFIG SET timeout 77 tls-cert-file {}", certificates.path("bad.crt")),
        format!("CONFIG SET timeout 77 tls-key-file {}", certificates.path("bad.key")),
        format!("CONFIG SET timeout 77 tls-key-file {key}"),
        format!("CONFIG SET timeout 77 tls-ca-cert-file {}", certificates.path("bad.crt")),
        "CONFIG SET timeout 77 tls-ca-cert-file \"\"".to_owned(),
        "CONFIG SET timeout 77 tls-ciphers ECDHE-NONSENSE".to_owned(),
        "CONFIG SET timeout 77 tls-ciphersuites TLS_NONSENSE".to_owned(),
        "CONFIG SET timeout 77 tls-protocols SSLv3".to_owned(),
    ] {
        assert!(early.ask(&line).contains(refused), "{line}");
        assert_eq!(early.ask("CONFIG GET timeout"), "[\"timeout\" \"0\"]", "{line}");
        assert!(shown() == of_file("server.crt"), "{line}");
    }
    assert_eq!(early.ask("CONFIG GET tls-protocols"), "[\"tls-protocols\" \"\"]");
    let log = served.server.log();
    for part in
        ["none.crt: No such file", "bad.crt: no certificate", "is not the key of the certificate", "ECDHE-NONSENSE"]
    {
        assert!(log.contains(part), "no {part} in\n{log}");
    }
    // A file that lies there without being asked for is left alone until somebody says so.
    std::fs::remove_file(certificates.path("server.crt")).expect("it is there");
    served.assert_serves();
}

#[test]
fn files_are_looked_at_again_where_that_is_asked_for() {
    let served = Encrypted::torc(2, &["--tls-auto-reload-interval", "1"]);
    let certificates = &served.certificates;
    let (old, new) = (
        certificate_of(Path::new(&certificates.path("server.crt"))),
        certificate_of(Path::new(&certificates.path("second.crt"))),
    );
    let mut early = served.client();
    assert!(early.server_certificate() == old);
    // Half of a change does not fit: the old ones stay.
    std::fs::copy(certificates.path("second.crt"), certificates.path("server.crt")).expect("a file");
    eventually("it is seen", || served.server.log().contains("those before stay in use"));
    assert!(served.client().server_certificate() == old);
    std::fs::copy(certificates.path("second.key"), certificates.path("server.key")).expect("a file");
    eventually("they are served", || served.client().server_certificate() == new);
    assert_eq!(early.ask("PING"), "+PONG");
}

#[test]
fn protocols_and_ciphers_are_as_they_are_set() {
    let served = Encrypted::torc(2, &["--tls-protocols", "TLSv1.2"]);
    let negotiated = |versions: &[&'static SupportedProtocolVersion]| {
        let config = served.certificates.client_of(Some("client"), versions);
        let mut client = TlsClient::try_connect(served.port, &config).ok()?;
        assert_eq!(client.ask("PING"), "+PONG");
        let suite = client.stream.conn.negotiated_cipher_suite().expect("one").suite();
        Some((client.stream.conn.protocol_version().expect("one"), format!("{suite:?}")))
    };
    assert_eq!(negotiated(&[&TLS12]).expect("served").0, ProtocolVersion::TLSv1_2);
    assert!(negotiated(&[&TLS13]).is_none());
    let mut witness = served.server.client();
    let name = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    assert_eq!(witness.ask("CONFIG SET tls-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:AES256-SHA"), "+OK");
    assert_eq!(negotiated(&[&TLS12]).expect("served").1, name);
    assert_eq!(
        witness.ask("CONFIG SET tls-protocols \"TLSv1.2 TLSv1.3\" tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256"),
        "+OK"
    );
    assert_eq!(negotiated(&[&TLS13]).expect("served").1, "TLS13_CHACHA20_POLY1305_SHA256");
    // Whose order counts: the client prefers what is first here, too.
    assert_eq!(witness.ask("CONFIG SET tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"), "+OK");
    assert_eq!(negotiated(&[&TLS13]).expect("served").1, "TLS13_AES_256_GCM_SHA384");
    assert_eq!(witness.ask("CONFIG SET tls-prefer-server-ciphers yes"), "+OK");
    assert_eq!(negotiated(&[&TLS13]).expect("served").1, "TLS13_CHACHA20_POLY1305_SHA256");
}

#[test]
fn sessions_are_taken_up_again_unless_that_is_off() {
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let served = Encrypted::torc(2, &[]);
        let config = served.certificates.client_of(Some("client"), versions);
        let kind = || {
            let mut client = TlsClient::connect(served.port, &config);
            // What a client may come back with comes behind the handshake.
            assert_eq!(client.ask("PING"), "+PONG");
            client.stream.conn.handshake_kind().expect("it is over")
        };
        assert_eq!((kind(), kind(), kind()), (HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed));
        let mut witness = served.server.client();
        // Another configuration knows none of the sessions before it.
        assert_eq!(witness.ask("CONFIG SET tls-session-cache-size 5"), "+OK");
        assert_eq!((kind(), kind()), (HandshakeKind::Full, HandshakeKind::Resumed));
        assert_eq!(witness.ask("CONFIG SET tls-session-caching no"), "+OK");
        assert_eq!((kind(), kind()), (HandshakeKind::Full, HandshakeKind::Full));
        assert_eq!(witness.ask("CONFIG SET tls-session-caching yes tls-session-cache-timeout 0"), "+OK");
        assert_eq!((kind(), kind()), (HandshakeKind::Full, HandshakeKind::Full));
    }
}

#[test]
fn a_certificate_may_name_the_user() {
    let served = Encrypted::torc(2, &["--requirepass", "secret", "--tls-auth-clients-user", "CN"]);
    let ping = |certificate| {
        let mut client = TlsClient::connect(served.port, &served.certificates.client(Some(certificate)));
        client.ask("PING")
    };
    assert_eq!(ping("default"), "+PONG");
    assert!(ping("client").starts_with("-NOAUTH"));
    let mut witness = TlsClient::connect(served.port, &served.certificates.client(Some("default")));
    assert_eq!(witness.ask("CONFIG SET tls-auth-clients-user off"), "+OK");
    assert!(ping("default").starts_with("-NOAUTH"));
    assert_eq!(witness.ask("CONFIG GET tls-auth-clients-user"), "[\"tls-auth-clients-user\" \"off\"]");
}

#[test]
fn a_key_under_a_password() {
    let served = Encrypted::torc(2, &[]);
    let (plain, encrypted) = (served.certificates.path("server.key"), served.certificates.path("encrypted.key"));
    let arguments =
        ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:1234", "-in", &plain, "-out", &encrypted];
    if !Command::new("openssl").args(arguments).status().is_ok_and(|status| status.success()) {
        println!("no openssl command: not tried");
        return;
    }
    let mut witness = served.client();
    let refused = witness.ask(&format!("CONFIG SET tls-key-file {encrypted}"));
    assert!(refused.contains("Unable to update TLS configuration"), "{refused}");
    assert_eq!(witness.ask(&format!("CONFIG SET tls-key-file-pass 1234 tls-key-file {encrypted}")), "+OK");
    served.assert_serves();
    assert!(!served.server.log().contains("1234"), "secrets are not for the log");
}

#[test]
fn starts_that_cannot_go_well_say_why() {
    let certificates = super::peer::Certificates::new();
    let start = |arguments: &[&str]| {
        let fixed = ["--port", "0", "--bind", "127.0.0.1", "--save", "", "--tls-port"];
        let port = crate::support::server::free_port().to_string();
        let (code, text) = run_to_end(Command::new(TORC).args(fixed).arg(port).args(arguments));
        assert_eq!(code, Some(1), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        text
    };
    let (certificate, key, ca) =
        (certificates.path("server.crt"), certificates.path("server.key"), certificates.path("ca.crt"));
    let missing = certificates.path("missing");
    for (arguments, says) in [
        (&[][..], "No tls-cert-file configured!"),
        (&["--tls-cert-file", &certificate], "No tls-key-file configured!"),
        (
            &["--tls-cert-file", &certificate, "--tls-key-file", &key],
            "Either tls-ca-cert-file or tls-ca-cert-dir must be",
        ),
        (&["--tls-cert-file", &missing, "--tls-key-file", &key], "missing: No such file"),
        (&["--tls-cert-file", &key, "--tls-key-file", &key], "no certificate in PEM form"),
        (&["--tls-cert-file", &certificate, "--tls-key-file", &certificate], "no private key in PEM form"),
        (&["--tls-cert-file", &ca, "--tls-key-file", &key], "is not the key of the certificate"),
        (&["--tls-protocols", "TLSv1.1"], "TLSv1.1 is broken and not offered"),
        (&["--tls-ciphers", "ECDHE-TYPO"], "'ECDHE-TYPO' is unknown"),
        (&["--tls-auth-clients", "perhaps"], "argument(s) must be one of the following: no, yes, optional"),
    ] {
        let text = start(arguments);
        assert!(text.contains(says), "{arguments:?} does not say {says:?}:\n{text}");
    }
}
