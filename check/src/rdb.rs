//! A walk through an RDB file: each item as it stands, each value decoded, whatever is wrong as a finding with its place.
//!
//! ```text
//!   Source ──pieces──> Scanner ──items──> Walk ──> visit: item, value, bytes
//!                                          └─────> findings: offset, key, what, what to do
//! ```
//!
//! Where an item ends is known even if its value cannot be decoded, so the walk goes on behind such a value; it ends where the
//! file itself contradicts its format. Keys are remembered as hashes of 64 bits, a set for each database; one that was
//! seen before makes a finding. (Two keys of one hash among a thousand million are met once in forty such files.)

use crate::progress::Source;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use torc_engine::keyspace::{KeyHasher, Keyspace, Value};
use torc_engine::values::Encodings;
use torc_persistence::rdb::decode::{self, Decoded, Target};
use torc_persistence::rdb::file::{Entry, Item, Scanner};
use torc_persistence::rdb::input::Input;
use torc_persistence::rdb::{Dialect, Malformed, Version, extent, opcodes};

/// What was being read, in the words of the stock tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Start,
    Type,
    Expiry,
    Key,
    Value,
    Sum,
    Length,
    Aux,
    ModuleAux,
    Functions,
}

impl Stage {
    /// Those words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Type => "read-type",
            Self::Expiry => "read-expire",
            Self::Key => "read-key",
            Self::Value => "read-object-value",
            Self::Sum => "check-sum",
            Self::Length => "read-len",
            Self::Aux => "read-aux",
            Self::ModuleAux => "read-module-aux",
            Self::Functions => "read-functions",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Where in the file: how far it has been read.
    pub(crate) offset: u64,
    /// In what.
    pub(crate) stage: Stage,
    /// Of which key.
    pub(crate) key: Option<Vec<u8>>,
    /// How the value is written that is being read.
    pub(crate) kind: Option<u8>,
    /// What.
    pub(crate) what: What,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It begins in another way.
    NoMagic,
    /// It is of a version that is not known.
    FutureVersion(String),
    /// It ends too early.
    Truncated,
    /// No item begins so.
    UnknownKind(u8),
    /// It contradicts its own format.
    Broken(Malformed),
    /// A value that cannot be decoded, of a known length.
    BadValue(Malformed),
    /// A collection without elements.
    EmptyValue,
    /// The key was there before in that database.
    Twice(u64),
    /// The checksum is another one.
    WrongSum,
    /// So many bytes behind the end.
    Behind(u64),
}

impl What {
    /// Whether the walk goes on behind it.
    pub(crate) fn is_passable(&self) -> bool {
        matches!(self, Self::BadValue(_) | Self::EmptyValue | Self::Twice(_) | Self::WrongSum | Self::Behind(_))
    }

    /// What it is and what to do.
    pub(crate) fn told(&self) -> (String, &'static str) {
        const FIX: &str = "`torc-check verify --fix` keeps all items in front of it";
        match self {
            Self::NoMagic => {
                ("this is no RDB file: it begins neither with REDIS nor with VALKEY".into(), "look for the right file")
            }
            Self::FutureVersion(version) => (
                format!("a file of version {version}, which is not known here"),
                "read it with the server that wrote it",
            ),
            Self::Truncated => ("the file ends in the middle of an item".into(), FIX),
            Self::UnknownKind(kind) => (format!("no item begins with byte {kind}"), FIX),
            Self::Broken(Malformed::Module(name)) => (
                format!("a value of the module '{name}' in a form whose length cannot be told"),
                "load it where the module is",
            ),
            Self::Broken(malformed) => (malformed.to_string(), FIX),
            Self::BadValue(Malformed::Module(name)) => {
                (format!("a value of the module '{name}'"), "load it where the module is, or leave it out: `--fix`")
            }
            Self::BadValue(malformed) => {
                (format!("the value: {malformed}"), "`torc-check verify --fix` leaves this key out")
            }
            Self::EmptyValue => {
                ("a collection without elements".into(), "servers leave such keys out, so does `--fix`")
            }
            Self::Twice(database) => (
                format!("the key stands twice in database {database}: stock servers refuse the file when they load it"),
                "`torc-check verify --fix` keeps the first of them",
            ),
            Self::WrongSum => (
                "the checksum is not that of the file: some byte in it changed after it was written".into(),
                "prefer another copy; `--fix` takes the values as they are",
            ),
            Self::Behind(bytes) => {
                (format!("{bytes} bytes behind the end of the file"), "harmless to servers; `--fix` leaves them out")
            }
        }
    }
}

/// How a walk is made.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// Whether values are decoded.
    pub(crate) decodes: bool,
    /// Whether commands may follow the end (an old append-only file).
    pub(crate) is_preamble: bool,
    /// Whether the first finding ends the walk.
    pub(crate) stops: bool,
}

/// An item, where it is, and the database it is about.
pub(crate) struct Place<'a> {
    /// Where the item begins.
    pub(crate) begin: u64,
    /// Where it ends.
    pub(crate) end: u64,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    /// The selected database.
    pub(crate) database: u64,
    /// The value of an entry, if it could be decoded.
    pub(crate) value: Option<&'a Value>,
    /// Whether a server could not load the item.
    pub(crate) is_bad: bool,
}

/// What a walk came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Version and family, if the header could be read.
    pub(crate) header: Option<(Version, Dialect)>,
    /// Bytes up to the end, or up to what could not be read.
    pub(crate) bytes: u64,
    /// Whether the end was reached.
    pub(crate) is_over: bool,
    /// Whether there was a checksum, and it was looked at.
    pub(crate) is_summed: bool,
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
    /// Findings beyond those that are kept.
    pub(crate) findings_left_off: u64,
}

impl Outcome {
    /// Findings that are kept.
    const FINDINGS_MAX: usize = 1000;

    fn add(&mut self, finding: Finding) {
        if self.findings.len() < Self::FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_left_off += 1;
        }
    }
}

/// What to make values with.
pub(crate) struct Decoder {
    keyspace: Keyspace,
    limits: Encodings,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_hasher(KeyHasher::with_seed(fastrand::u64(..)))
    }
}

impl Decoder {
    /// For a keyspace with this hasher.
    pub(crate) fn with_hasher(hasher: KeyHasher) -> Self {
        Self { keyspace: Keyspace::new(1, hasher), limits: Encodings::default() }
    }

    fn value(&self, entry: &Entry<'_>, dialect: Dialect) -> Result<Value, What> {
        let target = Target { limits: &self.limits, hasher: self.keyspace.member_hasher(), dialect };
        let mut input = Input::new(entry.value);
        match decode::value(entry.kind, &mut input, target) {
            Ok(Decoded::Value(value)) => Ok(value),
            Ok(Decoded::Empty) => Err(What::EmptyValue),
            Err(malformed) => Err(What::BadValue(malformed)),
        }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.keyspace.hasher().hash(key)
    }
}

/// Goes through a file.
pub(crate) fn walk(
    path: &Path,
    options: Options,
    visit: &mut dyn FnMut(&Place<'_>, &Item<'_>) -> io::Result<()>,
) -> io::Result<Outcome> {
    walk_with(path, options, Decoder::default(), visit)
}

/// The same, with values made for another keyspace.
pub(crate) fn walk_with(
    path: &Path,
    options: Options,
    decoder: Decoder,
    visit: &mut dyn FnMut(&Place<'_>, &Item<'_>) -> io::Result<()>,
) -> io::Result<Outcome> {
    let mut walk = Walk {
        source: Source::open(path)?,
        scanner: Scanner::new(true),
        decoder,
        keys: HashMap::new(),
        database: 0,
        options,
        outcome: Outcome::default(),
    };
    walk.run(visit)?;
    Ok(walk.outcome)
}

struct Walk {
    source: Source,
    scanner: Scanner,
    decoder: Decoder,
    /// Hashes of the keys of each database.
    keys: HashMap<u64, HashSet<u64>>,
    database: u64,
    options: Options,
    outcome: Outcome,
}

impl Walk {
    fn run(&mut self, visit: &mut dyn FnMut(&Place<'_>, &Item<'_>) -> io::Result<()>) -> io::Result<()> {
        let mut is_all = false;
        while !is_all {
            let piece = self.source.next()?;
            is_all = piece.is_empty();
            self.scanner.feed(piece);
            while self.step(is_all, visit)? {}
            let last = self.outcome.findings.last();
            if self.scanner.is_over() || last.is_some_and(|finding| self.options.stops || !finding.what.is_passable()) {
                break;
            }
        }
        self.outcome.header = self.scanner.header();
        self.outcome.bytes = self.scanner.position();
        self.outcome.is_over = self.scanner.is_over();
        if self.outcome.is_over && !self.options.is_preamble && self.source.bytes > self.outcome.bytes {
            let (offset, what) = (self.outcome.bytes, What::Behind(self.source.bytes - self.outcome.bytes));
            self.outcome.add(Finding { offset, stage: Stage::Sum, key: None, kind: None, what });
        }
        Ok(())
    }

    /// One item; whether there may be more.
    fn step(
        &mut self,
        is_all: bool,
        visit: &mut dyn FnMut(&Place<'_>, &Item<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let dialect = self.scanner.header().map(|(_, dialect)| dialect);
        let begin = self.scanner.position();
        let placed = match self.scanner.next_placed(is_all) {
            Ok(None) => return Ok(false),
            Ok(Some(placed)) => placed,
            Err(malformed) => {
                let is_over = self.scanner.is_over();
                let finding = if is_over {
                    let offset = self.scanner.position();
                    Finding { offset, stage: Stage::Sum, key: None, kind: None, what: What::WrongSum }
                } else {
                    locate(self.scanner.unread(), begin, dialect, malformed)
                };
                self.outcome.add(finding);
                return Ok(false);
            }
        };
        let mut value = None;
        let mut bad: Vec<(What, Vec<u8>, u8)> = Vec::new();
        match &placed.item {
            Item::Select(number) => self.database = *number,
            Item::Entry(entry) => {
                if self.options.decodes {
                    match self.decoder.value(entry, dialect.unwrap_or_default()) {
                        Ok(decoded) => value = Some(decoded),
                        Err(what) => bad.push((what, entry.key.to_vec(), entry.kind)),
                    }
                }
                let hash = self.decoder.hash(&entry.key);
                if !self.keys.entry(self.database).or_default().insert(hash) {
                    bad.push((What::Twice(self.database), entry.key.to_vec(), entry.kind));
                }
            }
            Item::End => self.outcome.is_summed = placed.bytes.len() > 1 && placed.bytes[1..] != [0; 8],
            _ => {}
        }
        let end = placed.begin + placed.bytes.len() as u64;
        let place = Place {
            begin: placed.begin,
            end,
            bytes: placed.bytes,
            database: self.database,
            value: value.as_ref(),
            is_bad: !bad.is_empty(),
        };
        visit(&place, &placed.item)?;
        for (what, key, kind) in bad {
            self.outcome.add(Finding { offset: end, stage: Stage::Value, key: Some(key), kind: Some(kind), what });
        }
        Ok(!self.options.stops || self.outcome.findings.is_empty())
    }
}

/// What of an item cannot be read, and where in it that is.
fn locate(unread: &[u8], begin: u64, dialect: Option<Dialect>, malformed: Malformed) -> Finding {
    let mut input = Input::new(unread);
    let mut finding =
        Finding { offset: begin, stage: Stage::Start, key: None, kind: None, what: What::Broken(malformed) };
    match dialect {
        None => {
            let digits = unread.strip_prefix(b"REDIS").or(unread.strip_prefix(b"VALKEY"));
            finding.what = match (unread.len(), digits) {
                (..9, _) => What::Truncated,
                (_, Some(digits)) => {
                    What::FutureVersion(String::from_utf8_lossy(&digits[..digits.len().min(4)]).into_owned())
                }
                _ => What::NoMagic,
            };
            finding.offset = begin + unread.len().min(9) as u64;
        }
        Some(dialect) => {
            let stopped = stop(&mut input, dialect, &mut finding);
            finding.offset = begin + input.position() as u64;
            match stopped {
                Err(Malformed::Truncated) => {
                    finding.what = What::Truncated;
                    finding.offset = begin + unread.len() as u64;
                }
                Err(Malformed::UnknownKind(kind)) => {
                    finding.what = What::UnknownKind(kind);
                    (finding.stage, finding.kind) = (Stage::Type, None);
                }
                Err(malformed) => finding.what = What::Broken(malformed),
                Ok(()) => {}
            }
        }
    }
    finding
}

/// Reads an item up to what is wrong with it.
fn stop(input: &mut Input<'_>, dialect: Dialect, finding: &mut Finding) -> Result<(), Malformed> {
    loop {
        finding.stage = Stage::Type;
        match input.byte()? {
            opcodes::AUX => {
                finding.stage = Stage::Aux;
                input.text()?;
                return input.text().map(drop);
            }
            opcodes::FUNCTION | opcodes::FUNCTION_BEFORE_RELEASE => {
                finding.stage = Stage::Functions;
                return input.text().map(drop);
            }
            opcode @ (opcodes::SELECT | opcodes::RESIZE | opcodes::SLOT_INFO) => {
                finding.stage = Stage::Length;
                let count = if opcode == opcodes::SELECT {
                    1
                } else if opcode == opcodes::RESIZE {
                    2
                } else {
                    3
                };
                return (0..count).try_for_each(|_| input.number().map(drop));
            }
            opcodes::MODULE_AUX => {
                finding.stage = Stage::ModuleAux;
                return extent::module(input);
            }
            opcodes::END => {
                finding.stage = Stage::Sum;
                return input.take(8).map(drop);
            }
            opcodes::EXPIRES_AT_MS => {
                finding.stage = Stage::Expiry;
                input.take(8)?;
            }
            opcodes::EXPIRES_AT_S => {
                finding.stage = Stage::Expiry;
                input.take(4)?;
            }
            opcodes::IDLE => drop(input.number()?),
            opcodes::FREQUENCY => drop(input.byte()?),
            kind if kind >= opcodes::SLOT_IMPORT_OR_KEY_META => return Ok(()),
            kind => {
                let before = input.clone();
                if let Err(Malformed::UnknownKind(kind)) = extent::skip(kind, &mut before.clone(), dialect) {
                    return Err(Malformed::UnknownKind(kind));
                }
                finding.stage = Stage::Key;
                finding.kind = Some(kind);
                finding.key = Some(input.text()?.into_owned());
                finding.stage = Stage::Value;
                return extent::skip(kind, input, dialect);
            }
        }
    }
}
