//! Small inputs that stand for much: memory stays within the bound that [`torc_fuzz::memory`] sets for their length.

use torc_engine::values::{Element, intset, listpack};
use torc_fuzz::{file, value};
use torc_persistence::lzf::Compressor;
use torc_persistence::rdb::kinds;
use torc_persistence::rdb::output::Output;

fn body(kind: u8, write: impl FnOnce(&mut Output<'_>)) -> Vec<u8> {
    let (mut bytes, mut compressor) = (vec![kind], Compressor::default());
    write(&mut Output { bytes: &mut bytes, compressor: Some(&mut compressor) });
    bytes
}

fn listpack_of(elements: impl Iterator<Item = i64>) -> Vec<u8> {
    listpack::build(elements.map(Element::Integer))
}

/// Checks a value by itself, and in a file. The bound is what this is about: whether it is accepted is told, too.
#[track_caller]
fn borne(name: &str, body: &[u8], is_accepted: bool) {
    value::check(body);
    file::check(&torc_fuzz::seeds::file_of(
        torc_persistence::rdb::Version(16),
        torc_persistence::rdb::Dialect::Redis,
        [body.to_vec()].iter(),
    ));
    let was_accepted = value::Room::default().decode(body[0], &body[1..]);
    assert_eq!(was_accepted, is_accepted, "{name}");
}

const MANY: i64 = 1_000_000;

#[test]
fn compressed_texts_of_one_letter() {
    borne("string", &body(kinds::STRING, |out| out.text(&vec![b'x'; 4 << 20])), true);
    borne(
        "strings",
        &body(kinds::LIST, |out| {
            out.number(20);
            (0..20).for_each(|_| out.text(&vec![b'x'; 200 << 10]));
        }),
        true,
    );
}

#[test]
fn compressed_packed_bytes_of_many_elements() {
    let same = listpack_of((0..MANY).map(|_| 1));
    borne(
        "list",
        &body(kinds::LIST_QUICKLIST_2, |out| {
            out.number(1);
            out.number(2);
            out.plain_text(&same);
        }),
        true,
    );
    for kind in [kinds::SET_LISTPACK, kinds::HASH_LISTPACK, kinds::SORTED_SET_LISTPACK] {
        borne("the same members", &body(kind, |out| out.plain_text(&same)), false);
    }
    let rising = listpack_of((0..MANY).map(|number| number / 2));
    borne("hash", &body(kinds::HASH_LISTPACK, |out| out.plain_text(&rising)), true);
    borne(
        "integers",
        &body(kinds::SET_INTSET, |out| out.plain_text(&intset::build((0..MANY).map(|number| number << 33)))),
        true,
    );
}

#[test]
fn counts_that_lie() {
    for kind in 0..28 {
        for count in [u64::from(u32::MAX), 1 << 40, u64::MAX, 1 << 24] {
            borne(
                "a count",
                &body(kind, |out| {
                    out.number(count);
                    out.number(count);
                    out.number(count);
                    out.raw(&[0; 64]);
                }),
                false,
            );
        }
    }
}

#[test]
fn producers_of_whom_nothing_is_to_be_kept() {
    // Once this had no end.
    let of = |names: [&'static [u8]; 2]| {
        body(kinds::STREAM_4, move |out| {
            (0..10).for_each(|_| out.number(0));
            [100, 0, 1].into_iter().for_each(|number| out.number(number));
            out.text(b"producer");
            out.number(2);
            for name in names {
                out.text(name);
                out.number(1);
                out.number(1);
            }
            out.number(2);
            out.number(0);
        })
    };
    borne("a limit of zero", &of([b"one", b"two"]), true);
}

/// A stream of one node whose entries share a long field.
fn stream(name_bytes: usize, entries: i64) -> Vec<u8> {
    let name = vec![b'n'; name_bytes];
    let mut elements = vec![
        Element::Integer(entries),
        Element::Integer(0),
        Element::Integer(1),
        Element::Text(&name),
        Element::Integer(0),
    ];
    for number in 0..entries {
        elements.extend([2, number, 0, 7, 4].map(Element::Integer));
    }
    let list = listpack::build(elements);
    body(kinds::STREAM_2, |out| {
        out.number(1);
        out.plain_text(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.plain_text(&list);
        out.number(entries as u64);
        [entries as u64 + 1, 0, 1, 0, 0, 0].into_iter().for_each(|number| out.number(number));
        out.number(entries as u64);
        out.number(0);
    })
}

#[test]
fn fields_that_entries_share_are_not_repeated_for_each() {
    borne("a long field", &stream(100_000, 10_000), true);
    borne("a short field", &stream(3, 50_000), true);
    borne("fields as long as a node", &stream(4_000, 20_000), true);
}
