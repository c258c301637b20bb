//! The reactor: the only code that knows io_uring. A driver trait with its drivers, and a small single-threaded executor.
//!
//! ```text
//!  main:          probe::probe(shards, &options)?;                                        // or one line on why not
//!                 let peers = Peers::new(shards)?;                                        // Arc, one for the process
//!  any thread:    peers.waker(shard).wake()                                               // signals, control plane
//!  shard thread:  let mut driver = UringDriver::new(shard, peers, &options)?;           // on that thread
//!                 loop { driver.turn(wait, &mut events)?; ... }
//!
//!  simulation:    let world = World::new(seed, shards, Faults::rough());                  // clones are the same world
//!                 let mut driver = world.driver(shard);                                   // any number on one thread
//!                 let client = world.connect(&address); client.send(b"PING\r\n");
//!                 while driver.has_events() { driver.turn(..)?; }  else  world.advance(min(world.next_event_time(), waits))
//! ```
//!
//! What waits in the middle of its work runs as tasks beside the loop: an [`executor::Executor`] (`handle().spawn(..)`,
//! `advance(now)`, `run_ready(n)`, `next_deadline_ns()` for `Wait::Until`) and [`operations::Operations`], whose futures
//! become driver calls in `submit(&mut driver)` and end in `complete(event)`, which gives every other event back; what goes over
//! connections that they made is in [`streams`].
//!
//! [`uring`] is the kernel, [`simulated`] a world from a seed. A driver must be made on the thread that uses it (the ring
//! has a single issuer), and drops only when the kernel has given back all memory. `turn` may return early and without
//! events (a signal, a paused listener).

pub mod driver;
pub mod executor;
pub mod operations;
pub mod probe;
pub mod simulated;
pub mod streams;
pub mod timer;
pub mod uring;
pub mod whole_files;
