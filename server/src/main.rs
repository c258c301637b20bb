//! `torc-server`.

fn main() {}
