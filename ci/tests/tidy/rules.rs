//! The rules. Each looks at one file and returns what is wrong, as `line: what`; `ci/STYLE.md` gives the reasons.

use crate::source::{Source, has_word, item_end};

/// What is wrong: the line, from one, and why.
pub(crate) type Finding = (usize, String);

/// Lines of code in one file, tests not counted.
const FILE_LINES_MAX: usize = 1000;

/// Lines of one function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that may be longer, as `path::name`, each with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "misc", "common"];

/// A word and the paths that may use it. A path ending in a slash is a folder, and its `.rs` file of the same name.
struct Room {
    word: &'static str,
    paths: &'static [&'static str],
}

/// Who may name what. Benches measure runtimes against each other, so they may name both rings.
const ROOMS: &[Room] = &[
    Room { word: "io_uring", paths: &["server/src/reactor/uring/", "bench/"] },
    Room { word: "glommio", paths: &["server/src/control_plane/", "bench/"] },
    Room {
        word: "unsafe",
        paths: &[
            "engine/src/values/",
            "engine/src/transaction/inbox/",
            "scripting/src/fiber/",
            "scripting/src/lua/native/",
            "server/src/reactor/uring/",
            "server/src/allocator/",
            "server/src/crash/signals/",
            "server/src/process_title/",
            "server/tests/simulation/coroutine/",
            "bench/src/runtimes/",
        ],
    },
];

/// A crate and which of ours its code may use, outside and inside of tests and benches.
struct Imports {
    folder: &'static str,
    anywhere: &'static [&'static str],
    in_tests: &'static [&'static str],
}

const IMPORTS: &[Imports] = &[
    Imports { folder: "engine/", anywhere: &["torc_engine"], in_tests: &[] },
    Imports { folder: "persistence/", anywhere: &["torc_engine", "torc_persistence"], in_tests: &[] },
    Imports { folder: "scripting/", anywhere: &[], in_tests: &["torc_scripting"] },
    Imports {
        folder: "server/",
        anywhere: &["torc_engine", "torc_persistence", "torc_scripting", "torc_server"],
        in_tests: &[],
    },
    Imports { folder: "check/", anywhere: &["torc_engine", "torc_persistence"], in_tests: &[] },
    Imports {
        folder: "fuzz/",
        anywhere: &["torc_engine", "torc_fuzz", "torc_persistence", "torc_server"],
        in_tests: &[],
    },
    Imports { folder: "bench/", anywhere: &["torc_bench"], in_tests: &["torc_engine"] },
    Imports { folder: "ci/", anywhere: &["torc_ci"], in_tests: &[] },
];

const OURS: &[&str] =
    &["torc_engine", "torc_persistence", "torc_scripting", "torc_server", "torc_fuzz", "torc_bench", "torc_ci"];

/// A rule with its name.
pub(crate) struct Rule {
    /// Shown with each finding.
    pub(crate) name: &'static str,
    /// The check.
    pub(crate) check: fn(&Source) -> Vec<Finding>,
}

/// Every rule for Rust files.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "crates import in one direction", check: imports },
    Rule { name: "words stay in their rooms", check: rooms },
    Rule { name: "files are short", check: file_length },
    Rule { name: "functions are short", check: function_length },
    Rule { name: "public items are documented", check: public_docs },
    Rule { name: "files say what they are", check: file_header },
    Rule { name: "names say what is inside", check: empty_names },
    Rule { name: "nothing is left for later", check: unfinished },
];

fn imports(source: &Source) -> Vec<Finding> {
    let Some(rule) = IMPORTS.iter().find(|rule| source.path.starts_with(rule.folder)) else {
        return vec![(1, "belongs to no crate that ci/tests/tidy knows".to_owned())];
    };
    let allowed =
        |name: &str, is_test: bool| rule.anywhere.contains(&name) || (is_test && rule.in_tests.contains(&name));
    let mut findings = Vec::new();
    for (at, line) in source.code.lines().enumerate() {
        let is_test = source.is_test_file() || source.is_test_line[at];
        for name in OURS.iter().filter(|name| has_word(line, name) && !allowed(name, is_test)) {
            findings.push((at + 1, format!("{} must not use {name}", rule.folder.trim_end_matches('/'))));
        }
    }
    findings
}

fn rooms(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for room in ROOMS.iter().filter(|room| !room.paths.iter().any(|path| is_inside(&source.path, path))) {
        for (at, line) in source.code.lines().enumerate() {
            if has_word(line, room.word) {
                findings.push((at + 1, format!("`{}` belongs to {}", room.word, room.paths.join(", "))));
            }
        }
    }
    findings
}

fn is_inside(path: &str, room: &str) -> bool {
    path.starts_with(room) || path.strip_suffix(".rs") == room.strip_suffix('/')
}

fn file_length(source: &Source) -> Vec<Finding> {
    let lines = source.production_lines().count();
    if source.is_test_file() || lines <= FILE_LINES_MAX || LONG_FILES.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    vec![(1, format!("{lines} lines; over {FILE_LINES_MAX} it becomes a folder by topic"))]
}

fn function_length(source: &Source) -> Vec<Finding> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut findings = Vec::new();
    for (number, line) in source.production_lines().filter(|_| !source.is_test_file()) {
        let Some(name) = function_name(line) else { continue };
        let begin = number - 1;
        let length = item_end(&lines, begin) - begin + 1;
        let place = format!("{}::{name}", source.path);
        if length > FUNCTION_LINES_MAX && !LONG_FUNCTIONS.iter().any(|(long, _)| *long == place) {
            findings.push((number, format!("`{name}` has {length} lines, more than {FUNCTION_LINES_MAX}")));
        }
    }
    findings
}

/// The name that a line defines a function under.
fn function_name(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let keyword = rest.find("fn ").filter(|&at| {
        let words = ["pub", "const", "async", "unsafe", "extern"];
        rest[..at]
            .split_whitespace()
            .all(|word| words.contains(&word) || word.starts_with("pub(") || word.ends_with(')'))
    })?;
    let name = &rest[keyword + 3..];
    let end = name.find(|character: char| !character.is_alphanumeric() && character != '_')?;
    (end > 0).then_some(&name[..end])
}

fn public_docs(source: &Source) -> Vec<Finding> {
    let of_a_library = source.path.starts_with("engine/src/") || source.path.starts_with("server/src/");
    let text: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for (number, line) in source.production_lines().filter(|_| of_a_library) {
        if is_public_item(line.trim_start()) && !has_docs(&text[..number - 1]) {
            findings.push((number, format!("`{}` has no `///`", line.trim())));
        }
    }
    findings
}

/// A module is documented by its own file; a field, by its struct.
fn is_public_item(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("pub ") else { return false };
    let keywords = ["fn", "struct", "enum", "union", "trait", "const", "static", "type", "async", "unsafe", "macro"];
    rest.split_whitespace().next().is_some_and(|word| keywords.contains(&word))
}

/// Whether the lines above an item, attributes passed over, end in documentation.
fn has_docs(above: &[&str]) -> bool {
    for line in above.iter().rev().map(|line| line.trim()) {
        let passes_documentation_on = line.starts_with("$(#[") || line.starts_with("$(#[$");
        if line.starts_with("///") || line.starts_with("#[doc") || line.starts_with("/**") || passes_documentation_on {
            return true;
        }
        if !(line.starts_with("#[") || line.ends_with(")]") || line.ends_with("#[derive(")) {
            return false;
        }
    }
    false
}

fn file_header(source: &Source) -> Vec<Finding> {
    let first = source.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if first.starts_with("//!") || first.starts_with("#![") && source.text.contains("\n//!") {
        return Vec::new();
    }
    vec![(1, "the file does not open with `//!`".to_owned())]
}

fn empty_names(source: &Source) -> Vec<Finding> {
    let path = source.path.trim_end_matches(".rs");
    let mut findings = Vec::new();
    for part in path.split('/').filter(|part| EMPTY_NAMES.contains(part)) {
        findings.push((1, format!("a file or folder named `{part}`")));
    }
    for (at, line) in source.code.lines().enumerate() {
        for name in EMPTY_NAMES.iter().filter(|name| has_word(line, &format!("mod {name}"))) {
            findings.push((at + 1, format!("a module named `{name}`")));
        }
    }
    findings
}

fn unfinished(source: &Source) -> Vec<Finding> {
    // Put together here so that the rule does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let macros = [concat!("to", "do!"), concat!("unimpl", "emented!")];
    let mut findings = Vec::new();
    for (at, (text, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
        let word = words.iter().find(|word| has_word(text, word) && !has_word(code, word));
        let unfinished_macro = macros.iter().find(|name| code.contains(**name));
        if let Some(found) = word.or(unfinished_macro) {
            findings.push((at + 1, format!("`{found}`: do it, or write an issue")));
        }
    }
    findings
}

/// The root manifest: every dependency from outside says why it is there.
pub(crate) fn dependency_comments(manifest: &str) -> Vec<Finding> {
    let mut in_table = false;
    let mut findings = Vec::new();
    for (at, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            in_table = line == "[workspace.dependencies]";
            continue;
        }
        let is_dependency = in_table && line.contains('=') && !line.trim_start().starts_with('#');
        if is_dependency && !line.contains("path = ") && !line.contains(" # ") {
            findings.push((at + 1, format!("`{line}` does not say why it is here")));
        }
    }
    findings
}

/// A crate's manifest: dependencies come from the root table, lints too, and no crate depends on one above it.
pub(crate) fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let allowed: &[&str] = match path {
        "persistence/Cargo.toml" => &["torc-engine"],
        "check/Cargo.toml" => &["torc-engine", "torc-persistence"],
        "fuzz/Cargo.toml" => &["torc-engine", "torc-persistence", "torc-server"],
        "server/Cargo.toml" => &["torc-engine", "torc-persistence", "torc-scripting"],
        _ => &[],
    };
    let mut section = "";
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if !section.ends_with("dependencies]") || name.is_empty() || name.starts_with('#') {
            continue;
        }
        if !line.contains("workspace") {
            findings.push((at + 1, format!("`{name}` is not from the root table")));
        }
        let for_benches = path == "bench/Cargo.toml" && section == "[dev-dependencies]" && name == "torc-engine";
        if name.starts_with("torc-") && !allowed.contains(&name) && !for_benches {
            findings.push((at + 1, format!("{path} must not depend on {name}")));
        }
    }
    if !text.contains("[lints]\nworkspace = true") {
        findings.push((1, "does not take the lints of the workspace".to_owned()));
    }
    findings
}
