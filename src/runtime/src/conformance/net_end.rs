//! How connections end: half-close, close, reset, and what the other side sees of each.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::net::{listen, pair};
use super::{checks, poll_once};
use crate::{Runtime, Stream, spawn};

checks!(
    shutdown_ends_one_direction_only,
    write_after_shutdown_fails,
    end_is_told_again_and_again,
    drop_delivers_what_was_sent,
    drop_with_unread_bytes_resets,
    write_to_a_closed_peer_fails,
    close_wakes_a_waiting_reader,
    close_wakes_a_waiting_writer,
    drop_of_the_write_half_is_not_seen,
    drop_of_the_read_half_is_not_seen,
    drop_of_both_halves_closes,
    abort_of_a_task_closes_its_streams,
    listener_gone_leaves_its_connections,
);

async fn read_all(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

async fn shutdown_ends_one_direction_only(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut *server).await.unwrap(), b"question");
    server.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
    server.shutdown().await.unwrap();
    assert_eq!(read_all(&mut *client).await.unwrap(), b"");
}

async fn write_after_shutdown_fails(runtime: Runtime, _: PathBuf) {
    let (mut client, _server) = pair(&runtime).await;
    client.shutdown().await.unwrap();
    assert_eq!(client.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

async fn end_is_told_again_and_again(runtime: Runtime, _: PathBuf) {
    let (client, mut server) = pair(&runtime).await;
    drop(client);
    for _ in 0..3 {
        assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
    }
}

async fn drop_delivers_what_was_sent(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    client.write_all(b"last words").await.unwrap();
    drop(client);
    assert_eq!(read_all(&mut *server).await.unwrap(), b"last words");
}

async fn drop_with_unread_bytes_resets(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    client.write_all(b"ten bytes!").await.unwrap();
    // One byte arrived, so the others of the same write did.
    assert_eq!(server.read_u8().await.unwrap(), b't');
    drop(server);
    let error = read_all(&mut *client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Writes until that fails, and returns how.
async fn write_until_it_fails(stream: &mut dyn Stream) -> ErrorKind {
    loop {
        if let Err(error) = stream.write_all(&[0; 1000]).await {
            return error.kind();
        }
    }
}

fn is_broken(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

async fn write_to_a_closed_peer_fails(runtime: Runtime, _: PathBuf) {
    let (mut client, server) = pair(&runtime).await;
    drop(server);
    let kind = write_until_it_fails(&mut *client).await;
    assert!(is_broken(kind), "{kind:?}");
    let kind = write_until_it_fails(&mut *client).await;
    assert!(is_broken(kind), "then {kind:?}");
}

async fn close_wakes_a_waiting_reader(runtime: Runtime, _: PathBuf) {
    let (client, mut server) = pair(&runtime).await;
    let task = spawn(&runtime, "reader", async move {
        assert_eq!(read_all(&mut *server).await.unwrap(), b"");
    });
    drop(client);
    task.join().await.unwrap();
}

async fn close_wakes_a_waiting_writer(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    let task = spawn(&runtime, "writer", async move {
        let kind = write_until_it_fails(&mut *client).await;
        assert!(is_broken(kind), "{kind:?}");
    });
    // The writer is under way, and nobody reads what else it writes.
    server.read_u8().await.unwrap();
    drop(server);
    task.join().await.unwrap();
}

async fn drop_of_the_write_half_is_not_seen(runtime: Runtime, _: PathBuf) {
    let (client, mut server) = pair(&runtime).await;
    let (mut read, write) = client.split();
    drop(write);
    server.write_all(b"still").await.unwrap();
    let mut text = [0; 5];
    read.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"still");
    {
        let mut buffer = [0; 10];
        let mut waiting = pin!(server.read(&mut buffer));
        assert!(poll_once(waiting.as_mut()).is_pending(), "the peer was told of an end");
    }
    drop(read);
    assert_eq!(read_all(&mut *server).await.unwrap(), b"");
}

async fn drop_of_the_read_half_is_not_seen(runtime: Runtime, _: PathBuf) {
    let (client, mut server) = pair(&runtime).await;
    let (read, mut write) = client.split();
    drop(read);
    for round in 0..20u8 {
        write.write_all(&[round]).await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), round);
    }
    drop(write);
    assert_eq!(read_all(&mut *server).await.unwrap(), b"");
}

async fn drop_of_both_halves_closes(runtime: Runtime, _: PathBuf) {
    for read_first in [true, false] {
        let (client, mut server) = pair(&runtime).await;
        let (read, mut write) = client.split();
        write.write_all(b"bye").await.unwrap();
        if read_first {
            drop(read);
            drop(write);
        } else {
            drop(write);
            drop(read);
        }
        assert_eq!(read_all(&mut *server).await.unwrap(), b"bye");
    }
}

async fn abort_of_a_task_closes_its_streams(runtime: Runtime, _: PathBuf) {
    let (mut client, mut server) = pair(&runtime).await;
    let task = spawn(&runtime, "holder", async move {
        client.write_all(b"held").await.unwrap();
        // Waits for bytes that never come.
        client.read_u8().await.unwrap();
    });
    let mut text = [0; 4];
    server.read_exact(&mut text).await.unwrap();
    task.abort();
    assert!(task.join().await.is_err());
    assert_eq!(read_all(&mut *server).await.unwrap(), b"");
}

async fn listener_gone_leaves_its_connections(runtime: Runtime, _: PathBuf) {
    let (mut listener, address) = listen(&runtime).await;
    let mut client = runtime.net.connect(&address).await.unwrap();
    let mut server = listener.accept().await.unwrap();
    drop(listener);
    let error = runtime.net.connect(&address).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    client.write_all(b"on").await.unwrap();
    drop(client);
    assert_eq!(read_all(&mut *server).await.unwrap(), b"on");
}
