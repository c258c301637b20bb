//! A blocking client: bytes out, one reply at a time in.

use super::{PATIENCE, Reply};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

/// What a connection has received: one reply at a time out.
#[derive(Default)]
pub struct Replies {
    received: Vec<u8>,
    /// How much of `received` has been handed out.
    used: usize,
}

impl Replies {
    /// The next reply that comes from there; none when it ends.
    pub fn next(&mut self, stream: &mut impl Read) -> io::Result<Option<Reply>> {
        loop {
            if let Some((reply, length)) = Reply::parse(self.rest()) {
                self.used += length;
                return Ok(Some(reply));
            }
            self.received.drain(..std::mem::take(&mut self.used));
            let mut chunk = [0; 16 * 1024];
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What has not been handed out.
    fn rest(&self) -> &[u8] {
        &self.received[self.used..]
    }
}

/// A connection to a server.
pub struct Client {
    pub stream: TcpStream,
    replies: Replies,
}

impl Client {
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).expect("a connection")
    }

    pub fn try_connect(port: u16) -> std::io::Result<Self> {
        Self::try_connect_to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// By another address of this machine.
    pub fn connect_to(address: IpAddr, port: u16) -> Self {
        Self::try_connect_to(SocketAddr::from((address, port))).expect("a connection")
    }

    fn try_connect_to(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, replies: Replies::default() })
    }

    /// Sends bytes as they are. Whether the server takes the bytes; it does not if it has closed the connection meanwhile.
    pub fn sends(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
    }

    /// The next reply; none when the server has closed the connection.
    pub fn receive(&mut self) -> Option<Reply> {
        let received = self.replies.next(&mut self.stream);
        let rest = self.replies.rest().escape_ascii();
        match received {
            Ok(None) => {
                assert!(self.replies.rest().is_empty(), "closed in the middle of a reply: {rest}");
                None
            }
            Ok(reply) => reply,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => None,
            Err(error) => panic!("no reply: {error}; so far {rest}"),
        }
    }

    /// The next reply; none if the connection ends, wherever it does.
    pub fn receive_if_open(&mut self) -> Option<Reply> {
        self.replies.next(&mut self.stream).unwrap_or(None)
    }

    /// The next reply, which must come.
    pub fn reply(&mut self) -> Reply {
        self.receive().expect("the connection is open")
    }

    /// Sends a command of arguments that are any bytes.
    pub fn call_bytes(&mut self, arguments: &[&[u8]]) -> Reply {
        self.send(&encode(arguments));
        self.reply()
    }

    /// Sends a command written as in a transcript and gives its reply.
    pub fn call(&mut self, line: &str) -> Reply {
        self.send(&encode(&words(line)));
        self.reply()
    }

    /// The same, with the reply as text.
    pub fn ask(&mut self, line: &str) -> String {
        self.call(line).to_string()
    }

    /// A field of INFO.
    pub fn info(&mut self, field: &str) -> String {
        let report = self.call("INFO everything").text();
        let found = report.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("INFO has no {field}:\n{report}")).to_string()
    }

    /// A field of INFO that is a whole number.
    pub fn info_number(&mut self, field: &str) -> u64 {
        self.info(field).parse().expect("a number")
    }

    /// Whether the server closes the connection, whatever it still sends.
    pub fn is_closed_by_server(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// No more bytes will come from here.
    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
    }
}

/// A command in the protocol's framing.
pub fn encode<T: AsRef<[u8]>>(arguments: &[T]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The arguments of a line: words between spaces, or between double quotes with `\r \n \t \" \\ \xHH`.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut letters = line.bytes().peekable();
    while let Some(first) = letters.next() {
        match first {
            b' ' => {}
            b'"' => {
                let mut word = Vec::new();
                loop {
                    match letters.next().unwrap_or_else(|| panic!("an open quote: {line}")) {
                        b'"' => break,
                        b'\\' => word.push(match letters.next().expect("an escaped letter") {
                            b'r' => b'\r',
                            b'n' => b'\n',
                            b't' => b'\t',
                            b'x' => {
                                let digits = [letters.next(), letters.next()].map(|digit| digit.expect("two digits"));
                                u8::from_str_radix(str::from_utf8(&digits).expect("digits"), 16).expect("digits")
                            }
                            other => other,
                        }),
                        other => word.push(other),
                    }
                }
                words.push(word);
            }
            _ => {
                let mut word = vec![first];
                while let Some(letter) = letters.next_if(|letter| *letter != b' ') {
                    word.push(letter);
                }
                words.push(word);
            }
        }
    }
    words
}
