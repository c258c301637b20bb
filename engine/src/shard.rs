//! One shard's state and the room in which commands run.

use crate::command::{CommandError, Companion, EngineOptions, Execution, Handler, Milliseconds};
use crate::error_counts::ErrorCounts;
use crate::keyspace::{Key, KeyHasher, Keyspace};
use crate::long::{Later, Unfinished};
use crate::reply::{Protocol, Reply, ReplyBuffer};

/// What of the client matters to a command.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientContext {
    /// The selected database.
    pub database: u32,
    /// The protocol to encode for.
    pub protocol: Protocol,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// What the command reads is remembered, for CLIENT TRACKING.
    pub tracks: bool,
    /// A script has called the command: what it answers has an order of its own.
    pub in_script: bool,
}

/// A shard: its slice of the keyspace, and what its commands look at.
pub struct Shard {
    /// The slice of all databases.
    pub keyspace: Keyspace,
    /// Options, changed only by a multicast to all shards.
    pub options: EngineOptions,
    /// Where SCAN goes on when this shard is walked to its end: the next shard's first position, 0 for the last shard.
    pub next_shard_cursor: u64,
    /// What the process keeps beside it for handlers of its own.
    pub companion: Option<Companion>,
    random: fastrand::Rng,
    now: Milliseconds,
    errors: ErrorCounts,
    /// As they were when the unit began that may be undone.
    errors_before: Option<ErrorCounts>,
}

impl Shard {
    /// An empty shard.
    pub fn new(databases: usize, hasher: KeyHasher, options: EngineOptions, seed: u64) -> Self {
        let mut keyspace = Keyspace::new(databases, hasher);
        keyspace.access_policy = options.access_policy;
        Self {
            keyspace,
            options,
            next_shard_cursor: 0,
            companion: None,
            random: fastrand::Rng::with_seed(seed),
            now: 0,
            errors: ErrorCounts::default(),
            errors_before: None,
        }
    }

    /// Puts options in force.
    pub fn set_options(&mut self, options: EngineOptions) {
        self.keyspace.access_policy = options.access_policy;
        self.options = options;
    }

    /// The shard's time: the latest at which anything ran. It never goes back.
    pub fn now(&self) -> Milliseconds {
        self.now
    }

    /// Moves the shard's time forward; an earlier time is ignored.
    pub fn advance_time(&mut self, now: Milliseconds) {
        self.now = self.now.max(now);
    }

    /// An empty shard's history begins once more: its time stands at 0. Only where nothing else runs.
    pub fn rewind(&mut self) {
        self.now = 0;
    }

    /// How many commands answered with an error, by kind.
    pub fn errors(&self) -> &ErrorCounts {
        &self.errors
    }

    /// Forgets the counts of errors.
    pub fn reset_errors(&mut self) {
        self.errors = ErrorCounts::default();
    }

    /// From now on what is done can be undone, until [`Shard::keep_changes`] or [`Shard::undo_changes`].
    pub fn begin_undoable(&mut self) {
        self.errors_before = Some(self.errors.clone());
        self.keyspace.begin_undoable();
    }

    /// What has been done stays, and is told.
    pub fn keep_changes(&mut self) {
        self.errors_before = None;
        self.keyspace.keep_changes();
    }

    /// Nothing of it has been.
    pub fn undo_changes(&mut self, now: Milliseconds) {
        if let Some(errors) = self.errors_before.take() {
            self.errors = errors;
        }
        self.keyspace.undo_changes(now);
    }

    /// Counts what a command did for this shard's clients on a temporary one.
    pub fn count_for(&mut self, temporary: &Self) {
        self.errors.add(&temporary.errors);
        self.keyspace.statistics.hits += temporary.keyspace.statistics.hits;
        self.keyspace.statistics.misses += temporary.keyspace.statistics.misses;
    }

    /// The shard's random numbers.
    pub fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.random
    }

    /// As [`Shard::begin`], with one of the arguments hashed already.
    #[inline]
    pub fn begin_hashed(
        &mut self,
        handler: Handler,
        arguments: &[&[u8]],
        key: &Key<'_>,
        client: ClientContext,
        now: Milliseconds,
        out: &mut ReplyBuffer,
    ) -> Option<Unfinished> {
        self.keyspace.set_known(Some(key));
        let unfinished = self.begin(handler, arguments, client, now, out);
        self.keyspace.set_known(None);
        unfinished
    }

    /// Runs one command to completion at `now`; exactly one reply is appended to `out`.
    pub fn execute(
        &mut self,
        handler: Handler,
        arguments: &[&[u8]],
        client: ClientContext,
        now: Milliseconds,
        out: &mut ReplyBuffer,
    ) {
        if let Some(unfinished) = self.begin(handler, arguments, client, now, out) {
            unfinished.run_to_end(self, out);
        }
    }

    /// Runs one command at `now`: a reply is appended to `out`, or the beginning of one, with what is left to do.
    #[inline]
    pub fn begin(
        &mut self,
        handler: Handler,
        arguments: &[&[u8]],
        client: ClientContext,
        now: Milliseconds,
        out: &mut ReplyBuffer,
    ) -> Option<Unfinished> {
        let mut execution = self.execution(client, now, out);
        match handler(&mut execution, arguments) {
            Ok(()) => {
                let work = execution.later.take()?;
                Some(Unfinished::new(work, client, now))
            }
            Err(CommandError(text)) => {
                self.errors.count(&text);
                Reply::new(out, client.protocol).error_bytes(&text);
                None
            }
        }
    }

    /// Counts an error that a command has answered with.
    pub(crate) fn count_error(&mut self, text: &[u8]) {
        self.errors.count(text);
    }

    /// What a command, or a step of one, works with.
    #[inline]
    pub(crate) fn execution<'a>(
        &'a mut self,
        client: ClientContext,
        now: Milliseconds,
        out: &'a mut ReplyBuffer,
    ) -> Execution<'a> {
        Execution {
            keyspace: &mut self.keyspace,
            reply: Reply::new(out, client.protocol),
            database: client.database as usize,
            now,
            random: &mut self.random,
            options: &self.options,
            no_touch: client.no_touch,
            next_shard_cursor: self.next_shard_cursor,
            later: Later::default(),
            companion: self.companion.as_ref(),
            in_script: client.in_script,
        }
    }
}
