//! Effects as bytes: commands one behind the other as clients send them, ready for a log and for replicas.
//!
//! ```text
//!   bytes   *3 $3 SET $1 a $1 1 | *2 $3 DEL $1 b | *1 $8 FLUSHALL |
//!   marks                  (33, 0)           (53, 3)         (72, 0)     where each ends, and its database
//! ```
//!
//! One buffer, no allocation for an argument: what is told costs a command little more than a copy of its bytes.

/// A command that makes a change again, in words: for those who look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The database it is for.
    pub database: usize,
    /// The command with its arguments.
    pub arguments: Vec<Vec<u8>>,
}

/// Where an effect ends, and which database it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    end: usize,
    database: usize,
}

/// Commands that make changes again, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Effects {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

/// Appends a command as clients send it.
pub fn write_command(out: &mut Vec<u8>, arguments: &[impl AsRef<[u8]>]) {
    let length: usize = arguments.iter().map(|argument| argument.as_ref().len() + 32).sum();
    out.reserve(length + 32);
    write_head(out, b'*', arguments.len());
    for argument in arguments {
        let argument = argument.as_ref();
        write_head(out, b'$', argument.len());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

#[inline]
fn write_head(out: &mut Vec<u8>, kind: u8, number: usize) {
    if number < 10 {
        out.extend_from_slice(&[kind, b'0' + number as u8, b'\r', b'\n']);
    } else {
        out.push(kind);
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

impl Effects {
    /// How many.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// All of them, as bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// One more.
    pub fn push(&mut self, database: usize, arguments: &[impl AsRef<[u8]>]) {
        write_command(&mut self.bytes, arguments);
        self.end(database);
    }

    /// One more that is written already.
    pub fn push_written(&mut self, database: usize, command: &[u8]) {
        self.bytes.extend_from_slice(command);
        self.end(database);
    }

    fn end(&mut self, database: usize) {
        self.marks.push(Mark { end: self.bytes.len(), database });
    }

    /// Those of another behind them.
    pub fn append(&mut self, other: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.marks.extend(other.marks.iter().map(|mark| Mark { end: mark.end + start, ..*mark }));
    }

    /// All but the first so many.
    pub fn split_off(&mut self, count: usize) -> Self {
        if count == 0 {
            return std::mem::take(self);
        }
        if count >= self.marks.len() {
            return Self::default();
        }
        let start = self.marks[count - 1].end;
        let bytes = self.bytes.split_off(start);
        let marks = self.marks[count..].iter().map(|mark| Mark { end: mark.end - start, ..*mark }).collect();
        self.marks.truncate(count);
        Self { bytes, marks }
    }

    /// Databases and commands.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut start = 0;
        self.marks.iter().map(move |mark| {
            let command = &self.bytes[start..mark.end];
            start = mark.end;
            (mark.database, command)
        })
    }

    /// The same in longest runs of one database.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut start = 0;
        self.marks.chunk_by(|one, next| one.database == next.database).map(move |run| {
            let end = run.last().map_or(start, |mark| mark.end);
            let commands = &self.bytes[start..end];
            start = end;
            (run[0].database, commands)
        })
    }

    /// In words.
    pub fn to_words(&self) -> Vec<Effect> {
        let effects = self.iter().map(|(database, command)| Effect { database, arguments: words_of(command) });
        effects.collect()
    }
}

impl std::fmt::Debug for Effects {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.iter().map(|(database, command)| (database, command.escape_ascii().to_string()));
        formatter.debug_list().entries(shown).finish()
    }
}

/// The words of a command that [`write_command`] wrote.
fn words_of(command: &[u8]) -> Vec<Vec<u8>> {
    fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let end = rest.iter().position(|&byte| byte == b'\r')?;
        let line = rest.get(1..end)?;
        *rest = rest.get(end + 2..)?;
        Some(line)
    }
    let mut rest = command;
    let mut words = Vec::new();
    line(&mut rest);
    while let Some(length) = line(&mut rest) {
        let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let Some(word) = rest.get(..length) else { break };
        words.push(word.to_vec());
        rest = rest.get(length + 2..).unwrap_or_default();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn effects_are_kept_word_for_word(
            commands in prop::collection::vec((0usize..3, prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..12)), 0..12),
            split in 0usize..14,
        ) {
            let mut effects = Effects::default();
            commands.iter().for_each(|(database, words)| effects.push(*database, words));
            let expected: Vec<_> = commands.iter().map(|(database, arguments)| Effect { database: *database, arguments: arguments.clone() }).collect();
            prop_assert_eq!(effects.to_words(), expected.clone());
            prop_assert_eq!(effects.runs().map(|(_, bytes)| bytes).collect::<Vec<_>>().concat(), effects.bytes().to_vec());
            let mut first = effects.clone();
            let mut second = first.split_off(split);
            let split = split.min(commands.len());
            prop_assert_eq!(first.to_words(), expected[..split].to_vec());
            prop_assert_eq!(second.to_words(), expected[split..].to_vec());
            first.append(&second);
            prop_assert_eq!(&first, &effects);
            let all = second.split_off(0);
            prop_assert!(second.is_empty());
            prop_assert_eq!(all.len(), commands.len() - split);
        }
    }
}
