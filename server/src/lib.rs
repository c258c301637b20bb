//! The Torc process.

pub mod connection;
pub mod reactor;
