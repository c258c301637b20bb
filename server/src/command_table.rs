//! The one command table: the engine's families and the server's own, looked up by name on the hot path.

use crate::core::session::SessionHandler;
use std::collections::BTreeMap;
use torc_engine::command::{Arity, BeginSearch, Discovery, FindKeys, Flags, Handler, KeyFlags, Spec, Table};

/// Who runs a command.
#[derive(Clone, Copy)]
pub enum Target {
    /// The shard that owns its keys.
    Engine(Handler),
    /// The connection's shard, with the connection at hand.
    Session(SessionHandler),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Engine(_) => "Engine",
            Self::Session(_) => "Session",
        })
    }
}

/// How to find a command's keys without walking its specs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlan {
    /// It has none.
    None,
    /// Exactly one, at this argument.
    One(usize),
    /// As its specs say.
    Many,
}

/// The id of a part of a command that counts as that.
pub const UNCOUNTED: usize = u32::MAX as usize;

/// A command, or a subcommand, ready to be dispatched.
#[derive(Debug)]
pub struct CommandEntry {
    /// The facts.
    pub spec: &'static Spec,
    /// `object|encoding`, or just the name.
    pub full_name: String,
    /// Who runs it.
    pub target: Target,
    /// Where its keys are.
    pub keys: KeyPlan,
    /// Whether it may change keys, if only what they remember of a read (PFCOUNT).
    pub is_write: bool,
    /// Whether others can tell when it ran among its connection's commands: writes, and what is published.
    pub keeps_order: bool,
    /// Whether it is refused when memory is over its limit.
    pub takes_memory: bool,
    /// Whether MULTI puts it in the queue; else it runs at once.
    pub is_queued: bool,
    /// Whether it may wait for a key.
    pub may_wait: bool,
    /// Whether it runs a script or a function: it may touch any key of its shard.
    pub is_script: bool,
    /// Its index in per-command counters; [`UNCOUNTED`] of what is not in the table.
    pub id: usize,
    /// Subcommands of a container.
    pub subcommands: Vec<&'static CommandEntry>,
}

impl CommandEntry {
    /// Whether its replies are pushes: they are sent whatever CLIENT REPLY says.
    pub fn answers_by_pushes(&self) -> bool {
        self.spec.flags.has(Flags::PUBSUB) && matches!(self.target, Target::Session(_))
    }

    /// Whether a connection that has subscribed may send it in RESP2.
    pub fn suits_listeners(&self) -> bool {
        self.answers_by_pushes() || ["ping", "quit", "reset"].contains(&self.spec.name)
    }

    /// Whether a connection that only watches is refused it.
    pub fn touches_keys(&self) -> bool {
        [Flags::WRITE, Flags::READONLY, Flags::MAY_REPLICATE].iter().any(|flag| self.spec.flags.has(*flag))
    }

    /// How further keys are found that values of those in these arguments may name, if they may name any.
    pub fn discovery(&self, arguments: &[&[u8]]) -> Option<&'static Discovery> {
        let discovery = self.spec.key_finder?.discovery.as_ref()?;
        (discovery.is_needed)(arguments).then_some(discovery)
    }

    /// The subcommand of that name.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static CommandEntry> {
        self.subcommands.iter().find(|entry| entry.spec.name.as_bytes().eq_ignore_ascii_case(name)).copied()
    }
}

fn key_plan(spec: &Spec) -> KeyPlan {
    match spec.keys {
        [] => KeyPlan::None,
        // Channels are on every shard.
        all if all.iter().all(|keys| keys.flags.has(KeyFlags::NOT_KEY)) => KeyPlan::None,
        [only] => match (only.begin, only.find) {
            (BeginSearch::Index(index), FindKeys::Range { last: 0, .. }) => KeyPlan::One(index),
            _ => KeyPlan::Many,
        },
        _ => KeyPlan::Many,
    }
}

/// All commands of the process.
pub struct CommandTable {
    table: Table<&'static CommandEntry>,
    /// The names that clients use, where they are others.
    renamed: Option<Table<&'static CommandEntry>>,
    /// How many commands and subcommands there are: the length of per-command counters.
    pub ids: usize,
    /// Has no name: it stands in a transaction in the place of a command that may not run, and gives the error that is its
    /// argument.
    pub refusal: &'static CommandEntry,
}

static REFUSAL: Spec = Spec {
    name: "refusal",
    arity: Arity::Exact(2),
    flags: Flags::FAST.or(Flags::SKIP_MONITOR).or(Flags::LOADING).or(Flags::STALE),
    is_internal: true,
    ..Spec::BASE
};

/// A new name of a command; the empty one takes it from clients.
pub type Renaming = (Vec<u8>, Vec<u8>);

impl CommandTable {
    /// Builds the table. Entries live as long as the process: messages between shards name them by reference.
    pub fn new(rows: impl IntoIterator<Item = (&'static Spec, Target)>) -> Self {
        let mut ids = 0;
        let mut entry = |spec: &'static Spec, target: Target, full_name: String, subcommands| {
            let is_script = matches!(target, Target::Engine(_)) && spec.group == "scripting";
            let is_write = spec.may_write() || (is_script && !spec.flags.has(Flags::READONLY));
            let keeps_order = is_write || spec.flags.has(Flags::PUBSUB);
            ids += 1;
            let keys = key_plan(spec);
            let takes_memory = spec.flags.has(Flags::DENYOOM);
            let id = ids - 1;
            let is_queued = !spec.flags.has(Flags::RUNS_IN_MULTI);
            let may_wait = spec.flags.has(Flags::BLOCKING) && keys != KeyPlan::None;
            let entry = CommandEntry {
                spec,
                full_name,
                target,
                keys,
                is_write,
                keeps_order,
                takes_memory,
                is_queued,
                may_wait,
                is_script,
                id,
                subcommands,
            };
            &*Box::leak(Box::new(entry))
        };
        let rows = rows.into_iter().map(|(spec, target)| {
            let subcommands = spec
                .subcommands
                .iter()
                .map(|sub| entry(sub, target, format!("{}|{}", spec.name, sub.name), Vec::new()))
                .collect();
            (spec, entry(spec, target, spec.name.to_string(), subcommands))
        });
        let table = Table::new(rows.collect::<Vec<_>>());
        let refuse: Handler = |_, arguments| Err(arguments[1].to_vec().into());
        let refusal = entry(&REFUSAL, Target::Engine(refuse), REFUSAL.name.to_owned(), Vec::new());
        Self { table, renamed: None, ids, refusal }
    }

    /// The same with other names for clients. Names that there are not, or that there are already, change nothing.
    pub fn renamed(mut self, renamings: &[Renaming]) -> Self {
        if renamings.is_empty() {
            return self;
        }
        let mut names: BTreeMap<Vec<u8>, &'static CommandEntry> =
            self.entries().map(|entry| (entry.spec.name.as_bytes().to_vec(), entry)).collect();
        for (old, new) in renamings {
            let new = new.to_ascii_lowercase();
            if let Some(entry) = names.remove(&old.to_ascii_lowercase())
                && !new.is_empty()
            {
                names.entry(new).or_insert(entry);
            }
        }
        let rows = names.into_iter().map(|(name, entry)| {
            if name == entry.spec.name.as_bytes() {
                return (entry.spec, entry);
            }
            // As long as the process lives, as entries do.
            let name = String::from_utf8_lossy(&name).into_owned().leak();
            (&*Box::leak(Box::new(Spec { name, ..*entry.spec })), entry)
        });
        self.renamed = Some(Table::new(rows.collect::<Vec<_>>()));
        self
    }

    /// The command that clients call by that name, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&'static CommandEntry> {
        self.rows().find(name).map(|(_, entry)| *entry)
    }

    /// The command of that name, whatever clients call it.
    #[inline]
    pub fn find_original(&self, name: &[u8]) -> Option<&'static CommandEntry> {
        self.table.find(name).map(|(_, entry)| *entry)
    }

    /// The rows by the names that clients use.
    #[inline]
    pub fn rows(&self) -> &Table<&'static CommandEntry> {
        self.renamed.as_ref().unwrap_or(&self.table)
    }

    /// Every command, containers but not their subcommands.
    pub fn entries(&self) -> impl Iterator<Item = &'static CommandEntry> {
        self.table.iter().map(|(_, entry)| *entry)
    }

    /// Every command and subcommand.
    pub fn all(&self) -> impl Iterator<Item = &'static CommandEntry> {
        self.entries().flat_map(|entry| std::iter::once(entry).chain(entry.subcommands.iter().copied()))
    }
}
