//! What a command takes behind its name, as data: a tree that `COMMAND DOCS` tells, for clients that help to type it.
//! Source of the vocabulary: the Redis documentation page "Redis command arguments".
//!
//! ```text
//!   SET key value [NX | XX] [EX seconds | PX milliseconds]
//!
//!   key("key")  string("value")  one_of("condition", [word("NX"), word("XX")]).optional()
//!                                one_of("expiration", [integer("seconds").token("EX"), ...]).optional()
//! ```
//! A row of the command table states its arguments in this form; they are told, not parsed by: handlers read what a
//! client sent.

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// Any bytes.
    String,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Double,
    /// The name of a key, found by the key specification of this number.
    Key(u8),
    /// A glob pattern.
    Pattern,
    /// A pattern that names keys, of the key specification of this number.
    KeyPattern(u8),
    /// A point in time.
    UnixTime,
    /// A word and nothing else.
    Word,
    /// One of several.
    OneOf(&'static [Argument]),
    /// Several that stand together.
    Block(&'static [Argument]),
}

impl ArgumentKind {
    /// As `COMMAND DOCS` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key(_) => "key",
            Self::Pattern | Self::KeyPattern(_) => "pattern",
            Self::UnixTime => "unix-time",
            Self::Word => "pure-token",
            Self::OneOf(_) => "oneof",
            Self::Block(_) => "block",
        }
    }
}

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// What it stands for. A word needs none: it is its own name, in small letters.
    pub name: &'static str,
    /// What it is.
    pub kind: ArgumentKind,
    /// A word in front of it.
    pub token: Option<&'static str>,
    /// The version that added it, if the command is older.
    pub since: Option<&'static str>,
    /// The version that has something better.
    pub deprecated_since: Option<&'static str>,
    /// It may be absent.
    pub is_optional: bool,
    /// It may come several times.
    pub is_multiple: bool,
    /// Each time with its token.
    pub repeats_token: bool,
}

impl Argument {
    const fn new(name: &'static str, kind: ArgumentKind) -> Self {
        Self {
            name,
            kind,
            token: None,
            since: None,
            deprecated_since: None,
            is_optional: false,
            is_multiple: false,
            repeats_token: false,
        }
    }

    /// By this name: a word that is empty has none of its own.
    pub const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// With this word in front.
    pub const fn token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    /// Added by this version.
    pub const fn since(mut self, version: &'static str) -> Self {
        self.since = Some(version);
        self
    }

    /// Out of fashion since this version.
    pub const fn deprecated(mut self, version: &'static str) -> Self {
        self.deprecated_since = Some(version);
        self
    }

    /// May be absent.
    pub const fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// May come several times.
    pub const fn multiple(mut self) -> Self {
        self.is_multiple = true;
        self
    }

    /// May come several times, each time with its token.
    pub const fn multiple_with_token(mut self) -> Self {
        self.is_multiple = true;
        self.repeats_token = true;
        self
    }

    /// The arguments inside.
    pub const fn inside(&self) -> &'static [Self] {
        match self.kind {
            ArgumentKind::OneOf(inside) | ArgumentKind::Block(inside) => inside,
            _ => &[],
        }
    }
}

/// A key of the first key specification.
pub const fn key(name: &'static str) -> Argument {
    Argument::new(name, ArgumentKind::Key(0))
}

/// A key of another specification.
pub const fn key_of(spec: u8, name: &'static str) -> Argument {
    Argument::new(name, ArgumentKind::Key(spec))
}

/// Any bytes.
pub const fn string(name: &'static str) -> Argument {
    Argument::new(name, ArgumentKind::String)
}

/// A whole number.
pub const fn integer(name: &'static str) -> Argument {
    Argument::new(name, ArgumentKind::Integer)
}

/// A number with a fraction.
pub const fn double(name: &'static str) -> Argument {
    Argument::new(name, ArgumentKind::Double)
}

/// A glob pattern.
pub const fn pattern(name: &'static str) -> Argument {
    Argument::new(name, ArgumentKind::Pattern)
}

/// A point in time.
pub const fn time(name: &'static str) -> Argument {
    Argument::new(name, ArgumentKind::UnixTime)
}

/// A word that stands alone.
pub const fn word(token: &'static str) -> Argument {
    Argument::new("", ArgumentKind::Word).token(token)
}

/// One of several.
pub const fn one_of(name: &'static str, choices: &'static [Argument]) -> Argument {
    Argument::new(name, ArgumentKind::OneOf(choices))
}

/// Several that stand together.
pub const fn block(name: &'static str, parts: &'static [Argument]) -> Argument {
    Argument::new(name, ArgumentKind::Block(parts))
}

/// `[ASYNC | SYNC]` of the commands that remove everything, in the versions that added each word.
pub const ASYNC_OR_SYNC: Argument =
    one_of("async", &[word("ASYNC").since("4.0.0"), word("SYNC").since("6.2.0")]).optional();
