//! What a directive is: a row with a name, a grammar, a default, and the place in [`Config`] where its value lives.
//!
//! ```text
//!   words ──parse──> typed value ──in range?──> Home::Field: a field of Config, and the code that acts on it
//!                                          └──> Home::Kept:  text that CONFIG GET shows, without further effect
//! ```
//! Nothing is stored before it is parsed and checked, so a field never holds a value outside of its row's grammar. The
//! texts of errors are those that clients of the real server know.

use super::{Config, Host};
use std::borrow::Cow;
use torc_engine::command::parse_integer;

/// Why a value was refused.
pub(super) type Reason = Cow<'static, str>;

/// When a directive may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// At start and by CONFIG SET.
    Live,
    /// At start only.
    AtStart,
    /// By CONFIG SET only where `enable-protected-configs` lets the client.
    Protected,
}

/// Whether a directive does something yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Code looks at it.
    Felt,
    /// Accepted so that configuration files load; a line at start says so where it is set.
    None,
}

/// Where the value of a simple directive lives.
pub(super) enum Home<T> {
    /// A field of [`Config`].
    Field { get: fn(&Config) -> T, set: fn(&mut Config, T) },
    /// In [`Config::kept`] as text, for directives that nothing reads.
    Kept,
}

/// How an integer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// Decimal.
    Plain,
    /// Decimal bytes with an optional unit: `k` is 1000, `kb` is 1024, and so on.
    Memory,
    /// Memory, or a percentage, which is held as a negative number.
    MemoryOrPercent,
    /// File modes.
    Octal,
}

/// Parses the words of a special directive and stores their value, or changes nothing.
pub(super) type SetSpecial = fn(&mut Config, &[Vec<u8>], &mut Context<'_>) -> Result<(), Reason>;

/// The grammar of a value with its default.
pub(super) enum Kind {
    /// `yes` or `no`.
    Flag { default: bool, home: Home<bool> },
    /// A number in a range.
    Integer { notation: Notation, min: i128, max: i128, default: i128, home: Home<i128> },
    /// One of a list of names; the value is the index.
    Choice { names: &'static [&'static str], default: usize, home: Home<usize> },
    /// Any bytes that pass the check.
    Text { default: &'static str, check: fn(&[u8]) -> Result<(), Reason>, home: Home<Vec<u8>> },
    /// A grammar of its own.
    Special { words: Words, default: &'static str, set: SetSpecial, get: fn(&Config) -> Vec<u8> },
}

/// How many words a special directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// One.
    One,
    /// Any number; its parser counts. One word that holds spaces is split again.
    Many,
}

/// What a parser may need besides the words.
pub(super) struct Context<'a> {
    /// Directories and files.
    pub(super) host: &'a mut dyn Host,
    /// Whether this is the first `save` of the start: it replaces the default, later ones add.
    pub(super) first_save: bool,
    /// Whether values come from CONFIG SET and not from a file or the command line.
    pub(super) at_run_time: bool,
}

/// One row of the table.
pub struct Directive {
    /// Its name today.
    pub name: &'static str,
    /// The name it had before.
    pub alias: Option<&'static str>,
    /// When it may change.
    pub mutability: Mutability,
    /// Shown by CONFIG GET only when asked for by its exact name.
    pub hidden: bool,
    /// The value is a secret that logs and MONITOR must not show.
    pub secret: bool,
    pub(super) effect: Effect,
    pub(super) kind: Kind,
}

impl Directive {
    const fn new(name: &'static str, effect: Effect, kind: Kind) -> Self {
        Self { name, alias: None, mutability: Mutability::Live, hidden: false, secret: false, effect, kind }
    }

    /// Adds the old name.
    pub(super) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// Only at start.
    pub(super) const fn at_start(mut self) -> Self {
        self.mutability = Mutability::AtStart;
        self
    }

    /// Needs `enable-protected-configs`.
    pub(super) const fn protected(mut self) -> Self {
        self.mutability = Mutability::Protected;
        self
    }

    /// Not matched by patterns.
    pub(super) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Must not be logged.
    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Has a typed field that nothing acts on yet.
    pub(super) const fn no_effect(mut self) -> Self {
        self.effect = Effect::None;
        self
    }

    /// Whether several words are one value.
    pub(super) fn takes_many_words(&self) -> bool {
        matches!(self.kind, Kind::Special { words: Words::Many, .. })
    }

    /// Parses the words and stores the value, or changes nothing.
    pub(super) fn set(&self, config: &mut Config, words: &[Vec<u8>], context: &mut Context<'_>) -> Result<(), Reason> {
        if let Kind::Special { set, words: Words::Many, .. } = &self.kind {
            return set(config, words, context);
        }
        let [word] = words else {
            return Err("wrong number of arguments".into());
        };
        match &self.kind {
            Kind::Flag { home, .. } => home.put(self, config, parse_flag(word)?),
            Kind::Integer { notation, min, max, home, .. } => {
                home.put(self, config, parse_number(*notation, *min, *max, word)?);
            }
            Kind::Choice { names, home, .. } => home.put(self, config, parse_choice(names, word)?),
            Kind::Text { check, home, .. } => {
                check(word)?;
                home.put(self, config, word.clone());
            }
            Kind::Special { set, .. } => set(config, words, context)?,
        }
        Ok(())
    }

    /// Stores the default, which is in the table's hands and needs no check.
    pub(super) fn set_default(&self, config: &mut Config, context: &mut Context<'_>) {
        match &self.kind {
            Kind::Flag { default, home } => home.put(self, config, *default),
            Kind::Integer { default, home, .. } => home.put(self, config, *default),
            Kind::Choice { default, home, .. } => home.put(self, config, *default),
            Kind::Text { default, home, .. } => home.put(self, config, default.as_bytes().to_vec()),
            Kind::Special { default, set, .. } => {
                let words: Vec<Vec<u8>> = default.split(' ').map(|word| word.as_bytes().to_vec()).collect();
                let outcome = set(config, &words, context);
                debug_assert!(outcome.is_ok(), "the default of {} is refused: {outcome:?}", self.name);
            }
        }
    }

    /// The value as CONFIG GET shows it.
    pub(super) fn get(&self, config: &Config) -> Vec<u8> {
        match &self.kind {
            Kind::Flag { home: Home::Field { get, .. }, .. } => get(config).as_text(self),
            Kind::Integer { home: Home::Field { get, .. }, .. } => get(config).as_text(self),
            Kind::Choice { home: Home::Field { get, .. }, .. } => get(config).as_text(self),
            Kind::Text { home: Home::Field { get, .. }, .. } => get(config),
            Kind::Special { get, .. } => get(config),
            _ => config.kept.get(self.name).cloned().unwrap_or_default(),
        }
    }
}

/// A value that can be shown under the grammar of its row.
pub(super) trait AsText {
    fn as_text(&self, directive: &Directive) -> Vec<u8>;
}

impl AsText for bool {
    fn as_text(&self, _: &Directive) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }
}

impl AsText for i128 {
    fn as_text(&self, directive: &Directive) -> Vec<u8> {
        let text = match &directive.kind {
            Kind::Integer { notation: Notation::Octal, .. } => format!("{self:o}"),
            Kind::Integer { notation: Notation::MemoryOrPercent, .. } if *self < 0 => format!("{}%", -self),
            _ => self.to_string(),
        };
        text.into_bytes()
    }
}

impl AsText for usize {
    fn as_text(&self, directive: &Directive) -> Vec<u8> {
        match &directive.kind {
            Kind::Choice { names, .. } => names[*self].as_bytes().to_vec(),
            _ => self.to_string().into_bytes(),
        }
    }
}

impl AsText for Vec<u8> {
    fn as_text(&self, _: &Directive) -> Vec<u8> {
        self.clone()
    }
}

impl<T: AsText> Home<T> {
    fn put(&self, directive: &Directive, config: &mut Config, value: T) {
        match self {
            Self::Field { set, .. } => set(config, value),
            Self::Kept => {
                config.kept.insert(directive.name, value.as_text(directive));
            }
        }
    }
}

fn parse_flag(word: &[u8]) -> Result<bool, Reason> {
    if word.eq_ignore_ascii_case(b"yes") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"no") {
        Ok(false)
    } else {
        Err("argument must be 'yes' or 'no'".into())
    }
}

fn parse_choice(names: &[&str], word: &[u8]) -> Result<usize, Reason> {
    let found = names.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(word));
    found.ok_or_else(|| one_of(names))
}

/// The refusal that lists the names.
pub(super) fn one_of(names: &[&str]) -> Reason {
    format!("argument(s) must be one of the following: {}", names.join(", ")).into()
}

fn parse_number(notation: Notation, min: i128, max: i128, word: &[u8]) -> Result<i128, Reason> {
    let value = match notation {
        Notation::Plain => {
            let parsed = parse_integer(word).map(i128::from);
            parsed.ok_or("argument couldn't be parsed into an integer")?
        }
        Notation::Memory => i128::from(parse_memory(word).ok_or("argument must be a memory value")?),
        Notation::MemoryOrPercent => return parse_memory_or_percent(min, max, word),
        Notation::Octal => parse_octal(word).ok_or("argument couldn't be parsed as an octal number")?,
    };
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(match notation {
        Notation::Octal => format!("argument must be between {min:o} and {max:o} inclusive"),
        _ => format!("argument must be between {min} and {max} inclusive"),
    }
    .into())
}

fn parse_memory_or_percent(min: i128, max: i128, word: &[u8]) -> Result<i128, Reason> {
    if let [number @ .., b'%'] = word
        && let Some(percent) = parse_integer(number).map(i128::from)
        && percent >= 0
    {
        if -percent < min {
            return Err(format!("percentage argument must be less or equal to {}", -min).into());
        }
        return Ok(-percent);
    }
    let bytes = i128::from(parse_memory(word).ok_or("argument must be a memory or percent value")?);
    if bytes > max { Err(format!("argument must be between {min} and {max} inclusive").into()) } else { Ok(bytes) }
}

/// Bytes with an optional unit; sums past 64 bits are cut to the largest number, as the sum of no machine's memory.
pub(super) fn parse_memory(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unit: u64 = match word[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1_000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let count = word[..digits]
        .iter()
        .fold(0_u64, |count, byte| count.saturating_mul(10).saturating_add(u64::from(byte - b'0')));
    Some(count.saturating_mul(unit))
}

fn parse_octal(word: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(word).ok()?;
    i64::from_str_radix(text, 8).ok().map(i128::from)
}

/// A row for a yes/no directive.
pub(super) const fn flag(name: &'static str, default: bool, home: Home<bool>) -> Directive {
    let effect = effect_of(&home);
    Directive::new(name, effect, Kind::Flag { default, home })
}

/// A row for a decimal number.
pub(super) const fn integer(name: &'static str, min: i128, max: i128, default: i128, home: Home<i128>) -> Directive {
    number(name, Notation::Plain, min, max, default, home)
}

/// A row for a number of bytes.
pub(super) const fn memory(name: &'static str, min: i128, max: i128, default: i128, home: Home<i128>) -> Directive {
    number(name, Notation::Memory, min, max, default, home)
}

/// A row for a number in another notation.
pub(super) const fn number(
    name: &'static str,
    notation: Notation,
    min: i128,
    max: i128,
    default: i128,
    home: Home<i128>,
) -> Directive {
    let effect = effect_of(&home);
    Directive::new(name, effect, Kind::Integer { notation, min, max, default, home })
}

/// A row for one of a list of names; the default is a position in it.
pub(super) const fn choice(
    name: &'static str,
    names: &'static [&'static str],
    default: usize,
    home: Home<usize>,
) -> Directive {
    let effect = effect_of(&home);
    Directive::new(name, effect, Kind::Choice { names, default, home })
}

/// A row for free text.
pub(super) const fn text(name: &'static str, default: &'static str, home: Home<Vec<u8>>) -> Directive {
    checked_text(name, default, |_| Ok(()), home)
}

/// A row for text under a rule.
pub(super) const fn checked_text(
    name: &'static str,
    default: &'static str,
    check: fn(&[u8]) -> Result<(), Reason>,
    home: Home<Vec<u8>>,
) -> Directive {
    let effect = effect_of(&home);
    Directive::new(name, effect, Kind::Text { default, check, home })
}

/// A row with a grammar of its own.
pub(super) const fn special(
    name: &'static str,
    words: Words,
    default: &'static str,
    set: SetSpecial,
    get: fn(&Config) -> Vec<u8>,
) -> Directive {
    Directive::new(name, Effect::Felt, Kind::Special { words, default, set, get })
}

const fn effect_of<T>(home: &Home<T>) -> Effect {
    match home {
        Home::Field { .. } => Effect::Felt,
        Home::Kept => Effect::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units() {
        let cases: [(&str, Option<u64>); 12] = [
            ("0", Some(0)),
            ("1k", Some(1000)),
            ("1Kb", Some(1024)),
            ("2m", Some(2_000_000)),
            ("2mb", Some(2 << 20)),
            ("3g", Some(3_000_000_000)),
            ("3GB", Some(3 << 30)),
            ("b", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("10x", None),
            ("1 k", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_memory(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn percentages_are_negative_numbers() {
        let parse = |text: &str| parse_number(Notation::MemoryOrPercent, -100, i128::from(i64::MAX), text.as_bytes());
        assert_eq!(parse("5%"), Ok(-5));
        assert_eq!(parse("1kb"), Ok(1024));
        assert_eq!(parse("101%"), Err("percentage argument must be less or equal to 100".into()));
        assert_eq!(parse("-5%"), Err("argument must be a memory or percent value".into()));
    }
}
