//! MIGRATE: keys go to another server, and are gone here (Redis documentation, "MIGRATE").
//!
//! ```text
//!   own client (any shards)                  task                                 the other server
//!     WATCH k1 k2 ..      <───────── a round begins
//!     DUMP k1, PTTL k1    <───────── one value at a time ────────> RESTORE k1 ..   (UNANSWERED_MAX under way)
//!     DUMP k2, PTTL k2    <───────── ..                           <── +OK, -BUSYKEY ..
//!     MULTI, DEL those that are there, EXEC ──> all as it was: done
//!                                           └─> something was written: another round, with REPLACE for what is there already
//! ```
//!
//! The real server stands still meanwhile. Here nobody waits and nothing is locked: what was written between DUMP and DEL is seen by
//! EXEC, under the locks of all keys, and is sent in the next round. After [`FREE_ROUNDS`] clients that write wait, for one round after the
//! other and for as long as the command's time limit at the most; so keys that change all the time can be sent, too. Where
//! even that does not help (a script that runs for long writes them), the command ends with an error and all keys are still here.
//! A key that was sent and is gone when its next round comes is removed over there, too.
//!
//! Invariants: a key is removed only by an EXEC that has seen that it is what the other server has acknowledged; one value is in memory
//! at a time, however many are sent. The copy that COPY leaves is of one instant, for all keys, by the same EXEC.

mod name;
mod target;

pub use target::Targets;

use crate::control::ControlRequest;
use crate::core::own_client::{OwnClient, OwnReply};
use crate::tasks::Tasks;
use std::collections::VecDeque;
use std::time::Duration;
use target::{Failure, Target};
use torc_engine::journal::write_command;

/// Rounds in which writers go on.
const FREE_ROUNDS: usize = 3;
/// All rounds.
const ROUNDS: usize = 6;
/// Keys that are sent before the answer to the first of them has been read: answers are never left to fill the other's memory.
const UNANSWERED_MAX: usize = 256;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Where to.
    pub host: Vec<u8>,
    /// Where to.
    pub port: Vec<u8>,
    /// Its database.
    pub to: i64,
    /// Ours.
    pub from: u32,
    /// How long each step may take.
    pub timeout: Duration,
    /// Which keys.
    pub keys: Vec<Vec<u8>>,
    /// The keys stay here.
    pub copies: bool,
    /// Those that are there already are replaced.
    pub replaces: bool,
    /// A user's name, which may be left out, and password.
    pub credentials: Option<(Option<Vec<u8>>, Vec<u8>)>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All keys are there.
    Done,
    /// There was none.
    NoKey,
    /// Not all are.
    Failed(Vec<u8>),
}

/// How a round ended.
enum Round {
    Over(Outcome),
    /// Something was written meanwhile.
    Changed,
}

/// What an answer of the other server is about.
#[derive(Clone, Copy)]
enum Awaited {
    Restored(usize),
    Removed(usize),
}

/// Sends keys to another server.
pub async fn migrate(tasks: &Tasks, order: Order) -> Outcome {
    let client = OwnClient::new(tasks, order.from).await;
    let is_there = vec![false; order.keys.len()];
    let mut migration = Migration { tasks, order: &order, client, is_there, may_reconnect: true };
    for round in 0..ROUNDS {
        let pause = if round < FREE_ROUNDS { None } else { Pause::begin(tasks, order.timeout).await };
        let ended = migration.round().await;
        if let Some(pause) = pause {
            pause.end(tasks).await;
        }
        if let Round::Over(outcome) = ended {
            return outcome;
        }
    }
    Outcome::Failed(b"ERR The keys were written while they were sent, each time; they are still here".to_vec())
}

/// A command's name and keys.
fn with_keys<'a>(name: &'a str, keys: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<&'a [u8]> {
    std::iter::once(name.as_bytes()).chain(keys.into_iter().map(Vec::as_slice)).collect()
}

struct Migration<'a> {
    tasks: &'a Tasks,
    order: &'a Order,
    client: OwnClient,
    /// Which of the keys are there, as sent in an earlier round or in this one.
    is_there: Vec<bool>,
    /// Whether a connection that fails before anything was answered is made anew, once.
    may_reconnect: bool,
}

/// What has been heard in a round.
#[derive(Default)]
struct Heard {
    awaited: VecDeque<Awaited>,
    /// Keys acknowledged in this round.
    acknowledged: Vec<usize>,
    /// Something was answered at all.
    is_begun: bool,
    /// The first error.
    refusal: Option<Vec<u8>>,
}

impl Migration<'_> {
    async fn round(&mut self) -> Round {
        let mut commands = Vec::new();
        for name in ["WATCH", "EXISTS"] {
            write_command(&mut commands, &with_keys(name, &self.order.keys));
        }
        let replies = self.client.ask(commands, 2).await;
        if replies.last().and_then(OwnReply::integer) == Some(0) && !self.is_there.contains(&true) {
            self.client.call(&[b"UNWATCH"]).await;
            return Round::Over(Outcome::NoKey);
        }
        loop {
            let mut heard = Heard::default();
            let failure = self.send(&mut heard).await.err();
            if let Some(failure) = failure
                && !heard.is_begun
                && !failure.is_timeout()
                && std::mem::take(&mut self.may_reconnect)
            {
                continue;
            }
            let is_as_it_was = self.conclude(&heard).await;
            let failed = match (heard.refusal, failure) {
                (Some(refusal), _) => Some([b"ERR Target instance replied with error: ", &*refusal].concat()),
                (None, failure) => failure.map(Failure::text),
            };
            return match failed {
                Some(text) => Round::Over(Outcome::Failed(text)),
                None if is_as_it_was => Round::Over(Outcome::Done),
                None => Round::Changed,
            };
        }
    }

    /// Removes what is there, if all is as it was when it was sent; whether it is.
    async fn conclude(&mut self, heard: &Heard) -> bool {
        let mut commands = Vec::new();
        write_command(&mut commands, &[b"MULTI"]);
        let mut count = 2;
        if !self.order.copies && !heard.acknowledged.is_empty() {
            let keys = heard.acknowledged.iter().map(|&place| &self.order.keys[place]);
            write_command(&mut commands, &with_keys("DEL", keys));
            count += 1;
        }
        write_command(&mut commands, &[b"EXEC"]);
        matches!(self.client.ask(commands, count).await.pop(), Some(OwnReply::Array(_)))
    }

    /// Sends all keys, and hears what the other server says to that.
    async fn send(&mut self, heard: &mut Heard) -> Result<(), Failure> {
        let mut target = Target::to(self.tasks, self.order).await?;
        match target.begin(self.order).await {
            Ok(None) => {}
            Ok(Some(refusal)) => {
                heard.refusal = Some(refusal);
                target.keep(self.tasks, None);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        }
        for place in 0..self.order.keys.len() {
            let Some(command) = self.command(place, heard).await else { continue };
            if let Err(failure) = target.write(&command).await {
                // What has been answered counts.
                while !failure.is_timeout() && self.hear(&mut target, heard).await.is_ok() {}
                return Err(failure);
            }
            while heard.awaited.len() >= UNANSWERED_MAX {
                self.hear(&mut target, heard).await?;
            }
        }
        while !heard.awaited.is_empty() {
            self.hear(&mut target, heard).await?;
        }
        let database = heard.refusal.is_none().then_some(self.order.to);
        target.keep(self.tasks, database);
        Ok(())
    }

    /// What brings the other server's key to the state of ours.
    async fn command(&self, place: usize, heard: &mut Heard) -> Option<Vec<u8>> {
        let key = &self.order.keys[place];
        let mut questions = Vec::new();
        write_command(&mut questions, &[b"DUMP".as_slice(), key]);
        write_command(&mut questions, &[b"PTTL".as_slice(), key]);
        let replies = self.client.ask(questions, 2).await;
        let mut command = Vec::new();
        match (replies.first(), replies.get(1).and_then(OwnReply::integer)) {
            (Some(OwnReply::Bulk(payload)), Some(ttl_ms @ -1..)) => {
                let ttl_ms = if ttl_ms < 0 { 0 } else { ttl_ms.max(1) };
                let mut scratch = itoa::Buffer::new();
                let words: [&[u8]; 5] = [b"RESTORE", key, scratch.format(ttl_ms).as_bytes(), payload, b"REPLACE"];
                let replaces = self.order.replaces || self.is_there[place];
                write_command(&mut command, &words[..if replaces { 5 } else { 4 }]);
                heard.awaited.push_back(Awaited::Restored(place));
            }
            _ if self.is_there[place] => {
                write_command(&mut command, &[b"DEL".as_slice(), key]);
                heard.awaited.push_back(Awaited::Removed(place));
            }
            _ => return None,
        }
        Some(command)
    }

    /// The next answer.
    async fn hear(&mut self, target: &mut Target, heard: &mut Heard) -> Result<(), Failure> {
        let line = target.line().await?;
        heard.is_begun = true;
        let Some(awaited) = heard.awaited.pop_front() else { return Ok(()) };
        match (awaited, line.strip_prefix(b"-")) {
            (_, Some(refusal)) => {
                heard.refusal.get_or_insert_with(|| refusal.to_vec());
            }
            (Awaited::Restored(place), None) => {
                self.is_there[place] = true;
                heard.acknowledged.push(place);
            }
            (Awaited::Removed(place), None) => self.is_there[place] = false,
        }
        Ok(())
    }
}

/// Clients that write wait.
struct Pause {
    until_ns: u64,
}

impl Pause {
    /// Nothing where clients wait already: that pause is somebody else's.
    async fn begin(tasks: &Tasks, timeout: Duration) -> Option<Self> {
        let limit_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = tasks
            .on_core(move |core| (!core.is_paused()).then(|| core.clock.monotonic_ns.saturating_add(limit_ns)))
            .await?;
        tasks.ask_all(ControlRequest::Pause { until_ns, only_writes: true }).await;
        Some(Self { until_ns })
    }

    async fn end(self, tasks: &Tasks) {
        if tasks.on_core(move |core| core.is_paused_until(self.until_ns)).await {
            tasks.ask_all(ControlRequest::Unpause).await;
        }
    }
}
