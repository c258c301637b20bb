//! What the system says of this process: memory and processor time, read from `/proc` when INFO asks.

use std::path::PathBuf;

/// Clock ticks a second in `/proc/self/stat`; fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures of the process and its machine. Zero where the system does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::commands) struct ProcessFigures {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// The most it has been.
    pub resident_peak_bytes: u64,
    /// Memory of the machine.
    pub machine_bytes: u64,
    /// Processor time in user mode, in seconds.
    pub user_s: f64,
    /// Processor time in the kernel, in seconds.
    pub system_s: f64,
    /// Of children that ended.
    pub children_user_s: f64,
    /// Of children that ended.
    pub children_system_s: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The program's file.
    pub executable: PathBuf,
}

impl ProcessFigures {
    /// Reads them.
    pub(in crate::commands) fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let status = text("/proc/self/status");
        let mut figures = Self {
            resident_bytes: kibibytes(&status, "VmRSS:"),
            resident_peak_bytes: kibibytes(&status, "VmHWM:"),
            machine_bytes: kibibytes(&text("/proc/meminfo"), "MemTotal:"),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            executable: std::env::current_exe().unwrap_or_default(),
            ..Self::default()
        };
        figures.take_times(&text("/proc/self/stat"));
        figures
    }

    /// Fields 14 to 17 of `/proc/self/stat`. The second field, the name, may hold anything: fields are counted from
    /// behind its closing parenthesis.
    fn take_times(&mut self, stat: &str) {
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut seconds =
            fields.split_whitespace().skip(11).map(|ticks| ticks.parse().unwrap_or(0.0) / TICKS_PER_SECOND);
        for time in [&mut self.user_s, &mut self.system_s, &mut self.children_user_s, &mut self.children_system_s] {
            *time = seconds.next().unwrap_or(0.0);
        }
    }
}

/// The value of a line such as `VmRSS:    1234 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let mut figures = ProcessFigures::default();
        figures.take_times("7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 3 4 20 0 1 0 99");
        let times = [figures.user_s, figures.system_s, figures.children_user_s, figures.children_system_s];
        assert_eq!(times.map(|time| format!("{time:.2}")), ["1.50", "0.25", "0.03", "0.04"]);
    }

    #[test]
    fn this_process_has_memory() {
        let figures = ProcessFigures::read();
        assert!(figures.resident_bytes > 0 && figures.resident_peak_bytes >= figures.resident_bytes);
        assert!(figures.machine_bytes > figures.resident_bytes);
    }
}
