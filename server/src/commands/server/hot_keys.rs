//! HOTKEYS of Redis 8.6: a session that counts what keys cost (`insight::hot_keys`).

use super::{ADMIN_ROW, ROW, help_row};
use crate::commands::info::ProcessFigures;
use crate::commands::{SessionCommand, all_done, help, run_subcommand, specs};
use crate::control::{ControlReply, ControlRequest};
use crate::core::session::{Session, SessionResult};
use crate::insight::hot_keys::{HotKeysSession, HotKeysSettings, Tally};
use torc_engine::command::argument::{block, integer, word};
use torc_engine::command::{Argument, Arity, CommandError, Flags, Spec, parse_integer};
use torc_engine::reply::Reply;

/// Keys that GET shows unless COUNT says otherwise, and the most.
const COUNT: usize = 10;
const COUNT_MAX: i64 = 64;

const START_ARGUMENTS: &[Argument] = &[
    block("metrics", &[integer("count"), word("CPU").optional(), word("NET").optional()]).token("METRICS"),
    integer("k").token("COUNT").optional(),
    integer("seconds").token("DURATION").optional(),
    integer("ratio").token("SAMPLE").optional(),
];

/// The row.
pub(super) const HOTKEYS: SessionCommand = SessionCommand {
    spec: Spec {
        name: "hotkeys",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        since: "8.6.0",
        complexity: "Depends on the subcommand",
        summary: "Finds the keys that cost the most",
        subcommands: &SPECS,
        ..ROW
    },
    syntax: "",
    run: |session, arguments| run_subcommand(&SUBCOMMANDS, session, arguments),
};

/// A subcommand's row.
const fn row(name: &'static str, arity: Arity, summary: &'static str) -> Spec {
    Spec { name, arity, since: "8.6.0", summary, flags: Flags::ADMIN.or(Flags::NOSCRIPT), ..ADMIN_ROW }
}

static SPECS: [&Spec; SUBCOMMANDS.len()] = specs(&SUBCOMMANDS);
static SUBCOMMANDS: [SessionCommand; 5] = [
    SessionCommand { spec: row("get", Arity::Exact(2), "Gives what a session has found"), syntax: "", run: get },
    help_row("8.6.0", |session, _| help("HOTKEYS", &SUBCOMMANDS, session)),
    SessionCommand { spec: row("reset", Arity::Exact(2), "Forgets a session"), syntax: "", run: reset },
    SessionCommand {
        spec: Spec { arguments: START_ARGUMENTS, ..row("start", Arity::AtLeast(2), "Begins to count what keys cost") },
        syntax: "METRICS count [CPU] [NET] [COUNT k] [DURATION seconds] [SAMPLE ratio]",
        run: start,
    },
    SessionCommand {
        spec: row("stop", Arity::Exact(2), "Ends a session, and keeps what it found"),
        syntax: "",
        run: stop,
    },
];

fn cpu_ms() -> [u64; 2] {
    let process = ProcessFigures::read();
    [process.user_s, process.system_s].map(|seconds| (seconds * 1000.0) as u64)
}

fn start(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let now_ms = session.core.clock.wall_ms;
    let settings = parse(&arguments[2..], now_ms)?;
    let shared = session.core.shared.clone();
    let mut current = shared.insight.hot_keys();
    if current.as_ref().is_some_and(|session| session.is_active(now_ms)) {
        return Err("ERR hotkey tracking session already in progress".into());
    }
    *current = Some(HotKeysSession { settings, ended_ms: None, cpu_ms: [cpu_ms(), [0; 2]] });
    session.ask_all(ControlRequest::CountKeys(Some(settings)), all_done());
    Ok(())
}

/// The options of START.
fn parse(options: &[&[u8]], now_ms: i64) -> Result<HotKeysSettings, CommandError> {
    const SYNTAX: &str = "ERR syntax error";
    let mut settings =
        HotKeysSettings { count: COUNT, ratio: 1, began_ms: now_ms, until_ms: i64::MAX, ..HotKeysSettings::default() };
    let mut has_metrics = false;
    let mut rest = options;
    while let [option, after @ ..] = rest {
        let option = option.to_ascii_lowercase();
        if option == b"slots" {
            return Err("ERR SLOTS parameter cannot be used in non-cluster mode".into());
        }
        let [value, after @ ..] = after else { return Err(SYNTAX.into()) };
        let number = parse_integer(value).ok_or("ERR value is not an integer or out of range")?;
        rest = after;
        match option.as_slice() {
            b"metrics" => {
                has_metrics = true;
                rest = parse_metrics(number, after, &mut settings)?;
            }
            b"count" if (1..=COUNT_MAX).contains(&number) => settings.count = number as usize,
            b"count" => return Err("ERR COUNT must be between 1 and 64".into()),
            b"duration" if number > 0 => settings.until_ms = now_ms.saturating_add(number.saturating_mul(1000)),
            b"duration" => return Err("ERR DURATION must be positive".into()),
            b"sample" if number > 0 => settings.ratio = number as u64,
            b"sample" => return Err("ERR SAMPLE ratio must be positive".into()),
            _ => return Err(SYNTAX.into()),
        }
    }
    if has_metrics { Ok(settings) } else { Err("ERR METRICS parameter is required".into()) }
}

/// So many words; those that no version knows yet are passed over.
fn parse_metrics<'a, 'b>(
    count: i64,
    words: &'a [&'b [u8]],
    settings: &mut HotKeysSettings,
) -> Result<&'a [&'b [u8]], CommandError> {
    let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or("ERR METRICS count must be positive")?;
    let Some((metrics, rest)) = words.split_at_checked(count) else {
        return Err("ERR METRICS count does not match number of metric types provided".into());
    };
    for metric in metrics {
        let (is_set, repeated) = match metric.to_ascii_lowercase().as_slice() {
            b"cpu" => (&mut settings.cpu, "ERR METRICS CPU is given twice"),
            b"net" => (&mut settings.net, "ERR METRICS NET is given twice"),
            _ => continue,
        };
        if std::mem::replace(is_set, true) {
            return Err(repeated.into());
        }
    }
    if settings.cpu || settings.net { Ok(rest) } else { Err("ERR METRICS no valid metrics passed".into()) }
}

fn stop(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let (shared, now_ms) = (session.core.shared.clone(), session.core.clock.wall_ms);
    let mut current = shared.insight.hot_keys();
    let Some(tracked) = current.as_mut() else {
        session.reply().null();
        return Ok(());
    };
    if tracked.ended_ms.is_none() {
        tracked.ended_ms = Some(now_ms.min(tracked.settings.until_ms));
        tracked.cpu_ms[1] = cpu_ms();
    }
    session.ask_all(ControlRequest::CountKeys(None), all_done());
    Ok(())
}

fn reset(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let (shared, now_ms) = (session.core.shared.clone(), session.core.clock.wall_ms);
    let mut current = shared.insight.hot_keys();
    if current.as_ref().is_some_and(|session| session.is_active(now_ms)) {
        return Err("ERR hotkey tracking session in progress, stop tracking first".into());
    }
    *current = None;
    session.ask_all(ControlRequest::ForgetKeys, all_done());
    Ok(())
}

fn get(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let (shared, now_ms) = (session.core.shared.clone(), session.core.clock.wall_ms);
    let Some(tracked) = *shared.insight.hot_keys() else {
        session.reply().null();
        return Ok(());
    };
    session.ask_all(
        ControlRequest::CountedKeys,
        Box::new(move |_, answers, reply| {
            let mut all = Tally::new(tracked.settings);
            for answer in answers {
                if let ControlReply::CountedKeys(tally) = answer {
                    all.join(*tally);
                }
            }
            tell(&tracked, &all, now_ms, reply);
        }),
    );
    Ok(())
}

fn tell(session: &HotKeysSession, all: &Tally, now_ms: i64, reply: &mut Reply<'_>) {
    let HotKeysSettings { cpu, net, ratio, began_ms, .. } = session.settings;
    let is_active = session.is_active(now_ms);
    let ends_ms = if session.ended_ms.is_some() { session.cpu_ms[1] } else { cpu_ms() };
    let spent = |kind: usize| ends_ms[kind].saturating_sub(session.cpu_ms[0][kind]) as i64;
    let mut fields: Vec<(&str, i64)> = vec![
        ("all-commands-all-slots-us", (all.all.took_ns / 1000) as i64),
        ("net-bytes-all-commands-all-slots", all.all.bytes as i64),
        ("collection-start-time-unix-ms", began_ms),
        ("collection-duration-ms", session.duration_ms(now_ms)),
    ];
    if cpu {
        fields.extend([("total-cpu-time-user-ms", spent(0)), ("total-cpu-time-sys-ms", spent(1))]);
    }
    if net {
        fields.push(("total-net-bytes", all.all.bytes as i64));
    }
    reply.map(3 + fields.len() + usize::from(cpu) + usize::from(net));
    reply.bulk(b"tracking-active");
    reply.integer(i64::from(is_active));
    reply.bulk(b"sample-ratio");
    reply.integer(ratio as i64);
    reply.bulk(b"selected-slots");
    reply.array(0);
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    }
    let mut list = |name: &str, keys: Vec<(&[u8], u64)>| {
        reply.bulk(name.as_bytes());
        reply.array(keys.len() * 2);
        for (key, value) in keys {
            reply.bulk(key);
            reply.integer(value as i64);
        }
    };
    if cpu {
        list("by-cpu-time-us", all.largest(|cost| cost.took_ns.div_ceil(1000)));
    }
    if net {
        list("by-net-bytes", all.largest(|cost| cost.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<HotKeysSettings, String> {
        let words: Vec<&[u8]> = text.split_whitespace().map(str::as_bytes).collect();
        parse(&words, 1000).map_err(|error| error.to_text().into_owned())
    }

    #[test]
    fn options_are_read_in_any_order() {
        let settings = parsed("count 20 METRICS 2 cpu NET duration 3 SAMPLE 7").expect("valid");
        let expected = HotKeysSettings { cpu: true, net: true, count: 20, ratio: 7, began_ms: 1000, until_ms: 4000 };
        assert_eq!(settings, expected);
        assert!(parsed("METRICS 2 GPU CPU").expect("valid").cpu);
        for (text, error) in [
            ("", "METRICS parameter is required"),
            ("METRICS 0", "METRICS count"),
            ("METRICS 2 CPU", "METRICS count does not match number of metric types provided"),
            ("METRICS 1 CPU NET", "syntax error"),
            ("METRICS 2 GPU NYET", "METRICS no valid metrics"),
            ("METRICS 2 CPU CPU", "METRICS CPU"),
            ("METRICS 1 CPU COUNT 65", "COUNT must be between 1 and 64"),
            ("METRICS 1 CPU SAMPLE 0", "SAMPLE ratio must be positive"),
            ("METRICS 1 CPU SLOTS 1 2", "SLOTS parameter cannot be used in non-cluster mode"),
            ("METRICS x", "not an integer"),
        ] {
            let found = parsed(text).expect_err(text);
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
