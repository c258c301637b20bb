//! Workloads and measurements. `compare` holds a server against a peer over TCP; `runtimes` is a bare loop on each way of
//! waiting for sockets; the micro benches stand in `benches/`.

pub mod compare;
pub mod runtimes;
pub mod standstill;
