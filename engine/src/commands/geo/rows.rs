//! The geo commands' rows of the command table.

use super::search;
use crate::command::Arity::AtLeast;
use crate::command::argument::{Argument, block, double, integer, key, key_of, one_of, string, word};
use crate::command::{
    BeginSearch, Categories, Command, Deprecated, FindKeys, Flags, Foreseen, KeyFlags, KeySpec, Spec, Spread,
};

const READ: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const OVERWRITE: KeyFlags = KeyFlags::OW.or(KeyFlags::UPDATE);
const GEO: Spec = Spec {
    group: "geo",
    own_categories: Categories::GEO,
    keys: &[KeySpec::range(READ, 1, 1, 1)],
    flags: Flags::READONLY,
    since: "3.2.0",
    ..Spec::BASE
};
const SEARCH: Spec = Spec {
    since: "6.2.0",
    complexity: "O(N + log M) for N members in the cells that cover the shape, of M in the set",
    history: &[("7.0.0", "Takes units in capitals"), ("9.0.0", "Takes `BYPOLYGON` (of Valkey)")],
    ..GEO
};
const RADIUS: Spec = Spec { deprecated: Some(IN_A_CIRCLE), since: "3.2.10", ..SEARCH };
const RADIUS_BY_MEMBER: Spec = Spec { deprecated: Some(AROUND_A_MEMBER), ..RADIUS };

const IN_A_CIRCLE: Deprecated = Deprecated { since: "6.2.0", replaced_by: "`GEOSEARCH` with the `BYRADIUS` argument" };
const AROUND_A_MEMBER: Deprecated =
    Deprecated { since: "6.2.0", replaced_by: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments" };

/// A key behind a word.
const fn behind(word: &'static str, start_from: i32) -> KeySpec {
    KeySpec {
        flags: OVERWRITE,
        begin: BeginSearch::Keyword(word, start_from),
        find: FindKeys::Range { last: 0, step: 1, limit: 0 },
        notes: "",
    }
}

const UNITS: &[Argument] = &[word("M"), word("KM"), word("FT"), word("MI")];
const UNIT: Argument = one_of("unit", UNITS);
const ORDER: Argument = one_of("order", &[word("ASC"), word("DESC")]).optional();
const COUNT: Argument = block("count", &[integer("count").token("COUNT"), word("ANY").optional()]).optional();
const COUNT_OLD: Argument =
    block("count", &[integer("count").token("COUNT"), word("ANY").since("6.2.0").optional()]).optional();
const FROM: Argument = one_of(
    "from",
    &[
        string("member").token("FROMMEMBER"),
        block("longitude_latitude", &[double("longitude"), double("latitude")]).token("FROMLONLAT"),
    ],
);
const BY: Argument = one_of(
    "by",
    &[
        block("circle", &[double("radius").token("BYRADIUS"), UNIT]),
        block("box", &[double("width").token("BYBOX"), double("height"), UNIT]),
        block(
            "polygon",
            &[
                integer("num-vertices").token("BYPOLYGON"),
                block("longitude_latitude", &[double("longitude"), double("latitude")]).multiple(),
            ],
        )
        .since("9.0.0"),
    ],
);
const WITH_COORD: Argument = word("WITHCOORD").optional();
const WITH_DIST: Argument = word("WITHDIST").optional();
const WITH_HASH: Argument = word("WITHHASH").optional();
const STORE: Argument = key_of(1, "key").token("STORE").optional();
const STORE_DIST: Argument = key_of(2, "key").token("STOREDIST").optional();

/// Every command on places.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "geoadd",
            foreseen: Foreseen::Element(4),
            arity: AtLeast(5),
            keys: &[KeySpec::range(KeyFlags::RW.or(KeyFlags::UPDATE), 1, 1, 1)],
            flags: Flags::WRITE.or(Flags::DENYOOM),
            complexity: "O(log N) for each place",
            summary: "Adds places to a sorted set or moves them",
            arguments: &[
                key("key"),
                one_of("condition", &[word("NX"), word("XX")]).since("6.2.0").optional(),
                Argument { name: "change", ..word("CH") }.since("6.2.0").optional(),
                block("longitude_latitude_member", &[double("longitude"), double("latitude"), string("member")])
                    .multiple(),
            ],
            history: &[("6.2.0", "Takes `CH`, `NX` and `XX`")],
            ..GEO
        },
        run: super::geoadd,
    },
    Command {
        spec: Spec {
            name: "geodist",
            arity: AtLeast(4),
            complexity: "O(log N)",
            summary: "Gives the distance between two places",
            arguments: &[key("key"), string("member1"), string("member2"), one_of("unit", UNITS).optional()],
            ..GEO
        },
        run: super::geodist,
    },
    Command {
        spec: Spec {
            name: "geohash",
            arity: AtLeast(2),
            complexity: "O(log N) for each place",
            summary: "Gives places as standard geohash texts",
            arguments: &[key("key"), string("member").multiple()],
            ..GEO
        },
        run: super::geohash,
    },
    Command {
        spec: Spec {
            name: "geopos",
            foreseen: Foreseen::Element(2),
            arity: AtLeast(2),
            complexity: "O(log N) for each place",
            summary: "Gives longitude and latitude of places",
            arguments: &[key("key"), string("member").multiple()],
            ..GEO
        },
        run: super::geopos,
    },
    Command {
        spec: Spec {
            name: "georadius",
            arity: AtLeast(6),
            keys: &[KeySpec::range(READ, 1, 1, 1), behind("STORE", 6), behind("STOREDIST", 6)],
            key_finder: Some(&search::RADIUS_KEYS),
            flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
            spread: Spread::Overlay,
            since: "3.2.0",
            summary: "Gives or stores the places in a circle around a point",
            arguments: &[
                key("key"),
                double("longitude"),
                double("latitude"),
                double("radius"),
                UNIT,
                WITH_COORD,
                WITH_DIST,
                WITH_HASH,
                COUNT_OLD,
                ORDER,
                STORE,
                STORE_DIST,
            ],
            history: &[("6.2.0", "Takes `ANY` behind `COUNT`"), ("7.0.0", "Takes units in capitals")],
            deprecated: Some(Deprecated {
                since: "6.2.0",
                replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
            }),
            ..RADIUS
        },
        run: search::georadius,
    },
    Command {
        spec: Spec {
            name: "georadius_ro",
            arity: AtLeast(6),
            summary: "Gives the places in a circle around a point",
            arguments: &[
                key("key"),
                double("longitude"),
                double("latitude"),
                double("radius"),
                UNIT,
                WITH_COORD,
                WITH_DIST,
                WITH_HASH,
                COUNT_OLD,
                ORDER,
            ],
            history: &[("6.2.0", "Takes `ANY` behind `COUNT`")],
            ..RADIUS
        },
        run: search::georadius_ro,
    },
    Command {
        spec: Spec {
            name: "georadiusbymember",
            arity: AtLeast(5),
            keys: &[KeySpec::range(READ, 1, 1, 1), behind("STORE", 5), behind("STOREDIST", 5)],
            key_finder: Some(&search::RADIUS_BY_MEMBER_KEYS),
            flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
            spread: Spread::Overlay,
            since: "3.2.0",
            summary: "Gives or stores the places in a circle around a place",
            arguments: &[
                key("key"),
                string("member"),
                double("radius"),
                UNIT,
                WITH_COORD,
                WITH_DIST,
                WITH_HASH,
                COUNT,
                ORDER,
                STORE,
                STORE_DIST,
            ],
            history: &[("7.0.0", "Takes units in capitals")],
            deprecated: Some(Deprecated {
                since: "6.2.0",
                replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
            }),
            ..RADIUS_BY_MEMBER
        },
        run: search::georadiusbymember,
    },
    Command {
        spec: Spec {
            name: "georadiusbymember_ro",
            arity: AtLeast(5),
            summary: "Gives the places in a circle around a place",
            arguments: &[
                key("key"),
                string("member"),
                double("radius"),
                UNIT,
                WITH_COORD,
                WITH_DIST,
                WITH_HASH,
                COUNT,
                ORDER,
            ],
            history: &[],
            ..RADIUS_BY_MEMBER
        },
        run: search::georadiusbymember_ro,
    },
    Command {
        spec: Spec {
            name: "geosearch",
            // A polygon needs no middle, but three corners.
            arity: AtLeast(7),
            summary: "Gives the places in a circle, a box or a polygon",
            arguments: &[key("key"), FROM, BY, ORDER, COUNT, WITH_COORD, WITH_DIST, WITH_HASH],
            ..SEARCH
        },
        run: search::geosearch,
    },
    Command {
        spec: Spec {
            name: "geosearchstore",
            arity: AtLeast(8),
            keys: &[KeySpec::range(OVERWRITE, 1, 1, 1), KeySpec::range(READ, 2, 2, 1)],
            flags: Flags::WRITE.or(Flags::DENYOOM),
            spread: Spread::Overlay,
            summary: "Stores the places in a circle, a box or a polygon",
            arguments: &[key("destination"), key_of(1, "source"), FROM, BY, ORDER, COUNT, word("STOREDIST").optional()],
            ..SEARCH
        },
        run: search::geosearchstore,
    },
];
