//! Who may do what: users, their rules, and the question that is asked of every command.
//!
//! ```text
//!   ACL SETUSER, `user` lines, aclfile ──> Rule (rule.rs) ──applied to a copy──> User ──> Users, a new snapshot
//!                                                                                            │ multicast
//!                                                         each shard: Arc<Users>  <──────────┘
//!                                                           connections: Access { Arc<User>, is_free }
//!   command ── is_free ─────────────────────────────────────────────────────────────────────────────────> runs
//!         └─ else: User::check: for each of its Permissions: databases, command, keys, channels ──> runs, or Denial
//! ```
//! - `rule`: the language of rules, parsed into types. It knows no command table: names of commands are resolved where a rule
//!   is applied.
//! - `permissions`: what a user may do, or one of its selectors: a bit for each command, patterns of keys and channels,
//!   databases. `commands` is the part of it that is about commands, and how its rules are told again.
//! - `user`: a name, passwords, one set of permissions and any number of selectors. `password`: hashes.
//! - `users`: all users as one immutable snapshot, and how the next one is made. `file`: the same as lines of a file.
//! - `denied`: what was denied lately (ACL LOG). `attempts`: addresses that passwords are guessed from.
//! - `session`: what a connection knows of its user. `core::access` asks and applies.
//!
//! Invariants:
//! 1. A snapshot never changes. A change builds the next one under the lock of [`SharedAccess::change`], with a higher
//!    version, and reaches every shard before it is answered; a shard that has a newer one passes over an older.
//! 2. Rules of one change are applied to a copy: all of them, or nothing.
//! 3. A user keeps its id as long as it lives: connections find what has become of theirs by it. One who is deleted and made
//!    anew is another.
//! 4. Who may do everything is asked nothing: one flag in the session says so.
//! 5. Clear passwords are hashed where they are parsed, and kept nowhere.

mod attempts;
mod commands;
mod denied;
pub mod file;
mod password;
mod permissions;
mod rule;
mod session;
mod user;
mod users;

#[cfg(test)]
mod tests;

pub use attempts::{AttemptLimit, Attempts, Origin};
pub use denied::{Context, Denied, DeniedLog, Entry, Reason};
pub use password::PasswordHash;
pub use permissions::{Denial, Permissions, Requested};
pub use rule::{Grant, Rule, RuleError, WordsError, parse_all};
pub use session::Access;
pub use user::User;
pub use users::{AccessSettings, SharedAccess, Users};

#[doc(hidden)]
pub use file::check_rules;
