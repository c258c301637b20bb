//! MEMORY: what is measured; the rest says that it is not there.

use super::{ROW, absent, help_row};
use crate::command_table::{CommandEntry, KeyPlan, Target};
use crate::commands::info::{MemoryFigures, ProcessFigures, percent};
use crate::commands::{SessionCommand, help, run_subcommand, specs};
use crate::control::{ControlReply, ControlRequest, DatabaseFigures, ShardFigures};
use crate::core::session::{Session, SessionResult};
use crate::shared::Shared;
use torc_engine::command::argument::{integer, key};
use torc_engine::command::{
    Arity, CommandError, CommandResult, Execution, Flags, KeyFlags, KeySpec, Spec, parse_integer,
};
use torc_engine::reply::Reply;

/// The row.
pub(super) const MEMORY: SessionCommand = SessionCommand {
    spec: Spec {
        name: "memory",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        since: "4.0.0",
        complexity: "Depends on the subcommand",
        summary: "Tells where memory goes",
        subcommands: &SPECS,
        ..ROW
    },
    syntax: "",
    run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
};

const OF_ALL_SHARDS: &[&str] = &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);
static SUBCOMMANDS: [SessionCommand; 6] = [
    absent("doctor", Arity::Exact(2), Flags::NONE, "4.0.0", "Explains what is wrong with memory").tipped(OF_ALL_SHARDS),
    help_row("4.0.0", |session, _| help("MEMORY", &SUBCOMMANDS, session)),
    absent("malloc-stats", Arity::Exact(2), Flags::NONE, "4.0.0", "Gives the allocator's own report")
        .tipped(OF_ALL_SHARDS),
    absent("purge", Arity::Exact(2), Flags::NONE, "4.0.0", "Asks the allocator to give memory back")
        .tipped(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    SessionCommand {
        spec: Spec {
            name: "stats",
            arity: Arity::Exact(2),
            flags: Flags::NONE,
            since: "4.0.0",
            summary: "Gives figures of memory",
            tips: OF_ALL_SHARDS,
            ..ROW
        },
        syntax: "",
        run: stats,
    },
    SessionCommand { spec: USAGE, syntax: "key [SAMPLES count]", run: usage },
];

const USAGE: Spec = Spec {
    name: "usage",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    since: "4.0.0",
    complexity: "O(N) in the number of samples",
    summary: "Gives the bytes that a key and its value take",
    arguments: &[key("key"), integer("count").token("SAMPLES").optional()],
    keys: &[KeySpec::range(KeyFlags::RO, 2, 2, 1)],
    ..ROW
};

/// The part of MEMORY USAGE that runs where the key is.
static USAGE_ENTRY: CommandEntry = CommandEntry {
    spec: &USAGE_SPEC,
    full_name: String::new(),
    target: Target::Engine(measure),
    keys: KeyPlan::One(2),
    is_write: false,
    keeps_order: false,
    takes_memory: false,
    is_queued: true,
    may_wait: false,
    is_script: false,
    id: 0,
    subcommands: Vec::new(),
};
static USAGE_SPEC: Spec = USAGE;

fn usage(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    check_samples(&arguments[3..])?;
    session.forward(&USAGE_ENTRY, arguments);
    Ok(())
}

/// `SAMPLES count`: every value is measured whole, so the count only has to be one.
fn check_samples(options: &[&[u8]]) -> Result<(), CommandError> {
    for option in options.chunks(2) {
        match option {
            [word, count] if word.eq_ignore_ascii_case(b"samples") => {
                let count = parse_integer(count).ok_or("ERR value is not an integer or out of range")?;
                if count < 0 {
                    return Err("ERR syntax error".into());
                }
            }
            _ => return Err("ERR syntax error".into()),
        }
    }
    Ok(())
}

fn measure(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let key = execution.keyspace.key(arguments[2]);
    match execution.keyspace.peek(execution.database, &key, execution.now) {
        Some(entry) => {
            let bytes = entry.memory_bytes() as i64;
            execution.reply.integer(bytes);
        }
        None => execution.reply.null(),
    }
    Ok(())
}

fn stats(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    session.ask_all(
        ControlRequest::Figures,
        Box::new(|core, answers, reply| {
            let shards = answers.into_iter().filter_map(|answer| match answer {
                ControlReply::Figures(figures) => Some(*figures),
                _ => None,
            });
            reply_stats(&core.shared, &shards.collect::<Vec<_>>(), &ProcessFigures::read(), reply);
        }),
    );
    Ok(())
}

fn reply_stats(shared: &Shared, shards: &[ShardFigures], process: &ProcessFigures, reply: &mut Reply<'_>) {
    let keys: usize = (0..shared.databases).map(|database| DatabaseFigures::total(shards, database).keys).sum();
    let MemoryFigures { used, peak, startup, dataset, overhead } = MemoryFigures::of(shared, shards);
    let clients: usize = shards.iter().map(|shard| shard.query_bytes + shard.output_bytes).sum();
    let numbers = [
        ("peak.allocated", peak as i64),
        ("total.allocated", used as i64),
        ("startup.allocated", startup as i64),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", clients as i64),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("overhead.total", overhead as i64),
        ("keys.count", keys as i64),
        ("keys.bytes-per-key", dataset.checked_div(keys as u64).unwrap_or(0) as i64),
        ("dataset.bytes", dataset as i64),
    ];
    let ratios = [
        ("dataset.percentage", percent(dataset, used.saturating_sub(startup)).min(100.0)),
        ("peak.percentage", percent(used, peak)),
        ("fragmentation", if used == 0 { 0.0 } else { process.resident_bytes as f64 / used as f64 }),
    ];
    reply.map(numbers.len() + ratios.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(number);
    }
    for (name, ratio) in ratios {
        reply.bulk(name.as_bytes());
        reply.bulk(format!("{ratio:.2}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_checked() {
        let check = |text: &str| {
            let options: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
            check_samples(&options).map_err(|error| error.to_text().into_owned())
        };
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("SAMPLES 0"), Ok(()));
        assert_eq!(check("samples x"), Err("ERR value is not an integer or out of range".into()));
        assert_eq!(check("samples"), Err("ERR syntax error".into()));
        assert_eq!(check("samples -1"), Err("ERR syntax error".into()));
        assert_eq!(check("foo 1"), Err("ERR syntax error".into()));
    }
}
