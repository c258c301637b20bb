//! What is encoded is decoded to the same, and what is not encoded data is refused: random values and random bytes.

use proptest::prelude::*;
use std::sync::Arc;
use torc_scripting::{Exchange, GoOn, Host, Interpreters, Reply, Script, Settings};

struct Nobody;

impl Host for Nobody {
    fn call(&mut self, exchange: &mut Exchange) {
        exchange.reply.clear();
    }

    fn tick(&mut self) -> GoOn {
        GoOn::Yes
    }
}

fn run(source: &str, arguments: &[&[u8]]) -> Reply {
    thread_local! {
        static INTERPRETERS: Interpreters = Interpreters::new(&Settings::default());
    }
    let script = Arc::new(Script::new(source.as_bytes()).unwrap());
    INTERPRETERS
        .with(|interpreters| interpreters.script(&script, [], arguments.iter().copied()).unwrap().drive(&mut Nobody))
}

/// JSON whose text is the one that cjson writes: objects have one key, so there is one order.
fn json() -> impl Strategy<Value = String> {
    let text = prop::collection::vec(prop::char::range('\u{20}', '\u{2ff}'), 0..12).prop_map(|characters| {
        let mut text = String::from("\"");
        for character in characters {
            match character {
                '"' | '\\' | '/' => text.extend(['\\', character]),
                '\u{7f}' => text.push_str("\\u007f"),
                _ => text.push(character),
            }
        }
        text.push('"');
        text
    });
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
        (-99_999_999_999_999_i64..99_999_999_999_999).prop_map(|number| number.to_string()),
        (-1_000_000_i64..1_000_000).prop_map(|number| (number as f64 / 64.0).to_string()),
        text.clone(),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..6).prop_map(|elements| format!("[{}]", elements.join(","))),
            (text.clone(), inner).prop_map(|(key, value)| format!("{{{key}:{value}}}")),
        ]
    })
}

proptest! {
    #[test]
    fn json_comes_back(text in json()) {
        let reply = run("return cjson.encode(cjson.decode(ARGV[1]))", &[text.as_bytes()]);
        prop_assert_eq!(reply, Reply::Bulk(text.into_bytes()));
    }

    #[test]
    fn msgpack_comes_back(text in json()) {
        // Its nil within a list would end the list, so there is none.
        let text = text.replace("null", "0");
        let source = "return cjson.encode(cmsgpack.unpack(cmsgpack.pack(cjson.decode(ARGV[1]))))";
        prop_assert_eq!(run(source, &[text.as_bytes()]), Reply::Bulk(text.into_bytes()));
    }

    #[test]
    fn structs_come_back(integer in any::<i32>(), small in any::<i8>(), double in any::<f64>(), text in "[a-z]{0,20}") {
        prop_assume!(double.is_finite());
        let source = "local f = ARGV[1] .. 'ibds' local i, b, d, s = struct.unpack(f, struct.pack(f, ARGV[2], ARGV[3], ARGV[4], ARGV[5])) \
             return {i, b, d == tonumber(ARGV[4]), s}";
        for order in ["<", ">", "!8", ">!4"] {
            let numbers = [integer.to_string(), small.to_string(), format!("{double:e}")];
            let arguments = [order.as_bytes(), numbers[0].as_bytes(), numbers[1].as_bytes(), numbers[2].as_bytes(), text.as_bytes()];
            let expected = [Reply::Integer(integer.into()), Reply::Integer(small.into()), Reply::Integer(1), Reply::Bulk(text.clone().into())];
            prop_assert_eq!(run(source, &arguments), Reply::Array(expected.to_vec()));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..100), format in "[<>!bBhHiIlLfdsxc0-9 ]{0,10}") {
        let source = "local r = {} for i, f in ipairs({cjson.decode, cmsgpack.unpack, cmsgpack.unpack_one}) do r[i] = pcall(f, ARGV[1]) end \
             r[4] = pcall(struct.unpack, ARGV[2], ARGV[1]) r[5] = pcall(struct.pack, ARGV[2], ARGV[1], 1, 2, ARGV[1]) return #r";
        let reply = run(source, &[&bytes, format.as_bytes()]);
        prop_assert!(matches!(reply, Reply::Integer(_)), "{:?}", reply);
    }
}
