//! MEMORY: what all shards have measured, and what can be done about it.

use super::{ROW, help_row};
use crate::command_table::{CommandEntry, KeyPlan, Target, UNCOUNTED};
use crate::commands::info::{MemoryFigures, ProcessFigures, percent};
use crate::commands::{SessionCommand, all_done, help, run_subcommand, specs};
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

/// A subcommand's row.
const fn row(name: &'static str, summary: &'static str, tips: &'static [&'static str]) -> Spec {
    Spec { name, arity: Arity::Exact(2), flags: Flags::NONE, since: "4.0.0", summary, tips, ..ROW }
}

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);
static SUBCOMMANDS: [SessionCommand; 6] = [
    SessionCommand {
        spec: row("doctor", "Explains what is wrong with memory", OF_ALL_SHARDS),
        syntax: "",
        run: doctor,
    },
    help_row("4.0.0", |session, _| help("MEMORY", &SUBCOMMANDS, session)),
    SessionCommand {
        spec: row("malloc-stats", "Gives the allocator's figures, by shard", OF_ALL_SHARDS),
        syntax: "",
        run: malloc_stats,
    },
    SessionCommand {
        spec: row(
            "purge",
            "Asks the allocator to give memory back",
            &["request_policy:all_shards", "response_policy:all_succeeded"],
        ),
        syntax: "",
        run: |session, _| {
            session.ask_all(ControlRequest::Purge, all_done());
            Ok(())
        },
    },
    SessionCommand { spec: row("stats", "Gives figures of memory", OF_ALL_SHARDS), syntax: "", run: stats },
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
    id: UNCOUNTED,
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

/// What is made of all shards' figures.
type Make = fn(&Shared, &[ShardFigures], &ProcessFigures, &mut Reply<'_>);

fn of_all_shards(session: &mut Session<'_>, make: Make) -> SessionResult {
    session.ask_all(
        ControlRequest::Figures,
        Box::new(move |core, answers, reply| {
            let shards = answers.into_iter().filter_map(|answer| match answer {
                ControlReply::Figures(figures) => Some(*figures),
                _ => None,
            });
            make(&core.shared, &shards.collect::<Vec<_>>(), &ProcessFigures::read(), reply);
        }),
    );
    Ok(())
}

fn stats(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    of_all_shards(session, reply_stats)
}

fn doctor(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    of_all_shards(session, |shared, shards, process, reply| {
        let memory = MemoryFigures::of(shared, shards);
        let clients = shards.iter().map(|shard| shard.connections as u64).sum();
        let client_bytes = shards.iter().map(|shard| (shard.query_bytes + shard.output_bytes) as u64).sum();
        let limit = shared.config().memory.bytes_max;
        let text = diagnosis(&memory, process.resident_bytes, (clients, client_bytes), limit);
        reply.verbatim(*b"txt", text.as_bytes());
    })
}

/// What is out of the ordinary, and what may be done about it.
fn diagnosis(memory: &MemoryFigures, resident: u64, (clients, client_bytes): (u64, u64), limit: u64) -> String {
    const SMALL_BYTES: u64 = 5 << 20;
    const CLIENT_BYTES: u64 = 200 << 10;
    let mut lines: Vec<String> = Vec::new();
    if memory.used < SMALL_BYTES {
        return "This instance is empty or nearly so: figures of memory say little.\n".to_owned();
    }
    if memory.peak > memory.used + memory.used / 2 {
        lines.push(
            "Peak: there was more than half as much again in use once. What the system still counts as ours of that \
             can be given back by MEMORY PURGE; the peak itself is set back by a restart."
                .to_owned(),
        );
    }
    if resident > memory.used + memory.used * 2 / 5 && resident - memory.used > 10 << 20 {
        lines.push(
            "Resident memory: much more than what is in use. Pages that hold a little of what is left keep their \
             memory; MEMORY PURGE gives back what is free, and writing values anew packs them."
                .to_owned(),
        );
    }
    if client_bytes / clients.max(1) > CLIENT_BYTES {
        lines.push(
            "Clients: their buffers are large. CLIENT LIST tells which (omem, qbuf); client-output-buffer-limit \
            bounds them."
                .to_owned(),
        );
    }
    if limit > 0 && memory.used > limit - limit / 10 {
        lines.push(
            "Limit: more than nine tenths of maxmemory are in use; keys will be evicted, or writes refused.".to_owned(),
        );
    }
    if lines.is_empty() {
        return "No problem with memory is seen.\n".to_owned();
    }
    lines.iter().map(|line| format!("* {line}\n")).collect()
}

/// What a shard's thread has taken, by the allocator's count, and what of it is keys and values.
fn malloc_stats(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    of_all_shards(session, |shared, shards, process, reply| {
        let memory = MemoryFigures::of(shared, shards);
        let mut text = format!(
            "mimalloc: {} bytes in use (peak {}), {} resident (peak {})\n",
            memory.used, memory.peak, process.resident_bytes, process.resident_peak_bytes
        );
        for shard in shards {
            let (index, taken, values) = (shard.shard, shard.allocated_bytes, shard.used_bytes);
            text.push_str(&format!("shard {index}: {taken} bytes taken, {values} of them keys and values\n"));
        }
        reply.verbatim(*b"txt", text.as_bytes());
    })
}

/// A figure of MEMORY STATS.
enum Figure {
    Number(i64),
    Ratio(f64),
    /// What a database takes beside its keys and values.
    Tables(usize),
}

fn reply_stats(shared: &Shared, shards: &[ShardFigures], process: &ProcessFigures, reply: &mut Reply<'_>) {
    let figures = figures(shared, shards, process);
    reply.map(figures.len());
    for (name, figure) in figures {
        reply.bulk(name.as_bytes());
        match figure {
            Figure::Number(number) => reply.integer(number),
            Figure::Ratio(ratio) => reply.double(ratio),
            Figure::Tables(bytes) => {
                reply.map(2);
                reply.bulk(b"overhead.hashtable.main");
                reply.integer(bytes as i64);
                // A time to live is part of its key's entry.
                reply.bulk(b"overhead.hashtable.expires");
                reply.integer(0);
            }
        }
    }
}

/// In the real server's order and names. A database has no table that is built anew when it grows.
fn figures(shared: &Shared, shards: &[ShardFigures], process: &ProcessFigures) -> Vec<(String, Figure)> {
    let databases = (0..shared.databases).map(|database| (database, DatabaseFigures::total(shards, database)));
    let databases: Vec<_> = databases.filter(|(_, total)| total.keys > 0).collect();
    let keys: usize = databases.iter().map(|(_, total)| total.keys).sum();
    let tables: usize = databases.iter().map(|(_, total)| total.table_bytes).sum();
    let sum = |figure: fn(&ShardFigures) -> usize| shards.iter().map(figure).sum::<usize>();
    let function_texts: usize = shared.scripting.functions().libraries().map(|library| library.code.len()).sum();
    let functions = sum(|shard| shard.interpreter_bytes[1]) + function_texts;
    let scripts = sum(|shard| shard.interpreter_bytes[0]) + shared.scripting.scripts().bytes();
    let MemoryFigures { used, peak, startup, dataset, overhead } = MemoryFigures::of(shared, shards);
    let resident = process.resident_bytes;
    let active = resident.max(used);
    let ratio = |whole: u64, part: u64| if part == 0 { 0.0 } else { whole as f64 / part as f64 };
    let mut figures = Vec::new();
    let mut tell = |name: &str, figure| figures.push((name.to_owned(), figure));
    let number = |bytes: u64| Figure::Number(bytes as i64);
    tell("peak.allocated", number(peak));
    tell("total.allocated", number(used));
    tell("startup.allocated", number(startup));
    tell("replication.backlog", number(0));
    tell("clients.slaves", number(0));
    tell("clients.normal", number(sum(|shard| shard.client_bytes) as u64));
    tell("cluster.links", number(0));
    tell("aof.buffer", number(shared.append_log.queued_bytes()));
    tell("lua.caches", number(scripts as u64));
    tell("functions.caches", number(functions as u64));
    for (database, total) in &databases {
        tell(&format!("db.{database}"), Figure::Tables(total.table_bytes));
    }
    tell("overhead.total", number(overhead));
    tell("overhead.db.hashtable.lut", number(tables as u64));
    tell("overhead.db.hashtable.rehashing", number(0));
    tell("db.dict.rehashing.count", number(0));
    tell("keys.count", number(keys as u64));
    tell("keys.bytes-per-key", number(used.saturating_sub(startup).checked_div(keys as u64).unwrap_or(0)));
    tell("dataset.bytes", number(dataset));
    tell("dataset.percentage", Figure::Ratio(percent(dataset, used.saturating_sub(startup)).min(100.0)));
    tell("peak.percentage", Figure::Ratio(percent(used, peak)));
    tell("allocator.allocated", number(used));
    tell("allocator.active", number(active));
    tell("allocator.resident", number(active));
    tell("allocator-fragmentation.ratio", Figure::Ratio(ratio(active, used)));
    tell("allocator-fragmentation.bytes", number(active - used));
    tell("allocator-rss.ratio", Figure::Ratio(1.0));
    tell("allocator-rss.bytes", number(0));
    tell("rss-overhead.ratio", Figure::Ratio(ratio(resident, active)));
    tell("rss-overhead.bytes", Figure::Number(resident as i64 - active as i64));
    tell("fragmentation", Figure::Ratio(ratio(resident, used)));
    tell("fragmentation.bytes", Figure::Number(resident as i64 - used as i64));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_names_what_is_out_of_the_ordinary() {
        let mib = |count: u64| count << 20;
        let memory = |used, peak| MemoryFigures { used, peak, startup: 0, dataset: used / 2, overhead: used / 2 };
        let says = |memory: &MemoryFigures, resident, client_bytes, limit| {
            diagnosis(memory, resident, (1, client_bytes), limit)
        };
        assert!(says(&memory(mib(1), mib(1)), mib(9), 0, 0).contains("empty"));
        assert!(says(&memory(mib(100), mib(110)), mib(110), 0, 0).starts_with("No problem"));
        for (text, word) in [
            (says(&memory(mib(100), mib(151)), mib(110), 0, 0), "* Peak"),
            (says(&memory(mib(100), mib(100)), mib(150), 0, 0), "* Resident"),
            (says(&memory(mib(100), mib(100)), mib(100), mib(1), 0), "* Clients"),
            (says(&memory(mib(100), mib(100)), mib(100), 0, mib(105)), "* Limit"),
        ] {
            assert!(text.starts_with(word) && text.lines().count() == 1, "{text}");
        }
    }

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
