//! Listening, connecting, and bytes on their way. How connections end: `net_end.rs`.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::file::pattern;
use super::{checks, poll_once};
use crate::{BoxFuture, File, Listener, OpenMode, Runtime, Stream, spawn, write_all_at};

checks!(
    listen_takes_a_free_port,
    listen_refuses_an_address_in_use,
    listen_again_when_the_listener_is_gone,
    addresses_that_are_none_are_refused,
    connect_to_nobody_is_refused,
    accept_is_in_order_and_names_both_ends,
    accept_can_come_late,
    accept_can_be_dropped,
    stream_carries_both_ways,
    stream_carries_much,
    stream_takes_vectored_writes,
    stream_read_can_be_dropped,
    stream_makes_a_fast_writer_wait,
    halves_work_at_once,
    send_file_sends_a_range,
    send_file_stops_at_the_end_of_the_file,
    send_file_carries_much,
    send_file_of_a_foreign_file,
);

/// Any free port of the loopback.
pub(super) const ANY: &str = "127.0.0.1:0";

/// A listener and the text of its address.
pub(super) async fn listen(runtime: &Runtime) -> (Box<dyn Listener>, String) {
    let listener = runtime.net.listen(ANY).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Two ends of one connection: who connected, who accepted.
pub(super) async fn pair(runtime: &Runtime) -> (Box<dyn Stream>, Box<dyn Stream>) {
    let (mut listener, address) = listen(runtime).await;
    let client = runtime.net.connect(&address).await.unwrap();
    let server = listener.accept().await.unwrap();
    (client, server)
}

async fn listen_takes_a_free_port(runtime: Runtime, _: PathBuf) {
    let (one, _) = listen(&runtime).await;
    let (two, _) = listen(&runtime).await;
    let (one, two) = (one.local_addr().unwrap(), two.local_addr().unwrap());
    assert_ne!(one.port(), 0);
    assert_ne!(one, two);
    assert!(one.ip().is_loopback());
}

async fn listen_refuses_an_address_in_use(runtime: Runtime, _: PathBuf) {
    let (_listener, address) = listen(&runtime).await;
    let error = runtime.net.listen(&address).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

async fn listen_again_when_the_listener_is_gone(runtime: Runtime, _: PathBuf) {
    let (mut listener, address) = listen(&runtime).await;
    let mut client = runtime.net.connect(&address).await.unwrap();
    let mut server = listener.accept().await.unwrap();
    drop(listener);
    let mut listener = runtime.net.listen(&address).await.unwrap();
    // The connection of the old listener lives on beside it.
    server.write_all(b"old").await.unwrap();
    let mut old = [0; 3];
    client.read_exact(&mut old).await.unwrap();
    assert_eq!(&old, b"old");
    runtime.net.connect(&address).await.unwrap();
    listener.accept().await.unwrap();
}

async fn addresses_that_are_none_are_refused(runtime: Runtime, _: PathBuf) {
    let long = format!("{}:1", "a:".repeat(100));
    for text in [
        "",
        "localhost",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:port",
        "127.0.0.1:65536",
        ":1",
        &long,
    ] {
        let listen = runtime.net.listen(text).await.err().unwrap();
        assert_eq!(listen.kind(), ErrorKind::InvalidInput, "listen on {text:?}: {listen}");
        let connect = runtime.net.connect(text).await.err().unwrap();
        assert_eq!(connect.kind(), ErrorKind::InvalidInput, "connect to {text:?}: {connect}");
    }
}

async fn connect_to_nobody_is_refused(runtime: Runtime, _: PathBuf) {
    let (listener, address) = listen(&runtime).await;
    drop(listener);
    for _ in 0..3 {
        let error = runtime.net.connect(&address).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

async fn accept_is_in_order_and_names_both_ends(runtime: Runtime, _: PathBuf) {
    let (mut listener, address) = listen(&runtime).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(runtime.net.connect(&address).await.unwrap());
    }
    for client in &clients {
        let server = listener.accept().await.unwrap();
        assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
        assert_eq!(server.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(server.local_addr().unwrap(), listener.local_addr().unwrap());
    }
}

async fn accept_can_come_late(runtime: Runtime, _: PathBuf) {
    let (mut listener, address) = listen(&runtime).await;
    let mut client = runtime.net.connect(&address).await.unwrap();
    client.write_all(b"early").await.unwrap();
    drop(client);
    let mut server = listener.accept().await.unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "early");
}

async fn accept_can_be_dropped(runtime: Runtime, _: PathBuf) {
    let (mut listener, address) = listen(&runtime).await;
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..50 {
        for dropped in 0..2 {
            // Once before the connection is there, once after; what is ready is not thrown away.
            let mut accept = listener.accept();
            if let Poll::Ready(server) = poll_once(accept.as_mut()) {
                servers.push(server.unwrap());
            }
            drop(accept);
            if dropped == 0 {
                clients.push(runtime.net.connect(&address).await.unwrap());
            }
        }
    }
    while servers.len() < clients.len() {
        servers.push(listener.accept().await.unwrap());
    }
    for (client, server) in clients.iter().zip(&servers) {
        assert_eq!(client.local_addr().unwrap(), server.peer_addr().unwrap());
    }
}

async fn stream_carries_both_ways(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    for round in 0..50u32 {
        client.write_all(&round.to_be_bytes()).await.unwrap();
        assert_eq!(server.read_u32().await.unwrap(), round);
        server.write_all(&(round + 1).to_be_bytes()).await.unwrap();
        assert_eq!(client.read_u32().await.unwrap(), round + 1);
    }
}

async fn stream_carries_much(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    let whole = pattern(5_000_003);
    let sent = whole.clone();
    let task = spawn(&runtime, "writer", async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert!(received == whole, "{} bytes arrived, not those that were sent", received.len());
    task.join().await.unwrap();
}

async fn stream_takes_vectored_writes(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    let whole = pattern(6000);
    let parts: Vec<IoSlice<'_>> = whole.chunks(3).map(IoSlice::new).collect();
    let written = client.write_vectored(&parts).await.unwrap();
    assert!((1..=whole.len()).contains(&written), "{written} of 6000 bytes");
    client.shutdown().await.unwrap();
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, whole.slice(..written));
}

async fn stream_read_can_be_dropped(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    for round in 0..50u8 {
        let mut buffer = [0];
        {
            let mut read = pin!(server.read(&mut buffer));
            assert!(poll_once(read.as_mut()).is_pending(), "nothing was sent yet");
            client.write_all(&[round]).await.unwrap();
        }
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(buffer, [round], "a byte went with the read that was dropped");
    }
}

/// Writes until the stream takes no more, and returns how many bytes it took.
async fn fill(stream: &mut dyn Stream) -> usize {
    const TAKEN_MAX: usize = 256 * 1024 * 1024;
    let block = vec![7; 256 * 1024];
    let mut taken = 0;
    loop {
        let mut stream = Pin::new(&mut *stream);
        let polled = poll_fn(|context| Poll::Ready(stream.as_mut().poll_write(context, &block)));
        match polled.await {
            Poll::Ready(count) => taken += count.unwrap(),
            Poll::Pending => return taken,
        }
        assert!(taken < TAKEN_MAX, "a writer is never made to wait");
    }
}

async fn stream_makes_a_fast_writer_wait(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    let taken = fill(&mut *client).await;
    // Room comes when the peer reads, and wakes the writer; nothing of it is lost.
    let task = spawn(&runtime, "writer", async move {
        client.write_all(&[8; 1000]).await.unwrap();
        client.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    task.join().await.unwrap();
    let sevens = received.iter().take_while(|byte| **byte == 7).count();
    assert!(taken <= sevens, "{taken} bytes were taken, {sevens} arrived");
    assert_eq!(received[sevens..], [8; 1000]);
}

async fn halves_work_at_once(runtime: Runtime, _: PathBuf) {
    let (client, server) = pair(&runtime).await;
    let whole = pattern(1_500_000);
    let mut tasks = Vec::new();
    for stream in [client, server] {
        let (mut read, mut write) = stream.split();
        let sent = whole.clone();
        tasks.push(spawn(&runtime, "writer", async move {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        }));
        let expected = whole.clone();
        tasks.push(spawn(&runtime, "reader", async move {
            let mut received = Vec::new();
            read.read_to_end(&mut received).await.unwrap();
            assert!(received == expected);
        }));
    }
    for task in tasks {
        task.join().await.unwrap();
    }
}

async fn create(runtime: &Runtime, scratch: PathBuf, content: &Bytes) -> Arc<dyn File> {
    let file = runtime.disk.open(&scratch.join("file"), OpenMode::CreateNew).await.unwrap();
    write_all_at(&*file, 0, std::slice::from_ref(content)).await.unwrap();
    file
}

async fn send_file_sends_a_range(runtime: Runtime, scratch: PathBuf) {
    let content = pattern(10_000);
    let file = create(&runtime, scratch, &content).await;
    let (client, mut server) = pair(&runtime).await;
    let (_read, mut write) = client.split();
    write.write_all(b"before").await.unwrap();
    assert_eq!(write.send_file(&*file, 1234, 5000).await.unwrap(), 5000);
    assert_eq!(write.send_file(&*file, 0, 0).await.unwrap(), 0);
    write.write_all(b"after").await.unwrap();
    write.shutdown().await.unwrap();
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    let expected = [b"before", &content[1234..6234], b"after"].concat();
    assert!(received == expected, "{} bytes arrived", received.len());
}

async fn send_file_stops_at_the_end_of_the_file(runtime: Runtime, scratch: PathBuf) {
    let content = pattern(10_000);
    let file = create(&runtime, scratch, &content).await;
    let (client, mut server) = pair(&runtime).await;
    let (_read, mut write) = client.split();
    assert_eq!(write.send_file(&*file, 9000, u64::MAX / 2).await.unwrap(), 1000);
    assert_eq!(write.send_file(&*file, 10_000, 5).await.unwrap(), 0);
    assert_eq!(write.send_file(&*file, 20_000, 5).await.unwrap(), 0);
    write.shutdown().await.unwrap();
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, content[9000..]);
}

async fn send_file_carries_much(runtime: Runtime, scratch: PathBuf) {
    let content = pattern(3_000_001);
    let file = create(&runtime, scratch, &content).await;
    let (client, mut server) = pair(&runtime).await;
    let (_read, mut write) = client.split();
    let task = spawn(&runtime, "sender", async move {
        assert_eq!(write.send_file(&*file, 0, 3_000_001).await.unwrap(), 3_000_001);
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    task.join().await.unwrap();
    assert!(received == content, "{} bytes arrived", received.len());
}

/// A file that no implementation knows as its own.
struct Foreign(Arc<dyn File>);

impl File for Foreign {
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, std::io::Result<Bytes>> {
        // One byte of seven is all that this disk feels like.
        self.0.read_at(position, len.div_ceil(7))
    }

    fn write_at<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, std::io::Result<usize>> {
        self.0.write_at(position, buffers)
    }

    fn write_durably<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, std::io::Result<()>> {
        self.0.write_durably(position, buffers)
    }

    fn sync_data(&self) -> BoxFuture<'_, std::io::Result<()>> {
        self.0.sync_data()
    }

    fn len(&self) -> BoxFuture<'_, std::io::Result<u64>> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> BoxFuture<'_, std::io::Result<()>> {
        self.0.set_len(len)
    }
}

async fn send_file_of_a_foreign_file(runtime: Runtime, scratch: PathBuf) {
    let content = pattern(100_000);
    let file = Foreign(create(&runtime, scratch, &content).await);
    let (client, mut server) = pair(&runtime).await;
    let (_read, mut write) = client.split();
    let task = spawn(&runtime, "sender", async move {
        assert_eq!(write.send_file(&file, 10, 80_000).await.unwrap(), 80_000);
        assert_eq!(write.send_file(&file, 99_990, 80_000).await.unwrap(), 10);
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    task.join().await.unwrap();
    assert!(received == [&content[10..80_010], &content[99_990..]].concat());
}
