//! BGREWRITEAOF and WAITAOF (Redis documentation, "Redis persistence"). What they do is in `append_log/`.

use super::ROW;
use crate::commands::SessionCommand;
use crate::core::Core;
use crate::core::session::{Session, SessionResult};
use std::time::Duration;
use torc_engine::command::argument::integer;
use torc_engine::command::{Arity, Flags, Spec, parse_integer};
use torc_engine::reply::Reply;

pub(super) const BGREWRITEAOF: SessionCommand = SessionCommand {
    spec: Spec {
        name: "bgrewriteaof",
        arity: Arity::Exact(1),
        flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING),
        summary: "Begins to write a new base of the append-only file",
        ..ROW
    },
    syntax: "",
    run: rewrite,
};

pub(super) const WAITAOF: SessionCommand = SessionCommand {
    spec: Spec {
        name: "waitaof",
        arity: Arity::Exact(4),
        since: "7.2.0",
        flags: Flags::BLOCKING,
        summary: "Waits until all that the connection has written is on disk",
        arguments: &[integer("numlocal"), integer("numreplicas"), integer("timeout")],
        ..ROW
    },
    syntax: "numlocal numreplicas timeout",
    run: wait,
};

fn rewrite(session: &mut Session<'_>, _: &[&[u8]]) -> SessionResult {
    let answer = if session.core.is_in_unit() {
        session.core.shared.append_log.rewrites().is_scheduled = true;
        "Background append only file rewriting scheduled"
    } else {
        session.core.begin_rewrite()?
    };
    session.reply().status(answer);
    Ok(())
}

const OFF: &str = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

/// How often the log is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

fn wait(session: &mut Session<'_>, arguments: &[&[u8]]) -> SessionResult {
    let number = |word: &[u8]| parse_integer(word).ok_or("ERR value is not an integer or out of range");
    let local = number(arguments[1])?;
    if !(0..=1).contains(&local) {
        return Err("ERR value is out of range, value must between 0 and 1".into());
    }
    let replicas = number(arguments[2])?;
    if replicas < 0 {
        return Err("ERR value is out of range, must be positive".into());
    }
    let timeout_ms = parse_integer(arguments[3]).ok_or("ERR timeout is not an integer or out of range")?;
    if timeout_ms < 0 {
        return Err("ERR timeout is negative".into());
    }
    let shared = session.core.shared.clone();
    let is_off = {
        let shared = shared.clone();
        move || local > 0 && !shared.config().persistence.append_only
    };
    if is_off() {
        return Err(OFF.into());
    }
    session.core.hand_over_effects();
    let ticket = shared.append_log.pushed();
    let is_durable = shared.append_log.durable() >= ticket && session.connection.outstanding() == 0;
    if (is_durable || local == 0) && replicas == 0 || session.core.is_in_unit() {
        let mut reply = session.reply();
        reply.array(2);
        reply.integer(i64::from(is_durable));
        reply.integer(0);
        return Ok(());
    }
    let key = session.connection.key;
    let tasks = session.core.tasks.clone();
    session.answer_by_task(async move {
        let limit_ns = (timeout_ms as u64).saturating_mul(1_000_000);
        let until_ns = tasks.executor.now_ns().saturating_add(limit_ns);
        let pushed = |core: &mut Core| {
            core.hand_over_effects();
            core.shared.append_log.pushed()
        };
        let ticket = tasks.on_core(pushed).await;
        let is_durable = move || shared.append_log.durable() >= ticket;
        let is_over = |now_ns: u64| timeout_ms > 0 && now_ns >= until_ns;
        let mut is_gone = false;
        while !(is_gone || is_over(tasks.executor.now_ns()) || is_off() || is_durable() && replicas == 0) {
            tasks.executor.sleep(LOOK_AGAIN).await;
            is_gone = tasks.on_core(move |core| core.connection_mut(key).is_none()).await;
        }
        let acknowledged = i64::from(is_durable());
        if is_off() {
            return Err(OFF.as_bytes().to_vec());
        }
        Ok(move |reply: &mut Reply<'_>| {
            reply.array(2);
            reply.integer(acknowledged);
            reply.integer(0);
        })
    });
    Ok(())
}
