//! Heads of requests on the admin port: any bytes are the beginning of a head, a request, or refused; and pieces make the same
//! as the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torc_server::control_plane::http::{HEAD_BYTES_MAX, Parsed, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    match &whole {
        Parsed::Partial => assert!(bytes.len() < HEAD_BYTES_MAX),
        Parsed::Request(_, length) => assert_eq!(parse(&bytes[..*length]), whole),
        Parsed::Refused(_) => {}
    }
    let early = parse(&bytes[..bytes.len() / 2]);
    assert!(early == Parsed::Partial || early == whole);
});
