//! What INFO says, as fields: the one source of what the pages show of the server as a whole.

use super::figures::Known;
use crate::commands::whole_report;
use crate::control::ShardFigures;
use crate::shared::Shared;
use std::time::{SystemTime, UNIX_EPOCH};

/// Fields of all sections in INFO's order.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<(String, String)>);

impl Report {
    /// Of these figures, now.
    pub(super) fn of(shared: &Shared, known: &[Known]) -> Self {
        let shards: Vec<ShardFigures> = known.iter().map(|known| known.figures.clone()).collect();
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros() as i64);
        Self::parse(&whole_report(shared, &shards, now_us))
    }

    pub(super) fn parse(text: &str) -> Self {
        let fields = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// A field's value.
    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.fields().find(|(name, _)| *name == field).map(|(_, value)| value)
    }

    /// A field that is a number.
    pub(super) fn number(&self, field: &str) -> Option<f64> {
        self.get(field)?.parse().ok()
    }

    /// All fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The fields whose names begin so: the rest of the name, and the pairs `a=1,b=2` of the value.
    pub(super) fn lists<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Vec<(&'a str, &'a str)>)> {
        self.fields().filter_map(move |(name, value)| {
            let rest = name.strip_prefix(prefix)?;
            Some((rest, value.split(',').filter_map(|pair| pair.split_once('=')).collect()))
        })
    }
}

/// The value of a pair.
pub(super) fn pair<'a>(pairs: &[(&'a str, &'a str)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_lists() {
        let report = Report::parse(
            "# Server\r\nuptime:5\r\nos:Linux: 6\r\n\r\n# Commandstats\r\ncmdstat_a|b:calls=2,usec=7\r\n",
        );
        assert_eq!(report.number("uptime"), Some(5.0));
        assert_eq!(report.get("os"), Some("Linux: 6"));
        assert_eq!(report.get("nosuch"), None);
        let lists: Vec<_> = report.lists("cmdstat_").collect();
        assert_eq!(lists, [("a|b", vec![("calls", "2"), ("usec", "7")])]);
        assert_eq!(pair(&lists[0].1, "usec"), Some("7"));
    }
}
