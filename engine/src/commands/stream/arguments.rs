//! The arguments that XADD and XTRIM have in common.

use super::super::errors::{integer, is, syntax};
use super::ids;
use crate::command::CommandError;
use crate::values::Encodings;
use crate::values::stream::{NewId, References, Threshold, Trim};

/// How a producer names its entry, so that it is not added twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming<'a> {
    /// By producer and name.
    Given(&'a [u8], &'a [u8]),
    /// By producer and what the entry holds.
    ByContent(&'a [u8]),
}

/// What stands in front of the fields of XADD, or behind the key of XTRIM.
#[derive(Debug, Default)]
pub(super) struct AddOrTrim<'a> {
    pub(super) trim: Option<Trim>,
    pub(super) is_only_if_exists: bool,
    pub(super) naming: Option<Naming<'a>>,
    /// And its index.
    pub(super) id: Option<(NewId, usize)>,
}

/// The words as they are found.
#[derive(Default)]
struct Found<'a> {
    threshold: Option<Threshold>,
    is_approximate: bool,
    limit: Option<u64>,
    references: References,
    naming: Option<Naming<'a>>,
}

/// KEEPREF, DELREF or ACKED.
pub(super) fn references(word: &[u8]) -> Option<References> {
    match word {
        _ if is(word, "KEEPREF") => Some(References::Keep),
        _ if is(word, "DELREF") => Some(References::Delete),
        _ if is(word, "ACKED") => Some(References::Acknowledged),
        _ => None,
    }
}

impl<'a> AddOrTrim<'a> {
    /// The arguments of `XADD key ...` up to the ID, which it has found then.
    pub(super) fn of_add(arguments: &[&'a [u8]], limits: &Encodings) -> Result<Self, CommandError> {
        Self::parse(arguments, limits, true)
    }

    /// The arguments of `XTRIM key ...`.
    pub(super) fn of_trim(arguments: &[&'a [u8]], limits: &Encodings) -> Result<Self, CommandError> {
        let parsed = Self::parse(arguments, limits, false)?;
        match parsed.trim {
            Some(_) => Ok(parsed),
            None => Err("ERR syntax error, XTRIM must be called with a trimming strategy".into()),
        }
    }

    fn parse(arguments: &[&'a [u8]], limits: &Encodings, is_add: bool) -> Result<Self, CommandError> {
        let (mut found, mut parsed) = (Found::default(), Self::default());
        let mut index = 2;
        while let Some(&word) = arguments.get(index) {
            let rest = &arguments[index + 1..];
            index += 1;
            if is_add && word == b"*" {
                parsed.id = Some((NewId::Generated, index - 1));
                break;
            } else if is(word, "MAXLEN") && !rest.is_empty() {
                index += found.threshold(rest, length)?;
            } else if is(word, "MINID") && !rest.is_empty() {
                index += found.threshold(rest, |text| ids::strict(text).map(Threshold::Id))?;
            } else if is(word, "LIMIT") && !rest.is_empty() {
                let limit = u64::try_from(integer(rest[0])?);
                found.limit = Some(limit.map_err(|_| CommandError::from("ERR The LIMIT argument must be >= 0."))?);
                index += 1;
            } else if let Some(references) = references(word) {
                found.references = references;
            } else if is_add && is(word, "NOMKSTREAM") {
                parsed.is_only_if_exists = true;
            } else if is_add && is(word, "IDMPAUTO") && !rest.is_empty() {
                found.name(Naming::ByContent(rest[0]))?;
                index += 1;
            } else if is_add && is(word, "IDMP") && rest.len() >= 2 {
                found.name(Naming::Given(rest[0], rest[1]))?;
                index += 2;
            } else if is_add {
                parsed.id = Some((ids::new_id(word)?, index - 1));
                break;
            } else {
                return Err(syntax());
            }
        }
        parsed.naming = found.naming;
        if parsed.naming.is_some() && parsed.id.is_some_and(|(id, _)| id != NewId::Generated) {
            return Err("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs".into());
        }
        parsed.trim = found.finish(limits, is_add)?;
        Ok(parsed)
    }
}

/// The number of entries that MAXLEN names.
fn length(text: &[u8]) -> Result<Threshold, CommandError> {
    let length =
        u64::try_from(integer(text)?).map_err(|_| CommandError::from("ERR The MAXLEN argument must be >= 0."))?;
    Ok(Threshold::Length(length))
}

impl<'a> Found<'a> {
    /// Reads `[= | ~] threshold`; how many arguments that is.
    fn threshold(
        &mut self,
        rest: &[&[u8]],
        parse: impl FnOnce(&[u8]) -> Result<Threshold, CommandError>,
    ) -> Result<usize, CommandError> {
        if self.threshold.is_some() {
            return Err("ERR syntax error, MAXLEN and MINID options at the same time are not compatible".into());
        }
        let has_sign = rest.len() >= 2 && matches!(rest[0], b"~" | b"=");
        self.is_approximate = has_sign && rest[0] == b"~";
        self.threshold = Some(parse(rest[usize::from(has_sign)])?);
        Ok(1 + usize::from(has_sign))
    }

    fn name(&mut self, naming: Naming<'a>) -> Result<(), CommandError> {
        if self.naming.is_some() {
            return Err("ERR IDMP/IDMPAUTO specified multiple times".into());
        }
        let is_empty = match naming {
            Naming::Given(producer, name) => producer.is_empty() || name.is_empty(),
            Naming::ByContent(producer) => producer.is_empty(),
        };
        if is_empty {
            return Err("ERR IDMP/IDMPAUTO requires a non-empty producer ID and idempotent ID".into());
        }
        self.naming = Some(naming);
        Ok(())
    }

    fn finish(&self, limits: &Encodings, is_add: bool) -> Result<Option<Trim>, CommandError> {
        const NODES: u64 = 100;
        if self.limit.is_some_and(|limit| limit > 0) && self.threshold.is_none() {
            return Err("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy".into());
        }
        let Some(threshold) = self.threshold else {
            return match self.limit {
                Some(_) if is_add => Err("ERR syntax error, LIMIT cannot be used without the special ~ option".into()),
                _ => Ok(None),
            };
        };
        let limit = match self.limit {
            Some(_) if !self.is_approximate => {
                return Err("ERR syntax error, LIMIT cannot be used without the special ~ option".into());
            }
            Some(limit) => limit,
            None if self.is_approximate => match limits.stream_node_entries_max.saturating_mul(NODES) {
                0 => 10_000,
                limit => limit.min(1_000_000),
            },
            None => 0,
        };
        Ok(Some(Trim { threshold, is_approximate: self.is_approximate, limit, references: self.references }))
    }
}
