//! Keys that clients have read, and who has: found, forgotten or given up one at a time, each in constant time, however
//! many there are.
//!
//! ```text
//!   places:  key ──> place in line          line:  [ key, readers | key, readers | ... ]
//!                                                                  ^ the hand: who goes next when there are too many
//! ```
//! Who goes leaves its place to the last in line, which is behind the hand then: whoever comes waits for a whole round.
//! A flush lets go of all of them; what that takes is worked off in steps ([`Readers::free_some`]).

use super::Address;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::rc::Rc;

/// In order.
type Addresses = SmallVec<[Address; 1]>;

/// The keys of one shard that have been read since they changed.
#[derive(Default)]
pub(super) struct Readers {
    keys: Keys,
    /// Readers over all keys.
    items: usize,
    hand: usize,
    /// What was let go of and takes memory still.
    garbage: Vec<Keys>,
}

#[derive(Default)]
struct Keys {
    places: HashMap<Rc<[u8]>, u32>,
    line: Vec<(Rc<[u8]>, Addresses)>,
}

impl Readers {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.line.is_empty()
    }

    /// How many keys.
    pub(super) fn len(&self) -> usize {
        self.keys.line.len()
    }

    /// How many readers over all keys.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.keys.places.contains_key(key)
    }

    /// Somebody has read a key.
    pub(super) fn add(&mut self, key: &[u8], reader: Address) {
        let Keys { places, line } = &mut self.keys;
        let place = if let Some(place) = places.get(key) {
            *place as usize
        } else {
            let key: Rc<[u8]> = key.into();
            places.insert(key.clone(), line.len() as u32);
            line.push((key, SmallVec::new()));
            line.len() - 1
        };
        let readers = &mut line[place].1;
        if let Err(at) = readers.binary_search(&reader) {
            readers.insert(at, reader);
            self.items += 1;
        }
    }

    /// Forgets a key: those who have read it.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Addresses> {
        let place = self.keys.places.remove(key)? as usize;
        let (_, readers) = self.leave(place);
        Some(readers)
    }

    /// Gives up a key, when there are too many.
    pub(super) fn take_next(&mut self) -> Option<(Rc<[u8]>, Addresses)> {
        let last = self.len().checked_sub(1)?;
        // The last in line has just come.
        let place = if self.hand < last { self.hand } else { 0 };
        self.keys.places.remove(&*self.keys.line[place].0);
        let taken = self.leave(place);
        self.hand = place + 1;
        Some(taken)
    }

    fn leave(&mut self, place: usize) -> (Rc<[u8]>, Addresses) {
        let Keys { places, line } = &mut self.keys;
        let taken = line.swap_remove(place);
        if let Some((key, _)) = line.get(place)
            && let Some(moved) = places.get_mut(key)
        {
            *moved = place as u32;
        }
        self.items -= taken.1.len();
        taken
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        if !self.is_empty() {
            self.garbage.push(std::mem::take(&mut self.keys));
            (self.items, self.hand) = (0, 0);
        }
    }

    /// Gives back some of the memory of what was forgotten at once. Whether more is left.
    pub(super) fn free_some(&mut self) -> bool {
        const KEYS_A_STEP: usize = 500;
        let Some(Keys { places, line }) = self.garbage.last_mut() else { return false };
        for (key, _) in line.drain(line.len().saturating_sub(KEYS_A_STEP)..) {
            places.remove(&key);
        }
        if line.is_empty() {
            self.garbage.pop();
        }
        !self.garbage.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::connection::ConnectionKey;
    use std::collections::BTreeMap;
    use std::collections::BTreeSet;

    fn reader(index: u32) -> Address {
        Address { shard: 0, connection: ConnectionKey { index, generation: 1 } }
    }

    #[test]
    fn as_a_map_of_sets_whatever_comes_and_goes() {
        let mut readers = Readers::default();
        let mut model: BTreeMap<Vec<u8>, BTreeSet<Address>> = BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..50_000 {
            let key = random.u8(..200).to_string().into_bytes();
            match random.u8(..10) {
                0..7 => {
                    let who = reader(random.u32(..5));
                    readers.add(&key, who);
                    model.entry(key).or_default().insert(who);
                }
                7 | 8 => {
                    let taken = readers.take(&key).map(|readers| readers.into_iter().collect());
                    assert_eq!(taken, model.remove(&key));
                }
                _ if random.u8(..100) == 0 => {
                    readers.clear();
                    model.clear();
                }
                _ => {
                    let Some((key, taken)) = readers.take_next() else { continue };
                    assert_eq!(Some(taken.into_iter().collect()), model.remove(&*key));
                }
            }
            readers.free_some();
            assert_eq!(readers.len(), model.len());
            assert_eq!(readers.items(), model.values().map(BTreeSet::len).sum::<usize>());
        }
    }

    #[test]
    fn who_has_just_come_goes_last() {
        const KEYS: u32 = 1000;
        let mut readers = Readers::default();
        (0..KEYS).for_each(|number| readers.add(&number.to_le_bytes(), reader(1)));
        let mut gone = BTreeSet::new();
        for number in KEYS..2 * KEYS {
            let (key, _) = readers.take_next().expect("there are some");
            gone.insert(u32::from_le_bytes((*key).try_into().expect("four bytes")));
            readers.add(&number.to_le_bytes(), reader(1));
        }
        assert_eq!(gone, (0..KEYS).collect(), "each of the old ones, and no other");
    }

    #[test]
    fn what_is_forgotten_at_once_is_freed_in_steps() {
        let mut readers = Readers::default();
        for _ in 0..2 {
            (0..2000_u32).for_each(|number| readers.add(&number.to_le_bytes(), reader(1)));
            readers.clear();
        }
        assert!(readers.is_empty() && readers.items() == 0);
        let steps = (0..).take_while(|_| readers.free_some()).count();
        assert_eq!(steps, 7);
    }
}
