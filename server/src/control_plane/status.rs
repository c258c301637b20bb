//! What the console shows, as one JSON document: INFO's fields, commands, shards, and whether the server is ready.

use super::pages::{ShardView, hang_value};
use super::report::{Report, pair};
use serde_json::{Map, Value, json};

/// Fields of INFO that the console has a use for as they are: those that are no list of pairs.
fn is_plain(name: &str, value: &str) -> bool {
    let is_list = ["cmdstat_", "errorstat_", "latency_percentiles_usec_", "shard"];
    !value.contains('=') && !is_list.iter().any(|prefix| name.starts_with(prefix))
}

/// The document.
pub(super) fn document(report: &Report, views: &[ShardView], readiness: &Value) -> Value {
    let info: Map<String, Value> = report
        .fields()
        .filter(|(name, value)| is_plain(name, value))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let errors: Map<String, Value> = report
        .lists("errorstat_")
        .filter_map(|(kind, pairs)| Some((kind.to_owned(), number(pair(&pairs, "count")?))))
        .collect();
    json!({
        "torc_version": env!("CARGO_PKG_VERSION"),
        "ready": readiness,
        "info": info,
        "shards": views.iter().map(shard).collect::<Vec<_>>(),
        "commands": commands(report),
        "errors": errors,
        "databases": databases(report),
    })
}

fn number(text: &str) -> Value {
    text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<f64>().map(Value::from)).unwrap_or(Value::Null)
}

/// Of each command how often it was called and how long that took; percentiles where they are kept.
fn commands(report: &Report) -> Value {
    let percentiles: Vec<_> = report.lists("latency_percentiles_usec_").collect();
    let commands = report.lists("cmdstat_").map(|(name, pairs)| {
        let mut command = json!({"name": name});
        for field in ["calls", "usec", "rejected_calls", "failed_calls"] {
            command[field] = pair(&pairs, field).map_or(Value::Null, number);
        }
        if let Some((_, points)) = percentiles.iter().find(|(of, _)| *of == name) {
            command["percentiles_usec"] =
                points.iter().map(|(point, usec)| ((*point).to_owned(), number(usec))).collect();
        }
        command
    });
    commands.collect()
}

fn databases(report: &Report) -> Value {
    let is_number = |rest: &&str| rest.bytes().all(|byte| byte.is_ascii_digit());
    let databases = report.lists("db").filter(|(rest, _)| is_number(rest)).map(|(index, pairs)| {
        let of = |name| pair(&pairs, name).map_or(Value::Null, number);
        json!({"database": number(index), "keys": of("keys"), "expires": of("expires"), "avg_ttl_ms": of("avg_ttl")})
    });
    databases.collect()
}

fn shard(view: &ShardView) -> Value {
    let figures = &view.known.figures;
    json!({
        "shard": figures.shard,
        "is_stale": view.known.is_stale,
        "age_ms": view.age.map(|age| age.as_millis() as u64),
        "heartbeat_age_ms": view.heartbeat_age.as_millis() as u64,
        "hang": view.hang.as_ref().map(hang_value),
        "commands": figures.commands,
        "ops_per_sec": figures.rates.commands.round(),
        "connections": figures.connections,
        "blocked": figures.blocked,
        "keys": figures.databases.iter().map(|database| database.keys).sum::<usize>(),
        "used_bytes": figures.used_bytes,
        "messages": figures.messages_sent,
        "requests": figures.requests_sent,
        "turns": figures.turns,
        "longest_turn_us": figures.longest_turn_ns / 1000,
    })
}
