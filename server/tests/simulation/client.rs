//! A client: sends what its script says, takes replies apart, and writes down when it knew what.
//!
//! It counts replies: one too many, one that does not decode, or a stream that ends in order with one missing is a
//! failure. A connection that was reset leaves its commands without replies; the client connects again and goes on.

use super::checker::Operation;
use super::command::{Command, ROUND, Reply, Value};
use std::collections::VecDeque;
use torc_server::reactor::driver::Address;
use torc_server::reactor::simulated::{ClientEnd, World};

/// What a script decides with.
pub struct Dice {
    /// Random numbers of this run.
    pub random: fastrand::Rng,
    /// Wall time.
    pub now_ms: i64,
    next_value: u32,
}

impl Dice {
    /// A value that nobody else writes; mostly a short, round number (see [`ROUND`]).
    pub fn value(&mut self) -> Value {
        let number = self.next_value;
        self.next_value += 1;
        match self.random.u8(..100) {
            0..90 => format!("{number}{ROUND}"),
            90..98 => format!("v{number}-{}", "x".repeat(self.random.usize(..200))),
            _ => format!("v{number}-{}", "X".repeat(self.random.usize(1000..20_000))),
        }
        .into_bytes()
        .into()
    }

    /// A number that nobody else has.
    pub fn number(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value as u64
    }

    /// The same for APPEND: no number, so that no sum of digits looks like another value.
    pub fn suffix(&mut self) -> Value {
        let mut text = b"and".to_vec();
        text.extend_from_slice(&self.value());
        text.into()
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: u8) -> bool {
        self.random.u8(..100) < percent
    }
}

/// What a client sends next, as one pipeline; it is told the replies of the pipeline before. Nothing ends the client.
pub type Script = Box<dyn FnMut(&mut Dice, &[Reply]) -> Result<Vec<Command>, String>>;

/// Takes messages that answer no command, if it is one; else it is a reply.
pub type Ear = Box<dyn FnMut(&Reply) -> bool>;

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its process ends.
    Close,
    /// Its machine does.
    Reset,
}

/// How a client behaves.
pub struct ClientPlan {
    /// What it sends.
    pub script: Script,
    /// It sends the next pipeline when at most so many replies are awaited; 0 waits for all.
    pub depth: usize,
    /// How often in a hundred looks it reads what has arrived.
    pub reads_percent: u8,
    /// How often in a hundred looks it dies while replies are awaited.
    pub dies_percent: u8,
    /// How many times at most.
    pub deaths_max: u32,
    /// Whether it ends its own direction behind its last command, and still wants every reply.
    pub half_closes: bool,
    /// Whether it stays connected when it is through, until the server stops.
    pub lingers: bool,
    /// Whether others may have the server end its connection; then it comes back.
    pub is_killed: bool,
    /// Hears messages, if it listens to any.
    pub ear: Option<Ear>,
}

impl ClientPlan {
    /// One that waits for each pipeline's replies and reads at once.
    pub fn patient(script: Script) -> Self {
        Self {
            script,
            depth: 0,
            reads_percent: 100,
            dies_percent: 0,
            deaths_max: 0,
            half_closes: false,
            lingers: false,
            is_killed: false,
            ear: None,
        }
    }
}

/// What all clients of a run share.
pub struct Observations {
    /// Every command.
    pub history: Vec<Operation>,
    /// The clock that counts what clients do.
    pub clock: u64,
    /// Connections so far.
    pub sessions: u32,
    /// What was seen to be wrong.
    pub failures: Vec<String>,
    /// Whether the server has been told to stop: then it may end a connection.
    pub is_stopping: bool,
    /// What client scripts decide with.
    pub dice: Dice,
}

impl Observations {
    /// Nothing yet.
    pub fn new(seed: u64) -> Self {
        Self {
            history: Vec::new(),
            clock: 0,
            sessions: 0,
            failures: Vec::new(),
            is_stopping: false,
            dice: Dice { random: fastrand::Rng::with_seed(seed), now_ms: 0, next_value: 1 },
        }
    }
}

/// A client in its run.
pub struct Client {
    plan: ClientPlan,
    end: Option<ClientEnd>,
    session: u32,
    database: usize,
    received: Vec<u8>,
    /// Commands in the history whose replies are awaited.
    awaited: VecDeque<usize>,
    /// Of the first of these, if it is a transaction: replies to MULTI and the commands in it so far.
    preludes: usize,
    /// What it has read of the key that it watches.
    watched: Option<Reply>,
    replies: Vec<Reply>,
    has_finished: bool,
    has_finished_sending: bool,
}

impl Client {
    /// Not yet connected.
    pub fn new(plan: ClientPlan) -> Self {
        Self {
            plan,
            end: None,
            session: 0,
            database: 0,
            received: Vec::new(),
            awaited: VecDeque::new(),
            preludes: 0,
            watched: None,
            replies: Vec::new(),
            has_finished: false,
            has_finished_sending: false,
        }
    }

    /// Whether it wants nothing more.
    pub fn is_done(&self) -> bool {
        self.has_finished && self.awaited.is_empty() && (self.end.is_none() || self.plan.lingers)
    }

    /// Whether it holds a connection.
    pub fn is_connected(&self) -> bool {
        self.end.is_some()
    }

    /// One look at the connection; whether anything came of it. An urgent one reads for sure.
    pub fn look(
        &mut self,
        world: &World,
        address: &Address,
        names: &[Vec<u8>],
        seen: &mut Observations,
        urgent: bool,
    ) -> bool {
        if self.end.is_none() {
            if self.has_finished || seen.is_stopping {
                self.has_finished |= seen.is_stopping;
                return false;
            }
            self.connect(world, address, seen);
            return true;
        }
        let mut active = false;
        if urgent || seen.dice.percent(self.plan.reads_percent) {
            active |= self.read(seen);
        }
        let may_die = self.plan.deaths_max > 0 && self.end.is_some() && !self.awaited.is_empty();
        if may_die && seen.dice.percent(self.plan.dies_percent) {
            self.plan.deaths_max -= 1;
            self.die(if seen.dice.percent(50) { Death::Reset } else { Death::Close });
            return true;
        }
        if self.end.is_some() && !self.has_finished && self.awaited.len() <= self.plan.depth {
            active |= self.write(names, seen);
        }
        let is_through = self.has_finished && self.awaited.is_empty() && !self.plan.half_closes && !self.plan.lingers;
        if self.end.is_some() && is_through {
            self.end = None;
            active = true;
        }
        active
    }

    fn connect(&mut self, world: &World, address: &Address, seen: &mut Observations) {
        seen.sessions += 1;
        self.session = seen.sessions;
        self.database = 0;
        self.preludes = 0;
        self.received.clear();
        self.replies.clear();
        self.has_finished_sending = false;
        let end = world.connect(address);
        self.end = (!end.is_refused()).then_some(end);
    }

    /// Dies with whatever is under way, if it is connected. It comes back as another connection.
    pub fn die(&mut self, death: Death) {
        let Some(end) = self.end.take() else { return };
        match death {
            Death::Close => end.close(),
            Death::Reset => end.reset(),
        }
        self.awaited.clear();
    }

    fn read(&mut self, seen: &mut Observations) -> bool {
        let Some(end) = &self.end else { return false };
        let most = if seen.dice.percent(80) { usize::MAX } else { seen.dice.random.usize(1..300) };
        let bytes = end.receive_up_to(most);
        let (is_reset, is_ended) = (end.is_reset(), end.is_ended());
        self.received.extend_from_slice(&bytes);
        self.take_replies(seen);
        if !is_ended {
            return !bytes.is_empty();
        }
        let is_reset = is_reset || self.plan.is_killed;
        let may_end = is_reset || seen.is_stopping || (self.has_finished_sending && self.awaited.is_empty());
        if !may_end {
            let (session, awaited) = (self.session, self.awaited.len());
            seen.failures.push(format!("the server ended connection {session} with {awaited} replies missing"));
        }
        if !self.received.is_empty() && !is_reset && !seen.is_stopping {
            seen.failures.push(format!("connection {} ended within a reply", self.session));
        }
        self.end = None;
        self.awaited.clear();
        true
    }

    fn take_replies(&mut self, seen: &mut Observations) {
        let mut position = 0;
        while position < self.received.len() {
            match Reply::decode(&self.received[position..]) {
                Ok(None) => break,
                Err(error) => {
                    seen.failures.push(format!("connection {}: {error}", self.session));
                    position = self.received.len();
                }
                Ok(Some((reply, used))) => {
                    position += used;
                    self.take_reply(reply, seen);
                }
            }
        }
        self.received.drain(..position);
    }

    fn take_reply(&mut self, reply: Reply, seen: &mut Observations) {
        if self.plan.ear.as_mut().is_some_and(|ear| ear(&reply)) {
            return;
        }
        if self.take_prelude(&reply, seen) {
            return;
        }
        self.preludes = 0;
        let Some(index) = self.awaited.pop_front() else {
            let text = format!("connection {}: a reply that nobody awaits: {reply:?}", self.session);
            return seen.failures.push(text);
        };
        seen.clock += 1;
        let operation = &mut seen.history[index];
        let reply = self.settle(&mut operation.command, reply);
        operation.returned = Some(seen.clock);
        operation.returned_ms = seen.dice.now_ms;
        operation.reply = Some(reply.clone());
        if !operation.command.is_ordered() && !operation.command.accepts_unordered(&reply) {
            let command = operation.command.clone();
            seen.failures.push(format!("connection {}: {command:?} got {reply:?}", self.session));
        }
        self.replies.push(reply);
    }

    /// Takes what a transaction is answered before EXEC; false if the reply is another one.
    fn take_prelude(&mut self, reply: &Reply, seen: &mut Observations) -> bool {
        let Some(index) = self.awaited.front() else { return false };
        let (own, commands) = match &seen.history[*index].command {
            Command::Exec(commands) => (0, commands),
            // WATCH and GET; the latter is among the commands.
            Command::Watched(commands) => (2, commands),
            _ => return false,
        };
        let (place, own_commands) = (self.preludes, own.min(1));
        if place > own + commands.len() - own_commands {
            return false;
        }
        self.preludes += 1;
        if place == 1 && own > 0 {
            self.watched = Some(reply.clone());
            return true;
        }
        let expected = Reply::Status(if place == 0 || place == own { "OK" } else { "QUEUED" }.into());
        if *reply != expected {
            seen.failures.push(format!("connection {}: {reply:?} in the middle of {commands:?}", self.session));
        }
        true
    }

    /// What a transaction that watched has been: all of it at one moment, or a GET.
    fn settle(&mut self, command: &mut Command, reply: Reply) -> Reply {
        let Command::Watched(commands) = command else { return reply };
        let (watched, commands) = (self.watched.take().unwrap_or(Reply::Nil), std::mem::take(commands));
        match reply {
            // As an absent array is read.
            Reply::Array(replies) if replies.is_empty() => {
                *command = commands.into_iter().next().unwrap_or(Command::Ping);
                watched
            }
            Reply::Array(replies) => {
                *command = Command::Exec(commands);
                Reply::Array(std::iter::once(watched).chain(replies).collect())
            }
            other => {
                *command = Command::Exec(commands);
                other
            }
        }
    }

    fn write(&mut self, names: &[Vec<u8>], seen: &mut Observations) -> bool {
        let replies = std::mem::take(&mut self.replies);
        let commands = match (self.plan.script)(&mut seen.dice, &replies) {
            Ok(commands) => commands,
            Err(text) => {
                seen.failures.push(text);
                Vec::new()
            }
        };
        let Some(end) = &self.end else { return false };
        if commands.is_empty() {
            self.has_finished = true;
            if self.plan.half_closes {
                end.finish_sending();
                self.has_finished_sending = true;
            }
            return true;
        }
        let mut bytes = Vec::new();
        for command in commands {
            let tag = seen.history.len();
            bytes.extend_from_slice(&command.encode(names, tag));
            seen.clock += 1;
            self.awaited.push_back(seen.history.len());
            seen.history.push(Operation {
                session: self.session,
                database: self.database,
                invoked: seen.clock,
                invoked_ms: seen.dice.now_ms,
                returned: None,
                returned_ms: i64::MAX,
                reply: None,
                tag,
                ran: None,
                command: command.clone(),
            });
            if let Command::Select(database) = command {
                self.database = database;
            }
        }
        // Frames cut across writes, as a busy client's are.
        let cut = if seen.dice.percent(30) { seen.dice.random.usize(..bytes.len()) } else { 0 };
        end.send(&bytes[..cut]);
        end.send(&bytes[cut..]);
        true
    }
}
