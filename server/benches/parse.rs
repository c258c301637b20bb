//! Micro bench of the request parser: a pipeline of commands as they lie in a receive buffer.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use torc_server::connection::parser::{Limits, Parsed, Parser};

fn parse(criterion: &mut Criterion) {
    const COMMANDS: usize = 16;
    let limits = Limits { bulk_length_max: 512 << 20, authenticated: true };
    let get = b"*2\r\n$3\r\nGET\r\n$16\r\nmemtier-12345678\r\n".repeat(COMMANDS);
    let set = [b"*3\r\n$3\r\nSET\r\n$16\r\nmemtier-12345678\r\n$100\r\n".as_slice(), &[b'x'; 100], b"\r\n"].concat();
    let set = set.repeat(COMMANDS);
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(COMMANDS as u64));
    for (name, input) in [("get", &get), ("set_100_bytes", &set)] {
        group.bench_function(name, |bencher| {
            let mut parser = Parser::default();
            bencher.iter(|| {
                let mut rest = black_box(input.as_slice());
                while let Ok(Parsed::Command { consumed }) = parser.parse(rest, &limits) {
                    black_box(parser.argument_count());
                    rest = &rest[consumed..];
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
