//! What the tests over TCP share.
//!
//! ```text
//!   server      starts a server of its own on a loopback port, ours or the real one, and ends it
//!   client      a blocking client that sends bytes and reads one reply at a time
//!   reply       replies as a tree and as text, one text for each sequence of bytes
//!   transcript  a script of requests and replies, played against any server
//! ```

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its part of this module")]

pub mod client;
pub mod reply;
pub mod server;
pub mod transcript;

pub use client::{Client, encode, words};
pub use reply::Reply;
pub use server::Server;

use std::time::{Duration, Instant};

/// Ends a test that hangs; far beyond what anything here needs, also on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Asks again and again until the answer is yes.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
