//! kafka-clients 4.3 and 3.9: the matrix; 4.3 reads what every other client wrote; Java's console
//! producer and consumer; what only Java's admin client asks for; groups of 4.3.

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::child::{run_with_input, wait_for};
use tests::driver::{Produce, Range};
use tests::group::cases::rebalance_cases;
use tests::group::cases_of;
use tests::group::kinds::{JAVA_CLASSIC, JAVA_CONSUMER, JAVA_COOPERATIVE};
use tests::install::{self, Tool};
use tests::matrix::clients::{
    CONFLUENT, FRANZ_GO, JAVA_3_9, JAVA_4_3, KAFKA_PYTHON, KAFKAJS, SARAMA,
};
use tests::matrix::{cases, cross_reading};
use tests::record::{BASE_TIME, ReadRecord, Record, assorted};
use tests::suite::{Case, Lab, run_beside};

fn main() -> ExitCode {
    let mut all = cases(&JAVA_4_3);
    all.extend(cases(&JAVA_3_9));
    let writers = [&JAVA_3_9, &FRANZ_GO, &SARAMA, &CONFLUENT, &KAFKA_PYTHON, &KAFKAJS];
    all.extend(cross_reading(&JAVA_4_3, &writers));
    all.extend(cross_reading(&JAVA_3_9, &[&JAVA_4_3]));
    all.extend(cross_reading(&FRANZ_GO, &[&JAVA_4_3]));
    all.extend([
        Case::new("java_4_3::null_header", null_header),
        Case::new("java_4_3::read::read_committed", |lab| {
            consumer_config(lab, &json!({"isolation.level": "read_committed"}))
        }),
        // At least one batch comes, however little was asked for (KIP-74).
        Case::new("java_4_3::read::one_byte_at_a_time", |lab| {
            consumer_config(lab, &json!({"fetch.max.bytes": 1, "max.partition.fetch.bytes": 1}))
        }),
        // The broker answers when the time is over, though there is less than was asked for.
        Case::new("java_4_3::read::more_than_there_is", |lab| {
            let config = json!({"fetch.min.bytes": 50_000_000, "fetch.max.wait.ms": 300});
            consumer_config(lab, &config)
        }),
        Case::new("java_4_3::admin::describe_producers", describe_producers),
        Case::new("java_4_3::admin::describe_log_dirs", describe_log_dirs),
        Case::new("java_4_3::admin::describe_features", describe_features),
        Case::new("java_4_3::admin::list_config_resources", list_config_resources),
        Case::new("java_console::producer_and_consumer", console),
        Case::new("java_console::topic_command", topic_command),
        Case::new("java_console::load", load),
    ]);
    all.extend(cases_of(&[&JAVA_CLASSIC, &JAVA_CONSUMER]));
    all.extend(rebalance_cases(&JAVA_COOPERATIVE));
    run_beside(2, &[Tool::Java, Tool::Maven], all)
}

fn null_header(lab: &Lab) -> Result<()> {
    let topic = lab.topic("java-null-header");
    let headers = vec![("null".to_owned(), None), ("".to_owned(), Some(b"no name".to_vec()))];
    let record = Record { headers, ..Record::new("k", "v", BASE_TIME) };
    lab.with(&JAVA_4_3, |driver| {
        driver.create_topic(&topic, 1, &json!({}))?;
        driver.produce(&Produce::to(&topic), std::slice::from_ref(&record))??;
        let read = driver.fetch(&[Range { topic: &topic, partition: 0, from: 0, end: 1 }])??;
        ensure!(read[0].record == record, "{read:?}");
        Ok(())
    })
}

/// All records of some batches through a consumer with other settings.
fn consumer_config(lab: &Lab, config: &Value) -> Result<()> {
    let keys = config.as_object().map(|keys| keys.keys().next().cloned().unwrap_or_default());
    let topic = lab.topic(&format!("java-consumer-{}", keys.unwrap_or_default()));
    let records = assorted();
    lab.with(&JAVA_4_3, |driver| {
        driver.create_topic(&topic, 1, &json!({}))?;
        for codec in ["none", "zstd"] {
            driver.produce(&Produce { codec, ..Produce::to(&topic) }, &records)??;
        }
        let end = 2 * records.len();
        let range = json!({"topic": topic, "partition": 0, "from": 0, "end": end});
        let operation = json!({"op": "fetch", "partitions": [range], "config": config});
        let answer = driver.expect(operation)?;
        let read = answer["records"].as_array().context("records")?;
        ensure!(read.len() == end, "{} of {end} records", read.len());
        for (read, written) in read.iter().zip(records.iter().chain(&records)) {
            let read = ReadRecord::from_json(read)?;
            ensure!(read.record == *written, "{read:?}, due {written:?}");
        }
        Ok(())
    })
}

/// An idempotent producer shows with its id, epoch and last sequence.
fn describe_producers(lab: &Lab) -> Result<()> {
    let topic = lab.topic("java-describe-producers");
    lab.with(&JAVA_4_3, |driver| {
        driver.create_topic(&topic, 1, &json!({}))?;
        let operation = json!({"op": "describe_producers", "topic": topic, "partition": 0});
        ensure!(driver.expect(operation.clone())? == json!([]), "producers before any wrote");
        let how = Produce { idempotent: false, ..Produce::to(&topic) };
        driver.produce(&how, &assorted())??;
        ensure!(driver.expect(operation.clone())? == json!([]), "one without an id shows");
        let records = assorted();
        driver.produce(&Produce::to(&topic), &records)??;
        let producers = driver.expect(operation)?;
        ensure!(producers.as_array().map(Vec::len) == Some(1), "{producers}");
        ensure!(producers[0]["last_sequence"] == records.len() - 1, "{producers}");
        ensure!(producers[0]["producer_epoch"] == 0, "{producers}");
        ensure!(producers[0]["producer_id"].as_i64() >= Some(0), "{producers}");
        Ok(())
    })
}

fn describe_log_dirs(lab: &Lab) -> Result<()> {
    let topic = lab.topic("java-describe-log-dirs");
    lab.with(&JAVA_4_3, |driver| {
        driver.create_topic(&topic, 2, &json!({}))?;
        driver.produce(&Produce::to(&topic), &assorted())??;
        let replicas = driver.expect(json!({"op": "describe_log_dirs"}))?;
        let of = |partition: i64| {
            let all = replicas.as_array().into_iter().flatten();
            let mut own = all.filter(|r| r["topic"] == topic && r["partition"] == partition);
            own.next().with_context(|| format!("partition {partition} in {replicas}"))
        };
        let (written, empty) = (of(0)?, of(1)?);
        ensure!(written["size"].as_i64() > Some(3_000), "{written}");
        ensure!(empty["size"] == 0, "{empty}");
        ensure!(written["lag"] == 0, "{written}");
        ensure!(written["total_bytes"].as_i64() > Some(0), "{written}");
        Ok(())
    })
}

fn describe_features(lab: &Lab) -> Result<()> {
    lab.with(&JAVA_4_3, |driver| {
        let features = driver.expect(json!({"op": "describe_features"}))?;
        ensure!(features.is_object(), "{features}");
        Ok(())
    })
}

fn list_config_resources(lab: &Lab) -> Result<()> {
    lab.with(&JAVA_4_3, |driver| {
        let names = driver.expect(json!({"op": "list_config_resources"}))?;
        ensure!(names == json!([]), "client metrics: {names}");
        Ok(())
    })
}

fn kafka_tool(class: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new("java");
    command.args(["-Xmx256M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.args([&install::kafka_classpath()?, class]).args(arguments);
    let output = run_with_input(&mut command, input.as_bytes(), Duration::from_secs(60))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{class} {arguments:?}: {text}\n{errors}");
    Ok(text)
}

/// The console programs of Kafka's own distribution; the consumer by partition, without a group.
fn console(lab: &Lab) -> Result<()> {
    let topic = lab.topic("java-console");
    let address = lab.address()?;
    lab.with(&JAVA_4_3, |driver| driver.create_topic(&topic, 1, &json!({})))?;
    let producer = [
        "--bootstrap-server",
        &address,
        "--topic",
        &topic,
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
        "--compression-codec",
        "zstd",
    ];
    kafka_tool("org.apache.kafka.tools.ConsoleProducer", &producer, "a:one\nb:zwei\nc:три\n")?;
    let consumer = |offset: &str, count: &str| {
        let arguments = [
            "--bootstrap-server",
            &address,
            "--topic",
            &topic,
            "--partition",
            "0",
            "--offset",
            offset,
            "--max-messages",
            count,
            "--timeout-ms",
            "20000",
            "--formatter-property",
            "print.key=true",
            "--formatter-property",
            "print.offset=true",
        ];
        kafka_tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments, "")
    };
    let all = consumer("earliest", "3")?;
    ensure!(all == "Offset:0\ta\tone\nOffset:1\tb\tzwei\nOffset:2\tc\tтри\n", "{all}");
    let one = consumer("1", "1")?;
    ensure!(one == "Offset:1\tb\tzwei\n", "{one}");
    Ok(())
}

fn topic_command(lab: &Lab) -> Result<()> {
    let topic = lab.topic("java-topic-command");
    let address = lab.address()?;
    let command = |arguments: &[&str]| {
        let all = [&["--bootstrap-server", address.as_str()], arguments].concat();
        kafka_tool("org.apache.kafka.tools.TopicCommand", &all, "")
    };
    command(&[
        "--create",
        "--topic",
        &topic,
        "--partitions",
        "2",
        "--config",
        "segment.bytes=3000000",
    ])?;
    let described = wait_for("the topic to show", Duration::from_secs(30), || {
        Ok(command(&["--describe", "--topic", &topic]).ok())
    })?;
    ensure!(described.contains("PartitionCount: 2"), "{described}");
    ensure!(described.contains("segment.bytes=3000000"), "{described}");
    let list = command(&["--list"])?;
    ensure!(list.lines().any(|line| line == topic), "{list}");
    command(&["--delete", "--topic", &topic])?;
    Ok(())
}

/// Kafka's own load programs run through: 50,000 records out and in.
fn load(lab: &Lab) -> Result<()> {
    let topic = lab.topic("java-load");
    let bootstrap = format!("bootstrap.servers={}", lab.address()?);
    lab.with(&JAVA_4_3, |driver| driver.create_topic(&topic, 3, &json!({})))?;
    let arguments = [
        "--topic",
        &topic,
        "--num-records",
        "50000",
        "--record-size",
        "500",
        "--throughput",
        "-1",
        "--producer-props",
        &bootstrap,
    ];
    let said = kafka_tool("org.apache.kafka.tools.ProducerPerformance", &arguments, "")?;
    let last = said.lines().last().context("figures")?;
    ensure!(last.starts_with("50000 records sent"), "{said}");
    println!("java load: {last}");
    lab.with(&JAVA_4_3, |driver| {
        let mut total = 0;
        for partition in 0..3 {
            total += driver.offset_for(&topic, partition, "latest")?.0.context("latest")?;
        }
        ensure!(total == 50_000, "{total} records");
        Ok(())
    })
}
