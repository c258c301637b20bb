//! The group *cluster*, as a server answers that is no member of one: clients ask to learn just that, and users are given or
//! denied these commands by name.

use super::{SessionCommand, run_subcommand, specs};
use crate::core::session::{Session, SessionResult};
use torc_engine::command::{Arity, Categories, Flags, Spec};

const ROW: Spec = Spec { group: "cluster", flags: Flags::STALE, since: "3.0.0", ..Spec::BASE };
const CONNECTION: Spec =
    Spec { flags: Flags::FAST, arity: Arity::Exact(1), own_categories: Categories::CONNECTION, ..ROW };

/// The rows.
pub(super) static COMMANDS: &[SessionCommand] = &[
    row(Spec { name: "asking", summary: "Says that a redirection was an ASK", ..CONNECTION }),
    SessionCommand {
        spec: Spec {
            name: "cluster",
            flags: Flags::NONE,
            arity: Arity::AtLeast(2),
            complexity: "Depends on the subcommand",
            summary: "Tells of the cluster, which this server is no member of",
            subcommands: &SPECS,
            ..ROW
        },
        syntax: "",
        run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
    },
    row(Spec {
        name: "readonly",
        flags: WHILE_LOADING,
        summary: "Lets replicas of a cluster answer reads",
        ..CONNECTION
    }),
    row(Spec { name: "readwrite", flags: WHILE_LOADING, summary: "Sends reads to masters again", ..CONNECTION }),
];

const WHILE_LOADING: Flags = Flags::LOADING.or(Flags::STALE).or(Flags::FAST);
const ADMIN: Flags = Flags::ADMIN.or(Flags::STALE);
const CHANGES: Flags = ADMIN.or(Flags::NO_ASYNC_LOADING);
const TOLD: &[&str] = &["nondeterministic_output"];

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);
#[rustfmt::skip]
static SUBCOMMANDS: [SessionCommand; 28] = [
    subcommand("addslots", Arity::AtLeast(3), CHANGES, &[], "Gives slots to this node"),
    subcommand("addslotsrange", Arity::AtLeast(4), CHANGES, &[], "Gives ranges of slots to this node").since("7.0.0"),
    subcommand("bumpepoch", Arity::Exact(2), CHANGES, TOLD, "Raises the epoch"),
    subcommand("count-failure-reports", Arity::Exact(3), ADMIN, TOLD, "Counts who reports a node as failing"),
    subcommand("countkeysinslot", Arity::Exact(3), Flags::STALE, &[], "Counts the keys of a slot"),
    subcommand("delslots", Arity::AtLeast(3), CHANGES, &[], "Takes slots from this node"),
    subcommand("delslotsrange", Arity::AtLeast(4), CHANGES, &[], "Takes ranges of slots from this node").since("7.0.0"),
    subcommand("failover", Arity::AtLeast(2), CHANGES, &[], "Lets a replica take its master's place"),
    subcommand("flushslots", Arity::Exact(2), CHANGES, &[], "Takes all slots from this node"),
    subcommand("forget", Arity::Exact(3), CHANGES, &[], "Removes a node"),
    subcommand("getkeysinslot", Arity::Exact(4), Flags::STALE, TOLD, "Gives keys of a slot"),
    subcommand("help", Arity::Exact(2), Flags::LOADING.or(Flags::STALE), &[], "Lists the subcommands").since("5.0.0"),
    subcommand("info", Arity::Exact(2), Flags::STALE, TOLD, "Tells of the cluster's state"),
    subcommand("keyslot", Arity::Exact(3), Flags::STALE, &[], "Gives a key's slot"),
    subcommand("links", Arity::Exact(2), Flags::STALE, TOLD, "Lists links to other nodes").since("7.0.0"),
    subcommand("meet", Arity::AtLeast(4), CHANGES, &[], "Adds a node"),
    subcommand("myid", Arity::Exact(2), Flags::STALE, &[], "Gives this node's id"),
    subcommand("myshardid", Arity::Exact(2), Flags::STALE, TOLD, "Gives the id of this node's shard").since("7.2.0"),
    subcommand("nodes", Arity::Exact(2), Flags::STALE, TOLD, "Lists the nodes"),
    subcommand("replicas", Arity::Exact(3), ADMIN, TOLD, "Lists a master's replicas").since("5.0.0"),
    subcommand("replicate", Arity::Exact(3), CHANGES, &[], "Lets this node follow another"),
    subcommand("reset", Arity::AtLeast(2), ADMIN.or(Flags::NOSCRIPT), &[], "Forgets the cluster"),
    subcommand("saveconfig", Arity::Exact(2), CHANGES, &[], "Writes the cluster's file"),
    subcommand("set-config-epoch", Arity::Exact(3), CHANGES, &[], "Sets the epoch of a new node"),
    subcommand("setslot", Arity::AtLeast(4), CHANGES, &[], "Says what becomes of a slot"),
    subcommand("shards", Arity::Exact(2), Flags::STALE, TOLD, "Maps slots to shards").since("7.0.0"),
    subcommand("slaves", Arity::Exact(3), ADMIN, TOLD, "Lists a master's replicas"),
    subcommand("slots", Arity::Exact(2), Flags::STALE, TOLD, "Maps slots to nodes"),
];

const fn row(spec: Spec) -> SessionCommand {
    SessionCommand { spec, syntax: "", run: disabled }
}

const fn subcommand(
    name: &'static str,
    arity: Arity,
    flags: Flags,
    tips: &'static [&'static str],
    summary: &'static str,
) -> SessionCommand {
    row(Spec { name, arity, flags, tips, summary, ..ROW })
}

impl SessionCommand {
    /// Not as old as the others.
    const fn since(mut self, version: &'static str) -> Self {
        self.spec.since = version;
        self
    }
}

fn disabled(_: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    Err("ERR This instance has cluster support disabled".into())
}
