//! What a command is, as data: one [`Spec`] a command feeds lookup, arity, routing, `COMMAND *`, ACL and the fuzz
//! dictionary. A family file in `commands/` opens with its rows; the server's own families (connection, server) use the
//! same rows with handlers of their own. Source of the vocabulary: the Redis documentation pages "Command key
//! specifications" and "Command tips".

pub mod argument;
mod table;

pub use argument::Argument;
pub use table::{Table, unknown_command, unknown_subcommand, wrong_arity};

use crate::journal::EventClass;
use crate::keyspace::{Access, AccessPolicy, KeyFilter, Keyspace};
use crate::long::{Later, UNITS_AT_ONCE};
use crate::reply::{Protocol, Reply, ReplyBuffer};
use crate::values::Encodings;
use std::borrow::Cow;

/// Milliseconds since the Unix epoch; signed because clients may hand us times before it.
pub type Milliseconds = i64;

/// How many arguments a command takes, its own name counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly this many.
    Exact(u16),
    /// This many or more.
    AtLeast(u16),
}

impl Arity {
    /// Whether a command of `count` arguments (name included) fits.
    pub const fn accepts(self, count: usize) -> bool {
        match self {
            Self::Exact(n) => count == n as usize,
            Self::AtLeast(n) => count >= n as usize,
        }
    }

    /// The number that `COMMAND INFO` shows: negative for "at least".
    pub const fn as_number(self) -> i64 {
        match self {
            Self::Exact(n) => n as i64,
            Self::AtLeast(n) => -(n as i64),
        }
    }
}

/// A set of bits with names, for flags and categories.
macro_rules! bit_set {
    ($(#[$outer:meta])* $name:ident : $int:ty { $($(#[$inner:meta])* $flag:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub struct $name($int);
        impl $name {
            bit_set!(@constants $int, 0, $($(#[$inner])* $flag,)*);
            /// The empty set.
            pub const NONE: Self = Self(0);
            const TABLE: &'static [(Self, &'static str)] = &[$((Self::$flag, $text)),*];
            /// Union, usable in constants.
            pub const fn or(self, other: Self) -> Self { Self(self.0 | other.0) }
            /// What is left without the bits of `other`.
            pub const fn without(self, other: Self) -> Self { Self(self.0 & !other.0) }
            /// Whether every bit of `other` is here.
            pub const fn has(self, other: Self) -> bool { self.0 & other.0 == other.0 }
            /// Names of the bits in declaration order, as `COMMAND INFO` prints them.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::TABLE.iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| *name)
            }
            /// The bit of that name, case-insensitive.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::TABLE.iter().find(|(_, text)| text.eq_ignore_ascii_case(name)).map(|(bit, _)| *bit)
            }
            /// Every name there is.
            pub fn all_names() -> impl Iterator<Item = &'static str> { Self::TABLE.iter().map(|(_, name)| *name) }
        }
    };
    (@constants $int:ty, $bit:expr, $(#[$m:meta])* $flag:ident, $($rest:tt)*) => {
        $(#[$m])* pub const $flag: Self = Self(1 << ($bit));
        bit_set!(@constants $int, $bit + 1, $($rest)*);
    };
    (@constants $int:ty, $bit:expr,) => {};
}

bit_set! {
    /// Command flags, named and ordered as `COMMAND INFO` of the real server prints them.
    Flags: u32 {
        /// May change the dataset.
        WRITE = "write",
        /// Reads keys.
        READONLY = "readonly",
        /// Refused when memory is over its limit.
        DENYOOM = "denyoom",
        /// Administration.
        ADMIN = "admin",
        /// Publish / subscribe.
        PUBSUB = "pubsub",
        /// Not from scripts.
        NOSCRIPT = "noscript",
        /// May block the connection.
        BLOCKING = "blocking",
        /// Allowed while the dataset loads.
        LOADING = "loading",
        /// Allowed on a replica whose data is stale.
        STALE = "stale",
        /// Not shown to MONITOR.
        SKIP_MONITOR = "skip_monitor",
        /// Not in the slow log.
        SKIP_SLOWLOG = "skip_slowlog",
        /// Accepted in cluster mode while a slot is imported.
        ASKING = "asking",
        /// Constant or logarithmic time.
        FAST = "fast",
        /// Allowed before authentication.
        NO_AUTH = "no_auth",
        /// May replicate in the middle of a read.
        MAY_REPLICATE = "may_replicate",
        /// Sentinel only.
        SENTINEL = "sentinel",
        /// Only for Sentinel mode.
        ONLY_SENTINEL = "only_sentinel",
        /// May be called without keys although it can take some (EVAL).
        NO_MANDATORY_KEYS = "no_mandatory_keys",
        /// Not while a dataset is loaded beside the one that is served.
        NO_ASYNC_LOADING = "no_async_loading",
        /// Not inside MULTI.
        NO_MULTI = "no_multi",
        /// Key positions cannot be told from a fixed range.
        MOVABLEKEYS = "movablekeys",
        /// Allowed while another command is busy.
        ALLOW_BUSY = "allow_busy",
        /// Touches keys of every shard without naming them.
        TOUCHES_ARBITRARY_KEYS = "touches_arbitrary_keys",
        /// Between MULTI and EXEC it runs at once: it is about the transaction, or ends it.
        RUNS_IN_MULTI = "runs_in_multi",
    }
}

bit_set! {
    /// ACL categories, named as `ACL CAT` prints them (without the at sign).
    Categories: u32 {
        /// Writes or reads the keyspace in a type-agnostic way.
        KEYSPACE = "keyspace",
        /// Reads values.
        READ = "read",
        /// Writes values.
        WRITE = "write",
        /// Sets.
        SET = "set",
        /// Sorted sets.
        SORTEDSET = "sortedset",
        /// Lists.
        LIST = "list",
        /// Hashes.
        HASH = "hash",
        /// Strings.
        STRING = "string",
        /// Bitmaps.
        BITMAP = "bitmap",
        /// HyperLogLog.
        HYPERLOGLOG = "hyperloglog",
        /// Geo.
        GEO = "geo",
        /// Streams.
        STREAM = "stream",
        /// Publish / subscribe.
        PUBSUB = "pubsub",
        /// Administration.
        ADMIN = "admin",
        /// Constant or logarithmic.
        FAST = "fast",
        /// Everything else.
        SLOW = "slow",
        /// May block.
        BLOCKING = "blocking",
        /// Could hurt.
        DANGEROUS = "dangerous",
        /// Of the connection.
        CONNECTION = "connection",
        /// Transactions.
        TRANSACTION = "transaction",
        /// Scripts.
        SCRIPTING = "scripting",
    }
}

bit_set! {
    /// What a command does with the keys of one [`KeySpec`].
    KeyFlags: u16 {
        /// Reads the value.
        RO = "RO",
        /// Reads and changes.
        RW = "RW",
        /// Overwrites whatever was there; the old value is not read (its existence may be).
        OW = "OW",
        /// Removes.
        RM = "RM",
        /// The user gets to see the value.
        ACCESS = "access",
        /// Data is changed in place.
        UPDATE = "update",
        /// Data is added.
        INSERT = "insert",
        /// Data is deleted.
        DELETE = "delete",
        /// Not a key, but routed like one.
        NOT_KEY = "not_key",
        /// The spec may name too few keys.
        INCOMPLETE = "incomplete",
        /// The flags depend on the arguments.
        VARIABLE_FLAGS = "variable_flags",
    }
}

impl KeyFlags {
    /// Something of the value is changed that the other flags do not tell: what a consumer group knows. Not shown.
    pub const CHANGES_STATE: Self = Self(1 << 15);

    /// Whether the command may change these keys, and so locks them exclusively.
    pub const fn writes(self) -> bool {
        self.0 & (Self::RW.0 | Self::OW.0 | Self::RM.0 | Self::CHANGES_STATE.0) != 0
    }
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginSearch {
    /// At this argument.
    Index(usize),
    /// After this word; the search for it starts at `start_from` (negative: from the end, backwards).
    Keyword(&'static str, i32),
    /// Cannot be told.
    Unknown,
}

/// How keys follow from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindKeys {
    /// Up to `last` (relative to the beginning; negative: from the end of the arguments), every `step`-th;
    /// `limit` > 1 stops at 1/limit of the arguments that remain.
    Range { last: i32, step: usize, limit: usize },
    /// A count stands at `count_index` (relative), the first key at `first` (relative), then every `step`-th.
    Count { count_index: usize, first: usize, step: usize },
    /// Cannot be told.
    Unknown,
}

/// One key specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What happens to these keys.
    pub flags: KeyFlags,
    /// Where the search begins.
    pub begin: BeginSearch,
    /// How keys follow.
    pub find: FindKeys,
    /// What the flags cannot say, in our words; mostly nothing.
    pub notes: &'static str,
}

impl KeySpec {
    /// The usual case: keys at fixed positions. `last` counts from the argument list's start (negative: from its end).
    pub const fn range(flags: KeyFlags, first: usize, last: i32, step: usize) -> Self {
        let relative = if last < 0 { last } else { last - first as i32 };
        Self {
            flags,
            begin: BeginSearch::Index(first),
            find: FindKeys::Range { last: relative, step, limit: 0 },
            notes: "",
        }
    }

    /// A count at `count` and the keys behind it, `step` apart.
    pub const fn counted(flags: KeyFlags, count: usize, step: usize) -> Self {
        Self {
            flags,
            begin: BeginSearch::Index(count),
            find: FindKeys::Count { count_index: 0, first: 1, step },
            notes: "",
        }
    }

    /// With a note on the flags.
    pub const fn noted(mut self, notes: &'static str) -> Self {
        self.notes = notes;
        self
    }

    /// Calls `visit` with the argument index of each key. False where the arguments do not fit the spec (a count
    /// that is no number, or reaches beyond the arguments); some indexes may have been visited by then.
    pub fn visit(&self, arguments: &[&[u8]], mut visit: impl FnMut(usize)) -> bool {
        let count = arguments.len();
        let begin = match self.begin {
            BeginSearch::Index(index) => index,
            BeginSearch::Keyword(word, start_from) => {
                let found = |index: &usize| arguments[*index].eq_ignore_ascii_case(word.as_bytes());
                let position = if start_from >= 0 {
                    (start_from as usize..count).find(found)
                } else {
                    let last = count as i64 + start_from as i64;
                    (1..=last.max(0) as usize).rev().find(found)
                };
                // An optional keyword that is absent names no keys.
                let Some(position) = position else { return true };
                position + 1
            }
            BeginSearch::Unknown => return true,
        };
        match self.find {
            FindKeys::Range { last, step, limit } => {
                let last = if last >= 0 {
                    begin as i64 + last as i64
                } else if limit <= 1 {
                    count as i64 + last as i64
                } else {
                    begin as i64 + (count as i64 - begin as i64) / limit as i64 + last as i64
                };
                let mut index = begin as i64;
                while index <= last {
                    if index >= count as i64 {
                        return false;
                    }
                    visit(index as usize);
                    index += step as i64;
                }
                true
            }
            FindKeys::Count { count_index, first, step } => {
                let text = arguments.get(begin + count_index).copied().unwrap_or_default();
                let Some(keys) = parse_integer(text).and_then(|n| usize::try_from(n).ok()) else { return false };
                for key in 0..keys {
                    let index = begin + first + key.saturating_mul(step);
                    if index >= count {
                        return false;
                    }
                    visit(index);
                }
                true
            }
            FindKeys::Unknown => true,
        }
    }
}

/// Finds the keys among a command's arguments.
pub type FindNamed = fn(&[&[u8]], &mut dyn FnMut(usize, KeyFlags)) -> bool;

/// Tells the keys that a command's values may name from all others.
pub type FindFilter = fn(&[&[u8]]) -> KeyFilter;

/// How a command's keys are found that no [`KeySpec`] describes.
#[derive(Debug)]
pub struct KeyFinder {
    /// Calls `visit` with the argument index of each key that the arguments name, and what happens to it; false where the
    /// arguments do not fit.
    pub named: FindNamed,
    /// Set if values of those keys name further ones.
    pub discovery: Option<Discovery>,
}

impl KeyFinder {
    /// For keys that the arguments name.
    pub const fn named(named: FindNamed) -> Self {
        Self { named, discovery: None }
    }
}

/// Keys that a command reads and that only the values of its other keys name.
#[derive(Debug)]
pub struct Discovery {
    /// Whether these arguments ask for such keys.
    pub is_needed: fn(&[&[u8]]) -> bool,
    /// Which keys these can be. The command asks for their values as they were at its instant
    /// ([`LongWork::questions`](crate::long::LongWork::questions)).
    pub filter: FindFilter,
}

/// Channels among the arguments of a command that sends to them, or begins to listen. Whoever stops listening needs no right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// None.
    None,
    /// The first argument.
    First,
    /// All arguments.
    All,
    /// All arguments, as patterns.
    Patterns,
}

/// How a command on several shards is carried out (`server/ARCHITECTURE.md`, "Order and atomicity").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Only ever on the shard of its key, or on any shard if it has none.
    Single,
    /// One hop: each shard runs the command on its own keys; the replies are added.
    Sum,
    /// One hop: each shard runs the command on its own keys; all answer OK.
    AllOk,
    /// One hop: each shard runs the command on its own keys; the array's elements go back to their keys' places.
    Gather,
    /// The values travel: lock and read in the first hop, run on the coordinator, write in the last.
    Overlay,
    /// One hop on every shard, keys or not, integer replies added (DBSIZE).
    AllShardsSum,
    /// One hop on every shard, all answer OK (FLUSHDB, SWAPDB).
    AllShardsOk,
    /// The same, and the reply may have to wait until files have it (FLUSHALL).
    AllShardsOkOnDisk,
    /// One hop on every shard, array replies concatenated (KEYS).
    AllShardsConcat,
    /// One hop on every shard, digests of its data added (DEBUG DIGEST).
    AllShardsDigest,
    /// A protocol of its own in the server (SCAN, RANDOMKEY).
    Walk,
}

impl Spread {
    /// Whether every shard runs the command, in one hop.
    pub fn is_on_all_shards(self) -> bool {
        use Spread::{AllShardsConcat, AllShardsDigest, AllShardsOk, AllShardsOkOnDisk, AllShardsSum};
        matches!(self, AllShardsSum | AllShardsOk | AllShardsOkOnDisk | AllShardsConcat | AllShardsDigest)
    }

    /// Whether every shard does the same, so that what one tells of it is enough.
    pub fn is_told_once(self) -> bool {
        matches!(self, Self::AllShardsOk | Self::AllShardsOkOnDisk)
    }
}

impl Flags {
    /// Flags for our own use, which `COMMAND INFO` does not show.
    pub const HIDDEN: Self = Self::MAY_REPLICATE
        .or(Self::SENTINEL)
        .or(Self::ONLY_SENTINEL)
        .or(Self::TOUCHES_ARBITRARY_KEYS)
        .or(Self::RUNS_IN_MULTI);
}

/// What to use instead of a command that is kept for old clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deprecated {
    /// Version that made it so.
    pub since: &'static str,
    /// Its replacement, in the mark-up of `COMMAND DOCS`: command names in backquotes.
    pub replaced_by: &'static str,
}

/// What of its only key's value a command reads, as far as that can be asked for before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// What stands in the key's entry.
    Entry,
    /// Of a packed value the beginning and the rest.
    Value,
    /// The same; of a large one the element that this argument names. In some of the command's forms it may be something else.
    Element(usize),
}

impl Foreseen {
    /// The element that is looked up in a large value, if one is named: none if nothing is to be asked for.
    #[inline]
    pub fn element<'a>(self, argument: impl Fn(usize) -> Option<&'a [u8]>) -> Option<Option<&'a [u8]>> {
        match self {
            Self::Entry => None,
            Self::Value => Some(None),
            Self::Element(index) => Some(Some(argument(index)?)),
        }
    }
}

/// One row of a command table: facts only, no handler. Rows are written as a difference to [`Spec::BASE`].
#[derive(Debug)]
pub struct Spec {
    /// Lower case; for a subcommand only its own word.
    pub name: &'static str,
    /// Number of arguments.
    pub arity: Arity,
    /// Behaviour.
    pub flags: Flags,
    /// ACL categories beyond those that follow from the flags (see [`Spec::categories`]).
    pub own_categories: Categories,
    /// Where the keys are.
    pub keys: &'static [KeySpec],
    /// What is asked for ahead, together with what other commands of a batch will read.
    pub foreseen: Foreseen,
    /// Finds the keys where their specs, which are told, say too little.
    pub key_finder: Option<&'static KeyFinder>,
    /// Which of its arguments name channels that a user needs a right to.
    pub channels: Channels,
    /// What happens when the keys are on several shards.
    pub spread: Spread,
    /// First version that had it, as `COMMAND DOCS` prints it.
    pub since: &'static str,
    /// Documentation group: string, generic, connection, server ...
    pub group: &'static str,
    /// Time complexity, in our words.
    pub complexity: &'static str,
    /// One line in our words.
    pub summary: &'static str,
    /// What it takes behind its name.
    pub arguments: &'static [Argument],
    /// What versions after the first changed, in our words: version and change, oldest first.
    pub history: &'static [(&'static str, &'static str)],
    /// Subcommands of a container.
    pub subcommands: &'static [&'static Spec],
    /// Hints for clients and proxies, in the vocabulary of "Command tips".
    pub tips: &'static [&'static str],
    /// Set if there is something better.
    pub deprecated: Option<Deprecated>,
    /// For servers and tests among themselves, not for clients.
    pub is_internal: bool,
}

impl Spec {
    /// A row in which nothing has been said yet.
    pub const BASE: Self = Self {
        name: "",
        arity: Arity::AtLeast(1),
        flags: Flags::NONE,
        own_categories: Categories::NONE,
        keys: &[],
        foreseen: Foreseen::Entry,
        key_finder: None,
        channels: Channels::None,
        spread: Spread::Single,
        since: "1.0.0",
        group: "generic",
        complexity: "O(1)",
        summary: "",
        arguments: &[],
        history: &[],
        subcommands: &[],
        tips: &[],
        deprecated: None,
        is_internal: false,
    };

    /// Whether it may change keys, be it a cache that a value holds of itself.
    pub const fn may_write(&self) -> bool {
        self.flags.has(Flags::WRITE) || self.flags.has(Flags::MAY_REPLICATE)
    }

    /// The subcommand of that name, case-insensitive.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Self> {
        self.subcommands.iter().copied().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// All ACL categories: those named, and those that the flags imply as in the real server.
    pub const fn categories(&self) -> Categories {
        let mut all = self.own_categories;
        if self.flags.has(Flags::WRITE) {
            all = all.or(Categories::WRITE);
        }
        if self.flags.has(Flags::READONLY) && !all.has(Categories::SCRIPTING) {
            all = all.or(Categories::READ);
        }
        if self.flags.has(Flags::ADMIN) {
            all = all.or(Categories::ADMIN).or(Categories::DANGEROUS);
        }
        if self.flags.has(Flags::PUBSUB) {
            all = all.or(Categories::PUBSUB);
        }
        if self.flags.has(Flags::FAST) {
            all = all.or(Categories::FAST);
        }
        if self.flags.has(Flags::BLOCKING) {
            all = all.or(Categories::BLOCKING);
        }
        if !all.has(Categories::FAST) {
            all = all.or(Categories::SLOW);
        }
        all
    }

    /// What really happens to a key, for the commands whose options decide.
    pub fn actual_flags(&self, flags: KeyFlags, line: &[&[u8]]) -> KeyFlags {
        if !flags.has(KeyFlags::VARIABLE_FLAGS) {
            return flags;
        }
        let is = |argument: &[u8], word: &str| argument.eq_ignore_ascii_case(word.as_bytes());
        let has = |words: &[&str]| line.iter().skip(3).any(|argument| words.iter().any(|word| is(argument, word)));
        match self.name {
            "set" if has(&["GET", "IFEQ", "IFNE", "IFDEQ", "IFDNE"]) => flags.without(KeyFlags::VARIABLE_FLAGS),
            "set" => KeyFlags::OW.or(KeyFlags::UPDATE),
            "delex" if line.len() == 2 => KeyFlags::RM.or(KeyFlags::DELETE),
            "delex" => flags.without(KeyFlags::VARIABLE_FLAGS),
            "bitfield" if line.iter().skip(2).any(|argument| is(argument, "SET") || is(argument, "INCRBY")) => {
                flags.without(KeyFlags::VARIABLE_FLAGS)
            }
            "bitfield" => KeyFlags::RO.or(KeyFlags::ACCESS),
            _ => flags,
        }
    }

    /// Calls `visit` with the argument index and the flags of each key, in spec order. False where the arguments do
    /// not fit; then the handler, which checks its syntax, is to give the error.
    pub fn visit_keys(&self, arguments: &[&[u8]], mut visit: impl FnMut(usize, KeyFlags)) -> bool {
        if let Some(finder) = self.key_finder {
            return (finder.named)(arguments, &mut visit);
        }
        self.keys.iter().all(|spec| spec.visit(arguments, |index| visit(index, spec.flags)))
    }
}

impl Execution<'_> {
    /// Reports a change in canonical form (see [`journal`](crate::journal)).
    #[inline]
    pub fn effect(&mut self, arguments: &[&[u8]]) {
        self.keyspace.journal.effect(self.database, arguments);
    }

    /// Reports an event.
    #[inline]
    pub fn event(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        self.keyspace.journal.event(self.database, class, name, key);
    }

    /// Reports an event with the parts of the value that it is about.
    #[inline]
    pub fn event_of_parts<'p>(
        &mut self,
        class: EventClass,
        name: &'static str,
        key: &[u8],
        parts: impl IntoIterator<Item = &'p [u8]>,
    ) {
        self.keyspace.journal.event_of_parts(self.database, class, name, key, parts);
    }

    /// Runs another command as a part of this one, a script, to its end and at its time. One reply is appended to `out`, in
    /// `protocol`; an error is returned, too, since nobody has counted it.
    pub fn run_part(
        &mut self,
        handler: Handler,
        arguments: &[&[u8]],
        protocol: Protocol,
        out: &mut ReplyBuffer,
    ) -> CommandResult {
        let mut part = Execution {
            keyspace: self.keyspace,
            reply: Reply::new(out, protocol),
            database: self.database,
            now: self.now,
            random: self.random,
            options: self.options,
            no_touch: self.no_touch,
            next_shard_cursor: self.next_shard_cursor,
            later: Later::default(),
            companion: self.companion,
            in_script: true,
        };
        let result = handler(&mut part, arguments).and_then(|()| part.finish());
        if let Err(CommandError(text)) = &result {
            part.reply.error_bytes(text);
        }
        result
    }

    /// How this client's reads count for LRU and LFU.
    pub fn access(&self) -> Access {
        if self.no_touch { Access::NoTouch } else { Access::Touch }
    }
}

/// What a handler works with: one unit of execution on one shard.
pub struct Execution<'a> {
    /// The shard's slice of all databases.
    pub keyspace: &'a mut Keyspace,
    /// Where the reply goes.
    pub reply: Reply<'a>,
    /// The database selected by the client.
    pub database: usize,
    /// The one time of this unit: nothing expires midway.
    pub now: Milliseconds,
    /// Randomness, seeded by the caller.
    pub random: &'a mut fastrand::Rng,
    /// Options of the engine that can change at run time.
    pub options: &'a EngineOptions,
    /// Set by CLIENT NO-TOUCH: reads leave the access time alone.
    pub no_touch: bool,
    /// What SCAN answers as its cursor when this shard's keys are all walked: the next shard's first position, or 0.
    pub next_shard_cursor: u64,
    /// What the command has left to do (see [`long`](crate::long)).
    pub later: Later,
    /// What the process keeps beside the shard.
    pub companion: Option<&'a Companion>,
    /// A script has called the command: what it answers has an order of its own.
    pub in_script: bool,
}

/// What the process keeps beside a shard for handlers of its own, such as its interpreters; the engine carries it along and
/// knows nothing of it.
pub type Companion = std::rc::Rc<dyn std::any::Any>;

/// The run-time options that commands of the engine look at; a copy on each shard, changed only by a multicast to all.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// `proto-max-bulk-len`: the longest string, in bytes.
    pub string_length_max: u64,
    /// Whether values are freed in slices by default (`lazyfree-lazy-*`); kept for CONFIG, always lazy here.
    pub lazy_free: bool,
    /// Whether the eviction policy is LFU: what OBJECT FREQ and IDLETIME may be asked.
    pub frequency_counters: bool,
    /// Whether OBJECT REFCOUNT shows small integers as shared: not where each key needs a clock of its own.
    pub shares_integers: bool,
    /// What the access clocks of keys count; follows the eviction policy.
    pub access_policy: AccessPolicy,
    /// When collections leave their packed forms.
    pub encodings: Encodings,
    /// Up to so many units of work are done at once (see [`long`](crate::long)); no directive.
    pub units_at_once: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            string_length_max: 512 << 20,
            lazy_free: true,
            frequency_counters: false,
            shares_integers: true,
            access_policy: AccessPolicy::default(),
            encodings: Encodings::default(),
            units_at_once: UNITS_AT_ONCE,
        }
    }
}

/// An error reply: the text after the dash, such as `ERR syntax error`, without the line end. Bytes, because it may repeat
/// what a client sent.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandError(pub Cow<'static, [u8]>);

impl CommandError {
    /// An error that repeats a client's word between two texts: its bytes as they are, up to a NUL, where the real
    /// server's strings end.
    #[cold]
    pub fn echo(before: &str, word: &[u8], after: &str) -> Self {
        let shown = word.split(|byte| *byte == 0).next().unwrap_or_default();
        Self([before.as_bytes(), shown, after.as_bytes()].concat().into())
    }

    /// The text for those who read: tests and logs.
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl std::fmt::Debug for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandError(\"{}\")", self.0.escape_ascii())
    }
}

impl From<&'static str> for CommandError {
    fn from(text: &'static str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl From<Vec<u8>> for CommandError {
    fn from(text: Vec<u8>) -> Self {
        Self(text.into())
    }
}

/// A handler either encodes exactly one reply and returns `Ok`, or encodes nothing, changes nothing and returns the error.
pub type CommandResult = Result<(), CommandError>;

/// A command of the engine. `arguments[0]` is its name (a subcommand's is `arguments[1]`); arity has been checked.
pub type Handler = fn(&mut Execution<'_>, &[&[u8]]) -> CommandResult;

/// A row with its handler: what a family's `COMMANDS` table holds.
pub struct Command {
    /// The facts.
    pub spec: Spec,
    /// The function.
    pub run: Handler,
}

/// Parses a decimal i64 exactly as the real server's `string2ll`: no plus sign, no leading zeros, no spaces.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude.checked_mul(10)?.checked_add((digit - b'0') as u64)?;
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_the_real_server_parses_them() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("", None),
            ("-", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn key_positions() {
        let keys = |spec: KeySpec, text: &str| {
            let arguments: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            let mut found = Vec::new();
            spec.visit(&arguments, |index| found.push(index)).then_some(found)
        };
        assert_eq!(keys(KeySpec::range(KeyFlags::RO, 1, -1, 1), "mget a b c"), Some(vec![1, 2, 3]));
        assert_eq!(keys(KeySpec::range(KeyFlags::OW, 1, -1, 2), "mset a 1 b 2"), Some(vec![1, 3]));
        assert_eq!(keys(KeySpec::range(KeyFlags::RW, 1, 2, 1), "rename a b"), Some(vec![1, 2]));
        assert_eq!(keys(KeySpec::counted(KeyFlags::OW, 1, 2), "msetex 2 a 1 b 2 ex 10"), Some(vec![2, 4]));
        assert_eq!(keys(KeySpec::counted(KeyFlags::OW, 1, 2), "msetex 9 a 1"), None);
        assert_eq!(keys(KeySpec::counted(KeyFlags::OW, 1, 2), "msetex x a 1"), None);
    }
}
