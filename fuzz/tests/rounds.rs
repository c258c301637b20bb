//! A short run of every target, from fixed seeds. Long ones: `torc-fuzz --seconds 600`.

use torc_fuzz::TARGETS;

/// How many inputs a target gets.
fn rounds() -> u64 {
    std::env::var("TORC_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

#[test]
fn hostile_bytes_are_refused_or_borne() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty());
        seeds.iter().for_each(|seed| (target.check)(seed));
        for seed in 0..rounds() {
            let input = target.input(&seeds, seed);
            let outcome = std::panic::catch_unwind(|| (target.check)(&input));
            assert!(outcome.is_ok(), "{} --seed {seed}", target.name);
        }
    }
}
