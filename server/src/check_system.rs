//! `--check-system`: what the machine gives a server, and what to change.
//!
//! ```text
//!   /proc, /sys, limits of this process ──> one Finding each: what is seen, whether that is fine, what to do if not
//! ```
//! Nothing is changed, and nothing is started. What cannot be read is said to be unknown, which is no fault: containers hide some of
//! it. Only what keeps the server from running, or loses data, makes the check fail.

use std::fmt;
use std::path::{Path, PathBuf};

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It cannot be seen from here.
    Unknown,
    /// It works, and costs speed or comfort.
    Advice,
    /// The server does not run so, or is not safe.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub what: &'static str,
    /// What was found.
    pub seen: String,
    /// How good that is.
    pub verdict: Verdict,
    /// What to do; nothing where all is fine.
    pub advice: String,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default)]
pub struct SystemReport {
    /// In the order of importance.
    pub findings: Vec<Finding>,
}

/// The oldest kernel whose rings have all that a shard's loop uses.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Connections that wait to be accepted: the default of `tcp-backlog`.
const BACKLOG: u64 = 511;
/// Clients that are served by default, and some files besides.
const FILES: u64 = 10_000 + 200;
/// What the buffers and rings of a few shards take of memory that must stay, in bytes, where the kernel counts it.
const LOCKED_BYTES: u64 = 64 << 20;

impl SystemReport {
    /// Of the machine whose files are below `root`, and of this process.
    pub fn of(root: &Path) -> Self {
        let look = Look { root: root.to_owned() };
        let findings = vec![
            look.kernel(),
            look.rings(),
            look.huge_pages(),
            look.overcommit(),
            look.backlog(),
            files(),
            locked_memory(),
            look.numa(),
            look.clock(),
            look.governor(),
            look.swap(),
        ];
        Self { findings }
    }

    /// Whether nothing is bad.
    pub fn is_fit(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Bad)
    }
}

impl fmt::Display for SystemReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { what, seen, verdict, advice } in &self.findings {
            let mark = match verdict {
                Verdict::Fine => "ok",
                Verdict::Unknown => "?",
                Verdict::Advice => "advice",
                Verdict::Bad => "BAD",
            };
            writeln!(f, "[{mark:^6}] {what}: {seen}")?;
            if !advice.is_empty() {
                writeln!(f, "         {advice}")?;
            }
        }
        let worst = self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Fine);
        f.write_str(match worst {
            Verdict::Bad => "The machine is not fit for the server as it is.\n",
            Verdict::Advice => "The server runs here. The advice above makes it faster or safer.\n",
            Verdict::Fine | Verdict::Unknown => "The machine is fit.\n",
        })
    }
}

fn finding(what: &'static str, seen: impl Into<String>, fault: Option<(Verdict, String)>) -> Finding {
    let (verdict, advice) = fault.unwrap_or((Verdict::Fine, String::new()));
    Finding { what, seen: seen.into(), verdict, advice }
}

fn unknown(what: &'static str) -> Finding {
    Finding { what, seen: "unknown".to_owned(), verdict: Verdict::Unknown, advice: String::new() }
}

/// Some advice, unless all is fine.
fn unless(is_fine: bool, advice: impl Into<String>) -> Option<(Verdict, String)> {
    (!is_fine).then(|| (Verdict::Advice, advice.into()))
}

/// Where files are read.
struct Look {
    root: PathBuf,
}

impl Look {
    fn text(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    fn kernel(&self) -> Finding {
        const WHAT: &str = "kernel";
        let Some(release) = self.text("proc/sys/kernel/osrelease") else { return unknown(WHAT) };
        let mut numbers =
            release.split(|character: char| !character.is_ascii_digit()).map(|number| number.parse().ok());
        let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else { return unknown(WHAT) };
        let is_new = (major, minor) >= KERNEL_MIN;
        let (wanted_major, wanted_minor) = KERNEL_MIN;
        let advice = format!("Linux {wanted_major}.{wanted_minor} or newer is needed.");
        finding(WHAT, release, (!is_new).then_some((Verdict::Bad, advice)))
    }

    fn rings(&self) -> Finding {
        const WHAT: &str = "io_uring";
        match self.number("proc/sys/kernel/io_uring_disabled") {
            None | Some(0) => finding(WHAT, "allowed", None),
            Some(1) => {
                let advice = "Only members of kernel.io_uring_group and privileged processes may use it: \
                              sysctl kernel.io_uring_disabled=0, or add the server's group there.";
                finding(WHAT, "restricted", Some((Verdict::Advice, advice.to_owned())))
            }
            Some(_) => {
                let advice = "The server needs it: sysctl kernel.io_uring_disabled=0.";
                finding(WHAT, "disabled", Some((Verdict::Bad, advice.to_owned())))
            }
        }
    }

    fn huge_pages(&self) -> Finding {
        const WHAT: &str = "transparent huge pages";
        let Some(modes) = self.text("sys/kernel/mm/transparent_hugepage/enabled") else { return unknown(WHAT) };
        let mode = modes.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned();
        let advice = "A huge page that is touched for the first time takes milliseconds. 'disable-thp yes', the \
                      default, keeps them from the server; echo madvise > \
                      /sys/kernel/mm/transparent_hugepage/enabled does for all.";
        finding(WHAT, mode.clone(), unless(mode != "always", advice))
    }

    fn overcommit(&self) -> Finding {
        const WHAT: &str = "memory overcommit";
        let Some(mode) = self.number("proc/sys/vm/overcommit_memory") else { return unknown(WHAT) };
        let seen = match mode {
            0 => "by estimate",
            1 => "always",
            _ => "never",
        };
        let advice = "The server takes address space ahead of memory, and never forks: with mode 2 a request for \
                      memory may fail while there is some. sysctl vm.overcommit_memory=1 (or 0).";
        finding(WHAT, seen, unless(mode < 2, advice))
    }

    fn backlog(&self) -> Finding {
        const WHAT: &str = "connections that wait (somaxconn)";
        let Some(most) = self.number("proc/sys/net/core/somaxconn") else { return unknown(WHAT) };
        let advice = format!("tcp-backlog asks for {BACKLOG}: sysctl net.core.somaxconn=1024.");
        finding(WHAT, most.to_string(), unless(most >= BACKLOG, advice))
    }

    fn numa(&self) -> Finding {
        const WHAT: &str = "memory nodes (NUMA)";
        let Some(nodes) = self.text("sys/devices/system/node/online") else { return unknown(WHAT) };
        let advice = "Memory of another node is slower. Shards are pinned to cores in their order, so a server with \
                      few shards is best kept on one node: numactl --cpunodebind=0 --membind=0.";
        let is_one = !nodes.contains(['-', ',']);
        finding(WHAT, if is_one { "one".to_owned() } else { nodes }, unless(is_one, advice))
    }

    fn clock(&self) -> Finding {
        const WHAT: &str = "clock source";
        let Some(source) = self.text("sys/devices/system/clocksource/clocksource0/current_clocksource") else {
            return unknown(WHAT);
        };
        // These are read without a system call.
        let is_fast =
            ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"].contains(&source.as_str());
        let advice = "Reading this clock is a system call, and commands are timed. If the machine has it: \
                      echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource.";
        finding(WHAT, source, unless(is_fast, advice))
    }

    fn governor(&self) -> Finding {
        const WHAT: &str = "processor frequency governor";
        let Some(governor) = self.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") else {
            return unknown(WHAT);
        };
        let is_fine = ["performance", "schedutil"].contains(&governor.as_str());
        let advice = "Cores that sleep and slow down answer late: cpupower frequency-set -g performance.";
        finding(WHAT, governor, unless(is_fine, advice))
    }

    fn swap(&self) -> Finding {
        const WHAT: &str = "swappiness";
        let Some(swappiness) = self.number("proc/sys/vm/swappiness") else { return unknown(WHAT) };
        let advice = "Keys that are on disk answer late: sysctl vm.swappiness=1, and a 'maxmemory' that fits.";
        finding(WHAT, swappiness.to_string(), unless(swappiness <= 60, advice))
    }
}

fn shown(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() }
}

fn files() -> Finding {
    const WHAT: &str = "open files";
    let Ok((soft, hard)) = rlimit::Resource::NOFILE.get() else { return unknown(WHAT) };
    let advice = format!("10000 clients need {FILES}: ulimit -n {FILES}, or LimitNOFILE={FILES} in the unit file.");
    finding(WHAT, format!("{}, at most {}", shown(soft), shown(hard)), unless(hard >= FILES, advice))
}

fn locked_memory() -> Finding {
    const WHAT: &str = "locked memory";
    let Ok((soft, hard)) = rlimit::Resource::MEMLOCK.get() else { return unknown(WHAT) };
    let advice = "Kernels before 5.12 count the rings of the shards here; others only what is registered with them: \
                  LimitMEMLOCK=infinity in the unit file.";
    finding(WHAT, format!("{}, at most {} bytes", shown(soft), shown(hard)), unless(hard >= LOCKED_BYTES, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine made of these files.
    fn machine(name: &str, files: &[(&str, &str)]) -> SystemReport {
        let root = std::env::temp_dir().join(format!("torc-check-system-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, format!("{text}\n")).expect("a file");
        }
        let report = SystemReport::of(&root);
        drop(std::fs::remove_dir_all(root));
        report
    }

    fn verdict(report: &SystemReport, what: &str) -> Verdict {
        report.findings.iter().find(|finding| finding.what.starts_with(what)).expect("it is looked at").verdict
    }

    #[test]
    fn a_good_machine_is_fit_and_gets_no_advice() {
        let report = machine(
            "good",
            &[
                ("proc/sys/kernel/osrelease", "6.18.5-cloud"),
                ("proc/sys/kernel/io_uring_disabled", "0"),
                ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
                ("proc/sys/vm/overcommit_memory", "1"),
                ("proc/sys/net/core/somaxconn", "4096"),
                ("sys/devices/system/node/online", "0"),
                ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
                ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
                ("proc/sys/vm/swappiness", "1"),
            ],
        );
        assert!(report.is_fit());
        for what in ["kernel", "io_", "transparent", "memory over", "connections", "memory nodes", "clock", "processor"]
        {
            assert_eq!(verdict(&report, what), Verdict::Fine, "{what}");
        }
    }

    #[test]
    fn a_bad_machine_is_told_what_to_change() {
        let report = machine(
            "bad",
            &[
                ("proc/sys/kernel/osrelease", "5.10.0-8-amd64"),
                ("proc/sys/kernel/io_uring_disabled", "2"),
                ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
                ("proc/sys/vm/overcommit_memory", "2"),
                ("proc/sys/net/core/somaxconn", "128"),
                ("sys/devices/system/node/online", "0-1"),
                ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
                ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
            ],
        );
        assert!(!report.is_fit());
        assert_eq!((verdict(&report, "kernel"), verdict(&report, "io_")), (Verdict::Bad, Verdict::Bad));
        for what in ["transparent", "memory over", "connections", "memory nodes", "clock", "processor"] {
            assert_eq!(verdict(&report, what), Verdict::Advice, "{what}");
        }
        assert_eq!(verdict(&report, "swappiness"), Verdict::Unknown);
        let text = report.to_string();
        assert!(text.contains("net.core.somaxconn=1024") && text.contains("[ BAD  ] kernel: 5.10.0-8-amd64"), "{text}");
    }
}
