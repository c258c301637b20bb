//! The rows of SORT and SORT_RO in the command table.

use crate::command::Arity::AtLeast;
use crate::command::argument::{Argument, ArgumentKind, block, integer, key, key_of, one_of, pattern, word};
use crate::command::{BeginSearch, Categories, Command, FindKeys, Flags, KeyFlags, KeySpec, Spec, Spread};

const READ: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);

/// Keys that no spec can tell.
const fn untold(flags: KeyFlags, notes: &'static str) -> KeySpec {
    KeySpec { flags, begin: BeginSearch::Unknown, find: FindKeys::Unknown, notes }
}

const KEY: KeySpec = KeySpec::range(READ, 1, 1, 1);
const NAMED_BY_ELEMENTS: KeySpec = untold(READ, "Keys of BY and GET: named by the elements that are sorted");
const STORED: KeySpec =
    untold(KeyFlags::OW.or(KeyFlags::UPDATE), "The key behind STORE, which may stand anywhere among the options");

const BY: Argument = pattern_key("pattern").token("BY").optional();
const LIMIT: Argument = block("offset_count", &[integer("offset"), integer("count")]).token("LIMIT").optional();
const GET: Argument = pattern_key("pattern").token("GET").optional().multiple_with_token();
const ORDER: Argument = one_of("order", &[word("ASC"), word("DESC")]).optional();
const ALPHA: Argument = Argument { name: "sorting", ..word("ALPHA") }.optional();

/// A pattern of keys.
const fn pattern_key(name: &'static str) -> Argument {
    Argument { kind: ArgumentKind::KeyPattern(1), ..pattern(name) }
}

const SORT: Spec = Spec {
    group: "generic",
    arity: AtLeast(2),
    own_categories: Categories::SET.or(Categories::SORTEDSET).or(Categories::LIST).or(Categories::DANGEROUS),
    spread: Spread::Overlay,
    complexity: "O(N + M log M) for N elements, of which M are wanted; O(N) where nothing is sorted",
    ..Spec::BASE
};

/// SORT and SORT_RO.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "sort",
            keys: &[KEY, NAMED_BY_ELEMENTS, STORED],
            key_finder: Some(&super::KEYS),
            flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
            since: "1.0.0",
            summary: "Gives or stores the elements of a list, set or sorted set in order",
            arguments: &[key("key"), BY, LIMIT, GET, ORDER, ALPHA, key_of(2, "destination").token("STORE").optional()],
            ..SORT
        },
        run: super::sort,
    },
    Command {
        spec: Spec {
            name: "sort_ro",
            keys: &[KEY, NAMED_BY_ELEMENTS],
            key_finder: Some(&super::KEYS_READ_ONLY),
            flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
            since: "7.0.0",
            summary: "Gives the elements of a list, set or sorted set in order",
            arguments: &[key("key"), BY, LIMIT, GET, ORDER, ALPHA],
            ..SORT
        },
        run: super::sort_ro,
    },
];
