//! The same bare RESP loop on io_uring, on epoll and on glommio: why the data plane has a reactor of its own.
//! `bench/rings.md` has the commands and the results.

use clap::Parser;
use std::time::Duration;
use torc_bench::runtimes::ring::{RingOptions, serve};
use torc_bench::runtimes::{Variant, Workload, compare, epoll, glommio_sockets};

/// Compares runtimes under a bare RESP loop.
#[derive(Parser)]
struct Arguments {
    /// Alternating rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds measured in each round of each runtime.
    #[arg(long, default_value_t = 1000)]
    measured_ms: u64,
}

fn main() {
    let arguments = Arguments::parse();
    let measured = Duration::from_millis(arguments.measured_ms);
    let ring = |workload| serve(RingOptions::default(), workload);
    let variants = [
        Variant { name: "io_uring", serve: &ring },
        Variant { name: "epoll", serve: &epoll::serve },
        Variant { name: "glommio", serve: &glommio_sockets::serve },
    ];
    let workloads = [("pipeline 1", Workload::new(1, measured)), ("pipeline 16", Workload::new(16, measured))];
    compare("runtimes", &variants, &workloads, arguments.rounds);
}
