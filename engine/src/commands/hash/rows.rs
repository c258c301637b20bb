//! The hashes' rows of the command table.

use super::{counter, expiry, random, timed};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{block, double, integer, key, pattern, string, word};
use crate::command::{Categories, Command, Deprecated, Flags, Foreseen, KeyFlags, KeySpec, Spec};

const HASH: Spec = Spec {
    group: "hash",
    own_categories: Categories::HASH,
    since: "2.0.0",
    complexity: "O(log N); O(N) in a packed hash",
    ..Spec::BASE
};
/// A row about fields that are read.
const READER: Spec = Spec {
    keys: &[KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 1, 1, 1)],
    flags: Flags::READONLY.or(Flags::FAST),
    ..HASH
};
/// A row about all of a hash.
const WHOLE: Spec = Spec {
    foreseen: Foreseen::Value,
    arity: Exact(2),
    flags: Flags::READONLY,
    complexity: "O(N) in the number of fields",
    tips: &["nondeterministic_output_order"],
    ..READER
};
/// A row about a write that takes no memory.
const WRITER: Spec = Spec { flags: Flags::WRITE.or(Flags::FAST), ..HASH };
/// A row about a write that may take memory.
const GROWER: Spec = Spec { flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST), ..HASH };
/// A row about the expiry of fields that is asked for.
const EXPIRY_READER: Spec = Spec { arity: AtLeast(5), since: "7.4.0", complexity: "O(log N) for each field", ..READER };
/// A row about the expiry of fields that is set.
const EXPIRY_WRITER: Spec =
    Spec { arity: AtLeast(6), keys: UPDATE, since: "7.4.0", complexity: "O(log N) for each field", ..GROWER };

const UPDATE: &[KeySpec] = &[KeySpec::range(KeyFlags::RW.or(KeyFlags::UPDATE), 1, 1, 1)];
const ACCESS_AND_UPDATE: &[KeySpec] =
    &[KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE), 1, 1, 1)];

/// Every command on hashes.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "hdel",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(3),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::DELETE), 1, 1, 1)],
            complexity: "O(log N) for each field",
            summary: "Removes fields from a hash, and the hash with its last one",
            arguments: &[key("key"), string("field").multiple()],
            history: &[("2.4.0", "Takes several fields")],
            ..WRITER
        },
        run: super::hdel,
    },
    Command {
        spec: Spec {
            name: "hexists",
            foreseen: Foreseen::Element(2),
            arity: Exact(3),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            summary: "Tells whether a hash has a field",
            arguments: &[key("key"), string("field")],
            ..READER
        },
        run: super::hexists,
    },
    Command {
        spec: Spec { name: "hexpire", summary: "Makes fields expire after some seconds", ..EXPIRY_WRITER },
        run: expiry::hexpire,
    },
    Command {
        spec: Spec { name: "hexpireat", summary: "Makes fields expire at a Unix time in seconds", ..EXPIRY_WRITER },
        run: expiry::hexpireat,
    },
    Command {
        spec: Spec {
            name: "hexpiretime",
            summary: "Gives the Unix times in seconds at which fields expire",
            ..EXPIRY_READER
        },
        run: expiry::hexpiretime,
    },
    Command {
        spec: Spec {
            name: "hget",
            foreseen: Foreseen::Element(2),
            arity: Exact(3),
            summary: "Gives the value of a field",
            arguments: &[key("key"), string("field")],
            ..READER
        },
        run: super::hget,
    },
    Command {
        spec: Spec {
            name: "hgetall",
            summary: "Gives all fields and values of a hash",
            arguments: &[key("key")],
            ..WHOLE
        },
        run: super::hgetall,
    },
    Command {
        spec: Spec {
            name: "hgetdel",
            arity: AtLeast(5),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE), 1, 1, 1)],
            since: "8.0.0",
            complexity: "O(log N) for each field",
            summary: "Gives the values of fields and removes them",
            ..WRITER
        },
        run: timed::hgetdel,
    },
    Command {
        spec: Spec {
            name: "hgetex",
            arity: AtLeast(5),
            keys: ACCESS_AND_UPDATE,
            since: "8.0.0",
            complexity: "O(log N) for each field",
            summary: "Gives the values of fields and sets when they expire",
            ..WRITER
        },
        run: timed::hgetex,
    },
    Command {
        spec: Spec {
            name: "hincrby",
            foreseen: Foreseen::Element(2),
            arity: Exact(4),
            keys: ACCESS_AND_UPDATE,
            summary: "Adds to the number in a field",
            arguments: &[key("key"), string("field"), integer("increment")],
            ..GROWER
        },
        run: counter::hincrby,
    },
    Command {
        spec: Spec {
            name: "hincrbyfloat",
            foreseen: Foreseen::Element(2),
            arity: Exact(4),
            keys: ACCESS_AND_UPDATE,
            since: "2.6.0",
            summary: "Adds to the floating point number in a field",
            arguments: &[key("key"), string("field"), double("increment")],
            ..GROWER
        },
        run: counter::hincrbyfloat,
    },
    Command {
        spec: Spec { name: "hkeys", summary: "Gives all fields of a hash", arguments: &[key("key")], ..WHOLE },
        run: super::hkeys,
    },
    Command {
        spec: Spec {
            name: "hlen",
            arity: Exact(2),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            complexity: "O(1)",
            summary: "Counts the fields of a hash",
            arguments: &[key("key")],
            ..READER
        },
        run: super::hlen,
    },
    Command {
        spec: Spec {
            name: "hmget",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(3),
            complexity: "O(log N) for each field",
            summary: "Gives the values of several fields",
            arguments: &[key("key"), string("field").multiple()],
            ..READER
        },
        run: super::hmget,
    },
    Command {
        spec: Spec {
            name: "hmset",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(4),
            keys: UPDATE,
            complexity: "O(log N) for each field",
            deprecated: Some(Deprecated { since: "4.0.0", replaced_by: "`HSET` with multiple field-value pairs" }),
            summary: "Sets fields of a hash",
            arguments: &[key("key"), block("field_value", &[string("field"), string("value")]).multiple()],
            ..GROWER
        },
        run: super::hmset,
    },
    Command {
        spec: Spec {
            name: "hpersist",
            arity: AtLeast(5),
            flags: Flags::WRITE.or(Flags::FAST),
            summary: "Makes fields stay for ever",
            ..EXPIRY_WRITER
        },
        run: expiry::hpersist,
    },
    Command {
        spec: Spec { name: "hpexpire", summary: "Makes fields expire after some milliseconds", ..EXPIRY_WRITER },
        run: expiry::hpexpire,
    },
    Command {
        spec: Spec {
            name: "hpexpireat",
            summary: "Makes fields expire at a Unix time in milliseconds",
            ..EXPIRY_WRITER
        },
        run: expiry::hpexpireat,
    },
    Command {
        spec: Spec {
            name: "hpexpiretime",
            summary: "Gives the Unix times in milliseconds at which fields expire",
            ..EXPIRY_READER
        },
        run: expiry::hpexpiretime,
    },
    Command {
        spec: Spec {
            name: "hpttl",
            tips: &["nondeterministic_output"],
            summary: "Gives the milliseconds that fields have left",
            ..EXPIRY_READER
        },
        run: expiry::hpttl,
    },
    Command {
        spec: Spec {
            name: "hrandfield",
            foreseen: Foreseen::Value,
            arity: AtLeast(2),
            flags: Flags::READONLY,
            since: "6.2.0",
            complexity: "O(log N) for each field",
            tips: &["nondeterministic_output"],
            summary: "Gives random fields of a hash",
            arguments: &[key("key"), block("options", &[integer("count"), word("WITHVALUES").optional()]).optional()],
            ..READER
        },
        run: random::hrandfield,
    },
    Command {
        spec: Spec {
            name: "hscan",
            arity: AtLeast(3),
            flags: Flags::READONLY,
            since: "2.8.0",
            complexity: "O(1) a call, O(N) for a whole walk over N fields",
            tips: &["nondeterministic_output"],
            summary: "Walks over the fields of a hash in steps",
            arguments: &[
                key("key"),
                integer("cursor"),
                pattern("pattern").token("MATCH").optional(),
                integer("count").token("COUNT").optional(),
            ],
            ..READER
        },
        run: super::hscan,
    },
    Command {
        spec: Spec {
            name: "hset",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(4),
            keys: UPDATE,
            complexity: "O(log N) for each field",
            summary: "Sets fields of a hash, creating it if need be",
            arguments: &[key("key"), block("field_value", &[string("field"), string("value")]).multiple()],
            history: &[("4.0.0", "Takes several fields with their values")],
            ..GROWER
        },
        run: super::hset,
    },
    Command {
        spec: Spec {
            name: "hsetex",
            arity: AtLeast(6),
            keys: UPDATE,
            since: "8.0.0",
            complexity: "O(log N) for each field",
            summary: "Sets fields of a hash and when they expire",
            ..GROWER
        },
        run: timed::hsetex,
    },
    Command {
        spec: Spec {
            name: "hsetnx",
            foreseen: Foreseen::Element(2),
            arity: Exact(4),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::INSERT), 1, 1, 1)],
            summary: "Sets a field, but only if it is not there",
            arguments: &[key("key"), string("field"), string("value")],
            ..GROWER
        },
        run: super::hsetnx,
    },
    Command {
        spec: Spec {
            name: "hstrlen",
            foreseen: Foreseen::Element(2),
            arity: Exact(3),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            since: "3.2.0",
            summary: "Gives the length of the value of a field",
            arguments: &[key("key"), string("field")],
            ..READER
        },
        run: super::hstrlen,
    },
    Command {
        spec: Spec {
            name: "httl",
            tips: &["nondeterministic_output"],
            summary: "Gives the seconds that fields have left",
            ..EXPIRY_READER
        },
        run: expiry::httl,
    },
    Command {
        spec: Spec { name: "hvals", summary: "Gives all values of a hash", arguments: &[key("key")], ..WHOLE },
        run: super::hvals,
    },
];
