//! One set of permissions: what a user may do outside of its selectors, or what one of them adds.
//!
//! A command runs if one set allows all of it: it in the database, its keys, its channels. Of several sets that do not,
//! the one tells the reason that got furthest.

use super::commands::AllowedCommands;
use super::rule::{Grant, KeyPattern, RuleError};
use crate::command_table::{CommandEntry, CommandTable};
use smallvec::SmallVec;
use std::collections::BTreeSet;
use torc_engine::command::{Channels, Flags, KeyFlags, parse_integer};
use torc_engine::commands::glob::{Case, matches};
use torc_engine::reply::Reply;

/// Names that patterns fit, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names<P> {
    All,
    Patterns(Vec<P>),
}

impl<P> Names<P> {
    #[inline]
    fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// What may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    commands: AllowedCommands,
    keys: Names<KeyPattern>,
    channels: Names<Box<[u8]>>,
    /// None: all.
    databases: Option<BTreeSet<u32>>,
}

/// A command that somebody would run.
#[derive(Clone, Copy, Debug)]
pub struct Requested<'a> {
    /// Which.
    pub entry: &'a CommandEntry,
    /// With what.
    pub arguments: &'a [&'a [u8]],
    /// In which database.
    pub database: u32,
}

/// Why it does not run, in the order of how far the question came; and which argument it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    /// The database, which an argument names or the command is run in (0).
    Database(usize),
    /// The command.
    Command,
    /// A key.
    Key(usize),
    /// A channel.
    Channel(usize),
}

/// Keys of a command, found once for all sets that ask.
pub(super) type FoundKeys = Option<SmallVec<[(usize, KeyFlags); 8]>>;

impl Permissions {
    /// None, but for all databases; channels as the configuration says.
    pub(super) fn new(all_channels: bool) -> Self {
        Self {
            commands: AllowedCommands::none(),
            keys: Names::Patterns(Vec::new()),
            channels: if all_channels { Names::All } else { Names::Patterns(Vec::new()) },
            databases: None,
        }
    }

    /// Whether nothing is denied.
    pub(super) fn is_unrestricted(&self) -> bool {
        self.commands.is_all() && self.is_about_commands_only()
    }

    #[inline]
    fn is_about_commands_only(&self) -> bool {
        self.keys.is_all() && self.channels.is_all() && self.databases.is_none()
    }

    /// Applies one rule; nothing has changed where it fails.
    pub(super) fn apply(&mut self, grant: &Grant, table: &CommandTable) -> Result<(), RuleError> {
        match grant {
            Grant::AllKeys => self.keys = Names::All,
            Grant::ResetKeys => self.keys = Names::Patterns(Vec::new()),
            Grant::Keys(added) => match &mut self.keys {
                Names::All => return Err(RuleError::KeysAfterAll),
                Names::Patterns(patterns) => match patterns.iter_mut().find(|known| known.pattern == added.pattern) {
                    Some(known) => {
                        known.reads |= added.reads;
                        known.writes |= added.writes;
                    }
                    None => patterns.push(added.clone()),
                },
            },
            Grant::AllChannels => self.channels = Names::All,
            Grant::ResetChannels => self.channels = Names::Patterns(Vec::new()),
            Grant::Channel(added) => match &mut self.channels {
                Names::All => return Err(RuleError::ChannelsAfterAll),
                Names::Patterns(patterns) if patterns.contains(added) => {}
                Names::Patterns(patterns) => patterns.push(added.clone()),
            },
            Grant::AllCommands => self.commands.set_all(true, table),
            Grant::NoCommands => self.commands.set_all(false, table),
            Grant::AllowCommand { name, argument } => self.commands.allow(name, argument.as_deref(), table)?,
            Grant::DenyCommand(name) => self.commands.deny(name, table)?,
            Grant::Category(is_allowed, category) => self.commands.set_category(*category, *is_allowed, table),
            Grant::AllDatabases => self.databases = None,
            Grant::ResetDatabases => self.databases = Some(BTreeSet::new()),
            Grant::Databases(added) => self.databases.get_or_insert_default().extend(added),
        }
        Ok(())
    }

    /// Whether a command may run.
    pub(super) fn check(&self, requested: &Requested<'_>, found: &mut FoundKeys) -> Result<(), Denial> {
        let Requested { entry, arguments, database } = *requested;
        if let Some(allowed) = &self.databases {
            check_databases(allowed, entry, arguments, database)?;
        }
        if !self.commands.allows(entry, arguments) && !entry.spec.flags.has(Flags::NO_AUTH) {
            return Err(Denial::Command);
        }
        if !self.keys.is_all() {
            for (index, flags) in found.get_or_insert_with(|| keys_of(entry, arguments)) {
                if !self.allows_key(arguments[*index], *flags) {
                    return Err(Denial::Key(*index));
                }
            }
        }
        if !self.channels.is_all() {
            let (last, is_pattern) = match entry.spec.channels {
                Channels::None => return Ok(()),
                Channels::First => (1, false),
                Channels::All => (arguments.len() - 1, false),
                Channels::Patterns => (arguments.len() - 1, true),
            };
            let denied = (1..=last).find(|index| !self.allows_channel(arguments[*index], is_pattern));
            return denied.map_or(Ok(()), |index| Err(Denial::Channel(index)));
        }
        Ok(())
    }

    /// Whether these things may be done with a key.
    fn allows_key(&self, key: &[u8], flags: KeyFlags) -> bool {
        self.any_key_pattern(flags, |pattern| matches(pattern, key, Case::Sensitive))
    }

    /// Whether values of any key may be read.
    pub(super) fn reads_all_keys(&self) -> bool {
        self.any_key_pattern(KeyFlags::ACCESS, |pattern| pattern == b"*")
    }

    fn any_key_pattern(&self, flags: KeyFlags, fits: impl Fn(&[u8]) -> bool) -> bool {
        let reads = flags.has(KeyFlags::ACCESS);
        let writes = [KeyFlags::INSERT, KeyFlags::DELETE, KeyFlags::UPDATE].iter().any(|flag| flags.has(*flag));
        match &self.keys {
            Names::All => true,
            Names::Patterns(patterns) => {
                patterns.iter().any(|KeyPattern { reads: may_read, writes: may_write, pattern }| {
                    (*may_read || !reads) && (*may_write || !writes) && fits(pattern)
                })
            }
        }
    }

    /// Whether a channel, or a pattern of channels, may be listened to. A pattern has to be allowed literally.
    pub(super) fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        match &self.channels {
            Names::All => true,
            Names::Patterns(patterns) if is_pattern => patterns.iter().any(|pattern| **pattern == *channel),
            Names::Patterns(patterns) => patterns.iter().any(|pattern| matches(pattern, channel, Case::Sensitive)),
        }
    }

    /// As rules that lead here, from none.
    pub(super) fn line(&self) -> Vec<u8> {
        let (mut keys, mut channels, mut databases, mut commands) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        self.describe_keys(&mut keys);
        if !self.channels.is_all() {
            channels.extend_from_slice(b"resetchannels ");
        }
        self.describe_channels(&mut channels);
        if let Some(allowed) = &self.databases {
            describe_databases(allowed, &mut databases);
        }
        self.commands.describe(&mut commands);
        let parts = [keys.as_slice(), channels.trim_ascii_end(), &databases, &commands];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b' ')
    }

    fn describe_keys(&self, text: &mut Vec<u8>) {
        let Names::Patterns(patterns) = &self.keys else { return text.extend_from_slice(b"~*") };
        for (index, KeyPattern { reads, writes, pattern }) in patterns.iter().enumerate() {
            if index > 0 {
                text.push(b' ');
            }
            text.extend_from_slice(match (reads, writes) {
                // `~*` would be the rule of all keys, after which no pattern may come.
                (true, true) if **pattern == *b"*" => b"%RW~",
                (true, true) => b"~",
                (true, false) => b"%R~",
                _ => b"%W~",
            });
            text.extend_from_slice(pattern);
        }
    }

    fn describe_channels(&self, text: &mut Vec<u8>) {
        let Names::Patterns(patterns) = &self.channels else { return text.extend_from_slice(b"&*") };
        for (index, pattern) in patterns.iter().enumerate() {
            text.extend_from_slice(if index > 0 { b" &" } else { b"&" });
            text.extend_from_slice(pattern);
        }
    }

    /// The fields that ACL GETUSER shows of it.
    pub fn reply_fields(&self, reply: &mut Reply<'_>) {
        let mut field = |name: &str, describe: &dyn Fn(&mut Vec<u8>)| {
            let mut text = Vec::new();
            describe(&mut text);
            reply.bulk(name.as_bytes());
            reply.bulk(&text);
        };
        field("commands", &|text| self.commands.describe(text));
        field("keys", &|text| self.describe_keys(text));
        field("channels", &|text| self.describe_channels(text));
        if let Some(databases) = &self.databases {
            field("databases", &|text| describe_databases(databases, text));
        }
    }

    /// How many fields that are.
    pub fn field_count(&self) -> usize {
        3 + usize::from(self.databases.is_some())
    }
}

fn describe_databases(databases: &BTreeSet<u32>, text: &mut Vec<u8>) {
    if databases.is_empty() {
        return text.extend_from_slice(b"resetdbs");
    }
    // Whoever reads this begins with all of them.
    text.extend_from_slice(b"db=");
    let numbers: Vec<String> = databases.iter().map(u32::to_string).collect();
    text.extend_from_slice(numbers.join(",").as_bytes());
}

/// The keys that a command names, with what it does to each; none where the arguments do not fit, which its handler will say.
fn keys_of(entry: &CommandEntry, arguments: &[&[u8]]) -> SmallVec<[(usize, KeyFlags); 8]> {
    let mut keys = SmallVec::new();
    let fits = entry.spec.visit_keys(arguments, |index, flags| {
        if !flags.has(KeyFlags::NOT_KEY) {
            keys.push((index, entry.spec.actual_flags(flags, arguments)));
        }
    });
    if !fits {
        keys.clear();
    }
    keys
}

/// Whether a command stays in databases that are allowed: the one that it is run in, if it looks at data, and those that its
/// arguments name.
fn check_databases(
    allowed: &BTreeSet<u32>,
    entry: &CommandEntry,
    arguments: &[&[u8]],
    database: u32,
) -> Result<(), Denial> {
    // What is no number is no database: the handler says so.
    let denies = |index: usize| {
        let number = arguments.get(index).and_then(|text| parse_integer(text));
        number.is_some_and(|number| !u32::try_from(number).is_ok_and(|number| allowed.contains(&number)))
    };
    let denied = match entry.spec.name {
        "select" => return if denies(1) { Err(Denial::Database(1)) } else { Ok(()) },
        "move" => denies(2).then_some(2),
        "swapdb" => (1..=2).find(|index| denies(*index)),
        "copy" => {
            let option = (3..arguments.len()).find(|index| arguments[*index].eq_ignore_ascii_case(b"db"));
            option.map(|index| index + 1).filter(|index| denies(*index))
        }
        // All databases are more than any list of them.
        "flushall" => Some(0),
        _ => None,
    };
    if let Some(index) = denied {
        return Err(Denial::Database(index));
    }
    let is_about_data = entry.touches_keys() || !entry.spec.keys.is_empty();
    if is_about_data && entry.spec.channels == Channels::None && !allowed.contains(&database) {
        return Err(Denial::Database(0));
    }
    Ok(())
}
