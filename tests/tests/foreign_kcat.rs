//! kcat, so Debian's librdkafka: produce, consume, list and query from a shell.

use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::child::{run_with_input, wait_for};
use tests::install::Tool;
use tests::record::noise;
use tests::suite::{Case, Lab, run};

fn main() -> ExitCode {
    let mut cases: Vec<Case> = ["none", "gzip", "snappy", "lz4", "zstd"]
        .map(|codec| {
            let name = format!("kcat::produce::codec_{codec}");
            Case::new(name, move |lab| produce_and_consume(lab, codec))
        })
        .into();
    for acks in ["0", "1", "all"] {
        let name = format!("kcat::produce::acks_{acks}");
        cases.push(Case::new(name, move |lab| acknowledgements(lab, acks)));
    }
    cases.extend([
        Case::new("kcat::produce::idempotent", idempotent),
        Case::new("kcat::produce::large_file", large_file),
        Case::new("kcat::produce::null_and_empty", null_and_empty),
        Case::new("kcat::consume::offsets", offsets),
        Case::new("kcat::consume::timestamps", timestamps),
        Case::new("kcat::list", list),
        Case::new("kcat::errors::unknown_topic", unknown_topic),
        Case::new("kcat::errors::too_large", too_large),
    ]);
    run(&[Tool::Kcat], cases)
}

fn kcat_any_status(lab: &Lab, arguments: &[&str], input: &[u8]) -> Result<Output> {
    let mut command = Command::new("kcat");
    command.args(["-b", &lab.address()?]).args(arguments);
    run_with_input(&mut command, input, Duration::from_secs(60))
}

fn kcat(lab: &Lab, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let output = kcat_any_status(lab, arguments, input)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kcat {arguments:?}: {errors}");
    Ok(output.stdout)
}

/// Produces; the topic comes into being with that, which kcat may see a moment too late.
fn produce(lab: &Lab, topic: &str, arguments: &[&str], input: &[u8]) -> Result<()> {
    wait_for("the topic", Duration::from_secs(30), || {
        Ok(kcat(lab, &["-L", "-J", "-t", topic], b"").ok().filter(|listed| {
            serde_json::from_slice::<Value>(listed).is_ok_and(|listed| {
                listed["topics"][0]["partitions"][0]["leader"].as_i64() >= Some(1)
            })
        }))
    })?;
    kcat(lab, &[&["-P", "-t", topic, "-p", "0"], arguments].concat(), input)?;
    Ok(())
}

/// From the first to the last record: one line each, with everything in it.
fn consume(lab: &Lab, topic: &str, from: &str) -> Result<String> {
    let arguments =
        ["-C", "-q", "-e", "-t", topic, "-p", "0", "-o", from, "-f", "%o|%k|%s|%h|%S\\n"];
    Ok(String::from_utf8(kcat(lab, &arguments, b"")?)?)
}

fn produce_and_consume(lab: &Lab, codec: &str) -> Result<()> {
    let topic = lab.topic(&format!("kcat-codec-{codec}"));
    let lines: Vec<String> =
        (0..200).map(|i| format!("key{}:value {i} {}", i % 5, "again ".repeat(20))).collect();
    let input = lines.join("\n");
    let arguments = ["-z", codec, "-K", ":", "-H", "name=text", "-H", "other=ключ"];
    produce(lab, &topic, &arguments, input.as_bytes())?;
    let read = consume(lab, &topic, "beginning")?;
    let due: String = (0..)
        .zip(&lines)
        .map(|(offset, line): (i32, _)| {
            let (key, value) = line.split_once(':').unwrap_or_default();
            format!("{offset}|{key}|{value}|name=text,other=ключ|{}\n", value.len())
        })
        .collect();
    ensure!(read == due, "read:\n{read}\ndue:\n{due}");
    Ok(())
}

fn acknowledgements(lab: &Lab, acks: &str) -> Result<()> {
    let topic = lab.topic(&format!("kcat-acks-{acks}"));
    produce(lab, &topic, &["-X", &format!("topic.acks={acks}")], b"a\nb\nc\n")?;
    let due = "0||a||1\n1||b||1\n2||c||1\n";
    // Without an acknowledgement nobody says when the records have arrived.
    wait_for("the records", Duration::from_secs(20), || {
        let read = consume(lab, &topic, "beginning")?;
        ensure!(due.starts_with(&read), "{read}");
        Ok((read == due).then_some(()))
    })
}

fn idempotent(lab: &Lab) -> Result<()> {
    let topic = lab.topic("kcat-idempotent");
    let lines: String = (0..2_000).map(|i| format!("{i}\n")).collect();
    let arguments = ["-X", "enable.idempotence=true", "-X", "batch.num.messages=50"];
    produce(lab, &topic, &arguments, lines.as_bytes())?;
    let read = consume(lab, &topic, "beginning")?;
    let due: String = (0..2_000).map(|i| format!("{i}||{i}||{}\n", i.to_string().len())).collect();
    ensure!(read == due, "not once and in order:\n{read}");
    Ok(())
}

/// A whole file as one record of 1 MB, read back byte for byte.
fn large_file(lab: &Lab) -> Result<()> {
    let topic = lab.topic("kcat-large");
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("large");
    let bytes = noise(5, 1_000_000);
    std::fs::write(&file, &bytes)?;
    let path = file.to_str().context("a path in UTF-8")?;
    produce(lab, &topic, &["-X", "message.max.bytes=1048576", path], b"")?;
    let arguments =
        ["-C", "-q", "-e", "-t", &topic, "-p", "0", "-o", "beginning", "-D", "", "-c", "1"];
    let read = kcat(lab, &arguments, b"")?;
    ensure!(read == bytes, "read {} bytes", read.len());
    Ok(())
}

fn null_and_empty(lab: &Lab) -> Result<()> {
    let topic = lab.topic("kcat-null");
    produce(lab, &topic, &["-Z", "-K", ":"], b"key:\n:value\n")?;
    let arguments = ["-C", "-q", "-e", "-J", "-t", &topic, "-p", "0", "-o", "beginning"];
    let read = kcat(lab, &arguments, b"")?;
    let records: Vec<Value> = read
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect::<std::result::Result<_, _>>()?;
    ensure!(records.len() == 2, "{records:?}");
    ensure!(records[0]["key"] == "key" && records[0]["payload"].is_null(), "{records:?}");
    ensure!(records[1]["payload"] == "value", "{records:?}");
    Ok(())
}

fn offsets(lab: &Lab) -> Result<()> {
    let topic = lab.topic("kcat-offsets");
    produce(lab, &topic, &[], b"a\nb\nc\nd\n")?;
    ensure!(consume(lab, &topic, "2")? == "2||c||1\n3||d||1\n");
    ensure!(consume(lab, &topic, "-1")? == "3||d||1\n");
    ensure!(consume(lab, &topic, "end")?.is_empty());
    Ok(())
}

fn timestamps(lab: &Lab) -> Result<()> {
    let topic = lab.topic("kcat-timestamps");
    produce(lab, &topic, &[], b"a\nb\n")?;
    let query = |at: &str| -> Result<String> {
        let output = kcat(lab, &["-Q", "-t", &format!("{topic}:0:{at}")], b"")?;
        Ok(String::from_utf8(output)?.trim().to_owned())
    };
    ensure!(query("1000")? == format!("{topic} [0] offset 0"), "{}", query("1000")?);
    let last = format!("{topic} [0] offset 2");
    ensure!(query("-1")? == last, "{}", query("-1")?);
    Ok(())
}

fn list(lab: &Lab) -> Result<()> {
    let topic = lab.topic("kcat-list");
    produce(lab, &topic, &[], b"a\n")?;
    let listed: Value = serde_json::from_slice(&kcat(lab, &["-L", "-J"], b"")?)?;
    let address = lab.address()?;
    ensure!(listed["brokers"][0]["name"] == *address, "{}", listed["brokers"]);
    let all = listed["topics"].as_array().context("topics")?;
    let own = all.iter().find(|listed| listed["topic"] == *topic).context("the topic")?;
    let id = &listed["brokers"][0]["id"];
    let partition = &own["partitions"][0];
    ensure!(partition["leader"] == *id && partition["isrs"][0]["id"] == *id, "{own}");
    Ok(())
}

fn unknown_topic(lab: &Lab) -> Result<()> {
    let topic = lab.topic("kcat-unknown");
    let arguments = ["-C", "-e", "-t", &topic, "-p", "0", "-o", "beginning"];
    let output = kcat_any_status(lab, &arguments, b"")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{errors}");
    ensure!(errors.contains("Unknown topic or partition"), "{errors}");
    Ok(())
}

fn too_large(lab: &Lab) -> Result<()> {
    let topic = lab.topic("kcat-too-large");
    produce(lab, &topic, &[], b"a\n")?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("large");
    std::fs::write(&file, noise(6, 2_000_000))?;
    let path = file.to_str().context("a path in UTF-8")?;
    let arguments = ["-P", "-t", &topic, "-p", "0", "-X", "message.max.bytes=3000000", path];
    let output = kcat_any_status(lab, &arguments, b"")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(errors.contains("Message size too large"), "{errors}");
    ensure!(consume(lab, &topic, "beginning")? == "0||a||1\n");
    Ok(())
}
