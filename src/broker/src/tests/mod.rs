//! The broker over real sockets: framing, limits, versions, an orderly stop.

use std::path::Path;

use bytes::Bytes;
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ApiKey, Decode, ErrorCode, StrBytes, frame};
use runtime::Runtime;
use runtime::tokio::io::{AsyncReadExt, AsyncWriteExt};

mod damage;
mod groups;
mod metrics;
mod produce;
mod slow_client;
mod stray;
mod versions;

use metadata::config::{BrokerConfig, Property};

use crate::Broker;

/// A broker on a free port of the loopback, its data in `dir`, with settings on top.
async fn start(runtime: &Runtime, dir: &Path, settings: &[(&str, &str)]) -> (Broker, String) {
    let given = [
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", dir.to_str().unwrap()),
    ];
    let properties: Vec<Property> = given
        .iter()
        .chain(settings)
        .map(|(key, value)| Property { line: None, key: (*key).into(), value: (*value).into() })
        .collect();
    let config = BrokerConfig::from_properties(&properties).unwrap().config;
    let broker = Broker::start(runtime.clone(), config).await.unwrap();
    let address = broker.addresses()[0].to_string();
    (broker, address)
}

fn request(version: i16, correlation_id: i32, software: &'static str) -> Vec<u8> {
    let request = ApiVersionsRequest {
        client_software_name: StrBytes::from_static(software),
        client_software_version: StrBytes::from_static("1.0"),
        ..Default::default()
    };
    frame::encode_request(&request, version, correlation_id, None).unwrap().concat()
}

async fn answer(stream: &mut dyn runtime::Stream, version: i16) -> (i32, ApiVersionsResponse) {
    let len = stream.read_u32().await.unwrap() as usize;
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    let (id, mut body) =
        frame::decode_response_header(Bytes::from(bytes), ApiKey::ApiVersions, version, 1 << 20)
            .unwrap();
    (id, ApiVersionsResponse::decode(&mut body, version).unwrap())
}

#[test]
fn pipelined_requests_are_answered_in_order_even_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        let mut stream = runtime.net.connect(&address).await.unwrap();
        let sent: Vec<u8> = (0..5).flat_map(|id| request(4, id, "test")).collect();
        for byte in sent {
            stream.write_all(&[byte]).await.unwrap();
        }
        for id in 0..5 {
            let (got, response) = answer(&mut *stream, 4).await;
            assert_eq!((got, response.error_code), (id, 0));
            assert!(response.api_keys.iter().any(|key| key.api_key == ApiKey::ApiVersions.code()));
        }
        broker.stop().await;
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "an orderly end");
    })
    .unwrap();
}

#[test]
fn a_version_from_the_future_is_answered_in_version_0() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        let mut stream = runtime.net.connect(&address).await.unwrap();
        let mut bytes = request(4, 7, "test");
        bytes[6..8].copy_from_slice(&99i16.to_be_bytes());
        stream.write_all(&bytes).await.unwrap();
        let (id, response) = answer(&mut *stream, 0).await;
        assert_eq!((id, response.error_code), (7, ErrorCode::UnsupportedVersion.code()));
        assert!(!response.api_keys.is_empty(), "the client finds what to retry with");
        stream.write_all(&request(4, 8, "not a name!")).await.unwrap();
        let (_, response) = answer(&mut *stream, 4).await;
        assert_eq!(response.error_code, ErrorCode::InvalidRequest.code());
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn oversized_malformed_and_surplus_connections_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(
            &runtime,
            dir.path(),
            &[("socket.request.max.bytes", "1000"), ("max.connections.per.ip", "1")],
        )
        .await;
        for bytes in [&1001u32.to_be_bytes()[..], &u32::MAX.to_be_bytes(), &[0, 0, 0, 2, 9, 9]] {
            let mut stream = runtime.net.connect(&address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
            drop(stream);
            while broker.shared.connections.count() > 0 {
                runtime.clock.sleep_until(runtime.clock.now()).await;
            }
        }
        let mut first = runtime.net.connect(&address).await.unwrap();
        first.write_all(&request(4, 1, "test")).await.unwrap();
        assert_eq!(answer(&mut *first, 4).await.0, 1);
        let mut second = runtime.net.connect(&address).await.unwrap();
        assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0, "over max.connections.per.ip");
        broker.stop().await;
    })
    .unwrap();
}
