//! The strings' rows of the command table.

use super::{condition, counter, lcs, range, set, several};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::{Categories, Command, Deprecated, Flags, KeyFlags, KeySpec, Spec, Spread};

const STRING: Spec = Spec { group: "string", own_categories: Categories::STRING, ..Spec::BASE };
/// A row about one key that is read.
const READER: Spec = Spec {
    keys: &[KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 1, 1, 1)],
    flags: Flags::READONLY.or(Flags::FAST),
    ..STRING
};
/// A row about one number that is changed.
const COUNTER: Spec = Spec { keys: ACCESS_AND_UPDATE, flags: FAST_WRITE, ..STRING };

const WRITE: Flags = Flags::WRITE.or(Flags::DENYOOM);
const FAST_WRITE: Flags = WRITE.or(Flags::FAST);
const ACCESS_AND_UPDATE: &[KeySpec] =
    &[KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE), 1, 1, 1)];
const OVERWRITE: &[KeySpec] = &[KeySpec::range(KeyFlags::OW.or(KeyFlags::UPDATE), 1, 1, 1)];

const fn replaced(since: &'static str, replaced_by: &'static str) -> Option<Deprecated> {
    Some(Deprecated { since, replaced_by })
}

/// Every command on strings.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "append",
            arity: Exact(3),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::INSERT), 1, 1, 1)],
            flags: FAST_WRITE,
            since: "2.0.0",
            complexity: "O(1) amortised: the room for growth doubles",
            summary: "Adds text to the end of a string, creating it if need be",
            ..STRING
        },
        run: super::append,
    },
    Command {
        spec: Spec { name: "decr", arity: Exact(2), summary: "Takes one from a number", ..COUNTER },
        run: counter::decr,
    },
    Command {
        spec: Spec { name: "decrby", arity: Exact(3), summary: "Takes an amount from a number", ..COUNTER },
        run: counter::decrby,
    },
    Command {
        spec: Spec {
            name: "delex",
            arity: AtLeast(2),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::DELETE).or(KeyFlags::VARIABLE_FLAGS), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            since: "8.4.0",
            complexity: "O(1) when values are compared, O(N) in the value's length when digests are",
            summary: "Removes a key, if wanted only while its value or digest is, or is not, a given one",
            ..STRING
        },
        run: condition::delex,
    },
    Command {
        spec: Spec {
            name: "delifeq",
            arity: Exact(3),
            keys: &[KeySpec::range(KeyFlags::RM.or(KeyFlags::DELETE), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            since: "9.0.0",
            summary: "Removes a key if it holds exactly this string",
            ..STRING
        },
        run: condition::delifeq,
    },
    Command {
        spec: Spec {
            name: "digest",
            arity: Exact(2),
            since: "8.4.0",
            complexity: "O(N) in the length of the value",
            summary: "Gives the XXH3 hash of a string in hexadecimal digits",
            ..READER
        },
        run: condition::digest,
    },
    Command { spec: Spec { name: "get", arity: Exact(2), summary: "Reads a string", ..READER }, run: super::get },
    Command {
        spec: Spec {
            name: "getdel",
            arity: Exact(2),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            since: "6.2.0",
            summary: "Reads a string and removes its key",
            ..STRING
        },
        run: super::getdel,
    },
    Command {
        spec: Spec {
            name: "getex",
            arity: AtLeast(2),
            keys: ACCESS_AND_UPDATE,
            flags: Flags::WRITE.or(Flags::FAST),
            since: "6.2.0",
            summary: "Reads a string and sets or clears when its key expires",
            ..STRING
        },
        run: set::getex,
    },
    Command {
        spec: Spec {
            name: "getrange",
            arity: Exact(4),
            flags: Flags::READONLY,
            since: "2.4.0",
            complexity: "O(N) in the length of the part",
            summary: "Reads a part of a string",
            ..READER
        },
        run: range::getrange,
    },
    Command {
        spec: Spec {
            name: "getset",
            arity: Exact(3),
            summary: "Stores a string and gives the one that was there",
            deprecated: replaced("6.2.0", "`SET` with the `!GET` argument"),
            ..COUNTER
        },
        run: super::getset,
    },
    Command {
        spec: Spec { name: "incr", arity: Exact(2), summary: "Adds one to a number", ..COUNTER },
        run: counter::incr,
    },
    Command {
        spec: Spec { name: "incrby", arity: Exact(3), summary: "Adds an amount to a number", ..COUNTER },
        run: counter::incrby,
    },
    Command {
        spec: Spec {
            name: "incrbyfloat",
            arity: Exact(3),
            since: "2.6.0",
            summary: "Adds an amount with a fraction to a number",
            ..COUNTER
        },
        run: counter::incrbyfloat,
    },
    Command {
        spec: Spec {
            name: "increx",
            arity: AtLeast(2),
            since: "8.8.0",
            summary: "Adds to a number within bounds, and sets when its key expires",
            ..COUNTER
        },
        run: counter::increx,
    },
    Command {
        spec: Spec {
            name: "lcs",
            arity: AtLeast(3),
            keys: &[KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 1, 2, 1)],
            flags: Flags::READONLY,
            spread: Spread::Overlay,
            since: "7.0.0",
            complexity: "O(N*M) in the lengths of the two strings",
            summary: "Finds the longest common subsequence of two strings",
            ..STRING
        },
        run: lcs::lcs,
    },
    Command {
        spec: Spec {
            name: "mget",
            arity: AtLeast(2),
            keys: &[KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 1, -1, 1)],
            spread: Spread::Gather,
            complexity: "O(N) in the number of keys",
            summary: "Reads several strings in one atomic step",
            tips: &["request_policy:multi_shard"],
            ..READER
        },
        run: several::mget,
    },
    Command {
        spec: Spec {
            name: "mset",
            arity: AtLeast(3),
            keys: &[KeySpec::range(KeyFlags::OW.or(KeyFlags::UPDATE), 1, -1, 2)],
            flags: WRITE,
            spread: Spread::AllOk,
            since: "1.0.1",
            complexity: "O(N) in the number of keys",
            summary: "Stores several strings in one atomic step",
            tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
            ..STRING
        },
        run: several::mset,
    },
    Command {
        spec: Spec {
            name: "msetex",
            arity: AtLeast(4),
            // KEEPTTL needs the old expiry, so this is more than an overwrite.
            keys: &[KeySpec::counted(KeyFlags::RW.or(KeyFlags::UPDATE), 1, 2)],
            flags: WRITE.or(Flags::MOVABLEKEYS),
            spread: Spread::Overlay,
            since: "8.4.0",
            complexity: "O(N) in the number of keys",
            summary: "Stores several strings in one atomic step, all with one expiry, on condition that all or none exist",
            tips: &["request_policy:multi_shard", "response_policy:agg_min"],
            ..STRING
        },
        run: several::msetex,
    },
    Command {
        spec: Spec {
            name: "msetnx",
            arity: AtLeast(3),
            keys: &[KeySpec::range(KeyFlags::OW.or(KeyFlags::INSERT), 1, -1, 2)],
            flags: WRITE,
            spread: Spread::Overlay,
            since: "1.0.1",
            complexity: "O(N) in the number of keys",
            summary: "Stores several strings in one atomic step, but only if none of the keys exists",
            tips: &["request_policy:multi_shard", "response_policy:agg_min"],
            ..STRING
        },
        run: several::msetnx,
    },
    Command {
        spec: Spec {
            name: "psetex",
            arity: Exact(4),
            keys: OVERWRITE,
            flags: WRITE,
            since: "2.6.0",
            summary: "Stores a string that expires after some milliseconds",
            deprecated: replaced("2.6.12", "`SET` with the `PX` argument"),
            ..STRING
        },
        run: set::psetex,
    },
    Command {
        spec: Spec {
            name: "set",
            arity: AtLeast(3),
            keys: &[KeySpec::range(
                KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE).or(KeyFlags::VARIABLE_FLAGS),
                1,
                1,
                1,
            )],
            flags: WRITE,
            summary: "Stores a string, whatever was there; on condition and with an expiry if wanted",
            ..STRING
        },
        run: set::set,
    },
    Command {
        spec: Spec {
            name: "setex",
            arity: Exact(4),
            keys: OVERWRITE,
            flags: WRITE,
            since: "2.0.0",
            summary: "Stores a string that expires after some seconds",
            deprecated: replaced("2.6.12", "`SET` with the `EX` argument"),
            ..STRING
        },
        run: set::setex,
    },
    Command {
        spec: Spec {
            name: "setnx",
            arity: Exact(3),
            keys: &[KeySpec::range(KeyFlags::OW.or(KeyFlags::INSERT), 1, 1, 1)],
            flags: FAST_WRITE,
            summary: "Stores a string, but only if the key does not exist",
            deprecated: replaced("2.6.12", "`SET` with the `NX` argument"),
            ..STRING
        },
        run: set::setnx,
    },
    Command {
        spec: Spec {
            name: "setrange",
            arity: Exact(4),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::UPDATE), 1, 1, 1)],
            flags: WRITE,
            since: "2.2.0",
            complexity: "O(N) in the length of the new part; O(M) in that of the string where it must grow or move",
            summary: "Overwrites a part of a string, padding it with zero bytes",
            ..STRING
        },
        run: range::setrange,
    },
    Command {
        spec: Spec {
            name: "strlen",
            arity: Exact(2),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            since: "2.2.0",
            summary: "Gives the length of a string in bytes",
            ..READER
        },
        run: range::strlen,
    },
    Command {
        spec: Spec {
            name: "substr",
            arity: Exact(4),
            flags: Flags::READONLY,
            complexity: "O(N) in the length of the part",
            summary: "Reads a part of a string",
            deprecated: replaced("2.0.0", "`GETRANGE`"),
            ..READER
        },
        run: range::getrange,
    },
];
