//! Commands on several shards, seen from the shard that coordinates them: the connection's own.
//!
//! ```text
//!   one hop       parts -> replies  -> merged -> client
//!   overlay       reads -> values   -> run on a temporary keyspace -> writes -> client
//!                       (SORT: what the values name is asked for meanwhile, `instants`)
//!   control       question -> answers -> concluded -> client
//! ```
//! A transaction belongs to its coordinator, not to the connection: it ends, and frees its locks, whatever becomes of
//! the client.

use super::Core;
use super::connection::{Connection, ConnectionKey, MovedConnection, ReplyMode};
use super::inbox::claim_of;
use super::multi::Watching;
use super::observe::Seen;
use super::pubsub::AudienceChange;
use super::session::Conclude;
use super::unit::{Captured, StageDone, UnitRun};
use super::whole::Counted;
use crate::command_table::{CommandEntry, Target};
use crate::control::{ControlReply, ControlRequest};
use crate::mailbox::{Envelope, InstantRequest, Message, Outcome, PackedArguments, Part, Request, Work};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use torc_engine::command::{Discovery, Flags, Milliseconds, Spread};
use torc_engine::keyspace::slot_of;
use torc_engine::reply::{Reply, ReplyBuffer};
use torc_engine::shard::{ClientContext, Shard};
use torc_engine::transaction::inbox::Node;
use torc_engine::transaction::multicast::Multicast;
use torc_engine::transaction::overlay::{self, Finish, Gathered, KeyRead, Overlay};
use torc_engine::transaction::schedule::{Claim, Ticket};

/// What is to become of the parts' outcomes.
pub(super) enum Kind {
    /// Merge encoded replies. For `Gather`, each part has the places of its elements.
    Merge { spread: Spread, places: Vec<Vec<usize>> },
    /// Run the command on the values.
    Overlay(Box<Hops>),
    /// The server's own: what was asked, and what is made of the answers.
    Control(Arc<ControlRequest>, Conclude),
    /// A connection that moves: nobody waits for that.
    Move,
    /// The next stage of a unit.
    Unit(Box<UnitRun>),
    /// What a client sees of the keys that it watches.
    Watch(Watching),
}

/// A command to which values come.
pub(super) struct Hops {
    entry: &'static CommandEntry,
    arguments: PackedArguments,
    /// All keys, and which of them each part has.
    keys: Vec<KeyRead>,
    places: Vec<Vec<usize>>,
    /// Whether its values name further keys, which it asks for.
    asks: bool,
    /// When the locks were taken: the time of all hops.
    now: Milliseconds,
    /// Whether commands on every shard know of it.
    counted: Counted,
}

pub(super) struct Transaction {
    pub(super) request: Option<Request>,
    pub(super) client: ClientContext,
    kind: Kind,
    pub(super) header: Arc<Multicast>,
    /// Shards involved, ascending: the order of parts.
    pub(super) involved: SmallVec<[usize; 8]>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) remaining: usize,
    /// What the longest of its parts took, and all of them together.
    took_ns: u64,
    work_ns: u64,
    /// It is one command's, which is observed when it is over.
    is_observed: bool,
    /// What may have to be remembered of that.
    arguments: Option<Box<PackedArguments>>,
}

/// The transactions that this shard coordinates.
#[derive(Default)]
pub(super) struct Coordinator {
    transactions: HashMap<u64, Transaction>,
    next: u64,
}

impl Coordinator {
    pub(super) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// A number that no other transaction of this shard has.
    pub(super) fn take_id(&mut self) -> u64 {
        self.take_ids(1)
    }

    /// The first of so many.
    pub(super) fn take_ids(&mut self, count: u64) -> u64 {
        self.next += count;
        self.next - count
    }
}

impl Core {
    /// A command with keys on several shards.
    pub(super) fn start_spread(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) {
        match entry.spec.spread {
            Spread::Sum | Spread::AllOk | Spread::Gather => self.start_one_hop(connection, entry, arguments),
            _ => self.start_overlay(connection, entry, arguments),
        }
    }

    /// One hop: each shard runs the command on the arguments that belong to its keys.
    fn start_one_hop(&mut self, connection: &mut Connection, entry: &'static CommandEntry, arguments: &[&[u8]]) {
        let Some(groups) = self.shared.split(entry, arguments) else {
            // A key without its value: the handler says so.
            let Target::Engine(handler) = entry.target else { return };
            let now = self.shard.now();
            self.shard.execute(handler, arguments, connection.session.client, now, connection.output.tail());
            return;
        };
        let client = connection.session.client;
        let mut places = Vec::new();
        let mut parts = Vec::new();
        for (shard, (arguments, group_places)) in groups {
            let claim = claim_of(&self.shared.hasher, entry, &arguments);
            let work = Work::Command { entry, client, arguments: PackedArguments::new(&arguments) };
            places.push(group_places);
            parts.push((shard, claim, work));
        }
        self.start(connection, entry, Kind::Merge { spread: entry.spec.spread, places }, parts);
    }

    /// The values come to the command: first hop. If they may name further keys, every shard is held whole for a moment.
    fn start_overlay(&mut self, connection: &mut Connection, entry: &'static CommandEntry, arguments: &[&[u8]]) {
        let database = connection.session.client.database as usize;
        let Some(ValuesWanted { keys, mut groups, discovery }) = self.values_wanted(entry, arguments, database) else {
            return;
        };
        let packed = PackedArguments::new(arguments);
        let instant = discovery.map(|discovery| {
            let (filter, arguments) = (discovery.filter, packed.clone());
            Arc::new(InstantRequest { filter, arguments, database })
        });
        if discovery.is_some() {
            for shard in 0..self.shared.shards() {
                groups.entry(shard).or_default();
            }
        }
        let mut places = Vec::new();
        let mut parts = Vec::new();
        for (shard, group) in groups {
            let reads: Vec<KeyRead> = group.iter().map(|&place| keys[place].clone()).collect();
            let intents = reads.iter().map(|read| self.intent(&read.key, read.mode));
            let claim = if discovery.is_some() { Claim::Whole } else { Claim::Keys(intents.collect()) };
            parts.push((shard, claim, Work::Read { keys: reads, instant: instant.clone() }));
            places.push(group);
        }
        let asks = discovery.is_some();
        let mut counted = Counted::Not;
        if keys.iter().any(KeyRead::writes) {
            counted = self.count_unit();
            if asks {
                self.count_as_long(&mut counted);
            }
        }
        let hops = Hops { entry, arguments: packed, keys, places, asks, now: 0, counted };
        self.start(connection, entry, Kind::Overlay(Box::new(hops)), parts);
    }

    /// Which values come to a command; none if its arguments do not fit.
    pub(super) fn values_wanted(
        &self,
        entry: &CommandEntry,
        arguments: &[&[u8]],
        database: usize,
    ) -> Option<ValuesWanted> {
        let mut keys = overlay::keys_of(entry.spec, arguments, database)?;
        let discovery = entry.discovery(arguments);
        if discovery.is_some() {
            // A value may name the destination, too.
            keys.iter_mut().for_each(|read| read.stub = false);
        }
        let groups = self.places_by_shard(keys.iter().map(|read| &*read.key));
        Some(ValuesWanted { keys, groups, discovery })
    }

    /// Which of these keys each shard has.
    pub(super) fn places_by_shard<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> BTreeMap<usize, Vec<usize>> {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, key) in keys.enumerate() {
            groups.entry(self.shared.shard_of(slot_of(key))).or_default().push(place);
        }
        groups
    }

    /// A command without keys on every shard.
    pub(super) fn start_on_all(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        arguments: &[&[u8]],
    ) {
        if entry.spec.spread == Spread::Walk {
            let database = connection.session.client.database as usize;
            let (request, conclude) = Self::walk_question(entry, arguments, database);
            return self.start_question(connection, entry, request, conclude);
        }
        let client = connection.session.client;
        let packed = PackedArguments::new(arguments);
        let work = || Work::Command { entry, client, arguments: packed.clone() };
        let parts = (0..self.shared.shards()).map(|shard| (shard, Claim::Whole, work())).collect();
        self.start(connection, entry, Kind::Merge { spread: entry.spec.spread, places: Vec::new() }, parts);
    }

    /// The server's own question to all shards.
    pub(super) fn start_control(&mut self, connection: &mut Connection, request: ControlRequest, conclude: Conclude) {
        let entry = connection.figures.last_command.expect("a command asks");
        self.start_question(connection, entry, request, conclude);
    }

    fn start_question(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        request: ControlRequest,
        conclude: Conclude,
    ) {
        if let Some(captured) = &mut self.capture {
            *captured = Captured::Question(request, conclude);
            return;
        }
        let question = Arc::new(request);
        let parts = self.on_all_shards(&question);
        self.start(connection, entry, Kind::Control(question, conclude), parts);
    }

    fn on_all_shards(&self, question: &Arc<ControlRequest>) -> Vec<(usize, Claim, Work)> {
        let claim = || if question.is_cut() { Claim::Whole } else { Claim::Place };
        (0..self.shared.shards()).map(|shard| (shard, claim(), Work::Control(question.clone()))).collect()
    }

    /// Asks all shards on behalf of this one; nobody waits for the answers.
    pub(crate) fn instruct_all(&mut self, question: ControlRequest) {
        self.ask_all(question, Box::new(|_, _, _| {}));
    }

    /// Asks all shards on behalf of this one.
    pub(crate) fn ask_all(&mut self, question: ControlRequest, conclude: Conclude) {
        let question = Arc::new(question);
        let parts = self.on_all_shards(&question);
        self.flush_batches();
        self.begin_transaction(None, ClientContext::default(), Kind::Control(question, conclude), parts);
    }

    /// A connection goes from one shard, ours, to another.
    pub(super) fn start_move(&mut self, from: (usize, ConnectionKey), to: (usize, MovedConnection)) {
        let ((home, key), (target, moved)) = (from, to);
        let mut parts =
            vec![(home, Claim::Place, Work::Leave(key)), (target, Claim::Place, Work::Arrive(Some(Box::new(moved))))];
        parts.sort_by_key(|(shard, ..)| *shard);
        self.begin_transaction(None, ClientContext::default(), Kind::Move, parts);
    }

    /// Tells all other shards what its connections listen to; the reply that is owed, if one is, follows when all have heard.
    /// It is a push: it is sent whatever CLIENT REPLY says.
    pub(super) fn start_announcement(
        &mut self,
        changes: Vec<AudienceChange>,
        reply: Option<(&mut Connection, ReplyBuffer)>,
    ) {
        let (connection, mut reply) = match reply {
            Some((connection, reply)) => (Some(connection), reply),
            None => (None, ReplyBuffer::default()),
        };
        let conclude: Conclude = Box::new(move |_, _, out| out.buffer().append(&mut reply));
        let listener = connection.as_ref().map(|connection| connection.key);
        let request = ControlRequest::Subscribers { shard: self.index, listener, changes };
        if let (Some(captured), Some(_)) = (&mut self.capture, &connection) {
            *captured = Captured::Question(request, conclude);
            return;
        }
        self.flush_batches();
        let place = connection.map(|connection| {
            let entry = connection.figures.last_command.expect("a command announces");
            let sequence = connection.output.expect(false);
            connection.outstanding_elsewhere += 1;
            let (connection, client) = (connection.key, connection.session.client);
            Request { connection, sequence, entry, client, key: None.into(), here: false }
        });
        self.announce_to_others(place, request, conclude);
    }

    fn announce_to_others(&mut self, place: Option<Request>, request: ControlRequest, conclude: Conclude) {
        let request = Arc::new(request);
        let others = (0..self.shared.shards()).filter(|shard| *shard != self.index);
        let parts = others.map(|shard| (shard, Claim::Place, Work::Control(request.clone()))).collect();
        self.begin_transaction(place, ClientContext::default(), Kind::Control(request, conclude), parts);
    }

    /// What all shards are asked when they have answered a question, before that is concluded: who has begun to listen is counted.
    pub(super) fn next_round(&mut self, question: &ControlRequest) -> Option<ControlRequest> {
        let ControlRequest::Subscribers { shard, listener: Some(listener), changes } = question else { return None };
        let changes = self.count_listener(*listener, changes);
        (!changes.is_empty()).then_some(ControlRequest::Subscribers { shard: *shard, listener: None, changes })
    }

    /// Leaves a place for the reply and sends the first multicast.
    pub(super) fn start(
        &mut self,
        connection: &mut Connection,
        entry: &'static CommandEntry,
        kind: Kind,
        parts: Vec<(usize, Claim, Work)>,
    ) {
        let here = parts.iter().any(|(shard, ..)| *shard == self.index);
        let discard = connection.session.reply_mode != ReplyMode::On;
        let sequence = connection.output.expect(discard);
        if here {
            connection.outstanding_here += 1;
        } else {
            connection.outstanding_elsewhere += 1;
        }
        let client = connection.session.client;
        let request = Request { connection: connection.key, sequence, entry, client, key: None.into(), here };
        // What this connection sent before comes before.
        self.flush_batches();
        let id = self.begin_transaction(Some(request), client, kind, parts);
        self.observer.runs_here = None;
        self.observer.started = Some(id);
        if let Some(transaction) = self.coordinator.transactions.get_mut(&id) {
            transaction.is_observed = true;
        }
    }

    /// What may have to be remembered of a command that has become a transaction.
    pub(super) fn remember_arguments(&mut self, id: u64, arguments: Option<Box<PackedArguments>>) {
        if let Some(transaction) = self.coordinator.transactions.get_mut(&id) {
            transaction.arguments = arguments;
        }
    }

    fn begin_transaction(
        &mut self,
        request: Option<Request>,
        client: ClientContext,
        kind: Kind,
        parts: Vec<(usize, Claim, Work)>,
    ) -> u64 {
        let asker = request.as_ref().map(|request| request.connection);
        // What a unit reads is known only where it does.
        let is_read = |request: &Request| request.entry.spec.flags.has(Flags::READONLY);
        let reads = matches!(kind, Kind::Unit(_)) || request.as_ref().is_some_and(is_read);
        let id = self.coordinator.take_id();
        let header = Multicast::new();
        let transaction = Transaction {
            request,
            client,
            kind,
            header: header.clone(),
            involved: parts.iter().map(|(shard, ..)| *shard).collect(),
            outcomes: parts.iter().map(|_| Outcome::None).collect(),
            remaining: parts.len(),
            took_ns: 0,
            work_ns: 0,
            is_observed: false,
            arguments: None,
        };
        self.coordinator.transactions.insert(id, transaction);
        self.multicast(&header, id, (asker, client.tracks && reads), parts);
        id
    }

    /// `asker`: whose command it is, and whether what it reads is remembered for it.
    pub(super) fn multicast(
        &mut self,
        header: &Arc<Multicast>,
        transaction: u64,
        asker: (Option<ConnectionKey>, bool),
        parts: Vec<(usize, Claim, Work)>,
    ) {
        self.push_unit_batches();
        self.tell_before_leaving();
        let involved: SmallVec<[usize; 8]> = parts.iter().map(|(shard, ..)| *shard).collect();
        let (coordinator, count) = (self.index, parts.len());
        let nodes = parts.into_iter().enumerate().map(|(index, (shard, claim, work))| {
            let (connection, tracks) = asker;
            let header = header.clone();
            let outcome = Outcome::None;
            let parts = count;
            let part = Part {
                header,
                coordinator,
                connection,
                tracks,
                transaction,
                index,
                parts,
                claim,
                work,
                outcome,
                took_ns: 0,
            };
            (shard, Node::new(Message::Part(part)))
        });
        self.push_multicast(header, nodes, &involved);
    }

    /// Pushes the nodes of a multicast and wakes those that sleep.
    pub(super) fn push_multicast(
        &mut self,
        header: &Multicast,
        nodes: impl IntoIterator<Item = (usize, Envelope)>,
        involved: &[usize],
    ) {
        let now = self.shard.now();
        let (read_clock, stands) = (&self.read_clock, self.shared.append_log.is_replayed());
        let time = || if stands { now } else { read_clock().max(now) };
        self.shared.mailboxes.multicast(header, nodes, involved, time);
        self.counters.multicasts += 1;
        self.counters.messages_sent += involved.iter().filter(|shard| **shard != self.index).count() as u64;
        for &shard in involved {
            self.wake_if_asleep(shard);
        }
    }

    /// A number for a transaction of this shard.
    pub(super) fn take_transaction_id(&mut self) -> u64 {
        self.coordinator.take_id()
    }

    /// The next stage of a unit is awaited; its parts have not been sent.
    pub(super) fn await_stage(
        &mut self,
        id: u64,
        header: &Arc<Multicast>,
        run: UnitRun,
        parts: &[(usize, Claim, Work)],
        client: ClientContext,
        request: Option<Request>,
    ) {
        let transaction = Transaction {
            request,
            client,
            kind: Kind::Unit(Box::new(run)),
            header: header.clone(),
            involved: parts.iter().map(|(shard, ..)| *shard).collect(),
            outcomes: parts.iter().map(|_| Outcome::None).collect(),
            remaining: parts.len(),
            took_ns: 0,
            work_ns: 0,
            is_observed: false,
            arguments: None,
        };
        self.coordinator.transactions.insert(id, transaction);
    }

    /// A part came home.
    pub(super) fn part_done(&mut self, part: Part) {
        let Some(transaction) = self.coordinator.transactions.get_mut(&part.transaction) else {
            return self.replies_come(part.outcome.reply_bytes());
        };
        transaction.outcomes[part.index] = part.outcome;
        transaction.took_ns = transaction.took_ns.max(part.took_ns);
        transaction.work_ns += part.took_ns;
        transaction.remaining -= 1;
        if transaction.remaining > 0 {
            return;
        }
        let Some(transaction) = self.coordinator.transactions.remove(&part.transaction) else { return };
        transaction.outcomes.iter().for_each(|outcome| self.replies_come(outcome.reply_bytes()));
        self.conclude(part.transaction, transaction);
    }

    fn conclude(&mut self, id: u64, mut transaction: Transaction) {
        let request = transaction.request.take();
        let (took_ns, is_observed) = (transaction.took_ns, transaction.is_observed);
        if let (true, Some(request)) = (is_observed, &request) {
            // The rest is added with the longest part, when it is observed.
            self.counters.calls.add_time(request.entry.id, transaction.work_ns - took_ns);
        }
        let arguments = if matches!(transaction.kind, Kind::Overlay(_)) { None } else { transaction.arguments.take() };
        let mut out = ReplyBuffer::default();
        let waits_for_files = matches!(transaction.kind, Kind::Merge { spread: Spread::AllShardsOkOnDisk, .. });
        match transaction.kind {
            Kind::Merge { spread, places } => {
                let replies = transaction.outcomes.into_iter().map(|outcome| match outcome {
                    Outcome::Reply(reply) => reply,
                    _ => ReplyBuffer::default(),
                });
                merge(spread, replies.collect(), &places, &mut Reply::new(&mut out, transaction.client.protocol));
            }
            Kind::Control(question, conclude) => {
                let replies = transaction.outcomes.into_iter().filter_map(|outcome| match outcome {
                    Outcome::Control(reply) => Some(reply),
                    _ => None,
                });
                let replies: Vec<ControlReply> = replies.collect();
                if replies.iter().any(|reply| matches!(reply, ControlReply::OnItsWay)) {
                    // Whoever meets the next multicast meets it behind the connection's arrival.
                    let parts = self.on_all_shards(&question);
                    let kind = Kind::Control(question, conclude);
                    let again = self.begin_transaction(request, transaction.client, kind, parts);
                    if let Some(transaction) = self.coordinator.transactions.get_mut(&again) {
                        (transaction.is_observed, transaction.arguments) = (is_observed, arguments);
                    }
                    return;
                }
                if let Some(next) = self.next_round(&question) {
                    return self.announce_to_others(request, next, conclude);
                }
                conclude(self, replies, &mut Reply::new(&mut out, transaction.client.protocol));
            }
            Kind::Move => {}
            Kind::Overlay(_) => return self.run_overlay(id, transaction, request),
            Kind::Unit(run) => {
                let Transaction { client, header, involved, outcomes, .. } = transaction;
                let stage = StageDone { id, client, now: header.now(), shards: involved, outcomes, took_ns };
                return self.unit_stage_done(*run, stage, request);
            }
            Kind::Watch(watching) => {
                if let (true, Some(request)) = (is_observed, &request) {
                    self.observe_late(request, Seen { took_ns, reply_bytes: 0 }, arguments.as_deref());
                }
                return self.watch_begun(watching, transaction.outcomes, request);
            }
        }
        if let (true, Some(request)) = (is_observed, &request) {
            self.observe_late(request, Seen { took_ns, reply_bytes: out.len() }, arguments.as_deref());
        }
        match request {
            Some(request) if waits_for_files => self.answer_flush(request, out),
            Some(request) => self.deliver(request, |place| place.append(&mut out)),
            None => {}
        }
    }

    /// Runs the command on the values, then the last hop; or has both done later.
    fn run_overlay(&mut self, id: u64, transaction: Transaction, request: Option<Request>) {
        let Kind::Overlay(mut hops) = transaction.kind else { return };
        let (mut stopwatch, before_ns, arguments) = (self.stopwatch(), transaction.took_ns, transaction.arguments);
        let (tickets, gathered) = values(transaction.outcomes);
        hops.now = transaction.header.now();
        let asker = request.as_ref().map(|request| request.connection);
        let mut held = Held { hops, id, asker, client: transaction.client, involved: transaction.involved, tickets };
        let mut out = ReplyBuffer::default();
        let asks = held.hops.asks;
        let (mut temporary, unfinished) =
            held.with(self.index, |overlay| overlay.begin(gathered, asks, &self.shard, &mut out));
        match (unfinished, request) {
            (Some(unfinished), Some(request)) => {
                if unfinished.only_reads() && held.writes() {
                    let finishes = held.with(self.index, |overlay| overlay.finish(temporary, &mut self.shard));
                    self.last_hop(&mut held, finishes);
                    return self.overlay_goes_on_later(unfinished, (request, out), (None, arguments));
                }
                if !held.writes() && !asks {
                    // No lock is held while a client is waited for; what it reads is its own.
                    let releases = held.with(self.index, |overlay| overlay.releases());
                    self.last_hop(&mut held, releases);
                }
                self.count_as_long(&mut held.hops.counted);
                let overlay = Box::new(OverlayRun { temporary, held });
                self.overlay_goes_on_later(unfinished, (request, out), (Some(overlay), arguments));
            }
            (unfinished, request) => {
                if let Some(unfinished) = unfinished {
                    unfinished.run_to_end(&mut temporary, &mut out);
                }
                let errors = self.error_count();
                let finishes = held.with(self.index, |overlay| overlay.finish(temporary, &mut self.shard));
                self.note_failure(held.hops.entry, errors);
                self.last_hop(&mut held, finishes);
                if let Some(request) = request {
                    let seen = Seen { took_ns: before_ns + stopwatch.split(), reply_bytes: out.len() };
                    self.observe_late(&request, seen, arguments.as_deref());
                    if held.writes() {
                        self.deliver_when_told(request, out);
                    } else {
                        self.deliver(request, |place| place.append(&mut out));
                    }
                }
            }
        }
    }

    /// A command on the values of several shards has ended after a while.
    pub(super) fn end_overlay(&mut self, overlay: OverlayRun) {
        let OverlayRun { temporary, mut held } = overlay;
        if held.tickets.is_empty() {
            return self.shard.count_for(&temporary);
        }
        let finishes = held.with(self.index, |overlay| overlay.finish(temporary, &mut self.shard));
        self.last_hop(&mut held, finishes);
    }

    /// Sends the last hop: the writes, and the release of every lock. Its events go ahead from here, as the reply follows
    /// at once, unless somebody tracks; nobody sees its keys before they have been written.
    fn last_hop(&mut self, held: &mut Held, mut finishes: Vec<Finish>) {
        for finish in &mut finishes {
            self.shard.keyspace.journal.add(None, std::mem::take(&mut finish.events));
        }
        let parts = held.involved.iter().zip(std::mem::take(&mut held.tickets)).zip(finishes);
        let parts = parts.map(|((&shard, ticket), finish)| (shard, Claim::Place, Work::Write { ticket, finish }));
        let parts: Vec<_> = parts.collect();
        self.multicast(&Multicast::new(), held.id, (held.asker, false), parts);
        self.uncount(&mut held.hops.counted);
    }
}

/// What a command that needs values of several shards asks for.
pub(super) struct ValuesWanted {
    /// All keys.
    pub(super) keys: Vec<KeyRead>,
    /// Which of them each shard has.
    pub(super) groups: BTreeMap<usize, Vec<usize>>,
    /// How further keys are found, if values may name some.
    pub(super) discovery: Option<&'static Discovery>,
}

/// A command whose values have come, until the shards have been told to let go of its keys.
struct Held {
    hops: Box<Hops>,
    id: u64,
    /// Whose command it is.
    asker: Option<ConnectionKey>,
    client: ClientContext,
    involved: SmallVec<[usize; 8]>,
    /// Under which the shards hold its keys; none once they have been told.
    tickets: Vec<Ticket>,
}

impl Held {
    fn writes(&self) -> bool {
        self.hops.keys.iter().any(KeyRead::writes)
    }

    fn with<R>(&self, coordinator: usize, act: impl FnOnce(&Overlay<'_>) -> R) -> R {
        act(&self.hops.overlay(&self.hops.arguments.slices(), self.client, (coordinator, self.id)))
    }
}

/// The same, while it is worked off in slices.
pub(super) struct OverlayRun {
    /// Where its values are.
    pub(super) temporary: Shard,
    held: Held,
}

impl OverlayRun {
    /// Whether it may write.
    pub(super) fn writes(&self) -> bool {
        self.held.writes()
    }

    /// How other shards name it.
    pub(super) fn unit(&self, coordinator: usize) -> (usize, u64) {
        (coordinator, self.held.id)
    }
}

impl Hops {
    fn overlay<'a>(&'a self, arguments: &'a [&'a [u8]], client: ClientContext, unit: (usize, u64)) -> Overlay<'a> {
        let Target::Engine(handler) = self.entry.target else { unreachable!("only the engine's commands have hops") };
        let (keys, parts, now, has_let_go) = (&self.keys, &self.places, self.now, self.asks);
        Overlay { handler, arguments, client, keys, parts, unit, now, has_let_go }
    }
}

/// The tickets of the parts that read, and what they have read.
fn values(outcomes: Vec<Outcome>) -> (Vec<Ticket>, Vec<Gathered>) {
    let values = outcomes.into_iter().filter_map(|outcome| match outcome {
        Outcome::Values { ticket, gathered } => Some((ticket, gathered)),
        _ => None,
    });
    values.unzip()
}

/// One reply out of the parts' replies. An error of any part is the reply.
pub(super) fn merge(spread: Spread, replies: Vec<ReplyBuffer>, places: &[Vec<usize>], reply: &mut Reply<'_>) {
    if let Some(error) = replies.iter().find(|part| part.bytes.first() == Some(&b'-')) {
        reply.buffer().bytes.extend_from_slice(&error.bytes);
        return;
    }
    match spread {
        Spread::Sum | Spread::AllShardsSum => {
            reply.integer(replies.iter().filter_map(|part| header_number(&part.bytes)).sum());
        }
        Spread::Gather => gather(replies, places, reply),
        Spread::AllShardsConcat => {
            let count: i64 = replies.iter().filter_map(|part| header_number(&part.bytes)).sum();
            reply.array(count as usize);
            for mut part in replies {
                cut_header(&mut part);
                reply.buffer().append(&mut part);
            }
        }
        Spread::AllShardsDigest => torc_engine::digest::merge(&replies, reply),
        _ => reply.ok(),
    }
}

/// The number in the first line: of an integer, or of an array's header.
fn header_number(bytes: &[u8]) -> Option<i64> {
    let end = memchr::memchr(b'\r', bytes)?;
    torc_engine::command::parse_integer(bytes.get(1..end)?)
}

/// Takes the array header off an encoded array.
fn cut_header(part: &mut ReplyBuffer) {
    let Some(end) = memchr::memchr(b'\n', &part.bytes) else { return };
    part.bytes.drain(..=end);
    part.shared.iter_mut().for_each(|(position, _)| *position -= end + 1);
}

/// Puts the elements of the parts' arrays back to the places of their keys.
fn gather(replies: Vec<ReplyBuffer>, places: &[Vec<usize>], reply: &mut Reply<'_>) {
    let count = places.iter().map(Vec::len).sum();
    let mut elements: Vec<(usize, Element)> = Vec::with_capacity(count);
    for (part, (buffer, places)) in replies.iter().zip(places).enumerate() {
        let starts = memchr::memchr(b'\n', &buffer.bytes).map_or(0, |end| end + 1);
        let mut cursor = Element { part, from: starts, to: starts, shared: 0..0 };
        for &place in places {
            cursor = next_element(buffer, &cursor);
            elements.push((place, cursor.clone()));
        }
    }
    elements.sort_unstable_by_key(|(place, _)| *place);
    reply.array(count);
    for (_, element) in elements {
        let source = &replies[element.part];
        let out = reply.buffer();
        let base = out.bytes.len();
        out.bytes.extend_from_slice(&source.bytes[element.from..element.to]);
        let shared = &source.shared[element.shared];
        out.shared.extend(shared.iter().map(|(at, value)| (base + at - element.from, value.clone())));
    }
}

/// A bulk string or null inside a part's reply.
#[derive(Clone, Debug)]
struct Element {
    part: usize,
    from: usize,
    to: usize,
    shared: std::ops::Range<usize>,
}

fn next_element(buffer: &ReplyBuffer, before: &Element) -> Element {
    let from = before.to;
    let bytes = &buffer.bytes[from..];
    let line = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
    let length = if bytes.first() == Some(&b'$') { header_number(bytes).unwrap_or(-1) } else { -1 };
    let first_shared = before.shared.end;
    let spliced = buffer.shared.get(first_shared).is_some_and(|(at, _)| *at == from + line) && length >= 0;
    let body = match (length, spliced) {
        (..0, _) => 0,
        (_, true) => 2,
        (length, false) => length as usize + 2,
    };
    let shared = first_shared..first_shared + usize::from(spliced);
    Element { part: before.part, from, to: (from + line + body).min(buffer.bytes.len()), shared }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use torc_engine::reply::{Protocol, SHARE_BYTES_MIN};

    fn encoded(body: impl FnOnce(&mut Reply<'_>)) -> ReplyBuffer {
        let mut buffer = ReplyBuffer::default();
        body(&mut Reply::new(&mut buffer, Protocol::Resp2));
        buffer
    }

    #[test]
    fn gathered_elements_go_back_to_their_places_shared_ones_too() {
        let large = Bytes::from(vec![b'x'; SHARE_BYTES_MIN]);
        let first = encoded(|reply| {
            reply.array(2);
            reply.bulk_shared(large.clone());
            reply.bulk(b"c");
        });
        let second = encoded(|reply| {
            reply.array(2);
            reply.null();
            reply.bulk_shared(large.clone());
        });
        let merged = encoded(|reply| gather(vec![first, second], &[vec![0, 2], vec![1, 3]], reply));
        let expected = encoded(|reply| {
            reply.array(4);
            reply.bulk(&large);
            reply.null();
            reply.bulk(b"c");
            reply.bulk(&large);
        });
        assert_eq!(merged.flatten(), expected.flatten());
    }

    #[test]
    fn sums_concatenations_and_errors() {
        let numbers = vec![encoded(|reply| reply.integer(2)), encoded(|reply| reply.integer(40))];
        assert_eq!(encoded(|reply| merge(Spread::Sum, numbers, &[], reply)).flatten(), b":42\r\n");
        let arrays = vec![
            encoded(|reply| {
                reply.array(1);
                reply.bulk(b"a");
            }),
            encoded(|reply| reply.array(0)),
        ];
        let merged = encoded(|reply| merge(Spread::AllShardsConcat, arrays, &[], reply));
        assert_eq!(merged.flatten(), b"*1\r\n$1\r\na\r\n");
        let failed = vec![encoded(|reply| reply.ok()), encoded(|reply| reply.error("ERR no"))];
        assert_eq!(encoded(|reply| merge(Spread::AllShardsOk, failed, &[], reply)).flatten(), b"-ERR no\r\n");
    }
}
