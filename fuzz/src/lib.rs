//! Hostile bytes for everything that reads files, payloads, requests and configurations: whatever comes, it is refused or it is whole.
//!
//! ```text
//!   seeds ──> mutate ──> bytes ──> target: read it, use what was accepted, write it, read that
//!     │          │                    └── no panic, memory within a bound that grows with the input alone
//!     │          └── bytes changed, lengths that lie, parts of other seeds; or a value made up anew, whose parts are whole
//!     └── values of all types and forms by our own writer, packed forms of old servers
//! ```
//!
//! The same targets and the same changes are used by three drivers: `torc-fuzz` (seeded, for so many seconds), a test (seeded,
//! so many rounds), and libFuzzer, which is led by what its inputs reach (`guided/`, its own workspace).

pub mod file;
pub mod functions;
pub mod generate;
pub mod log;
pub mod memory;
pub mod mutate;
pub mod seeds;
pub mod server;
pub mod value;

/// Something that reads bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Bytes that it reads without complaint.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Makes something up.
    pub generate: fn(&mut fastrand::Rng) -> Vec<u8>,
    /// Reads bytes; panics if something is wrong with how that went.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "file", seeds: seeds::files, generate: generate::file, check: file::check },
    Target { name: "value", seeds: seeds::values, generate: generate::value, check: value::check },
    Target { name: "functions", seeds: seeds::functions, generate: generate::functions, check: functions::check },
    Target { name: "frames", seeds: log::frames_seeds, generate: log::generate_frames, check: log::check_frames },
    Target {
        name: "manifest",
        seeds: log::manifest_seeds,
        generate: log::generate_manifest,
        check: log::check_manifest,
    },
    Target {
        name: "requests",
        seeds: server::request_seeds,
        generate: server::generate_requests,
        check: server::check_requests,
    },
    Target {
        name: "config",
        seeds: server::config_seeds,
        generate: server::generate_config,
        check: server::check_config,
    },
    Target { name: "rules", seeds: server::rule_seeds, generate: server::generate_rules, check: server::check_rules },
    Target { name: "tls", seeds: server::tls_seeds, generate: server::generate_tls, check: server::check_tls },
    Target { name: "http", seeds: server::http_seeds, generate: server::generate_http, check: server::check_http },
];

impl Target {
    /// The target of a name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.iter().find(|target| target.name == name).copied()
    }

    /// One round: bytes that depend on nothing but the seed.
    pub fn input(&self, seeds: &[Vec<u8>], seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = if random.u8(..3) == 0 {
            (self.generate)(&mut random)
        } else {
            random.choice(seeds).cloned().unwrap_or_default()
        };
        if random.u8(..8) != 0 {
            mutate::mutate(&mut bytes, seeds, &mut random);
        }
        bytes
    }
}

impl Target {
    /// Checks an input of the target of a name, which there is.
    pub fn checked(name: &str, bytes: &[u8]) {
        let target = Self::named(name).unwrap_or_else(|| panic!("no target {name}"));
        (target.check)(bytes);
    }
}

/// An input changed for libFuzzer, half of the time by its own blind changes; how long it is then.
pub fn guided_change(
    name: &str,
    data: &mut [u8],
    size: usize,
    size_max: usize,
    seed: u32,
    blind: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let Some(target) = Target::named(name).filter(|_| seed.is_multiple_of(2)) else {
        return blind(data, size, size_max);
    };
    let mut random = fastrand::Rng::with_seed(u64::from(seed));
    let mut bytes = data[..size].to_vec();
    if random.u8(..8) == 0 {
        bytes = (target.generate)(&mut random);
    } else {
        SEEDS.with(|seeds| mutate::mutate(&mut bytes, seeds.get_or_init(target.seeds), &mut random));
    }
    let size = bytes.len().min(size_max).min(data.len());
    data[..size].copy_from_slice(&bytes[..size]);
    size
}

thread_local! {
    /// Seeds of the only target of this process.
    static SEEDS: std::cell::OnceCell<Vec<Vec<u8>>> = const { std::cell::OnceCell::new() };
}
