//! From samples to a page: medians over the rounds, ratios within them, Markdown tables, and the raw values as CSV.

use super::median;
use super::plot::Bar;
use super::workloads::{BYTES, CPU, OPS, P50, P99, P999, Sample, USER, WAITING, Workload};
use std::fmt::Write as _;

/// One group of workloads with what was found.
#[derive(Clone, Debug)]
pub struct Section {
    /// Which.
    pub workload: Workload,
    /// Labels: the one in question, then the one it is held against.
    pub contenders: [String; 2],
    /// All rounds.
    pub samples: Vec<Sample>,
}

impl Section {
    /// The cases in the order in which they ran.
    fn cases(&self) -> Vec<&str> {
        let mut cases: Vec<&str> = Vec::new();
        for sample in &self.samples {
            if !cases.contains(&sample.case.as_str()) {
                cases.push(&sample.case);
            }
        }
        cases
    }

    fn values(&self, case: &str, metric: &str, contender: usize) -> impl Iterator<Item = (usize, f64)> {
        let fits =
            move |sample: &&Sample| sample.case == case && sample.metric == metric && sample.contender == contender;
        self.samples.iter().filter(fits).map(|sample| (sample.round, sample.value))
    }

    /// The median over the rounds.
    pub fn value(&self, case: &str, metric: &str, contender: usize) -> Option<f64> {
        median(self.values(case, metric, contender).map(|(_, value)| value))
    }

    /// Ratios of the first contender to the second, a round each.
    fn ratios(&self, case: &str, metric: &str) -> Vec<f64> {
        let theirs: Vec<(usize, f64)> = self.values(case, metric, 1).collect();
        let of_round = |round: usize| theirs.iter().find(|(their_round, _)| *their_round == round);
        let pairs = self.values(case, metric, 0).filter_map(|(round, ours)| Some((ours, of_round(round)?.1)));
        pairs.filter(|(_, theirs)| *theirs != 0.0).map(|(ours, theirs)| ours / theirs).collect()
    }

    /// The median of the ratios.
    pub fn ratio(&self, case: &str, metric: &str) -> Option<f64> {
        median(self.ratios(case, metric))
    }

    /// What the picture shows of this section.
    pub fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        let mut add = |case: &str, metric: &str, label: String| {
            if let (Some(ratio), Some(ours), Some(theirs)) =
                (self.ratio(case, metric), self.value(case, metric, 0), self.value(case, metric, 1))
            {
                bars.push(Bar { label, ratio, ours: short(ours), theirs: short(theirs) });
            }
        };
        for case in self.cases() {
            match self.workload {
                Workload::Throughput => {
                    add(case, CPU, format!("CPU µs a command, {case}"));
                    add(case, USER, format!("of it user, {case}"));
                }
                Workload::Memory => add(case, BYTES, format!("bytes a key, {case}")),
                // These hold Torc against itself, or a server against itself, or have too many rows; they have tables.
                Workload::Idle
                | Workload::Shards
                | Workload::Collections
                | Workload::CollectionsMemory
                | Workload::Transactions
                | Workload::Encrypted => {}
            }
        }
        bars
    }

    /// The section as Markdown.
    pub fn markdown(&self) -> String {
        let [ours, theirs] = &self.contenders;
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = match self.workload {
            Workload::Throughput => writeln!(page, "### GET:SET 10:1\n"),
            Workload::Idle => writeln!(page, "### Idle connections beside the active ones\n"),
            Workload::Memory => writeln!(page, "### Resident memory a key of 16 bytes with a value of 32 bytes\n"),
            Workload::Shards => writeln!(page, "### {ours} against {theirs}, cores shared with the load\n"),
            Workload::Collections => writeln!(page, "### Commands on collections, pipeline 16\n"),
            Workload::CollectionsMemory => writeln!(page, "### Resident memory of collections\n"),
            Workload::Transactions => writeln!(page, "### Scripts, transactions, messages, queues\n"),
            Workload::Encrypted => writeln!(page, "### GET:SET 10:1 over TLS\n"),
        };
        match self.workload {
            Workload::Throughput | Workload::Shards | Workload::Encrypted => self.write_load(&mut page),
            Workload::Idle => self.write_idle(&mut page),
            Workload::Memory | Workload::CollectionsMemory => self.write_memory(&mut page),
            Workload::Collections | Workload::Transactions => self.write_collections(&mut page),
        }
        page
    }

    fn write_load(&self, page: &mut String) {
        let [ours, theirs] = &self.contenders;
        let _ =
            writeln!(page, "| | measure | {ours} | {theirs} | ratio | rounds from .. to |\n|---|---|--:|--:|--:|--:|");
        for case in self.cases() {
            for (metric, name) in [
                (CPU, "server CPU, µs a command"),
                (USER, "of it in user space"),
                (OPS, "commands a second"),
                (P50, "p50, ms"),
                (P99, "p99, ms"),
                (P999, "p99.9, ms"),
                (WAITING, "share of time without a core"),
            ] {
                self.write_row(page, case, metric, name);
            }
        }
        page.push('\n');
        let waiting = self.samples.iter().filter(|sample| sample.metric == WAITING).map(|sample| sample.value);
        if let Some(share) = median(waiting).filter(|share| *share > DISTURBED_SHARE) {
            let _ =
                writeln!(page, "**Disturbed:** the servers waited for a core {:.0} % of the time.\n", share * 100.0);
        }
    }

    /// A row a command; the median of all ratios last.
    fn write_collections(&self, page: &mut String) {
        let [ours, theirs] = &self.contenders;
        let _ =
            writeln!(page, "| | measure | {ours} | {theirs} | ratio | rounds from .. to |\n|---|---|--:|--:|--:|--:|");
        for case in self.cases() {
            self.write_row(page, case, CPU, "server CPU, µs a command");
        }
        if let Some(ratio) = median(self.cases().iter().filter_map(|case| self.ratio(case, CPU))) {
            let _ = writeln!(page, "| median of all | | | | **{ratio:.2}** | |");
        }
        page.push('\n');
    }

    fn write_memory(&self, page: &mut String) {
        let [ours, theirs] = &self.contenders;
        let _ =
            writeln!(page, "| | measure | {ours} | {theirs} | ratio | rounds from .. to |\n|---|---|--:|--:|--:|--:|");
        for case in self.cases() {
            self.write_row(page, case, BYTES, "resident bytes");
        }
        page.push('\n');
    }

    fn write_row(&self, page: &mut String, case: &str, metric: &str, name: &str) {
        let (Some(ours), Some(theirs)) = (self.value(case, metric, 0), self.value(case, metric, 1)) else { return };
        let ratios = self.ratios(case, metric);
        let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = ratios.iter().copied().fold(0.0, f64::max);
        let ratio = median(ratios).map_or_else(|| "-".to_owned(), |ratio| format!("**{ratio:.2}**"));
        let (ours, theirs) = (short(ours), short(theirs));
        let spread = if lowest <= highest { format!("{lowest:.2} .. {highest:.2}") } else { "-".to_owned() };
        let _ = writeln!(page, "| {case} | {name} | {ours} | {theirs} | {ratio} | {spread} |");
    }

    fn write_idle(&self, page: &mut String) {
        let _ = writeln!(
            page,
            "| | CPU µs a command alone | beside idle connections | ratio | bytes an idle connection |\n|---|--:|--:|--:|--:|"
        );
        for (contender, label) in self.contenders.iter().enumerate() {
            let alone: Vec<_> = self.values("alone", CPU, contender).collect();
            let beside: Vec<_> = self.values("beside idle connections", CPU, contender).collect();
            let ratio = median(alone.iter().zip(&beside).map(|((_, alone), (_, beside))| beside / alone));
            let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
            let _ = writeln!(
                page,
                "| {label} | {} | {} | **{}** | {} |",
                shown(median(alone.iter().map(|(_, value)| *value))),
                shown(median(beside.iter().map(|(_, value)| *value))),
                shown(ratio),
                shown(self.value("an idle connection", BYTES, contender)),
            );
        }
        page.push('\n');
    }

    /// Every value as a line of CSV.
    pub fn csv(&self) -> String {
        let mut text = String::new();
        for Sample { case, metric, contender, round, value } in &self.samples {
            let (workload, label) = (self.workload.name(), &self.contenders[*contender]);
            let _ = writeln!(text, "{workload},{case},{metric},{label},{round},{value}");
        }
        text
    }
}

/// Above this the page says that others had the server's core.
const DISTURBED_SHARE: f64 = 0.05;

/// The head of the CSV file.
pub const CSV_HEAD: &str = "workload,case,metric,server,round,value\n";

/// Three or four figures that matter.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => format!("{:.0}k", value / 1000.0),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> Section {
        let mut samples = Vec::new();
        // The machine is twice as slow in the second round, for both: the ratio stays.
        for (round, slowness) in [(1, 1.0), (2, 2.0), (3, 1.0)] {
            for (contender, cpu) in [(0, 1.0), (1, 4.0)] {
                let value = cpu * slowness;
                samples.push(Sample { case: "pipeline 1".to_owned(), metric: CPU, contender, round, value });
            }
        }
        Section { workload: Workload::Throughput, contenders: ["a".to_owned(), "b".to_owned()], samples }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let section = section();
        assert_eq!(section.ratio("pipeline 1", CPU), Some(0.25));
        assert_eq!(section.value("pipeline 1", CPU, 0), Some(1.0));
        assert_eq!(section.ratio("pipeline 1", OPS), None);
        assert_eq!(section.bars().len(), 1);
    }

    #[test]
    fn a_page_has_the_rows_that_were_measured() {
        let page = section().markdown();
        assert!(
            page.contains("| pipeline 1 | server CPU, µs a command | 1.00 | 4.00 | **0.25** | 0.25 .. 0.25 |"),
            "{page}"
        );
        assert!(!page.contains("p99"), "{page}");
        assert_eq!(section().csv().lines().count(), 6);
    }

    #[test]
    fn numbers_are_short() {
        for (value, shown) in
            [(123_456.0, "123k"), (1234.4, "1234"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123")]
        {
            assert_eq!(short(value), shown);
        }
    }
}
