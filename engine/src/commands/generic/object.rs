//! OBJECT: what a value looks like inside. None of it counts as an access.

use super::super::introspection::reply_help;
use crate::command::{CommandResult, Execution};
use crate::keyspace::Access;
use crate::values::StringRef;

/// What the real server calls the references to the small integers that it shares.
const SHARED_REFERENCES: i64 = i32::MAX as i64;
/// Integers below this are shared there.
const SHARED_INTEGERS: i64 = 10_000;

/// `OBJECT ENCODING | FREQ | IDLETIME | REFCOUNT key`, `OBJECT HELP`
pub(super) fn object(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let subcommand = arguments[1].to_ascii_uppercase();
    if subcommand == b"HELP" {
        reply_help(
            &mut execution.reply,
            "OBJECT",
            &[
                ("ENCODING <key>", &["The representation chosen for the value."]),
                ("FREQ <key>", &["The access counter, logarithmic, if the eviction policy keeps one."]),
                ("IDLETIME <key>", &["Seconds since the last access, if the eviction policy keeps that."]),
                ("REFCOUNT <key>", &["References to the value, as a shared or an own one."]),
            ],
        );
        return Ok(());
    }
    let (now, frequency_counters) = (execution.now, execution.options.frequency_counters);
    let shares_integers = execution.options.shares_integers;
    let key = execution.keyspace.key(arguments[2]);
    let Some(entry) = execution.keyspace.find(execution.database, &key, now, Access::Unnoticed) else {
        execution.reply.null();
        return Ok(());
    };
    match subcommand.as_slice() {
        b"ENCODING" => {
            let name = entry.encoding_name();
            execution.reply.bulk(name.as_bytes());
        }
        b"FREQ" if !frequency_counters => {
            return Err("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
                        when switching between policies at runtime LRU and LFU data will take some time to adjust."
                .into());
        }
        b"FREQ" => {
            let frequency = entry.frequency(now);
            execution.reply.integer(i64::from(frequency));
        }
        b"IDLETIME" if frequency_counters => {
            return Err("ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
                        switching between policies at runtime LRU and LFU data will take some time to adjust."
                .into());
        }
        b"IDLETIME" => {
            let seconds = entry.idle_seconds(now);
            execution.reply.integer(seconds as i64);
        }
        _ => {
            let shared = shares_integers && matches!(entry.string(), Some(StringRef::Integer(0..SHARED_INTEGERS)));
            execution.reply.integer(if shared { SHARED_REFERENCES } else { 1 });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    #[test]
    fn answers_and_errors() {
        let shard = &mut Shard::default();
        shard.check("SET a hello", "+OK\r\n");
        shard.check("OBJECT ENCODING a", "$6\r\nembstr\r\n");
        shard.check("OBJECT encoding none", "$-1\r\n");
        shard.check("OBJECT FREQ none", "$-1\r\n");
        shard.check("OBJECT REFCOUNT a", ":1\r\n");
        shard.check("SET i 9999", "+OK\r\n");
        shard.check("OBJECT REFCOUNT i", ":2147483647\r\n");
        shard.check("INCR i", ":10000\r\n");
        shard.check("OBJECT REFCOUNT i", ":1\r\n");
        shard.check("OBJECT ENCODING i", "$3\r\nint\r\n");
        shard.check(&format!("SET long {}", "x".repeat(45)), "+OK\r\n");
        shard.check("OBJECT ENCODING long", "$3\r\nraw\r\n");
        assert!(shard.run("OBJECT FREQ a").starts_with("-ERR An LFU maxmemory policy is not selected, access"));
        shard.options.frequency_counters = true;
        assert!(shard.run("OBJECT IDLETIME a").starts_with("-ERR An LFU maxmemory policy is selected, idle"));
        assert!(shard.run("OBJECT FREQ a").starts_with(':'));
        shard.check("OBJECT", "-ERR wrong number of arguments for 'object' command\r\n");
        shard.check("OBJECT FOO", "-ERR unknown subcommand 'FOO'. Try OBJECT HELP.\r\n");
        shard.check("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command\r\n");
        let help = shard.run("OBJECT HELP");
        assert!(
            help.starts_with("*11\r\n+OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n"),
            "{help}"
        );
    }
}
