//! A shard's slice of all databases.

/// Placeholder of the type that the keyspace work fills in.
pub struct Keyspace {}
