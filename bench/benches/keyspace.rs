//! The keyspace alone, without protocol or network.
//!
//! * `cargo bench -p torc-bench --bench keyspace`: times of single operations.
//! * `cargo bench -p torc-bench --bench keyspace -- memory 10000000 [ttl]`: resident memory of so many keys of 16 bytes with
//!   values of 32 bytes, and the longest single inserts.
//! * `cargo bench -p torc-bench --bench keyspace -- expiry 1000000`: so many keys due in one second; how long the steps take.
//!
//! Times are CPU times. The longest inserts are first touches of memory, whose pages the kernel zeroes (2 MB at once for a
//! huge page) and, on a virtual machine, the host finds; the same is shown for plain memory. The second round of inserts is
//! into memory that was there: with `MIMALLOC_PURGE_DELAY=-1` it shows what the table's growth alone takes.

use criterion::{BatchSize, Criterion, Throughput};
use hdrhistogram::Histogram;
use std::hint::black_box;
use std::time::{Duration, Instant};
use torc_engine::keyspace::{Access, Expiry, Key, KeyHasher, Keyspace};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: i64 = 1_700_000_000_000;

fn name(number: usize) -> [u8; 16] {
    let mut name = *b"key:000000000000";
    let mut rest = number;
    for digit in name[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// A fixed shuffle of `0..count`: steps by a number that shares no factor with the count.
fn shuffle(count: usize) -> impl Iterator<Item = usize> {
    let step = (count * 618 / 1000..count).find(|step| gcd(*step, count) == 1).unwrap_or(1);
    (0..count).scan(0, move |at, _| {
        *at = (*at + step) % count;
        Some(*at)
    })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A keyspace with so many keys, set in another order than that of their names.
fn filled(keys: usize, value: &[u8]) -> Keyspace {
    let mut keyspace = Keyspace::new(16, KeyHasher::with_seed(7));
    for number in shuffle(keys) {
        let name = name(number);
        keyspace.set_string(0, &keyspace.key(&name), value, Expiry::Clear, NOW);
    }
    keyspace
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
    let pages: usize = text.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("statm has a second field");
    pages * 4096
}

/// CPU time of this thread: without the time in which the kernel or the host ran something else. What a host does for its
/// guest at the first touch of memory is in it; [`touching`] shows how much that is.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPU times of single operations.
struct Times(Histogram<u64>);

impl Times {
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds"))
    }

    fn record(&mut self, time: Duration) {
        self.0.saturating_record(time.as_nanos() as u64);
    }

    fn print(&self, what: &str) {
        let at = |quantile: f64| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        let longest: Vec<_> = self.0.iter_recorded().collect();
        let longest: Vec<_> =
            longest.iter().rev().take(5).map(|step| format!("{:.0}", step.value_iterated_to() as f64 / 1000.0)).collect();
        println!(
            "{what}: {} times, p50 {} us, p99 {} us, p99.99 {} us, longest {} us",
            self.0.len(),
            at(0.5),
            at(0.99),
            at(0.9999),
            longest.join(" ")
        );
    }
}

/// The first touch of as much memory as the keys take, page by page, and nothing else: what of the longest inserts is the
/// kernel's and the host's.
fn touching(bytes: usize) {
    const PAGE_BYTES: usize = 4096;
    let mut memory: Vec<u8> = Vec::with_capacity(bytes);
    let mut times = Times::new();
    for page in memory.spare_capacity_mut().chunks_mut(PAGE_BYTES) {
        let touch = cpu_time();
        black_box(page[0].write(1));
        times.record(cpu_time() - touch);
    }
    times.print("touching as much memory");
}

fn insert_all(keyspace: &mut Keyspace, keys: usize, ttl: bool) -> Times {
    let mut times = Times::new();
    for number in shuffle(keys) {
        let name = name(number);
        let value = [b'a' + (number % 26) as u8; 32];
        let expiry = if ttl { Expiry::At(NOW + 60_000 + (number as i64 * 7919) % 86_400_000) } else { Expiry::Clear };
        let insert = cpu_time();
        keyspace.set_string(0, &keyspace.key(&name), &value, expiry, NOW);
        times.record(cpu_time() - insert);
    }
    times
}

fn memory(keys: usize, ttl: bool) {
    let mut keyspace = Keyspace::new(16, KeyHasher::with_seed(7));
    let before = resident_bytes();
    let times = insert_all(&mut keyspace, keys, ttl);
    assert_eq!(keyspace.len(0), keys);
    let resident = resident_bytes() - before;
    println!("keys {keys}, ttl {ttl}");
    println!("resident bytes per key {:.2}", resident as f64 / keys as f64);
    println!("counted bytes per key  {:.2}", keyspace.used_bytes() as f64 / keys as f64);
    times.print("inserts");
    touching(resident);
    drop(keyspace);
    let mut again = Keyspace::new(16, KeyHasher::with_seed(8));
    insert_all(&mut again, keys, ttl).print("inserts again, into memory that was there");
}

fn expiry(keys: usize) {
    let mut keyspace = Keyspace::new(16, KeyHasher::with_seed(7));
    for number in shuffle(2 * keys) {
        let expiry = if number < keys { Expiry::At(NOW + number as i64 % 1000) } else { Expiry::Clear };
        keyspace.set_string(0, &keyspace.key(&name(number)), &[b'v'; 32], expiry, NOW - 1000);
    }
    let mut times = Times::new();
    loop {
        let step = cpu_time();
        let progress = keyspace.expire_step(NOW + 1000, 1000);
        times.record(cpu_time() - step);
        if !progress.more {
            break;
        }
    }
    let mean_us = times.0.mean() / 1000.0;
    println!("expired {} of {}, {mean_us:.1} us a step", keyspace.statistics.expired, 2 * keys);
    times.print("steps of 1000 entries");
}

fn reads(criterion: &mut Criterion) {
    for keys in [10_000, 1_000_000] {
        let mut keyspace = filled(keys, &[b'v'; 100]);
        let mut random = fastrand::Rng::with_seed(3);
        let mut group = criterion.benchmark_group(format!("{keys} keys"));
        group.bench_function("get hit", |bencher| {
            bencher.iter(|| {
                let name = name(random.usize(..keys));
                let key = keyspace.key(&name);
                keyspace.find(0, &key, NOW, Access::Touch).and_then(|entry| entry.string()).map(|text| text.len())
            });
        });
        group.bench_function("get miss", |bencher| {
            bencher.iter(|| {
                let name = name(keys + random.usize(..keys));
                let key = keyspace.key(&name);
                keyspace.find(0, &key, NOW, Access::Touch).is_some()
            });
        });
        group.throughput(Throughput::Elements(16));
        group.bench_function("batch of 16 gets, prefetched", |bencher| {
            bencher.iter(|| batch(&mut keyspace, &mut random, keys, true));
        });
        group.bench_function("batch of 16 gets", |bencher| {
            bencher.iter(|| batch(&mut keyspace, &mut random, keys, false));
        });
        group.finish();
    }
}

fn batch(keyspace: &mut Keyspace, random: &mut fastrand::Rng, keys: usize, prefetch: bool) -> usize {
    let names: [[u8; 16]; 16] = std::array::from_fn(|_| name(random.usize(..keys)));
    let batch: [Key<'_>; 16] = std::array::from_fn(|index| keyspace.key(&names[index]));
    if prefetch {
        let stages =
            [Keyspace::prefetch, Keyspace::prefetch_directory, Keyspace::prefetch_page, Keyspace::prefetch_entry];
        for stage in stages {
            for key in &batch {
                stage(keyspace, 0, key);
            }
        }
    }
    let mut sum = 0;
    for key in &batch {
        let text = keyspace.find(0, key, NOW, Access::Touch).and_then(|entry| entry.string());
        // As a reply would: read the value itself.
        sum += text.map_or(0, |text| text.with_bytes(|bytes| bytes.iter().map(|byte| *byte as usize).sum::<usize>()));
    }
    sum
}

fn writes(criterion: &mut Criterion) {
    let keys = 1_000_000;
    let mut random = fastrand::Rng::with_seed(3);
    let mut group = criterion.benchmark_group("1000000 keys");
    let mut keyspace = filled(keys, &[b'v'; 100]);
    group.bench_function("set over", |bencher| {
        bencher.iter(|| {
            let name = name(random.usize(..keys));
            keyspace.set_string(0, &keyspace.key(&name), &[b'w'; 100], Expiry::Clear, NOW);
        });
    });
    group.bench_function("set over, other length", |bencher| {
        bencher.iter(|| {
            let name = name(random.usize(..keys));
            let value = [b'w'; 100];
            keyspace.set_string(0, &keyspace.key(&name), &value[..random.usize(60..100)], Expiry::Clear, NOW);
        });
    });
    let mut counter = keys;
    group.bench_function("set new", |bencher| {
        bencher.iter(|| {
            let name = name(counter);
            counter += 1;
            keyspace.set_string(0, &keyspace.key(&name), &[b'w'; 32], Expiry::Clear, NOW);
        });
    });
    group.bench_function("remove", |bencher| {
        bencher.iter(|| {
            counter = counter.saturating_sub(1);
            let name = name(counter);
            keyspace.remove(0, &keyspace.key(&name), NOW)
        });
    });
    group.finish();

    criterion.bench_function("grow one slot from nothing to 1000 keys (about 80 splits)", |bencher| {
        let names: Vec<Vec<u8>> = (0..1000).map(|number| format!("{{t}}:{number:012}").into_bytes()).collect();
        let hasher = KeyHasher::with_seed(7);
        bencher.iter_batched(
            || Keyspace::new(1, hasher.clone()),
            |mut keyspace| {
                for name in &names {
                    let key = Key::new(name, &hasher);
                    keyspace.set_string(0, &key, &[b'v'; 32], Expiry::Clear, NOW);
                }
                keyspace
            },
            BatchSize::PerIteration,
        );
    });
}

fn expire(criterion: &mut Criterion) {
    let fill = |keyspace: &mut Keyspace| {
        for number in 0..200_000 {
            let name = name(number);
            keyspace.set_string(0, &keyspace.key(&name), &[b'v'; 32], Expiry::At(NOW), NOW - 1000);
        }
    };
    let mut keyspace = Keyspace::new(16, KeyHasher::with_seed(7));
    criterion.bench_function("expire step of 1000 entries, all due", |bencher| {
        bencher.iter_custom(|steps| {
            let mut total = Duration::ZERO;
            for _ in 0..steps {
                if keyspace.len(0) < 2000 {
                    fill(&mut keyspace);
                }
                let started = Instant::now();
                black_box(keyspace.expire_step(NOW + 2000, 1000));
                total += started.elapsed();
            }
            total
        });
    });
    let mut quiet = filled(1_000_000, &[b'v'; 32]);
    criterion.bench_function("expire step, nothing due", |bencher| {
        bencher.iter(|| quiet.expire_step(NOW, 1000));
    });
}

fn key(criterion: &mut Criterion) {
    let hasher = KeyHasher::with_seed(7);
    let name = name(123_456);
    criterion.bench_function("slot and hash of a 16-byte key", |bencher| {
        bencher.iter(|| Key::new(black_box(&name), &hasher));
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let count = || arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    match arguments.first().map(String::as_str) {
        Some("memory") => memory(count(), arguments.iter().any(|argument| argument == "ttl")),
        Some("expiry") => expiry(count()),
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            key(&mut criterion);
            reads(&mut criterion);
            writes(&mut criterion);
            expire(&mut criterion);
            criterion.final_summary();
        }
    }
}
