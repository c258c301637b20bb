//! Patterns of BY and GET: which key, or which field of a hash, an element names.
//!
//! ```text
//!   weight_*            key weight_<element>
//!   user:*->age         field `age` of the hash user:<element>
//!   #                   the element itself (GET only)
//!   anything else       nothing
//! ```

use crate::command::Milliseconds;
use crate::keyspace::{Entry, Value};
use crate::values::hash::HashRef;
use crate::values::{StringRef, Type};

/// What a GET asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern<'a> {
    /// The element.
    Element,
    /// The value of a key.
    Key(KeyName<'a>),
    /// Never anything: there is no place for the element.
    Nothing,
}

impl<'a> Pattern<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Self {
        if text == b"#" { Self::Element } else { Self::with_place(text).unwrap_or(Self::Nothing) }
    }

    /// A pattern in which the element has a place.
    pub(super) fn with_place(text: &'a [u8]) -> Option<Self> {
        let place = memchr::memchr(b'*', text)?;
        let (prefix, rest) = (&text[..place], &text[place + 1..]);
        let arrow = rest.windows(2).position(|window| window == b"->").filter(|arrow| arrow + 2 < rest.len());
        let (suffix, field) = match arrow {
            Some(arrow) => (&rest[..arrow], Some(&rest[arrow + 2..])),
            None => (rest, None),
        };
        Some(Self::Key(KeyName { prefix, suffix, field }))
    }

    /// The same on its own feet.
    pub(super) fn owned(self) -> OwnedPattern {
        match self {
            Self::Element => OwnedPattern::Element,
            Self::Nothing => OwnedPattern::Nothing,
            Self::Key(KeyName { prefix, suffix, field }) => {
                OwnedPattern::Key(prefix.to_vec(), suffix.to_vec(), field.map(<[u8]>::to_vec))
            }
        }
    }

    /// Whether keys are looked at.
    pub(super) fn names_keys(self) -> bool {
        matches!(self, Self::Key(_))
    }
}

/// A pattern that outlives the arguments.
#[derive(Clone, Debug)]
pub(super) enum OwnedPattern {
    Element,
    Key(Vec<u8>, Vec<u8>, Option<Vec<u8>>),
    Nothing,
}

impl OwnedPattern {
    pub(super) fn as_ref(&self) -> Pattern<'_> {
        match self {
            Self::Element => Pattern::Element,
            Self::Nothing => Pattern::Nothing,
            Self::Key(prefix, suffix, field) => Pattern::Key(KeyName { prefix, suffix, field: field.as_deref() }),
        }
    }
}

/// A key's name with a place for the element, and perhaps a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyName<'a> {
    prefix: &'a [u8],
    suffix: &'a [u8],
    field: Option<&'a [u8]>,
}

impl<'a> KeyName<'a> {
    /// Puts the key for an element into `key`.
    pub(super) fn write(&self, element: &[u8], key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.prefix);
        key.extend_from_slice(element);
        key.extend_from_slice(self.suffix);
    }

    /// Whether it is the name of a key for some element.
    pub(super) fn may_name(&self, key: &[u8]) -> bool {
        key.len() >= self.prefix.len() + self.suffix.len() && key.starts_with(self.prefix) && key.ends_with(self.suffix)
    }

    /// As [`KeyName::value_in`] for a value that was looked up elsewhere.
    pub(super) fn value_of(&self, value: &'a Value, now: Milliseconds) -> Option<StringRef<'a>> {
        match self.field {
            None => value.as_string(),
            Some(field) if value.kind() == Type::Hash => {
                let hash = HashRef::new(value.form(), value.packed_bytes(), value.object());
                hash.get(field, now).map(|field| field.value)
            }
            Some(_) => None,
        }
    }

    /// The value that is asked for, in the entry of the key; none if it is of another type.
    pub(super) fn value_in(&self, entry: Entry<'a>, now: Milliseconds) -> Option<StringRef<'a>> {
        match self.field {
            None => entry.string(),
            Some(field) if entry.kind() == Type::Hash => {
                let hash = HashRef::new(entry.form(), entry.packed_bytes(), entry.object());
                hash.get(field, now).map(|field| field.value)
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let key = |prefix: &'static str, suffix: &'static str, field: Option<&'static str>| {
            let field = field.map(str::as_bytes);
            Pattern::Key(KeyName { prefix: prefix.as_bytes(), suffix: suffix.as_bytes(), field })
        };
        for (text, pattern) in [
            ("#", Pattern::Element),
            ("nosort", Pattern::Nothing),
            ("", Pattern::Nothing),
            ("##", Pattern::Nothing),
            ("h->f", Pattern::Nothing),
            ("*", key("", "", None)),
            ("w_*", key("w_", "", None)),
            ("w_*_*", key("w_", "_*", None)),
            ("w_*->f", key("w_", "", Some("f"))),
            ("w_*x->f->g", key("w_", "x", Some("f->g"))),
            ("a->b*->f", key("a->b", "", Some("f"))),
            ("a->b*", key("a->b", "", None)),
            ("w_*->", key("w_", "->", None)),
        ] {
            assert_eq!(Pattern::parse(text.as_bytes()), pattern, "{text}");
        }
    }
}
