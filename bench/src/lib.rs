//! Workloads and measurements; see `bench/README.md`.

pub mod runtimes;
