//! One encrypted connection: records in, plain bytes out, and the reverse. It knows no socket and no shard, so it can go where the
//! work is: its handshake to the thread for that, the rest with its connection.
//!
//! ```text
//!   received ──> incoming ──records──> plain        incoming: what has come of a record that is not whole (16 KiB at the most; in a
//!                    │ alerts, tickets, new keys                handshake, of a message of 64 KiB); none while nothing comes
//!                    v
//!   plain ────> outgoing ──────> to be sent         outgoing: taken by whoever sends; none while nothing is to be sent
//! ```
//! rustls holds positions in `incoming` between calls, so each call gets the same bytes again, without those it is done with.

use super::Acceptor;
use rustls::Error;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use std::fmt;
use std::sync::Arc;

/// Plain bytes in a record, at the most.
pub const RECORD_BYTES_MAX: usize = 16 << 10;
/// What a record adds to them, at the most: header, type, nonce, tag.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// The first byte of a record of a handshake, and the first of its version: how TLS begins.
const BEGINNING: [u8; 2] = [22, 3];

/// Whether bytes that begin a connection are TLS.
pub fn is_tls(bytes: &[u8]) -> bool {
    bytes.starts_with(&BEGINNING)
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come before it can be used.
    Handshaking,
    /// In use.
    Open,
    /// The client will send no more, and has said so.
    Ended,
}

/// One that cannot go on; why, for the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl Failure {
    fn ours(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// An encrypted connection.
pub struct Session {
    connection: UnbufferedServerConnection,
    acceptor: Arc<Acceptor>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// A whole message of TLS has come.
    has_begun: bool,
    /// It has ended by a failure: rustls is not asked again.
    has_failed: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("incoming", &self.incoming.len()).finish_non_exhaustive()
    }
}

impl Session {
    /// One that begins.
    pub fn new(acceptor: Arc<Acceptor>) -> Result<Self, Failure> {
        let connection = UnbufferedServerConnection::new(acceptor.server.clone()).map_err(Failure::ours)?;
        Ok(Self {
            connection,
            acceptor,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            has_begun: false,
            has_failed: false,
        })
    }

    /// Takes what has been received; [`Session::read`] looks at it.
    pub fn take(&mut self, received: &[u8]) {
        self.incoming.extend_from_slice(received);
    }

    /// Gives back what only a handshake needs.
    pub(super) fn trim(&mut self) {
        self.incoming.shrink_to_fit();
    }

    /// Works off what has come; plain bytes are appended. After a failure there may be an alert to be sent, and nothing else.
    pub fn read(&mut self, plain: &mut Vec<u8>) -> Result<Progress, Failure> {
        self.check()?;
        let mut used = 0;
        let outcome = loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(&mut self.incoming[used..]);
            let outcome = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        None => break None,
                        Some(Ok(record)) => {
                            discard += record.discard;
                            plain.extend_from_slice(record.payload);
                        }
                        Some(Err(error)) => break Some(Err(error)),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, &mut self.outgoing);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(Progress::Handshaking)),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(Progress::Open)),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Ok(Progress::Ended)),
                // Data ahead of the handshake are not asked for.
                Ok(_) => Some(Err(Error::HandshakeNotComplete)),
                Err(error) => Some(Err(error)),
            };
            used += discard;
            self.has_begun |= used > 0;
            if let Some(outcome) = outcome {
                break outcome;
            }
        };
        match outcome {
            Ok(Progress::Ended) => self.incoming = Vec::new(),
            Ok(_) => drop(self.incoming.drain(..used)),
            Err(error) => {
                let failure = self.failure(&error);
                self.incoming.drain(..used);
                self.write_alert();
                self.incoming = Vec::new();
                return Err(failure);
            }
        }
        outcome.map_err(Failure::ours)
    }

    /// Reads what has been received right now, in a buffer that is lent for that.
    pub fn read_now(
        &mut self,
        received: &[u8],
        buffer: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) -> Result<Progress, Failure> {
        buffer.clear();
        buffer.extend_from_slice(&self.incoming);
        buffer.extend_from_slice(received);
        let mut rest = std::mem::replace(&mut self.incoming, std::mem::take(buffer));
        let outcome = self.read(plain);
        // The buffer stays with the lender; the rest of a record has what it needs.
        rest.clear();
        if self.incoming.is_empty() {
            rest = Vec::new();
        } else {
            rest.extend_from_slice(&self.incoming);
        }
        *buffer = std::mem::replace(&mut self.incoming, rest);
        outcome
    }

    fn check(&self) -> Result<(), Failure> {
        if self.has_failed { Err(Failure("it has failed before".to_owned())) } else { Ok(()) }
    }

    fn failure(&self, error: &Error) -> Failure {
        let is_foreign = !self.has_begun && !is_tls(&self.incoming) && matches!(error, Error::InvalidMessage(_));
        Failure(match error {
            Error::InvalidMessage(_) if is_foreign => "it does not speak TLS, and this is a port for TLS".to_owned(),
            error => error.to_string(),
        })
    }

    /// What rustls wants to tell the client about a failure; it is asked for nothing else any more.
    fn write_alert(&mut self) {
        self.has_failed = true;
        while self.connection.wants_write()
            && let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(mut data)), .. } =
                self.connection.process_tls_records(&mut self.incoming)
        {
            encode(&mut data, &mut self.outgoing);
        }
    }

    /// Encrypts bytes behind what is to be sent.
    pub fn encrypt(&mut self, plain: &[u8]) -> Result<(), Failure> {
        let room = plain.len() + (plain.len() / RECORD_BYTES_MAX + 1) * RECORD_OVERHEAD_BYTES;
        self.write(room, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Says that nothing more will come from here.
    pub fn close(&mut self) -> Result<(), Failure> {
        self.write(RECORD_OVERHEAD_BYTES * 2, |traffic, room| traffic.queue_close_notify(room))
    }

    fn write(
        &mut self,
        mut room: usize,
        mut act: impl FnMut(&mut WriteTraffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Failure> {
        loop {
            self.check()?;
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(&mut self.incoming);
            self.has_failed |= state.is_err();
            let outcome = match state.map_err(Failure::ours)? {
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut data, &mut self.outgoing);
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::PeerClosed => None,
                ConnectionState::WriteTraffic(mut traffic) => {
                    let from = self.outgoing.len();
                    self.outgoing.resize(from + room, 0);
                    let written = act(&mut traffic, &mut self.outgoing[from..]);
                    self.outgoing.truncate(from + written.as_ref().map_or(0, |written| *written));
                    match written {
                        Ok(_) => Some(Ok(())),
                        Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                            room = required_size;
                            None
                        }
                        Err(error) => Some(Err(Failure::ours(error))),
                    }
                }
                _ => Some(Err(Failure("nothing can be sent".to_owned()))),
            };
            self.incoming.drain(..discard);
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    /// Whether anything is to be sent.
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// What is to be sent; `spare` takes its place.
    pub fn take_outgoing(&mut self, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.outgoing, spare)
    }

    /// The user that the client's certificate names, if it has one.
    pub fn user(&self) -> Option<String> {
        let certificate = self.connection.peer_certificates()?.first()?;
        self.acceptor.user_of(certificate)
    }
}

type WriteTraffic<'a> = rustls::unbuffered::WriteTraffic<'a, rustls::server::ServerConnectionData>;

/// Appends a message of TLS's own.
fn encode(data: &mut EncodeTlsData<'_, rustls::server::ServerConnectionData>, outgoing: &mut Vec<u8>) {
    let from = outgoing.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) {
        outgoing.resize(from + required_size, 0);
        let written = data.encode(&mut outgoing[from..]).unwrap_or(0);
        outgoing.truncate(from + written);
    }
}
