//! Data structures of values; they know no protocol.
