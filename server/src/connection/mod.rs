//! One client: its bytes in, its commands out.

pub mod parser;
