//! Protocols and ciphers by the names that configuration files have for them, which are OpenSSL's.
//!
//! ```text
//!   tls-protocols     "TLSv1.2 TLSv1.3"                    ──> versions
//!   tls-ciphers       "DEFAULT:!AES128:+ECDSA@STRENGTH"    ──> suites of TLS 1.2, in an order
//!   tls-ciphersuites  "TLS_CHACHA20_POLY1305_SHA256"       ──> suites of TLS 1.3, in an order
//! ```
//! A list for TLS 1.2 is worked off from left to right: a word adds the suites that it stands for, `-` takes them away, `+` moves
//! them to the end, `!` bans them for good. What OpenSSL has and rustls has not (static RSA, DHE, CBC) stands for nothing. So lists
//! that are written for both work, and one that leaves nothing is an error, as is a word that nobody knows: a ban that is
//! misspelt would ban nothing.

use rustls::crypto::ring::cipher_suite as suite;
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// The versions of `tls-protocols`.
pub(super) fn versions(words: &[u8]) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let text = String::from_utf8_lossy(words);
    let mut found: Vec<&'static SupportedProtocolVersion> = Vec::new();
    for word in text.split_ascii_whitespace() {
        let version = match word.to_ascii_lowercase().as_str() {
            "tlsv1.3" => &TLS13,
            "tlsv1.2" => &TLS12,
            "tlsv1" | "tlsv1.1" => {
                return Err(format!(
                    "'tls-protocols': {word} is broken and not offered. Use 'TLSv1.2', 'TLSv1.3' or both."
                ));
            }
            _ => {
                return Err(format!(
                    "Invalid tls-protocols specified: '{word}'. Use a combination of 'TLSv1.2' and 'TLSv1.3'."
                ));
            }
        };
        if !found.iter().any(|known| known.version == version.version) {
            found.push(version);
        }
    }
    Ok(if found.is_empty() { vec![&TLS13, &TLS12] } else { found })
}

/// What of a list there is, and what not.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Suites in order.
    pub(super) suites: Vec<SupportedCipherSuite>,
    /// Words that asked for what is not offered.
    pub(super) not_offered: Vec<String>,
}

/// The suites of TLS 1.3, and those that OpenSSL knows beside them.
const SUITES13: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
];
const NOT_OFFERED13: [&str; 2] = ["TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"];

/// The suites of `tls-ciphersuites`.
pub(super) fn suites13(words: &[u8]) -> Result<Selection, String> {
    let text = String::from_utf8_lossy(words);
    let mut selection = Selection::default();
    for word in text.split([':', ' ', ',']).filter(|word| !word.is_empty()) {
        let found = SUITES13.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        match found {
            Some((_, suite)) if selection.suites.contains(suite) => {}
            Some((_, suite)) => selection.suites.push(*suite),
            None if NOT_OFFERED13.iter().any(|name| name.eq_ignore_ascii_case(word)) => {
                selection.not_offered.push(word.to_owned());
            }
            None => {
                let names = SUITES13.map(|(name, _)| name).join(", ");
                return Err(format!("Failed to configure ciphersuites: '{word}' is unknown. There are: {names}."));
            }
        }
    }
    if words.is_empty() {
        selection.suites = SUITES13.map(|(_, suite)| suite).to_vec();
    }
    if selection.suites.is_empty() {
        return Err(format!("Failed to configure ciphersuites: none of '{text}' is offered."));
    }
    Ok(selection)
}

/// A suite of TLS 1.2: OpenSSL's name, the standard's, and key length in bits.
struct Suite12 {
    name: &'static str,
    standard_name: &'static str,
    bits: u32,
    suite: SupportedCipherSuite,
}

/// In the order of OpenSSL's default list.
static SUITES12: [Suite12; 6] = [
    Suite12 {
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        standard_name: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        bits: 256,
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    },
    Suite12 {
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        standard_name: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        bits: 256,
        suite: suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    },
    Suite12 {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        standard_name: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        bits: 256,
        suite: suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    },
    Suite12 {
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        standard_name: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        bits: 256,
        suite: suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    },
    Suite12 {
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        standard_name: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        bits: 128,
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    },
    Suite12 {
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        standard_name: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        bits: 128,
        suite: suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    },
];

/// Words that stand for all suites that we have ...
const ALL: [&str; 10] =
    ["ALL", "DEFAULT", "COMPLEMENTOFDEFAULT", "HIGH", "TLSv1.2", "ECDHE", "EECDH", "kECDHE", "kEECDH", "AEAD"];
/// ... for those whose names have these parts, ...
const SOME: [(&str, &str); 11] = [
    ("ECDSA", "-ECDSA-"),
    ("aECDSA", "-ECDSA-"),
    ("aRSA", "-RSA-"),
    ("AES", "-AES"),
    ("AESGCM", "-GCM-"),
    ("AES128", "-AES128-"),
    ("AES256", "-AES256-"),
    ("CHACHA20", "-CHACHA20-"),
    ("SHA256", "-SHA256"),
    ("SHA384", "-SHA384"),
    ("POLY1305", "-POLY1305"),
];
/// ... and for none.
const NONE: [&str; 49] = [
    "kRSA",
    "RSA",
    "kDHE",
    "kEDH",
    "DHE",
    "EDH",
    "kDH",
    "DH",
    "ADH",
    "AECDH",
    "aNULL",
    "eNULL",
    "NULL",
    "COMPLEMENTOFALL",
    "MEDIUM",
    "LOW",
    "EXP",
    "EXPORT",
    "SSLv2",
    "SSLv3",
    "TLSv1",
    "TLSv1.0",
    "RC4",
    "RC2",
    "3DES",
    "DES",
    "MD5",
    "SHA",
    "SHA1",
    "DSS",
    "aDSS",
    "PSK",
    "kPSK",
    "kECDHEPSK",
    "kDHEPSK",
    "kRSAPSK",
    "aPSK",
    "SRP",
    "kSRP",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "SEED",
    "IDEA",
    "AESCCM",
    "AESCCM8",
];
/// What names of single suites that only OpenSSL has are made of, beside the words above.
const PARTS: [&str; 10] = ["GCM", "CCM", "CCM8", "CBC", "CBC3", "CHACHA20", "ECDH", "GOST", "ARIA128", "ARIA256"];

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// A set of suites of TLS 1.2, a bit each.
type Set = u8;

const EVERY: Set = (1 << SUITES12.len()) - 1;

/// The suites that a word stands for; none if nobody knows it.
fn suites_of(word: &str) -> Option<Set> {
    let those = |is_meant: &dyn Fn(&Suite12) -> bool| {
        let meant = SUITES12.iter().enumerate().filter(|(_, suite)| is_meant(suite));
        meant.fold(0, |set, (index, _)| set | 1 << index)
    };
    // Several words joined by plus signs are what all of them stand for.
    word.split('+').try_fold(EVERY, |set, word| {
        let one =
            those(&|suite| suite.name.eq_ignore_ascii_case(word) || suite.standard_name.eq_ignore_ascii_case(word));
        let meant = if one != 0 {
            one
        } else if is_one_of(word, &ALL) {
            EVERY
        } else if let Some((_, part)) = SOME.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
            those(&|suite| suite.name.contains(part))
        } else if is_one_of(word, &NONE) || is_name_of_openssl(word) {
            0
        } else {
            return None;
        };
        Some(set & meant)
    })
}

/// Whether a word is put together as the names of OpenSSL's suites are.
fn is_name_of_openssl(word: &str) -> bool {
    let is_part = |part: &str| {
        let mut known = SOME.iter().map(|(name, _)| *name).chain(NONE).chain(PARTS).chain(ALL);
        known.any(|name| name.eq_ignore_ascii_case(part))
    };
    word.contains('-') && word.split('-').all(is_part)
}

/// The suites of `tls-ciphers`.
pub(super) fn suites12(words: &[u8]) -> Result<Selection, String> {
    let text = String::from_utf8_lossy(words);
    let mut order: Vec<usize> = Vec::new();
    let mut banned: Set = 0;
    let mut not_offered = Vec::new();
    let list: &str = if words.is_empty() { "DEFAULT" } else { &text };
    for word in list.split([':', ' ', ',', ';']).filter(|word| !word.is_empty()) {
        if let Some(command) = word.strip_prefix('@') {
            sort(&mut order, command)?;
            continue;
        }
        let (operator, name) = match word.as_bytes()[0] {
            sign @ (b'!' | b'-' | b'+') => (sign, &word[1..]),
            _ => (b' ', word),
        };
        let set = suites_of(name).ok_or_else(|| format!("Failed to configure ciphers: '{name}' is unknown."))?;
        let is_meant = |index: &usize| set & 1 << *index != 0;
        match operator {
            b'!' | b'-' => {
                order.retain(|index| !is_meant(index));
                banned |= if operator == b'!' { set } else { 0 };
            }
            b'+' => order.sort_by_key(is_meant),
            _ => {
                if set == 0 {
                    not_offered.push(name.to_owned());
                }
                let added = (0..SUITES12.len()).filter(|index| is_meant(index) && banned & 1 << *index == 0);
                let added: Vec<usize> = added.filter(|index| !order.contains(index)).collect();
                order.extend(added);
            }
        }
    }
    if order.is_empty() {
        let names = SUITES12.each_ref().map(|suite| suite.name).join(", ");
        return Err(format!("Failed to configure ciphers: none of '{text}' is offered. There are: {names}."));
    }
    Ok(Selection { suites: order.into_iter().map(|index| SUITES12[index].suite).collect(), not_offered })
}

/// A word that begins with `@`.
fn sort(order: &mut [usize], command: &str) -> Result<(), String> {
    if command.eq_ignore_ascii_case("STRENGTH") {
        order.sort_by_key(|index| std::cmp::Reverse(SUITES12[*index].bits));
        return Ok(());
    }
    // What we have is of the highest level that keys allow, so a level changes nothing.
    let level = command.strip_prefix("SECLEVEL=").and_then(|level| level.parse::<u8>().ok());
    match level {
        Some(0..=5) => Ok(()),
        _ => Err(format!("Failed to configure ciphers: '@{command}' is unknown.")),
    }
}

/// What fuzzing holds against any list: it is an error, or suites, each once.
#[doc(hidden)]
pub fn check_names(words: &[u8]) {
    let _ = versions(words);
    for selection in [suites12(words), suites13(words)].into_iter().flatten() {
        assert!(!selection.suites.is_empty());
        let names: std::collections::BTreeSet<String> =
            selection.suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
        assert_eq!(names.len(), selection.suites.len(), "a suite is there twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The chosen ones, as letters: E or R for the certificate, then 2 (AES256), c (ChaCha20), 1 (AES128).
    fn chosen(text: &str) -> Result<String, String> {
        let short = |suite: &SupportedCipherSuite| {
            let index = SUITES12.iter().position(|known| known.suite == *suite).expect("one of ours");
            ["E2", "R2", "Ec", "Rc", "E1", "R1"][index]
        };
        suites12(text.as_bytes()).map(|found| found.suites.iter().map(short).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn lists_are_worked_off_as_openssl_does() {
        for (list, expected) in [
            ("", "E2 R2 Ec Rc E1 R1"),
            ("DEFAULT:!MEDIUM", "E2 R2 Ec Rc E1 R1"),
            ("DEFAULT:-AES128-SHA256", "E2 R2 Ec Rc E1 R1"),
            ("HIGH:!aNULL:!MD5", "E2 R2 Ec Rc E1 R1"),
            ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384", "R1 R2"),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "R1"),
            ("ALL:!AES128:!CHACHA20", "E2 R2"),
            ("ALL:-AES:AES128", "Ec Rc E1 R1"),
            ("ALL:!AES:AES128", "Ec Rc"),
            ("ALL:+ECDSA", "R2 Rc R1 E2 Ec E1"),
            ("AES128:ALL:@STRENGTH", "E2 R2 Ec Rc E1 R1"),
            ("ECDHE+AESGCM+aRSA", "R2 R1"),
            ("ALL@SECLEVEL=2", ""),
            ("ALL:@SECLEVEL=2 !AES256", "Ec Rc E1 R1"),
            ("ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:AES256-SHA", "E1"),
            ("AES256-SHA:DHE-RSA-AES128-GCM-SHA256", ""),
            ("ALL:!ECHDE", ""),
            ("ALL:@NONSENSE", ""),
            ("!ALL", ""),
            ("ECDHE-RSA-AES512-GCM-SHA384", ""),
        ] {
            match chosen(list) {
                Ok(found) => assert_eq!(found, expected, "{list}"),
                Err(reason) => {
                    assert!(expected.is_empty() && reason.contains("Failed to configure"), "{list}: {reason}")
                }
            }
        }
        let found = suites12(b"ALL:AES256-SHA").expect("the rest is there");
        assert_eq!(found.not_offered, ["AES256-SHA"]);
    }

    #[test]
    fn suites_of_tls_13() {
        let names = |text: &str| suites13(text.as_bytes()).map(|found| found.suites);
        assert_eq!(names("").expect("all").len(), 3);
        let two = names("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256").expect("two");
        assert_eq!(two, [SUITES13[1].1, SUITES13[2].1]);
        assert!(names("TLS_AES_128_CCM_SHA256").is_err());
        assert!(names("TLS_NOTHING").expect_err("unknown").contains("TLS_NOTHING"));
    }

    #[test]
    fn protocols() {
        let found = |text: &str| versions(text.as_bytes()).map(|found| found.len());
        assert_eq!((found(""), found("TLSv1.2 tlsv1.3 TLSv1.2"), found("TLSv1.3")), (Ok(2), Ok(2), Ok(1)));
        for wrong in ["TLSv1", "TLSv1.1 TLSv1.2", "SSLv3"] {
            assert!(found(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        /// Whatever stands there, it is refused or leaves something that can be served with, each suite once.
        #[test]
        fn any_text_is_refused_or_leaves_something(
            words in proptest::collection::vec(
                prop_oneof![
                    4 => proptest::sample::select(vec!["ALL", "DEFAULT", "!AES", "-ECDSA", "+aRSA", "AES128", "@STRENGTH", "!CHACHA20",
                        "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE+AES", "", "AES256-SHA"]).prop_map(str::to_owned),
                    1 => ".{0,8}",
                ],
                0..8,
            ),
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let text = words.join(":");
            for input in [text.as_bytes(), &bytes] {
                if let Ok(found) = suites12(input) {
                    prop_assert!(!found.suites.is_empty());
                    let mut once = found.suites.clone();
                    once.dedup();
                    prop_assert!(once.len() == found.suites.len() && once.len() <= SUITES12.len());
                }
                if let Ok(found) = suites13(input) {
                    prop_assert!(!found.suites.is_empty() && found.suites.len() <= SUITES13.len());
                }
                if let Ok(found) = versions(input) {
                    prop_assert!((1..=2).contains(&found.len()));
                }
            }
        }
    }
}
