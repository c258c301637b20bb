//! The Torc process.

pub mod reactor;
