//! What a byte of a file costs: its checksum, its compression, and values to bytes and back, with compression and without.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use torc_engine::keyspace::{KeyHasher, Keyspace, Value};
use torc_engine::values::Encodings;
use torc_persistence::rdb::decode::{self, Target};
use torc_persistence::rdb::encode::{self, Readers, View};
use torc_persistence::rdb::input::Input;
use torc_persistence::rdb::output::Output;
use torc_persistence::rdb::{Dialect, kinds};
use torc_persistence::{crc64, lzf};

/// Bytes that look like records of an application, in part the same from one to the next.
fn records(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut text = Vec::with_capacity(bytes + 100);
    while text.len() < bytes {
        let (user, at) = (random.u32(..100_000), random.u32(..));
        text.extend_from_slice(
            format!("{{\"user\":{user},\"seen\":{at},\"name\":\"user:{user}\",\"active\":true}},").as_bytes(),
        );
    }
    text.truncate(bytes);
    text
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..bytes).map(|_| random.u8(..)).collect()
}

fn texts() -> [(&'static str, Vec<u8>); 6] {
    [
        ("records 100", records(100)),
        ("records 4096", records(4096)),
        ("records 1M", records(1 << 20)),
        ("noise 100", noise(100)),
        ("noise 4096", noise(4096)),
        ("one letter 1M", vec![b'x'; 1 << 20]),
    ]
}

fn sums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc64");
    for bytes in [32, 100, 1024, 65_536, 1 << 20] {
        let text = noise(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group
            .bench_function(BenchmarkId::from_parameter(bytes), |bencher| bencher.iter(|| crc64::of(black_box(&text))));
    }
}

fn compression(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lzf");
    for (name, text) in texts() {
        let (mut compressor, mut packed) = (lzf::Compressor::default(), Vec::new());
        let is_shorter = compressor.compress(&text, &mut packed);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("compress", name), |bencher| {
            let mut out = Vec::with_capacity(text.len() + 1024);
            bencher.iter(|| {
                out.clear();
                compressor.compress(black_box(&text), &mut out)
            });
        });
        if is_shorter {
            group.bench_function(BenchmarkId::new("decompress", name), |bencher| {
                bencher.iter(|| lzf::decompress(black_box(&packed), text.len()));
            });
        }
    }
}

fn strings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("strings");
    let (limits, keyspace) = (Encodings::default(), Keyspace::new(1, KeyHasher::with_seed(1)));
    for (name, text) in texts() {
        let value = Value::string(&text);
        let plan = encode::plan(View::of(&value), Readers::default());
        group.throughput(Throughput::Bytes(text.len() as u64));
        for is_compressed in [false, true] {
            let how = if is_compressed { "compressed" } else { "plain" };
            let mut compressor = lzf::Compressor::default();
            let mut bytes = Vec::new();
            let mut encode = |bytes: &mut Vec<u8>| {
                bytes.clear();
                let compressor = is_compressed.then_some(&mut compressor);
                encode::value(View::of(&value), plan, &mut Output { bytes, compressor });
            };
            encode(&mut bytes);
            group.bench_function(BenchmarkId::new(format!("encode {how}"), name), |bencher| {
                let mut bytes = Vec::new();
                bencher.iter(|| encode(&mut bytes));
            });
            let target = Target { limits: &limits, hasher: keyspace.member_hasher(), dialect: Dialect::Redis };
            group.bench_function(BenchmarkId::new(format!("decode {how}"), name), |bencher| {
                bencher.iter(|| decode::value(kinds::STRING, &mut Input::new(black_box(&bytes)), target));
            });
        }
    }
}

criterion_group!(benches, sums, compression, strings);
criterion_main!(benches);
