//! The log over real processes and files: what was acknowledged is there after any end of the process, directories are
//! exchanged with the real server, and what cannot be read is told as it tells it.
//!
//! ```text
//!   crash      clients write and note what was acknowledged; kill -9; another start; everything is there, in order, whole
//!   exchange   ours -> real, real -> ours, old single files: DEBUG DIGEST is the same
//!   lanes      logs of everything, loaded by all shards at once
//!   files      manifests, cut and broken files, other numbers of shards
//!   simulated  a disk that fails in all ways, and power that goes
//!   running    BGREWRITEAOF, CONFIG SET appendonly, INFO, WAITAOF
//! ```

#[path = "support/mod.rs"]
mod support;

#[path = "append_log/crash.rs"]
mod crash;
#[path = "append_log/exchange.rs"]
mod exchange;
#[path = "append_log/files.rs"]
mod files;
#[path = "append_log/lanes.rs"]
mod lanes;
#[path = "append_log/running.rs"]
mod running;
#[path = "append_log/simulated.rs"]
mod simulated;

use support::{Client, Server};

/// A log whose replies wait for the disk.
const ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"];
/// A log that is synced once a second.
const EVERY_SECOND: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec", "--enable-debug-command", "yes"];

/// What the data are, as one text.
fn digest(server: &Server) -> String {
    server.client().ask("DEBUG DIGEST")
}

/// Some of everything that a log has to bring back.
fn fill(client: &mut Client) {
    for line in [
        "SET plain value",
        "SET expiring soon PXAT 33000000000000",
        "SET gone now PXAT 1",
        "MSET {a}1 1 {b}1 2 {c}1 3 {d}1 4 {e}1 5",
        "DEL {a}1 {b}1 nothing",
        "INCRBYFLOAT float 3.5",
        "RPUSH list a b c d",
        "RPOPLPUSH list other",
        "SADD set a b c d e",
        "SPOP set",
        "SADD another a b x",
        "SUNIONSTORE union set another",
        "ZADD zset 1 a 2.5 b",
        "HSET hash f1 v1 f2 v2",
        "XADD stream 1-1 f v",
        "XADD stream * f v",
        "XGROUP CREATE stream g 0",
        "XREADGROUP GROUP g c COUNT 1 STREAMS stream >",
        "PFADD sketch a b c",
        "SETBIT bits 1000 1",
        "RENAME plain {renamed}",
        "EXPIRE zset 1000000",
        "EVAL \"redis.call('SET', KEYS[1], 'x'); return redis.call('INCR', KEYS[2])\" 2 {s}script {t}script",
        "SELECT 3",
        "SET in3 value",
        "MULTI",
        "SET {m1}a 1",
        "SET {m2}b 2",
        "INCR {m3}c",
        "EXEC",
        "SELECT 9",
        "SET in9 value",
        "MOVE in9 3",
        "SELECT 0",
        "COPY hash copied",
    ] {
        let reply = client.call(line);
        // The second time some of it is there.
        let text = reply.to_string();
        let is_there = text.contains("BUSYGROUP") || text.contains("equal or smaller");
        assert!(!reply.is_error() || is_there, "{line}: {reply}");
    }
}
