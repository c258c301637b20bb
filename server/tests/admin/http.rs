//! A caller that speaks just enough HTTP, and looks closely at what it gets.

use crate::support::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A connection to an admin port.
pub(crate) struct Caller {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Caller {
    pub(crate) fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_nodelay(true).expect("TCP");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a limit");
        Self { stream, received: Vec::new() }
    }

    /// Bytes as they are; a server that has closed meanwhile does not take them.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn finish_sending(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// The next answer; none if the connection ends first.
    pub(crate) fn answer(&mut self, is_of_head: bool) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).expect("text");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("a status line");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let length: usize = if is_of_head { 0 } else { length.parse().expect("a number") };
        while self.received.len() < length {
            self.more()?;
        }
        let body = String::from_utf8(self.received.drain(..length).collect()).expect("text");
        Some(Answer { status: status.parse().expect("a number"), head, body })
    }

    fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                Some(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Whether nothing more comes: waits for the end.
    pub(crate) fn is_closed(&mut self) -> bool {
        while self.more().is_some() {}
        self.received.is_empty()
    }
}

/// One request on a connection of its own.
pub(crate) fn get(port: u16, path: &str) -> Answer {
    let mut caller = Caller::new(port);
    caller.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
    caller.answer(false).expect("an answer")
}
