//! What a client sees, told in transcripts by type (`wire/*.transcript`; the format is in `support/transcript.rs`), and
//! what follows from the command table: its rows, and each command with a wrong count of arguments.

mod support;
mod wire {
    mod table;
}

use support::transcript::check;

#[test]
fn strings() {
    check("string");
}

#[test]
fn counters() {
    check("counter");
}

#[test]
fn bitmaps() {
    check("bitmap");
}

#[test]
fn hyperloglogs() {
    check("hyperloglog");
}

#[test]
fn lists() {
    check("list");
}

#[test]
fn sets() {
    check("set");
}

#[test]
fn hashes() {
    check("hash");
}

#[test]
fn sorted_sets() {
    check("zset");
}

#[test]
fn places() {
    check("geo");
}

#[test]
fn sorting() {
    check("sort");
}

#[test]
fn streams() {
    check("stream");
}

#[test]
fn keys() {
    check("generic");
}

#[test]
fn expiry() {
    check("expiry");
}

#[test]
fn publish_and_subscribe() {
    check("pubsub");
}

#[test]
fn tracking() {
    check("tracking");
}

#[test]
fn monitor() {
    check("monitor");
}

#[test]
fn connections() {
    check("connection");
}

#[test]
fn transactions() {
    check("multi");
}

#[test]
fn clients() {
    check("client");
}

#[test]
fn server() {
    check("server");
}

#[test]
fn access() {
    check("access");
}

#[test]
fn configuration() {
    check("config");
}

#[test]
fn observation() {
    check("observation");
}

#[test]
fn protocol() {
    check("protocol");
}

#[test]
fn scripting() {
    check("scripting");
}

#[test]
fn migration() {
    check("migrate");
}
