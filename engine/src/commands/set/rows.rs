//! The sets' rows of the command table.

use super::{algebra, random};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{integer, key, key_of, pattern, string};
use crate::command::{Categories, Command, Flags, Foreseen, KeyFlags, KeySpec, Spec, Spread};

const SET: Spec = Spec { group: "set", own_categories: Categories::SET, ..Spec::BASE };
const READ: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const FAST_READ: Flags = Flags::READONLY.or(Flags::FAST);
/// A row about several sets that are read.
const ALGEBRA: Spec = Spec {
    arity: AtLeast(2),
    keys: &[KeySpec::range(READ, 1, -1, 1)],
    flags: Flags::READONLY,
    spread: Spread::Overlay,
    complexity: "O(N) in the number of members of all sets",
    tips: &["nondeterministic_output_order"],
    ..SET
};
/// A row about several sets, counted, whose result is counted.
const CARDINALITY: Spec = Spec {
    arity: AtLeast(3),
    keys: &[KeySpec::counted(READ, 1, 1)],
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    since: "8.10.0",
    tips: &[],
    ..ALGEBRA
};
/// A row about several sets whose result is stored.
const STORE: Spec = Spec {
    arity: AtLeast(3),
    keys: &[KeySpec::range(KeyFlags::OW.or(KeyFlags::UPDATE), 1, 1, 1), KeySpec::range(READ, 2, -1, 1)],
    flags: Flags::WRITE.or(Flags::DENYOOM),
    tips: &[],
    ..ALGEBRA
};
const ACCESS_AND_DELETE: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);
const INTERSECTION: &str = "O(N*M) at worst: the members of the smallest set times the number of sets";

/// Every command on sets.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "sadd",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(3),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::INSERT), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
            complexity: "O(log N) for each member",
            summary: "Adds members to a set, creating it if need be",
            arguments: &[key("key"), string("member").multiple()],
            history: &[("2.4.0", "Takes several members")],
            ..SET
        },
        run: super::sadd,
    },
    Command {
        spec: Spec {
            name: "scard",
            arity: Exact(2),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            flags: FAST_READ,
            summary: "Counts the members of a set",
            arguments: &[key("key")],
            ..SET
        },
        run: super::scard,
    },
    Command {
        spec: Spec {
            name: "sdiff",
            summary: "Gives the members of the first set that no other set has",
            arguments: &[key("key").multiple()],
            ..ALGEBRA
        },
        run: algebra::sdiff,
    },
    Command {
        spec: Spec {
            name: "sdiffcard",
            summary: "Counts the members of the first set that no other set has",
            ..CARDINALITY
        },
        run: algebra::sdiffcard,
    },
    Command {
        spec: Spec {
            name: "sdiffstore",
            summary: "Stores the members of the first set that no other set has",
            arguments: &[key("destination"), key_of(1, "key").multiple()],
            ..STORE
        },
        run: algebra::sdiffstore,
    },
    Command {
        spec: Spec {
            name: "sinter",
            complexity: INTERSECTION,
            summary: "Gives the members that all sets have",
            arguments: &[key("key").multiple()],
            ..ALGEBRA
        },
        run: algebra::sinter,
    },
    Command {
        spec: Spec {
            name: "sintercard",
            since: "7.0.0",
            complexity: INTERSECTION,
            summary: "Counts the members that all sets have, up to a limit",
            arguments: &[integer("numkeys"), key("key").multiple(), integer("limit").token("LIMIT").optional()],
            ..CARDINALITY
        },
        run: algebra::sintercard,
    },
    Command {
        spec: Spec {
            name: "sinterstore",
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::UPDATE), 1, 1, 1), KeySpec::range(READ, 2, -1, 1)],
            complexity: INTERSECTION,
            summary: "Stores the members that all sets have",
            arguments: &[key("destination"), key_of(1, "key").multiple()],
            ..STORE
        },
        run: algebra::sinterstore,
    },
    Command {
        spec: Spec {
            name: "sismember",
            foreseen: Foreseen::Element(2),
            arity: Exact(3),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            flags: FAST_READ,
            complexity: "O(log N)",
            summary: "Tells whether a set has a member",
            arguments: &[key("key"), string("member")],
            ..SET
        },
        run: super::sismember,
    },
    Command {
        spec: Spec {
            name: "smembers",
            foreseen: Foreseen::Value,
            arity: Exact(2),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            flags: Flags::READONLY,
            complexity: "O(N) in the number of members",
            summary: "Gives all members of a set",
            tips: &["nondeterministic_output_order"],
            arguments: &[key("key")],
            ..SET
        },
        run: super::smembers,
    },
    Command {
        spec: Spec {
            name: "smismember",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(3),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            flags: FAST_READ,
            since: "6.2.0",
            complexity: "O(log N) for each member",
            summary: "Tells for each of several members whether a set has it",
            arguments: &[key("key"), string("member").multiple()],
            ..SET
        },
        run: super::smismember,
    },
    Command {
        spec: Spec {
            name: "smove",
            arity: Exact(4),
            keys: &[
                KeySpec::range(ACCESS_AND_DELETE, 1, 1, 1),
                KeySpec::range(KeyFlags::RW.or(KeyFlags::INSERT), 2, 2, 1),
            ],
            flags: Flags::WRITE.or(Flags::FAST),
            spread: Spread::Overlay,
            complexity: "O(log N)",
            summary: "Moves a member from one set to another",
            arguments: &[key("source"), key_of(1, "destination"), string("member")],
            ..SET
        },
        run: super::smove,
    },
    Command {
        spec: Spec {
            name: "spop",
            foreseen: Foreseen::Value,
            arity: AtLeast(2),
            keys: &[KeySpec::range(ACCESS_AND_DELETE, 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            complexity: "O(log N) for each member",
            summary: "Removes random members from a set and gives them",
            tips: &["nondeterministic_output"],
            arguments: &[key("key"), integer("count").since("3.2.0").optional()],
            history: &[("3.2.0", "Takes a count")],
            ..SET
        },
        run: random::spop,
    },
    Command {
        spec: Spec {
            name: "srandmember",
            foreseen: Foreseen::Value,
            arity: AtLeast(2),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            flags: Flags::READONLY,
            complexity: "O(log N) for each member",
            summary: "Gives random members of a set",
            tips: &["nondeterministic_output"],
            arguments: &[key("key"), integer("count").since("2.6.0").optional()],
            history: &[("2.6.0", "Takes a count")],
            ..SET
        },
        run: random::srandmember,
    },
    Command {
        spec: Spec {
            name: "srem",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(3),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::DELETE), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            complexity: "O(log N) for each member",
            summary: "Removes members from a set, and the set with its last one",
            arguments: &[key("key"), string("member").multiple()],
            history: &[("2.4.0", "Takes several members")],
            ..SET
        },
        run: super::srem,
    },
    Command {
        spec: Spec {
            name: "sscan",
            arity: AtLeast(3),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            flags: Flags::READONLY,
            since: "2.8.0",
            complexity: "O(1) a call, O(N) for a whole walk over N members",
            summary: "Walks over the members of a set in steps",
            tips: &["nondeterministic_output"],
            arguments: &[
                key("key"),
                integer("cursor"),
                pattern("pattern").token("MATCH").optional(),
                integer("count").token("COUNT").optional(),
            ],
            ..SET
        },
        run: super::sscan,
    },
    Command {
        spec: Spec {
            name: "sunion",
            summary: "Gives the members that any of the sets has",
            arguments: &[key("key").multiple()],
            ..ALGEBRA
        },
        run: algebra::sunion,
    },
    Command {
        spec: Spec {
            name: "sunioncard",
            summary: "Counts the members that any of the sets has, up to a limit",
            ..CARDINALITY
        },
        run: algebra::sunioncard,
    },
    Command {
        spec: Spec {
            name: "sunionstore",
            summary: "Stores the members that any of the sets has",
            arguments: &[key("destination"), key_of(1, "key").multiple()],
            ..STORE
        },
        run: algebra::sunionstore,
    },
];
