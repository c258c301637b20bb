//! The rows of the command table for keys of any type.

use super::{expire, object, relocate, scan};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{Argument, integer, key, key_of, one_of, pattern, string, time, word};
use crate::command::{Categories, Command, Flags, KeyFlags, KeySpec, Spec, Spread};

const GENERIC: Spec = Spec { group: "generic", own_categories: Categories::KEYSPACE, ..Spec::BASE };
/// A row about the expiry of one key that is asked for.
const EXPIRY_READER: Spec = Spec {
    arity: Exact(2),
    keys: &[KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 1, 1, 1)],
    flags: Flags::READONLY.or(Flags::FAST),
    ..GENERIC
};
/// A row about the expiry of one key that is set.
const EXPIRY_WRITER: Spec = Spec {
    arity: AtLeast(3),
    keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::UPDATE), 1, 1, 1)],
    flags: Flags::WRITE.or(Flags::FAST),
    ..GENERIC
};
/// A row about several keys that are counted.
const COUNTED: Spec = Spec {
    arity: AtLeast(2),
    spread: Spread::Sum,
    complexity: "O(N) in the number of keys",
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    ..GENERIC
};
const EXPIRY_CONDITION: Argument =
    one_of("condition", &[word("NX"), word("XX"), word("GT"), word("LT")]).optional().since("7.0.0");
const READ_ALL: &[KeySpec] = &[KeySpec::range(KeyFlags::RO, 1, -1, 1)];
const REMOVE_ALL: &[KeySpec] = &[KeySpec::range(KeyFlags::RM.or(KeyFlags::DELETE), 1, -1, 1)];
const MOVED: KeySpec = KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE), 1, 1, 1);

/// A row about the inside of one value.
const INSPECTOR: Spec = Spec {
    arity: Exact(3),
    keys: &[KeySpec::range(KeyFlags::RO, 2, 2, 1)],
    flags: Flags::READONLY,
    since: "2.2.3",
    tips: &["nondeterministic_output"],
    ..GENERIC
};
static OBJECT_ENCODING: Spec =
    Spec { name: "encoding", summary: "Names the representation of a value", arguments: &[key("key")], ..INSPECTOR };
static OBJECT_FREQ: Spec = Spec {
    name: "freq",
    since: "4.0.0",
    summary: "Gives a key's logarithmic access counter",
    arguments: &[key("key")],
    ..INSPECTOR
};
static OBJECT_IDLETIME: Spec = Spec {
    name: "idletime",
    summary: "Gives the seconds since a key was last accessed",
    arguments: &[key("key")],
    ..INSPECTOR
};
static OBJECT_REFCOUNT: Spec =
    Spec { name: "refcount", summary: "Counts the references to a value", arguments: &[key("key")], ..INSPECTOR };
static OBJECT_HELP: Spec = Spec {
    name: "help",
    arity: Exact(2),
    flags: Flags::LOADING.or(Flags::STALE),
    since: "6.2.0",
    summary: "Lists the subcommands",
    ..GENERIC
};

/// Every command on keys of any type.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "copy",
            arity: AtLeast(3),
            keys: &[
                KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 1, 1, 1),
                KeySpec::range(KeyFlags::OW.or(KeyFlags::UPDATE), 2, 2, 1),
            ],
            flags: Flags::WRITE.or(Flags::DENYOOM),
            spread: Spread::Overlay,
            since: "6.2.0",
            complexity: "O(1) on one shard: a large value is shared until one side changes; else O(N) in its size",
            summary: "Copies a value with its expiry to another key, or to another database",
            arguments: &[
                key("source"),
                key_of(1, "destination"),
                integer("destination-db").token("DB").optional(),
                word("REPLACE").optional(),
            ],
            ..GENERIC
        },
        run: relocate::copy,
    },
    Command {
        spec: Spec {
            name: "del",
            keys: REMOVE_ALL,
            flags: Flags::WRITE,
            summary: "Removes keys",
            arguments: &[key("key").multiple()],
            ..COUNTED
        },
        run: super::del,
    },
    Command {
        spec: Spec {
            name: "exists",
            keys: READ_ALL,
            flags: Flags::READONLY.or(Flags::FAST),
            summary: "Counts how many of the keys exist",
            arguments: &[key("key").multiple()],
            history: &[("3.0.3", "Takes several keys.")],
            ..COUNTED
        },
        run: super::exists,
    },
    Command {
        spec: Spec {
            name: "expire",
            summary: "Makes a key expire after some seconds",
            arguments: &[key("key"), integer("seconds"), EXPIRY_CONDITION],
            history: &[("7.0.0", "New options: `NX`, `XX`, `GT` and `LT`.")],
            ..EXPIRY_WRITER
        },
        run: expire::expire,
    },
    Command {
        spec: Spec {
            name: "expireat",
            since: "1.2.0",
            summary: "Makes a key expire at a Unix time in seconds",
            arguments: &[key("key"), time("unix-time-seconds"), EXPIRY_CONDITION],
            history: &[("7.0.0", "New options: `NX`, `XX`, `GT` and `LT`.")],
            ..EXPIRY_WRITER
        },
        run: expire::expireat,
    },
    Command {
        spec: Spec {
            name: "expiretime",
            since: "7.0.0",
            summary: "Gives the Unix time in seconds at which a key expires",
            arguments: &[key("key")],
            ..EXPIRY_READER
        },
        run: expire::expiretime,
    },
    Command {
        spec: Spec {
            name: "keys",
            arity: Exact(2),
            flags: Flags::READONLY.or(Flags::TOUCHES_ARBITRARY_KEYS),
            own_categories: Categories::KEYSPACE.or(Categories::DANGEROUS),
            spread: Spread::AllShardsConcat,
            complexity: "O(N) in the number of keys of the database",
            summary: "Lists all keys that match a pattern",
            arguments: &[pattern("pattern")],
            tips: &["request_policy:all_shards", "nondeterministic_output_order"],
            ..GENERIC
        },
        run: scan::keys,
    },
    Command {
        spec: Spec {
            name: "move",
            arity: Exact(3),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            summary: "Moves a key to another database",
            arguments: &[key("key"), integer("db")],
            ..GENERIC
        },
        run: relocate::move_key,
    },
    Command {
        spec: Spec {
            name: "object",
            arity: AtLeast(2),
            own_categories: Categories::NONE,
            since: "2.2.3",
            complexity: "O(1) for every subcommand",
            summary: "Shows the inside of values through its subcommands",
            subcommands: &[&OBJECT_ENCODING, &OBJECT_FREQ, &OBJECT_HELP, &OBJECT_IDLETIME, &OBJECT_REFCOUNT],
            ..GENERIC
        },
        run: object::object,
    },
    Command {
        spec: Spec {
            name: "persist",
            arity: Exact(2),
            since: "2.2.0",
            summary: "Makes a key stay for ever",
            arguments: &[key("key")],
            ..EXPIRY_WRITER
        },
        run: expire::persist,
    },
    Command {
        spec: Spec {
            name: "pexpire",
            since: "2.6.0",
            summary: "Makes a key expire after some milliseconds",
            arguments: &[key("key"), integer("milliseconds"), EXPIRY_CONDITION],
            history: &[("7.0.0", "New options: `NX`, `XX`, `GT` and `LT`.")],
            ..EXPIRY_WRITER
        },
        run: expire::pexpire,
    },
    Command {
        spec: Spec {
            name: "pexpireat",
            since: "2.6.0",
            summary: "Makes a key expire at a Unix time in milliseconds",
            arguments: &[key("key"), time("unix-time-milliseconds"), EXPIRY_CONDITION],
            history: &[("7.0.0", "New options: `NX`, `XX`, `GT` and `LT`.")],
            ..EXPIRY_WRITER
        },
        run: expire::pexpireat,
    },
    Command {
        spec: Spec {
            name: "pexpiretime",
            since: "7.0.0",
            summary: "Gives the Unix time in milliseconds at which a key expires",
            arguments: &[key("key")],
            ..EXPIRY_READER
        },
        run: expire::pexpiretime,
    },
    Command {
        spec: Spec {
            name: "pttl",
            since: "2.6.0",
            summary: "Gives the milliseconds that a key has left",
            arguments: &[key("key")],
            history: &[("2.8.0", "Answers -2 for a key that does not exist.")],
            tips: &["nondeterministic_output"],
            ..EXPIRY_READER
        },
        run: expire::pttl,
    },
    Command {
        spec: Spec {
            name: "randomkey",
            arity: Exact(1),
            flags: Flags::READONLY.or(Flags::TOUCHES_ARBITRARY_KEYS),
            spread: Spread::Walk,
            summary: "Gives the name of some key",
            tips: &["request_policy:all_shards", "nondeterministic_output"],
            ..GENERIC
        },
        run: super::randomkey,
    },
    Command {
        spec: Spec {
            name: "rename",
            arity: Exact(3),
            keys: &[MOVED, KeySpec::range(KeyFlags::OW.or(KeyFlags::UPDATE), 2, 2, 1)],
            flags: Flags::WRITE,
            spread: Spread::Overlay,
            summary: "Gives a key another name, overwriting the key of that name",
            arguments: &[key("key"), key_of(1, "newkey")],
            ..GENERIC
        },
        run: relocate::rename,
    },
    Command {
        spec: Spec {
            name: "renamenx",
            arity: Exact(3),
            keys: &[MOVED, KeySpec::range(KeyFlags::OW.or(KeyFlags::INSERT), 2, 2, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            spread: Spread::Overlay,
            summary: "Gives a key another name, but only if no key has it",
            arguments: &[key("key"), key_of(1, "newkey")],
            history: &[("3.2.0", "No error any more when both names are the same.")],
            ..GENERIC
        },
        run: relocate::renamenx,
    },
    Command {
        spec: Spec {
            name: "scan",
            arity: AtLeast(2),
            flags: Flags::READONLY.or(Flags::TOUCHES_ARBITRARY_KEYS),
            spread: Spread::Walk,
            since: "2.8.0",
            complexity: "O(1) a call, O(N) for a whole walk over N keys",
            summary: "Walks over the keys in steps; a key that is there throughout is seen",
            arguments: &[
                integer("cursor"),
                pattern("pattern").token("MATCH").optional(),
                integer("count").token("COUNT").optional(),
                string("type").token("TYPE").optional().since("6.0.0"),
            ],
            history: &[("6.0.0", "New option: `TYPE`.")],
            tips: &["nondeterministic_output", "request_policy:special"],
            ..GENERIC
        },
        run: scan::scan,
    },
    Command {
        spec: Spec {
            name: "touch",
            keys: READ_ALL,
            flags: Flags::READONLY.or(Flags::FAST),
            since: "3.2.1",
            summary: "Marks keys as just accessed and counts those that exist",
            arguments: &[key("key").multiple()],
            ..COUNTED
        },
        run: super::touch,
    },
    Command {
        spec: Spec {
            name: "ttl",
            summary: "Gives the seconds that a key has left",
            arguments: &[key("key")],
            history: &[("2.8.0", "Answers -2 for a key that does not exist.")],
            tips: &["nondeterministic_output"],
            ..EXPIRY_READER
        },
        run: expire::ttl,
    },
    Command {
        spec: Spec {
            name: "type",
            arity: Exact(2),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            flags: Flags::READONLY.or(Flags::FAST),
            summary: "Names the type of a value",
            arguments: &[key("key")],
            ..GENERIC
        },
        run: super::type_of,
    },
    Command {
        spec: Spec {
            name: "unlink",
            keys: REMOVE_ALL,
            flags: Flags::WRITE.or(Flags::FAST),
            since: "4.0.0",
            complexity: "O(1) a key; memory of large values comes back later",
            summary: "Removes keys, freeing their memory in the background",
            arguments: &[key("key").multiple()],
            ..COUNTED
        },
        run: super::del,
    },
];
