//! Start and stop of a broker.
//!
//! Start: take the directory, replay the metadata, bind the listeners, register, open the logs, unfence,
//! serve. Stop: the same backwards, so that the next start finds everything closed.
//!
//! Invariant: no request is read before every log of the image is open.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metadata::config::{AdvertisedListener, BrokerConfig, Listener as ListenerConfig};
use metadata::controller::{ControllerError, Registration};
use metadata::{Endpoint, Restart};
use model::{BrokerEpoch, Uuid};
use prometheus_client::registry::Registry;
use runtime::{BoxFuture, Listener, Rng, Runtime};
use storage::{LogDir, LogDirError, LogDirOptions};

use crate::controller::{self, Controller, ControllerUnavailable, MetadataLogError};
use crate::ends::{self, PartitionEnds};
use crate::metrics::Metrics;
use crate::shared::{Parts, Shared};
use crate::topics::Topics;
use crate::{adopt, api, coordination, maintenance, scrape, server};

/// How long a stop waits for connections to get their last answers.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How many files besides the active segments are kept open.
const OPEN_FILES_MAX: usize = 1000;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, foreign or malformed.
    #[error("listen on {address} (listener {name})")]
    Listen {
        /// The listener's name.
        name: String,
        /// What `listeners` says.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The directory can not be used.
    #[error("open the log directory")]
    LogDir(#[from] LogDirError),
    /// The metadata log can not be read or written.
    #[error(transparent)]
    Metadata(#[from] MetadataLogError),
    /// The controller can not write down that this broker is there.
    #[error("register the broker")]
    Unavailable(#[from] ControllerUnavailable),
    /// The broker may not take part in this cluster.
    #[error("register the broker")]
    Register(#[from] ControllerError),
}

/// A running broker.
pub struct Broker {
    pub(crate) shared: Arc<Shared>,
    controller: Controller,
    addresses: Vec<SocketAddr>,
    metrics: Arc<Registry>,
}

/// A listener that is bound but not served yet.
struct Bound {
    name: Arc<str>,
    listener: Box<dyn Listener>,
    address: SocketAddr,
}

impl Broker {
    /// Starts a broker and returns when clients can use it.
    ///
    /// # Errors
    /// Nothing keeps running after an error.
    pub async fn start(runtime: Runtime, config: BrokerConfig) -> Result<Broker, StartError> {
        let config = Arc::new(config);
        // Before anything is written: a second broker on the same port is the most common slip.
        let bound = bind(&runtime, &config.listeners).await?;
        let log_dir = LogDir::open(runtime.clone(), log_dir_options(&config)).await?;
        let controller = controller::start(&runtime, Arc::clone(&config), &log_dir).await?;
        let epoch = register(&runtime, &config, &log_dir, &controller, &bound).await?;
        let shared = Arc::new(Shared::new(Parts {
            runtime: runtime.clone(),
            config: Arc::clone(&config),
            log_dir,
            image: controller.image.clone(),
            controller: controller.handle.clone(),
            broker_epoch: epoch,
            metrics: Arc::new(Metrics::new(api::SERVED.iter().map(|(key, _)| *key))),
        }));
        let metrics = Arc::new(scrape::registry(&shared));
        let image = shared.image.borrow();
        adopt::adopt(&shared.log_dir, &image, &config, &controller.handle).await?;
        let mut topics = Topics::new(Arc::clone(&shared));
        topics.apply(&shared.image.borrow()).await;
        runtime::spawn(&runtime, "topics", topics.run());
        let unfenced = controller.handle.unfence_broker(config.node_id, epoch).await?;
        unfenced.outcome?;
        shared.wait_applied(unfenced.offset).await;
        maintenance::start(&shared);
        let groups = coordination::run(Arc::clone(&shared));
        runtime::spawn(&runtime, "group-coordinators", groups);
        let addresses = bound.iter().map(|bound| bound.address).collect();
        for Bound { name, listener, .. } in bound {
            let server = server::run(Arc::clone(&shared), listener, name);
            runtime::spawn(&runtime, "listener", server);
        }
        Ok(Broker { shared, controller, addresses, metrics })
    }

    /// The addresses in use, in the order of `listeners`.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Asks around for what the metrics are to tell next, whenever it is called; it takes as long as
    /// the slowest group coordinator takes to answer, and no longer than a second.
    pub fn metrics_gathering(&self) -> impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || Box::pin(scrape::gather(Arc::clone(&shared)))
    }

    /// Gives the metrics as OpenMetrics text, whenever it is called.
    pub fn metrics(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let registry = Arc::clone(&self.metrics);
        move || scrape::metrics_text(&registry)
    }

    /// Says why the broker should get no requests now, whenever it is called; nothing means ready.
    pub fn readiness(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || scrape::why_not_ready(&shared)
    }

    /// Tells the ends of every open partition, whenever it is called.
    pub fn ends(&self) -> impl Fn() -> Vec<PartitionEnds> + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || ends::all(&shared)
    }

    /// Accepts and reads no more, answers what is in flight, closes the logs.
    pub async fn stop(self) {
        self.shared.stopping.raise();
        self.drain().await;
        self.controller.stop().await;
        let registry = self.shared.registry.borrow();
        // Side by side: closing waits for the disk.
        let mut closing = Vec::new();
        for topic in registry.topics() {
            for partition in topic.partitions.iter().flatten() {
                let (name, partition) = (topic.name.clone(), partition.clone());
                closing.push(runtime::spawn(&self.shared.runtime, "close-log", async move {
                    if let Err(error) = partition.close().await {
                        tracing::error!(topic = %name, %error, "close log");
                    }
                }));
            }
        }
        for task in closing {
            if task.join().await.is_err() {
                tracing::error!("a log was not closed");
            }
        }
        match self.shared.log_dir.close().await {
            Ok(true) => tracing::info!("stopped"),
            Ok(false) => tracing::warn!("stopped with logs offline: the next start recovers"),
            Err(error) => tracing::error!(%error, "close log directory"),
        }
    }

    /// Waits until every connection has its last answers.
    async fn drain(&self) {
        let drained = async {
            loop {
                let mut gone = std::pin::pin!(self.shared.connections_gone.notified());
                gone.as_mut().enable();
                if self.shared.connections.count() == 0 {
                    return;
                }
                gone.await;
            }
        };
        let clock = &*self.shared.runtime.clock;
        if runtime::timeout(clock, DRAIN_LIMIT, drained).await.is_err() {
            let open = self.shared.connections.count();
            tracing::warn!(open, "stopping with connections open");
        }
    }
}

fn log_dir_options(config: &BrokerConfig) -> LogDirOptions {
    LogDirOptions {
        path: config.log_dir.clone(),
        node_id: config.node_id,
        cluster_id: None,
        open_files_max: OPEN_FILES_MAX,
        journal_file_bytes: config.journal_bytes / 2,
    }
}

/// Binds all listeners or none.
async fn bind(runtime: &Runtime, listeners: &[ListenerConfig]) -> Result<Vec<Bound>, StartError> {
    let mut all = Vec::with_capacity(listeners.len());
    for config in listeners {
        let host = if config.host.is_empty() { "0.0.0.0" } else { &config.host };
        // An IPv6 address stands in brackets before its port.
        let address = match host.contains(':') {
            true => format!("[{host}]:{}", config.port),
            false => format!("{host}:{}", config.port),
        };
        let name = config.name.clone();
        let refused =
            |source| StartError::Listen { name: name.clone(), address: address.clone(), source };
        let listener = runtime.net.listen(&address).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        all.push(Bound { name: Arc::from(&*config.name), listener, address: bound });
    }
    Ok(all)
}

/// Takes this process into the cluster, fenced.
async fn register(
    runtime: &Runtime,
    config: &BrokerConfig,
    log_dir: &LogDir,
    controller: &Controller,
    bound: &[Bound],
) -> Result<BrokerEpoch, StartError> {
    let mut incarnation = [0; 16];
    runtime.random.stream("incarnation", 0).fill_bytes(&mut incarnation);
    let registration = Registration {
        broker: config.node_id,
        cluster_id: log_dir.cluster_id().to_owned(),
        incarnation: Uuid::from_random(incarnation),
        endpoints: endpoints(config, bound),
        rack: config.rack.clone(),
        restart: if log_dir.was_clean() { Restart::Clean } else { Restart::Unclean },
        // The directory's lock says that no other process has this broker's logs.
        is_other_alive: false,
    };
    Ok(controller.handle.register_broker(registration).await?.outcome?)
}

/// What clients are told: the advertised addresses, with the ports that were bound for port 0.
fn endpoints(config: &BrokerConfig, bound: &[Bound]) -> Vec<Endpoint> {
    let endpoint = |advertised: &AdvertisedListener| {
        let at = config.listeners.iter().position(|listener| listener.name == advertised.name)?;
        let (listener, bound) = (&config.listeners[at], bound.get(at)?);
        let host = match advertised.host.as_str() {
            // Without a name to give, the address itself, or this machine's own for "any".
            "" if bound.address.ip().is_unspecified() => "localhost".to_owned(),
            "" => bound.address.ip().to_string(),
            host => host.to_owned(),
        };
        let port = if advertised.port == 0 { bound.address.port() } else { advertised.port };
        Some(Endpoint {
            listener: advertised.name.clone(),
            host,
            port,
            security_protocol: listener.protocol,
        })
    };
    config.advertised_listeners.iter().filter_map(endpoint).collect()
}
