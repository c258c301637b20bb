//! What the keyspace promises whatever the order of things: complete scans, bounded steps, timely expiry.

use super::*;
use std::collections::HashSet;

const NOW: Milliseconds = 1_700_000_000_000;

fn keyspace(seed: u64) -> Keyspace {
    Keyspace::new(2, KeyHasher::with_seed(seed))
}

fn set(keyspace: &mut Keyspace, name: &str, expiry: Expiry) {
    let hasher = keyspace.hasher().clone();
    keyspace.set_string(0, &Key::new(name.as_bytes(), &hasher), b"value", expiry, NOW);
}

fn remove(keyspace: &mut Keyspace, name: &str) {
    let hasher = keyspace.hasher().clone();
    keyspace.remove(0, &Key::new(name.as_bytes(), &hasher), NOW);
}

/// Adds or removes many keys between two calls of a scan, so that tables grow and shrink by a lot.
fn churn(keyspace: &mut Keyspace, random: &mut fastrand::Rng, tag: &str) {
    let range = random.usize(..3000);
    match random.u32(..4) {
        0 => (0..range).for_each(|number| set(keyspace, &format!("{tag}passing:{number}"), Expiry::Clear)),
        1 => (0..range).for_each(|number| set(keyspace, &format!("{tag}passing:{number}"), Expiry::At(NOW - 1))),
        2 => (0..3000).for_each(|number| remove(keyspace, &format!("{tag}passing:{number}"))),
        _ => while keyspace.expire_step(NOW + 1000, 100).more {},
    }
}

#[test]
fn a_scan_returns_what_is_there_all_the_time() {
    for seed in 0..20 {
        for tag in ["", "{one slot}"] {
            let mut keyspace = keyspace(seed);
            let mut random = fastrand::Rng::with_seed(seed);
            let stay: Vec<String> = (0..random.usize(1..800)).map(|number| format!("{tag}stay:{number}")).collect();
            for name in &stay {
                set(&mut keyspace, name, Expiry::Clear);
            }
            let mut seen = HashSet::new();
            let mut cursor = ScanCursor::START;
            let mut calls = 0;
            loop {
                let budget = random.usize(..30);
                cursor = keyspace.scan(0, cursor, budget, NOW, &mut |name, entry| {
                    assert_eq!(entry.expires_at(), None, "an expired key was shown");
                    seen.insert(String::from_utf8_lossy(name).into_owned());
                });
                calls += 1;
                if cursor == ScanCursor::START {
                    break;
                }
                // A client keeps a number only.
                cursor = ScanCursor::from_u64(cursor.to_u64());
                if calls % 3 == 0 && calls < 300 {
                    churn(&mut keyspace, &mut random, tag);
                }
            }
            let missed: Vec<_> = stay.iter().filter(|name| !seen.contains(*name)).collect();
            assert!(missed.is_empty(), "seed {seed}: missed {missed:?}");
        }
    }
}

#[test]
fn every_number_is_a_cursor() {
    let mut keyspace = keyspace(1);
    (0..1000).for_each(|number| set(&mut keyspace, &format!("key:{number}"), Expiry::Clear));
    let mut random = fastrand::Rng::with_seed(1);
    for cursor in
        [1, u64::MAX, u64::MAX - 1, 1 << 50, (1 << 50) - 1].into_iter().chain((0..1000).map(|_| random.u64(..)))
    {
        let cursor = ScanCursor::from_u64(cursor);
        let next = keyspace.scan(0, cursor, 10, NOW, &mut |name, _| assert!(slot_of(name) >= cursor.slot()));
        assert!(next > cursor || next == ScanCursor::START);
    }
}

#[test]
fn a_call_of_scan_looks_at_about_its_budget() {
    let mut keyspace = keyspace(1);
    (0..5000).for_each(|number| set(&mut keyspace, &format!("{{t}}{number}"), Expiry::Clear));
    let mut cursor = ScanCursor::START;
    loop {
        let mut visited = 0;
        cursor = keyspace.scan(0, cursor, 10, NOW, &mut |_, _| visited += 1);
        assert!((1..10 + 64).contains(&visited), "{visited}");
        if cursor == ScanCursor::START {
            break;
        }
    }
}

/// The most entries that one insert or removal copied from page to page, and the most bytes that came or went.
fn dearest_step(keyspace: &mut Keyspace, mut step: impl FnMut(&mut Keyspace, usize), count: usize) -> (u64, usize) {
    let (mut moved_max, mut bytes_max) = (0, 0);
    for number in 0..count {
        let before = keyspace.databases[0].ledger;
        step(keyspace, number);
        let after = keyspace.databases[0].ledger;
        moved_max = moved_max.max(after.moved - before.moved);
        bytes_max = bytes_max.max(after.bytes.abs_diff(before.bytes));
    }
    (moved_max, bytes_max)
}

#[test]
fn no_insert_and_no_removal_does_more_than_one_page_of_work() {
    // Far over 512 pages in one slot, so that the directory goes through all its shapes.
    for tag in ["{one slot}", ""] {
        let mut keyspace = keyspace(3);
        let count = 100_000;
        let grow = |keyspace: &mut Keyspace, number: usize| set(keyspace, &format!("{tag}{number}"), Expiry::Clear);
        let (moved, bytes) = dearest_step(&mut keyspace, grow, count);
        assert!(moved <= 64, "an insert moved {moved} entries");
        // A chunk of the directory, the directory's list, and the pages of the split.
        assert!(bytes <= 4096 + 2048 + 2 * 4096, "an insert took {bytes} bytes");
        let shrink = |keyspace: &mut Keyspace, number: usize| remove(keyspace, &format!("{tag}{number}"));
        let (moved, bytes) = dearest_step(&mut keyspace, shrink, count);
        assert!(moved <= 2 * 64, "a removal moved {moved} entries");
        assert!(bytes <= 4096 + 2048 + 4 * 4096, "a removal gave {bytes} bytes back");
        assert_eq!(keyspace.used_bytes(), 0);
    }
}

#[test]
fn pages_keep_to_their_size() {
    let mut keyspace = keyspace(5);
    (0..50_000).for_each(|number| set(&mut keyspace, &format!("{{t}}{number}"), Expiry::Clear));
    let table = keyspace.databases[0].table(slot_of(b"{t}")).unwrap();
    let longest = (0..table.page_count()).map(|index| table.page(index).len()).max().unwrap();
    assert!(longest < 64, "{longest} keys in a page");
    (0..49_000).for_each(|number| remove(&mut keyspace, &format!("{{t}}{number}")));
    let table = keyspace.databases[0].table(slot_of(b"{t}")).unwrap();
    assert!(table.page_count() < 1000 / 3, "{} pages for 1000 keys", table.page_count());
}

#[test]
fn expiry_is_complete_and_in_time() {
    let mut keyspace = keyspace(7);
    let mut random = fastrand::Rng::with_seed(7);
    let mut times = Vec::new();
    for number in 0..50_000 {
        let at = NOW + random.i64(0..20_000);
        times.push(at);
        set(&mut keyspace, &format!("volatile:{number}"), Expiry::At(at));
        set(&mut keyspace, &format!("lasting:{number}"), Expiry::Clear);
    }
    for second in 0..22 {
        let now = NOW + second * 1000 + 500;
        let mut steps = 0;
        while keyspace.expire_step(now, 500).more {
            steps += 1;
            assert!(steps < 1000, "the walk does not end");
        }
        // At most a second late, never early.
        let late = times.iter().filter(|at| **at > now - 1000).count();
        let due = times.iter().filter(|at| **at >= now).count();
        let left = keyspace.volatile_len(0);
        assert!((due..=late).contains(&left), "second {second}: {left} of {due}..={late}");
    }
    assert_eq!((keyspace.volatile_len(0), keyspace.len(0)), (0, 50_000));
    assert_eq!(keyspace.statistics.expired, 50_000);
    assert_eq!(keyspace.statistics.expired_lazily, 0);
}

#[test]
fn a_step_of_expiry_keeps_to_its_budget() {
    let mut keyspace = keyspace(9);
    (0..30_000).for_each(|number| set(&mut keyspace, &format!("{number}"), Expiry::At(NOW)));
    loop {
        let before = keyspace.databases[0].ledger.moved;
        let progress = keyspace.expire_step(NOW + 5000, 100);
        assert!(progress.expired < 100 + 64);
        assert!(keyspace.databases[0].ledger.moved - before <= 2 * 64 * 100);
        if !progress.more {
            break;
        }
    }
    assert_eq!(keyspace.len(0), 0);
}

#[test]
fn times_spread_wide_do_not_make_the_walk_spin() {
    let mut keyspace = keyspace(11);
    let mut random = fastrand::Rng::with_seed(11);
    let day_ms = 86_400_000;
    (0..100_000).for_each(|number| {
        set(&mut keyspace, &format!("{number}"), Expiry::At(NOW + random.i64(0..day_ms)));
    });
    // Ten minutes of a day: about 700 of the 100,000 come due. Each is one page among the few of its slot.
    let (mut steps, mut expired) = (0, 0);
    for tenth in 0..6000 {
        loop {
            let progress = keyspace.expire_step(NOW + tenth * 100, 1);
            expired += progress.expired;
            steps += 1;
            if !progress.more {
                break;
            }
        }
    }
    assert!((500..900).contains(&expired), "{expired}");
    // A step of budget one visits one page; without due keys a call visits none.
    assert!(steps - 6000 < expired * 4, "{steps} steps for {expired} keys");
}

#[test]
fn keys_whose_time_is_put_off_cost_one_visit_each() {
    let mut keyspace = keyspace(13);
    let now = |second: i64| NOW + second * 1000;
    let mut steps = 0;
    for second in 0..30 {
        for number in 0..1000 {
            let name = format!("session:{number}");
            let key = keyspace.hasher().clone();
            let key = Key::new(name.as_bytes(), &key);
            keyspace.set_string(0, &key, b"x", Expiry::At(now(second + 10)), now(second));
        }
        while keyspace.expire_step(now(second), 1).more {
            steps += 1;
        }
    }
    assert_eq!((keyspace.len(0), keyspace.statistics.expired), (1000, 0));
    // Nearly each of the thousand has a page of its own; three times in 30 seconds its bound of ten is reached.
    assert!(steps <= 3 * 1000 * 2, "{steps}");
}

#[test]
fn flushed_memory_comes_back_in_slices() {
    let mut keyspace = keyspace(15);
    (0..20_000).for_each(|number| set(&mut keyspace, &format!("{number}"), Expiry::Clear));
    let hasher = keyspace.hasher().clone();
    keyspace.set_string(0, &Key::new(b"huge", &hasher), &vec![b'x'; 1 << 20], Expiry::Clear, NOW);
    assert!(keyspace.used_bytes() > 1 << 20);
    assert_eq!(keyspace.flush(None), 20_001);
    assert_eq!((keyspace.len(0), keyspace.used_bytes()), (0, 0));
    let mut calls = 0;
    while keyspace.collect_garbage(100) {
        calls += 1;
    }
    assert!(calls > 100, "{calls} calls freed 20,000 keys");
    assert!(!keyspace.collect_garbage(1));
    set(&mut keyspace, "again", Expiry::Clear);
    assert_eq!(keyspace.len(0), 1);
}

#[test]
fn random_keys_are_fair() {
    let mut keyspace = keyspace(17);
    // One slot with half of the keys, the others spread out.
    for number in 0..100 {
        set(&mut keyspace, &format!("{{t}}{number}"), Expiry::Clear);
        set(&mut keyspace, &format!("{number}"), Expiry::Clear);
        set(&mut keyspace, &format!("over:{number}"), Expiry::At(NOW - 1));
    }
    let mut random = fastrand::Rng::with_seed(17);
    let mut counts = std::collections::HashMap::new();
    for _ in 0..20_000 {
        *counts.entry(keyspace.random_key(0, &mut random, NOW).unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 200);
    // A hundred each; five standard deviations.
    assert!(counts.values().all(|count| (50..=150).contains(count)), "{counts:?}");
    assert_eq!(keyspace.random_key(1, &mut random, NOW), None);
}

#[test]
fn an_untouched_database_costs_next_to_nothing() {
    let keyspace = Keyspace::new(16, KeyHasher::with_seed(1));
    assert!(keyspace.databases.iter().all(|database| database.groups.capacity() == 0));
    assert!(size_of::<Database>() <= 160, "{}", size_of::<Database>());
    assert_eq!(size_of::<crate::values::Table>(), 16);
}
