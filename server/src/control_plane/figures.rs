//! Figures of the shards for another thread: asked for through their inboxes, and never waited for long.
//!
//! ```text
//!   gather ── nothing under way to this shard? ──> Assignment into its inbox, wake
//!     │            shard, in its next turn: figures into the place
//!     └─ looks every millisecond, until all have answered or PATIENCE is over ──> answers; who has not: its last, stale
//! ```
//! An assignment runs when the inbox is drained, whatever locks are held: a shard that a script has, but that turns, answers.

use crate::control::ShardFigures;
use crate::insight::hot_keys::Costliest;
use crate::mailbox::Message;
use crate::reactor::driver::Waker;
use crate::shared::Shared;
use crate::tasks::Assignment;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use torc_engine::transaction::inbox::Node;

/// How long an answer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);
const LOOKS_EVERY: Duration = Duration::from_millis(1);
/// Keys that a shard tells of, and that are shown of all of them.
pub(super) const HOT_KEYS: usize = 16;

/// What a shard tells: its figures, and its costliest keys where HOTKEYS counts them.
type Answer = (ShardFigures, Option<Costliest>);

/// Where a shard leaves it.
#[derive(Debug, Default)]
struct Place {
    /// A question is under way, so that there is never a second one.
    is_asked: AtomicBool,
    answer: Mutex<Option<Box<Answer>>>,
}

/// What is known of one shard.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) figures: ShardFigures,
    /// Its costliest keys, where HOTKEYS counts them.
    pub(super) hot_keys: Option<Costliest>,
    /// When that was; none: it has never answered.
    pub(super) at: Option<Instant>,
    /// It has not answered this time.
    pub(super) is_stale: bool,
}

/// Asks, and remembers what was answered.
pub(super) struct Figures {
    shared: Arc<Shared>,
    wakers: Rc<[Box<dyn Waker>]>,
    places: Vec<Arc<Place>>,
    known: RefCell<Vec<Known>>,
}

impl Figures {
    /// Nothing is known yet.
    pub(super) fn new(shared: Arc<Shared>, wakers: Rc<[Box<dyn Waker>]>) -> Self {
        let unknown = |shard| Known {
            figures: ShardFigures { shard, ..ShardFigures::default() },
            hot_keys: None,
            at: None,
            is_stale: true,
        };
        let known = RefCell::new((0..shared.shards()).map(unknown).collect());
        let places = (0..shared.shards()).map(|_| Arc::default()).collect();
        Self { shared, wakers, places, known }
    }

    /// The figures of all shards, each as of now where it answers soon.
    pub(super) async fn gather(&self) -> Vec<Known> {
        let began = Instant::now();
        (0..self.places.len()).for_each(|shard| self.ask(shard));
        while !self.take_answers(began) && began.elapsed() < PATIENCE {
            glommio::timer::sleep(LOOKS_EVERY).await;
        }
        self.known.borrow().clone()
    }

    fn ask(&self, shard: usize) {
        let place = self.places[shard].clone();
        if place.is_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let act = Assignment(Box::new(move |core| {
            let answer = Box::new((core.detailed_figures(), core.costliest_keys(HOT_KEYS)));
            *place.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            place.is_asked.store(false, Ordering::Release);
        }));
        self.shared.mailboxes.push_home(shard, Node::new(Message::Assignment(act)));
        self.wakers[shard].wake();
    }

    /// Whether everybody has answered since `began`; another visitor may have taken the answer.
    fn take_answers(&self, began: Instant) -> bool {
        let mut known = self.known.borrow_mut();
        for (known, place) in known.iter_mut().zip(&self.places) {
            if let Some(answer) = place.answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let (figures, hot_keys) = *answer;
                *known = Known { figures, hot_keys, at: Some(Instant::now()), is_stale: false };
            }
            known.is_stale = known.at.is_none_or(|at| at < began);
        }
        known.iter().all(|known| !known.is_stale)
    }
}
