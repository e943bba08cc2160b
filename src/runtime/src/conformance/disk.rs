//! Names: opening, directories, renaming, removing, locks.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::{checks, poll_once};
use crate::{
    DirEntry, Disk, EntryKind, OpenMode, Runtime, read_file, read_full_at, spawn, write_all_at,
};

checks!(
    open_obeys_its_mode,
    open_keeps_the_content,
    open_tells_what_is_wrong_with_the_path,
    many_files_open_at_once,
    create_dir_all_makes_the_parents,
    create_dir_all_stops_at_a_file,
    list_is_sorted_and_tells_kinds,
    list_tells_what_is_wrong_with_the_path,
    rename_replaces_a_file,
    rename_moves_a_directory_with_its_files,
    rename_keeps_files_open,
    rename_tells_what_is_wrong,
    remove_file_keeps_open_files,
    remove_file_tells_what_is_wrong,
    remove_dir_all_removes_all,
    sync_dir_wants_a_directory,
    space_is_plausible,
    lock_excludes_until_dropped,
    polled_call_happens_though_dropped,
);

async fn put(disk: &dyn Disk, path: &Path, content: &'static str) {
    let file = disk.open(path, OpenMode::Create).await.unwrap();
    file.set_len(0).await.unwrap();
    write_all_at(&*file, 0, &[Bytes::from_static(content.as_bytes())]).await.unwrap();
}

async fn kind_of(disk: &dyn Disk, path: &Path, mode: OpenMode) -> Result<(), ErrorKind> {
    disk.open(path, mode).await.map(drop).map_err(|error| error.kind())
}

fn kind<T>(result: io::Result<T>) -> Result<(), ErrorKind> {
    result.map(drop).map_err(|error| error.kind())
}

async fn names(disk: &dyn Disk, path: &Path) -> Vec<String> {
    disk.list(path).await.unwrap().into_iter().map(|entry| entry.name).collect()
}

async fn open_obeys_its_mode(runtime: Runtime, scratch: PathBuf) {
    use OpenMode::{Create, CreateNew, Read, ReadWrite};
    let disk = &*runtime.disk;
    let path = scratch.join("file");
    assert_eq!(kind_of(disk, &path, Read).await, Err(ErrorKind::NotFound));
    assert_eq!(kind_of(disk, &path, ReadWrite).await, Err(ErrorKind::NotFound));
    assert_eq!(names(disk, &scratch).await, Vec::<String>::new());
    assert_eq!(kind_of(disk, &path, CreateNew).await, Ok(()));
    assert_eq!(kind_of(disk, &path, CreateNew).await, Err(ErrorKind::AlreadyExists));
    assert_eq!(kind_of(disk, &path, Read).await, Ok(()));
    assert_eq!(kind_of(disk, &path, ReadWrite).await, Ok(()));
    assert_eq!(kind_of(disk, &path, Create).await, Ok(()));
    assert_eq!(kind_of(disk, &scratch.join("other"), Create).await, Ok(()));
    assert_eq!(names(disk, &scratch).await, ["file", "other"]);
}

async fn open_keeps_the_content(runtime: Runtime, scratch: PathBuf) {
    let path = scratch.join("file");
    put(&*runtime.disk, &path, "kept").await;
    for mode in [OpenMode::Read, OpenMode::ReadWrite, OpenMode::Create] {
        let file = runtime.disk.open(&path, mode).await.unwrap();
        assert_eq!(read_full_at(&*file, 0, 100).await.unwrap(), "kept", "{mode:?}");
    }
}

async fn open_tells_what_is_wrong_with_the_path(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    put(disk, &scratch.join("file"), "").await;
    let below_nothing = scratch.join("missing").join("file");
    let below_file = scratch.join("file").join("file");
    for mode in [OpenMode::Read, OpenMode::ReadWrite, OpenMode::Create] {
        let directory = kind_of(disk, &scratch, mode).await;
        assert_eq!(directory, Err(ErrorKind::IsADirectory), "{mode:?}");
        assert_eq!(kind_of(disk, &below_nothing, mode).await, Err(ErrorKind::NotFound), "{mode:?}");
        let found = kind_of(disk, &below_file, mode).await;
        assert_eq!(found, Err(ErrorKind::NotADirectory), "{mode:?}");
    }
    let found = kind_of(disk, &scratch, OpenMode::CreateNew).await;
    assert_eq!(found, Err(ErrorKind::AlreadyExists));
}

async fn many_files_open_at_once(runtime: Runtime, scratch: PathBuf) {
    let tasks: Vec<_> = (0..200)
        .map(|number: u64| {
            let (disk, path) = (runtime.disk.clone(), scratch.join(number.to_string()));
            spawn(&runtime, "opens", async move {
                let file = disk.open(&path, OpenMode::CreateNew).await.unwrap();
                write_all_at(&*file, number, &[Bytes::from_static(b"x")]).await.unwrap();
                file.sync_data().await.unwrap();
                assert_eq!(file.len().await.unwrap(), number + 1);
            })
        })
        .collect();
    for task in tasks {
        task.join().await.unwrap();
    }
    assert_eq!(names(&*runtime.disk, &scratch).await.len(), 200);
}

async fn create_dir_all_makes_the_parents(runtime: Runtime, scratch: PathBuf) {
    let deep = scratch.join("a").join("b").join("c");
    runtime.disk.create_dir_all(&deep).await.unwrap();
    put(&*runtime.disk, &deep.join("file"), "x").await;
    runtime.disk.create_dir_all(&deep).await.unwrap();
    assert_eq!(names(&*runtime.disk, &deep).await, ["file"], "what is there stays");
}

async fn create_dir_all_stops_at_a_file(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    let file = scratch.join("file");
    put(disk, &file, "x").await;
    assert_eq!(kind(disk.create_dir_all(&file).await), Err(ErrorKind::AlreadyExists));
    let below = disk.create_dir_all(&file.join("below")).await;
    assert_eq!(kind(below), Err(ErrorKind::NotADirectory));
}

async fn list_is_sorted_and_tells_kinds(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    assert_eq!(disk.list(&scratch).await.unwrap(), []);
    for (name, content) in [("b", "two"), ("a", ""), ("B", "x"), ("c-10", ""), ("c-9", "")] {
        put(disk, &scratch.join(name), content).await;
    }
    disk.create_dir_all(&scratch.join("aa").join("below")).await.unwrap();
    let file = |name: &str, len| DirEntry { name: name.into(), kind: EntryKind::File, len };
    let directory = DirEntry { name: "aa".into(), kind: EntryKind::Directory, len: 0 };
    let expected =
        [file("B", 1), file("a", 0), directory, file("b", 3), file("c-10", 0), file("c-9", 0)];
    assert_eq!(disk.list(&scratch).await.unwrap(), expected);
}

async fn list_tells_what_is_wrong_with_the_path(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    put(disk, &scratch.join("file"), "").await;
    assert_eq!(kind(disk.list(&scratch.join("missing")).await), Err(ErrorKind::NotFound));
    assert_eq!(kind(disk.list(&scratch.join("file")).await), Err(ErrorKind::NotADirectory));
}

async fn rename_replaces_a_file(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    put(disk, &from, "new").await;
    put(disk, &to, "the old content").await;
    disk.rename(&from, &to).await.unwrap();
    assert_eq!(names(disk, &scratch).await, ["to"]);
    assert_eq!(read_file(disk, &to).await.unwrap(), "new");
    disk.rename(&to, &to).await.unwrap();
    assert_eq!(read_file(disk, &to).await.unwrap(), "new");
}

async fn rename_moves_a_directory_with_its_files(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    let from = scratch.join("from");
    disk.create_dir_all(&from.join("below")).await.unwrap();
    put(disk, &from.join("below").join("file"), "inside").await;
    let to = scratch.join("to");
    disk.rename(&from, &to).await.unwrap();
    assert_eq!(names(disk, &scratch).await, ["to"]);
    assert_eq!(read_file(disk, &to.join("below").join("file")).await.unwrap(), "inside");
}

async fn rename_keeps_files_open(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    disk.create_dir_all(&scratch.join("old")).await.unwrap();
    let path = scratch.join("old").join("file");
    let moved = disk.open(&path, OpenMode::CreateNew).await.unwrap();
    write_all_at(&*moved, 0, &[Bytes::from_static(b"moved")]).await.unwrap();
    disk.rename(&path, &scratch.join("old").join("name")).await.unwrap();
    disk.rename(&scratch.join("old"), &scratch.join("new")).await.unwrap();
    write_all_at(&*moved, 5, &[Bytes::from_static(b" on")]).await.unwrap();
    let new_path = scratch.join("new").join("name");
    assert_eq!(read_file(disk, &new_path).await.unwrap(), "moved on");

    put(disk, &scratch.join("other"), "other").await;
    disk.rename(&scratch.join("other"), &new_path).await.unwrap();
    assert_eq!(read_full_at(&*moved, 0, 100).await.unwrap(), "moved on", "replaced, still open");
    assert_eq!(read_file(disk, &new_path).await.unwrap(), "other");
}

async fn rename_tells_what_is_wrong(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    let (file, full) = (scratch.join("file"), scratch.join("full"));
    put(disk, &file, "x").await;
    for directory in ["full", "moves"] {
        disk.create_dir_all(&scratch.join(directory)).await.unwrap();
        put(disk, &scratch.join(directory).join("file"), "x").await;
    }
    let missing = scratch.join("missing");
    assert_eq!(kind(disk.rename(&missing, &file).await), Err(ErrorKind::NotFound));
    let nowhere = missing.join("file");
    assert_eq!(kind(disk.rename(&file, &nowhere).await), Err(ErrorKind::NotFound));
    let onto_full = disk.rename(&scratch.join("moves"), &full).await;
    assert_eq!(kind(onto_full), Err(ErrorKind::DirectoryNotEmpty));
    assert_eq!(kind(disk.rename(&file, &full).await), Err(ErrorKind::IsADirectory));
    assert_eq!(kind(disk.rename(&full, &file).await), Err(ErrorKind::NotADirectory));
    assert_eq!(names(disk, &scratch).await, ["file", "full", "moves"]);
}

async fn remove_file_keeps_open_files(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    let path = scratch.join("file");
    let file = disk.open(&path, OpenMode::CreateNew).await.unwrap();
    write_all_at(&*file, 0, &[Bytes::from_static(b"still ")]).await.unwrap();
    disk.remove_file(&path).await.unwrap();
    assert_eq!(kind_of(disk, &path, OpenMode::Read).await, Err(ErrorKind::NotFound));
    write_all_at(&*file, 6, &[Bytes::from_static(b"here")]).await.unwrap();
    file.sync_data().await.unwrap();
    put(disk, &path, "another").await;
    assert_eq!(read_full_at(&*file, 0, 100).await.unwrap(), "still here");
    drop(file);
    assert_eq!(read_file(disk, &path).await.unwrap(), "another");
}

async fn remove_file_tells_what_is_wrong(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    assert_eq!(kind(disk.remove_file(&scratch.join("missing")).await), Err(ErrorKind::NotFound));
    disk.create_dir_all(&scratch.join("empty")).await.unwrap();
    assert_eq!(kind(disk.remove_file(&scratch.join("empty")).await), Err(ErrorKind::IsADirectory));
    assert_eq!(names(disk, &scratch).await, ["empty"]);
}

async fn remove_dir_all_removes_all(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    let top = scratch.join("top");
    disk.create_dir_all(&top.join("a").join("b")).await.unwrap();
    put(disk, &top.join("file"), "x").await;
    put(disk, &top.join("a").join("b").join("file"), "deep").await;
    let open = disk.open(&top.join("a").join("b").join("file"), OpenMode::Read).await.unwrap();
    disk.remove_dir_all(&top).await.unwrap();
    assert_eq!(names(disk, &scratch).await, Vec::<String>::new());
    assert_eq!(read_full_at(&*open, 0, 100).await.unwrap(), "deep");
    assert_eq!(kind(disk.remove_dir_all(&top).await), Err(ErrorKind::NotFound));
}

async fn sync_dir_wants_a_directory(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    put(disk, &scratch.join("file"), "x").await;
    disk.sync_dir(&scratch).await.unwrap();
    assert_eq!(kind(disk.sync_dir(&scratch.join("missing")).await), Err(ErrorKind::NotFound));
}

async fn space_is_plausible(runtime: Runtime, scratch: PathBuf) {
    let space = runtime.disk.space(&scratch).await.unwrap();
    assert!(0 < space.total);
    assert!(space.free <= space.total, "{space:?}");
    let missing = runtime.disk.space(&scratch.join("missing")).await;
    assert_eq!(kind(missing), Err(ErrorKind::NotFound));
}

async fn lock_excludes_until_dropped(runtime: Runtime, scratch: PathBuf) {
    let disk = &*runtime.disk;
    let path = scratch.join(".lock");
    let lock = disk.lock(&path).await.unwrap();
    assert_eq!(names(disk, &scratch).await, [".lock"]);
    assert_eq!(kind(disk.lock(&path).await), Err(ErrorKind::WouldBlock));
    assert_eq!(kind(disk.lock(&path).await), Err(ErrorKind::WouldBlock), "a refusal frees nothing");
    let other = disk.lock(&scratch.join("other")).await.unwrap();
    drop(lock);
    let lock = disk.lock(&path).await.unwrap();
    drop((lock, other));
    let nowhere = scratch.join("missing").join(".lock");
    assert_eq!(kind(disk.lock(&nowhere).await), Err(ErrorKind::NotFound));
}

async fn polled_call_happens_though_dropped(runtime: Runtime, scratch: PathBuf) {
    let path = scratch.join("directory");
    let mut call = runtime.disk.create_dir_all(&path);
    let _ = poll_once(call.as_mut());
    drop(call);
    while runtime.disk.list(&path).await.is_err() {
        crate::sleep(&*runtime.clock, Duration::from_millis(1)).await;
    }
}
