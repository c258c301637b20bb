//! Whose code is built: everything in Cargo.lock keeps what `deny.toml` says, so far as that can be known without a network.
//!
//! ```text
//!   cargo metadata (each target of deny.toml) ──> crates that are built ──> licence, source, one version, build script, C
//!   deny.toml ────────────────────────────────────────────────────────────┘
//! ```
//! The file is cargo-deny's; of its grammar this reads what stands in it: sections, lists of texts, lists of tables in one line each.
//! What only cargo-deny knows is left to it: advisories, versions that were taken back, the texts of licences.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// Who compiles code of other languages, and which.
const NATIVE: &[(&str, &str)] = &[
    ("alloca", "C of criterion: micro benches only"),
    ("libmimalloc-sys", "C: the allocator"),
    ("mlua-sys", "C: Lua 5.1"),
    ("ring", "C and assembler: ciphers and signatures"),
    ("rquickjs-sys", "C: QuickJS"),
];

/// Crates that compile such code for others.
const COMPILERS: &[&str] = &["bindgen", "cc", "cmake", "nasm-rs", "pkg-config"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `deny.toml`: the lists, under section and name.
struct Rules(BTreeMap<String, Vec<String>>);

impl Rules {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
        let (mut lists, mut section, mut open) = (BTreeMap::new(), String::new(), None::<String>);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = &open {
                if line == "]" {
                    open = None;
                } else {
                    let list: &mut Vec<String> = lists.entry(name.clone()).or_default();
                    list.push(line.trim_end_matches(',').to_owned());
                }
            } else if let Some(name) = line.strip_prefix('[') {
                name.trim_end_matches(']').clone_into(&mut section);
            } else {
                let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("deny.toml: {line}"));
                let (name, value) = (format!("{section}.{}", name.trim()), value.trim());
                match value.strip_prefix('[') {
                    Some("") => open = Some(name),
                    Some(items) => {
                        let items = items.strip_suffix(']').unwrap_or_else(|| panic!("deny.toml: {line}")).split(',');
                        let items = items.map(str::trim).filter(|item| !item.is_empty());
                        lists.insert(name, items.map(str::to_owned).collect());
                    }
                    None => drop(lists.insert(name, vec![value.to_owned()])),
                }
            }
        }
        Self(lists)
    }

    fn lines(&self, name: &str) -> &[String] {
        self.0.get(name).unwrap_or_else(|| panic!("deny.toml has no {name}"))
    }

    fn texts(&self, name: &str) -> BTreeSet<&str> {
        self.lines(name).iter().map(|line| line.trim_matches('"')).collect()
    }

    /// The texts in quotes of each line of a list.
    fn tables(&self, name: &str) -> Vec<Vec<&str>> {
        self.lines(name).iter().map(|line| line.split('"').skip(1).step_by(2).collect()).collect()
    }
}

/// A crate that is built.
struct Built {
    name: String,
    version: String,
    license: String,
    source: String,
    has_build_script: bool,
    compiles: bool,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// All that is built for a target, our own crates left out.
fn built(target: &str) -> Vec<Built> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", target]);
    let output = command.current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package, "id").to_owned(), package)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node, "id").to_owned(), node)).collect();
    let mut waiting: Vec<String> =
        list(&metadata["workspace_members"]).iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(id) = waiting.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let (package, needs) = (&packages[&id], list(&nodes[&id]["deps"]));
        waiting.extend(needs.iter().map(|need| text(need, "pkg").to_owned()));
        let is_for_building = |need: &&Value| list(&need["dep_kinds"]).iter().any(|kind| text(kind, "kind") == "build");
        let mut tools = needs.iter().filter(is_for_building).map(|need| text(&packages[text(need, "pkg")], "name"));
        if package["source"].is_null() {
            continue;
        }
        found.push(Built {
            name: text(package, "name").to_owned(),
            version: text(package, "version").to_owned(),
            license: text(package, "license").to_owned(),
            source: text(package, "source").to_owned(),
            has_build_script: list(&package["targets"])
                .iter()
                .any(|target| list(&target["kind"]).iter().any(|kind| kind == "custom-build")),
            compiles: tools.any(|tool| COMPILERS.contains(&tool)),
        });
    }
    found
}

/// Whether an expression of licences can be met by those: OR before AND in brackets, `/` for OR as old crates write it.
fn is_met(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut place = 0;
    let is_good = any_of(&words, &mut place, allowed);
    is_good && place == words.len()
}

fn any_of(words: &[&str], place: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut is_good = all_of(words, place, allowed);
    while words.get(*place) == Some(&"OR") {
        *place += 1;
        is_good |= all_of(words, place, allowed);
    }
    is_good
}

fn all_of(words: &[&str], place: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut is_good = one(words, place, allowed);
    while words.get(*place) == Some(&"AND") {
        *place += 1;
        is_good &= one(words, place, allowed);
    }
    is_good
}

fn one(words: &[&str], place: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*place) else {
        // Nothing follows: no place is its end.
        *place = usize::MAX;
        return false;
    };
    *place += 1;
    if *word == "(" {
        let is_good = any_of(words, place, allowed);
        let is_closed = words.get(*place) == Some(&")");
        *place += usize::from(is_closed);
        return is_good && is_closed;
    }
    if words.get(*place) == Some(&"WITH") {
        // An exception is a licence of its own.
        *place += 2;
        return false;
    }
    allowed(word.trim_end_matches('+'))
}

/// The part of a version that tells what fits what: `1`, `0.3`, `0.0.4`.
fn line_of(version: &str) -> String {
    let parts: Vec<&str> = version.split('.').collect();
    let count = parts.iter().take_while(|part| **part == "0").count() + 1;
    parts[..count.min(parts.len())].join(".")
}

/// What is wrong with what is built, by the rules.
fn complaints(rules: &Rules, built: &[Built]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let licenses = rules.texts("licenses.allow");
    let exceptions = rules.tables("licenses.exceptions");
    let registries: Vec<String> =
        rules.texts("sources.allow-registry").iter().map(|place| format!("registry+{place}")).collect();
    let scripts = rules.texts("bans.build.allow-build-scripts");
    let skipped: BTreeSet<String> = rules.tables("bans.skip").iter().map(|table| table[0].to_owned()).collect();
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for Built { name, version, license, source, has_build_script, compiles } in built {
        let may = |word: &str| {
            let is_exception = exceptions.iter().any(|table| table[0] == name && table[1..].contains(&word));
            licenses.contains(word) || is_exception
        };
        if !is_met(license, &may) {
            found.insert(format!("{name} {version}: its licence is '{license}'"));
        }
        if !registries.contains(source) {
            found.insert(format!("{name} {version}: it comes from {source}"));
        }
        if *has_build_script && !scripts.contains(name.as_str()) {
            found.insert(format!("{name} {version}: it has a build script, and is not in allow-build-scripts"));
        }
        if *compiles && !NATIVE.iter().any(|(known, _)| known == name) {
            found.insert(format!("{name} {version}: it compiles code of another language, and is not in NATIVE"));
        }
        versions.entry(name).or_default().insert(line_of(version));
    }
    for (name, lines) in versions {
        let counted: Vec<&String> = lines.iter().filter(|line| !skipped.contains(&format!("{name}@{line}"))).collect();
        if counted.len() > 1 {
            found.insert(format!("{name} is there in versions {counted:?}, which do not fit each other"));
        }
    }
    found
}

#[test]
fn what_is_built_keeps_the_rules_of_deny_toml() {
    let rules = Rules::read();
    let mut all = Vec::new();
    for target in rules.texts("graph.targets") {
        let built = built(target);
        assert!(built.iter().any(|one| one.name == "rustls"), "the walk finds too little");
        assert_eq!(complaints(&rules, &built), BTreeSet::new(), "for {target}");
        all.extend(built);
    }
    // What stands in a list and is not there any more is to go.
    let is_built = |name: &&str| all.iter().any(|one| one.name == **name);
    let gone: Vec<_> =
        rules.texts("bans.build.allow-build-scripts").into_iter().filter(|name| !is_built(name)).collect();
    assert!(gone.is_empty(), "allow-build-scripts names what is not built: {gone:?}");
    let gone: Vec<_> = NATIVE.iter().filter(|(name, _)| !is_built(name)).collect();
    assert!(gone.is_empty(), "NATIVE names what is not built: {gone:?}");
    for table in rules.tables("bans.skip") {
        let (name, line) = table[0].split_once('@').expect("a name and a version");
        assert!(all.iter().any(|one| one.name == name && line_of(&one.version) == line), "skip: {name}@{line} is gone");
        assert_eq!(table.len(), 2, "a reason for {name}");
    }
}

#[test]
fn a_rule_that_stops_biting_is_seen() {
    let rules = Rules::read();
    let good = || Built {
        name: "ring".to_owned(),
        version: "0.17.14".to_owned(),
        license: "Apache-2.0 AND ISC".to_owned(),
        source: "registry+https://github.com/rust-lang/crates.io-index".to_owned(),
        has_build_script: true,
        compiles: true,
    };
    let count = |built: &[Built]| complaints(&rules, built).len();
    assert_eq!(count(&[good()]), 0);
    assert_eq!(count(&[Built { license: "GPL-3.0".to_owned(), ..good() }]), 1);
    assert_eq!(count(&[Built { license: String::new(), ..good() }]), 1);
    assert_eq!(count(&[Built { source: "git+https://example.org/ring".to_owned(), ..good() }]), 1);
    assert_eq!(count(&[Built { name: "other".to_owned(), ..good() }]), 2, "its script, and its C");
    assert_eq!(count(&[good(), Built { version: "0.18.0".to_owned(), ..good() }]), 1);
    assert_eq!(count(&[good(), Built { version: "0.17.99".to_owned(), ..good() }]), 0);
}

#[test]
fn licences_are_read_as_spdx_says() {
    let allowed = |word: &str| ["MIT", "ISC", "MPL-2.0"].contains(&word);
    for good in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(GPL-3.0 OR MIT) AND ISC", "MPL-2.0+", "X WITH Y OR ISC"] {
        assert!(is_met(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT OR", "(MIT", "MIT WITH GPL", "GPL-3.0 OR X WITH MIT", "MIT)"] {
        assert!(!is_met(bad, &allowed), "{bad}");
    }
    assert_eq!(["1.2.3", "0.3.4", "0.0.4", "2.0.1+x"].map(line_of), ["1", "0.3", "0.0.4", "2"]);
}
