//! The streams' rows of the command table.

use super::{add, claim, delete, group, info, range, read};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{Argument, block, integer, key, one_of, string, time, word};
use crate::command::{BeginSearch, Categories, Command, FindKeys, Flags, KeyFlags, KeySpec, Spec, Spread};

const STREAM: Spec = Spec { group: "stream", own_categories: Categories::STREAM, since: "5.0.0", ..Spec::BASE };
const ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const UPDATE: KeyFlags = KeyFlags::RW.or(KeyFlags::UPDATE);
const DELETE: KeyFlags = KeyFlags::RW.or(KeyFlags::DELETE);
const INSERT: KeyFlags = KeyFlags::RW.or(KeyFlags::INSERT);
const FAST_WRITE: Flags = Flags::WRITE.or(Flags::FAST);
const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

/// A row about a stream that is read.
const READ: Spec = Spec { keys: &[KeySpec::range(ACCESS, 1, 1, 1)], flags: Flags::READONLY, ..STREAM };
/// A row about a range of entries.
const RANGE: Spec = Spec { arity: AtLeast(4), complexity: "O(log N + M), M entries being told of N", ..READ };
/// A row about a stream that is changed.
const CHANGE: Spec = Spec { keys: &[KeySpec::range(UPDATE, 1, 1, 1)], flags: FAST_WRITE, ..STREAM };
/// A row about entries that go.
const REMOVE: Spec = Spec {
    keys: &[KeySpec::range(DELETE, 1, 1, 1)],
    complexity: "O(log N) for each entry, of a stream of N",
    ..CHANGE
};
/// Keys behind STREAMS, as many as IDs behind them.
const fn streams(flags: KeyFlags, start_from: i32) -> KeySpec {
    KeySpec {
        flags,
        begin: BeginSearch::Keyword("STREAMS", start_from),
        find: FindKeys::Range { last: -1, step: 1, limit: 2 },
        notes: "",
    }
}
/// A row about several streams that are read.
const READ_SEVERAL: Spec = Spec {
    spread: Spread::Overlay,
    complexity: "O(log N + M) for each stream, M entries being told of N",
    history: &[("8.10.0", "New options: `MAXCOUNT` and `MAXSIZE`.")],
    ..STREAM
};

const COUNT: Argument = integer("count").token("COUNT").optional();
const MAXCOUNT: Argument = integer("maxcount").token("MAXCOUNT").since("8.10.0").optional();
const MAXSIZE: Argument = integer("maxsize").token("MAXSIZE").since("8.10.0").optional();
const BLOCK: Argument = integer("milliseconds").token("BLOCK").optional();
const STREAMS: Argument = block("streams", &[key("key").multiple(), string("id").multiple()]).token("STREAMS");
const REFERENCES: &[Argument] = &[word("KEEPREF"), word("DELREF"), word("ACKED")];
const CONDITION: Argument = one_of("condition", REFERENCES).since("8.2.0").optional();
const IDS: Argument = block("ids", &[integer("numids"), string("id").multiple()]).token("IDS");
const TRIM: Argument = block(
    "trim",
    &[
        one_of("strategy", &[word("MAXLEN"), word("MINID").since("6.2.0")]),
        one_of("operator", &[Argument { name: "equal", ..word("=") }, Argument { name: "approximately", ..word("~") }])
            .optional(),
        string("threshold"),
        integer("count").token("LIMIT").since("6.2.0").optional(),
    ],
);

/// Where the key of a subcommand stands.
const fn at_two(flags: KeyFlags) -> KeySpec {
    KeySpec::range(flags, 2, 2, 1)
}

const HELP: Spec = Spec {
    name: "help",
    arity: Exact(2),
    flags: Flags::LOADING.or(Flags::STALE),
    summary: "Lists the subcommands",
    ..STREAM
};
static XGROUP_HELP: Spec = HELP;
static XINFO_HELP: Spec = HELP;

const ENTRIES_READ: Argument = integer("entries_read").token("ENTRIESREAD").optional();
const GROUP_ID: Argument = one_of("id", &[string("id"), Argument { name: "new_id", ..word("$") }]);
static XGROUP_CREATE: Spec = Spec {
    name: "create",
    arity: AtLeast(5),
    keys: &[at_two(INSERT)],
    flags: Flags::WRITE.or(Flags::DENYOOM),
    summary: "Adds a consumer group, and the stream if need be",
    arguments: &[key("key"), string("groupname"), GROUP_ID, word("MKSTREAM").optional(), ENTRIES_READ],
    history: &[("7.0.0", "New option: `ENTRIESREAD`.")],
    ..STREAM
};
static XGROUP_CREATECONSUMER: Spec = Spec {
    name: "createconsumer",
    arity: Exact(5),
    keys: &[at_two(INSERT)],
    flags: Flags::WRITE.or(Flags::DENYOOM),
    since: "6.2.0",
    summary: "Adds a consumer to a group",
    arguments: &[key("key"), string("groupname"), string("consumername")],
    ..STREAM
};
static XGROUP_DELCONSUMER: Spec = Spec {
    name: "delconsumer",
    arity: Exact(5),
    keys: &[at_two(DELETE)],
    flags: Flags::WRITE,
    complexity: "O(N log M), N entries being pending for the consumer of M for the group",
    summary: "Removes a consumer from a group, with what is pending for it",
    arguments: &[key("key"), string("groupname"), string("consumername")],
    ..STREAM
};
static XGROUP_DESTROY: Spec = Spec {
    name: "destroy",
    arity: Exact(4),
    keys: &[at_two(DELETE)],
    flags: Flags::WRITE,
    complexity: "O(N), N being the consumers: what is pending is freed in slices",
    summary: "Removes a consumer group",
    arguments: &[key("key"), string("groupname")],
    ..STREAM
};
static XGROUP_SETID: Spec = Spec {
    name: "setid",
    arity: AtLeast(5),
    keys: &[at_two(UPDATE)],
    flags: Flags::WRITE,
    summary: "Has a consumer group go on from some ID",
    arguments: &[key("key"), string("groupname"), GROUP_ID, ENTRIES_READ],
    history: &[("7.0.0", "New option: `ENTRIESREAD`.")],
    ..STREAM
};

static XINFO_CONSUMERS: Spec = Spec {
    name: "consumers",
    arity: Exact(4),
    keys: &[at_two(ACCESS)],
    flags: Flags::READONLY,
    summary: "Lists the consumers of a group",
    arguments: &[key("key"), string("groupname")],
    tips: NONDETERMINISTIC,
    ..STREAM
};
static XINFO_GROUPS: Spec = Spec {
    name: "groups",
    arity: Exact(3),
    keys: &[at_two(ACCESS)],
    flags: Flags::READONLY,
    summary: "Lists the consumer groups of a stream",
    arguments: &[key("key")],
    history: &[("7.0.0", "New fields: `entries-read` and `lag`.")],
    ..STREAM
};
static XINFO_STREAM: Spec = Spec {
    name: "stream",
    arity: AtLeast(3),
    keys: &[at_two(ACCESS)],
    flags: Flags::READONLY,
    summary: "Shows the inside of a stream",
    arguments: &[key("key"), block("full", &[integer("count").token("COUNT").optional()]).token("FULL").optional()],
    history: &[
        ("6.0.0", "New option: `FULL`."),
        (
            "7.0.0",
            "New fields: `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `entries-read` and `lag`.",
        ),
    ],
    ..STREAM
};

/// Every command on streams.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "xack",
            arity: AtLeast(4),
            complexity: "O(log N) for each entry, N being pending",
            summary: "Acknowledges entries that a consumer group was told of",
            arguments: &[key("key"), string("group"), string("id").multiple()],
            ..CHANGE
        },
        run: group::xack,
    },
    Command {
        spec: Spec {
            name: "xackdel",
            arity: AtLeast(6),
            keys: &[KeySpec::range(DELETE.or(KeyFlags::UPDATE), 1, 1, 1)],
            since: "8.2.0",
            summary: "Acknowledges entries and deletes them, as far as other groups allow",
            arguments: &[key("key"), string("group"), CONDITION, IDS],
            ..REMOVE
        },
        run: delete::xackdel,
    },
    Command {
        spec: Spec {
            name: "xadd",
            arity: AtLeast(5),
            keys: &[KeySpec::range(UPDATE, 1, 1, 1).noted("Trimming makes it an update rather than an insert")],
            flags: FAST_WRITE.or(Flags::DENYOOM),
            complexity: "O(log N); trimming takes O(log N) for each node that goes",
            summary: "Adds an entry to a stream",
            arguments: &[
                key("key"),
                word("NOMKSTREAM").since("6.2.0").optional(),
                CONDITION,
                one_of(
                    "idmp",
                    &[
                        string("producer-id").token("IDMPAUTO"),
                        block("idmp", &[string("producer-id"), string("idempotent-id")]).token("IDMP"),
                    ],
                )
                .since("8.6.0")
                .optional(),
                TRIM.optional(),
                one_of("id_or_auto", &[Argument { name: "auto_id", ..word("*") }, string("id")]),
                block("field_value", &[string("field"), string("value")]).multiple(),
            ],
            history: &[
                ("6.2.0", "New options: `NOMKSTREAM`, `MINID` and `LIMIT`."),
                ("7.0.0", "IDs may be given as `<ms>-*`."),
                ("8.2.0", "New options: `KEEPREF`, `DELREF` and `ACKED`."),
                ("8.6.0", "New options: `IDMP` and `IDMPAUTO`."),
            ],
            tips: NONDETERMINISTIC,
            ..CHANGE
        },
        run: add::xadd,
    },
    Command {
        spec: Spec {
            name: "xautoclaim",
            arity: AtLeast(6),
            keys: &[KeySpec::range(DELETE, 1, 1, 1)],
            since: "6.2.0",
            complexity: "O(N log M), N entries being looked at of M that are pending",
            summary: "Takes over entries that have been pending for some time",
            arguments: &[
                key("key"),
                string("group"),
                string("consumer"),
                string("min-idle-time"),
                string("start"),
                COUNT,
                word("JUSTID").optional(),
            ],
            history: &[("7.0.0", "The reply tells which entries were deleted.")],
            tips: NONDETERMINISTIC,
            ..CHANGE
        },
        run: claim::xautoclaim,
    },
    Command {
        spec: Spec {
            name: "xcfgset",
            arity: AtLeast(2),
            since: "8.6.0",
            summary: "Sets for how long a stream knows what producers have added",
            arguments: &[
                key("key"),
                integer("idmp-duration").token("IDMP-DURATION").optional(),
                integer("idmp-maxsize").token("IDMP-MAXSIZE").optional(),
            ],
            ..CHANGE
        },
        run: add::xcfgset,
    },
    Command {
        spec: Spec {
            name: "xclaim",
            arity: AtLeast(6),
            complexity: "O(log N) for each entry, N being pending",
            summary: "Takes over entries that are pending",
            arguments: &[
                key("key"),
                string("group"),
                string("consumer"),
                string("min-idle-time"),
                string("id").multiple(),
                integer("ms").token("IDLE").optional(),
                time("unix-time-milliseconds").token("TIME").optional(),
                integer("count").token("RETRYCOUNT").optional(),
                word("FORCE").optional(),
                word("JUSTID").optional(),
                string("id").token("LASTID").optional(),
            ],
            tips: NONDETERMINISTIC,
            ..CHANGE
        },
        run: claim::xclaim,
    },
    Command {
        spec: Spec {
            name: "xdel",
            arity: AtLeast(3),
            summary: "Deletes entries",
            arguments: &[key("key"), string("id").multiple()],
            ..REMOVE
        },
        run: delete::xdel,
    },
    Command {
        spec: Spec {
            name: "xdelex",
            arity: AtLeast(5),
            since: "8.2.0",
            summary: "Deletes entries, as far as consumer groups allow",
            arguments: &[key("key"), CONDITION, IDS],
            ..REMOVE
        },
        run: delete::xdelex,
    },
    Command {
        spec: Spec {
            name: "xgroup",
            arity: AtLeast(2),
            own_categories: Categories::NONE,
            complexity: "O(1) for most subcommands",
            summary: "Manages consumer groups through its subcommands",
            subcommands: &[
                &XGROUP_CREATE,
                &XGROUP_CREATECONSUMER,
                &XGROUP_DELCONSUMER,
                &XGROUP_DESTROY,
                &XGROUP_HELP,
                &XGROUP_SETID,
            ],
            ..STREAM
        },
        run: group::xgroup,
    },
    Command {
        spec: Spec {
            name: "xidmprecord",
            arity: Exact(5),
            flags: FAST_WRITE.or(Flags::DENYOOM),
            since: "8.8.0",
            complexity: "O(log N)",
            summary: "Notes which producer has added an entry, in logs",
            arguments: &[key("key"), string("pid"), string("iid"), string("stream-id")],
            ..CHANGE
        },
        run: add::xidmprecord,
    },
    Command {
        spec: Spec {
            name: "xinfo",
            arity: AtLeast(2),
            own_categories: Categories::NONE,
            complexity: "O(1) for most subcommands",
            summary: "Shows the inside of streams through its subcommands",
            subcommands: &[&XINFO_CONSUMERS, &XINFO_GROUPS, &XINFO_HELP, &XINFO_STREAM],
            ..STREAM
        },
        run: info::xinfo,
    },
    Command {
        spec: Spec {
            name: "xlen",
            arity: Exact(2),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            flags: Flags::READONLY.or(Flags::FAST),
            summary: "Counts the entries of a stream",
            arguments: &[key("key")],
            ..READ
        },
        run: range::xlen,
    },
    Command {
        spec: Spec {
            name: "xnack",
            arity: AtLeast(7),
            since: "8.8.0",
            complexity: "O(log N) for each entry, N being pending",
            summary: "Gives entries back to their consumer group, for others to take over",
            arguments: &[
                key("key"),
                string("group"),
                one_of("mode", &[word("SILENT"), word("FAIL"), word("FATAL")]),
                IDS,
                integer("count").token("RETRYCOUNT").optional(),
                word("FORCE").optional(),
            ],
            ..CHANGE
        },
        run: group::xnack,
    },
    Command {
        spec: Spec {
            name: "xpending",
            arity: AtLeast(3),
            complexity: "O(log N + M), M entries being looked at of N that are pending; without a range O(M), M being the \
                         consumers",
            summary: "Tells what a consumer group was told of and has not acknowledged",
            arguments: &[
                key("key"),
                string("group"),
                block(
                    "filters",
                    &[
                        integer("min-idle-time").token("IDLE").since("6.2.0").optional(),
                        string("start"),
                        string("end"),
                        integer("count"),
                        string("consumer").optional(),
                    ],
                )
                .optional(),
            ],
            history: &[("6.2.0", "New option: `IDLE`; IDs may be excluded from the range.")],
            tips: NONDETERMINISTIC,
            ..READ
        },
        run: claim::xpending,
    },
    Command {
        spec: Spec {
            name: "xrange",
            summary: "Gives the entries from one ID to another",
            arguments: &[key("key"), string("start"), string("end"), COUNT],
            history: &[("6.2.0", "IDs may be excluded from the range.")],
            ..RANGE
        },
        run: range::xrange,
    },
    Command {
        spec: Spec {
            name: "xread",
            arity: AtLeast(4),
            keys: &[streams(ACCESS, 1)],
            flags: Flags::READONLY.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
            summary: "Gives entries behind some ID, of several streams",
            arguments: &[COUNT, MAXCOUNT, MAXSIZE, BLOCK, STREAMS],
            ..READ_SEVERAL
        },
        run: read::xread,
    },
    Command {
        spec: Spec {
            name: "xreadgroup",
            arity: AtLeast(7),
            keys: &[streams(ACCESS.or(KeyFlags::CHANGES_STATE), 4)],
            flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
            summary: "Gives entries that no consumer of a group was told of, or that one has not acknowledged",
            arguments: &[
                block("group_consumer", &[string("group"), string("consumer")]).token("GROUP"),
                COUNT,
                MAXCOUNT,
                MAXSIZE,
                BLOCK,
                integer("min-idle-time").token("CLAIM").since("8.4.0").optional(),
                word("NOACK").optional(),
                STREAMS,
            ],
            history: &[("8.4.0", "New option: `CLAIM`."), ("8.10.0", "New options: `MAXCOUNT` and `MAXSIZE`.")],
            ..READ_SEVERAL
        },
        run: read::xreadgroup,
    },
    Command {
        spec: Spec {
            name: "xrevrange",
            summary: "Gives the entries from one ID to another, the last one first",
            arguments: &[key("key"), string("end"), string("start"), COUNT],
            history: &[("6.2.0", "IDs may be excluded from the range.")],
            ..RANGE
        },
        run: range::xrevrange,
    },
    Command {
        spec: Spec {
            name: "xsetid",
            arity: AtLeast(3),
            flags: FAST_WRITE.or(Flags::DENYOOM),
            summary: "Sets the last ID of a stream, in logs",
            arguments: &[
                key("key"),
                string("last-id"),
                integer("entries_added").token("ENTRIESADDED").since("7.0.0").optional(),
                string("max_deleted_entry_id").token("MAXDELETEDID").since("7.0.0").optional(),
            ],
            history: &[("7.0.0", "New options: `ENTRIESADDED` and `MAXDELETEDID`.")],
            ..CHANGE
        },
        run: add::xsetid,
    },
    Command {
        spec: Spec {
            name: "xtrim",
            arity: AtLeast(4),
            flags: Flags::WRITE,
            complexity: "O(log N) for each node that goes, of a stream of N; all at once in O(1)",
            summary: "Removes the first entries of a stream",
            arguments: &[key("key"), TRIM, CONDITION],
            history: &[
                ("6.2.0", "New options: `MINID` and `LIMIT`."),
                ("8.2.0", "New options: `KEEPREF`, `DELREF` and `ACKED`."),
            ],
            tips: NONDETERMINISTIC,
            ..REMOVE
        },
        run: add::xtrim,
    },
];
