//! Bytes of one open file: positions, parts, lengths, and what a dropped call leaves behind.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{checks, poll_once};
use crate::{
    DURABLE_ALIGN, File, OpenMode, Runtime, read_exact_at, read_file, read_full_at, spawn,
    write_all_at, write_file_durably,
};

checks!(
    file_reads_what_was_written,
    file_reads_nothing_at_its_end,
    file_is_overwritten_in_place,
    file_gap_reads_as_zeros,
    file_writes_many_buffers_in_order,
    file_writes_of_nothing_write_nothing,
    file_large_ranges,
    file_length_can_be_set,
    file_bytes_once_read_stay,
    file_opened_for_reading_refuses_changes,
    file_opened_twice_is_one_file,
    file_takes_many_tasks_at_once,
    file_written_durably_is_read,
    file_sync_can_be_dropped,
    file_dropped_write_writes_no_more,
    file_dropped_set_len_happens,
    read_exact_at_tells_a_short_file,
    write_file_durably_replaces,
);

/// `len` bytes that differ from place to place.
pub(super) fn pattern(len: usize) -> Bytes {
    // 251 is prime, so no power of two hides a shift.
    (0..len).map(|index| (index % 251) as u8).collect::<Vec<u8>>().into()
}

async fn create(runtime: &Runtime, directory: &Path) -> Arc<dyn File> {
    runtime.disk.open(&directory.join("file"), OpenMode::CreateNew).await.unwrap()
}

async fn content(file: &dyn File) -> Bytes {
    let len = file.len().await.unwrap() as usize;
    // One more than there is, so that a wrong length shows.
    let all = read_full_at(file, 0, len + 1).await.unwrap();
    assert_eq!(all.len(), len, "the length and the bytes disagree");
    all
}

async fn file_reads_what_was_written(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    assert_eq!(file.len().await.unwrap(), 0);
    write_all_at(&*file, 0, &[Bytes::from_static(b"hello "), Bytes::from_static(b"world")])
        .await
        .unwrap();
    assert_eq!(content(&*file).await, "hello world");
    assert_eq!(read_full_at(&*file, 3, 5).await.unwrap(), "lo wo");
    assert_eq!(read_full_at(&*file, 6, 100).await.unwrap(), "world");
    let part = file.read_at(2, 4).await.unwrap();
    assert!(!part.is_empty(), "only the end of the file reads as nothing");
    assert_eq!(part, b"llo "[..part.len()]);
}

async fn file_reads_nothing_at_its_end(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    assert_eq!(file.read_at(0, 10).await.unwrap(), "");
    write_all_at(&*file, 0, &[Bytes::from_static(b"abc")]).await.unwrap();
    assert_eq!(file.read_at(3, 10).await.unwrap(), "");
    assert_eq!(file.read_at(1000, 10).await.unwrap(), "");
    assert_eq!(file.read_at(0, 0).await.unwrap(), "");
}

async fn file_is_overwritten_in_place(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    write_all_at(&*file, 0, &[Bytes::from_static(b"0123456789")]).await.unwrap();
    write_all_at(&*file, 4, &[Bytes::from_static(b"xy")]).await.unwrap();
    assert_eq!(content(&*file).await, "0123xy6789");
    write_all_at(&*file, 8, &[Bytes::from_static(b"abcd")]).await.unwrap();
    assert_eq!(content(&*file).await, "0123xy67abcd");
}

async fn file_gap_reads_as_zeros(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    write_all_at(&*file, 5, &[Bytes::from_static(b"x")]).await.unwrap();
    assert_eq!(content(&*file).await, &b"\0\0\0\0\0x"[..]);
}

async fn file_writes_many_buffers_in_order(runtime: Runtime, scratch: PathBuf) {
    // More buffers than any system call takes at once, empty ones among and before them.
    let whole = pattern(9000);
    let mut buffers = vec![Bytes::new(); 2000];
    for part in 0..3000 {
        buffers.push(whole.slice(part * 3..part * 3 + 3));
        buffers.push(Bytes::new());
    }
    let file = create(&runtime, &scratch).await;
    let first = file.write_at(7, &buffers).await.unwrap();
    assert!((1..=9000).contains(&first), "{first} bytes of 9000 written");
    write_all_at(&*file, 7, &buffers).await.unwrap();
    assert_eq!(file.len().await.unwrap(), 9007);
    assert_eq!(read_full_at(&*file, 7, 9000).await.unwrap(), whole);
}

async fn file_writes_of_nothing_write_nothing(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    assert_eq!(file.write_at(10, &[]).await.unwrap(), 0);
    assert_eq!(file.write_at(10, &[Bytes::new(), Bytes::new()]).await.unwrap(), 0);
    write_all_at(&*file, 10, &[Bytes::new()]).await.unwrap();
    assert_eq!(file.len().await.unwrap(), 0);
}

async fn file_large_ranges(runtime: Runtime, scratch: PathBuf) {
    let whole = pattern(3 * 1024 * 1024 + 17);
    let file = create(&runtime, &scratch).await;
    write_all_at(&*file, 0, &[whole.slice(..1_000_001), whole.slice(1_000_001..)]).await.unwrap();
    assert_eq!(content(&*file).await, whole);
    let part = read_full_at(&*file, 999_999, 2_000_000).await.unwrap();
    assert_eq!(part, whole.slice(999_999..2_999_999));
}

async fn file_length_can_be_set(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    write_all_at(&*file, 0, &[Bytes::from_static(b"0123456789")]).await.unwrap();
    file.set_len(4).await.unwrap();
    assert_eq!(content(&*file).await, "0123");
    file.set_len(6).await.unwrap();
    assert_eq!(content(&*file).await, &b"0123\0\0"[..], "what was cut off must not come back");
    file.set_len(0).await.unwrap();
    assert_eq!(content(&*file).await, "");
}

async fn file_bytes_once_read_stay(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    write_all_at(&*file, 0, &[pattern(50_000)]).await.unwrap();
    let before = read_full_at(&*file, 0, 50_000).await.unwrap();
    write_all_at(&*file, 0, &[Bytes::from(vec![9; 50_000])]).await.unwrap();
    file.set_len(0).await.unwrap();
    assert_eq!(before, pattern(50_000));
}

async fn file_opened_for_reading_refuses_changes(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    write_all_at(&*file, 0, &[Bytes::from_static(b"abc")]).await.unwrap();
    let reader = runtime.disk.open(&scratch.join("file"), OpenMode::Read).await.unwrap();
    let write = reader.write_at(0, &[Bytes::from_static(b"x")]).await;
    assert_eq!(write.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(reader.set_len(0).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(content(&*reader).await, "abc");
}

async fn file_opened_twice_is_one_file(runtime: Runtime, scratch: PathBuf) {
    let one = create(&runtime, &scratch).await;
    let two = runtime.disk.open(&scratch.join("file"), OpenMode::ReadWrite).await.unwrap();
    write_all_at(&*one, 0, &[Bytes::from_static(b"one")]).await.unwrap();
    assert_eq!(content(&*two).await, "one");
    write_all_at(&*two, 3, &[Bytes::from_static(b"two")]).await.unwrap();
    assert_eq!(content(&*one).await, "onetwo");
    drop(one);
    assert_eq!(content(&*two).await, "onetwo");
}

async fn file_takes_many_tasks_at_once(runtime: Runtime, scratch: PathBuf) {
    const BYTES: usize = 10_000;
    let file = create(&runtime, &scratch).await;
    let tasks: Vec<_> = (0..50u8)
        .map(|number| {
            let file = Arc::clone(&file);
            spawn(&runtime, "region", async move {
                let position = usize::from(number) * BYTES;
                let mine = Bytes::from(vec![number; BYTES]);
                write_all_at(&*file, position as u64, std::slice::from_ref(&mine)).await.unwrap();
                file.sync_data().await.unwrap();
                let back = read_full_at(&*file, position as u64, BYTES).await.unwrap();
                assert_eq!(back, mine);
            })
        })
        .collect();
    for task in tasks {
        task.join().await.unwrap();
    }
    assert_eq!(file.len().await.unwrap(), 50 * BYTES as u64);
}

async fn file_written_durably_is_read(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    let all = pattern(5 * DURABLE_ALIGN);
    // Pages and parts of them, over what other writes put there and beyond.
    write_all_at(&*file, 0, &[Bytes::from(vec![9; 2 * DURABLE_ALIGN])]).await.unwrap();
    let pieces = [all.slice(..10), all.slice(10..DURABLE_ALIGN)];
    file.write_durably(0, &pieces).await.unwrap();
    for (from, to) in [(1, 2), (2, 4)] {
        let (from, to) = (from * DURABLE_ALIGN, to * DURABLE_ALIGN);
        file.write_durably(from as u64, &[all.slice(from..to)]).await.unwrap();
    }
    let rest = 4 * DURABLE_ALIGN;
    file.write_durably(rest as u64, &[all.slice(rest..rest + 100)]).await.unwrap();
    file.write_durably(rest as u64 + 100, &[all.slice(rest + 100..)]).await.unwrap();
    file.write_durably(7, &[]).await.unwrap();
    assert!(content(&*file).await == all);
    write_all_at(&*file, 5, &[Bytes::from_static(b"later")]).await.unwrap();
    assert_eq!(read_full_at(&*file, 4, 7).await.unwrap()[1..6], b"later"[..]);
}

async fn file_sync_can_be_dropped(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    write_all_at(&*file, 0, &[pattern(10_000)]).await.unwrap();
    for _ in 0..10 {
        let mut sync = file.sync_data();
        let _ = poll_once(sync.as_mut());
    }
    file.sync_data().await.unwrap();
    assert_eq!(content(&*file).await, pattern(10_000));
}

async fn file_dropped_write_writes_no_more(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    let buffers = [pattern(100_000)];
    for _ in 0..20 {
        let mut write = file.write_at(0, &buffers);
        let _ = poll_once(write.as_mut());
        drop(write);
        file.set_len(0).await.unwrap();
        file.sync_data().await.unwrap();
        assert_eq!(file.len().await.unwrap(), 0, "bytes were written after the drop");
    }
}

async fn file_dropped_set_len_happens(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    write_all_at(&*file, 0, &[pattern(1000)]).await.unwrap();
    let mut cut = file.set_len(10);
    let _ = poll_once(cut.as_mut());
    drop(cut);
    while file.len().await.unwrap() != 10 {
        crate::sleep(&*runtime.clock, std::time::Duration::from_millis(1)).await;
    }
}

async fn read_exact_at_tells_a_short_file(runtime: Runtime, scratch: PathBuf) {
    let file = create(&runtime, &scratch).await;
    write_all_at(&*file, 0, &[Bytes::from_static(b"abcdef")]).await.unwrap();
    assert_eq!(read_exact_at(&*file, 2, 4).await.unwrap(), "cdef");
    let error = read_exact_at(&*file, 2, 5).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

async fn write_file_durably_replaces(runtime: Runtime, scratch: PathBuf) {
    let path = scratch.join("checkpoint");
    for content in ["the first content", "the second", ""] {
        write_file_durably(&*runtime.disk, &path, Bytes::from_static(content.as_bytes()))
            .await
            .unwrap();
        assert_eq!(read_file(&*runtime.disk, &path).await.unwrap(), content);
    }
    let names = runtime.disk.list(&scratch).await.unwrap();
    assert_eq!(names.len(), 1, "something was left behind: {names:?}");
    let missing = scratch.join("missing").join("checkpoint");
    let error = write_file_durably(&*runtime.disk, &missing, Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = read_file(&*runtime.disk, &missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
