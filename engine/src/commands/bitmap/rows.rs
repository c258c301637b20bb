//! The bitmaps' rows of the command table.

use super::{combine, field, range, single};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{block, integer, key, key_of, one_of, string, word};
use crate::command::{Categories, Command, Flags, KeyFlags, KeySpec, Spec, Spread};

const BITMAP: Spec = Spec { group: "bitmap", own_categories: Categories::BITMAP, ..Spec::BASE };
/// A row about one key that is read.
const READER: Spec =
    Spec { keys: &[KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 1, 1, 1)], flags: Flags::READONLY, ..BITMAP };

const WRITE: Flags = Flags::WRITE.or(Flags::DENYOOM);
const ACCESS_AND_UPDATE: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE);

/// Every command on bitmaps.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "bitcount",
            arity: AtLeast(2),
            since: "2.6.0",
            complexity: "O(N) in the length of the part",
            summary: "Counts the ones in a string or a part of it",
            arguments: &[
                key("key"),
                block(
                    "index",
                    &[
                        integer("start"),
                        integer("end"),
                        one_of("index_unit", &[word("BYTE"), word("BIT")]).since("7.0.0").optional(),
                    ],
                )
                .optional(),
            ],
            history: &[("7.0.0", "Takes `BYTE` or `BIT`")],
            ..READER
        },
        run: range::bitcount,
    },
    Command {
        spec: Spec {
            name: "bitfield",
            arity: AtLeast(2),
            keys: &[KeySpec::range(ACCESS_AND_UPDATE.or(KeyFlags::VARIABLE_FLAGS), 1, 1, 1)
                .noted("Without `SET` and `INCRBY` the string is only read")],
            flags: WRITE,
            since: "3.2.0",
            complexity: "O(1) for each operation",
            summary: "Reads and changes integers of any width at any bit of a string",
            arguments: &[
                key("key"),
                one_of(
                    "operation",
                    &[
                        block("encoding_offset", &[string("encoding"), integer("offset")]).token("GET"),
                        block(
                            "write",
                            &[
                                one_of("wrap_sat_fail", &[word("WRAP"), word("SAT"), word("FAIL")])
                                    .token("OVERFLOW")
                                    .optional(),
                                one_of(
                                    "write_operation",
                                    &[
                                        block(
                                            "encoding_offset_value",
                                            &[string("encoding"), integer("offset"), integer("value")],
                                        )
                                        .token("SET"),
                                        block(
                                            "encoding_offset_increment",
                                            &[string("encoding"), integer("offset"), integer("increment")],
                                        )
                                        .token("INCRBY"),
                                    ],
                                ),
                            ],
                        ),
                    ],
                )
                .optional()
                .multiple(),
            ],
            ..BITMAP
        },
        run: field::bitfield,
    },
    Command {
        spec: Spec {
            name: "bitfield_ro",
            arity: AtLeast(2),
            flags: Flags::READONLY.or(Flags::FAST),
            since: "6.0.0",
            complexity: "O(1) for each operation",
            summary: "Reads integers of any width at any bit of a string",
            arguments: &[
                key("key"),
                block("encoding_offset", &[string("encoding"), integer("offset")])
                    .token("GET")
                    .optional()
                    .multiple_with_token(),
            ],
            ..READER
        },
        run: field::bitfield_ro,
    },
    Command {
        spec: Spec {
            name: "bitop",
            arity: AtLeast(4),
            keys: &[
                KeySpec::range(KeyFlags::OW.or(KeyFlags::UPDATE), 2, 2, 1),
                KeySpec::range(KeyFlags::RO.or(KeyFlags::ACCESS), 3, -1, 1),
            ],
            flags: WRITE,
            spread: Spread::Overlay,
            since: "2.6.0",
            complexity: "O(N) in the length of the strings",
            summary: "Stores the result of a bitwise operation on strings",
            arguments: &[string("operation"), key("destkey"), key_of(1, "key").multiple()],
            ..BITMAP
        },
        run: combine::bitop,
    },
    Command {
        spec: Spec {
            name: "bitpos",
            arity: AtLeast(3),
            since: "2.8.7",
            complexity: "O(N) in the length of the part",
            summary: "Finds the first one or the first zero in a string or a part of it",
            arguments: &[
                key("key"),
                integer("bit"),
                block(
                    "index",
                    &[
                        integer("start"),
                        block(
                            "end_index",
                            &[
                                integer("end"),
                                one_of("index_unit", &[word("BYTE"), word("BIT")]).since("7.0.0").optional(),
                            ],
                        )
                        .optional(),
                    ],
                )
                .optional(),
            ],
            history: &[("7.0.0", "Takes `BYTE` or `BIT`")],
            ..READER
        },
        run: range::bitpos,
    },
    Command {
        spec: Spec {
            name: "getbit",
            arity: Exact(3),
            flags: Flags::READONLY.or(Flags::FAST),
            since: "2.2.0",
            summary: "Reads one bit of a string",
            arguments: &[key("key"), integer("offset")],
            ..READER
        },
        run: single::getbit,
    },
    Command {
        spec: Spec {
            name: "setbit",
            arity: Exact(4),
            keys: &[KeySpec::range(ACCESS_AND_UPDATE, 1, 1, 1)],
            flags: WRITE,
            since: "2.2.0",
            summary: "Sets or clears one bit of a string, making it longer if need be",
            arguments: &[key("key"), integer("offset"), integer("value")],
            ..BITMAP
        },
        run: single::setbit,
    },
];
