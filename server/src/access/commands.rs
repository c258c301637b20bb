//! Which commands may be run: a bit for each command and subcommand, and the rules that led there, in order.
//!
//! The bits answer; the rules are told again (ACL LIST, files). They are kept as they were given, not made up from the bits,
//! so that they mean the same to a server with other commands. A rule that says anew what an earlier one was about takes its
//! place at the end: `+get -get` is `-get`, and `+config` is all that is left of `+config|get +config`.

use super::rule::RuleError;
use crate::command_table::{CommandEntry, CommandTable};
use std::collections::BTreeMap;
use torc_engine::command::Categories;

/// Allowed commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AllowedCommands {
    /// It began with all commands, those of later versions among them.
    begins_with_all: bool,
    /// One a command, by its id.
    bits: Box<[u64]>,
    /// First arguments with which commands may be run that may not otherwise.
    first_arguments: BTreeMap<usize, Vec<Box<[u8]>>>,
    /// Whether it allows, and what: small letters.
    rules: Vec<(bool, Box<[u8]>)>,
}

impl AllowedCommands {
    /// None.
    pub(super) fn none() -> Self {
        Self { begins_with_all: false, bits: Box::default(), first_arguments: BTreeMap::new(), rules: Vec::new() }
    }

    /// `+@all`, or `-@all`.
    pub(super) fn set_all(&mut self, is_allowed: bool, table: &CommandTable) {
        *self = Self::none();
        if is_allowed {
            self.begins_with_all = true;
            self.bits = vec![u64::MAX; table.ids.div_ceil(64)].into_boxed_slice();
        }
    }

    /// Whether nothing is denied, in later versions neither: no bit is looked at.
    #[inline]
    pub(super) fn is_all(&self) -> bool {
        self.begins_with_all && self.rules.is_empty()
    }

    /// Whether a command's bit is set, or its first argument is one that makes up for it.
    #[inline]
    pub(super) fn allows(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> bool {
        self.is_all() || self.has(entry.id) || self.allows_argument(entry, arguments)
    }

    #[inline]
    fn has(&self, id: usize) -> bool {
        self.bits.get(id / 64).is_some_and(|word| word >> (id % 64) & 1 != 0)
    }

    #[cold]
    fn allows_argument(&self, entry: &CommandEntry, arguments: &[&[u8]]) -> bool {
        let (Some(first), Some(known)) = (arguments.get(1), self.first_arguments.get(&entry.id)) else { return false };
        known.iter().any(|argument| argument.eq_ignore_ascii_case(first))
    }

    fn set(&mut self, id: usize, is_allowed: bool, table: &CommandTable) {
        if self.bits.is_empty() {
            self.bits = vec![0; table.ids.div_ceil(64)].into_boxed_slice();
        }
        let bit = 1 << (id % 64);
        if is_allowed {
            self.bits[id / 64] |= bit;
        } else {
            self.bits[id / 64] &= !bit;
        }
    }

    /// A command with all of its subcommands, or a subcommand.
    fn set_command(&mut self, entry: &CommandEntry, is_allowed: bool, table: &CommandTable) {
        self.set(entry.id, is_allowed, table);
        self.first_arguments.remove(&entry.id);
        for subcommand in &entry.subcommands {
            self.set(subcommand.id, is_allowed, table);
        }
    }

    /// `+@category`, `-@category`.
    pub(super) fn set_category(&mut self, category: Categories, is_allowed: bool, table: &CommandTable) {
        let inside = |entry: &&CommandEntry| entry.spec.categories().has(category);
        for entry in table.entries() {
            if inside(&entry) {
                self.set_command(entry, is_allowed, table);
            }
            for subcommand in entry.subcommands.iter().copied().filter(inside) {
                self.set_command(subcommand, is_allowed, table);
            }
        }
        let name = category.names().next().unwrap_or_default();
        self.keep_rule(is_allowed, format!("@{name}").as_bytes());
    }

    /// `+command`, `+container|subcommand`, `+command|argument`.
    pub(super) fn allow(
        &mut self,
        name: &[u8],
        argument: Option<&[u8]>,
        table: &CommandTable,
    ) -> Result<(), RuleError> {
        let entry = find(name, table).ok_or(RuleError::Unknown)?;
        let Some(argument) = argument else {
            self.set_command(entry, true, table);
            self.keep_rule(true, entry.full_name.as_bytes());
            return Ok(());
        };
        if name.contains(&b'|') {
            return Err(RuleError::ArgumentOfSubcommand);
        }
        if argument.is_empty() {
            return Err(RuleError::Syntax);
        }
        if entry.subcommands.is_empty() {
            if super::rule::has_spaces(argument) {
                return Err(RuleError::Syntax);
            }
            let known = self.first_arguments.entry(entry.id).or_default();
            // In order, in small letters: the same rules are the same, whatever came first.
            let argument = argument.to_ascii_lowercase();
            if let Err(at) = known.binary_search_by(|other| (**other).cmp(&argument)) {
                known.insert(at, argument.into());
            }
        } else {
            let subcommand = entry.subcommand(argument).ok_or(RuleError::Unknown)?;
            self.set_command(subcommand, true, table);
        }
        self.keep_rule(true, &[entry.full_name.as_bytes(), b"|", argument].concat());
        Ok(())
    }

    /// `-command`, `-container|subcommand`.
    pub(super) fn deny(&mut self, name: &[u8], table: &CommandTable) -> Result<(), RuleError> {
        let entry = find(name, table).ok_or(RuleError::Unknown)?;
        self.set_command(entry, false, table);
        self.keep_rule(false, entry.full_name.as_bytes());
        Ok(())
    }

    /// A rule goes to the end; what it says anew is forgotten.
    fn keep_rule(&mut self, is_allowed: bool, text: &[u8]) {
        let text = text.to_ascii_lowercase();
        self.rules.retain(|(_, known)| {
            let rest = known.strip_prefix(text.as_slice());
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"|"))
        });
        self.rules.push((is_allowed, text.into()));
    }

    /// As rules that lead here.
    pub(super) fn describe(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(if self.begins_with_all { b"+@all" } else { b"-@all" });
        for (is_allowed, rule) in &self.rules {
            text.extend_from_slice(if *is_allowed { b" +" } else { b" -" });
            text.extend_from_slice(rule);
        }
    }
}

/// A command, or `container|subcommand`, by the names of the table whatever clients call them.
fn find(name: &[u8], table: &CommandTable) -> Option<&'static CommandEntry> {
    match name.iter().position(|byte| *byte == b'|') {
        None => table.find_original(name),
        Some(bar) => table.find_original(&name[..bar])?.subcommand(&name[bar + 1..]),
    }
}
