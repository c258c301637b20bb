//! Interpreters for scripts and functions, behind a trait: what they may do is up to the shard that runs them.
//!
//! ```text
//!   shard                                     this crate
//!     Scripts, Registry  <─────────────────── scripts.rs, libraries/    what is known, as values
//!     Interpreters::script, function ───────> engines.rs                one interpreter for each run, from a pool
//!     Run::step ────────────────────────────> fiber.rs                  on a stack of its own
//!       Step::Call: runs the command <─────── exchange.rs               arguments as bytes
//!       its reply, encoded ─────────────────> reply.rs                  read into values of the language
//!       Step::Tick: kill it, or go on         lua/, js/                 the languages
//!       Step::Done(Reply) <──────────────────
//! ```
//!
//! It knows no sockets, shards, keys or clocks, and imports none of the other crates. A run can stop at each call and stay
//! so for as long as it takes to ask another shard; a host that has all answers at once drives it to its end
//! ([`Run::drive`]) at the cost of two switches of the stack a call, some ten nanoseconds.

mod engines;
mod exchange;
mod fiber;
mod js;
pub mod libraries;
mod lua;
mod machine;
mod reply;
mod scripts;
mod shebang;

pub use engines::{GoOn, Host, Interpreters, Refusal, Run, Step};
pub use exchange::{Arguments, Exchange, LogLevel, Protocol, Request};
pub use libraries::FunctionFlags;
pub use machine::Settings;
pub use reply::Reply;
pub use scripts::{Script, Scripts, Sha};
