//! A collection that is being changed, wherever it stands: under its key, or not yet under any.

use super::listpack::Packed;
use super::packed::{Content, Form, INLINE_COLLECTION_BYTES_MAX};
use super::{Element, Object, StringRef};
use smallvec::SmallVec;
use std::ops::Range;

/// A collection that can be changed: packed bytes of some form, or an object.
pub trait Collection: Packed {
    /// The type with the packed format; of an object, the type.
    fn form(&self) -> Form;
    /// The large collection, if it is one.
    fn object(&self) -> Option<&Object>;
    /// Changes the large collection; `None` if it is packed.
    fn change_object<R>(&mut self, change: impl FnOnce(&mut Object) -> R) -> Option<R>;
    /// Puts packed bytes in the place of what is there.
    fn become_packed(&mut self, bytes: &[u8], form: Form);
    /// Puts a large collection in the place of what is there.
    fn become_object(&mut self, object: Object);
}

/// A collection without a key. A small one takes no memory of its own.
pub struct NewCollection {
    bytes: SmallVec<[u8; INLINE_COLLECTION_BYTES_MAX]>,
    form: Form,
    object: Option<Box<Object>>,
}

impl NewCollection {
    /// A packed one.
    #[inline]
    pub fn packed(bytes: &[u8], form: Form) -> Self {
        Self { bytes: SmallVec::from_slice(bytes), form, object: None }
    }

    /// A large one.
    pub fn object(object: Object) -> Self {
        let form = Form::of(object.kind());
        Self { bytes: SmallVec::new(), form, object: Some(Box::new(object)) }
    }

    /// What to write under a key; the large one goes there.
    #[inline]
    pub fn content(&mut self) -> Content<'_> {
        match self.object.take() {
            Some(object) => Content::Object(object),
            None => Content::packed(&self.bytes, self.form),
        }
    }
}

impl Packed for NewCollection {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    #[inline]
    fn splice(&mut self, range: Range<usize>, parts: &[&[u8]]) {
        self.bytes.splice(range, parts);
    }
}

impl Collection for NewCollection {
    #[inline]
    fn form(&self) -> Form {
        self.form
    }

    #[inline]
    fn object(&self) -> Option<&Object> {
        self.object.as_deref()
    }

    fn change_object<R>(&mut self, change: impl FnOnce(&mut Object) -> R) -> Option<R> {
        self.object.as_deref_mut().map(change)
    }

    fn become_packed(&mut self, bytes: &[u8], form: Form) {
        *self = Self::packed(bytes, form);
    }

    fn become_object(&mut self, object: Object) {
        *self = Self::object(object);
    }
}

impl<'a> From<Element<'a>> for StringRef<'a> {
    #[inline]
    fn from(element: Element<'a>) -> Self {
        match element {
            Element::Integer(value) => Self::Integer(value),
            Element::Text(text) => Self::Bytes(text),
        }
    }
}

impl<'a> From<StringRef<'a>> for Element<'a> {
    #[inline]
    fn from(text: StringRef<'a>) -> Self {
        match text {
            StringRef::Integer(value) => Self::Integer(value),
            StringRef::Bytes(bytes) => Self::of(bytes),
            StringRef::Shared(blob) => Self::of(blob.as_slice()),
        }
    }
}
