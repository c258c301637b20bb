//! LATENCY: events of the latency monitor, which are read without asking any shard, and histograms, which every shard has of its own.

use super::{ADMIN_ROW, DONE_BY_ALL_NODES, OF_ALL_NODES, ROW, help_row};
use crate::command_table::CommandEntry;
use crate::commands::{SessionCommand, help, run_subcommand, specs};
use crate::control::{ControlReply, ControlRequest};
use crate::core::session::{Session, SessionResult};
use crate::insight::histograms::{Distribution, Histograms};
use torc_engine::command::argument::string;
use torc_engine::command::{Arity, Flags, Spec};
use torc_engine::reply::Reply;

/// The row.
pub(super) const LATENCY: SessionCommand = SessionCommand {
    spec: Spec {
        name: "latency",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        since: "2.8.13",
        complexity: "Depends on the subcommand",
        summary: "Tells of slow events",
        subcommands: &SPECS,
        ..ROW
    },
    syntax: "",
    run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
};

/// A subcommand's row.
const fn row(name: &'static str, arity: Arity, summary: &'static str, tips: &'static [&'static str]) -> Spec {
    let flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE);
    Spec { name, arity, since: "2.8.13", summary, flags, tips, ..ADMIN_ROW }
}

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);
static SUBCOMMANDS: [SessionCommand; 7] = [
    SessionCommand {
        spec: row("doctor", Arity::Exact(2), "Explains what made the server slow", OF_ALL_NODES),
        syntax: "",
        run: doctor,
    },
    SessionCommand {
        spec: Spec {
            arguments: &[string("event")],
            ..row("graph", Arity::Exact(3), "Draws an event's latency", OF_ALL_NODES)
        },
        syntax: "event",
        run: graph,
    },
    help_row("2.8.13", |session, _| help("LATENCY", &SUBCOMMANDS, session)),
    SessionCommand {
        spec: Spec {
            since: "7.0.0",
            complexity: "O(N) in the number of commands with latencies",
            arguments: &[string("command").optional().multiple()],
            ..row("histogram", Arity::AtLeast(2), "Gives the distribution of commands' latencies", OF_ALL_NODES)
        },
        syntax: "[command ...]",
        run: histogram,
    },
    SessionCommand {
        spec: Spec {
            arguments: &[string("event")],
            ..row("history", Arity::Exact(3), "Gives an event's latencies over time", OF_ALL_NODES)
        },
        syntax: "event",
        run: history,
    },
    SessionCommand {
        spec: row("latest", Arity::Exact(2), "Gives the latest latency of all events", OF_ALL_NODES),
        syntax: "",
        run: latest,
    },
    SessionCommand {
        spec: Spec {
            arguments: &[string("event").optional().multiple()],
            ..row("reset", Arity::AtLeast(2), "Forgets events", DONE_BY_ALL_NODES)
        },
        syntax: "[event ...]",
        run: reset,
    },
];

fn now_s(session: &Session<'_>) -> i64 {
    session.core.clock.wall_ms.div_euclid(1000)
}

fn doctor(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let (shared, now_s) = (session.core.shared.clone(), now_s(session));
    let (threshold_ms, slow_log_us) = {
        let observation = &shared.config().observation;
        let slow_log_us = u64::try_from(observation.slow_log_threshold_us).ok();
        let keeps_entries = observation.slow_log_entries_max > 0;
        (observation.latency_monitor_threshold_ms.max(0) as u64, slow_log_us.filter(|_| keeps_entries))
    };
    let text = shared.insight.latency().diagnosis(threshold_ms, slow_log_us, now_s);
    session.reply().verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn graph(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let (shared, now_s, event) = (session.core.shared.clone(), now_s(session), arguments[2]);
    let drawn = shared.insight.latency().find(event).map(|(name, series)| series.graph(name, now_s));
    let Some(text) = drawn else {
        let event = String::from_utf8_lossy(event);
        return Err(format!("ERR No samples available for event '{event}'").into());
    };
    session.reply().verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn history(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let shared = session.core.shared.clone();
    let events = shared.insight.latency();
    let mut reply = session.reply();
    let Some((_, series)) = events.find(arguments[2]) else {
        reply.array(0);
        return Ok(());
    };
    reply.array(series.samples().len());
    for sample in series.samples() {
        reply.array(2);
        reply.integer(sample.at_s);
        reply.integer(sample.took_ms as i64);
    }
    Ok(())
}

fn latest(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let shared = session.core.shared.clone();
    let events = shared.insight.latency();
    let mut reply = session.reply();
    reply.array(events.all().len());
    for (name, series) in events.all() {
        let latest = series.latest().map_or((0, 0), |sample| (sample.at_s, sample.took_ms));
        reply.array(4);
        reply.bulk(name.as_bytes());
        reply.integer(latest.0);
        reply.integer(latest.1 as i64);
        reply.integer(series.worst_ms as i64);
    }
    Ok(())
}

fn reset(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let count = session.core.shared.insight.latency().reset(&arguments[2..]);
    session.reply().integer(count as i64);
    Ok(())
}

/// Without names: every command that has run. A container stands for its subcommands, too.
fn histogram(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let table = &session.core.shared.table;
    let named = arguments[2..].iter().flat_map(|name| {
        let mut words = name.splitn(2, |byte| *byte == b'|');
        let container = table.find(words.next().unwrap_or_default());
        let (entry, below) = match (container, words.next()) {
            (Some(container), None) => (Some(container), container.subcommands.as_slice()),
            (Some(container), Some(word)) => (container.subcommand(word), [].as_slice()),
            (None, _) => (None, [].as_slice()),
        };
        entry.into_iter().chain(below.iter().copied())
    });
    let entries: Vec<&'static CommandEntry> =
        if arguments.len() == 2 { table.all().collect() } else { named.collect() };
    session.ask_all(
        ControlRequest::DetailedFigures,
        Box::new(move |_, answers, reply| {
            let mut histograms = Histograms::default();
            for answer in answers {
                if let ControlReply::Figures(figures) = answer {
                    histograms.add(&figures.histograms);
                }
            }
            reply_histograms(&entries, &histograms, reply);
        }),
    );
    Ok(())
}

fn reply_histograms(entries: &[&'static CommandEntry], histograms: &Histograms, reply: &mut Reply<'_>) {
    let known: Vec<(&str, Distribution<'_>)> =
        entries.iter().filter_map(|entry| Some((entry.full_name.as_str(), histograms.of(entry.id)?))).collect();
    reply.map(known.len());
    for (name, distribution) in known {
        reply.bulk(name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(distribution.calls() as i64);
        reply.bulk(b"histogram_usec");
        let steps = distribution.cumulative();
        reply.map(steps.len());
        for (bound_us, count) in steps {
            reply.integer(bound_us as i64);
            reply.integer(count as i64);
        }
    }
}
