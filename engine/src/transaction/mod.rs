//! The protocol between shards.
