//! Who coordinates a group, and requests that only this broker answers.
//!
//! In: a group's id and a request about it. Out: the response, after the coordinator was looked up
//! (FindCoordinator: batched from version 4 on, KIP-699; one key before) and looked up again when
//! it moved, still loads or can not be reached (14, 15, 16).
//!
//! Invariant: a broker that answered 15 or 16, or did not answer, is asked nothing more about the
//! group before the next lookup.
//!
//! Start at [`Client::find_coordinator`] and [`Client::ask_coordinator`]; [`CoordinatorLink`] is the
//! connection that a group's member keeps for itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::BrokerId;
use protocol::messages::FindCoordinatorRequest;
use protocol::messages::find_coordinator_response::FindCoordinatorResponse;
use protocol::{ErrorCode, Request, StrBytes};

use crate::client::Client;
use crate::error::{BrokerError, ClientError, RequestError};
use crate::link::{Link, Pending, SendOptions};
use crate::metadata::Node;

/// The key type of groups (`FindCoordinatorRequest.CoordinatorType`).
const GROUP: i8 = 0;

/// Whether `code` says that another broker has to be asked.
pub(crate) fn is_elsewhere(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator)
}

impl Client {
    /// Asks once who coordinates `group`.
    pub async fn find_coordinator(&self, group: &StrBytes) -> Result<Node, ClientError> {
        let key = group.clone();
        let build = move |version: i16| {
            let request = FindCoordinatorRequest { key_type: GROUP, ..Default::default() };
            match version {
                4.. => FindCoordinatorRequest { coordinator_keys: vec![key.clone()], ..request },
                _ => FindCoordinatorRequest { key: key.clone(), ..request },
            }
        };
        let response = self.send_any_versioned(build).await?;
        let node = coordinator_of(group, response)?;
        self.learn_coordinator(group, node.clone());
        Ok(node)
    }

    /// Asks the coordinator of `group` until the answer is final or the API time limit passes.
    ///
    /// `build` makes the request for the negotiated version, at most `version_max`; `judge` takes
    /// the response apart. What it refuses with a retriable code is asked again.
    pub(crate) async fn ask_coordinator<R, T>(
        &self,
        group: &StrBytes,
        version_max: i16,
        build: impl Fn(i16) -> R + Clone + Send + 'static,
        judge: impl Fn(R::Response) -> Result<T, BrokerError>,
    ) -> Result<T, ClientError>
    where
        R: Request + Send + Sync + 'static,
    {
        self.retrying(async || {
            let broker = match self.known_coordinator(group) {
                Some(broker) => broker,
                None => self.find_coordinator(group).await?.id,
            };
            let limit = self.config().request_timeout;
            let options = SendOptions { version_max, ..SendOptions::within(limit) };
            let sent = match self.broker(broker) {
                Ok(link) => self.send_versioned(&link, build.clone(), options).await,
                Err(error) => Err(error),
            };
            let answer = sent.map_err(ClientError::from).and_then(|response| Ok(judge(response)?));
            if answer.as_ref().is_err_and(moved) {
                self.forget_coordinator(group, broker);
            }
            answer
        })
        .await
    }
}

/// Whether the coordinator is to be looked up again after `error`.
fn moved(error: &ClientError) -> bool {
    match error {
        ClientError::Request(error) => error.is_retriable(),
        error => error.code().is_some_and(is_elsewhere),
    }
}

/// The answer for `group` out of either form of the response.
fn coordinator_of(
    group: &StrBytes,
    response: FindCoordinatorResponse,
) -> Result<Node, BrokerError> {
    let node = |id, host: &StrBytes, port| Node {
        id: BrokerId(id),
        host: host.detached(),
        port,
        rack: None,
    };
    if let Some(found) = response.coordinators.iter().find(|found| found.key == *group) {
        BrokerError::check(found.error_code, found.error_message.clone())?;
        return Ok(node(found.node_id, &found.host, found.port));
    }
    BrokerError::check(response.error_code, response.error_message)?;
    if response.host.is_empty() {
        let code = ErrorCode::CoordinatorNotAvailable;
        return Err(BrokerError { code, message: None });
    }
    Ok(node(response.node_id, &response.host, response.port))
}

/// A connection of its own to the coordinator of one group: a JoinGroup waits at the broker for all
/// members, and neither fetches nor other groups shall wait behind it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CoordinatorLink {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    group: StrBytes,
    link: Mutex<Option<(BrokerId, Link)>>,
}

impl CoordinatorLink {
    pub(crate) fn new(client: &Client, group: StrBytes) -> CoordinatorLink {
        let inner = Inner { client: client.clone(), group, link: Mutex::new(None) };
        CoordinatorLink { inner: Arc::new(inner) }
    }

    fn known(&self) -> MutexGuard<'_, Option<(BrokerId, Link)>> {
        // Nothing under this lock awaits or runs foreign code.
        self.inner.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The coordinator, when one is believed in.
    pub(crate) fn broker(&self) -> Option<BrokerId> {
        self.known().as_ref().map(|(broker, _)| *broker)
    }

    /// Another broker has to be found before the next request.
    pub(crate) fn forget(&self) {
        if let Some((broker, _)) = self.known().take() {
            self.inner.client.forget_coordinator(&self.inner.group, broker);
        }
    }

    /// Queues a request on the open way to the coordinator; `None` while none is known.
    pub(crate) fn submit<R: Request + Send + Sync + 'static>(
        &self,
        build: impl FnOnce(i16) -> R + Send + 'static,
        options: SendOptions,
    ) -> Option<Result<Pending<R>, RequestError>> {
        let (_, link) = self.known().clone()?;
        Some(link.submit_versioned(build, self.inner.client.client_id(), options))
    }

    /// Sends a request to the coordinator, which is looked up once if it is not known, and waits for
    /// the response. A coordinator that does not answer is forgotten.
    pub(crate) async fn call<R: Request + Send + Sync + 'static>(
        &self,
        build: impl FnOnce(i16) -> R + Send + 'static,
        options: SendOptions,
    ) -> Result<R::Response, ClientError> {
        let known = self.known().clone();
        let (broker, link) = match known {
            Some(known) => known,
            None => self.find().await?,
        };
        let sent = self.inner.client.send_versioned(&link, build, options).await;
        if sent.as_ref().is_err_and(RequestError::is_retriable) {
            self.forget_if(broker);
        }
        Ok(sent?)
    }

    async fn find(&self) -> Result<(BrokerId, Link), ClientError> {
        let node = self.inner.client.find_coordinator(&self.inner.group).await?;
        let mut known = self.known();
        // Two calls may look at once; they share one connection.
        if let Some(known) = known.as_ref().filter(|(broker, _)| *broker == node.id) {
            return Ok(known.clone());
        }
        let link = self.inner.client.own_link(&node.address());
        *known = Some((node.id, link.clone()));
        Ok((node.id, link))
    }

    /// A new connection to the same broker: what waits on the old one is not waited for.
    pub(crate) fn reconnect(&self) {
        let mut known = self.known();
        let view = self.inner.client.view();
        let node = known.as_ref().and_then(|(broker, _)| view.brokers.get(broker));
        *known = node.map(|node| (node.id, self.inner.client.own_link(&node.address())));
    }

    fn forget_if(&self, broker: BrokerId) {
        if self.broker() == Some(broker) {
            self.forget();
        }
    }

    /// A response came with `code`: whether it moves the group elsewhere, which is remembered.
    pub(crate) fn note(&self, code: ErrorCode) -> bool {
        let elsewhere = is_elsewhere(code);
        if elsewhere {
            self.forget();
        }
        elsewhere
    }
}

/// The time limit of a request that the coordinator may hold back for `wait`: as much longer as
/// Kafka's clients give it (`JOIN_GROUP_TIMEOUT_LAPSE`).
pub(crate) fn patient(request_timeout: Duration, wait: Duration) -> SendOptions {
    SendOptions::within(request_timeout.max(wait.saturating_add(Duration::from_secs(5))))
}

#[cfg(test)]
mod tests {
    use protocol::messages::find_coordinator_response::Coordinator;

    use super::*;

    fn outcome(response: FindCoordinatorResponse) -> Result<String, ErrorCode> {
        let found = coordinator_of(&"g".into(), response);
        found.map(|node| format!("{} {}", node.id, node.address())).map_err(|error| error.code)
    }

    #[test]
    fn both_forms_of_the_answer_are_understood() {
        let single =
            FindCoordinatorResponse { node_id: 3, host: "h".into(), port: 9, ..Default::default() };
        assert_eq!(outcome(single), Ok("3 h:9".to_owned()));
        let one = |key: &str, node_id, error_code| Coordinator {
            key: key.into(),
            node_id,
            host: "h".into(),
            port: 9,
            error_code,
            ..Default::default()
        };
        let batch = |coordinators| FindCoordinatorResponse { coordinators, ..Default::default() };
        assert_eq!(outcome(batch(vec![one("x", 1, 0), one("g", 2, 0)])), Ok("2 h:9".to_owned()));
        let missing = ErrorCode::CoordinatorNotAvailable;
        assert_eq!(outcome(batch(vec![one("g", -1, missing.code())])), Err(missing));
        // Somebody else's answer, and none at all.
        assert_eq!(outcome(batch(vec![one("x", 1, 0)])), Err(missing));
        let loading = ErrorCode::CoordinatorLoadInProgress.code();
        let refused = FindCoordinatorResponse { error_code: loading, ..Default::default() };
        assert_eq!(outcome(refused), Err(ErrorCode::CoordinatorLoadInProgress));
    }
}
