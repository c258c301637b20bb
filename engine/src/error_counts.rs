//! How often each kind of error was answered. The kind is the first word of its text: `ERR`, `WRONGTYPE`, `NOAUTH` ...

/// Kinds told apart. Scripts can make up more; these count together from then on, but for the server's own.
const KINDS_MAX: usize = 128;
/// What counts together.
const OTHERS: &str = "ERRORSTATS_OVERFLOW";
/// The server's own kinds, which are told apart in any case.
const OWN: [&str; 21] = [
    "ERR",
    "WRONGTYPE",
    "WRONGPASS",
    "NOAUTH",
    "NOPERM",
    "NOSCRIPT",
    "NOGROUP",
    "NOPROTO",
    "NOREPLICAS",
    "NOTBUSY",
    "BUSY",
    "BUSYGROUP",
    "BUSYKEY",
    "UNBLOCKED",
    "UNKILLABLE",
    "EXECABORT",
    "LOADING",
    "MISCONF",
    "OOM",
    "INVALIDOBJ",
    "IOERR",
];

/// Counts by kind, and their total.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    total: u64,
    /// In the order of their first appearance; few, so that a search by looking at all is quick.
    kinds: Vec<(Box<str>, u64)>,
}

/// Whether a kind has its place whatever scripts have made up, so that it says the same in whatever order shards are added up.
fn is_own(kind: &str) -> bool {
    kind == OTHERS || OWN.contains(&kind)
}

impl ErrorCounts {
    /// Counts an error reply, given its text without the dash.
    #[cold]
    pub fn count(&mut self, text: &[u8]) {
        let kind = text.split(|byte| b" \r\n".contains(byte)).next().unwrap_or_default();
        self.total += 1;
        self.add_kind(&String::from_utf8_lossy(kind), 1);
    }

    /// Adds another count to this one.
    pub fn add(&mut self, other: &Self) {
        self.total += other.total;
        other.kinds.iter().for_each(|(kind, count)| self.add_kind(kind, *count));
    }

    fn add_kind(&mut self, kind: &str, count: u64) {
        if let Some((_, total)) = self.kinds.iter_mut().find(|(known, _)| **known == *kind) {
            *total += count;
        } else if is_own(kind) || self.kinds.iter().filter(|(kind, _)| !is_own(kind)).count() < KINDS_MAX {
            if !kind.is_empty() {
                self.kinds.push((kind.into(), count));
            }
        } else {
            self.add_kind(OTHERS, count);
        }
    }

    /// Errors of all kinds.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Kinds and their counts.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, u64)> {
        self.kinds.iter().map(|(kind, count)| (&**kind, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_and_bounded() {
        let mut counts = ErrorCounts::default();
        for text in ["ERR a", "WRONGTYPE b", "ERR c", "ERR"] {
            counts.count(text.as_bytes());
        }
        let mut sum = counts.clone();
        sum.add(&counts);
        assert_eq!(sum.total(), 8);
        assert_eq!(sum.kinds().collect::<Vec<_>>(), [("ERR", 6), ("WRONGTYPE", 2)]);
        (0..2 * KINDS_MAX).for_each(|number| sum.count(format!("E{number} x").as_bytes()));
        assert_eq!((sum.kinds().count(), sum.total()), (2 + KINDS_MAX + 1, 8 + 2 * KINDS_MAX as u64));
        assert_eq!(sum.kinds().last(), Some((OTHERS, KINDS_MAX as u64)));
        sum.count(b"NOSCRIPT x");
        sum.count(b"E1 x");
        assert_eq!(sum.kinds().last(), Some(("NOSCRIPT", 1)));
        assert_eq!(sum.kinds().find(|(kind, _)| *kind == "E1"), Some(("E1", 2)));
    }
}
