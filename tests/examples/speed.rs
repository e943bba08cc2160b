//! A first look at speed, klamm beside Apache Kafka on the same machine, in turns.
//!
//! `cargo run --release -p tests --example speed [-- klamm|kafka]`; `KLAMM_SPEED_SECONDS` for each
//! measurement (default 5), `KLAMM_SPEED_TURNS` (default 3; medians are printed).
//!
//! "synced" is `klamm.durability=fsync` here and `flush.messages=1` there; the page cache is
//! `klamm.durability=os` here and Kafka's default there. Load and broker share the cores.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tests::driver::Driver;
use tests::load::{ProduceLoad, fetch, produce};
use tests::matrix::clients::FRANZ_GO;
use tests::server::{Peer, Server};

const PARTITIONS: u32 = 6;

/// Measurements in the order in which they are taken: (name, unit) to values.
type Figures = BTreeMap<(usize, String), Vec<f64>>;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let turns = number("KLAMM_SPEED_TURNS", 3)?;
    let seconds = Duration::from_secs(number("KLAMM_SPEED_SECONDS", 5)?);
    let directory = tempfile::Builder::new().prefix("klamm-speed-").tempdir()?;
    let mut all = BTreeMap::new();
    for turn in 0..turns {
        for (name, peer) in [("klamm", Peer::Klamm), ("kafka", Peer::Kafka)] {
            if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
                let place = directory.path().join(format!("{name}-{turn}"));
                fs::create_dir_all(&place)?;
                let server = Server::start(&peer, &place)?;
                measure(&server, &place, seconds, all.entry(name).or_default())
                    .with_context(|| server.log_tail())?;
                drop(server);
                fs::remove_dir_all(&place)?;
            }
        }
    }
    print(&mut all);
    Ok(())
}

fn number(variable: &str, default: u64) -> Result<u64> {
    Ok(std::env::var(variable).ok().map_or(Ok(default), |value| value.parse())?)
}

fn measure(server: &Server, place: &Path, seconds: Duration, figures: &mut Figures) -> Result<()> {
    let address = server.address();
    let mut command = (FRANZ_GO.command)(&address)?;
    let mut driver = Driver::start(&mut command, &place.join("driver.log"), true)?;
    let configs = match server {
        Server::Klamm(_) => {
            [json!({"klamm.durability": "os"}), json!({"klamm.durability": "fsync"})]
        }
        Server::Kafka(_) | Server::Running(_) => [json!({}), json!({"flush.messages": "1"})],
    };
    let mut put = |order: usize, name: String, value: f64| {
        figures.entry((order, name)).or_default().push(value);
    };
    for (order, durability, config) in
        [(0, "page cache", &configs[0]), (100, "synced", &configs[1])]
    {
        let (large, small, single) =
            (format!("large-{order}"), format!("small-{order}"), format!("single-{order}"));
        for topic in [&large, &small, &single] {
            driver.create_topic(topic, i32::try_from(PARTITIONS)?, config)?;
        }
        let load = |topic, batch_bytes, connections, in_flight| ProduceLoad {
            topic,
            partitions: PARTITIONS,
            batch_bytes,
            value_bytes: 100,
            connections,
            in_flight,
            duration: seconds,
        };
        // A virtual machine compiles while it works; what is measured is what comes after.
        produce(&address, &load(&large, 65_536, 4, 5))?;
        let cpu = server.cpu_seconds()?;
        let done = produce(&address, &load(&large, 65_536, 4, 5))?;
        let cpu = server.cpu_seconds()? - cpu;
        put(
            order,
            format!("{durability}: 64 KiB batches, 4 x 5, MB/s"),
            done.megabytes_per_second(),
        );
        put(
            order + 1,
            format!("{durability}: the same, CPU-s per GB"),
            cpu / (done.bytes as f64 / 1e9),
        );
        let done = produce(&address, &load(&small, 4_096, 16, 1))?;
        let rate = done.requests as f64 / done.elapsed.as_secs_f64();
        put(
            order + 2,
            format!("{durability}: 4 KiB batches, 16 x 1, MB/s"),
            done.megabytes_per_second(),
        );
        put(order + 3, format!("{durability}: the same, requests/s"), rate);
        let done = produce(&address, &load(&single, 100, 1, 1))?;
        for (nth, (permille, name)) in
            [(500, "p50"), (990, "p99"), (999, "p99.9")].iter().enumerate()
        {
            let name = format!("{durability}: one record in flight, {name} ms");
            put(order + 4 + nth, name, done.latency_ms(*permille));
        }
        if order == 0 {
            let cpu = server.cpu_seconds()?;
            let done = fetch(&address, &large, PARTITIONS, seconds)?;
            let cpu = server.cpu_seconds()? - cpu;
            put(50, "fetch, 1 MiB a request, MB/s".into(), done.megabytes_per_second());
            put(51, "the same, CPU-s per GB".into(), cpu / (done.bytes as f64 / 1e9));
        }
    }
    put(200, "resident after it, MiB".into(), resident_mebibytes(server)?);
    Ok(())
}

fn process(server: &Server) -> Result<u32> {
    server.process_id().context("the broker is not ours")
}

fn resident_mebibytes(server: &Server) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process(server)?))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("VmRSS")?.parse::<f64>()? / 1024.0)
}

fn print(all: &mut BTreeMap<&str, Figures>) {
    let names: Vec<_> =
        all.values().next().map(|f| f.keys().cloned().collect()).unwrap_or_default();
    print!("{:52}", "medians");
    for server in all.keys() {
        print!("{server:>12}");
    }
    println!();
    for name in names {
        print!("{:52}", name.1);
        for figures in all.values_mut() {
            let values = figures.entry(name.clone()).or_default();
            values.sort_by(f64::total_cmp);
            print!("{:12.2}", values.get(values.len() / 2).copied().unwrap_or(f64::NAN));
        }
        println!();
    }
}
