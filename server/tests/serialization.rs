//! Values as bytes, exchanged with the real server both ways: payloads of DUMP, and whole files.
//!
//! ```text
//!   the same commands ──> ours, real ──> DUMP ──> RESTORE into the other, and into itself ──> DEBUG DIGEST-VALUE: the same
//!   real ──> SAVE ──> our scanner, in pieces of any length ──> RESTORE into ours           ──> DEBUG DIGEST: the same
//!   ours ──> DUMP ──> our writer ──> a file ──> a real server that starts on it            ──> DEBUG DIGEST: the same
//!   payloads with broken bytes and right checksums ──> ours goes on
//! ```

#[path = "support/mod.rs"]
mod support;

use support::values::{arguments, fill};
use support::{Client, Server, digest_of, keys};
use torc_persistence::crc64;
use torc_persistence::rdb::file::{self, Item, Scanner, Use};
use torc_persistence::rdb::output::Output;
use torc_persistence::rdb::{Dialect, Version};

fn restore(client: &mut Client, key: &str, payload: &[u8]) -> String {
    restore_until(client, key, 0, payload)
}

fn restore_until(client: &mut Client, key: &str, at: i64, payload: &[u8]) -> String {
    client.call_bytes(&[b"RESTORE", key.as_bytes(), at.to_string().as_bytes(), payload, b"ABSTTL"]).to_string()
}

#[test]
fn payloads_are_exchanged_with_the_real_server() {
    for is_low in [false, true] {
        let Some(real) = Server::real(&arguments(is_low)) else { return };
        for shards in [1, 2, 5] {
            let ours = Server::torc(shards, &arguments(is_low));
            let (mut real, mut ours) = (real.client(), ours.client());
            assert_eq!(real.ask("FLUSHALL"), "+OK");
            fill(&mut real);
            fill(&mut ours);
            let names = keys(&mut real);
            assert_eq!(names, keys(&mut ours));
            for name in names {
                let expected = digest_of(&mut real, &name);
                assert_eq!(digest_of(&mut ours, &name), expected, "{name} before");
                let theirs = real.call(&format!("DUMP {name}")).bytes().to_vec();
                let our_own = ours.call(&format!("DUMP {name}")).bytes().to_vec();
                let at = ours.call(&format!("PEXPIRETIME {name}")).integer().max(0);
                let check = |who: &str, client: &mut Client, payload: &[u8]| {
                    assert_eq!(client.ask("DEL copy").len(), 2);
                    assert_eq!(restore_until(client, "copy", at, payload), "+OK", "{who}: {name}");
                    assert_eq!(digest_of(client, "copy"), expected, "{who}: {name}");
                };
                check("theirs into ours", &mut ours, &theirs);
                check("ours into theirs", &mut real, &our_own);
                check("ours into ours", &mut ours, &our_own);
                let encoding = |client: &mut Client, key: &str| client.ask(&format!("OBJECT ENCODING {key}"));
                if encoding(&mut ours, &name) != "\"raw\"" {
                    // A short text that was appended to is of a form that a payload does not tell.
                    assert_eq!(encoding(&mut ours, "copy"), encoding(&mut ours, &name), "{name}");
                }
                for question in ["XINFO STREAM", "XINFO GROUPS"] {
                    if encoding(&mut ours, &name) == "\"stream\"" {
                        let [was, is] = [&name[..], "copy"].map(|key| ours.ask(&format!("{question} {key}")));
                        assert_eq!(was, is, "{question}: {name}");
                    }
                }
            }
            assert_eq!(real.ask("DEL copy"), ":1");
        }
    }
}

#[test]
fn what_only_newer_servers_know_comes_back() {
    for (shards, is_low) in [(1, false), (2, true), (5, false)] {
        let server = Server::torc(shards, &arguments(is_low));
        let mut client = server.client();
        for line in [
            "HSET times a 1 b 2 c 3 d 4 e 5",
            "HPEXPIREAT times 33000000000000 FIELDS 2 a b",
            "HPEXPIREAT times 33000000000001 FIELDS 1 c",
            "XADD given 1-1 a 1",
            "XADD given 2-1 a 1",
            "XGROUP CREATE given g 0",
            "XREADGROUP GROUP g c STREAMS given >",
            "XNACK given g FAIL IDS 1 1-1",
            "XADD sent IDMP producer first * a 1",
            "XADD sent IDMP producer second * a 1",
            "XADD sent IDMP other first * a 1",
        ] {
            let reply = client.ask(line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
        }
        for (name, question) in [
            ("times", "HPEXPIRETIME {} FIELDS 5 a b c d e"),
            ("given", "XPENDING {} g"),
            ("given", "XINFO STREAM {}"),
            ("sent", "XINFO STREAM {}"),
            ("sent", "XRANGE {} - +"),
        ] {
            let payload = client.call(&format!("DUMP {name}")).bytes().to_vec();
            client.ask("DEL copy");
            assert_eq!(restore(&mut client, "copy", &payload), "+OK", "{name}");
            assert_eq!(digest_of(&mut client, "copy"), digest_of(&mut client, name));
            let [was, is] = [name, "copy"].map(|key| client.ask(&question.replace("{}", key)));
            assert_eq!(was, is, "{question}: {name}");
        }
        // What was sent before is known as sent.
        let again = client.ask("XADD copy IDMP producer second * a 1");
        assert_eq!(client.ask("XLEN copy"), ":3", "{again}");
    }
}

/// A payload of a value as it stands in a file.
fn payload(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = [&[kind], value, &Version::LISTPACKS.0.to_le_bytes()].concat();
    let sum = crc64::of(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn files_of_the_real_server_are_read_in_pieces() {
    for is_low in [false, true] {
        let folder = support::server::new_directory();
        let folder = folder.to_str().expect("a path of letters");
        let mut options = arguments(is_low);
        options.extend(["--dir", folder]);
        let Some(real) = Server::real(&options) else { return };
        let mut real = real.client();
        fill(&mut real);
        assert_eq!(real.ask("SELECT 3"), "+OK");
        assert_eq!(real.ask("SET other 1"), "+OK");
        assert_eq!(
            real.ask("FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 1 end)\""),
            "\"lib\""
        );
        assert_eq!(real.ask("SAVE"), "+OK");
        let bytes = std::fs::read(format!("{folder}/dump.rdb")).expect("it was saved");
        let ours = Server::torc(2, &arguments(is_low));
        let mut ours = ours.client();
        for piece_bytes in [1, 7, 4096, usize::MAX] {
            assert_eq!(ours.ask("FLUSHALL"), "+OK");
            // One byte at a time is enough for the beginning.
            let single = if piece_bytes == 1 { 2000 } else { 0 };
            let (first, rest) = bytes.split_at(single);
            let mut pieces = first.chunks(1).chain(rest.chunks(piece_bytes.max(4000))).peekable();
            let (mut scanner, mut functions, mut expected) = (Scanner::new(true), 0, 0);
            while let Some(piece) = pieces.next() {
                scanner.feed(piece);
                while let Some(item) = scanner.next(pieces.peek().is_none()).expect("it is well-formed") {
                    match item {
                        Item::Select(number) => assert_eq!(ours.ask(&format!("SELECT {number}")), "+OK"),
                        Item::Resize { keys, .. } => expected += keys,
                        Item::Function(code) => functions += usize::from(code.starts_with(b"#!lua")),
                        Item::Entry(entry) => {
                            let at = entry.expires_at.unwrap_or(0).to_string();
                            let payload = payload(entry.kind, entry.value);
                            let words: [&[u8]; 5] = [b"RESTORE", &entry.key, at.as_bytes(), &payload, b"ABSTTL"];
                            assert_eq!(ours.call_bytes(&words).to_string(), "+OK");
                        }
                        Item::Aux { .. } | Item::Ignored | Item::End | Item::Module(_) => {}
                    }
                }
            }
            assert!(scanner.is_over() && scanner.rest().is_empty());
            assert_eq!(scanner.position(), bytes.len() as u64);
            assert_eq!((functions, scanner.header()), (1, Some((Version::LISTPACKS, Dialect::Redis))));
            assert_eq!(ours.ask("SELECT 0"), "+OK");
            assert_eq!(keys(&mut ours).len() as u64 + 1, expected);
            assert_eq!(ours.ask("DEBUG DIGEST"), real.ask("DEBUG DIGEST"));
        }
        // A bit that is wrong anywhere is found, be it by the checksum.
        for at in (9..bytes.len()).step_by(bytes.len() / 50) {
            let mut broken = bytes.clone();
            broken[at] ^= 4;
            let mut scanner = Scanner::new(true);
            scanner.feed(&broken);
            let outcome = loop {
                match scanner.next(true) {
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(()),
                    Err(malformed) => break Err(malformed),
                }
            };
            assert!(outcome.is_err(), "a bit at {at} of {}", bytes.len());
        }
    }
}

#[test]
fn a_real_server_starts_on_a_file_of_ours() {
    for is_low in [false, true] {
        let ours = Server::torc(3, &arguments(is_low));
        let mut ours = ours.client();
        fill(&mut ours);
        let names = keys(&mut ours);
        let mut bytes = Vec::new();
        let mut out = Output::plain(&mut bytes);
        file::write_header(Version::LISTPACKS, Dialect::Redis, &mut out);
        file::write_aux(b"redis-ver", b"7.0.15", &mut out);
        file::write_function(b"#!lua name=lib\nredis.register_function('f', function() return 1 end)", &mut out);
        file::write_select(0, &mut out);
        file::write_resize(names.len() as u64, 1, &mut out);
        for (number, name) in names.iter().enumerate() {
            let payload = ours.call(&format!("DUMP {name}")).bytes().to_vec();
            let at = ours.call(&format!("PEXPIRETIME {name}")).integer();
            let used = if number % 2 == 0 { Use::Unknown } else { Use::IdleSeconds(1000) };
            file::write_key(name.as_bytes(), payload[0], (at > 0).then_some(at), used, &mut out);
            out.raw(&payload[1..payload.len() - 10]);
        }
        file::write_end(&mut out);
        let sum = crc64::of(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        let folder = support::server::new_directory();
        std::fs::write(folder.join("dump.rdb"), &bytes).expect("a file");
        let mut options = arguments(is_low);
        options.extend(["--dir", folder.to_str().expect("a path of letters")]);
        let Some(real) = Server::real(&options) else { return };
        let mut real = real.client();
        assert_eq!(keys(&mut real), names, "{is_low}");
        assert_eq!(real.ask("DEBUG DIGEST"), ours.ask("DEBUG DIGEST"));
        assert_eq!(real.ask("FCALL f 0"), ":1");
        assert_eq!(real.call("PEXPIRETIME expiring").integer(), 33_000_000_000_000);
    }
}

#[test]
fn libraries_go_both_ways() {
    let Some(real) = Server::real(&[]) else { return };
    for shards in [1, 2, 5] {
        let ours = Server::torc(shards, &[]);
        let (mut real, mut ours) = (real.client(), ours.client());
        let long = "x".repeat(20_000);
        for code in [
            "#!lua name=short\nredis.register_function('s', function() return 1 end)",
            &format!("#!lua name=long\n-- {long}\nredis.register_function('l', function() return 2 end)"),
        ] {
            let reply = real.call_bytes(&[b"FUNCTION", b"LOAD", b"REPLACE", code.as_bytes()]);
            assert!(!reply.is_error(), "{reply}");
        }
        let pass_on = |from: &mut Client, to: &mut Client| {
            let payload = from.call("FUNCTION DUMP").bytes().to_vec();
            assert_eq!(to.call_bytes(&[b"FUNCTION", b"RESTORE", &payload, b"FLUSH"]).to_string(), "+OK");
            assert_eq!((to.ask("FCALL s 0"), to.ask("FCALL l 0")), (":1".into(), ":2".into()));
        };
        pass_on(&mut real, &mut ours);
        pass_on(&mut ours, &mut real);
    }
}

#[test]
fn broken_payloads_are_refused_or_borne() {
    let server = Server::torc(2, &arguments(false));
    let mut client = server.client();
    fill(&mut client);
    for line in ["HSET times a 1 b 2", "HPEXPIREAT times 33000000000000 FIELDS 1 a", "XADD sent IDMP p i * a 1"] {
        client.ask(line);
    }
    let names = keys(&mut client);
    let before = client.ask("DEBUG DIGEST");
    let mut random = fastrand::Rng::with_seed(3);
    let (mut accepted, mut refused) = (0, 0);
    for name in &names {
        let payload = client.call(&format!("DUMP {name}")).bytes().to_vec();
        for round in 0..60 {
            let mut body = payload[..payload.len() - 8].to_vec();
            for _ in 0..random.usize(1..4) {
                // The beginning has the lengths.
                let most = if random.bool() { body.len().min(40) } else { body.len() };
                body[random.usize(..most - 2)] = if random.bool() { random.u8(..) } else { 0xff };
            }
            if round % 5 == 0 {
                let version = body.split_off(body.len() - 2);
                body.truncate(random.usize(1..=body.len()));
                body.extend(version);
            }
            let sum = crc64::of(&body);
            body.extend_from_slice(&sum.to_le_bytes());
            match &restore(&mut client, "copy", &body)[..] {
                "+OK" => accepted += 1,
                "-ERR Bad data format" => refused += 1,
                other => panic!("{name}: {other}"),
            }
            // It can be read, whatever it is.
            client.ask("DEBUG DIGEST-VALUE copy");
            client.ask("DEL copy");
        }
    }
    assert!(accepted > 50 && refused > 500, "{accepted} accepted, {refused} refused");
    assert_eq!(client.ask("DEBUG DIGEST"), before);
}
