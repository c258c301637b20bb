//! Workloads and measurements. `compare` holds a server against a peer over TCP; the micro benches stand in `benches/`.

pub mod compare;
