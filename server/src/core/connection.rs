//! A client's connection: its session, the bytes it has not finished sending, and its replies in order.
//!
//! ```text
//!   ready ───────────────> socket        waiting: [ reply? ][ reply? ] ...
//!   encoded, in order                              │ n       │ n + 1
//!                                        later:  ▒▒└─ after ─┴─ after ──┘   one buffer; ▒ is taken
//! ```
//! A command that runs elsewhere leaves a place in `waiting`; what runs here meanwhile is encoded into `later`, where each
//! place knows its beginning. When the first place is filled, everything up to the next unfilled place becomes ready. With
//! nothing waiting (the common case) replies are encoded straight into `ready`.
//!
//! A long reply grows: what there is of the first place's goes to `ready` at once, that of others is kept in their places.

use super::client_memory::Counted;
use super::encrypted::Transport;
use super::multi::Transaction;
use super::pubsub::Interests;
use super::query_buffer::QueryBuffer;
use super::tracking::Tracking;
use crate::access::Access;
use crate::connection::parser::Parser;
use crate::mailbox::{Request, Sequence};
use crate::reactor::driver::{DetachedSocket, Ends, Segment, Socket};
use smallvec::SmallVec;
use std::collections::VecDeque;
use torc_engine::reply::{Protocol, ReplyBuffer};
use torc_engine::shard::ClientContext;

/// Names a connection of one shard; the generation tells its slot's users apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// Slot.
    pub index: u32,
    /// Which user of that slot.
    pub generation: u32,
}

/// A position in a reply buffer: in its bytes and in its list of shared values.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    bytes: usize,
    shared: usize,
}

impl Mark {
    fn end_of(buffer: &ReplyBuffer) -> Self {
        Self { bytes: buffer.bytes.len(), shared: buffer.shared.len() }
    }
}

/// A place among the replies. There is one for each command that is awaited, so it is kept small.
#[derive(Debug)]
struct Waiting {
    /// Where in `later` that begins which comes after the reply.
    after: Mark,
    /// What has come of the reply while others are awaited before it.
    early: Option<Box<Early>>,
    /// CLIENT REPLY OFF or SKIP: the reply is awaited but not sent.
    discard: bool,
}

/// A reply, or its beginning, that came before its turn.
#[derive(Debug, Default)]
struct Early {
    reply: ReplyBuffer,
    is_complete: bool,
}

/// Replies in order.
#[derive(Debug, Default)]
pub struct Output {
    /// Encoded and in order: may be sent.
    pub ready: ReplyBuffer,
    waiting: VecDeque<Waiting>,
    first_sequence: Sequence,
    /// Encoded, and behind places that wait.
    later: ReplyBuffer,
    /// Up to where `later` has been moved to `ready`.
    taken: Mark,
}

/// What is taken of `later` is given up when it has grown to this, in bytes, and so much room is kept while empty.
const LATER_KEPT_BYTES: usize = 16 * 1024;

impl Output {
    /// Where the reply of a command that runs here is encoded.
    #[inline]
    pub fn tail(&mut self) -> &mut ReplyBuffer {
        if self.waiting.is_empty() { &mut self.ready } else { &mut self.later }
    }

    /// Leaves a place for a reply that comes later; returns its sequence number.
    pub fn expect(&mut self, discard: bool) -> Sequence {
        let sequence = self.first_sequence.wrapping_add(self.waiting.len() as Sequence);
        let after = Mark::end_of(&self.later);
        self.waiting.push_back(Waiting { after, early: None, discard });
        sequence
    }

    #[inline]
    fn place_index(&self, sequence: Sequence) -> Option<usize> {
        let index = sequence.wrapping_sub(self.first_sequence) as usize;
        (index < self.waiting.len()).then_some(index)
    }

    /// Appends a piece of a reply that is not complete.
    pub fn grow<R>(&mut self, sequence: Sequence, fill: impl FnOnce(&mut ReplyBuffer) -> R) -> R {
        let Some(index) = self.place_index(sequence) else { return fill(&mut ReplyBuffer::default()) };
        let place = &mut self.waiting[index];
        match (index, place.discard) {
            (_, true) => fill(&mut ReplyBuffer::default()),
            (0, false) => fill(&mut self.ready),
            (_, false) => fill(&mut place.early.get_or_insert_default().reply),
        }
    }

    /// Bytes of a growing reply, and of what is in front of it, that have not been handed to the socket; none where
    /// replies in front of it are awaited.
    pub fn backlog_bytes(&self, sequence: Sequence) -> Option<usize> {
        (sequence == self.first_sequence).then(|| self.ready.len())
    }

    /// How many replies are awaited.
    #[inline]
    pub fn outstanding(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes encoded and not yet handed to the socket, places behind unfilled ones included.
    pub fn len(&self) -> usize {
        let early = self.waiting.iter().filter_map(|place| place.early.as_ref());
        self.ready.len() + self.later.len() - self.taken.bytes + early.map(|early| early.reply.len()).sum::<usize>()
    }

    /// Whether nothing is encoded or awaited.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.waiting.is_empty()
    }

    /// Fills the place `sequence` with what `fill` appends.
    pub fn deliver(&mut self, sequence: Sequence, fill: impl FnOnce(&mut ReplyBuffer)) {
        let Some(index) = self.place_index(sequence) else { return };
        let mut discarded = ReplyBuffer::default();
        if index > 0 {
            let place = &mut self.waiting[index];
            let early = place.early.get_or_insert_default();
            fill(if place.discard { &mut discarded } else { &mut early.reply });
            early.is_complete = true;
            return;
        }
        let Some(place) = self.waiting.pop_front() else { return };
        fill(if place.discard { &mut discarded } else { &mut self.ready });
        self.take_later();
        while let Some(first) = self.waiting.front_mut()
            && let Some(mut early) = first.early.take()
        {
            if !first.discard {
                self.ready.append(&mut early.reply);
            }
            // A beginning goes ahead; its place stays the first.
            if !early.is_complete {
                break;
            }
            self.waiting.pop_front();
            self.take_later();
        }
    }

    /// What is encoded behind the last place goes ahead of it: nobody knows when its reply will come.
    pub fn let_pass(&mut self) {
        let Some(last) = self.waiting.back_mut() else { return };
        last.after = Mark::end_of(&self.later);
        if self.waiting.len() == 1 {
            self.take_later_up_to(Mark::end_of(&self.later));
            self.later.clear();
            self.taken = Mark::default();
            self.waiting[0].after = Mark::default();
        }
    }

    /// After the first place has gone: what follows it, up to the next place, is ready.
    fn take_later(&mut self) {
        self.first_sequence = self.first_sequence.wrapping_add(1);
        let next = self.waiting.front().map(|place| place.after);
        let end = next.unwrap_or_else(|| Mark::end_of(&self.later));
        self.take_later_up_to(end);
        if next.is_none() {
            self.later.clear();
            self.later.bytes.shrink_to(LATER_KEPT_BYTES);
            self.taken = Mark::default();
        } else if end.bytes > LATER_KEPT_BYTES {
            self.forget_taken();
        }
    }

    /// What is in `later` from where it has been taken to here is ready.
    fn take_later_up_to(&mut self, end: Mark) {
        let from = std::mem::replace(&mut self.taken, end);
        let (base, later) = (self.ready.bytes.len(), &mut self.later);
        self.ready.bytes.extend_from_slice(&later.bytes[from.bytes..end.bytes]);
        if from.shared < end.shared {
            let shared = later.shared[from.shared..end.shared].iter_mut();
            self.ready.shared.extend(shared.map(|(at, value)| (base + *at - from.bytes, std::mem::take(value))));
        }
    }

    /// Moves what is left of `later` to its front.
    fn forget_taken(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.later.bytes.drain(..taken.bytes);
        self.later.shared.drain(..taken.shared);
        for (at, _) in &mut self.later.shared {
            *at -= taken.bytes;
        }
        for place in &mut self.waiting {
            place.after = Mark { bytes: place.after.bytes - taken.bytes, shared: place.after.shared - taken.shared };
        }
    }

    /// Gives back what an idle client does not need.
    pub fn trim(&mut self) {
        if self.waiting.is_empty() {
            self.later = ReplyBuffer::default();
        }
        if self.ready.is_empty() {
            self.ready = ReplyBuffer::default();
        }
    }

    /// Gives back all that has not been handed to the socket: nobody will read it.
    pub fn give_up(&mut self) {
        self.ready = ReplyBuffer::default();
        self.waiting.iter_mut().for_each(|place| place.discard = true);
        for early in self.waiting.iter_mut().filter_map(|place| place.early.as_deref_mut()) {
            early.reply = ReplyBuffer::default();
        }
    }

    /// Takes what is ready, cut into the segments to be sent.
    pub fn take_segments(&mut self, spare: Vec<u8>) -> Vec<Segment> {
        let bytes = std::mem::replace(&mut self.ready.bytes, spare);
        if self.ready.shared.is_empty() {
            return vec![Segment::Owned(bytes)];
        }
        let mut segments = Vec::with_capacity(self.ready.shared.len() * 2 + 1);
        let mut from = 0;
        for (position, value) in self.ready.shared.drain(..) {
            if position > from {
                segments.push(Segment::Owned(bytes[from..position].to_vec()));
            }
            segments.push(Segment::Shared(value));
            from = position;
        }
        if from < bytes.len() {
            segments.push(Segment::Owned(bytes[from..].to_vec()));
        }
        segments
    }
}

/// How a connection's life goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In use.
    Open,
    /// No more commands are read; it closes when its replies are out.
    Closing,
    /// It closes at once.
    Dead,
    /// It goes to this shard as soon as nothing of it is under way.
    Moving(usize),
}

/// The state of its receive stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// No stream.
    Off,
    /// Bytes come by themselves.
    On,
    /// Cancelled; the end has not come.
    Stopping,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// Replies are sent.
    #[default]
    On,
    /// None are sent.
    Off,
    /// The next command's is not (set by CLIENT REPLY SKIP itself).
    SkipNext,
    /// This command's is not.
    SkipThis,
}

/// What a client has told us about itself and its wishes; moves with the connection.
#[derive(Clone, Debug)]
pub struct SessionState {
    /// Selected database, protocol, NO-TOUCH.
    pub client: ClientContext,
    /// Its user.
    pub access: Access,
    /// CLIENT SETNAME.
    pub name: Box<[u8]>,
    /// CLIENT SETINFO.
    pub library_name: Box<[u8]>,
    /// CLIENT SETINFO.
    pub library_version: Box<[u8]>,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// CLIENT NO-EVICT.
    pub no_evict: bool,
    /// CLIENT IMPORT-SOURCE.
    pub import_source: bool,
    /// CLIENT CAPA redirect.
    pub redirect_capable: bool,
}

impl SessionState {
    /// Of a client that has said nothing yet.
    pub fn new(access: Access) -> Self {
        Self {
            client: ClientContext::default(),
            access,
            name: Box::default(),
            library_name: Box::default(),
            library_version: Box::default(),
            reply_mode: ReplyMode::default(),
            no_evict: false,
            import_source: false,
            redirect_capable: false,
        }
    }
}

/// Figures of a connection; move with it.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFigures {
    /// When it was accepted, monotonic nanoseconds.
    pub created_ns: u64,
    /// When it last sent something, monotonic nanoseconds.
    pub active_ns: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Commands run.
    pub commands: u64,
    /// The last command.
    pub last_command: Option<&'static crate::command_table::CommandEntry>,
}

/// How often a connection's commands went to each shard since the last look.
#[derive(Clone, Debug, Default)]
pub struct Affinity {
    counts: SmallVec<[u16; 4]>,
    total: u16,
}

impl Affinity {
    /// Counts a command that went to `shard`. Returns the shard that the connection should live on, if most of a window's
    /// commands went to another than `home`: at least three quarters, so that an even spread stays put.
    #[inline]
    pub fn count(&mut self, shard: usize, home: usize, shards: usize, window_commands: u16) -> Option<usize> {
        if self.counts.len() < shards {
            self.counts.resize(shards, 0);
        }
        self.counts[shard] += 1;
        self.total += 1;
        if self.total < window_commands {
            return None;
        }
        let best = (0..shards).max_by_key(|&shard| self.counts[shard]).unwrap_or(home);
        let mostly = self.counts[best] as u32 * 4 >= self.total as u32 * 3;
        self.total = 0;
        self.counts.iter_mut().for_each(|count| *count = 0);
        (mostly && best != home).then_some(best)
    }
}

/// Names a command that a shard works off in slices.
pub type RunId = u64;

/// A long reply from another shard, of which no more comes before it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// The shard.
    pub owner: usize,
    /// Its name there.
    pub run: RunId,
    /// Its place among the replies.
    pub sequence: Sequence,
}

/// A connection.
pub struct Connection {
    /// CLIENT ID, rising over all shards.
    pub id: u64,
    /// Its place here.
    pub key: ConnectionKey,
    /// Its socket; none while it is between two shards, on either.
    pub socket: Option<Socket>,
    /// Both ends.
    pub ends: Ends,
    /// What stands between the socket and the commands.
    pub transport: Transport,
    /// What the client told us.
    pub session: SessionState,
    /// Figures.
    pub figures: ConnectionFigures,
    /// Progress in an unfinished frame.
    pub parser: Parser,
    /// Bytes received and not yet consumed; they begin with a frame.
    pub query_buffer: QueryBuffer,
    /// MULTI and WATCH.
    pub transaction: Transaction,
    /// The wait that it is in for a key.
    pub blocked_on: Option<u64>,
    /// All owners of the key know that it waits, and it has not been served: what it is told unasked goes ahead of the
    /// reply.
    pub lets_pass: bool,
    /// Nothing more of its input is run before a reply that it waits for has come.
    pub is_waiting: bool,
    /// Replies.
    pub output: Output,
    /// Awaited replies of commands that run, or wait, on this very shard.
    pub outstanding_here: u32,
    /// Awaited replies of commands that run elsewhere.
    pub outstanding_elsewhere: u32,
    /// Shards with an open batch that holds a command of this connection.
    pub open_batches: u128,
    /// The turn that the set belongs to; at its end all batches are pushed.
    pub open_batches_turn: u64,
    /// What it listens to; then it does not move.
    pub interests: Option<Box<Interests>>,
    /// Where its commands go.
    pub affinity: Affinity,
    /// It has sent something that may write, while replies wait for the disk: not all of it has been answered since.
    pub has_written: bool,
    /// Life.
    pub phase: Phase,
    /// The receive stream.
    pub receiving: Receiving,
    /// Whether a send is under way, and its bytes.
    pub sending_bytes: usize,
    /// Whether a send is under way.
    pub is_sending: bool,
    /// Reading is paused: too much unsent, no credit, a long command under way, or others are to have their turn.
    pub paused: bool,
    /// Others are to have their turn: it goes on in the next one.
    pub is_next_turn: bool,
    /// Bytes of commands that it has run in this turn.
    pub turn_bytes: usize,
    /// No more of its commands run before all are answered that it has sent.
    pub waits_for_answers: bool,
    /// Its commands that are worked off in slices, on this shard.
    pub runs: SmallVec<[RunId; 1]>,
    /// Commands that other shards work off for it in slices, and that wait for room here.
    pub streams: SmallVec<[Stream; 1]>,
    /// The client has sent its last byte; it closes when what it sent is answered.
    pub at_end: bool,
    /// Until when replies are held back for those that are on their way from other shards, monotonic nanoseconds.
    pub hold_until_ns: Option<u64>,
    /// Whether it is in the list of those.
    pub is_held: bool,
    /// Since when its next command, which is one on every shard, waits for units of several hops, monotonic nanoseconds.
    pub waits_for_units_since_ns: Option<u64>,
    /// Whether it is in the list of connections to settle.
    pub is_dirty: bool,
    /// Since when its output is over the soft limit, monotonic nanoseconds.
    pub soft_limit_since_ns: Option<u64>,
    /// What of it is in the sum of clients' memory.
    pub counted: Counted,
}

impl Connection {
    /// Awaited replies.
    #[inline]
    pub fn outstanding(&self) -> u32 {
        self.outstanding_here + self.outstanding_elsewhere
    }

    /// Ends a pause.
    pub(super) fn go_on(&mut self) {
        (self.paused, self.is_next_turn, self.turn_bytes) = (false, false, 0);
    }

    /// Hands a reply to its place.
    pub fn deliver(&mut self, request: &Request, fill: impl FnOnce(&mut ReplyBuffer)) {
        self.output.deliver(request.sequence, fill);
        if request.here {
            self.outstanding_here -= 1;
        } else {
            self.outstanding_elsewhere -= 1;
        }
    }

    /// Whether it has subscribed to anything.
    pub fn is_subscriber(&self) -> bool {
        self.interests.as_ref().is_some_and(|interests| interests.is_subscriber())
    }

    /// Whether it watches all commands.
    pub fn is_monitor(&self) -> bool {
        self.interests.as_ref().is_some_and(|interests| interests.is_monitor)
    }

    /// Whether most of what it is sent is not asked for: then the limit of subscribers bounds what waits for it.
    pub fn is_listener(&self) -> bool {
        self.is_subscriber() || self.is_monitor()
    }

    /// Whether it may only change what it listens to: RESP2 has no way to tell messages from replies.
    pub fn only_listens(&self) -> bool {
        self.is_subscriber() && self.protocol() == Protocol::Resp2
    }

    /// CLIENT TRACKING, if it is on.
    pub fn tracking(&self) -> Option<&Tracking> {
        self.interests.as_ref()?.tracking.as_deref()
    }

    /// CLIENT TRACKING, if it is on.
    pub fn tracking_mut(&mut self) -> Option<&mut Tracking> {
        self.interests.as_mut()?.tracking.as_deref_mut()
    }

    /// Whether it has been sent to another shard, and is still known here until that shard has it.
    pub fn has_left(&self) -> bool {
        self.socket.is_none() && matches!(self.phase, Phase::Moving(_))
    }

    /// Gives up the place of interests that are none any more.
    pub(super) fn forget_interests(&mut self) {
        if self.interests.as_ref().is_some_and(|interests| interests.is_empty()) {
            self.interests = None;
        }
    }

    /// Bytes of replies in memory.
    pub fn output_bytes(&self) -> usize {
        self.output.len() + self.sending_bytes
    }

    /// The protocol it speaks.
    pub fn protocol(&self) -> Protocol {
        self.session.client.protocol
    }
}

/// A connection on its way to another shard: nothing of it is under way.
#[derive(Debug)]
pub struct MovedConnection {
    /// The socket.
    pub socket: DetachedSocket,
    /// CLIENT ID.
    pub id: u64,
    /// Both ends.
    pub ends: Ends,
    /// What stands between the socket and the commands.
    pub transport: Transport,
    /// The session.
    pub session: SessionState,
    /// The figures.
    pub figures: ConnectionFigures,
    /// Bytes received and not yet run.
    pub query_buffer: QueryBuffer,
    /// MULTI and WATCH.
    pub transaction: Transaction,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(buffer: &ReplyBuffer) -> String {
        String::from_utf8(buffer.flatten()).expect("ascii")
    }

    fn append(letters: &str) -> impl FnOnce(&mut ReplyBuffer) {
        move |buffer| buffer.bytes.extend_from_slice(letters.as_bytes())
    }

    #[test]
    fn replies_leave_in_order_however_they_arrive() {
        let mut output = Output::default();
        append("a")(output.tail());
        let first = output.expect(false);
        append("c")(output.tail());
        let second = output.expect(false);
        append("e")(output.tail());
        let third = output.expect(true);
        append("g")(output.tail());
        output.deliver(second, append("d"));
        assert_eq!(text(&output.ready), "a");
        output.deliver(first, append("b"));
        assert_eq!(text(&output.ready), "abcde");
        assert_eq!(output.outstanding(), 1);
        output.deliver(third, append("discarded"));
        assert_eq!(text(&output.ready), "abcdeg");
        append("h")(output.tail());
        assert_eq!(text(&output.ready), "abcdegh");
    }

    #[test]
    fn a_reply_that_grows_leaves_at_once_when_it_is_the_first_and_waits_for_its_turn_otherwise() {
        let mut output = Output::default();
        let (first, second, third) = (output.expect(false), output.expect(false), output.expect(true));
        append("z")(output.tail());
        output.grow(second, append("c"));
        output.grow(first, append("a"));
        output.grow(third, append("discarded"));
        assert_eq!((text(&output.ready), output.len()), ("a".to_owned(), 3));
        assert_eq!((output.backlog_bytes(first), output.backlog_bytes(second)), (Some(1), None));
        output.deliver(first, append("b"));
        assert_eq!(text(&output.ready), "abc");
        output.grow(second, append("d"));
        output.deliver(third, append("discarded"));
        output.deliver(second, append("e"));
        assert_eq!(text(&output.ready), "abcdez");
        output.grow(second, append("too late"));
        assert_eq!(text(&output.ready), "abcdez");
    }

    #[test]
    fn what_passes_the_last_place_stays_behind_those_in_front_of_it() {
        let mut output = Output::default();
        let (first, last) = (output.expect(false), output.expect(false));
        append("b")(output.tail());
        output.let_pass();
        append("c")(output.tail());
        output.let_pass();
        assert_eq!(text(&output.ready), "");
        output.deliver(first, append("a"));
        assert_eq!(text(&output.ready), "abc");
        append("d")(output.tail());
        output.let_pass();
        assert_eq!(text(&output.ready), "abcd");
        append("f")(output.tail());
        output.deliver(last, append("e"));
        assert_eq!((text(&output.ready), output.len()), ("abcdef".to_owned(), 6));
        output.let_pass();
        append("g")(output.tail());
        assert_eq!(text(&output.ready), "abcdefg");
    }

    #[test]
    fn a_stream_that_always_waits_for_something_keeps_its_order_in_bounded_memory() {
        let mut output = Output::default();
        let piece = "x".repeat(1000);
        let mut expected = String::new();
        let mut last = output.expect(false);
        for _ in 0..100 {
            append(&piece)(output.tail());
            let at = output.tail().bytes.len();
            output.tail().shared.push((at, bytes::Bytes::from_static(b"shared")));
            let next = output.expect(false);
            output.deliver(last, append("."));
            expected = expected + "." + &piece + "shared";
            last = next;
            assert!(output.later.bytes.capacity() < 4 * LATER_KEPT_BYTES);
        }
        assert_eq!(text(&output.ready), expected);
        output.deliver(last, append("!"));
        assert_eq!(text(&output.ready), expected + "!");
        assert_eq!((output.later.len(), output.taken.bytes), (0, 0));
    }

    #[test]
    fn a_connection_moves_only_when_most_of_its_commands_go_elsewhere() {
        let mut affinity = Affinity::default();
        let mut count = |shard: usize, home: usize| affinity.count(shard, home, 2, 100);
        assert!((0..100).all(|n| count(n % 2, 0).is_none()));
        assert_eq!((0..100).find_map(|_| count(1, 0)), Some(1));
        assert!((0..100).all(|_| count(1, 1).is_none()));
    }
}
