//! Is there one order of all commands in which a server without shards would have given the same replies?
//!
//! The order must keep:
//! 1. real time: a command whose reply was there before another was sent comes first (strict serializability);
//! 2. each connection's writes as they were sent, and its commands on one key as they were sent (the pipeline promise);
//! 3. time: each command runs at one instant between its sending and its reply, by which all its keys are judged, and a
//!    key that was found expired stays so. Commands that overlap may run at instants in another order than their own.
//!
//! ```text
//!   search(model, done):
//!     take every command that changes nothing and whose reply fits now      (always safe: nothing else gets harder)
//!     all answered commands taken?        -> an order exists
//!     seen this (done, model) before?     -> no
//!     for each command that may come next and fits at some instant, in the order in which shards ran them: search(...)
//! ```
//! A search of Wing and Gong with a memo over whole histories. Values are unique, which prunes most of it: a write that
//! destroys the last copy of a value that some reply has yet to show cannot come next. A command without a reply (its
//! client died) may come anywhere, or never; an EXEC behind a WATCH may also come without an effect, in front of what its
//! connection sent behind it.
//!
//! Times count only by which expiry instants they are past, so a handful of instants stands for all milliseconds.

use super::command::{Command, Entry, Expected, Footprint, Model, ROUND, Reply, Value};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// One command of a history.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its connection.
    pub session: u32,
    /// The database that the connection had selected.
    pub database: usize,
    /// What.
    pub command: Command,
    /// When it was sent, on the clock that counts client actions; and by the wall.
    pub invoked: u64,
    pub invoked_ms: i64,
    /// The same of its reply; none if it never came.
    pub returned: Option<u64>,
    pub returned_ms: i64,
    pub reply: Option<Reply>,
    /// What it can be told by in the trace, and where it first stands there.
    pub tag: usize,
    pub ran: Option<usize>,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Serializable,
    /// There is none; with the place where every order ends.
    Violation(String),
    /// The search was given up.
    Undecided,
}

/// Searched places before it is given up; fewer where it is only about the length of a report.
const PLACES_MAX: usize = 20_000;
const MINIMISE_PLACES_MAX: usize = 1_000;

/// Whether only one command of a run can make this value: numbers that clients write are round, so that what INCR makes of
/// them, perhaps of two copies of one number, is not.
fn is_written_once(value: &[u8]) -> bool {
    !value.iter().all(u8::is_ascii_digit) || value.ends_with(ROUND.as_bytes())
}

/// How many of the commands in front of a violation are shown.
const SHOWN_BEFORE: usize = 12;

struct Search<'a> {
    operations: Vec<&'a Operation>,
    /// For each: those of its connection that must come first and were not answered before it was sent.
    before: Vec<Vec<usize>>,
    names: &'a [Vec<u8>],
    /// The times at which some key's state changes by itself, ascending.
    instants: Vec<i64>,
    done: Vec<bool>,
    answered_left: usize,
    /// Everything before this is done.
    first_left: usize,
    /// How many answered commands have yet to show a value.
    to_be_seen: HashMap<Value, usize>,
    memo: HashSet<(u64, u64)>,
    places: usize,
    places_max: usize,
    /// What is done, in order.
    order: Vec<usize>,
    deepest: Option<Deepest>,
}

/// The place that the search came farthest to.
struct Deepest {
    left: usize,
    done: Vec<bool>,
    order: Vec<usize>,
    model: Model,
}

/// Checks a history; `names` are those of its keys.
pub fn check(history: &[Operation], names: &[Vec<u8>]) -> Verdict {
    check_within(PLACES_MAX, history, names)
}

fn check_within(places_max: usize, history: &[Operation], names: &[Vec<u8>]) -> Verdict {
    let model = Rc::new(Model::default());
    // Commands of the dead that no shard has run are mostly in the way: an order without them will do.
    let born = without_unborn(history);
    if born.len() < history.len() && Search::new(&born, names, places_max).explore(&model) {
        return Verdict::Serializable;
    }
    let mut search = Search::new(history, names, places_max);
    if search.explore(&model) {
        Verdict::Serializable
    } else if search.places >= places_max {
        Verdict::Undecided
    } else {
        Verdict::Violation(search.explain())
    }
}

/// Leaves out what nobody has run or answered at the end of each connection: it need not have happened.
fn without_unborn(history: &[Operation]) -> Vec<Operation> {
    let is_born = |operation: &&Operation| operation.ran.is_some() || operation.reply.is_some();
    let last_born: HashMap<u32, u64> =
        history.iter().filter(is_born).map(|operation| (operation.session, operation.invoked)).collect();
    let is_before = |operation: &&Operation| last_born.get(&operation.session) >= Some(&operation.invoked);
    history.iter().filter(is_before).cloned().collect()
}

/// Leaves out of a history without an order what is not needed to see that there is none: each step makes an order only
/// easier to find.
pub fn minimise(history: &[Operation], names: &[Vec<u8>]) -> Vec<Operation> {
    let mut kept = history.to_vec();
    let is_bad =
        |history: &[Operation]| matches!(check_within(MINIMISE_PLACES_MAX, history, names), Verdict::Violation(_));
    kept.retain(|operation| operation.command.is_ordered());
    for index in (0..kept.len()).rev() {
        let mut shorter = kept.clone();
        let removed = shorter.remove(index);
        let Some(reply) = removed.reply.clone() else { continue };
        if !removed.command.had_no_effect(&reply) {
            // It may still have happened: only its reply is forgotten.
            shorter.insert(index, Operation { returned: None, returned_ms: i64::MAX, reply: None, ..removed });
        }
        if is_bad(&shorter) {
            kept = shorter;
        }
    }
    kept
}

fn shown_values(reply: &Reply, visit: &mut impl FnMut(&Value)) {
    match reply {
        Reply::Bulk(value) => visit(value),
        Reply::Array(elements) => elements.iter().for_each(|element| shown_values(element, visit)),
        _ => {}
    }
}

impl<'a> Search<'a> {
    fn new(history: &'a [Operation], names: &'a [Vec<u8>], places_max: usize) -> Self {
        let matters = |operation: &&Operation| {
            operation.command.is_ordered() && (operation.reply.is_some() || operation.command.is_write())
        };
        let mut operations: Vec<&Operation> = history.iter().filter(matters).collect();
        operations.sort_by_key(|operation| operation.invoked);
        let footprints: Vec<Footprint> = operations.iter().map(|operation| operation.command.footprint()).collect();
        let mut by_session: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut before = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            let own = by_session.entry(operation.session).or_default();
            own.retain(|other| operations[*other].returned.is_none_or(|returned| returned > operation.invoked));
            let comes_first = |other: &&usize| {
                let is_write = operations[**other].command.is_write() && operation.command.is_write();
                is_write || footprints[**other].meets(&footprints[index])
            };
            before.push(own.iter().filter(comes_first).copied().collect());
            own.push(index);
        }
        let mut instants: Vec<i64> = operations
            .iter()
            .filter_map(|operation| operation.command.expires_at())
            .flat_map(|at| [at, at + 1])
            .collect();
        instants.sort_unstable();
        instants.dedup();
        let mut to_be_seen = HashMap::new();
        let mut answered_left = 0;
        for operation in &operations {
            answered_left += usize::from(operation.reply.is_some());
            if let Some(reply) = &operation.reply {
                shown_values(reply, &mut |value| *to_be_seen.entry(value.clone()).or_default() += 1);
            }
        }
        let done = vec![false; operations.len()];
        Self {
            operations,
            before,
            names,
            instants,
            done,
            answered_left,
            first_left: 0,
            to_be_seen,
            memo: HashSet::new(),
            places: 0,
            places_max,
            order: Vec::new(),
            deepest: None,
        }
    }

    /// The last instant that is over at a time.
    fn instant(&self, time_ms: i64) -> i64 {
        let past = self.instants.partition_point(|instant| *instant <= time_ms);
        if past == 0 { i64::MIN } else { self.instants[past - 1] }
    }

    fn mark(&mut self, index: usize, done: bool) {
        self.done[index] = done;
        if done {
            self.order.push(index);
        } else {
            self.order.pop();
        }
        if let Some(reply) = &self.operations[index].reply {
            if done {
                self.answered_left -= 1
            } else {
                self.answered_left += 1
            }
            let to_be_seen = &mut self.to_be_seen;
            shown_values(reply, &mut |value| {
                let left = to_be_seen.get_mut(value).expect("counted before");
                if done { *left -= 1 } else { *left += 1 }
            });
        }
    }

    /// Commands that nothing forces behind another that is not done.
    fn candidates(&mut self) -> Vec<usize> {
        while self.done.get(self.first_left) == Some(&true) {
            self.first_left += 1;
        }
        let mut first_return = u64::MAX;
        let mut candidates = Vec::new();
        for index in self.first_left..self.operations.len() {
            let operation = self.operations[index];
            if operation.invoked > first_return {
                break;
            }
            if self.done[index] {
                continue;
            }
            first_return = first_return.min(operation.returned.unwrap_or(u64::MAX));
            if self.before[index].iter().all(|other| self.done[*other]) {
                candidates.push(index);
            }
        }
        candidates.retain(|index| self.operations[*index].invoked <= first_return);
        candidates
    }

    /// The instants at which a command may run: one of each stretch in which no key's state changes by itself.
    fn instants_of(&self, operation: &Operation) -> impl Iterator<Item = i64> + use<> {
        let least = self.instant(operation.invoked_ms);
        let later =
            self.instants.iter().copied().filter(|instant| *instant > least && *instant <= operation.returned_ms);
        std::iter::once(least).chain(later.collect::<Vec<_>>())
    }

    /// The model behind a command at an instant, and whether something has changed; none if its reply does not fit.
    fn apply(&self, index: usize, model: &Rc<Model>, instant: i64) -> Option<(Rc<Model>, bool)> {
        let operation = self.operations[index];
        let mut next = model.clone();
        let (expected, any_expired) =
            Rc::make_mut(&mut next).apply(operation.database, &operation.command, instant, self.names)?;
        let Some(reply) = &operation.reply else { return Some((next, true)) };
        if expected.accepts(reply) {
            Rc::make_mut(&mut next).take_told(operation.database, &operation.command, instant, reply);
        }
        let changes = any_expired || !operation.command.had_no_effect(reply);
        expected.accepts(reply).then_some((next, changes))
    }

    /// Takes all that change nothing and fit.
    fn take_harmless(&mut self, model: &Rc<Model>) -> Vec<usize> {
        let mut taken = Vec::new();
        loop {
            let before = taken.len();
            for index in self.candidates() {
                let operation = self.operations[index];
                if !operation.reply.as_ref().is_some_and(|reply| operation.command.had_no_effect(reply)) {
                    continue;
                }
                let is_harmless = |at| self.apply(index, model, at).is_some_and(|(_, changes)| !changes);
                if self.instants_of(operation).any(is_harmless) {
                    self.mark(index, true);
                    taken.push(index);
                }
            }
            if taken.len() == before {
                return taken;
            }
        }
    }

    fn explore(&mut self, model: &Rc<Model>) -> bool {
        let taken = self.take_harmless(model);
        if self.answered_left == 0 {
            return true;
        }
        if self.places < self.places_max && self.is_new_place(model) && self.explore_changes(model) {
            return true;
        }
        let back_to = taken.iter().copied().min();
        for index in taken.into_iter().rev() {
            self.mark(index, false);
        }
        self.first_left = self.first_left.min(back_to.unwrap_or(usize::MAX));
        false
    }

    fn is_new_place(&mut self, model: &Rc<Model>) -> bool {
        self.places += 1;
        if self.deepest.as_ref().is_none_or(|deepest| deepest.left > self.answered_left) {
            let (left, done, order) = (self.answered_left, self.done.clone(), self.order.clone());
            self.deepest = Some(Deepest { left, done, order, model: Model::clone(model) });
        }
        let mut place = DefaultHasher::new();
        self.done.hash(&mut place);
        let mut state = DefaultHasher::new();
        model.hash(&mut state);
        self.memo.insert((place.finish(), state.finish()))
    }

    fn explore_changes(&mut self, model: &Rc<Model>) -> bool {
        let mut candidates = self.candidates();
        candidates.sort_by_key(|index| {
            let operation = self.operations[*index];
            (operation.ran.unwrap_or(usize::MAX), operation.returned.unwrap_or(u64::MAX))
        });
        for index in candidates {
            for next in self.outcomes(index, model) {
                self.mark(index, true);
                let first_left = self.first_left;
                if !self.loses_unseen_value(model, &next) && self.explore(&next) {
                    return true;
                }
                self.mark(index, false);
                self.first_left = first_left.min(index);
            }
        }
        false
    }

    /// The models that a command which changes something may lead to.
    fn outcomes(&self, index: usize, model: &Rc<Model>) -> Vec<Rc<Model>> {
        let operation = self.operations[index];
        let ran = self.instants_of(operation).filter_map(|at| self.apply(index, model, at));
        let mut outcomes: Vec<_> = ran.filter_map(|(next, changes)| changes.then_some(next)).collect();
        outcomes.dedup();
        // Nobody has heard whether this EXEC found what it watched unchanged.
        if operation.reply.is_none() && matches!(operation.command, Command::Watched(_)) {
            outcomes.push(model.clone());
        }
        outcomes
    }

    /// Whether a value has gone for good that a reply has yet to show.
    fn loses_unseen_value(&self, before: &Model, after: &Model) -> bool {
        let is_missed = |value: &Value| {
            is_written_once(value)
                && self.to_be_seen.get(value).is_some_and(|left| *left > 0)
                && !after.entries.values().any(|entry| !entry.is_over && entry.shows(value))
        };
        before.entries.values().any(|entry| !entry.is_over && is_missed(&entry.value))
    }

    /// The place that the search came farthest to, and why nothing goes on there.
    fn explain(&mut self) -> String {
        let Some(Deepest { left, done, order, model }) = self.deepest.take() else { return "an empty history".into() };
        self.done = done;
        self.first_left = 0;
        let mut text =
            format!("no order of {} commands: every one ends with {left} left; there\n", self.operations.len());
        for index in order.iter().skip(order.len().saturating_sub(SHOWN_BEFORE)) {
            let _ = writeln!(text, "  before: {}", describe(self.operations[*index], self.names));
        }
        for ((database, key), Entry { value, expires_at, is_over, .. }) in &model.entries {
            let name = String::from_utf8_lossy(&self.names[*key as usize]);
            let over = if *is_over { ", over" } else { "" };
            let _ = writeln!(text, "  {database}/{name} = {} until {expires_at:?}{over}", brief(value));
        }
        for index in self.candidates() {
            let operation = self.operations[index];
            let asks = |at| Model::clone(&model).apply(operation.database, &operation.command, at, self.names);
            let fits = match &operation.reply {
                None => "no reply".to_string(),
                Some(reply)
                    if self
                        .instants_of(operation)
                        .any(|at| asks(at).is_some_and(|(asked, _)| asked.accepts(reply))) =>
                {
                    "fits, but leads nowhere".to_string()
                }
                Some(_) => match self.instants_of(operation).find_map(asks) {
                    Some((Expected::Reply(reply), _)) => format!("the order here asks for {}", show(&reply)),
                    other => format!("the order here asks for {other:?}"),
                },
            };
            let _ = writeln!(text, "  next: {}; {fits}", describe(operation, self.names));
        }
        text
    }
}

fn brief(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(24)]).into_owned();
    if value.len() > 24 { format!("{text}... ({} bytes)", value.len()) } else { text }
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(value) => brief(value),
        Reply::Array(elements) => format!("[{}]", elements.iter().map(show).collect::<Vec<_>>().join(" ")),
        other => format!("{other:?}"),
    }
}

/// A command in words; those of a transaction or script one by one.
fn told(command: &Command, names: &[Vec<u8>]) -> String {
    let each = |commands: &[Command]| commands.iter().map(|one| told(one, names)).collect::<Vec<_>>().join("; ");
    match command {
        Command::Exec(commands) => format!("EXEC {{ {} }}", each(commands)),
        Command::Watched(commands) => format!("WATCH and EXEC {{ {} }}", each(commands)),
        Command::Script { commands, .. } => format!("EVAL {{ {} }}", each(commands)),
        other => {
            let words = other.words(names, 0);
            words.iter().map(|word| brief(word)).collect::<Vec<_>>().join(" ")
        }
    }
}

/// One line about an operation.
pub fn describe(operation: &Operation, names: &[Vec<u8>]) -> String {
    let words = told(&operation.command, names);
    let reply = operation.reply.as_ref().map_or("nothing".to_string(), show);
    let returned = operation.returned.map_or("never".to_string(), |returned| returned.to_string());
    let ms =
        |time_ms: i64| if time_ms == i64::MAX { "never".to_string() } else { format!("{} ms", time_ms % 1_000_000) };
    format!(
        "connection {} db {} [{}..{returned}, {}..{}] {} -> {reply}",
        operation.session,
        operation.database,
        operation.invoked,
        ms(operation.invoked_ms),
        ms(operation.returned_ms),
        words
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<Vec<u8>> {
        vec![b"x".to_vec(), b"y".to_vec()]
    }

    fn value(text: &str) -> Value {
        text.as_bytes().into()
    }

    fn at(session: u32, invoked: u64, returned: u64, command: Command, reply: Reply) -> Operation {
        Operation {
            session,
            database: 0,
            command,
            invoked,
            invoked_ms: invoked as i64,
            returned: Some(returned),
            returned_ms: returned as i64,
            reply: Some(reply),
            tag: 0,
            ran: None,
        }
    }

    fn set(session: u32, invoked: u64, returned: u64, key: u16, text: &str) -> Operation {
        at(session, invoked, returned, Command::set(key, value(text)), Reply::ok())
    }

    fn get(session: u32, invoked: u64, returned: u64, key: u16, text: &str) -> Operation {
        let reply = if text.is_empty() { Reply::Nil } else { Reply::Bulk(value(text)) };
        at(session, invoked, returned, Command::Get(key), reply)
    }

    fn mget(session: u32, invoked: u64, returned: u64, x: &str, y: &str) -> Operation {
        let bulk = |text: &str| if text.is_empty() { Reply::Nil } else { Reply::Bulk(value(text)) };
        at(session, invoked, returned, Command::MGet(vec![0, 1]), Reply::Array(vec![bulk(x), bulk(y)]))
    }

    #[track_caller]
    fn good(history: &[Operation]) {
        assert_eq!(check(history, &names()), Verdict::Serializable);
    }

    #[track_caller]
    fn bad(history: &[Operation]) {
        let verdict = check(history, &names());
        assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}");
    }

    #[test]
    fn concurrent_commands_may_take_any_order_and_others_not() {
        good(&[set(1, 1, 10, 0, "a"), get(2, 2, 3, 0, ""), get(2, 4, 5, 0, "a")]);
        bad(&[set(1, 1, 10, 0, "a"), get(2, 2, 3, 0, "a"), get(2, 4, 5, 0, "")]);
        bad(&[set(1, 1, 2, 0, "a"), get(2, 3, 4, 0, "")]);
        bad(&[set(1, 1, 2, 0, "a"), get(2, 3, 4, 0, "never written")]);
        good(&[set(1, 1, 10, 0, "a"), set(2, 1, 10, 0, "b"), get(3, 11, 12, 0, "a")]);
        bad(&[set(1, 1, 10, 0, "a"), set(2, 1, 10, 0, "b"), get(3, 11, 12, 0, "a"), get(3, 13, 14, 0, "b")]);
    }

    #[test]
    fn a_half_written_pair_is_found() {
        let mset = |text: &str| Command::MSet(vec![(0, value(text)), (1, value(&format!("{text}y")))]);
        let first = at(1, 1, 2, mset("a"), Reply::ok());
        let second = at(1, 3, 30, mset("b"), Reply::ok());
        good(&[first.clone(), second.clone(), mget(2, 4, 5, "a", "ay"), mget(2, 6, 7, "b", "by")]);
        bad(&[first.clone(), second.clone(), mget(2, 4, 5, "b", "ay")]);
        // Seen by two single reads one after the other.
        bad(&[first.clone(), second.clone(), get(2, 4, 5, 0, "b"), get(2, 6, 7, 1, "ay")]);
        good(&[first, second, get(2, 4, 5, 0, "a"), get(2, 6, 7, 1, "by")]);
    }

    #[test]
    fn a_connections_pipelined_writes_keep_their_order() {
        let pipelined = [set(1, 1, 20, 0, "a"), set(1, 2, 20, 1, "b")];
        bad(&[&pipelined[..], &[get(2, 3, 4, 1, "b"), get(2, 5, 6, 0, "")]].concat());
        good(&[&pipelined[..], &[get(2, 3, 4, 0, "a"), get(2, 5, 6, 1, "")]].concat());
        // Two connections promise nothing of each other.
        let apart = [set(1, 1, 20, 0, "a"), set(3, 2, 20, 1, "b")];
        good(&[&apart[..], &[get(2, 3, 4, 1, "b"), get(2, 5, 6, 0, "")]].concat());
        // A read may run before an earlier write on another key, not on its own.
        good(&[set(1, 1, 20, 0, "a"), get(1, 2, 20, 1, ""), set(2, 1, 3, 1, "c"), get(2, 4, 5, 0, "")]);
        bad(&[set(1, 1, 20, 0, "a"), get(1, 2, 20, 0, "")]);
    }

    #[test]
    fn what_has_expired_stays_so() {
        let expiring = |key: u16, text: &str| {
            let command = Command::Set { key, value: value(text), expires_at: Some(100), if_absent: false, get: false };
            at(1, 1 + u64::from(key), 3 + u64::from(key), command, Reply::ok())
        };
        let both = [expiring(0, "a"), expiring(1, "b")];
        good(&[&both[..], &[mget(2, 90, 110, "a", "b"), mget(2, 111, 112, "", "")]].concat());
        bad(&[&both[..], &[mget(2, 90, 110, "a", "")]].concat());
        bad(&[&both[..], &[get(2, 90, 103, 0, ""), get(2, 104, 110, 1, "b")]].concat());
        bad(&[&both[..], &[get(2, 90, 103, 0, ""), mget(3, 95, 110, "", "b")]].concat());
        bad(&[&both[..], &[get(2, 102, 110, 0, "a")]].concat());
        bad(&[&both[..], &[get(2, 50, 60, 0, "")]].concat());
        good(&[&both[..], &[get(2, 90, 110, 0, ""), get(3, 90, 110, 1, "b")]].concat());
    }

    #[test]
    fn what_incr_makes_of_two_copies_is_not_held_to_be_one_value() {
        let mut clock = 0;
        let mut next = |command: Command, reply: Reply| {
            clock += 2;
            at(1, clock - 1, clock, command, reply)
        };
        let copy = Command::Copy { from: 0, to: 1, database: 0, replace: false };
        good(&[
            next(Command::set(0, value("7000000")), Reply::ok()),
            next(copy, Reply::Integer(1)),
            next(Command::Incr(1), Reply::Integer(7_000_001)),
            next(Command::set(1, value("8000000")), Reply::ok()),
            next(Command::Incr(0), Reply::Integer(7_000_001)),
            next(Command::Get(0), Reply::Bulk(value("7000001"))),
        ]);
    }

    #[test]
    fn a_command_without_reply_may_have_happened_or_not() {
        let mut lost = set(1, 1, 2, 0, "a");
        (lost.returned, lost.reply) = (None, None);
        good(&[lost.clone(), get(2, 3, 4, 0, "")]);
        good(&[lost.clone(), get(2, 3, 4, 0, ""), get(2, 5, 6, 0, "a")]);
        bad(&[lost, get(2, 3, 4, 0, "a"), get(2, 5, 6, 0, "")]);
    }

    #[test]
    fn an_unanswered_exec_may_have_found_what_it_watched_changed() {
        let seen_later = |exec: Command| {
            let mut history =
                [at(1, 1, 9, exec, Reply::ok()), set(1, 2, 9, 0, "c"), get(2, 3, 4, 0, "c"), get(2, 5, 6, 1, "")];
            history[..2].iter_mut().for_each(|lost| (lost.returned, lost.reply) = (None, None));
            history
        };
        let commands = vec![Command::Get(0), Command::set(1, value("b"))];
        good(&seen_later(Command::Watched(commands.clone())));
        bad(&seen_later(Command::Exec(commands)));
    }
}
