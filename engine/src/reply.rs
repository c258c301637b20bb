//! The one reply encoder: RESP2 and RESP3, straight into the buffer that goes to the socket (or home to the
//! connection's shard). Source: the Redis serialization protocol specification.
//!
//! A reply is a run of bytes with, rarely, a large shared value spliced in: `shared` holds (position in `bytes`, value)
//! in ascending order, so that a big string is sent from where it is stored.

use bytes::Bytes;
use std::ops::Range;

/// A string at least this long is spliced in by reference instead of being copied, in bytes.
pub const SHARE_BYTES_MIN: usize = 16 * 1024;

/// The protocol version a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RESP2, the default.
    #[default]
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

/// Encoded replies that have not been sent.
#[derive(Debug, Default)]
pub struct ReplyBuffer {
    /// The encoded bytes, without the shared values.
    pub bytes: Vec<u8>,
    /// Shared values and the positions in `bytes` at which they belong, ascending.
    pub shared: Vec<(usize, Bytes)>,
}

impl ReplyBuffer {
    /// Total length on the wire, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared.iter().map(|(_, value)| value.len()).sum::<usize>()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.is_empty()
    }

    /// Forgets everything, keeps the allocation.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.shared.clear();
    }

    /// Cuts off what has been appended since the buffer had so many bytes and shared values.
    pub fn split_off(&mut self, (bytes, shared): (usize, usize)) -> Self {
        let mut rest = Self { bytes: self.bytes.split_off(bytes), shared: self.shared.split_off(shared) };
        rest.shared.iter_mut().for_each(|(position, _)| *position -= bytes);
        rest
    }

    /// Appends all of `other`, leaving it empty.
    pub fn append(&mut self, other: &mut Self) {
        let base = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.shared.extend(other.shared.drain(..).map(|(position, value)| (base + position, value)));
    }

    /// Appends a part of another one: from and to so many bytes and shared values.
    #[inline]
    pub fn append_part(&mut self, source: &Self, Range { start, end }: Range<(usize, usize)>) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&source.bytes[start.0..end.0]);
        let shared = &source.shared[start.1..end.1];
        self.shared.extend(shared.iter().map(|(at, value)| (base + at - start.0, value.clone())));
    }

    /// Everything in one piece, as the wire will show it. For tests and for merging small partial replies.
    pub fn flatten(&self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.len());
        let mut from = 0;
        for (position, value) in &self.shared {
            whole.extend_from_slice(&self.bytes[from..*position]);
            whole.extend_from_slice(value);
            from = *position;
        }
        whole.extend_from_slice(&self.bytes[from..]);
        whole
    }
}

/// Encodes replies of one command into a [`ReplyBuffer`].
pub struct Reply<'a> {
    buffer: &'a mut ReplyBuffer,
    protocol: Protocol,
}

impl<'a> Reply<'a> {
    /// An encoder that appends to `buffer`.
    pub fn new(buffer: &'a mut ReplyBuffer, protocol: Protocol) -> Self {
        Self { buffer, protocol }
    }

    /// The protocol of the connection that asked.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The buffer behind it, for splicing replies that were encoded elsewhere.
    pub fn buffer(&mut self) -> &mut ReplyBuffer {
        self.buffer
    }

    fn header(&mut self, kind: u8, number: i64) {
        let out = &mut self.buffer.bytes;
        out.push(kind);
        if (0..10).contains(&number) {
            out.push(b'0' + number as u8);
        } else {
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.buffer.bytes.extend_from_slice(b"+OK\r\n");
    }

    /// A status line such as `+PONG`; the text has no line end in it.
    pub fn status(&mut self, text: &str) {
        let out = &mut self.buffer.bytes;
        out.push(b'+');
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// A status line whose text repeats bytes of a client. Line ends inside become spaces.
    pub fn status_bytes(&mut self, text: &[u8]) {
        self.line(b'+', text);
    }

    /// Digits of a number of any size; in RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => self.line(b'(', digits),
        }
    }

    /// A floating point number, as commands write it.
    pub fn double(&mut self, value: f64) {
        crate::commands::double::reply_double(self, value);
    }

    /// An error; the text starts with its code (`ERR ...`). Line ends inside become spaces, as in the real server.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// An error whose text repeats bytes of a client, which need not be UTF-8.
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.line(b'-', text);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        let out = &mut self.buffer.bytes;
        out.push(kind);
        out.extend(text.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
        out.extend_from_slice(b"\r\n");
    }

    /// A floating point number that has been formatted already; in RESP2 a bulk string.
    pub fn double_text(&mut self, text: &str) {
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text.as_bytes());
        }
        let out = &mut self.buffer.bytes;
        out.push(b',');
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A bulk string.
    pub fn bulk(&mut self, value: &[u8]) {
        self.header(b'$', value.len() as i64);
        let out = &mut self.buffer.bytes;
        out.reserve(value.len() + 2);
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }

    /// A bulk string sent from where it is stored, if it is long enough for that to pay.
    pub fn bulk_shared(&mut self, value: Bytes) {
        if value.len() < SHARE_BYTES_MIN {
            return self.bulk(&value);
        }
        self.header(b'$', value.len() as i64);
        let position = self.buffer.bytes.len();
        self.buffer.shared.push((position, value));
        self.buffer.bytes.extend_from_slice(b"\r\n");
    }

    /// Bytes that have been encoded elsewhere, from where they are.
    pub fn splice(&mut self, encoded: Bytes) {
        if encoded.len() < SHARE_BYTES_MIN {
            return self.buffer.bytes.extend_from_slice(&encoded);
        }
        self.buffer.shared.push((self.buffer.bytes.len(), encoded));
    }

    /// The same of bytes that go to many.
    pub fn splice_shared(&mut self, encoded: &Bytes) {
        if encoded.len() < SHARE_BYTES_MIN {
            return self.buffer.bytes.extend_from_slice(encoded);
        }
        self.splice(encoded.clone());
    }

    /// A bulk string of an integer's decimal digits.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// The absent value.
    pub fn null(&mut self) {
        self.buffer.bytes.extend_from_slice(if self.protocol == Protocol::Resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// The absent array.
    pub fn null_array(&mut self) {
        self.buffer.bytes.extend_from_slice(if self.protocol == Protocol::Resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// Opens an array; `count` elements follow.
    pub fn array(&mut self, count: usize) {
        self.header(b'*', count as i64);
    }

    /// Opens a map; `pairs` keys and values follow in turn. In RESP2 a flat array.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp3 => self.header(b'%', pairs as i64),
            Protocol::Resp2 => self.header(b'*', pairs as i64 * 2),
        }
    }

    /// Opens a set; `count` members follow. In RESP2 an array.
    pub fn set(&mut self, count: usize) {
        self.header(if self.protocol == Protocol::Resp3 { b'~' } else { b'*' }, count as i64);
    }

    /// Opens a push message; only where the connection speaks RESP3, else an array.
    pub fn push(&mut self, count: usize) {
        self.header(if self.protocol == Protocol::Resp3 { b'>' } else { b'*' }, count as i64);
    }

    /// A boolean; in RESP2 the integer 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        let text: &[u8] = match (self.protocol, value) {
            (Protocol::Resp3, true) => b"#t\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp2, false) => b":0\r\n",
        };
        self.buffer.bytes.extend_from_slice(text);
    }

    /// Text with a three-letter format for humans (INFO, LOLWUT); in RESP2 a bulk string.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() as i64 + 4);
        let out = &mut self.buffer.bytes;
        out.extend_from_slice(&format);
        out.push(b':');
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(protocol: Protocol, body: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut buffer = ReplyBuffer::default();
        body(&mut Reply::new(&mut buffer, protocol));
        assert_eq!(buffer.len(), buffer.flatten().len());
        String::from_utf8(buffer.flatten()).expect("ascii")
    }

    #[test]
    fn nulls_maps_and_sets_follow_the_protocol() {
        let body = |reply: &mut Reply<'_>| {
            reply.map(1);
            reply.bulk(b"k");
            reply.null();
            reply.set(0);
            reply.boolean(true);
        };
        assert_eq!(encode(Protocol::Resp2, body), "*2\r\n$1\r\nk\r\n$-1\r\n*0\r\n:1\r\n");
        assert_eq!(encode(Protocol::Resp3, body), "%1\r\n$1\r\nk\r\n_\r\n~0\r\n#t\r\n");
    }

    #[test]
    fn a_large_value_is_spliced_and_survives_append() {
        let large = Bytes::from(vec![b'x'; SHARE_BYTES_MIN]);
        let mut first = ReplyBuffer::default();
        Reply::new(&mut first, Protocol::Resp2).integer(7);
        let mut second = ReplyBuffer::default();
        Reply::new(&mut second, Protocol::Resp2).bulk_shared(large.clone());
        assert_eq!(second.shared.len(), 1);
        first.append(&mut second);
        let mut expected = b":7\r\n$16384\r\n".to_vec();
        expected.extend_from_slice(&large);
        expected.extend_from_slice(b"\r\n");
        assert_eq!(first.flatten(), expected);
    }

    #[test]
    fn an_error_text_stays_on_one_line() {
        assert_eq!(encode(Protocol::Resp2, |reply| reply.error("ERR a\r\nb")), "-ERR a  b\r\n");
    }
}
