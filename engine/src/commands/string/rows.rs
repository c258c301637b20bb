//! The strings' rows of the command table.

use super::{condition, counter, lcs, range, set, several};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{Argument, block, double, integer, key, one_of, string, time, word};
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

const KEY_VALUE: Argument = block("key_value", &[key("key"), string("value")]).multiple();
const IN_SECONDS: Argument = integer("seconds").token("EX");
const IN_MILLISECONDS: Argument = integer("milliseconds").token("PX");
const AT_SECONDS: Argument = time("unix-time-seconds").token("EXAT");
const AT_MILLISECONDS: Argument = time("unix-time-milliseconds").token("PXAT");
const IF_EQUAL: Argument = string("ifeq-value").token("IFEQ").since("8.4.0");
const IF_NOT_EQUAL: Argument = string("ifne-value").token("IFNE").since("8.4.0");
const IF_DIGEST_EQUAL: Argument = string("ifdeq-digest").token("IFDEQ").since("8.4.0");
const IF_DIGEST_NOT_EQUAL: Argument = string("ifdne-digest").token("IFDNE").since("8.4.0");
const VALUE_CONDITIONS: &[Argument] = &[IF_EQUAL, IF_NOT_EQUAL, IF_DIGEST_EQUAL, IF_DIGEST_NOT_EQUAL];
const SET_CONDITIONS: &[Argument] =
    &[word("NX"), word("XX"), IF_EQUAL, IF_NOT_EQUAL, IF_DIGEST_EQUAL, IF_DIGEST_NOT_EQUAL];

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
            arguments: &[key("key"), string("value")],
            ..STRING
        },
        run: super::append,
    },
    Command {
        spec: Spec {
            name: "decr",
            arity: Exact(2),
            summary: "Takes one from a number",
            arguments: &[key("key")],
            ..COUNTER
        },
        run: counter::decr,
    },
    Command {
        spec: Spec {
            name: "decrby",
            arity: Exact(3),
            summary: "Takes an amount from a number",
            arguments: &[key("key"), integer("decrement")],
            ..COUNTER
        },
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
            arguments: &[key("key"), one_of("condition", VALUE_CONDITIONS).optional()],
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
            arguments: &[key("key"), string("value")],
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
            arguments: &[key("key")],
            ..READER
        },
        run: condition::digest,
    },
    Command {
        spec: Spec { name: "get", arity: Exact(2), summary: "Reads a string", arguments: &[key("key")], ..READER },
        run: super::get,
    },
    Command {
        spec: Spec {
            name: "getdel",
            arity: Exact(2),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            since: "6.2.0",
            summary: "Reads a string and removes its key",
            arguments: &[key("key")],
            ..STRING
        },
        run: super::getdel,
    },
    Command {
        spec: Spec {
            name: "getex",
            arity: AtLeast(2),
            keys: &[ACCESS_AND_UPDATE[0].noted("Reads the value and may change the expiry")],
            flags: Flags::WRITE.or(Flags::FAST),
            since: "6.2.0",
            summary: "Reads a string and sets or clears when its key expires",
            arguments: &[
                key("key"),
                one_of("expiration", &[IN_SECONDS, IN_MILLISECONDS, AT_SECONDS, AT_MILLISECONDS, word("PERSIST")])
                    .optional(),
            ],
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
            arguments: &[key("key"), integer("start"), integer("end")],
            ..READER
        },
        run: range::getrange,
    },
    Command {
        spec: Spec {
            name: "getset",
            arity: Exact(3),
            summary: "Stores a string and gives the one that was there",
            arguments: &[key("key"), string("value")],
            deprecated: replaced("6.2.0", "`SET` with the `!GET` argument"),
            ..COUNTER
        },
        run: super::getset,
    },
    Command {
        spec: Spec {
            name: "incr",
            arity: Exact(2),
            summary: "Adds one to a number",
            arguments: &[key("key")],
            ..COUNTER
        },
        run: counter::incr,
    },
    Command {
        spec: Spec {
            name: "incrby",
            arity: Exact(3),
            summary: "Adds an amount to a number",
            arguments: &[key("key"), integer("increment")],
            ..COUNTER
        },
        run: counter::incrby,
    },
    Command {
        spec: Spec {
            name: "incrbyfloat",
            arity: Exact(3),
            since: "2.6.0",
            summary: "Adds an amount with a fraction to a number",
            arguments: &[key("key"), double("increment")],
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
            arguments: &[
                key("key"),
                one_of("increment", &[integer("integer").token("BYINT"), double("number").token("BYFLOAT")]).optional(),
                double("lower-bound").token("LBOUND").optional(),
                double("upper-bound").token("UBOUND").optional(),
                word("SATURATE").optional(),
                one_of("expiration", &[IN_SECONDS, IN_MILLISECONDS, AT_SECONDS, AT_MILLISECONDS, word("PERSIST")])
                    .optional(),
                word("ENX").optional(),
            ],
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
            arguments: &[
                key("key1"),
                key("key2"),
                word("LEN").optional(),
                word("IDX").optional(),
                integer("len").token("MINMATCHLEN").optional(),
                word("WITHMATCHLEN").optional(),
            ],
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
            arguments: &[key("key").multiple()],
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
            arguments: &[KEY_VALUE],
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
            arguments: &[
                integer("numkeys"),
                KEY_VALUE,
                one_of("condition", &[word("NX"), word("XX")]).optional(),
                one_of("expiration", &[IN_SECONDS, IN_MILLISECONDS, AT_SECONDS, AT_MILLISECONDS, word("KEEPTTL")])
                    .optional(),
            ],
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
            arguments: &[KEY_VALUE],
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
            arguments: &[key("key"), integer("milliseconds"), string("value")],
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
            )
            .noted("With `GET` the old value is read and shown")],
            flags: WRITE,
            summary: "Stores a string, whatever was there; on condition and with an expiry if wanted",
            arguments: &[
                key("key"),
                string("value"),
                one_of("condition", SET_CONDITIONS).optional().since("2.6.12"),
                word("GET").optional().since("6.2.0"),
                one_of(
                    "expiration",
                    &[
                        IN_SECONDS.since("2.6.12"),
                        IN_MILLISECONDS.since("2.6.12"),
                        AT_SECONDS.since("6.2.0"),
                        AT_MILLISECONDS.since("6.2.0"),
                        word("KEEPTTL").since("6.0.0"),
                    ],
                )
                .optional(),
            ],
            history: &[
                ("2.6.12", "New options: `EX`, `PX`, `NX` and `XX`."),
                ("6.0.0", "New option: `KEEPTTL`."),
                ("6.2.0", "New options: `GET`, `EXAT` and `PXAT`."),
                ("7.0.0", "`NX` and `GET` may stand together."),
                ("8.4.0", "New conditions: `IFEQ`, `IFNE`, `IFDEQ` and `IFDNE`."),
            ],
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
            arguments: &[key("key"), integer("seconds"), string("value")],
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
            arguments: &[key("key"), string("value")],
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
            arguments: &[key("key"), integer("offset"), string("value")],
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
            arguments: &[key("key")],
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
            arguments: &[key("key"), integer("start"), integer("end")],
            deprecated: replaced("2.0.0", "`GETRANGE`"),
            ..READER
        },
        run: range::getrange,
    },
];
