//! What commands of several families report of their changes (see [`journal`](crate::journal)).

use crate::command::{Execution, Milliseconds};
use crate::journal::EventClass;
use crate::keyspace::Expiry;

/// A key was removed by a command.
#[inline]
pub(crate) fn removed(execution: &mut Execution<'_>, key: &[u8]) {
    if execution.keyspace.journal.is_listening() {
        execution.effect(&[b"DEL", key]);
        execution.event(EventClass::Generic, "del", key);
    }
}

/// A key has an expiry now, or another one.
#[inline]
pub(crate) fn expiry_set(execution: &mut Execution<'_>, key: &[u8], at: Milliseconds) {
    if execution.keyspace.journal.is_listening() {
        execution.effect(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
        execution.event(EventClass::Generic, "expire", key);
    }
}

/// A key has no expiry any more.
#[inline]
pub(crate) fn expiry_taken(execution: &mut Execution<'_>, key: &[u8]) {
    if execution.keyspace.journal.is_listening() {
        execution.effect(&[b"PERSIST", key]);
        execution.event(EventClass::Generic, "persist", key);
    }
}

/// A key holds a string now, whatever was there; `event` says how that came about.
#[inline]
pub(crate) fn string_set(execution: &mut Execution<'_>, key: &[u8], value: &[u8], expiry: Expiry, event: &'static str) {
    if execution.keyspace.journal.is_listening() {
        report_string(execution, key, value, expiry, event);
    }
}

#[cold]
fn report_string(execution: &mut Execution<'_>, key: &[u8], value: &[u8], expiry: Expiry, event: &'static str) {
    execution.event(EventClass::String, event, key);
    match expiry {
        Expiry::Clear => execution.effect(&[b"SET", key, value]),
        Expiry::Keep => execution.effect(&[b"SET", key, value, b"KEEPTTL"]),
        Expiry::At(at) => {
            execution.effect(&[b"SET", key, value, b"PXAT", itoa::Buffer::new().format(at).as_bytes()]);
            execution.event(EventClass::Generic, "expire", key);
        }
    }
}

/// How many elements one effect tells of.
pub(crate) const EFFECT_ELEMENTS_MAX: usize = 10_000;

/// Effects that make a large value anew, or add much to one, put together before they are told: a removal of the key if need be,
/// then commands that add elements.
pub(crate) struct Remade {
    effects: Vec<Vec<Vec<u8>>>,
    /// Elements of the last one.
    elements: usize,
    head: [Vec<u8>; 2],
}

impl Remade {
    /// `adds` is the command that adds elements to a key.
    pub(crate) fn new(adds: &[u8], key: &[u8]) -> Self {
        let effects = vec![vec![b"DEL".to_vec(), key.to_vec()]];
        Self { effects, elements: EFFECT_ELEMENTS_MAX, head: [adds.to_vec(), key.to_vec()] }
    }

    /// The same without the removal.
    pub(crate) fn added(adds: &[u8], key: &[u8]) -> Self {
        Self { effects: Vec::new(), ..Self::new(adds, key) }
    }

    /// Adds an element, which the command names by these words.
    pub(crate) fn add(&mut self, words: &[&[u8]]) {
        if self.elements == EFFECT_ELEMENTS_MAX {
            self.effects.push(self.head.to_vec());
            self.elements = 0;
        }
        self.elements += 1;
        if let Some(effect) = self.effects.last_mut() {
            effect.extend(words.iter().map(|word| word.to_vec()));
        }
    }

    /// Tells of it all.
    pub(crate) fn tell(self, execution: &mut Execution<'_>) {
        let database = execution.database;
        self.effects.into_iter().for_each(|effect| execution.keyspace.journal.effect_owned(database, effect));
    }
}
