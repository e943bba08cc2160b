//! Disks that lie, rot and put bytes where they do not belong.

use std::path::Path;

use bytes::Bytes;

use super::{Machine, get, put};
use crate::disk::{PathFilter, Survival};

#[test]
fn a_lying_disk_loses_what_was_synced() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        let file = put(&*disk, "/file", b"old").await;
        inner.disk.settle();
        let fault = inner.disk.lie_about_syncs(true);
        file.write_at(0, &[Bytes::from_static(b"new")]).await.unwrap();
        file.sync_data().await.unwrap();
        put(&*disk, "/other", b"x").await;
        disk.sync_dir(Path::new("/")).await.unwrap();
        assert_eq!(inner.disk.strikes(fault), 2);
        let loss = inner.disk.power_lost_keeping(Survival::Nothing);
        assert!(loss.was_lied_about);
        assert_eq!(inner.disk.cached("/file").unwrap(), b"old");
        assert_eq!(inner.disk.cached("/other"), None);
    });
}

#[test]
fn an_honest_sync_makes_up_for_the_lies() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        inner.disk.lie_about_syncs(true);
        let file = put(&*disk, "/file", b"kept").await;
        file.sync_data().await.unwrap();
        disk.sync_dir(Path::new("/")).await.unwrap();
        inner.disk.lie_about_syncs(false);
        file.sync_data().await.unwrap();
        disk.sync_dir(Path::new("/")).await.unwrap();
        let loss = inner.disk.power_lost_keeping(Survival::Nothing);
        assert_eq!((loss.was_lied_about, loss.bytes_lost, loss.names_lost), (false, 0, 0));
        assert_eq!(inner.disk.cached("/file").unwrap(), b"kept");
    });
}

#[test]
fn rot_flips_one_bit_for_good() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        let disk = inner.mount();
        let file = put(&*disk, "/0.log", &[0; 100]).await;
        put(&*disk, "/0.index", &[0; 100]).await;
        put(&*disk, "/empty.log", &[]).await;
        let logs = PathFilter::Suffix(".log".to_owned());
        let fault = inner.disk.rot(&logs, 1);
        assert_eq!(inner.disk.strikes(fault), 1);
        let rotten = inner.disk.cached("/0.log").unwrap();
        assert_eq!(rotten.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        file.sync_data().await.unwrap();
        assert_eq!(inner.disk.durable("/0.log"), None, "the name is not durable");
        inner.disk.settle();
        assert_eq!(inner.disk.durable("/0.log").unwrap(), rotten);
        let (fault, place) = inner.disk.rot_at(&logs, 7, 3);
        let place = place.unwrap();
        assert_eq!((&*place.path, place.position, place.bit), ("/0.log", 7, 3));
        assert_eq!(inner.disk.strikes(fault), 1);
        assert_eq!(inner.disk.durable("/0.log").unwrap()[7], rotten[7] ^ 8);
        assert_eq!(inner.disk.cached("/0.index").unwrap(), [0; 100]);
        assert_eq!(inner.disk.rot_at(&logs, 100, 0).1, None, "no file is so long");
        let none = inner.disk.rot(&PathFilter::Suffix(".snapshot".to_owned()), 1);
        assert_eq!(inner.disk.strikes(none), 0);
    });
}

#[test]
fn unsynced_bytes_rot_too() {
    let machine = Machine::plain(1);
    let inner = machine.clone();
    machine.run(async move {
        put(&*inner.mount(), "/file", &[0; 10]).await;
        inner.disk.rot_at(&PathFilter::Any, 4, 0);
        inner.disk.power_lost_keeping(Survival::Everything);
        assert_eq!(inner.disk.cached("/file").unwrap(), [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    });
}

#[test]
fn a_misdirected_write_lands_elsewhere() {
    let (mut same_file, mut other_file) = (0, 0);
    for seed in 0..30 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        let (log, index) = machine.run(async move {
            let disk = inner.mount();
            let file = put(&*disk, "/0.log", &[1; 20_000]).await;
            put(&*disk, "/0.index", &[1; 20_000]).await;
            let fault = inner.disk.misdirect_next_write(PathFilter::Suffix(".log".to_owned()));
            let count = file.write_at(20_000, &[Bytes::from(vec![2; 10])]).await.unwrap();
            assert_eq!((count, inner.disk.strikes(fault)), (10, 1));
            file.write_at(20_010, &[Bytes::from(vec![3; 10])]).await.unwrap();
            (inner.disk.cached("/0.log").unwrap(), inner.disk.cached("/0.index").unwrap())
        });
        assert_eq!(log[20_000..20_010], [0; 10], "where they were meant to be");
        assert_eq!(log[20_010..20_020], [3; 10], "only one write is misdirected");
        let wrong = |bytes: &[u8]| bytes.iter().position(|byte| *byte == 2);
        assert_eq!(wrong(&log).or(wrong(&index)).unwrap() % 4096, 20_000 % 4096);
        same_file += usize::from(wrong(&log).is_some());
        other_file += usize::from(wrong(&index).is_some());
    }
    assert_eq!(same_file + other_file, 30);
    assert!(5 < same_file && 5 < other_file, "{same_file} {other_file}");
}

#[test]
fn a_misdirected_read_comes_from_elsewhere() {
    for seed in 0..20 {
        let machine = Machine::plain(seed);
        let inner = machine.clone();
        machine.run(async move {
            let disk = inner.mount();
            let content: Vec<u8> = (0..20_000).map(|at| (at / 4096) as u8 + 1).collect();
            let file = put(&*disk, "/file", &content).await;
            let fault = inner.disk.misdirect_next_read(PathFilter::Any);
            let bytes = file.read_at(5_000, 100).await.unwrap();
            assert_eq!(bytes.len(), 100);
            assert!(bytes.iter().all(|byte| *byte != 2), "{bytes:?}");
            assert_eq!(inner.disk.strikes(fault), 1);
            assert_eq!(get(&*disk, "/file").await.unwrap(), content);
        });
    }
}
