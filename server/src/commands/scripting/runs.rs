//! EVAL, FCALL and their kin: a script or function on the shard of its keys.

use super::ROW;
use crate::scripting::{ScriptRun, ShardScripting, begin};
use torc_engine::command::argument::{integer, key, string};
use torc_engine::command::{
    Argument, Arity, Command, CommandResult, Execution, Flags, KeyFlags, KeySpec, Spec, Spread,
};

const FLAGS: Flags = Flags::NOSCRIPT
    .or(Flags::STALE)
    .or(Flags::SKIP_MONITOR)
    .or(Flags::MAY_REPLICATE)
    .or(Flags::NO_MANDATORY_KEYS)
    .or(Flags::MOVABLEKEYS);
const FLAGS_RO: Flags = Flags::READONLY
    .or(Flags::NOSCRIPT)
    .or(Flags::STALE)
    .or(Flags::SKIP_MONITOR)
    .or(Flags::NO_MANDATORY_KEYS)
    .or(Flags::MOVABLEKEYS);

const KEYS: KeySpec = KeySpec::counted(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE), 2, 1);
const KEYS_RO: KeySpec = KeySpec::counted(KeyFlags::RO.or(KeyFlags::ACCESS), 2, 1);
const ANY_WRITE: &str = "What is done with the keys is up to the script, so the worst is said";
const ANY_READ: &str = "What is done with the keys is up to the script, so the worst is said of a reader";

const SCRIPT_ARGUMENTS: &[Argument] =
    &[string("script"), integer("numkeys"), key("key").optional().multiple(), string("arg").optional().multiple()];
const SHA_ARGUMENTS: &[Argument] =
    &[string("sha1"), integer("numkeys"), key("key").optional().multiple(), string("arg").optional().multiple()];
const FUNCTION_ARGUMENTS: &[Argument] =
    &[string("function"), integer("numkeys"), key("key").optional().multiple(), string("arg").optional().multiple()];

const RUN: Spec = Spec {
    arity: Arity::AtLeast(3),
    flags: FLAGS,
    spread: Spread::Overlay,
    complexity: "Depends on the script",
    ..ROW
};

/// The rows.
pub(in super::super) static RUNS: [Command; 6] = [
    Command {
        spec: Spec {
            name: "eval",
            since: "2.6.0",
            keys: &[KEYS.noted(ANY_WRITE)],
            summary: "Runs a script",
            arguments: SCRIPT_ARGUMENTS,
            ..RUN
        },
        run: |execution, arguments| run(execution, arguments, "eval"),
    },
    Command {
        spec: Spec {
            name: "eval_ro",
            flags: FLAGS_RO,
            keys: &[KEYS_RO.noted(ANY_READ)],
            summary: "Runs a script that writes nothing",
            arguments: SCRIPT_ARGUMENTS,
            ..RUN
        },
        run: |execution, arguments| run(execution, arguments, "eval_ro"),
    },
    Command {
        spec: Spec {
            name: "evalsha",
            since: "2.6.0",
            keys: &[KEYS],
            summary: "Runs a script that is known by its digest",
            arguments: SHA_ARGUMENTS,
            ..RUN
        },
        run: |execution, arguments| run(execution, arguments, "evalsha"),
    },
    Command {
        spec: Spec {
            name: "evalsha_ro",
            flags: FLAGS_RO,
            keys: &[KEYS_RO],
            summary: "Runs a script that is known by its digest and writes nothing",
            arguments: SHA_ARGUMENTS,
            ..RUN
        },
        run: |execution, arguments| run(execution, arguments, "evalsha_ro"),
    },
    Command {
        spec: Spec {
            name: "fcall",
            keys: &[KEYS.noted(ANY_WRITE)],
            complexity: "Depends on the function",
            summary: "Runs a function",
            arguments: FUNCTION_ARGUMENTS,
            ..RUN
        },
        run: |execution, arguments| run(execution, arguments, "fcall"),
    },
    Command {
        spec: Spec {
            name: "fcall_ro",
            flags: FLAGS_RO,
            keys: &[KEYS_RO.noted(ANY_READ)],
            complexity: "Depends on the function",
            summary: "Runs a function that writes nothing",
            arguments: FUNCTION_ARGUMENTS,
            ..RUN
        },
        run: |execution, arguments| run(execution, arguments, "fcall_ro"),
    },
];

fn run(execution: &mut Execution<'_>, arguments: &[&[u8]], name: &str) -> CommandResult {
    let scripting = ShardScripting::of(execution).ok_or("ERR Scripts are not supported here")?;
    let run = ScriptRun::prepare(&scripting, name, arguments, execution.database)?;
    begin(execution, run, arguments)
}
