//! CLIENT TRACKING as one connection has set it.

use crate::core::connection::ConnectionKey;
use std::collections::BTreeSet;

/// Which reads are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// All.
    #[default]
    All,
    /// Those of the command behind CLIENT CACHING YES.
    OptIn,
    /// All but those of the command behind CLIENT CACHING NO.
    OptOut,
}

/// A connection, as any shard names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Its shard.
    pub shard: u32,
    /// Its place there.
    pub connection: ConnectionKey,
}

/// Where invalidations go instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirection {
    /// The id of that connection.
    pub id: u64,
    /// Where it is; it stays there.
    pub target: Address,
}

/// A connection's tracking.
#[derive(Clone, Debug, Default)]
pub struct Tracking {
    /// Which reads are remembered.
    pub choice: Choice,
    /// The next command has been chosen by CLIENT CACHING.
    pub is_next_chosen: bool,
    /// Nothing is remembered: it hears of all keys that begin with one of its prefixes.
    pub is_broadcast: bool,
    /// The prefixes.
    pub prefixes: BTreeSet<Box<[u8]>>,
    /// What they take, here and in the tables of listeners.
    pub prefix_bytes: usize,
    /// It does not hear of its own changes.
    pub no_loop: bool,
    /// Who hears of it instead.
    pub redirection: Option<Redirection>,
    /// That one is gone.
    pub is_broken: bool,
}

/// What a prefix takes beside its text.
const PREFIX_BYTES: usize = 128;

impl Tracking {
    /// Adds prefixes to those that there are.
    pub fn add_prefixes(&mut self, prefixes: BTreeSet<Box<[u8]>>) {
        self.prefixes.extend(prefixes);
        self.prefix_bytes = self.prefixes.iter().map(|prefix| PREFIX_BYTES + prefix.len()).sum();
    }

    /// The memory that it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.prefix_bytes
    }

    /// Whether the reads of the command that runs now are remembered.
    pub fn remembers(&self) -> bool {
        !self.is_broadcast
            && match self.choice {
                Choice::All => true,
                Choice::OptIn => self.is_next_chosen,
                Choice::OptOut => !self.is_next_chosen,
            }
    }
}
