//! Addresses and names: node 5 is 10.0.0.5 and, for itself alone, 127.0.0.1 and ::1.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::world::{NodeId, World};

/// The address of a node: 10.0.0.0/8, counted.
pub fn address_of(node: NodeId) -> IpAddr {
    let [_, high, middle, low] = node.0.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, high, middle, low))
}

/// The node that has `ip` as seen from `from`; `None` when there is no route.
pub(super) fn node_at(from: NodeId, ip: IpAddr) -> Option<NodeId> {
    match ip {
        _ if ip.is_loopback() => Some(from),
        IpAddr::V4(ip) => match ip.octets() {
            [10, high, middle, low] => Some(NodeId(u32::from_be_bytes([0, high, middle, low]))),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

/// Whether `node` can listen on `ip`.
pub(super) fn is_own(node: NodeId, ip: IpAddr) -> bool {
    ip.is_unspecified() || node_at(node, ip) == Some(node)
}

/// Where a connect to `target` goes: "any address" means this machine.
pub(super) fn destination(target: SocketAddr) -> SocketAddr {
    match target.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), target.port()),
        _ => target,
    }
}

/// The address of a client on `node` that connects to `target`.
pub(super) fn source(node: NodeId, target: SocketAddr, port: u16) -> SocketAddr {
    match target.ip() {
        ip if ip.is_loopback() => SocketAddr::new(ip, port),
        _ => SocketAddr::new(address_of(node), port),
    }
}

/// The socket address that `text` names: `ip:port`, or `host:port` with the name of a node.
pub(super) fn resolve(world: &World, text: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bad = || {
        let text = format!("{text:?} is not host:port");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    if host.is_empty() || host.contains(['[', ']', ':', '/', ' ', '\0']) {
        return Err(bad());
    }
    if host == "localhost" {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let node = world.node_named(host).ok_or_else(|| {
        let text = format!("the host of {text:?} does not resolve");
        io::Error::new(io::ErrorKind::NotFound, text)
    })?;
    Ok(SocketAddr::new(address_of(node), port))
}
