//! What clients and administrators say to the server: requests, heads of HTTP, configurations, rules of users, certificates and
//! the names of ciphers. What holds for each is said where it is read; here are inputs.

use torc_server::{access, config, connection::parser, control_plane::http, tls};

/// Any bytes, in any pieces, are the same commands and the same error.
pub fn check_requests(bytes: &[u8]) {
    parser::check_pieces(bytes);
}

/// Any text is refused, or comes to the same configuration again when it has been rewritten.
pub fn check_config(bytes: &[u8]) {
    config::check_text(bytes);
}

/// Any text as a file of users is refused, or told again in lines that lead to the same users.
pub fn check_rules(bytes: &[u8]) {
    access::check_rules(bytes);
}

/// The first line is names of protocols and ciphers, the rest a file of certificates and keys: used, or refused.
pub fn check_tls(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    tls::check_names(&bytes[..end]);
    tls::check_material(&bytes[end..]);
}

/// Any bytes are the beginning of a head, a request, or refused; and pieces make the same as the whole.
pub fn check_http(bytes: &[u8]) {
    http::check_pieces(bytes);
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Requests that are read without complaint. The first byte chooses limits.
pub fn request_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "\x1f*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        "\x1fSET a \"b\\x41c\" 'd'\r\nPING\r\n",
        "\x3f*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n",
        "\x03*2\r\n$8\r\nabcdefgh\r\n$9\r\nabcdefghi\r\n",
    ])
}

/// Configurations.
pub fn config_seeds() -> Vec<Vec<u8>> {
    let mut seeds = texts(&[
        "# mine\n\nport 1\n  timeout 7\nsave 10 1\nsave 20 2\nslave-priority 5\nport 2\n",
        "user ann on >pw ~* +@all\nrename-command CONFIG \"\"\nrename-command KEYS \"a b\"\nrequirepass \"a \\\"b\\\"\\n\"\n",
        "client-output-buffer-limit pubsub 1mb 2mb 3 normal 5 6 7\nmaxmemory 3gb\nmaxmemory-clients 5%\nsave \"\"\n",
        "bind 127.0.0.1 -::1\nadmin-bind 127.0.0.1\nadmin-port 7\nshutdown-on-sigterm save now\noom-score-adj-values 1 2 3\n",
        "latency-tracking-info-percentiles 50 99.9\nnotify-keyspace-events KEA\nunixsocketperm 700\ndir /a\nlogfile b\n",
        "tls-port 7\ntls-cert-file a\ntls-key-file-pass \"x y\"\ntls-protocols \"TLSv1.2\"\nreplicaof no one\nhz 0\n",
    ]);
    seeds.push(include_bytes!("../../torc.conf").to_vec());
    seeds
}

/// Files of users.
pub fn rule_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "user default on nopass ~* &* +@all\nuser ann off\n",
        "user bob on #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0bd22cd15d6c15b0f00a08 >pw <pw +get -get|x +client|id allkeys\n",
        "user carl on %R~a* %W~b %RW~c resetchannels &ch* (+set ~x (nothing) -@all) (~y +@read -debug)\n",
        "user d on +@all -@dangerous +select|0 allchannels db=1,2 alldbs resetdbs resetpass clearselectors reset sanitize-payload\n",
    ])
}

/// Names of ciphers, and files.
pub fn tls_seeds() -> Vec<Vec<u8>> {
    let (certificate, key) = (include_str!("../seeds/cert.pem"), include_str!("../seeds/p8.key"));
    let (old_key, locked_key) = (include_str!("../seeds/ec.key"), include_str!("../seeds/enc.key"));
    let mut seeds = texts(&[
        "TLSv1.2 TLSv1.3\n",
        "DEFAULT:!AES128:+ECDSA@STRENGTH:-CHACHA20:ALL:!aNULL:ECDHE+AESGCM\n",
        "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256\n",
    ]);
    for file in [certificate, key, old_key, locked_key] {
        seeds.push(format!("HIGH:!MEDIUM\n{file}").into_bytes());
    }
    seeds.push(format!("\n{certificate}{key}{certificate}").into_bytes());
    seeds
}

/// Heads of requests.
pub fn http_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: [::1]:80\r\nAUTHORIZATION: bearer  secret \r\nConnection: x, Close\r\n\r\nGET",
        "HEAD /api/status?a=b%20c HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ])
}

/// Words from a list between separators, with something made up now and then.
fn made_up(words: &[&str], separators: &[&str], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..12) {
        match random.u8(..12) {
            0 => bytes.extend((0..random.usize(..6)).map(|_| random.u8(..))),
            1 => bytes.extend(random.i64(-2..70_000).to_string().bytes()),
            _ => bytes.extend(random.choice(words).copied().unwrap_or_default().bytes()),
        }
        bytes.extend(random.choice(separators).copied().unwrap_or_default().bytes());
    }
    bytes
}

/// Requests made up.
pub fn generate_requests(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = vec![random.u8(..)];
    for _ in 0..random.usize(..4) {
        if random.bool() {
            let count = random.usize(..5);
            bytes.extend(format!("*{count}\r\n").bytes());
            for _ in 0..count {
                let word = made_up(&["a", "\r\n", "SET", "$1", ""], &[""], random);
                let length = if random.u8(..8) == 0 { random.i64(-2..40) } else { word.len() as i64 };
                bytes.extend(format!("${length}\r\n").bytes());
                bytes.extend(word);
                bytes.extend(b"\r\n");
            }
        } else {
            bytes.extend(made_up(&["SET", "\"a b\"", "'", "\"", "\\x4", "\\", "a"], &[" ", "\n", "\r\n", ""], random));
        }
    }
    bytes
}

/// A configuration made up: names that there are, with values of any kind.
pub fn generate_config(random: &mut fastrand::Rng) -> Vec<u8> {
    let names: Vec<&str> = config::names().collect();
    const VALUES: &[&str] = &[
        "yes",
        "no",
        "0",
        "1",
        "-1",
        "10",
        "1gb",
        "5%",
        "\"\"",
        "''",
        "\"a b\\x01\"",
        "/a/b",
        "notice",
        "normal 1 2 3",
        "60 1000",
        "127.0.0.1",
        "-::1",
        "*",
        "default",
        "50 99 100",
        "KEA",
        "9223372036854775807",
        "18446744073709551615",
        "local",
        "save",
        "always",
        "x",
        "no one",
        "TLSv1.3",
        "0777",
        "1e3",
        "{title}",
        "\"",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..8) {
        bytes.extend(random.choice(&names).copied().unwrap_or_default().bytes());
        bytes.push(b' ');
        bytes.extend(made_up(VALUES, &[" "], random));
        bytes.push(b'\n');
    }
    bytes
}

/// Rules made up.
pub fn generate_rules(random: &mut fastrand::Rng) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "on",
        "off",
        "nopass",
        "resetpass",
        ">p",
        "<p",
        "#",
        "~a",
        "~*",
        "%R~a",
        "%W~*",
        "%RW~",
        "allkeys",
        "resetkeys",
        "&c",
        "&*",
        "allchannels",
        "resetchannels",
        "+@all",
        "-@all",
        "+@read",
        "-@write",
        "+get",
        "-get",
        "+config|get",
        "-config|get",
        "+select|0",
        "+nosuch",
        "nocommands",
        "allcommands",
        "(+get ~a)",
        "(",
        ")",
        "clearselectors",
        "reset",
        "db=1",
        "alldbs",
        "sanitize-payload",
        "skip-sanitize-payload",
        "(%R~a -@all +get|b)",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..4) {
        bytes.extend(format!("user u{} ", random.u8(..4)).bytes());
        bytes.extend(made_up(WORDS, &[" ", " ", " ", "\t"], random));
        bytes.push(b'\n');
    }
    bytes
}

/// Lists of ciphers made up, with half of a file.
pub fn generate_tls(random: &mut fastrand::Rng) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "ALL",
        "DEFAULT",
        "COMPLEMENTOFALL",
        "HIGH",
        "MEDIUM",
        "ECDHE",
        "ECDSA",
        "AESGCM",
        "AES128",
        "CHACHA20",
        "aNULL",
        "eNULL",
        "kRSA",
        "SHA256",
        "@STRENGTH",
        "@SECLEVEL=2",
        "TLSv1.2",
        "TLSv1.3",
        "TLS_AES_128_GCM_SHA256",
        "ECDHE+AESGCM",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "!",
        "-",
        "+",
    ];
    let mut bytes = made_up(WORDS, &[":", " ", ",", ":!", ":-", ":+"], random);
    bytes.retain(|byte| *byte != b'\n');
    bytes.push(b'\n');
    let files = tls_seeds();
    let file = random.choice(&files).cloned().unwrap_or_default();
    bytes.extend_from_slice(&file[..random.usize(..=file.len())]);
    bytes
}

/// A head made up.
pub fn generate_http(random: &mut fastrand::Rng) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "GET ",
        "HEAD ",
        "POST ",
        "/",
        "/metrics",
        " HTTP/1.1",
        " HTTP/1.0",
        " HTTP/2.0",
        "Host: ",
        "127.0.0.1",
        "localhost:1",
        "[::1]",
        "evil.example",
        "Authorization: Bearer ",
        "x",
        "Content-Length: 1",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "?a=%",
        ": ",
        "\0",
    ];
    let mut bytes = made_up(WORDS, &["\r\n", "", "", " ", "\n"], random);
    if random.bool() {
        bytes.extend(b"\r\n\r\n");
    }
    bytes
}
