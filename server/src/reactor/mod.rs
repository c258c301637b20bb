//! The reactor: the only code that knows io_uring. A small single-threaded executor over a driver trait.

pub mod driver;
