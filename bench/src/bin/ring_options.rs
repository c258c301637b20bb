//! What each option of the ring costs or saves: one table an option. `bench/rings.md` has the commands and the results.

use clap::Parser;
use std::time::Duration;
use torc_bench::runtimes::ring::{RingOptions, SendBy, TaskRun, serve};
use torc_bench::runtimes::wakes::compare_wakes;
use torc_bench::runtimes::{Variant, Workload, compare};

/// Measures io_uring's options under a bare RESP loop.
#[derive(Parser)]
struct Arguments {
    /// Alternating rounds of each table.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds measured in each round of each variant.
    #[arg(long, default_value_t = 1000)]
    measured_ms: u64,
    /// Only tables whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn table(arguments: &Arguments, title: &str, variants: &[(&str, RingOptions)], workloads: &[(&str, Workload)]) {
    if !title.contains(&arguments.only) {
        return;
    }
    let serves: Vec<_> = variants
        .iter()
        .map(|(name, options)| {
            let options = *options;
            (*name, move |workload| serve(options, workload))
        })
        .collect();
    let variants: Vec<Variant<'_>> = serves.iter().map(|(name, serve)| Variant { name, serve }).collect();
    compare(title, &variants, workloads, arguments.rounds);
}

fn main() {
    let arguments = Arguments::parse();
    let measured = Duration::from_millis(arguments.measured_ms);
    let base = RingOptions::default();
    let small = [("pipeline 1", Workload::new(1, measured)), ("pipeline 16", Workload::new(16, measured))];
    let run = |title: &str, variants: &[(&str, RingOptions)]| table(&arguments, title, variants, &small);

    run(
        "receive",
        &[
            ("multishot into provided buffers", base),
            ("single into the connection's own buffer", RingOptions { multishot_receive: false, ..base }),
        ],
    );
    run("descriptors", &[("plain", base), ("direct", RingOptions { direct_descriptors: true, ..base })]);
    run(
        "task run",
        &[
            ("DEFER_TASKRUN", base),
            ("COOP_TASKRUN", RingOptions { task_run: TaskRun::Cooperative, ..base }),
            ("default", RingOptions { task_run: TaskRun::Default, ..base }),
        ],
    );
    run("ring descriptor", &[("registered", base), ("plain", RingOptions { registered_ring: false, ..base })]);
    run("submission array", &[("NO_SQARRAY", base), ("with", RingOptions { submission_array: true, ..base })]);
    run(
        "provided buffers",
        &[
            ("256 of 16 KiB", base),
            ("64 of 16 KiB", RingOptions { buffers: 64, ..base }),
            ("1024 of 16 KiB", RingOptions { buffers: 1024, ..base }),
            ("1024 of 4 KiB", RingOptions { buffers: 1024, buffer_bytes: 4 << 10, ..base }),
        ],
    );
    run(
        "send",
        &[
            ("one buffer, SEND", base),
            ("a buffer a reply, SENDMSG", RingOptions { send_by: SendBy::SendMsg, ..base }),
            ("a buffer a reply, bundle", RingOptions { send_by: SendBy::Bundle, ..base }),
        ],
    );
    let large = |value_bytes| Workload { value_bytes, ..Workload::new(1, measured) };
    table(
        &arguments,
        "zero copy",
        &[
            ("SEND", RingOptions { send_by: SendBy::InPlace, ..base }),
            ("SEND_ZC", RingOptions { send_by: SendBy::ZeroCopy, ..base }),
        ],
        &[("4 KiB", large(4 << 10)), ("64 KiB", large(64 << 10)), ("1 MiB", large(1 << 20))],
    );
    if "wake".contains(&arguments.only) {
        compare_wakes(arguments.rounds, measured);
    }
}
