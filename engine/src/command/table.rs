//! The command table: name to row in a few nanoseconds, whatever the case of its letters.
//!
//! ```text
//!   "GeT" ──> two words of 8 bytes, letters folded ──> multiply, take the top bits ──> slot, slot + 1, ... ──> row
//!             (first and last 8 bytes, may overlap)                                    (compare words and length)
//! ```
//!
//! Open addressing, at most a quarter full, filled once at the start and never changed. The two words hold every byte of
//! a name of up to 16; only for longer ones the name itself is compared too. Rows carry whatever the owner dispatches on,
//! so that the server adds its families to the engine's.

use super::{CommandError, Spec};

/// All commands that a process knows, by name.
pub struct Table<T> {
    rows: Vec<(&'static Spec, T)>,
    slots: Box<[Slot]>,
    /// Hashes are shifted right by this to give a slot.
    shift: u32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    words: (u64, u64),
    length: u32,
    /// Index of the row plus one; 0: empty.
    row: u32,
}

impl<T> Table<T> {
    /// A table of these rows. Two rows of one name are a mistake in the program and stop it.
    pub fn new(rows: impl IntoIterator<Item = (&'static Spec, T)>) -> Self {
        let rows: Vec<_> = rows.into_iter().collect();
        let slots_count = (rows.len() * 4).next_power_of_two().max(8);
        let mut table = Self {
            rows,
            slots: vec![Slot::default(); slots_count].into_boxed_slice(),
            shift: 64 - slots_count.trailing_zeros(),
        };
        for index in 0..table.rows.len() {
            let name = table.rows[index].0.name.as_bytes();
            assert!(table.find(name).is_none(), "two commands are named {}", name.escape_ascii());
            let words = fold(name);
            let mut slot = table.first_slot(words);
            while table.slots[slot].row != 0 {
                slot = (slot + 1) & (slots_count - 1);
            }
            table.slots[slot] = Slot { words, length: name.len() as u32, row: index as u32 + 1 };
        }
        table
    }

    /// The row of that name, case-insensitive.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<(&'static Spec, &T)> {
        let words = fold(name);
        let mut index = self.first_slot(words);
        loop {
            let slot = &self.slots[index];
            if slot.row == 0 {
                return None;
            }
            if slot.words == words && slot.length as usize == name.len() {
                let (spec, row) = &self.rows[slot.row as usize - 1];
                if name.len() <= 16 || spec.name.as_bytes().eq_ignore_ascii_case(name) {
                    return Some((spec, row));
                }
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
    }

    /// The row that runs these arguments, and the spec that holds for them: the subcommand's where there is one. Checks
    /// name and arity. `arguments` is not empty.
    #[inline]
    pub fn resolve(&self, arguments: &[&[u8]]) -> Result<(&'static Spec, &T), CommandError> {
        let Some((spec, row)) = self.find(arguments[0]) else { return Err(unknown_command(arguments)) };
        if spec.subcommands.is_empty() || arguments.len() == 1 {
            if !spec.arity.accepts(arguments.len()) {
                return Err(wrong_arity(spec.name, None));
            }
            return Ok((spec, row));
        }
        let Some(subcommand) = spec.subcommand(arguments[1]) else {
            return Err(unknown_subcommand(spec, arguments[1]));
        };
        if !subcommand.arity.accepts(arguments.len()) {
            return Err(wrong_arity(spec.name, Some(subcommand.name)));
        }
        Ok((subcommand, row))
    }

    /// All rows, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Spec, &T)> {
        self.rows.iter().map(|(spec, row)| (*spec, row))
    }

    /// Number of commands, subcommands not counted.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    #[inline]
    fn first_slot(&self, (first, last): (u64, u64)) -> usize {
        let mixed = (first ^ last.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> self.shift) as usize
    }
}

/// First and last eight bytes of a name, upper case made lower.
#[inline]
fn fold(name: &[u8]) -> (u64, u64) {
    let eight = |at: usize| u64::from_le_bytes(name[at..at + 8].try_into().expect("eight bytes"));
    let four = |at: usize| u64::from(u32::from_le_bytes(name[at..at + 4].try_into().expect("four bytes")));
    match name.len() {
        8.. => (lower(eight(0)), lower(eight(name.len() - 8))),
        length @ 4.. => (lower(four(0) | four(length - 4) << 32), 0),
        // First, middle and last hold all bytes of up to three.
        length @ 1.. => {
            let byte = |at: usize, shift: u32| u64::from(name[at]) << shift;
            (lower(byte(0, 0) | byte(length / 2, 8) | byte(length - 1, 16)), 0)
        }
        0 => (0, 0),
    }
}

/// Makes the ASCII capitals among eight bytes small.
#[inline]
fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low_bits = word & (0x7f * ONES);
    let from_a = low_bits + (0x80 - b'A' as u64) * ONES;
    let past_z = low_bits + (0x80 - b'Z' as u64 - 1) * ONES;
    let capitals = (from_a ^ past_z) & !word & (0x80 * ONES);
    word | capitals >> 2
}

/// How much of a client's words an error repeats, in bytes.
const ECHOED_BYTES_MAX: usize = 128;

/// A client's word as an error repeats it: cut to the room there is, and at a NUL as in the real server.
fn echoed(word: &[u8], room: usize) -> &[u8] {
    let text = word.split(|byte| *byte == 0).next().unwrap_or_default();
    &text[..text.len().min(room)]
}

/// The error for a name that no command has.
#[cold]
pub fn unknown_command(arguments: &[&[u8]]) -> CommandError {
    let mut words = Vec::new();
    for argument in &arguments[1..] {
        if words.len() >= ECHOED_BYTES_MAX {
            break;
        }
        let word = echoed(argument, ECHOED_BYTES_MAX - words.len());
        words.extend_from_slice(&[b"'", word, b"' "].concat());
    }
    let name = echoed(arguments[0], ECHOED_BYTES_MAX);
    [b"ERR unknown command '", name, b"', with args beginning with: ", &words].concat().into()
}

/// The error for a subcommand that its container does not have.
#[cold]
pub fn unknown_subcommand(container: &Spec, name: &[u8]) -> CommandError {
    let container = container.name.to_ascii_uppercase();
    CommandError::echo("ERR unknown subcommand '", echoed(name, ECHOED_BYTES_MAX), &format!("'. Try {container} HELP."))
}

/// The error for a count of arguments that does not fit; `subcommand` where the arity is a subcommand's.
#[cold]
pub fn wrong_arity(name: &str, subcommand: Option<&str>) -> CommandError {
    let (separator, subcommand) = subcommand.map_or(("", ""), |subcommand| ("|", subcommand));
    format!("ERR wrong number of arguments for '{name}{separator}{subcommand}' command").into()
}

#[cfg(test)]
mod tests {
    use super::super::{Arity, Spec};
    use super::*;

    fn spec(name: &'static str) -> &'static Spec {
        Box::leak(Box::new(Spec { name, arity: Arity::Exact(2), ..Spec::BASE }))
    }

    #[test]
    fn names_of_every_length_are_found_in_any_case() {
        let text: &'static str = "abcdefghijklmnopqrstuvwxyz|-_09abcdefghi";
        let table = Table::new((1..=text.len()).map(|length| (spec(&text[..length]), length)));
        assert_eq!(table.len(), text.len());
        for length in 1..=text.len() {
            let name = &text.as_bytes()[..length];
            assert_eq!(table.find(name).map(|(_, row)| *row), Some(length));
            assert_eq!(table.find(&name.to_ascii_uppercase()).map(|(_, row)| *row), Some(length));
            for index in 0..length {
                let mut other = name.to_vec();
                other[index] ^= 0x80;
                assert!(table.find(&other).is_none());
            }
        }
        assert!(table.find(b"").is_none());
        assert!(table.find(&[b'a'; 100]).is_none());
    }

    #[test]
    fn only_letters_are_folded() {
        for byte in 0..=255u8 {
            let word = u64::from_le_bytes([byte; 8]);
            assert_eq!(lower(word), u64::from_le_bytes([byte.to_ascii_lowercase(); 8]), "{byte}");
        }
        let table = Table::new([(spec("get@[`{"), ())]);
        assert!(table.find(b"GET@[`{").is_some());
        assert!(table.find(b"GET`[`{").is_none());
    }

    #[test]
    fn long_names_that_differ_in_the_middle_are_told_apart() {
        let table = Table::new([(spec("abcdefgh1ijklmnop"), 1), (spec("abcdefgh2ijklmnop"), 2)]);
        assert_eq!(table.find(b"ABCDEFGH2ijklmnop").map(|(_, row)| *row), Some(2));
        assert!(table.find(b"abcdefgh3ijklmnop").is_none());
    }

    #[test]
    fn errors_read_as_in_the_real_server() {
        let container: &'static Spec = Box::leak(Box::new(Spec {
            name: "object",
            arity: Arity::AtLeast(2),
            subcommands: Box::leak(Box::new([spec("freq")])),
            ..Spec::BASE
        }));
        let table = Table::new([(container, ()), (spec("get"), ())]);
        let (long_a, long_b) = ("a".repeat(110), "b".repeat(100));
        for (line, text) in [
            ("foo", "ERR unknown command 'foo', with args beginning with: "),
            ("foo a b", "ERR unknown command 'foo', with args beginning with: 'a' 'b' "),
            (
                &format!("foo {long_a} {long_b} c"),
                &format!("ERR unknown command 'foo', with args beginning with: '{long_a}' '{}' ", "b".repeat(15)),
            ),
            ("GET", "ERR wrong number of arguments for 'get' command"),
            ("OBJECT", "ERR wrong number of arguments for 'object' command"),
            ("OBJECT Foo", "ERR unknown subcommand 'Foo'. Try OBJECT HELP."),
            ("OBJECT FREQ a", "ERR wrong number of arguments for 'object|freq' command"),
        ] {
            let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            assert_eq!(table.resolve(&arguments).map(|_| ()), Err(text.to_string().into()), "{line}");
        }
        assert_eq!(table.resolve(&[b"object", b"FREQ"]).expect("known").0.name, "freq");
    }
}
