//! The command families.
