//! The language of rules: what follows a user's name in ACL SETUSER, in `user` lines and in files.
//!
//! ```text
//!   on  off  nopass  resetpass  >password  <password  #hash  !hash  reset  sanitize-payload  skip-sanitize-payload
//!   ( grant grant ... )  clearselectors                         a selector, in one word or in several
//!   grants:  +command  -command  +command|sub  -command|sub  +command|first-argument  +@category  -@category
//!            allcommands  nocommands  ~keys  %R~keys  %W~keys  %RW~keys  allkeys  resetkeys
//!            &channels  allchannels  resetchannels  db=0,1  alldbs  resetdbs
//! ```
//! Words that are parsed change nothing. What depends on the command table or on rules before (a pattern behind `allkeys`) is
//! found where they are applied.

use super::password::PasswordHash;
use std::borrow::Cow;
use std::collections::BTreeSet;
use torc_engine::command::{Categories, parse_integer};

/// One rule of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `on`, `off`.
    Enabled(bool),
    /// `sanitize-payload`, `skip-sanitize-payload`.
    SanitizesPayloads(bool),
    /// `nopass`: any password does.
    NoPassword,
    /// `resetpass`.
    ResetPasswords,
    /// `>password`, `#hash`.
    AddPassword(PasswordHash),
    /// `<password`, `!hash`.
    RemovePassword(PasswordHash),
    /// `(...)`.
    Selector(Vec<Grant>),
    /// `clearselectors`.
    ClearSelectors,
    /// `reset`.
    Reset,
    /// About the permissions outside of all selectors.
    Grant(Grant),
    /// The empty word.
    Nothing,
}

/// One rule of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// `allkeys`, `~*`.
    AllKeys,
    /// `resetkeys`.
    ResetKeys,
    /// `~pattern`, `%R~pattern` ...
    Keys(KeyPattern),
    /// `allchannels`, `&*`.
    AllChannels,
    /// `resetchannels`.
    ResetChannels,
    /// `&pattern`.
    Channel(Box<[u8]>),
    /// `allcommands`, `+@all`.
    AllCommands,
    /// `nocommands`, `-@all`.
    NoCommands,
    /// `+command|argument`; the argument is that of a subcommand, or the first one of a command without such.
    AllowCommand {
        /// The command, or `container|subcommand`, which has no first arguments.
        name: Box<[u8]>,
        /// What follows the last bar.
        argument: Option<Box<[u8]>>,
    },
    /// `-command`, `-container|subcommand`.
    DenyCommand(Box<[u8]>),
    /// `+@category`, `-@category`.
    Category(bool, Categories),
    /// `alldbs`.
    AllDatabases,
    /// `resetdbs`.
    ResetDatabases,
    /// `db=1,2`: these, beside those that were allowed by number before.
    Databases(BTreeSet<u32>),
}

/// Keys that a pattern fits, and what may be done with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    /// Their values may be read.
    pub reads: bool,
    /// They may be changed.
    pub writes: bool,
    /// As of KEYS.
    pub pattern: Box<[u8]>,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// No such command, subcommand or category.
    Unknown,
    /// It is no rule, or has spaces where none may be.
    Syntax,
    /// A pattern of keys where all keys are allowed.
    KeysAfterAll,
    /// The same of channels.
    ChannelsAfterAll,
    /// To be removed, and not there.
    NoSuchPassword,
    /// No 64 digits.
    BadHash,
    /// `+config|get|maxmemory`.
    ArgumentOfSubcommand,
    /// No server has a database of that number.
    DatabaseOutOfRange,
    /// Two lines about one user.
    DuplicateUser,
}

impl RuleError {
    /// As clients are told.
    pub fn text(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown command or category name in ACL",
            Self::Syntax => "Syntax error",
            Self::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
                 Try 'resetkeys' to start with an empty list of patterns"
            }
            Self::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Self::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Self::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Self::ArgumentOfSubcommand => "Allowing first-arg of a subcommand is not supported",
            Self::DatabaseOutOfRange => "The provided database ID is out of range",
            Self::DuplicateUser => "Duplicate user found. A user can only be defined once in config files",
        }
    }
}

/// Whether a name, or a pattern, would not come out of a line of rules as it went in.
pub(super) fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b' ' | b'\t'..=b'\r' | 0))
}

impl Rule {
    /// One word; a selector whole.
    pub fn parse(word: &[u8]) -> Result<Self, RuleError> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        Ok(match word {
            [] => Self::Nothing,
            _ if is("on") => Self::Enabled(true),
            _ if is("off") => Self::Enabled(false),
            _ if is("sanitize-payload") => Self::SanitizesPayloads(true),
            _ if is("skip-sanitize-payload") => Self::SanitizesPayloads(false),
            _ if is("nopass") => Self::NoPassword,
            _ if is("resetpass") => Self::ResetPasswords,
            _ if is("clearselectors") => Self::ClearSelectors,
            _ if is("reset") => Self::Reset,
            [b'>', password @ ..] => Self::AddPassword(PasswordHash::of(password)),
            [b'<', password @ ..] => Self::RemovePassword(PasswordHash::of(password)),
            [b'#', digits @ ..] => Self::AddPassword(PasswordHash::parse(digits).ok_or(RuleError::BadHash)?),
            [b'!', digits @ ..] => Self::RemovePassword(PasswordHash::parse(digits).ok_or(RuleError::BadHash)?),
            [b'(', inside @ .., b')'] => {
                let words = inside.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                // Else one could not be told from its end in a line.
                let grant =
                    |word: &[u8]| if word.ends_with(b")") { Err(RuleError::Syntax) } else { Grant::parse(word) };
                Self::Selector(words.map(grant).collect::<Result<_, _>>()?)
            }
            _ => Self::Grant(Grant::parse(word)?),
        })
    }
}

impl Grant {
    fn parse(word: &[u8]) -> Result<Self, RuleError> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        Ok(match word {
            _ if is("allkeys") || is("~*") => Self::AllKeys,
            _ if is("resetkeys") => Self::ResetKeys,
            _ if is("allchannels") || is("&*") => Self::AllChannels,
            _ if is("resetchannels") => Self::ResetChannels,
            _ if is("allcommands") || is("+@all") => Self::AllCommands,
            _ if is("nocommands") || is("-@all") => Self::NoCommands,
            _ if is("alldbs") => Self::AllDatabases,
            _ if is("resetdbs") => Self::ResetDatabases,
            [b'~', pattern @ ..] => Self::keys(true, true, pattern)?,
            [b'%', rest @ ..] => {
                let tilde = rest.iter().position(|byte| *byte == b'~').ok_or(RuleError::Syntax)?;
                let (reads, writes) = match rest[..tilde].to_ascii_uppercase().as_slice() {
                    b"R" => (true, false),
                    b"W" => (false, true),
                    b"RW" | b"WR" => (true, true),
                    _ => return Err(RuleError::Syntax),
                };
                Self::keys(reads, writes, &rest[tilde + 1..])?
            }
            [b'&', pattern @ ..] if !has_spaces(pattern) => Self::Channel(pattern.into()),
            [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                let name = std::str::from_utf8(name).map_err(|_| RuleError::Unknown)?;
                Self::Category(*sign == b'+', Categories::from_name(name).ok_or(RuleError::Unknown)?)
            }
            [b'+', name @ ..] => {
                let (name, argument) = match name.iter().rposition(|byte| *byte == b'|') {
                    Some(bar) => (&name[..bar], Some(&name[bar + 1..])),
                    None => (name, None),
                };
                Self::AllowCommand { name: name.into(), argument: argument.map(Box::from) }
            }
            [b'-', name @ ..] => Self::DenyCommand(name.into()),
            [b'd' | b'D', b'b' | b'B', b'=', numbers @ ..] => Self::databases(numbers)?,
            _ => return Err(RuleError::Syntax),
        })
    }

    fn keys(reads: bool, writes: bool, pattern: &[u8]) -> Result<Self, RuleError> {
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        Ok(Self::Keys(KeyPattern { reads, writes, pattern: pattern.into() }))
    }

    fn databases(numbers: &[u8]) -> Result<Self, RuleError> {
        let number = |text: &[u8]| {
            let number = parse_integer(text).ok_or(RuleError::Syntax)?;
            let in_range = u32::try_from(number).ok().filter(|number| i32::try_from(*number).is_ok());
            in_range.ok_or(RuleError::DatabaseOutOfRange)
        };
        Ok(Self::Databases(numbers.split(|byte| *byte == b',').map(number).collect::<Result<_, _>>()?))
    }
}

/// Why words are no rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WordsError {
    /// A selector begins with this word, and does not end.
    Unmatched(Vec<u8>),
    /// This word, or selector, is wrong.
    Wrong(Vec<u8>, RuleError),
}

/// A rule, with the word that it was.
pub(super) type Worded<'a> = (Cow<'a, [u8]>, Rule);

/// Words as rules, each with its word: what stands in parentheses may be several words, and is one rule.
pub fn parse_all<'a>(words: &[&'a [u8]]) -> Result<Vec<Worded<'a>>, WordsError> {
    merge_selectors(words)
        .map_err(WordsError::Unmatched)?
        .into_iter()
        .map(|word| match Rule::parse(&word) {
            Ok(rule) => Ok((word, rule)),
            Err(error) => Err(WordsError::Wrong(word.into_owned(), error)),
        })
        .collect()
}

/// Joins the words of selectors; the word that begins one that does not end, if there is such.
pub(super) fn merge_selectors<'a>(words: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, Vec<u8>> {
    let mut merged: Vec<Cow<'a, [u8]>> = Vec::with_capacity(words.len());
    // The first word of a selector that has not ended, and all of it.
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        if let Some((_, selector)) = &mut open {
            selector.push(b' ');
            selector.extend_from_slice(word);
        } else if word.starts_with(b"(") && !word.ends_with(b")") {
            open = Some((word, word.to_vec()));
        } else {
            merged.push(Cow::Borrowed(word));
        }
        if word.ends_with(b")")
            && let Some((_, selector)) = open.take()
        {
            merged.push(Cow::Owned(selector));
        }
    }
    match open {
        None => Ok(merged),
        Some((word, _)) => Err(word.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_no_rules() {
        for (word, error) in [
            ("nope", RuleError::Syntax),
            ("~a b", RuleError::Syntax),
            ("&a\tb", RuleError::Syntax),
            ("%X~a", RuleError::Syntax),
            ("%~a", RuleError::Syntax),
            ("%RR~a", RuleError::Syntax),
            ("%R", RuleError::Syntax),
            ("(on)", RuleError::Syntax),
            ("(~a) )", RuleError::Syntax),
            ("(+@nope)", RuleError::Unknown),
            ("+@nope", RuleError::Unknown),
            ("#abc", RuleError::BadHash),
            ("!abc", RuleError::BadHash),
            ("db=", RuleError::Syntax),
            ("db=1,", RuleError::Syntax),
            ("db=-1", RuleError::DatabaseOutOfRange),
            ("db=2147483648", RuleError::DatabaseOutOfRange),
        ] {
            assert_eq!(Rule::parse(word.as_bytes()), Err(error), "{word}");
        }
    }

    #[test]
    fn selectors_may_be_spread_over_words() {
        let words: [&[u8]; 6] = [b"on", b"(+get", b"~a*)", b"(", b"+set", b")"];
        let merged = merge_selectors(&words).expect("all end");
        assert_eq!(merged, [&b"on"[..], b"(+get ~a*)", b"( +set )"]);
        assert_eq!(merge_selectors(&[b"on", b"(+get", b"~a"]), Err(b"(+get".to_vec()));
    }

    #[test]
    fn no_clear_password_is_in_a_rule() {
        assert!(!format!("{:?}", Rule::parse(b">secret")).contains("secret"));
    }
}
