//! The group *cluster*, as a server answers that is no member of one: clients ask to learn just that, and users are given or
//! denied these commands by name.

use super::{SessionCommand, run_subcommand, specs};
use crate::core::session::{Session, SessionResult};
use torc_engine::command::argument::{Argument, block, integer, one_of, string, word};
use torc_engine::command::{Arity, Categories, Deprecated, Flags, Spec};

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
    subcommand("addslots", Arity::AtLeast(3), CHANGES, &[], "Gives slots to this node").takes(&[integer("slot").multiple()]),
    subcommand("addslotsrange", Arity::AtLeast(4), CHANGES, &[], "Gives ranges of slots to this node").since("7.0.0").takes(&[SLOTS]),
    subcommand("bumpepoch", Arity::Exact(2), CHANGES, TOLD, "Raises the epoch"),
    subcommand("count-failure-reports", Arity::Exact(3), ADMIN, TOLD, "Counts who reports a node as failing").takes(&[NODE_ID]),
    subcommand("countkeysinslot", Arity::Exact(3), Flags::STALE, &[], "Counts the keys of a slot").takes(&[integer("slot")]),
    subcommand("delslots", Arity::AtLeast(3), CHANGES, &[], "Takes slots from this node").takes(&[integer("slot").multiple()]),
    subcommand("delslotsrange", Arity::AtLeast(4), CHANGES, &[], "Takes ranges of slots from this node").since("7.0.0").takes(&[SLOTS]),
    subcommand("failover", Arity::AtLeast(2), CHANGES, &[], "Lets a replica take its master's place").takes(&[one_of("options", &[word("FORCE"), word("TAKEOVER")]).optional()]),
    subcommand("flushslots", Arity::Exact(2), CHANGES, &[], "Takes all slots from this node"),
    subcommand("forget", Arity::Exact(3), CHANGES, &[], "Removes a node").takes(&[NODE_ID]),
    subcommand("getkeysinslot", Arity::Exact(4), Flags::STALE, TOLD, "Gives keys of a slot").takes(&[integer("slot"), integer("count")]),
    subcommand("help", Arity::Exact(2), Flags::LOADING.or(Flags::STALE), &[], "Lists the subcommands").since("5.0.0"),
    subcommand("info", Arity::Exact(2), Flags::STALE, TOLD, "Tells of the cluster's state"),
    subcommand("keyslot", Arity::Exact(3), Flags::STALE, &[], "Gives a key's slot").takes(&[string("key")]),
    subcommand("links", Arity::Exact(2), Flags::STALE, TOLD, "Lists links to other nodes").since("7.0.0"),
    subcommand("meet", Arity::AtLeast(4), CHANGES, &[], "Adds a node").takes(&[string("ip"), integer("port"), integer("cluster_bus_port").optional().since("4.0.0")]).changed(&[("4.0.0", "Takes the port of the bus.")]),
    subcommand("myid", Arity::Exact(2), Flags::STALE, &[], "Gives this node's id"),
    subcommand("myshardid", Arity::Exact(2), Flags::STALE, TOLD, "Gives the id of this node's shard").since("7.2.0"),
    subcommand("nodes", Arity::Exact(2), Flags::STALE, TOLD, "Lists the nodes"),
    subcommand("replicas", Arity::Exact(3), ADMIN, TOLD, "Lists a master's replicas").since("5.0.0").takes(&[NODE_ID]),
    subcommand("replicate", Arity::Exact(3), CHANGES, &[], "Lets this node follow another").takes(&[NODE_ID]),
    subcommand("reset", Arity::AtLeast(2), ADMIN.or(Flags::NOSCRIPT), &[], "Forgets the cluster").takes(&[one_of("hard_soft", &[word("HARD"), word("SOFT")]).optional()]),
    subcommand("saveconfig", Arity::Exact(2), CHANGES, &[], "Writes the cluster's file"),
    subcommand("set-config-epoch", Arity::Exact(3), CHANGES, &[], "Sets the epoch of a new node").takes(&[integer("config-epoch")]),
    subcommand("setslot", Arity::AtLeast(4), CHANGES, &[], "Says what becomes of a slot").takes(&[integer("slot"), one_of("subcommand", MOVES)]),
    subcommand("shards", Arity::Exact(2), Flags::STALE, TOLD, "Maps slots to shards").since("7.0.0"),
    subcommand("slaves", Arity::Exact(3), ADMIN, TOLD, "Lists a master's replicas").takes(&[NODE_ID]).replaced("5.0.0", "`CLUSTER REPLICAS`"),
    subcommand("slots", Arity::Exact(2), Flags::STALE, TOLD, "Maps slots to nodes").changed(&[("4.0.0", "Tells ids of nodes."), ("7.0.0", "Tells more of how nodes are reached.")]).replaced("7.0.0", "`CLUSTER SHARDS`"),
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

const SLOTS: Argument = block("start-slot_end-slot", &[integer("start-slot"), integer("end-slot")]).multiple();
const NODE_ID: Argument = string("node-id");
const MOVES: &[Argument] =
    &[NODE_ID.token("IMPORTING"), NODE_ID.token("MIGRATING"), NODE_ID.token("NODE"), word("STABLE")];

impl SessionCommand {
    const fn takes(mut self, arguments: &'static [Argument]) -> Self {
        self.spec.arguments = arguments;
        self
    }

    const fn changed(mut self, history: &'static [(&'static str, &'static str)]) -> Self {
        self.spec.history = history;
        self
    }

    const fn replaced(mut self, since: &'static str, replaced_by: &'static str) -> Self {
        self.spec.deprecated = Some(Deprecated { since, replaced_by });
        self
    }

    /// Not as old as the others.
    const fn since(mut self, version: &'static str) -> Self {
        self.spec.since = version;
        self
    }
}

fn disabled(_: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    Err("ERR This instance has cluster support disabled".into())
}
