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
//! What waits in the middle of its work runs as tasks beside the loop: an [`executor::Executor`] (`handle().spawn(..)`,
//! `advance(now)`, `run_ready(n)`, `next_deadline_ns()` for `Wait::Until`) and [`operations::Operations`], whose futures
//! become driver calls in `submit(&mut driver)` and end in `complete(event)`, which gives every other event back.
//!
//! [`uring`] is the kernel. A driver must be made on the thread that uses it (the ring has a single issuer) and drops only
//! when the kernel has given back all memory. `turn` may return early and without events (a signal, a paused listener).

pub mod driver;
pub mod executor;
pub mod operations;
pub mod probe;
pub mod timer;
pub mod uring;
