//! The checks of the house live in `tests/`; this crate has no code of its own.
