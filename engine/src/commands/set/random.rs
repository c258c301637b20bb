//! Members at random: SRANDMEMBER and SPOP.

use super::super::errors::{positive, syntax};
use super::super::random_choice::{Choice, choose, distinct};
use super::super::string::reply_string;
use super::set_of;
use crate::command::{CommandResult, Execution};
use crate::journal::EventClass;
use crate::long::{Locked, LongWork, STEP_BYTES_MAX, Step};
use crate::reply::Reply;
use crate::values::large::HashTree;
use crate::values::set::{self, SetRef};
use crate::values::{Collection, Object, StringRef, Type};

/// `SRANDMEMBER key [count]`
pub(super) fn srandmember(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let choice = match arguments[2..] {
        [] => None,
        [count] => Some(Choice::parse(count)?),
        _ => return Err(syntax()),
    };
    let access = execution.access();
    let Execution { keyspace, reply, database, now, random, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let set = keyspace.find_typed(*database, &key, *now, access, Type::Set)?.map(set_of);
    if let (Some(SetRef::Tree(tree)), Some(choice)) = (set, choice)
        && options.is_long_part(choice.count(tree.len() as usize) as u64, tree.len(), tree.bytes())
    {
        let length = tree.len() as usize;
        reply.array(choice.count(length));
        later.put_boxed(choose(tree.clone(), length, choice, random.fork(), |tree: &HashTree, number, reply| {
            tree.at(number).into_iter().for_each(|element| reply_string(reply, element.name()));
        }));
        return Ok(());
    }
    match (set, choice) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(set), None) => {
            let member = set.at(random.usize(..set.len()));
            member.into_iter().for_each(|member| reply_string(reply, member));
        }
        (Some(set), Some(Choice::Repeated(count))) => {
            reply.array(count);
            for _ in 0..count {
                let member = set.at(random.usize(..set.len()));
                member.into_iter().for_each(|member| reply_string(reply, member));
            }
        }
        (Some(set), Some(Choice::Distinct(count))) if count >= set.len() => {
            reply.array(set.len());
            set.iter().for_each(|member| reply_string(reply, member));
        }
        (Some(set), Some(Choice::Distinct(count))) => {
            reply.array(count);
            let members = distinct(count, set.len(), random).into_iter().filter_map(|index| set.at(index));
            members.for_each(|member| reply_string(reply, member));
        }
    }
    Ok(())
}

/// `SPOP key [count]`
pub(super) fn spop(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let count = match arguments[2..] {
        [] => None,
        [count] => Some(positive(count)?),
        _ => return Err(syntax()),
    };
    let locked = Locked::new(execution, arguments[1]);
    let Execution { keyspace, reply, database, now, random, options, later, .. } = execution;
    let wants_effects = keyspace.journal.wants_effects();
    let key = keyspace.key(arguments[1]);
    let Some(mut entry) = keyspace.edit(*database, &key, Type::Set, *now)? else {
        if count.is_some() {
            reply.set(0)
        } else {
            reply.null()
        }
        return Ok(());
    };
    let view = SetRef::of(&entry);
    let length = view.len();
    let popped = count.unwrap_or(1).min(length);
    if count.is_some() {
        reply.set(popped);
    }
    let mut effects = Removals::new(arguments[1], wants_effects);
    if popped == length {
        match view {
            SetRef::Tree(tree) if options.is_long(tree.len(), tree.bytes() as u64) => later.put(super::walk(tree)),
            view => view.iter().for_each(|member| reply_string(reply, member)),
        }
        entry.changed(popped as u64);
        entry.remove();
    } else if let SetRef::Tree(tree) = view
        && options.is_long_part(POP_UNITS * popped as u64, tree.len(), tree.bytes())
    {
        let work = LongPop::new(locked, tree, popped, random.fork(), effects);
        later.put(work);
        return Ok(());
    } else {
        // From the last on, so that the numbers of those still to go stay what they are.
        let chosen = if popped == 1 { vec![random.usize(..length)] } else { distinct(popped, length, random) };
        for index in chosen.into_iter().rev() {
            if let Some(member) = SetRef::of(&entry).at(index) {
                reply_string(reply, member);
                effects.add(member);
            }
            set::remove_at(&mut entry, index);
        }
        entry.changed(popped as u64);
    }
    if popped == 0 {
        return Ok(());
    }
    execution.event(EventClass::Set, "spop", arguments[1]);
    if popped == length {
        execution.effect(&[b"DEL", arguments[1]]);
        execution.event(EventClass::Generic, "del", arguments[1]);
    } else {
        effects.report(execution);
    }
    Ok(())
}

/// What choosing and removing a member costs, in units of listing one.
const POP_UNITS: u64 = 8;

/// The effects of SPOP: SREM of so many members each, as the real server writes them.
struct Removals {
    key: Vec<u8>,
    is_wanted: bool,
    effects: Vec<Vec<Vec<u8>>>,
}

impl Removals {
    const MEMBERS_MAX: usize = 1024;
    const HEAD: usize = 2;

    fn new(key: &[u8], is_wanted: bool) -> Self {
        Self { key: if is_wanted { key.to_vec() } else { Vec::new() }, is_wanted, effects: Vec::new() }
    }

    fn add(&mut self, member: StringRef<'_>) {
        if !self.is_wanted {
            return;
        }
        let is_full = self.effects.last().is_none_or(|effect| effect.len() == Self::HEAD + Self::MEMBERS_MAX);
        if is_full {
            self.effects.push(vec![b"SREM".to_vec(), self.key.clone()]);
        }
        self.effects.last_mut().into_iter().for_each(|effect| effect.push(member.to_bytes().into_owned()));
    }

    fn report(self, execution: &mut Execution<'_>) {
        for effect in self.effects {
            execution.keyspace.journal.effect_owned(execution.database, effect);
        }
    }
}

/// Many members of a large set, whose key is locked until they are gone.
///
/// 1. Members are chosen: a bit for each of the set.
/// 2. They are taken off a copy of the set, from the last on; the copy takes the set's place.
/// 3. They are listed, from the set as it was.
struct LongPop {
    key: Locked,
    set: HashTree,
    bits: Vec<u64>,
    count: usize,
    stage: PopStage,
    random: fastrand::Rng,
    effects: Option<Removals>,
}

enum PopStage {
    /// How many of the choices have been made.
    Choosing(usize),
    /// What is left of the set, and the word of bits below which they have not been looked at.
    Removing(HashTree, usize),
    /// The word of bits that comes next.
    Listing(usize),
}

impl LongPop {
    fn new(key: Locked, set: &HashTree, count: usize, random: fastrand::Rng, effects: Removals) -> Self {
        let bits = vec![0; (set.len() as usize).div_ceil(64)];
        let (set, stage) = (set.clone(), PopStage::Choosing(0));
        Self { key, set, bits, count, stage, random, effects: Some(effects) }
    }

    /// Chooses as [`distinct`] does; how many choices have been made then.
    fn choose(&mut self, made: usize, budget: u64) -> usize {
        let first = self.set.len() as usize - self.count;
        let until = self.count.min(made.saturating_add(budget as usize));
        for last in first + made..first + until {
            let number = self.random.usize(..=last);
            let is_taken = self.bits[number / 64] >> (number % 64) & 1 == 1;
            let chosen = if is_taken { last } else { number };
            self.bits[chosen / 64] |= 1 << (chosen % 64);
        }
        until
    }

    /// Takes members off; the word below which they have not been looked at.
    fn remove(&mut self, left: &mut HashTree, above: usize, budget: u64) -> usize {
        let (mut above, mut units) = (above, budget);
        while above > 0 && units > 0 {
            above -= 1;
            let mut word = self.bits[above];
            units = units.saturating_sub(1 + u64::from(word.count_ones()) * POP_UNITS);
            while word != 0 {
                let bit = 63 - word.leading_zeros() as usize;
                word &= !(1 << bit);
                if let Some(member) = left.take_at((above * 64 + bit) as u64)
                    && let Some(effects) = &mut self.effects
                {
                    effects.add(member.name.as_ref());
                }
            }
        }
        above
    }

    /// Puts what is left in place, and tells.
    fn commit(&mut self, execution: &mut Execution<'_>, left: HashTree) {
        if !self.key.enter(execution) {
            return;
        }
        let key = execution.keyspace.key(self.key.name());
        let (database, now) = (execution.database, execution.now);
        let Ok(Some(mut entry)) = execution.keyspace.edit(database, &key, Type::Set, now) else { return };
        entry.change_object(|object| *object = Object::Set(left));
        entry.changed(self.count as u64);
        execution.event(EventClass::Set, "spop", self.key.name());
        self.effects.take().into_iter().for_each(|effects| effects.report(execution));
    }

    /// Lists members; the word that comes next.
    fn list(&self, from: usize, budget: u64, reply: &mut Reply<'_>) -> usize {
        /// With more members in a word than this it is quicker to pass over the others.
        const SINGLE_MAX: u32 = 8;
        let (bytes, mut units, mut next) = (reply.buffer().len(), budget, from);
        while next < self.bits.len() && units > 0 && reply.buffer().len() - bytes < STEP_BYTES_MAX {
            let (word, rank) = (self.bits[next], next as u64 * 64);
            if word.count_ones() > SINGLE_MAX {
                let members = self.set.iter_from(rank).take(64).enumerate();
                let chosen = members.filter(|(bit, _)| word >> bit & 1 == 1);
                chosen.for_each(|(_, element)| reply_string(reply, element.name()));
                units = units.saturating_sub(64);
            } else {
                let chosen = (0..64).filter(|bit| word >> bit & 1 == 1).filter_map(|bit| self.set.at(rank + bit));
                chosen.for_each(|element| reply_string(reply, element.name()));
                units = units.saturating_sub(1 + u64::from(word.count_ones()) * POP_UNITS);
            }
            next += 1;
        }
        next
    }
}

impl LongWork for LongPop {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        match std::mem::replace(&mut self.stage, PopStage::Choosing(0)) {
            PopStage::Choosing(made) => {
                let made = self.choose(made, budget);
                self.stage = if made == self.count {
                    PopStage::Removing(self.set.clone(), self.bits.len())
                } else {
                    PopStage::Choosing(made)
                };
            }
            PopStage::Removing(mut left, above) => match self.remove(&mut left, above, budget) {
                0 => {
                    self.commit(execution, left);
                    self.stage = PopStage::Listing(0);
                }
                above => self.stage = PopStage::Removing(left, above),
            },
            PopStage::Listing(next) => {
                let next = self.list(next, budget, &mut execution.reply);
                self.stage = PopStage::Listing(next);
                if next == self.bits.len() {
                    return Step::Done;
                }
            }
        }
        Step::More
    }

    fn only_reads(&self) -> bool {
        matches!(self.stage, PopStage::Listing(_))
    }
}
