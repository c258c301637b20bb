//! Libraries of functions: a value that all shards share.
//!
//! ```text
//!   FUNCTION LOAD ── Library::parse ── an interpreter runs it (Interpreters::load) ── Registry::with ──> a new registry
//!   every shard: Arc<Library> ──> its own interpreter, which loads the library's code at the first call
//! ```
//!
//! A registry is never changed: each change makes another, which shares the libraries. So it is handed to all shards as one
//! value, and a shard that still runs a function of a library that is gone keeps that library alive.

use crate::shebang;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// The language of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Lua 5.1, as Redis has it.
    Lua,
    /// JavaScript.
    Js,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Lua, Self::Js];

    /// As `FUNCTION LIST` and `FUNCTION STATS` show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lua => "LUA",
            Self::Js => "JS",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// What a script or function says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FunctionFlags(u8);

impl FunctionFlags {
    const NAMES: [&'static str; 5] = ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];

    /// Sets the flag of this name, if there is one.
    pub fn set(&mut self, name: &[u8]) -> bool {
        match Self::NAMES.iter().position(|known| known.as_bytes() == name) {
            Some(at) => {
                self.0 |= 1 << at;
                true
            }
            None => false,
        }
    }

    /// Names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, name)| name)
    }

    /// It writes nothing.
    pub fn no_writes(self) -> bool {
        self.0 & 1 != 0
    }

    /// It may run where memory is out.
    pub fn allow_oom(self) -> bool {
        self.0 & 2 != 0
    }

    /// It may run on a replica that has lost its primary.
    pub fn allow_stale(self) -> bool {
        self.0 & 4 != 0
    }

    /// It does not run in a cluster.
    pub fn no_cluster(self) -> bool {
        self.0 & 8 != 0
    }

    /// Its keys may be of several slots.
    pub fn allow_cross_slot_keys(self) -> bool {
        self.0 & 16 != 0
    }
}

/// A function of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Its name.
    pub name: Box<str>,
    /// What it says it does.
    pub description: Option<Box<str>>,
    /// What it may do.
    pub flags: FunctionFlags,
}

/// A library.
#[derive(Debug)]
pub struct Library {
    /// Its name.
    pub name: Box<str>,
    /// Its language.
    pub engine: Engine,
    /// The whole text.
    pub code: Box<[u8]>,
    line_bytes: usize,
    functions: OnceLock<Vec<FunctionSpec>>,
}

/// Whether a library or function may have this name.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

impl Library {
    /// What the first line of `code` says; nothing has run yet, so it has no functions.
    pub fn parse(code: &[u8]) -> Result<Self, Vec<u8>> {
        let line = shebang::of_library(code)?;
        if !is_name(&line.name) {
            let rule = b"ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";
            return Err(rule.to_vec());
        }
        let Some(engine) = Engine::parse(&line.engine) else {
            return Err([b"ERR Engine '", &line.engine[..], b"' not found"].concat());
        };
        let name = String::from_utf8(line.name).map_err(|_| b"ERR Invalid library metadata".to_vec())?;
        Ok(Self { name: name.into(), engine, code: code.into(), line_bytes: line.length, functions: OnceLock::new() })
    }

    /// What the interpreter sees: all behind the first line's text, so that lines keep their numbers.
    pub(crate) fn body(&self) -> &[u8] {
        &self.code[self.line_bytes..]
    }

    /// Its functions.
    pub fn functions(&self) -> &[FunctionSpec] {
        self.functions.get().map_or(&[], Vec::as_slice)
    }

    /// They are known once its code has run; what it registers later is the same.
    pub(crate) fn set_functions(&self, functions: Vec<FunctionSpec>) {
        let _ = self.functions.set(functions);
    }
}

/// What to do with libraries that are there when others are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// They go.
    Flush,
    /// They stay; one with the same name is an error.
    Append,
    /// They stay unless one with the same name comes.
    Replace,
}

/// All libraries.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    libraries: BTreeMap<Box<str>, Arc<Library>>,
    /// By their names in small letters, as they are called in any.
    functions: BTreeMap<Box<str>, (Arc<Library>, usize)>,
}

impl Registry {
    /// The function of this name, and its library.
    pub fn function(&self, name: &[u8]) -> Option<(&Arc<Library>, &FunctionSpec)> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        let (library, at) = self.functions.get(&*name)?;
        Some((library, library.functions().get(*at)?))
    }

    /// The library of this name.
    pub fn library(&self, name: &[u8]) -> Option<&Arc<Library>> {
        self.libraries.get(std::str::from_utf8(name).ok()?)
    }

    /// All libraries, by name.
    pub fn libraries(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.libraries.values()
    }

    /// How many functions of a language there are, and libraries.
    pub fn counts(&self, engine: Engine) -> (usize, usize) {
        let ours = || self.libraries.values().filter(move |library| library.engine == engine);
        (ours().count(), ours().map(|library| library.functions().len()).sum())
    }

    /// Whether a library of this name may come: asked before its code runs.
    pub fn check_name(&self, name: &str, is_replacing: bool) -> Result<(), Vec<u8>> {
        if !is_replacing && self.libraries.contains_key(name) {
            return Err(format!("ERR Library '{name}' already exists").into_bytes());
        }
        Ok(())
    }

    /// With a library whose code has run, in the place of one of the same name.
    pub fn with(&self, library: &Arc<Library>) -> Result<Self, Vec<u8>> {
        let mut changed = self.clone();
        changed.remove(&library.name);
        changed.add(library)?;
        Ok(changed)
    }

    /// Without a library.
    pub fn without(&self, name: &[u8]) -> Result<Self, Vec<u8>> {
        let mut changed = self.clone();
        match std::str::from_utf8(name).ok().filter(|name| changed.remove(name)) {
            Some(_) => Ok(changed),
            None => Err(b"ERR Library not found".to_vec()),
        }
    }

    /// With restored libraries.
    pub fn joined(&self, restored: &Self, policy: Policy) -> Result<Self, Vec<u8>> {
        if policy == Policy::Flush {
            return Ok(restored.clone());
        }
        let mut changed = self.clone();
        for library in restored.libraries.values() {
            if changed.remove(&library.name) && policy == Policy::Append {
                return Err(format!("ERR Library {} already exists", library.name).into_bytes());
            }
        }
        for library in restored.libraries.values() {
            changed.add(library)?;
        }
        Ok(changed)
    }

    fn remove(&mut self, name: &str) -> bool {
        let Some(library) = self.libraries.remove(name) else { return false };
        for function in library.functions() {
            self.functions.remove(&*function.name.to_ascii_lowercase());
        }
        true
    }

    fn add(&mut self, library: &Arc<Library>) -> Result<(), Vec<u8>> {
        for (at, function) in library.functions().iter().enumerate() {
            let name = function.name.to_ascii_lowercase().into_boxed_str();
            if self.functions.contains_key(&name) {
                return Err(format!("ERR Function {} already exists", function.name).into_bytes());
            }
            self.functions.insert(name, (library.clone(), at));
        }
        self.libraries.insert(library.name.clone(), library.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, functions: &[&str]) -> Arc<Library> {
        let library = Library::parse(format!("#!lua name={name}\nx").as_bytes()).unwrap();
        let spec =
            |name: &&str| FunctionSpec { name: (*name).into(), description: None, flags: FunctionFlags::default() };
        library.set_functions(functions.iter().map(spec).collect());
        Arc::new(library)
    }

    fn text<T>(result: Result<T, Vec<u8>>) -> String {
        result.err().map(|line| String::from_utf8(line).unwrap()).unwrap_or_default()
    }

    #[test]
    fn names_of_functions_are_unique() {
        let registry = Registry::default().with(&library("a", &["f", "g"])).unwrap();
        assert_eq!(text(registry.with(&library("b", &["h", "f"]))), "ERR Function f already exists");
        let replaced = registry.with(&library("a", &["f", "h"])).unwrap();
        assert!(replaced.function(b"g").is_none() && replaced.function(b"h").is_some());
        assert!(registry.function(b"g").is_some(), "the old registry is as it was");
        assert_eq!(registry.function(b"G").map(|(_, spec)| &*spec.name), Some("g"), "in any case");
        assert_eq!(text(registry.check_name("a", false)), "ERR Library 'a' already exists");
        assert_eq!(text(registry.check_name("a", true)), "");
    }

    #[test]
    fn a_library_goes_with_its_functions() {
        let registry = Registry::default().with(&library("a", &["f"])).unwrap();
        assert!(registry.without(b"a").unwrap().function(b"f").is_none());
        assert_eq!(text(registry.without(b"b")), "ERR Library not found");
    }

    #[test]
    fn restored_libraries_join_by_policy() {
        let here = Registry::default().with(&library("a", &["f"])).unwrap().with(&library("b", &["g"])).unwrap();
        let restored = Registry::default().with(&library("a", &["h"])).unwrap();
        assert_eq!(text(here.joined(&restored, Policy::Append)), "ERR Library a already exists");
        let replaced = here.joined(&restored, Policy::Replace).unwrap();
        assert!(
            replaced.function(b"f").is_none() && replaced.function(b"g").is_some() && replaced.function(b"h").is_some()
        );
        assert_eq!(here.joined(&restored, Policy::Flush).unwrap().libraries().len(), 1);
        let clash = Registry::default().with(&library("c", &["g"])).unwrap();
        assert_eq!(text(here.joined(&clash, Policy::Replace)), "ERR Function g already exists");
    }

    #[test]
    fn names_and_engines_are_checked() {
        for (code, expected) in [
            (
                "#!lua name=a-b\nx",
                "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
            ),
            ("#!foo name=a\nx", "ERR Engine 'foo' not found"),
            ("#!LUA name=a\nx", ""),
            ("#!js name=a\nx", ""),
        ] {
            assert_eq!(text(Library::parse(code.as_bytes())), expected, "{code}");
        }
    }
}
