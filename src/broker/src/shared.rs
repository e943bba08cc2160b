//! What every connection and handler of one broker shares.

use std::sync::Arc;
use std::time::Duration;

use metadata::Image;
use metadata::config::BrokerConfig;
use model::{BrokerEpoch, Offset};
use runtime::Runtime;
use runtime::sync::{Notify, Semaphore, watch};
use storage::LogDir;

use crate::controller::ControllerHandle;
use crate::dir_health::DirHealth;
use crate::fetch::SessionCache;
use crate::fetch::memory::FetchMemory;
use crate::frame_reader::BUDGET_UNIT_BYTES;
use crate::groups::Groups;
use crate::metrics::Metrics;
use crate::open_connections::Connections;
use crate::producer_ids::ProducerIds;
use crate::registry::Registry;
use crate::stopping::Stopping;

/// Memory for requests where `queued.max.request.bytes` sets no bound.
const REQUEST_MEMORY_DEFAULT_BYTES: usize = 512 * 1024 * 1024;

/// The broker as its tasks see it.
pub(crate) struct Shared {
    /// The world.
    pub(crate) runtime: Runtime,
    /// `server.properties`.
    pub(crate) config: Arc<BrokerConfig>,
    /// Where the logs are.
    pub(crate) log_dir: LogDir,
    /// The cluster's metadata, as committed.
    pub(crate) image: watch::Receiver<Image>,
    /// Changes the cluster's metadata.
    pub(crate) controller: ControllerHandle,
    /// Hands out producer ids.
    pub(crate) producer_ids: ProducerIds,
    /// The topics that are open now.
    pub(crate) registry: watch::Sender<Registry>,
    /// The group coordinators that run here.
    pub(crate) groups: Groups,
    /// Incremental fetch sessions.
    pub(crate) fetch_sessions: SessionCache,
    /// Memory for answers to Fetch.
    pub(crate) fetch_memory: Arc<FetchMemory>,
    /// Memory for requests, in units of [`BUDGET_UNIT_BYTES`].
    pub(crate) request_memory: Arc<Semaphore>,
    /// How many units there are in all.
    pub(crate) request_memory_units: u32,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Whether the disk can be trusted.
    pub(crate) dir_health: Arc<DirHealth>,
    /// Who is connected.
    pub(crate) connections: Connections,
    /// Woken when the last connection is gone.
    pub(crate) connections_gone: Notify,
    /// Raised when the broker stops.
    pub(crate) stopping: Stopping,
}

/// What a broker needs to have before it can share it.
pub(crate) struct Parts {
    pub(crate) runtime: Runtime,
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) log_dir: LogDir,
    pub(crate) image: watch::Receiver<Image>,
    pub(crate) controller: ControllerHandle,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) metrics: Arc<Metrics>,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Shared {
        let Parts { runtime, config, log_dir, image, controller, broker_epoch, metrics } = parts;
        let bytes = config.queued_max_request_bytes.unwrap_or(REQUEST_MEMORY_DEFAULT_BYTES);
        let units = (bytes / BUDGET_UNIT_BYTES).max(1);
        let units = units.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        let node = config.node_id;
        let ids = ProducerIds::start(&runtime, controller.clone(), node, broker_epoch);
        let slots = config.max_incremental_fetch_session_cache_slots;
        let sessions = SessionCache::new(slots, runtime.random.stream("fetch-session", 0));
        Shared {
            log_dir,
            image,
            producer_ids: ids,
            registry: watch::channel(Registry::default()).0,
            groups: Groups::default(),
            fetch_sessions: sessions,
            fetch_memory: Arc::default(),
            metrics,
            dir_health: Arc::default(),
            request_memory: Arc::new(Semaphore::new(units)),
            request_memory_units: units as u32,
            connections: Connections::default(),
            connections_gone: Notify::new(),
            stopping: Stopping::default(),
            runtime,
            config,
            controller,
        }
    }

    /// The metadata as this broker serves it.
    pub(crate) fn applied_image(&self) -> Image {
        self.registry.borrow().image.clone()
    }

    /// Waits until this broker has opened what the image of `offset` says.
    pub(crate) async fn wait_applied(&self, offset: Offset) {
        let mut registry = self.registry.subscribe();
        // The table lives as long as the broker.
        let _ = registry.wait_for(|registry| registry.image.offset() >= offset).await;
    }

    /// Waits for `duration`; `false` when the broker stops meanwhile.
    pub(crate) async fn pause(&self, duration: Duration) -> bool {
        runtime::select! {
            () = self.stopping.wait() => false,
            () = runtime::sleep(&*self.runtime.clock, duration) => true,
        }
    }
}
