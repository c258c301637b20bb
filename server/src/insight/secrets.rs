//! Which arguments of a command nobody is to read later: passwords, and what tells whose they are.
//!
//! One rule for all who show commands: MONITOR, SLOWLOG, COMMANDLOG.

use crate::command_table::CommandEntry;
use crate::config;
use std::ops::Range;

/// What stands in the place of such an argument.
pub const REDACTED: &[u8] = b"(redacted)";

/// Whether the argument at this place is one.
pub fn is_secret(entry: &CommandEntry, arguments: &[&[u8]], index: usize) -> bool {
    match entry.full_name.as_str() {
        "auth" => index > 0,
        "hello" => after_word(arguments, 2, b"auth", 2).contains(&index),
        "acl|setuser" | "acl|getuser" | "acl|deluser" => index > 1,
        // The words of AUTH and AUTH2 stand behind the seven that MIGRATE begins with at least.
        "migrate" => {
            after_word(arguments, 6, b"auth", 1).contains(&index)
                || after_word(arguments, 6, b"auth2", 2).contains(&index)
        }
        "config|set" => {
            let is_value = index > 2 && index % 2 == 1;
            let row =
                arguments.get(index.wrapping_sub(1)).filter(|_| is_value).and_then(|name| config::directive(name));
            row.is_some_and(|(row, _)| row.secret)
        }
        _ => false,
    }
}

/// The places of so many arguments behind a word, from a place on.
fn after_word(arguments: &[&[u8]], from: usize, word: &[u8], count: usize) -> Range<usize> {
    let words = arguments.get(from..).unwrap_or_default();
    let found = words.iter().position(|argument| argument.eq_ignore_ascii_case(word));
    found.map_or(0..0, |at| from + at + 1..from + at + 1 + count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_table::CommandTable;
    use crate::commands;

    /// The command with its secrets taken out.
    fn shown(table: &CommandTable, line: &str) -> String {
        let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let entry = table.find(arguments[0]).expect("a command");
        let entry = arguments.get(1).and_then(|word| entry.subcommand(word)).unwrap_or(entry);
        let shown = arguments.iter().enumerate().map(|(index, argument)| {
            let is_secret = is_secret(entry, &arguments, index);
            String::from_utf8_lossy(if is_secret { b"*" } else { argument }).into_owned()
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn passwords_are_found_wherever_they_stand() {
        let table = CommandTable::new(commands::rows());
        for (line, expected) in [
            ("auth pw", "auth *"),
            ("AUTH user pw", "AUTH * *"),
            ("hello 3 auth user pw setname a", "hello 3 auth * * setname a"),
            ("hello 3 setname auth", "hello 3 setname auth"),
            ("config set requirepass pw maxmemory 1", "config set requirepass * maxmemory 1"),
            ("config set maxmemory 1 primaryauth pw", "config set maxmemory 1 primaryauth *"),
            ("migrate h 1 k 0 9 auth pw", "migrate h 1 k 0 9 auth *"),
            ("migrate h 1 k 0 9 copy AUTH2 user pw keys a", "migrate h 1 k 0 9 copy AUTH2 * * keys a"),
            ("set auth pw", "set auth pw"),
        ] {
            assert_eq!(shown(&table, line), expected);
        }
    }
}
