//! Keeps the house tidy: who may import whom, who may name the ring or write `unsafe`, how long files and functions get,
//! and what every file and public item says of itself. The rules are in `rules`, the reasons in `ci/STYLE.md`.
//!
//! Every rule stands against a small bad example below, so that a rule that stops biting is seen.

mod rules;
mod source;

use rules::{Finding, RULES};
use source::Source;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files with that ending, sorted, as paths from the root.
fn files(ending: &str) -> Vec<String> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a readable directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut found);
    let paths = found.iter().filter_map(|path| path.strip_prefix(&root).ok()?.to_str());
    let mut paths: Vec<String> = paths.filter(|path| path.ends_with(ending)).map(str::to_owned).collect();
    paths.sort();
    paths
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a readable file")
}

fn report(rule: &str, path: &str, findings: &[Finding]) -> String {
    let lines = findings.iter().map(|(line, what)| format!("{path}:{line}: {what} ({rule})\n"));
    lines.collect::<Vec<_>>().concat()
}

#[test]
fn every_file_keeps_the_rules() {
    let mut complaints = String::new();
    let paths = files(".rs");
    assert!(paths.iter().any(|path| path == "ci/tests/tidy/main.rs"), "the walk does not find this file");
    for path in &paths {
        let source = Source::new(path, &read(path));
        for rule in RULES {
            complaints += &report(rule.name, path, &(rule.check)(&source));
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn every_manifest_keeps_the_rules() {
    let mut complaints = report("dependencies say why", "Cargo.toml", &rules::dependency_comments(&read("Cargo.toml")));
    for path in files("/Cargo.toml").iter().filter(|path| !path.contains("/fuzz/") && !path.contains("/guided/")) {
        complaints += &report("manifests", path, &rules::manifest(path, &read(path)));
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

/// How many findings the rule of that name has in a text under a path.
fn count(rule: &str, path: &str, text: &str) -> usize {
    let rule = RULES.iter().find(|known| known.name == rule).expect("a rule of that name");
    (rule.check)(&Source::new(path, text)).len()
}

/// A rule must find something in `bad` and nothing in `good`.
fn check(rule: &str, path: &str, bad: &str, good: &str) {
    assert_ne!(count(rule, path, bad), 0, "{rule} does not bite:\n{bad}");
    assert_eq!(count(rule, path, good), 0, "{rule} bites without reason:\n{good}");
}

#[test]
fn imports_bite() {
    let rule = "crates import in one direction";
    check(rule, "engine/src/a.rs", "use torc_server::x;", "use torc_engine::x; // torc_server");
    check(rule, "persistence/src/a.rs", "use torc_server::x;", "use torc_engine::x;");
    check(rule, "server/src/a.rs", "use torc_bench::x;", "use torc_persistence::x;");
    check(rule, "bench/src/a.rs", "use torc_engine::x;", "use torc_bench::x;");
    check(rule, "bench/benches/a.rs", "use torc_server::x;", "use torc_engine::x;");
}

#[test]
fn rooms_bite() {
    let rule = "words stay in their rooms";
    check(rule, "server/src/a.rs", "use io_uring::x;", "// io_uring");
    check(rule, "server/src/reactor/mod.rs", "use io_uring::x;", "let my_io_uring_like = 1;");
    check(rule, "server/src/a.rs", "use glommio::x;", "\"glommio\"");
    check(rule, "engine/src/keyspace/a.rs", "unsafe { f() }", "#![deny(unsafe_code)]");
    for path in ["engine/src/values/packed.rs", "engine/src/transaction/inbox.rs", "server/src/reactor/uring/mod.rs"] {
        assert_eq!(count(rule, path, "unsafe { f() }"), 0, "{path}");
    }
}

#[test]
fn lengths_bite() {
    let lines = |count: usize| "let x = 1;\n".repeat(count);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(900));
    check("files are short", "engine/src/a.rs", &lines(1001), &format!("{}{tests}", lines(999)));
    let function = |count: usize| format!("pub(crate) async fn f(x: &str) -> u8 {{\n{}}}\n", lines(count));
    check("functions are short", "engine/src/a.rs", &function(69), &function(68));
    check("functions are short", "engine/src/a.rs", &function(200), &format!("fn f();\n{}", lines(200)));
}

#[test]
fn documentation_bites() {
    let rule = "public items are documented";
    let good =
        "/// A.\n#[derive(\n    Debug)]\npub struct A {\n    pub field: u8,\n}\npub mod b;\npub(crate) fn c() {}\n";
    check(rule, "engine/src/a.rs", "pub fn a() {}", good);
    check(rule, "server/src/a.rs", "/// A.\n\nfn b() {}\npub const A: u8 = 1;", "pub use b::c;");
    check("files say what they are", "engine/src/a.rs", "// A.\nfn a() {}", "//! A.\nfn a() {}");
}

#[test]
fn names_bite() {
    let rule = "names say what is inside";
    check(rule, "engine/src/a.rs", "mod helpers;", "let helpers = 1; mod a;");
    assert_ne!(count(rule, "engine/src/utils.rs", ""), 0);
    assert_ne!(count(rule, "engine/src/common/mod.rs", ""), 0);
}

#[test]
fn unfinished_work_bites() {
    let rule = "nothing is left for later";
    check(rule, "engine/src/a.rs", &format!("// {}: more", concat!("TO", "DO")), "// to do");
    check(rule, "engine/src/a.rs", &format!("{}()", concat!("to", "do!")), "done!()");
}

#[test]
fn manifests_bite() {
    let table = "[workspace.dependencies]\ntorc-engine = { path = \"engine\" }\n";
    assert_eq!(rules::dependency_comments(&format!("{table}bytes = \"1\" # shared buffers\n")), []);
    assert_eq!(rules::dependency_comments(&format!("{table}bytes = \"1\"\n")).len(), 1);
    let crate_with = |dependency: &str| format!("[dependencies]\n{dependency}\n\n[lints]\nworkspace = true\n");
    assert_eq!(rules::manifest("server/Cargo.toml", &crate_with("torc-engine.workspace = true")), []);
    assert_eq!(rules::manifest("engine/Cargo.toml", &crate_with("torc-server.workspace = true")).len(), 1);
    assert_eq!(rules::manifest("bench/Cargo.toml", &crate_with("torc-engine.workspace = true")).len(), 1);
    assert_eq!(rules::manifest("engine/Cargo.toml", &crate_with("bytes = \"1\"")).len(), 1);
    assert_eq!(rules::manifest("engine/Cargo.toml", "[dependencies]\n").len(), 1);
}
