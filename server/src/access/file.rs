//! Users as lines: of the configuration (`user name rules`), and of an ACL file, which has nothing else.
//!
//! A file is read whole or not at all: each error is named with its line. How it is replaced: `reactor::whole_files`.

use super::rule::{Rule, RuleError, WordsError, has_spaces, merge_selectors, parse_all};
use super::user::User;
use super::users::{AccessSettings, Users};
use crate::command_table::CommandTable;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use torc_persistence::words::{quote, split_words};

/// What follows `user` in a line of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLine {
    /// Whose rules.
    pub name: Vec<u8>,
    /// The rules, parsed: no clear password is kept.
    pub rules: Vec<Rule>,
}

impl UserLine {
    /// Its words behind `user`; or the word that is wrong, and why.
    pub fn parse(words: &[Vec<u8>], table: &CommandTable) -> Result<Self, (Vec<u8>, String)> {
        let [name, rules @ ..] = words else { return Err((Vec::new(), RuleError::Syntax.text().to_owned())) };
        if has_spaces(name) {
            return Err((name.clone(), "Spaces not allowed in ACL usernames".to_owned()));
        }
        let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        let rules = parse_all(&rules).map_err(|error| match error {
            WordsError::Unmatched(word) => (word, "Unmatched parenthesis in selector definition".to_owned()),
            WordsError::Wrong(word, error) => (word, error.text().to_owned()),
        })?;
        let mut user = User::new(User::NOBODY, name, AccessSettings::default());
        for (word, rule) in &rules {
            user.apply(rule, table, AccessSettings::default())
                .map_err(|error| (word.to_vec(), error.text().to_owned()))?;
        }
        Ok(Self { name: name.clone(), rules: rules.into_iter().map(|(_, rule)| rule).collect() })
    }
}

impl Users {
    /// The next snapshot, with the users of the configuration's lines, each from nothing. The lines have been applied once, so
    /// none fails but for a setting that came behind them.
    pub fn with_lines(
        &self,
        lines: &[UserLine],
        table: &CommandTable,
        settings: AccessSettings,
    ) -> Result<Self, String> {
        let mut users = self.clone();
        for line in lines {
            let rules: Vec<Rule> = std::iter::once(Rule::Reset).chain(line.rules.iter().cloned()).collect();
            users = users.with_rules(&line.name, &rules, table, settings).map_err(|(_, error)| {
                let name = String::from_utf8_lossy(&line.name);
                format!("Error loading ACL rules for the user named '{name}': {}", error.text())
            })?;
        }
        Ok(users)
    }

    /// The next snapshot, as a file says it; or all that is wrong with it, named with its lines. It waits for the disk.
    pub fn from_file(&self, path: &Path, table: &CommandTable, settings: AccessSettings) -> Result<Self, String> {
        Ok(self.replaced_by(users_of(path, table, settings)?, table, settings))
    }

    /// A configuration with all users in the place of its `user` lines, or at its end. One that has none stays so if there is
    /// but the default user, as it begins.
    pub fn rewritten_in(&self, text: &[u8]) -> Vec<u8> {
        let is_user = |line: &[u8]| {
            let words = split_words(line).unwrap_or_default();
            words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"user"))
        };
        let old: Vec<&[u8]> = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n').collect();
        let place = old.iter().position(|line| is_user(line));
        if place.is_none() && self.iter().all(|user| user.is_as_it_begins()) {
            return text.to_vec();
        }
        let mut lines: Vec<Vec<u8>> = old.iter().filter(|line| !is_user(line)).map(|line| line.to_vec()).collect();
        let place = place.unwrap_or(lines.len()).min(lines.len());
        let quoted = |user: &Arc<User>| {
            let line = user.line();
            let words = line.split(|byte| *byte == b' ').map(|word| {
                let is_plain = word.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte));
                if is_plain && !word.is_empty() { word.to_vec() } else { quote(word) }
            });
            words.collect::<Vec<_>>().join(&b' ')
        };
        lines.splice(place..place, self.iter().map(quoted));
        let mut text = lines.join(&b'\n');
        text.push(b'\n');
        text
    }

    /// All users, a line each.
    pub fn to_text(&self) -> Vec<u8> {
        self.iter().flat_map(|user| [user.line(), b"\n".to_vec()].concat()).collect()
    }
}

const NOTHING_CHANGED: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// The users of a file, or all errors. It waits for the disk.
pub fn users_of(path: &Path, table: &CommandTable, settings: AccessSettings) -> Result<Vec<User>, String> {
    let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    parse_lines(&text, &path.display().to_string(), table, settings)
}

/// What is said of a file that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("Error loading ACLs, opening file '{}': {}", path.display(), crate::config::plain_text(error))
}

/// The users of a file's lines, or all errors.
pub(super) fn parse_lines(
    text: &[u8],
    path: &str,
    table: &CommandTable,
    settings: AccessSettings,
) -> Result<Vec<User>, String> {
    let mut lines = Lines::new(text, path, settings);
    while lines.parse_some(table) {}
    lines.end()
}

/// Lines of a file on the way to users, some at a time: who serves clients has others to see to in between.
pub struct Lines<'a> {
    rest: std::slice::Split<'a, u8, fn(&u8) -> bool>,
    path: &'a str,
    settings: AccessSettings,
    /// The number of the last line.
    number: usize,
    names: BTreeSet<&'a [u8]>,
    users: Vec<User>,
    errors: String,
}

/// So many bytes of lines are parsed at a time.
const SLICE_BYTES: usize = 4096;

impl<'a> Lines<'a> {
    /// Of a text, which errors say is in that file.
    pub fn new(text: &'a [u8], path: &'a str, settings: AccessSettings) -> Self {
        let rest = text.split((|byte| *byte == b'\n') as fn(&u8) -> bool);
        Self { rest, path, settings, number: 0, names: BTreeSet::new(), users: Vec::new(), errors: String::new() }
    }

    /// Parses a slice; whether there is more.
    pub fn parse_some(&mut self, table: &CommandTable) -> bool {
        let mut bytes = 0;
        while bytes < SLICE_BYTES {
            let Some(line) = self.rest.next() else { return false };
            bytes += line.len() + 1;
            self.parse_line(line, table);
        }
        true
    }

    fn parse_line(&mut self, line: &'a [u8], table: &CommandTable) {
        self.number += 1;
        let place = format!("{}:{}", self.path, self.number);
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(b"user"), Some(name)) = (words.next(), words.next()) else {
            self.errors += &format!("{place} should start with user keyword followed by the username. ");
            return;
        };
        let shown = String::from_utf8_lossy(name);
        if has_spaces(name) {
            self.errors += &format!("'{place}: username '{shown}' contains invalid characters. ");
            return;
        }
        if !self.names.insert(name) {
            self.errors += &format!("WARNING: Duplicate user '{shown}' found on line {}. ", self.number);
            return;
        }
        let words: Vec<&[u8]> = words.map(<[u8]>::trim_ascii).collect();
        self.users.extend(parse_user(name, &words, &place, table, self.settings, &mut self.errors));
    }

    /// When there is no more: all users, or all errors.
    pub fn end(self) -> Result<Vec<User>, String> {
        if self.errors.is_empty() { Ok(self.users) } else { Err(self.errors + NOTHING_CHANGED) }
    }
}

/// One line's user. Each unknown command is told; of other errors the first, which those behind it may come from.
fn parse_user(
    name: &[u8],
    words: &[&[u8]],
    place: &str,
    table: &CommandTable,
    settings: AccessSettings,
    errors: &mut String,
) -> Option<User> {
    let Ok(words) = merge_selectors(words) else {
        *errors += &format!("{place}: Unmatched parenthesis in selector definition.");
        return None;
    };
    let mut user = User::new(User::NOBODY, name, settings);
    let (mut is_good, mut is_told) = (true, false);
    for word in &words {
        let applied = Rule::parse(word).and_then(|rule| user.apply(&rule, table, settings));
        let Err(error) = applied else { continue };
        is_good = false;
        let text = error.text();
        if error == RuleError::Unknown {
            let word = String::from_utf8_lossy(word);
            *errors += &format!("{place}: Error in applying operation '{word}': {text}. ");
        } else if !std::mem::replace(&mut is_told, true) {
            *errors += &format!("{place}: {text}. ");
        }
    }
    is_good.then_some(user)
}

/// What the tests and the fuzz target hold against any text: rules are refused, or tell themselves in words that lead to the
/// same user.
#[doc(hidden)]
pub fn check_rules(text: &[u8]) {
    use std::sync::LazyLock;
    static TABLE: LazyLock<CommandTable> = LazyLock::new(|| CommandTable::new(crate::commands::rows()));
    let settings = AccessSettings { new_users_have_all_channels: text.len().is_multiple_of(2) };
    let Ok(users) = parse_lines(text, "file", &TABLE, settings) else { return };
    for user in users {
        let line = user.line();
        let again = parse_lines(&line, "line", &TABLE, settings).expect("a line of our own");
        assert!(again == [user], "{}", line.escape_ascii());
    }
}
