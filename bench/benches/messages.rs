//! Micro benches of what every command passes: the reply encoder, the command table, and the inbox between shards.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use torc_engine::command::Table;
use torc_engine::reply::{Protocol, Reply, ReplyBuffer};
use torc_engine::transaction::inbox::{Inbox, Node};

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    let mut buffer = ReplyBuffer::default();
    let value = [b'v'; 100];
    group.bench_function("bulk_100_bytes", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            Reply::new(&mut buffer, Protocol::Resp2).bulk(black_box(&value));
        });
    });
    group.bench_function("integer", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            Reply::new(&mut buffer, Protocol::Resp2).integer(black_box(123_456));
        });
    });
    group.finish();
}

fn look_up(criterion: &mut Criterion) {
    let table = Table::new(torc_engine::commands::all().map(|command| (&command.spec, ())));
    criterion.bench_function("table/find", |bencher| {
        bencher.iter(|| (table.find(black_box(b"get")).is_some(), table.find(black_box(b"INCRBYFLOAT")).is_some()));
    });
}

fn inbox(criterion: &mut Criterion) {
    let inbox = Inbox::default();
    let mut spare: Vec<_> = (0..16u64).map(Node::new).collect();
    let mut group = criterion.benchmark_group("inbox");
    group.throughput(Throughput::Elements(16));
    group.bench_function("push_16_drain_16", |bencher| {
        bencher.iter(|| {
            spare.drain(..).for_each(|node| inbox.push(node));
            spare.extend(inbox.drain());
        });
    });
    group.finish();
}

criterion_group!(benches, encode, look_up, inbox);
criterion_main!(benches);
