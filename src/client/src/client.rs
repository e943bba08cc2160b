//! A cluster as one thing to talk to: links to its brokers and what is known of its metadata.
//!
//! In: requests for a certain broker, for the leader of a partition or for any broker. Out: their
//! responses. Producer, consumer and admin all stand on a [`Client`]; clones share everything.
//!
//! Start at [`Client::connect`], [`Client::send`] and [`Client::refresh`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{BrokerId, Instant, TopicId};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{MetadataRequest, MetadataResponse};
use protocol::{ErrorCode, Request, StrBytes};
use rand_core::Rng;
use runtime::{RandomStream, Runtime};

use crate::config::ClientConfig;
use crate::error::{BrokerError, ClientError, RequestError};
use crate::link::{Link, Pending, SendOptions};
use crate::metadata::{Node, Topic, View};

/// A Kafka cluster, from a client's side. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    config: Arc<ClientConfig>,
    client_id: StrBytes,
    state: Mutex<State>,
}

struct State {
    /// By `host:port`.
    links: BTreeMap<String, Link>,
    view: Arc<View>,
    /// The coordinator of each group, as long as it is believed to be the one.
    coordinators: BTreeMap<StrBytes, BrokerId>,
    random: RandomStream,
    next_link: u64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// Which topics a metadata request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicSet {
    /// All there are.
    All,
    /// None: only the brokers.
    None,
    /// These.
    Named(Vec<StrBytes>),
    /// Those with these ids.
    Ids(Vec<TopicId>),
}

impl Client {
    /// A client that has not talked to anybody yet.
    pub fn new(runtime: &Runtime, config: ClientConfig) -> Client {
        let client_id = StrBytes::from(config.client_id.as_str());
        let state = State {
            links: BTreeMap::new(),
            view: Arc::new(View::default()),
            coordinators: BTreeMap::new(),
            random: runtime.random.stream("client", config.instance),
            // Room for as many links as a client can have.
            next_link: config.instance << 32,
        };
        let (runtime, config) = (runtime.clone(), Arc::new(config));
        Client { inner: Arc::new(Inner { runtime, config, client_id, state: Mutex::new(state) }) }
    }

    /// A client that has asked one of the bootstrap servers who the brokers are.
    ///
    /// Each server is tried once; the error is the last one's.
    pub async fn connect(runtime: &Runtime, config: ClientConfig) -> Result<Client, ClientError> {
        let client = Client::new(runtime, config);
        client.refresh(TopicSet::None, false).await?;
        Ok(client)
    }

    /// The world this client acts in.
    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    /// The settings.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// What is known of the cluster now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.state().view)
    }

    pub(crate) fn now(&self) -> Instant {
        self.inner.runtime.clock.now()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock awaits or runs foreign code.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link to `address`, made on first use.
    fn link(&self, address: &str) -> Link {
        let mut state = self.state();
        if let Some(link) = state.links.get(address) {
            return link.clone();
        }
        let link = self.start_link(&mut state, address);
        state.links.insert(address.to_owned(), link.clone());
        link
    }

    fn start_link(&self, state: &mut State, address: &str) -> Link {
        let random = self.inner.runtime.random.stream("client link", state.next_link);
        state.next_link += 1;
        Link::start(&self.inner.runtime, &self.inner.config, address, random)
    }

    /// A connection to `address` that nobody else uses: what waits at the broker on one connection
    /// holds up all that was sent behind it.
    pub(crate) fn own_link(&self, address: &str) -> Link {
        self.start_link(&mut self.state(), address)
    }

    /// The coordinator that was found for `group`, until it is forgotten.
    pub(crate) fn known_coordinator(&self, group: &StrBytes) -> Option<BrokerId> {
        self.state().coordinators.get(group).copied()
    }

    /// Remembers who coordinates `group`, and where that broker listens.
    pub(crate) fn learn_coordinator(&self, group: &StrBytes, node: Node) {
        let id = node.id;
        self.update_view(|view| view.with_node(node));
        self.state().coordinators.insert(group.detached(), id);
    }

    /// `broker` is not the coordinator of `group`, or can not be reached.
    pub(crate) fn forget_coordinator(&self, group: &StrBytes, broker: BrokerId) {
        let mut state = self.state();
        if state.coordinators.get(group) == Some(&broker) {
            state.coordinators.remove(group);
        }
    }

    /// A number that no other part of this client has, for its random streams.
    pub(crate) fn next_instance(&self) -> u64 {
        let mut state = self.state();
        state.next_link += 1;
        state.next_link - 1
    }

    pub(crate) fn client_id(&self) -> StrBytes {
        self.inner.client_id.clone()
    }

    /// The link to a broker that metadata knows.
    pub fn broker(&self, broker: BrokerId) -> Result<Link, RequestError> {
        let address = self.view().brokers.get(&broker).map(Node::address);
        let address = address.ok_or(RequestError::UnknownBroker(broker))?;
        Ok(self.link(&address))
    }

    /// Queues a request for `broker`; requests to one broker arrive in the order of these calls.
    pub fn submit<R: Request + Send + Sync + 'static>(
        &self,
        broker: BrokerId,
        request: R,
        options: SendOptions,
    ) -> Result<Pending<R>, RequestError> {
        self.broker(broker)?.submit(request, self.inner.client_id.clone(), options)
    }

    /// Sends a request to `broker` and waits for the response.
    pub async fn send<R: Request + Send + Sync + 'static>(
        &self,
        broker: BrokerId,
        request: R,
    ) -> Result<R::Response, RequestError> {
        let link = self.broker(broker)?;
        self.send_on(&link, request).await
    }

    async fn send_on<R: Request + Send + Sync + 'static>(
        &self,
        link: &Link,
        request: R,
    ) -> Result<R::Response, RequestError> {
        let options = SendOptions::within(self.inner.config.request_timeout);
        self.send_versioned(link, move |_| request, options).await
    }

    /// Sends what `build` makes for the negotiated version on `link` and waits for the response.
    pub(crate) async fn send_versioned<R: Request + Send + Sync + 'static>(
        &self,
        link: &Link,
        build: impl FnOnce(i16) -> R + Send + 'static,
        options: SendOptions,
    ) -> Result<R::Response, RequestError> {
        let pending = link.submit_versioned(build, self.inner.client_id.clone(), options)?;
        pending.response().await?.ok_or_else(|| RequestError::Protocol {
            address: Arc::clone(link.address()),
            reason: format!("the {:?} response is empty", R::KEY),
        })
    }

    /// Sends a request to some broker: those that are connected and have little to do first, then
    /// the bootstrap servers. Tries each until one answers.
    pub async fn send_any<R: Request + Clone + Send + Sync + 'static>(
        &self,
        request: R,
    ) -> Result<R::Response, RequestError> {
        self.send_any_versioned(move |_| request.clone()).await
    }

    /// As [`Client::send_any`], for requests whose fields depend on the negotiated version.
    pub(crate) async fn send_any_versioned<R: Request + Send + Sync + 'static>(
        &self,
        build: impl Fn(i16) -> R + Clone + Send + 'static,
    ) -> Result<R::Response, RequestError> {
        let mut last = None;
        let options = SendOptions::within(self.inner.config.request_timeout);
        for address in self.candidates() {
            let link = self.link(&address);
            match self.send_versioned(&link, build.clone(), options).await {
                Ok(response) => return Ok(response),
                // A broker that went away: another one may be there. What a broker refuses, another
                // refuses as well.
                Err(error) if error.is_retriable() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or(RequestError::UnknownBroker(BrokerId::NONE)))
    }

    /// The addresses to try, in order, each once.
    fn candidates(&self) -> Vec<String> {
        let mut state = self.state();
        let known: Vec<String> = state.view.brokers.values().map(Node::address).collect();
        let mut ranked: Vec<(bool, usize, u64, String)> = Vec::new();
        for address in known {
            let link = state.links.get(&address);
            let connected = link.is_some_and(Link::is_connected);
            let open = link.map_or(0, Link::open_requests);
            ranked.push((!connected, open, state.random.next_u64(), address));
        }
        ranked.sort();
        let mut addresses: Vec<String> = ranked.into_iter().map(|rank| rank.3).collect();
        for address in &self.inner.config.bootstrap_servers {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Asks for metadata once and returns the new view.
    ///
    /// `create` lets the broker create named topics that are missing (`auto.create.topics.enable`).
    pub async fn refresh(&self, topics: TopicSet, create: bool) -> Result<Arc<View>, ClientError> {
        let request = metadata_request(&topics, create);
        let response: MetadataResponse = self.send_any(request).await?;
        BrokerError::check(response.error_code, None)?;
        Ok(self.learn(&topics, &response))
    }

    fn learn(&self, topics: &TopicSet, response: &MetadataResponse) -> Arc<View> {
        let now = self.now();
        let mut state = self.state();
        let mut view = state.view.apply(response, now);
        if *topics == TopicSet::All {
            let present =
                |name: &StrBytes| response.topics.iter().any(|t| t.name.as_ref() == Some(name));
            view.topics.retain(|name, _| present(name));
        }
        state.view = Arc::new(view);
        // Links to addresses that nobody has any more end when their last request is answered.
        let mut addresses: Vec<String> = state.view.brokers.values().map(Node::address).collect();
        addresses.extend(self.inner.config.bootstrap_servers.iter().cloned());
        state.links.retain(|address, _| addresses.contains(address));
        Arc::clone(&state.view)
    }

    /// Replaces the view by what `change` makes of it; `None` leaves it.
    pub(crate) fn update_view(&self, change: impl FnOnce(&View) -> Option<View>) {
        let mut state = self.state();
        if let Some(view) = change(&state.view) {
            state.view = Arc::new(view);
        }
    }

    /// The topic, once it is known and usable: from the view, or asked for until it is there or the
    /// API time limit passes. With `create` a missing topic is created, without it is an error.
    pub async fn topic(&self, name: &StrBytes, create: bool) -> Result<Topic, ClientError> {
        if let Some(topic) =
            self.view().topics.get(name).filter(|topic| topic.error == ErrorCode::None)
        {
            return Ok(topic.clone());
        }
        self.retrying(async || {
            let topics = TopicSet::Named(vec![name.clone()]);
            let view = self.refresh(topics, create).await?;
            let topic = view.topics.get(name);
            let topic = topic.ok_or_else(|| ClientError::UnknownTopic { topic: name.clone() })?;
            match topic.error {
                ErrorCode::None => Ok(topic.clone()),
                ErrorCode::UnknownTopicOrPartition if !create => {
                    Err(ClientError::UnknownTopic { topic: name.clone() })
                }
                code => Err(BrokerError { code, message: None }.into()),
            }
        })
        .await
    }

    /// Runs `attempt` until it succeeds, fails for good or the API time limit passes.
    ///
    /// An unknown topic fails for good: whoever wants it created asks for that.
    pub(crate) async fn retrying<T, F>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let limit = self.inner.config.api_timeout;
        let deadline = self.now() + limit;
        let mut failures = 0;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let unknown = matches!(error, ClientError::UnknownTopic { .. });
            let unreachable = matches!(error, ClientError::Request(RequestError::Connect { .. }));
            if !error.is_retriable() || unknown || (unreachable && self.view().brokers.is_empty()) {
                return Err(error);
            }
            failures += 1;
            let pause = self.retry_pause(failures);
            if self.now() + pause >= deadline {
                return Err(ClientError::TimedOut { limit, last: Some(Box::new(error)) });
            }
            runtime::sleep(&*self.inner.runtime.clock, pause).await;
        }
    }

    /// How long to wait before attempt number `failures + 1`.
    pub(crate) fn retry_pause(&self, failures: u32) -> Duration {
        self.inner.config.retry_backoff.pause(failures, &mut self.state().random)
    }
}

fn metadata_request(topics: &TopicSet, create: bool) -> MetadataRequest {
    let topics = match topics {
        TopicSet::All => None,
        TopicSet::None => Some(Vec::new()),
        TopicSet::Named(names) => Some(
            names
                .iter()
                .map(|name| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() })
                .collect(),
        ),
        TopicSet::Ids(ids) => Some(
            ids.iter()
                .map(|id| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() })
                .collect(),
        ),
    };
    MetadataRequest { topics, allow_auto_topic_creation: create, ..Default::default() }
}
