//! What every connection and handler of one broker shares.

use std::sync::Arc;

use runtime::Runtime;
use runtime::sync::{Notify, Semaphore, watch};

use crate::frame_reader::BUDGET_UNIT_BYTES;
use crate::open_connections::Connections;
use crate::registry::Registry;
use crate::settings::Settings;
use crate::stopping::Stopping;

/// The broker as its tasks see it.
pub(crate) struct Shared {
    /// The world.
    pub(crate) runtime: Runtime,
    /// Limits and addresses.
    pub(crate) settings: Settings,
    /// The topics that are open now.
    pub(crate) registry: watch::Sender<Registry>,
    /// Memory for requests, in units of [`BUDGET_UNIT_BYTES`].
    pub(crate) request_memory: Arc<Semaphore>,
    /// How many units there are in all.
    pub(crate) request_memory_units: u32,
    /// Who is connected.
    pub(crate) connections: Connections,
    /// Woken when the last connection is gone.
    pub(crate) connections_gone: Notify,
    /// Raised when the broker stops.
    pub(crate) stopping: Stopping,
}

impl Shared {
    pub(crate) fn new(runtime: Runtime, settings: Settings) -> Shared {
        let units = (settings.request_memory_bytes / BUDGET_UNIT_BYTES).max(1);
        let units = units.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Shared {
            runtime,
            settings,
            registry: watch::channel(Registry::default()).0,
            request_memory: Arc::new(Semaphore::new(units)),
            request_memory_units: units as u32,
            connections: Connections::default(),
            connections_gone: Notify::new(),
            stopping: Stopping::default(),
        }
    }
}
