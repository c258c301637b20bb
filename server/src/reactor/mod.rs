//! The reactor: the only code that knows io_uring. A driver trait with its drivers, and a small single-threaded executor.
//!
//! ```text
//!  main:          probe::probe(shards, &options)?;                                        // or one line on why not
//!                 let peers = Peers::new(shards)?;                                    // Arc, one for the process
//!  any thread:    peers.waker(shard).wake()                                           // signals, control plane
//!  shard thread:  let mut driver = UringDriver::new(shard, peers, &uring::Options::default())?;   // on the thread itself
//!                 loop { driver.turn(wait, &mut events)?; ... }
//! ```
//!
//! [`uring`] is the kernel. A driver must be made on the thread that uses it (the ring has a single issuer) and drops only
//! when the kernel has given back all memory. `turn` may return early and without events (a signal, a paused listener).

pub mod driver;
pub mod probe;
pub mod uring;
