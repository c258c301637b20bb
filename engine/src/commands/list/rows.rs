//! The lists' rows of the command table.

use super::{pop, position, transfer};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{Argument, block, double, integer, key, key_of, one_of, string, word};
use crate::command::{Categories, Command, Deprecated, Flags, Foreseen, KeyFlags, KeySpec, Spec, Spread};

const LIST: Spec = Spec { group: "list", own_categories: Categories::LIST, foreseen: Foreseen::Value, ..Spec::BASE };
const INSERT: KeyFlags = KeyFlags::RW.or(KeyFlags::INSERT);
const ACCESS_AND_DELETE: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);
/// A row about elements to add at an end.
const PUSH: Spec = Spec {
    arity: AtLeast(3),
    keys: &[KeySpec::range(INSERT, 1, 1, 1)],
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    complexity: "O(1) for each element",
    arguments: &[key("key"), string("element").multiple()],
    history: &[("2.4.0", "Takes several elements.")],
    ..LIST
};
/// A row about elements to add at an end of a list that is there.
const PUSH_IF_EXISTS: Spec = Spec { since: "2.2.0", history: &[("4.0.0", "Takes several elements.")], ..PUSH };
/// A row about elements to take off an end.
const POP: Spec = Spec {
    arity: AtLeast(2),
    keys: &[KeySpec::range(ACCESS_AND_DELETE, 1, 1, 1)],
    flags: Flags::WRITE.or(Flags::FAST),
    complexity: "O(1) for each element",
    arguments: &[key("key"), integer("count").since("6.2.0").optional()],
    history: &[("6.2.0", "New argument: `count`.")],
    ..LIST
};
/// A row about elements that are read.
const READ: Spec =
    Spec { keys: &[KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 1, 1, 1)], flags: Flags::READONLY, ..LIST };
/// A row about elements that are removed.
const REMOVE: Spec = Spec {
    arity: Exact(4),
    keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::DELETE), 1, 1, 1)],
    flags: Flags::WRITE,
    ..LIST
};
/// A row about elements that go from one list to another.
const MOVE: Spec = Spec {
    keys: &[KeySpec::range(ACCESS_AND_DELETE, 1, 1, 1), KeySpec::range(INSERT, 2, 2, 1)],
    flags: Flags::WRITE.or(Flags::DENYOOM),
    spread: Spread::Overlay,
    ..LIST
};
const SOURCE: Argument = key("source");
const DESTINATION: Argument = key_of(1, "destination");
const ENDS: &[Argument] = &[word("LEFT"), word("RIGHT")];
const HOW_MANY: Argument = block(
    "how-many",
    &[
        one_of("selector", &[integer("count").token("COUNT"), integer("exactly").token("EXACTLY")]),
        one_of("ordering", &[word("OBO"), word("BULK")]),
    ],
)
.optional();

/// A row about elements that may be waited for.
const WAITING_POP: Spec = Spec {
    arity: AtLeast(3),
    keys: &[KeySpec::range(ACCESS_AND_DELETE, 1, -2, 1)],
    flags: Flags::WRITE.or(Flags::BLOCKING),
    spread: Spread::Overlay,
    since: "2.0.0",
    complexity: "O(N) in the number of keys",
    arguments: &[key("key").multiple(), double("timeout")],
    history: &[("6.0.0", "The timeout may have decimals.")],
    ..LIST
};

/// Every command on lists.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "blmove",
            arity: Exact(6),
            flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::BLOCKING),
            since: "6.2.0",
            summary: "Moves an element from an end of a list to an end of another one, and waits for one if need be",
            arguments: &[SOURCE, DESTINATION, one_of("wherefrom", ENDS), one_of("whereto", ENDS), double("timeout")],
            ..MOVE
        },
        run: transfer::blmove,
    },
    Command {
        spec: Spec {
            name: "blmovem",
            arity: AtLeast(6),
            flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::BLOCKING),
            since: "8.10.0",
            complexity: "O(N) in the number of elements that are moved",
            summary: "Moves several elements from a list to another one, and waits for them if need be",
            arguments: &[
                SOURCE,
                DESTINATION,
                one_of("wherefrom", ENDS),
                one_of("whereto", ENDS),
                double("timeout"),
                HOW_MANY,
            ],
            ..MOVE
        },
        run: transfer::blmovem,
    },
    Command {
        spec: Spec {
            name: "blmpop",
            arity: AtLeast(5),
            keys: &[KeySpec::counted(ACCESS_AND_DELETE, 2, 1)],
            flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
            spread: Spread::Overlay,
            since: "7.0.0",
            complexity: "O(K + M): the keys, and the elements that are removed",
            summary: "Removes elements from an end of the first list that is there, and waits for one if need be",
            arguments: &[
                double("timeout"),
                integer("numkeys"),
                key("key").multiple(),
                one_of("where", ENDS),
                integer("count").token("COUNT").optional(),
            ],
            ..LIST
        },
        run: pop::blmpop,
    },
    Command {
        spec: Spec {
            name: "blpop",
            summary: "Removes the first element of the first list that is there, and waits for one if need be",
            ..WAITING_POP
        },
        run: pop::blpop,
    },
    Command {
        spec: Spec {
            name: "brpop",
            summary: "Removes the last element of the first list that is there, and waits for one if need be",
            ..WAITING_POP
        },
        run: pop::brpop,
    },
    Command {
        spec: Spec {
            name: "brpoplpush",
            arity: Exact(4),
            flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::BLOCKING),
            since: "2.2.0",
            summary: "Moves the last element of a list to the front of another one, and waits for one if need be",
            arguments: &[SOURCE, DESTINATION, double("timeout")],
            history: &[("6.0.0", "The timeout may have decimals.")],
            deprecated: Some(Deprecated {
                since: "6.2.0",
                replaced_by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
            }),
            ..MOVE
        },
        run: transfer::brpoplpush,
    },
    Command {
        spec: Spec {
            name: "lindex",
            arity: Exact(3),
            complexity: "O(log N)",
            summary: "Gives an element of a list by its index",
            arguments: &[key("key"), integer("index")],
            ..READ
        },
        run: super::lindex,
    },
    Command {
        spec: Spec {
            name: "linsert",
            arity: Exact(5),
            keys: &[KeySpec::range(INSERT, 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::DENYOOM),
            since: "2.2.0",
            complexity: "O(N) in the number of elements in front of the pivot",
            summary: "Puts an element in front of another one or behind it",
            arguments: &[
                key("key"),
                one_of("where", &[word("BEFORE"), word("AFTER")]),
                string("pivot"),
                string("element"),
            ],
            ..LIST
        },
        run: super::linsert,
    },
    Command {
        spec: Spec {
            name: "llen",
            foreseen: Foreseen::Entry,
            arity: Exact(2),
            keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)],
            flags: Flags::READONLY.or(Flags::FAST),
            summary: "Counts the elements of a list",
            arguments: &[key("key")],
            ..LIST
        },
        run: super::llen,
    },
    Command {
        spec: Spec {
            name: "lmove",
            arity: Exact(5),
            since: "6.2.0",
            summary: "Moves an element from an end of a list to an end of another one",
            arguments: &[SOURCE, DESTINATION, one_of("wherefrom", ENDS), one_of("whereto", ENDS)],
            ..MOVE
        },
        run: transfer::lmove,
    },
    Command {
        spec: Spec {
            name: "lmovem",
            arity: AtLeast(5),
            since: "8.10.0",
            complexity: "O(N) in the number of elements that are moved",
            summary: "Moves several elements from an end of a list to an end of another one",
            arguments: &[SOURCE, DESTINATION, one_of("wherefrom", ENDS), one_of("whereto", ENDS), HOW_MANY],
            ..MOVE
        },
        run: transfer::lmovem,
    },
    Command {
        spec: Spec {
            name: "lmpop",
            arity: AtLeast(4),
            keys: &[KeySpec::counted(ACCESS_AND_DELETE, 1, 1)],
            flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
            spread: Spread::Overlay,
            since: "7.0.0",
            complexity: "O(K + M): the keys, and the elements that are removed",
            summary: "Removes elements from an end of the first list that is there and gives them",
            arguments: &[
                integer("numkeys"),
                key("key").multiple(),
                one_of("where", ENDS),
                integer("count").token("COUNT").optional(),
            ],
            ..LIST
        },
        run: pop::lmpop,
    },
    Command {
        spec: Spec { name: "lpop", summary: "Removes the first elements of a list and gives them", ..POP },
        run: pop::lpop,
    },
    Command {
        spec: Spec {
            name: "lpos",
            arity: AtLeast(3),
            since: "6.0.6",
            complexity: "O(N) in the number of elements that are looked at",
            summary: "Gives the indexes of an element in a list",
            arguments: &[
                key("key"),
                string("element"),
                integer("rank").token("RANK").optional(),
                integer("num-matches").token("COUNT").optional(),
                integer("len").token("MAXLEN").optional(),
            ],
            ..READ
        },
        run: position::lpos,
    },
    Command {
        spec: Spec { name: "lpush", summary: "Adds elements in front of a list, making it if need be", ..PUSH },
        run: super::lpush,
    },
    Command {
        spec: Spec { name: "lpushx", summary: "Adds elements in front of a list that is there", ..PUSH_IF_EXISTS },
        run: super::lpushx,
    },
    Command {
        spec: Spec {
            name: "lrange",
            arity: Exact(4),
            complexity: "O(log N + M) for M elements",
            summary: "Gives a range of elements of a list",
            arguments: &[key("key"), integer("start"), integer("stop")],
            ..READ
        },
        run: super::lrange,
    },
    Command {
        spec: Spec {
            name: "lrem",
            complexity: "O(N)",
            summary: "Removes elements of a list that are equal to one",
            arguments: &[key("key"), integer("count"), string("element")],
            ..REMOVE
        },
        run: super::lrem,
    },
    Command {
        spec: Spec {
            name: "lset",
            arity: Exact(4),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::UPDATE), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::DENYOOM),
            complexity: "O(log N)",
            summary: "Puts another element in the place of that of an index",
            arguments: &[key("key"), integer("index"), string("element")],
            ..LIST
        },
        run: super::lset,
    },
    Command {
        spec: Spec {
            name: "ltrim",
            complexity: "O(N) in the number of elements that are removed",
            summary: "Keeps a range of elements of a list and removes the others",
            arguments: &[key("key"), integer("start"), integer("stop")],
            ..REMOVE
        },
        run: super::ltrim,
    },
    Command {
        spec: Spec { name: "rpop", summary: "Removes the last elements of a list and gives them", ..POP },
        run: pop::rpop,
    },
    Command {
        spec: Spec {
            name: "rpoplpush",
            arity: Exact(3),
            since: "1.2.0",
            summary: "Moves the last element of a list to the front of another one",
            arguments: &[SOURCE, DESTINATION],
            deprecated: Some(Deprecated {
                since: "6.2.0",
                replaced_by: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
            }),
            ..MOVE
        },
        run: transfer::rpoplpush,
    },
    Command {
        spec: Spec { name: "rpush", summary: "Adds elements behind a list, making it if need be", ..PUSH },
        run: super::rpush,
    },
    Command {
        spec: Spec { name: "rpushx", summary: "Adds elements behind a list that is there", ..PUSH_IF_EXISTS },
        run: super::rpushx,
    },
];
