//! The HyperLogLogs' rows of the command table.

use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{key, key_of, string};
use crate::command::{Categories, Command, Flags, Foreseen, KeyFlags, KeySpec, Spec, Spread};

const HYPERLOGLOG: Spec = Spec { group: "hyperloglog", own_categories: Categories::HYPERLOGLOG, ..Spec::BASE };
const WRITE: Flags = Flags::WRITE.or(Flags::DENYOOM);

/// Every command on HyperLogLogs.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "pfadd",
            foreseen: Foreseen::Value,
            arity: AtLeast(2),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::INSERT), 1, 1, 1)],
            flags: WRITE.or(Flags::FAST),
            since: "2.8.9",
            complexity: "O(1) for each element",
            summary: "Adds elements to a HyperLogLog, creating it if need be",
            arguments: &[key("key"), string("element").optional().multiple()],
            ..HYPERLOGLOG
        },
        run: super::pfadd,
    },
    Command {
        spec: Spec {
            name: "pfcount",
            arity: AtLeast(2),
            // The estimate is kept in the value.
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS), 1, -1, 1)
                .noted("An estimate that is out of date is renewed in the value")],
            flags: Flags::READONLY.or(Flags::MAY_REPLICATE),
            spread: Spread::Overlay,
            since: "2.8.9",
            complexity: "O(1), O(N) for a union of N",
            summary: "Estimates how many different elements a HyperLogLog, or the union of some, has seen",
            arguments: &[key("key").multiple()],
            ..HYPERLOGLOG
        },
        run: super::pfcount,
    },
    Command {
        spec: Spec {
            name: "pfdebug",
            arity: Exact(3),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS), 2, 2, 1)],
            flags: WRITE.or(Flags::ADMIN),
            since: "2.8.9",
            complexity: "O(1)",
            summary: "Shows the insides of a HyperLogLog",
            arguments: &[string("subcommand"), key("key")],
            is_internal: true,
            ..HYPERLOGLOG
        },
        run: super::debug::pfdebug,
    },
    Command {
        spec: Spec {
            name: "pfmerge",
            arity: AtLeast(2),
            keys: &[
                KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::INSERT), 1, 1, 1),
                KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 2, -1, 1),
            ],
            flags: WRITE,
            spread: Spread::Overlay,
            since: "2.8.9",
            complexity: "O(N) for N HyperLogLogs",
            summary: "Adds HyperLogLogs to the one under the first key",
            arguments: &[key("destkey"), key_of(1, "sourcekey").multiple()],
            ..HYPERLOGLOG
        },
        run: super::union::pfmerge,
    },
    Command {
        spec: Spec {
            name: "pfselftest",
            arity: Exact(1),
            flags: Flags::ADMIN,
            since: "2.8.9",
            complexity: "O(1), some milliseconds",
            summary: "Tests registers and estimates",
            is_internal: true,
            ..HYPERLOGLOG
        },
        run: super::debug::pfselftest,
    },
];
