//! Listeners as Kafka writes them: `NAME://HOST:PORT`.
//!
//! In: the values of `listeners`, `advertised.listeners`, `listener.security.protocol.map` and
//! `controller.listener.names`. Out: what to listen on, and what to tell clients.

use std::collections::BTreeMap;

use crate::config::definition::parts;
use crate::record::SecurityProtocol;

/// An address that the broker listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, such as `PLAINTEXT`.
    pub name: String,
    /// What is spoken on it.
    pub protocol: SecurityProtocol,
    /// The host or address; empty for all addresses of the machine.
    pub host: String,
    /// The port; 0 for any that is free.
    pub port: u16,
}

/// An address that clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedListener {
    /// The name of the listener.
    pub name: String,
    /// The host; empty for the name of the machine.
    pub host: String,
    /// The port; 0 for the one that is listened on.
    pub port: u16,
}

/// A value that names no listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenerError {
    /// Not of the form.
    #[error("`{text}` is no listener: write NAME://HOST:PORT, such as PLAINTEXT://localhost:9092")]
    Malformed {
        /// The part of the list.
        text: String,
    },
    /// Two of one name.
    #[error("listener `{name}` is there twice: give each its own name")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Two on one port.
    #[error("listeners `{first}` and `{second}` both have port {port}")]
    SamePort {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// The port.
        port: u16,
    },
    /// A name without a protocol.
    #[error(
        "no security protocol is known for listener `{name}`: add `{name}:PLAINTEXT` to \
         listener.security.protocol.map"
    )]
    NoProtocol {
        /// The name.
        name: String,
    },
    /// A part of the map that names no protocol.
    #[error("`{text}` maps no listener: write NAME:PROTOCOL, such as EXTERNAL:PLAINTEXT")]
    MalformedMap {
        /// The part.
        text: String,
    },
    /// Advertised, but not listened on.
    #[error("listener `{name}` is advertised, but not among the listeners: {known}")]
    NotListened {
        /// The name.
        name: String,
        /// The names that would do.
        known: String,
    },
    /// An address that no client can connect to.
    #[error(
        "listener `{name}` can not be advertised as {host}: clients can not connect to it; set \
         advertised.listeners to a name or address that they reach"
    )]
    NotReachable {
        /// The name.
        name: String,
        /// The host.
        host: String,
    },
    /// A protocol that klamm does not speak.
    #[error("listener `{name}` wants {protocol}, which klamm does not speak yet: use PLAINTEXT")]
    NotSpoken {
        /// The name.
        name: String,
        /// What it wants.
        protocol: &'static str,
    },
    /// Nothing to listen on.
    #[error("no listener for clients is left: add one, such as PLAINTEXT://localhost:9092")]
    None,
}

/// One `NAME://HOST:PORT`.
fn parse_one(text: &str) -> Option<AdvertisedListener> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        // An IPv6 address needs brackets, else its end is taken for the port.
        None if host.contains(':') => return None,
        None => host,
    };
    let name = name.trim().to_ascii_uppercase();
    let is_name = !name.is_empty() && !name.contains([':', '/', ' ']);
    is_name.then(|| {
        Some(AdvertisedListener { name, host: host.to_owned(), port: port.parse().ok()? })
    })?
}

/// The addresses in a list, whose names differ.
fn parse_list(value: &str) -> Result<Vec<AdvertisedListener>, ListenerError> {
    let mut found: Vec<AdvertisedListener> = Vec::new();
    for text in parts(value) {
        let one =
            parse_one(text).ok_or_else(|| ListenerError::Malformed { text: text.to_owned() })?;
        if found.iter().any(|other| other.name == one.name) {
            return Err(ListenerError::Duplicate { name: one.name });
        }
        found.push(one);
    }
    Ok(found)
}

/// `listener.security.protocol.map`.
fn parse_map(value: &str) -> Result<BTreeMap<String, SecurityProtocol>, ListenerError> {
    let mut map = BTreeMap::new();
    for text in parts(value) {
        let malformed = || ListenerError::MalformedMap { text: text.to_owned() };
        let (name, protocol) = text.split_once(':').ok_or_else(malformed)?;
        let protocol = SecurityProtocol::ALL
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(protocol.trim()))
            .ok_or_else(malformed)?;
        map.insert(name.trim().to_ascii_uppercase(), protocol);
    }
    Ok(map)
}

/// What the settings of listeners say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listeners {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) advertised: Vec<AdvertisedListener>,
}

/// Reads the listeners for clients. Those of the controller are left out: the quorum of one has
/// nobody to talk to.
pub(crate) fn resolve_listeners(
    listeners: &str,
    advertised: Option<&str>,
    map: &str,
    controller_names: &[String],
) -> Result<Listeners, ListenerError> {
    let map = parse_map(map)?;
    let is_controller =
        |name: &str| controller_names.iter().any(|other| other.eq_ignore_ascii_case(name));
    let all = parse_list(listeners)?;
    check_ports(&all)?;
    let mut resolved = Vec::new();
    for AdvertisedListener { name, host, port } in all {
        if is_controller(&name) {
            continue;
        }
        let protocol =
            *map.get(&name).ok_or_else(|| ListenerError::NoProtocol { name: name.clone() })?;
        if protocol != SecurityProtocol::Plaintext {
            return Err(ListenerError::NotSpoken { name, protocol: protocol.name() });
        }
        resolved.push(Listener { name, protocol, host, port });
    }
    if resolved.is_empty() {
        return Err(ListenerError::None);
    }
    let advertised: Vec<AdvertisedListener> = match advertised {
        Some(text) if !text.trim().is_empty() => parse_list(text)?
            .into_iter()
            .filter(|advertised| !is_controller(&advertised.name))
            .collect(),
        _ => resolved.iter().map(advertise).collect(),
    };
    check_advertised(&advertised, &resolved)?;
    Ok(Listeners { listeners: resolved, advertised })
}

fn advertise(listener: &Listener) -> AdvertisedListener {
    let Listener { name, host, port, .. } = listener.clone();
    // Whoever listens everywhere is reached by the machine's name.
    let host = if is_everywhere(&host) { String::new() } else { host };
    AdvertisedListener { name, host, port }
}

fn is_everywhere(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
}

fn check_ports(all: &[AdvertisedListener]) -> Result<(), ListenerError> {
    for (at, first) in all.iter().enumerate() {
        for second in &all[at + 1..] {
            let is_same = first.port == second.port && first.port != 0;
            // One port may serve an IPv4 and an IPv6 address.
            if is_same && first.host.contains(':') == second.host.contains(':') {
                return Err(ListenerError::SamePort {
                    first: first.name.clone(),
                    second: second.name.clone(),
                    port: first.port,
                });
            }
        }
    }
    Ok(())
}

fn check_advertised(
    advertised: &[AdvertisedListener],
    listeners: &[Listener],
) -> Result<(), ListenerError> {
    for AdvertisedListener { name, host, .. } in advertised {
        if !listeners.iter().any(|listener| listener.name == *name) {
            let known: Vec<&str> = listeners.iter().map(|l| l.name.as_str()).collect();
            return Err(ListenerError::NotListened { name: name.clone(), known: known.join(", ") });
        }
        if !host.is_empty() && is_everywhere(host) {
            return Err(ListenerError::NotReachable { name: name.clone(), host: host.clone() });
        }
    }
    Ok(())
}
