//! Whole files: the scanner, and the values that it finds.

use crate::memory::bounded;
use crate::value::Room;
use torc_persistence::rdb::file::{Item, Scanner};

/// What a reader of a file sees, as text.
fn items(bytes: &[u8], piece_bytes: usize) -> Vec<String> {
    let mut scanner = Scanner::new(false);
    let mut seen = Vec::new();
    let mut pieces = bytes.chunks(piece_bytes.max(1)).peekable();
    loop {
        scanner.feed(pieces.next().unwrap_or_default());
        let is_all = pieces.peek().is_none();
        loop {
            match scanner.next(is_all) {
                Ok(Some(item)) => seen.push(format!("{item:?}")),
                Ok(None) => break,
                Err(malformed) => {
                    seen.push(format!("{malformed} at {}", scanner.position()));
                    return seen;
                }
            }
        }
        if scanner.is_over() || is_all {
            seen.push(format!("{} at {}", scanner.is_over(), scanner.position()));
            return seen;
        }
    }
}

/// Reads a file at once and in pieces, which comes to the same; decodes the values.
pub fn check(bytes: &[u8]) {
    let mut scanner = Scanner::new(true);
    let room = Room::default();
    // The scanner keeps what it is fed, and decodes nothing.
    bounded(bytes.len(), || scanner.feed(bytes));
    while let Ok(Some(item)) = bounded(bytes.len(), || scanner.next(true)) {
        if let Item::Entry(entry) = item {
            room.decode(entry.kind, entry.value);
        }
    }
    assert!(scanner.position() <= bytes.len() as u64);
    let pieces = [1, 3, 64, 1000][bytes.len() % 4];
    assert_eq!(items(bytes, bytes.len()), items(bytes, pieces.max(bytes.len() / 500)), "in pieces it is another file");
}
