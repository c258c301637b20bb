//! Room in long strings, made in slices: for SETRANGE, APPEND, SETBIT and BITFIELD, which then cost what they write.
//!
//! ```text
//!   string ──> block, held by others too (a reply under way), or full
//!                 │ copied slice by slice; the key is locked
//!                 v
//!              block of its own with room ──> takes the other's place, and the command runs as ever
//! ```

use crate::command::{Execution, Handler};
use crate::long::{Locked, LongWork, Step};
use crate::values::{Blob, StringRef};

/// So many bytes are copied at once.
const COPIED_AT_ONCE: usize = 1 << 20;
/// Bytes that are copied in about the time of a unit.
const UNIT_BYTES: usize = 1024;

struct Copying {
    key: Locked,
    old: Option<Blob>,
    new: Blob,
    handler: Handler,
    arguments: Vec<Vec<u8>>,
    /// What the command has left to do itself.
    rest: Option<Box<dyn LongWork>>,
}

/// Hands a command over if it would have to copy a long string first, to write bytes up to `end`. The command has looked
/// for its errors; it is run again when there is room.
pub(crate) fn is_made_first(
    execution: &mut Execution<'_>,
    (handler, arguments): (Handler, &[&[u8]]),
    key: &[u8],
    end: usize,
) -> bool {
    let hashed = execution.keyspace.key(key);
    let entry = execution.keyspace.peek(execution.database, &hashed, execution.now);
    let Some(StringRef::Shared(blob)) = entry.and_then(|entry| entry.string()) else { return false };
    let at_once = if execution.options.units_at_once == 0 { 0 } else { COPIED_AT_ONCE };
    // Far behind the end it is mostly zeros that are made, which come from the system.
    let is_near = end <= blob.len() + COPIED_AT_ONCE;
    if blob.len() <= at_once || !is_near || blob.is_unique() && end <= blob.capacity() {
        return false;
    }
    let (old, new) = (blob.clone(), blob.empty_with_room(end));
    let arguments = arguments.iter().map(|argument| argument.to_vec()).collect();
    let key = Locked::new(execution, key);
    execution.later.put(Copying { key, old: Some(old), new, handler, arguments, rest: None });
    true
}

impl LongWork for Copying {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        if let Some(rest) = &mut self.rest {
            return rest.step(execution, budget);
        }
        if let Some(old) = &self.old {
            let from = self.new.len();
            let bytes = usize::try_from(budget).unwrap_or(usize::MAX).saturating_mul(UNIT_BYTES);
            let until = old.len().min(from.saturating_add(bytes));
            self.new.append(&old.as_slice()[from..until]);
            if until < old.len() {
                return Step::More;
            }
        }
        self.old = None;
        let is_there = self.key.enter(execution);
        if is_there {
            let key = execution.keyspace.key(self.key.name());
            let new = std::mem::replace(&mut self.new, Blob::new(&[]));
            execution.keyspace.replace_blob(execution.database, &key, new, execution.now);
        }
        // If the database was flushed meanwhile the command came behind that.
        let arguments: Vec<&[u8]> = self.arguments.iter().map(Vec::as_slice).collect();
        if let Err(error) = (self.handler)(execution, &arguments) {
            execution.reply.error_bytes(&error.0);
        }
        self.rest = execution.later.take();
        if self.rest.is_some() { Step::More } else { Step::Done }
    }
}
