//! Where the server listens: at the start, and after CONFIG SET of `port`, `tls-port` or `bind`.
//!
//! ```text
//!   configuration ──> places      the addresses of `bind` with `port` and `tls-port`; the Unix socket
//!
//!   the start, or CONFIG SET on any shard, under the configuration's lock:
//!     places that are new      bound, and listened on, at once: what is wrong with one is the command's error
//!     places that are gone     shut: nobody new gets in
//!   shard 0, told by a message:
//!     accepts on the new ones, and closes those that are gone
//! ```
//!
//! * All or nothing: whatever is new listens before anything ends. Only where a new place cannot be had while one that goes
//!   has it (`0.0.0.0` and `127.0.0.1` with one port) is that one shut before, and opened again if the change fails.
//! * A place that stays is not touched, and nor is any connection: who is in stays in.

use crate::config::{BindAddress, Config};
use crate::reactor::driver::Address;
use crate::reactor::uring::listening_socket;
use socket2::SockRef;
use std::fmt;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A door of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub address: Address,
    /// Whether who comes in there speaks TLS.
    pub is_encrypted: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => address.fmt(to),
            Address::Unix { path, .. } => path.display().fmt(to),
        }
    }
}

/// Why the server does not listen as it is told.
#[derive(Debug)]
pub enum ListenError {
    /// A host has no address.
    Unknown(String),
    /// A place cannot be had.
    Place(Place, io::Error),
    /// None of the addresses can be had that all could have been done without.
    Nowhere,
}

impl fmt::Display for ListenError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(host) => {
                write!(to, "The address '{host}' of 'bind' is unknown: name one that this machine has.")
            }
            Self::Place(place, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                to,
                "Could not create server TCP listening socket {place}: bind: Address already in use. \
                 Another server listens there: stop it, or choose another 'port' or 'bind'."
            ),
            Self::Place(place, error) => write!(to, "Could not create server listening socket {place}: {error}"),
            Self::Nowhere => to.write_str("Failed listening on any of the addresses of 'bind'."),
        }
    }
}

/// A place that is wanted, and whether it can be done without (`bind -address`).
struct Wanted {
    place: Place,
    is_optional: bool,
}

/// What is to be done by the shard that accepts.
#[derive(Debug, Default)]
pub struct Changes {
    /// Sockets that listen, to be accepted on.
    pub opened: Vec<(Place, OwnedFd)>,
    /// Places that are no more.
    pub ended: Vec<Place>,
}

/// The places of a server.
#[derive(Debug, Default)]
pub struct Listening {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Each with a duplicate of its socket, to shut it by.
    open: Vec<(Place, OwnedFd)>,
    changes: Changes,
}

impl Listening {
    /// Listens where a configuration says, and there only; in how many places. What is to be done then is
    /// [`Listening::take_changes`].
    pub fn change(&self, config: &Config) -> Result<usize, ListenError> {
        let wanted = wanted(config)?;
        let state = &mut *self.state();
        let stays = |place: &Place| wanted.iter().any(|wanted| wanted.place == *place);
        let gone: Vec<Place> =
            state.open.iter().map(|(place, _)| place).filter(|place| !stays(place)).cloned().collect();
        let backlog = config.network.backlog;
        let mut shut = Vec::new();
        let opened = open(&wanted, state, backlog, |state, place| {
            let shut_before = shut.len();
            for gone in gone.iter().filter(|gone| are_of_one_port(gone, place)) {
                if !shut.contains(&gone) {
                    state.shut(gone);
                    shut.push(gone);
                }
            }
            shut.len() > shut_before
        });
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                shut.iter().for_each(|place| state.open_again(place, backlog));
                return Err(error);
            }
        };
        gone.iter().for_each(|place| state.end(place));
        opened.into_iter().for_each(|door| state.accept_on(door));
        Ok(state.open.len())
    }

    /// What has changed since it was last asked.
    pub fn take_changes(&self) -> Changes {
        std::mem::take(&mut self.state().changes)
    }

    /// The server stops: nobody gets in any more.
    pub fn end(&self) {
        let state = &mut *self.state();
        let open: Vec<Place> = state.open.iter().map(|(place, _)| place.clone()).collect();
        open.iter().for_each(|place| state.end(place));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_open(&self, place: &Place) -> bool {
        self.open.iter().any(|(open, _)| open == place)
    }

    /// Nobody new gets in here.
    fn shut(&self, place: &Place) {
        for (_, socket) in self.open.iter().filter(|(open, _)| open == place) {
            // It fails only if it is shut already.
            let _ = SockRef::from(socket).shutdown(Shutdown::Both);
        }
    }

    fn end(&mut self, place: &Place) {
        self.shut(place);
        self.open.retain(|(open, _)| open != place);
        let not_yet_known = self.changes.opened.len();
        self.changes.opened.retain(|(opened, _)| opened != place);
        if self.changes.opened.len() == not_yet_known {
            self.changes.ended.push(place.clone());
        }
    }

    fn accept_on(&mut self, Door { place, socket, duplicate }: Door) {
        self.open.push((place.clone(), duplicate));
        self.changes.opened.push((place, socket));
    }

    /// A change has failed for which this place was shut.
    fn open_again(&mut self, place: &Place, backlog: u32) {
        self.end(place);
        match Door::open(place, backlog) {
            Ok(door) => self.accept_on(door),
            Err(error) => tracing::warn!("Not listening on {place} any more: {error}"),
        }
    }
}

/// A place that is listened on, and nobody accepts yet.
struct Door {
    place: Place,
    socket: OwnedFd,
    duplicate: OwnedFd,
}

impl Door {
    fn open(place: &Place, backlog: u32) -> io::Result<Self> {
        let socket = listening_socket(&place.address, backlog)?;
        Ok(Self { place: place.clone(), duplicate: socket.try_clone()?, socket })
    }
}

/// Opens all that is wanted and not open. `make_room` ends what a place cannot be had for, if it may; whether it has.
fn open(
    wanted: &[Wanted],
    state: &State,
    backlog: u32,
    mut make_room: impl FnMut(&State, &Place) -> bool,
) -> Result<Vec<Door>, ListenError> {
    let (mut opened, mut stay) = (Vec::new(), 0);
    for Wanted { place, is_optional } in wanted {
        if state.is_open(place) {
            stay += 1;
            continue;
        }
        let mut door = Door::open(place, backlog);
        if door.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) && make_room(state, place) {
            door = Door::open(place, backlog);
        }
        match door {
            Ok(door) => opened.push(door),
            Err(error) if *is_optional => tracing::warn!("Not listening on {place}: {error}"),
            Err(error) => return Err(ListenError::Place(place.clone(), error)),
        }
    }
    if !wanted.is_empty() && opened.is_empty() && stay == 0 {
        return Err(ListenError::Nowhere);
    }
    Ok(opened)
}

fn are_of_one_port(a: &Place, b: &Place) -> bool {
    matches!((&a.address, &b.address), (Address::Tcp(a), Address::Tcp(b)) if a.port() == b.port())
}

/// The addresses of `bind` with each port, and the Unix socket.
fn wanted(config: &Config) -> Result<Vec<Wanted>, ListenError> {
    let network = &config.network;
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut add = |address, is_encrypted, is_optional| {
        let place = Place { address, is_encrypted };
        // Named twice, it is one; two names may have one address.
        if !wanted.iter().any(|wanted| wanted.place == place) {
            wanted.push(Wanted { place, is_optional });
        }
    };
    let ports = [(network.port, false), (config.tls.port, true)];
    for (port, is_encrypted) in ports.into_iter().filter(|(port, _)| *port != 0) {
        let mut add_tcp = |ip: IpAddr, is_optional| {
            add(Address::Tcp(SocketAddr::new(ip, port)), is_encrypted, is_optional);
        };
        for bind in &network.bind {
            resolve(bind)?.into_iter().for_each(|ip| add_tcp(ip, bind.optional));
        }
    }
    if let Some(path) = &network.unix_socket {
        let mode = (network.unix_socket_mode != 0).then_some(network.unix_socket_mode);
        add(Address::Unix { path: path.clone(), mode }, false, false);
    }
    Ok(wanted)
}

fn resolve(bind: &BindAddress) -> Result<Vec<IpAddr>, ListenError> {
    let host = match bind.host.as_str() {
        "*" => "0.0.0.0",
        "::*" => "::",
        host => host,
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![ip]);
    }
    match (host, 0).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
        Err(_) if bind.optional => Ok(Vec::new()),
        Err(_) => Err(ListenError::Unknown(bind.host.clone())),
    }
}
