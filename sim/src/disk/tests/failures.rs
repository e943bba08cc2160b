//! Operations that fail, wait or find no room.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use runtime::{Disk, OpenMode, read_exact_at, write_all_at};

use super::{Machine, append, create, get, put};
use crate::disk::{DiskProfile, Op, PathFilter, Phase, Survival, Verdict};

fn log() -> PathFilter {
    PathFilter::of("/a/", ".log")
}

async fn at_a(disk: &dyn Disk) {
    disk.create_dir_all(Path::new("/a")).await.unwrap();
}

#[test]
fn filters_match_paths() {
    let matches = |filter: PathFilter| filter.matches("/data/orders-0/00.log");
    assert!(matches(PathFilter::Any));
    assert!(matches(PathFilter::Is("/data/orders-0/00.log".to_owned())));
    assert!(matches(PathFilter::of("/orders-0/", ".log")));
    assert!(!matches(PathFilter::of("/orders-0/", ".index")));
    assert!(!matches(PathFilter::Contains("/orders-00".to_owned())));
}

#[test]
fn plans_are_data() {
    let profile = DiskProfile { read_nanos: (1, 2), ..DiskProfile::default() };
    let text = toml::to_string(&profile).unwrap();
    assert_eq!(toml::from_str::<DiskProfile>(&text).unwrap(), profile);
    assert_eq!(toml::from_str::<DiskProfile>("read_nanos = [1, 2]").unwrap(), profile);
    let filters = BTreeMap::from([("log".to_owned(), log()), ("any".to_owned(), PathFilter::Any)]);
    let text = toml::to_string(&filters).unwrap();
    assert_eq!(toml::from_str::<BTreeMap<String, PathFilter>>(&text).unwrap(), filters);
}

#[test]
fn the_nth_operation_fails_once() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        at_a(&*disk).await;
        let fault = inner.disk.fail_next(Op::Write, log(), 2);
        let other = put(&*disk, "/a/0.index", b"not meant").await;
        append(&*other, b" this file").await;
        let file = put(&*disk, "/a/0.log", b"first").await;
        assert_eq!(inner.disk.strikes(fault), 0);
        assert!(file.write_at(5, &[Bytes::from_static(b"second")]).await.is_err());
        assert_eq!(inner.disk.strikes(fault), 1);
        let effect = inner.disk.effects().remove(0);
        assert_eq!((&*effect.first, effect.first_at), ("/a/0.log", Some(effect.first_at.unwrap())));
        file.write_at(5, &[Bytes::from_static(b"third!")]).await.unwrap();
        assert_eq!(get(&*disk, "/a/0.log").await.unwrap(), "firstthird!");
    });
}

#[test]
fn every_kind_of_operation_can_fail() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        let file = put(&*disk, "/file", b"x").await;
        let (path, root) = (Path::new("/file"), Path::new("/"));
        let ops =
            [Op::Open, Op::Read, Op::SyncDir, Op::Rename, Op::RemoveFile, Op::SetLen, Op::List];
        let faults = ops.map(|op| inner.disk.fail_next(op, PathFilter::Any, 1));
        assert!(disk.open(path, OpenMode::Read).await.is_err());
        assert!(file.read_at(0, 1).await.is_err());
        assert!(disk.sync_dir(root).await.is_err());
        assert!(disk.rename(path, Path::new("/other")).await.is_err());
        assert!(disk.remove_file(path).await.is_err());
        assert!(file.set_len(0).await.is_err());
        assert!(disk.list(root).await.is_err());
        assert!(faults.iter().all(|fault| inner.disk.strikes(*fault) == 1));
        assert_eq!(get(&*disk, "/file").await.unwrap(), "x", "nothing happened");
        assert_eq!(inner.disk.durable("/file"), None);
    });
}

#[test]
fn a_failed_write_may_have_written_its_beginning() {
    let mut lens = BTreeSet::new();
    for seed in 0..30 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        lens.insert(machine.run(async move {
            let file = create(&*inner.mount(), "/file").await;
            inner.disk.fail_next(Op::Write, PathFilter::Any, 1);
            assert!(file.write_at(0, &[Bytes::from(vec![1; 100])]).await.is_err());
            file.len().await.unwrap()
        }));
    }
    assert!(lens.contains(&0) && 5 < lens.len() && !lens.contains(&100), "{lens:?}");
}

#[test]
fn a_failed_sync_loses_pages_and_the_next_one_succeeds() {
    let mut fates = BTreeSet::new();
    for seed in 0..200 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        fates.extend(machine.run(async move {
            let disk = inner.mount();
            let file = put(&*disk, "/file", &[1; 8192]).await;
            inner.disk.settle();
            write_all_at(&*file, 0, &[Bytes::from(vec![2; 8192])]).await.unwrap();
            let fault = inner.disk.fail_next(Op::Sync, PathFilter::Any, 1);
            let (one, two) = runtime::tokio::join!(file.sync_data(), file.sync_data());
            assert!(one.is_err());
            assert_eq!(inner.disk.strikes(fault), 1);
            if two.is_ok() {
                // It came first, so there was nothing to lose.
                assert_eq!(inner.disk.durable("/file").unwrap(), [2; 8192]);
                return None;
            }
            file.sync_data().await.unwrap();
            let durable = inner.disk.durable("/file").unwrap();
            inner.sleep_micros(200_000).await;
            let cached = get(&*disk, "/file").await.unwrap();
            inner.disk.power_lost_keeping(Survival::Everything);
            assert_eq!(inner.disk.cached("/file").unwrap(), durable);
            Some([0, 4096].map(|at| (durable[at], cached[at])))
        }));
    }
    // Written; lost and cached; lost and forgotten: each page by itself.
    let each = [(2, 2), (1, 2), (1, 1)];
    let all = each.iter().flat_map(|one| each.map(|other| [*one, other]));
    assert_eq!(fates, all.collect::<BTreeSet<_>>());
}

#[test]
fn a_lost_page_that_is_written_again_is_whole() {
    for seed in 0..40 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        machine.run(async move {
            let file = put(&*inner.mount(), "/file", &[1; 8192]).await;
            inner.disk.settle();
            write_all_at(&*file, 0, &[Bytes::from(vec![2; 8192])]).await.unwrap();
            inner.disk.fail_next(Op::Sync, PathFilter::Any, 1);
            assert!(file.sync_data().await.is_err());
            let lost = inner.disk.durable("/file").unwrap();
            let cached = inner.disk.cached("/file").unwrap();
            write_all_at(&*file, 10, &[Bytes::from_static(b"x")]).await.unwrap();
            file.sync_data().await.unwrap();
            let durable = inner.disk.durable("/file").unwrap();
            assert_eq!((durable[0], durable[4095], durable[10]), (cached[0], cached[0], b'x'));
            assert_eq!(durable[4096..], lost[4096..], "the other page stays as it was");
        });
    }
}

#[test]
fn a_page_that_is_written_during_a_failing_sync_is_whole() {
    for seed in 0..40 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        machine.run(async move {
            let file = put(&*inner.mount(), "/file", &[1; 4096]).await;
            inner.disk.settle();
            write_all_at(&*file, 0, &[Bytes::from(vec![2; 4096])]).await.unwrap();
            inner.disk.fail_next(Op::Sync, PathFilter::Any, 1);
            inner.disk.stall(Duration::from_millis(1));
            let bytes = [Bytes::from_static(b"x")];
            let again = file.write_at(10, &bytes);
            let (failed, written) = runtime::tokio::join!(file.sync_data(), again);
            assert!(failed.is_err());
            assert_eq!(written.unwrap(), 1);
            file.sync_data().await.unwrap();
            let durable = inner.disk.durable("/file").unwrap();
            assert_eq!((durable[0], durable[4095], durable[10]), (2, 2, b'x'), "seed {seed}");
        });
    }
}

#[test]
fn a_full_disk_refuses_takes_a_part_and_takes_all_again() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        let file = put(&*disk, "/file", &[1; 100]).await;
        let (capacity, path) = (DiskProfile::default().capacity_bytes, Path::new("/"));
        assert_eq!(disk.space(path).await.unwrap().free, capacity - 100);
        let fault = inner.disk.full(30);
        assert_eq!(disk.space(path).await.unwrap().free, 30);
        let bytes = [Bytes::from(vec![2; 100])];
        assert_eq!(
            file.write_at(0, &bytes).await.unwrap(),
            100,
            "what is there can be overwritten"
        );
        assert_eq!(inner.disk.strikes(fault), 0);
        assert_eq!(file.write_at(50, &bytes).await.unwrap(), 80);
        let none = file.write_at(130, &bytes).await.unwrap_err();
        assert_eq!(none.kind(), ErrorKind::StorageFull);
        let longer = file.set_len(131).await.unwrap_err();
        assert_eq!(longer.kind(), ErrorKind::StorageFull);
        assert_eq!(inner.disk.strikes(fault), 3);
        file.set_len(120).await.unwrap();
        assert_eq!(file.write_at(120, &bytes).await.unwrap(), 10, "what was freed can be used");
        inner.disk.free_again(fault);
        assert_eq!(file.write_at(130, &bytes).await.unwrap(), 100);
    });
}

#[test]
fn a_small_disk_fills_by_itself() {
    let profile = DiskProfile {
        capacity_bytes: 1000,
        short_writes_one_in: 0,
        short_reads_one_in: 0,
        ..DiskProfile::default()
    };
    let machine = Machine::with(1, profile);
    let inner = machine.clone();
    machine.run(async move {
        let file = put(&*inner.mount(), "/file", &[1; 990]).await;
        let bytes = [Bytes::from(vec![2; 100])];
        assert_eq!(file.write_at(990, &bytes).await.unwrap(), 10);
        let error = file.write_at(1000, &bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        let far = file.write_at(1 << 60, &bytes).await.unwrap_err();
        assert_eq!(far.kind(), ErrorKind::FileTooLarge);
    });
}

#[test]
fn a_stall_holds_what_begins_and_what_is_in_flight() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let file = put(&*inner.mount(), "/file", b"x").await;
        let world = inner.world.clone();
        let mut sync = file.sync_data();
        let begun = std::future::poll_fn(|context| {
            std::task::Poll::Ready(sync.as_mut().poll(context).is_pending())
        });
        assert!(begun.await);
        let start = world.now();
        let fault = inner.disk.stall(Duration::from_millis(500));
        sync.await.unwrap();
        assert!(500_000_000 <= world.now() - start);
        assert_eq!(inner.disk.strikes(fault), 1);
        let start = world.now();
        file.len().await.unwrap();
        assert!(world.now() - start < 10_000_000, "it is over");
    });
}

#[test]
fn a_slow_disk_takes_so_many_times_as_long() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let file = put(&*inner.mount(), "/file", b"x").await;
        let fault = inner.disk.slow(1_000, Duration::from_secs(100));
        let start = inner.world.now();
        file.write_at(0, &[Bytes::from_static(b"y")]).await.unwrap();
        assert!(1_000_000 <= inner.world.now() - start);
        assert_eq!(inner.disk.strikes(fault), 1);
        inner.disk.heal();
        let start = inner.world.now();
        file.write_at(0, &[Bytes::from_static(b"z")]).await.unwrap();
        assert!(inner.world.now() - start < 1_000_000);
    });
}

#[test]
fn reads_and_writes_are_short_now_and_then() {
    let profile =
        DiskProfile { short_reads_one_in: 4, short_writes_one_in: 4, ..DiskProfile::default() };
    let machine = Machine::with(1, profile);
    let inner = machine.clone();
    machine.run(async move {
        let file = create(&*inner.mount(), "/file").await;
        let bytes = [Bytes::from(vec![2; 100])];
        let (mut writes, mut reads) = (0, 0);
        for _ in 0..100 {
            writes += u32::from(file.write_at(0, &bytes).await.unwrap() < 100);
            write_all_at(&*file, 0, &bytes).await.unwrap();
            reads += u32::from(file.read_at(0, 100).await.unwrap().len() < 100);
            assert_eq!(read_exact_at(&*file, 0, 100).await.unwrap(), bytes[0]);
        }
        assert!((5..60).contains(&writes) && (5..60).contains(&reads), "{writes} {reads}");
    });
}

#[test]
fn syncs_take_long_now_and_then() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let file = put(&*inner.mount(), "/file", b"x").await;
        let mut nanos = Vec::new();
        for _ in 0..1_000 {
            let start = inner.world.now();
            file.sync_data().await.unwrap();
            nanos.push(inner.world.now() - start);
        }
        nanos.sort_unstable();
        assert!((200_000..400_000).contains(&nanos[500]), "{}", nanos[500]);
        assert!((50_000..100_000).contains(&nanos[0]), "{}", nanos[0]);
        assert!((5_000_000..32_000_000).contains(&nanos[999]), "{}", nanos[999]);
    });
}

#[test]
fn a_tap_decides() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let file = put(&*inner.mount(), "/file", b"x").await;
        let mut seen = Vec::new();
        inner.disk.on_operation(Box::new(move |event| {
            seen.push((event.op, event.phase));
            match (event.op, event.phase) {
                (Op::Write, Phase::Begin) => Verdict::Fail(ErrorKind::Interrupted),
                (Op::SetLen, Phase::Effect) => {
                    assert_eq!(seen.len(), 4);
                    Verdict::Fail(ErrorKind::TimedOut)
                }
                _ => Verdict::Go,
            }
        }));
        let refused = file.write_at(1, &[Bytes::from_static(b"")]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Interrupted);
        let done = file.set_len(3).await.unwrap_err();
        assert_eq!(done.kind(), ErrorKind::TimedOut);
        assert_eq!(inner.disk.cached("/file").unwrap(), b"x\0\0");
        inner.disk.remove_tap();
        append(&*file, b"y").await;
        assert_eq!(inner.disk.cached("/file").unwrap(), b"x\0\0y");
    });
}

#[test]
fn a_heal_ends_a_stall_under_way() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let file = put(&*inner.mount(), "/file", b"x").await;
        inner.disk.stall(Duration::from_secs(600));
        let disk = inner.disk.clone();
        inner.world.after(Duration::from_secs(1), move |_| disk.heal());
        let start = inner.world.now();
        file.len().await.unwrap();
        assert!((1_000_000_000..1_010_000_000).contains(&(inner.world.now() - start)));
    });
}

#[test]
fn a_fault_that_ends_leaves_the_others_as_they_were() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let file = put(&*inner.mount(), "/file", &[1; 100]).await;
        let (long, short) = (inner.disk.full(10), inner.disk.full(50));
        let bytes = [Bytes::from(vec![2; 100])];
        assert_eq!(file.write_at(100, &bytes).await.unwrap(), 10);
        inner.disk.free_again(short);
        assert!(file.write_at(110, &bytes).await.is_err());
        assert_eq!((inner.disk.strikes(long), inner.disk.strikes(short)), (2, 0));
        inner.disk.free_again(long);
        assert_eq!(file.write_at(110, &bytes).await.unwrap(), 100);
        inner.disk.slow(1_000, Duration::from_secs(100));
        inner.disk.slow(2, Duration::from_millis(1));
        let start = inner.world.now();
        file.write_at(0, &bytes).await.unwrap();
        assert!(1_000_000 <= inner.world.now() - start);
    });
}

#[test]
fn a_failed_removal_of_a_directory_has_removed_a_part() {
    let mut left = BTreeSet::new();
    for seed in 0..40 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        left.insert(machine.run(async move {
            let disk = inner.mount();
            at_a(&*disk).await;
            for name in ["/a/1", "/a/2", "/a/3"] {
                put(&*disk, name, b"x").await;
            }
            let fault = inner.disk.fail_next_removal(PathFilter::Any, 1);
            assert!(disk.remove_dir_all(Path::new("/a")).await.is_err());
            assert_eq!(inner.disk.strikes(fault), 1);
            inner.disk.files().len()
        }));
    }
    assert_eq!(left, BTreeSet::from([0, 1, 2, 3]));
}
