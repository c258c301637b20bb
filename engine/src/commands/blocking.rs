//! Commands that wait where there is nothing to do: BLPOP, BLMOVE, BZPOPMIN and their like.
//!
//! ```text
//!   handler: does what it can ──> a reply                      as LPOP, LMOVE, ZPOPMIN would
//!            nothing to do    ──> an absent reply, and `Keyspace::found_nothing`
//!   whoever may wait takes that as: no reply, but a place in the line of each key that is waited for (`Wait`)
//!   a key is ready:  the command for this key alone (`Wait::for_key`), which finds something
//! ```
//!
//! So a command knows nothing of clients, and in MULTI, where nobody waits, the absent reply is the answer.

use super::double;
use super::errors::is;
use crate::command::{CommandError, Execution};
use crate::keyspace::Entry;
use crate::values::Type;

/// How long a command waits at most, from its argument in seconds: milliseconds, 0 for ever.
pub(crate) fn timeout_ms(text: &[u8]) -> Result<u64, CommandError> {
    let seconds = double::parse(text).ok_or(CommandError::from("ERR timeout is not a float or out of range"))?;
    let milliseconds = (seconds * 1000.0).ceil();
    if milliseconds >= i64::MAX as f64 {
        return Err("ERR timeout is out of range".into());
    }
    if milliseconds < 0.0 {
        return Err("ERR timeout is negative".into());
    }
    Ok(milliseconds as u64)
}

/// There is nothing to do, and no reply: who waits does not look at it.
pub(crate) fn nothing(execution: &mut Execution<'_>) {
    execution.keyspace.found_nothing = true;
}

/// How many elements a list or a sorted set has.
pub fn elements(entry: Entry<'_>) -> u64 {
    match entry.kind() {
        Type::List => super::list::list_of(entry).len(),
        Type::SortedSet => super::zset::sorted_set_of(entry).len(),
        _ => 0,
    }
}

/// What a command waits for whose arguments are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What a key must hold.
    pub kind: Type,
    /// For how long, in milliseconds; 0 for ever.
    pub timeout_ms: u64,
    /// Index of the first key that is waited for, and how many there are.
    pub keys: (usize, usize),
    /// Index of the key that what is taken goes to.
    pub destination: Option<usize>,
    /// How many elements a key must have.
    pub elements: u64,
    /// Index of the number of keys, where they are counted.
    count_at: Option<usize>,
}

impl Wait {
    /// Of a command that has found nothing.
    pub fn of(name: &str, arguments: &[&[u8]]) -> Option<Self> {
        let last = arguments.len().checked_sub(1)?;
        let (kind, timeout_at, keys, destination, count_at) = match name {
            "blpop" | "brpop" => (Type::List, last, (1, last - 1), None, None),
            "bzpopmin" | "bzpopmax" => (Type::SortedSet, last, (1, last - 1), None, None),
            "blmove" | "brpoplpush" => (Type::List, last, (1, 1), Some(2), None),
            "blmovem" => (Type::List, 5, (1, 1), Some(2), None),
            "blmpop" | "bzmpop" => {
                let count = crate::command::parse_integer(arguments.get(2)?)?;
                let kind = if name == "blmpop" { Type::List } else { Type::SortedSet };
                (kind, 1, (3, usize::try_from(count).ok()?), None, Some(2))
            }
            "xread" | "xreadgroup" => return Self::of_streams(arguments),
            _ => return None,
        };
        let timeout_ms = timeout_ms(arguments.get(timeout_at)?).ok()?;
        let elements = if name == "blmovem" { super::list::elements_needed(&arguments[6..])? } else { 1 };
        Some(Self { kind, timeout_ms, keys, destination, elements, count_at })
    }

    /// Of XREAD or XREADGROUP, if it has BLOCK.
    fn of_streams(arguments: &[&[u8]]) -> Option<Self> {
        let streams_at = arguments.iter().position(|word| is(word, "STREAMS"))?;
        let block_at = arguments[..streams_at].iter().position(|word| is(word, "BLOCK"))?;
        let timeout_ms = crate::command::parse_integer(arguments.get(block_at + 1)?)?;
        let count = (arguments.len() - streams_at - 1) / 2;
        Some(Self {
            kind: Type::Stream,
            timeout_ms: u64::try_from(timeout_ms).ok()?,
            keys: (streams_at + 1, count),
            destination: None,
            elements: 1,
            count_at: None,
        })
    }

    /// The group of XREADGROUP.
    pub fn group<'a>(&self, arguments: &[&'a [u8]]) -> Option<&'a [u8]> {
        let options = arguments.get(..self.keys.0)?;
        let group_at = options.iter().position(|word| is(word, "GROUP"))?;
        options.get(group_at + 1).copied()
    }

    /// The command that reads one of its streams alone, behind an ID.
    pub fn for_stream<'a>(&self, arguments: &[&'a [u8]], key: &'a [u8], id: &'a [u8]) -> Vec<&'a [u8]> {
        let mut words = arguments[..self.keys.0].to_vec();
        words.extend([key, id]);
        words
    }

    /// The command for one of its keys alone.
    pub fn for_key<'a>(&self, arguments: &[&'a [u8]], key: usize) -> Vec<&'a [u8]> {
        let (first, count) = self.keys;
        let mut words = arguments[..first].to_vec();
        if let Some(count_at) = self.count_at {
            words[count_at] = b"1";
        }
        words.push(arguments[key]);
        words.extend_from_slice(&arguments[first + count..]);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::Shard;
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn timeouts_as_the_real_server_reads_them() {
        for (text, timeout) in [
            ("0", Ok(0)),
            ("1", Ok(1000)),
            ("0.0001", Ok(1)),
            ("1.5", Ok(1500)),
            ("-1", Err("ERR timeout is negative")),
            ("-0.0001", Ok(0)),
            ("x", Err("ERR timeout is not a float or out of range")),
            ("", Err("ERR timeout is not a float or out of range")),
            ("nan", Err("ERR timeout is not a float or out of range")),
            ("9223372036854775807", Err("ERR timeout is out of range")),
        ] {
            assert_eq!(timeout_ms(text.as_bytes()), timeout.map_err(CommandError::from), "{text}");
        }
    }

    #[test]
    fn what_is_waited_for_and_the_command_for_one_key() {
        for (line, keys, timeout_ms, for_second) in [
            ("BLPOP a b c 1.5", (1, 3), 1500, "BLPOP b 1.5"),
            ("BZPOPMAX a b 0", (1, 2), 0, "BZPOPMAX b 0"),
            ("BLMPOP 2 3 a b c LEFT COUNT 5", (3, 3), 2000, "BLMPOP 2 1 b LEFT COUNT 5"),
            ("BZMPOP 0 2 a b MIN", (3, 2), 0, "BZMPOP 0 1 b MIN"),
            ("BLMOVE a b LEFT RIGHT 3", (1, 1), 3000, ""),
            ("BRPOPLPUSH a b 3", (1, 1), 3000, ""),
            ("BLMOVEM a b LEFT RIGHT 3", (1, 1), 3000, ""),
            ("BLMOVEM a b LEFT RIGHT 0 EXACTLY 7 OBO", (1, 1), 0, ""),
        ] {
            let arguments = words(line);
            let name = line.split(' ').next().expect("a name").to_lowercase();
            let wait = Wait::of(&name, &arguments).expect("it waits");
            assert_eq!((wait.keys, wait.timeout_ms), (keys, timeout_ms), "{line}");
            if for_second.is_empty() {
                assert_eq!(wait.for_key(&arguments, 1), arguments, "{line}");
            } else {
                assert_eq!(wait.for_key(&arguments, keys.0 + 1), words(for_second), "{line}");
            }
        }
        assert_eq!(Wait::of("lpop", &words("LPOP a")), None);
        for (line, elements) in [("", 1), (" COUNT 9 BULK", 1), (" EXACTLY 9 BULK", 9)] {
            let line = format!("BLMOVEM a b LEFT RIGHT 0{line}");
            assert_eq!(Wait::of("blmovem", &words(&line)).map(|wait| wait.elements), Some(elements), "{line}");
        }
    }

    #[test]
    fn who_need_not_wait_gets_what_there_is() {
        let shard = &mut Shard::default();
        shard.check("RPUSH l a b c d e", ":5\r\n");
        shard.check("ZADD z 1 a 2 b 3 c 4 d", ":4\r\n");
        for (line, reply) in [
            ("BLPOP none l 0", "*2\r\n$1\r\nl\r\n$1\r\na\r\n"),
            ("BRPOP l 0", "*2\r\n$1\r\nl\r\n$1\r\ne\r\n"),
            ("BLMOVE l m RIGHT LEFT 0", "$1\r\nd\r\n"),
            ("BRPOPLPUSH l m 0", "$1\r\nc\r\n"),
            ("BLMPOP 0 2 none m LEFT COUNT 9", "*2\r\n$1\r\nm\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n"),
            ("RPUSH m f g h", ":3\r\n"),
            ("BLMOVEM m n LEFT RIGHT 0 COUNT 2 BULK", "*2\r\n$1\r\nf\r\n$1\r\ng\r\n"),
            ("BLMOVEM m n LEFT RIGHT 0 EXACTLY 2 BULK", "*-1\r\n"),
            ("BLMOVEM m n LEFT LEFT 0", "*1\r\n$1\r\nh\r\n"),
            ("BLMOVEM m n LEFT LEFT 0", "*-1\r\n"),
            ("BLMOVEM m n LEFT LEFT x", "-ERR timeout is not a float or out of range\r\n"),
            ("BLMOVEM m n LEFT LEFT 0 COUNT 0 OBO", "-ERR count should be greater than 0\r\n"),
            ("BLMOVEM m n LEFT LEFT 0 COUNT 1", "-ERR syntax error\r\n"),
            ("BZPOPMIN none z 0", "*3\r\n$1\r\nz\r\n$1\r\na\r\n$1\r\n1\r\n"),
            ("BZPOPMAX z 0", "*3\r\n$1\r\nz\r\n$1\r\nd\r\n$1\r\n4\r\n"),
            ("BZMPOP 0 1 z MIN", "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
            ("BLPOP none z 0", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
            ("BLPOP none 0", "*-1\r\n"),
            ("BLMOVE none m LEFT LEFT 0", "$-1\r\n"),
            ("BZPOPMIN none 0", "*-1\r\n"),
            ("BZMPOP 0 1 none MIN", "*-1\r\n"),
        ] {
            shard.check(line, reply);
        }
    }
}
