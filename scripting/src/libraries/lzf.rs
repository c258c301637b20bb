//! The compression of texts in RDB payloads, read only: what we write is not compressed, which is allowed.

/// The text of `length` bytes that `packed` holds.
pub(super) fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length.min(packed.len().saturating_mul(8)));
    let mut rest = packed.iter().copied();
    while let Some(control) = rest.next() {
        let control = usize::from(control);
        if control < 32 {
            for _ in 0..=control {
                out.push(rest.next()?);
            }
        } else {
            let mut count = (control >> 5) + 2;
            if count == 9 {
                count += usize::from(rest.next()?);
            }
            let distance = ((control & 0x1f) << 8 | usize::from(rest.next()?)) + 1;
            let from = out.len().checked_sub(distance)?;
            for at in from..from + count {
                out.push(out[at]);
            }
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::unpack;

    #[test]
    fn runs_and_references() {
        assert_eq!(unpack(&[2, b'a', b'b', b'c'], 3).unwrap(), b"abc");
        assert_eq!(unpack(&[0, b'a', 0x20, 0], 4).unwrap(), b"aaaa");
        assert_eq!(unpack(&[0, b'a', 0xe0, 1, 0], 11).unwrap(), b"aaaaaaaaaaa");
    }

    #[test]
    fn broken_bytes_are_refused() {
        for packed in [&[5, b'a'][..], &[0x20, 0], &[0, b'a', 0x20, 9], &[0, b'a', 0xe0], &[0, b'a']] {
            assert_eq!(unpack(packed, 4), None, "{packed:?}");
        }
    }
}
