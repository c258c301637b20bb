//! WAIT: for replicas, which this version has none of. So it is over at once where none is waited for, and else when its time is.

use super::ROW;
use crate::commands::SessionCommand;
use crate::core::session::{Session, SessionResult};
use std::time::Duration;
use torc_engine::command::argument::integer;
use torc_engine::command::{Arity, Categories, Flags, Spec, parse_integer};
use torc_engine::reply::Reply;

pub(super) const WAIT: SessionCommand = SessionCommand {
    spec: Spec {
        name: "wait",
        arity: Arity::Exact(3),
        since: "3.0.0",
        flags: Flags::NOSCRIPT,
        own_categories: Categories::CONNECTION,
        summary: "Waits until replicas have all that the connection has written",
        arguments: &[integer("numreplicas"), integer("timeout")],
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        group: "generic",
        ..ROW
    },
    syntax: "numreplicas timeout",
    run: wait,
};

/// How often it is looked whether the client is still there.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

fn wait(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let replicas = parse_integer(arguments[1]).ok_or("ERR value is not an integer or out of range")?;
    let timeout_ms = parse_integer(arguments[2]).ok_or("ERR timeout is not an integer or out of range")?;
    if timeout_ms < 0 {
        return Err("ERR timeout is negative".into());
    }
    if replicas <= 0 || session.core.is_in_unit() {
        session.reply().integer(0);
        return Ok(());
    }
    let key = session.connection.key;
    let tasks = session.core.tasks.clone();
    session.answer_by_task(async move {
        let limit_ns = (timeout_ms as u64).saturating_mul(1_000_000);
        let until_ns = tasks.executor.now_ns().saturating_add(limit_ns);
        let mut is_gone = false;
        while !is_gone && (timeout_ms == 0 || tasks.executor.now_ns() < until_ns) {
            let left = Duration::from_nanos(until_ns.saturating_sub(tasks.executor.now_ns()));
            tasks.executor.sleep(if timeout_ms == 0 { LOOK_AGAIN } else { LOOK_AGAIN.min(left) }).await;
            is_gone = tasks.on_core(move |core| core.connection_mut(key).is_none()).await;
        }
        Ok(|reply: &mut Reply<'_>| reply.integer(0))
    });
    Ok(())
}
