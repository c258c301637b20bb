//! A whole file: read item by item from bytes that arrive in pieces, written item by item.
//!
//! ```text
//!   "REDIS" version: 4 digits | "VALKEY" version: 3 digits
//!   AUX field value ...
//!   FUNCTION code ...
//!   SELECT number   RESIZE keys expiring
//!     [EXPIRES_AT_MS time]  [IDLE seconds | FREQUENCY byte]  kind key value ...
//!   END   CRC-64 of all before, or zero: from version 5 on
//! ```
//!
//! A [`Scanner`] finds where items end and makes nothing of values: that is left to whoever owns the key. An item that is not there as
//! a whole waits until there is twice as much, so a value of many pieces is gone through a few times, not once a piece. No
//! more is kept than has been fed.

use super::input::Input;
use super::output::Output;
use super::{Dialect, Malformed, Result, Version, extent, module_name, opcodes};
use crate::crc64;
use std::borrow::Cow;

const MAGIC_BYTES: usize = 9;
const SUM_BYTES: usize = 8;

/// The version from which on files end with a checksum.
const SUMMED_MIN: Version = Version(5);

/// A key and its value as it stands in the file.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The key.
    pub key: Cow<'a, [u8]>,
    /// How the value is written ([`super::kinds`]).
    pub kind: u8,
    /// The value: for [`decode::value`](super::decode::value).
    pub value: &'a [u8],
    /// When it expires, in ms since 1970.
    pub expires_at: Option<i64>,
    /// Seconds since it was used.
    pub idle_s: Option<u64>,
    /// How often it is used, as a logarithm.
    pub frequency: Option<u8>,
}

/// A part of a file.
#[derive(Debug)]
pub enum Item<'a> {
    /// Something about the file.
    Aux {
        /// What.
        field: Cow<'a, [u8]>,
        /// How it is.
        value: Cow<'a, [u8]>,
    },
    /// A library of functions: its code.
    Function(Cow<'a, [u8]>),
    /// The entries that follow are of this database.
    Select(u64),
    /// How many keys it has, and how many of these expire.
    Resize {
        /// In all.
        keys: u64,
        /// Of these.
        expiring: u64,
    },
    /// A key.
    Entry(Entry<'a>),
    /// What a module keeps beside the keys: its name.
    Module(String),
    /// Something that servers may leave out.
    Ignored,
    /// The end. Whatever follows is not of the file.
    End,
}

/// An item, and where it stands.
#[derive(Debug)]
pub struct Placed<'a> {
    /// The item.
    pub item: Item<'a>,
    /// Where it begins in the file.
    pub begin: u64,
    /// All of its bytes.
    pub bytes: &'a [u8],
}

/// Reads a file from pieces.
#[derive(Debug)]
pub struct Scanner {
    bytes: Vec<u8>,
    /// Up to where `bytes` has been handed out.
    used: usize,
    /// Bytes of the file in front of `bytes`.
    passed: u64,
    /// Bytes that should be there before it is worth another try.
    wanted: usize,
    sum: u64,
    checks_sum: bool,
    header: Option<(Version, Dialect)>,
    is_over: bool,
}

impl Scanner {
    /// For the beginning of a file; whether its checksum is looked at.
    pub fn new(checks_sum: bool) -> Self {
        Self {
            bytes: Vec::new(),
            used: 0,
            passed: 0,
            wanted: 0,
            sum: 0,
            checks_sum: checks_sum && !crc64::is_skipped(),
            header: None,
            is_over: false,
        }
    }

    /// Version and family, once they are read.
    pub fn header(&self) -> Option<(Version, Dialect)> {
        self.header
    }

    /// How many bytes of the file have been gone through: where the next item begins, or where one is broken.
    pub fn position(&self) -> u64 {
        self.passed + self.used as u64
    }

    /// Whether the end has been read.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What has been fed and not been handed out: what is broken, if something is.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// What was fed behind the end of the file.
    pub fn rest(&self) -> &[u8] {
        if self.is_over { &self.bytes[self.used..] } else { &[] }
    }

    /// More of the file.
    pub fn feed(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.used);
        self.passed += self.used as u64;
        self.used = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next item; none if more of the file is needed, or it is over. With `is_all` nothing more will come.
    pub fn next(&mut self, is_all: bool) -> Result<Option<Item<'_>>> {
        Ok(self.next_placed(is_all)?.map(|placed| placed.item))
    }

    /// The next item with its place.
    pub fn next_placed(&mut self, is_all: bool) -> Result<Option<Placed<'_>>> {
        if self.is_over || (self.bytes.len() - self.used < self.wanted && !is_all) {
            return Ok(None);
        }
        let (end, found) = match self.scan() {
            Err(Malformed::Truncated) if !is_all => {
                self.wanted = 2 * (self.bytes.len() - self.used);
                return Ok(None);
            }
            scanned => scanned?,
        };
        self.wanted = 0;
        let from = std::mem::replace(&mut self.used, end);
        if self.checks_sum {
            // The checksum is not part of what it sums up.
            let summed = if matches!(found, Found::End(Some(_))) { end - SUM_BYTES } else { end };
            self.sum = crc64::update(self.sum, &self.bytes[from..summed]);
        }
        self.accept(&found)?;
        let bytes = &self.bytes[from..end];
        let item = match (found, self.header) {
            (Found::Item, Some((_, dialect))) => item(&mut Input::new(bytes), dialect)?,
            (Found::End(_), _) => Item::End,
            (Found::Header(..) | Found::Item, _) => Item::Ignored,
        };
        Ok(Some(Placed { item, begin: self.passed + from as u64, bytes }))
    }

    /// Where the next item ends.
    fn scan(&self) -> Result<(usize, Found)> {
        let mut input = Input::new(&self.bytes[self.used..]);
        let found = match self.header {
            None => {
                let (version, dialect) = magic(input.array()?)?;
                Found::Header(version, dialect)
            }
            Some((version, dialect)) => skip_item(&mut input, version, dialect)?,
        };
        Ok((self.used + input.position(), found))
    }

    /// Takes note of what has been found to be whole.
    fn accept(&mut self, found: &Found) -> Result<()> {
        match *found {
            Found::Header(version, dialect) => self.header = Some((version, dialect)),
            Found::Item => {}
            Found::End(said) => {
                self.is_over = true;
                if said.is_some_and(|said| self.checks_sum && said != 0 && said != self.sum) {
                    return Err(Malformed::Invalid("CRC error: the checksum is not that of the file"));
                }
            }
        }
        Ok(())
    }
}

enum Found {
    Header(Version, Dialect),
    Item,
    /// With its checksum, if it has one.
    End(Option<u64>),
}

fn magic(bytes: [u8; MAGIC_BYTES]) -> Result<(Version, Dialect)> {
    const NONE: Malformed = Malformed::Invalid("it does not begin as a file of keys and values does");
    let (digits, dialect) = match bytes.strip_prefix(b"REDIS") {
        Some(digits) => (digits, Dialect::Redis),
        None => (bytes.strip_prefix(b"VALKEY").ok_or(NONE)?, Dialect::Valkey),
    };
    let version = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).map(Version).ok_or(NONE)?;
    let is_known = match dialect {
        Dialect::Redis => (Version(1)..=Version::REDIS_MAX).contains(&version),
        Dialect::Valkey => (Version::VALKEY_MIN..=Version::VALKEY_MAX).contains(&version),
    };
    if is_known { Ok((version, dialect)) } else { Err(Malformed::Invalid("it is of a version that is not known here")) }
}

fn skip_item(input: &mut Input<'_>, version: Version, dialect: Dialect) -> Result<Found> {
    loop {
        match input.byte()? {
            opcodes::AUX => {
                input.skip_text()?;
                input.skip_text()?;
            }
            opcodes::FUNCTION => input.skip_text()?,
            opcodes::SELECT => drop(input.number()?),
            opcodes::RESIZE => (0..2).try_for_each(|_| input.number().map(drop))?,
            opcodes::SLOT_INFO => (0..3).try_for_each(|_| input.number().map(drop))?,
            opcodes::SLOT_IMPORT_OR_KEY_META if dialect == Dialect::Valkey => {
                input.skip_text()?;
                for _ in 0..input.number()? {
                    input.number()?;
                    input.number()?;
                }
            }
            opcodes::SLOT_IMPORT_OR_KEY_META => {
                for _ in 0..input.number()? {
                    input.take(4)?;
                    extent::module_parts(input)?;
                }
                // It belongs to the key that follows.
                continue;
            }
            opcodes::MODULE_AUX => extent::module(input)?,
            opcodes::END if version < SUMMED_MIN => return Ok(Found::End(None)),
            opcodes::END => return Ok(Found::End(Some(u64::from_le_bytes(input.array()?)))),
            opcodes::FUNCTION_BEFORE_RELEASE => {
                return Err(Malformed::Invalid("a function as a release candidate of 7.0 wrote it"));
            }
            // These belong to the key that follows.
            opcodes::EXPIRES_AT_MS => {
                input.take(8)?;
                continue;
            }
            opcodes::EXPIRES_AT_S => {
                input.take(4)?;
                continue;
            }
            opcodes::IDLE => {
                input.number()?;
                continue;
            }
            opcodes::FREQUENCY => {
                input.byte()?;
                continue;
            }
            kind => {
                input.skip_text()?;
                extent::skip(kind, input, dialect)?;
            }
        }
        return Ok(Found::Item);
    }
}

/// An item of which is known that it is whole.
fn item<'a>(input: &mut Input<'a>, dialect: Dialect) -> Result<Item<'a>> {
    let (mut expires_at, mut idle_s, mut frequency) = (None, None, None);
    loop {
        match input.byte()? {
            opcodes::AUX => return Ok(Item::Aux { field: input.text()?, value: input.text()? }),
            opcodes::FUNCTION => return Ok(Item::Function(input.text()?)),
            opcodes::SELECT => return Ok(Item::Select(input.number()?)),
            opcodes::RESIZE => return Ok(Item::Resize { keys: input.number()?, expiring: input.number()? }),
            opcodes::MODULE_AUX => return Ok(Item::Module(module_name(input.number()?))),
            opcodes::SLOT_INFO => return Ok(Item::Ignored),
            opcodes::SLOT_IMPORT_OR_KEY_META if dialect == Dialect::Valkey => return Ok(Item::Ignored),
            opcodes::SLOT_IMPORT_OR_KEY_META => {
                for _ in 0..input.number()? {
                    input.take(4)?;
                    extent::module_parts(input)?;
                }
            }
            opcodes::EXPIRES_AT_MS => expires_at = Some(input.i64()?),
            opcodes::EXPIRES_AT_S => expires_at = Some(i64::from(i32::from_le_bytes(input.array()?)) * 1000),
            opcodes::IDLE => idle_s = Some(input.number()?),
            opcodes::FREQUENCY => frequency = Some(input.byte()?),
            kind => {
                let key = input.text()?;
                let from = input.position();
                extent::skip(kind, input, dialect)?;
                let value = input.since(from);
                return Ok(Item::Entry(Entry { key, kind, value, expires_at, idle_s, frequency }));
            }
        }
    }
}

/// The first bytes of a file.
pub fn write_header(version: Version, dialect: Dialect, out: &mut Output<'_>) {
    match dialect {
        Dialect::Redis => out.raw(format!("REDIS{:04}", version.0).as_bytes()),
        Dialect::Valkey => out.raw(format!("VALKEY{:03}", version.0).as_bytes()),
    }
}

/// Something about the file.
pub fn write_aux(field: &[u8], value: &[u8], out: &mut Output<'_>) {
    out.byte(opcodes::AUX);
    out.text(field);
    out.text(value);
}

/// A library of functions.
pub fn write_function(code: &[u8], out: &mut Output<'_>) {
    out.byte(opcodes::FUNCTION);
    out.text(code);
}

/// The database of the keys that follow.
pub fn write_select(database: u64, out: &mut Output<'_>) {
    out.byte(opcodes::SELECT);
    out.number(database);
}

/// How many keys it has.
pub fn write_resize(keys: u64, expiring: u64, out: &mut Output<'_>) {
    out.byte(opcodes::RESIZE);
    out.number(keys);
    out.number(expiring);
}

/// What stands in front of a value: when it expires, how it was used, its kind, the key.
pub fn write_key(key: &[u8], kind: u8, expires_at: Option<i64>, use_of_it: Use, out: &mut Output<'_>) {
    if let Some(at) = expires_at {
        out.byte(opcodes::EXPIRES_AT_MS);
        out.i64(at);
    }
    match use_of_it {
        Use::Unknown => {}
        Use::IdleSeconds(seconds) => {
            out.byte(opcodes::IDLE);
            out.number(seconds);
        }
        Use::Frequency(counter) => {
            out.byte(opcodes::FREQUENCY);
            out.byte(counter);
        }
    }
    out.byte(kind);
    out.text(key);
}

/// How a key was used, as far as eviction wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It does not.
    Unknown,
    /// Seconds since then.
    IdleSeconds(u64),
    /// A logarithm.
    Frequency(u8),
}

/// The last byte but for the checksum: [`crc64`] of all that was written, this byte included, little endian.
pub fn write_end(out: &mut Output<'_>) {
    out.byte(opcodes::END);
}
