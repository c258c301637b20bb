//! Histories of shards into one order. No I/O: what comes in are the records of turns, what comes out are the bytes of a log.
//!
//! ```text
//!   shard 0:  e1  [unit 7: SET a]  e4  |fence|                       out:  e1 e2 e3 MULTI SET a SET b EXEC e4 e5 |fence|
//!   shard 1:  e2  e3  [unit 7: SET b]  e5  |fence|
//!                     ^ waits at its shard's head until its other shares are at the heads of theirs
//! ```
//!
//! Records of one shard stay in their order, and a unit of several shards is one record: a transaction, or a plain command if it
//! has one effect. A fence divides: whatever is before it on any shard comes before it.
//!
//! **Circles.** A unit that has one place in the history of all shards is met in one order everywhere. But the parts of a command
//! that each shard does where it meets it ([`Share::is_apart`]) may stand in different orders: on one shard the first of two
//! waits for a key, so the second goes ahead, on the other it does not.
//!
//! ```text
//!   shard 0:  [2: MSET c]  [1: MSET a]            neither can be first: together they are one transaction. Inside it the
//!   shard 1:  [1: MSET b]  [2: MSET d]            records of each shard are in their order, and nothing else counts there.
//! ```
//! Only such circles are taken together, never what only waits for a share that has not come.
//!
//! **Tickets** count pushes. [`Sequencer::complete`] is the last one up to which everything is out: a share that waits
//! holds it back.

use super::output::Output;
use std::collections::{HashMap, VecDeque};
use torc_engine::journal::{Effects, Record, Share, merge_shares};

/// Which unit: its coordinator, and the coordinator's number for it.
type UnitName = (usize, u64);

/// What stands in a shard's line.
#[derive(Debug)]
enum Item {
    Effects(Effects),
    Share(Share),
    Fence(u64),
}

/// Shares that have come and are not out, by shard.
#[derive(Debug, Default)]
struct Arrived {
    shards: Vec<usize>,
    /// Of shares that went out ahead of the others, in a transaction that is open.
    gone: usize,
}

/// A circle that is being taken together.
#[derive(Debug)]
struct Circle {
    effects: Effects,
    /// The first ticket of what is in it.
    ticket: u64,
    /// Units of which some shares are in it.
    units: Vec<UnitName>,
}

/// Joins histories.
#[derive(Debug)]
pub struct Sequencer {
    lines: Vec<VecDeque<(u64, Item)>>,
    /// For each shard, whether its head may have become ready since it was looked at.
    fresh: Vec<bool>,
    arrived: HashMap<UnitName, Arrived>,
    circle: Option<Circle>,
    /// The last ticket that was given.
    ticket: u64,
    held_bytes: usize,
}

impl Sequencer {
    /// For so many shards.
    pub fn new(shards: usize) -> Self {
        Self {
            lines: (0..shards).map(|_| VecDeque::new()).collect(),
            fresh: vec![false; shards],
            arrived: HashMap::new(),
            circle: None,
            ticket: 0,
            held_bytes: 0,
        }
    }

    /// The next records of a shard.
    pub fn push(&mut self, shard: usize, ticket: u64, records: Vec<Record>) {
        self.ticket = self.ticket.max(ticket);
        for record in records {
            let item = match record {
                Record::Effects(effects) => {
                    self.held_bytes += effects.bytes().len();
                    Item::Effects(effects)
                }
                Record::Share(share) => {
                    self.held_bytes += share.effects.bytes().len();
                    self.arrived.entry(share.unit).or_default().shards.push(shard);
                    Item::Share(share)
                }
            };
            self.lines[shard].push_back((ticket, item));
        }
        self.fresh[shard] = true;
    }

    /// A fence on a shard: each shard comes to it once.
    pub fn push_fence(&mut self, shard: usize, ticket: u64, number: u64) {
        self.ticket = self.ticket.max(ticket);
        self.lines[shard].push_back((ticket, Item::Fence(number)));
        self.fresh[shard] = true;
    }

    /// A ticket of something that does not stand in a line.
    pub fn note_ticket(&mut self, ticket: u64) {
        self.ticket = self.ticket.max(ticket);
    }

    /// Everything of the tickets up to this one is out.
    pub fn complete(&self) -> u64 {
        let heads = self.lines.iter().filter_map(|line| line.front()).map(|(ticket, _)| *ticket);
        let first_kept = heads.chain(self.circle.as_ref().map(|circle| circle.ticket)).min();
        first_kept.map_or(self.ticket, |ticket| ticket - 1)
    }

    /// Bytes that wait for shares.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Puts out whatever may go.
    pub fn drain(&mut self, out: &mut Output) {
        loop {
            let mut has_moved = false;
            if self.circle.is_some() {
                has_moved |= self.go_round(out);
            }
            // While a circle is open, nothing else goes: it would stand in the middle of a transaction that is not its own.
            if self.circle.is_none() {
                while let Some(shard) = self.fresh.iter().position(|fresh| *fresh) {
                    self.fresh[shard] = false;
                    has_moved |= self.take_head(shard, out);
                }
                has_moved |= self.find_circle();
            }
            if !has_moved {
                return;
            }
        }
    }

    /// Puts out what is at a shard's head, as far as that does not wait for others.
    fn take_head(&mut self, shard: usize, out: &mut Output) -> bool {
        let mut has_moved = false;
        loop {
            match self.lines[shard].front() {
                None => return has_moved,
                Some((_, Item::Effects(_))) => {
                    let Some((_, Item::Effects(effects))) = self.lines[shard].pop_front() else { return has_moved };
                    self.held_bytes -= effects.bytes().len();
                    out.effects(&effects);
                }
                Some((_, Item::Share(share))) => {
                    let (unit, count) = (share.unit, share.shares);
                    let Some(shares) = self.take_unit(unit, count) else { return has_moved };
                    out.unit(&merge_shares(&shares));
                }
                Some((_, Item::Fence(number))) => {
                    let number = *number;
                    let is_there =
                        |line: &VecDeque<_>| matches!(line.front(), Some((_, Item::Fence(other))) if *other == number);
                    if !self.lines.iter().all(is_there) {
                        return has_moved;
                    }
                    self.lines.iter_mut().for_each(|line| {
                        line.pop_front();
                    });
                    self.fresh.fill(true);
                    out.fence(number);
                }
            }
            has_moved = true;
        }
    }

    /// Takes a unit out if all its shares are at heads.
    fn take_unit(&mut self, unit: UnitName, count: usize) -> Option<Vec<Share>> {
        let arrived = self.arrived.get(&unit)?;
        let is_head =
            |shard: &usize| matches!(self.lines[*shard].front(), Some((_, Item::Share(share))) if share.unit == unit);
        if arrived.shards.len() < count || !arrived.shards.iter().all(is_head) {
            return None;
        }
        let mut shards = self.arrived.remove(&unit)?.shards;
        shards.sort_unstable();
        let shares = shards.into_iter().filter_map(|shard| {
            self.fresh[shard] = true;
            match self.lines[shard].pop_front() {
                Some((_, Item::Share(share))) => Some(share),
                _ => None,
            }
        });
        let shares: Vec<Share> = shares.collect();
        self.held_bytes -= shares.iter().map(|share| share.effects.bytes().len()).sum::<usize>();
        Some(shares)
    }

    /// Nothing can go on by itself: looks for heads that wait for each other, and begins to take them together.
    fn find_circle(&mut self) -> bool {
        if self.arrived.len() < 2 {
            return false;
        }
        let Some(unit) = (0..self.lines.len()).find_map(|shard| self.circle_from(shard)) else { return false };
        self.circle = Some(Circle { effects: Effects::default(), ticket: u64::MAX, units: vec![unit] });
        true
    }

    /// A unit of a circle that is met on the way from a shard's head to the shards that it waits for.
    fn circle_from(&self, start: usize) -> Option<UnitName> {
        let mut path = vec![(start, 0)];
        let mut seen = vec![false; self.lines.len()];
        seen[start] = true;
        while let Some((shard, next)) = path.last_mut() {
            let waits_for = match self.lines[*shard].front() {
                Some((_, Item::Share(share))) => {
                    self.arrived.get(&share.unit).map(|arrived| (&arrived.shards, share.unit))
                }
                _ => None,
            };
            let Some((&to, unit)) = waits_for.and_then(|(shards, unit)| Some((shards.get(*next)?, unit))) else {
                path.pop();
                continue;
            };
            *next += 1;
            let is_at_head = matches!(self.lines[to].front(), Some((_, Item::Share(share))) if share.unit == unit);
            if is_at_head {
                continue;
            }
            if let Some(from) = path.iter().position(|(shard, _)| *shard == to) {
                let units = path[from..].iter().filter_map(|(shard, _)| match self.lines[*shard].front() {
                    Some((_, Item::Share(share))) => Some((share.unit, share.is_apart)),
                    _ => None,
                });
                let units: Vec<_> = units.collect();
                debug_assert!(units.iter().any(|(_, is_apart)| *is_apart), "units met in one order wait in a circle");
                return units.iter().find(|(_, is_apart)| *is_apart).or(units.first()).map(|(unit, _)| *unit);
            }
            if !seen[to] {
                seen[to] = true;
                path.push((to, 0));
            }
        }
        None
    }

    /// Goes on with the open circle: takes the heads of the shards where shares of its units are. Whether it moved.
    fn go_round(&mut self, out: &mut Output) -> bool {
        let Some(mut circle) = self.circle.take() else { return false };
        let mut has_moved = false;
        loop {
            // Shards that have to go on: where the units' shares are, and where those are that stand before them.
            let mut shards: Vec<usize> = Vec::new();
            let mut wanted: Vec<UnitName> = circle.units.clone();
            while let Some(unit) = wanted.pop() {
                for &shard in self.arrived.get(&unit).map(|arrived| &*arrived.shards).unwrap_or_default() {
                    if !shards.contains(&shard) {
                        shards.push(shard);
                        if let Some((_, Item::Share(share))) = self.lines[shard].front() {
                            wanted.push(share.unit);
                        }
                    }
                }
            }
            let Some(shard) = shards.into_iter().find(|&shard| self.may_go_round(shard)) else { break };
            has_moved = true;
            self.take_round(shard, &mut circle);
            if circle.units.is_empty() {
                out.unit(&circle.effects);
                self.held_bytes -= circle.effects.bytes().len();
                self.fresh.fill(true);
                return true;
            }
        }
        self.circle = Some(circle);
        has_moved
    }

    /// Whether a shard's head may go into a circle: one that has one place for all shards goes with all its shares.
    fn may_go_round(&self, shard: usize) -> bool {
        match self.lines[shard].front() {
            None | Some((_, Item::Fence(_))) => false,
            Some((_, Item::Share(share))) if !share.is_apart => {
                let is_head = |shard: &usize| matches!(self.lines[*shard].front(), Some((_, Item::Share(other))) if other.unit == share.unit);
                self.arrived
                    .get(&share.unit)
                    .is_some_and(|arrived| arrived.shards.len() >= share.shares && arrived.shards.iter().all(is_head))
            }
            Some(_) => true,
        }
    }

    fn take_round(&mut self, shard: usize, circle: &mut Circle) {
        let Some((ticket, item)) = self.lines[shard].pop_front() else { return };
        circle.ticket = circle.ticket.min(ticket);
        match item {
            Item::Effects(effects) => circle.effects.append(&effects),
            Item::Share(share) if share.is_apart => {
                circle.effects.append(&share.effects);
                let arrived = self.arrived.entry(share.unit).or_default();
                arrived.shards.retain(|other| *other != shard);
                arrived.gone += 1;
                if arrived.gone == share.shares {
                    self.arrived.remove(&share.unit);
                    circle.units.retain(|unit| *unit != share.unit);
                } else if !circle.units.contains(&share.unit) {
                    circle.units.push(share.unit);
                }
            }
            Item::Share(share) => {
                let unit = share.unit;
                let held = share.effects.bytes().len();
                self.lines[shard].push_front((ticket, Item::Share(share)));
                let tickets = self.arrived.get(&unit).into_iter().flat_map(|arrived| &arrived.shards);
                let first = tickets.filter_map(|&shard| self.lines[shard].front()).map(|(ticket, _)| *ticket).min();
                circle.ticket = circle.ticket.min(first.unwrap_or(ticket));
                let count = self.arrived.get(&unit).map_or(0, |arrived| arrived.shards.len());
                debug_assert!(held <= self.held_bytes);
                if let Some(shares) = self.take_unit(unit, count) {
                    let merged = merge_shares(&shares);
                    // It is still held, in the circle now.
                    self.held_bytes += merged.bytes().len();
                    circle.effects.append(&merged);
                }
            }
            Item::Fence(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::Piece;
    use super::*;
    use torc_persistence::aof::frames::{End, Frame, Frames};

    /// Something a shard did, or heard of.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Step {
        Plain(usize),
        /// A unit with one place in all histories: told by its first shard.
        Joined(usize),
        /// A unit whose shards each did their part where they met it.
        Apart(usize),
        Fence(usize),
    }

    fn word(step: Step, shard: usize) -> Vec<u8> {
        match step {
            Step::Plain(number) => format!("p{number}"),
            Step::Joined(number) => format!("j{number}"),
            Step::Apart(number) => format!("a{number}.{shard}"),
            Step::Fence(number) => format!("f{number}"),
        }
        .into_bytes()
    }

    /// Histories that shards may have: units in one order everywhere, but that parts have run ahead where they could.
    fn histories(shards: usize, random: &mut fastrand::Rng) -> (Vec<Vec<Step>>, HashMap<usize, Vec<usize>>) {
        let mut histories = vec![Vec::new(); shards];
        let mut members = HashMap::new();
        for number in 0..random.usize(1..40) {
            match random.u8(0..10) {
                0..4 => histories[random.usize(..shards)].push(Step::Plain(number)),
                9 => histories.iter_mut().for_each(|history| history.push(Step::Fence(number))),
                kind => {
                    let mut of: Vec<usize> = (0..shards).filter(|_| random.bool()).collect();
                    if of.is_empty() {
                        of.push(random.usize(..shards));
                    }
                    let step = if kind < 6 { Step::Joined(number) } else { Step::Apart(number) };
                    of.iter().for_each(|&shard| histories[shard].push(step));
                    members.insert(number, of);
                }
            }
        }
        for history in &mut histories {
            for _ in 0..history.len() {
                let at = random.usize(..history.len());
                let swaps = |step: Step| matches!(step, Step::Apart(_));
                let stays = |step: Step| matches!(step, Step::Fence(_) | Step::Joined(_));
                if at > 0 && swaps(history[at]) && !stays(history[at - 1]) {
                    history.swap(at - 1, at);
                }
                // A part may also have run before another unit that it waits for elsewhere.
                if at > 0 && swaps(history[at]) && matches!(history[at - 1], Step::Joined(_)) && random.u8(..4) == 0 {
                    history.swap(at - 1, at);
                }
            }
        }
        (histories, members)
    }

    fn record(step: Step, shard: usize, members: &HashMap<usize, Vec<usize>>) -> Vec<Record> {
        let mut effects = Effects::default();
        let tells = match step {
            Step::Joined(number) => members[&number][0] == shard,
            _ => true,
        };
        if tells {
            effects.push(0, &[word(step, shard)]);
        }
        vec![match step {
            Step::Plain(_) | Step::Fence(_) => Record::Effects(effects),
            Step::Joined(number) | Step::Apart(number) => Record::Share(Share {
                unit: (0, number as u64),
                shares: members[&number].len(),
                places: vec![shard as u32; effects.len()],
                effects,
                is_apart: matches!(step, Step::Apart(_)),
            }),
        }]
    }

    /// The words that came out, each with the transaction that it is in.
    fn words_of(pieces: Vec<Piece>) -> Vec<(usize, Vec<u8>)> {
        let (mut words, mut transaction, mut is_open) = (Vec::new(), 0, false);
        for piece in pieces {
            let bytes = match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Fence(number) => {
                    transaction += 1;
                    words.push((transaction, word(Step::Fence(number as usize), 0)));
                    continue;
                }
            };
            let mut frames = Frames::new(0, bytes.len() as u64);
            frames.push(&bytes);
            while let Some(frame) = frames.next_frame().expect("whole commands") {
                let Frame::Command(command) = frame else { continue };
                match command.name() {
                    b"SELECT" => {}
                    b"MULTI" => {
                        is_open = true;
                        transaction += 1;
                    }
                    b"EXEC" => is_open = false,
                    name => {
                        transaction += usize::from(!is_open);
                        words.push((transaction, name.to_vec()));
                    }
                }
            }
            assert_eq!(frames.end(), End::Whole);
        }
        words
    }

    fn play(seed: u64) -> bool {
        let mut random = fastrand::Rng::with_seed(seed);
        let shards = random.usize(1..6);
        let (histories, members) = histories(shards, &mut random);
        let (mut sequencer, mut output, mut pieces) = (Sequencer::new(shards), Output::default(), Vec::new());
        let mut next = vec![0; shards];
        let (mut ticket, mut complete) = (0, 0);
        let mut had_circle = false;
        while (0..shards).any(|shard| next[shard] < histories[shard].len()) {
            let shard = random.usize(..shards);
            let Some(&step) = histories[shard].get(next[shard]) else { continue };
            next[shard] += 1;
            ticket += 1;
            match step {
                Step::Fence(number) => sequencer.push_fence(shard, ticket, number as u64),
                _ => sequencer.push(shard, ticket, record(step, shard, &members)),
            }
            if random.u8(..3) == 0 {
                sequencer.drain(&mut output);
                pieces.extend(output.take());
                had_circle |= sequencer.circle.is_some();
                assert!(sequencer.complete() >= complete, "seed {seed}: a ticket was taken back");
                complete = sequencer.complete();
            }
        }
        sequencer.drain(&mut output);
        pieces.extend(output.take());
        assert_eq!(sequencer.complete(), ticket, "seed {seed}: {sequencer:?}");
        assert_eq!(sequencer.held_bytes(), 0, "seed {seed}");
        let words = words_of(pieces);
        let place = |step, shard| {
            let word = word(step, shard);
            let found: Vec<_> = (0..words.len()).filter(|&at| words[at].1 == word).collect();
            assert_eq!(found.len(), 1, "seed {seed}: {}", word.escape_ascii());
            found[0]
        };
        for (shard, history) in histories.iter().enumerate() {
            for pair in history.windows(2) {
                assert!(place(pair[0], shard) < place(pair[1], shard), "seed {seed}: shard {shard}, {pair:?}");
            }
        }
        for (number, of) in members.iter().filter(|(number, of)| histories[of[0]].contains(&Step::Apart(**number))) {
            let transactions: Vec<_> = of.iter().map(|&shard| words[place(Step::Apart(*number), shard)].0).collect();
            assert!(transactions.iter().all(|one| *one == transactions[0]), "seed {seed}: half of a{number}");
        }
        had_circle || histories.iter().flatten().count() < words.len()
    }

    #[test]
    fn shards_keep_their_order_and_units_stay_whole() {
        for seed in 0..5_000 {
            play(seed);
        }
    }

    #[test]
    fn two_units_met_in_two_orders_are_one_transaction() {
        let share = |number: u64, text: &str| {
            let mut effects = Effects::default();
            effects.push(0, &["SET", text]);
            vec![Record::Share(Share { unit: (0, number), shares: 2, effects, places: vec![0], is_apart: true })]
        };
        let (mut sequencer, mut output) = (Sequencer::new(2), Output::default());
        sequencer.push(0, 1, share(2, "c"));
        sequencer.push(0, 2, share(1, "a"));
        sequencer.push(1, 3, share(1, "b"));
        sequencer.drain(&mut output);
        assert_eq!((output.take(), sequencer.complete()), (Vec::new(), 0));
        sequencer.push(1, 4, share(2, "d"));
        sequencer.drain(&mut output);
        assert_eq!(sequencer.complete(), 4);
        assert_eq!(words_of(output.take()).len(), 4);
    }
}
