//! EVAL, FCALL and their kin: a script or function on the shard of its keys.

use super::ROW;
use crate::scripting::{Inputs, ShardScripting, begin_function, begin_script};
use torc_engine::command::argument::{integer, key, string};
use torc_engine::command::{
    Argument, Arity, Command, CommandResult, Execution, Flags, KeyFlags, KeySpec, Spec, Spread,
};
use torc_scripting::Sha;

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
        run: |execution, arguments| eval(execution, arguments, false),
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
        run: |execution, arguments| eval(execution, arguments, true),
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
        run: |execution, arguments| evalsha(execution, arguments, false),
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
        run: |execution, arguments| evalsha(execution, arguments, true),
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
        run: |execution, arguments| fcall(execution, arguments, false),
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
        run: |execution, arguments| fcall(execution, arguments, true),
    },
];

const NO_INTERPRETERS: &str = "ERR Scripts are not supported here";
const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

fn eval(execution: &mut Execution<'_>, arguments: &[&[u8]], is_read_only: bool) -> CommandResult {
    let scripting = ShardScripting::of(execution).ok_or(NO_INTERPRETERS)?;
    let inputs = Inputs::parse(arguments, NOT_A_NUMBER)?;
    let script = scripting.keep(arguments[1], false)?;
    begin_script(execution, &scripting, &script, inputs, is_read_only)
}

fn evalsha(execution: &mut Execution<'_>, arguments: &[&[u8]], is_read_only: bool) -> CommandResult {
    const UNKNOWN: &str = "NOSCRIPT No matching script. Please use EVAL.";
    let scripting = ShardScripting::of(execution).ok_or(NO_INTERPRETERS)?;
    // The digest is looked at before the number of keys, as in the real server.
    let script = Sha::parse(arguments[1]).and_then(|sha| scripting.script(&sha));
    let inputs = Inputs::parse(arguments, NOT_A_NUMBER)?;
    begin_script(execution, &scripting, &script.ok_or(UNKNOWN)?, inputs, is_read_only)
}

fn fcall(execution: &mut Execution<'_>, arguments: &[&[u8]], is_read_only: bool) -> CommandResult {
    let scripting = ShardScripting::of(execution).ok_or(NO_INTERPRETERS)?;
    if scripting.library_of(arguments[1]).is_none() {
        return Err("ERR Function not found".into());
    }
    let inputs = Inputs::parse(arguments, "ERR Bad number of keys provided")?;
    begin_function(execution, &scripting, arguments[1], inputs, is_read_only)
}
