//! The commands of a log on their way to all shards at once.
//!
//! ```text
//!   one key, or keys of one shard        ──> the lane of that shard       lanes run beside each other
//!   MSET, DEL and the like, over several ──> cut up, to each its part
//!   a transaction                        ──> at its EXEC: command by command, if each is for one shard
//!   anything else                        ──> the lane of shard 0, alone: all lanes are empty before it, and that one behind it
//! ```
//!
//! A lane is a connection of the server's own on its shard; what it has run is in the shard's order. Nobody looks at the data
//! while they are loaded, so commands need their order only where they meet: on a shard, or where one has to do with several.
//! What must be alone is told by any command of several shards that runs as a unit, by commands on all keys, functions and scripts.
//! After one of these the next [`ALONE_FOR`] commands take the same way: two changes of the way cost as much as some of them.
//!
//! Invariants: a lane's commands are in the order of the file. A command is run in the database that the file has selected, so
//! each lane selects what its next command needs. Nothing of a transaction is run before its EXEC has been seen.

use super::feed::FeedFailure;
use crate::command_table::{CommandEntry, KeyPlan, Target};
use crate::core::Core;
use crate::core::connection::ConnectionKey;
use crate::core::owners::{Groups, Owner};
use crate::loading::{Delivery, Receipt};
use crate::shared::Shared;
use crate::tasks::Tasks;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use torc_engine::command::Spread;
use torc_engine::journal::write_command;
use torc_engine::keyspace::slot_of;
use torc_persistence::aof::frames::Command;
use torc_persistence::aof::text;

/// A lane that holds so much is sent.
const BATCH_BYTES: usize = 64 << 10;
/// So many commands behind one that must be alone go its way.
const ALONE_FOR: usize = 128;
/// The lane of commands that must be alone.
const ALONE: usize = 0;

/// The way to one shard.
struct Lane {
    key: ConnectionKey,
    /// What has not been sent.
    open: Vec<u8>,
    /// The database that is selected behind that.
    database: usize,
}

impl Lane {
    fn add(&mut self, database: usize, command: &[u8]) {
        if self.database != database {
            self.database = database;
            text::write_select(&mut self.open, database);
        }
        self.open.extend_from_slice(command);
    }
}

/// A transaction whose end has not been seen.
struct Transaction {
    bytes: Vec<u8>,
    /// Its commands: for which shard, in which database, where in `bytes`. None if one is not for one shard.
    parts: Option<Vec<(usize, usize, Range<usize>)>>,
    /// The database before it.
    database: usize,
}

/// The ways to all shards.
pub(super) struct Lanes {
    tasks: Tasks,
    shared: Arc<Shared>,
    delivery: Delivery,
    lanes: Vec<Lane>,
    /// The database that the file has selected.
    database: usize,
    transaction: Option<Transaction>,
    /// So many commands more go by the lane of what must be alone.
    alone_for: usize,
}

/// Where a command goes.
enum Way<'a> {
    Shard(usize),
    Cut(Groups<'a>),
    Alone,
}

impl Core {
    fn run_lane(&mut self, key: ConnectionKey, commands: &[u8], receipt: Receipt) {
        self.received(key, commands);
        if !self.has_backlog(key) {
            return receipt.give_back(self, Ok(()));
        }
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            while tasks.on_core(move |core| core.has_backlog(key)).await {
                tasks.executor.sleep(Duration::ZERO).await;
            }
            tasks.on_core(move |core| receipt.give_back(core, Ok(()))).await;
        });
    }
}

impl Lanes {
    /// To all shards.
    pub(super) async fn open(tasks: &Tasks, shared: &Arc<Shared>) -> Self {
        let mut lanes = Vec::new();
        for shard in 0..shared.shards() {
            let key = tasks.on_shard(shard, Core::admit_own).await;
            lanes.push(Lane { key, open: Vec::new(), database: 0 });
        }
        Self {
            tasks: tasks.clone(),
            shared: shared.clone(),
            delivery: Delivery::new(tasks, lanes.len()),
            lanes,
            database: 0,
            transaction: None,
            alone_for: 0,
        }
    }

    /// Takes a command of the file.
    ///
    /// # Errors
    /// There is no such command.
    pub(super) async fn take(&mut self, command: &Command<'_>) -> Result<(), FeedFailure> {
        let arguments: SmallVec<[&[u8]; 8]> = command.arguments().collect();
        let Some(entry) = self.shared.table.find(arguments[0]) else {
            return Err(FeedFailure::Unknown(arguments[0].to_vec(), command.offset));
        };
        match entry.spec.name {
            "select" => {
                let number = arguments.get(1).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                self.database = number.filter(|number| *number < self.shared.databases).unwrap_or(self.database);
                if let Some(transaction) = &mut self.transaction {
                    transaction.bytes.extend_from_slice(command.bytes);
                }
            }
            "multi" if self.transaction.is_none() => {
                let (bytes, database) = (command.bytes.to_vec(), self.database);
                self.transaction = Some(Transaction { bytes, parts: Some(Vec::new()), database });
            }
            "exec" if self.transaction.is_some() => self.end_transaction(command.bytes).await,
            "discard" if self.transaction.is_some() => {
                self.database = self.transaction.take().map_or(0, |transaction| transaction.database);
            }
            _ => {
                let way = self.way_of(entry, &arguments);
                match &mut self.transaction {
                    Some(transaction) => transaction.add(&way, self.database, command.bytes),
                    None => self.go(way, command.bytes).await,
                }
            }
        }
        Ok(())
    }

    async fn end_transaction(&mut self, exec: &[u8]) {
        let Some(Transaction { mut bytes, parts, database }) = self.transaction.take() else { return };
        match parts {
            Some(parts) if self.alone_for == 0 => {
                for (shard, database, range) in parts {
                    self.lanes[shard].add(database, &bytes[range]);
                }
            }
            parts => {
                bytes.extend_from_slice(exec);
                self.go_alone(parts.is_none(), database, &bytes).await;
            }
        }
    }

    /// Which way a command goes.
    fn way_of<'a>(&self, entry: &'static CommandEntry, arguments: &[&'a [u8]]) -> Way<'a> {
        let entry = match arguments.get(1) {
            Some(name) if !entry.subcommands.is_empty() => match entry.subcommand(name) {
                Some(subcommand) => subcommand,
                None => return Way::Alone,
            },
            _ => entry,
        };
        if self.lanes.len() == 1 {
            return Way::Shard(0);
        }
        let is_plain = matches!(entry.target, Target::Engine(_))
            && !(entry.is_script || entry.may_wait)
            && entry.spec.arity.accepts(arguments.len());
        match entry.keys {
            KeyPlan::One(index) if is_plain => Way::Shard(self.shared.shard_of(slot_of(arguments[index]))),
            KeyPlan::Many if is_plain => match self.shared.owner_of_keys(entry, arguments) {
                Owner::One(shard) => Way::Shard(shard),
                Owner::Several if matches!(entry.spec.spread, Spread::Sum | Spread::AllOk) => {
                    self.shared.split(entry, arguments).map_or(Way::Alone, Way::Cut)
                }
                Owner::Several | Owner::Nobody => Way::Alone,
            },
            _ => Way::Alone,
        }
    }

    async fn go(&mut self, way: Way<'_>, command: &[u8]) {
        let database = self.database;
        match way {
            Way::Alone => self.go_alone(true, database, command).await,
            _ if self.alone_for > 0 => self.go_alone(false, database, command).await,
            Way::Shard(shard) => self.lanes[shard].add(database, command),
            Way::Cut(groups) => {
                for (shard, (arguments, _)) in groups {
                    let mut part = Vec::new();
                    write_command(&mut part, &arguments);
                    self.lanes[shard].add(database, &part);
                }
            }
        }
    }

    /// By the lane of what must be alone: what is to be run in a database. Behind it the file's is selected.
    async fn go_alone(&mut self, must: bool, database: usize, commands: &[u8]) {
        if must && self.alone_for == 0 {
            self.settle().await;
        }
        self.alone_for = if must { ALONE_FOR } else { self.alone_for - 1 };
        self.lanes[ALONE].add(database, commands);
        self.lanes[ALONE].database = self.database;
        if self.alone_for == 0 {
            self.settle().await;
        }
    }

    /// Sends what is worth it.
    pub(super) async fn send_full(&mut self) {
        for shard in 0..self.lanes.len() {
            if self.lanes[shard].open.len() >= BATCH_BYTES {
                self.send(shard).await;
            }
        }
    }

    async fn send(&mut self, shard: usize) {
        let Lane { key, open, .. } = &mut self.lanes[shard];
        let (key, commands) = (*key, std::mem::take(open));
        let run = move |core: &mut Core, receipt: Receipt| core.run_lane(key, &commands, receipt);
        // Commands that fail are as if they were not there: nothing in a lane ever ends the load.
        drop(self.delivery.send(shard, run).await);
    }

    /// Waits until all that was taken is done.
    async fn settle(&mut self) {
        for shard in 0..self.lanes.len() {
            if !self.lanes[shard].open.is_empty() {
                self.send(shard).await;
            }
        }
        drop(self.delivery.settle().await);
    }

    /// All that was taken has been done, on all shards.
    pub(super) async fn close(mut self) {
        self.settle().await;
        for (shard, lane) in self.lanes.iter().enumerate() {
            let key = lane.key;
            self.tasks.on_shard(shard, move |core| core.kill(key)).await;
        }
    }
}

impl Transaction {
    fn add(&mut self, way: &Way<'_>, database: usize, command: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(command);
        match (way, &mut self.parts) {
            (Way::Shard(shard), Some(parts)) => parts.push((*shard, database, start..self.bytes.len())),
            _ => self.parts = None,
        }
    }
}
