//! What follows from the command table: its rows against the real server's, and every command with too few and too many
//! arguments.

use crate::support::{Client, Reply, Server, encode};
use std::collections::BTreeMap;

/// A row of COMMAND INFO; subcommands stand beside their containers, named `container|sub`.
struct Row {
    arity: i64,
    /// Flags, keys' positions, categories, tips and key specs, each as text.
    facts: Vec<(&'static str, String)>,
}

/// All rows that a server answers for these names (for all names, if there are none).
fn rows(client: &mut Client, names: &[&str]) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let arguments = [&["COMMAND", "INFO"], names].concat();
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    for row in client.call_bytes(&arguments).elements() {
        if !matches!(row, Reply::Null | Reply::NullBulk | Reply::NullArray) {
            add(&mut rows, row);
        }
    }
    rows
}

fn add(rows: &mut BTreeMap<String, Row>, row: &Reply) {
    let columns = row.elements();
    let text = |index: usize| columns[index].clone().sorted().to_string();
    let facts = vec![
        ("flags", text(2)),
        ("first key", text(3)),
        ("last key", text(4)),
        ("step", text(5)),
        ("categories", text(6)),
        ("tips", text(7)),
        ("key specs", columns[8].elements().iter().map(without_notes).collect()),
    ];
    rows.insert(columns[0].text(), Row { arity: columns[1].integer(), facts });
    for subcommand in columns[9].elements() {
        add(rows, subcommand);
    }
}

/// A key spec; of its notes, which are prose, only that they are there.
fn without_notes(spec: &Reply) -> String {
    let fields = spec.elements().chunks(2).map(|field| match field[0].bytes() {
        b"notes" => "notes".to_string(),
        _ => format!("{} {}", field[0], field[1]),
    });
    fields.collect::<Vec<_>>().join(", ")
}

/// What the real server says otherwise on purpose: the command, the fact, and why.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("bgsave", "arguments", "takes CANCEL, of a later version"),
    ("blmove", "flags", "may be called by scripts and waits for nothing there, as in later versions"),
    ("blpop", "flags", "may be called by scripts and waits for nothing there, as in later versions"),
    ("brpop", "flags", "may be called by scripts and waits for nothing there, as in later versions"),
    ("brpoplpush", "flags", "may be called by scripts and waits for nothing there, as in later versions"),
    ("bzpopmax", "flags", "may be called by scripts and waits for nothing there, as in later versions"),
    ("bzpopmin", "flags", "may be called by scripts and waits for nothing there, as in later versions"),
    ("monitor", "complexity", "told, where the real server says nothing"),
    ("psetex", "doc_flags", "deprecated in the documentation of later versions"),
    ("setex", "doc_flags", "deprecated in the documentation of later versions"),
    ("setnx", "doc_flags", "deprecated in the documentation of later versions"),
    ("zrank", "arity", "takes WITHSCORE, of a later version"),
    ("zrevrank", "arity", "takes WITHSCORE, of a later version"),
];

/// Whether a version is newer than the real server that we compare with.
fn is_newer(version: &str) -> bool {
    let numbers: Vec<u32> = version.split('.').map(|number| number.parse().expect("a number")).collect();
    numbers.as_slice() > [7, 0, 15].as_slice()
}

/// A tree of arguments, without those that are newer than the real server.
fn arguments_text(arguments: &Reply) -> String {
    let mut lines = Vec::new();
    for argument in arguments.elements() {
        if argument.get("since").is_some_and(|version| is_newer(&version.text())) {
            continue;
        }
        let facts = argument.elements().chunks(2).map(|pair| match pair[0].bytes() {
            b"arguments" => format!("({})", arguments_text(&pair[1])),
            b"flags" => pair[1].clone().sorted().to_string(),
            _ => pair[1].to_string(),
        });
        lines.push(facts.collect::<Vec<_>>().join(":"));
    }
    lines.join(" ")
}

/// What COMMAND DOCS tells of each command and subcommand that is not prose.
fn docs(client: &mut Client) -> BTreeMap<String, BTreeMap<String, String>> {
    fn add(commands: &Reply, into: &mut BTreeMap<String, BTreeMap<String, String>>) {
        for pair in commands.elements().chunks(2) {
            let mut facts = BTreeMap::new();
            for fact in pair[1].elements().chunks(2) {
                let text = match fact[0].bytes() {
                    b"summary" | b"complexity" => "there".to_string(),
                    b"history" => {
                        let versions = fact[1].elements().iter().map(|change| change.elements()[0].text());
                        versions.filter(|version| !is_newer(version)).collect::<Vec<_>>().join(" ")
                    }
                    b"arguments" => arguments_text(&fact[1]),
                    b"subcommands" => {
                        add(&fact[1], into);
                        continue;
                    }
                    _ => fact[1].clone().sorted().to_string(),
                };
                if !text.is_empty() {
                    facts.insert(fact[0].text(), text);
                }
            }
            into.insert(pair[0].text(), facts);
        }
    }
    let mut all = BTreeMap::new();
    add(&client.call("COMMAND DOCS"), &mut all);
    all
}

#[test]
fn docs_are_those_of_the_real_server() {
    let server = Server::torc(3, &[]);
    let ours = docs(&mut server.client());
    for (name, facts) in &ours {
        let is_told = ["summary", "since", "group"].iter().all(|fact| facts.contains_key(*fact));
        assert!(is_told, "{name}: {facts:?}");
    }
    let Some(real) = Server::real(&[]) else { return };
    let real = docs(&mut real.client());
    let mut complaints = Vec::new();
    let mut compared = 0;
    for (name, facts) in &ours {
        let Some(expected) = real.get(name) else { continue };
        compared += 1;
        let names: std::collections::BTreeSet<_> = facts.keys().chain(expected.keys()).collect();
        for fact in names {
            let is_known = DIFFERENT.iter().any(|(command, known, _)| command == name && known == fact);
            let (ours, real) = (facts.get(fact), expected.get(fact));
            let goes_with_it = matches!(fact.as_str(), "deprecated_since" | "replaced_by")
                && DIFFERENT.iter().any(|(command, known, _)| command == name && *known == "doc_flags");
            if is_known {
                assert_ne!(ours, real, "{name}: {fact} is no difference any more");
            } else if ours != real && !goes_with_it {
                complaints.push(format!("{name}: {fact}\n  real {real:?}\n  ours {ours:?}\n"));
            }
        }
    }
    println!("{compared} commands' documentation compared with the real server");
    assert!(compared > 100, "too few commands in common: {compared}");
    assert!(complaints.is_empty(), "\n{}", complaints.concat());
}

#[test]
fn rows_are_those_of_the_real_server() {
    let server = Server::torc(3, &[]);
    let ours = rows(&mut server.client(), &[]);
    assert_eq!(
        server.client().call("COMMAND COUNT").integer(),
        server.client().call("COMMAND").elements().len() as i64
    );
    let Some(real) = Server::real(&[]) else { return };
    let names: Vec<&str> = ours.keys().map(String::as_str).filter(|name| !name.contains('|')).collect();
    let real = rows(&mut real.client(), &names);
    let mut complaints = Vec::new();
    let mut compared = 0;
    for (name, row) in &ours {
        let Some(expected) = real.get(name) else { continue };
        compared += 1;
        let mut complain = |fact: &str, ours: &str, real: &str| {
            if ours != real && !DIFFERENT.iter().any(|(command, known, _)| command == name && *known == fact) {
                complaints.push(format!("{name}: {fact}\n  real {real}\n  ours {ours}\n"));
            }
        };
        complain("arity", &row.arity.to_string(), &expected.arity.to_string());
        for ((fact, ours), (_, real)) in row.facts.iter().zip(&expected.facts) {
            complain(fact, ours, real);
        }
    }
    println!("{compared} rows compared with the real server");
    assert!(compared > 50, "too few rows in common: {compared}");
    assert!(complaints.is_empty(), "\n{}", complaints.concat());
}

/// Counts of arguments, the name not counted, that a command must refuse.
fn wrong_counts(arity: i64) -> Vec<usize> {
    let least = arity.unsigned_abs() as usize;
    let mut counts: Vec<usize> = (0..least.saturating_sub(1)).collect();
    if arity > 0 {
        counts.extend([least, least + 5]);
    }
    counts
}

#[test]
fn every_command_refuses_a_wrong_count_of_arguments() {
    let server = Server::torc(3, &[]);
    let real = Server::real(&[]);
    let mut client = server.client();
    let mut real_client = real.as_ref().map(Server::client);
    let rows_here = rows(&mut client, &[]);
    let rows_there = real_client.as_mut().map(|client| rows(client, &[])).unwrap_or_default();
    let mut sent = 0;
    for (name, row) in &rows_here {
        let words: Vec<&str> = name.split('|').collect();
        for count in wrong_counts(row.arity) {
            // The words of a subcommand's name count as arguments of its container.
            let total = count + 1;
            if total < words.len() {
                continue;
            }
            let arguments = words.iter().copied().chain(std::iter::repeat("x")).take(total).collect::<Vec<_>>();
            let is_container = rows_here.keys().any(|other| other.starts_with(&format!("{name}|")));
            if is_container && total > 1 {
                continue;
            }
            client.send(&encode(&arguments));
            let reply = client.reply().to_string();
            let code = if name == "exec" { "EXECABORT Transaction discarded because of:" } else { "ERR" };
            assert_eq!(reply, format!("-{code} wrong number of arguments for '{name}' command"), "{arguments:?}");
            sent += 1;
            let same_there = rows_there.get(name).is_some_and(|there| there.arity == row.arity);
            if let (Some(real), true) = (&mut real_client, same_there) {
                real.send(&encode(&arguments));
                assert_eq!(real.reply().to_string(), reply, "{arguments:?}");
            }
        }
    }
    assert_eq!(client.ask("PING"), "+PONG");
    println!("{sent} wrong counts sent");
    assert!(sent > 200, "{sent}");
}
