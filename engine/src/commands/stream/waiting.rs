//! XREAD and XREADGROUP that wait: when a stream has something for one of them.

use super::super::errors::wrong_type;
use super::{ids, no_group, stream_of};
use crate::command::CommandError;
use crate::keyspace::Entry;
use crate::values::Type;
use crate::values::stream::StreamId;

/// What a stream, or what is in its place, is to a reader that waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing yet.
    None,
    /// There is something to read.
    Some,
    /// It will never have anything: the reader gets this error.
    Error(CommandError),
}

/// The ID that a reader waits behind from now on: `$` is the last one there is.
pub fn settled_id(entry: Option<Entry<'_>>, id: &[u8]) -> Vec<u8> {
    if id != b"$" {
        return id.to_vec();
    }
    let last = entry.and_then(stream_of).map_or(StreamId::MIN, |stream| stream.log().last_id());
    last.text().to_vec()
}

/// Looks for something behind an ID, or, with a group, that the group was not told of. Where there is no such group any more
/// its reader is told what it would be told now.
pub fn news(entry: Option<Entry<'_>>, key: &[u8], group: Option<&[u8]>, id: &[u8]) -> News {
    let stream = match (entry, group) {
        (Some(entry), _) if entry.kind() == Type::Stream => stream_of(entry),
        (Some(_), Some(_)) => return News::Error(wrong_type()),
        (None, Some(group)) => return News::Error(no_group(key, group, " in XREADGROUP with GROUP option")),
        (_, None) => None,
    };
    let Some(stream) = stream else { return News::None };
    let behind = match group.map(|group| stream.group(group).ok_or(group)) {
        Some(Err(group)) => return News::Error(no_group(key, group, " in XREADGROUP with GROUP option")),
        Some(Ok(group)) => group.last_id(),
        None if id == b"+" => StreamId::MIN,
        None => match ids::strict(id) {
            Ok(id) => id,
            Err(_) => return News::None,
        },
    };
    let count = behind.next().map_or(0, |from| stream.entries().count(from, StreamId::MAX));
    if count > 0 { News::Some } else { News::None }
}
