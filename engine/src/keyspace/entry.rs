//! What a caller sees of a key's value, and how it travels.

use super::clock::{AccessPolicy, idle_seconds};
use crate::command::Milliseconds;
use crate::values::string::EMBEDDED_BYTES_MAX;
use crate::values::{
    Blob, Collection, Content, Form, Leftover, NewCollection, Object, OwnedString, Packed, PackedEntry, StringRef, Type,
};

/// A value outside of a table: a large one is shared.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    String(OwnedString),
    /// A small collection, packed.
    Packed(Blob, Form),
    /// A large collection.
    Object(Box<Object>),
}

impl Value {
    /// The type with the packed format.
    pub fn form(&self) -> Form {
        if let Self::Packed(_, form) = self { *form } else { Form::STRING }
    }

    /// The packed bytes of a small collection.
    pub fn packed_bytes(&self) -> Option<&[u8]> {
        if let Self::Packed(blob, _) = self { Some(blob.as_slice()) } else { None }
    }

    /// The string, if it is one.
    pub fn as_string(&self) -> Option<StringRef<'_>> {
        if let Self::String(string) = self { Some(string.as_ref()) } else { None }
    }

    /// The large collection, if it is one.
    pub fn object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The type.
    pub fn kind(&self) -> Type {
        match self {
            Self::String(_) => Type::String,
            Self::Packed(_, form) => form.kind(),
            Self::Object(object) => object.kind(),
        }
    }

    /// A string as SET stores it.
    pub fn string(text: &[u8]) -> Self {
        Self::String(OwnedString::new(text))
    }

    /// Something of a type, for those who ask for nothing but that.
    pub fn stub(kind: Type) -> Self {
        if kind == Type::String { Self::string(b"0") } else { Self::Packed(Blob::new(&[]), Form::of(kind)) }
    }

    pub(super) fn content(&self) -> Content<'_> {
        match self {
            Self::String(string) => Content::from_owned(string),
            Self::Packed(blob, form) => Content::from_blob(blob, *form),
            Self::Object(object) => Content::Object(object.clone()),
        }
    }

    /// The value of an entry; blobs and objects are shared.
    fn of(packed: PackedEntry<'_>) -> Self {
        if let Some(object) = packed.object() {
            return Self::Object(Box::new(object.clone()));
        }
        let form = packed.form();
        match packed.string() {
            StringRef::Shared(blob) => Self::of_blob(blob.clone(), form),
            StringRef::Integer(value) => Self::String(OwnedString::Integer(value)),
            StringRef::Bytes(bytes) if form.kind() == Type::String => {
                Self::String(OwnedString::Small { bytes: bytes.into(), raw: form.is_variant() })
            }
            StringRef::Bytes(bytes) => Self::Packed(Blob::new(bytes), form),
        }
    }

    fn of_blob(blob: Blob, form: Form) -> Self {
        if form.kind() == Type::String { Self::String(OwnedString::Large(blob)) } else { Self::Packed(blob, form) }
    }
}

impl From<NewCollection> for Value {
    fn from(mut collection: NewCollection) -> Self {
        let form = collection.form();
        match collection.content() {
            Content::Object(object) => Self::Object(object),
            _ => Self::Packed(Blob::new(collection.bytes()), form),
        }
    }
}

/// A value with what belongs to it, outside of a table.
#[derive(Clone, Debug)]
pub struct OwnedEntry {
    /// The value.
    pub value: Value,
    /// When it expires.
    pub expires_at: Option<Milliseconds>,
    /// The access clock it had, if it comes from a table.
    pub(super) clock: Option<u32>,
}

impl OwnedEntry {
    /// A new value.
    pub fn new(value: Value, expires_at: Option<Milliseconds>) -> Self {
        Self { value, expires_at, clock: None }
    }
}

/// Values travel between shards: the blocks of packed and large ones are shared, and counted atomically.
const _: fn() = || {
    fn travels<T: Send>() {}
    travels::<OwnedEntry>();
};

/// A key's value in its table.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    packed: PackedEntry<'a>,
    policy: AccessPolicy,
}

impl<'a> Entry<'a> {
    #[inline]
    pub(super) fn new(packed: PackedEntry<'a>, policy: AccessPolicy) -> Self {
        Self { packed, policy }
    }

    /// The type of the value.
    #[inline]
    pub fn kind(&self) -> Type {
        self.packed.value_type()
    }

    /// The string, if it is one.
    #[inline]
    pub fn string(&self) -> Option<StringRef<'a>> {
        (self.kind() == Type::String).then(|| self.packed.string())
    }

    /// The type with the packed format, of a value that has packed bytes.
    #[inline]
    pub fn form(&self) -> Form {
        self.packed.form()
    }

    /// The packed bytes of a small collection, or the text of a string that is kept as text.
    #[inline]
    pub fn packed_bytes(&self) -> Option<&'a [u8]> {
        self.packed.packed_bytes()
    }

    /// The large collection, if it is one.
    #[inline]
    pub fn object(&self) -> Option<&'a Object> {
        self.packed.object()
    }

    /// When the first part of it is due: a field of a hash.
    pub fn part_due(&self) -> Option<Milliseconds> {
        self.packed.part_due()
    }

    /// When it expires.
    #[inline]
    pub fn expires_at(&self) -> Option<Milliseconds> {
        self.packed.expires_at()
    }

    /// The answer of TYPE.
    pub fn type_name(&self) -> &'static str {
        self.kind().name()
    }

    /// The answer of OBJECT ENCODING.
    pub fn encoding_name(&self) -> &'static str {
        if let Some(object) = self.packed.object() {
            return object.encoding_name();
        }
        match (self.packed.form(), self.packed.string()) {
            (Form::STRING | Form::RAW_STRING, StringRef::Integer(_)) => "int",
            (Form::STRING, StringRef::Bytes(bytes)) if bytes.len() <= EMBEDDED_BYTES_MAX => "embstr",
            (Form::STRING | Form::RAW_STRING, _) => "raw",
            (Form::INTEGER_SET, _) => "intset",
            (Form::HASH_WITH_TIMES, _) => "listpackex",
            _ => "listpack",
        }
    }

    /// Whole seconds since the last access that counted as one.
    pub fn idle_seconds(&self, now: Milliseconds) -> u64 {
        idle_seconds(self.packed.clock(), now)
    }

    /// The logarithmic access counter, as OBJECT FREQ shows it; means something under [`AccessPolicy::Frequency`] only.
    pub fn frequency(&self, now: Milliseconds) -> u8 {
        self.policy.counter(self.packed.clock(), now)
    }

    /// The value for another place; a large one is shared, not copied.
    pub fn to_owned(&self) -> OwnedEntry {
        OwnedEntry {
            value: Value::of(self.packed),
            expires_at: self.packed.expires_at(),
            clock: Some(self.packed.clock()),
        }
    }

    /// The same of an entry that is about to go: what it owns outside of its page comes as `leftover` when it does.
    pub(super) fn to_owned_without_leftover(self) -> impl FnOnce(Option<Leftover>) -> OwnedEntry + use<> {
        let (form, expires_at, clock) = (self.form(), self.expires_at(), Some(self.packed.clock()));
        let is_outside = self.object().is_some() || matches!(self.packed.string(), StringRef::Shared(_));
        let inside = (!is_outside).then(|| Value::of(self.packed));
        move |leftover| {
            let value = match (inside, leftover) {
                (_, Some(Leftover::Object(object))) => Value::Object(object),
                (_, Some(Leftover::Blob(blob))) => Value::of_blob(blob, form),
                (value, None) => value.unwrap_or_else(|| Value::string(b"")),
            };
            OwnedEntry { value, expires_at, clock }
        }
    }

    /// The memory that key and value take, in bytes (MEMORY USAGE): its share of the page and what lies outside.
    pub fn memory_bytes(&self) -> usize {
        // Tag and distance, and the mean share of header, page pointer and rounding.
        const SHARE_BYTES: usize = 3 + 7;
        self.packed.packed_len() + SHARE_BYTES + self.packed.heap_bytes()
    }
}
