//! Large values alone: bytes and nanoseconds an element.
//!
//! ```sh
//! cargo bench -p torc-engine --bench large_values -- set 1000000      # or hash, sorted, ties, list, rope
//! cargo bench -p torc-engine --bench large_values -- set 5000000
//! ```
//!
//! One form a process: the resident set is the process's own.

use std::hint::black_box;
use std::time::Instant;
use torc_engine::values::large::{HashTree, ListTree, MemberHasher, Rope, SortedTree, collect};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Operations that a time is the mean of.
const OPERATIONS: u64 = 1_000_000;

/// A name of 16 bytes.
fn name(number: u64) -> [u8; 16] {
    let mut name = *b"key:000000000000";
    let mut rest = number;
    for digit in name[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// A fixed shuffle of `0..count`.
fn shuffle(count: u64) -> impl Iterator<Item = u64> {
    let step = (count * 618 / 1000..count).find(|step| gcd(*step, count) == 1).unwrap_or(1);
    (0..count).scan(0, move |at, _| {
        *at = (*at + step) % count;
        Some(*at)
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
    let pages: u64 = text.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("statm has a second field");
    pages * 4096
}

/// Nanoseconds that this thread has had the processor: what others do on the machine does not count.
fn processor_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has /proc");
    text.split(' ').next().and_then(|field| field.parse().ok()).expect("schedstat begins with it")
}

/// Prints the mean nanoseconds of `count` calls of `operation`; the shortest of the rounds, for other work on the machine
/// only ever adds.
fn time(what: &str, count: u64, rounds: u32, mut operation: impl FnMut(u64)) {
    let mut best = f64::MAX;
    for _ in 0..rounds {
        let start = processor_ns();
        (0..count).for_each(&mut operation);
        best = best.min((processor_ns() - start) as f64 / count as f64);
    }
    println!("{what:44} {best:9.1} ns");
}

/// Fills a value and prints what an element takes.
fn fill(count: u64, bytes: impl Fn() -> usize, before: u64, start: u64) {
    let each = (processor_ns() - start) as f64 / count as f64;
    println!("{:44} {each:9.1} ns", "fill, in random order, an element");
    println!("{:44} {:9.1} bytes", "resident, an element", (resident_bytes() - before) as f64 / count as f64);
    println!("{:44} {:9.1} bytes", "by its own count, an element", bytes() as f64 / count as f64);
}

/// Prints how long slices of the freeing take on the clock; the longest ones tell of other work on the machine, too.
fn free_in_slices(mut free: impl FnMut() -> bool) {
    let (mut slices_us, mut is_left) = (Vec::new(), true);
    while is_left {
        let slice = Instant::now();
        is_left = free();
        slices_us.push(slice.elapsed().as_nanos() as f64 / 1e3);
    }
    slices_us.sort_unstable_by(f64::total_cmp);
    let (middle, last) = (slices_us[slices_us.len() / 2], slices_us[slices_us.len() - 1]);
    println!("freed in {} slices of 1000 blocks, the median {middle:.0} us, the longest {last:.0} us", slices_us.len());
}

/// What a plain hash table of separate names takes on the same machine at the same time: three cache misses a look-up.
fn reference(count: u64) {
    let names: std::collections::HashSet<Box<[u8]>> = shuffle(count).map(|number| name(number).into()).collect();
    let mut random = fastrand::Rng::with_seed(1);
    time("HashSet<Box<[u8]>>, look-up, found", OPERATIONS, 3, |_| {
        assert!(names.contains(&name(random.u64(..count))[..]));
    });
}

fn hash(count: u64, value: Option<&[u8]>) {
    let mut tree = HashTree::new(MemberHasher::with_seed(7));
    let put = |tree: &mut HashTree, number: u64| match value {
        Some(value) => tree.set(&name(number), value, None),
        None => tree.add(&name(number)),
    };
    let (before, start) = (resident_bytes(), processor_ns());
    shuffle(count).for_each(|number| {
        put(&mut tree, number);
    });
    fill(count, || tree.bytes(), before, start);

    let mut random = fastrand::Rng::with_seed(1);
    let mut any = move || random.u64(..count);
    time("name only", OPERATIONS, 3, |_| {
        black_box(name(any()));
    });
    time("look-up, found", OPERATIONS, 3, |_| assert!(tree.contains(&name(any()))));
    time("look-up, missing", OPERATIONS, 3, |_| assert!(!tree.contains(&name(count + any()))));
    time("put again", OPERATIONS, 3, |_| assert!(!put(&mut tree, any())));
    time("remove and put", OPERATIONS, 3, |_| {
        let name = name(any());
        assert!(tree.remove(&name));
        match value {
            Some(value) => tree.set(&name, value, None),
            None => tree.add(&name),
        };
    });
    time("random element", OPERATIONS, 3, |_| {
        black_box(tree.at(any()));
    });
    let mut iter = tree.iter();
    time("iterate, an element", count, 1, |_| {
        black_box(iter.next());
    });
    drop(iter);
    let mut views = Vec::new();
    time("first write after a freeze", 20_000, 1, |_| {
        views.push(tree.clone());
        let name = name(any());
        tree.remove(&name);
        match value {
            Some(value) => tree.set(&name, value, None),
            None => tree.add(&name),
        };
        if views.len() > 1 {
            views.clear();
        }
    });
    drop(views);
    while collect(&mut { 1000 }) {}
    free_in_slices(|| tree.drop_slice(1000));
}

fn sorted(count: u64, scores: u64) {
    let mut set = SortedTree::new(MemberHasher::with_seed(7));
    let score = |number: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % scores) as f64;
    let (before, start) = (resident_bytes(), processor_ns());
    shuffle(count).for_each(|number| {
        set.insert(&name(number), score(number));
    });
    fill(count, || set.bytes(), before, start);
    let mut random = fastrand::Rng::with_seed(1);
    let mut any = move || random.u64(..count);
    time("score of a member", OPERATIONS, 3, |_| assert!(set.score(&name(any())).is_some()));
    time("rank of a member", OPERATIONS, 3, |_| assert!(set.rank(&name(any())).is_some()));
    time("member of a rank", OPERATIONS, 3, |_| assert!(set.at(any()).is_some()));
    time("rank of a score", OPERATIONS, 3, |_| {
        black_box(set.rank_of_score(score(any()), false));
    });
    time("100 members from a rank on, each", OPERATIONS / 100, 3, |_| {
        black_box(set.iter_from(any()).take(100).map(|scored| scored.score).sum::<f64>());
    });
    time("another score", OPERATIONS, 3, |_| {
        black_box(set.insert(&name(any()), score(any())));
    });
    time("remove and put", OPERATIONS, 3, |_| {
        let name = name(any());
        let score = set.remove(&name).expect("all are there");
        set.insert(&name, score);
    });
    let mut views = Vec::new();
    time("another score, first after a freeze", 20_000, 1, |_| {
        views.push(set.clone());
        set.insert(&name(any()), score(any()));
        if views.len() > 1 {
            views.clear();
        }
    });
    drop(views);
    while collect(&mut { 1000 }) {}
    free_in_slices(|| set.drop_slice(1000));
}

fn list(count: u64) {
    let mut list = ListTree::new();
    let (before, start) = (resident_bytes(), processor_ns());
    (0..count).for_each(|number| list.push_back(&name(number)));
    fill(count, || list.bytes(), before, start);
    let mut random = fastrand::Rng::with_seed(1);
    let mut any = move || random.u64(..count);
    time("element of an index", OPERATIONS, 3, |_| assert!(list.get(any()).is_some()));
    time("100 elements from an index on, each", OPERATIONS / 100, 3, |_| {
        black_box(list.iter_from(any()).take(100).map(|element| element.as_string().len()).sum::<usize>());
    });
    time("push in front and pop behind", OPERATIONS, 3, |number| {
        list.push_front(&name(number));
        list.pop_back();
    });
    time("push and pop in front", OPERATIONS, 3, |number| {
        list.push_front(&name(number));
        list.pop_front();
    });
    time("set an index", OPERATIONS, 3, |number| assert!(list.set(any(), &name(number))));
    time("insert and remove at an index", OPERATIONS, 3, |number| {
        let index = any();
        list.insert(index, &name(number));
        list.remove(index, 1);
    });
    free_in_slices(|| list.drop_slice(1000));
}

fn rope(count: u64) {
    let (before, start) = (resident_bytes(), processor_ns());
    let mut rope = Rope::from_bytes(&vec![b'x'; count as usize]);
    fill(count, || rope.bytes(), before, start);
    let mut random = fastrand::Rng::with_seed(1);
    let mut any = move || random.u64(..count - 16);
    time("byte of an offset", OPERATIONS, 3, |_| assert!(rope.byte(any()).is_some()));
    time("write 16 bytes", OPERATIONS, 3, |number| rope.write_at(any(), &name(number)));
    time("append 16 bytes", OPERATIONS, 3, |number| rope.append(&name(number)));
    let mut views = Vec::new();
    time("write, first after a freeze", 20_000, 1, |number| {
        views.push(rope.clone());
        rope.write_at(any(), &name(number));
        if views.len() > 1 {
            views.clear();
        }
    });
    time("read all, a byte", 1, 3, |_| {
        black_box(
            rope.pieces(0, rope.len())
                .map(|piece| piece.iter().map(|byte| byte.count_ones()).sum::<u32>())
                .sum::<u32>(),
        );
    });
    let start = Instant::now();
    let mut sparse = Rope::new();
    sparse.write_at((512 << 20) - 1, b"x");
    println!("a byte at the end of 512 MB in {} us", start.elapsed().as_micros());
    drop((views, sparse));
    while collect(&mut { 1000 }) {}
    free_in_slices(|| rope.drop_slice(1000));
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let form = arguments.next().unwrap_or_else(|| String::from("set"));
    let count = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    println!("{form} of {count}");
    match form.as_str() {
        "set" => hash(count, None),
        "hash" => hash(count, Some(b"value:0000000000")),
        "sorted" => sorted(count, u64::MAX),
        "ties" => sorted(count, 100),
        "list" => list(count),
        "rope" => rope(count),
        "reference" => reference(count),
        _ => println!("no such form"),
    }
}
