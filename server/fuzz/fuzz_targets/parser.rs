//! Any bytes, in any pieces: the same commands and the same error.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torc_server::connection::parser::check_pieces(data));
