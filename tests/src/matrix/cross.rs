//! Cross reading: what one client wrote, in every codec it has, another reads byte for byte.

use anyhow::{Context, Result};
use serde_json::json;

use super::{Client, read_partition, same};
use crate::driver::Produce;
use crate::suite::{Case, Lab};

/// A case for each writer.
pub fn cross_reading(reader: &'static Client, writers: &[&'static Client]) -> Vec<Case> {
    let case = |&writer: &&'static Client| {
        let name = format!("{}::reads::{}", reader.name, writer.name);
        let topic = name.clone();
        let body = move |lab: &Lab| reads(lab, reader, writer, &lab.topic(&topic));
        Case::new(name, body).with_tools(writer.tools)
    };
    writers.iter().map(case).collect()
}

/// One partition for each codec.
fn reads(lab: &Lab, reader: &Client, writer: &Client, topic: &str) -> Result<()> {
    let records = writer.assorted();
    let partitions = || (0i32..).zip(writer.codecs);
    lab.with(writer, |driver| {
        driver.create_topic(topic, i32::try_from(writer.codecs.len())?, &json!({}))?;
        for (partition, codec) in partitions() {
            let how = Produce { partition, codec, ..Produce::to(topic) };
            driver.produce(&how, &records)??;
        }
        Ok(())
    })?;
    lab.with(reader, |driver| {
        for (partition, codec) in partitions() {
            let read = read_partition(driver, topic, partition, records.len())?;
            same(&read, &records, 0).with_context(|| format!("codec {codec}"))?;
        }
        Ok(())
    })
}
