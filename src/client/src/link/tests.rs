//! Links to brokers that are old, slow, confused or gone.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::frame::{FrameDecoder, RequestFrame, decode_request_header, encode_response};
use protocol::messages::{
    ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse, ListGroupsRequest,
};
use protocol::{ApiKey, ErrorCode};
use runtime::tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::testing::{FakeBroker, FakeNet, Reaction, all_versions, answer, run};

const LIMIT: SendOptions =
    SendOptions { limit: Duration::from_secs(10), version_max: i16::MAX, answered: true };

fn link(runtime: &Runtime) -> Link {
    let random = runtime.random.stream("link", 0);
    Link::start(runtime, &Arc::new(ClientConfig::default()), "broker:1", random)
}

async fn describe(link: &Link) -> Result<DescribeClusterResponse, RequestError> {
    let pending = link.submit(DescribeClusterRequest::default(), "me".into(), LIMIT)?;
    Ok(pending.response().await?.expect("a response"))
}

fn serve(net: &FakeNet, script: impl FnMut(RequestFrame) -> Reaction + Send + 'static) {
    FakeBroker::start(net, "broker:1", Arc::default(), script);
}

fn named(request: &RequestFrame, controller_id: i32) -> Reaction {
    answer(request, &DescribeClusterResponse { controller_id, ..Default::default() })
}

#[test]
fn requests_are_pipelined_and_answered_in_order() {
    run(async |runtime, net| {
        let mut count = 0;
        serve(&net, move |request| {
            count += 1;
            assert_eq!(request.client_id.as_deref(), Some("me"));
            named(&request, count)
        });
        let link = link(&runtime);
        let pending: Vec<_> = (0..50)
            .map(|_| link.submit(DescribeClusterRequest::default(), "me".into(), LIMIT))
            .collect();
        assert_eq!(link.open_requests(), 50);
        for (number, pending) in pending.into_iter().enumerate() {
            let response = pending.expect("room").response().await.expect("answered");
            assert_eq!(response.map(|r| r.controller_id), Some(number as i32 + 1));
        }
        assert_eq!(link.open_requests(), 0);
        assert!(link.is_connected());
    });
}

#[test]
fn a_request_without_an_answer_ends_the_connection() {
    run(async |runtime, net| {
        let mut count = 0;
        serve(&net, move |request| {
            count += 1;
            if count == 2 { Reaction::Silence } else { named(&request, count) }
        });
        let link = link(&runtime);
        assert_eq!(describe(&link).await.expect("answered").controller_id, 1);
        let slow = link.submit(DescribeClusterRequest::default(), "me".into(), LIMIT);
        let behind = SendOptions { limit: Duration::from_secs(60), ..LIMIT };
        let behind = link.submit(DescribeClusterRequest::default(), "me".into(), behind);
        let began = runtime.clock.now();
        let error = slow.expect("room").response().await.expect_err("no answer");
        assert!(matches!(error, RequestError::TimedOut { .. }), "{error}");
        assert_eq!((runtime.clock.now() - began).as_secs(), 10);
        let error = behind.expect("room").response().await.expect_err("the connection ended");
        assert!(matches!(error, RequestError::Disconnected { .. }), "{error}");
        assert!(describe(&link).await.is_ok(), "a new connection");
    });
}

#[test]
fn refused_connections_are_tried_again_after_growing_pauses() {
    run(async |runtime, net| {
        let link = link(&runtime);
        let mut last = Duration::ZERO;
        for round in 0..4 {
            let began = runtime.clock.now();
            let error = describe(&link).await.expect_err("nobody is there");
            let RequestError::Connect { source, .. } = &error else { panic!("{error}") };
            assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
            let pause = runtime.clock.now() - began;
            assert!(round == 0 || pause > last, "{pause:?} after {last:?}");
            last = pause;
        }
        serve(&net, |request| named(&request, 1));
        assert!(describe(&link).await.is_ok());
        net.refuse("broker:1");
    });
}

#[test]
fn an_api_that_the_broker_lacks_fails_alone() {
    run(async |runtime, net| {
        let stream = net.serve("broker:1");
        let mut old = all_versions();
        old.api_keys.retain(|api| api.api_key != ApiKey::ListGroups.code());
        start_raw(&runtime, stream, old, |_, id| id);
        let link = link(&runtime);
        let pending = link.submit(ListGroupsRequest::default(), "me".into(), LIMIT);
        let error = pending.expect("room").response().await.expect_err("not served");
        let RequestError::UnsupportedVersion { api, broker_max, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((api, broker_max), (ApiKey::ListGroups, -1));
        assert!(describe(&link).await.is_ok());
    });
}

#[test]
fn an_old_broker_is_asked_again_in_its_own_version() {
    run(async |runtime, net| {
        let stream = net.serve("broker:1");
        let mut old = all_versions();
        for api in old.api_keys.iter_mut().filter(|a| a.api_key == ApiKey::ApiVersions.code()) {
            api.max_version = 2;
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&seen);
        start_raw(&runtime, stream, old, move |version, id| {
            asked.lock().expect("no panic").push(version);
            id
        });
        let link = link(&runtime);
        assert!(describe(&link).await.is_ok());
        let newest = ApiKey::ApiVersions.max_version();
        assert_eq!(seen.lock().expect("no panic")[..2], [newest, 2]);
    });
}

#[test]
fn a_response_out_of_turn_ends_the_connection() {
    run(async |runtime, net| {
        let stream = net.serve("broker:1");
        start_raw(&runtime, stream, all_versions(), |version, id| {
            // The second request of a connection gets the number of another.
            if version == ApiKey::ApiVersions.max_version() { id } else { id + 5 }
        });
        let link = link(&runtime);
        let error = describe(&link).await.expect_err("confused");
        assert!(matches!(error, RequestError::Protocol { .. }), "{error}");
    });
}

/// Runs [`raw_broker`] until the test ends.
fn start_raw(
    runtime: &Runtime,
    connections: mpsc::UnboundedReceiver<DuplexStream>,
    versions: ApiVersionsResponse,
    answer_as: impl Fn(i16, i32) -> i32 + Send + Sync + 'static,
) {
    runtime::spawn(runtime, "raw broker", async move {
        // The client went away; the test looks at what it saw.
        let _ = raw_broker(connections, versions, answer_as).await;
    });
}

/// A broker that serves `versions`, and answers a request of some version and correlation id under
/// the id that `answer_as` says. DescribeCluster gets an empty answer.
async fn raw_broker(
    mut connections: mpsc::UnboundedReceiver<DuplexStream>,
    versions: ApiVersionsResponse,
    answer_as: impl Fn(i16, i32) -> i32 + Send + Sync,
) -> io::Result<()> {
    while let Some(mut stream) = connections.recv().await {
        let mut decoder = FrameDecoder::new(1 << 20);
        while stream.read_buf(decoder.buffer()).await? > 0 {
            while let Some(frame) = decoder.next_frame().map_err(io::Error::other)? {
                let request = decode_request_header(frame).map_err(io::Error::other)?;
                let (key, version) = (request.api_key, request.api_version);
                let id = match key {
                    ApiKey::ApiVersions => answer_as(version, request.correlation_id),
                    _ => answer_as(-1, request.correlation_id),
                };
                let chunks = if key == ApiKey::ApiVersions {
                    let range = versions.api_keys.iter().find(|api| api.api_key == key.code());
                    let max = range.expect("it is served").max_version;
                    let refused = ApiVersionsResponse {
                        error_code: ErrorCode::UnsupportedVersion.code(),
                        ..versions.clone()
                    };
                    match version > max {
                        true => encode_response(&refused, key, 0, id),
                        false => encode_response(&versions, key, version, id),
                    }
                } else {
                    encode_response(&DescribeClusterResponse::default(), key, version, id)
                };
                stream.write_all(&chunks.expect("it fits").concat()).await?;
            }
        }
    }
    Ok(())
}

#[test]
fn an_unused_connection_is_closed() {
    run(async |runtime, net| {
        serve(&net, |request| named(&request, 1));
        let link = link(&runtime);
        assert!(describe(&link).await.is_ok());
        let idle = ClientConfig::default().connection_idle_max + Duration::from_secs(1);
        runtime::sleep(&*runtime.clock, idle).await;
        assert!(!link.is_connected());
        assert!(describe(&link).await.is_ok());
    });
}
