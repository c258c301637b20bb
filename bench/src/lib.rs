//! Workloads and measurements; see `bench/README.md`.
