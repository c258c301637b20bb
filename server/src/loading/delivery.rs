//! Work that one shard gives to all, a bounded number of pieces at a time to each.
//!
//! ```text
//!   sender ── work ──> shard         at most AHEAD pieces of a shard are under way; the sender waits for one to come home
//!      ^                 │
//!      └── receipt ──────┘           with the first failure of any, which ends the whole
//! ```
//!
//! Invariant: a receipt is given back exactly once, when what was to be done is done.

use crate::core::Core;
use crate::tasks::Tasks;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Pieces of work of a shard that are under way.
const AHEAD: usize = 4;

/// What the shards say of their work.
#[derive(Debug)]
struct Receipts {
    /// Pieces under way to each.
    under_way: Vec<AtomicUsize>,
    is_failed: AtomicBool,
    failure: Mutex<Option<String>>,
}

/// Gives work to shards.
pub struct Delivery {
    tasks: Tasks,
    receipts: Arc<Receipts>,
    /// By which the sender waits for work to come home.
    name: u64,
}

/// A piece of work that is under way.
#[derive(Debug)]
#[must_use = "the sender waits for it"]
pub struct Receipt {
    receipts: Arc<Receipts>,
    shard: usize,
    home: usize,
    name: u64,
}

impl Receipt {
    /// The work is done, or could not be.
    pub fn give_back(self, core: &mut Core, outcome: Result<(), String>) {
        if let Err(reason) = outcome {
            self.receipts.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
            self.receipts.is_failed.store(true, Ordering::SeqCst);
        }
        self.receipts.under_way[self.shard].fetch_sub(1, Ordering::SeqCst);
        core.run_on(self.home, move |core| core.tasks.wake(self.name));
    }
}

impl Delivery {
    /// To so many shards.
    pub fn new(tasks: &Tasks, shards: usize) -> Self {
        let receipts = Receipts {
            under_way: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            is_failed: AtomicBool::new(false),
            failure: Mutex::default(),
        };
        Self { tasks: tasks.clone(), receipts: Arc::new(receipts), name: tasks.take_name() }
    }

    /// Has a shard do something, when it has done enough of what it was given before.
    ///
    /// # Errors
    /// Some work given earlier could not be done.
    pub async fn send(
        &self,
        shard: usize,
        work: impl FnOnce(&mut Core, Receipt) + Send + 'static,
    ) -> Result<(), String> {
        let receipts = self.receipts.clone();
        let may_go =
            || receipts.under_way[shard].load(Ordering::SeqCst) < AHEAD || receipts.is_failed.load(Ordering::SeqCst);
        self.tasks.until(self.name, may_go).await;
        self.check()?;
        self.receipts.under_way[shard].fetch_add(1, Ordering::SeqCst);
        let (receipts, name) = (self.receipts.clone(), self.name);
        self.tasks
            .on_core(move |core| {
                let receipt = Receipt { receipts, shard, home: core.index, name };
                core.run_on(shard, move |core| work(core, receipt));
            })
            .await;
        Ok(())
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// Some of it could not be.
    pub async fn settle(&self) -> Result<(), String> {
        let receipts = self.receipts.clone();
        let is_home = || receipts.under_way.iter().all(|count| count.load(Ordering::SeqCst) == 0);
        self.tasks.until(self.name, is_home).await;
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        match self.receipts.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }
}
