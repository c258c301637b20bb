//! Values of all types and forms, each cut at every byte and with every bit turned over: refused, or whole; and files of them.

use torc_fuzz::{seeds, value};
use torc_persistence::rdb::file::{Item, Scanner};
use torc_persistence::rdb::{Dialect, Version};

/// Longer ones hold nothing that shorter ones do not.
const BYTES_MAX: usize = 300;

fn small() -> Vec<Vec<u8>> {
    let found: Vec<_> = seeds::values().into_iter().filter(|body| body.len() <= BYTES_MAX).collect();
    assert!(found.len() > 40, "{}", found.len());
    found
}

#[test]
fn cut_values_are_refused() {
    let room = value::Room::default();
    for body in small() {
        assert!(body[0] == 22 || room.decode(body[0], &body[1..]), "{}", body.escape_ascii());
        for length in 1..body.len() {
            assert!(!room.decode(body[0], &body[1..length]), "{} cut to {length}", body.escape_ascii());
        }
    }
}

#[test]
fn values_with_a_bit_turned_over_are_refused_or_whole() {
    for body in small() {
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut other = body.clone();
                other[at] ^= 1 << bit;
                let outcome = std::panic::catch_unwind(|| value::check(&other));
                assert!(outcome.is_ok(), "bit {bit} of byte {at}: {}", other.escape_ascii());
            }
        }
    }
}

/// How a file ends: all of its items as text, if it is sound.
fn read(bytes: &[u8]) -> Option<Vec<String>> {
    let mut scanner = Scanner::new(true);
    scanner.feed(bytes);
    let mut items = Vec::new();
    while let Some(item) = scanner.next(true).ok()? {
        if matches!(item, Item::End) {
            return Some(items);
        }
        items.push(format!("{item:?}"));
    }
    None
}

#[test]
fn files_that_are_cut_or_changed_anywhere_are_refused() {
    // The families disagree about one kind.
    for body in small().into_iter().filter(|body| body[0] != 22) {
        let file = seeds::file_of(Version::REDIS_MAX, Dialect::Redis, [&body].into_iter());
        let items = read(&file).expect("it is sound");
        for length in 0..file.len() {
            assert_eq!(read(&file[..length]), None, "cut to {length}");
        }
        for at in 0..file.len() {
            let mut other = file.clone();
            other[at] ^= 1 << (at % 8);
            // The version is in the sum, too.
            if let Some(found) = read(&other) {
                assert_eq!(found, items, "a bit of byte {at}");
            }
        }
    }
}
