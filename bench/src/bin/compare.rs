//! Measures Torc against a peer and writes a page, a picture and the raw values. See `torc_bench::compare`.
//!
//! ```text
//! cargo build --release && cargo run --release -p torc-bench --bin compare
//! ```

use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use torc_bench::compare::load::Tool;
use torc_bench::compare::report::{CSV_HEAD, Section};
use torc_bench::compare::server::Contender;
use torc_bench::compare::workloads::{Plan, Workload};
use torc_bench::compare::{Failure, Outcome, plot};

/// Starts Torc and a peer in turn, pinned, drives both with the same load, and reports the ratios.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server in question.
    #[arg(long, default_value = "target/release/torc-server")]
    torc: PathBuf,
    /// The server it is held against.
    #[arg(long, default_value = "redis-server")]
    peer: PathBuf,
    /// Rounds of A B; the report gives the median of the rounds' ratios. Memory is measured in one round only.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only this workload (throughput, idle, memory, shards, collections, collections-memory, transactions, encrypted); may be given several times.
    #[arg(long)]
    workload: Vec<String>,
    /// Only this depth of pipeline; may be given several times.
    #[arg(long)]
    pipeline: Vec<u64>,
    /// Commands at each depth, instead of 1, 5 and 10 million at depths of 1, 16 and 64.
    #[arg(long)]
    requests: Option<u64>,
    /// Keys that are there before the load begins.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Bytes a value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Idle connections beside the 50 active ones.
    #[arg(long, default_value_t = 5_000)]
    idle_connections: usize,
    /// Keys of the memory workload.
    #[arg(long, default_value_t = 10_000_000)]
    memory_keys: u64,
    /// Commands of each case of the collections.
    #[arg(long, default_value_t = 800_000)]
    collection_commands: u64,
    /// Scripts or transactions of each case of these.
    #[arg(long, default_value_t = 400_000)]
    transactions: u64,
    /// Only this case of the collections or transactions (`HSET`, `LRANGE 100`, `a member of one set`); may be given several times.
    #[arg(long)]
    case: Vec<String>,
    /// Cores of the server, as taskset writes them; "any" pins nothing.
    #[arg(long, default_value = "0")]
    server_cores: String,
    /// Cores of the load.
    #[arg(long, default_value = "1")]
    load_cores: String,
    /// Cores that server and load share where one shard is held against two.
    #[arg(long, default_value = "0,1")]
    shared_cores: String,
    /// Where the report goes.
    #[arg(long, default_value = "bench/out")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let tool = Tool::find()?;
    let workloads = chosen_workloads(&arguments.workload)?;
    let mut sections = Vec::new();
    for workload in workloads {
        sections.push(measure(arguments, tool, workload)?);
        // After each workload, so that an interrupted run leaves what it has.
        write_report(arguments, tool, &sections)?;
    }
    Ok(())
}

fn chosen_workloads(names: &[String]) -> Outcome<Vec<Workload>> {
    if names.is_empty() {
        return Ok(Workload::ALL.to_vec());
    }
    let find = |name: &String| {
        let found = Workload::ALL.into_iter().find(|workload| workload.name() == name);
        found.ok_or_else(|| Failure(format!("no workload named {name}")))
    };
    names.iter().map(find).collect()
}

fn measure(arguments: &Arguments, tool: Tool, workload: Workload) -> Outcome<Section> {
    let cores = |list: &str| (list != "any").then(|| list.to_owned());
    let (contenders, load_cores) = if workload == Workload::Shards {
        let shared = cores(&arguments.shared_cores);
        let with_shards = |shards: usize| -> Outcome<Contender> {
            let mut contender = Contender::new(&arguments.torc, shards, shared.clone())?;
            contender.label = format!("{shards} shard{}", if shards == 1 { "" } else { "s" });
            Ok(contender)
        };
        ([with_shards(2)?, with_shards(1)?], shared)
    } else {
        let alone = cores(&arguments.server_cores);
        let torc = Contender::new(&arguments.torc, 1, alone.clone())?;
        ([torc, Contender::new(&arguments.peer, 1, alone)?], cores(&arguments.load_cores))
    };
    let plan = Plan {
        tool,
        load_cores,
        keys: arguments.keys,
        value_bytes: arguments.value_bytes,
        depths: depths(arguments, workload),
        idle_connections: arguments.idle_connections,
        memory_keys: arguments.memory_keys,
        collection_commands: arguments.collection_commands,
        transactions: arguments.transactions,
        shared_cores: cores(&arguments.shared_cores),
        cases: arguments.case.clone(),
    };
    let rounds = if matches!(workload, Workload::Memory | Workload::CollectionsMemory) { 1 } else { arguments.rounds };
    let mut samples = Vec::new();
    for round in 1..=rounds {
        eprintln!("{}, round {round} of {rounds}", workload.name());
        plan.run(workload, &contenders, round, &mut samples)?;
    }
    let contenders = contenders.map(|contender| contender.label);
    Ok(Section { workload, contenders, samples })
}

/// Depths of pipeline with the number of commands at each, so that each takes some seconds.
fn depths(arguments: &Arguments, workload: Workload) -> Vec<(u64, u64)> {
    let all: &[(u64, u64)] = &[(1, 1_000_000), (16, 5_000_000), (64, 10_000_000)];
    let depths = if workload == Workload::Shards { &all[..2] } else { all };
    let wanted = |depth: u64| arguments.pipeline.is_empty() || arguments.pipeline.contains(&depth);
    let depths = depths.iter().filter(|(depth, _)| wanted(*depth));
    depths.map(|&(depth, requests)| (depth, arguments.requests.unwrap_or(requests))).collect()
}

fn write_report(arguments: &Arguments, tool: Tool, sections: &[Section]) -> Outcome<()> {
    fs::create_dir_all(&arguments.out)?;
    let mut page = describe(arguments, tool, sections);
    let mut values = CSV_HEAD.to_owned();
    let mut bars = Vec::new();
    for section in sections {
        page += &section.markdown();
        values += &section.csv();
        bars.append(&mut section.bars());
    }
    let write = |name: &str, text: &str| {
        let path = arguments.out.join(name);
        fs::write(&path, text).map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))
    };
    write("compare.md", &page)?;
    write("compare.csv", &values)?;
    if let Some(section) = sections.first().filter(|_| !bars.is_empty()) {
        let title = format!("{} : {}", section.contenders[0], section.contenders[1]);
        let subtitle = format!("one core each; median of {} alternating rounds; shorter is better", arguments.rounds);
        write("compare.svg", &plot::draw(&title, &subtitle, &bars))?;
    }
    eprintln!("written: {}", arguments.out.join("compare.md").display());
    Ok(())
}

/// The paragraph that says what was measured, where, and how well.
fn describe(arguments: &Arguments, tool: Tool, sections: &[Section]) -> String {
    let names: Vec<String> = sections.iter().take(1).map(|section| section.contenders.join(" against ")).collect();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let kernel = fs::read_to_string(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    format!(
        "{}: median of {} alternating rounds, {} keys of {} bytes preloaded, 50 connections, {} on core {}, server on core \
         {}. {}, {} cores, Linux {}. CPU is the scheduler's nanoseconds over all threads of the server; its user part is \
         split by the kernel's tick and good to about a per cent. Ratios are taken within a round.\n\n",
        names.join(""),
        arguments.rounds,
        arguments.keys,
        arguments.value_bytes,
        tool.name(),
        arguments.load_cores,
        arguments.server_cores,
        processor.trim_start_matches([' ', '\t', ':']),
        std::thread::available_parallelism().map_or(0, usize::from),
        kernel.trim(),
    )
}
