//! The target of this name; inputs are changed by libFuzzer, and by our own changes, which know how lengths are written.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use torc_fuzz::{Target, guided_change};

const NAME: &str = "rules";

fuzz_target!(|data: &[u8]| Target::checked(NAME, data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    guided_change(NAME, data, size, max_size, seed, fuzzer_mutate)
});
