//! Runs a target for some seconds, or on a file: `torc-fuzz value --seconds 600`.

use clap::Parser;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use torc_fuzz::{TARGETS, Target};

#[derive(Parser)]
#[command(about = "Feeds readers of files and payloads with hostile bytes.")]
struct Options {
    /// A target; without one, all.
    target: Option<String>,
    /// How long each runs.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Where the numbers begin from which inputs are made.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Reads this file, once, instead.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Writes the input of `--seed` here, and does nothing else.
    #[arg(long)]
    output: Option<PathBuf>,
}

fn check(target: Target, input: &[u8], origin: &str) {
    if std::panic::catch_unwind(|| (target.check)(input)).is_err() {
        eprintln!("torc-fuzz: {} {origin}: {}", target.name, input.escape_ascii());
        std::process::exit(1);
    }
}

fn run(target: Target, options: &Options) -> std::io::Result<()> {
    if let Some(path) = &options.input {
        (target.check)(&std::fs::read(path)?);
        return Ok(());
    }
    let seeds = (target.seeds)();
    if let Some(path) = &options.output {
        return std::fs::write(path, target.input(&seeds, options.seed));
    }
    seeds.iter().for_each(|seed| check(target, seed, "a seed"));
    let began = Instant::now();
    let mut seed = options.seed;
    while began.elapsed() < Duration::from_secs(options.seconds) {
        for _ in 0..64 {
            let input = target.input(&seeds, seed);
            check(target, &input, &format!("--seed {seed}"));
            seed += 1;
        }
    }
    println!("torc-fuzz: {}: {} inputs from seed {}", target.name, seed - options.seed, options.seed);
    Ok(())
}

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let targets = match &options.target {
        None => TARGETS.to_vec(),
        Some(name) => match Target::named(name) {
            Some(target) => vec![target],
            None => {
                let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
                eprintln!("torc-fuzz: no target '{name}'; there are {}", names.join(", "));
                std::process::exit(2);
            }
        },
    };
    targets.into_iter().try_for_each(|target| run(target, &options))
}
