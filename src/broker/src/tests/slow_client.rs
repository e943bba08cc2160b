//! Clients that ask and do not read, or announce and do not send: they must neither fill the broker's
//! memory nor keep it from others.

use model::Uuid;
use protocol::messages::FetchRequest;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::{StrBytes, frame};
use runtime::tokio::io::AsyncWriteExt;

use super::produce::{answer, batch, create_topic, request, send};
use super::start;

#[test]
fn answers_that_nobody_reads_are_not_made() {
    const FETCHES: usize = 60;
    const VALUE_BYTES: usize = 900 * 1024;
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        create_topic(&broker).await;
        let mut stream = runtime.net.connect(&address).await.unwrap();
        let value = "v".repeat(VALUE_BYTES);
        for _ in 0..8 {
            send(&mut *stream, 9, &request(-1, "orders", Uuid::ZERO, 0, batch(&value))).await;
            assert_eq!(answer(&mut *stream, 9).await.error_code, 0);
        }
        let partition = FetchPartition { partition_max_bytes: 8 << 20, ..Default::default() };
        let topic = StrBytes::from_static("orders");
        let partitions = vec![partition];
        let fetch = FetchRequest {
            max_bytes: 8 << 20,
            session_epoch: -1,
            topics: vec![FetchTopic { topic, partitions, ..Default::default() }],
            ..Default::default()
        };
        let bytes = frame::encode_request(&fetch, 11, 1, None).unwrap().concat();
        let mut greedy = runtime.net.connect(&address).await.unwrap();
        for _ in 0..FETCHES {
            greedy.write_all(&bytes).await.unwrap();
        }
        // Another client's request, answered behind them, says that the broker got that far.
        for _ in 0..20 {
            send(&mut *stream, 9, &request(-1, "orders", Uuid::ZERO, 0, batch("x"))).await;
            assert_eq!(answer(&mut *stream, 9).await.error_code, 0);
        }
        let used = broker.shared.fetch_memory.used();
        assert!(used <= 2 * (8 << 20), "{used} bytes are held for a client that reads nothing");
        drop(greedy);
        // The broker notices that nobody is there, and has its memory back.
        while broker.shared.fetch_memory.used() > 0 {
            runtime::sleep(&*runtime.clock, std::time::Duration::from_millis(1)).await;
        }
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn announcing_much_takes_nothing_from_others() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let settings = [("queued.max.request.bytes", "2000000")];
        let (broker, address) = start(&runtime, dir.path(), &settings).await;
        create_topic(&broker).await;
        let mut held = Vec::new();
        for sent in [0, 1, 1000, 60_000, 0, 0, 0, 0] {
            let mut stream = runtime.net.connect(&address).await.unwrap();
            stream.write_all(&1_900_000i32.to_be_bytes()).await.unwrap();
            stream.write_all(&vec![0; sent]).await.unwrap();
            held.push(stream);
        }
        // One that goes on gets its room, and everybody else may still ask small things.
        let mut large = runtime.net.connect(&address).await.unwrap();
        large.write_all(&1_900_000i32.to_be_bytes()).await.unwrap();
        large.write_all(&vec![0; 500_000]).await.unwrap();
        let mut stream = runtime.net.connect(&address).await.unwrap();
        for _ in 0..50 {
            send(&mut *stream, 9, &request(-1, "orders", Uuid::ZERO, 0, batch("x"))).await;
            assert_eq!(answer(&mut *stream, 9).await.error_code, 0);
        }
        drop((held, large));
        broker.stop().await;
    })
    .unwrap();
}
