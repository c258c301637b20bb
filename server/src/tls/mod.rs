//! TLS: what encrypted connections are served with, and one such connection.
//!
//! ```text
//!   Config::tls ──> acceptor     certificates, keys, suites and sessions, made whole or not at all; one for all shards
//!                      │ taken by each new connection, so a change meets those that come after it
//!                      v
//!   received bytes ──> session ──> commands          on the connection's own shard: records in, records out
//!   replies ─────────> session ──> bytes to send
//!                      ^   │
//!                      │   v
//!                   handshakes    one thread for all shards: what takes a thousand times a command's time
//! ```
//! - [`acceptor`]: from the configuration to what rustls serves with; `material` reads its files, `suites` its names.
//! - [`session`]: a connection's state and buffers; no socket, no shard.
//! - `sessions`: what clients may come back to without a handshake in full.
//! - [`handshakes`]: the thread. It also looks whether files have changed.
//!
//! [`crate::core`]'s part is `core/encrypted.rs`: it stands between the reactor's bytes and the parser, and between replies and
//! what is sent. A connection that is not encrypted meets none of this.
//!
//! Invariants:
//! 1. An acceptor is whole: its files were read, fit each other, and its names are known. A bad file leaves the one before it.
//! 2. Sessions of one acceptor cannot be taken up under another, whose authorities may be others.
//! 3. A session is in one place: with its connection, or with the thread.

pub mod acceptor;
pub mod handshakes;
mod material;
pub mod session;
mod sessions;
mod suites;
mod user;

pub use acceptor::Acceptor;
#[doc(hidden)]
pub use material::check_material;
pub use session::Session;
#[doc(hidden)]
pub use suites::check_names;

use crate::config::{Config, Tls as TlsConfig};
use handshakes::Handshakes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all shards share.
#[derive(Debug, Default)]
pub struct Tls {
    acceptor: Mutex<Option<Arc<Acceptor>>>,
    /// The thread.
    pub handshakes: Handshakes,
}

impl Tls {
    fn slot(&self) -> MutexGuard<'_, Option<Arc<Acceptor>>> {
        self.acceptor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a new connection is served with.
    pub fn acceptor(&self) -> Option<Arc<Acceptor>> {
        self.slot().clone()
    }

    /// From now on new connections are served with what this makes of its files.
    ///
    /// # Errors
    /// Why it cannot be; then all is as before.
    pub fn configure(&self, config: &TlsConfig) -> Result<(), String> {
        self.serve_with(Acceptor::new(config)?);
        Ok(())
    }

    /// From now on new connections are served with this.
    pub fn serve_with(&self, acceptor: Acceptor) {
        *self.slot() = Some(Arc::new(acceptor));
    }
}

/// At the start: reads the files, if anything is to be encrypted.
///
/// # Errors
/// Why they are of no use.
pub fn configure_at_start(tls: &Tls, config: &Config) -> Result<(), String> {
    if config.tls.is_used() { tls.configure(&config.tls) } else { Ok(()) }
}
