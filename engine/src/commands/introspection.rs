//! COMMAND: what the rows of a command table say, as replies. Pure functions of specs, so that the server can run them
//! over its whole table; [`command`] is the container's handler, [`COMMAND`] its row. Shapes as the real server's, in
//! RESP2 and RESP3.

use super::errors::{is, syntax};
use super::glob::{self, Case};
use crate::command::Arity::{AtLeast, Exact};
use crate::command::argument::{ArgumentKind, one_of, pattern, string};
use crate::command::{
    Argument, BeginSearch, Categories, CommandError, CommandResult, FindKeys, Flags, KeySpec, Spec, Table,
};
use crate::reply::Reply;

const CONNECTION: Spec = Spec {
    group: "server",
    own_categories: Categories::CONNECTION,
    flags: Flags::LOADING.or(Flags::STALE),
    since: "2.8.13",
    ..Spec::BASE
};

const COMMAND_NAMES: &[Argument] = &[string("command-name").optional().multiple()];

/// The row of COMMAND.
pub static COMMAND: Spec = Spec {
    name: "command",
    arity: AtLeast(1),
    complexity: "O(N) in the number of commands",
    summary: "Tells of all commands, or of one through its subcommands",
    tips: &["nondeterministic_output_order"],
    subcommands: &[&COUNT, &DOCS, &GETKEYS, &GETKEYSANDFLAGS, &HELP, &INFO, &LIST],
    ..CONNECTION
};
static COUNT: Spec = Spec { name: "count", arity: Exact(2), summary: "Counts the commands", ..CONNECTION };
static DOCS: Spec = Spec {
    name: "docs",
    arity: AtLeast(2),
    since: "7.0.0",
    complexity: "O(N) in the number of commands asked for",
    summary: "Gives the documentation of commands",
    arguments: COMMAND_NAMES,
    tips: &["nondeterministic_output_order"],
    ..CONNECTION
};
static GETKEYS: Spec = Spec {
    name: "getkeys",
    arity: AtLeast(4),
    complexity: "O(N) in the number of arguments",
    summary: "Finds the keys among a command's arguments",
    ..CONNECTION
};
static GETKEYSANDFLAGS: Spec = Spec {
    name: "getkeysandflags",
    arity: AtLeast(4),
    since: "7.0.0",
    complexity: "O(N) in the number of arguments",
    summary: "Finds the keys among a command's arguments and tells what it does with them",
    ..CONNECTION
};
static HELP: Spec =
    Spec { name: "help", arity: Exact(2), since: "5.0.0", summary: "Lists the subcommands", ..CONNECTION };
static INFO: Spec = Spec {
    name: "info",
    arity: AtLeast(2),
    complexity: "O(N) in the number of commands asked for",
    summary: "Gives arity, flags, categories and keys of commands",
    arguments: COMMAND_NAMES,
    history: &[("7.0.0", "Without a name it tells of all commands.")],
    tips: &["nondeterministic_output_order"],
    ..CONNECTION
};
static LIST: Spec = Spec {
    name: "list",
    arity: AtLeast(2),
    since: "7.0.0",
    complexity: "O(N) in the number of commands",
    summary: "Gives the names of commands, by module, category or pattern if wanted",
    arguments: &[one_of(
        "filterby",
        &[
            string("module-name").token("MODULE"),
            string("category").token("ACLCAT"),
            pattern("pattern").token("PATTERN"),
        ],
    )
    .token("FILTERBY")
    .optional()],
    tips: &["nondeterministic_output_order"],
    ..CONNECTION
};

/// The lines of a container's HELP: its head, then for each subcommand its form and what it does.
pub fn reply_help(reply: &mut Reply<'_>, container: &str, subcommands: &[(&str, &[&str])]) {
    let subcommands = || subcommands.iter().chain(&[("HELP", &["Prints this help."] as &[&str])]);
    reply.array(1 + subcommands().map(|(_, lines)| 1 + lines.len()).sum::<usize>());
    reply.status(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (form, lines) in subcommands() {
        reply.status(form);
        for line in *lines {
            reply.status(&format!("    {line}"));
        }
    }
}

/// A command or a subcommand with its container.
#[derive(Clone, Copy)]
struct Named {
    spec: &'static Spec,
    container: Option<&'static Spec>,
}

impl Named {
    fn top(spec: &'static Spec) -> Self {
        Self { spec, container: None }
    }

    /// By its full name: `get`, `object|freq`.
    fn find<T>(table: &Table<T>, name: &[u8]) -> Option<Self> {
        let mut parts = name.splitn(2, |byte| *byte == b'|');
        let (container, _) = table.find(parts.next()?)?;
        match parts.next() {
            None => Some(Self::top(container)),
            Some(name) => container.subcommand(name).map(|spec| Self { spec, container: Some(container) }),
        }
    }

    /// That of a whole command line.
    fn of_arguments<T>(table: &Table<T>, arguments: &[&[u8]]) -> Option<Self> {
        let (spec, _) = table.find(arguments[0])?;
        match arguments.get(1) {
            Some(name) if !spec.subcommands.is_empty() => {
                spec.subcommand(name).map(|found| Self { spec: found, container: Some(spec) })
            }
            _ => Some(Self::top(spec)),
        }
    }

    fn name(self) -> String {
        self.container.map_or(self.spec.name.into(), |container| format!("{}|{}", container.name, self.spec.name))
    }

    fn subcommands(self) -> impl ExactSizeIterator<Item = Self> {
        self.spec.subcommands.iter().map(move |spec| Self { spec, container: Some(self.spec) })
    }
}

/// Runs COMMAND and its subcommands over a table. Name and arity have been checked.
pub fn command<T>(table: &Table<T>, reply: &mut Reply<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Some(subcommand) = arguments.get(1) else {
        reply_all(table, reply);
        return Ok(());
    };
    match subcommand.to_ascii_uppercase().as_slice() {
        b"COUNT" => reply.integer(table.len() as i64),
        b"DOCS" => reply_docs_of(table, reply, &arguments[2..]),
        b"GETKEYS" => reply_keys(table, reply, &arguments[2..], false)?,
        b"GETKEYSANDFLAGS" => reply_keys(table, reply, &arguments[2..], true)?,
        b"INFO" if arguments.len() == 2 => reply_all(table, reply),
        b"INFO" => {
            reply.array(arguments.len() - 2);
            for name in &arguments[2..] {
                match Named::find(table, name) {
                    None => reply.null(),
                    Some(command) => reply_info(reply, command),
                }
            }
        }
        b"LIST" => reply_names(table, reply, &arguments[2..])?,
        _ => reply_help(
            reply,
            "COMMAND",
            &[
                ("(no subcommand)", &["All commands, as INFO shows them."]),
                ("COUNT", &["The number of commands."]),
                ("LIST [FILTERBY MODULE|ACLCAT|PATTERN <value>]", &["The names of commands."]),
                ("INFO [<command-name> ...]", &["Arity, flags, categories and keys of these commands, or of all."]),
                ("DOCS [<command-name> ...]", &["Documentation of these commands, or of all."]),
                ("GETKEYS <full-command>", &["The keys of a whole command line."]),
                ("GETKEYSANDFLAGS <full-command>", &["The same, and what is done with each."]),
            ],
        ),
    }
    Ok(())
}

fn reply_all<T>(table: &Table<T>, reply: &mut Reply<'_>) {
    reply.array(table.len());
    for (spec, _) in table.iter() {
        reply_info(reply, Named::top(spec));
    }
}

/// One command as COMMAND INFO shows it: ten elements.
fn reply_info(reply: &mut Reply<'_>, command: Named) {
    let Named { spec, .. } = command;
    reply.array(10);
    reply.bulk(command.name().as_bytes());
    reply.integer(spec.arity.as_number());
    let flags: Vec<_> = spec.flags.without(Flags::HIDDEN).names().collect();
    reply_statuses(reply, &flags);
    let (first, last, step) = key_range(spec.keys);
    for number in [first, last, step] {
        reply.integer(number);
    }
    let categories: Vec<_> = spec.categories().names().map(|name| format!("@{name}")).collect();
    reply_statuses(reply, &categories);
    reply.set(spec.tips.len());
    for tip in spec.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(spec.keys.len());
    for keys in spec.keys {
        reply_key_spec(reply, keys);
    }
    reply.set(spec.subcommands.len());
    for subcommand in command.subcommands() {
        reply_info(reply, subcommand);
    }
}

fn reply_statuses(reply: &mut Reply<'_>, texts: &[impl AsRef<str>]) {
    reply.set(texts.len());
    for text in texts {
        reply.status(text.as_ref());
    }
}

/// The old way of telling where keys are: first, last, step. Only key specs at fixed positions count, from the first on
/// as long as they follow one another; 0, 0, 0 where there is none.
fn key_range(specs: &[KeySpec]) -> (i64, i64, i64) {
    let mut range: Option<(i64, i64, i64)> = None;
    for spec in specs {
        let (BeginSearch::Index(index), FindKeys::Range { last, step, .. }) = (spec.begin, spec.find) else { continue };
        let (begin, step) = (index as i64, step as i64);
        let end = if last >= 0 { begin + i64::from(last) } else { i64::from(last) };
        range = match range {
            None => Some((begin, end, step)),
            Some((first, previous, 1)) if step == 1 && previous + 1 == begin => Some((first, end, 1)),
            unchanged => unchanged,
        };
    }
    range.unwrap_or_default()
}

fn reply_key_spec(reply: &mut Reply<'_>, spec: &KeySpec) {
    reply.map(3 + usize::from(!spec.notes.is_empty()));
    if !spec.notes.is_empty() {
        reply_pair(reply, "notes", spec.notes);
    }
    reply.bulk(b"flags");
    let flags: Vec<_> = spec.flags.names().collect();
    reply_statuses(reply, &flags);
    reply.bulk(b"begin_search");
    match spec.begin {
        BeginSearch::Index(index) => reply_search(reply, "index", &[("index", Fact::Number(index as i64))]),
        BeginSearch::Keyword(word, start) => reply_search(
            reply,
            "keyword",
            &[("keyword", Fact::Text(word)), ("startfrom", Fact::Number(i64::from(start)))],
        ),
        BeginSearch::Unknown => reply_search(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match spec.find {
        FindKeys::Range { last, step, limit } => reply_search(
            reply,
            "range",
            &[
                ("lastkey", Fact::Number(i64::from(last))),
                ("keystep", Fact::Number(step as i64)),
                ("limit", Fact::Number(limit as i64)),
            ],
        ),
        FindKeys::Count { count_index, first, step } => reply_search(
            reply,
            "keynum",
            &[
                ("keynumidx", Fact::Number(count_index as i64)),
                ("firstkey", Fact::Number(first as i64)),
                ("keystep", Fact::Number(step as i64)),
            ],
        ),
        FindKeys::Unknown => reply_search(reply, "unknown", &[]),
    }
}

enum Fact {
    Number(i64),
    Text(&'static str),
}

fn reply_search(reply: &mut Reply<'_>, kind: &str, facts: &[(&str, Fact)]) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(facts.len());
    for (name, fact) in facts {
        reply.bulk(name.as_bytes());
        match fact {
            Fact::Number(number) => reply.integer(*number),
            Fact::Text(text) => reply.bulk(text.as_bytes()),
        }
    }
}

fn reply_docs_of<T>(table: &Table<T>, reply: &mut Reply<'_>, names: &[&[u8]]) {
    let commands: Vec<Named> = if names.is_empty() {
        table.iter().map(|(spec, _)| Named::top(spec)).collect()
    } else {
        names.iter().filter_map(|name| Named::find(table, name)).collect()
    };
    reply.map(commands.len());
    for command in commands {
        reply_docs(reply, command);
    }
}

fn reply_pair(reply: &mut Reply<'_>, name: &str, text: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(text.as_bytes());
}

/// Name and documentation of one command, as a pair of a map.
fn reply_docs(reply: &mut Reply<'_>, command: Named) {
    let Named { spec, .. } = command;
    reply.bulk(command.name().as_bytes());
    let mut texts =
        vec![("summary", spec.summary), ("since", spec.since), ("group", spec.group), ("complexity", spec.complexity)];
    texts.retain(|(_, text)| !text.is_empty());
    let marks = [(spec.deprecated.is_some(), "deprecated"), (spec.is_internal, "syscmd")];
    let marks: Vec<_> = marks.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect();
    let lists = [!marks.is_empty(), !spec.history.is_empty(), !spec.arguments.is_empty(), !spec.subcommands.is_empty()];
    let lists = lists.into_iter().filter(|is_there| *is_there).count();
    reply.map(texts.len() + spec.deprecated.map_or(0, |_| 2) + lists);
    for (name, text) in texts {
        reply_pair(reply, name, text);
    }
    if !marks.is_empty() {
        reply.bulk(b"doc_flags");
        reply_statuses(reply, &marks);
    }
    if let Some(deprecated) = spec.deprecated {
        reply_pair(reply, "deprecated_since", deprecated.since);
        reply_pair(reply, "replaced_by", deprecated.replaced_by);
    }
    if !spec.history.is_empty() {
        reply.bulk(b"history");
        reply.set(spec.history.len());
        for (version, change) in spec.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
    if !spec.arguments.is_empty() {
        reply.bulk(b"arguments");
        reply_arguments(reply, spec.arguments);
    }
    if !spec.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(spec.subcommands.len());
        for subcommand in command.subcommands() {
            reply_docs(reply, subcommand);
        }
    }
}

fn reply_arguments(reply: &mut Reply<'_>, arguments: &[Argument]) {
    reply.array(arguments.len());
    for argument in arguments {
        let texts =
            [("token", argument.token), ("since", argument.since), ("deprecated_since", argument.deprecated_since)];
        let flags = [
            (argument.is_optional, "optional"),
            (argument.is_multiple, "multiple"),
            (argument.repeats_token, "multiple_token"),
        ];
        let flags: Vec<_> = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect();
        let texts_there = texts.iter().filter(|(_, text)| text.is_some()).count();
        let key_spec = match argument.kind {
            ArgumentKind::Key(spec) | ArgumentKind::KeyPattern(spec) => Some(spec),
            _ => None,
        };
        let lists = usize::from(!flags.is_empty()) + usize::from(!argument.inside().is_empty());
        reply.map(2 + usize::from(key_spec.is_some()) + texts_there + lists);
        // A word is its own name.
        let is_named_by_token = argument.kind == ArgumentKind::Word && argument.name.is_empty();
        let name = argument.token.filter(|_| is_named_by_token).map(str::to_ascii_lowercase);
        reply_pair(reply, "name", name.as_deref().unwrap_or(argument.name));
        reply_pair(reply, "type", argument.kind.name());
        if let Some(spec) = key_spec {
            reply.bulk(b"key_spec_index");
            reply.integer(i64::from(spec));
        }
        for (name, text) in texts {
            if let Some(text) = text {
                reply_pair(reply, name, text);
            }
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply_statuses(reply, &flags);
        }
        if !argument.inside().is_empty() {
            reply.bulk(b"arguments");
            reply_arguments(reply, argument.inside());
        }
    }
}

/// GETKEYS and GETKEYSANDFLAGS of a whole command line.
fn reply_keys<T>(table: &Table<T>, reply: &mut Reply<'_>, line: &[&[u8]], with_flags: bool) -> CommandResult {
    let Some(Named { spec, .. }) = Named::of_arguments(table, line) else {
        return Err("ERR Invalid command specified".into());
    };
    if spec.keys.is_empty() {
        return Err("ERR The command has no key arguments".into());
    }
    if !spec.arity.accepts(line.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    let mut keys = Vec::new();
    let fits = spec.visit_keys(line, |index, flags| keys.push((line[index], spec.actual_flags(flags, line))));
    if !fits || (keys.is_empty() && !spec.flags.has(Flags::NO_MANDATORY_KEYS)) {
        if !spec.flags.has(Flags::NO_MANDATORY_KEYS) {
            return Err(CommandError::from("ERR Invalid arguments specified for command"));
        }
        keys.clear();
    }
    reply.array(keys.len());
    for (key, flags) in keys {
        if with_flags {
            reply.array(2);
            reply.bulk(key);
            let names: Vec<_> = flags.names().collect();
            reply_statuses(reply, &names);
        } else {
            reply.bulk(key);
        }
    }
    Ok(())
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`
fn reply_names<T>(table: &Table<T>, reply: &mut Reply<'_>, options: &[&[u8]]) -> CommandResult {
    let everything = || {
        table.iter().flat_map(|(spec, _)| {
            let command = Named::top(spec);
            std::iter::once(command).chain(command.subcommands())
        })
    };
    let names: Vec<String> = match options {
        [] => everything().map(Named::name).collect(),
        [filter, kind, value] if is(filter, "FILTERBY") => {
            if is(kind, "MODULE") {
                Vec::new()
            } else if is(kind, "ACLCAT") {
                let category = std::str::from_utf8(value).ok().and_then(Categories::from_name);
                let inside = |command: &Named| category.is_some_and(|wanted| command.spec.categories().has(wanted));
                everything().filter(inside).map(Named::name).collect()
            } else if is(kind, "PATTERN") {
                let fits = |name: &String| glob::matches(value, name.as_bytes(), Case::Insensitive);
                everything().map(Named::name).filter(fits).collect()
            } else {
                return Err(syntax());
            }
        }
        _ => return Err(syntax()),
    };
    reply.array(names.len());
    for name in &names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Protocol, ReplyBuffer};

    /// Runs a COMMAND line over the engine's table and shows the reply's lines with spaces between them.
    fn run(protocol: Protocol, line: &str) -> String {
        let rows = super::super::all().map(|command| (&command.spec, Some(command.run)));
        let table = Table::new(rows.chain([(&COMMAND, None)]));
        let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut buffer = ReplyBuffer::default();
        let mut reply = Reply::new(&mut buffer, protocol);
        let result = table.resolve(&arguments).and_then(|_| command(&table, &mut reply, &arguments));
        if let Err(error) = result {
            reply.error_bytes(&error.0);
        }
        String::from_utf8(buffer.flatten()).expect("text").replace("\r\n", " ").trim_end().to_string()
    }

    fn check(line: &str, expected: &str) {
        assert_eq!(run(Protocol::Resp2, line), expected, "{line}");
    }

    #[test]
    fn info_has_the_real_server_s_shape() {
        assert_eq!(
            run(Protocol::Resp3, "COMMAND INFO mget nope"),
            "*2 *10 $4 mget :-2 ~2 +readonly +fast :1 :-1 :1 ~3 +@read +@string +@fast ~1 $26 \
             request_policy:multi_shard ~1 %3 $5 flags ~2 +RO +access $12 begin_search %2 $4 type $5 index $4 spec %1 \
             $5 index :1 $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :-1 $7 keystep :1 $5 limit :0 ~0 _"
        );
        check(
            "COMMAND INFO object|help nope",
            "*2 *10 $11 object|help :2 *2 +loading +stale :0 :0 :0 *2 +@keyspace +@slow *0 *0 *0 $-1",
        );
        assert!(
            run(Protocol::Resp2, "COMMAND INFO copy").starts_with("*1 *10 $4 copy :-3 *2 +write +denyoom :1 :2 :1 ")
        );
        assert!(run(Protocol::Resp2, "COMMAND INFO mset").contains(" :1 :-1 :2 "));
        assert!(run(Protocol::Resp2, "COMMAND INFO msetex").contains(" :0 :0 :0 "));
        let all = run(Protocol::Resp2, "COMMAND");
        assert_eq!(all, run(Protocol::Resp2, "COMMAND INFO"));
        assert!(run(Protocol::Resp2, "COMMAND COUNT").starts_with(':'));
    }

    #[test]
    fn docs() {
        let since = "$5 since $5 1.0.0 $5 group $6 string $10 complexity $4 O(1)";
        check("COMMAND DOCS nope", "*0");
        check(
            "COMMAND DOCS get",
            &format!(
                "*2 $3 get *10 $7 summary $14 Reads a string {since} $9 arguments *1 *6 $4 name $3 key $4 type $3 key \
                 $14 key_spec_index :0"
            ),
        );
        assert!(run(Protocol::Resp3, "COMMAND DOCS exists").contains(
            " $7 history ~1 *2 $5 3.0.3 $19 Takes several keys. $9 arguments *1 %4 $4 name $3 key $4 type $3 key $14 \
             key_spec_index :0 $5 flags ~1 +multiple"
        ));
        assert!(run(Protocol::Resp3, "COMMAND DOCS copy").ends_with(
            " %4 $4 name $14 destination-db $4 type $7 integer $5 token $2 DB $5 flags ~1 +optional %4 $4 name $7 replace \
             $4 type $10 pure-token $5 token $7 REPLACE $5 flags ~1 +optional"
        ));
        assert_eq!(
            run(Protocol::Resp3, "COMMAND DOCS getset"),
            format!(
                "%1 $6 getset %8 $7 summary $48 Stores a string and gives the one that was there {since} $9 doc_flags \
                 ~1 +deprecated $16 deprecated_since $5 6.2.0 $11 replaced_by $30 `SET` with the `!GET` argument $9 \
                 arguments *2 %3 $4 name $3 key $4 type $3 key $14 key_spec_index :0 %2 $4 name $5 value $4 type $6 string"
            )
        );
        assert!(run(Protocol::Resp3, "COMMAND DOCS object").contains(" $11 subcommands %5 $15 object|encoding %5 "));
    }

    #[test]
    fn keys_of_a_line() {
        for (line, expected) in [
            ("GETKEYS GET a", "*1 $1 a"),
            ("GETKEYS MSET a 1 b 2", "*2 $1 a $1 b"),
            ("GETKEYS MSETEX 2 a 1 b 2 EX 5", "*2 $1 a $1 b"),
            ("GETKEYS MSETEX 3 a 1 b 2", "-ERR Invalid arguments specified for command"),
            ("GETKEYS OBJECT ENCODING a", "*1 $1 a"),
            ("GETKEYS OBJECT FOO a", "-ERR Invalid command specified"),
            ("GETKEYS OBJECT HELP", "-ERR The command has no key arguments"),
            ("GETKEYS foo a", "-ERR Invalid command specified"),
            ("GETKEYS SCAN 0", "-ERR The command has no key arguments"),
            ("GETKEYS GET a b", "-ERR Invalid number of arguments specified for command"),
            ("GETKEYS GET", "-ERR wrong number of arguments for 'command|getkeys' command"),
            ("GETKEYSANDFLAGS SET a 1", "*1 *2 $1 a *2 +OW +update"),
            ("GETKEYSANDFLAGS SET a 1 GET", "*1 *2 $1 a *3 +RW +access +update"),
            ("GETKEYSANDFLAGS COPY a b", "*2 *2 $1 a *2 +RO +access *2 $1 b *2 +OW +update"),
        ] {
            check(&format!("COMMAND {line}"), expected);
        }
    }

    #[test]
    fn names() {
        check("COMMAND LIST FILTERBY MODULE x", "*0");
        check("COMMAND LIST FILTERBY PATTERN GETR*", "*1 $8 getrange");
        check("COMMAND LIST FILTERBY PATTERN object|f*", "*1 $11 object|freq");
        check("COMMAND LIST FILTERBY ACLCAT nope", "*0");
        assert!(run(Protocol::Resp2, "COMMAND LIST FILTERBY ACLCAT dangerous").contains(" keys"));
        for line in ["FILTERBY FOO x", "FILTERBY PATTERN", "x", "foo ACLCAT set", "FILTERBY PATTERN a b"] {
            check(&format!("COMMAND LIST {line}"), "-ERR syntax error");
        }
        check("COMMAND FOO", "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.");
        check("COMMAND COUNT x", "-ERR wrong number of arguments for 'command|count' command");
        assert!(run(Protocol::Resp2, "COMMAND HELP").starts_with("*17 +COMMAND <subcommand> "));
    }
}
