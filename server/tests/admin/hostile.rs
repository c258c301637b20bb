//! What is no HTTP, comes slowly, is too much, or comes too often.

use super::http::{Caller, get};
use super::server;
use crate::support::eventually;

#[test]
fn bad_requests_are_answered_once_and_end_their_own_connection() {
    let (_server, admin) = server(2, &[]);
    let host = "Host: localhost\r\n";
    let long = "x".repeat(100_000);
    let cases: Vec<(String, u16)> = vec![
        ("\r\n\r\n\x00\x01\u{7f}garbage\r\n\r\n".into(), 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03".into(), 400),
        ("*1\r\n$4\r\nPING\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /\r\n\r\n".into(), 400),
        (format!("GET / HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nabc"), 400),
        (format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("POST /ready HTTP/1.1\r\n{host}\r\n"), 405),
        (format!("DELETE / HTTP/1.1\r\n{host}\r\n"), 405),
        (format!("GET /../etc/passwd HTTP/1.1\r\n{host}Connection: close\r\n\r\n"), 404),
        (format!("GET //ready HTTP/1.1\r\n{host}Connection: close\r\n\r\n"), 404),
        (format!("GET /{long} HTTP/1.1\r\n{host}\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5000)), 431),
        (format!("GET / HTTP/3.0\r\n{host}\r\n"), 505),
    ];
    for (request, status) in cases {
        let shown: String = request.chars().take(60).collect();
        let mut caller = Caller::new(admin);
        caller.send(request.as_bytes());
        let answer = caller.answer(false).unwrap_or_else(|| panic!("no answer to {shown:?}"));
        assert_eq!(answer.status, status, "{shown:?}");
        assert!(answer.head.contains("Connection: close\r\n"), "{shown:?}");
        assert!(caller.is_closed(), "{shown:?} leaves the connection open");
        assert_eq!(get(admin, "/health").status, 200, "after {shown:?}");
    }
}

#[test]
fn half_a_request_is_nothing_when_its_sender_has_gone() {
    let (_server, admin) = server(1, &[]);
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for end in 0..request.len() {
        let mut caller = Caller::new(admin);
        caller.send(&request[..end]);
        caller.finish_sending();
        assert!(caller.is_closed(), "after {end} bytes");
    }
    // Who has said all and then listens only is answered.
    let mut caller = Caller::new(admin);
    caller.send(request);
    caller.finish_sending();
    assert_eq!(caller.answer(false).expect("an answer").status, 200);
}

#[test]
fn who_sends_slowly_is_told_and_hinders_nobody() {
    let (_server, admin) = server(2, &[]);
    let mut slow = Caller::new(admin);
    slow.send(b"GET /health HTTP/1.1\r\nHost: local");
    assert_eq!(get(admin, "/health").status, 200);
    assert_eq!(slow.answer(false).expect("it is told").status, 408);
    assert!(slow.is_closed());
    // Who asks for much and takes none of it is let go; others are answered meanwhile.
    let mut deaf = Caller::new(admin);
    for _ in 0..2000 {
        deaf.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    assert_eq!(get(admin, "/ready").status, 200);
}

#[test]
fn many_connections_leave_room_for_one_more() {
    let (server, admin) = server(2, &[]);
    let descriptors = server.descriptors();
    let mut silent: Vec<Caller> = (0..300).map(|_| Caller::new(admin)).collect();
    for caller in silent.iter_mut().step_by(3) {
        caller.send(b"GET /hea");
    }
    assert_eq!(get(admin, "/health").status, 200);
    assert_eq!(get(admin, "/ready").status, 200);
    eventually("most have gone", || server.descriptors() < descriptors + 100);
    // Who has been silent for longest has gone.
    assert!(silent[1].is_closed());
}
