//! The account of open connections, for `max.connections` and `max.connections.per.ip`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The connections that are open now.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_ip: Mutex<BTreeMap<IpAddr, usize>>,
    count: AtomicU64,
    next_id: AtomicU64,
}

/// One open connection; dropping it takes it off the account.
pub(crate) struct Counted<'a> {
    connections: &'a Connections,
    ip: IpAddr,
}

impl Connections {
    /// A number that no connection had before.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// How many are open.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts a connection from `ip` in, or says which limit it would break.
    pub(crate) fn admit(
        &self,
        ip: IpAddr,
        max: u64,
        max_per_ip: u64,
    ) -> Result<Counted<'_>, &'static str> {
        if self.count() >= max {
            return Err("max.connections reached");
        }
        let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_ip.entry(ip).or_default();
        if *open as u64 >= max_per_ip {
            return Err("max.connections.per.ip reached");
        }
        *open += 1;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(Counted { connections: self, ip })
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut by_ip = self.connections.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_ip.get_mut(&self.ip) {
            *open -= 1;
            if *open == 0 {
                by_ip.remove(&self.ip);
            }
        }
        self.connections.count.fetch_sub(1, Ordering::Relaxed);
    }
}
