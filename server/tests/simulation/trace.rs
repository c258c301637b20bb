//! What the shards ran, in order: where the checker looks first for an order of everything.
//!
//! ```text
//!   command table ── traced::<N> ──> the real handler          client writes command 5 as "GEt": its case is a tag
//!                        └─ notes the arguments                 call "GEt a" belongs to a command with that tag and key
//! ```
//! A hint and no proof: parts of a multicast run at different moments, tags repeat, and handlers also run for commands whose
//! client is gone. An order that starts from it is found at once where a search without it gets lost; whether there is one
//! does not depend on it.

use super::checker::Operation;
use super::command::Footprint;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use torc_engine::command::{CommandResult, Execution, Handler, Spec};
use torc_server::command_table::Target;

type Arguments = Vec<Vec<u8>>;

thread_local! {
    static HANDLERS: RefCell<Vec<Handler>> = const { RefCell::new(Vec::new()) };
    static CALLS: RefCell<Vec<Arguments>> = const { RefCell::new(Vec::new()) };
}

fn traced<const N: usize>(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    CALLS.with_borrow_mut(|calls| calls.push(arguments.iter().map(|argument| argument.to_vec()).collect()));
    let handler = HANDLERS.with_borrow(|handlers| handlers[N]);
    handler(execution, arguments)
}

/// A handler is a plain function: each row gets one of its own.
macro_rules! traced {
    ($($number:literal)*) => { &[$(traced::<$number>),*] };
}
const TRACED: &[Handler] = traced!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45
        46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);

/// The same rows, with every call of the engine's handlers noted. Begins a trace.
pub fn begin(rows: impl Iterator<Item = (&'static Spec, Target)>) -> Vec<(&'static Spec, Target)> {
    let mut handlers = Vec::new();
    let rows = rows.map(|(spec, target)| match target {
        Target::Engine(handler) => {
            handlers.push(handler);
            (spec, Target::Engine(TRACED[handlers.len() - 1]))
        }
        other @ Target::Session(_) => (spec, other),
    });
    let rows = rows.collect();
    HANDLERS.set(handlers);
    CALLS.take();
    rows
}

/// Ends the trace, and notes for each operation when a shard first ran it.
pub fn end(history: &mut [Operation], names: &[Vec<u8>], shards: usize) {
    let mut calls: HashMap<Vec<u8>, VecDeque<(usize, Arguments)>> = HashMap::new();
    for (place, arguments) in CALLS.take().into_iter().enumerate() {
        calls.entry(arguments[0].clone()).or_default().push_back((place, arguments));
    }
    for operation in history {
        let words = operation.command.words(names, operation.tag);
        let Some(calls) = calls.get_mut(&words[0]) else { continue };
        // Every shard has a part, each with all words; or the parts have the words among them; or there is one call.
        let is_everywhere = operation.command.footprint() == Footprint::Everything;
        let mut missing = if is_everywhere { shards * words.len() } else { words.len() - 1 };
        calls.retain(|(place, arguments)| {
            let is_part = missing > 0 && arguments.iter().all(|argument| words.contains(argument));
            if is_part {
                operation.ran.get_or_insert(*place);
                missing = missing.saturating_sub(if is_everywhere { words.len() } else { arguments.len() - 1 });
            }
            !is_part
        });
    }
}
