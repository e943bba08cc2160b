//! What a kill and a loss of power do, case by case.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use runtime::{OpenMode, spawn, write_all_at};

use super::{Machine, append, create, get, put};
use crate::disk::{DiskProfile, FaultKind, SimDisk, Survival, Verdict};

/// For each of many seeds: what is left of a file with two synced and some unsynced bytes.
fn survivors(survival: Survival) -> BTreeSet<Vec<u8>> {
    let left = |seed| {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        machine.run(async move {
            let disk = inner.mount();
            let file = put(&*disk, "/file", b"ab").await;
            file.sync_data().await.unwrap();
            disk.sync_dir(Path::new("/")).await.unwrap();
            for bytes in ["cd", "ef", "gh"] {
                append(&*file, bytes.as_bytes()).await;
            }
            inner.disk.power_lost_keeping(survival);
            inner.disk.cached("/file").unwrap()
        })
    };
    (0..60).map(left).collect()
}

fn texts(found: &BTreeSet<Vec<u8>>) -> Vec<String> {
    found.iter().map(|bytes| String::from_utf8_lossy(bytes).replace('\0', "0")).collect()
}

#[test]
fn survival_keeps_what_it_says() {
    assert_eq!(texts(&survivors(Survival::Nothing)), ["ab"]);
    assert_eq!(texts(&survivors(Survival::Everything)), ["abcdefgh"]);
    assert_eq!(texts(&survivors(Survival::Prefix)), ["ab", "abcd", "abcdef", "abcdefgh"]);
    let zeros = ["ab000000", "abcd0000", "abcdef00", "abcdefgh"];
    assert_eq!(texts(&survivors(Survival::LengthOnly)), zeros);
    let any = ["ab", "ab0000gh", "ab00ef", "ab00efgh", "abcd", "abcd00gh", "abcdef", "abcdefgh"];
    assert_eq!(texts(&survivors(Survival::Subset)), any);
    assert!(4 <= survivors(Survival::Mixed).len());
}

#[test]
fn torn_write_is_cut_at_sectors() {
    let mut lens = BTreeSet::new();
    let mut has_hole = false;
    for seed in 0..60 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        let left = machine.run(async move {
            let file = put(&*inner.mount(), "/file", &[]).await;
            inner.disk.settle();
            write_all_at(&*file, 0, &[Bytes::from(vec![7; 2_000])]).await.unwrap();
            inner.disk.power_lost_keeping(Survival::Torn);
            inner.disk.cached("/file").unwrap()
        });
        assert!(left.len().is_multiple_of(512) || left.len() == 2_000, "{}", left.len());
        for sector in left.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is atomic");
            has_hole |= sector[0] == 0;
        }
        lens.insert(left.len());
    }
    assert_eq!(lens.into_iter().collect::<Vec<_>>(), [0, 512, 1024, 1536, 2000]);
    assert!(has_hole);
}

#[test]
fn pages_survive_one_by_one() {
    let mut kinds = BTreeSet::new();
    for seed in 0..60 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        let left = machine.run(async move {
            let file = put(&*inner.mount(), "/file", &[1; 8192]).await;
            inner.disk.settle();
            write_all_at(&*file, 0, &[Bytes::from(vec![2; 8192])]).await.unwrap();
            inner.disk.power_lost_keeping(Survival::Pages);
            inner.disk.cached("/file").unwrap()
        });
        kinds.insert((left[0], left[4096]));
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [(1, 1), (1, 2), (2, 1), (2, 2)]);
}

#[test]
fn a_kill_keeps_the_cache() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let process = inner.world.start_process(inner.node);
        let disk = inner.disk.mount(process);
        let file = put(&*disk, "/file", b"written").await;
        let _lock = disk.lock(Path::new("/lock")).await.unwrap();
        inner.world.end_process(inner.node);
        assert!(!inner.disk.process_ended(process).had_effect());
        assert_eq!(inner.disk.cached("/file").unwrap(), b"written");
        assert_eq!(inner.disk.durable("/file"), None);
        assert!(file.len().await.is_err(), "files of an ended process are dead");
        let next = inner.disk.mount(inner.world.start_process(inner.node));
        assert_eq!(get(&*next, "/file").await.unwrap(), "written");
        let lock = next.lock(Path::new("/lock")).await.unwrap();
        drop(_lock);
        let again = next.lock(Path::new("/lock")).await;
        assert_eq!(again.err().unwrap().kind(), ErrorKind::WouldBlock, "an old lock frees nothing");
        drop(lock);
    });
}

#[test]
fn a_kill_tears_a_write_in_flight() {
    let mut lens = BTreeSet::new();
    for seed in 0..40 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        let len = machine.run(async move {
            let process = inner.world.start_process(inner.node);
            let runtime = inner.runtime(process);
            let disk = Arc::clone(&runtime.disk);
            spawn(&runtime, "writer", async move {
                let file = create(&*disk, "/file").await;
                loop {
                    file.write_at(0, &[Bytes::from(vec![1; 1000])]).await.unwrap();
                    file.set_len(0).await.unwrap();
                }
            });
            while inner.disk.cached("/file").is_none() || inner.disk.in_flight() == 0 {
                inner.sleep_micros(1).await;
            }
            inner.world.end_process(inner.node);
            assert_eq!(inner.disk.in_flight(), 1, "what a dead process had in flight is kept");
            let ended = inner.disk.process_ended(process);
            assert_eq!((ended.in_flight, inner.disk.in_flight()), (1, 0));
            inner.disk.cached("/file").unwrap().len()
        });
        lens.insert(len);
    }
    assert!(lens.contains(&0) && lens.contains(&1000) && 6 < lens.len(), "{lens:?}");
}

#[test]
fn names_need_a_sync_of_their_directory() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        for path in ["/synced", "/removed", "/lost"] {
            put(&*disk, path, b"x").await.sync_data().await.unwrap();
            if path != "/lost" {
                disk.sync_dir(Path::new("/")).await.unwrap();
            }
        }
        disk.remove_file(Path::new("/removed")).await.unwrap();
        let loss = inner.disk.power_lost_keeping(Survival::Nothing);
        assert_eq!((loss.names_lost, loss.bytes_lost), (2, 0));
        let names: Vec<String> =
            inner.disk.files().into_iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(names, ["/removed", "/synced"]);
        let effects = inner.disk.effects();
        assert_eq!((effects[0].kind, effects[0].strikes), (FaultKind::PowerLoss, 2));
    });
}

#[test]
fn a_rename_between_directories_is_atomic() {
    let mut places = BTreeSet::new();
    for seed in 0..80 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        let found = machine.run(async move {
            let disk = inner.mount();
            disk.create_dir_all(Path::new("/a")).await.unwrap();
            disk.create_dir_all(Path::new("/b")).await.unwrap();
            put(&*disk, "/a/file", b"moved").await;
            put(&*disk, "/b/file", b"replaced").await;
            inner.disk.settle();
            disk.rename(Path::new("/a/file"), Path::new("/b/file")).await.unwrap();
            disk.rename(Path::new("/b/file"), Path::new("/b/again")).await.unwrap();
            inner.disk.power_lost();
            let read = |path| inner.disk.cached(path).map(|bytes| bytes.len());
            (read("/a/file"), read("/b/file"), read("/b/again"))
        });
        places.insert(found);
    }
    let before = (Some(5), Some(8), None);
    let between = (None, Some(5), None);
    let after = (None, None, Some(5));
    assert_eq!(places, BTreeSet::from([before, between, after]));
}

#[test]
fn a_directory_syncs_what_its_names_build_on() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        disk.create_dir_all(Path::new("/a")).await.unwrap();
        disk.create_dir_all(Path::new("/b")).await.unwrap();
        disk.sync_dir(Path::new("/")).await.unwrap();
        put(&*disk, "/a/file", b"x").await.sync_data().await.unwrap();
        put(&*disk, "/a/other", b"x").await;
        disk.rename(Path::new("/a/file"), Path::new("/b/file")).await.unwrap();
        disk.sync_dir(Path::new("/b")).await.unwrap();
        assert_eq!(inner.disk.unsynced_names(), 1, "the other file");
        inner.disk.power_lost_keeping(Survival::Nothing);
        assert_eq!(inner.disk.files().len(), 1);
        assert_eq!(inner.disk.cached("/b/file").unwrap(), b"x");
    });
}

#[test]
fn a_paused_process_has_its_operations_done() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let runtime = inner.runtime(inner.world.start_process(inner.node));
        let disk = Arc::clone(&runtime.disk);
        spawn(&runtime, "writer", async move {
            let file = create(&*disk, "/file").await;
            file.write_at(0, &[Bytes::from_static(b"late")]).await.unwrap();
            file.sync_data().await.unwrap();
        });
        while inner.disk.cached("/file").is_none() || inner.disk.in_flight() == 0 {
            inner.sleep_micros(1).await;
        }
        inner.world.pause(inner.node);
        inner.sleep_micros(1_000_000).await;
        assert_eq!(inner.disk.cached("/file").unwrap(), b"late");
        assert_eq!(inner.disk.in_flight(), 0);
    });
}

#[test]
fn a_sync_covers_what_completed_before_it_began() {
    for seed in 0..40 {
        let machine = Machine::new(seed);
        let inner = machine.clone();
        machine.run(async move {
            let runtime = inner.runtime(inner.world.start_process(inner.node));
            let file = create(&*runtime.disk, "/file").await;
            inner.disk.settle();
            let (written, synced) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let (end, appended) = (Arc::clone(&written), Arc::clone(&file));
            spawn(&runtime, "writer", async move {
                loop {
                    append(&*appended, &end.load(Ordering::Relaxed).to_le_bytes()).await;
                    end.fetch_add(8, Ordering::Relaxed);
                }
            });
            for _ in 0..3 {
                let (file, end) = (Arc::clone(&file), Arc::clone(&written));
                let covered = Arc::clone(&synced);
                spawn(&runtime, "syncer", async move {
                    loop {
                        let before = end.load(Ordering::Relaxed);
                        file.sync_data().await.unwrap();
                        covered.fetch_max(before, Ordering::Relaxed);
                    }
                });
            }
            inner.sleep_micros(5_000).await;
            inner.disk.power_lost();
            inner.world.end_process(inner.node);
            let left = inner.disk.cached("/file").unwrap();
            let synced = synced.load(Ordering::Relaxed) as usize;
            assert!(0 < synced && synced <= left.len(), "{synced} {}", left.len());
            let words = (0..synced as u64).step_by(8).flat_map(u64::to_le_bytes);
            assert!(words.eq(left[..synced].iter().copied()));
        });
    }
}

#[test]
fn a_removed_directory_may_be_there_in_part() {
    let mut counts = BTreeSet::new();
    for seed in 0..60 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        let count = machine.run(async move {
            let process = inner.world.start_process(inner.node);
            let runtime = inner.runtime(process);
            for number in 0..5 {
                let directory = format!("/top/{number}");
                runtime.disk.create_dir_all(Path::new(&directory)).await.unwrap();
                put(&*runtime.disk, &format!("{directory}/file"), b"x").await;
            }
            let disk = Arc::clone(&runtime.disk);
            spawn(&runtime, "remover", async move {
                let _ = disk.remove_dir_all(Path::new("/top")).await;
            });
            while inner.disk.in_flight() == 0 {
                inner.sleep_micros(1).await;
            }
            inner.world.end_process(inner.node);
            inner.disk.process_ended(process);
            inner.disk.files().len()
        });
        counts.insert(count);
    }
    assert!(counts.contains(&0) && counts.contains(&5) && 3 < counts.len(), "{counts:?}");
}

#[test]
fn an_image_is_the_disk_of_another_machine() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        disk.create_dir_all(Path::new("/a/b")).await.unwrap();
        put(&*disk, "/a/b/file", b"unsynced").await;
        let image = inner.disk.snapshot();
        assert_eq!(image.directories().collect::<Vec<_>>(), ["/a", "/a/b"]);
        assert_eq!(image.file("/a/b/file").unwrap(), "unsynced");
        let other = SimDisk::new(&inner.world, inner.world.add_node("x"), DiskProfile::default());
        let fault = other.restore(&image);
        assert_eq!(other.strikes(fault), 1);
        assert_eq!(other.snapshot(), image);
        assert_eq!(other.durable("/a/b/file").unwrap(), b"unsynced");
        put(&*other.mount(inner.world.start_process(other.node())), "/a/b/file", b"other").await;
        assert_eq!(inner.disk.cached("/a/b/file").unwrap(), b"unsynced");
        assert_eq!(other.used_bytes(), 8);
        inner.disk.wipe();
        assert_eq!((inner.disk.files().len(), inner.disk.used_bytes()), (0, 0));
        let dead = disk.open(Path::new("/a/b/file"), OpenMode::Read).await;
        assert!(dead.is_err(), "the disk was taken away");
    });
}

#[test]
fn many_files_come_and_go() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        for round in 0..40 {
            for number in 0..50 {
                put(&*disk, &format!("/{number}"), &[7; 100]).await;
            }
            for number in 0..50 {
                disk.remove_file(Path::new(&format!("/{number}"))).await.unwrap();
            }
            disk.sync_dir(Path::new("/")).await.unwrap();
            assert_eq!(inner.disk.used_bytes(), 0, "round {round}");
        }
        assert!(inner.disk.lock().tree.inodes.len() < 1_500);
        let open = put(&*disk, "/open", &[7; 100]).await;
        disk.remove_file(Path::new("/open")).await.unwrap();
        assert_eq!(inner.disk.used_bytes(), 100, "an open file takes room");
        drop(open);
        assert_eq!(inner.disk.used_bytes(), 0);
    });
}

#[test]
fn a_tap_can_crash_between_effect_and_answer() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let process = inner.world.start_process(inner.node);
        let runtime = inner.runtime(process);
        let (disk, world, node) = (inner.disk.clone(), inner.world.clone(), inner.node);
        inner.disk.on_operation(Box::new(move |event| {
            use crate::disk::{Op, Phase};
            if event.op != Op::Sync || event.nth != 3 || event.phase != Phase::Effect {
                return Verdict::Go;
            }
            let disk = disk.clone();
            world.at(world.now(), move |world| {
                disk.power_lost_keeping(Survival::Nothing);
                world.end_process(node);
            });
            Verdict::Hang
        }));
        let disk = Arc::clone(&runtime.disk);
        let writer = spawn(&runtime, "writer", async move {
            let file = create(&*disk, "/file").await;
            disk.sync_dir(Path::new("/")).await.unwrap();
            loop {
                append(&*file, b"x").await;
                file.sync_data().await.unwrap();
            }
        });
        assert!(writer.join().await.is_err());
        assert_eq!(inner.disk.cached("/file").unwrap(), b"xxx");
    });
}

/// What a loss of power with a given key leaves of some files, with and without something before.
fn left(seed: u64, has_another: bool) -> Vec<(String, Vec<u8>)> {
    let machine = Machine::plain(seed);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        for path in ["/a", "/b"] {
            disk.create_dir_all(Path::new(path)).await.unwrap();
        }
        inner.disk.settle();
        if has_another {
            inner.disk.power_lost_by(1);
            inner.disk.rot(&crate::disk::PathFilter::Any, 2);
        }
        let disk = inner.mount();
        if has_another {
            // One more name leaves the others as they were.
            put(&*disk, "/0", b"x").await;
        }
        for path in ["/a/1", "/a/2", "/b/1", "/b/2"] {
            let file = put(&*disk, path, b"some").await;
            append(&*file, b"more").await;
            append(&*file, b"most").await;
        }
        inner.disk.power_lost_by(3);
        let files = inner.disk.files().into_iter().filter(|(path, _)| &**path != "/0");
        files.map(|(path, _)| (path.to_string(), inner.disk.cached(&*path).unwrap())).collect()
    })
}

#[test]
fn a_loss_of_power_draws_the_same_whatever_came_before() {
    let seeds = 40;
    // A journal of the whole file system is cut at one place, so there everything counts.
    let same = (0..seeds).filter(|seed| left(*seed, false) == left(*seed, true)).count();
    assert!(34 <= same, "{same} of {seeds}");
    assert!((0..seeds).any(|seed| !left(seed, false).is_empty()));
}
