//! Six members, a producer that never rests, and SIGKILL for members and for the broker, in random
//! order.
//!
//! In: `KLAMM_GROUP_KILLS`, `KLAMM_TEST_SEED` (default: drawn, and told). Out: nothing that was
//! acknowledged is skipped, nothing that was committed is read again.

use anyhow::{Context, Result};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use super::flow::{self, below};
use super::outage;
use crate::driver::Driver;
use crate::group::{Group, Kind, Options};
use crate::matrix::clients::FRANZ_GO;
use crate::server::Server;
use crate::suite::{Case, Lab};

const PARTITIONS: i32 = 12;
const MEMBERS: usize = 6;

/// The case for kinds of one protocol whose assignors have one name, as many members of each.
pub fn storm<const KINDS: usize>(kinds: [&'static Kind; KINDS], kills: u64) -> Case {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let name = format!("storm::{}", names.join("_and_"));
    let topic = name.clone();
    let body =
        move |lab: &Lab| lab.mortal(|server| run(lab, server, &lab.topic(&topic), &kinds, kills));
    let tools: Vec<_> = kinds.iter().flat_map(|kind| kind.client.tools).copied().collect();
    Case::new(name, body).with_tools(&tools).with_tools(FRANZ_GO.tools)
}

fn number(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| variable.to_owned())).transpose()
}

fn run(
    lab: &Lab,
    server: &mut Server,
    name: &str,
    kinds: &[&'static Kind],
    kills: u64,
) -> Result<()> {
    let seed = match number("KLAMM_TEST_SEED")? {
        Some(seed) => seed,
        None => u64::from(std::process::id()),
    };
    let kills = number("KLAMM_GROUP_KILLS")?.unwrap_or(kills);
    let address = server.address();
    let start = |what: &str| -> Result<Driver> {
        let log = lab.path().join(format!("{name}-{what}.log"));
        Driver::start(&mut (FRANZ_GO.command)(&address)?, &log, lab.settles())
    };
    let mut driver = start("driver")?;
    let mut producer = start("producer")?;
    let mut group = Group::new(name, PARTITIONS, &address, lab.path(), &mut driver)?;
    for kind in kinds {
        group.gather(kind, MEMBERS / kinds.len(), &Options::default())?;
    }
    let mut rages = || {
        let acknowledged = flow::beside_a_producer(&mut group, &mut producer, seed, |group| {
            rage(group, server, seed, kills)
        })?;
        flow::is_read(&mut group, &acknowledged)?;
        flow::calm(&mut group, 5)
    };
    rages().with_context(|| format!("KLAMM_TEST_SEED={seed}"))?;
    group.disperse()
}

/// Kills, and lets the group go on a little or settle, in an order that the seed draws. Members are
/// replaced by others of their kind.
fn rage(group: &mut Group<'_>, server: &mut Server, seed: u64, kills: u64) -> Result<()> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    for kill in 0..kills {
        // Both kinds of kills happen in every run, however short.
        if kill == 1 || (kill > 1 && below(&mut random, 3) == 0) {
            outage::kill(group, server)?;
        } else {
            let here = group.here();
            let victim = here[usize::try_from(below(&mut random, here.len() as u64))?];
            let kind = group.kind(victim);
            group.kill(victim)?;
            group.join(kind, &Options::default())?;
        }
        if below(&mut random, 2) == 0 {
            group.settle()?;
        } else {
            flow::goes_on(group)?;
        }
    }
    Ok(())
}
