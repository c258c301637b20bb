//! The Torc process.

pub mod config;
pub mod reactor;
