//! Runs a plan and decides whether every promise was kept.
//!
//! ```text
//!   run ── panic, stuck, a reply too many or too few, a lock left behind ──> Failure
//!    └─ history ─> checker ── no order explains the replies ───────────────> Failure, with the shortest such history
//!                     └────── an order, or the search was given up ────────> Outcome
//! ```

use super::checker::{self, Operation, Verdict};
use super::run::{self, Outcome, Plan};
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A promise that was broken.
pub struct Failure {
    /// What was seen.
    pub text: String,
    /// Commands that no order explains; empty if something else is wrong.
    history: Vec<Operation>,
    names: Vec<Vec<u8>>,
}

impl Failure {
    fn new(text: String) -> Self {
        Self { text, history: Vec::new(), names: Vec::new() }
    }
}

impl fmt::Display for Failure {
    /// The text, and of a history what is needed to see that it has no order.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)?;
        if self.history.is_empty() {
            return Ok(());
        }
        formatter.write_str("  in short:\n")?;
        for operation in checker::minimise(&self.history, &self.names) {
            writeln!(formatter, "    {}", checker::describe(&operation, &self.names))?;
        }
        Ok(())
    }
}

/// Judges the plan of each seed; the first that fails ends the test.
pub fn judge_each(seeds: impl Iterator<Item = u64>, plan_of: impl Fn(u64) -> Plan) {
    for seed in seeds {
        let plan = plan_of(seed);
        let shards = plan.shards;
        if let Err(failure) = judge(plan) {
            panic!("seed {seed}, {shards} shards: {failure}");
        }
    }
}

/// Runs a plan and checks what it left: what it came to, or the first thing that is wrong.
pub fn judge(plan: Plan) -> Result<Outcome, Failure> {
    let names = plan.names.clone();
    let caught = catch_unwind(AssertUnwindSafe(|| run::run(plan)));
    let Ok(mut outcome) = caught else { return Err(Failure::new("the server panicked".into())) };
    if let Some(text) = outcome.failures.first() {
        return Err(Failure::new(text.clone()));
    }
    match checker::check(&outcome.history, &names) {
        Verdict::Serializable => {}
        Verdict::Undecided => outcome.is_decided = false,
        Verdict::Violation(text) => return Err(Failure { text, history: outcome.history, names }),
    }
    Ok(outcome)
}

/// What clients sent and got, a line each.
pub fn transcript(history: &[Operation], names: &[Vec<u8>]) -> String {
    history.iter().fold(String::new(), |mut text, operation| {
        let _ = writeln!(text, "{}", checker::describe(operation, names));
        text
    })
}
