//! The RDB format: a file of keys and values, and the payload of DUMP.
//!
//! Versions 1 to 16 of Redis are read as far as their values have a meaning here, and version 80 of Valkey. Written is the lowest
//! version that can hold a value: 10, which Redis 7.0 and everything newer reads, and a higher one only where it must be
//! ([`Version`]).

pub mod decode;
mod decode_stream;
pub mod dump;
pub mod encode;
mod encode_stream;
pub mod extent;
pub mod file;
pub mod functions;
pub mod input;
pub mod legacy;
pub mod output;

/// How a value is written: the byte in front of it.
#[allow(missing_docs)]
pub mod kinds {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    /// Scores as text.
    pub const SORTED_SET: u8 = 3;
    pub const HASH: u8 = 4;
    /// Scores as numbers.
    pub const SORTED_SET_2: u8 = 5;
    pub const MODULE_BEFORE_RELEASE: u8 = 6;
    pub const MODULE: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const SORTED_SET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const SORTED_SET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// With what was deleted and how many were added.
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    /// With when consumers were active.
    pub const STREAM_3: u8 = 21;
    /// Of Valkey 9: fields, values, times. Redis 7.4's release candidates had another one of this number.
    pub const HASH_WITH_TIMES_2: u8 = 22;
    pub const HASH_LISTPACK_WITH_TIMES_BEFORE_RELEASE: u8 = 23;
    /// Of Redis 7.4: the earliest time, then times relative to it, fields, values.
    pub const HASH_WITH_TIMES: u8 = 24;
    /// The same as a listpack of fields, values and times.
    pub const HASH_LISTPACK_WITH_TIMES: u8 = 25;
    /// With what producers have sent.
    pub const STREAM_4: u8 = 26;
    /// With what was given back to a group.
    pub const STREAM_5: u8 = 27;
}

/// What a value of a kind consists of, in the words that the real server's log has for a broken one.
pub fn packed_form(kind: u8) -> &'static str {
    match kind {
        kinds::HASH_ZIPMAP => "Zipmap",
        kinds::LIST_ZIPLIST => "List ziplist",
        kinds::SET_INTSET => "Intset",
        kinds::SORTED_SET_ZIPLIST => "Zset ziplist",
        kinds::HASH_ZIPLIST => "Hash ziplist",
        kinds::LIST_QUICKLIST => "Ziplist",
        kinds::HASH_LISTPACK | kinds::HASH_LISTPACK_WITH_TIMES | kinds::HASH_LISTPACK_WITH_TIMES_BEFORE_RELEASE => {
            "Hash listpack"
        }
        kinds::SORTED_SET_LISTPACK => "Zset listpack",
        kinds::SET_LISTPACK => "Set listpack",
        kinds::LIST_QUICKLIST_2 => "Listpack",
        kinds::STREAM | kinds::STREAM_2 | kinds::STREAM_3 | kinds::STREAM_4 | kinds::STREAM_5 => "Stream listpack",
        _ => "Value",
    }
}

/// What is not a value: the byte in front of it.
#[allow(missing_docs)]
pub mod opcodes {
    /// In Valkey, a migration of slots that is under way; in Redis, what modules know of the key that follows.
    pub const SLOT_IMPORT_OR_KEY_META: u8 = 243;
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION: u8 = 245;
    pub const FUNCTION_BEFORE_RELEASE: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQUENCY: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZE: u8 = 251;
    pub const EXPIRES_AT_MS: u8 = 252;
    pub const EXPIRES_AT_S: u8 = 253;
    pub const SELECT: u8 = 254;
    pub const END: u8 = 255;
}

/// A version of the format, as it stands behind the magic word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16);

impl Version {
    /// Redis 7.0: listpacks, streams with their counters.
    pub const LISTPACKS: Self = Self(10);
    /// Redis 7.2: packed sets, when consumers were active.
    pub const PACKED_SETS: Self = Self(11);
    /// Redis 7.4: fields that expire.
    pub const FIELD_TIMES: Self = Self(12);
    /// Redis 8.6: what producers of streams have sent.
    pub const PRODUCERS: Self = Self(13);
    /// Redis 8.8: entries that were given back to a group.
    pub const GIVEN_BACK: Self = Self(14);
    /// The highest of Redis that is read.
    pub const REDIS_MAX: Self = Self(16);
    /// Valkey's own numbers begin here: fields that expire, in another form.
    pub const VALKEY_MIN: Self = Self(80);
    /// The highest of Valkey that is read.
    pub const VALKEY_MAX: Self = Self(80);
}

/// Which of the two families of servers wrote something, where they use one number for different things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `REDIS0001` to `REDIS0016`, and Valkey up to 8.1.
    #[default]
    Redis,
    /// `VALKEY080` and on.
    Valkey,
}

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end in the middle of something.
    Truncated,
    /// They contradict themselves; what does.
    Invalid(&'static str),
    /// A value of a kind that is not known here.
    UnknownKind(u8),
    /// A value of a module, or what a module keeps beside the keys: its name.
    Module(String),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => write!(formatter, "the data ends in the middle of something"),
            Self::Invalid(what) => write!(formatter, "{what}"),
            Self::UnknownKind(kind) => write!(formatter, "a value of a kind that is not known here: {kind}"),
            Self::Module(name) => write!(formatter, "a value of the module '{name}', which is not there"),
        }
    }
}

impl std::error::Error for Malformed {}

/// What reading comes to.
pub type Result<T> = std::result::Result<T, Malformed>;

/// The name of the module whose number stands in front of its values: nine letters of six bits each.
pub fn module_name(number: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).rev().map(|at| LETTERS[(number >> (10 + 6 * at)) as usize & 63] as char).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn modules_have_names() {
        // As in a file that RedisJSON wrote.
        let number = b"ReJSON-RL".iter().fold(0u64, |number, letter| {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'-' => 62,
                _ => 63,
            };
            number << 6 | u64::from(value)
        });
        assert_eq!(super::module_name(number << 10 | 3), "ReJSON-RL");
    }
}
