//! The group *pubsub*, as far as it needs no connection: PUBLISH hands a message to the journal, from where it goes to its
//! subscribers behind everything that happened before it; PUBSUB tells of them. Who subscribed is the server's business.

use super::glob::{Case, matches};
use super::introspection::reply_help;
use crate::audience::Topic;
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{pattern, string};
use crate::command::{Channels, Command, CommandError, CommandResult, Execution, Flags, KeyFlags, KeySpec, Spec};

const ROW: Spec =
    Spec { group: "pubsub", flags: Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE), since: "2.8.0", ..Spec::BASE };
const PUBLISH: Spec =
    Spec { arity: Exact(3), flags: ROW.flags.or(Flags::FAST).or(Flags::MAY_REPLICATE), since: "2.0.0", ..ROW };

static CHANNELS: Spec = Spec {
    name: "channels",
    arity: AtLeast(2),
    complexity: "O(N) in the number of channels with subscribers",
    summary: "Lists the channels that have subscribers",
    arguments: &[pattern("pattern").optional()],
    ..ROW
};
static HELP: Spec = Spec {
    name: "help",
    arity: Exact(2),
    flags: Flags::LOADING.or(Flags::STALE),
    since: "6.2.0",
    summary: "Lists the subcommands",
    ..ROW
};
static NUMPAT: Spec =
    Spec { name: "numpat", arity: Exact(2), summary: "Counts the patterns that have subscribers", ..ROW };
static NUMSUB: Spec = Spec {
    name: "numsub",
    arity: AtLeast(2),
    complexity: "O(N) in the number of channels asked for",
    summary: "Counts the subscribers of channels",
    arguments: &[string("channel").optional().multiple()],
    ..ROW
};
static SHARDCHANNELS: Spec = Spec {
    name: "shardchannels",
    arity: AtLeast(2),
    since: "7.0.0",
    complexity: "O(N) in the number of shard channels with subscribers",
    summary: "Lists the shard channels that have subscribers",
    arguments: &[pattern("pattern").optional()],
    ..ROW
};
static SHARDNUMSUB: Spec = Spec {
    name: "shardnumsub",
    arity: AtLeast(2),
    since: "7.0.0",
    complexity: "O(N) in the number of shard channels asked for",
    summary: "Counts the subscribers of shard channels",
    arguments: &[string("shardchannel").optional().multiple()],
    ..ROW
};

/// The rows.
pub static COMMANDS: &[Command] = &[
    Command {
        spec: Spec {
            name: "publish",
            channels: Channels::First,
            complexity: "O(N+M) in the subscribers of the channel and the patterns that have any",
            summary: "Sends a message to the subscribers of a channel",
            arguments: &[string("channel"), string("message")],
            ..PUBLISH
        },
        run: |execution, arguments| publish(execution, arguments, false),
    },
    Command {
        spec: Spec {
            name: "pubsub",
            arity: AtLeast(2),
            flags: Flags::NONE,
            complexity: "Depends on the subcommand",
            summary: "Tells of channels and their subscribers through its subcommands",
            subcommands: &[&CHANNELS, &HELP, &NUMPAT, &NUMSUB, &SHARDCHANNELS, &SHARDNUMSUB],
            ..ROW
        },
        run: pubsub,
    },
    Command {
        spec: Spec {
            name: "spublish",
            channels: Channels::First,
            keys: &[KeySpec::range(KeyFlags::NOT_KEY, 1, 1, 1)],
            since: "7.0.0",
            complexity: "O(N) in the subscribers of the shard channel",
            summary: "Sends a message to the subscribers of a shard channel",
            arguments: &[string("shardchannel"), string("message")],
            ..PUBLISH
        },
        run: |execution, arguments| publish(execution, arguments, true),
    },
];

/// `PUBLISH channel message`, `SPUBLISH shardchannel message`
fn publish(execution: &mut Execution<'_>, arguments: &[&[u8]], is_sharded: bool) -> CommandResult {
    let receivers = execution.keyspace.journal.publish(is_sharded, arguments[1], arguments[2]);
    execution.reply.integer(receivers as i64);
    Ok(())
}

/// `PUBSUB CHANNELS | NUMPAT | NUMSUB | SHARDCHANNELS | SHARDNUMSUB ...`
fn pubsub(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    match arguments[1].to_ascii_lowercase().as_slice() {
        b"channels" => list_channels(execution, arguments, false),
        b"shardchannels" => list_channels(execution, arguments, true),
        b"numsub" => count_subscribers(execution, arguments, false),
        b"shardnumsub" => count_subscribers(execution, arguments, true),
        b"numpat" => {
            let patterns = execution.keyspace.journal.audience().borrow().len(Topic::Pattern);
            execution.reply.integer(patterns as i64);
            Ok(())
        }
        _ => {
            help(execution);
            Ok(())
        }
    }
}

fn list_channels(execution: &mut Execution<'_>, arguments: &[&[u8]], is_sharded: bool) -> CommandResult {
    let pattern = match arguments[2..] {
        [] => &b"*"[..],
        [pattern] => pattern,
        _ => {
            let before = "ERR unknown subcommand or wrong number of arguments for '";
            return Err(CommandError::echo(before, arguments[1], "'. Try PUBSUB HELP."));
        }
    };
    let audience = execution.keyspace.journal.audience().clone();
    let audience = audience.borrow();
    let fits = |channel: &&[u8]| pattern == b"*" || matches(pattern, channel, Case::Sensitive);
    let channels: Vec<&[u8]> = audience.channels(is_sharded).filter(fits).collect();
    execution.reply.array(channels.len());
    channels.into_iter().for_each(|channel| execution.reply.bulk(channel));
    Ok(())
}

fn count_subscribers(execution: &mut Execution<'_>, arguments: &[&[u8]], is_sharded: bool) -> CommandResult {
    let audience = execution.keyspace.journal.audience().clone();
    let audience = audience.borrow();
    execution.reply.array((arguments.len() - 2) * 2);
    for channel in &arguments[2..] {
        execution.reply.bulk(channel);
        execution.reply.integer(audience.subscribers(is_sharded, channel) as i64);
    }
    Ok(())
}

fn help(execution: &mut Execution<'_>) {
    reply_help(
        &mut execution.reply,
        "PUBSUB",
        &[
            ("CHANNELS [<pattern>]", &["The channels that have subscribers and fit <pattern>."]),
            ("NUMPAT", &["How many patterns have subscribers."]),
            ("NUMSUB [<channel> ...]", &["How many subscribers each channel has, those by pattern left out."]),
            ("SHARDCHANNELS [<pattern>]", &["The shard channels that have subscribers and fit <pattern>."]),
            ("SHARDNUMSUB [<shardchannel> ...]", &["How many subscribers each shard channel has."]),
        ],
    );
}

#[cfg(test)]
mod tests {
    use crate::audience::{Change, Topic};
    use crate::commands::harness::Shard;
    use crate::reply::Protocol;

    #[test]
    fn a_message_is_told_if_somebody_hears_it_behind_the_events_before_it() {
        let mut shard = Shard::default();
        let run = |shard: &mut Shard, line: &str| {
            let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            String::from_utf8_lossy(&shard.execute(Protocol::Resp2, &arguments)).into_owned()
        };
        assert_eq!(run(&mut shard, "publish news nobody"), ":0\r\n");
        let audience = shard.keyspace.journal.audience().clone();
        audience.borrow_mut().change(Topic::Channel, b"news", 1, Change { listening: 2, counted: 2 });
        audience.borrow_mut().change(Topic::ShardChannel, b"news", 0, Change { listening: 1, counted: 1 });
        assert_eq!(run(&mut shard, "publish news hello"), ":2\r\n");
        assert_eq!(run(&mut shard, "spublish news local"), ":1\r\n");
        let (_, events) = shard.keyspace.journal.take();
        let told: Vec<_> = events.iter().map(|event| (event.name, &event.key[..], &event.subkeys[0][..])).collect();
        assert_eq!(told, [("message", &b"news"[..], &b"hello"[..]), ("smessage", b"news", b"local")]);
        assert_eq!(run(&mut shard, "pubsub numsub news x"), "*4\r\n$4\r\nnews\r\n:2\r\n$1\r\nx\r\n:0\r\n");
        assert_eq!(run(&mut shard, "pubsub channels n*"), "*1\r\n$4\r\nnews\r\n");
        assert_eq!(run(&mut shard, "pubsub numpat"), ":0\r\n");
    }
}
