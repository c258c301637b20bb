//! Making, naming and tuning sockets: the plain system calls around the ring's operations.

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use super::super::driver::{Address, Ends, SocketOptions};

/// Keepalive probes without an answer until the connection is dead.
const KEEPALIVE_PROBES: u32 = 3;

/// A socket that listens, on which no ring accepts yet. With an error nothing is bound.
pub fn listening_socket(address: &Address, backlog: u32) -> io::Result<OwnedFd> {
    listen(address, backlog, false)
}

/// A listening socket.
pub(super) fn listen(address: &Address, backlog: u32, reuse_port: bool) -> io::Result<OwnedFd> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    match address {
        Address::Tcp(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            if reuse_port {
                socket.set_reuse_port(true)?;
            }
            if address.is_ipv6() {
                // `bind * -::*` must be able to have both families on one port.
                socket.set_only_v6(true)?;
            }
            socket.bind(&SockAddr::from(*address))?;
            socket.listen(backlog)?;
            Ok(socket.into())
        }
        Address::Unix { path, mode } => {
            remove_stale_socket(path)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(path)?)?;
            socket.listen(backlog)?;
            if let Some(mode) = mode {
                fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
            }
            Ok(socket.into())
        }
    }
}

/// A socket file outlives its server; bind refuses while it is there. Anything but a socket is left alone.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// A socket to connect, and the address in the kernel's form.
pub(super) fn outgoing(address: &Address) -> io::Result<(OwnedFd, SockAddr)> {
    let address = match address {
        Address::Tcp(address) => SockAddr::from(*address),
        Address::Unix { path, .. } => SockAddr::unix(path)?,
    };
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    Ok((socket.into(), address))
}

/// Sets the options of a connection. What the socket does not know (a Unix socket has no TCP options) is no error.
pub(super) fn configure(socket: &OwnedFd, options: SocketOptions) {
    let socket = SockRef::from(socket);
    if socket.local_addr().is_ok_and(|address| address.is_unix()) {
        return;
    }
    let _ = socket.set_tcp_nodelay(options.no_delay);
    if options.keepalive_s == 0 {
        let _ = socket.set_keepalive(false);
        return;
    }
    // First probe after the interval, then three at a third of it: a dead peer is noticed within twice the interval.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(u64::from(options.keepalive_s)))
        .with_interval(Duration::from_secs(u64::from((options.keepalive_s / 3).max(1))))
        .with_retries(KEEPALIVE_PROBES);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// Both ends as text.
pub(super) fn ends(socket: &OwnedFd) -> Ends {
    let descriptor = Some(socket.as_raw_fd());
    let socket = SockRef::from(socket);
    let local = socket.local_addr().ok();
    let peer = socket.peer_addr().ok();
    let is_unix = local.as_ref().is_some_and(SockAddr::is_unix);
    if is_unix {
        // Only the listener's end has a path, and both are shown by it.
        let path = [&local, &peer].into_iter().flatten().find_map(|end| end.as_pathname().map(Path::to_path_buf));
        let name = format!("{}:0", path.unwrap_or_default().display());
        return Ends { peer: name.clone(), local: name, is_loopback: true, is_unix, descriptor };
    }
    let peer = peer.and_then(|end| end.as_socket());
    Ends {
        is_loopback: peer.is_some_and(|peer| peer.ip().is_loopback()),
        peer: name(peer),
        local: name(local.and_then(|end| end.as_socket())),
        is_unix,
        descriptor,
    }
}

/// `ip:port`, `[ip]:port` for IPv6, `?:0` for a connection that is gone.
fn name(end: Option<SocketAddr>) -> String {
    match end {
        Some(SocketAddr::V4(end)) => format!("{}:{}", end.ip(), end.port()),
        Some(SocketAddr::V6(end)) => format!("[{}]:{}", end.ip(), end.port()),
        None => "?:0".to_owned(),
    }
}
