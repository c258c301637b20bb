//! Where a host is. Addresses are read at once; names are looked up by the system, which may take seconds: so a thread of its own does
//! that, and the task looks now and then whether it is through.

use crate::tasks::Tasks;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::time::Duration;

/// How often the task looks.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The addresses of a host, in the order in which they are to be tried; none if it has none.
pub(super) async fn addresses(tasks: &Tasks, host: &[u8], port: u16) -> Vec<SocketAddr> {
    let Ok(host) = std::str::from_utf8(host) else { return Vec::new() };
    if let Some(addresses) = known(host) {
        return addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    }
    let (sender, receiver) = sync_channel(1);
    let name = host.to_owned();
    let lookup = move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
        // Whoever asked may have stopped waiting.
        let _ = sender.send(found);
    };
    if std::thread::Builder::new().name("name-lookup".to_owned()).spawn(lookup).is_err() {
        return Vec::new();
    }
    loop {
        match receiver.try_recv() {
            Ok(found) => return found,
            Err(TryRecvError::Disconnected) => return Vec::new(),
            Err(TryRecvError::Empty) => tasks.executor.sleep(LOOK_AGAIN).await,
        }
    }
}

/// What needs no look-up.
fn known(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    host.parse().ok().map(|address| vec![address])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_this_host_are_known() {
        assert_eq!(known("127.0.0.1"), Some(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(known("::1"), Some(vec![Ipv6Addr::LOCALHOST.into()]));
        assert_eq!(known("LocalHost").map(|addresses| addresses.len()), Some(2));
        assert_eq!(known("example.org"), None);
    }
}
