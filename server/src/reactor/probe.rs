//! What the kernel allows, found out before any shard starts.
//!
//! 1. Make as many rings as there will be shards, with their buffers, and drop them again.
//! 2. Ask the kernel for every operation that the driver uses.
//! 3. If something failed, [`classify`] turns the error number and its surroundings (sysctl, release, limits) into an
//!    [`Obstacle`], whose text is one line: which, and what to do. The process prints it and exits with 1.

use std::fmt;
use std::fs;

use super::uring::{self, Failure, Step};

/// The oldest kernel that has everything: deferred task work (6.1), multishot receive (6.0), ring messages (5.18).
const RELEASE_MIN: (u32, u32) = (6, 1);
/// Descriptors a shard needs before its first client: ring, eventfd, listeners, a log file.
const DESCRIPTORS_PER_SHARD: u64 = 8;
/// Descriptors of the process around the shards.
const DESCRIPTORS_OF_PROCESS: u64 = 32;

/// What the process finds itself in.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// The text of `kernel.io_uring_disabled`; kernels before 6.6 do not have it.
    pub io_uring_disabled: Option<String>,
    /// The kernel's release, like `6.1.0-18-amd64`.
    pub release: String,
    /// RLIMIT_MEMLOCK; `None` is unlimited or unknown.
    pub locked_memory_bytes_max: Option<u64>,
    /// RLIMIT_NOFILE; `None` is unlimited or unknown.
    pub descriptors_max: Option<u64>,
}

/// Why no shard can run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// `kernel.io_uring_disabled` is 2.
    SwitchedOff,
    /// `kernel.io_uring_disabled` is 1: only for the privileged and one group.
    OnlyForGroup,
    /// The system call is refused though the kernel has it.
    Filtered { errno: i32 },
    /// Before 6.1, or without something that the driver uses.
    KernelTooOld { release: String, missing: &'static str },
    /// The kernel is new enough by its release, but lacks the operation.
    Unsupported { release: String, missing: &'static str },
    /// RLIMIT_MEMLOCK is too small for the rings.
    LockedMemory { bytes_max: u64, shards: usize },
    /// The kernel, or the process's memory group, has no memory.
    Memory,
    /// RLIMIT_NOFILE is too small to start at all.
    Descriptors { descriptors_max: Option<u64>, shards: usize },
    /// Something else.
    Other { step: &'static str, errno: i32 },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff => write!(
                out,
                "io_uring is switched off on this machine (kernel.io_uring_disabled is 2): \
                 run `sysctl kernel.io_uring_disabled=0` as root"
            ),
            Self::OnlyForGroup => write!(
                out,
                "io_uring is only for privileged users here (kernel.io_uring_disabled is 1): run \
                 `sysctl kernel.io_uring_disabled=0` as root, or add this user to the group in kernel.io_uring_group"
            ),
            Self::Filtered { errno } => write!(
                out,
                "io_uring is blocked for this process ({}), most likely by a container's seccomp profile: allow \
                 io_uring_setup, io_uring_enter and io_uring_register (Docker: --security-opt seccomp=PROFILE)",
                name_of(*errno)
            ),
            Self::KernelTooOld { release, missing } => {
                let (major, minor) = RELEASE_MIN;
                write!(
                    out,
                    "Linux {release} is too old ({missing} is missing): Linux {major}.{minor} or newer is needed"
                )
            }
            Self::Unsupported { release, missing } => {
                write!(out, "this build of Linux {release} lacks {missing} of io_uring: use the distribution's kernel")
            }
            Self::LockedMemory { bytes_max, shards } => write!(
                out,
                "the limit of locked memory ({bytes_max} bytes) is too small for {shards} io_uring instances: raise it \
                 (`ulimit -l unlimited`, LimitMEMLOCK=infinity in a systemd unit) or use fewer shards"
            ),
            Self::Memory => {
                write!(out, "the kernel has no memory for io_uring: free some, or raise this control group's limit")
            }
            Self::Descriptors { descriptors_max, shards } => {
                let limit = descriptors_max.map_or("system-wide".to_owned(), |limit| limit.to_string());
                write!(
                    out,
                    "too few file descriptors to start {shards} shards (limit {limit}): raise it \
                     (`ulimit -n`, LimitNOFILE in a systemd unit)"
                )
            }
            Self::Other { step, errno } => {
                write!(out, "io_uring does not work here: {step} failed with {}", name_of(*errno))
            }
        }
    }
}

impl std::error::Error for Obstacle {}

/// Whether so many shards can run here.
pub fn probe(shards: usize, options: &uring::Options) -> Result<(), Obstacle> {
    let surroundings = Surroundings::read();
    if let Some(limit) = surroundings.descriptors_max
        && limit < DESCRIPTORS_OF_PROCESS + DESCRIPTORS_PER_SHARD * shards as u64
    {
        return Err(Obstacle::Descriptors { descriptors_max: Some(limit), shards });
    }
    uring::try_out(shards, options).map_err(|failure| classify(failure, &surroundings, shards))
}

/// What a failure means in these surroundings.
pub fn classify(failure: Failure, surroundings: &Surroundings, shards: usize) -> Obstacle {
    let release = surroundings.release.clone();
    let is_new_enough = parse_release(&release).is_none_or(|release| release >= RELEASE_MIN);
    let (step, missing) = match failure.step {
        Step::Ring => ("io_uring_setup", "deferred task work"),
        Step::Buffers => ("registering receive buffers", "provided-buffer rings"),
        Step::Operation(name) => (name, name),
    };
    match failure.errno {
        libc::EPERM | libc::EACCES => match surroundings.io_uring_disabled.as_deref().map(str::trim) {
            Some("2") => Obstacle::SwitchedOff,
            Some("1") => Obstacle::OnlyForGroup,
            _ => Obstacle::Filtered { errno: failure.errno },
        },
        libc::ENOSYS if is_new_enough => Obstacle::Filtered { errno: failure.errno },
        libc::ENOSYS => Obstacle::KernelTooOld { release, missing: "io_uring" },
        libc::EINVAL | libc::EOPNOTSUPP if is_new_enough => Obstacle::Unsupported { release, missing },
        libc::EINVAL | libc::EOPNOTSUPP => Obstacle::KernelTooOld { release, missing },
        libc::ENOMEM => match surroundings.locked_memory_bytes_max {
            Some(bytes_max) => Obstacle::LockedMemory { bytes_max, shards },
            None => Obstacle::Memory,
        },
        libc::EMFILE => Obstacle::Descriptors { descriptors_max: surroundings.descriptors_max, shards },
        libc::ENFILE => Obstacle::Descriptors { descriptors_max: None, shards },
        errno => Obstacle::Other { step, errno },
    }
}

impl Surroundings {
    /// Reads them from /proc; what is not there stays unknown.
    pub fn read() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            io_uring_disabled: fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok(),
            release: release.trim().to_owned(),
            locked_memory_bytes_max: soft_limit(&limits, "Max locked memory"),
            descriptors_max: soft_limit(&limits, "Max open files"),
        }
    }
}

/// The soft limit in the text of /proc/self/limits: the first column after the name.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Major and minor of a release like `6.1.0-18-amd64`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn name_of(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            io_uring_disabled: Some("0\n".to_owned()),
            release: "6.8.0-31-generic".to_owned(),
            locked_memory_bytes_max: Some(65_536),
            descriptors_max: Some(1024),
        }
    }

    #[track_caller]
    fn check(step: Step, errno: i32, surroundings: &Surroundings, expected: &Obstacle, words: &[&str]) {
        let obstacle = classify(Failure { step, errno }, surroundings, 4);
        assert_eq!(&obstacle, expected);
        let text = obstacle.to_string();
        assert!(!text.contains('\n') && words.iter().all(|word| text.contains(word)), "{text}");
    }

    #[test]
    fn the_sysctl_is_named() {
        let with = |text: &str| Surroundings { io_uring_disabled: Some(text.to_owned()), ..surroundings() };
        check(Step::Ring, libc::EPERM, &with("2\n"), &Obstacle::SwitchedOff, &["kernel.io_uring_disabled=0"]);
        check(Step::Ring, libc::EPERM, &with("1"), &Obstacle::OnlyForGroup, &["kernel.io_uring_group"]);
    }

    #[test]
    fn seccomp_is_named() {
        let filtered = |errno| Obstacle::Filtered { errno };
        check(Step::Ring, libc::EPERM, &surroundings(), &filtered(libc::EPERM), &["seccomp", "io_uring_enter"]);
        check(Step::Ring, libc::ENOSYS, &surroundings(), &filtered(libc::ENOSYS), &["seccomp"]);
        let old_sysctl = Surroundings { io_uring_disabled: None, ..surroundings() };
        check(Step::Ring, libc::EACCES, &old_sysctl, &filtered(libc::EACCES), &["seccomp"]);
    }

    #[test]
    fn an_old_kernel_is_named() {
        let old = |release: &str| Surroundings { release: release.to_owned(), ..surroundings() };
        let too_old = |release: &str, missing| Obstacle::KernelTooOld { release: release.to_owned(), missing };
        let words = ["6.1 or newer"];
        check(Step::Ring, libc::ENOSYS, &old("4.19.0"), &too_old("4.19.0", "io_uring"), &words);
        check(Step::Ring, libc::EINVAL, &old("5.15.0-1"), &too_old("5.15.0-1", "deferred task work"), &words);
        check(Step::Buffers, libc::EINVAL, &old("5.10.0"), &too_old("5.10.0", "provided-buffer rings"), &words);
        check(Step::Operation("MSG_RING"), libc::EOPNOTSUPP, &old("5.4"), &too_old("5.4", "MSG_RING"), &words);
    }

    #[test]
    fn an_odd_kernel_is_named() {
        let release = surroundings().release;
        let odd = Obstacle::Unsupported { release, missing: "MSG_RING" };
        check(Step::Operation("MSG_RING"), libc::EOPNOTSUPP, &surroundings(), &odd, &["6.8.0-31-generic", "MSG_RING"]);
    }

    #[test]
    fn limits_are_named() {
        let locked = Obstacle::LockedMemory { bytes_max: 65_536, shards: 4 };
        check(Step::Ring, libc::ENOMEM, &surroundings(), &locked, &["65536", "ulimit -l", "4 io_uring"]);
        let unlimited = Surroundings { locked_memory_bytes_max: None, ..surroundings() };
        check(Step::Buffers, libc::ENOMEM, &unlimited, &Obstacle::Memory, &["control group"]);
        let descriptors = Obstacle::Descriptors { descriptors_max: Some(1024), shards: 4 };
        check(Step::Ring, libc::EMFILE, &surroundings(), &descriptors, &["1024", "ulimit -n"]);
        let system = Obstacle::Descriptors { descriptors_max: None, shards: 4 };
        check(Step::Ring, libc::ENFILE, &surroundings(), &system, &["system-wide"]);
    }

    #[test]
    fn anything_else_is_told_as_it_is() {
        let other = Obstacle::Other { step: "io_uring_setup", errno: libc::EIO };
        check(Step::Ring, libc::EIO, &surroundings(), &other, &["io_uring_setup", "os error 5"]);
    }

    #[test]
    fn releases_and_limits_are_parsed() {
        assert_eq!(parse_release("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(parse_release("6.12"), Some((6, 12)));
        assert_eq!(parse_release("5.10-rc1+"), Some((5, 10)));
        assert_eq!(parse_release("strange"), None);
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            20000                20000                files     \n\
                    Max locked memory         unlimited            unlimited            bytes     \n";
        assert_eq!(soft_limit(text, "Max open files"), Some(20_000));
        assert_eq!(soft_limit(text, "Max locked memory"), None);
        assert_eq!(soft_limit("", "Max open files"), None);
    }

    #[test]
    fn this_machine_passes_or_says_why() {
        if let Err(obstacle) = probe(1, &uring::Options::default()) {
            println!("{obstacle}");
            assert!(!obstacle.to_string().contains('\n'));
        }
    }
}
