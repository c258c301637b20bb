//! Rules against commands, and against themselves.

use super::file::parse_lines;
use super::rule::parse_all;
use super::*;
use crate::command_table::CommandTable;
use proptest::prelude::*;
use std::sync::LazyLock;
use torc_engine::command::Categories;

static TABLE: LazyLock<CommandTable> = LazyLock::new(|| CommandTable::new(crate::commands::rows()));
const SETTINGS: AccessSettings = AccessSettings { new_users_have_all_channels: false };

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(|word| if word == "\"\"" { &b""[..] } else { word.as_bytes() }).collect()
}

/// A user with rules, or the first error.
fn user(rules: &str) -> Result<User, RuleError> {
    let rules = parse_all(&words(rules)).map_err(|error| match error {
        rule::WordsError::Unmatched(_) => RuleError::Syntax,
        rule::WordsError::Wrong(_, error) => error,
    })?;
    let mut user = User::new(7, b"u", SETTINGS);
    for (_, rule) in rules {
        user.apply(&rule, &TABLE, SETTINGS)?;
    }
    Ok(user)
}

fn line(rules: &str) -> String {
    String::from_utf8(user(rules).expect("rules").line()).expect("ascii")
}

fn check_in(user: &User, command: &str, database: u32) -> Result<(), Denial> {
    let arguments = words(command);
    let entry = TABLE.find(arguments[0]).expect("a command");
    let entry = arguments.get(1).and_then(|name| entry.subcommand(name)).unwrap_or(entry);
    user.check(&Requested { entry, arguments: &arguments, database })
}

fn check(rules: &str, command: &str) -> Result<(), Denial> {
    check_in(&user(rules).expect("rules"), command, 0)
}

#[test]
fn rules_are_told_again_without_what_they_say_twice() {
    for (rules, commands) in [
        ("+@all -@hash -@slow +hget", "+@all -@hash -@slow +hget"),
        ("+@all -@hash -@slow +hget -@hash", "+@all -@slow +hget -@hash"),
        ("-@string -@slow +@all", "+@all"),
        ("+@HASH +@hash +@HaSh", "-@all +@hash"),
        ("+HGET +hget +hGeT", "-@all +hget"),
        ("+hget -hset +hset -hget", "-@all +hset -hget"),
        ("+client|list +client|list +config|get +config +acl|list -acl", "-@all +client|list +config -acl"),
        ("+select|0 +SELECT|0 +debug|segfault +debug", "-@all +select|0 +debug"),
        ("-@dangerous", "-@all -@dangerous"),
    ] {
        assert_eq!(line(rules), format!("user u off sanitize-payload resetchannels {commands}"), "{rules}");
    }
}

#[test]
fn lines_of_users() {
    for (rules, shown) in [
        ("on nopass +@all ~* &*", "on nopass sanitize-payload ~* &* +@all"),
        ("allkeys resetkeys ~a %R~b %W~c %RW~d %R~c", "off sanitize-payload ~a %R~b ~c ~d resetchannels -@all"),
        ("&a &b &a skip-sanitize-payload", "off skip-sanitize-payload resetchannels &a &b -@all"),
        ("(+get ~a (%R~b &c +@read )", ""),
        (
            "(+get ~a) (%R~b &c +@read )",
            "off sanitize-payload resetchannels -@all (~a resetchannels -@all +get) (%R~b resetchannels &c -@all +@read)",
        ),
        ("(+get) clearselectors ~x(", "off sanitize-payload ~x( resetchannels -@all"),
        ("db=3,1 db=2", "off sanitize-payload resetchannels db=1,2,3 -@all"),
        ("db=1 resetdbs", "off sanitize-payload resetchannels resetdbs -@all"),
        ("db=1 alldbs on ~a reset", "off sanitize-payload resetchannels -@all"),
        (
            ">p",
            "off sanitize-payload #148de9c5a7a44d19e56cd9ae1a554bf67847afb0c58f6e12fa29ac7ddfca9940 resetchannels -@all",
        ),
        (">p >q <p nopass", "off nopass sanitize-payload resetchannels -@all"),
    ] {
        match user(rules) {
            Ok(user) => assert_eq!(String::from_utf8_lossy(&user.line()), format!("user u {shown}"), "{rules}"),
            Err(error) => assert_eq!((error, shown), (RuleError::Syntax, ""), "{rules}"),
        }
    }
}

#[test]
fn rules_that_do_not_fit_those_before_them_or_the_table() {
    for (rules, error) in [
        ("allkeys ~a", RuleError::KeysAfterAll),
        ("&* &a", RuleError::ChannelsAfterAll),
        ("<p", RuleError::NoSuchPassword),
        ("+nope", RuleError::Unknown),
        ("-nope", RuleError::Unknown),
        ("+", RuleError::Unknown),
        ("+config|nope", RuleError::Unknown),
        ("-select|0", RuleError::Unknown),
        ("+select|", RuleError::Syntax),
        ("+config|get|x", RuleError::ArgumentOfSubcommand),
        ("+select|0|1", RuleError::Unknown),
    ] {
        assert_eq!(user(rules).map(|user| user.line()), Err(error), "{rules}");
    }
}

#[test]
fn commands_subcommands_and_first_arguments() {
    for (rules, command, denial) in [
        ("+@read ~*", "get a", None),
        ("+@read ~*", "set a b", Some(Denial::Command)),
        ("+@all -@dangerous ~*", "keys *", Some(Denial::Command)),
        ("+@all -config", "config get a", Some(Denial::Command)),
        ("+@all -config +config|get", "config get a", None),
        ("+@all -config|get", "config set a b", None),
        ("+config|get", "config get a", None),
        ("+config|get", "config set a b", Some(Denial::Command)),
        ("+select|0", "select 0", None),
        ("+select|0", "select 1", Some(Denial::Command)),
        ("+select|0 -select", "select 0", Some(Denial::Command)),
        ("+@all -select +select|0", "select 1", Some(Denial::Command)),
        ("off", "auth a", None),
        ("off", "ping", Some(Denial::Command)),
        ("+@all -@all +ping", "ping", None),
    ] {
        assert_eq!(check(rules, command).err(), denial, "{rules}: {command}");
    }
}

#[test]
fn keys_by_what_is_done_with_them() {
    for (rules, command, denial) in [
        ("+@all ~a*", "mget a b", Some(Denial::Key(2))),
        ("+@all %R~a", "get a", None),
        ("+@all %R~a", "set a b", Some(Denial::Key(1))),
        ("+@all %W~a", "get a", Some(Denial::Key(1))),
        ("+@all %W~a", "set a b", None),
        ("+@all %W~a", "set a b get", Some(Denial::Key(1))),
        ("+@all %W~a", "bitfield a get u4 0", Some(Denial::Key(1))),
        ("+@all %R~a", "bitfield a get u4 0", None),
        ("+@all %R~a", "bitfield a set u4 0 1", Some(Denial::Key(1))),
        ("+@all %R~a", "exists a", None),
        ("+@all %W~a", "exists a", None),
        ("+@all ~a", "exists b", Some(Denial::Key(1))),
        ("+@all %R~s %W~d", "copy s d", None),
        ("+@all %R~s %W~d", "copy d s", Some(Denial::Key(1))),
        ("+@all %R~s %W~d", "sort s store d", None),
        ("+@all ~a", "eval x 1 b", Some(Denial::Key(3))),
        ("+@all ~a", "eval x 7 b", None),
        ("+@all ~a", "migrate h 1 \"\" 0 5 keys a b", Some(Denial::Key(8))),
        ("+get ~a (+set ~b) (+@all ~c)", "set b x", None),
        ("+get ~a (+set ~b) (+del ~c)", "set a x", Some(Denial::Key(1))),
        ("+get ~a (+set ~b)", "del a", Some(Denial::Command)),
    ] {
        assert_eq!(check(rules, command).err(), denial, "{rules}: {command}");
    }
}

#[test]
fn channels_and_patterns_of_channels() {
    for (rules, command, denial) in [
        ("+@all &a*", "publish abc m", None),
        ("+@all &a*", "spublish b m", Some(Denial::Channel(1))),
        ("+@all &a*", "subscribe a b", Some(Denial::Channel(2))),
        ("+@all &a*", "psubscribe a*", None),
        ("+@all &a*", "psubscribe ab*", Some(Denial::Channel(1))),
        ("+@all &a*", "unsubscribe b", None),
        ("+@all allchannels", "psubscribe *", None),
        ("+@all", "ssubscribe a", Some(Denial::Channel(1))),
        ("+@all", "pubsub channels", None),
    ] {
        assert_eq!(check(rules, command).err(), denial, "{rules}: {command}");
    }
}

#[test]
fn databases() {
    let user = user("+@all ~* &* db=1,2").expect("rules");
    for (command, database, denial) in [
        ("get a", 1, None),
        ("get a", 0, Some(Denial::Database(0))),
        ("ping", 0, None),
        ("publish a b", 0, None),
        ("select 2", 0, None),
        ("select 0", 1, Some(Denial::Database(1))),
        ("select x", 1, None),
        ("move a 3", 1, Some(Denial::Database(2))),
        ("copy a b db 3", 1, Some(Denial::Database(4))),
        ("copy a b db 2 replace", 1, None),
        ("swapdb 1 3", 1, Some(Denial::Database(2))),
        ("flushdb", 1, None),
        ("flushall", 1, Some(Denial::Database(0))),
        ("eval x 0", 0, Some(Denial::Database(0))),
    ] {
        assert_eq!(check_in(&user, command, database).err(), denial, "{command} in {database}");
    }
}

#[test]
fn who_may_do_everything_is_known() {
    for (rules, is_unrestricted) in [
        ("+@all ~* &*", true),
        ("(+@all ~* &*)", true),
        ("+@all ~* &* -get", false),
        ("+@all ~* &* -get +get", false),
        ("+@all ~*", false),
        ("+@all ~* &* db=0", false),
        ("+@all &*", false),
    ] {
        assert_eq!(user(rules).expect("rules").is_unrestricted, is_unrestricted, "{rules}");
    }
}

#[test]
fn errors_of_a_file_are_all_named_with_their_lines() {
    let text = "user a on +nope ~a allkeys ~b +@no\n\nuse b\nuser a on\nuser c (+get\nuser d\te on\r\nuser f >p #x\n";
    let error = parse_lines(text.as_bytes(), "f", &TABLE, SETTINGS).expect_err("wrong");
    let unknown = RuleError::Unknown.text();
    assert_eq!(
        error,
        format!(
            "f:1: Error in applying operation '+nope': {unknown}. f:1: {}. f:1: Error in applying operation '+@no': {unknown}. \
             f:3 should start with user keyword followed by the username. WARNING: Duplicate user 'a' found on line 4. \
             f:5: Unmatched parenthesis in selector definition.'f:6: username 'd\te' contains invalid characters. \
             f:7: {}. WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
            RuleError::KeysAfterAll.text(),
            RuleError::BadHash.text()
        )
    );
}

#[test]
fn a_user_keeps_its_id_and_one_made_anew_has_another() {
    let rules = [Rule::Enabled(true)];
    let first = Users::new(&TABLE, SETTINGS, None);
    let second = first.with_rules(b"a", &rules, &TABLE, SETTINGS).expect("rules");
    let id = second.find(b"a").expect("a user").id;
    let third = second.with_rules(b"a", &rules, &TABLE, SETTINGS).expect("rules");
    assert_eq!(third.find(b"a").expect("a user").id, id);
    let (gone, removed) = third.without(&[b"a", b"b"]);
    assert_eq!((removed, gone.find_id(id)), (1, None));
    let anew = gone.with_rules(b"a", &rules, &TABLE, SETTINGS).expect("rules");
    assert_ne!(anew.find(b"a").expect("a user").id, id);
    let users = parse_lines(b"user b\nuser a on\n", "f", &TABLE, SETTINGS).expect("users");
    let loaded = third.replaced_by(users, &TABLE, SETTINGS);
    assert_eq!(loaded.find_id(id).map(|user| user.name.clone()), Some(Box::from(&b"a"[..])));
    let names: Vec<_> = loaded.iter().map(|user| String::from_utf8_lossy(&user.name).into_owned()).collect();
    assert_eq!(names, ["a", "b", "default"]);
    assert!(loaded.version > third.version);
    let ids: std::collections::BTreeSet<u64> = loaded.iter().map(|user| user.id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_configuration_is_rewritten_with_its_users() {
    let first = Users::new(&TABLE, SETTINGS, Some(b"pw"));
    assert_eq!(first.rewritten_in(b"port 1\n"), b"port 1\n");
    let rule = Rule::parse(b"~a\"b").expect("a rule");
    let second = first.with_rules(b"ann", &[rule], &TABLE, SETTINGS).expect("rules");
    let text = second.rewritten_in(b"port 1\nUSER old on\nuser \"older\"\nhz 5\n");
    let shown = String::from_utf8(text.clone()).expect("ascii");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "port 1");
    assert_eq!(lines[1], r#"user ann off sanitize-payload "~a\"b" resetchannels -@all"#);
    assert!(
        lines[2].starts_with("user default on sanitize-payload #") && lines[3] == "hz 5" && lines.len() == 4,
        "{shown}"
    );
    assert_eq!(second.rewritten_in(&text), text);
}

#[test]
fn any_rule_that_fails_leaves_all_as_it_was() {
    let users = Users::new(&TABLE, SETTINGS, None);
    let rules = [Rule::Enabled(true), Rule::RemovePassword(PasswordHash::of(b"x"))];
    assert_eq!(users.with_rules(b"a", &rules, &TABLE, SETTINGS).map(drop), Err((1, RuleError::NoSuchPassword)));
    assert_eq!(users.find(b"a"), None);
}

/// Words that are rules, mostly.
fn rule_word() -> impl Strategy<Value = String> {
    let names: Vec<String> = TABLE.all().map(|entry| entry.full_name.clone()).collect();
    let categories: Vec<String> = Categories::all_names().map(str::to_owned).chain(["all".to_owned()]).collect();
    let pattern = "[a-c*?()|\"\\\\]{0,4}";
    prop_oneof![
        3 => (prop::sample::select(vec!["+", "-"]), prop::sample::select(names)).prop_map(|(sign, name)| format!("{sign}{name}")),
        3 => (prop::sample::select(vec!["+@", "-@"]), prop::sample::select(categories)).prop_map(|(sign, name)| format!("{sign}{name}")),
        1 => "[0-2]".prop_map(|argument| format!("+select|{argument}")),
        3 => (prop::sample::select(vec!["~", "%R~", "%W~", "%RW~", "&"]), pattern).prop_map(|(kind, pattern)| format!("{kind}{pattern}")),
        1 => "[0-4](,[0-4]){0,2}".prop_map(|numbers| format!("db={numbers}")),
        2 => prop::sample::select(vec![
            "allkeys", "resetkeys", "allchannels", "resetchannels", "allcommands", "nocommands", "alldbs", "resetdbs",
        ]).prop_map(str::to_owned),
    ]
}

fn any_word() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => rule_word(),
        2 => prop::collection::vec(rule_word(), 0..4).prop_map(|words| format!("({})", words.join(" "))),
        2 => prop::sample::select(vec![
            "on", "off", "nopass", "resetpass", ">p", "<p", ">q", "reset", "clearselectors", "sanitize-payload",
            "skip-sanitize-payload",
        ]).prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn a_user_told_again_is_the_same_user(words in prop::collection::vec(any_word(), 0..12)) {
        let mut user = User::new(7, b"u", SETTINGS);
        for word in &words {
            if let Ok(rule) = Rule::parse(word.as_bytes()) {
                // What does not fit the rules before it changes nothing.
                let before = user.clone();
                if user.apply(&rule, &TABLE, SETTINGS).is_err() {
                    prop_assert!(user == before, "{}", word);
                }
            }
        }
        let line = user.line();
        let mut again = parse_lines(&line, "line", &TABLE, SETTINGS).expect("a line of our own");
        again[0].id = user.id;
        prop_assert!(again == [user], "{}", line.escape_ascii());
    }

    #[test]
    fn any_text_is_refused_or_comes_back(text in "(user [ab] )?[-+~%&@()><#!a-d= \n\"]{0,40}") {
        check_rules(text.as_bytes());
    }
}
