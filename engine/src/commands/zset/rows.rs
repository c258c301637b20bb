//! The sorted sets' rows of the command table.

use super::{algebra, pop, range, write};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{Argument, block, double, integer, key, key_of, one_of, pattern, string, word};
use crate::command::{Categories, Command, Deprecated, Flags, Foreseen, KeyFlags, KeySpec, Spec, Spread};

const SORTED_SET: Spec = Spec { group: "sorted-set", own_categories: Categories::SORTEDSET, ..Spec::BASE };
const READ: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const OVERWRITE: KeyFlags = KeyFlags::OW.or(KeyFlags::UPDATE);
const ACCESS_AND_DELETE: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);
const ADD: Flags = Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST);
/// A row about reading one sorted set in little time.
const READ_FAST: Spec = Spec { flags: Flags::READONLY.or(Flags::FAST), ..SORTED_SET };
/// A row about reading one sorted set, perhaps all of it.
const READ_SLOW: Spec = Spec { flags: Flags::READONLY, keys: &[KeySpec::range(READ, 1, 1, 1)], ..SORTED_SET };
/// A row about a range of members.
const RANGE: Spec = Spec { arity: AtLeast(4), complexity: "O(log N + M) for M members of the range", ..READ_SLOW };
/// A row about several sorted sets that are read.
const ALGEBRA: Spec = Spec {
    arity: AtLeast(3),
    keys: &[KeySpec::counted(READ, 1, 1)],
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    spread: Spread::Overlay,
    since: "6.2.0",
    complexity: "O(N) + O(N*log(N)) in the number of members of all inputs",
    ..SORTED_SET
};
/// A row about several sorted sets whose result is stored.
const STORE: Spec = Spec {
    arity: AtLeast(4),
    keys: &[KeySpec::range(OVERWRITE, 1, 1, 1), KeySpec::counted(READ, 2, 1)],
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    since: "2.0.0",
    ..ALGEBRA
};

const AGGREGATE: Argument = one_of("aggregate", &[word("SUM"), word("MIN"), word("MAX")]).token("AGGREGATE").optional();
const WEIGHTS: Argument = integer("weight").token("WEIGHTS").optional().multiple();
const LIMIT: Argument = block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").optional();

/// A row about members that may be waited for.
const WAITING_POP: Spec = Spec {
    arity: AtLeast(3),
    keys: &[KeySpec::range(ACCESS_AND_DELETE, 1, -2, 1)],
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::FAST),
    spread: Spread::Overlay,
    since: "5.0.0",
    complexity: "O(log N)",
    arguments: &[key("key").multiple(), double("timeout")],
    history: &[("6.0.0", "The timeout may have decimals.")],
    ..SORTED_SET
};

/// Every command on sorted sets.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "bzmpop",
            arity: AtLeast(5),
            keys: &[KeySpec::counted(ACCESS_AND_DELETE, 2, 1)],
            flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
            spread: Spread::Overlay,
            since: "7.0.0",
            complexity: "O(K) + O(M*log(N)): the keys, and the members that are removed",
            summary: "Removes members from an end of the first sorted set that is not empty, and waits for one if need be",
            arguments: &[
                double("timeout"),
                integer("numkeys"),
                key("key").multiple(),
                one_of("where", &[word("MIN"), word("MAX")]),
                integer("count").token("COUNT").optional(),
            ],
            ..SORTED_SET
        },
        run: pop::bzmpop,
    },
    Command {
        spec: Spec {
            name: "bzpopmax",
            summary: "Removes the member with the highest score of the first sorted set, and waits for one if need be",
            ..WAITING_POP
        },
        run: pop::bzpopmax,
    },
    Command {
        spec: Spec {
            name: "bzpopmin",
            summary: "Removes the member with the lowest score of the first sorted set, and waits for one if need be",
            ..WAITING_POP
        },
        run: pop::bzpopmin,
    },
    Command {
        spec: Spec {
            name: "zadd",
            foreseen: Foreseen::Element(3),
            arity: AtLeast(4),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::UPDATE), 1, 1, 1)],
            flags: ADD,
            since: "1.2.0",
            complexity: "O(log N) for each member",
            summary: "Adds members to a sorted set or changes their scores",
            arguments: &[
                key("key"),
                one_of("condition", &[word("NX"), word("XX")]).since("3.0.2").optional(),
                one_of("comparison", &[word("GT"), word("LT")]).since("6.2.0").optional(),
                Argument { name: "change", ..word("CH") }.since("3.0.2").optional(),
                Argument { name: "increment", ..word("INCR") }.since("3.0.2").optional(),
                block("score_member", &[double("score"), string("member")]).multiple(),
            ],
            history: &[
                ("2.4.0", "Takes several members"),
                ("3.0.2", "Takes `XX`, `NX`, `CH` and `INCR`"),
                ("6.2.0", "Takes `GT` and `LT`"),
            ],
            ..SORTED_SET
        },
        run: write::zadd,
    },
    Command {
        spec: Spec {
            name: "zcard",
            arity: Exact(2),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            since: "1.2.0",
            summary: "Counts the members of a sorted set",
            arguments: &[key("key")],
            ..READ_FAST
        },
        run: super::zcard,
    },
    Command {
        spec: Spec {
            name: "zcount",
            foreseen: Foreseen::Value,
            arity: Exact(4),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            since: "2.0.0",
            complexity: "O(log N)",
            summary: "Counts the members with scores in a range",
            arguments: &[key("key"), double("min"), double("max")],
            ..READ_FAST
        },
        run: range::zcount,
    },
    Command {
        spec: Spec {
            name: "zdiff",
            summary: "Gives the members of the first sorted set that no other has",
            arguments: &[integer("numkeys"), key("key").multiple(), word("WITHSCORES").optional()],
            ..ALGEBRA
        },
        run: algebra::zdiff,
    },
    Command {
        spec: Spec {
            name: "zdiffstore",
            since: "6.2.0",
            summary: "Stores the members of the first sorted set that no other has",
            arguments: &[key("destination"), integer("numkeys"), key_of(1, "key").multiple()],
            ..STORE
        },
        run: algebra::zdiffstore,
    },
    Command {
        spec: Spec {
            name: "zincrby",
            foreseen: Foreseen::Element(3),
            arity: Exact(4),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::ACCESS.or(KeyFlags::UPDATE)), 1, 1, 1)],
            flags: ADD,
            since: "1.2.0",
            complexity: "O(log N)",
            summary: "Adds to the score of a member",
            arguments: &[key("key"), integer("increment"), string("member")],
            ..SORTED_SET
        },
        run: write::zincrby,
    },
    Command {
        spec: Spec {
            name: "zinter",
            complexity: "O(N*K) + O(M*log(M)) at worst: the smallest input, the number of inputs, the result",
            summary: "Gives the members that all sorted sets have",
            arguments: &[integer("numkeys"), key("key").multiple(), WEIGHTS, AGGREGATE, word("WITHSCORES").optional()],
            ..ALGEBRA
        },
        run: algebra::zinter,
    },
    Command {
        spec: Spec {
            name: "zintercard",
            since: "7.0.0",
            complexity: "O(N*K) at worst: the smallest input times the number of inputs",
            summary: "Counts the members that all sorted sets have, up to a limit",
            arguments: &[integer("numkeys"), key("key").multiple(), integer("limit").token("LIMIT").optional()],
            ..ALGEBRA
        },
        run: algebra::zintercard,
    },
    Command {
        spec: Spec {
            name: "zinterstore",
            complexity: "O(N*K) + O(M*log(M)) at worst: the smallest input, the number of inputs, the result",
            summary: "Stores the members that all sorted sets have",
            arguments: &[key("destination"), integer("numkeys"), key_of(1, "key").multiple(), WEIGHTS, AGGREGATE],
            ..STORE
        },
        run: algebra::zinterstore,
    },
    Command {
        spec: Spec {
            name: "zlexcount",
            arity: Exact(4),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            since: "2.8.9",
            complexity: "O(log N)",
            summary: "Counts the members with names in a range",
            arguments: &[key("key"), string("min"), string("max")],
            ..READ_FAST
        },
        run: range::zlexcount,
    },
    Command {
        spec: Spec {
            name: "zmpop",
            arity: AtLeast(4),
            keys: &[KeySpec::counted(ACCESS_AND_DELETE, 1, 1)],
            flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
            spread: Spread::Overlay,
            since: "7.0.0",
            complexity: "O(K) + O(M*log(N)): the keys, and the members that are removed",
            summary: "Removes members from an end of the first sorted set that is not empty and gives them",
            arguments: &[
                integer("numkeys"),
                key("key").multiple(),
                one_of("where", &[word("MIN"), word("MAX")]),
                integer("count").token("COUNT").optional(),
            ],
            ..SORTED_SET
        },
        run: pop::zmpop,
    },
    Command {
        spec: Spec {
            name: "zmscore",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(3),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            since: "6.2.0",
            complexity: "O(log N) for each member",
            summary: "Gives the scores of several members",
            arguments: &[key("key"), string("member").multiple()],
            ..READ_FAST
        },
        run: super::zmscore,
    },
    Command {
        spec: Spec {
            name: "zpopmax",
            foreseen: Foreseen::Value,
            arity: AtLeast(2),
            keys: &[KeySpec::range(ACCESS_AND_DELETE, 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            since: "5.0.0",
            complexity: "O(log N) for each member",
            summary: "Removes the members with the highest scores and gives them",
            arguments: &[key("key"), integer("count").optional()],
            ..SORTED_SET
        },
        run: pop::zpopmax,
    },
    Command {
        spec: Spec {
            name: "zpopmin",
            foreseen: Foreseen::Value,
            arity: AtLeast(2),
            keys: &[KeySpec::range(ACCESS_AND_DELETE, 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            since: "5.0.0",
            complexity: "O(log N) for each member",
            summary: "Removes the members with the lowest scores and gives them",
            arguments: &[key("key"), integer("count").optional()],
            ..SORTED_SET
        },
        run: pop::zpopmin,
    },
    Command {
        spec: Spec {
            name: "zrandmember",
            foreseen: Foreseen::Value,
            arity: AtLeast(2),
            since: "6.2.0",
            complexity: "O(log N) for each member",
            summary: "Gives random members of a sorted set",
            tips: &["nondeterministic_output"],
            arguments: &[key("key"), block("options", &[integer("count"), word("WITHSCORES").optional()]).optional()],
            ..READ_SLOW
        },
        run: pop::zrandmember,
    },
    Command {
        spec: Spec {
            name: "zrange",
            foreseen: Foreseen::Value,
            since: "1.2.0",
            summary: "Gives the members of a range by rank, score or name",
            arguments: &[
                key("key"),
                string("start"),
                string("stop"),
                one_of("sortby", &[word("BYSCORE"), word("BYLEX")]).since("6.2.0").optional(),
                word("REV").since("6.2.0").optional(),
                block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").since("6.2.0").optional(),
                word("WITHSCORES").optional(),
            ],
            history: &[("6.2.0", "Takes `REV`, `BYSCORE`, `BYLEX` and `LIMIT`")],
            ..RANGE
        },
        run: range::zrange,
    },
    Command {
        spec: Spec {
            name: "zrangebylex",
            since: "2.8.9",
            summary: "Gives the members with names in a range",
            deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `BYLEX` argument" }),
            arguments: &[key("key"), string("min"), string("max"), LIMIT],
            ..RANGE
        },
        run: range::zrangebylex,
    },
    Command {
        spec: Spec {
            name: "zrangebyscore",
            foreseen: Foreseen::Value,
            since: "1.0.5",
            summary: "Gives the members with scores in a range",
            deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `BYSCORE` argument" }),
            arguments: &[key("key"), double("min"), double("max"), word("WITHSCORES").since("2.0.0").optional(), LIMIT],
            history: &[("2.0.0", "Takes `WITHSCORES`")],
            ..RANGE
        },
        run: range::zrangebyscore,
    },
    Command {
        spec: Spec {
            name: "zrangestore",
            arity: AtLeast(5),
            keys: &[KeySpec::range(OVERWRITE, 1, 1, 1), KeySpec::range(READ, 2, 2, 1)],
            flags: Flags::WRITE.or(Flags::DENYOOM),
            spread: Spread::Overlay,
            since: "6.2.0",
            complexity: "O(log N + M) for M members of the range",
            summary: "Stores the members of a range by rank, score or name",
            arguments: &[
                key("dst"),
                key_of(1, "src"),
                string("min"),
                string("max"),
                one_of("sortby", &[word("BYSCORE"), word("BYLEX")]).optional(),
                word("REV").optional(),
                LIMIT,
            ],
            ..SORTED_SET
        },
        run: range::zrangestore,
    },
    Command {
        spec: Spec {
            name: "zrank",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(3),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            since: "2.0.0",
            complexity: "O(log N)",
            summary: "Gives the rank of a member, counted from the lowest score",
            arguments: &[key("key"), string("member")],
            ..READ_FAST
        },
        run: super::zrank,
    },
    Command {
        spec: Spec {
            name: "zrevrank",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(3),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            since: "2.0.0",
            complexity: "O(log N)",
            summary: "Gives the rank of a member, counted from the highest score",
            arguments: &[key("key"), string("member")],
            ..READ_FAST
        },
        run: super::zrevrank,
    },
    Command {
        spec: Spec {
            name: "zrem",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(3),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::DELETE), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::FAST),
            since: "1.2.0",
            complexity: "O(log N) for each member",
            summary: "Removes members from a sorted set, and the sorted set with its last one",
            arguments: &[key("key"), string("member").multiple()],
            history: &[("2.4.0", "Takes several members")],
            ..SORTED_SET
        },
        run: write::zrem,
    },
    Command {
        spec: Spec {
            name: "zremrangebylex",
            arity: Exact(4),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::DELETE), 1, 1, 1)],
            flags: Flags::WRITE,
            since: "2.8.9",
            complexity: "O(log N) for each member of the range",
            summary: "Removes the members with names in a range",
            arguments: &[key("key"), string("min"), string("max")],
            ..SORTED_SET
        },
        run: range::zremrangebylex,
    },
    Command {
        spec: Spec {
            name: "zremrangebyrank",
            arity: Exact(4),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::DELETE), 1, 1, 1)],
            flags: Flags::WRITE,
            since: "2.0.0",
            complexity: "O(log N) for each member of the range",
            summary: "Removes the members with ranks in a range",
            arguments: &[key("key"), integer("start"), integer("stop")],
            ..SORTED_SET
        },
        run: range::zremrangebyrank,
    },
    Command {
        spec: Spec {
            name: "zremrangebyscore",
            arity: Exact(4),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::DELETE), 1, 1, 1)],
            flags: Flags::WRITE,
            since: "1.2.0",
            complexity: "O(log N) for each member of the range",
            summary: "Removes the members with scores in a range",
            arguments: &[key("key"), double("min"), double("max")],
            ..SORTED_SET
        },
        run: range::zremrangebyscore,
    },
    Command {
        spec: Spec {
            name: "zrevrange",
            foreseen: Foreseen::Value,
            since: "1.2.0",
            summary: "Gives the members of a range of ranks, from the highest score down",
            deprecated: Some(Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `REV` argument" }),
            arguments: &[key("key"), integer("start"), integer("stop"), word("WITHSCORES").optional()],
            ..RANGE
        },
        run: range::zrevrange,
    },
    Command {
        spec: Spec {
            name: "zrevrangebylex",
            since: "2.8.9",
            summary: "Gives the members with names in a range, from the last down",
            deprecated: Some(Deprecated {
                since: "6.2.0",
                replaced_by: "`ZRANGE` with the `REV` and `BYLEX` arguments",
            }),
            arguments: &[key("key"), string("max"), string("min"), LIMIT],
            ..RANGE
        },
        run: range::zrevrangebylex,
    },
    Command {
        spec: Spec {
            name: "zrevrangebyscore",
            foreseen: Foreseen::Value,
            since: "2.2.0",
            summary: "Gives the members with scores in a range, from the highest down",
            deprecated: Some(Deprecated {
                since: "6.2.0",
                replaced_by: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
            }),
            arguments: &[key("key"), double("max"), double("min"), word("WITHSCORES").optional(), LIMIT],
            history: &[("2.1.6", "Bounds may be exclusive")],
            ..RANGE
        },
        run: range::zrevrangebyscore,
    },
    Command {
        spec: Spec {
            name: "zscan",
            arity: AtLeast(3),
            since: "2.8.0",
            complexity: "O(1) a call, O(N) for a whole walk over N members",
            summary: "Walks over the members of a sorted set and their scores in steps",
            tips: &["nondeterministic_output"],
            arguments: &[
                key("key"),
                integer("cursor"),
                pattern("pattern").token("MATCH").optional(),
                integer("count").token("COUNT").optional(),
            ],
            ..READ_SLOW
        },
        run: super::zscan,
    },
    Command {
        spec: Spec {
            name: "zscore",
            foreseen: Foreseen::Element(2),
            arity: Exact(3),
            keys: &[KeySpec::range(READ, 1, 1, 1)],
            since: "1.2.0",
            complexity: "O(log N)",
            summary: "Gives the score of a member",
            arguments: &[key("key"), string("member")],
            ..READ_FAST
        },
        run: super::zscore,
    },
    Command {
        spec: Spec {
            name: "zunion",
            summary: "Gives the members that any of the sorted sets has",
            arguments: &[integer("numkeys"), key("key").multiple(), WEIGHTS, AGGREGATE, word("WITHSCORES").optional()],
            ..ALGEBRA
        },
        run: algebra::zunion,
    },
    Command {
        spec: Spec {
            name: "zunionstore",
            summary: "Stores the members that any of the sorted sets has",
            arguments: &[key("destination"), integer("numkeys"), key_of(1, "key").multiple(), WEIGHTS, AGGREGATE],
            ..STORE
        },
        run: algebra::zunionstore,
    },
];
