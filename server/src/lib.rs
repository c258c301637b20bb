//! The Torc process.

pub mod config;
pub mod log;
pub mod reactor;
