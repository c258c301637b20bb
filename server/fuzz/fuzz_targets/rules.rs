//! Any text as a file of users: refused, or told again in lines that lead to the same users.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torc_server::access::check_rules(data));
